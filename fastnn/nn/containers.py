"""Chains of layers, and Residual: a chain that is added to its input."""

from .inputs import Flatten, Rescaling
from ..core.checks import check_number
from .layer import Layer, register


def check_chain(layers, top=True):
    """(features in, features out) of layers one after the other, None where no layer knows them; TypeError or ValueError
    where they do not fit. `top`: they may begin with layers for a model's input."""
    if not layers:
        raise ValueError("layers: expected at least one, got none")
    first = features = None
    computes, seen = False, set()
    for i, layer in enumerate(layers):
        if isinstance(layer, type) or not isinstance(layer, Layer):
            got = f"the class {layer.__name__}" if isinstance(layer, type) else type(layer).__name__
            raise TypeError(f"layer {i}: expected a layer, got {got}")
        for path, inner in layer.walk():
            if id(inner) in seen:
                raise TypeError(f"layer {i}: expected a layer of its own, got one that stands in the model already")
            seen.add(id(inner))
            if isinstance(inner, Flatten) and (i or path or not top):
                raise ValueError(f"layer {i}: Flatten is only for the model's input, expected it first")
            if isinstance(inner, Rescaling) and (computes or path or not top):
                raise ValueError(f"layer {i}: Rescaling is only for the model's input, expected no layer that computes before it")
        if features is None and layer.in_features is not None:
            first = features = layer.in_features
        if features is not None:
            try:
                features = layer.output_features(features)
            except ValueError as error:
                raise ValueError(f"layer {i}: {error}") from None
        computes = computes or not isinstance(layer, (Flatten, Rescaling))
    return first, features


class Chain(Layer):
    """What Sequential and Residual have in common: `layers`, one after the other."""

    def children(self):
        return [(str(i), layer) for i, layer in enumerate(self.layers)]

    def entry(self, path, paths):
        layers = [layer.entry(f"{path}.{name}" if path else name, paths) for name, layer in self.children()]
        return {"class": type(self).__name__, **self.config(), "layers": layers}

    @classmethod
    def entries_inside(cls, entry):
        layers = entry.get("layers") if isinstance(entry, dict) else None
        if not isinstance(layers, list):
            raise ValueError("expected an architecture with a list of layers")
        return ((str(i), inner) for i, inner in enumerate(layers))

    @classmethod
    def from_entry(cls, arguments, inside, known):
        return cls(*inside.values(), **{k: v for k, v in arguments.items() if k != "layers"})

    def emit(self, builder, x):
        for layer in self.layers:
            x = builder.layer(layer, x)
        return x

    def __repr__(self):
        lines = "\n".join(f"{layer!r}," for layer in self.layers).split("\n")
        return f"{type(self).__name__}(\n" + "".join(f"  {line}\n" for line in lines) + ")"


@register
class Residual(Chain):
    """A block that is added to its input: y = x + f(x), f being layers one after the other.

    K. He et al., "Deep residual learning for image recognition", 2016. The block's output has as many features as its input.

    Parameters
    ----------
    *layers : Layer
        Residual blocks and Sequentials included.
    stochastic_depth : float, default 0.0
        From 0 to 1: in training a row goes around the block with this probability, y = x, and else y = x + f(x) / (1 -
        stochastic_depth); each row draws for itself, anew every step. In inference y = x + f(x). (Huang et al., "Deep networks
        with stochastic depth", 2016, where a batch draws as one, and inference multiplies f(x) by 1 - stochastic_depth instead.)
        Rounded to a multiple of 1 / 65536.

    Raises
    ------
    TypeError, ValueError
        If something is not a layer, layers do not fit together, the probability is out of range, or the block changes the number of features.

    Examples
    --------
    >>> model = nn.Sequential(
    ...     nn.Dense(4, 8),
    ...     nn.Residual(nn.LayerNorm(8), nn.Dense(8, 16, activation="relu"), nn.Dense(16, 8)),
    ...     nn.Dense(8, 3),
    ... )
    >>> [name for name, _ in model.named_parameters()][2:4]
    ['1.0.weight', '1.0.bias']
    """

    def __init__(self, *layers, stochastic_depth=0.0):
        self.layers = tuple(layers)
        self.stochastic_depth = check_number(stochastic_depth, "stochastic_depth", 0, 1, "a number from 0 to 1")
        self.in_features, out = check_chain(self.layers, top=False)
        if out != self.in_features:
            raise ValueError(f"layers: expected as many features out as in, got {self.in_features} in and {out} out")

    def config(self):
        return {"stochastic_depth": self.stochastic_depth} if self.stochastic_depth else {}

    def emit(self, builder, x):
        builder.pin(x)
        y, threshold = super().emit(builder, x), round(self.stochastic_depth * 65536)
        return builder.add(x, builder.dropout(y, threshold, rows=True) if builder.training and threshold else y)

    def __repr__(self):
        return super().__repr__()[:-1] + (f"  stochastic_depth={self.stochastic_depth},\n)" if self.stochastic_depth else ")")

    def output_features(self, features):
        super().output_features(features)
        out = features
        for layer in self.layers:
            out = layer.output_features(out)
        if out != features:
            raise ValueError(f"{self!r}: expected as many features out as in, got {features} in and {out} out")
        return out
