"""Eager kernels: embeddings, rows of a table that are taken by integer codes."""

import numpy as np

from .._native import Operation, apart, matrix, output
from ._check import _integer, _own

_SIZES = "columns dim count unknown first_in first_out"
_forward = Operation("embedding_forward", "x w y", _SIZES)
_backward = Operation("embedding_backward", "dy x dw", _SIZES + " accumulate lazy")

_MOST = 2**24  # rows of a table: numbers that float32 can tell apart


def embedding_forward(codes, weight, out=None, *, unknown=False) -> np.ndarray:
    """Rows of a table, side by side: y_i = (w_c, for c in the codes of row i).

    Parameters
    ----------
    codes : integer array [batch, columns]
        Numbers of rows, of any integer dtype.
    weight : float32 or float64 array [rows, dim]
        w; at most 2^24 rows.
    out : float32 or float64 array [batch, columns · dim], optional
        Receives y.
    unknown : bool, default False
        The last row of the table is for all codes that are no number of another row.

    Returns
    -------
    y : float32 or float64 array [batch, columns · dim]

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, a code that is no row's (the first is named), `out`
        read-only or overlapping the weight.
    TypeError
        Codes that are not integers, a weight that is neither float32 nor float64.

    Examples
    --------
    >>> fastnn.kernels.embedding_forward(np.array([[1, 0], [1, 1]]), np.float32([[0.5], [2.0]]))
    array([[2. , 0.5],
           [2. , 2. ]], dtype=float32)
    """
    count, dim = matrix(weight, "weight")
    codes = _codes(codes, count, unknown, _own(weight, "weight").dtype)
    rows, columns = codes.shape
    y = output(out, "out", weight, rows, columns * dim)
    if out is not None:
        apart(y, "out", (weight, "weight"))
    _forward.run(rows, (codes, weight, y), (columns, dim, count, bool(unknown), 0, 0))
    return y


def embedding_backward(dy, codes, num_embeddings, out=None, *, unknown=False) -> np.ndarray:
    """The gradient of a table: dw_c = Σ of what dy has where the code is c, in the order of the rows and columns.

    Each element is one chain of additions in that order, whatever the number of threads.

    Parameters
    ----------
    dy : float32 or float64 array [batch, columns · dim]
    codes : integer array [batch, columns]
        As for `embedding_forward`.
    num_embeddings : int
        Rows of the table, that for unknown codes included.
    out : float32 or float64 array [num_embeddings, dim], optional
        Receives dw.
    unknown : bool, default False

    Returns
    -------
    dw : float32 or float64 array [num_embeddings, dim]

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, a code that is no row's, `out` read-only or overlapping dy.
    TypeError
        Codes that are not integers, a dy that is neither float32 nor float64.

    Examples
    --------
    >>> fastnn.kernels.embedding_backward(np.float32([[1, 2], [3, 4]]), np.array([[1, 0], [1, 1]]), 2)
    array([[2.],
           [8.]], dtype=float32)
    """
    num_embeddings = _integer(num_embeddings, "num_embeddings", 1, _MOST)
    width = matrix(dy, "dy")[1]
    codes = _codes(codes, num_embeddings, unknown, _own(dy, "dy").dtype)
    rows, columns = codes.shape
    matrix(dy, "dy", rows)
    if width % columns:
        raise ValueError(f"dy: expected a multiple of {columns} columns, got shape {dy.shape}")
    dw = output(out, "out", dy, num_embeddings, width // columns)
    if out is not None:
        apart(dw, "out", (dy, "dy"))
    _backward.run(rows, (dy, codes, dw), (columns, width // columns, num_embeddings, bool(unknown), 0, 0, False, False))
    return dw


def _codes(codes, count, unknown, dtype):
    """The codes as the kernels read them, in the dtype that they compute in, each checked; -1 for those of the row for unknown ones."""
    codes = _own(codes, "codes")
    if codes.dtype.kind not in "iu" or not codes.dtype.isnative:
        raise TypeError(f"codes: expected an integer dtype, got {codes.dtype}")
    if codes.ndim != 2 or not codes.size:
        raise ValueError(f"codes: expected shape (batch, columns), not empty, got {codes.shape}")
    if count > _MOST:
        raise ValueError(f"weight: expected at most {_MOST} rows, got {count}")
    known = count - bool(unknown)
    bad = (codes < 0) | (codes >= known)
    if bad.any() and not unknown:
        i, j = np.argwhere(bad)[0]
        raise ValueError(f"codes[{i}, {j}]: expected a row of the table, from 0 to {known - 1}, got {codes[i, j]}")
    return np.where(bad, dtype.type(-1), codes).astype(dtype)
