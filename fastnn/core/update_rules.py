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
    hyper: dict  # name -> Setting, of its own hyper-parameters
    memory: tuple  # names of the numbers that it keeps from step to step
    traits: frozenset  # "own_decay", "trust"


def _named(settings):
    return {name: Setting(*more) for name, *more in settings}


_everywhere, _rules, _forms = _native.update_rules()

SETTINGS = _named(_everywhere)  # of every group
RULES = {
    name: Rule(code, tuple(states), _named(hyper), tuple(memory), frozenset(traits))
    for code, (name, states, hyper, memory, traits) in enumerate(_rules)
}
FORMS = {name: code for code, name in enumerate(_forms)}  # of momentum


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
