"""Softmax and its logarithm, forward and backward."""

import math

import numpy as np
import pytest

import fastnn
from fastnn import kernels, reference

from kernel_checks import (
    across, assert_guards, assert_within, CLASSES, clean, F32, F64, ISAS, logits_of, normal, overflowing, placed, poisoned, rng,
    softmax_bound, special_logits, TINY, U, wide,
)  # fmt: skip


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
