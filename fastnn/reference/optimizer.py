"""Optimizer updates on lists of arrays: parameters and state change in place, gradients are only read.

Scalars are combined in double and meet the arrays once; arrays stay in their own dtype. `optimizer_update` is the frame that
all optimizers share, and `RULES` holds what each does inside it: the specification of csrc/kernels/optimizer.h.
Learning-rate schedules and parameter groups belong to the caller.
"""

import math
import operator

import numpy as np

from ._check import check_array


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


def adam_update(params, grads, exp_avgs, exp_avg_sqs, step, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0) -> None:
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


# ---- the frame of all optimizers ----


def optimizer_update(w, gradient, states, average, group, lr, scale=1.0):
    """One step of any optimizer on one array, which changes in place with its states and its average.

    Parameters
    ----------
    w, gradient : arrays
    states : tuple of arrays
        Those of the rule.
    average : array or None
        The moving average of w; with a max-norm `limit_norms` updates it.
    group : object
        With the attributes of `fastnn.executors.GroupState`: rule, t (steps done), memory, and the settings by their names.
    lr : float
    scale : float, default 1.0
        What clipping by the global norm multiplies the gradient by.

    Examples
    --------
    >>> from fastnn.executors import GroupState
    >>> w = np.array([1.0, -1.0])
    >>> optimizer_update(w, np.array([0.5, 9.0]), (), None, GroupState("sgd", clip_value=1.0), lr=0.5); w
    array([ 0.75, -1.5 ])
    """
    lr, scale = float(lr), float(scale)  # numbers of NumPy's own would widen float32 arrays
    t, memory = optimizer_progress(group, lr)
    with np.errstate(all="ignore"):
        g = gradient
        if group.maximize or scale != 1.0:
            g = (-scale if group.maximize else scale) * g
        if group.clip_value:
            g = np.clip(g, -group.clip_value, group.clip_value)
        start = w
        decay = 0.0 if group.rule in OWN_DECAY else group.weight_decay
        if decay and group.decoupled_weight_decay:
            start = (1.0 - lr * decay) * w
        elif decay:
            g = g + decay * w
        w[...] = RULES[group.rule](start, g, states, group, lr, t, memory)
        if group.l1:
            threshold = w.dtype.type(lr * group.l1)
            w[...] = np.where(np.abs(w) <= threshold, 0, w - np.copysign(threshold, w))
        if average is not None and not group.max_norm:
            _average(average, w, group)


def limit_norms(w, average, group):
    """The max-norm of a group, behind its update: over all axes but the last of an array with several."""
    with np.errstate(all="ignore"):
        if w.ndim > 1:
            norms = np.sqrt(np.square(w, dtype=np.float64).sum(axis=tuple(range(w.ndim - 1))))
            above = norms > group.max_norm
            factors = np.ones(len(norms), w.dtype)
            factors[above] = group.max_norm / norms[above]
            w[...] = np.where(above, factors * w, w)
        if average is not None:
            _average(average, w, group)


def _average(average, w, group):
    average[...] = w if group.t == 0 else average + (1.0 - group.ema) * (w - average)


def gradient_norm(gradients):
    """The norm of all gradients together, in double.

    Examples
    --------
    >>> gradient_norm([np.array([3.0]), np.array([[4.0]])])
    5.0
    """
    with np.errstate(all="ignore"):
        return math.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in gradients))


def clip_scale(norm, clip_norm):
    """What gradients of this norm are multiplied by; clip_norm 0: nothing is clipped."""
    if not clip_norm:
        return 1.0
    scale = clip_norm / (norm + 1e-6)
    return 1.0 if scale >= 1 else scale


def optimizer_progress(group, lr):
    """(steps, memory) of a group once its next step has been done with the rate lr."""
    t = group.t + 1
    if group.rule == "nadam":
        return t, ((group.memory[0] if group.t else 1.0) * _nadam_mu(group, t), 0.0)
    if group.rule == "schedule_free":
        largest = max(lr * (t / group.warmup_steps if t <= group.warmup_steps else 1.0), group.memory[1])
        return t, (group.memory[0] + t**group.r * largest**group.weight_lr_power, largest)
    return t, (0.0, 0.0)


# Each rule: from the weight, the prepared gradient g and its states, which it changes in place, the new weight. h is the group, with
# its hyper-parameters by name, t the number of the step from 1, and memory the group's after this step.


