"""fastnn.nn: layers, models, inference, state, and files good and hostile."""

import copy
import json
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import losses, nn, optim

RNG = np.random.default_rng(0)


def mlp():
    return nn.Sequential(
        nn.Flatten(),
        nn.Rescaling(0.5, -1.0),
        nn.Dense(12, 9, activation=nn.Activation("leaky_relu", alpha=0.25)),
        nn.Activation("tanh"),
        nn.Dense(9, 7, activation="sigmoid", bias=False),
        nn.Activation("leaky_relu", alpha=0.5),
        nn.Dense(7, 3),
    )


def numpy_outputs(model, x):
    f = {
        "identity": lambda z, a: z,
        "sigmoid": lambda z, a: 1 / (1 + np.exp(-z)),
        "tanh": lambda z, a: np.tanh(z),
        "relu": lambda z, a: np.maximum(z, 0),
        "leaky_relu": lambda z, a: np.where(z > 0, z, a * z),
    }
    x = np.asarray(x, np.float64).reshape(len(x), -1)
    for layer in model.layers:
        if isinstance(layer, nn.Rescaling):
            x = x * layer.scale + layer.offset
        elif isinstance(layer, nn.Dense):
            x = x @ layer.weight.data + (0 if layer.bias is None else layer.bias.data)
            x = f[layer.activation](x, layer.alpha)
        elif isinstance(layer, nn.Activation):
            x = f[layer.name](x, layer.alpha)
    return x


def bits(model):
    return [p.data.tobytes() for p in model.parameters()]


# --- layers and models ---


def test_a_model_as_a_sequence_and_a_function():
    model = mlp()
    x = np.random.default_rng(0).random((3, 12)).astype(np.float32)
    assert len(model) == 7 and model[2] is model.layers[2] and model[-1] is model.layers[-1]
    assert list(model) == list(model.layers)
    assert (model(x) == model.predict(x)).all()
    part = model[:3]
    assert isinstance(part, nn.Sequential) and part[2] is model[2] and part(x).shape == (3, 9)
    with pytest.raises(IndexError):
        model[7]
    with pytest.raises(TypeError, match=r"params: expected a list or dict of arrays, got Sequential; write model.parameters\(\)"):
        optim.SGD(model)


def test_what_layers_are_called_elsewhere():
    assert nn.Linear is nn.Dense and nn.BatchNorm1d is nn.BatchNorm
    x = np.linspace(-3, 3, 8, dtype=np.float32).reshape(2, 4)
    for layer, name, alpha in (
        (nn.Identity(), "identity", None), (nn.Sigmoid(), "sigmoid", None), (nn.Tanh(), "tanh", None), (nn.ReLU(), "relu", None),
        (nn.LeakyReLU(), "leaky_relu", 0.01), (nn.LeakyReLU(0.2), "leaky_relu", 0.2), (nn.ELU(2.0), "elu", 2.0), (nn.SELU(), "selu", None),
        (nn.GELU(), "gelu", None), (nn.GELU(approximate="tanh"), "gelu_tanh", None), (nn.SiLU(), "silu", None), (nn.Mish(), "mish", None),
        (nn.Softplus(2.0), "softplus", 2.0), (nn.Hardtanh(), "hard_tanh", None),
    ):  # fmt: skip
        assert repr(layer) == repr(nn.Activation(name, alpha))
        assert (nn.Sequential(nn.Linear(4, 4, init="identity"), layer)(x) == fastnn.kernels.activation_forward(x, name, alpha=alpha)).all()
    with pytest.raises(ValueError, match="approximate: expected 'none' or 'tanh', got 'erf'"):
        nn.GELU("erf")


def test_names_and_numbers_like_torch():
    torch = pytest.importorskip("torch")
    x = np.linspace(-4, 4, 33, dtype=np.float32)[None]
    makes = {
        "Sigmoid": (), "Tanh": (), "ReLU": (), "LeakyReLU": (), "ELU": (), "SELU": (), "GELU": (), "SiLU": (), "Softplus": (), "Hardtanh": (),
    }  # fmt: skip
    for name, arguments in makes.items():
        mine = nn.Sequential(nn.Linear(33, 33, init="identity"), getattr(nn, name)(*arguments))(x)
        theirs = getattr(torch.nn, name)(*arguments)(torch.tensor(x)).numpy()
        np.testing.assert_allclose(mine, theirs, rtol=2e-6, atol=1e-6, err_msg=name)


