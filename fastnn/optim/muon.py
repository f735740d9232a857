"""Muon: a momentum of matrices, made orthogonal."""

from ..core.update_rules import CODES
from . import checks
from .base import Optimizer


def _coefficients(value, name):
    try:
        found = tuple(checks.any_number(v, f"{name}[{i}]") for i, v in enumerate(value))
    except TypeError:
        if isinstance(value, (tuple, list)):
            raise
        raise TypeError(f"{name}: expected three numbers, got {value!r}") from None
    if len(found) != 3:
        raise ValueError(f"{name}: expected three numbers, got {value!r}")
    return value if type(value) is tuple and all(a is b for a, b in zip(value, found)) else found


def _adjustment(value, name):
    return value if value is None else checks.choice(*CODES["adjust_lr_fn"])(value, name)


def _steps(value, name):
    value = checks.count(value, name)
    if value >= 100:
        raise ValueError(f"{name}: expected an integer below 100, got {value}")
    return value


class Muon(Optimizer):
    """Muon: matrices move along their momentum made orthogonal, by Newton-Schulz iteration; all else by AdamW.

        m += (1 - momentum) (g - m)
        u  = g + momentum (m - g) if nesterov,  else  m
        X  = u / max(|u|, eps),   ns_steps times:  G = X X^T,   X = a X + (b G + c G G) X
        w *= 1 - lr * weight_decay
        w -= lr * adjustment * X

    K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. A matrix is an array of two axes or more:
    [in, out], or of a convolution [kh kw in, out]. The adjustment is ``"original"``, sqrt(max(1, out / in)), or
    ``"match_rms_adamw"``, 0.2 sqrt(max(in, out)), by which a rate that suits AdamW suits Muon (J. Liu et al., "Muon is scalable for LLM
    training", 2025). Names, defaults and formulas are PyTorch's, with three differences: PyTorch takes matrices alone, where here
    the other arrays of a group follow `AdamW` with the group's `lr` and `weight_decay`, and `betas` and `adamw_eps`; PyTorch keeps
    weights as [out, in], so what is its first axis is the last one here; and it iterates in bfloat16, fastnn in the dtype of the
    array, so the two agree to about the two digits that bfloat16 has.

    When to choose it: for matrices inside a network; its authors leave embeddings and the last layer to AdamW, which
    `fastnn.optim.AdamW` in an optimizer of its own can do.

    Parameters
    ----------
    params : list, dict, or list of dicts
        See `Optimizer`.
    lr : float or callable, default 1e-3
        The rate, or a schedule from the number of steps done to it.
    weight_decay : float, default 0.1
        At least 0.
    momentum : float, default 0.95
        In [0, 1).
    nesterov : bool, default True
    ns_coefficients : three floats, default (3.4445, -4.775, 2.0315)
        a, b and c.
    eps : float, default 1e-7
        The least norm that u is divided by. At least 0.
    ns_steps : int, default 5
        Below 100.
    adjust_lr_fn : {None, "original", "match_rms_adamw"}, default None
        None is "original".
    betas : pair of float, default (0.9, 0.999)
        Of AdamW, for arrays that are no matrices. Each in [0, 1).
    adamw_eps : float, default 1e-8
        Of AdamW. At least 0.
    **options
        Those of every optimizer; see `Optimizer`.

    Examples
    --------
    >>> w, b = np.zeros((2, 2)), np.zeros(2)
    >>> opt = optim.Muon([w, b], lr=0.1, weight_decay=0.0)
    >>> opt.step([np.array([[3.0, 0.0], [0.0, -2.0]]), np.ones(2)]); np.sign(w), b.round(4)
    (array([[-1.,  0.],
           [ 0.,  1.]]), array([-0.1, -0.1]))
    """

    rules = ("muon",)
    decoupled = True
    checks = {
        "nesterov": checks.flag, "ns_coefficients": _coefficients, "ns_steps": _steps, "adjust_lr_fn": _adjustment,
    }  # fmt: skip

    def __init__(self, params, lr=1e-3, weight_decay=0.1, momentum=0.95, nesterov=True, ns_coefficients=(3.4445, -4.775, 2.0315),
                 eps=1e-7, ns_steps=5, adjust_lr_fn=None, *, betas=(0.9, 0.999), adamw_eps=1e-8, **options) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_coefficients": ns_coefficients,
                "eps": eps,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
                "betas": betas,
                "adamw_eps": adamw_eps,
            },
            options,
        )
