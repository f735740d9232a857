"""Optimizer updates against the same formulas on Python floats; dtypes, what is read and what is written, errors."""

import math

import numpy as np
import pytest

from fastnn.reference import adam_update, sgd_update

from optim_cases import SGD_OPTIONS as SGD

SHAPES = [(3, 4), (5,), (), (0,)]


def arrays(seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [np.array(rng.normal(size=shape), dtype) for shape in SHAPES]


def zeros(dtype=np.float64):
    return [np.zeros(shape, dtype) for shape in SHAPES]


def scalar_sgd(p, grads, lr, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0):
    buffer = None
    for g in grads:
        g = g + weight_decay * p
        if momentum:
            buffer = g if buffer is None else momentum * buffer + (1 - dampening) * g
            g = g + momentum * buffer if nesterov else buffer
        p = p - lr * g
    return p


def scalar_adam(p, grads, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    """Algorithm 1 of the paper as printed, with bias-corrected moments."""
    m = v = 0.0
    for t, g in enumerate(grads, start=1):
        g = g + weight_decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        p = p - lr * (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + eps)
    return p


ADAM = [{}, {"lr": 0.1, "weight_decay": 0.1}, {"beta1": 0.0, "beta2": 0.0}, {"beta1": 0.5, "beta2": 0.9, "eps": 0.1}]


def each(values):
    """The elements of a list of arrays, one after another."""
    return np.concatenate([v.ravel() for v in values]).astype(np.float64)


@pytest.mark.parametrize("options", SGD, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sgd(options, dtype):
    params, grads = arrays(0, dtype), [arrays(step, dtype) for step in (1, 2, 3)]
    start = each(params)
    buffers = [np.full(shape, np.nan, dtype) for shape in SHAPES] if options.get("momentum") else None
    for step, g in enumerate(grads, start=1):
        assert sgd_update(params, g, buffers, step, lr=0.05, **options) is None
    history = np.stack([each(g) for g in grads], axis=1)
    expected = [scalar_sgd(p, g, 0.05, **options) for p, g in zip(start, history)]
    np.testing.assert_allclose(each(params), expected, rtol=1e-5 if dtype == np.float32 else 1e-13, atol=1e-7)
    assert all(p.dtype == dtype for p in params)


@pytest.mark.parametrize("options", ADAM, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adam(options, dtype):
    params, grads = arrays(0, dtype), [arrays(step, dtype) for step in (1, 2, 3)]
    start = each(params)
    m, v = zeros(dtype), zeros(dtype)
    for step, g in enumerate(grads, start=1):
        assert adam_update(params, g, m, v, step, **options) is None
    history = np.stack([each(g) for g in grads], axis=1)
    expected = [scalar_adam(p, g, **options) for p, g in zip(start, history)]
    np.testing.assert_allclose(each(params), expected, rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-7)
    assert all(p.dtype == dtype for p in params)


def test_first_adam_step_has_the_length_of_lr():
    p = [np.zeros(3)]
    adam_update(p, [np.array([1e-3, -5.0, 1e6])], [np.zeros(3)], [np.zeros(3)], 1, lr=0.01, eps=0.0)
    np.testing.assert_allclose(p[0], [-0.01, 0.01, -0.01])


@pytest.mark.parametrize("update", ["sgd", "adam"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_gradients_are_only_read(update, weight_decay):
    params, grads = arrays(0), arrays(1)
    kept = [g.copy() for g in grads]
    for g in grads:
        g.setflags(write=False)
    places = [id(p) for p in params]
    for step in (1, 2):
        if update == "sgd":
            sgd_update(params, grads, zeros(), step, lr=0.1, momentum=0.9, nesterov=True, weight_decay=weight_decay)
        else:
            adam_update(params, grads, zeros(), zeros(), step, weight_decay=weight_decay)
    assert [id(p) for p in params] == places
    for g, k in zip(grads, kept):
        np.testing.assert_array_equal(g, k)


@pytest.mark.parametrize("wide", [np.float64, float])
def test_double_hyper_parameters_do_not_widen_float32_state(wide):
    p, m, v = (np.ones(2, np.float32) for _ in range(3))
    adam_update([p], [np.ones(2, np.float32)], [m], [v], 1, lr=wide(0.1), beta1=wide(0.9), beta2=wide(0.99), eps=wide(1e-8))
    g = np.ones(2, np.float32)
    expected_v = np.float32(0.99) * np.ones(2, np.float32) + np.float32(1 - 0.99) * g * g
    np.testing.assert_array_equal(v, expected_v)


def test_any_order_and_strides():
    p = np.asfortranarray(np.arange(12.0).reshape(3, 4))[::2]
    q = p.copy()
    sgd_update([p], [np.ones((2, 4))], None, 1, lr=0.5)
    np.testing.assert_array_equal(p, q - 0.5)


@pytest.mark.filterwarnings("error")
def test_special_gradients():
    g = np.array([np.nan, np.inf, -0.0, 0.0])
    p = np.ones(4)
    sgd_update([p], [g], None, 1, lr=0.1)
    np.testing.assert_array_equal(p, [np.nan, -np.inf, 1.0, 1.0])
    p, m, v = np.ones(4), np.zeros(4), np.zeros(4)
    adam_update([p], [g], [m], [v], 1)
    np.testing.assert_array_equal(p, [np.nan, np.nan, 1.0, 1.0])
    np.testing.assert_array_equal(v, [np.nan, np.inf, 0.0, 0.0])


def test_no_parameters():
    sgd_update([], [], None, 1, lr=0.1)
    adam_update([], [], [], [], 1)


P = np.ones(3)
F = np.ones(3, np.float32)
R = np.broadcast_to(1.0, 3)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda p: sgd_update(p, [], None, 1, lr=0.1), ValueError, "grads must hold 1 arrays.*got 0"),
        (lambda p: sgd_update(p[0], [P], None, 1, lr=0.1), TypeError, "params must be a list of arrays, got ndarray"),
        (lambda p: sgd_update(p, [np.ones(4)], None, 1, lr=0.1), ValueError, r"grads\[0\] must have shape \[3\], got \[4\]"),
        (lambda p: sgd_update(p, [F], None, 1, lr=0.1), TypeError, r"grads\[0\] must be float64, got float32"),
        (lambda p: sgd_update([R], [P], None, 1, lr=0.1), ValueError, r"params\[0\] must be writable"),
        (lambda p: sgd_update([np.ones(3, int)], [P], None, 1, lr=0.1), TypeError, r"params\[0\] must be float32"),
        (lambda p: sgd_update(p, [P], None, 1, lr=0.1, momentum=0.9), TypeError, "buffers must be a list"),
        (lambda p: sgd_update(p, [P], [P.copy()], 1, lr=0.1), ValueError, "buffers must be None when momentum is 0"),
        (lambda p: sgd_update(p, [P], [R], 1, lr=0.1, momentum=0.9), ValueError, r"buffers\[0\] must be writable"),
        (lambda p: sgd_update(p, [P], None, 1, lr=-1), ValueError, "lr must be >= 0, got -1"),
        (lambda p: sgd_update(p, [P], None, 1, lr=np.nan), ValueError, "lr must be >= 0, got nan"),
        (lambda p: sgd_update(p, [P], None, 1, lr=0.1, nesterov=True), ValueError, "nesterov needs momentum"),
        (lambda p: sgd_update(p, [P], None, 0, lr=0.1), ValueError, "step must be >= 1, got 0"),
        (lambda p: sgd_update(p, [P], None, 1.0, lr=0.1), TypeError, "float"),
        (lambda p: sgd_update([*p, P.copy()], [P, F], None, 1, lr=0.1), TypeError, r"grads\[1\]"),
        (lambda p: adam_update(p, [P], [P], [R], 1), ValueError, r"exp_avg_sqs\[0\] must be writable"),
        (lambda p: adam_update(p, [P], [], [P], 1), ValueError, "exp_avgs must hold 1 arrays"),
        (lambda p: adam_update(p, [P], [P], [P], 1, beta1=1.0), ValueError, r"beta1 must be in \[0, 1\), got 1.0"),
        (lambda p: adam_update(p, [P], [P], [P], 1, beta2=-0.1), ValueError, "beta2"),
        (lambda p: adam_update(p, [P], [P], [P], 1, eps=-1.0), ValueError, "eps must be >= 0"),
        (lambda p: adam_update(p, [P], [P], [P], 1, weight_decay=-1.0), ValueError, "weight_decay must be >= 0"),
        (lambda p: adam_update(p, [P], [P], [P], 0), ValueError, "step must be >= 1"),
    ],
)
def test_errors_come_before_any_change(call, error, words):
    p = [np.full(3, 7.0)]
    with pytest.raises(error, match=words):
        call(p)
    assert (p[0] == 7).all() and (P == 1).all()
