"""Eager kernels: maxout."""

from .. import _native
from ._check import _integer


def maxout_forward(x, pieces, out=None):
    """The largest of the pieces that stand side by side in a row: y_ij = max_k x_i,(k · features + j).

    I. Goodfellow et al., "Maxout networks", 2013. A NaN beats every number.

    Parameters
    ----------
    x : float32 array [batch, pieces · features]
    pieces : int
        At least 1.
    out : float32 array [batch, features], optional
        Receives y.

    Returns
    -------
    y : float32 array [batch, features]

    Raises
    ------
    ValueError
        Columns that are no multiple of the pieces, arrays that are empty or not contiguous, `out` of another shape,
        read-only or overlapping x.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> fastnn.kernels.maxout_forward(np.float32([[1, 5, 3, 4]]), 2)
    array([[3., 5.]], dtype=float32)
    """
    return _native.maxout_forward(x, _integer(pieces, "pieces", 1, 2**31 - 1), out)


def maxout_backward(dy, x, pieces, out=None):
    """Carry a gradient back through `maxout_forward`: dy goes to the piece that was chosen, of equal ones the first.

    Parameters
    ----------
    dy : float32 array [batch, features]
    x : float32 array [batch, pieces · features]
    pieces : int
        At least 1.
    out : float32 array like x, optional
        Receives dx.

    Returns
    -------
    dx : float32 array like x

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, `out` of another shape, read-only or overlapping an
        input.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> fastnn.kernels.maxout_backward(np.float32([[1, 2]]), np.float32([[1, 5, 3, 4]]), 2)
    array([[0., 2., 1., 0.]], dtype=float32)
    """
    return _native.maxout_backward(dy, x, _integer(pieces, "pieces", 1, 2**31 - 1), out)
