"""Tied: a dense layer that uses another's weights. Maxout: the largest of several linear pieces."""

import numpy as np

from .. import init as initialisers
from ..core.checks import check_size
from ..core.dtypes import get_default_dtype
from ..core.parameter import Parameter
from ..regularizers import check_penalty
from .activation import Activation, activation_config, emit_activation, given_activation
from .dense import Dense, affine_input, affine_output, with_settings
from .layer import Layer, register


@register
class Tied(Layer):
    """A dense layer that shares another's weights, transposed or as they are: y = f(x wᵀ + b), as in a tied autoencoder.

    The gradients of both uses add up. The bias is its own. The weights appear once in a model's parameters and files.

    Parameters
    ----------
    dense : Dense
        Whose weights. To be saved in a model, it must stand before this layer.
    transpose : bool, default True
        Use wᵀ: the features go from dense.out_features to dense.in_features. Else w.
    activation : str or Activation, optional
        As in Dense.
    bias : bool, default True
        Whether there is a b. It starts at 0.

    Attributes
    ----------
    weight : Parameter
        That of `dense`.
    bias : Parameter or None

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> encoder = nn.Dense(64, 16, activation="sigmoid")
    >>> model = nn.Sequential(encoder, nn.Tied(encoder))
    >>> [(name, p.shape) for name, p in model.named_parameters()]
    [('0.weight', (64, 16)), ('0.bias', (16,)), ('1.bias', (64,))]
    """

    def __init__(self, dense, transpose=True, activation=None, bias=True) -> None:
        if not isinstance(dense, Dense):
            raise TypeError(f"dense: expected a Dense layer, got {type(dense).__name__}")
        if dense.needs_shape:
            raise ValueError("dense: expected a layer whose in_features are known, got one that infers them")
        self.dense, self.transpose = dense, bool(transpose)
        self.in_features, self.out_features = dense.in_features, dense.out_features
        if self.transpose:
            self.in_features, self.out_features = self.out_features, self.in_features
        self.activation, self.alpha = given_activation(activation, learned=False)
        self.weight = dense.weight
        self.bias = Parameter(np.zeros(self.out_features), "bias") if bias else None

    def config(self):
        return {
            "transpose": self.transpose,
            **activation_config(self),
            "bias": self.bias is not None,
        }

    def entry(self, path, paths):
        if id(self.dense) not in paths:
            raise ValueError(f"layer {path}: expected the Dense layer of a Tied one before it in the model, got one that is not")
        return {**super().entry(path, paths), "dense": paths[id(self.dense)]}

    @classmethod
    def from_entry(cls, arguments, inside, known):
        name = arguments.get("dense")
        arguments = {**arguments, "dense": known.get(name) if isinstance(name, str) else None}
        alpha = arguments.pop("alpha", None)
        if alpha is not None:
            arguments["activation"] = Activation(arguments.get("activation"), alpha)
        return cls(**arguments)

    def scaled_output(self, s, t):
        return self._untied(*affine_output(self, s, t)) if self.activation == "identity" else None

    def scaled_input(self, s, t):
        return self._untied(*affine_input(self, s, t))

    def with_own_weights(self, present):
        if id(self.dense) in present:
            return self
        return self._untied(*affine_output(self, 1.0, 0.0))

    def _untied(self, w, b):
        new = Dense(self.in_features, self.out_features, Activation(self.activation, self.alpha), init="zeros")
        new.to_dtype(self.weight.dtype)
        new.weight.data, new.bias.data = w, np.broadcast_to(b, (self.out_features,))
        return new

    def emit(self, builder, x):
        layer = builder.tied if self.transpose else builder.dense
        return emit_activation(builder, layer(x, self.weight, self.bias), self.activation, self.alpha)

    def output_shape(self, shape):
        super().output_shape(shape)
        return (self.out_features,)

    def __repr__(self):
        return f"Tied({self.dense!r}, {super().__repr__()[len('Tied('):]}"


@register
class Maxout(Layer):
    """The largest of several linear pieces: y_j = max_k (x w + b)_kj, k = 1 … pieces.

    I. Goodfellow et al., "Maxout networks", 2013. Of equal pieces the first gets the gradient.

    Parameters
    ----------
    in_features, out_features : int
        Columns of its input and output.
    pieces : int, default 2
        How many linear functions each output is the largest of.
    bias : bool, default True
        Whether there is a b.
    init : str or fastnn.init initialiser, optional
        For the weights of each piece. By default He's Gaussian. Biases start at 0.
    penalty : fastnn.regularizers penalty, optional
        As in Dense.

    Attributes
    ----------
    weight : Parameter [in_features, pieces · out_features]
        The pieces side by side.
    bias : Parameter [pieces · out_features] or None

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit.

    Examples
    --------
    >>> model = nn.Sequential(nn.Maxout(4, 8, pieces=3), nn.Dense(8, 2))
    >>> model.layers[0].weight.shape
    (4, 24)
    """

    def __init__(self, in_features, out_features, pieces=2, bias=True, init=None, penalty=None) -> None:
        self.in_features = check_size(in_features, "in_features")
        self.out_features = check_size(out_features, "out_features")
        self.pieces = check_size(pieces, "pieces")
        if self.in_features * self.out_features * self.pieces >= 2**60:
            raise ValueError(
                "in_features, out_features, pieces: expected a product below 2**60, got "
                f"{self.in_features} x {self.out_features} x {self.pieces}"
            )
        self.penalty = check_penalty(penalty)
        weights = initialisers.resolve(init, "relu", 0.0)
        each = [weights((self.in_features, self.out_features), get_default_dtype()) for _ in range(self.pieces)]
        self.weight = Parameter(np.concatenate(each, axis=1), "weight")
        self.bias = Parameter(np.zeros(self.pieces * self.out_features), "bias") if bias else None

    def config(self):
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "pieces": self.pieces,
            "bias": self.bias is not None,
            **({} if self.penalty is None else {"penalty": self.penalty.config()}),
        }

    @classmethod
    def tensor_shapes(cls, entry):
        sizes = entry.get("out_features"), entry.get("pieces", 2)
        columns = sizes[0] * sizes[1] if all(isinstance(n, int) for n in sizes) else None  # other things might grow without limit
        return {"weight": (entry.get("in_features"), columns)}

    @classmethod
    def from_entry(cls, arguments, inside, known):
        return cls(**with_settings(arguments))

    def scaled_input(self, s, t):
        new = Maxout(self.in_features, self.out_features, self.pieces, init="zeros").to_dtype(self.weight.dtype)
        new.weight.data, new.bias.data = affine_input(self, s, t)
        return new

    def emit(self, builder, x):
        return builder.maxout(builder.dense(x, self.weight, self.bias), self.pieces)

    def output_shape(self, shape):
        super().output_shape(shape)
        return (self.out_features,)
