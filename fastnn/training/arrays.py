"""The arrays that a call trains or evaluates on, checked against a model and a loss."""

import copy

import numpy as np

from .._native import CsrRows
from ..core.checks import number
from ..nn import as_array, as_rows
from .class_weight import row_weights


def check_weights(sample_weight, rows, name, outputs=0, dtype=np.float32):
    """The rows' weights in that dtype, or None; `outputs`: how many of a row there may be instead of one."""
    if sample_weight is None:
        return None
    w = as_array(sample_weight, name)
    if w.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, got dtype {w.dtype}")
    if outputs and w.shape == (rows, outputs):
        w = w if outputs > 1 else w[:, 0]
    elif w.shape != (rows,):
        each = f", or ({rows}, {outputs})" if outputs and w.ndim == 2 else ""
        raise ValueError(f"{name}: expected shape ({rows},){each}, one weight for each row{' or output' * bool(each)}, got {w.shape}")
    with np.errstate(over="ignore"):
        weights = np.ascontiguousarray(w, dtype)
    bad = ~((weights >= 0) & np.isfinite(weights))
    if bad.any():
        at = np.unravel_index(int(bad.argmax()), bad.shape)
        raise ValueError(f"{name}: expected numbers >= 0, finite in {np.dtype(dtype)}, got {w[at]} in row {at[0]}")
    return weights


def _as_vectors(y, shape):
    """Targets of samples of this shape as vectors, if they have it; images of one channel may be without it."""
    if len(shape) == 1 or y.shape[1:] != shape and (shape[-1] > 1 or y.shape[1:] != shape[:-1]):
        return y
    return y.reshape(len(y), -1)


def _parts(X):
    """The arrays that rows are read from: one, or three of sparse ones."""
    return (X.indptr, X.indices, X.data) if type(X) is CsrRows else (X,)


def _memory(a):
    """(the array that owns the memory of `a`, its address, its bytes)"""
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a, a.__array_interface__["data"][0], a.nbytes


