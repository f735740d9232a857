"""The eager kernels against their NumPy twins in float64: every instruction set, team sizes, tails, aliasing, errors.

Every call of `everywhere` runs on each instruction set with teams of 1, 2, 3 and 5 threads, into outputs that held NaN and
stand between guard elements, and requires the same bits of all teams and of all sets with fused multiply-add.

Tolerances are bounds, not guesses: U is half an ulp of 1, a chain of n roundings of terms t is off by at most n·U·Σ|t|, and
products of small integers are exact, so there the tolerance is none.
"""

import inspect
import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import _native, kernels, reference
from fastnn.core.activations import ACTIVATIONS
from fastnn.core.update_rules import RULES, settings_of
from fastnn.executors import NativeExecutor
from fastnn.plan import Builder

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
    work, threads, isa = _native.team_work(), fastnn.get_num_threads(), fastnn.get_isa()
    _native.team_work(0)
    yield
    _native.team_work(work)
    fastnn.set_num_threads(threads)
    fastnn.use_isa(isa)


# ---- the checker ----


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


def test_checker_rejects_zeros_and_changes():
    x, w, b = normal(rng(0), 20, 30), normal(rng(1), 30, 40), normal(rng(2), 40)
    y = kernels.dense_forward(x, w, b)
    expected, bound = product_bound(x, w, b)
    assert_within(y, expected, bound)
    for change in (lambda a: a.fill(0), lambda a: a.__setitem__((19, 39), 0), lambda a: a.__setitem__((7, 3), np.nan),
                   lambda a: a.__setitem__((0, 0), np.inf), lambda a: a.__setitem__((3, 5), a[3, 5] * F32(1.001))):
        changed = y.copy()
        change(changed)
        with pytest.raises(AssertionError):
            assert_within(changed, expected, bound)
        assert not same_bits(changed, y)
    with pytest.raises(AssertionError):
        assert_within(kernels.dense_forward(x[:, :-1].copy(), w[:-1], b), expected, bound)  # one term of 30 left out
    with pytest.raises(AssertionError):
        assert_within(y[:-1], expected, bound)
    with pytest.raises(AssertionError):  # NaN where a number is expected, and the reverse
        assert_within([np.nan, 1.0], [0.0, np.nan], np.inf)


def test_checker_tells_bits_apart():
    y = normal(rng(0), 5, 7)
    nudged = y.copy()
    nudged[4, 6] = np.nextafter(nudged[4, 6], F32(np.inf))
    assert same_bits(y, y.copy()) and not same_bits(nudged, y)
    assert not same_bits(F32([0.0]), F32([-0.0]))
    assert not same_bits(y, y.astype(F64)) and not same_bits(y, y.ravel())
    other_nan = np.uint32([0xFFC00001]).view(F32)
    assert same_bits(F32([np.nan]), other_nan) and not same_bits(F32([np.nan]), F32([1.0]))
    assert same_bits((y, None), (y, None)) and not same_bits((y, None), (y, y))


def test_checker_sees_guards():
    out = poisoned(3, 4)
    assert_guards(out)
    out.base[GUARD + 12] = 0
    with pytest.raises(AssertionError):
        assert_guards(out)


def test_every_kernel_has_a_test():
    tested = {
        "gemm": test_dense_exact,
        **dict.fromkeys(("windows_pack", "windows_product", "windows_gradient", "depthwise_product", "depthwise_gradient")),  # in test_convolution.py
        "activation_forward": test_activation_forward,
        "activation_backward": test_activation_backward,
        "bias_gradient": test_bias_gradient,
        "softmax_forward": test_softmax_forward,
        "softmax_backward": test_softmax_backward,
        "log_softmax_forward": test_log_softmax_forward,
        "log_softmax_backward": test_log_softmax_backward,
        "prelu_forward": test_prelu,
        "prelu_backward": test_prelu,
        "prelu_slope_gradient": test_prelu,
        # in test_numerical.py
        **dict.fromkeys(f"pbld_{what}" for what in ("forward", "backward_input", "backward_frequencies", "backward_weights")),
        **dict.fromkeys(f"parametric_activation_{what}" for what in ("forward", "backward", "gradient")),
        "softmax_cross_entropy": test_softmax_cross_entropy,
        "batchnorm_forward": test_batchnorm,
        "batchnorm_inference": test_batchnorm_inference,
        "batchnorm_backward": test_batchnorm,
        "rownorm_forward": test_rownorm,
        "rownorm_backward": test_rownorm,
        "rownorm_backward_weights": test_rownorm,
        "random_words": test_random_bits,
        "dropout": test_dropout,
        "gaussian_noise": test_gaussian_noise,
        "add": test_add,
        "maxout_forward": test_maxout,
        "maxout_backward": test_maxout,
        "elementwise_loss": test_elementwise_losses,
        "multiclass_hinge": test_multiclass_hinge,
        "convert": test_gather_dtypes,
        "all_finite": test_gather_check_finite,
        "sum_squares": test_gradient_norm,
        "penalty_forward": test_penalty,
        "penalty_backward": test_penalty,
        "math_map": test_math_ulps,
        "fma_peak": test_fma_peak,
        "fma_literal": test_fma_peak,
        "streams": test_streams,
        "sgd": test_sgd,
        "adam": test_adam,
        # in test_optim_rules.py
        **{name: None for name in RULES if name not in ("sgd", "adam")},
        **dict.fromkeys(("trust_norms", "trust_update", "max_norm", "max_norm_unit")),
        **dict.fromkeys(("prepared_gradient", "scaled", "momentum_of", "square_columns", "divided_by_root", "variance_of")),
        "batchnorm_running": None,  # in test_layers.py
        "drop_rows": None,
        "drop_channels": test_dropout2d,
        "groupnorm_forward": test_groupnorm,
        "groupnorm_backward": test_groupnorm,
        **dict.fromkeys((name for name in kernels.__all__ if name.startswith("stochastic_pool2d")), test_stochastic_pool2d),
        **dict.fromkeys((f"{kind}pool2d_{way}" for kind in ("max", "avg") for way in ("forward", "backward")), test_pooling),
        **dict.fromkeys(f"augment_{what}" for what in ("pixels", "sample", "colors", "fill", "mix")),  # in test_augment.py
    }
    text = (Path(__file__).parents[1] / "csrc" / "defs" / "kernels.def").read_text()
    names = set(re.findall(r"^FNN_KERNEL\((\w+)", text, re.M)) | set(RULES)
    assert names == set(tested)


def test_twins_have_the_same_signature():
    for name in kernels.__all__:
        assert str(inspect.signature(getattr(kernels, name))) == str(inspect.signature(getattr(reference, name))), name


# ---- the dense layer ----


def product_bound(x, w, b=None):
    """x w + b in float64, and how far a chain of k + 1 terms, each rounded twice without FMA, may be off."""
    x, w, b = wide(x, w, np.zeros(w.shape[1]) if b is None else b)
    return x @ w + b, (x.shape[1] + 2) * U * (np.abs(x) @ np.abs(w) + np.abs(b))


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


# ---- activations ----

SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 2**-149, -(2**-149), 2**-130, -(2**-130), 2**-126, -(2**-126), 1e-20, -1e-20, 1e4, -1e4,
     3.4e38, -3.4e38, 88.0, -88.0, 89.0, -89.0, -104.0, 9.02, -9.02, 0.5, -0.5, 1.0, -1.0, 20.0, -20.0],
    dtype=F32,
)  # fmt: skip


LENGTHS = (*TAILS, 4095, 4096, 4097, 9000)  # a team shares runs of 4096 elements


def mixed(r, n):
    """Normal numbers of several sizes, and special ones among them."""
    x = normal(r, n, scale=10.0 ** r.integers(-3, 2, n))
    at = r.permutation(n)[: n // 2 + 1]
    x[at] = r.choice(SPECIAL, len(at))
    return x


def ulp(exact):
    """The distance between float32 numbers at `exact`."""
    return np.spacing(np.minimum(np.abs(exact), 2.0**127).astype(F32)).astype(F64)


EXACT = ("identity", "relu", "leaky_relu", "hard_tanh")  # every operation rounds like the twin's
ALPHA = 2.0**-7  # the same in float32 and float64


def overflowing(exact):
    """Float64 results as float32 can hold them: infinite beyond its largest."""
    return np.where(np.abs(exact) > float(np.finfo(F32).max), np.copysign(np.inf, exact), exact)


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


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("literal", (False, True))
def test_fma_peak(isa, literal):
    """Each lane's chain s <- 0.999 s + 0.001 from its own number on, and the sum of all: each lane must have been computed."""
    fastnn.use_isa(isa)
    flops, _ = _native.fma_peak(1, literal)
    if literal and isa == "generic":
        assert flops == 0 and _native.fma_peak(100, literal) == (0, 0)
        return
    vectors = flops // (2 * V)
    assert vectors >= (1 if isa == "generic" else 5) and flops == 2 * V * vectors
    a, b, s = F32(0.999), F32(0.001), np.arange(V * vectors, dtype=F32).reshape(vectors, V)
    for rounds in range(200):
        if rounds in (0, 1, 2, 17, 199):
            lanes = s
            while lanes.shape[1] > 1:  # the kernels' order of addition
                half = lanes.shape[1] // 2
                lanes = lanes[:, :half] + lanes[:, half:]
            total = F32(0)
            for vector in lanes[:, 0]:
                total += vector
            assert _native.fma_peak(rounds, literal) == (rounds * flops, total)
        # the product is exact in float64
        s = s * a + b if isa == "generic" else (s.astype(F64) * F64(a) + F64(b)).astype(F32)


def test_fma_peak_of_doubles():
    for isa in ISAS:
        fastnn.use_isa(isa)
        flops, total = _native.fma_peak(0, double=True)
        assert flops == 0
        lanes = _native.fma_peak(1, double=True)[0] // 2
        assert lanes % 8 == 0 and total == lanes * (lanes - 1) / 2


@pytest.mark.parametrize("count", range(2, 7))
def test_streams(count):
    for isa in ISAS:
        fastnn.use_isa(isa)
        for n in (1, 15, 16, 33, 100):
            arrays = [np.full(n, k, np.float32) for k in range(count)]
            _native.streams(arrays)
            for k, a in enumerate(arrays):
                assert (a[: n - n % 16] == (k + count - 1) / 2).all() and (a[n - n % 16 :] == k).all()
    last = np.ones(16, np.float32)
    last.flags.writeable = False  # only read
    _native.streams([np.ones(16, np.float32), last])


def test_streams_refuse():
    a = np.ones(16, np.float32)
    for wrong in ([a], [a] * 7):
        with pytest.raises(ValueError, match="arrays: expected from 2 to 6"):
            _native.streams(wrong)
    with pytest.raises(ValueError, match=r"arrays\[1\]: expected shape \(16,\), got \(15,\)"):
        _native.streams([a, a[:15]])
    with pytest.raises(TypeError, match=r"arrays\[0\]: expected dtype float32"):
        _native.streams([a.astype(np.float64), a])


# ---- softmax and its loss ----

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


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("columns", (*CLASSES, "special"))
def test_softmax_forward(columns, in_place):
    def call(z):
        out = placed(z) if in_place else poisoned(*z.shape)
        assert kernels.softmax_forward(out if in_place else z, out=out) is out
        assert_guards(out)
        return out

    cases = [special_logits()] if columns == "special" else [logits_of(rows, columns) for rows in (1, 2, 7, 33)]
    for _, z, y in across(call, cases):
        expected = reference.softmax_forward(z.astype(F64))
        assert_within(y, expected, clean(softmax_bound(z)[0] * expected) + 2 * TINY)


@pytest.mark.parametrize("alias", ["none", "dy", "y"])
@pytest.mark.parametrize("columns", CLASSES)
def test_softmax_backward(columns, alias):
    r = rng(columns)
    cases = [(normal(r, rows, columns), reference.softmax_forward(logits_of(rows, columns))) for rows in (1, 7, 33)]
    assert_row_backward("softmax_backward", cases, alias)


@pytest.mark.parametrize("alias", ["none", "dy", "y"])
@pytest.mark.parametrize("columns", CLASSES)
def test_log_softmax_backward(columns, alias):
    r = rng(columns)
    cases = [(normal(r, rows, columns), reference.log_softmax_forward(logits_of(rows, columns))) for rows in (1, 7, 33)]
    assert_row_backward("log_softmax_backward", cases, alias)


def assert_row_backward(function, cases, alias):
    def call(case):
        dy, y = case
        out = {"none": poisoned(*dy.shape), "dy": placed(dy), "y": placed(y)}[alias]
        found = getattr(kernels, function)(out if alias == "dy" else dy, out if alias == "y" else y, out=out)
        assert found is out
        assert_guards(out)
        return out

    for _, (dy, y), dx in across(call, cases):
        expected = getattr(reference, function)(*wide(dy, y))
        p = np.abs(y.astype(F64)) if function == "softmax_backward" else np.exp(y.astype(F64))
        total = (np.abs(dy) * (p if function == "softmax_backward" else 1)).sum(axis=1, keepdims=True)
        assert_within(dx, expected, U * (4 * np.abs(dy) * np.maximum(p, 1) + (dy.shape[1] / 16 + 12) * p * total) + 2 * TINY)


def test_row_backward_special_values():
    dy, y = F32([[1, np.nan, 2], [1, np.inf, 2], [0, 0, 0]]), F32([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [1, np.nan, 0]])
    for isa in ISAS:
        fastnn.use_isa(isa)
        for function in ("softmax_backward", "log_softmax_backward"):
            with np.errstate(all="ignore"):
                expected = getattr(reference, function)(*wide(dy, y))
            found = getattr(kernels, function)(dy, y)
            np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("columns", (*CLASSES, "special"))
def test_log_softmax_forward(columns, in_place):
    def call(z):
        out = placed(z) if in_place else poisoned(*z.shape)
        assert kernels.log_softmax_forward(out if in_place else z, out=out) is out
        assert_guards(out)
        return out

    cases = [special_logits()] if columns == "special" else [logits_of(rows, columns) for rows in (1, 2, 17, 33)]
    for _, z, y in across(call, cases):
        with np.errstate(all="ignore"):
            expected = overflowing(reference.log_softmax_forward(z.astype(F64)))
        assert_within(y, expected, clean(softmax_bound(z)[1] + U * (3 * np.abs(expected) + 4 * math.log(z.shape[1]) + 2)))


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


def entropy_bounds(z, t):
    """(expected row losses, their bound, expected dlogits, their bound) of targets given as rows."""
    z, t = wide(z, t)
    batch = len(z)
    p_bound, sum_bound = softmax_bound(z)
    rows = reference.softmax_cross_entropy_rows(z, t)
    _, d = reference.softmax_cross_entropy(z, t)
    with np.errstate(all="ignore"):
        p, mass = reference.softmax_forward(z), t.sum(axis=1, keepdims=True)
        log_total = np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))
        # log is off by its argument's relative error and 2 ulp; the rest of a row's loss is in double
        row_bound = (np.abs(t).sum(axis=1, keepdims=True) * (sum_bound + 4 * U * log_total)).ravel() + 1e-15 * np.abs(rows)
        # p, its product with the mass (rounded too), the difference with t, the rounded scale and the product with it;
        # a subnormal p is off by its exponential's 2 ulp and the quotient's half
        d_bound = (np.abs(mass) * (p * (p_bound + 3 * U) + 3 * TINY) + 4 * U * np.abs(p * mass - t)) / batch + TINY
    return rows, clean(row_bound), d, clean(d_bound)


