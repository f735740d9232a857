"""fastnn.losses beyond softmax cross-entropy: every loss through models, weights, custom functions, refusals, properties."""

import copy
import functools
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import _native, kernels, losses, nn, optim, reference, regularizers
from fastnn.executors import NativeExecutor, ReferenceExecutor
from fastnn.training.arrays import ArrayData
from fastnn.training.functional import gradient_plan

BACKENDS = ["native", "reference"]
F32 = np.float32

# Each loss, what makes its targets for (generator, rows, outputs), and the reference function with its settings.
LOSSES = {
    "mse": (losses.MeanSquaredError(), "real", reference.mean_squared_error, {}),
    "mse sum": (losses.MeanSquaredError("sum"), "real", reference.mean_squared_error, {"reduction": "sum"}),
    "mae": (losses.MeanAbsoluteError(), "real", reference.mean_absolute_error, {}),
    "huber": (losses.Huber(0.5), "real", reference.huber, {"delta": 0.5}),
    "poisson": (losses.Poisson(full=True), "counts", reference.poisson, {"full": True}),
    "cross entropy": (losses.SoftmaxCrossEntropy(0.2), "labels", reference.softmax_cross_entropy, {"label_smoothing": 0.2}),
    "cross entropy sum": (losses.SoftmaxCrossEntropy(reduction="sum"), "labels", reference.softmax_cross_entropy, {"reduction": "sum"}),
    "probabilities": (losses.SoftmaxCrossEntropy(), "probabilities", reference.softmax_cross_entropy, {}),
    "binary": (losses.BinaryCrossEntropy(), "answers", reference.binary_cross_entropy, {}),
    "quantile": (losses.Quantile(0.3), "real", reference.quantile, {"quantile": 0.3}),
    "hinge": (losses.BinaryHinge(0.5), "answers", reference.binary_hinge, {"margin": 0.5}),
    "hinge squared": (losses.BinaryHinge(squared=True), "answers", reference.binary_hinge, {"squared": True}),
    "multiclass hinge": (losses.MulticlassHinge(), "labels", reference.multiclass_hinge, {}),
    "multiclass hinge squared": (losses.MulticlassHinge(2.0, True), "labels", reference.multiclass_hinge, {"margin": 2.0, "squared": True}),
}


def targets_of(what, rng, rows, outputs):
    return {
        "real": lambda: rng.normal(size=(rows, outputs)),
        "counts": lambda: rng.poisson(2, (rows, outputs)),
        "labels": lambda: rng.integers(0, outputs, rows),
        "probabilities": lambda: rng.dirichlet(np.ones(outputs), rows),
        "answers": lambda: rng.integers(0, 2, (rows, outputs)),
    }[what]()


def identity(outputs):
    """A model whose outputs are its inputs, so that the loss is seen alone."""
    model = nn.Sequential(nn.Dense(outputs, outputs, init="zeros"))
    model.layers[0].weight.data[...] = np.eye(outputs)
    return model


def small(inputs=4, outputs=3, activation="tanh"):
    fastnn.manual_seed(2)
    return nn.Sequential(nn.Dense(inputs, 6, activation=activation), nn.Dense(6, outputs))


def bits(model):
    return [p.data.tobytes() for p in model.parameters()]


# ---- values and gradients ----


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


# ---- reductions and weights ----


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


# ---- targets ----


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.uint8, bool])
def test_a_single_output_takes_flat_targets(dtype):
    x = np.random.default_rng(9).normal(size=(12, 4))
    y = (x[:, 0] > 0).astype(dtype)
    for loss in (losses.MeanSquaredError(), losses.BinaryCrossEntropy(), losses.BinaryHinge(), losses.Poisson()):
        model = small(4, 1)
        flat, column = (fastnn.value_and_grad(model, loss, x, t) for t in (y, y[:, None]))
        assert flat[0] == column[0] and all((a == b).all() for a, b in zip(flat[1], column[1]))
        trainer = fastnn.Trainer(model, loss, optim.SGD(model.parameters(), lr=0.1))
        assert trainer.step(x, y) == flat[0]
        trainer.fit(x, y.tolist(), verbose=0)


def test_hinge_takes_both_spellings_and_bce_probabilities():
    x = np.random.default_rng(10).normal(size=(12, 4))
    y = x[:, 0] > 0
    model = small(4, 1)
    for loss in (losses.BinaryHinge(), losses.BinaryHinge(squared=True)):
        a, b = (fastnn.value_and_grad(model, loss, x, t)[0] for t in (y, np.where(y, 1, -1)))
        assert a == b
    half = fastnn.value_and_grad(model, losses.BinaryCrossEntropy(), x, np.full(12, 0.5))[0]
    sides = [fastnn.value_and_grad(model, losses.BinaryCrossEntropy(), x, np.full(12, t))[0] for t in (0, 1)]
    assert half == pytest.approx(sum(sides) / 2, rel=1e-6)


BAD_TARGETS = [
    (losses.MeanSquaredError(), np.zeros(4), ValueError, r"expected shape \(rows, 3\), got \(4,\)"),
    (losses.MeanSquaredError(), np.zeros((4, 2)), ValueError, r"expected shape \(rows, 3\), got \(4, 2\)"),
    (losses.MeanSquaredError(), np.zeros((5, 3)), ValueError, "expected 4 targets"),
    (losses.Huber(), np.zeros((4, 3), complex), TypeError, "expected real numbers, got dtype complex128"),
    (losses.MeanAbsoluteError(), np.array([["a"] * 3] * 4), TypeError, "expected real numbers, got dtype <U1"),
    (losses.Poisson(), np.array([[0, 1, 2], [0, -1, 0], [0] * 3, [0] * 3]), ValueError, "expected counts >= 0, got -1 in row 1"),
    (losses.BinaryCrossEntropy(), np.full((4, 3), 1.5), ValueError, "expected targets from 0 to 1, got 1.5 in row 0"),
    (losses.BinaryCrossEntropy(), np.where(np.eye(4)[:, :3], 1, -1), ValueError, "expected targets from 0 to 1, got -1 in row 0"),
    (losses.BinaryHinge(), np.full((4, 3), 2), ValueError, "expected targets -1 and 1, or 0 and 1, got 2 in row 0"),
    (losses.BinaryHinge(), np.full((4, 3), 0.5), ValueError, "got 0.5 in row 0"),
    (losses.MulticlassHinge(), np.eye(4)[:, :3], ValueError, r"expected labels of shape \(rows,\), got \(4, 3\); use y.*argmax"),
    (losses.MulticlassHinge(), np.zeros(4), TypeError, "expected integer labels, got dtype float64"),
    (losses.MulticlassHinge(), np.array([0, 1, 2, 3]), ValueError, "expected labels from 0 to 2, got 3 in row 3"),
]


