"""The backward rule of each forward operation: from the gradient of what it wrote, emit those of what it read.

A rule asks the builder whether a gradient is wanted at all: frozen parameters get no dW, and nothing flows below the
lowest trainable one, so the first layer never needs its dX.

A plan is a graph: what several operations read gets the sum of their gradients. A gradient that stands for several
buffers at once (both sides of a sum) is shared, and nothing changes it in place. A parameter that several layers use gets
one gradient to which each of them adds.
"""

import math

import numpy as np

from .. import _native
from ..core.activations import ACTIVATIONS


def _saved(op):
    """What the activation of an operation needs for its derivative: the operation's output or the activation's input."""
    if ACTIVATIONS[op.activation].saves != "z":
        return op.buffers["y"]
    return op.buffers["z" if "z" in op.spec.roles else "x"]


def _through_activation(builder, op, dy, saved):
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


def _input(builder, op, kind, dz, **sizes):
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


def _contribute(builder, kind, buffers, wanted, together=True, **fields):
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


def _wanted(builder, op, **roles):
    """Of {role of a gradient: role of its parameter}, the parameters whose gradients are wanted."""
    found = {role: op.buffers.get(of) for role, of in roles.items()}
    return {role: p for role, p in found.items() if p is not None and builder.requires_grad(p)}


def _dense(builder, op):
    dy = builder.gradient(op.buffers["y"])
    if dy is None:
        return
    dz = _through_activation(builder, op, dy, _saved(op))
    sizes = {"n_in": op.n_in, "n_out": op.n_out}
    _input(builder, op, "dense_backward_input", dz, **sizes)

    wanted = _wanted(builder, op, dw="w", db="b")
    buffers = {"x": op.buffers["x"], "dy": dz}
    w = wanted.get("dw")
    if w is not None and w.array is None:  # weights that were made from a parameter: their gradient goes on from here
        dw = builder.buffer(f"d{w.name}", w.shape, role="gradient", whole=True)
        builder.emit("dense_backward_weights", {**buffers, "dw": dw}, accumulate=False, **sizes)
        builder.add_gradient(w, dw)
        del wanted["dw"]
    if wanted:
        _contribute(builder, "dense_backward_weights", buffers, wanted, builder.fused, **sizes)


def _conv2d(builder, op):
    dy = builder.gradient(op.buffers["y"])
    if dy is None:
        return
    dz, sizes = _through_activation(builder, op, dy, _saved(op)), {**op.window._asdict(), "filters": op.filters}
    if wanted := _wanted(builder, op, dw="w", db="b"):
        _conv2d_weights(builder, {"x": op.buffers["x"], "dy": dz}, op.buffers["w"], sizes, wanted)
    _input(builder, op, "conv2d_backward_input", dz, **sizes)


def _conv_transpose2d(builder, op):
    """A transposed convolution is a convolution's gradient of its input: dx is that convolution of dy, and dw its gradient of the weights,
    with the images that it takes and gives in each other's place."""
    x, dy = op.buffers["dy"], builder.gradient(op.buffers["dx"])
    if dy is None:
        return
    sizes = {**op.window._asdict(), "filters": op.filters}
    if wanted := _wanted(builder, op, dw="w"):
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
    _contribute(builder, "conv2d_combine_weights", {"partial": partial}, wanted, builder.fused, **sizes)


def _pool2d(builder, op):
    dy, x = builder.gradient(op.buffers["y"]), op.buffers["x"]
    if dy is None or not builder.requires_grad(x):
        return
    dx, winner = builder.buffer(f"d{x.name}", x.shape, role="gradient"), op.buffers.get("winner")
    buffers = {"dy": dy, "x": x if op.kind == "maxpool2d_forward" and winner is None else None, "winner": winner, "dx": dx}
    builder.emit(op.kind.replace("forward", "backward"), buffers, **op.parameters())
    builder.add_gradient(x, dx)


def _stochastic_pool2d(builder, op):
    dy, x = builder.gradient(op.buffers["y"]), op.buffers["x"]
    if dy is not None and builder.requires_grad(x):
        dx = builder.buffer(f"d{x.name}", x.shape, role="gradient")
        kind = op.kind.replace("forward", "backward").replace("inference", "inference_backward")
        builder.emit(kind, {"dy": dy, "x": x, "dx": dx}, **op.parameters())
        builder.add_gradient(x, dx)


