"""from_onnx: a model from an ONNX file, this package's own or one of others that is a chain of layers it has.

Own files have the architecture in their metadata; the weights are always those of the graph. Where the graph is no longer what the
architecture would give, because another program has changed it, the file is read like any other.
"""

import json
import math
import os
import re
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from .. import nn
from ..core.heads import check_head
from ..core.window import Window
from ..nn.serialization import from_architecture
from .graph import image_order
from .onnx_export import nodes_of
from .onnx_format import MODEL, array, decode

if TYPE_CHECKING:
    from ..nn import Sequential

_OPSETS = range(13, 29)  # of others' files: what their operators meant in between is known here


def from_onnx(path, layers=()) -> "Sequential":
    """Read a model from an ONNX file.

    Files that `to_onnx` wrote give the model that they were made of. Of others' files those can be read whose graph is a chain,
    from one input [batch, features], or images or codes whose sizes are known, to one output, of these operators: Conv,
    ConvTranspose, MaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool, and a first Transpose of images to channels first; Gather (`nn.Embedding`);
    Gemm, MatMul and Add (dense layers); BatchNormalization, LayerNormalization, GroupNormalization, InstanceNormalization; Relu,
    LeakyRelu, PRelu, Elu, Selu, Gelu, Sigmoid,
    Tanh, Softplus, Mish, Clip to -1 and 1, and GELU and SiLU in the parts that PyTorch writes; Softmax, LogSoftmax over the last axis;
    Mul, Div, Add and Sub of numbers in front of the first layer (`nn.Rescaling`); Flatten, Reshape to [-1, features], Identity and
    Dropout.

    Parameters
    ----------
    path : str or os.PathLike
    layers : sequence of classes, optional
        Layer classes of your own that the file may name.

    Returns
    -------
    Sequential

    Raises
    ------
    ValueError
        If the file is truncated or no ONNX model, its numbers do not agree with their sizes, it is of an opset that is not known,
        or it has an operator or a connection that no chain of layers here has: the message names node and operator.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> model = nn.Sequential(nn.Dense(4, 8), nn.BatchNorm(8), nn.Activation("gelu"), nn.Dense(8, 3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.onnx")
    ...     fastnn.io.to_onnx(model, path)
    ...     fastnn.io.from_onnx(path)
    Sequential(
      Dense(in_features=4, out_features=8, activation='identity', bias=True),
      BatchNorm(features=8, momentum=0.1, eps=1e-05, affine=True),
      Activation(name='gelu'),
      Dense(in_features=8, out_features=3, activation='identity', bias=True),
    )
    """
    name = os.fsdecode(path)
    with open(name, "rb") as file:
        data = file.read()

    def refuse(why):
        return ValueError(f"{name!r}: expected an ONNX model that can be read, got {why}")

    try:
        message = decode(memoryview(data), MODEL)
        graph = message.get("graph")
        if graph is None or not message["opset_import"] or not graph["node"]:
            raise ValueError("no graph of operators")
        arrays = {t.get("name", ""): array(t) for t in graph["initializer"]}
        metadata = {e.get("key"): e.get("value", "") for e in message["metadata_props"]}
        opset = next((o.get("version", 0) for o in message["opset_import"] if o.get("domain", "") in ("", "ai.onnx")), 0)
        if graph["sparse_initializer"]:
            raise ValueError("sparse weights")
    except (ValueError, OverflowError, RecursionError) as error:
        raise refuse(f"bytes that are none ({error})") from None
    try:
        model = _own(graph, metadata, dict(arrays), layers)
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise refuse(f"an architecture of fastnn's that does not fit together: {error}") from None
    if model is not None:
        return model
    if opset not in _OPSETS:
        raise refuse(f"operators of version {opset}, while {_OPSETS[0]} to {_OPSETS[-1]} are known")
    try:
        return _Chain(graph, arrays).model()
    except (TypeError, ValueError) as error:
        raise refuse(str(error)) from None


