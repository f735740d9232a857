"""Layers and models: structure, inference, layers that are refused."""

import copy
import os
import threading

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim

from nn_cases import bits, mlp, RNG


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
