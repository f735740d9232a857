"""Structure, copies, files, refusals."""

import copy
import json
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim

from layer_models import MODELS, state, tied_often, training


def test_names():
    model = MODELS["residual"]()
    names = ["0.weight", "0.bias", "1.1.weight", "1.1.bias", "2.0.weight", "2.0.bias", "2.1.weight", "2.1.bias", "2.2.weight",
             "2.2.bias", "3.0.0.0.weight", "3.0.0.0.bias", "4.weight", "4.bias"]  # fmt: skip
    assert [k for k, _ in model.named_parameters()] == names == [p.name for p in model.parameters()] == list(model.state_dict())
    model = MODELS["batchnorm before"]()
    assert [k for k, _ in model.named_buffers()] == ["1.running_mean", "1.running_var"]
    assert set(model.state_dict()) == {k for k, _ in model.named_parameters() + model.named_buffers()}
    tied = tied_often()
    assert [k for k, _ in tied.named_parameters()] == ["0.weight", "0.bias", "1.bias", "3.0.bias", "4.weight", "4.bias"]


def test_the_optimizer_takes_no_running_statistics():
    model = MODELS["batchnorm before"]()
    assert not {id(p) for p in model.parameters()} & {id(p) for _, p in model.named_buffers()}


@pytest.mark.parametrize("make, error, message", [
    (lambda: nn.BatchNorm(0), ValueError, "^features: expected"),
    (lambda: nn.BatchNorm(3, momentum=1.5), ValueError, "^momentum: expected a number from 0 to 1, or None, got 1.5"),
    (lambda: nn.BatchNorm(3, momentum="0.1"), TypeError, "^momentum: expected a number, got '0.1'"),
    (lambda: nn.BatchNorm(3, eps=-1), ValueError, "^eps: expected a number >= 0"),
    (lambda: nn.LayerNorm(3, eps=float("nan")), ValueError, "^eps: expected"),
    (lambda: nn.RMSNorm("3"), TypeError, "^features: expected an integer"),
    (lambda: nn.Dropout(-0.1), ValueError, "^p: expected a number from 0 to 1, got -0.1"),
    (lambda: nn.Dropout("0.1"), TypeError, "^p: expected a number"),
    (lambda: nn.GaussianNoise(float("inf")), ValueError, "^std: expected"),
    (lambda: nn.DropConnect(3), TypeError, "^dense: expected a Dense layer, got int"),
    (lambda: nn.DropConnect(nn.Dense(2, 2), 2), ValueError, "^p: expected"),
    (lambda: nn.Maxout(2, 2, 0), ValueError, "^pieces: expected"),
    (lambda: nn.Tied(nn.Maxout(2, 2)), TypeError, "^dense: expected a Dense layer, got Maxout"),
    (lambda: nn.Residual(), ValueError, "^layers: expected at least one"),
    (lambda: nn.Residual(nn.Dense(2, 3)), ValueError, "^layers: expected as many features out as in, got 2 in and 3 out"),
    (lambda: nn.Sequential(nn.Dense(2, 3), nn.BatchNorm(4)), ValueError, "^layer 1: BatchNorm.*: expected 4 input features, got 3"),
    (lambda: nn.Sequential(nn.Dense(2, 3), nn.Residual(nn.Dense(4, 4))), ValueError, r"^layer 1: Residual\([\s\S]*expected 4 input features, got 3"),
    (lambda: nn.Sequential(nn.Dense(2, 2), nn.Sequential(nn.Rescaling(2), nn.Dense(2, 2))), ValueError, "^layer 1: Rescaling is only"),
    (lambda: nn.Sequential(d := nn.Dense(2, 2), nn.Residual(d)), TypeError, "^layer 1: expected a layer of its own"),
    (lambda: nn.Sequential(nn.Dropout(0.5), nn.Residual(nn.Dropout(0.1))), ValueError, "^layers: expected at least one Dense"),
])  # fmt: skip
def test_layers_that_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_weights_that_are_dropped_and_shared():
    dense = nn.Dense(4, 4)
    model = nn.Sequential(nn.DropConnect(dense), nn.Tied(dense), nn.Dense(4, 2))
    with pytest.raises(ValueError, match="0.dense.weight: expected weights that no layer behind their DropConnect uses"):
        fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), np.ones((2, 4)), [0, 1])
    assert model.predict(np.ones((2, 4))).shape == (2, 2)


