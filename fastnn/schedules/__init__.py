"""Schedules: learning rates that depend on the step.

A schedule is called with the number of steps done, from 0, and gives the rate of the next step; any optimizer takes one in
place of a number: ``optim.SGD(params, lr=schedules.Cosine(0.1, 1000))``. Steps are updates. To count epochs, wrap it:
``PerEpoch(Step(0.1, 20))``; `Trainer.fit` says how many steps an epoch has.

Schedules compose: `WarmUp` stands in front of any, `Sequence` runs them one after another, ``*`` multiplies them. Except for
`ReduceOnPlateau`, which learns from a metric, they are functions of the step alone and never change. `config` gives one as a
plain dict and `from_config` makes it again.

Cosines and powers come from the C library, element by element, so that a rate has the same bits however many steps are asked
for at once.
"""

from .base import Clock as Clock  # for optimizers and the trainer
from .base import Constant, Product, Schedule
from .combined import PerEpoch, Sequence, WarmUp
from .config import from_config
from .cosine import CosLog, Cosine, CosineRestarts, OneCycle
from .decay import Exponential, InverseTime, Linear, MultiStep, Polynomial, Step
from .plateau import ReduceOnPlateau

__all__ = [
    "Constant",
    "CosLog",
    "Cosine",
    "CosineRestarts",
    "Exponential",
    "InverseTime",
    "Linear",
    "MultiStep",
    "OneCycle",
    "PerEpoch",
    "Polynomial",
    "Product",
    "ReduceOnPlateau",
    "Schedule",
    "Sequence",
    "Step",
    "WarmUp",
    "from_config",
]


def __dir__():
    return __all__
