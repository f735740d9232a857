"""The optimizers' update rules, and the settings of their parameter groups, as csrc/defs/update_rules.def has them.

Tables, imported by the eager kernels, the executors and the optimizers; nothing is computed here.
"""

from typing import NamedTuple

from .. import _native


class Setting(NamedTuple):
    """One number of a parameter group: at least `least`, less than `below`."""

    whole: bool  # an integer: a flag, a count or a code
    initial: float  # where nothing is said
    least: float
    below: float


class Rule(NamedTuple):
    """One update rule."""

    code: int
    states: tuple  # names of its state arrays
    matrix_states: dict  # name -> "", "row" (the last axis has length 1) or "column" (the one before it): of arrays of two axes or more
    hyper: dict  # name -> Setting, of its own hyper-parameters
    memory: tuple  # names of the numbers that it keeps from step to step
    traits: frozenset  # "own_decay", "trust", "whole", "matrices"

    def states_of(self, shape):
        """{name: shape} of the state arrays of an array."""
        if not self.matrix_states or len(shape) < 2:
            return dict.fromkeys(self.states, shape)
        of_kind = {"": shape, "row": (*shape[:-1], 1), "column": (*shape[:-2], 1, shape[-1])}
        return {name: of_kind[kind] for name, kind in self.matrix_states.items()}


def _named(settings):
    return {name: Setting(*more) for name, *more in settings}


_everywhere, _rules, _codes = _native.update_rules()

SETTINGS = _named(_everywhere)  # of every group
RULES = {
    name: Rule(code, tuple(states), dict(s.split("/") if "/" in s else (s, "") for s in matrix_states), _named(hyper), tuple(memory), frozenset(traits))
    for code, (name, states, matrix_states, hyper, memory, traits) in enumerate(_rules)
}
CODES = {setting: {name: code for code, name in enumerate(names)} for setting, names in _codes.items()}  # of settings that are codes

# Settings that users give together: name -> (name of the tuple, place in it).
PAIRS = {
    "beta1": ("betas", 0), "beta2": ("betas", 1), "eps1": ("eps", 0), "eps2": ("eps", 1),
    **{name: ("ns_coefficients", place) for place, name in enumerate(("ns_a", "ns_b", "ns_c"))},
}  # fmt: skip


def settings_of(rule, **given):
    """All settings of a group of that rule, by name: those that are given, others as they are where nothing is said.

    Raises
    ------
    TypeError
        For a name that neither groups nor the rule have.

    Examples
    --------
    >>> settings_of("adagrad", lr_decay=0.5)["lr_decay"], settings_of("adagrad")["eps"]
    (0.5, 1e-10)
    """
    known = {**SETTINGS, **RULES[rule].hyper}
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        raise TypeError(f"{rule}: expected settings of the names {sorted(known)}, got {unknown}")
    return {name: given.get(name, int(s.initial) if s.whole else s.initial) for name, s in known.items()}