def one_hot(labels, classes):
    return np.eye(classes, dtype=F32)[labels]


def assert_entropy(cases, in_place=False):
    """Loss, gradient, row losses and correct rows, for each (logits, targets, targets as rows)."""

    def call(case):
        z, targets, _ = case
        out = placed(z) if in_place else poisoned(*z.shape)
        loss, d = kernels.softmax_cross_entropy(out if in_place else z, targets, out=out)
        assert d is out and isinstance(loss, float)
        assert_guards(out)
        correct = kernels.softmax_cross_entropy_correct(z, targets)
        assert isinstance(correct, int)
        return loss, d, kernels.softmax_cross_entropy_rows(z, targets), correct

    for _, (z, targets, t), (loss, dlogits, losses, correct) in across(call, cases):
        rows, row_bound, d, d_bound = entropy_bounds(z, t)
        assert losses.dtype == F64
        assert_within(losses, rows, row_bound)
        assert_within(dlogits, d, d_bound)
        with np.errstate(invalid="ignore"):
            assert_within(loss, rows.mean(), row_bound.mean() + 1e-15 * np.abs(clean(rows)).sum())
        assert correct == reference.softmax_cross_entropy_correct(z, targets)


@pytest.mark.parametrize("classes", CLASSES)
def test_softmax_cross_entropy(classes):
    by_label, by_row = [], []
    for batch in (1, 2, 17, 33):
        r = rng(batch, classes)
        z = logits_of(batch, classes)
        labels = r.integers(0, classes, batch)
        labels[0], labels[-1] = 0, classes - 1
        by_label.append((z, labels, one_hot(labels, classes)))
        t = r.uniform(0, 1, (batch, classes)).astype(F32)
        t *= t > 0.3
        t[-1] *= -2  # not a distribution at all
        by_row.append((z, t, t))
    assert_entropy(by_label, in_place=True)
    assert_entropy(by_row)


def test_softmax_cross_entropy_special_values():
    z = special_logits()
    labels = [np.full(len(z), label) for label in (0, 5, 16)]
    t = np.zeros(z.shape, F32)
    t[:, 1] = 1
    t[20, 3], t[21] = np.nan, 0
    assert_entropy([*((z, label, one_hot(label, 17)) for label in labels), (z, t, t)])
    assert kernels.softmax_cross_entropy_rows(F32([[-np.inf, 0]]), np.array([0]))[0] == np.inf
    assert kernels.softmax_cross_entropy_rows(F32([[-np.inf, 0]]), np.array([1]))[0] == 0


def test_softmax_cross_entropy_label_dtypes():
    z = logits_of(9, 5)
    labels = np.array([0, 1, 2, 3, 4, 3, 2, 1, 0])
    expected = kernels.softmax_cross_entropy(z, labels)
    for dtype in "bBhHiIlLqQ":
        assert same_bits(kernels.softmax_cross_entropy(z, labels.astype(dtype)), expected)
    assert same_bits(kernels.softmax_cross_entropy(z, labels[::-1]), kernels.softmax_cross_entropy(z, labels[::-1].copy()))
    assert same_bits(kernels.softmax_cross_entropy(z, one_hot(labels, 5))[1], expected[1])


ELEMENTWISE = {
    "mean_squared_error": [{}],
    "mean_absolute_error": [{}],
    "quantile": [{}, {"quantile": 0.2}],
    "huber": [{}, {"delta": 0.25}],
    "poisson": [{}, {"full": True}, {"log_input": False}, {"log_input": False, "full": True, "eps": 0.5}],
    "binary_cross_entropy": [{}, {"class_weight": True}],
    "binary_hinge": [{}, {"margin": 0.5, "squared": True, "class_weight": True}],
}
WIDTHS = (1, 2, 3, 5, 8, 9, 15, 16, 17, 33, 100)


def targets_for(function, r, z):
    if function == "poisson":
        return r.poisson(3, z.shape).astype(F32)
    if function.startswith("binary"):
        t = r.integers(0, 2, z.shape).astype(F32)
        return t if function == "binary_hinge" else np.where(r.random(z.shape) < 0.3, r.random(z.shape), t).astype(F32)
    return normal(r, *z.shape, scale=2)


def assert_loss(function, cases, value_bound, gradient_bound):
    """Loss and gradient of each (outputs, targets, options), in place too, against the twin in float64."""

    def call(case):
        z, t, options = case
        out, again = poisoned(*z.shape), placed(z)
        loss, d = getattr(kernels, function)(z, t, out=out, **options)
        assert d is out and isinstance(loss, float)
        assert same_bits(getattr(kernels, function)(again, t, out=again, **options), (loss, d))
        assert_guards(out, again)
        return loss, d

    for _, (z, t, options), (loss, d) in across(call, cases):
        wider = {k: v.astype(F64) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        expected, gradient = getattr(reference, function)(z.astype(F64), t if t.dtype.kind == "i" else t.astype(F64), **wider)
        rows = len(z) * (z.shape[1] if function in ELEMENTWISE else 1) if options.get("reduction") != "sum" else 1
        weight = options.get("sample_weight", np.ones(len(z), F32)).astype(F64)[:, None]
        size = weight * np.max(options.get("class_weight", 1.0))
        np.testing.assert_allclose(loss, expected, rtol=1e-6, atol=(size * value_bound(z, t)).sum() / rows)
        assert_within(d, gradient, (size * gradient_bound(z, t) + 4 * U * np.abs(gradient) * rows) / rows + TINY)


@pytest.mark.parametrize("function", ELEMENTWISE)
def test_elementwise_losses(function):
    for options in ELEMENTWISE[function]:
        cases = []
        for columns in WIDTHS:
            r = rng(columns)
            for rows in (1, 7, 33):
                z = normal(r, rows, columns, scale=3)
                if function == "poisson" and not options.get("log_input", True):
                    z = np.abs(z) + F32(0.1)
                more = {"class_weight": r.random((2, columns)).astype(F32)} if options.get("class_weight") else {}
                if rows == 33:
                    more |= {"sample_weight": r.random(rows).astype(F32) * (r.random(rows) > 0.2), "reduction": "sum"}
                cases.append((z, targets_for(function, r, z), options | more))
        rate = lambda z: np.exp(np.minimum(np.abs(z.astype(F64)), 80)) if function == "poisson" else 1.0
        # a few roundings of terms of the size of outputs, targets and rates
        value = lambda z, t: 12 * U * (np.abs(z) + np.abs(t) + rate(z) + 1) ** (2 if function != "poisson" else 1)
        gradient = lambda z, t: 8 * U * (np.abs(z) + np.abs(t) + rate(z) + 1)
        assert_loss(function, cases, value, gradient)


@pytest.mark.parametrize("squared", [False, True])
def test_multiclass_hinge(squared):
    cases = []
    for columns in (2, 3, 10, 15, 16, 17, 33, 100):
        r = rng(columns)
        for rows in (1, 7, 33):
            labels = r.integers(0, columns, rows)
            labels[0], labels[-1] = 0, columns - 1
            options = {"margin": 0.75, "squared": squared}
            if rows == 33:
                options |= {"sample_weight": r.random(rows).astype(F32), "class_weight": r.random(columns).astype(F32)}
            cases.append((normal(r, rows, columns, scale=2), labels, options))
    bound = lambda z, t: np.full((len(z), 1), 16 * U * z.shape[1] * (np.abs(z).max() + 1) ** (2 if squared else 1))
    assert_loss("multiclass_hinge", cases, bound, bound)


def test_losses_special_values():
    """A NaN stays in its row and element; large and infinite outputs give what the formulas say."""
    z = F32([[0, 1], [np.nan, 1], [0, -1e38], [3e38, -3e38], [np.inf, 0], [1e-40, -1e-40], [0, 1]])
    t = F32([[0, 1], [0, 1], [0, 1], [1, 0], [0, 0], [1, 1], [np.nan, 1]])
    for function in ELEMENTWISE:
        with np.errstate(all="ignore"):
            loss, d = getattr(reference, function)(*wide(z, t), reduction="sum")
            rows = [getattr(reference, function)(*wide(z[i : i + 1], t[i : i + 1]), reduction="sum")[0] for i in range(len(z))]
        for isa in ISAS:
            fastnn.use_isa(isa)
            found, gradient = getattr(kernels, function)(z, t, reduction="sum")
            assert np.isnan(found)
            np.testing.assert_array_equal(np.isnan(gradient), np.isnan(d))
            for i, want in enumerate(rows):
                found = getattr(kernels, function)(z[i : i + 1], t[i : i + 1], reduction="sum")[0]
                if abs(want) <= float(np.finfo(F32).max):  # what float32 can hold
                    np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-6, err_msg=f"{function} {i}")
                else:
                    assert np.isnan(found) == np.isnan(want), (function, i)
    z = F32([[1, np.nan, 0], [1, 2, 3e38], [np.nan, 1, 0]])
    for isa in ISAS:
        fastnn.use_isa(isa)
        for label in range(3):
            loss, d = kernels.multiclass_hinge(z, np.full(3, label), reduction="sum")
            expected = reference.multiclass_hinge(z.astype(F64), np.full(3, label), reduction="sum")
            assert np.isnan(loss) and same_bits(np.isnan(d), np.isnan(expected[1]))


@pytest.mark.parametrize("ignore, dtype", [(-100, np.int64), (1, np.uint8), (2**64 - 1, np.uint64), (300, np.int8)])
@pytest.mark.parametrize("classes", (2, 10, 16, 17, 40))
def test_softmax_cross_entropy_ignores_rows(classes, ignore, dtype):
    """As if the batch had only the others, whatever the logits of the ignored ones are; 300 is no int8, so nothing is ignored."""
    r = rng(classes)
    z, labels = normal(r, 37, classes), r.integers(0, classes, 37).astype(dtype)
    if ignore != 300:
        labels[[0, 5, 36]] = ignore
    rest = np.flatnonzero(labels != ignore)
    z[np.setdiff1d(range(37), rest)] = [np.nan] * classes if ignore != 1 else 3
    for options in ({}, {"label_smoothing": 0.1, "class_weight": r.random(classes).astype(F32)}, {"reduction": "sum"}):
        weight = r.random(37).astype(F32)

        def call():
            loss, d = kernels.softmax_cross_entropy(z, labels, sample_weight=weight, ignore_index=ignore, **options)
            rows = kernels.softmax_cross_entropy_rows(z, labels, ignore_index=ignore)
            return loss, d, rows, kernels.softmax_cross_entropy_correct(z, labels, ignore_index=ignore)

        alone = z[rest], labels[rest]
        twin = reference.softmax_cross_entropy(*wide(z), labels, sample_weight=weight.astype(F64), ignore_index=ignore,
                                               **{k: v.astype(F64) if k == "class_weight" else v for k, v in options.items()})
        for isa, (loss, d, rows, correct) in everywhere(call).items():
            fastnn.use_isa(isa)
            of_rest = kernels.softmax_cross_entropy(*alone, sample_weight=weight[rest], **options)
            np.testing.assert_allclose(loss, of_rest[0], rtol=1e-12)  # the sum over rows may have another order
            assert same_bits(d[rest], of_rest[1]) and same_bits(rows[rest], kernels.softmax_cross_entropy_rows(*alone))
            assert (np.delete(d, rest, axis=0) == 0).all() and (np.delete(rows, rest) == 0).all()
            assert correct == kernels.softmax_cross_entropy_correct(*alone)
            np.testing.assert_allclose(loss, twin[0], rtol=1e-6)
            assert_within(d, twin[1], 1e-6)
        assert_within(rows, reference.softmax_cross_entropy_rows(*wide(z), labels, ignore_index=ignore), 1e-5)
        assert correct == reference.softmax_cross_entropy_correct(*wide(z), labels, ignore_index=ignore)


