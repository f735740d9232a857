"""Convolution and pooling: windows that go over images."""

import math

from .. import _native
from .gradient import contribute, input_gradient, saved_of, through, through_activation, wanted_of


class Windows:
    """The methods of `fastnn.plan.Builder` that emit them."""

    def conv2d(self, x, weight, bias, window):
        """Windows of images x weights [kernel height, kernel width, channels / groups, filters] + bias."""
        filters = weight.shape[-1]
        y = self.buffer(f"c{self._count('conv2d_forward')}", (window.out_height, window.out_width, filters))
        buffers = {"x": x, "w": self.parameter(weight), "b": self.optional(bias), "y": y}
        self.emit("conv2d_forward", buffers, filters=filters, **window._asdict())
        return y

    def conv_transpose2d(self, x, weight, bias, window):
        """What the convolution with these windows and weights gives for the gradient of its input, if x is that of its outputs, + bias."""
        y = self.buffer(f"u{self._count('conv2d_backward_input')}", (window.height, window.width, window.channels))
        buffers = {"dy": x, "w": self.parameter(weight), "dx": y}
        self.emit("conv2d_backward_input", buffers, filters=weight.shape[-1], accumulate=False, **window._asdict())
        return y if bias is None else self.affine(y, None, bias)

    def pool2d(self, kind, x, window, count_padding=False):
        """The largest element of each window ("maxpool2d"), or their mean ("avgpool2d"). Fused, the gradient of a maximum goes by the
        numbers of the largest elements in their windows, so that nobody need keep x for it."""
        y = self.buffer("pooled", (window.out_height, window.out_width, window.channels))
        buffers, more = {"x": x, "y": y}, {"count_padding": count_padding} if kind == "avgpool2d" else {}
        if kind == "maxpool2d" and self.fused and self.requires_grad(x) and window.kernel_height * window.kernel_width <= 256:
            buffers["winner"] = self.buffer("winner", y.shape, dtype="uint8", role="scratch")
        self.emit(f"{kind}_forward", buffers, **window._asdict(), **more)
        return y

    def stochastic_pool2d(self, x, window):
        """An element of each window that is drawn, anew every step; in inference what is drawn on average."""
        y = self.buffer("drawn", (window.out_height, window.out_width, window.channels))
        kind, more = ("forward", {"stream": self.stream()}) if self.training else ("inference", {})
        self.emit(f"stochastic_pool2d_{kind}", {"x": x, "y": y}, **window._asdict(), **more)
        return y


# ---- gradients ----


def _conv2d(builder, op, dy):
    dz, sizes = through_activation(builder, op, dy, saved_of(op)), {**op.window._asdict(), "filters": op.filters}
    if wanted := wanted_of(builder, op, dw="w", db="b"):
        _conv2d_weights(builder, {"x": op.buffers["x"], "dy": dz}, op.buffers["w"], sizes, wanted)
    input_gradient(builder, op, "conv2d_backward_input", dz, **sizes)


def _conv_transpose2d(builder, op, dy):
    """A transposed convolution is a convolution's gradient of its input: dx is that convolution of dy, and dw its gradient of the weights,
    with the images that it takes and gives in each other's place."""
    x = op.buffers["dy"]
    sizes = {**op.window._asdict(), "filters": op.filters}
    if wanted := wanted_of(builder, op, dw="w"):
        _conv2d_weights(builder, {"x": dy, "dy": x}, op.buffers["w"], sizes, wanted)
    if builder.requires_grad(x):
        dx = builder.buffer(f"d{x.name}", x.shape, role="gradient")
        builder.emit("conv2d_forward", {"x": dy, "w": op.buffers["w"], "y": dx}, **sizes)
        builder.add_gradient(x, dx)


def _conv2d_weights(builder, images, w, sizes, wanted):
    """Emit the gradients of a convolution's weights, in parts and then their sum."""
    made = builder.emit("conv2d_backward_weights", images, **sizes)
    chunks, size = -(-builder.batch // _native.conv2d_chunk(*made.native())), math.prod(w.shape) + sizes["filters"]
    partial = made.buffers["partial"] = builder.buffer("partial", (chunks, size), role="scratch", whole=True)
    contribute(builder, "conv2d_combine_weights", {"partial": partial}, wanted, builder.fused, **sizes)


def _maxpool2d(builder, op, dy):
    """By the numbers of the largest elements in their windows, where these were kept, else by x."""
    through(builder, op, dy, without=("x",) if "winner" in op.buffers else ())


RULES = {
    "conv2d_forward": _conv2d,
    "conv2d_backward_input": _conv_transpose2d,
    "maxpool2d_forward": _maxpool2d,
    "avgpool2d_forward": through,
    "stochastic_pool2d_forward": through,
    "stochastic_pool2d_inference": through,
}
