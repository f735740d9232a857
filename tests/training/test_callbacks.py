"""fastnn.training.callbacks: early stopping, logs, ends; what they see, what they cost, and that they leave a trainer whole."""

import csv
import math

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, losses, nn, optim, schedules
from fastnn.training.callbacks.monitor import Monitor


def make(lr=0.01, seed=0, optimizer=optim.Adam, **settings):
    fastnn.manual_seed(4)
    model = nn.Sequential(nn.Dense(8, 6, activation="relu"), nn.BatchNorm(6), nn.Dropout(0.2), nn.Dense(6, 3))
    return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optimizer(model.parameters(), lr=lr, **settings), seed)


def samples(rows=50):
    rng = np.random.default_rng(11)
    return rng.normal(size=(rows, 8)).astype(np.float32), rng.integers(0, 3, rows)


def bits(trainer):
    model = trainer.model
    return [p.data.tobytes() for _, p in (*model.named_parameters(), *model.named_buffers())]


class Script(callbacks.Callback):
    """Puts a number of a script into every epoch."""

    def __init__(self, values, name="val_score"):
        self.values, self.name = values, name

    def extra_logs(self):
        return {"score": self.values[min(self.trainer.epochs_done, len(self.values) - 1)]}


def stopped_after(values, **settings):
    """After how many epochs training was ended, whose numbers were these."""
    x, y = samples(20)
    stop = callbacks.EarlyStopping("score", **{"mode": "min", "restore_best": False, **settings})
    trainer = make()
    epochs = len(trainer.fit(x, y, epochs=len(values), callbacks=[Script(values), stop], verbose=0)["loss"])
    assert (stop.stopped_epoch is None) == (epochs == len(values) and stop.stopped_epoch is None)
    return epochs, stop


# --- early stopping ---


@pytest.mark.parametrize("values, settings, epochs, best", [
    ([3, 2, 1, 2, 3, 4], {"patience": 2}, 5, 1),
    ([3, 2, 1, 2, 3, 4], {"patience": 3}, 6, 1),
    ([3, 2, 1, 1, 1, 0], {"patience": 2}, 5, 1),
    ([3, 2, 1, 2, 0, 2, 2, 2], {"patience": 2}, 7, 0),
    ([3, 2, 1], {"patience": 0}, 3, 1),
    ([1, 2, 3], {"patience": 0}, 2, 1),
    ([1, 2, 3, 2, 1], {"mode": "max", "patience": 2}, 5, 3),
    ([1.0, 0.95, 0.9, 0.85, 0.8], {"min_delta": 0.2, "patience": 3}, 4, 1.0),
    ([1.0, 0.95, 0.9, 0.75, 0.7], {"min_delta": 0.2, "patience": 5}, 5, 0.75),
    ([5, 4, 3, 2, 1], {"baseline": 2.5, "patience": 3}, 5, 1),
    ([5, 4, 4, 3.5, 3.4], {"baseline": 1, "patience": 3}, 3, 4),
    ([0, 3, 3, 3, 3, 3], {"start_from_epoch": 2, "patience": 2}, 5, 3),
    ([math.nan, 2, math.nan, math.nan], {"patience": 2}, 4, 2),
    ([math.inf, 3, 2, 1], {"patience": 1}, 4, 1),
])
def test_when_training_ends(values, settings, epochs, best):
    found, stop = stopped_after(values, **settings)
    assert (found, stop.best) == (epochs, best)
    if stop.stopped_epoch is not None:
        assert stop.stopped_epoch == epochs - 1


@pytest.mark.parametrize("name, better, worse", [
    ("loss", 1.0, 2.0), ("val_loss", 1.0, 2.0), ("accuracy", 2.0, 1.0), ("val_accuracy", 2.0, 1.0), ("val_f1", 2.0, 1.0),
    ("val_auc", 2.0, 1.0), ("r2", 2.0, 1.0), ("val_rmse", 1.0, 2.0), ("top_k_accuracy", 2.0, 1.0), ("my_accuracy", 2.0, 1.0),
    ("squared_error", 1.0, 2.0), ("brier_loss", 1.0, 2.0),
])
def test_which_way_is_better_follows_from_the_name(name, better, worse):
    m = Monitor(name)
    m.check([name])
    assert m.is_better(better, worse) and not m.is_better(worse, better) and not m.is_better(better, better)
    assert Monitor(name, "min").is_better(1.0, 2.0) and Monitor(name, "max").is_better(2.0, 1.0)


