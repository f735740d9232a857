"""Rows of tables, taken by codes, and periodic embeddings of numbers."""

from .gradient import contribute, wanted_of


class Embeddings:
    """The methods of `fastnn.plan.Builder` that emit them."""

    def embedding(self, x, parts, shape, unknown=False):
        """Samples of this shape. `parts` say, from the first column of x on, what becomes of how many of them: (table, n) are rows of a
        table, a Parameter, for n columns of codes, (None, n) are n numbers as they are. unknown: the last row of each table is for
        codes that are no other row's."""
        if self.requires_grad(x):
            raise ValueError("embedding: expected codes of the model's input, got what a layer computes")
        y, first, last = self.buffer("embedded", shape), 0, 0
        for table, columns in parts:
            count, dim = (0, 1) if table is None else table.shape
            buffers = {"x": x, "w": self.optional(table), "y": y}
            sizes = {"columns": columns, "dim": dim, "count": count, "unknown": unknown}
            self.emit("embedding_forward", buffers, **sizes, first_in=first, first_out=last)
            first, last = first + columns, last + columns * dim
        return y

    def pbld(self, x, frequency, phase, weight, bias):
        """The columns of x, and behind them Σ_f weight cos(2π frequency x + phase) + bias of those for which there are weights: frequency
        and phase [embedded, frequencies], weight [embedded, dim, frequencies], bias [embedded, dim]."""
        embedded, dim, frequencies = weight.shape
        y = self.buffer("embedded", (x.columns + embedded * dim,))
        weights = {"w": frequency, "b": phase, "v": weight, "c": bias}
        buffers = {"x": x, **{role: self.parameter(p) for role, p in weights.items()}, "y": y}
        self.emit("pbld_forward", buffers, columns=x.columns, embedded=embedded, frequencies=frequencies, dim=dim)
        return y


# ---- gradients ----


def _embedding(builder, op, dy):
    if wanted := wanted_of(builder, op, dw="w"):
        contribute(builder, "embedding_backward", {"x": op.buffers["x"], "dy": dy}, wanted, lazy=False, **op.parameters())


def _pbld(builder, op, dy):
    x, sizes = op.buffers["x"], op.parameters()
    given = {"dy": dy, **{role: op.buffers[role] for role in ("x", "w", "b")}}
    if builder.requires_grad(x):
        dx = builder.buffer(f"d{x.name}", x.shape, role="gradient")
        builder.emit("pbld_backward_input", {**given, "v": op.buffers["v"], "dx": dx}, **sizes)
        builder.add_gradient(x, dx)
    if wanted := wanted_of(builder, op, dw="w", db="b"):
        contribute(builder, "pbld_backward_frequencies", {**given, "v": op.buffers["v"]}, wanted, **sizes)
    if wanted := wanted_of(builder, op, dv="v", dc="c"):
        contribute(builder, "pbld_backward_weights", given, wanted, **sizes)


RULES = {
    "embedding_forward": _embedding,
    "pbld_forward": _pbld,
}
