"""The files that commands read: arrays (IDX, .npy, .npz) and tables (.csv, .tsv, .parquet). Whatever is wrong with one is a line that
names the argument and the file."""

import math
import os
import stat

from .errors import UsageError, reason, show

MOST_CLASSES = 1 << 16  # a label beyond is a file of something else
BLOCK = 1 << 22  # values looked at, or written as text, at a time
_TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")


def is_table(name):
    """Whether a file holds named columns."""
    return name is not None and name.lower().endswith(_TABLES)


def read(name, argument, reader):
    """`reader(name)`, every way of failing turned into a line that names the argument and the file."""
    try:
        return reader(name)
    except (OSError, MemoryError) as error:
        raise UsageError(f"argument {argument}: {show(name)}: {reason(error)}") from None
    except (ValueError, TypeError, RecursionError, ImportError) as error:
        message = str(error) if repr(name) in str(error) else f"{show(name)}: {error}"
        raise UsageError(f"argument {argument}: {message}") from None


def read_table(name, argument):
    """The columns of a file, as a `data.Frame`."""
    from ..data import Frame, read_csv

    def reader(name):
        if not name.lower().endswith(".parquet"):
            return read_csv(name)
        try:
            import pandas
        except ImportError:
            raise ValueError("parquet files need pandas, which is not installed") from None
        import numpy as np

        frame = pandas.read_parquet(name)
        return Frame({str(column): np.asarray(frame[column]) for column in frame.columns})

    return read(name, argument, reader)


def read_samples(name, argument):
    """The samples of an IDX, .npy or .npz file, checked: rows first, real, finite in float32, at least one."""
    return checked_samples(read(name, argument, _read_array), name, argument)


def checked_samples(X, name, argument):
    where = f"argument {argument}: {show(name)}"
    if X.dtype.kind not in "biuf":
        raise UsageError(f"{where}: expected real numbers, got dtype {X.dtype}")
    if X.ndim < 2 or X.size == 0:
        hint = "; are these the labels?" if argument == "DATA" and X.ndim == 1 and X.size else ""
        raise UsageError(f"{where}: expected samples of at least one value, in rows, got shape {X.shape}{hint}")
    if X.dtype.kind == "f":
        _check_finite(X, where)
    return X


def _check_finite(X, where):
    import numpy as np

    rows = max(1, BLOCK // math.prod(X.shape[1:]))
    largest = float(np.finfo(np.float32).max)
    for begin in range(0, len(X), rows):
        block = X[begin : begin + rows].reshape(len(X[begin : begin + rows]), -1)
        bad = ~(abs(block) <= largest).all(axis=1)  # a NaN compares false
        if bad.any():
            row = begin + int(bad.argmax())
            raise UsageError(f"{where}: expected values that are finite in float32, got others in sample {row}")


def read_pair(name, labels):
    """(samples, targets or None) of an array file, or of two."""
    if name.lower().endswith(".npz"):
        if labels is not None:
            raise UsageError(f"argument LABELS: expected none beside {show(name)}, which has an array y, got {show(labels)}")
        found = read(name, "DATA", _read_npz)
        X = checked_samples(found["X"], name, "DATA")
        return X, None if "y" not in found else checked_targets(found["y"], len(X), name, "DATA", name)
    X = read_samples(name, "DATA")
    return X, None if labels is None else checked_targets(read(labels, "LABELS", _read_array), len(X), labels, "LABELS", name)


def checked_targets(y, rows, name, argument, samples):
    """Labels, which are integers from 0 up, or numbers [rows] or [rows, outputs]."""
    where = f"argument {argument}: {show(name)}"
    if y.dtype.kind == "f" and y.ndim == 2 and y.shape[1]:
        pass
    elif y.ndim != 1:
        raise UsageError(f"{where}: expected labels in 1 dimension, got shape {y.shape}")
    if y.dtype.kind not in "iuf":
        raise UsageError(f"{where}: expected integer labels, or numbers, got dtype {y.dtype}")
    if len(y) != rows:
        raise UsageError(f"{where}: expected {rows} labels, as many as samples in {show(samples)}, got {len(y)}")
    if y.dtype.kind == "f":
        _check_finite(y.reshape(len(y), -1), where)
        return y
    for row in (int(y.argmin()), int(y.argmax())):
        if not 0 <= y[row] < MOST_CLASSES:
            raise UsageError(f"{where}: expected labels from 0 to {MOST_CLASSES - 1}, got {y[row]} for sample {row}")
    return y


def _read_array(name):
    from ..data import read_idx, read_npy

    if name.lower().endswith(".npz"):
        return _read_npz(name)["X"]
    return (read_npy if _is_npy(name) else read_idx)(name)


def _read_npz(name):
    from ..data import read_npz

    found = read_npz(name)
    if "X" not in found:
        raise ValueError(f"{name!r}: expected an array X, got {', '.join(found) or 'none'}")
    return found


def _is_npy(name):
    try:
        if not stat.S_ISREG(os.stat(name).st_mode):
            return False  # a pipe can be read only once
        with open(name, "rb") as file:
            return file.read(6) == b"\x93NUMPY" or name.endswith(".npy")
    except (OSError, ValueError):
        return False


def load_model(name):
    """The model in a file."""
    from .. import nn

    if not stat.S_ISREG(os.stat(name).st_mode) and not os.path.isdir(name):
        raise ValueError(f"{name!r}: expected a model file of fastnn, got something that is not a regular file")
    return nn.load(name)
