"""Initialisers of weights. Each is made by a function here and called by a layer with the weights' shape.

Every draw is a function of (seed, number of the parameter, position): `fastnn.manual_seed(s)` sets the seed and starts
the count of parameters anew, so the same script builds the same networks. The seed is 0 until it is set.

Weights are [fan_in, fan_out]. Numbers are drawn in float64 and rounded once to float32; they are the same bits on one
machine and agree to 1e-6 elsewhere (the mathematics library's logarithm and cosine may differ in the last place).

A layer that is not told takes the initialiser that suits its activation (`default_for`): He's Gaussian for the rectifiers
and what resembles them (relu, leaky_relu, prelu, elu, gelu, gelu_tanh, silu, softplus, mish), LeCun's for selu, Xavier's for the
others (sigmoid, tanh, hard_tanh, softmax, none). Biases start at zero.
"""

import contextlib
import math
import numbers
import operator
import threading

import numpy as np

from . import _native
from .core.activations import ACTIVATIONS, LEARNED, SLOPE
from .core.checks import number, scalar
from .reference.rng import to_normal, to_uniform

__all__ = [
    "calculate_gain",
    "constant",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "manual_seed",
    "normal",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]


def __dir__():
    return __all__


_STREAM = 0  # of the generator: initialisation; the shuffle has 1
_state = {"seed": 0, "drawn": 0}  # of all threads but those that have one of their own
_of_thread = threading.local()


def _now():
    """The seed and the count of the calling thread."""
    return getattr(_of_thread, "state", _state)


@contextlib.contextmanager
def seeded_alone(seed):
    """Within it the calling thread draws as after `manual_seed(seed)`, and a `manual_seed` is its own: other threads, and what comes
    after, are not concerned."""
    before = _now()
    _of_thread.state = {"seed": check_seed(seed), "drawn": 0}
    try:
        yield
    finally:
        if before is _state:
            del _of_thread.state
        else:
            _of_thread.state = before


def manual_seed(seed) -> None:
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
    _now().update(seed=check_seed(seed), drawn=0)


def check_seed(seed, name="seed"):
    """`seed` as an int, once it is one that the generator takes."""
    try:
        value = operator.index(seed)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {seed!r}") from None
    if not 0 <= value < 2**64:
        raise ValueError(f"{name}: expected an integer from 0 to 2**64 - 1, got {value}")
    return value


def _words(n, parameter=None, begin=0):
    """n random 64-bit words for the next parameter; or those from `begin` on for a parameter of which the number is known."""
    if parameter is None:
        parameter = _next_parameter()
    bits = _native.random_bits(2 * n, _now()["seed"], _STREAM, parameter, 2 * begin)
    return bits[0::2].astype(np.uint64) | bits[1::2].astype(np.uint64) << np.uint64(32)


def _next_parameter():
    state = _now()
    state["drawn"] += 1
    return state["drawn"] - 1


class Initializer:
    """Makes the first values of an array: call it with a shape. `name` and `settings` are what a file records."""

    def __init__(self, name, draw, **settings):
        self.name, self.settings, self._draw = name, settings, draw

    def __call__(self, shape, dtype=np.float64):
        """Values of that shape, float64 or rounded to float32."""
        return self._draw(shape, math.prod(shape), dtype).reshape(shape).astype(dtype, copy=False)

    def __repr__(self):
        return f"init.{self.name}({', '.join(f'{k}={v!r}' for k, v in self.settings.items())})"


def _fans(shape):
    """Of weights [in, out], or [kernel height, kernel width, in, out], whose taps all count."""
    fan_in, taps = shape[-2] if len(shape) > 1 else 1, math.prod(shape[:-2])
    return taps * fan_in, taps * shape[-1]


_BLOCK = 1 << 16  # numbers that are drawn at a time, an even number: what is needed meanwhile stays in the cache


def _in_blocks(n, dtype, values):
    """n numbers of the next parameter: `values` makes them, each pair of its own two words, of an even number of words."""
    parameter, found = _next_parameter(), np.empty(n, dtype)
    for begin in range(0, n, _BLOCK):
        size = min(_BLOCK, n - begin)
        found[begin : begin + size] = values(_words(size + size % 2, parameter, begin))[:size]
    return found