def test_softmax_cross_entropy_of_ignored_rows_alone():
    for where in (kernels, reference):
        loss, d = where.softmax_cross_entropy(F32([[1, 2], [np.nan, np.inf]]), np.array([-1, -1]), ignore_index=-1)
        assert loss == 0 and (d == 0).all()
        with pytest.raises(ValueError, match="class numbers, since there is an ignore_index"):
            where.softmax_cross_entropy(F32([[1, 2]]), F32([[1, 0]]), ignore_index=-1)
        with pytest.raises(ValueError, match=r"targets\[1\].* got -1"):
            where.softmax_cross_entropy(F32([[1, 2], [1, 2]]), np.array([-2, -1]), ignore_index=-2)
    with pytest.raises(TypeError, match="ignore_index: expected an integer"):
        kernels.softmax_cross_entropy(F32([[1, 2]]), np.array([0]), ignore_index=1.0)


@pytest.mark.parametrize("classes", (2, 10, 16, 17, 40))
def test_softmax_cross_entropy_options(classes):
    """Label smoothing, class weights, sample weights and sums are what they do to the targets and the rows."""
    r = rng(classes)
    z, labels = normal(r, 37, classes, scale=3), r.integers(0, classes, 37)
    weight, of_class = r.random(37).astype(F32), r.random(classes).astype(F32) + F32(0.1)

    def check(result, t, weights=1.0, total=False):
        losses = reference.softmax_cross_entropy_rows(z.astype(F64), t) * weights
        d = reference.softmax_cross_entropy(z.astype(F64), t, reduction="sum")[1] * np.reshape(weights, (-1, 1))
        n = 1 if total else 37
        np.testing.assert_allclose(result[0], losses.sum() / n, rtol=2e-6)
        assert_within(result[1], d / n, 40 * U / n)

    t = one_hot(labels, classes).astype(F64)
    options = [
        ({}, t),
        ({"label_smoothing": 0.125}, 0.875 * t + 0.125 / classes),
        ({"class_weight": of_class}, t * of_class),
        ({"label_smoothing": 1.0, "class_weight": of_class}, of_class * np.full(t.shape, 1 / classes)),
    ]
    for settings, wanted in options:
        for targets in (labels, t.astype(F32)):
            for more, weights in (({}, 1.0), ({"sample_weight": weight}, weight.astype(F64))):
                for reduction in ("mean", "sum"):
                    call = lambda: kernels.softmax_cross_entropy(z, targets, **settings, **more, reduction=reduction)
                    for result in everywhere(call).values():
                        check(result, wanted, weights, reduction == "sum")
    plain = kernels.softmax_cross_entropy(z, labels)
    ones = {"sample_weight": np.ones(37, F32)}
    assert same_bits(kernels.softmax_cross_entropy(z, labels, **ones), plain)


def test_correct_counts_first_of_equals():
    z = F32([[1, 1, 0], [0, 1, 1], [2, np.nan, 1], [-np.inf] * 3, [-0.0, 0.0, -1]])
    for labels, want in (([0, 1, 0, 0, 0], 4), ([1, 2, 1, 1, 1], 0)):
        assert reference.softmax_cross_entropy_correct(z, np.array(labels)) == want
        for isa in ISAS:
            fastnn.use_isa(isa)
            assert kernels.softmax_cross_entropy_correct(z, np.array(labels)) == want
            assert kernels.softmax_cross_entropy_correct(z, one_hot(labels, 3)) == want


# ---- rows by index ----

SOURCES = ["?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "e", "f", "d"]


def source_of(char, rows, *shape):
    """An array of that dtype whose values reach its limits."""
    r, dtype = rng(ord(char), rows), np.dtype(char)
    if dtype.kind == "b":
        return r.integers(0, 2, (rows, *shape)).astype(bool)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        a = r.integers(limits.min, limits.max, (rows, *shape), dtype=dtype, endpoint=True)
        a[0].flat[0], a[-1].flat[-1] = limits.min, limits.max
        return a
    a = (r.standard_normal((rows, *shape)) * 10.0 ** r.integers(-5, 5, (rows, *shape))).astype(dtype)
    a[0].flat[:4] = np.resize([np.nan, np.inf, -np.inf, np.finfo(dtype).max], min(4, a[0].size))
    a[-1].flat[:2] = np.resize([np.finfo(dtype).smallest_subnormal, -np.finfo(dtype).tiny], min(2, a[0].size))
    return a


def assert_gathers(*cases):
    """Each (source, index, options) equals the twin's result exactly, on every instruction set."""
    expected = [reference.gather(source, index, **options) for source, index, options in cases]

    def call(i):
        source, index, options = cases[i]
        out = poisoned(*expected[i].shape)
        assert kernels.gather(source, index, out=out, **options) is out
        assert_guards(out)
        return out

    results = across(call, range(len(cases)))
    for _, i, result in results:
        np.testing.assert_array_equal(result, expected[i])
    for i, (source, index, options) in enumerate(cases):  # on the generic set too: conversions are rounded once
        assert same_bits(kernels.gather(source, index, **options), results[i][2])
        assert len({r.tobytes() for _, at, r in results if at == i}) == 1


SCALES = [{}, {"scale": 1 / 255}, {"scale": 2.5, "shift": -0.3}, {"shift": 1e-3}, {"scale": 1e300, "shift": 1.0}]


@pytest.mark.parametrize("char", SOURCES)
def test_gather_dtypes(char):
    cases = []
    for features in (*TAILS, 100):
        index = rng(features).integers(0, 12, 19)
        cases += [(source_of(char, 12, features), index, options) for options in SCALES]
    assert_gathers(*cases, *((source_of(char, 12, 17), None, options) for options in SCALES))


def test_gather_every_float16():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(256, 256)
    assert_gathers((halves, None, {}), (halves, None, {"scale": 0.1, "shift": 3.0}))


def test_gather_layouts(tmp_path):
    base = source_of("d", 24, 6, 5)
    index = np.array([3, 0, 0, 5, 2])
    sources = [base, base[::2], base[::-1], base[4:12], base[:, 2:4], base[:, 0], base[::-3, 1:2, :]]
    sources += [np.broadcast_to(base[3], (10, 6, 5)), frozen(base.copy())]
    path = tmp_path / "rows.bin"
    source_of("B", 50, 30).tofile(path)
    mapped = np.memmap(path, np.uint8, "r", shape=(50, 30))
    assert_gathers(
        *((source, index, {}) for source in sources),
        *((source, None, {"scale": 0.5}) for source in sources),
        (base[:1, :1, :1], np.array([0, 0]), {}),
        (mapped, np.array([49, 0, 7]), {"scale": 1 / 255}),
        (mapped[::7], None, {}),
    )


@pytest.mark.parametrize("source", [np.zeros((3, 0), F32), np.ones((3, 8), F32)[:, :0], np.ones((3, 8, 2), np.uint8)[:, :0]])
def test_gather_refuses_rows_without_values(source):
    with pytest.raises(ValueError, match="^source: expected at least one value in a row"):
        kernels.gather(source, np.array([0]))


def test_gather_check_finite():
    cases = []
    for columns in (*TAILS, 100):
        good = normal(rng(columns), 40, columns)
        for column in {0, columns // 2, columns - 1}:
            for value in (np.nan, np.inf, -np.inf):
                bad = good.copy()
                bad[[31, 7], column] = value
                cases.append((good, bad))

    def call(case):
        good, bad = case
        out = np.full(bad.shape, 7, F32)
        with pytest.raises(ValueError, match=r"^source: expected finite values, got NaN or infinity in row 7, 31$"):
            kernels.gather(bad, None, out=out, check_finite=True)
        assert (out == 7).all()
        assert kernels.gather(good, None, out=out, check_finite=True) is out
        assert same_bits(out, good)

    across(call, cases)
    index = np.array([0, 9, 3, 9, 8, 7, 6, 5], np.int64)
    bad = np.full((10, 3), np.nan)
    for twin in (kernels, reference):
        with pytest.raises(ValueError, match=r"row 0, 9, 3, 9, 8 and 3 more$"):
            twin.gather(bad, index, check_finite=True)
    with pytest.raises(ValueError, match="in row 1$"):  # finite before it is scaled and rounded
        kernels.gather(np.array([[1.0], [1e30]]), None, scale=1e30, check_finite=True)


def test_gather_labels():
    index = rng(2).integers(0, 50, 70)
    for char in SOURCES[1:11]:
        labels = rng(1).integers(0, 100, 50).astype(char)
        for source in (labels, labels[::-1], labels[::3]):
            for at in (index % len(source), None):
                assert same_bits(kernels.gather_labels(source, at, 100), reference.gather_labels(source, at, 100))
        out = np.full(70, -1, np.int32)
        assert kernels.gather_labels(labels, index, 100, out=out) is out
        assert same_bits(out, reference.gather_labels(labels, index, 100))
    assert kernels.gather_labels(np.array([5, 99]), np.array([0]), 6) == [5]  # what is not taken is not checked
    assert kernels.gather_labels(np.array([2**31 - 1]), None, 2**31) == [2**31 - 1]


@pytest.mark.parametrize(
    "labels, index, classes, error, message",
    [
        (np.array([1, 5, 9]), None, 9, ValueError, "labels[2]: expected a class number >= 0 and < 9, got 9"),
        (np.array([1, -1, -1]), None, 9, ValueError, "labels[1]: expected a class number >= 0 and < 9, got -1"),
        (np.array([1, 5, 9]), np.array([0, 2, 2]), 6, ValueError, "labels[2]: expected a class number >= 0 and < 6, got 9"),
        (np.array([2**64 - 1], np.uint64), None, 6, ValueError, "expected a class number >= 0 and < 6, got 18446744073709551615"),
        (np.array([0]), None, 0, ValueError, "labels[0]: expected a class number >= 0 and < 0, got 0"),
        (np.array([1, 5]), np.array([0, 2]), 6, IndexError, "index[1]: expected a row from 0 to 1, got 2"),
        (np.array([1, 5]), np.array([-1, 2]), 6, IndexError, "index[0]: expected a row from 0 to 1, got -1"),
    ],
)
def test_labels_that_are_refused(labels, index, classes, error, message):
    out = np.full(len(labels) if index is None else len(index), 7, np.int32)
    with pytest.raises(error) as native:
        kernels.gather_labels(labels, index, classes, out=out)
    assert message in str(native.value)
    assert (out == 7).all()
    with pytest.raises(error):
        reference.gather_labels(labels, index, classes)


def test_index_that_is_refused():
    source = np.arange(12.0).reshape(4, 3)
    for values, message in (
        ([0, 4], "index[1]: expected a row from 0 to 3, got 4"),
        ([-1, 9], "index[0]: expected a row from 0 to 3, got -1"),
        ([0, 2**62], "index[1]: expected"),
        ([-(2**63), 0], "index[0]: expected"),
    ):
        index = np.array(values, np.int64)
        for check_finite in (False, True):
            out = np.full((2, 3), 7, F32)
            with pytest.raises(IndexError, match=re.escape(message)):
                kernels.gather(source, index, out=out, check_finite=check_finite)
            assert (out == 7).all()
        with pytest.raises(IndexError):
            reference.gather(source, index)


# ---- embeddings ----


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint16])
@pytest.mark.parametrize("unknown", [False, True])
def test_embedding(dtype, unknown):
    cases = []
    for batch, columns, count, dim in [(1, 1, 1, 1), (7, 3, 5, 4), (33, 1, 100, 17), (200, 8, 40, 8), (50, 2, 2, 33)]:
        r = rng(batch, count)
        codes = r.integers(-1 if unknown and dtype != np.uint16 else 0, count + 5 if unknown else count, (batch, columns)).astype(dtype)
        cases.append((codes, normal(r, count, dim), normal(r, batch, columns * dim)))

    def call(case):
        codes, w, dy = case
        y, dw = poisoned(len(codes), dy.shape[1]), poisoned(*w.shape)
        assert kernels.embedding_forward(codes, w, out=y, unknown=unknown) is y
        assert kernels.embedding_backward(dy, codes, len(w), out=dw, unknown=unknown) is dw
        assert_guards(y, dw)
        return y, dw

    for _, (codes, w, dy), (y, dw) in across(call, cases):
        assert same_bits(y, reference.embedding_forward(codes, w, unknown=unknown))
        assert same_bits(dw, reference.embedding_backward(dy, codes, len(w), unknown=unknown))
        wide_ = reference.embedding_backward(dy.astype(F64), codes, len(w), unknown=unknown)
        assert_within(dw, wide_, codes.size * U * reference.embedding_backward(np.abs(dy).astype(F64), codes, len(w), unknown=unknown))


