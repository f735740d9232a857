"""Ctrl-C at random moments, by a timer: nothing is lost, nothing stays locked, and what comes after has the bits of an undisturbed run.

Each test is there twice: short, and, marked slow, with 20,000 interrupts.
"""

import gc
import os
import random
import signal
import threading
import time

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim
from fastnn.training import engine
from fastnn.training.callbacks import Callback

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer"),
    # of an interrupt that Python drops, see `storm`
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SIGNALS = [pytest.param(250, id="short"), pytest.param(20_000, id="full", marks=pytest.mark.slow)]


@pytest.fixture(autouse=True)
def ctrl_c_by_timer():
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def storm(act, check, signals, seed=0):
    """Call `act` over and over, interrupted `signals` times at random moments; after each interrupt `check`."""
    times = [time.perf_counter()]
    for _ in range(6):  # the first makes the plans, which takes longer than there is time for between two interrupts
        act()
        times.append(time.perf_counter())
    longest = max(30e-6, 4 * min(b - a for a, b in zip(times, times[1:])))
    draw = random.Random(seed)
    for _ in range(signals):
        try:
            end = time.perf_counter() + longest + 0.1  # Python drops an interrupt that comes where a weak reference is cleared
            signal.setitimer(signal.ITIMER_REAL, draw.uniform(1e-6, longest))
            while time.perf_counter() < end:
                act()
        except KeyboardInterrupt:
            pass
        check()


class Watch(Callback):
    def on_step_end(self, step, logs):
        pass


RNG = np.random.default_rng(1)
X, Y = RNG.normal(size=(48, 6)).astype(np.float32), RNG.integers(0, 3, 48)


def squares(outputs, targets):
    d = outputs - targets
    return float((d * d).mean()), 2 * d / d.size


def make(kind=optim.Adam, custom=False, **options):
    fastnn.manual_seed(2)
    model = nn.Sequential(nn.Dense(6, 8, activation="tanh"), nn.BatchNorm(8), nn.Dropout(0.2), nn.Dense(8, 3))
    loss = losses.Custom(squares) if custom else losses.SoftmaxCrossEntropy()
    return fastnn.Trainer(model, loss, kind(model.parameters(), lr=0.01, **options), seed=3)


def bits(trainer):
    return [p.data.tobytes() for _, p in (*trainer.model.named_parameters(), *trainer.model.named_buffers())]


def state_bits(trainer):
    return [a.tobytes() for s in trainer.optimizer.state_dict()["state"] for a in s.values()]


def in_order(trainer):
    """After an interrupt: nobody holds the trainer, not even for another thread, and the steps are counted."""
    assert not trainer._lock.held and not trainer._in_fit.held
    assert trainer.optimizer.state_dict()["groups"][0]["steps"] == trainer.steps_done


def usable_by_others(trainer):
    found = []
    thread = threading.Thread(target=lambda: found.append(trainer.evaluate(X, Y)["loss"]))
    thread.start()
    thread.join(60)
    assert found and np.isfinite(found[0])


@pytest.mark.parametrize("signals", SIGNALS)
@pytest.mark.parametrize("way", ["short", "long", "custom loss", "by hand", "schedule-free"])
def test_steps(way, signals):
    t = make(optim.ScheduleFreeAdamW if way == "schedule-free" else optim.Adam, custom=way == "custom loss")
    y = np.eye(3, dtype=np.float32)[Y] if way == "custom loss" else Y
    batch = (X[:16].tolist(), y[:16].tolist()) if way == "long" else (X[:16], y[:16])
    gradients = [np.full_like(p.data, 0.1) for p in t.model.parameters()]

    def step(trainer):
        if way == "by hand":
            trainer.optimizer.step(gradients)
        else:
            trainer.step(*batch)

    def done():
        return t.optimizer.state_dict()["groups"][0]["steps"]

    def check():
        assert not t._lock.held
        if way != "by hand":
            assert done() == t.steps_done

    storm(lambda: step(t), check, signals)
    assert done() > signals // 10
    if way == "short":
        assert t._cached_step is not engine.no_cached_step
    if way != "custom loss":
        usable_by_others(t)
    again = make(type(t.optimizer), custom=way == "custom loss")
    for _ in range(done()):
        step(again)
    assert bits(again) == bits(t) and state_bits(again) == state_bits(t)


