"""How the kernels' tests check: on every instruction set, with teams of every size, into outputs between guards."""

import math

import numpy as np
import pytest

import fastnn
from fastnn import _native, reference

U = 2.0**-24
TINY = 2.0**-149  # the smallest subnormal: the spacing of floats around zero
ISAS = fastnn.available_isas()
FMA_ISAS = [isa for isa in ISAS if isa != "generic"]
TEAMS = (1, 2, 3, 5)
V = 16  # lanes of a vector, on every instruction set
TAILS = (1, 2, V - 1, V, V + 1, 2 * V, 3 * V + 2)
GUARD, SENTINEL = 17, -12345.0  # odd, so that outputs are not aligned to anything but their type

F32, F64 = np.float32, np.float64


@pytest.fixture(autouse=True)
def teams_for_the_smallest_work():
    """For all tests of a file that imports it, or whose conftest does: what they set is as before behind each."""
    work, threads, isa = _native.team_work(), fastnn.get_num_threads(), fastnn.get_isa()
    _native.team_work(0)
    yield
    _native.team_work(work)
    fastnn.set_num_threads(threads)
    fastnn.use_isa(isa)


def poisoned(*shape, dtype=F32):
    """An output: NaN where a kernel must write, sentinels around."""
    block = np.full(math.prod(shape) + 2 * GUARD, SENTINEL, dtype)
    block[GUARD:-GUARD] = np.nan if np.dtype(dtype).kind == "f" else -1
    return block[GUARD:-GUARD].reshape(shape)


def placed(array):
    """A copy of an array, with sentinels around it."""
    out = poisoned(*array.shape, dtype=array.dtype)
    out[...] = array
    return out


def assert_guards(*arrays):
    for a in arrays:
        block = a.base
        assert (block[:GUARD] == SENTINEL).all() and (block[-GUARD:] == SENTINEL).all(), "written outside the output"


def same_bits(a, b):
    """Whether two arrays, numbers or tuples of them are the same bits; NaNs count as equal."""
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same_bits(x, y) for x, y in zip(a, b))
    if a is None or b is None:
        return a is b
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.tobytes() == b.tobytes():
        return True
    if a.dtype.kind != "f":
        return False
    bits = f"u{a.itemsize}"
    return bool(((a.view(bits) == b.view(bits)) | (np.isnan(a) & np.isnan(b))).all())


def assert_within(actual, expected, bound):
    """|actual - expected| <= bound; NaNs and infinities stand exactly where they are expected."""
    actual, expected = np.asarray(actual, F64), np.asarray(expected, F64)
    bound = np.broadcast_to(bound, expected.shape)
    assert actual.shape == expected.shape
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite])
    error = np.zeros(expected.shape)
    error[finite] = np.abs(actual[finite] - expected[finite])
    bad = ~(error <= np.where(finite, bound, 0))  # a NaN is bad
    if bad.any():
        at = tuple(np.argwhere(bad)[0])
        raise AssertionError(
            f"{bad.sum()} of {bad.size} elements are off, the first at {at}: "
            f"expected {expected[at]!r} within {bound[at]:.3g}, got {actual[at]!r}"
        )


def across(call, cases):
    """[(isa, case, call(case))], having found the same bits for every team and on every instruction set that has FMA."""
    cases, results = list(cases), {}
    for threads in TEAMS:
        fastnn.set_num_threads(threads)
        for isa in ISAS:
            fastnn.use_isa(isa)
            for i, case in enumerate(cases):
                result = call(case)
                same = same_bits(result, results.setdefault((isa, i), result))
                assert same, f"{isa}: other bits with {threads} threads than with 1 in case {case!r:.200}"
            assert fastnn.get_isa() == isa
    for isa in FMA_ISAS[1:]:
        for i, case in enumerate(cases):
            same = same_bits(results[isa, i], results[FMA_ISAS[0], i])
            assert same, f"other bits on {isa} than on {FMA_ISAS[0]} in case {case!r:.200}"
    return [(isa, cases[i], result) for (isa, i), result in results.items()]


