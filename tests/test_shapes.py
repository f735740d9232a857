"""Shapes: what comes into a model, how layers infer their sizes from it, and views of samples in other shapes."""

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim


def rows(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def same(a, b):
    """A model like another: with the same numbers in its parameters."""
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        p.data = q.data.reshape(p.shape)
    return a


# ---- inference of sizes ----


def test_sizes_are_inferred_behind_an_input():
    fastnn.manual_seed(3)
    model = nn.Sequential(nn.Input(4, 3, 2), nn.Flatten(), nn.Dense(None, 5, activation="relu"), nn.Dense(None, 3))
    assert [p.shape for p in model.parameters()] == [(24, 5), (5,), (5, 3), (3,)]
    assert (model.in_shape, model.out_shape, model.in_features, model.out_features) == ((4, 3, 2), (3,), 24, 3)
    fastnn.manual_seed(3)
    plain = nn.Sequential(nn.Dense(24, 5, activation="relu"), nn.Dense(5, 3))
    for p, q in zip(model.parameters(), plain.parameters()):  # drawn in the same order
        assert (p.data == q.data).all()
    x = rows(7, 4, 3, 2)
    assert (model.predict(x) == plain.predict(x.reshape(7, 24))).all()
    assert model.layers[2].in_features == 24 and "in_features=24" in repr(model)


def test_sizes_are_inferred_behind_any_layer_that_tells():
    model = nn.Sequential(nn.BatchNorm(4), nn.Dense(None, 6), nn.Residual(nn.Dense(None, 3), nn.Dense(None, 6)), nn.Dense(None, 2))
    assert [p.shape for p in model.parameters()][2::2] == [(4, 6), (6, 3), (3, 6), (6, 2)]
    inner = nn.Sequential(nn.Dense(None, 2), nn.DropConnect(nn.Dense(None, 1)))
    outer = nn.Sequential(nn.Input(3), inner)
    assert outer.predict(np.ones((2, 3))).shape == (2, 1) and inner.layers[1].in_features == 2


def test_an_inferred_layer_stands_in_other_models():
    layer = nn.Dense(None, 4)
    first = nn.Sequential(nn.Input(3), layer)
    second = nn.Sequential(layer, nn.Dense(None, 2))
    assert second.in_features == 3 and first.parameters()[0] is second.parameters()[0]
    with pytest.raises(ValueError, match=r"^layer 1: Dense.*: expected 3 input features, got 5"):
        nn.Sequential(nn.Input(5), layer)


def test_nothing_is_settled_where_layers_do_not_fit():
    first, last = nn.Dense(None, 4), nn.Dense(5, 2)
    fastnn.manual_seed(5)
    with pytest.raises(ValueError, match="^layer 2: Dense.*: expected 5 input features, got 4"):
        nn.Sequential(nn.Input(3), first, last)
    assert first.in_features is None and first.weight is None
    nn.Sequential(nn.Input(3), first)
    fastnn.manual_seed(5)  # nor was anything drawn
    assert (first.weight.data == nn.Dense(3, 4).weight.data).all()


def test_a_model_must_know_its_input():
    part = nn.Sequential(nn.Dense(None, 4), nn.Dense(None, 2))
    calls = (
        lambda: part.predict(np.ones((2, 3))),
        lambda: part.plan(4),
        lambda: part.summary(),
        lambda: part.save("never"),
        lambda: fastnn.Trainer(part, losses.MeanSquaredError(), optim.SGD(nn.Dense(2, 2).parameters())),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"^model: expected one that knows the shape of its input.*put nn.Input\(...\) before Dense"):
            call()
    assert nn.Sequential(nn.Input(3), part).predict(np.ones((2, 3))).shape == (2, 2)


# ---- what comes in ----


@pytest.mark.parametrize("dtype", ["u1", "i4", "f4", "f8"])
def test_channels_first_samples_are_turned_while_they_are_read(dtype):
    images = np.random.default_rng(0).integers(0, 255, (9, 3, 5, 4)).astype(dtype)
    last = nn.Sequential(nn.Input(5, 4, 3), nn.Rescaling(1 / 255), nn.Flatten(), nn.Dense(None, 6))
    first = same(nn.Sequential(nn.Input(3, 5, 4, data_format="channels_first"), *last.layers[1:]), last)
    turned = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    assert first.in_shape == (5, 4, 3)
    assert first.predict(images).tobytes() == last.predict(turned).tobytes()
    y = np.arange(9) % 6
    for backend in ("native", "reference"):
        results = []
        for model, x in ((first, images), (last, turned)):
            trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=0.1), backend=backend)
            before = model.state_dict()
            trainer.fit(x, y, epochs=2, batch_size=4, verbose=0)
            results.append((trainer.evaluate(x, y)["loss"], trainer.step(x, y)))
            model.load_state_dict(before)
        assert results[0] == results[1]


def test_one_channel_may_be_left_out():
    for order in ({}, {"data_format": "channels_first"}):
        shape = (1, 4, 3) if order else (4, 3, 1)
        model = nn.Sequential(nn.Input(*shape, **order), nn.Flatten(), nn.Dense(None, 2))
        x = rows(5, 4, 3)
        assert (model.predict(x) == model.predict(x.reshape(5, *shape))).all()
        assert (model.predict(x[0:0]) == model.predict(x)[0:0]).all() and model.predict([]).shape == (0, 2)


