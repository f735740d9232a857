"""Normalisations; sums of millions of terms."""

import numpy as np
import pytest

import fastnn
from fastnn import kernels, reference

from kernel_checks import (
    across, assert_guards, assert_within, everywhere, F32, F64, ISAS, normal, placed, poisoned, rng, same_bits, TINY, U, whole,
    wide,
)  # fmt: skip

NORM_SHAPES = [(rows, columns) for rows in (2, 15, 16, 17, 33) for columns in (1, 15, 17, 33, 49, 64, 65, 100, 131)]


def affine_of(r, columns, affine):
    return (normal(r, columns) + F32(1), normal(r, columns)) if affine else (None, None)


def normalised(case, forward, backward, in_place=False, **options):
    """(y, statistics, dx, gradients of the weights) of one case by the kernels; outputs are guarded."""
    x, dy, weight, bias = case
    y, dx = (placed(x), placed(dy)) if in_place else (poisoned(*x.shape), poisoned(*x.shape))
    affine = (weight,) if "rms" in forward else (weight, bias)
    same, statistics = getattr(kernels, forward)(y if in_place else x, *affine, out=y, **options)
    assert same is y
    gradients = getattr(kernels, backward)(dx if in_place else dy, x, statistics, weight, out=dx)
    assert gradients[0] is dx
    assert_guards(y, dx)
    return y, statistics, *gradients


def assert_normalises(forward, backward, shapes, scale=1.0, shift=0.0, tolerance=2e-6, **options):
    """Against the twin in float64, relative to the largest element of each output."""
    cases = []
    for rows, columns in shapes:
        r = rng(rows, columns)
        x = normal(r, rows, columns, scale=scale) + F32(shift)
        cases.append((x, normal(r, rows, columns), *affine_of(r, columns, rows % 2)))
    for in_place in (False, True):
        for isa, case, found in across(lambda c: normalised(c, forward, backward, in_place, **options), cases):
            x, dy, weight, bias = wide(*case)
            affine = (weight,) if "rms" in forward else (weight, bias)
            y, statistics = getattr(reference, forward)(x, *affine, **options)
            expected = y, statistics, *getattr(reference, backward)(dy, x, statistics, weight)
            for which, (a, e) in enumerate(zip(found, expected)):
                if which == 1:
                    continue
                bound = tolerance * np.abs(e).max() * max(1.0, np.sqrt(len(x)) / 4) + tolerance
                if which == 2:  # dx, where y changes as 1 / deviation
                    bound = tolerance * (np.abs(e).max() + 40 / scale)
                assert_within(a, e, bound)


def test_batchnorm():
    assert_normalises("batchnorm_forward", "batchnorm_backward", NORM_SHAPES, tolerance=5e-6)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_batchnorm_activation_is_its_parts(activation):
    x = normal(rng(1), 37, 70)
    for isa, found in everywhere(lambda: kernels.batchnorm_forward(x, activation=activation)[0]).items():
        fastnn.use_isa(isa)
        assert same_bits(found, kernels.activation_forward(kernels.batchnorm_forward(x)[0], activation))


def test_batchnorm_far_from_zero():
    """A mean of 1e4: the mean itself is only known to 5e-4 in float32, deviations and variance to full precision."""
    assert_normalises("batchnorm_forward", "batchnorm_backward", [(100, 33), (256, 16)], shift=1e4, tolerance=5e-6)
    assert_normalises("layernorm_forward", "layernorm_backward", [(7, 333), (5, 64)], shift=1e4, tolerance=5e-6)
    x = normal(rng(0), 200, 40) + F32(1e4)
    var = kernels.batchnorm_forward(x)[1][3]
    assert_within(var, x.astype(F64).var(axis=0), 2e-6)


