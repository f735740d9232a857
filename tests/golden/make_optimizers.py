"""Makes optimizers.npz: where the optimizers of PyTorch, of optax and of the authors of schedule-free get in 200 steps.

    python tests/golden/make_optimizers.py     # the file is from torch 2.13, optax 0.2.8 and schedulefree 1.4.1

Two groups with rates and decays of their own, both on a cosine schedule, random gradients of changing size. Starting
weights and gradients are made from the raw bits of a PCG64 generator, which are the same with every NumPy, so the file
only holds weights: after some steps, in float32 and in float64. The tests import CASES and the functions below, compare
fastnn with the file, and live with the libraries where they are installed.
"""

import math
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("optimizers.npz")
STEPS, KEPT = 200, (10, 200)  # the steps after which weights are kept
SHAPES = [(5, 7), (17,), (1,), (2, 3, 4)]
SPLIT = 2  # so many of them are the first group, the others the second
HORIZON = 250  # of the cosine
SECOND = 0.3  # the second group's rate is so much of the first's
EXACT = {"float32": 2e-6, "float64": 1e-12}  # max|a - b| <= this * max|b|, array by array

# name: (optimizer, its settings, the settings in which the second group differs)
TORCH = {
    "sgd": ("SGD", {"lr": 0.05, "weight_decay": 0.01}, {"weight_decay": 0.0}),
    "sgd maximize": ("SGD", {"lr": 0.02, "weight_decay": 0.01, "maximize": True}, {}),
    "momentum": ("SGD", {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.01}, {"momentum": 0.8}),
    "dampening": ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.9}, {"dampening": 0.2, "weight_decay": 0.1}),
    "nesterov": ("SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}, {"momentum": 0.5}),
    "adagrad": ("Adagrad", {"lr": 0.05, "lr_decay": 0.01, "weight_decay": 0.01}, {"weight_decay": 0.0, "lr_decay": 0.0}),
    "adagrad from a value": ("Adagrad", {"lr": 0.05, "initial_accumulator_value": 0.1, "eps": 1e-6, "maximize": True}, {}),
    "adadelta": ("Adadelta", {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.01}, {"rho": 0.95}),
    "rmsprop": ("RMSprop", {"lr": 0.005, "alpha": 0.95, "weight_decay": 0.01}, {"alpha": 0.99}),
    "rmsprop momentum": ("RMSprop", {"lr": 0.002, "momentum": 0.9, "weight_decay": 0.01}, {"momentum": 0.5}),
    "rmsprop centered": ("RMSprop", {"lr": 0.005, "centered": True, "alpha": 0.9}, {"weight_decay": 0.02}),
    "rmsprop centered momentum": ("RMSprop", {"lr": 0.002, "centered": True, "momentum": 0.8, "weight_decay": 0.01}, {"eps": 1e-3}),
    "adam": ("Adam", {"lr": 0.01, "weight_decay": 0.01}, {"betas": (0.8, 0.99), "eps": 1e-6}),
    "amsgrad": ("Adam", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.01}, {"betas": (0.5, 0.9)}),
    "adam maximize": ("Adam", {"lr": 0.01, "maximize": True, "weight_decay": 0.01}, {}),
    "adamw": ("AdamW", {"lr": 0.01, "weight_decay": 0.1}, {"weight_decay": 0.0}),
    "adamw amsgrad": ("AdamW", {"lr": 0.01, "amsgrad": True, "betas": (0.9, 0.95)}, {"weight_decay": 0.2}),
    "nadam": ("NAdam", {"lr": 0.01, "weight_decay": 0.01}, {"momentum_decay": 0.01}),
    "nadam decoupled": ("NAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}, {"betas": (0.8, 0.99)}),
    "adamax": ("Adamax", {"lr": 0.01, "weight_decay": 0.01}, {"betas": (0.8, 0.9)}),
    "radam": ("RAdam", {"lr": 0.01, "weight_decay": 0.01}, {"betas": (0.8, 0.99)}),
    "adafactor": ("Adafactor", {"lr": 0.05, "weight_decay": 0.01}, {"d": 2.0, "beta2_decay": -0.5}),
    "adafactor eps": ("Adafactor", {"lr": 0.5, "eps": (0.01, 0.1), "maximize": True}, {"weight_decay": 0.1, "eps": (1e-6, 1e-2)}),
    "radam decoupled": ("RAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}, {}),
}  # fmt: skip
AUTHORS = {
    "schedule-free": (
        "ScheduleFreeAdamW",
        {"lr": 0.02, "weight_decay": 0.01, "warmup_steps": 20, "r": 1.0},
        {"betas": (0.8, 0.99), "warmup_steps": 0, "weight_lr_power": 1.0},
    ),
}
OPTAX = {
    "lion": ("Lion", {"lr": 0.003, "betas": (0.9, 0.99), "weight_decay": 0.1}, {"weight_decay": 0.0}),
    "lamb": ("LAMB", {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 0.01}, {"betas": (0.8, 0.99)}),
    "schedule-free by optax": ("ScheduleFreeAdamW", {"lr": 0.02, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}, {"betas": (0.8, 0.99)}),
}  # fmt: skip
CASES = {**TORCH, **AUTHORS, **OPTAX}
# PyTorch's Muon takes matrices alone, [out, in], and iterates in bfloat16; "exact" without that rounding
MUON = {
    "muon": {"lr": 0.02},
    "muon rms": {"lr": 0.02, "adjust_lr_fn": "match_rms_adamw", "nesterov": False, "momentum": 0.8, "weight_decay": 0.5, "ns_steps": 3},
}
MATRICES = [(5, 7), (16, 4), (9, 9), (1, 6)]
# optax's schedule-free makes x of y and z anew in each step, whose rounding in float32 alone is beyond the tolerance
DTYPES = {name: ("float64",) if name == "schedule-free by optax" else ("float32", "float64") for name in CASES}


def uniform(seed, shapes, dtype):
    """Arrays of numbers in [-1, 1)."""
    bits = np.random.PCG64(seed).random_raw(sum(int(np.prod(s)) for s in shapes))
    flat = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
    ends = np.cumsum([int(np.prod(s)) for s in shapes])
    return [a.reshape(s).astype(dtype) for a, s in zip(np.split(flat, ends[:-1]), shapes)]


def weights(dtype, shapes=SHAPES):
    return uniform(2, shapes, dtype)


def gradients(step, dtype, shapes=SHAPES):
    """Of step number `step`, from 0. Every third is smaller, by a factor of up to a thousand."""
    scale = 1.0 if step % 3 else 10.0 ** -(step % 4)
    return [g * g.dtype.type(scale) for g in uniform(1000 + step, shapes, dtype)]


def rate(lr, step):
    """The cosine that schedules.Cosine(lr, HORIZON) is."""
    return lr * 0.5 * (1 + math.cos(math.pi * step / HORIZON))


def settings_of(name):
    """(the first group's settings, the second's)."""
    _, first, differ = CASES[name]
    return first, {**first, "lr": SECOND * first["lr"], **differ}


def by_torch(name, dtype, shapes=SHAPES, steps=STEPS, implementation=None):
    """Yields PyTorch's weights after each step; for schedule-free those to evaluate with behind those to train with."""
    optimizer, params = torch_optimizer(name, dtype, shapes, implementation)
    for step in range(steps):
        torch_step(name, optimizer, params, step, dtype, shapes)
        found = [p.detach().numpy().copy() for p in params]
        if name in AUTHORS:
            optimizer.eval()
            found += [p.detach().numpy().copy() for p in params]
            optimizer.train()
            for p, y in zip(params, found):
                p.detach().numpy()[...] = y
        yield found


def torch_optimizer(name, dtype, shapes=SHAPES, implementation=None):
    """(PyTorch's optimizer of a case, its parameters)."""
    import torch

    kind, first, _ = CASES[name]
    if name in AUTHORS:
        from schedulefree import AdamWScheduleFree as kind
    else:
        kind = getattr(torch.optim, kind)
    params = [torch.nn.Parameter(torch.from_numpy(w)) for w in weights(dtype, shapes)]
    groups = [{"params": p, **s} for p, s in zip((params[:SPLIT], params[SPLIT:]), settings_of(name))]
    chosen = {} if implementation is None else {implementation: True}
    optimizer = kind(groups, **first, **chosen)
    if name in AUTHORS:
        optimizer.train()
    return optimizer, params


def torch_step(name, optimizer, params, step, dtype, shapes=SHAPES):
    """One step with the rates and gradients of step number `step`."""
    import torch

    for group, settings in zip(optimizer.param_groups, settings_of(name)):
        group["lr"] = rate(settings["lr"], step)
    for p, g in zip(params, gradients(step, dtype, shapes)):
        p.grad = torch.from_numpy(g)
    torch.set_default_dtype(torch.float64)  # in which NAdam keeps its product of betas
    optimizer.step()
    torch.set_default_dtype(torch.float32)


def by_muon(name, exact, shapes=MATRICES, steps=STEPS):
    """Yields the weights [out, in], float64, after each step of PyTorch's Muon. exact: what it makes bfloat16 stays float64."""
    import torch

    params = [torch.nn.Parameter(torch.from_numpy(w)) for w in weights("float64", shapes)]
    optimizer, bfloat16 = torch.optim.Muon(params, **MUON[name]), torch.Tensor.bfloat16
    if exact:
        torch.Tensor.bfloat16 = torch.Tensor.clone
    try:
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = rate(MUON[name]["lr"], step)
            for p, g in zip(params, gradients(step, "float64", shapes)):
                p.grad = torch.from_numpy(g)
            optimizer.step()
            yield [p.detach().numpy().copy() for p in params]
    finally:
        torch.Tensor.bfloat16 = bfloat16


def by_optax(name, dtype, shapes=SHAPES, steps=STEPS):
    """The same by optax."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    import optax

    def make(kind, lr, betas, weight_decay, eps=None):
        if kind == "Lion":
            return optax.lion(lr, *betas, weight_decay=weight_decay)
        if kind == "LAMB":
            return optax.lamb(lr, *betas, eps=eps, weight_decay=weight_decay)
        return optax.contrib.schedule_free_adamw(lr, b1=betas[0], b2=betas[1], eps=eps, weight_decay=weight_decay)

    kind, _, _ = OPTAX[name]
    params = [jnp.asarray(w) for w in weights(dtype, shapes)]
    parts = (params[:SPLIT], params[SPLIT:])

    def chosen(settings):
        lr, others = settings["lr"], {k: v for k, v in settings.items() if k != "lr"}
        return make(kind, lambda step: 0.5 * lr * (1 + jnp.cos(jnp.pi * step.astype(jnp.float64) / HORIZON)), **others)

    optimizers = [chosen(s) for s in settings_of(name)]
    states = [o.init(p) for o, p in zip(optimizers, parts)]
    updates = [jax.jit(o.update) for o in optimizers]
    for step in range(steps):
        grads = [jnp.asarray(g) for g in gradients(step, dtype, shapes)]
        new = []
        for i, g in enumerate((grads[:SPLIT], grads[SPLIT:])):
            change, states[i] = updates[i](g, states[i], parts[i])
            new.append(optax.apply_updates(parts[i], change))
        parts = tuple(new)
        found = [*parts[0], *parts[1]]
        if kind == "ScheduleFreeAdamW":
            for i in range(2):
                found += optax.contrib.schedule_free_eval_params(states[i], parts[i])
        yield [np.array(w) for w in found]


def trajectory(name, dtype, **more):
    """By whichever library has it."""
    return (by_optax if name in OPTAX else by_torch)(name, dtype, **more)


if __name__ == "__main__":
    arrays = {}
    for name in CASES:
        for dtype in DTYPES[name]:
            for step, found in enumerate(trajectory(name, dtype), 1):
                if step in KEPT:
                    arrays[f"{name}/{dtype}/{step}"] = np.concatenate([w.ravel() for w in found])
    for name in MUON:
        for how in ("exact", "bfloat16"):
            for step, found in enumerate(by_muon(name, how == "exact"), 1):
                if step in KEPT:
                    arrays[f"{name}/{how}/{step}"] = np.concatenate([w.ravel() for w in found])
    np.savez_compressed(FILE, **arrays)
    print(f"{FILE}: {FILE.stat().st_size} bytes")
