"""Layers for what comes in, samples of any shape and raw values; and those that give samples another shape."""

import math
from typing import Any

import numpy as np

from .._native import plain
from ..core.checks import check_size, number
from .layer import Layer, register

CHANNELS_FIRST, CHANNELS_LAST = DATA_FORMATS = ("channels_first", "channels_last")


def _sizes(shape, name, least=1):
    """The sizes of a shape that is given as numbers, or as one sequence of them."""
    shape = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    if not shape:
        raise ValueError(f"{name}: expected at least one size, got none")
    free = [i for i, n in enumerate(shape) if least < 1 and isinstance(n, int) and n == -1]
    if len(free) > 1:
        raise ValueError(f"{name}: expected -1 for one size at most, got {tuple(shape)}")
    sizes = tuple(-1 if i in free else check_size(n, f"{name}[{i}]") for i, n in enumerate(shape))
    if abs(math.prod(sizes)) >= 2**31:
        raise ValueError(f"{name}: expected fewer than 2**31 elements, got {tuple(shape)}")
    return sizes


def _listed(shape):
    """The shape that stands in a file."""
    if not isinstance(shape, list):
        raise ValueError(f"shape: expected a list of sizes, got {shape!r:.80}")
    return shape


@register
class Input(Layer):
    """Says what the model's input is, so that the layers behind it can infer their own sizes. First in a model.

    Images are (height, width, channels). A model that begins with one of them takes [N, height, width, channels], of any real dtype;
    one channel may be left out, [N, height, width]. Layers behind it may have None for their `in_features` or `in_channels`.

    Parameters
    ----------
    *shape : int
        Of a sample: features; length and channels; height, width and channels.
    data_format : {"channels_last", "channels_first"}, default "channels_last"
        channels_first: `shape` begins with the channels, and so do the samples, as PyTorch has them. They are turned while they are
        read; layers see the channels last.

    Raises
    ------
    TypeError, ValueError
        If a size is no positive integer, or the data format is unknown.

    Examples
    --------
    >>> model = nn.Sequential(nn.Input(8, 8, 1), nn.Flatten(), nn.Dense(None, 10))
    >>> model.layers[2].weight.shape, model.predict(np.zeros((5, 8, 8))).shape
    ((64, 10), (5, 10))
    >>> nn.Sequential(nn.Input(3, 4, 4, data_format="channels_first"), nn.Flatten()).out_features
    48
    """

    def __init__(self, *shape, data_format=CHANNELS_LAST) -> None:
        if data_format not in DATA_FORMATS:
            raise ValueError(f"data_format: expected 'channels_last' or 'channels_first', got {data_format!r}")
        self.shape, self.data_format = _sizes(shape, "shape"), data_format
        if self.channels_first and len(self.shape) < 2:
            raise ValueError(f"shape: expected channels and at least one size more for {data_format!r}, got {self.shape}")

    @property
    def channels_first(self):
        return self.data_format == CHANNELS_FIRST

    @property
    def in_shape(self):
        return (*self.shape[1:], self.shape[0]) if self.channels_first else self.shape

    def config(self):
        return {"shape": list(self.shape), "data_format": self.data_format}

    @classmethod
    def from_entry(cls, arguments, inside, known):
        return cls(_listed(arguments.pop("shape", None)), **arguments)

    def emit(self, builder, x):
        return x

    def output_shape(self, shape):
        if shape != self.in_shape:
            raise ValueError(f"{self!r}: expected samples of shape {self.in_shape}, got {shape}")
        return shape

    def __repr__(self):
        order = f", data_format={self.data_format!r}" if self.channels_first else ""
        return f"Input({', '.join(map(str, self.shape))}{order})"


@register
class Flatten(Layer):
    """Turns samples of any shape into vectors: a view, which costs nothing. Images are read in the order (height, width, channels).

    As a model's first layer it lets the model take samples of any shape with as many elements as the layer behind it has features.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Dense(64, 10))
    >>> model.predict(np.zeros((5, 8, 8))).shape
    (5, 10)
    """

    def emit(self, builder, x):
        return builder.reshape(x, self.output_shape(x.shape))

    def output_shape(self, shape):
        return (math.prod(shape),)


