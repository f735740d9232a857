"""Softmax cross entropy on logits: the loss, its gradient, the loss of each row, and the number of rows classified right.

Targets are class numbers or rows of probabilities. Losses are computed in float64 whatever the dtype of the logits; the
gradient is computed in their dtype. There are no class weights, no ignored labels and no label smoothing here: rows of
probabilities express all three.
"""

import numpy as np

from ._check import check_array, check_integers, check_out
from .softmax import softmax_forward


def softmax_cross_entropy(logits, targets, out=None):
    """Mean softmax cross entropy of a batch, and its gradient with respect to the logits.

    With lse_i = log Σ_k exp(z_ik),

        loss = 1/batch · Σ_i Σ_j t_ij · (lse_i - z_ij),        terms with t_ij = 0 count 0
        dlogits_ij = (softmax(z)_ij · Σ_k t_ik - t_ij) / batch

    (Bishop 2006, equations 4.108 and 4.109.) A class number c stands for the row with t_ic = 1 and zeros elsewhere.

    Parameters
    ----------
    logits : float32 or float64 array [batch, classes]
        z, before any softmax.
    targets : integer array [batch], or floating array [batch, classes]
        Class numbers in [0, classes), or t. A row of t need not sum to 1. t is rounded to the dtype of the logits first.
    out : array like logits, optional
        Receives dlogits; may be logits itself.

    Returns
    -------
    loss : float
        NaN for a batch without rows, as it is a mean.
    dlogits : array like logits

    Raises
    ------
    ValueError
        Shapes that do not fit, a class number out of range (the first is named), `out` read-only.
    TypeError
        Logits that are neither float32 nor float64, targets that are neither integers nor floating.

    Examples
    --------
    >>> softmax_cross_entropy(np.array([[0.0, 0.0]]), np.array([1]))
    (0.6931471805599453, array([[ 0.5, -0.5]]))
    """
    check_array(logits, "logits", shape=(None, None))
    t = _target_rows(targets, logits)
    out = check_out(out, "out", logits.shape, logits.dtype)
    batch = logits.shape[0]
    loss = _losses(logits, t).sum() / batch if batch else np.nan
    with np.errstate(all="ignore"):
        out[...] = (softmax_forward(logits) * t.sum(axis=1, keepdims=True) - t) / max(batch, 1)
    return float(loss), out


def softmax_cross_entropy_rows(logits, targets):
    """Softmax cross entropy of each row: loss_i = Σ_j t_ij · (lse_i - z_ij).

    Parameters
    ----------
    logits, targets
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
    return _losses(logits, _target_rows(targets, logits))


def softmax_cross_entropy_correct(logits, targets):
    """Number of rows whose largest logit stands at the target.

    Of equal logits the first counts, and so does the first of equal probabilities in a row of t. A row with a NaN, in the
    logits or in t, is not correct.

    Parameters
    ----------
    logits, targets
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
    t = _target_rows(targets, logits)
    if logits.size == 0:
        return 0
    known = ~(np.isnan(logits) | np.isnan(t)).any(axis=1)
    return int(np.count_nonzero(known & (logits.argmax(axis=1) == t.argmax(axis=1))))


def _target_rows(targets, logits):
    """The targets as rows of probabilities [batch, classes], in the dtype of the logits."""
    batch, classes = logits.shape
    if not isinstance(targets, np.ndarray):
        raise TypeError(f"targets must be a NumPy array, got {type(targets).__name__}")
    if targets.dtype.kind == "f":
        check_array(targets, "targets", targets.dtype, (batch, classes))
        return targets.astype(logits.dtype)
    check_integers(targets, "targets", (batch,))
    bad = np.flatnonzero((targets < 0) | (targets >= classes))
    if bad.size:
        raise ValueError(f"targets[{bad[0]}] must be a class number in [0, {classes}), got {targets[bad[0]]}")
    rows = np.zeros_like(logits)
    rows[np.arange(batch), targets] = 1
    return rows


def _losses(logits, t):
    """Loss of each row, float64 [batch]."""
    with np.errstate(all="ignore"):
        z = logits.astype(np.float64)
        z = z - z.max(axis=1, keepdims=True, initial=-np.inf)
        lse = np.log(np.exp(z).sum(axis=1, keepdims=True))
        return np.where(t == 0, 0.0, t.astype(np.float64) * (lse - z)).sum(axis=1)
