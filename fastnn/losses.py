"""Losses: what a model is trained to make small. Each emits its operation into a plan, which makes the gradient in the same
pass over the outputs.

Conventions that all of them share:

- ``reduction="mean"`` is the mean over the rows of a batch (over all elements, for the losses that compare outputs with targets
  one by one), ``"sum"`` the sum. `evaluate` and the history of `fit` report the same over all the rows that they saw.
- Sample weights, ``fit(..., sample_weight=w)``, multiply each row's loss and gradient, and so do class weights. The losses that
  compare outputs one by one also take one of each output, [rows, outputs]. The mean still
  divides by the number of rows, as in Keras: a row of weight 2 counts as two rows, a batch whose weights are all 0 changes
  nothing, and the parts of a batch add up. PyTorch divides by the sum of the class weights of a batch instead; the two differ
  by the mean weight, so class weights whose mean over the data is 1 give the same on average.
- The metrics, accuracy or none, are not weighted.
- NaN in an output or a target is NaN in the loss; but a row of weight 0 is left out, whatever is in it.
"""

import math
import numbers
from collections.abc import Mapping

import numpy as np

from .activations import FLOAT32_MAX, FLOAT32_TINY
from .checks import instead
from .fixed import Fixed
from .nn.layer import check_number

__all__ = [
    "BinaryCrossEntropy",
    "BinaryHinge",
    "Custom",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "MulticlassHinge",
    "Poisson",
    "Quantile",
    "SoftmaxCrossEntropy",
]


def __dir__():
    return __all__


BALANCED = "balanced"


def _class_weights(value, count=None):
    """As `_weights`; "balanced" is all ones, until `Loss.balanced` knows the targets."""
    if isinstance(value, str):
        if value != BALANCED:
            raise ValueError(f"class_weight: expected 'balanced', numbers, or a dict {{class: weight}}, got {value!r}")
        return np.ones(1 if count is None else count, np.float32)
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
    """A float32 array of weights from a sequence, or a dict {class: weight} as it is; each finite and >= 0."""
    if isinstance(value, Mapping):
        bad = next((k for k in value if isinstance(k, bool) or not isinstance(k, numbers.Integral) or k < 0), None)
        if bad is not None:
            raise ValueError(f"{name}: expected class numbers as keys, got {bad!r}")
        if count is not None and any(k >= count for k in value):
            raise ValueError(f"{name}: expected classes from 0 to {count - 1}, got {max(value)}")
        array = np.ones(max(value, default=0) + 1 if count is None else count, np.float32)
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
    return array.astype(np.float32)


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


