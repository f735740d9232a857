"""Dropout and noise, random numbers, maxout, sums."""

import math

import numpy as np
import pytest

import fastnn
from fastnn import kernels, reference
from fastnn.executors import NativeExecutor
from fastnn.plan import Builder

from kernel_checks import (
    across, assert_guards, assert_within, everywhere, F32, F64, ISAS, mixed, normal, placed, poisoned, rng, same_bits, SPECIAL,
    TAILS, U,
)  # fmt: skip

NOISE_SHAPES = [(rows, columns) for rows in (1, 3, 9, 33) for columns in (*TAILS, 100, 129)] + [(5,), (4, 3, 21)]


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1e-6, 0.99999, 1.0])
def test_dropout(p, in_place):
    """The twin's in float32, bit for bit: a mask and one product."""
    cases = [normal(rng(*shape), *shape) for shape in NOISE_SHAPES] + [SPECIAL]

    def call(x):
        out = placed(x) if in_place else poisoned(*x.shape)
        assert kernels.dropout_forward(out if in_place else x, p, 2**63 + 11, 2**32 - 1, out=out, stream=17) is out
        assert_guards(out)
        assert same_bits(out, kernels.dropout_backward(x, p, 2**63 + 11, 2**32 - 1, stream=17))
        return out

    for _, x, y in across(call, cases):
        assert same_bits(y, reference.dropout_forward(x, p, 2**63 + 11, 2**32 - 1, stream=17))


def test_dropout2d():
    cases = [normal(rng(*shape), *shape) for shape in [(1, 1, 1), (3, 5, 17), (9, 2, 3, 40), (4, 7), (33, 2, 2, 129)]]

    def call(x):
        out = poisoned(*x.shape)
        assert kernels.dropout2d_forward(x, 0.4, 7, 3, out=out, stream=18) is out
        assert same_bits(kernels.dropout2d_backward(y := placed(x), 0.4, 7, 3, out=y, stream=18), out)
        assert_guards(out, y)
        return out

    for _, x, y in across(call, cases):
        assert same_bits(y, reference.dropout2d_forward(x, 0.4, 7, 3, stream=18))
        assert same_bits(y[:, 0], kernels.dropout2d_forward(x[:, 0].copy(), 0.4, 7, 3, stream=18) if x.ndim > 2 else y[:, 0])


def test_dropout_draws():
    """The share that stays, and that seed, offset, stream, rows and columns each make another mask."""
    x = np.ones((300, 200), F32)
    y = kernels.dropout_forward(x, 0.25, seed=1)
    assert set(np.unique(y)) == {F32(0), F32(65536 / 49152)} and abs((y > 0).mean() - 0.75) < 4 * (0.25 * 0.75 / x.size) ** 0.5
    for axis in (0, 1):  # no row and no column is like another
        assert np.unique(y > 0, axis=axis).shape == y.shape
    others = [kernels.dropout_forward(x, 0.25, **k) for k in ({"seed": 2}, {"seed": 1, "offset": 1}, {"seed": 1, "stream": 17})]
    for z in others:  # independent: both stay in 9 of 16
        assert abs(((y > 0) & (z > 0)).mean() - 0.5625) < 0.01


@pytest.mark.parametrize("in_place", [False, True])
def test_gaussian_noise(in_place):
    cases = [normal(rng(*shape), *shape) for shape in NOISE_SHAPES]

    def call(x):
        out = placed(x) if in_place else poisoned(*x.shape)
        assert kernels.gaussian_noise(out if in_place else x, 1.5, seed=3, offset=4, out=out) is out
        assert_guards(out)
        return out

    for _, x, y in across(call, cases):
        expected = reference.gaussian_noise(x.astype(F64), 1.5, seed=3, offset=4)
        assert_within(y, expected, 1.5 * 6e-7 + 4 * U * (np.abs(x) + np.abs(expected)))


def test_gaussian_noise_is_normal():
    z = np.sort(kernels.gaussian_noise(np.zeros((500, 400), F32), 1.0, seed=0).ravel())
    assert abs(z.mean()) < 0.01 and abs(z.std() - 1) < 0.01
    cdf = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in z[::200]])
    assert np.abs(cdf - np.arange(0, z.size, 200) / z.size).max() < 0.004  # Kolmogorov and Smirnov, level 0.003


@pytest.mark.parametrize("pieces", [1, 2, 3, 5])
def test_maxout(pieces):
    """The twin's bit for bit: choices and no arithmetic."""
    cases = []
    for rows in (1, 4):
        for columns in TAILS:
            r = rng(rows, columns, pieces)
            x = mixed(r, rows * columns * pieces).reshape(rows, -1)
            cases.append((x, np.where(r.random((rows, columns)) < 0.1, F32(0), normal(r, rows, columns))))

    def call(case):
        x, dy = case
        y, dx = poisoned(*dy.shape), poisoned(*x.shape)
        assert kernels.maxout_forward(x, pieces, out=y) is y and kernels.maxout_backward(dy, x, pieces, out=dx) is dx
        assert_guards(y, dx)
        return y, dx

    for _, (x, dy), (y, dx) in across(call, cases):
        y64, dx64 = reference.maxout_forward(x, pieces), reference.maxout_backward(dy, x, pieces)
        assert same_bits(np.abs(y), np.abs(y64)) and np.array_equal(y, y64, equal_nan=True)  # of 0 and -0 either is largest
        np.testing.assert_array_equal(dx, dx64)


def test_maxout_of_equals_and_nans():
    x = F32([[1, 2, np.nan, 1, 2, 5, 1, 3, np.nan]])
    for isa in ISAS:
        fastnn.use_isa(isa)
        np.testing.assert_array_equal(kernels.maxout_forward(x, 3), F32([[1, 3, np.nan]]))
        np.testing.assert_array_equal(kernels.maxout_backward(F32([[7, 8, 9]]), x, 3), F32([[7, 0, 9, 0, 0, 0, 0, 8, 0]]))


def test_add():
    for columns in TAILS:
        builder = Builder(5)
        x = builder.input((columns,))
        builder.mark_output(builder.add(x, x))
        plan, data = builder.build(), normal(rng(columns), 5, columns)

        def call():
            out = np.empty_like(data)
            NativeExecutor(plan).run(data, out=out)
            return out

        for y in everywhere(call).values():
            assert same_bits(y, data + data)


def test_random_bits():
    for n, offset in ((0, 0), (1, 0), (1, 3), (3, 2), (4, 4), (1000, 0), (1001, 5), (9, 2**64 - 9), (7, 2**34 - 3)):
        for seed, stream, step in ((0, 0, 0), (2**64 - 1, 2**32 - 1, 2**32 - 1), (12345678901234567890, 7, 99)):
            expected = reference.random_bits(n, seed, stream, step, offset)
            assert same_bits(kernels.random_bits(n, seed, stream, step=step, offset=offset), expected)


def test_permutation():
    for n in (0, 1, 2, 3, 10, 257, 3000):
        for seed, epoch in ((0, 0), (2**64 - 1, 2**32 - 1), (7, 3)):
            assert same_bits(kernels.permutation(n, seed, epoch), reference.permutation(n, seed, epoch))
