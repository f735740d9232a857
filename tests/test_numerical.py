"""Layers for columns of numbers: Scale, PiecewiseLinear, PBLD and ParametricActivation, against NumPy, through gradients, folding,
files and exports."""

import numpy as np
import pytest

import fastnn
from fastnn import io, losses, nn, optim
from fastnn.reference import numerical

X = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 2, 50)
EDGES = [[-1.0, 0.0, 0.5, 2.0], [-0.5, 0.5], [-2.0, -1.0, 1.0]]


def scaled():
    layer = nn.Scale(3)
    layer.weight.data = [0.5, -2.0, 3.0]
    return layer


def piecewise(x):
    """The code by its definition, column by column and bin by bin."""
    parts = [np.clip(2 * (x[:, [i]] - low) / (high - low) - 1, -1, 1) for i, e in enumerate(EDGES) for low, high in zip(e, e[1:])]
    return np.hstack(parts)


def test_forward():
    assert (nn.Sequential(scaled()).predict(X) == X * np.float32([0.5, -2.0, 3.0])).all()
    np.testing.assert_allclose(nn.Sequential(nn.PiecewiseLinear(EDGES)).predict(X), piecewise(X.astype(float)), atol=1e-6)


def waves(x, layer):
    """The embedding by its definition, in float64."""
    w, b, v, c = (p.data.astype(float) for p in (layer.frequency, layer.phase, layer.weight, layer.bias))
    cosine = np.cos(2 * np.pi * w * x[:, : len(w), None] + b)
    made = [cosine[:, j] @ v[j].T + c[j] for j in range(len(w))]
    return np.hstack([x, *made])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_waves(dtype):
    fastnn.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(37, 5)).astype(dtype)
    atol = {"float32": 2e-6, "float64": 3e-15}[dtype]
    for frequencies, dim, embedded in ((16, 4, 5), (1, 2, 1), (19, 8, 3)):
        layer = nn.PBLD(5, frequencies, dim, sigma=0.5, embedded=embedded)
        model = nn.Sequential(layer, dtype=dtype)
        y, expected = model.predict(x), waves(x.astype(float), layer)
        assert y.dtype == dtype and np.array_equal(y[:, :5], x)
        np.testing.assert_allclose(y, expected, atol=10 * atol)
        assert np.array_equal(np.vstack([model.predict(x[i : i + 1]) for i in range(37)]), y)  # whatever rows are beside it
        twin = numerical._pbld_forward(x, *(p.data for p in layer.parameters()))
        np.testing.assert_allclose(twin, expected, atol=10 * atol)


def test_waves_of_large_numbers():
    """Whole turns go off exactly; what is not finite stays so."""
    layer = nn.PBLD(1, 1, 2)
    for p, value in zip(layer.parameters(), (0.25, 0.0, 1.0, 0.0)):
        p.data[...] = value
    x = np.float32([[4e4 + 1], [4e4 + 2], [3e6], [-5e9], [3e38], [np.inf], [np.nan]])
    expected = [0, -1, 1, 1, 1, np.nan, np.nan]
    for backend in (nn.Sequential(layer).predict, lambda x: numerical._pbld_forward(x, *(p.data for p in layer.parameters()))):
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(backend(x)[:, 1], expected, atol=1e-6)


def test_parts_of_an_activation():
    x = np.random.default_rng(0).normal(size=(9, 21)).astype(np.float32)
    layer = nn.ParametricActivation(21, nn.Activation("elu", 0.5))
    layer.weight.data = w = np.linspace(-1, 2, 21)
    f = nn.Sequential(nn.Input(21), nn.Activation("elu", 0.5)).predict(x)
    np.testing.assert_allclose(nn.Sequential(layer).predict(x), x + w * (f - x), atol=1e-6)


MODELS = {
    "scale first": lambda: nn.Sequential(scaled(), nn.Dense(3, 5, "tanh"), nn.Dense(5, 2)),
    "scale inside": lambda: nn.Sequential(nn.Dense(3, 5), nn.Scale(None, 1.5), nn.Activation("mish"), nn.Scale(5), nn.Dense(5, 2)),
    "scale of an activation": lambda: nn.Sequential(nn.Dense(3, 5, "sigmoid"), nn.Scale(5, 2.0), nn.Activation("tanh"), nn.Dense(5, 2)),
    "waves": lambda: nn.Sequential(nn.PBLD(3, 4, embedded=2), nn.Dense(9, 5), nn.ParametricActivation(5, "selu"), nn.Dense(5, 2)),
    "waves inside": lambda: nn.Sequential(nn.Dense(3, 5, "tanh"), nn.PBLD(5, 17, 7), nn.Dense(35, 2), nn.ParametricActivation(2, "gelu")),
    "piecewise": lambda: nn.Sequential(nn.Input(3), scaled(), nn.PiecewiseLinear(EDGES), nn.Dense(None, 2)),
}


