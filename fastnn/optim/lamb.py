"""LAMB: Adam's direction, with a length that fits each array."""

from typing import TYPE_CHECKING

from .base import Optimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import Options, Rate


class LAMB(Optimizer):
    """LAMB: each array moves along Adam's direction by a share of its own norm.

        m += (1 - beta1) (gradient - m)
        v  = beta2 v + (1 - beta2) gradient²
        d  = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay * w
        w -= lr |w| / |d| * d            (|w| / |d| is 1 where either is 0)

    Y. You et al., "Large batch optimization for deep learning: training BERT in 76 minutes", 2020; norms over a whole array, in
    double. Defaults are optax's. PyTorch has none; Keras's Lamb has eps = 1e-7 and no weight decay of its own.

    When to choose it: very large batches, whose large rates would harm the layers with small weights.

    Parameters
    ----------
    params : list, dict, or list of dicts
        See `Optimizer`.
    lr : float or callable, default 1e-3
        The rate, or a schedule from the number of steps done to it.
    betas : pair of float, default (0.9, 0.999)
        Decay of the two averages, each in [0, 1).
    eps : float, default 1e-6
        Added to the denominator. At least 0.
    weight_decay : float, default 0
        Part of the direction whose length is fitted. At least 0.
    **options
        Those of every optimizer; see `Optimizer`.

    Examples
    --------
    >>> w = np.array([3.0, 4.0])
    >>> opt = optim.LAMB([w], lr=0.1)
    >>> opt.step([np.array([1.0, -1.0])]); w.round(4)  # by a tenth of its norm
    array([2.6464, 4.3536])
    """

    rules = ("lamb",)

    def __init__(self, params, lr: "Rate" = 1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay: "Rate" = 0.0,
                 **options: "Unpack[Options]") -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}, options)
