"""Optimizers: fused, in-place updates of anybody's NumPy arrays, or of a model's parameters.

An optimizer made from arrays updates them with `step(grads)`; made from a model's parameters and given to a
`fastnn.Trainer`, its update runs inside the training plan. Hyper-parameters, defaults and formulas are PyTorch's.

State lives in the optimizer, one array for each parameter and moment; `state_dict` hands out copies as plain arrays and
numbers.
"""

import math
import numbers
from collections.abc import Iterable

import numpy as np

from . import _native
from .plan import Parameter
from .plan.executors import RULES, GroupState
from .schedules import Clock, Schedule, from_config

__all__ = ["Adam", "Optimizer", "SGD"]


def _number(value, name, least=0.0, below=math.inf):
    """`value` as a float in [least, below)."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not (math.isfinite(value) and least <= value < below):
        limit = f"in [{least:g}, {below:g})" if below < math.inf else f">= {least:g}"
        raise ValueError(f"{name}: expected a finite number {limit}, got {value}")
    return value


def _rate(lr, name="lr"):
    """A learning rate: a number, or a schedule (a callable from the number of steps done to the rate)."""
    return lr if callable(lr) else _number(lr, name)


def _config(lr):
    """The configuration of a schedule; None if a function is, or is in, it."""
    try:
        return lr.config() if isinstance(lr, Schedule) else None
    except TypeError:
        return None


def _kept(mine, loaded):
    """The rate to go on with: `mine`, if it is the same schedule, having learned what the loaded one has; else `loaded`."""
    if mine is loaded or not isinstance(mine, Schedule) or repr(mine) != repr(loaded):
        return loaded
    for a, b in zip(mine.plateaus, loaded.plateaus):
        a.restore(b.config()["state"])
    return mine


def _state_values(value, array, name):
    """`value` as an array that can be copied into `array`."""
    value = np.asarray(value)
    if value.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, got dtype {value.dtype}")
    if value.shape != array.shape:
        raise ValueError(f"{name}: expected shape {array.shape}, got {value.shape}")
    return value


class Optimizer:
    """Base of the optimizers: parameters, groups, states and steps.

    Parameters
    ----------
    params : list, dict, or list of dicts
        Arrays (float32 or float64, writable, C- or F-contiguous) or Parameters; a dict from names to them; or groups:
        dicts with a "params" entry of either kind and hyper-parameters of their own.
    defaults : dict
        Hyper-parameters of the groups that do not say.

    Attributes
    ----------
    param_groups : list of dict
        The groups; hyper-parameters may be changed between steps.
    """

    rule = None  # name of the update rule
    states = ()  # names of the state arrays

    def __init__(self, params, defaults):
        self.defaults = defaults
        self.param_groups = []
        self._structure = []  # for each group: None for a list, or the tuple of keys
        self._grouped = isinstance(params, (list, tuple)) and bool(params) and all(
            isinstance(p, dict) for p in params
        )
        if isinstance(params, (np.ndarray, Parameter)):
            raise TypeError("params: expected a list or dict of arrays, got a single one; write [array]")
        if not isinstance(params, Iterable):
            raise TypeError(f"params: expected a list or dict of arrays, got {type(params).__name__}")
        for i, group in enumerate(params if self._grouped else [{"params": params}]):
            if "params" not in group:
                raise ValueError(f"params[{i}]: expected a group with an entry 'params', got keys {sorted(group)}")
            unknown = set(group) - set(defaults) - {"params"}
            if unknown:
                raise ValueError(f"params[{i}]: unknown hyper-parameters {sorted(unknown)}; known are {sorted(defaults)}")
            self._add(dict(group), f"params[{i}]" if self._grouped else "params")
        if not self._params:
            raise ValueError("params: expected at least one array, got none")
        self._check_apart()
        self._state = [
            tuple(self._new_state(p) for _ in self._state_names(self.param_groups[g]))
            for p, g in zip(self._params, self._group_of)
        ]
        self._steps = [0] * len(self.param_groups)
        self._tensors = None
        self._synced = None  # (tensors, groups): what was handed over last
        self._constant = None  # the rates, where all are numbers
        self._ahead = {}  # for each group with a schedule: (schedule, first step, rates from there)

    # ---- what a subclass says ----

    def _check_group(self, group):
        """Raise if a hyper-parameter of the group is out of range."""
        raise NotImplementedError

    def _group_state(self, group):
        """The group as a GroupState, without its steps."""
        raise NotImplementedError

    def _state_names(self, group):
        """The state arrays that the group's parameters need."""
        return self.states

    # ---- construction ----

    _params = _names = _group_of = _objects = ()

    def _add(self, group, name):
        params = group.pop("params")
        if isinstance(params, dict):
            keys, values = tuple(params), list(params.values())
            names = [f"{name}[{k!r}]" for k in keys]
        else:
            if isinstance(params, (np.ndarray, Parameter)):
                raise TypeError(f"{name}: expected a list or dict of arrays, got a single one; write [array]")
            if not isinstance(params, Iterable):
                raise TypeError(f"{name}: expected a list or dict of arrays, got {type(params).__name__}")
            keys, values = None, list(params)
            names = [f"{name}[{i}]" for i in range(len(values))]
        arrays = [self._check_param(v, n) for v, n in zip(values, names)]
        group = {**self.defaults, **group}
        self._check_group(group)
        number = len(self.param_groups)
        self.param_groups.append({"params": values, **group})
        self._structure.append(keys)
        self._params = [*self._params, *arrays]
        self._objects = [*self._objects, *values]
        self._names = [*self._names, *names]
        self._group_of = [*self._group_of, *[number] * len(arrays)]

    @staticmethod
    def _check_param(p, name):
        if isinstance(p, Parameter):
            return p.data
        if not isinstance(p, np.ndarray):
            raise TypeError(f"{name}: expected a NumPy array or a Parameter, got {type(p).__name__}")
        if p.dtype not in (np.float32, np.float64) or not p.dtype.isnative:
            raise TypeError(f"{name}: expected dtype float32 or float64, got {p.dtype.str if p.dtype.kind == 'f' else p.dtype}")
        if p.size == 0:
            raise ValueError(f"{name}: expected at least one element, got shape {p.shape}")
        if not (p.flags.c_contiguous or p.flags.f_contiguous):
            raise ValueError(f"{name}: expected a C- or F-contiguous array, got strides {p.strides} for shape {p.shape}")
        if not p.flags.aligned:
            raise ValueError(f"{name}: expected an aligned array, got one that is not")
        if not p.flags.writeable:
            raise ValueError(f"{name}: expected a writable array, got a read-only one")
        return p

    def _check_apart(self):
        """No two parameters may share memory: they would be updated twice."""
        spans = sorted((p.__array_interface__["data"][0], p.nbytes, n) for p, n in zip(self._params, self._names))
        for (begin, size, a), (other, _, b) in zip(spans, spans[1:]):
            if other < begin + size:
                raise ValueError(f"{b}: expected memory of its own, got an array that overlaps {a}")

    @staticmethod
    def _new_state(p):
        state = _native.aligned_zeros(p.shape[::-1] if p.flags.f_contiguous else p.shape, p.dtype)
        return state.T if p.flags.f_contiguous else state

    # ---- stepping ----

    def _flatten(self, grads):
        """The gradients as a flat list, once their structure is the parameters'."""
        if self._grouped and isinstance(grads, (list, tuple)) and all(isinstance(g, (list, tuple, dict)) for g in grads):
            if len(grads) != len(self.param_groups):
                raise ValueError(f"grads: expected {len(self.param_groups)} groups, got {len(grads)}")
            flat = []
            for i, (g, keys, group) in enumerate(zip(grads, self._structure, self.param_groups)):
                flat += self._flatten_one(g, keys, len(group["params"]), f"grads[{i}]")
            return flat
        if self._grouped:
            return self._flatten_one(grads, None, len(self._params), "grads")
        return self._flatten_one(grads, self._structure[0], len(self._params), "grads")

    @staticmethod
    def _flatten_one(grads, keys, count, name):
        if keys is not None:
            if not isinstance(grads, dict) or set(grads) != set(keys):
                got = sorted(map(str, grads)) if isinstance(grads, dict) else type(grads).__name__
                raise ValueError(f"{name}: expected a dict with the parameters' keys {sorted(map(str, keys))}, got {got}")
            return [grads[k] for k in keys]
        if not isinstance(grads, (list, tuple)):
            raise TypeError(f"{name}: expected a list of arrays, got {type(grads).__name__}")
        if len(grads) != count:
            raise ValueError(f"{name}: expected {count} gradients, one for each parameter, got {len(grads)}")
        return list(grads)

    def group_states(self):
        """The groups' hyper-parameters and steps as the executors take them."""
        states = []
        for i, g in enumerate(self.param_groups):
            self._check_group(g)
            states.append(self._group_state(g)._replace(t0=self._steps[i]))
        self._constant = None if self.has_schedule else [float(g["lr"]) for g in self.param_groups]
        return states

    def sync(self, tensors):
        """Hand the hyper-parameters to compiled tensors, checked and converted only if something has changed since."""
        if self._synced is None or self._synced[0] is not tensors or self._synced[1] != self.param_groups:
            for i, g in enumerate(self.group_states()):
                tensors.set_group(i, RULES[g.rule], *g[1:])
            self._synced = (tensors, [dict(g) for g in self.param_groups])
        else:
            tensors.set_steps(self._steps)

    @property
    def has_schedule(self):
        """Whether a rate depends on the step."""
        return any(callable(g["lr"]) for g in self.param_groups)

    def rates(self):
        """The learning rate of each group for the next step. Call it after `sync`, or `group_states`."""
        if self._constant is not None:
            return self._constant
        return [
            _number(self._next_rate(i, g["lr"]), "lr(step)") if callable(g["lr"]) else float(g["lr"])
            for i, g in enumerate(self.param_groups)
        ]

    def _next_rate(self, i, lr):
        step = self._steps[i]
        if not isinstance(lr, Schedule):
            return lr(step)
        held, first, rates = self._ahead.get(i, (None, 0, ()))
        if held is not lr or not first <= step < first + len(rates):
            if lr.plateaus:
                return lr(step)
            first, rates = step, lr.table(step, 64).tolist()  # one by one they would cost as much as a small update
            self._ahead[i] = (lr, first, rates)
        return rates[step - first]

    def rate_table(self, steps, epoch=None):
        """The learning rates of the next steps.

        Parameters
        ----------
        steps : int
        epoch : (int, int, int), optional
            For schedules that count epochs: the epoch's number, its steps that are done, and its steps in all.

        Returns
        -------
        numpy.ndarray
            float64 [steps, groups].

        Raises
        ------
        TypeError, ValueError
            If a schedule gives what is no rate.
        """
        rates = np.empty((steps, len(self.param_groups)))
        for i, (g, t) in enumerate(zip(self.param_groups, self._steps)):
            lr = g["lr"]
            if isinstance(lr, Schedule):
                clock = None if epoch is None else Clock(t - epoch[1], epoch[0], epoch[2])
                rates[:, i] = lr.table(t, steps, clock)
                fine = np.isfinite(rates[:, i]) & (rates[:, i] >= 0)
                if not fine.all():
                    _number(float(rates[np.argmin(fine), i]), "lr(step)")
            else:
                rates[:, i] = [_number(lr(t + k), "lr(step)") for k in range(steps)] if callable(lr) else float(lr)
        return rates

    @property
    def plateaus(self):
        """The groups' `schedules.ReduceOnPlateau`, each once."""
        found = {id(p): p for g in self.param_groups if isinstance(g["lr"], Schedule) for p in g["lr"].plateaus}
        return tuple(found.values())

    def advance(self, steps):
        """Note that an executor has done `steps` steps."""
        self._steps = [t + steps for t in self._steps]

    def update_tensors(self):
        """For a plan: (parameter as given, its state arrays, its group) of each parameter."""
        return tuple(zip(self._objects, self._state, self._group_of))

    def step(self, grads, clip_norm=None):
        """Update all parameters once, in place.

        Parameters
        ----------
        grads : list, dict, or list of either
            One array for each parameter, in the structure in which the parameters were given (for groups, a list with an
            entry for each group, or one flat list), with the parameter's dtype, shape and memory layout. Only read.
        clip_norm : float, optional
            Scale the gradients as if by min(1, clip_norm / (norm + 1e-6)), norm being that of all gradients together.

        Returns
        -------
        float or None
            The gradients' global norm before clipping, if `clip_norm` is given.

        Raises
        ------
        TypeError, ValueError
            If the structure, a dtype, a shape, a layout or a hyper-parameter does not fit. Nothing has changed then.
        """
        flat = self._flatten(grads)
        if clip_norm is not None:
            clip_norm = _number(clip_norm, "clip_norm")
            if clip_norm == 0:
                raise ValueError("clip_norm: expected a number > 0, got 0")
        if self._tensors is None:
            self._tensors = _native.Tensors(
                self._params, self._state, self._group_of, len(self.param_groups), self._names
            )
        self.sync(self._tensors)
        norm = self._tensors.step(flat, self.rates(), clip_norm or 0.0)
        self.advance(1)
        return None if clip_norm is None else norm

    # ---- state ----

    def __getstate__(self):
        """Everything but the pointers, which are found again when they are needed."""
        return {**self.__dict__, "_tensors": None, "_synced": None, "_ahead": {}}

    def state_dict(self):
        """A plain dict of copies: {"optimizer": name, "groups": [hyper-parameters and "steps"], "state": [arrays by name]}.

        Examples
        --------
        >>> w = np.ones(2); opt = optim.Adam([w])
        >>> opt.step([np.ones(2)])
        >>> opt.state_dict()["state"][0]["exp_avg"]
        array([0.1, 0.1])
        """
        groups = [
            {**{k: v for k, v in g.items() if k != "params"}, "steps": t} for g, t in zip(self.param_groups, self._steps)
        ]
        for g in groups:
            if callable(g["lr"]):
                config = _config(g.pop("lr"))
                if config is not None:  # functions are code: they are not state
                    g["lr"] = config
        state = [
            {name: s.copy(order="K") for name, s in zip(self._state_names(self.param_groups[i]), states)}
            for i, states in zip(self._group_of, self._state)
        ]
        return {"optimizer": type(self).__name__, "groups": groups, "state": state}

    def load_state_dict(self, state_dict):
        """Take over what `state_dict` gave: arrays are copied into this optimizer's own.

        Raises
        ------
        TypeError, ValueError
            If it is of another optimizer, or groups, names, shapes or kinds differ. Nothing has changed then.
        """
        name = type(self).__name__
        try:
            kind, groups, state = state_dict["optimizer"], state_dict["groups"], state_dict["state"]
        except (KeyError, TypeError):
            raise ValueError("state_dict: expected a dict with 'optimizer', 'groups' and 'state'") from None
        if kind != name:
            raise ValueError(f"state_dict: expected the state of {name}, got that of {kind!r}")
        for key, value in (("groups", groups), ("state", state)):
            if not isinstance(value, (list, tuple)) or not all(isinstance(v, dict) for v in value):
                raise ValueError(f"state_dict[{key!r}]: expected a list of dicts, got {value!r:.60}")
        if len(groups) != len(self.param_groups) or len(state) != len(self._params):
            raise ValueError(
                f"state_dict: expected {len(self.param_groups)} groups and {len(self._params)} parameters, "
                f"got {len(groups)} and {len(state)}"
            )
        known = set(self.defaults) | {"steps"}
        new_groups = []
        for i, (g, mine) in enumerate(zip(groups, self.param_groups)):
            if set(g) - known or "steps" not in g:
                raise ValueError(f"state_dict['groups'][{i}]: expected entries {sorted(known)}, got {sorted(g)}")
            merged = {**mine, **{k: v for k, v in g.items() if k != "steps"}}
            if isinstance(merged["lr"], dict):
                merged["lr"] = from_config(merged["lr"])
            self._check_group(merged)
            if set(self._state_names(merged)) != set(self._state_names(mine)):
                raise ValueError(f"state_dict['groups'][{i}]: expected hyper-parameters with the states of this optimizer's")
            steps = g["steps"]
            if isinstance(steps, bool) or not isinstance(steps, numbers.Integral) or not 0 <= steps < 2**63:
                raise ValueError(f"state_dict['groups'][{i}]['steps']: expected an integer from 0 to 2**63 - 1, got {steps!r}")
            new_groups.append((merged, int(g["steps"])))
        new_state = []
        for i, (s, arrays, n) in enumerate(zip(state, self._state, self._group_of)):
            names = self._state_names(self.param_groups[n])
            if set(s) != set(names):
                raise ValueError(f"state_dict['state'][{i}]: expected entries {sorted(names)}, got {sorted(s)}")
            new_state.append([_state_values(s[key], array, f"state_dict['state'][{i}][{key!r}]") for key, array in zip(names, arrays)])
        for mine, (merged, _) in zip(self.param_groups, new_groups):
            mine.update(merged, lr=_kept(mine["lr"], merged["lr"]))
        self._steps = [steps for _, steps in new_groups]
        for values, arrays in zip(new_state, self._state):
            for value, array in zip(values, arrays):
                array[...] = value

    def __repr__(self):
        g = self.param_groups[0]
        settings = ", ".join(f"{k}={v!r}" for k, v in g.items() if k != "params")
        return f"{type(self).__name__}({len(self._params)} parameters, {settings})"


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum and Nesterov's variant.

        g  = gradient + weight_decay * w
        v  = g                                       in the first step
        v  = momentum * v + (1 - dampening) * g      later
        d  = g + momentum * v  if nesterov, else v   (d = g without momentum)
        w -= lr * d

    Polyak 1964; Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013. This is
    PyTorch's form, in which lr multiplies the velocity when it is used; Sutskever's (and Keras's) puts lr into the
    velocity, which differs while the rate changes.

    When to choose it: with momentum and a tuned, decaying rate, for the last bit of generalisation; without, as the
    baseline that everything is compared with.

    Parameters
    ----------
    params : list, dict, or list of dicts
        See `Optimizer`.
    lr : float or callable, default 1e-3
        The rate, or a schedule from the number of steps done to it.
    momentum : float, default 0
        At least 0.
    dampening : float, default 0
    weight_decay : float, default 0
        L2 penalty, added to the gradient. At least 0.
    nesterov : bool, default False
        Needs momentum, and no dampening.

    Examples
    --------
    >>> w = np.array([1.0, 2.0], np.float32)
    >>> opt = optim.SGD([w], lr=0.5)
    >>> opt.step([np.array([1.0, -1.0], np.float32)]); w
    array([0.5, 2.5], dtype=float32)
    """

    rule = "sgd"
    states = ("momentum_buffer",)

    def __init__(self, params, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
            },
        )
        self._with_momentum = [g["momentum"] != 0 for g in self.param_groups]

    def _check_group(self, g):
        _rate(g["lr"])
        momentum = _number(g["momentum"], "momentum")
        dampening = _number(g["dampening"], "dampening", -math.inf)
        _number(g["weight_decay"], "weight_decay")
        if g["nesterov"] and (momentum == 0 or dampening != 0):
            raise ValueError(
                f"nesterov: expected a momentum > 0 and no dampening with it, got momentum {momentum}, dampening {dampening}"
            )

    def _group_state(self, g):
        return GroupState("sgd", g["momentum"], g["dampening"], 0.0, g["weight_decay"], bool(g["nesterov"]))

    def _state_names(self, group):
        return self.states if group["momentum"] != 0 else ()

    def group_states(self):
        for i, (g, had) in enumerate(zip(self.param_groups, self._with_momentum)):
            if (g["momentum"] != 0) != had:
                raise ValueError(
                    f"momentum: expected to stay {'above' if had else 'at'} 0 in group {i}, got {g['momentum']}; "
                    "make a new optimizer to switch it"
                )
        return super().group_states()


class Adam(Optimizer):
    """Adam: steps scaled by running averages of the gradient and of its square.

        g  = gradient + weight_decay * w
        m += (1 - beta1) (g - m)
        v  = beta2 v + (1 - beta2) g²
        w -= lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)

    D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1. As in PyTorch the weight decay
    is coupled (part of the gradient); Keras's Adam is the same but for its eps of 1e-7.

    When to choose it: first, for almost anything; it is forgiving of the rate and of badly scaled inputs.

    Parameters
    ----------
    params : list, dict, or list of dicts
        See `Optimizer`.
    lr : float or callable, default 1e-3
        The rate, or a schedule from the number of steps done to it.
    betas : pair of float, default (0.9, 0.999)
        Decay of the two averages, each in [0, 1).
    eps : float, default 1e-8
        Added to the denominator. At least 0.
    weight_decay : float, default 0
        L2 penalty, added to the gradient. At least 0.

    Examples
    --------
    >>> w = np.array([1.0, 2.0], np.float32)
    >>> opt = optim.Adam([w], lr=0.1)
    >>> opt.step([np.array([1.0, -1.0], np.float32)]); w.round(4)
    array([0.9, 2.1], dtype=float32)
    """

    rule = "adam"
    states = ("exp_avg", "exp_avg_sq")

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _check_group(self, g):
        _rate(g["lr"])
        try:
            beta1, beta2 = g["betas"]
        except (TypeError, ValueError):
            raise ValueError(f"betas: expected a pair of numbers, got {g['betas']!r}") from None
        # a tuple of its own: a list that changes in place would go unnoticed by `sync`
        g["betas"] = (_number(beta1, "betas[0]", 0.0, 1.0), _number(beta2, "betas[1]", 0.0, 1.0))
        _number(g["eps"], "eps")
        _number(g["weight_decay"], "weight_decay")

    def _group_state(self, g):
        return GroupState("adam", *g["betas"], g["eps"], g["weight_decay"])
