"""Eager kernels: stochastic pooling of images [batch, height, width, channels]."""

import numpy as np

from .._native import STREAM_LAYERS, Operation, sizes
from ..core.window import Window
from ._check import _draws
from .pooling import _pool_backward, _pool_forward, _pooling

_WINDOW = " ".join(Window._fields)
_forward = Operation("stochastic_pool2d_forward", "x y", f"{_WINDOW} stream")
_backward = Operation("stochastic_pool2d_backward", "dy x dx", f"{_WINDOW} stream")
_inference = Operation("stochastic_pool2d_inference", "x y", _WINDOW)
_inference_backward = Operation("stochastic_pool2d_inference_backward", "dy x dx", _WINDOW)


def stochastic_pool2d_forward(x, kernel_size, seed, offset=0, stride=None, padding=0, ceil_mode=False, out=None, *,
                              stream=STREAM_LAYERS) -> np.ndarray:  # fmt: skip
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
    out : float32 or float64 array [batch, out height, out width, channels], optional
        Receives y.
    stream : int, default 16
        In [0, 2^32): e.g. the number of the layer.

    Returns
    -------
    y : float32 or float64 array [batch, out height, out width, channels]

    Raises
    ------
    ValueError, TypeError
        As `maxpool2d_forward`; also a seed, offset or stream out of range.

    Examples
    --------
    >>> x = np.array([1.0, 0.0, -1.0, 3.0], np.float32).reshape(1, 2, 2, 1)
    >>> sorted({float(fastnn.kernels.stochastic_pool2d_forward(x, 2, seed)[0, 0, 0, 0]) for seed in range(20)})
    [1.0, 3.0]
    """
    seed, step, stream = _draws(seed, offset, stream)
    window = _pooling("x", sizes(x, "x", 4)[1:], kernel_size, stride, padding, ceil_mode)
    return _pool_forward(_forward, x, out, window, stream, draws=(seed, step))


def stochastic_pool2d_backward(dy, x, kernel_size, seed, offset=0, stride=None, padding=0, ceil_mode=False, out=None, *,
                               stream=STREAM_LAYERS) -> np.ndarray:  # fmt: skip
    """Carry a gradient back through `stochastic_pool2d_forward`: dy goes to the element that was drawn, which is drawn anew.

    Parameters
    ----------
    dy : float32 or float64 array [batch, out height, out width, channels]
    x : float32 or float64 array [batch, height, width, channels]
    kernel_size, seed, offset, stride, padding, ceil_mode, stream
        As for `stochastic_pool2d_forward`.
    out : float32 or float64 array like x, optional
        Receives dx.

    Returns
    -------
    dx : float32 or float64 array like x

    Raises
    ------
    ValueError, TypeError
        As `stochastic_pool2d_forward`.

    Examples
    --------
    >>> x = np.array([0.0, 0.0, -1.0, 3.0], np.float32).reshape(1, 2, 2, 1)
    >>> fastnn.kernels.stochastic_pool2d_backward(np.ones((1, 1, 1, 1), np.float32), x, 2, seed=0)[0, :, :, 0]
    array([[0., 0.],
           [0., 1.]], dtype=float32)
    """
    seed, step, stream = _draws(seed, offset, stream)
    window = _pooling("x", sizes(x, "x", 4)[1:], kernel_size, stride, padding, ceil_mode)
    return _pool_backward(_backward, dy, x, out, window, stream, draws=(seed, step))


def stochastic_pool2d_inference(x, kernel_size, stride=None, padding=0, ceil_mode=False, out=None) -> np.ndarray:
    """What `stochastic_pool2d_forward` draws on average: Σ a · (a / Σa) over each window, a = max(x, 0), or 0 where no element is positive.

    Parameters
    ----------
    x : float32 or float64 array [batch, height, width, channels]
    kernel_size, stride, padding, ceil_mode
        As for `maxpool2d_forward`.
    out : float32 or float64 array [batch, out height, out width, channels], optional
        Receives y.

    Returns
    -------
    y : float32 or float64 array [batch, out height, out width, channels]

    Raises
    ------
    ValueError, TypeError
        As `maxpool2d_forward`.

    Examples
    --------
    >>> x = np.array([1.0, 0.0, -1.0, 3.0], np.float32).reshape(1, 2, 2, 1)
    >>> fastnn.kernels.stochastic_pool2d_inference(x, 2)[0, 0, 0]
    array([2.5], dtype=float32)
    """
    window = _pooling("x", sizes(x, "x", 4)[1:], kernel_size, stride, padding, ceil_mode)
    return _pool_forward(_inference, x, out, window)


def stochastic_pool2d_inference_backward(dy, x, kernel_size, stride=None, padding=0, ceil_mode=False, out=None) -> np.ndarray:
    """Gradient of `stochastic_pool2d_inference`: dx = dy · (2 a - y) / Σa where a is positive.

    Parameters
    ----------
    dy : float32 or float64 array [batch, out height, out width, channels]
    x : float32 or float64 array [batch, height, width, channels]
    kernel_size, stride, padding, ceil_mode
        As for `maxpool2d_forward`.
    out : float32 or float64 array like x, optional
        Receives dx.

    Returns
    -------
    dx : float32 or float64 array like x

    Raises
    ------
    ValueError, TypeError
        As `maxpool2d_forward`.

    Examples
    --------
    >>> x = np.array([1.0, 0.0, -1.0, 3.0], np.float32).reshape(1, 2, 2, 1)
    >>> fastnn.kernels.stochastic_pool2d_inference_backward(np.ones((1, 1, 1, 1), np.float32), x, 2)[0, :, :, 0]
    array([[-0.125,  0.   ],
           [ 0.   ,  0.875]], dtype=float32)
    """
    window = _pooling("x", sizes(x, "x", 4)[1:], kernel_size, stride, padding, ceil_mode)
    return _pool_backward(_inference_backward, dy, x, out, window)
