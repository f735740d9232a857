"""Training that is broken off and gone on with, in the same process and out of a checkpoint, has the bits of one without a break."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, losses, nn, optim, schedules
from fastnn.core import safetensors

ROWS, BATCH = 90, 16


def samples():
    rng = np.random.default_rng(11)
    return rng.normal(size=(ROWS, 8)).astype(np.float32), rng.integers(0, 3, ROWS)


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.05),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam and averages": lambda p: optim.Adam(p, lr=0.01, ema=0.9, amsgrad=True),
    "schedule": lambda p: optim.AdamW(p, lr=schedules.WarmUp(schedules.Cosine(0.02, T_max=40), 5, 0.1)),
    "plateau": lambda p: optim.NAdam(p, lr=schedules.ReduceOnPlateau(0.05, factor=0.5, patience=0, threshold=0.2)),
    "function": lambda p: optim.RMSprop(p, lr=lambda step: 0.01 / (1 + step)),
    "schedule-free": lambda p: optim.ScheduleFreeAdamW(p, lr=0.01, warmup_steps=3),
    "skipping": lambda p: optim.Adam(p, lr=0.01, skip_nonfinite=True),
    "groups": lambda p: optim.SGD([{"params": p[:2], "lr": 0.1, "name": "first"}, {"params": {"a": p[2], "b": p[3]}, "momentum": 0.5}], lr=0.01),
    "lamb": lambda p: optim.LAMB(p, lr=0.01),
    "adafactor": lambda p: optim.Adafactor(p, lr=0.05, ema=0.9),
    "muon": lambda p: optim.Muon(p, lr=0.01, max_norm=2.0),
    "all on schedules": lambda p: optim.AdamW(p, lr=0.01, betas=(schedules.Linear(0.9, 0.5, 1.0, 20), 0.99), l1=schedules.Cosine(0.01, T_max=30),
                                              weight_decay=schedules.ReduceOnPlateau(0.2, factor=0.5, patience=0, threshold=0.2)),
}


def make(kind="adam and averages", backend="native"):
    fastnn.manual_seed(4)
    share = schedules.Polynomial(0.5, 30) if kind == "all on schedules" else 0.3
    model = nn.Sequential(nn.Dense(8, 12, activation="tanh"), nn.BatchNorm(12), nn.Dropout(share), nn.Dense(12, 3))
    p = model.parameters()
    opt = OPTIMIZERS[kind](p if kind != "groups" else [*p[:4]])
    return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(label_smoothing=0.1), opt, seed=7, backend=backend, clip_norm=2.0)


def bits(trainer):
    model, state = trainer.model, trainer.optimizer.state_dict()
    arrays = [p.data for _, p in (*model.named_parameters(), *model.named_buffers())] + [a for s in state["state"] for a in s.values()]
    groups = [{k: v for k, v in g.items() if not callable(v)} for g in state["groups"]]
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest(), groups, trainer.steps_done, trainer.epochs_done


def fit(trainer, epochs, **settings):
    x, y = samples()
    if trainer.optimizer.skip_nonfinite:
        x[33, 0] = np.inf
    return trainer.fit(x, y, epochs=epochs, batch_size=BATCH, validation_data=(x[:20], y[:20]), verbose=0, **settings)


def numbers(*histories):
    """What they say of the epochs, but for the time."""
    return {k: [v for h in histories for v in h[k]] for k in histories[0] if k != "seconds"}


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("how", ["file", "dict"])
def test_two_trainings_are_one(kind, how, tmp_path):
    whole, first, second = make(kind), make(kind), make(kind)
    expected = fit(whole, 7)
    one = fit(first, 3)
    if how == "file":
        first.save_checkpoint(tmp_path / "t.safetensors")
        second.load_checkpoint(tmp_path / "t.safetensors")
    else:
        state = first.state_dict()
        fit(first, 1)  # the state is a copy
        second.load_state_dict(state)
    assert second.epochs_done == 3 and second.steps_done == 18
    two = fit(second, 4)
    assert bits(second) == bits(whole) and numbers(one, two) == numbers(expected)
    assert second.history.fingerprint() == whole.history.fingerprint() or callable(second.optimizer.param_groups[0]["lr"])


def test_the_file_holds_a_model_and_no_code(tmp_path):
    trainer, path = make(), tmp_path / "t.safetensors"
    fit(trainer, 2)
    trainer.save_checkpoint(path)
    x, _ = samples()
    assert np.array_equal(nn.load(path).predict(x), trainer.model.predict(x))
    from safetensors.numpy import load_file

    names = load_file(path)
    assert set(names) == {*(f"model.{n}" for n in trainer.model.state_dict()),
                          *(f"optimizer.{i}.{n}" for i in range(6) for n in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "ema"))}
    before = path.read_bytes()
    trainer.save_checkpoint(path)
    assert path.read_bytes() == before


# --- within an epoch ---


def stop_after(trainer, steps, how):
    """Callbacks that end training when it has done so many steps."""

    def end(step, logs):
        if step == steps:
            if how == "stop":
                trainer.stop_training = True
            else:
                raise KeyboardInterrupt if how == "interrupt" else KeyError("mine")

    return callbacks.Lambda(on_step_end=end)


@pytest.mark.parametrize("how", ["stop", "interrupt", "error"])
@pytest.mark.parametrize("steps", [1, 5, 6, 7, 13])
@pytest.mark.parametrize("resumed", ["here", "file", "dict"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_that_was_broken_off_is_gone_on_with(how, steps, resumed, shuffle, tmp_path):
    """Six steps an epoch."""
    whole, first = make("schedule"), make("schedule")
    expected = fit(whole, 4, shuffle=shuffle)
    try:
        fit(first, 4, shuffle=shuffle, callbacks=[stop_after(first, steps, how)])
    except (KeyboardInterrupt, KeyError):
        pass
    one = first.history
    at = divmod(steps, 6) if steps % 6 or how == "stop" else (steps // 6 - 1, 6)  # all steps done, but the epoch not over
    assert first.steps_done == steps and first.epochs_done == at[0] and sum(one.rows) == at[0] * ROWS + min(at[1] * BATCH, ROWS)
    if at[1]:
        assert one.broken_off == at and np.isnan(one["val_loss"][-1])
    second = first
    if resumed != "here":
        second = make("schedule")
        if resumed == "file":
            first.save_checkpoint(tmp_path / "t.safetensors")
            second.load_checkpoint(tmp_path / "t.safetensors")
        else:
            second.load_state_dict(first.state_dict())
    two = fit(second, 4 - second.epochs_done, shuffle=shuffle)
    assert bits(second) == bits(whole)
    for name in ("loss", "accuracy", "val_loss"):  # the epoch that was gone on with is recorded whole
        assert two[name][-1] == expected[name][-1]
        assert np.allclose(two[name], expected[name][4 - len(two[name]) :], rtol=1e-12)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_seconds_end_training_between_two_steps_and_it_goes_on(backend):
    x, y = samples()
    whole, parts = make(backend=backend), make(backend=backend)
    whole.fit(x, y, epochs=3, batch_size=4, verbose=0)
    slow = callbacks.Lambda(on_step_end=lambda step, logs: time.sleep(0.002))
    calls = 0
    while parts.epochs_done < 3:
        parts.fit(x, y, epochs=3 - parts.epochs_done, batch_size=4, verbose=0, callbacks=[slow], max_seconds=0.03)
        calls += 1
    assert bits(parts) == bits(whole) and calls > 2


def test_other_rows_or_batches_begin_an_epoch_anew():
    x, y = samples()
    for settings in ({"batch_size": 32}, {"batch_size": BATCH, "shuffle": False}, {"batch_size": BATCH, "drop_last": True}):
        trainer = make()
        fit(trainer, 1, callbacks=[stop_after(trainer, 2, "stop")])
        history = trainer.fit(x, y, verbose=0, **settings)
        assert history.rows == [80 if "drop_last" in settings else 90] and trainer.epochs_done == 1


def test_a_checkpoint_inside_an_epoch_that_the_next_fit_does_not_go_over(tmp_path):
    trainer = make()
    fit(trainer, 1, callbacks=[stop_after(trainer, 2, "stop")])
    trainer.save_checkpoint(tmp_path / "t")
    resumed = make()
    resumed.load_checkpoint(tmp_path / "t")
    x, y = samples()
    with pytest.warns(RuntimeWarning, match="the checkpoint stands inside an epoch, 2 batches of it done, .* begins anew"):
        resumed.fit(x, y, batch_size=5, verbose=0)


# --- what callbacks keep ---


def logged(folder):
    """What a log says of the epochs, but for the time."""
    return [line.split(",")[:3] for line in (folder / "log.csv").read_text().splitlines()]


@pytest.mark.parametrize("at", [2, 4, 5])
def test_callbacks_go_on_as_well(at, tmp_path):
    """Early stopping counts on, its best weights included; the log has each epoch once; the files that stand are the same."""

    def run(folder, epochs, trainer, extra=()):
        stop = callbacks.EarlyStopping("loss", patience=2, min_delta=0.03)
        os.makedirs(folder, exist_ok=True)
        more = [callbacks.CSVLogger(folder / "log.csv"), callbacks.Checkpoint(folder / "{epoch}.st", monitor="val_loss", keep=2),
                callbacks.Checkpoint(folder / "last.st"), callbacks.LearningRateLogger()]
        fit(trainer, epochs, callbacks=[stop, *more, *extra])
        return stop

    whole, first, second = make(), make(), make()
    expected = run(tmp_path / "whole", 30, whole)
    assert expected.stopped_epoch is not None and expected.stopped_epoch > 6
    run(tmp_path / "parts", at, first)
    second.load_checkpoint(tmp_path / "parts" / "last.st")
    found = run(tmp_path / "parts", 30 - second.epochs_done, second)
    assert (found.stopped_epoch, found.best, found.best_epoch) == (expected.stopped_epoch, expected.best, expected.best_epoch)
    assert bits(second) == bits(whole)
    assert sorted(os.listdir(tmp_path / "whole")) == sorted(os.listdir(tmp_path / "parts"))
    assert logged(tmp_path / "whole") == logged(tmp_path / "parts")
    third = make()  # training was over: nothing is left to do
    third.load_checkpoint(tmp_path / "parts" / "last.st")
    run(tmp_path / "parts", 5, third)
    assert third.steps_done == whole.steps_done and bits(third)[0] == bits(whole)[0]


def test_which_files_stay(tmp_path):
    trainer = make()
    fit(trainer, 5, callbacks=[callbacks.Checkpoint(tmp_path / "a" / "e{epoch:02d}.st"), callbacks.Checkpoint(tmp_path / "b.st", every=3),
                               callbacks.Checkpoint(tmp_path / "c{epoch}.st", keep=None), callbacks.Checkpoint(tmp_path / "d{epoch}-{loss:.2f}.st", keep=1)])
    assert sorted(os.listdir(tmp_path / "a")) == ["e03.st", "e04.st", "e05.st"]
    last = trainer.history["loss"][-1]
    assert sorted(os.listdir(tmp_path)) == ["a", "b.st", *(f"c{i}.st" for i in range(1, 6)), f"d5-{last:.2f}.st"]
    for path, epochs in (("a/e03.st", 3), ("b.st", 5), ("c1.st", 1)):
        other = make()
        other.load_checkpoint(tmp_path / path)
        assert other.epochs_done == epochs


def test_the_best_stays(tmp_path):
    trainer = make()
    values = [5.0, 3.0, 4.0, 2.0, 2.0, 6.0]
    score = callbacks.Callback()
    score.extra_logs = lambda: {"score": values[min(trainer.epochs_done, 5)]}
    epochs = []
    save = trainer.save_checkpoint
    trainer.save_checkpoint = lambda *a, **k: (epochs.append(trainer.epochs_done), save(*a, **k))
    fit(trainer, 6, callbacks=[score, callbacks.Checkpoint(tmp_path / "best", "score", mode="min")])
    assert epochs == [1, 2, 4]
    other = make()
    other.load_checkpoint(tmp_path / "best")
    assert other.epochs_done == 4


def test_saving_by_the_clock_within_an_epoch(tmp_path):
    """What is saved inside an epoch goes on to the same bits."""
    whole, trainer, found = make(), make(), []
    fit(whole, 2)

    def look(step, logs):
        other = make()
        other.load_checkpoint(tmp_path / "t")
        found.append(other)

    by_the_clock = callbacks.Checkpoint(tmp_path / "t", every=0, seconds=0.0)
    fit(trainer, 2, callbacks=[by_the_clock, callbacks.Lambda(on_progress=look, on_step_end=lambda step, logs: None)])
    assert [t.steps_done for t in found] == list(range(1, 13))
    for other in found:
        fit(other, 2 - other.epochs_done)
        assert bits(other) == bits(whole)


def test_no_space_left(tmp_path, monkeypatch):
    """An exception, with all that was done counted, and what stood on the disk before still there."""
    import errno

    trainer, whole = make(), make()
    fit(whole, 4)
    path, write, calls = tmp_path / "t", safetensors.write, []

    def full(*args):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*args)

    monkeypatch.setattr(safetensors, "write", full)
    with pytest.raises(OSError, match="No space left"):
        fit(trainer, 4, callbacks=[callbacks.Checkpoint(path)])
    assert trainer.epochs_done == 2 and len(trainer.history["loss"]) == 2
    other = make()
    other.load_checkpoint(path)
    assert other.epochs_done == 2  # saved when training ended, once there was space again
    fit(trainer, 2)
    assert bits(trainer) == bits(whole)


# --- what is refused ---


def saved(path, trainer=None):
    trainer = trainer or make()
    fit(trainer, 1, callbacks=[callbacks.EarlyStopping("loss"), stop_after(trainer, 2, "stop")])
    trainer.save_checkpoint(path)
    return path.read_bytes()


def other_model(**changes):
    fastnn.manual_seed(4)
    model = nn.Sequential(nn.Dense(8, 12, activation=changes.get("activation", "tanh")), nn.BatchNorm(12), nn.Dropout(changes.get("p", 0.3)),
                          nn.Dense(12, changes.get("outputs", 3)))
    p = model.parameters()
    kind = changes.get("optimizer", lambda p: optim.Adam(p, lr=0.01, ema=0.9, amsgrad=True))
    return fastnn.Trainer(model, changes.get("loss", losses.SoftmaxCrossEntropy()), kind(p))


@pytest.mark.parametrize("changes, message", [
    ({"activation": "relu"}, "model: expected that of this trainer, which has as layer 0 .*relu.*, got .*tanh"),
    ({"p": 0.5}, "model: expected that of this trainer, which has as layer 2 "),
    ({"outputs": 4}, "model: expected that of this trainer, which has as layer 3 "),
    ({"loss": losses.MulticlassHinge()}, "loss: expected that of this trainer, MulticlassHinge, got 'SoftmaxCrossEntropy'"),
    ({"optimizer": lambda p: optim.SGD(p, lr=0.1)}, "optimizer: .*expected the state of SGD, got that of 'Adam'"),
    ({"optimizer": lambda p: optim.Adam(p)}, "optimizer: "),
    ({"optimizer": lambda p: optim.Adam(p[:2], ema=0.9, amsgrad=True)}, "optimizer: expected the state of 2 parameters"),
    ({"optimizer": lambda p: optim.Adam([{"params": p[:2]}, {"params": p[2:]}], ema=0.9, amsgrad=True)}, "optimizer: .*expected 2 groups"),
])
def test_a_checkpoint_of_another_training(changes, message, tmp_path):
    path = tmp_path / "t"
    saved(path)
    trainer = other_model(**changes)
    x, y = samples()
    trainer.step(x[:8], y[:8])
    before, head = bits(trainer), trainer.model.head
    with pytest.raises(ValueError, match=message) as raised:
        trainer.load_checkpoint(path)
    assert repr(str(path)) in str(raised.value)
    assert bits(trainer) == before and trainer.model.head == head
    trainer.step(x[:8], y[:8])


def test_files_of_another_kind(tmp_path):
    path = tmp_path / "t"
    trainer = make()
    with pytest.raises(FileNotFoundError):
        trainer.load_checkpoint(path)
    trainer.model.save(path)
    with pytest.raises(ValueError, match="expected a checkpoint of fastnn, got the file of a model alone, which nn.load reads"):
        trainer.load_checkpoint(path)
    safetensors.write(path, {}, {})
    with pytest.raises(ValueError, match="got the file of another program"):
        trainer.load_checkpoint(path)
    data = saved(path)
    tensors, metadata = safetensors.parse(data)
    safetensors.write(path, tensors, {**metadata, "version": "99"})
    with pytest.raises(ValueError, match="format version '99', while this fastnn reads up to"):
        trainer.load_checkpoint(path)


def test_truncated_anywhere(tmp_path):
    path = tmp_path / "t"
    data = saved(path)
    trainer = make()
    before = bits(trainer)
    for length in [*range(0, 64), *range(64, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match="expected a checkpoint of fastnn"):
            trainer.load_checkpoint(path)
    path.write_bytes(data + b"x")
    with pytest.raises(ValueError, match="expected a checkpoint of fastnn"):
        trainer.load_checkpoint(path)
    assert bits(trainer) == before


HOSTILE = [None, True, -1, 0, 1.5, 2**70, 1e400, float("nan"), "x", [], {}, [1], {"a": 1}, [[]], "9" * 5000]


def changed(value, rng):
    """The value with a part of it replaced, removed or added."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(sorted(value))
        if rng.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: changed(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        i = rng.randrange(len(value))
        return [*value[:i], changed(value[i], rng), *value[i + 1 :]]
    return rng.choice(HOSTILE)


def test_hostile_files_are_refused_whole_or_taken_whole(tmp_path):
    """Whatever is in one: ValueError and nothing changed, or a trainer that trains."""
    path = tmp_path / "t"
    tensors, metadata = safetensors.parse(saved(path))
    rng, refused = random.Random(5), 0
    x, y = samples()
    trainer = make()
    for trial in range(400):
        part = rng.choice(["optimizer", "training", "callbacks", "architecture"])
        arrays = dict(tensors)
        if trial % 5 == 0:
            name = rng.choice(sorted(arrays))
            a = arrays.pop(name)
            arrays |= rng.choice([{}, {name: a[:0]}, {name: a.astype(np.float64)}, {name.replace("0", "9"): a}, {"callbacks.9.x": a}, {"": a}])
            text = metadata[part]
        else:
            text = json.dumps(changed(json.loads(metadata[part]), rng)) if rng.random() < 0.9 else metadata[part][: rng.randrange(40)]
        safetensors.write(path, arrays, {**metadata, part: text})
        before = bits(trainer)
        try:
            trainer.load_checkpoint(path)
        except ValueError:
            refused += 1
            assert bits(trainer) == before
            continue
        try:
            trainer.step(x[:8], y[:8])
            trainer.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[callbacks.EarlyStopping("loss")])
        except (ValueError, OverflowError):  # what callbacks keep is theirs to refuse; numbers may be beyond what a step can do
            pass
        except RuntimeWarning:
            pass
        trainer = make()
    assert refused > 200


