"""Training: the trainer, its history and callbacks, gradients of whole models."""

from typing import TYPE_CHECKING

from ..core.lazy import lazily

_NAMES = {
    "functional": "value_and_grad",
    "gradients": "GradientCheck check_gradients",
    "history": "History",
    "trainer": "Trainer",
}

if TYPE_CHECKING:  # the same names for type checkers, which do not run what is below
    from . import callbacks as callbacks
    from .functional import *
    from .gradients import *
    from .history import *
    from .trainer import *
else:
    __getattr__, __dir__, __all__ = lazily(__name__, _NAMES, modules="callbacks")
