"""Checkpoint: save the training while it runs, so that it can be resumed."""

import contextlib
import os
import re
import time
from typing import Any

from ...core.checks import flag, number
from ..checks import count
from .base import Callback
from .monitor import Monitor, check_best


def _placeholders(text):
    """(text before, name, form, conversion) of each of a format's placeholders, and the text behind them."""
    import string

    return string.Formatter().parse(text)


class Checkpoint(Callback):
    """Saves all that training needs to go on: ``trainer.load_checkpoint(path)`` takes it up again, in this process or another, and
    goes on to the bits that it would have come to without a break.

    A file appears whole or not at all: it is written beside its place and then renamed, so that a process which is killed, whenever
    that is, leaves the one before. The states of all callbacks of the same `fit` are in it.

    Parameters
    ----------
    path : str or os.PathLike
        A name without a placeholder is one file: always the latest, or with a `monitor` the best. With ``{epoch}``, the number of
        epochs done, or ``{val_loss:.3f}``, or other numbers of an epoch, each saving has a file of its own. A folder that does not
        exist is made.
    monitor : str, optional
        Save only where this number of an epoch is the best so far.
    every : int, default 1
        Save after every so many epochs; 0: none, where `seconds` says when. Without a `monitor` also when training ends, by
        Ctrl-C too, if anything has been done since.
    keep : int, optional, default 3
        How many of its numbered files stay; None: all.
    mode : {"auto", "min", "max"}, default "auto"
        Which of the monitored number is better; see `EarlyStopping`.
    seconds : float, optional
        Save whenever so much time has passed, within an epoch too.
    durable : bool, default False
        Wait until the disk has each file. Else a file survives whatever happens to the process, but perhaps not a power cut.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. `fit` raises ValueError, before its first step, for numbers that an epoch does not have.
    OSError
        From `fit`, if a file cannot be written, after an epoch that is done and counted.

    Examples
    --------
    >>> import os, tempfile
    >>> def make():
    ...     fastnn.manual_seed(0)
    ...     model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 32, activation="relu"), nn.Dense(32, 10))
    ...     return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()))
    >>> X, y = data.load_digits()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "training.safetensors")
    ...     history = make().fit(X, y, epochs=2, callbacks=[callbacks.Checkpoint(path)], verbose=0)  # as if it ended here
    ...     resumed = make()
    ...     resumed.load_checkpoint(path)
    >>> history = resumed.fit(X, y, epochs=5 - resumed.epochs_done, verbose=0)
    >>> whole = make()
    >>> history = whole.fit(X, y, epochs=5, verbose=0)
    >>> bool((whole.model.predict(X) == resumed.model.predict(X)).all())
    True
    """

    writes_files = True

    def __init__(self, path, monitor=None, every=1, keep=3, *, mode="auto", seconds=None, durable=False) -> None:
        self.path = os.fspath(path)
        if not isinstance(self.path, str) or not self.path:
            raise TypeError(f"path: expected a name, got {path!r}")
        try:
            self._parts = [(text, field) for text, field, _, _ in _placeholders(self.path)]
        except ValueError as error:
            raise ValueError(f"path: expected a name, with placeholders such as {{epoch}} or without, got {self.path!r}: {error}") from None
        self._fields = [field for _, field in self._parts if field is not None]
        self.monitor = monitor
        self._monitor = None if monitor is None else Monitor(monitor, mode)
        self.every, self.keep = count(every, "every", 0), None if keep is None else count(keep, "keep", 1)
        self.seconds = None if seconds is None else number(seconds, "seconds", 0.0)
        self.durable = flag(durable, "durable")
        if not self.every and self.seconds is None:
            raise ValueError("every: expected at least 1 where there are no seconds, got 0")
        if self._monitor is not None and self.seconds is not None:
            raise ValueError("seconds: expected None with a monitor, which is looked at where epochs end, got both")
        if self.seconds is not None:
            self.on_progress = self._on_progress  # `fit` asks who has one
        self._written = []  # the numbered files that stand, the latest last
        self._saved = None  # the trainer's steps then
        self._wanted, self._logs, self._next = False, {}, 0.0

    def check_names(self, names) -> None:
        known = {"epoch", *names}
        for field in self._fields:
            if field not in known:
                raise ValueError(f"path: expected placeholders among {', '.join(sorted(known))}, got {{{field}}} in {self.path!r}")
        if self._monitor is not None:
            self._monitor.check(names)

    def on_train_begin(self) -> None:
        self._written, self._saved, self._logs = [], self.trainer.steps_done, {}
        self._next = time.monotonic() + (self.seconds or 0.0)
        if self._monitor is not None:
            self._monitor.best = None
        os.makedirs(os.path.dirname(self._name(0, {}) or self.path) or ".", exist_ok=True)

    def on_epoch_end(self, epoch, logs) -> None:
        """What is kept of this epoch is settled here, so that the states in the file, which come after, are those behind it."""
        self._logs = logs
        self._wanted = bool(self.every) and (epoch + 1) % self.every == 0 or self._is_time()
        if self._monitor is not None:
            self._wanted = self._wanted and self.monitor in logs and self._monitor.improves(logs[self.monitor])

    def after_epoch(self, epoch, logs) -> None:
        if self._wanted:
            self._save()

    def _is_time(self):
        return self.seconds is not None and time.monotonic() >= self._next

    def _on_progress(self, step, logs):
        if self._is_time():
            self._save()

    def before_end(self) -> None:
        if self._monitor is None and self._saved != self.trainer.steps_done:
            self._save()

    def _name(self, epochs, logs):
        """The file's name after so many epochs; "" where it needs numbers of an epoch and there are none yet."""
        if not self._fields:
            return self.path
        if not set(self._fields) <= {"epoch", *logs}:
            return ""
        return self.path.format(**{**logs, "epoch": epochs})

    def _save(self):
        path, before = self._name(self.trainer.epochs_done, self._logs), self._written
        if not path:
            return
        dropped = []
        if self._fields:
            written = [*(p for p in before if p != path), path]
            kept = len(written) if self.keep is None else self.keep
            dropped, self._written = written[:-kept], written[-kept:]
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        saved, self._saved = self._saved, self.trainer.steps_done
        try:
            self.trainer.save_checkpoint(path, durable=self.durable)
        except BaseException:
            self._written, self._saved = before, saved
            raise
        self._next = time.monotonic() + (self.seconds or 0.0)
        for name in dropped:
            with contextlib.suppress(OSError):
                os.unlink(name)

    # ---- state ----

    def state_dict(self) -> dict[str, Any]:
        return {"best": None if self._monitor is None else self._monitor.best, "written": self._written}

    def load_state_dict(self, state) -> None:
        best, written = check_best(state.get("best"), "best"), state.get("written")
        # these will be deleted one day: only what may have been written here is believed
        if not isinstance(written, list) or not all(isinstance(p, str) and self._may_be_mine(p) for p in written):
            raise ValueError(f"written: expected names such as {self.path!r}, got {written!r:.200}")
        if self._monitor is not None:
            self._monitor.best = best
        self._written = written

    def _may_be_mine(self, path):
        pattern = ""
        for text, field in self._parts:
            pattern += re.escape(text) + ("" if field is None else r"\s*[0-9]+" if field == "epoch" else r"\s*[-+0-9.einfa]+")
        return re.fullmatch(pattern, path) is not None
