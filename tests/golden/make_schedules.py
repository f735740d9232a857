"""Makes schedules.npz: the rates that PyTorch's schedulers give, stepped one by one.

    python tests/golden/make_schedules.py      # needs PyTorch; the file in the repository is from 2.13

The tests import CASES, compare fastnn with the file, and live with PyTorch where it is installed.
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("schedules.npz")
LR, STEPS = 0.3, 64


def _sequence(s, o, parts, milestones):
    return s.SequentialLR(o, [part(o) for part in parts], milestones)


# name: (the configuration of fastnn's, PyTorch's from torch.optim.lr_scheduler and an optimizer)
CASES = {
    "step": ({"kind": "Step", "lr": LR, "step_size": 7, "gamma": 0.6}, lambda s, o: s.StepLR(o, 7, 0.6)),
    "multi step": (
        {"kind": "MultiStep", "lr": LR, "milestones": [3, 4, 30], "gamma": 0.2},
        lambda s, o: s.MultiStepLR(o, [3, 4, 30], 0.2),
    ),
    "exponential": ({"kind": "Exponential", "lr": LR, "gamma": 0.93}, lambda s, o: s.ExponentialLR(o, 0.93)),
    "inverse time": (
        {"kind": "InverseTime", "lr": LR, "decay_rate": 0.3, "decay_steps": 4},
        lambda s, o: s.LambdaLR(o, lambda t: 1 / (1 + 0.3 * t / 4)),
    ),
    "cosine": (
        {"kind": "Cosine", "lr": LR, "T_max": STEPS - 1, "eta_min": 0.01},
        lambda s, o: s.CosineAnnealingLR(o, STEPS - 1, 0.01),
    ),
    "cosine restarts": (
        {"kind": "CosineRestarts", "lr": LR, "T_0": 9, "eta_min": 0.02},
        lambda s, o: s.CosineAnnealingWarmRestarts(o, 9, eta_min=0.02),
    ),
    "cosine longer restarts": (
        {"kind": "CosineRestarts", "lr": LR, "T_0": 5, "T_mult": 3},
        lambda s, o: s.CosineAnnealingWarmRestarts(o, 5, 3),
    ),
    "linear": ({"kind": "Linear", "lr": LR, "total_iters": 12}, lambda s, o: s.LinearLR(o, total_iters=12)),
    "linear down": (
        {"kind": "Linear", "lr": LR, "start_factor": 1.0, "end_factor": 0.1, "total_iters": 40},
        lambda s, o: s.LinearLR(o, 1.0, 0.1, 40),
    ),
    "polynomial": (
        {"kind": "Polynomial", "lr": LR, "total_iters": 50, "power": 1.7},
        lambda s, o: s.PolynomialLR(o, 50, 1.7),
    ),
    "one cycle": (
        {"kind": "OneCycle", "max_lr": LR, "total_steps": STEPS},
        lambda s, o: s.OneCycleLR(o, LR, STEPS, cycle_momentum=False),
    ),
    "one cycle linear": (
        {"kind": "OneCycle", "max_lr": LR, "total_steps": STEPS, "pct_start": 0.25, "anneal_strategy": "linear",
         "div_factor": 10.0, "final_div_factor": 100.0},
        lambda s, o: s.OneCycleLR(o, LR, STEPS, pct_start=0.25, anneal_strategy="linear", cycle_momentum=False,
                                  div_factor=10.0, final_div_factor=100.0),
    ),
    "one cycle from the top": (
        {"kind": "OneCycle", "max_lr": LR, "total_steps": STEPS, "pct_start": 0.0},
        lambda s, o: s.OneCycleLR(o, LR, STEPS, pct_start=0.0, cycle_momentum=False),
    ),
    "one cycle in three phases": (
        {"kind": "OneCycle", "max_lr": LR, "total_steps": STEPS, "three_phase": True, "pct_start": 0.4},
        lambda s, o: s.OneCycleLR(o, LR, STEPS, three_phase=True, pct_start=0.4, cycle_momentum=False),
    ),
    "warm-up": (
        {"kind": "WarmUp", "schedule": {"kind": "Exponential", "lr": LR, "gamma": 0.9}, "steps": 10, "start_factor": 0.05},
        lambda s, o: _sequence(s, o, [lambda o: s.LinearLR(o, 0.05, 1.0, 10), lambda o: s.ExponentialLR(o, 0.9)], [10]),
    ),
    "sequence": (
        {"kind": "Sequence", "schedules": [
            {"kind": "Linear", "lr": LR, "start_factor": 0.2, "total_iters": 6},
            {"kind": "Step", "lr": LR, "step_size": 4, "gamma": 0.8},
            {"kind": "Cosine", "lr": LR, "T_max": 40}], "milestones": [8, 25]},
        lambda s, o: _sequence(s, o, [lambda o: s.LinearLR(o, 0.2, 1.0, 6), lambda o: s.StepLR(o, 4, 0.8),
                                      lambda o: s.CosineAnnealingLR(o, 40)], [8, 25]),
    ),
    "product": (
        {"kind": "Product", "schedules": [
            {"kind": "Linear", "lr": 1.0, "start_factor": 0.5, "total_iters": 9},
            {"kind": "Exponential", "lr": LR, "gamma": 0.95}]},
        lambda s, o: s.ChainedScheduler([s.LinearLR(o, 0.5, 1.0, 9), s.ExponentialLR(o, 0.95)], o),
    ),
}  # fmt: skip

# name: settings of ReduceOnPlateau and of PyTorch's ReduceLROnPlateau
PLATEAUS = {
    "plateau": {"factor": 0.5, "patience": 2},
    "plateau at once": {"factor": 0.8, "patience": 0, "threshold": 0.05},
    "plateau max": {"mode": "max", "factor": 0.3, "patience": 1, "cooldown": 3},
    "plateau abs": {"threshold_mode": "abs", "threshold": 0.1, "factor": 0.7, "patience": 1, "min_lr": 0.05},
    "plateau max abs": {"mode": "max", "threshold_mode": "abs", "threshold": 0.2, "factor": 0.5, "patience": 1, "eps": 0.01},
}


def metrics():
    """Numbers above 0 (below it PyTorch's plateau errs) that fall, stall and jump, one NaN and one infinity among them."""
    found, x = [], 123456789
    for i in range(STEPS):
        x = (1103515245 * x + 12345) % 2**31
        found.append(3.0 / (1 + 0.2 * i) + x / 2**31)
    found[20], found[33] = float("nan"), float("inf")
    return found


def from_torch(name):
    """The rates of STEPS steps, float64."""
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    rates = []
    if name in PLATEAUS:
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **PLATEAUS[name])
        for metric in metrics():
            scheduler.step(metric)
            rates.append(optimizer.param_groups[0]["lr"])
        return np.array(rates)
    scheduler = CASES[name][1](torch.optim.lr_scheduler, optimizer)
    for step in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < STEPS - 1:
            scheduler.step()
    return np.array(rates)


if __name__ == "__main__":
    np.savez_compressed(FILE, **{name: from_torch(name) for name in (*CASES, *PLATEAUS)})
    print(f"{FILE}: {FILE.stat().st_size} bytes")
