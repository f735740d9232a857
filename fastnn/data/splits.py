"""Splits of rows at random, by a permutation that depends on their number and a seed only."""

import numbers

import numpy as np

from .. import _native
from ..init import check_seed


def train_test_split(X, y, test_size=0.2, seed=None, *, stratify=None,
                     random_state=None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Split rows at random into a training and a test set.

    The rows are shuffled by a permutation that depends on their number and on `seed` only (Philox4x32-10): its first
    entries are the test rows, the rest the training rows, both in shuffled order.

    Parameters
    ----------
    X : array_like [n, ...]
        Of any dtype, n >= 2. A memory map is read only at the rows as they are copied.
    y : array_like [n, ...]
        Rows that belong to those of `X`.
    test_size : float or int, default 0.2
        A float between 0 and 1, both excluded, is a share of n, rounded to the nearest number of rows that leaves at
        least one on each side. An int from 1 to n - 1 is a number of rows.
    seed : int, default 0
        In [0, 2**64). The same seed gives the same split, on any machine.
    stratify : array_like [n], optional
        Classes, usually `y` itself: each gives its share of the test rows, (rows of the class) · tests / n. The largest remainders
        are rounded up, of equal ones those of the first classes, as many as make the number of test rows right.
    random_state : int, optional
        What scikit-learn calls the seed.

    Returns
    -------
    X_train, X_test, y_train, y_test : numpy.ndarray
        C-contiguous copies of rows, of the dtypes of `X` and `y`.

    Raises
    ------
    ValueError
        If `X` or `y` has no rows to split, their numbers of rows differ, or `test_size` or `seed` is out of range.
    TypeError
        If `test_size` is not a number, or `seed` and `random_state` are both given.

    Examples
    --------
    >>> from fastnn.data import load_digits, train_test_split
    >>> labels = np.array([0] * 90 + [1] * 10)
    >>> *_, y_test = train_test_split(labels, labels, test_size=20, stratify=labels)
    >>> np.bincount(y_test)
    array([18,  2])
    >>> X_train, X_test, y_train, y_test = train_test_split(*load_digits(), test_size=297, seed=1)
    >>> X_train.shape, X_test.shape, y_train.shape, y_test.shape
    ((1500, 8, 8), (297, 8, 8), (1500,), (297,))
    """
    X, y, order = _checked(X, y, seed, random_state)
    tests = _rows_of(test_size, len(order), "test_size")
    if stratify is not None:
        order = _stratified(order, stratify, tests)
    return _parts((X, y), order[tests:], order[:tests])


def train_validation_test_split(X, y, validation_size=0.2, test_size=0.2, seed=None, *, stratify=None,
                                random_state=None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Split rows at random into three: to train on, to watch and choose by, and to test on once, at the end.

    Parameters
    ----------
    X, y, seed, stratify, random_state
        As for `train_test_split`; `X` and `y` of at least 3 rows.
    validation_size, test_size : float or int, default 0.2
        Shares of all rows, or numbers of rows.

    Returns
    -------
    X_train, X_validation, X_test, y_train, y_validation, y_test : numpy.ndarray
        C-contiguous copies of rows. The test rows are those of `train_test_split` with the same test_size and seed.

    Raises
    ------
    ValueError, TypeError
        As `train_test_split`; also if no rows are left to train on.

    Examples
    --------
    >>> parts = data.train_validation_test_split(*data.load_digits(), validation_size=0.1, test_size=297)
    >>> [len(part) for part in parts]
    [1320, 180, 297, 1320, 180, 297]
    """
    X, y, order = _checked(X, y, seed, random_state)
    if len(order) < 3:
        raise ValueError(f"X: expected at least 3 rows to split in three, got {len(order)}")
    tests, watched = (_rows_of(size, len(order), name) for size, name in ((test_size, "test_size"), (validation_size, "validation_size")))
    if tests + watched >= len(order):
        raise ValueError(f"validation_size, test_size: expected shares that leave rows to train on, got {watched} and {tests} of {len(order)} rows")
    if stratify is not None:
        stratify = np.asarray(_native.plain(stratify, "stratify"))
        order = _stratified(order, stratify, tests)
        rest = order[tests:]  # its classes as if there were no others
        order = np.concatenate([order[:tests], rest[_stratified(np.arange(len(rest)), stratify[rest], watched)]])
    return _parts((X, y), order[tests + watched :], order[tests : tests + watched], order[:tests])


def _parts(arrays, *parts):
    return tuple(np.ascontiguousarray(array[rows]) for array in arrays for rows in parts)


def _checked(X, y, seed, random_state):
    """(X, y, their rows in a random order)"""
    X, y = np.asarray(_native.plain(X, "X")), np.asarray(_native.plain(y, "y"))
    for name, array in (("X", X), ("y", y)):
        if array.ndim == 0:
            raise ValueError(f"{name}: expected an array of at least 1 dimension, got a single {array.dtype}")
    n = len(X)
    if len(y) != n:
        raise ValueError(f"X and y: expected equal numbers of rows, got {n} and {len(y)}")
    if n < 2:
        raise ValueError(f"X: expected at least 2 rows to split, got {n}")
    if seed is not None and random_state is not None:
        raise TypeError("seed, random_state: expected one of them, for they are the same, got both")
    return X, y, _native.permutation(n, check_seed(0 if seed is random_state else random_state if seed is None else seed), 0)


def _stratified(order, stratify, tests):
    """The same rows, each class's share of the `tests` first in front, in the order that they had."""
    classes = np.asarray(_native.plain(stratify, "stratify"))
    if classes.shape != order.shape:
        raise ValueError(f"stratify: expected one class for each of the {len(order)} rows, got shape {classes.shape}")
    _, classes, counts = np.unique(classes, return_inverse=True, return_counts=True)
    shares = counts * tests  # in units of 1 / n: whole numbers, so that no machine rounds otherwise
    taken, remainders = np.divmod(shares, len(order))
    taken[np.argsort(-remainders, kind="stable")[: tests - taken.sum()]] += 1
    place = np.empty(len(order), np.int64)  # of each row of the order among those of its class
    by_class = np.argsort(classes[order], kind="stable")
    place[by_class] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[np.argsort(place >= taken[classes[order]], kind="stable")]


def _rows_of(size, n, name):
    """How many of n >= 2 rows a size stands for."""
    if isinstance(size, (bool, np.bool_)) or not isinstance(size, numbers.Real):
        raise TypeError(f"{name}: expected a float (share) or an int (number of rows), got {size!r}")
    if isinstance(size, numbers.Integral):
        if not 1 <= size <= n - 1:
            raise ValueError(f"{name}: expected 1 to {n - 1} of {n} rows, got {size}")
        return int(size)
    if not 0 < size < 1:
        raise ValueError(f"{name}: expected a share between 0 and 1, both excluded, got {size}")
    return min(max(round(float(size) * n), 1), n - 1)
