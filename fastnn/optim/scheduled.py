"""Settings of groups that depend on the step: which they are, and their numbers for the steps to come."""

import numpy as np

from ..core.update_rules import PAIRS, RULES, SETTINGS
from ..schedules import Clock, Schedule, from_config
from . import checks
from .options import OPTIONS

_ABOVE_ZERO = {name for name, (default, _) in OPTIONS.items() if default is None}


def schedules_in(value):
    """The schedules and functions of the step that a setting is, or that are members of it."""
    return [v for v in (value if isinstance(value, tuple) else (value,)) if callable(v)]


def is_scheduled(value):
    return bool(schedules_in(value))


def number_of(group, name):
    """What a group has for a setting by the name that the register gives it: beta1 is the first of the betas."""
    pair, place = PAIRS.get(name, (None, 0))
    return group[name] if pair is None else group[pair][place]


# ---- as state ----


def plain(value):
    """(whether there is a configuration, the value with configurations for schedules): functions are code, and have none."""
    if isinstance(value, tuple):
        members = [plain(v) for v in value]
        return all(fine for fine, _ in members), tuple(v for _, v in members)
    if not callable(value):
        return True, value
    try:
        return (True, value.config()) if isinstance(value, Schedule) else (False, None)
    except TypeError:  # a function is in it
        return False, None


def built(value):
    """What `plain` gave, with schedules for configurations again."""
    if isinstance(value, dict):
        return from_config(value)
    if isinstance(value, (list, tuple)) and any(isinstance(v, dict) for v in value):
        return tuple(map(built, value))
    return value


def kept(mine, loaded):
    """The setting to go on with: `mine`, where it is the same schedule, having learned what the loaded one has; else `loaded`."""
    if isinstance(mine, tuple) and isinstance(loaded, tuple) and len(mine) == len(loaded):
        return tuple(map(kept, mine, loaded))
    if mine is loaded or not isinstance(mine, Schedule) or repr(mine) != repr(loaded):
        return loaded
    for a, b in zip(mine.plateaus, loaded.plateaus):
        a.restore(b.config()["state"])
    return mine


# ---- step by step ----


class Scheduled:
    """The part of an `Optimizer` that knows rates, and other settings, of the steps to come."""

    def _schedules(self):
        """All schedules and functions of the groups' settings."""
        return [s for g in self.param_groups for name in self._checks for s in schedules_in(g[name])]

    @property
    def has_schedule(self):
        """Whether a rate or another setting depends on the step."""
        return bool(self._schedules())

    @property
    def plateaus(self):
        """The groups' `schedules.ReduceOnPlateau`, each once."""
        return tuple({id(p): p for s in self._schedules() if isinstance(s, Schedule) for p in s.plateaus}.values())

    def rates(self) -> list[float]:
        """The learning rate of each group for the next step."""
        return [self._next(i, "lr", g["lr"]) for i, g in enumerate(self.param_groups)]

    def step_values(self):
        """For an executor, behind `prepare`: the rates, then the settings that depend on the step, for the next step."""
        return [*self.rates(), *(self._next(i, name, number_of(self.param_groups[i], name)) for i, name in self._scheduled)]

    def rate_table(self, steps, epoch=None) -> np.ndarray:
        """The learning rates of the next steps.

        Parameters
        ----------
        steps : int
        epoch : (int, int, int), optional
            For schedules that count epochs: the epoch's number, its updates so far, and its steps in all.

        Returns
        -------
        numpy.ndarray
            float64 [steps, groups].

        Raises
        ------
        TypeError, ValueError
            If a schedule gives what is no rate.
        """
        return self._table(steps, epoch, [(i, "lr") for i in range(len(self.param_groups))])

    def step_table(self, steps, epoch=None):
        """For an executor, behind `prepare`: `rate_table`, and behind the rates the settings that depend on the step."""
        return self._table(steps, epoch, [*((i, "lr") for i in range(len(self.param_groups))), *self._scheduled])

    def _table(self, steps, epoch, columns):
        found, progress = np.empty((steps, len(columns))), self._progress()
        for column, (i, name) in zip(found.T, columns):
            t, value = progress[i][0], number_of(self.param_groups[i], name)
            if isinstance(value, Schedule):
                column[:] = value.table(t, steps, None if epoch is None else Clock(t - epoch[1], epoch[0], epoch[2]))
                self._check_values(i, name, column)
            elif callable(value):
                column[:] = [self._checked(i, name, value(t + k)) for k in range(steps)]
            else:
                column[:] = value
        return found

    def _next(self, i, name, value):
        """The number of a group's setting for its next step."""
        if not callable(value):
            return value
        step = self.kernel_state.steps_of(i)
        if not isinstance(value, Schedule):
            return self._checked(i, name, value(step))
        held, first, numbers = self._ahead.get((i, name), (None, 0, ()))
        if held is not value or not first <= step < first + len(numbers):
            if value.plateaus or value.functions:
                return self._checked(i, name, value(step))
            first, numbers = step, value.table(step, 64)  # one by one they would cost as much as a small update
            try:
                self._check_values(i, name, numbers)
            except ValueError:
                return self._checked(i, name, float(numbers[0]))  # a later one is refused when its turn comes
            numbers = numbers.tolist()
            self._ahead[i, name] = (value, first, numbers)
        return numbers[step - first]

    def _check_values(self, i, name, numbers):
        """Raise ValueError for the first of these numbers that the setting may not be."""
        least, below = _limits(self._rule(self.param_groups[i]), name)
        fine = np.isfinite(numbers) & (numbers >= least) & (numbers < below)
        if not fine.all():
            self._checked(i, name, float(numbers[np.argmin(fine)]))
        if name != "lr" and len(numbers):  # what settings must be to each other are limits too
            self._checked(i, name, float(numbers.min()))
            self._checked(i, name, float(numbers.max()))

    def _checked(self, i, name, value):
        """One number of a setting, or ValueError."""
        group = self.param_groups[i]
        least, below = _limits(self._rule(group), name)
        value = checks.number(value, f"{name}(step)", least, below)
        if value == 0 and name in _ABOVE_ZERO:
            raise ValueError(f"{name}(step): expected a number > 0, got 0")
        if name != "lr":
            pair, place = PAIRS.get(name, (name, None))
            whole = value if place is None else tuple(value if k == place else v for k, v in enumerate(group[pair]))
            self._check_together({**group, pair: whole})
        return value


def _limits(rule, name):
    s = SETTINGS.get(name) or RULES[rule].hyper.get(name)
    return (0.0, np.inf) if s is None else (s.least, s.below)
