"""Eager kernels: the dense layer, and the gradient of a bias."""

from typing import Any

import numpy as np

from .._native import Operation, apart, matrix, new, output, vector
from ..core.activations import ACTIVATIONS
from ._check import _activation
from .activation import _differentiate

_forward = Operation("dense_forward", "x w b y z", "n_in n_out activation alpha")
_backward_input = Operation("dense_backward_input", "dy w dx", "n_in n_out accumulate activation alpha")
_backward_weights = Operation("dense_backward_weights", "x dy dw db", "n_in n_out accumulate update_w update_b l1 l2")


def dense_forward(x, w, b=None, activation="identity", out=None, z=None, *, alpha=None) -> np.ndarray:
    """One dense layer: z = x w + b, y = f(z).

    Each element is one chain of multiply-adds in the order of the inputs, started from the bias (fused on every
    instruction set but ``generic``): a row's result depends neither on the number of threads nor on the rows beside it.

    Parameters
    ----------
    x : float32 or float64 array [batch, in]
    w : float32 or float64 array [in, out]
    b : float32 or float64 array [out], optional
        No bias when None.
    activation : str, default "identity"
        f, a name from `activation_forward`.
    out : float32 or float64 array [batch, out], optional
        Receives y.
    z : float32 or float64 array [batch, out], optional
        Receives the pre-activation z.
    alpha : float, optional
        Parameter of the activation.

    Returns
    -------
    y : float32 or float64 array [batch, out]

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty, not contiguous or overlap an output, an unknown activation, a bad
        alpha, a read-only `out` or `z`.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ.

    Examples
    --------
    >>> x, w, b = np.float32([[1, 2]]), np.float32([[1], [-1]]), np.float32([3])
    >>> fastnn.kernels.dense_forward(x, w, b, activation="relu")
    array([[2.]], dtype=float32)
    """
    code, alpha = _activation(activation, alpha)
    batch, n_in = matrix(x, "x")
    _, n_out = matrix(w, "w", n_in, -1, x)
    if b is not None:
        vector(b, "b", n_out, x)
    y = output(out, "out", x, batch, n_out)
    if out is not None:
        apart(y, "out", (x, "x"), (w, "w"), (b, "b"))
    if z is not None:
        apart(output(z, "z", x, batch, n_out), "z", (x, "x"), (w, "w"), (b, "b"), (y, "out"))
    _forward.run(batch, (x, w, b, y, z), (n_in, n_out, code, alpha))
    return y


def dense_backward(dy, x, w, saved=None, activation="identity", out=None, *, alpha=None,
                   need_dx=True) -> tuple[Any, np.ndarray, np.ndarray]:
    """Gradients of a dense layer: dz = dy · f', dx = dz wᵀ, dw = xᵀ dz, db = Σ_rows dz.

    (Rumelhart, Hinton & Williams 1986.)

    Parameters
    ----------
    dy : float32 or float64 array [batch, out]
        Gradient of the loss with respect to the layer's output.
    x : float32 or float64 array [batch, in]
    w : float32 or float64 array [in, out]
    saved : float32 or float64 array [batch, out], optional
        What the activation saves, y or z, as `activation_backward` has it. Identity does not look at it.
    activation : str, default "identity"
    out : tuple (dx, dw, db), optional
        Arrays that receive the gradients; None in a place makes a new array.
    alpha : float, optional
        Parameter of the activation.
    need_dx : bool, default True
        False leaves dx out, as for the first layer of a model.

    Returns
    -------
    dx : float32 or float64 array [batch, in], or None when need_dx is False
    dw : float32 or float64 array [in, out]
    db : float32 or float64 array [out]

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty, not contiguous or overlap an output, an unknown activation, a bad
        alpha, `saved` missing where it is needed, a read-only array in `out`, or a dx in `out` that need_dx=False would
        leave unwritten.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ; an `out` that is not a 3-tuple.

    Examples
    --------
    >>> dy, x, w = np.float32([[1]]), np.float32([[2, 3]]), np.float32([[4], [5]])
    >>> dx, dw, db = fastnn.kernels.dense_backward(dy, x, w)
    >>> dx, dw.T, db
    (array([[4., 5.]], dtype=float32), array([[2., 3.]], dtype=float32), array([1.], dtype=float32))
    """
    code, alpha = _activation(activation, alpha)
    to_dx, to_dw, to_db = (None, None, None) if out is None else _three(out)
    batch, n_in = matrix(x, "x")
    _, n_out = matrix(w, "w", n_in, -1, x)
    matrix(dy, "dy", batch, n_out, x)
    differentiates = bool(ACTIVATIONS[activation or "identity"].saves)
    if differentiates:
        if saved is None:
            raise ValueError("saved: expected the output of the activation, got None")
        matrix(saved, "saved", batch, n_out, x)
    if not need_dx and to_dx is not None:
        raise ValueError("out: expected no dx where need_dx is False, got an array")
    dx = output(to_dx, "dx", x, batch, n_in) if need_dx else None
    dw, db = output(to_dw, "dw", x, n_in, n_out), output(to_db, "db", x, n_out)
    if out is not None:
        inputs = ((dy, "dy"), (x, "x"), (w, "w"), (saved if differentiates else None, "saved"))
        for given, name in zip(out, ("dx", "dw", "db")):
            if given is not None:
                apart(given, name, *inputs)
                inputs += ((given, name),)
    dz = dy
    if differentiates:
        dz = new(x, batch, n_out)
        _differentiate.flat((dy, saved, dz), (code, alpha))
    _backward_weights.run(batch, (x, dz, dw, db), (n_in, n_out, False, -1, -1, 0.0, 0.0))
    if need_dx:
        _backward_input.run(batch, (dz, w, dx), (n_in, n_out, False, 0, 0.0))
    return dx, dw, db


def _three(out):
    if not isinstance(out, tuple) or len(out) != 3:
        got = f"{len(out)} items" if isinstance(out, tuple) else type(out).__name__
        raise TypeError(f"out: expected None or a tuple (dx, dw, db), got {got}")
    return out


def bias_gradient(dy, out=None) -> np.ndarray:
    """Gradient of a bias that was added to every row: db_j = Σ_i dy_ij.

    Rows are summed in chunks of 16 and the chunks then added, always in the same order.

    Parameters
    ----------
    dy : float32 or float64 array [batch, out]
    out : float32 or float64 array [out], optional
        Receives db.

    Returns
    -------
    db : float32 or float64 array [out]

    Raises
    ------
    ValueError
        `dy` that is not two-dimensional, empty or not contiguous; `out` of another shape, read-only or overlapping dy.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ.

    Examples
    --------
    >>> fastnn.kernels.bias_gradient(np.float32([[1, 2], [3, 4]]))
    array([4., 6.], dtype=float32)
    """
    batch, n = matrix(dy, "dy")
    db = output(out, "out", dy, n)
    if out is not None:
        apart(db, "out", (dy, "dy"))
    _backward_weights.run(batch, (None, dy, None, db), (1, n, False, -1, -1, 0.0, 0.0))
    return db
