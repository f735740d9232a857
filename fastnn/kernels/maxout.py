"""Eager kernels: maxout."""

import numpy as np

from .._native import Operation, apart, matrix, output
from ._check import _integer

_forward = Operation("maxout_forward", "x y", "columns pieces")
_backward = Operation("maxout_backward", "dy x dx", "columns pieces")


def _check_pieces(x, pieces):
    """(rows, columns of a piece, pieces)"""
    pieces = _integer(pieces, "pieces", 1, 2**31 - 1)
    rows, columns = matrix(x, "x")
    if columns % pieces:
        raise ValueError(f"x: expected {pieces} pieces of one width in a row, got shape {x.shape}")
    return rows, columns // pieces, pieces


def maxout_forward(x, pieces, out=None) -> np.ndarray:
    """The largest of the pieces that stand side by side in a row: y_ij = max_k x_i,(k · features + j).

    I. Goodfellow et al., "Maxout networks", 2013. A NaN beats every number.

    Parameters
    ----------
    x : float32 or float64 array [batch, pieces · features]
    pieces : int
        At least 1.
    out : float32 or float64 array [batch, features], optional
        Receives y.

    Returns
    -------
    y : float32 or float64 array [batch, features]

    Raises
    ------
    ValueError
        Columns that are no multiple of the pieces, arrays that are empty or not contiguous, `out` of another shape,
        read-only or overlapping x.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ.

    Examples
    --------
    >>> fastnn.kernels.maxout_forward(np.float32([[1, 5, 3, 4]]), 2)
    array([[3., 5.]], dtype=float32)
    """
    rows, columns, pieces = _check_pieces(x, pieces)
    y = output(out, "out", x, rows, columns)
    if out is not None:
        apart(y, "out", (x, "x"))
    _forward.run(rows, (x, y), (columns, pieces))
    return y


def maxout_backward(dy, x, pieces, out=None) -> np.ndarray:
    """Carry a gradient back through `maxout_forward`: dy goes to the piece that was chosen, of equal ones the first.

    Parameters
    ----------
    dy : float32 or float64 array [batch, features]
    x : float32 or float64 array [batch, pieces · features]
    pieces : int
        At least 1.
    out : float32 or float64 array like x, optional
        Receives dx.

    Returns
    -------
    dx : float32 or float64 array like x

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, `out` of another shape, read-only or overlapping an
        input.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ.

    Examples
    --------
    >>> fastnn.kernels.maxout_backward(np.float32([[1, 2]]), np.float32([[1, 5, 3, 4]]), 2)
    array([[0., 2., 1., 0.]], dtype=float32)
    """
    rows, columns, pieces = _check_pieces(x, pieces)
    matrix(dy, "dy", rows, columns, x)
    dx = output(out, "out", x, rows, columns * pieces)
    if out is not None:
        apart(dx, "out", (x, "x"), (dy, "dy"))
    _backward.run(rows, (dy, x, dx), (columns, pieces))
    return dx
