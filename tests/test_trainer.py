"""fastnn.trainer, callbacks and progress: steps, epochs, seeds, validation, interruptions, concurrency, refusals."""

import _thread
import contextlib
import importlib
import io
import itertools
import re
import signal
import sys
import threading
import time
import types
import warnings

import numpy as np
import pytest

import fastnn
from fastnn import _native, losses, nn, optim, regularizers
from fastnn.executors import NativeExecutor
from fastnn.training.callbacks import Callback
from fastnn.training.progress import _layout

BACKENDS = ["native", "reference"]


def make(widths=(8, 6, 3), activation="relu", optimizer=optim.Adam, seed=0, backend="native", **settings):
    fastnn.manual_seed(4)
    layers = [nn.Dense(a, b, activation=activation) for a, b in zip(widths[:-2], widths[1:-1])]
    model = nn.Sequential(*layers, nn.Dense(*widths[-2:]))
    settings.setdefault("lr", 0.01)
    return model, fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optimizer(model.parameters(), **settings), seed, backend)


def samples(rows=50, features=8, classes=3):
    rng = np.random.default_rng(11)
    return rng.normal(size=(rows, features)).astype(np.float32), rng.integers(0, classes, rows)


def bits(trainer):
    return [p.data.tobytes() for p in trainer.model.parameters()], [s.tobytes() for _, ss, _ in trainer.optimizer.update_tensors() for s in ss]


class Log(Callback):
    """Notes what is called."""

    def __init__(self):
        self.calls = []

    def on_train_begin(self):
        self.calls.append("train begin")

    def on_epoch_begin(self, epoch):
        self.calls.append(f"epoch {epoch} begin")

    def on_step_end(self, step, logs):
        self.calls.append((step, logs["loss"]))

    def on_epoch_end(self, epoch, logs):
        self.calls.append((f"epoch {epoch} end", logs))

    def on_train_end(self):
        self.calls.append("train end")


# --- step ---


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


# --- fit ---


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


# --- the same bits ---


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


# --- callbacks ---


def test_the_order_of_calls():
    x, y = samples(50)
    _, t = make()
    log = Log()
    history = t.fit(x, y, epochs=2, batch_size=25, validation_data=(x, y), callbacks=[log], verbose=0)
    calls = [c if isinstance(c, str) else c[0] for c in log.calls]
    assert calls == [
        "train begin", "epoch 0 begin", 1, 2, "epoch 0 end", "epoch 1 begin", 3, 4, "epoch 1 end", "train end",
    ]  # fmt: skip
    ends = [c[1] for c in log.calls if isinstance(c, tuple) and isinstance(c[0], str)]
    assert [e["val_loss"] for e in ends] == history["val_loss"] and set(ends[0]) == set(history)
    assert log.trainer is t
    t.fit(x, y, callbacks=[log], verbose=0)
    assert "epoch 2 begin" in log.calls


def test_watching_steps_changes_no_bit():
    x, y = samples(50)
    for shuffle in (True, False):
        _, a = make()
        _, b = make()
        ha = a.fit(x, y, epochs=2, batch_size=16, shuffle=shuffle, callbacks=[Log()], verbose=0)
        hb = b.fit(x, y, epochs=2, batch_size=16, shuffle=shuffle, verbose=0)
        assert bits(a) == bits(b) and np.allclose(ha["loss"], hb["loss"], rtol=1e-14) and ha["accuracy"] == hb["accuracy"]


def test_stopping():
    class Stop(Callback):
        def on_epoch_end(self, epoch, logs):
            self.trainer.stop_training = epoch == 1

    x, y = samples(50)
    _, t = make()
    assert len(t.fit(x, y, epochs=100, callbacks=[Stop()], verbose=0)["loss"]) == 2
    assert len(t.fit(x, y, epochs=3, verbose=0)["loss"]) == 3  # it is no state


def test_a_callbacks_logs_are_its_own():
    class Vandal(Callback):
        def on_epoch_end(self, epoch, logs):
            logs.clear()

    x, y = samples(50)
    log = Log()
    _, t = make()
    assert len(t.fit(x, y, callbacks=[Vandal(), log], verbose=0)["loss"]) == 1
    assert "loss" in log.calls[-2][1]


def test_a_callback_that_raises_leaves_the_trainer_usable():
    class Bad(Callback):
        def on_step_end(self, step, logs):
            raise KeyError("mine")

    x, y = samples(50)
    _, a = make()
    with pytest.raises(KeyError, match="mine"):
        a.fit(x, y, batch_size=10, callbacks=[Bad()], verbose=0)
    assert a.steps_done == 1 and a.epochs_done == 0 and a.optimizer.state_dict()["groups"][0]["steps"] == 1
    a.fit(x, y, verbose=0)


