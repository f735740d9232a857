"""A model's graph as one file in C99, which is C++ too: `void predict(const float *x, float *y)` for one row.

It needs libm alone, allocates nothing, and holds the weights as constants, or takes them from a file that the caller reads. Rows of
weights are padded to whole vectors, and the loops over them have constant bounds, so that compilers vectorise them as they are.
"""

import re

import numpy as np

from .._version import __version__
from .formulas import FORMULAS, c_source
from .nodes import KINDS
from .nodes.common import _c_loop, _c_padded

_SPECIAL = {"nan": "NAN", "inf": "INFINITY", "-inf": "-INFINITY"}


def _numbers(values, real):
    """Constants of an array, in lines."""
    if values.dtype == np.int8:
        texts = list(map(str, values.ravel().tolist()))
    else:
        suffix = "f" if real == "float" else ""
        texts = []
        for v in values.ravel():
            text = str(v)  # the shortest that reads back as the same number
            texts.append("0" if text == "0.0" else _SPECIAL.get(text) or text + suffix)
    lines, line, width = [], [], 0
    for text in texts:
        if width + len(text) >= 128 and line:
            lines.append(",".join(line))
            line, width = [], 0
        line.append(text)
        width += len(text) + 1
    return ",\n".join([*lines, ",".join(line)])


class _Source:
    """Collects the parts of the file."""

    def __init__(self, graph, name, real, quantized, blob):
        self.graph, self.name, self.real, self.quantized, self.blob = graph, name, real, quantized, blob
        self.arrays = {}  # identifier -> array, as it stands in the file
        self.functions = {}  # identifier -> text
        self.body = []
        self.held = {}  # Array -> identifier
        self.padded = set()  # values whose buffer holds numbers up to its end

    def identifier(self, name):
        """A name of C for an array, of its own."""
        found = base = f"{self.name}_{re.sub(r'[^A-Za-z0-9]', '_', name)}"
        while found in self.arrays:
            found = f"{base}_{len(self.arrays)}"
        return found

    def array(self, name, values):
        """The identifier of an array; its last axis is padded to whole vectors."""
        values = np.asarray(values, np.int8 if values.dtype == np.int8 else np.dtype(self.real_dtype))
        rows = values.reshape(-1, values.shape[-1]) if values.ndim else values.reshape(1, 1)
        full = np.zeros((len(rows), _c_padded(rows.shape[-1])), values.dtype)
        full[:, : rows.shape[-1]] = rows
        found = self.identifier(name)
        self.arrays[found] = full
        return found

    @property
    def real_dtype(self):
        return {"float": np.float32, "double": np.float64}[self.real]

    def of(self, held):
        """The identifier of an Array."""
        if held not in self.held:
            self.held[held] = self.array(held.name, held.data)
        return self.held[held]

    def weights(self, held):
        """(identifier, identifier of the scales of its columns or None) of a matrix."""
        if held not in self.quantized:
            return self.of(held), None
        if held not in self.held:
            codes, scales = self.quantized[held]
            self.held[held] = self.array(held.name, codes), self.array(f"{held.name}.scale", scales)
        return self.held[held]

    def function(self, name, text):
        """The identifier of a function of the file, written once."""
        found = f"{self.name}_{name}"
        self.functions.setdefault(found, text.replace("@", found).replace("$real", self.real))
        return found

    def activation(self, name, alpha):
        text = c_source(FORMULAS[name].c, self.real)
        parameter = ", $real alpha" if "alpha" in text else ""
        f = self.function(name, f"static $real @($real x{parameter})\n{{\n    return {text};\n}}\n")
        return f, f", {self.constant(alpha)}" if parameter else ""

    def constant(self, v):
        """A number in the text of a line, which makes it one of its type."""
        return str(self.real_dtype(v))

    def line(self, text):
        self.body.append("    " + c_source(text.replace("$real", self.real), self.real) if text else "")


