"""Targets of every kind: those that are refused, what is infinite, rows that are left out or ignored."""

import numpy as np
import pytest

import fastnn
from fastnn import kernels, losses, nn, optim, reference, regularizers

from loss_cases import BACKENDS, bits, F32, INF, LOSSES, NAN, small, targets_of


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
