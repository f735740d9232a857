"""Pooling of images [batch, height, width, channels], by definition.

Each function has its sizes as arguments; below it, with the name of the operation behind an underscore, is what it computes for
`windows`; see `convolution`.
"""

import numpy as np

from ._check import check_array, check_out
from .convolution import _inside, _padded, _pair, _shape, _tap, _taps, _windows

__all__ = [
    "avgpool2d_backward",
    "avgpool2d_forward",
    "global_avgpool2d_backward",
    "global_avgpool2d_forward",
    "global_maxpool2d_backward",
    "global_maxpool2d_forward",
    "maxpool2d_backward",
    "maxpool2d_forward",
]


def _pooling(image, kernel_size, stride, padding, ceil_mode, dilation=1):
    """The windows of a pooling of images of this shape."""
    kernel = _pair(kernel_size, "kernel_size")
    if padding not in ("same", "valid") and np.any(np.array(padding) >= np.max(kernel)):
        raise ValueError(f"padding must be less than the kernel, {kernel}, got {padding}")
    return _windows(image, kernel, kernel if stride is None else stride, padding, dilation, ceil=ceil_mode)


def maxpool2d_forward(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, out=None) -> np.ndarray:
    """The largest element of each window of an image, channel by channel.

    What lies beyond the image is left out; NaN is the largest of all.

    Parameters
    ----------
    x : float32 or float64 array [batch, height, width, channels]
    kernel_size : int or pair of ints
    stride : int or pair of ints, optional
        By default the kernel's size: windows that touch.
    padding : int, pair, (top, left, bottom, right), "same" or "valid", default 0
        Less than the kernel, so that every window has a pixel.
    dilation : int or pair of ints, default 1
        Pixels from one tap of a window to the next.
    ceil_mode : bool, default False
        Round the number of windows up: the last ones reach beyond the image.
    out : array [batch, out height, out width, channels], dtype of x, optional
        Receives y.

    Returns
    -------
    y : array [batch, out height, out width, channels], dtype of x

    Raises
    ------
    ValueError
        Sizes that do not fit, `out` of another shape or read-only.
    TypeError
        Another dtype, or not an array.

    Examples
    --------
    >>> maxpool2d_forward(np.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    """
    check_array(x, "x", shape=(None, None, None, None))
    window = _pooling(x.shape[1:], kernel_size, stride, padding, ceil_mode, dilation)
    out = check_out(out, "out", _shape(len(x), window, window.channels), x.dtype)
    out[...] = _maxpool2d_forward(x, window)
    return out


def _maxpool2d_forward(x, window):
    padded = _padded(x, window, -np.inf)
    return np.max([_tap(padded, window, ky, kx) for ky, kx in _taps(window)], axis=0)


def maxpool2d_backward(dy, x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, out=None) -> np.ndarray:
    """Carry a gradient back through `maxpool2d_forward`: dy goes to the first of the largest elements, NaN being the largest.

    Parameters
    ----------
    dy : float32 or float64 array [batch, out height, out width, channels]
    x : array [batch, height, width, channels], dtype of dy
    kernel_size, stride, padding, dilation, ceil_mode
        As for `maxpool2d_forward`.
    out : array like x, optional
        Receives dx.

    Returns
    -------
    dx : array like x

    Raises
    ------
    ValueError
        Shapes and sizes that do not fit, `out` of another shape or read-only.
    TypeError
        Another dtype, or not an array.

    Examples
    --------
    >>> maxpool2d_backward(np.ones((1, 1, 1, 1)), np.arange(4.0).reshape(1, 2, 2, 1), 2)[0, :, :, 0]
    array([[0., 0.],
           [0., 1.]])
    """
    check_array(x, "x", shape=(None, None, None, None))
    window = _pooling(x.shape[1:], kernel_size, stride, padding, ceil_mode, dilation)
    check_array(dy, "dy", x.dtype, _shape(len(x), window, window.channels))
    out = check_out(out, "out", x.shape, x.dtype)
    out[...] = _maxpool2d_backward(dy, x, window)
    return out


def _maxpool2d_winners(x, window):
    """The number of the tap that the largest element of each window stands at, the first of them."""
    padded, taps = _padded(x, window, -np.inf), _taps(window)
    inside = _padded(np.ones_like(x), window, 0)
    seen = np.array([_tap(padded, window, ky, kx) for ky, kx in taps])
    counts = np.array([_tap(inside, window, ky, kx) for ky, kx in taps]) > 0
    first = np.where(counts, seen, -np.inf)
    return np.argmax((first == np.max(first, axis=0)) & counts | np.isnan(first), axis=0)


