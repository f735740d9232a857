"""Ctrl-C, several threads, arrays that are resized while a model trains."""

import _thread
import contextlib
import itertools
import signal
import threading
import time

import numpy as np
import pytest

import fastnn
from fastnn import _native, losses, nn, optim
from fastnn.training.callbacks import Callback

from trainer_cases import bits, make, samples


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
