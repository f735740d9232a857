"""Gradients added up over several batches: the update of one large batch, to rounding; and sums that do not depend on how calls are cut."""

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, losses, nn, optim, regularizers, schedules
from fastnn.training import engine

ROWS = 75  # of which the last update of an epoch has 27, and its last batch 3


def make(loss=None, optimizer="SGD", dropout=0.0, batchnorm=False, backend="native", outputs=3, penalty=None, clip_norm=None, **settings):
    fastnn.manual_seed(4)
    model = nn.Sequential(
        nn.Dense(8, 24, activation="relu"), *[nn.BatchNorm(24)] * batchnorm, *[nn.Dropout(dropout)] * (dropout > 0),
        *[nn.GaussianNoise(0.1)] * (dropout > 0), nn.Dense(24, outputs),
    )  # fmt: skip
    opt = getattr(optim, optimizer)(model.parameters(), **{"lr": 0.05, **settings})
    return fastnn.Trainer(model, loss or losses.SoftmaxCrossEntropy(), opt, seed=3, backend=backend, clip_norm=clip_norm, penalty=penalty)


def samples(seed=11):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(ROWS, 8)).astype(np.float32), rng.integers(0, 3, ROWS)


def bits(trainer):
    return [p.data.tobytes() for _, p in (*trainer.model.named_parameters(), *trainer.model.named_buffers())]


def both(trainer, x, y, **more):
    """(history with batches of 8 of which 6 make an update, with batches of 48), and that the weights agree."""
    small, large = trainer(), trainer()
    one = small.fit(x, y, epochs=3, batch_size=8, accumulate=6, verbose=0, **more)
    two = large.fit(x, y, epochs=3, batch_size=48, verbose=0, **more)
    for p, q in zip(small.model.parameters(), large.model.parameters()):
        np.testing.assert_allclose(p.data, q.data, rtol=2e-4, atol=2e-6)
    for name in two:
        if name != "seconds":
            np.testing.assert_allclose(one[name], two[name], rtol=1e-5)
    assert small.steps_done == large.steps_done == 6 and one.rows == two.rows == [ROWS] * 3
    return small, large


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("case", [
    {}, {"dropout": 0.3}, {"optimizer": "Adam", "lr": 0.01}, {"optimizer": "LAMB"}, {"clip_norm": 0.05}, {"penalty": regularizers.L2(0.1)},
    {"max_norm": 0.7}, {"momentum": 0.9, "ema": 0.9}, {"lr": schedules.Step(0.05, 2)}, {"loss": losses.SoftmaxCrossEntropy(reduction="sum"), "lr": 1e-3},
], ids=str)  # fmt: skip
def test_the_update_of_a_large_batch(case, backend):
    both(lambda: make(backend=backend, **case), *samples())


def test_what_is_drawn_for_a_row_does_not_depend_on_the_part_that_it_is_in():
    """Channels that are dropped, and elements of windows."""

    def trainer():
        fastnn.manual_seed(4)
        model = nn.Sequential(
            nn.Input(8), nn.Reshape(2, 2, 2), nn.Conv2d(None, 6, 2, padding=1, activation="relu"), nn.Dropout2d(0.3), nn.StochasticPool2d(2, 1),
            nn.GroupNorm(2, 6), nn.Flatten(), nn.Dense(None, 3),
        )  # fmt: skip
        return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=0.05), seed=3)

    both(trainer, *samples())


@pytest.mark.parametrize("shuffle", [True, False])
def test_rows_count_by_themselves(shuffle):
    """Also where they have weights, or are to be ignored, more in one part than in another."""
    x, y = samples()
    both(make, x, y, sample_weight=np.linspace(0, 3, ROWS) ** 2, shuffle=shuffle)
    y[5:20] = y[40:43] = -1
    both(lambda: make(losses.SoftmaxCrossEntropy(ignore_index=-1)), x, y, shuffle=shuffle, validation_data=(x, y), metrics=["f1"])


def test_models_in_float64():
    x, y = samples()
    found = []
    for settings in ({"batch_size": 8, "accumulate": 6}, {"batch_size": 48}):
        fastnn.manual_seed(4)
        model = nn.Sequential(nn.Dense(8, 24, activation="tanh"), nn.Dense(24, 3), dtype="float64")
        trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=0.1))
        trainer.fit(x, y, epochs=3, verbose=0, **settings)
        found.append(model.predict(x))
    np.testing.assert_allclose(*found, rtol=1e-12, atol=1e-14)


