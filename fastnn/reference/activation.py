"""Elementwise activations and their derivatives, and PReLU, whose slope is learned.

Each elementwise one is a record of `ACTIVATIONS`. Where the output y tells the derivative, nothing but y has to be kept from
the forward pass; the others keep the input z. Activations that look across a row are in softmax.py.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ._check import check_array, check_out
from ._sums import sum_rows


@dataclass(frozen=True)
class Activation:
    """One elementwise activation f.

    Attributes
    ----------
    forward : callable
        ``forward(x, alpha)`` is f(x).
    backward : callable
        ``backward(dy, saved, alpha)`` is dy · f'.
    saves : {"y", "z", None}
        What backward needs: the output y, the input z, or nothing.
    alpha : float
        Default of the parameter; 0.0 where the activation has none.
    lowest : float or None
        The least value of the parameter; None where the activation has none.
    """

    forward: Callable
    backward: Callable
    saves: str | None
    alpha: float = 0.0
    lowest: float | None = None

    def derivative(self, saved, alpha):
        """f', the backward function applied to ones (1.0 when nothing is saved)."""
        return 1.0 if self.saves is None else self.backward(np.ones_like(saved), saved, alpha)


def _identity(x, alpha):
    return x


def _identity_backward(dy, saved, alpha):
    return dy


def _sigmoid(x, alpha):
    e = np.exp(-np.abs(x))  # never above 1, so neither side overflows
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def _sigmoid_backward(dy, y, alpha):
    return dy * (y * (1 - y))


def _tanh(x, alpha):
    return np.tanh(x)


def _tanh_backward(dy, y, alpha):
    return dy * (1 - y * y)


def _relu(x, alpha):
    return np.where(x <= 0, 0, x)  # NaN is not <= 0 and stays; -0.0 becomes 0.0


def _relu_backward(dy, y, alpha):
    return np.where(y <= 0, 0, dy)  # selected, not multiplied: an infinite dy gives 0 where the unit is off


def _leaky_relu(x, alpha):
    return np.where(x > 0, x, alpha * x)


def _leaky_relu_backward(dy, y, alpha):
    return np.where(y > 0, dy, alpha * dy)  # alpha >= 0, so y > 0 exactly where x > 0


def _elu(x, alpha):
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


def _elu_backward(dy, y, alpha):
    return np.where(y > 0, dy, dy * (y + alpha))


SELU_LAMBDA, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _selu(x, alpha):
    return np.where(x < 0, SELU_LAMBDA * SELU_ALPHA * np.expm1(np.minimum(x, 0)), SELU_LAMBDA * x)


def _selu_backward(dy, y, alpha):
    return dy * np.where(y > 0, np.asarray(SELU_LAMBDA, y.dtype), y + SELU_LAMBDA * SELU_ALPHA)


def _normal_distribution(x):
    """Φ(x), in float64: half of erfc, which keeps its accuracy far on the left."""
    erfc = np.frompyfunc(math.erfc, 1, 1)
    return np.asarray(0.5 * erfc(np.asarray(x, np.float64) * -math.sqrt(0.5)), np.float64)


def _gelu(x, alpha):
    return np.where(x == -np.inf, -0.0, x * _normal_distribution(x)).astype(x.dtype)


def _gelu_backward(dy, z, alpha):
    z = np.clip(z, -40, 40)  # z · φ(z) is 0 there, and not inf · 0
    density = np.exp(-0.5 * z.astype(np.float64) ** 2) / math.sqrt(2 * math.pi)
    return dy * (_normal_distribution(z) + z * density).astype(dy.dtype)


_GELU_A = 2 * math.sqrt(2 / math.pi)  # v = a (z + 0.044715 z³)


def _gelu_tanh(x, alpha):
    x = np.maximum(x, -40)
    return x * _sigmoid(_GELU_A * (x + 0.044715 * x * x * x), 0.0)


def _gelu_tanh_backward(dy, z, alpha):
    z = np.clip(z, -40, 40)
    s = _sigmoid(_GELU_A * (z + 0.044715 * z * z * z), 0.0)
    return dy * (s + z * (s * (1 - s)) * (_GELU_A * (1 + 3 * 0.044715 * z * z)))


def _silu(x, alpha):
    x = np.maximum(x, -800)
    return x * _sigmoid(x, 0.0)


