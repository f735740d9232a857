"""ConvTranspose2d: what goes from the outputs of a convolution to its inputs, learned by itself."""

import numpy as np

from .. import init as initialisers
from ..core.dtypes import get_default_dtype
from ..core.parameter import Parameter
from ..core.window import Window, pair
from .convolution import Convolution
from .layer import register


@register
class ConvTranspose2d(Convolution):
    """Transposed convolution of images: each pixel of the input puts the filters, times what it is, into a window of the output.

        y[i s + ky d - pad, j s + kx d - pad, f] += x[i, j, c] w[ky, kx, f, c],    from y = b on; then the activation

    It is the gradient of a `Conv2d` with respect to its input: it takes the shape that comes out of the convolution and gives the one that
    went in, so that with a stride images grow (decoders, generators). Of n pixels, with k taps, stride s and dilation d along one side,
    (n - 1) s - pads + d (k - 1) + 1 + output_padding come out. V. Dumoulin and F. Visin, "A guide to convolution arithmetic", 2016.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of its input and of its output. in_channels may be None behind layers that tell: behind `Input`, for one.
    kernel_size : int or pair of ints
        Taps along height and width.
    stride, dilation : int or pair of ints, default 1
        Pixels of the output from one window to the next, and from one tap to the next.
    padding : int, pair, (top, left, bottom, right), "same" or "valid", default 0
        Pixels that are taken off around the output. same: so many that n · stride come out, as Keras has it. valid: none.
    output_padding : int or pair of ints, default 0
        Pixels that are added at the bottom and at the right: a convolution with a stride gives several sizes the same one. Below the
        larger of stride and dilation.
    groups : int, default 1
        Channels that come in and out are cut into so many groups that see each other only.
    bias, activation, init, penalty
        As in `Conv2d`.

    Attributes
    ----------
    weight : Parameter [kernel height, kernel width, out_channels / groups, in_channels]
        As the convolution would have it whose gradient this is. PyTorch's [in, out, height, width] is
        ``weight.data.transpose(3, 2, 0, 1)``.
    bias : Parameter [out_channels] or None
    slope : Parameter [1]
        Only with prelu, from 0.25.

    Raises
    ------
    ValueError, TypeError
        As `Conv2d`.

    Examples
    --------
    >>> model = nn.Sequential(
    ...     nn.Input(28, 28, 1), nn.Conv2d(None, 8, 3, stride=2, padding=1, activation="relu"),
    ...     nn.ConvTranspose2d(None, 1, 3, stride=2, padding=1, output_padding=1),
    ... )
    >>> model.out_shape, model[2].weight.shape
    ((28, 28, 1), (3, 3, 1, 8))
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, dilation=1, groups=1, bias=True,
                 activation=None, init=None, penalty=None) -> None:  # fmt: skip
        self.output_padding = pair(output_padding, "output_padding", 0)
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, activation, init, penalty)
        if any(p and (p >= max(s, d) or self.padding == "same") for p, s, d in zip(self.output_padding, self.stride, self.dilation)):
            limit = "0 with padding 'same'" if self.padding == "same" else "fewer than the larger of stride and dilation"
            raise ValueError(f"output_padding: expected {limit}, got {output_padding}")

    def _make_weight(self, in_channels):
        """Drawn with the fans that it has, as [height, width, in_channels / groups, out_channels]."""
        kernel, depth, wide = self.kernel_size, in_channels // self.groups, self.out_channels // self.groups
        drawn = initialisers.resolve(self._init, self.activation, self.alpha)((*kernel, depth, self.out_channels), get_default_dtype())
        weights = drawn.reshape(*kernel, depth, self.groups, wide).transpose(0, 1, 4, 3, 2).reshape(*kernel, wide, in_channels)
        vars(self).update(in_channels=in_channels, weight=Parameter(np.ascontiguousarray(weights), "weight"), _init=None)

    def window(self, shape):
        """The windows of the convolution whose gradient it is, over the images that come out: one for each pixel that comes in."""
        self.check_images(shape)
        sizes, pads = [], []
        for i in range(2):
            n, k, s, d = shape[i], self.kernel_size[i], self.stride[i], self.dilation[i]
            reach = d * (k - 1) + 1
            if self.padding == "same":
                total = max(reach - s, 0)
                before, after, size = total // 2, total - total // 2, n * s
            else:
                before, after = self.padding[i], self.padding[i + 2]
                size = (n - 1) * s + reach - before - after + self.output_padding[i]
            if size < 1:
                raise ValueError(f"{self!r}: expected images of which more than the padding comes out, got shape {shape}")
            sizes.append(size)
            pads.append((before, after))
        (top, bottom), (left, right) = pads
        how = (*self.kernel_size, *self.stride, *self.dilation, top, left, bottom, right, self.groups)
        return Window(*sizes, self.out_channels, *shape[:2], *how)

    def config(self):
        more = self.output_padding[0] if self.output_padding[0] == self.output_padding[1] else list(self.output_padding)
        return {**super().config(), "output_padding": more}

    @classmethod
    def tensor_shapes(cls, entry):
        return super().tensor_shapes({**entry, "in_channels": entry.get("out_channels"), "out_channels": entry.get("in_channels")})

    def scale_of_weight(self, s):
        """Of factors of the outputs those of the weights."""
        depth = self.in_channels // self.groups
        return s.reshape(self.groups, -1).repeat(depth, axis=0).T

    def convolve(self, builder, x):
        return builder.conv_transpose2d(x, self.weight, self.bias, self.window(x.shape))

    def output_shape(self, shape):
        window = self.check_channels(shape)
        return self.check_elements(shape, (window.height, window.width, self.out_channels))
