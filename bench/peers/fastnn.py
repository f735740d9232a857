"""fastnn through its public calls: `trainer.step(xb, yb)` on ready batches, and `model.predict(X, out=out)`."""

import importlib

import numpy as np

from .. import nets
from ..works import LEARNING_RATE
from . import Loop, common_environment

LABEL = "fastnn"
REQUIRES = ("fastnn",)


def environment(threads, isa=None):
    return {**common_environment(threads), **({"FASTNN_ISA": isa} if isa else {})}


def setup(threads):
    global fastnn
    fastnn = importlib.import_module("fastnn")
    fastnn.set_num_threads(threads)


def versions():
    return {"fastnn": fastnn.__version__, "fastnn ISA": fastnn.get_isa()}


def held(isa):
    return fastnn.get_isa() == isa, f"fastnn.get_isa() is {fastnn.get_isa()}"


def model(work, weights):
    """The network with the given weights."""
    nn = fastnn.nn
    layers = []
    if work.net:
        net = nn.Sequential(nn.Input(*work.shape), *_layers(work))
        load(net, weights)
        return net
    for w, b in weights:
        layers.append(nn.Dense(*w.shape))
        layers += [*([nn.BatchNorm(len(b))] if work.batchnorm else []), nn.Activation("relu")]
    net = nn.Sequential(*layers[: -2 if work.batchnorm else -1])
    load(net, weights)
    return net


def _layers(work):
    """Those of a network of bench.nets."""
    nn = fastnn.nn
    for layer, shape, _, _ in nets.walk(work.shape, work.layers):
        if layer[0] == "conv":
            yield nn.Conv2d(None, layer[1], layer[2], padding=layer[3], activation=layer[4] or None)
        elif layer[0] == "pool":
            yield (nn.MaxPool2d if layer[1] == "max" else nn.AvgPool2d)(2)
        elif layer[0] == "embed":
            yield nn.TabularEmbedding(layer[1], layer[2], layer[3])
        else:
            if len(shape) > 1:
                yield nn.Flatten()
            yield nn.Dense(None, layer[1], activation=layer[2] or None)


def load(net, weights):
    """The given weights, and those that batch normalisations begin with."""
    if isinstance(net.layers[0], fastnn.nn.Input):
        for p, a in zip(net.parameters(), (a for of in weights for a in of), strict=True):
            p.data = a
        return
    dense = iter(weights)
    for layer in net.layers:
        if isinstance(layer, fastnn.nn.Dense):
            layer.weight.data, layer.bias.data = next(dense)
        elif isinstance(layer, fastnn.nn.BatchNorm):
            layer.weight.data, layer.bias.data = np.ones(layer.features), np.zeros(layer.features)


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
