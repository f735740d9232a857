"""Losses that are functions of the user's."""

import functools
import threading

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim

from loss_cases import BACKENDS, bits, F32, small, squares


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_custom_is_the_built_in(backend, weighted):
    rng = np.random.default_rng(11)
    x, y, w = rng.normal(size=(50, 4)).astype(F32), rng.normal(size=(50, 3)).astype(F32), rng.random(50) if weighted else None
    ends = []
    for loss in (losses.Custom(squares), losses.MeanSquaredError()):
        model = small()
        opt = optim.Adam(model.parameters(), lr=lambda step: 0.01 / (1 + step))
        trainer = fastnn.Trainer(model, loss, opt, backend=backend)
        history = trainer.fit(x, y, epochs=3, batch_size=16, verbose=0, sample_weight=w)
        step = trainer.step(x[:9], y[:9], sample_weight=None if w is None else w[:9])
        value, grads = fastnn.value_and_grad(model, loss, x, y, sample_weight=w)
        ends.append(([*history["loss"], step, trainer.evaluate(x, y, sample_weight=w)["loss"], value], grads, bits(model), trainer.steps_done))
        assert opt.state_dict()["groups"][0]["steps"] == trainer.steps_done == 13
    np.testing.assert_allclose(ends[0][0], ends[1][0], rtol=1e-5)
    for a, b in zip(ends[0][1], ends[1][1]):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_custom_with_layers_that_draw_and_that_run_along(backend):
    """The two halves of a step draw the same dropout masks, and running statistics move once a step."""
    rng = np.random.default_rng(13)
    x, y = rng.normal(size=(48, 4)).astype(F32), rng.normal(size=(48, 3)).astype(F32)
    ends = []
    for loss in (losses.Custom(squares), losses.MeanSquaredError()):
        fastnn.manual_seed(2)
        model = nn.Sequential(nn.Dense(4, 8, bias=False), nn.BatchNorm(8), nn.Activation("gelu"), nn.Dropout(0.25), nn.Dense(8, 3))
        trainer = fastnn.Trainer(model, loss, optim.Adam(model.parameters(), lr=0.01), seed=3, backend=backend)
        history = trainer.fit(x, y, epochs=3, batch_size=16, verbose=0)
        ends.append((history["loss"], [v for v in model.state_dict().values()]))
    np.testing.assert_allclose(ends[0][0], ends[1][0], rtol=1e-5)
    for a, b in zip(ends[0][1], ends[1][1]):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_custom_gets_copies_and_the_targets_as_they_are():
    seen = []

    def loss(outputs, targets):
        seen.append((outputs, targets))
        outputs += 1  # it may do as it likes with its own array
        return 0.0, np.zeros(outputs.shape)

    model, x = small(), np.random.default_rng(0).normal(size=(10, 4))
    y = np.array([{"any": i} for i in range(10)], object)
    trainer = fastnn.Trainer(model, losses.Custom(loss), optim.SGD(model.parameters(), lr=1.0))
    before = bits(model)
    trainer.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    assert bits(model) == before and [len(o) for o, _ in seen] == [4, 4, 2]
    assert [t["any"] for _, targets in seen for t in targets] == list(range(10))
    np.testing.assert_array_equal(np.concatenate([o for o, _ in seen]) - 1, (model.predict(x) + 1) - 1)
    three = np.zeros((10, 2, 2), np.int16)
    trainer.evaluate(x, three)
    assert seen[-1][1].shape == (10, 2, 2) and seen[-1][1].dtype == np.int16


class Fault(Exception):
    pass


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fault", [Fault("no"), KeyboardInterrupt(), ValueError("mine"), "pair", "loss", "shape", "dtype"])
def test_what_a_custom_loss_gets_wrong(backend, fault):
    """The steps before it stand and are counted; the one in which it happens has changed nothing."""
    calls = []

    def loss(outputs, targets):
        calls.append(1)
        value, gradient = squares(outputs, targets)
        if len(calls) < 3:
            return value, gradient
        if isinstance(fault, BaseException):
            raise fault
        return {"pair": value, "loss": ("high", gradient), "shape": (value, gradient[:, :2]), "dtype": (value, gradient * 1j)}[fault]

    rng = np.random.default_rng(12)
    x, y = rng.normal(size=(40, 4)).astype(F32), rng.normal(size=(40, 3)).astype(F32)
    model, other = small(), small()
    trainer = fastnn.Trainer(model, losses.Custom(loss), optim.SGD(model.parameters(), lr=0.1, momentum=0.9), backend=backend)
    twin = fastnn.Trainer(other, losses.Custom(squares), optim.SGD(other.parameters(), lr=0.1, momentum=0.9), backend=backend)
    kind = {"pair": TypeError, "loss": TypeError, "shape": ValueError, "dtype": TypeError}.get(fault) or type(fault)
    with pytest.raises(kind):
        trainer.fit(x, y, batch_size=10, shuffle=False, verbose=0)
    for begin in (0, 10):
        twin.step(x[begin : begin + 10], y[begin : begin + 10])
    assert bits(model) == bits(other) and trainer.steps_done == 2
    assert trainer.optimizer.state_dict()["groups"][0]["steps"] == 2
    with pytest.raises(kind):
        trainer.step(x, y)
    assert bits(model) == bits(other) and trainer.steps_done == 2


