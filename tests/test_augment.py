"""fastnn.data.augment: pictures by hand and by SciPy, native ones against NumPy's twin, draws that hang on nothing but seed, epoch and sample;
fit that uses them within native calls; Mixup and its losses."""

import numpy as np
import pytest

import fastnn
from fastnn import data, losses, nn, optim
from fastnn.data import augment as a
from fastnn.data.augment import Draws
from fastnn.reference.augment import augment_images, augment_rows, beta_quantiles, mixtures, sine_and_cosine

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(size=(40, 6, 5, 3)).astype(np.float32)
CHAIN = [a.RandomFlip(), a.RandomShift(1), a.RandomRotation(20), a.RandomZoom(0.2), a.ColorJitter(0.2, 0.2, 0.2), a.Noise(0.1), a.Cutout(2)]


def draws(seed=3, epoch=2, samples=None, position=0):
    return Draws(seed, epoch, np.arange(40) if samples is None else samples, position)


# --- draws ---


def test_draws_hang_on_seed_epoch_sample_and_position_alone():
    whole = draws().words(9)
    assert (draws(samples=np.array([7, 31])).words(9) == whole[[7, 31]]).all()
    assert (draws().words(3) == whole[:, :3]).all()
    others = [draws(seed=4), draws(epoch=3), draws(position=1), draws(samples=np.arange(40) + 2**32), draws(seed=3 + 2**32)]
    for other in others:
        assert (other.words(9) == whole).mean() < 0.01
    assert len(np.unique(whole)) == whole.size


def test_distributions():
    d = draws(samples=np.arange(4000))
    u, i, z = d.uniform(-1, 3, 4), d.integers(-2, 2, 4), d.normal(5)
    assert -1 <= u.min() and u.max() < 3 and abs(u.mean() - 1) < 0.05
    assert (np.abs(np.bincount(i.ravel() + 2) / i.size - 0.2) < 0.02).all()
    assert abs(z.mean()) < 0.03 and abs(z.std() - 1) < 0.03 and abs(np.corrcoef(z.T) - np.eye(5)).max() < 0.06


# --- pictures ---


def test_flips():
    mask = draws().uniform(0, 1)[:, 0] < 0.5
    assert 5 < mask.sum() < 35
    for direction, flipped in (("horizontal", IMAGES[:, :, ::-1]), ("vertical", IMAGES[:, ::-1])):
        expected = np.where(mask[:, None, None, None], flipped, IMAGES)
        assert (a.RandomFlip(direction)(IMAGES, 3, 2) == expected).all()
    assert (a.RandomFlip(p=0)(IMAGES) == IMAGES).all()


def test_shifts_and_crops():
    moved = a.RandomShift(2, fill=7)(IMAGES, 3, 2)
    for image, found, (down, right) in zip(IMAGES, moved, draws().integers(-2, 2, 2)):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), constant_values=7)
        assert (found == padded[2 - down : 8 - down, 2 - right : 7 - right]).all()
    words = draws().words(2).astype(np.uint64)
    for size, padding in (((6, 5), 2), ((4, 3), 0), (5, 1)):
        h, w = size if isinstance(size, tuple) else (size, size)
        cropped = a.RandomCrop(size, padding, fill=7)(IMAGES, 3, 2)
        padded = np.pad(IMAGES, ((0, 0), (padding, padding), (padding, padding), (0, 0)), constant_values=7)
        tops, lefts = words[:, 0] * (7 - h + 2 * padding) >> 32, words[:, 1] * (6 - w + 2 * padding) >> 32
        for image, found, top, left in zip(padded, cropped, tops.astype(int), lefts.astype(int)):
            assert (found == image[top : top + h, left : left + w]).all()


