"""Where four optimizers go on f(x, y) = x² / 20 + y², a valley along x whose slopes point to its bottom, not to its lowest point.

Plain descent goes from side to side; momentum rolls on in round curves; AdaGrad's and Adam's rates, one for each axis, take most of
that away. (K. Saito, "Deep Learning from Scratch", chapter 6.)
"""

import numpy as np

from common import save
from fastnn import optim

OPTIMIZERS = {
    "SGD, 0.95": lambda p: optim.SGD(p, lr=0.95),
    "momentum, 0.1": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "AdaGrad, 1.5": lambda p: optim.Adagrad(p, lr=1.5),
    "Adam, 0.3": lambda p: optim.Adam(p, lr=0.3),
}


def path(make, steps=30):
    """Positions from (-7, 2) on."""
    w = np.array([-7.0, 2.0])
    optimizer, seen = make([w]), [w.copy()]
    for _ in range(steps):
        optimizer.step([np.array([w[0] / 10, 2 * w[1]])])
        seen.append(w.copy())
    return np.array(seen)


def run(short=False):
    return {name: path(make) for name, make in OPTIMIZERS.items()}


def draw(found):
    import matplotlib.pyplot as plt

    x, y = np.meshgrid(np.linspace(-10, 10, 200), np.linspace(-5, 5, 200))
    figure, axes = plt.subplots(2, 2, figsize=(9, 5.5), layout="constrained")
    for ax, (name, seen) in zip(axes.flat, found.items()):
        ax.contour(x, y, x**2 / 20 + y**2, levels=[0.3, 1, 2, 4, 7, 11, 16, 22], colors="lightgray")
        ax.plot(*seen.T, "o-", color="tab:red", markersize=3)
        ax.plot(0, 0, "+", color="black")
        ax.set(title=name, xlim=(-10, 10), ylim=(-5, 5))
    save(figure, __file__)


if __name__ == "__main__":
    draw(run())
