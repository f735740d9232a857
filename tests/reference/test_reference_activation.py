"""Activations: values, special values, derivatives against finite differences, dtypes, in-place use, errors."""

import math

import numpy as np
import pytest

from fastnn.reference import ACTIVATIONS, activation_backward, activation_forward

NAMES = list(ACTIVATIONS)
SPECIAL = np.array([-np.inf, -1e4, -2.0, -0.0, 0.0, 0.5, 1e4, np.inf, np.nan])

SELU_SLOPE, SELU_SCALE, BEND = 1.0507009873554805, 1.7580993408473766, math.sqrt(2 / math.pi)

# What each activation makes of SPECIAL, written out.
EXPECTED = {
    "identity": SPECIAL,
    "sigmoid": np.array([0.0, 0.0, 1 / (1 + math.exp(2)), 0.5, 0.5, 1 / (1 + math.exp(-0.5)), 1.0, 1.0, np.nan]),
    "tanh": np.array([-1.0, -1.0, math.tanh(-2), -0.0, 0.0, math.tanh(0.5), 1.0, 1.0, np.nan]),
    "relu": np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 1e4, np.inf, np.nan]),
    "leaky_relu": np.array([-np.inf, -1e2, -0.02, -0.0, 0.0, 0.5, 1e4, np.inf, np.nan]),
    "elu": np.array([-1.0, -1.0, math.expm1(-2), -0.0, 0.0, 0.5, 1e4, np.inf, np.nan]),
    "selu": np.array(
        [-SELU_SCALE, -SELU_SCALE, SELU_SCALE * math.expm1(-2), -0.0, 0.0, 0.5 * SELU_SLOPE, 1e4 * SELU_SLOPE, np.inf, np.nan]
    ),
    "gelu": np.array([-0.0, -0.0, -math.erfc(math.sqrt(2)), -0.0, 0.0, 0.25 * (1 + math.erf(math.sqrt(0.125))), 1e4, np.inf, np.nan]),
    "gelu_tanh": np.array(
        [-0.0, -0.0, math.tanh(BEND * (2 + 8 * 0.044715)) - 1, -0.0, 0.0, 0.25 * (1 + math.tanh(BEND * (0.5 + 0.125 * 0.044715))),
         1e4, np.inf, np.nan]
    ),
    "silu": np.array([-0.0, -0.0, -2 / (1 + math.exp(2)), -0.0, 0.0, 0.5 / (1 + math.exp(-0.5)), 1e4, np.inf, np.nan]),
    "mish": np.array(
        [-0.0, -0.0, -2 * math.tanh(math.log1p(math.exp(-2))), -0.0, 0.0, 0.5 * math.tanh(math.log1p(math.exp(0.5))), 1e4, np.inf, np.nan]
    ),
    "softplus": np.array([0.0, 0.0, math.log1p(math.exp(-2)), math.log(2), math.log(2), math.log1p(math.exp(0.5)), 1e4, np.inf, np.nan]),
    "hard_tanh": np.array([-1.0, -1.0, -1.0, -0.0, 0.0, 0.5, 1.0, 1.0, np.nan]),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("error")
