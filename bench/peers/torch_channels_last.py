"""PyTorch, eager, with images and weights of convolutions in its layout of channels last; for networks with images only."""

from . import torch as peer
from .torch import REQUIRES, environment, held, setup, versions  # noqa: F401  the interface

LABEL = "PyTorch eager, channels last"


def _last(model, batches):
    layout = peer.torch.channels_last
    return model.to(memory_format=layout), [(x.contiguous(memory_format=layout), *more) for x, *more in batches]


class Training(peer.Training):
    def __init__(self, work, weights, batches):
        super().__init__(work, weights, batches)
        self.model, self.batches = _last(self.model, self.batches)


class Inference(peer.Inference):
    def __init__(self, work, weights, batches):
        super().__init__(work, weights, batches)
        self.model, self.batches = _last(self.model, self.batches)
