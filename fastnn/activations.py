"""The elementwise activations and losses that the kernels know: their codes, and of an activation its default parameter and
what it saves.

Tables, imported by the eager kernels, the plan, the layers and the losses; nothing is computed here.
"""

import math
import numbers
from typing import NamedTuple

FLOAT32_MAX, FLOAT32_TINY = 3.4028234663852886e38, 2.0**-126


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
    "elu": Activation(5, 1.0, "y"),
    "selu": Activation(6, 0.0, "y"),
    "gelu": Activation(7, 0.0, "z"),
    "gelu_tanh": Activation(8, 0.0, "z"),
    "silu": Activation(9, 0.0, "z"),
    "softplus": Activation(10, 1.0, "y"),
    "hard_tanh": Activation(11, 0.0, "y"),
}
PARAMETRIC = ("leaky_relu", "elu", "softplus")  # those that look at alpha

FORMS = {  # fnn_loss_form
    "squared": 0,
    "absolute": 1,
    "huber": 2,
    "poisson_log": 3,
    "poisson": 4,
    "binary_entropy": 5,
    "hinge": 6,
    "squared_hinge": 7,
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
    if name == "softplus" and not FLOAT32_TINY <= alpha <= FLOAT32_MAX:
        raise ValueError(f"alpha: expected a number > 0, normal and finite in float32, got {alpha}")
    if not 0 <= alpha <= FLOAT32_MAX:
        raise ValueError(f"alpha: expected a number >= 0, finite in float32, got {alpha}")
    return name, alpha