@pytest.mark.parametrize("loss, y, error, message", BAD_TARGETS)
def test_targets_that_are_refused(loss, y, error, message):
    x = np.zeros((4, 4), F32)
    model = small()
    trainer = fastnn.Trainer(model, loss, optim.SGD(model.parameters(), lr=1.0))
    before = bits(model)
    with pytest.raises(error, match=f"^y: .*{message}"):
        fastnn.value_and_grad(model, loss, x, y)
    for call, name in ((trainer.fit, "y"), (trainer.evaluate, "y"), (trainer.step, "yb")):
        with pytest.raises(error, match=f"^{name}: .*{message}"):
            call(x, y)
    assert bits(model) == before and trainer.steps_done == 0


def test_a_warm_step_still_looks_at_values():
    x, y = np.zeros((4, 4), F32), np.zeros((4, 3), F32)
    for loss in (losses.BinaryCrossEntropy(), losses.Poisson(), losses.BinaryHinge()):
        model = small()
        trainer = fastnn.Trainer(model, loss, optim.SGD(model.parameters(), lr=0.1))
        trainer.step(x, y)
        before = bits(model)
        with pytest.raises(ValueError, match="^yb: expected .*, got -3.0 in row 2"):
            trainer.step(x, np.where(np.arange(4)[:, None] == 2, F32(-3), y))
        assert bits(model) == before and trainer.steps_done == 1


def test_nan_targets_are_not_hidden():
    x, y = np.ones((4, 4)), np.zeros((4, 3))
    y[1, 1] = np.nan
    for loss in (losses.MeanSquaredError(), losses.BinaryCrossEntropy(), losses.Poisson(), losses.BinaryHinge(), losses.Huber()):
        value, grads = fastnn.value_and_grad(small(), loss, x, y)
        assert np.isnan(value) and np.isnan(grads[-1]).any(), loss


# ---- what is infinite, and rows that are left out ----

INF, NAN = np.inf, np.nan
LIMITS = [  # function, its options, output, target, loss, gradient
    ("binary_cross_entropy", {}, -INF, 0, 0, 0), ("binary_cross_entropy", {}, INF, 1, 0, 0),
    ("binary_cross_entropy", {}, -INF, 0.9, INF, -0.9), ("binary_cross_entropy", {}, INF, 0, INF, 1),
    ("binary_cross_entropy", {}, -INF, 1, INF, -1), ("binary_cross_entropy", {}, NAN, 0, NAN, NAN),
    ("binary_cross_entropy", {}, NAN, 1, NAN, NAN), ("binary_cross_entropy", {}, -INF, NAN, NAN, NAN),
    ("poisson", {}, -INF, 0, 0, 0), ("poisson", {}, -INF, 2, INF, -2), ("poisson", {}, NAN, 0, NAN, NAN), ("poisson", {}, INF, 0, INF, INF),
    ("poisson", {"log_input": False, "eps": 0.0}, 0, 0, 0, 1), ("poisson", {"log_input": False, "eps": 0.0}, 0, 3, INF, -INF),
    ("poisson", {"log_input": False}, INF, 0, INF, 1), ("poisson", {"log_input": False}, -0.5, 2, NAN, NAN),
    ("poisson", {"log_input": False}, -0.5, 0, NAN, NAN), ("poisson", {"log_input": False, "full": True}, -3, 2, NAN, NAN),
    ("poisson", {"log_input": False}, -INF, 0, NAN, NAN), ("poisson", {"log_input": False}, NAN, 1, NAN, NAN),
    ("binary_hinge", {}, INF, 1, 0, 0), ("binary_hinge", {}, INF, 0, INF, 1), ("binary_hinge", {}, NAN, 1, NAN, NAN),
]


@pytest.mark.parametrize("columns", [1, 3, 16, 21])
@pytest.mark.parametrize("name, options, z, t, loss, gradient", LIMITS)
def test_limits(name, options, z, t, loss, gradient, columns):
    for module, dtype in ((kernels, F32), (reference, F32), (reference, float)):
        outputs, targets = np.zeros((3, columns), dtype), np.full((3, columns), 1, dtype)
        outputs[1], targets[1] = z, t
        found, d = getattr(module, name)(outputs, targets, reduction="sum", **options)
        rest = 2 * getattr(module, name)(outputs[:1], targets[:1], reduction="sum", **options)[0]
        np.testing.assert_allclose(found, rest + loss * columns, rtol=1e-5)
        np.testing.assert_allclose(d[1], np.full(columns, gradient), rtol=1e-5, atol=1e-7)
        assert np.isfinite(d[[0, 2]]).all() or name == "poisson" and options.get("eps") == 0.0


@pytest.mark.parametrize("columns", [1, 3, 16, 21])
def test_a_class_of_weight_0_costs_nothing(columns):
    for module in (kernels, reference):
        weights = np.ones((2, columns), F32)
        weights[1] = 0
        one, z = np.ones((1, columns), F32), np.full((1, columns), -INF, F32)
        for function in (module.binary_cross_entropy, module.binary_hinge):
            loss, d = function(z, one, class_weight=weights)
            assert loss == 0 and (d == 0).all()
            assert np.isnan(function(np.full_like(z, NAN), one, class_weight=weights)[0])


@pytest.mark.parametrize("outputs", [2, 7, 16, 21])
@pytest.mark.parametrize("name", LOSSES)
def test_a_row_of_weight_0_is_left_out(name, outputs):
    """Whatever is in its outputs and targets; the others have the bits that they have beside a row of numbers."""
    loss, what, function, options = LOSSES[name]
    rng = np.random.default_rng(outputs)
    z, t = rng.normal(size=(20, outputs)).astype(F32), targets_of(what, rng, 20, outputs)
    t = t if what == "labels" else t.astype(F32)
    weight = rng.random(20).astype(F32)
    weight[[3, 17]] = 0
    eager = getattr(kernels, function.__name__)
    good = eager(z, t, sample_weight=weight, **options)
    for bad in (NAN, INF, -INF):
        for of_target in (False, True):
            outputs_, targets = z.copy(), t.copy()
            if of_target and what != "labels":
                targets[3], targets[17, 1] = bad, bad
            else:
                outputs_[3], outputs_[17, 1] = bad, bad
            found = eager(outputs_, targets, sample_weight=weight, **options)
            assert found[0] == good[0] and (found[1] == good[1]).all()
            wide = targets if what == "labels" else targets.astype(float)
            value, d = function(outputs_.astype(float), wide, sample_weight=weight.astype(float), **options)
            np.testing.assert_allclose(value, good[0], rtol=1e-5)
            assert (d[[3, 17]] == 0).all() and np.isfinite(d).all()


