"""Adam and its relatives: AdamW, NAdam, Adamax, RAdam."""

from typing import TYPE_CHECKING

from . import checks
from .base import Optimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import Options, Rate


class Adam(Optimizer):
    """Adam: steps scaled by running averages of the gradient and of its square.

        g  = gradient + weight_decay * w
        m += (1 - beta1) (g - m)
        v  = beta2 v + (1 - beta2) g²
        w -= lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)

    D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1. With `amsgrad` the largest v so far
    takes v's place: S. J. Reddi, S. Kale and S. Kumar, "On the convergence of Adam and beyond", 2018; as in PyTorch the maximum
    is of the uncorrected averages. With `epsilon_hat` the corrections are folded into the step, as at the end of the paper's
    section 2:

        w -= lr sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps)

    which makes eps count for more in the first steps; TensorFlow and Keras compute that form, with eps = 1e-7. As in PyTorch
    the weight decay is coupled (part of the gradient).

    When to choose it: first, for almost anything; it is forgiving of the rate and of badly scaled inputs.

    Parameters
    ----------
    params : list, dict, or list of dicts
        See `Optimizer`.
    lr : float or callable, default 1e-3
        The rate, or a schedule from the number of steps done to it.
    betas : pair of float, default (0.9, 0.999)
        Decay of the two averages, each in [0, 1).
    eps : float, default 1e-8
        Added to the denominator. At least 0.
    weight_decay : float, default 0
        L2 penalty, added to the gradient. At least 0.
    amsgrad : bool, default False
    epsilon_hat : bool, default False
    **options
        Those of every optimizer; see `Optimizer`.

    Examples
    --------
    >>> w = np.array([1.0, 2.0], np.float32)
    >>> opt = optim.Adam([w], lr=0.1)
    >>> opt.step([np.array([1.0, -1.0], np.float32)]); w.round(4)
    array([0.9, 2.1], dtype=float32)
    """

    rules = ("adam", "amsgrad")
    switches = ("amsgrad",)
    checks = {"amsgrad": checks.flag, "epsilon_hat": checks.flag}

    def __init__(self, params, lr: "Rate" = 1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay: "Rate" = 0.0, amsgrad=False, *,
                 epsilon_hat=False, **options: "Unpack[Options]") -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "epsilon_hat": epsilon_hat,
            },
            options,
        )

    def _rule(self, g):
        return "amsgrad" if g["amsgrad"] else "adam"


class AdamW(Adam):
    """Adam with decoupled weight decay.

        w *= 1 - lr * weight_decay
        then Adam's step, without the decay in the gradient

    I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", 2019. As in PyTorch and Keras the decay is multiplied by
    the rate; the paper's schedule multiplier without it. Keras's default is 0.004.

    When to choose it: in place of Adam whenever weights should decay; transformers by default.

    Parameters
    ----------
    params : list, dict, or list of dicts
        See `Optimizer`.
    lr : float or callable, default 1e-3
        The rate, or a schedule from the number of steps done to it.
    betas : pair of float, default (0.9, 0.999)
        Decay of the two averages, each in [0, 1).
    eps : float, default 1e-8
        Added to the denominator. At least 0.
    weight_decay : float, default 0.01
        At least 0.
    amsgrad : bool, default False
    epsilon_hat : bool, default False
        See `Adam`.
    **options
        Those of every optimizer; see `Optimizer`.

    Examples
    --------
    >>> w = np.array([1.0, 2.0])
    >>> opt = optim.AdamW([w], lr=0.1, weight_decay=0.5)
    >>> opt.step([np.array([1.0, -1.0])]); w.round(4)
    array([0.85, 2.  ])
    """

    decoupled = True

    def __init__(self, params, lr: "Rate" = 1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay: "Rate" = 1e-2, amsgrad=False,
                 *, epsilon_hat=False, **options: "Unpack[Options]") -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, epsilon_hat=epsilon_hat, **options)