def _gaussian(n, dtype, std, mean=0.0):
    return _in_blocks(n, dtype, lambda words: mean + std * to_normal(words))


def _uniform(n, dtype, bound):
    return _in_blocks(n, dtype, lambda words: bound * (2.0 * to_uniform(words) - 1.0))


def _gaussian_between(n, low, high):
    """n draws of a standard Gaussian that lie in [low, high], by rejection from the uniform distribution."""
    nearest = min(max(low, 0.0), high)  # where the density is largest; 9 away from there it is below 2^-53 of that
    low, high = max(low, nearest - 9.0), min(high, nearest + 9.0)
    parameter, found, missing, begin = _next_parameter(), [], n, 0
    while missing > 0:
        words = _words(min(4 * missing + 64, 2 * _BLOCK), parameter, begin)
        begin += len(words)
        x = low + (high - low) * to_uniform(words[0::2])
        x = x[to_uniform(words[1::2]) < np.exp(0.5 * (nearest - x) * (nearest + x))]
        found.append(x)
        missing -= len(x)
    return np.concatenate(found)[:n] if found else np.zeros(0)


def zeros() -> "Initializer":
    """All zero: right for biases. Weights that start at zero give every unit of a layer the same gradient, so the units stay
    copies of each other; nothing ever makes them differ.

    Examples
    --------
    >>> fastnn.init.zeros()((2,))
    array([0., 0.])
    """
    return Initializer("zeros", lambda shape, n, dtype: np.zeros(n, dtype))


def normal(std=0.01, mean=0.0) -> "Initializer":
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
    std, mean = number(std, "std", 0), number(mean, "mean")
    return Initializer("normal", lambda shape, n, dtype: _gaussian(n, dtype, std, mean), std=std, mean=mean)


def constant(value=0.0) -> "Initializer":
    """The same number everywhere.

    Examples
    --------
    >>> fastnn.init.constant(0.5)((2,))
    array([0.5, 0.5])
    """
    value = number(value, "value")
    return Initializer("constant", lambda shape, n, dtype: np.full(n, value), value=value)


def identity(gain=1.0) -> "Initializer":
    """gain on the diagonal, zero elsewhere: a layer that starts by passing its inputs on. For weights of two dimensions.

    Examples
    --------
    >>> fastnn.init.identity()((2, 3))
    array([[1., 0., 0.],
           [0., 1., 0.]])
    """
    gain = number(gain, "gain")
    return Initializer("identity", lambda shape, n, dtype: gain * np.eye(*_matrix(shape, "identity")), gain=gain)


def uniform(low=-0.05, high=0.05) -> "Initializer":
    """Uniform on [low, high).

    Parameters
    ----------
    low, high : float, default -0.05 and 0.05
        As in Keras; PyTorch's ``uniform_`` has 0 and 1.

    Raises
    ------
    ValueError
        If low is above high.

    Examples
    --------
    >>> w = fastnn.init.uniform(-0.5, 0.25)((300, 100)); bool(w.min() >= -0.5 and w.max() <= 0.25)
    True
    """
    low, high = number(low, "low"), number(high, "high")
    if low > high:
        raise ValueError(f"low, high: expected low <= high, got {low} and {high}")
    draw = lambda shape, n, dtype: _in_blocks(n, dtype, lambda words: low + (high - low) * to_uniform(words))
    return Initializer("uniform", draw, low=low, high=high)


def truncated_normal(std=0.01, mean=0.0, low=-2.0, high=2.0) -> "Initializer":
    """Gaussian without its tails: values beyond `low` and `high` standard deviations from the mean do not occur.

    Parameters
    ----------
    std : float, default 0.01
        Of the Gaussian before it is cut, at least 0; between -2 and 2 what is left has a deviation of 0.8796 std.
    mean : float, default 0.0
    low, high : float, default -2.0 and 2.0
        In standard deviations from the mean, as in Keras and JAX (PyTorch's ``trunc_normal_`` takes values).

    Raises
    ------
    ValueError
        If low is not below high.

    Examples
    --------
    >>> w = fastnn.init.truncated_normal(std=0.1)((300, 100)); bool(abs(w).max() <= 0.2)
    True
    """
    std, mean = number(std, "std", 0), number(mean, "mean")
    low, high = number(low, "low"), number(high, "high")
    if not low < high:
        raise ValueError(f"low, high: expected low < high, got {low} and {high}")
    settings = {"std": std, "mean": mean, "low": low, "high": high}
    return Initializer("truncated_normal", lambda s, n, dtype: mean + std * _gaussian_between(n, low, high), **settings)


