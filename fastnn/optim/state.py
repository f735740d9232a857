"""The state of an optimizer as a plain dict: made, checked against the optimizer that is to take it, and taken over."""

import copy as copies
import numbers
from collections.abc import Mapping

import numpy as np

from .. import _native
from . import checks
from .options import SWITCHES
from .scheduled import built, kept, plain


def values_for(value, array, name):
    """`value` as an array that can be copied into `array`."""
    value = np.asarray(_native.plain(value, name))
    if value.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, got dtype {value.dtype}")
    if value.shape != array.shape and (value.size or array.size):  # lists of nothing have lost their shape
        raise ValueError(f"{name}: expected shape {array.shape}, got {value.shape}")
    return value.reshape(array.shape)


def as_dict(given):
    """A state as a dict of lists, numbers and strings, also where `np.savez` has made arrays of them."""
    if not isinstance(given, Mapping):
        return given
    found = {k: given[k] for k in given}
    return {k: v.tolist() if isinstance(v, np.ndarray) and (v.ndim == 0 or v.dtype == object) else v for k, v in found.items()}


def _label(key):
    """A parameter's key as JSON can hold it."""
    return key if isinstance(key, (str, int)) else str(key)


def state_of(optimizer, copy):
    """What `Optimizer.state_dict` returns."""
    groups = []
    for g, (t, memory) in zip(optimizer.param_groups, optimizer._progress()):
        entries = {}
        for k, v in g.items():
            if k in optimizer.defaults:
                is_state, value = plain(v)
                if is_state:  # functions are code
                    entries[k] = value
            elif k != "params":
                entries[k] = copies.deepcopy(v)
        keys = optimizer._structure[len(groups)]
        names = {} if keys is None else {"params": [_label(k) for k in keys]}
        groups.append({**names, **entries, "steps": t, **dict(zip(optimizer.memory, memory))})
    state = [{name: s.copy(order="K") if copy else s for name, s in optimizer._names_of(i).items()} for i in range(len(optimizer._params))]
    return {"optimizer": type(optimizer).__name__, "groups": groups, "state": state, "skipped": optimizer.kernel_state.skipped}


def checked(optimizer, state_dict, strict):
    """(groups, states, skipped) of what `state_of` gave, as `take` takes them; raises where it does not fit."""
    name = type(optimizer).__name__
    state_dict = as_dict(state_dict)
    try:
        kind, groups, state = state_dict["optimizer"], state_dict["groups"], state_dict["state"]
    except (KeyError, TypeError):
        raise ValueError("state_dict: expected a dict with 'optimizer', 'groups' and 'state'") from None
    if kind != name:
        raise ValueError(f"state_dict: expected the state of {name}, got that of {kind!r}")
    for key, value in (("groups", groups), ("state", state)):
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, dict) for v in value):
            raise ValueError(f"state_dict[{key!r}]: expected a list of dicts, got {value!r:.60}")
    if len(groups) != len(optimizer.param_groups) or strict and len(state) != len(optimizer._params):
        raise ValueError(
            f"state_dict: expected {len(optimizer.param_groups)} groups and {len(optimizer._params)} parameters, "
            f"got {len(groups)} and {len(state)}"
        )
    skipped = checks.count(state_dict.get("skipped", 0), "state_dict['skipped']")
    places = _places(optimizer, groups, len(state), strict)
    new_groups = [
        _group_of_state(optimizer, g, i, f"state_dict['groups'][{i}]", strict) for i, g in enumerate(groups)
    ]
    new_state = []
    for i, place in enumerate(places):
        if place is None:
            continue
        s, arrays = state[place], optimizer._names_of(i)
        if strict and set(s) != set(arrays):
            raise ValueError(f"state_dict['state'][{place}]: expected entries {sorted(arrays)}, got {sorted(s)}")
        new_state.append(
            [
                (array, values_for(s[key], array, f"state_dict['state'][{place}][{key!r}]"))
                for key, array in arrays.items()
                if key in s
            ]
        )
    return new_groups, new_state, skipped


def _places(optimizer, groups, count, strict):
    """For each parameter its place in the state of `count` parameters, or None: by name within a group where both sides have
    names, else by order."""
    places, begin = [], 0
    for i, (g, mine, keys) in enumerate(zip(groups, optimizer.param_groups, optimizer._structure)):
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


def _group_of_state(optimizer, g, i, name, strict):
    """(hyper-parameters, steps, memory) of a group of a state, checked against group i, which takes them."""
    mine = optimizer.param_groups[i]
    steps, memory = optimizer._progress()[i]
    counted = {"steps": steps, **dict(zip(optimizer.memory, memory))}
    if strict and not set(counted) <= set(g):
        raise ValueError(f"{name}: expected entries {sorted({*optimizer.defaults, *counted})}, got {sorted(g)}")
    g = {**counted, **g}
    merged = {**mine, **{k: v for k, v in g.items() if k not in counted and k != "params"}}
    optimizer._check_own(merged, name)
    if not strict:  # what decides on the arrays stays
        merged.update({s: mine[s] for s in (*optimizer.switches, *SWITCHES)})
    merged.update({k: built(merged[k]) for k in optimizer._checks})
    optimizer._check_group(merged)
    if [bool(merged[s]) for s in (*optimizer.switches, *SWITCHES)] != [bool(mine[s]) for s in (*optimizer.switches, *SWITCHES)]:
        raise ValueError(f"{name}: expected hyper-parameters with the states of this optimizer's")
    steps = g["steps"]
    if isinstance(steps, bool) or not isinstance(steps, numbers.Integral) or not 0 <= steps < 2**63:
        raise ValueError(f"{name}['steps']: expected an integer from 0 to 2**63 - 1, got {steps!r}")
    memory = tuple(checks.any_number(g[m], f"{name}[{m!r}]") for m in optimizer.memory)
    return merged, int(steps), (*memory, 0.0, 0.0)[:2]


def take(optimizer, groups, state, skipped):
    """Take over checked groups, (hyper-parameters, steps, memory), states, lists of (array, values), and the count of skipped steps: all
    or nothing, wherever Ctrl-C comes."""
    settings = [
        {**merged, **{k: kept(mine[k], merged[k]) for k in optimizer._checks}} for mine, (merged, _, _) in zip(optimizer.param_groups, groups)
    ]
    progress, pairs = [(steps, memory) for _, steps, memory in groups], [pair for pairs in state for pair in pairs]
    optimizer.kernel_state.take(list(zip(optimizer.param_groups, settings)), progress, pairs, skipped)
