"""Sums over many rows, and what normalisations do where squares overflow.

A chain of float32 additions over millions of equal terms stops growing, so more than 65,536 rows are summed in blocks of so
many, added in order.
"""

import numpy as np

BLOCK = 65536


def _blocks(count):
    return [slice(first, first + BLOCK) for first in range(0, max(count, 1), BLOCK)]


def sum_rows(x):
    """Σ_i x_i over the first axis."""
    return _in_order(x[rows].sum(axis=0) for rows in _blocks(len(x)))


def mean_rows(x):
    """The mean over the first axis."""
    return x.mean(axis=0) if len(x) <= BLOCK else sum_rows(x) / x.dtype.type(len(x))


def product_rows(x, dy):
    """xᵀ dy, a sum over the rows of both."""
    return _in_order(x[rows].T @ dy[rows] for rows in _blocks(len(x)))


def _in_order(sums):
    total = next(sums)
    for block in sums:
        total = total + block
    return total


def norm_scale(dtype):
    """The power of two that brings the squares of all numbers of a dtype into its range."""
    return np.ldexp(dtype.type(1), -80 if dtype == np.float32 else -600)


def norm_factor(rstd):
    """What x was multiplied by where its statistics were made, known by 1 / √(var + eps): 1, or `norm_scale`.

    A var that is within range has none below 1 / √max.
    """
    tiny = np.ldexp(rstd.dtype.type(1), -64 if rstd.dtype == np.float32 else -512)
    return np.where(rstd < tiny, norm_scale(rstd.dtype), rstd.dtype.type(1))
