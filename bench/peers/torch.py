"""PyTorch, eager: nn.Sequential, cross_entropy, Adam(fused=True), gradients set to None; inference_mode for inference.

The loss stays a tensor: no step waits for `.item()`.
"""

import importlib

from ..works import LEARNING_RATE
from . import Loop, common_environment as environment

LABEL = "PyTorch eager, fused Adam"
REQUIRES = ("torch",)


def setup(threads):
    global torch
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)


def versions():
    return {"torch": torch.__version__}


def model(weights, batchnorm=False):
    """The network with the given weights; torch keeps them [out, in]."""
    layers = []
    for w, b in weights:
        linear = torch.nn.Linear(*w.shape)
        layers += [linear, *([torch.nn.BatchNorm1d(len(b))] if batchnorm else []), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[: -2 if batchnorm else -1])
    load(net, weights)
    return net


def load(net, weights):
    """The given weights, and those that batch normalisations begin with."""
    linears = [layer for layer in net if isinstance(layer, torch.nn.Linear)]
    with torch.no_grad():
        for linear, (w, b) in zip(linears, weights):
            linear.weight.copy_(torch.from_numpy(w.T))
            linear.bias.copy_(torch.from_numpy(b))
        for layer in net:
            if isinstance(layer, torch.nn.BatchNorm1d):
                layer.reset_parameters()


class Training(Loop):
    def __init__(self, work, weights, batches):
        self.weights = weights
        self.batches = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches]
        self.model = model(weights, work.batchnorm)
        self.loss = self.make_loss()
        self.reset()

    def make_loss(self):
        cross_entropy, net = torch.nn.functional.cross_entropy, self.model
        return lambda x, y: cross_entropy(net(x), y)

    def reset(self):
        load(self.model, self.weights)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE, fused=True)

    def step(self, x, y):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(x, y)
        loss.backward()
        self.optimizer.step()
        return loss

    def number(self, loss):
        return loss.item()


class Inference(Loop):
    def __init__(self, work, weights, batches):
        self.batches = [(torch.from_numpy(x),) for x, _ in batches]
        self.model = model(weights).eval()

    def run(self, n):
        with torch.inference_mode():
            return super().run(n)

    def step(self, x):
        return self.model(x)

    def array(self, outputs):
        return outputs.detach().numpy()
