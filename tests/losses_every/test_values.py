"""Every loss through models: values, gradients, trainings, reductions."""

import numpy as np
import pytest

import fastnn
from fastnn import _native, losses, optim
from fastnn.executors import NativeExecutor, ReferenceExecutor
from fastnn.training.arrays import ArrayData
from fastnn.training.functional import gradient_plan

from loss_cases import BACKENDS, bits, F32, identity, LOSSES, small, targets_of


@pytest.mark.parametrize("outputs", [1, 2, 7, 16, 40])
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient(name, outputs):
    loss, what, function, options = LOSSES[name]
    rng = np.random.default_rng(outputs)
    for rows in (1, 17, 40):
        z, t = rng.normal(size=(rows, outputs)).astype(F32), targets_of(what, rng, rows, outputs)
        wide = t if what == "labels" else t.astype(float)
        value, d = function(z.astype(float), wide, **options)
        found, (dw, db) = fastnn.value_and_grad(identity(outputs), loss, z, t)
        np.testing.assert_allclose(found, value, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(db, d.sum(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(dw, z.astype(float).T @ d, rtol=1e-4, atol=1e-5 * rows)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_central_differences(name):
    """In float64, of the functions and through a whole model."""
    loss, what, function, options = LOSSES[name]
    rng = np.random.default_rng(1)
    z, t = rng.normal(size=(6, 4)) * 2, targets_of(what, rng, 6, 4)
    wide = t if what == "labels" else t.astype(float)
    weight = rng.random(6)
    for more in ({}, {"sample_weight": weight}):
        d, h = function(z, wide, **options, **more)[1], 1e-6
        for place in np.ndindex(z.shape):
            moved = z.copy()
            moved[place] += h
            above = function(moved, wide, **options, **more)[0]
            moved[place] -= 2 * h
            slope = (above - function(moved, wide, **options, **more)[0]) / (2 * h)
            assert abs(slope - d[place]) < 1e-6 * max(1, abs(slope)), (place, slope, d[place])

    model, x = small(4, 4), rng.normal(size=(6, 4))
    pair = ArrayData(model, loss, x, t, sample_weight=weight)
    executor = ReferenceExecutor(gradient_plan(model, loss, pair), np.float64)
    run = lambda: executor.run(pair.X, pair.y, losses=value, weights=pair.weight)
    value = np.zeros(1)
    run()
    for p, g in executor.plan.gradients:
        array, gradient = executor._interpreter.parameters[id(p.data)], executor.array(g.name).copy()
        for place in [(0,) * array.ndim, (-1,) * array.ndim]:
            kept, sides = array[place], []
            for step in (h, -h):
                array[place] = kept + step
                run()
                sides.append(value[0])
            array[place] = kept
            assert abs((sides[0] - sides[1]) / (2 * h) - gradient[place]) < 2e-6 * max(1, abs(gradient[place]))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_training_is_the_references_and_fused_is_plain(name, weighted):
    loss, what, *_ = LOSSES[name]
    rng = np.random.default_rng(3)
    x, y, w = rng.normal(size=(50, 4)).astype(F32), targets_of(what, rng, 50, 3), rng.random(50) if weighted else None
    ends, histories = [], []
    for backend in BACKENDS:
        model = small()
        trainer = fastnn.Trainer(model, loss, optim.SGD(model.parameters(), lr=0.01, momentum=0.9), backend=backend)
        history = trainer.fit(x, y, epochs=3, batch_size=16, verbose=0, sample_weight=w, validation_data=(x, y) if w is None else (x, y, w))
        ends.append(np.concatenate([p.data.ravel() for p in model.parameters()]))
        histories.append({k: v for k, v in history.items() if k != "seconds"})
        assert trainer.evaluate(x, y, sample_weight=w)["loss"] == history["val_loss"][-1]
    assert np.abs(ends[0] - ends[1]).max() < 2e-5
    for k in histories[0]:
        np.testing.assert_allclose(histories[0][k], histories[1][k], rtol=1e-4, atol=1e-6)

    found = []
    for fused in (True, False):
        for schedule in ("rows", "layers"):
            model = small(activation="gelu")
            opt = optim.SGD(model.parameters(), lr=0.01)
            trainer = fastnn.Trainer(model, loss, opt)
            pair = ArrayData(model, loss, x, y, sample_weight=w)
            plan = trainer.plan(16, pair.kind, fused=fused, schedule=schedule, weighted=weighted)
            values = np.zeros(4)
            opt.prepare()
            NativeExecutor(plan).run(pair.X, pair.y, None, [[0.01]] * 4, losses=values, weights=pair.weight)
            found.append((bits(model), values.tobytes()))
    assert all(f == found[0] for f in found)


@pytest.mark.parametrize("name", LOSSES)
def test_the_same_bits_for_any_team_and_isa(name):
    loss, what, *_ = LOSSES[name]
    rng = np.random.default_rng(4)
    x, y, w = rng.normal(size=(70, 4)), targets_of(what, rng, 70, 3), rng.random(70)
    threads, isa, work = fastnn.get_num_threads(), fastnn.get_isa(), _native.team_work(0)
    found = {}
    try:
        for n in (1, 3):
            fastnn.set_num_threads(n)
            for table in fastnn.available_isas():
                fastnn.use_isa(table)
                model = small(activation="silu")
                trainer = fastnn.Trainer(model, loss, optim.Adam(model.parameters(), lr=0.01))
                history = trainer.fit(x, y, epochs=2, batch_size=33, verbose=0, sample_weight=w)
                found.setdefault(table == "generic", set()).add((tuple(bits(model)), tuple(history["loss"])))
    finally:
        fastnn.set_num_threads(threads)
        fastnn.use_isa(isa)
        _native.team_work(work)
    assert all(len(results) == 1 for results in found.values())


@pytest.mark.parametrize("name", LOSSES)
def test_weights_count_rows(name):
    """A row of weight 2 is two rows, of weight 0 none; the mean divides by the rows all the same."""
    loss, what, *_ = LOSSES[name]
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(20, 3)), targets_of(what, rng, 20, 3)
    w = rng.integers(0, 4, 20)
    model = small(3)
    value, grads = fastnn.value_and_grad(model, loss, x, y, sample_weight=w)
    again = np.repeat(np.arange(20), w)
    expected, wanted = fastnn.value_and_grad(model, loss, x[again], y[again])
    factor = 1 if loss.reduction == "sum" else len(again) / 20
    np.testing.assert_allclose(value, expected * factor, rtol=1e-6)
    for g, e in zip(grads, wanted):
        np.testing.assert_allclose(g, e * factor, rtol=1e-4, atol=1e-5)
    nothing, grads = fastnn.value_and_grad(model, loss, x, y, sample_weight=np.zeros(20))
    assert nothing == 0 and all((g == 0).all() for g in grads)
    ones = fastnn.value_and_grad(model, loss, x, y, sample_weight=[1] * 20)
    plain = fastnn.value_and_grad(model, loss, x, y)
    assert ones[0] == plain[0] and all((a == b).all() for a, b in zip(ones[1], plain[1]))


@pytest.mark.parametrize("make, labels", [
    (lambda w: losses.SoftmaxCrossEntropy(class_weight=w), "labels"),
    (lambda w: losses.MulticlassHinge(class_weight=w), "labels"),
    (lambda w: losses.MulticlassHinge(squared=True, class_weight=w), "labels"),
    (lambda w: losses.BinaryCrossEntropy(class_weight=w), "answers"),
    (lambda w: losses.BinaryHinge(class_weight=w), "answers"),
])
def test_class_weights_are_sample_weights(make, labels):
    rng = np.random.default_rng(6)
    outputs, classes = (3, 3) if labels == "labels" else (1, 2)
    x, y = rng.normal(size=(30, 4)), rng.integers(0, classes, 30)
    weights = np.array([0.5, 2.0, 3.0])[:classes]
    model = small(4, outputs)
    plain = fastnn.value_and_grad(model, make(None), x, y, sample_weight=weights[y])
    for given_as in (weights, weights.tolist(), tuple(weights), dict(enumerate(weights))):
        value, grads = fastnn.value_and_grad(model, make(given_as), x, y)
        np.testing.assert_allclose(value, plain[0], rtol=1e-6)
        for a, b in zip(grads, plain[1]):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    left_out = fastnn.value_and_grad(model, make({1: 2.0}), x, y)[0]  # a class that a dict leaves out has 1
    np.testing.assert_allclose(left_out, fastnn.value_and_grad(model, make([1, 2, 1][:classes]), x, y)[0])


def test_sums_of_batches():
    """With reduction "sum" every number is a sum over the rows that it saw."""
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(50, 4)), rng.normal(size=50)
    model = small(4, 1)
    mean, total = losses.MeanSquaredError(), losses.MeanSquaredError(reduction="sum")
    a = fastnn.Trainer(model, mean, optim.SGD(model.parameters(), lr=0.0)).fit(x, y, batch_size=16, verbose=0)["loss"][0]
    trainer = fastnn.Trainer(model, total, optim.SGD(model.parameters(), lr=0.0))
    seen = []
    note = type("Note", (fastnn.callbacks.Callback,), {"on_step_end": lambda self, step, logs: seen.append(logs["loss"])})()
    b = trainer.fit(x, y, batch_size=16, verbose=0, callbacks=[note])["loss"][0]
    assert b == pytest.approx(50 * a, rel=1e-12) and sum(seen) == pytest.approx(b, rel=1e-12)
    assert trainer.evaluate(x, y)["loss"] == pytest.approx(b, rel=1e-12)
    assert trainer.evaluate(x, y, batch_size=7)["loss"] == pytest.approx(b, rel=1e-12)
    assert trainer.step(x[:5], y[:5]) == pytest.approx(5 * fastnn.value_and_grad(model, mean, x[:5], y[:5])[0], rel=1e-6)


def test_steps_with_and_without_weights_may_alternate():
    rng = np.random.default_rng(8)
    x, y, w = rng.normal(size=(20, 4)).astype(F32), rng.normal(size=(20, 3)).astype(F32), rng.random(20)
    a, b = small(), small()
    t, u = (fastnn.Trainer(m, losses.MeanSquaredError(), optim.SGD(m.parameters(), lr=0.1)) for m in (a, b))
    for weight in (None, w, w[::-1], None):
        value, grads = fastnn.value_and_grad(b, u.loss, x, y, sample_weight=weight)
        assert t.step(x, y, sample_weight=weight) == value
        u.optimizer.step(grads)
        assert all(np.allclose(p.data, q.data, rtol=1e-6, atol=1e-8) for p, q in zip(a.parameters(), b.parameters()))


@pytest.mark.parametrize("weights, error, message", [
    (np.ones(19), ValueError, r"expected shape \(20,\), one weight for each row, got \(19,\)"),
    (np.ones((20, 1)), ValueError, r"expected shape \(20,\)"),
    (-np.ones(20), ValueError, "expected numbers >= 0, finite in float32, got -1.0 in row 0"),
    (np.r_[np.ones(19), np.nan], ValueError, "got nan in row 19"),
    (np.full(20, 1e39), ValueError, r"got 1e\+39 in row 0"),
    (["a"] * 20, TypeError, "expected real numbers, got dtype <U1"),
    (3.0, ValueError, r"expected shape \(20,\)"),
])
def test_sample_weights_that_are_refused(weights, error, message):
    x, y = np.zeros((20, 4)), np.zeros((20, 3))
    model = small()
    trainer = fastnn.Trainer(model, losses.MeanSquaredError(), optim.SGD(model.parameters()))
    before = bits(model)
    for call in (trainer.fit, trainer.step, trainer.evaluate):
        with pytest.raises(error, match=f"^sample_weight: .*{message}"):
            call(x, y, sample_weight=weights)
    with pytest.raises(error, match=f"^sample_weight: .*{message}"):
        fastnn.value_and_grad(model, losses.MeanSquaredError(), x, y, sample_weight=weights)
    with pytest.raises(error, match=rf"^validation_data\[2\]: .*{message}"):
        trainer.fit(x, y, validation_data=(x, y, weights), verbose=0)
    assert bits(model) == before and trainer.steps_done == 0
