"""StochasticWeightAveraging: the model ends as the mean of where it was after its last epochs."""

from typing import Any

import numpy as np

from ..checks import count
from .base import Callback


class StochasticWeightAveraging(Callback):
    """The model's weights at the end are the mean of those after each epoch from `start` on.

        mean <- mean + (w - mean) / (n + 1)

    (P. Izmailov et al., "Averaging weights leads to wider optima and better generalization", 2018.) It helps where the rate stays high
    to the end, constant or cyclic, so that the weights go round a minimum. Running statistics of batch normalisations are taken anew
    for the mean, from what was trained on. An optimizer's `ema` is the other average: of all steps, those of late weighing most.

    Parameters
    ----------
    start : int
        Epochs of this `fit` before the first that counts.
    every : int, default 1
        Of the epochs from then on, every so many count.

    Attributes
    ----------
    averaged : int
        How many epochs' weights are in the mean.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> X, X_val, y, y_val = data.train_test_split(*data.load_digits(), test_size=0.5)
    >>> model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 50, activation="relu"), nn.Dense(50, 10))
    >>> trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=0.5))
    >>> swa = callbacks.StochasticWeightAveraging(start=10)
    >>> history = trainer.fit(X, y, epochs=20, batch_size=16, callbacks=[swa], verbose=0)
    >>> swa.averaged, trainer.evaluate(X_val, y_val)["accuracy"] > 0.95
    (10, True)
    """

    def __init__(self, start, every=1) -> None:
        self.start, self.every = count(start, "start", 0), count(every, "every", 1)
        self.averaged, self._seen, self._mean = 0, 0, None

    def on_train_begin(self) -> None:
        self.averaged, self._seen, self._mean = 0, 0, None

    def on_epoch_end(self, epoch, logs) -> None:
        self._seen += 1
        if self._seen <= self.start or (self._seen - self.start - 1) % self.every:
            return
        parameters = [p.data for p in self.trainer.model.parameters()]
        if self._mean is None:
            self._mean = [np.zeros(p.shape, np.float64) for p in parameters]
        self.averaged += 1
        for mean, p in zip(self._mean, parameters):
            mean += (p - mean) / self.averaged

    def on_train_end(self) -> None:
        self._put()

    def on_exception(self, error) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._put()

    def _put(self):
        """The model becomes the mean."""
        trainer, mean, self._mean = self.trainer, self._mean, None
        if mean is None:
            return
        for p, values in zip(trainer.model.parameters(), mean):
            if not p.frozen:
                p.data[...] = values
        if trainer.model.least_rows > 1 and trainer.data_in_fit is not None:
            trainer.update_bn(trainer.data_in_fit.X)

    def state_dict(self) -> dict[str, Any]:
        return {"averaged": self.averaged, "seen": self._seen, **{f"mean.{i}": a for i, a in enumerate(self._mean or ())}}

    def load_state_dict(self, state) -> None:
        averaged, seen = (count(state.get(k), k, 0) for k in ("averaged", "seen"))
        mean = None
        if averaged:
            mean = [np.array(state[f"mean.{i}"], np.float64) for i, _ in enumerate(self.trainer.model.parameters())]
            for i, (a, p) in enumerate(zip(mean, self.trainer.model.parameters())):
                if a.shape != p.shape:
                    raise ValueError(f"mean.{i}: expected shape {p.shape}, got {a.shape}")
        self.averaged, self._seen, self._mean = averaged, seen, mean
