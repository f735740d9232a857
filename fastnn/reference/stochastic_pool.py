"""Stochastic pooling: one element of each window, drawn in proportion to what is positive (Zeiler & Fergus 2013)."""

import numpy as np

from ._check import check_array, check_out
from .convolution import _inside, _padded, _shape, _tap, _taps
from .noise import LAYER_STREAM
from .pooling import _maxpool2d_backward, _maxpool2d_forward, _pooling
from .rng import random_bits


def _each_tap(x, window):
    """What each tap of the windows sees, as a list."""
    padded = _padded(x, window, 0)
    return [_tap(padded, window, ky, kx) for ky, kx in _taps(window)]


def _sum(taps):
    """Σ max(x, 0), in the order of the taps."""
    total = np.zeros_like(taps[0])
    for x in taps:
        total = total + np.maximum(x, 0)
    return total


def _draw(x, window, seed, offset, stream, before=0):
    """(what is drawn, the number of its tap; -1: none). before: images of a larger batch that come before."""
    taps = _each_tap(x, window)
    total, drawn = _sum(taps), np.zeros_like(taps[0])
    at, so_far = np.full(drawn.shape, -1), np.zeros_like(drawn)
    size = drawn.size // len(drawn)
    words = random_bits(drawn.size, seed, stream, offset, before * size).reshape(drawn.shape)
    limit = (words >> 8).astype(x.dtype) * x.dtype.type(2.0**-24) * total
    for i, tap in enumerate(taps):
        take = (tap > 0) & (so_far <= limit)
        so_far, drawn, at = so_far + np.maximum(tap, 0), np.where(take, tap, drawn), np.where(take, i, at)
    return np.where(np.isfinite(total), drawn, _maxpool2d_forward(x, window)), at, np.isfinite(total)


def _stochastic_pool2d_forward(x, window, seed, offset, stream, before=0):
    with np.errstate(all="ignore"):
        return _draw(x, window, seed, offset, stream, before)[0]


def _spread(x, window, gradients, largest):
    """dx of a gradient for each tap, and of one for the largest element."""
    dpadded = _padded(np.zeros_like(x), window, 0)
    for gradient, (ky, kx) in zip(gradients, _taps(window)):
        seen = _tap(dpadded, window, ky, kx)
        seen += gradient
    return _inside(dpadded, window) + _maxpool2d_backward(largest, x, window)


def _stochastic_pool2d_backward(dy, x, window, seed, offset, stream, before=0):
    with np.errstate(all="ignore"):
        _, at, finite = _draw(x, window, seed, offset, stream, before)
        gradients = [np.where(finite & (at == i), dy, 0) for i in range(len(_taps(window)))]
        return _spread(x, window, gradients, np.where(finite, 0, dy))


def _mean(x, window):
    """(Σ a (a / Σa), Σa, the taps)"""
    taps = _each_tap(x, window)
    total = _sum(taps)
    mean = np.zeros_like(total)
    for tap in taps:
        a = np.maximum(tap, 0)
        mean = mean + np.where(total > 0, a * (a / total), 0)
    return mean, total, taps


def _stochastic_pool2d_inference(x, window):
    with np.errstate(all="ignore"):
        mean, total, _ = _mean(x, window)
        return np.where(np.isfinite(total), mean, _maxpool2d_forward(x, window))


def _stochastic_pool2d_inference_backward(dy, x, window):
    with np.errstate(all="ignore"):
        mean, total, taps = _mean(x, window)
        finite = np.isfinite(total)
        gradients = [np.where(finite & (tap > 0), dy * ((2 * tap - mean) / total), 0) for tap in taps]
        return _spread(x, window, gradients, np.where(finite, 0, dy))


def stochastic_pool2d_forward(x, kernel_size, seed, offset=0, stride=None, padding=0, ceil_mode=False, out=None, *,
                              stream=LAYER_STREAM) -> np.ndarray:  # fmt: skip
    """Draw one element of each window of an image, channel by channel, with the probabilities a / Σa, a = max(x, 0).

    M. D. Zeiler and R. Fergus, "Stochastic pooling for regularization of deep convolutional neural networks", 2013. 0 where no element
    is positive; where the sum is infinite or NaN the largest element, as in max-pooling. Element number e of y, in row-major order,
    has u = (word e of ``random_bits(..., seed, stream, step=offset)`` div 2^8) · 2^-24: of the window's elements, in their order, the
    first counts at which the running sum of a is above u Σa, or by rounding the last positive one.

    Parameters
    ----------
    x : float32 or float64 array [batch, height, width, channels]
    kernel_size, stride, padding, ceil_mode
        As for `maxpool2d_forward`.
    seed : int
        In [0, 2^64).
    offset : int, default 0
        In [0, 2^32): e.g. the number of the step.
    out : array [batch, out height, out width, channels], dtype of x, optional
        Receives y.
    stream : int, default 16
        In [0, 2^32): e.g. the number of the layer.

    Returns
    -------
    y : array [batch, out height, out width, channels], dtype of x

    Raises
    ------
    ValueError, TypeError
        As `maxpool2d_forward`; also a seed, offset or stream out of range.

    Examples
    --------
    >>> x = np.array([1.0, 0.0, -1.0, 3.0]).reshape(1, 2, 2, 1)
    >>> sorted({float(stochastic_pool2d_forward(x, 2, seed)[0, 0, 0, 0]) for seed in range(20)})
    [1.0, 3.0]
    """
    check_array(x, "x", shape=(None, None, None, None))
    window = _pooling(x.shape[1:], kernel_size, stride, padding, ceil_mode)
    out = check_out(out, "out", _shape(len(x), window, window.channels), x.dtype)
    out[...] = _stochastic_pool2d_forward(x, window, seed, offset, stream)
    return out


