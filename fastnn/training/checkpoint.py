"""The state of a training as a dict and as a file: model, optimizer, counters, where in an epoch it stands, and what callbacks keep.

The file is in the format of safetensors: arrays as tensors, all else as JSON in the metadata. It holds no code, and is read without trust:
whatever is in it, it is taken over whole or refused with a ValueError that says which part does not fit.
"""

import json
import math
import numbers
import os
from collections.abc import Mapping

import numpy as np

from ..core import safetensors
from ..core.heads import check_head
from ..nn.serialization import CHECKPOINT, FORMAT_VERSION, describe
from .position import Position, Tally


def state_of(trainer, copy=True):
    """What `Trainer.state_dict` returns; without `copy` the arrays are those in use."""
    epochs, position = trainer.epochs_done, trainer._settle()
    own = (lambda a: a.copy()) if copy else (lambda a: a)
    return {
        "model": {name: own(p.data) for name, p in _named(trainer.model)},
        "optimizer": trainer.optimizer.state_dict(copy),
        "training": {
            "loss": type(trainer.loss).__name__,
            "seed": trainer.seed,
            "steps": trainer.steps_done,
            "epochs": epochs,
            "drawn": trainer._progress[2],
            "rates": None if trainer.last_rates is None else [float(r) for r in trainer.last_rates],
            "position": None if position is None else position.config(),
        },
        "callbacks": [
            (kind, {k: own(v) if isinstance(v, np.ndarray) else v for k, v in state.items()})
            for kind, state in trainer._callback_states()
        ],
    }


def _named(model):
    return (*model.named_parameters(), *model.named_buffers())


# ---- files ----


def save(trainer, path, durable):
    """What `Trainer.save_checkpoint` does."""
    state = state_of(trainer, copy=False)
    tensors = {f"model.{name}": a for name, a in state["model"].items()}
    optimizer = {**state["optimizer"], "parameters": len(state["optimizer"]["state"])}
    for i, arrays in enumerate(optimizer.pop("state")):
        tensors |= {f"optimizer.{i}.{name}": a for name, a in arrays.items()}
    callbacks = []
    for i, (kind, found) in enumerate(state["callbacks"]):
        arrays = {k: v for k, v in found.items() if isinstance(v, np.ndarray)}
        tensors |= {f"callbacks.{i}.{name}": a for name, a in arrays.items()}
        callbacks.append([kind, {k: v for k, v in found.items() if k not in arrays}])
    metadata = {"format": CHECKPOINT, **describe(trainer.model)}
    for part, value in {"optimizer": optimizer, "training": state["training"], "callbacks": callbacks}.items():
        try:
            metadata[part] = json.dumps(value, default=_plain)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{part}: expected a state that JSON can hold, got another: {error}") from None
    safetensors.write(path, tensors, metadata, durable)


