"""Layers for images (height, width, channels): convolution and pooling; and convolution of sequences (length, channels)."""

import math
from typing import Any

import numpy as np

from .. import init as initialisers
from ..core.activations import ROWWISE
from ..core.checks import check_size, flag
from ..core.dtypes import get_default_dtype
from ..core.parameter import Parameter
from ..core.window import Window, pair, paddings
from ..regularizers import check_penalty
from .activation import activation_config, add_slope, emit_activation, given_activation
from .dense import with_settings
from .layer import Layer, register


class _Windows(Layer):
    """What convolutions and poolings share: windows that go over an image."""

    takes_images = True
    groups = 1
    ceil_mode = False

    def check_images(self, shape):
        """ValueError where samples of this shape are no images."""
        if len(shape) != 3:
            hint = "nn.Reshape(height, width, channels)" if len(shape) == 1 else "nn.Input(height, width, channels)"
            raise ValueError(f"{self!r}: expected images (height, width, channels), got samples of shape {shape}; put {hint} before it")

    def check_elements(self, shape, out):
        """The shape that comes out; ValueError where that, or the one that comes in, is too large."""
        if max(math.prod(shape), math.prod(out)) >= 2**31:
            raise ValueError(f"{self!r}: expected images of fewer than 2**31 elements, got shape {shape}, of which {out} comes")
        return out

    def window(self, shape):
        """Its windows over images of this shape; ValueError where there are none."""
        self.check_images(shape)
        try:
            return Window.over(shape, self.kernel_size, self.stride, self.padding, self.dilation, self.groups, self.ceil_mode)
        except ValueError as error:
            raise ValueError(f"{self!r}: {error}") from None

    def _geometry(self):
        def short(sides):
            return sides[0] if sides[0] == sides[1] else list(sides)

        padding = self.padding if isinstance(self.padding, str) else list(self.padding)
        padding = padding[0] if len(set(padding)) == 1 else padding
        return {"kernel_size": short(self.kernel_size), "stride": short(self.stride), "padding": padding}