@pytest.mark.parametrize("name", MODELS)
def test_gradients_and_the_same_bits(name):
    fastnn.manual_seed(0)
    model = MODELS[name]()
    assert fastnn.check_gradients(model, losses.SoftmaxCrossEntropy(), X[:20], Y[:20])
    states = []
    for backend, fused in (("native", True), ("reference", True)):
        fastnn.manual_seed(0)
        model = MODELS[name]()
        trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01), backend=backend)
        trainer.fit(X, Y, epochs=3, batch_size=16, verbose=0)
        states.append(model.state_dict())
    for key, value in states[0].items():
        np.testing.assert_allclose(states[1][key], value, atol=1e-5)
    trainable = [name for name in states[0]]
    assert any(not np.array_equal(MODELS[name]().state_dict()[key], states[0][key]) for key in trainable)


def test_the_gradient_of_a_scale():
    """dw = Σ dy x over the rows, alone and beside a frozen layer."""
    model = nn.Sequential(scaled())
    loss, (dw,) = fastnn.value_and_grad(model, losses.MeanSquaredError(reduction="sum"), X, np.zeros((50, 3), np.float32))
    w = np.array([0.5, -2.0, 3.0])
    np.testing.assert_allclose(dw, 2 * w * (X.astype(float) ** 2).sum(axis=0), rtol=1e-5)
    model = nn.Sequential(scaled(), nn.Dense(3, 2))
    model.freeze(1)
    _, (dw, dv, db) = fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), X, Y)
    assert dw.any() and dv is None and db is None
    model.freeze(0)
    model.unfreeze(1)
    assert fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), X, Y)[1][0] is None


@pytest.mark.parametrize("name", MODELS)
def test_files_folding_and_exports(name, tmp_path):
    model = MODELS[name]()
    expected = model.predict(X)
    model.save(tmp_path / "m.safetensors")
    assert (nn.load(tmp_path / "m.safetensors").predict(X) == expected).all()
    np.testing.assert_allclose(model.fold().predict(X), expected, atol=1e-5)
    if name == "scale first":
        assert not any(isinstance(layer, nn.Scale) for layer in model.fold())
    for write, ending in ((io.to_onnx, "onnx"), (io.to_numpy, "py"), (io.to_c, "c")):
        write(model, tmp_path / f"m.{ending}")  # each compares what it has written with the model


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: nn.Scale(0), ValueError, "features: expected"),
        (lambda: nn.Scale("3"), TypeError, "features: expected"),
        (lambda: nn.Sequential(nn.Scale(3), nn.Dense(4, 2)), ValueError, "expected 4 input features, got 3"),
        (lambda: nn.PBLD(0), ValueError, "features: expected"),
        (lambda: nn.PBLD(3, dim=1), ValueError, "dim: expected"),
        (lambda: nn.PBLD(3, frequencies=1.5), TypeError, "frequencies: expected an integer"),
        (lambda: nn.PBLD(3, sigma=0), ValueError, "sigma: expected a number > 0, got 0"),
        (lambda: nn.PBLD(3, embedded=4), ValueError, "embedded: expected at most 3, the features, got 4"),
        (lambda: nn.Sequential(nn.PBLD(3), nn.Dense(3, 2)), ValueError, "expected 3 input features, got 12"),
        (lambda: nn.ParametricActivation(3, "softmax"), ValueError, "activation: expected one of"),
        (lambda: nn.Sequential(nn.Dense(2, 4), nn.ParametricActivation(3, "relu")), ValueError, "expected 3 input features, got 4"),
        (lambda: nn.PiecewiseLinear([]), ValueError, "edges: expected those of at least one column"),
        (lambda: nn.PiecewiseLinear([[0.0]]), ValueError, r"edges\[0\]: expected at least two"),
        (lambda: nn.PiecewiseLinear([[0, 1], [0, 1, 1]]), ValueError, r"edges\[1\]: expected at least two finite numbers that rise"),
        (lambda: nn.PiecewiseLinear([[0, np.nan]]), ValueError, r"edges\[0\]"),
        (lambda: nn.PiecewiseLinear([["a", "b"]]), TypeError, r"edges\[0\]: expected a sequence of numbers"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()
