"""What executors have in common: how far a parameter group is, and what a run reports."""

from typing import NamedTuple

from .. import _native

# The optimizers' compiled rules: name -> code.
RULES = {name: code for code, (name, _) in enumerate(_native.UPDATE_RULES)}
NAMES = list(RULES)  # by code


class GroupState(NamedTuple):
    """A parameter group at a moment: its rule, hyper-parameters, options, and how far it has come."""

    rule: str
    hyper: tuple = ()  # the rule's own, in the order that csrc/ops/optimizer.c takes them
    weight_decay: float = 0.0
    decoupled: bool = False
    maximize: bool = False
    l1: float = 0.0
    clip_value: float = 0.0
    max_norm: float = 0.0
    ema: float = 0.0
    t: int = 0  # steps done
    memory: tuple = (0.0, 0.0)  # numbers that the rule keeps from step to step


def group_states(state):
    """The groups of an optimizer's `_native.OptimizerState`, as they are now."""
    return [GroupState(NAMES[rule], *rest) for rule, *rest in state.groups_now()]


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
