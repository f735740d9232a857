"""Eager kernels: rows and labels of data, taken by index."""

import numpy as np

from .. import _native
from ..core.dtypes import check_dtype
from ._check import _integer, _number, _own

_ROWS_NAMED = 5  # an error names this many rows at most


def gather(source, index, scale=1.0, shift=0.0, out=None, check_finite=False, dtype=np.float32) -> np.ndarray:
    """Take rows, convert, scale and shift: value = dtype(float64(v) · scale + shift).

    The product and the sum are each rounded in double, then the value once to the dtype.

    Parameters
    ----------
    source : array [rows, ...]
        bool, integers of 8 to 64 bits, float16, float32 or float64, two axes or more. Trailing axes are flattened in C
        order. Rows may lie anywhere (slices, memory-mapped files); the elements of a row must be side by side.
    index : int64 array [n], or None
        Rows to take, each in [0, rows); repeats are fine. None takes all rows in order.
    scale, shift : float, default 1.0 and 0.0
    out : array [n, features] of that dtype, optional
        Receives the values. Untouched if there is an error.
    check_finite : bool, default False
        Refuse values that are NaN or infinite, after scaling and rounding.
    dtype : float32 or float64, default float32
        Of the values.

    Returns
    -------
    values : array [n, features]

    Raises
    ------
    IndexError
        An index out of range; the first is named.
    ValueError
        Shapes or strides that do not fit, `out` read-only or overlapping an input, or values that are not finite; their
        first rows are named.
    TypeError
        A source that is not real, an index that is not int64, an `out` of another dtype.

    Examples
    --------
    >>> fastnn.kernels.gather(np.array([[0, 51], [102, 255]], dtype=np.uint8), np.array([1, 0]), scale=1 / 255)
    array([[0.4, 1. ],
           [0. , 0.2]], dtype=float32)
    """
    source = _own(source, "source")
    values, problem, row = _native.gather(source, index, _number(scale, "scale"), _number(shift, "shift"), out, check_finite,
                                           check_dtype(dtype) == np.float64)
    if not problem:
        return values
    if _native.PROBLEMS[problem] == "index":
        raise _index_error(row, len(source), index[row])
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    rows = ", ".join(str(r if index is None else index[r]) for r in bad[:_ROWS_NAMED])
    more = f" and {bad.size - _ROWS_NAMED} more" if bad.size > _ROWS_NAMED else ""
    raise ValueError(f"source: expected finite values, got NaN or infinity in row {rows}{more}")


def gather_labels(labels, index, classes, out=None) -> np.ndarray:
    """Take class numbers by index.

    Only the labels that are taken are checked.

    Parameters
    ----------
    labels : integer array [rows]
        Of any integer dtype, with any stride.
    index : int64 array [n], or None
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
        Shapes that do not fit, `out` read-only or overlapping an input, or a label out of range; the first is named, with
        its row.
    TypeError
        Labels that are not of integers, an index that is not int64, an `out` that is not int32.

    Examples
    --------
    >>> fastnn.kernels.gather_labels(np.array([7, 8, 9]), np.array([2, 0]), classes=10)
    array([9, 7], dtype=int32)
    """
    labels = _own(labels, "labels")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels: expected an integer dtype, got {labels.dtype}")
    classes = _integer(classes, "classes", 0, 2**31)
    taken, problem, row = _native.gather_labels(labels, index, classes, out)
    if not problem:
        return taken
    if _native.PROBLEMS[problem] == "index":
        raise _index_error(row, len(labels), index[row])
    row = row if index is None else index[row]
    raise _label_error("labels", row, classes, labels[row])


def _index_error(position, rows, value):
    return IndexError(f"index[{position}]: expected a row from 0 to {rows - 1}, got {value}")


def _label_error(name, row, classes, value):
    return ValueError(f"{name}[{row}]: expected a class number >= 0 and < {classes}, got {value}")
