"""What a trainer refuses, and numbers that are not finite."""

import warnings

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim, regularizers
from fastnn.training.callbacks import Callback

from trainer_cases import BACKENDS, bits, Log, make, samples


@pytest.mark.parametrize(
    "settings, error, message",
    [
        ({"epochs": -1}, ValueError, "epochs: expected an integer >= 0, got -1"),
        ({"epochs": 1.0}, TypeError, "epochs: expected an integer, got 1.0"),
        ({"epochs": None}, TypeError, "epochs: expected an integer, got None"),
        ({"batch_size": 0}, ValueError, "batch_size: expected an integer >= 1, got 0"),
        ({"batch_size": -5}, ValueError, "batch_size: expected an integer >= 1, got -5"),
        ({"batch_size": "32"}, TypeError, "batch_size: expected an integer, got '32'"),
        ({"batch_size": 51, "drop_last": True}, ValueError, "batch_size: expected at most 50 rows with drop_last, got 51"),
        ({"seed": -1}, ValueError, "seed: expected an integer from 0"),
        ({"seed": 0.5}, TypeError, "seed: expected an integer, got 0.5"),
        ({"verbose": 3}, ValueError, "verbose: expected 0 .*, got 3"),
        ({"verbose": "1"}, ValueError, "verbose: expected 0 .*, got '1'"),
        ({"verbose": None}, ValueError, "verbose: expected 0 .*, got None"),
        ({"callbacks": [print]}, TypeError, r"callbacks\[0\]: expected a fastnn.callbacks.Callback, got builtin"),
        ({"callbacks": [Log]}, TypeError, r"callbacks\[0\]: expected a fastnn.callbacks.Callback, got type"),
        ({"callbacks": Callback()}, TypeError, "callbacks: expected a list, got a single Callback"),
        ({"validation_data": 3}, ValueError, r"validation_data: expected a pair \(X, y\)"),
        ({"validation_data": (1, 2, 3, 4)}, ValueError, "validation_data: expected a pair"),
        ({"validation_data": (np.zeros((2, 7)), [0, 0])}, ValueError, r"validation_data\[0\]: expected 8 features"),
        ({"validation_data": (np.zeros((2, 8)), [0, 3])}, ValueError, r"validation_data\[1\]: expected labels from 0 to 2, got 3 in row 1"),
        ({"validation_data": (np.full((2, 8), np.nan), [0, 1]), "check_finite": True}, ValueError, r"validation_data\[0\]: expected finite"),
    ],
)
def test_arguments_of_fit_that_are_refused(settings, error, message):
    x, y = samples(50)
    _, t = make()
    before = bits(t)
    with pytest.raises(error, match=f"^{message}"):
        t.fit(x, y, **{"verbose": 0, **settings})
    assert bits(t) == before and t.steps_done == t.epochs_done == 0 and t.seed == 0
    t.fit(x, y, verbose=0)  # and it is free again


@pytest.mark.parametrize("where", [0, 17, 49])
@pytest.mark.parametrize("label", [3, -1, 10**12])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_bad_label_anywhere_changes_nothing(where, label, backend):
    x, y = samples(50)
    y[where] = label
    _, t = make(backend=backend)
    before = bits(t)
    with pytest.raises(ValueError, match=f"^y: expected labels from 0 to 2, got {label} in row {where}$"):
        t.fit(x, y, batch_size=10, verbose=0)
    assert bits(t) == before and t.steps_done == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("backend", BACKENDS)
def test_check_finite(value, dtype, backend):
    x, y = samples(50)
    x = x.astype(dtype)
    x[31, 5] = value
    _, t = make(backend=backend)
    before = bits(t)
    with pytest.raises(ValueError, match="^X: expected finite values, got NaN or infinity in row 31"):
        t.fit(x, y, batch_size=10, check_finite=True, verbose=0)
    targets = np.eye(3)[y]
    targets[2, 1] = value
    with pytest.raises(ValueError, match="^y: expected finite values, got NaN or infinity in row 2"):
        t.fit(np.zeros((50, 8)), targets, check_finite=True, verbose=0)
    assert bits(t) == before and t.steps_done == 0
    if np.isnan(value):
        with pytest.warns(RuntimeWarning, match="^the loss became nan in epoch 1, step [1-5]: row 31 of the data is not finite; check_finite=True"):
            history = t.fit(x, y, batch_size=10, epochs=2, verbose=0)
        assert np.isnan(history["loss"]).all() and np.isnan(t.model.parameters()[0].data).any()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stepwise", [False, True])
def test_one_warning_where_the_loss_is_lost(backend, stepwise):
    x, y = samples(50)
    x[31, 5] = np.nan
    _, t = make(backend=backend)
    t.fit(x[:30], y[:30], epochs=2, batch_size=10, verbose=0)  # epochs are counted over the trainer's life
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        t.fit(x, y, batch_size=10, epochs=3, shuffle=False, verbose=0, callbacks=[Log()] if stepwise else None)
    assert [(w.category, w.filename) for w in seen] == [(RuntimeWarning, __file__)]
    assert str(seen[0].message).startswith("the loss became nan in epoch 3, step 4: row 31 of the data is not finite; ")


