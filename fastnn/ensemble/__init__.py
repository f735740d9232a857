"""Several networks in place of one: bagging, k-fold, their averaged answers, and trainings side by side."""

from .averaging import Ensemble, load
from .many import Many, train_many
from .resampling import bagging, kfold

__all__ = ["Ensemble", "Many", "bagging", "kfold", "load", "train_many"]