class Convolution(_Windows):
    """Filters over windows; what is of one dimension has a height of 1."""

    kernel_shape = property(lambda self: self.kernel_size)  # of the weights

    def __init__(self, in_channels, out_channels, kernel_size, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups=1, bias=True,
                 activation=None, init=None, penalty=None) -> None:
        self.in_channels = None if in_channels is None else check_size(in_channels, "in_channels")
        self.out_channels = check_size(out_channels, "out_channels")
        self.kernel_size, self.stride = pair(kernel_size, "kernel_size"), pair(stride, "stride")
        self.padding, self.dilation = paddings(padding), pair(dilation, "dilation")
        self.groups = check_size(groups, "groups")
        self._check_channels(self.in_channels)
        self.activation, self.alpha = given_activation(activation)
        if self.activation in ROWWISE:
            raise ValueError(f"activation: expected one that is elementwise, got {self.activation!r}")
        self.penalty = check_penalty(penalty)
        self._init = init  # until there are weights
        initialisers.resolve(init, self.activation, self.alpha)
        self.weight: Any = None
        if self.in_channels is not None:
            self._make_weight(self.in_channels)
        self.bias = Parameter(np.zeros(self.out_channels), "bias") if bias else None
        add_slope(self)

    def _check_channels(self, in_channels):
        for name, n in (("in_channels", in_channels), ("out_channels", self.out_channels)):
            if n is not None and n % self.groups:
                raise ValueError(f"groups: expected a divisor of {name}, {n}, got {self.groups}")
        if (in_channels or 1) * self.out_channels * self.kernel_size[0] * self.kernel_size[1] >= 2**31:
            raise ValueError(f"in_channels, out_channels, kernel_size: expected fewer than 2**31 weights, got {in_channels} x "
                             f"{self.out_channels} x {self.kernel_size[0]} x {self.kernel_size[1]}")

    def _make_weight(self, in_channels):
        shape = (*self.kernel_shape, in_channels // self.groups, self.out_channels)
        weights = initialisers.resolve(self._init, self.activation, self.alpha)(shape, get_default_dtype())
        vars(self).update(in_channels=in_channels, weight=Parameter(weights, "weight"), _init=None)

    def settle(self, shape):
        if self.weight is None:
            self._make_weight(shape[-1])

    def config(self):
        dilation = self.dilation[0] if self.dilation[0] == self.dilation[1] else list(self.dilation)
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            **self._geometry(),
            "dilation": dilation,
            "groups": self.groups,
            **activation_config(self),
            "bias": self.bias is not None,
            **({} if self.penalty is None else {"penalty": self.penalty.config()}),
        }

    @classmethod
    def tensor_shapes(cls, entry):
        sizes = [entry.get(name) for name in ("in_channels", "out_channels")] + [entry.get("groups", 1)]
        if not all(type(n) is int and n > 0 for n in sizes):
            return {"weight": None}
        kernel = pair(entry.get("kernel_size"), "kernel_size")
        return {"weight": (*kernel, sizes[0] // sizes[2], sizes[1])}

    @classmethod
    def from_entry(cls, arguments, inside, known):
        return cls(**with_settings(arguments))

    def scaled_output(self, s, t):
        """With a normalisation of its outputs within; behind an activation there is none."""
        if self.activation != "identity":
            return None
        settings = {name: value for name, value in self.config().items() if name not in ("activation", "penalty")}
        new = type(self)(**{**settings, "bias": True}, init="zeros").to_dtype(self.weight.dtype)
        new.weight.data = self.weight.data.astype(np.float64) * self.scale_of_weight(s)
        new.bias.data = (0.0 if self.bias is None else self.bias.data.astype(np.float64)) * s + t
        return new

    def scale_of_weight(self, s):
        """Of factors of the outputs those of the weights."""
        return s

    def convolve(self, builder, x):
        """Emit all but the activation."""
        return builder.conv2d(x, self.weight, self.bias, self.window(x.shape))

    def emit(self, builder, x):
        return emit_activation(builder, self.convolve(builder, x), self.activation, self.alpha, getattr(self, "slope", None))

    def check_channels(self, shape):
        """Its windows over images of this shape; ValueError where there are none, or the channels are others."""
        window = self.window(shape)
        if self.in_channels not in (None, shape[-1]):
            raise ValueError(f"{self!r}: expected {self.in_channels} channels, got shape {shape}; in_channels=None takes what comes")
        self._check_channels(shape[-1])
        return window

    def output_shape(self, shape):
        window = self.check_channels(shape)
        return self.check_elements(shape, (window.out_height, window.out_width, self.out_channels))


@register
class Conv2d(Convolution):
    """Convolution of images: each output is a filter's product with a window of the input.

        y[i, j, f] = f(b[f] + the sum over ky, kx, c of x[i s + ky d - pad, j s + kx d - pad, c] w[ky, kx, c, f])

    A cross-correlation, as deep learning has it. Images are (height, width, channels), and with n pixels, k taps, stride s and
    dilation d along one side floor((n + pads - d (k - 1) - 1) / s) + 1 come out.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of its input and its filters. in_channels may be None behind layers that tell: behind `Input`, for one.
    kernel_size : int or pair of ints
        Taps along height and width.
    stride, dilation : int or pair of ints, default 1
        Pixels from one window to the next, and from one tap to the next.
    padding : int, pair, (top, left, bottom, right), "same" or "valid", default 0
        Zeros around the image. same: so many that ceil(n / stride) pixels come out, the larger half of them at the end, as Keras and
        ONNX have it. valid: none.
    groups : int, default 1
        Channels and filters are cut into so many groups that see each other only: in_channels makes it depthwise.
    bias : bool, default True
        Whether there is a b.
    activation : str or Activation, optional
        As in Dense.
    init : str, fastnn.init initialiser or float, optional
        As in Dense; of the fans every tap counts.
    penalty : fastnn.regularizers penalty, optional
        On the weights, not the bias.

    Attributes
    ----------
    weight : Parameter [kernel height, kernel width, in_channels / groups, out_channels]
        PyTorch's [out, in, height, width] is ``weight.data.transpose(3, 2, 0, 1)``.
    bias : Parameter [out_channels] or None
    slope : Parameter [1]
        Only with prelu, from 0.25.

    Raises
    ------
    ValueError, TypeError
        If a size is out of range, groups do not divide the channels and filters, or a name is unknown.

    Examples
    --------
    >>> model = nn.Sequential(
    ...     nn.Input(28, 28, 1), nn.Conv2d(None, 8, 3, activation="relu"), nn.MaxPool2d(2), nn.Flatten(), nn.Dense(None, 10),
    ... )
    >>> [p.shape for p in model.parameters()]
    [(3, 3, 1, 8), (8,), (1352, 10), (10,)]
    >>> model.predict(np.zeros((2, 28, 28), np.uint8)).shape
    (2, 10)
    """


@register
class Conv1d(Convolution):
    """Convolution of sequences: each output is a filter's product with a window of the input.

        y[i, f] = f(b[f] + the sum over k, c of x[i s + k d - pad, c] w[k, c, f])

    Sequences are (length, channels). It is `Conv2d` over images of one row.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of its input and its filters. in_channels may be None behind layers that tell: behind `Input`, for one.
    kernel_size : int
        Taps.
    stride, dilation : int, default 1
        Steps from one window to the next, and from one tap to the next.
    padding : int, (left, right), "same" or "valid", default 0
        Zeros around the sequence, as in `Conv2d`.
    groups, bias, activation, init, penalty
        As in `Conv2d`.

    Attributes
    ----------
    weight : Parameter [kernel_size, in_channels / groups, out_channels]
        PyTorch's [out, in, kernel] is ``weight.data.transpose(2, 1, 0)``.
    bias : Parameter [out_channels] or None
    slope : Parameter [1]
        Only with prelu, from 0.25.

    Raises
    ------
    ValueError, TypeError
        As `Conv2d`.

    Examples
    --------
    >>> model = nn.Sequential(nn.Input(100, 3), nn.Conv1d(None, 8, 5, stride=2, activation="relu"), nn.Flatten(), nn.Dense(None, 1))
    >>> [p.shape for p in model.parameters()]
    [(5, 3, 8), (8,), (384, 1), (1,)]
    """

    takes_images = False
    needs_shape = True
    kernel_shape = property(lambda self: self.kernel_size[1:])

    def __init__(self, in_channels, out_channels, kernel_size, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups=1, bias=True,
                 activation=None, init=None, penalty=None) -> None:
        sizes = {"kernel_size": kernel_size, "stride": stride, "dilation": dilation}
        kernel_size, stride, dilation = ((1, check_size(value, name)) for name, value in sizes.items())
        if not isinstance(padding, str):
            padding = (padding, padding) if not isinstance(padding, (tuple, list)) else padding
            if len(padding) != 2:
                raise ValueError(f"padding: expected an integer, (left, right), 'same' or 'valid', got {padding!r}")
            padding = (0, padding[0], 0, padding[1])
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, activation, init, penalty)

    def _geometry(self):
        padding = self.padding if isinstance(self.padding, str) else list(self.padding[1::2])
        padding = padding[0] if len(set(padding)) == 1 else padding
        return {"kernel_size": self.kernel_size[1], "stride": self.stride[1], "padding": padding}

    def config(self):
        return {**super().config(), "dilation": self.dilation[1]}

    @classmethod
    def tensor_shapes(cls, entry):
        shape = super().tensor_shapes({**entry, "kernel_size": (1, entry.get("kernel_size"))})["weight"]
        return {"weight": shape and shape[1:]}

    def window(self, shape):
        """Also over images of one row."""
        shape = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
        if len(shape) != 2:
            raise ValueError(f"{self!r}: expected sequences (length, channels), got samples of shape {shape}; put "
                             f"{'nn.Reshape' if len(shape) == 1 else 'nn.Input'}(length, channels) before it")
        return super().window((1, *shape))

    def emit(self, builder, x):
        return builder.reshape(super().emit(builder, builder.reshape(x, (1, *x.shape))), self.output_shape(x.shape))

    def output_shape(self, shape):
        return super().output_shape(shape)[1:]


class _Pool(_Windows):
    dilation = (1, 1)

    def window(self, shape):
        """Its windows over images of this shape; ValueError where there are none, or one that has nothing of the image in it."""
        window = super().window(shape)
        try:
            window.check_pooling()
        except ValueError as error:
            raise ValueError(f"{self!r}: {error}") from None
        return window

    def __init__(self, kernel_size, stride=None, padding: Any = 0, ceil_mode=False) -> None:
        self.kernel_size = pair(kernel_size, "kernel_size")
        self.stride = self.kernel_size if stride is None else pair(stride, "stride")
        self.padding, self.ceil_mode = paddings(padding), flag(ceil_mode, "ceil_mode")
        if self.padding != "same" and any(p >= k for p, k in zip(self.padding, self.kernel_size * 2)):
            raise ValueError(f"padding: expected less than the kernel, {self.kernel_size}, got {padding}")

    def config(self):
        return {**self._geometry(), **({"ceil_mode": True} if self.ceil_mode else {})}

    def output_shape(self, shape):
        window = self.window(shape)
        return self.check_elements(shape, (window.out_height, window.out_width, shape[-1]))


@register
class MaxPool2d(_Pool):
    """The largest element of each window of an image, channel by channel.

    What lies beyond the image is left out. The gradient goes to the first of the largest; NaN is the largest of all.

    Parameters
    ----------
    kernel_size : int or pair of ints
    stride : int or pair of ints, optional
        By default the kernel's size: windows that touch.
    padding : int, pair, (top, left, bottom, right), "same" or "valid", default 0
        Less than the kernel, so that every window has a pixel.
    ceil_mode : bool, default False
        Round the number of windows up: the last ones reach beyond the image.
    dilation : int or pair of ints, default 1
        Pixels from one tap of a window to the next.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range.

    Examples
    --------
    >>> model = nn.Sequential(nn.Input(4, 4, 1), nn.MaxPool2d(2), nn.Flatten())
    >>> model.predict(np.arange(16).reshape(1, 4, 4))
    array([[ 5.,  7., 13., 15.]], dtype=float32)
    """

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, dilation=1) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.dilation = pair(dilation, "dilation")

    def config(self):
        d = self.dilation
        return {**super().config(), **({} if d == (1, 1) else {"dilation": d[0] if d[0] == d[1] else list(d)})}

    def emit(self, builder, x):
        return builder.pool2d("maxpool2d", x, self.window(x.shape))


