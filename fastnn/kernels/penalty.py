"""Eager kernels: L1 and L2 penalties."""

import numpy as np

from .._native import Operation, apart, elements, penalty_chunks, penalty_total, shape_of
from ._check import _FLOAT32_MAX, _at_least_zero

_forward = Operation("penalty_forward", "w sum", "size l1 l2")
_backward = Operation("penalty_backward", "w dw", "size l1 l2")


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
        Added up in double, in an order that does not depend on the number of threads.

    Raises
    ------
    ValueError
        A factor that is negative or not finite, an array that is empty or not C-contiguous.
    TypeError
        Another dtype.

    Examples
    --------
    >>> fastnn.kernels.penalty_forward(np.array([1.0, -3.0], np.float32), l1=0.5, l2=0.25)
    3.25
    """
    factors = _factors(l1, l2)
    size = elements(w, "w")
    terms = np.empty(penalty_chunks(size))
    _forward.run(1, (w, terms), (size, *factors))
    return penalty_total(terms, size)


def penalty_backward(w, dw, l1=0.0, l2=0.0) -> np.ndarray:
    """Add the penalty's gradient in place: dw = dw + l2 · w + l1 · sign(w), with sign(0) = 0.

    Parameters
    ----------
    w : float32 or float64 array
        Of any shape.
    dw : float32 or float64 array of w's shape
        Changed in place.
    l1, l2 : float, default 0.0
        >= 0. A part whose factor is 0 is left out.

    Returns
    -------
    dw : the array itself

    Raises
    ------
    ValueError
        A shape that is not w's, arrays that overlap, a read-only `dw`, a factor that is negative or not finite.
    TypeError
        Another dtype.

    Examples
    --------
    >>> fastnn.kernels.penalty_backward(np.array([1.0, -3.0], np.float32), np.zeros(2, np.float32), l1=0.5, l2=0.25)
    array([ 0.75, -1.25], dtype=float32)
    """
    factors = _factors(l1, l2)
    size = elements(w, "w")
    elements(dw, "dw", True, w)
    if shape_of(dw) != shape_of(w):
        raise ValueError(f"dw: expected w's shape {shape_of(w)}, got {shape_of(dw)}")
    apart(dw, "dw", (w, "w"))
    _backward.run(1, (w, dw), (size, *factors))
    return dw


def _factors(l1, l2):
    l1, l2 = _at_least_zero(l1=l1, l2=l2)
    for name, value in (("l1", l1), ("l2", l2)):
        if value > _FLOAT32_MAX:
            raise ValueError(f"{name}: expected a number that is finite in float32, got {value}")
    return l1, l2
