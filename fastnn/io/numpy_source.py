"""A model's graph as a Python module that needs NumPy alone, with its weights in an .npz file beside it."""

from collections import Counter

import numpy as np

from .._version import __version__
from .formulas import FORMULAS
from .graph import pads

_FUNCTIONS = {  # that a module may need, beside the activations
    "erfc": "erfc = np.vectorize(math.erfc, otypes=[float])\n",
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
    "layernorm": """\
def layernorm(x, eps):
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
""",
    "windows": """\
def windows(x, kernel, stride=(1, 1), dilation=(1, 1), pads=(0, 0, 0, 0), fill=0.0):
    \"\"\"[rows, height, width, channels, *kernel]: what the kernel sees of each image; pads: top, left, bottom, right.\"\"\"
    top, left, bottom, right = pads
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    seen = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(1, 2))
    return seen[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]
""",
    "conv2d": """\
def conv2d(x, w, groups=1, **how):
    parts = zip(np.split(x, groups, axis=-1), np.split(w, groups, axis=-1))
    return np.concatenate([np.tensordot(windows(a, w.shape[:2], **how), b, ((4, 5, 3), (0, 1, 2))) for a, b in parts], axis=-1)
""",
    "conv_transpose2d": """\
def conv_transpose2d(x, w, size, groups=1, stride=(1, 1), dilation=(1, 1), corner=(0, 0)):
    \"\"\"What a convolution's outputs are made of: images of this size, `corner` being what is taken off at the top and at the left.\"\"\"
    rows, height, width, _ = x.shape
    ends = [s * (n - 1) + 1 for s, n in zip(stride, (height, width))]
    sides = [max(end + d * (k - 1), c + n) for end, d, k, c, n in zip(ends, dilation, w.shape, corner, size)]
    parts = list(zip(np.split(x, groups, axis=-1), np.split(w, groups, axis=-1)))
    y = np.zeros((rows, *sides, w.shape[2] * groups))
    for u in range(w.shape[0]):
        for v in range(w.shape[1]):
            i, j = u * dilation[0], v * dilation[1]
            y[:, i : i + ends[0] : stride[0], j : j + ends[1] : stride[1]] += np.concatenate([a @ b[u, v].T for a, b in parts], axis=-1)
    return y[:, corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]]
""",
    "maxpool2d": """\
def maxpool2d(x, kernel, **how):
    return windows(x, kernel, fill=-np.inf, **how).max(axis=(-2, -1))
""",
    "avgpool2d": """\
def avgpool2d(x, kernel, count, **how):
    return windows(x, kernel, **how).sum(axis=(-2, -1)) / count
""",
    "stochastic_pool2d": """\
def stochastic_pool2d(x, kernel, **how):
    a = windows(np.maximum(x, 0), kernel, **how)
    total = a.sum(axis=(-2, -1))
    return (a * a).sum(axis=(-2, -1)) / np.where(total == 0, 1, total)
""",
    "groupnorm": """\
def groupnorm(x, groups, eps):
    parts = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    parts = parts - parts.mean(axis=(1, 3), keepdims=True)
    return (parts / np.sqrt((parts * parts).mean(axis=(1, 3), keepdims=True) + eps)).reshape(x.shape)
""",
    "embed": """\
def embed(codes, table, unknown):
    n = len(table) - unknown
    known = (codes >= 0) & (codes < n) & (codes == np.floor(codes))
    if not (unknown or known.all()):
        raise ValueError(f"expected codes from 0 to {n - 1}, whole numbers, got others")
    return table[np.where(known, codes, n).astype(int)].reshape(len(codes), -1)
""",
    "rmsnorm": """\
def rmsnorm(x, eps):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
""",
}

_HEADER = '''\
"""A model that fastnn {version} wrote: {shape}.

predict(X) takes {taken}, computes in float64 and gives {dtype} {given}.
The weights are in {weights}, beside this file.
"""

{imports}
import numpy as np

{load}\
'''

_LOAD = """\
with np.load(Path(__file__).with_suffix(".npz")) as file:
    W = {name: file[name].astype(float) for name in file}
"""


def _array(n, role):
    return f'W["{n.arrays[role].name}"]'


