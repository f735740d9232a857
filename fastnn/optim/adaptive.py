"""Rates for every weight from the squares of its gradients: Adagrad, Adadelta, RMSprop."""

from typing import TYPE_CHECKING

from . import checks
from .base import Optimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import Options, Rate


class Adagrad(Optimizer):
    """Adagrad: each weight's rate falls with the sum of its squared gradients.

        g  = gradient + weight_decay * w
        a += g²
        w -= lr / (1 + (t - 1) lr_decay) * g / (sqrt(a) + eps)

    J. Duchi, E. Hazan and Y. Singer, "Adaptive subgradient methods for online learning and stochastic optimization", 2011. The
    paper has no eps. Keras puts it under the root, is 1e-7 there, starts from a = 0.1 and has no `lr_decay`.

    When to choose it: convex problems and sparse features (rare words, one-hot columns), whose rare gradients then count for
    more. In deep networks its steps die out; RMSprop and Adam came of that.

    Parameters
    ----------
    params : list, dict, or list of dicts
        See `Optimizer`.
    lr : float or callable, default 1e-2
        The rate, or a schedule from the number of steps done to it.
    lr_decay : float, default 0
        At least 0.
    weight_decay : float, default 0
        L2 penalty, added to the gradient. At least 0.
    initial_accumulator_value : float, default 0
        What a starts from. At least 0.
    eps : float, default 1e-10
        At least 0.
    **options
        Those of every optimizer; see `Optimizer`.

    Examples
    --------
    >>> w = np.array([1.0, 2.0])
    >>> opt = optim.Adagrad([w], lr=0.1)
    >>> opt.step([np.array([10.0, -0.1])]); w.round(6)  # the size of a gradient does not count, only its history
    array([0.9, 2.1])
    """

    rules = ("adagrad",)
    checks = {"initial_accumulator_value": checks.number}

    def __init__(self, params, lr: "Rate" = 1e-2, lr_decay=0.0, weight_decay: "Rate" = 0.0, initial_accumulator_value=0.0,
                 eps=1e-10, **options: "Unpack[Options]") -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "eps": eps,
            },
            options,
        )

    def _initial(self, name, group):
        return group["initial_accumulator_value"]


class Adadelta(Optimizer):
    """Adadelta: steps in the units of the weights, from averages of squared gradients and of squared steps.

        g  = gradient + weight_decay * w
        a  = rho a + (1 - rho) g²
        d  = sqrt(b + eps) / sqrt(a + eps) * g
        b  = rho b + (1 - rho) d²
        w -= lr * d

    M. D. Zeiler, "ADADELTA: an adaptive learning rate method", 2012. The paper has lr = 1, rho = 0.95; PyTorch's defaults are
    lr = 1, rho = 0.9, Keras's lr = 0.001, rho = 0.95, eps = 1e-7.

    When to choose it: where no rate can be tuned at all. It begins slowly, since b starts from 0: a larger eps helps.

    Parameters
    ----------
    params : list, dict, or list of dicts
        See `Optimizer`.
    lr : float or callable, default 1.0
        A factor of the step, or a schedule from the number of steps done to it.
    rho : float, default 0.9
        Decay of the averages, in [0, 1).
    eps : float, default 1e-6
        At least 0.
    weight_decay : float, default 0
        L2 penalty, added to the gradient. At least 0.
    **options
        Those of every optimizer; see `Optimizer`.

    Examples
    --------
    >>> w = np.array([1.0, 2.0])
    >>> opt = optim.Adadelta([w], eps=0.01)
    >>> opt.step([np.array([10.0, -0.1])]); w.round(3)
    array([0.684, 2.095])
    """

    rules = ("adadelta",)

    def __init__(self, params, lr: "Rate" = 1.0, rho=0.9, eps=1e-6, weight_decay: "Rate" = 0.0,
                 **options: "Unpack[Options]") -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay}, options)


class RMSprop(Optimizer):
    """RMSprop: the gradient divided by a running root of its square.

        g  = gradient + weight_decay * w
        a  = alpha a + (1 - alpha) g²
        c += (1 - alpha) (g - c)                     if centered
        d  = g / (sqrt(a - c²) + eps)                (sqrt(a) if not centered)
        b  = momentum * b + d
        w -= lr * b                                  (w -= lr * d without momentum)

    T. Tieleman and G. Hinton, "Lecture 6.5: rmsprop", COURSERA, 2012; centered: A. Graves, "Generating sequences with recurrent
    neural networks", 2013. Keras (rho = 0.9) and TensorFlow put eps under the root, and lr inside the momentum's buffer. Rounding
    may make a - c² slightly negative when a gradient stays the same; it then counts as 0, where PyTorch gives NaN.

    When to choose it: recurrent networks and reinforcement learning, whose gradients change their size; else Adam, which adds
    momentum and a corrected start to it.

    Parameters
    ----------
    params : list, dict, or list of dicts
        See `Optimizer`.
    lr : float or callable, default 1e-2
        The rate, or a schedule from the number of steps done to it.
    alpha : float, default 0.99
        Decay of the averages, in [0, 1).
    eps : float, default 1e-8
        At least 0.
    weight_decay : float, default 0
        L2 penalty, added to the gradient. At least 0.
    momentum : float, default 0
        At least 0.
    centered : bool, default False
        Divide by the deviation of the gradient in place of its root mean square.
    **options
        Those of every optimizer; see `Optimizer`.

    Examples
    --------
    >>> w = np.array([1.0, 2.0])
    >>> opt = optim.RMSprop([w], lr=0.01)
    >>> opt.step([np.array([10.0, -0.1])]); w.round(4)
    array([0.9, 2.1])
    """

    rules = ("rmsprop", "rmsprop_momentum", "rmsprop_centered", "rmsprop_centered_momentum")
    switches = ("momentum", "centered")
    checks = {"centered": checks.flag}

    def __init__(self, params, lr: "Rate" = 1e-2, alpha=0.99, eps=1e-8, weight_decay: "Rate" = 0.0, momentum: "Rate" = 0.0,
                 centered=False, **options: "Unpack[Options]") -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
            },
            options,
        )

    def _rule(self, g):
        return "rmsprop" + "_centered" * g["centered"] + "_momentum" * (g["momentum"] != 0)