def _plain(value):
    """What JSON holds in place of a NumPy number or array."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is none of JSON's values")


def load(trainer, path):
    """What `Trainer.load_checkpoint` does."""
    name = os.fsdecode(path)
    with open(name, "rb") as file:
        data = file.read()
    try:
        tensors, metadata = safetensors.parse(data)
    except (ValueError, RecursionError) as error:
        raise _no_checkpoint(name, f"no whole safetensors file ({error})") from None
    if metadata.get("format") != CHECKPOINT:
        alone = metadata.get("format") == "fastnn"
        raise _no_checkpoint(name, f"the file of {'a model alone, which nn.load reads' if alone else 'another program'}")
    version = metadata.get("version", "")
    if version not in map(str, range(1, FORMAT_VERSION + 1)):
        raise _no_checkpoint(name, f"format version {version!r:.40}, while this fastnn reads up to {FORMAT_VERSION}")
    try:
        parts = [json.loads(metadata[part]) for part in ("architecture", "optimizer", "training", "callbacks")]
    except (KeyError, ValueError, RecursionError) as error:
        raise _no_checkpoint(name, f"metadata that cannot be read ({type(error).__name__}: {error})") from None
    architecture, optimizer, training, callbacks = parts
    if not isinstance(optimizer, dict) or not isinstance(callbacks, list) or not all(map(_is_callback, callbacks)):
        raise _no_checkpoint(name, "metadata of another kind")
    _check_architecture(trainer.model, architecture, name)
    count = len(trainer.optimizer.update_tensors())
    if optimizer.pop("parameters", None) != count:
        raise ValueError(f"{name!r}: optimizer: expected the state of {count} parameters, as this trainer's has, got another number")
    model, state, kept = {}, [{} for _ in range(count)], [{} for _ in callbacks]
    for key, a in tensors.items():
        part, _, rest = key.partition(".")
        at, _, inner = rest.partition(".")
        places = {"optimizer": state, "callbacks": kept}.get(part, ())
        if part == "model":
            model[rest] = a
        elif at.isascii() and at.isdigit() and len(at) < 10 and int(at) < len(places):
            places[int(at)][inner] = a
        else:
            raise _no_checkpoint(name, f"a tensor that nothing has, {key!r:.60}")
    found = {
        "model": model,
        "optimizer": {**optimizer, "state": state},
        "training": training,
        "callbacks": [(kind, {**more, **arrays}) for (kind, more), arrays in zip(callbacks, kept)],
    }
    take(trainer, found, f"{name!r}: ", metadata.get("head"))


def _no_checkpoint(name, what):
    return ValueError(f"{name!r}: expected a checkpoint of fastnn, got {what}")


def _is_callback(entry):
    return isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[0], str) and isinstance(entry[1], dict)


def _check_architecture(model, theirs, name):
    """ValueError that says which layer is another one."""
    mine = json.loads(json.dumps(model.architecture()))
    if mine == theirs:
        return
    if isinstance(theirs, dict) and theirs.get("dtype") != mine.get("dtype"):
        ours, other = (str(a.get("dtype", "float32")) for a in (mine, theirs))
        raise ValueError(f"{name!r}: model: expected that of this trainer, which computes in {ours}, got one of {other:.20}")
    layers = [a.get("layers") if isinstance(a, dict) else None for a in (mine, theirs)]
    if not isinstance(layers[1], list):
        raise _no_checkpoint(name, "an architecture that cannot be read")
    for i in range(max(map(len, layers))):
        one, other = (a[i] if i < len(a) else None for a in layers)
        if one != other:
            ours, text = ("no layer" if entry is None else json.dumps(entry) for entry in (one, other))
            raise ValueError(f"{name!r}: model: expected that of this trainer, which has as layer {i} {ours:.300}, got {text:.300}")
    raise ValueError(f"{name!r}: model: expected that of this trainer, got another architecture")


# ---- taking a state over ----


def take(trainer, state, where="", head=None):
    """Take over a state, or raise before anything has changed."""
    for part, kind in (("model", Mapping), ("optimizer", Mapping), ("training", Mapping), ("callbacks", (list, tuple))):
        if not isinstance(state, Mapping) or not isinstance(state.get(part), kind):
            raise ValueError(f"{where}state: expected a dict with 'model', 'optimizer', 'training' and 'callbacks', as state_dict gives it")
    _check_model(trainer.model, state["model"], where)
    training, position = _training(trainer, state["training"], where)
    callbacks = list(state["callbacks"])
    if not all(map(_is_callback, callbacks)):
        raise ValueError(f"{where}callbacks: expected pairs of a name and a state, got {callbacks!r:.80}")
    if head is not None:
        try:
            check_head(head)
        except ValueError as error:
            raise ValueError(f"{where}model: {error}") from None
    try:
        trainer.optimizer.load_state_dict(state["optimizer"])
    except (TypeError, ValueError, KeyError, OverflowError, RecursionError) as error:
        raise ValueError(f"{where}optimizer: {error}") from error
    trainer.model.load_state_dict(state["model"])
    if head is not None:
        trainer.model.head = head
    trainer._go_on_from(*training, position, callbacks)


def _check_model(model, arrays, where):
    mine = dict(_named(model))
    missing, unknown = sorted(set(mine) - set(arrays)), sorted(map(str, set(arrays) - set(mine)))
    if missing or unknown:
        raise ValueError(f"{where}model: expected the arrays of this trainer's; missing {missing}, unknown {unknown}")
    for name, p in mine.items():
        a = arrays[name]
        if not isinstance(a, np.ndarray) or a.shape != p.shape or a.dtype != p.data.dtype:
            got = f"{a.dtype} of shape {a.shape}" if isinstance(a, np.ndarray) else type(a).__name__
            raise ValueError(f"{where}model: expected {p.data.dtype} of shape {p.shape} for {name!r}, got {got}")


def _training(trainer, found, where):
    """((seed, steps, epochs, batches drawn, rates), Position or None) of the counters of a state."""

    def integer(value, name, most=2**63 - 1):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not 0 <= value <= most:
            raise ValueError(f"{where}training: {name}: expected an integer from 0 to {most}, got {value!r:.40}")
        return int(value)

    def real(value, name):
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ValueError(f"{where}training: {name}: expected a number, got {value!r:.40}")
        return float(value)

    if found.get("loss") != type(trainer.loss).__name__:
        mine = type(trainer.loss).__name__
        raise ValueError(f"{where}loss: expected that of this trainer, {mine}, got {found.get('loss')!r:.60}")
    seed = integer(found.get("seed"), "seed", 2**64 - 1)
    steps, epochs, drawn = (integer(found.get(name, 0 if name == "drawn" else None), name) for name in ("steps", "epochs", "drawn"))
    rates, groups = found.get("rates"), len(trainer.optimizer.param_groups)
    if rates is not None:
        if not isinstance(rates, (list, tuple)) or len(rates) != groups:
            raise ValueError(f"{where}optimizer: expected {groups} groups of parameters, as this trainer's has, got the rates {rates!r:.60}")
        rates = [real(r, "rates") for r in rates]
    entry = found.get("position")
    if entry is None:
        return (seed, steps, epochs, drawn, rates), None
    key = entry.get("key") if isinstance(entry, Mapping) else None
    if not isinstance(key, (list, tuple)) or not all(k is None or isinstance(k, (str, int)) for k in key):
        raise ValueError(f"{where}training: position: expected where in an epoch training stands, got {entry!r:.80}")
    whole = {n: integer(entry.get(n), f"position: {n}") for n in ("batches", "rows", "correct", "left_out", "skipped")}
    seconds = real(entry.get("seconds"), "position: seconds")
    if not (whole["batches"] and max(whole["left_out"], 0) <= whole["rows"] and 0 <= seconds < math.inf):
        raise ValueError(f"{where}training: position: expected where in an epoch training stands, got {entry!r:.200}")
    tally = Tally(loss_sum=real(entry.get("loss_sum"), "position: loss_sum"), **whole)
    return (seed, steps, epochs, drawn, rates), Position(tuple(key), tally, seconds, loaded=True)
