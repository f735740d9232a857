"""Runs a plan with the compiled kernels of csrc/. It owns a workspace, so one call at a time may use it."""

import math
import time

import numpy as np

from .. import _native
from .base import RULES, Result


class NativeExecutor:
    """Runs a plan with the compiled kernels of csrc/."""

    def __init__(self, plan):
        self.plan = plan
        self._arena = _native.aligned_zeros(max(plan.workspace_bytes, 1), np.uint8)
        self._arrays = {}
        self._random = (0, 0, 0)
        buffers = []
        for b in plan.buffers:
            if b.array is not None:
                array = b.array
            else:
                flat = self._arena[b.offset : b.offset + b.nbytes(plan.batch)].view(b.dtype)
                if b.whole:
                    array = flat[: math.prod(b.shape)].reshape(b.shape)
                else:
                    array = flat[: plan.batch * b.ld].reshape(plan.batch, b.ld)[:, : b.columns]
            self._arrays[b.name] = array
            buffers.append((array, b.ld))
        ops = [(*op.native(), op.by_rows, op.barrier, op.updates, op.scratch_bytes(plan.batch)) for op in plan.ops]
        tensors, gradients = None, []
        if plan.update:
            params = [p.data for p, _, _ in plan.update.tensors]
            tensors = _native.Tensors(
                params,
                [states for _, states, _ in plan.update.tensors],
                [group for _, _, group in plan.update.tensors],
                plan.update.n_groups,
                [p.name for p, _, _ in plan.update.tensors],
                list(plan.update.averages) or None,
            )
            tensors.set_clipping(plan.update.clip_norm, plan.update.skip_nonfinite)
            by_parameter = {id(p): g for p, g in plan.gradients}
            for p, _, _ in plan.update.tensors:
                g = by_parameter.get(id(p))
                gradients.append(None if g is None else self._arrays[g.name])
        self.tensors = tensors  # for an optimizer's `sync`
        x, y, weights = map(plan.input, ("x", "y", "weights"))
        self._native = _native.NativePlan(
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
        )
        self._host = next((i for i, op in enumerate(plan.ops) if op.has("in_python")), None)
        self.infer = self._native.infer  # (x, out, dimensions of x) -> done: all operations on one batch, likewise
        self.plain = self._native.plain  # (x, y, least rows) -> whether `step` may have the batch without a closer look
        # (x, y, rates, weights) -> (loss, problem, row): one step, as little around it as can be
        self.step = self._native.step if self._host is None else self._step_with_host
        # (x, y, least rows, seed) -> loss or None: one more such step, if nothing has changed
        self.again = self._native.again
        # (seed, number of the next run's first step, rows of a larger batch before its own): what is drawn at random
        self.set_random = self._native.set_random if self._host is None else self._set_random

    @property
    def steps_done(self):
        """Training steps that the last run did, and `again` after it, since the hyper-parameters were last handed over."""
        return self.tensors.done

    @property
    def steps_skipped(self):
        """How many of them were left out because their gradients were not finite."""
        return self.tensors.skipped

    @property
    def outcome(self):
        """What the last `run` reported, also where an exception came before it could return."""
        return self._outcome if self._host is not None else Result(*self._native.outcome)

    @property
    def busy(self):
        """Whether a call is running, in another thread."""
        return self._native.busy

    def set_alone(self):
        """Run on one thread from now on, whatever the work: others run executors of their own meanwhile."""
        self._native.alone = True

    @property
    def check_losses(self):
        """Whether `run` ends before a batch of which a row's loss is not finite: the problem is then an "undefined loss", and nothing
        of the batch has changed anything."""
        return self._native.check_losses

    @check_losses.setter
    def check_losses(self, check_losses):
        self._native.check_losses = check_losses

    def arm(self, version):
        """After a `step`, if nothing has called `disarm` since it began: whether `again` may do the next ones, as long as the
        version of the settings, that of the step, stays. `steps_done` goes on counting."""
        return self._host is None and self._native.arm(version)

    def disarm(self):
        """No `again`, now or after the step that is running."""
        if self.tensors is not None:
            self.tensors.disarm()

    def progress(self):
        """(steps, memory) of each group."""
        return self.tensors.progress()

    def set_groups(self, groups):
        """Take over the optimizer's hyper-parameters."""
        for i, g in enumerate(groups):
            self.tensors.set_group(i, RULES[g.rule], *g[1:])

    def _set_random(self, seed, step0, row0=0):
        self._random = (seed, step0, row0)
        self._native.set_random(seed, step0, row0)

    def run(self, x, y=None, index=None, rates=None, groups=None, losses=None, check_finite=False, seconds=0.0, out=None,
            first=0, last=None, weights=None, done=None, loss_before=0.0):
        """Run the plan for every batch of the rows; see `_native.NativePlan.run`. rates: [steps][groups]."""
        if groups is not None:
            self.set_groups(groups)
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
            return self._run_with_host(x, y, index, rates, losses, check_finite, seconds, out, first, last, weights, done, loss_before)
        if self._host is not None:  # only its function takes them
            y = weights = None
        return Result(*self._native.run(x, y, index, first, last, rates, losses, check_finite, seconds, out, weights, done, loss_before))

    _outcome = Result(0, 0.0, 0, None, 0)  # of runs with a host operation

    def _run_with_host(self, x, y, index, rates, losses, check_finite, seconds, out, first, last, weights, done, loss_before):
        """Batch by batch: a native call up to the host operation, the function, a native call for the rest. What the function
        raises leaves this batch without its update."""
        op, host, start = self.plan.ops[self._host], self._host, time.monotonic()
        rows, batch = len(x) if index is None else len(index), self.plan.batch
        logits, gradient = (self._arrays[b.name] if b else None for b in map(op.buffers.get, ("logits", "dlogits")))
        loss_sum, step, left_out, seed, step0, row0 = loss_before, 0, 0, *self._random
        for step, begin in enumerate(range(0, rows, batch), 1):
            # with an index the rows are copied to where the second call finds them
            chosen = np.arange(begin, min(begin + batch, rows)) if index is None else index[begin : begin + batch]
            at = step - 1 - (self.tensors.skipped if self.tensors and step > 1 else 0)
            rate = None if rates is None else rates[at : at + 1]
            n = len(chosen)
            before, after = (step - 1, step) if done is None else (done, done)
            self._native.set_random(seed, step0 + step - 1, row0)
            found = Result(*self._native.run(x, None, chosen, first, host, rate, None, check_finite, 0.0, None, None, before))
            if found.problem:
                return Result(step - 1, loss_sum, 0, found.problem, found.row)
            if out is not None:  # the second call reads them where they are
                out[begin : begin + n] = self._arrays[self.plan.output.name][:n]
            loss, derivative = op.function(logits[:n].copy(), y[chosen], None if weights is None else weights[chosen])
            if self._native.check_losses and not math.isfinite(loss):
                return Result(step - 1, loss_sum, 0, "undefined loss", 0)
            if gradient is not None:
                gradient[:n] = derivative
            if host + 1 < last:
                rest = Result(*self._native.run(x, None, chosen, host + 1, last, rate, None, False, 0.0, None, None, after))
                loss += rest.loss_sum / n  # penalties
                left_out += rest.left_out
            if host + 1 == last or not rest.left_out:
                loss_sum += loss * n
            self._outcome = Result(step, loss_sum, 0, None, 0, left_out)
            if losses is not None:
                losses[step - 1] = loss
            if seconds and time.monotonic() - start >= seconds:
                break
        return Result(step, loss_sum, 0, None, 0, left_out)

    def _step_with_host(self, x, y, rates, weights=None):
        losses = np.zeros(1)
        result = self.run(x, y, rates=[rates], losses=losses, weights=weights)
        return float(losses[0]), result.problem, result.row

    def array(self, name):
        """A buffer's contents, [batch, *the sample's shape] or the parameter's shape; a view."""
        array, b = self._arrays[name], next(b for b in self.plan.buffers if b.name == name)
        if b.is_whole:
            return array
        strides = np.cumprod((b.itemsize, *b.shape[:0:-1]))[::-1]  # a reshape would copy where samples have gaps between them
        return np.ndarray((len(array), *b.shape), array.dtype, self._arena, b.offset, (b.ld * b.itemsize, *strides))
