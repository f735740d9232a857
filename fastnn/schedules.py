"""Schedules: learning rates that depend on the step.

A schedule is called with the number of steps done, from 0, and gives the rate of the next step; any optimizer takes one in
place of a number: ``optim.SGD(params, lr=schedules.Cosine(0.1, 1000))``. Steps are updates. To count epochs, wrap it:
``PerEpoch(Step(0.1, 20))``; `Trainer.fit` says how many steps an epoch has.

Schedules compose: `WarmUp` stands in front of any, `Sequence` runs them one after another, ``*`` multiplies them. Except for
`ReduceOnPlateau`, which learns from a metric, they are functions of the step alone and never change. `config` gives one as a
plain dict and `from_config` makes it again.

Cosines and powers come from the C library, element by element, so that a rate has the same bits however many steps are asked
for at once.
"""

import math
import numbers
import operator
from typing import NamedTuple

import numpy as np

from .checks import flag, number, real, scalar

__all__ = [
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Exponential",
    "InverseTime",
    "Linear",
    "MultiStep",
    "OneCycle",
    "PerEpoch",
    "Polynomial",
    "Product",
    "ReduceOnPlateau",
    "Schedule",
    "Sequence",
    "Step",
    "WarmUp",
    "from_config",
]


def __dir__():
    return __all__


class Clock(NamedTuple):
    """Where epochs lie: step `step` begins epoch `epoch`, and epochs have `length` steps."""

    step: int
    epoch: int
    length: int


def _count(value, name, least=1):
    if isinstance(value, bool):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    try:
        n = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if not least <= n < 2**53:
        raise ValueError(f"{name}: expected an integer from {least} to 2**53 - 1, got {n}")
    return n


def _choice(value, name, choices):
    if value not in choices:
        raise ValueError(f"{name}: expected {' or '.join(map(repr, choices))}, got {value!r}")
    return value


def _steps(values, name):
    """Increasing counts, as a tuple."""
    try:
        values = tuple(values)
    except TypeError:
        raise TypeError(f"{name}: expected a list of integers, got {values!r}") from None
    values = tuple(_count(v, f"{name}[{i}]", 0) for i, v in enumerate(values))
    if any(a >= b for a, b in zip(values, values[1:])):
        raise ValueError(f"{name}: expected increasing numbers, got {list(values)}")
    return values


def _each(function, x):
    return np.fromiter(map(function, x.tolist()), np.float64, len(x))


def _cos(x):
    return _each(math.cos, x)


def _power(base, exponents):
    def power(exponent):
        try:
            return math.pow(base, exponent)
        except (OverflowError, ValueError):  # the latter for 0 to a negative power
            return math.inf

    return _each(power, exponents)


