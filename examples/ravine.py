"""Momentum against plain descent in a ravine: f(x, y) = (x² + 40 y²) / 2.

Plain descent must keep its rate below 2 / 40, or it flies out sideways, and is slow along the ravine; just below the limit it swings
from wall to wall. With momentum the swings cancel and the way along adds up. (N. Qian, 1999; G. Goh, "Why momentum really works".)
"""

import numpy as np

from common import save
from fastnn import optim

CASES = {
    "plain, rate 0.01": lambda p: optim.SGD(p, lr=0.01),
    "plain, rate 0.048": lambda p: optim.SGD(p, lr=0.048),
    "momentum 0.8, rate 0.03": lambda p: optim.SGD(p, lr=0.03, momentum=0.8),
}


def value(w):
    return (w[0] ** 2 + 40 * w[1] ** 2) / 2


def path(make, steps=60):
    w = np.array([-10.0, 1.0])
    optimizer, seen = make([w]), [w.copy()]
    for _ in range(steps):
        optimizer.step([np.array([w[0], 40 * w[1]])])
        seen.append(w.copy())
    return np.array(seen)


def run(short=False):
    return {name: path(make) for name, make in CASES.items()}


def draw(found):
    import matplotlib.pyplot as plt

    x, y = np.meshgrid(np.linspace(-11, 4, 150), np.linspace(-1.5, 1.5, 150))
    figure, axes = plt.subplots(2, 2, figsize=(10, 5), layout="constrained")
    for ax, (name, seen) in zip(axes.flat, found.items()):
        ax.contour(x, y, value((x, y)), levels=[0.5, 2, 5, 10, 20, 35, 55, 80], colors="lightgray")
        ax.plot(*seen.T, ".-", color="tab:red", markersize=4, linewidth=1)
        ax.plot(0, 0, "+", color="black")
        ax.set(title=name, xlim=(-11, 4), ylim=(-1.5, 1.5))
        axes[1, 1].plot([value(w) for w in seen], label=name)
    axes[1, 1].set(yscale="log", xlabel="steps", title="f")
    axes[1, 1].legend()
    save(figure, __file__)


if __name__ == "__main__":
    draw(run())
