"""Softmax over rows. Its gradient is taken together with the cross entropy, in loss.py, where it is simple."""

import numpy as np

from ._check import check_array, check_out


def softmax_forward(x, out=None):
    """Softmax of each row: y_ij = exp(x_ij - m_i) / Σ_k exp(x_ik - m_i), m_i = max_k x_ik.

    (Bridle 1990.) Subtracting the maximum changes nothing but keeps every exponent at or below zero. A row that holds a
    NaN or +inf, or nothing but -inf, has no softmax and is NaN throughout.

    Parameters
    ----------
    x : float32 or float64 array [batch, classes]
    out : array like x, optional
        Receives y; may be x itself.

    Returns
    -------
    y : array like x
        Each row sums to 1, up to rounding.

    Raises
    ------
    ValueError
        `x` that is not two-dimensional, `out` of another shape or read-only.
    TypeError
        Another dtype, or not an array.

    Examples
    --------
    >>> softmax_forward(np.array([[0.0, 0.0], [1000.0, 0.0]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    check_array(x, "x", shape=(None, None))
    out = check_out(out, "out", x.shape, x.dtype)
    with np.errstate(all="ignore"):
        e = np.exp(x - x.max(axis=1, keepdims=True, initial=-np.inf))  # `initial` lets a row be empty
        out[...] = e / e.sum(axis=1, keepdims=True)
    return out
