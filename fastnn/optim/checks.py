"""What a hyper-parameter may be: each function returns the value to keep, or raises with the name, what was expected and
what came."""

import functools
import math
import numbers

from ..core.checks import flag as flag  # one of those here
from ..core.checks import nearest as nearest
from ..core.checks import number as _number
from ..core.checks import scalar
from ..core.update_rules import PAIRS


def instead(unknown, known):
    """For a message: which names of `known` to write in place of the unknown ones, where that can be guessed."""
    found = [(name, nearest(name, known, 0.8)) for name in unknown]
    return "".join(f"; for {name} write {meant}" for name, meant in found if meant)


def number(value, name, least=0.0, below=math.inf):
    """`value` as a float in [least, below)."""
    if type(value) is float and -math.inf < value < below and value >= least:  # rates are checked at every step
        return value
    return _number(value, name, least, below=below)


def setting(value, name, least=0.0, below=math.inf):
    """The same, or a schedule: a callable from the number of steps done to the number (optax's are such)."""
    return value if callable(value) else number(value, name, least, below)


def any_number(value, name):
    """`value` as a finite float."""
    return _number(value, name)


def betas(value, name):
    """A pair of floats in [0, 1), or of schedules, as a tuple."""
    try:
        first, second = value
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected a pair of numbers, got {value!r}") from None
    pair = setting(first, f"{name}[0]", 0.0, 1.0), setting(second, f"{name}[1]", 0.0, 1.0)
    # the same tuple if it was one: settings that are set count as changed
    return value if type(value) is tuple and value[0] is pair[0] and value[1] is pair[1] else pair


def count(value, name):
    """`value` as an integer from 0."""
    found = scalar(value)
    if isinstance(found, bool) or not isinstance(found, numbers.Integral):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if not 0 <= found < 2**53:
        raise ValueError(f"{name}: expected an integer from 0 to 2**53 - 1, got {found}")
    return int(found)


def positive(value, name):
    """None, or a float above 0; or a schedule."""
    if value is None or callable(value):
        return value
    value = number(value, name)
    if value == 0:
        raise ValueError(f"{name}: expected a number > 0, got 0")
    return value


def share(value, name):
    """None, or a float between 0 and 1; or a schedule."""
    if value is None or callable(value):
        return value
    value = number(value, name, 0.0, 1.0)
    if value == 0:
        raise ValueError(f"{name}: expected a number between 0 and 1, got 0")
    return value


def _one_of(values, value, name):
    if not isinstance(value, str) or value not in values:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, values))}, got {value!r}")
    return value


def of_register(settings):
    """The checks of hyper-parameters that are no integers, by name, as the register of rules has their limits."""
    found = {}
    for name, s in settings.items():
        if name in ("beta1", "beta2"):
            found["betas"] = betas
        elif not s.whole and name not in PAIRS:
            found[name] = functools.partial(setting, least=s.least, below=s.below)
    return found


def choice(*values):
    """One of these strings. A check that can be pickled, like the others."""
    return functools.partial(_one_of, values)
