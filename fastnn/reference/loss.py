"""Losses of a batch with their gradients with respect to the model's outputs.

Losses are computed in float64 whatever the dtype of the outputs; gradients in their dtype. All share three conventions:

- `reduction` "mean" divides the sum over the batch by the number of rows (of elements, for the losses that compare element
  by element); "sum" does not.
- `sample_weight` multiplies each row's loss and gradient. The mean still divides by the number of rows, not by the sum of the
  weights: a row of weight 2 counts as two rows, a batch of nothing but zeros has the loss 0, and parts of a batch add up.
- NaN in an output or a target is NaN in the row's loss and in that element's gradient; but a row of weight 0 is left out,
  whatever is in it.
- 0 times an infinite output is 0: a sure answer that is right costs nothing.
"""

import math

import numpy as np

from ._check import check_array
from ._loss_parts import _finish, _parameter, _positive, _product, _weighted, _weighted_gradient
from .class_loss import _losses, _smoothed, _target_rows, multiclass_hinge, softmax_cross_entropy, softmax_cross_entropy_correct


def mean_squared_error(outputs, targets, out=None, *, sample_weight=None, reduction="mean") -> tuple[float, np.ndarray]:
    """Mean squared error: loss = mean of (z - t)², gradient 2 (z - t) / (batch · columns).

    Parameters
    ----------
    outputs : float32 or float64 array [batch, columns]
        z.
    targets : array like outputs
        t.
    out : array like outputs, optional
        Receives the gradient; may be outputs itself.
    sample_weight : array [batch] or [batch, columns], dtype of outputs, optional
        Of the rows, or of each output; the mean is over all of them all the same.
    reduction : {"mean", "sum"}, default "mean"
        The mean or the sum over all elements.

    Returns
    -------
    loss : float
    gradient : array like outputs

    Raises
    ------
    ValueError
        Shapes that do not fit, `out` read-only, another reduction.
    TypeError
        Dtypes that differ or are neither float32 nor float64.

    Examples
    --------
    >>> mean_squared_error(np.array([[1.0], [2.0]]), np.array([[1.0], [4.0]]))
    (2.0, array([[ 0.],
           [-2.]]))
    """
    return _elementwise("squared", outputs, targets, out, sample_weight, reduction)


def mean_absolute_error(outputs, targets, out=None, *, sample_weight=None, reduction="mean") -> tuple[float, np.ndarray]:
    """Mean absolute error: loss = mean of |z - t|, gradient sign(z - t) / (batch · columns), 0 where z = t.

    Parameters
    ----------
    outputs, targets, out, sample_weight, reduction
        As for `mean_squared_error`.

    Returns
    -------
    loss, gradient
        As of `mean_squared_error`.

    Raises
    ------
    ValueError, TypeError
        As `mean_squared_error`.

    Examples
    --------
    >>> mean_absolute_error(np.array([[1.0], [2.0]]), np.array([[1.0], [4.0]]))
    (1.0, array([[ 0. ],
           [-0.5]]))
    """
    return _elementwise("absolute", outputs, targets, out, sample_weight, reduction)


def huber(outputs, targets, out=None, *, delta=1.0, sample_weight=None, reduction="mean") -> tuple[float, np.ndarray]:
    """Huber's loss, with d = z - t: mean of d² / 2 where |d| <= delta, else delta · (|d| - delta / 2).

    The gradient is d, held to [-delta, delta], / (batch · columns). (Huber 1964.)

    Parameters
    ----------
    outputs, targets, out, sample_weight, reduction
        As for `mean_squared_error`.
    delta : float, default 1.0
        Finite and > 0.

    Returns
    -------
    loss, gradient
        As of `mean_squared_error`.

    Raises
    ------
    ValueError, TypeError
        As `mean_squared_error` and if delta is out of range.

    Examples
    --------
    >>> huber(np.array([[1.5], [2.0]]), np.array([[1.0], [4.0]]))
    (0.8125, array([[ 0.25],
           [-0.5 ]]))
    """
    delta = _parameter(delta, "delta", positive=True)
    return _elementwise("huber", outputs, targets, out, sample_weight, reduction, delta)


