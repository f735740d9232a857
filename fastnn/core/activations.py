"""The elementwise activations and losses that the kernels know.

Tables, imported by the eager kernels, the plan, the layers and the losses; nothing is computed here.
"""

import math
import numbers
from typing import NamedTuple

from .. import _native

FLOAT32_MAX, FLOAT32_TINY = 3.4028234663852886e38, 2.0**-126


class Activation(NamedTuple):
    """One activation, as csrc/defs/activations.def has it."""

    code: int
    alpha: float  # the default of its parameter
    saves: str  # what its derivative is computed from: "y" the output, "z" the input, "" nothing
    lowest: float  # the least value of its parameter; -1: it has none
    init: str  # whose initialiser suits it: "he", "lecun", "xavier"
    layer: str  # PyTorch's name of a layer of it, if that takes no arguments


ACTIVATIONS = {name: Activation(code, alpha, saves, *more) for code, (name, saves, alpha, *more) in enumerate(_native.activations())}
PARAMETRIC = tuple(name for name, a in ACTIVATIONS.items() if a.lowest >= 0)  # those that look at alpha

_own = {kind.removesuffix("_forward"): roles for kind, _, roles, _, _, traits in _native.op_kinds() if "is_activation" in traits}
ROWWISE = tuple(name for name, roles in _own.items() if name != "activation" and len(roles) == 2)  # those that look across a row
LEARNED = tuple(name for name, roles in _own.items() if "slope" in roles)  # those whose slope for negative inputs is a Parameter
SLOPE = 0.25  # where it starts

FORMS = {name: code for code, name in enumerate(_native.losses())}  # of elementwise losses


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
    if ACTIVATIONS[name].lowest > 0 and not ACTIVATIONS[name].lowest <= alpha <= FLOAT32_MAX:
        raise ValueError(f"alpha: expected a number > 0, normal and finite in float32, got {alpha}")
    if not 0 <= alpha <= FLOAT32_MAX:
        raise ValueError(f"alpha: expected a number >= 0, finite in float32, got {alpha}")
    return name, alpha