def test_rates_set_by_a_callback():
    class Rate(Callback):
        def on_step_end(self, step, logs):
            self.trainer.optimizer.param_groups[0]["lr"] = 0.1 / step

    x, y = samples(40)
    _, a = make(optimizer=optim.SGD, lr=0.1)
    _, b = make(optimizer=optim.SGD, lr=lambda t: 0.1 / max(t, 1))
    a.fit(x, y, batch_size=10, callbacks=[Rate()], verbose=0)
    b.fit(x, y, batch_size=10, verbose=0)
    assert bits(a) == bits(b)


# --- what it shows ---


def test_verbose(capsys):
    x, y = samples(50)
    _, t = make()
    t.fit(x, y, epochs=2, batch_size=16, validation_data=(x, y), verbose=0)
    assert capsys.readouterr() == ("", "")
    t.fit(x, y, epochs=2, batch_size=16, validation_data=(x, y), verbose=2)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == "" and len(lines) == 2 and lines[0].startswith("epoch 1/2: loss ") and lines[1].startswith("epoch 2/2: ")
    assert all(word in lines[0] for word in ("accuracy", "val_loss", "val_accuracy", "samples/s"))
    for verbose in (1, True):
        t.fit(x, y, epochs=2, batch_size=16, validation_data=(x, y), verbose=verbose)
        out, err = capsys.readouterr()
        assert out == "" and "epoch 2/2" in err and "100/100" in err and "val_accuracy" in err.replace("\r", "\n").splitlines()[-1]


def shown(epochs=2, rows=50):
    """What a training with a progress bar leaves behind, and its history."""
    x, y = samples(rows)
    model, t = make()
    history = t.fit(x, y, epochs=epochs, batch_size=16, validation_data=(x, y))
    assert len(history["loss"]) == epochs and t.steps_done == epochs * -(-rows // 16)


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Broken(io.StringIO):
    """A stream that fails from its n-th use on."""

    def __init__(self, good):
        super().__init__()
        self.good = good

    def write(self, text):
        self.good -= 1
        if self.good < 0:
            raise OSError("nobody reads this")
        return super().write(text)


@pytest.mark.parametrize("good", [0, 1, 3])
def test_no_place_for_a_bar(monkeypatch, good):
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed, Broken(good), object()):
        monkeypatch.setattr(sys, "stderr", stream)
        shown()
    monkeypatch.setattr(sys, "stdout", None)
    x, y = samples(20)
    make()[1].fit(x, y, verbose=2)


def test_a_stream_that_closes_while_a_model_trains(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)

    class Close(Callback):
        def on_epoch_begin(self, epoch):
            if epoch:
                stream.close()

    x, y = samples(50)
    assert len(make()[1].fit(x, y, epochs=3, callbacks=[Close()])["loss"]) == 3


@pytest.mark.parametrize("widgets", ["none", "broken"])
def test_notebooks_without_widgets(monkeypatch, widgets, capsys):
    """tqdm.auto may warn and give a bar of text, or a class that cannot be made."""
    import tqdm.auto

    class Unmade(tqdm.std.tqdm):
        def __init__(self, *args, **kwargs):
            self.disable = True
            raise ImportError("IProgress not found. Please update jupyter and ipywidgets.")

    if widgets == "broken":
        monkeypatch.setattr(tqdm.auto, "tqdm", Unmade)
    else:
        monkeypatch.delitem(sys.modules, "tqdm.auto")
        monkeypatch.delitem(sys.modules, "tqdm.autonotebook")
        monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", types.ModuleType("ipykernel.zmqshell"))
        shell = type("ZMQInteractiveShell", (), {})()
        monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell, version_info=(8,)))
        monkeypatch.setattr(tqdm.notebook if hasattr(tqdm, "notebook") else importlib.import_module("tqdm.notebook"), "IProgress", None)
    shown()
    assert "epoch 2/2" in capsys.readouterr().err


def test_a_log_gets_few_states_of_the_bar(monkeypatch):
    """A stream that is no terminal keeps them all."""
    for stream, most in ((io.StringIO(), 3), (Terminal(), 1000)):
        monkeypatch.setattr(sys, "stderr", stream)
        shown(epochs=100)
        states = stream.getvalue().count("epoch ")
        assert 1 <= states <= most and "epoch 100/100" in stream.getvalue()


