"""A model's graph as a Python module that needs NumPy alone, with its weights in an .npz file beside it."""

import re
from collections import Counter

import numpy as np

from .._version import __version__
from .formulas import FORMULAS
from .nodes import FUNCTIONS, KINDS

_ERFC = "erfc = np.vectorize(math.erfc, otypes=[float])\n"  # which `math` has for numbers alone

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


def _functions(n):
    """The names of the functions that a node calls, those that they call first. Where there are some, its expression begins with the call
    of the last, whose argument may be any expression."""
    if n.kind == "activation":
        name = n.settings["name"]
        return ("erfc", name) if "erfc(" in FORMULAS[name].numpy else (name,)
    if n.kind not in FUNCTIONS:
        return ()
    return (*(f for f in FUNCTIONS if f != n.kind and re.search(rf"\b{f}\(", FUNCTIONS[n.kind])), n.kind)


def _defined(name):
    if name in FORMULAS:
        text = FORMULAS[name].numpy
        return f"def {name}(x{', alpha' if 'alpha' in text else ''}):\n    return {text}\n"
    return _ERFC if name == "erfc" else FUNCTIONS[name]


def _body(graph):
    """The lines that compute `x` from `x`, step by step."""
    uses = Counter(v for n in graph.nodes for v in n.inputs)
    lines, names, waiting = [], {graph.given: "x"}, {}  # waiting: expressions that the only node that uses them will hold
    variables = 0
    for i, n in enumerate(graph.nodes):
        inputs = [waiting.pop(v) if v in waiting else names[v] for v in n.inputs]
        text = KINDS[n.kind].numpy(n, *inputs)
        after = graph.nodes[i + 1] if i + 1 < len(graph.nodes) else None
        calls = after is not None and _functions(after) and not KINDS[after.kind].repeats_input
        if calls and uses[n.output] == 1 and after.inputs == (n.output,) and len(text) < 70:
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