def _own(graph, metadata, arrays, layers):
    """The model of a file that `to_onnx` wrote; None for another's, and where the graph is not that of the architecture."""
    if "fastnn.architecture" not in metadata:
        return None
    if metadata.get("fastnn.version") != "1":
        raise ValueError(f"metadata of version {metadata.get('fastnn.version')!r:.40}, while this fastnn reads 1")
    for name, axes in json.loads(metadata.get("fastnn.axes", "{}")).items():  # those of PyTorch's and ONNX's order
        arrays[name] = arrays[name].transpose(np.argsort(axes))
    for name, shape in json.loads(metadata.get("fastnn.shapes", "{}")).items():
        arrays[name] = arrays[name].reshape(shape)
    model = from_architecture(metadata["fastnn.architecture"], {name: a.shape for name, a in arrays.items()}, layers)
    missing, _ = model.load_state_dict(arrays, strict=False)
    nodes, needed, _, turned, shapes = nodes_of(model)
    for name, axes in turned.items():  # as `arrays` are
        needed[name] = needed[name].transpose(np.argsort(axes))
    for name, shape in shapes.items():
        needed[name] = needed[name].reshape(shape)
    if [_shown(n) for n in graph["node"] if n["output"][:1] != ["probabilities"]] != [_shown(n) for n in nodes]:
        return None
    state = model.state_dict()
    if any(name not in state and not np.array_equal(arrays.get(name), a) for name, a in needed.items()):
        return None  # constants that another program has changed
    if any(name in needed for name in missing):
        raise ValueError(f"no weights {missing}")
    if "fastnn.head" in metadata:
        check_head(metadata["fastnn.head"])
        model.head = metadata["fastnn.head"]
    return model


def _shown(node):
    """What a node says, to compare."""
    attributes = {a.get("name"): {k: v for k, v in a.items() if v not in ([], None) and k != "type"} for a in node["attribute"]}
    for a in attributes.values():
        if "f" in a:
            a["f"] = float(np.float32(a["f"]))
    return node.get("op_type"), node["input"], node["output"], attributes


class _Refused(ValueError):
    """A node that no layer here is."""


# Activations that other programs write as several operators, x being what the first of them takes; numbers in four digits,
# arguments of + and x sorted.
_PATTERNS = {
    "Mul(Sigmoid(x),x)": "silu",
    "Mul(0.5,Mul(Add(1,Erf(Div(x,1.414))),x))": "gelu",
    "Mul(Add(1,Erf(Div(x,1.414))),Mul(0.5,x))": "gelu",
    "Mul(0.5,Mul(Add(1,Erf(Mul(0.7071,x))),x))": "gelu",
}
_PARTS = {part for whole in _PATTERNS for part in re.findall(r"\w+(?=\()", whole)}  # operators in them


