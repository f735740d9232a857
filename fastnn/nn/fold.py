"""What `Sequential.fold` does: what is there for training only goes, and batch normalisations become part of the linear layers
beside them. Layers say themselves what they become (`Layer.for_inference` and what follows it).

In inference a BatchNorm is one multiplication and one addition for each feature, y = s x + t. A linear layer takes that up
exactly but for rounding, whether it stands before or behind it.
"""

import copy

from .containers import Chain
from .layer import LAYERS


def folded(model):
    """The layers of a new model with the same inference."""
    layers = _chain(copy.deepcopy(model).layers)
    present = {id(inner) for layer in layers for _, inner in layer.walk()}
    return [_each(layer, lambda inner: inner.with_own_weights(present)) for layer in layers]


def _is_chain(layer):
    """Whether layers inside it may be others: not of a user's own class, of which nothing is known."""
    return isinstance(layer, Chain) and LAYERS.get(type(layer).__name__) is type(layer)


def _each(layer, change):
    """A layer, or each inside a chain, changed."""
    if not _is_chain(layer):
        return change(layer)
    return _rebuilt(layer, [_each(inner, change) for inner in layer.layers], lambda beside: _each(beside, change))


def _rebuilt(chain, layers, change):
    """A chain like this one of other layers; what stands beside them is changed."""
    beside = getattr(chain, "projection", None)
    return type(chain)(*layers, **({} if beside is None else {"projection": change(beside)}))


def _beside(layer):
    """The projection of a Residual, folded."""
    found = _chain([layer])
    return found[0] if len(found) == 1 else layer


def _chain(layers):
    """Layers one after the other, without what does nothing in inference and with what can be folded folded."""
    found = []
    for layer in layers:
        layer = layer.for_inference()
        if layer is None:
            continue
        if _is_chain(layer):
            inner = _chain(layer.layers)
            layer = _rebuilt(layer, inner, _beside) if inner else layer
        before = found[-1] if found else None
        new = None
        if before is not None and layer.scale_and_shift() is not None:
            new = before.scaled_output(*layer.scale_and_shift())
        if before is not None and new is None and before.scale_and_shift() is not None:
            new = layer.scaled_input(*before.scale_and_shift())
        if new is None:
            found.append(layer)
        else:
            found[-1] = new
    return found