def test_batchnorm_special_values():
    x = normal(rng(3), 20, 40)
    x[3, 0], x[4, 1], x[5, 2] = np.nan, np.inf, -np.inf
    x[:, 3], x[:, 4] = 7.25, 0.1  # a constant column: no variance
    x[:, 5] *= F32(1e-42)
    dy = normal(rng(4), 20, 40)

    def call():
        y, statistics = kernels.batchnorm_forward(x)
        return y, *kernels.batchnorm_backward(dy, x, statistics)

    for y, dx, dweight, dbias in everywhere(call).values():
        for a in (y, dx, dweight):
            assert np.isnan(a[..., :3]).all() and np.isfinite(a[..., 3:]).all()
        assert (np.abs(y[:, 3:5]) < 1e-6).all() and np.isfinite(dbias).all()


def test_batchnorm_inference():
    cases = []
    for rows, columns in NORM_SHAPES:
        r = rng(rows, columns)
        cases.append((normal(r, rows, columns), normal(r, columns), np.abs(normal(r, columns)), *affine_of(r, columns, rows % 2)))

    def call(case):
        out = poisoned(*case[0].shape)
        assert kernels.batchnorm_inference(*case, activation="relu", out=out) is out
        assert_guards(out)
        return out

    for _, case, y in across(call, cases):
        expected = reference.batchnorm_inference(*wide(*case), activation="relu")
        assert_within(y, expected, 8 * U * (np.abs(expected) + 1 + 6 / np.sqrt(case[2] + 1e-5) * 3))


def test_batchnorm_inference_rows_do_not_depend_on_the_batch():
    x, mean, var = normal(rng(1), 9, 50), normal(rng(2), 50), np.abs(normal(rng(3), 50))
    for isa in ISAS:
        fastnn.use_isa(isa)
        whole = kernels.batchnorm_inference(x, mean, var)
        assert same_bits(np.concatenate([kernels.batchnorm_inference(x[i : i + 1], mean, var) for i in range(9)]), whole)


HUGE = F32([1, 1e18, 1e19, 1e25, 3e37, 3e38, 1e30, 1])  # a float32's largest is 3.4e38


def huge(across_rows, groups):
    """(x, dy): groups of 8 columns, or rows, of standard deviations HUGE; those of 3e38 are even numbers' signs, or all equal."""
    r = rng(across_rows)
    x, dy = normal(r, 40, 8 * groups), normal(r, 40, 8 * groups)
    x[:, 5::16], x[:, 13::16] = np.sign(x[:, 5::16]), 1
    x *= np.tile(HUGE, groups)
    return (np.ascontiguousarray(x.T), np.ascontiguousarray(dy.T)) if across_rows else (x, dy)


@pytest.mark.parametrize("groups", [1, 6, 66])
@pytest.mark.parametrize("name", ["batchnorm", "layernorm", "rmsnorm"])
def test_normalisation_where_squares_overflow(name, groups):
    """|x| above 1e19: y, the gradients and the ordinary rows or columns beside them are as they would be without a limit."""
    forward, backward = (getattr(kernels, f"{name}_{way}") for way in ("forward", "backward"))
    x, dy = huge(name != "batchnorm", groups)
    weight = normal(rng(1), x.shape[1]) + F32(2)
    y64, statistics64 = getattr(reference, f"{name}_forward")(x.astype(F64), weight.astype(F64))
    wide_gradients = getattr(reference, f"{name}_backward")(dy.astype(F64), x.astype(F64), statistics64, weight.astype(F64))
    twin = getattr(reference, f"{name}_forward")(x, weight)
    twins = [twin, getattr(reference, f"{name}_backward")(dy, x, twin[1], weight)]

    def call():
        found = forward(x, weight)
        return *found, *backward(dy, x, found[1], weight)

    for y, _, dx, *gradients in [*everywhere(call).values(), (*twins[0], *twins[1])]:
        assert_within(y, y64, 1e-5 * np.abs(y64).max())
        along = 0 if name == "batchnorm" else 1
        bound = 1e-5 * np.abs(wide_gradients[0]).max(axis=along, keepdims=True) + 40 * TINY  # beside 3e38 dx is subnormal
        assert_within(dx, wide_gradients[0], bound)
        for a, e in zip(gradients, wide_gradients[1:]):
            assert_within(a, e, 1e-5 * np.abs(e).max())


