"""Training on iterables of batches: the bits of the same rows in an array; read ahead, gone on with, and refused."""

import os
import signal
import threading
import time

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, losses, nn, optim, schedules

ROWS, BATCH = 90, 16


def make(batchnorm=False, loss=None, backend="native", lr=0.01):
    fastnn.manual_seed(4)
    layers = [nn.BatchNorm(6)] if batchnorm else []
    model = nn.Sequential(nn.Dense(8, 6, activation="relu"), *layers, nn.Dropout(0.2), nn.Dense(6, 3))
    return fastnn.Trainer(model, loss or losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=lr), seed=3, backend=backend)


def samples():
    rng = np.random.default_rng(11)
    return rng.normal(size=(ROWS, 8)).astype(np.float32), rng.integers(0, 3, ROWS)


def bits(trainer):
    return [p.data.tobytes() for _, p in (*trainer.model.named_parameters(), *trainer.model.named_buffers())]


class Batches:
    """The rows in order, in batches; begun anew each time, which it notes."""

    def __init__(self, x, y, *more, batch=BATCH):
        self.arrays, self.batch, self.begun, self.epochs, self.threads = (x, y, *more), batch, 0, [], set()

    def __iter__(self):
        self.begun += 1
        for i in range(0, len(self.arrays[0]), self.batch):
            self.threads.add(threading.current_thread().name)
            yield tuple(a[i : i + self.batch] for a in self.arrays)


class Numbered(Batches):
    """An order of its own each epoch."""

    def set_epoch(self, epoch):
        self.epochs.append(epoch)

    def __iter__(self):
        order = np.random.default_rng(self.epochs[-1]).permutation(len(self.arrays[0]))
        for i in range(0, len(order), self.batch):
            yield tuple(a[order[i : i + self.batch]] for a in self.arrays)


