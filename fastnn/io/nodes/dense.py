"""Products."""

from .common import Form, _c_loop, _numpy_array


def _onnx_dense(w, n, x):
    arrays = [w.array(n.arrays[role]) for role in ("w", "b") if role in n.arrays]
    return w.add("Gemm", x, *arrays, **({"transB": 1} if n.settings["transposed"] else {}))


def _c_dense(s, n, y, x):
    n_in, n_out = n.inputs[0].columns, n.output.columns
    w, scale = s.weights(n.arrays["w"])
    bias = s.of(n.arrays["b"]) if "b" in n.arrays else None
    ld = s.arrays[w].shape[1]
    kind = "signed char" if scale else "$real"
    as_real = "($real)" if scale else ""
    if n.settings["transposed"]:
        factor = f" * {scale}[%s]" if scale else ""
        s.line(f"for (int j = 0; j < {n_out}; j++) {{")
        s.line(f"    const {kind} *w = {w} + (size_t)j * {ld};")
        s.line("    $real s[8] = {0}; /* sums of every eighth */")
        if n_in >= 8:
            s.line(f"    for (int i = 0; i < {n_in // 8 * 8}; i += 8)")
            s.line("        for (int k = 0; k < 8; k++)")
            s.line(f"            s[k] += {x}[i + k]{factor.replace('%s', 'i + k')} * {as_real}w[i + k];")
        if n_in % 8:
            s.line(f"    for (int i = {n_in // 8 * 8}; i < {n_in}; i++)")
            s.line(f"        s[i & 7] += {x}[i]{factor.replace('%s', 'i')} * {as_real}w[i];")
        start = f"{bias}[j] + " if bias else ""
        s.line(f"    {y}[j] = {start}(((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7])));")
        s.line("}")
        return
    s.padded.add(n.output)
    _c_loop(s, ld, f"{y}[j] = {f'{bias}[j]' if bias and not scale else '0'};")
    if n_in >= 4:
        s.line(f"for (int i = 0; i < {n_in // 4 * 4}; i += 4) {{")
        s.line(f"    const {kind} *w = {w} + (size_t)i * {ld};")
        s.line(f"    const $real a = {x}[i], b = {x}[i + 1], c = {x}[i + 2], d = {x}[i + 3];")
        s.line(f"    for (int j = 0; j < {ld}; j++)")
        terms = [f"{v} * {as_real}w[j{f' + {k * ld}' if k else ''}]" for k, v in enumerate("abcd")]
        s.line(f"        {y}[j] += {' + '.join(terms)};")
        s.line("}")
    if n_in % 4:
        s.line(f"for (int i = {n_in // 4 * 4}; i < {n_in}; i++)")
        s.line(f"    for (int j = 0; j < {ld}; j++)")
        s.line(f"        {y}[j] += {x}[i] * {as_real}{w}[(size_t)i * {ld} + j];")
    if scale:
        _c_loop(s, ld, f"{y}[j] = {y}[j] * {scale}[j]{f' + {bias}[j]' if bias else ''};")


def _numpy_dense(n, x):
    y = f"{x} @ {_numpy_array(n, 'w')}{'.T' if n.settings['transposed'] else ''}"
    return f"{y} + {_numpy_array(n, 'b')}" if "b" in n.arrays else y

KINDS = {
    "dense": Form(_onnx_dense, _c_dense, _numpy_dense),
}