@pytest.mark.parametrize(
    "given, x, hint",
    [
        ((5, 4, 3), (2, 3, 5, 4), r"; the channels come first in it: write nn.Input\(3, 5, 4, data_format='channels_first'\)$"),
        ((5, 4, 3), (2, 60), r"; write X.reshape\(-1, 5, 4, 3\)$"),
        ((5, 4, 3), (5, 4, 3), r"; for a single sample write X\[None\]$"),
        ((5, 4, 3), (2, 4, 5, 3), r"; write X.reshape\(-1, 5, 4, 3\)$"),
        ((5, 4, 3), (2, 5, 4), r"$"),
        ((5, 4, 3), (2, 5, 4, 1), r"$"),
    ],
)
def test_samples_that_do_not_fit(given, x, hint):
    model = nn.Sequential(nn.Input(*given), nn.Flatten(), nn.Dense(None, 2))
    model.predict(np.zeros((2, *given)))  # the short way is open
    with pytest.raises(ValueError, match=r"^X: expected samples of shape \(5, 4, 3\), in rows, got shape .*\)" + hint):
        model.predict(np.zeros(x))


def test_channels_last_samples_for_channels_first():
    model = nn.Sequential(nn.Input(3, 5, 4, data_format="channels_first"), nn.Flatten(), nn.Dense(None, 2))
    with pytest.raises(ValueError, match=r"the channels come last in it: write nn.Input\(5, 4, 3\)$"):
        model.predict(np.zeros((2, 5, 4, 3)))


def test_vectors_as_before():
    model = nn.Sequential(nn.Input(6), nn.Dense(None, 2))
    with pytest.raises(ValueError, match=r"^X: expected 2 dimensions \(rows, features\), got shape \(2, 3, 2\); put nn.Flatten"):
        model.predict(np.zeros((2, 3, 2)))
    with pytest.raises(ValueError, match=r"^X: expected 6 features a row, got shape \(2, 5\)"):
        model.predict(np.zeros((2, 5)))


# ---- views ----


def test_outputs_and_targets_of_several_dimensions():
    x, y = rows(8, 3), rows(8, 2, 2, 1, seed=1)
    model = nn.Sequential(nn.Dense(3, 4), nn.Reshape(2, -1, 1))
    plain = same(nn.Sequential(nn.Dense(3, 4)), model)
    assert model.out_shape == (2, 2, 1)
    assert (model.predict(x) == plain.predict(x).reshape(8, 2, 2, 1)).all()
    out = np.empty((8, 2, 2, 1), np.float32)
    assert model.predict(x, out=out) is out and (out == model.predict(x)).all()
    with pytest.raises(ValueError, match=r"^out: expected shape \(8, 2, 2, 1\), got \(8, 4\)"):
        model.predict(x, out=np.empty((8, 4), np.float32))
    found = []
    for m, targets in ((model, y), (model, y[..., 0]), (model, y.reshape(8, 4)), (plain, y.reshape(8, 4))):
        before = m.state_dict()
        for backend in ("native", "reference"):
            trainer = fastnn.Trainer(m, losses.MeanSquaredError(), optim.Adam(m.parameters()), backend=backend)
            trainer.fit(x, targets, epochs=2, batch_size=3, verbose=0)
            found.append((backend, trainer.evaluate(x, targets)["loss"]))
            m.load_state_dict(before)
    assert len(set(found)) == 2
    with pytest.raises(ValueError, match="^y: expected"):
        trainer.fit(x, y.reshape(8, 4, 1), verbose=0)


