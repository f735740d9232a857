"""Updates by SGD and Adam, the norm of gradients, penalties."""

import math

import numpy as np
import pytest

import fastnn
from fastnn import _native, kernels, reference
from fastnn.core.update_rules import settings_of

from kernel_checks import (
    assert_guards, assert_within, everywhere, F32, F64, ISAS, normal, placed, rng, same_bits, TAILS, TINY, U, V,
)  # fmt: skip
from optim_cases import SGD_OPTIONS as SGD

SHAPES = [(1,), (V - 1,), (V,), (), (V + 1,), (3, 7), (2, 3, 5), (4096,), (4097,), (50, 190)]
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