@pytest.mark.parametrize("kind", [optim.Adam, optim.ScheduleFreeAdamW])
def test_the_best_weights_come_back(kind):
    """Parameters, running statistics, averages: all that a prediction depends on."""
    x, y = samples(60)
    settings = {"ema": 0.9} if kind is optim.Adam else {}
    trainer = make(0.05, optimizer=kind, **settings)
    kept = {}

    def keep(epoch, logs):
        with trainer.optimizer.evaluating():
            kept[epoch] = trainer.model.predict(x), bits(trainer), [a.copy() for a in trainer.optimizer.weight_states()]

    stop = callbacks.EarlyStopping("val_loss", patience=2)
    log = callbacks.Lambda(on_epoch_end=keep)
    history = trainer.fit(x[:20], y[:20], epochs=50, validation_data=(x[20:], y[20:]), callbacks=[log, stop], verbose=0)
    assert stop.stopped_epoch is not None and stop.best_epoch == int(np.argmin(history["val_loss"])) == stop.stopped_epoch - 2
    predicted, weights, states = kept[stop.best_epoch]
    assert all(np.array_equal(a, b) for a, b in zip(states, trainer.optimizer.weight_states()))
    with trainer.optimizer.evaluating():
        assert np.array_equal(trainer.model.predict(x), predicted)
        assert bits(trainer) == weights
    assert trainer.evaluate(x[20:], y[20:])["loss"] == stop.best
    again = callbacks.EarlyStopping("val_loss", patience=2, restore_best=False)
    trainer.fit(x[:20], y[:20], epochs=5, validation_data=(x[20:], y[20:]), callbacks=[again], verbose=0)
    assert trainer.evaluate(x[20:], y[20:])["loss"] != again.best


def test_the_best_weights_come_back_after_ctrl_c():
    x, y = samples(60)
    trainer = make(0.05)

    def interrupt(epoch, logs):
        if epoch == 8:
            raise KeyboardInterrupt

    stop = callbacks.EarlyStopping("val_loss", patience=100)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(x[:20], y[:20], epochs=50, validation_data=(x[20:], y[20:]), verbose=0,
                    callbacks=[stop, callbacks.Lambda(on_epoch_end=interrupt)])
    assert trainer.evaluate(x[20:], y[20:])["loss"] == stop.best == min(trainer.history["val_loss"])
    assert len(trainer.history["loss"]) == trainer.epochs_done == 9 and trainer.history.broken_off is None


def test_an_instance_that_is_used_again_begins_anew():
    x, y = samples()
    stop = callbacks.EarlyStopping("loss", patience=1, min_delta=1e9)
    for _ in range(2):
        trainer = make()
        assert len(trainer.fit(x, y, epochs=9, callbacks=[stop], verbose=0)["loss"]) == 2
        assert stop.stopped_epoch == 1 and stop.best_epoch == 0


# --- names ---


