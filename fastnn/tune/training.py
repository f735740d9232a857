"""Training: the objective of a search for settings of a training, judged by validation data."""

from typing import Any

from .. import _native
from ..core.checks import number
from ..init import check_seed
from ..training.checks import by_rows
from ..training.callbacks import Callback


class _Report(Callback):
    """Tells a trial the monitored number after every epoch."""

    def __init__(self, trial, monitor):
        self.trial, self.monitor = trial, monitor

    def on_progress(self, step, logs):
        if self.trial.broken_off:
            self.trainer.stop_training = True

    def on_epoch_end(self, epoch, logs):
        if self.monitor not in logs:
            raise ValueError(f"monitor: expected one of {sorted(logs)}, got {self.monitor!r}")
        self.trial.report(epoch, logs[self.monitor])


class Training:
    """An objective that trains: the value of a trial is what validation data says after its last epoch.

    Parameters
    ----------
    make_trainer : function
        Takes the settings, a dict, and returns a Trainer of a new model.
    X, y : numpy.ndarray
        What is trained on; no test data.
    validation_data : (X, y), optional
        By default a share of X and y is split off, at random by the seed, the same for all trials.
    validation_split : float, default 0.2
        That share; between 0 and 1.
    monitor : str, default "val_loss"
        "val_accuracy" is to be maximised: ``direction="maximize"``.
    seed : int, default 0
    fit
        Further arguments of `Trainer.fit`, such as epochs (or the search's ``epochs=``) and batch_size. callbacks may be a function of
        the trial's number (None for the final training) that returns a new list, as it must be where trials run side by side.

    Examples
    --------
    >>> from fastnn import tune
    >>> X, y = data.load_digits()
    >>> def make_trainer(p):
    ...     model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 10))
    ...     return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=p["lr"]))
    >>> training = tune.Training(make_trainer, X[:600], y[:600], epochs=3)
    >>> study = tune.random(training, {"lr": tune.LogUniform(1e-5, 1e-1)}, n=8, rounds=2)
    >>> trainer = study.train(training.final)  # by the best settings, on all rows
    >>> trainer.epochs_done
    3
    """

    def __init__(self, make_trainer, X, y, validation_data=None, validation_split=0.2, monitor="val_loss", seed=0, **fit) -> None:
        if not callable(make_trainer):
            raise TypeError(f"make_trainer: expected a function, got {type(make_trainer).__name__}")
        self.make_trainer, self.monitor, self.fit = make_trainer, monitor, {"verbose": 0, **fit}
        self.X, self.y = by_rows(X, "X"), by_rows(y, "y")
        rows = self.X.shape[0]
        if self.y.shape[0] != rows:
            raise ValueError(f"y: expected {rows} targets, one for each row of X, got shape {self.y.shape}")
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
                raise ValueError("validation_data: expected a pair (X, y)")
            self._train, self._validation = (self.X, self.y), tuple(validation_data)
            return
        held = round(rows * number(validation_split, "validation_split", 0.0, below=1.0))
        if not 0 < held < rows:
            raise ValueError(f"validation_split: expected a share that leaves rows on both sides, got {validation_split} of {rows}")
        order = _native.permutation(rows, check_seed(seed), 0)
        self._train = self.X[order[held:]], self.y[order[held:]]
        self._validation = self.X[order[:held]], self.y[order[:held]]

    def _arguments(self, epochs):
        return self.fit if epochs is None else {**self.fit, "epochs": epochs}

    def __call__(self, trial) -> float:
        """Train by the trial's settings; the monitored number after the last epoch."""
        trainer = self.make_trainer(dict(trial.params))
        arguments = self._arguments(trial.epochs)
        callbacks = [*_callbacks(arguments, trial.number), _Report(trial, self.monitor)]
        history = trainer.fit(*self._train, **{**arguments, "validation_data": self._validation, "callbacks": callbacks})
        return history[self.monitor][-1]

    def final(self, params, epochs=None) -> Any:
        """A Trainer that has been trained by these settings on all rows, those that were split off too."""
        trainer = self.make_trainer(dict(params))
        arguments = self._arguments(epochs)
        trainer.fit(self.X, self.y, **{**arguments, "callbacks": _callbacks(arguments, None)})
        return trainer


def _callbacks(arguments, number):
    """A new list of those that `fit` is to have; a function makes them of the trial's number."""
    given = arguments.get("callbacks") or ()
    return list(given(number) if callable(given) else given)
