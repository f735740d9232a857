"""Losses of yes or no, for each output: binary cross-entropy and hinge."""

import numpy as np

from ..core.activations import FLOAT32_MAX
from ..core.checks import check_number
from .base import _class_weights, _known_weights, _refuse_rows, _signs, _weights
from .elementwise import _Elementwise


class _Binary(_Elementwise):
    """Every output answers a yes-or-no question of its own."""

    accurate = True
    head = "sigmoid"
    checks_values = True

    def _set_class_weight(self, class_weight):
        if class_weight is not None:
            _class_weights(class_weight, 2)
        self.class_weight = class_weight

    def _class_weight(self, outputs, dtype):
        if self.class_weight is None:
            return None
        return np.repeat(_known_weights(self.class_weight, 2).astype(dtype)[:, None], outputs, axis=1)

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

    def __init__(self, pos_weight=None, class_weight=None, reduction="mean") -> None:
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

    def _class_weight(self, outputs, dtype):
        if self.pos_weight is None:
            return super()._class_weight(outputs, dtype)
        both = super()._class_weight(outputs, dtype) if self.class_weight is not None else np.ones((2, outputs), dtype)
        both[1] *= np.asarray(self.pos_weight, dtype)
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

    def __init__(self, margin=1.0, squared=False, class_weight=None, reduction="mean") -> None:
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
