"""The elementwise activations in the languages that models are exported to: ONNX operators, a C expression, a NumPy expression.

All are functions of `x` and of `alpha`, the activation's parameter. What they compute is what `fastnn.reference` has under the
name, and the cosine, of which periodic embeddings are made; an activation of the package that has no line here cannot be exported. Nothing of fastnn's is imported.
"""

import re
from typing import NamedTuple


class Formula(NamedTuple):
    """One activation.

    onnx: operators one after the other, each with its inputs: "x", "y" (what the one before made), "alpha", or a number.
    c, numpy: an expression. Its functions and numbers in C are those of double; `c_source` makes those of float of them.
    """

    onnx: tuple
    c: str
    numpy: str


_GELU_A = 1.5957691216057308  # 2 √(2/π), and 0.0713… is 0.044715 of it

FORMULAS = {
    "sigmoid": Formula((("Sigmoid", "x"),), "1.0 / (1.0 + exp(-x))", "1 / (1 + np.exp(np.minimum(-x, 700)))"),
    "tanh": Formula((("Tanh", "x"),), "tanh(x)", "np.tanh(x)"),
    "relu": Formula((("Relu", "x"),), "x <= 0 ? 0 : x", "np.maximum(x, 0)"),
    "leaky_relu": Formula((("LeakyRelu", "x", "alpha"),), "x > 0 ? x : alpha * x", "np.where(x > 0, x, alpha * x)"),
    "elu": Formula(
        (("Elu", "x", "alpha"),), "x < 0 ? alpha * expm1(x) : x", "np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)"
    ),
    "selu": Formula(
        (("Selu", "x"),),
        "x < 0 ? 1.7580993408473766 * expm1(x) : 1.0507009873554805 * x",
        "np.where(x < 0, 1.7580993408473766 * np.expm1(np.minimum(x, 0)), 1.0507009873554805 * x)",
    ),
    "gelu": Formula(
        (("Mul", "x", 0.7071067811865476), ("Erf", "y"), ("Add", "y", 1.0), ("Mul", "x", "y"), ("Mul", "y", 0.5)),
        "0.5 * x * erfc(-0.7071067811865476 * x)",
        "0.5 * x * erfc(-0.7071067811865476 * x)",
    ),
    "gelu_tanh": Formula(
        (("Mul", "x", "x"), ("Mul", "y", 0.07135481627159882), ("Add", "y", _GELU_A), ("Mul", "x", "y"), ("Sigmoid", "y"),
         ("Mul", "x", "y")),
        "x / (1.0 + exp(-x * (1.5957691216057308 + 0.07135481627159882 * x * x)))",
        "x / (1 + np.exp(np.minimum(-x * (1.5957691216057308 + 0.07135481627159882 * x * x), 700)))",
    ),
    "silu": Formula((("Sigmoid", "x"), ("Mul", "x", "y")), "x / (1.0 + exp(-x))", "x / (1 + np.exp(np.minimum(-x, 700)))"),
    "softplus": Formula(
        (("Mul", "x", "alpha"), ("Softplus", "y"), ("Div", "y", "alpha")),
        "(x > 0 ? x : 0) + log1p(exp(-fabs(alpha * x))) / alpha",
        "np.maximum(x, 0) + np.log1p(np.exp(-np.abs(alpha * x))) / alpha",
    ),
    "mish": Formula(
        (("Mish", "x"),),
        "x * tanh((x > 0 ? x : 0) + log1p(exp(-fabs(x))))",
        "x * np.tanh(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))",
    ),
    "cos": Formula((("Cos", "x"),), "cos(x)", "np.cos(x)"),
    "hard_tanh": Formula((("Clip", "x", -1.0, 1.0),), "x < -1 ? -1 : x > 1 ? 1 : x", "np.clip(x, -1, 1)"),
}  # fmt: skip

_FUNCTIONS = re.compile(r"\b(cos|exp|expm1|log|log1p|tanh|erfc|sqrt|fabs|floor)\b(?=\()")
_NUMBERS = re.compile(r"(?<![\w.])\d+(?:\.\d*(?:e[-+]?\d+)?|e[-+]?\d+)")


def c_source(text, real):
    """C code that is written for double as it is for `real`, "float" or "double"."""
    return text if real == "double" else _NUMBERS.sub(r"\g<0>f", _FUNCTIONS.sub(r"\1f", text))
