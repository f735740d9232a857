"""Layers and models. A layer owns its parameters and says which operations it is; the plan runs them.

`layer` holds the base of the layers, one file each family of them, `model` puts them one after the other, and `serialization`
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
    Mish,
    ParametricActivation,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from .containers import Residual
from .conv_transpose import ConvTranspose2d
from .convnets import lenet5, simple_convnet
from .convolution import AvgPool2d, Conv1d, Conv2d, GlobalAvgPool2d, GlobalMaxPool2d, MaxPool2d, StochasticPool2d
from .dense import Dense
from .embedding import Embedding, TabularEmbedding
from .serialization import load
from .inputs import Flatten, Input, Rescaling, Reshape
from .layer import Layer
from .mlp import mlp
from .model import Sequential, last_activation
from .noise import DropConnect, Dropout, Dropout2d, GaussianNoise
from .numerical import PBLD, PiecewiseLinear, Scale
from .normalization import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from .rows import as_array, as_rows
from .shared import Maxout, Tied

# as PyTorch calls them
Linear = Dense
BatchNorm1d = BatchNorm2d = BatchNorm

__all__ = [
    "Activation",
    "AvgPool2d",
    "BatchNorm",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "Dense",
    "DropConnect",
    "Dropout",
    "Dropout2d",
    "ELU",
    "Embedding",
    "Flatten",
    "GELU",
    "GaussianNoise",
    "GlobalAvgPool2d",
    "GlobalMaxPool2d",
    "GroupNorm",
    "Hardtanh",
    "Identity",
    "Input",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxPool2d",
    "Maxout",
    "Mish",
    "PBLD",
    "PReLU",
    "Parameter",
    "ParametricActivation",
    "PiecewiseLinear",
    "RMSNorm",
    "ReLU",
    "Rescaling",
    "Reshape",
    "Residual",
    "SELU",
    "Scale",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "StochasticPool2d",
    "TabularEmbedding",
    "Tanh",
    "Tied",
    "lenet5",
    "load",
    "mlp",
    "simple_convnet",
]


def __dir__():
    return __all__