def _sgd(w, g, states, h, lr, t, memory):
    return w - lr * g


def _velocity(g, states, h, lr, t):
    """(new velocity, factor of the gradient in it, rate)."""
    (v,) = states
    if h.form == "classic":
        share, lr = -lr, -1.0
    elif h.form == "torch":
        share = 1.0 if t == 1 else 1.0 - h.dampening
    else:
        share = 1.0 - h.momentum
        lr = lr / (1.0 - h.momentum**t) if h.form == "corrected" else lr
    v[...] = h.momentum * v + share * g
    return v, share, lr


def _momentum(w, g, states, h, lr, t, memory):
    v, _, lr = _velocity(g, states, h, lr, t)
    return w - lr * v


def _nesterov(w, g, states, h, lr, t, memory):
    v, share, lr = _velocity(g, states, h, lr, t)
    return w - lr * (share * g + h.momentum * v)


def _adagrad(w, g, states, h, lr, t, memory):
    (a,) = states
    a[...] = a + g * g
    return w - lr / (1 + (t - 1) * h.lr_decay) * g / (np.sqrt(a) + h.eps)


def _adadelta(w, g, states, h, lr, t, memory):
    a, b = states
    a[...] = h.rho * a + (1 - h.rho) * g * g
    d = np.sqrt(b + h.eps) / np.sqrt(a + h.eps) * g
    b[...] = h.rho * b + (1 - h.rho) * d * d
    return w - lr * d


def _rmsprop(w, g, states, h, lr, t, memory, centered=False, with_momentum=False):
    a = states[0]
    a[...] = h.alpha * a + (1 - h.alpha) * g * g
    square = a
    if centered:
        c = states[-1]
        c[...] = c + (1 - h.alpha) * (g - c)
        square = np.maximum(a - c * c, 0)
    d = g / (np.sqrt(square) + h.eps)
    if with_momentum:
        b = states[1]
        b[...] = h.momentum * b + d
        d = b
    return w - lr * d


def _moments(g, states, h):
    m, v = states[:2]
    m[...] = m + (1 - h.beta1) * (g - m)
    v[...] = h.beta2 * v + (1 - h.beta2) * g * g
    return m, v


def _adam(w, g, states, h, lr, t, memory):
    m, v = _moments(g, states, h)
    if len(states) > 2:
        states[2][...] = v = np.maximum(states[2], v)
    correction = math.sqrt(1 - h.beta2**t)
    if h.epsilon_hat:
        return w - lr * correction / (1 - h.beta1**t) * m / (np.sqrt(v) + h.eps)
    return w - lr / (1 - h.beta1**t) * m / (np.sqrt(v) / correction + h.eps)


def _nadam_mu(h, t):
    return h.beta1 * (1 - 0.5 * 0.96 ** (t * h.momentum_decay))


def _nadam(w, g, states, h, lr, t, memory):
    m, v = _moments(g, states, h)
    mu, next_mu, product = _nadam_mu(h, t), _nadam_mu(h, t + 1), memory[0]
    n = lr * (1 - mu) / (1 - product) * g + lr * next_mu / (1 - product * next_mu) * m
    return w - n / (np.sqrt(v) / math.sqrt(1 - h.beta2**t) + h.eps)


def _adamax(w, g, states, h, lr, t, memory):
    m, u = states
    m[...] = m + (1 - h.beta1) * (g - m)
    u[...] = np.maximum(h.beta2 * u, np.abs(g) + h.eps)
    return w - lr / (1 - h.beta1**t) * m / u


def _radam(w, g, states, h, lr, t, memory):
    m, v = _moments(g, states, h)
    bc2 = 1 - h.beta2**t
    top = 2 / (1 - h.beta2) - 1
    rho = top - 2 * t * h.beta2**t / bc2
    if rho > 5:
        rectified = math.sqrt((rho - 4) * (rho - 2) * top / ((top - 4) * (top - 2) * rho))
        return w - lr * rectified * math.sqrt(bc2) / (1 - h.beta1**t) * m / (np.sqrt(v) + h.eps)
    return w - lr / (1 - h.beta1**t) * m


def _with_decay(d, w, weight_decay):
    return d + weight_decay * w if weight_decay else d


