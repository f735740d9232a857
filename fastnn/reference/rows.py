"""Rows by index from the user's arrays: data converted and scaled to float32, labels checked and narrowed to int32.

A row is named by its number in the source, so that an error points at the data, whatever order it was drawn in. Negative
indices do not count from the end; they are errors.
"""

import math

import numpy as np

from ._check import check_integers, check_out

_ROWS_NAMED = 5  # an error names this many rows at most


def gather(source, index, scale=1.0, shift=0.0, out=None, check_finite=False, dtype=np.float32) -> np.ndarray:
    """Take rows, convert, scale and shift: value = dtype(float64(v) · scale + shift).

    The product and the sum are each rounded in double, then the value once to the dtype.

    Parameters
    ----------
    source : array [rows, ...]
        bool, integers of 8 to 64 bits, float16, float32 or float64, two axes or more. Trailing axes are flattened in C order.
    index : integer array [n], or None
        Rows to take, each in [0, rows); repeats are fine. None takes all rows in order.
    scale, shift : float, default 1.0 and 0.0
    out : array [n, features], optional
        Receives the values. Untouched if there is an error.
    check_finite : bool, default False
        Refuse values that are NaN or infinite, after scaling and rounding.
    dtype : float32 or float64
        Of the values.

    Returns
    -------
    values : array [n, features]

    Raises
    ------
    IndexError
        An index out of range; the first is named.
    ValueError
        Shapes that do not fit, `out` read-only, or values that are not finite; their first rows are named.
    TypeError
        A source that is not real, an index that is not of integers, an `out` of another dtype.

    Examples
    --------
    >>> gather(np.array([[0, 51], [102, 255]], dtype=np.uint8), np.array([1, 0]), scale=1 / 255)
    array([[0.4, 1. ],
           [0. , 0.2]], dtype=float32)
    """
    if not isinstance(source, np.ndarray):
        raise TypeError(f"source must be a NumPy array, got {type(source).__name__}")
    if source.dtype.kind not in "biuf" or source.dtype.itemsize > 8 or not source.dtype.isnative:
        raise TypeError(f"source must be bool, an integer, float16, float32 or float64, got {source.dtype}")
    if source.ndim < 2:
        raise ValueError(f"source must have 2 axes or more, got {source.ndim}")
    index = _check_index(index, source.shape[0])
    shape = (len(index), math.prod(source.shape[1:]))
    out = check_out(out, "out", shape, np.dtype(dtype))
    with np.errstate(all="ignore"):
        values = (source[index].reshape(shape).astype(np.float64) * float(scale) + float(shift)).astype(dtype)
    if check_finite:
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if bad.size:
            rows = ", ".join(str(row) for row in index[bad[:_ROWS_NAMED]])
            more = f" and {bad.size - _ROWS_NAMED} more" if bad.size > _ROWS_NAMED else ""
            raise ValueError(f"source must give finite values, got NaN or infinity in row {rows}{more}")
    out[...] = values
    return out


def gather_labels(labels, index, classes, out=None) -> np.ndarray:
    """Take class numbers by index.

    Only the labels that are taken are checked.

    Parameters
    ----------
    labels : integer array [rows]
    index : integer array [n], or None
        As for `gather`.
    classes : int
        Labels lie in [0, classes); at most 2^31.
    out : int32 array [n], optional
        Receives the labels. Untouched if there is an error.

    Returns
    -------
    taken : int32 array [n]

    Raises
    ------
    IndexError
        An index out of range; the first is named.
    ValueError
        Shapes that do not fit, `out` read-only, or a label out of range; the first is named, with its row.
    TypeError
        Labels or an index that are not of integers, an `out` that is not int32.

    Examples
    --------
    >>> gather_labels(np.array([7, 8, 9]), np.array([2, 0]), classes=10)
    array([9, 7], dtype=int32)
    """
    check_integers(labels, "labels", (None,))
    if not 0 <= classes <= 2**31:
        raise ValueError(f"classes must be in [0, 2**31], got {classes}")
    index = _check_index(index, len(labels))
    out = check_out(out, "out", (len(index),), np.int32)
    taken = labels[index]
    bad = np.flatnonzero((taken < 0) | (taken >= classes))
    if bad.size:
        raise ValueError(f"labels[{index[bad[0]]}] must be a class number in [0, {classes}), got {taken[bad[0]]}")
    out[...] = taken
    return out


def _check_index(index, rows):
    if index is None:
        return np.arange(rows)
    check_integers(index, "index", (None,))
    bad = np.flatnonzero((index < 0) | (index >= rows))
    if bad.size:
        raise IndexError(f"index[{bad[0]}] must be a row in [0, {rows}), got {index[bad[0]]}")
    return index
