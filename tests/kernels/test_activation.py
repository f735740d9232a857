"""Activations and PReLU, forward and backward; the functions that they are made of, to the last places."""

import numpy as np
import pytest

import fastnn
from fastnn import _native, kernels, reference
from fastnn.core.activations import ACTIVATIONS

from kernel_checks import (
    across, assert_guards, assert_within, clean, everywhere, F32, F64, FMA_ISAS, ISAS, mixed, normal, overflowing, placed, poisoned,
    rng, same_bits, SPECIAL, TAILS, TINY, U, whole, wide,
)  # fmt: skip

LENGTHS = (*TAILS, 4095, 4096, 4097, 9000)  # a team shares runs of 4096 elements


def ulp(exact):
    """The distance between float32 numbers at `exact`."""
    return np.spacing(np.minimum(np.abs(exact), 2.0**127).astype(F32)).astype(F64)


EXACT = ("identity", "relu", "leaky_relu", "hard_tanh")  # every operation rounds like the twin's
ALPHA = 2.0**-7  # the same in float32 and float64


def activation_bound(activation, x, expected):
    """How far the activations that are not exact may be off."""
    size = np.minimum(np.abs(x.astype(F64)), 2.0**127)
    if ACTIVATIONS[activation].saves == "z":
        return 2.0**-22 * np.maximum(1, size)
    of_exponent = size * ALPHA * U * np.abs(clean(expected)) if activation == "softplus" else 0  # alpha x is rounded
    return 4 * ulp(expected) + of_exponent


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_forward(activation, in_place):
    def call(x):
        out = placed(x) if in_place else poisoned(*x.shape)
        assert kernels.activation_forward(out if in_place else x, activation, out=out, alpha=ALPHA) is out
        assert_guards(out)
        return out

    for _, x, y in across(call, [SPECIAL, *(mixed(rng(n), n) for n in LENGTHS)]):
        if activation in EXACT:
            assert same_bits(y, reference.activation_forward(x, activation, alpha=ALPHA))
        else:
            expected = overflowing(reference.activation_forward(x.astype(F64), activation, alpha=ALPHA))
            with np.errstate(invalid="ignore"):
                assert_within(y, expected, activation_bound(activation, x, expected))


