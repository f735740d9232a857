"""Runs a plan's list of operations in NumPy, one after the other: what the compiled executor must compute.

It takes any object with a plan's attributes (operations, buffers, batch, tensors) and knows nothing of how it was built.
Not for speed: threads, barriers, shared memory and schedules do not exist here.
"""

from typing import NamedTuple

import numpy as np

from .activation import activation_backward, activation_forward
from .dense import bias_gradient, dense_forward
from .gather import gather, gather_labels
from .loss import softmax_cross_entropy, softmax_cross_entropy_correct, softmax_cross_entropy_rows
from .optimizer import adam_update, sgd_update
from .penalty import penalty_backward, penalty_forward
from .softmax import softmax_forward


class Outcome(NamedTuple):
    """One batch: the sum of its row losses, its correct rows, and the first problem by row, if any."""

    loss_sum: float = 0.0
    correct: int = 0
    problem: str = None
    row: int = 0


class Interpreter:
    """A plan with arrays of its own, in float32 or float64.

    Parameters
    ----------
    plan : Plan
    dtype : float32 or float64
        Of every floating buffer. In float32 updates change the parameters and the optimizer's states themselves, in
        float64 copies of them.

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

    def __init__(self, plan, dtype=np.float32):
        self.plan = plan
        self.dtype = np.dtype(dtype)
        self.arrays = {}
        self.parameters = {}  # by the id of the owner's array, which plans never replace
        for b in plan.buffers:
            kind = self.dtype if b.dtype == "float32" else np.dtype(b.dtype)
            if b.array is not None:
                self.arrays[b.name] = b.array if kind == b.array.dtype else b.array.astype(kind)
                self.parameters[id(b.array)] = self.arrays[b.name]
            else:
                shape = b.whole if b.whole is not None else (plan.batch, b.columns)
                self.arrays[b.name] = np.zeros(shape, kind)
        tensors = plan.update.tensors if plan.update else ()
        self.states = [tuple(s.astype(self.dtype, copy=False) for s in states) for _, states, _ in tensors]

    def run(self, x, y, index, groups=None, rates=None, check_finite=False, first=0, last=None):
        """Run the operations [first, last) on the batch of rows that `index` names. Returns an Outcome."""
        batch = _Batch(self, x, y, index, groups, rates, check_finite)
        for op in self.plan.ops[first:last]:
            getattr(batch, op.kind)(op)
            if batch.problem and op.barrier:
                break
        if batch.problem:
            return Outcome(problem=batch.problem[1], row=batch.problem[0])
        return Outcome(batch.loss_sum, batch.correct)


class _Batch:
    """The operations, each a method named as its kind, on the first `rows` rows of every buffer."""

    def __init__(self, interpreter, x, y, index, groups, rates, check_finite):
        self.interpreter, self.x, self.y, self.index = interpreter, x, y, np.asarray(index, np.int64)
        self.groups, self.rates, self.check_finite = groups, rates, check_finite
        self.rows = len(self.index)
        self.loss_sum, self.correct = 0.0, 0
        self.problem = None  # (row, what), the lowest row

    def at(self, op, role):
        """The array of a role, its first rows if it has rows; None where the operation has no such buffer."""
        b = op.buffers.get(role)
        if b is None:
            return None
        a = self.interpreter.arrays[b.name]
        return a if b.array is not None or b.whole is not None else a[: self.rows]

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

    def _gather(self, op, source, scale, shift):
        rows = self.source_rows(source)
        out = self.at(op, "out")
        out[...] = gather(source.reshape(len(source), -1), rows, scale, shift)
        if self.check_finite:
            self.report(~np.isfinite(out).all(axis=1), "not finite")

    def gather(self, op):
        self._gather(op, self.x, self.interpreter.plan.scale, self.interpreter.plan.shift)

    def gather_targets(self, op):
        self._gather(op, self.y, 1.0, 0.0)

    def gather_labels(self, op):
        labels = self.y[self.source_rows(self.y)]
        bad = (labels < 0) | (labels >= self.interpreter.plan.classes)
        self.report(bad, "label")
        labels = np.where(bad, 0, labels).astype(np.int64)
        self.at(op, "out")[:, 0] = gather_labels(labels, None, self.interpreter.plan.classes)

    def dense_forward(self, op):
        dense_forward(self.at(op, "x"), self.at(op, "w"), self.at(op, "b"), op.activation, out=self.at(op, "y"),
                      z=self.at(op, "z"), alpha=op.alpha)

    def activation_forward(self, op):
        activation_forward(self.at(op, "x"), op.activation, out=self.at(op, "y"), alpha=op.alpha)

    def activation_backward(self, op):
        dx = self.at(op, "dx")
        dx[...] = activation_backward(self.at(op, "dy"), self.at(op, "saved"), op.activation, alpha=op.alpha)

    def softmax_forward(self, op):
        softmax_forward(self.at(op, "x"), out=self.at(op, "y"))

    def softmax_cross_entropy(self, op):
        labels = self.at(op, "labels")
        targets = self.at(op, "targets") if labels is None else labels[:, 0]
        logits = self.at(op, "logits")
        self.at(op, "loss")[:, 0] = softmax_cross_entropy_rows(logits, targets)
        self.correct += softmax_cross_entropy_correct(logits, targets)
        if op.buffers.get("dlogits") is not None:
            softmax_cross_entropy(logits, targets, out=self.at(op, "dlogits"))

    def dense_backward_input(self, op):
        dx, product = self.at(op, "dx"), self.at(op, "dy") @ self.at(op, "w").T
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

    def penalty_backward(self, op):
        penalty_backward(self.at(op, "w"), self.at(op, "dw"), op.l1, op.l2)

    def reduce_penalty(self, op):
        self.loss_sum += self.rows * float(self.at(op, "sum").sum())

    def reduce_loss(self, op):
        self.loss_sum += float(self.at(op, "loss").sum())

    def update(self, op):
        gradients = {id(p): g for p, g in self.interpreter.plan.gradients}
        for i in range(op.first, op.last):
            p = self.interpreter.plan.update.tensors[i][0]
            self._update(i, self.interpreter.arrays[gradients[id(p)].name])

    def _update(self, i, gradient):
        p, _, number = self.interpreter.plan.update.tensors[i]
        w, states = self.interpreter.parameters[id(p.data)], self.interpreter.states[i]
        g, lr = self.groups[number], self.rates[number]
        if g.rule == "sgd":
            sgd_update([w], [gradient], [states[0]] if states else None, g.t0 + 1, lr=lr, momentum=g.beta1,
                       dampening=g.beta2, nesterov=g.nesterov, weight_decay=g.weight_decay)
        else:
            adam_update([w], [gradient], [states[0]], [states[1]], g.t0 + 1, lr=lr, beta1=g.beta1, beta2=g.beta2,
                        eps=g.eps, weight_decay=g.weight_decay)
