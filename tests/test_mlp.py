"""nn.mlp: which layers it makes, and from what they start."""

import math

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim, regularizers


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def test_plain():
    model = nn.mlp([7, 5, 4, 3])
    assert kinds(model) == ["Dense"] * 3
    assert [(d.in_features, d.out_features, d.activation) for d in model.layers] == [(7, 5, "relu"), (5, 4, "relu"), (4, 3, "identity")]
    assert model.num_parameters() == 7 * 5 + 5 + 5 * 4 + 4 + 4 * 3 + 3
    assert kinds(nn.mlp((7, 3))) == ["Dense"] and nn.mlp(np.array([7, 3])).out_features == 3


@pytest.mark.parametrize("batchnorm", [True, "before"])
def test_batch_norm_before_the_activation(batchnorm):
    model = nn.mlp([7, 5, 4, 3], activation="tanh", batchnorm=batchnorm, dropout=0.25)
    hidden = ["Dense", "BatchNorm", "Activation", "Dropout"]
    assert kinds(model) == [*hidden, *hidden, "Dense"]
    assert [layer.activation for layer in model.layers if isinstance(layer, nn.Dense)] == ["identity"] * 3
    assert [layer.name for layer in model.layers if isinstance(layer, nn.Activation)] == ["tanh"] * 2
    assert [layer.p for layer in model.layers if isinstance(layer, nn.Dropout)] == [0.25] * 2


def test_batch_norm_behind_the_activation():
    model = nn.mlp([7, 5, 4, 3], activation=nn.Activation("leaky_relu", 0.3), batchnorm="after", dropout=[0.1, 0])
    assert kinds(model) == ["Dense", "BatchNorm", "Dropout", "Dense", "BatchNorm", "Dense"]
    assert [(d.activation, d.alpha) for d in model.layers if isinstance(d, nn.Dense)][:2] == [("leaky_relu", 0.3)] * 2


@pytest.mark.parametrize("activation", [None, "gelu", "silu", "elu", "selu", "prelu", "softplus", nn.Activation("elu", 0.5)])
@pytest.mark.parametrize("batchnorm", [False, "before", "after"])
def test_every_activation(activation, batchnorm, tmp_path):
    model = nn.mlp([5, 6, 4, 3], activation, batchnorm=batchnorm, dropout=0.1)
    result = fastnn.check_gradients(model, losses.SoftmaxCrossEntropy(), np.random.default_rng(0).normal(size=(6, 5)), [0, 1, 2] * 2)
    assert result, str(result)
    model.save(tmp_path / "m.safetensors")
    again = nn.load(tmp_path / "m.safetensors")
    x = np.ones((2, 5), np.float32)
    assert again.predict(x).tobytes() == model.predict(x).tobytes() and repr(again) == repr(model)
    assert np.allclose(model.fold().predict(x), model.predict(x), atol=1e-6)


def test_the_other_options():
    penalty = regularizers.L2(0.1)
    model = nn.mlp([6, 5, 4], "sigmoid", output_activation="tanh", bias=False, init="orthogonal", penalty=penalty)
    first, last = model.layers
    assert (first.activation, last.activation) == ("sigmoid", "tanh")
    assert first.bias is None and last.bias is None and first.penalty is penalty and last.penalty is penalty
    assert np.abs(first.weight.data.T @ first.weight.data - np.eye(5)).max() < 1e-6


@pytest.mark.parametrize("batchnorm", [False, "before", "after"])
def test_weights_suit_the_activation_that_follows(batchnorm):
    fastnn.manual_seed(0)
    model = nn.mlp([400, 300, 200], "relu", batchnorm=batchnorm)
    first, last = (layer for layer in model.layers if isinstance(layer, nn.Dense))
    assert abs(first.weight.data.std() / math.sqrt(2 / 400) - 1) < 0.02
    assert abs(last.weight.data.std() / math.sqrt(2 / 500) - 1) < 0.02


@pytest.mark.parametrize("batchnorm", [False, "before", "after"])
def test_it_learns(batchnorm):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 10)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    fastnn.manual_seed(0)
    model = nn.mlp([10, 64, 32, 2], batchnorm=batchnorm, dropout=0.1)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01))
    trainer.fit(x, y, epochs=30, batch_size=50, verbose=0)
    assert trainer.evaluate(x, y)["accuracy"] > 0.9


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"sizes": [5]}, ValueError, r"sizes: expected at least two, those of input and output, got \[5\]"),
        ({"sizes": 5}, TypeError, "sizes: expected a sequence of integers, got 5"),
        ({"sizes": "784"}, TypeError, "sizes: expected a sequence of integers, got '784'"),
        ({"sizes": [5, 0, 2]}, ValueError, r"sizes\[1\]: expected an integer from 1"),
        ({"sizes": [5, 2.5]}, TypeError, r"sizes\[1\]: expected an integer, got 2.5"),
        ({"batchnorm": "behind"}, ValueError, "batchnorm: expected False, True, 'before' or 'after', got 'behind'"),
        ({"batchnorm": 1.5}, ValueError, "batchnorm: expected False, True"),
        ({"dropout": [0.1]}, ValueError, "dropout: expected 2 numbers, one for each hidden layer, got 1"),
        ({"dropout": "0.1"}, TypeError, "dropout: expected a number, or one for each hidden layer, got '0.1'"),
        ({"dropout": True}, TypeError, "dropout: expected a number"),
        ({"dropout": 1.5}, ValueError, "p: expected"),
        ({"activation": "nope"}, ValueError, "^activation: expected one of"),
        ({"output_activation": "nope"}, ValueError, "^output_activation: expected one of"),
        ({"activation": 3}, TypeError, "^activation: expected a name, got int"),
        ({"init": "nope"}, ValueError, "init: expected one of"),
        ({"penalty": 0.1}, TypeError, "penalty: expected a penalty"),
    ],
)
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        nn.mlp(**{"sizes": [7, 5, 4, 3]} | arguments)