def orthogonal(gain=1.0) -> "Initializer":
    """gain times a random matrix with orthonormal rows or columns, whichever are fewer: all directions pass at one length.

    The Q of a QR decomposition of a Gaussian matrix, with signs that make R's diagonal positive, so that it is uniform over
    all such matrices. A. M. Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", 2014. For weights of two dimensions.

    Examples
    --------
    >>> w = fastnn.init.orthogonal()((30, 10)); bool(abs(w.T @ w - np.eye(10)).max() < 1e-12)
    True
    """
    gain = number(gain, "gain")
    return Initializer("orthogonal", lambda shape, n, dtype: gain * _orthonormal(*_matrix(shape, "orthogonal")), gain=gain)


def _matrix(shape, name):
    if len(shape) != 2:
        raise ValueError(f"shape: expected 2 dimensions for init.{name}, got {tuple(shape)}")
    return shape


def _orthonormal(rows, columns):
    long, short = max(rows, columns), min(rows, columns)
    q, r = np.linalg.qr(_gaussian(rows * columns, np.float64, 1.0).reshape(long, short))
    q = q * np.where(r.diagonal() < 0, -1.0, 1.0)
    return q if rows >= columns else q.T


def lecun_normal() -> "Initializer":
    """Gaussian of standard deviation √(1 / fan_in), which SELU needs to keep mean 0 and variance 1 from layer to layer.

    Y. LeCun et al., "Efficient backprop", 1998; G. Klambauer et al., "Self-normalizing neural networks", 2017. (Keras cuts
    off the tails of its ``lecun_normal`` at two deviations.)

    Examples
    --------
    >>> w = fastnn.init.lecun_normal()((300, 100)); bool(abs(w.std() - (1 / 300) ** 0.5) < 0.001)
    True
    """
    return Initializer("lecun_normal", lambda s, n, dtype: _gaussian(n, dtype, 1.0 / math.sqrt(_fans(s)[0])))


def lecun_uniform() -> "Initializer":
    """Uniform on ±√(3 / fan_in): the variance of `lecun_normal`.

    Examples
    --------
    >>> w = fastnn.init.lecun_uniform()((300, 100)); bool(abs(w).max() <= (3 / 300) ** 0.5)
    True
    """
    return Initializer("lecun_uniform", lambda s, n, dtype: _uniform(n, dtype, math.sqrt(3.0 / _fans(s)[0])))


def xavier_normal(gain=1.0) -> "Initializer":
    """Gaussian of standard deviation gain · √(2 / (fan_in + fan_out)), for sigmoid, tanh and linear units.

    X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.

    Examples
    --------
    >>> w = fastnn.init.xavier_normal()((300, 100)); bool(abs(w.std() - (2 / 400) ** 0.5) < 0.001)
    True
    """
    gain = number(gain, "gain", 0)
    return Initializer("xavier_normal", lambda s, n, dtype: _gaussian(n, dtype, gain * math.sqrt(2.0 / sum(_fans(s)))), gain=gain)


def xavier_uniform(gain=1.0) -> "Initializer":
    """Uniform on ±gain · √(6 / (fan_in + fan_out)): the variance of `xavier_normal`.

    Examples
    --------
    >>> w = fastnn.init.xavier_uniform()((300, 100)); bool(abs(w).max() <= (6 / 400) ** 0.5)
    True
    """
    gain = number(gain, "gain", 0)
    return Initializer("xavier_uniform", lambda s, n, dtype: _uniform(n, dtype, gain * math.sqrt(6.0 / sum(_fans(s)))), gain=gain)


def _he_gain(slope):
    return math.sqrt(2.0 / (1.0 + slope * slope))


