"""Sequential.activations: hidden outputs are what the layers alone compute, by whatever name they are asked for."""

import numpy as np
import pytest

import fastnn
from fastnn import nn, reference


@pytest.fixture
def model():
    fastnn.manual_seed(3)
    found = nn.Sequential(
        nn.Flatten(),
        nn.Rescaling(0.5),
        nn.Dense(6, 8, activation="gelu"),
        nn.BatchNorm(8),
        nn.Activation("tanh"),
        nn.Residual(nn.Dense(8, 5, activation="prelu"), nn.Dropout(0.3), nn.Dense(5, 8)),
        nn.Dense(8, 3),
        nn.Softmax(),
    )
    found[3].running_mean.data = np.linspace(-1, 1, 8)
    return found


X = np.random.default_rng(0).normal(size=(300, 2, 3))


def test_hidden_outputs(model):
    found = model.activations(X)
    assert list(found) == ["2", "3", "4", "5", "5.0", "5.2", "6", "7"]
    for name, top in (("2", 3), ("3", 4), ("4", 5), ("5", 6), ("6", 7)):
        assert (found[name] == model[:top].predict(X)).all(), name
    assert (found["7"] == model.predict(X)).all()
    np.testing.assert_allclose(found["5"], found["4"] + found["5.2"], rtol=1e-6)


def test_inputs_of_activations(model):
    after, z = model.activations(X), model.activations(X, before=True)
    assert list(z) == ["2", "4", "5.0", "7"]
    x = (0.5 * X.reshape(-1, 6)).astype(np.float32)
    np.testing.assert_allclose(z["2"], x @ model[2].weight.data + model[2].bias.data, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after["2"], reference.activation_forward(z["2"], "gelu"), rtol=1e-6, atol=5e-7)
    assert (z["4"] == after["3"]).all() and (z["7"] == after["6"]).all()
    assert (np.where(z["5.0"] > 0, z["5.0"], np.float32(0.25) * z["5.0"]) == after["5.0"]).all()


def test_layers_by_name_number_and_themselves(model):
    found = model.activations(X, [model[6], "5.0", -1])
    assert list(found) == ["6", "5.0", "7"]
    assert list(model.activations(X, 2)) == list(model.activations(X, model[2])) == list(model.activations(X, "2")) == ["2"]
    assert model.activations(X[:0], "2")["2"].shape == (0, 8)
    (found,) = model.activations(X, "2").values()
    found[...] = 0  # memory of the caller's own
    assert (model.activations(X, "2")["2"] != 0).any()


def test_images():
    fastnn.manual_seed(0)
    model = nn.Sequential(nn.Input(6, 6, 2), nn.Conv2d(None, 4, 3, activation="relu"), nn.MaxPool2d(2), nn.Flatten(), nn.Dense(None, 3))
    x = np.random.default_rng(1).normal(size=(5, 6, 6, 2))
    found = model.activations(x)
    assert {name: a.shape for name, a in found.items()} == {"1": (5, 4, 4, 4), "2": (5, 2, 2, 4), "4": (5, 3)}
    assert (found["1"].reshape(5, 2, 2, 2, 2, 4).max(axis=(2, 4)) == found["2"]).all()
    assert (np.maximum(model.activations(x, before=True)["1"], 0) == found["1"]).all()


@pytest.mark.parametrize("layers, kind, message", [
    ("0", ValueError, "expected some of those that compute something, '2', "),
    ("99", ValueError, "expected some of those that compute something"),
    (99, ValueError, "expected numbers below 8, got 99"),
    (1.5, TypeError, "expected layers, their numbers or names, got 1.5"),
    (nn.Dense(2, 2), ValueError, "expected layers of the model, got another"),
])
def test_what_is_refused(model, layers, kind, message):
    with pytest.raises(kind, match=message):
        model.activations(X, layers)


def test_what_has_no_activation_has_no_input_of_one(model):
    with pytest.raises(ValueError, match="expected some of those with an activation, '2', '4'"):
        model.activations(X, "3", before=True)
    with pytest.raises(TypeError, match="before"):
        model.activations(X, before=1)
