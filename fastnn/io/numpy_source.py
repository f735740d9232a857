"""to_numpy: a model as a Python module that needs NumPy alone, with its weights in an .npz file beside it."""

import os
from collections import Counter

import numpy as np

from .._version import __version__
from ..core.atomic_files import replacing
from .formulas import FORMULAS
from .graph import difference, sample_rows, trace

_TOLERANCE = 1e-4  # a written model whose outputs differ by more is wrong, not rounded

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
    "batchnorm": _batchnorm,
    "layernorm": lambda n, x: _affine(n, f"layernorm({x}, {n.settings['eps']!r})"),
    "rmsnorm": lambda n, x: _affine(n, f"rmsnorm({x}, {n.settings['eps']!r})"),
    "rescale": _rescale,
}
_CALLS = ("activation", "softmax", "log_softmax", "prelu", "maxout", "layernorm", "rmsnorm")


def _function(n):
    """The name of the function that a node calls, or None."""
    return n.settings["name"] if n.kind == "activation" else n.kind if n.kind in _FUNCTIONS else None


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
        if after is not None and uses[n.output] == 1 and after.inputs == (n.output,) and after.kind in _CALLS and len(text) < 90:
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
    used = [name for name in dict.fromkeys(_function(n) for n in graph.nodes) if name]
    more = ["erfc"] if any("erfc(" in FORMULAS[name].numpy for name in used if name in FORMULAS) else []
    lines, output = _body(graph)
    taken, given = f"[{_rows(graph.given.shape)}]", f"[{_rows(graph.output.shape)}]"
    imports = "import math\nfrom pathlib import Path\n" if more else "from pathlib import Path\n"
    shape = f"{graph.given.columns} -> {graph.output.columns}"
    header = {"version": __version__, "shape": shape, "taken": taken, "given": given, "dtype": dtype, "weights": beside}
    parts = [_HEADER.format(**header, imports=imports, load=_LOAD)]
    parts += [f"\n{_defined(name)}" if name == "erfc" else f"\n\n{_defined(name)}" for name in [*more, *used]]
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


def to_numpy(model, path):
    """Write a model as a Python module: ``predict(X)`` in a few dozen lines, without this package.

    The module imports NumPy only. Its weights are in an .npz file of the same name beside it. Before anything is written the module
    is run, and its outputs are held against `predict`.

    Parameters
    ----------
    model : Sequential
    path : str or os.PathLike
        Of the module, ending in .py.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or a layer emits operations of its own.
    RuntimeError
        If the module computes something else than the model.
    OSError
        If a file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> model = nn.Sequential(nn.Dense(4, 8, activation="relu"), nn.Dense(8, 3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fastnn.io.to_numpy(model, os.path.join(folder, "served.py"))
    ...     sorted(os.listdir(folder))
    ['served.npz', 'served.py']
    """
    name = os.fsdecode(path)
    if not name.endswith(".py"):
        raise ValueError(f"path: expected a name that ends in .py, got {name!r:.200}")
    graph = trace(model, "a NumPy module")
    dtype = np.dtype(np.float32)
    arrays = weights(graph)
    beside = name[:-3] + ".npz"
    source = numpy_source(graph, dtype, os.path.basename(beside))
    X = sample_rows(graph)
    worst = difference(evaluate(source, arrays, X), model.predict(X))
    if not worst <= _TOLERANCE:
        raise RuntimeError(
            f"to_numpy: the module's outputs differ from the model's by {worst:.3g} of the largest; nothing was written"
        )
    with replacing(beside) as file:
        np.savez(file, **arrays)
    with replacing(name) as file:
        file.write(source.encode())
