"""Dense: the fully connected layer."""

from typing import Any

import numpy as np

from .. import init as initialisers
from ..core.checks import check_size
from ..core.dtypes import get_default_dtype
from ..core.parameter import Parameter
from ..regularizers import check_penalty, from_config
from .activation import Activation, activation_config, add_slope, emit_activation, for_layer, given_activation
from .layer import Layer, register


def with_settings(arguments):
    """The arguments of a linear layer from its entry in a file: its weights start at zero, its penalty and alpha are made."""
    arguments = {**arguments, "init": "zeros", "penalty": from_config(arguments.get("penalty"))}
    alpha = arguments.pop("alpha", None)
    if alpha is not None:
        arguments["activation"] = Activation(arguments.get("activation"), alpha)
    return arguments


def _exact(layer):
    """w [in_features, columns] as it multiplies, and b, of a linear layer, float64."""
    w = layer.weight.data.astype(np.float64)
    b = layer.bias.data.astype(np.float64) if layer.bias is not None else np.zeros(1)
    return (w.T if getattr(layer, "transpose", False) else w), b


def affine_output(layer, s, t):
    """Weights and bias with which a linear layer gives s y + t: s (x w + b) + t = x (w s) + (s b + t)."""
    w, b = _exact(layer)
    return w * s, b * s + t


def affine_input(layer, s, t):
    """Weights and bias with which a linear layer takes s x + t: (s x + t) w + b = x (s w) + (t w + b)."""
    w, b = _exact(layer)
    return s[:, None] * w, t @ w + b


@register
class Dense(Layer):
    """Fully connected layer: y = f(x w + b).

    Parameters
    ----------
    in_features, out_features : int
        Features of its input and output. in_features may be None behind layers that tell: behind `Input`, for one.
    activation : str or Activation, optional
        A name that `Activation` takes, identity by default, or prelu; an `Activation` where it needs an alpha.
    bias : bool, default True
        Whether there is a b.
    init : str, fastnn.init initialiser or float, optional
        For the weights: an initialiser, its name, or the standard deviation of a Gaussian. By default the one that suits the activation:
        He's Gaussian for relu and what resembles it, LeCun's for selu, Xavier's for the others (see `fastnn.init`). Biases start at 0.
    penalty : fastnn.regularizers penalty, optional
        On the weights, not the bias; by default the trainer's, if it has one.

    Attributes
    ----------
    weight : Parameter [in_features, out_features]
    bias : Parameter [out_features] or None
    slope : Parameter [1]
        Only with prelu, from 0.25.

    Raises
    ------
    ValueError, TypeError
        If a size is less than 1 or the product of both too large for an array, or a name is unknown.

    Examples
    --------
    >>> layer = nn.Dense(784, 100, activation="relu")
    >>> layer.weight.shape, layer.bias.shape
    ((784, 100), (100,))
    """

    def __init__(self, in_features, out_features, activation=None, bias=True, init=None, penalty=None) -> None:
        self.in_features = None if in_features is None else check_size(in_features, "in_features")
        self.out_features = check_size(out_features, "out_features")
        self._check_product(self.in_features)
        self.activation, self.alpha = given_activation(activation)
        self.penalty = check_penalty(penalty)
        self._init = init  # until there are weights
        initialisers.resolve(init, self.activation, self.alpha)
        self.weight: Any = None
        if self.in_features is not None:
            self._make_weight(self.in_features)
        self.bias = Parameter(np.zeros(self.out_features), "bias") if bias else None
        add_slope(self)

    def _check_product(self, in_features):
        if (in_features or 1) * self.out_features >= 2**60:
            raise ValueError(f"in_features, out_features: expected a product below 2**60, got {in_features} x {self.out_features}")

    def _make_weight(self, in_features):
        weights = initialisers.resolve(self._init, self.activation, self.alpha)((in_features, self.out_features), get_default_dtype())
        vars(self).update(in_features=in_features, weight=Parameter(weights, "weight"), _init=None)

    @property
    def needs_shape(self):
        return self.weight is None

    def settle(self, shape):
        if self.weight is None:
            self._make_weight(shape[0])

    def config(self):
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            **activation_config(self),
            "bias": self.bias is not None,
            **({} if self.penalty is None else {"penalty": self.penalty.config()}),
        }

    @classmethod
    def tensor_shapes(cls, entry):
        return {"weight": (entry.get("in_features"), entry.get("out_features"))}

    @classmethod
    def from_entry(cls, arguments, inside, known):
        return cls(**with_settings(arguments))

    def scaled_output(self, s, t):
        return self.with_weights(*affine_output(self, s, t)) if self.activation == "identity" else None

    def scaled_input(self, s, t):
        return self.with_weights(*affine_input(self, s, t))

    def with_weights(self, w, b):
        """A Dense like this one with other weights [in_features, out_features] and bias."""
        activation = for_layer(self.activation, self.alpha)
        new = Dense(self.in_features, self.out_features, activation, init="zeros").to_dtype(self.weight.dtype)
        if hasattr(self, "slope"):
            new.slope.data = self.slope.data
        new.weight.data, new.bias.data = w, b
        return new

    def emit(self, builder, x, weight=None):
        """`weight`: what takes the place of the weights, if anything does; see `DropConnect`."""
        y = builder.dense(x, self.weight if weight is None else weight, self.bias)
        return emit_activation(builder, y, self.activation, self.alpha, getattr(self, "slope", None))

    def output_shape(self, shape):
        self.check_features(shape)
        self._check_product(shape[0])
        return (self.out_features,)
