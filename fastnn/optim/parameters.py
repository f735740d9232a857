"""The arrays that an optimizer is given: parameters, and gradients for them."""

from collections.abc import Iterable

import numpy as np

from .. import _native
from ..core.parameter import Parameter


def listed(params, name):
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


def check_param(p, name):
    """The array of a parameter, which must be one that can be updated in place."""
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


def check_not_sparse(params, names, what):
    """No table of which rows are to be updated alone, for what looks at the whole of an array."""
    for p, name in zip(params, names):
        if getattr(p, "sparse", False):
            raise ValueError(f"{name}: {what} works on all rows of an array; expected a table without sparse=True")


def check_apart(params, names):
    """No two parameters may share memory: they would be updated twice."""
    arrays = [np.asarray(p) for p in params]
    spans = sorted((p.__array_interface__["data"][0], p.nbytes, n) for p, n in zip(arrays, names) if p.size)
    for (begin, size, a), (other, _, b) in zip(spans, spans[1:]):
        if other < begin + size:
            raise ValueError(f"{b}: expected memory of its own, got an array that overlaps {a}")


def new_state(p, value=0.0, shape=None):
    """An array of one value that lies in memory as `p` does, of p's shape or another with as many axes."""
    p = np.asarray(p)
    shape = p.shape if shape is None else shape
    state = _native.aligned_zeros(shape[::-1] if p.flags.f_contiguous else shape, p.dtype)
    if value:
        state[...] = value
    return state.T if p.flags.f_contiguous else state


def copy_of(state):
    """A copy of a state, in memory of its own."""
    made = new_state(state)
    made[...] = state
    return made


def flatten(grads, structure, sizes, grouped):
    """The gradients as a flat list, once their structure is the parameters'. structure: for each group the keys of its dict, or None of a
    list; sizes: its parameters; grouped: whether there may be several."""
    if grouped and isinstance(grads, (list, tuple)) and all(isinstance(g, (list, tuple, dict)) for g in grads):
        if len(grads) != len(sizes):
            raise ValueError(f"grads: expected {len(sizes)} groups, got {len(grads)}")
        flat = []
        for i, (g, keys, size) in enumerate(zip(grads, structure, sizes)):
            flat += flatten_one(g, keys, size, f"grads[{i}]")
        return flat
    if grouped:
        return flatten_one(grads, None, sum(sizes), "grads")
    return flatten_one(grads, structure[0], sum(sizes), "grads")


def flatten_one(grads, keys, count, name):
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