def he_normal(slope=0.0) -> "Initializer":
    """Gaussian of standard deviation √(2 / ((1 + slope²) fan_in)), for ReLU (slope 0) and leaky ReLU.

    K. He et al., "Delving deep into rectifiers", 2015, equations 10 and 15.

    Examples
    --------
    >>> w = fastnn.init.he_normal()((300, 100)); bool(abs(w.std() - (2 / 300) ** 0.5) < 0.001)
    True
    """
    slope = number(slope, "slope")
    return Initializer("he_normal", lambda s, n, dtype: _gaussian(n, dtype, _he_gain(slope) / math.sqrt(_fans(s)[0])), slope=slope)


def he_uniform(slope=0.0) -> "Initializer":
    """Uniform on ±√(6 / ((1 + slope²) fan_in)): the variance of `he_normal`.

    Examples
    --------
    >>> w = fastnn.init.he_uniform()((300, 100)); bool(abs(w).max() <= (6 / 300) ** 0.5)
    True
    """
    slope = number(slope, "slope")
    return Initializer(
        "he_uniform", lambda s, n, dtype: _uniform(n, dtype, _he_gain(slope) * math.sqrt(3.0 / _fans(s)[0])), slope=slope
    )


# as Keras and JAX call Xavier's, and PyTorch He's
glorot_normal, glorot_uniform, kaiming_normal, kaiming_uniform = xavier_normal, xavier_uniform, he_normal, he_uniform

_GAINS = {
    "identity": 1.0,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3.0,
    "relu": math.sqrt(2.0),
    "leaky_relu": None,  # depends on the slope
    "selu": 0.75,
}


def calculate_gain(activation, alpha=None) -> float:
    """The gain that PyTorch's ``torch.nn.init.calculate_gain`` recommends for an activation, for `xavier_normal` and the like.

    1 for identity (and None) and sigmoid, 5/3 for tanh, √2 for relu, √(2 / (1 + alpha²)) for leaky_relu, 3/4 for selu. The
    defaults of layers (`default_for`) are the papers' own: Xavier's have gain 1 for tanh too, and selu has LeCun's, which
    is gain 1 over fan_in.

    Parameters
    ----------
    activation : str or None
    alpha : float, optional
        leaky_relu: the slope for negative inputs, 0.01 by default.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If no gain is known for the activation.

    Examples
    --------
    >>> round(fastnn.init.calculate_gain("relu") ** 2, 9)
    2.0
    """
    name = "identity" if activation is None else activation
    if not isinstance(name, str):
        raise TypeError(f"activation: expected a name, got {type(name).__name__}")
    if name not in _GAINS:
        raise ValueError(f"activation: expected one of {', '.join(_GAINS)}, got {name!r}")
    if name == "leaky_relu":
        return _he_gain(number(ACTIVATIONS[name].alpha if alpha is None else alpha, "alpha"))
    return _GAINS[name]


def default_for(activation, alpha=0.0):
    """What a layer uses when it is not told, as the register of activations says; He's for the slope that a leaky one has or starts from."""
    if activation == "leaky_relu" or activation in LEARNED:
        return he_normal(slope=SLOPE if activation in LEARNED else alpha)
    suits = ACTIVATIONS[activation].init if activation in ACTIVATIONS else "xavier"
    return {"he": he_normal, "lecun": lecun_normal, "xavier": xavier_normal}[suits]()


def resolve(init, activation, alpha):
    """An Initializer from what a layer was given: None, a name, one of this module's functions, an Initializer, or the standard
    deviation of a Gaussian."""
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
    found = scalar(init)
    if isinstance(found, numbers.Real) and not isinstance(found, bool):
        return normal(std=number(found, "init", 0))
    raise TypeError(f"init: expected a name, an initialiser of fastnn.init or a standard deviation, got {type(init).__name__}")


_BY_NAME = {
    f.__name__: f
    for f in (
        zeros, constant, identity, normal, uniform, truncated_normal, orthogonal, xavier_normal, xavier_uniform, he_normal,
        he_uniform, lecun_normal, lecun_uniform,
    )
} | {
    "glorot_normal": xavier_normal, "glorot_uniform": xavier_uniform, "kaiming_normal": he_normal, "kaiming_uniform": he_uniform,
}  # fmt: skip
