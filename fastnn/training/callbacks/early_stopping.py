"""EarlyStopping: end training when it no longer helps."""

from typing import Any

import numpy as np

from ...core.checks import flag, number
from ..checks import count
from .base import Callback
from .monitor import Monitor, check_best, check_counts


class EarlyStopping(Callback):
    """Ends training when a number of an epoch has stopped improving, and puts the best weights back.

    As Keras's callback of that name: an epoch is better where its number is so by more than `min_delta`; after `patience` epochs in
    a row without a better one, training ends. Epochs that lack the number, such as those that were not validated, are not counted.

    Parameters
    ----------
    monitor : str, default "val_loss"
        Which of an epoch's numbers.
    patience : int, default 10
    min_delta : float, default 0
        At least 0.
    mode : {"auto", "min", "max"}, default "auto"
        Which is better; by default that follows from the name: accuracy, f1, auc and their like are better when they are larger,
        losses and errors when they are smaller. Of others it must be said.
    restore_best : bool, default True
        When training ends, by Ctrl-C too, the model has the weights of its best epoch: parameters, buffers such as running
        statistics, and moving averages. That takes a copy of them.
    baseline : float, optional
        Epochs count as better only beyond this.
    start_from_epoch : int, default 0
        Epochs at the beginning in which nothing is watched.

    Attributes
    ----------
    best : float or None
        The best value so far.
    best_epoch : int or None
        Its epoch's number, from 0 over the trainer's life.
    stopped_epoch : int or None
        The epoch after which training was ended.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. `fit` raises ValueError, before its first step, where there is no such number.

    Examples
    --------
    >>> X, X_val, y, y_val = data.train_test_split(*data.load_digits(), test_size=0.3)
    >>> model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 100, activation="relu"), nn.Dense(100, 10))
    >>> trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01))
    >>> stop = callbacks.EarlyStopping(patience=3)
    >>> history = trainer.fit(X, y, epochs=100, validation_data=(X_val, y_val), callbacks=[stop], verbose=0)
    >>> stop.stopped_epoch == stop.best_epoch + 3 == len(history["loss"]) - 1
    True
    >>> trainer.evaluate(X_val, y_val)["loss"] == stop.best == min(history["val_loss"])
    True
    """

    def __init__(self, monitor="val_loss", patience=10, min_delta=0.0, mode="auto", restore_best=True, baseline=None,
                 start_from_epoch=0) -> None:
        self._monitor = Monitor(monitor, mode, number(min_delta, "min_delta", 0.0))
        self.monitor, self.patience = monitor, count(patience, "patience", 0)
        self.restore_best = flag(restore_best, "restore_best")
        self.baseline = None if baseline is None else number(baseline, "baseline")
        self.start_from_epoch = count(start_from_epoch, "start_from_epoch", 0)
        self._kept = None
        self._reset()

    def _reset(self):
        self._monitor.best = None
        self.best_epoch: Any = None
        self.stopped_epoch: Any = None
        self._wait = self._seen = 0

    best = property(lambda self: self._monitor.best)

    def check_names(self, names) -> None:
        self._monitor.check(names)

    def on_train_begin(self) -> None:
        self._reset()
        self._kept = None  # of another model, perhaps

    def on_epoch_end(self, epoch, logs) -> None:
        self._seen += 1
        if self.monitor not in logs or self._seen <= self.start_from_epoch:
            return
        self._wait += 1
        if self._monitor.improves(logs[self.monitor]):
            self.best_epoch = epoch
            self._keep()
            if self.baseline is None or self._monitor.is_better(self.best, self.baseline):
                self._wait = 0
        elif self._wait >= self.patience and self._seen > self.start_from_epoch + 1:
            self.stopped_epoch = epoch
            self.trainer.stop_training = True

    def on_train_end(self) -> None:
        self._put_back()

    def on_exception(self, error) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._put_back()

    # ---- the best weights ----

    def _arrays(self):
        """All arrays that make the model what it is."""
        model, optimizer = self.trainer.model, getattr(self.trainer, "optimizer", None)  # a genetic algorithm has none
        states = [] if optimizer is None else optimizer.weight_states()
        return [p.data for _, p in (*model.named_parameters(), *model.named_buffers())] + states

    def _keep(self):
        if not self.restore_best:
            return
        arrays = self._arrays()
        if self._kept is None:
            self._kept = [np.empty_like(a) for a in arrays]
        for kept, a in zip(self._kept, arrays):
            kept[...] = a

    def _put_back(self):
        if self.restore_best and self._kept is not None:
            for a, kept in zip(self._arrays(), self._kept):
                a[...] = kept

    # ---- state ----

    def state_dict(self) -> dict[str, Any]:
        state = {"best": self.best, "best_epoch": self.best_epoch, "stopped_epoch": self.stopped_epoch, "wait": self._wait,
                 "seen": self._seen}
        return {**state, **{f"kept.{i}": a for i, a in enumerate(self._kept or ())}}

    def load_state_dict(self, state) -> None:
        best = check_best(state.get("best"), "best")
        epochs = [None if state.get(k) is None else check_counts(state, k)[0] for k in ("best_epoch", "stopped_epoch")]
        wait, seen = check_counts(state, "wait", "seen")
        kept = None
        if self.restore_best and "kept.0" in state:
            kept = [np.empty_like(a) for a in self._arrays()]
            for i, a in enumerate(kept):
                found = state.get(f"kept.{i}")
                if getattr(found, "shape", None) != a.shape or found.dtype != a.dtype:
                    raise ValueError(f"kept.{i}: expected the best weights, an array of shape {a.shape}, got another")
                a[...] = found
        self._monitor.best, (self.best_epoch, self.stopped_epoch) = best, epochs
        self._wait, self._seen, self._kept = wait, seen, kept
        if self.stopped_epoch is not None:  # training was over
            self.trainer.stop_training = True
