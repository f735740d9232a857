"""Stochastic gradient descent and momentum in all its forms."""

from typing import TYPE_CHECKING

from ..core.update_rules import CODES
from . import checks
from .base import Optimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import Options, Rate


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum in its several forms and Nesterov's variant.

        g  = gradient + weight_decay * w
        w -= lr * g                                                  without momentum

    Gradient descent over the whole batch, over mini-batches or over one sample at a time differ in what the gradient is taken of;
    the step is the same. With momentum it goes by a velocity v, of which the literature has several forms. v starts from 0:

        form         velocity                                        step
        "torch"      v = momentum * v + (1 - dampening) * g          w -= lr * v
        "classic"    v = momentum * v - lr * g                       w += v
        "average"    v = momentum * v + (1 - momentum) * g           w -= lr * v
        "corrected"  v = momentum * v + (1 - momentum) * g           w -= lr * v / (1 - momentum^t)    in step t = 1, 2, ...

    - ``"torch"``, PyTorch's, has the rate outside of the velocity; only there, v = g in the first step, undampened.
    - ``"classic"`` is B. T. Polyak's heavy ball ("Some methods of speeding up the convergence of iteration methods", 1964), as
      Sutskever and Keras write it. The rate is inside the velocity, so a changed rate acts on later gradients only; at a
      constant rate it is the same as PyTorch's. A constant gradient makes steps that grow to lr * g / (1 - momentum).
    - ``"average"`` is an exponentially weighted average of the gradients, over the last 1 / (1 - momentum) of them or so: a constant
      gradient makes steps that grow to lr * g. At the rate lr it does what the forms above do at (1 - momentum) * lr, so rates that
      were found for those are too small by that factor here.
    - ``"corrected"`` is the same without the bias towards the v = 0 that it starts from: after t steps the weights of the average
      add up to 1 - momentum^t, by which it is divided, so that the first steps are of full length. (Adam's first moment is this.)

    With ``nesterov=True`` the gradient counts as if it were taken where the velocity is about to lead (I. Sutskever et al., "On the
    importance of initialization and momentum in deep learning", 2013), behind the new v:

        "torch"      w -= lr * (g + momentum * v)
        "classic"    w += momentum * v - lr * g

    When to choose it: with momentum and a tuned, decaying rate, for the last bit of generalisation; without, as the
    baseline that everything is compared with.

    Parameters
    ----------
    params : list, dict, or list of dicts
        See `Optimizer`.
    lr : float or callable, default 1e-3
        The rate, or a schedule from the number of steps done to it.
    momentum : float, default 0
        At least 0; below 1 in the forms of an average.
    dampening : float, default 0
        Only in the form "torch".
    weight_decay : float, default 0
        L2 penalty, added to the gradient. At least 0.
    nesterov : bool, default False
        Needs momentum and no dampening, and the form "torch" or "classic".
    form : {"torch", "classic", "average", "corrected"}, default "torch"
    **options
        Those of every optimizer; see `Optimizer`.

    Examples
    --------
    >>> w = np.array([1.0, 2.0], np.float32)
    >>> opt = optim.SGD([w], lr=0.5)
    >>> opt.step([np.array([1.0, -1.0], np.float32)]); w
    array([0.5, 2.5], dtype=float32)

    The exponentially weighted average itself: with lr = 1, the steps are the averages of what is given as gradients, here of the
    numbers 10, 20, 30 with weight 0.1 for the newest. The plain average starts far too low, the corrected one at the first number.

    >>> for form in ("average", "corrected"):
    ...     w = np.zeros(1)
    ...     opt, averages = optim.SGD([w], lr=1.0, momentum=0.9, form=form), []
    ...     for number in (10.0, 20.0, 30.0):
    ...         before = w[0]
    ...         opt.step([np.array([number])])
    ...         averages.append(round(float(before - w[0]), 2))
    ...     print(averages)
    [1.0, 2.9, 5.61]
    [10.0, 15.26, 20.7]

    Their velocities differ when the rate does: the classic one goes on at the old rate.

    >>> for form in ("torch", "classic"):
    ...     w = np.zeros(1)
    ...     opt = optim.SGD([w], lr=1.0, momentum=0.5, form=form)
    ...     opt.step([np.ones(1)])
    ...     opt.param_groups[0]["lr"] = 0.1
    ...     opt.step([np.ones(1)])
    ...     print(w.round(2))
    [-1.15]
    [-1.6]
    """

    rules = ("sgd", "momentum", "nesterov")
    switches = ("momentum",)
    checks = {"nesterov": checks.flag, "form": checks.choice(*CODES["form"])}

    def __init__(self, params, lr: "Rate" = 1e-3, momentum: "Rate" = 0.0, dampening=0.0, weight_decay: "Rate" = 0.0,
                 nesterov=False, *, form="torch", **options: "Unpack[Options]") -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "form": form,
            },
            options,
        )

    def _check_together(self, g):
        momentum, dampening, form = g["momentum"], g["dampening"], g["form"]
        if g["nesterov"] and (momentum == 0 or dampening != 0 or form not in ("torch", "classic")):
            raise ValueError(
                f"nesterov: expected a momentum > 0, no dampening and the form 'torch' or 'classic' with it, got momentum "
                f"{momentum}, dampening {dampening}, form {form!r}"
            )
        if form != "torch" and dampening != 0:
            raise ValueError(f"dampening: expected 0 in the form {form!r}, got {dampening}")
        if form in ("average", "corrected") and momentum >= 1:
            raise ValueError(f"momentum: expected a number below 1 in the form {form!r}, got {momentum}")

    def _rule(self, g):
        return "sgd" if g["momentum"] == 0 else "nesterov" if g["nesterov"] else "momentum"
