"""Layer: the base of the layers, and the checks that they share."""

import operator

from ..plan import Parameter


def check_size(value, name):
    """`value` as an int of at least 1 that an array dimension can have."""
    try:
        n = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if not 1 <= n < 2**31:
        raise ValueError(f"{name}: expected an integer from 1 to 2**31 - 1, got {n}")
    return n


class Layer:
    """Base of the layers."""

    def own_parameters(self):
        """(name, Parameter) of those that are its attributes."""
        return [(name, p) for name, p in vars(self).items() if isinstance(p, Parameter)]

    def parameters(self):
        """Its Parameters, in order."""
        return [p for _, p in self.own_parameters()]

    def config(self):
        """The arguments that make an equal layer, as JSON can hold them."""
        return {}

    def emit(self, builder, x):
        """Emit the layer's operations for the buffer `x`; return the buffer of its outputs."""
        raise NotImplementedError

    def output_features(self, features):
        """Features out for features in; raise ValueError if the layer cannot take them."""
        return features

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.config().items())})"