def quantile(outputs, targets, out=None, *, quantile=0.5, sample_weight=None, reduction="mean") -> tuple[float, np.ndarray]:
    """Quantile (pinball) loss, with d = z - t and the quantile τ: mean of (1 - τ) · d where d > 0, else τ · |d|.

    The gradient is 1 - τ where d > 0, -τ where d < 0, and 0 where d = 0, / (batch · columns). The loss is least where a share τ
    of the targets is below z. (Koenker & Bassett 1978.)

    Parameters
    ----------
    outputs, targets, out, sample_weight, reduction
        As for `mean_squared_error`.
    quantile : float or sequence of columns floats, default 0.5
        τ, above 0 and below 1; for all columns, or one for each.

    Returns
    -------
    loss, gradient
        As of `mean_squared_error`.

    Raises
    ------
    ValueError, TypeError
        As `mean_squared_error` and if a quantile is out of range.

    Examples
    --------
    >>> quantile(np.array([[1.0], [2.0]]), np.array([[0.0], [4.0]]), quantile=0.25)
    (0.625, array([[ 0.375],
           [-0.125]]))
    """
    check_array(outputs, "outputs", shape=(None, None))
    below = np.empty(outputs.shape[1], outputs.dtype)
    try:
        below[...] = quantile
    except (TypeError, ValueError):
        raise ValueError(f"quantile must be a number or {len(below)} of them, one for each column, got {quantile!r}") from None
    if not ((below > 0) & (below < 1)).all():
        raise ValueError(f"quantile must be above 0 and below 1, got {quantile}")
    sides = np.stack([1 - below, below])
    return _elementwise("quantile", outputs, targets, out, sample_weight, reduction, class_weight=sides)


def poisson(outputs, targets, out=None, *, log_input=True, full=False, eps=1e-8, sample_weight=None,
            reduction="mean") -> tuple[float, np.ndarray]:
    """Negative log-likelihood of counts t under Poisson distributions.

        log_input:  mean of exp(z) - t · z                gradient (exp(z) - t) / (batch · columns)
        else        mean of z - t · log(z + eps)          gradient (1 - t / (z + eps)) / (batch · columns)

    log t! does not depend on z and is left out; with `full`, Stirling's t log t - t + log(2 π t) / 2 is added for t > 1. A
    rate z + eps below 0 is none: NaN in the loss and in the gradient.

    Parameters
    ----------
    outputs, targets, out, sample_weight, reduction
        As for `mean_squared_error`.
    log_input : bool, default True
        Whether z is the logarithm of the rate.
    full : bool, default False
    eps : float, default 1e-8
        Where z is the rate itself: finite and >= 0.

    Returns
    -------
    loss, gradient
        As of `mean_squared_error`.

    Raises
    ------
    ValueError, TypeError
        As `mean_squared_error` and if eps is out of range.

    Examples
    --------
    >>> poisson(np.array([[0.0]]), np.array([[3.0]]))
    (1.0, array([[-2.]]))
    """
    eps = _parameter(eps, "eps")
    form = "poisson_log" if log_input else "poisson"
    return _elementwise(form, outputs, targets, out, sample_weight, reduction, eps, full=full)


def binary_cross_entropy(logits, targets, out=None, *, class_weight=None, sample_weight=None,
                         reduction="mean") -> tuple[float, np.ndarray]:
    """Sigmoid followed by cross-entropy, of one or many yes-or-no questions at once.

        loss = mean of  p · t · log(1 + exp(-z)) + q · (1 - t) · log(1 + exp(z))
        gradient = ((p · t + q · (1 - t)) · sigmoid(z) - p · t) / (batch · columns)

    computed so that no finite logit overflows; infinite ones have the limits. q and p are the weights of class 0 and class 1, 1
    by default.

    Parameters
    ----------
    logits : float32 or float64 array [batch, columns]
        z, before any sigmoid.
    targets : array like logits
        t: 0, 1, or probabilities.
    out : array like logits, optional
        Receives the gradient; may be logits itself.
    class_weight : array [2, columns], dtype of logits, optional
        q, then p, for each column.
    sample_weight : array [batch] or [batch, columns], dtype of logits, optional
    reduction : {"mean", "sum"}, default "mean"

    Returns
    -------
    loss : float
    gradient : array like logits

    Raises
    ------
    ValueError
        Shapes that do not fit, `out` read-only, another reduction.
    TypeError
        Dtypes that differ or are neither float32 nor float64.

    Examples
    --------
    >>> binary_cross_entropy(np.array([[0.0]]), np.array([[1.0]]))
    (0.6931471805599453, array([[-0.5]]))
    """
    return _elementwise("binary_entropy", logits, targets, out, sample_weight, reduction, class_weight=class_weight,
                        name="logits")


