"""fastnn.data.augment: pictures by hand and by SciPy, draws that hang on nothing but seed, epoch and sample; fit that uses them."""

import numpy as np
import pytest

import fastnn
from fastnn import data, losses, nn, optim
from fastnn.data import augment as a
from fastnn.data.augment import Draws

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
    assert abs(twice / a.Noise(1)(np.zeros((3, 4, 4))) - 2).min() > 1e-3  # each with draws of its own
    grey = a.RandomShift(1)(IMAGES[..., 0], 3, 2)
    assert (grey == a.RandomShift(1)(IMAGES[..., :1], 3, 2)[..., 0]).all()
    assert a.RandomCrop(3)(np.zeros((2, 5, 5), np.uint8)).shape == (2, 3, 3)


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


@pytest.mark.parametrize("shuffle", [False, True])
def test_fit_trains_on_the_changed_images(digits, shuffle):
    X, y = digits
    chain = a.Compose([a.RandomShift(1), a.Noise(0.5)])
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
    ({"augment": a.RandomCrop(6)}, ValueError, r"augment: expected images of \(8, 8, 1\) to stay so"),
    ({"augment": a.ColorJitter(saturation=0.1)}, ValueError, "saturation: expected images of three channels, got 1"),
    ({"augment": a.RandomCrop(20)}, ValueError, "size: expected a window within"),
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
    (lambda: a.RandomFlip()(np.zeros((2, 4, 4)), seed=-1), ValueError),
])  # fmt: skip
def test_what_does_not_fit(make_one, kind):
    with pytest.raises(kind):
        make_one()
