"""Softmax: its formula, stability, special values, in-place use, errors."""

import math

import numpy as np
import pytest

from fastnn.reference import softmax_forward


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (5, 1), (4, 17)])
def test_formula(shape, dtype):
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    kept = x.copy()
    y = softmax_forward(x)
    assert y.dtype == dtype and y.shape == shape
    np.testing.assert_array_equal(x, kept)
    for row, got in zip(x, y):
        e = [math.exp(v) for v in row]
        np.testing.assert_allclose(got, np.array(e) / sum(e), rtol=8 * np.finfo(dtype).eps)
    assert softmax_forward(x, x) is x
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("error")
def test_large_and_special_values(dtype):
    big, inf, nan = np.finfo(dtype).max, np.inf, np.nan
    x = np.array([[big, 0, -big], [-big, -big, -big], [-inf, 0, 0], [inf, 0, 0], [nan, 0, 0], [-inf] * 3, [-0.0, 0, 0]], dtype)
    expected = [[1, 0, 0], [1 / 3] * 3, [0, 0.5, 0.5], [nan] * 3, [nan] * 3, [nan] * 3, [1 / 3] * 3]
    np.testing.assert_allclose(softmax_forward(x)[3:], expected[3:], rtol=1e-6)
    np.testing.assert_allclose(softmax_forward(x)[:3], expected[:3], rtol=1e-6)


def test_adding_a_constant_to_a_row_changes_nothing():
    x = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(softmax_forward(x + 1024), softmax_forward(x))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: softmax_forward(np.ones(3)), ValueError, r"x must have shape \[any, any\]"),
        (lambda: softmax_forward(np.ones((2, 3), int)), TypeError, "x must be float32 or float64"),
        (lambda: softmax_forward(np.ones((2, 3)), np.ones((3, 2))), ValueError, r"out must have shape \[2, 3\]"),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()
