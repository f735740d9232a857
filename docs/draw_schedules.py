"""Draws the pictures of docs/schedules.md: `python docs/draw_schedules.py` (needs matplotlib).

Each shows the rate over 100 steps, or epochs. The expressions stand in docs/schedules.md too, above their pictures; a test
holds them together.
"""

from pathlib import Path

import numpy as np

from fastnn import schedules
from fastnn.schedules import *  # noqa: F403 - the pictures' expressions name every schedule

FOLDER = Path(__file__).with_name("schedules")
COUNT = 100
PICTURES = {
    "constant": "Constant(0.1)",
    "step": "Step(0.1, step_size=25, gamma=0.5)",
    "multistep": "MultiStep(0.1, milestones=[40, 80], gamma=0.2)",
    "exponential": "Exponential(0.1, gamma=0.96)",
    "inverse-time": "InverseTime(0.1, decay_rate=1.0, decay_steps=20)",
    "cosine": "Cosine(0.1, T_max=90, eta_min=0.005)",
    "cosine-restarts": "CosineRestarts(0.1, T_0=14, T_mult=2)",
    "cos-log": "CosLog(0.1, total_steps=100)",
    "linear": "Linear(0.1, start_factor=1, end_factor=0.1, total_iters=80)",
    "polynomial": "Polynomial(0.1, total_iters=90, power=2)",
    "one-cycle": "OneCycle(0.1, total_steps=100)",
    "warm-up": "WarmUp(Cosine(0.1, T_max=80), steps=15)",
    "sequence": "Sequence([Linear(0.1, 0.1, 1, 20), 0.1, Exponential(0.1, 0.95)], milestones=[20, 50])",
    "product": "Cosine(0.1, T_max=100) * Step(1.0, step_size=25, gamma=0.7)",
    "per-epoch": "PerEpoch(Exponential(0.1, gamma=0.8), steps_per_epoch=10)",
    "reduce-on-plateau": "ReduceOnPlateau(0.1, factor=0.5, patience=5)",
}


def metric(epoch, rate):
    """A loss that falls to a floor, which is the lower the smaller the rate."""
    return 4 * rate + np.exp(-epoch / 6) + 0.01 * np.cos(5.0 * epoch)


def draw(plt, name, expression):
    schedule = eval(expression)
    figure, axes = plt.subplots(figsize=(4.2, 1.9), dpi=80, layout="constrained")
    steps, unit = np.arange(COUNT), "step"
    if isinstance(schedule, schedules.ReduceOnPlateau):
        rates, losses, unit = [], [], "epoch"
        for epoch in steps:
            rates.append(schedule.rate)
            losses.append(metric(epoch, schedule.rate))
            schedule.step(losses[-1])
        other = axes.twinx()
        other.plot(steps, losses, color="#c27b2c", linewidth=1)
        other.set_ylabel("loss", color="#c27b2c", fontsize=8)
        other.tick_params(labelsize=7)
        other.set_ylim(bottom=0)
        other.spines["top"].set_visible(False)
    else:
        rates = schedule.table(0, COUNT)
    axes.plot(steps, rates, drawstyle="steps-post", color="#1f5fa8", linewidth=1.6)
    axes.set_xlim(0, COUNT)
    axes.set_ylim(0, 0.105)
    axes.set_xlabel(unit, fontsize=8)
    axes.set_ylabel("rate", color="#1f5fa8", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(FOLDER / f"{name}.png", metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    FOLDER.mkdir(exist_ok=True)
    for name, expression in PICTURES.items():
        draw(plt, name, expression)
    sizes = [f.stat().st_size for f in FOLDER.glob("*.png")]
    print(f"{len(sizes)} pictures, {sum(sizes)} bytes")
