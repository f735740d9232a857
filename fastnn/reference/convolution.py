"""Convolution of images [batch, height, width, channels], by definition.

Each function has its sizes as arguments; below it, with the name of the operation behind an underscore, is what it computes for
`windows`, which say how a kernel goes over an image: height, width and channels of the image, out_height and out_width, kernel_height
and kernel_width, stride_y, stride_x, dilation_y, dilation_x, the padding pad_top, pad_left, pad_bottom, pad_right, and groups.
"""

from typing import Any, NamedTuple

import numpy as np

from ._check import check_array, check_out
from .activation import activation_backward, activation_forward, find_activation

__all__ = ["conv2d_backward", "conv2d_forward"]


class _Windows(NamedTuple):
    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    kernel_height: int
    kernel_width: int
    stride_y: int = 1
    stride_x: int = 1
    dilation_y: int = 1
    dilation_x: int = 1
    pad_top: int = 0
    pad_left: int = 0
    pad_bottom: int = 0
    pad_right: int = 0
    groups: int = 1


def _pair(value, name):
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2 or not all(isinstance(v, (int, np.integer)) and v >= 0 for v in values):
        raise ValueError(f"{name} must be an integer or a pair of them, got {value!r}")
    return values


def _side(n, k, stride, pads, dilation, ceil):
    """(windows, padding before, padding after) along one side of n pixels; pads: two numbers, or "same"."""
    reach = dilation * (k - 1) + 1
    if pads == "same":
        total = max((-(-n // stride) - 1) * stride + reach - n, 0)
        pads = total // 2, total - total // 2
    room = n + sum(pads) - reach
    if room < 0:
        raise ValueError(f"the kernel must not be larger than the padded image, got {reach} and {n + sum(pads)} pixels")
    out = room // stride + 1
    if ceil and room % stride and out * stride < n + pads[0]:  # one more, which begins within the image or before it
        out += 1
    return out, *pads


def _windows(image, kernel, stride, padding, dilation=1, groups=1, ceil=False):
    """The windows of this kernel over an image (height, width, channels)."""
    stride, dilation = _pair(stride, "stride"), _pair(dilation, "dilation")
    if min(*kernel, *stride, *dilation) < 1:
        raise ValueError(f"kernel, stride and dilation must be at least 1, got {kernel}, {stride} and {dilation}")
    if padding == "same":
        pads = ("same", "same")
    else:
        padding = (0, 0) if padding == "valid" else padding
        four = tuple(padding) if isinstance(padding, (tuple, list)) and len(padding) == 4 else 2 * _pair(padding, "padding")
        pads = four[::2], four[1::2]
    (rows, top, bottom), (columns, left, right) = (
        _side(n, k, s, p, d, ceil) for n, k, s, p, d in zip(image, kernel, stride, pads, dilation)
    )
    return _Windows(*image, rows, columns, *kernel, *stride, *dilation, top, left, bottom, right, groups)


def _shape(rows, window, channels):
    return rows, window.out_height, window.out_width, channels


def _padded(x, window, value):
    """x with the padding around it, and so much more at the end that every window lies within."""
    w = window
    height = (w.out_height - 1) * w.stride_y + w.dilation_y * (w.kernel_height - 1) + 1
    width = (w.out_width - 1) * w.stride_x + w.dilation_x * (w.kernel_width - 1) + 1
    rows, columns = max(height, w.pad_top + w.height), max(width, w.pad_left + w.width)
    padded = np.full((len(x), rows, columns, w.channels), value, x.dtype)
    padded[:, w.pad_top : w.pad_top + w.height, w.pad_left : w.pad_left + w.width] = x.reshape(len(x), w.height, w.width, w.channels)
    return padded


def _tap(padded, window, ky, kx):
    """What the tap (ky, kx) of every window sees, [rows, out_height, out_width, channels]: a view."""
    w = window
    top, left = ky * w.dilation_y, kx * w.dilation_x
    return padded[:, top : top + (w.out_height - 1) * w.stride_y + 1 : w.stride_y,
                  left : left + (w.out_width - 1) * w.stride_x + 1 : w.stride_x]  # fmt: skip


def _inside(padded, window):
    """The image in what `_padded` has made."""
    w = window
    return padded[:, w.pad_top : w.pad_top + w.height, w.pad_left : w.pad_left + w.width]


def _taps(window):
    return [(ky, kx) for ky in range(window.kernel_height) for kx in range(window.kernel_width)]


def _groups(window, filters):
    """(channels, filters) of each group, as slices."""
    depth, wide = window.channels // window.groups, filters // window.groups
    return [(slice(g * depth, (g + 1) * depth), slice(g * wide, (g + 1) * wide)) for g in range(window.groups)]


def conv2d_forward(x, w, b=None, stride=1, padding=0, dilation=1, groups=1, activation="identity", out=None, z=None, *,
                   alpha=None) -> np.ndarray:  # fmt: skip
    """A convolution of images: z = b + the products of w with windows of x, y = f(z).

        z[r, i, j, f] = b[f] + Σ over ky, kx, c of x[r, i s + ky d - top, j s + kx d - left, c] · w[ky, kx, c, f]

    A cross-correlation, as deep learning has it: the kernel is not turned. With n pixels, k taps, stride s and dilation d along one side
    ⌊(n + pads - d (k - 1) - 1) / s⌋ + 1 come out; beyond the image stand zeros. Channels and filters of one group see each other only.

    Parameters
    ----------
    x : float32 or float64 array [batch, height, width, channels]
    w : array [kernel height, kernel width, channels / groups, filters], dtype of x
    b : array [filters], dtype of x, optional
        No bias when None.
    stride, dilation : int or pair of ints, default 1
        Pixels from one window to the next, and from one tap to the next.
    padding : int, pair, (top, left, bottom, right), "same" or "valid", default 0
        Zeros around the image. same: so many that ⌈n / s⌉ pixels come out, the larger half of them at the end.
    groups : int, default 1
        Channels and filters are cut into so many groups.
    activation : str, default "identity"
        f, a name from `activation_forward`.
    out : array [batch, out height, out width, filters], dtype of x, optional
        Receives y.
    z : array like out, optional
        Receives the pre-activation z.
    alpha : float, optional
        Parameter of the activation.

    Returns
    -------
    y : array [batch, out height, out width, filters], dtype of x

    Raises
    ------
    ValueError
        Shapes and sizes that do not fit, an unknown activation, a bad alpha, a read-only `out` or `z`.
    TypeError
        Dtypes that differ or are neither float32 nor float64.

    Examples
    --------
    >>> x, w = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((2, 2, 1, 1))
    >>> conv2d_forward(x, w)[0, :, :, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """
    window, shape = _convolution(x, w, stride, padding, dilation, groups)
    if b is not None:
        check_array(b, "b", x.dtype, shape[-1:])
    out, z = check_out(out, "out", shape, x.dtype), check_out(z, "z", shape, x.dtype)
    find_activation(activation, alpha)
    with np.errstate(all="ignore"):
        z[...] = _conv2d_forward(x, w, b, window)
    return activation_forward(z, activation, out, alpha=alpha)


def _convolution(x, w, stride, padding, dilation, groups):
    """(the windows, the shape of y), both arrays checked."""
    check_array(x, "x", shape=(None, None, None, None))
    check_array(w, "w", x.dtype, (None, None, None, None))
    channels, filters = x.shape[-1], w.shape[-1]
    if groups < 1 or channels % groups or filters % groups:
        raise ValueError(f"groups must divide {channels} channels and {filters} filters, got {groups}")
    check_array(w, "w", x.dtype, (None, None, channels // groups, None))
    window = _windows(x.shape[1:], w.shape[:2], stride, padding, dilation, groups)
    return window, _shape(len(x), window, filters)


def _conv2d_forward(x, w, b, window):
    padded = _padded(x, window, 0)
    y = np.zeros((len(x), window.out_height, window.out_width, w.shape[-1]), x.dtype)
    if b is not None:
        y += b
    for ky, kx in _taps(window):
        seen = _tap(padded, window, ky, kx)
        for channels, filters in _groups(window, w.shape[-1]):
            y[..., filters] += seen[..., channels] @ w[ky, kx][:, filters]
    return y


def conv2d_backward(dy, x, w, stride=1, padding=0, dilation=1, groups=1, saved=None, activation="identity", out=None, *, alpha=None,
                    need_dx=True) -> tuple[Any, np.ndarray, np.ndarray]:  # fmt: skip
    """Gradients of a convolution: dz = dy · f', dx and dw as the products of dz with w and with windows of x, db = Σ over the pixels of dz.

    Parameters
    ----------
    dy : float32 or float64 array [batch, out height, out width, filters]
        Gradient of the loss with respect to the convolution's output.
    x : array [batch, height, width, channels], dtype of dy
    w : array [kernel height, kernel width, channels / groups, filters], dtype of dy
    stride, padding, dilation, groups
        As for `conv2d_forward`.
    saved : array like dy, optional
        What the activation saves: the output y, or its z. Identity does not look at it.
    activation : str, default "identity"
    out : tuple (dx, dw, db), optional
        Arrays that receive the gradients; None in a place makes a new array.
    alpha : float, optional
        Parameter of the activation.
    need_dx : bool, default True
        False leaves dx out.

    Returns
    -------
    dx : array like x, or None when need_dx is False
    dw : array like w
    db : array [filters], dtype of dy

    Raises
    ------
    ValueError
        Shapes and sizes that do not fit, an unknown activation, a bad alpha, a read-only array in `out`.
    TypeError
        Dtypes that differ or are neither float32 nor float64.

    Examples
    --------
    >>> x, w = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((2, 2, 1, 1))
    >>> dx, dw, db = conv2d_backward(np.ones((1, 2, 2, 1)), x, w)
    >>> dx[0, :, :, 0], dw[:, :, 0, 0], db
    (array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]]), array([[ 8., 12.],
           [20., 24.]]), array([4.]))
    """
    window, shape = _convolution(x, w, stride, padding, dilation, groups)
    check_array(dy, "dy", x.dtype, shape)
    dz = dy if activation == "identity" else activation_backward(dy, saved, activation, alpha=alpha)
    with np.errstate(all="ignore"):
        found = _conv2d_backward(dz, x, w, window)
    given = [check_out(o, name, a.shape, x.dtype) for o, name, a in zip(out or (None,) * 3, ("dx", "dw", "db"), found)]
    for o, a in zip(given, found):
        o[...] = a
    return (given[0] if need_dx else None, *given[1:])


def _conv2d_backward(dy, x, w, window):
    """(dx, dw, db): the gradients of the inputs, of the weights, and of the biases."""
    padded = _padded(x, window, 0)
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    for ky, kx in _taps(window):
        seen, gradient = _tap(padded, window, ky, kx), _tap(dpadded, window, ky, kx)
        for channels, filters in _groups(window, w.shape[-1]):
            dw[ky, kx][:, filters] = np.einsum("rijc,rijf->cf", seen[..., channels], dy[..., filters])
            gradient[..., channels] += dy[..., filters] @ w[ky, kx][:, filters].T
    return _inside(dpadded, window), dw, dy.sum(axis=(0, 1, 2))
