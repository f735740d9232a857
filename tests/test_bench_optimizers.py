"""bench/optimizers.py: its arithmetic, its table, and that every optimizer that it names exists."""

import sys
from pathlib import Path

import pytest

from fastnn import optim

sys.path.insert(0, str(Path(__file__).parents[1]))
optimizers = pytest.importorskip("bench.optimizers", reason="needs the sources")
del sys.path[0]


def entry(**seconds):
    rounds = {key.replace("_", " "): value for key, value in seconds.items()}
    return {"optimizer": "Adam", "size": "1 M", "parameters": 10**6, "seconds": rounds, "disturbed": {k: [False] * len(v) for k, v in rounds.items()}}


def test_every_optimizer_is_measured():
    kinds = {kind for kind, _, _ in optimizers.OPTIMIZERS.values()}
    several = {"LBFGS", "Adafactor", "Muon"}  # which are no pass over the arrays
    assert kinds == set(optim.__all__) - {"Optimizer"} - several
    assert set(optimizers.TORCH) | set(optimizers.ALONE) == set(optimizers.OPTIMIZERS)


def test_arithmetic():
    e = entry(fastnn=[[1e-4, 1e-4, 9e-4], [2e-4, 2e-4]], memory=[[5e-5], [4e-4]], torch_fused=[[3e-4]], torch_loop=[[9e-4]])
    assert optimizers.typical(e, "fastnn") == 2e-4
    e["disturbed"]["fastnn"] = [True, False]
    assert optimizers.typical(e, "fastnn") == 2e-4  # one quiet round is too few: all count
    assert optimizers.share_of_memory(e) == pytest.approx((0.5 + 2) / 2)
    lines = optimizers.table({"entries": [e]}, "1 M").splitlines()
    assert lines[2] == "| Adam | 0.2 | 0.9 | – | 0.3 | 1.50 | 0.225 | 125 % |"
    assert optimizers.table({"entries": [e]}, "10 k") == ""