class _Chain:
    """Layers of a graph's nodes, each of which takes what the one before it made."""

    def __init__(self, graph, arrays):
        self.graph, self.arrays, self.layers = graph, dict(arrays), []
        self.computes = False  # whether a layer has, so that numbers are no longer those of a Rescaling
        self.current = None  # the value that the next layer takes
        self.shape = None  # of a sample of it, as the layers have it, channels last; where that is known
        self.order = None  # of a vector that was an image: see `image_order`
        self.parts = {}  # values made of it that are not yet an activation: what they are, as in _PATTERNS

    def model(self):
        inputs = [v for v in self.graph["input"] if v.get("name") not in self.arrays]
        if len(inputs) != 1 or len(self.graph["output"]) != 1:
            raise ValueError(f"a graph of {len(inputs)} inputs and {len(self.graph['output'])} outputs, where a chain has one each")
        self.current = inputs[0].get("name")
        self.uses = Counter(name for node in self.graph["node"] for name in set(node["input"]))
        self.begin(inputs[0])
        for node in self.graph["node"]:
            where = f"node {node.get('name') or (node['output'] or ['?'])[0]!r:.60} ({node.get('op_type', '?')!s:.40})"
            try:
                self.read(node)
            except (TypeError, ValueError, IndexError, OverflowError) as error:
                raise _Refused(f"{where}: {error}") from None
        if self.current != self.graph["output"][0].get("name"):
            raise ValueError(f"a graph whose output is not what its last node makes, {self.current!r:.60}")
        return nn.Sequential(*self.layers)

    def begin(self, given):
        """Say what the input is, where layers must know."""
        dims = [d.get("dim_value") for d in given.get("type", {}).get("tensor_type", {}).get("shape", {}).get("dim", [])][1:]
        kinds = [node.get("op_type") for node in self.graph["node"]]
        images = len(dims) == 3 and any(kind in _IMAGES for kind in kinds)
        if not images and "Gather" not in kinds:
            return
        if not dims or not all(type(n) is int and n > 0 for n in dims):
            raise ValueError(f"an input of shape {dims!r:.80}, where all sizes but the number of rows must be known for {kinds[0]}")
        turned = images and kinds[0] == "Transpose"  # of TensorFlow's, which begins with the channels last
        self.layers.append(nn.Input(*dims, data_format="channels_first" if images and not turned else "channels_last"))
        self.shape = self.layers[0].in_shape

    def read(self, node):
        kind = node.get("op_type") if node.get("domain", "") in ("", "ai.onnx") else None
        attributes = {a.get("name"): a for a in node["attribute"]}
        if not node["output"]:
            raise _Refused("expected an output, got none")
        if kind == "Constant":
            self.arrays[node["output"][0]] = _constant(attributes)
            return
        flowing = [i for i in node["input"] if i and i not in self.arrays]
        numbers = [self.arrays.get(i) if i else None for i in node["input"]]  # None where the data stand
        if kind == "Identity" and not flowing:
            self.arrays[node["output"][0]] = numbers[0]
            return
        if (
            kind in _PARTS
            and flowing
            and set(flowing) <= {self.current, *self.parts}
            and (self.uses[self.current] > 1 or self.parts)
        ):
            self.part(kind, node, numbers)
            return
        if flowing != [self.current]:
            raise _Refused(f"expected it to take {self.current!r}, what the layer before it made, and numbers, got {flowing!r:.80}")
        if kind not in READERS:
            raise _Refused("an operator that no layer here is")
        READERS[kind](self, numbers, attributes)
        self.current = node["output"][0]

    def part(self, kind, node, numbers):
        """An operator of an activation that has several."""
        texts = []
        for name, a in zip(node["input"], numbers):
            if a is not None and a.size != 1:
                raise _Refused("an operator that no layer here is, of arrays")
            texts.append("x" if name == self.current else self.parts[name] if a is None else f"{a.item():.4g}")
        text = f"{kind}({','.join(sorted(texts) if kind in ('Add', 'Mul') else texts)})"
        if text in _PATTERNS:
            self.put(nn.Activation(_PATTERNS[text]))
            self.current, self.parts = node["output"][0], {}
        elif not any(text in whole for whole in _PATTERNS):
            raise _Refused(f"an operator that no layer here is, part of {text}")
        else:
            self.parts[node["output"][0]] = text

    def put(self, layer, **values):
        """Append a layer, its parameters by name."""
        for name, v in values.items():
            p = getattr(layer, name)
            if v.dtype.kind != "f":
                raise _Refused(f"expected floating-point numbers for its {name}, got {v.dtype}")
            p.data = v if self.order is None or v.shape[:1] != self.order.shape else v[np.argsort(self.order)]
        if self.shape is not None:
            self.shape = layer.output_shape(self.shape)
        if isinstance(layer, nn.Dense):
            self.order = None
        self.layers.append(layer)
        self.computes = self.computes or not isinstance(layer, (nn.Flatten, nn.Rescaling))


def _constant(attributes):
    if "t" not in attributes.get("value", {}):
        raise _Refused("expected its value as a tensor")
    return array(attributes["value"]["t"])


def _given(numbers, at, ndim, what):
    a = numbers[at] if at < len(numbers) else None
    if a is None or a.ndim != ndim:
        raise _Refused(f"expected {what} as an array of {ndim} dimensions in the file, got {'none' if a is None else a.shape}")
    return a


def _number(attributes, name, default, field="f"):
    """An attribute: of a float the shortest number that is the same in float32, such as 1e-05."""
    if name not in attributes:
        return default
    value = attributes[name].get(field, 0)
    return float(str(np.float32(value))) if field == "f" else value