def test_rotation_and_zoom_are_scipys():
    ndimage = pytest.importorskip("scipy.ndimage")
    centre = np.array([2.5, 2.0])
    angles = np.radians(30) * draws().uniform(-1, 1)[:, 0]
    scales = 1 / draws().uniform(0.8, 1.2)[:, 0]
    for found, matrices in (
        (a.RandomRotation(30, fill=2)(IMAGES, 3, 2), [[[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]] for t in angles]),
        (a.RandomZoom(0.2, fill=2)(IMAGES, 3, 2), [np.eye(2) * s for s in scales]),
    ):
        for image, turned, m in zip(IMAGES, found, map(np.array, matrices)):
            for c in range(3):
                padded = np.pad(image[..., c].astype(float), 2, constant_values=2)  # SciPy does not mix the edge with the fill
                expected = ndimage.affine_transform(padded, m, centre + 2 - m @ (centre + 2), order=1, mode="constant", cval=2)
                np.testing.assert_allclose(turned[..., c], expected[2:-2, 2:-2], atol=2e-5)


def test_colours():
    same = a.ColorJitter()(IMAGES)
    np.testing.assert_allclose(same, IMAGES, atol=1e-6)
    b, c, s = (1 + 0.3 * draws().uniform(-1, 1, 3)).T.reshape(3, -1, 1, 1, 1)
    np.testing.assert_allclose(a.ColorJitter(brightness=0.3)(IMAGES, 3, 2), IMAGES * b, rtol=1e-5)
    mean = IMAGES.mean(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(a.ColorJitter(contrast=0.3)(IMAGES, 3, 2), mean + c * (IMAGES - mean), rtol=1e-4, atol=1e-5)
    grey = (IMAGES @ [0.299, 0.587, 0.114])[..., None]
    np.testing.assert_allclose(a.ColorJitter(saturation=0.3)(IMAGES, 3, 2), grey + s * (IMAGES - grey), rtol=1e-4, atol=1e-5)


def test_noise_and_cutout():
    noise = a.Noise(0.5)(IMAGES, 3, 2) - IMAGES
    assert abs(noise.std() - 0.5) < 0.03 and abs(noise.mean()) < 0.03
    cut = a.Cutout(2, fill=-1)(IMAGES, 3, 2) == -1
    counts = cut.all(axis=3).sum(axis=(1, 2))
    assert set(counts) <= {1, 2, 4} and (cut.any(axis=3) == cut.all(axis=3)).all() and len(np.unique(np.argmax(cut.reshape(40, -1), 1))) > 10


def test_chains_and_shapes():
    chain = a.Compose(CHAIN)
    found = chain(IMAGES, 3, 2)
    assert found.dtype == np.float32 and found.shape == IMAGES.shape
    assert (chain(IMAGES[[4, 9]], 3, 2, np.array([4, 9])) == found[[4, 9]]).all()  # whatever stands beside them
    assert (a.Compose(CHAIN, shape=(6, 5, 3))(IMAGES.reshape(40, -1), 3, 2) == found.reshape(40, -1)).all()
    nested = a.Compose([a.Compose(CHAIN[:3]), a.Compose(CHAIN[3:])])
    assert (nested(IMAGES, 3, 2) == found).all()
    twice = a.Compose([a.Noise(1), a.Noise(1)])(np.zeros((3, 4, 4)))
    assert abs(twice / a.Noise(1)(np.zeros((3, 4, 4))) - 2).min() > 1e-5  # each with draws of its own
    grey = a.RandomShift(1)(IMAGES[..., 0], 3, 2)
    assert (grey == a.RandomShift(1)(IMAGES[..., :1], 3, 2)[..., 0]).all()
    assert a.RandomCrop(3)(np.zeros((2, 5, 5), np.uint8)).shape == (2, 3, 3)


def test_neighbours_that_move_pixels_are_one_map():
    """An image is read once: what a shift moves out of the frame a turn may bring back, and two turns blur no more than one."""
    there_and_back = a.Compose([a.RandomCrop((10, 9), padding=2), a.RandomCrop((6, 5))])
    assert (there_and_back(np.ones((20, 6, 5))) == 1).mean() > (a.RandomShift(2)(np.ones((20, 6, 5))) == 1).mean()
    quarter = a.RandomRotation(0)  # nothing, and so the others are whole pixels still
    assert set(np.unique(a.Compose([quarter, a.RandomShift(1), a.RandomZoom(0), a.RandomFlip()])((IMAGES > 0.5)))) == {0, 1}
    fills = a.Compose([a.RandomShift(2, fill=1), a.RandomShift(2, fill=2)])(np.zeros((30, 6, 5)), 3)
    assert set(np.unique(fills)) == {0, 1, 2}  # two fills are two maps


# --- native and NumPy ---


def twin(chain, images, seed=0, epoch=0, samples=None, dtype=np.float32):
    """By fastnn.reference."""
    samples = np.arange(len(images)) if samples is None else samples
    compiled = a._chain(chain._members(), images.shape[1:])
    found, _ = augment_rows(lambda r: images[r].astype(dtype), np.arange(len(images)), compiled.steps, compiled.quantiles, seed, epoch, samples)
    return found


def random_chain(rng, channels):
    fill = float(rng.choice([0, 2.5]))
    kinds = [
        lambda: a.RandomFlip(rng.choice(["horizontal", "vertical"]), p=rng.random()), lambda: a.RandomShift(int(rng.integers(0, 9)), fill),
        lambda: a.RandomCrop((int(rng.integers(1, 7)), int(rng.integers(1, 6))), int(rng.integers(2, 5)), fill),
        lambda: a.RandomRotation(180 * rng.random(), float(rng.choice([0, 1]))), lambda: a.RandomZoom(0.99 * rng.random(), fill),
        lambda: a.ColorJitter(2 * rng.random(), 3 * rng.random(), rng.random() * (channels == 3)), lambda: a.Cutout(int(rng.integers(1, 9)), fill),
        lambda: a.Mixup(10 ** rng.uniform(-2, 2)),
    ]  # fmt: skip
    chosen = rng.choice(len(kinds) - 1, size=rng.integers(1, 7)).tolist()
    if rng.random() < 0.3:
        chosen.insert(rng.integers(0, len(chosen)), len(kinds) - 1)
    return a.Compose([kinds[i]() for i in chosen])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_native_pictures_have_the_twins_bits(dtype):
    rng = np.random.default_rng(7)
    for number in range(60):
        shape = (int(rng.integers(1, 12)), int(rng.integers(1, 70)), int(rng.choice([1, 2, 3])))
        chain, kind = random_chain(rng, shape[2]), rng.choice(["uint8", "float32", "float64", "float16", "int64"])
        images = (rng.uniform(-1, 255, (9, *shape)) if kind.startswith("f") else rng.integers(0, 255, (9, *shape))).astype(kind)
        seed, epoch = int(rng.integers(0, 2**63)), int(rng.integers(0, 2**32))
        samples = rng.integers(0, 2**40, 9)
        try:
            found = chain(images, seed, epoch, samples, dtype=dtype)
        except ValueError as error:  # a crop that is larger than a picture after another crop
            assert str(error).startswith("size: ")
            continue
        expected = twin(chain, images, seed, epoch, samples, np.dtype(dtype))
        assert found.dtype == dtype and found.shape == expected.shape, chain
        assert found.tobytes() == expected.tobytes(), (number, chain, np.abs(found - expected).max())


@pytest.mark.parametrize("dtype, tolerance", [("float32", 2e-6), ("float64", 2e-6)])
def test_native_noise_is_the_twins_but_for_rounding(dtype, tolerance):
    chain = a.Compose([a.RandomFlip(), a.Noise(2.0), a.Noise(0.1)])
    found, expected = chain(IMAGES, 2**63 + 1, 7, dtype=dtype), twin(chain, IMAGES, 2**63 + 1, 7, dtype=np.dtype(dtype))
    np.testing.assert_allclose(found, expected, atol=tolerance * 10)
    assert (found != expected).mean() < 0.9
    assert len(np.unique(found - IMAGES)) > 0.99 * found.size


def test_pixels_that_are_not_finite_stay_where_they_are():
    images = IMAGES.copy()
    images[3, 2, 2], images[4, 0, 0] = np.nan, np.inf
    for chain in (a.Compose(CHAIN[:4]), a.Compose([a.RandomShift(2), a.ColorJitter(0.1, 0.1, 0.1), a.Cutout(2)])):
        found, expected = chain(images, 5), twin(chain, images, 5)
        assert ((found == expected) | np.isnan(found) & np.isnan(expected)).all()
        assert np.isfinite(found[:3]).all() and np.isfinite(found[5:]).all()


def test_sines_and_cosines():
    angles = np.concatenate([np.linspace(-np.pi, np.pi, 5001), [-np.pi / 2, np.pi / 4, 0.0]])
    s, c = sine_and_cosine(angles)
    assert abs(s - np.sin(angles)).max() < 5e-16 and abs(c - np.cos(angles)).max() < 5e-16


def test_a_chain_with_members_of_ones_own():
    class Twice(a.Augmentation):
        def change(self, images, draws):
            return images * (1 + draws.integers(0, 1)[:, :, None, None])

    class Lower(a.RandomShift):  # one that calls what is there
        def change(self, images, draws):
            return super().change(images, draws) - 1

    mixed = a.Compose([a.RandomShift(1), a.RandomRotation(9), Twice(), a.Noise(0.1), a.RandomFlip(), Lower(1)])
    steps = a._chain(mixed.steps[:2], (6, 5, 3)), a._chain(mixed.steps[3:5], (6, 5, 3)), a._chain([a.RandomShift(1)], (6, 5, 3))
    who = np.arange(40)
    found = augment_images(IMAGES, steps[0].steps, 3, 2, who)
    found = found * (1 + draws(position=2).integers(0, 1)[:, :, None, None]).astype(np.float32)
    found = augment_images(found, steps[1].steps, 3, 2, who, 3)
    found = augment_images(found, steps[2].steps, 3, 2, who, 5) - 1
    np.testing.assert_allclose(mixed(IMAGES, 3, 2), found, atol=1e-6)
    assert mixed.compiled((6, 5, 3)) is None and a.Compose(CHAIN).compiled((6, 5, 3)) is not None


def test_the_register_is_what_python_fills():
    known = {cls._name for cls in vars(a).values() if isinstance(cls, type) and issubclass(cls, a.Augmentation) and cls._name}
    assert known == set(fastnn._native.AUGMENTATIONS)
    chain = fastnn._native.AugmentChain
    with pytest.raises(TypeError, match="shift: expected the parameters"):
        chain([("shift", {"pixels": 1})], (4, 4, 1))
    for bad in ([("shift", {"pixels": -1, "fill": 0.0})], [("shift", {"pixels": 10**9, "fill": 0.0})], [("mixup", {"alpha": 1.0})],
                [("crop", {"height": 9, "width": 4, "padding": 2, "fill": 0.0})], [("cutout", {"pixels": 0, "fill": 0.0})],
                [("color_jitter", {"brightness": 0.0, "contrast": 0.0, "saturation": 1.0})]):  # fmt: skip
        with pytest.raises(ValueError, match="steps: expected such as images"):
            chain(bad, (4, 4, 1))


# --- in fit ---


def make(seed=5, shape=(8, 8, 1)):
    fastnn.manual_seed(4)
    model = nn.Sequential(nn.Input(*shape), nn.Rescaling(1 / 16), nn.Flatten(), nn.Dense(None, 20, activation="relu"), nn.Dense(20, 10))
    return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=3e-3), seed=seed)


