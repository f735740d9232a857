"""Layers for what comes in: samples of any shape, raw values."""

import numbers
import sys

from .layer import Layer

_FLOAT64_MAX = sys.float_info.max


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


class Rescaling(Layer):
    """x * scale + offset, done while the rows are read, at no cost. Only before the first layer that computes.

    With it a model takes raw images: bytes stay bytes in memory, and the model's file carries its own preprocessing.

    Parameters
    ----------
    scale : float
    offset : float, default 0

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 255), nn.Dense(4, 2))
    >>> model.predict(np.full((1, 2, 2), 255, np.uint8)).shape
    (1, 2)
    """

    def __init__(self, scale, offset=0.0):
        for name, value in (("scale", scale), ("offset", offset)):
            if not isinstance(value, numbers.Real):
                raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
            if not -_FLOAT64_MAX <= value <= _FLOAT64_MAX:
                raise ValueError(f"{name}: expected a finite number, got {value}")
        self.scale, self.offset = float(scale), float(offset)

    def config(self):
        return {"scale": self.scale, "offset": self.offset}

    def emit(self, builder, x):
        return builder.rescale(x, self.scale, self.offset)