def test_rescaling_by_column(tmp_path):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(50, 3)) * [1, 1e3, 1e-3] + [0, 1e6, 5]).astype(np.float32)
    mean, std = X.astype(np.float64).mean(axis=0), X.astype(np.float64).std(axis=0)
    model = nn.Sequential(nn.Rescaling(1 / std, -mean / std))
    assert model.in_features == 3
    assert np.abs(model.predict(X) - (X - mean) / std).max() < 2e-3  # of a million with a deviation of a thousand
    both = nn.Sequential(nn.Flatten(), nn.Rescaling(2.0), nn.Rescaling([1.0, 0.0, -1.0], [0.5, 7.0, 0.0]), nn.Rescaling(0.5, 1.0), nn.Dense(3, 1))
    x = np.array([[[1], [2], [3]]], np.uint8)
    inputs = np.array([[(2 + 0.5) * 0.5 + 1, 7 * 0.5 + 1, -6 * 0.5 + 1]])
    np.testing.assert_allclose(both.predict(x), inputs @ both[-1].weight.data, rtol=1e-6)
    both.save(tmp_path / "m")
    again = nn.load(tmp_path / "m")
    assert (again.predict(x) == both.predict(x)).all() and repr(again) == repr(both)
    trainer = fastnn.Trainer(both, losses.MeanSquaredError(), optim.SGD(both.parameters(), lr=0.0))
    assert abs(trainer.step(x, [0.0]) - both.predict(x)[0, 0] ** 2) < 1e-5
    for arguments, error, message in (
        (([1.0, 2.0], [1.0]), ValueError, "scale, offset: expected as many of both, got 2 and 1"),
        (([],), ValueError, "scale: expected a number, or one for each feature, got none"),
        (([1.0, np.inf],), ValueError, r"scale\[1\]: expected a finite number in"),
        (([1.0, "x"],), TypeError, r"scale\[1\]: expected a number, got 'x'"),
        ((np.ones((2, 2)),), TypeError, r"scale\[0\]: expected a number"),
        ((1.0, None), TypeError, "offset: expected a number, got None"),
        ((np.ma.array([1.0]),), TypeError, "scale: expected a plain array, got a masked one"),
    ):
        with pytest.raises(error, match=message):
            nn.Rescaling(*arguments)
    with pytest.raises(ValueError, match="expected 3 input features, got 2"):
        nn.Sequential(nn.Rescaling([1.0, 2.0]), nn.Dense(3, 1))


def test_masked_arrays_are_refused_at_every_entry():
    model = nn.Sequential(nn.Dense(2, 1))
    X, y = np.ones((3, 2), np.float32), np.ones(3)
    masked = {a.shape: np.ma.array(a, mask=a > 2) for a in (X, y, np.ones((3, 1), np.float32), np.ones((2, 1)))}
    trainer = fastnn.Trainer(model, losses.MeanSquaredError(), optim.SGD(model.parameters(), lr=0.1))
    calls = {
        "X": lambda: model.predict(masked[3, 2]),
        "out": lambda: model.predict(X, out=masked[3, 1]),
        r"X\[1\]": lambda: model.predict([X[0], masked[3, 2][1], X[2]]),
        "xb": lambda: trainer.step(masked[3, 2], y),
        "yb": lambda: trainer.step(X, masked[3,]),
        "y": lambda: trainer.fit(X, masked[3,], verbose=0),
        r"validation_data\[1\]": lambda: trainer.fit(X, y, validation_data=(X, masked[3,]), verbose=0),
        "sample_weight": lambda: trainer.evaluate(X, y, sample_weight=masked[3,]),
        "x": lambda: fastnn.value_and_grad(model, losses.MeanSquaredError(), masked[3, 2], y),
        r"state_dict\['0.bias'\]": lambda: model.load_state_dict({**model.state_dict(), "0.bias": masked[3,][:1]}),
        "0.weight": lambda: setattr(model.parameters()[0], "data", masked[2, 1]),
        "parameter": lambda: nn.Parameter(masked[2, 1]),
        "labels": lambda: fastnn.data.one_hot(masked[3,]),
        "array": lambda: fastnn.data.write_idx(os.devnull, masked[3,]),
        " X": lambda: fastnn.data.train_test_split(masked[3, 2], y),
        "x ": lambda: fastnn.kernels.softmax_forward(masked[3, 2]),
        "targets": lambda: fastnn.kernels.softmax_cross_entropy(X, masked[3,]),
        "source": lambda: fastnn.kernels.gather(masked[3, 2], np.arange(2)),
        "w": lambda: fastnn.regularizers.L2(0.1)(masked[2, 1]),
    }
    before = bits(model)
    for name, call in calls.items():
        with pytest.raises(TypeError, match=rf"^{name.strip()}: expected a plain array, got a masked one, of which the mask would be lost"):
            call()
    assert bits(model) == before
    assert model.predict(X.view(np.memmap)).shape == (3, 1)  # which means nothing else


def test_arrays_that_lie_about_themselves():
    """Checks read what an array is: kernels must not read, or write, beyond its memory."""

    def lying(a, **what):
        return a.view(type("Liar", (np.ndarray,), {k: property(lambda self, v=v: v) for k, v in what.items()}))

    x = np.ones((4, 3), np.float32)
    room = np.full(4 * 64, 7, np.int8)
    small = lying(room[:12].reshape(4, 3), dtype=np.dtype("f4"))
    model = nn.Sequential(nn.Dense(3, 3))
    more = [
        lambda: model.predict(x, out=small),
        lambda: fastnn.kernels.softmax_forward(small),
        lambda: fastnn.kernels.activation_forward(x, "relu", out=small),
        lambda: fastnn.kernels.activation_forward(x, "relu", out=lying(x[:2].copy(), shape=(4, 3))),
        lambda: fastnn.kernels.activation_backward(x, lying(x[:2].copy(), shape=(4, 3)), "relu"),
        lambda: fastnn.kernels.dense_forward(x, lying(x[:1].copy(), shape=(3, 3), size=9), None),
        lambda: fastnn.kernels.softmax_cross_entropy(x, lying(np.zeros(2, np.int64), shape=(4,))),
        lambda: fastnn.kernels.gather(lying(x.astype(np.complex64), dtype=np.dtype("f4")), np.arange(4)),
        lambda: fastnn.kernels.gather_labels(lying(np.ones(4, np.float16), dtype=np.dtype("i8")), None, 2**31),
        lambda: fastnn.kernels.penalty_forward(small, 0.1, 0.1),
    ]
    for call in more:
        with pytest.raises((TypeError, ValueError)):
            call()
    assert (room == 7).all()