def test_not_while_it_trains(tmp_path):
    trainer = make()
    saved(tmp_path / "t", make())
    load = callbacks.Lambda(on_epoch_end=lambda epoch, logs: trainer.load_checkpoint(tmp_path / "t"))
    with pytest.raises(RuntimeError, match="^load_checkpoint: expected to be called outside of fit"):
        fit(trainer, 2, callbacks=[load])
    assert trainer.epochs_done == 1


def test_files_of_others_are_not_deleted(tmp_path):
    """What a checkpoint says of the files that were written before is believed only where they may have been."""
    other = tmp_path / "precious"
    other.write_text("x")
    trainer = make()
    fit(trainer, 1, callbacks=[callbacks.Checkpoint(tmp_path / "{epoch}.st", keep=1)])
    tensors, metadata = safetensors.parse((tmp_path / "1.st").read_bytes())
    for name in (str(other), str(tmp_path / "x.st"), 3):
        metadata["callbacks"] = json.dumps([["Checkpoint", {"best": None, "written": [name]}]])
        safetensors.write(tmp_path / "lies", tensors, metadata)
        trainer = make()
        trainer.load_checkpoint(tmp_path / "lies")
        with pytest.raises(ValueError, match="callbacks: Checkpoint: expected a state that it can take over, got another: written"):
            fit(trainer, 1, callbacks=[callbacks.Checkpoint(tmp_path / "{epoch}.st", keep=1)])
        assert trainer.epochs_done == 1 and other.exists()