class SoftmaxCrossEntropy(Loss):
    """Softmax followed by cross-entropy, on the model's outputs (logits), for one class out of several.

        loss = mean over rows of  sum_j t'_j (log sum_k exp z_k - z_j)
        dloss/dz_j = (softmax(z)_j sum_k t'_k - t'_j) / rows
        t'_j = class_weight_j ((1 - label_smoothing) t_j + label_smoothing / outputs)

    Stable for any finite logits. Targets are integer labels [rows], from 0 to the number of outputs less 1, of any integer
    dtype; or one row of floats for each sample [rows, outputs]: one-hot, or probabilities. Accuracy is the share of rows whose
    largest output is the target's. (Bishop 2006; label smoothing: Szegedy et al. 2016.)

    The model's last layer gives the logits, at least two; one that ends in a softmax or sigmoid is an error.
    `model.predict_proba` applies the softmax.

    Parameters
    ----------
    label_smoothing : float, default 0.0
        From 0 to 1: this share of every target is spread evenly over the classes.
    class_weight : sequence of outputs numbers, dict {class: weight} or "balanced", optional
        At least 0; classes that a dict leaves out have 1. The mean divides by the number of rows, where PyTorch divides by the
        sum of the rows' weights; see the top of `fastnn.losses`. Or "balanced": `fit` then gives its trainer a loss in which
        class j has the weight rows / (classes that occur · rows of class j).
    reduction : {"mean", "sum"}, default "mean"
    ignore_index : int, optional
        Rows with this label, which may be any integer, count in no loss, gradient or accuracy; the mean is over the others, and
        0 where there are none.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(4, 3))
    >>> loss, grads = fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), np.ones((2, 4)), np.array([0, 2]))
    >>> [g.shape for g in grads]
    [(4, 3), (3,)]
    """

    kinds = ("labels", "rows")
    accurate = True
    head = "softmax"

    def __init__(self, label_smoothing=0.0, class_weight=None, reduction="mean", ignore_index=None):
        self.label_smoothing = check_number(label_smoothing, "label_smoothing", 0, 1, "a number from 0 to 1")
        if class_weight is not None:
            _class_weights(class_weight)
        self.class_weight = class_weight
        self._set_reduction(reduction)
        if ignore_index is not None:
            if isinstance(ignore_index, bool) or not isinstance(ignore_index, numbers.Integral):
                raise TypeError(f"ignore_index: expected an integer, got {ignore_index!r}")
            if not -(2**63) <= ignore_index < 2**63:
                raise ValueError(f"ignore_index: expected an integer of 64 bits, got {ignore_index}")
            ignore_index = int(ignore_index)
        self.ignore_index = ignore_index

    def _settings(self):
        smoothing, weight = ("label_smoothing", self.label_smoothing, 0.0), ("class_weight", self.class_weight, None)
        return [smoothing, weight, *super()._settings(), ("ignore_index", self.ignore_index, None)]

    def _counts(self, y, outputs):
        return _label_counts(y, outputs, self.ignore_index)

    def check_outputs(self, outputs, activation=None):
        super().check_outputs(outputs, activation)
        if self.class_weight is not None:
            _class_weights(self.class_weight, outputs)

    def check_targets(self, y, outputs, name="y"):
        kind = _check_labels(y, outputs, name, "integer labels or rows of real numbers")
        if kind is not None:
            return kind
        if y.ndim != 2 or y.shape[1] != outputs:
            raise ValueError(f"{name}: expected labels of shape (rows,) or rows of shape (rows, {outputs}), got {y.shape}")
        if self.ignore_index is not None:
            raise ValueError(f"{name}: expected labels of shape (rows,), since ignore_index is one, got shape {y.shape}")
        return "rows"

    def emit(self, builder, outputs, kind, weighted=False):
        targets = builder.labels(outputs.columns, self.ignore_index) if kind == "labels" else builder.target_rows(outputs.columns)
        builder.loss(
            "softmax_cross_entropy",
            outputs,
            targets,
            parameter=self.label_smoothing,
            sum=self.reduction == "sum",
            weights=builder.sample_weights(int(weighted)) if weighted else None,
            class_weight=None if self.class_weight is None else _known_weights(self.class_weight, outputs.columns),
        )


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


class _Elementwise(Loss):
    """A loss that compares outputs and targets one by one, with rows of as many targets as outputs."""

    head = "numbers"
    takes_each = True
    form = "squared"  # of fastnn.activations.FORMS
    parameter = 0.0
    full = False

    def __init__(self, reduction="mean"):
        self._set_reduction(reduction)

    def _class_weight(self, outputs):
        """[2, outputs]: the weights of class 0 and of class 1, or None."""
        return None

    def head_of(self, y, before):
        if self.head == "numbers" and y.ndim == 2 and y.shape[1] == 1:
            return _signs(y, "numbers", before)
        return self.head

    def emit(self, builder, outputs, kind, weighted=False):
        builder.loss(
            "elementwise_loss",
            outputs,
            builder.target_rows(outputs.columns),
            form=self.form,
            parameter=self.parameter,
            sum=self.reduction == "sum",
            full=self.full,
            weights=builder.sample_weights(int(weighted)) if weighted else None,
            class_weight=self._class_weight(outputs.columns),
        )