@register
class AvgPool2d(_Pool):
    """The mean of each window of an image, channel by channel.

    Parameters
    ----------
    kernel_size, stride, padding, ceil_mode
        As in `MaxPool2d`.
    count_include_pad : bool, default True
        Whether the zeros of the padding count, as in PyTorch; in Keras and ONNX they do not.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range.

    Examples
    --------
    >>> model = nn.Sequential(nn.Input(4, 4, 1), nn.AvgPool2d(2), nn.Flatten())
    >>> model.predict(np.arange(16).reshape(1, 4, 4))
    array([[ 2.5,  4.5, 10.5, 12.5]], dtype=float32)
    """

    def __init__(self, kernel_size, stride=None, padding: Any = 0, ceil_mode=False, count_include_pad=True) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = flag(count_include_pad, "count_include_pad")

    def config(self):
        return {**super().config(), **({} if self.count_include_pad else {"count_include_pad": False})}

    def emit(self, builder, x):
        return builder.pool2d("avgpool2d", x, self.window(x.shape), self.count_include_pad)


@register
class StochasticPool2d(_Pool):
    """In training an element of each window of an image, drawn in proportion to its size; in inference what is drawn on average.

    With a = max(x, 0) an element is drawn with probability a / Σa, channel by channel, anew every step; inference gives Σa² / Σa. 0 where
    no element is positive. The gradient goes to the element that was drawn. M. D. Zeiler and R. Fergus, "Stochastic pooling for
    regularization of deep convolutional neural networks", 2013: it stands behind a ReLU there.

    Parameters
    ----------
    kernel_size, stride, padding, ceil_mode
        As in `MaxPool2d`.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range.

    Examples
    --------
    >>> model = nn.Sequential(nn.Input(2, 2, 1), nn.StochasticPool2d(2), nn.Flatten())
    >>> model.predict([[[1, 0], [-1, 3]]])
    array([[2.5]], dtype=float32)
    """

    def emit(self, builder, x):
        return builder.stochastic_pool2d(x, self.window(x.shape))