def binary_hinge(outputs, targets, out=None, *, margin=1.0, squared=False, class_weight=None, sample_weight=None,
                 reduction="mean") -> tuple[float, np.ndarray]:
    """Hinge loss of a support vector machine: mean of max(0, margin - s · z), or of its square; s = 1 where t > 0, else -1.

    The gradient is -s (or -2 s (margin - s · z)) / (batch · columns) where the margin is missed, else 0; each element times
    the weight of its class. (Cortes & Vapnik 1995; squared: Tang 2013.)

    Parameters
    ----------
    outputs : float32 or float64 array [batch, columns]
        z.
    targets : array like outputs
        t: 1 or above for one class, 0 or -1 for the other.
    out : array like outputs, optional
        Receives the gradient; may be outputs itself.
    margin : float, default 1.0
        Finite and >= 0.
    squared : bool, default False
    class_weight : array [2, columns], dtype of outputs, optional
        Of the class with t <= 0, then of the one with t > 0.
    sample_weight : array [batch] or [batch, columns], dtype of outputs, optional
    reduction : {"mean", "sum"}, default "mean"

    Returns
    -------
    loss : float
    gradient : array like outputs

    Raises
    ------
    ValueError
        Shapes that do not fit, a margin out of range, `out` read-only, another reduction.
    TypeError
        Dtypes that differ or are neither float32 nor float64.

    Examples
    --------
    >>> binary_hinge(np.array([[0.5], [3.0]]), np.array([[1.0], [1.0]]))
    (0.25, array([[-0.5],
           [-0. ]]))
    """
    margin = _parameter(margin, "margin")
    form = "squared_hinge" if squared else "hinge"
    return _elementwise(form, outputs, targets, out, sample_weight, reduction, margin, class_weight)


# ---- what the plan's interpreter takes apart: the losses of rows, and how many of their outputs are right ----


def loss_rows(kind, outputs, targets, *, form=None, parameter=0.0, full=False, class_weight=None, sample_weight=None, total=False):
    """Losses of the rows [batch], as a plan's operation of that kind sums them."""
    if sample_weight is not None and sample_weight.ndim == 1:
        unweighted = loss_rows(kind, outputs, targets, form=form, parameter=parameter, full=full, class_weight=class_weight, total=total)
        return _weighted(unweighted, sample_weight)
    if kind == "softmax_cross_entropy":
        t = _smoothed(_target_rows(targets, outputs), outputs, parameter, class_weight)
        return _losses(outputs, t)
    if kind == "multiclass_hinge":
        options = {"margin": parameter, "squared": form == "squared_hinge", "class_weight": class_weight, "reduction": "sum"}
        one = [multiclass_hinge(outputs[i : i + 1], targets[i : i + 1], **options)[0] for i in range(len(outputs))]
        return np.array(one, np.float64)
    values, _ = _terms(form, outputs, targets.astype(outputs.dtype), parameter, class_weight, full)
    values = values if sample_weight is None else _weighted(values, sample_weight)
    return values.sum(axis=1) if total else values.sum(axis=1) / outputs.shape[1]


def loss_correct(kind, outputs, targets, form=None):
    """Rows (of the binary losses elements) on the right side; 0 for the losses that know none."""
    if kind != "elementwise_loss":
        return softmax_cross_entropy_correct(outputs, targets)
    if form not in ("binary_entropy", "hinge", "squared_hinge"):
        return 0
    known = ~(np.isnan(outputs) | np.isnan(targets))
    return int(np.count_nonzero(known & ((outputs > 0) == (targets > (0.5 if form == "binary_entropy" else 0)))))


