"""Optimizers: fused, in-place updates of anybody's NumPy arrays, or of a model's parameters.

An optimizer made from arrays updates them with `step(grads)`; made from a model's parameters and given to a
`fastnn.Trainer`, its update runs inside the training plan. Hyper-parameters, defaults and formulas are PyTorch's where
PyTorch has the optimizer. `Optimizer` describes what all have in common.

State lives in the optimizer, one array for each parameter and moment; `state_dict` hands out copies as plain arrays and
numbers.
"""

from typing import TYPE_CHECKING

from ..core.lazy import lazily

_NAMES = {
    "adafactor": "Adafactor",
    "adam": "Adam AdamW Adamax NAdam RAdam",
    "adaptive": "Adadelta Adagrad RMSprop",
    "base": "Optimizer",
    "lamb": "LAMB",
    "lbfgs": "LBFGS",
    "lion": "Lion",
    "muon": "Muon",
    "schedule_free": "ScheduleFreeAdamW",
    "sgd": "SGD",
}

if TYPE_CHECKING:  # the same names for type checkers, which do not run what is below
    from .adafactor import *
    from .adam import *
    from .adaptive import *
    from .base import *
    from .lamb import *
    from .lbfgs import *
    from .lion import *
    from .muon import *
    from .schedule_free import *
    from .sgd import *
else:
    __getattr__, __dir__, __all__ = lazily(__name__, _NAMES)
