"""The register of operations (csrc/defs/ops.def) and what Python adds to it."""

from pathlib import Path

import pytest

from fastnn import _native
from fastnn.ops import op as ops

TRAITS = {"by_rows", "is_product", "fuses_activation", "fuses_derivative", "fuses_update", "windows"}
REGISTER = Path(__file__).parents[2] / "csrc/defs/ops.def"


def test_every_kind_is_whole():
    kinds = _native.op_kinds()
    assert len({name for name, *_ in kinds}) == len(kinds) == len(ops.KINDS) > 40
    for name, roles, writes, phase, traits in kinds:
        assert len(set(roles)) == len(roles) <= 8, name
        assert set(writes) <= set(roles), name
        assert phase in ("chain", "weights", "last"), name
        assert traits <= TRAITS, name


def test_costs_are_of_kinds_that_exist():
    assert set(ops._FLOPS) <= set(ops.KINDS)


@pytest.mark.skipif(not REGISTER.exists(), reason="the tests run without the sources")
def test_each_kind_has_one_line():
    text = REGISTER.read_text()
    for name in ops.KINDS:
        assert text.count(f", {name},") == 1


def test_update_stands_behind_what_it_waits_for():
    """The last operations run in the order of the register."""
    last = [name for name, kind in ops.KINDS.items() if kind.when == "last"]
    for first, then in (
        ("penalty_backward", "gradient_norm"),
        ("reduce_loss", "reduce_penalty"),
        ("gradient_norm", "begin_update"),
        ("begin_update", "batchnorm_running"),
        ("begin_update", "update"),
        ("update", "trust_update"),
        ("trust_update", "max_norm"),
    ):
        assert last.index(first) < last.index(then)
