"""Eager kernels: pooling of images [batch, height, width, channels]."""

import numpy as np

from .._native import Operation, apart, of_shape, output, output_of, sizes
from ..core.checks import flag
from ..core.window import Window, pair, paddings
from .convolution import _MOST, _outputs, _over

_WINDOW = " ".join(Window._fields)
_maxpool2d_forward = Operation("maxpool2d_forward", "x y", _WINDOW)
_maxpool2d_backward = Operation("maxpool2d_backward", "dy x dx", _WINDOW)
_avgpool2d_forward = Operation("avgpool2d_forward", "x y", f"{_WINDOW} count_padding")
_avgpool2d_backward = Operation("avgpool2d_backward", "dy dx", f"{_WINDOW} count_padding")


def _pooling(name, shape, kernel_size, stride, padding, ceil_mode, dilation=1):
    """The windows of a pooling of images of this shape."""
    kernel, padding = pair(kernel_size, "kernel_size"), paddings(padding)
    if padding != "same" and any(p >= k for p, k in zip(padding, kernel * 2)):
        raise ValueError(f"padding: expected less than the kernel, {kernel}, got {padding}")
    stride = kernel if stride is None else pair(stride, "stride")
    window = _over(name, shape, kernel, stride, padding, pair(dilation, "dilation"), 1, flag(ceil_mode, "ceil_mode"))
    try:
        window.check_pooling()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return window


def _pool_forward(operation, x, out, window, *more, draws=(0, 0)):
    rows = sizes(x, "x", 4)[0]
    y = output_of(out, "out", x, _outputs(rows, window, window.channels))
    if out is not None:
        apart(y, "out", (x, "x"))
    operation.run(rows, (x, y), (*window, *more), *draws)
    return y


def _pool_backward(operation, dy, x, out, window, *more, draws=(0, 0)):
    shape = sizes(x, "x", 4)
    of_shape(dy, "dy", _outputs(shape[0], window, window.channels), x)
    dx = output_of(out, "out", x, shape)
    if out is not None:
        apart(dx, "out", (x, "x"), (dy, "dy"))
    operation.run(shape[0], (dy, x, dx), (*window, *more), *draws)
    return dx


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
    out : float32 or float64 array [batch, out height, out width, channels], optional
        Receives y.

    Returns
    -------
    y : float32 or float64 array [batch, out height, out width, channels]

    Raises
    ------
    ValueError
        Sizes out of range, a kernel larger than the padded image, arrays that are empty or not contiguous, `out` of another shape,
        read-only or overlapping x.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ; sizes that are no integers.

    Examples
    --------
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    >>> fastnn.kernels.maxpool2d_forward(x, 2)[0, :, :, 0]
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    window = _pooling("x", sizes(x, "x", 4)[1:], kernel_size, stride, padding, ceil_mode, dilation)
    return _pool_forward(_maxpool2d_forward, x, out, window)


def maxpool2d_backward(dy, x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, out=None) -> np.ndarray:
    """Carry a gradient back through `maxpool2d_forward`: dy goes to the first of the largest elements, NaN being the largest.

    Parameters
    ----------
    dy : float32 or float64 array [batch, out height, out width, channels]
    x : float32 or float64 array [batch, height, width, channels]
    kernel_size, stride, padding, dilation, ceil_mode
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
    >>> x = np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1)
    >>> fastnn.kernels.maxpool2d_backward(np.ones((1, 1, 1, 1), np.float32), x, 2)[0, :, :, 0]
    array([[0., 0.],
           [0., 1.]], dtype=float32)
    """
    window = _pooling("x", sizes(x, "x", 4)[1:], kernel_size, stride, padding, ceil_mode, dilation)
    return _pool_backward(_maxpool2d_backward, dy, x, out, window)


def avgpool2d_forward(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, out=None) -> np.ndarray:
    """The mean of each window of an image, channel by channel.

    Parameters
    ----------
    x : float32 or float64 array [batch, height, width, channels]
    kernel_size, stride, padding, ceil_mode
        As for `maxpool2d_forward`.
    count_include_pad : bool, default True
        Whether the zeros of the padding count; what windows have beyond it never does.
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
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    >>> fastnn.kernels.avgpool2d_forward(x, 2)[0, :, :, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    """
    window = _pooling("x", sizes(x, "x", 4)[1:], kernel_size, stride, padding, ceil_mode)
    return _pool_forward(_avgpool2d_forward, x, out, window, flag(count_include_pad, "count_include_pad"))


