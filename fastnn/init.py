"""Initialisers of weights. Each is made by a function here and called by a layer with the weights' shape.

Every draw is a function of (seed, number of the parameter, position): `fastnn.manual_seed(s)` sets the seed and starts
the count of parameters anew, so the same script builds the same networks. The seed is 0 until it is set.

Weights are [fan_in, fan_out]. Numbers are drawn in float64 and rounded once to float32; they are the same bits on one
machine and agree to 1e-6 elsewhere (the mathematics library's logarithm and cosine may differ in the last place).
"""

import math
import numbers
import operator

import numpy as np

from . import _native
from .reference.rng import to_normal, to_uniform

__all__ = ["he_normal", "he_uniform", "manual_seed", "normal", "xavier_normal", "xavier_uniform", "zeros"]

_STREAM = 0  # of the generator: initialisation; the shuffle has 1
_state = {"seed": 0, "drawn": 0}


def manual_seed(seed):
    """Fix the random numbers of everything that is initialised from now on.

    Parameters
    ----------
    seed : int
        From 0 to 2**64 - 1.

    Raises
    ------
    TypeError, ValueError
        If the seed is not an integer, or out of range.

    Examples
    --------
    >>> fastnn.manual_seed(1); a = fastnn.nn.Dense(3, 2)
    >>> fastnn.manual_seed(1); b = fastnn.nn.Dense(3, 2)
    >>> bool((a.weight.data == b.weight.data).all())
    True
    """
    _state["seed"] = check_seed(seed)
    _state["drawn"] = 0


def check_seed(seed, name="seed"):
    """`seed` as an int, once it is one that the generator takes."""
    try:
        value = operator.index(seed)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {seed!r}") from None
    if not 0 <= value < 2**64:
        raise ValueError(f"{name}: expected an integer from 0 to 2**64 - 1, got {value}")
    return value


def _words(n):
    """n random 64-bit words for the next parameter."""
    _state["drawn"] += 1
    bits = _native.random_bits(2 * n, _state["seed"], _STREAM, _state["drawn"] - 1, 0)
    return bits[0::2].astype(np.uint64) | bits[1::2].astype(np.uint64) << np.uint64(32)


class Initializer:
    """Makes the first values of an array: call it with a shape. `name` and `settings` are what a file records."""

    def __init__(self, name, draw, **settings):
        self.name, self.settings, self._draw = name, settings, draw

    def __call__(self, shape):
        """float64 values of that shape."""
        n = math.prod(shape)
        return self._draw(shape, n).reshape(shape)

    def __repr__(self):
        return f"init.{self.name}({', '.join(f'{k}={v!r}' for k, v in self.settings.items())})"


def _fans(shape):
    fan_in = shape[0] if len(shape) > 1 else 1
    return fan_in, shape[-1]


def _gaussian(n, std, mean=0.0):
    return mean + std * to_normal(_words(n + n % 2))[:n]


def _uniform(n, bound):
    return bound * (2.0 * to_uniform(_words(n)) - 1.0)


def _number(value, name, least=-math.inf):
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value) or value < least:
        raise ValueError(f"{name}: expected a finite number{'' if least == -math.inf else f' >= {least:g}'}, got {value}")
    return value


def zeros():
    """All zero: right for biases; weights that start at zero get equal gradients in a layer and never part.

    Examples
    --------
    >>> fastnn.init.zeros()((2,))
    array([0., 0.])
    """
    return Initializer("zeros", lambda shape, n: np.zeros(n))


def normal(std=0.01, mean=0.0):
    """Gaussian with a given standard deviation.

    Parameters
    ----------
    std : float, default 0.01
        At least 0.
    mean : float, default 0.0

    Examples
    --------
    >>> fastnn.init.normal(std=1.0)((3, 4)).shape
    (3, 4)
    """
    std, mean = _number(std, "std", 0), _number(mean, "mean")
    return Initializer("normal", lambda shape, n: _gaussian(n, std, mean), std=std, mean=mean)


def xavier_normal(gain=1.0):
    """Gaussian of standard deviation gain · √(2 / (fan_in + fan_out)), for sigmoid, tanh and linear units.

    X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.

    Examples
    --------
    >>> w = fastnn.init.xavier_normal()((300, 100)); bool(abs(w.std() - (2 / 400) ** 0.5) < 0.001)
    True
    """
    gain = _number(gain, "gain", 0)
    return Initializer("xavier_normal", lambda s, n: _gaussian(n, gain * math.sqrt(2.0 / sum(_fans(s)))), gain=gain)


def xavier_uniform(gain=1.0):
    """Uniform on ±gain · √(6 / (fan_in + fan_out)): the variance of `xavier_normal`.

    Examples
    --------
    >>> w = fastnn.init.xavier_uniform()((300, 100)); bool(abs(w).max() <= (6 / 400) ** 0.5)
    True
    """
    gain = _number(gain, "gain", 0)
    return Initializer("xavier_uniform", lambda s, n: _uniform(n, gain * math.sqrt(6.0 / sum(_fans(s)))), gain=gain)


def _he_gain(slope):
    return math.sqrt(2.0 / (1.0 + slope * slope))


def he_normal(slope=0.0):
    """Gaussian of standard deviation √(2 / ((1 + slope²) fan_in)), for ReLU (slope 0) and leaky ReLU.

    K. He et al., "Delving deep into rectifiers", 2015, equations 10 and 15.

    Examples
    --------
    >>> w = fastnn.init.he_normal()((300, 100)); bool(abs(w.std() - (2 / 300) ** 0.5) < 0.001)
    True
    """
    slope = _number(slope, "slope")
    return Initializer("he_normal", lambda s, n: _gaussian(n, _he_gain(slope) / math.sqrt(_fans(s)[0])), slope=slope)


def he_uniform(slope=0.0):
    """Uniform on ±√(6 / ((1 + slope²) fan_in)): the variance of `he_normal`.

    Examples
    --------
    >>> w = fastnn.init.he_uniform()((300, 100)); bool(abs(w).max() <= (6 / 300) ** 0.5)
    True
    """
    slope = _number(slope, "slope")
    return Initializer(
        "he_uniform", lambda s, n: _uniform(n, _he_gain(slope) * math.sqrt(3.0 / _fans(s)[0])), slope=slope
    )


def default_for(activation, alpha=0.0):
    """What a Dense layer uses when it is not told: He's for the rectifiers, Xavier's for the others."""
    if activation == "relu":
        return he_normal()
    if activation == "leaky_relu":
        return he_normal(slope=alpha)
    return xavier_normal()


def resolve(init, activation, alpha):
    """An Initializer from what a layer was given: None, a name, one of this module's functions, or an Initializer."""
    if init is None:
        return default_for(activation, alpha)
    if isinstance(init, str):
        if init not in _BY_NAME:
            raise ValueError(f"init: expected one of {', '.join(_BY_NAME)}, got {init!r}")
        return _BY_NAME[init]()
    if any(init is f for f in _BY_NAME.values()):
        return init()
    if isinstance(init, Initializer):
        return init
    raise TypeError(f"init: expected a name or an initialiser of fastnn.init, got {type(init).__name__}")


_BY_NAME = {f.__name__: f for f in (zeros, normal, xavier_normal, xavier_uniform, he_normal, he_uniform)}