def _affine(n, y):
    y = f"{y} * {_array(n, 'w')}" if "w" in n.arrays else y
    return f"{y} + {_array(n, 'b')}" if "b" in n.arrays else y


def _dense(n, x):
    y = f"{x} @ {_array(n, 'w')}{'.T' if n.settings['transposed'] else ''}"
    return f"{y} + {_array(n, 'b')}" if "b" in n.arrays else y


def _activation(n, x):
    alpha = f", {n.settings['alpha']!r}" if "alpha" in FORMULAS[n.settings["name"]].numpy else ""
    return f"{n.settings['name']}({x}{alpha})"


def _batchnorm(n, x):
    return _affine(n, f"({x} - {_array(n, 'mean')}) / np.sqrt({_array(n, 'var')} + {n.settings['eps']!r})")


def _geometry(n):
    """The arguments of `windows` that are not its defaults."""
    w = n.settings["window"]
    found = {"stride": (w.stride_y, w.stride_x), "dilation": (w.dilation_y, w.dilation_x), "pads": pads(w)}
    return "".join(f", {name}={value}" for name, value in found.items() if value not in ((1, 1), (0, 0, 0, 0)))


def _conv2d(n, x):
    groups = n.settings["window"].groups
    y = f"conv2d({x}, {_array(n, 'w')}{f', groups={groups}' if groups > 1 else ''}{_geometry(n)})"
    return f"{y} + {_array(n, 'b')}" if "b" in n.arrays else y


def _conv_transpose2d(n, x):
    o = n.settings["window"]
    corner = f", corner={(o.pad_top, o.pad_left)}" if o.pad_top or o.pad_left else ""
    found = {"groups": o.groups, "stride": (o.stride_y, o.stride_x), "dilation": (o.dilation_y, o.dilation_x)}
    how = "".join(f", {name}={value}" for name, value in found.items() if value not in (1, (1, 1))) + corner
    y = f"conv_transpose2d({x}, {_array(n, 'w')}, {(o.height, o.width)}{how})"
    return f"{y} + {_array(n, 'b')}" if "b" in n.arrays else y


def _pool(n, x):
    w = n.settings["window"]
    count = f", {_array(n, 'count') if 'count' in n.arrays else n.settings['count']}" if n.kind == "avgpool2d" else ""
    return f"{n.kind}({x}, {(w.kernel_height, w.kernel_width)}{count}{_geometry(n)})"


def _embedding(n, x):
    parts, first = [], 0
    for i, columns in enumerate(n.settings["columns"]):
        part = f"{x}[:, {first}:{first + columns}]"
        first += columns
        parts.append(f"embed({part}, {_array(n, f'w{i}')}, {n.settings['unknown']})" if f"w{i}" in n.arrays else part)
    y = parts[0] if len(parts) == 1 else f"np.concatenate([{', '.join(parts)}], axis=1)"
    return y if len(n.output.shape) == 1 else f"{y}.reshape(len(X), {', '.join(map(str, n.output.shape))})"


def _rescale(n, x):
    x = f"({x} - {_array(n, 'mean')})" if n.arrays["mean"].data.any() else x
    y = f"{x} * {_array(n, 'scale')}"
    return f"{y} + {_array(n, 'shift')}" if "shift" in n.arrays else y


# The expression that computes each kind of node. Of those that begin with a call the argument may be any expression.
KINDS = {
    "dense": _dense,
    "activation": _activation,
    "softmax": lambda n, x: f"softmax({x})",
    "log_softmax": lambda n, x: f"log_softmax({x})",
    "prelu": lambda n, x: f"prelu({x}, {_array(n, 'slope')})",
    "maxout": lambda n, x: f"maxout({x}, {n.settings['pieces']})",
    "add": lambda n, a, b: f"{a} + {b}",
    "channels_last": lambda n, x: f"np.moveaxis({x}, 1, -1)",
    "reshape": lambda n, x: f"{x}.reshape(len(X), {', '.join(map(str, n.output.shape))})",
    "conv2d": _conv2d,
    "conv_transpose2d": _conv_transpose2d,
    "maxpool2d": _pool,
    "avgpool2d": _pool,
    "stochastic_pool2d": _pool,
    "groupnorm": lambda n, x: _affine(n, f"groupnorm({x}, {n.settings['groups']}, {n.settings['eps']!r})"),
    "embedding": _embedding,
    "batchnorm": _batchnorm,
    "layernorm": lambda n, x: _affine(n, f"layernorm({x}, {n.settings['eps']!r})"),
    "rmsnorm": lambda n, x: _affine(n, f"rmsnorm({x}, {n.settings['eps']!r})"),
    "rescale": _rescale,
}
_CALLS = ("conv2d", "maxpool2d", "avgpool2d", "stochastic_pool2d", "activation", "softmax", "log_softmax", "prelu", "maxout",
          "layernorm", "rmsnorm", "groupnorm")  # fmt: skip


