"""What `Sequential.fold` does: batch normalisations become part of the dense layers beside them, for inference.

In inference a BatchNorm is one multiplication and one addition for each feature, y = s x + t, with s = weight / √(var + eps)
and t = bias - s mean of the running averages. A linear layer takes that up exactly but for rounding:

    behind it      s (x w + b) + t = x (w s) + (s b + t)          each column of w times its s
    before it      (s x + t) w + b = x (s w) + (t w + b)          each row of w times its s
"""

import copy

import numpy as np

from .activation import Activation
from .containers import Residual
from .dense import Dense
from .model import Sequential
from .noise import DropConnect, Dropout, GaussianNoise
from .normalization import BatchNorm
from .shared import Maxout, Tied


_CONTAINERS = (Sequential, Residual)


def folded(model):
    """The layers of a new model with the same inference."""
    layers = _chain(copy.deepcopy(model).layers)
    return _untied(layers, {id(layer) for layer in _all(layers)})


def _all(layers):
    for layer in layers:
        yield from (inner for _, inner in layer.walk())


def _chain(layers):
    """Layers one after the other, without what does nothing in inference and with what can be folded folded."""
    found = []
    for layer in layers:
        if isinstance(layer, (Dropout, GaussianNoise)) or isinstance(layer, Activation) and layer.name == "identity":
            continue
        if isinstance(layer, DropConnect):
            layer = layer.dense
        if type(layer) in _CONTAINERS:
            inner = _chain(layer.layers)
            layer = type(layer)(*inner) if inner else layer
        before = found[-1] if found else None
        if isinstance(layer, BatchNorm) and isinstance(before, (Dense, Tied)) and before.activation == "identity":
            found[-1] = _behind(before, layer)
        elif isinstance(before, BatchNorm) and isinstance(layer, (Dense, Tied, Maxout)):
            found[-1] = _before(before, layer)
        else:
            found.append(layer)
    return found


def _affine(norm):
    """s and t of a BatchNorm, float64."""
    mean, var = norm.running_mean.data.astype(np.float64), norm.running_var.data.astype(np.float64)
    weight, bias = (p.data.astype(np.float64) if p is not None else start for p, start in ((norm.weight, 1.0), (norm.bias, 0.0)))
    s = weight / np.sqrt(var + norm.eps)
    return s, bias - s * mean


def _weights(layer):
    """w [in, out] and b of a linear layer, float64."""
    w = layer.weight.data.astype(np.float64)
    b = layer.bias.data.astype(np.float64) if layer.bias is not None else np.zeros(layer.out_features)
    return (w.T if isinstance(layer, Tied) and layer.transpose else w), b


def _dense(layer, w, b):
    """A layer like this one with other weights; a Tied one becomes a Dense of its own."""
    if isinstance(layer, Maxout):
        new = Maxout(layer.in_features, layer.out_features, layer.pieces, init="zeros")
    else:
        activation = layer.activation if layer.activation == "prelu" else Activation(layer.activation, layer.alpha)
        new = Dense(layer.in_features, layer.out_features, activation, init="zeros")
        if layer.activation == "prelu":
            new.slope.data = layer.slope.data
    new.weight.data, new.bias.data = w, b
    return new


def _behind(layer, norm):
    (w, b), (s, t) = _weights(layer), _affine(norm)
    return _dense(layer, w * s, b * s + t)


def _before(norm, layer):
    w, s, t = layer.weight.data.astype(np.float64), *_affine(norm)
    if isinstance(layer, Maxout):
        b = layer.bias.data.astype(np.float64) if layer.bias is not None else 0.0
    else:
        w, b = _weights(layer)
    return _dense(layer, s[:, None] * w, t @ w + b)


def _untied(layers, present):
    """Tied layers whose Dense is no longer in the model get weights of their own."""
    found = []
    for layer in layers:
        if isinstance(layer, Tied) and id(layer.dense) not in present:
            layer = _dense(layer, *_weights(layer))
        elif type(layer) in _CONTAINERS:
            layer = type(layer)(*_untied(layer.layers, present))
        found.append(layer)
    return found


