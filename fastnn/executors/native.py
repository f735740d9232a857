"""Runs a plan with the compiled kernels of csrc/. It owns a workspace, so one call at a time may use it."""

import math
import time

import numpy as np

from .. import _native
from .base import Executor, Result


class NativeExecutor(Executor):
    """Runs a plan with the compiled kernels of csrc/.

    Parameters
    ----------
    plan : Plan
        One that updates parameters counts its steps in the state of their optimizer, whose `prepare` must have handed over its settings.
    counter : _native.StepCounter, optional
        Moved on by steps that update; by default, its own.
    lock : _native.Lock, optional
        Held while a run goes on, and sealed while a loss of the user's own is called; by default, its own.
    """

    def __init__(self, plan, counter=None, lock=None):
        super().__init__(plan, None, counter, lock)
        self._arena = _native.aligned_zeros(max(plan.workspace_bytes, 1), np.uint8)
        self._arrays = {}
        buffers = []
        for b in plan.buffers:
            if b.array is not None:
                array = b.array
            elif b.near >= 0:  # in each thread's scratch
                array = None
            else:
                flat = self._arena[b.offset : b.offset + b.nbytes(plan.batch)].view(b.dtype)
                if b.whole:
                    array = flat[: math.prod(b.shape)].reshape(b.shape)
                else:
                    array = flat[: plan.batch * b.ld].reshape(plan.batch, b.ld)[:, : b.columns]
            self._arrays[b.name] = array
            buffers.append((array, b.ld, b.near))
        ops = [(*op.native(), op.by_rows, op.barrier, op.updates, op.scratch_bytes(plan.batch), op.scratch_at, op.depth, op.few)
               for op in plan.ops]
        tensors, gradients, named = None, [], None
        if plan.update:
            params = [p.data for p, _, _ in plan.update.tensors]
            tensors = _native.Tensors(
                params,
                [states for _, states, _ in plan.update.tensors],
                [group for _, _, group in plan.update.tensors],
                plan.update.state,
                [p.name for p, _, _ in plan.update.tensors],
                list(plan.update.averages) or None,
            )
            tensors.set_clipping(plan.update.clip_norm, plan.update.skip_nonfinite)
            by_parameter = {id(p): g for p, g in plan.gradients}
            for p, _, _ in plan.update.tensors:
                g = by_parameter.get(id(p))
                gradients.append(None if g is None else self._arrays[g.name])
            named = [self._arrays[plan.lazy[i].name] if i in plan.lazy else None for i in range(len(gradients))]
        x, y, weights = map(plan.input, ("x", "y", "weights"))
        self._native = self._batches = _native.NativePlan(
            ops,
            buffers,
            tensors,
            gradients,
            float(plan.flops),
            plan.batch,
            x.columns,
            y.columns if y else 0,
            y.classes if y else 0,
            -1 if plan.output is None else plan.output.index,
            0 if plan.output is None else plan.output.columns,
            x.scale,
            x.shift,
            weights.columns if weights else 0,
            y.ignore if y else None,
            plan.dtype == "float64",
            plan.update.n_groups if plan.update else 0,
            self.counter,
            lock,
            len(plan.schedules),
            named,
            plan.scratch_bytes,
        )
        self._host = next((i for i, op in enumerate(plan.ops) if op.has("in_python")), None)
        self.infer = self._native.infer  # (x, out, dimensions of x) -> done: all operations on one batch, likewise
        self.plain = self._native.plain  # (x, y, least rows) -> whether `step` may have the batch without a closer look
        self._runs_alone = self._host is None and not plan.schedules
        if self._runs_alone:
            self.step = self._native.step  # with as little around it as can be

    def set_alone(self):
        """Run on one thread from now on, whatever the work: others run executors of their own meanwhile."""
        self._native.alone = True

    def cached_step(self, least):
        """After a `step`: (x, y) -> loss or None, one more such step on at least so many rows, with the lowest overhead, as long as nothing
        changes that it depends on. None where there are no such steps."""
        return self._native.cached_step if self._runs_alone and self._native.cache_step(least) else None

    def run(self, x, y=None, index=None, rates=None, losses=None, check_finite=False, seconds=0.0, out=None, first=0, last=None,
            weights=None, tally=None, counts=True, parts=None, row0=0, augment=None):
        """Run the plan for every batch of the rows; see `_native.NativePlan.run`. rates: [steps][groups]; tally: the sums to go on
        from, which are then those of the result; augment: (_native.AugmentChain, seed, epoch) for what is done to the rows of x, whose
        numbers are those of the samples."""
        tally = _native.Tally() if tally is None else tally
        if rates is not None:
            rates = np.ascontiguousarray(rates, np.float64)
        if out is not None:
            if self.plan.output is None or np.shape(out)[1:] != self.plan.output_shape:
                raise ValueError(f"out: expected rows of the plan's output, got shape {np.shape(out)}")
            if out.ndim > 2:
                if not out.flags.c_contiguous:
                    raise ValueError("out: expected a C-contiguous array, got one that is not")
                out = out.reshape(len(out), -1)
        last = len(self.plan.ops) if last is None else last
        if self._host is not None and first <= self._host < last:
            found = self._run_with_host(
                x, y, index, rates, losses, check_finite, seconds, out, first, last, weights, tally, counts, row0, augment
            )
        else:
            if self._host is not None:  # only its function takes them
                y = weights = None
            found = self._native.run(
                x, y, index, first, last, rates, losses, check_finite, seconds, out, weights, tally, counts, None, parts, row0,
                self._shares(x, index), augment,
            )
        return Result.of(tally, *found)

    def _run_with_host(self, x, y, index, rates, losses, check_finite, seconds, out, first, last, weights, tally, counts, row0,
                       augment):
        """Batch by batch: a native call up to the host operation, the function, a native call for the rest. What the function
        raises leaves this batch without its update."""
        op, host, start = self.plan.ops[self._host], self._host, time.monotonic()
        rows, batch = len(x) if index is None else len(index), self.plan.batch
        logits, gradient = (self._arrays[b.name] if b else None for b in map(op.buffers.get, ("logits", "dlogits")))
        step = skipped = 0
        for step, begin in enumerate(range(0, rows, batch), 1):
            # with an index the rows are copied to where the second call finds them
            chosen = np.arange(begin, min(begin + batch, rows)) if index is None else index[begin : begin + batch]
            rate = None if rates is None else rates[step - 1 - skipped : step - skipped]
            n = len(chosen)
            shares = self._shares(x, chosen)
            *_, problem, row = self._native.run(
                x, None, chosen, first, host, rate, None, check_finite, 0.0, None, None, None, False, None, None, row0, shares, augment
            )
            if problem:
                return step - 1, skipped, problem, row
            if out is not None:  # the second call reads them where they are
                out[begin : begin + n] = self._arrays[self.plan.output.name][:n]
            arguments = logits[:n].copy(), y[chosen], None if weights is None else weights[chosen]
            loss, derivative = self.lock.call_sealed(op.function, *arguments)
            if self._native.check_losses and not math.isfinite(loss):
                return step - 1, skipped, "undefined loss", 0
            if gradient is not None:
                gradient[:n] = derivative
            value = np.array([loss], np.float64)
            if host + 1 < last:
                skipped += self._native.run(
                    x, None, chosen, host + 1, last, rate, value, False, 0.0, None, None, tally, counts, loss, None, row0, shares
                )[1]
            else:
                tally.add(n, loss * n, 0, 0, False)
            if losses is not None:
                losses[step - 1] = value[0]
            if seconds and time.monotonic() - start >= seconds:
                break
        return step, skipped, None, 0

    def _shares(self, x, index):
        """What the plan's schedules say for the steps of a run of these rows."""
        return self.plan.shares(self.counter.done, -(-(len(x) if index is None else len(index)) // self.plan.batch))

    def array(self, name):
        """A buffer's contents, [batch, *the sample's shape] or the parameter's shape; a view."""
        array, b = self._arrays[name], next(b for b in self.plan.buffers if b.name == name)
        if array is None:
            raise ValueError(f"{name}: threads have it for a few rows at a time in this plan; a Builder with keep=True has all of it")
        if b.is_whole:
            return array
        strides = np.cumprod((b.itemsize, *b.shape[:0:-1]))[::-1]  # a reshape would copy where samples have gaps between them
        return np.ndarray((len(array), *b.shape), array.dtype, self._arena, b.offset, (b.ld * b.itemsize, *strides))
