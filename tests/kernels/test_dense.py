"""The dense layer's products against exact ones, bit for bit and within the rounding of their chains; gradients of biases."""

import math
from fractions import Fraction

import numpy as np
import pytest

import fastnn
from fastnn import kernels, reference
from fastnn.core.activations import ACTIVATIONS

from kernel_checks import (
    across, assert_guards, assert_within, everywhere, F32, F64, FMA_ISAS, ISAS, normal, poisoned, product_bound, rng, same_bits,
    TAILS, TINY, U, whole, wide,
)  # fmt: skip

# Tiles are 6 x 64 or 12 x 16 (AVX-512), 6 x 16 (AVX2) and 2 x 16 (generic): rows and columns around their multiples.
ROWS = (1, 2, 3, 5, 6, 7, 11, 12, 13, 25)
COLUMNS = (1, 2, 10, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 79, 80, 81, 96, 100, 127, 128, 129, 193)
# k goes through blocks of 144 (FNN_KC) or, where B is not packed, of 2112; from 257 on an update may pack B.
DEPTHS = (1, 2, 15, 16, 17, 143, 144, 145, 255, 256, 257, 288, 289, 512, 513, 2112, 2113)
# From 512 columns and 32 tiles of rows on (16 if rows are whole pages), B is packed; each team cuts other cells.
PACKED = [(m, n, k) for m in (90, 91, 186, 187, 400) for n, k in ((511, 3), (512, 17), (530, 257), (577, 300), (1024, 20))]


def assert_dense_exact(shapes):
    """Forward and backward of whole numbers against float64, exactly, for each (m, n, k)."""
    data = {}
    for m, n, k in shapes:
        r = rng(m, n, k)
        data[m, n, k] = whole(r, m, k), whole(r, k, n), whole(r, n), whole(r, m, n)

    def call(shape):
        m, n, k = shape
        x, w, b, dy = data[shape]
        y, out = poisoned(m, n), (poisoned(m, k), poisoned(k, n), poisoned(n))
        assert kernels.dense_forward(x, w, b, out=y) is y
        gradients = kernels.dense_backward(dy, x, w, out=out)
        assert all(a is b for a, b in zip(gradients, out))
        assert_guards(y, *out)
        return y, *out

    expected = {}
    for shape, arrays in data.items():
        x, w, b, dy = wide(*arrays)
        expected[shape] = reference.dense_forward(x, w, b), *reference.dense_backward(dy, x, w)
    for isa, shape, result in across(call, data):
        for actual, want, what in zip(result, expected[shape], ("y", "dx", "dw", "db")):
            np.testing.assert_array_equal(actual, want, err_msg=f"{what} of {shape} on {isa}")


@pytest.mark.parametrize("m", ROWS)
def test_dense_exact(m):
    assert_dense_exact([(m, n, k) for n in COLUMNS for k in (1, 7)])


def test_dense_exact_depths():
    assert_dense_exact([(m, n, k) for m, n in ((1, 1), (7, 17), (13, 70)) for k in DEPTHS])


def test_dense_exact_one_row():
    # a lone row goes through panels of up to 16 (AVX-512), 4 (AVX2) or 2 vectors: each width, with a full and a partial last one
    assert_dense_exact([(1, 16 * v - cut, k) for v in range(1, 35) for cut in (0, 1, 15) for k in (1, 19)])


def test_dense_exact_narrow():
    # dx of few outputs goes row by row through as many panels of w^T as find room (144 / n of 64 columns or fewer)
    assert_dense_exact([(m, n, k) for m in (5, 13) for n in (1, 2, 10, 15, 16, 17) for k in (64, 100, 577, 640, 1025)])
    assert_dense_exact([(131, 10, 577)])  # large enough to ask for what it will write
    # forward of one vector of columns has tiles of up to 12 rows (AVX-512)
    assert_dense_exact([(m, n, 20) for m in range(1, 38) for n in (5, 10, 15, 16)])