def stochastic_pool2d_backward(dy, x, kernel_size, seed, offset=0, stride=None, padding=0, ceil_mode=False, out=None, *,
                               stream=LAYER_STREAM) -> np.ndarray:  # fmt: skip
    """Carry a gradient back through `stochastic_pool2d_forward`: dy goes to the element that was drawn, which is drawn anew.

    Parameters
    ----------
    dy : float32 or float64 array [batch, out height, out width, channels]
    x : array [batch, height, width, channels], dtype of dy
    kernel_size, seed, offset, stride, padding, ceil_mode, stream
        As for `stochastic_pool2d_forward`.
    out : array like x, optional
        Receives dx.

    Returns
    -------
    dx : array like x

    Raises
    ------
    ValueError, TypeError
        As `stochastic_pool2d_forward`.

    Examples
    --------
    >>> x = np.array([0.0, 0.0, -1.0, 3.0]).reshape(1, 2, 2, 1)
    >>> stochastic_pool2d_backward(np.ones((1, 1, 1, 1)), x, 2, seed=0)[0, :, :, 0]
    array([[0., 0.],
           [0., 1.]])
    """
    window = _check(dy, x, kernel_size, stride, padding, ceil_mode)
    out = check_out(out, "out", x.shape, x.dtype)
    out[...] = _stochastic_pool2d_backward(dy, x, window, seed, offset, stream)
    return out


def _check(dy, x, kernel_size, stride, padding, ceil_mode):
    """The windows, both arrays checked."""
    check_array(x, "x", shape=(None, None, None, None))
    window = _pooling(x.shape[1:], kernel_size, stride, padding, ceil_mode)
    check_array(dy, "dy", x.dtype, _shape(len(x), window, window.channels))
    return window


def stochastic_pool2d_inference(x, kernel_size, stride=None, padding=0, ceil_mode=False, out=None) -> np.ndarray:
    """What `stochastic_pool2d_forward` draws on average: Σ a · (a / Σa) over each window, a = max(x, 0), or 0 where no element is positive.

    Parameters
    ----------
    x : float32 or float64 array [batch, height, width, channels]
    kernel_size, stride, padding, ceil_mode
        As for `maxpool2d_forward`.
    out : array [batch, out height, out width, channels], dtype of x, optional
        Receives y.

    Returns
    -------
    y : array [batch, out height, out width, channels], dtype of x

    Raises
    ------
    ValueError, TypeError
        As `maxpool2d_forward`.

    Examples
    --------
    >>> x = np.array([1.0, 0.0, -1.0, 3.0]).reshape(1, 2, 2, 1)
    >>> stochastic_pool2d_inference(x, 2)[0, 0, 0]
    array([2.5])
    """
    check_array(x, "x", shape=(None, None, None, None))
    window = _pooling(x.shape[1:], kernel_size, stride, padding, ceil_mode)
    out = check_out(out, "out", _shape(len(x), window, window.channels), x.dtype)
    out[...] = _stochastic_pool2d_inference(x, window)
    return out


def stochastic_pool2d_inference_backward(dy, x, kernel_size, stride=None, padding=0, ceil_mode=False, out=None) -> np.ndarray:
    """Gradient of `stochastic_pool2d_inference`: dx = dy · (2 a - y) / Σa where a is positive.

    Parameters
    ----------
    dy : float32 or float64 array [batch, out height, out width, channels]
    x : array [batch, height, width, channels], dtype of dy
    kernel_size, stride, padding, ceil_mode
        As for `maxpool2d_forward`.
    out : array like x, optional
        Receives dx.

    Returns
    -------
    dx : array like x

    Raises
    ------
    ValueError, TypeError
        As `maxpool2d_forward`.

    Examples
    --------
    >>> x = np.array([1.0, 0.0, -1.0, 3.0]).reshape(1, 2, 2, 1)
    >>> stochastic_pool2d_inference_backward(np.ones((1, 1, 1, 1)), x, 2)[0, :, :, 0]
    array([[-0.125,  0.   ],
           [ 0.   ,  0.875]])
    """
    window = _check(dy, x, kernel_size, stride, padding, ceil_mode)
    out = check_out(out, "out", x.shape, x.dtype)
    out[...] = _stochastic_pool2d_inference_backward(dy, x, window)
    return out