class _GlobalPool(Layer):
    takes_images = True
    kind = None

    def _window(self, shape):
        if len(shape) != 3:
            raise ValueError(f"{self!r}: expected images (height, width, channels), got samples of shape {shape}")
        return Window.over(shape, shape[:2])

    def emit(self, builder, x):
        return builder.reshape(builder.pool2d(self.kind, x, self._window(x.shape)), x.shape[-1:])

    def output_shape(self, shape):
        self._window(shape)
        return shape[-1:]


@register
class GlobalAvgPool2d(_GlobalPool):
    """The mean of each channel over the whole image: features, ready for a Dense layer.

    Examples
    --------
    >>> nn.Sequential(nn.Input(2, 2, 1), nn.GlobalAvgPool2d()).predict(np.arange(4).reshape(1, 2, 2))
    array([[1.5]], dtype=float32)
    """

    kind = "avgpool2d"


@register
class GlobalMaxPool2d(_GlobalPool):
    """The largest element of each channel over the whole image: features, ready for a Dense layer.

    Examples
    --------
    >>> nn.Sequential(nn.Input(2, 2, 1), nn.GlobalMaxPool2d()).predict(np.arange(4).reshape(1, 2, 2))
    array([[3.]], dtype=float32)
    """

    kind = "maxpool2d"