@pytest.mark.parametrize("dtype", [F32, float])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bad", [NAN, INF, -INF, 3e38])  # the last is finite, but what a layer makes of it is not
def test_inputs_of_rows_of_weight_0_do_no_harm(bad, backend, dtype):
    rng = np.random.default_rng(0)
    x, y, w = rng.normal(size=(40, 4)).astype(dtype), rng.integers(0, 3, 40), rng.random(40)
    w[[5, 39]] = 0
    found = []
    for spoilt in (False, True):
        data = x.copy()
        data[[5, 39]] = 0
        if spoilt:
            data[5], data[39, 1] = bad, bad
            data[39, [0, 2, 3]] = 7  # such a row counts as zeros, all of it
        model = small()
        trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()), backend=backend)
        losses_ = trainer.fit(data, y, epochs=2, batch_size=16, sample_weight=w, verbose=0)["loss"]
        losses_ += trainer.fit(data, y, batch_size=16, sample_weight=w, shuffle=False, verbose=0)["loss"]
        losses_.append(trainer.step(data, y, sample_weight=w))
        losses_.append(trainer.evaluate(data, y, sample_weight=w)["loss"])
        grads = fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), data, y, sample_weight=w)[1]
        found.append((losses_, bits(model), [g.tobytes() for g in grads]))
    assert found[0] == found[1] and np.isfinite(found[0][0]).all()
    kept = data.copy()
    fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), data, y, sample_weight=w)
    assert np.array_equal(kept, data, equal_nan=True)  # the user's array stays as it is


@pytest.mark.parametrize("backend", BACKENDS)
def test_rates_below_0_under_check_finite(backend):
    x, y = np.ones((30, 2)), np.ones(30)
    x[17] = -1
    model = nn.Sequential(nn.Dense(2, 1, init=fastnn.init.constant(1.0)))
    trainer = fastnn.Trainer(model, losses.Poisson(log_input=False), optim.SGD(model.parameters(), lr=1e-3), backend=backend)
    before = bits(model)
    for shuffle in (False, True):
        with pytest.raises(ValueError, match="^X: expected rates of at least 0 .* got one below 0 in row 17; end the model in softplus"):
            trainer.fit(x, y, batch_size=30, shuffle=shuffle, check_finite=True, verbose=0)
    assert bits(model) == before and trainer.steps_done == 0
    with pytest.warns(RuntimeWarning, match="^the loss became nan in epoch 1, step 1"):
        trainer.fit(x, y, batch_size=30, verbose=0)
    assert np.isnan(model.layers[0].weight.data).all()  # in the gradient too
    model.layers[0].weight.data, model.layers[0].bias.data = [[1], [1]], [0]
    w = np.ones(30)
    w[17] = 0
    trainer.fit(x, y, batch_size=30, check_finite=True, sample_weight=w, verbose=0)
    assert np.isfinite(model.layers[0].weight.data).all()