@pytest.mark.parametrize("name", MODELS)
def test_copies_and_files(name, tmp_path):
    trainer, x, y = training(name)
    trainer.fit(x, y, batch_size=10, verbose=0)
    model, path = trainer.model, tmp_path / "model"
    model.save(path)
    before = state(trainer)
    for again in (nn.load(path), pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        assert repr(again) == repr(model)
        assert {k: v.tobytes() for k, v in again.state_dict().items()} == before
        assert (again.predict(x) == model.predict(x)).all()
        twin = fastnn.Trainer(again, losses.SoftmaxCrossEntropy(), optim.SGD(again.parameters(), lr=0.1))
        twin.step(x, y)  # sharing is kept, memory is not
        assert state(trainer) == before != state(twin)
        assert all(p.data.ctypes.data % 64 == 0 for p in again.parameters())
    assert path.read_bytes() == (nn.load(path).save(path), path.read_bytes())[1]


def test_a_tied_layer_goes_to_files_behind_its_dense(tmp_path):
    dense = nn.Dense(4, 3)
    for model in (nn.Sequential(nn.Tied(dense), nn.Dense(4, 4)), nn.Sequential(nn.Tied(dense), dense)):
        with pytest.raises(ValueError, match="layer 0: expected the Dense layer of a Tied one before it"):
            model.save(tmp_path / "model")


class Twice(nn.Layer):
    """A layer of a user's own."""

    def __init__(self, features):
        self.in_features = features
        self.scale = nn.Dense(features, features)

    def children(self):
        return [("scale", self.scale)]

    def config(self):
        return {"features": self.in_features}

    def emit(self, builder, x):
        return builder.add(x, self.scale.emit(builder, x))


def test_layers_of_ones_own(tmp_path):
    model, path = nn.Sequential(nn.Dense(4, 3), Twice(3)), tmp_path / "model"
    assert [k for k, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.scale.weight", "1.scale.bias"]
    model.save(path)
    with pytest.raises(ValueError, match=r"expected one of .*, got .*Twice.*; classes of your own go into load\(path, layers="):
        nn.load(path)
    again, x = nn.load(path, layers=[Twice]), np.ones((2, 4))
    assert (again.predict(x) == model.predict(x)).all() and (copy.deepcopy(model).predict(x) == model.predict(x)).all()
    with pytest.raises(TypeError, match="layers: expected subclasses of nn.Layer"):
        nn.load(path, layers=[int])


def test_files_that_are_refused(tmp_path):
    """Architectures changed in one place: an error that says so, and no allocation for what the file lacks."""
    path = tmp_path / "model"
    nn.Sequential(
        nn.Dense(4, 3), nn.Residual(nn.BatchNorm(3)), nn.LayerNorm(3), nn.Maxout(3, 2, 2), nn.DropConnect(nn.Dense(2, 3), 0.5),
        d := nn.Dense(3, 2), nn.Tied(d),
    ).save(path)  # fmt: skip
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    huge = 2**31 - 1
    changes = [
        (1, {"layers": None}), (1, {"layers": [{"class": "BatchNorm", "features": huge}]}), (1, {"layers": [{"class": "Dense"}]}),
        (2, {"features": huge}), (2, {"features": -1}), (2, {"affine": False}), (3, {"pieces": huge}), (3, {"pieces": 0}),
        (3, {"pieces": "2"}), (4, {"dense": None}), (4, {"dense": {"class": "Dense", "in_features": huge, "out_features": huge}}),
        (4, {"dense": {"class": "Maxout", "in_features": 2, "out_features": 3, "pieces": 1}}), (4, {"p": 2}), (6, {"dense": "0.5"}),
        (6, {"dense": "1"}), (6, {"dense": 5}), (6, {"dense": "6"}), (6, {"transpose": False}), (6, {"class": "Twice"}),
    ]  # fmt: skip
    for i, change in changes:
        architecture = json.loads(header["__metadata__"]["architecture"])
        architecture["layers"][i] |= change
        changed = {**header, "__metadata__": {**header["__metadata__"], "architecture": json.dumps(architecture)}}
        text = json.dumps(changed).encode()
        text += b" " * (-len(text) % 8)
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
        with pytest.raises(ValueError, match="expected a model file of fastnn"):
            nn.load(path)
    deep = {"class": "Sequential", "layers": []}
    for _ in range(3000):
        deep = {"class": "Sequential", "layers": [deep]}
    import sys

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        text = json.dumps({"layers": [deep]})
    finally:
        sys.setrecursionlimit(limit)
    changed = {**header, "__metadata__": {**header["__metadata__"], "architecture": text}}
    text = json.dumps(changed).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    with pytest.raises(ValueError, match="expected a model file of fastnn"):
        nn.load(path)


def test_a_layer_of_ones_own_asks_for_the_rows_of_what_is_in_it():
    class Wrapped(nn.Layer):
        in_features = 4

        def __init__(self):
            self.inner = nn.Sequential(nn.BatchNorm(4), nn.Activation("tanh"))

        def children(self):
            return [("inner", self.inner)]

        def emit(self, builder, x):
            return builder.layer(self.inner, x)

    model = nn.Sequential(Wrapped(), nn.Dense(4, 2))
    assert model.least_rows == 2 and nn.Sequential(nn.Residual(nn.Dense(4, 4))).least_rows == 1
    trainer = fastnn.Trainer(model, losses.MeanSquaredError(), optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="^xb: expected at least 2 rows"):
        trainer.step(np.ones((1, 4)), np.ones((1, 2)))


@pytest.mark.parametrize("init", [np.nan, np.inf, 1e300])
def test_prelu_starts_from_a_finite_slope(init):
    with pytest.raises(ValueError, match="^init: expected a number, finite in float32"):
        nn.PReLU(1, init=init)
