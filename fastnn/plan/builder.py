"""Emits the operations of a plan: layers call its methods, one for each operation, and get buffers back.

With `fused` it emits what the kernels do best (product with bias and activation; dX with the derivative of the layer
below; dW with the update); without, the plain operations one by one. Both give the same bits, which the tests hold
against each other.
"""

import math
from typing import NamedTuple

import numpy as np

from .. import _native
from ..core.activations import ACTIVATIONS
from ..core.dtypes import check_dtype
from . import backward
from ..ops import Buffer, Input, Op
from .plan import Plan
from .execution_order import arrange


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


class Builder:
    """Collects operations and buffers, then makes a Plan of them.

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

    def rescale(self, x, scale, shift):
        """x * scale + shift for numbers, done while the rows are gathered: `x` must be the input, which nothing has read yet. Or for
        arrays, one of each for a column, by an operation of its own; it may follow one of its kind."""
        storage = x.base or x
        first = len(self.ops) == 1 and storage.role == "input"
        if not first and id(storage) not in self._rescaled:
            raise ValueError("rescaling: expected to be the first layer, got one behind others")
        if np.ndim(scale) or np.ndim(shift) or not first:
            return self._rescale_columns(x, scale, shift)
        given = self.inputs["x"]
        self.inputs["x"] = given._replace(scale=given.scale * scale, shift=given.shift * scale + shift)
        return x

    def _rescale_columns(self, x, scale, shift):
        """(x - mean) scale, as a normalisation whose statistics are given: where mean = -shift / scale is large, nothing is lost. Of
        images the numbers are those of the channels."""
        scale, shift = (np.broadcast_to(np.asarray(a, np.float64), x.shape).ravel() for a in (scale, shift))
        with np.errstate(all="ignore"):
            mean = (-shift / scale).astype(self.dtype)
        given = np.isfinite(mean)
        constants = {"w": scale, "mean": np.where(given, mean, 0), "var": np.ones(x.columns)}
        if not given.all():
            constants["b"] = np.where(given, 0, shift)
        y = self.buffer("rescaled", x.shape)
        self._rescaled.add(id(y))
        buffers = {role: self.constant(f"rescaling.{role}", a) for role, a in constants.items()}
        self.emit("batchnorm_inference", {"x": x, **buffers, "y": y}, columns=x.columns, pixels=1, eps=0.0)
        return y

    def dense(self, x, weight, bias, activation="identity", alpha=0.0):
        """f(x w + b). `weight`: a Parameter, or what `drop_weights` makes of one."""
        n_in, n_out = weight.shape
        if x.shape != (n_in,):
            raise ValueError(f"{weight.name}: expected inputs of {n_in} features, got shape {x.shape}")
        w = weight if isinstance(weight, Buffer) else self.parameter(weight)
        buffers = {"x": x, "w": w, "b": self.optional(bias)}
        y = self.buffer(f"y{self._count('dense_forward')}", (n_out,))
        self.emit("dense_forward", {**buffers, "y": y}, n_in=n_in, n_out=n_out)
        return self.activation(y, activation, alpha)

    def fixed_dense(self, x, weight, bias, activation="identity"):
        """f(x w + b) for arrays that nobody changes."""
        n_in, n_out = weight.shape
        w, b = self.constant("fixed.w", weight), self.constant("fixed.b", bias)
        y = self.buffer(f"y{self._count('dense_forward')}", (n_out,))
        self.emit("dense_forward", {"x": x, "w": w, "b": b, "y": y}, n_in=n_in, n_out=n_out)
        return self.activation(y, activation)

    def conv2d(self, x, weight, bias, window):
        """Windows of images x weights [kernel height, kernel width, channels / groups, filters] + bias."""
        filters = weight.shape[-1]
        y = self.buffer(f"c{self._count('conv2d_forward')}", (window.out_height, window.out_width, filters))
        buffers = {"x": x, "w": self.parameter(weight), "b": self.optional(bias), "y": y}
        self.emit("conv2d_forward", buffers, filters=filters, **window._asdict())
        return y

    def conv_transpose2d(self, x, weight, bias, window):
        """What the convolution with these windows and weights gives for the gradient of its input, if x is that of its outputs, + bias."""
        y = self.buffer(f"u{self._count('conv2d_backward_input')}", (window.height, window.width, window.channels))
        buffers = {"dy": x, "w": self.parameter(weight), "dx": y}
        self.emit("conv2d_backward_input", buffers, filters=weight.shape[-1], accumulate=False, **window._asdict())
        return y if bias is None else self.affine(y, None, bias)

    def pool2d(self, kind, x, window, count_padding=False):
        """The largest element of each window ("maxpool2d"), or their mean ("avgpool2d"). Fused, the gradient of a maximum goes by the
        numbers of the largest elements in their windows, so that nobody need keep x for it."""
        y = self.buffer("pooled", (window.out_height, window.out_width, window.channels))
        buffers, more = {"x": x, "y": y}, {"count_padding": count_padding} if kind == "avgpool2d" else {}
        if kind == "maxpool2d" and self.fused and self.requires_grad(x) and window.kernel_height * window.kernel_width <= 256:
            buffers["winner"] = self.buffer("winner", y.shape, dtype="uint8", role="scratch")
        self.emit(f"{kind}_forward", buffers, **window._asdict(), **more)
        return y

    def stochastic_pool2d(self, x, window):
        """An element of each window that is drawn, anew every step; in inference what is drawn on average."""
        y = self.buffer("drawn", (window.out_height, window.out_width, window.channels))
        kind, more = ("forward", {"stream": self.stream()}) if self.training else ("inference", {})
        self.emit(f"stochastic_pool2d_{kind}", {"x": x, "y": y}, **window._asdict(), **more)
        return y

    def activation(self, x, name, alpha=0.0):
        """f(x); in a fused plan the dense operation that makes x does it, if nothing came between."""
        if name == "identity":
            return x
        last, storage = self.ops[-1], x.base or x
        fits = last.has("fuses_activation") and last.buffers.get("y") is storage and last.activation == "identity"
        fits = fits and id(storage) not in self._pinned and ("z" in last.spec.roles or ACTIVATIONS[name].saves != "z")
        if self.fused and fits:
            last.activation, last.alpha = name, alpha
            if ACTIVATIONS[name].saves == "z" and self.requires_grad(x):
                last.buffers["z"] = self.buffer(f"z{x.name[1:]}", x.shape)
            return x
        y = self.buffer(f"a{self._count('activation_forward')}", x.shape)
        self.emit("activation_forward", {"x": x, "y": y}, columns=x.columns, activation=name, alpha=alpha)
        return y

    def pin(self, x):
        """`x` will be read again: no operation that follows may be done within the one that makes it."""
        self._pinned.add(id(x.base or x))

    def add(self, a, b):
        """a + b, two buffers of one shape."""
        if a.shape != b.shape:
            raise ValueError(f"add: expected two buffers of one shape, got {a.shape} and {b.shape}")
        y = self.buffer(f"sum{self._count('add')}", a.shape)
        self.emit("add", {"a": a, "b": b, "y": y}, columns=a.columns)
        return y

    def tied(self, x, weight, bias, activation="identity", alpha=0.0):
        """f(x w^T + b), w being another layer's weights [out, in]."""
        n_out, n_in = weight.shape
        if x.shape != (n_in,):
            raise ValueError(f"{weight.name}, transposed: expected inputs of {n_in} features, got shape {x.shape}")
        buffers = {"x": x, "w": self.parameter(weight), "b": self.optional(bias)}
        y = self.buffer(f"t{self._count('tied_forward')}", (n_out,))
        self.emit("tied_forward", {**buffers, "y": y}, n_in=n_in, n_out=n_out)
        return self.activation(y, activation, alpha)

    def keeps_statistics(self, weight, bias, mean):
        """Whether a batch normalisation uses and keeps its running statistics in training too: one that has parameters none of which
        will change, or one without parameters that is frozen."""
        own = [p for p in (weight, bias) if p is not None]
        if own and self.changing is not None:
            return not any(id(p) in self.changing for p in own)
        return all(p.frozen for p in own or [mean])

    def batchnorm(self, x, weight, bias, mean, var, momentum, eps, count=None):
        """Each column with mean 0 and variance 1: over the batch in training, by the running statistics in inference. count: of the
        steps, where the running statistics are means over all of them."""
        channels, pixels = x.shape[-1], math.prod(x.shape[:-1])
        fields = {"columns": channels, "pixels": pixels, "eps": eps}
        buffers = {"x": x, "w": self.optional(weight), "b": self.optional(bias)}
        y = self.buffer("normal", x.shape)
        if not self.training or self.keeps_statistics(weight, bias, mean):
            buffers |= {"y": y, "mean": self.parameter(mean), "var": self.parameter(var)}
            self.emit("batchnorm_inference", buffers, **fields)
            return y
        statistics = self.buffer("statistics", (4, channels), role="scratch", whole=True)
        self.emit("batchnorm_forward", {**buffers, "y": y, "statistics": statistics}, **fields)
        count = self.constant("steps", np.zeros(1)) if self.anew else self.optional(count)
        self._running.append((statistics, self.parameter(mean), self.parameter(var), count, momentum or 0.0, pixels))
        return y

    def scale(self, x, weight):
        """Each column times a number of its own."""
        return self.affine(x, weight, None)

    def affine(self, x, weight, bias):
        """x w + b, with numbers for each column, or for each channel of images; one of both may be None. A normalisation by mean 0 and
        variance 1."""
        columns = next(p.size for p in (weight, bias) if p is not None)
        mean, var = (self.constant(name, np.full(columns, value, np.float32)) for name, value in (("zero", 0), ("one", 1)))
        y = self.buffer("scaled", x.shape)
        buffers = {"x": x, "w": self.optional(weight), "b": self.optional(bias), "y": y, "mean": mean, "var": var}
        self.emit("batchnorm_inference", buffers, columns=columns, pixels=x.columns // columns, eps=0.0)
        return y

    def rownorm(self, kind, x, weight, bias, eps):
        """Each row with mean 0 and variance 1 ("layernorm"), or mean square 1 ("rmsnorm")."""
        y = self.buffer("normal", x.shape)
        buffers = {
            "x": x,
            "w": self.optional(weight),
            "b": self.optional(bias),
            "y": y,
            "statistics": self.buffer("statistics", (3,), role="scratch"),
        }
        self.emit(f"{kind}_forward", buffers, columns=x.columns, eps=eps)
        return y

    def groupnorm(self, x, groups, weight, bias, eps):
        """Each of so many groups of an image's channels with mean 0 and variance 1 over its pixels, then x w + b for each channel."""
        y = self.buffer("normal", x.shape)
        buffers = {"x": x, "y": y, "statistics": self.buffer("statistics", (3 * groups,), role="scratch")}
        self.emit("groupnorm_forward", buffers, columns=x.shape[-1], pixels=math.prod(x.shape[:-1]), groups=groups, eps=eps)
        return y if weight is None and bias is None else self.affine(y, weight, bias)

    def stream(self):
        """The number of a random stream that no other operation of the plan draws from."""
        self._streams += 1
        return _native.STREAM_LAYERS + self._streams - 1

    def _share(self, p):
        """The parameters of an operation for a share p, a number or a schedule."""
        if not callable(p):
            return {"p": p, "schedule": -1}
        self._schedules.append(p)
        return {"p": 0.0, "schedule": len(self._schedules) - 1}

    def dropout(self, x, p, rows=False, channels=False):
        """x without a share p of its elements, of its rows, or of its images' channels, drawn anew every step; the others grow by as much. p
        may be a schedule."""
        y, columns = self.buffer("kept", x.shape), x.shape[-1] if channels else x.columns
        sizes = {"columns": columns, "pixels": x.columns // columns}
        self.emit("dropout", {"x": x, "y": y}, **sizes, **self._share(p), whole_rows=rows, stream=self.stream())
        return y

    def drop_weights(self, weight, p):
        """A copy of a weight matrix with some of its elements dropped, drawn anew every step: a buffer for `dense`."""
        y = self.buffer(f"kept {weight.name}", weight.shape, whole=True)
        rows, columns = weight.shape
        self.emit("drop_weights", {"x": self.parameter(weight), "y": y}, rows=rows, columns=columns, **self._share(p), stream=self.stream())
        return y

    def gaussian_noise(self, x, std):
        """x + std times standard normal numbers, drawn anew every step."""
        y = self.buffer("noisy", x.shape)
        self.emit("gaussian_noise", {"x": x, "y": y}, columns=x.columns, std=std, stream=self.stream())
        return y

    def embedding(self, x, parts, shape, unknown=False):
        """Samples of this shape. `parts` say, from the first column of x on, what becomes of how many of them: (table, n) are rows of a
        table, a Parameter, for n columns of codes, (None, n) are n numbers as they are. unknown: the last row of each table is for
        codes that are no other row's."""
        if self.requires_grad(x):
            raise ValueError("embedding: expected codes of the model's input, got what a layer computes")
        y, first, last = self.buffer("embedded", shape), 0, 0
        for table, columns in parts:
            count, dim = (0, 1) if table is None else table.shape
            buffers = {"x": x, "w": self.optional(table), "y": y}
            sizes = {"columns": columns, "dim": dim, "count": count, "unknown": unknown}
            self.emit("embedding_forward", buffers, **sizes, first_in=first, first_out=last)
            first, last = first + columns, last + columns * dim
        return y

    def maxout(self, x, pieces):
        """The largest of `pieces` pieces of x, which stand side by side."""
        y = self.buffer("largest", (x.columns // pieces,))
        self.emit("maxout_forward", {"x": x, "y": y}, columns=y.columns, pieces=pieces)
        return y

    def softmax(self, x):
        """softmax over each row."""
        y = self.buffer("probabilities", x.shape)
        self.emit("softmax_forward", {"x": x, "y": y}, columns=x.columns)
        return y

    def log_softmax(self, x):
        """The logarithm of softmax over each row."""
        y = self.buffer("log_probabilities", x.shape)
        self.emit("log_softmax_forward", {"x": x, "y": y}, columns=x.columns)
        return y

    def prelu(self, x, slope):
        """x where it is above 0, else slope * x; slope: a Parameter, [1] or one for each column, or each channel of images."""
        if slope.shape not in ((1,), x.shape[-1:]):
            raise ValueError(f"{slope.name}: expected inputs of {slope.size} features, got shape {x.shape}")
        y, columns = self.buffer(f"a{self._count('prelu_forward')}", x.shape), slope.size if slope.size > 1 else x.columns
        sizes = {"columns": columns, "slopes": slope.size, "pixels": x.columns // columns}
        self.emit("prelu_forward", {"x": x, "slope": self.parameter(slope), "y": y}, **sizes)
        return y

    def parametric_activation(self, x, weight, name, alpha=0.0):
        """x + weight (f(x) - x), weight having a number for each column."""
        y = self.buffer(f"a{self._count('parametric_activation_forward')}", x.shape)
        fields = {"columns": x.columns, "activation": name, "alpha": alpha}
        self.emit("parametric_activation_forward", {"x": x, "w": self.parameter(weight), "y": y}, **fields)
        return y

    def pbld(self, x, frequency, phase, weight, bias):
        """The columns of x, and behind them Σ_f weight cos(2π frequency x + phase) + bias of those for which there are weights: frequency
        and phase [embedded, frequencies], weight [embedded, dim, frequencies], bias [embedded, dim]."""
        embedded, dim, frequencies = weight.shape
        y = self.buffer("embedded", (x.columns + embedded * dim,))
        weights = {"w": frequency, "b": phase, "v": weight, "c": bias}
        buffers = {"x": x, **{role: self.parameter(p) for role, p in weights.items()}, "y": y}
        self.emit("pbld_forward", buffers, columns=x.columns, embedded=embedded, frequencies=frequencies, dim=dim)
        return y

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
        for op in reversed([op for op in self.ops if op.kind in backward.RULES]):
            backward.RULES[op.kind](self, op)
        for w, l1, l2, _ in self._penalties:
            if self.requires_grad(w):
                backward.add_penalty(self, w, l1, l2)

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
            reads_also=(*(b for _, *pair in run for b in pair), *norms),
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
        ops, workspace_bytes = arrange(self.ops, keep, self.batch, schedule, None if self.keep else kept | {id(output)}, self.apart)
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
            parameters=tuple(p for p, _ in self._parameters.values()),
            workspace_bytes=workspace_bytes,
            schedules=tuple(self._schedules),
        )

    def _count(self, kind):
        return 1 + sum(op.kind == kind for op in self.ops)