def test_losses_of_ones_own():
    x, _ = samples()
    target = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)
    own = losses.Custom(lambda z, t: (((z - t) ** 2).mean(), 2 * (z - t) / z.size))
    both(lambda: make(own), x, target)
    both(lambda: make(losses.MeanSquaredError()), x, target)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_same_bits_for_any_threads(threads, team):
    x, y = samples()
    expected, t = make(dropout=0.2), make(dropout=0.2)
    with team(2):
        expected.fit(x, y, epochs=2, batch_size=16, accumulate=2, verbose=0)
    with team(threads):
        t.fit(x, y, epochs=2, batch_size=16, accumulate=2, verbose=0)
    assert bits(t) == bits(expected)


def test_batches_that_are_large_enough_alone():
    x, y = samples()
    one, two = make(dropout=0.2), make(dropout=0.2)
    one.fit(x, y, batch_size=200, accumulate=3, epochs=2, verbose=0)
    two.fit(x, y, batch_size=200, epochs=2, verbose=0)
    assert bits(one) == bits(two)


def test_normalisation_sees_the_smaller_batches():
    x, y = samples()
    t, expected = make(batchnorm=True, lr=0.0), make(batchnorm=True, lr=0.0)
    t.fit(x[:72], y[:72], batch_size=8, accumulate=3, shuffle=False, verbose=0)
    expected.fit(x[:72], y[:72], batch_size=8, shuffle=False, verbose=0)
    assert bits(t) == bits(expected) and t.steps_done == 3 and expected.steps_done == 9


def test_callbacks_and_schedules_count_updates():
    x, y = samples()
    seen = []
    t = make(lr=schedules.Step(0.05, 1, 0.5))
    look = callbacks.Lambda(on_step_end=lambda step, logs: seen.append((step, t.last_rates[0], logs["loss"])))
    expected = []
    u = make(lr=schedules.Step(0.05, 1, 0.5))
    other = callbacks.Lambda(on_step_end=lambda step, logs: expected.append((step, u.last_rates[0], logs["loss"])))
    t.fit(x, y, epochs=2, batch_size=10, accumulate=4, callbacks=[look], verbose=0)
    u.fit(x, y, epochs=2, batch_size=40, callbacks=[other], verbose=0)
    np.testing.assert_allclose(seen, expected, rtol=1e-5)
    assert [s for s, _, _ in seen] == [1, 2, 3, 4]


def test_gone_on_with_after_a_break(tmp_path):
    x, y = samples()
    whole, first = make(dropout=0.2, optimizer="Adam"), make(dropout=0.2, optimizer="Adam")
    settings = {"batch_size": 4, "accumulate": 3, "verbose": 0}
    expected = whole.fit(x, y, epochs=3, **settings)

    def interrupt(step, logs):
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.fit(x, y, epochs=3, callbacks=[callbacks.Lambda(on_step_end=interrupt)], **settings)
    first.save_checkpoint(tmp_path / "t")
    second = make(dropout=0.2, optimizer="Adam")
    second.load_checkpoint(tmp_path / "t")
    history = second.fit(x, y, epochs=3, **settings)
    assert bits(second) == bits(whole) and history["loss"] == expected["loss"]


def test_skipped_updates():
    x, y = samples()
    x[30] = np.nan
    t, u = make(skip_nonfinite=True), make(skip_nonfinite=True)
    one = t.fit(x, y, batch_size=8, accumulate=2, shuffle=False, verbose=0)
    two = u.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    np.testing.assert_allclose(t.model.predict(x[:5]), u.model.predict(x[:5]), rtol=1e-4)
    np.testing.assert_allclose(one["loss"], two["loss"], rtol=1e-5)
    assert t.optimizer.state_dict()["groups"][0]["steps"] == u.optimizer.state_dict()["groups"][0]["steps"] == 4


def test_the_memory_of_the_smaller_batches():
    x, y = samples()
    t = make()
    t.fit(x, y, batch_size=5, accumulate=10, verbose=0)
    assert t._training[1].plan.batch == 5
    assert t.step(x[:10], y[:10]) > 0 and t._training[1].plan.batch == 10


