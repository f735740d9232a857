"""Normalisations, and factors and shifts."""

import numpy as np

from ..formulas import c_source
from ..graph import affine
from .common import Form, _c_affine_of, _c_each_row, _c_per_feature, _c_rows, _numpy_affine, _numpy_array


def _onnx_groupnorm(w, n, x):
    """Channels first: each group as one channel, over all that stands behind; then the channels' own factors."""
    groups, *sizes, channels = n.settings["groups"], *n.output.shape
    one, zero = w.constant(np.ones(groups)), w.constant(np.zeros(groups))
    x = w.add("Reshape", x, w.constant([0, groups, -1], np.int64))
    x = w.add("InstanceNormalization", x, one, zero, epsilon=n.settings["eps"])
    x = w.add("Reshape", x, w.constant([0, channels, *sizes], np.int64))
    for kind, role in (("Mul", "w"), ("Add", "b")):
        if role in n.arrays:
            factors = w.array(n.arrays[role])
            x = w.add(kind, x, w.add("Reshape", factors, w.constant([channels, *[1] * len(sizes)], np.int64)) if sizes else factors)
    return x


def _onnx_batchnorm(w, n, x):
    shape = n.arrays["mean"].data.shape
    given = [
        w.array(n.arrays[role]) if role in n.arrays else w.constant(np.full(shape, start)) for role, start in (("w", 1), ("b", 0))
    ]
    return w.add("BatchNormalization", x, *given, w.array(n.arrays["mean"]), w.array(n.arrays["var"]), epsilon=n.settings["eps"])


def _onnx_layernorm(w, n, x):
    weight = w.array(n.arrays["w"]) if "w" in n.arrays else w.constant(np.ones(n.output.shape[-1]))
    bias = [w.array(n.arrays["b"])] if "b" in n.arrays else []
    return w.add("LayerNormalization", x, weight, *bias, axis=-1, epsilon=n.settings["eps"])


def _onnx_rmsnorm(w, n, x):
    square = w.add("ReduceMean", w.add("Mul", x, x), w.constant([-1], np.int64), keepdims=1)
    y = w.add("Div", x, w.add("Sqrt", w.add("Add", square, w.constant(n.settings["eps"]))))
    return w.add("Mul", y, w.array(n.arrays["w"])) if "w" in n.arrays else y


def _onnx_rescale(w, n, x):
    if n.arrays["mean"].data.any():
        x = w.add("Sub", x, w.array(n.arrays["mean"]))
    x = w.add("Mul", x, w.array(n.arrays["scale"]))
    return w.add("Add", x, w.array(n.arrays["shift"])) if "shift" in n.arrays else x


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


def _c_rownorm(name, text):
    def write(s, n, y, x):
        _c_each_row(s, n, name, ", $real eps", text, y, x, s.constant(n.settings["eps"]))
        _c_affine_of(s, n, y)

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


def _c_groupnorm(s, n, y, x):
    pixels, channels = _c_rows(n)
    parameters = "int pixels, int n, int w, const $real *x, $real *y, $real eps"
    f = s.function("groupnorm", f"static void @({parameters})\n{{\n{c_source(_GROUPNORM, s.real)}}}\n")
    s.line(f"{f}({pixels}, {channels}, {channels // n.settings['groups']}, {x}, {y}, {s.constant(n.settings['eps'])});")
    _c_affine_of(s, n, y)


def _c_affine(s, n, y, x):
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
    _c_per_feature(s, n, f"{y}[@] = {text} * {scale}{f' + {shift}' if shift else ''};")


def _numpy_batchnorm(n, x):
    return _numpy_affine(n, f"({x} - {_numpy_array(n, 'mean')}) / np.sqrt({_numpy_array(n, 'var')} + {n.settings['eps']!r})")


def _numpy_rescale(n, x):
    x = f"({x} - {_numpy_array(n, 'mean')})" if n.arrays["mean"].data.any() else x
    y = f"{x} * {_numpy_array(n, 'scale')}"
    return f"{y} + {_numpy_array(n, 'shift')}" if "shift" in n.arrays else y


FUNCTIONS = {  # of NumPy
    "layernorm": """\
def layernorm(x, eps):
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
""",
    "groupnorm": """\
def groupnorm(x, groups, eps):
    parts = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    parts = parts - parts.mean(axis=(1, 3), keepdims=True)
    return (parts / np.sqrt((parts * parts).mean(axis=(1, 3), keepdims=True) + eps)).reshape(x.shape)
""",
    "rmsnorm": """\
def rmsnorm(x, eps):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
""",
}

KINDS = {
    "batchnorm": Form(_onnx_batchnorm, _c_affine, _numpy_batchnorm, in_place=True, channels_first=True),
    "layernorm": Form(
        _onnx_layernorm,
        _c_rownorm("layernorm", _LAYERNORM),
        lambda n, x: _numpy_affine(n, f"layernorm({x}, {n.settings['eps']!r})"),
        in_place=True,
    ),
    "rmsnorm": Form(
        _onnx_rmsnorm,
        _c_rownorm("rmsnorm", _RMSNORM),
        lambda n, x: _numpy_affine(n, f"rmsnorm({x}, {n.settings['eps']!r})"),
        in_place=True,
    ),
    "groupnorm": Form(
        _onnx_groupnorm,
        _c_groupnorm,
        lambda n, x: _numpy_affine(n, f"groupnorm({x}, {n.settings['groups']}, {n.settings['eps']!r})"),
        in_place=True,
        channels_first=True,
    ),
    "rescale": Form(_onnx_rescale, _c_affine, _numpy_rescale, in_place=True),
}