class ArrayData:
    """Inputs, targets and weights, checked against a model and a loss."""

    def __init__(self, model, loss, X, y, names=("X", "y", "sample_weight"), sample_weight=None):
        self.X = model.rows(X, names[0])
        y = _as_vectors(as_array(y, names[1]), model.out_shape)
        if len(self.X) != (len(y) if y.ndim else 0):
            raise ValueError(f"{names[1]}: expected {len(self.X)} targets, one for each row of {names[0]}, got shape {y.shape}")
        self.kind = loss.check_targets(y, model.out_features, names[1])
        if self.kind == "labels":
            self.y = as_rows(y[:, None], names[1], (1,))[:, 0]
        elif self.kind == "rows":
            y = loss.spread(y, model.out_features)
            self.y = as_rows(y[:, None] if y.ndim == 1 else y, names[1], (model.out_features,))
        else:
            self.y = y
        if loss.checks_values:
            loss.check_values(self.y, names[1])
        self.weight = check_weights(sample_weight, len(self.X), names[2], model.out_features if loss.takes_each else 0, model.dtype)
        self.weighted = 0 if self.weight is None else self.weight.size // len(self.X)  # weights of a row
        self.ignore = loss.ignore_index
        self.names = names
        self.dtype = model.dtype
        self.classes = model.out_features if self.kind == "labels" else 0

    def hold(self):
        """Note whose memory it is: views do not keep their owner from being resized. Returns itself."""
        held = [(self.names[0], a) for a in _parts(self.X)] + list(zip(self.names[1:], (self.y, self.weight)))
        self._held = [(name, *_memory(a)) for name, a in held if a is not None]
        return self

    def check_memory(self):
        """ValueError where an array has been resized since `hold`: what is left of it must not be read."""
        for name, owner, address, size in self._held:
            if owner.nbytes != size or owner.__array_interface__["data"][0] != address:
                raise ValueError(f"{name}: expected the memory that it had, got an array that has been resized meanwhile")

    def cut(self, rows, share):
        """The first so many rows, and the rest, which is this share of all."""
        if not 0 < rows < len(self.X):
            raise ValueError(f"validation_split: expected a share that leaves rows on both sides, got {share} of {len(self.X)} rows")
        parts = []
        for part in (slice(0, rows), slice(rows, None)):
            cut = copy.copy(self)
            cut.X, cut.y, cut.weight = self.X[part], self.y[part], None if self.weight is None else self.weight[part]
            parts.append(cut)
        return parts

    def weigh(self, class_weight, model, loss):
        """Multiply the weights of the rows by those of their classes."""
        weights = row_weights(class_weight, self, model, loss)[:]
        if self.weight is None:
            self.weight, self.weighted = weights, 1
        else:
            self.weight = self.weight * (weights if self.weight.ndim == 1 else weights[:, None])
        self.hold()

    def check_labels(self):
        """ValueError where a label is out of range."""
        if self.classes:
            if self.y.min() < 0 or self.y.max() >= self.classes:
                if self.ignore is None or self._bad(self.y).any():
                    self.refuse("label")

    def _bad(self, labels):
        """Which labels are neither of a class nor to be ignored."""
        bad = (labels < 0) | (labels >= self.classes)
        return bad if self.ignore is None else bad & (labels != self.ignore)

    def check_finite(self):
        """ValueError where a row is not finite; block by block, so that memory-mapped data need not fit in memory."""
        for name, a in zip(self.names, (self.X, self.y)):
            if a.dtype.kind != "f":
                continue
            for begin in range(0, len(a), 4096):
                block = a[begin : begin + 4096]
                block = block.dense(range(len(block))) if type(block) is CsrRows else block
                block = block.reshape(len(block), -1)
                with np.errstate(over="ignore"):
                    bad = np.flatnonzero(~np.isfinite(block.astype(self.dtype, copy=False)).all(axis=1))
                if len(bad):
                    what = "NaN or infinity" if not np.isfinite(block[bad[0]]).all() else f"one beyond {self.dtype}"
                    raise ValueError(f"{name}: expected finite values, got {what} in row {begin + bad[0]}")

    def refuse(self, problem, rows=None, row=None):
        """Raise for a problem that was found in a batch of these rows (None: somewhere), in that row of all."""
        if problem == "label":
            labels = self.y if rows is None else self.y[rows]
            bad = np.flatnonzero(self._bad(labels))
            where = bad if rows is None else rows[bad]
            listed = ", ".join(f"{self.y[r]} in row {r}" for r in where[:5]) + (", ..." if len(where) > 5 else "")
            raise ValueError(f"{self.names[1]}: expected labels from 0 to {self.classes - 1}, got {listed}")
        if problem == "rate":
            raise ValueError(
                f"{self.names[0]}: expected rates of at least 0 from the model, for Poisson(log_input=False), got one below 0 in "
                f"row {row}; end the model in softplus, or take Poisson(), whose outputs are logarithms of rates"
            )
        if problem != "index":
            self.check_finite()
        raise ValueError(f"{self.names[0]}: expected rows that can be read, got a bad one ({problem})")


def validation_pair(model, loss, validation_data):
    """The validation data that `fit` was given as ArrayData, or None."""
    if validation_data is None:
        return None
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
        raise ValueError("validation_data: expected a pair (X, y), or (X, y, sample_weight)")
    names = tuple(f"validation_data[{i}]" for i in range(3))
    found = ArrayData(model, loss, *validation_data[:2], names, *validation_data[2:]).hold()
    found.check_labels()
    return found


def checked_data(trainer, X, y, sample_weight, validation_data, check_finite, validation_split=0.0, class_weight=None):
    """What is trained on, and validation data or None, as ArrayData."""
    model, loss = trainer.model, trainer.loss
    train = ArrayData(model, loss, X, y, sample_weight=sample_weight).hold()
    train.check_labels()
    validation = validation_pair(model, loss, validation_data)
    share = number(validation_split, "validation_split", 0.0, below=1.0)
    if share:
        if validation is not None:
            raise ValueError("validation_split, validation_data: expected one of them, got both")
        train, validation = train.cut(int(len(train.X) * (1 - share)), share)
    if check_finite:
        for pair in (train, validation):
            if pair is not None:
                pair.check_finite()
    if class_weight is not None:
        train.weigh(class_weight, model, loss)
    return train, validation