def _tied(builder, op):
    dy = builder.gradient(op.buffers["y"])
    if dy is None:
        return
    dz, x = _through_activation(builder, op, dy, op.buffers["y"]), op.buffers["x"]
    _input(builder, op, "tied_backward_input", dz, n_in=op.n_in, n_out=op.n_out)
    # dW [out, in] = dz^T x: that of a dense layer, with x and dz in each other's place
    if wanted := _wanted(builder, op, dw="w"):
        _contribute(builder, "dense_backward_weights", {"x": dz, "dy": x}, wanted, n_in=op.n_out, n_out=op.n_in)
    if wanted := _wanted(builder, op, db="b"):
        _contribute(builder, "dense_backward_weights", {"x": x, "dy": dz}, wanted, n_in=op.n_in, n_out=op.n_out)


def _activation(builder, op):
    dy = builder.gradient(op.buffers["y"])
    if dy is not None:
        builder.add_gradient(op.buffers["x"], _through_activation(builder, op, dy, _saved(op)))


def _add(builder, op):
    dy = builder.gradient(op.buffers["y"])
    if dy is None:
        return
    wanted = [op.buffers[role] for role in ("a", "b") if builder.requires_grad(op.buffers[role])]
    if len(wanted) > 1:
        builder.share(dy)
    for x in wanted:
        builder.add_gradient(x, dy)


def _batchnorm(builder, op):
    dy = builder.gradient(op.buffers["y"])
    if dy is None:
        return
    dz, x = _through_activation(builder, op, dy, _saved(op)), op.buffers["x"]
    dx = builder.changed(dz) if builder.requires_grad(x) else None
    buffers = {"dy": dz, "x": x, "w": op.buffers.get("w"), "statistics": op.buffers["statistics"], "dx": dx}
    if wanted := _wanted(builder, op, dw="w", db="b"):
        _contribute(builder, "batchnorm_backward", buffers, wanted, columns=op.columns, pixels=op.pixels)
    else:
        builder.emit("batchnorm_backward", buffers, columns=op.columns, pixels=op.pixels, accumulate=False)
    if dx is not None:
        builder.add_gradient(x, dx)


def _batchnorm_inference(builder, op):
    """Of one that is frozen: dx = dy weight / √(var + eps), the normalisation of dy about 0. Of factors and shifts, which have mean 0 and
    variance 1: dw = Σ dy x and db = Σ dy over the rows too."""
    dy = builder.gradient(op.buffers["y"])
    if dy is None:
        return
    dz = _through_activation(builder, op, dy, _saved(op))
    if wanted := _wanted(builder, op, dw="w", db="b"):
        statistics = builder.constant("statistics", np.repeat(np.float32([[0], [0], [1], [1]]), op.columns, axis=1))
        buffers = {"dy": dz, "x": op.buffers["x"], "w": op.buffers.get("w"), "statistics": statistics}
        _contribute(builder, "batchnorm_backward", buffers, wanted, columns=op.columns, pixels=op.pixels)
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


def _rownorm(builder, op):
    dy = builder.gradient(op.buffers["y"])
    if dy is None:
        return
    family = op.kind.removesuffix("_forward")
    dz, x = _through_activation(builder, op, dy, _saved(op)), op.buffers["x"]
    statistics, sizes = op.buffers["statistics"], {"columns": op.columns}
    wanted = _wanted(builder, op, dw="w", db="b")
    if builder.requires_grad(x):
        # the gradients of the weights, later, read dz as well
        dx = builder.buffer(f"d{x.name}", x.shape, role="gradient") if wanted else builder.changed(dz)
        buffers = {"dy": dz, "x": x, "w": op.buffers.get("w"), "statistics": statistics, "dx": dx}
        builder.emit(f"{family}_backward_input", buffers, **sizes)
        builder.add_gradient(x, dx)
    if wanted:
        _contribute(builder, f"{family}_backward_weights", {"dy": dz, "x": x, "statistics": statistics}, wanted, **sizes)


def _groupnorm(builder, op):
    dy, x = builder.gradient(op.buffers["y"]), op.buffers["x"]
    if dy is not None and builder.requires_grad(x):
        dx = builder.changed(dy)
        buffers = {"dy": dy, "x": x, "statistics": op.buffers["statistics"], "dx": dx}
        builder.emit("groupnorm_backward", buffers, **op.parameters())
        builder.add_gradient(x, dx)


def _dropout(builder, op):
    dy = builder.gradient(op.buffers["y"])
    if dy is not None and builder.requires_grad(op.buffers["x"]):
        dx = builder.changed(dy)
        builder.emit("dropout", {"x": dy, "y": dx}, **op.parameters())
        builder.add_gradient(op.buffers["x"], dx)


