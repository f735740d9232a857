"""fastnn.losses: what targets a loss takes, its value and gradient through a model."""

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim


def identity(classes):
    """A model whose outputs are its inputs, so that the loss is seen alone."""
    model = nn.Sequential(nn.Dense(classes, classes, init="zeros"))
    model.layers[0].weight.data[...] = np.eye(classes)
    return model


def expected(z, t):
    """Mean loss and its gradient by z, in float64, from the definition."""
    z = z.astype(np.float64)
    t = np.eye(z.shape[1])[t] if t.ndim == 1 else t.astype(np.float64)
    shifted = z - z.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -(t * log_p).sum(axis=1).mean(), (np.exp(log_p) * t.sum(axis=1, keepdims=True) - t) / len(z)


@pytest.mark.parametrize("classes", [1, 2, 3, 10, 33, 100])
@pytest.mark.parametrize("rows", [1, 7, 16, 65])
@pytest.mark.parametrize("kind", ["labels", "one-hot", "probabilities", "unnormalised"])
def test_value_and_gradient(classes, rows, kind):
    rng = np.random.default_rng(rows)
    z = (3 * rng.normal(size=(rows, classes))).astype(np.float32)
    labels = rng.integers(0, classes, rows)
    t = {
        "labels": labels,
        "one-hot": np.eye(classes)[labels],
        "probabilities": rng.dirichlet(np.ones(classes), rows),
        "unnormalised": rng.random((rows, classes)),
    }[kind]
    loss, (dw, db) = fastnn.value_and_grad(identity(classes), losses.SoftmaxCrossEntropy(), z, t)
    value, dz = expected(z, t)
    assert abs(loss - value) <= 1e-6 * max(1, abs(value))
    size = max(1, np.abs(dz).max())
    assert np.abs(db - dz.sum(axis=0)).max() <= 1e-6 * size
    assert np.abs(dw - z.astype(np.float64).T @ dz).max() <= 1e-5 * size


@pytest.mark.parametrize("scale", [1e-30, 1.0, 80.0, 1e4, 1e30])
def test_any_finite_logits(scale):
    z = np.array([[1, -1, 0.5], [0, 0, 0], [-1, -1, -1]], np.float32) * np.float32(scale)
    y = np.array([1, 2, 0])
    loss, grads = fastnn.value_and_grad(identity(3), losses.SoftmaxCrossEntropy(), z, y)
    value, dz = expected(z, y)
    assert np.isfinite(loss) and abs(loss - value) <= 1e-6 * max(1, abs(value))
    assert np.abs(grads[1] - dz.sum(axis=0)).max() < 1e-6


def test_nan_stays_nan():
    z = np.zeros((3, 2), np.float32)
    z[1, 0] = np.nan
    loss, grads = fastnn.value_and_grad(identity(2), losses.SoftmaxCrossEntropy(), z, [0, 1, 0])
    assert np.isnan(loss) and all(np.isnan(g).any() for g in grads)


def test_labels_and_one_hot_are_the_same_bits():
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(40, 7)), rng.integers(0, 7, 40)
    a = fastnn.value_and_grad(identity(7), losses.SoftmaxCrossEntropy(), z, y)
    b = fastnn.value_and_grad(identity(7), losses.SoftmaxCrossEntropy(), z, np.eye(7)[y])
    assert all(np.array_equal(g, h) for g, h in zip(a[1], b[1])) and abs(a[0] - b[0]) < 1e-12


def test_accuracy_counts_the_largest_output():
    z = np.array([[1, 2, 0], [5, 1, 1], [0, 0, 1], [2, 2, 1]], np.float32)
    model = identity(3)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters()))
    assert trainer.evaluate(z, np.array([1, 0, 0, 0]))["accuracy"] == 0.75
    assert trainer.evaluate(z, np.eye(3)[[1, 0, 0, 0]])["accuracy"] == 0.75
    assert trainer.evaluate(z, np.array([1, 0, 0, 1]))["accuracy"] == 0.5  # of equal outputs the first is taken
    assert (model.predict_classes(z) == [1, 0, 2, 0]).all()


# --- refusals ---

LOSS = losses.SoftmaxCrossEntropy()
X = np.zeros((4, 2), np.float32)


@pytest.mark.parametrize(
    "y, error, message",
    [
        (np.zeros(4), TypeError, "expected integer labels, got dtype float64"),
        (np.zeros((4, 1), int), ValueError, r"expected labels of shape \(rows,\), got \(4, 1\); use y.ravel\(\)"),
        (np.zeros((4, 2)), ValueError, r"expected labels of shape \(rows,\) or rows of shape \(rows, 3\), got \(4, 2\)"),
        (np.zeros((4, 3, 1)), ValueError, r"rows of shape \(rows, 3\), got \(4, 3, 1\)"),
        (np.zeros((4, 3), complex), TypeError, "got dtype complex128"),
        (np.array(list("abcd")), TypeError, "got dtype <U1"),
        (np.array([0, 1, None, 1]), TypeError, "got dtype object"),
        (np.zeros(5, int), ValueError, "expected 4 targets, one for each row of x, got shape"),
        (np.int64(3), ValueError, "expected 4 targets"),
        ([[0], [1, 2], [0], [0]], ValueError, "expected an array, got a list that makes none"),
        ([0, 1, 2, 3], ValueError, "expected labels from 0 to 2, got 3 in row 3"),
        ([0, -1, 2, 0], ValueError, "expected labels from 0 to 2, got -1 in row 1"),
        (np.array([0, 2**64 - 1, 0, 0], np.uint64), ValueError, "expected labels from 0 to 2, got 18446744073709551615 in row 1"),
    ],
)
def test_targets_that_do_not_fit(y, error, message):
    model = nn.Sequential(nn.Dense(2, 3))
    with pytest.raises(error, match=f"^y: .*{message}"):
        fastnn.value_and_grad(model, LOSS, X, y)
    trainer = fastnn.Trainer(model, LOSS, optim.SGD(model.parameters(), lr=1.0))
    before = model.state_dict()
    for call, name in ((trainer.fit, "y"), (trainer.evaluate, "y"), (trainer.step, "yb")):
        with pytest.raises(error, match=f"^{name}: expected"):
            call(X, y)
    assert all((model.state_dict()[k] == v).all() for k, v in before.items()) and trainer.steps_done == 0


@pytest.mark.parametrize(
    "loss, message",
    [
        (losses.SoftmaxCrossEntropy, r"got the class SoftmaxCrossEntropy; write losses.SoftmaxCrossEntropy\(\)"),
        ("softmax", "got str"),
        (None, "got NoneType"),
        (lambda y, t: 0, "got function"),
    ],
)
def test_what_is_no_loss(loss, message):
    model = nn.Sequential(nn.Dense(2, 3))
    with pytest.raises(TypeError, match=f"^loss: expected .*{message}"):
        fastnn.Trainer(model, loss, optim.SGD(model.parameters()))
    with pytest.raises(TypeError, match="^loss: expected"):
        fastnn.value_and_grad(model, loss, X, [0, 0, 0, 0])


def test_repr():
    assert repr(LOSS) == "SoftmaxCrossEntropy()"
