"""Sixteen initial deviations from 1 to 0.0001, with and without batch normalisation.

With it the network learns from nearly all of them, and faster; without it from a few only.
(S. Ioffe and C. Szegedy, 2015; K. Saito, "Deep Learning from Scratch", chapter 6.)
"""

import numpy as np

import fastnn
from common import digits, save
from fastnn import losses, nn, optim

DEVIATIONS = np.logspace(0, -4, 16)


def train(deviation, normalized, X, y, epochs):
    """The accuracy of each epoch on what is trained on."""
    fastnn.manual_seed(0)
    layers, sizes = [], [X.shape[1], *[100] * 5]
    for a, b in zip(sizes, sizes[1:]):
        layers += [nn.Dense(a, b, init=deviation), *[nn.BatchNorm(b)] * normalized, nn.ReLU()]
    model = nn.Sequential(*layers, nn.Dense(100, 10, init=deviation))
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=0.01))
    with np.errstate(all="ignore"):
        return trainer.fit(X, y, epochs=epochs, batch_size=100, verbose=0)["accuracy"]


def run(short=False):
    """{deviation: (with, without)}"""
    X, y, *_ = digits(1000)
    chosen, epochs = (DEVIATIONS[[4, 12]], 8) if short else (DEVIATIONS, 20)
    return {d: [train(float(d), normalized, X, y, epochs) for normalized in (True, False)] for d in chosen}


def draw(found):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(4, 4, figsize=(9, 8), sharex=True, sharey=True, layout="constrained")
    for ax, (deviation, (with_, without)) in zip(axes.flat, found.items()):
        ax.plot(with_, label="batch normalisation")
        ax.plot(without, "--", label="without")
        ax.set(title=f"deviation {deviation:.2g}", ylim=(0, 1))
    axes[0, 0].legend(fontsize=7)
    figure.supxlabel("epochs")
    figure.supylabel("accuracy in training")
    save(figure, __file__)


if __name__ == "__main__":
    draw(run())