class MeanSquaredError(_Elementwise):
    """Mean squared error: loss = mean over all outputs of (z - t)^2, with the gradient 2 (z - t) / (rows outputs).

    Without the factor 1/2 that some texts have. Targets are real numbers [rows, outputs]; for a single output also [rows].
    No accuracy is reported. Where the targets are classes all the same, `model.predict_classes` says which is nearer, 0 or 1
    (-1 or 1, if the targets were those), for a single output, and which output is largest for more.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"

    Examples
    --------
    >>> X = np.linspace(-1, 1, 50).reshape(50, 1)
    >>> model = nn.Sequential(nn.Dense(1, 1))
    >>> trainer = fastnn.Trainer(model, losses.MeanSquaredError(), optim.SGD(model.parameters(), lr=0.5))
    >>> history = trainer.fit(X, 3 * X[:, 0] + 1, epochs=30, batch_size=50, verbose=0)
    >>> trainer.evaluate(X, 3 * X[:, 0] + 1)["loss"] < 0.01
    True
    """


class MeanAbsoluteError(_Elementwise):
    """Mean absolute error: loss = mean over all outputs of |z - t|, with the gradient sign(z - t) / (rows outputs).

    The gradient is 0 where z = t. It seeks the median, and outliers pull less than on squares. Targets as for
    `MeanSquaredError`.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(2, 1, init="zeros"))
    >>> fastnn.value_and_grad(model, losses.MeanAbsoluteError(), np.ones((3, 2)), np.array([1.0, 2.0, -3.0]))[0]
    2.0
    """

    form = "absolute"


class Huber(_Elementwise):
    """Huber's loss: squares near 0, absolute values beyond. With d = z - t, the mean over all outputs of

        d^2 / 2 where |d| <= delta,  delta (|d| - delta / 2) elsewhere;  gradient: d, held to [-delta, delta]

    (Huber 1964.) Targets as for `MeanSquaredError`. As in PyTorch's HuberLoss; its SmoothL1Loss is this over delta.

    Parameters
    ----------
    delta : float, default 1.0
        Finite and > 0.
    reduction : {"mean", "sum"}, default "mean"

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(2, 1, init="zeros"))
    >>> fastnn.value_and_grad(model, losses.Huber(delta=2.0), np.ones((2, 2)), np.array([1.0, 5.0]))[0]
    4.25
    """

    form = "huber"

    def __init__(self, delta=1.0, reduction="mean"):
        self.delta = check_number(delta, "delta", FLOAT32_TINY, FLOAT32_MAX, "a number > 0, finite in float32")
        super().__init__(reduction)

    @property
    def parameter(self):
        return self.delta

    def _settings(self):
        return [("delta", self.delta, 1.0), *super()._settings()]


class Quantile(_Elementwise):
    """Quantile loss, also called pinball loss: the outputs become quantiles of the targets. With d = z - t, the mean over all
    outputs of

        (1 - tau) d where d > 0,  -tau d elsewhere;  gradient: 1 - tau where d > 0, -tau where d < 0, 0 where d = 0

    It is least where a share tau of the targets is below z. With tau = 1/2 it is half the absolute error, and seeks the median.
    (Koenker & Bassett 1978.) Targets as for `MeanSquaredError`; where there are several outputs, a single target of each row, of
    shape [rows] or [rows, 1], is taken for all of them.

    Parameters
    ----------
    quantile : float or sequence of outputs floats, default 0.5
        tau, above 0 and below 1, of all outputs, or of each.
    reduction : {"mean", "sum"}, default "mean"

    Examples
    --------
    >>> y = np.random.default_rng(0).normal(size=2000)
    >>> model = nn.Sequential(nn.Dense(1, 3, init="zeros"))
    >>> trainer = fastnn.Trainer(model, losses.Quantile([0.1, 0.5, 0.9]), optim.Adam(model.parameters(), lr=0.02))
    >>> history = trainer.fit(np.ones((2000, 1)), y, epochs=20, verbose=0)
    >>> [bool(abs((y < q).mean() - tau) < 0.03) for q, tau in zip(model.predict([[1.0]])[0], [0.1, 0.5, 0.9])]
    [True, True, True]
    """

    form = "quantile"

    def __init__(self, quantile=0.5, reduction="mean"):
        if np.ndim(quantile) == 0:
            self.quantile = self._check(quantile)
        else:
            if np.ndim(quantile) != 1 or not len(quantile):
                raise ValueError(f"quantile: expected a number, or one for each output, got {quantile!r:.60}")
            self.quantile = tuple(map(self._check, quantile))
        super().__init__(reduction)

    @staticmethod
    def _check(value):
        value = check_number(value, "quantile", 0, 1, "numbers above 0 and below 1")
        if not 0 < np.float32(value) < 1:
            raise ValueError(f"quantile: expected numbers above 0 and below 1, got {value}")
        return value

    def _settings(self):
        return [("quantile", self.quantile, 0.5), *super()._settings()]

    def check_outputs(self, outputs, activation=None):
        super().check_outputs(outputs, activation)
        if np.ndim(self.quantile) and len(self.quantile) != outputs:
            raise ValueError(f"quantile: expected {outputs} numbers, one for each output, got {len(self.quantile)}")

    def check_targets(self, y, outputs, name="y"):
        return super().check_targets(self.spread(y, outputs), outputs, name)

    def spread(self, y, outputs):
        if y.ndim == 1 or y.ndim == 2 and y.shape[1] == 1:
            return np.broadcast_to(y.reshape(len(y), 1), (len(y), outputs))
        return y

    def _class_weight(self, outputs):
        below = np.empty(outputs, np.float32)
        below[...] = self.quantile
        return np.stack([np.float32(1) - below, below])