def bits(trainer):
    return [p.data.tobytes() for p in trainer.model.parameters()]


@pytest.fixture(scope="module")
def digits():
    X, y = data.load_digits()
    return X[:500, :, :, None], y[:500]


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_fit_trains_on_the_changed_images(digits, shuffle, own):
    """Within native calls, and where a member of one's own has the images made before them."""
    X, y = digits

    class Own(a.Augmentation):
        def change(self, images, draws):
            return images

    chain = a.Compose([a.RandomShift(1), a.Noise(0.5), *[Own()] * own])
    fitted, stepped = make(), make()
    w = np.linspace(0.5, 1.5, len(X)).astype(np.float32)
    fitted.fit(X, y, epochs=2, batch_size=25, augment=chain, shuffle=shuffle, sample_weight=w, verbose=0)
    for epoch in range(2):
        order = fastnn._native.permutation(len(X), 5, epoch) if shuffle else np.arange(len(X))
        for begin in range(0, len(X), 25):
            rows = order[begin : begin + 25]
            stepped.step(chain(X[rows], 5, epoch, rows), y[rows], w[rows])
    assert bits(fitted) == bits(stepped)


def test_the_same_bits_however_it_is_cut(digits, team, tmp_path):
    X, y = digits
    chain, found = a.Compose([a.RandomRotation(10), a.RandomZoom(0.1)]), []
    for threads, callback in ((1, None), (3, fastnn.callbacks.Lambda(on_step_end=lambda step, logs: None))):
        with team(threads):
            t = make()
            t.fit(X, y, epochs=2, augment=chain, callbacks=[callback] if callback else [], verbose=0)
            found.append(bits(t))
    broken = make()
    stop = fastnn.callbacks.Lambda(on_step_end=lambda step, logs: step == 7 and setattr(broken, "stop_training", True))
    broken.fit(X, y, epochs=2, augment=chain, callbacks=[stop], verbose=0)
    broken.save_checkpoint(tmp_path / "c")
    gone_on = make()
    gone_on.load_checkpoint(tmp_path / "c")
    gone_on.fit(X, y, epochs=2, augment=chain, verbose=0)
    assert found[0] == found[1] == bits(gone_on)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_team_any_batch_any_source(digits, team, dtype):
    """In a whole epoch's native call, through a convolution, of bytes or numbers, flat rows or images, accumulated or not."""
    X, y = digits
    inner = [a.RandomShift(1), a.RandomRotation(15), a.ColorJitter(0.2, 0.2), a.Noise(0.3), a.Cutout(2), a.Mixup(0.4)]
    runs, images = {}, X.astype(np.float32)

    def train(threads, rows, chain, accumulate=1, batch=50):
        with team(threads):
            fastnn.manual_seed(4)
            first = [nn.Input(64)] if rows.ndim == 2 else [nn.Input(8, 8, 1), nn.Flatten()]
            model = nn.Sequential(*first, nn.Dense(64, 24, activation="tanh"), nn.Dense(24, 10), dtype=dtype)
            t = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=0.01), seed=9)
            h = t.fit(rows, y, epochs=2, batch_size=batch // accumulate, accumulate=accumulate, augment=chain, verbose=0)
            return bits(t), h["loss"]

    flat = a.Compose(inner, shape=(8, 8))
    runs = [train(threads, rows, chain) for threads in (1, 2, 3)
            for rows, chain in ((images, a.Compose(inner)), (X.astype(np.uint8), a.Compose(inner)), (images.reshape(-1, 64), flat))]  # fmt: skip
    assert all(r == runs[0] for r in runs)
    parts = [train(threads, images, a.Compose(inner), 2) for threads in (1, 2)]
    assert parts[0] == parts[1]
    np.testing.assert_allclose(parts[0][1], runs[0][1], rtol=1e-4)


@pytest.mark.parametrize("loss, targets", [
    (losses.SoftmaxCrossEntropy(label_smoothing=0.1, class_weight=np.linspace(0.5, 2, 10)), "labels"),
    (losses.SoftmaxCrossEntropy(), "dense"), (losses.MulticlassHinge(), "labels"), (losses.MeanSquaredError(), "dense"),
    (losses.BinaryCrossEntropy(), "dense"), (losses.Huber(0.3), "dense"),
])  # fmt: skip
@pytest.mark.parametrize("weights", [None, "rows", "outputs"])
def test_native_fits_are_the_twins(digits, team, loss, targets, weights):
    X, y = digits
    X, y = X[:90].astype(np.float32) / 16, y[:90]
    y = y if targets == "labels" else np.eye(10, dtype=np.float32)[y]
    rng = np.random.default_rng(1)
    w = None if weights is None else rng.uniform(0.2, 1.5, 90 if weights == "rows" else (90, 10))
    if weights == "outputs" and not loss.takes_each:
        return
    if w is not None:
        w[::7] = 0
        X[7] = np.nan  # of a row of weight 0: neither mixed nor mixed in
    chain, found = a.Compose([a.RandomRotation(20), a.Mixup(0.7), a.RandomFlip()]), []
    for backend, threads in (("native", 1), ("native", 3), ("reference", 1)):
        with team(threads):
            fastnn.manual_seed(4)
            model = nn.Sequential(nn.Input(8, 8, 1), nn.Flatten(), nn.Dense(64, 10, init="xavier_normal"))
            t = fastnn.Trainer(model, loss, optim.SGD(model.parameters(), lr=0.1), seed=9, backend=backend)
            h = t.fit(X, y, epochs=2, batch_size=20, augment=chain, sample_weight=w, verbose=0)
            found.append((h.get("accuracy"), h["loss"], model.layers[-1].weight.data.copy()))
    assert np.isfinite(found[0][1]).all()
    assert found[0][:2] == found[1][:2] and found[0][2].tobytes() == found[1][2].tobytes()
    np.testing.assert_allclose(found[0][1], found[2][1], rtol=1e-5)
    np.testing.assert_allclose(found[0][2], found[2][2], rtol=1e-4, atol=1e-6)
    assert found[0][0] is None or np.allclose(found[0][0], found[2][0])


def test_mixups_loss_by_its_definition(digits):
    """share l(z, y1) + (1 - share) l(z, y2); of right answers those count that the larger share has."""
    X, y = digits
    X = X[:60].astype(np.float32)
    y, chain, model = y[:60], a.Mixup(1.0), None
    others, shares = mixtures(beta_quantiles(1.0, 1025), 60, 5, 0, np.arange(60), 0)
    for loss, targets in ((losses.SoftmaxCrossEntropy(), y), (losses.MeanSquaredError(), np.eye(10)[y].astype(np.float32))):
        fastnn.manual_seed(4)
        model = nn.Sequential(nn.Input(8, 8, 1), nn.Rescaling(1 / 16), nn.Flatten(), nn.Dense(64, 10))
        t = fastnn.Trainer(model, loss, optim.SGD(model.parameters(), lr=0.0), seed=5)
        mixed = X[others] + shares.astype(np.float32).reshape(-1, 1, 1, 1) * (X - X[others])
        assert mixed.tobytes() == chain(X, 5, 0).tobytes()
        z = model.predict(mixed)
        each = [np.array([t.evaluate(mixed[i : i + 1], w[i : i + 1])["loss"] for i in range(60)]) for w in (targets, targets[others])]
        h = t.fit(X, targets, epochs=1, batch_size=16, augment=chain, verbose=0)
        np.testing.assert_allclose(h["loss"][0], np.mean(shares * each[0] + (1 - shares) * each[1]), rtol=1e-6)
        if targets is y:
            assert h["accuracy"][0] == pytest.approx(np.mean(z.argmax(1) == np.where(shares < 0.5, y[others], y)))


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 3.0, 80.0])
def test_quantiles_of_the_beta_distribution(alpha):
    q = beta_quantiles(alpha, 1025)
    assert (np.diff(q) >= 0).all() and (q + q[::-1] == 1).all() and 0 <= q[0] < 0.5
    _, shares = mixtures(q, 7, 3, 1, np.arange(20000), 0)
    assert abs(shares.mean() - 0.5) < 0.01 and shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)
    beta = pytest.importorskip("scipy.stats").beta(alpha, alpha)
    np.testing.assert_allclose(q[1:-1], beta.ppf(np.linspace(0, 1, 1025)[1:-1]), atol=2e-4)


