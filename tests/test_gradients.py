"""fastnn.check_gradients: right gradients pass, wrong ones are found and named, and nothing changes."""

import re

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, regularizers
from fastnn.reference import interpreter


def network(*activations, widths=(5, 6, 4, 3)):
    fastnn.manual_seed(3)
    layers = [nn.Dense(a, b, activation=f) for a, b, f in zip(widths, widths[1:], [*activations, None, None, None])]
    model = nn.Sequential(*layers)
    for p in model.parameters():
        p.data[...] += 0.1 * np.random.default_rng(p.size).normal(size=p.shape)
    return model


def batch(rows=7, features=5, classes=3):
    rng = np.random.default_rng(1)
    return rng.normal(size=(rows, features)), rng.integers(0, classes, rows)


LOSS = losses.SoftmaxCrossEntropy()


@pytest.mark.parametrize("activation", [None, "sigmoid", "tanh", "relu", "leaky_relu"])
@pytest.mark.parametrize("kind", ["labels", "rows"])
def test_right_gradients_pass(activation, kind):
    x, y = batch()
    result = fastnn.check_gradients(network(activation, activation), LOSS, x, y if kind == "labels" else np.eye(3)[y])
    assert result.passed and bool(result) and result.worst.error <= result.tolerance == 1e-5
    assert list(result.errors) == ["0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"]
    assert result.checked == {"0.weight": 30, "0.bias": 6, "1.weight": 24, "1.bias": 4, "2.weight": 12, "2.bias": 3}
    assert max(result.errors.values()) == result.worst.error
    assert "gradients agree" in str(result)


def test_the_model_does_not_change_and_the_loss_is_the_models():
    model, (x, y) = network("tanh"), batch()
    before = {k: v.tobytes() for k, v in model.state_dict().items()}
    result = fastnn.check_gradients(model, LOSS, x, y)
    assert {k: v.tobytes() for k, v in model.state_dict().items()} == before
    assert abs(result.loss - fastnn.value_and_grad(model, LOSS, x, y)[0]) < 1e-6