@pytest.mark.parametrize("columns, wanted, missing", [
    (200, ["100%|", "loss 0.5", "accuracy 0.25", "val_loss 0.75", "val_accuracy 0.125", "503/1.20k", "samples/s"], []),
    (110, ["100%|", "accuracy 0.25", "val_loss 0.75", "val_accuracy 0.125"], ["samples/s"]),
    (80, ["loss 0.5", "val_loss 0.75", "100%|"], ["accuracy"]),
    (50, ["loss 0.5", "val_loss 0.75"], ["|"]),
    (30, ["loss 0.5"], ["val"]),
    (18, ["100%"], ["loss"]),
    (None, ["val_accuracy 0.125", "503/1.20k"], []),
])
def test_bars_of_any_width(columns, wanted, missing):
    from tqdm.std import tqdm

    logs = {"loss": 0.5, "accuracy": 0.25, "val_loss": 0.75, "val_accuracy": 0.125, "seconds": 1.0}
    head = "epoch 10/20: "
    form = _layout(columns, len(head), logs).replace("{percentage:3.0f}", "100")
    line = tqdm.format_meter(503, 1200, 12.3, ncols=columns, prefix=head, unit=" samples", unit_scale=True, bar_format=form)
    assert all(word in line for word in wanted) and not any(word in line for word in missing), line
    assert columns is None or len(line) <= columns
    bar = re.search(r"\|(.*?)\|", line)
    assert bar is None or len(bar[1]) >= 10


def test_a_history_is_short_where_it_is_shown():
    x, y = samples(50)
    _, t = make()
    history = t.fit(x, y, epochs=500, validation_data=(x, y), verbose=0)
    assert len(repr(history)) < 200 and repr(history).startswith("<History of 500 epochs, ")
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert f"{name} {history[name][0]:.4g} -> {history[name][-1]:.4g}" in repr(history)
    assert repr(t.fit(x, y, epochs=0, verbose=0)) == "<History of 0 epochs>"
    assert repr(t.fit(x, y, verbose=0)).startswith("<History of 1 epoch, ")


def test_the_bar_counts_every_row(monkeypatch):
    import tqdm.auto

    counted = []
    real = tqdm.auto.tqdm.update
    monkeypatch.setattr(tqdm.auto.tqdm, "update", lambda self, n=1: (counted.append(n), real(self, n))[1])
    x, y = samples(50)
    _, t = make()
    t.fit(x, y, epochs=2, batch_size=16, callbacks=[Log()], verbose=1)
    assert sum(counted) == 100
    t.fit(x, y, epochs=2, batch_size=16, drop_last=True, verbose=1)
    assert sum(counted) == 100 + 96


# --- evaluate ---


@pytest.mark.parametrize("backend", BACKENDS)
def test_evaluate(backend):
    x, y = samples(700)
    model, t = make(backend=backend)
    z = model.predict(x).astype(np.float64)
    shifted = z - z.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    before = bits(t)
    for batch_size in (None, 1, 33, 10**6):
        found = t.evaluate(x, y, batch_size=batch_size)
        assert found["loss"] == pytest.approx(-log_p[range(700), y].mean(), abs=1e-6)
        assert found["accuracy"] == (z.argmax(axis=1) == y).mean()
    assert t.evaluate(x, np.eye(3)[y])["loss"] == pytest.approx(found["loss"], abs=1e-12)
    assert bits(t) == before and t.steps_done == 0


def test_evaluate_depends_on_nothing_but_the_data(team):
    x, y = samples(300)
    _, t = make()
    found = t.evaluate(x, y)
    t.step(x[:1], y[:1] * 0)
    assert t.evaluate(x, y) != found
    with team(3):
        _, again = make()
        assert again.evaluate(x, y) == found


@pytest.mark.parametrize("batch_size, error", [(0, ValueError), (-3, ValueError), (2.0, TypeError)])
def test_evaluate_refuses(batch_size, error):
    x, y = samples()
    _, t = make()
    with pytest.raises(error, match="^batch_size: expected an integer"):
        t.evaluate(x, y, batch_size=batch_size)


# --- value_and_grad ---


