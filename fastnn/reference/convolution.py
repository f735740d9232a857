"""Convolution and pooling of images [rows, height, width, channels], by definition.

A `window` says how a kernel goes over an image: height, width and channels of the image, out_height and out_width, kernel_height and
kernel_width, stride_y, stride_x, dilation_y, dilation_x, the padding pad_top, pad_left, pad_bottom, pad_right, and groups.
"""

import numpy as np

__all__ = [
    "avgpool2d_backward",
    "avgpool2d_forward",
    "conv2d_backward",
    "conv2d_forward",
    "maxpool2d_backward",
    "maxpool2d_forward",
]


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


def conv2d_forward(x, w, b, window):
    """y[r, i, j, f] = b[f] + the sum over ky, kx, c of x[r, i s + ky d - pad, j s + kx d - pad, c] w[ky, kx, c, f].

    A cross-correlation, as deep learning has it: the kernel is not turned. Channels and filters of one group see each other only.

    Examples
    --------
    >>> from fastnn.ops import Window
    >>> x, w = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((2, 2, 1, 1))
    >>> conv2d_forward(x, w, None, Window.over((3, 3, 1), (2, 2)))[0, :, :, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """
    padded = _padded(x, window, 0)
    y = np.zeros((len(x), window.out_height, window.out_width, w.shape[-1]), x.dtype)
    if b is not None:
        y += b
    for ky, kx in _taps(window):
        seen = _tap(padded, window, ky, kx)
        for channels, filters in _groups(window, w.shape[-1]):
            y[..., filters] += seen[..., channels] @ w[ky, kx][:, filters]
    return y


def conv2d_backward(dy, x, w, window):
    """(dx, dw, db): the gradients of the inputs, of the weights, and of the biases."""
    padded = _padded(x, window, 0)
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    for ky, kx in _taps(window):
        seen, gradient = _tap(padded, window, ky, kx), _tap(dpadded, window, ky, kx)
        for channels, filters in _groups(window, w.shape[-1]):
            dw[ky, kx][:, filters] = np.einsum("rijc,rijf->cf", seen[..., channels], dy[..., filters])
            gradient[..., channels] += dy[..., filters] @ w[ky, kx][:, filters].T
    return _inside(dpadded, window), dw, dy.sum(axis=(0, 1, 2))


def maxpool2d_forward(x, window):
    """The largest element of each window, NaN where one is; the padding does not count."""
    padded = _padded(x, window, -np.inf)
    return np.max([_tap(padded, window, ky, kx) for ky, kx in _taps(window)], axis=0)


def maxpool2d_backward(dy, x, window):
    """dx: the gradient of each maximum goes to the first element that it may have come from."""
    padded, taps = _padded(x, window, -np.inf), _taps(window)
    dpadded = np.zeros_like(padded)
    inside = _padded(np.ones_like(x), window, 0)
    seen = np.array([_tap(padded, window, ky, kx) for ky, kx in taps])
    counts = np.array([_tap(inside, window, ky, kx) for ky, kx in taps]) > 0
    first = np.where(counts, seen, -np.inf)
    of = np.argmax((first == np.max(first, axis=0)) & counts | np.isnan(first), axis=0)
    for i, (ky, kx) in enumerate(taps):
        gradient = _tap(dpadded, window, ky, kx)
        gradient += np.where(of == i, dy, 0)
    return _inside(dpadded, window)


def _counts(window, count_padding, dtype):
    """How many elements the mean of each window is over, [1, out_height, out_width, 1]."""
    w = window
    counted = np.zeros((1, w.height, w.width, w.channels), dtype)
    padded = _padded(counted, window, 0)
    top, left, bottom, right = (w.pad_top, w.pad_left, w.pad_bottom, w.pad_right) if count_padding else (0, 0, 0, 0)
    padded[:, w.pad_top - top : w.pad_top + w.height + bottom, w.pad_left - left : w.pad_left + w.width + right] = 1
    return sum(_tap(padded, window, ky, kx) for ky, kx in _taps(window))[..., :1]


def avgpool2d_forward(x, window, count_padding=True):
    """The mean of each window; the padding is zeros, and counts or does not. What lies beyond it never does."""
    padded = _padded(x, window, 0)
    return sum(_tap(padded, window, ky, kx) for ky, kx in _taps(window)) / _counts(window, count_padding, x.dtype)


def avgpool2d_backward(dy, window, count_padding=True):
    """dx: each element of a window gets its part of the mean's gradient."""
    dpadded = _padded(np.zeros((len(dy), window.height, window.width, window.channels), dy.dtype), window, 0)
    part = dy / _counts(window, count_padding, dy.dtype)
    for ky, kx in _taps(window):
        gradient = _tap(dpadded, window, ky, kx)
        gradient += part
    return _inside(dpadded, window)
