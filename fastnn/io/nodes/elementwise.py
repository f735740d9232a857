"""What is done with every element, or every row, alone; and other orders and shapes of the same numbers."""

import numpy as np

from ..formulas import FORMULAS
from ..onnx_format import node
from .common import Form, _c_each_row, _c_loop, _c_padded, _c_per_feature, _c_rows, _numpy_array


def _onnx_activation(w, n, x):
    return w.formula(n.settings["name"], n.settings["alpha"], x)


def _onnx_maxout(w, n, x):
    pieces, width = n.settings["pieces"], n.output.columns
    if pieces == 1:
        return w.add("Identity", x)
    names = [w.value() for _ in range(pieces)]
    sizes = w.constant([width] * pieces, np.int64)
    w.nodes.append(node("Split", [x, sizes], names, f"Split_{len(w.nodes)}", {"axis": -1}))
    return w.add("Max", *names)


def _onnx_channels_last(w, n, x):
    axes = range(1, len(n.output.shape) + 1)
    return w.add("Transpose", x, perm=[0, *axes[1:], 1])


def _c_activation(s, n, y, x):
    f, alpha = s.activation(n.settings["name"], n.settings["alpha"])
    whole = n.input in s.padded  # a loop over whole vectors, whatever stands in the last one
    s.padded |= {n.output} if whole else set()
    _c_loop(s, _c_padded(n.output.columns) if whole else n.output.columns, f"{y}[j] = {f}({x}[j]{alpha});")


_SOFTMAX = """\
    $real m = x[0], s = 0;
    for (int j = 1; j < n; j++)
        m = x[j] > m ? x[j] : m;
    for (int j = 0; j < n; j++)
        s += y[j] = exp(x[j] - m);
    for (int j = 0; j < n; j++)
        y[j] /= s;
"""


_LOG_SOFTMAX = """\
    $real m = x[0], s = 0;
    for (int j = 1; j < n; j++)
        m = x[j] > m ? x[j] : m;
    for (int j = 0; j < n; j++)
        s += exp(x[j] - m);
    s = log(s);
    for (int j = 0; j < n; j++)
        y[j] = x[j] - m - s;
"""


def _c_prelu(s, n, y, x):
    slope = s.of(n.arrays["slope"])
    at = "[j]" if n.arrays["slope"].data.size > 1 else "[0]"
    _c_per_feature(s, n, f"{y}[@] = {x}[@] > 0 ? {x}[@] : {slope}{at} * {x}[@];")


def _c_channels_last(s, n, y, x):
    pixels, channels = _c_rows(n)
    s.line(f"for (int i = 0; i < {pixels}; i++)")
    s.line(f"    for (int j = 0; j < {channels}; j++)")
    s.line(f"        {y}[i * {channels} + j] = {x}[j * {pixels} + i];")


def _c_maxout(s, n, y, x):
    size, pieces = n.output.columns, n.settings["pieces"]
    _c_loop(s, size, f"{y}[j] = {x}[j];")
    if pieces > 1:
        s.line(f"for (int k = {size}; k < {pieces * size}; k += {size})")
        s.line(f"    for (int j = 0; j < {size}; j++)")
        s.line(f"        {y}[j] = {x}[k + j] > {y}[j] || {x}[k + j] != {x}[k + j] ? {x}[k + j] : {y}[j];")


def _numpy_activation(n, x):
    alpha = f", {n.settings['alpha']!r}" if "alpha" in FORMULAS[n.settings["name"]].numpy else ""
    return f"{n.settings['name']}({x}{alpha})"


FUNCTIONS = {  # of NumPy
    "softmax": """\
def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
""",
    "log_softmax": """\
def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
""",
    "prelu": """\
def prelu(x, slope):
    return np.where(x > 0, x, slope * x)
""",
    "maxout": """\
def maxout(x, pieces):
    return x.reshape(len(x), pieces, -1).max(axis=1)
""",
}

KINDS = {
    "activation": Form(_onnx_activation, _c_activation, _numpy_activation, in_place=True, elementwise=True),
    "softmax": Form(
        lambda w, n, x: w.add("Softmax", x, axis=-1),
        lambda s, n, y, x: _c_each_row(s, n, "softmax", "", _SOFTMAX, y, x),
        lambda n, x: f"softmax({x})",
        in_place=True,
    ),
    "log_softmax": Form(
        lambda w, n, x: w.add("LogSoftmax", x, axis=-1),
        lambda s, n, y, x: _c_each_row(s, n, "log_softmax", "", _LOG_SOFTMAX, y, x),
        lambda n, x: f"log_softmax({x})",
        in_place=True,
    ),
    "prelu": Form(
        lambda w, n, x: w.add("PRelu", x, w.array(n.arrays["slope"])),
        _c_prelu,
        lambda n, x: f"prelu({x}, {_numpy_array(n, 'slope')})",
        in_place=True,
        elementwise=True,
    ),
    "maxout": Form(_onnx_maxout, _c_maxout, lambda n, x: f"maxout({x}, {n.settings['pieces']})"),
    "add": Form(
        lambda w, n, a, b: w.add("Add", a, b),
        lambda s, n, y, a, b: _c_loop(s, n.output.columns, f"{y}[j] = {a}[j] + {b}[j];"),
        lambda n, a, b: f"{a} + {b}",
        in_place=True,
        elementwise=True,
    ),
    "channels_last": Form(_onnx_channels_last, _c_channels_last, lambda n, x: f"np.moveaxis({x}, 1, -1)"),
    "reshape": Form(
        lambda w, n, x: w.add("Reshape", x, w.constant([0, *n.output.shape], np.int64)),
        lambda s, n, y, x: _c_loop(s, n.output.columns, f"{y}[j] = {x}[j];"),
        lambda n, x: f"{x}.reshape(len(X), {', '.join(map(str, n.output.shape))})",
        in_place=True,
    ),
}
