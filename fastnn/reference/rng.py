"""Counter-based random numbers: every draw is a pure function of (seed, stream, step, index).

The generator is Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"). It keeps no
state: any word can be computed alone, by any thread, in any order. Streams separate uses (the shuffle is stream 1), steps
separate the draws of one use. It is not meant for cryptography.
"""

import operator

import numpy as np

from ._check import check_array

# Multipliers and Weyl increments of the paper, section 3.5; the increments are the golden ratio and sqrt(3) - 1, times 2^32.
_MULTIPLIER = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)

SHUFFLE_STREAM = 1


def philox(counter, key) -> np.ndarray:
    """Philox4x32-10 of each counter.

    One round with the key (k0, k1), where hi and lo are the halves of a 64-bit product:

        c0, c1, c2, c3 = hi(M1·c2) ^ c1 ^ k0,  lo(M1·c2),  hi(M0·c0) ^ c3 ^ k1,  lo(M0·c0)

    Ten rounds; between two of them the Weyl increments are added to the key, modulo 2^32.

    Parameters
    ----------
    counter : uint32 array [n, 4]
    key : pair of int
        In [0, 2^32) each.

    Returns
    -------
    words : uint32 array [n, 4]

    Raises
    ------
    ValueError
        A counter of another shape, a key out of range.
    TypeError
        A counter of another dtype.

    Examples
    --------
    >>> [hex(word) for word in philox(np.zeros((1, 4), np.uint32), (0, 0))[0]]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    check_array(counter, "counter", np.uint32, (None, 4))
    key = [_check_range(k, f"key[{i}]", 32) for i, k in enumerate(key)]
    if len(key) != 2:
        raise ValueError(f"key must hold 2 words, got {len(key)}")
    c0, c1, c2, c3 = counter.astype(np.uint64).T
    for r in range(_ROUNDS):
        k0, k1 = (np.uint64((k + r * weyl) % 2**32) for k, weyl in zip(key, _WEYL))
        p0 = _MULTIPLIER[0] * c0
        p1 = _MULTIPLIER[1] * c2
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ k0, p1 & _LOW, (p0 >> _32) ^ c3 ^ k1, p0 & _LOW
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def random_bits(n, seed, stream, step=0, offset=0) -> np.ndarray:
    """n random 32-bit words, beginning with word `offset`.

    Word i is ``philox((block mod 2^32, block div 2^32, step, stream), (seed mod 2^32, seed div 2^32))[i mod 4]`` with
    block = i div 4.

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

    Examples
    --------
    >>> bool((random_bits(10, seed=7, stream=0)[6:] == random_bits(4, seed=7, stream=0, offset=6)).all())
    True
    """
    n = _check_range(n, "n", 64)
    seed = _check_range(seed, "seed", 64)
    stream = _check_range(stream, "stream", 32)
    step = _check_range(step, "step", 32)
    offset = _check_range(offset, "offset", 64)
    if offset + n > 2**64:
        raise ValueError(f"offset + n must be at most 2**64, got {offset + n}")
    first = offset // 4
    blocks = np.uint64(first) + np.arange(-(-(offset + n) // 4) - first, dtype=np.uint64)
    counter = np.empty((len(blocks), 4), np.uint32)
    counter[:, 0] = blocks & _LOW
    counter[:, 1] = blocks >> _32
    counter[:, 2] = step
    counter[:, 3] = stream
    words = philox(counter, (seed % 2**32, seed // 2**32)).ravel()
    return words[offset - 4 * first :][:n]


def random_bits64(n, seed, stream, step=0) -> np.ndarray:
    """n random 64-bit words: word i is bits[2i] | bits[2i + 1] << 32, with bits from `random_bits`.

    Parameters
    ----------
    n : int
        How many.
    seed, stream, step : int
        As for `random_bits`.

    Returns
    -------
    words : uint64 array [n]

    Raises
    ------
    ValueError
        An argument out of range.

    Examples
    --------
    >>> hex(random_bits64(1, seed=0, stream=0)[0])
    '0xe169c58d6627e8d5'
    """
    n = _check_range(n, "n", 63)
    bits = random_bits(2 * n, seed, stream, step).astype(np.uint64)
    return bits[0::2] | bits[1::2] << _32


def permutation(n, seed, epoch=0) -> np.ndarray:
    """A random permutation of 0 … n - 1, by Fisher and Yates.

        p = 0 … n - 1
        for i = n - 1 down to 1:  swap p[i] and p[j],  j = (r[i] · (i + 1)) div 2^64

    (Durstenfeld 1964.) r is ``random_bits64(n, seed, stream=1, step=epoch)`` and the product has 128 bits; j is uniform on
    0 … i up to a bias below n / 2^64.

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

    Examples
    --------
    >>> np.sort(permutation(5, seed=0))
    array([0, 1, 2, 3, 4])
    """
    r = random_bits64(n, seed, SHUFFLE_STREAM, _check_range(epoch, "epoch", 32)).tolist()  # Python integers do not overflow
    p = list(range(len(r)))
    for i in range(len(r) - 1, 0, -1):
        j = (r[i] * (i + 1)) >> 64
        p[i], p[j] = p[j], p[i]
    return np.array(p, dtype=np.int64)


def uniform(n, seed, stream, step=0) -> np.ndarray:
    """n numbers, uniform on [0, 1): (r div 2^11) · 2^-53, with r from `random_bits64`.

    Parameters
    ----------
    n : int
        How many.
    seed, stream, step : int
        As for `random_bits`.

    Returns
    -------
    u : float64 array [n]

    Raises
    ------
    ValueError
        An argument out of range.

    Examples
    --------
    >>> uniform(2, seed=0, stream=0).round(6)
    array([0.88052 , 0.605482])
    """
    return to_uniform(random_bits64(n, seed, stream, step))


def normal(n, seed, stream, step=0) -> np.ndarray:
    """n standard normal numbers, in pairs by Box and Muller.

    From the 64-bit words r0, r1 of each pair:

        u1 = (r0 div 2^11 + 1) · 2^-53  in (0, 1],      u2 = (r1 div 2^11) · 2^-53  in [0, 1)
        z0 = √(-2 ln u1) · cos(2π u2),                  z1 = √(-2 ln u1) · sin(2π u2)

    (Box & Muller 1958.) The numbers are z0, z1 of the first pair, then of the second, and so on.

    Parameters
    ----------
    n : int
        How many.
    seed, stream, step : int
        As for `random_bits`.

    Returns
    -------
    z : float64 array [n]

    Raises
    ------
    ValueError
        An argument out of range.

    Examples
    --------
    >>> bool((normal(3, seed=0, stream=0) == normal(4, seed=0, stream=0)[:3]).all())
    True
    """
    n = _check_range(n, "n", 62)
    return to_normal(random_bits64(n + n % 2, seed, stream, step))[:n]


def to_uniform(words):
    """The numbers of `uniform` from 64-bit words."""
    return (words >> np.uint64(11)) * 2.0**-53


def to_normal(words):
    """The numbers of `normal` from an even number of 64-bit words."""
    r = words >> np.uint64(11)
    u1 = (r[0::2] + np.uint64(1)) * 2.0**-53
    u2 = r[1::2] * 2.0**-53
    radius = np.sqrt(-2 * np.log(u1))
    angle = 2 * np.pi * u2
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel()


def _check_range(value, name, bits):
    value = operator.index(value)
    if not 0 <= value < 2**bits:
        raise ValueError(f"{name} must be in [0, 2**{bits}), got {value}")
    return value