class Poisson(_Elementwise):
    """Negative log-likelihood of counts t under Poisson distributions, whose rates are what the model gives.

        log_input:  mean over all outputs of  exp z - t z                 the rate is exp z
        else:       mean over all outputs of  z - t log(z + eps)          the rate is z, which should be above 0

    log t! does not depend on the model and is left out, unless `full`: then Stirling's t log t - t + log(2 pi t) / 2 is added
    for t > 1. Targets as for `MeanSquaredError`, none below 0. A rate z + eps below 0 is NaN in the loss and in the gradient;
    with ``fit(..., check_finite=True)`` it is an error that names the row. As PyTorch's PoissonNLLLoss.

    Parameters
    ----------
    log_input : bool, default True
    full : bool, default False
    eps : float, default 1e-8
    reduction : {"mean", "sum"}, default "mean"

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(2, 1, init="zeros"))
    >>> fastnn.value_and_grad(model, losses.Poisson(), np.ones((2, 2)), np.array([0, 4]))[0]
    1.0
    """

    checks_values = True
    head = "rates"

    def __init__(self, log_input=True, full=False, eps=1e-8, reduction="mean"):
        self.log_input, self.full = bool(log_input), bool(full)
        self.eps = check_number(eps, "eps", 0, FLOAT32_MAX, "a number >= 0, finite in float32")
        super().__init__(reduction)

    @property
    def form(self):
        return "poisson_log" if self.log_input else "poisson"

    @property
    def parameter(self):
        return self.eps

    def _settings(self):
        return [("log_input", self.log_input, True), ("full", self.full, False), ("eps", self.eps, 1e-8), *super()._settings()]

    def check_values(self, y, name="y"):
        _refuse_rows(y, ~(y < 0), name, "counts >= 0")


def _signs(y, otherwise, before):
    """The head "signs" where all targets are -1 or 1; targets of 1 alone tell nothing new."""
    for begin in range(0, len(y), 4096):  # most data says no in its first rows
        block = y[begin : begin + 4096]
        if not ((block == 1) | (block == -1) | (block != block)).all():
            return otherwise
    return "signs" if before == "signs" or (y == -1).any() else otherwise


class _Binary(_Elementwise):
    """Every output answers a yes-or-no question of its own."""

    accurate = True
    head = "sigmoid"
    checks_values = True

    def _set_class_weight(self, class_weight):
        if class_weight is not None:
            _class_weights(class_weight, 2)
        self.class_weight = class_weight

    def _class_weight(self, outputs):
        if self.class_weight is None:
            return None
        return np.repeat(_known_weights(self.class_weight, 2)[:, None], outputs, axis=1)

    def units(self, outputs):
        return outputs

    def _counts(self, y, outputs):
        yes = np.sum(self._yes(y), dtype=np.float64)
        return np.array([y.size - yes, yes])

    def _yes(self, y):
        return y


