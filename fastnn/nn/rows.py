"""Data on its way into a model: arrays that the executors can read in place."""

import math

import numpy as np

from .._native import CsrRows, plain
from ..core.checks import instead


def as_array(obj, name):
    """`obj` itself if it is a plain NumPy array, else what it holds as one. Masked arrays, and others that mean more than their
    numbers say, are refused, in a list too."""
    if type(obj) is np.ndarray:
        return obj
    plain(obj, name)
    if isinstance(obj, (list, tuple)):
        for i, row in enumerate(obj):
            if isinstance(row, np.ndarray):
                plain(row, f"{name}[{i}]")
    try:
        array = np.asarray(obj)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array, got a {type(obj).__name__} that makes none ({error})") from None
    return _of_columns(obj, name) if array.dtype == object and hasattr(obj, "columns") else array


def _of_columns(frame, name):
    """The array of a data frame whose columns are of different kinds, of numbers all of them: in pandas's and polars's own dtypes too."""
    columns, others = [], []
    for label in frame.columns:
        try:
            column = np.asarray(frame[label])
            columns.append(column.astype(np.float64) if column.dtype.kind in "biuf" else np.asarray(frame[label].to_numpy(float, na_value=np.nan)))
        except (TypeError, ValueError):
            others.append(str(label))
    if others:
        raise TypeError(
            f"{name}: expected columns of numbers, got others in {', '.join(others[:5])}{', ...' * (len(others) > 5)}; data.Table makes "
            "numbers of categories and dates"
        )
    return np.stack(columns, axis=1)


def as_sparse(X, name):
    """A `CsrRows` of a sparse matrix such as SciPy's, its indices checked; None of anything else."""
    if type(X) is CsrRows:
        return X
    if not (hasattr(X, "indptr") and hasattr(X, "indices")) and not hasattr(X, "tocsr"):
        return None
    if getattr(X, "format", None) != "csr":
        if not callable(getattr(X, "tocsr", None)):
            return None
        X = X.tocsr()
    rows = _csr(X, name)
    if _has_twice(rows):
        if not callable(getattr(X, "sum_duplicates", None)):
            raise ValueError(f"{name}: expected at most one element in each column of a sparse row, got two in one")
        X = X.copy()
        X.sum_duplicates()
        rows = _csr(X, name)
    return rows


def _csr(X, name):
    indptr, indices, data = (as_array(getattr(X, part), f"{name}.{part}") for part in ("indptr", "indices", "data"))
    if len(X.shape) != 2:
        raise ValueError(f"{name}: expected a sparse matrix of 2 dimensions, got shape {X.shape}")
    rows, columns = map(int, X.shape)
    if data.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, got dtype {data.dtype}")
    if data.dtype.itemsize > 8 or not data.dtype.isnative:
        data = data.astype(np.float64 if data.dtype.kind == "f" else data.dtype.newbyteorder("="))
    for part, a in (("indptr", indptr), ("indices", indices), ("data", data)):
        if a.ndim != 1 or part != "data" and a.dtype.kind not in "iu":
            raise ValueError(f"{name}.{part}: expected integers in 1 dimension, got dtype {a.dtype} and shape {a.shape}")
    if len(indptr) != rows + 1 or len(indices) != len(data):
        raise ValueError(f"{name}: expected {rows + 1} numbers in indptr, and as many indices as elements, got {len(indptr)}, {len(indices)} and {len(data)}")
    bad = (indptr[:-1] > indptr[1:]) | (indptr[:-1] < 0) | (indptr[1:] > len(data))
    if bad.any():
        r = int(bad.argmax())
        raise ValueError(f"{name}.indptr: expected numbers from 0 to {len(data)} that do not fall, got {indptr[r]} and {indptr[r + 1]} for row {r}")
    used = indices[indptr[0] : indptr[-1]]
    if len(used) and not (0 <= used.min() and used.max() < columns):
        at = int(indptr[0]) + int(((used < 0) | (used >= columns)).argmax())
        row = int(np.searchsorted(indptr, at, side="right")) - 1
        raise ValueError(f"{name}.indices: expected columns from 0 to {columns - 1}, got {indices[at]} in row {row}")
    kind = np.int32 if indptr.dtype == indices.dtype == np.int32 else np.int64
    return CsrRows(*(np.ascontiguousarray(a, kind) for a in (indptr, indices)), np.ascontiguousarray(data), columns)