@pytest.mark.parametrize("where", [kernels, reference])
def test_embedding_refuses_codes(where):
    w = np.ones((3, 2), F32)
    for codes, value in (([[0, 3]], 3), ([[1, -1]], -1)):
        with pytest.raises(ValueError, match=rf"codes\[0, 1\].* got {value}$"):
            where.embedding_forward(np.array(codes), w)
        with pytest.raises(ValueError, match=rf"codes\[0, 1\].* got {value}$"):
            where.embedding_backward(np.ones((1, 4), F32), np.array(codes), 3)
    with pytest.raises(TypeError, match="codes"):
        where.embedding_forward(np.array([[0.0]]), w)
    with pytest.raises(ValueError, match="codes"):
        where.embedding_forward(np.array([0]), w)
    with pytest.raises(ValueError, match="dy"):
        where.embedding_backward(np.ones((1, 3), F32), np.array([[0, 1]]), 3)


# ---- convolution and pooling ----

CONVOLUTIONS = [  # image, filters, kernel, how it goes over the image
    ((5, 6, 3), 7, (3, 2), {}),
    ((7, 7, 4), 6, (3, 3), {"stride": 2, "padding": 1, "groups": 2}),
    ((9, 5, 5), 10, (2, 3), {"padding": (0, 2, 1, 0), "dilation": (2, 1), "groups": 5}),
    ((8, 8, 17), 33, (1, 1), {}),
    ((6, 9, 1), 1, (4, 4), {"padding": "same", "stride": (1, 3)}),
    ((9, 11, 5), 6, (3, 3), {"stride": 2, "padding": 1}),  # a gradient of its inputs as four of stride 1
    ((13, 17, 4), 7, (3, 2), {"stride": (3, 4), "padding": (2, 0, 1, 3), "dilation": (2, 1)}),  # of pixels that no window reads
    ((8, 9, 20), 20, (3, 3), {"padding": 1, "groups": 20}),  # each channel with a filter of its own
    ((7, 6, 33), 33, (2, 4), {"padding": "same", "stride": 2, "groups": 33}),
]


def convolutions(draw):
    """x, w, b, dy and how, for 1 and for 40 images: of more than one chunk."""
    for image, filters, kernel, how in CONVOLUTIONS:
        for rows in (1, 40):
            r = rng(rows, filters)
            x, w, b = draw(r, rows, *image), draw(r, *kernel, image[2] // how.get("groups", 1), filters), draw(r, filters)
            yield x, w, b, draw(r, *reference.conv2d_forward(x[:1], w, b, **how).shape[1:])[None].repeat(rows, 0), how


def convolve(case):
    """y, z, dx, dw, db, into outputs between guards."""
    x, w, b, dy, how = case
    out = [poisoned(*a.shape) for a in (dy, dy, x, w, b)]
    assert kernels.conv2d_forward(x, w, b, **how, out=out[0], z=out[1]) is out[0]
    found = kernels.conv2d_backward(dy, x, w, **how, out=tuple(out[2:]))
    assert all(a is o for a, o in zip(found, out[2:]))
    assert_guards(*out)
    return tuple(out)


def test_conv2d_exact():
    for _, (x, w, b, dy, how), found in across(convolve, convolutions(lambda r, *shape: whole(r, *shape, largest=4))):
        y = reference.conv2d_forward(*wide(x, w, b), **how)
        for a, e in zip(found, (y, y, *reference.conv2d_backward(*wide(dy, x, w), **how)), strict=True):
            np.testing.assert_array_equal(a, e)


def test_conv2d_rounding():
    """A chain of so many terms; dx and dw have as many as filters see, or as there are pixels."""
    for _, (x, w, b, dy, how), found in across(convolve, convolutions(normal)):
        y = reference.conv2d_forward(*wide(x, w, b), **how)
        bounds = reference.conv2d_forward(*wide(*map(np.abs, (x, w, b))), **how), *reference.conv2d_backward(*wide(*map(np.abs, (dy, x, w))), **how)
        terms = w[..., 0].size + 1, w[:, :, 0].size, dy[..., 0].size, dy[..., 0].size
        for a, e, bound, n in zip(found[1:], (y, *reference.conv2d_backward(*wide(dy, x, w), **how)), bounds, terms, strict=True):
            assert_within(a, e, 2 * n * U * bound)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_conv2d_with_activation_is_its_parts(activation):
    for x, w, b, dy, how in list(convolutions(normal))[:4]:
        z = np.empty_like(dy)
        y = kernels.conv2d_forward(x, w, b, **how, activation=activation, z=z)
        assert same_bits(z, kernels.conv2d_forward(x, w, b, **how)) and same_bits(y, kernels.activation_forward(z, activation))
        saved = z if ACTIVATIONS[activation].saves == "z" else y
        dz = kernels.activation_backward(dy, saved, activation)
        found = kernels.conv2d_backward(dy, x, w, **how, saved=saved, activation=activation)
        assert same_bits(found, kernels.conv2d_backward(dz, x, w, **how))
        assert kernels.conv2d_backward(dy, x, w, **how, saved=saved, activation=activation, need_dx=False)[0] is None


def test_conv2d_images_do_not_depend_on_the_batch():
    for x, w, b, _, how in list(convolutions(normal))[1::2]:
        y = kernels.conv2d_forward(x, w, b, **how)
        assert same_bits(kernels.conv2d_forward(x[7:9].copy(), w, b, **how), y[7:9])


POOLINGS = [
    ((5, 6, 3), 2, {}),
    ((7, 7, 17), 3, {"stride": 2, "padding": 1}),
    ((9, 5, 1), (2, 3), {"padding": (0, 1, 1, 0), "stride": (1, 3), "ceil_mode": True}),
    ((6, 9, 70), 3, {"padding": "same", "stride": 2}),
    # every pixel in one window: parts of vectors are written as whole ones where pixels of the image follow
    *(((4, 6, channels), 2, {}) for channels in (1, 5, 6, 8, 14, 16, 22, 30, 33)),
    ((5, 7, 11), 2, {"ceil_mode": True}),
    ((5, 5, 19), 3, {"padding": 1}),
    ((3, 6, 3), (1, 2), {}),
]


@pytest.mark.parametrize("mode", ["max", "average", "average of the image alone"])
def test_pooling(mode):
    r, draw = rng(5), mixed if mode == "max" else normal
    cases = [(draw(r, 4 * math.prod(image)).reshape(4, *image), kernel, how) for image, kernel, how in POOLINGS]
    if mode == "max":
        cases.append((cases[1][0], 2, {"dilation": (2, 3)}))
    counts = {} if mode == "max" else {"count_include_pad": mode == "average"}
    kind, backward = ("maxpool2d", lambda dy, x: (dy, x)) if mode == "max" else ("avgpool2d", lambda dy, x: (dy, x.shape[1:3]))

    def call(case, where=kernels, dtype=F32):
        x, kernel, how = case
        x, how = np.asarray(x, dtype), {**how, **counts}
        shape = getattr(reference, f"{kind}_forward")(x, kernel, **how).shape
        y, dx = poisoned(*shape, dtype=dtype), poisoned(*x.shape, dtype=dtype)
        dy = normal(rng(1), *shape).astype(dtype)
        assert getattr(where, f"{kind}_forward")(x, kernel, **how, out=y) is y
        assert getattr(where, f"{kind}_backward")(*backward(dy, x), kernel, **how, out=dx) is dx
        whole_image = f"global_{kind}_forward", f"global_{kind}_backward"
        g, dg = poisoned(len(x), x.shape[-1], dtype=dtype), poisoned(*x.shape, dtype=dtype)
        assert getattr(where, whole_image[0])(x, out=g) is g
        assert getattr(where, whole_image[1])(*backward(y[:, 0, 0].copy(), x), out=dg) is dg
        assert_guards(y, dx, g, dg)
        return y, dx, g, dg

    for _, case, found in across(call, cases):
        for a, e in zip(found, call(case, reference, F64), strict=True):
            if mode == "max":
                np.testing.assert_allclose(a, e, rtol=1e-6, atol=1e-6)  # gradients that meet in one element are added up
            else:
                assert_within(a, e, 1e-5 * (1 + np.abs(e)) * max(1, np.abs(case[0]).max()))
    if mode == "max":
        for x, kernel, how in cases:
            np.testing.assert_array_equal(kernels.maxpool2d_forward(x, kernel, **how), reference.maxpool2d_forward(x, kernel, **how))


@pytest.mark.parametrize("dtype", [F32, F64])
def test_stochastic_pool2d(dtype):
    """What comes out bit for bit as the twins': choices, and sums in one order. Gradients that meet in one element are added up."""
    cases = [(mixed(rng(7, *image), 3 * math.prod(image)).reshape(3, *image).astype(dtype), kernel, how) for image, kernel, how in POOLINGS]
    cases += [(normal(rng(8, *image), 3, *image).astype(dtype), kernel, how) for image, kernel, how in POOLINGS]

    def call(case, where=kernels):
        x, kernel, how = case
        shape = reference.maxpool2d_forward(x, kernel, **how).shape
        dy = normal(rng(1), *shape).astype(dtype)
        y, z, dx, dz = (poisoned(*s, dtype=dtype) for s in (shape, shape, x.shape, x.shape))
        assert where.stochastic_pool2d_forward(x, kernel, 11, 5, **how, out=y, stream=19) is y
        assert where.stochastic_pool2d_backward(dy, x, kernel, 11, 5, **how, out=dx, stream=19) is dx
        assert where.stochastic_pool2d_inference(x, kernel, **how, out=z) is z
        assert where.stochastic_pool2d_inference_backward(dy, x, kernel, **how, out=dz) is dz
        assert_guards(y, z, dx, dz)
        return y, z, dx, dz

    for _, case, found in across(call, cases):
        expected = call(case, reference)
        for a, e in zip(found[:2], expected[:2], strict=True):
            np.testing.assert_array_equal(a, e)
        for a, e in zip(found[2:], expected[2:], strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5)


# ---- normalisation ----

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


# ---- dropout, noise, maxout, sums ----

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


# ---- optimizers ----

SHAPES = [(1,), (V - 1,), (V,), (), (V + 1,), (3, 7), (2, 3, 5), (4096,), (4097,), (50, 190)]
SGD = [
    {},
    {"weight_decay": 0.1},
    {"momentum": 0.9},
    {"momentum": 0.9, "weight_decay": 0.1},
    {"momentum": 0.9, "dampening": 0.5},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
]
ADAM = [{}, {"weight_decay": 0.1}, {"beta1": 0.0, "beta2": 0.0}, {"beta1": 0.5, "beta2": 0.9, "eps": 0.1}]


def tensors_of(dtype, *seed, order="C"):
    r = rng(*seed)
    return [np.asarray(np.array(r.standard_normal(s), order=order), dtype=dtype) for s in SHAPES]


def copies(arrays):
    return None if arrays is None else [a.copy(order="K") for a in arrays]


def each(arrays):
    """The elements of a list of arrays, one after another, in float64."""
    return np.concatenate([a.ravel() for a in arrays]).astype(F64)


def roundings(dtype):
    """Half an ulp of 1; doubled for float64, where the twin rounds as well."""
    return U if dtype == F32 else 2 * 2.0**-53


def run(update, lists, step, options):
    """The updated copies of the lists (params, grads, states ...), flat, after the gradients were found unchanged."""
    lists = [copies(arrays) for arrays in lists]
    before = copies(lists[1])
    assert update(*lists, step, **options) is None
    assert same_bits(tuple(lists[1]), tuple(before))
    return tuple(a for i, arrays in enumerate(lists) if arrays is not None and i != 1 for a in arrays)


@pytest.mark.parametrize("dtype, order", [(F32, "C"), (F64, "C"), (F32, "F")], ids=str)
@pytest.mark.parametrize("options", SGD, ids=str)
def test_sgd(options, dtype, order):
    momentum, decay, lr = options.get("momentum", 0), options.get("weight_decay", 0), 0.03
    u = roundings(dtype)
    params = tensors_of(dtype, 0, order=order)
    buffers = tensors_of(dtype, 1, order=order) if momentum else None
    for step in (1, 2, 7):
        grads = tensors_of(dtype, 2, step, order=order)
        lists = (params, grads, buffers)
        results = everywhere(lambda: run(kernels.sgd_update, lists, step, {"lr": lr, **options}))
        wide_lists = [None if a is None else [np.array(x, F64) for x in a] for a in lists]
        expected = run(reference.sgd_update, wide_lists, step, {"lr": lr, **options})
        p, g, b = each(params), each(grads), each(buffers) if momentum else 0.0
        # Sums of absolute terms: a rounding is at most u of them; beside it each scalar is rounded and each product.
        terms = np.abs(g) + decay * np.abs(p)
        kept = terms if step == 1 or not momentum else momentum * np.abs(b) + (1 - options.get("dampening", 0)) * terms
        used = terms + momentum * kept if options.get("nesterov") else kept
        for result in results.values():
            n = len(params)
            assert [r.shape for r in result] == SHAPES * (1 + bool(momentum))
            assert_within(each(result[:n]), each(expected[:n]), u * (2 * np.abs(p) + 12 * lr * used))
            if momentum:
                assert_within(each(result[n:]), each(expected[n:]), 6 * u * kept)
        params = list(result[: len(params)])
        buffers = list(result[len(params) :]) or None


@pytest.mark.parametrize("dtype, order", [(F32, "C"), (F64, "C"), (F32, "F")], ids=str)
@pytest.mark.parametrize("options", ADAM, ids=str)
def test_adam(options, dtype, order):
    options = {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, **options}
    lr, beta1, beta2, eps, decay = options.values()
    u = roundings(dtype)
    params = tensors_of(dtype, 3, order=order)
    m, v = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params]
    for step in (1, 2, 1000):
        grads = tensors_of(dtype, 4, step, order=order)
        lists = (params, grads, m, v)
        results = everywhere(lambda: run(kernels.adam_update, lists, step, options))
        expected = run(reference.adam_update, [[np.array(x, F64) for x in a] for a in lists], step, options)
        n = len(params)
        new_p, new_m, new_v = each(expected[:n]), each(expected[n : 2 * n]), each(expected[2 * n :])
        p, old_m = each(params), each(m)
        terms = np.abs(each(grads)) + decay * np.abs(p)
        m_bound = u * (np.abs(new_m) + 6 * (1 - beta1) * (terms + np.abs(old_m)))
        v_bound = u * (8 * new_v + 8 * (1 - beta2) * terms**2)
        denominator = np.sqrt(new_v / (1 - beta2**step)) + eps
        step_bound = lr / (1 - beta1**step) / denominator * (m_bound + np.abs(new_m) * (10 * u + v_bound / (2 * new_v)))
        for result in results.values():
            assert_within(each(result[:n]), new_p, u * (2 * np.abs(p) + np.abs(new_p)) + step_bound)
            assert_within(each(result[n : 2 * n]), new_m, m_bound)
            assert_within(each(result[2 * n :]), new_v, v_bound)
        params, m, v = (list(result[i * n : (i + 1) * n]) for i in range(3))


