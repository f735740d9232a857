"""Activations as layers of their own."""

from typing import TYPE_CHECKING

import numpy as np

from ..core.activations import ACTIVATIONS, FLOAT32_MAX, LEARNED, PARAMETRIC, ROWWISE, SLOPE, check_activation
from ..core.parameter import Parameter
from ..core.checks import check_number, check_size
from .layer import Layer, register


def check_layer_activation(name, alpha=None, learned=False):
    """(name, alpha) of an elementwise activation, one across rows, or one that is learned."""
    more = ROWWISE + (LEARNED if learned else ())
    if isinstance(name, str) and name in more:
        return name, 0.0
    if isinstance(name, str) and name not in ACTIVATIONS:
        hint = "; write nn.PReLU()" if name in LEARNED else ""
        raise ValueError(f"activation: expected one of {', '.join((*ACTIVATIONS, *more))}, got {name!r}{hint}")
    return check_activation(name, alpha)


def given_activation(given, learned=True):
    """(name, alpha) of what a layer gets as its activation: an Activation or a name."""
    return (given.name, given.alpha) if isinstance(given, Activation) else check_layer_activation(given, learned=learned)


def activation_config(layer, key="activation"):
    """What a layer's entry says of its activation: its name, and its parameter where it has one."""
    name = getattr(layer, key)
    return {key: name, **({"alpha": layer.alpha} if name in PARAMETRIC else {})}


def add_slope(layer):
    """The Parameter of a layer's own activation, if that is learned."""
    if layer.activation in LEARNED:
        layer.slope = Parameter(np.full(1, SLOPE), "slope")


def for_layer(name, alpha=None):
    """An activation as a layer's argument."""
    return name if name in LEARNED else Activation(name, alpha)


def as_layer(name, alpha=None):
    """An activation as a layer of its own."""
    return PReLU() if name in LEARNED else Activation(name, alpha)


def emit_activation(builder, x, name, alpha, slope=None):
    """Emit f(x); slope: the Parameter of one that is learned. The builder has a method for each that is no elementwise one."""
    if name in ROWWISE:
        return getattr(builder, name)(x)
    return builder.prelu(x, slope) if name in LEARNED else builder.activation(x, name, alpha)


@register
class Activation(Layer):
    """An activation as a layer of its own; behind a Dense layer the elementwise ones run inside that layer's product.

    Parameters
    ----------
    name : str
        One of the elementwise ones, such as "relu": `fastnn.kernels.activation_forward` has a table of them with their formulas. Or
        softmax or log_softmax. For prelu, which is learned, there is `PReLU`.
    alpha : float, optional
        The parameter of those that have one; the table has its default and its least value.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(4, 3), nn.Activation("leaky_relu", alpha=0.2))
    >>> model.predict(np.zeros((1, 4))).shape
    (1, 3)
    """

    def __init__(self, name, alpha=None) -> None:
        self.name, self.alpha = check_layer_activation(name, alpha)

    def config(self):
        return activation_config(self, "name")

    def emit(self, builder, x):
        return emit_activation(builder, x, self.name, self.alpha)

    def for_inference(self):
        return None if self.name == "identity" else self

    def output_shape(self, shape):
        if self.name in ROWWISE:
            self.check_features(shape)
        return shape


def _named(name, spelled):
    def make() -> Activation:
        return Activation(name)

    make.__name__ = make.__qualname__ = spelled
    make.__doc__ = f'``Activation("{name}")``, as PyTorch calls it.'
    return make


globals().update({a.layer: _named(name, a.layer) for name, a in ACTIVATIONS.items() if a.layer})

if TYPE_CHECKING:  # the same names for type checkers, which do not run what is above

    def _made() -> Activation: ...

    Hardtanh = Identity = Mish = ReLU = SELU = Sigmoid = SiLU = Tanh = _made


def LeakyReLU(negative_slope=0.01) -> Activation:
    """``Activation("leaky_relu", alpha=negative_slope)``, as PyTorch calls it; Keras's default is 0.3."""
    return Activation("leaky_relu", negative_slope)


def ELU(alpha=1.0) -> Activation:
    """``Activation("elu", alpha)``, as PyTorch calls it."""
    return Activation("elu", alpha)


