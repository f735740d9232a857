"""Which of an epoch's numbers a callback watches, and which way is better."""

import math
import numbers
from typing import Any

# What is better when it is larger; every loss and error is better when it is smaller.
LARGER = ("accuracy", "top_k_accuracy", "precision", "recall", "f1", "auc", "r2")
SMALLER = ("loss", "mae", "mse", "rmse", "seconds")


class Monitor:
    """A number of an epoch by its name, and the best value of it so far.

    Parameters
    ----------
    name : str
        Of an epoch's numbers, those of validation with "val_" in front.
    mode : {"auto", "min", "max"}
        Which is better; "auto" goes by the name.
    min_delta : float
        A value is better where it is so by more than this.
    """

    def __init__(self, name, mode="auto", min_delta=0.0):
        if not isinstance(name, str):
            raise TypeError(f"monitor: expected the name of a number of an epoch, such as 'val_loss', got {name!r}")
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode: expected 'auto', 'min' or 'max', got {mode!r}")
        self.name, self.min_delta = name, min_delta
        self._larger = {"auto": self._direction(name), "min": False, "max": True}[mode]
        self.best: Any = None

    @staticmethod
    def _direction(name):
        """Whether larger is better; None where the name does not say."""
        plain = name.removeprefix("val_")
        if plain in LARGER or plain.endswith(("_accuracy", "_auc", "_f1", "_score")):
            return True
        if plain in SMALLER or plain.endswith(("_loss", "_error", "loss", "error")):
            return False
        return None

    def check(self, names):
        """ValueError where an epoch has no such number, or its name does not say which way is better."""
        if self.name not in names:
            raise ValueError(f"monitor: expected one of {', '.join(names)}, which an epoch of this fit has, got {self.name!r}")
        if self._larger is None:
            raise ValueError(f"mode: expected 'min' or 'max', since the name {self.name!r} does not say which is better, got 'auto'")

    def is_better(self, value, than):
        """Whether a value is better than another, or than None. NaN never is."""
        if math.isnan(value):
            return False
        if than is None:
            return math.isfinite(value) or (value > 0) == bool(self._larger)
        return value - self.min_delta > than if self._larger else value + self.min_delta < than

    def improves(self, value):
        """Whether a value is the best so far, which it is from then on."""
        if not self.is_better(value, self.best):
            return False
        self.best = float(value)
        return True


def check_best(value, name):
    """A best value out of a saved state, or ValueError."""
    if value is None or isinstance(value, numbers.Real) and not isinstance(value, bool) and not math.isnan(value):
        return value
    raise ValueError(f"{name}: expected a number or None, got {value!r}")


def check_counts(state, *names):
    """Counts from 0 up out of a saved state."""
    for name in names:
        value = state.get(name)
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 0:
            raise ValueError(f"{name}: expected an integer from 0 up, got {value!r}")
    return [int(state[name]) for name in names]
