"""Schedules made of others: warm-up, sequences, epochs instead of steps."""

import numpy as np

from ..core.checks import flag, number
from .base import Clock, Schedule, _count, _schedule, _steps
from .decay import _between


class WarmUp(Schedule):
    """A straight line up to a schedule's first rate, and then the schedule.

        lr(t) = schedule(0) * (start_factor + (1 - start_factor) * t / steps)   for t < steps
        lr(t) = schedule(t - steps)                                             from then on

    P. Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017. In PyTorch:
    SequentialLR([LinearLR, schedule], [steps]). To let the schedule's own clock run meanwhile, multiply instead:
    ``Linear(1.0, start_factor, 1.0, steps) * schedule``.

    Parameters
    ----------
    schedule : Schedule, callable or float
    steps : int
        0 or more.
    start_factor : float, default 0
        In [0, 1]. With 0 the first step has the rate 0; ``1 / steps`` makes it count.

    Examples
    --------
    >>> schedules.WarmUp(schedules.Step(0.5, 2, gamma=0.5), 4).table(0, 8)
    array([0.   , 0.125, 0.25 , 0.375, 0.5  , 0.5  , 0.25 , 0.25 ])
    """

    def __init__(self, schedule, steps, start_factor=0.0) -> None:
        self._set(
            schedule=_schedule(schedule, "schedule"),
            steps=_count(steps, "steps", 0),
            start_factor=number(start_factor, "start_factor", 0.0, 1.0),
        )

    def _rates(self, t, clock):
        rates = self.schedule._rates(np.maximum(t - self.steps, 0.0), clock)
        share = np.minimum(t, self.steps) / max(self.steps, 1)
        return rates * _between(self.start_factor, 1.0, share) if self.steps else rates


class Sequence(Schedule):
    """Schedules one after another, each from its own step 0.

        lr(t) = schedules[i](t - milestones[i - 1])   for milestones[i - 1] <= t < milestones[i]

    PyTorch's SequentialLR, optax's join_schedules.

    Parameters
    ----------
    schedules : list of Schedule, callable or float
    milestones : list of int
        Increasing, each 0 or more (a first schedule that ends at 0 has no step); one less than schedules.

    Examples
    --------
    >>> schedules.Sequence([schedules.Linear(0.5, 0, 1, 2), 0.5, schedules.Exponential(0.5, 0.5)], [2, 4]).table(0, 7)
    array([0.   , 0.25 , 0.5  , 0.5  , 0.5  , 0.25 , 0.125])
    """

    def __init__(self, schedules, milestones) -> None:
        if not isinstance(schedules, (list, tuple)):
            raise TypeError(f"schedules: expected a list, got {type(schedules).__name__}")
        if not schedules:
            raise ValueError("schedules: expected at least one, got none")
        parts = tuple(_schedule(s, f"schedules[{i}]") for i, s in enumerate(schedules))
        milestones = _steps(milestones, "milestones")
        if len(milestones) != len(parts) - 1:
            raise ValueError(f"milestones: expected {len(parts) - 1} for {len(parts)} schedules, got {len(milestones)}")
        self._set(schedules=parts, milestones=milestones)

    def _rates(self, t, clock):
        begins = (0, *self.milestones)
        which = np.searchsorted(np.array(begins, np.float64), t, side="right") - 1
        rates = np.empty(len(t))
        for i, (part, begin) in enumerate(zip(self.schedules, begins)):
            here = which == i
            if here.any():
                rates[here] = part._rates(t[here] - begin, clock)
        return rates


class PerEpoch(Schedule):
    """A schedule that counts epochs, for an optimizer that counts steps.

        lr(t) = schedule(floor(t / steps_per_epoch)), or with smooth: schedule(t / steps_per_epoch)

    What PyTorch does when ``scheduler.step()`` is called once an epoch, and Keras's LearningRateScheduler.

    Parameters
    ----------
    schedule : Schedule, callable or float
    steps_per_epoch : int, optional
        Without it, `Trainer.fit` tells: its own epochs count, those of earlier calls included, whatever their batch size.
        Outside of `fit` a number is needed.
    smooth : bool, default False
        Go on within the epoch.

    Examples
    --------
    >>> schedules.PerEpoch(schedules.Step(0.5, 1, gamma=0.5), steps_per_epoch=3).table(0, 7)
    array([0.5  , 0.5  , 0.5  , 0.25 , 0.25 , 0.25 , 0.125])
    """

    def __init__(self, schedule, steps_per_epoch=None, smooth=False) -> None:
        self._set(
            schedule=_schedule(schedule, "schedule"),
            steps_per_epoch=None if steps_per_epoch is None else _count(steps_per_epoch, "steps_per_epoch"),
            smooth=flag(smooth, "smooth"),
        )

    def _rates(self, t, clock):
        if self.steps_per_epoch is not None:
            clock = Clock(0, 0, self.steps_per_epoch)
        elif clock is None:
            raise ValueError("steps_per_epoch: expected a number outside of Trainer.fit, which knows it; got None")
        u = np.maximum(clock.epoch + (t - clock.step) / clock.length, 0.0)
        return self.schedule._rates(u if self.smooth else np.floor(u), None)
