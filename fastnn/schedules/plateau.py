"""A schedule that learns from a metric."""

import math
import numbers

import numpy as np

from ..core.checks import number, real
from .base import Schedule, _choice, _count


class ReduceOnPlateau(Schedule):
    """Multiplied by `factor` when a metric has stopped improving.

        better: metric < best - threshold * |best|   (mode "min", threshold_mode "rel"; "abs": best - threshold)
                metric > best + threshold * |best|   (mode "max", threshold_mode "rel"; "abs": best + threshold)
        after more than `patience` epochs in a row without a better one: rate = max(rate * factor, min_lr)

    PyTorch's ReduceLROnPlateau, and its defaults, but for metrics below 0, where PyTorch has best instead of |best| and so takes
    what stays the same, or gets a little worse, for better. Keras's has a factor and a threshold_mode "abs" of the same meaning, and there
    `patience` epochs suffice. `Trainer.fit` calls `step` at the end of each epoch; in a loop of your own, call it yourself. A
    metric that is NaN is never better. An optimizer's `state_dict` holds what has been learned.

    Parameters
    ----------
    lr : float
        The rate to begin with. 0 or more.
    mode : {"min", "max"}, default "min"
    factor : float, default 0.1
        In [0, 1).
    patience : int, default 10
        Epochs without improvement that are let pass.
    threshold : float, default 1e-4
        0 or more.
    threshold_mode : {"rel", "abs"}, default "rel"
    cooldown : int, default 0
        Epochs after a reduction that are not counted.
    min_lr : float, default 0
    eps : float, default 1e-8
        A reduction by no more than this is not made.
    monitor : str, optional
        For `fit`: which of an epoch's numbers to take. By default "val_loss" with validation data, else "loss".

    Attributes
    ----------
    rate : float
        The present rate.
    best : float or None
        The best metric so far.
    num_bad_epochs, cooldown_counter : int

    Examples
    --------
    >>> s = schedules.ReduceOnPlateau(0.5, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.1, 2.2):
    ...     s.step(loss)
    >>> s(4), s.best
    (0.25, 2.0)
    """

    _learned = ("rate", "best", "num_bad_epochs", "cooldown_counter")

    def __init__(self, lr, mode="min", factor=0.1, patience=10, threshold=1e-4, threshold_mode="rel", cooldown=0, min_lr=0.0,
                 eps=1e-8, monitor=None) -> None:
        factor = number(factor, "factor", 0.0)
        if factor >= 1:
            raise ValueError(f"factor: expected a number in [0, 1), got {factor}")
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f"monitor: expected a string, got {monitor!r}")
        self._set(
            lr=number(lr, "lr", 0.0),
            mode=_choice(mode, "mode", ("min", "max")),
            factor=factor,
            patience=_count(patience, "patience", 0),
            threshold=number(threshold, "threshold", 0.0),
            threshold_mode=_choice(threshold_mode, "threshold_mode", ("rel", "abs")),
            cooldown=_count(cooldown, "cooldown", 0),
            min_lr=number(min_lr, "min_lr", 0.0),
            eps=number(eps, "eps", 0.0),
            monitor=monitor,
        )
        self._learn(self.lr, None, 0, 0)

    def _learn(self, rate, best, num_bad_epochs, cooldown_counter):
        self.__dict__.update(zip(self._learned, (rate, best, num_bad_epochs, cooldown_counter)))

    def _rates(self, t, clock):
        return np.full(len(t), self.rate)

    def __call__(self, step) -> float:
        return self.rate

    @property
    def plateaus(self):
        return (self,)

    def _better(self, metric):
        if self.best is None:
            return metric < math.inf if self.mode == "min" else metric > -math.inf
        by = self.threshold if self.mode == "max" else -self.threshold
        if self.threshold_mode == "rel":  # of |best|: metrics may be negative, such as log-likelihoods
            bar = self.best * (1 + by if self.best >= 0 else 1 - by)
        else:
            bar = self.best + by
        return metric > bar if self.mode == "max" else metric < bar

    def step(self, metric) -> None:
        """Note the metric of an epoch that has ended.

        Parameters
        ----------
        metric : float

        Raises
        ------
        TypeError
            If it is not a number.
        """
        metric = float(real(metric, "metric"))
        rate, best, bad, cooling = self.rate, self.best, self.num_bad_epochs, self.cooldown_counter
        if self._better(metric):
            best, bad = metric, 0
        else:
            bad += 1
        if cooling > 0:
            cooling, bad = cooling - 1, 0
        if bad > self.patience:
            reduced = max(rate * self.factor, self.min_lr)
            rate = reduced if rate - reduced > self.eps else rate
            cooling, bad = self.cooldown, 0
        self._learn(rate, best, bad, cooling)

    def config(self):
        return {**super().config(), "state": {name: getattr(self, name) for name in self._learned}}

    def restore(self, state):
        """Take over the "state" of a configuration.

        Raises
        ------
        TypeError, ValueError
            If an entry is missing, unknown or out of range. Nothing has changed then.
        """
        if not isinstance(state, dict) or set(state) != set(self._learned):
            got = sorted(map(str, state)) if isinstance(state, dict) else type(state).__name__
            raise ValueError(f"state: expected a dict with the entries {sorted(self._learned)}, got {got}")
        best = state["best"]
        if best is not None:
            if isinstance(best, bool) or not isinstance(best, numbers.Real) or math.isnan(best):
                raise ValueError(f"state['best']: expected a number or None, got {best!r}")
            best = float(best)
        self._learn(
            number(state["rate"], "state['rate']", 0.0),
            best,
            _count(state["num_bad_epochs"], "state['num_bad_epochs']", 0),
            _count(state["cooldown_counter"], "state['cooldown_counter']", 0),
        )
