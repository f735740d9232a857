"""Softmax and log-softmax over rows, and their gradients. The loss on logits has a simpler gradient of its own, in loss.py."""

import numpy as np

from ._check import check_array, check_out


def softmax_forward(x, out=None) -> np.ndarray:
    """Softmax of each row: y_ij = exp(x_ij - m_i) / Σ_k exp(x_ik - m_i), m_i = max_k x_ik.

    (Bridle 1990.) Subtracting the maximum changes nothing but keeps every exponent at or below zero. A row that holds a
    NaN or +inf, or nothing but -inf, has no softmax and is NaN throughout.

    Parameters
    ----------
    x : float32 or float64 array [batch, classes]
    out : array like x, optional
        Receives y; may be x itself.

    Returns
    -------
    y : array like x
        Each row sums to 1, up to rounding.

    Raises
    ------
    ValueError
        `x` that is not two-dimensional, `out` of another shape or read-only.
    TypeError
        Another dtype, or not an array.

    Examples
    --------
    >>> softmax_forward(np.array([[0.0, 0.0], [1000.0, 0.0]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    check_array(x, "x", shape=(None, None))
    out = check_out(out, "out", x.shape, x.dtype)
    with np.errstate(all="ignore"):
        e = np.exp(x - x.max(axis=1, keepdims=True, initial=-np.inf))  # `initial` lets a row be empty
        out[...] = e / e.sum(axis=1, keepdims=True)
    return out


def softmax_backward(dy, y, out=None) -> np.ndarray:
    """Carry a gradient back through softmax: dx_ij = y_ij · (dy_ij - Σ_k dy_ik · y_ik).

    Parameters
    ----------
    dy : float32 or float64 array [batch, classes]
        Gradient of the loss with respect to y.
    y : array like dy
        The output of `softmax_forward`.
    out : array like dy, optional
        Receives dx; may be dy or y itself.

    Returns
    -------
    dx : array like dy

    Raises
    ------
    ValueError
        Shapes that do not fit, `out` read-only.
    TypeError
        Dtypes that differ or are neither float32 nor float64.

    Examples
    --------
    >>> softmax_backward(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]]))
    array([[ 0.25, -0.25]])
    """
    check_array(dy, "dy", shape=(None, None))
    check_array(y, "y", dy.dtype, dy.shape)
    out = check_out(out, "out", dy.shape, dy.dtype)
    with np.errstate(all="ignore"):
        out[...] = y * (dy - (dy * y).sum(axis=1, keepdims=True))
    return out


def log_softmax_forward(x, out=None) -> np.ndarray:
    """Logarithm of the softmax of each row: y_ij = x_ij - m_i - log Σ_k exp(x_ik - m_i), m_i = max_k x_ik.

    A row that holds a NaN or +inf, or nothing but -inf, is NaN throughout.

    Parameters
    ----------
    x : float32 or float64 array [batch, classes]
    out : array like x, optional
        Receives y; may be x itself.

    Returns
    -------
    y : array like x

    Raises
    ------
    ValueError
        `x` that is not two-dimensional, `out` of another shape or read-only.
    TypeError
        Another dtype, or not an array.

    Examples
    --------
    >>> log_softmax_forward(np.array([[0.0, 0.0], [1000.0, 0.0]])).round(3)
    array([[-6.93e-01, -6.93e-01],
           [ 0.00e+00, -1.00e+03]])
    """
    check_array(x, "x", shape=(None, None))
    out = check_out(out, "out", x.shape, x.dtype)
    with np.errstate(all="ignore"):
        z = x - x.max(axis=1, keepdims=True, initial=-np.inf)
        out[...] = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return out


def log_softmax_backward(dy, y, out=None) -> np.ndarray:
    """Carry a gradient back through log-softmax: dx_ij = dy_ij - exp(y_ij) · Σ_k dy_ik.

    Parameters
    ----------
    dy : float32 or float64 array [batch, classes]
        Gradient of the loss with respect to y.
    y : array like dy
        The output of `log_softmax_forward`.
    out : array like dy, optional
        Receives dx; may be dy or y itself.

    Returns
    -------
    dx : array like dy

    Raises
    ------
    ValueError
        Shapes that do not fit, `out` read-only.
    TypeError
        Dtypes that differ or are neither float32 nor float64.

    Examples
    --------
    >>> log_softmax_backward(np.array([[1.0, 0.0]]), np.log([[0.5, 0.5]]))
    array([[ 0.5, -0.5]])
    """
    check_array(dy, "dy", shape=(None, None))
    check_array(y, "y", dy.dtype, dy.shape)
    out = check_out(out, "out", dy.shape, dy.dtype)
    with np.errstate(all="ignore"):
        out[...] = dy - np.exp(y) * dy.sum(axis=1, keepdims=True)
    return out
