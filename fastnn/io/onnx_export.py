"""to_onnx: a model as an ONNX file, for ONNX Runtime and what else reads the format.

Parameters stand in the file as they are in the model, under their names there, each once; what the layers were made with is in
the metadata, for `from_onnx`. Operators are those of the default domain, of the opsets in `OPSETS`.
"""

import json
import os

import numpy as np

from .._version import __version__
from ..core.atomic_files import replacing
from .formulas import FORMULAS
from .graph import pads, trace
from .onnx_format import MODEL, encode, node, tensor, value

OPSETS = range(18, 25)  # in which the operators used here mean the same
_IR_VERSION = 8  # of the file format: what readers of opset 18 know
_LIMIT = 2**31 - 1  # bytes of a file, by the format

_ATTRIBUTES = {"LeakyRelu": "alpha", "Elu": "alpha"}  # operators whose number is an attribute


LAST, FIRST = "last", "first"  # where the channels of images stand: here, and in ONNX's convolutions


class _Writer:
    """Makes ONNX's nodes of a Graph's. Values have a name in each layout in which they have been made or asked for."""

    def __init__(self, graph, dtype):
        self.graph, self.dtype = graph, dtype
        self.nodes, self.initializers = [], {}
        self.names = {graph.given: {LAST: "x"}}
        self.turned = {}  # the axes of those initializers that stand in another order than in the model
        self.shapes = {}  # in the model, of those that have another number of axes there
        self._count = 0
        self._constants = {}

    def value(self):
        """A new name for what a node makes."""
        self._count += 1
        return f"v{self._count}"

    def add(self, kind, *inputs, **attributes):
        """Append a node; returns the name of its output. Inputs are names."""
        name = self.value()
        self.nodes.append(node(kind, inputs, [name], f"{kind}_{len(self.nodes)}", attributes))
        return name

    def array(self, held):
        """The name of an Array's initializer."""
        return self.initializer(held.name, np.asarray(held.data, self.dtype))

    def constant(self, data, dtype=None):
        """The name of an initializer of numbers that are not the model's."""
        data = np.asarray(data, dtype or self.dtype)
        key = (data.dtype, data.shape, data.tobytes())
        if key not in self._constants:
            self._constants[key] = self.initializer(f"constant{len(self._constants)}", data)
        return self._constants[key]

    def initializer(self, name, data):
        """The name of an array of the file, which is in it once."""
        self.initializers.setdefault(name, data)
        return name

    def formula(self, name, alpha, x):
        """The operators of an activation."""
        y = x
        for kind, *inputs in FORMULAS[name].onnx:
            inputs = [alpha if i == "alpha" else i for i in inputs]
            if kind in _ATTRIBUTES:
                y = self.add(kind, x, **{_ATTRIBUTES[kind]: inputs[1]})
                continue
            y = self.add(kind, *({"x": x, "y": y}[i] if isinstance(i, str) else self.constant(i) for i in inputs))
        return y

    def name(self, value, layout):
        """The name of a value in a layout; of vectors both are one."""
        names = self.names[value]
        if layout not in names:
            other = next(iter(names.values()))
            axes = range(1, len(value.shape) + 1)
            order = [0, *axes[-1:], *axes[:-1]] if layout == FIRST else [0, *axes[1:], 1]
            names[layout] = other if len(value.shape) == 1 else self.add("Transpose", other, perm=order)
        return names[layout]

    def layout(self, n):
        """The layout that a node is written in: of elementwise ones that in which their input is there."""
        elementwise = n.kind in ("activation", "add") or n.kind == "prelu" and n.arrays["slope"].data.size == 1
        return FIRST if n.kind in _CHANNELS_FIRST else next(iter(self.names[n.input])) if elementwise else LAST

    def run(self):
        for n in self.graph.nodes:
            layout = self.layout(n)
            made = KINDS[n.kind](self, n, *(self.name(v, layout) for v in n.inputs))
            self.names[n.output] = {layout: made}


def _dense(w, n, x):
    arrays = [w.array(n.arrays[role]) for role in ("w", "b") if role in n.arrays]
    return w.add("Gemm", x, *arrays, **({"transB": 1} if n.settings["transposed"] else {}))


def _activation(w, n, x):
    return w.formula(n.settings["name"], n.settings["alpha"], x)


