"""A model's graph as one file in C99, which is C++ too: `void predict(const float *x, float *y)` for one row.

It needs libm alone, allocates nothing, and holds the weights as constants, or takes them from a file that the caller reads. Rows of
weights are padded to whole vectors, and the loops over them have constant bounds, so that compilers vectorise them as they are.
"""

import re

import numpy as np

from .._version import __version__
from .formulas import FORMULAS, c_source
from .graph import affine

_PAD = 8  # elements: rows of weights are multiples of it
_IN_PLACE = ("activation", "prelu", "softmax", "log_softmax", "batchnorm", "layernorm", "rmsnorm", "groupnorm", "rescale", "add",
             "reshape")  # fmt: skip


def _padded(n):
    return -(-n // _PAD) * _PAD


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
        full = np.zeros((len(rows), _padded(rows.shape[-1])), values.dtype)
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


def _loop(s, n, text, index="j"):
    s.line(f"for (int {index} = 0; {index} < {n}; {index}++)")
    s.line(f"    {text}")


def _dense(s, n, y, x):
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
    _loop(s, ld, f"{y}[j] = {f'{bias}[j]' if bias and not scale else '0'};")
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
        _loop(s, ld, f"{y}[j] = {y}[j] * {scale}[j]{f' + {bias}[j]' if bias else ''};")


_WINDOWS = """\
for (int r = 0; r < {out_height}; r++)
    for (int q = 0; q < {out_width}; q++) {{
        {start}
        for (int u = 0; u < {kernel_height}; u++)
            for (int v = 0; v < {kernel_width}; v++) {{
                const int row = r * {stride_y} + u * {dilation_y} - {pad_top};
                const int column = q * {stride_x} + v * {dilation_x} - {pad_left};
                if (row < 0 || row >= {height} || column < 0 || column >= {width})
                    continue;
                const $real *p = {x} + (row * {width} + column) * {channels};
{each}
            }}
        {end}
    }}
"""


def _over_windows(s, n, x, start, each, end):
    """Loops over windows and their taps within the image: `start`, then `each` with the channels at p, then `end`."""
    text = _WINDOWS.format(
        **n.settings["window"]._asdict(), x=x, start=start, end=end, each="\n".join(" " * 16 + line for line in each)
    )
    for line in text.splitlines():
        s.line(line)


def _conv2d(s, n, y, x):
    window, filters = n.settings["window"], n.output.shape[-1]
    w, scale = s.weights(n.arrays["w"])
    bias = s.of(n.arrays["b"]) if "b" in n.arrays else None
    ld, depth, wide = s.arrays[w].shape[1], window.channels // window.groups, filters // window.groups
    kind, as_real = ("signed char", "($real)") if scale else ("$real", "")
    each = [f"const {kind} *w = {w} + (size_t)(u * {window.kernel_width} + v) * {depth * ld};"]
    if window.groups == 1:
        each += [
            f"for (int i = 0; i < {depth}; i++)",
            f"    for (int j = 0; j < {ld}; j++)",
            f"        s[j] += p[i] * {as_real}w[i * {ld} + j];",
        ]
    else:
        at = "p[j]" if depth == wide == 1 else f"p[j / {wide} * {depth} + i]"
        each += [f"for (int i = 0; i < {depth}; i++)", f"    for (int j = 0; j < {filters}; j++)",
                 f"        s[j] += {at} * {as_real}w[i * {ld} + j];"]  # fmt: skip
    start = (
        f"$real s[{ld}];\n        for (int j = 0; j < {ld}; j++)\n            s[j] = {f'{bias}[j]' if bias and not scale else '0'};"
    )
    result = f"s[j] * {scale}[j]{f' + {bias}[j]' if bias else ''}" if scale else "s[j]"
    end = f"for (int j = 0; j < {filters}; j++)\n            {y}[(r * {window.out_width} + q) * {filters} + j] = {result};"
    _over_windows(s, n, x, start, each, end)


def _conv_transpose2d(s, n, y, x):
    """Each pixel of x puts the filters, times what it is, into a window of y."""
    o, filters = n.settings["window"], n.input.shape[-1]
    w, scale = s.weights(n.arrays["w"])
    ld, depth, wide = s.arrays[w].shape[1], o.channels // o.groups, filters // o.groups
    kind, as_real = ("signed char", f"{scale}[i] * ($real)") if scale else ("$real", "")
    start = f"{s.of(n.arrays['b'])}[j]" if "b" in n.arrays else "0"
    s.line(f"for (int r = 0; r < {o.height * o.width * o.channels}; r += {o.channels})")
    s.line(f"    for (int j = 0; j < {o.channels}; j++)")
    s.line(f"        {y}[r + j] = {start};")
    group = f"j / {depth} * {wide}" if o.groups > 1 else "0"
    row = "j" if o.groups == 1 else f"j % {depth}"
    text = f"""\
for (int r = 0; r < {o.out_height}; r++)
    for (int q = 0; q < {o.out_width}; q++)
        for (int u = 0; u < {o.kernel_height}; u++)
            for (int v = 0; v < {o.kernel_width}; v++) {{
                const int row = r * {o.stride_y} + u * {o.dilation_y} - {o.pad_top};
                const int column = q * {o.stride_x} + v * {o.dilation_x} - {o.pad_left};
                if (row < 0 || row >= {o.height} || column < 0 || column >= {o.width})
                    continue;
                const $real *p = {x} + (r * {o.out_width} + q) * {filters};
                $real *s = {y} + (row * {o.width} + column) * {o.channels};
                for (int j = 0; j < {o.channels}; j++) {{
                    const {kind} *w = {w} + ((size_t)(u * {o.kernel_width} + v) * {depth} + (size_t)({row})) * {ld};
                    const int first = {group};
                    for (int i = first; i < first + {wide}; i++)
                        s[j] += p[i] * {as_real}w[i];
                }}
            }}"""
    for line in text.splitlines():
        s.line(line)


def _pool(s, n, y, x):
    window = n.settings["window"]
    c = window.channels
    start = f"$real *s = {y} + (r * {window.out_width} + q) * {c};\n        for (int j = 0; j < {c}; j++)\n            s[j] = "
    loop = f"for (int j = 0; j < {c}; j++)"
    if n.kind == "maxpool2d":
        return _over_windows(s, n, x, f"{start}-INFINITY;", [loop, "    s[j] = p[j] > s[j] || p[j] != p[j] ? p[j] : s[j];"], "")
    count = (
        f"{s.of(n.arrays['count'])}[(r * {window.out_width} + q) * {_PAD}]"
        if "count" in n.arrays
        else s.constant(n.settings["count"])
    )
    _over_windows(s, n, x, f"{start}0;", [loop, "    s[j] += p[j];"], f"{loop}\n            s[j] /= {count};")


def _stochastic_pool(s, n, y, x):
    window = n.settings["window"]
    c = window.channels
    start = f"$real s[{c}] = {{0}}, t[{c}] = {{0}};"
    each = [f"for (int j = 0; j < {c}; j++) {{", "    const $real a = p[j] < 0 ? 0 : p[j];", "    s[j] += a;", "    t[j] += a * a;", "}"]
    loop = f"for (int j = 0; j < {c}; j++)"
    _over_windows(s, n, x, start, each, f"{loop}\n            {y}[(r * {window.out_width} + q) * {c} + j] = s[j] == 0 ? 0 : t[j] / s[j];")


def _embedding(s, n, y, x):
    first = last = 0
    for i, columns in enumerate(n.settings["columns"]):
        if f"w{i}" not in n.arrays:
            _loop(s, columns, f"{y}[{last} + j] = {x}[{first} + j];")
            first, last = first + columns, last + columns
            continue
        table = n.arrays[f"w{i}"]
        rows, dim = table.data.shape
        count = rows - n.settings["unknown"]
        s.line(f"for (int i = 0; i < {columns}; i++) {{")
        s.line(f"    const $real c = {x}[{first} + i];")
        s.line(f"    const int k = c >= 0 && c < {count} && c == floor(c) ? (int)c : {count};")
        w, ld = s.of(table), _padded(dim)
        value = f"{w}[k * {ld} + j]" if n.settings["unknown"] else f"k < {count} ? {w}[k * {ld} + j] : NAN"
        s.line(f"    for (int j = 0; j < {dim}; j++)")
        s.line(f"        {y}[{last} + i * {dim} + j] = {value};")
        s.line("}")
        first, last = first + columns, last + columns * dim


def _activation(s, n, y, x):
    f, alpha = s.activation(n.settings["name"], n.settings["alpha"])
    whole = n.input in s.padded  # a loop over whole vectors, whatever stands in the last one
    s.padded |= {n.output} if whole else set()
    _loop(s, _padded(n.output.columns) if whole else n.output.columns, f"{y}[j] = {f}({x}[j]{alpha});")


def _rows(n):
    """(how many rows, elements of each) of a value, over whose last axis a node works."""
    return n.output.columns // n.output.shape[-1], n.output.shape[-1]


def _each_row(s, n, name, parameters, text, y, x, *arguments):
    """Call a function of (size, x, y, …) for each row of the last axis."""
    f = s.function(name, f"static void @(int n, const $real *x, $real *y{parameters})\n{{\n{c_source(text, s.real)}}}\n")
    rows, size = _rows(n)
    more = "".join(f", {a}" for a in arguments)
    if rows == 1:
        s.line(f"{f}({size}, {x}, {y}{more});")
    else:
        _loop(s, rows, f"{f}({size}, {x} + j * {size}, {y} + j * {size}{more});")


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
_LAYERNORM = """\
    $real m = 0, r = 0, s = 0;
    for (int j = 0; j < n; j++)
        m += x[j];
    m /= n;
    for (int j = 0; j < n; j++)
        r += x[j] - m; /* what m lacks of the mean by rounding */
    m += r / n;
    for (int j = 0; j < n; j++)
        s += (x[j] - m) * (x[j] - m);
    s = 1 / sqrt(s / n + eps);
    for (int j = 0; j < n; j++)
        y[j] = (x[j] - m) * s;
"""
_RMSNORM = """\
    $real s = 0;
    for (int j = 0; j < n; j++)
        s += x[j] * x[j];
    s = 1 / sqrt(s / n + eps);
    for (int j = 0; j < n; j++)
        y[j] = x[j] * s;
"""


def _rownorm(name, text):
    def write(s, n, y, x):
        _each_row(s, n, name, ", $real eps", text, y, x, s.constant(n.settings["eps"]))
        _affine_of(s, n, y)

    return write


_GROUPNORM = """\
    for (int g = 0; g < n; g += w) {
        $real m = 0, r = 0, s = 0;
        for (int p = 0; p < pixels * n; p += n)
            for (int j = p + g; j < p + g + w; j++)
                m += x[j];
        m /= pixels * w;
        for (int p = 0; p < pixels * n; p += n)
            for (int j = p + g; j < p + g + w; j++)
                r += x[j] - m; /* what m lacks of the mean by rounding */
        m += r / (pixels * w);
        for (int p = 0; p < pixels * n; p += n)
            for (int j = p + g; j < p + g + w; j++)
                s += (x[j] - m) * (x[j] - m);
        s = 1 / sqrt(s / (pixels * w) + eps);
        for (int p = 0; p < pixels * n; p += n)
            for (int j = p + g; j < p + g + w; j++)
                y[j] = (x[j] - m) * s;
    }
"""


def _groupnorm(s, n, y, x):
    pixels, channels = _rows(n)
    parameters = "int pixels, int n, int w, const $real *x, $real *y, $real eps"
    f = s.function("groupnorm", f"static void @({parameters})\n{{\n{c_source(_GROUPNORM, s.real)}}}\n")
    s.line(f"{f}({pixels}, {channels}, {channels // n.settings['groups']}, {x}, {y}, {s.constant(n.settings['eps'])});")
    _affine_of(s, n, y)


def _affine_of(s, n, y):
    """What was normalised times the features' own factors, plus shifts."""
    terms = [f" {sign} {s.of(n.arrays[role])}[j]" for sign, role in (("*", "w"), ("+", "b")) if role in n.arrays]
    if terms:
        _per_feature(s, n, f"{y}[@] = {y}[@]{''.join(terms)};")


def _per_feature(s, n, text):
    """A loop over all elements; j counts the features, @ the elements."""
    rows, size = _rows(n)
    if rows == 1:
        _loop(s, size, text.replace("@", "j"))
        return
    s.line(f"for (int i = 0; i < {rows * size}; i += {size})")
    s.line(f"    for (int j = 0; j < {size}; j++)")
    s.line(f"        {text.replace('@', 'i + j')}")


def _affine(s, n, y, x):
    """(x - mean) scale + shift, with one number or one for each feature."""
    texts = []
    for name, values in zip(("mean", "scale", "shift"), affine(n)):
        if values is None or name != "scale" and not np.any(values):
            texts.append(None)
        elif np.ndim(values) == 0 or np.size(values) == 1:
            texts.append(s.constant(np.reshape(values, ())))
        else:
            texts.append(s.array(f"{n.layer.partition(':')[0]}.{name}", values) + "[j]")
    mean, scale, shift = texts
    text = f"({x}[@] - {mean})" if mean else f"{x}[@]"
    _per_feature(s, n, f"{y}[@] = {text} * {scale}{f' + {shift}' if shift else ''};")


def _prelu(s, n, y, x):
    slope = s.of(n.arrays["slope"])
    at = "[j]" if n.arrays["slope"].data.size > 1 else "[0]"
    _per_feature(s, n, f"{y}[@] = {x}[@] > 0 ? {x}[@] : {slope}{at} * {x}[@];")


def _channels_last(s, n, y, x):
    pixels, channels = _rows(n)
    s.line(f"for (int i = 0; i < {pixels}; i++)")
    s.line(f"    for (int j = 0; j < {channels}; j++)")
    s.line(f"        {y}[i * {channels} + j] = {x}[j * {pixels} + i];")


def _maxout(s, n, y, x):
    size, pieces = n.output.columns, n.settings["pieces"]
    _loop(s, size, f"{y}[j] = {x}[j];")
    if pieces > 1:
        s.line(f"for (int k = {size}; k < {pieces * size}; k += {size})")
        s.line(f"    for (int j = 0; j < {size}; j++)")
        s.line(f"        {y}[j] = {x}[k + j] > {y}[j] || {x}[k + j] != {x}[k + j] ? {x}[k + j] : {y}[j];")


KINDS = {  # what writes each kind of node: (source, node, C names of output and inputs)
    "dense": _dense,
    "activation": _activation,
    "softmax": lambda s, n, y, x: _each_row(s, n, "softmax", "", _SOFTMAX, y, x),
    "log_softmax": lambda s, n, y, x: _each_row(s, n, "log_softmax", "", _LOG_SOFTMAX, y, x),
    "prelu": _prelu,
    "maxout": _maxout,
    "add": lambda s, n, y, a, b: _loop(s, n.output.columns, f"{y}[j] = {a}[j] + {b}[j];"),
    "channels_last": _channels_last,
    "reshape": lambda s, n, y, x: _loop(s, n.output.columns, f"{y}[j] = {x}[j];"),
    "conv2d": _conv2d,
    "conv_transpose2d": _conv_transpose2d,
    "maxpool2d": _pool,
    "avgpool2d": _pool,
    "stochastic_pool2d": _stochastic_pool,
    "groupnorm": _groupnorm,
    "embedding": _embedding,
    "batchnorm": _affine,
    "layernorm": _rownorm("layernorm", _LAYERNORM),
    "rmsnorm": _rownorm("rmsnorm", _RMSNORM),
    "rescale": _affine,
}


def _buffers(graph):
    """({value: number of its buffer}, elements of each buffer): values that are not needed at one time share one. The row that is
    given has none, nor has what is that row in another shape."""
    last = {v: i for i, n in enumerate(graph.nodes) for v in n.inputs}
    last[graph.output] = len(graph.nodes)
    place, sizes, free = {}, [], []
    for i, n in enumerate(graph.nodes):
        if n.kind == "reshape" and n.input not in place:
            continue  # the row that was given, as it is
        size = _padded(n.output.columns)
        ending = [v for v in dict.fromkeys(n.inputs) if v in place and last[v] == i]
        same = next((v for v in ending if n.kind in _IN_PLACE and v.columns == n.output.columns), None)
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
 * {level} vectorises the loops. -O3 -march=native is faster, but makes code for processors like the one that compiles, which may stop
 * at once on others: for those name the oldest, as in -O3 -march=x86-64-v3. Either may round the last places otherwise.{error} */
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
        KINDS[n.kind](s, n, names[n.output], *(names[v] for v in n.inputs))
    s.body.append("")
    _loop(s, graph.output.columns, f"y[j] = {names[graph.output]}[j];")
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