class NAdam(Optimizer):
    """NAdam: Adam with Nesterov's look ahead.

        g    = gradient + weight_decay * w
        mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)
        m   += (1 - beta1) (g - m)
        v    = beta2 v + (1 - beta2) g²
        n    = (1 - mu_t) g / (1 - mu_1 ... mu_t) + mu_{t+1} m / (1 - mu_1 ... mu_{t+1})
        w   -= lr * n / (sqrt(v / (1 - beta2^t)) + eps)

    T. Dozat, "Incorporating Nesterov momentum into Adam", 2016. Keras (lr = 1e-3, eps = 1e-7) has a momentum_decay of
    0.004 that cannot be chosen. PyTorch keeps the product of the mu in float32, fastnn in double.

    When to choose it: where Adam is used; often a little faster.

    Parameters
    ----------
    params : list, dict, or list of dicts
        See `Optimizer`.
    lr : float or callable, default 2e-3
        The rate, or a schedule from the number of steps done to it.
    betas : pair of float, default (0.9, 0.999)
        Decay of the two averages, each in [0, 1).
    eps : float, default 1e-8
        Added to the denominator. At least 0.
    weight_decay : float, default 0
        L2 penalty, added to the gradient; with ``decoupled_weight_decay=True`` (an option) as in `AdamW`. At least 0.
    momentum_decay : float, default 4e-3
        At least 0.
    **options
        Those of every optimizer; see `Optimizer`.

    Examples
    --------
    >>> w = np.array([1.0, 2.0])
    >>> opt = optim.NAdam([w], lr=0.1)
    >>> opt.step([np.array([1.0, -1.0])]); w.round(4)
    array([0.8944, 2.1056])
    """

    rules = ("nadam",)

    def __init__(self, params, lr: "Rate" = 2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay: "Rate" = 0.0, momentum_decay=4e-3,
                 **options: "Unpack[Options]") -> None:
        super().__init__(
            params,
            {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay},
            options,
        )


class Adamax(Optimizer):
    """Adamax: Adam with the infinity norm in place of the square.

        g  = gradient + weight_decay * w
        m += (1 - beta1) (g - m)
        u  = max(beta2 u, |g| + eps)
        w -= lr / (1 - beta1^t) * m / u

    D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", 2015, algorithm 2, which has no eps; PyTorch adds it to
    |g|, Keras (lr = 1e-3, eps = 1e-7) to u.

    When to choose it: gradients with rare, large outliers, as of embeddings.

    Parameters
    ----------
    params : list, dict, or list of dicts
        See `Optimizer`.
    lr : float or callable, default 2e-3
        The rate, or a schedule from the number of steps done to it.
    betas : pair of float, default (0.9, 0.999)
        Decay of the average and of the norm, each in [0, 1).
    eps : float, default 1e-8
        At least 0.
    weight_decay : float, default 0
        L2 penalty, added to the gradient. At least 0.
    **options
        Those of every optimizer; see `Optimizer`.

    Examples
    --------
    >>> w = np.array([1.0, 2.0])
    >>> opt = optim.Adamax([w], lr=0.1)
    >>> opt.step([np.array([1.0, -1.0])]); w.round(4)
    array([0.9, 2.1])
    """

    rules = ("adamax",)

    def __init__(self, params, lr: "Rate" = 2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay: "Rate" = 0.0,
                 **options: "Unpack[Options]") -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}, options)


class RAdam(Optimizer):
    """RAdam: Adam that waits until the variance of its step can be told.

        g    = gradient + weight_decay * w
        m   += (1 - beta1) (g - m)
        v    = beta2 v + (1 - beta2) g²
        rho  = rho∞ - 2 t beta2^t / (1 - beta2^t),   rho∞ = 2 / (1 - beta2) - 1
        w   -= lr r * m / (1 - beta1^t) * sqrt(1 - beta2^t) / (sqrt(v) + eps)    if rho > 5
        w   -= lr * m / (1 - beta1^t)                                            before
        r²   = (rho - 4)(rho - 2) rho∞ / ((rho∞ - 4)(rho∞ - 2) rho)

    L. Liu et al., "On the variance of the adaptive learning rate and beyond", 2020. The paper rectifies from
    rho > 4, its authors' code and PyTorch from 5; the first steps are then those of momentum.

    When to choose it: in place of a warm-up before Adam.

    Parameters
    ----------
    params : list, dict, or list of dicts
        See `Optimizer`.
    lr : float or callable, default 1e-3
        The rate, or a schedule from the number of steps done to it.
    betas : pair of float, default (0.9, 0.999)
        Decay of the two averages, each in [0, 1).
    eps : float, default 1e-8
        Added to the denominator. At least 0.
    weight_decay : float, default 0
        L2 penalty, added to the gradient; with ``decoupled_weight_decay=True`` (an option) as in `AdamW`. At least 0.
    **options
        Those of every optimizer; see `Optimizer`.

    Examples
    --------
    >>> w = np.array([1.0, 2.0])
    >>> opt = optim.RAdam([w], lr=0.1)
    >>> opt.step([np.array([1.0, -2.0])]); w.round(4)
    array([0.9, 2.2])
    """

    rules = ("radam",)

    def __init__(self, params, lr: "Rate" = 1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay: "Rate" = 0.0,
                 **options: "Unpack[Options]") -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}, options)
