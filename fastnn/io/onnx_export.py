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
from .graph import trace
from .nodes import KINDS
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
        form = KINDS[n.kind]
        elementwise = form.elementwise and all(a.data.size == 1 for a in n.arrays.values())
        return FIRST if form.channels_first else next(iter(self.names[n.input])) if elementwise else LAST

    def run(self):
        for n in self.graph.nodes:
            layout = self.layout(n)
            made = KINDS[n.kind].onnx(self, n, *(self.name(v, layout) for v in n.inputs))
            self.names[n.output] = {layout: made}


def nodes_of(model):
    """(nodes, initializers by name, shape of a sample, axes of the initializers that are turned, shapes of those that have
    others in the model) of a model, from x to y."""
    graph = trace(model, "ONNX")
    writer = _Writer(graph, np.float32)
    writer.run()
    for name, p in model.named_parameters():  # also of which nodes hold only what was made of them
        writer.initializers.setdefault(name, np.asarray(p.data, np.float32))
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