def test_custom_gets_weights_only_where_it_takes_them():
    model = nn.Sequential(nn.Dense(2, 1, init="zeros"))
    x, y, w, got = np.ones((3, 2)), np.ones((3, 1)), np.array([1.0, 0.0, 2.0]), []

    def found(outputs, targets, weights):
        got.append(weights)
        d = outputs - targets
        return float((d**2).mean()), 2 * d / d.size

    class Callable:
        def __call__(self, outputs, targets, eps=0.1, *, sample_weights=None):
            return found(outputs, targets, sample_weights)

    takes = [
        lambda o, t, w: found(o, t, w),
        lambda o, t, *more: found(o, t, *more or (None,)),
        lambda o, t, weights=None: found(o, t, weights),
        lambda o, t, eps=0.1, sample_weight=None: found(o, t, sample_weight),
        Callable(),
    ]
    for function in takes:
        fastnn.value_and_grad(model, losses.Custom(function), x, y, sample_weight=w)
        assert got.pop().tolist() == w.tolist()
    for function in takes[1:]:
        fastnn.value_and_grad(model, losses.Custom(function), x, y)
        assert got.pop() is None
    for function in (lambda o, t: found(o, t, None), lambda o, t, eps=0.1: found(o, t, eps)):
        fastnn.value_and_grad(model, losses.Custom(function), x, y)
        trainer = fastnn.Trainer(model, losses.Custom(function), optim.SGD(model.parameters(), lr=0.1))
        for call in (trainer.step, trainer.evaluate, functools.partial(trainer.fit, verbose=0)):
            with pytest.raises(TypeError, match=r"sample_weight: expected None for Custom\(.*no parameter for them"):
                call(x, y, sample_weight=w)
    assert (model.layers[0].weight.data == 0).all()


def test_custom_messages():
    model, x = small(), np.ones((2, 4))
    for found, message in (
        (1.0, r"^loss function: expected a pair \(loss, gradient\), got float"),
        ((1.0, 2.0, 3.0), "got 3 values"),
        (("x", np.zeros((2, 3))), "^loss function: expected a real number as the loss, got str"),
        ((1.0, np.zeros((3, 2))), r"^loss function: expected a gradient of shape \(2, 3\), got \(3, 2\)"),
        ((1.0, np.zeros((2, 3), complex)), "^loss function: expected a gradient of real numbers, got dtype complex128"),
        ((1.0, None), "got dtype object"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            fastnn.value_and_grad(model, losses.Custom(lambda outputs, targets, found=found: found), x, x)
    with pytest.raises(TypeError, match="^function: expected a function"):
        losses.Custom(3)
    with pytest.raises(ValueError, match="^y: expected 2 targets"):
        fastnn.value_and_grad(model, losses.Custom(squares), x, np.ones((3, 3)))
    assert fastnn.value_and_grad(model, losses.Custom(lambda o, t: (np.float32(1.5), o.tolist())), x, x)[0] == 1.5
    assert fastnn.value_and_grad(model, losses.Custom(lambda o, t: (10**400, o)), x, x)[0] == np.inf
    assert repr(losses.Custom(squares)) == "Custom(squares)"


def test_custom_losses_in_threads_and_inside_each_other():
    model, x, y = small(), np.ones((8, 4), F32), np.zeros((8, 3), F32)

    def inner(outputs, targets):
        fastnn.value_and_grad(model, losses.MeanSquaredError(), x, y)
        model.predict(x)
        return squares(outputs, targets)

    expected = fastnn.value_and_grad(model, losses.MeanSquaredError(), x, y)[0]
    found = []
    call = lambda: found.extend(fastnn.value_and_grad(model, losses.Custom(inner), x, y)[0] for _ in range(20))
    threads = [threading.Thread(target=call) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    np.testing.assert_allclose(found, [expected] * 60, rtol=1e-6)
