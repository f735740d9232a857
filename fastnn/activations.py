"""The elementwise activations that the kernels know: their codes, default parameter, and what they save.

A table, imported by the eager kernels, the plan and the layers; it computes nothing.
"""

import math
import numbers
from typing import NamedTuple

_FLOAT32_MAX = 3.4028234663852886e38


class Activation(NamedTuple):
    """One activation: its code in the C enum, default `alpha`, and what its derivative is computed from."""

    code: int
    alpha: float
    saves: str  # "y" the output, "z" the input, "" nothing


ACTIVATIONS = {
    "identity": Activation(0, 0.0, ""),
    "sigmoid": Activation(1, 0.0, "y"),
    "tanh": Activation(2, 0.0, "y"),
    "relu": Activation(3, 0.0, "y"),
    "leaky_relu": Activation(4, 0.01, "y"),
}


def check_activation(name, alpha=None):
    """Return (name, alpha) once the name is known and alpha is in range; None stands for identity and for the default."""
    if name is None:
        name = "identity"
    if not isinstance(name, str):
        raise TypeError(f"activation: expected a name, got {type(name).__name__}")
    if name not in ACTIVATIONS:
        raise ValueError(f"activation: expected one of {', '.join(ACTIVATIONS)}, got {name!r}")
    if alpha is None:
        return name, ACTIVATIONS[name].alpha
    if not isinstance(alpha, numbers.Real):
        raise TypeError(f"alpha: expected a number, got {type(alpha).__name__}")
    try:
        alpha = float(alpha)
    except OverflowError:
        alpha = math.inf
    if not 0 <= alpha <= _FLOAT32_MAX:
        raise ValueError(f"alpha: expected a number >= 0, finite in float32, got {alpha}")
    return name, alpha
