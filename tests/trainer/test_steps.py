"""Single steps, `fit`, seeds, and the same bits however it is called."""

import numpy as np
import pytest

import fastnn
from fastnn import _native, losses, nn, optim
from fastnn.executors import NativeExecutor

from trainer_cases import BACKENDS, bits, Log, make, samples


@pytest.mark.parametrize("backend", BACKENDS)
def test_steps_are_fit_without_its_comforts(backend):
    x, y = samples(50)
    _, a = make(backend=backend)
    _, b = make(backend=backend)
    history = a.fit(x, y, epochs=2, batch_size=20, verbose=0)
    seen = []
    for epoch in range(2):
        order = _native.permutation(50, 0, epoch)
        seen.append([(b.step(x[rows], y[rows]), len(rows)) for rows in np.split(order, [20, 40])])
    assert bits(a) == bits(b) and a.steps_done == b.steps_done == 6
    assert np.allclose(history["loss"], [sum(loss * n for loss, n in epoch) / 50 for epoch in seen], rtol=1e-14)


def test_step_returns_the_loss_before_the_update():
    x, y = samples(30)
    model, t = make()
    before = t.evaluate(x, y)["loss"]
    loss = t.step(x, y)
    assert type(loss) is float and abs(loss - before) < 1e-12
    assert t.evaluate(x, y)["loss"] < before


def test_steps_of_changing_sizes_and_kinds():
    x, y = samples(40)
    _, a = make()
    _, b = make()
    one_hot = np.eye(3, dtype=np.float32)[y]
    for rows in (slice(0, 10), slice(10, 13), slice(0, 40), slice(5, 6), slice(0, 10)):
        assert a.step(x[rows], y[rows]) == b.step(x[rows].astype(np.float64), y[rows].tolist())
    assert a.step(x, one_hot) == pytest.approx(b.step(x, y), abs=1e-12)
    a.step(x[:4], y[:4])
    b.step(x[:4], y[:4])
    assert bits(a) == bits(b) and a.steps_done == b.steps_done == 7


def test_steps_and_fits_may_alternate():
    x, y = samples(40)
    _, a = make()
    a.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    a.step(x[:5], y[:5])
    a.fit(x, y, batch_size=10, shuffle=False, verbose=0)
    _, b = make()
    for begin, end in ((0, 16), (16, 32), (32, 40), (0, 5), (0, 10), (10, 20), (20, 30), (30, 40)):
        b.step(x[begin:end], y[begin:end])
    assert bits(a) == bits(b)


@pytest.mark.parametrize(
    "xb, yb, error, message",
    [
        (np.zeros((4, 7), np.float32), np.zeros(4, int), ValueError, "xb: expected 8 features a row"),
        (np.zeros((4, 8), np.float32), np.zeros(3, int), ValueError, "yb: expected 4 targets, one for each row of xb"),
        (np.zeros((0, 8), np.float32), np.zeros(0, int), ValueError, "xb: expected at least one row"),
        (np.zeros((4, 8), np.float32), np.array([0, 1, 3, -1]), ValueError, "yb: expected labels from 0 to 2, got 3 in row 2, -1 in row 3"),
        (np.zeros((4, 8), np.float32), np.zeros((4, 1, 3), np.float32), ValueError, "yb: expected"),
        (np.zeros((4, 8), np.float32), np.zeros((4, 3, 1), np.float32), ValueError, "yb: expected"),
        (np.zeros((4, 8), np.float32), np.zeros((4, 2), np.float32), ValueError, "yb: expected"),
        (np.zeros((4, 8), np.float32), np.zeros(4, np.float32), TypeError, "yb: expected integer labels"),
        (np.zeros((4, 8), complex), np.zeros(4, int), TypeError, "xb: expected real numbers"),
        (np.zeros((4, 2, 4), np.float32), np.zeros(4, int), ValueError, "xb: expected 2 dimensions"),
    ],
)
@pytest.mark.parametrize("warm", [False, True, "rows"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_batches_that_are_refused(xb, yb, error, message, warm, backend):
    x, y = samples(10)
    _, t = make(backend=backend)
    if warm:  # the quick way in is open
        t.step(x, np.eye(3, dtype=np.float32)[y] if warm == "rows" else y)
    before, steps = bits(t), t.steps_done
    with pytest.raises(error, match=f"^{message}"):
        t.step(xb, yb)
    assert bits(t) == before and t.steps_done == steps and t.optimizer.state_dict()["groups"][0]["steps"] == steps
    t.step(x, y)


def test_flattened_samples():
    x, y = samples(10)
    fastnn.manual_seed(4)
    model = nn.Sequential(nn.Flatten(), nn.Dense(8, 6, activation="relu"), nn.Dense(6, 3))
    a = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01))
    _, b = make()
    for _ in range(2):
        assert a.step(x.reshape(10, 2, 2, 2), y) == b.step(x, y)
    a.fit(x.reshape(10, 2, 4), y, batch_size=3, verbose=0)
    b.fit(x, y, batch_size=3, verbose=0)
    assert bits(a) == bits(b)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch_size, drop_last", [(10, False), (16, False), (16, True), (1, False), (10**9, False), (50, True)])