def test_huge_values_beside_ordinary_ones_do_not_change_their_bits():
    x, dy = huge(False, 3)
    plain = x.copy()
    plain[:, np.tile(HUGE, 3) > 1] = 1

    def call(case, name):
        y, statistics = getattr(kernels, f"{name}_forward")(case)
        return y, statistics, *getattr(kernels, f"{name}_backward")(dy if name == "batchnorm" else dy.T.copy(), case, statistics)

    for isa in ISAS:
        fastnn.use_isa(isa)
        one = np.tile(HUGE, 3) == 1
        for a, b in zip(call(x, "batchnorm"), call(plain, "batchnorm")):
            assert same_bits(a[..., one], b[..., one])
        for a, b in zip(call(x.T.copy(), "layernorm")[:3], call(plain.T.copy(), "layernorm")):
            assert same_bits(a[one], b[one])


def test_normalisation_of_huge_values_that_are_no_numbers():
    x = normal(rng(5), 20, 20, scale=1e25)
    x[3, 0], x[4, 1], x[5, 2] = np.nan, np.inf, -np.inf
    for name, along in (("batchnorm", 0), ("layernorm", 1), ("rmsnorm", 1)):
        for y, _ in everywhere(lambda: getattr(kernels, f"{name}_forward")(x if along == 0 else x.T.copy())).values():
            y = y if along == 0 else y.T
            assert np.isnan(y[[3, 4, 5], [0, 1, 2]]).all() and np.isfinite(y[:, 3:]).all()


def test_sums_of_a_million_terms_do_not_stop_growing():
    """One float32 chain over all would be off by parts in a hundred."""
    rows, x, dy = 1_000_000, F32([[0.7, 0.3]]), F32([[0.1, 0.01, 3.3]])
    many = (np.repeat(dy, rows, axis=0), np.repeat(x, rows, axis=0))
    zero = np.zeros((2, 3), F32)
    expected = rows * x.astype(F64).T @ dy.astype(F64), rows * dy[0].astype(F64)
    for dw, db in (*everywhere(lambda: kernels.dense_backward(*many, zero, need_dx=False)[1:]).values(),
                   reference.dense_backward(*many, zero, need_dx=False)[1:]):
        assert_within(dw, expected[0], 1e-3 * expected[0])
        assert_within(db, expected[1], 1e-3 * expected[1])
    g, x = np.ascontiguousarray(many[0][:, :2]), many[1]
    statistics = np.tile(F32([0, 0, 1]), (rows, 1))
    for _, dweight, dbias in everywhere(lambda: kernels.layernorm_backward(g, x, statistics)).values():
        assert_within(dweight, rows * (g[0] * x[0]).astype(F64), 1e-3 * np.abs(dweight))
        assert_within(dbias, expected[1][:2], 1e-3 * expected[1][:2])
    x = x - F32(0.5)
    columns = np.tile(F32([[0], [0], [1], [1]]), (1, 2))
    for _, dweight, dbias in everywhere(lambda: kernels.batchnorm_backward(g, x, columns)).values():
        assert_within(dweight, rows * (g[0] * x[0]).astype(F64), 1e-3 * np.abs(dweight))
        assert_within(dbias, expected[1][:2], 1e-3 * expected[1][:2])
    x[1::2] = -x[1::2]
    for var in (a[1][3] for a in everywhere(lambda: kernels.batchnorm_forward(x)).values()):
        assert_within(var, x[0].astype(F64) ** 2, 1e-3 * var)


def test_sums_along_a_row_of_millions_do_not_stop_growing():
    n = 4_000_000
    x = np.full((1, n), np.log(0.1), F32)
    x[0, 0] = 0
    total = np.exp(x.astype(F64)).sum()
    dy = np.full((1, n), 0.1, F32)

    def call():
        loss = kernels.softmax_cross_entropy(x, np.zeros(1, np.int64))[0]
        return kernels.softmax_forward(x), kernels.log_softmax_forward(x), kernels.log_softmax_backward(dy, x), loss

    for y, log_y, dx, loss in everywhere(call).values():
        assert_within(y[0, :1], np.array([1 / total]), 1e-4 / total)
        assert_within(log_y[0, :1], np.array([-np.log(total)]), 1e-4 * np.log(total))
        assert_within(dx[0, :1], np.array([0.1 - 0.1 * n]), 1e-4 * n)
        assert abs(loss - np.log(total)) < 1e-4
    for y, _ in everywhere(lambda: kernels.layernorm_forward(x)).values():
        assert_within(y[0, 1:2], (x[0, 1:2] - x.astype(F64).mean()) / np.sqrt(x.astype(F64).var() + 1e-5), 1e-3)