def test_only_training_is_augmented(digits):
    X, y = digits
    t, alone = make(), make()
    h = t.fit(X, y, epochs=1, augment=a.Mixup(1.0), validation_data=(X, y), verbose=0)
    assert h["val_loss"][0] == t.evaluate(X, y)["loss"]
    [p.data.__setitem__(..., q.data) for p, q in zip(alone.model.parameters(), t.model.parameters())]
    assert alone.evaluate(X, y) == t.evaluate(X, y) and (alone.model.predict(X) == t.model.predict(X)).all()


def test_a_function_of_ones_own(digits):
    X, y = digits
    seen = []

    def twice(images, seed, epoch, rows):
        seen.append((seed, epoch, len(rows)))
        return 2 * images.astype(np.float32)

    t, plain = make(), make()
    t.fit(X, y, augment=twice, shuffle=False, verbose=0)
    plain.fit(2 * X, y, shuffle=False, verbose=0)
    assert bits(t) == bits(plain) and {s[:2] for s in seen[1:]} == {(5, 0)} and sum(s[2] for s in seen[1:]) == 500


def test_bad_rows_are_named_as_they_stand_in_the_data(digits):
    X, y = digits
    X = X.astype(np.float32)
    X[77, 3, 3] = np.nan
    with pytest.warns(RuntimeWarning, match="row 77 of the data is not finite"):
        make().fit(X, y, augment=a.RandomFlip(), verbose=0)


