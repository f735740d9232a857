"""Training by several processes: the same bits for any number of them, Trainer's to rounding, and errors that end the work of all.

What needs several processes is run by mpiexec, where mpi4py and an MPI library are installed; the rest with a communicator of one.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, losses, nn, optim, regularizers
from fastnn.distributed import DistributedTrainer
from fastnn.distributed.sums import PairwiseSum, blocks

PROGRAM = Path(__file__).with_name("program.py")


class One:
    """A communicator of one process, which has nobody to talk to."""

    Allgather = Allgatherv = Alltoallv = Abort = allgather = bcast = None

    def Get_rank(self):
        return 0

    def Get_size(self):
        return 1


def make(kind, batchnorm=False, dropout=0.0, **more):
    fastnn.manual_seed(4)
    layers = [nn.Dense(8, 24, activation="relu"), *[nn.BatchNorm(24)] * batchnorm, *[nn.Dropout(dropout)] * (dropout > 0), nn.Dense(24, 3)]
    model = nn.Sequential(*layers)
    opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    if kind is DistributedTrainer:
        more = {"comm": One(), "grains": 6, "threads": fastnn.get_num_threads(), **more}
    return kind(model, losses.SoftmaxCrossEntropy(), opt, seed=3, **more)


def samples(rows=100):
    rng = np.random.default_rng(5)
    return rng.normal(size=(rows, 8)).astype(np.float32), rng.integers(0, 3, rows)


# ---- sums ----


@pytest.mark.parametrize("terms", [1, 2, 3, 7, 16, 21])
def test_sums_do_not_depend_on_who_adds(terms):
    vectors = np.random.default_rng(0).normal(size=(terms, 5)).astype(np.float32) * 10.0 ** np.arange(terms)[:, None]
    alone = PairwiseSum()
    for i, v in enumerate(vectors):
        alone.add(0, i, v.copy())
    expected = alone.total()
    np.testing.assert_allclose(expected, vectors.sum(axis=0), rtol=1e-5)
    for ranks in range(1, 9):
        cuts, whole = [r * terms // ranks for r in range(ranks + 1)], PairwiseSum()
        for begin, end in zip(cuts, cuts[1:]):
            part = PairwiseSum()
            for i in range(begin, end):
                part.add(0, i, vectors[i].copy())
            assert [(level, place) for level, place, _ in part.partial] == blocks(begin, end)
            for level, place, v in part.partial:
                whole.add(level, place, v.copy())
        assert whole.total().tobytes() == expected.tobytes()


# ---- one process ----


@pytest.mark.parametrize("case", [{}, {"dropout": 0.3}, {"penalty": regularizers.L2(0.1)}, {"clip_norm": 0.05}, {"backend": "reference"}], ids=str)
def test_the_steps_of_a_trainer(case):
    X, y = samples()
    settings = {"epochs": 3, "batch_size": 45, "validation_data": (X[:20], y[:20]), "metrics": ["accuracy"], "verbose": 0}
    one, two = make(fastnn.Trainer, **case), make(DistributedTrainer, **case)
    expected, found = one.fit(X, y, **settings), two.fit(X, y, **settings)
    for p, q in zip(one.model.parameters(), two.model.parameters()):
        np.testing.assert_allclose(p.data, q.data, rtol=2e-4, atol=2e-6)
    for name in set(expected) - {"seconds"}:
        np.testing.assert_allclose(expected[name], found[name], rtol=1e-5)
    assert two.evaluate(X, y) == pytest.approx(one.evaluate(X, y), rel=1e-5)
    assert one.step(X[:31], y[:31]) == pytest.approx(two.step(X[:31], y[:31]), rel=1e-5)
    assert two.steps_done == one.steps_done and two.ranks == 1


def test_grains_follow_from_the_batch_alone():
    parts = {rows: make(DistributedTrainer, grains=None).together.parts(rows) for rows in (1, 8, 32, 100, 256, 4096)}
    assert parts == {1: 1, 8: 1, 32: 2, 100: 6, 256: 8, 4096: 8}
    assert make(DistributedTrainer).share(100) == slice(0, 100)


def test_batch_normalisation_sees_grains():
    """As the smaller batches of accumulate=, running statistics to the bit."""
    X, y = samples(96)
    one, two = make(fastnn.Trainer, True), make(DistributedTrainer, True)
    one.optimizer.param_groups[0]["lr"] = two.optimizer.param_groups[0]["lr"] = 0.0
    one.fit(X, y, batch_size=8, accumulate=6, verbose=0)
    two.fit(X, y, batch_size=48, verbose=0)
    for name in ("running_mean", "running_var"):
        assert getattr(one.model[1], name).data.tobytes() == getattr(two.model[1], name).data.tobytes()
    with pytest.raises(ValueError, match="the last batch: expected at least 2 rows"):
        two.fit(X[:49], y[:49], batch_size=48, verbose=0)


def test_a_bad_step_changes_nothing():
    X, y = samples(96)
    t = make(DistributedTrainer, True)
    before = [p.data.copy() for _, p in (*t.model.named_parameters(), *t.model.named_buffers())]
    y[90] = 3
    with pytest.raises(ValueError, match="got 3 in row 90"):
        t.step(X, y)
    after = [p.data for _, p in (*t.model.named_parameters(), *t.model.named_buffers())]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(before, after)) and t.steps_done == 0


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r"pip install fastnn\[mpi\]"):
        make(DistributedTrainer, comm=None)
    with pytest.raises(TypeError, match="comm: expected a communicator of mpi4py"):
        make(DistributedTrainer, comm=3)


# ---- several processes ----

MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]))


def run(name, folder, ranks, threads=1, program=None):
    """(exit code, standard error, what each process has found)"""
    pytest.importorskip("mpi4py")
    if MPIEXEC is None:
        pytest.skip("needs mpiexec")
    folder.mkdir()
    command = [MPIEXEC, "-n", str(ranks), sys.executable, *(program or [str(PROGRAM), name, str(folder), str(threads)])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PYTHONWARNINGS": "error"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, cwd=folder)
    return done.returncode, done.stderr, [json.loads(p.read_text()) for p in sorted(folder.glob("[0-9].json"))]


def test_one_digest(tmp_path):
    expected = None
    for ranks, threads in ((1, 1), (2, 1), (3, 1), (2, 2), (1, 2)):
        code, errors, found = run("digests", tmp_path / f"{ranks}x{threads}", ranks, threads)
        assert code == 0 and len(found) == ranks, errors
        expected = expected or found[0]
        assert all(f == expected for f in found), (ranks, threads)
    assert expected["again"] == expected["resumed"] and expected["predict"]
    assert expected["broken off"] == [0, 2] and expected["gone on with"]
    assert expected["augmented"][0] != expected["augmented"][1]


def test_errors_of_one_are_told_to_all(tmp_path):
    code, errors, (zero, one) = run("errors", tmp_path / "e", 2)
    assert code == 0, errors
    for found in (zero, one):
        assert found["model"].startswith("ValueError: model: expected the same on all ranks, got Dense, BatchNorm")
        assert found["version"] == "ValueError: fastnn: expected the same on all ranks, got 0.1 on rank 1, 0.0 on rank 0"
        assert found["rows"].startswith("ValueError: rows: expected the same on all ranks, got 149 on rank 1")
        assert found["setting"].startswith("ValueError: batch_size: expected the same on all ranks, got 33 on rank 1, 32 on rank 0")
        assert found["label"].startswith("ValueError: y: expected labels from 0 to 2")
        assert found["steps"] == 2
    assert zero["callback"] == "RankError: rank 1: OSError: the disk is full" and one["callback"] == "OSError: the disk is full"
    assert "rank 1 is at evaluate, while rank 0 is at predict" in zero["call"]
    assert "rank 0 is at predict, while rank 1 is at evaluate" in one["call"]
    assert zero["well"] == one["well"]
    assert "rank 1 is at the end of its program" in zero["end"]


@pytest.mark.parametrize("name", ["killed", "aborted"])
def test_a_process_that_dies_ends_the_job(name, tmp_path):
    start = time.monotonic()
    code, errors, found = run(name, tmp_path / "k", 2)
    assert code != 0 and not found and time.monotonic() - start < 30  # two or so; the limit is for a busy machine
    assert name == "killed" or "rank 1 ends the job: TypeError" in errors


def test_the_command(tmp_path):
    command = ["-m", "fastnn", "train", "--distributed", "--epochs", "2", "--batch-size", "128", "--threads", "1", "--json", "--output", "m.safetensors"]
    code, errors, _ = run("", tmp_path / "c", 2, program=command)
    assert code == 0, errors
    assert fastnn.nn.load(tmp_path / "c" / "m.safetensors").num_parameters() == 7510
    assert callbacks.Checkpoint.writes_files and not callbacks.EarlyStopping.writes_files