def test_value_and_grad():
    x, y = samples(20)
    model, t = make()
    loss, grads = fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x, y)
    assert type(loss) is float and loss == pytest.approx(t.evaluate(x, y)["loss"], rel=1e-12)
    assert [g.shape for g in grads] == [p.shape for p in model.parameters()] and all(g.dtype == np.float32 for g in grads)
    # one step of plain SGD is the gradient
    plain, other = make(optimizer=optim.SGD, lr=1.0)
    other.step(x, y)
    before, _ = make()
    differences = [b.data - a.data for a, b in zip(plain.parameters(), before.parameters())]
    assert all(np.abs(d - g).max() < 1e-6 for d, g in zip(differences, grads))


def test_gradients_are_the_callers():
    x, y = samples(20)
    model, _ = make()
    first = fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x, y)[1]
    kept = [g.copy() for g in first]
    for g in fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x[:3], y[:3])[1]:
        g[...] = np.nan
    assert all((a == b).all() for a, b in zip(first, kept))
    again = fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x, y)[1]
    assert all((a == b).all() for a, b in zip(again, kept))


def test_an_optimizer_of_ones_own():
    x, y = samples(40)
    model, t = make()
    opt = optim.Adam(model.parameters(), lr=0.01)
    for _ in range(5):
        t.step(x, y)
    twin, _ = make()
    opt = optim.Adam(twin.parameters(), lr=0.01)
    for _ in range(5):
        opt.step(fastnn.value_and_grad(twin, losses.SoftmaxCrossEntropy(), x, y)[1])
    assert [p.data.tobytes() for p in twin.parameters()] == [p.data.tobytes() for p in model.parameters()]


def test_value_and_grad_from_many_threads():
    model, _ = make((8, 64, 3))
    x, y = samples(64)
    expected = [fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x[:n], y[:n]) for n in (1, 20, 64)]
    wrong = []

    def work():
        for i in range(40):
            loss, grads = fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x[: (1, 20, 64)[i % 3]], y[: (1, 20, 64)[i % 3]])
            if loss != expected[i % 3][0] or any((a != b).any() for a, b in zip(grads, expected[i % 3][1])):
                wrong.append(i)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_value_and_grad_refuses():
    x, y = samples(5)
    model, _ = make()
    with pytest.raises(TypeError, match="^model: expected a fastnn.nn.Sequential, got Dense"):
        fastnn.value_and_grad(nn.Dense(8, 3), losses.SoftmaxCrossEntropy(), x, y)
    with pytest.raises(ValueError, match="^x: expected 8 features a row"):
        fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x[:, 1:], y)
    with pytest.raises(ValueError, match="^y: expected labels from 0 to 2, got 9 in row 1"):
        fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x, [0, 9, 0, 0, 0])


# --- refusals ---


@pytest.mark.parametrize(
    "settings, error, message",
    [
        ({"epochs": -1}, ValueError, "epochs: expected an integer >= 0, got -1"),
        ({"epochs": 1.0}, TypeError, "epochs: expected an integer, got 1.0"),
        ({"epochs": None}, TypeError, "epochs: expected an integer, got None"),
        ({"batch_size": 0}, ValueError, "batch_size: expected an integer >= 1, got 0"),
        ({"batch_size": -5}, ValueError, "batch_size: expected an integer >= 1, got -5"),
        ({"batch_size": "32"}, TypeError, "batch_size: expected an integer, got '32'"),
        ({"batch_size": 51, "drop_last": True}, ValueError, "batch_size: expected at most 50 rows with drop_last, got 51"),
        ({"seed": -1}, ValueError, "seed: expected an integer from 0"),
        ({"seed": 0.5}, TypeError, "seed: expected an integer, got 0.5"),
        ({"verbose": 3}, ValueError, "verbose: expected 0 .*, got 3"),
        ({"verbose": "1"}, ValueError, "verbose: expected 0 .*, got '1'"),
        ({"verbose": None}, ValueError, "verbose: expected 0 .*, got None"),
        ({"callbacks": [print]}, TypeError, r"callbacks\[0\]: expected a fastnn.callbacks.Callback, got builtin"),
        ({"callbacks": [Log]}, TypeError, r"callbacks\[0\]: expected a fastnn.callbacks.Callback, got type"),
        ({"callbacks": Callback()}, TypeError, "callbacks: expected a list, got a single Callback"),
        ({"validation_data": 3}, ValueError, r"validation_data: expected a pair \(X, y\)"),
        ({"validation_data": (1, 2, 3, 4)}, ValueError, "validation_data: expected a pair"),
        ({"validation_data": (np.zeros((2, 7)), [0, 0])}, ValueError, r"validation_data\[0\]: expected 8 features"),
        ({"validation_data": (np.zeros((2, 8)), [0, 3])}, ValueError, r"validation_data\[1\]: expected labels from 0 to 2, got 3 in row 1"),
        ({"validation_data": (np.full((2, 8), np.nan), [0, 1]), "check_finite": True}, ValueError, r"validation_data\[0\]: expected finite"),
    ],
)
def test_arguments_of_fit_that_are_refused(settings, error, message):
    x, y = samples(50)
    _, t = make()
    before = bits(t)
    with pytest.raises(error, match=f"^{message}"):
        t.fit(x, y, **{"verbose": 0, **settings})
    assert bits(t) == before and t.steps_done == t.epochs_done == 0 and t.seed == 0
    t.fit(x, y, verbose=0)  # and it is free again


