"""Runs a plan's list of operations in NumPy, one after the other: what the compiled executor must compute.

It takes any object with a plan's attributes (operations, buffers, batch, tensors) and knows nothing of how it was built.
Not for speed: threads, barriers, shared memory and schedules do not exist here.
"""

import functools
from importlib import import_module
from typing import NamedTuple

import numpy as np

from . import _NAMES
from .activation import activation_backward, activation_forward
from .augment import augment_rows
from .convolution import _conv2d_backward, _conv2d_forward
from .dense import bias_gradient
from .embedding import table_rows
from .rows import gather, gather_labels
from .loss import loss_correct, loss_gradient, loss_rows
from .noise import drop_rows, dropout2d_forward, dropout_forward, gaussian_noise
from .normalization import _groupnorm_backward, _groupnorm_forward
from .optimizer import clip_scale, gradient_norm, limit_norms, optimizer_update
from .penalty import penalty_backward, penalty_forward
from .pooling import _maxpool2d_backward, _maxpool2d_forward, _maxpool2d_from, _maxpool2d_winners

_ORDINARY = {"float32": np.float32(1e18), "float64": 1e150}  # inputs of this size leave room for what layers make of them


class Outcome(NamedTuple):
    """One batch: the sum of its row losses, its loss, its correct rows, and the first problem by row, if any."""

    loss_sum: float = 0.0
    loss: float = 0.0
    correct: int = 0
    problem: str = None
    row: int = 0
    skipped: bool = False  # no update, since the gradients were not finite
    ignored: int = 0  # rows that are to be ignored


class Interpreter:
    """A plan with arrays of its own, in float32 or float64.

    Parameters
    ----------
    plan : Plan
    dtype : float32 or float64, optional
        Of every buffer of the compute type; by default the plan's. In that updates change the parameters and the optimizer's
        states themselves, in another copies of them.

    Examples
    --------
    >>> from fastnn import nn
    >>> model = nn.Sequential(nn.Dense(2, 3, init="zeros"))
    >>> interpreter = Interpreter(model.plan(batch=4))
    >>> interpreter.run(np.ones((2, 2)), None, [0, 1]).problem is None
    True
    >>> interpreter.arrays["y1"].shape
    (4, 3)
    """

    check_losses = False  # a row whose loss is not finite is a problem

    def __init__(self, plan, dtype=None):
        self.plan = plan
        self.dtype = np.dtype(plan.dtype if dtype is None else dtype)
        self.arrays = {}
        self.parameters = {}  # by the id of the owner's array, which plans never replace
        for b in plan.buffers:
            kind = self.dtype if b.real else np.dtype(b.dtype)
            if b.array is not None:
                self.arrays[b.name] = b.array if kind == b.array.dtype else b.array.astype(kind)
                self.parameters[id(b.array)] = self.arrays[b.name]
            else:
                shape = b.shape if b.whole else (plan.batch, b.columns)
                self.arrays[b.name] = np.zeros(shape, kind)
        tensors = plan.update.tensors if plan.update else ()
        self.states = [tuple(s.astype(self.dtype, copy=False) for s in states) for _, states, _ in tensors]
        averages = plan.update.averages if plan.update else ()
        self.averages = [None if a is None else a.astype(self.dtype, copy=False) for a in averages] or [None] * len(tensors)

    def run(self, x, y, index, groups=None, rates=None, check_finite=False, first=0, last=None, random=(0, 0, 0),
            weights=None, shares=(), augment=None):
        """Run the operations [first, last) on the batch of rows that `index` names; random: (seed, number of the step, rows of a larger
        batch that come before); shares: what the plan's schedules say for the step; augment: (an object with steps, shape and quantiles,
        seed, epoch) for what is done to the rows of x.
        Returns an Outcome."""
        batch = _Batch(self, x, y, index, groups, rates, check_finite, random, weights, shares, augment)
        with np.errstate(all="ignore"):  # what is not finite comes through; it is nobody's surprise
            for op in self.plan.ops[first:last]:
                getattr(batch, op.kind, batch.by_twin)(op)
                if batch.problem and op.barrier:
                    break
        if batch.problem:
            return Outcome(problem=batch.problem[1], row=batch.problem[0])
        ignored = batch.rows - batch.counted
        return Outcome(batch.loss_sum, batch.loss, batch.correct, skipped=batch.skip, ignored=ignored)


