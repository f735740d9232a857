"""scikit-learn's MLPClassifier: `partial_fit` over all ready batches a call, so that its checks and label encoding, which are
in the figure, are paid once for 16 steps.

Its Adam is the reordered one, and it reports no row's loss as more than -log(2^-23); it is judged by both. With two
classes it trains one logistic output in place of two softmax outputs, so only its first loss can be compared there.
"""

import importlib
import math
import warnings

import numpy as np

from ..works import LEARNING_RATE
from . import Loop
from .numpy import environment, held  # noqa: F401  it computes with NumPy and OpenBLAS

LABEL = "scikit-learn MLPClassifier"
REQUIRES = ("sklearn",)
JUDGE = {"epsilon_hat": True, "largest_loss": 23 * math.log(2)}
Inference = None


def setup(threads):
    global MLPClassifier
    MLPClassifier = importlib.import_module("sklearn.neural_network").MLPClassifier


def versions():
    return {"scikit-learn": importlib.import_module("sklearn").__version__}


class Training(Loop):
    def __init__(self, work, weights, batches):
        if work.sizes[-1] == 2:  # the one logit is the difference of the two
            w, b = weights[-1]
            weights = [*weights[:-1], (w[:, 1:] - w[:, :1], b[1:] - b[:1])]
        self.weights, self.batches, self.batch = weights, batches, work.batch
        self.x, self.y = (np.concatenate(part) for part in zip(*batches))
        self.classes = np.arange(work.sizes[-1])
        self.model = MLPClassifier(
            work.sizes[1:-1], activation="relu", solver="adam", alpha=0.0, batch_size=work.batch, shuffle=False,
            learning_rate_init=LEARNING_RATE,
        )  # fmt: skip
        warnings.simplefilter("ignore")
        self.model.partial_fit(*batches[0], classes=self.classes)  # makes the arrays
        assert all(c.dtype == np.float32 for c in self.model.coefs_)
        self.reset()

    def reset(self):
        model, optimizer = self.model, self.model._optimizer  # it updates these very arrays
        starts = [a for part in zip(*self.weights) for a in part]
        for mine, start in zip([*model.coefs_, *model.intercepts_], starts, strict=True):
            mine[...] = start
        optimizer.t = 0
        for moment in (*optimizer.ms, *optimizer.vs):
            moment[...] = 0

    def step(self, x, y):
        self.model.partial_fit(x, y)
        return self.model.loss_

    def run(self, n):
        while n:
            rows = min(n * self.batch, len(self.x))
            self.model.partial_fit(self.x[:rows], self.y[:rows])  # a step for each batch_size rows, in order
            n -= rows // self.batch
        return self.model.loss_