def test_a_state_that_has_other_names():
    body, model = nn.Sequential(nn.Dense(4, 3), nn.BatchNorm(3)), nn.Sequential(nn.Dense(4, 3), nn.PReLU(3), nn.Dense(3, 2))
    before = {name: p.data.copy() for name, p in model.named_parameters()}
    with pytest.raises(ValueError, match=r"missing \['1.slope', '2.bias', '2.weight'\], unknown \['1.bias'"):
        model.load_state_dict(body.state_dict())
    missing, unknown = model.load_state_dict(body.state_dict(), strict=False)
    assert missing == ["1.slope", "2.bias", "2.weight"]
    assert unknown == ["1.bias", "1.running_mean", "1.running_var", "1.weight"]
    after = dict(model.named_parameters())
    assert (after["0.weight"].data == body.layers[0].weight.data).all() and (after["0.weight"].data != before["0.weight"]).any()
    assert all((after[name].data == before[name]).all() for name in missing)
    with pytest.raises(ValueError, match=r"state_dict\['0.bias'\]: expected shape \(3,\), got \(2,\)"):
        model.load_state_dict({"0.bias": np.ones(2)}, strict=False)
    with pytest.raises(TypeError, match="strict: expected True or False, got 0"):
        model.load_state_dict(model.state_dict(), strict=0)


def test_outputs():
    model = mlp()
    x = RNG.normal(size=(50, 3, 4))
    y = model.predict(x)
    assert y.shape == (50, 3) and y.dtype == np.float32
    expected = numpy_outputs(model, x)
    assert np.abs(y - expected).max() < 1e-6
    p = model.predict_proba(x)
    e = np.exp(expected - expected.max(axis=1, keepdims=True))
    assert np.abs(p - e / e.sum(axis=1, keepdims=True)).max() < 1e-6
    classes = model.predict_classes(x)
    assert classes.dtype == np.int64 and (classes == expected.argmax(axis=1)).all()


@pytest.mark.parametrize("rows", [1, 2, 255, 256, 257, 600])
def test_any_number_of_rows(rows):
    model = mlp()
    x = RNG.integers(0, 256, (rows, 12), dtype=np.uint8)
    whole = model.predict(x)
    assert np.abs(whole - numpy_outputs(model, x)).max() < 1e-5
    for batch_size in (1, 100, 10**9):
        assert model.predict(x, batch_size=batch_size).tobytes() == whole.tobytes()


def test_out():
    model = mlp()
    x = RNG.normal(size=(5, 12)).astype(np.float32)
    out = np.full((5, 3), np.nan, np.float32)
    assert model.predict(x, out=out) is out
    assert out.tobytes() == model.predict(x).tobytes()
    model.predict_proba(x, out=out)
    assert out.tobytes() == model.predict_proba(x).tobytes()


def test_structure():
    model = mlp()
    names = ["2.weight", "2.bias", "4.weight", "6.weight", "6.bias"]
    assert [p.name for p in model.parameters()] == names == list(model.state_dict())
    assert (model.in_features, model.out_features) == (12, 3)
    assert "Dense(in_features=12, out_features=9, activation='leaky_relu', alpha=0.25, bias=True)" in repr(model)
    assert eval(repr(model.layers[5]), {"Activation": nn.Activation}).alpha == 0.5
    dense = model.layers[2]
    assert dense.weight.shape == (12, 9) and dense.bias.shape == (9,) and dense.weight.size == 108
    assert model.layers[4].bias is None and "bias=False" in repr(model.layers[4])


def test_numpy_integers_are_sizes():
    assert nn.Dense(np.int32(4), np.uint8(3)).weight.shape == (4, 3)


def test_a_parameter_keeps_its_place():
    p = nn.Dense(4, 3).weight
    address = p.data.__array_interface__["data"][0]
    assert address % 64 == 0 and p.data.dtype == np.float32
    p.data = np.arange(12).reshape(4, 3)
    assert p.data.__array_interface__["data"][0] == address and p.data[3, 2] == 11
    p.data[0, 0] = 5
    assert np.asarray(p)[0, 0] == 5 and np.asarray(p) is p.data
    assert np.array(p, dtype=np.float64, copy=True).dtype == np.float64
    assert not np.shares_memory(np.array(p), p.data)
    with pytest.raises(ValueError, match="expected shape"):
        p.data = np.zeros((3, 4))
    with pytest.raises(AttributeError):
        p.shape = (3, 4)
    with pytest.raises(ValueError, match="a copy is needed"):
        p.__array__(np.float64, copy=False)  # what np.array(..., copy=False) asks for since NumPy 2
    assert p.dtype == np.float32 and repr(nn.Parameter([1.0], "bias")) == "Parameter(bias, shape=(1,))"


def test_weights_written_between_calls_count():
    model = nn.Sequential(nn.Dense(3, 2))
    x = np.ones((1, 3), np.float32)
    model.predict(x)
    model.layers[0].weight.data[...] = 2
    model.layers[0].bias.data = [1, -1]
    assert model.predict(x).tolist() == [[7, 5]]


