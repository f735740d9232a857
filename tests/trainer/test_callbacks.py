"""Callbacks of a trainer, and what it shows."""

import importlib
import io
import re
import sys
import types

import numpy as np
import pytest

from fastnn import optim
from fastnn.training.callbacks import Callback
from fastnn.training.progress import _layout

from trainer_cases import bits, Log, make, samples


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
