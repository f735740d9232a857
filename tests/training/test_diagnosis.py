"""Trainer.diagnose and callbacks.Diagnose: the numbers are those of NumPy, and training never notices."""

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, losses, nn, optim, regularizers


def make(*layers, optimizer=optim.Adam, loss=None, **settings):
    fastnn.manual_seed(4)
    model = nn.Sequential(*(layers or (nn.Dense(8, 6, activation="relu"), nn.BatchNorm(6), nn.Dropout(0.2), nn.Dense(6, 3))))
    return fastnn.Trainer(model, loss or losses.SoftmaxCrossEntropy(), optimizer(model.parameters(), lr=0.01), **settings)


def samples(rows=60):
    rng = np.random.default_rng(11)
    return rng.normal(size=(rows, 8)).astype(np.float32), rng.integers(0, 3, rows)


def bits(trainer):
    model, state = trainer.model, trainer.optimizer.state_dict()
    arrays = [p.data for _, p in (*model.named_parameters(), *model.named_buffers())]
    arrays += [a for s in state["state"] for a in s.values()]
    return [a.tobytes() for a in arrays], trainer.steps_done, [g["steps"] for g in state["groups"]]


def test_the_numbers_are_numpys():
    x, y = samples()
    trainer = make(nn.Dense(8, 6, activation="relu"), nn.Dense(6, 3), optimizer=optim.SGD)
    (a, b) = (layer.weight.data.astype(np.float64) for layer in trainer.model)
    trainer.model[0].bias.data = [-50, 0, 0, 0.1, 0, 0]
    report = trainer.diagnose(x, y)
    h = np.maximum(x @ a + trainer.model[0].bias.data, 0)
    z = h @ b
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    dz = (p - np.eye(3)[y]) / len(x)
    first, second = report
    assert (first.name, first.kind, first.units, first.dead, first.saturated) == ("0", "Dense relu", 6, 1, None)
    assert first.zeros == (h == 0).mean() and second.dead is None
    for layer, out, gradient in ((first, h, dz @ b.T), (second, z, dz)):
        found = layer.mean, layer.std, layer.gradient_mean, layer.gradient_std
        np.testing.assert_allclose(found, (out.mean(), out.std(), gradient.mean(), gradient.std()), rtol=1e-4, atol=1e-8)
        assert layer.outputs[0].sum() == out.size and layer.gradients[0].sum() == gradient.size
    norm, change = np.linalg.norm(b), 0.01 * np.linalg.norm(h.T @ dz)
    np.testing.assert_allclose((second.weight_norm, second.update_ratio), (norm, change / norm), rtol=1e-5)
    np.testing.assert_allclose(report.loss, -np.log(p[np.arange(len(y)), y]).mean(), rtol=1e-6)
    assert report.rows == 60 and report["1"] is second and len(report) == 2
    assert "layer 0: 1 of 6 units are dead" in str(report) and "1 (17%)" in report.table()


def test_equal_gradients_do_not_explode():
    """One output, all of whose errors have one sign: the gradients are all the same, and have no deviation."""
    x, _ = samples()
    trainer = make(nn.Dense(8, 6, activation="tanh"), nn.Dense(6, 6, activation="tanh"), nn.Dense(6, 1), loss=losses.MeanAbsoluteError())
    report = trainer.diagnose(x, np.full(len(x), 100.0))
    assert report["2"].gradient_std == 0 and not any("gradients" in note for note in report.notes)


def test_gradients_of_residuals_are_those_of_outputs():
    """Where several layers read an output, and where gradients would be changed in place."""
    x, y = samples()
    block = nn.Residual(nn.Dense(6, 6, activation="tanh"), nn.Activation("sigmoid"))
    trainer = make(nn.Dense(8, 6), block, nn.Dense(6, 3))
    a, b, c = (layer.weight.data.astype(np.float64) for layer in (trainer.model[0], block.layers[0], trainer.model[2]))
    h = x @ a
    t = np.tanh(h @ b)
    s = 1 / (1 + np.exp(-t))
    z = (h + s) @ c
    dz = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) - np.eye(3)[y]) / len(x)
    ds = dz @ c.T
    dt = ds * s * (1 - s)
    dh = ds + (dt * (1 - t * t)) @ b.T
    report = trainer.diagnose(x, y)
    assert [layer.name for layer in report] == ["0", "1.0", "1.1", "2"]
    np.testing.assert_allclose([layer.gradient_std for layer in report], [g.std() for g in (dh, dt, ds, dz)], rtol=1e-5)


