"""Layers and models. A layer owns its parameters and says which operations it is; the plan runs them.

`layer` holds the base of the layers, one file each family of them, `model` puts them one after the other, and `files`
saves a model (safetensors, with the architecture in its metadata) and loads it again.
"""

from ..core.parameter import Parameter
from .activation import (
    ELU,
    GELU,
    SELU,
    Activation,
    Hardtanh,
    Identity,
    LeakyReLU,
    LogSoftmax,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from .containers import Residual
from .dense import Dense
from .serialization import load
from .inputs import Flatten, Input, Rescaling, Reshape
from .layer import Layer
from .mlp import mlp
from .model import Sequential, last_activation
from .noise import DropConnect, Dropout, GaussianNoise
from .normalization import BatchNorm, LayerNorm, RMSNorm
from .rows import as_array, as_rows
from .shared import Maxout, Tied

# as PyTorch calls them
Linear = Dense
BatchNorm1d = BatchNorm

__all__ = [
    "Activation",
    "BatchNorm",
    "BatchNorm1d",
    "Dense",
    "DropConnect",
    "Dropout",
    "ELU",
    "Flatten",
    "GELU",
    "GaussianNoise",
    "Hardtanh",
    "Identity",
    "Input",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "Maxout",
    "PReLU",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Rescaling",
    "Reshape",
    "Residual",
    "SELU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "Tied",
    "load",
    "mlp",
]


def __dir__():
    return __all__