def test_a_finite_loss_gives_no_warning():
    x, y = samples(50)
    _, t = make()
    t.fit(x, y, batch_size=10, epochs=3, verbose=0)  # warnings are errors


class Losses(Callback):
    def __init__(self):
        self.seen = []

    def on_step_end(self, step, logs):
        self.seen.append(logs["loss"])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["mean", "sum", "custom"])
def test_skipped_steps_are_not_in_the_history(backend, kind):
    """Loss and accuracy of an epoch are of the rows that were trained on; a last, smaller batch among those left out."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 6)).astype(np.float32), rng.integers(0, 3, 60)
    spoilt = x.copy()
    spoilt[17, 2], spoilt[59, 0] = np.nan, np.inf  # batch 3 of 8, and the last one, of 4 rows
    good = np.setdiff1d(np.arange(60), [*range(16, 24), *range(56, 60)])
    found = []
    for data, rows in ((spoilt, np.arange(60)), (x, good)):
        fastnn.manual_seed(1)
        model = nn.Sequential(nn.Dense(6, 5, activation="tanh"), nn.Dense(5, 3))
        opt = optim.Adam(model.parameters(), skip_nonfinite=True)
        square = losses.Custom(lambda z, t: (float(((z - t) ** 2).mean()), 2 * (z - t) / z.size))
        loss = square if kind == "custom" else losses.SoftmaxCrossEntropy(reduction=kind)
        trainer = fastnn.Trainer(model, loss, opt, backend=backend, penalty=regularizers.L2(0.01))
        log = Losses()
        target = np.eye(3, dtype=np.float32)[y] if kind == "custom" else y
        one = trainer.fit(data[rows], target[rows], epochs=1, batch_size=8, shuffle=False, verbose=0)
        two = trainer.fit(data[rows], target[rows], epochs=1, batch_size=8, shuffle=False, verbose=0, callbacks=[log])
        found.append([h[k] for h in (one, two) for k in h if k != "seconds"])
        assert sum(np.isnan(log.seen)) == (2 if data is spoilt else 0)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


def test_an_epoch_of_skipped_steps_only():
    _, y = samples(20)
    model, _ = make()
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), skip_nonfinite=True))
    with pytest.warns(RuntimeWarning, match="^no step of epoch 1 was done, since none had finite gradients; "):
        history = trainer.fit(np.full((20, 8), np.nan), y, epochs=2, batch_size=10, verbose=0)
    assert np.isnan([*history["loss"], *history["accuracy"]]).all() and len(history["loss"]) == 2


def test_check_finite_sees_what_float32_cannot_hold():
    x, y = samples(50)
    x = x.astype(np.float64)
    x[31, 5] = 1e300
    _, t = make()
    before = bits(t)
    with pytest.raises(ValueError, match="^X: expected finite values, got one beyond float32 in row 31"):
        t.fit(x, y, batch_size=10, check_finite=True, verbose=0)
    assert bits(t) == before


def test_check_finite_changes_no_bit():
    x, y = samples(50)
    _, a = make()
    _, b = make()
    for shuffle in (True, False):
        a.fit(x, y, batch_size=16, shuffle=shuffle, check_finite=True, verbose=0)
        b.fit(x, y, batch_size=16, shuffle=shuffle, verbose=0)
    assert bits(a) == bits(b)


def test_what_a_trainer_refuses():
    model, _ = make()
    other, _ = make()
    loss, opt = losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters())
    for args, error, message in (
        ((nn.Dense(2, 2), loss, opt), TypeError, "model: expected a fastnn.nn.Sequential, got Dense"),
        ((nn.Sequential, loss, opt), TypeError, "model: expected"),
        ((model, None, opt), TypeError, "loss: expected"),
        ((model, loss, None), TypeError, "optimizer: expected an optimizer of fastnn.optim, got NoneType"),
        ((model, loss, optim.Adam), TypeError, r"optimizer: .*got type; write optim.Adam\(model.parameters\(\)\)"),
        ((model, loss, optim.SGD), TypeError, "optimizer: expected"),
        ((model, loss, optim.SGD(other.parameters())), ValueError, r"optimizer: expected parameters of the model, got one that it lacks: params\[0\]"),
        ((model, loss, optim.SGD([*model.parameters(), np.zeros(3, np.float32)])), ValueError, r"params\[4\]"),
        ((model, loss, optim.SGD([model.parameters()[0].data[:2]])), ValueError, r"params\[0\], shape \(2, 6\)"),
        ((model, loss, optim.SGD([model.parameters()[0].data.reshape(-1)])), ValueError, r"params\[0\]"),
        ((model, loss, opt, -1), ValueError, "seed: expected"),
        ((model, loss, opt, "0"), TypeError, "seed: expected"),
        ((model, loss, opt, 0, "gpu"), ValueError, "backend: expected 'native' or 'reference', got 'gpu'"),
    ):
        with pytest.raises(error, match=message):
            fastnn.Trainer(*args)


def test_arrays_of_the_model_are_its_parameters():
    x, y = samples(20)
    _, a = make(optimizer=optim.SGD)
    model, _ = make()
    b = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD([p.data for p in model.parameters()], lr=0.01))
    a.step(x, y)
    b.step(x, y)
    assert bits(a)[0] == bits(b)[0]
