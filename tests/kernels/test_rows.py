"""Rows by index, labels, embeddings."""

import re

import numpy as np
import pytest

from fastnn import kernels, reference

from kernel_checks import across, assert_guards, assert_within, F32, F64, frozen, normal, poisoned, rng, same_bits, TAILS, U

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
