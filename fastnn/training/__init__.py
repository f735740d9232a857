"""Training: the trainer, its history and callbacks, gradients of whole models."""

from . import callbacks
from .functional import value_and_grad
from .gradients import GradientCheck, check_gradients
from .history import History
from .trainer import Trainer

__all__ = ["GradientCheck", "History", "Trainer", "callbacks", "check_gradients", "value_and_grad"]