def _input_size(input_size):
    size = pair(input_size, "input_size")
    if size[0] * size[1] >= _MOST:
        raise ValueError(f"input_size: expected fewer than 2**31 pixels, got {size}")
    return size


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
    out : float32 or float64 array [batch, height, width, channels], optional
        Receives dx.

    Returns
    -------
    dx : float32 or float64 array [batch, height, width, channels]

    Raises
    ------
    ValueError, TypeError
        As `maxpool2d_forward`.

    Examples
    --------
    >>> fastnn.kernels.avgpool2d_backward(np.ones((1, 1, 1, 1), np.float32), 2, 2)[0, :, :, 0]
    array([[0.25, 0.25],
           [0.25, 0.25]], dtype=float32)
    """
    rows, *_, channels = sizes(dy, "dy", 4)
    window = _pooling("input_size", (*_input_size(input_size), channels), kernel_size, stride, padding, ceil_mode)
    counts = flag(count_include_pad, "count_include_pad")
    of_shape(dy, "dy", _outputs(rows, window, channels), dy)
    dx = output_of(out, "out", dy, (rows, window.height, window.width, channels))
    if out is not None:
        apart(dx, "out", (dy, "dy"))
    _avgpool2d_backward.run(rows, (dy, dx), (*window, counts))
    return dx


def _whole_image(name, rows, shape):
    """The one window of images of this shape."""
    window = _over(name, shape, shape[:2], (1, 1), (0, 0, 0, 0))
    _outputs(rows, window, shape[-1])
    return window


def _global_forward(operation, x, out, *more):
    rows, *shape = sizes(x, "x", 4)
    y = output(out, "out", x, rows, shape[-1])
    if out is not None:
        apart(y, "out", (x, "x"))
    operation.run(rows, (x, y), (*_whole_image("x", rows, shape), *more))
    return y


def global_maxpool2d_forward(x, out=None) -> np.ndarray:
    """The largest element of each channel over the whole image; NaN is the largest of all.

    Parameters
    ----------
    x : float32 or float64 array [batch, height, width, channels]
    out : float32 or float64 array [batch, channels], optional
        Receives y.

    Returns
    -------
    y : float32 or float64 array [batch, channels]

    Raises
    ------
    ValueError
        Arrays that are empty or not contiguous, `out` of another shape, read-only or overlapping x.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ.

    Examples
    --------
    >>> fastnn.kernels.global_maxpool2d_forward(np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2))
    array([[6., 7.]], dtype=float32)
    """
    return _global_forward(_maxpool2d_forward, x, out)


def global_maxpool2d_backward(dy, x, out=None) -> np.ndarray:
    """Carry a gradient back through `global_maxpool2d_forward`: dy goes to the first of the largest elements.

    Parameters
    ----------
    dy : float32 or float64 array [batch, channels]
    x : float32 or float64 array [batch, height, width, channels]
    out : float32 or float64 array like x, optional
        Receives dx.

    Returns
    -------
    dx : float32 or float64 array like x

    Raises
    ------
    ValueError, TypeError
        As `global_maxpool2d_forward`.

    Examples
    --------
    >>> x = np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1)
    >>> fastnn.kernels.global_maxpool2d_backward(np.ones((1, 1), np.float32), x)[0, :, :, 0]
    array([[0., 0.],
           [0., 1.]], dtype=float32)
    """
    shape = sizes(x, "x", 4)
    of_shape(dy, "dy", (shape[0], shape[-1]), x)
    dx = output_of(out, "out", x, shape)
    if out is not None:
        apart(dx, "out", (x, "x"), (dy, "dy"))
    _maxpool2d_backward.run(shape[0], (dy, x, dx), tuple(_whole_image("x", shape[0], shape[1:])))
    return dx


def global_avgpool2d_forward(x, out=None) -> np.ndarray:
    """The mean of each channel over the whole image.

    Parameters
    ----------
    x : float32 or float64 array [batch, height, width, channels]
    out : float32 or float64 array [batch, channels], optional
        Receives y.

    Returns
    -------
    y : float32 or float64 array [batch, channels]

    Raises
    ------
    ValueError, TypeError
        As `global_maxpool2d_forward`.

    Examples
    --------
    >>> fastnn.kernels.global_avgpool2d_forward(np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2))
    array([[3., 4.]], dtype=float32)
    """
    return _global_forward(_avgpool2d_forward, x, out, True)


def global_avgpool2d_backward(dy, input_size, out=None) -> np.ndarray:
    """Carry a gradient back through `global_avgpool2d_forward`: each element gets its part of the mean's gradient.

    Parameters
    ----------
    dy : float32 or float64 array [batch, channels]
    input_size : int or pair of ints
        Height and width of the images that went in.
    out : float32 or float64 array [batch, height, width, channels], optional
        Receives dx.

    Returns
    -------
    dx : float32 or float64 array [batch, height, width, channels]

    Raises
    ------
    ValueError, TypeError
        As `global_maxpool2d_forward`.

    Examples
    --------
    >>> fastnn.kernels.global_avgpool2d_backward(np.ones((1, 1), np.float32), (1, 4)).ravel()
    array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """
    rows, channels = sizes(dy, "dy", 2)
    shape = (*_input_size(input_size), channels)
    window = _over("input_size", shape, shape[:2], (1, 1), (0, 0, 0, 0))
    _outputs(rows, window, channels)
    dx = output_of(out, "out", dy, (rows, *shape))
    if out is not None:
        apart(dx, "out", (dy, "dy"))
    _avgpool2d_backward.run(rows, (dy, dx), (*window, True))
    return dx