def test_dense_exact_packed():
    assert_dense_exact(PACKED)
    assert_dense_exact([(60, n, m) for m, n, _ in PACKED])  # dw: as many rows of w, of 512 columns or more


@pytest.mark.parametrize("m, k, n", [(1, 1, 1), (3, 784, 100), (100, 100, 10), (33, 257, 65), (64, 300, 520), (5, 1000, 3)])
def test_dense_rounding(m, k, n):
    r = rng(m, n, k)
    x, w, b, dy = normal(r, m, k), normal(r, k, n), normal(r, n), normal(r, m, n)
    for y in everywhere(lambda: kernels.dense_forward(x, w, b, out=poisoned(m, n))).values():
        assert_within(y, *product_bound(x, w, b))
    for y in everywhere(lambda: kernels.dense_forward(x, w)).values():
        assert_within(y, *product_bound(x, w))
    for dx, dw, db in everywhere(lambda: kernels.dense_backward(dy, x, w)).values():
        assert_within(dx, *product_bound(dy, w.T))
        assert_within(dw, *product_bound(x.T, dy))
        assert_within(db, dy.sum(axis=0, dtype=F64), bias_bound(dy))


def fused(a, b, c):
    """a b + c of three float32, rounded once."""
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    if exact == 0:
        return F32(0)
    unit = Fraction(2) ** (math.frexp(exact)[1] - 24)
    return F32(float(round(exact / unit) * unit))


@pytest.mark.skipif(not FMA_ISAS, reason="no instruction set with fused multiply-add")
@pytest.mark.parametrize("m, n, k", [(2, 3, 40), (2, 18, 3), (1, 2, 260)])
def test_dense_is_one_chain_of_fma(m, n, k):
    r = rng(m, n, k)
    x, w, b = normal(r, m, k), normal(r, k, n), normal(r, n)
    expected = np.empty((m, n), F32)
    for i in range(m):
        for j in range(n):
            total = b[j]
            for p in range(k):
                total = fused(x[i, p], w[p, j], total)
            expected[i, j] = total
    results = everywhere(lambda: kernels.dense_forward(x, w, b))
    for isa in FMA_ISAS:
        assert same_bits(results[isa], expected)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("m, k, n", [(67, 600, 520), (73, 1301, 529), (96, 131, 1031)])
def test_dense_of_far_weights_is_that_of_few_rows(m, k, n, dtype):
    rng = np.random.default_rng(m)
    x, w, b = (rng.standard_normal(shape).astype(dtype) for shape in ((m, k), (k, n), (n,)))
    dy = rng.standard_normal((m, n)).astype(dtype)
    y = kernels.dense_forward(x, w, b, activation="tanh")
    few = np.concatenate([kernels.dense_forward(x[i : i + 5], w, b, activation="tanh") for i in range(0, m, 5)])
    assert y.tobytes() == few.tobytes()
    dw = kernels.dense_backward(dy, x, w)[1]
    narrow = [kernels.dense_backward(np.ascontiguousarray(dy[:, j : j + 90]), x, np.ascontiguousarray(w[:, j : j + 90]))[1]
              for j in range(0, n, 90)]
    assert dw.tobytes() == np.concatenate(narrow, axis=1).tobytes()


