"""Runs a plan in batches that are larger than the plan's: the gradients of several of its own are added up for each update."""

import time

import numpy as np

from ..plan import UPDATES
from .base import Result


class AccumulatingExecutor:
    """The interface of an executor for batches of `batch` rows, on top of one whose plan has smaller ones, and its update apart from
    everything else. Memory: that of the smaller batches, and once more the gradients.

    Parameters
    ----------
    executor : NativeExecutor or ReferenceExecutor
    batch : int
    mean : bool
        Whether the loss is a mean over rows: then a part counts by its rows, those to be ignored left out.
    """

    def __init__(self, executor, batch, mean):
        self.plan, self._executor, self._batch, self._mean = executor.plan, executor, batch, mean
        self._update = next(i for i, op in enumerate(self.plan.ops) if op.kind in UPDATES)
        self._gradients = [executor.array(g.name) for _, g in self.plan.gradients]
        self._sums = [np.zeros_like(g) for g in self._gradients]
        self._room = np.empty(max(g.size for g in self._gradients), self._gradients[0].dtype)
        self._outcomes = {}  # by the number of steps
        self._random = (0, 0)
        self.progress, self.set_groups, self.array = executor.progress, executor.set_groups, executor.array

    tensors = property(lambda self: self._executor.tensors)
    steps_done = property(lambda self: self._executor.steps_done)
    steps_skipped = property(lambda self: self._executor.steps_skipped)

    @property
    def outcome(self):
        """What the last `run` reported, also where an exception came before it could return."""
        return self._outcomes.get(self.steps_done, Result(0, 0.0, 0, None, 0))

    def set_random(self, seed, step0):
        """What the next run draws at random from: the seed, and the number of its first step."""
        self._random = (seed, step0)

    @property
    def check_losses(self):
        """As NativeExecutor's."""
        return self._executor.check_losses

    @check_losses.setter
    def check_losses(self, check_losses):
        self._executor.check_losses = check_losses

    def disarm(self):
        """There is no short way."""

    def run(self, x, y, index=None, rates=None, losses=None, check_finite=False, seconds=0.0, out=None, weights=None, loss_before=0.0):
        """As NativeExecutor.run, of all operations."""
        rows, start = len(x) if index is None else len(index), time.monotonic()
        found = Result(0, loss_before, 0, None, 0)
        self._outcomes, step = {0: found}, 0
        while step * self._batch < rows:
            begin, end = step * self._batch, min((step + 1) * self._batch, rows)
            part = slice(begin, end)
            more = (x, y, index[part], weights) if index is not None else (x[part], y[part], None, None if weights is None else weights[part])
            rate = rates[step - (self.steps_skipped if step else 0)][None]
            found, counted = self._step(more, end - begin, rate, check_finite, None if out is None else out[part], step, found)
            if found.problem:
                return found
            if losses is not None:
                gained = found.loss_sum - self._outcomes[step].loss_sum
                losses[step] = gained / max(counted, 1) if self._mean else gained
            step += 1
            if seconds and time.monotonic() - start >= seconds:
                break
        return found

    def _step(self, data, rows, rate, check_finite, out, step, before):
        """(the Result after a step over these rows, how many of them count)"""
        x, y, index, weights = data
        run, batch, total = self._executor.run, self.plan.batch, 0
        seed, step0 = self._random
        sums = before
        for begin in range(0, rows, batch):
            part = slice(begin, min(begin + batch, rows))
            self._executor.set_random(seed, step0 + step, begin)
            xs, ys, ws = (x, y, weights) if index is not None else (x[part], y[part], None if weights is None else weights[part])
            last = self._update if rows > batch else None  # a batch that is no larger needs nothing of all this
            found = run(
                xs, ys, None if index is None else index[part], rate, check_finite=check_finite, out=None if out is None else out[part],
                last=last, weights=ws, done=step + (last is None), loss_before=sums.loss_sum,
            )  # fmt: skip
            n = part.stop - begin - found.left_out
            if found.problem:
                return Result(step, sums.loss_sum, sums.correct, found.problem, begin + found.row), 0
            total += n
            sums = Result(step + 1, found.loss_sum, sums.correct + found.correct, None, 0, sums.left_out + found.left_out)
            if last is not None:
                self._add(n, begin == 0)
        self._outcomes[step + 1] = sums
        if rows > batch:
            for g, s in zip(self._gradients, self._sums):
                np.divide(s, max(total, 1) if self._mean else 1, out=g)
            skipped = self.steps_skipped
            run(xs, ys, None if index is None else index[part], rate, first=self._update, weights=ws, done=step + 1)
            if self.steps_skipped > skipped:
                sums = before._replace(steps=step + 1, left_out=before.left_out + rows)
                self._outcomes[step + 1] = sums
        return sums, total

    def _add(self, rows, first):
        """The gradients of a part of so many rows."""
        weight = self._room.dtype.type(rows if self._mean else 1)
        for g, s in zip(self._gradients, self._sums):
            if first:
                np.multiply(g, weight, out=s)
            else:
                s += np.multiply(g, weight, out=self._room[: g.size].reshape(g.shape))
