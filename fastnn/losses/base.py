"""What losses have in common: weights of classes, checks of targets, and the class Loss."""

import numbers
from collections.abc import Mapping

import numpy as np

from ..core.activations import FLOAT32_MAX
from ..core.checks import instead
from ..core.fixed import Fixed

BALANCED = "balanced"


def _class_weights(value, count=None):
    """As `_weights`; "balanced" is all ones, until `Loss.balanced` knows the targets."""
    if isinstance(value, str):
        if value != BALANCED:
            raise ValueError(f"class_weight: expected 'balanced', numbers, or a dict {{class: weight}}, got {value!r}")
        return np.ones(1 if count is None else count)
    return _weights(value, "class_weight", count)


def _known_weights(value, count):
    """As `_class_weights`, where the weights are needed."""
    if isinstance(value, str):
        raise ValueError("class_weight: expected numbers, since only Trainer.fit works out 'balanced', from its targets, got 'balanced'")
    return _weights(value, "class_weight", count)


def _balanced(counts):
    """For how often each class occurs: weights with which all that occur have the same share, and whose mean over the data is 1."""
    there = counts > 0
    if not np.isfinite(counts).all() or not there.any():
        raise ValueError("class_weight: expected targets without NaN to balance, and at least one, got others")
    weights = np.ones(len(counts))
    weights[there] = counts.sum() / (np.count_nonzero(there) * counts[there])
    return tuple(weights.tolist())


def _weights(value, name, count=None):
    """A float64 array of weights from a sequence, or a dict {class: weight} as it is; each finite and >= 0."""
    if isinstance(value, Mapping):
        bad = next((k for k in value if isinstance(k, bool) or not isinstance(k, numbers.Integral) or k < 0), None)
        if bad is not None:
            raise ValueError(f"{name}: expected class numbers as keys, got {bad!r}")
        if count is not None and any(k >= count for k in value):
            raise ValueError(f"{name}: expected classes from 0 to {count - 1}, got {max(value)}")
        array = np.ones(max(value, default=0) + 1 if count is None else count)
        array[list(value)] = _weights(list(value.values()), name)
        return array
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name}: expected a sequence of numbers, got {value!r:.60}") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected numbers, got {value!r:.60}")
    if array.ndim != 1 or (count is not None and len(array) != count):
        how_many = "one number" if count is None else f"{count} numbers, one"
        raise ValueError(f"{name}: expected {how_many} for each output, got shape {array.shape}")
    fine = (array >= 0) & (array <= FLOAT32_MAX)
    if not fine.all():
        raise ValueError(f"{name}: expected numbers >= 0, finite in float32, got {array[~fine][0]}")
    return array.astype(np.float64)


