"""What `Trainer.find_lr` does: a learning-rate range test, on a copy."""

import math
from typing import Any

import numpy as np

from .. import _native
from ..core.checks import number
from .arrays import ArrayData
from .checks import check_batch, count

_SMOOTHING = 0.9  # of the losses' moving average
_DIVERGED = 4.0  # times the best smoothed loss (above 0): no larger rate is tried


class RateTest:
    """The result of `Trainer.find_lr`.

    Attributes
    ----------
    rates : numpy.ndarray
        float64: the rates that were tried, growing.
    losses : numpy.ndarray
        The loss of the batch of each step.
    smoothed : numpy.ndarray
        Their moving average, corrected for its start.
    suggestion : float
        The rate where the smoothed loss falls most for each factor of ten.
    """

    def __init__(self, rates, losses) -> None:
        self.rates, self.losses = np.array(rates), np.array(losses)
        weights = 1 - _SMOOTHING ** np.arange(1, len(losses) + 1)
        average, self.smoothed = 0.0, np.empty(len(losses))
        for i, loss in enumerate(losses):
            average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
            self.smoothed[i] = average / weights[i]
        self.suggestion = self._steepest()

    def _steepest(self):
        end = int(np.argmin(self.smoothed)) + 1  # behind the least loss nothing falls any more
        if end < 3:
            return float(self.rates[0])
        slope = np.gradient(self.smoothed[:end], np.log10(self.rates[:end]))
        skipped = min(end // 4, 10)  # where the average has not settled
        return float(self.rates[skipped + int(np.argmin(slope[skipped:]))])

    def __repr__(self):
        return f"<RateTest of {len(self.rates)} rates, {self.rates[0]:.1e} to {self.rates[-1]:.1e}: suggestion {self.suggestion:.2g}>"

    def plot(self) -> Any:
        """Draw loss against rate with matplotlib, and where the suggestion is.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        import matplotlib.pyplot as plt

        figure, ax = plt.subplots(layout="constrained")
        ax.plot(self.rates, self.losses, alpha=0.3, label="loss of each step")
        ax.plot(self.rates, self.smoothed, label="smoothed")
        ax.axvline(self.suggestion, color="gray", linestyle="--", label=f"suggestion {self.suggestion:.2g}")
        top = float(np.max(self.smoothed[: int(np.argmin(self.smoothed)) + 1]))
        low = float(np.min(self.smoothed))
        ax.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(low - 0.1 * (top - low), top + 0.5 * (top - low)))
        ax.legend()
        return figure


def find_lr(trainer, X, y, min_lr, max_lr, steps, batch_size, sample_weight):
    """All of `Trainer.find_lr`, whose docstring says what the arguments are."""
    low, high = number(min_lr, "min_lr", 0.0), number(max_lr, "max_lr", 0.0)
    if not 0 < low < high:
        raise ValueError(f"min_lr, max_lr: expected 0 < min_lr < max_lr, got {low:g} and {high:g}")
    steps, batch_size = count(steps, "steps", 10), count(batch_size, "batch_size", 1)
    pair = ArrayData(trainer.model, trainer.loss, X, y, sample_weight=sample_weight)
    pair.check_labels()
    rows = len(pair.X)
    batch_size = min(batch_size, rows)
    check_batch(trainer.model, batch_size, "batch_size")
    copy = trainer.copy()
    groups = copy.optimizer.param_groups
    given = [g["lr"] for g in groups]
    first = given[0]
    shares = [1.0 if callable(lr) or callable(first) or not first else lr / first for lr in given]
    tried, losses, best, average = [], [], math.inf, 0.0
    order, at, epoch = _native.permutation(rows, trainer.seed, 0), 0, 0
    for step in range(steps):
        lr = low * (high / low) ** (step / (steps - 1))
        for g, share in zip(groups, shares):
            g["lr"] = lr * share
        if at + batch_size > rows:
            epoch, at = epoch + 1, 0
            order = _native.permutation(rows, trainer.seed, epoch)
        chosen = np.sort(order[at : at + batch_size])
        at += batch_size
        weight = None if pair.weight is None else pair.weight[chosen]
        loss = copy.step(pair.X[chosen], pair.y[chosen], weight)
        average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
        smoothed = average / (1 - _SMOOTHING ** (step + 1))
        if not math.isfinite(smoothed) or step > 10 and best > 0 and smoothed > _DIVERGED * best:
            break
        tried.append(lr)
        losses.append(loss)
        best = min(best, smoothed)
    if len(tried) < 3:
        raise ValueError(f"min_lr: expected a rate at which the loss stays finite, got {low:g}: it is not after {len(tried)} steps")
    return RateTest(tried, losses)
