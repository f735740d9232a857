"""Adafactor: a second moment that is a row times a column."""

from ..core.checks import number
from . import checks
from .base import Optimizer


def _eps(value, name):
    """(None or a number from 0, a number from 0)."""
    try:
        first, second = value
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected a pair of numbers, got {value!r}") from None
    pair = None if first is None else checks.setting(first, f"{name}[0]"), checks.setting(second, f"{name}[1]")
    return value if type(value) is tuple and value[0] is pair[0] and value[1] is pair[1] else pair


def _decay(value, name):
    return value if callable(value) else number(value, name, most=0.0)


class Adafactor(Optimizer):
    """Adafactor: Adam's scaling by the square of the gradient, in the memory of a row and a column of each matrix.

        b  = t^beta2_decay,   rate = max(eps2, RMS(w)) * min(lr, 1 / sqrt(t))
        w *= 1 - lr * weight_decay
        r += b (mean of g² over the columns - r),   c += b (mean of g² over the rows - c)
        v  = r c / max(mean of r, eps1)                              of arrays of one axis: v += b (g² - v)
        u  = g / sqrt(max(v, eps1²))
        w -= rate * u / max(1, RMS(u) / d)

    N. Shazeer and M. Stern, "Adafactor: adaptive learning rates with sublinear memory cost", 2018; the formulas are PyTorch's, whose
    lr is an upper limit of the paper's relative rate. Of arrays of more than two axes, as PyTorch has it, the last two are a matrix and
    the others number them: convolution weights [kh, kw, in, out] here are kh * kw matrices.

    When to choose it: where Adam's two arrays beside each weight are too much memory.

    Parameters
    ----------
    params : list, dict, or list of dicts
        See `Optimizer`. Arrays of more than two axes must be C-contiguous.
    lr : float or callable, default 1e-2
        The largest relative rate, or a schedule from the number of steps done to it.
    beta2_decay : float, default -0.8
        How fast the averages become longer. At most 0.
    eps : pair, default (None, 1e-3)
        The least root of v, None for the spacing of the dtype's numbers at 1, and the least RMS of an array. At least 0.
    d : float, default 1
        The largest RMS of u. At least 1.
    weight_decay : float, default 0
        Decoupled, as in `AdamW`. At least 0.
    **options
        Those of every optimizer; see `Optimizer`.

    Examples
    --------
    >>> w = np.ones((200, 100))
    >>> opt = optim.Adafactor([w], lr=0.1)
    >>> opt.step([np.outer(np.arange(1.0, 201), np.ones(100))]); w[[0, -1], [0, -1]].round(4)
    array([0.9, 0.9])
    >>> {name: array.shape for name, array in opt.state_dict()["state"][0].items()}
    {'row_var': (200, 1), 'col_var': (1, 100)}
    """

    rules = ("adafactor",)
    checks = {"eps": _eps, "beta2_decay": _decay}

    def __init__(self, params, lr=1e-2, beta2_decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0.0, **options) -> None:
        settings = {"lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay}
        super().__init__(params, settings, options)

    def _settings(self, g):
        rule, found = super()._settings(g)
        return rule, {**found, "eps1": -1.0} if g["eps"][0] is None else found

    def _check_param(self, p, name):
        if p.ndim > 2 and not p.flags.c_contiguous:
            raise ValueError(f"{name}: expected a C-contiguous array, as Adafactor needs of more than two axes, got strides {p.strides}")