class Schedule:
    """Base of the schedules: calling, tables, composition, comparison, configuration.

    A subclass hands its settings to `_set`, and computes rates for an array of steps in `_rates`.

    Examples
    --------
    >>> s = schedules.Exponential(0.5, gamma=0.1)
    >>> s(0), s(1), s.table(0, 3)
    (0.5, 0.05, array([0.5  , 0.05 , 0.005]))
    >>> s * 2
    Product(Exponential(lr=0.5, gamma=0.1, decay_steps=1, staircase=False), 2.0)
    >>> schedules.from_config(s.config()) == s
    True
    """

    def _set(self, **settings):
        self.__dict__.update(settings, _names=tuple(settings))

    __array_ufunc__ = None  # a NumPy number times a schedule is a schedule

    def __setattr__(self, name, value):
        raise AttributeError(f"{name}: a schedule does not change; make another one")

    def _rates(self, t, clock):
        """Rates of the steps t, float64 [n], at least 0 and not necessarily whole. clock: a Clock or None."""
        raise NotImplementedError

    def __call__(self, step):
        """The rate after `step` steps, as a float; `step` is a number >= 0."""
        return float(self._evaluate(np.array([number(step, "step", 0.0)]), None)[0])

    def table(self, first, count, clock=None):
        """The rates of `count` steps from number `first` on.

        Parameters
        ----------
        first, count : int
            0 or more.
        clock : Clock, optional
            For `PerEpoch` without a number: which step begins which epoch, and how many steps epochs have.

        Returns
        -------
        numpy.ndarray
            float64 [count]; the k-th has the same bits as a call with ``first + k``.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit, or epochs are asked for and nothing says how long they are.
        """
        first, count = _count(first, "first", 0), _count(count, "count", 0)
        return self._evaluate(first + np.arange(count, dtype=np.float64), clock)

    def _evaluate(self, t, clock):
        with np.errstate(all="ignore"):  # infinity is refused where a rate is used
            return self._rates(t, clock)

    def __mul__(self, other):
        other = scalar(other)
        if not callable(other) and (isinstance(other, bool) or not isinstance(other, numbers.Real)):
            return NotImplemented
        return Product(self, other)

    def __rmul__(self, other):
        other = scalar(other)
        if not callable(other) and (isinstance(other, bool) or not isinstance(other, numbers.Real)):
            return NotImplemented
        return Product(other, self)

    @property
    def plateaus(self):
        """The `ReduceOnPlateau` members of this schedule, itself included, each once."""
        found = []
        for part in self._parts():
            found += [p for p in part.plateaus if not any(p is q for q in found)]
        return tuple(found)

    @property
    def functions(self):
        """Whether a function of the user's is in this schedule: a step by itself asks it for that step alone, `fit` for all that a
        native call may do."""
        return any(part.functions for part in self._parts())

    def _parts(self):
        """The schedules that this one is made of."""
        values = [getattr(self, name) for name in self._names]
        return [p for v in values for p in (v if isinstance(v, tuple) else (v,)) if isinstance(p, Schedule)]

    def config(self):
        """A plain dict of numbers, strings and lists, from which `from_config` makes an equal schedule.

        Raises
        ------
        TypeError
            If a function is part of the schedule: code is no configuration.
        """

        def plain(value):
            if isinstance(value, Schedule):
                return value.config()
            return [plain(v) for v in value] if isinstance(value, tuple) else value

        return {"kind": type(self).__name__, **{name: plain(getattr(self, name)) for name in self._names}}

    def __eq__(self, other):
        return self.__dict__ == other.__dict__ if type(self) is type(other) else NotImplemented

    def __hash__(self):
        return hash(repr(self))

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{name}={_text(getattr(self, name))}' for name in self._names)})"


def _text(value):
    return f"[{', '.join(map(_text, value))}]" if isinstance(value, tuple) else repr(value)


class _Function(Schedule):
    """A user's function as part of a schedule."""

    def __init__(self, function):
        self._set(function=function)

    functions = True

    def _rates(self, t, clock):
        return _each(lambda s: number(self.function(int(s) if s == int(s) else s), "lr(step)", 0.0), t)

    def config(self):
        function = self.function
        raise TypeError(f"schedule: expected one made of fastnn.schedules alone to make a configuration of, got {function!r}")

    def __repr__(self):
        return repr(self.function)


def _schedule(value, name):
    """A schedule, or what can stand for one: a number or a function."""
    if isinstance(value, Schedule):
        return value
    if callable(value):
        return _Function(value)
    value = scalar(value)
    if isinstance(value, numbers.Real):
        return Constant(number(value, name, 0.0))
    raise TypeError(f"{name}: expected a schedule, a function of the step or a number, got {value!r}")