@pytest.mark.parametrize("alias", ["none", "dy", "saved"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_backward(activation, alias):
    """Where the derivative has no exponential it is the twin's in float32 bit for bit: the same products in the same order,
    nothing fused."""
    smooth = ACTIVATIONS[activation].saves == "z" or activation == "softplus"
    cases = []
    for n in LENGTHS:
        dy, saved = mixed(rng(n, 1), n), mixed(rng(n, 2), n)
        if smooth:
            dy = np.nan_to_num(dy, posinf=7, neginf=-7).clip(-1e30, 1e30).astype(F32)
        if activation in ("sigmoid", "tanh", "softplus"):
            saved = reference.activation_forward(saved, activation, alpha=ALPHA)
        cases.append((dy, saved))

    def call(case):
        dy, saved = case
        out = {"none": poisoned(*dy.shape), "dy": placed(dy), "saved": placed(saved)}[alias]
        g, s = out if alias == "dy" else dy, out if alias == "saved" else saved
        assert kernels.activation_backward(g, s, activation, out=out, alpha=ALPHA) is out
        assert_guards(out)
        return out

    for _, (dy, saved), dx in across(call, cases):
        if not smooth:
            assert same_bits(dx, reference.activation_backward(dy, saved, activation, alpha=ALPHA))
            continue
        expected = reference.activation_backward(*wide(dy, saved), activation, alpha=ALPHA)
        assert_within(dx, expected, np.abs(dy.astype(F64)) * 2.0**-20 + TINY)


def test_activation_backward_rounding():
    """Against float64: dy (y (1 - y)) has three roundings, and 1 - y y one of size U y^2 before it cancels."""
    r = rng(5)
    dy, y = normal(r, 1000), r.uniform(0, 1, 1000).astype(F32)
    bounds = {"sigmoid": np.abs(dy) * y * (1.0 - y) * 3.01 * U, "tanh": np.abs(dy) * (3.01 * np.abs(1.0 - y * y) + y * y) * U}
    for activation, bound in bounds.items():
        expected = reference.activation_backward(*wide(dy, y), activation)
        for dx in everywhere(lambda: kernels.activation_backward(dy, y, activation)).values():
            assert_within(dx, expected, bound)


def test_activations_take_any_shape():
    for shape in ((), (3,), (2, 3, 5), (70, 1, 99)):
        x = normal(rng(len(shape)), *shape) if shape else np.array(0.5, F32)
        for y in everywhere(lambda: kernels.activation_forward(x, "tanh")).values():
            assert_within(y, np.tanh(x.astype(F64)), 4 * U)
        dy = np.ones_like(x)
        assert kernels.activation_backward(dy, y, "tanh").shape == shape
        assert same_bits(kernels.activation_backward(dy, None, "identity"), dy)


MATH = {
    "exp": (np.exp, 2),
    "log": (np.log, 2),
    "sigmoid": (lambda x: reference.activation_forward(x, "sigmoid"), 4),
    "tanh": (np.tanh, 4),
}


@pytest.mark.parametrize("function", MATH)
def test_math_ulps(function):
    """Floats of every size, signs and NaNs included, and densely where the function does something."""
    exactly, limit = MATH[function]
    every = np.arange(0, 2**32, 3001, dtype=np.uint64).astype(np.uint32).view(F32)
    dense = np.concatenate([np.linspace(-105, 90, 400_001), np.linspace(-1, 1, 100_001), np.linspace(0.5, 2, 100_001)])
    x = np.concatenate([SPECIAL, every, dense.astype(F32), np.arange(1, 2000, dtype=np.uint32).view(F32)])
    with np.errstate(all="ignore"):
        exact = exactly(x.astype(F64))
    results = {}
    for isa in ISAS:
        fastnn.use_isa(isa)
        results[isa] = _native.math_map(function, x)
    assert all(same_bits(results[isa], results[FMA_ISAS[0]]) for isa in FMA_ISAS)
    # An infinity stands one ulp above the largest float; NaN and infinite results are compared as they are.
    finite = np.isfinite(exact)
    spacing = ulp(np.where(finite, exact, 0))
    for y in results.values():
        np.testing.assert_array_equal(y[~finite], exact[~finite])
        over = lambda a: np.clip(a, -(2.0**128), 2.0**128)
        error = np.abs(over(y[finite].astype(F64)) - over(exact[finite])) / spacing[finite]
        worst = int(np.argmax(error))
        assert error[worst] <= limit, f"{function}({x[finite][worst]!r}) is off by {error[worst]:.3f} ulp"


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 2.0**-63, reason="needs numbers of more digits to compare with")
@pytest.mark.parametrize("function", MATH)
def test_math_ulps_of_doubles(function):
    exactly = {"sigmoid": lambda x: 1 / (1 + np.exp(-x))}.get(function) or MATH[function][0]
    r = rng(7)
    every = r.integers(0, 2**64, 100_000, dtype=np.uint64).view(F64)
    dense = np.concatenate([r.uniform(-746, 710, 100_000), r.uniform(-1, 1, 100_000), r.uniform(0.5, 2, 50_000)])
    x = np.concatenate([SPECIAL.astype(F64), every, dense, np.arange(1, 2000, dtype=np.uint64).view(F64)])
    with np.errstate(all="ignore"):
        exact = exactly(x.astype(np.longdouble))
        results = {}
        for isa in ISAS:
            fastnn.use_isa(isa)
            results[isa] = _native.math_map(function, x)
        assert all(same_bits(results[isa], results[FMA_ISAS[0]]) for isa in FMA_ISAS)
        rounded = exact.astype(F64)
        finite = np.isfinite(rounded)
        spacing = np.spacing(np.maximum(np.abs(rounded[finite]), 2.0**-1022))
        for y in results.values():
            np.testing.assert_array_equal(np.isfinite(y), finite)
            np.testing.assert_array_equal(y[~finite], rounded[~finite])
            error = np.abs(y[finite] - exact[finite]) / spacing
            worst = int(np.argmax(error))
            assert error[worst] <= MATH[function][1], f"{function}({x[finite][worst]!r}) is off by {error[worst]:.3f} ulp"


def test_math_special_values():
    nan, inf = np.nan, np.inf
    rows = {
        "exp": ([0.0, -0.0, inf, -inf, 89.0, -104.0, 1e38, -1e38], [1, 1, inf, 0, inf, 0, inf, 0]),
        "log": ([0.0, -0.0, inf, -inf, -1.0, -1e-40, 1.0, 2**-149], [-inf, -inf, inf, nan, nan, nan, 0, np.log(2.0**-149)]),
        "sigmoid": ([0.0, -0.0, inf, -inf, 1e30, -1e30], [0.5, 0.5, 1, 0, 1, 0]),
        "tanh": ([0.0, -0.0, inf, -inf, 1e30, -1e30, 2**-149, -1e-40], [0.0, -0.0, 1, -1, 1, -1, 2**-149, -1e-40]),
    }
    for isa in ISAS:
        fastnn.use_isa(isa)
        for function, (x, y) in rows.items():
            assert same_bits(_native.math_map(function, F32(x)), F32(y)), (isa, function)
            assert np.isnan(_native.math_map(function, F32([nan, -nan]))).all()
    rows = {
        "exp": ([0.0, -0.0, inf, -inf, 710.0, -746.0, 1e300], [1, 1, inf, 0, inf, 0, inf]),
        "log": ([0.0, -0.0, inf, -inf, -1.0, -(2.0**-1074), 1.0, 2.0**-1074], [-inf, -inf, inf, nan, nan, nan, 0, np.log(2.0**-1074)]),
        "sigmoid": ([0.0, -0.0, inf, -inf, 1e300, -1e300], [0.5, 0.5, 1, 0, 1, 0]),
        "tanh": ([0.0, -0.0, inf, -inf, 1e300, 2.0**-1074, -1e-310], [0.0, -0.0, 1, -1, 1, 2.0**-1074, -1e-310]),
    }
    for isa in ISAS:
        fastnn.use_isa(isa)
        for function, (x, y) in rows.items():
            assert same_bits(_native.math_map(function, F64(x)), F64(y)), (isa, function)
            assert np.isnan(_native.math_map(function, F64([nan, -nan]))).all()


@pytest.mark.parametrize("alias", ["none", "dy", "x"])
@pytest.mark.parametrize("one", [False, True])
def test_prelu(one, alias):
    """Products of whole numbers are exact, so results are; sums of others are in chunks of 16 rows."""
    cases = []
    for rows in (1, 15, 17, 33):
        for columns in TAILS:
            r = rng(rows, columns)
            cases.append((whole(r, rows, columns), whole(r, rows, columns), whole(r, 1 if one else columns) / 4))
    x, dy = mixed(rng(8), 60).reshape(3, 20), mixed(rng(9), 60).reshape(3, 20)
    cases.append((x, dy, F32([-0.25]) if one else normal(rng(7), 20)))

    def call(case):
        x, dy, slope = case
        y = placed(x) if alias == "x" else poisoned(*x.shape)
        assert kernels.prelu_forward(y if alias == "x" else x, slope, out=y) is y
        dx, dslope = {"none": poisoned(*x.shape), "dy": placed(dy), "x": placed(x)}[alias], poisoned(*slope.shape)
        kernels.prelu_backward(dx if alias == "dy" else dy, dx if alias == "x" else x, slope, out=(dx, dslope))
        assert_guards(y, dx, dslope)
        return y, dx, dslope

    for _, (x, dy, slope), (y, dx, dslope) in across(call, cases):
        assert same_bits(y, reference.prelu_forward(x, slope))
        expected = reference.prelu_backward(dy, x, slope)
        assert same_bits(dx, expected[0])
        if np.isfinite(x).all():
            np.testing.assert_array_equal(dslope, expected[1])
        else:
            np.testing.assert_array_equal(np.isnan(dslope), np.isnan(expected[1]))


def test_prelu_slope_gradient_order():
    x, dy = -np.abs(normal(rng(1), 50, 21)), normal(rng(2), 50, 21)
    total = np.zeros(21, F32)
    for i in range(0, 50, 16):
        chunk = np.zeros(21, F32)
        for a, b in zip(x[i : i + 16], dy[i : i + 16]):
            chunk += a * b
        total += chunk
    for dx, dslope in everywhere(lambda: kernels.prelu_backward(dy, x, np.ones(21, F32))).values():
        assert same_bits(dslope, total) and same_bits(dx, dy)
    for _, dslope in everywhere(lambda: kernels.prelu_backward(dy, x, np.ones(1, F32))).values():
        assert_within(dslope, [total.sum(dtype=F64)], 20 * U * np.abs(total).sum())
