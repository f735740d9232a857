"""Schedules that decay by steps or by a formula."""

import math

import numpy as np

from ..core.checks import flag, number
from .base import Schedule, _count, _each, _power, _steps


class Step(Schedule):
    """Multiplied by `gamma` every `step_size` steps.

        lr(t) = lr * gamma ** floor(t / step_size)

    PyTorch's StepLR. The classic of image classifiers: ``PerEpoch(Step(0.1, 20))`` divides by ten every 20 epochs.

    Parameters
    ----------
    lr : float
        0 or more.
    step_size : int
        1 or more.
    gamma : float, default 0.1
        0 or more.

    Examples
    --------
    >>> s = schedules.Step(0.5, step_size=5, gamma=0.5)
    >>> s(4), s(5), s(10)
    (0.5, 0.25, 0.125)
    """

    def __init__(self, lr, step_size, gamma=0.1) -> None:
        self._set(lr=number(lr, "lr", 0.0), step_size=_count(step_size, "step_size"), gamma=number(gamma, "gamma", 0.0))

    def _rates(self, t, clock):
        return self.lr * _power(self.gamma, np.floor(t / self.step_size))


class MultiStep(Schedule):
    """Multiplied by `gamma` at each milestone.

        lr(t) = lr * gamma ** (number of milestones <= t)

    PyTorch's MultiStepLR, Keras's PiecewiseConstantDecay with equal ratios (there a milestone still belongs to the piece
    before it).

    Parameters
    ----------
    lr : float
        0 or more.
    milestones : list of int
        Increasing, each 0 or more.
    gamma : float, default 0.1
        0 or more.

    Examples
    --------
    >>> s = schedules.MultiStep(0.5, milestones=[3, 10], gamma=0.5)
    >>> s(2), s(3), s(10)
    (0.5, 0.25, 0.125)
    """

    def __init__(self, lr, milestones, gamma=0.1) -> None:
        self._set(lr=number(lr, "lr", 0.0), milestones=_steps(milestones, "milestones"), gamma=number(gamma, "gamma", 0.0))

    def _rates(self, t, clock):
        return self.lr * _power(self.gamma, np.searchsorted(np.array(self.milestones, np.float64), t, side="right"))


class Exponential(Schedule):
    """Decays by a constant factor.

        lr(t) = lr * gamma ** (t / decay_steps)

    PyTorch's ExponentialLR, where decay_steps is 1; Keras's ExponentialDecay, where gamma is called decay_rate.

    Parameters
    ----------
    lr : float
        0 or more.
    gamma : float
        The factor that `decay_steps` steps make. 0 or more.
    decay_steps : int, default 1
    staircase : bool, default False
        Round t / decay_steps down.

    Examples
    --------
    >>> schedules.Exponential(0.5, gamma=0.5)(3)
    0.0625
    """

    def __init__(self, lr, gamma, decay_steps=1, staircase=False) -> None:
        self._set(
            lr=number(lr, "lr", 0.0),
            gamma=number(gamma, "gamma", 0.0),
            decay_steps=_count(decay_steps, "decay_steps"),
            staircase=flag(staircase, "staircase"),
        )

    def _rates(self, t, clock):
        u = t / self.decay_steps
        return self.lr * _power(self.gamma, np.floor(u) if self.staircase else u)


class InverseTime(Schedule):
    """Decays like one over the step.

        lr(t) = lr / (1 + decay_rate * t / decay_steps)

    Keras's InverseTimeDecay; with 1/t decay stochastic gradient descent converges (H. Robbins and S. Monro, "A stochastic
    approximation method", 1951).

    Parameters
    ----------
    lr : float
        0 or more.
    decay_rate : float
        0 or more.
    decay_steps : int, default 1
    staircase : bool, default False
        Round t / decay_steps down.

    Examples
    --------
    >>> schedules.InverseTime(0.5, decay_rate=1.0, decay_steps=100)(300)
    0.125
    """

    def __init__(self, lr, decay_rate, decay_steps=1, staircase=False) -> None:
        self._set(
            lr=number(lr, "lr", 0.0),
            decay_rate=number(decay_rate, "decay_rate", 0.0),
            decay_steps=_count(decay_steps, "decay_steps"),
            staircase=flag(staircase, "staircase"),
        )

    def _rates(self, t, clock):
        u = t / self.decay_steps
        return self.lr / (1 + self.decay_rate * (np.floor(u) if self.staircase else u))


def _between(a, b, share):
    """From a to b while share goes from 0 to 1, exact at both ends."""
    return a * (1 - share) + b * share


class Linear(Schedule):
    """A straight line between two multiples of `lr`, then constant.

        lr(t) = lr * (start_factor + (end_factor - start_factor) * min(t, total_iters) / total_iters)

    PyTorch's LinearLR, whose defaults warm up; ``Linear(lr, 1, 0, n)`` decays to zero.

    Parameters
    ----------
    lr : float
        0 or more.
    start_factor : float, default 1/3
        0 or more.
    end_factor : float, default 1
        0 or more.
    total_iters : int, default 5
        How many steps it takes.

    Examples
    --------
    >>> schedules.Linear(0.5, start_factor=1, end_factor=0, total_iters=4).table(0, 6)
    array([0.5  , 0.375, 0.25 , 0.125, 0.   , 0.   ])
    """

    def __init__(self, lr, start_factor=1 / 3, end_factor=1.0, total_iters=5) -> None:
        self._set(
            lr=number(lr, "lr", 0.0),
            start_factor=number(start_factor, "start_factor", 0.0),
            end_factor=number(end_factor, "end_factor", 0.0),
            total_iters=_count(total_iters, "total_iters"),
        )

    def _rates(self, t, clock):
        return self.lr * _between(self.start_factor, self.end_factor, np.minimum(t, self.total_iters) / self.total_iters)


class Polynomial(Schedule):
    """A power of the share of steps that is left.

        lr(t) = end_lr + (lr - end_lr) * (1 - min(t, total_iters) / total_iters) ** power

    PyTorch's PolynomialLR, where end_lr is 0; Keras's PolynomialDecay.

    Parameters
    ----------
    lr : float
        0 or more.
    total_iters : int, default 5
        How many steps it takes.
    power : float, default 1
        0 or more.
    end_lr : float, default 0
        0 or more.

    Examples
    --------
    >>> schedules.Polynomial(0.5, total_iters=4, power=2).table(0, 6)
    array([0.5    , 0.28125, 0.125  , 0.03125, 0.     , 0.     ])
    """

    def __init__(self, lr, total_iters=5, power=1.0, end_lr=0.0) -> None:
        self._set(
            lr=number(lr, "lr", 0.0),
            total_iters=_count(total_iters, "total_iters"),
            power=number(power, "power", 0.0),
            end_lr=number(end_lr, "end_lr", 0.0),
        )

    def _rates(self, t, clock):
        left = 1 - np.minimum(t, self.total_iters) / self.total_iters
        return _between(self.end_lr, self.lr, _each(lambda u: math.pow(u, self.power), left))
