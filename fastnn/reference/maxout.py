"""Maxout: the largest of several pieces (I. Goodfellow et al., "Maxout networks", 2013)."""

import numpy as np

from ._check import check_array, check_out


def _pieces(x, pieces):
    """x [batch, pieces · features] as [batch, pieces, features], and which piece counts: the first largest, or first NaN."""
    if pieces < 1 or x.shape[1] % pieces:
        raise ValueError(f"x must have a multiple of {pieces} columns, got {x.shape[1]}")
    x = x.reshape(len(x), pieces, -1)
    return x, x.argmax(axis=1)[:, None, :]  # NumPy's argmax: a NaN beats every number


def maxout_forward(x, pieces, out=None) -> np.ndarray:
    """The largest of the pieces that stand side by side in a row: y_ij = max_k x_i,(k · features + j).

    Parameters
    ----------
    x : float32 or float64 array [batch, pieces · features]
    pieces : int
        At least 1.
    out : array [batch, features], dtype of x, optional
        Receives y.

    Returns
    -------
    y : array [batch, features], dtype of x

    Raises
    ------
    ValueError
        Columns that are no multiple of the pieces, `out` of another shape or read-only.
    TypeError
        Another dtype, or not an array.

    Examples
    --------
    >>> maxout_forward(np.array([[1.0, 5.0, 3.0, 4.0]]), 2)
    array([[3., 5.]])
    """
    check_array(x, "x", shape=(None, None))
    x, best = _pieces(x, pieces)
    out = check_out(out, "out", (x.shape[0], x.shape[2]), x.dtype)
    out[...] = np.take_along_axis(x, best, axis=1)[:, 0]
    return out


def maxout_backward(dy, x, pieces, out=None) -> np.ndarray:
    """Carry a gradient back through `maxout_forward`: dy goes to the piece that was chosen, of equal ones the first.

    Parameters
    ----------
    dy : float32 or float64 array [batch, features]
    x : array [batch, pieces · features], dtype of dy
    pieces : int
        At least 1.
    out : array like x, optional
        Receives dx.

    Returns
    -------
    dx : array like x

    Raises
    ------
    ValueError
        Shapes that do not fit, `out` of another shape or read-only.
    TypeError
        Another dtype, or not an array.

    Examples
    --------
    >>> maxout_backward(np.array([[1.0, 2.0]]), np.array([[1.0, 5.0, 3.0, 4.0]]), 2)
    array([[0., 2., 1., 0.]])
    """
    check_array(dy, "dy", shape=(None, None))
    check_array(x, "x", dy.dtype, (dy.shape[0], None))
    split, best = _pieces(x, pieces)
    check_array(dy, "dy", shape=(x.shape[0], split.shape[2]))
    out = check_out(out, "out", x.shape, x.dtype)
    dx = np.zeros_like(split)
    np.put_along_axis(dx, best, dy[:, None, :], axis=1)
    out[...] = dx.reshape(x.shape)
    return out
