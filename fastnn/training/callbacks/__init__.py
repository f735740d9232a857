"""Callbacks: what may be done while a model trains."""

from .base import Callback, Lambda
from .checkpoint import Checkpoint
from .csv_logger import CSVLogger
from .diagnose import Diagnose
from .early_stopping import EarlyStopping
from .rates import LearningRateLogger
from .tensorboard import TensorBoard
from .terminate import TerminateOnNaN
from .weight_averaging import StochasticWeightAveraging

__all__ = [
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "Diagnose",
    "EarlyStopping",
    "Lambda",
    "LearningRateLogger",
    "StochasticWeightAveraging",
    "TensorBoard",
    "TerminateOnNaN",
]


def __dir__():
    return __all__
