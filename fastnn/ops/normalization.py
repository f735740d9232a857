"""Normalisations, and factors and shifts, which are one by given statistics."""

import math

import numpy as np

from .gradient import contribute, saved_of, through_activation, through_in_place, wanted_of


class Normalizations:
    """The methods of `fastnn.plan.Builder` that emit them."""

    def rescale(self, x, scale, shift):
        """x * scale + shift for numbers, done while the rows are gathered: `x` must be the input, which nothing has read yet. Or for
        arrays, one of each for a column, by an operation of its own; it may follow one of its kind."""
        storage = x.base or x
        first = len(self.ops) == 1 and storage.role == "input"
        if not first and id(storage) not in self._rescaled:
            raise ValueError("rescaling: expected to be the first layer, got one behind others")
        if np.ndim(scale) or np.ndim(shift) or not first:
            return self._rescale_columns(x, scale, shift)
        given = self.inputs["x"]
        self.inputs["x"] = given._replace(scale=given.scale * scale, shift=given.shift * scale + shift)
        return x

    def _rescale_columns(self, x, scale, shift):
        """(x - mean) scale, as a normalisation whose statistics are given: where mean = -shift / scale is large, nothing is lost. Of
        images the numbers are those of the channels."""
        scale, shift = (np.broadcast_to(np.asarray(a, np.float64), x.shape).ravel() for a in (scale, shift))
        with np.errstate(all="ignore"):
            mean = (-shift / scale).astype(self.dtype)
        given = np.isfinite(mean)
        constants = {"w": scale, "mean": np.where(given, mean, 0), "var": np.ones(x.columns)}
        if not given.all():
            constants["b"] = np.where(given, 0, shift)
        y = self.buffer("rescaled", x.shape)
        self._rescaled.add(id(y))
        buffers = {role: self.constant(f"rescaling.{role}", a) for role, a in constants.items()}
        self.emit("batchnorm_inference", {"x": x, **buffers, "y": y}, columns=x.columns, pixels=1, eps=0.0)
        return y

    def keeps_statistics(self, weight, bias, mean):
        """Whether a batch normalisation uses and keeps its running statistics in training too: one that has parameters none of which
        will change, or one without parameters that is frozen."""
        own = [p for p in (weight, bias) if p is not None]
        if own and self.changing is not None:
            return not any(id(p) in self.changing for p in own)
        return all(p.frozen for p in own or [mean])

    def batchnorm(self, x, weight, bias, mean, var, momentum, eps, count=None):
        """Each column with mean 0 and variance 1: over the batch in training, by the running statistics in inference. count: of the
        steps, where the running statistics are means over all of them."""
        channels, pixels = x.shape[-1], math.prod(x.shape[:-1])
        fields = {"columns": channels, "pixels": pixels, "eps": eps}
        buffers = {"x": x, "w": self.optional(weight), "b": self.optional(bias)}
        y = self.buffer("normal", x.shape)
        if not self.training or self.keeps_statistics(weight, bias, mean):
            buffers |= {"y": y, "mean": self.parameter(mean), "var": self.parameter(var)}
            self.emit("batchnorm_inference", buffers, **fields)
            return y
        statistics = self.buffer("statistics", (4, channels), role="scratch", whole=True)
        self.emit("batchnorm_forward", {**buffers, "y": y, "statistics": statistics}, **fields)
        count = self.constant("steps", np.zeros(1)) if self.anew else self.optional(count)
        self._running.append((statistics, self.parameter(mean), self.parameter(var), count, momentum or 0.0, pixels))
        return y

    def scale(self, x, weight):
        """Each column times a number of its own."""
        return self.affine(x, weight, None)

    def affine(self, x, weight, bias):
        """x w + b, with numbers for each column, or for each channel of images; one of both may be None. A normalisation by mean 0 and
        variance 1."""
        columns = next(p.size for p in (weight, bias) if p is not None)
        mean, var = (self.constant(name, np.full(columns, value, np.float32)) for name, value in (("zero", 0), ("one", 1)))
        y = self.buffer("scaled", x.shape)
        buffers = {"x": x, "w": self.optional(weight), "b": self.optional(bias), "y": y, "mean": mean, "var": var}
        self.emit("batchnorm_inference", buffers, columns=columns, pixels=x.columns // columns, eps=0.0)
        return y

    def rownorm(self, kind, x, weight, bias, eps):
        """Each row with mean 0 and variance 1 ("layernorm"), or mean square 1 ("rmsnorm")."""
        y = self.buffer("normal", x.shape)
        buffers = {
            "x": x,
            "w": self.optional(weight),
            "b": self.optional(bias),
            "y": y,
            "statistics": self.buffer("statistics", (3,), role="scratch"),
        }
        self.emit(f"{kind}_forward", buffers, columns=x.columns, eps=eps)
        return y

    def groupnorm(self, x, groups, weight, bias, eps):
        """Each of so many groups of an image's channels with mean 0 and variance 1 over its pixels, then x w + b for each channel."""
        y = self.buffer("normal", x.shape)
        buffers = {"x": x, "y": y, "statistics": self.buffer("statistics", (3 * groups,), role="scratch")}
        self.emit("groupnorm_forward", buffers, columns=x.shape[-1], pixels=math.prod(x.shape[:-1]), groups=groups, eps=eps)
        return y if weight is None and bias is None else self.affine(y, weight, bias)


# ---- gradients ----


def _batchnorm(builder, op, dy):
    dz, x = through_activation(builder, op, dy, saved_of(op)), op.buffers["x"]
    dx = builder.changed(dz) if builder.requires_grad(x) else None
    buffers = {"dy": dz, "x": x, "w": op.buffers.get("w"), "statistics": op.buffers["statistics"], "dx": dx}
    if wanted := wanted_of(builder, op, dw="w", db="b"):
        contribute(builder, "batchnorm_backward", buffers, wanted, columns=op.columns, pixels=op.pixels)
    else:
        builder.emit("batchnorm_backward", buffers, columns=op.columns, pixels=op.pixels, accumulate=False)
    if dx is not None:
        builder.add_gradient(x, dx)


def _batchnorm_inference(builder, op, dy):
    """Of one that is frozen: dx = dy weight / √(var + eps), the normalisation of dy about 0. Of factors and shifts, which have mean 0 and
    variance 1: dw = Σ dy x and db = Σ dy over the rows too."""
    dz = through_activation(builder, op, dy, saved_of(op))
    if wanted := wanted_of(builder, op, dw="w", db="b"):
        statistics = builder.constant("statistics", np.repeat(np.float32([[0], [0], [1], [1]]), op.columns, axis=1))
        buffers = {"dy": dz, "x": op.buffers["x"], "w": op.buffers.get("w"), "statistics": statistics}
        contribute(builder, "batchnorm_backward", buffers, wanted, columns=op.columns, pixels=op.pixels)
    if not builder.requires_grad(op.buffers["x"]):
        return
    if wanted and op.buffers.get("w") is None:  # shifts alone
        builder.add_gradient(op.buffers["x"], dz)
        return
    dx = builder.changed(dz)
    zero = builder.constant("zero", np.zeros(op.columns))
    buffers = {"x": dz, "w": op.buffers.get("w"), "y": dx, "mean": zero, "var": op.buffers["var"]}
    builder.emit("batchnorm_inference", buffers, columns=op.columns, pixels=op.pixels, eps=op.eps)
    builder.add_gradient(op.buffers["x"], dx)


def _rownorm(builder, op, dy):
    family = op.kind.removesuffix("_forward")
    dz, x = through_activation(builder, op, dy, saved_of(op)), op.buffers["x"]
    statistics, sizes = op.buffers["statistics"], {"columns": op.columns}
    wanted = wanted_of(builder, op, dw="w", db="b")
    if builder.requires_grad(x):
        # the gradients of the weights, later, read dz as well
        dx = builder.buffer(f"d{x.name}", x.shape, role="gradient") if wanted else builder.changed(dz)
        buffers = {"dy": dz, "x": x, "w": op.buffers.get("w"), "statistics": statistics, "dx": dx}
        builder.emit(f"{family}_backward_input", buffers, **sizes)
        builder.add_gradient(x, dx)
    if wanted:
        contribute(builder, f"{family}_backward_weights", {"dy": dz, "x": x, "statistics": statistics}, wanted, **sizes)


RULES = {
    "batchnorm_forward": _batchnorm,
    "batchnorm_inference": _batchnorm_inference,
    "layernorm_forward": _rownorm,
    "rmsnorm_forward": _rownorm,
    "groupnorm_forward": through_in_place,
}
