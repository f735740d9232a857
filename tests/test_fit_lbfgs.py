"""Trainer.fit_lbfgs: whole batches by L-BFGS."""

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, data, losses, nn, optim, regularizers

X, Y = data.load_digits()
X, Y = X[::6].reshape(-1, 64).astype(np.float32) / 16, Y[::6]


def make(*layers, loss=None, optimizer=optim.SGD, **settings):
    fastnn.manual_seed(0)
    model = nn.Sequential(*(layers or (nn.Dense(64, 16, activation="tanh"), nn.Dense(16, 10))))
    return fastnn.Trainer(model, loss or losses.SoftmaxCrossEntropy(), optimizer(model.parameters()), **settings)


def weights(trainer):
    return [p.data.copy() for p in trainer.model.parameters()]


def same(a, b):
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


def test_the_minimum_of_a_convex_loss():
    """In the end no gradient is left, and the loss is SciPy's and that of minimize over value_and_grad."""
    trainer = make(nn.Dense(64, 10), penalty=regularizers.L2(1e-2))
    history = trainer.fit_lbfgs(X, Y, max_iter=300, verbose=0)
    assert history.success and len(history["loss"]) < 120 and "gtol" in history.message or "ftol" in history.message
    loss, grads = fastnn.value_and_grad(trainer.model, losses.SoftmaxCrossEntropy(), X, Y, penalty=regularizers.L2(1e-2))
    assert max(np.abs(g).max() for g in grads) < 1e-4 and loss == pytest.approx(history["loss"][-1], rel=1e-6)
    scores = trainer.evaluate(X, Y)
    assert scores["loss"] == pytest.approx(loss, rel=1e-6) and scores["accuracy"] == history["accuracy"][-1]
    assert history["loss"] == sorted(history["loss"], reverse=True)
    assert (trainer.epochs_done, trainer.steps_done) == (len(history["loss"]),) * 2


def test_backends_teams_and_weights_in_any_type(team):
    found = []
    for threads in (1, 2, 3):
        with team(threads):
            trainer = make()
            trainer.fit_lbfgs((X * 16).astype(np.uint8), Y, max_iter=12, verbose=0, sample_weight=1 + Y)
            found.append(weights(trainer))
    assert same(found[0], found[1]) and same(found[0], found[2])
    reference = make(backend="reference")
    history = reference.fit_lbfgs((X * 16).astype(np.uint8), Y, max_iter=4, verbose=0, sample_weight=1 + Y)
    native = make()
    again = native.fit_lbfgs((X * 16).astype(np.uint8), Y, max_iter=4, verbose=0, sample_weight=1 + Y)
    assert history["loss"] == pytest.approx(again["loss"], rel=1e-3)


def test_only_what_the_optimizer_has_and_is_not_frozen():
    trainer = make(optimizer=lambda ps: optim.Adam(ps[2:]))
    trainer.model.parameters()[3].frozen = True
    before = weights(trainer)
    trainer.fit_lbfgs(X, Y, max_iter=5, verbose=0)
    assert [same([a], [b]) for a, b in zip(before, weights(trainer))] == [True, True, False, True]
    trainer.model.parameters()[2].frozen = True
    with pytest.raises(ValueError, match="at least one parameter that is not frozen"):
        trainer.fit_lbfgs(X, Y, verbose=0)


def test_after_fit_and_the_optimizers_states_stay():
    trainer = make(optimizer=optim.Adam)
    trainer.fit(X, Y, epochs=3, verbose=0)
    state = trainer.optimizer.state_dict()
    trainer.fit_lbfgs(X, Y, max_iter=5, verbose=0)
    after = trainer.optimizer.state_dict()
    assert state["groups"] == after["groups"]
    assert all(same(a.values(), b.values()) for a, b in zip(state["state"], after["state"]))
    trainer.fit(X, Y, epochs=1, verbose=0)
    trainer.step(X[:32], Y[:32])
    assert trainer.epochs_done == 9


def test_normalisations_and_noise():
    layers = nn.Dense(64, 16), nn.BatchNorm(16), nn.Activation("relu"), nn.Dropout(0.2), nn.Dense(16, 10)
    trainer = make(*layers, seed=3)
    history = trainer.fit_lbfgs(X[:200], Y[:200], max_iter=10, validation_data=(X[200:], Y[200:]), verbose=0)
    assert history["loss"] == sorted(history["loss"], reverse=True) and len(history["val_loss"]) == 10
    mean = layers[1].running_mean.data.copy()
    assert trainer.evaluate(X[200:], Y[200:])["loss"] == history["val_loss"][-1]
    trainer.update_bn(X[:200], 200)
    assert (mean == layers[1].running_mean.data).all()
    drawn = fastnn.value_and_grad(trainer.model, losses.SoftmaxCrossEntropy(), X[:200], Y[:200], seed=3, step=0)[0]
    assert drawn == pytest.approx(history["loss"][-1], rel=1e-5)
    with pytest.raises(ValueError, match="at least 2 rows"):
        trainer.fit_lbfgs(X[:1], Y[:1], verbose=0)


