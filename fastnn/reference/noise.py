"""Dropout and Gaussian noise from the counter-based generator: a draw is a function of seed, offset, stream and place.

Rows are counted in vectors of 16 elements, the last of a row perhaps partly used: the element in row r and column c stands
in lane l = c mod 16 of vector n = r · ceil(columns / 16) + c div 16. That the draws are dealt out by vectors lets sixteen
blocks of the generator be computed side by side.
"""

import numpy as np

from ._check import check_array, check_out
from .rng import _check_range, philox, random_bits

LAYER_STREAM = 16  # the first stream of layers that draw


def _blocks(shape, seed, offset, stream, group, first_row=0):
    """For each element its position n in the stream of vectors, and the four words of block 16 (n div group) + lane."""
    seed, offset, stream = _check_range(seed, "seed", 64), _check_range(offset, "offset", 32), _check_range(stream, "stream", 32)
    columns = shape[-1] if shape else 1
    rows = int(np.prod(shape[:-1]))
    across = -(-columns // 16)
    c = np.arange(columns, dtype=np.uint64)
    n = ((np.arange(rows, dtype=np.uint64) + np.uint64(first_row)) * np.uint64(across))[:, None] + c // np.uint64(16)
    block = (n // np.uint64(group) * np.uint64(16) + c % np.uint64(16)).ravel()
    counter = np.empty((len(block), 4), np.uint32)
    counter[:, 0] = block & np.uint64(0xFFFFFFFF)
    counter[:, 1] = block >> np.uint64(32)
    counter[:, 2] = offset
    counter[:, 3] = stream
    return n.ravel() % np.uint64(group), philox(counter, (seed % 2**32, seed // 2**32))


def dropout_threshold(p):
    """Of 65,536 elements so many are dropped: p rounded."""
    if not 0 <= p <= 1:
        raise ValueError(f"p must be a number from 0 to 1, got {p}")
    return round(float(p) * 65536)


def dropout_mask(shape, p, seed, offset=0, stream=LAYER_STREAM) -> np.ndarray:
    """True where an element stays: its half-word, one of the eight of its block, is at least the threshold.

    Parameters
    ----------
    shape : tuple
    p, seed, offset, stream
        As for `dropout_forward`.

    Returns
    -------
    mask : bool array of that shape

    Raises
    ------
    ValueError
        An argument out of range.

    Examples
    --------
    >>> bool(abs(dropout_mask((100, 100), 0.25, seed=0).mean() - 0.75) < 0.01)
    True
    """
    which, words = _blocks(shape, seed, offset, stream, 8)
    word = words[np.arange(len(which)), (which // 2).astype(np.intp)]
    half = (word >> (16 * (which % 2)).astype(np.uint32)) & np.uint32(0xFFFF)
    return (half >= dropout_threshold(p)).reshape(shape)


def dropout_forward(x, p, seed, offset=0, out=None, *, stream=LAYER_STREAM) -> np.ndarray:
    """Drop each element with probability p, and let the others grow: y = x · 65536 / (65536 - t) or 0, t = round(65536 p).

    N. Srivastava et al., "Dropout", 2014, in the inverted form: the expectation of y is x, so inference does nothing.

    Parameters
    ----------
    x : float32 or float64 array of any shape
    p : float
        From 0 to 1; rounded to a multiple of 1 / 65536, which the scale takes into account.
    seed : int
        In [0, 2^64).
    offset : int, default 0
        In [0, 2^32): e.g. the number of the step.
    out : array like x, optional
        Receives y; may be x itself.
    stream : int, default 16
        In [0, 2^32): e.g. the number of the layer.

    Returns
    -------
    y : array like x
        A dropped element is 0, whatever it was.

    Raises
    ------
    ValueError
        p, seed, offset or stream out of range, `out` of another shape or read-only.
    TypeError
        Another dtype, or not an array.

    Examples
    --------
    >>> dropout_forward(np.ones(8), 0.5, seed=0)
    array([0., 2., 0., 0., 2., 2., 0., 0.])
    """
    check_array(x, "x")
    threshold = dropout_threshold(p)
    out = check_out(out, "out", x.shape, x.dtype)
    scale = x.dtype.type(65536 / (65536 - threshold) if threshold < 65536 else 0)
    with np.errstate(all="ignore"):
        out[...] = np.where(dropout_mask(x.shape, p, seed, offset, stream), x * scale, 0)
    return out


def drop_rows(x, p, seed, offset=0, out=None, *, stream=LAYER_STREAM):
    """Dropout of whole rows: row r stays if the low half of word r is at least the threshold."""
    threshold = dropout_threshold(p)
    stays = (random_bits(len(x), seed, stream, offset) & np.uint32(0xFFFF)) >= threshold
    scale = x.dtype.type(65536 / (65536 - threshold) if threshold < 65536 else 0)
    with np.errstate(all="ignore"):
        out[...] = np.where(stays[:, None], x * scale, 0)


def dropout2d_forward(x, p, seed, offset=0, out=None, *, stream=LAYER_STREAM) -> np.ndarray:
    """Drop each channel of each image as a whole with probability p, and let the others grow, as `dropout_forward` does with elements.

    J. Tompson et al., "Efficient object localization using convolutional networks", 2015. The draws are those of `dropout_forward` for
    an array [batch, channels].

    Parameters
    ----------
    x : float32 or float64 array [batch, ..., channels]
    p, seed, offset, out, stream
        As for `dropout_forward`.

    Returns
    -------
    y : array like x

    Raises
    ------
    ValueError, TypeError
        As `dropout_forward`.

    Examples
    --------
    >>> dropout2d_forward(np.ones((1, 2, 1, 4)), 0.5, seed=0)[0, :, 0]
    array([[0., 2., 0., 0.],
           [0., 2., 0., 0.]])
    """
    check_array(x, "x")
    out = check_out(out, "out", x.shape, x.dtype)
    ones = np.ones((len(x), x.shape[-1]), x.dtype)
    factor = dropout_forward(ones, p, seed, offset, stream=stream).reshape(len(x), *(1,) * (x.ndim - 2), -1)
    with np.errstate(all="ignore"):
        out[...] = np.where(factor > 0, x * factor, 0)
    return out


def dropout2d_backward(dy, p, seed, offset=0, out=None, *, stream=LAYER_STREAM) -> np.ndarray:
    """Carry a gradient back through `dropout2d_forward`: the same mask and scale, made anew.

    Parameters
    ----------
    dy : float32 or float64 array [batch, ..., channels]
    p, seed, offset, out, stream
        As for `dropout_forward`.

    Returns
    -------
    dx : array like dy

    Raises
    ------
    ValueError, TypeError
        As `dropout_forward`.

    Examples
    --------
    >>> dropout2d_backward(np.ones((1, 1, 1, 4)), 0.5, seed=0).ravel()
    array([0., 2., 0., 0.])
    """
    return dropout2d_forward(dy, p, seed, offset, out, stream=stream)


def dropout_backward(dy, p, seed, offset=0, out=None, *, stream=LAYER_STREAM) -> np.ndarray:
    """Carry a gradient back through `dropout_forward`: the same mask and scale, made anew.

    Parameters
    ----------
    dy : float32 or float64 array of any shape
    p, seed, offset, out, stream
        As for `dropout_forward`.

    Returns
    -------
    dx : array like dy

    Raises
    ------
    ValueError, TypeError
        As `dropout_forward`.

    Examples
    --------
    >>> dropout_backward(np.ones(8), 0.5, seed=0)
    array([0., 2., 0., 0., 2., 2., 0., 0.])
    """
    return dropout_forward(dy, p, seed, offset, out, stream=stream)


def gaussian_noise(x, std, seed, offset=0, out=None, *, stream=LAYER_STREAM) -> np.ndarray:
    """Add noise: y = x + std · z, z standard normal.

    z comes from two words a, b of the element's block, the first pair or the second, by Box and Muller (1958):

        u = (a div 2^8 + 1) · 2^-24,    v = (b div 2^8) · 2^-24,    z = √(-2 ln u) · cos(2π v)  or  · sin(2π v)

    Parameters
    ----------
    x : float32 or float64 array of any shape
    std : float
        At least 0.
    seed, offset, out, stream
        As for `dropout_forward`.

    Returns
    -------
    y : array like x

    Raises
    ------
    ValueError, TypeError
        As `dropout_forward`.

    Examples
    --------
    >>> bool(abs(gaussian_noise(np.zeros((100, 100)), 2.0, seed=0).std() - 2.0) < 0.05)
    True
    """
    check_array(x, "x")
    if not 0 <= std < np.inf:
        raise ValueError(f"std must be a finite number >= 0, got {std}")
    out = check_out(out, "out", x.shape, x.dtype)
    with np.errstate(all="ignore"):
        out[...] = x + std * standard_normal(x.shape, seed, offset, stream)
    return out


def standard_normal(shape, seed, offset=0, stream=LAYER_STREAM, first_row=0):
    """The z of `gaussian_noise`, in float64; first_row: the number of the first of the rows, as the draws count them."""
    which, words = _blocks(shape, seed, offset, stream, 4, first_row)
    pair, at = (which // 2 * 2).astype(np.intp), np.arange(len(which))
    u = ((words[at, pair] >> 8) + 1.0) * 2.0**-24
    v = (words[at, pair + 1] >> 8) * 2.0**-24
    turn = np.where(which % 2 == 0, np.cos(2 * np.pi * v), np.sin(2 * np.pi * v))
    return (np.sqrt(-2 * np.log(u)) * turn).reshape(shape)