class BinaryCrossEntropy(_Binary):
    """Sigmoid followed by cross-entropy, on logits: one yes-or-no question, or several at once (multi-label).

        loss = mean over all outputs of  p t log(1 + exp(-z)) + q (1 - t) log(1 + exp z)

    computed so that no finite logit overflows, and infinite ones have the limits; p = pos_weight class_weight[1], q =
    class_weight[0]. Targets are 0, 1 or probabilities [rows, outputs], of any real dtype; for a single output also [rows].
    Accuracy is the share of outputs on the right side of 0, over rows and outputs.

    The model's last layer gives the logits; one that ends in a softmax or sigmoid is an error. `model.predict_proba` applies the
    sigmoid, and `model.predict_classes` says 1 where the logit is above 0.

    Parameters
    ----------
    pos_weight : float or sequence of outputs numbers, optional
        Weight of the answer yes, for each output: above 1 it favours recall.
    class_weight : pair of numbers, dict {0: weight, 1: weight} or "balanced", optional
        Of the answers no and yes, for all outputs.
    reduction : {"mean", "sum"}, default "mean"

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> y = X[:, 0] > X[:, 1]
    >>> model = nn.Sequential(nn.Dense(2, 1))
    >>> trainer = fastnn.Trainer(model, losses.BinaryCrossEntropy(), optim.Adam(model.parameters(), lr=0.1))
    >>> trainer.fit(X, y, epochs=20, verbose=0)["accuracy"][-1] > 0.9
    True
    """

    form = "binary_entropy"

    def __init__(self, pos_weight=None, class_weight=None, reduction="mean"):
        if pos_weight is not None:
            if np.ndim(pos_weight) == 0:
                pos_weight = check_number(pos_weight, "pos_weight", 0, FLOAT32_MAX, "a number >= 0, finite in float32")
            else:
                pos_weight = _weights(pos_weight, "pos_weight")
        self.pos_weight = pos_weight
        self._set_class_weight(class_weight)
        super().__init__(reduction)

    def _settings(self):
        return [("pos_weight", self.pos_weight, None), ("class_weight", self.class_weight, None), *super()._settings()]

    def check_outputs(self, outputs, activation=None):
        super().check_outputs(outputs, activation)
        if np.ndim(self.pos_weight) and len(self.pos_weight) != outputs:
            raise ValueError(f"pos_weight: expected {outputs} numbers, one for each output, got {len(self.pos_weight)}")

    def check_values(self, y, name="y"):
        _refuse_rows(y, ~((y < 0) | (y > 1)), name, "targets from 0 to 1")

    def _class_weight(self, outputs):
        if self.pos_weight is None:
            return super()._class_weight(outputs)
        both = super()._class_weight(outputs) if self.class_weight is not None else np.ones((2, outputs), np.float32)
        both[1] *= np.asarray(self.pos_weight, np.float32)
        return both