@pytest.mark.parametrize("signals", SIGNALS)
@pytest.mark.parametrize("way", ["plain", "watched", "validated", "schedule-free"])
def test_fit(way, signals):
    """An epoch that is broken off is gone on with by the next `fit`."""
    t = make(optim.ScheduleFreeAdamW if way == "schedule-free" else optim.Adam)
    more = {"callbacks": [Watch()]} if way == "watched" else {} if way == "plain" else {"validation_data": (X[:8], Y[:8])}

    def check():
        in_order(t)
        history = t.history
        if history is not None and history.broken_off:
            epoch, batches = history.broken_off
            assert epoch == t.epochs_done and 0 < batches <= 6
        assert getattr(t.optimizer, "train_mode", True)

    storm(lambda: t.fit(X, Y, 2, 8, verbose=0, **more), check, signals)
    assert t.steps_done > signals // 10
    epochs = t.epochs_done + 1
    t.fit(X, Y, epochs - t.epochs_done, 8, verbose=0)
    again = make(type(t.optimizer))
    history = again.fit(X, Y, epochs, 8, verbose=0)
    assert t.steps_done == again.steps_done == 6 * epochs
    assert bits(again) == bits(t) and state_bits(again) == state_bits(t)
    assert t.history["loss"][-1] == history["loss"][-1]  # of an epoch in pieces, too
    usable_by_others(t)


@pytest.mark.parametrize("signals", SIGNALS)
@pytest.mark.parametrize("way", ["evaluate", "evaluate, schedule-free", "predict", "averaged", "update_bn"])
def test_what_changes_nothing(way, signals):
    free = way.endswith("schedule-free")
    t = make(optim.ScheduleFreeAdamW) if free else make(ema=0.9)
    t.fit(X, Y, 2, 8, verbose=0)
    before, expected = bits(t), t.evaluate(X, Y)
    model, opt = t.model, t.optimizer
    outputs = model.predict(X).tobytes()

    def act():
        if way == "predict":
            assert model.predict(X).tobytes() == outputs
        elif way == "averaged":
            with opt.averaged() as found:
                assert found is opt
        elif way == "update_bn":
            t.update_bn(X, 8)
        else:
            assert t.evaluate(X, Y) == expected

    def check():
        in_order(t)
        if way != "update_bn":
            assert bits(t) == before
        if not free:
            assert not opt._averages_stand.made

    storm(act, check, signals)
    if way == "update_bn":
        t.update_bn(X, 8)
        after = bits(t)
        t.update_bn(X, 8)
        assert bits(t) == after and np.isfinite(t.evaluate(X, Y)["loss"])
    usable_by_others(t)
    t.step(X, Y)


@pytest.mark.parametrize("signals", SIGNALS)
def test_parameters_are_added_whole(signals):
    """A group is there or it is not; the optimizer steps on."""
    opt = None

    def act():
        nonlocal opt
        if opt is None or len(opt.param_groups) > 40:
            opt = optim.Adam([np.ones(4)])
        opt.add_param_group({"params": [np.ones(3)], "lr": 0.1})

    def check():
        opt.step([[np.ones_like(p) for p in g["params"]] for g in opt.param_groups] if len(opt.param_groups) > 1 else [np.ones(4)])
        assert len(opt.state_dict()["state"]) == len(opt.param_groups)

    storm(act, check, min(signals, 2000))


