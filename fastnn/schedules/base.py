"""What schedules have in common: Schedule itself, and the product of two."""

import math
import numbers
from typing import NamedTuple

import numpy as np

from ..core.checks import check_size, number, scalar, suggesting


class Clock(NamedTuple):
    """Where epochs lie: step `step` begins epoch `epoch`, and epochs have `length` steps."""

    step: int
    epoch: int
    length: int


def _count(value, name, least=1):
    if isinstance(value, bool):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    return check_size(value, name, least, 53)


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

    def __init_subclass__(cls, **more):
        super().__init_subclass__(**more)
        if "__init__" in vars(cls):
            setattr(cls, "__init__", suggesting(cls.__init__))  # as an assignment checkers would take it for the constructor of all

    def _set(self, **settings):
        self.__dict__.update(settings, _names=tuple(settings))

    __array_ufunc__ = None  # a NumPy number times a schedule is a schedule

    def __setattr__(self, name, value):
        raise AttributeError(f"{name}: a schedule does not change; make another one")

    def _rates(self, t, clock):
        """Rates of the steps t, float64 [n], at least 0 and not necessarily whole. clock: a Clock or None."""
        raise NotImplementedError

    def __call__(self, step) -> float:
        """The rate after `step` steps, as a float; `step` is a number >= 0."""
        return float(self._evaluate(np.array([number(step, "step", 0.0)]), None)[0])

    def table(self, first, count, clock=None) -> np.ndarray:
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

    def __mul__(self, other) -> "Product":
        other = scalar(other)
        if not callable(other) and (isinstance(other, bool) or not isinstance(other, numbers.Real)):
            return NotImplemented
        return Product(self, other)

    def __rmul__(self, other) -> "Product":
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

    def __init__(self, lr) -> None:
        self._set(lr=number(lr, "lr", 0.0))

    def _rates(self, t, clock):
        return np.full(len(t), self.lr)


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

    def __init__(self, *schedules) -> None:
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