def test_saturated_units():
    x, y = samples()
    for name, units in (("sigmoid", 3), ("tanh", 3), ("hard_tanh", 3), ("selu", 2), ("elu", 2)):
        trainer = make(nn.Dense(8, 6, activation=name), nn.Dense(6, 3))
        trainer.model[0].bias.data = [-90, -90, 90, 0, 0, 0]
        report = trainer.diagnose(x, y)
        assert (report["0"].saturated, report["0"].dead) == (units, None), name
        assert any("saturated" in note for note in report.notes)


def test_vanishing_gradients_and_wide_steps_are_noted():
    x, y = samples()
    deep = [nn.Dense(8, 8, activation="sigmoid", init=0.01) for _ in range(5)]
    assert any("gradients vanish" in note for note in make(*deep, nn.Dense(8, 3)).diagnose(x, y).notes)
    wide = make(nn.Dense(8, 6, activation="relu"), nn.Dense(6, 3, init=1e-3))
    assert any(note.startswith("layer 1: a step changes the weights by") for note in wide.diagnose(x, y).notes)


@pytest.mark.parametrize("settings", [{}, {"clip_norm": 0.1, "penalty": regularizers.L2(0.1)}, {"backend": "reference"}])
def test_a_trainer_never_notices(settings):
    x, y = samples()
    found = []
    for look in (False, True):
        trainer = make(**settings)
        if look:
            trainer.diagnose(x, y)
        trainer.fit(x, y, epochs=2, verbose=0, callbacks=[callbacks.Diagnose(every=1)] if look else [])
        if look:
            before = bits(trainer)
            trainer.diagnose(x, y, rows=7)
            assert bits(trainer) == before
        trainer.step(x[:30], y[:30])
        found.append(bits(trainer))
    assert found[0] == found[1]


def test_the_callback_sees_what_the_trainer_sees():
    x, y = samples()
    trainer, look = make(), callbacks.Diagnose(every=2, rows=20)
    trainer.fit(x, y, epochs=4, verbose=0, callbacks=[look])
    assert sorted(look.reports) == [1, 3]
    assert look.reports[3].table() == trainer.diagnose(x, y, rows=20).table()
    assert look.reports[1].table() != look.reports[3].table()
    look = callbacks.Diagnose()
    trainer.fit(x, y, epochs=2, verbose=0, callbacks=[look])
    assert 4 in look.reports
    trainer.model.freeze(0)
    look = callbacks.Diagnose(1, data=(x[:9], y[:9]))
    trainer.fit(x, y, verbose=0, callbacks=[look])
    assert look.reports[6]["0"].update_ratio == 0 and look.reports[6].rows == 9


def test_losses_of_ones_own_and_weights():
    x, y = samples()

    def squared(outputs, targets):
        return float((outputs**2).mean()), 2 * outputs / outputs.size

    assert make(loss=losses.Custom(squared)).diagnose(x, y).loss > 0
    trainer = make(nn.Dense(8, 3))
    w = np.zeros(60)
    w[0] = 60
    np.testing.assert_allclose(trainer.diagnose(x, y, sample_weight=w).loss, trainer.evaluate(x[:1], y[:1])["loss"], rtol=1e-6)


def test_what_is_refused():
    x, y = samples()
    trainer = make()
    before = bits(trainer)
    for arguments, message in (((x[:, :3], y), "X"), ((x, y[:5]), "y"), ((x, y + 3), "labels from 0 to 2")):
        with pytest.raises(ValueError, match=message):
            trainer.diagnose(*arguments)
    with pytest.raises(ValueError, match="rows"):
        trainer.diagnose(x, y, rows=0)
    with pytest.raises(ValueError, match="expected at least 2 rows"):
        trainer.diagnose(x, y, rows=1)  # of a batch normalisation
    with pytest.raises(ValueError, match="every"):
        callbacks.Diagnose(0)
    with pytest.raises(ValueError, match="data: expected a pair"):
        callbacks.Diagnose(data=x)
    with pytest.raises(ValueError, match=r"data\[0\]"):
        trainer.fit(x, y, verbose=0, callbacks=[callbacks.Diagnose(data=(x[:, :3], y))])
    with pytest.raises(KeyError, match="expected one of 0, 1"):
        trainer.diagnose(x, y)["17"]
    assert bits(trainer) == before


def test_plots():
    pytest.importorskip("matplotlib").use("Agg")
    x, y = samples()
    trainer, look = make(), callbacks.Diagnose(every=1)
    with pytest.raises(RuntimeError, match="plot: expected reports"):
        look.plot()
    trainer.fit(x, y, epochs=2, verbose=0, callbacks=[look])
    assert len(trainer.diagnose(x, y).plot().axes) == 8
    assert len(look.plot().axes) == 4
