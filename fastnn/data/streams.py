"""Batches out of files that are larger than memory."""

import os
from collections.abc import Iterator

import numpy as np

from .. import _native
from ..init import check_seed
from .arrays import read_npy, read_npz
from .csv_files import read_csv


class stream:  # noqa: N801 - it is called like a function
    """Batches of the rows of files, one after the other: what ``trainer.fit(data.stream(...))`` trains on.

    One file is in memory at a time, or of .npy files nothing but the rows that are read. With `shuffle` the files come in another
    order each epoch, and the rows of each file, too; that depends on the seed and the epoch's number alone, so that a training
    which is resumed comes to the same bits. Batches go on over the ends of files.

    Parameters
    ----------
    files : list
        Of pairs of .npy files, (X, y), or of .npz files with arrays X and y; or of .csv files, for which there is a `table`.
    batch_size : int, default 32
    shuffle : bool, default True
    seed : int, default 0
    drop_last : bool, default False
        Leave out a last batch that is smaller.
    table : Table, optional
        Fitted, with a target: makes X and y of a CSV file's columns.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; while it runs, if a file does not, which is named.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for i in range(2):
    ...         np.savez(os.path.join(folder, f"{i}.npz"), X=np.full((5, 2), i), y=np.arange(5))
    ...     batches = data.stream([os.path.join(folder, f"{i}.npz") for i in range(2)], batch_size=4, shuffle=False)
    ...     [(len(X), y.tolist()) for X, y in batches]
    [(4, [0, 1, 2, 3]), (4, [4, 0, 1, 2]), (2, [3, 4])]
    """

    def __init__(self, files, batch_size=32, shuffle=True, seed=0, drop_last=False, table=None) -> None:
        if isinstance(files, (str, bytes, os.PathLike)):
            files = [files]
        self.files = [_entry(f, i, table) for i, f in enumerate(files)]
        if not self.files:
            raise ValueError("files: expected at least one, got none")
        if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise ValueError(f"batch_size: expected an integer >= 1, got {batch_size!r}")
        self.batch_size, self.shuffle, self.seed = int(batch_size), bool(shuffle), check_seed(seed)
        self.drop_last, self.table, self._epoch = bool(drop_last), table, 0

    def set_epoch(self, epoch) -> None:
        """Which epoch the next iteration is, from 0: it has an order of its own. `fit` calls this."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        epoch, waiting = self._epoch, []  # arrays of rows that wait for others of their batch
        order = _native.permutation(len(self.files), self.seed, epoch) if self.shuffle else range(len(self.files))
        for number in order:
            X, y = self._read(self.files[number])
            # a stream of its own for each file: the seed's and the file's number, mixed
            rows = _native.permutation(len(X), (self.seed + 0x9E3779B97F4A7C15 * (int(number) + 1)) % 2**64, epoch) if self.shuffle else None
            begin = 0
            while begin < len(X):
                end = min(len(X), begin + self.batch_size - sum(len(w[0]) for w in waiting))
                part = slice(begin, end) if rows is None else rows[begin:end]
                waiting.append((X[part], y[part]))
                begin = end
                if sum(len(w[0]) for w in waiting) == self.batch_size:
                    yield _joined(waiting)
                    waiting = []
        if waiting and not self.drop_last:
            yield _joined(waiting)

    def _read(self, files):
        if isinstance(files, tuple):
            X, y = map(read_npy, files)
        elif files.endswith(".npz"):
            found = read_npz(files)
            if not {"X", "y"} <= found.keys():
                raise ValueError(f"{files!r}: expected arrays X and y, got {', '.join(sorted(found)) or 'none'}")
            X, y = found["X"], found["y"]
        else:
            try:
                X, y = self.table(read_csv(files))
            except ValueError as error:
                raise ValueError(str(error) if repr(files) in str(error) else f"{files!r}: {error}") from None
        if X.ndim == 0 or y.ndim == 0 or len(X) != len(y) or not len(X):
            name = files[0] if isinstance(files, tuple) else files
            raise ValueError(f"{name!r}: expected rows of X and as many of y, got shapes {X.shape} and {y.shape}")
        return X, y

    def __repr__(self):
        files = f"{len(self.files)} file{'s' if len(self.files) > 1 else ''}"
        return f"<stream of {files} in batches of {self.batch_size}{', shuffled' if self.shuffle else ''}>"


def _entry(files, number, table):
    """The names of an entry of a stream: one, or a pair."""
    where = f"files[{number}]"
    if isinstance(files, (tuple, list)):
        if len(files) != 2:
            raise ValueError(f"{where}: expected a pair of .npy files, (X, y), got {len(files)}")
        pair = tuple(os.fsdecode(f) for f in files)
        if not all(f.endswith(".npy") for f in pair):
            raise ValueError(f"{where}: expected a pair of .npy files, (X, y), got {pair}")
        return pair
    name = os.fsdecode(files)
    if not name.endswith((".npz", ".csv", ".csv.gz")):
        raise ValueError(f"{where}: expected a .npz or .csv file, or a pair of .npy files, got {name!r}")
    if not name.endswith(".npz") and (table is None or table.target is None):
        raise ValueError("table: expected a fitted Table with a target for CSV files, got None")
    return name


def _joined(parts):
    return tuple(np.ascontiguousarray(p[0]) if len(p) == 1 else np.concatenate(p) for p in zip(*parts))