@pytest.mark.parametrize("where", [0, 17, 49])
@pytest.mark.parametrize("label", [3, -1, 10**12])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_bad_label_anywhere_changes_nothing(where, label, backend):
    x, y = samples(50)
    y[where] = label
    _, t = make(backend=backend)
    before = bits(t)
    with pytest.raises(ValueError, match=f"^y: expected labels from 0 to 2, got {label} in row {where}$"):
        t.fit(x, y, batch_size=10, verbose=0)
    assert bits(t) == before and t.steps_done == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("backend", BACKENDS)
def test_check_finite(value, dtype, backend):
    x, y = samples(50)
    x = x.astype(dtype)
    x[31, 5] = value
    _, t = make(backend=backend)
    before = bits(t)
    with pytest.raises(ValueError, match="^X: expected finite values, got NaN or infinity in row 31"):
        t.fit(x, y, batch_size=10, check_finite=True, verbose=0)
    targets = np.eye(3)[y]
    targets[2, 1] = value
    with pytest.raises(ValueError, match="^y: expected finite values, got NaN or infinity in row 2"):
        t.fit(np.zeros((50, 8)), targets, check_finite=True, verbose=0)
    assert bits(t) == before and t.steps_done == 0
    if np.isnan(value):
        with pytest.warns(RuntimeWarning, match="^the loss became nan in epoch 1, step [1-5]: row 31 of the data is not finite; check_finite=True"):
            history = t.fit(x, y, batch_size=10, epochs=2, verbose=0)
        assert np.isnan(history["loss"]).all() and np.isnan(t.model.parameters()[0].data).any()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stepwise", [False, True])
def test_one_warning_where_the_loss_is_lost(backend, stepwise):
    x, y = samples(50)
    x[31, 5] = np.nan
    _, t = make(backend=backend)
    t.fit(x[:30], y[:30], epochs=2, batch_size=10, verbose=0)  # epochs are counted over the trainer's life
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        t.fit(x, y, batch_size=10, epochs=3, shuffle=False, verbose=0, callbacks=[Log()] if stepwise else None)
    assert [(w.category, w.filename) for w in seen] == [(RuntimeWarning, __file__)]
    assert str(seen[0].message).startswith("the loss became nan in epoch 3, step 4: row 31 of the data is not finite; ")


def test_a_finite_loss_gives_no_warning():
    x, y = samples(50)
    _, t = make()
    t.fit(x, y, batch_size=10, epochs=3, verbose=0)  # warnings are errors


class Losses(Callback):
    def __init__(self):
        self.seen = []

    def on_step_end(self, step, logs):
        self.seen.append(logs["loss"])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["mean", "sum", "custom"])
