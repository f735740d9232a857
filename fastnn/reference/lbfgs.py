"""The direction of L-BFGS."""

import numpy as np

from ._check import check_array


def lbfgs_direction(gradient, pairs, scale) -> np.ndarray:
    """The two-loop recursion (J. Nocedal, "Updating quasi-Newton matrices with limited storage", 1980).

        q = g;  from the newest pair to the oldest: alpha = s q / (s y), q -= alpha y
        r = scale q;  from the oldest to the newest: r += (alpha - y r / (s y)) s
        d = -r

    Parameters
    ----------
    gradient : numpy.ndarray [n]
    pairs : list of (numpy.ndarray [n], numpy.ndarray [n])
        Steps s and changes of the gradient y, the oldest first.
    scale : float

    Returns
    -------
    numpy.ndarray [n]

    Raises
    ------
    TypeError, ValueError
        If an array is not of float32 or float64, or not of the gradient's dtype and length.

    Examples
    --------
    >>> s, y = np.array([1.0, 0.0]), np.array([4.0, 0.0])  # a curvature of 4 along the first axis
    >>> lbfgs_direction(np.array([1.0, 1.0]), [(s, y)], 0.25)
    array([-0.25, -0.25])
    """
    check_array(gradient, "gradient", None, (None,))
    for i, pair in enumerate(pairs):
        for vector, name in zip(pair, "sy"):
            check_array(vector, f"pairs[{i}]: {name}", gradient.dtype, gradient.shape)
    q, alphas = gradient.copy(), []
    for s, y in reversed(pairs):
        alphas.append(np.dot(s, q) / np.dot(s, y))
        q -= alphas[-1] * y
    r = scale * q
    for (s, y), alpha in zip(pairs, reversed(alphas)):
        r += (alpha - np.dot(y, r) / np.dot(s, y)) * s
    return -r
