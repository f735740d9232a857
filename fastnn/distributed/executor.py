"""Runs the steps of a plan by several processes: each works on some of a batch's grains, and all do the same update."""

import numpy as np

from .. import _native
from ..executors import AccumulatingExecutor, Result
from ..plan import UPDATES
from .sums import PairwiseSum, blocks, cuts

_PROBLEMS = list(_native.PROBLEMS.values())  # by number; the first is None


class DistributedExecutor(AccumulatingExecutor):
    """The interface of an executor for batches that are cut into grains, each a batch of the plan, which the processes share out.

    A step: every process works out the gradients of its grains and adds up neighbours (`PairwiseSum`). Each then gets a piece of
    everybody's partial sums, adds them in the order of the grains, and hands the piece's total to all, who do the update. Numbers
    that are reported, and running statistics, are carried from grain to grain in the same order by all. So nothing depends on
    which process had which grain.

    Parameters
    ----------
    ranks : Ranks
    executor, batch, mean
        As for AccumulatingExecutor.
    """

    def __init__(self, ranks, executor, batch, mean):
        self.plan, self._batches, self._batch, self._mean, self._ranks = executor.plan, executor, batch, mean, ranks
        self._update = next(i for i, op in enumerate(self.plan.ops) if op.kind in UPDATES)
        self._gradients = [executor.array(g.name) for _, g in self.plan.gradients]
        self._ends = np.cumsum([g.size for g in self._gradients]).tolist()
        self._dtype = self._gradients[0].dtype
        self._mine = PairwiseSum()
        self._running = Running(self.plan)
        self._enough = False
        self.array = executor.array

    def _is_time(self):
        return self._enough  # as all have agreed

    def _step(self, data, rows, rate, check_finite, out, tally, augment=None):
        ranks, ends = self._ranks, cuts(rows, self.plan.batch)
        count = len(ends) - 1
        mine = ranks.share(count)
        with self._running:
            numbers, problem, row = np.zeros((len(mine), 4)), None, 0
            statistics = self._running.room(len(mine))
            self._mine.reset()
            for i, g in enumerate(mine):
                part = _native.Tally()
                found = self._of_grain(data, slice(ends[g], ends[g + 1]), rate, check_finite, out, part, statistics[i], augment)
                if found.problem:
                    problem, row = found.problem, ends[g] + found.row
                    break
                counted = part.rows - part.left_out
                numbers[i] = counted, part.loss_sum, part.correct, part.left_out
                self._keep_gradients(g, counted)
            told = ranks.meet("a step", _PROBLEMS.index(problem), row, super()._is_time(), same=(rows, tally.batches))
            self._enough = bool(told[:, 2].any())
            bad = [(int(r), int(p)) for p, r in told[:, :2] if p]
            if bad:
                row, problem = min(bad)
                return Result(0, 0.0, 0, _PROBLEMS[problem], row), 0.0
            with ranks.exchange():
                numbers, statistics = self._gathered(numbers, statistics, out, ends)
                counted = max(int(numbers[:, 0].sum()), 1) if self._mean else 1
                self._take_gradients(self._total(count, counted))
            parts, before = _native.Tally(0, rows, tally.loss_sum, tally.correct), tally.loss_sum
            for _, loss, correct, left_out in numbers:
                parts.loss_sum += loss
                parts.correct += int(correct)
                parts.left_out += int(left_out)
            gained = (parts.loss_sum - before) / counted
            x, y, index, weights = self._rows(data, slice(0, ends[1]))  # the update reads none of them
            found = self._batches.run(x, y, index, rate, first=self._update, weights=weights, tally=tally, parts=parts)
            if not found.skipped:
                self._running.take(statistics)
        return found, gained

    def _of_grain(self, data, part, rate, check_finite, out, tally, statistics, augment=None):
        """Everything but the update, for these rows of the batch."""
        x, y, index, weights = self._rows(data, part)
        self._running.clear()
        found = self._batches.run(
            x, y, index, rate, check_finite=check_finite, out=None if out is None else out[part], last=self._update, weights=weights,
            tally=tally, counts=False, row0=part.start, augment=augment,
        )  # fmt: skip
        self._running.read(statistics)
        return found

    @staticmethod
    def _rows(data, part):
        x, y, index, weights = data
        if index is not None:
            return x, y, index[part], weights
        return x[part], y[part], None, None if weights is None else weights[part]

    # ---- gradients ----

    def _keep_gradients(self, g, counted):
        """Those of grain number g, whose mean was over so many rows."""
        term = self._mine.room(self._ends[-1], self._dtype)
        weight = self._dtype.type(counted if self._mean else 1)
        for gradient, place in zip(self._gradients, self._places(term)):
            np.multiply(gradient, weight, out=place.reshape(gradient.shape))
        self._mine.add(0, g, term)

    def _places(self, vector):
        return [vector[end - g.size : end] for g, end in zip(self._gradients, self._ends)]

    def _take_gradients(self, total):
        for gradient, place in zip(self._gradients, self._places(total)):
            gradient[...] = place.reshape(gradient.shape)
        self._mine.keep(total)

    def _total(self, count, counted):
        """The sum over all grains, divided."""
        ranks, size = self._ranks, int(self._ends[-1])
        if ranks.size == 1:
            total = self._mine.total()
            total /= counted
            return total
        pieces = [ranks.share(size, r) for r in range(ranks.size)]
        own, sums = pieces[ranks.rank], [vector for _, _, vector in self._mine.partial]
        send = np.concatenate([v[p.start : p.stop] for p in pieces for v in sums] or [np.empty(0, self._dtype)])
        theirs = [blocks(s.start, s.stop) for s in (ranks.share(count, r) for r in range(ranks.size))]
        received = np.empty((sum(map(len, theirs)), len(own)), self._dtype)
        ranks.comm.Alltoallv([send, [len(sums) * len(p) for p in pieces]], [received, [len(t) * len(own) for t in theirs]])
        self._mine.reset()
        adding = PairwiseSum()
        for (level, place), vector in zip((b for t in theirs for b in t), received):
            adding.add(level, place, vector)
        piece = adding.total()
        piece /= counted
        total = self._mine.room(size, self._dtype)
        ranks.gather(piece, total, [len(p) for p in pieces])
        return total

    def _gathered(self, numbers, statistics, out, ends):
        """What all processes have of the grains: numbers that are reported, and running statistics. out: gets all rows' outputs."""
        ranks, count = self._ranks, len(ends) - 1
        counts = ranks.counts(count)
        everything = np.empty((count, numbers.shape[1]))
        ranks.gather(numbers, everything, counts)
        together = statistics
        if statistics.shape[1] and ranks.size > 1:
            together = self._running.room(count)
            ranks.gather(statistics, together, counts)
        if out is not None:
            ranks.gather_rows(out, ends)
        return everything, together