@pytest.mark.parametrize("made, message", [
    (lambda: callbacks.EarlyStopping(), "monitor: expected one of loss, accuracy, seconds, which an epoch of this fit has, got 'val_loss'"),
    (lambda: callbacks.EarlyStopping("vall_oss"), "monitor: expected one of loss, accuracy, seconds, .* got 'vall_oss'"),
    (lambda: callbacks.Checkpoint("x", monitor="val_f1"), "monitor: expected one of .* got 'val_f1'"),
    (lambda: callbacks.Checkpoint("{val_loss}"), r"path: expected placeholders among accuracy, epoch, loss, seconds, got \{val_loss\}"),
    (lambda: callbacks.Checkpoint("{epoch.real}"), r"path: expected placeholders among .* got \{epoch.real\}"),
])
def test_what_an_epoch_does_not_have_is_refused_before_the_first_step(made, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y = samples()
    trainer, called = make(), []
    before = bits(trainer)
    with pytest.raises(ValueError, match=f"^{message}"):
        trainer.fit(x, y, callbacks=[callbacks.Lambda(on_train_begin=lambda: called.append(1)), made()], verbose=0)
    assert bits(trainer) == before and trainer.steps_done == 0 and not called and not list(tmp_path.iterdir())
    trainer.fit(x, y, verbose=0)


def test_a_name_that_does_not_say_which_way_is_better():
    x, y = samples()
    trainer = make()
    script = Script([1.0])
    script.extra_logs = lambda: {"gain": 1.0}
    with pytest.raises(ValueError, match="^mode: expected 'min' or 'max', since the name 'gain' does not say"):
        trainer.fit(x, y, callbacks=[script, callbacks.EarlyStopping("gain")], verbose=0)
    with pytest.raises(ValueError, match="^callbacks: expected another name than 'gain' for a number of Script"):
        trainer.fit(x, y, callbacks=[script, script], verbose=0)
    assert trainer.steps_done == 0
    trainer.fit(x, y, callbacks=[script, callbacks.EarlyStopping("gain", mode="max")], verbose=0)


@pytest.mark.parametrize("made, error, message", [
    (lambda: callbacks.EarlyStopping(3), TypeError, "monitor: expected the name"),
    (lambda: callbacks.EarlyStopping(mode="up"), ValueError, "mode: expected 'auto', 'min' or 'max', got 'up'"),
    (lambda: callbacks.EarlyStopping(patience=-1), ValueError, "patience: expected an integer >= 0"),
    (lambda: callbacks.EarlyStopping(patience=1.5), TypeError, "patience: expected an integer"),
    (lambda: callbacks.EarlyStopping(min_delta=-1.0), ValueError, "min_delta: expected a finite number >= 0"),
    (lambda: callbacks.EarlyStopping(baseline="x"), TypeError, "baseline: expected a number"),
    (lambda: callbacks.EarlyStopping(restore_best="yes"), TypeError, "restore_best: expected True or False"),
    (lambda: callbacks.Checkpoint(3), TypeError, "expected str, bytes or os.PathLike"),
    (lambda: callbacks.Checkpoint(""), TypeError, "path: expected a name"),
    (lambda: callbacks.Checkpoint("a{b"), ValueError, "path: expected a name, with placeholders such as {epoch}"),
    (lambda: callbacks.Checkpoint("a", every=0), ValueError, "every: expected at least 1 where there are no seconds"),
    (lambda: callbacks.Checkpoint("a", keep=0), ValueError, "keep: expected an integer >= 1"),
    (lambda: callbacks.Checkpoint("a", "loss", seconds=1), ValueError, "seconds: expected None with a monitor"),
    (lambda: callbacks.CSVLogger("a", ",,"), ValueError, "separator: expected a single character"),
    (lambda: callbacks.TensorBoard("a", histogram_freq=-1), ValueError, "histogram_freq: expected an integer >= 0"),
    (lambda: callbacks.Lambda(on_epoch_end=3), TypeError, "on_epoch_end: expected a function, got 3"),
    (lambda: callbacks.Lambda(on_batch_end=print), TypeError, "unexpected keyword argument"),
])
def test_arguments_that_are_refused(made, error, message):
    with pytest.raises(error, match=message):
        made()


# --- what is called ---


def test_functions_as_callbacks():
    x, y = samples()
    calls = []
    note = callbacks.Lambda(**{
        name: lambda *a, name=name: calls.append((name, *a[:1])) for name in ("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end")
    })
    trainer = make()
    trainer.fit(x, y, epochs=2, batch_size=10, callbacks=[note], verbose=0)
    assert calls == [("on_train_begin",), ("on_epoch_begin", 0), ("on_epoch_end", 0), ("on_epoch_begin", 1), ("on_epoch_end", 1), ("on_train_end",)]
    steps = []
    trainer.fit(x, y, epochs=1, batch_size=10, callbacks=[callbacks.Lambda(on_step_end=lambda step, logs: steps.append(step))], verbose=0)
    assert steps == [11, 12, 13, 14, 15]


@pytest.mark.parametrize("kind, calls", [("on_epoch_end", 2), ("on_progress", 2), ("on_step_end", 50)])
def test_only_who_wants_steps_gets_them(kind, calls, monkeypatch):
    """All others have whole epochs in one native call."""
    from fastnn.executors import NativeExecutor

    x, y = samples()
    runs, run = [], NativeExecutor.run
    monkeypatch.setattr(NativeExecutor, "run", lambda self, *a, **k: (runs.append(1), run(self, *a, **{**k, "seconds": 60.0}))[1])
    seen = []
    trainer = make()
    trainer.fit(x, y, epochs=2, batch_size=2, verbose=0,
                callbacks=[callbacks.Lambda(**{kind: lambda *a: seen.append(a)}), callbacks.TerminateOnNaN()])
    assert len(runs) == len(seen) == calls


def test_stopping_takes_effect_at_once_in_a_step():
    x, y = samples()
    trainer = make()

    def stop(step, logs):
        trainer.stop_training = step == 7

    history = trainer.fit(x, y, epochs=5, batch_size=10, callbacks=[callbacks.Lambda(on_step_end=stop)], verbose=0)
    assert trainer.steps_done == 7 and trainer.epochs_done == 1 and history.broken_off == (1, 2)
    assert history.rows == [50, 20] and history.epochs == [0, 1] and len(history["loss"]) == 2
    trainer = make()
    trainer.fit(x, y, epochs=5, batch_size=10, callbacks=[callbacks.Lambda(on_epoch_begin=lambda e: setattr(trainer, "stop_training", True))], verbose=0)
    assert trainer.epochs_done == trainer.steps_done == 0 and trainer.history == {}


def test_terminate_on_nan():
    x, y = samples()
    x[30, 2] = np.nan
    trainer, end = make(), callbacks.TerminateOnNaN()
    with pytest.warns(RuntimeWarning, match="the loss became nan in epoch 1"):
        history = trainer.fit(x, y, epochs=50, batch_size=10, callbacks=[end], verbose=0)
    assert end.stopped_epoch == 0 and len(history["loss"]) == 1 and math.isnan(history["loss"][0])
    spared = make(skip_nonfinite=True)
    history = spared.fit(x, y, epochs=3, batch_size=10, callbacks=[callbacks.TerminateOnNaN()], verbose=0)
    assert len(history["loss"]) == 3 and np.isfinite(history["loss"]).all()
    x[...] = np.nan  # all steps are left out, and there is no loss to speak of
    with pytest.warns(RuntimeWarning, match="no step of epoch 4"):
        assert len(spared.fit(x, y, epochs=2, batch_size=10, callbacks=[callbacks.TerminateOnNaN()], verbose=0)["loss"]) == 2


@pytest.mark.parametrize("where", ["on_train_begin", "on_epoch_begin", "on_step_end", "on_progress", "extra_logs", "on_epoch_end", "after_epoch", "on_train_end"])
def test_what_a_callback_raises_leaves_a_consistent_trainer(where):
    x, y = samples()
    expected = make()
    expected.fit(x, y, epochs=4, batch_size=10, verbose=0)

    class Bad(callbacks.Callback):
        calls = 0

    def bad(self, *args):
        Bad.calls += 1
        if Bad.calls == (3 if where == "on_step_end" else 1 if where.startswith("on_train") else 2):
            raise KeyError("mine")
        return {"more": 1.0} if where == "extra_logs" else None

    setattr(Bad, where, bad)
    trainer = make()
    with pytest.raises(KeyError, match="mine"):
        trainer.fit(x, y, epochs=4, batch_size=10, callbacks=[Bad()], verbose=0)
    assert trainer.optimizer.state_dict()["groups"][0]["steps"] == trainer.steps_done
    h = trainer.history
    assert sum(h.rows) == 10 * trainer.steps_done and all(len(v) == len(h.rows) for v in h.values())
    if where == "on_step_end":
        assert h.rows == [30] and h.broken_off == (0, 3) and trainer.steps_done == 3
    trainer.fit(x, y, epochs=4 - trainer.epochs_done, batch_size=10, verbose=0)
    assert bits(trainer) == bits(expected) and trainer.epochs_done == 4


def test_an_exception_is_told_once_and_none_hides_it():
    x, y = samples()
    told = []

    class Told(callbacks.Callback):
        def on_exception(self, error):
            told.append(error)
            raise OSError("no space")

    trainer = make()
    with pytest.warns(RuntimeWarning, match="Told.on_exception: OSError: no space; it came while KeyError ended the training"):
        with pytest.raises(KeyError):
            trainer.fit(x, y, callbacks=[callbacks.Lambda(on_epoch_end=lambda e, logs: {}["x"]), Told()], verbose=0)
    assert [type(e) for e in told] == [KeyError]


# --- logs ---


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_a_csv_log(tmp_path):
    x, y = samples()
    path = tmp_path / "deep" / "log.csv"
    trainer = make()
    first = trainer.fit(x, y, epochs=2, validation_data=(x, y), callbacks=[callbacks.CSVLogger(path)], verbose=0)
    second = trainer.fit(x, y, epochs=1, validation_data=(x, y), callbacks=[callbacks.CSVLogger(path)], verbose=0)
    head, *lines = rows_of(path)
    assert head == ["epoch", *first] and [line[0] for line in lines] == ["0", "1", "2"]
    for name in first:
        assert [float(line[head.index(name)]) for line in lines] == first[name] + second[name]
    assert len(rows_of(path)) == 4
    with pytest.raises(ValueError, match="^path: expected a file with the columns epoch, loss, accuracy, seconds, to go on with it, got epoch"):
        trainer.fit(x, y, callbacks=[callbacks.CSVLogger(path)], verbose=0)
    make().fit(x, y, callbacks=[callbacks.CSVLogger(path, ";")], verbose=0)  # another trainer's first epoch: a new file
    assert path.read_text().startswith("epoch;loss;accuracy;seconds\n0;") and path.read_text().count("\n") == 2


def test_a_csv_log_is_cut_where_training_is_resumed(tmp_path):
    x, y = samples()
    path, state = tmp_path / "log.csv", tmp_path / "t.safetensors"
    log = callbacks.CSVLogger(path)
    trainer = make()
    save = callbacks.Lambda(on_epoch_end=lambda epoch, logs: trainer.save_checkpoint(state) if epoch == 1 else None)
    trainer.fit(x, y, epochs=4, callbacks=[log, save], verbose=0)
    whole = [line[:3] for line in rows_of(path)]
    path.write_text(path.read_text() + "4,0.1")  # killed in the middle of a line
    resumed = make()
    resumed.load_checkpoint(state)
    assert resumed.epochs_done == 2
    resumed.fit(x, y, epochs=2, callbacks=[log], verbose=0)
    assert [line[:3] for line in rows_of(path)] == whole


def test_rates_in_the_history():
    x, y = samples()
    trainer = make(schedules.Exponential(0.1, gamma=0.5), optimizer=optim.SGD)
    seen = []
    history = trainer.fit(x, y, epochs=2, batch_size=25, verbose=0, validation_data=(x, y),
                          callbacks=[callbacks.LearningRateLogger(), callbacks.Lambda(on_epoch_end=lambda e, logs: seen.append(logs["lr"]))])
    assert history["lr"] == seen == [0.05, 0.0125]
    fastnn.manual_seed(0)
    model = nn.Sequential(nn.Dense(8, 3))
    w, b = model.parameters()
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD([{"params": [w], "lr": 0.5}, {"params": [b], "lr": 0.25}]))
    history = trainer.fit(x, y, callbacks=[callbacks.LearningRateLogger()], verbose=0)
    assert history["lr_0"] == [0.5] and history["lr_1"] == [0.25]