def test_layers_may_stand_in_two_models():
    """A part of a model is a model too; names and files of the first stay right."""
    model = nn.Sequential(nn.Dense(4, 5, "relu"), nn.Dense(5, 3))
    x, y = RNG.normal(size=(6, 4)).astype(np.float32), np.arange(6) % 3
    loss, grads = fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x, y)
    before = model.state_dict()
    head = nn.Sequential(*model.layers[1:])
    assert list(head.state_dict()) == ["0.weight", "0.bias"]
    assert model.state_dict().keys() == before.keys()
    assert all((model.state_dict()[k] == v).all() for k, v in before.items())
    loss_again, grads_again = fastnn.value_and_grad(nn.Sequential(*model.layers), losses.SoftmaxCrossEntropy(), x, y)
    nn.Sequential(*model.layers[1:])
    for loss_now, grads_now in ((loss_again, grads_again), fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x[:5], y[:5])):
        assert [g.shape for g in grads_now] == [g.shape for g in grads]
    assert loss_again == loss and all((a == b).all() for a, b in zip(grads, grads_again))
    results = []
    for backend in ("native", "reference"):
        twin = copy.deepcopy(model)
        nn.Sequential(*twin.layers[1:])  # names its parameters anew
        fastnn.Trainer(twin, losses.SoftmaxCrossEntropy(), optim.SGD(twin.parameters(), lr=0.1), backend=backend).step(x, y)
        results.append([p.data.copy() for p in twin.parameters()])
    assert all(np.abs(a - b).max() < 1e-6 for a, b in zip(*results))
    assert head.predict(np.ones((1, 5))).shape == (1, 3)


def test_predict_from_many_threads():
    model = nn.Sequential(nn.Dense(64, 100, "relu"), nn.Dense(100, 10))
    inputs = [RNG.normal(size=(rows, 64)).astype(np.float32) for rows in (1, 7, 64, 300, 512, 33)]
    expected = [(model.predict(x).tobytes(), model.predict_proba(x).tobytes()) for x in inputs]
    wrong = []

    def work(k):
        for i in range(30):
            j = (i + k) % len(inputs)
            if (model.predict(inputs[j]).tobytes(), model.predict_proba(inputs[j]).tobytes()) != expected[j]:
                wrong.append((k, i))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    assert len(model._idle) <= 8


# --- refusals: layers ---


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: nn.Dense(0, 3), ValueError, "^in_features: expected an integer from 1 .*, got 0"),
        (lambda: nn.Dense(3, -1), ValueError, "^out_features: expected an integer from 1 .*, got -1"),
        (lambda: nn.Dense(3.0, 3), TypeError, "^in_features: expected an integer, got 3.0"),
        (lambda: nn.Dense("3", 3), TypeError, "^in_features: expected an integer, got '3'"),
        (lambda: nn.Dense("3", 3), TypeError, "^in_features: expected an integer, got '3'"),
        (lambda: nn.Dense(2**31, 1), ValueError, "^in_features: expected"),
        (lambda: nn.Dense(1, 10**40), ValueError, "^out_features: expected"),
        (lambda: nn.Dense(2**31 - 1, 2**31 - 1), ValueError, r"^in_features, out_features: expected a product below 2\*\*60, got"),
        (lambda: nn.Dense(3, 3, activation="swish"), ValueError, "^activation: expected one of identity, .*, got 'swish'"),
        (lambda: nn.Dense(3, 3, activation=3), TypeError, "^activation: expected a name, got int"),
        (lambda: nn.Dense(3, 3, activation=np.tanh), TypeError, "^activation: expected a name, got ufunc"),
        (lambda: nn.Activation("Relu"), ValueError, "^activation: expected one of"),
        (lambda: nn.Activation("leaky_relu", alpha=-0.1), ValueError, "^alpha: expected a number >= 0"),
        (lambda: nn.Activation("leaky_relu", alpha=float("nan")), ValueError, "^alpha: expected"),
        (lambda: nn.Activation("leaky_relu", alpha=1e39), ValueError, "^alpha: expected"),
        (lambda: nn.Activation("leaky_relu", alpha=10**400), ValueError, "^alpha: expected"),
        (lambda: nn.Activation("leaky_relu", alpha="0.1"), TypeError, "^alpha: expected a number, got str"),
        (lambda: nn.Rescaling("1"), TypeError, "^scale: expected a number, got '1'"),
        (lambda: nn.Rescaling(1, None), TypeError, "^offset: expected a number, got None"),
        (lambda: nn.Rescaling(float("inf")), ValueError, "^scale: expected a finite number, got inf"),
        (lambda: nn.Rescaling(1, float("nan")), ValueError, "^offset: expected a finite number, got nan"),
        (lambda: nn.Rescaling(10**400), ValueError, "^scale: expected a finite number"),
        (lambda: nn.Sequential(), ValueError, "^layers: expected at least one, got none"),
        (lambda: nn.Sequential(nn.Flatten()), ValueError, "^layers: expected at least one Dense layer, or another"),
        (lambda: nn.Sequential(nn.Dense), TypeError, "^layer 0: expected a layer, got the class Dense"),
        (lambda: nn.Sequential([nn.Dense(3, 3)]), TypeError, "^layer 0: expected a layer, got list"),
        (lambda: nn.Sequential(nn.Dense(3, 3), "relu"), TypeError, "^layer 1: expected a layer, got str"),
        (lambda: nn.Sequential(nn.Dense(3, 4), nn.Dense(5, 6)), ValueError, "^layer 1: Dense.*: expected 5 input features, got 4"),
        (lambda: nn.Sequential(nn.Dense(3, 4), nn.Rescaling(2.0)), ValueError, "^layer 1: Rescaling is only for the model's input"),
        (lambda: nn.Sequential(nn.Activation("relu"), nn.Rescaling(2.0), nn.Dense(3, 4)), ValueError, "^layer 1: Rescaling"),
    ],
)
def test_layers_that_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_layer_stands_once():
    layer = nn.Dense(3, 3)
    with pytest.raises(TypeError, match="^layer 1: expected a layer of its own, got one that stands in the model already"):
        nn.Sequential(layer, layer)