def everywhere(call):
    """{isa: call()}, checked as `across` does."""
    return {isa: result for isa, _, result in across(lambda _: call(), [None])}


def rng(*seed):
    return np.random.default_rng(seed)


def normal(r, *shape, scale=1.0):
    return (r.standard_normal(shape) * scale).astype(F32)


def whole(r, *shape, largest=8):
    """Small whole numbers: every product and sum of them is exact in float32."""
    return r.integers(-largest, largest + 1, shape).astype(F32)


def wide(*arrays):
    return [None if a is None else a.astype(F64) for a in arrays]


def product_bound(x, w, b=None):
    """x w + b in float64, and how far a chain of k + 1 terms, each rounded twice without FMA, may be off."""
    x, w, b = wide(x, w, np.zeros(w.shape[1]) if b is None else b)
    return x @ w + b, (x.shape[1] + 2) * U * (np.abs(x) @ np.abs(w) + np.abs(b))


SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 2**-149, -(2**-149), 2**-130, -(2**-130), 2**-126, -(2**-126), 1e-20, -1e-20, 1e4, -1e4,
     3.4e38, -3.4e38, 88.0, -88.0, 89.0, -89.0, -104.0, 9.02, -9.02, 0.5, -0.5, 1.0, -1.0, 20.0, -20.0],
    dtype=F32,
)  # fmt: skip


def mixed(r, n):
    """Normal numbers of several sizes, and special ones among them."""
    x = normal(r, n, scale=10.0 ** r.integers(-3, 2, n))
    at = r.permutation(n)[: n // 2 + 1]
    x[at] = r.choice(SPECIAL, len(at))
    return x


def overflowing(exact):
    """Float64 results as float32 can hold them: infinite beyond its largest."""
    return np.where(np.abs(exact) > float(np.finfo(F32).max), np.copysign(np.inf, exact), exact)


CLASSES = (1, 2, 9, 10, 15, 16, 17, 31, 32, 33, 100, 1000)


def logits_of(rows, columns, seed=0):
    """Rows of ordinary, close, far apart and huge logits in turn."""
    z = normal(rng(rows, columns, seed), rows, columns)
    z *= np.resize(F32([1, 1e-3, 30, 1e4]), rows)[:, None]
    return z + np.resize(F32([0, 100, 0, -1e4]), rows)[:, None]


def special_logits():
    z = logits_of(24, 17, seed=1)
    z[0, 3] = z[1, 16] = np.nan
    z[2, 5] = z[3, 16] = np.inf
    z[4, 5] = z[5, 16] = -np.inf
    z[6] = -np.inf
    z[7] = np.inf
    z[8] = np.nan
    z[9, 0], z[9, 1] = np.inf, -np.inf
    z[10] = 0
    z[11] = -0.0
    z[12] = 3e38
    z[13] = np.where(np.arange(17) % 2, 3e38, -3e38)
    z[14] = 2.0**-149
    return z


def softmax_bound(z):
    """The relative error of each softmax, as a bound, and of each row's sum of exponentials.

    e^(z - max) is off by U |z - max| for the rounded difference and 2 ulp (4 U); a sum of n adds n / 16 + 4 roundings.
    """
    with np.errstate(all="ignore"):
        z = z.astype(F64)
        away = z.max(axis=1, keepdims=True) - z
        p = reference.softmax_forward(z)
        of_sum = U * ((p * np.where(p > 0, away, 0)).sum(axis=1, keepdims=True) + z.shape[1] / 16 + 10)
        return np.where(p > 0, U * (away + 6), 0) + of_sum, of_sum


def clean(bound):
    return np.nan_to_num(bound, nan=0.0, posinf=0.0)


def frozen(a):
    a.flags.writeable = False
    return a
