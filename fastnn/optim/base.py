"""Optimizer: what all optimizers have in common, their parameters, groups, options, states and steps."""

import contextlib
import numbers
import pickle
from collections.abc import Iterable, Mapping
from copy import deepcopy

import numpy as np

from .. import _native
from ..core.parameter import Parameter
from ..plan.builder import Update
from ..executors import RULES, GroupState
from ..schedules import Clock, Schedule, from_config
from . import checks

# Options of every optimizer that each group may have for itself: default and check.
_OPTIONS = {
    "maximize": (False, checks.flag),
    "l1": (0.0, checks.number),
    "clip_value": (None, checks.positive),
    "max_norm": (None, checks.positive),
    "ema": (None, checks.share),
}
_SWITCHES = ("max_norm", "ema")


def _state_values(value, array, name):
    """`value` as an array that can be copied into `array`."""
    value = np.asarray(_native.plain(value, name))
    if value.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, got dtype {value.dtype}")
    if value.shape != array.shape and (value.size or array.size):  # lists of nothing have lost their shape
        raise ValueError(f"{name}: expected shape {array.shape}, got {value.shape}")
    return value.reshape(array.shape)


def _state_dict(given):
    """A state as a dict of lists, numbers and strings, also where `np.savez` has made arrays of them."""
    if not isinstance(given, Mapping):
        return given
    found = {k: given[k] for k in given}
    return {k: v.tolist() if isinstance(v, np.ndarray) and (v.ndim == 0 or v.dtype == object) else v for k, v in found.items()}


def _label(key):
    """A parameter's key as JSON can hold it."""
    return key if isinstance(key, (str, int)) else str(key)


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


def _never(grads):
    return False


