"""Optimizer updates on lists of arrays: parameters and state change in place, gradients are only read.

Scalars are combined in double and meet the arrays once; arrays stay in their own dtype. Learning-rate schedules, clipping
and parameter groups belong to the caller.
"""

import math
import operator

import numpy as np

from ._check import check_array


def sgd_update(params, grads, buffers, step, *, lr, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0):
    """Stochastic gradient descent, with classical or Nesterov momentum.

        g = grad + weight_decay · p
        buffer = g                                            at step 1
        buffer = momentum · buffer + (1 - dampening) · g      later
        d = g + momentum · buffer  if nesterov,  else  buffer          (d = g without momentum)
        p = p - lr · d

    (Polyak 1964; Sutskever et al. 2013; the form of PyTorch's ``torch.optim.SGD``, in which lr scales the buffer's use and
    not its content.)

    Parameters
    ----------
    params : list of float32 or float64 arrays
        Updated in place.
    grads : list of arrays like params
    buffers : list of arrays like params, or None
        Updated in place; None when momentum is 0. What they hold before step 1 does not matter.
    step : int
        Number of this step, from 1.
    lr : float
        Learning rate, >= 0.
    momentum : float, default 0.0
        >= 0.
    dampening : float, default 0.0
    nesterov : bool, default False
        Needs a momentum and no dampening.
    weight_decay : float, default 0.0
        L2 penalty, >= 0.

    Raises
    ------
    ValueError
        Lists or shapes that do not fit, a hyper-parameter out of range, a read-only parameter. Nothing has changed then.
    TypeError
        Dtypes that differ or are neither float32 nor float64.

    Examples
    --------
    >>> w = np.array([1.0]); sgd_update([w], [np.array([0.5])], None, 1, lr=0.1); w
    array([0.95])
    """
    step = _check_step(step)
    lr, momentum, weight_decay = _at_least_zero(lr=lr, momentum=momentum, weight_decay=weight_decay)
    dampening = float(dampening)
    if nesterov and (momentum == 0 or dampening != 0):
        raise ValueError(f"nesterov needs momentum > 0 and dampening 0, got momentum {momentum}, dampening {dampening}")
    if momentum == 0 and buffers is not None:
        raise ValueError("buffers must be None when momentum is 0, got a list")
    _check_lists(params, grads=grads, **({"buffers": buffers} if momentum else {}))

    with np.errstate(all="ignore"):
        for i, (p, g) in enumerate(zip(params, grads)):
            if weight_decay:
                g = g + weight_decay * p
            if momentum:
                buffer = buffers[i]
                buffer[...] = g if step == 1 else momentum * buffer + (1 - dampening) * g
                g = g + momentum * buffer if nesterov else buffer
            p[...] = p - lr * g


def adam_update(params, grads, exp_avgs, exp_avg_sqs, step, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    """Adam.

        g = grad + weight_decay · p
        m = m + (1 - beta1) · (g - m)
        v = beta2 · v + (1 - beta2) · g · g
        p = p - lr / (1 - beta1^step) · m / (√v / √(1 - beta2^step) + eps)

    (Kingma & Ba 2015, algorithm 1; weight decay as an L2 penalty, as in PyTorch's ``torch.optim.Adam``.)

    Parameters
    ----------
    params : list of float32 or float64 arrays
        Updated in place.
    grads : list of arrays like params
    exp_avgs, exp_avg_sqs : lists of arrays like params
        m and v, zero before step 1; updated in place.
    step : int
        Number of this step, from 1.
    lr : float, default 1e-3
        Learning rate, >= 0.
    beta1, beta2 : float, default 0.9 and 0.999
        In [0, 1).
    eps : float, default 1e-8
        >= 0.
    weight_decay : float, default 0.0
        L2 penalty, >= 0.

    Raises
    ------
    ValueError
        Lists or shapes that do not fit, a hyper-parameter out of range, a read-only parameter. Nothing has changed then.
    TypeError
        Dtypes that differ or are neither float32 nor float64.

    Examples
    --------
    >>> w, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    >>> adam_update([w], [np.array([0.5])], [m], [v], 1, lr=0.25, eps=0.0); w.round(6)
    array([0.75])
    """
    step = _check_step(step)
    lr, eps, weight_decay = _at_least_zero(lr=lr, eps=eps, weight_decay=weight_decay)
    beta1, beta2 = float(beta1), float(beta2)
    for name, beta in (("beta1", beta1), ("beta2", beta2)):
        if not 0 <= beta < 1:
            raise ValueError(f"{name} must be in [0, 1), got {beta}")
    _check_lists(params, grads=grads, exp_avgs=exp_avgs, exp_avg_sqs=exp_avg_sqs)

    step_size = lr / (1 - beta1**step)
    bias_correction2_sqrt = math.sqrt(1 - beta2**step)
    with np.errstate(all="ignore"):
        for p, g, m, v in zip(params, grads, exp_avgs, exp_avg_sqs):
            if weight_decay:
                g = g + weight_decay * p
            m[...] = m + (1 - beta1) * (g - m)
            v[...] = beta2 * v + (1 - beta2) * g * g
            p[...] = p - step_size * m / (np.sqrt(v) / bias_correction2_sqrt + eps)


def _check_step(step):
    step = operator.index(step)
    if step < 1:
        raise ValueError(f"step must be >= 1, got {step}")
    return step


def _at_least_zero(**values):
    for name, value in values.items():
        if not float(value) >= 0:
            raise ValueError(f"{name} must be >= 0, got {value}")
    return [float(value) for value in values.values()]


def _check_lists(params, **others):
    """Every array of every list fits the parameter of the same place; those that are updated are writable."""
    for name, arrays in {"params": params, **others}.items():
        if not isinstance(arrays, (list, tuple)):
            raise TypeError(f"{name} must be a list of arrays, got {type(arrays).__name__}")
        if len(arrays) != len(params):
            raise ValueError(f"{name} must hold {len(params)} arrays, one for each parameter, got {len(arrays)}")
    for i, p in enumerate(params):
        check_array(p, f"params[{i}]", writable=True)
        for name, arrays in others.items():
            check_array(arrays[i], f"{name}[{i}]", p.dtype, p.shape, writable=name != "grads")
