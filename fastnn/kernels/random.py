"""Eager kernels: random numbers and permutations."""

import numpy as np

from .. import _native
from ._check import _integer


def random_bits(n, seed, stream, step=0, offset=0) -> np.ndarray:
    """n random 32-bit words, beginning with word `offset`: a pure function of its arguments.

    Word i is word i mod 4 of Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011) with the counter
    (block mod 2^32, block div 2^32, step, stream), block = i div 4, and the key (seed mod 2^32, seed div 2^32).

    Parameters
    ----------
    n : int
        How many.
    seed : int
        In [0, 2^64).
    stream, step : int
        In [0, 2^32) each; step is 0 by default.
    offset : int, default 0
        Number of the first word; offset + n is at most 2^64.

    Returns
    -------
    words : uint32 array [n]

    Raises
    ------
    ValueError
        An argument out of range.
    TypeError
        An argument that is not an integer.

    Examples
    --------
    >>> whole = fastnn.kernels.random_bits(10, seed=7, stream=0)
    >>> bool((whole[6:] == fastnn.kernels.random_bits(4, seed=7, stream=0, offset=6)).all())
    True
    """
    n = _integer(n, "n", 0, 2**60)
    seed = _integer(seed, "seed", 0, 2**64 - 1)
    stream = _integer(stream, "stream", 0, 2**32 - 1)
    step = _integer(step, "step", 0, 2**32 - 1)
    offset = _integer(offset, "offset", 0, 2**64 - 1)
    if offset + n > 2**64:
        raise ValueError(f"offset: expected offset + n of at most 2**64, got {offset + n}")
    return _native.random_bits(n, seed, stream, step, offset)


def permutation(n, seed, epoch=0) -> np.ndarray:
    """A random permutation of 0 … n - 1, by Fisher and Yates.

        p = 0 … n - 1
        for i = n - 1 down to 1:  swap p[i] and p[j],  j = (r[i] · (i + 1)) div 2^64

    (Durstenfeld 1964.) r[i] is bits[2i] | bits[2i + 1] << 32 with the bits of ``random_bits(2 · n, seed, stream=1,
    step=epoch)``, and the product has 128 bits.

    Parameters
    ----------
    n : int
        How many.
    seed : int
        In [0, 2^64).
    epoch : int, default 0
        In [0, 2^32); each has its own permutation.

    Returns
    -------
    p : int64 array [n]

    Raises
    ------
    ValueError
        An argument out of range.
    TypeError
        An argument that is not an integer.

    Examples
    --------
    >>> np.sort(fastnn.kernels.permutation(5, seed=0))
    array([0, 1, 2, 3, 4])
    """
    n = _integer(n, "n", 0, 2**59)
    return _native.permutation(n, _integer(seed, "seed", 0, 2**64 - 1), _integer(epoch, "epoch", 0, 2**32 - 1))
