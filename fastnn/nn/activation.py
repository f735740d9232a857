"""Activations as layers of their own."""

from ..activations import check_activation
from .layer import Layer


class Activation(Layer):
    """An activation as a layer of its own; behind a Dense layer it runs inside that layer's product.

    Parameters
    ----------
    name : str
        One of identity, sigmoid, tanh, relu, leaky_relu.
    alpha : float, optional
        leaky_relu: the slope for negative inputs, at least 0; 0.01 by default.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(4, 3), nn.Activation("leaky_relu", alpha=0.2))
    >>> model.predict(np.zeros((1, 4))).shape
    (1, 3)
    """

    def __init__(self, name, alpha=None):
        self.name, self.alpha = check_activation(name, alpha)

    def config(self):
        return {"name": self.name, **({"alpha": self.alpha} if self.name == "leaky_relu" else {})}

    def emit(self, builder, x):
        return builder.activation(x, self.name, self.alpha)