def _maxout(w, n, x):
    pieces, width = n.settings["pieces"], n.output.columns
    if pieces == 1:
        return w.add("Identity", x)
    names = [w.value() for _ in range(pieces)]
    sizes = w.constant([width] * pieces, np.int64)
    w.nodes.append(node("Split", [x, sizes], names, f"Split_{len(w.nodes)}", {"axis": -1}))
    return w.add("Max", *names)


def _window(n):
    window = n.settings["window"]
    return {
        "kernel_shape": [window.kernel_height, window.kernel_width],
        "strides": [window.stride_y, window.stride_x],
        "pads": list(pads(window)),
    }


_FILTERS = (3, 2, 0, 1)  # the axes of weights [height, width, in, out] in ONNX's order


def _filters(w, n):
    """The names of a convolution's weights and bias."""
    held = n.arrays["w"]
    w.turned[held.name] = _FILTERS
    if held.shape is not None:
        w.shapes[held.name] = held.shape
    weight = w.initializer(held.name, np.asarray(held.data.transpose(_FILTERS), w.dtype))
    return [weight, *([w.array(n.arrays["b"])] if "b" in n.arrays else [])]


def _conv2d(w, n, x):
    window = n.settings["window"]
    return w.add("Conv", x, *_filters(w, n), **_window(n), dilations=[window.dilation_y, window.dilation_x], group=window.groups)


def _conv_transpose2d(w, n, x):
    o = n.settings["window"]
    more = [o.height - (o.out_height - 1) * o.stride_y - o.dilation_y * (o.kernel_height - 1) - 1 + o.pad_top + o.pad_bottom,
            o.width - (o.out_width - 1) * o.stride_x - o.dilation_x * (o.kernel_width - 1) - 1 + o.pad_left + o.pad_right]  # fmt: skip
    how = {**_window(n), "pads": [o.pad_top, o.pad_left, o.pad_bottom, o.pad_right], "output_padding": more}
    return w.add("ConvTranspose", x, *_filters(w, n), **how, dilations=[o.dilation_y, o.dilation_x], group=o.groups)


def _maxpool2d(w, n, x):
    window = n.settings["window"]
    dilation = [window.dilation_y, window.dilation_x]
    return w.add("MaxPool", x, **_window(n), **({} if dilation == [1, 1] else {"dilations": dilation}))


def _avgpool2d(w, n, x):
    """The mean over the whole kernel, zeros around the image included; times what other counts make of it."""
    window = n.settings["window"]
    taps = window.kernel_height * window.kernel_width
    y = w.add("AveragePool", x, **_window(n), count_include_pad=1)
    if "count" in n.arrays:
        return w.add("Mul", y, w.constant(taps / n.arrays["count"].data[..., 0]))
    return y if n.settings["count"] == taps else w.add("Mul", y, w.constant(taps / n.settings["count"]))


def _stochastic_pool2d(w, n, x):
    """Of the means over windows, padding included, of squares and of the elements themselves."""
    x = w.add("Relu", x)
    square, mean = (w.add("AveragePool", v, **_window(n), count_include_pad=1) for v in (w.add("Mul", x, x), x))
    return w.add("Div", square, w.add("Max", mean, w.constant(np.finfo(w.dtype).tiny)))


def _groupnorm(w, n, x):
    """Channels first: each group as one channel, over all that stands behind; then the channels' own factors."""
    groups, *sizes, channels = n.settings["groups"], *n.output.shape
    one, zero = w.constant(np.ones(groups)), w.constant(np.zeros(groups))
    x = w.add("Reshape", x, w.constant([0, groups, -1], np.int64))
    x = w.add("InstanceNormalization", x, one, zero, epsilon=n.settings["eps"])
    x = w.add("Reshape", x, w.constant([0, channels, *sizes], np.int64))
    for kind, role in (("Mul", "w"), ("Add", "b")):
        if role in n.arrays:
            factors = w.array(n.arrays[role])
            x = w.add(kind, x, w.add("Reshape", factors, w.constant([channels, *[1] * len(sizes)], np.int64)) if sizes else factors)
    return x