class Running:
    """The running statistics that a plan's steps move: running ← old · running + new, by old = 1 - momentum.

    As a context: within it the arrays are whatever a grain needs; at its end they are what they were, or what `take` has made of them.
    """

    def __init__(self, plan):
        self._arrays, old = [], {}
        for op in plan.ops:
            if op.kind == "batchnorm_running":
                for role in ("mean", "var"):
                    array = op.buffers[role].array
                    if id(array) not in old:
                        self._arrays.append(array)
                        old[id(array)] = array.dtype.type(1)
                    old[id(array)] *= 1 - array.dtype.type(op.momentum)
        self._old = [old[id(a)] for a in self._arrays]
        self._ends = np.cumsum([a.size for a in self._arrays]) if self._arrays else np.zeros(1, np.int64)
        self._before = ()

    def __enter__(self):
        self._before = [a.copy() for a in self._arrays]

    def __exit__(self, *error):
        for a, before in zip(self._arrays, self._before):
            a[...] = before

    def room(self, count):
        """For what so many grains add."""
        return np.zeros((count, self._ends[-1]), self._arrays[0].dtype if self._arrays else np.float32)

    def clear(self):
        """Before a grain: what it leaves is then what it adds."""
        for a in self._arrays:
            a[...] = 0

    def read(self, into):
        """What a grain adds."""
        for a, end in zip(self._arrays, self._ends):
            into[end - a.size : end] = a

    def take(self, added):
        """Carry the statistics on, grain by grain."""
        for a, old, end in zip(self._before, self._old, self._ends):
            for row in added:
                a *= old
                a += row[end - a.size : end]