# ---- rows that are ignored ----


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("outputs", [3, 16, 21])
@pytest.mark.parametrize("ignore, dtype", [(-100, np.int64), (255, np.uint8), (1, np.int32), (-1, np.int8)])
def test_ignored_rows_are_as_if_they_were_not_there(ignore, dtype, outputs, reduction, weighted, backend):
    rng = np.random.default_rng(outputs)
    x = rng.normal(size=(40, 4)).astype(F32)
    y = rng.integers(0, outputs, 40)
    y[y == ignore] = 0
    ignored = rng.random(40) < 0.4
    ignored[:2] = [True, False]
    labels = np.where(ignored, ignore, y).astype(dtype)
    w = rng.random(40) if weighted else None
    for smoothing, class_weight in ((0.0, None), (0.1, rng.random(outputs))):
        loss = losses.SoftmaxCrossEntropy(smoothing, class_weight, reduction, ignore_index=ignore)
        plain = losses.SoftmaxCrossEntropy(smoothing, class_weight, reduction)
        found = []
        for rows, of_loss, targets in ((np.arange(40), loss, labels), (np.flatnonzero(~ignored), plain, y)):
            model = small(outputs=outputs)
            trainer = fastnn.Trainer(model, of_loss, optim.SGD(model.parameters(), lr=0.1), backend=backend,
                                     penalty=regularizers.L2(0.1))
            ws = None if w is None else w[rows]
            numbers_ = trainer.evaluate(x[rows], targets[rows], sample_weight=ws)
            history = trainer.fit(x[rows], targets[rows], batch_size=40, shuffle=False, sample_weight=ws, verbose=0)
            numbers_["step"] = trainer.step(x[rows], targets[rows], sample_weight=ws)
            value, grads = fastnn.value_and_grad(model, of_loss, x[rows], targets[rows], sample_weight=ws)
            found.append([*numbers_.values(), history["loss"][0], history["accuracy"][0], value, *grads, *model.state_dict().values()])
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 3])
def test_ignored_rows_of_a_shuffled_epoch(team, threads):
    """The mean of an epoch is over the rows that count, though its batches have different numbers of them; no bit depends on
    the team."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 4)), rng.integers(0, 3, 100)
    y[rng.random(100) < 0.5] = -100
    y[:16] = -100  # a batch of none
    runs = {}
    for backend in BACKENDS:
        model = small()
        opt = optim.SGD(model.parameters(), lr=0.0)
        trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(ignore_index=-100), opt, backend=backend)
        with team(threads):
            histories = [trainer.fit(x, y, batch_size=16, shuffle=shuffle, verbose=0) for shuffle in (False, True)]
        whole = trainer.evaluate(x[y >= 0], y[y >= 0])
        for history in histories:
            assert history["loss"][0] == pytest.approx(whole["loss"], rel=1e-6) and history["accuracy"][0] == whole["accuracy"]
        assert trainer.step(x[:16], y[:16]) == 0


def test_ignored_rows_that_are_all(recwarn):
    model = small()
    before = bits(model)
    loss = losses.SoftmaxCrossEntropy(ignore_index=-1)
    value, grads = fastnn.value_and_grad(model, loss, np.ones((3, 4)), [-1, -1, -1])
    assert value == 0 and not any(g.any() for g in grads)
    trainer = fastnn.Trainer(model, loss, optim.SGD(model.parameters(), lr=1.0))
    assert trainer.step(np.ones((3, 4)), [-1, -1, -1]) == 0 and bits(model) == before
    assert np.isnan(trainer.evaluate(np.ones((3, 4)), [-1, -1, -1])["loss"])


def test_labels_that_are_neither_classes_nor_ignored():
    model = small()
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(ignore_index=-100), optim.SGD(model.parameters()))
    for call in (trainer.evaluate, trainer.step, lambda x, y: trainer.fit(x, y, verbose=0)):
        with pytest.raises(ValueError, match=": expected labels from 0 to 2, got -1 in row 2$"):
            call(np.ones((3, 4)), np.array([0, -100, -1]))
    with pytest.raises(ValueError, match="^y: expected labels of shape .* since ignore_index is one"):
        trainer.fit(np.ones((3, 4)), np.eye(3), verbose=0)
    assert "ignore_index=-100" in repr(losses.SoftmaxCrossEntropy(ignore_index=-100))
    assert losses.SoftmaxCrossEntropy(ignore_index=-100).key() != losses.SoftmaxCrossEntropy().key()


# ---- weights of each output ----

ELEMENTWISE = {name: case for name, case in LOSSES.items() if case[0].takes_each}


@pytest.mark.parametrize("outputs", [2, 7, 16, 21])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_weights_of_each_output(name, outputs):
    """The mean is over all outputs all the same; equal weights in a row are the row's weight."""
    loss, what, function, options = ELEMENTWISE[name]
    rng = np.random.default_rng(outputs)
    z, t = rng.normal(size=(20, outputs)).astype(F32), targets_of(what, rng, 20, outputs).astype(F32)
    w = rng.random((20, outputs)).astype(F32)
    w[3], w[4, 1] = 0, 0
    eager = getattr(kernels, function.__name__)
    value, d = eager(z, t, sample_weight=w, **options)
    expected, wide = function(z.astype(float), t.astype(float), sample_weight=w.astype(float), **options)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(d, wide, rtol=1e-4, atol=1e-7)
    single = [function(z[i : i + 1, j : j + 1].astype(float), t[i : i + 1, j : j + 1].astype(float), **{**options, "reduction": "sum"})[0]
              for i in range(20) for j in range(outputs)]
    total = np.dot(single, w.ravel().astype(float))
    np.testing.assert_allclose(value, total if options.get("reduction") == "sum" else total / z.size, rtol=1e-5)
    row = rng.random(20).astype(F32)
    a, b = eager(z, t, sample_weight=row, **options), eager(z, t, sample_weight=np.repeat(row[:, None], outputs, 1), **options)
    np.testing.assert_allclose(a[0], b[0], rtol=1e-6)
    np.testing.assert_allclose(a[1], b[1], rtol=1e-6)
    bad = z.copy()
    bad[3], bad[4, 1] = NAN, INF
    again = eager(bad, t, sample_weight=w, **options)
    assert again[0] == value and (again[1] == d).all()  # what has no weight is left out


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_training_with_weights_of_each_output(name, backend):
    loss, what, function, options = ELEMENTWISE[name]
    rng = np.random.default_rng(1)
    x, t, w = rng.normal(size=(50, 4)), targets_of(what, rng, 50, 3), rng.random((50, 3))
    x[7], w[7] = NAN, 0
    model = small()
    trainer = fastnn.Trainer(model, loss, optim.SGD(model.parameters(), lr=0.0), backend=backend)
    history = trainer.fit(x, t, batch_size=16, sample_weight=w, validation_data=(x, t, w), verbose=0)
    clean = np.where(np.isnan(x), 0, x)
    expected, d = function(model.predict(clean).astype(float), t.astype(float), sample_weight=w, **options)
    np.testing.assert_allclose([history["loss"][0], history["val_loss"][0]], expected, rtol=1e-5)
    value, grads = fastnn.value_and_grad(model, loss, x, t, sample_weight=w)
    np.testing.assert_allclose([value, trainer.step(x, t, sample_weight=w)], expected, rtol=1e-5)
    np.testing.assert_allclose(grads[-1], d.sum(axis=0), rtol=1e-4, atol=1e-6)
    assert fastnn.check_gradients(model, loss, clean, t, sample_weight=w) or name in ("mae", "hinge", "quantile")
    one = fastnn.value_and_grad(model, loss, clean, t, sample_weight=w[:, 0])[0]  # afterwards: weights of rows again
    assert one != pytest.approx(value)


def test_weights_of_each_output_only_where_outputs_are_compared():
    model = small()
    with pytest.raises(ValueError, match=r"^sample_weight: expected shape \(4,\), one weight for each row, got \(4, 3\)$"):
        fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), np.ones((4, 4)), [0, 1, 2, 0], sample_weight=np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"^sample_weight: expected shape \(4,\), or \(4, 3\), .* got \(4, 2\)$"):
        fastnn.value_and_grad(model, losses.Huber(), np.ones((4, 4)), np.ones((4, 3)), sample_weight=np.ones((4, 2)))
    w = np.ones((4, 3))
    w[2, 1] = -1
    with pytest.raises(ValueError, match="^sample_weight: expected numbers >= 0, finite in float32, got -1.0 in row 2$"):
        fastnn.value_and_grad(model, losses.Huber(), np.ones((4, 4)), np.ones((4, 3)), sample_weight=w)
    one = small(outputs=1)
    a, b = (fastnn.value_and_grad(one, losses.Huber(), np.ones((4, 4)), np.ones(4), sample_weight=w) for w in ([1, 2, 3, 4], [[1], [2], [3], [4]]))
    assert a[0] == b[0]


# ---- balanced classes ----


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.uint64, bool])
def test_balanced_classes(dtype):
    y = np.array([0] * 6 + [1] * 2).astype(dtype)
    x = np.random.default_rng(0).normal(size=(8, 4))
    made = {
        "cross entropy": (losses.SoftmaxCrossEntropy(0.1, "balanced", ignore_index=9), losses.SoftmaxCrossEntropy(0.1, [8 / 12, 2, 1], ignore_index=9), 3),
        "hinge": (losses.MulticlassHinge(class_weight="balanced"), losses.MulticlassHinge(class_weight=[8 / 12, 2, 1]), 3),
        "binary": (losses.BinaryCrossEntropy(3.0, "balanced"), losses.BinaryCrossEntropy(3.0, [8 / 12, 2]), 1),
        "binary hinge": (losses.BinaryHinge(class_weight="balanced"), losses.BinaryHinge(class_weight={0: 8 / 12, 1: 2}), 1),
    }
    for name, (balanced, plain, outputs) in made.items():
        found = []
        for loss in (balanced, plain):
            model = small(outputs=outputs)
            trainer = fastnn.Trainer(model, loss, optim.SGD(model.parameters(), lr=0.1))
            history = trainer.fit(x, y, epochs=2, validation_data=(x, y), verbose=0)
            found.append((history["loss"], history["val_loss"], bits(model)))
        assert found[0] == found[1], name
        assert balanced.class_weight == "balanced"  # a loss stays as it was made