def _embedding(w, n, x):
    """Rows of tables; what is no code is the row behind the codes: that for unknown ones, or none, which is the runtime's error."""
    columns, parts = n.settings["columns"], [x]
    if len(columns) > 1:
        parts = [w.value() for _ in columns]
        w.nodes.append(node("Split", [x, w.constant(columns, np.int64)], parts, f"Split_{len(w.nodes)}", {"axis": 1}))
    for i, part in enumerate(parts):
        if f"w{i}" in n.arrays:
            table = n.arrays[f"w{i}"]
            count = w.constant(len(table.data) - n.settings["unknown"])
            whole = w.add("Equal", part, w.add("Floor", part))
            within = w.add("And", w.add("GreaterOrEqual", part, w.constant(0)), w.add("Less", part, count))
            code = w.add("Cast", w.add("Where", w.add("And", whole, within), part, count), to=7)
            rows = w.add("Gather", w.array(table), code, axis=0)
            parts[i] = w.add("Reshape", rows, w.constant([0, columns[i] * table.data.shape[1]], np.int64))
    y = parts[0] if len(parts) == 1 else w.add("Concat", *parts, axis=1)
    return y if len(n.output.shape) == 1 else w.add("Reshape", y, w.constant([0, *n.output.shape], np.int64))


def _batchnorm(w, n, x):
    shape = n.arrays["mean"].data.shape
    given = [
        w.array(n.arrays[role]) if role in n.arrays else w.constant(np.full(shape, start)) for role, start in (("w", 1), ("b", 0))
    ]
    return w.add("BatchNormalization", x, *given, w.array(n.arrays["mean"]), w.array(n.arrays["var"]), epsilon=n.settings["eps"])


def _layernorm(w, n, x):
    weight = w.array(n.arrays["w"]) if "w" in n.arrays else w.constant(np.ones(n.output.shape[-1]))
    bias = [w.array(n.arrays["b"])] if "b" in n.arrays else []
    return w.add("LayerNormalization", x, weight, *bias, axis=-1, epsilon=n.settings["eps"])


def _rmsnorm(w, n, x):
    square = w.add("ReduceMean", w.add("Mul", x, x), w.constant([-1], np.int64), keepdims=1)
    y = w.add("Div", x, w.add("Sqrt", w.add("Add", square, w.constant(n.settings["eps"]))))
    return w.add("Mul", y, w.array(n.arrays["w"])) if "w" in n.arrays else y


def _rescale(w, n, x):
    if n.arrays["mean"].data.any():
        x = w.add("Sub", x, w.array(n.arrays["mean"]))
    x = w.add("Mul", x, w.array(n.arrays["scale"]))
    return w.add("Add", x, w.array(n.arrays["shift"])) if "shift" in n.arrays else x


def _channels_last(w, n, x):
    axes = range(1, len(n.output.shape) + 1)
    return w.add("Transpose", x, perm=[0, *axes[1:], 1])


KINDS = {
    "dense": _dense,
    "activation": _activation,
    "softmax": lambda w, n, x: w.add("Softmax", x, axis=-1),
    "log_softmax": lambda w, n, x: w.add("LogSoftmax", x, axis=-1),
    "prelu": lambda w, n, x: w.add("PRelu", x, w.array(n.arrays["slope"])),
    "maxout": _maxout,
    "add": lambda w, n, a, b: w.add("Add", a, b),
    "channels_last": _channels_last,
    "reshape": lambda w, n, x: w.add("Reshape", x, w.constant([0, *n.output.shape], np.int64)),
    "conv2d": _conv2d,
    "conv_transpose2d": _conv_transpose2d,
    "maxpool2d": _maxpool2d,
    "avgpool2d": _avgpool2d,
    "stochastic_pool2d": _stochastic_pool2d,
    "embedding": _embedding,
    "batchnorm": _batchnorm,
    "layernorm": _layernorm,
    "rmsnorm": _rmsnorm,
    "groupnorm": _groupnorm,
    "rescale": _rescale,
}


_CHANNELS_FIRST = ("batchnorm", "conv2d", "conv_transpose2d", "maxpool2d", "avgpool2d", "stochastic_pool2d", "groupnorm")


def nodes_of(model):
    """(nodes, initializers by name, shape of a sample, axes of the initializers that are turned, shapes of those that have
    others in the model) of a model, from x to y."""
    graph = trace(model, "ONNX")
    writer = _Writer(graph, np.float32)
    writer.run()
    output = writer.name(graph.output, LAST)
    if output == "x":  # a graph must have a node
        output = writer.add("Identity", output)
    return [_renamed(n, output, "y") for n in writer.nodes], writer.initializers, graph.given.shape, writer.turned, writer.shapes