@pytest.mark.parametrize("change, kind, message", [
    ({"augment": [a.RandomFlip()]}, TypeError, r"write augment.Compose\(\[...\]\) for a list"),
    ({"augment": a.RandomFlip}, TypeError, "got the class RandomFlip; write it with its arguments"),
    ({"augment": lambda *given: None}, TypeError, "augment: expected the function to return an array of real numbers, got NoneType"),
    ({"augment": lambda x, *given: x.astype(str)}, TypeError, "augment: expected .* an array of real numbers, got dtype <U"),
    ({"augment": lambda x, *given: x[:0]}, ValueError, "augment: expected the function to return as many images as it gets, 1, got 0"),
    ({"augment": a.Augmentation()}, NotImplementedError, r"Augmentation: expected a method change\(images, draws\)"),
    ({"augment": a.RandomCrop(6)}, ValueError, r"augment: expected images of \(8, 8, 1\) to stay so"),
    ({"augment": a.ColorJitter(saturation=0.1)}, ValueError, "saturation: expected images of three channels, got 1"),
    ({"augment": a.RandomCrop(20)}, ValueError, "size: expected a window within"),
    ({"augment": a.Compose([a.Mixup(1), a.Mixup(1)])}, ValueError, "steps: expected one Mixup at most, got 2"),
    ({"augment": a.Compose([a.Mixup(1), a.Augmentation()])}, ValueError, "of fastnn's own beside a Mixup, got Augmentation"),
    ({"augment": a.Compose([a.RandomFlip()], shape=(3, 3))}, None, None),
])
def test_what_fit_refuses(digits, change, kind, message):
    X, y = digits
    t = make()
    before = bits(t)
    if kind is None:  # the shape is for flat rows only
        t.fit(X, y, verbose=0, **change)
        return
    with pytest.raises(kind, match=message):
        t.fit(X, y, verbose=0, **change)
    assert bits(t) == before


