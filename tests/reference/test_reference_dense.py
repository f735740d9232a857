"""The dense layer: its formula, gradients against finite differences, outputs given by the caller, errors."""

import numpy as np
import pytest

from fastnn.reference import ACTIVATIONS, activation_forward, bias_gradient, dense_backward, dense_forward

NAMES = list(ACTIVATIONS)


def problem(batch=4, n_in=3, n_out=5, dtype=np.float64):
    rng = np.random.default_rng(0)
    shapes = [(batch, n_in), (n_in, n_out), (n_out,), (batch, n_out)]
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]  # x, w, b, dy


@pytest.mark.parametrize("name", NAMES)
def test_forward_element_by_element(name):
    x, w, b, _ = problem()
    z = np.empty((4, 5))
    y = dense_forward(x, w, b, name, z=z)
    for i in range(4):
        for j in range(5):
            assert z[i, j] == pytest.approx(sum(x[i, k] * w[k, j] for k in range(3)) + b[j])
    np.testing.assert_array_equal(y, activation_forward(z, name))
    np.testing.assert_allclose(dense_forward(x, w, activation=name), dense_forward(x, w, np.zeros(5), name))


@pytest.mark.parametrize("name", NAMES)
def test_backward_is_the_finite_difference(name):
    x, w, b, dy = problem()
    z = dense_forward(x, w, b)
    saved = z if ACTIVATIONS[name].saves == "z" else dense_forward(x, w, b, name, alpha=0.2)
    grads = dense_backward(dy, x, w, saved, name, alpha=0.2)
    h = 1e-6
    for array, grad in zip((x, w, b), grads):
        slopes = np.empty_like(array)
        for place in np.ndindex(array.shape):
            kept = array[place]
            array[place] = kept + h
            above = (dy * dense_forward(x, w, b, name, alpha=0.2)).sum()
            array[place] = kept - h
            below = (dy * dense_forward(x, w, b, name, alpha=0.2)).sum()
            array[place] = kept
            slopes[place] = (above - below) / (2 * h)
        np.testing.assert_allclose(grad, slopes, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", [(0, 3, 5), (1, 1, 1), (4, 0, 5), (4, 3, 0), (17, 16, 15)])
def test_shapes_and_dtypes(name, dtype, sizes):
    x, w, b, dy = problem(*sizes, dtype)
    y = dense_forward(x, w, b, name)
    dx, dw, db = dense_backward(dy, x, w, y, name)
    assert [a.dtype for a in (y, dx, dw, db)] == [dtype] * 4
    assert (y.shape, dx.shape, dw.shape, db.shape) == (dy.shape, x.shape, w.shape, b.shape)
    if sizes[1] == 0:
        np.testing.assert_array_equal(y, activation_forward(np.tile(b, (sizes[0], 1)), name))
    if sizes[0] == 0:
        assert not dw.any() and not db.any()


def test_outputs_given_by_the_caller():
    x, w, b, dy = problem()
    y, z = np.full((4, 5), np.nan), np.full((4, 5), np.nan)
    assert dense_forward(x, w, b, "tanh", y, z) is y
    np.testing.assert_array_equal(y, dense_forward(x, w, b, "tanh"))
    np.testing.assert_array_equal(y, np.tanh(z))
    expected = dense_backward(dy, x, w, y, "tanh")
    out = tuple(np.full_like(a, np.nan) for a in (x, w, b))
    got = dense_backward(dy, x, w, y, "tanh", out)
    for a, b_, c in zip(got, out, expected):
        assert a is b_
        np.testing.assert_array_equal(a, c)
    dx, dw, db = dense_backward(dy, x, w, y, "tanh", (None, out[1], None))
    assert dw is out[1] and dx is not None and db is not None


def test_without_dx():
    x, w, b, dy = problem()
    expected = dense_backward(dy, x, w)
    dx, dw, db = dense_backward(dy, x, w, need_dx=False)
    assert dx is None
    np.testing.assert_array_equal(dw, expected[1])
    np.testing.assert_array_equal(db, expected[2])


def test_arguments_are_only_read():
    arrays = problem()
    x, w, b, dy = arrays
    for array in arrays:
        array.setflags(write=False)
    y = dense_forward(x, w, b, "relu")
    y.setflags(write=False)
    dense_backward(dy, x, w, y, "relu")


@pytest.mark.filterwarnings("error")
def test_nan_and_infinity_pass_through():
    x, w, b, dy = problem()
    x[1, 0] = np.nan
    x[2, 0] = np.inf
    y = dense_forward(x, w, b, "relu")
    assert np.isnan(y[1]).all()
    np.testing.assert_array_equal(y[2], np.where(w[0] > 0, np.inf, 0))
    assert np.isfinite(y[[0, 3]]).all()
    _, dw, _ = dense_backward(dy, x, w)
    assert np.isnan(dw[0]).all() and np.isfinite(dw[1:]).all()


def test_bias_gradient():
    dy = problem()[3]
    out = np.empty(5)
    assert bias_gradient(dy, out) is out
    np.testing.assert_allclose(out, [sum(dy[:, j]) for j in range(5)])
    assert bias_gradient(dy.astype("f4")).dtype == np.float32


X, W, B, DY = problem()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: dense_forward(X[0], W), ValueError, r"x must have shape \[any, any\], got \[3\]"),
        (lambda: dense_forward(X, W.T), ValueError, r"w must have shape \[3, any\], got \[5, 3\]"),
        (lambda: dense_forward(X, W, B[:1]), ValueError, r"b must have shape \[5\], got \[1\]"),
        (lambda: dense_forward(X, W.astype("f4")), TypeError, "w must be float64, got float32"),
        (lambda: dense_forward(X.astype(int), W), TypeError, "x must be float32 or float64"),
        (lambda: dense_forward(X, W, z=np.ones((4, 4))), ValueError, "z must have shape"),
        (lambda: dense_forward(X, W, out=np.ones((4, 5), "f4")), TypeError, "out must be float64"),
        (lambda: dense_backward(DY, X[:2], W), ValueError, r"x must have shape \[4, any\]"),
        (lambda: dense_backward(DY, X, W[:, :4]), ValueError, r"w must have shape \[3, 5\]"),
        (lambda: dense_backward(DY, X, W, activation="relu"), ValueError, "saved must be"),
        (lambda: dense_backward(DY, X, W, out=np.ones(3)), TypeError, "out must be None or a tuple"),
        (lambda: dense_backward(DY, X, W, out=(None, np.ones((5, 3)), None)), ValueError, r"out\[1\] must have shape"),
        (lambda: dense_backward(DY, X, W, out=(X.copy(), None, None), need_dx=False), ValueError, r"out\[0\] must be None"),
        (lambda: bias_gradient(B), ValueError, "dy must have shape"),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("bad", [{"activation": "swoosh"}, {"activation": "leaky_relu", "alpha": -1}, {"out": np.ones((1, 1))}])
def test_a_refused_call_changes_nothing(bad):
    z = np.full((4, 5), 7.0)
    with pytest.raises(ValueError):
        dense_forward(X, W, B, z=z, **bad)
    assert (z == 7).all()