def test_rownorm():
    shapes = [(rows, columns) for rows, columns in NORM_SHAPES if columns > 1]
    assert_normalises("layernorm_forward", "layernorm_backward", shapes, tolerance=8e-6)
    assert_normalises("rmsnorm_forward", "rmsnorm_backward", NORM_SHAPES, tolerance=8e-6)
    assert_normalises("layernorm_forward", "layernorm_backward", [(3, 1000)], eps=0.5, activation="identity")


def test_rownorm_special_values():
    x = normal(rng(3), 6, 37)
    x[0, 36], x[1, 3], x[2] = np.nan, np.inf, 7.25
    dy = normal(rng(4), 6, 37)
    for forward, backward in (("layernorm_forward", "layernorm_backward"), ("rmsnorm_forward", "rmsnorm_backward")):

        def call():
            y, statistics = getattr(kernels, forward)(x)
            return y, getattr(kernels, backward)(dy, x, statistics)[0]

        for y, dx in everywhere(call).values():
            assert np.isnan(y[0]).all() and np.isnan(dx[0]).all() and np.isnan(y[1, 3])
            assert np.isfinite(y[2:]).all() and np.isfinite(dx[2:]).all()
            if forward == "layernorm_forward":
                assert (np.abs(y[2]) < 1e-5).all()


def test_groupnorm():
    """As layer normalisation of the groups' elements; the kernel's own sums are lane by lane and pixel by pixel."""
    cases = []
    for groups, *shape in [(1, 7, 3), (2, 5, 4, 6), (6, 3, 3, 6), (2, 40), (3, 9, 99), (1, 2, 2, 70)]:
        r = rng(groups, *shape)
        cases.append((groups, normal(r, 5, *shape, scale=3.0) + F32(1), normal(r, 5, *shape), normal(r, shape[-1]), normal(r, shape[-1])))

    def call(case):
        groups, x, dy, w, b = case
        y, dx = poisoned(*x.shape), poisoned(*x.shape)
        assert kernels.groupnorm_forward(x, groups, w, b, 1e-3, "relu", out=y) is y
        found = kernels.groupnorm_backward(dy, x, groups, w, 1e-3, out=dx)
        assert found[0] is dx and same_bits(dx, kernels.groupnorm_backward(in_place := placed(dy), x, groups, w, 1e-3, out=in_place)[0])
        assert same_bits(kernels.groupnorm_forward(again := placed(x), groups, w, b, 1e-3, "relu", out=again), y)
        assert_guards(y, dx, in_place, again)
        return (y, *found, kernels.groupnorm_forward(x, groups))

    for _, (groups, x, dy, w, b), found in across(call, cases):
        wide_ = wide(x, dy, w, b)
        expected = (reference.groupnorm_forward(wide_[0], groups, *wide_[2:], 1e-3, "relu"),
                    *reference.groupnorm_backward(wide_[1], wide_[0], groups, wide_[2], 1e-3), reference.groupnorm_forward(wide_[0], groups))
        for a, e in zip(found, expected, strict=True):
            assert_within(a, e, 2e-5 * max(1, np.abs(e).max()))


def test_groupnorm_special_values():
    x = normal(rng(3), 4, 5, 6)
    x[0, 1, 1], x[1, 2, 5], x[2] = np.nan, np.inf, 3e38
    for y in everywhere(lambda: kernels.groupnorm_forward(x, 2)).values():
        assert np.isnan(y[0, :, :3]).all() and np.isfinite(y[0, :, 3:]).all() and np.isnan(y[1, 2, 5]) and np.isfinite(y[2:]).all()
        assert_within(y[3], reference.groupnorm_forward(x[3:].astype(F64), 2)[0], 1e-5)