def _functions(n):
    """The names of the functions that a node calls, those that they call first."""
    if n.kind == "activation":
        name = n.settings["name"]
        return ["erfc", name] if "erfc(" in FORMULAS[name].numpy else [name]
    if n.kind in ("conv2d", "maxpool2d", "avgpool2d", "stochastic_pool2d"):
        return ["windows", n.kind]
    return ["embed"] if n.kind == "embedding" else [n.kind] if n.kind in _FUNCTIONS else []


def _defined(name):
    if name in FORMULAS:
        text = FORMULAS[name].numpy
        return f"def {name}(x{', alpha' if 'alpha' in text else ''}):\n    return {text}\n"
    return _FUNCTIONS[name]


def _body(graph):
    """The lines that compute `x` from `x`, step by step."""
    uses = Counter(v for n in graph.nodes for v in n.inputs)
    lines, names, waiting = [], {graph.given: "x"}, {}  # waiting: expressions that the only node that uses them will hold
    variables = 0
    for i, n in enumerate(graph.nodes):
        inputs = [waiting.pop(v) if v in waiting else names[v] for v in n.inputs]
        text = KINDS[n.kind](n, *inputs)
        after = graph.nodes[i + 1] if i + 1 < len(graph.nodes) else None
        if after is not None and uses[n.output] == 1 and after.inputs == (n.output,) and after.kind in _CALLS and len(text) < 70:
            waiting[n.output] = text
            continue
        if len(n.inputs) == 1 and uses[n.input] == 1 and n.input in names:
            name = names[n.input]  # which nothing else needs
        else:
            variables += 1
            name = f"h{variables}"
        names[n.output] = name
        lines.append(f"    {name} = {text}  # {n.layer}")
    return lines, names[graph.output]


def _rows(shape):
    return ", ".join(map(str, ("rows", *shape)))


def numpy_source(graph, dtype, beside):
    """The text of the module; `beside`: the name of the file of its weights."""
    used = list(dict.fromkeys(name for n in graph.nodes for name in _functions(n)))
    lines, output = _body(graph)
    taken, given = f"[{_rows(graph.given.shape)}]", f"[{_rows(graph.output.shape)}]"
    imports = "import math\nfrom pathlib import Path\n" if "erfc" in used else "from pathlib import Path\n"
    shape = f"{graph.given.columns} -> {graph.output.columns}"
    header = {"version": __version__, "shape": shape, "taken": taken, "given": given, "dtype": dtype, "weights": beside}
    parts = [_HEADER.format(**header, imports=imports, load=_LOAD)]
    parts += [f"\n{_defined(name)}" if name == "erfc" else f"\n\n{_defined(name)}" for name in used]
    parts.append(
        f'\n\ndef predict(X):\n    """The model\'s outputs, {dtype} {given}, for X {taken}."""\n'
        f"    x = np.asarray(X, float).reshape(len(X), {', '.join(map(str, graph.given.shape))})\n"
        + "".join(f"{line}\n" for line in lines)
        + f"    return {output}.astype(np.{dtype})\n"
    )
    return "".join(parts)


def weights(graph):
    """The arrays of a graph by name, as the module's file holds them: parameters as they are, constants in float64."""
    return {a.name: np.asarray(a.data) for a in graph.arrays}


def evaluate(source, arrays, X):
    """What the module's predict gives, with the weights given here in place of a file's."""
    text = source.replace(_LOAD, "")
    namespace = {"W": {name: np.asarray(a, np.float64) for name, a in arrays.items()}}
    exec(compile(text, "<the module that to_numpy makes>", "exec"), namespace)  # our own text
    with np.errstate(all="ignore"):
        return namespace["predict"](X)
