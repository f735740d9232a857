"""Elementwise activations and their derivatives.

Each is one record of `ACTIVATIONS`. All of them compute the derivative from the output y, so nothing but y has to be kept
from the forward pass. Activations that look across a row (softmax) or learn a parameter (PReLU) are not here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ._check import check_array, check_out


@dataclass(frozen=True)
class Activation:
    """One elementwise activation f.

    Attributes
    ----------
    forward : callable
        ``forward(x, alpha)`` is f(x).
    backward : callable
        ``backward(dy, saved, alpha)`` is dy · f'.
    saves : {"y", None}
        What backward needs: the output y, or nothing.
    alpha : float
        Default of the parameter; 0.0 where the activation has none.
    """

    forward: Callable
    backward: Callable
    saves: str | None
    alpha: float = 0.0

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


ACTIVATIONS = {
    "identity": Activation(_identity, _identity_backward, saves=None),
    "sigmoid": Activation(_sigmoid, _sigmoid_backward, saves="y"),
    "tanh": Activation(_tanh, _tanh_backward, saves="y"),
    "relu": Activation(_relu, _relu_backward, saves="y"),
    "leaky_relu": Activation(_leaky_relu, _leaky_relu_backward, saves="y", alpha=0.01),
}


def find_activation(activation, alpha=None):
    """Return the record of that name and the alpha to use with it."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    record = ACTIVATIONS[activation]
    alpha = record.alpha if alpha is None else float(alpha)
    if activation == "leaky_relu" and not 0 <= alpha < np.inf:
        raise ValueError(f"alpha must be finite and >= 0 for leaky_relu, got {alpha}")
    return record, alpha


def activation_forward(x, activation, out=None, *, alpha=None):
    """Apply an activation to every element: y = f(x).

    ==========  ===============================  =============================
    name        f(x)                             source
    ==========  ===============================  =============================
    identity    x
    sigmoid     1 / (1 + exp(-x))
    tanh        tanh(x)
    relu        0 if x <= 0 else x               Nair & Hinton 2010
    leaky_relu  x if x > 0 else alpha · x        Maas, Hannun & Ng 2013
    ==========  ===============================  =============================

    NaN stays NaN in all of them.

    Parameters
    ----------
    x : float32 or float64 array of any shape
    activation : str
        A name from the table.
    out : array like x, optional
        Receives y; may be x itself.
    alpha : float, optional
        Slope of leaky_relu for x <= 0, finite and >= 0; 0.01 by default. The others have no parameter and ignore it.

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


def activation_backward(dy, saved, activation, out=None, *, alpha=None):
    """Carry a gradient back through an activation: dx = dy · f'.

    ==========  =========================================
    name        dx, from the output y
    ==========  =========================================
    identity    dy
    sigmoid     dy · (y · (1 - y))
    tanh        dy · (1 - y · y)
    relu        0 if y <= 0 else dy
    leaky_relu  dy if y > 0 else alpha · dy
    ==========  =========================================

    Parameters
    ----------
    dy : float32 or float64 array of any shape
        Gradient of the loss with respect to y.
    saved : array like dy, or None
        The output y of `activation_forward`. Identity needs nothing and does not look at it.
    activation : str
        The name given to `activation_forward`.
    out : array like dy, optional
        Receives dx; may be dy or saved itself.
    alpha : float, optional
        The slope given to `activation_forward`.

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
            raise ValueError(f"saved must be the output {record.saves} of {activation}, got None")
        check_array(saved, "saved", dy.dtype, dy.shape)
    with np.errstate(all="ignore"):
        out[...] = record.backward(dy, saved, alpha)
    return out