class Constant(Schedule):
    """The same rate at every step.

    Parameters
    ----------
    lr : float
        0 or more.

    Examples
    --------
    >>> schedules.Constant(0.1)(1000)
    0.1
    """

    def __init__(self, lr):
        self._set(lr=number(lr, "lr", 0.0))

    def _rates(self, t, clock):
        return np.full(len(t), self.lr)


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

    def __init__(self, lr, step_size, gamma=0.1):
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

    def __init__(self, lr, milestones, gamma=0.1):
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

    def __init__(self, lr, gamma, decay_steps=1, staircase=False):
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

    def __init__(self, lr, decay_rate, decay_steps=1, staircase=False):
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

    def __init__(self, lr, T_max, eta_min=0.0):
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

    def __init__(self, lr, T_0, T_mult=1, eta_min=0.0):
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

    def __init__(self, lr, start_factor=1 / 3, end_factor=1.0, total_iters=5):
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

    def __init__(self, lr, total_iters=5, power=1.0, end_lr=0.0):
        self._set(
            lr=number(lr, "lr", 0.0),
            total_iters=_count(total_iters, "total_iters"),
            power=number(power, "power", 0.0),
            end_lr=number(end_lr, "end_lr", 0.0),
        )

    def _rates(self, t, clock):
        left = 1 - np.minimum(t, self.total_iters) / self.total_iters
        return _between(self.end_lr, self.lr, _each(lambda u: math.pow(u, self.power), left))


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
                 three_phase=False):
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

    def __init__(self, schedule, steps, start_factor=0.0):
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

    def __init__(self, schedules, milestones):
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


class Product(Schedule):
    """The product of schedules, all at the same step; what ``a * b`` makes.

    In PyTorch: ChainedScheduler.

    Parameters
    ----------
    *schedules : Schedule, callable or float
        At least one.

    Examples
    --------
    >>> (schedules.Linear(1.0, 0.5, 1, 2) * schedules.Step(0.5, 2, 0.5)).table(0, 4)
    array([0.25 , 0.375, 0.25 , 0.25 ])
    """

    def __init__(self, *schedules):
        if not schedules:
            raise ValueError("schedules: expected at least one, got none")
        self._set(schedules=tuple(_schedule(s, f"schedules[{i}]") for i, s in enumerate(schedules)))

    def _rates(self, t, clock):
        rates = self.schedules[0]._rates(t, clock)
        for part in self.schedules[1:]:
            rates = rates * part._rates(t, clock)
        return rates

    def __repr__(self):
        return f"Product({', '.join(repr(s.lr) if type(s) is Constant else repr(s) for s in self.schedules)})"


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

    def __init__(self, schedule, steps_per_epoch=None, smooth=False):
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
                 eps=1e-8, monitor=None):
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

    def __call__(self, step):
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

    def step(self, metric):
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


_KINDS = {
    kind.__name__: kind
    for kind in (
        Constant, Step, MultiStep, Exponential, InverseTime, Cosine, CosineRestarts, Linear, Polynomial, OneCycle, WarmUp,
        Sequence, Product, PerEpoch, ReduceOnPlateau,
    )
}  # fmt: skip


def from_config(config):
    """The schedule that `Schedule.config` described.

    Parameters
    ----------
    config : dict

    Returns
    -------
    Schedule

    Raises
    ------
    TypeError, ValueError
        If it is not a configuration, or a setting does not fit.

    Examples
    --------
    >>> schedules.from_config({"kind": "Constant", "lr": 0.1})
    Constant(lr=0.1)
    """
    if not isinstance(config, dict):
        raise TypeError(f"config: expected a dict, got {type(config).__name__}")
    kind = _KINDS.get(config["kind"]) if isinstance(config.get("kind"), str) else None
    if kind is None:
        raise ValueError(f"config['kind']: expected one of {sorted(_KINDS)}, got {config.get('kind')!r:.60}")
    settings = {}
    for name, value in config.items():
        if isinstance(value, dict) and name != "state":
            value = from_config(value)
        elif isinstance(value, (list, tuple)):
            value = [from_config(v) if isinstance(v, dict) else v for v in value]
        settings[name] = value
    del settings["kind"]
    state = settings.pop("state", None) if kind is ReduceOnPlateau else None
    try:
        if kind is Product:
            parts = settings.pop("schedules")
            if settings or not isinstance(parts, list):
                raise TypeError("expected a list 'schedules' alone")
            schedule = Product(*parts)
        else:
            schedule = kind(**settings)
    except KeyError:
        raise ValueError(f"config: expected an entry 'schedules' for {kind.__name__}, got {sorted(config)}") from None
    except TypeError as error:
        raise TypeError(f"config: expected the settings of {kind.__name__}; {error}") from None
    if state is not None:
        schedule.restore(state)
    return schedule
