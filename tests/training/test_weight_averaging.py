"""callbacks.StochasticWeightAveraging: the mean of the weights after epochs, with running statistics that fit it."""

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, losses, nn, optim


def make():
    fastnn.manual_seed(4)
    model = nn.Sequential(nn.Dense(8, 6), nn.BatchNorm(6), nn.ReLU(), nn.Dense(6, 3))
    return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=0.3))


def samples(rows=60):
    rng = np.random.default_rng(11)
    return rng.normal(size=(rows, 8)).astype(np.float32), rng.integers(0, 3, rows)


@pytest.mark.parametrize("start, every, counted", [(2, 1, [2, 3, 4, 5]), (1, 2, [1, 3, 5]), (0, 5, [0, 5])])
def test_the_mean_of_epochs(start, every, counted):
    x, y = samples()
    trainer, swa, seen = make(), callbacks.StochasticWeightAveraging(start, every), []
    note = callbacks.Lambda(on_epoch_end=lambda epoch, logs: seen.append([p.data.copy() for p in trainer.model.parameters()]))
    trainer.fit(x, y, epochs=6, callbacks=[note, swa], verbose=0)
    assert swa.averaged == len(counted)
    for i, p in enumerate(trainer.model.parameters()):
        np.testing.assert_allclose(p.data, np.mean([seen[e][i].astype(np.float64) for e in counted], axis=0), rtol=1e-5, atol=1e-7)
    bn = trainer.model[1]
    mean = bn.running_mean.data.copy()
    trainer.update_bn(x)
    assert (bn.running_mean.data == mean).all()


def test_too_few_epochs_leave_all_as_it_is():
    x, y = samples()
    plain, averaged = make(), make()
    plain.fit(x, y, epochs=3, verbose=0)
    averaged.fit(x, y, epochs=3, callbacks=[callbacks.StochasticWeightAveraging(3)], verbose=0)
    assert all((p.data == q.data).all() for p, q in zip(plain.model.parameters(), averaged.model.parameters()))


def test_it_goes_on_from_a_checkpoint(tmp_path):
    x, y = samples()
    whole = make()
    whole.fit(x, y, epochs=6, callbacks=[callbacks.StochasticWeightAveraging(2)], verbose=0)
    path = tmp_path / "training"
    first, second = make(), make()
    save = callbacks.Lambda(on_epoch_end=lambda epoch, logs: epoch == 3 and setattr(first, "stop_training", True))
    first.fit(x, y, epochs=6, callbacks=[callbacks.StochasticWeightAveraging(2), save, callbacks.Checkpoint(path)], verbose=0)
    second.load_checkpoint(path)
    second.fit(x, y, epochs=2, callbacks=[callbacks.StochasticWeightAveraging(2)], verbose=0)
    assert all((p.data == q.data).all() for p, q in zip(whole.model.parameters(), second.model.parameters()))


def test_what_is_refused():
    for start, every in ((-1, 1), (0, 0)):
        with pytest.raises(ValueError, match="expected an integer"):
            callbacks.StochasticWeightAveraging(start, every)
    with pytest.raises(TypeError, match="start"):
        callbacks.StochasticWeightAveraging(1.5)
