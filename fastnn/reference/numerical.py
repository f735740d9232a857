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


def _parametric_forward(x, weight, activation, alpha):
    """x + weight (f(x) - x), with a weight for each column.

    Examples
    --------
    >>> _parametric_forward(np.array([[-2.0, -2.0]]), np.array([1.0, 0.5]), "relu", None)
    array([[ 0., -1.]])
    """
    return x + weight * (activation_forward(x, activation, alpha=alpha) - x)


def _parametric_backward(dy, x, weight, activation, alpha):
    """Gradients (dx, dweight) of `_parametric_forward`: dx = dy + weight (dy f'(x) - dy), dweight = Σ_rows dy (f(x) - x)."""
    y = activation_forward(x, activation, alpha=alpha)
    whole = activation_backward(dy, y if ACTIVATIONS[activation].saves == "y" else x, activation, alpha=alpha)
    return dy + weight * (whole - dy), (dy * (y - x)).sum(axis=0)
