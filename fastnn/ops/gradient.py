"""What the gradient rules share. A rule is a function in the file of its family, named in RULES there: from a forward operation and
the gradient of what it wrote, dy, it emits those of what it read.

A rule asks the builder whether a gradient is wanted at all: frozen parameters get no dW, and nothing flows below the
lowest trainable one, so the first layer never needs its dX.

A plan is a graph: what several operations read gets the sum of their gradients. A gradient that stands for several
buffers at once (both sides of a sum) is shared, and nothing changes it in place. A parameter that several layers use gets
one gradient to which each of them adds.
"""

from ..core.activations import ACTIVATIONS
from .op import KINDS


def saved_of(op):
    """What the activation of an operation needs for its derivative: the operation's output or the activation's input."""
    if ACTIVATIONS[op.activation].saves != "z":
        return op.buffers["y"]
    return op.buffers["z" if "z" in op.spec.roles else "x"]


def through_activation(builder, op, dy, saved):
    """The gradient before the activation. In a fused plan, the product that made dy multiplies by the derivative, or the max-pooling does,
    for which ReLU's outputs are the largest of them: it has a gradient for no others."""
    if op.activation == "identity":
        return dy
    producer = builder.producer(dy)
    if producer.kind == "maxpool2d_backward" and "winner" in producer.buffers and op.activation == "relu" and not builder.is_shared(dy):
        producer.buffers["saved"] = builder.producer(producer.buffers["winner"]).buffers["y"]
        return dy
    fits = producer.has("fuses_derivative") and not producer.accumulate and producer.activation == "identity"
    if builder.fused and fits and not builder.is_shared(dy):
        producer.activation, producer.alpha = op.activation, op.alpha
        producer.buffers["saved"] = saved
        return dy
    dx = builder.changed(dy)
    builder.emit(
        "activation_backward",
        {"dy": dy, "saved": saved, "dx": dx},
        columns=dy.columns,
        activation=op.activation,
        alpha=op.alpha,
    )
    return dx


def through(builder, op, dy, in_place=False, without=()):
    """The whole rule of an operation from x to y without parameters: its backward operation, which has the same numbers and reads what it
    names of the same buffers, but for those `without`. in_place: dx may take the place of dy."""
    x = op.buffers["x"]
    if builder.requires_grad(x):
        kind = op.kind.replace("forward", "backward") if "forward" in op.kind else f"{op.kind}_backward"
        dx = builder.changed(dy) if in_place else builder.buffer(f"d{x.name}", x.shape, role="gradient")
        buffers = {role: b for role, b in _given(kind, op, dy).items() if role not in without}
        builder.emit(kind, {**buffers, "dx": dx}, **op.parameters())
        builder.add_gradient(x, dx)


def through_in_place(builder, op, dy):
    through(builder, op, dy, in_place=True)


def learned(kind, **roles):
    """The rule of an operation from x to y with parameters that are learned: as `through`, and `kind` makes their gradients. roles: {role of
    a gradient: role of its parameter}."""

    def rule(builder, op, dy):
        if wanted := wanted_of(builder, op, **roles):
            contribute(builder, kind, _given(kind, op, dy), wanted, **op.parameters())
        through(builder, op, dy, in_place=not wanted)  # `kind` reads dy, at a time of its own

    return rule


def _given(kind, op, dy):
    """What an operation's gradient `kind` reads: dy, and of the operation's own buffers those of its roles."""
    return {**{role: b for role, b in op.buffers.items() if role in KINDS[kind].reads}, "dy": dy}


def input_gradient(builder, op, kind, dz, **sizes):
    """dX of a product, added to what other readers of x have given."""
    x = op.buffers["x"]
    if not builder.requires_grad(x):
        return
    held = builder.gradient(x)
    accumulate = held is not None and not builder.is_shared(held)
    dx = held if accumulate else builder.buffer(f"d{x.name}", x.shape, role="gradient")
    builder.emit(kind, {"dy": dz, "w": op.buffers["w"], "dx": dx}, accumulate=accumulate, **sizes)
    if not accumulate:
        builder.add_gradient(x, dx)


def contribute(builder, kind, buffers, wanted, together=True, **fields):
    """Emit `kind` for the parameters of `wanted`, {role of the gradient: parameter's buffer}: with all of them at once if
    that is allowed and all are in the same state, else with one after the other."""
    gradients = {role: builder.parameter_gradient(p) for role, p in wanted.items()}
    together = together and len({again for _, again in gradients.values()}) == 1
    for roles in [list(gradients)] if together else [[role] for role in gradients]:
        op = builder.emit(
            kind, {**buffers, **{role: gradients[role][0] for role in roles}}, accumulate=gradients[roles[0]][1], **fields
        )
        for role in roles:
            builder.gradient_producers(wanted[role]).append(op)


def wanted_of(builder, op, **roles):
    """Of {role of a gradient: role of its parameter}, the parameters whose gradients are wanted."""
    found = {role: op.buffers.get(of) for role, of in roles.items()}
    return {role: p for role, p in found.items() if p is not None and builder.requires_grad(p)}


def add_penalty(builder, w, l1, l2):
    """Add a penalty's gradient to that of `w`, which is complete. In a fused plan the product that makes it, if it is
    the last to do so, adds the penalty to its tiles."""
    gradient, _ = builder.parameter_gradient(w)
    last = builder.gradient_producers(w)[-1]
    if builder.fused and last.has("fuses_update") and last.buffers.get("dw") is gradient:
        last.buffers["w"], last.l1, last.l2 = w, l1, l2
        return
    penalty = builder.emit("penalty_backward", {"w": w, "dw": gradient}, size=w.array.size, l1=l1, l2=l2)
    builder.gradient_producers(w).append(penalty)
