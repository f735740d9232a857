"""Losses of classes, which look across a row of outputs: softmax cross entropy and multi-class hinge. The conventions are those of loss.py."""

import numpy as np

from ._check import check_array, check_integers, check_out
from ._loss_parts import _finish, _parameter, _positive
from .softmax import softmax_forward


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
    targets : integer array [batch], or floating array [batch, classes]
        Class numbers in [0, classes), or t. A row of t need not sum to 1. t is rounded to the dtype of the logits first.
    out : array like logits, optional
        Receives dlogits; may be logits itself.
    label_smoothing : float, default 0.0
        From 0 to 1.
    class_weight : array [classes], dtype of logits, optional
    sample_weight : array [batch], dtype of logits, optional
    reduction : {"mean", "sum"}, default "mean"
        "sum" leaves out the division by batch.
    ignore_index : int, optional
        The class number, of any value, of rows to be left out: their loss and gradient are 0, whatever is in them, and the mean
        is over the others (0 where there are none). Only with class numbers.

    Returns
    -------
    loss : float
        NaN for the mean of a batch without rows.
    dlogits : array like logits

    Raises
    ------
    ValueError
        Shapes that do not fit, a class number out of range (the first is named), `out` read-only, a parameter out of range.
    TypeError
        Logits that are neither float32 nor float64, targets that are neither integers nor floating.

    Examples
    --------
    >>> softmax_cross_entropy(np.array([[0.0, 0.0]]), np.array([1]))
    (0.6931471805599453, array([[ 0.5, -0.5]]))
    """
    check_array(logits, "logits", shape=(None, None))
    if ignore_index is not None:
        counted = _counted(targets, ignore_index, logits)
        out = check_out(out, "out", logits.shape, logits.dtype)
        weights = None if sample_weight is None else sample_weight[counted]
        loss, gradient = softmax_cross_entropy(logits[counted], targets[counted], label_smoothing=label_smoothing,
                                               class_weight=class_weight, sample_weight=weights, reduction=reduction)
        out[...] = 0
        out[counted] = gradient
        return loss if counted.any() else 0.0, out
    t = _smoothed(_target_rows(targets, logits), logits, label_smoothing, class_weight)
    with np.errstate(all="ignore"):
        gradient = softmax_forward(logits) * t.sum(axis=1, keepdims=True) - t
    return _finish(logits, _losses(logits, t), gradient, out, sample_weight, reduction)


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
    >>> softmax_cross_entropy_rows(np.array([[0.0, 0.0], [1000.0, 0.0]]), np.array([1, 1])).round(3)
    array([6.93e-01, 1.00e+03])
    """
    check_array(logits, "logits", shape=(None, None))
    if ignore_index is None:
        return _losses(logits, _target_rows(targets, logits))
    counted, losses = _counted(targets, ignore_index, logits), np.zeros(len(logits))
    losses[counted] = softmax_cross_entropy_rows(logits[counted], targets[counted])
    return losses


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
    >>> softmax_cross_entropy_correct(np.array([[1.0, 2.0], [1.0, 1.0]]), np.array([1, 1]))
    1
    """
    check_array(logits, "logits", shape=(None, None))
    if ignore_index is not None:
        counted = _counted(targets, ignore_index, logits)
        return softmax_cross_entropy_correct(logits[counted], targets[counted])
    t = _target_rows(targets, logits)
    if logits.size == 0:
        return 0
    known = ~(np.isnan(logits) | np.isnan(t)).any(axis=1)
    return int(np.count_nonzero(known & (logits.argmax(axis=1) == t.argmax(axis=1))))


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
    out : array like outputs, optional
        Receives the gradient; may be outputs itself.
    margin : float, default 1.0
        Finite and >= 0.
    squared : bool, default False
    class_weight : array [classes], dtype of outputs, optional
        Of the row's class.
    sample_weight : array [batch], dtype of outputs, optional
    reduction : {"mean", "sum"}, default "mean"

    Returns
    -------
    loss : float
    gradient : array like outputs

    Raises
    ------
    ValueError
        Shapes that do not fit, a class number or a margin out of range, `out` read-only, another reduction.
    TypeError
        Outputs that are neither float32 nor float64, targets that are no integers.

    Examples
    --------
    >>> multiclass_hinge(np.array([[3.2, 5.1, -1.7]]), np.array([0]))
    (2.8999999999999995, array([[-1.,  1.,  0.]]))
    """
    margin = _parameter(margin, "margin")
    check_array(outputs, "outputs", shape=(None, None))
    label = _labels(targets, outputs)
    rows = np.arange(len(outputs))
    with np.errstate(all="ignore"):
        missing = _positive(outputs - outputs[rows, label][:, None] + np.asarray(margin, outputs.dtype))
        missing[rows, label] = 0
        gradient = 2 * missing if squared else np.where(missing > 0, 1, missing).astype(outputs.dtype)
        gradient[rows, label] = -gradient.sum(axis=1)
        wide = missing.astype(np.float64)
        losses = (wide * wide if squared else wide).sum(axis=1)
        if class_weight is not None:
            check_array(class_weight, "class_weight", outputs.dtype, (outputs.shape[1],))
            losses = losses * class_weight[label].astype(np.float64)
            gradient = gradient * class_weight[label][:, None]
    return _finish(outputs, losses, gradient, out, sample_weight, reduction)


def _target_rows(targets, logits):
    """The targets as rows of probabilities [batch, classes], in the dtype of the logits."""
    batch, classes = logits.shape
    if not isinstance(targets, np.ndarray):
        raise TypeError(f"targets must be a NumPy array, got {type(targets).__name__}")
    if targets.dtype.kind == "f":
        check_array(targets, "targets", targets.dtype, (batch, classes))
        return targets.astype(logits.dtype)
    rows = np.zeros_like(logits)
    rows[np.arange(batch), _labels(targets, logits)] = 1
    return rows


def _labels(targets, outputs):
    batch, classes = outputs.shape
    check_integers(targets, "targets", (batch,))
    bad = np.flatnonzero((targets < 0) | (targets >= classes))
    if bad.size:
        raise ValueError(f"targets[{bad[0]}] must be a class number in [0, {classes}), got {targets[bad[0]]}")
    return targets


def _counted(targets, ignore_index, logits):
    """Which rows are not to be ignored; the labels of these are checked."""
    if isinstance(targets, np.ndarray) and targets.dtype.kind == "f":
        raise ValueError("targets must be class numbers, since there is an ignore_index, got rows")
    counted = check_integers(targets, "targets", logits.shape[:1]) != ignore_index
    _labels(np.where(counted, targets, targets.dtype.type(0)), logits)
    return counted


def _smoothed(t, logits, label_smoothing, class_weight):
    """t' of `softmax_cross_entropy`."""
    s = float(label_smoothing)
    if not 0 <= s <= 1:
        raise ValueError(f"label_smoothing must be from 0 to 1, got {s}")
    if s:
        t = t * np.asarray(1 - s, t.dtype) + np.asarray(s / logits.shape[1], t.dtype)
    if class_weight is not None:
        t = t * check_array(class_weight, "class_weight", logits.dtype, (logits.shape[1],))
    return t


def _losses(logits, t):
    """Cross entropy of each row, float64 [batch]."""
    with np.errstate(all="ignore"):
        z = logits.astype(np.float64)
        z = z - z.max(axis=1, keepdims=True, initial=-np.inf)
        lse = np.log(np.exp(z).sum(axis=1, keepdims=True))
        return np.where(t == 0, 0.0, t.astype(np.float64) * (lse - z)).sum(axis=1)