@pytest.mark.parametrize("shuffle", [True, False])
def test_training_in_parts_is_training_at_once(backend, batch_size, drop_last, shuffle):
    x, y = samples(50)
    settings = {"batch_size": batch_size, "drop_last": drop_last, "shuffle": shuffle, "verbose": 0}
    _, whole = make(backend=backend, seed=9)
    _, parts = make(backend=backend, seed=9)
    expected = whole.fit(x, y, epochs=5, **settings)
    first, second = parts.fit(x, y, epochs=2, **settings), parts.fit(x, y, epochs=3, **settings)
    assert bits(whole) == bits(parts)
    assert first["loss"] + second["loss"] == expected["loss"] and first["accuracy"] + second["accuracy"] == expected["accuracy"]
    steps = 50 // min(batch_size, 50) if drop_last else -(-50 // min(batch_size, 50))
    assert whole.steps_done == parts.steps_done == 5 * steps
    assert whole.epochs_done == parts.epochs_done == 5


def test_a_last_smaller_batch_counts_by_its_rows():
    x, y = samples(50)
    _, t = make(lr=0.0)
    history = t.fit(x, y, batch_size=16, verbose=0)
    expected = t.evaluate(x, y)
    assert history["loss"][0] == pytest.approx(expected["loss"], rel=1e-12)
    assert history["accuracy"][0] == expected["accuracy"]
    log = Log()
    t.fit(x, y, batch_size=16, shuffle=False, callbacks=[log], verbose=0)
    seen = [c[1] for c in log.calls if isinstance(c[0], int)]
    assert np.allclose(seen, [t.evaluate(x[i : i + 16], y[i : i + 16])["loss"] for i in (0, 16, 32, 48)], rtol=1e-12)


def test_drop_last_leaves_out_other_rows_every_epoch():
    x, y = samples(10)
    _, t = make(lr=0.0)
    losses_ = t.fit(x, y, epochs=5, batch_size=8, drop_last=True, verbose=0)["loss"]
    assert len(set(losses_)) > 1


def test_every_row_is_taken_once_an_epoch():
    rows = 37
    x, y = np.eye(rows, dtype=np.float32), np.zeros(rows, int)
    model = nn.Sequential(nn.Dense(rows, 2, bias=False, init="zeros"))
    t = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=1.0))
    t.fit(x, y, batch_size=1, verbose=0)
    assert np.array_equal(model.layers[0].weight.data[:, 0], np.full(rows, 0.5))


def test_seeds():
    x, y = samples(50)
    results = {}
    for name, made, given in (("0", 0, None), ("7", 7, None), ("fit 7", 0, 7), ("both", 3, np.int64(7))):
        _, t = make(seed=made)
        t.fit(x, y, epochs=2, batch_size=8, seed=given, verbose=0)
        results[name] = bits(t)
    assert results["7"] == results["fit 7"] == results["both"] != results["0"]
    t.fit(x, y, seed=7, verbose=0)  # the same again is no contradiction
    before = bits(t)
    with pytest.raises(ValueError, match="^seed: expected none or 7 once steps have run, got 8"):
        t.fit(x, y, seed=8, verbose=0)
    assert bits(t) == before


def test_without_shuffle_no_seed_matters():
    x, y = samples(30)
    _, a = make(seed=1)
    _, b = make(seed=2)
    for t in (a, b):
        t.fit(x, y, epochs=2, batch_size=7, shuffle=False, verbose=0)
    assert bits(a) == bits(b)


def test_history():
    x, y = samples(50)
    _, t = make()
    history = t.fit(x, y, epochs=3, batch_size=10, validation_data=(x[:20], y[:20]), verbose=0)
    assert set(history) == {"loss", "accuracy", "seconds", "val_loss", "val_accuracy"} and history.history is history
    assert all(len(v) == 3 and all(type(n) is float for n in v) for v in history.values())
    last = t.evaluate(x[:20], y[:20])
    assert (history["val_loss"][-1], history["val_accuracy"][-1]) == (last["loss"], last["accuracy"])
    assert history["loss"][0] > history["loss"][2]
    assert t.fit(x, y, epochs=0, verbose=0) == {}


def test_validation_changes_nothing():
    x, y = samples(50)
    _, a = make()
    _, b = make()
    a.fit(x, y, epochs=2, verbose=0)
    b.fit(x, y, epochs=2, validation_data=[x[:9], np.eye(3)[y[:9]]], verbose=0)
    assert bits(a) == bits(b)


def test_learning():
    x, _ = samples(200)
    y = (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)
    _, t = make((8, 32, 3), lr=0.02)
    t.fit(x, y, epochs=60, batch_size=20, verbose=0)
    assert t.evaluate(x, y)["accuracy"] > 0.97