def _drop_weights(builder, op):
    dw, x = builder.gradient(op.buffers["y"]), op.buffers["x"]
    if dw is None or not builder.requires_grad(x):
        return
    total, again = builder.parameter_gradient(x)
    if again:
        raise ValueError(f"{x.name}: expected weights that no layer behind their DropConnect uses")
    op = builder.emit("drop_weight_gradients", {"x": dw, "y": total}, **op.parameters())
    builder.gradient_producers(x).append(op)


def _gaussian_noise(builder, op):
    dy = builder.gradient(op.buffers["y"])
    if dy is not None and builder.requires_grad(op.buffers["x"]):
        builder.add_gradient(op.buffers["x"], dy)


def _maxout(builder, op):
    dy, x = builder.gradient(op.buffers["y"]), op.buffers["x"]
    if dy is not None and builder.requires_grad(x):
        dx = builder.buffer(f"d{x.name}", x.shape, role="gradient")
        builder.emit("maxout_backward", {"dy": dy, "x": x, "dx": dx}, **op.parameters())
        builder.add_gradient(x, dx)


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


def _softmax(builder, op):
    dy, y = builder.gradient(op.buffers["y"]), op.buffers["y"]
    if dy is not None:
        kind = op.kind.replace("forward", "backward")
        dx = builder.changed(dy)
        builder.emit(kind, {"dy": dy, "y": y, "dx": dx}, columns=op.columns)
        builder.add_gradient(op.buffers["x"], dx)


def _prelu(builder, op):
    dy, x, slope = builder.gradient(op.buffers["y"]), op.buffers["x"], op.buffers["slope"]
    if dy is None:
        return
    sizes = op.parameters()
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


def _parametric_activation(builder, op):
    dy, x, w = builder.gradient(op.buffers["y"]), op.buffers["x"], op.buffers["w"]
    if dy is None:
        return
    wanted = _wanted(builder, op, dw="w")
    if wanted:
        _contribute(builder, "parametric_activation_gradient", {"dy": dy, "x": x}, wanted, **op.parameters())
    if builder.requires_grad(x):
        # the weight's gradient reads dy, at a time of its own
        dx = builder.buffer(f"d{x.name}", x.shape, role="gradient") if wanted else builder.changed(dy)
        builder.emit("parametric_activation_backward", {"dy": dy, "x": x, "w": w, "dx": dx}, **op.parameters())
        builder.add_gradient(x, dx)


def _pbld(builder, op):
    dy, x, sizes = builder.gradient(op.buffers["y"]), op.buffers["x"], op.parameters()
    if dy is None:
        return
    given = {"dy": dy, **{role: op.buffers[role] for role in ("x", "w", "b")}}
    if builder.requires_grad(x):
        dx = builder.buffer(f"d{x.name}", x.shape, role="gradient")
        builder.emit("pbld_backward_input", {**given, "v": op.buffers["v"], "dx": dx}, **sizes)
        builder.add_gradient(x, dx)
    if wanted := _wanted(builder, op, dw="w", db="b"):
        _contribute(builder, "pbld_backward_frequencies", {**given, "v": op.buffers["v"]}, wanted, **sizes)
    if wanted := _wanted(builder, op, dv="v", dc="c"):
        _contribute(builder, "pbld_backward_weights", given, wanted, **sizes)


def _embedding(builder, op):
    dy = builder.gradient(op.buffers["y"])
    if dy is not None and (wanted := _wanted(builder, op, dw="w")):
        _contribute(builder, "embedding_backward", {"x": op.buffers["x"], "dy": dy}, wanted, **op.parameters())


RULES = {
    "dense_forward": _dense,
    "conv2d_forward": _conv2d,
    "conv2d_backward_input": _conv_transpose2d,
    "maxpool2d_forward": _pool2d,
    "avgpool2d_forward": _pool2d,
    "stochastic_pool2d_forward": _stochastic_pool2d,
    "stochastic_pool2d_inference": _stochastic_pool2d,
    "tied_forward": _tied,
    "activation_forward": _activation,
    "add": _add,
    "batchnorm_forward": _batchnorm,
    "batchnorm_inference": _batchnorm_inference,
    "layernorm_forward": _rownorm,
    "rmsnorm_forward": _rownorm,
    "groupnorm_forward": _groupnorm,
    "dropout": _dropout,
    "drop_weights": _drop_weights,
    "gaussian_noise": _gaussian_noise,
    "parametric_activation_forward": _parametric_activation,
    "pbld_forward": _pbld,
    "embedding_forward": _embedding,
    "maxout_forward": _maxout,
    "softmax_forward": _softmax,
    "log_softmax_forward": _softmax,
    "prelu_forward": _prelu,
}
