"""Eager kernels: losses and their gradients in one pass."""

import numpy as np

from .. import _native
from .._native import Operation, apart, matrix, output_like, shape_of, vector
from ..core.activations import FLOAT32_MAX, FLOAT32_TINY, FORMS
from ._check import _integer, _number, _own
from .rows import _label_error


def softmax_cross_entropy(logits, targets, out=None, *, label_smoothing=0.0, class_weight=None, sample_weight=None,
                          reduction="mean", ignore_index=None) -> tuple[float, np.ndarray]:
    """Softmax cross entropy of a batch, and its gradient with respect to the logits.

    With lse_i = log Σ_k exp(z_ik) and s = label_smoothing,

        t'_ij = class_weight_j · ((1 - s) · t_ij + s / classes)
        loss = 1/batch · Σ_i sample_weight_i · Σ_j t'_ij · (lse_i - z_ij),        terms with t'_ij = 0 count 0
        dlogits_ij = (softmax(z)_ij · Σ_k t'_ik - t'_ij) · sample_weight_i / batch

    (Bishop 2006, equations 4.108 and 4.109; label smoothing: Szegedy et al. 2016.) A class number c stands for the row with
    t_ic = 1 and zeros elsewhere. With class weights the mean divides by the number of rows; PyTorch divides by the sum of the
    targets' weights.

    Parameters
    ----------
    logits : float32 or float64 array [batch, classes]
        z, before any softmax.
    targets : integer array [batch], or array like logits [batch, classes]
        Class numbers in [0, classes), of any integer dtype; or t, whose rows need not sum to 1.
    out : float32 or float64 array like logits, optional
        Receives dlogits; may be logits itself.
    label_smoothing : float, default 0.0
        From 0 to 1.
    class_weight : float32 or float64 array [classes], optional
    sample_weight : float32 or float64 array [batch], optional
    reduction : {"mean", "sum"}, default "mean"
        "sum" leaves out the division by batch.
    ignore_index : int, optional
        The class number, of any value, of rows to be left out: their loss and gradient are 0, whatever is in them, and the mean
        is over the others (0 where there are none). Only with class numbers.

    Returns
    -------
    loss : float
        Summed in double, in the same order whatever the number of threads.
    dlogits : float32 or float64 array like logits

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, a class number out of range (the first is named), `out`
        read-only or overlapping an input other than logits itself, a parameter out of range.
    TypeError
        Logits that are neither float32 nor float64, targets that are neither integers nor rows of the same dtype.

    Examples
    --------
    >>> loss, dlogits = fastnn.kernels.softmax_cross_entropy(np.float32([[0, 0]]), np.array([1]))
    >>> round(loss, 6), dlogits
    (0.693147, array([[ 0.5, -0.5]], dtype=float32))
    """
    *found, counted = _cross_entropy(logits, targets, out, label_smoothing, class_weight, sample_weight, reduction, ignore_index)
    return _reduced(found, reduction, counted)


def softmax_cross_entropy_rows(logits, targets, *, ignore_index=None) -> np.ndarray:
    """Softmax cross entropy of each row: loss_i = Σ_j t_ij · (lse_i - z_ij).

    Parameters
    ----------
    logits, targets, ignore_index
        As for `softmax_cross_entropy`.

    Returns
    -------
    losses : float64 array [batch]

    Raises
    ------
    ValueError, TypeError
        As `softmax_cross_entropy`.

    Examples
    --------
    >>> fastnn.kernels.softmax_cross_entropy_rows(np.float32([[0, 0], [1000, 0]]), np.array([1, 1])).round(3)
    array([6.93e-01, 1.00e+03])
    """
    return _cross_entropy(logits, targets, ignore_index=ignore_index)[0]


def softmax_cross_entropy_correct(logits, targets, *, ignore_index=None) -> int:
    """Number of rows whose largest logit stands at the target.

    Of equal logits the first counts, and so does the first of equal probabilities in a row of t. A row with a NaN, in the
    logits or in t, is not correct, nor is one to be left out.

    Parameters
    ----------
    logits, targets, ignore_index
        As for `softmax_cross_entropy`.

    Returns
    -------
    correct : int

    Raises
    ------
    ValueError, TypeError
        As `softmax_cross_entropy`.

    Examples
    --------
    >>> fastnn.kernels.softmax_cross_entropy_correct(np.float32([[1, 2], [1, 1]]), np.array([1, 1]))
    1
    """
    return int(np.count_nonzero(_cross_entropy(logits, targets, ignore_index=ignore_index)[2]))