def test_tensorboard(tmp_path):
    """TensorBoard's own reader reads it, where that is installed."""
    pytest.importorskip("tensorboardX")
    files = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    x, y = samples()
    trainer, state = make(), tmp_path / "t.safetensors"
    folder = tmp_path / "runs"
    board = callbacks.TensorBoard(folder, histogram_freq=2)
    save = callbacks.Lambda(on_epoch_end=lambda epoch, logs: trainer.save_checkpoint(state) if epoch == 1 else None)
    history = trainer.fit(x, y, epochs=3, validation_data=(x, y), callbacks=[board, save], verbose=0)
    assert all(p.name.startswith("events.out.tfevents") for p in folder.iterdir()) and len(list(folder.iterdir())) == 1

    def read(path):
        found, histograms, starts = {}, [], []
        for event in files.EventFileLoader(str(path)).Load():
            if event.HasField("session_log"):
                starts.append(event.step)
            for value in event.summary.value:
                if value.HasField("histo") or value.metadata.plugin_data.plugin_name == "histograms":
                    histograms.append((value.tag, event.step))
                else:
                    number = value.tensor.float_val[0] if value.HasField("tensor") else value.simple_value
                    found.setdefault(value.tag, []).append((event.step, number))
        return found, histograms, starts

    (path,) = folder.iterdir()
    found, histograms, _ = read(path)
    assert set(found) == {*history, "lr"}
    for name in history:
        assert [step for step, _ in found[name]] == [0, 1, 2]
        assert np.allclose([value for _, value in found[name]], history[name], rtol=1e-6)
    assert [value for _, value in found["lr"]] == pytest.approx([0.01] * 3)
    assert histograms == [(name, 1) for name, _ in trainer.model.named_parameters()]
    resumed = make()
    resumed.load_checkpoint(state)
    resumed.fit(x, y, epochs=1, validation_data=(x, y), callbacks=[callbacks.TensorBoard(folder)], verbose=0)
    (other,) = set(folder.iterdir()) - {path}
    found, _, starts = read(other)
    assert [step for step, _ in found["loss"]] == [2] and starts == [2]  # what was written beyond is not shown


def test_tensorboard_without_its_package(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    x, y = samples()
    trainer = make()
    with pytest.raises(ImportError, match="pip install tensorboardX"):
        trainer.fit(x, y, callbacks=[callbacks.TensorBoard("x")], verbose=0)
    assert trainer.steps_done == 0
