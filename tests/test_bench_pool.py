"""bench.pool: what counts as disturbed, and that it is measured again while there is patience."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
pool = pytest.importorskip("bench.pool", reason="needs the sources")
del sys.path[0]

QUIET = {"foreign": 0.0, "elapsed": 0.01}


@pytest.fixture
def neighbours(monkeypatch):
    """Neighbours of two CPUs, of which the test sets the seconds that copies take."""
    found = pool.Neighbours()
    pools, found.pools = found.pools, [found.pools[0]] * 2 if found.pools else []
    if not pools:
        pytest.skip("needs a system that binds threads to CPUs")
    times = iter(())

    def take(*more):
        nonlocal times
        times = iter(more)

    monkeypatch.setattr(found, "_copies", lambda: next(times))
    found.fastest = [1.0, 1.0]
    found.take = take
    return found


def test_copies_that_take_longer_on_any_cpu_tell_a_neighbour(neighbours):
    neighbours.take(1.0, 1.1, 1.0, 2.0, 0.5, 0.9, 0.9, 0.9)
    assert [neighbours.busy() for _ in range(4)] == [False, True, False, True]  # the last: 0.5 has been seen since
    assert neighbours.fastest == [0.5, 0.9]


def test_copies_are_measured():
    assert pool.Neighbours().slowest() >= 1


class Replies:
    """A worker whose measurements are numbered."""

    def __init__(self):
        self.asked = 0

    def ask(self, do):
        self.asked += 1
        return dict(QUIET, number=self.asked)


def test_what_neighbours_disturb_is_measured_again(neighbours, monkeypatch):
    watch, worker = pool.Watch(), Replies()
    seen = iter([False, True, False, False, False])  # before and after, at the end of waiting, before and after
    monkeypatch.setattr(watch.neighbours, "busy", lambda: next(seen))
    monkeypatch.setattr(pool, "cpu_seconds", lambda: 0.0)
    watch.patience = 10
    reply = watch.ask(worker, "round")
    assert (reply["number"], reply["disturbed"], watch.again, watch.kept) == (2, False, 1, 0) and watch.patience < 10


def test_without_patience_it_is_kept_and_marked(monkeypatch):
    watch, worker = pool.Watch(), Replies()
    monkeypatch.setattr(watch.neighbours, "busy", lambda: True)
    assert watch.ask(worker, "round")["disturbed"] and (worker.asked, watch.kept) == (1, 1)
