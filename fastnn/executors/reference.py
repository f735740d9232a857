"""Runs a plan operation by operation in NumPy. It owns a workspace, so one call at a time may use it."""

import numpy as np

from .. import _native
from .base import Executor, Result, group_states


class ReferenceExecutor(Executor):
    """Runs the same plan operation by operation in NumPy, in its own dtype or another.

    Where that is another the parameters are converted once, when it is made, and updates stay in the copies: for checking gradients.
    """

    def __init__(self, plan, dtype=None, counter=None, lock=None):
        from ..reference.interpreter import Interpreter  # with all twins, which most programs never need
        from ..reference.optimizer import optimizer_progress

        self._interpreter, self._progress = Interpreter(plan, dtype), optimizer_progress
        super().__init__(plan, self._interpreter, counter, lock)

    def plain(self, x, y, least):
        """Every batch is looked at closely."""
        return False

    def set_alone(self):
        """It is always one thread."""

    def cached_step(self, least):
        """No step is like another."""

    def run(self, x, y=None, index=None, rates=None, losses=None, check_finite=False, seconds=0.0, out=None, first=0, last=None,
            weights=None, tally=None, counts=True, parts=None, row0=0, augment=None):
        """As NativeExecutor.run; `seconds` is ignored."""
        rows, batch = len(x) if index is None else len(index), self.plan.batch
        if not rows or not len(x):
            raise ValueError(f"x: expected at least one row, got shape {x.shape}")
        if y is not None and len(y) != len(x):
            raise ValueError(f"y: expected one target for each of x's {len(x)} rows, got {len(y)}")
        tally, state = _native.Tally() if tally is None else tally, self.plan.update.state if self.plan.update else None
        seed, step0, skipped = self.counter.seed, self.counter.done, 0
        for step, begin in enumerate(range(0, rows, batch)):
            chosen = np.arange(begin, min(begin + batch, rows)) if index is None else index[begin : begin + batch]
            rate = None if rates is None else rates[step - skipped]
            groups, shares = group_states(state, rate) if state else None, self.plan.shares(self.counter.done, 1)
            found = self.lock.call_sealed(
                self._interpreter.run, x, y, chosen, groups, rate, check_finite, first, last, (seed, step0 + step, row0), weights,
                None if shares is None else shares[0], augment,
            )
            if found.problem:
                return Result.of(tally, step, skipped, found.problem, found.row)
            if losses is not None:
                losses[step] = found.loss
            if out is not None:
                outputs = self.array(self.plan.output.name)[: len(chosen)]
                out[begin : begin + len(chosen)] = outputs.reshape(len(chosen), *self.plan.output_shape)
            skipped += found.skipped
            if state is not None and counts and last in (None, len(self.plan.ops)):  # else the step goes on
                self.counter.done += 1
                state.skipped += found.skipped
                if not found.skipped:
                    state.set_progress([self._progress(g, float(lr)) for g, lr in zip(groups, rate)])
            if parts is not None:
                tally.close_batch(parts, found.skipped)
                continue
            tally.add(len(chosen), found.loss_sum, found.correct, len(chosen) if found.skipped else found.ignored, found.skipped)
        return Result.of(tally, -(-rows // batch), skipped, None, 0)

    def array(self, name):
        """A buffer's contents, [batch, *the sample's shape] or the parameter's shape; a view."""
        array, b = self._interpreter.arrays[name], next(b for b in self.plan.buffers if b.name == name)
        return array if b.is_whole else array.reshape(len(array), *b.shape)

    def parameter(self, p):
        """The values of a Parameter that this executor computes with: in float64 a copy of its own, which may be written to."""
        return self._interpreter.parameters[id(p.data)]