class Optimizer:
    """Base of the optimizers: parameters, groups, options, states and steps.

    Every optimizer takes these options, by keyword. Each array is passed over once, whatever is asked for, unless it says
    otherwise; what is not asked for touches nothing.

        g  = gradient, -gradient if maximize
        g *= min(1, clip_norm / (norm of all gradients together + 1e-6))       with step(grads, clip_norm=), two passes
        g  = g within [-clip_value, clip_value]
        g += weight_decay * w, or w *= 1 - lr * weight_decay if decoupled
        the optimizer's own formula makes a new w of w and g
        w  = sign(w) max(|w| - lr * l1, 0)
        w  = w min(1, max_norm / norm) for every unit of w                    a pass of its own
        average += (1 - ema) (w - average)

    Parameters
    ----------
    params : list, dict, or list of dicts
        Arrays (float32 or float64, writable, C- or F-contiguous, of any number of dimensions, 0 included) or Parameters; a
        dict from names to them; or groups: dicts with a "params" entry of either kind and hyper-parameters of their own.
        Other entries of a group ("name", say) are kept, in its state too.
    defaults : dict
        Hyper-parameters of the groups that do not say.
    options : dict
        These, all but the last may also stand in a group:

        maximize : bool, default False
            Ascend in place of descending.
        decoupled_weight_decay : bool, default False
            Let the weights decay by themselves, as in AdamW (Loshchilov and Hutter 2019). For optimizers whose
            `weight_decay` is an L2 penalty by default.
        l1 : float, default 0
            L1 penalty, by a proximal step behind the update, so that exact zeros appear; together with `weight_decay` an
            elastic net (Zou and Hastie 2005). At least 0.
        clip_value : float, optional
            Gradients are clipped to [-clip_value, clip_value]. Above 0.
        max_norm : float, optional
            The largest norm of a unit: of a column of a [in, out] weight, that is, over all axes but the last (Srebro and
            Shraibman 2005; Hinton et al. 2012). Arrays of one axis have no units. Above 0.
        ema : float, optional
            Keep an exponential moving average of the weights, of this decay (Polyak and Juditsky 1992); it starts from the
            weights after the first step. Between 0 and 1. See `averaged`.
        skip_nonfinite : bool, default False
            Leave out a step, and count it in `skipped`, if the norm of all gradients together is not finite.

    Attributes
    ----------
    param_groups : tuple of dict
        The groups; hyper-parameters may be changed between steps.
    skipped : int
        Steps that were left out.
    """

    rule = None  # name of the compiled rule (csrc/defs/kernels.def)
    states = ()  # names of the state arrays, in the rule's order
    hyper = ()  # names of the hyper-parameters that the rule takes, in its order
    memory = ()  # names of the numbers that a group keeps from step to step
    checks = {}  # name of a hyper-parameter -> function(value, name) that returns the value to keep, or raises
    switches = ()  # hyper-parameters that say which states there are: they stay off, or on
    decay = "option"  # weight_decay: L2 or by the option decoupled; "decoupled"; or "own": the rule does it
    elementwise = True  # no element's update depends on another element

    def __init__(self, params, defaults, options=None):
        self._defaults(defaults, options or {})
        self.param_groups = ()
        if isinstance(params, (np.ndarray, Parameter)):
            raise TypeError("params: expected a list or dict of arrays, got a single one; write [array]")
        owner = callable(getattr(params, "parameters", None))
        if owner or not isinstance(params, Iterable):
            hint = "; write model.parameters()" if owner else ""
            raise TypeError(f"params: expected a list or dict of arrays, got {type(params).__name__}{hint}")
        params = params if isinstance(params, dict) else list(params)
        self._grouped = isinstance(params, list) and bool(params) and all(isinstance(p, dict) for p in params)
        self._structure = []  # for each group: None for a list, or the tuple of keys
        self._params, self._names, self._group_of, self._objects = [], [], [], []
        self._state, self._averages = [], []  # for each parameter: a tuple of arrays; an array or None
        self._steps, self._memory = [], []  # for each group
        self.skipped = 0
        self._tensors = None
        self._synced = None  # the tensors that were handed the groups last
        self._version = None  # of the settings that they were handed
        self._rated = None  # and of the rates
        self._constant = None  # the rates, where all are numbers
        self._ahead = {}  # for each group with a schedule: (schedule, first step, rates from there)
        self._quick = _never  # does a plain step, if nothing has changed
        self._averages_stand = _native.Exchange()  # whether the averages stand in the parameters
        self.structure = 0  # a number that changes with the parameters
        groups = params if self._grouped else [{"params": params}]
        self._add([(g, f"params[{i}]" if self._grouped else "params") for i, g in enumerate(groups)])
        if not self._params:
            raise ValueError("params: expected at least one array, got none")

    # ---- what a subclass may say in its own way ----

    def _check_group(self, group):
        """Normalise the group's hyper-parameters in place, or raise."""
        for name, check in self._checks.items():
            value = group[name]
            kept = check(value, name)
            if kept is not value:
                group[name] = kept

    def _rule(self, group):
        """Name of the compiled rule for the group."""
        return self.rule

    def _hyper(self, group):
        """The rule's hyper-parameters as a tuple of floats."""
        return tuple(float(group[name]) for name in self.hyper)

    def _state_names(self, group):
        """The state arrays that the group's parameters need."""
        return self.states

    def _initial(self, name, group):
        """What a state array is filled with."""
        return 0.0

    def weight_states(self):
        """The arrays, besides the parameters, that say what the weights to evaluate with are: moving averages."""
        return [a for a in self._averages if a is not None]

    def evaluating(self):
        """A context in which the parameters are those to evaluate, where they differ from those that are trained."""
        return contextlib.nullcontext()

    # ---- construction ----

    def _defaults(self, defaults, options):
        known = {name: value for name, (value, _) in _OPTIONS.items()}
        self._checks = {"lr": checks.rate, "weight_decay": checks.number, **self.checks}
        self._checks.update({name: check for name, (_, check) in _OPTIONS.items()})
        if self.decay == "option":
            known["decoupled_weight_decay"] = False
            self._checks["decoupled_weight_decay"] = checks.flag
        unknown = sorted(set(options) - set(known) - {"skip_nonfinite"})
        if unknown:
            hint = checks.instead(unknown, {**defaults, **known, "skip_nonfinite": False})
            if "clip_norm" in unknown:
                hint += "; clip_norm is an argument of step, and of a Trainer"
            options = sorted([*known, "skip_nonfinite"])
            raise TypeError(f"{type(self).__name__}: unknown arguments {unknown}{hint}; options are {options}")
        self._skip_nonfinite = checks.flag(options.get("skip_nonfinite", False), "skip_nonfinite")
        self.defaults = {**defaults, **known, **{k: v for k, v in options.items() if k != "skip_nonfinite"}}
        self._checks = {name: check for name, check in self._checks.items() if name in self.defaults}

    def _add(self, groups):
        """Add groups, given as (dict, name for messages), or none of them if one does not fit."""
        params, names, group_of, objects = list(self._params), list(self._names), list(self._group_of), list(self._objects)
        new, structure = [], []
        for group, name in groups:
            if "params" not in group:
                raise ValueError(f"{name}: expected a group with an entry 'params', got keys {sorted(group)}")
            self._check_own(group, name)
            keys, values, labels = self._listed(group["params"], name)
            params += [self._check_param(v, n) for v, n in zip(values, labels)]
            merged = {**self.defaults, **group, "params": tuple(values)}
            self._check_group(merged)
            objects += values
            names += labels
            group_of += [len(self.param_groups) + len(new)] * len(values)
            new.append(merged)
            structure.append(keys)
        self._check_apart(params, names)
        first = len(self._params)
        states, averages = [], []
        for p, i in zip(params[first:], group_of[first:]):
            group = new[i - len(self.param_groups)]
            states.append(tuple(self._new_state(p, self._initial(n, group)) for n in self._state_names(group)))
            averages.append(None if group["ema"] is None else self._new_state(p))
            if averages[-1] is not None:
                averages[-1][...] = p
        self._params, self._names, self._group_of, self._objects = params, names, group_of, objects
        self._state += states
        self._averages += averages
        self._steps += [0] * len(new)
        self._memory += [(0.0, 0.0)] * len(new)
        self._structure += structure
        self.param_groups += tuple(_native.Settings(g) for g in new)
        self._had = [[bool(g[s]) for s in (*self.switches, *_SWITCHES)] for g in self.param_groups]
        self.structure += 1

    def _check_own(self, group, name):
        """A group may have entries of its user's own, but none that looks like a hyper-parameter."""
        own = [k for k in group if k not in self.defaults and k != "params"]
        if not own:
            return
        every = {"lr", "weight_decay", "decoupled_weight_decay", "skip_nonfinite", "clip_norm", *_OPTIONS}
        every.update(name for kind in Optimizer.__subclasses__() for name in kind.checks)
        unknown = sorted(k for k in own if isinstance(k, str) and (k in every or checks.nearest(k, self.defaults, 0.85)))
        if unknown:
            hint = checks.instead(unknown, self.defaults)
            raise ValueError(f"{name}: unknown hyper-parameters {unknown}{hint}; known are {sorted(self.defaults)}")

    @staticmethod
    def _listed(params, name):
        """(keys or None, values, names for messages) of a list or dict."""
        if isinstance(params, dict):
            items = list(params.items())
            return tuple(k for k, _ in items), [v for _, v in items], [f"{name}[{k!r}]" for k, _ in items]
        if isinstance(params, (np.ndarray, Parameter)):
            raise TypeError(f"{name}: expected a list or dict of arrays, got a single one; write [array]")
        if not isinstance(params, Iterable):
            raise TypeError(f"{name}: expected a list or dict of arrays, got {type(params).__name__}")
        values = list(params)
        return None, values, [f"{name}[{i}]" for i in range(len(values))]

    @staticmethod
    def _check_param(p, name):
        if isinstance(p, Parameter):
            return p.data
        if not issubclass(type(p), np.ndarray):
            raise TypeError(f"{name}: expected a NumPy array or a Parameter, got {type(p).__name__}")
        given, p = p, np.asarray(_native.plain(p, name))  # a subclass may say what it likes
        if p.dtype not in (np.float32, np.float64) or not p.dtype.isnative:
            raise TypeError(f"{name}: expected dtype float32 or float64, got {p.dtype.str if p.dtype.kind == 'f' else p.dtype}")
        if not (p.flags.c_contiguous or p.flags.f_contiguous):
            raise ValueError(f"{name}: expected a C- or F-contiguous array, got strides {p.strides} for shape {p.shape}")
        if not p.flags.aligned:
            raise ValueError(f"{name}: expected an aligned array, got one that is not")
        if not p.flags.writeable:
            raise ValueError(f"{name}: expected a writable array, got a read-only one")
        return given

    @staticmethod
    def _check_apart(params, names):
        """No two parameters may share memory: they would be updated twice."""
        arrays = [np.asarray(p) for p in params]
        spans = sorted((p.__array_interface__["data"][0], p.nbytes, n) for p, n in zip(arrays, names) if p.size)
        for (begin, size, a), (other, _, b) in zip(spans, spans[1:]):
            if other < begin + size:
                raise ValueError(f"{b}: expected memory of its own, got an array that overlaps {a}")

    @staticmethod
    def _new_state(p, value=0.0):
        p = np.asarray(p)
        state = _native.aligned_zeros(p.shape[::-1] if p.flags.f_contiguous else p.shape, p.dtype)
        if value:
            state[...] = value
        return state.T if p.flags.f_contiguous else state

    def add_param_group(self, group):
        """Add parameters, with hyper-parameters of their own; they begin with step 1.

        Parameters
        ----------
        group : dict
            As in a list of groups: "params" and hyper-parameters. From then on `step` takes gradients as for groups.

        Raises
        ------
        TypeError, ValueError
            As when the optimizer is made. Nothing has changed then.

        Examples
        --------
        >>> w, v = np.ones(2), np.ones(2)
        >>> opt = optim.SGD([w], lr=0.5)
        >>> opt.add_param_group({"params": [v], "lr": 0.25})
        >>> opt.step([[np.ones(2)], [np.ones(2)]]); w, v
        (array([0.5, 0.5]), array([0.75, 0.75]))
        """
        if not isinstance(group, dict):
            raise TypeError(f"group: expected a dict, got {type(group).__name__}")
        self._refuse_now()
        self._unready()
        self._add([(group, f"params[{len(self.param_groups)}]")])
        self._grouped = True

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

    def _refuse_while_swapped(self, what):
        if self._averages_stand.made:
            raise RuntimeError(f"{what}: the averages stand in the parameters: call swap_ema() first")

    def _refuse_now(self):
        """Raise RuntimeError where the parameters do not hold what is trained."""
        self._refuse_while_swapped("step")

    def _check_switches(self):
        names = (*self.switches, *_SWITCHES)
        for i, (g, had) in enumerate(zip(self.param_groups, self._had)):
            for name, was in zip(names, had):
                value = g[name]
                if bool(value) != was:
                    stay = ("on" if was else "off") if isinstance(value, bool) else f"{'above' if was else 'at'} 0"
                    if name in _SWITCHES:
                        stay = "a number" if was else "None"
                    raise ValueError(
                        f"{name}: expected to stay {stay} in group {i}, got {value}; make a new optimizer to switch it"
                    )

    def _check_entries(self, i, g):
        """A group has the entries and the parameters that it had."""
        if not g.keys() >= self.defaults.keys() | {"params"}:
            entries = sorted([*self.defaults, "params"])
            raise ValueError(f"param_groups[{i}]: expected the entries {entries}, got {sorted(map(str, g))}")
        self._check_own(g, f"param_groups[{i}]")
        mine = [p for p, number in zip(self._objects, self._group_of) if number == i]
        given = g["params"]
        if not isinstance(given, (list, tuple)) or len(given) != len(mine) or any(a is not b for a, b in zip(given, mine)):
            raise ValueError(
                f"param_groups[{i}]['params']: expected the parameters that it had, got others; add_param_group adds more"
            )

    def group_states(self):
        """The groups' hyper-parameters and progress as the executors take them."""
        self._refuse_now()
        self._pull()
        states = []
        for i, g in enumerate(self.param_groups):
            self._check_entries(i, g)
            self._check_group(g)
        self._check_switches()
        for g, t, memory in zip(self.param_groups, self._steps, self._memory):
            states.append(
                GroupState(
                    self._rule(g),
                    self._hyper(g),
                    weight_decay=0.0 if self.decay == "own" else g["weight_decay"],
                    decoupled=self.decay == "decoupled" or g.get("decoupled_weight_decay", False),
                    maximize=g["maximize"],
                    l1=g["l1"],
                    clip_value=g["clip_value"] or 0.0,
                    max_norm=g["max_norm"] or 0.0,
                    ema=g["ema"] or 0.0,
                    t=t,
                    memory=memory,
                )
            )
        self._read_rates()
        return states

    def _read_rates(self):
        """The groups' rates, checked."""
        for g in self.param_groups:
            value = g["lr"]
            kept = checks.rate(value)
            if kept is not value:
                g["lr"] = kept
        self._constant = None if self.has_schedule else [g["lr"] for g in self.param_groups]
        self._rated = _native.rates_version()

    def sync(self, tensors):
        """Hand the groups to compiled tensors, checked and converted only if something has changed since. From then on the
        tensors know how far the groups have come."""
        if self._synced is not tensors or self._version != _native.settings_version():
            states, before = self.group_states(), self._synced
            if before is not None:
                before.disarm()
            for i, g in enumerate(states):
                tensors.set_group(i, RULES[g.rule], *g[1:])
            self._synced, self._version = tensors, _native.settings_version()
            self._quick = _never
        else:
            self._refuse_now()
            if self._rated != _native.rates_version():
                self._read_rates()
            tensors.begin()
            if self._constant is None:
                self._pull()

    def repeats(self):
        """For `arm` of an executor after a step, if the next step's update can differ in nothing but the gradients: the version of
        the settings that it had; else None."""
        if self._constant is None or self._skip_nonfinite:
            return None
        return self._version + self._rated

    def take_back(self, executor):
        """After a run of an executor: how far the groups have come."""
        self.skipped += executor.steps_skipped
        if self._synced is None or self._synced is not getattr(executor, "tensors", None):
            self._unready()
            progress = executor.progress()
            self._steps, self._memory = [t for t, _ in progress], [m for _, m in progress]

    def _pull(self):
        """The progress, where compiled tensors know better."""
        if self._synced is not None:
            progress = self._synced.progress()
            self._steps, self._memory = [t for t, _ in progress], [m for _, m in progress]

    def _unready(self):
        """Something has changed besides the settings: everything is handed over again."""
        self._pull()
        if self._synced is not None:
            self._synced.disarm()
        self._tensors = self._synced = None
        self._quick = _never

    def _steps_of(self, group):
        self._pull()
        return self._steps[group]

    @property
    def skip_nonfinite(self):
        """Whether steps are left out whose gradients have no finite norm. It may not be changed."""
        return self._skip_nonfinite

    @property
    def has_schedule(self):
        """Whether a rate depends on the step."""
        return any(callable(g["lr"]) for g in self.param_groups)

    def rates(self):
        """The learning rate of each group for the next step. Call it after `sync`, or `group_states`."""
        if self._constant is not None:
            return self._constant
        return [
            checks.number(self._next_rate(i, g["lr"]), "lr(step)") if callable(g["lr"]) else g["lr"]
            for i, g in enumerate(self.param_groups)
        ]

    def _next_rate(self, i, lr):
        step = self._steps[i]
        if not isinstance(lr, Schedule):
            return lr(step)
        held, first, rates = self._ahead.get(i, (None, 0, ()))
        if held is not lr or not first <= step < first + len(rates):
            if lr.plateaus or lr.functions:
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
            For schedules that count epochs: the epoch's number, its updates so far, and its steps in all.

        Returns
        -------
        numpy.ndarray
            float64 [steps, groups].

        Raises
        ------
        TypeError, ValueError
            If a schedule gives what is no rate.
        """
        self._pull()
        rates = np.empty((steps, len(self.param_groups)))
        for i, (g, t) in enumerate(zip(self.param_groups, self._steps)):
            lr = g["lr"]
            if isinstance(lr, Schedule):
                clock = None if epoch is None else Clock(t - epoch[1], epoch[0], epoch[2])
                rates[:, i] = lr.table(t, steps, clock)
                fine = np.isfinite(rates[:, i]) & (rates[:, i] >= 0)
                if not fine.all():
                    checks.number(float(rates[np.argmin(fine), i]), "lr(step)")
            else:
                rates[:, i] = [checks.number(lr(t + k), "lr(step)") for k in range(steps)] if callable(lr) else lr
        return rates

    @property
    def plateaus(self):
        """The groups' `schedules.ReduceOnPlateau`, each once."""
        found = {id(p): p for g in self.param_groups if isinstance(g["lr"], Schedule) for p in g["lr"].plateaus}
        return tuple(found.values())

    def update_tensors(self):
        """For a plan: (parameter as given, its state arrays, its group) of each parameter."""
        return tuple(zip(self._objects, self._state, self._group_of))

    def plan_update(self, tensors, clip_norm=None, chosen=None):
        """For a plan: the Update of these tensors, which are those of `update_tensors` with Parameters for arrays; `chosen`: the
        numbers of those that are updated, all by default."""
        chosen = range(len(tensors)) if chosen is None else chosen
        return Update(
            tuple(tensors[i] for i in chosen),
            len(self.param_groups),
            averages=tuple(self._averages[i] for i in chosen),
            clip_norm=clip_norm or 0.0,
            skip_nonfinite=self.skip_nonfinite,
            trusted=frozenset(range(len(self.param_groups)) if not self.elementwise else ()),
            limited=frozenset(i for i, g in enumerate(self.param_groups) if g["max_norm"] is not None),
        )

    def step(self, grads, clip_norm=None):
        """Update all parameters once, in place.

        Parameters
        ----------
        grads : list, dict, or list of either
            One array for each parameter, in the structure in which the parameters were given (for groups, a list with an
            entry for each group, or one flat list), with the parameter's dtype and shape. Only read: in place where it lies
            in memory as the parameter does, else by a copy that does. None: that parameter, its states and its average stay
            as they are; a group that has no gradient at all counts no step.
        clip_norm : float, optional
            Scale the gradients as if by min(1, clip_norm / (norm + 1e-6)), norm being that of all gradients together.

        Returns
        -------
        float or None
            The gradients' global norm before clipping, if `clip_norm` is given.

        Raises
        ------
        TypeError, ValueError
            If the structure, a dtype, a shape or a hyper-parameter does not fit. Nothing has changed then.
        RuntimeError
            If another thread is in the middle of a step, or the parameters hold their averages.
        """
        if clip_norm is None and self._quick(grads):
            return None
        flat = self._flatten(grads)
        if clip_norm is not None:
            clip_norm = checks.positive(clip_norm, "clip_norm")
        if self._tensors is None:
            for p, name in zip(self._params, self._names):
                self._check_param(p, name)  # they may have changed since
            self._tensors = _native.Tensors(
                self._params, self._state, self._group_of, len(self.param_groups), self._names, self._averages
            )
        self.sync(self._tensors)
        rates = self.rates()
        norm, skipped = self._tensors.step(flat, rates, clip_norm or 0.0, self.skip_nonfinite)
        self.skipped += skipped
        if self._constant is not None and not self.skip_nonfinite and (self._grouped or self._structure[0] is None):
            self._tensors.set_rates(rates)
            self._quick = self._tensors.quick_step
        return None if clip_norm is None else norm

    # ---- the average of the weights ----

    def swap_ema(self):
        """Exchange the parameters' values with their moving averages; call it again to take them back, exactly.

        Raises
        ------
        ValueError
            If no group has the option `ema`.
        """
        if not any(a is not None for a in self._averages):
            raise ValueError("swap_ema: expected the option ema in at least one group, got none")
        self._averages_stand.swap(self._params, self._averages)

    @contextlib.contextmanager
    def averaged(self):
        """A context in which the parameters hold their moving averages, to evaluate, predict or save with.

        Raises
        ------
        ValueError
            If no group has the option `ema`.

        Examples
        --------
        >>> w = np.zeros(2)
        >>> opt = optim.SGD([w], lr=1.0, ema=0.5)
        >>> for _ in range(2): opt.step([-np.ones(2)])
        >>> with opt.averaged(): print(w)
        [1.5 1.5]
        >>> w
        array([2., 2.])
        """
        before = self._averages_stand.made
        try:
            self.swap_ema()
            yield self
        finally:
            if self._averages_stand.made != before:
                self.swap_ema()

    # ---- state ----

    def __getstate__(self):
        """Everything but the pointers, which are found again when they are needed."""
        self._pull()
        return {**self.__dict__, "_tensors": None, "_synced": None, "_quick": _never, "_ahead": {}}

    def __reduce_ex__(self, protocol):
        for i, g in enumerate(self.param_groups):
            if callable(g["lr"]):
                try:
                    pickle.dumps(g["lr"])
                except Exception as error:  # whatever a stranger's object raises
                    raise TypeError(
                        f"param_groups[{i}]['lr']: expected a rate that can be pickled, got {g['lr']!r}: of a function only the "
                        "name is pickled, so it must be one of a module, not a lambda or a function within a function; "
                        f"fastnn.schedules can be pickled, and so can state_dict(), which leaves functions out ({error})"
                    ) from error
        return super().__reduce_ex__(protocol)

    def __copy__(self):
        found = type(self).__new__(type(self))
        found.__setstate__(self.__getstate__())
        return found

    def __deepcopy__(self, memo):
        found = memo[id(self)] = type(self).__new__(type(self))
        found.__setstate__(deepcopy(self.__getstate__(), memo))
        return found

    def __setstate__(self, state):
        """A copy of a Parameter has an array of its own. So have the states, which may come as a file's memory that nobody may write."""
        self.__dict__.update(state)
        self._state = [tuple(map(self._own, states)) for states in self._state]
        self._averages = [None if a is None else self._own(a) for a in self._averages]
        self._params = [self._check_param(p, name) for p, name in zip(self._objects, self._names)]

    def _own(self, given):
        """A copy of a state, in memory of its own."""
        made = self._new_state(given)
        made[...] = given
        return made

    def _names_of(self, i):
        """Names of all arrays that belong to parameter i, and the arrays."""
        pairs = dict(zip(self._state_names(self.param_groups[self._group_of[i]]), self._state[i]))
        return pairs if self._averages[i] is None else {**pairs, "ema": self._averages[i]}

    def state_dict(self, copy=True):
        """A plain dict of copies: {"optimizer": name, "groups": [hyper-parameters, "steps" and what else a group counts],
        "state": [arrays by name], "skipped": number}; where a group's parameters are a dict, "params" lists their names.

        It can be pickled; ``json.dumps(state, default=np.ndarray.tolist)`` and ``np.savez(path, **state)`` keep it too, the latter
        to be read with ``np.load(path, allow_pickle=True)``. `load_state_dict` takes what they give back. Rates that are
        functions are left out: they are code. With ``copy=False`` the arrays are the optimizer's own: for what writes them into a
        file, say.

        Examples
        --------
        >>> w = np.ones(2); opt = optim.Adam([w])
        >>> opt.step([np.ones(2)])
        >>> opt.state_dict()["state"][0]["exp_avg"]
        array([0.1, 0.1])
        """
        self._refuse_while_swapped("state_dict")
        self._pull()
        groups = []
        for g, t, memory in zip(self.param_groups, self._steps, self._memory):
            entries = {k: v if k in self.defaults else deepcopy(v) for k, v in g.items() if k != "params"}
            keys = self._structure[len(groups)]
            names = {} if keys is None else {"params": [_label(k) for k in keys]}
            groups.append({**names, **entries, "steps": t, **dict(zip(self.memory, memory))})
            if callable(g["lr"]):
                config = _config(groups[-1].pop("lr"))
                if config is not None:  # functions are code: they are not state
                    groups[-1]["lr"] = config
        state = [{name: s.copy(order="K") if copy else s for name, s in self._names_of(i).items()} for i in range(len(self._params))]
        return {"optimizer": type(self).__name__, "groups": groups, "state": state, "skipped": self.skipped}

    def load_state_dict(self, state_dict, strict=True):
        """Take over what `state_dict` gave: arrays are copied into this optimizer's own.

        Parameters that have names, here and there, are matched by them, else by their order.

        Parameters
        ----------
        state_dict : dict
        strict : bool, default True
            With False, names, arrays and entries of groups that only one of the two has are passed over: what the state lacks
            stays as it is. Groups must be as many, and shapes equal, in any case.

        Raises
        ------
        TypeError, ValueError
            If it is of another optimizer, or groups, names, shapes or kinds differ. Nothing has changed then.

        Examples
        --------
        >>> a, b, c = np.ones(1), np.ones(1), np.ones(1)
        >>> opt = optim.SGD({"a": a, "b": b}, momentum=0.9)
        >>> opt.step({"a": np.full(1, 2.0), "b": np.full(1, 3.0)})
        >>> other = optim.SGD({"b": b, "c": c, "a": a}, momentum=0.9)
        >>> other.load_state_dict(opt.state_dict(), strict=False)
        >>> [float(s["momentum_buffer"][0]) for s in other.state_dict()["state"]]
        [3.0, 0.0, 2.0]
        """
        self._refuse_while_swapped("load_state_dict")
        name, strict = type(self).__name__, checks.flag(strict, "strict")
        state_dict = _state_dict(state_dict)
        try:
            kind, groups, state = state_dict["optimizer"], state_dict["groups"], state_dict["state"]
        except (KeyError, TypeError):
            raise ValueError("state_dict: expected a dict with 'optimizer', 'groups' and 'state'") from None
        if kind != name:
            raise ValueError(f"state_dict: expected the state of {name}, got that of {kind!r}")
        for key, value in (("groups", groups), ("state", state)):
            if not isinstance(value, (list, tuple)) or not all(isinstance(v, dict) for v in value):
                raise ValueError(f"state_dict[{key!r}]: expected a list of dicts, got {value!r:.60}")
        if len(groups) != len(self.param_groups) or strict and len(state) != len(self._params):
            raise ValueError(
                f"state_dict: expected {len(self.param_groups)} groups and {len(self._params)} parameters, "
                f"got {len(groups)} and {len(state)}"
            )
        skipped = checks.count(state_dict.get("skipped", 0), "state_dict['skipped']")
        places = self._places(groups, len(state), strict)
        new_groups = [
            self._group_of_state(g, i, f"state_dict['groups'][{i}]", strict) for i, g in enumerate(groups)
        ]
        new_state = []
        for i, place in enumerate(places):
            if place is None:
                continue
            s, arrays = state[place], self._names_of(i)
            if strict and set(s) != set(arrays):
                raise ValueError(f"state_dict['state'][{place}]: expected entries {sorted(arrays)}, got {sorted(s)}")
            new_state.append(
                [
                    (array, _state_values(s[key], array, f"state_dict['state'][{place}][{key!r}]"))
                    for key, array in arrays.items()
                    if key in s
                ]
            )
        self._take(new_groups, new_state)
        self.skipped = skipped

    def _places(self, groups, count, strict):
        """For each parameter its place in the state of `count` parameters, or None: by name within a group where both sides have
        names, else by order."""
        places, begin = [], 0
        for i, (g, mine, keys) in enumerate(zip(groups, self.param_groups, self._structure)):
            theirs, name = g.get("params"), f"state_dict['groups'][{i}]['params']"
            theirs = theirs.tolist() if isinstance(theirs, np.ndarray) else theirs
            size = len(mine["params"]) if theirs is None else len(theirs)
            if theirs is None or keys is None:
                if size != len(mine["params"]):
                    raise ValueError(f"{name}: expected {len(mine['params'])} parameters, got {size}")
                places += range(begin, begin + size)
            else:
                labels = [_label(k) for k in keys]
                if strict and (set(labels) != set(theirs) or size != len(labels)):
                    raise ValueError(f"{name}: expected the names {sorted(map(str, labels))}, got {sorted(map(str, theirs))}")
                at = {label: begin + n for n, label in enumerate(theirs)}
                places += [at.get(label) for label in labels]
            begin += size
        if begin != count:
            raise ValueError(f"state_dict['state']: expected {begin} parameters, got {count}")
        return places

    def _group_of_state(self, g, i, name, strict):
        """(hyper-parameters, steps, memory) of a group of a state, checked against group i, which takes them."""
        mine = self.param_groups[i]
        counted = {"steps": self._steps_of(i), **dict(zip(self.memory, self._memory[i]))}
        if strict and not set(counted) <= set(g):
            raise ValueError(f"{name}: expected entries {sorted({*self.defaults, *counted})}, got {sorted(g)}")
        g = {**counted, **g}
        merged = {**mine, **{k: v for k, v in g.items() if k not in counted and k != "params"}}
        self._check_own(merged, name)
        if not strict:  # what decides on the arrays stays
            merged.update({s: mine[s] for s in (*self.switches, *_SWITCHES)})
        if isinstance(merged["lr"], dict):
            merged["lr"] = from_config(merged["lr"])
        self._check_group(merged)
        if [bool(merged[s]) for s in (*self.switches, *_SWITCHES)] != [bool(mine[s]) for s in (*self.switches, *_SWITCHES)]:
            raise ValueError(f"{name}: expected hyper-parameters with the states of this optimizer's")
        steps = g["steps"]
        if isinstance(steps, bool) or not isinstance(steps, numbers.Integral) or not 0 <= steps < 2**63:
            raise ValueError(f"{name}['steps']: expected an integer from 0 to 2**63 - 1, got {steps!r}")
        memory = tuple(checks.any_number(g[m], f"{name}[{m!r}]") for m in self.memory)
        return merged, int(steps), (*memory, 0.0, 0.0)[:2]

    def _take(self, groups, state):
        """Take over checked groups, (hyper-parameters, steps, memory), and states, lists of (array, values)."""
        for mine, (merged, _, _) in zip(self.param_groups, groups):
            mine.update(merged, lr=_kept(mine["lr"], merged["lr"]))
        for pairs in state:
            for array, values in pairs:
                array[...] = values
        self._unready()
        self._steps, self._memory = [t for _, t, _ in groups], [m for _, _, m in groups]

    def from_torch_state(self, state_dict, transpose=False, steps=None):
        """Take over the state of the PyTorch optimizer of the same name, as its `state_dict()` gives it.

        PyTorch is not imported: tensors need only be convertible by `.numpy()` or `np.asarray`.

        Parameters
        ----------
        state_dict : dict
            {"state": {number of the parameter: {name: tensor}}, "param_groups": [...]}; parameters in the order of this
            optimizer's. Hyper-parameters that this optimizer has too are taken over; learning rates that are schedules here stay.
            Averages of the weights (`ema`) start from the weights as they are: load those first.
        transpose : bool, default False
            Turn every two-dimensional array: PyTorch's Linear keeps weights as [out, in].
        steps : int, optional
            The steps done, for SGD, which does not count them in PyTorch: its default is 1 where there is a momentum.

        Raises
        ------
        TypeError, ValueError
            If groups, names, shapes or kinds do not fit. Nothing has changed then.

        Examples
        --------
        >>> w = np.ones(2); opt = optim.Adam([w])
        >>> moments = {"step": 3.0, "exp_avg": [0.1, 0.2], "exp_avg_sq": [0.3, 0.4]}
        >>> opt.from_torch_state({"state": {0: moments}, "param_groups": [{"lr": 0.5, "betas": (0.9, 0.99), "params": [0]}]})
        >>> opt.state_dict()["groups"][0]["steps"], opt.param_groups[0]["lr"]
        (3, 0.5)
        """
        from .torch_state import read

        self._refuse_while_swapped("from_torch_state")
        self._take(*read(self, state_dict, checks.flag(transpose, "transpose"), steps))

    def __repr__(self):
        g = self.param_groups[0]
        shown = {k: v for k, v in g.items() if k != "params" and (k not in _OPTIONS or v != _OPTIONS[k][0])}
        settings = ", ".join(f"{k}={v!r}" for k, v in shown.items() if k != "decoupled_weight_decay" or v)
        return f"{type(self).__name__}({len(self._params)} parameters, {settings})"
