"""Emits the operations of a plan: layers call its methods, one for each operation, and get buffers back.

With `fused` it emits what the kernels do best (product with bias and activation; dX with the derivative of the layer
below; dW with the update); without, the plain operations one by one. Both give the same bits, which the tests hold
against each other.
"""

import math
from typing import NamedTuple

import numpy as np

from .. import _native
from ..core.dtypes import check_dtype
from ..ops import RULES, Buffer, Input, Op, add_penalty
from ..ops.convolution import Windows
from ..ops.dense import Products
from ..ops.elementwise import Elementwise
from ..ops.embedding import Embeddings
from ..ops.noise import Noise
from ..ops.normalization import Normalizations
from .execution_order import arrange
from .plan import Plan


def _chunks(size):
    """Into how many parts an update or a norm cuts an array (csrc/ops/optimizer.c)."""
    return -(-size // _native.UPDATE_CHUNK)


class Update(NamedTuple):
    """What an optimizer updates: for each tensor the parameter, its states (arrays) and its group's number."""

    tensors: tuple  # of (Parameter, tuple of arrays, int)
    n_groups: int
    state: object  # the optimizer's: settings and steps of its groups (_native.OptimizerState)
    averages: tuple = ()  # for each tensor the array of its moving average, or None
    clip_norm: float = 0.0  # of all gradients together; 0: none
    skip_nonfinite: bool = False
    trusted: frozenset = frozenset()  # groups whose rule needs norms over whole arrays, and a second pass
    whole: frozenset = frozenset()  # groups whose rule works on whole arrays, or on whole matrices
    limited: frozenset = frozenset()  # groups with a max-norm

    @property
    def needs_norm(self):
        """Whether every gradient must be there before any is used."""
        return self.clip_norm > 0 or self.skip_nonfinite


class Builder(Products, Windows, Elementwise, Normalizations, Noise, Embeddings):
    """Collects operations and buffers, then makes a Plan of them. What emits an operation stands with its family, in `fastnn.ops`.

    Parameters
    ----------
    batch : int
        The most rows that a call will have at once.
    fused : bool, default True
        Emit fused operations.
    training : bool, default False
        Layers emit what they do in training: statistics of the batch, dropout, noise.
    keep : bool, default False
        Every activation and every gradient has memory of its own that nothing later changes: for who looks at them after a call.
    dtype : str or numpy.dtype, default "float32"
        What the plan computes in, the dtype of its parameters: float32 or float64.
    """

    def __init__(self, batch, fused=True, training=False, keep=False, dtype="float32"):
        if batch < 1:
            raise ValueError(f"batch: expected at least 1 row, got {batch}")
        self.batch = batch
        self.dtype = check_dtype(dtype).name
        self.fused = fused
        self.training = training
        self.apart = False  # whether the update stands behind everything else, by itself, so that it may be run without the rest
        self.keep = keep
        self.ops = []
        self.buffers = []
        self.inputs = {}  # by name: "x", "y", "weights"
        self.output = None
        self.trainable = set()  # ids of parameters whose gradient is wanted
        self.changing = None  # ids of those that training changes, where that is known: normalisations of others keep their statistics
        self.anew = False  # whether running statistics become the means over the batches of a call, without a step
        self.parameter_gradients = {}  # id of a parameter -> (parameter, gradient buffer, the operations that add to it)
        self._parameters = {}  # id of a parameter -> (parameter, buffer)
        self._names = {}  # name of a buffer -> how many have asked for it
        self._gradients = {}  # id of a buffer -> its gradient's buffer
        self._shared = set()  # ids of gradients' buffers that stand for several buffers: nobody may change them
        self._pinned = set()  # ids of buffers that are read again later: nothing may be done in place
        self._running = []  # (statistics, running mean, running variance, count or None, momentum) of batch normalisations
        self._rescaled = set()  # ids of buffers that `rescale` has made
        self._streams = 0  # random streams handed out
        self._schedules = []  # of shares that are dropped
        self._lazy = {}  # number of a tensor whose rows are updated alone -> the buffer that says which
        self._norms = ()  # what updates must wait for, where they may be left out
        self._wanted = set()  # ids of buffers that depend on a trainable parameter
        self._update = None
        self._loss = None
        self.layers = []  # (layer, its first operation, the one behind its last, its output), a chain before what is in it
        self._penalties = []  # (parameter's buffer, l1, l2, buffer of the value's terms)

    # ---- buffers ----

    def buffer(self, name, shape, dtype=None, role="activation", **more):
        """A new buffer: a sample of that shape for every row, or with `whole` a whole array of it; of the plan's dtype, unless another
        is given. Its name is its own: a second one of the same name gets a number."""
        self._names[name] = again = self._names.get(name, 0) + 1
        name = name if again == 1 else f"{name}#{again}"
        b = Buffer(name, shape, dtype or self.dtype, dtype is None, role, index=len(self.buffers), **more)
        self.buffers.append(b)
        return b

    def parameter(self, p):
        """The buffer of a Parameter, the same one each time."""
        if id(p) not in self._parameters:
            if p.dtype != self.dtype:
                raise TypeError(f"{p.name}: expected a parameter of the plan's dtype {self.dtype}, got {p.dtype}")
            self._parameters[id(p)] = (p, self.buffer(p.name, p.shape, role="parameter", array=p.data))
        b = self._parameters[id(p)][1]
        if id(p) in self.trainable:
            self._wanted.add(id(b))
        return b

    def optional(self, p):
        """The buffer of a Parameter, or None where there is no such parameter."""
        return None if p is None else self.parameter(p)

    def emit(self, kind, buffers, **fields):
        """Append an operation. What it writes is wanted if anything that it reads is. It gets the buffers themselves, not views."""
        op = Op(kind, {k: v and (v.base or v) for k, v in buffers.items()}, **fields)
        if op.get("pixels", 1) > 1:
            self._without_gaps(op)
        self.ops.append(op)
        if any(id(b) in self._wanted for b in op.reads()):
            self._wanted.update(id(b) for b in op.writes())
        return op

    def _without_gaps(self, op):
        """The pixels of an operation's samples are rows of a matrix, also where the buffers are those of vectors that were given another
        shape."""
        for b in op.buffers.values():
            b.gapless = True
            if b.role == "input":
                gather = next(o for o in self.ops if o.buffers.get("out") is b)
                gather.planes = gather.planes or 1

    # ---- forward ----

    def layer(self, layer, x):
        """What a layer emits for `x`, noted in `layers` for tables."""
        first, before = len(self.ops), len(self.layers)
        y = layer.emit(self, x)
        self.layers.insert(before, (layer, first, len(self.ops), y))
        return y

    def _input(self, kind, name, buffer, shape, dtype=None, planes=0, **more):
        """A named input of the plan, and the operation that gathers its rows into a buffer."""
        self.inputs[name] = Input(name, shape, dtype or self.dtype, **more)
        b = self.buffer(buffer, shape or (1,), dtype=dtype, role="input")
        fields = {} if dtype == "int32" else {"planes": planes, "copies": False}
        self.emit(kind, {"out": b}, columns=b.columns, **fields)
        return b

    def input(self, shape, channels_first=False):
        """Rows of the user's array, in the plan's dtype, each of this shape. channels_first: they are images (channels, height, width), to be
        read as (height, width, channels), which is `shape`."""
        planes = 0 if len(shape) == 1 else shape[-1] if channels_first else 1
        return self._input("gather", "x", "x", tuple(shape), planes=planes, channels_first=channels_first)

    def reshape(self, x, shape):
        """The same numbers as samples of another shape: a view."""
        if math.prod(shape) != x.columns:
            raise ValueError(f"shape: expected one of {x.columns} elements, as {x.shape} has, got {tuple(shape)}")
        return x.view(shape)

    def train(self, parameters):
        """Gradients are wanted of these parameters, but for the frozen ones; they alone will change."""
        self.trainable = self.changing = {id(p) for p in parameters if not p.frozen}

    def pin(self, x):
        """`x` will be read again: no operation that follows may be done within the one that makes it."""
        self._pinned.add(id(x.base or x))

    def constant(self, name, array):
        """The buffer of an array that nobody changes."""
        return self.buffer(name, array.shape, role="constant", array=np.ascontiguousarray(array, self.dtype))

    def labels(self, classes, ignore=None):
        """Integer class labels of the batch; `ignore`: that of rows which are to count in no loss."""
        return self._input("gather_labels", "y", "labels", (), dtype="int32", classes=classes, ignore=ignore)

    def target_rows(self, shape):
        """Target rows of the batch, in the plan's dtype."""
        return self._input("gather_targets", "y", "targets", tuple(shape))

    def sample_weights(self, columns=1):
        """The weights of the batch's rows: one each, or one for each output."""
        return self._input("gather_weights", "weights", "sample_weights", (columns,))

    def softmax_cross_entropy(self, logits, targets, **options):
        """The mean loss over the batch; see `loss`."""
        self.loss("softmax_cross_entropy", logits, targets, **options)

    def loss(self, kind, outputs, targets, form="squared", parameter=0.0, sum=False, full=False, weights=None, class_weight=None):
        """The loss of the batch, by the operation `kind`; its gradient is made in the same pass if it is wanted.

        targets: labels or rows; weights: of the rows, or None; class_weight: an array, or None.
        """
        integer = targets.dtype == "int32"
        self.emit(
            kind,
            {
                "logits": outputs,
                "labels": targets if integer else None,
                "targets": None if integer else targets,
                "dlogits": self._output_gradient(outputs),
                "loss": self.buffer("row_loss", (1,), dtype="float64", role="scratch"),
                "correct": self.buffer("row_correct", (1,), dtype="uint32", role="scratch"),
                "weight": weights,
                "class_weight": None if class_weight is None else self.constant("class_weight", class_weight),
            },
            columns=outputs.columns,
            form=form,
            parameter=parameter,
            sum=sum,
            full=full,
        )
        self._loss = self.ops[-1]

    def host_loss(self, outputs, function):
        """A loss that Python computes: function(outputs, targets, weights or None) returns the loss and the gradient. A native
        call ends before it, and another begins after it."""
        buffers = {"logits": outputs, "dlogits": self._output_gradient(outputs)}
        self.emit("host_loss", buffers, columns=outputs.columns, function=function)

    def _output_gradient(self, outputs):
        if not self.requires_grad(outputs):
            return None
        gradient = self._gradients[id(outputs.base or outputs)] = self.buffer("dlogits", outputs.shape, role="gradient")
        return gradient

    def penalize(self, parameter, l1, l2):
        """Add l1 sum |w| + l2 / 2 sum w^2 of a parameter to the loss, and its gradient to the parameter's."""
        w = self.parameter(parameter)
        chunks = _native.penalty_chunks(parameter.size)
        terms = self.buffer(f"{w.name}.penalty", (chunks,), dtype="float64", role="scratch", whole=True)
        self.emit("penalty_forward", {"w": w, "sum": terms}, size=parameter.size, l1=l1, l2=l2)
        self._penalties.append((w, l1, l2, terms))

    def mark_output(self, buffer):
        """The buffer that a call hands to the user."""
        self.output = buffer

    # ---- backward and update ----

    def differentiate(self):
        """Emit the backward operations of everything emitted so far."""
        for op in reversed([op for op in self.ops if op.kind in RULES]):
            dy = self.gradient(op.buffers[op.spec.writes[0]])
            if dy is not None:
                RULES[op.kind](self, op, dy)
        for w, l1, l2, _ in self._penalties:
            if self.requires_grad(w):
                add_penalty(self, w, l1, l2)

    def gradient(self, buffer):
        """The gradient's buffer of an activation, or None where nothing wanted depends on it."""
        return self._gradients.get(id(buffer.base or buffer))

    def add_gradient(self, buffer, gradient):
        """One more contribution to a buffer's gradient: the first is taken as it stands, others are added up."""
        held = self.gradient(buffer)
        if held is None:
            self._gradients[id(buffer.base or buffer)] = gradient
            return
        total = next((g for g in (gradient, held) if not self.is_shared(g)), None)
        if total is None:
            total = self.buffer(f"d{buffer.name}", buffer.shape, role="gradient")
        self.emit("add", {"a": gradient, "b": held, "y": total}, columns=buffer.columns)
        self._gradients[id(buffer.base or buffer)] = total

    def share(self, gradient):
        """A gradient's buffer is that of several buffers from now on: nobody may change it."""
        self._shared.add(id(gradient))

    def is_shared(self, gradient):
        """Whether nobody may change it."""
        return self.keep or id(gradient) in self._shared

    def changed(self, gradient):
        """The buffer for what an operation makes of a gradient elementwise: the gradient's own, unless it is shared."""
        if not self.is_shared(gradient):
            return gradient
        return self.buffer(f"{gradient.name}'", gradient.shape, role="gradient")

    def requires_grad(self, buffer):
        """Whether the buffer's gradient is needed."""
        return id(buffer.base or buffer) in self._wanted

    def producer(self, buffer):
        """The last operation that writes a buffer."""
        return next(op for op in reversed(self.ops) if any(b is buffer for b in op.writes()))

    def parameter_of(self, buffer):
        return next(p for p, b in self._parameters.values() if b is buffer)

    def parameter_gradient(self, buffer):
        """(gradient's buffer, whether something is in it already) for the buffer of a trainable parameter."""
        p = self.parameter_of(buffer)
        if id(p) not in self.parameter_gradients:
            g = self.buffer(f"d{p.name}", p.shape, role="parameter gradient", whole=True)
            self.parameter_gradients[id(p)] = (p, g, [])
        _, g, ops = self.parameter_gradients[id(p)]
        return g, bool(ops)

    def gradient_producers(self, buffer):
        """The operations that add to the gradient of a parameter's buffer, in order; a list to append to."""
        return self.parameter_gradients[id(self.parameter_of(buffer))][2]

    def update(self, update):
        """Emit the optimizer's update: inside the products that make the gradients where the rule allows, else after."""
        self._update = update
        apart = []
        for i, (p, _, group) in enumerate(update.tensors):
            _, gradient, ops = self.parameter_gradients[id(p)]
            if p.sparse:
                self._lazy[i] = self._named_rows(p, ops, update)
            buffer = self._parameters[id(p)][1]
            alone = len(ops) == 1 and ops[0].has("fuses_update")
            if self.fused and alone and not self.apart and not update.needs_norm and group not in update.trusted | update.whole:
                op = ops[0]
                role = "dw" if op.buffers.get("dw") is gradient else "db"
                del op.buffers[role]
                setattr(op, "update_w" if role == "dw" else "update_b", i)
                op.reads_also += (buffer,)
                op.writes_also += (buffer,)
                self.parameter_gradients[id(p)] = (p, None, ops)
            else:
                apart.append((i, buffer, gradient))
        norms = self._norms = self._emit_norm(update, apart) if update.needs_norm else ()
        # tensors that are updated apart stand in runs, one operation each
        while apart:
            run = [apart.pop(0)]
            while apart and apart[0][0] == run[-1][0] + 1:
                run.append(apart.pop(0))
            self._emit_update(update, run, norms)
        limited = [self._parameters[id(p)][1] for p, _, group in update.tensors if group in update.limited]
        if limited:
            self.emit(
                "max_norm",
                {},
                first=0,
                last=len(update.tensors),
                reads_also=(*limited, *norms),
                writes_also=tuple(limited),
                size=sum(b.array.size for b in limited),
            )

    def _named_rows(self, p, ops, update):
        """The flags of the rows of a sparse table that a batch names; its gradient is made of these rows alone, unless a norm needs all."""
        if self.apart:
            raise ValueError(f"{p.name}: expected a table without sparse=True where gradients of several parts of a batch are added up")
        if not all("named" in op.spec.roles for op in ops):
            raise ValueError(f"{p.name}: expected a table without sparse=True where a penalty, or another layer, has a gradient of all rows")
        named = self.buffer(f"{p.name}.named", p.shape[:1], dtype="uint8", role="scratch", whole=True)
        for op in ops:
            op.buffers["named"], op.lazy = named, not update.needs_norm
        return named

    def _emit_norm(self, update, apart):
        """The norm of all gradients, and what follows from it. Returns the buffers that updates must wait for."""
        chunks = sum(_chunks(b.array.size) for _, b, _ in apart)
        norms = self.buffer("norms", (chunks,), dtype="float64", role="scratch", whole=True)
        gradients = tuple(g for _, _, g in apart)
        fields = {"size": sum(b.array.size for _, b, _ in apart), "first": 0, "last": len(update.tensors)}
        self.emit("gradient_norm", {"norms": norms}, reads_also=gradients, **fields)
        self.emit("begin_update", {"norms": norms}, writes_also=(norms,), **fields)
        return (norms,)

    def _emit_update(self, update, run, norms):
        """The update of the tensors of a run, given as (number, parameter's buffer, gradient's buffer)."""
        first, last = run[0][0], run[-1][0] + 1
        parameters = tuple(b for _, b, _ in run)
        size = sum(b.array.size for b in parameters)
        trust = None
        if any(update.tensors[i][2] in update.trusted for i in range(first, last)):
            chunks = sum(_chunks(b.array.size) for b in parameters)
            trust = self.buffer("trust", (2 * chunks,), dtype="float64", role="scratch", whole=True)
        self.emit(
            "update",
            {"trust": trust},
            first=first,
            last=last,
            reads_also=(*(b for _, *pair in run for b in pair), *(self._lazy[i] for i, *_ in run if i in self._lazy), *norms),
            writes_also=parameters,
            size=size,
        )
        if trust is not None:
            self.emit(
                "trust_update",
                {"trust": trust},
                first=first,
                last=last,
                reads_also=(*parameters, *norms),
                writes_also=parameters,
                size=size,
            )

    # ---- the result ----

    def build(self, schedule="rows"):
        """The plan. schedule: "rows" or "layers" (see `fastnn.plan.execution_order`)."""
        if self._update is not None or self.anew:
            # behind the loss, so that a step which is refused leaves them as they were
            behind = (*((self._loss.buffers["loss"],) if self._loss else ()), *self._norms)
            for statistics, mean, var, count, momentum, pixels in self._running:
                buffers = {"statistics": statistics, "mean": mean, "var": var, "count": count}
                self.emit("batchnorm_running", buffers, columns=mean.columns, pixels=pixels, momentum=momentum, reads_also=behind)
        if self._loss:
            self.emit("reduce_loss", {role: self._loss.buffers[role] for role in ("loss", "correct")}, sum=self._loss.sum)
        for w, _, _, terms in self._penalties:
            self.emit("reduce_penalty", {"sum": terms}, size=w.array.size, sum=bool(self._loss) and self._loss.sum)
        used = {id(b) for op in self.ops for b in [*op.reads(), *op.writes()]}
        keep = [b for b in self.buffers if id(b) in used]
        for i, b in enumerate(keep):
            b.index = i
        gradients = [(p, g) for p, g, _ in self.parameter_gradients.values() if g is not None]
        kept = {id(g) for _, g in gradients} if self._update is None or self.apart else set()
        output = self.output and (self.output.base or self.output)
        for op in self.ops:
            if op.kind == "gather" and op.buffers["out"] is output:
                op.copies = True  # nothing else writes what is handed to the user
        kept = None if self.keep else kept | {id(output)}
        depth_first = not (self.keep or self.training or self._wanted)
        ops, workspace_bytes, scratch_bytes = arrange(self.ops, keep, self.batch, schedule, kept, self.apart, depth_first)
        return Plan(
            ops=tuple(ops),
            buffers=tuple(keep),
            batch=self.batch,
            schedule=schedule,
            fused=self.fused,
            dtype=self.dtype,
            inputs=tuple(self.inputs.values()),
            output=output,
            output_shape=self.output.shape if self.output else None,
            update=self._update,
            gradients=tuple(gradients),
            lazy=self._lazy,
            parameters=tuple(p for p, _ in self._parameters.values()),
            workspace_bytes=workspace_bytes,
            scratch_bytes=scratch_bytes,
            schedules=tuple(self._schedules),
        )

    def _count(self, kind):
        return 1 + sum(op.kind == kind for op in self.ops)