def test_balanced_is_of_the_targets():
    loss = losses.SoftmaxCrossEntropy(class_weight="balanced")
    model = small()
    trainer = fastnn.Trainer(model, loss, optim.SGD(model.parameters()))
    x, y = np.ones((4, 4)), np.array([0, 0, 0, 2])
    for call in (lambda: trainer.step(x, y), lambda: trainer.evaluate(x, y), lambda: fastnn.value_and_grad(model, loss, x, y)):
        with pytest.raises(ValueError, match="^class_weight: expected numbers, since only Trainer.fit works out 'balanced'"):
            call()
    trainer.fit(x, y, verbose=0)
    assert trainer.loss.class_weight == (4 / 6, 1.0, 2.0)
    trainer.step(x, y)
    trainer.loss = loss
    trainer.fit(x, np.eye(3)[y], verbose=0)  # rows
    assert trainer.loss.class_weight == (4 / 6, 1.0, 2.0)
    signs = small(outputs=1)
    hinge = fastnn.Trainer(signs, losses.BinaryHinge(class_weight="balanced"), optim.SGD(signs.parameters()))
    hinge.fit(x, [-1, -1, -1, 1], verbose=0)
    assert hinge.loss.class_weight == (4 / 6, 2.0)
    with pytest.raises(ValueError, match="^class_weight: expected 'balanced', numbers, or a dict .*, got 'even'$"):
        losses.BinaryCrossEntropy(class_weight="even")
    ignoring = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(class_weight="balanced", ignore_index=-1), optim.SGD(model.parameters()))
    ignoring.fit(x, [0, -1, -1, 1], verbose=0)
    assert ignoring.loss.class_weight == (1.0, 1.0, 1.0)


# ---- quantiles ----


def test_quantiles_of_each_output():
    z, t = F32([[1, 1, 1], [-1, 0, 2]]), F32([[0, 2, 1], [0, 0, 0]])
    taus = [0.1, 0.5, 0.9]
    d = z - t
    expected = np.where(d > 0, 1 - F32(taus), -F32(taus)) * d
    for function in (kernels.quantile, reference.quantile):
        value, g = function(z, t, quantile=taus)
        assert value == pytest.approx(expected.mean(), rel=1e-6)
        np.testing.assert_allclose(g * 6, np.where(d > 0, 1 - F32(taus), np.where(d < 0, -F32(taus), 0)), rtol=1e-5)
    found, (dw, db) = fastnn.value_and_grad(identity(3), losses.Quantile(taus), z, t)
    assert found == pytest.approx(expected.mean(), rel=1e-6)
    half = fastnn.value_and_grad(identity(3), losses.Quantile(), z, t)[0]
    assert half == pytest.approx(fastnn.value_and_grad(identity(3), losses.MeanAbsoluteError(), z, t)[0] / 2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_target_for_several_quantiles(backend):
    x, y = np.random.default_rng(0).normal(size=(40, 4)), np.random.default_rng(1).normal(size=40)
    found = []
    for targets in (y, y[:, None], np.repeat(y[:, None], 3, axis=1)):
        model = small()
        trainer = fastnn.Trainer(model, losses.Quantile((0.1, 0.5, 0.9)), optim.SGD(model.parameters(), lr=0.1), backend=backend)
        numbers_ = trainer.fit(x, targets, epochs=2, batch_size=16, verbose=0)["loss"]
        found.append((numbers_, [trainer.step(x, targets) for _ in range(3)], trainer.evaluate(x, targets)["loss"], bits(model)))
    assert found[0] == found[1] == found[2]


# ---- accuracy, classes, probabilities ----


def test_accuracy_and_predictions():
    z = F32([[1, -1], [2, 3], [-1, 0], [np.nan, 1]])
    model = identity(2)
    binary = fastnn.Trainer(model, losses.BinaryCrossEntropy(), optim.SGD(model.parameters()))
    assert binary.evaluate(z[:3], np.array([[1, 0], [1, 0], [0, 0]]))["accuracy"] == 5 / 6
    assert binary.evaluate(z, np.array([[1, 0], [1, 0], [0, 0], [0, 1]]))["accuracy"] == 5 / 8  # NaN spoils its row: NaN · 0
    assert (model.predict_classes(z[:3]) == [[1, 0], [1, 1], [0, 0]]).all() and model.predict_classes(z).dtype == np.int64
    np.testing.assert_allclose(model.predict_proba(z[:3]), 1 / (1 + np.exp(-z[:3].astype(float))), rtol=1e-6)
    again = copy.deepcopy(model)
    assert again.head == "sigmoid" and (again.predict_classes(z[:3]) == [[1, 0], [1, 1], [0, 0]]).all()

    fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters()))  # now it is a choice of one
    assert (model.predict_classes(z[:3]) == [0, 1, 1]).all()
    np.testing.assert_allclose(model.predict_proba(z[:3]).sum(axis=1), 1, rtol=1e-6)

    one = identity(1)
    hinge = fastnn.Trainer(one, losses.BinaryHinge(), optim.SGD(one.parameters()))
    assert hinge.evaluate(z[:3, :1], [1, -1, -1])["accuracy"] == 2 / 3
    assert (one.predict_classes(z[:3, :1]) == [1, 1, 0]).all()
    assert hinge.evaluate(z[:3, :1], [1, 0, 1], sample_weight=[0, 0, 1]) == {"loss": pytest.approx(2 / 3), "accuracy": 1 / 3}

    regression = fastnn.Trainer(one, losses.Huber(), optim.SGD(one.parameters()))
    assert set(regression.evaluate(z[:3, :1], [1, 2, 3])) == {"loss"}
    history = regression.fit(z[:3, :1], [1, 2, 3], validation_data=(z[:3, :1], [1, 2, 3]), verbose=0)
    assert set(history) == {"loss", "val_loss", "seconds"}


# The losses that count right answers, and what their targets are.
DECISIONS = {
    "cross entropy": (losses.SoftmaxCrossEntropy(), "labels"),
    "multiclass hinge": (losses.MulticlassHinge(), "labels"),
    "binary": (losses.BinaryCrossEntropy(), "answers"),
    "hinge of 0 and 1": (losses.BinaryHinge(), "answers"),
    "hinge of signs": (losses.BinaryHinge(squared=True), "signs"),
}


