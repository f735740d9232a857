"""LearningRateLogger: the learning rates among the numbers of every epoch."""

import math

from .base import Callback


def rates_by_name(trainer):
    """The rate of each of the optimizer's groups in the last step of `fit`, NaN before the first: lr, or lr_0, lr_1 …"""
    groups = len(trainer.optimizer.param_groups)
    rates = [math.nan] * groups if trainer.last_rates is None else map(float, trainer.last_rates)
    return {"lr" if groups == 1 else f"lr_{i}": rate for i, rate in enumerate(rates)}


class LearningRateLogger(Callback):
    """Puts the learning rate into the history and the logs, where other callbacks find it: as lr, or for several groups of parameters
    as lr_0, lr_1 … It is that of the epoch's last step.

    Examples
    --------
    >>> X, y = data.load_digits()
    >>> model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 10))
    >>> opt = optim.SGD(model.parameters(), lr=schedules.PerEpoch(schedules.Step(0.1, 2, gamma=0.5)))
    >>> trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), opt)
    >>> trainer.fit(X, y, epochs=4, callbacks=[callbacks.LearningRateLogger()], verbose=0)["lr"]
    [0.1, 0.1, 0.05, 0.05]
    """

    def extra_logs(self) -> dict[str, float]:
        return rates_by_name(self.trainer)