def _frozen(value):
    """What stands for a setting in a key: arrays and dicts as tuples."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, Mapping):
        return tuple(sorted(value.items()))
    return tuple(value) if isinstance(value, list) else value


class Loss(Fixed):
    """Base of the losses.

    A loss checks the targets that it is given and emits its operation; the trainer calls its methods. A loss of one's own is a
    `Custom`.

    Attributes
    ----------
    reduction : {"mean", "sum"}
    accurate : bool
        Whether accuracy is reported.
    head : str or None
        What the outputs are, of `fastnn.heads.HEADS`, and so how classes and probabilities are made of them; a Trainer hands it
        to its model. None: the loss does not say.
    """

    kinds = ("rows",)  # how targets may stand, the usual way first: "labels", "rows", or "any"
    accurate = False
    head = None
    takes_each = False  # whether sample weights may be [rows, outputs]
    ignore_index = None  # the label of rows that count in no loss
    class_weight = None
    checks_values = False  # whether the values of the targets are restricted, and looked at before a step
    reduction = "mean"

    def _settings(self):
        """The constructor's arguments: name, value, default."""
        return [("reduction", self.reduction, "mean")]

    def _set_reduction(self, reduction):
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction: expected 'mean' or 'sum', got {reduction!r}")
        self.reduction = reduction

    def __repr__(self):
        given = [f"{n}={v!r}" for n, v, default in self._settings() if _frozen(v) != _frozen(default)]
        return f"{type(self).__name__}({', '.join(given)})"

    def key(self):
        """Equal for losses that do the same."""
        return (type(self).__name__, *(_frozen(v) for _, v, _ in self._settings()))

    def check_outputs(self, outputs, activation=None):
        """ValueError where a model of so many outputs, which have passed this activation last, does not fit."""
        if activation == "softmax" and outputs == 1:
            raise ValueError("model: expected outputs that can change, got a softmax over a single one, which is always 1; leave it out")
        if activation in ("softmax", "sigmoid") and self.head in ("softmax", "sigmoid", "hinge"):
            why, instead = {
                "softmax": ("applies a softmax itself", "; predict_proba applies it too"),
                "sigmoid": ("applies a sigmoid itself", "; predict_proba applies it too"),
                "hinge": ("needs outputs of either sign", ""),
            }[self.head]
            raise ValueError(
                f"model: expected no softmax or sigmoid at its end, since {type(self).__name__} {why}, got one that ends in a "
                f"{activation}: leave it out{instead}"
            )

    def check_choice(self, outputs):
        """ValueError where a choice is to be learned and there is only one output to choose."""
        if outputs == 1 and self.head in ("softmax", "largest"):
            raise ValueError(
                f"model: expected at least 2 outputs, one for each class, since {type(self).__name__} of a single one is always 0, "
                f"got 1; for two classes with one output take losses.{'BinaryCrossEntropy' if self.head == 'softmax' else 'BinaryHinge'}()"
            )

    def check_targets(self, y, outputs, name="y"):
        """Return how the targets stand: "labels", "rows" or "any". Errors name what was expected."""
        return _check_rows(y, outputs, name)

    def check_values(self, y, name="y"):
        """ValueError for targets that the loss has no value for."""

    def units(self, outputs):
        """How many answers of a row the accuracy counts."""
        return 1

    def head_of(self, y, before):
        """The head of a model that is trained on these targets; before: the one that it has."""
        return before if self.head is None else self.head

    def balanced(self, y, outputs):
        """Itself, or where its class weights are "balanced" a loss with the weights that balance these targets."""
        if not isinstance(self.class_weight, str):
            return self
        settings = {name: value for name, value, _ in self._settings()}
        return type(self)(**{**settings, "class_weight": _balanced(self._counts(y, outputs))})

    def spread(self, y, outputs):
        """Targets as many as there are outputs, where fewer are taken for all of them."""
        return y

    def emit(self, builder, outputs, kind, weighted=False):
        """Emit targets, weights and loss for the model's outputs."""
        raise NotImplementedError


def _check_rows(y, outputs, name):
    """Targets that stand in rows like the outputs: "rows"."""
    if y.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, got dtype {y.dtype}{instead(y, name, True)}")
    if outputs == 1 and y.ndim == 1:
        return "rows"
    if y.ndim != 2 or y.shape[1] != outputs:
        shape = "(rows,) or (rows, 1)" if outputs == 1 else f"(rows, {outputs})"
        raise ValueError(f"{name}: expected shape {shape}, got {y.shape}")
    return "rows"


def _refuse_rows(y, good, name, expected):
    """ValueError with the first value of y that is not good."""
    if not good.all():
        at = np.unravel_index(int((~good).argmax()), y.shape)
        raise ValueError(f"{name}: expected {expected}, got {y[at]} in row {at[0]}")


def _label_counts(y, outputs, ignore=None):
    """How often each class occurs; of rows of probabilities their sums."""
    if y.ndim == 2:
        return y.sum(axis=0, dtype=np.float64)
    labels = y[y != ignore] if ignore is not None else y
    return np.bincount(labels.astype(np.int64), minlength=outputs).astype(np.float64)


def _check_labels(y, outputs, name, expected):
    """ "labels" for integer class numbers, None where y may still be rows."""
    if y.dtype.kind in "biu":
        if y.ndim == 2 and y.shape[1] == 1 and outputs > 1:
            raise ValueError(f"{name}: expected labels of shape (rows,), got {y.shape}; use {name}.ravel()")
        if y.ndim == 1:
            return "labels"
    if y.dtype.kind == "f" and y.ndim == 1:
        raise TypeError(f"{name}: expected integer labels, got dtype {y.dtype}")
    if y.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected {expected}, got dtype {y.dtype}{instead(y, name, True)}")
    return None


def check_loss(loss):
    """`loss` itself, once it is one."""
    if isinstance(loss, type) and issubclass(loss, Loss):
        raise TypeError(f"loss: expected an instance, got the class {loss.__name__}; write losses.{loss.__name__}()")
    if not isinstance(loss, Loss):
        hint = "; write losses.Custom(function)" if callable(loss) else ""
        raise TypeError(f"loss: expected a loss of fastnn.losses, got {type(loss).__name__}{hint}")
    return loss


def _signs(y, otherwise, before):
    """The head "signs" where all targets are -1 or 1; targets of 1 alone tell nothing new."""
    for begin in range(0, len(y), 4096):  # most data says no in its first rows
        block = y[begin : begin + 4096]
        if not ((block == 1) | (block == -1) | (block != block)).all():
            return otherwise
    return "signs" if before == "signs" or (y == -1).any() else otherwise