def mean_squared_error(outputs, targets, out=None, *, sample_weight=None, reduction="mean") -> tuple[float, np.ndarray]:
    """Mean squared error: loss = mean of (z - t)², gradient 2 (z - t) / (batch · columns).

    Parameters
    ----------
    outputs : float32 or float64 array [batch, columns]
        z.
    targets : float32 or float64 array like outputs
        t.
    out : float32 or float64 array like outputs, optional
        Receives the gradient; may be outputs itself.
    sample_weight : float32 or float64 array [batch] or [batch, columns], optional
        Of the rows, or of each output; the mean is over all of them all the same.
    reduction : {"mean", "sum"}, default "mean"
        The mean or the sum over all elements.

    Returns
    -------
    loss : float
    gradient : float32 or float64 array like outputs

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, `out` read-only or overlapping an input other than the
        first itself, another reduction.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ.

    Examples
    --------
    >>> loss, gradient = fastnn.kernels.mean_squared_error(np.float32([[1], [2]]), np.float32([[1], [4]]))
    >>> loss, gradient.tolist()
    (2.0, [[0.0], [-2.0]])
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
    >>> loss, gradient = fastnn.kernels.mean_absolute_error(np.float32([[1], [2]]), np.float32([[1], [4]]))
    >>> loss, gradient.tolist()
    (1.0, [[0.0], [-0.5]])
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
    >>> loss, gradient = fastnn.kernels.huber(np.float32([[1.5], [2]]), np.float32([[1], [4]]))
    >>> loss, gradient.tolist()
    (0.8125, [[0.25], [-0.5]])
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
    >>> z, t = np.float32([[1], [2]]), np.float32([[0], [4]])
    >>> loss, gradient = fastnn.kernels.quantile(z, t, quantile=0.25)
    >>> loss, gradient.tolist()
    (0.625, [[0.375], [-0.125]])
    """
    matrix(outputs, "outputs")
    outputs = _own(outputs, "outputs")
    below = np.empty(outputs.shape[1], outputs.dtype)
    try:
        below[...] = quantile
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"quantile: expected a number, or {len(below)} of them, one for each column, got {quantile!r}") from None
    if not ((below > 0) & (below < 1)).all():
        raise ValueError(f"quantile: expected numbers above 0 and below 1, got {quantile!r}")
    sides = np.stack([1 - below, below])
    return _elementwise("quantile", outputs, targets, out, sample_weight, reduction, 0.0, sides)


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
    >>> fastnn.kernels.poisson(np.float32([[0]]), np.float32([[3]]))
    (1.0, array([[-2.]], dtype=float32))
    """
    form, eps = "poisson_log" if log_input else "poisson", _parameter(eps, "eps")
    return _elementwise(form, outputs, targets, out, sample_weight, reduction, eps, full=bool(full))


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
    targets : float32 or float64 array like logits
        t: 0, 1, or probabilities.
    out : float32 or float64 array like logits, optional
        Receives the gradient; may be logits itself.
    class_weight : float32 or float64 array [2, columns], optional
        q, then p, for each column.
    sample_weight : float32 or float64 array [batch] or [batch, columns], optional
    reduction : {"mean", "sum"}, default "mean"

    Returns
    -------
    loss : float
    gradient : float32 or float64 array like logits

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, `out` read-only or overlapping an input other than the
        first itself, another reduction.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ.

    Examples
    --------
    >>> loss, gradient = fastnn.kernels.binary_cross_entropy(np.float32([[0]]), np.float32([[1]]))
    >>> round(loss, 6), gradient
    (0.693147, array([[-0.5]], dtype=float32))
    """
    return _elementwise("binary_entropy", logits, targets, out, sample_weight, reduction, 0.0, class_weight, name="logits")


