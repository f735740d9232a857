"""A loss that is not finite: the step is left before its update, looked at, named, and then done as it would have been."""

import warnings

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim
from fastnn.executors import NativeExecutor, ReferenceExecutor

FAR = 3e38


def make(backend="native", loss=None, **settings):
    fastnn.manual_seed(4)
    model = nn.Sequential(nn.Dense(8, 6), nn.BatchNorm(6), nn.ReLU(), nn.Residual(nn.Dense(6, 6, activation="tanh")), nn.Dense(6, 3))
    return fastnn.Trainer(model, loss or losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01, **settings), backend=backend)


def samples(rows=60):
    rng = np.random.default_rng(11)
    return rng.normal(size=(rows, 8)).astype(np.float32), rng.integers(0, 3, rows)


def bits(trainer):
    return [p.data.tobytes() for _, p in (*trainer.model.named_parameters(), *trainer.model.named_buffers())]


def told(trainer, *arguments, **settings):
    """The warnings of a fit."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        trainer.fit(*arguments, verbose=0, **settings)
    return [str(w.message).partition("; check_finite")[0] for w in seen]


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_rows_and_layer_are_named(backend, shuffle):
    x, y = samples()
    x[[17, 41]] = FAR  # finite, but its product is not
    found = told(make(backend), x, y, batch_size=60, shuffle=shuffle)
    assert len(found) == 1 and found[0].startswith("the loss became nan in epoch 1, step 1: layer 0 (dense_forward) is the first to be")
    assert sorted(found[0].rpartition("rows ")[2].split(", ")) == ["17", "41"]


@pytest.mark.parametrize("change, where", [
    ("data", "row 33 of the data is not finite"),
    ("weights", "3.0.weight is not finite"),
    ("loss", "the loss (elementwise_loss) is the first to be not finite, in rows 0, 1, 2, 3, 4, ..."),
])
def test_what_is_named(change, where):
    x, y = samples()
    trainer = make()
    if change == "data":
        x[33, 2] = np.inf
    elif change == "weights":
        trainer.model[3].layers[0].weight.data[2, 2] = np.nan
    else:
        trainer, y = make(loss=losses.Poisson()), np.ones((60, 3), np.float32)
        trainer.model[4].bias.data[:] = 1e4  # of which the exponential is infinite
    found = told(trainer, x, y, batch_size=30, shuffle=False)
    step = 2 if change == "data" else 1
    assert len(found) == 1 and found[0].startswith("the loss became ") and found[0].endswith(f" in epoch 1, step {step}: {where}")


def test_losses_of_ones_own():
    x, y = samples()

    def broken(outputs, targets):
        return (np.nan if (targets == 1).all() else 1.0), np.ones_like(outputs)

    y[:20], y[20:40], y[40:] = 0, 1, 2
    (message,) = told(make(loss=losses.Custom(broken)), x, y, batch_size=20, shuffle=False)
    assert message == "the loss became nan in epoch 1, step 2: the loss itself is the first to be not finite"


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("stepwise", [False, True])
def test_training_goes_on_as_it_would_have(backend, stepwise):
    """Bit for bit that of single steps, which are not watched."""
    x, y = samples()
    x[33, 2] = np.nan
    watched, plain = make(backend), make(backend)
    seen = []
    note = fastnn.callbacks.Lambda(on_step_end=lambda step, logs: seen.append(step))
    told(watched, x, y, batch_size=20, epochs=2, shuffle=False, callbacks=[note] if stepwise else [])
    for _ in range(2):
        for begin in range(0, 60, 20):
            plain.step(x[begin : begin + 20], y[begin : begin + 20])
    assert bits(watched) == bits(plain) and watched.steps_done == plain.steps_done == 6
    assert seen == ([1, 2, 3, 4, 5, 6] if stepwise else [])


def test_steps_that_are_skipped_need_no_look():
    x, y = samples()
    x[33, 2] = np.nan
    assert told(make(skip_nonfinite=True), x, y, batch_size=20, shuffle=False) == []


@pytest.mark.parametrize("executor", [NativeExecutor, ReferenceExecutor])
@pytest.mark.parametrize("threads", [1, 3])
def test_an_executor_leaves_before_the_update(team, executor, threads):
    x, y = samples()
    x[25, 0] = np.nan
    model = nn.Sequential(nn.Dense(8, 6, activation="relu"), nn.Dense(6, 3))  # in which rows know nothing of each other
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()))
    with team(threads):
        run = executor(trainer.plan(20))
        run.check_losses = True
        rates = np.full((3, 1), 0.01)
        trainer.optimizer.prepare()
        first = run.run(x[:20], y[:20], rates=rates[:1], losses=np.zeros(1))
        before = bits(trainer)
        found = run.run(x[20:], y[20:], rates=rates[:2], losses=np.zeros(2))
    assert first.problem is None and (found.problem, found.steps, found.row) == ("undefined loss", 0, 5)
    assert bits(trainer) == before
