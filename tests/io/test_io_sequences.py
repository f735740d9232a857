"""Convolutions of sequences in every format."""

import importlib.util

import numpy as np
import pytest

import fastnn
from fastnn import io, nn


@pytest.fixture
def model():
    fastnn.manual_seed(0)
    return nn.Sequential(nn.Input(12, 4), nn.Conv1d(None, 6, 3, 2, "same", groups=2, activation="relu"),
                         nn.Conv1d(None, 5, 2, activation="tanh"), nn.Flatten(), nn.Dense(None, 3))


X = np.random.default_rng(0).standard_normal((5, 12, 4), np.float32)


def test_onnx(model, tmp_path):
    io.to_onnx(model, tmp_path / "m.onnx")
    again = io.from_onnx(tmp_path / "m.onnx")
    assert (again.predict(X) == model.predict(X)).all() and again.layers[1].weight.shape == (3, 2, 6)
    session = pytest.importorskip("onnxruntime").InferenceSession(tmp_path / "m.onnx")
    assert np.abs(session.run(None, {"x": X})[0] - model.predict(X)).max() < 1e-6


def test_numpy_and_c(model, tmp_path):
    io.to_numpy(model, tmp_path / "m.py")
    spec = importlib.util.spec_from_file_location("m", tmp_path / "m.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert np.abs(module.predict(X) - model.predict(X)).max() < 1e-6
    io.to_c(model, tmp_path / "m.c")  # compiled and compared, where a compiler is there


def test_torch(model):
    """[out, in, kernel] there, [kernel, in, out] here; what a Flatten gives is in another order."""
    state = io.to_torch(model)
    name = next(k for k, v in state.items() if v.ndim == 3)
    assert state[name].shape == (6, 2, 3) and (state[name] == model.layers[1].weight.data.transpose(2, 1, 0)).all()
    fastnn.manual_seed(1)
    other = nn.Sequential(nn.Input(12, 4), nn.Conv1d(None, 6, 3, 2, "same", groups=2, activation="relu"),
                          nn.Conv1d(None, 5, 2, activation="tanh"), nn.Flatten(), nn.Dense(None, 3))
    io.from_torch(state, other)
    assert (other.predict(X) == model.predict(X)).all()