def binary_hinge(outputs, targets, out=None, *, margin=1.0, squared=False, class_weight=None, sample_weight=None,
                 reduction="mean") -> tuple[float, np.ndarray]:
    """Hinge loss of a support vector machine: mean of max(0, margin - s · z), or of its square; s = 1 where t > 0, else -1.

    The gradient is -s (or -2 s (margin - s · z)) / (batch · columns) where the margin is missed, else 0; each element times
    the weight of its class. (Cortes & Vapnik 1995; squared: Tang 2013.)

    Parameters
    ----------
    outputs : float32 or float64 array [batch, columns]
        z.
    targets : float32 or float64 array like outputs
        t: 1 or above for one class, 0 or -1 for the other.
    out : float32 or float64 array like outputs, optional
        Receives the gradient; may be outputs itself.
    margin : float, default 1.0
        Finite and >= 0.
    squared : bool, default False
    class_weight : float32 or float64 array [2, columns], optional
        Of the class with t <= 0, then of the one with t > 0.
    sample_weight : float32 or float64 array [batch] or [batch, columns], optional
    reduction : {"mean", "sum"}, default "mean"

    Returns
    -------
    loss : float
    gradient : float32 or float64 array like outputs

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, a margin out of range, `out` read-only or overlapping an
        input other than outputs itself, another reduction.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ.

    Examples
    --------
    >>> loss, gradient = fastnn.kernels.binary_hinge(np.float32([[0.5], [3]]), np.float32([[1], [1]]))
    >>> loss, gradient.ravel() + 0
    (0.25, array([-0.5,  0. ], dtype=float32))
    """
    form, margin = "squared_hinge" if squared else "hinge", _parameter(margin, "margin")
    return _elementwise(form, outputs, targets, out, sample_weight, reduction, margin, class_weight)


def multiclass_hinge(outputs, targets, out=None, *, margin=1.0, squared=False, class_weight=None, sample_weight=None,
                     reduction="mean") -> tuple[float, np.ndarray]:
    """Hinge loss over classes: loss_i = Σ_{j ≠ y} max(0, z_ij - z_iy + margin), or the sum of the squares; their mean over rows.

    The gradient at j ≠ y is 1 (or twice the missing margin) where the margin is missed, and at y minus the sum of those, each
    / batch. (Weston & Watkins 1999. Not divided by the number of classes, as PyTorch's MultiMarginLoss does.)

    Parameters
    ----------
    outputs : float32 or float64 array [batch, classes]
        z.
    targets : integer array [batch]
        Class numbers y in [0, classes).
    out : float32 or float64 array like outputs, optional
        Receives the gradient; may be outputs itself.
    margin : float, default 1.0
        Finite and >= 0.
    squared : bool, default False
    class_weight : float32 or float64 array [classes], optional
        Of the row's class.
    sample_weight : float32 or float64 array [batch], optional
    reduction : {"mean", "sum"}, default "mean"

    Returns
    -------
    loss : float
    gradient : float32 or float64 array like outputs

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, a class number or a margin out of range, `out` read-only
        or overlapping an input other than outputs itself, another reduction.
    TypeError
        Outputs that are neither float32 nor float64, targets that are no integers.

    Examples
    --------
    >>> loss, gradient = fastnn.kernels.multiclass_hinge(np.float32([[3.2, 5.1, -1.7]]), np.array([0]))
    >>> round(loss, 6), gradient
    (2.9, array([[-1.,  1.,  0.]], dtype=float32))
    """
    form, margin = "squared_hinge" if squared else "hinge", _parameter(margin, "margin")
    matrix(outputs, "outputs")
    outputs, targets = _own(outputs, "outputs"), _own(targets, "targets")
    if targets.dtype.kind not in "iu" or not targets.dtype.isnative:
        raise TypeError(f"targets: expected class numbers of an integer dtype, got dtype {targets.dtype}")
    labels = _labels(targets, *outputs.shape)
    _check_class_weight(class_weight, outputs.shape[1:], outputs)
    found = _loss(_multiclass_hinge, "outputs", outputs, labels, None, out, sample_weight, class_weight, FORMS[form], margin,
                  _total(reduction))
    return _reduced(found, reduction)


