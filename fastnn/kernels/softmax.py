"""Eager kernels: softmax and its logarithm."""

import numpy as np

from .._native import Operation, matrix, output_like, same_or_apart

_softmax_forward = Operation("softmax_forward", "x y", "columns")
_softmax_backward = Operation("softmax_backward", "dy y dx", "columns")
_log_softmax_forward = Operation("log_softmax_forward", "x y", "columns")
_log_softmax_backward = Operation("log_softmax_backward", "dy y dx", "columns")


def _forward(operation, x, out):
    batch, columns = matrix(x, "x")
    y = output_like(out, x, "x")
    operation.run(batch, (x, y), (columns,))
    return y


def _backward(operation, dy, y, out):
    batch, columns = matrix(dy, "dy")
    matrix(y, "y", batch, columns, dy)
    dx = output_like(out, dy, "dy")
    same_or_apart(dx, y, "y")
    operation.run(batch, (dy, y, dx), (columns,))
    return dx


def softmax_forward(x, out=None) -> np.ndarray:
    """Softmax of each row: y_ij = exp(x_ij - m_i) / Σ_k exp(x_ik - m_i), m_i = max_k x_ik.

    (Bridle 1990.) A row that holds a NaN or +inf, or nothing but -inf, has no softmax and is NaN throughout.

    Parameters
    ----------
    x : float32 or float64 array [batch, classes]
    out : float32 or float64 array like x, optional
        Receives y; may be x itself.

    Returns
    -------
    y : float32 or float64 array like x
        Each row sums to 1, up to rounding.

    Raises
    ------
    ValueError
        `x` that is not two-dimensional, empty or not contiguous; `out` of another shape, read-only, or overlapping a part
        of x.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ.

    Examples
    --------
    >>> fastnn.kernels.softmax_forward(np.float32([[0, 0], [1000, 0]]))
    array([[0.5, 0.5],
           [1. , 0. ]], dtype=float32)
    """
    return _forward(_softmax_forward, x, out)


def softmax_backward(dy, y, out=None) -> np.ndarray:
    """Carry a gradient back through softmax: dx_ij = y_ij · (dy_ij - Σ_k dy_ik · y_ik).

    Parameters
    ----------
    dy : float32 or float64 array [batch, classes]
        Gradient of the loss with respect to y.
    y : float32 or float64 array like dy
        The output of `softmax_forward`.
    out : float32 or float64 array like dy, optional
        Receives dx; may be dy or y itself.

    Returns
    -------
    dx : float32 or float64 array like dy

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, `out` read-only or overlapping a part of an input.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ.

    Examples
    --------
    >>> fastnn.kernels.softmax_backward(np.float32([[1, 0]]), np.float32([[0.5, 0.5]]))
    array([[ 0.25, -0.25]], dtype=float32)
    """
    return _backward(_softmax_backward, dy, y, out)


def log_softmax_forward(x, out=None) -> np.ndarray:
    """Logarithm of the softmax of each row: y_ij = x_ij - m_i - log Σ_k exp(x_ik - m_i), m_i = max_k x_ik.

    A row that holds a NaN or +inf, or nothing but -inf, is NaN throughout.

    Parameters
    ----------
    x : float32 or float64 array [batch, classes]
    out : float32 or float64 array like x, optional
        Receives y; may be x itself.

    Returns
    -------
    y : float32 or float64 array like x

    Raises
    ------
    ValueError
        `x` that is not two-dimensional, empty or not contiguous; `out` of another shape, read-only, or overlapping a part of x.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ.

    Examples
    --------
    >>> fastnn.kernels.log_softmax_forward(np.float32([[0, 0], [1000, 0]])).round(3).tolist()
    [[-0.6930000185966492, -0.6930000185966492], [0.0, -1000.0]]
    """
    return _forward(_log_softmax_forward, x, out)


def log_softmax_backward(dy, y, out=None) -> np.ndarray:
    """Carry a gradient back through log-softmax: dx_ij = dy_ij - exp(y_ij) · Σ_k dy_ik.

    Parameters
    ----------
    dy : float32 or float64 array [batch, classes]
        Gradient of the loss with respect to y.
    y : float32 or float64 array like dy
        The output of `log_softmax_forward`.
    out : float32 or float64 array like dy, optional
        Receives dx; may be dy or y itself.

    Returns
    -------
    dx : float32 or float64 array like dy

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, `out` read-only or overlapping a part of an input.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ.

    Examples
    --------
    >>> fastnn.kernels.log_softmax_backward(np.float32([[1, 0]]), np.log(np.float32([[0.5, 0.5]]))).round(6)
    array([[ 0.5, -0.5]], dtype=float32)
    """
    return _backward(_log_softmax_backward, dy, y, out)
