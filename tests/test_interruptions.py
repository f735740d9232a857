"""Ctrl-C before any line of the package: the steps that were done are counted, and weights that were exchanged can be had back."""

import functools
import linecache
import pathlib
import sys

import numpy as np
import pytest

import fastnn
from fastnn import _native, losses, nn, optim
from fastnn.training.callbacks import Callback

# Python itself drops an interrupt that comes where a generator is closed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
HOME = str(pathlib.Path(fastnn.__file__).parent)


@functools.lru_cache(None)
def comes_before(filename, number):
    """Whether a signal may be handled before the line. They are handled where functions begin and after calls: not between a block and
    the first line of its `finally`, and not where a `with` ends."""
    here, after = (linecache.getline(filename, number - i).strip() for i in (0, 1))
    return after != "finally:" and not here.startswith("with ")


def interrupted(call, line):
    """Call; raise KeyboardInterrupt before the line of fastnn's Python that is the `line`-th to run. Whether it came to that."""
    seen = 0

    def trace(frame, event, argument):
        nonlocal seen
        if not frame.f_code.co_filename.startswith(HOME):
            return None
        if event == "call" or (event == "line" and comes_before(frame.f_code.co_filename, frame.f_lineno)):
            seen += 1
            if seen == line:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return seen >= line


def every_line(prepare, stride=1):
    """(what `prepare` returned for it, last) for each line, or each so many, before which a call is interrupted; `prepare` returns
    (call, ...)."""
    line = 0
    while True:
        line += stride
        call, *rest = prepare()
        if not interrupted(call, line):
            return
        yield rest
        assert line < 10_000


def bits(arrays):
    return [a.tobytes() for a in arrays]


@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize("kind", ["averages", "schedule-free"])
@pytest.mark.parametrize("order", "CF")
def test_exchanged_weights_come_back(kind, order, within):
    def prepare():
        rng = np.random.default_rng(3)
        w = [np.array(rng.normal(size=s), np.float32, order=order) for s in ((3, 4), (5,), (2, 2))]
        more = {"ema": 0.5} if kind == "averages" else {"betas": (0.9, 0.99)}
        opt = (optim.SGD if kind == "averages" else optim.ScheduleFreeAdamW)(w, lr=0.1, **more)
        for _ in range(3):
            opt.step([rng.normal(size=a.shape).astype(np.float32, order=order) for a in w])

        def call():
            if not within:
                opt.swap_ema() if kind == "averages" else opt.eval()
                return
            with opt.averaged() if kind == "averages" else opt.evaluating():
                pass

        return call, opt, w, bits(w)

    seen = set()
    for opt, w, before in every_line(prepare):
        away = opt._averages_stand.made if kind == "averages" else not opt.train_mode
        seen.add(away)
        if away:  # then a step says so
            with pytest.raises(RuntimeError, match="call swap_ema|call train"):  # a second and third, too
                opt.step([np.zeros_like(a) for a in w])
            assert bits(w) != before
            opt.swap_ema() if kind == "averages" else opt.train()
        assert bits(w) == before
        opt.step([np.zeros_like(a) for a in w])
    assert seen == {False} or not within  # a context leaves nothing behind


class _Steps(Callback):
    def on_step_end(self, step, logs):
        pass


