"""Four optimizers on handwritten digits: a network of five layers of 100 ReLU units, 2,000 steps of 128 images.

Momentum, AdaGrad and Adam learn much faster than plain descent. (K. Saito, "Deep Learning from Scratch", chapter 6.)
The four trainings run side by side, each on a thread.
"""

from common import digits, save, smooth
from fastnn import callbacks, ensemble, losses, nn, optim

OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.01),
    "momentum": lambda p: optim.SGD(p, lr=0.01, momentum=0.9),
    "AdaGrad": lambda p: optim.Adagrad(p, lr=0.01),
    "Adam": lambda p: optim.Adam(p, lr=0.001),
}


def run(short=False):
    """The losses of the steps, by name."""
    X, y, *_ = digits()
    steps = 300 if short else 2000
    seen = [[] for _ in OPTIMIZERS]

    def note(i):
        return [callbacks.Lambda(on_step_end=lambda step, logs: seen[i].append(logs["loss"]))]

    ensemble.train_many(
        lambda: nn.mlp([X.shape[1], *[100] * 5, 10]),
        losses.SoftmaxCrossEntropy(),
        lambda parameters, name: OPTIMIZERS[name](parameters),
        X,
        y,
        settings=list(OPTIMIZERS),
        seeds=[0] * 4,  # from the same weights, through the same batches
        epochs=-(-steps // (len(X) // 128)),
        batch_size=128,
        drop_last=True,
        callbacks=note,
    )
    return {name: losses_[:steps] for name, losses_ in zip(OPTIMIZERS, seen)}


def draw(found):
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for (name, values), marker in zip(found.items(), "oxsD"):
        ax.plot(smooth(values, 0.97), marker=marker, markevery=100, markersize=5, label=name)
    ax.set(xlabel="steps", ylabel="loss", ylim=(0, 1))
    ax.legend()
    save(figure, __file__)


if __name__ == "__main__":
    draw(run())