def _gemm(chain, numbers, attributes):
    w = _given(numbers, 1, 2, "weights")
    if _number(attributes, "transA", 0, "i") or _number(attributes, "alpha", 1.0) != 1 or _number(attributes, "beta", 1.0) != 1:
        raise _Refused("expected transA 0, alpha 1 and beta 1")
    w = w.T if _number(attributes, "transB", 0, "i") else w
    bias = numbers[2] if len(numbers) > 2 else None
    chain.put(nn.Dense(*w.shape, bias=bias is not None, init="zeros"), weight=w)
    if bias is not None:
        chain.layers[-1].bias.data = np.broadcast_to(bias.reshape(-1) if bias.ndim == 2 else bias, (w.shape[1],))


def _matmul(chain, numbers, attributes):
    chain.put(nn.Dense(*_given(numbers, 1, 2, "weights").shape, bias=False, init="zeros"), weight=numbers[1])


def _arithmetic(kind):
    """Add, Sub, Mul, Div of numbers: the bias of the dense layer before, or a Rescaling before the first that computes."""

    def read(chain, numbers, attributes):
        a = numbers[1] if numbers[0] is None else numbers[0]
        if a is None or (numbers[0] is not None and kind in ("Sub", "Div")) or a.ndim > 2 or a.ndim == 2 and len(a) != 1:
            raise _Refused("expected the data, and a number or one for each feature")
        a = a.astype(np.float64).reshape(-1)
        last = chain.layers[-1] if chain.layers else None
        if kind in ("Add", "Sub") and isinstance(last, nn.Dense) and last.bias is None and last.activation == "identity":
            layer = nn.Dense(last.in_features, last.out_features, init="zeros")
            layer.weight.data, layer.bias.data = last.weight.data, np.broadcast_to(a if kind == "Add" else -a, layer.bias.shape)
            chain.layers[-1] = layer
            return
        if chain.computes:
            raise _Refused("expected a dense layer without a bias before it, or no layer that computes")
        value = a.item() if a.size == 1 else a
        with np.errstate(all="ignore"):
            scale = {"Mul": value, "Div": np.float64(1) / value}.get(kind, 1.0)
        chain.put(nn.Rescaling(scale, {"Add": value, "Sub": -value}.get(kind, 0.0)))

    return read


def _window(attributes, kernel, shape=None):
    """stride, padding, and so on as layers take them; shape: of what a convolution or a pooling is over."""
    kind = bytes(_number(attributes, "auto_pad", b"NOTSET", "s")).decode()
    if kind not in ("NOTSET", "VALID", "SAME_UPPER") and (kind != "SAME_LOWER" or shape is None):
        raise _Refused(f"expected padding that is given, VALID or SAME_UPPER, got {kind!r:.40}")
    if len(kernel) != 2:
        raise _Refused("expected images of two dimensions")
    stride = tuple(_number(attributes, "strides", [1, 1], "ints"))
    pads = tuple(_number(attributes, "pads", [0, 0, 0, 0], "ints"))
    if kind == "SAME_LOWER":  # the larger half first
        dilation = tuple(_number(attributes, "dilations", [1, 1], "ints"))
        upper = Window.over(shape, tuple(kernel), stride, "same", dilation)
        pads = (upper.pad_bottom, upper.pad_right, upper.pad_top, upper.pad_left)
    return {"kernel_size": tuple(kernel), "stride": stride, "padding": "same" if kind == "SAME_UPPER" else pads}


def _convolution(numbers, attributes):
    """(weights, groups, {"bias": bias} or nothing, dilation)"""
    w = _given(numbers, 1, 4, "weights").transpose(2, 3, 1, 0)
    groups, bias = _number(attributes, "group", 1, "i"), {}
    if len(numbers) > 2 and numbers[2] is not None:
        bias = {"bias": _given(numbers, 2, 1, "its bias")}
    return w, groups, bias, tuple(_number(attributes, "dilations", [1, 1], "ints"))


def _conv(chain, numbers, attributes):
    w, groups, bias, dilation = _convolution(numbers, attributes)
    how = {**_window(attributes, w.shape[:2], chain.shape), "dilation": dilation, "groups": groups}
    chain.put(nn.Conv2d(w.shape[2] * groups, w.shape[3], **how, bias=bool(bias), init="zeros"), weight=w, **bias)


