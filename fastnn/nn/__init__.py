"""Layers and models. A layer owns its parameters and says which operations it is; the plan runs them.

`layer` holds the base of the layers, one file each family of them, `model` puts them one after the other, and `files`
saves a model (safetensors, with the architecture in its metadata) and loads it again.
"""

from ..plan import Parameter
from .activation import Activation, LogSoftmax, PReLU, Softmax
from .dense import Dense
from .files import load
from .inputs import Flatten, Rescaling
from .layer import Layer
from .model import Sequential
from .rows import as_array, as_rows

__all__ = [
    "Activation",
    "Dense",
    "Flatten",
    "Layer",
    "LogSoftmax",
    "PReLU",
    "Parameter",
    "Rescaling",
    "Sequential",
    "Softmax",
    "load",
]