@pytest.mark.parametrize("settings, message", [
    ({"accumulate": 0}, "^accumulate: expected an integer >= 1, got 0"),
    ({"accumulate": 2, "drop_last": True, "batch_size": 100}, "^batch_size: expected at most 75 rows with drop_last"),
])
def test_what_is_refused(settings, message):
    x, y = samples()
    with pytest.raises(ValueError, match=message):
        make().fit(x, y, verbose=0, **settings)
    summed = make(losses.SoftmaxCrossEntropy(reduction="sum"), penalty=regularizers.L2(0.1))
    for data in ((x, y), ([(x, y)],)):
        with pytest.raises(ValueError, match="^accumulate: expected a loss that is a mean"):
            summed.fit(*data, accumulate=2, verbose=0)


# --- of an iterable ---


class Batches:
    """The rows in order, begun anew each time."""

    def __init__(self, x, y, *more, batch=8):
        self.arrays, self.batch = (x, y, *more), batch

    def __iter__(self):
        for i in range(0, len(self.arrays[0]), self.batch):
            yield tuple(a[i : i + self.batch] for a in self.arrays)


@pytest.mark.parametrize("batchnorm", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_items_of_an_iterable(batchnorm, weighted):
    """The bits of the same rows as arrays."""
    x, y = samples()
    weights = [np.linspace(0, 2, ROWS)] * weighted
    a, b = make(dropout=0.2, batchnorm=batchnorm), make(dropout=0.2, batchnorm=batchnorm)
    one = a.fit(x, y, epochs=2, batch_size=8, accumulate=4, shuffle=False, sample_weight=weights[0] if weighted else None, metrics=["f1"], verbose=0)
    two = b.fit(Batches(x, y, *weights), epochs=2, accumulate=4, metrics=["f1"], verbose=0)
    assert bits(a) == bits(b) and a.steps_done == b.steps_done == 6 and one.rows == two.rows
    assert all(one[name] == two[name] for name in ("loss", "accuracy", "f1"))


@pytest.mark.parametrize("kind", [lambda *a: Batches(*a), lambda *a: iter(Batches(*(np.tile(b, (9, *[1] * (b.ndim - 1))) for b in a)))], ids=["iterable", "iterator"])
def test_iterables_are_gone_on_with(kind, tmp_path):
    x, y = samples()
    whole, first = make(dropout=0.2), make(dropout=0.2)
    whole.fit(kind(x, y), epochs=3, steps_per_epoch=2, accumulate=3, verbose=0)
    stop = callbacks.Lambda(on_step_end=lambda step, logs: setattr(first, "stop_training", step == 3))
    items = kind(x, y)
    first.fit(items, epochs=3, steps_per_epoch=2, accumulate=3, callbacks=[stop], verbose=0)
    first.save_checkpoint(tmp_path / "t")
    second = make(dropout=0.2)
    second.load_checkpoint(tmp_path / "t")
    for trainer, source in ((second, kind(x, y)), (first, items)):
        trainer.fit(source, epochs=2, steps_per_epoch=2, accumulate=3, verbose=0)
        assert bits(trainer) == bits(whole)


def test_items_that_do_not_fit_together():
    x, y = samples()
    t = make(batchnorm=True)
    with pytest.raises(ValueError, match="^X: the last of the rows that are accumulated: expected at least 2 rows to train on"):
        t.fit([(x[:8], y[:8]), (x[:5], y[:5]), (x[:4], y[:4])], accumulate=3, verbose=0)
    assert t.steps_done == 0


@pytest.mark.parametrize("loss", [losses.SoftmaxCrossEntropy(), losses.Custom(lambda z, t: (float((z**2).mean() / 3), 2 * z / z.size / 3))], ids=str)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_numbers_do_not_depend_on_how_calls_are_cut(loss, accumulate, monkeypatch):
    """An epoch is as many native calls as time says; the sums of its losses are the same bits."""
    x, y = samples()
    y = y if isinstance(loss, losses.SoftmaxCrossEntropy) else np.zeros((ROWS, 3), np.float32)
    settings = {"epochs": 3, "batch_size": 2, "accumulate": accumulate, "validation_data": (np.tile(x, (9, 1)), np.tile(y, (9, 1) if y.ndim > 1 else 9)), "verbose": 0}
    whole, cut = make(loss), make(loss)
    expected = whole.fit(x, y, **settings)
    monkeypatch.setattr(engine, "SLICE", 1e-9)
    found = cut.fit(x, y, **settings)
    assert found["loss"] == expected["loss"] and found["val_loss"] == expected["val_loss"] and bits(cut) == bits(whole)
