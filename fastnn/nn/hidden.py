"""The hidden outputs of a model, layer by layer: what `Sequential.activations` gives, and which buffers of a plan hold them."""

import operator
from typing import NamedTuple

import numpy as np

from ..executors import NativeExecutor
from ..plan import Builder
from .layer import Layer


class Hidden(NamedTuple):
    """A layer that computes something: its path, itself, the buffer of its output, and the operation of its activation, if it has one.
    `leaf`: there are no other such layers inside it."""

    path: str
    layer: object
    y: object
    activation: object
    leaf: bool


def hidden(model, builder):
    """The Hidden of a model's layers, in order, of what a builder with `keep`, not fused, has emitted for it."""
    paths, found = {id(layer): path for path, layer in model.walk()}, []
    for i, (layer, first, end, y) in enumerate(builder.layers):
        if not any(op.kind != "gather" for op in builder.ops[first:end]):
            continue  # it passes on what it gets
        leaf = not any(_holds(layer, inner) for inner, *_ in builder.layers[i + 1 :])
        activation = next((op for op in reversed(builder.ops[first:end]) if leaf and op.has("is_activation")), None)
        found.append(Hidden(paths[id(layer)], layer, y, activation, leaf))
    return found


def _holds(layer, inner):
    return any(inner is one for path, one in layer.walk() if path)


def activations(model, X, layers, before):
    """All of `Sequential.activations`, whose docstring says what the arguments are."""
    X = model.rows(X, empty=True)
    rows = max(1, min(256, len(X)))
    builder = Builder(rows, fused=False, keep=True, dtype=model.dtype)
    builder.mark_output(model.emit_whole(builder))
    found = {h.path: h.activation.buffers["x"] if before else h.y for h in hidden(model, builder) if h.activation or not before}
    chosen = found if layers is None else _chosen(model, layers, found, before)
    executor = NativeExecutor(builder.build())
    out = {path: np.empty((len(X), *found[path].shape), model.dtype) for path in chosen}
    for begin in range(0, len(X), rows):
        end = min(begin + rows, len(X))
        executor.run(X[begin:end])
        for path, array in out.items():
            array[begin:end] = executor.array(found[path].name)[: end - begin].reshape(end - begin, *found[path].shape)
    return out


def _chosen(model, layers, found, before):
    """Paths of the layers that are asked for, in the order of the request."""
    paths, top = {id(layer): path for path, layer in model.walk()}, len(model)
    chosen = []
    for which in [layers] if isinstance(layers, (str, Layer)) or not np.iterable(layers) else layers:
        if isinstance(which, Layer):
            path = paths.get(id(which))
            if path is None:
                raise ValueError(f"layers: expected layers of the model, got another, {which!r}")
        elif isinstance(which, str):
            path = which
        else:
            try:
                number = operator.index(which)
            except TypeError:
                raise TypeError(f"layers: expected layers, their numbers or names, got {which!r:.60}") from None
            if not -top <= number < top:
                raise ValueError(f"layers: expected numbers below {top}, got {number}")
            path = str(number % top)
        if path not in found:
            what = "with an activation" if before else "that compute something"
            raise ValueError(f"layers: expected some of those {what}, {', '.join(map(repr, found))}, got {path!r}")
        chosen.append(path)
    return chosen
