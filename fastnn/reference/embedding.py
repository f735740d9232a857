"""Embeddings: rows of a table, taken by integer codes, and the gradient of the table."""

import numpy as np

from ._check import check_array, check_integers, check_out


def embedding_forward(codes, weight, out=None, *, unknown=False) -> np.ndarray:
    """Rows of a table, side by side: y_i = (w_c, for c in the codes of row i).

    Parameters
    ----------
    codes : integer array [batch, columns]
        Numbers of rows, of any integer dtype.
    weight : float32 or float64 array [rows, dim]
        w; at most 2^24 rows.
    out : array [batch, columns · dim], dtype of weight, optional
        Receives y.
    unknown : bool, default False
        The last row of the table is for all codes that are no number of another row.

    Returns
    -------
    y : array [batch, columns · dim], dtype of weight

    Raises
    ------
    ValueError
        Shapes that do not fit, a code that is no row's (the first is named), `out` of another shape or read-only.
    TypeError
        Codes that are not integers, a weight of another dtype.

    Examples
    --------
    >>> embedding_forward(np.array([[1, 0], [1, 1]]), np.array([[0.5], [2.0]]))
    array([[2. , 0.5],
           [2. , 2. ]])
    """
    check_array(weight, "weight", shape=(None, None))
    codes = _rows(codes, len(weight), unknown)
    out = check_out(out, "out", (len(codes), codes.shape[1] * weight.shape[1]), weight.dtype)
    out[...] = weight[codes].reshape(out.shape)
    return out


def embedding_backward(dy, codes, num_embeddings, out=None, *, unknown=False) -> np.ndarray:
    """The gradient of a table: dw_c = Σ of what dy has where the code is c, in the order of the rows and columns.

    Parameters
    ----------
    dy : float32 or float64 array [batch, columns · dim]
    codes : integer array [batch, columns]
        As for `embedding_forward`.
    num_embeddings : int
        Rows of the table, that for unknown codes included.
    out : array [num_embeddings, dim], dtype of dy, optional
        Receives dw.
    unknown : bool, default False

    Returns
    -------
    dw : array [num_embeddings, dim], dtype of dy

    Raises
    ------
    ValueError
        Shapes that do not fit, a code that is no row's, `out` of another shape or read-only.
    TypeError
        Codes that are not integers, a dy of another dtype.

    Examples
    --------
    >>> embedding_backward(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1, 0], [1, 1]]), 2)
    array([[2.],
           [8.]])
    """
    check_array(dy, "dy", shape=(None, None))
    codes = _rows(codes, num_embeddings, unknown)
    if codes.shape[0] != dy.shape[0] or dy.shape[1] % codes.shape[1]:
        raise ValueError(f"dy must have {codes.shape[0]} rows and a multiple of {codes.shape[1]} columns, got shape {dy.shape}")
    out = check_out(out, "out", (num_embeddings, dy.shape[1] // codes.shape[1]), dy.dtype)
    dw = np.zeros_like(out)
    with np.errstate(all="ignore"):
        np.add.at(dw, codes.ravel(), dy.reshape(codes.size, -1))
    out[...] = dw
    return out


def table_rows(codes, count, unknown):
    """The rows of a table of `count` for codes of any dtype, and which codes have none (those have row 0)."""
    known = count - bool(unknown)
    with np.errstate(all="ignore"):
        fits = (codes >= 0) & (codes < known) & (codes == np.floor(codes))
    return np.where(fits, codes, known if unknown else 0).astype(np.int64), ~fits & (not unknown)


def _rows(codes, count, unknown):
    check_integers(codes, "codes", (None, None))
    rows, bad = table_rows(codes, count, unknown)
    if bad.any():
        i, j = np.argwhere(bad)[0]
        raise ValueError(f"codes[{i}, {j}] must be in [0, {count}), got {codes[i, j]}")
    return rows