def _silu_backward(dy, z, alpha):
    z = np.clip(z, -800, 800)
    s = _sigmoid(z, 0.0)
    return dy * (s + z * (s * (1 - s)))


def _mish_gate(x):
    return np.tanh(_softplus(x, 1.0))


def _mish(x, alpha):
    x = np.maximum(x, -800)
    return x * _mish_gate(x)


def _mish_backward(dy, z, alpha):
    z = np.clip(z, -800, 800)
    t = _mish_gate(z)
    return dy * (t + z * ((1 - t * t) * _sigmoid(z, 0.0)))


def _softplus(x, alpha):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(alpha * x))) / alpha


def _softplus_backward(dy, y, alpha):
    return dy * -np.expm1(-alpha * y)


def _hard_tanh(x, alpha):
    return np.clip(x, -1, 1)  # which keeps NaN


def _hard_tanh_backward(dy, y, alpha):
    return np.where(np.abs(y) >= 1, 0, dy)


ACTIVATIONS = {
    "identity": Activation(_identity, _identity_backward, saves=None),
    "sigmoid": Activation(_sigmoid, _sigmoid_backward, saves="y"),
    "tanh": Activation(_tanh, _tanh_backward, saves="y"),
    "relu": Activation(_relu, _relu_backward, saves="y"),
    "leaky_relu": Activation(_leaky_relu, _leaky_relu_backward, saves="y", alpha=0.01, lowest=0.0),
    "elu": Activation(_elu, _elu_backward, saves="y", alpha=1.0, lowest=0.0),
    "selu": Activation(_selu, _selu_backward, saves="y"),
    "gelu": Activation(_gelu, _gelu_backward, saves="z"),
    "gelu_tanh": Activation(_gelu_tanh, _gelu_tanh_backward, saves="z"),
    "silu": Activation(_silu, _silu_backward, saves="z"),
    "softplus": Activation(_softplus, _softplus_backward, saves="y", alpha=1.0, lowest=2.0**-126),
    "hard_tanh": Activation(_hard_tanh, _hard_tanh_backward, saves="y"),
    "mish": Activation(_mish, _mish_backward, saves="z"),
}


