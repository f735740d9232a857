"""Penalties on weights: what is added to the loss so that weights stay small (L2), or become exactly zero (L1).

A penalty belongs to a layer, ``nn.Dense(..., penalty=regularizers.L2(1e-4))``, and then concerns that layer's weights, not
its bias; or to a training, ``fastnn.Trainer(..., penalty=regularizers.L2(1e-4))``, and then concerns the weights of all
layers that have none of their own: every parameter of two dimensions, so that biases and the parameters of normalisations
are left out. A layer with ``penalty=regularizers.L2(0)`` is exempt. A parameter that several layers share counts once.

The penalty is part of the loss: `Trainer.step` and `fit` report it with the loss, once for each batch, whatever its size, and
`evaluate` once for all the data. Its gradient is in what `value_and_grad` returns, in what clipping by the norm sees, and in
what the optimizer averages.

How this differs from an optimizer's ``weight_decay``:

- With SGD and with the coupled decay of Adam and others, ``weight_decay=λ`` takes the very steps of `L2(λ)`. But it concerns
  every parameter of its group, biases included, and it is not in the reported loss.
- The decoupled decay of AdamW and others shrinks weights by lr · λ · w beside the adaptive step. That is no penalty: no
  function of the weights has it as its gradient in Adam's metric.
- L1 here adds l1 · sign(w) to the gradient; weights then hover around zero. An optimizer's proximal L1 makes exact zeros.

PyTorch has no penalties but these decays. Keras's `L2(λ)` adds λ Σw², without the half, so it is `L2(2λ)` here.
"""

import numpy as np

from ._native import plain
from .core.checks import number
from .core.fixed import Fixed

__all__ = ["ElasticNet", "L1", "L2", "Penalty"]


def __dir__():
    return __all__


class Penalty(Fixed):
    """Base of the penalties: R(w) = l1 Σ|w| + l2 / 2 Σw².

    Attributes
    ----------
    l1, l2 : float
    """

    def __init__(self, l1, l2) -> None:
        self.l1, self.l2 = number(l1, "l1", 0), number(l2, "l2", 0)
        for name, value in (("l1", self.l1), ("l2", self.l2)):
            if value > 3.4028234663852886e38:
                raise ValueError(f"{name}: expected a number that is finite in float32, got {value}")

    def __call__(self, w) -> float:
        """R(w) of a float32 array, as a float."""
        from .kernels import penalty_forward  # which trainings do without

        return penalty_forward(np.asarray(plain(w, "w")), self.l1, self.l2)

    def gradient(self, w) -> np.ndarray:
        """l1 sign(w) + l2 w, a new float32 array."""
        from .kernels import penalty_backward

        w = np.asarray(plain(w, "w"))
        return penalty_backward(w, np.zeros_like(w), self.l1, self.l2)

    def config(self):
        """What a model's file records."""
        return {"l1": self.l1, "l2": self.l2}

    def __eq__(self, other):
        return isinstance(other, Penalty) and (self.l1, self.l2) == (other.l1, other.l2)

    def __hash__(self):
        return hash((self.l1, self.l2))

    def __repr__(self):
        if not self.l1:
            return f"regularizers.L2({self.l2!r})"
        return f"regularizers.L1({self.l1!r})" if not self.l2 else f"regularizers.ElasticNet({self.l1!r}, {self.l2!r})"


class L1(Penalty):
    """l1 Σ|w|: drives weights that do not pay for themselves to zero. R. Tibshirani, "Regression shrinkage and selection via
    the lasso", 1996.

    Parameters
    ----------
    l1 : float, default 0.01
        At least 0.

    Raises
    ------
    TypeError, ValueError
        If it is no number, negative or not finite.

    Examples
    --------
    >>> penalty = regularizers.L1(0.5)
    >>> penalty(np.array([1.0, -3.0], np.float32)), penalty.gradient(np.array([1.0, -3.0], np.float32))
    (2.0, array([ 0.5, -0.5], dtype=float32))
    """

    def __init__(self, l1=0.01) -> None:
        super().__init__(l1, 0.0)


class L2(Penalty):
    """l2 / 2 Σw²: keeps weights small and spread out. A. E. Hoerl and R. W. Kennard, "Ridge regression", 1970.

    Parameters
    ----------
    l2 : float, default 0.01
        At least 0. The usual λ: the gradient is λ w.

    Raises
    ------
    TypeError, ValueError
        If it is no number, negative or not finite.

    Examples
    --------
    >>> penalty = regularizers.L2(0.1)
    >>> layer = nn.Dense(4, 3, init="identity", penalty=penalty)
    >>> model = nn.Sequential(layer)
    >>> with_it, grads = fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), np.zeros((2, 4)), [0, 1])
    >>> round(with_it - float(np.log(3)), 6), round(penalty(layer.weight), 6)  # 0.1 / 2 · 3
    (0.15, 0.15)
    """

    def __init__(self, l2=0.01) -> None:
        super().__init__(0.0, l2)


class ElasticNet(Penalty):
    """l1 Σ|w| + l2 / 2 Σw²: both. H. Zou and T. Hastie, "Regularization and variable selection via the elastic net", 2005.

    Parameters
    ----------
    l1, l2 : float, default 0.01
        At least 0. (scikit-learn's alpha and l1_ratio are l1 = alpha · l1_ratio and l2 = alpha · (1 - l1_ratio).)

    Raises
    ------
    TypeError, ValueError
        If one is no number, negative or not finite.

    Examples
    --------
    >>> regularizers.ElasticNet(l1=0.5, l2=0.25)(np.array([1.0, -3.0], np.float32))
    3.25
    """

    def __init__(self, l1=0.01, l2=0.01) -> None:
        super().__init__(l1, l2)


def check_penalty(penalty, name="penalty"):
    """`penalty` itself, once it is one or None."""
    if isinstance(penalty, type) and issubclass(penalty, Penalty):
        kind = penalty.__name__
        raise TypeError(f"{name}: expected an instance, got the class {kind}; write regularizers.{kind}()")
    if penalty is not None and not isinstance(penalty, Penalty):
        raise TypeError(f"{name}: expected a penalty of fastnn.regularizers, got {type(penalty).__name__}")
    return penalty


def from_config(config, name="penalty"):
    """The penalty that a model's file describes."""
    if config is None:
        return None
    if not isinstance(config, dict) or set(config) != {"l1", "l2"}:
        raise ValueError(f"{name}: expected l1 and l2, got {config!r:.80}")
    l1, l2 = number(config["l1"], f"{name} l1", 0), number(config["l2"], f"{name} l2", 0)
    return L1(l1) if l1 and not l2 else ElasticNet(l1, l2) if l1 else L2(l2)


def penalized(model, penalty=None):
    """(Parameter, penalty) of a model's weights: those of its layers, and `penalty` for weights that have none of their own."""
    own = {id(p): (p, r) for p, r in model.penalties()}
    for p in model.parameters():
        _, r = own.get(id(p), (p, penalty if len(p.shape) >= 2 else None))
        if r is not None and (r.l1 or r.l2):
            yield p, r


def emit_penalties(builder, model, penalty=None):
    """Emit the penalties of `penalized`."""
    for p, r in penalized(model, penalty):
        builder.penalize(p, r.l1, r.l2)
