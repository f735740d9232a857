"""Eager kernels: dropout, of elements and of channels, and Gaussian noise."""

import numpy as np

from .._native import STREAM_LAYERS, Operation, elements, output_like, shape_of
from ._check import _at_least_zero, _draws, _number

_dropout = Operation("dropout", "x y", "columns pixels p schedule whole_rows stream")
_gaussian_noise = Operation("gaussian_noise", "x y", "columns std stream")


def _draw(operation, x, values, draws, out):
    """Rows of x's last axis, changed at random. draws: (seed, step, stream)."""
    size, (seed, step, stream) = elements(x, "x"), draws
    y = output_like(out, x, "x")
    columns = (shape_of(x) or (1,))[-1]
    operation.run(size // columns, (x, y), (columns, *values, stream), seed, step)
    return y


def dropout_forward(x, p, seed, offset=0, out=None, *, stream=STREAM_LAYERS) -> np.ndarray:
    """Drop each element with probability p, and let the others grow: y = x · 65536 / (65536 - t) or 0, t = round(65536 p).

    N. Srivastava et al., "Dropout", 2014, in the inverted form: the expectation of y is x, so inference does nothing. What
    is dropped is a function of p, seed, offset, stream and the element's place, whatever the threads.

    Parameters
    ----------
    x : float32 or float64 array of any shape
    p : float
        From 0 to 1; rounded to a multiple of 1 / 65536, which the scale takes into account.
    seed : int
        In [0, 2^64).
    offset : int, default 0
        In [0, 2^32): e.g. the number of the step.
    out : float32 or float64 array like x, optional
        Receives y; may be x itself.
    stream : int, default 16
        In [0, 2^32): e.g. the number of the layer.

    Returns
    -------
    y : float32 or float64 array like x
        A dropped element is 0, whatever it was.

    Raises
    ------
    ValueError
        p, seed, offset or stream out of range, arrays that are empty or not contiguous, `out` of another shape, read-only,
        or overlapping a part of x.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ; p that is not a number.

    Examples
    --------
    >>> fastnn.kernels.dropout_forward(np.ones(8, np.float32), 0.5, seed=0)
    array([0., 2., 0., 0., 2., 2., 0., 0.], dtype=float32)
    """
    p = _share(p)
    return _draw(_dropout, x, (1, p, -1, False), _draws(seed, offset, stream), out)


def _share(p):
    p = _number(p, "p")
    if not 0 <= p <= 1:
        raise ValueError(f"p: expected a number from 0 to 1, got {p}")
    return p


def dropout_backward(dy, p, seed, offset=0, out=None, *, stream=STREAM_LAYERS) -> np.ndarray:
    """Carry a gradient back through `dropout_forward`: the same mask and scale, made anew.

    Parameters
    ----------
    dy : float32 or float64 array of any shape
    p, seed, offset, out, stream
        As for `dropout_forward`.

    Returns
    -------
    dx : float32 or float64 array like dy

    Raises
    ------
    ValueError, TypeError
        As `dropout_forward`.

    Examples
    --------
    >>> fastnn.kernels.dropout_backward(np.ones(8, np.float32), 0.5, seed=0)
    array([0., 2., 0., 0., 2., 2., 0., 0.], dtype=float32)
    """
    elements(dy, "dy")
    return dropout_forward(dy, p, seed, offset, out, stream=stream)


def dropout2d_forward(x, p, seed, offset=0, out=None, *, stream=STREAM_LAYERS) -> np.ndarray:
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
    y : float32 or float64 array like x

    Raises
    ------
    ValueError, TypeError
        As `dropout_forward`; also an array of one dimension.

    Examples
    --------
    >>> fastnn.kernels.dropout2d_forward(np.ones((1, 2, 1, 4), np.float32), 0.5, seed=0)[0, :, 0]
    array([[0., 2., 0., 0.],
           [0., 2., 0., 0.]], dtype=float32)
    """
    p, (seed, step, stream) = _share(p), _draws(seed, offset, stream)
    size, shape = elements(x, "x"), shape_of(x)
    if len(shape) < 2:
        raise ValueError(f"x: expected 2 dimensions or more, got shape {shape}")
    y = output_like(out, x, "x")
    rows, columns = shape[0], shape[-1]
    flat = (np.asarray(a).reshape(rows, size // rows) for a in (x, y))
    _dropout.run(rows, tuple(flat), (columns, size // rows // columns, p, -1, False, stream), seed, step)
    return y


def dropout2d_backward(dy, p, seed, offset=0, out=None, *, stream=STREAM_LAYERS) -> np.ndarray:
    """Carry a gradient back through `dropout2d_forward`: the same mask and scale, made anew.

    Parameters
    ----------
    dy : float32 or float64 array [batch, ..., channels]
    p, seed, offset, out, stream
        As for `dropout_forward`.

    Returns
    -------
    dx : float32 or float64 array like dy

    Raises
    ------
    ValueError, TypeError
        As `dropout2d_forward`.

    Examples
    --------
    >>> fastnn.kernels.dropout2d_backward(np.ones((1, 1, 1, 4), np.float32), 0.5, seed=0).ravel()
    array([0., 2., 0., 0.], dtype=float32)
    """
    elements(dy, "dy")
    return dropout2d_forward(dy, p, seed, offset, out, stream=stream)


def gaussian_noise(x, std, seed, offset=0, out=None, *, stream=STREAM_LAYERS) -> np.ndarray:
    """Add noise: y = x + std · z, z standard normal numbers by Box and Muller (1958).

    Parameters
    ----------
    x : float32 or float64 array of any shape
    std : float
        At least 0.
    seed, offset, out, stream
        As for `dropout_forward`.

    Returns
    -------
    y : float32 or float64 array like x

    Raises
    ------
    ValueError, TypeError
        As `dropout_forward`.

    Examples
    --------
    >>> noise = fastnn.kernels.gaussian_noise(np.zeros((100, 100), np.float32), 2.0, seed=0)
    >>> bool(abs(noise.std() - 2.0) < 0.05)
    True
    """
    (std,) = _at_least_zero(std=std)
    if std > 3.4e38:
        raise ValueError(f"std: expected a number that is finite in float32, got {std}")
    return _draw(_gaussian_noise, x, (std,), _draws(seed, offset, stream), out)
