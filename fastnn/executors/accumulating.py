"""Runs a plan in batches that are larger than the plan's: the gradients of several of its own are added up for each update."""

import math
import time

import numpy as np

from .. import _native
from ..plan import UPDATES
from .base import Executor, Result


class AccumulatingExecutor(Executor):
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
        super().__init__(executor.plan, executor, executor.counter, executor.lock)
        self._batch, self._mean = batch, mean
        self._update = next(i for i, op in enumerate(self.plan.ops) if op.kind in UPDATES)
        self._gradients = [executor.array(g.name) for _, g in self.plan.gradients]
        self._sums = [np.zeros_like(g) for g in self._gradients]
        self._room = np.empty(max(g.size for g in self._gradients), self._gradients[0].dtype)
        self.array = executor.array

    def run(self, x, y, index=None, rates=None, losses=None, check_finite=False, seconds=0.0, out=None, weights=None, tally=None,
            augment=None):
        """As NativeExecutor.run, of all operations."""
        tally = _native.Tally() if tally is None else tally
        rows, step, skipped = len(x) if index is None else len(index), 0, 0
        self._until = time.monotonic() + seconds if seconds else math.inf
        while step * self._batch < rows:
            begin, end = step * self._batch, min((step + 1) * self._batch, rows)
            part = slice(begin, end)
            more = (x, y, index[part], weights) if index is not None else (x[part], y[part], None, None if weights is None else weights[part])
            rate = rates[step - skipped][None]
            found, loss = self._step(more, end - begin, rate, check_finite, None if out is None else out[part], tally, augment)
            if found.problem:
                return Result.of(tally, step, skipped, found.problem, found.row)
            if losses is not None:
                losses[step] = loss
            step += 1
            skipped += found.skipped
            if self._is_time():
                break
        return Result.of(tally, step, skipped, None, 0)

    def _is_time(self):
        """Whether a run is to end here, since its time is over."""
        return time.monotonic() >= self._until

    def _step(self, data, rows, rate, check_finite, out, tally, augment):
        """(the Result of a step over these rows, their loss)"""
        x, y, index, weights = data
        run, batch, losses = self._batches.run, self.plan.batch, np.zeros(1)
        if rows <= batch:  # needs nothing of all this
            found = run(x, y, index, rate, losses=losses, check_finite=check_finite, out=out, weights=weights, tally=tally, augment=augment)
            return found, float(losses[0])
        parts, counted = _native.Tally(0, 0, tally.loss_sum, tally.correct), 0
        for begin in range(0, rows, batch):
            part, left_out = slice(begin, min(begin + batch, rows)), parts.left_out
            xs, ys, ws = (x, y, weights) if index is not None else (x[part], y[part], None if weights is None else weights[part])
            found = run(
                xs, ys, None if index is None else index[part], rate, check_finite=check_finite, out=None if out is None else out[part],
                last=self._update, weights=ws, tally=parts, counts=False, row0=begin, augment=augment,
            )  # fmt: skip
            if found.problem:
                return found._replace(row=begin + found.row), 0.0
            n = part.stop - begin - (parts.left_out - left_out)
            counted += n
            self._add(n, begin == 0)
        for g, s in zip(self._gradients, self._sums):
            np.divide(s, max(counted, 1) if self._mean else 1, out=g)
        gained = parts.loss_sum - tally.loss_sum
        found = run(xs, ys, None if index is None else index[part], rate, first=self._update, weights=ws, tally=tally, parts=parts)
        return found, gained / max(counted, 1) if self._mean else gained

    def _add(self, rows, first):
        """The gradients of a part of so many rows."""
        weight = self._room.dtype.type(rows if self._mean else 1)
        for g, s in zip(self._gradients, self._sums):
            if first:
                np.multiply(g, weight, out=s)
            else:
                s += np.multiply(g, weight, out=self._room[: g.size].reshape(g.shape))