def test_fit_refuses_channels_first_and_sparse_rows(digits):
    X, y = digits
    model = nn.Sequential(nn.Input(1, 8, 8, data_format="channels_first"), nn.Flatten(), nn.Dense(None, 10))
    t = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters()))
    with pytest.raises(ValueError, match=r"channels last, got a model whose nn.Input has them first; write nn.Input\(height"):
        t.fit(X.reshape(-1, 1, 8, 8), y, augment=a.RandomFlip(), verbose=0)
    sparse = pytest.importorskip("scipy.sparse")
    model = nn.Sequential(nn.Dense(64, 10))
    t = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters()))
    with pytest.raises(ValueError, match=r"got sparse rows; write X.toarray\(\)"):
        t.fit(sparse.csr_matrix(X.reshape(-1, 64)), y, augment=a.Compose([a.RandomFlip()], shape=(8, 8)), verbose=0)


@pytest.mark.parametrize("steps, shape, message", [
    (a.RandomFlip(), None, "steps: expected a list of augmentations, got RandomFlip"),
    ([a.RandomFlip], None, r"steps\[0\]: expected .*; write it with its arguments"),
    ([lambda *given: 0], None, r"steps\[0\]: expected .*; in a chain a function is the method `change`"),
    ([], 28, r"shape: expected \(height, width\)"),
])
def test_what_compose_refuses(steps, shape, message):
    with pytest.raises(TypeError, match=message):
        a.Compose(steps, shape=shape)