@pytest.mark.parametrize("outputs", [1, 2, 5, 16])
@pytest.mark.parametrize("way", ["fit", "step"])
@pytest.mark.parametrize("name", DECISIONS)
def test_classes_are_what_the_accuracy_counts(name, way, outputs, tmp_path):
    loss, what = DECISIONS[name]
    if what == "labels" and outputs == 1:
        pytest.skip("a choice of one")
    rng = np.random.default_rng(outputs)
    X = rng.normal(size=(64, 4))
    y = 2 * targets_of("answers", rng, 64, outputs) - 1 if what == "signs" else targets_of(what, rng, 64, outputs)
    model = small(outputs=outputs)
    trainer = fastnn.Trainer(model, loss, optim.Adam(model.parameters(), lr=0.01))
    if way == "fit":
        trainer.fit(X, y, epochs=3, verbose=0)
    else:
        for _ in range(3):
            trainer.step(X, y)
    accuracy = trainer.evaluate(X, y)["accuracy"]
    assert 0 < accuracy < 1
    model.save(tmp_path / "m.safetensors")
    for m in (model, nn.load(tmp_path / "m.safetensors"), model.fold(), copy.deepcopy(model)):
        classes = m.predict_classes(X)
        assert classes.shape == (y.shape if y.ndim == 1 or outputs > 1 else y.shape[:1]) and classes.dtype == np.int64
        assert (classes == (y[:, 0] if y.shape == (64, 1) else y)).mean() == accuracy
    fastnn.Trainer(model, loss, optim.SGD(model.parameters()))  # to evaluate or to go on: what the targets told is not forgotten
    assert (model.predict_classes(X) == classes).all()


@pytest.mark.parametrize("loss", [losses.MeanSquaredError(), losses.MeanAbsoluteError(), losses.Huber()])
def test_classes_of_regression(loss):
    z = F32([[-0.2], [0.4], [0.6], [7]])
    one = identity(1)
    trainer = fastnn.Trainer(one, loss, optim.SGD(one.parameters(), lr=0.0))
    assert one.predict_classes(z).tolist() == [0, 0, 1, 1]
    trainer.fit(z, [1, -1, -1, 1], verbose=0)
    assert one.predict_classes(z).tolist() == [-1, 1, 1, 1]
    trainer.step(z, [1, 1, 1, 1])  # which tells nothing
    assert one.predict_classes(z).tolist() == [-1, 1, 1, 1]
    trainer.fit(z, [0, 1, 1, 1], verbose=0)
    assert one.predict_classes(z).tolist() == [0, 0, 1, 1]
    several = identity(3)
    trainer = fastnn.Trainer(several, loss, optim.SGD(several.parameters(), lr=0.0))
    for targets in (np.eye(3), 2 * np.eye(3) - 1):
        trainer.fit(np.eye(3), targets, verbose=0)
        assert several.predict_classes(F32([[0, 0.4, 0.3], [-3, -2, -1]])).tolist() == [1, 2]
        assert several.head == "numbers"


def test_outputs_that_are_no_logits_give_no_probabilities(tmp_path):
    z = F32([[1.0], [-1.0]])
    cases = [
        (losses.MeanSquaredError(), [0, 1], "numbers"), (losses.MeanAbsoluteError(), [0, 1], "numbers"),
        (losses.Huber(), [0, 1], "numbers"), (losses.MeanSquaredError(), [-1, 1], "scores of targets -1 and 1"),
        (losses.Poisson(), [0, 1], "rates of counts"), (losses.BinaryHinge(), [0, 1], "scores of a hinge loss"),
        (losses.BinaryHinge(), [-1, 1], "scores of targets -1 and 1"),
    ]
    for loss, y, what in cases:
        model = identity(1)
        fastnn.Trainer(model, loss, optim.SGD(model.parameters(), lr=0.0)).fit(z, y, verbose=0)
        model.save(tmp_path / "m.safetensors")
        for m in (model, nn.load(tmp_path / "m.safetensors"), model.fold()):
            with pytest.raises(ValueError, match=f"^predict_proba: expected a model trained on a cross-entropy, got .*{what}"):
                m.predict_proba(z)
    several = identity(3)
    fastnn.Trainer(several, losses.MulticlassHinge(), optim.SGD(several.parameters()))
    with pytest.raises(ValueError, match="scores of a multi-class hinge loss"):
        several.predict_proba(np.eye(3))
    counts = identity(2)
    fastnn.Trainer(counts, losses.Poisson(), optim.SGD(counts.parameters()))
    with pytest.raises(ValueError, match="^predict_classes: expected outputs that tell classes, got rates of counts"):
        counts.predict_classes(z @ F32([[1, 1]]))


def test_hinge_targets_are_of_one_kind():
    model = identity(1)
    trainer = fastnn.Trainer(model, losses.BinaryHinge(), optim.SGD(model.parameters()))
    with pytest.raises(ValueError, match="^y: expected targets -1 and 1, or 0 and 1, not all three, got 0 in row 2$"):
        trainer.fit(np.ones((3, 1)), [-1, 1, 0], verbose=0)


@pytest.mark.parametrize("make", [
    lambda dense, sigmoid: [dense(), sigmoid()],
    lambda dense, sigmoid: [nn.Sequential(dense(), sigmoid())],
    lambda dense, sigmoid: [dense(), sigmoid(), nn.Dropout(0.1)],
    lambda dense, sigmoid: [dense(), sigmoid(), nn.Activation("identity")],
    lambda dense, sigmoid: [nn.DropConnect(dense("sigmoid"), 0.1)],
])
def test_a_last_sigmoid_is_seen_wherever_it_stands(make):
    model = nn.Sequential(*make(lambda *a: nn.Dense(1, 1, *a, init=fastnn.init.constant(1.0)), lambda: nn.Activation("sigmoid")))
    z = F32([[-1], [1]])
    for head in (None, "sigmoid"):
        model.head = head
        assert model.predict_classes(z).tolist() == [0, 1]
        assert model.predict_proba(z).tobytes() == model.predict(z).tobytes()


def test_several_sigmoids_are_answers_where_the_head_says_so():
    model = nn.Sequential(nn.Dense(2, 2), nn.Activation("sigmoid"))
    model.layers[0].weight.data = np.eye(2)
    z = F32([[1, 2], [-1, -2]])
    assert model.predict_classes(z).tolist() == [1, 0]
    model.head = "sigmoid"
    assert model.predict_classes(z).tolist() == [[1, 1], [0, 0]]
    model.head = "logits"
    with pytest.raises(ValueError, match="^head: expected one of softmax, sigmoid, .*, or None, got 'logits'$"):
        model.predict_classes(z)


def test_the_head_survives_files(tmp_path):
    model = identity(2)
    fastnn.Trainer(model, losses.BinaryCrossEntropy(), optim.SGD(model.parameters()))
    model.save(tmp_path / "m.safetensors")
    assert nn.load(tmp_path / "m.safetensors").predict_classes(F32([[1, 1]])).tolist() == [[1, 1]]
    plain = identity(2)
    plain.save(tmp_path / "p.safetensors")
    assert nn.load(tmp_path / "p.safetensors").head is None


