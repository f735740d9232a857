"""Diagnose: looks at units, gradients and weights while a model trains."""

import time
from typing import Any

from ..checks import count
from .base import Callback

_SHARE = 0.025  # of the time of training, where it is not said how often: 3 %, less what a look may take beyond the last


class Diagnose(Callback):
    """Takes a `Trainer.diagnose` of some rows after epochs: a step on copies of the model and the optimizer, so that training goes
    the same way to the bit.

    Parameters
    ----------
    every : int, optional
        After each so many epochs; by default after the first, and from then on as often as all of them take at most 3 % of the time.
    data : (X, y), optional
        What is looked at; by default rows of what `fit` trains on.
    rows : int, default 128
        How many rows, evenly spaced.

    Attributes
    ----------
    reports : dict
        From an epoch's number, from 0 over the trainer's life, to its `fastnn.training.diagnosis.Diagnosis`.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. `fit` raises ValueError, before its first step, where the data does not fit the model.

    Examples
    --------
    >>> X, y = data.load_digits()
    >>> model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 30, activation="sigmoid", init=1.0), nn.Dense(30, 10))
    >>> trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()))
    >>> look = callbacks.Diagnose(every=2)
    >>> history = trainer.fit(X, y, epochs=4, callbacks=[look], verbose=0)
    >>> sorted(look.reports), look.reports[1]["2"].units
    ([1, 3], 30)
    """

    def __init__(self, every=None, data=None, rows=128) -> None:
        self.every = None if every is None else count(every, "every", 1)
        self.rows = count(rows, "rows", 1)
        if data is not None and (not isinstance(data, (tuple, list)) or len(data) != 2):
            raise ValueError("data: expected a pair (X, y)")
        self.data = data
        self.reports = {}
        self._probe = self._pair = None

    def on_train_begin(self) -> None:
        from ..arrays import ArrayData

        trainer = self.trainer
        if self.data is not None:
            self._pair = ArrayData(trainer.model, trainer.loss, *self.data, ("data[0]", "data[1]", ""))
            self._pair.check_labels()
        else:
            self._pair = trainer.data_in_fit
            if self._pair is None:
                raise ValueError("data: expected a pair (X, y) where fit trains on no arrays, got None")
        self._probe, self._seen, self._spent, self._last, self._begun = None, 0, 0.0, 0.0, time.perf_counter()

    def on_epoch_end(self, epoch, logs) -> None:
        self._seen += 1
        now = time.perf_counter()
        due = self._seen % self.every == 0 if self.every else self._spent + self._last <= _SHARE * (now - self._begun)
        if not (due or self.every is None and self._seen == 1):
            return
        if self._probe is None or not self._probe.is_current:
            from ..diagnosis import Probe

            self._probe = Probe(self.trainer, self._pair, self.rows)
        self.reports[epoch] = self._probe.look()
        self._last = time.perf_counter() - now  # as much as the next look will take, or more: the first makes the plan
        self._spent += self._last

    def on_train_end(self) -> None:
        self._probe = self._pair = None

    def on_exception(self, error) -> None:
        self.on_train_end()

    def plot(self) -> Any:
        """Draw with matplotlib, layer by layer, how the reports' numbers went: the deviation of the outputs and of their gradients,
        the share of dead or saturated units, and how much a step changes the weights.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        RuntimeError
            If there are no reports.
        """
        import matplotlib.pyplot as plt

        if not self.reports:
            raise RuntimeError("plot: expected reports, got none; give the callback to fit first")
        epochs = sorted(self.reports)
        panels = (
            ("std of outputs", lambda d: d.std, "log"),
            ("std of gradients", lambda d: d.gradient_std, "log"),
            ("dead or saturated units", lambda d: _share(d), "linear"),
            ("update / weights", lambda d: d.update_ratio, "log"),
        )
        figure, axes = plt.subplots(1, 4, figsize=(16, 4), layout="constrained")
        for ax, (title, value, scale) in zip(axes, panels):
            for layer in self.reports[epochs[0]]:
                values = [value(self.reports[e][layer.name]) for e in epochs]
                if None not in values:
                    ax.plot([e + 1 for e in epochs], values, marker=".", label=f"{layer.name}: {layer.kind}")
            ax.set(title=title, xlabel="epoch", yscale=scale)
        axes[0].legend(fontsize=8)
        return figure


def _share(layer):
    number = layer.dead if layer.dead is not None else layer.saturated
    return None if number is None else number / layer.units
