"""The dense layer: a matrix product, a bias and an activation, and its three gradients.

Weights are [in, out], so the forward product reads both operands as they lie. Products are NumPy's: their rounding, unlike
their value, is not part of what this file says.
"""

from typing import Any

import numpy as np

from ._check import check_array, check_out
from ._sums import product_rows, sum_rows
from .activation import activation_backward, activation_forward, find_activation


def dense_forward(x, w, b=None, activation="identity", out=None, z=None, *, alpha=None) -> np.ndarray:
    """One dense layer: z = x w + b, y = f(z).

    Parameters
    ----------
    x : float32 or float64 array [batch, in]
    w : array [in, out], dtype of x
    b : array [out], dtype of x, optional
        No bias when None.
    activation : str, default "identity"
        f, a name from `activation_forward`.
    out : array [batch, out], dtype of x, optional
        Receives y.
    z : array [batch, out], dtype of x, optional
        Receives the pre-activation z.
    alpha : float, optional
        Parameter of the activation.

    Returns
    -------
    y : array [batch, out], dtype of x

    Raises
    ------
    ValueError
        Shapes that do not fit, an unknown activation, a bad alpha, a read-only `out` or `z`.
    TypeError
        Dtypes that differ or are neither float32 nor float64.

    Examples
    --------
    >>> dense_forward(np.array([[1.0, 2.0]]), np.array([[1.0], [-1.0]]), np.array([3.0]), activation="relu")
    array([[2.]])
    """
    check_array(x, "x", shape=(None, None))
    check_array(w, "w", x.dtype, (x.shape[1], None))
    shape = (x.shape[0], w.shape[1])
    if b is not None:
        check_array(b, "b", x.dtype, (w.shape[1],))
    out = check_out(out, "out", shape, x.dtype)
    z = check_out(z, "z", shape, x.dtype)
    find_activation(activation, alpha)
    with np.errstate(all="ignore"):
        z[...] = x @ w if b is None else x @ w + b
    return activation_forward(z, activation, out, alpha=alpha)


def _tied_forward(x, w, b, activation, alpha):
    """With another layer's weights, [out, in]."""
    return dense_forward(x, w.T, b, activation, alpha=alpha)


def dense_backward(dy, x, w, saved=None, activation="identity", out=None, *, alpha=None,
                   need_dx=True) -> tuple[Any, np.ndarray, np.ndarray]:
    """Gradients of a dense layer: dz = dy · f', dx = dz wᵀ, dw = xᵀ dz, db = Σ_rows dz.

    (Rumelhart, Hinton & Williams 1986.)

    Parameters
    ----------
    dy : float32 or float64 array [batch, out]
        Gradient of the loss with respect to the layer's output.
    x : array [batch, in], dtype of dy
    w : array [in, out], dtype of dy
    saved : array [batch, out], dtype of dy, optional
        What the activation saves, y or z, as `ACTIVATIONS` says. Not needed for identity.
    activation : str, default "identity"
    out : tuple (dx, dw, db), optional
        Arrays that receive the gradients; None in a place makes a new array.
    alpha : float, optional
        Parameter of the activation.
    need_dx : bool, default True
        False leaves dx out, as for the first layer of a model.

    Returns
    -------
    dx : array [batch, in], or None when need_dx is False
    dw : array [in, out]
    db : array [out]

    Raises
    ------
    ValueError
        Shapes that do not fit, an unknown activation, a bad alpha, `saved` missing where it is needed, a read-only array
        in `out`, or a dx in `out` that need_dx=False would leave unwritten.
    TypeError
        Dtypes that differ or are neither float32 nor float64, or an `out` that is not a 3-tuple.

    Examples
    --------
    >>> dense_backward(np.array([[1.0]]), np.array([[2.0, 3.0]]), np.array([[4.0], [5.0]]))
    (array([[4., 5.]]), array([[2.],
           [3.]]), array([1.]))
    """
    check_array(dy, "dy", shape=(None, None))
    check_array(x, "x", dy.dtype, (dy.shape[0], None))
    check_array(w, "w", dy.dtype, (x.shape[1], dy.shape[1]))
    if out is None:
        out = (None, None, None)
    if not isinstance(out, tuple) or len(out) != 3:
        raise TypeError(f"out must be None or a tuple (dx, dw, db), got {type(out).__name__}")
    if out[0] is not None and not need_dx:
        raise ValueError("out[0] must be None when need_dx is False, got an array")
    dx = check_out(out[0], "out[0]", x.shape, dy.dtype) if need_dx else None
    dw = check_out(out[1], "out[1]", w.shape, dy.dtype)
    db = check_out(out[2], "out[2]", (dy.shape[1],), dy.dtype)

    dz = activation_backward(dy, saved, activation, alpha=alpha)
    with np.errstate(all="ignore"):
        products = (dz @ w.T if need_dx else None, product_rows(x, dz))  # both before any result is written
        if need_dx:
            dx[...] = products[0]
        dw[...] = products[1]
    bias_gradient(dz, db)
    return dx, dw, db


def bias_gradient(dy, out=None) -> np.ndarray:
    """Gradient of a bias that was added to every row: db_j = Σ_i dy_ij.

    Parameters
    ----------
    dy : float32 or float64 array [batch, out]
    out : array [out], dtype of dy, optional
        Receives db.

    Returns
    -------
    db : array [out], dtype of dy

    Raises
    ------
    ValueError
        `dy` that is not two-dimensional, `out` of another shape or read-only.
    TypeError
        Another dtype, or not an array.

    Examples
    --------
    >>> bias_gradient(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([4., 6.])
    """
    check_array(dy, "dy", shape=(None, None))
    out = check_out(out, "out", (dy.shape[1],), dy.dtype)
    with np.errstate(all="ignore"):
        out[...] = sum_rows(dy)
    return out
