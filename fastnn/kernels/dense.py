"""Eager kernels: the dense layer, and the gradient of a bias."""

from .. import _native
from ..core.activations import ACTIVATIONS
from ._check import _activation


def dense_forward(x, w, b=None, activation="identity", out=None, z=None, *, alpha=None):
    """One dense layer: z = x w + b, y = f(z).

    Each element is one chain of multiply-adds in the order of the inputs, started from the bias (fused on every
    instruction set but ``generic``): a row's result depends neither on the number of threads nor on the rows beside it.

    Parameters
    ----------
    x : float32 array [batch, in]
    w : float32 array [in, out]
    b : float32 array [out], optional
        No bias when None.
    activation : str, default "identity"
        f, a name from `activation_forward`.
    out : float32 array [batch, out], optional
        Receives y.
    z : float32 array [batch, out], optional
        Receives the pre-activation z.
    alpha : float, optional
        Parameter of the activation.

    Returns
    -------
    y : float32 array [batch, out]

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty, not contiguous or overlap an output, an unknown activation, a bad
        alpha, a read-only `out` or `z`.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> x, w, b = np.float32([[1, 2]]), np.float32([[1], [-1]]), np.float32([3])
    >>> fastnn.kernels.dense_forward(x, w, b, activation="relu")
    array([[2.]], dtype=float32)
    """
    code, alpha = _activation(activation, alpha)
    return _native.dense_forward(x, w, b, code, alpha, out, z)


def dense_backward(dy, x, w, saved=None, activation="identity", out=None, *, alpha=None, need_dx=True):
    """Gradients of a dense layer: dz = dy · f', dx = dz wᵀ, dw = xᵀ dz, db = Σ_rows dz.

    (Rumelhart, Hinton & Williams 1986.)

    Parameters
    ----------
    dy : float32 array [batch, out]
        Gradient of the loss with respect to the layer's output.
    x : float32 array [batch, in]
    w : float32 array [in, out]
    saved : float32 array [batch, out], optional
        What the activation saves: the layer's output y, or for gelu, gelu_tanh and silu its z. Identity does not look at it.
    activation : str, default "identity"
    out : tuple (dx, dw, db), optional
        Arrays that receive the gradients; None in a place makes a new array.
    alpha : float, optional
        Parameter of the activation.
    need_dx : bool, default True
        False leaves dx out, as for the first layer of a model.

    Returns
    -------
    dx : float32 array [batch, in], or None when need_dx is False
    dw : float32 array [in, out]
    db : float32 array [out]

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty, not contiguous or overlap an output, an unknown activation, a bad
        alpha, `saved` missing where it is needed, a read-only array in `out`, or a dx in `out` that need_dx=False would
        leave unwritten.
    TypeError
        Not an array, or not float32; an `out` that is not a 3-tuple.

    Examples
    --------
    >>> dy, x, w = np.float32([[1]]), np.float32([[2, 3]]), np.float32([[4], [5]])
    >>> dx, dw, db = fastnn.kernels.dense_backward(dy, x, w)
    >>> dx, dw.T, db
    (array([[4., 5.]], dtype=float32), array([[2., 3.]], dtype=float32), array([1.], dtype=float32))
    """
    code, alpha = _activation(activation, alpha)
    if out is None:
        out = (None, None, None)
    if not isinstance(out, tuple) or len(out) != 3:
        got = f"{len(out)} items" if isinstance(out, tuple) else type(out).__name__
        raise TypeError(f"out: expected None or a tuple (dx, dw, db), got {got}")
    saved = saved if ACTIVATIONS[activation or "identity"].saves else None
    return _native.dense_backward(dy, x, w, saved, code, alpha, *out, bool(need_dx))


def bias_gradient(dy, out=None):
    """Gradient of a bias that was added to every row: db_j = Σ_i dy_ij.

    Rows are summed in chunks of 16 and the chunks then added, always in the same order.

    Parameters
    ----------
    dy : float32 array [batch, out]
    out : float32 array [out], optional
        Receives db.

    Returns
    -------
    db : float32 array [out]

    Raises
    ------
    ValueError
        `dy` that is not two-dimensional, empty or not contiguous; `out` of another shape, read-only or overlapping dy.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> fastnn.kernels.bias_gradient(np.float32([[1, 2], [3, 4]]))
    array([4., 6.], dtype=float32)
    """
    return _native.bias_gradient(dy, out)