def _maxpool2d_from(dy, winners, window):
    """The gradient dy where these taps are."""
    dpadded = _padded(np.zeros((len(dy), window.height, window.width, window.channels), dy.dtype), window, 0)
    for i, (ky, kx) in enumerate(_taps(window)):
        gradient = _tap(dpadded, window, ky, kx)
        gradient += np.where(winners == i, dy, 0)
    return _inside(dpadded, window)


def _maxpool2d_backward(dy, x, window):
    return _maxpool2d_from(dy, _maxpool2d_winners(x, window), window)


def _counts(window, count_padding, dtype):
    """How many elements the mean of each window is over, [1, out_height, out_width, 1]."""
    w = window
    counted = np.zeros((1, w.height, w.width, w.channels), dtype)
    padded = _padded(counted, window, 0)
    top, left, bottom, right = (w.pad_top, w.pad_left, w.pad_bottom, w.pad_right) if count_padding else (0, 0, 0, 0)
    padded[:, w.pad_top - top : w.pad_top + w.height + bottom, w.pad_left - left : w.pad_left + w.width + right] = 1
    return sum(_tap(padded, window, ky, kx) for ky, kx in _taps(window))[..., :1]


def avgpool2d_forward(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, out=None) -> np.ndarray:
    """The mean of each window of an image, channel by channel.

    Parameters
    ----------
    x : float32 or float64 array [batch, height, width, channels]
    kernel_size, stride, padding, ceil_mode
        As for `maxpool2d_forward`.
    count_include_pad : bool, default True
        Whether the zeros of the padding count; what windows have beyond it never does.
    out : array [batch, out height, out width, channels], dtype of x, optional
        Receives y.

    Returns
    -------
    y : array [batch, out height, out width, channels], dtype of x

    Raises
    ------
    ValueError
        Sizes that do not fit, `out` of another shape or read-only.
    TypeError
        Another dtype, or not an array.

    Examples
    --------
    >>> avgpool2d_forward(np.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """
    check_array(x, "x", shape=(None, None, None, None))
    window = _pooling(x.shape[1:], kernel_size, stride, padding, ceil_mode)
    out = check_out(out, "out", _shape(len(x), window, window.channels), x.dtype)
    with np.errstate(all="ignore"):
        out[...] = _avgpool2d_forward(x, window, count_include_pad)
    return out


def _avgpool2d_forward(x, window, count_padding=True):
    padded = _padded(x, window, 0)
    return sum(_tap(padded, window, ky, kx) for ky, kx in _taps(window)) / _counts(window, count_padding, x.dtype)


