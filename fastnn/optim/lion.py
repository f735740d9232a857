"""Lion: the sign of a momentum."""

from typing import TYPE_CHECKING

from .base import Optimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import Options, Rate


class Lion(Optimizer):
    """Lion: every weight moves by the rate, in the direction of an interpolated momentum.

        d  = sign(beta1 m + (1 - beta1) gradient) + weight_decay * w
        m  = beta2 m + (1 - beta2) gradient
        w -= lr * d

    X. Chen et al., "Symbolic discovery of optimization algorithms", 2023. Defaults are the authors' code's; optax has a
    weight_decay of 1e-3, Keras a rate of 1e-3. PyTorch has none.

    When to choose it: large batches, and where one state array must do. Rates should be 3 to 10 times smaller than AdamW's and
    the decay larger by as much.

    Parameters
    ----------
    params : list, dict, or list of dicts
        See `Optimizer`.
    lr : float or callable, default 1e-4
        The rate, or a schedule from the number of steps done to it.
    betas : pair of float, default (0.9, 0.99)
        Each in [0, 1).
    weight_decay : float, default 0
        Decoupled. At least 0.
    **options
        Those of every optimizer; see `Optimizer`.

    Examples
    --------
    >>> w = np.array([1.0, 2.0])
    >>> opt = optim.Lion([w], lr=0.1)
    >>> opt.step([np.array([100.0, -0.001])]); w.round(4)
    array([0.9, 2.1])
    """

    rules = ("lion",)

    def __init__(self, params, lr: "Rate" = 1e-4, betas=(0.9, 0.99), weight_decay: "Rate" = 0.0,
                 **options: "Unpack[Options]") -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay}, options)
