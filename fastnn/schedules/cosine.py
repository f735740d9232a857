"""Cosine schedules: annealing, restarts, one cycle, cycles that become longer."""

import math

import numpy as np

from ..core.checks import flag, number
from .base import Schedule, _choice, _cos, _count, _each
from .decay import _between


def _cosine(a, b, share):
    """From a to b along half a cosine wave."""
    return _between(a, b, 0.5 * (1 - _cos(math.pi * share)))


class Cosine(Schedule):
    """Half a cosine wave, from `lr` down to `eta_min`.

        lr(t) = eta_min + (lr - eta_min) * (1 + cos(pi * min(t, T_max) / T_max)) / 2

    I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017. After T_max steps the rate stays
    at eta_min, as in Keras and optax; PyTorch's CosineAnnealingLR, which is the same until then, climbs again.

    Parameters
    ----------
    lr : float
        0 or more.
    T_max : int
        How many steps it takes.
    eta_min : float, default 0
        0 or more.

    Examples
    --------
    >>> s = schedules.Cosine(0.5, T_max=100)
    >>> s(0), round(s(50), 12), s(100), s(101)
    (0.5, 0.25, 0.0, 0.0)
    """

    def __init__(self, lr, T_max, eta_min=0.0) -> None:
        self._set(lr=number(lr, "lr", 0.0), T_max=_count(T_max, "T_max"), eta_min=number(eta_min, "eta_min", 0.0))

    def _rates(self, t, clock):
        return _cosine(self.lr, self.eta_min, np.minimum(t, self.T_max) / self.T_max)


class CosineRestarts(Schedule):
    """Half cosine waves one after another, each `T_mult` times as long as the last.

        lr(t) = eta_min + (lr - eta_min) * (1 + cos(pi * T_cur / T_i)) / 2
        T_i   = T_0 * T_mult ** i, the length of the i-th wave;  T_cur: steps since it began

    I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017; PyTorch's
    CosineAnnealingWarmRestarts.

    Parameters
    ----------
    lr : float
        0 or more.
    T_0 : int
        Steps of the first wave.
    T_mult : int, default 1
    eta_min : float, default 0
        0 or more.

    Examples
    --------
    >>> s = schedules.CosineRestarts(0.5, T_0=10, T_mult=2)
    >>> s(0), s(10), s(30), s(70), round(s(20), 12)
    (0.5, 0.5, 0.5, 0.5, 0.25)
    """

    def __init__(self, lr, T_0, T_mult=1, eta_min=0.0) -> None:
        self._set(
            lr=number(lr, "lr", 0.0),
            T_0=_count(T_0, "T_0"),
            T_mult=_count(T_mult, "T_mult"),
            eta_min=number(eta_min, "eta_min", 0.0),
        )

    def _rates(self, t, clock):
        if self.T_mult == 1:
            return _cosine(self.lr, self.eta_min, np.fmod(t, self.T_0) / self.T_0)
        begins, lengths = [0.0], [float(self.T_0)]
        while begins[-1] + lengths[-1] <= t.max(initial=0.0):
            begins.append(begins[-1] + lengths[-1])
            lengths.append(lengths[-1] * self.T_mult)
        i = np.searchsorted(begins, t, side="right") - 1
        return _cosine(self.lr, self.eta_min, (t - np.array(begins)[i]) / np.array(lengths)[i])


