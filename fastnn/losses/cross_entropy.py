"""Softmax cross-entropy."""

import numbers

from ..core.checks import check_number
from .base import Loss, _check_labels, _class_weights, _known_weights, _label_counts


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

    def __init__(self, label_smoothing=0.0, class_weight=None, reduction="mean", ignore_index=None) -> None:
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
        targets = builder.labels(outputs.columns, self.ignore_index) if kind == "labels" else builder.target_rows(outputs.shape)
        builder.loss(
            "softmax_cross_entropy",
            outputs,
            targets,
            parameter=self.label_smoothing,
            sum=self.reduction == "sum",
            weights=builder.sample_weights(int(weighted)) if weighted else None,
            class_weight=None if self.class_weight is None else _known_weights(self.class_weight, outputs.columns),
        )
