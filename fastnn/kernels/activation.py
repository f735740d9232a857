"""Eager kernels: activations, PReLU included."""

import numpy as np

from .._native import Operation, apart, elements, matrix, output, output_like, same_or_apart, shape_of, vector
from ..core.activations import ACTIVATIONS
from ._check import _activation

_forward = Operation("activation_forward", "x y", "columns activation alpha")
_differentiate = Operation("activation_backward", "dy saved dx", "columns activation alpha")
_prelu_forward = Operation("prelu_forward", "x slope y", "columns slopes pixels")
_prelu_backward = Operation("prelu_backward", "dy x slope dx", "columns slopes pixels")
_slope_gradient = Operation("prelu_slope_gradient", "dy x dslope", "columns slopes pixels accumulate")


def activation_forward(x, activation, out=None, *, alpha=None) -> np.ndarray:
    """Apply an activation to every element: y = f(x).

    ==========  ====================================================  ==================  ===================================
    name        f(x)                                                  alpha               source
    ==========  ====================================================  ==================  ===================================
    identity    x
    sigmoid     1 / (1 + exp(-x))
    tanh        tanh(x)
    relu        0 if x <= 0 else x                                                        Nair & Hinton 2010
    leaky_relu  x if x > 0 else alpha · x                             0.01, at least 0    Maas, Hannun & Ng 2013
    elu         x if x >= 0 else alpha · (exp(x) - 1)                 1, at least 0       Clevert, Unterthiner & Hochreiter 2016
    selu        1.0507… · (x if x >= 0 else 1.6732… · (exp(x) - 1))                       Klambauer et al. 2017
    gelu        x · Φ(x), Φ the normal distribution (erf)                                 Hendrycks & Gimpel 2016
    gelu_tanh   x · (1 + tanh(√(2/π) · (x + 0.044715 · x³))) / 2                          Hendrycks & Gimpel 2016
    silu        x · sigmoid(x)                                                            Elfwing, Uchibe & Doya 2018
    softplus    log(1 + exp(alpha · x)) / alpha                       1, above 0          Dugas et al. 2001
    hard_tanh   -1 if x < -1 else 1 if x > 1 else x                                       Collobert 2004
    mish        x · tanh(log(1 + exp(x)))                                                 Misra 2020
    ==========  ====================================================  ==================  ===================================

    NaN stays NaN in all of them; what tends to 0 for x → -∞ without being above 0 is -0 there.
    Sigmoid and tanh are within 4 ulp of the exact value, gelu within 2^-22 · max(1, |x|).

    Parameters
    ----------
    x : float32 or float64 array of any shape
    activation : str
        A name from the table.
    out : float32 or float64 array like x, optional
        Receives y; may be x itself.
    alpha : float, optional
        The parameter, finite; by default the table's. Those that have none ignore it.

    Returns
    -------
    y : float32 or float64 array like x

    Raises
    ------
    ValueError
        Unknown activation, negative or non-finite alpha, arrays that are empty or not contiguous, `out` of another shape,
        read-only, or overlapping a part of x.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ.

    Examples
    --------
    >>> fastnn.kernels.activation_forward(np.float32([-1, 0, 2]), "relu")
    array([0., 0., 2.], dtype=float32)
    """
    code, alpha = _activation(activation, alpha)
    elements(x, "x")
    y = output_like(out, x, "x")
    _forward.flat((x, y), (code, alpha))
    return y


