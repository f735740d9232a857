"""Models, data and callbacks of the trainer's tests."""

import numpy as np

import fastnn
from fastnn import losses, nn, optim
from fastnn.training.callbacks import Callback

BACKENDS = ["native", "reference"]


def make(widths=(8, 6, 3), activation="relu", optimizer=optim.Adam, seed=0, backend="native", **settings):
    fastnn.manual_seed(4)
    layers = [nn.Dense(a, b, activation=activation) for a, b in zip(widths[:-2], widths[1:-1])]
    model = nn.Sequential(*layers, nn.Dense(*widths[-2:]))
    settings.setdefault("lr", 0.01)
    return model, fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optimizer(model.parameters(), **settings), seed, backend)


def samples(rows=50, features=8, classes=3):
    rng = np.random.default_rng(11)
    return rng.normal(size=(rows, features)).astype(np.float32), rng.integers(0, classes, rows)


def bits(trainer):
    return [p.data.tobytes() for p in trainer.model.parameters()], [s.tobytes() for _, ss, _ in trainer.optimizer.update_tensors() for s in ss]


class Log(Callback):
    """Notes what is called."""

    def __init__(self):
        self.calls = []

    def on_train_begin(self):
        self.calls.append("train begin")

    def on_epoch_begin(self, epoch):
        self.calls.append(f"epoch {epoch} begin")

    def on_step_end(self, step, logs):
        self.calls.append((step, logs["loss"]))

    def on_epoch_end(self, epoch, logs):
        self.calls.append((f"epoch {epoch} end", logs))

    def on_train_end(self):
        self.calls.append("train end")
