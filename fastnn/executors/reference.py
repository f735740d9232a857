"""Runs a plan operation by operation in NumPy. It owns a workspace, so one call at a time may use it."""

import numpy as np

from .base import Result


class ReferenceExecutor:
    """Runs the same plan operation by operation in NumPy, in its own dtype or another.

    Where that is another the parameters are converted once, when it is made, and updates stay in the copies: for checking gradients.
    """

    def __init__(self, plan, dtype=None):
        from ..reference.interpreter import Interpreter  # with all twins, which most programs never need

        self.plan = plan
        self._interpreter = Interpreter(plan, dtype)
        self._groups = None
        self._seed = self._step0 = self._row0 = 0
        self.steps_done = self.steps_skipped = 0  # of the last run, as in NativeExecutor
        self.outcome = None

    def set_groups(self, groups):
        """Take over the optimizer's hyper-parameters."""
        self._groups = list(groups)
        self.steps_done = self.steps_skipped = 0

    def progress(self):
        """(steps, memory) of each group."""
        return [(g.t, g.memory) for g in self._groups]

    def set_random(self, seed, step0, row0=0):
        """What the next run draws at random from: the seed, and the number of its first step; row0: how many rows of a larger batch,
        of which its batch is a part, come before."""
        self._seed, self._step0, self._row0 = seed, step0, row0

    def plain(self, x, y, least):
        """Every batch is looked at closely."""
        return False

    @property
    def check_losses(self):
        """As NativeExecutor's."""
        return self._interpreter.check_losses

    @check_losses.setter
    def check_losses(self, check_losses):
        self._interpreter.check_losses = check_losses

    def set_alone(self):
        """It is always one thread."""

    def arm(self, version):
        """No step is like another."""
        return False

    def disarm(self):
        """There is no short way."""

    def step(self, x, y, rates, weights=None):
        """One step; (loss, problem, row)."""
        losses = np.zeros(1)
        result = self.run(x, y, rates=[rates], losses=losses, weights=weights)
        return float(losses[0]), result.problem, result.row

    def run(self, x, y=None, index=None, rates=None, groups=None, losses=None, check_finite=False, seconds=0.0, out=None,
            first=0, last=None, weights=None, done=None, loss_before=0.0):
        """As NativeExecutor.run; `seconds` is ignored."""
        if groups is not None:
            self.set_groups(groups)
        rows, batch = len(x) if index is None else len(index), self.plan.batch
        if not rows or not len(x):
            raise ValueError(f"x: expected at least one row, got shape {x.shape}")
        if y is not None and len(y) != len(x):
            raise ValueError(f"y: expected one target for each of x's {len(x)} rows, got {len(y)}")
        loss_sum, correct, left_out = loss_before, 0, 0
        self.steps_done, self.steps_skipped = done or 0, self.steps_skipped if done else 0
        skipped = self.steps_skipped
        for step, begin in enumerate(range(0, rows, batch)):
            chosen = np.arange(begin, min(begin + batch, rows)) if index is None else index[begin : begin + batch]
            found = self._interpreter.run(
                x, y, chosen, self._groups, None if rates is None else rates[step - self.steps_skipped + skipped], check_finite, first,
                last, (self._seed, self._step0 + step, self._row0), weights,
            )
            if found.problem:
                return Result(step, loss_sum, correct, found.problem, found.row)
            self.steps_done = step + 1 if done is None else done
            self.steps_skipped += found.skipped
            if found.progress and not found.skipped:
                self._groups = [g._replace(t=t, memory=m) for g, (t, m) in zip(self._groups, found.progress)]
            if found.skipped:
                left_out += len(chosen)
            else:
                left_out += found.ignored
                loss_sum += found.loss_sum
                correct += found.correct
            self.outcome = Result(step + 1, loss_sum, correct, None, 0, left_out)
            if losses is not None:
                losses[step] = found.loss
            if out is not None:
                outputs = self.array(self.plan.output.name)[: len(chosen)]
                out[begin : begin + len(chosen)] = outputs.reshape(len(chosen), *self.plan.output_shape)
        return Result(-(-rows // batch), loss_sum, correct, None, 0, left_out)

    def array(self, name):
        """A buffer's contents, [batch, *the sample's shape] or the parameter's shape; a view."""
        array, b = self._interpreter.arrays[name], next(b for b in self.plan.buffers if b.name == name)
        return array if b.is_whole else array.reshape(len(array), *b.shape)

    def parameter(self, p):
        """The values of a Parameter that this executor computes with: in float64 a copy of its own, which may be written to."""
        return self._interpreter.parameters[id(p.data)]
