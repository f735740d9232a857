"""Maxout: a unit that is the largest of several linear functions learns its own activation function.

One maxout unit of six pieces comes close to any convex function, and the difference of two close to any. On a spiral of three classes a
hidden layer of them does what one of ReLU units does, with twice the parameters. (I. Goodfellow et al., "Maxout networks", 2013;
Stanford's CS231n, "Neural Networks Part 1".)
"""

import numpy as np

import fastnn
from common import save
from fastnn import losses, nn, optim

CURVES = {"|x|": np.abs, "relu": lambda x: np.maximum(x, 0), "x²": np.square, "sin 2x (two units)": lambda x: np.sin(2 * x)}


def curve(name, x, steps):
    """What one maxout unit, or the difference of two, makes of x after learning it."""
    fastnn.manual_seed(2)
    units = 2 if "two" in name else 1
    model = nn.Sequential(nn.Maxout(1, units, pieces=6), *([nn.Dense(2, 1)] if units == 2 else []))
    trainer = fastnn.Trainer(model, losses.MeanSquaredError(), optim.Adam(model.parameters(), lr=0.02))
    trainer.fit(x, CURVES[name](x), epochs=steps, batch_size=50, verbose=0)
    return model.predict(x)


def spiral(n=100):
    """Three arms."""
    rng, r = np.random.default_rng(0), np.linspace(0.0, 1, n)
    angles = [np.linspace(k * 4, (k + 1) * 4, n) + rng.normal(0, 0.2, n) for k in range(3)]
    return np.concatenate([np.stack([r * np.sin(t), r * np.cos(t)], axis=1) for t in angles]), np.repeat(np.arange(3), n)


def run(short=False):
    x, steps = np.linspace(-2, 2, 200).reshape(-1, 1), 200 if short else 400
    curves = {name: (x, CURVES[name](x), curve(name, x, steps)) for name in CURVES}
    points, classes = spiral()
    models = {}
    for name, layer in (("ReLU", lambda: nn.Dense(2, 50, activation="relu")), ("maxout", lambda: nn.Maxout(2, 50, pieces=2))):
        fastnn.manual_seed(0)
        model = nn.Sequential(layer(), nn.Dense(50, 3))
        trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.02))
        models[name] = model, trainer.fit(points, classes, epochs=steps // 2, batch_size=30, verbose=0)["accuracy"][-1]
    return curves, points, classes, models


def draw(found):
    import matplotlib.pyplot as plt

    curves, points, classes, models = found
    figure, axes = plt.subplots(2, 3, figsize=(9, 5.5), layout="constrained")
    for ax, (name, (x, y, learnt)) in zip(axes.flat, curves.items()):
        ax.plot(x, y, color="gray", linewidth=4, alpha=0.4)
        ax.plot(x, learnt, color="tab:red")
        ax.set_title(name)
    grid = np.stack(np.meshgrid(np.linspace(-1.2, 1.2, 200), np.linspace(-1.2, 1.2, 200)), axis=-1)
    for ax, (name, (model, accuracy)) in zip(axes.flat[4:], models.items()):
        decided = model.predict_classes(grid.reshape(-1, 2)).reshape(200, 200)
        ax.contourf(grid[..., 0], grid[..., 1], decided, levels=[-0.5, 0.5, 1.5, 2.5], cmap="Pastel1")
        ax.scatter(*points.T, c=classes, s=5, cmap="Set1")
        ax.set(title=f"spiral, {name}: {accuracy:.0%}", xticks=[], yticks=[])
    save(figure, __file__)


if __name__ == "__main__":
    draw(run())