def test_mixup_wants_a_loss_that_it_can_mix(digits):
    X, y = digits
    for loss in (losses.SoftmaxCrossEntropy(ignore_index=-1), losses.Custom(lambda z, y: (float(z.sum()), np.ones_like(z)))):
        t = make()
        t.loss = loss
        with pytest.raises(ValueError, match="augment: expected one of fastnn's losses, without ignore_index, where Mixup mixes labels"):
            t.fit(X, y, augment=a.Mixup(1.0), verbose=0)
        t.fit(X, y, augment=a.RandomFlip(), verbose=0)


def test_flat_rows_need_a_shape(digits):
    X, y = digits
    flat = X.reshape(len(X), 64)
    fastnn.manual_seed(0)
    model = nn.Sequential(nn.Dense(64, 10))
    t = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters()))
    with pytest.raises(ValueError, match=r"for flat rows write Compose\(\[...\], shape="):
        t.fit(flat, y, augment=a.RandomFlip(), verbose=0)
    with pytest.raises(ValueError, match="shape: expected one of 64 elements"):
        t.fit(flat, y, augment=a.Compose([a.RandomFlip()], shape=(8, 9)), verbose=0)
    t.fit(flat, y, augment=a.Compose([a.RandomFlip()], shape=(8, 8)), verbose=0)
    with pytest.raises(ValueError, match="augment: expected none with an iterable"):
        t.fit([(flat, y)], augment=a.RandomFlip(), verbose=0)


