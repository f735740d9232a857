"""Checks of arguments of the eager kernels that are no arrays."""

import operator

import numpy as np

from .. import _native
from ..core.activations import ACTIVATIONS, check_activation

_FLOAT32_MAX = float(np.finfo(np.float32).max)


_PLAIN = {name: (a.code, a.alpha) for name, a in ACTIVATIONS.items()}


def _activation(activation, alpha):
    """(code, alpha) of an activation."""
    if alpha is None and type(activation) is str and activation in _PLAIN:
        return _PLAIN[activation]
    name, alpha = check_activation(activation, alpha)
    return ACTIVATIONS[name].code, alpha


def _require_array(obj, name):
    if not isinstance(obj, np.ndarray):
        raise TypeError(f"{name}: expected a NumPy array, got {type(obj).__name__}")
    _native.plain(obj, name)


def _own(obj, name):
    """An array as NumPy's own class has it: what a subclass says of its shape or dtype does not count."""
    _require_array(obj, name)
    return np.asarray(obj)


def _integer(value, name, low, high):
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if not low <= value <= high:
        raise ValueError(f"{name}: expected an integer from {low} to {high}, got {value}")
    return value


def _number(value, name):
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a number, got {value!r}") from None
    except OverflowError:
        raise ValueError(f"{name}: expected a number that a double can hold, got one beyond it") from None


def _eps(eps):
    if type(eps) is float and 0 <= eps <= 3.4e38:
        return eps
    (eps,) = _at_least_zero(eps=eps)
    if eps > 3.4e38:
        raise ValueError(f"eps: expected a number that is finite in float32, got {eps}")
    return eps


def _draws(seed, offset, stream):
    limit = 2**32 - 1
    return _integer(seed, "seed", 0, 2**64 - 1), _integer(offset, "offset", 0, limit), _integer(stream, "stream", 0, limit)


def _at_least_zero(**values):
    numbers = {name: _number(value, name) for name, value in values.items()}
    for name, value in numbers.items():
        if not value >= 0:
            raise ValueError(f"{name}: expected a number >= 0, got {value}")
    return numbers.values()
