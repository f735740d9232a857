"""CSVLogger: a line of a file for each epoch."""

import os

from ...core.atomic_files import replacing
from ..history import csv_line
from .base import Callback


class CSVLogger(Callback):
    """Writes the numbers of every epoch into a file, a line as soon as the epoch is over: the epoch's number, from 0 over the trainer's
    life, and all that the history has, by their names. What an epoch lacks is left empty.

    A trainer that has done no epoch yet begins the file anew. One that has goes on with it: where training is resumed, lines of
    epochs beyond the checkpoint are cut, so that each stands there once.

    Parameters
    ----------
    path : str or os.PathLike
        The file; its folder is made.
    separator : str, default ","
        One character.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. `fit` raises ValueError, before its first step, where a file that is to be gone on with has
        other columns.
    OSError
        From `fit`, if the file cannot be read or written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> X, y = data.load_digits()
    >>> model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 10))
    >>> trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "log.csv")
    ...     history = trainer.fit(X, y, epochs=2, callbacks=[callbacks.CSVLogger(path)], verbose=0)
    ...     lines = path.read_text().splitlines()
    >>> lines[0], len(lines), lines[1].startswith(f"0,{history['loss'][0]!r},")
    ('epoch,loss,accuracy,seconds', 3, True)
    """

    writes_files = True

    def __init__(self, path, separator=",") -> None:
        self.path = os.fspath(path)
        if not isinstance(separator, str) or len(separator) != 1 or separator in '\r\n"':
            raise ValueError(f"separator: expected a single character, got {separator!r}")
        self.separator = separator

    def check_names(self, names) -> None:
        self._names = ["epoch", *names]

    def on_train_begin(self) -> None:
        os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
        lines = [self._names]
        if self.trainer.epochs_done and os.path.exists(self.path):
            lines += self._done(self.trainer.epochs_done)
        with replacing(self.path, durable=False) as file:
            file.write("".join(csv_line(line, self.separator) for line in lines).encode())

    def _done(self, epochs):
        """The file's lines of epochs before that number."""
        import csv

        with open(self.path, newline="", encoding="utf-8", errors="replace") as file:
            lines = list(csv.reader(file, delimiter=self.separator))
        if lines and lines[0] != self._names:
            raise ValueError(
                f"path: expected a file with the columns {', '.join(self._names)}, to go on with it, got {', '.join(lines[0]):.200} in "
                f"{self.path!r}; take another name"
            )
        whole = [line for line in lines[1:] if len(line) == len(self._names) and line[0].isascii() and line[0].isdigit()]
        return [line for line in whole if int(line[0]) < epochs]

    def on_epoch_end(self, epoch, logs) -> None:
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            file.write(csv_line([epoch, *(repr(logs[n]) if n in logs else "" for n in self._names[1:])], self.separator))
