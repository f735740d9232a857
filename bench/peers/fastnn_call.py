"""fastnn's training step as `fit` runs it: many steps inside one native call, no Python between them.

The rows of each step are named by an index, as in a shuffled epoch, so each step also gathers its batch.
"""

import numpy as np

from ..works import LEARNING_RATE
from . import Loop, fastnn as peer
from .fastnn import environment, held, setup, versions  # noqa: F401  the interface

LABEL = "fastnn, many steps in a call"
REQUIRES = ("fastnn",)
Inference = None


class Training(Loop):
    def __init__(self, work, weights, batches):
        self.batch, self.weights = work.batch, weights
        self.x = np.concatenate([x for x, _ in batches])
        self.y = np.concatenate([y for _, y in batches])
        self.batches = [(i,) for i in range(len(batches))]
        self.model = peer.model(work, weights)
        self.reset()

    def reset(self):
        fastnn = peer.fastnn
        peer.load(self.model, self.weights)
        self.optimizer = fastnn.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)
        trainer = fastnn.Trainer(self.model, fastnn.losses.SoftmaxCrossEntropy(), self.optimizer)
        self.executor = fastnn.executors.NativeExecutor(trainer.plan(self.batch))
        self.index = np.empty(0, np.int64)

    def _run(self, index):
        steps = len(index) // self.batch
        rates = np.full((steps, 1), LEARNING_RATE)
        losses = np.empty(steps)
        self.optimizer.prepare()
        self.executor.run(self.x, self.y, index, rates, losses=losses)
        return losses[-1]

    def step(self, i):
        return self._run(np.arange(i * self.batch, (i + 1) * self.batch))

    def run(self, n):
        if len(self.index) != n * self.batch:
            self.index = np.resize(np.arange(len(self.x)), n * self.batch)
        return self._run(self.index)
