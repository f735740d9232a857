"""Schedule-free AdamW: an average of the iterates in place of a schedule of rates."""

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _native
from . import checks
from .base import Optimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import Options, Rate


class ScheduleFreeAdamW(Optimizer):
    """AdamW without a schedule: gradients are taken at y, between the iterate z and a running average x of the iterates.

        g  = gradient at y
        v  = beta2 v + (1 - beta2) g²
        d  = g / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay * y
        c  = weight_t / (weight_1 + ... + weight_t),   weight_t = t^r * (largest rate so far)^weight_lr_power
        z -= lr_t * d
        x += c (z - x)
        y  = beta1 x + (1 - beta1) z

    with lr_t = lr * min(1, t / warmup_steps). A. Defazio et al., "The road less scheduled", 2024; the formulas of the authors'
    package schedule_free (`AdamWScheduleFree`), which keeps y and z and never x.

    While training the parameters hold y; the weights to evaluate, predict with and save are x. `eval` puts x into the parameters
    and `train` puts y back; a `step` between the two is a RuntimeError. A Trainer evaluates at x by itself; call
    `eval` when training is over.

    When to choose it: when the length of training is not known beforehand. It needs a larger rate than AdamW (1 to 10 times) and
    no schedule behind the warm-up.

    Parameters
    ----------
    params : list, dict, or list of dicts
        See `Optimizer`.
    lr : float or callable, default 0.0025
        The rate, or a schedule from the number of steps done to it.
    betas : pair of float, default (0.9, 0.999)
        The place of y between z and x, above 0, and the decay of v; each below 1.
    eps : float, default 1e-8
        Added to the denominator. At least 0.
    weight_decay : float, default 0
        At y. At least 0.
    warmup_steps : int, default 0
    r : float, default 0
    weight_lr_power : float, default 2
    **options
        Those of every optimizer; see `Optimizer`.

    Examples
    --------
    >>> w = np.array([1.0, 2.0])
    >>> opt = optim.ScheduleFreeAdamW([w], lr=0.1)
    >>> for _ in range(200): opt.step([2 * w])
    >>> opt.eval(); bool(np.abs(w).max() < 0.1)
    True
    >>> opt.train()
    """

    rules = ("schedule_free",)
    checks = {"warmup_steps": checks.count}

    def __init__(self, params, lr: "Rate" = 0.0025, betas=(0.9, 0.999), eps=1e-8, weight_decay: "Rate" = 0.0, warmup_steps=0, r=0.0,
                 weight_lr_power=2.0, **options: "Unpack[Options]") -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "warmup_steps": warmup_steps,
                "r": r,
                "weight_lr_power": weight_lr_power,
            },
            options,
        )
        self._x_stands = _native.Exchange(self.kernel_state)  # whether x stands in the parameters, and not y
        self._other = None  # y while x stands in the parameters; None if the state was loaded so

    def _check_group(self, g):
        super()._check_group(g)
        if callable(g["betas"][0]):
            raise TypeError("betas[0]: expected a number, by which the average is found, got a schedule")

    def _check_together(self, g):
        if g["betas"][0] == 0:
            raise ValueError("betas[0]: expected a number between 0 and 1, got 0")

    @property
    def train_mode(self):
        """Whether the parameters hold y, at which gradients are taken, and not x."""
        return not self._x_stands.made

    def eval(self) -> None:
        """Put the average x into the parameters. They are to be read only until `train` puts y back, exactly."""
        if not self.train_mode:
            return
        with self.kernel_state.lock:
            self._refuse_while_swapped("eval")
            self._other = self._average()
            self._x_stands.swap(self._params, self._other)

    def train(self) -> None:
        """Put y back into the parameters."""
        if self.train_mode:
            return
        with self.kernel_state.lock:
            self._refuse_while_swapped("train")
            if self._other is None:  # the state was loaded in evaluation mode: all that there is of y
                self._other = self._between(lambda beta1: 1 - beta1)
            self._x_stands.swap(self._params, self._other)
            self._other = None

    def _average(self):
        """x, while the parameters hold y."""
        return self._between(lambda beta1: 1 - 1 / beta1)

    def _between(self, weight):
        """Copies of the parameters, moved towards z by `weight` of beta1."""
        found, progress = [p.copy(order="K") for p in self._params], self._progress()
        for p, states, number in zip(found, self._state, self._group_of):
            if progress[number][0]:
                with np.errstate(all="ignore"):
                    p += weight(self.param_groups[number]["betas"][0]) * (states[0] - p)
        return found

    def weight_states(self):
        return super().weight_states() + [states[0] for states in self._state]

    def evaluating(self):
        """A context in which the parameters are those to evaluate."""
        if not self.train_mode:
            return contextlib.nullcontext()
        with self.kernel_state.lock:
            self._refuse_while_swapped("eval")
            return self._x_stands.during(self._params, self._average())

    def _refuse_now(self):
        super()._refuse_now()
        if not self.train_mode:
            raise RuntimeError("this optimizer is in evaluation mode: call train() before the next step")

    def state_dict(self, copy=True) -> dict[str, Any]:
        return {**super().state_dict(copy), "train_mode": self.train_mode}

    def load_state_dict(self, state_dict, strict=True) -> None:
        mode = state_dict.get("train_mode", True) if isinstance(state_dict, Mapping) else True
        mode = checks.flag(mode.item() if isinstance(mode, np.ndarray) and mode.ndim == 0 else mode, "state_dict['train_mode']")
        super().load_state_dict(state_dict, strict)
        self._other, self._x_stands = None, _native.Exchange(self.kernel_state, not mode)
