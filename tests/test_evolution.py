"""fastnn.evolution: a model trained without gradients."""

import threading

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, data, losses, nn
from fastnn.evolution import GeneticAlgorithm

X, Y = data.load_digits()
X, Y = X[::6].reshape(-1, 64).astype(np.float32) / 16, Y[::6]


def make(*layers):
    fastnn.manual_seed(0)
    return nn.Sequential(*(layers or (nn.Dense(64, 10),)))


def weights(model):
    return b"".join(p.data.tobytes() for p in model.parameters())


def errors(outputs, labels):
    return (outputs.argmax(axis=1) != labels).mean()


@pytest.mark.parametrize("selection", ["tournament", "truncation", "rank"])
@pytest.mark.parametrize("crossover", ["uniform", "one_point", "two_point", "blend", "none"])
def test_every_form_makes_the_loss_smaller(selection, crossover):
    model = make()
    before = losses_of(model)
    history = GeneticAlgorithm(30, 40, selection, crossover).fit(model, losses.SoftmaxCrossEntropy(), X, Y, verbose=0)
    assert history["loss"] == sorted(history["loss"], reverse=True)  # the elite stays
    assert history["loss"][-1] < 0.9 * before and losses_of(model) == pytest.approx(history["loss"][-1], rel=1e-5)
    assert set(history) == {"loss", "accuracy", "mean_loss", "seconds"} and len(history["loss"]) == 40
    assert history["accuracy"][-1] == (model.predict(X).argmax(axis=1) == Y).mean()


def losses_of(model):
    return fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), X, Y)[0]


def test_learns_digits():
    model = make()
    history = GeneticAlgorithm(population=50, generations=120, seed=1).fit(model, losses.SoftmaxCrossEntropy(), X, Y, verbose=0)
    assert history["accuracy"][-1] > 0.85


def test_a_loss_without_a_gradient_and_validation_data():
    model = make(nn.Dense(64, 8, activation="tanh"), nn.Dense(8, 10))
    history = GeneticAlgorithm(30, 30).fit(model, errors, X, Y, validation_data=(X[:50], Y[:50]), verbose=0)
    assert history["loss"][-1] < history["loss"][0] and "accuracy" not in history
    assert history["val_loss"][-1] == errors(model.predict(X[:50]), Y[:50])
    assert errors(model.predict(X), Y) == history["loss"][-1]


def test_the_same_for_any_number_of_threads_and_the_seed_counts():
    found = []
    before = fastnn.get_num_threads()
    try:
        for threads in (1, 2, 3):
            fastnn.set_num_threads(threads)
            model = make()
            GeneticAlgorithm(20, 6).fit(model, losses.SoftmaxCrossEntropy(), X, Y, verbose=0)
            found.append(weights(model))
    finally:
        fastnn.set_num_threads(before)
    assert found[0] == found[1] == found[2]
    model = make()
    GeneticAlgorithm(20, 6, seed=5).fit(model, losses.SoftmaxCrossEntropy(), X, Y, verbose=0)
    assert weights(model) != found[0]


def test_frozen_parameters_stay_and_dropout_is_left_out():
    model = make(nn.Dense(64, 8, activation="tanh"), nn.Dropout(0.5), nn.Dense(8, 10))
    model.parameters()[0].frozen = True
    held = model.parameters()[0].data.copy()
    history = GeneticAlgorithm(10, 5).fit(model, losses.SoftmaxCrossEntropy(), X, Y, verbose=0)
    assert (held == model.parameters()[0].data).all()
    assert history["accuracy"][-1] == (model.predict(X).argmax(axis=1) == Y).mean()


def test_not_a_number_is_the_worst():
    model = make()

    def loss(outputs, labels):
        return np.nan if outputs[0, 0] > model_limit else errors(outputs, labels)

    model_limit = float(model.predict(X)[0, 0]) + 0.01
    history = GeneticAlgorithm(30, 10).fit(model, loss, X, Y, verbose=0)
    assert np.isfinite(history["loss"]).all() and np.isfinite(history["mean_loss"]).all()