def test_a_second_interrupt_comes_while_the_first_unwinds():
    t, left = make(ema=0.5), []

    def interrupt(number, frame):
        if left:
            left.pop()
            if not left:
                signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    def act():
        with t.optimizer.averaged():
            t.evaluate(X, Y)
        t.fit(X, Y, 1, 16, verbose=0)

    def repeat(function, seconds):
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            function()

    act()
    signal.signal(signal.SIGALRM, interrupt)
    draw = random.Random(5)
    for _ in range(200):
        left += [1, 2]
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, draw.uniform(1e-5, 1e-3), draw.uniform(3e-5, 3e-4))
                repeat(act, 1.0)
            except KeyboardInterrupt:
                repeat(int, 1e-3)
        except KeyboardInterrupt:
            pass
        gc.collect(0)
        in_order(t)
        assert not t.optimizer._averages_stand.made


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside threads
@pytest.mark.parametrize("what", ["fit", "step", "opt.step", "predict"])
def test_a_fork_while_another_thread_works(what):
    """The child, in which that thread is not any more, can go on with the same trainer."""
    t, stop = make(), threading.Event()
    big = np.ones(200_000)
    opt = optim.Adam([big])
    for _ in range(3):
        t.step(X[:16], Y[:16])

    def work():
        while not stop.is_set():
            if what == "fit":
                t.fit(X, Y, 3, 8, verbose=0)
            elif what == "step":
                t.step(X[:16], Y[:16])
            elif what == "opt.step":
                opt.step([big * 0.1])
            else:
                t.model.predict(X)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(12):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    signal.alarm(20)
                    done = t.steps_done
                    t.step(X[:16], Y[:16])
                    t.fit(X, Y, 1, 8, verbose=0)
                    opt.step([big * 0.1])
                    t.model.predict(X)
                    t.evaluate(X, Y)
                    code = 0 if t.steps_done > done else 2
                finally:
                    os._exit(code)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


def states_in_two_threads():
    """One steps; the other takes states, and puts back an earlier one."""
    w, g = np.zeros(3000), np.full(3000, 0.1)
    by_step, twin = [], optim.Adam([w.copy()])
    for _ in range(1200):
        by_step.append(twin.state_dict()["state"][0]["exp_avg"].tobytes())
        twin.step([g])
    opt, wrong, seen, done = optim.Adam([w]), [], [], threading.Event()
    early = opt.state_dict()

    def look():
        while not done.is_set() or not seen:
            try:
                state = opt.state_dict()
                steps, average = state["groups"][0]["steps"], state["state"][0]["exp_avg"]
                seen.append(by_step[steps] == average.tobytes())
                if steps > 20:
                    opt.load_state_dict(early)
            except RuntimeError as error:
                if "is in use" not in str(error):
                    wrong.append(error)
            except Exception as error:
                wrong.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(1000):
        try:
            opt.step([g])
        except RuntimeError:  # it is being looked at
            pass
    done.set()
    thread.join(60)
    assert not wrong and all(seen)
    state = opt.state_dict()
    assert state["state"][0]["exp_avg"].tobytes() == by_step[state["groups"][0]["steps"]]


@pytest.mark.parametrize("kind", ["trainers", "trainer and optimizer", "optimizer", "state"])
def test_one_optimizer_in_two_threads(kind):
    """Of two calls at once one may be refused; every step that is done is counted, whoever did it, and a state is that of one moment."""
    if kind == "state":
        return states_in_two_threads()
    model = make().model
    opt = optim.Adam(model.parameters(), lr=0.01)
    trainers = [fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), opt) for _ in range(2)]
    gradients, steps, refused, wrong = [np.full_like(p.data, 0.1) for p in model.parameters()], [0, 0], [0, 0], []

    def work(i):
        for _ in range(1500):
            try:
                if kind == "optimizer" or kind == "trainer and optimizer" and i:
                    opt.step(gradients)
                    steps[i] += 1
                else:
                    trainers[i].step(X[:16], Y[:16])
                    steps[i] += 1
            except RuntimeError as error:
                refused[i] += 1
                if "is in use" not in str(error):
                    wrong.append(error)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not wrong and not any(thread.is_alive() for thread in threads)
    assert opt.state_dict()["groups"][0]["steps"] == sum(steps) > 0
    for t in trainers:
        t.step(X[:16], Y[:16])
