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
    nn, layers = fastnn.nn, []
    for w, _ in weights[:-1]:
        if work.batchnorm:
            layers += [nn.Dense(*w.shape, bias=False, init="zeros"), nn.BatchNorm(w.shape[1]), nn.Activation("relu")]
        else:
            layers.append(nn.Dense(*w.shape, activation="relu", init="zeros"))
    net = nn.Sequential(*layers, nn.Dense(*weights[-1][0].shape, init="zeros"))
    load(net, weights)
    return net


def load(net, weights):
    """The starting values; of a normalisation the scale is 1 and the shift the bias."""
    state = net.state_dict()
    weighted = [name for name, value in state.items() if value.ndim == 2]
    shifts = [name for name in state if name.endswith(".bias")]
    start = {name: np.ones_like(v) if name.endswith((".weight", ".running_var")) else np.zeros_like(v) for name, v in state.items()}
    for w_name, b_name, (w, b) in zip(weighted, shifts, weights, strict=True):
        start[w_name], start[b_name] = w, b
    net.load_state_dict(start)


class Training(Loop):
    def __init__(self, work, weights, batches):
        self.work, self.weights, self.batches = work, weights, batches
        self.model = model(work, weights)
        self.reset()

    def reset(self):
        load(self.model, self.weights)
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