def test_a_wrong_rule_is_found_and_named(monkeypatch):
    """The derivative of tanh without its square, in back-propagation alone."""
    right = interpreter.activation_backward

    def wrong(dy, saved, activation, **more):
        return dy * (1 - saved) if activation == "tanh" else right(dy, saved, activation, **more)

    monkeypatch.setattr(interpreter, "activation_backward", wrong)
    x, y = batch()
    result = fastnn.check_gradients(network("sigmoid", "tanh"), LOSS, x, y)
    assert not result and not result.passed
    wrong_ones = {name for name, error in result.errors.items() if error > result.tolerance}
    assert wrong_ones == {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert result.worst.parameter in wrong_ones and result.worst.error == max(result.errors.values())
    text = str(result)
    assert "gradients differ" in text and len(re.findall("<-- wrong", text)) == 4
    assert f"{result.worst.parameter}[{', '.join(map(str, result.worst.index))}]" in text


def test_a_single_wrong_entry_is_named(monkeypatch):
    right = interpreter._Batch.dense_backward_weights

    def wrong(self, op):
        right(self, op)
        dw = self.at(op, "dw")
        if dw.shape == (6, 4):
            dw[4, 2] *= 1.001

    monkeypatch.setattr(interpreter._Batch, "dense_backward_weights", wrong)
    x, y = batch()
    result = fastnn.check_gradients(network("tanh", "tanh"), LOSS, x, y)
    assert not result
    assert (result.worst.parameter, result.worst.index) == ("1.weight", (4, 2))
    assert result.worst.error == pytest.approx(0.001, rel=0.01)
    assert result.worst.backpropagation == pytest.approx(1.001 * result.worst.differences, rel=1e-5)
    assert fastnn.check_gradients(network("tanh", "tanh"), LOSS, x, y, tolerance=0.01)


def test_a_missing_contribution_is_found(monkeypatch):
    monkeypatch.setattr(interpreter._Batch, "dense_backward_input", lambda self, op: None)
    x, y = batch()
    assert not fastnn.check_gradients(network("tanh"), LOSS, x, y)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_does_not_pass(value):
    model, (x, y) = network("tanh"), batch()
    model.parameters()[0].data[0, 0] = value
    with np.errstate(all="ignore"):
        result = fastnn.check_gradients(model, LOSS, x, y)
    assert not result and result.worst.error == np.inf


def test_kinks_are_no_mistakes():
    """Rectifiers whose input lies closer to 0 than the step: the step that fits is found."""
    model = nn.Sequential(nn.Dense(1, 1, activation="relu", init="identity"), nn.Dense(1, 2, init="he_normal"))
    x = np.array([[3e-7], [1.0], [-1.0], [-3e-7]])
    assert fastnn.check_gradients(model, LOSS, x, [0, 1, 0, 1])


def test_gradients_that_are_zero_pass():
    model = nn.Sequential(nn.Dense(4, 3, activation="relu", init="zeros"), nn.Dense(3, 2, init="zeros"))
    model.parameters()[1].data[...] = -1.0  # dead units
    assert fastnn.check_gradients(model, LOSS, np.ones((3, 4)), [0, 1, 1])


BLOCKS = {
    "batch norm": lambda: [nn.Dense(5, 6), nn.BatchNorm(6), nn.Activation("tanh")],
    "batch norm behind": lambda: [nn.Dense(5, 6, activation="tanh"), nn.BatchNorm(6, affine=False)],
    "layer norm": lambda: [nn.Dense(5, 6), nn.LayerNorm(6)],
    "rms norm": lambda: [nn.RMSNorm(5), nn.Dense(5, 6, activation="sigmoid")],
    "dropout": lambda: [nn.Dense(5, 6, activation="tanh"), nn.Dropout(0.4)],
    "drop connect": lambda: [nn.DropConnect(nn.Dense(5, 6, penalty=regularizers.L2(0.1)), 0.4), nn.GaussianNoise(0.3)],
    "maxout": lambda: [nn.Maxout(5, 6, pieces=3, penalty=regularizers.ElasticNet(0.1, 0.2))],
    "residual": lambda: [nn.Residual(nn.BatchNorm(5), nn.Dense(5, 5, activation="tanh")), nn.Dense(5, 6)],
}


@pytest.mark.parametrize("block", BLOCKS)
def test_every_layer(block):
    """Masks stay fixed while the loss is differenced, and running statistics do not move."""
    fastnn.manual_seed(1)
    model = nn.Sequential(*BLOCKS[block](), nn.Dense(6, 3))
    for p in model.parameters():
        p.data[...] += 0.1 * np.random.default_rng(p.size).normal(size=p.shape)
    before = {k: v.tobytes() for k, v in model.state_dict().items()}
    x, y = batch()
    result = fastnn.check_gradients(model, LOSS, x, y, seed=3)
    assert result, str(result)
    assert {k: v.tobytes() for k, v in model.state_dict().items()} == before
    loss = fastnn.value_and_grad(model, LOSS, x, y, seed=3)[0]
    assert abs(result.loss - loss) < 1e-5
    if block in ("dropout", "drop connect"):
        assert fastnn.check_gradients(model, LOSS, x, y, seed=4).loss != result.loss


def test_tied_weights_with_a_penalty():
    encoder = nn.Dense(5, 4, activation="tanh", penalty=regularizers.ElasticNet(0.1, 0.2))
    model = nn.Sequential(encoder, nn.Tied(encoder), nn.Dense(5, 3))
    x, y = batch()
    assert fastnn.check_gradients(model, LOSS, x, y)
    assert fastnn.check_gradients(model, LOSS, x, y, penalty=regularizers.L2(0.3))


def test_samples():
    x, y = batch()
    result = fastnn.check_gradients(network("tanh"), LOSS, x, y, samples=5)
    assert result and result.checked == {"0.weight": 5, "0.bias": 5, "1.weight": 5, "1.bias": 4, "2.weight": 5, "2.bias": 3}
    a, b, c = (fastnn.check_gradients(network("tanh"), LOSS, x, y, samples=1, seed=s).worst for s in (1, 1, 2))
    assert a == b != c


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"eps": 0}, ValueError, "eps: expected a number between 0 and 1, got 0"),
        ({"eps": "small"}, TypeError, "eps: expected a number, got 'small'"),
        ({"tolerance": float("nan")}, ValueError, "tolerance: expected a number between 0 and 1, got nan"),
        ({"samples": 0}, ValueError, "samples: expected an integer >= 1, got 0"),
        ({"samples": 1.5}, TypeError, "samples: expected an integer, got 1.5"),
        ({"seed": -1}, ValueError, r"seed: expected an integer from 0 to 2\*\*64 - 1, got -1"),
        ({"model": nn.Sequential(nn.Dense(5, 3), nn.BatchNorm(3)), "x": np.ones((1, 5)), "y": [0]}, ValueError, "x: expected at least 2 rows"),
        ({"model": 3}, TypeError, "model: expected a fastnn.nn.Sequential, got int"),
        ({"loss": losses.SoftmaxCrossEntropy}, TypeError, "loss: expected an instance, got the class"),
        ({"x": np.ones((7, 4))}, ValueError, r"x: expected 5 features a row, got shape \(7, 4\)"),
        ({"y": np.full(7, 3)}, ValueError, "y: expected labels from 0 to 2, got 3 in row 0"),
    ],
)
def test_refusals(change, error, message):
    x, y = batch()
    arguments = {"model": network("tanh"), "loss": LOSS, "x": x, "y": y} | change
    with pytest.raises(error, match=message):
        fastnn.check_gradients(**arguments)


def test_a_model_without_parameters():
    model = nn.Sequential(nn.LayerNorm(4, affine=False))
    with pytest.raises(ValueError, match="^model: expected parameters"):
        fastnn.check_gradients(model, losses.MeanSquaredError(), np.ones((2, 4)), np.ones((2, 4)))


def test_a_layer_of_two_models_has_its_name_in_the_one_that_is_checked():
    shared = nn.Dense(4, 4)
    model = nn.Sequential(shared, nn.Dense(4, 2))
    nn.Sequential(nn.Dense(4, 4), shared)
    result = fastnn.check_gradients(model, losses.MeanSquaredError(), np.ones((2, 4)), np.ones((2, 2)))
    assert result.checked == {"0.weight": 16, "0.bias": 4, "1.weight": 8, "1.bias": 2} and set(result.errors) == set(result.checked)