def activation_backward(dy, saved, activation, out=None, *, alpha=None) -> np.ndarray:
    """Carry a gradient back through an activation: dx = dy · f'.

    From what the activation saves, its output y, or its input z where y does not tell:

    ==========  ======================================================================================
    name        dx
    ==========  ======================================================================================
    identity    dy
    sigmoid     dy · (y · (1 - y))
    tanh        dy · (1 - y · y)
    relu        0 if y <= 0 else dy
    leaky_relu  dy if y > 0 else alpha · dy
    elu         dy if y > 0 else dy · (y + alpha)
    selu        dy · (1.0507… if y > 0 else y + 1.7580…)
    gelu        dy · (Φ(z) + z · φ(z)), φ the normal density
    gelu_tanh   dy · (s + z · s · (1 - s) · v'), s = sigmoid(v), v = 2√(2/π) · (z + 0.044715 · z³)
    silu        dy · (s + z · s · (1 - s)), s = sigmoid(z)
    softplus    dy · (1 - exp(-alpha · y))
    hard_tanh   0 if |y| >= 1 else dy
    mish        dy · (t + z · (1 - t²) · sigmoid(z)), t = tanh(log(1 + exp(z)))
    ==========  ======================================================================================

    Parameters
    ----------
    dy : float32 or float64 array of any shape
        Gradient of the loss with respect to y.
    saved : float32 or float64 array like dy, or None
        The y or the z of the table: the output of `activation_forward`, or its input. Identity needs nothing and does not look at it.
    activation : str
        The name given to `activation_forward`.
    out : float32 or float64 array like dy, optional
        Receives dx; may be dy or saved itself.
    alpha : float, optional
        The one given to `activation_forward`.

    Returns
    -------
    dx : float32 or float64 array like dy

    Raises
    ------
    ValueError
        Unknown activation, negative or non-finite alpha, arrays that are empty or not contiguous, `saved` missing or of
        another shape, `out` of another shape, read-only, or overlapping a part of an input.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ.

    Examples
    --------
    >>> fastnn.kernels.activation_backward(np.float32([1, 1]), np.float32([0, 2]), "relu")
    array([0., 1.], dtype=float32)
    """
    code, alpha = _activation(activation, alpha)
    if not ACTIVATIONS[activation or "identity"].saves:
        saved = dy
    elif saved is None:
        what = "output" if ACTIVATIONS[activation].saves == "y" else "input"
        raise ValueError(f"saved: expected the {what} of {activation}, got None")
    elements(dy, "dy")
    elements(saved, "saved", False, dy)
    if shape_of(saved) != shape_of(dy):
        raise ValueError(f"saved: expected dy's shape {shape_of(dy)}, got {shape_of(saved)}")
    dx = output_like(out, dy, "dy")
    same_or_apart(dx, saved, "saved")
    _differentiate.flat((dy, saved, dx), (code, alpha))
    return dx


def _check_slope(slope, columns, x):
    """How many there are."""
    n = vector(slope, "slope", -1, x)
    if n not in (1, columns):
        raise ValueError(f"slope: expected shape (1,) or ({columns},), got {slope.shape}")
    return n


def prelu_forward(x, slope, out=None) -> np.ndarray:
    """PReLU, a leaky ReLU whose slope is learned: y = x if x > 0 else slope · x.

    (He, Zhang, Ren & Sun 2015.)

    Parameters
    ----------
    x : float32 or float64 array [batch, features]
    slope : float32 or float64 array [features] or [1]
        One for every feature, or one for all.
    out : float32 or float64 array like x, optional
        Receives y; may be x itself.

    Returns
    -------
    y : float32 or float64 array like x

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, `out` read-only or overlapping a part of an input.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ.

    Examples
    --------
    >>> fastnn.kernels.prelu_forward(np.float32([[-1, 2]]), np.float32([0.25]))
    array([[-0.25,  2.  ]], dtype=float32)
    """
    batch, columns = matrix(x, "x")
    slopes = _check_slope(slope, columns, x)
    y = output_like(out, x, "x")
    if out is not None:
        apart(y, "out", (slope, "slope"))
    _prelu_forward.run(batch, (x, slope, y), (columns, slopes, 1))
    return y


def prelu_backward(dy, x, slope, out=None) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of PReLU: dx = dy if x > 0 else slope · dy; dslope = Σ_rows dy · (0 if x > 0 else x).

    Parameters
    ----------
    dy : float32 or float64 array [batch, features]
        Gradient of the loss with respect to y.
    x : float32 or float64 array like dy
        The input of `prelu_forward`.
    slope : float32 or float64 array [features] or [1]
        With one slope for all, dslope is the sum over the features too.
    out : tuple (dx, dslope), optional
        Arrays that receive the gradients; None in a place makes a new array. dx may be dy or x.

    Returns
    -------
    dx : float32 or float64 array like dy
    dslope : float32 or float64 array like slope

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, a read-only or overlapping array in `out`.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ; an `out` that is not a pair.

    Examples
    --------
    >>> fastnn.kernels.prelu_backward(np.float32([[1, 1]]), np.float32([[-2, 3]]), np.float32([0.25]))
    (array([[0.25, 1.  ]], dtype=float32), array([-2.], dtype=float32))
    """
    if out is None:
        out = (None, None)
    if not isinstance(out, tuple) or len(out) != 2:
        got = f"{len(out)} items" if isinstance(out, tuple) else type(out).__name__
        raise TypeError(f"out: expected None or a tuple (dx, dslope), got {got}")
    batch, columns = matrix(dy, "dy")
    matrix(x, "x", batch, columns, dy)
    slopes = _check_slope(slope, columns, dy)
    dx, dslope = output_like(out[0], dy, "dy", "dx"), output(out[1], "dslope", dy, slopes)
    same_or_apart(dx, x, "x", "dx")
    apart(dx, "dx", (slope, "slope"))
    apart(dslope, "dslope", (dy, "dy"), (x, "x"), (slope, "slope"), (dx, "dx"))
    _slope_gradient.run(batch, (dy, x, dslope), (columns, slopes, 1, False))  # first, since dx may be dy
    _prelu_backward.run(batch, (dy, x, slope, dx), (columns, slopes, 1))
    return dx, dslope
