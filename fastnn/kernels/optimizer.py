"""Eager kernels: updates of parameters in place."""

import numpy as np

from .. import _native
from ..core.update_rules import settings_of
from ._check import _at_least_zero, _integer, _number, _own


def sgd_update(params, grads, buffers, step, *, lr, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0) -> None:
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
    params : list of float32 or float64 arrays, C- or F-contiguous
        Updated in place, all of them in one call.
    grads : list of arrays like params, in the same memory layout
    buffers : list of arrays like params, in the same memory layout, or None
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
        Lists, shapes or memory layouts that do not fit, a hyper-parameter out of range, an array that is empty, or one
        that is to be updated and is read-only or overlaps another. Nothing has changed then.
    TypeError
        Dtypes that differ or are neither float32 nor float64.

    Examples
    --------
    >>> w = np.array([1.0]); fastnn.kernels.sgd_update([w], [np.array([0.5])], None, 1, lr=0.1); w
    array([0.95])
    """
    step = _integer(step, "step", 1, 2**63)
    lr, momentum, weight_decay = _at_least_zero(lr=lr, momentum=momentum, weight_decay=weight_decay)
    dampening = _number(dampening, "dampening")
    if nesterov and (momentum == 0 or dampening != 0):
        raise ValueError(f"nesterov: expected momentum > 0 and dampening 0, got momentum {momentum}, dampening {dampening}")
    if momentum == 0 and buffers is not None:
        raise ValueError(f"buffers: expected None when momentum is 0, got {type(buffers).__name__}")
    params, grads, *kept = _check_lists(params, grads, **({"buffers": buffers} if momentum else {}))
    (buffers,) = kept or (None,)
    if momentum and step == 1:
        for buffer in buffers:
            buffer[...] = 0
    states = [(buffer,) for buffer in buffers] if momentum else [()] * len(params)
    rule = "sgd" if momentum == 0 else "nesterov" if nesterov else "momentum"
    hyper = {"momentum": momentum, "dampening": dampening} if momentum else {}
    _update(params, grads, states, lr, step, rule, weight_decay=weight_decay, **hyper)


def adam_update(params, grads, exp_avgs, exp_avg_sqs, step, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0) -> None:
    """Adam.

        g = grad + weight_decay · p
        m = m + (1 - beta1) · (g - m)
        v = beta2 · v + (1 - beta2) · g · g
        p = p - lr / (1 - beta1^step) · m / (√v / √(1 - beta2^step) + eps)

    (Kingma & Ba 2015, algorithm 1; weight decay as an L2 penalty, as in PyTorch's ``torch.optim.Adam``.)

    Parameters
    ----------
    params : list of float32 or float64 arrays, C- or F-contiguous
        Updated in place, all of them in one call.
    grads : list of arrays like params, in the same memory layout
    exp_avgs, exp_avg_sqs : lists of arrays like params, in the same memory layout
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
        Lists, shapes or memory layouts that do not fit, a hyper-parameter out of range, an array that is empty, or one
        that is to be updated and is read-only or overlaps another. Nothing has changed then.
    TypeError
        Dtypes that differ or are neither float32 nor float64.

    Examples
    --------
    >>> w, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    >>> fastnn.kernels.adam_update([w], [np.array([0.5])], [m], [v], 1, lr=0.25, eps=0.0); w.round(6)
    array([0.75])
    """
    step = _integer(step, "step", 1, 2**63)
    lr, eps, weight_decay = _at_least_zero(lr=lr, eps=eps, weight_decay=weight_decay)
    beta1, beta2 = _number(beta1, "beta1"), _number(beta2, "beta2")
    for name, beta in (("beta1", beta1), ("beta2", beta2)):
        if not 0 <= beta < 1:
            raise ValueError(f"{name}: expected a number >= 0 and < 1, got {beta}")
    params, grads, exp_avgs, exp_avg_sqs = _check_lists(params, grads, exp_avgs=exp_avgs, exp_avg_sqs=exp_avg_sqs)
    states, settings = list(zip(exp_avgs, exp_avg_sqs)), {"beta1": beta1, "beta2": beta2, "eps": eps, "weight_decay": weight_decay}
    _update(params, grads, states, lr, step, "adam", **settings)


def _update(params, grads, states, lr, step, rule, **settings):
    names = [f"params[{i}]" for i in range(len(params))]
    state = _native.OptimizerState()
    state.set_progress([(step - 1, (0.0, 0.0))])
    state.compile([(rule, settings_of(rule, **settings))], 1)
    _native.Tensors(list(params), states, [0] * len(params), state, names).step(list(grads), [lr])


def _check_lists(params, grads, **states):
    """The lists, once every array of each fits the parameter of its place; what is updated is writable and shares no memory."""
    for name, arrays in {"params": params, "grads": grads, **states}.items():
        if not isinstance(arrays, (list, tuple)):
            raise TypeError(f"{name}: expected a list of arrays, got {type(arrays).__name__}")
        if len(arrays) != len(params):
            raise ValueError(f"{name}: expected {len(params)} arrays, one for each parameter, got {len(arrays)}")

    def own(arrays, name):
        return [_own(a, f"{name}[{i}]") for i, a in enumerate(arrays)]

    params, grads, states = own(params, "params"), own(grads, "grads"), {name: own(a, name) for name, a in states.items()}
    for i, p in enumerate(params):
        _check_tensor(p, f"params[{i}]", None, True)
        _check_tensor(grads[i], f"grads[{i}]", p, False)
        for name, arrays in states.items():
            _check_tensor(arrays[i], f"{name}[{i}]", p, True)

    # In the order of their addresses an array overlaps another only if it begins before an earlier one ends. Gradients
    # are only read and may be one array.
    spans = []
    for name, arrays in {"params": params, "grads": grads, **states}.items():
        for i, a in enumerate(arrays):
            spans.append((a.__array_interface__["data"][0], a.nbytes, name != "grads", f"{name}[{i}]"))
    end = end_updated = 0
    latest = latest_updated = ""
    for start, size, updated, name in sorted(spans):
        if start < (end if updated else end_updated):
            other = latest if updated else latest_updated
            raise ValueError(f"{name}: expected memory of its own, got an array that overlaps {other}")
        if start + size > end:
            end, latest = start + size, name
        if updated and start + size > end_updated:
            end_updated, latest_updated = start + size, name
    return params, grads, *states.values()


def _check_tensor(a, name, like, updated):
    if like is None:
        if a.dtype not in (np.float32, np.float64) or not a.dtype.isnative:
            raise TypeError(f"{name}: expected dtype float32 or float64, got {a.dtype}")
        if a.size == 0:
            raise ValueError(f"{name}: expected at least one element, got shape {a.shape}")
        if not (a.flags.c_contiguous or a.flags.f_contiguous):
            raise ValueError(f"{name}: expected a contiguous array, got strides {a.strides} for shape {a.shape}")
    else:
        if a.dtype != like.dtype:
            raise TypeError(f"{name}: expected the parameter's dtype {like.dtype}, got {a.dtype}")
        if a.shape != like.shape:
            raise ValueError(f"{name}: expected the parameter's shape {like.shape}, got {a.shape}")
        if not (a.flags.c_contiguous if like.flags.c_contiguous else a.flags.f_contiguous):
            raise ValueError(f"{name}: expected the parameter's memory layout (strides {like.strides}), got {a.strides}")
    if not a.flags.aligned:
        raise ValueError(f"{name}: expected an aligned array, got one that is not")
    if updated and not a.flags.writeable:
        raise ValueError(f"{name}: expected a writable array, got a read-only one")