def test_sgd_first_step_ignores_the_buffers():
    for options in SGD[2:]:
        params, grads = tensors_of(F32, 0), tensors_of(F32, 1)
        zeros = run(kernels.sgd_update, (params, grads, [np.zeros_like(p) for p in params]), 1, {"lr": 0.1, **options})
        garbage = run(kernels.sgd_update, (params, grads, [np.full_like(p, np.nan) for p in params]), 1, {"lr": 0.1, **options})
        assert same_bits(zeros, garbage)


def test_updates_of_nothing_and_of_tuples():
    kernels.sgd_update([], [], None, 1, lr=0.1)
    kernels.adam_update((), (), (), (), 1)
    w = F32([1, 2])
    kernels.sgd_update((w,), (F32([1, 1]),), None, 1, lr=0.5)
    assert (w == [0.5, 1.5]).all()


def test_updates_may_share_a_gradient():
    a, b, g = np.ones(5), np.ones(5), np.full(5, 2.0)
    kernels.sgd_update([a, b], [g, g], None, 1, lr=0.25)
    assert (a == 0.5).all() and (b == 0.5).all()


def test_updates_special_values():
    """NaN and infinity come through; without weight decay an infinite weight stays one."""
    p, g = F32([1, np.inf, -np.inf, np.nan, 1, 1, 1]), F32([0, 0, 0, 0, np.nan, np.inf, -np.inf])
    for isa in ISAS:
        fastnn.use_isa(isa)
        w = p.copy()
        kernels.sgd_update([w], [g], None, 1, lr=0.5)
        np.testing.assert_array_equal(w, F32([1, np.inf, -np.inf, np.nan, np.nan, -np.inf, np.inf]))
        w, m, v = p.copy(), np.zeros_like(p), np.zeros_like(p)
        expected = [a.astype(F64) for a in (w, m, v)]
        kernels.adam_update([w], [g], [m], [v], 1)
        reference.adam_update([expected[0]], [g.astype(F64)], [expected[1]], [expected[2]], 1)
        for actual, want in zip((w, m, v), expected):
            np.testing.assert_array_equal(np.isnan(actual), np.isnan(want))


@pytest.mark.parametrize("dtype", [F32, F64])
def test_gradient_norm(dtype):
    """The global norm that clipping computes: squares and sums in double."""
    for scale in (1.0, 1e-18, 1e18):
        grads = [np.array(g * scale, dtype) for g in tensors_of(F64, 6)]
        params = [np.zeros_like(g) for g in grads]
        state = _native.OptimizerState()
        state.compile([("sgd", settings_of("sgd"))], 1)
        tensors = _native.Tensors(params, [()] * len(params), [0] * len(params), state, [""] * len(params))
        exact = math.sqrt(math.fsum(x * x for x in each(grads)))
        norms = everywhere(lambda: (tensors.step(grads, [0.0], 1.0)[0],))
        for (norm,) in norms.values():
            assert abs(norm - exact) <= 1e-13 * exact


# ---- penalties ----

FACTORS = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.25), (0.3, 0.7)]


@pytest.mark.parametrize("shape", [*((n,) for n in TAILS), (7, 19), (4096,), (4097,), (3, 5000)])
@pytest.mark.parametrize("l1, l2", FACTORS)
def test_penalty(shape, l1, l2):
    r = rng(*shape)
    w, dw = normal(r, *shape), normal(r, *shape)

    def call():
        out = placed(dw)
        assert kernels.penalty_backward(w, out, l1, l2) is out
        assert_guards(out)
        return np.float64(kernels.penalty_forward(w, l1, l2)), out

    value = reference.penalty_forward(w.astype(F64), l1, l2)
    gradient = reference.penalty_backward(w.astype(F64), dw.astype(F64), l1, l2)
    terms = np.abs(dw.astype(F64)) + l2 * np.abs(w.astype(F64)) + l1
    for found, out in everywhere(call).values():
        assert abs(found - value) <= 1e-13 * value
        assert_within(out, gradient, 5 * U * terms)


@pytest.mark.parametrize("l1, l2", FACTORS)
def test_penalty_special_values(l1, l2):
    special = F32([0.0, -0.0, TINY, -TINY, 1e-30, 3e38, -3e38, np.inf, -np.inf, np.nan])
    w = np.repeat(special, len(special))
    dw = np.tile(special, len(special))
    expected = reference.penalty_backward(w.astype(F64), dw.astype(F64), l1, l2)
    with np.errstate(over="ignore", invalid="ignore"):
        terms = np.abs(dw.astype(F64)) + l2 * np.abs(w.astype(F64)) + l1
        expected[np.abs(expected) > np.finfo(F32).max] *= np.inf
    for isa, out in everywhere(lambda: kernels.penalty_backward(w, placed(dw), l1, l2)).items():
        assert_within(out, expected, np.where(np.isfinite(terms), 5 * U * terms + TINY, 0))
    for value in special:
        for found in everywhere(lambda: np.float64(kernels.penalty_forward(F32([value] * 3), l1, l2))).values():
            np.testing.assert_allclose(found, reference.penalty_forward(F32([value] * 3), l1, l2), rtol=1e-14)


def test_penalty_arrays_apart():
    w = np.ones(6, F32)
    with pytest.raises(ValueError, match="dw: expected memory of its own, got an array that overlaps w"):
        kernels.penalty_backward(w, w, 0.1, 0.1)


# ---- random numbers ----


def test_random_bits():
    for n, offset in ((0, 0), (1, 0), (1, 3), (3, 2), (4, 4), (1000, 0), (1001, 5), (9, 2**64 - 9), (7, 2**34 - 3)):
        for seed, stream, step in ((0, 0, 0), (2**64 - 1, 2**32 - 1, 2**32 - 1), (12345678901234567890, 7, 99)):
            expected = reference.random_bits(n, seed, stream, step, offset)
            assert same_bits(kernels.random_bits(n, seed, stream, step=step, offset=offset), expected)


def test_permutation():
    for n in (0, 1, 2, 3, 10, 257, 3000):
        for seed, epoch in ((0, 0), (2**64 - 1, 2**32 - 1), (7, 3)):
            assert same_bits(kernels.permutation(n, seed, epoch), reference.permutation(n, seed, epoch))


# ---- errors: nothing has changed, and the message says which argument, what was expected and what came ----


def f32(*shape):
    return normal(rng(*shape), *shape)


def frozen(a):
    a.flags.writeable = False
    return a


def misaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    raw[...] = a
    return raw


GOOD = {
    "dense_forward": lambda: {"x": f32(4, 3), "w": f32(3, 5), "b": f32(5), "activation": "relu", "out": f32(4, 5), "z": f32(4, 5)},
    "dense_backward": lambda: {"dy": f32(4, 5), "x": f32(4, 3), "w": f32(3, 5), "saved": f32(4, 5), "activation": "relu",
                               "out": (f32(4, 3), f32(3, 5), f32(5))},
    "bias_gradient": lambda: {"dy": f32(4, 5), "out": f32(5)},
    "activation_forward": lambda: {"x": f32(4, 5), "activation": "tanh", "out": f32(4, 5)},
    "activation_backward": lambda: {"dy": f32(4, 5), "saved": f32(4, 5), "activation": "tanh", "out": f32(4, 5)},
    "softmax_forward": lambda: {"x": f32(4, 5), "out": f32(4, 5)},
    "batchnorm_forward": lambda: {"x": f32(4, 5), "weight": f32(5), "bias": f32(5), "out": f32(4, 5)},
    "batchnorm_inference": lambda: {"x": f32(4, 5), "mean": f32(5), "var": np.abs(f32(5)), "weight": f32(5), "bias": f32(5),
                                    "out": f32(4, 5)},
    "batchnorm_backward": lambda: {"dy": f32(4, 5), "x": f32(4, 5), "statistics": f32(4, 5), "weight": f32(5), "out": f32(4, 5)},
    "layernorm_forward": lambda: {"x": f32(4, 5), "weight": f32(5), "bias": f32(5), "out": f32(4, 5)},
    "layernorm_backward": lambda: {"dy": f32(4, 5), "x": f32(4, 5), "statistics": f32(4, 3), "weight": f32(5), "out": f32(4, 5)},
    "rmsnorm_forward": lambda: {"x": f32(4, 5), "weight": f32(5), "out": f32(4, 5)},
    "rmsnorm_backward": lambda: {"dy": f32(4, 5), "x": f32(4, 5), "statistics": f32(4, 3), "weight": f32(5), "out": f32(4, 5)},
    "dropout_forward": lambda: {"x": f32(4, 5), "p": 0.5, "seed": 0, "out": f32(4, 5)},
    "dropout_backward": lambda: {"dy": f32(4, 5), "p": 0.5, "seed": 0, "out": f32(4, 5)},
    "gaussian_noise": lambda: {"x": f32(4, 5), "std": 0.5, "seed": 0, "out": f32(4, 5)},
    "maxout_forward": lambda: {"x": f32(4, 6), "pieces": 3, "out": f32(4, 2)},
    "maxout_backward": lambda: {"dy": f32(4, 2), "x": f32(4, 6), "pieces": 3, "out": f32(4, 6)},
    "softmax_cross_entropy": lambda: {"logits": f32(4, 5), "targets": np.array([0, 1, 2, 4]), "out": f32(4, 5),
                                      "class_weight": np.abs(f32(5)), "sample_weight": np.abs(f32(4))},
    "softmax_backward": lambda: {"dy": f32(4, 5), "y": f32(4, 5), "out": f32(4, 5)},
    "log_softmax_forward": lambda: {"x": f32(4, 5), "out": f32(4, 5)},
    "log_softmax_backward": lambda: {"dy": f32(4, 5), "y": f32(4, 5), "out": f32(4, 5)},
    "prelu_forward": lambda: {"x": f32(4, 5), "slope": f32(5), "out": f32(4, 5)},
    "prelu_backward": lambda: {"dy": f32(4, 5), "x": f32(4, 5), "slope": f32(5), "out": (f32(4, 5), f32(5))},
    **{name: lambda: {"outputs": f32(4, 5), "targets": np.abs(f32(4, 5)), "out": f32(4, 5), "sample_weight": np.abs(f32(4))}
       for name in ("mean_squared_error", "mean_absolute_error", "huber", "quantile", "poisson")},
    "binary_cross_entropy": lambda: {"logits": f32(4, 5), "targets": np.abs(f32(4, 5)), "out": f32(4, 5),
                                     "class_weight": np.abs(f32(2, 5)), "sample_weight": np.abs(f32(4))},
    "binary_hinge": lambda: {"outputs": f32(4, 5), "targets": np.abs(f32(4, 5)), "out": f32(4, 5),
                             "class_weight": np.abs(f32(2, 5)), "sample_weight": np.abs(f32(4))},
    "multiclass_hinge": lambda: {"outputs": f32(4, 5), "targets": np.array([0, 1, 2, 4]), "out": f32(4, 5),
                                 "class_weight": np.abs(f32(5)), "sample_weight": np.abs(f32(4))},
    "gather": lambda: {"source": f32(6, 5), "index": np.array([5, 0]), "out": f32(2, 5)},
    "gather_labels": lambda: {"labels": np.arange(6), "index": np.array([5, 0]), "classes": 6, "out": np.zeros(2, np.int32)},
    "sgd_update": lambda: {"params": [f32(4, 5), f32(3)], "grads": [f32(4, 5), f32(3)], "buffers": [f32(4, 5), f32(3)], "step": 1,
                           "lr": 0.1, "momentum": 0.9},
    "adam_update": lambda: {"params": [f32(4, 5), f32(3)], "grads": [f32(4, 5), f32(3)], "exp_avgs": [f32(4, 5), f32(3)],
                            "exp_avg_sqs": [np.abs(f32(4, 5)), np.abs(f32(3))], "step": 1},
    "embedding_forward": lambda: {"codes": np.array([[0, 2], [1, 1]]), "weight": f32(3, 4), "out": f32(2, 8)},
    "embedding_backward": lambda: {"dy": f32(2, 8), "codes": np.array([[0, 2], [1, 1]]), "num_embeddings": 3, "out": f32(3, 4)},
    "conv2d_forward": lambda: {"x": f32(2, 5, 4, 3), "w": f32(2, 3, 3, 6), "b": f32(6), "activation": "relu", "out": f32(2, 4, 2, 6),
                               "z": f32(2, 4, 2, 6)},
    "conv2d_backward": lambda: {"dy": f32(2, 4, 2, 6), "x": f32(2, 5, 4, 3), "w": f32(2, 3, 3, 6), "saved": f32(2, 4, 2, 6),
                                "activation": "relu", "out": (f32(2, 5, 4, 3), f32(2, 3, 3, 6), f32(6))},
    "maxpool2d_forward": lambda: {"x": f32(2, 4, 4, 3), "kernel_size": 2, "out": f32(2, 2, 2, 3)},
    "maxpool2d_backward": lambda: {"dy": f32(2, 2, 2, 3), "x": f32(2, 4, 4, 3), "kernel_size": 2, "out": f32(2, 4, 4, 3)},
    "avgpool2d_forward": lambda: {"x": f32(2, 4, 4, 3), "kernel_size": 2, "out": f32(2, 2, 2, 3)},
    "avgpool2d_backward": lambda: {"dy": f32(2, 2, 2, 3), "input_size": 4, "kernel_size": 2, "out": f32(2, 4, 4, 3)},
    "global_maxpool2d_forward": lambda: {"x": f32(2, 4, 4, 3), "out": f32(2, 3)},
    "global_maxpool2d_backward": lambda: {"dy": f32(2, 3), "x": f32(2, 4, 4, 3), "out": f32(2, 4, 4, 3)},
    "global_avgpool2d_forward": lambda: {"x": f32(2, 4, 4, 3), "out": f32(2, 3)},
    "global_avgpool2d_backward": lambda: {"dy": f32(2, 3), "input_size": 4, "out": f32(2, 4, 4, 3)},
    "stochastic_pool2d_forward": lambda: {"x": f32(2, 4, 4, 3), "kernel_size": 2, "seed": 0, "out": f32(2, 2, 2, 3)},
    "stochastic_pool2d_backward": lambda: {"dy": f32(2, 2, 2, 3), "x": f32(2, 4, 4, 3), "kernel_size": 2, "seed": 0, "out": f32(2, 4, 4, 3)},
    "stochastic_pool2d_inference": lambda: {"x": f32(2, 4, 4, 3), "kernel_size": 2, "out": f32(2, 2, 2, 3)},
    "stochastic_pool2d_inference_backward": lambda: {"dy": f32(2, 2, 2, 3), "x": f32(2, 4, 4, 3), "kernel_size": 2, "out": f32(2, 4, 4, 3)},
    "groupnorm_forward": lambda: {"x": f32(2, 3, 4), "num_groups": 2, "weight": f32(4), "bias": f32(4), "out": f32(2, 3, 4)},
    "groupnorm_backward": lambda: {"dy": f32(2, 3, 4), "x": f32(2, 3, 4), "num_groups": 2, "weight": f32(4), "out": f32(2, 3, 4)},
    "dropout2d_forward": lambda: {"x": f32(2, 3, 4), "p": 0.5, "seed": 0, "out": f32(2, 3, 4)},
    "dropout2d_backward": lambda: {"dy": f32(2, 3, 4), "p": 0.5, "seed": 0, "out": f32(2, 3, 4)},
    "penalty_forward": lambda: {"w": f32(4, 5), "l1": 0.1, "l2": 0.2},
    "penalty_backward": lambda: {"w": f32(4, 5), "dw": f32(4, 5), "l1": 0.1, "l2": 0.2},
    "random_bits": lambda: {"n": 5, "seed": 0, "stream": 0},
    "permutation": lambda: {"n": 5, "seed": 0},
}  # fmt: skip

