"""A model's inference as a list of nodes, from which every format is written.

`trace` calls the layers' own `emit` with a `Graph` in place of the plan's builder. It has the builder's methods for what layers
emit in inference, and each notes one node: so a layer made of known operations, one of a user's own too, needs nothing here to
be exported, and a new operation needs its method in `Graph` and its line in `nodes`, for all formats. What a node computes is said
there alone; what a layer is made of, by the layer alone.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from ..core.window import Window
from ..nn import Parameter, Sequential
from .formulas import FORMULAS

TOLERANCE = 1e-4  # a written model whose outputs differ from the model's by more is wrong, not rounded


@dataclass(eq=False)
class Value:
    """What flows between nodes: for each row of a batch an array of this shape."""

    shape: tuple

    @property
    def columns(self):
        return math.prod(self.shape)


@dataclass(eq=False)
class Array:
    """Numbers that a node holds: a parameter of the model, or constants."""

    name: str
    data: np.ndarray
    shape: tuple = None  # in the model, where it is another


@dataclass(eq=False)
class Node:
    """One operation, y = kind(inputs). `arrays`: its numbers by role, `settings`: its numbers that are no arrays."""

    kind: str
    inputs: tuple
    output: Value
    arrays: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    layer: str = ""  # that emitted it: its path and kind, for messages and comments

    @property
    def input(self):
        return self.inputs[0]


class Unsupported(Exception):
    """What a layer emits has no node."""


class Graph:
    """Takes the place of a plan's builder: what layers emit becomes nodes.

    Attributes
    ----------
    nodes : list of Node
        In the order in which they can be computed.
    given, output : Value
        What a model takes, in the layout in which it takes it, and what it gives.
    arrays : list of Array
        Those of all nodes, each once; of two nodes that share weights both have the same Array.
    """

    training = False
    fused = False

    def __init__(self, names):
        self.nodes, self.arrays = [], []
        self.given = self.output = None
        self._names = names  # of parameters, by id
        self._known = {}  # Array of a parameter, by id
        self._layers = []  # the paths of the layers that are emitting

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise Unsupported(name)

    # ---- what the layers call ----

    def input(self, shape, channels_first=False):
        """What a model takes, a sample of this shape; or one that begins with the channels, to be turned into it."""
        self.given = Value((shape[-1], *shape[:-1]) if channels_first else tuple(shape))
        return self._node("channels_last", (self.given,), shape) if channels_first else self.given

    def reshape(self, x, shape):
        """The same numbers in another shape."""
        return x if x.shape == tuple(shape) else self._node("reshape", (x,), shape)

    def layer(self, layer, x):
        """The nodes of a layer."""
        number = len(self._layers)
        self._layers.append(layer)
        y = layer.emit(self, x)
        del self._layers[number:]
        return y

    def pin(self, x):
        """Nothing is done in place here."""

    def dense(self, x, weight, bias, activation="identity", alpha=0.0, transposed=False):
        """x w + b, or x wᵀ + b."""
        arrays = self._arrays(w=weight, b=bias)
        y = self._node("dense", (x,), (weight.shape[0 if transposed else 1],), arrays, transposed=transposed)
        return self.activation(y, activation, alpha)

    def fixed_dense(self, x, weight, bias, activation="identity"):
        return self.dense(x, weight, bias, activation)

    def tied(self, x, weight, bias, activation="identity", alpha=0.0):
        return self.dense(x, weight, bias, activation, alpha, transposed=True)

    def conv2d(self, x, weight, bias, window):
        """Windows of images, as a `fastnn.ops.Window`, times weights [height, width, channels / groups, filters], plus b."""
        arrays = self._arrays(w=weight, b=bias)
        if len(weight.shape) == 3:  # of sequences, which have one row
            w = arrays["w"]
            w.shape, w.data = weight.shape, w.data.reshape(1, *weight.shape)
        return self._node("conv2d", (x,), (window.out_height, window.out_width, weight.shape[-1]), arrays, window=window)

    def conv_transpose2d(self, x, weight, bias, window):
        """What goes from the outputs of a convolution with these windows back to the images that they are over; weights [height, width,
        channels of these images / groups, channels of x], plus b."""
        arrays = self._arrays(w=weight, b=bias)
        return self._node("conv_transpose2d", (x,), (window.height, window.width, window.channels), arrays, window=window)

    def pool2d(self, kind, x, window, count_padding=False):
        """The largest element of each window ("maxpool2d"), or their mean ("avgpool2d"): the sum divided by a count, "count" in the
        settings, or where windows differ in it an array [out height, out width, 1]."""
        shape, arrays, settings = (window.out_height, window.out_width, window.channels), {}, {"window": window}
        if kind == "avgpool2d":
            counts = _counts(window, count_padding)
            if counts.min() == counts.max():
                settings["count"] = float(counts[0, 0])
            else:
                arrays = self._arrays(count=counts[..., None])
        return self._node(kind, (x,), shape, arrays, **settings)

    def stochastic_pool2d(self, x, window):
        """Σ a² / Σ a over each window, a = max(x, 0); 0 where no element is positive."""
        return self._node("stochastic_pool2d", (x,), (window.out_height, window.out_width, window.channels), window=window)

    def embedding(self, x, parts, shape, unknown=False):
        """Columns of x one after the other: (table, n) makes rows of a table of n columns of codes, (None, n) leaves n numbers as
        they are. What is no code is the last row's, if `unknown`; else there is nothing for it."""
        tables = {f"w{i}": table for i, (table, _) in enumerate(parts)}
        return self._node("embedding", (x,), shape, self._arrays(**tables), columns=[n for _, n in parts], unknown=bool(unknown))

    def activation(self, x, name, alpha=0.0):
        """f(x) of each element."""
        if name != "identity" and name not in FORMULAS:
            raise Unsupported(name)  # it has no line in formulas.py
        return x if name == "identity" else self._node("activation", (x,), x.shape, name=name, alpha=float(alpha))

    def softmax(self, x):
        """Over the last axis."""
        return self._node("softmax", (x,), x.shape)

    def log_softmax(self, x):
        return self._node("log_softmax", (x,), x.shape)

    def prelu(self, x, slope):
        """x > 0 ? x : slope x, with one slope or one for each feature."""
        return self._node("prelu", (x,), x.shape, self._arrays(slope=slope))

    def parametric_activation(self, x, weight, name, alpha=0.0):
        """x + weight (f(x) - x), as the sum of both parts."""
        rest = self._arrays(mean=np.zeros(x.shape), scale=1 - weight.data.astype(np.float64))
        return self.add(self._node("rescale", (x,), x.shape, rest), self.scale(self.activation(x, name, alpha), weight))

    def pbld(self, x, frequency, phase, weight, bias):
        """Waves and linear functions of each column are convolutions of a pixel whose channels are in so many groups."""
        embedded, dim, frequencies = weight.shape
        columns = x.columns
        chosen = x if columns == embedded else self.dense(x, np.eye(columns, embedded), None)
        angle = self._by_groups(chosen, embedded, 2 * np.pi * frequency.data.reshape(1, 1, 1, -1), phase.data.ravel())
        waves = self._node("activation", (angle,), angle.shape, name="cos", alpha=0.0)
        mixed = np.moveaxis(weight.data, 2, 0).reshape(1, 1, frequencies, -1)
        made = self.reshape(self._by_groups(waves, embedded, mixed, bias.data.ravel()), (embedded * dim,))
        width = columns + embedded * dim
        behind = self.dense(made, np.eye(embedded * dim, width, columns), None)
        return self.add(self.dense(x, np.eye(columns, width), None), behind)

    def maxout(self, x, pieces):
        """The largest of the pieces that stand side by side."""
        return self._node("maxout", (x,), (x.columns // pieces,), pieces=pieces)

    def add(self, a, b):
        return self._node("add", (a, b), a.shape)

    def batchnorm(self, x, weight, bias, mean, var, momentum, eps, count=None):
        """(x - mean) / √(var + eps) · weight + bias, of each feature."""
        arrays = self._arrays(w=weight, b=bias, mean=mean, var=var)
        return self._node("batchnorm", (x,), x.shape, arrays, eps=eps)

    def rownorm(self, kind, x, weight, bias, eps):
        """ "layernorm" or "rmsnorm": over the last axis."""
        return self._node(kind, (x,), x.shape, self._arrays(w=weight, b=bias), eps=eps)

    def groupnorm(self, x, groups, weight, bias, eps):
        """Each group of channels, of the last axis, over all others: mean 0 and variance 1; then times weight plus bias."""
        return self._node("groupnorm", (x,), x.shape, self._arrays(w=weight, b=bias), groups=groups, eps=eps)

    def rescale(self, x, scale, shift):
        """x * scale + shift as (x - mean) scale, so that of values far from 0 nothing is lost; "shift" where there is no mean."""
        scale, shift = np.broadcast_arrays(np.asarray(scale, np.float64), np.asarray(shift, np.float64))
        with np.errstate(all="ignore"):
            mean = -shift / scale
            given = np.isfinite(mean.astype(np.float32))
        arrays = {"mean": np.where(given, mean, 0.0), "scale": scale}
        if not given.all():
            arrays["shift"] = np.where(given, 0.0, shift)
        return self._node("rescale", (x,), x.shape, self._arrays(**arrays))

    def scale(self, x, weight):
        """Each column times a number of its own."""
        return self._node("rescale", (x,), x.shape, self._arrays(mean=np.zeros(x.shape), scale=weight))

    # ---- nodes ----

    def _by_groups(self, x, groups, weights, bias):
        """Groups of x's columns that stand side by side, each times weights of its own, [1, 1, columns of a group, all outputs], plus b."""
        pixel = self.reshape(x, (1, 1, x.columns))
        return self.conv2d(pixel, weights, bias, Window.over(pixel.shape, (1, 1), groups=groups))

    def _node(self, kind, inputs, shape, arrays=None, **settings):
        node = Node(kind, inputs, Value(tuple(shape)), arrays or {}, settings, self._where())
        self.nodes.append(node)
        return node.output

    def _where(self):
        layer = next((layer for layer in reversed(self._layers)), None)
        return "" if layer is None else f"{self._names.get(id(layer), '')}: {type(layer).__name__}"

    def _arrays(self, **found):
        return {role: self._array(role, a) for role, a in found.items() if a is not None}

    def _array(self, role, a):
        if not isinstance(a, Parameter):
            name, taken = f"{self._where().partition(':')[0] or 'model'}.{role}", {known.name for known in self.arrays}
            again = next((f"{name}.{i}" for i in range(2, len(taken) + 2) if f"{name}.{i}" not in taken), "") if name in taken else name
            held = Array(again, np.asarray(a))
        elif id(a) in self._known:
            return self._known[id(a)]
        else:
            held = self._known[id(a)] = Array(self._names.get(id(a), a.name), a.data)
        self.arrays.append(held)
        return held


def _counts(window, count_padding):
    """How many elements the mean of each window is over, [out height, out width]: those of the image, or of its padding too."""
    w, sides = window, []
    for n, out, taps, stride, dilation, before, after in (
        (w.height, w.out_height, w.kernel_height, w.stride_y, w.dilation_y, w.pad_top, w.pad_bottom),
        (w.width, w.out_width, w.kernel_width, w.stride_x, w.dilation_x, w.pad_left, w.pad_right),
    ):
        at = np.arange(out)[:, None] * stride + np.arange(taps) * dilation - before
        low, high = (-before, n + after) if count_padding else (0, n)
        sides.append(((at >= low) & (at < high)).sum(axis=1))
    return np.multiply.outer(*sides)


def pads(window):
    """(top, left, bottom, right) of zeros with which every window lies within: at the end it may be more than its own padding."""
    w = window
    height = (w.out_height - 1) * w.stride_y + w.dilation_y * (w.kernel_height - 1) + 1
    width = (w.out_width - 1) * w.stride_x + w.dilation_x * (w.kernel_width - 1) + 1
    return (
        w.pad_top,
        w.pad_left,
        max(w.pad_bottom, height - w.pad_top - w.height),
        max(w.pad_right, width - w.pad_left - w.width),
    )


def image_order(shape):
    """Where the elements of a flattened image of this shape stand here, in the order of one whose channels come first, as PyTorch
    and ONNX have it. None where both orders are one."""
    if len(shape) < 2 or shape[-1] == 1 or shape[-1] == math.prod(shape):
        return None
    return np.moveaxis(np.arange(math.prod(shape)).reshape(shape), -1, 0).ravel()


def check_model(model):
    """TypeError for what is no model."""
    if not isinstance(model, Sequential):
        raise TypeError(f"model: expected an nn.Sequential, got {type(model).__name__}")


def trace(model, format):
    """The Graph of a model's inference.

    Raises
    ------
    TypeError, ValueError
        If it is no model, or a layer emits what has no node. `format` is named in the message.
    """
    check_model(model)
    names = {id(p): name for name, p in (*model.named_parameters(), *model.named_buffers())}
    names |= {id(layer): path for path, layer in model.walk()}
    graph = Graph(names)
    try:
        graph.output = model.emit_whole(graph)
    except Unsupported as error:
        raise ValueError(
            f"model: layer {graph._where()} has no form in {format}: it emits {error}, an operation unknown there"
        ) from None
    return graph


def affine(node):
    """(mean, scale, shift) of a batchnorm or rescale node, float64 arrays or None: y = (x - mean) scale + shift."""
    a = {role: array.data.astype(np.float64) for role, array in node.arrays.items()}
    if node.kind == "rescale":
        return a["mean"], a["scale"], a.get("shift")
    with np.errstate(all="ignore"):
        scale = a.get("w", 1.0) / np.sqrt(a["var"] + node.settings["eps"])
    return a["mean"], scale, a.get("b")


def sample_rows(graph, rows=8):
    """Rows to try an exported model with: normal numbers, and codes where it takes such, the same each time."""
    random = np.random.default_rng(0)
    X = random.standard_normal((rows, *graph.given.shape)).astype(np.float32)
    for n in graph.nodes:
        if n.kind == "embedding" and n.input is graph.given:
            first = 0
            for i, columns in enumerate(n.settings["columns"]):
                if f"w{i}" in n.arrays:
                    count = len(n.arrays[f"w{i}"].data) - n.settings["unknown"]
                    X[:, first : first + columns] = random.integers(count, size=(rows, columns))
                first += columns
    return X


def difference(found, expected):
    """The largest difference of outputs, relative to the largest of them, or to 1 where that is less; inf where one is not finite
    and the other something else."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    finite = np.isfinite(expected)
    if found.shape != expected.shape or not np.array_equal(found[~finite], expected[~finite], equal_nan=True):
        return math.inf
    if not finite.any():
        return 0.0
    most = np.abs(found[finite] - expected[finite]).max()
    return float(most / max(1.0, np.abs(expected[finite]).max())) if np.isfinite(most) else math.inf
