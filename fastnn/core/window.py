"""Windows over images: the geometry of convolutions and poolings, and the sizes that say it."""

import math
from typing import NamedTuple

import numpy as np

from .checks import check_size

__all__ = ["Window", "pair", "paddings"]


def pair(value, name, least=1):
    """(along the height, along the width) of one number or two."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2:
        raise ValueError(f"{name}: expected a number, or two for height and width, got {value!r}")
    return tuple(check_size(v, name, least) for v in values)


def paddings(value):
    """(top, left, bottom, right), or "same"."""
    if isinstance(value, str):
        if value not in ("same", "valid"):
            raise ValueError(f"padding: expected numbers, 'same' or 'valid', got {value!r}")
        return value if value == "same" else (0, 0, 0, 0)
    if isinstance(value, (tuple, list)) and len(value) == 4:
        return (*pair(value[:2], "padding", 0), *pair(value[2:], "padding", 0))
    both = pair(value, "padding", 0)
    return (*both, *both)


class Window(NamedTuple):
    """The windows that a kernel sees on its way over an image: parameters of an operation."""

    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    kernel_height: int
    kernel_width: int
    stride_y: int
    stride_x: int
    dilation_y: int
    dilation_x: int
    pad_top: int
    pad_left: int
    pad_bottom: int
    pad_right: int
    groups: int

    @classmethod
    def over(cls, shape, kernel, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1, ceil=False):
        """The windows over an image of shape (height, width, channels).

        With n pixels, pads, k taps, dilation d and stride s along one side there are floor((n + pads - d (k - 1) - 1) / s) + 1 of them;
        with `ceil` it is rounded up, but a window that would begin beyond the image and its first padding is left out. padding: (top, left,
        bottom, right), or "same": as many as ceil(n / s), whatever padding that takes, the larger part of it at the end; or "valid".
        """
        height, width, channels = shape
        sides, pads = [], []
        for i, (n, k, s, d) in enumerate(zip((height, width), kernel, stride, dilation)):
            reach = d * (k - 1) + 1
            if padding == "same":
                total = max((-(-n // s) - 1) * s + reach - n, 0)
                before, after = total // 2, total - total // 2
            else:
                before, after = (0, 0) if padding == "valid" else (padding[i], padding[i + 2])
            room = n + before + after - reach
            if room < 0:
                raise ValueError(f"expected images of at least {reach - before - after} pixels along each side for a kernel of {k} "
                                 f"taps{f' at dilation {d}' * (d > 1)}, got shape {tuple(shape)}; a smaller kernel or more padding fits")
            out = (math.ceil(room / s) if ceil else room // s) + 1
            if ceil and (out - 1) * s >= n + before:
                out -= 1
            sides.append(out)
            pads.append((before, after))
        (top, bottom), (left, right) = pads
        return cls(height, width, channels, *sides, *kernel, *stride, *dilation, top, left, bottom, right, groups)

    def check_pooling(self):
        """ValueError where a window has nothing of the image in it: taps that are far apart may all be beside it."""
        if self.dilation_y == self.dilation_x == 1:
            return  # padding of less than the kernel leaves something
        w = self
        for n, out, k, s, d, before in (
            (w.height, w.out_height, w.kernel_height, w.stride_y, w.dilation_y, w.pad_top),
            (w.width, w.out_width, w.kernel_width, w.stride_x, w.dilation_x, w.pad_left),
        ):
            at = np.arange(out)[:, None] * s + np.arange(k) * d - before
            if not ((at >= 0) & (at < n)).any(axis=1).all():
                raise ValueError(f"expected images of which every window has a pixel, got shape {(w.height, w.width, w.channels)} for a "
                                 f"kernel of {k} taps at dilation {d} and padding {before}")
