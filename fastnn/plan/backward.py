"""The backward rule of each forward operation: from the gradient of what it wrote, emit those of what it read.

A rule asks the builder whether a gradient is wanted at all: frozen parameters get no dW, and nothing flows below the
lowest trainable one, so the first layer never needs its dX.
"""

from ..activations import ACTIVATIONS


def _saved(op):
    """What the activation of an operation needs for its derivative: the operation's output or the activation's input."""
    if ACTIVATIONS[op.activation].saves != "z":
        return op.buffers["y"]
    return op.buffers["x" if op.kind == "activation_forward" else "z"]


def _through_activation(builder, op, dy, saved):
    """The gradient before the activation. In a composite plan, the product that made dy multiplies by the derivative."""
    if op.activation == "identity":
        return dy
    producer = builder.producer(dy)
    fits = producer.kind == "dense_backward_input" and not producer.accumulate and producer.activation == "identity"
    if builder.composite and fits:
        producer.activation, producer.alpha = op.activation, op.alpha
        producer.buffers["saved"] = saved
        return dy
    builder.emit(
        "activation_backward",
        {"dy": dy, "saved": saved, "dx": dy},
        n_in=dy.columns,
        n_out=dy.columns,
        activation=op.activation,
        alpha=op.alpha,
    )
    return dy


def _dense(builder, op):
    dy = builder.gradient(op.buffers["y"])
    if dy is None:
        return
    x, w, b = op.buffers["x"], op.buffers["w"], op.buffers.get("b")
    dz = _through_activation(builder, op, dy, _saved(op))

    if builder.wants(x):
        dx = builder.gradient(x)
        accumulate = dx is not None
        if dx is None:
            dx = builder.buffer(f"d{x.name}", x.columns, role="gradient")
            builder.set_gradient(x, dx)
        builder.emit(
            "dense_backward_input",
            {"dy": dz, "w": w, "dx": dx},
            n_in=op.n_in,
            n_out=op.n_out,
            accumulate=accumulate,
        )

    wanted = {role: p for role, p in (("dw", w), ("db", b)) if p is not None and builder.wants(p)}
    gradients = {role: builder.parameter_gradient(p) for role, p in wanted.items()}
    together = builder.composite and len({again for _, again in gradients.values()}) == 1
    for roles in [list(gradients)] if together else [[role] for role in gradients]:
        weights = builder.emit(
            "dense_backward_weights",
            {"x": x, "dy": dz, **{role: gradients[role][0] for role in roles}},
            n_in=op.n_in,
            n_out=op.n_out,
            accumulate=gradients[roles[0]][1],
        )
        for role in roles:
            builder.parameter_gradients[id(builder.parameter_of(wanted[role]))][2].append(weights)


def _activation(builder, op):
    dy = builder.gradient(op.buffers["y"])
    if dy is not None:
        builder.set_gradient(op.buffers["x"], _through_activation(builder, op, dy, _saved(op)))


def _softmax(builder, op):
    dy, y = builder.gradient(op.buffers["y"]), op.buffers["y"]
    if dy is not None:
        kind = op.kind.replace("forward", "backward")
        builder.emit(kind, {"dy": dy, "y": y, "dx": dy}, n_in=y.columns, n_out=y.columns)
        builder.set_gradient(op.buffers["x"], dy)


def _prelu(builder, op):
    dy, x, slope = builder.gradient(op.buffers["y"]), op.buffers["x"], op.buffers["slope"]
    if dy is None:
        return
    sizes = {"n_in": op.n_in, "n_out": op.n_out}
    learned = builder.wants(slope)
    if learned:
        gradient, again = builder.parameter_gradient(slope)
        made = builder.emit("prelu_slope_gradient", {"dy": dy, "x": x, "dslope": gradient}, accumulate=again, **sizes)
        builder.parameter_gradients[id(builder.parameter_of(slope))][2].append(made)
    if builder.wants(x):
        # the slope's gradient reads dy, at a time of its own
        dx = builder.buffer(f"d{x.name}", x.columns, role="gradient") if learned else dy
        builder.emit("prelu_backward", {"dy": dy, "x": x, "slope": slope, "dx": dx}, **sizes)
        builder.set_gradient(x, dx)


RULES = {
    "dense_forward": _dense,
    "activation_forward": _activation,
    "softmax_forward": _softmax,
    "log_softmax_forward": _softmax,
    "prelu_forward": _prelu,
}
