"""Where a network of one hidden layer decides, on points of two classes: with 3, 6 and 20 hidden units, and with 20 at three
strengths of L2 regularisation.

More units draw wilder boundaries; a stronger penalty smooths those of a large network. That is the better of the two ways to avoid
over-fitting. (Stanford's CS231n, "Neural Networks Part 1".)
"""

import numpy as np

import fastnn
from common import save
from fastnn import losses, nn, optim, regularizers

CASES = [(3, 1e-5), (6, 1e-5), (20, 1e-5), (20, 1e-4), (20, 1e-3), (20, 1e-2)]


def points(n=80):
    """Two classes that overlap a little: a disc, and what is round it."""
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, size=(n, 2))
    y = (np.hypot(x[:, 0], x[:, 1] * 0.8) + 0.15 * rng.normal(size=n) > 0.6).astype(int)
    return x, y


def train(hidden, strength, x, y):
    """The model at the minimum of its loss, as L-BFGS finds it, and how much it gets right."""
    fastnn.manual_seed(5)
    model = nn.Sequential(nn.Dense(2, hidden, activation="tanh"), nn.Dense(hidden, 2))
    penalty = regularizers.L2(strength)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters()), penalty=penalty)
    history = trainer.fit_lbfgs(x, y, max_iter=500, verbose=0)
    return model, history["accuracy"][-1]


def run(short=False):
    x, y = points()
    return x, y, {case: train(*case, x, y) for case in (CASES[::5] if short else CASES)}


def draw(found):
    import matplotlib.pyplot as plt

    x, y, models = found
    grid = np.stack(np.meshgrid(np.linspace(-1.1, 1.1, 200), np.linspace(-1.1, 1.1, 200)), axis=-1)
    figure, axes = plt.subplots(2, 3, figsize=(9, 6), layout="constrained")
    for ax, ((hidden, strength), (model, accuracy)) in zip(axes.flat, models.items()):
        classes = model.predict_classes(grid.reshape(-1, 2)).reshape(200, 200)
        ax.contourf(grid[..., 0], grid[..., 1], classes, levels=[-0.5, 0.5, 1.5], colors=["#b8dcb8", "#e8b8b8"])
        ax.scatter(*x.T, c=np.array(["green", "red"])[y], edgecolors="black", s=18)
        ax.set(title=f"{hidden} units, λ = {strength:g}: {accuracy:.0%}", xticks=[], yticks=[])
    save(figure, __file__)


if __name__ == "__main__":
    draw(run())