def _conv_transpose(chain, numbers, attributes):
    w, groups, bias, dilation = _convolution(numbers, attributes)
    more = tuple(_number(attributes, "output_padding", [0, 0], "ints"))
    how = {**_window(attributes, w.shape[:2]), "dilation": dilation, "groups": groups}
    wanted = _number(attributes, "output_shape", None, "ints")
    if wanted is not None:
        how["padding"], more = _taken_off(chain.shape, wanted, how, more)
    layer = nn.ConvTranspose2d(w.shape[3], w.shape[2] * groups, **how, output_padding=more, bias=bool(bias), init="zeros")
    chain.put(layer, weight=w, **bias)


def _taken_off(shape, wanted, how, more):
    """(padding, output padding) with which a transposed convolution gives images of the size that is wanted."""
    sides, added = [], []
    for n, size, k, s, d, extra in zip(shape, wanted, how["kernel_size"], how["stride"], how["dilation"], more):
        total = (n - 1) * s + d * (k - 1) + 1 + extra - size
        half = max(total, 0) // 2
        sides.append((half, max(total, 0) - half) if how["padding"] == "same" else (max(total, 0) - half, half))
        added.append(extra - min(total, 0))
    return (sides[0][0], sides[1][0], sides[0][1], sides[1][1]), tuple(added)


def _pool(kind):
    def read(chain, numbers, attributes):
        dilation = tuple(_number(attributes, "dilations", [1, 1], "ints"))
        if any(d != 1 for d in dilation) and kind != "MaxPool2d" or _number(attributes, "storage_order", 0, "i"):
            raise _Refused("expected no dilation of a mean, in the order of rows")
        how = _window(attributes, _number(attributes, "kernel_shape", [], "ints"), chain.shape)
        how["ceil_mode"] = bool(_number(attributes, "ceil_mode", 0, "i"))
        if kind == "MaxPool2d":
            how["dilation"] = dilation
        if kind == "AvgPool2d":
            how["count_include_pad"] = bool(_number(attributes, "count_include_pad", 0, "i"))
        chain.put(getattr(nn, kind)(**how))

    return read


def _transpose(chain, numbers, attributes):
    """Of TensorFlow's images to ONNX's order, as the first node."""
    if len(chain.layers) != 1 or _number(attributes, "perm", [], "ints") != [0, 3, 1, 2]:
        raise _Refused("expected it first, from channels last to channels first")


def _gather(chain, numbers, attributes):
    if _number(attributes, "axis", 0, "i") != 0:
        raise _Refused("expected rows of a table")
    table = _given(numbers, 0, 2, "a table")
    chain.put(nn.Embedding(*table.shape, init="zeros"), weight=table)


def _batchnorm(chain, numbers, attributes):
    scale, bias, mean, var = (_given(numbers, at, 1, "its statistics") for at in range(1, 5))
    layer = nn.BatchNorm(len(scale), eps=_number(attributes, "epsilon", 1e-5))
    chain.put(layer, weight=scale, bias=bias, running_mean=mean, running_var=var)