def loss_gradient(kind, outputs, targets, *, form=None, parameter=0.0, full=False, class_weight=None, sample_weight=None,
                  total=False):
    """The gradient, as a plan's operation of that kind makes it."""
    options = {"class_weight": class_weight, "sample_weight": sample_weight, "reduction": "sum" if total else "mean"}
    if kind == "softmax_cross_entropy":
        return softmax_cross_entropy(outputs, targets, label_smoothing=parameter, **options)[1]
    if kind == "multiclass_hinge":
        return multiclass_hinge(outputs, targets, margin=parameter, squared=form == "squared_hinge", **options)[1]
    options["class_weight"] = class_weight
    return _elementwise(form, outputs, targets.astype(outputs.dtype), None, sample_weight, options["reduction"], parameter,
                        class_weight, full)[1]


# ---- parts ----


def _terms(form, z, t, parameter, class_weight, full):
    """(loss of each element in float64, gradient of each in the dtype of z)"""
    if class_weight is not None:
        q, p = check_array(class_weight, "class_weight", z.dtype, (2, z.shape[1]))
    else:
        q = p = np.ones(z.shape[1], z.dtype)
    dtype, c = z.dtype, np.asarray(parameter, z.dtype)
    with np.errstate(all="ignore"):
        d = z - t
        if form == "squared":
            return d.astype(np.float64) ** 2, 2 * d
        if form == "absolute":
            return np.abs(d).astype(np.float64), np.sign(d)
        if form == "huber":
            size = np.abs(d).astype(np.float64)
            return np.where(size > c, c * (size - c / 2), size * size / 2), np.clip(d, -c, c)
        if form in ("poisson", "poisson_log"):
            if form == "poisson_log":
                rate = np.exp(z.astype(np.float64))
                values, gradient = rate - _product(t, z.astype(np.float64)), (rate - t).astype(dtype)
            else:
                rate = np.where(z + c < 0, np.nan, z.astype(np.float64) + c)
                values = z - _product(t, np.log(rate))
                gradient = np.where(np.isnan(rate), rate, 1 - np.where(t == 0, 0, t / rate)).astype(dtype)
            if full:
                count = t.astype(np.float64)
                stirling = count * np.log(count) - count + 0.5 * np.log(2 * math.pi * count)
                values = np.where(t > 1, values + stirling, values)
            return values, gradient
        if form == "binary_entropy":
            positive, negative = p * t, q * (1 - t)
            both, wide = positive + negative, z.astype(np.float64)
            e = np.exp(-np.abs(wide))
            sigmoid = np.where(z < 0, e, 1) / (1 + e)
            below, above = np.where(z < 0, -wide, 0), np.where(z < 0, 0, wide)
            values = both * np.log1p(e) + _product(positive, below) + _product(negative, above)
            return np.where(np.isnan(z), np.nan, values), (both * sigmoid - positive).astype(dtype)
        if form == "quantile":
            weight = np.where(d > 0, q, p)
            return np.abs(d).astype(np.float64) * weight, np.where(d > 0, q, np.where(d < 0, -p, d))
        side = np.where(t > 0, 1, np.where(np.isnan(t), t, -1)).astype(dtype)
        weight = np.where(t > 0, p, q)
        missing = _positive(c - side * z)
        missing = np.where((weight == 0) & np.isinf(missing), 0, missing)
        wide = missing.astype(np.float64) * weight
        if form == "squared_hinge":
            return wide * missing, -side * (weight * (2 * missing))
        return wide, -side * (weight * np.where(missing > 0, 1, missing))


def _elementwise(form, outputs, targets, out, sample_weight, reduction, parameter=0.0, class_weight=None, full=False,
                 name="outputs"):
    check_array(outputs, name, shape=(None, None))
    check_array(targets, "targets", outputs.dtype, outputs.shape)
    values, gradient = _terms(form, outputs, targets, parameter, class_weight, full)
    columns = outputs.shape[1] if reduction == "mean" else 1
    gradient = gradient / np.asarray(columns, outputs.dtype)
    if sample_weight is not None and sample_weight.ndim == 2:  # of each output
        check_array(sample_weight, "sample_weight", outputs.dtype, outputs.shape)
        values, gradient = _weighted(values, sample_weight), _weighted_gradient(gradient, sample_weight)
        sample_weight = None
    with np.errstate(all="ignore"):
        losses = values.sum(axis=1) / columns
    return _finish(outputs, losses, gradient, out, sample_weight, reduction)
