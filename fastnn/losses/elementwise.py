"""Losses that compare outputs with targets one by one."""

from typing import Any

import numpy as np

from ..core.activations import FLOAT32_MAX, FLOAT32_TINY
from ..core.checks import check_number
from .base import Loss, _refuse_rows, _signs


class _Elementwise(Loss):
    """A loss that compares outputs and targets one by one, with rows of as many targets as outputs."""

    head = "numbers"
    takes_each = True
    form = "squared"  # of fastnn.activations.FORMS
    parameter = 0.0
    full = False

    def __init__(self, reduction="mean") -> None:
        self._set_reduction(reduction)

    def _class_weight(self, outputs, dtype):
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
            builder.target_rows(outputs.shape),
            form=self.form,
            parameter=self.parameter,
            sum=self.reduction == "sum",
            full=self.full,
            weights=builder.sample_weights(int(weighted)) if weighted else None,
            class_weight=self._class_weight(outputs.columns, builder.dtype),
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

    def __init__(self, delta=1.0, reduction="mean") -> None:
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

    def __init__(self, quantile: Any = 0.5, reduction="mean") -> None:
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

    def _class_weight(self, outputs, dtype):
        below = np.empty(outputs, dtype)
        below[...] = self.quantile
        return np.stack([1 - below, below])


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

    def __init__(self, log_input=True, full=False, eps=1e-8, reduction="mean") -> None:
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