class BinaryHinge(_Binary):
    """Hinge loss of a support vector machine: mean over all outputs of max(0, margin - s z), or of its square.

    s is 1 for one class and -1 for the other. (Cortes & Vapnik 1995; squared: Tang 2013.) Targets are -1 and 1, or 0 and 1,
    [rows, outputs], not both in one array; for a single output also [rows]. Accuracy is the share of outputs on the right
    side of 0; `model.predict_classes` says 1 where the output is above 0, else -1 or 0, whichever the targets had. The outputs
    are no logits, so that `model.predict_proba` is an error.

    Parameters
    ----------
    margin : float, default 1.0
        Finite and >= 0.
    squared : bool, default False
    class_weight : pair of numbers, dict {0: weight, 1: weight} or "balanced", optional
        Of the classes with s = -1 and s = 1.
    reduction : {"mean", "sum"}, default "mean"

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(2, 1, init="zeros"))
    >>> fastnn.value_and_grad(model, losses.BinaryHinge(), np.ones((2, 2)), np.array([-1, 1]))[0]
    1.0
    """

    head = "hinge"

    def __init__(self, margin=1.0, squared=False, class_weight=None, reduction="mean"):
        self.margin = check_number(margin, "margin", 0, FLOAT32_MAX, "a number >= 0, finite in float32")
        self.squared = bool(squared)
        self._set_class_weight(class_weight)
        super().__init__(reduction)

    @property
    def form(self):
        return "squared_hinge" if self.squared else "hinge"

    @property
    def parameter(self):
        return self.margin

    def _settings(self):
        own = [("margin", self.margin, 1.0), ("squared", self.squared, False), ("class_weight", self.class_weight, None)]
        return [*own, *super()._settings()]

    def check_values(self, y, name="y"):
        zero, below = y == 0, y == -1
        good = (y == 1) | zero | below
        _refuse_rows(y, good | (y != y) if y.dtype.kind == "f" else good, name, "targets -1 and 1, or 0 and 1")
        if below.any():
            _refuse_rows(y, ~zero, name, "targets -1 and 1, or 0 and 1, not all three")

    def head_of(self, y, before):
        return _signs(y, "hinge", before)

    def _yes(self, y):
        return y > 0


class MulticlassHinge(Loss):
    """Hinge loss over classes, the multi-class support vector machine's.

        loss = mean over rows of  sum_{j != y} max(0, z_j - z_y + margin)

    or the sum of the squares. (Weston & Watkins 1999. Not divided by the number of classes, as PyTorch's MultiMarginLoss is.)
    Targets are integer labels [rows]. Accuracy is the share of rows whose largest output is the label's. The outputs are no
    logits, so that `model.predict_proba` is an error.

    Parameters
    ----------
    margin : float, default 1.0
        Finite and >= 0.
    squared : bool, default False
    class_weight : sequence of outputs numbers, dict {class: weight} or "balanced", optional
        Of the row's class.
    reduction : {"mean", "sum"}, default "mean"

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(4, 3, init="zeros"))
    >>> fastnn.value_and_grad(model, losses.MulticlassHinge(), np.ones((2, 4)), np.array([0, 2]))[0]
    2.0
    """

    kinds = ("labels",)
    accurate = True
    head = "largest"

    def __init__(self, margin=1.0, squared=False, class_weight=None, reduction="mean"):
        self.margin = check_number(margin, "margin", 0, FLOAT32_MAX, "a number >= 0, finite in float32")
        self.squared = bool(squared)
        if class_weight is not None:
            _class_weights(class_weight)
        self.class_weight = class_weight
        self._set_reduction(reduction)

    def _settings(self):
        own = [("margin", self.margin, 1.0), ("squared", self.squared, False), ("class_weight", self.class_weight, None)]
        return [*own, *super()._settings()]

    def _counts(self, y, outputs):
        return _label_counts(y, outputs)

    def check_outputs(self, outputs, activation=None):
        super().check_outputs(outputs, activation)
        if self.class_weight is not None:
            _class_weights(self.class_weight, outputs)

    def check_targets(self, y, outputs, name="y"):
        if _check_labels(y, outputs, name, "integer labels") is None:
            hint = f"; use {name}.argmax(axis=1)" if y.ndim == 2 and y.shape[1] == outputs else ""
            raise ValueError(f"{name}: expected labels of shape (rows,), got {y.shape}{hint}")
        return "labels"

    def emit(self, builder, outputs, kind, weighted=False):
        builder.loss(
            "multiclass_hinge",
            outputs,
            builder.labels(outputs.columns),
            form="squared_hinge" if self.squared else "hinge",
            parameter=self.margin,
            sum=self.reduction == "sum",
            weights=builder.sample_weights(int(weighted)) if weighted else None,
            class_weight=None if self.class_weight is None else _known_weights(self.class_weight, outputs.columns),
        )


def _weight_parameter(function):
    """The name of the parameter that takes a custom loss's sample weights, "" for the third place, None where there is none."""
    import inspect

    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # compiled functions may not tell: they are asked for what they were always asked for
        return ""
    for p in parameters:
        if p.name in ("weights", "sample_weight", "sample_weights") and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
            return p.name
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return ""
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return "" if len(places) > 2 and places[2].default is places[2].empty else None


