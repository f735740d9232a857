"""Reads the layout of PyTorch's `optimizer.state_dict()`, without PyTorch."""

import numpy as np

from ..core.update_rules import RULES
from . import checks
from .scheduled import is_scheduled

_PER_PARAMETER = ("step", "mu_product")  # what PyTorch counts for each parameter and fastnn for each group


def _array(value, name):
    """A tensor, an array or a number as an array of real numbers."""
    try:
        value = value.detach().cpu().numpy() if hasattr(value, "detach") else value.numpy() if hasattr(value, "numpy") else value
        value = np.asarray(value)
    except Exception as error:  # whatever a stranger's object raises
        raise TypeError(f"{name}: expected a tensor or an array, got {type(value).__name__} ({error})") from None
    if value.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, got dtype {value.dtype}")
    return value


def _scalar(value, name):
    value = _array(value, name)
    if value.size != 1:
        raise ValueError(f"{name}: expected one number, got shape {value.shape}")
    return value.item()


def _setting(value, name):
    """A hyper-parameter: PyTorch may keep it as a tensor."""
    if isinstance(value, (list, tuple)):
        return tuple(_setting(v, name) for v in value)
    return _scalar(value, name) if hasattr(value, "numpy") or isinstance(value, np.ndarray) else value


def read(optimizer, state_dict, transpose, steps):
    """(groups, states) as `state.take` takes them, everything checked."""
    try:
        state, groups = state_dict["state"], state_dict["param_groups"]
    except (KeyError, TypeError):
        raise ValueError("state_dict: expected a dict with 'state' and 'param_groups'") from None
    if not isinstance(state, dict) or not isinstance(groups, (list, tuple)) or not all(
        isinstance(g, dict) and isinstance(g.get("params"), (list, tuple)) for g in groups
    ):
        raise ValueError("state_dict: expected a dict 'state' and a list 'param_groups' of dicts with 'params'")
    mine = optimizer.param_groups
    sizes = [len(g["params"]) for g in mine]
    given = [len(g["params"]) for g in groups]
    if given != sizes:
        raise ValueError(f"state_dict['param_groups']: expected groups of {sizes} parameters, got {given}")
    if steps is not None:
        steps = checks.count(steps, "steps")

    new_groups, new_state, i = [], [], 0
    for number, (theirs, group) in enumerate(zip(groups, mine)):
        name = f"state_dict['param_groups'][{number}]"
        merged = {**group, **{
            k: _setting(v, f"{name}[{k!r}]") for k, v in theirs.items()
            if k in optimizer.defaults and k != "params" and not is_scheduled(group[k])
        }}
        optimizer._check_group(merged)
        if RULES[optimizer._rule(merged)].states != RULES[optimizer._rule(group)].states:
            raise ValueError(f"{name}: expected hyper-parameters with the states of this optimizer's")
        counts, memories = set(), set()
        for key in theirs["params"]:
            entry = state.get(key, {})
            where = f"state_dict['state'][{key!r}]"
            if not isinstance(entry, dict):
                raise ValueError(f"{where}: expected a dict, got {type(entry).__name__}")
            entry = {k: v for k, v in entry.items() if v is not None}
            arrays = {k: v for k, v in optimizer._names_of(i).items() if k != "ema"}
            given = set(entry) - set(_PER_PARAMETER)
            if entry and given != set(arrays):
                raise ValueError(f"{where}: expected entries {sorted(arrays)}, got {sorted(given)}")
            missing = sorted(set(optimizer.memory) - set(entry)) if entry else []
            if entry and "step" not in entry and steps is None and type(optimizer).__name__ != "SGD":
                missing.append("step")
            if missing:
                raise ValueError(f"{where}: expected entries {missing} too, got {sorted(entry)}")
            average = optimizer._averages[i]  # PyTorch has none: it starts from the weights
            pairs = [] if average is None else [(average, optimizer._params[i])]
            for k, array in arrays.items():
                value = _array(entry[k], f"{where}[{k!r}]") if entry else np.full(array.shape, optimizer._initial(k, merged))
                if entry and transpose and value.ndim == 2:
                    value = value.T
                if value.shape != array.shape:
                    hint = "; transpose=True turns it" if value.shape == array.shape[::-1] and not transpose else ""
                    raise ValueError(f"{where}[{k!r}]: expected shape {array.shape}, got {value.shape}{hint}")
                pairs.append((array, value))
            new_state.append(pairs)
            if "step" in entry:
                counts.add(int(_scalar(entry["step"], f"{where}['step']")))
            else:
                counts.add(steps if steps is not None else int(bool(entry)))
            memories.add(tuple(float(_scalar(entry[m], f"{where}[{m!r}]")) if m in entry else 0.0 for m in optimizer.memory))
            i += 1
        if len(counts) > 1 or len(memories) > 1:
            raise ValueError(f"{name}: expected parameters that have done the same number of steps, got {sorted(counts)}")
        t = counts.pop() if counts else 0
        if t < 0:
            raise ValueError(f"{name}: expected a number of steps from 0, got {t}")
        new_groups.append((merged, t, (*(memories.pop() if memories else ()), 0.0, 0.0)[:2]))
    return new_groups, new_state