# --- refusals: inputs ---

READ_ONLY = np.zeros((2, 3), np.float32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    "x, error, message",
    [
        (np.zeros(12), ValueError, r"^X: expected 2 dimensions \(rows, features\), got shape \(12,\)"),
        (np.float32(1), ValueError, r"^X: expected 2 dimensions .*, got shape \(\)"),
        (np.zeros((2, 3, 4)), ValueError, r"got shape \(2, 3, 4\); put nn.Flatten\(\) first"),
        (np.zeros((2, 11)), ValueError, r"^X: expected 12 features a row, got shape \(2, 11\)"),
        (np.zeros((2, 0)), ValueError, r"^X: expected at least one row and one feature, got shape \(2, 0\)"),
        (np.zeros((2, 12), complex), TypeError, "^X: expected real numbers, got dtype complex128"),
        (np.zeros((2, 12), "M8[s]"), TypeError, "^X: expected real numbers, got dtype datetime64"),
        (np.full((2, 12), None), TypeError, "^X: expected real numbers, got dtype object"),
        (np.full((2, 12), "1"), TypeError, "^X: expected real numbers, got dtype <U1"),
        ([[1, 2], [3]], ValueError, "^X: expected an array, got a list that makes none"),
        (None, TypeError, "^X: expected real numbers, got dtype object"),
    ],
)
def test_inputs_that_are_refused(x, error, message):
    model = nn.Sequential(nn.Dense(12, 3))
    for call in (model.predict, model.predict_proba, model.predict_classes):
        with pytest.raises(error, match=message):
            call(x)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters()))
    before = bits(model)
    for call, name in ((trainer.fit, "X"), (trainer.evaluate, "X"), (trainer.step, "xb")):
        with pytest.raises(error, match=f"^{name}: expected"):
            call(x, np.zeros(2, int))
    assert bits(model) == before


@pytest.mark.parametrize(
    "out, error, message",
    [
        ([[0.0] * 3] * 2, TypeError, "^out: expected a NumPy array, got list"),
        (np.zeros((2, 3)), TypeError, "^out: expected dtype float32, got float64"),
        (np.zeros((3, 2), np.float32), ValueError, r"^out: expected shape \(2, 3\), got \(3, 2\)"),
        (np.zeros(6, np.float32), ValueError, r"^out: expected shape \(2, 3\), got \(6,\)"),
        (np.zeros((2, 6), np.float32)[:, ::2], ValueError, "^out: expected a C-contiguous array"),
        (np.zeros((3, 2), np.float32).T, ValueError, "^out: expected a C-contiguous array"),
        (READ_ONLY, ValueError, "^out: expected a writable array"),
    ],
)
def test_outs_that_are_refused(out, error, message):
    with pytest.raises(error, match=message):
        nn.Sequential(nn.Dense(4, 3)).predict(np.zeros((2, 4)), out=out)


def test_an_out_that_is_the_input():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="^out: expected memory of its own, got an array that overlaps X"):
        nn.Sequential(nn.Dense(3, 3)).predict(x, out=x)
    model = nn.Sequential(nn.Dense(2, 3), nn.BatchNorm(3))
    for rows in (x[:1, :2], x[:1, :2].astype(np.float64)):
        with pytest.raises(ValueError, match="^out: expected memory of its own, got an array that overlaps the model's 1.running_mean"):
            model.predict(rows.copy(), out=model.layers[1].running_mean.data.reshape(1, 3))


@pytest.mark.parametrize("batch_size, error", [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("8", TypeError), (2**31, ValueError)])
def test_batch_sizes_that_are_refused(batch_size, error):
    with pytest.raises(error, match="^batch_size: expected an integer"):
        nn.Sequential(nn.Dense(3, 3)).predict(np.zeros((2, 3)), batch_size=batch_size)


def test_a_refused_call_leaves_the_model_usable():
    model = nn.Sequential(nn.Dense(3, 3))
    for _ in range(20):
        with pytest.raises(TypeError):
            model.predict(np.zeros((2, 3)), out=np.zeros((2, 3)))
    assert len(model._idle) == 1
    assert model.predict(np.zeros((2, 3))).shape == (2, 3)


# --- state, copies, pickles ---


def test_state_dict_round_trip():
    a, b = mlp(), mlp()
    assert bits(a) != bits(b)
    state = a.state_dict()
    b.load_state_dict(state)
    assert bits(a) == bits(b)
    state["2.bias"][:] = 9
    assert not (a.state_dict()["2.bias"] == 9).any()
    b.load_state_dict({k: v.tolist() for k, v in a.state_dict().items()})
    assert bits(a) == bits(b)