# Every array argument of the kernels that take float32 arrays, with the names of those that are written.
FLOAT_ARRAYS = {
    "dense_forward": (["x", "w", "b"], ["out", "z"]),
    "dense_backward": (["dy", "x", "w", "saved"], []),
    "bias_gradient": (["dy"], ["out"]),
    "activation_forward": (["x"], ["out"]),
    "activation_backward": (["dy", "saved"], ["out"]),
    "softmax_forward": (["x"], ["out"]),
    "batchnorm_forward": (["x", "weight", "bias"], ["out"]),
    "batchnorm_inference": (["x", "mean", "var", "weight", "bias"], ["out"]),
    "batchnorm_backward": (["dy", "x", "statistics", "weight"], ["out"]),
    "layernorm_forward": (["x", "weight", "bias"], ["out"]),
    "layernorm_backward": (["dy", "x", "statistics", "weight"], ["out"]),
    "rmsnorm_forward": (["x", "weight"], ["out"]),
    "rmsnorm_backward": (["dy", "x", "statistics", "weight"], ["out"]),
    "dropout_forward": (["x"], ["out"]),
    "dropout_backward": (["dy"], ["out"]),
    "gaussian_noise": (["x"], ["out"]),
    "maxout_forward": (["x"], ["out"]),
    "maxout_backward": (["dy", "x"], ["out"]),
    "softmax_cross_entropy": (["logits", "class_weight", "sample_weight"], ["out"]),
    "softmax_backward": (["dy", "y"], ["out"]),
    "log_softmax_forward": (["x"], ["out"]),
    "log_softmax_backward": (["dy", "y"], ["out"]),
    "prelu_forward": (["x", "slope"], ["out"]),
    "prelu_backward": (["dy", "x", "slope"], []),
    **{name: (["outputs", "targets", "sample_weight"], ["out"])
       for name in ("mean_squared_error", "mean_absolute_error", "huber", "quantile", "poisson")},
    "binary_cross_entropy": (["logits", "targets", "class_weight", "sample_weight"], ["out"]),
    "binary_hinge": (["outputs", "targets", "class_weight", "sample_weight"], ["out"]),
    "multiclass_hinge": (["outputs", "class_weight", "sample_weight"], ["out"]),
    "gather": ([], ["out"]),
    "embedding_forward": (["weight"], ["out"]),
    "embedding_backward": (["dy"], ["out"]),
    "conv2d_forward": (["x", "w", "b"], ["out", "z"]),
    "conv2d_backward": (["dy", "x", "w", "saved"], []),
    **{f"{kind}pool2d_forward": (["x"], ["out"]) for kind in ("max", "avg", "global_max", "global_avg")},
    **{f"{kind}pool2d_backward": (["dy", "x"], ["out"]) for kind in ("max", "global_max")},
    **{f"{kind}pool2d_backward": (["dy"], ["out"]) for kind in ("avg", "global_avg")},
    **{f"stochastic_pool2d_{way}": (["x"], ["out"]) for way in ("forward", "inference")},
    **{f"stochastic_pool2d_{way}": (["dy", "x"], ["out"]) for way in ("backward", "inference_backward")},
    "groupnorm_forward": (["x", "weight", "bias"], ["out"]),
    "groupnorm_backward": (["dy", "x", "weight"], ["out"]),
    "dropout2d_forward": (["x"], ["out"]),
    "dropout2d_backward": (["dy"], ["out"]),
    "penalty_forward": (["w"], []),
    "penalty_backward": (["w"], ["dw"]),
}

BAD = [
    # what is wrong with one array: a change, the exception
    (lambda a: a.astype(F64), TypeError),
    (lambda a: a.astype(np.int32), TypeError),
    (lambda a: a.astype(np.float16), TypeError),
    (lambda a: a.astype(np.complex64), TypeError),
    (lambda a: a.astype(a.dtype.newbyteorder()), TypeError),
    (lambda a: a.tolist(), TypeError),
    (lambda a: 1.0, TypeError),
    (lambda a: np.repeat(a, 2, axis=-1)[..., ::2], ValueError),
    (lambda a: np.flip(np.flip(a, -1).copy(), -1), ValueError),
    (lambda a: misaligned(a), ValueError),
    (lambda a: a[:0], ValueError),
]
BAD_SHAPE = [lambda a: a[:-1].copy(), lambda a: np.concatenate([a, a]), lambda a: a[None].copy()]


def arrays_in(value):
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from arrays_in(v)


def assert_refused(function, args, error, message=None):
    before = [a.copy() for a in arrays_in(list(args.values()))]
    with pytest.raises(error) as caught:
        getattr(kernels, function)(**args)
    text = str(caught.value)
    assert re.match(r"[\w\[\]., ]+: expected .+, got .+", text), text
    if message:
        assert message in text, text
    assert same_bits(tuple(arrays_in(list(args.values()))), tuple(before))


def test_good_arguments_are_good():
    for function, args in GOOD.items():
        getattr(kernels, function)(**args())
    rest = {"softmax_cross_entropy_rows", "softmax_cross_entropy_correct"}
    assert set(GOOD) | rest == set(kernels.__all__)


@pytest.mark.parametrize("function", FLOAT_ARRAYS)
def test_arrays_that_are_refused(function):
    inputs, outputs = FLOAT_ARRAYS[function]
    for name in inputs + outputs:
        for change, error in BAD[len(inputs + outputs) == 1 and function != "gather" :]:  # alone it says the dtype
            args = GOOD[function]()
            args[name] = change(args[name])
            assert_refused(function, args, error)
    for name in outputs:
        args = GOOD[function]()
        assert_refused(function, args | {name: frozen(args[name])}, ValueError, f"{name}: expected a writable array")
        for change in BAD_SHAPE:
            args = GOOD[function]()
            assert_refused(function, args | {name: change(args[name])}, ValueError, f"{name}: expected")


def test_read_only_inputs_are_fine():
    for function, (inputs, _) in FLOAT_ARRAYS.items():
        args = GOOD[function]()
        getattr(kernels, function)(**args | {name: frozen(args[name]) for name in inputs})


