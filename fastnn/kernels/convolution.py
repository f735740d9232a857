"""Eager kernels: convolution of images [batch, height, width, channels], and pooling."""

import math
from typing import Any

import numpy as np

from .._native import Operation, apart, new, of_shape, output, output_of, sizes
from ..core.activations import ACTIVATIONS
from ..core.checks import check_size, flag
from ..core.window import Window, pair, paddings
from ._check import _activation
from .activation import _differentiate

_WINDOW = " ".join(Window._fields)
_conv2d_forward = Operation("conv2d_forward", "x w b y z", f"{_WINDOW} filters activation alpha")
_conv2d_backward_input = Operation("conv2d_backward_input", "dy w dx", f"{_WINDOW} filters activation alpha accumulate")
_conv2d_backward_weights = Operation("conv2d_backward_weights", "x dy partial", f"{_WINDOW} filters")
_conv2d_combine_weights = Operation("conv2d_combine_weights", "partial dw db", f"{_WINDOW} filters accumulate")
_maxpool2d_forward = Operation("maxpool2d_forward", "x y", _WINDOW)
_maxpool2d_backward = Operation("maxpool2d_backward", "dy x dx", _WINDOW)
_avgpool2d_forward = Operation("avgpool2d_forward", "x y", f"{_WINDOW} count_padding")
_avgpool2d_backward = Operation("avgpool2d_backward", "dy dx", f"{_WINDOW} count_padding")

_MOST = 2**31  # elements of an image


def _over(name, shape, kernel, stride, padding, dilation=(1, 1), groups=1, ceil=False):
    """The windows over images of this shape."""
    try:
        return Window.over(shape, kernel, stride, padding, dilation, groups, ceil)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _outputs(rows, window, channels):
    """The shape of what comes out of windows."""
    if max(window.height * window.width * window.channels, window.out_height * window.out_width * channels) >= _MOST:
        raise ValueError(
            f"x, padding: expected images of fewer than 2**31 elements, got {window.height} x {window.width} x {window.channels}, of which "
            f"come {window.out_height} x {window.out_width} x {channels}"
        )
    return rows, window.out_height, window.out_width, channels


def _convolution(x, w, stride, padding, dilation, groups):
    """(the windows, the shape of y), both arrays checked."""
    rows, *image = sizes(x, "x", 4)
    *kernel, depth, filters = sizes(w, "w", 4, x)
    groups, channels = check_size(groups, "groups"), image[-1]
    if channels % groups or filters % groups:
        raise ValueError(f"groups: expected a divisor of the {channels} channels and the {filters} filters, got {groups}")
    if depth * groups != channels:
        raise ValueError(f"w: expected shape ({kernel[0]}, {kernel[1]}, {channels // groups}, {filters}), got {(*kernel, depth, filters)}")
    window = _over("x", image, kernel, pair(stride, "stride"), paddings(padding), pair(dilation, "dilation"), groups)
    return window, _outputs(rows, window, filters)


def conv2d_forward(x, w, b=None, stride=1, padding=0, dilation=1, groups=1, activation="identity", out=None, z=None, *,
                   alpha=None) -> np.ndarray:  # fmt: skip
    """A convolution of images: z = b + the products of w with windows of x, y = f(z).

        z[r, i, j, f] = b[f] + Σ over ky, kx, c of x[r, i s + ky d - top, j s + kx d - left, c] · w[ky, kx, c, f]

    A cross-correlation, as deep learning has it: the kernel is not turned. With n pixels, k taps, stride s and dilation d along one side
    ⌊(n + pads - d (k - 1) - 1) / s⌋ + 1 come out; beyond the image stand zeros. Each element is one chain of multiply-adds in the order
    (ky, kx, c), started from the bias: an image's result depends neither on the number of threads nor on the images beside it.

    Parameters
    ----------
    x : float32 or float64 array [batch, height, width, channels]
    w : float32 or float64 array [kernel height, kernel width, channels / groups, filters]
    b : float32 or float64 array [filters], optional
        No bias when None.
    stride, dilation : int or pair of ints, default 1
        Pixels from one window to the next, and from one tap to the next.
    padding : int, pair, (top, left, bottom, right), "same" or "valid", default 0
        Zeros around the image. same: so many that ⌈n / s⌉ pixels come out, the larger half of them at the end.
    groups : int, default 1
        Channels and filters are cut into so many groups that see each other only.
    activation : str, default "identity"
        f, a name from `activation_forward`.
    out : float32 or float64 array [batch, out height, out width, filters], optional
        Receives y.
    z : float32 or float64 array like out, optional
        Receives the pre-activation z.
    alpha : float, optional
        Parameter of the activation.

    Returns
    -------
    y : float32 or float64 array [batch, out height, out width, filters]

    Raises
    ------
    ValueError
        Shapes that do not fit, a kernel larger than the padded image, groups that divide not both channels and filters, arrays that are
        empty, not contiguous or overlap an output, an unknown activation, a bad alpha, a read-only `out` or `z`.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ.

    Examples
    --------
    >>> x, w = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1), np.ones((2, 2, 1, 1), np.float32)
    >>> fastnn.kernels.conv2d_forward(x, w)[0, :, :, 0]
    array([[ 8., 12.],
           [20., 24.]], dtype=float32)
    """
    code, alpha = _activation(activation, alpha)
    window, shape = _convolution(x, w, stride, padding, dilation, groups)
    if b is not None:
        of_shape(b, "b", shape[-1:], x)
    y = output_of(out, "out", x, shape)
    if out is not None:
        apart(y, "out", (x, "x"), (w, "w"), (b, "b"))
    if z is not None:
        apart(output_of(z, "z", x, shape), "z", (x, "x"), (w, "w"), (b, "b"), (y, "out"))
    _conv2d_forward.run(shape[0], (x, w, b, y, z), (*window, shape[-1], code, alpha))
    return y


