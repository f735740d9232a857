"""Multiclass hinge loss."""

from ..core.activations import FLOAT32_MAX
from ..core.checks import check_number
from .base import Loss, _check_labels, _class_weights, _known_weights, _label_counts


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

    def __init__(self, margin=1.0, squared=False, class_weight=None, reduction="mean") -> None:
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