@pytest.mark.parametrize(
    "damage, error, message",
    [
        (lambda s: s.pop("2.bias"), ValueError, r"missing \['2.bias'\], unknown \[\]"),
        (lambda s: s.update({"9.weight": np.zeros(2)}), ValueError, r"missing \[\], unknown \['9.weight'\]"),
        (lambda s: s.update({3: np.zeros(2)}), ValueError, r"unknown \['3'\]"),
        (lambda s: s.update({"6.bias": np.zeros(4)}), ValueError, r"state_dict\['6.bias'\]: expected shape \(3,\), got \(4,\)"),
        (lambda s: s.update({"6.bias": np.zeros(3, complex)}), TypeError, r"state_dict\['6.bias'\]: expected real numbers"),
        (lambda s: s.update({"6.bias": ["a", "b", "c"]}), TypeError, r"state_dict\['6.bias'\]: expected real numbers"),
        (lambda s: s.update({"6.bias": [[1], [2, 3]]}), ValueError, r"state_dict\['6.bias'\]: expected an array"),
    ],
)
def test_a_damaged_state_changes_nothing(damage, error, message):
    model = mlp()
    before = bits(model)
    state = {k: v + 1 for k, v in model.state_dict().items()}
    damage(state)
    with pytest.raises(error, match=message):
        model.load_state_dict(state)
    assert bits(model) == before


def test_a_state_that_is_no_dict():
    for state in (None, [1], "abc"):
        with pytest.raises(TypeError, match="state_dict: expected a dict"):
            mlp().load_state_dict(state)