def test_views_in_the_middle():
    """Each operation sees the storage; gradients go through, also where a view's base is read twice."""
    def make():
        return nn.Sequential(
            nn.Dense(6, 8), nn.Reshape(2, 4), nn.Activation("relu"), nn.Residual(nn.Activation("tanh")), nn.Dropout(0.2), nn.Flatten(),
            nn.Dense(None, 3),
        )
    model = make()
    plain = same(nn.Sequential(*(layer for layer in make().layers if not isinstance(layer, (nn.Reshape, nn.Flatten)))), model)
    x, y = rows(9, 6), np.arange(9) % 3
    assert (model.predict(x) == plain.predict(x)).all()
    for m in (model, plain):
        trainer = fastnn.Trainer(m, losses.SoftmaxCrossEntropy(), optim.Adam(m.parameters(), lr=0.01))
        trainer.fit(x, y, epochs=3, batch_size=4, verbose=0)
    assert (model.predict(x) == plain.predict(x)).all()
    fastnn.check_gradients(nn.Sequential(*model.layers[:4], *model.layers[5:]), losses.SoftmaxCrossEntropy(), x, y)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: nn.Input(), "^shape: expected at least one size"),
        (lambda: nn.Input(0, 3), r"^shape\[0\]: expected an integer from 1"),
        (lambda: nn.Input(3, -1), r"^shape\[1\]: expected an integer from 1"),
        (lambda: nn.Input(2**20, 2**20), r"^shape: expected fewer than 2\*\*31 elements"),
        (lambda: nn.Input(3, data_format="channels_first"), "^shape: expected channels and at least one size more"),
        (lambda: nn.Input(3, 3, data_format="NCHW"), "^data_format: expected 'channels_last' or 'channels_first', got 'NCHW'"),
        (lambda: nn.Reshape(-1, -1), "^shape: expected -1 for one size at most"),
        (lambda: nn.Reshape(-2), r"^shape\[0\]: expected an integer from 1"),
        (lambda: nn.Sequential(nn.Input(7), nn.Reshape(2, -1)), r"^layer 1: Reshape.*: expected samples of 2 elements times n, got shape \(7,\)"),
        (lambda: nn.Sequential(nn.Dense(2, 8), nn.Reshape(3, 2)), r"^layer 1: Reshape.*: expected samples of 6 elements, got shape \(8,\)"),
        (lambda: nn.Sequential(nn.Input(4, 4, 2), nn.Dense(32, 3)),
         r"^layer 1: Dense.*: expected samples of 32 features, got shape \(4, 4, 2\); put nn.Flatten\(\) before it"),
        (lambda: nn.Sequential(nn.Input(4, 4, 2), nn.Dense(None, 3)), r"^layer 1: Dense.*: expected samples of features, got shape \(4, 4, 2\)"),
        (lambda: nn.Sequential(nn.Input(4, 4, 2), nn.Softmax()), r"^layer 1: Softmax.*: expected samples of features, got shape \(4, 4, 2\)"),
        (lambda: nn.Sequential(nn.Dense(2, 3), nn.Input(4)), r"^layer 1: Input\(4\): expected samples of shape \(4,\), got \(3,\)"),
        (lambda: nn.Sequential(nn.Dense(2, 6), nn.Input(2, 3, data_format="channels_first")), "^layer 1: Input of channels first is only"),
        (lambda: nn.Sequential(nn.Input(2, 3), nn.Residual(nn.Flatten())), r"^layer 1: .*expected the shape that comes in to come out, got \(2, 3\) in and \(6,\) out"),
        (lambda: nn.Tied(nn.Dense(None, 3)), "^dense: expected a layer whose in_features are known"),
        (lambda: nn.Sequential(nn.Input(2**30), nn.Dense(None, 2**30)), r"^layer 1: in_features, out_features: expected a product below"),
    ],
)  # fmt: skip
def test_shapes_that_are_refused(call, message):
    with pytest.raises(ValueError, match=message.replace(".*", "[\\s\\S]*")):
        call()


def test_rescaling_by_channels():
    x = rows(5, 3, 2, 2)
    scale, offset = np.array([2.0, 0.5]), np.array([1.0, -3.0])
    model = nn.Sequential(nn.Input(3, 2, 2), nn.Rescaling(scale, offset), nn.Reshape(3, 4))
    np.testing.assert_allclose(model.predict(x), (x * scale + offset).reshape(5, 3, 4), rtol=1e-5, atol=1e-6)


def test_files_and_summaries(tmp_path):
    model = nn.Sequential(nn.Input(2, 4, 3, data_format="channels_first"), nn.Flatten(), nn.Dense(None, 6), nn.Reshape(3, 2))
    model.save(tmp_path / "m")
    again = nn.load(tmp_path / "m")
    x = rows(3, 2, 4, 3)
    assert repr(again) == repr(model) and (again.predict(x) == model.predict(x)).all() and again.in_shape == (4, 3, 2)
    lines = []
    model.summary(print_fn=lines.append)
    assert [" ".join(line.split()) for line in lines[2:6]] == [
        "0 Input (None, 4, 3, 2) 0 0 0 B", "1 Flatten (None, 24) 0 0 0 B", "2 Dense (None, 6) 150 288 720 B", "3 Reshape (None, 3, 2) 0 0 0 B",
    ]  # fmt: skip


def test_plans_name_their_inputs():
    model = nn.Sequential(nn.Input(2, 3, 4), nn.Flatten(), nn.Dense(None, 5))
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters()))
    plan = trainer.plan(7, weighted=1)
    assert [(i.name, i.shape, i.classes) for i in plan.inputs] == [("x", (2, 3, 4), 0), ("y", (), 5), ("weights", (1,), 0)]
    shapes = {b.name: b.shape for b in plan.buffers}
    assert shapes["x"] == (2, 3, 4) and shapes["y1"] == (5,) and shapes["2.weight"] == (24, 5)


def test_a_model_that_computes_nothing_gives_what_it_takes():
    x = np.random.default_rng(0).standard_normal((5, 32), np.float32)
    for layers, shape in (([nn.Input(32), nn.Dropout(0.5)], (32,)), ([nn.Input(4, 4, 2)], (4, 4, 2)), ([nn.Input(32), nn.Reshape(8, 4)], (32,))):
        model = nn.Sequential(*layers)
        for data in (x, x[::2], x.astype(np.float64), np.asfortranarray(x)):
            assert (model.predict(data.reshape(-1, *shape)).reshape(len(data), 32) == data).all()