@functools.cache
def _twin(kind):
    """The function that computes an operation: its name, or what its checks go around, with a _ in front; in whatever module."""
    modules = [vars(import_module(f"{__package__}.{name}")) for name in _NAMES]
    return next(module[name] for name in (f"_{kind}", kind) for module in modules if name in module)


class _Batch:
    """The operations, on the first `rows` rows of every buffer: each a method named as its kind, or else what its twin computes."""

    mixture = None  # (rows that are mixed in, shares of the rows themselves)

    def __init__(self, interpreter, x, y, index, groups, rates, check_finite, random, weights, shares, augment):
        self.augment = augment
        self.random, self.rows_before = {"seed": random[0], "offset": random[1] % 2**32}, random[2]
        self.interpreter, self.x, self.y, self.index = interpreter, x, y, np.asarray(index, np.int64)
        self.groups, self.rates, self.check_finite = groups, rates, check_finite
        self.rows = self.counted = len(self.index)  # counted: those that are not to be ignored
        self.weights, self.shares = weights, shares
        self.loss_sum, self.loss, self.correct = 0.0, 0.0, 0
        self.problem = None  # (row, what), the lowest row
        self.scale, self.skip = 1.0, False

    def at(self, op, role):
        """The array of a role, its first rows if it has rows; None where the operation has no such buffer."""
        b = op.buffers.get(role)
        if b is None:
            return None
        a = self.interpreter.arrays[b.name]
        return a if b.is_whole else a[: self.rows]

    def by_twin(self, op):
        """What the function of the operation's name gives for the buffers and parameters that its arguments are named after, into the
        buffers that the operation writes, in their order."""
        function = _twin(op.kind)
        code, known = function.__code__, {**op.parameters(), **self.random, "before": self.rows_before}
        if op.has("windows"):
            known["window"] = op.window
        arguments = {}
        for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
            role = {"weight": "w", "bias": "b"}.get(name, name)
            if role in op.spec.roles:
                arguments[name] = self.shaped(op, role)
            elif name in known:
                arguments[name] = known[name]
        found = function(**arguments)
        for role, value in zip(op.spec.writes, found if isinstance(found, tuple) else (found,)):
            if (out := self.shaped(op, role)) is not None:
                out[...] = out + value if op.get("accumulate") and op.buffers[role].is_whole else value

    def shaped(self, op, role):
        """The array of a role in the shape that the twin knows: images, or rows that are pixels."""
        if op.has("windows"):
            return self.images(op, role, role in ("y", "dy"))
        b = op.buffers.get(role)
        return self.pixels(op, role) if b is not None and not b.is_whole and op.get("pixels", 1) > 1 else self.at(op, role)

    def report(self, bad, what):
        """Note the first of the rows that are bad; of several problems in one row index, then label, then not finite."""
        if bad.any():
            found = (int(bad.argmax()), what)
            self.problem = found if self.problem is None else min(self.problem, found)

    def source_rows(self, source):
        """The batch's rows of an array, 0 for those that it lacks."""
        bad = (self.index < 0) | (self.index >= len(source))
        self.report(bad, "index")
        return np.where(bad, 0, self.index)

    def _augmented(self, rows):
        """These rows of x as the chain has them, and in what mixture."""
        chain, seed, epoch = self.augment
        flat, weightless = self.x.reshape(len(self.x), -1), None
        if self.weights is not None:
            weightless = (self.weights.reshape(len(self.weights), -1) == 0).all(axis=1)
        images, self.mixture = augment_rows(
            lambda r: gather(flat, r, dtype=self.interpreter.plan.dtype).reshape(len(r), *chain.shape),
            rows, chain.steps, chain.quantiles, seed, epoch, np.arange(len(flat)), weightless,
        )  # fmt: skip
        return images.reshape(len(images), -1)

    def _gather(self, op, source, scale, shift):
        rows = self.source_rows(source)
        if source is self.x and self.augment is not None:
            source = self._augmented(rows)
            rows = np.arange(len(rows))
        out = self.at(op, "out")
        if hasattr(source, "dense"):  # sparse rows
            source, rows = source.dense(rows), np.arange(len(rows))
        out[...] = gather(source.reshape(len(source), -1), rows, scale, shift, dtype=self.interpreter.plan.dtype)
        if op.planes > 1:  # images (channels, height, width)
            out[...] = out.reshape(len(out), op.planes, -1).transpose(0, 2, 1).reshape(out.shape)
        if self.check_finite:
            self.report(~np.isfinite(out).all(axis=1), "not finite")

    def gather(self, op):
        x = self.interpreter.plan.input("x")
        self._gather(op, self.x, x.scale, x.shift)
        if self.weights is not None:  # of a row that is left out, nothing infinite may reach the weights' gradients
            out, weights = self.at(op, "out"), self.weights.reshape(len(self.weights), -1)[self.source_rows(self.weights)]
            out[(weights == 0).all(axis=1) & ~(np.abs(out) <= _ORDINARY[self.interpreter.plan.dtype]).all(axis=1)] = 0

    def gather_targets(self, op):
        self._gather(op, self.y, 1.0, 0.0)

    def gather_labels(self, op):
        y = self.interpreter.plan.input("y")
        labels, ignore = self.y[self.source_rows(self.y)], y.ignore
        ignored = labels == ignore if ignore is not None else np.zeros(self.rows, bool)
        bad = ~ignored & ((labels < 0) | (labels >= y.classes))
        self.report(bad, "label")
        labels = np.where(bad | ignored, 0, labels).astype(np.int64)
        self.at(op, "out")[:, 0] = np.where(ignored, -1, gather_labels(labels, None, y.classes))
        self.counted = self.rows - int(np.count_nonzero(ignored))

    def images(self, op, role, out=False):
        """The array of a role as images: those that windows go over, or that come out of them."""
        a, w = self.at(op, role), op.window
        return None if a is None else a.reshape(len(a), *((w.out_height, w.out_width) if out else (w.height, w.width)), -1)

    def filters(self, op):
        w = op.window
        return self.at(op, "w").reshape(w.kernel_height, w.kernel_width, w.channels // w.groups, op.filters)

    def conv2d_forward(self, op):
        z = _conv2d_forward(self.images(op, "x"), self.filters(op), self.at(op, "b"), op.window).reshape(self.rows, -1)
        if op.buffers.get("z") is not None:
            self.at(op, "z")[...] = z
        activation_forward(z, op.activation, out=self.at(op, "y"), alpha=op.alpha)

    def conv2d_backward_input(self, op):
        x = np.zeros((self.rows, op.window.height, op.window.width, op.window.channels), self.interpreter.dtype)
        dx, _, _ = _conv2d_backward(self.images(op, "dy", True), x, self.filters(op), op.window)
        self._finish_input(op, dx.reshape(self.rows, -1))

    def conv2d_backward_weights(self, op):
        w, dy = op.window, self.images(op, "dy", True)
        shape = (w.kernel_height, w.kernel_width, w.channels // w.groups, op.filters)
        _, dw, db = _conv2d_backward(dy, self.images(op, "x"), np.zeros(shape, dy.dtype), w)
        partial = self.at(op, "partial")  # in one part
        partial[...] = 0
        partial[0] = np.concatenate((dw.ravel(), db))

    def conv2d_combine_weights(self, op):
        total = self.at(op, "partial").sum(axis=0)
        for role, value in (("dw", total[: -op.filters]), ("db", total[-op.filters :])):
            if op.buffers.get(role) is not None:
                out = self.at(op, role)
                out[...] = (out if op.accumulate else 0) + value.reshape(out.shape)

    def gather_weights(self, op):
        self._gather(op, self.weights, 1.0, 0.0)

    def _loss(self, op):
        labels, weights = self.at(op, "labels"), self.at(op, "weight")
        targets = self.at(op, "targets") if labels is None else labels[:, 0]
        weights = weights[:, 0] if weights is not None and weights.shape[1] == 1 else weights
        class_weight = self.at(op, "class_weight")
        outputs, losses, gradient = self.at(op, "logits"), self.at(op, "loss"), self.at(op, "dlogits")
        counted = slice(None)
        if self.counted < self.rows:  # as if the batch had only the others
            counted = np.flatnonzero(targets >= 0)
            outputs, targets, weights = outputs[counted], targets[counted], None if weights is None else weights[counted]
            losses[...] = 0
            if gradient is not None:
                gradient[...] = 0
        options = {"form": op.form, "parameter": op.parameter, "full": op.full, "class_weight": class_weight, "total": op.sum}
        if self.mixture is not None:
            self._mixed_loss(op, outputs, targets, weights, losses, gradient, options)
            return
        losses[counted, 0] = loss_rows(op.kind, outputs, targets, sample_weight=weights, **options)
        if op.form == "poisson" and self.check_finite:
            bad = outputs + outputs.dtype.type(op.parameter) < 0
            self.report((bad if weights is None else bad & (weights.reshape(self.rows, -1) != 0)).any(axis=1), "rate")
        if self.interpreter.check_losses:
            self.report(~np.isfinite(losses[:, 0]), "undefined loss")
        self.correct += loss_correct(op.kind, outputs, targets, op.form)
        if gradient is not None:
            gradient[counted] = loss_gradient(op.kind, outputs, targets, sample_weight=weights, **options)

    softmax_cross_entropy = elementwise_loss = multiclass_hinge = _loss

    def _mixed_loss(self, op, outputs, targets, weights, losses, gradient, options):
        """share l(z, target) + (1 - share) l(z, target of the other), each times the weight of the row that the target belongs to."""
        others, shares = self.mixture
        more = self.y[others] if targets.ndim == 1 else self.y.reshape(len(self.y), -1)[others].astype(outputs.dtype)
        own = np.ones(self.rows, outputs.dtype) if weights is None else weights
        their = own if weights is None else self.weights.reshape(len(self.weights), *own.shape[1:])[others].astype(outputs.dtype)
        losses[...], total, right = 0, 0, []
        for t, w, share in ((targets, own, shares), (more, their, 1 - shares)):
            w = (share.reshape(-1, *[1] * (w.ndim - 1)) * w).astype(outputs.dtype)
            losses[:, 0] += loss_rows(op.kind, outputs, t, sample_weight=w, **options)
            total = total + loss_gradient(op.kind, outputs, t, sample_weight=w, **options)
            right.append([loss_correct(op.kind, outputs[i : i + 1], t[i : i + 1], op.form) for i in range(self.rows)])
        if self.interpreter.check_losses:
            self.report(~np.isfinite(losses[:, 0]), "undefined loss")
        self.correct += int(np.where(shares < 0.5, right[1], right[0]).sum())
        if gradient is not None:
            gradient[...] = total

    def host_loss(self, op):
        weights = None if self.weights is None else self.weights[self.index]
        self.loss, gradient = op.function(self.at(op, "logits").copy(), self.y[self.index], weights)
        self.loss_sum += self.loss * self.rows
        if self.interpreter.check_losses and not np.isfinite(self.loss):
            self.problem = (0, "undefined loss")
        if op.buffers.get("dlogits") is not None:
            self.at(op, "dlogits")[...] = gradient

    def dense_backward_input(self, op):
        self._finish_input(op, self.at(op, "dy") @ self.at(op, "w").T)

    def _finish_input(self, op, product):
        dx = self.at(op, "dx")
        if op.accumulate:
            product = dx + product
        if op.activation != "identity":
            product = activation_backward(product, self.at(op, "saved"), op.activation, alpha=op.alpha)
        dx[...] = product

    def dense_backward_weights(self, op):
        x, dy = self.at(op, "x"), self.at(op, "dy")
        for role, tensor, gradient in (
            ("dw", op.update_w, lambda: self._penalized(op, x.T @ dy)),
            ("db", op.update_b, lambda: bias_gradient(dy)),
        ):
            if tensor >= 0:
                self._update(tensor, gradient())
            elif op.buffers.get(role) is not None:
                out = self.at(op, role)
                out[...] = out + gradient() if op.accumulate else gradient()

    def _penalized(self, op, dw):
        w = self.at(op, "w")
        return dw if w is None else penalty_backward(w, dw, op.l1, op.l2)

    def penalty_forward(self, op):
        self.at(op, "sum")[...] = 0.0
        self.at(op, "sum")[0] = penalty_forward(self.at(op, "w"), op.l1, op.l2)

    def reduce_penalty(self, op):
        value = float(self.at(op, "sum").sum())
        self.loss_sum += value if op.sum else self.counted * value
        self.loss += value

    def tied_backward_input(self, op):
        self._finish_input(op, self.at(op, "dy") @ self.at(op, "w"))

    def add(self, op):
        np.add(self.at(op, "a"), self.at(op, "b"), out=self.at(op, "y"))

    def pixels(self, op, role):
        """The rows of what goes by columns: of images their pixels."""
        a = self.at(op, role)
        return a.reshape(-1, op.columns) if op.pixels > 1 else a

    def batchnorm_running(self, op):
        if self.skip:
            return
        mean, rest, _, var = self.at(op, "statistics")
        rows = self.rows * op.pixels
        unbiased, rate = var * (rows / max(1, rows - 1)), op.momentum
        if op.buffers.get("count") is not None:  # the mean over all steps so far
            count = self.at(op, "count")
            count += 1
            rate = 1 / count
        for running, new in ((self.at(op, "mean"), mean + rest), (self.at(op, "var"), unbiased)):
            running[...] = (1 - rate) * running + rate * new

    def groupnorm_forward(self, op):
        y, statistics = _groupnorm_forward(self.at(op, "x").reshape(self.rows, op.pixels, -1), op.groups, op.eps)
        self.at(op, "y")[...] = y.reshape(self.rows, -1)
        self.at(op, "statistics")[...] = statistics

    def groupnorm_backward(self, op):
        dy, x = (self.at(op, role).reshape(self.rows, op.pixels, -1) for role in ("dy", "x"))
        self.at(op, "dx")[...] = _groupnorm_backward(dy, x, self.at(op, "statistics"), op.groups).reshape(self.rows, -1)

    def _share(self, op):
        return op.p if op.schedule < 0 else float(self.shares[op.schedule])

    def dropout(self, op):
        def drop_channels(x, p, out, **draws):
            out[...] = dropout2d_forward(x.reshape(len(x), op.pixels, -1), p, **draws).reshape(out.shape)

        function = drop_rows if op.whole_rows else drop_channels if op.pixels > 1 else dropout_forward
        self._draw(function, op, self._share(op))

    def _draw(self, function, op, amount):
        """A function that draws for each row, by its place in the batch that it is a part of."""
        x, out, before = self.at(op, "x"), self.at(op, "y"), self.rows_before
        if not before:
            function(x, amount, out=out, stream=op.stream, **self.random)
            return
        whole = np.concatenate([np.zeros((before, *x.shape[1:]), x.dtype), x])
        function(whole, amount, out=whole, stream=op.stream, **self.random)
        out[...] = whole[before:]

    def drop_weights(self, op):
        dropout_forward(self.at(op, "x"), self._share(op), out=self.at(op, "y"), stream=op.stream, **self.random)

    drop_weight_gradients = drop_weights

    def gaussian_noise(self, op):
        self._draw(gaussian_noise, op, op.std)

    def _table(self, op):
        """The rows of the table for an operation's codes, and the columns of y that are the operation's."""
        rows, bad = table_rows(self.at(op, "x")[:, op.first_in : op.first_in + op.columns], op.count, op.unknown)
        return rows, bad, slice(op.first_out, op.first_out + op.columns * op.dim)

    def embedding_forward(self, op):
        x, w, y = self.at(op, "x"), self.at(op, "w"), self.at(op, "y")
        if w is None:
            y[:, op.first_out : op.first_out + op.columns] = x[:, op.first_in : op.first_in + op.columns]
            return
        rows, bad, place = self._table(op)
        self.report(bad.any(axis=1), "code")
        y[:, place] = w[rows].reshape(len(rows), -1)

    def embedding_backward(self, op):
        rows, _, place = self._table(op)
        named = self.at(op, "named")
        if named is not None:
            named[...] = named * bool(op.accumulate)
            named[rows] = 1
        dw = self.at(op, "dw") if op.accumulate else np.zeros_like(self.at(op, "dw"))
        np.add.at(dw, rows.ravel(), self.at(op, "dy")[:, place].reshape(rows.size, -1))
        self.at(op, "dw")[...] = dw

    def maxpool2d_forward(self, op):
        x = self.images(op, "x")
        self.images(op, "y", True)[...] = _maxpool2d_forward(x, op.window)
        if op.buffers.get("winner") is not None:
            self.images(op, "winner", True)[...] = _maxpool2d_winners(x, op.window)

    def maxpool2d_backward(self, op):
        dy, x, winners = self.images(op, "dy", True), self.images(op, "x"), self.images(op, "winner", True)
        if op.buffers.get("saved") is not None:
            dy = activation_backward(dy, self.images(op, "saved", True), "relu")
        dx = _maxpool2d_backward(dy, x, op.window) if winners is None else _maxpool2d_from(dy, winners, op.window)
        self.images(op, "dx")[...] = dx

    def reduce_loss(self, op):
        self.loss_sum += float(self.at(op, "loss").sum())
        self.loss = self.loss_sum if op.sum else self.loss_sum / max(self.counted, 1)

    def gradient_of(self, i):
        """The array of the gradient of tensor i."""
        p = self.interpreter.plan.update.tensors[i][0]
        return next(self.interpreter.arrays[g.name] for q, g in self.interpreter.plan.gradients if q is p)

    def gradient_norm(self, op):
        self.at(op, "norms")[...] = 0
        self.at(op, "norms")[0] = gradient_norm([self.gradient_of(i) for i in range(op.first, op.last)])

    def begin_update(self, op):
        update, norm = self.interpreter.plan.update, float(self.at(op, "norms")[0])
        self.scale = clip_scale(norm, update.clip_norm)
        self.skip = update.skip_nonfinite and not np.isfinite(norm)

    def update(self, op):
        for i in range(op.first, op.last):
            self._update(i, self.gradient_of(i))

    def trust_update(self, op):
        """Nothing: `update` has done all of it, array by array."""

    def max_norm(self, op):
        for i, (p, _, number) in enumerate(self.interpreter.plan.update.tensors):
            if self.groups[number].max_norm and not self.skip:
                limit_norms(self.interpreter.parameters[id(p.data)], self.interpreter.averages[i], self.groups[number])

    def _update(self, i, gradient):
        p, _, number = self.interpreter.plan.update.tensors[i]
        if self.skip:
            return
        arrays = (self.interpreter.parameters[id(p.data)], *self.interpreter.states[i], self.interpreter.averages[i])
        named = self.interpreter.plan.lazy.get(i)
        rows = ... if named is None else np.flatnonzero(self.interpreter.arrays[named.name])  # those that are updated
        w, *states, average = parts = [None if a is None else a[rows] for a in arrays]
        optimizer_update(w, gradient[rows], tuple(states), average, self.groups[number], self.rates[number], self.scale)
        for a, part in zip(arrays, parts):
            if a is not None and named is not None:
                a[rows] = part
