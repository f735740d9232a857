"""Stochastic gradient descent and momentum in all its forms."""

from . import checks
from .base import Optimizer

_FORMS = ("torch", "classic", "average", "corrected")


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum in its several forms and Nesterov's variant.

        g  = gradient + weight_decay * w
        v  = g                                       in the first step
        v  = momentum * v + (1 - dampening) * g      later
        d  = g + momentum * v  if nesterov, else v   (d = g without momentum)
        w -= lr * d

    B. T. Polyak, "Some methods of speeding up the convergence of iteration methods", 1964; I. Sutskever et al., "On the
    importance of initialization and momentum in deep learning", 2013. That is PyTorch's form, ``form="torch"``, in which lr
    multiplies the velocity when it is used. The others start from v = 0:

    - ``"classic"``, Sutskever's and Keras's: v = momentum * v - lr * g; w += v, or momentum * v - lr * g with nesterov. The rate
      is inside the velocity, so a changed rate acts on later gradients only; at a constant rate it is the same as PyTorch's.
    - ``"average"``: v = momentum * v + (1 - momentum) * g; w -= lr * v, an exponentially weighted average of the gradients.
      Steps are shorter by a factor 1 - momentum, and shorter still at the beginning.
    - ``"corrected"``: the same with w -= lr * v / (1 - momentum^t), so that the first steps are of full length.

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
    """

    states = ("momentum_buffer",)
    switches = ("momentum",)
    checks = {
        "momentum": checks.number,
        "dampening": checks.any_number,
        "nesterov": checks.flag,
        "form": checks.choice(*_FORMS),
    }

    def __init__(self, params, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, *, form="torch",
                 **options):
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

    def _check_group(self, g):
        super()._check_group(g)
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

    def _hyper(self, g):
        return (g["momentum"], g["dampening"], float(_FORMS.index(g["form"]))) if g["momentum"] else ()

    def _state_names(self, group):
        return self.states if group["momentum"] != 0 else ()
