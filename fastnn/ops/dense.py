"""Dense products, of tied weights too."""

from .gradient import contribute, input_gradient, saved_of, through_activation, wanted_of
from .op import Buffer


class Products:
    """The methods of `fastnn.plan.Builder` that emit them."""

    def dense(self, x, weight, bias, activation="identity", alpha=0.0):
        """f(x w + b). `weight`: a Parameter, or what `drop_weights` makes of one."""
        n_in, n_out = weight.shape
        if x.shape != (n_in,):
            raise ValueError(f"{weight.name}: expected inputs of {n_in} features, got shape {x.shape}")
        w = weight if isinstance(weight, Buffer) else self.parameter(weight)
        buffers = {"x": x, "w": w, "b": self.optional(bias)}
        y = self.buffer(f"y{self._count('dense_forward')}", (n_out,))
        self.emit("dense_forward", {**buffers, "y": y}, n_in=n_in, n_out=n_out)
        return self.activation(y, activation, alpha)

    def fixed_dense(self, x, weight, bias, activation="identity"):
        """f(x w + b) for arrays that nobody changes."""
        n_in, n_out = weight.shape
        w, b = self.constant("fixed.w", weight), self.constant("fixed.b", bias)
        y = self.buffer(f"y{self._count('dense_forward')}", (n_out,))
        self.emit("dense_forward", {"x": x, "w": w, "b": b, "y": y}, n_in=n_in, n_out=n_out)
        return self.activation(y, activation)

    def tied(self, x, weight, bias, activation="identity", alpha=0.0):
        """f(x w^T + b), w being another layer's weights [out, in]."""
        n_out, n_in = weight.shape
        if x.shape != (n_in,):
            raise ValueError(f"{weight.name}, transposed: expected inputs of {n_in} features, got shape {x.shape}")
        buffers = {"x": x, "w": self.parameter(weight), "b": self.optional(bias)}
        y = self.buffer(f"t{self._count('tied_forward')}", (n_out,))
        self.emit("tied_forward", {**buffers, "y": y}, n_in=n_in, n_out=n_out)
        return self.activation(y, activation, alpha)


# ---- gradients ----


def _dense(builder, op, dy):
    dz = through_activation(builder, op, dy, saved_of(op))
    sizes = {"n_in": op.n_in, "n_out": op.n_out}
    input_gradient(builder, op, "dense_backward_input", dz, **sizes)

    wanted = wanted_of(builder, op, dw="w", db="b")
    buffers = {"x": op.buffers["x"], "dy": dz}
    w = wanted.get("dw")
    if w is not None and w.array is None:  # weights that were made from a parameter: their gradient goes on from here
        dw = builder.buffer(f"d{w.name}", w.shape, role="gradient", whole=True)
        builder.emit("dense_backward_weights", {**buffers, "dw": dw}, accumulate=False, **sizes)
        builder.add_gradient(w, dw)
        del wanted["dw"]
    if wanted:
        contribute(builder, "dense_backward_weights", buffers, wanted, builder.fused, **sizes)


def _tied(builder, op, dy):
    dz, x = through_activation(builder, op, dy, op.buffers["y"]), op.buffers["x"]
    input_gradient(builder, op, "tied_backward_input", dz, n_in=op.n_in, n_out=op.n_out)
    # dW [out, in] = dz^T x: that of a dense layer, with x and dz in each other's place
    if wanted := wanted_of(builder, op, dw="w"):
        contribute(builder, "dense_backward_weights", {"x": dz, "dy": x}, wanted, n_in=op.n_out, n_out=op.n_in)
    if wanted := wanted_of(builder, op, db="b"):
        contribute(builder, "dense_backward_weights", {"x": x, "dy": dz}, wanted, n_in=op.n_in, n_out=op.n_out)


RULES = {
    "dense_forward": _dense,
    "tied_forward": _tied,
}