def test_skipped_steps_are_not_in_the_history(backend, kind):
    """Loss and accuracy of an epoch are of the rows that were trained on; a last, smaller batch among those left out."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 6)).astype(np.float32), rng.integers(0, 3, 60)
    spoilt = x.copy()
    spoilt[17, 2], spoilt[59, 0] = np.nan, np.inf  # batch 3 of 8, and the last one, of 4 rows
    good = np.setdiff1d(np.arange(60), [*range(16, 24), *range(56, 60)])
    found = []
    for data, rows in ((spoilt, np.arange(60)), (x, good)):
        fastnn.manual_seed(1)
        model = nn.Sequential(nn.Dense(6, 5, activation="tanh"), nn.Dense(5, 3))
        opt = optim.Adam(model.parameters(), skip_nonfinite=True)
        square = losses.Custom(lambda z, t: (float(((z - t) ** 2).mean()), 2 * (z - t) / z.size))
        loss = square if kind == "custom" else losses.SoftmaxCrossEntropy(reduction=kind)
        trainer = fastnn.Trainer(model, loss, opt, backend=backend, penalty=regularizers.L2(0.01))
        log = Losses()
        target = np.eye(3, dtype=np.float32)[y] if kind == "custom" else y
        one = trainer.fit(data[rows], target[rows], epochs=1, batch_size=8, shuffle=False, verbose=0)
        two = trainer.fit(data[rows], target[rows], epochs=1, batch_size=8, shuffle=False, verbose=0, callbacks=[log])
        found.append([h[k] for h in (one, two) for k in h if k != "seconds"])
        assert sum(np.isnan(log.seen)) == (2 if data is spoilt else 0)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


def test_an_epoch_of_skipped_steps_only():
    _, y = samples(20)
    model, _ = make()
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), skip_nonfinite=True))
    with pytest.warns(RuntimeWarning, match="^no step of epoch 1 was done, since none had finite gradients; "):
        history = trainer.fit(np.full((20, 8), np.nan), y, epochs=2, batch_size=10, verbose=0)
    assert np.isnan([*history["loss"], *history["accuracy"]]).all() and len(history["loss"]) == 2


def test_check_finite_sees_what_float32_cannot_hold():
    x, y = samples(50)
    x = x.astype(np.float64)
    x[31, 5] = 1e300
    _, t = make()
    before = bits(t)
    with pytest.raises(ValueError, match="^X: expected finite values, got one beyond float32 in row 31"):
        t.fit(x, y, batch_size=10, check_finite=True, verbose=0)
    assert bits(t) == before


def test_check_finite_changes_no_bit():
    x, y = samples(50)
    _, a = make()
    _, b = make()
    for shuffle in (True, False):
        a.fit(x, y, batch_size=16, shuffle=shuffle, check_finite=True, verbose=0)
        b.fit(x, y, batch_size=16, shuffle=shuffle, verbose=0)
    assert bits(a) == bits(b)


def test_what_a_trainer_refuses():
    model, _ = make()
    other, _ = make()
    loss, opt = losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters())
    for args, error, message in (
        ((nn.Dense(2, 2), loss, opt), TypeError, "model: expected a fastnn.nn.Sequential, got Dense"),
        ((nn.Sequential, loss, opt), TypeError, "model: expected"),
        ((model, None, opt), TypeError, "loss: expected"),
        ((model, loss, None), TypeError, "optimizer: expected an optimizer of fastnn.optim, got NoneType"),
        ((model, loss, optim.Adam), TypeError, r"optimizer: .*got type; write optim.Adam\(model.parameters\(\)\)"),
        ((model, loss, optim.SGD), TypeError, "optimizer: expected"),
        ((model, loss, optim.SGD(other.parameters())), ValueError, r"optimizer: expected parameters of the model, got one that it lacks: params\[0\]"),
        ((model, loss, optim.SGD([*model.parameters(), np.zeros(3, np.float32)])), ValueError, r"params\[4\]"),
        ((model, loss, optim.SGD([model.parameters()[0].data[:2]])), ValueError, r"params\[0\], shape \(2, 6\)"),
        ((model, loss, optim.SGD([model.parameters()[0].data.reshape(-1)])), ValueError, r"params\[0\]"),
        ((model, loss, opt, -1), ValueError, "seed: expected"),
        ((model, loss, opt, "0"), TypeError, "seed: expected"),
        ((model, loss, opt, 0, "gpu"), ValueError, "backend: expected 'native' or 'reference', got 'gpu'"),
    ):
        with pytest.raises(error, match=message):
            fastnn.Trainer(*args)


def test_arrays_of_the_model_are_its_parameters():
    x, y = samples(20)
    _, a = make(optimizer=optim.SGD)
    model, _ = make()
    b = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD([p.data for p in model.parameters()], lr=0.01))
    a.step(x, y)
    b.step(x, y)
    assert bits(a)[0] == bits(b)[0]


# --- interruptions and concurrency ---


def replay(x, y, steps, batch_size, **settings):
    """The trainer after that many steps of `fit`, done one by one."""
    _, t = make(**settings)
    per_epoch = -(-len(x) // batch_size)
    for step in range(steps):
        epoch, at = divmod(step, per_epoch)
        if at == 0:
            order = _native.permutation(len(x), 0, epoch)
        rows = order[at * batch_size : (at + 1) * batch_size]
        t.step(x[rows], y[rows])
    return t


class Alarm(Callback):
    """Sets the clock when the first epoch is over."""

    def __init__(self, seconds):
        self.seconds = seconds

    def on_epoch_end(self, epoch, logs):
        if epoch == 0:
            signal.setitimer(signal.ITIMER_REAL, self.seconds)


@contextlib.contextmanager
def ctrl_c_by_alarm():
    def ring(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("seconds", [0.03, 0.071, 0.12])
@pytest.mark.parametrize("verbose", [0, 1])
def test_ctrl_c_comes_between_whole_steps(seconds, verbose):
    """What was done is counted, no step is half done, and training goes on from there."""
    widths, batch_size = (8, 500, 300, 3), 100
    x, y = samples(3000)
    _, t = make(widths)
    with pytest.raises(KeyboardInterrupt), ctrl_c_by_alarm():
        t.fit(x, y, epochs=10**6, batch_size=batch_size, callbacks=[Alarm(seconds)], verbose=verbose)
    assert t.steps_done == t.optimizer.state_dict()["groups"][0]["steps"] >= 30
    assert bits(t) == bits(replay(x, y, t.steps_done, batch_size, widths=widths))
    t.fit(x[:200], y[:200], batch_size=batch_size, verbose=0)


def test_ctrl_c_in_a_single_step():
    widths = (8, 1200, 1200, 3)
    x, y = samples(3000)
    _, t = make(widths)
    t.step(x, y)
    with pytest.raises(KeyboardInterrupt), ctrl_c_by_alarm():
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        for _ in range(10**6):
            t.step(x, y)
    _, again = make(widths)
    for _ in range(t.steps_done):
        again.step(x, y)
    assert t.optimizer.state_dict()["groups"][0]["steps"] == t.steps_done
    assert bits(again) == bits(t)


def test_ctrl_c_from_another_thread():
    x, y = samples(3000)
    _, t = make()
    timer = threading.Timer(0.05, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        t.fit(x, y, epochs=10**6, batch_size=10, verbose=0)
    timer.join()
    assert all(np.isfinite(p.data).all() for p in t.model.parameters())
    assert t.evaluate(x, y)["loss"] < 10


def test_a_second_call_is_refused_while_one_runs():
    x, y = samples(2000)
    model, t = make()
    started, go = threading.Event(), threading.Event()
    failures = []

    class Stop(Callback):
        def on_epoch_end(self, epoch, logs):
            started.set()
            self.trainer.stop_training = go.is_set()

    def work():
        try:
            t.fit(x, y, epochs=10**6, batch_size=10, callbacks=[Stop()], verbose=0)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert started.wait(30)
        for call in (lambda: t.step(x, y), lambda: t.fit(x, y, verbose=1), lambda: t.evaluate(x, y)):
            with pytest.raises(RuntimeError, match="^this optimizer, or a Trainer that has it, is in use"):
                call()
        assert model.predict(x).shape == (2000, 3)  # the model itself may be asked
        _, other = make()
        other.fit(x, y, verbose=0)
    finally:
        go.set()
        thread.join(60)
    assert not failures and not thread.is_alive()
    t.step(x, y)


def test_steps_of_two_threads_are_all_counted():
    """Of two calls at once one is refused, whichever way the other took; those that are not happen whole."""
    widths = (8, 400, 400, 3)
    x, y = samples(200)
    _, t = make(widths)
    refused, done = [], []

    def work(count):
        while len(done) < count:
            try:
                t.step(x, y)
                done.append(None)
            except RuntimeError as error:
                refused.append(str(error))
                time.sleep(1e-4)

    t.step(x, y)
    t.step(x, y)
    assert t._cached_step(x[:2, :1], y[:2]) is None and t._cached_step.__name__ == "cached_step"
    threads = [threading.Thread(target=work, args=(200,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        try:
            assert t.evaluate(x[:2], y[:2])["loss"] > 0
        except RuntimeError as error:
            refused.append(str(error))
        time.sleep(1e-4)
    for thread in threads:
        thread.join()
    assert refused and all(message.startswith("this optimizer, or a Trainer that has it, is in use") for message in refused)
    assert t.steps_done == t.optimizer.state_dict()["groups"][0]["steps"] == len(done) + 2
    _, again = make(widths)
    for _ in range(t.steps_done):
        again.step(x, y)
    assert bits(again) == bits(t)


def test_trainers_of_many_threads_do_not_meet(team):
    x, y = samples(200)
    _, expected = make((8, 40, 3))
    expected.fit(x, y, epochs=5, batch_size=16, verbose=0)
    trainers = [make((8, 40, 3))[1] for _ in range(6)]
    threads = [threading.Thread(target=t.fit, args=(x, y), kwargs={"epochs": 5, "batch_size": 16, "verbose": 0}) for t in trainers]
    with team(2):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(bits(t) == bits(expected) for t in trainers)


def test_targets_in_foreign_byte_order_step_after_step():
    """The short way into a step takes what the kernels read in place, and nothing else."""
    x, y = samples(20)
    for kind, loss, targets in (("f", losses.MeanSquaredError(), np.eye(3)[y]), ("i", losses.SoftmaxCrossEntropy(), y)):
        expected, t = (fastnn.Trainer(model, loss, optim.SGD(model.parameters(), lr=0.1)) for model, _ in (make(), make()))
        foreign = [targets.astype(f">{kind}4"), targets.astype(f">{kind}8")] + [targets.astype(np.longdouble)] * (kind == "f")
        for other in foreign:
            assert t.step(x, other) == expected.step(x, targets)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_loss_that_calls_its_trainer(backend):
    x, y = samples(20)
    calls = {
        "step": lambda t: t.step(x[:4], y[:4]),
        "fit": lambda t: t.fit(x[:4], y[:4], verbose=0),
        "evaluate": lambda t: t.evaluate(x, y),
    }
    for outer, inner in itertools.product(calls, calls):
        asked = []

        def squares(outputs, targets):
            if not asked:
                asked.append(True)
                calls[inner](t)
            return float((outputs**2).mean()), 2 * outputs / outputs.size

        model, _ = make()
        t = fastnn.Trainer(model, losses.Custom(squares), optim.SGD(model.parameters(), lr=0.1), backend=backend)
        before = [p.data.copy() for p in model.parameters()]
        with pytest.raises(RuntimeError, match="^this optimizer, or a Trainer that has it, is in use: expected a function"):
            calls[outer](t)
        assert all(np.array_equal(p.data, b) for p, b in zip(model.parameters(), before)) and t.steps_done == 0
        calls[outer](t)
        assert t.steps_done == (outer != "evaluate")


# --- arrays that are resized under a running fit ---


@pytest.mark.parametrize("which", ["X", "y", "rows", "weights", "validation"])
@pytest.mark.parametrize("when", ["on_step_end", "on_epoch_end"])
def test_an_array_that_a_callback_resizes(which, when):
    """Views do not keep their owner's memory: what is gone must not be read."""
    x, labels = np.random.default_rng(0).normal(size=(40000, 8)).astype(np.float32), np.arange(40000) % 3
    arrays = {"X": x, "y": labels, "rows": labels.astype(np.float32), "weights": np.ones(40000, np.float32), "validation": labels.copy()}
    loss, outputs = (losses.MeanSquaredError(), 1) if which == "rows" else (losses.SoftmaxCrossEntropy(), 3)
    y = arrays["rows"] if which == "rows" else labels
    model = nn.Sequential(nn.Dense(8, outputs))
    trainer = fastnn.Trainer(model, loss, optim.SGD(model.parameters(), lr=0.1))

    class Resize(Callback):
        pass

    setattr(Resize, when, lambda self, *more: arrays[which].resize((4,), refcheck=False))
    with pytest.raises(ValueError, match="expected the memory that it had, got an array that has been resized meanwhile"):
        trainer.fit(
            x[:], y, batch_size=1000, epochs=3, callbacks=[Resize()], verbose=0, sample_weight=arrays["weights"],
            validation_data=None if which == "rows" else (np.ones((40000, 8)), arrays["validation"]),
        )


# --- what it says of itself ---


def test_a_trainer_says_what_it_is():
    model, trainer = make()
    text = repr(trainer)
    for part in ("Sequential(2 layers, 75 parameters)", "loss=SoftmaxCrossEntropy()", "optimizer=Adam(4 parameters, lr=0.01", "seed=0",
                 "backend='native'", "0 steps and 0 epochs done", "in batches of 32"):
        assert part in text
    assert "clip_norm" not in text and "frozen" not in text
    trainer.fit(*samples(50), batch_size=10, epochs=2, verbose=0)
    trainer.clip_norm = 2.0
    model.freeze(0)
    trainer.step(*samples(7))
    text = repr(trainer)
    for part in ("11 steps and 2 epochs done", "in batches of 7", "clip_norm=2.0", "54 of them frozen"):
        assert part in text
    memory = float(text.split("memory at most ")[1].split()[0])
    assert abs(memory - trainer.plan(7).peak_bytes / 1e6) <= 0.005 * memory
    model.freeze()
    assert "memory at most none: optimizer: expected at least one parameter that is not frozen" in repr(trainer)