def _lion(w, g, states, h, lr, t, memory):
    (m,) = states
    d = _with_decay(np.sign(h.beta1 * m + (1 - h.beta1) * g), w, h.weight_decay)
    m[...] = h.beta2 * m + (1 - h.beta2) * g
    return w - lr * d


def _schedule_free(w, g, states, h, lr, t, memory):
    z, v = states
    if t == 1:
        z[...] = w
    if t <= h.warmup_steps:
        lr = lr * t / h.warmup_steps
    weight_sum, largest = memory
    c = t**h.r * largest**h.weight_lr_power / weight_sum if weight_sum else 0.0
    v[...] = h.beta2 * v + (1 - h.beta2) * g * g
    d = _with_decay(g / (np.sqrt(v) / math.sqrt(1 - h.beta2**t) + h.eps), w, h.weight_decay)
    y = w + c * (z - w) - lr * (1 - h.beta1 * (1 - c)) * d
    z[...] = z - lr * d
    return y


def _lamb(w, g, states, h, lr, t, memory):
    m, v = _moments(g, states, h)
    d = _with_decay(m / (1 - h.beta1**t) / (np.sqrt(v) / math.sqrt(1 - h.beta2**t) + h.eps), w, h.weight_decay)
    norm, length = gradient_norm([w]), gradient_norm([d])
    return w - lr * (1.0 if norm == 0 or length == 0 else norm / length) * d


def _adafactor(w, g, states, h, lr, t, memory):
    share, eps = t**h.beta2_decay, np.finfo(w.dtype).eps if h.eps1 < 0 else h.eps1
    length = math.sqrt(w.size)
    rate = max(h.eps2, gradient_norm([w]) / length) * min(lr, 1 / math.sqrt(t))
    if len(states) == 2:
        row, column = states
        row[...] = row + share * (np.square(g).mean(axis=-1, keepdims=True) - row)
        column[...] = column + share * (np.square(g).mean(axis=-2, keepdims=True) - column)
        v = row * column / np.maximum(row.mean(axis=-2, keepdims=True), eps)
    else:
        (v,) = states
        v[...] = v + share * (g * g - v)
    u = g / np.sqrt(np.maximum(v, eps * eps))
    return (1 - lr * h.weight_decay) * w - rate / max(1.0, gradient_norm([u]) / length / h.d) * u


def _muon(w, g, states, h, lr, t, memory):
    if len(states) == 2:  # no matrix: what AdamW does
        m, v = _moments(g, states, h)
        return w - lr / (1 - h.beta1**t) * m / (np.sqrt(v) / math.sqrt(1 - h.beta2**t) + h.adamw_eps)
    (m,) = states
    m[...] = m + (1 - h.momentum) * (g - m)
    u = (g + h.momentum * (m - g) if h.nesterov else m).reshape(-1, w.shape[-1])
    rows, columns = u.shape
    x = (u if rows <= columns else u.T) / max(gradient_norm([u]), h.eps)
    for _ in range(h.ns_steps):
        gram = x @ x.T
        x = h.ns_a * x + (h.ns_b * gram + h.ns_c * (gram @ gram)) @ x
    x = (x if rows <= columns else x.T).reshape(w.shape)
    original = h.adjust_lr_fn == "original"
    return w - lr * (math.sqrt(max(1.0, columns / rows)) if original else 0.2 * math.sqrt(max(rows, columns))) * x


RULES = {
    "sgd": _sgd,
    "momentum": _momentum,
    "nesterov": _nesterov,
    "adagrad": _adagrad,
    "adadelta": _adadelta,
    "rmsprop": _rmsprop,
    "rmsprop_momentum": lambda *a: _rmsprop(*a, with_momentum=True),
    "rmsprop_centered": lambda *a: _rmsprop(*a, centered=True),
    "rmsprop_centered_momentum": lambda *a: _rmsprop(*a, centered=True, with_momentum=True),
    "adam": _adam,
    "amsgrad": _adam,
    "nadam": _nadam,
    "adamax": _adamax,
    "radam": _radam,
    "lion": _lion,
    "schedule_free": _schedule_free,
    "lamb": _lamb,
    "adafactor": _adafactor,
    "muon": _muon,
}
OWN_DECAY = ("lion", "schedule_free", "lamb", "adafactor")  # those in which weights decay as the rule has it


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
