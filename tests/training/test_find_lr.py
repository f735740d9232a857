"""Trainer.find_lr: the test is done on copies, its suggestion is where the loss falls most, and bad input is refused."""

import numpy as np
import pytest

import fastnn
from fastnn import data, losses, nn, optim
from fastnn.training.find_lr import RateTest


def make(optimizer=optim.Adam, **settings):
    fastnn.manual_seed(4)
    model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 30, activation="relu"), nn.BatchNorm(30), nn.Dense(30, 10))
    return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optimizer(model.parameters(), **settings))


def bits(trainer):
    model, state = trainer.model, trainer.optimizer.state_dict()
    arrays = [p.data for _, p in (*model.named_parameters(), *model.named_buffers())]
    arrays += [a for s in state["state"] for a in s.values()]
    return [a.tobytes() for a in arrays], trainer.steps_done, [{k: v for k, v in g.items()} for g in state["groups"]]


def test_the_trainer_stays_as_it_is():
    X, y = data.load_digits()
    trainer = make(lr=0.01)
    trainer.fit(X, y, verbose=0)
    before = bits(trainer)
    found, again = trainer.find_lr(X, y), trainer.find_lr(X, y)
    assert bits(trainer) == before
    assert (found.losses == again.losses).all() and found.suggestion == again.suggestion
    first = trainer.copy()
    first.optimizer.param_groups[0]["lr"] = 1e-7
    rows = np.sort(fastnn._native.permutation(len(X), 0, 0)[:32])
    assert found.losses[0] == first.step(X[rows], y[rows])
    assert found.rates[0] == 1e-7 and (np.diff(found.rates) > 0).all() and found.rates[-1] <= 10 * (1 + 1e-12)


@pytest.mark.parametrize("optimizer, least, most", [(optim.SGD, 0.01, 10), (optim.Adam, 1e-3, 0.3)])
def test_the_suggestion_trains(optimizer, least, most):
    X, y = data.load_digits()
    found = make(optimizer).find_lr(X, y)
    assert least < found.suggestion < most
    trainer = make(optimizer, lr=found.suggestion)
    assert trainer.fit(X, y, epochs=3, verbose=0)["accuracy"][-1] > 0.9


def test_the_steepest_place_of_a_known_curve():
    rates = np.logspace(-5, 0, 200)
    losses_ = 2 - np.tanh(2 * (np.log10(rates) + 2)) + 20 * np.maximum(np.log10(rates) + 0.5, 0)  # falls most at 1e-2, explodes at 0.3
    found = RateTest(rates, losses_)
    assert 0.7e-2 < found.suggestion < 3e-2  # the moving average lags
    np.testing.assert_allclose(found.smoothed[0], losses_[0])
    flat = RateTest(rates, np.linspace(1, 2, 200))
    assert flat.suggestion == rates[0]  # nothing falls


def test_groups_keep_their_ratios():
    X, y = data.load_digits()
    trainer = make()
    model, seen = trainer.model, []

    def lr(step):
        seen.append(step)
        return 0.1

    groups = [{"params": model[2].parameters(), "lr": 0.1}, {"params": model[4].parameters(), "lr": 0.2}]
    two = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(groups))
    one = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD([*model[2].parameters(), *model[4].parameters()], lr=lr))
    a, b = two.find_lr(X, y, steps=20), one.find_lr(X, y, steps=20)
    assert a.losses[0] == b.losses[0] and (a.losses[-3:] != b.losses[-3:]).all()
    assert not seen and one.optimizer.param_groups[0]["lr"] is lr


def test_what_is_refused():
    X, y = data.load_digits()
    trainer = make()
    before = bits(trainer)
    for settings, message in (
        ({"min_lr": 1, "max_lr": 0.1}, "min_lr, max_lr: expected 0 < min_lr < max_lr"),
        ({"min_lr": 0}, "expected 0 < min_lr"),
        ({"steps": 3}, "steps: expected an integer >= 10"),
        ({"batch_size": 1}, "expected at least 2 rows"),
    ):
        with pytest.raises(ValueError, match=message):
            trainer.find_lr(X, y, **settings)
    with pytest.raises(ValueError, match="labels from 0 to 9"):
        trainer.find_lr(X, y + 1)
    with pytest.raises(ValueError, match="expected a rate at which the loss stays finite"):
        trainer.find_lr(np.full(X.shape, np.nan), y)
    assert bits(trainer) == before


def test_plot():
    pytest.importorskip("matplotlib").use("Agg")
    X, y = data.load_digits()
    assert make().find_lr(X, y).plot().axes