@pytest.mark.parametrize("again", [copy.deepcopy, copy.copy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_apart(again):
    model = mlp()
    x = RNG.normal(size=(4, 12))
    twin = again(model)
    assert bits(twin) == bits(model) and repr(twin) == repr(model)
    assert twin.predict(x).tobytes() == model.predict(x).tobytes()
    twin.layers[2].weight.data[...] = 0
    assert bits(twin) != bits(model)
    trainer = fastnn.Trainer(twin, losses.SoftmaxCrossEntropy(), optim.SGD(twin.parameters()))
    trainer.step(x, np.zeros(4, int))


def test_a_copy_draws_no_random_numbers():
    fastnn.manual_seed(1)
    nn.Dense(3, 3)
    expected = nn.Dense(3, 3).weight.data.copy()
    fastnn.manual_seed(1)
    copy.deepcopy(nn.Sequential(nn.Dense(3, 3)))
    assert (nn.Dense(3, 3).weight.data == expected).all()


# --- files ---


@pytest.fixture(scope="module")
def good():
    """The bytes of a good file, and the model that is in it."""
    import tempfile

    model = mlp()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.safetensors")
        model.save(path)
        return pathlib.Path(path).read_bytes(), model


def parts(data):
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize("kind", [str, pathlib.Path, os.fsencode])
def test_file_round_trip(tmp_path, kind):
    model = mlp()
    path = kind(str(tmp_path / "modèl 1.safetensors"))
    assert model.save(path) is None
    again = nn.load(path)
    assert bits(again) == bits(model) and repr(again) == repr(model)
    x = RNG.normal(size=(3, 3, 4))
    assert again.predict(x).tobytes() == model.predict(x).tobytes()
    assert len(os.listdir(tmp_path)) == 1
    again.save(path)  # over what is there
    assert bits(nn.load(path)) == bits(model)


def test_a_file_says_everything():
    model = nn.Sequential(
        nn.Rescaling(1 / 3), nn.Dense(2, 2, activation="leaky_relu"), nn.Activation("leaky_relu", 0.0), nn.Dense(2, 1, bias=False)
    )
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        model.save(os.path.join(folder, "m"))
        assert repr(nn.load(os.path.join(folder, "m"))) == repr(model)


def test_files_are_plain_safetensors(tmp_path, good):
    from safetensors import safe_open
    from safetensors.numpy import load_file

    path = tmp_path / "m.safetensors"
    path.write_bytes(good[0])
    tensors = load_file(path)
    assert {k: v.tobytes() for k, v in tensors.items()} == {k: v.tobytes() for k, v in good[1].state_dict().items()}
    with safe_open(path, "numpy") as file:
        assert file.metadata()["format"] == "fastnn" and file.metadata()["version"] == "1"


def test_files_hold_what_safetensors_writes(tmp_path):
    """The same tensors at the same places; the header is in an order of ours, for theirs is one by chance."""
    from safetensors.numpy import save

    model = nn.Sequential(*(nn.Dense(3, 3) for _ in range(11)), nn.BatchNorm(3))
    model.save(tmp_path / "m")
    found = (tmp_path / "m").read_bytes()
    length = int.from_bytes(found[:8], "little")
    header = json.loads(found[8 : 8 + length])
    theirs = save(model.state_dict(), header["__metadata__"])
    other = int.from_bytes(theirs[:8], "little")
    assert header == json.loads(theirs[8 : 8 + other]) and found[8 + length :] == theirs[8 + other :] and length % 8 == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a limit of memory")
@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer ends a process without memory")
def test_saving_and_loading_without_memory(tmp_path):
    """A model is saved whatever is left; one that has no room is a MemoryError."""
    code = """
import os, resource, sys
from fastnn import nn
model = nn.Sequential(nn.Dense(3000, 3000, init="zeros"))
used = int(open("/proc/self/statm").read().split()[0]) * 4096
loaded = refused = 0
for extra in range(2, 120, 8):
    resource.setrlimit(resource.RLIMIT_AS, (used + extra * 10**6, -1))
    model.save(sys.argv[1])
    try:
        nn.load(sys.argv[1])
        loaded += 1
    except MemoryError:
        refused += 1
print(loaded > 0, refused > 0)
"""
    found = subprocess.run([sys.executable, "-c", code, tmp_path / "m"], capture_output=True, text=True)
    assert found.stdout == "True True\n", found.stderr


def test_special_values_survive(tmp_path):
    model = nn.Sequential(nn.Dense(2, 3))
    model.layers[0].weight.data[...] = [[np.nan, np.inf, -np.inf], [-0.0, 1e-45, 3e38]]
    model.save(tmp_path / "m")
    assert bits(nn.load(tmp_path / "m")) == bits(model)


def test_saving_where_nothing_can_be_written(tmp_path):
    model = mlp()
    (tmp_path / "file").write_bytes(b"precious")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "no" / "m", tmp_path / "file" / "m", tmp_path / "folder", tmp_path / ("x" * 300)):
        with pytest.raises(OSError):
            model.save(path)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"] and not os.listdir(tmp_path / "folder")
    assert (tmp_path / "file").read_bytes() == b"precious"


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    model = mlp()
    model.save(tmp_path / "m")
    before = (tmp_path / "m").read_bytes()

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    model.layers[2].weight.data[...] = 0
    with pytest.raises(OSError, match="No space"):
        model.save(tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == before and os.listdir(tmp_path) == ["m"]


def test_reading_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        nn.load(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        nn.load(tmp_path)
    with pytest.raises(TypeError):
        nn.load(3)


def refused(tmp_path, data, message=""):
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"hostile.safetensors'.*{message}") as caught:
            nn.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 2000
    assert peak < 100 * len(data) + 4_000_000  # every byte of a header may be a list within the last
    return str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0" * 8,
        b"\xff" * 8,
        b"\xff" * 100,
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2**40) + b"{}",
        struct.pack("<Q", 100_000_000) + b"{}",
        struct.pack("<Q", 3) + b"{}",
        joined(b"[]", b""),
        joined(b"[" * 100_000, b""),
        joined(b'{"a":' * 100_000, b""),
        joined(b'{"__metadata__": 5}', b""),
        joined(b'{"__metadata__": {"format": 5}}', b""),
        joined({"__metadata__": {}}, b""),
        joined({"__metadata__": {"format": "pt"}}, b""),
        joined({"w": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 4]}}, b"1234"),
        joined({"w": {"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 0]}}, b""),
        joined({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"1234"),
        joined({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}, b"1234"),
        joined({"w": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}, b"1234"),
        joined({"w": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}}, b"12341234"),
        b"PK\x03\x04" + b"\0" * 100,
        b"\x93NUMPY" + b"\0" * 100,
    ],
)
def test_files_that_are_none(tmp_path, data):
    refused(tmp_path, data, "expected a model file of fastnn, got")


def test_every_truncation(tmp_path, good):
    data = good[0]
    for length in [*range(0, 64), *range(64, len(data), 29), len(data) - 1]:
        refused(tmp_path, data[:length], "no safetensors file")


def with_architecture(good, architecture, **metadata):
    header, body = parts(good[0])
    header["__metadata__"].update({"architecture": architecture if isinstance(architecture, str) else json.dumps(architecture), **metadata})
    return joined(header, body)


@pytest.mark.parametrize("version", ["2", "999", "9" * 5000, "", "-1", "1.0", "one", "²", "１", " 1", "0"])
def test_versions(tmp_path, good, version):
    header, body = parts(good[0])
    header["__metadata__"]["version"] = version
    assert "format version" in refused(tmp_path, joined(header, body))


@pytest.mark.parametrize(
    "architecture",
    [
        "",
        "{",
        "null",
        "3",
        "[]",
        "{}",
        '{"layers": null}',
        '{"layers": {}}',
        '{"layers": []}',
        '{"layers": [null]}',
        '{"layers": [3]}',
        '{"layers": ["Dense"]}',
        '{"layers": [{}]}',
        '{"layers": [{"class": null}]}',
        '{"layers": [{"class": []}]}',
        '{"layers": [{"class": {}}]}',
        '{"layers": [{"class": "Layer"}]}',
        '{"layers": [{"class": "Sequential"}]}',
        '{"layers": [{"class": "__import__"}]}',
        '{"layers": [{"class": "Dense"}]}',
        '{"layers": [{"class": "Flatten"}]}',
        '{"layers": [{"class": "Flatten", "x": 1}]}',
        '{"layers": [{"class": "Activation", "name": []}]}',
        '{"layers": [{"class": "Activation", "name": "relu", "alpha": "x"}]}',
        '{"layers": [{"class": "Rescaling", "scale": 1e999}]}',
        '{"layers": [{"class": "Rescaling", "scale": NaN}]}',
        '{"layers": [{"class": "Rescaling", "scale": 1' + "0" * 400 + "}]}",
        '{"layers": [{"class": "Rescaling", "scale": 1' + "0" * 5000 + "}]}",
        '{"layers": [{"class": "Rescaling", "scale": null}]}',
        "[" * 100_000,
        '{"layers": ' + "[" * 50_000 + "]" * 50_000 + "}",
        '{"layers": [' + '{"class": "Activation", "name": "relu"},' * 20_000 + '{"class": "Activation", "name": "relu"}]}',
        '{"layers": [' + "1," * 100_000 + "1]}",
    ],
)
def test_architectures_that_are_none(tmp_path, good, architecture):
    refused(tmp_path, with_architecture(good, architecture))


def changed(good, index, **entries):
    architecture = json.loads(parts(good[0])[0]["__metadata__"]["architecture"])
    architecture["layers"][index].update(entries)
    return architecture


@pytest.mark.parametrize(
    "index, entries",
    [
        (2, {"in_features": 13}),
        (2, {"out_features": 2**31 - 1}),
        (2, {"in_features": 2**31 - 1, "out_features": 2**31 - 1}),
        (2, {"in_features": 10**30}),
        (2, {"in_features": -12}),
        (2, {"in_features": 0}),
        (2, {"in_features": 12.0}),
        (2, {"in_features": "12"}),
        (2, {"in_features": None}),
        (2, {"in_features": [12]}),
        (2, {"bias": False}),
        (4, {"bias": True}),
        (2, {"activation": "swish"}),
        (2, {"activation": 3}),
        (2, {"activation": {"name": "relu"}}),
        (2, {"alpha": "x"}),
        (2, {"alpha": -1}),
        (2, {"alpha": [1]}),
        (2, {"alpha": 10**400}),
        (2, {"self": 1}),
        (2, {"unknown": 1}),
        (2, {"class": "Activation"}),
        (6, {"class": "Flatten"}),
        (0, {"class": "Dense", "in_features": 12, "out_features": 12}),
        (0, {"class": "Dense", "in_features": 2**20, "out_features": 2**20}),
    ],
)
def test_architectures_that_do_not_fit_the_tensors(tmp_path, good, index, entries):
    refused(tmp_path, with_architecture(good, changed(good, index, **entries)))


def test_no_architecture(tmp_path, good):
    header, body = parts(good[0])
    del header["__metadata__"]["architecture"]
    refused(tmp_path, joined(header, body), "no readable architecture")


def test_tensors_that_do_not_fit(tmp_path, good):
    from safetensors.numpy import save

    _, model = good
    metadata = parts(good[0])[0]["__metadata__"]
    state = model.state_dict()
    for damage in (
        {"2.bias": np.zeros(10, np.float32)},
        {"2.bias": np.zeros((9, 1), np.float32)},
        {"2.bias": np.zeros(9)},
        {"2.bias": np.zeros(9, np.int32)},
        {"2.bias": np.zeros(9, np.float16)},
        {"extra": np.zeros(1, np.float32)},
        {"2.weight": state["2.weight"].T.copy()},
        {"2.weight": np.zeros((0, 9), np.float32)},
    ):
        refused(tmp_path, save({**state, **damage}, metadata))
    refused(tmp_path, save({k: v for k, v in state.items() if k != "2.bias"}, metadata))
    refused(tmp_path, save({k: v for k, v in state.items() if k != "2.weight"}, metadata))
    refused(tmp_path, save(state, {**metadata, "head": "logits"}), "outputs of a kind that is not known")
    refused(tmp_path, save(state, {}), "another program")
    refused(tmp_path, save(state), "another program")


def test_a_layer_of_no_rows(tmp_path):
    """A claimed size costs nothing: not even one that a tensor of no elements confirms."""
    from safetensors.numpy import save

    config = {"layers": [{"class": "Dense", "in_features": 0, "out_features": 2**31 - 1, "bias": True}]}
    metadata = {"format": "fastnn", "version": "1", "architecture": json.dumps(config)}
    refused(tmp_path, save({"0.weight": np.zeros((0, 2**31 - 1), np.float32)}, metadata))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_flipped_bits(good, tmp_path_factory, data):
    """A damaged file is refused by name, or it is a model like any other."""
    content = bytearray(good[0])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    path.write_bytes(content)
    try:
        model = nn.load(path)
    except ValueError as error:
        assert "flipped.safetensors" in str(error)
    else:
        with np.errstate(all="ignore"):
            assert model.predict(np.zeros((1, model.in_features))).shape == (1, model.out_features)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200), length=st.integers(0, 300))
