"""What the kinds of nodes share: the form of one, and pieces of C and of NumPy."""

from collections.abc import Callable
from typing import NamedTuple

from ..formulas import c_source


class Form(NamedTuple):
    """How a kind of node is written."""

    onnx: Callable  # (writer, node, names of its inputs) -> name of its output
    c: Callable  # (source, node, C names of output and inputs): adds lines
    numpy: Callable  # (node, expressions of its inputs) -> the expression that computes it, a call if there is a function of the kind's name
    repeats_input: bool = False  # the expression has its input more than once
    in_place: bool = False  # in C the output may take the place of the input
    elementwise: bool = False  # each element alone, unless it has arrays of several numbers: in any order of the axes
    channels_first: bool = False  # in ONNX images begin with the channels


_PAD = 8  # elements: rows of weights are multiples of it


def _c_padded(n):
    return -(-n // _PAD) * _PAD


def _c_loop(s, n, text, index="j"):
    s.line(f"for (int {index} = 0; {index} < {n}; {index}++)")
    s.line(f"    {text}")


def _c_rows(n):
    """(how many rows, elements of each) of a value, over whose last axis a node works."""
    return n.output.columns // n.output.shape[-1], n.output.shape[-1]


def _c_each_row(s, n, name, parameters, text, y, x, *arguments):
    """Call a function of (size, x, y, …) for each row of the last axis."""
    f = s.function(name, f"static void @(int n, const $real *x, $real *y{parameters})\n{{\n{c_source(text, s.real)}}}\n")
    rows, size = _c_rows(n)
    more = "".join(f", {a}" for a in arguments)
    if rows == 1:
        s.line(f"{f}({size}, {x}, {y}{more});")
    else:
        _c_loop(s, rows, f"{f}({size}, {x} + j * {size}, {y} + j * {size}{more});")


def _c_affine_of(s, n, y):
    """What was normalised times the features' own factors, plus shifts."""
    terms = [f" {sign} {s.of(n.arrays[role])}[j]" for sign, role in (("*", "w"), ("+", "b")) if role in n.arrays]
    if terms:
        _c_per_feature(s, n, f"{y}[@] = {y}[@]{''.join(terms)};")


def _c_per_feature(s, n, text):
    """A loop over all elements; j counts the features, @ the elements."""
    rows, size = _c_rows(n)
    if rows == 1:
        _c_loop(s, size, text.replace("@", "j"))
        return
    s.line(f"for (int i = 0; i < {rows * size}; i += {size})")
    s.line(f"    for (int j = 0; j < {size}; j++)")
    s.line(f"        {text.replace('@', 'i + j')}")


def _numpy_array(n, role):
    return f'W["{n.arrays[role].name}"]'


def _numpy_affine(n, y):
    y = f"{y} * {_numpy_array(n, 'w')}" if "w" in n.arrays else y
    return f"{y} + {_numpy_array(n, 'b')}" if "b" in n.arrays else y
