"""fastnn through its public calls: `trainer.step(xb, yb)` on ready batches, and `model.predict(X, out=out)`."""

import importlib

import numpy as np

from ..works import LEARNING_RATE
from . import Loop, common_environment as environment

LABEL = "fastnn"
REQUIRES = ("fastnn",)


def setup(threads):
    global fastnn
    fastnn = importlib.import_module("fastnn")
    fastnn.set_num_threads(threads)


def versions():
    return {"fastnn": fastnn.__version__, "fastnn ISA": fastnn.get_isa()}


def model(work, weights):
    """The network with the given weights."""
    nn = fastnn.nn
    last = len(weights) - 1
    net = nn.Sequential(
        *(nn.Dense(*w.shape, activation=None if i == last else "relu", init="zeros") for i, (w, _) in enumerate(weights))
    )
    for p, value in zip(net.parameters(), (a for pair in weights for a in pair)):
        p.data = value
    return net


class Training(Loop):
    def __init__(self, work, weights, batches):
        self.work, self.weights, self.batches = work, weights, batches
        self.model = model(work, weights)
        self.reset()

    def reset(self):
        for p, value in zip(self.model.parameters(), (a for pair in self.weights for a in pair)):
            p.data = value
        optimizer = fastnn.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)
        self.trainer = fastnn.Trainer(self.model, fastnn.losses.SoftmaxCrossEntropy(), optimizer)
        self.step = self.trainer.step


class Inference(Loop):
    def __init__(self, work, weights, batches):
        self.model = model(work, weights)
        self.batches = [(x,) for x, _ in batches]
        self.out = np.empty((work.batch, work.sizes[-1]), np.float32)

    def step(self, x):
        return self.model.predict(x, out=self.out)