def avgpool2d_backward(dy, input_size, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
                       out=None) -> np.ndarray:  # fmt: skip
    """Carry a gradient back through `avgpool2d_forward`: each element of a window gets its part of the mean's gradient.

    Parameters
    ----------
    dy : float32 or float64 array [batch, out height, out width, channels]
    input_size : int or pair of ints
        Height and width of the images that went in.
    kernel_size, stride, padding, ceil_mode, count_include_pad
        As for `avgpool2d_forward`.
    out : array [batch, height, width, channels], dtype of dy, optional
        Receives dx.

    Returns
    -------
    dx : array [batch, height, width, channels], dtype of dy

    Raises
    ------
    ValueError
        Shapes and sizes that do not fit, `out` of another shape or read-only.
    TypeError
        Another dtype, or not an array.

    Examples
    --------
    >>> avgpool2d_backward(np.ones((1, 1, 1, 1)), 2, 2)[0, :, :, 0]
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    check_array(dy, "dy", shape=(None, None, None, None))
    image = (*_pair(input_size, "input_size"), dy.shape[-1])
    window = _pooling(image, kernel_size, stride, padding, ceil_mode)
    check_array(dy, "dy", shape=_shape(len(dy), window, window.channels))
    out = check_out(out, "out", (len(dy), *image), dy.dtype)
    with np.errstate(all="ignore"):
        out[...] = _avgpool2d_backward(dy, window, count_include_pad)
    return out


def _avgpool2d_backward(dy, window, count_padding=True):
    dpadded = _padded(np.zeros((len(dy), window.height, window.width, window.channels), dy.dtype), window, 0)
    part = dy / _counts(window, count_padding, dy.dtype)
    for ky, kx in _taps(window):
        gradient = _tap(dpadded, window, ky, kx)
        gradient += part
    return _inside(dpadded, window)


def global_maxpool2d_forward(x, out=None) -> np.ndarray:
    """The largest element of each channel over the whole image; NaN is the largest of all.

    Parameters
    ----------
    x : float32 or float64 array [batch, height, width, channels]
    out : array [batch, channels], dtype of x, optional
        Receives y.

    Returns
    -------
    y : array [batch, channels], dtype of x

    Raises
    ------
    ValueError
        `out` of another shape or read-only.
    TypeError
        Another dtype, or not an array.

    Examples
    --------
    >>> global_maxpool2d_forward(np.arange(8.0).reshape(1, 2, 2, 2))
    array([[6., 7.]])
    """
    check_array(x, "x", shape=(None, None, None, None))
    out = check_out(out, "out", (len(x), x.shape[-1]), x.dtype)
    out[...] = x.max(axis=(1, 2))
    return out


def global_maxpool2d_backward(dy, x, out=None) -> np.ndarray:
    """Carry a gradient back through `global_maxpool2d_forward`: dy goes to the first of the largest elements.

    Parameters
    ----------
    dy : float32 or float64 array [batch, channels]
    x : array [batch, height, width, channels], dtype of dy
    out : array like x, optional
        Receives dx.

    Returns
    -------
    dx : array like x

    Raises
    ------
    ValueError
        Shapes that do not fit, `out` of another shape or read-only.
    TypeError
        Another dtype, or not an array.

    Examples
    --------
    >>> global_maxpool2d_backward(np.ones((1, 1)), np.arange(4.0).reshape(1, 2, 2, 1))[0, :, :, 0]
    array([[0., 0.],
           [0., 1.]])
    """
    check_array(x, "x", shape=(None, None, None, None))
    check_array(dy, "dy", x.dtype, (len(x), x.shape[-1]))
    out = check_out(out, "out", x.shape, x.dtype)
    pixels = x.reshape(len(x), -1, x.shape[-1])
    dx = np.zeros_like(pixels)
    np.put_along_axis(dx, pixels.argmax(axis=1)[:, None], dy[:, None], axis=1)  # NumPy's argmax: a NaN beats every number
    out[...] = dx.reshape(x.shape)
    return out


def global_avgpool2d_forward(x, out=None) -> np.ndarray:
    """The mean of each channel over the whole image.

    Parameters
    ----------
    x : float32 or float64 array [batch, height, width, channels]
    out : array [batch, channels], dtype of x, optional
        Receives y.

    Returns
    -------
    y : array [batch, channels], dtype of x

    Raises
    ------
    ValueError
        `out` of another shape or read-only.
    TypeError
        Another dtype, or not an array.

    Examples
    --------
    >>> global_avgpool2d_forward(np.arange(8.0).reshape(1, 2, 2, 2))
    array([[3., 4.]])
    """
    check_array(x, "x", shape=(None, None, None, None))
    out = check_out(out, "out", (len(x), x.shape[-1]), x.dtype)
    with np.errstate(all="ignore"):
        out[...] = x.mean(axis=(1, 2))
    return out


def global_avgpool2d_backward(dy, input_size, out=None) -> np.ndarray:
    """Carry a gradient back through `global_avgpool2d_forward`: each element gets its part of the mean's gradient.

    Parameters
    ----------
    dy : float32 or float64 array [batch, channels]
    input_size : int or pair of ints
        Height and width of the images that went in.
    out : array [batch, height, width, channels], dtype of dy, optional
        Receives dx.

    Returns
    -------
    dx : array [batch, height, width, channels], dtype of dy

    Raises
    ------
    ValueError
        Shapes that do not fit, `out` of another shape or read-only.
    TypeError
        Another dtype, or not an array.

    Examples
    --------
    >>> global_avgpool2d_backward(np.ones((1, 1)), (1, 4)).ravel()
    array([0.25, 0.25, 0.25, 0.25])
    """
    check_array(dy, "dy", shape=(None, None))
    height, width = _pair(input_size, "input_size")
    out = check_out(out, "out", (len(dy), height, width, dy.shape[1]), dy.dtype)
    out[...] = (dy / dy.dtype.type(height * width))[:, None, None]
    return out
