"""The checks of arguments that modules from the initialisers to the losses and optimizers have in common. It imports nothing of
fastnn's, so that any module may use it. Each returns the value to keep, or raises with the argument's name, what was expected
and what came.
"""

import math
import numbers

import numpy as np


def real(value, name):
    """`value` as it is, once it is a number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    return value


def number(value, name, least=-math.inf, most=math.inf, below=math.inf):
    """`value` as a finite float in [least, most], or in [least, below)."""
    if type(value) is not float:
        try:
            value = float(real(value, name))
        except OverflowError:
            value = math.inf
    if not (math.isfinite(value) and least <= value <= most and value < below):
        limit = f" >= {least:g}" if least > -math.inf else ""
        if most < math.inf:
            limit = f" in [{least:g}, {most:g}]"
        elif below < math.inf:
            limit = f" in [{least:g}, {below:g})"
        raise ValueError(f"{name}: expected a finite number{limit}, got {value}")
    return value


def flag(value, name):
    """`value` as a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)
