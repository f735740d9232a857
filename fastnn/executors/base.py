"""What executors have in common: how far a parameter group is, and what a run reports."""

from typing import NamedTuple

from .. import _native

# The optimizers' compiled rules: name -> code.
RULES = {name: code for code, (name, _) in enumerate(_native.UPDATE_RULES)}


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


class Result(NamedTuple):
    """What a run reports. problem: None, "index", "label", "not finite" or "rate", in row `row` of batch number `steps`.
    left_out: rows that are not in the sums, since they are to be ignored or their steps were skipped."""

    steps: int
    loss_sum: float
    correct: int
    problem: str
    row: int
    left_out: int = 0