def GELU(approximate="none") -> Activation:
    """``Activation("gelu")``, or "gelu_tanh" with ``approximate="tanh"``, as PyTorch calls it."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate: expected 'none' or 'tanh', got {approximate!r}")
    return Activation("gelu" if approximate == "none" else "gelu_tanh")


def Softplus(beta=1.0) -> Activation:
    """``Activation("softplus", alpha=beta)``, as PyTorch calls it."""
    return Activation("softplus", beta)


@register
class Softmax(Layer):
    """Softmax over the features of each row: outputs above 0 that sum to 1.

    Not before `losses.SoftmaxCrossEntropy`, which takes what comes before the softmax: a Trainer refuses it.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(4, 2, init="zeros"), nn.Softmax())
    >>> model.predict(np.ones((1, 4)))
    array([[0.5, 0.5]], dtype=float32)
    """

    def emit(self, builder, x):
        return builder.softmax(x)

    def output_shape(self, shape):
        self.check_features(shape)
        return shape


@register
class LogSoftmax(Layer):
    """The logarithm of softmax over the features of each row.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(4, 2, init="zeros"), nn.LogSoftmax())
    >>> model.predict(np.ones((1, 4))).round(3).tolist()
    [[-0.6930000185966492, -0.6930000185966492]]
    """

    def emit(self, builder, x):
        return builder.log_softmax(x)

    def output_shape(self, shape):
        self.check_features(shape)
        return shape


@register
class PReLU(Layer):
    """A leaky ReLU whose slope for negative inputs is learned: y = x if x > 0 else slope x.

    (He, Zhang, Ren & Sun 2015, who leave weight decay off the slope.)

    Parameters
    ----------
    num_parameters : int, default 1
        1: one slope for all features; else the number of features, or of the channels of images, each with a slope of its own.
    init : float, default 0.25
        Where the slopes start.

    Attributes
    ----------
    slope : Parameter [num_parameters]

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(4, 3), nn.PReLU(3))
    >>> model.layers[1].slope.data
    array([0.25, 0.25, 0.25], dtype=float32)
    """

    def __init__(self, num_parameters=1, init=SLOPE) -> None:
        self.num_parameters = check_size(num_parameters, "num_parameters")
        init = check_number(init, "init", -FLOAT32_MAX, FLOAT32_MAX, "a number, finite in float32")
        self.slope = Parameter(np.full(self.num_parameters, init), "slope")

    def config(self):
        return {"num_parameters": self.num_parameters}

    @classmethod
    def tensor_shapes(cls, entry):
        return {"slope": (entry.get("num_parameters"),)}

    def emit(self, builder, x):
        return builder.prelu(x, self.slope)

    def output_shape(self, shape):
        if self.num_parameters not in (1, shape[-1]):
            got = f"input features, got {shape[0]}" if len(shape) == 1 else f"channels, got shape {shape}"
            raise ValueError(f"{self!r}: expected {self.num_parameters} {got}")
        return shape


@register
class ParametricActivation(Layer):
    """An activation of which each feature takes a part that is learned: y = x + weight · (f(x) - x).

    At 1, where the weights start, it is the activation, at 0 nothing. D. Holzmüller, L. Grinsztajn and I. Steinwart, "Better by
    default: strong pre-tuned MLPs and boosted trees on tabular data", 2024.

    Parameters
    ----------
    features : int
        Features of its input.
    activation : str or Activation
        One of the elementwise ones.
    alpha : float, optional
        The activation's parameter; see `Activation`.

    Attributes
    ----------
    weight : Parameter [features]

    Raises
    ------
    TypeError, ValueError
        If features is no positive integer, or there is no such elementwise activation.

    Examples
    --------
    >>> layer = nn.ParametricActivation(3, "relu")
    >>> layer.weight.data = [1.0, 0.5, 0.0]
    >>> nn.Sequential(layer).predict([[-2.0, -2.0, -2.0]])
    array([[ 0., -1., -2.]], dtype=float32)
    """

    def __init__(self, features, activation, alpha=None) -> None:
        self.features = self.in_features = check_size(features, "features")
        if isinstance(activation, Activation):
            activation, alpha = activation.name, activation.alpha if activation.name in PARAMETRIC else None
        self.activation, self.alpha = check_activation(activation, alpha)
        self.weight = Parameter(np.ones(self.features), "weight")

    def config(self):
        return {"features": self.features, **activation_config(self)}

    @classmethod
    def tensor_shapes(cls, entry):
        return {"weight": (entry.get("features"),)}

    def emit(self, builder, x):
        return builder.parametric_activation(x, self.weight, self.activation, self.alpha)