def to_onnx(model, path, opset=18, class_names=None, probabilities=False) -> None:
    """Write a model as an ONNX file.

    The input ``x`` is float32 [batch, in_features], or samples of the shape that `nn.Input` says, any number of them; the first
    output ``y`` is what `predict` gives. Numbers in the file are float32, also those of a float64 model.
    Layers that do nothing in inference are left out; `Rescaling` is in, so the file takes the data that the model takes; weights
    that layers share are in the file once. Nothing but NumPy is needed. `fastnn.io.from_onnx` reads the file back; `onnxruntime`
    runs it::

        session = onnxruntime.InferenceSession("model.onnx")
        y = session.run(["y"], {"x": X.astype(np.float32)})[0]

    Parameters
    ----------
    model : Sequential, or a fitted estimator of fastnn.sklearn
        An estimator's file is that of `fastnn.sklearn.onnx.to_onnx`, with all that it does to a table first, labels and probabilities;
        the other arguments are not for it.
    path : str or os.PathLike
        The file appears whole or not at all.
    opset : int, default 18
        The version of ONNX's operators, from 18 to 24.
    class_names : sequence of str, optional
        One for each output, or two for a single one: kept in the file's metadata, as JSON under ``class_names``.
    probabilities : bool, default False
        Whether there is a second output, ``probabilities``: what `predict_proba` gives.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, a layer emits operations of its own, or the weights are more than the format's 2 GiB.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> model = nn.Sequential(nn.Dense(4, 8, activation="relu"), nn.Dense(8, 3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.onnx")
    ...     fastnn.io.to_onnx(model, path, class_names=["cat", "cow", "dog"])
    ...     again = fastnn.io.from_onnx(path)
    >>> again.predict(np.ones((1, 4))) == model.predict(np.ones((1, 4)))
    array([[ True,  True,  True]])
    """
    own = getattr(model, "to_onnx", None)
    if own is not None:  # an estimator, which knows what it does beside its network
        if (opset, class_names, probabilities) != (18, None, False):
            raise ValueError("opset, class_names, probabilities: expected none of them for an estimator, whose file has both already")
        own(path)
        return
    if isinstance(opset, bool) or opset not in OPSETS:
        raise ValueError(f"opset: expected an integer from {OPSETS[0]} to {OPSETS[-1]}, got {opset!r:.40}")
    nodes, initializers, taken, turned, shapes = nodes_of(model)
    names = _class_names(class_names, model.out_features)
    outputs = [value("y", np.float32, model.out_shape)]
    if probabilities:
        nodes.append(_probabilities(model))
        outputs.append(value("probabilities", np.float32, model.out_shape))
    metadata = {
        "fastnn.version": "1",  # of these metadata
        "fastnn.architecture": json.dumps(model.architecture()),
        "fastnn.axes": json.dumps(turned) if turned else None,
        "fastnn.shapes": json.dumps(shapes) if shapes else None,
        "fastnn.head": model.head,
        "class_names": None if names is None else json.dumps(names, ensure_ascii=False),
    }
    held = sum(a.nbytes for a in initializers.values())
    data = None
    if held <= _LIMIT:
        message = {
            "ir_version": _IR_VERSION,
            "producer_name": "fastnn",
            "producer_version": __version__,
            "graph": {
                "node": nodes,
                "name": "model",
                "initializer": [tensor(name, a) for name, a in initializers.items()],
                "input": [value("x", np.float32, taken)],
                "output": outputs,
            },
            "opset_import": [{"domain": "", "version": int(opset)}],
            "metadata_props": [{"key": k, "value": v} for k, v in metadata.items() if v is not None],
        }
        data = encode(message, MODEL)
    if data is None or len(data) > _LIMIT:
        raise ValueError(
            f"model: expected weights of less than 2 GiB, which is the limit of ONNX files, got {held / 2**30:.2f} GiB"
        )
    with replacing(os.fsdecode(path)) as file:
        file.write(data)


def _renamed(node, old, new):
    """The node with another name for a value."""
    return {**node, **{role: [new if name == old else name for name in node[role]] for role in ("input", "output")}}


def _probabilities(model):
    """The node that makes them of y, as `predict_proba` does."""
    link = model.link()
    kind = {"softmax": "Softmax", "sigmoid": "Sigmoid", None: "Identity"}[link]
    return node(kind, ["y"], ["probabilities"], "probabilities", {"axis": -1} if link == "softmax" else {})


def _class_names(names, outputs):
    if names is None:
        return None
    if isinstance(names, (str, bytes)) or not all(isinstance(n, str) for n in names):
        raise TypeError(f"class_names: expected a sequence of str, got {names!r:.60}")
    expected = 2 if outputs == 1 else outputs
    if len(names) != expected:
        raise ValueError(f"class_names: expected {expected}, got {len(names)}")
    return list(names)