# ---- custom losses ----


def squares(outputs, targets, weights=None):
    d = outputs - targets
    w = np.ones((len(d), 1), F32) if weights is None else weights[:, None]
    return float((w * d * d).mean()), 2 * w * d / d.size


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


# ---- arguments ----


@pytest.mark.parametrize("make, error, message", [
    (lambda: losses.Huber(0), ValueError, "delta: expected a number > 0, finite in float32, got 0"),
    (lambda: losses.Huber("1"), TypeError, "delta: expected a number, got '1'"),
    (lambda: losses.Huber(np.nan), ValueError, "delta"),
    (lambda: losses.Poisson(eps=-1), ValueError, "eps: expected a number >= 0"),
    (lambda: losses.SoftmaxCrossEntropy(1.1), ValueError, "label_smoothing: expected a number from 0 to 1, got 1.1"),
    (lambda: losses.SoftmaxCrossEntropy(True), TypeError, "label_smoothing: expected a number, got True"),
    (lambda: losses.SoftmaxCrossEntropy(class_weight=[1, -1]), ValueError, "class_weight: expected numbers >= 0, .* got -1"),
    (lambda: losses.SoftmaxCrossEntropy(class_weight="even"), ValueError, "class_weight: expected 'balanced', numbers, or a dict"),
    (lambda: losses.SoftmaxCrossEntropy(class_weight=object()), TypeError, "class_weight: expected numbers, got <object"),
    (lambda: losses.SoftmaxCrossEntropy(class_weight=[[1, 2]]), ValueError, "class_weight: expected one number for each output"),
    (lambda: losses.SoftmaxCrossEntropy(class_weight={"a": 1}), ValueError, "class_weight: expected class numbers as keys, got 'a'"),
    (lambda: losses.Quantile(0.0), ValueError, "quantile: expected numbers above 0 and below 1, got 0.0"),
    (lambda: losses.Quantile([0.5, 1.0]), ValueError, "quantile: expected numbers above 0"),
    (lambda: losses.Quantile([]), ValueError, "quantile: expected a number, or one for each output"),
    (lambda: losses.Quantile("0.5"), TypeError, "quantile"),
    (lambda: losses.SoftmaxCrossEntropy(ignore_index=1.0), TypeError, "ignore_index: expected an integer"),
    (lambda: losses.SoftmaxCrossEntropy(ignore_index=2**64), ValueError, "ignore_index"),
    (lambda: losses.SoftmaxCrossEntropy(class_weight={0: np.inf}), ValueError, "class_weight: expected numbers >= 0"),
    (lambda: losses.SoftmaxCrossEntropy(reduction="none"), ValueError, "reduction: expected 'mean' or 'sum', got 'none'"),
    (lambda: losses.BinaryCrossEntropy(pos_weight=-1), ValueError, "pos_weight: expected a number >= 0"),
    (lambda: losses.BinaryCrossEntropy(class_weight=[1, 2, 3]), ValueError, "class_weight: expected 2 numbers, one for each output"),
    (lambda: losses.BinaryHinge(margin=-1), ValueError, "margin: expected a number >= 0"),
    (lambda: losses.BinaryHinge(class_weight={2: 1}), ValueError, "class_weight: expected classes from 0 to 1, got 2"),
    (lambda: losses.MulticlassHinge(margin=np.inf), ValueError, "margin"),
])
def test_arguments_that_are_refused(make, error, message):
    with pytest.raises(error, match=f"^{message}"):
        make()


@pytest.mark.parametrize("loss, message", [
    (losses.SoftmaxCrossEntropy(class_weight=[1, 2]), "class_weight: expected 3 numbers, one for each output"),
    (losses.SoftmaxCrossEntropy(class_weight={3: 1}), "class_weight: expected classes from 0 to 2, got 3"),
    (losses.MulticlassHinge(class_weight=[1, 2]), "class_weight: expected 3"),
    (losses.BinaryCrossEntropy(pos_weight=[1, 2]), "pos_weight: expected 3 numbers, one for each output, got 2"),
    (losses.Quantile([0.1, 0.9]), "quantile: expected 3 numbers, one for each output, got 2"),
])
def test_weights_that_do_not_fit_the_model(loss, message):
    model = small()
    with pytest.raises(ValueError, match=f"^{message}"):
        fastnn.Trainer(model, loss, optim.SGD(model.parameters()))
    with pytest.raises(ValueError, match=f"^{message}"):
        fastnn.value_and_grad(model, loss, np.ones((2, 4)), [0, 1])
    assert model.head is None


ENDS = {
    "Softmax": lambda n: [nn.Dense(4, n), nn.Softmax()],
    "softmax of Dense": lambda n: [nn.Dense(4, n, activation="softmax")],
    "sigmoid of Dense": lambda n: [nn.Dense(4, n, activation="sigmoid")],
    "sigmoid": lambda n: [nn.Dense(4, n), nn.Activation("sigmoid"), nn.Dropout(0.1)],
    "softmax inside": lambda n: [nn.Sequential(nn.Dense(4, n), nn.Activation("softmax"))],
    "sigmoid of DropConnect": lambda n: [nn.DropConnect(nn.Dense(4, n, activation="sigmoid"))],
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("loss, message", [
    (losses.SoftmaxCrossEntropy(), "SoftmaxCrossEntropy applies a softmax itself"),
    (losses.BinaryCrossEntropy(), "BinaryCrossEntropy applies a sigmoid itself"),
    (losses.BinaryHinge(), "BinaryHinge needs outputs of either sign"),
])
def test_probabilities_where_logits_belong(loss, message, end):
    model = nn.Sequential(*ENDS[end](3))
    expected = f"^model: expected no softmax or sigmoid at its end, since {message}, got one that ends in a s[a-z]*: leave it out"
    opt = optim.SGD(model.parameters())
    with pytest.raises(ValueError, match=expected):
        fastnn.Trainer(model, loss, opt)
    with pytest.raises(ValueError, match=expected):
        fastnn.value_and_grad(model, loss, np.ones((2, 4)), np.ones((2, 3)))
    with pytest.raises(ValueError, match=expected):
        fastnn.check_gradients(model, loss, np.ones((2, 4)), np.ones((2, 3)))
    trainer = fastnn.Trainer(model, losses.MeanSquaredError(), opt)  # which compares probabilities
    with pytest.raises(ValueError, match=expected):
        trainer.loss = loss
    assert model.head == "numbers" and isinstance(trainer.loss, losses.MeanSquaredError)


def test_activations_that_may_end_a_model_of_logits():
    for last in ([nn.LogSoftmax()], [nn.Activation("tanh")], [nn.Softmax(), nn.Dense(3, 3)], [nn.Residual(nn.Softmax())]):
        model = nn.Sequential(nn.Dense(4, 3), *last)
        fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters()))