def _groupnorm(chain, numbers, attributes):
    groups = _number(attributes, "num_groups", 0, "i")
    scale, bias = (_given(numbers, at, 1, "its scale and bias") for at in (1, 2))
    channels = chain.shape[-1] if chain.shape else len(scale)
    if len(scale) == len(bias) == groups != channels:  # up to opset 20 there is one for each group
        scale, bias = np.repeat(scale, channels // groups), np.repeat(bias, channels // groups)
    chain.put(nn.GroupNorm(groups, channels, _number(attributes, "epsilon", 1e-5)), weight=scale, bias=bias)


def _instancenorm(chain, numbers, attributes):
    scale, bias = (_given(numbers, at, 1, "its scale and bias") for at in (1, 2))
    chain.put(nn.GroupNorm(len(scale), len(scale), _number(attributes, "epsilon", 1e-5)), weight=scale, bias=bias)


def _layernorm(chain, numbers, attributes):
    if _number(attributes, "axis", -1, "i") not in (-1, 1):
        raise _Refused("expected it over the last axis")
    scale = _given(numbers, 1, 1, "its scale")
    layer = nn.LayerNorm(len(scale), eps=_number(attributes, "epsilon", 1e-5))
    given = {"bias": _given(numbers, 2, 1, "its bias")} if len(numbers) > 2 and numbers[2] is not None else {}
    chain.put(layer, weight=scale, **given)


def _activation(name, attribute=None, default=None):
    def read(chain, numbers, attributes):
        chain.put(nn.Activation(name, _number(attributes, attribute, default) if attribute else None))

    return read


def _rowwise(layer):
    def read(chain, numbers, attributes):
        if _number(attributes, "axis", -1, "i") not in (-1, 1):
            raise _Refused("expected it over the last axis")
        chain.put(layer())

    return read


def _gelu(chain, numbers, attributes):
    kind = bytes(_number(attributes, "approximate", b"none", "s"))
    chain.put(nn.GELU(kind.decode()))


def _selu(chain, numbers, attributes):
    if abs(_number(attributes, "alpha", 1.67326) - 1.67326) > 1e-4 or abs(_number(attributes, "gamma", 1.0507) - 1.0507) > 1e-4:
        raise _Refused("expected the constants of its paper")
    chain.put(nn.Activation("selu"))


def _clip(chain, numbers, attributes):
    if [a is not None and a.size == 1 and float(a.reshape(())) for a in numbers[1:3]] != [-1.0, 1.0]:
        raise _Refused("expected limits of -1 and 1")
    chain.put(nn.Activation("hard_tanh"))


def _prelu(chain, numbers, attributes):
    slope, at = numbers[1], -3 if chain.shape is not None and len(chain.shape) == 3 else -1  # the channels of images come first
    if slope is None or slope.size > 1 and (slope.ndim < -at or slope.size != slope.shape[at]):
        raise _Refused("expected one slope, or one for each feature")
    chain.put(nn.PReLU(slope.size), slope=slope.reshape(-1))


def _flatten(chain, numbers, attributes):
    shape = numbers[1].reshape(-1).tolist() if len(numbers) > 1 and numbers[1] is not None else [0, -1]  # of a Reshape
    if _number(attributes, "axis", 1, "i") != 1 or len(shape) != 2 or shape[0] not in (-1, 0):
        raise _Refused("expected it of all axes but that of the rows")
    if chain.shape is not None:
        order = image_order(chain.shape) if len(chain.shape) > 2 else None  # what Gather has made is in one order everywhere
        chain.shape = (math.prod(chain.shape),)
        chain.order = chain.order if order is None else order
        chain.layers.append(nn.Flatten())
    elif not chain.computes and not any(layer.in_features for layer in chain.layers):
        chain.layers.insert(0, nn.Flatten())
    else:
        raise _Refused("expected it behind images, or before the first layer that computes")


def _nothing(chain, numbers, attributes):
    """What does nothing in inference."""


_IMAGES = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "BatchNormalization",
           "GroupNormalization", "InstanceNormalization")  # fmt: skip

READERS = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _pool("MaxPool2d"),
    "AveragePool": _pool("AvgPool2d"),
    "GlobalAveragePool": lambda chain, numbers, attributes: chain.put(nn.GlobalAvgPool2d()),
    "GlobalMaxPool": lambda chain, numbers, attributes: chain.put(nn.GlobalMaxPool2d()),
    "Transpose": _transpose,
    "Gather": _gather,
    "Gemm": _gemm,
    "MatMul": _matmul,
    **{kind: _arithmetic(kind) for kind in ("Add", "Sub", "Mul", "Div")},
    "BatchNormalization": _batchnorm,
    "LayerNormalization": _layernorm,
    "GroupNormalization": _groupnorm,
    "InstanceNormalization": _instancenorm,
    "Relu": _activation("relu"),
    "Sigmoid": _activation("sigmoid"),
    "Tanh": _activation("tanh"),
    "LeakyRelu": _activation("leaky_relu", "alpha", 0.01),
    "Elu": _activation("elu", "alpha", 1.0),
    "Softplus": _activation("softplus"),
    "Mish": _activation("mish"),
    "Selu": _selu,
    "Gelu": _gelu,
    "Clip": _clip,
    "PRelu": _prelu,
    "Softmax": _rowwise(nn.Softmax),
    "LogSoftmax": _rowwise(nn.LogSoftmax),
    "Flatten": _flatten,
    "Reshape": _flatten,
    "Identity": _nothing,
    "Dropout": _nothing,
}