def conv2d_backward(dy, x, w, stride=1, padding=0, dilation=1, groups=1, saved=None, activation="identity", out=None, *, alpha=None,
                    need_dx=True) -> tuple[Any, np.ndarray, np.ndarray]:  # fmt: skip
    """Gradients of a convolution: dz = dy · f', dx and dw as the products of dz with w and with windows of x, db = Σ over the pixels of dz.

    The gradient of the weights is one chain for each chunk of images, of which the shape alone says how many they are; chunks are added
    in order.

    Parameters
    ----------
    dy : float32 or float64 array [batch, out height, out width, filters]
        Gradient of the loss with respect to the convolution's output.
    x : float32 or float64 array [batch, height, width, channels]
    w : float32 or float64 array [kernel height, kernel width, channels / groups, filters]
    stride, padding, dilation, groups
        As for `conv2d_forward`.
    saved : float32 or float64 array like dy, optional
        What the activation saves: the output y, or for gelu, gelu_tanh, silu and mish its z. Identity does not look at it.
    activation : str, default "identity"
    out : tuple (dx, dw, db), optional
        Arrays that receive the gradients; None in a place makes a new array.
    alpha : float, optional
        Parameter of the activation.
    need_dx : bool, default True
        False leaves dx out, as for the first layer of a model.

    Returns
    -------
    dx : float32 or float64 array like x, or None when need_dx is False
    dw : float32 or float64 array like w
    db : float32 or float64 array [filters]

    Raises
    ------
    ValueError
        As `conv2d_forward`; also `saved` missing where it is needed, or a dx in `out` that need_dx=False would leave unwritten.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ; an `out` that is not a 3-tuple.

    Examples
    --------
    >>> x, w = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1), np.ones((2, 2, 1, 1), np.float32)
    >>> dx, dw, db = fastnn.kernels.conv2d_backward(np.ones((1, 2, 2, 1), np.float32), x, w)
    >>> dx[0, :, :, 0], dw[:, :, 0, 0], db
    (array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]], dtype=float32), array([[ 8., 12.],
           [20., 24.]], dtype=float32), array([4.], dtype=float32))
    """
    code, alpha = _activation(activation, alpha)
    if out is not None and (not isinstance(out, tuple) or len(out) != 3):
        got = f"{len(out)} items" if isinstance(out, tuple) else type(out).__name__
        raise TypeError(f"out: expected None or a tuple (dx, dw, db), got {got}")
    to_dx, to_dw, to_db = (None, None, None) if out is None else out
    window, shape = _convolution(x, w, stride, padding, dilation, groups)
    of_shape(dy, "dy", shape, x)
    differentiates = bool(ACTIVATIONS[activation or "identity"].saves)
    if differentiates:
        if saved is None:
            raise ValueError("saved: expected the output of the activation, got None")
        of_shape(saved, "saved", shape, x)
    if not need_dx and to_dx is not None:
        raise ValueError("out: expected no dx where need_dx is False, got an array")
    filters = shape[-1]
    dx = output_of(to_dx, "dx", x, sizes(x, "x", 4)) if need_dx else None
    dw, db = output_of(to_dw, "dw", x, sizes(w, "w", 4)), output(to_db, "db", x, filters)
    if out is not None:
        inputs = ((dy, "dy"), (x, "x"), (w, "w"), (saved if differentiates else None, "saved"))
        for given, name in zip(out, ("dx", "dw", "db")):
            if given is not None:
                apart(given, name, *inputs)
                inputs += ((given, name),)
    dz = dy
    if differentiates:
        dz = output_of(None, "dz", x, shape)
        _differentiate.flat((dy, saved, dz), (code, alpha))
    values = (*window, filters)
    chunks = -(-shape[0] // _conv2d_backward_weights.conv2d_chunk(values))
    partial = new(x, chunks, math.prod(sizes(w, "w", 4)) + filters)
    _conv2d_backward_weights.run(shape[0], (x, dz, partial), values)
    _conv2d_combine_weights.run(shape[0], (partial, dw, db), (*values, False))
    if need_dx:
        _conv2d_backward_input.run(shape[0], (dz, w, dx), (*values, 0, 0.0, False))
    return dx, dw, db


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