def _cross_entropy(logits, targets, out=None, label_smoothing=0.0, class_weight=None, sample_weight=None, reduction="mean",
                   ignore_index=None):
    """(row losses, dlogits, whether each row is correct, rows that count, or None: all)"""
    matrix(logits, "logits")
    logits, targets = _own(logits, "logits"), _own(targets, "targets")
    kind = targets.dtype.kind
    if kind not in "iuf" or not targets.dtype.isnative:
        raise TypeError(f"targets: expected integers or rows of floating-point numbers, got dtype {targets.dtype}")
    if kind == "f" and targets.ndim == 1:
        raise TypeError(f"targets: expected class numbers of an integer dtype, got dtype {targets.dtype}")
    smoothing = _number(label_smoothing, "label_smoothing")
    if not 0 <= smoothing <= 1:
        raise ValueError(f"label_smoothing: expected a number from 0 to 1, got {smoothing}")
    _check_class_weight(class_weight, logits.shape[1:], logits)
    total = _total(reduction)
    labels = counted = None
    if kind == "f":
        if ignore_index is not None:
            raise ValueError("targets: expected class numbers, since there is an ignore_index, got rows")
    elif ignore_index is None:
        labels = _labels(targets, *logits.shape)
    else:
        ignore_index = _integer(ignore_index, "ignore_index", -(2**63), 2**64 - 1)
        if targets.shape != logits.shape[:1]:
            raise ValueError(f"targets: expected shape {logits.shape[:1]}, got {targets.shape}")
        ignored = targets == ignore_index
        labels = _labels(np.where(ignored, targets.dtype.type(0), targets), *logits.shape)
        labels[ignored] = -1
        counted = len(ignored) - int(np.count_nonzero(ignored))
    found = _loss(_softmax_cross_entropy, "logits", logits, labels, targets, out, sample_weight, class_weight, 0, smoothing, total,
                  ignored=None if counted is None else len(labels) - counted)
    return *found, counted


def _elementwise(form, outputs, targets, out, sample_weight, reduction, parameter=0.0, class_weight=None, full=False,
                 name="outputs"):
    """(loss, gradient) of a loss that is a sum over the elements."""
    _check_class_weight(class_weight, (2, matrix(outputs, name)[1]), outputs)
    found = _loss(_elementwise_loss, name, outputs, None, targets, out, sample_weight, class_weight, FORMS[form], parameter,
                  _total(reduction), full)
    return _reduced(found, reduction)


_softmax_cross_entropy, _elementwise_loss, _multiclass_hinge = (
    Operation(kind, "logits labels targets dlogits loss correct weight class_weight", "columns form parameter full sum")
    for kind in ("softmax_cross_entropy", "elementwise_loss", "multiclass_hinge")
)


def _loss(operation, name, outputs, labels, targets, out, sample_weight, class_weight, form, parameter, total, full=False,
          ignored=None):
    """(row losses, gradient, correct) of a batch. name: that of the outputs; labels: int32 ones that have been checked, or None, and
    then targets like the outputs count; a class_weight has been checked; ignored: how many labels are -1, or None."""
    batch, columns = matrix(outputs, name)
    if labels is None:
        matrix(targets, "targets", batch, columns, outputs)
    each = operation is _elementwise_loss and isinstance(sample_weight, np.ndarray) and sample_weight.ndim == 2
    if each:
        matrix(sample_weight, "sample_weight", batch, columns, outputs)
    elif sample_weight is not None:
        vector(sample_weight, "sample_weight", batch, outputs)
    gradient = output_like(out, outputs, name)
    if out is not None:
        apart(gradient, "out", (targets, "targets"), (sample_weight, "sample_weight"), (class_weight, "class_weight"))
    losses, correct = np.empty(batch), np.empty(batch, np.uint32)
    targets = None if labels is not None else targets
    operation.run(batch, (outputs, labels, targets, gradient, losses, correct, sample_weight, class_weight),
              (columns, form, parameter, full, total), 0, 0, columns if each else 1, ignored)
    return losses, gradient, correct


def _reduced(found, reduction, counted=None):
    losses, gradient, _ = found
    total = _native.sum_rows(losses)
    return total if reduction == "sum" else total / (len(losses) if counted is None else max(counted, 1)), gradient


def _labels(targets, batch, classes):
    """Class numbers as int32, each checked."""
    if shape_of(targets) != (batch,):
        raise ValueError(f"targets: expected shape ({batch},), got {shape_of(targets)}")
    labels, problem, row = _native.gather_labels(targets, None, classes, None)
    if problem:
        raise _label_error("targets", row, classes, targets[row])
    return labels


def _total(reduction):
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction: expected 'mean' or 'sum', got {reduction!r}")
    return reduction == "sum"


def _parameter(value, name, positive=False):
    value = _number(value, name)
    if not (0 <= value <= FLOAT32_MAX and (value >= FLOAT32_TINY or not positive)):
        raise ValueError(f"{name}: expected a number {'> 0' if positive else '>= 0'}, finite in float32, got {value}")
    return value


def _check_class_weight(class_weight, shape, outputs):
    if class_weight is not None:
        (vector if len(shape) == 1 else matrix)(class_weight, "class_weight", *shape, outputs)
