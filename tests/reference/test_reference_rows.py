"""Gathering rows and labels: every dtype, one rounding, special values, order, errors that name rows."""

from fractions import Fraction

import numpy as np
import pytest

from fastnn.reference import gather, gather_labels

DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 3), (5, 2, 3), (5, 0), (5, 2, 2, 2)])
def test_values_row_by_row(dtype, shape):
    source = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    index = np.array([4, 0, 0, 2])
    got = gather(source, index, 0.1, -3.0)
    assert got.dtype == np.float32 and got.shape == (4, int(np.prod(shape[1:])))
    for row, i in zip(got, index):
        assert row.tolist() == [float(np.float32(float(v) * 0.1 + -3.0)) for v in source[i].ravel()]
    np.testing.assert_array_equal(gather(source, None, 0.1, -3.0), gather(source, np.arange(5), 0.1, -3.0))


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "u4", "i8", "u8"])
def test_index_dtypes(dtype):
    source = np.arange(6.0).reshape(3, 2)
    assert gather(source, np.array([2, 1], dtype)).tolist() == [[4, 5], [2, 3]]
    assert gather_labels(np.array([5, 6, 7]), np.array([2, 1], dtype), 10).tolist() == [7, 6]


def test_extremes_of_wide_integers():
    for dtype in ("i8", "u8"):
        info = np.iinfo(dtype)
        got = gather(np.array([[info.min, info.max]], dtype), None)
        assert got.tolist() == [[float(info.min), float(np.float32(info.max))]]


def test_product_and_sum_are_rounded_apart_in_double():
    """A fused multiply-add would differ here: the exact product lies between two doubles and the shift cancels it."""
    v, scale = 3.0, 0.1
    shift = -0.3
    rounded = v * scale + shift
    exact = float(Fraction(v) * Fraction(scale) + Fraction(shift))
    assert rounded != exact
    assert gather(np.array([[v]]), None, scale, shift)[0, 0] == np.float32(rounded)


def test_one_rounding_to_float32():
    """Rounded to float32 before scaling, 2^24 + 1 would be 2^24."""
    assert gather(np.array([[2**24 + 1]]), None, 0.5)[0, 0] == np.float32(2**23 + 0.5)
    assert gather(np.array([[2**24 + 1]]), None, 1.0, -(2.0**24))[0, 0] == 1


@pytest.mark.filterwarnings("error")
def test_special_values():
    source = np.array([[np.nan, np.inf, -np.inf, -0.0, 1e300, 1e-45, 5e-324]])
    got = gather(source, None)
    np.testing.assert_array_equal(got, np.array([[np.nan, np.inf, -np.inf, -0.0, np.inf, 1e-45, 0.0]], np.float32))
    assert gather(np.array([[-0.0]]), None, 1.0, -0.0).view(np.uint32)[0, 0] == 0x80000000
    assert np.isnan(gather(np.array([[np.inf]]), None, 0.0)).all()


def test_out_and_strided_sources(tmp_path):
    big = np.arange(48, dtype=np.int16).reshape(6, 8)
    source = big[::2, ::-2]
    out = np.full((2, 4), np.nan, np.float32)
    assert gather(source, np.array([2, 0]), out=out) is out
    np.testing.assert_array_equal(out, source[[2, 0]])
    mapped = np.memmap(tmp_path / "rows", np.int16, "w+", shape=(6, 8))
    mapped[:] = big
    np.testing.assert_array_equal(gather(mapped, np.array([5])), big[5:])
    fortran = np.asfortranarray(np.arange(24.0).reshape(2, 3, 4))
    np.testing.assert_array_equal(gather(fortran, None), np.arange(24).reshape(2, 12))


def test_nothing_to_take():
    assert gather(np.ones((3, 2)), np.empty(0, int)).shape == (0, 2)
    assert gather(np.ones((0, 2)), None, check_finite=True).shape == (0, 2)
    assert gather_labels(np.empty(0, int), None, 3).shape == (0,)


