"""What a setting may be: a range on a linear or logarithmic scale, integers, or one of some values."""

import math
from dataclasses import dataclass

import numpy as np

from ..core.checks import number


def _range(low, high):
    low, high = number(low, "low"), number(high, "high")
    if not low < high:
        raise ValueError(f"high: expected a number above low, {low:g}, got {high:g}")
    return low, high


@dataclass(frozen=True)
class Uniform:
    """A number in [low, high], every one as likely.

    Examples
    --------
    >>> from fastnn.tune import Uniform
    >>> Uniform(0.0, 0.5).at(0.5)
    0.25
    """

    low: float
    high: float

    def __post_init__(self):
        _range(self.low, self.high)

    def at(self, u):
        """The value at u in [0, 1)."""
        return self.low + u * (self.high - self.low)

    def narrowed(self, best, share):
        """A range of so much of this one's width about the best, within this one."""
        half = share * (self.high - self.low) / 2
        centre = min(max(best, self.low + half), self.high - half)
        return Uniform(centre - half, centre + half)


@dataclass(frozen=True)
class LogUniform:
    """A number in [low, high], low above 0, every order of magnitude as likely: 10^U(a, b) is LogUniform(10**a, 10**b).

    Examples
    --------
    >>> from fastnn.tune import LogUniform
    >>> round(LogUniform(1e-6, 1e-2).at(0.5), 6)
    0.0001
    """

    low: float
    high: float

    def __post_init__(self):
        low, _ = _range(self.low, self.high)
        if low <= 0:
            raise ValueError(f"low: expected a number above 0, got {low:g}")

    def at(self, u):
        """The value at u in [0, 1)."""
        return math.exp(self._exponents.at(u))

    def narrowed(self, best, share):
        """A range of so much of this one's orders of magnitude about the best, within this one."""
        found = self._exponents.narrowed(math.log(best), share)
        return LogUniform(math.exp(found.low), math.exp(found.high))

    @property
    def _exponents(self):
        return Uniform(math.log(self.low), math.log(self.high))


@dataclass(frozen=True)
class Integer:
    """An integer from low to high, both included.

    Examples
    --------
    >>> from fastnn.tune import Integer
    >>> [Integer(1, 4).at(u) for u in (0.0, 0.3, 0.99)]
    [1, 2, 4]
    """

    low: int
    high: int

    def __post_init__(self):
        for name, value in (("low", self.low), ("high", self.high)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name}: expected an integer, got {value!r}")
        if self.low > self.high:
            raise ValueError(f"high: expected an integer from low, {self.low}, on, got {self.high}")

    def at(self, u):
        """The value at u in [0, 1)."""
        return self.low + int(u * (self.high - self.low + 1))

    def narrowed(self, best, share):
        """A range of so much of this one's width about the best, within this one."""
        half = max(1, round(share * (self.high - self.low) / 2))
        return Integer(max(self.low, best - half), min(self.high, best + half))


@dataclass(frozen=True)
class Choice:
    """One of some values.

    Examples
    --------
    >>> from fastnn.tune import Choice
    >>> Choice(["relu", "tanh"]).at(0.7)
    'tanh'
    """

    values: tuple

    def __init__(self, values) -> None:
        if isinstance(values, str) or not hasattr(values, "__iter__"):
            raise TypeError(f"values: expected a list, got {values!r}")
        object.__setattr__(self, "values", tuple(values))
        if not self.values:
            raise ValueError("values: expected at least one, got none")

    def at(self, u):
        """The value at u in [0, 1)."""
        return self.values[int(u * len(self.values))]

    def narrowed(self, best, share):
        """All of them, still."""
        return self


def check_space(space):
    """A dict from names to the kinds above; a list, a range and an array of one dimension are a Choice."""
    if not isinstance(space, dict):
        raise TypeError(f"space: expected a dict from names to ranges, got {type(space).__name__}")
    if not space:
        raise ValueError("space: expected at least one name, got none")
    found = {}
    for name, kind in space.items():
        if not isinstance(name, str):
            raise TypeError(f"space: expected names, got {name!r}")
        if isinstance(kind, (list, tuple, range)) or isinstance(kind, np.ndarray) and kind.ndim == 1:
            values = kind.tolist() if isinstance(kind, np.ndarray) else kind
            if not len(values):
                raise ValueError(f"space[{name!r}]: expected at least one value, got none")
            kind = Choice(values)
        if not isinstance(kind, (Uniform, LogUniform, Integer, Choice)):
            raise TypeError(f"space[{name!r}]: expected Uniform, LogUniform, Integer, Choice or a list, got {type(kind).__name__}")
        found[name] = kind
    return found