def _buffers(graph):
    """({value: number of its buffer}, elements of each buffer): values that are not needed at one time share one. The row that is
    given has none, nor has what is that row in another shape."""
    last = {v: i for i, n in enumerate(graph.nodes) for v in n.inputs}
    last[graph.output] = len(graph.nodes)
    place, sizes, free = {}, [], []
    for i, n in enumerate(graph.nodes):
        if n.kind == "reshape" and n.input not in place:
            continue  # the row that was given, as it is
        size = _c_padded(n.output.columns)
        ending = [v for v in dict.fromkeys(n.inputs) if v in place and last[v] == i]
        same = next((v for v in ending if KINDS[n.kind].in_place and v.columns == n.output.columns), None)
        if same is not None:
            place[n.output] = place[same]
            ending.remove(same)
        else:
            if not free:
                sizes.append(0)
                free.append(len(sizes) - 1)
            fitting = [b for b in free if sizes[b] >= size]
            number = min(fitting, key=sizes.__getitem__) if fitting else max(free, key=sizes.__getitem__)
            free.remove(number)
            sizes[number] = max(sizes[number], size)
            place[n.output] = number
        free += [place[v] for v in ending]
    return place, sizes


_HEADER = """\
/* A model that fastnn {version} wrote: {n_in} -> {n_out}, {parameters:,} parameters{weights}.
 *
 *   void {name}(const {real} *x, {real} *y);     one row: x[{n_in}], y[{n_out}]
 *
 * C99, and C++; needs libm. It allocates nothing, keeps nothing and may be called by several threads; its buffers take
 * {buffers:,} bytes of the stack, unless {macro}_STORAGE is defined as static: then one thread at a time.
 * {level} vectorises the loops. -O3 for the oldest processor that is to run it, as by -march=x86-64-v3, is faster; older ones may then
 * stop at once, and the last places may be rounded otherwise.{error} */
#include <math.h>
#include <stddef.h>
{more}
#ifndef {macro}_STORAGE
#define {macro}_STORAGE
#endif
"""

_BLOB = """
static const unsigned char *{name}_weights;

/* To be called first, with the contents of {file}, which begin at a multiple of 8 and stay where they are. */
#ifdef __cplusplus
extern "C"
#endif
void {name}_load(const void *weights)
{{
    {name}_weights = (const unsigned char *)weights;
}}
"""


def c_file(graph, parameters, name, real, quantized=(), blob=None, error=""):
    """(the text of the file, the bytes of the blob or None, bytes of the buffers)."""
    s = _Source(graph, name, real, quantized, blob)
    place, sizes = _buffers(graph)
    names = {graph.given: "x", **{v: f"a{b}" for v, b in place.items()}}
    for n in graph.nodes:
        if n.output not in place:
            names[n.output] = names[n.input]
        if n.kind == "reshape" and names[n.output] == names[n.input]:
            continue
        s.body.append(f"\n    /* {n.layer}, {n.settings.get('name', n.kind)} */")
        KINDS[n.kind].c(s, n, names[n.output], *(names[v] for v in n.inputs))
    s.body.append("")
    _c_loop(s, graph.output.columns, f"y[j] = {names[graph.output]}[j];")
    itemsize = np.dtype(s.real_dtype).itemsize
    parts, data = [], bytearray()
    for found, values in s.arrays.items():
        kind = "signed char" if values.dtype == np.int8 else real
        if blob:
            parts.append(f"#define {found} ((const {kind} *)(const void *)({name}_weights + {len(data)}))")
            data += values.tobytes() + b"\0" * (-values.nbytes % 64)
        else:
            parts.append(f"static const {kind} {found}[{values.size}] = {{\n{_numbers(values, real)}}};")
    buffers = [f"    {name.upper()}_STORAGE {real} a{i}[{size}];" for i, size in enumerate(sizes)]
    header = _HEADER.format(
        version=__version__, n_in=graph.given.columns, n_out=graph.output.columns, parameters=parameters, name=name, real=real,
        weights=", weight matrices in int8" if quantized else "", buffers=sum(sizes) * itemsize, macro=name.upper(),
        error=error, level="-O3" if quantized else "-O2", more=_BLOB.format(name=name, file=blob) if blob else "")  # fmt: skip
    linkage = '\n#ifdef __cplusplus\nextern "C"\n#endif\n'
    start = f"{linkage}void {name}(const {real} *x, {real} *y)\n{{"
    text = "\n".join([header, *parts, "", *s.functions.values(), start, *buffers, *s.body, "}", ""])
    return text, bytes(data) if blob else None, sum(sizes) * itemsize
