"""Optimizers and arrays for their tests."""

import numpy as np

from fastnn import optim

SHAPES = [(1,), (3, 5), (16,), (17, 33), (2, 3, 4), (100, 100)]

SETTINGS = {
    "sgd": (optim.SGD, {"lr": 0.1}),
    "sgd decay": (optim.SGD, {"lr": 0.1, "weight_decay": 0.01}),
    "momentum": (optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    "dampening": (optim.SGD, {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    "nesterov": (optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "dampening without momentum": (optim.SGD, {"lr": 0.1, "dampening": 0.5}),
    "adam": (optim.Adam, {"lr": 0.01}),
    "adam decay": (optim.Adam, {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}),
    "adam zero betas": (optim.Adam, {"lr": 0.01, "betas": (0.0, 0.0), "eps": 1e-3}),
}

# arguments of `sgd_update`, of the kernel and of its twin
SGD_OPTIONS = [
    {},
    {"weight_decay": 0.1},
    {"momentum": 0.9},
    {"momentum": 0.9, "weight_decay": 0.1},
    {"momentum": 0.9, "dampening": 0.5},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
]


def arrays(dtype=np.float64, order="C", seed=0, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=s), dtype, order=order) for s in shapes]


def gradients(step, dtype=np.float64, order="C", shapes=SHAPES):
    return arrays(dtype, order, 100 + step, shapes)


def _flat(state_dict):
    return [np.asarray(v) for s in state_dict["state"] for v in s.values()]


def change(*path, to):
    """What puts `to` at a place of a state, or takes away what is there, and returns the state."""

    def apply(state):
        *way, last = path
        at = state
        for key in way:
            at = at[key]
        if to is KeyError:
            del at[last]
        else:
            at[last] = to
        return state

    return apply