@pytest.mark.parametrize("how", ["step", "steps", "fit", "fit and watch", "fit and validate"])
@pytest.mark.parametrize("kind", [optim.Adam, optim.ScheduleFreeAdamW])
def test_steps_that_were_done_are_counted(how, kind):
    """Dropout draws by the number of the step: one that is not counted would be drawn for again."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(12, 5)).astype(np.float32), rng.integers(0, 3, 12)

    def prepare():
        fastnn.manual_seed(1)
        model = nn.Sequential(nn.Dense(5, 8, activation="relu"), nn.Dropout(0.5), nn.Dense(8, 3))
        trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), kind(model.parameters(), lr=0.01))
        trainer.step(x[:4], y[:4])
        if how == "fit and validate":
            trainer.evaluate(x, y)  # or thousands of lines would make its plan

        def call():
            if how == "step":
                trainer.step(x[:4], y[:4])
            elif how == "steps":  # the third and fourth go by the quick door
                for begin in (0, 4, 0, 4):
                    trainer.step(x[begin : begin + 4], y[begin : begin + 4])
            else:
                callbacks = [_Steps()] if how == "fit and watch" else None
                validation = (x, y) if how == "fit and validate" else None
                trainer.fit(x[:8], y[:8], 2, 4, validation, shuffle=False, callbacks=callbacks, verbose=0)

        return call, trainer

    def onwards(trainer, steps):
        batches = [(x[:4], y[:4])] + [(x[:4], y[:4]), (x[4:8], y[4:8])] * 3
        for xb, yb in batches[trainer.steps_done : steps]:
            trainer.step(xb, yb)
        return bits(p.data for p in trainer.model.parameters())

    expected = onwards(prepare()[1], 7)
    seen = set()
    for (trainer,) in every_line(prepare, 3 if how.startswith("fit") else 1):
        if not getattr(trainer.optimizer, "train_mode", True):
            trainer.optimizer.train()
        assert trainer.optimizer.state_dict()["groups"][0]["steps"] == trainer.steps_done
        seen.add(trainer.steps_done)
        assert onwards(trainer, 7) == expected
    every = how in ("steps", "fit and watch")
    assert seen >= ({1, 2} if how == "step" else {1, 2, 3, 4, 5} if every else {1, 3, 5})


def test_an_exchange():
    a, b = np.arange(6.0).reshape(2, 3), np.zeros((2, 3))
    c, d = np.asfortranarray(a), np.asfortranarray(b)
    exchange = _native.Exchange(_native.OptimizerState())
    exchange.swap([a, c, a], [b, d, None])
    assert exchange.made and not a.any() and (b == np.arange(6.0).reshape(2, 3)).all() and (d == b).all()
    big, other = np.arange(5000.0), np.zeros(5000)
    exchange.swap([big], [other])
    assert not exchange.made and not big.any() and (other == np.arange(5000)).all()
    for wrong in (np.zeros((3, 2)), np.zeros((2, 3), np.float32), d, np.zeros((2, 6))[:, ::2]):
        with pytest.raises(ValueError, match="expected writable arrays that lie alike in memory"):
            exchange.swap([b, a], [a, wrong])
        assert not exchange.made and not a.any()
    with pytest.raises(ValueError):
        exchange.swap([a], [])


@pytest.mark.parametrize("how", ["plain", "watched", "validated"])
def test_an_epoch_that_was_interrupted_is_gone_on_with(how):
    """What was done is recorded, and the rest of the epoch comes to the same bits and numbers, whatever line it was."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(12, 5)).astype(np.float32), rng.integers(0, 3, 12)

    def prepare():
        fastnn.manual_seed(1)
        model = nn.Sequential(nn.Dense(5, 8, activation="relu"), nn.BatchNorm(8), nn.Dropout(0.5), nn.Dense(8, 3))
        trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01))
        trainer.step(x[:5], y[:5])  # makes the plan, in thousands of lines
        trainer.evaluate(x, y)
        return lambda: fit(trainer, 2), trainer

    def fit(trainer, epochs):
        more = {"callbacks": [_Steps()]} if how == "watched" else {"validation_data": (x, y)} if how == "validated" else {}
        return trainer.fit(x, y, epochs, 5, verbose=0, **more)

    call, whole = prepare()
    expected = call()
    seen = set()
    for (trainer,) in every_line(prepare, 11):
        seen.add(trainer.steps_done - 1)
        done = trainer.history
        if done is not None and done.rows:
            assert all(n in (5, 10, 12) for n in done.rows) and trainer.steps_done > sum(-(-n // 5) for n in done.rows)
        if trainer.epochs_done < 2:
            rest = fit(trainer, 2 - trainer.epochs_done)
            assert rest["loss"] == expected["loss"][-len(rest["loss"]) :] and rest["accuracy"] == expected["accuracy"][-len(rest["loss"]) :]
        assert bits(p.data for p in trainer.model.parameters()) == bits(p.data for p in whole.model.parameters())
        assert trainer.steps_done == whole.steps_done == 7 and trainer.epochs_done == 2
    assert seen == (set(range(7)) if how == "watched" else {0, 3, 6})