class Watch(callbacks.Callback):
    def __init__(self, stop=None):
        self.seen, self.stop = [], stop

    def __getattribute__(self, name):
        if name.startswith("on_"):
            object.__getattribute__(self, "seen").append(name)
        return object.__getattribute__(self, name)

    def on_epoch_end(self, epoch, logs):
        assert logs["loss"] == pytest.approx(self.trainer.evaluate(X, Y)["loss"], rel=1e-6)
        self.trainer.stop_training = epoch == self.stop


def test_callbacks_lines_and_stops(capsys):
    watch, trainer = Watch(stop=3), make()
    history = trainer.fit_lbfgs(X, Y, callbacks=[watch], verbose=2)
    assert len(history["loss"]) == 4 and "stop_training" in history.message and not history.success
    assert watch.seen.count("on_epoch_end") == 4 and watch.seen[0] == "on_train_begin" and watch.seen[-1] == "on_train_end"
    assert capsys.readouterr().out.count("epoch ") == 4
    assert make().fit_lbfgs(X, Y, max_iter=0, verbose=0) == {}


def test_an_exception_of_a_callback_leaves_the_last_iteration():
    class Fail(callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 2:
                self.loss = logs["loss"]
                raise KeyboardInterrupt

    fail, trainer = Fail(), make()
    with pytest.raises(KeyboardInterrupt):
        trainer.fit_lbfgs(X, Y, callbacks=[fail], verbose=0)
    assert trainer.evaluate(X, Y)["loss"] == pytest.approx(fail.loss, rel=1e-6)
    trainer.fit_lbfgs(X, Y, max_iter=2, verbose=0)


def test_a_loss_that_fails_in_the_middle():
    calls = [0]

    def loss(outputs, targets):
        calls[0] += 1
        if calls[0] == 6:
            raise ZeroDivisionError("mine")
        return float((outputs**2).mean()), 2 * outputs / outputs.size

    trainer = make(loss=losses.Custom(loss))
    with pytest.raises(ZeroDivisionError, match="mine"):
        trainer.fit_lbfgs(X, Y, verbose=0)
    found = trainer.evaluate(X, Y)["loss"]
    assert found < make(loss=losses.Custom(loss)).evaluate(X, Y)["loss"]


@pytest.mark.parametrize(
    "loss, match",
    [
        (lambda z, y: (float(z.mean()), np.full_like(z, 1 / z.size)), "falls without end"),
        (lambda z, y: (float((z**2).mean()), -2 * z / z.size), "the gradient does not fit the value"),
        (lambda z, y: (np.nan, z), "not finite where it begins"),
    ],
)
def test_a_search_that_fails_is_said(loss, match):
    trainer = make(nn.Dense(64, 3), loss=losses.Custom(loss))
    before = weights(trainer)
    with pytest.warns(RuntimeWarning, match=f"fit_lbfgs: .*{match}"):
        history = trainer.fit_lbfgs(X, X[:, :3], verbose=0)
    assert not history.success and match in history.message
    assert same(before, weights(trainer)) == ("without end" not in match)
    assert all(np.isfinite(w).all() for w in weights(trainer))


@pytest.mark.parametrize(
    "arguments, error, match",
    [
        ({"max_iter": -1}, ValueError, "max_iter: expected"),
        ({"max_iter": 2.5}, TypeError, "max_iter: expected"),
        ({"history_size": 0}, ValueError, "history_size: expected"),
        ({"tol": -1}, ValueError, "tol: expected"),
        ({"y": Y[:-1]}, ValueError, "targets"),
        ({"y": Y + 5}, ValueError, "labels from 0 to 9"),
        ({"X": np.where(X > 0, np.nan, X), "check_finite": True}, ValueError, "finite"),
        ({"validation_data": X}, ValueError, "validation_data: expected a pair"),
        ({"callbacks": [3]}, TypeError, r"callbacks\[0\]"),
        ({"verbose": 7}, ValueError, "verbose"),
        ({"epochs": 3}, TypeError, "unexpected keyword argument 'epochs'"),
    ],
)
def test_bad_arguments(arguments, error, match):
    trainer = make()
    before = weights(trainer)
    with pytest.raises(error, match=match):
        trainer.fit_lbfgs(**{"X": X, "y": Y, "verbose": 0, **arguments})
    assert same(before, weights(trainer)) and trainer.epochs_done == 0


def test_optimizers_that_keep_an_average():
    with pytest.raises(ValueError, match="ScheduleFreeAdamW"):
        make(optimizer=optim.ScheduleFreeAdamW).fit_lbfgs(X, Y, verbose=0)
    trainer = make(optimizer=lambda ps: optim.Adam(ps, ema=0.9))
    trainer.fit(X, Y, verbose=0)
    with trainer.optimizer.averaged(), pytest.raises(RuntimeError, match="averages stand in the parameters"):
        trainer.fit_lbfgs(X, Y, verbose=0)