def test_dense_rows_do_not_depend_on_the_batch():
    r = rng(3)
    x, w, b = normal(r, 97, 300), normal(r, 300, 530), normal(r, 530)
    for isa in ISAS:
        fastnn.use_isa(isa)
        y = kernels.dense_forward(x, w, b, activation="tanh")
        dx = kernels.dense_backward(y, x, w, y, activation="tanh")[0]
        for rows in (slice(0, 1), slice(5, 12), slice(40, 97)):
            part = kernels.dense_forward(x[rows], w, b, activation="tanh")
            assert same_bits(part, y[rows])
            assert same_bits(kernels.dense_backward(part, x[rows], w, part, activation="tanh")[0], dx[rows])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dense_with_activation_is_its_parts(activation):
    """The fused forms have the bits of the separate ones, and z is the pre-activation."""
    for m, k, n in ((1, 1, 1), (7, 20, 17), (13, 9, 130)):
        r = rng(m, n, k)
        x, w, b, dy = normal(r, m, k), normal(r, k, n), normal(r, n), normal(r, m, n)

        def forward():
            y, z = poisoned(m, n), poisoned(m, n)
            kernels.dense_forward(x, w, b, activation=activation, out=y, z=z, alpha=0.125)
            assert_guards(y, z)
            assert same_bits(kernels.dense_forward(x, w, b, activation=activation, alpha=0.125), y)
            assert same_bits(kernels.dense_forward(x, w, b), z)
            assert same_bits(kernels.activation_forward(z, activation, alpha=0.125), y)
            return y

        for isa, y in everywhere(forward).items():
            fastnn.use_isa(isa)
            saved = kernels.dense_forward(x, w, b) if ACTIVATIONS[activation].saves == "z" else y
            dz = kernels.activation_backward(dy, saved, activation, alpha=0.125)
            parts = kernels.dense_backward(dz, x, w)
            assert same_bits(kernels.dense_backward(dy, x, w, saved, activation, alpha=0.125), parts)
            assert same_bits(kernels.dense_backward(dy, x, w, saved, activation, alpha=0.125, need_dx=False), (None, *parts[1:]))
        everywhere(lambda: kernels.dense_backward(dy, x, w, saved, activation))


def test_dense_special_values():
    """A NaN or infinity in a row reaches that row, through zeros too, and no other."""
    r = rng(4)
    x, w, b = whole(r, 9, 20), whole(r, 20, 70), whole(r, 70)
    x[2, 3], x[4, 19], x[6, 0], w[3, 5], b[9] = np.nan, np.inf, -np.inf, 0, -np.inf
    x[7] = F32(3e38)  # overflows to an infinity
    x[8], w[:, 66] = F32(1e-30), F32(1e-15)  # a subnormal result
    with np.errstate(all="ignore"):
        expected = reference.dense_forward(*wide(x, w, b)).astype(F32)
        bound = product_bound(x, w, b)[1] + TINY
    rows = [0, 1, 2, 3, 4, 5, 6, 8]
    for y in everywhere(lambda: kernels.dense_forward(x, w, b, out=poisoned(9, 70))).values():
        assert_within(y[rows], expected[rows], np.nan_to_num(bound[rows], nan=0, posinf=0))
        assert not np.isfinite(y[7, np.abs(w).max(axis=0) >= 2]).any()
    for y in everywhere(lambda: kernels.dense_forward(x, w, b, activation="relu")).values():
        np.testing.assert_array_equal(np.isnan(y[rows]), np.isnan(expected[rows]))


def bias_bound(dy):
    """Of a chunk at most 15 roundings, of the chunks one each."""
    return (15 + -(-dy.shape[0] // 16)) * U * np.abs(dy.astype(F64)).sum(axis=0)


@pytest.mark.parametrize("rows", (1, 2, 15, 16, 17, 31, 32, 33, 100))
def test_bias_gradient(rows):
    cases = [normal(rng(rows, columns), rows, columns) for columns in (*TAILS, 64, 65, 130)]

    def call(dy):
        db = poisoned(dy.shape[1])
        assert kernels.bias_gradient(dy, out=db) is db
        assert_guards(db)
        return db

    for _, dy, db in across(call, cases):
        assert_within(db, reference.bias_gradient(dy.astype(F64)), bias_bound(dy))
        total = np.zeros_like(db)  # the order of summation, which is part of what the kernel promises
        for i in range(0, rows, 16):
            chunk = np.zeros_like(db)
            for row in dy[i : i + 16]:
                chunk += row
            total += chunk
        assert same_bits(db, total)
