"""What executors have in common: how far a parameter group is, and what a run reports."""

from typing import NamedTuple

import numpy as np

from .. import _native
from ..core.update_rules import CODES, settings_of


class GroupState:
    """A parameter group at a moment.

    Its attributes are `rule`, the rule's name; `t`, the steps done; `memory`, two numbers that the rule keeps from step to step; and
    the settings by their names in the register (csrc/defs/update_rules.def), with what it says for those that are not given.

    Examples
    --------
    >>> fastnn.executors.GroupState("momentum", momentum=0.9).form
    'torch'
    """

    def __init__(self, rule, t=0, memory=(0.0, 0.0), **settings):
        self.rule, self.t, self.memory, self._settings = rule, t, memory, settings_of(rule, **settings)
        vars(self).update(self._settings)
        for name in CODES.keys() & self._settings.keys():
            setattr(self, name, list(CODES[name])[self._settings[name]])

    def at(self, t, memory):
        """The same group, so far."""
        return GroupState(self.rule, t, memory, **self._settings)


def group_states(state, values=None):
    """The groups of an optimizer's `_native.OptimizerState`, as they are now. values: of a step, the groups' rates and the settings that
    depend on it."""
    groups = state.groups_now()
    if values is not None:
        for (i, name), value in zip(state.scheduled_settings, values[len(groups) :], strict=True):
            groups[i][1][name] = float(value)
    return [GroupState(rule, t, memory, **settings) for rule, settings, t, memory in groups]


class Result(NamedTuple):
    """What a run reports. problem: None, "index", "label", "not finite" or "rate", in row `row` of batch number `steps`.
    left_out: rows that are not in the sums, since they are to be ignored or their steps were skipped; skipped: how many of these."""

    steps: int
    loss_sum: float
    correct: int
    problem: str
    row: int
    left_out: int = 0
    skipped: int = 0

    @classmethod
    def of(cls, tally, steps, skipped, problem, row):
        """Of a run that has added to a `_native.Tally`, with its sums."""
        return cls(steps, tally.loss_sum, tally.correct, problem, row, tally.left_out, skipped)


class Executor:
    """A plan with the counter and the lock of its runs: by default its own. batches: what does the operations of one batch."""

    def __init__(self, plan, batches, counter=None, lock=None):
        self.plan, self._batches = plan, batches
        self.counter = _native.StepCounter() if counter is None else counter
        self.lock = _native.Lock("this plan") if lock is None else lock

    @property
    def check_losses(self):
        """Whether `run` ends before a batch of which a row's loss is not finite: the problem is then an "undefined loss", and nothing
        of the batch has changed anything."""
        return self._batches.check_losses

    @check_losses.setter
    def check_losses(self, check_losses):
        self._batches.check_losses = check_losses

    def set_random(self, seed, step):
        """What the next run draws at random from: the seed, and the number of its first step."""
        self.counter.seed, self.counter.done = seed, step

    def step(self, x, y, rates, weights=None):
        """One step; (loss, problem, row)."""
        losses = np.zeros(1)
        result = self.run(x, y, rates=[rates], losses=losses, weights=weights)
        return float(losses[0]), result.problem, result.row
