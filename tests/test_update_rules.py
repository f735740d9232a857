"""The register of update rules: what Python, the command line and the documentation say of optimizers is what stands there."""

import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest

from fastnn import _native, optim
from fastnn.cli.optimizers import OPTIMIZERS
from fastnn.core.update_rules import CODES, PAIRS, RULES, SETTINGS, settings_of
from fastnn.executors import GroupState
from fastnn.optim.options import OPTIONS
from fastnn.reference import optimizer as twin

KINDS = {name: getattr(optim, name) for name in optim.__all__ if getattr(getattr(optim, name), "rules", ())}
DOCS = Path(__file__).parents[1] / "docs" / "optimizers.md"
NUMBERS = [(rule, name) for rule in RULES for name, s in RULES[rule].hyper.items() if not s.whole]


def test_every_rule_has_a_class():
    assert {rule for kind in KINDS.values() for rule in kind.rules} == set(RULES) == set(twin.RULES)
    assert {rule for rule in RULES if "own_decay" in RULES[rule].traits} == set(twin.OWN_DECAY)
    assert set(KINDS) == set(optim.__all__) - {"Optimizer", "LBFGS"}
    assert set(SETTINGS) == {"weight_decay", "decoupled_weight_decay", *OPTIONS}


@pytest.mark.parametrize("name", KINDS)
def test_defaults(name):
    """Of the classes: those of the register."""
    signature = {k: p.default for k, p in inspect.signature(KINDS[name]).parameters.items()}
    for rule in KINDS[name].rules:
        for setting, s in RULES[rule].hyper.items():
            pair, place = PAIRS.get(setting, (setting, None))
            default = signature[pair] if place is None else signature[pair][place]
            default = CODES[setting].get(default, default) if setting in CODES else default
            assert default == s.initial or (setting, default) in (("eps1", None), ("adjust_lr_fn", None)), setting
            assert s.least <= s.initial < s.below and (not s.whole or s.initial == int(s.initial))


@pytest.mark.parametrize("rule, name", NUMBERS)
def test_limits(rule, name):
    """What the register allows an optimizer takes, and nothing else."""
    kind = next(kind for kind in KINDS.values() if rule in kind.rules)
    s = RULES[rule].hyper[name]

    def make(value):
        pair, place = PAIRS.get(name, (name, None))
        default = inspect.signature(kind).parameters[pair].default
        whole = value if place is None else tuple(value if i == place else v for i, v in enumerate(default))
        return kind([np.ones(1)], **{pair: whole})

    top = s.below if math.isfinite(s.below) else 1e300
    make(math.nextafter(top, -1))
    if name == "eps1":  # what is below 0 there is None here
        make(0.0)
    elif s.least > -math.inf:
        if (kind.__name__, name) != ("ScheduleFreeAdamW", "beta1"):  # which goes through 1 / beta1
            make(s.least)
        with pytest.raises(ValueError, match=r"expected a finite number"):
            make(math.nextafter(s.least, -1))
    for value in (s.below, math.nan):
        with pytest.raises(ValueError, match=r"expected a finite number"):
            make(value)


def test_settings_go_by_their_names():
    state = _native.OptimizerState()
    given = settings_of("adam", beta1=0.5, l1=0.25)
    state.compile([("adam", dict(reversed(given.items())))], 1)
    ((rule, found, t, memory),) = state.groups_now()
    assert (rule, found, t, memory) == ("adam", given, 0, (0.0, 0.0))
    assert (found["beta1"], found["beta2"], found["l1"], found["maximize"]) == (0.5, 0.999, 0.25, 0)
    with pytest.raises(TypeError, match=r"adam: expected settings of the names \[.*'l1'.*\], got \['beta3', 'form'\]"):
        settings_of("adam", beta3=0.5, form=0)
    with pytest.raises(TypeError, match="expected settings of the names"):
        GroupState("sgd", momentum=0.9)
    assert [GroupState("momentum", form=code).form for code in CODES["form"].values()] == list(CODES["form"])
    assert GroupState("muon").adjust_lr_fn == "original"


def test_the_command_line_has_all_of_them():
    assert {kind for kind, _, _ in OPTIMIZERS.values()} == set(KINDS) and all(n == k.lower() for n, (k, _, _) in OPTIMIZERS.items())
    for kind, lr, momentum in OPTIMIZERS.values():
        assert ("momentum" in inspect.signature(KINDS[kind]).parameters) == (momentum is not None)
        KINDS[kind]([np.ones(1)], lr=lr)


@pytest.mark.skipif(not DOCS.exists(), reason="needs the sources")
def test_the_documentation_has_all_of_them():
    """In its table, with as many arrays as their rules have."""
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]*) \|", DOCS.read_text(encoding="utf-8"), re.M))
    assert set(rows) >= set(KINDS)
    for name, kind in KINDS.items():
        counts = {len(RULES[rule].states) for rule in kind.rules}
        counts |= {len(RULES[rule].matrix_states) for rule in kind.rules if RULES[rule].matrix_states and not any(RULES[rule].matrix_states.values())}
        assert counts >= {int(n) for n in re.findall(r"\d+", rows[name])} >= {min(counts), max(counts)}, name
