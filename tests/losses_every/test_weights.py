"""Weights of outputs and classes, and several quantiles of a target."""

import numpy as np
import pytest

import fastnn
from fastnn import kernels, losses, optim, reference

from loss_cases import BACKENDS, bits, F32, identity, INF, LOSSES, NAN, small, targets_of

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