def find_activation(activation, alpha=None):
    """Return the record of that name and the alpha to use with it."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    record = ACTIVATIONS[activation]
    alpha = record.alpha if alpha is None else float(alpha)
    if record.lowest is not None and not record.lowest <= alpha < np.inf:
        raise ValueError(f"alpha must be finite and >= {record.lowest:g} for {activation}, got {alpha}")
    return record, alpha


def activation_forward(x, activation, out=None, *, alpha=None) -> np.ndarray:
    """Apply an activation to every element: y = f(x).

    The formulas stand above, in functions of the names in `ACTIVATIONS`; a table of them with their sources, with the kernel of this
    name. NaN stays NaN in all of them.

    Parameters
    ----------
    x : float32 or float64 array of any shape
    activation : str
        A name from `ACTIVATIONS`.
    out : array like x, optional
        Receives y; may be x itself.
    alpha : float, optional
        The parameter: finite, at least what `ACTIVATIONS` says, and by default what it says. Those that have none ignore it.

    Returns
    -------
    y : array like x

    Raises
    ------
    ValueError
        Unknown activation, negative or non-finite alpha, `out` of another shape or read-only.
    TypeError
        Another dtype, or not an array.

    Examples
    --------
    >>> activation_forward(np.array([-1.0, 0.0, 2.0]), "relu")
    array([0., 0., 2.])
    """
    check_array(x, "x")
    out = check_out(out, "out", x.shape, x.dtype)
    record, alpha = find_activation(activation, alpha)
    with np.errstate(all="ignore"):
        out[...] = record.forward(x, alpha)
    return out


def activation_backward(dy, saved, activation, out=None, *, alpha=None) -> np.ndarray:
    """Carry a gradient back through an activation: dx = dy · f'.

    Parameters
    ----------
    dy : float32 or float64 array of any shape
        Gradient of the loss with respect to y.
    saved : array like dy, or None
        What the activation saves, as `ACTIVATIONS` says: the output y of `activation_forward`, or its input z. Identity needs nothing and
        does not look at it.
    activation : str
        The name given to `activation_forward`.
    out : array like dy, optional
        Receives dx; may be dy or saved itself.
    alpha : float, optional
        The one given to `activation_forward`.

    Returns
    -------
    dx : array like dy

    Raises
    ------
    ValueError
        Unknown activation, negative or non-finite alpha, `saved` missing or of another shape, `out` of another shape or
        read-only.
    TypeError
        Another dtype, or not an array.

    Examples
    --------
    >>> activation_backward(np.array([1.0, 1.0]), np.array([0.0, 2.0]), "relu")
    array([0., 1.])
    """
    check_array(dy, "dy")
    out = check_out(out, "out", dy.shape, dy.dtype)
    record, alpha = find_activation(activation, alpha)
    if record.saves is not None:
        if saved is None:
            what = "output" if record.saves == "y" else "input"
            raise ValueError(f"saved must be the {what} {record.saves} of {activation}, got None")
        check_array(saved, "saved", dy.dtype, dy.shape)
    with np.errstate(all="ignore"):
        out[...] = record.backward(dy, saved, alpha)
    return out


def prelu_forward(x, slope, out=None) -> np.ndarray:
    """PReLU, a leaky ReLU whose slope is learned: y = x if x > 0 else slope · x.

    (He, Zhang, Ren & Sun 2015.)

    Parameters
    ----------
    x : float32 or float64 array [batch, features]
    slope : array [features] or [1], dtype of x
        One for every feature, or one for all.
    out : array like x, optional
        Receives y; may be x itself.

    Returns
    -------
    y : array like x

    Raises
    ------
    ValueError
        Shapes that do not fit, `out` read-only.
    TypeError
        Dtypes that differ or are neither float32 nor float64.

    Examples
    --------
    >>> prelu_forward(np.array([[-1.0, 2.0]]), np.array([0.25]))
    array([[-0.25,  2.  ]])
    """
    _check_slope(check_array(x, "x", shape=(None, None)), slope)
    out = check_out(out, "out", x.shape, x.dtype)
    with np.errstate(all="ignore"):
        out[...] = np.where(x <= 0, slope * x, x)
    return out


def prelu_backward(dy, x, slope, out=None) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of PReLU: dx = dy if x > 0 else slope · dy; dslope = Σ_rows dy · (0 if x > 0 else x).

    Parameters
    ----------
    dy : float32 or float64 array [batch, features]
        Gradient of the loss with respect to y.
    x : array like dy
        The input of `prelu_forward`.
    slope : array [features] or [1], dtype of dy
        With one slope for all, dslope is the sum over the features too.
    out : tuple (dx, dslope), optional
        Arrays that receive the gradients; None in a place makes a new array. dx may be dy or x.

    Returns
    -------
    dx : array like dy
    dslope : array like slope

    Raises
    ------
    ValueError
        Shapes that do not fit, a read-only array in `out`.
    TypeError
        Dtypes that differ or are neither float32 nor float64, or an `out` that is not a pair.

    Examples
    --------
    >>> prelu_backward(np.array([[1.0, 1.0]]), np.array([[-2.0, 3.0]]), np.array([0.25]))
    (array([[0.25, 1.  ]]), array([-2.]))
    """
    check_array(dy, "dy", shape=(None, None))
    check_array(x, "x", dy.dtype, dy.shape)
    _check_slope(dy, slope)
    if out is None:
        out = (None, None)
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"out must be None or a tuple (dx, dslope), got {type(out).__name__}")
    dx, dslope = check_out(out[0], "out[0]", dy.shape, dy.dtype), check_out(out[1], "out[1]", slope.shape, dy.dtype)
    with np.errstate(all="ignore"):
        dslope[...], dx[...] = _prelu_slope_gradient(dy, x, slope.size), _prelu_backward(dy, x, slope)
    return dx, dslope


def _prelu_backward(dy, x, slope):
    return np.where(x > 0, dy, slope * dy)


def _prelu_slope_gradient(dy, x, slopes):
    products = np.where(x > 0, 0, dy * x)
    return products.sum() if slopes == 1 else sum_rows(products)


def _check_slope(x, slope):
    check_array(slope, "slope", x.dtype, (None,))
    if len(slope) not in (1, x.shape[1]):
        raise ValueError(f"slope must have shape [1] or [{x.shape[1]}], got [{len(slope)}]")