# function, changed arguments, exception, part of the message
REFUSED = [
    ("dense_forward", {"w": f32(4, 5)}, ValueError, "w: expected shape (3, 5), got (4, 5)"),
    ("dense_forward", {"b": f32(4)}, ValueError, "b: expected shape (5,), got (4,)"),
    ("dense_forward", {"x": f32(3)}, ValueError, "x: expected 2 dimensions, got shape (3,)"),
    ("dense_forward", {"activation": "softmax"}, ValueError, f"activation: expected one of {', '.join(ACTIVATIONS)}, got 'softmax'"),
    ("dense_forward", {"activation": 3}, TypeError, "activation: expected a name, got int"),
    ("dense_forward", {"activation": "leaky_relu", "alpha": -0.1}, ValueError, "alpha: expected"),
    ("dense_forward", {"activation": "leaky_relu", "alpha": np.nan}, ValueError, "alpha: expected"),
    ("dense_forward", {"activation": "leaky_relu", "alpha": np.inf}, ValueError, "alpha: expected"),
    ("dense_forward", {"activation": "leaky_relu", "alpha": 1e39}, ValueError, "alpha: expected"),
    ("dense_forward", {"activation": "leaky_relu", "alpha": "0.1"}, TypeError, "alpha: expected"),
    ("dense_backward", {"dy": f32(3, 5)}, ValueError, "dy: expected shape (4, 5), got (3, 5)"),
    ("dense_backward", {"x": f32(4, 2)}, ValueError, "w: expected shape (2, 5), got (3, 5)"),
    ("dense_backward", {"saved": None}, ValueError, "saved: expected"),
    ("dense_backward", {"saved": f32(4, 4)}, ValueError, "saved: expected shape (4, 5), got (4, 4)"),
    ("dense_backward", {"need_dx": False}, ValueError, "out: expected no dx where need_dx is False"),
    ("dense_backward", {"out": f32(4, 3)}, TypeError, "out: expected None or a tuple (dx, dw, db), got ndarray"),
    ("dense_backward", {"out": (None, None)}, TypeError, "out: expected None or a tuple (dx, dw, db), got 2 items"),
    ("dense_backward", {"out": (f32(4, 2), None, None)}, ValueError, "dx: expected shape (4, 3), got (4, 2)"),
    ("dense_backward", {"out": (None, f32(5, 3), None)}, ValueError, "dw: expected shape (3, 5), got (5, 3)"),
    ("dense_backward", {"out": (None, None, f32(3))}, ValueError, "db: expected shape (5,), got (3,)"),
    ("dense_backward", {"out": (None, None, frozen(f32(5)))}, ValueError, "db: expected a writable array"),
    ("dense_backward", {"activation": "leaky_relu", "alpha": -1}, ValueError, "alpha: expected"),
    ("activation_backward", {"saved": None}, ValueError, "saved: expected the output of tanh, got None"),
    ("activation_backward", {"saved": f32(5, 4)}, ValueError, "saved: expected"),
    ("activation_backward", {"activation": "gelu?"}, ValueError, "activation: expected"),
    ("activation_forward", {"activation": "Relu"}, ValueError, "activation: expected"),
    ("softmax_forward", {"x": f32(5)}, ValueError, "x: expected 2 dimensions, got shape (5,)"),
    ("softmax_cross_entropy", {"targets": np.array([0, 1, 2, 5])}, ValueError, "targets[3]: expected a class number >= 0 and < 5, got 5"),
    ("softmax_cross_entropy", {"targets": np.array([0, -1, 2, 9])}, ValueError, "targets[1]: expected a class number >= 0 and < 5, got -1"),
    ("softmax_cross_entropy", {"targets": np.array([0, 1, 2])}, ValueError, "targets: expected shape (4,), got (3,)"),
    ("softmax_cross_entropy", {"targets": np.zeros((4, 5), int)}, ValueError, "targets: expected shape (4,), got (4, 5)"),
    ("softmax_cross_entropy", {"targets": np.zeros(4, F32)}, TypeError, "targets: expected class numbers of an integer dtype, got dtype float32"),
    ("softmax_cross_entropy", {"targets": np.zeros(4, bool)}, TypeError, "targets: expected integers or rows of floating-point numbers, got dtype bool"),
    ("softmax_cross_entropy", {"targets": np.zeros((4, 5))}, TypeError, "targets: expected dtype float32, got float64"),
    ("softmax_cross_entropy", {"targets": f32(4, 4)}, ValueError, "targets: expected shape (4, 5), got (4, 4)"),
    ("softmax_cross_entropy", {"targets": [0, 1, 2, 3]}, TypeError, "targets: expected a NumPy array, got list"),
    ("softmax_cross_entropy", {"targets": np.zeros(4, ">i8")}, TypeError, "targets: expected"),
    ("conv2d_forward", {"x": f32(5, 4, 3)}, ValueError, "x: expected 4 dimensions, got shape (5, 4, 3)"),
    ("conv2d_forward", {"w": f32(2, 3, 4, 6)}, ValueError, "w: expected shape (2, 3, 3, 6), got (2, 3, 4, 6)"),
    ("conv2d_forward", {"w": f32(6, 3, 3, 6)}, ValueError, "x: expected images of at least 6 pixels along each side"),
    ("conv2d_forward", {"groups": 2}, ValueError, "groups: expected a divisor of the 3 channels and the 6 filters, got 2"),
    ("conv2d_forward", {"groups": 0}, ValueError, "groups: expected an integer from 1"),
    ("conv2d_forward", {"stride": 0}, ValueError, "stride: expected an integer from 1"),
    ("conv2d_forward", {"stride": (1, 2, 3)}, ValueError, "stride: expected a number, or two"),
    ("conv2d_forward", {"dilation": 1.5}, TypeError, "dilation: expected an integer, got 1.5"),
    ("conv2d_forward", {"padding": -1}, ValueError, "padding: expected an integer from 0"),
    ("conv2d_forward", {"padding": "full"}, ValueError, "padding: expected numbers, 'same' or 'valid', got 'full'"),
    ("conv2d_forward", {"padding": 2**30}, ValueError, "x, padding: expected images of fewer than 2**31 elements"),
    ("conv2d_forward", {"b": f32(5)}, ValueError, "b: expected shape (6,), got (5,)"),
    ("conv2d_forward", {"out": f32(2, 4, 3, 6)}, ValueError, "out: expected shape (2, 4, 2, 6), got (2, 4, 3, 6)"),
    ("conv2d_backward", {"dy": f32(2, 4, 3, 6)}, ValueError, "dy: expected shape (2, 4, 2, 6), got (2, 4, 3, 6)"),
    ("conv2d_backward", {"saved": None}, ValueError, "saved: expected the output of the activation, got None"),
    ("conv2d_backward", {"need_dx": False}, ValueError, "out: expected no dx where need_dx is False"),
    ("conv2d_backward", {"out": (None, None)}, TypeError, "out: expected None or a tuple (dx, dw, db), got 2 items"),
    ("conv2d_backward", {"out": (None, f32(2, 3, 3, 5), None)}, ValueError, "dw: expected shape (2, 3, 3, 6), got (2, 3, 3, 5)"),
    ("maxpool2d_forward", {"kernel_size": 5}, ValueError, "x: expected images of at least 5 pixels along each side"),
    ("maxpool2d_forward", {"padding": 2}, ValueError, "padding: expected less than the kernel, (2, 2), got (2, 2, 2, 2)"),
    ("maxpool2d_forward", {"x": f32(2, 1, 4, 3), "padding": 1, "dilation": 2}, ValueError, "x: expected images of which every window has a pixel"),
    ("maxpool2d_forward", {"ceil_mode": 1}, TypeError, "ceil_mode: expected True or False, got 1"),
    ("maxpool2d_backward", {"dy": f32(2, 2, 3, 3)}, ValueError, "dy: expected shape (2, 2, 2, 3), got (2, 2, 3, 3)"),
    ("avgpool2d_backward", {"input_size": (4, 1)}, ValueError, "input_size: expected images of at least 2 pixels"),
    ("avgpool2d_backward", {"input_size": 2**20}, ValueError, "input_size: expected fewer than 2**31 pixels"),
    ("global_maxpool2d_backward", {"dy": f32(2, 4)}, ValueError, "dy: expected shape (2, 3), got (2, 4)"),
    ("groupnorm_forward", {"num_groups": 3}, ValueError, "num_groups: expected a divisor of the 4 channels, got 3"),
    ("groupnorm_forward", {"num_groups": 0}, ValueError, "num_groups: expected an integer from 1"),
    ("groupnorm_forward", {"x": f32(4)}, ValueError, "x: expected 2 dimensions or more, got shape (4,)"),
    ("groupnorm_forward", {"weight": f32(3)}, ValueError, "weight: expected shape (4,), got (3,)"),
    ("groupnorm_backward", {"dy": f32(2, 4, 4)}, ValueError, "dy: expected shape (2, 3, 4), got (2, 4, 4)"),
    ("dropout2d_forward", {"p": 2.0}, ValueError, "p: expected a number from 0 to 1, got 2.0"),
    ("dropout2d_forward", {"x": f32(4)}, ValueError, "x: expected 2 dimensions or more, got shape (4,)"),
    ("stochastic_pool2d_forward", {"seed": -1}, ValueError, "seed: expected an integer from 0"),
    ("stochastic_pool2d_backward", {"dy": f32(2, 2, 3, 3)}, ValueError, "dy: expected shape (2, 2, 2, 3), got (2, 2, 3, 3)"),
    ("batchnorm_forward", {"weight": f32(4)}, ValueError, "weight: expected shape (5,), got (4,)"),
    ("batchnorm_forward", {"eps": -1.0}, ValueError, "eps: expected a number >= 0, got -1.0"),
    ("batchnorm_forward", {"eps": 1e39}, ValueError, "eps: expected a number that is finite in float32"),
    ("batchnorm_forward", {"activation": "softmax"}, ValueError, "activation: expected"),
    ("batchnorm_inference", {"var": f32(6)}, ValueError, "var: expected shape (5,), got (6,)"),
    ("batchnorm_backward", {"statistics": f32(3, 5)}, ValueError, "statistics: expected shape (4, 5), got (3, 5)"),
    ("batchnorm_backward", {"x": f32(4, 6)}, ValueError, "dy: expected shape (4, 6), got (4, 5)"),
    ("layernorm_backward", {"statistics": f32(4, 2)}, ValueError, "statistics: expected shape (4, 3), got (4, 2)"),
    ("rmsnorm_forward", {"eps": np.nan}, ValueError, "eps: expected a number >= 0, got nan"),
    ("dropout_forward", {"p": 1.5}, ValueError, "p: expected a number from 0 to 1, got 1.5"),
    ("dropout_forward", {"p": np.nan}, ValueError, "p: expected a number from 0 to 1, got nan"),
    ("dropout_forward", {"p": None}, TypeError, "p: expected a number, got None"),
    ("dropout_forward", {"seed": -1}, ValueError, "seed: expected an integer from 0"),
    ("dropout_forward", {"offset": 2**32}, ValueError, "offset: expected an integer from 0"),
    ("dropout_backward", {"stream": 2**32}, ValueError, "stream: expected an integer from 0"),
    ("gaussian_noise", {"std": -1}, ValueError, "std: expected a number >= 0, got -1"),
    ("gaussian_noise", {"std": 1e39}, ValueError, "std: expected a number that is finite in float32"),
    ("maxout_forward", {"pieces": 4}, ValueError, "x: expected 4 pieces of one width in a row, got shape (4, 6)"),
    ("maxout_forward", {"pieces": 0}, ValueError, "pieces: expected an integer from 1"),
    ("maxout_backward", {"dy": f32(4, 3)}, ValueError, "dy: expected shape (4, 2), got (4, 3)"),
    ("softmax_cross_entropy", {"label_smoothing": 1.5}, ValueError, "label_smoothing: expected a number from 0 to 1, got 1.5"),
    ("softmax_cross_entropy", {"class_weight": f32(4)}, ValueError, "class_weight: expected shape (5,), got (4,)"),
    ("softmax_cross_entropy", {"sample_weight": f32(5)}, ValueError, "sample_weight: expected shape (4,), got (5,)"),
    ("softmax_cross_entropy", {"reduction": "none"}, ValueError, "reduction: expected 'mean' or 'sum', got 'none'"),
    ("softmax_backward", {"y": f32(4, 4)}, ValueError, "y: expected shape (4, 5), got (4, 4)"),
    ("prelu_forward", {"slope": f32(4)}, ValueError, "slope: expected shape (1,) or (5,), got (4,)"),
    ("prelu_backward", {"slope": f32(4)}, ValueError, "slope: expected shape (1,) or (5,), got (4,)"),
    ("prelu_backward", {"x": f32(4, 4)}, ValueError, "x: expected shape (4, 5), got (4, 4)"),
    ("prelu_backward", {"out": f32(4, 5)}, TypeError, "out: expected None or a tuple (dx, dslope), got ndarray"),
    ("prelu_backward", {"out": (f32(4, 4), None)}, ValueError, "dx: expected shape (4, 5), got (4, 4)"),
    ("prelu_backward", {"out": (None, f32(1))}, ValueError, "dslope: expected shape (5,), got (1,)"),
    ("mean_squared_error", {"targets": f32(4, 4)}, ValueError, "targets: expected shape (4, 5), got (4, 4)"),
    ("mean_squared_error", {"outputs": f32(5)}, ValueError, "outputs: expected 2 dimensions, got shape (5,)"),
    ("mean_absolute_error", {"reduction": None}, ValueError, "reduction: expected 'mean' or 'sum', got None"),
    ("huber", {"delta": 0}, ValueError, "delta: expected a number > 0, finite in float32, got 0.0"),
    ("huber", {"delta": np.nan}, ValueError, "delta: expected"),
    ("poisson", {"eps": -1}, ValueError, "eps: expected a number >= 0, finite in float32, got -1.0"),
    ("binary_cross_entropy", {"logits": f32(4, 4)}, ValueError, "class_weight: expected shape (2, 4), got (2, 5)"),
    ("binary_cross_entropy", {"targets": np.zeros((4, 5), int)}, TypeError, "targets: expected dtype float32, got int64"),
    ("binary_hinge", {"margin": "1x"}, TypeError, "margin: expected a number, got '1x'"),
    ("multiclass_hinge", {"margin": np.inf}, ValueError, "margin: expected"),
    ("multiclass_hinge", {"targets": np.array([0, 1, 2, 5])}, ValueError, "targets[3]: expected a class number >= 0 and < 5, got 5"),
    ("multiclass_hinge", {"targets": np.zeros(4)}, TypeError, "targets: expected class numbers of an integer dtype, got dtype float64"),
    ("gather", {"source": np.zeros((6, 5), complex)}, TypeError, "source: expected a real dtype in native byte order"),
    ("gather", {"source": np.zeros((6, 5), object)}, TypeError, "source: expected a real dtype"),
    ("gather", {"source": np.zeros((6, 5), np.longdouble)}, TypeError, "source: expected a real dtype"),
    ("gather", {"source": np.zeros((6, 5), "M8[s]")}, TypeError, "source: expected a real dtype"),
    ("gather", {"source": np.zeros((6, 5), "U3")}, TypeError, "source: expected a real dtype"),
    ("gather", {"source": np.zeros((6, 5), ">f4")}, TypeError, "source: expected a real dtype in native byte order, got >f4"),
    ("gather", {"source": [[1.0]]}, TypeError, "source: expected a NumPy array, got list"),
    ("gather", {"source": np.zeros(6)}, ValueError, "source: expected 2 dimensions or more, got shape (6,)"),
    ("gather", {"source": np.zeros((0, 5))}, ValueError, "source: expected at least one row"),
    ("gather", {"source": np.zeros((5, 6)).T}, ValueError, "source: expected the elements of a row side by side"),
    ("gather", {"source": np.zeros((6, 10))[:, ::2]}, ValueError, "source: expected the elements of a row side by side"),
    ("gather", {"source": misaligned(np.zeros((6, 5)))}, ValueError, "source: expected an aligned array"),
    ("gather", {"index": np.array([5, 0], np.int32)}, TypeError, "index: expected dtype int64, got int32"),
    ("gather", {"index": np.array([5.0, 0.0])}, TypeError, "index: expected dtype int64, got float64"),
    ("gather", {"index": [5, 0]}, TypeError, "index: expected a NumPy array, got list"),
    ("gather", {"index": np.array([[5, 0]])}, ValueError, "index: expected 1 dimension, got shape (1, 2)"),
    ("gather", {"index": np.zeros(0, np.int64)}, ValueError, "index: expected at least one element"),
    ("gather", {"index": np.array([5, 0, 1, 2])[::2]}, ValueError, "index: expected a C-contiguous array"),
    ("gather", {"index": np.array([0, 6])}, IndexError, "index[1]: expected a row from 0 to 5, got 6"),
    ("gather", {"scale": "2x"}, TypeError, "scale: expected a number, got '2x'"),
    ("gather_labels", {"labels": np.zeros(6)}, TypeError, "labels: expected an integer dtype, got float64"),
    ("gather_labels", {"labels": np.zeros(6, bool)}, TypeError, "labels: expected an integer dtype, got bool"),
    ("gather_labels", {"labels": [0] * 6}, TypeError, "labels: expected a NumPy array, got list"),
    ("gather_labels", {"labels": np.zeros((6, 1), int)}, ValueError, "labels: expected 1 dimension, got shape (6, 1)"),
    ("gather_labels", {"labels": np.zeros(6, ">i4")}, TypeError, "labels: expected a real dtype in native byte order"),
    ("gather_labels", {"out": np.zeros(2, np.int64)}, TypeError, "out: expected dtype int32, got int64"),
    ("gather_labels", {"out": np.zeros(3, np.int32)}, ValueError, "out: expected shape (2,), got (3,)"),
    ("gather_labels", {"classes": 2**31 + 1}, ValueError, "classes: expected an integer from 0 to 2147483648"),
    ("gather_labels", {"classes": -1}, ValueError, "classes: expected"),
    ("gather_labels", {"classes": 6.0}, TypeError, "classes: expected an integer, got 6.0"),
    ("sgd_update", {"params": f32(4, 5)}, TypeError, "params: expected a list of arrays, got ndarray"),
    ("sgd_update", {"grads": [f32(4, 5)]}, ValueError, "grads: expected 2 arrays, one for each parameter, got 1"),
    ("sgd_update", {"grads": [f32(4, 5), f32(4)]}, ValueError, "grads[1]: expected the parameter's shape (3,), got (4,)"),
    ("sgd_update", {"grads": [f32(4, 5), np.zeros(3)]}, TypeError, "grads[1]: expected the parameter's dtype float32, got float64"),
    ("sgd_update", {"grads": [f32(5, 4).T, f32(3)]}, ValueError, "grads[0]: expected the parameter's memory layout"),
    ("sgd_update", {"grads": [f32(4, 10)[:, ::2], f32(3)]}, ValueError, "grads[0]: expected the parameter's memory layout"),
    ("sgd_update", {"grads": [f32(4, 5), misaligned(f32(3))]}, ValueError, "grads[1]: expected an aligned array"),
    ("sgd_update", {"grads": [f32(4, 5), None]}, TypeError, "grads[1]: expected a NumPy array, got NoneType"),
    ("sgd_update", {"params": [f32(4, 5), frozen(f32(3))]}, ValueError, "params[1]: expected a writable array"),
    ("sgd_update", {"params": [f32(4, 5), np.zeros(3, np.float16)]}, TypeError, "params[1]: expected dtype float32 or float64, got float16"),
    ("sgd_update", {"params": [f32(4, 5), np.zeros(3, ">f4")]}, TypeError, "params[1]: expected dtype float32 or float64, got >f4"),
    ("sgd_update", {"params": [f32(4, 5), f32(6)[::2]]}, ValueError, "params[1]: expected a contiguous array"),
    ("sgd_update", {"params": [f32(4, 5), f32(0)]}, ValueError, "params[1]: expected at least one element"),
    ("sgd_update", {"buffers": [f32(4, 5), frozen(f32(3))]}, ValueError, "buffers[1]: expected a writable array"),
    ("sgd_update", {"buffers": [np.asfortranarray(f32(4, 5)), f32(3)]}, ValueError, "buffers[0]: expected the parameter's memory layout"),
    ("sgd_update", {"buffers": None}, TypeError, "buffers: expected a list of arrays, got NoneType"),
    ("sgd_update", {"momentum": 0.0}, ValueError, "buffers: expected None when momentum is 0, got list"),
    ("sgd_update", {"momentum": -0.5}, ValueError, "momentum: expected a number >= 0, got -0.5"),
    ("sgd_update", {"momentum": None}, TypeError, "momentum: expected a number, got None"),
    ("sgd_update", {"lr": np.nan}, ValueError, "lr: expected a number >= 0, got nan"),
    ("sgd_update", {"lr": 10**400}, ValueError, "lr: expected a number that a double can hold"),
    ("sgd_update", {"weight_decay": -1}, ValueError, "weight_decay: expected a number >= 0, got -1"),
    ("sgd_update", {"nesterov": True, "dampening": 0.5}, ValueError, "nesterov: expected momentum > 0 and dampening 0"),
    ("sgd_update", {"step": 0}, ValueError, "step: expected an integer from 1"),
    ("sgd_update", {"step": 1.0}, TypeError, "step: expected an integer, got 1.0"),
    ("adam_update", {"beta1": 1.0}, ValueError, "beta1: expected a number >= 0 and < 1, got 1.0"),
    ("adam_update", {"beta2": -0.1}, ValueError, "beta2: expected a number >= 0 and < 1, got -0.1"),
    ("adam_update", {"eps": -1e-8}, ValueError, "eps: expected a number >= 0"),
    ("adam_update", {"exp_avgs": [f32(4, 5)]}, ValueError, "exp_avgs: expected 2 arrays"),
    ("adam_update", {"exp_avg_sqs": [f32(4, 5), np.zeros(3)]}, TypeError, "exp_avg_sqs[1]: expected the parameter's dtype"),
    ("adam_update", {"exp_avg_sqs": [f32(4, 5), frozen(f32(3))]}, ValueError, "exp_avg_sqs[1]: expected a writable array"),
    ("adam_update", {"step": -1}, ValueError, "step: expected"),
    ("penalty_forward", {"l1": -1}, ValueError, "l1: expected a number >= 0, got -1"),
    ("penalty_forward", {"l2": np.nan}, ValueError, "l2: expected a number >= 0, got nan"),
    ("penalty_backward", {"l2": 1e39}, ValueError, "l2: expected a number that is finite in float32, got 1e+39"),
    ("penalty_backward", {"l1": "x"}, TypeError, "l1: expected a number, got 'x'"),
    ("random_bits", {"n": -1}, ValueError, "n: expected"),
    ("random_bits", {"n": 2.5}, TypeError, "n: expected an integer, got 2.5"),
    ("random_bits", {"seed": 2**64}, ValueError, "seed: expected"),
    ("random_bits", {"stream": 2**32}, ValueError, "stream: expected"),
    ("random_bits", {"step": -1}, ValueError, "step: expected"),
    ("random_bits", {"offset": 2**64 - 1}, ValueError, "offset: expected offset + n of at most 2**64"),
    ("permutation", {"n": -1}, ValueError, "n: expected"),
    ("permutation", {"seed": -1}, ValueError, "seed: expected"),
    ("permutation", {"epoch": 2**32}, ValueError, "epoch: expected"),
]  # fmt: skip