class Custom(Loss):
    """A loss of one's own, in Python: a function that returns the loss of a batch and its gradient.

    ``function(outputs, targets)`` gets the model's outputs, a float32 array [rows, outputs] of its own, and the batch's rows of
    y as they are, of any dtype and shape; where there are sample weights, they are a third argument, if the function has a
    parameter for them: a third one without a default, or one called weights, sample_weight or sample_weights, which may have
    one. One that has none is refused weights. It returns a pair: the
    loss, a number, best the mean over the rows; and the gradient of that number with respect to the outputs, an array of their
    shape. Both are checked. If it raises, no parameter has changed in that step.

    Compiled code runs up to the function and after it, one batch a call, so that small models train slower than on the
    built-in losses. No accuracy is reported; the losses of batches are averaged, by their rows.

    Parameters
    ----------
    function : callable

    Raises
    ------
    TypeError
        If it cannot be called.

    Examples
    --------
    >>> def quartic(outputs, targets):
    ...     d = outputs - targets
    ...     return (d**4).mean(), 4 * d**3 / d.size
    >>> model = nn.Sequential(nn.Dense(2, 1, init="zeros"))
    >>> fastnn.value_and_grad(model, losses.Custom(quartic), np.ones((2, 2)), np.array([[1.0], [2.0]]))[0]
    8.5
    """

    kinds = ("any",)

    def __init__(self, function):
        if not callable(function):
            raise TypeError(f"function: expected a function of outputs and targets, got {type(function).__name__}")
        self.function = function
        self._weights = _weight_parameter(function)

    def _settings(self):
        return []

    def __repr__(self):
        return f"Custom({getattr(self.function, '__qualname__', None) or repr(self.function)})"

    def key(self):
        return ("Custom", id(self.function))  # a plan that is kept keeps the function, and so its id

    def check_targets(self, y, outputs, name="y"):
        return "any"

    def emit(self, builder, outputs, kind, weighted=False):
        if weighted and self._weights is None:
            raise TypeError(
                f"sample_weight: expected None for {self!r}, got weights: its function has no parameter for them; give it a third "
                "one, or one called sample_weight"
            )
        builder.host_loss(outputs, self._call)

    def _call(self, outputs, targets, weights):
        shape = outputs.shape
        if weights is None:
            found = self.function(outputs, targets)
        elif self._weights == "":
            found = self.function(outputs, targets, weights)
        else:
            found = self.function(outputs, targets, **{self._weights: weights})
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            got = f"{len(found)} values" if isinstance(found, (tuple, list)) else type(found).__name__
            raise TypeError(f"loss function: expected a pair (loss, gradient), got {got}")
        loss, gradient = found
        if isinstance(loss, np.ndarray) and loss.ndim == 0:
            loss = loss.item()
        if not isinstance(loss, numbers.Real):
            raise TypeError(f"loss function: expected a real number as the loss, got {type(loss).__name__}")
        gradient = np.asarray(gradient)
        if gradient.dtype.kind not in "biuf":
            raise TypeError(f"loss function: expected a gradient of real numbers, got dtype {gradient.dtype}")
        if gradient.shape != shape:
            raise ValueError(f"loss function: expected a gradient of shape {shape}, got {gradient.shape}")
        try:
            loss = float(loss)
        except OverflowError:
            loss = math.inf
        with np.errstate(over="ignore"):
            return loss, gradient.astype(np.float32, copy=False)


def check_loss(loss):
    """`loss` itself, once it is one."""
    if isinstance(loss, type) and issubclass(loss, Loss):
        raise TypeError(f"loss: expected an instance, got the class {loss.__name__}; write losses.{loss.__name__}()")
    if not isinstance(loss, Loss):
        hint = "; write losses.Custom(function)" if callable(loss) else ""
        raise TypeError(f"loss: expected a loss of fastnn.losses, got {type(loss).__name__}{hint}")
    return loss
