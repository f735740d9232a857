"""What has to be the same in all processes, as names with digests, so that what differs can be named."""

import hashlib
import re

import numpy as np

from .._version import __version__
from ..core.runtime import get_isa

_SAMPLES = 64  # rows of data that are compared


def _digest(*parts):
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        if not isinstance(part, np.ndarray):
            part = re.sub(" at 0x[0-9a-f]+", "", repr(part)).encode()  # where a function is in memory differs
        found.update(np.ascontiguousarray(part))
    return found.digest()


def _entry(value, text=None):
    return _digest(value), f"{value if text is None else text!s:.150}"


def make_entries(trainer, grains):
    """Of a trainer that is new: what does not come from the first process."""
    model, optimizer = trainer.model, trainer.optimizer
    layers = ", ".join(f"{type(layer).__name__}" for layer in model.layers)
    return {
        "fastnn": _entry(__version__),
        "instruction set": _entry(get_isa() == "generic", get_isa()),
        "model": _entry(model.architecture(), f"{layers} ({model.num_parameters()} parameters)"),
        "loss": _entry(repr(trainer.loss)),
        "optimizer": _entry((type(optimizer).__name__, optimizer.state_dict(copy=False)["groups"]), repr(optimizer)),
        "frozen": _entry([name for name, p in model.named_parameters() if p.frozen]),
        "seed": _entry(trainer.seed),
        "backend": _entry(trainer.backend),
        "clip_norm": _entry(trainer.clip_norm),
        "penalty": _entry(repr(trainer.penalty)),
        "grains": _entry(grains),
    }


def training_entries(settings, data):
    """Of a call of `fit`: its settings, and arrays (a list of ArrayData), by their shapes and some of their rows."""
    found = {name: _entry(repr(value)) for name, value in settings.items()}
    for d in data:
        for name, array in zip(d.names, (d.X, d.y, d.weight)):
            if array is None:
                found[name] = _entry(None)
                continue
            rows = np.unique(np.linspace(0, len(array) - 1, _SAMPLES).astype(np.int64))
            text = f"{array.dtype} of shape {array.shape}"
            found[name] = _digest(text, np.asarray(array[rows])), f"{text} (and certain rows of it)"
    return found


def state_entries(trainer):
    """Of all that training goes on from."""
    arrays = [p.data for _, p in (*trainer.model.named_parameters(), *trainer.model.named_buffers())]
    states = [a for state in trainer.optimizer.state_dict(copy=False)["state"] for a in state.values()]
    return {"weights": (_digest(*arrays), "another model"), "the optimizer's state": (_digest(*states), "another state")}