class CosLog(Schedule):
    """Cycles from 0 up to `lr` and back, each about twice as long as the one before: cosine waves in the logarithm of the step.

        lr(t) = lr * (1 - cos(2 pi log2(1 + (2 ** cycles - 1) * min(t, total_steps) / total_steps))) / 2

    With four cycles D. Holzmüller, L. Grinsztajn and I. Steinwart train networks on tables ("Better by default", 2024: coslog4):
    the weights at the end of each cycle are candidates, and the choice among them is as good as early stopping.

    Parameters
    ----------
    lr : float
        0 or more.
    total_steps : int
        How many steps it takes; afterwards the rate is 0.
    cycles : int, default 4

    Examples
    --------
    >>> s = schedules.CosLog(1.0, total_steps=150)
    >>> s(0), s(10) < 1e-12, s(30) < 1e-12, s(70) < 1e-12, s(150) < 1e-12, round(s((2**0.5 - 1) * 10), 12)
    (0.0, True, True, True, True, 1.0)
    """

    def __init__(self, lr, total_steps, cycles=4) -> None:
        self._set(lr=number(lr, "lr", 0.0), total_steps=_count(total_steps, "total_steps"), cycles=_count(cycles, "cycles"))
        if self.cycles > 50:
            raise ValueError(f"cycles: expected at most 50, got {self.cycles}")

    def _rates(self, t, clock):
        share = np.minimum(t, self.total_steps) / self.total_steps
        return self.lr * (0.5 * (1 - _cos(2 * math.pi * _each(math.log2, 1 + (2.0**self.cycles - 1) * share))))


class OneCycle(Schedule):
    """Up to `max_lr`, then down to far below where it began.

        from max_lr / div_factor up to max_lr                          over pct_start of the steps
        from max_lr down to max_lr / (div_factor * final_div_factor)   over the rest
        with three_phase: down to max_lr / div_factor, as long as the way up took, and from there to the end

    L. N. Smith and N. Topin, "Super-convergence: very fast training of neural networks using large learning rates", 2018, in
    the form of PyTorch's OneCycleLR: the steps where phases meet are pct_start * total_steps - 1 and (three_phase)
    2 * pct_start * total_steps - 2. PyTorch's also cycles the momentum, and refuses steps beyond the last, where this one stays.

    Parameters
    ----------
    max_lr : float
        0 or more.
    total_steps : int
        How many steps it takes; ``epochs * steps an epoch``.
    pct_start : float, default 0.3
        In [0, 1]; with three_phase at most 0.5.
    anneal_strategy : {"cos", "linear"}, default "cos"
    div_factor : float, default 25
        Greater than 0.
    final_div_factor : float, default 1e4
        Greater than 0.
    three_phase : bool, default False

    Examples
    --------
    >>> s = schedules.OneCycle(1.0, total_steps=101, pct_start=30 / 101)
    >>> s(0), s(29), round(s(100), 12)
    (0.04, 1.0, 4e-06)
    """

    def __init__(self, max_lr, total_steps, pct_start=0.3, anneal_strategy="cos", div_factor=25.0, final_div_factor=1e4,
                 three_phase=False) -> None:
        three_phase = flag(three_phase, "three_phase")
        self._set(
            max_lr=number(max_lr, "max_lr", 0.0),
            total_steps=_count(total_steps, "total_steps"),
            pct_start=number(pct_start, "pct_start", 0.0, 0.5 if three_phase else 1.0),
            anneal_strategy=_choice(anneal_strategy, "anneal_strategy", ("cos", "linear")),
            div_factor=number(div_factor, "div_factor", 1e-300),
            final_div_factor=number(final_div_factor, "final_div_factor", 1e-300),
            three_phase=three_phase,
        )

    def _rates(self, t, clock):
        first, top = self.max_lr / self.div_factor, self.max_lr
        last, end = first / self.final_div_factor, self.total_steps - 1.0
        up = self.pct_start * self.total_steps - 1
        phases = [(up, first, top)]
        phases += [(2 * up, top, first), (end, first, last)] if self.three_phase else [(end, top, last)]
        rates, begin, t = np.zeros(len(t)), 0.0, np.minimum(t, end)
        for i, (until, a, b) in enumerate(phases):
            share = (t - begin) / (until - begin) if until != begin else np.ones(len(t))
            value = (_cosine if self.anneal_strategy == "cos" else _between)(a, b, np.minimum(share, 1.0))
            rates = value if i == 0 else np.where(t > begin, value, rates)
            begin = until
        return rates
