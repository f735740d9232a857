"""Optimizer: what all optimizers have in common, their parameters, groups, options, states and steps."""

import contextlib
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from .. import _native
from ..core.listing import Listed
from ..core.parameter import Parameter
from ..core.update_rules import CODES, RULES, SETTINGS
from ..executors import group_states
from ..plan.builder import Update
from . import checks, state
from .copied import Copied, no_cached_step
from .options import OPTIONS, SWITCHES
from .parameters import check_apart, check_not_sparse, check_param, flatten, listed, new_state
from .scheduled import Scheduled, is_scheduled, number_of


def by_name():
    """All optimizers that update by gradients, by their names in small letters."""
    from .. import optim

    return {name.lower(): getattr(optim, name) for name in optim.__all__ if name not in ("Optimizer", "LBFGS")}


class Optimizer(Copied, Scheduled, Listed):
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
        Hyper-parameters of the groups that do not say. In place of a number, `lr` or any other, there may be a schedule: a function of
        the steps that the group has done, or one of `fastnn.schedules`. It is as if the entry were set before every step.
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
    kernel_state : _native.OptimizerState
        For trainers, and others that run updates.
    """

    _internal = (
        "checks", "decoupled", "group_states", "has_schedule", "kernel_state", "memory", "plan_update", "prepare", "rules", "step_table",
        "step_values", "structure", "switches", "update_tensors", "weight_states",
    )  # fmt: skip
    rules = ()  # names of the compiled rules that a group may have (csrc/defs/update_rules.def), which say what hyper-parameters there are
    checks = {}  # name of one that is no number, or not any -> function(value, name) that returns the value to keep, or raises
    switches = ()  # hyper-parameters that say which states there are: they stay off, or on
    decoupled = False  # whether weights always decay by themselves, and not in the gradient

    def __init__(self, params, defaults, options=None) -> None:
        self._defaults(defaults, options or {})
        self.param_groups: tuple[dict[str, Any], ...] = ()
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
        self.kernel_state = _native.OptimizerState()  # settings and steps of the groups, for all that update
        self._tensors = None  # the parameters, for steps on gradients that the caller has
        self._cached_step = no_cached_step
        self._scheduled = []  # (group, name in the register) of the settings but for rates that depend on the step, as the kernels take them
        self._ahead = {}  # for these, and for rates: (schedule, first step, its numbers from there)
        self._averages_stand = _native.Exchange(self.kernel_state)  # whether the averages stand in the parameters
        self.structure = 0  # a number that changes with the parameters
        groups = params if self._grouped else [{"params": params}]
        self._add([(g, f"params[{i}]" if self._grouped else "params") for i, g in enumerate(groups)], self._grouped)
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
        if not any(is_scheduled(group[name]) for name in self._checks if name != "lr"):
            self._check_together(group)

    def _check_together(self, group):
        """Raise where the group's hyper-parameters, all numbers but for the rate, do not fit each other."""

    def _rule(self, group):
        """Name of the compiled rule for the group."""
        return self.rules[0]

    def _states_of(self, group, p):
        """{name: shape} of the state arrays of a parameter in the group."""
        return RULES[self._rule(group)].states_of(np.asarray(p).shape)  # whatever a subclass says

    def _check_param(self, p, name):
        """Raise where an array is none that the optimizer can update."""

    @property
    def memory(self):
        """Names of the numbers that a group keeps from step to step."""
        return RULES[self.rules[0]].memory if self.rules else ()

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
        known = {name: value for name, (value, _) in OPTIONS.items()}
        self._checks = {"lr": checks.setting, "weight_decay": checks.setting}
        for rule in self.rules:
            self._checks.update(checks.of_register(RULES[rule].hyper))
        self._checks.update(self.checks)
        self._checks.update({name: check for name, (_, check) in OPTIONS.items()})
        if not self.decoupled and not any("own_decay" in RULES[rule].traits for rule in self.rules):
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

    def _add(self, groups, grouped):
        """Add groups, given as (dict, name for messages), or none of them if one does not fit."""
        params, names, group_of, objects = list(self._params), list(self._names), list(self._group_of), list(self._objects)
        new, structure = [], []
        for group, name in groups:
            if "params" not in group:
                raise ValueError(f"{name}: expected a group with an entry 'params', got keys {sorted(group)}")
            self._check_own(group, name)
            keys, values, labels = listed(group["params"], name)
            params += [check_param(v, n) for v, n in zip(values, labels)]
            for p, n in zip(params[len(params) - len(values) :], labels):
                self._check_param(p, n)
            merged = {**self.defaults, **group, "params": tuple(values)}
            self._check_group(merged)
            if RULES[self._rule(merged)].traits & {"trust", "whole", "matrices", "every_step"}:
                check_not_sparse(values, labels, type(self).__name__)
            if merged["max_norm"] is not None:
                check_not_sparse(values, labels, "max_norm")
            objects += values
            names += labels
            group_of += [len(self.param_groups) + len(new)] * len(values)
            new.append(merged)
            structure.append(keys)
        check_apart(params, names)
        first = len(self._params)
        states, averages = [], []
        for p, i in zip(params[first:], group_of[first:]):
            group = new[i - len(self.param_groups)]
            states.append(tuple(new_state(p, self._initial(n, group), shape) for n, shape in self._states_of(group, p).items()))
            averages.append(None if group["ema"] is None else new_state(p))
            if averages[-1] is not None:
                averages[-1][...] = p
        param_groups = self.param_groups + tuple(_native.Settings(g, self.kernel_state) for g in new)
        self.kernel_state.invalidate()
        self.__dict__.update(  # all or nothing, wherever Ctrl-C comes
            _params=params,
            _names=names,
            _group_of=group_of,
            _objects=objects,
            _state=self._state + states,
            _averages=self._averages + averages,
            _structure=self._structure + structure,
            _grouped=grouped,
            _had=[[bool(g[s]) for s in (*self.switches, *SWITCHES)] for g in param_groups],
            _tensors=None,
            _cached_step=no_cached_step,
            param_groups=param_groups,
            structure=self.structure + 1,
        )

    def _check_own(self, group, name):
        """A group may have entries of its user's own, but none that looks like a hyper-parameter."""
        own = [k for k in group if k not in self.defaults and k != "params"]
        if not own:
            return
        every = {"lr", "weight_decay", "decoupled_weight_decay", "skip_nonfinite", "clip_norm", *OPTIONS}
        every.update(name for rule in RULES.values() for name in checks.of_register(rule.hyper))
        every.update(name for kind in by_name().values() for name in kind.checks)
        unknown = sorted(k for k in own if isinstance(k, str) and (k in every or checks.nearest(k, self.defaults, 0.85)))
        if unknown:
            hint = checks.instead(unknown, self.defaults)
            raise ValueError(f"{name}: unknown hyper-parameters {unknown}{hint}; known are {sorted(self.defaults)}")

    def add_param_group(self, group) -> None:
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
        with self.kernel_state.lock:
            self._refuse_now()
            self._add([(group, f"params[{len(self.param_groups)}]")], True)

    # ---- stepping ----

    def _refuse_while_swapped(self, what):
        if self._averages_stand.made:
            raise RuntimeError(f"{what}: the averages stand in the parameters: call swap_ema() first")

    def _refuse_now(self):
        """Raise RuntimeError where the parameters do not hold what is trained."""
        self._refuse_while_swapped("step")

    def _check_switches(self):
        names = (*self.switches, *SWITCHES)
        for i, (g, had) in enumerate(zip(self.param_groups, self._had)):
            for name, was in zip(names, had):
                value = g[name]
                if bool(value) != was:
                    stay = ("on" if was else "off") if isinstance(value, bool) else f"{'above' if was else 'at'} 0"
                    if name in SWITCHES:
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

    def prepare(self):
        """Hand the groups' settings to the kernels, checked and converted, if anything has changed since that was done last. RuntimeError
        where the parameters do not hold what is trained. Before every run of updates."""
        kernel_state = self.kernel_state
        while not (kernel_state.is_current and kernel_state.has_current_rates):
            version, rates_version = kernel_state.versions
            if not kernel_state.is_current:
                self._refuse_now()
                for i, g in enumerate(self.param_groups):
                    self._check_entries(i, g)
                    self._check_group(g)
                self._check_switches()
                settings = [self._settings(g) for g in self.param_groups]
                if kernel_state.versions != (version, rates_version):
                    continue  # checks have replaced some by what they stand for
                kernel_state.compile(settings, version)
                self._scheduled = kernel_state.scheduled_settings
            kernel_state.set_rates(self._constant_rates(), rates_version)

    def _progress(self):
        """(steps, memory) of each group."""
        return self.kernel_state.progress(len(self.param_groups))

    def _settings(self, g):
        """A group's settings as `OptimizerState.compile` takes them: (rule, numbers by name)."""
        rule = self._rule(g)
        given = {"decoupled_weight_decay": self.decoupled, **g}
        given.update({name: CODES[name].get(g[name], 0) for name in CODES.keys() & g.keys()})
        return rule, {name: number_of(given, name) or 0 for name in (*SETTINGS, *RULES[rule].hyper)}  # None: there is no such option

    def _constant_rates(self):
        """The groups' rates, checked, or None if one, or another setting, depends on the step."""
        for g in self.param_groups:
            value = g["lr"]
            kept = checks.setting(value, "lr")
            if kept is not value:
                g["lr"] = kept
        return None if self.has_schedule else [g["lr"] for g in self.param_groups]

    def group_states(self):
        """The groups' hyper-parameters and progress, a GroupState of each."""
        self.prepare()
        return group_states(self.kernel_state)

    @property
    def skipped(self):
        return self.kernel_state.skipped

    @property
    def skip_nonfinite(self):
        """Whether steps are left out whose gradients have no finite norm. It may not be changed."""
        return self._skip_nonfinite

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
            self.kernel_state,
            averages=tuple(self._averages[i] for i in chosen),
            clip_norm=clip_norm or 0.0,
            skip_nonfinite=self.skip_nonfinite,
            trusted=self._groups_with("trust"),
            whole=self._groups_with("whole") | self._groups_with("matrices"),
            limited=frozenset(i for i, g in enumerate(self.param_groups) if g["max_norm"] is not None),
        )

    def _groups_with(self, trait):
        return frozenset(i for i, g in enumerate(self.param_groups) if trait in RULES[self._rule(g)].traits)

    def step(self, grads, clip_norm=None) -> float | None:
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
        if clip_norm is None and self._cached_step(grads):
            return None
        with self.kernel_state.lock:
            self.prepare()
            flat = flatten(grads, self._structure, [len(g["params"]) for g in self.param_groups], self._grouped)
            if clip_norm is not None:
                clip_norm = checks.positive(clip_norm, "clip_norm")
            if self._tensors is None:
                for p, name in zip(self._params, self._names):
                    check_param(p, name)  # they may have changed since
                self._tensors = _native.Tensors(
                    self._params, self._state, self._group_of, self.kernel_state, self._names, self._averages
                )
            norm, cached = self._tensors.step(flat, self.step_values(), clip_norm or 0.0, self.skip_nonfinite)
            cached = cached and (self._grouped or self._structure[0] is None)
            self._cached_step = self._tensors.cached_step if cached else no_cached_step
        return None if clip_norm is None else norm

    # ---- the average of the weights ----

    def swap_ema(self) -> None:
        """Exchange the parameters' values with their moving averages; call it again to take them back, exactly.

        Raises
        ------
        ValueError
            If no group has the option `ema`.
        """
        self._refuse_without_averages("swap_ema")
        self._averages_stand.swap(self._params, self._averages)

    def averaged(self) -> AbstractContextManager[Any]:
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
        self._refuse_without_averages("averaged")
        return self._averages_stand.during(self._params, self._averages, self)

    def _refuse_without_averages(self, what):
        if not any(a is not None for a in self._averages):
            raise ValueError(f"{what}: expected the option ema in at least one group, got none")

    # ---- state ----

    def _names_of(self, i):
        """Names of all arrays that belong to parameter i, and the arrays."""
        pairs = dict(zip(self._states_of(self.param_groups[self._group_of[i]], self._params[i]), self._state[i]))
        return pairs if self._averages[i] is None else {**pairs, "ema": self._averages[i]}

    def state_dict(self, copy=True) -> dict[str, Any]:
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
        with self.kernel_state.lock:
            self._refuse_while_swapped("state_dict")
            return state.state_of(self, copy)

    def load_state_dict(self, state_dict, strict=True) -> None:
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
        with self.kernel_state.lock:
            self._refuse_while_swapped("load_state_dict")
            groups, states, skipped = state.checked(self, state_dict, checks.flag(strict, "strict"))
            state.take(self, groups, states, skipped)

    def from_torch_state(self, state_dict, transpose=False, steps=None) -> None:
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

        with self.kernel_state.lock:
            self._refuse_while_swapped("from_torch_state")
            state.take(self, *read(self, state_dict, checks.flag(transpose, "transpose"), steps), self.skipped)

    def __repr__(self):
        g = self.param_groups[0]
        shown = {k: v for k, v in g.items() if k != "params" and (k not in OPTIONS or v != OPTIONS[k][0])}
        settings = ", ".join(f"{k}={v!r}" for k, v in shown.items() if k != "decoupled_weight_decay" or v)
        return f"{type(self).__name__}({len(self._params)} parameters, {settings})"