IDS = [f"{function}-{'-'.join(change)}-{i}" for i, (function, change, _, _) in enumerate(REFUSED)]


@pytest.mark.parametrize("function, change, error, message", REFUSED, ids=IDS)
def test_arguments_that_are_refused(function, change, error, message):
    assert_refused(function, GOOD[function]() | change, error, message)


def test_integers_of_numpy_are_integers():
    assert same_bits(kernels.random_bits(np.int32(5), np.uint64(7), np.int8(1)), kernels.random_bits(5, 7, 1))


def parts_of(size, *shapes, dtype=F32):
    """Arrays of the shapes that each begin one element after the one before, in one block."""
    block = np.zeros(size, dtype)
    return [block[i : i + math.prod(s)].reshape(s) for i, s in enumerate(shapes)]


def assert_overlap_refused(function, name, **change):
    assert_refused(function, GOOD[function]() | change, ValueError, f"{name}: expected")


def test_outputs_that_overlap_are_refused():
    x, out = parts_of(100, (4, 3), (4, 5))
    assert_overlap_refused("dense_forward", "out", x=x, out=out)
    w, z = parts_of(100, (3, 5), (4, 5))
    assert_overlap_refused("dense_forward", "z", w=w, z=z)
    assert_overlap_refused("dense_forward", "z", out=z, z=z)
    dy, dw = parts_of(100, (4, 5), (3, 5))
    assert_overlap_refused("dense_backward", "dw", dy=dy, out=(None, dw, None))
    assert_overlap_refused("dense_backward", "dx", dy=dy, out=(dy.reshape(-1)[:12].reshape(4, 3), None, None))
    assert_overlap_refused("dense_backward", "db", dy=dy, out=(None, None, dy[0]))
    dx, dw = parts_of(100, (4, 3), (3, 5))
    assert_overlap_refused("dense_backward", "dw", out=(dx, dw, None))
    assert_overlap_refused("bias_gradient", "out", dy=dy, out=dy[1])
    for function, name in (
        ("activation_forward", "x"),
        ("activation_backward", "dy"),
        ("activation_backward", "saved"),
        ("softmax_forward", "x"),
        ("softmax_cross_entropy", "logits"),
        ("batchnorm_forward", "x"),
        ("batchnorm_inference", "x"),
        ("batchnorm_backward", "dy"),
        ("layernorm_forward", "x"),
        ("rmsnorm_backward", "dy"),
        ("dropout_forward", "x"),
        ("gaussian_noise", "x"),
    ):
        a, out = parts_of(100, (4, 5), (4, 5))  # not the input itself, but a part of it
        assert_refused(function, GOOD[function]() | {name: a, "out": out}, ValueError, f"out: expected {name} itself or memory")
    t, out = parts_of(100, (4, 5), (4, 5))
    assert_overlap_refused("softmax_cross_entropy", "out", targets=t, out=out)
    assert_overlap_refused("batchnorm_backward", "out", x=t, out=out)
    assert_overlap_refused("layernorm_backward", "out", x=t, out=out)
    assert_overlap_refused("batchnorm_forward", "out", weight=out[0], out=out)
    x, dx = parts_of(100, (4, 6), (4, 6))
    assert_overlap_refused("maxout_backward", "out", x=x, out=dx)
    x, y = parts_of(200, (2, 5, 4, 3), (2, 4, 2, 6))
    assert_overlap_refused("conv2d_forward", "out", x=x, out=y)
    assert_overlap_refused("conv2d_forward", "z", out=y, z=y)
    assert_overlap_refused("conv2d_backward", "dx", x=x, out=(x, None, None))
    x, y = parts_of(200, (2, 4, 4, 3), (2, 2, 2, 3))
    for kind in ("max", "avg"):
        assert_overlap_refused(f"{kind}pool2d_forward", "out", x=x, out=y)
        assert_overlap_refused(f"{kind}pool2d_backward", "out", dy=y, out=x)
        assert_overlap_refused(f"global_{kind}pool2d_forward", "out", x=x, out=x[0, 0, :2])
    assert_overlap_refused("stochastic_pool2d_forward", "out", x=x, out=y)
    assert_overlap_refused("stochastic_pool2d_inference_backward", "out", x=x, out=x)
    x, y = parts_of(100, (2, 3, 4), (2, 3, 4))
    assert_overlap_refused("groupnorm_forward", "out", x=x, out=y)
    assert_overlap_refused("groupnorm_backward", "out", x=x, out=x)
    assert_overlap_refused("dropout2d_forward", "out", x=x, out=y)


def test_outputs_within_strided_rows_are_refused():
    """The last row is where such an array ends, not its number of bytes from its start."""
    block = np.zeros((9, 5), F32)
    for source in (block[::4], block[::-4]):
        for at in (0, 4, 7):
            assert_overlap_refused("gather", "out", source=source, index=np.array([0]), out=block[at : at + 1])
    labels = np.zeros(12, np.int32)
    assert_overlap_refused("gather_labels", "out", labels=labels[::-3], index=np.array([0]), out=labels[2:3])


def test_updated_arrays_that_overlap_are_refused():
    block = np.zeros(40, F32)
    a, b, c = block[:10], block[9:19], block[19:29]
    good = lambda: np.ones(10, F32)
    for params, grads, buffers, name in (
        ([a, b], [good(), good()], [good(), good()], "params[1]"),
        ([a, a], [good(), good()], [good(), good()], "params[1]"),
        ([a, good()], [good(), a], [good(), good()], "params[0]"),
        ([a, good()], [good(), b], [good(), good()], "grads[1]"),
        ([a, good()], [good(), good()], [c, b], "buffers[1]"),
        ([good(), good()], [a, b], [b, good()], "buffers[0]"),
        ([good(), good()], [a, a], [c, c], "buffers[1]"),
    ):
        args = {"params": params, "grads": grads, "buffers": buffers, "step": 1, "lr": 0.1, "momentum": 0.9}
        assert_refused("sgd_update", args, ValueError, f"{name}: expected memory of its own, got an array that overlaps")
