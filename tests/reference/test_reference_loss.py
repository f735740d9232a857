"""Softmax cross entropy: its formula, the gradient against finite differences, both kinds of targets, special values, errors."""

import math

import numpy as np
import pytest

from fastnn import reference
from fastnn.reference import (
    softmax_cross_entropy,
    softmax_cross_entropy_correct,
    softmax_cross_entropy_rows,
    softmax_forward,
)


def problem(batch=6, classes=4):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(batch, classes))
    return logits, rng.integers(0, classes, batch), softmax_forward(rng.normal(size=(batch, classes)))


def test_rows_from_the_definition():
    logits, labels, probabilities = problem()
    for row, label, got in zip(logits, labels, softmax_cross_entropy_rows(logits, labels)):
        assert got == pytest.approx(-math.log(math.exp(row[label]) / sum(map(math.exp, row))))
    for row, t, got in zip(logits, probabilities, softmax_cross_entropy_rows(logits, probabilities)):
        p = softmax_forward(row[None])[0]
        assert got == pytest.approx(-(t * np.log(p)).sum())


@pytest.mark.parametrize("kind", ["labels", "probabilities", "unnormalised"])
def test_gradient_is_the_finite_difference(kind):
    logits, labels, probabilities = problem()
    targets = {"labels": labels, "probabilities": probabilities, "unnormalised": probabilities * np.arange(6.0)[:, None]}[kind]
    loss, dlogits = softmax_cross_entropy(logits, targets)
    assert type(loss) is float
    assert loss == pytest.approx(softmax_cross_entropy_rows(logits, targets).mean())
    h = 1e-6
    slopes = np.empty_like(logits)
    for place in np.ndindex(logits.shape):
        moved = np.zeros_like(logits)
        moved[place] = h
        slopes[place] = softmax_cross_entropy(logits + moved, targets)[0] - softmax_cross_entropy(logits - moved, targets)[0]
    np.testing.assert_allclose(dlogits, slopes / (2 * h), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_labels_are_one_hot_rows(dtype):
    logits, labels, _ = problem()
    loss, dlogits = softmax_cross_entropy(logits, labels.astype(dtype))
    loss1, dlogits1 = softmax_cross_entropy(logits, np.eye(4)[labels])
    assert loss == loss1
    np.testing.assert_array_equal(dlogits, dlogits1)


def test_float32_stays_float32_and_losses_are_double():
    logits, labels, probabilities = problem()
    logits = logits.astype(np.float32)
    for targets in (labels, probabilities.astype(np.float32), probabilities):
        loss, dlogits = softmax_cross_entropy(logits, targets)
        rows = softmax_cross_entropy_rows(logits, targets)
        assert dlogits.dtype == np.float32 and rows.dtype == np.float64
        same = targets if targets is labels else targets.astype(np.float32).astype(np.float64)
        exact, exact_gradient = softmax_cross_entropy(logits.astype(np.float64), same)
        assert loss == exact
        np.testing.assert_allclose(dlogits, exact_gradient, rtol=0, atol=1e-7)


def test_out():
    logits, labels, _ = problem()
    loss, expected = softmax_cross_entropy(logits, labels)
    out = np.full_like(logits, np.nan)
    assert softmax_cross_entropy(logits, labels, out)[1] is out
    np.testing.assert_array_equal(out, expected)
    again, inplace = softmax_cross_entropy(logits, labels, logits)
    assert again == loss and inplace is logits
    np.testing.assert_array_equal(logits, expected)


@pytest.mark.filterwarnings("error")
def test_large_logits():
    logits = np.array([[1e30, 0.0], [-1e30, 0.0]], np.float32)
    np.testing.assert_allclose(softmax_cross_entropy_rows(logits, np.array([0, 0])), [0.0, float(np.float32(1e30))])
    _, dlogits = softmax_cross_entropy(logits, np.array([0, 0]))
    np.testing.assert_array_equal(dlogits, [[0.0, 0.0], [-0.5, 0.5]])


@pytest.mark.filterwarnings("error")
def test_zero_targets_count_zero_and_nothing_hides_a_nan():
    inf, nan = np.inf, np.nan
    logits = np.array([[-inf, 0.0], [-inf, 0.0], [nan, 0.0], [inf, 0.0]])
    np.testing.assert_array_equal(softmax_cross_entropy_rows(logits, np.array([1, 0, 1, 0])), [0.0, inf, nan, nan])
    loss, dlogits = softmax_cross_entropy(logits, np.array([1, 0, 1, 0]))
    assert math.isnan(loss)
    np.testing.assert_array_equal(dlogits, [[0.0, 0.0], [-0.25, 0.25], [nan, nan], [nan, nan]])


@pytest.mark.filterwarnings("error")
def test_a_batch_without_rows():
    logits = np.empty((0, 3))
    loss, dlogits = softmax_cross_entropy(logits, np.empty(0, int))
    assert math.isnan(loss) and dlogits.shape == (0, 3)
    assert softmax_cross_entropy_rows(logits, np.empty((0, 3))).shape == (0,)
    assert softmax_cross_entropy_correct(logits, np.empty(0, int)) == 0


def test_correct():
    nan = np.nan
    logits = np.array([[1.0, 2, 0], [2, 2, 1], [2, 2, 1], [0, nan, 1], [0, 1, nan], [-np.inf, 0, np.inf]])
    labels = np.array([1, 0, 1, 1, 1, 2])
    correct = softmax_cross_entropy_correct(logits, labels)
    assert correct == 3 and type(correct) is int
    assert softmax_cross_entropy_correct(logits, np.eye(3)[labels]) == 3
    tied = np.array([[0.5, 0.5, 0.0]])
    assert softmax_cross_entropy_correct(np.array([[2.0, 1, 0]]), tied) == 1
    assert softmax_cross_entropy_correct(np.array([[1.0, 2, 0]]), tied) == 0
    assert softmax_cross_entropy_correct(np.array([[2.0, 1, 0]]), np.array([[1.0, nan, 0]])) == 0


Z = np.zeros((3, 4))


@pytest.mark.parametrize("function", [softmax_cross_entropy, softmax_cross_entropy_rows, softmax_cross_entropy_correct])
@pytest.mark.parametrize(
    ("logits", "targets", "error", "words"),
    [
        (Z, np.array([0, 4, 9]), ValueError, r"targets\[1\] must be a class number in \[0, 4\), got 4"),
        (Z, np.array([0, 1, -1]), ValueError, r"targets\[2\] must be.*got -1"),
        (Z, np.array([0, 1, 2**64 - 1], np.uint64), ValueError, r"targets\[2\] must be.*got 18446744073709551615"),
        (Z, np.array([0, 1]), ValueError, r"targets must have shape \[3\], got \[2\]"),
        (Z, np.zeros((3, 4), int), ValueError, r"targets must have shape \[3\], got \[3, 4\]"),
        (Z, np.zeros(3), ValueError, r"targets must have shape \[3, 4\], got \[3\]"),
        (Z, np.zeros(3, bool), TypeError, "targets must be of an integer dtype, got bool"),
        (Z, [0, 1, 2], TypeError, "targets must be a NumPy array, got list"),
        (Z[0], np.array([0]), ValueError, "logits must have shape"),
        (Z.astype(int), np.array([0, 1, 2]), TypeError, "logits must be float32 or float64"),
    ],
)
def test_errors(function, logits, targets, error, words):
    with pytest.raises(error, match=words):
        function(logits, targets)


def test_a_bad_label_leaves_out_alone():
    out = np.full((3, 4), 7.0)
    with pytest.raises(ValueError):
        softmax_cross_entropy(Z, np.array([0, 1, 4]), out)
    assert (out == 7).all()


# ---- the other losses: their values by hand, weights and reductions, errors ----

Z, T = np.array([[0.5, -1.0], [2.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("function", "options", "terms"),
    [
        (reference.mean_squared_error, {}, [0.25, 1, 4, 1]),
        (reference.mean_absolute_error, {}, [0.5, 1, 2, 1]),
        (reference.huber, {}, [0.125, 0.5, 1.5, 0.5]),
        (reference.huber, {"delta": 0.5}, [0.125, 0.375, 0.875, 0.375]),
        (reference.poisson, {}, [math.exp(0.5) - 0.5, math.exp(-1), math.exp(2), 1]),
        (reference.binary_cross_entropy, {}, [math.log1p(math.exp(-0.5)), math.log1p(math.exp(-1)), math.log1p(math.exp(2)), math.log(2)]),
        (reference.binary_hinge, {}, [0.5, 0, 3, 1]),
        (reference.binary_hinge, {"squared": True, "margin": 2.0}, [2.25, 1, 16, 4]),
    ],
)
def test_elementwise_losses_by_hand(function, options, terms):
    terms = np.array(terms).reshape(2, 2)
    assert function(Z, T, **options)[0] == pytest.approx(terms.mean())
    assert function(Z, T, **options, reduction="sum")[0] == pytest.approx(terms.sum())
    weighted = function(Z, T, **options, sample_weight=np.array([2.0, 0.5]))
    assert weighted[0] == pytest.approx((terms * [[2], [0.5]]).mean())
    np.testing.assert_allclose(weighted[1], function(Z, T, **options)[1] * [[2], [0.5]])


def test_multiclass_hinge_by_hand():
    z, y = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]]), np.array([0, 1, 2])
    assert reference.multiclass_hinge(z, y)[0] == pytest.approx((2.9 + 0 + 12.9) / 3)  # Stanford's CS231n has these numbers
    assert reference.multiclass_hinge(z, y, squared=True, reduction="sum")[0] == pytest.approx(2.9**2 + 6.3**2 + 6.6**2)
    np.testing.assert_array_equal(reference.multiclass_hinge(z, y, reduction="sum")[1], [[-1, 1, 0], [0, 0, 0], [1, 1, -2]])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: reference.mean_squared_error(Z, T[:1]), ValueError, r"targets must have shape \[2, 2\]"),
        (lambda: reference.mean_squared_error(Z, T.astype("f4")), TypeError, "targets must be float64"),
        (lambda: reference.mean_squared_error(Z, T, reduction="none"), ValueError, "reduction must be mean or sum"),
        (lambda: reference.mean_squared_error(Z, T, sample_weight=np.ones(3)), ValueError, r"sample_weight must have shape \[2\]"),
        (lambda: reference.huber(Z, T, delta=0), ValueError, "delta must be finite and > 0"),
        (lambda: reference.poisson(Z, T, eps=-1), ValueError, "eps must be finite and >= 0"),
        (lambda: reference.binary_hinge(Z, T, margin=np.nan), ValueError, "margin must be finite"),
        (lambda: reference.binary_cross_entropy(Z, T, class_weight=np.ones(2)), ValueError, r"class_weight must have shape \[2, 2\]"),
        (lambda: reference.multiclass_hinge(Z, np.array([0, 2])), ValueError, r"targets\[1\] must be a class number in \[0, 2\)"),
        (lambda: reference.multiclass_hinge(Z, T), TypeError, "targets must be of an integer dtype"),
        (lambda: reference.softmax_cross_entropy(Z, T, label_smoothing=2), ValueError, "label_smoothing must be from 0 to 1"),
        (lambda: reference.softmax_cross_entropy(Z, T, class_weight=np.ones(3)), ValueError, r"class_weight must have shape \[2\]"),
    ],
)
def test_errors_of_the_losses(call, error, words):
    with pytest.raises(error, match=words):
        call()
