"""mlp: the common network in one line."""

import numbers
from typing import Any

from .. import init as initialisers
from ..core.checks import check_size, suggesting
from .activation import as_layer, for_layer, given_activation
from .dense import Dense
from .model import Sequential
from .noise import Dropout
from .normalization import BatchNorm

_PLACES = {False: None, None: None, True: "before", "before": "before", "after": "after"}


@suggesting
def mlp(sizes, activation: Any = "relu", output_activation=None, batchnorm: Any = False, dropout: Any = 0.0, bias=True, init=None,
        penalty=None, dtype=None) -> Sequential:
    """A multilayer perceptron: dense layers with an activation between them, and what usually goes with it.

    Each hidden layer is, in this order: Dense, BatchNorm (if "before"), the activation, BatchNorm (if "after"), Dropout. The
    last Dense stands alone: its outputs are the logits, unless there is an `output_activation`.

    Parameters
    ----------
    sizes : sequence of int
        Features of the input, units of each hidden layer, features of the output: at least two.
    activation : str or Activation, default "relu"
        Between the layers: any that `Dense` takes, prelu included.
    output_activation : str or Activation, optional
        Behind the last layer.
    batchnorm : {False, True, "before", "after"}, default False
        Batch normalisation before each activation (True means that, as in Ioffe and Szegedy 2015), or behind it. A dense
        layer keeps its bias in front of a normalisation, as in torchvision's MLP, unless ``bias=False``.
    dropout : float or sequence of float, default 0.0
        The share that is dropped behind every hidden layer, or a share for each. No layer is made for 0.
    bias : bool, default True
        Whether the dense layers have one.
    init : str or fastnn.init initialiser, optional
        For all weights. By default what suits the activation that follows each layer (see `fastnn.init`), with a
        normalisation between them too.
    penalty : fastnn.regularizers penalty, optional
        On the weights of every dense layer.
    dtype : {"float32", "float64"}, optional
        What the model computes in; as for `Sequential`.

    Returns
    -------
    Sequential

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> nn.mlp([784, 100, 10], batchnorm="before", dropout=0.2)
    Sequential(
      Dense(in_features=784, out_features=100, activation='identity', bias=True),
      BatchNorm(features=100, momentum=0.1, eps=1e-05, affine=True),
      Activation(name='relu'),
      Dropout(p=0.2),
      Dense(in_features=100, out_features=10, activation='identity', bias=True),
    )
    """
    if isinstance(sizes, (str, bytes)) or not hasattr(sizes, "__iter__"):
        raise TypeError(f"sizes: expected a sequence of integers, got {sizes!r}")
    sizes = [check_size(n, f"sizes[{i}]") for i, n in enumerate(sizes)]
    if len(sizes) < 2:
        raise ValueError(f"sizes: expected at least two, those of input and output, got {sizes}")
    if not isinstance(batchnorm, (bool, str, type(None))) or batchnorm not in _PLACES:
        raise ValueError(f"batchnorm: expected False, True, 'before' or 'after', got {batchnorm!r}")
    place, hidden = _PLACES[batchnorm], sizes[1:-1]
    shares = _shares(dropout, len(hidden))
    activation, output = _activation(activation, "activation"), _activation(output_activation, "output_activation")
    layers = []
    for n_in, n_out, share in zip(sizes, hidden, shares):
        first = init if init is not None else initialisers.default_for(*activation)
        normal = [BatchNorm(n_out)] if place else []
        layers.append(Dense(n_in, n_out, None if place == "before" else for_layer(*activation), bias, first, penalty))
        layers += [*normal, as_layer(*activation)] if place == "before" else normal
        layers += [Dropout(share)] if share else []
    layers.append(Dense(sizes[-2], sizes[-1], for_layer(*output), bias, init, penalty))
    return Sequential(*layers, dtype=dtype)


def _activation(activation, name):
    try:
        return given_activation(activation)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("activation", name, 1)) from None


def _shares(dropout, count):
    if isinstance(dropout, numbers.Real) and not isinstance(dropout, bool):
        return [dropout] * count
    if isinstance(dropout, (str, bytes, bool)) or not hasattr(dropout, "__iter__"):
        raise TypeError(f"dropout: expected a number, or one for each hidden layer, got {dropout!r}")
    shares = list(dropout)
    if len(shares) != count:
        raise ValueError(f"dropout: expected {count} numbers, one for each hidden layer, got {len(shares)}")
    return shares
