"""Optimizers: fused, in-place updates of anybody's NumPy arrays, or of a model's parameters.

An optimizer made from arrays updates them with `step(grads)`; made from a model's parameters and given to a
`fastnn.Trainer`, its update runs inside the training plan. Hyper-parameters, defaults and formulas are PyTorch's where
PyTorch has the optimizer. `Optimizer` describes what all have in common.

State lives in the optimizer, one array for each parameter and moment; `state_dict` hands out copies as plain arrays and
numbers.
"""

from .adafactor import Adafactor
from .adam import Adam, Adamax, AdamW, NAdam, RAdam
from .adaptive import Adadelta, Adagrad, RMSprop
from .base import Optimizer
from .lamb import LAMB
from .lbfgs import LBFGS
from .lion import Lion
from .muon import Muon
from .schedule_free import ScheduleFreeAdamW
from .sgd import SGD

__all__ = [
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "LAMB",
    "LBFGS",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "SGD",
    "ScheduleFreeAdamW",
]


def __dir__():
    return __all__
