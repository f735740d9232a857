"""Metrics: numbers that say how good outputs are, over all rows of a data set at once. scikit-learn's definitions, in NumPy.

    accuracy           share of right classes
    top_k_accuracy     share of rows whose class is among the 5 largest outputs
    precision, recall  of each class: right ones among those that were predicted, among those that there are; 0 where there are none
    f1                 of each class: 2 right / (predicted + there); of all three the mean over the classes, however frequent ("macro")
    auc                area under the ROC curve; of several classes the mean of each against the rest; NaN where there is one class only
    r2                 1 - Σ (y - z)² / Σ (y - mean y)²; of several outputs the mean
    mae, mse, rmse     mean of |y - z|, mean of (y - z)² and its root (of several outputs the mean of the roots)

Classes are those of `Sequential.predict_classes`; for numbers to be compared, of a model of log rates, z is exp(output).
"""

import numbers

import numpy as np

from ..core.checks import scalar
from ..core.heads import check_head

TOP_K = 5


def _accuracy(true, predicted):
    return float((true == predicted).mean())


def _counts(true, predicted):
    """How many of each class are right, predicted, and there: of the classes that are either, or of each column's ones."""
    if true.ndim == 2:
        t, p = true == 1, predicted == 1
        return (t & p).sum(axis=0), p.sum(axis=0), t.sum(axis=0)
    classes, codes = np.unique(np.concatenate([true, predicted]), return_inverse=True)
    t, p = codes[: len(true)], codes[len(true) :]
    return tuple(np.bincount(c, minlength=len(classes)) for c in (t[t == p], p, t))


def _ratios(above, below):
    return float(np.where(below > 0, above / np.maximum(below, 1), 0.0).mean())


def _precision(true, predicted):
    right, found, _ = _counts(true, predicted)
    return _ratios(right, found)


def _recall(true, predicted):
    right, _, there = _counts(true, predicted)
    return _ratios(right, there)


def _f1(true, predicted):
    right, found, there = _counts(true, predicted)
    return _ratios(2 * right, found + there)


def _area(positive, scores):
    """The share of pairs of a positive and a negative row of which the positive has the larger score, ties for one half."""
    yes = int(np.count_nonzero(positive))
    no = len(positive) - yes
    if not yes or not no or np.isnan(scores).any():
        return np.nan
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]  # of equal scores the mean of theirs, from 1
    return (ranks[positive].sum() - yes * (yes + 1) / 2) / (yes * no)


def _auc(true, scores):
    if scores.ndim == 1 or scores.shape[1] == 1:
        return float(_area(true.ravel() == 1, scores.ravel()))
    if true.ndim == 2:  # an answer each
        return float(np.mean([_area(true[:, j] == 1, scores[:, j]) for j in range(true.shape[1])]))
    z = scores - scores.max(axis=1, keepdims=True)
    p = np.exp(z)
    p /= p.sum(axis=1, keepdims=True)
    if p.shape[1] == 2:
        return float(_area(true == 1, p[:, 1]))
    areas = [_area(true == c, p[:, c]) for c in range(p.shape[1])]
    areas = [a for a in areas if not np.isnan(a)]
    return float(np.mean(areas)) if areas else np.nan


def _top_k_accuracy(true, scores):
    mine = scores[np.arange(len(true)), true][:, None]
    return float((((scores > mine).sum(axis=1) < TOP_K) & ~np.isnan(scores).any(axis=1)).mean())


def _r2(y, z):
    with np.errstate(all="ignore"):
        left, whole = ((y - z) ** 2).sum(axis=0), ((y - y.mean(axis=0)) ** 2).sum(axis=0)
        return float(np.where(whole > 0, 1 - left / whole, np.where(left == 0, 1.0, np.where(left > 0, 0.0, np.nan))).mean())


def _mae(y, z):
    return float(np.abs(y - z).mean())


def _mse(y, z):
    return float(((y - z) ** 2).mean())


def _rmse(y, z):
    return float(np.sqrt(((y - z) ** 2).mean(axis=0)).mean())


# name -> (function, what it compares with the targets: classes, scores of classes, or numbers)
METRICS = {
    "accuracy": (_accuracy, "classes"), "top_k_accuracy": (_top_k_accuracy, "scores"), "precision": (_precision, "classes"),
    "recall": (_recall, "classes"), "f1": (_f1, "classes"), "auc": (_auc, "scores"), "r2": (_r2, "numbers"), "mae": (_mae, "numbers"),
    "mse": (_mse, "numbers"), "rmse": (_rmse, "numbers"),
}  # fmt: skip
_CLASSES, _NUMBERS = ("softmax", "largest", "sigmoid", "hinge", "signs", "numbers"), ("numbers", "signs", "rates")


