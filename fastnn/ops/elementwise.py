"""What is done with every element, or every row, alone: activations, sums, maxout, softmax, PReLU."""

from ..core.activations import ACTIVATIONS
from .gradient import contribute, saved_of, through, through_activation, through_in_place, wanted_of


class Elementwise:
    """The methods of `fastnn.plan.Builder` that emit them."""

    def activation(self, x, name, alpha=0.0):
        """f(x); in a fused plan the dense operation that makes x does it, if nothing came between."""
        if name == "identity":
            return x
        last, storage = self.ops[-1], x.base or x
        fits = last.has("fuses_activation") and last.buffers.get("y") is storage and last.activation == "identity"
        fits = fits and id(storage) not in self._pinned and ("z" in last.spec.roles or ACTIVATIONS[name].saves != "z")
        if self.fused and fits:
            last.activation, last.alpha = name, alpha
            if ACTIVATIONS[name].saves == "z" and self.requires_grad(x):
                last.buffers["z"] = self.buffer(f"z{x.name[1:]}", x.shape)
            return x
        y = self.buffer(f"a{self._count('activation_forward')}", x.shape)
        self.emit("activation_forward", {"x": x, "y": y}, columns=x.columns, activation=name, alpha=alpha)
        return y

    def add(self, a, b):
        """a + b, two buffers of one shape."""
        if a.shape != b.shape:
            raise ValueError(f"add: expected two buffers of one shape, got {a.shape} and {b.shape}")
        y = self.buffer(f"sum{self._count('add')}", a.shape)
        self.emit("add", {"a": a, "b": b, "y": y}, columns=a.columns)
        return y

    def maxout(self, x, pieces):
        """The largest of `pieces` pieces of x, which stand side by side."""
        y = self.buffer("largest", (x.columns // pieces,))
        self.emit("maxout_forward", {"x": x, "y": y}, columns=y.columns, pieces=pieces)
        return y

    def softmax(self, x):
        """softmax over each row."""
        y = self.buffer("probabilities", x.shape)
        self.emit("softmax_forward", {"x": x, "y": y}, columns=x.columns)
        return y

    def log_softmax(self, x):
        """The logarithm of softmax over each row."""
        y = self.buffer("log_probabilities", x.shape)
        self.emit("log_softmax_forward", {"x": x, "y": y}, columns=x.columns)
        return y

    def prelu(self, x, slope):
        """x where it is above 0, else slope * x; slope: a Parameter, [1] or one for each column, or each channel of images."""
        if slope.shape not in ((1,), x.shape[-1:]):
            raise ValueError(f"{slope.name}: expected inputs of {slope.size} features, got shape {x.shape}")
        y, columns = self.buffer(f"a{self._count('prelu_forward')}", x.shape), slope.size if slope.size > 1 else x.columns
        sizes = {"columns": columns, "slopes": slope.size, "pixels": x.columns // columns}
        self.emit("prelu_forward", {"x": x, "slope": self.parameter(slope), "y": y}, **sizes)
        return y

    def parametric_activation(self, x, weight, name, alpha=0.0):
        """x + weight (f(x) - x), weight having a number for each column."""
        y = self.buffer(f"a{self._count('parametric_activation_forward')}", x.shape)
        fields = {"columns": x.columns, "activation": name, "alpha": alpha}
        self.emit("parametric_activation_forward", {"x": x, "w": self.parameter(weight), "y": y}, **fields)
        return y


# ---- gradients ----


def _activation(builder, op, dy):
    builder.add_gradient(op.buffers["x"], through_activation(builder, op, dy, saved_of(op)))


def _add(builder, op, dy):
    wanted = [op.buffers[role] for role in ("a", "b") if builder.requires_grad(op.buffers[role])]
    if len(wanted) > 1:
        builder.share(dy)
    for x in wanted:
        builder.add_gradient(x, dy)


def _prelu(builder, op, dy):
    x, slope, sizes = op.buffers["x"], op.buffers["slope"], op.parameters()
    learned = builder.requires_grad(slope)
    if learned:
        gradient, again = builder.parameter_gradient(slope)
        made = builder.emit("prelu_slope_gradient", {"dy": dy, "x": x, "dslope": gradient}, accumulate=again, **sizes)
        builder.gradient_producers(slope).append(made)
    if builder.requires_grad(x):
        # the slope's gradient reads dy, at a time of its own
        dx = builder.buffer(f"d{x.name}", x.shape, role="gradient") if learned else builder.changed(dy)
        builder.emit("prelu_backward", {"dy": dy, "x": x, "slope": slope, "dx": dx}, **sizes)
        builder.add_gradient(x, dx)


def _parametric_activation(builder, op, dy):
    x, w = op.buffers["x"], op.buffers["w"]
    wanted = wanted_of(builder, op, dw="w")
    if wanted:
        contribute(builder, "parametric_activation_gradient", {"dy": dy, "x": x}, wanted, **op.parameters())
    if builder.requires_grad(x):
        # the weight's gradient reads dy, at a time of its own
        dx = builder.buffer(f"d{x.name}", x.shape, role="gradient") if wanted else builder.changed(dy)
        builder.emit("parametric_activation_backward", {"dy": dy, "x": x, "w": w, "dx": dx}, **op.parameters())
        builder.add_gradient(x, dx)


RULES = {
    "activation_forward": _activation,
    "add": _add,
    "maxout_forward": through,
    "softmax_forward": through_in_place,
    "log_softmax_forward": through_in_place,
    "prelu_forward": _prelu,
    "parametric_activation_forward": _parametric_activation,
}
