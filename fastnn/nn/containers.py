"""Chains of layers, and Residual: a chain that is added to its input."""

import math

from .inputs import Flatten, Input, Rescaling, Reshape
from ..core.checks import check_number
from .layer import Layer, register


def shape_through(layers, shape, first=0):
    """The shape behind layers one after the other, for that of a sample before them. Errors say which of them, from `first` on."""
    for i, layer in enumerate(layers, first):
        try:
            shape = layer.output_shape(shape)
        except ValueError as error:
            raise ValueError(f"layer {i}: {error}") from None
    return shape


def check_chain(layers, top=True):
    """(shape in, shape out) of layers one after the other, (None, None) where they do not tell; TypeError or ValueError where they do
    not fit. `top`: they may begin with layers for a model's input. Nothing is settled."""
    if not layers:
        raise ValueError("layers: expected at least one, got none")
    changed, computes, seen = False, False, set()
    for i, layer in enumerate(layers):
        if isinstance(layer, type) or not isinstance(layer, Layer):
            got = f"the class {layer.__name__}" if isinstance(layer, type) else type(layer).__name__
            raise TypeError(f"layer {i}: expected a layer, got {got}")
        for path, inner in layer.walk():
            if id(inner) in seen:
                raise TypeError(f"layer {i}: expected a layer of its own, got one that stands in the model already")
            seen.add(id(inner))
            if isinstance(inner, Input) and inner.channels_first and (i or path or not top):
                raise ValueError(f"layer {i}: Input of channels first is only for the model's input, expected it first")
            if inner.reads_codes and (path or not top or changed):
                name = type(inner).__name__
                raise ValueError(f"layer {i}: {name} reads codes of the model's input, expected no layer before it that changes them")
            if isinstance(inner, Rescaling) and (computes or path or not top):
                raise ValueError(f"layer {i}: Rescaling is only for the model's input, expected no layer that computes before it")
        changed = changed or not isinstance(layer, (Input, Flatten, Reshape))
        computes = computes or not isinstance(layer, (Input, Flatten, Reshape, Rescaling))
    images = any(inner.takes_images for layer in layers for _, inner in layer.walk())
    for i, layer in enumerate(layers):  # those before the first that tells leave shapes as they are, or flatten any
        if layer.in_shape is not None and not (images and layer.by_channels):
            return layer.in_shape, shape_through(layers[i:], layer.in_shape, i)
        if layer.needs_shape:
            break
    return None, None


class Chain(Layer):
    """What Sequential and Residual have in common: `layers`, one after the other, and the shapes `_shapes` of a sample before and
    behind them, where they tell."""

    def children(self):
        return [(str(i), layer) for i, layer in enumerate(self.layers)]

    @property
    def in_shape(self):
        return self._shapes[0]

    @property
    def in_features(self):
        """Elements of a sample, where their number is known."""
        return None if self.in_shape is None else math.prod(self.in_shape)

    @property
    def needs_shape(self):
        return self.in_shape is None and super().needs_shape

    def settle(self, shape):
        for layer in self.layers:
            layer.settle(shape)
            shape = layer.output_shape(shape)

    def output_shape(self, shape):
        if self.in_shape not in (None, shape):
            if len(shape) == len(self.in_shape) == 1:
                raise ValueError(f"{self!r}: expected {self.in_features} input features, got {shape[0]}")
            raise ValueError(f"{self!r}: expected samples of shape {self.in_shape}, got {shape}")
        return shape_through(self.layers, shape)

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

    K. He et al., "Deep residual learning for image recognition", 2016. The block's output has the shape of its input, or else there is
    a projection that brings the input to it: y = projection(x) + f(x).

    Parameters
    ----------
    *layers : Layer
        Residual blocks and Sequentials included.
    projection : Layer, optional
        What the input goes through beside the block: such as a convolution of one tap where channels or stride change.
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
    >>> layers = nn.Conv2d(None, 16, 3, 2, padding=1, activation="relu"), nn.Conv2d(16, 16, 3, padding=1)
    >>> block = nn.Residual(*layers, projection=nn.Conv2d(None, 16, 1, 2))
    >>> nn.Sequential(nn.Input(9, 9, 4), block).out_shape
    (5, 5, 16)
    """

    def __init__(self, *layers, projection=None, stochastic_depth=0.0) -> None:
        self.layers = tuple(layers)
        if projection is not None and (isinstance(projection, type) or not isinstance(projection, Layer)):
            raise TypeError(f"projection: expected a layer, or None, got {projection!r:.60}")
        self.projection = projection
        self.stochastic_depth = check_number(stochastic_depth, "stochastic_depth", 0, 1, "a number from 0 to 1")
        self._shapes = check_chain(self.layers, top=False)
        if projection is not None:
            check_chain((projection,), top=False)
            inside = {id(inner) for layer in self.layers for _, inner in layer.walk()}
            if any(id(inner) in inside for _, inner in projection.walk()):
                raise TypeError("projection: expected a layer of its own, got one that stands in the block already")
        if self.in_shape is not None:
            self.output_shape(self.in_shape)
            self.settle(self.in_shape)

    def children(self):
        return super().children() + ([] if self.projection is None else [("projection", self.projection)])

    def settle(self, shape):
        super().settle(shape)
        if self.projection is not None:
            self.projection.settle(shape)

    def entry(self, path, paths):
        found = super().entry(path, paths)
        if self.projection is not None:
            found["projection"] = found["layers"].pop()
        return found

    @classmethod
    def entries_inside(cls, entry):
        beside = [] if entry.get("projection") is None else [("projection", entry["projection"])]
        return [*super().entries_inside(entry), *beside]

    @classmethod
    def from_entry(cls, arguments, inside, known):
        projection = inside.pop("projection", None)
        return super().from_entry({**arguments, "projection": projection}, inside, known)

    def config(self):
        return {"stochastic_depth": self.stochastic_depth} if self.stochastic_depth else {}

    def emit(self, builder, x):
        builder.pin(x)
        y, p = super().emit(builder, x), self.stochastic_depth
        around = x if self.projection is None else builder.layer(self.projection, x)
        return builder.add(around, builder.dropout(y, p, rows=True) if builder.training and p else y)

    def __repr__(self):
        more = [] if self.projection is None else [f"projection={self.projection!r},"]
        more += [f"stochastic_depth={self.stochastic_depth},"] if self.stochastic_depth else []
        return super().__repr__()[:-1] + "".join(f"  {line}\n" for text in more for line in text.split("\n")) + ")"

    def output_shape(self, shape):
        out = super().output_shape(shape)
        beside = shape if self.projection is None else self.projection.output_shape(shape)
        if out == beside:
            return out
        if self.projection is not None:
            raise ValueError(f"projection: expected the shape that comes out of the block, {out}, got {beside}, of {shape}")
        if len(shape) == len(out) == 1:
            raise ValueError(f"layers: expected as many features out as in, got {shape[0]} in and {out[0]} out; projection= takes a layer "
                             "that brings the input there")
        raise ValueError(f"layers: expected the shape that comes in to come out, got {shape} in and {out} out; projection= takes a layer "
                         "that brings the input there, such as nn.Conv2d(None, channels, 1, stride)")