def _has_twice(rows):
    """Whether a row has two elements in one column."""
    indptr, indices = rows.indptr, rows.indices
    begin, end = int(indptr[0]), int(indptr[-1])
    rises = indices[begin + 1 : end] > indices[begin : end - 1]
    edges = indptr[1:-1] - begin - 1  # where one row ends and the next begins
    rises[edges[(edges >= 0) & (edges < len(rises))]] = True
    if rises.all():  # sorted, as nearly all are
        return False
    places = np.repeat(np.arange(len(rows)), np.diff(indptr)) * rows.shape[1] + indices[begin:end]
    return len(np.unique(places)) < len(places)


def _of_one(X, name, features):
    """What to write where X is one sample, or many of one feature, and lacks a dimension."""
    if features == 1 and X.ndim == 1 and X.size > 1:
        return f"; for samples of one feature write {name}[:, None]"
    return f"; for a single sample write {name}[None]" if X.ndim and X.size == features else ""


def _check_shape(X, name, shape):
    """ValueError where samples are not of this shape, or of it without its only channel."""
    if X.shape[1:] == shape or shape[-1] == 1 and X.shape[1:] == shape[:-1] or shape[0] == 1 and X.shape[1:] == shape[1:]:
        return
    hint, sample = "", X.shape[1:]
    if sample == (shape[-1], *shape[:-1]):
        hint = f"; the channels come first in it: write nn.Input({', '.join(map(str, sample))}, data_format='channels_first')"
    elif sample == (*shape[1:], shape[0]):
        hint = f"; the channels come last in it: write nn.Input({', '.join(map(str, sample))})"
    elif X.shape == shape:
        hint = f"; for a single sample write {name}[None]"
    elif X.ndim and X.size == len(X) * math.prod(shape):
        hint = f"; write {name}.reshape(-1, {', '.join(map(str, shape))})"
    raise ValueError(f"{name}: expected samples of shape {shape}, in rows, got shape {X.shape}{hint}")


def as_rows(X, name, shape=None, features=None, empty=False):
    """Data as the executors take it: a NumPy array of a real dtype in native byte order, rows first, each row contiguous.

    Lists become arrays; arrays that cannot be read in place are copied. `shape`: that of a sample, None for any of `features`
    elements; `empty`: whether there may be none.
    """
    flatten = shape is None
    sparse = as_sparse(X, name)
    if sparse is not None:
        if shape is not None and len(shape) > 1:
            raise ValueError(f"{name}: expected samples of shape {shape}, in rows, got a sparse matrix")
        if features is not None and sparse.shape[1] != features:
            raise ValueError(f"{name}: expected {features} features a row, got shape {sparse.shape}")
        if not sparse.size and not (empty and len(sparse) == 0):
            raise ValueError(f"{name}: expected at least one row and one feature, got shape {sparse.shape}")
        return sparse
    X = as_array(X, name)
    if X.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, got dtype {X.dtype}{instead(X, name)}")
    if empty and X.shape == (0,):  # of an empty list
        X = X.reshape(0, features)
    if X.dtype.itemsize > 8 or not X.dtype.isnative:
        X = X.astype(np.float64 if X.dtype.kind == "f" else X.dtype.newbyteorder("="))
    if shape is not None and len(shape) > 1:
        if not (empty and len(X) == 0):
            _check_shape(X, name, shape)
    elif X.ndim < 2 or (X.ndim > 2 and not flatten):
        what = "samples of at least 1 dimension, in rows" if flatten else "2 dimensions (rows, features)"
        hint = "; put nn.Flatten() first for samples of more dimensions" if X.ndim > 2 else _of_one(X, name, features)
        raise ValueError(f"{name}: expected {what}, got shape {X.shape}{hint}")
    if X.size == 0 and not (empty and len(X) == 0):
        raise ValueError(f"{name}: expected at least one row and one feature, got shape {X.shape}")
    width = math.prod(X.shape[1:])
    if features is not None and width != features:
        raise ValueError(f"{name}: expected {features} features a row, got shape {X.shape}{_of_one(X, name, features)}")
    if not len(X):
        return X
    row = X[0]
    if not (row.flags.c_contiguous and X.flags.aligned):
        X = np.ascontiguousarray(X)
        X = X if X.flags.aligned else X.copy()
    return X