def numbers(history):
    return {k: v for k, v in history.items() if k != "seconds"}


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("batchnorm", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_bits_of_an_array(backend, batchnorm, weighted):
    x, y = samples()
    weights = np.linspace(0, 2, ROWS)
    more = {"sample_weight": weights} if weighted else {}
    a, b = make(batchnorm, backend=backend), make(batchnorm, backend=backend)
    settings = {"epochs": 3, "verbose": 0, "validation_data": (x[:20], y[:20]), "metrics": ["f1"], "class_weight": {0: 2.0}}
    one = a.fit(x, y, batch_size=BATCH, shuffle=False, **settings, **more)
    batches = Batches(x, y, *([weights] if weighted else []))
    two = b.fit(batches, **settings)
    assert bits(a) == bits(b) and numbers(one) == numbers(two) and one.rows == two.rows
    assert batches.begun == 3 and batches.threads == {"fastnn-reader"}


def test_lists_and_other_things_that_hold_batches():
    x, y = samples()
    expected = make()
    expected.fit(x, y, batch_size=30, shuffle=False, epochs=2, verbose=0)
    pairs = [(x[i : i + 30], y[i : i + 30]) for i in range(0, 90, 30)]
    lists = [[a.tolist(), b.tolist()] for a, b in pairs]
    for items in (pairs, tuple(pairs), lists, dict(zip(range(3), pairs)).values()):
        t = make()
        t.fit(items, epochs=2, verbose=0)
        assert bits(t) == bits(expected)


def test_batches_of_changing_sizes():
    x, y = samples()
    cuts = [0, 5, 6, 46, 47, 90]
    a, b = make(), make()
    for i, j in zip(cuts, cuts[1:]):
        a.step(x[i:j], y[i:j])
    b.fit([(x[i:j], y[i:j]) for i, j in zip(cuts, cuts[1:])], verbose=0)
    assert bits(a) == bits(b) and b.history.rows == [ROWS]


def test_epochs_of_so_many_steps():
    x, y = samples()
    batches = Batches(x, y)
    t, expected = make(), make()
    history = t.fit(batches, epochs=2, steps_per_epoch=4, verbose=0)
    assert history.rows == [64, 64] and batches.begun == 2 and t.steps_done == 8
    for _ in range(2):
        for i in range(0, 64, BATCH):
            expected.step(x[i : i + BATCH], y[i : i + BATCH])
    assert bits(t) == bits(expected)


def endless(x, y, seed=0, drawn=None):
    rng = np.random.default_rng(seed)
    while True:
        rows = rng.integers(0, len(x), BATCH)
        if drawn is not None:
            drawn.append(rows)
        yield x[rows], y[rows]


def test_an_iterator_goes_on_where_it_stands(tmp_path):
    """None of its batches is lost: not between epochs, nor calls, nor where one is broken off, nor to another process."""
    x, y = samples()
    whole = make()
    whole.fit(endless(x, y), epochs=4, steps_per_epoch=5, verbose=0)
    drawn = []
    stream = endless(x, y, drawn=drawn)
    parts = make()
    parts.fit(stream, epochs=1, steps_per_epoch=5, verbose=0)
    assert len(drawn) == 5  # none beyond what an epoch takes
    stop = callbacks.Lambda(on_step_end=lambda step, logs: setattr(parts, "stop_training", step == 7))
    parts.fit(stream, epochs=1, steps_per_epoch=5, callbacks=[stop], verbose=0)
    assert parts.steps_done == 7 and len(drawn) <= 8
    parts.save_checkpoint(tmp_path / "t")
    for resumed, items in ((parts, stream), (make(), endless(x, y)), (make(), endless(x, y))):
        if resumed is not parts:
            resumed.load_checkpoint(tmp_path / "t")
        resumed.fit(items, epochs=3, steps_per_epoch=5, verbose=0)
        assert bits(resumed) == bits(whole)
    parts.save_checkpoint(tmp_path / "t")
    whole.fit(endless(x, y), epochs=1, steps_per_epoch=5, verbose=0)  # another one, from its beginning
    parts.fit(endless(x, y), epochs=1, steps_per_epoch=5, verbose=0)
    assert bits(parts) == bits(whole)


@pytest.mark.parametrize("kind", [Batches, Numbered])
@pytest.mark.parametrize("how", ["stop", "interrupt", "interrupt between"])
@pytest.mark.parametrize("steps", [1, 5, 6, 8])
@pytest.mark.parametrize("resumed", ["here", "file"])
def test_what_was_taken_is_drawn_and_dropped(kind, how, steps, resumed, tmp_path):
    x, y = samples()
    whole, first = make(lr=schedules.PerEpoch(schedules.Step(0.02, 2))), make(lr=schedules.PerEpoch(schedules.Step(0.02, 2)))
    expected = whole.fit(kind(x, y), epochs=3, verbose=0)

    def end(step, logs):
        if step == steps:
            if how == "stop":
                first.stop_training = True
            else:
                raise KeyboardInterrupt

    call = {"on_progress" if how == "interrupt between" else "on_step_end": end}
    try:
        first.fit(kind(x, y), epochs=3, verbose=0, callbacks=[callbacks.Lambda(**call)])
    except KeyboardInterrupt:
        pass
    second = first
    if resumed == "file":
        first.save_checkpoint(tmp_path / "t")
        second = make(lr=schedules.PerEpoch(schedules.Step(0.02, 2)))
        second.load_checkpoint(tmp_path / "t")
    history = second.fit(kind(x, y), epochs=3 - second.epochs_done, verbose=0)
    assert bits(second) == bits(whole) and history["loss"] == expected["loss"][-len(history["loss"]) :]


def test_the_next_batch_is_made_meanwhile():
    """One ahead, and not more."""
    x, y = samples()
    made, ahead = [], []

    def batches():
        for i in range(6):
            made.append(i)
            yield x[i : i + 16], y[i : i + 16]

    def look(step, logs):
        time.sleep(0.02)
        ahead.append(len(made) - step)

    t = make()
    t.fit(batches(), callbacks=[callbacks.Lambda(on_step_end=look)], verbose=0)
    assert ahead == [1, 1, 1, 1, 1, 0] and t.steps_done == 6
    assert not [thread for thread in threading.enumerate() if thread.name == "fastnn-reader"]


def test_what_it_shows(capsys):
    x, y = samples()
    t = make()
    t.fit(Batches(x, y), epochs=2, verbose=2)
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 2 and out[0].startswith("epoch 1/2: loss ") and "samples/s" in out[1]
    t.fit(Batches(x, y), epochs=2)
    assert "180/180" in capsys.readouterr().err


# --- what is refused ---


def ending(x, y, batches):
    for i in range(batches):
        yield x[i : i + BATCH], y[i : i + BATCH]


def raising(x, y):
    yield from ending(x, y, 3)
    raise RuntimeError("the disk is gone")


def changing(x, y, item):
    yield from ending(x, y, 3)
    yield item


@pytest.mark.parametrize("items, settings, error, message, steps", [
    (lambda x, y: ending(x, y, 7), {"epochs": 2, "steps_per_epoch": 5}, ValueError, "X: expected 5 batches in an epoch, got 2: the iterable ended", 7),
    (lambda x, y: ending(x, y, 0), {}, ValueError, "X: expected at least one batch in an epoch, got none: the iterable ended; an iterator", 0),
    (lambda x, y: [], {}, ValueError, "X: expected at least one batch in an epoch, got none", 0),
    (raising, {}, RuntimeError, "the disk is gone", 3),
    (lambda x, y: changing(x, y, (x[:5, :7], y[:5])), {}, ValueError, "item 3 of epoch 0: X: expected 8 features a row, got shape .5, 7.", 3),
    (lambda x, y: changing(x, y, (x[:5], y[:4])), {}, ValueError, "item 3 of epoch 0: y: expected 5 targets, one for each row", 3),
    (lambda x, y: changing(x, y, (x[:5], y[:5] + 3)), {}, ValueError, "item 3 of epoch 0: y: expected labels from 0 to 2", 3),
    (lambda x, y: changing(x, y, (x[:5], np.eye(3)[y[:5]])), {}, ValueError, "item 3 of epoch 0: expected targets and weights such as the items before", 3),
    (lambda x, y: changing(x, y, (x[:5], y[:5], np.ones(5))), {}, ValueError, "item 3 of epoch 0: expected targets and weights such as", 3),
    (lambda x, y: changing(x, y, (x[:5], y[:5], -np.ones(5))), {}, ValueError, "item 3 of epoch 0: sample_weight: expected numbers >= 0", 3),
    (lambda x, y: changing(x, y, (x[:0], y[:0])), {}, ValueError, "item 3 of epoch 0: X: expected at least one row", 3),
    (lambda x, y: changing(x, y, x[:5]), {}, ValueError, r"X: expected items \(X, y\) or .* got a ndarray as item 3 of epoch 0", 3),
    (lambda x, y: changing(x, y, (x[:5],)), {}, ValueError, r"X: expected items \(X, y\) or .* got a tuple of 1 as item 3 of epoch 0", 3),
    (lambda x, y: changing(x, y, (x[:5] * np.nan, y[:5])), {"check_finite": True}, ValueError, "item 3 of epoch 0: X: expected finite values", 3),
    (lambda x, y: ending(x, y, 9), {"epochs": 2}, ValueError, "X: expected an iterable that can be gone through 2 times, got a generator", 0),
    (lambda x, y: Batches(x, y), {"validation_split": 0.2}, ValueError, "validation_split: expected none with an iterable", 0),
    (lambda x, y: Batches(x, y), {"sample_weight": np.ones(90)}, ValueError, "sample_weight: expected none with an iterable", 0),
    (lambda x, y: Batches(x, y), {"class_weight": "balanced"}, ValueError, "class_weight: expected a dict .* for an iterable", 0),
    (lambda x, y: Batches(x, y), {"steps_per_epoch": 0}, ValueError, "steps_per_epoch: expected an integer >= 1", 0),
    (lambda x, y: x, {}, TypeError, "y: expected targets for the rows of X, got None with a ndarray", 0),
    (lambda x, y: 3, {}, TypeError, "X: expected an array, or an iterable of batches", 0),
])
def test_iterables_that_are_refused(items, settings, error, message, steps):
    """What was done before stands and is counted; training goes on from there."""
    x, y = samples()
    t, expected = make(), make()
    with pytest.raises(error, match=message):
        t.fit(items(x, y), verbose=0, **settings)
    for i in range(steps):
        i = i % 5 + (i // 5) * 5 if settings.get("steps_per_epoch") else i
        expected.step(x[i : i + BATCH], y[i : i + BATCH])
    assert t.steps_done == steps and bits(t) == bits(expected)
    assert t.optimizer.state_dict()["groups"][0]["steps"] == steps
    assert not [thread for thread in threading.enumerate() if thread.name == "fastnn-reader"]
    t.fit(Batches(x, y), verbose=0)


def test_steps_of_arrays_are_not_counted_so():
    x, y = samples()
    with pytest.raises(ValueError, match="^steps_per_epoch: expected none with arrays"):
        make().fit(x, y, steps_per_epoch=3, verbose=0)


def test_small_batches_for_a_normalisation():
    x, y = samples()
    with pytest.raises(ValueError, match="^item 1 of epoch 0: X: expected at least 2 rows to train on"):
        make(batchnorm=True).fit([(x[:5], y[:5]), (x[:1], y[:1])], verbose=0)


def test_a_source_that_hangs_does_not_keep_ctrl_c_waiting():
    x, y = samples()
    release = threading.Event()

    def slow():
        yield x[:16], y[:16]
        release.wait(60)

    t = make()
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        t.fit(slow(), verbose=0)
    release.set()
    assert t.steps_done == 1 and time.monotonic() - begun < 30
