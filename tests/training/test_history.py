"""fastnn.training.history: what it holds, tables and pictures of it, and the fingerprint."""

import copy
import math
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, losses, nn, optim
from fastnn.training import History


def make(seed=0, lr=0.01, batchnorm=False, **settings):
    fastnn.manual_seed(4)
    model = nn.mlp([8, 6, 3], batchnorm=batchnorm)
    return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=lr), seed, **settings)


def samples():
    rng = np.random.default_rng(11)
    return rng.normal(size=(50, 8)).astype(np.float32), rng.integers(0, 3, 50)


def fit(trainer, epochs=2, **settings):
    x, y = samples()
    return trainer.fit(x, y, **{"epochs": epochs, "batch_size": 10, "validation_data": (x[:9], y[:9]), "verbose": 0, **settings})


def test_a_table(tmp_path):
    trainer = make()
    history = fit(trainer, 3, callbacks=[callbacks.Lambda(on_step_end=lambda step, logs: setattr(trainer, "stop_training", step == 12))])
    assert history.epochs == [0, 1, 2] and history.rows == [50, 50, 20] and math.isnan(history["val_loss"][2])
    history.to_csv(tmp_path / "h.csv")
    head, *lines = [line.split(",") for line in (tmp_path / "h.csv").read_text().splitlines()]
    assert head == ["epoch", *history] and [line[0] for line in lines] == ["0", "1", "2"] and lines[2][head.index("val_loss")] == ""
    assert [float(line[1]) for line in lines] == history["loss"]
    History().to_csv(tmp_path / "h.csv")
    assert (tmp_path / "h.csv").read_text() == "epoch\n"


def test_a_data_frame():
    pytest.importorskip("pandas")
    history = fit(make())
    frame = history.to_frame()
    assert list(frame.columns) == list(history) and list(frame.index) == [0, 1] and frame.index.name == "epoch"
    assert frame["loss"].tolist() == history["loss"]


def test_a_picture():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    history = fit(make(), 4)
    figure = history.plot()
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "accuracy"]
    for ax in figure.axes:
        curves = {line.get_label(): line for line in ax.get_lines()}
        assert set(curves) == {"training", "validation"}
        assert curves["training"].get_ydata().tolist() == history[ax.get_ylabel()]
        assert curves["validation"].get_ydata().tolist() == history["val_" + ax.get_ylabel()]
        assert curves["training"].get_xdata().tolist() == [1, 2, 3, 4]
    (ax,) = history.plot(["seconds"]).axes
    assert len(ax.get_lines()) == 1
    with pytest.raises(ValueError, match=r"^names: expected some of \['loss', 'accuracy', 'seconds'\], got \['f1'\]"):
        history.plot(["f1"])
    with pytest.raises(ValueError, match="^names: expected some of"):
        History().plot()
    plt.close("all")


def test_the_same_training_has_the_same_fingerprint(team):
    expected = fit(make()).fingerprint()
    assert len(expected) == 32 and int(expected, 16)
    with team(3):
        assert fit(make()).fingerprint() == expected
    first = make()
    one = fit(first, 1)
    assert one.fingerprint() != expected
    assert fit(first, 1).fingerprint() == expected and one.fingerprint() != expected
    assert fit(make(), validation_data=None, callbacks=[callbacks.TerminateOnNaN()]).fingerprint() == expected  # what has no say


@pytest.mark.parametrize("trainer, settings", [
    (lambda: make(seed=1), {}),
    (lambda: make(lr=0.02), {}),
    (lambda: make(clip_norm=1e9), {}),
    (lambda: make(batchnorm=True), {}),
    (make, {"epochs": 3}),
    (make, {"batch_size": 9}),
    (make, {"shuffle": False}),
])
def test_another_training_has_another(trainer, settings):
    assert fit(trainer(), **settings).fingerprint() != fit(make()).fingerprint()


def test_a_fingerprint_is_of_the_end_of_its_training():
    trainer = make()
    history = fit(trainer)
    late = fit(trainer)
    with pytest.raises(RuntimeError, match="^fingerprint: expected the model as it was at the end of this training"):
        history.fingerprint()
    copies = [copy.copy(late), copy.deepcopy(late), pickle.loads(pickle.dumps(late))]
    assert all(c == late and c.rows == late.rows and c.epochs == late.epochs for c in copies)
    with pytest.raises(RuntimeError, match="^fingerprint: expected the history that fit has returned, got a copy"):
        copies[0].fingerprint()
    found = late.fingerprint()
    assert pickle.loads(pickle.dumps(late)).fingerprint() == found
    w = trainer.model.parameters()[0].data
    trainer = make()
    history = fit(trainer)
    trainer.model.parameters()[0].data[0, 0] = np.nextafter(w[0, 0], np.float32(9))
    assert history.fingerprint() != fit(make()).fingerprint()  # a bit


def test_a_history_belongs_to_the_trainer_from_the_beginning():
    trainer = make()
    assert trainer.history is None
    seen = []
    history = fit(trainer, 3, callbacks=[callbacks.Lambda(on_epoch_begin=lambda epoch: seen.append(len(trainer.history.epochs)))])
    assert trainer.history is history and seen == [0, 1, 2]


def test_the_summary_leaves_out_epochs_without_validation(capsys):
    fastnn.manual_seed(0)
    model = nn.mlp([4, 2])
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=0.1))
    x, y = np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1])
    history = trainer.fit(x, y, epochs=3, validation_data=(x, y), validation_freq=2, verbose=0)
    assert np.isnan(history["val_loss"][0]) and "nan" not in repr(history)