# --- killed ---

CHILD = """
import os, sys
import numpy as np
sys.path.insert(0, sys.argv[2])
from test_resume import make, samples, fit, bits
from fastnn import callbacks

folder, epochs = sys.argv[1], int(sys.argv[3])
path = os.path.join(folder, "t.safetensors")
trainer = make()
if os.path.exists(path):
    trainer.load_checkpoint(path)
stop = callbacks.EarlyStopping("loss", patience=10**6)
print("ready", flush=True)
fit(trainer, epochs - trainer.epochs_done, callbacks=[stop, callbacks.CSVLogger(os.path.join(folder, "log.csv")), callbacks.Checkpoint(path)])
print(bits(trainer)[0], trainer.epochs_done, stop.best, flush=True)
"""


def run(folder, epochs, kill_after=None):
    """The output of a process that trains; None where it was killed, so many seconds after it began to train."""
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(folder), os.path.dirname(__file__), str(epochs)], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "ready\n"
        if kill_after is not None:
            time.sleep(kill_after)
            process.send_signal(signal.SIGKILL)
        out = process.stdout.read()
    return out if process.returncode == 0 else None


def killed_again_and_again(tmp_path, moments, epochs):
    """Kill the run at random moments, take it up again each time, until it has been killed so often; then let it end."""
    os.makedirs(tmp_path / "whole")
    expected = run(tmp_path / "whole", epochs)
    rng, kills, rounds = random.Random(1), 0, 0
    while kills < moments:
        folder = tmp_path / f"round{rounds}"
        os.makedirs(folder)
        rounds += 1
        out = None
        while out is None and kills < moments:
            out = run(folder, epochs, rng.uniform(0, 0.15))
            kills += out is None
            assert len(os.listdir(folder)) <= 3  # the file, the log, and at most one that was being written
            path = folder / "t.safetensors"
            if path.exists():
                make().load_checkpoint(path)
        out = out or run(folder, epochs)
        assert out == expected
        assert logged(tmp_path / "whole") == logged(folder)
    return kills


def test_killed_at_random_moments(tmp_path):
    killed_again_and_again(tmp_path, 4, 120)


@pytest.mark.slow
def test_killed_at_two_hundred_random_moments(tmp_path):
    killed_again_and_again(tmp_path, 200, 300)
