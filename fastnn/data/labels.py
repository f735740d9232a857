"""Labels as rows of numbers."""

import numbers

import numpy as np

from .. import _native


def one_hot(labels, classes=None, dtype=np.float32) -> np.ndarray:
    """One-hot rows: 1 in the column of each label, 0 elsewhere.

    Parameters
    ----------
    labels : array_like of integers [n]
        Values 0 to `classes` - 1, of any integer dtype.
    classes : int, optional
        The number of columns, at least 1; by default the largest label plus one.
    dtype : dtype, default float32
        Any bool, integer or real floating dtype.

    Returns
    -------
    numpy.ndarray, `dtype` [n, classes]

    Raises
    ------
    TypeError
        If `labels` or `classes` are not integers, or `dtype` is of another kind.
    ValueError
        If `labels` is not one-dimensional, is empty without `classes`, or holds a label out of range; or if `classes`
        is less than 1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.data import one_hot
    >>> one_hot([2, 0], classes=3)
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    labels = np.asarray(_native.plain(labels, "labels"))
    dtype = np.dtype(dtype)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels: expected an integer dtype, got {labels.dtype}")
    if labels.ndim != 1:
        raise ValueError(f"labels: expected 1 dimension, got shape {labels.shape}")
    if dtype.kind not in "biuf":
        raise TypeError(f"dtype: expected a bool, integer or real floating dtype, got {dtype}")
    if classes is None:
        if labels.size == 0:
            raise ValueError("classes: expected a number of classes for empty labels, got None")
        bound = max(int(labels.max()) + 1, 1)
    elif isinstance(classes, (bool, np.bool_)) or not isinstance(classes, numbers.Integral):
        raise TypeError(f"classes: expected an int, got {classes!r}")
    elif classes < 1:
        raise ValueError(f"classes: expected at least 1, got {classes}")
    else:
        bound = int(classes)
    if labels.size and (labels.min() < 0 or labels.max() >= bound):
        bad = np.flatnonzero((labels < 0) | (labels >= bound))
        raise ValueError(
            f"labels: expected values 0 to {bound - 1}, got {labels[bad[0]]} in row {bad[0]} ({len(bad)} bad in all)"
        )
    rows = np.zeros((len(labels), bound), dtype=dtype)
    rows[np.arange(len(labels)), labels.astype(np.intp)] = 1
    return rows
