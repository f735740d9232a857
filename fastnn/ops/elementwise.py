"""What is done with every element, or every row, alone: activations, sums, maxout, softmax, PReLU."""

from ..core.activations import ACTIVATIONS
from .gradient import learned, saved_of, through, through_activation, through_in_place


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


RULES = {
    "activation_forward": _activation,
    "add": _add,
    "maxout_forward": through,
    "softmax_forward": through_in_place,
    "log_softmax_forward": through_in_place,
    "prelu_forward": learned("prelu_slope_gradient", dslope="slope"),
    "parametric_activation_forward": learned("parametric_activation_gradient", dw="w"),
}
