"""Layers and models. A layer owns its parameters and says which operations it is; the plan runs them.

`layer` holds the base of the layers, one file each family of them, `model` puts them one after the other, and `files`
saves a model (safetensors, with the architecture in its metadata) and loads it again.
"""

from ..plan import Parameter
from .activation import Activation, LogSoftmax, PReLU, Softmax
from .containers import Residual
from .dense import Dense
from .files import load
from .inputs import Flatten, Rescaling
from .layer import Layer
from .mlp import mlp
from .model import Sequential, last_activation
from .noise import DropConnect, Dropout, GaussianNoise
from .normalization import BatchNorm, LayerNorm, RMSNorm
from .rows import as_array, as_rows
from .shared import Maxout, Tied

__all__ = [
    "Activation",
    "BatchNorm",
    "Dense",
    "DropConnect",
    "Dropout",
    "Flatten",
    "GaussianNoise",
    "Layer",
    "LayerNorm",
    "LogSoftmax",
    "Maxout",
    "PReLU",
    "Parameter",
    "RMSNorm",
    "Rescaling",
    "Residual",
    "Sequential",
    "Softmax",
    "Tied",
    "load",
    "mlp",
]


def __dir__():
    return __all__