@pytest.mark.parametrize("loss, instead", [
    (losses.SoftmaxCrossEntropy(), "BinaryCrossEntropy"), (losses.MulticlassHinge(), "BinaryHinge"),
])
def test_a_choice_of_one(loss, instead):
    model = small(outputs=1)
    name = type(loss).__name__
    expected = f"^model: expected at least 2 outputs, .* since {name} of a single one is always 0, got 1; .*losses.{instead}\\(\\)$"
    with pytest.raises(ValueError, match=expected):
        fastnn.Trainer(model, loss, optim.SGD(model.parameters()))
    trainer = fastnn.Trainer(model, losses.MeanSquaredError(), optim.SGD(model.parameters()))
    with pytest.raises(ValueError, match=expected):
        trainer.loss = loss
    assert fastnn.value_and_grad(model, loss, np.ones((2, 4)), [0, 0])[0] == 0  # a function as good as any


def test_a_softmax_over_one_output():
    model = nn.Sequential(nn.Dense(4, 1), nn.Softmax())
    for loss in (losses.MeanSquaredError(), losses.Custom(lambda z, t: (0.0, z)), losses.BinaryCrossEntropy()):
        with pytest.raises(ValueError, match="^model: expected outputs that can change, got a softmax over a single one"):
            fastnn.Trainer(model, loss, optim.SGD(model.parameters()))


def test_plan_kinds():
    model = small()
    trainer = fastnn.Trainer(model, losses.MeanSquaredError(), optim.SGD(model.parameters()))
    assert "elementwise_loss" in trainer.plan(8).describe()
    with pytest.raises(ValueError, match=r"^kind: expected 'rows' for MeanSquaredError\(\), got 'labels'"):
        trainer.plan(8, "labels")
    custom = fastnn.Trainer(model, losses.Custom(squares), optim.SGD(model.parameters()))
    assert "host_loss" in custom.plan(8).describe() and "python" in custom.plan(8).describe()
    plan = trainer.plan(8, weighted=True)
    with pytest.raises(ValueError, match="^weights: expected an array for this plan, got NoneType"):
        NativeExecutor(plan).run(np.ones((4, 4)), np.ones((4, 3)), rates=[[0.1]])


def test_repr_and_equal_plans():
    assert repr(losses.SoftmaxCrossEntropy(0.1, {1: 2.0})) == "SoftmaxCrossEntropy(label_smoothing=0.1, class_weight={1: 2.0})"
    assert repr(losses.BinaryHinge(squared=True)) == "BinaryHinge(squared=True)"
    pairs = [losses.Huber(1.0), losses.Huber(2.0), losses.MeanSquaredError(), losses.MeanSquaredError("sum"), losses.Poisson(),
             losses.Poisson(False), losses.SoftmaxCrossEntropy(), losses.SoftmaxCrossEntropy(class_weight=np.ones(3)),
             losses.SoftmaxCrossEntropy(class_weight=np.arange(3.0)), losses.Custom(squares), losses.Custom(lambda: 0)]
    assert len({loss.key() for loss in pairs}) == len(pairs)
    assert losses.Huber(2).key() == losses.Huber(2.0).key()


# ---- properties ----

NUMBERS = st.floats(-50, 50, width=32)


@st.composite
def problems(draw):
    rows, outputs = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    z = (rng.normal(size=(rows, outputs)) * draw(st.sampled_from([1e-3, 1, 30]))).astype(F32)
    name = draw(st.sampled_from(sorted(LOSSES)))
    if LOSSES[name][1] == "counts":
        z = np.minimum(z, F32(80))  # exp of more is infinite in float32, and not in the float64 that it is compared with
    t = targets_of(LOSSES[name][1], rng, rows, outputs)
    dtype = draw(st.sampled_from({"real": "fde", "counts": "fdBiq", "labels": "bBhiqQ", "probabilities": "fd", "answers": "?bBifd"}[LOSSES[name][1]]))
    weight = draw(st.sampled_from([None, rng.random(rows), rng.integers(0, 3, rows)]))
    return name, z, t.astype(dtype), weight


@settings(max_examples=120, deadline=None)
@given(problems())
def test_any_problem(problem):
    name, z, t, weight = problem
    loss, what, function, options = LOSSES[name]
    value, (_, db) = fastnn.value_and_grad(identity(z.shape[1]), loss, z, t, sample_weight=weight)
    wide = t if what == "labels" else t.astype(F32).astype(float)
    weights = None if weight is None else weight.astype(F32).astype(float)
    expected, d = function(z.astype(float), wide, sample_weight=weights, **options)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(db, d.sum(axis=0), rtol=1e-3, atol=1e-5 * np.abs(d).sum() + 1e-6)


ARRAYS = st.one_of(
    st.lists(st.integers(-2, 4), max_size=5),
    st.lists(st.lists(st.integers(-2, 4), min_size=3, max_size=3), max_size=5),
    st.lists(st.lists(st.floats(), max_size=4), max_size=5),
    st.lists(st.text(max_size=2), max_size=5),
    st.none(), st.integers(), st.floats(), st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(LOSSES)), ARRAYS, st.one_of(st.none(), ARRAYS))
def test_any_targets_and_weights(name, y, weight):
    """The documented result or the documented exception, before anything has changed."""
    model, x = small(), np.ones((4, 4))
    try:
        value, grads = fastnn.value_and_grad(model, LOSSES[name][0], x, y, sample_weight=weight)
    except (TypeError, ValueError) as error:
        assert str(error).startswith(("y", "sample_weight"))
    else:
        assert isinstance(value, float) and [g.shape for g in grads] == [p.shape for p in model.parameters()]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["mean_squared_error", "mean_absolute_error", "huber", "binary_cross_entropy", "binary_hinge", "poisson"]),
       st.lists(st.tuples(NUMBERS, st.integers(0, 1)), min_size=1, max_size=40))
def test_elementwise_losses_are_sums_over_elements(function, pairs):
    z, t = F32([[a for a, _ in pairs]]), F32([[b for _, b in pairs]])
    whole = getattr(kernels, function)(z, t, reduction="sum")
    apart = [getattr(kernels, function)(z[:, i : i + 1].copy(), t[:, i : i + 1].copy(), reduction="sum") for i in range(len(pairs))]
    np.testing.assert_allclose(whole[0], sum(a for a, _ in apart), rtol=1e-12, atol=1e-12)
    assert (whole[1] == np.concatenate([g for _, g in apart], axis=1)).all()
