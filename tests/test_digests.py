"""Short trainings lead to the bits that golden/digests.json records, with the instruction set in use and any number of threads.

FASTNN_ISA chooses the instruction set, and which of a case's digests it is compared with.
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import optim
from fastnn.core.activations import ACTIVATIONS, FORMS
from fastnn.core.update_rules import RULES
from fastnn.ops.op import KINDS

_spec = importlib.util.spec_from_file_location("make_digests", Path(__file__).parent / "golden" / "make_digests.py")
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

RECORDED = json.loads(golden.FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", golden.CASES)
def test_same_bits(name, threads, team):
    with team(threads):
        if fastnn.get_num_threads() != threads:
            pytest.skip("FASTNN_NUM_THREADS, or a build without OpenMP, allows fewer threads")
        found = golden.digest(golden.CASES[name]())
    assert found == RECORDED[name][golden.column()], "other bits than recorded; golden/make_digests.py says what to do"


def test_every_case_is_recorded_and_like_no_other():
    """An option that changes nothing would not be seen."""
    assert list(RECORDED) == list(golden.CASES)
    for column in ("fused", "generic"):
        assert len({digests[column] for digests in RECORDED.values()}) == len(RECORDED)


def test_every_entry_of_the_registers_is_in_a_case():
    """A new one has a line in make_digests.py, which is then run again."""
    assert set(golden.ACTIVATIONS) == set(ACTIVATIONS)
    assert {rule for kind, _ in golden.OPTIMIZERS.values() for rule in getattr(optim, kind).rules} == set(RULES)
    forms, kinds = set(), set()
    models = [(make(), golden.CROSS_ENTROPY) for make in golden.LAYERS.values()]
    models += [(golden.chain(3, 5), loss) for loss, _ in golden.LOSSES.values()]
    for model, loss in models:
        opt = optim.LAMB(model.parameters(), max_norm=1.0)
        trainer = fastnn.Trainer(model, loss, opt, clip_norm=1.0, penalty=golden.PENALTIES["l2"])
        ops = [*trainer.plan(8).ops, *trainer.plan(8, fused=False).ops, *model.plan(8).ops]
        kinds |= {op.kind for op in ops}
        forms |= {op.form for op in ops if op.kind == "elementwise_loss"}
    assert forms == set(FORMS)
    elsewhere = {"gather_weights", "tied_forward", "tied_backward_input", "stochastic_pool2d_inference_backward"}
    assert kinds | elsewhere == set(KINDS)


def test_the_exceptions_are_cases():
    assert set(golden.MATHEMATICS_LIBRARY) <= set(golden.CASES)


def test_digests_differ_by_a_bit():
    a = golden.uniform(1, 3, 5)
    last, sign, other = a.copy(), a * 0, a.astype(np.float64)
    last[2, 4] = np.nextafter(last[2, 4], np.float32(2))
    sign[0, 0] = -sign[0, 0]
    different = [a, last, a * 0, sign, other, a.T, [a, 0.0], [a, 1.0], {"a": a, "b": last}, {"a": last, "b": a}]
    assert len({golden.digest(found) for found in different}) == len(different)


def test_digests_are_of_numbers():
    with pytest.raises(AssertionError, match="NaN"):
        golden.digest([np.ones(2), float("nan")])