def test_check_finite_names_rows_of_the_source():
    source = np.ones((20, 2))
    source[[3, 7], 1] = np.nan, np.inf
    index = np.array([0, 7, 5, 3])
    out = np.full((4, 2), 7, np.float32)
    with pytest.raises(ValueError, match="NaN or infinity in row 7, 3$"):
        gather(source, index, out=out, check_finite=True)
    assert (out == 7).all()
    assert not np.isfinite(gather(source, index)).all()
    gather(source, np.array([0, 5]), check_finite=True)
    with pytest.raises(ValueError, match="in row 0, 1, 2, 3, 4 and 15 more$"):
        gather(np.full((20, 1), 1e300), None, check_finite=True)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_labels(dtype):
    labels = np.array([3, 0, 9, 1], dtype)
    out = np.full(3, -1, np.int32)
    assert gather_labels(labels, np.array([2, 0, 0]), 10, out) is out
    assert out.tolist() == [9, 3, 3]
    assert gather_labels(labels, None, 10).tolist() == [3, 0, 9, 1]
    assert gather_labels(labels, np.array([0, 1]), 4).dtype == np.int32  # the 9 is not taken


def test_a_bad_label_is_named_by_its_row():
    labels = np.array([3, -1, 2**40])
    out = np.full(2, 7, np.int32)
    with pytest.raises(ValueError, match=r"labels\[2\] must be a class number in \[0, 10\), got 1099511627776"):
        gather_labels(labels, np.array([0, 2, 1]), 10)
    with pytest.raises(ValueError, match=r"labels\[1\] must be.*got -1"):
        gather_labels(labels, np.array([0, 1]), 10, out)
    assert (out == 7).all()


S = np.ones((3, 2))
L = np.array([0, 1, 2])
I = np.array([0, 1])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: gather(S, np.array([0, 3, 9])), IndexError, r"index\[1\] must be a row in \[0, 3\), got 3"),
        (lambda: gather(S, np.array([-1])), IndexError, r"index\[0\] must be.*got -1"),
        (lambda: gather(S, np.array([2**64 - 1], np.uint64)), IndexError, "got 18446744073709551615"),
        (lambda: gather(S, np.array([0.0])), TypeError, "index must be of an integer dtype, got float64"),
        (lambda: gather(S, np.array([True, False, True])), TypeError, "index must be of an integer dtype, got bool"),
        (lambda: gather(S, [0]), TypeError, "index must be a NumPy array, got list"),
        (lambda: gather(S, I[None]), ValueError, r"index must have shape \[any\], got \[1, 2\]"),
        (lambda: gather(S[0], I), ValueError, "source must have 2 axes or more, got 1"),
        (lambda: gather(S.astype(complex), I), TypeError, "source must be.*got complex128"),
        (lambda: gather(S.astype(object), I), TypeError, "source must be.*got object"),
        (lambda: gather(S.astype(np.longdouble), I), TypeError, "source must be"),
        (lambda: gather(S.astype(">f4"), I), TypeError, "source must be.*got >f4"),
        (lambda: gather(S.tolist(), I), TypeError, "source must be a NumPy array, got list"),
        (lambda: gather(S, I, out=np.ones((2, 2))), TypeError, "out must be float32, got float64"),
        (lambda: gather(S, I, out=np.ones((3, 2), np.float32)), ValueError, r"out must have shape \[2, 2\]"),
        (lambda: gather_labels(L, np.array([3]), 3), IndexError, r"index\[0\]"),
        (lambda: gather_labels(L.astype(float), I, 3), TypeError, "labels must be of an integer dtype, got float64"),
        (lambda: gather_labels(L[None], I, 3), ValueError, r"labels must have shape \[any\]"),
        (lambda: gather_labels(L, I, 2**31 + 1), ValueError, "classes must be in"),
        (lambda: gather_labels(L, I, 3, np.ones(2, np.int64)), TypeError, "out must be int32, got int64"),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()
