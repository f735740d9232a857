"""Rows of tables, taken by codes."""

import numpy as np

from ..onnx_format import node
from .common import Form, _c_loop, _c_padded, _numpy_array


def _onnx_embedding(w, n, x):
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


def _c_embedding(s, n, y, x):
    first = last = 0
    for i, columns in enumerate(n.settings["columns"]):
        if f"w{i}" not in n.arrays:
            _c_loop(s, columns, f"{y}[{last} + j] = {x}[{first} + j];")
            first, last = first + columns, last + columns
            continue
        table = n.arrays[f"w{i}"]
        rows, dim = table.data.shape
        count = rows - n.settings["unknown"]
        s.line(f"for (int i = 0; i < {columns}; i++) {{")
        s.line(f"    const $real c = {x}[{first} + i];")
        s.line(f"    const int k = c >= 0 && c < {count} && c == floor(c) ? (int)c : {count};")
        w, ld = s.of(table), _c_padded(dim)
        value = f"{w}[k * {ld} + j]" if n.settings["unknown"] else f"k < {count} ? {w}[k * {ld} + j] : NAN"
        s.line(f"    for (int j = 0; j < {dim}; j++)")
        s.line(f"        {y}[{last} + i * {dim} + j] = {value};")
        s.line("}")
        first, last = first + columns, last + columns * dim


def _numpy_embedding(n, x):
    parts, first = [], 0
    for i, columns in enumerate(n.settings["columns"]):
        part = f"{x}[:, {first}:{first + columns}]"
        first += columns
        parts.append(f"embedding({part}, {_numpy_array(n, f'w{i}')}, {n.settings['unknown']})" if f"w{i}" in n.arrays else part)
    y = parts[0] if len(parts) == 1 else f"np.concatenate([{', '.join(parts)}], axis=1)"
    return y if len(n.output.shape) == 1 else f"{y}.reshape(len(X), {', '.join(map(str, n.output.shape))})"


FUNCTIONS = {  # of NumPy
    "embedding": """\
def embedding(codes, table, unknown):
    n = len(table) - unknown
    known = (codes >= 0) & (codes < n) & (codes == np.floor(codes))
    if not (unknown or known.all()):
        raise ValueError(f"expected codes from 0 to {n - 1}, whole numbers, got others")
    return table[np.where(known, codes, n).astype(int)].reshape(len(codes), -1)
""",
}

KINDS = {
    "embedding": Form(_onnx_embedding, _c_embedding, _numpy_embedding, repeats_input=True),
}
