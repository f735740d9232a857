"""Eager kernels: convolution of images [batch, height, width, channels]."""

import math
from typing import Any

import numpy as np

from .._native import Operation, apart, new, of_shape, output, output_of, sizes
from ..core.activations import ACTIVATIONS
from ..core.checks import check_size
from ..core.window import Window, pair, paddings
from ._check import _activation
from .activation import _differentiate

_WINDOW = " ".join(Window._fields)
_conv2d_forward = Operation("conv2d_forward", "x w b y z", f"{_WINDOW} filters activation alpha")
_conv2d_backward_input = Operation("conv2d_backward_input", "dy w dx", f"{_WINDOW} filters activation alpha accumulate")
_conv2d_backward_weights = Operation("conv2d_backward_weights", "x dy partial", f"{_WINDOW} filters")
_conv2d_combine_weights = Operation("conv2d_combine_weights", "partial dw db", f"{_WINDOW} filters accumulate")

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
        What the activation saves, y or z, as `activation_backward` has it. Identity does not look at it.
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
