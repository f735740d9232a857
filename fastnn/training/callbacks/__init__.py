"""Callbacks: what may be done while a model trains."""

from typing import TYPE_CHECKING

from ...core.lazy import lazily

_NAMES = {
    "base": "Callback Lambda",
    "checkpoint": "Checkpoint",
    "csv_logger": "CSVLogger",
    "diagnose": "Diagnose",
    "early_stopping": "EarlyStopping",
    "rates": "LearningRateLogger",
    "tensorboard": "TensorBoard",
    "terminate": "TerminateOnNaN",
    "weight_averaging": "StochasticWeightAveraging",
}

if TYPE_CHECKING:  # the same names for type checkers, which do not run what is below
    from .base import *
    from .checkpoint import *
    from .csv_logger import *
    from .diagnose import *
    from .early_stopping import *
    from .rates import *
    from .tensorboard import *
    from .terminate import *
    from .weight_averaging import *
else:
    __getattr__, __dir__, __all__ = lazily(__name__, _NAMES)