def test_random_bytes(tmp_path_factory, data, length):
    path = tmp_path_factory.getbasetemp() / "random.safetensors"
    path.write_bytes(struct.pack("<Q", length) + data)
    with pytest.raises(ValueError, match="random.safetensors"):
        nn.load(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["Dense", "relu", "leaky_relu", ""]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["class", "name", "alpha", "in_features", "out_features", "activation", "bias", "scale", "x"]), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(index=st.integers(0, 6), key=st.sampled_from(["class", "in_features", "activation", "alpha", "bias", "name", "scale", "offset"]), value=JSON)
def test_any_architecture(good, tmp_path_factory, index, key, value):
    path = tmp_path_factory.getbasetemp() / "architecture.safetensors"
    path.write_bytes(with_architecture(good, changed(good, index, **{key: value})))
    try:
        nn.load(path)
    except ValueError as error:
        assert "architecture.safetensors" in str(error)


@pytest.mark.parametrize(
    "layer",
    [
        {"class": "Maxout", "in_features": 4, "out_features": "a" * 8, "pieces": 10**8},
        {"class": "Maxout", "in_features": 4, "out_features": [1], "pieces": 10**8},
        {"class": "LayerNorm", "features": 10**7},
        {"class": "RMSNorm", "features": 10**7},
        {"class": "DropConnect", "dense": {"class": "DropConnect", "dense": {"class": "Dense", "in_features": 4000, "out_features": 4000}}},
    ],
    ids=lambda layer: layer["class"],
)
def test_architectures_that_would_allocate_much(tmp_path, good, layer):
    refused(tmp_path, with_architecture(good, {"layers": [layer]}))