class Metrics:
    """The metrics of a call, by name.

    Parameters
    ----------
    metrics : list of str and functions, or None
    model : Sequential
    loss : Loss
        `loss.accurate` says whether there is an accuracy already.
    """

    def __init__(self, metrics, model, loss):
        if isinstance(metrics, (str, bytes)) or callable(metrics):
            raise TypeError(f"metrics: expected a list, got {metrics!r:.60}; write [{metrics!r:.60}]")
        self._model, self._loss, self._functions = model, loss, {}
        for i, m in enumerate(metrics or ()):
            name = self._check(m, f"metrics[{i}]")
            if name == "accuracy" and loss.accurate:
                continue
            if name in self._functions or name in ("loss", "accuracy", "seconds") and callable(m):
                raise ValueError(f"metrics[{i}]: expected another name than {name!r}, which an epoch has already")
            self._functions[name] = m
        self.names = list(self._functions)

    def __bool__(self):
        return bool(self._functions)

    def _check(self, m, where):
        """The metric's name."""
        if callable(m):
            name = getattr(m, "__name__", None)
            if not isinstance(name, str) or name.startswith("val_"):
                raise TypeError(f"{where}: expected a function with a __name__, which does not begin with val_, got {m!r:.60}; def gives one")
            return name
        if not isinstance(m, str):
            raise TypeError(f"{where}: expected a name or a function of (y_true, outputs), got {m!r:.60}")
        if m not in METRICS:
            raise ValueError(f"{where}: expected one of {', '.join(METRICS)}, or a function of (y_true, outputs), got {m!r}")
        head, outputs, kind = self._head(), self._model.out_features, METRICS[m][1]
        fits = head in (_NUMBERS if kind == "numbers" else _CLASSES)
        if m == "top_k_accuracy":
            fits = head in ("softmax", "largest") and outputs > TOP_K
        if not fits:
            what = check_head(head).what if head else "outputs of another kind"
            need = {"numbers": "outputs that are compared with numbers", "classes": "classes", "scores": "classes"}[kind]
            need = f"one class out of more than {TOP_K}" if m == "top_k_accuracy" else need
            raise ValueError(f"{where}: expected a metric that fits {self._loss!r}, got {m!r}, which needs {need}, while the model has {outputs} {what}")
        return m

    def _head(self):
        """What the outputs are."""
        default = "sigmoid" if self._model.out_features == 1 else "softmax"
        return self._loss.head or self._model.head or default

    def check_targets(self, y, name):
        """ValueError where the targets are numbers that are no classes, and a metric needs some."""
        needed = [m for m in self.names if METRICS.get(m, ("", "numbers"))[1] != "numbers"]
        if needed and self._head() == "numbers" and self._model.out_features == 1:
            for begin in range(0, len(y), 4096):
                block = y[begin : begin + 4096]
                good = (block == 0) | (abs(block) == 1)
                if not good.all():
                    raise ValueError(f"metrics: expected targets 0 and 1 in {name} for {needed[0]!r}, got {block[~good][0]}")

    def __call__(self, y, outputs):
        """{name: value} for targets as `ArrayData` has them, and the outputs of all their rows, [rows, outputs]."""
        head, found = self._model.head or self._head(), {}
        if self._loss.ignore_index is not None and y.ndim == 1:
            there = y != self._loss.ignore_index
            y, outputs = y[there], outputs[there]
        if not len(y):
            return dict.fromkeys(self.names, np.nan)
        prepared = {}
        with np.errstate(all="ignore"):
            for name, m in self._functions.items():
                if callable(m):
                    found[name] = self._own(name, m, y, outputs)
                else:
                    function, kind = METRICS[name]
                    if kind not in prepared:
                        prepared[kind] = self._prepared(kind, head, y, outputs)
                    found[name] = function(*prepared[kind])
        return found

    def _prepared(self, kind, head, y, outputs):
        """What a metric of this kind compares."""
        if kind == "numbers":
            z = outputs.astype(np.float64)
            return y.astype(np.float64), np.exp(z) if getattr(self._loss, "log_input", False) else z
        return _classes(y, head, outputs.shape[1]), self._model.classes_of(outputs) if kind == "classes" else outputs.astype(np.float64)

    def _own(self, name, function, y, outputs):
        shaped = outputs.reshape(len(outputs), *self._model.out_shape)
        value = scalar(function(y, shaped))
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"metrics: expected a number from {name}(y_true, outputs), got {value!r:.60}")
        return float(value)


def _classes(y, head, outputs):
    """The classes that targets stand for: [rows], or [rows, outputs] of answers yes or no."""
    if y.ndim == 1:
        return y
    if head in ("softmax", "largest") or head == "numbers" and outputs > 1:
        return y.argmax(axis=1)
    answers = np.where(y > (0.0 if head == "signs" else 0.5), 1, -1 if head == "signs" else 0)
    return answers[:, 0] if outputs == 1 else answers
