"""Convolution and pooling."""

import numpy as np

from ..graph import pads
from .common import Form, _PAD, _numpy_array


def _onnx_window(n):
    window = n.settings["window"]
    return {
        "kernel_shape": [window.kernel_height, window.kernel_width],
        "strides": [window.stride_y, window.stride_x],
        "pads": list(pads(window)),
    }


_FILTERS = (3, 2, 0, 1)  # the axes of weights [height, width, in, out] in ONNX's order


def _onnx_filters(w, n):
    """The names of a convolution's weights and bias."""
    held = n.arrays["w"]
    w.turned[held.name] = _FILTERS
    if held.shape is not None:
        w.shapes[held.name] = held.shape
    weight = w.initializer(held.name, np.asarray(held.data.transpose(_FILTERS), w.dtype))
    return [weight, *([w.array(n.arrays["b"])] if "b" in n.arrays else [])]


def _onnx_conv2d(w, n, x):
    window = n.settings["window"]
    return w.add("Conv", x, *_onnx_filters(w, n), **_onnx_window(n), dilations=[window.dilation_y, window.dilation_x], group=window.groups)


def _onnx_conv_transpose2d(w, n, x):
    o = n.settings["window"]
    more = [o.height - (o.out_height - 1) * o.stride_y - o.dilation_y * (o.kernel_height - 1) - 1 + o.pad_top + o.pad_bottom,
            o.width - (o.out_width - 1) * o.stride_x - o.dilation_x * (o.kernel_width - 1) - 1 + o.pad_left + o.pad_right]  # fmt: skip
    how = {**_onnx_window(n), "pads": [o.pad_top, o.pad_left, o.pad_bottom, o.pad_right], "output_padding": more}
    return w.add("ConvTranspose", x, *_onnx_filters(w, n), **how, dilations=[o.dilation_y, o.dilation_x], group=o.groups)


def _onnx_maxpool2d(w, n, x):
    window = n.settings["window"]
    dilation = [window.dilation_y, window.dilation_x]
    return w.add("MaxPool", x, **_onnx_window(n), **({} if dilation == [1, 1] else {"dilations": dilation}))


def _onnx_avgpool2d(w, n, x):
    """The mean over the whole kernel, zeros around the image included; times what other counts make of it."""
    window = n.settings["window"]
    taps = window.kernel_height * window.kernel_width
    y = w.add("AveragePool", x, **_onnx_window(n), count_include_pad=1)
    if "count" in n.arrays:
        return w.add("Mul", y, w.constant(taps / n.arrays["count"].data[..., 0]))
    return y if n.settings["count"] == taps else w.add("Mul", y, w.constant(taps / n.settings["count"]))


def _onnx_stochastic_pool2d(w, n, x):
    """Of the means over windows, padding included, of squares and of the elements themselves."""
    x = w.add("Relu", x)
    square, mean = (w.add("AveragePool", v, **_onnx_window(n), count_include_pad=1) for v in (w.add("Mul", x, x), x))
    return w.add("Div", square, w.add("Max", mean, w.constant(np.finfo(w.dtype).tiny)))


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


def _c_over_windows(s, n, x, start, each, end):
    """Loops over windows and their taps within the image: `start`, then `each` with the channels at p, then `end`."""
    text = _WINDOWS.format(
        **n.settings["window"]._asdict(), x=x, start=start, end=end, each="\n".join(" " * 16 + line for line in each)
    )
    for line in text.splitlines():
        s.line(line)


def _c_conv2d(s, n, y, x):
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
    _c_over_windows(s, n, x, start, each, end)


def _c_conv_transpose2d(s, n, y, x):
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


def _c_pool(s, n, y, x):
    window = n.settings["window"]
    c = window.channels
    start = f"$real *s = {y} + (r * {window.out_width} + q) * {c};\n        for (int j = 0; j < {c}; j++)\n            s[j] = "
    loop = f"for (int j = 0; j < {c}; j++)"
    if n.kind == "maxpool2d":
        return _c_over_windows(s, n, x, f"{start}-INFINITY;", [loop, "    s[j] = p[j] > s[j] || p[j] != p[j] ? p[j] : s[j];"], "")
    count = (
        f"{s.of(n.arrays['count'])}[(r * {window.out_width} + q) * {_PAD}]"
        if "count" in n.arrays
        else s.constant(n.settings["count"])
    )
    _c_over_windows(s, n, x, f"{start}0;", [loop, "    s[j] += p[j];"], f"{loop}\n            s[j] /= {count};")


def _c_stochastic_pool(s, n, y, x):
    window = n.settings["window"]
    c = window.channels
    start = f"$real s[{c}] = {{0}}, t[{c}] = {{0}};"
    each = [f"for (int j = 0; j < {c}; j++) {{", "    const $real a = p[j] < 0 ? 0 : p[j];", "    s[j] += a;", "    t[j] += a * a;", "}"]
    loop = f"for (int j = 0; j < {c}; j++)"
    _c_over_windows(s, n, x, start, each, f"{loop}\n            {y}[(r * {window.out_width} + q) * {c} + j] = s[j] == 0 ? 0 : t[j] / s[j];")


def _numpy_geometry(n):
    """The arguments of `windows` that are not its defaults."""
    w = n.settings["window"]
    found = {"stride": (w.stride_y, w.stride_x), "dilation": (w.dilation_y, w.dilation_x), "pads": pads(w)}
    return "".join(f", {name}={value}" for name, value in found.items() if value not in ((1, 1), (0, 0, 0, 0)))


def _numpy_conv2d(n, x):
    groups = n.settings["window"].groups
    y = f"conv2d({x}, {_numpy_array(n, 'w')}{f', groups={groups}' if groups > 1 else ''}{_numpy_geometry(n)})"
    return f"{y} + {_numpy_array(n, 'b')}" if "b" in n.arrays else y


def _numpy_conv_transpose2d(n, x):
    o = n.settings["window"]
    corner = f", corner={(o.pad_top, o.pad_left)}" if o.pad_top or o.pad_left else ""
    found = {"groups": o.groups, "stride": (o.stride_y, o.stride_x), "dilation": (o.dilation_y, o.dilation_x)}
    how = "".join(f", {name}={value}" for name, value in found.items() if value not in (1, (1, 1))) + corner
    y = f"conv_transpose2d({x}, {_numpy_array(n, 'w')}, {(o.height, o.width)}{how})"
    return f"{y} + {_numpy_array(n, 'b')}" if "b" in n.arrays else y


def _numpy_pool(n, x):
    w = n.settings["window"]
    count = f", {_numpy_array(n, 'count') if 'count' in n.arrays else n.settings['count']}" if n.kind == "avgpool2d" else ""
    return f"{n.kind}({x}, {(w.kernel_height, w.kernel_width)}{count}{_numpy_geometry(n)})"


FUNCTIONS = {  # of NumPy
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
}

KINDS = {
    "conv2d": Form(_onnx_conv2d, _c_conv2d, _numpy_conv2d, channels_first=True),
    "conv_transpose2d": Form(_onnx_conv_transpose2d, _c_conv_transpose2d, _numpy_conv_transpose2d, channels_first=True),
    "maxpool2d": Form(_onnx_maxpool2d, _c_pool, _numpy_pool, channels_first=True),
    "avgpool2d": Form(_onnx_avgpool2d, _c_pool, _numpy_pool, channels_first=True),
    "stochastic_pool2d": Form(_onnx_stochastic_pool2d, _c_stochastic_pool, _numpy_pool, channels_first=True),
}
