"""Penalties on weights: L1, L2 and their sum, the elastic net."""

import numpy as np

from ._check import check_array


def penalty_forward(w, l1=0.0, l2=0.0) -> float:
    """The penalty of an array: R(w) = l1 · Σ|w| + l2 / 2 · Σw².

    (Tibshirani 1996 for L1, Hoerl & Kennard 1970 for L2, Zou & Hastie 2005 for both.)

    Parameters
    ----------
    w : float32 or float64 array
        Of any shape.
    l1, l2 : float, default 0.0
        >= 0. A part whose factor is 0 is left out.

    Returns
    -------
    value : float
        Added up in float64.

    Raises
    ------
    ValueError
        A factor that is negative or not finite.
    TypeError
        A dtype that is neither float32 nor float64.

    Examples
    --------
    >>> penalty_forward(np.array([1.0, -3.0]), l1=0.5, l2=0.25)
    3.25
    """
    check_array(w, "w")
    l1, l2 = _factors(l1, l2)
    values = w.astype(np.float64)
    with np.errstate(all="ignore"):
        return float((l1 * np.abs(values).sum() if l1 else 0.0) + (0.5 * l2 * (values * values).sum() if l2 else 0.0))


def penalty_backward(w, dw, l1=0.0, l2=0.0) -> np.ndarray:
    """Add the penalty's gradient in place: dw = dw + l2 · w + l1 · sign(w), with sign(0) = 0.

    Parameters
    ----------
    w : float32 or float64 array
        Of any shape.
    dw : array of w's shape and dtype
        Changed in place.
    l1, l2 : float, default 0.0
        >= 0. A part whose factor is 0 is left out.

    Returns
    -------
    dw : the array itself

    Raises
    ------
    ValueError
        A shape that is not w's, a read-only `dw`, a factor that is negative or not finite.
    TypeError
        Dtypes that differ or are neither float32 nor float64.

    Examples
    --------
    >>> penalty_backward(np.array([1.0, -3.0]), np.zeros(2), l1=0.5, l2=0.25)
    array([ 0.75, -1.25])
    """
    check_array(w, "w")
    check_array(dw, "dw", w.dtype, w.shape, writable=True)
    l1, l2 = _factors(l1, l2)
    with np.errstate(all="ignore"):
        if l2:
            dw[...] = dw + l2 * w
        if l1:
            dw[...] = dw + l1 * np.sign(w)
    return dw


def _factors(l1, l2):
    for name, value in (("l1", l1), ("l2", l2)):
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be >= 0 and finite, got {value}")
    return float(l1), float(l2)
