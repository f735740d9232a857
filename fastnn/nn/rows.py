"""Data on its way into a model: arrays that the executors can read in place."""

import math

import numpy as np

from .._native import plain
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
        return np.asarray(obj)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array, got a {type(obj).__name__} that makes none ({error})") from None


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
