"""Exponentially weighted averages of a noisy cosine, v = β v + (1 - β) θ, for β = 0.9, 0.98 and 0.5.

About 1 / (1 - β) of the last values count: 10, 50 and 2. A larger β is smoother and later. From v = 0 the averages begin too low;
divided by 1 - β^t they do not. (A. Ng's course on deep learning, where θ is the temperature in London.)

The averages are the velocities of SGD's momentum in the forms "average" and "corrected", with θ for the gradient and a rate of 1.
"""

import numpy as np

from common import save
from fastnn import optim

BETAS = (0.9, 0.98, 0.5)


def averages(values, beta, form):
    """What SGD takes off a weight of 0 in every step."""
    w, before, found = np.zeros(1), 0.0, []
    optimizer = optim.SGD([w], lr=1.0, momentum=beta, form=form)
    for v in values:
        optimizer.step([np.array([v])])
        found.append(before - w[0])
        before = w[0]
    return np.array(found)


def run(short=False):
    days = np.arange(200)
    values = 50 - 25 * np.cos(2 * np.pi * days / 200) + np.random.default_rng(0).normal(0, 5, 200)
    return values, {(beta, form): averages(values, beta, form) for beta in BETAS for form in ("average", "corrected")}


def draw(found):
    import matplotlib.pyplot as plt

    values, lines = found
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), sharey=True, layout="constrained")
    for ax, beta in zip(axes, BETAS):
        ax.scatter(range(len(values)), values, s=5, color="gray")
        ax.plot(lines[beta, "average"], color="tab:red", label="from 0")
        ax.plot(lines[beta, "corrected"], "--", color="tab:green", label="corrected")
        ax.set(title=f"β = {beta}: about {1 / (1 - beta):.0f} values", xlabel="days")
    axes[0].set_ylabel("temperature")
    axes[0].legend()
    save(figure, __file__)


if __name__ == "__main__":
    draw(run())
