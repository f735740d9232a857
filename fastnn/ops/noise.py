"""Random changes: dropout, of weights too, and noise."""

from .. import _native


class Noise:
    """The methods of `fastnn.plan.Builder` that emit them."""

    def stream(self):
        """The number of a random stream that no other operation of the plan draws from."""
        self._streams += 1
        return _native.STREAM_LAYERS + self._streams - 1

    def _share(self, p):
        """The parameters of an operation for a share p, a number or a schedule."""
        if not callable(p):
            return {"p": p, "schedule": -1}
        self._schedules.append(p)
        return {"p": 0.0, "schedule": len(self._schedules) - 1}

    def dropout(self, x, p, rows=False, channels=False):
        """x without a share p of its elements, of its rows, or of its images' channels, drawn anew every step; the others grow by as much. p
        may be a schedule."""
        y, columns = self.buffer("kept", x.shape), x.shape[-1] if channels else x.columns
        sizes = {"columns": columns, "pixels": x.columns // columns}
        self.emit("dropout", {"x": x, "y": y}, **sizes, **self._share(p), whole_rows=rows, stream=self.stream())
        return y

    def drop_weights(self, weight, p):
        """A copy of a weight matrix with some of its elements dropped, drawn anew every step: a buffer for `dense`."""
        y = self.buffer(f"kept {weight.name}", weight.shape, whole=True)
        rows, columns = weight.shape
        self.emit("drop_weights", {"x": self.parameter(weight), "y": y}, rows=rows, columns=columns, **self._share(p), stream=self.stream())
        return y

    def gaussian_noise(self, x, std):
        """x + std times standard normal numbers, drawn anew every step."""
        y = self.buffer("noisy", x.shape)
        self.emit("gaussian_noise", {"x": x, "y": y}, columns=x.columns, std=std, stream=self.stream())
        return y


# ---- gradients ----


def _dropout(builder, op, dy):
    if builder.requires_grad(op.buffers["x"]):
        dx = builder.changed(dy)
        builder.emit("dropout", {"x": dy, "y": dx}, **op.parameters())
        builder.add_gradient(op.buffers["x"], dx)


def _drop_weights(builder, op, dw):
    x = op.buffers["x"]
    if not builder.requires_grad(x):
        return
    total, again = builder.parameter_gradient(x)
    if again:
        raise ValueError(f"{x.name}: expected weights that no layer behind their DropConnect uses")
    op = builder.emit("drop_weight_gradients", {"x": dw, "y": total}, **op.parameters())
    builder.gradient_producers(x).append(op)


def _gaussian_noise(builder, op, dy):
    if builder.requires_grad(op.buffers["x"]):
        builder.add_gradient(op.buffers["x"], dy)


RULES = {
    "dropout": _dropout,
    "drop_weights": _drop_weights,
    "gaussian_noise": _gaussian_noise,
}
