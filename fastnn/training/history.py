"""History: what `fit` returns."""

import math
import os
from typing import Any

import numpy as np

from ..core.atomic_files import replacing


def csv_line(values, separator=","):
    """A line of a CSV file."""
    import csv
    import io

    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerow(values)
    return text.getvalue()


class History(dict):
    """What `fit` returns: a dict from the name of a number to the list of its values, one for each epoch.

    Names: loss, accuracy where the loss has one, seconds, and with validation data val_loss and val_accuracy. Loss and
    accuracy are means over the epoch's samples (the loss their sum, where it is one) as they were trained on, so the weights
    moved meanwhile. Steps that were left out because their gradients were not finite are in neither of them. An epoch that was
    broken off has the numbers of the rows that were done; what it lacks is NaN.

    Attributes
    ----------
    epochs : list of int
        The epochs' numbers, from 0 over the trainer's life.
    rows : list of int
        How many rows of each were done.
    broken_off : (int, int) or None
        Where training was broken off inside an epoch: its number, and the steps of it that were done.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.epochs, self.rows, self.broken_off = [], [], None
        self._trained = self._fingerprint = None

    def __reduce__(self):
        """Copies and pickles have the numbers, and the fingerprint if it has been asked for, but not the model."""
        return type(self), (dict(self),), {**vars(self), "_trained": None}

    def __repr__(self):
        """Short, since a notebook shows it where `fit` ends a cell; ``dict(history)`` has all."""
        epochs = max(map(len, self.values()), default=0)
        what = f"{epochs} epoch{'' if epochs == 1 else 's'}"
        if epochs:
            known = {k: [value for value in v if value == value] or v for k, v in self.items()}  # not every epoch has all
            ends = (f"{k} {v[0]:.4g} -> {v[-1]:.4g}" for k, v in known.items() if k != "seconds")
            what = f"{what}, {sum(self.get('seconds', ())):.3g} s: {', '.join(ends)}"
        return f"<History of {what}>"

    @property
    def history(self):
        """The dict itself, for code that knows Keras."""
        return self

    def add(self, epoch, rows, logs, names):
        """Append an epoch: its number, how many rows were done, its numbers; names: of all that an epoch has."""
        for name in names:
            values = self.setdefault(name, [])
            values[len(self.epochs) :] = [logs.get(name, math.nan)]  # also where Ctrl-C came into the middle of this
        self.epochs.append(epoch)
        self.rows.append(rows)

    # ---- for others ----

    def to_csv(self, path) -> None:
        """Write a CSV file: a line of names, then one for each epoch, its number first. What an epoch lacks is left empty.

        Parameters
        ----------
        path : str or os.PathLike

        Raises
        ------
        OSError
            If it cannot be written.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> history = History(loss=[0.5, 0.25])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "history.csv")
        ...     history.to_csv(path)
        ...     print(path.read_text(), end="")
        epoch,loss
        0,0.5
        1,0.25
        """
        lines = [csv_line(["epoch", *self])]
        for epoch, values in zip(self._numbers(), zip(*self.values())):
            lines.append(csv_line([epoch, *("" if isinstance(v, float) and math.isnan(v) else repr(v) for v in values)]))
        with replacing(os.fsdecode(path)) as file:
            file.write("".join(lines).encode())

    def _numbers(self):
        """The epochs' numbers."""
        return self.epochs or range(max(map(len, self.values()), default=0))

    def to_frame(self) -> Any:
        """A pandas DataFrame: a row for each epoch, by its number.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        import pandas

        return pandas.DataFrame(dict(self), index=pandas.Index(self._numbers(), name="epoch"))

    def plot(self, names=None) -> Any:
        """Draw the curves with matplotlib: a panel for each number, the one of validation in the same as that of training.

        Parameters
        ----------
        names : list of str, optional
            Which numbers, without ``val_``; all but seconds by default.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there is no such number, or no epoch.
        """
        import matplotlib.pyplot as plt

        known = list(dict.fromkeys(name.removeprefix("val_") for name in self))
        names = [name for name in known if name != "seconds"] if names is None else list(names)
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise ValueError(f"names: expected some of {known}, got {unknown or names}")
        figure, axes = plt.subplots(1, len(names), figsize=(5 * len(names), 4), squeeze=False, layout="constrained")
        for ax, name in zip(axes[0], names):
            for key, label in ((name, "training"), (f"val_{name}", "validation")):
                if key in self:
                    x, values = np.asarray(self._numbers()) + 1, np.asarray(self[key], float)
                    there = np.isfinite(values)
                    ax.plot(x[there], values[there], marker="." if there.sum() < 30 else None, label=label)
            ax.set(xlabel="epoch", ylabel=name)
            ax.xaxis.get_major_locator().set_params(integer=True)
            ax.legend()
        return figure

    def fingerprint(self) -> str:
        """A digest of the weights' bits at the end of training, and of what led to them: the architecture, the loss, the optimizer and
        its settings, the seed, the batches, the numbers of steps and epochs. Two people who have the same fingerprint have the
        same model, got in the same way; how many threads and which instruction set they had makes no difference.

        It is worked out when it is first asked for, from the model as it is then: ask before it is changed.

        Returns
        -------
        str
            32 hexadecimal digits: the first half of a SHA-256.

        Raises
        ------
        RuntimeError
            If the model has been trained on since, or the history is a copy.

        Examples
        --------
        >>> def train(seed):
        ...     fastnn.manual_seed(1)
        ...     model = nn.Sequential(nn.Dense(4, 3))
        ...     trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()), seed=seed)
        ...     return trainer.fit(np.eye(4), [0, 1, 2, 0], epochs=2, batch_size=2, verbose=0).fingerprint()
        >>> train(1) == train(1), train(1) == train(2)
        (True, False)
        """
        if self._fingerprint is None:
            self._fingerprint = self._digest()
        return self._fingerprint

    def end(self, trainer, settings):
        """Training has ended: what a fingerprint is to be made of."""
        self._trained = trainer.model, trainer.loss, trainer.optimizer, _steps(trainer.optimizer), settings

    def _digest(self):
        import hashlib
        import json

        if self._trained is None:
            raise RuntimeError("fingerprint: expected the history that fit has returned, got a copy, which has no model")
        model, loss, optimizer, steps, settings = self._trained
        if _steps(optimizer) != steps:
            raise RuntimeError("fingerprint: expected the model as it was at the end of this training, got one that has been trained on since")
        described = [model.architecture(), repr(loss), type(optimizer).__name__, optimizer.state_dict(copy=False)["groups"], settings]
        found = hashlib.sha256(json.dumps(described, sort_keys=True, default=repr).encode())
        for name, p in (*model.named_parameters(), *model.named_buffers()):
            found.update(f"{name} {p.data.dtype} {p.shape}".encode())
            found.update(p.data)
        return found.hexdigest()[:32]


def _steps(optimizer):
    """How far each of the optimizer's groups is."""
    return [g["steps"] for g in optimizer.state_dict(copy=False)["groups"]]
