"""What networks for tables have of their own: periodic embeddings of numbers, and activations of which a learned part is taken."""

import numpy as np

from .activation import ACTIVATIONS, activation_backward, activation_forward


def _turns(x, w, b):
    """(cos, sin) of 2π w x + b for each row, column and frequency, as [rows, embedded, frequencies]; the angle is taken in turns, and
    whole turns go off."""
    u = x[:, : len(w), None] * w + b * x.dtype.type(1 / (2 * np.pi))
    part = np.where(np.abs(u) < (2.0**22 if u.dtype == np.float32 else 2.0**51), u - np.rint(u), u - u)
    angle = part * x.dtype.type(2 * np.pi)
    return np.cos(angle), np.sin(angle)


def _pbld_forward(x, w, b, v, c):
    """The columns of x [rows, columns], and behind them for each of the first `embedded` Σ_f v cos(2π w x + b) + c, in `dim` numbers.

    w, b: [embedded, frequencies]; v: [embedded, dim, frequencies]; c: [embedded, dim]. D. Holzmüller, L. Grinsztajn and I. Steinwart,
    "Better by default", 2024, after Y. Gorishniy, I. Rubachev and A. Babenko, "On embeddings for numerical features in tabular deep
    learning", 2022.
    """
    cosine, _ = _turns(x, w, b)
    made = np.einsum("rjf,jdf->rjd", cosine, v) + c
    return np.hstack([x, made.reshape(len(x), -1)])


def _pbld_backward(dy, x, w, b, v):
    """Gradients (dx, dw, db, dv, dc) of `_pbld_forward`."""
    cosine, sine = _turns(x, w, b)
    columns, (embedded, dim, _) = x.shape[1], v.shape
    made = dy[:, columns:].reshape(len(x), embedded, dim)
    angle = -sine * np.einsum("rjd,jdf->rjf", made, v)
    dx, turn = dy[:, :columns].copy(), dy.dtype.type(2 * np.pi)
    dx[:, :embedded] += turn * (angle * w).sum(axis=2)
    dw = turn * (angle * x[:, :embedded, None]).sum(axis=0)
    return dx, dw, angle.sum(axis=0), np.einsum("rjd,rjf->jdf", made, cosine), made.sum(axis=0)


def _pbld_backward_input(dy, x, w, b, v):
    return _pbld_backward(dy, x, w, b, v)[0]


def _pbld_backward_frequencies(dy, x, w, b, v):
    return _pbld_backward(dy, x, w, b, v)[1:3]


def _pbld_backward_weights(dy, x, w, b, dim):
    return _pbld_backward(dy, x, w, b, np.zeros((len(w), dim, w.shape[1]), dy.dtype))[3:]


def _parametric_activation_forward(x, w, activation, alpha):
    """x + w (f(x) - x), with a weight for each column.

    Examples
    --------
    >>> _parametric_activation_forward(np.array([[-2.0, -2.0]]), np.array([1.0, 0.5]), "relu", None)
    array([[ 0., -1.]])
    """
    return x + w * (activation_forward(x, activation, alpha=alpha) - x)


def _parametric_activation_backward(dy, x, w, activation, alpha):
    """dx = dy + w (dy f'(x) - dy)"""
    saved = activation_forward(x, activation, alpha=alpha) if ACTIVATIONS[activation].saves == "y" else x
    return dy + w * (activation_backward(dy, saved, activation, alpha=alpha) - dy)


def _parametric_activation_gradient(dy, x, activation, alpha):
    """dw = Σ_rows dy (f(x) - x)"""
    return (dy * (activation_forward(x, activation, alpha=alpha) - x)).sum(axis=0)