def test_a_schedule_sees_every_step_once():
    x, y = samples(50)
    _, a = make(optimizer=optim.SGD, lr=lambda t: 0.5 / (1 + t))
    _, b = make(optimizer=optim.SGD, lr=1.0)
    a.fit(x, y, epochs=3, batch_size=16, shuffle=False, verbose=0)
    for step in range(12):
        b.optimizer.param_groups[0]["lr"] = 0.5 / (1 + step)
        begin = step % 4 * 16
        b.step(x[begin : begin + 16], y[begin : begin + 16])
    assert bits(a) == bits(b)


def test_groups_in_training():
    x, y = samples(30)
    results = []
    for backend in BACKENDS:
        fastnn.manual_seed(4)
        model = nn.Sequential(nn.Dense(8, 6, "tanh"), nn.Dense(6, 3))
        ps = model.parameters()
        groups = [{"params": ps[:1], "lr": 0.0}, {"params": {"b": ps[1]}, "momentum": 0.9}, {"params": ps[2:], "weight_decay": 0.1}]
        t = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(groups, lr=0.1), backend=backend)
        before = ps[0].data.copy()
        t.fit(x, y, epochs=2, batch_size=8, verbose=0)
        assert (ps[0].data == before).all()
        results.append([p.data.copy() for p in ps])
    assert all(np.abs(a - b).max() < 1e-5 for a, b in zip(*results))


def test_an_optimizer_state_round_trip_in_training():
    x, y = samples(30)
    _, a = make()
    a.fit(x, y, epochs=2, verbose=0)
    b_model, b = make()
    b_model.load_state_dict(a.model.state_dict())
    b.optimizer.load_state_dict(a.optimizer.state_dict())
    for t in (a, b):
        for _ in range(3):
            t.step(x, y)
    assert bits(a) == bits(b)


def test_frozen_parameters_stay():
    x, y = samples(30)
    for chosen in (slice(0, 2), slice(2, 4), slice(1, 2)):
        model, _ = make()
        before = model.state_dict()
        t = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()[chosen]))
        t.fit(x, y, verbose=0)
        changed = [(model.state_dict()[k] != v).any() for k, v in before.items()]
        assert changed == [i in range(4)[chosen] for i in range(4)]


@pytest.mark.parametrize("activation", ["identity", "sigmoid", "tanh", "relu", "leaky_relu"])
@pytest.mark.parametrize("widths", [(1, 3, 2), (3, 10, 3), (33, 100, 10), (100, 33, 17, 3)])
def test_a_whole_training_has_one_result(team, activation, widths):
    """On any instruction set with FMA, by any team: shuffled, validated, the batch not dividing the rows."""
    x, y = samples(61, widths[0], widths[-1])
    found = {}
    isas = [name for name in fastnn.available_isas() if name != "generic"]
    before = fastnn.get_isa()
    for threads, isa in [(1, name) for name in isas] + [(n, before) for n in (2, 3, 5)]:
        model, t = make(widths, activation, seed=3)
        try:
            fastnn.use_isa(isa)
            with team(threads):
                history = t.fit(x, y, epochs=2, batch_size=14, validation_data=(x, y), verbose=0)
                predicted = model.predict_proba(x).tobytes()
        finally:
            fastnn.use_isa(before)
        del history["seconds"]
        found[threads, isa] = [history, bits(t), predicted]
    for names in ([before], isas):  # generic kernels agree among themselves
        group = {key: value for key, value in found.items() if key[1] in names}
        assert [key for key, value in group.items() if value != next(iter(group.values()))] == []


def test_the_generic_kernels_and_the_reference_are_near():
    x, y = samples(61)
    results, before = [], fastnn.get_isa()
    for backend, isa in (("native", before), ("native", "generic"), ("reference", before)):
        _, t = make(optimizer=optim.SGD, lr=0.1, momentum=0.9, backend=backend)
        try:
            fastnn.use_isa(isa)
            history = t.fit(x, y, epochs=3, batch_size=14, validation_data=(x, y), verbose=0)
        finally:
            fastnn.use_isa(before)
        results.append((history, [p.data.copy() for p in t.model.parameters()]))
    for history, params in results[1:]:
        assert all(np.abs(a - b).max() < 1e-5 for a, b in zip(params, results[0][1]))
        assert all(np.allclose(history[k], results[0][0][k], atol=1e-5) for k in history if k != "seconds")


def test_two_schedules_of_a_large_model():
    """More weights than the plan by rows is for: chosen, trained, and the same bits as by rows."""
    x, y = samples(20, 1100, 3)
    results = []
    for schedule in (None, "rows"):
        model, t = make((1100, 1000, 3))
        plan = t.plan(10, schedule=schedule)
        assert plan.schedule == (schedule or "layers")
        if schedule:
            t._training = ((10, "labels", 0, False), NativeExecutor(plan))
        t.fit(x, y, batch_size=10, verbose=0)
        results.append(bits(t))
    assert results[0] == results[1]