def test_callbacks_stop_and_what_a_loss_raises():
    class Stop(callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            self.trainer.stop_training = epoch == 3

    model = make()
    assert len(GeneticAlgorithm(10, 50).fit(model, errors, X, Y, callbacks=[Stop()], verbose=0)["loss"]) == 4
    assert GeneticAlgorithm(10, 0).fit(model, errors, X, Y, verbose=0) == {}
    before, calls = weights(model), [0]

    def fails(outputs, labels):
        calls[0] += 1
        if calls[0] > 5:
            raise ZeroDivisionError("mine")
        return 1.0

    with pytest.raises(ZeroDivisionError, match="mine"):
        GeneticAlgorithm(10, 3).fit(model, fails, X, Y, verbose=0)
    assert weights(model) == before


def test_a_first_generation_without_a_number_is_not_the_best():
    model, calls, lock = make(), [0], threading.Lock()

    def loss(outputs, labels):
        with lock:
            calls[0] += 1
            return np.nan if calls[0] <= 6 else errors(outputs, labels)

    history = GeneticAlgorithm(6, 4).fit(model, loss, X, Y, verbose=0)
    assert np.isnan(history["loss"][0]) and errors(model.predict(X), Y) == min(history["loss"][1:])


def test_callbacks_see_the_best_of_each_generation(tmp_path):
    model, seen = make(), []

    class Look(callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            seen.append((logs["loss"], errors(self.trainer.model.predict(X), Y)))

    stop, log = callbacks.EarlyStopping("val_loss", patience=2), callbacks.CSVLogger(tmp_path / "log.csv")
    history = GeneticAlgorithm(8, 12, elitism=0).fit(
        model, errors, X, Y, (X[:40], Y[:40]), callbacks=[Look(), stop, log, callbacks.TerminateOnNaN()], verbose=0
    )
    assert len(history["loss"]) < 12 and len((tmp_path / "log.csv").read_text().splitlines()) == len(seen) + 1
    assert all(told == found for told, found in seen)
    assert errors(model.predict(X[:40]), Y[:40]) == stop.best == min(history["val_loss"])
    with pytest.raises(ValueError, match="monitor: expected one of loss, mean_loss, seconds"):
        GeneticAlgorithm(8, 2).fit(model, errors, X, Y, callbacks=[callbacks.EarlyStopping()], verbose=0)
    with pytest.raises(TypeError, match=r"callbacks\[0\]: expected one that needs no Trainer.*got Diagnose"):
        GeneticAlgorithm(8, 2).fit(model, errors, X, Y, callbacks=[callbacks.Diagnose()], verbose=0)


@pytest.mark.parametrize(
    "arguments, error, match",
    [
        ({"population": 1}, ValueError, "population: expected an integer >= 2"),
        ({"generations": 1.5}, TypeError, "generations: expected an integer"),
        ({"selection": "best"}, ValueError, "selection: expected one of 'tournament'"),
        ({"crossover": 3}, ValueError, "crossover: expected one of 'uniform'"),
        ({"mutation": 0}, ValueError, "mutation: expected a number > 0"),
        ({"mutation": np.nan}, ValueError, "mutation"),
        ({"elitism": 50}, ValueError, "elitism: expected fewer than the population"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
def test_bad_settings(arguments, error, match):
    with pytest.raises(error, match=match):
        GeneticAlgorithm(**arguments)


@pytest.mark.parametrize(
    "arguments, error, match",
    [
        ({"model": 3}, TypeError, "model"),
        ({"loss": "mse"}, TypeError, "loss: expected a loss of fastnn.losses or a function"),
        ({"loss": lambda z, y: None}, TypeError, "loss: expected the function to return a number, got NoneType"),
        ({"loss": lambda z, y: "0.5"}, TypeError, "loss: expected the function to return a number, got str"),
        ({"loss": errors, "y": Y[:-1]}, ValueError, "y: expected 300 targets"),
        ({"y": Y + 4}, ValueError, "labels from 0 to 9"),
        ({"X": X[:, :5]}, ValueError, "X"),
        ({"validation_data": X}, ValueError, "validation_data: expected a pair"),
        ({"callbacks": [1]}, TypeError, r"callbacks\[0\]"),
        ({"verbose": 9}, ValueError, "verbose"),
    ],
)
def test_bad_arguments(arguments, error, match):
    model = make()
    before = weights(model)
    settings = {"model": model, "loss": losses.SoftmaxCrossEntropy(), "X": X, "y": Y, "verbose": 0, **arguments}
    with pytest.raises(error, match=match):
        GeneticAlgorithm(10, 2).fit(**settings)
    assert weights(model) == before