@pytest.mark.parametrize("make_one, kind", [
    (lambda: a.RandomFlip("sideways"), ValueError), (lambda: a.RandomFlip(p=2), ValueError), (lambda: a.RandomShift(-1), ValueError),
    (lambda: a.RandomShift(1.5), TypeError), (lambda: a.RandomRotation(200), ValueError), (lambda: a.RandomZoom(1), ValueError),
    (lambda: a.RandomCrop(0), ValueError), (lambda: a.RandomCrop((1, 2, 3)), ValueError), (lambda: a.Noise(-1), ValueError),
    (lambda: a.ColorJitter(-0.1), ValueError), (lambda: a.Cutout(0), ValueError), (lambda: a.Compose([3]), TypeError),
    (lambda: a.Compose([], shape=(4,)), ValueError), (lambda: a.RandomFlip()(np.zeros((2, 4))), ValueError),
    (lambda: a.RandomFlip()(np.zeros((2, 4, 4)), samples=[1]), ValueError), (lambda: a.RandomFlip()(np.zeros((2, 4, 4), complex)), TypeError),
    (lambda: a.RandomFlip()(np.zeros((2, 4, 4)), seed=-1), ValueError), (lambda: a.Mixup(0), ValueError), (lambda: a.Mixup(np.inf), ValueError),
    (lambda: a.RandomShift(10**6), ValueError), (lambda: a.RandomFlip()(np.zeros((2, 4, 4)), samples=[-1, 2]), ValueError),
    (lambda: a.RandomFlip()(np.zeros((2, 4, 4)), dtype="int8"), ValueError), (lambda: a.Compose([a.RandomFlip()] * 257)(np.zeros((2, 4, 4))), ValueError),
])  # fmt: skip
def test_what_does_not_fit(make_one, kind):
    with pytest.raises(kind):
        make_one()