def test_special_values(name, dtype):
    assert name in EXPECTED, f"tests/reference/test_reference_activation.py: what {name} makes of SPECIAL, in EXPECTED"
    y = activation_forward(SPECIAL.astype(dtype), name)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, EXPECTED[name], rtol=4 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny)
    np.testing.assert_array_equal(np.signbit(y[:-1]), np.signbit(EXPECTED[name][:-1]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("error")
def test_sigmoid_keeps_precision_far_on_the_left(dtype):
    x = np.array([-80.0, -40.0, -20.0], dtype)
    np.testing.assert_allclose(activation_forward(x, "sigmoid"), np.exp(x), rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_backward_is_the_finite_difference(name):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 7))
    x[np.abs(x) < 1e-3] = 0.5  # away from the kinks
    x[np.abs(np.abs(x) - 1) < 1e-3] = 0.5
    dy = rng.normal(size=x.shape)
    h = 1e-6
    slope = (activation_forward(x + h, name) - activation_forward(x - h, name)) / (2 * h)
    saved = x if ACTIVATIONS[name].saves == "z" else activation_forward(x, name)
    np.testing.assert_allclose(activation_backward(dy, saved, name), dy * slope, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_derivative_is_backward_of_ones(name):
    y = activation_forward(np.array([-2.0, -0.5, 0.0, 0.5, 2.0]), name)
    record = ACTIVATIONS[name]
    derivative = record.derivative(y if record.saves else None, record.alpha)
    np.testing.assert_array_equal(np.broadcast_to(derivative, y.shape), activation_backward(np.ones_like(y), y, name))


@pytest.mark.filterwarnings("error")
def test_relu_backward_selects():
    y = np.array([0.0, -0.0, 0.0, 1.0, np.nan, 1.0])
    dy = np.array([-1.0, np.inf, np.nan, -3.0, 2.0, np.nan])
    dx = activation_backward(dy, y, "relu")
    np.testing.assert_array_equal(dx, [0.0, 0.0, 0.0, -3.0, 2.0, np.nan])
    assert not np.signbit(dx[:3]).any()


def test_leaky_relu_backward_at_zero_and_nan():
    dx = activation_backward(np.array([2.0, 2.0, 2.0]), np.array([0.0, np.nan, 1.0]), "leaky_relu", alpha=0.25)
    np.testing.assert_array_equal(dx, [0.5, 0.5, 2.0])


def test_alpha():
    x = np.array([-2.0, 3.0])
    np.testing.assert_array_equal(activation_forward(x, "leaky_relu"), [-0.02, 3.0])
    np.testing.assert_array_equal(activation_forward(x, "leaky_relu", alpha=0.0), [0.0, 3.0])
    y = activation_forward(x, "leaky_relu", alpha=2)
    np.testing.assert_array_equal(y, [-4.0, 3.0])
    np.testing.assert_array_equal(activation_backward(np.ones(2), y, "leaky_relu", alpha=2), [2.0, 1.0])


def test_a_double_alpha_does_not_widen_float32():
    x = np.array([-1.0, 1.0], np.float32)
    y = activation_forward(x, "leaky_relu", alpha=np.float64(0.3))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, np.array([-1, 1], np.float32) * np.array([0.3, 1], np.float32))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (17,), (3, 5), (2, 0, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_dtypes_and_places(name, shape, dtype):
    x = np.asarray(np.random.default_rng(1).normal(size=shape), dtype)
    y = activation_forward(x, name)
    assert y.shape == shape and y.dtype == dtype and not np.shares_memory(x, y)
    inplace = x.copy()
    assert activation_forward(inplace, name, inplace) is inplace
    np.testing.assert_array_equal(inplace, y)
    dx = activation_backward(x, y, name)
    assert dx.shape == shape and dx.dtype == dtype and not np.shares_memory(x, dx)
    for place in ("dy", "saved"):
        arrays = {"dy": x.copy(), "saved": y.copy()}
        assert activation_backward(**arrays, activation=name, out=arrays[place]) is arrays[place]
        np.testing.assert_array_equal(arrays[place], dx)


def test_identity_needs_nothing_saved():
    np.testing.assert_array_equal(activation_backward(np.array([1.0, np.nan]), None, "identity"), [1.0, np.nan])


X = np.ones((2, 3))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: activation_forward(X, "swoosh"), ValueError, "activation must be one of identity.*'swoosh'"),
        (lambda: activation_forward([1.0], "relu"), TypeError, "x must be a NumPy array, got list"),
        (lambda: activation_forward(np.ones(3, int), "relu"), TypeError, "x must be float32 or float64, got int64"),
        (lambda: activation_forward(np.ones(3, np.float16), "relu"), TypeError, "got float16"),
        (lambda: activation_forward(np.ones(3, ">f8"), "relu"), TypeError, "x must be float32 or float64, got >f8"),
        (lambda: activation_forward(X, "leaky_relu", alpha=-0.1), ValueError, "alpha must be finite and >= 0.*-0.1"),
        (lambda: activation_forward(X, "leaky_relu", alpha=np.nan), ValueError, "alpha must be finite and >= 0.*nan"),
        (lambda: activation_backward(X, X, "leaky_relu", alpha=-1), ValueError, "alpha"),
        (lambda: activation_forward(X, "relu", np.ones(6)), ValueError, r"out must have shape \[2, 3\], got \[6\]"),
        (lambda: activation_forward(X, "relu", np.ones((2, 3), "f4")), TypeError, "out must be float64, got float32"),
        (lambda: activation_forward(X, "relu", np.broadcast_to(1.0, (2, 3))), ValueError, "out must be writable"),
        (lambda: activation_backward(X, None, "relu"), ValueError, "saved must be the output y of relu"),
        (lambda: activation_backward(X, np.ones((3, 2)), "relu"), ValueError, r"saved must have shape \[2, 3\]"),
        (lambda: activation_backward(X, X.astype("f4"), "relu"), TypeError, "saved must be float64"),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()
