"""Layers for what comes in: samples of any shape, raw values."""

import numpy as np

from .._native import plain
from ..core.checks import number
from .layer import Layer, register


@register
class Flatten(Layer):
    """Turns samples of any shape into vectors, so that a model takes images as they are. Only as the first layer.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Dense(64, 10))
    >>> model.predict(np.zeros((5, 8, 8))).shape
    (5, 10)
    """

    def emit(self, builder, x):
        return x


@register
class Rescaling(Layer):
    """x * scale + offset. Only before the first layer that computes.

    With it a model takes raw images: bytes stay bytes in memory, and the model's file carries its own preprocessing. Numbers are for
    all features: then it is done while the rows are read, at no cost. Arrays are for one feature each, such as those of a table:

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

    def __init__(self, scale, offset=0.0):
        found = {"scale": _numbers(scale, "scale"), "offset": _numbers(offset, "offset")}
        lengths = {len(v) for v in found.values() if isinstance(v, tuple)}
        if len(lengths) > 1:
            raise ValueError(f"scale, offset: expected as many of both, got {len(found['scale'])} and {len(found['offset'])}")
        self.scale, self.offset = found["scale"], found["offset"]
        if lengths:
            self.in_features = lengths.pop()

    def config(self):
        return {k: list(v) if isinstance(v, tuple) else v for k, v in (("scale", self.scale), ("offset", self.offset))}

    def emit(self, builder, x):
        return builder.rescale(x, self.scale, self.offset)


def _numbers(value, name):
    """A float, or a tuple of them."""
    if isinstance(plain(value, name), (list, tuple)) or isinstance(value, np.ndarray) and value.ndim:
        values = value.tolist() if isinstance(value, np.ndarray) else value
        if not len(values):
            raise ValueError(f"{name}: expected a number, or one for each feature, got none")
        limit = float(np.finfo(np.float32).max)
        return tuple(number(v, f"{name}[{i}]", -limit, limit) for i, v in enumerate(values))
    return number(value, name)
