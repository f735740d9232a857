"""The backward rule of each forward operation: from the gradient of what it wrote, emit those of what it read.

A rule asks the builder whether a gradient is wanted at all: frozen parameters get no dW, and nothing flows below the
lowest trainable one, so the first layer never needs its dX.
"""


def _through_activation(builder, op, dy, y):
    """The gradient before the activation. In a composite plan, the product that made dy multiplies by the derivative."""
    if op.activation == "identity":
        return dy
    producer = builder.producer(dy)
    fits = producer.kind == "dense_backward_input" and not producer.accumulate and producer.activation == "identity"
    if builder.composite and fits:
        producer.activation, producer.alpha = op.activation, op.alpha
        producer.buffers["saved"] = y
        return dy
    builder.emit(
        "activation_backward",
        {"dy": dy, "saved": y, "dx": dy},
        n_in=y.columns,
        n_out=y.columns,
        activation=op.activation,
        alpha=op.alpha,
    )
    return dy


def _dense(builder, op):
    dy = builder.gradient(op.buffers["y"])
    if dy is None:
        return
    x, w, b = op.buffers["x"], op.buffers["w"], op.buffers.get("b")
    dz = _through_activation(builder, op, dy, op.buffers["y"])

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
        builder.set_gradient(op.buffers["x"], _through_activation(builder, op, dy, op.buffers["y"]))


def add_penalty(builder, w, l1, l2):
    """Add a penalty's gradient to that of `w`, which is complete. In a composite plan the product that makes it, if it is
    the last to do so, adds the penalty to its tiles."""
    gradient, _ = builder.parameter_gradient(w)
    last = builder.gradient_producers(w)[-1]
    if builder.composite and last.kind == "dense_backward_weights" and last.buffers.get("dw") is gradient:
        last.buffers["w"], last.l1, last.l2 = w, l1, l2
        return
    penalty = builder.emit("penalty_backward", {"w": w, "dw": gradient}, n_out=w.array.size, accumulate=True, l1=l1, l2=l2)
    builder.gradient_producers(w).append(penalty)


RULES = {"dense_forward": _dense, "activation_forward": _activation}