@register
class Reshape(Layer):
    """Gives samples another shape with as many elements: a view, which costs nothing.

    Parameters
    ----------
    *shape : int
        Of a sample. One size may be -1: what remains.

    Raises
    ------
    TypeError, ValueError
        If a size is no positive integer, or the elements are not as many.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(2, 12), nn.Reshape(2, 2, -1))
    >>> model.predict(np.zeros((5, 2))).shape
    (5, 2, 2, 3)
    """

    def __init__(self, *shape) -> None:
        self.shape = _sizes(shape, "shape", -1)

    @property
    def in_shape(self):
        return None if -1 in self.shape else (math.prod(self.shape),)

    @property
    def needs_shape(self):
        return -1 in self.shape

    def config(self):
        return {"shape": list(self.shape)}

    @classmethod
    def from_entry(cls, arguments, inside, known):
        return cls(_listed(arguments.pop("shape", None)), **arguments)

    def emit(self, builder, x):
        return builder.reshape(x, self.output_shape(x.shape))

    def output_shape(self, shape):
        known, size = abs(math.prod(self.shape)), math.prod(shape)
        if size % known if -1 in self.shape else size != known:
            raise ValueError(f"{self!r}: expected samples of {known} elements{' times n' * (-1 in self.shape)}, got shape {shape}")
        return tuple(size // known if n == -1 else n for n in self.shape)

    def __repr__(self):
        return f"Reshape({', '.join(map(str, self.shape))})"


@register
class Rescaling(Layer):
    """x * scale + offset. Only before the first layer that computes.

    With it a model takes raw images: bytes stay bytes in memory, and the model's file carries its own preprocessing. Numbers are for
    all features: then it is done while the rows are read, at no cost. Arrays are for one feature each, such as those of a table, or
    for one channel each of images:

        y_j = scale_j (x_j + offset_j / scale_j)

    Parameters
    ----------
    scale : float or sequence of floats
    offset : float or sequence of floats, default 0

    Raises
    ------
    TypeError, ValueError
        If they are no finite numbers, in float32 where they are sequences, or sequences of different lengths.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 255), nn.Dense(4, 2))
    >>> model.predict(np.full((1, 2, 2), 255, np.uint8)).shape
    (1, 2)
    >>> X = np.array([[1.0, 1000.0], [3.0, 5000.0]])
    >>> nn.Sequential(nn.Rescaling(1 / X.std(axis=0), -X.mean(axis=0) / X.std(axis=0))).predict(X)
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    """

    def __init__(self, scale, offset: Any = 0.0) -> None:
        found = {"scale": _numbers(scale, "scale"), "offset": _numbers(offset, "offset")}
        lengths = {len(v) for v in found.values() if isinstance(v, tuple)}
        if len(lengths) > 1:
            raise ValueError(f"scale, offset: expected as many of both, got {len(found['scale'])} and {len(found['offset'])}")
        self.scale, self.offset = found["scale"], found["offset"]
        self.by_channels = bool(lengths)
        if lengths:
            self.in_features = lengths.pop()

    def config(self):
        return {k: list(v) if isinstance(v, tuple) else v for k, v in (("scale", self.scale), ("offset", self.offset))}

    def emit(self, builder, x):
        return builder.rescale(x, self.scale, self.offset)

    def output_shape(self, shape):
        if self.in_features not in (None, shape[-1]):
            what = "input features" if len(shape) == 1 else "channels"
            raise ValueError(f"{self!r}: expected {self.in_features} {what}, got {shape[0] if len(shape) == 1 else f'shape {shape}'}")
        return shape


def _numbers(value, name):
    """A float, or a tuple of them."""
    if isinstance(plain(value, name), (list, tuple)) or isinstance(value, np.ndarray) and value.ndim:
        values = value.tolist() if isinstance(value, np.ndarray) else value
        if not len(values):
            raise ValueError(f"{name}: expected a number, or one for each feature, got none")
        limit = float(np.finfo(np.float32).max)
        return tuple(number(v, f"{name}[{i}]", -limit, limit) for i, v in enumerate(values))
    return number(value, name)
