"""Three initialisations of a network of five layers of 100 ReLU units, on handwritten digits.

From weights of deviation 0.01 it hardly learns: nothing reaches the last layers. From Xavier's it does, from He's, which is made for
ReLU, a little faster. (K. Saito, "Deep Learning from Scratch", chapter 6.)
"""

import fastnn
from common import digits, save, smooth
from fastnn import callbacks, init, losses, nn, optim

INITIALIZERS = {"deviation 0.01": init.normal(std=0.01), "Xavier": init.xavier_normal(), "He": init.he_normal()}


def train(initializer, X, y, steps):
    """The losses of so many steps."""
    fastnn.manual_seed(0)
    sizes = [X.shape[1], *[100] * 5]
    hidden = [nn.Dense(a, b, activation="relu", init=initializer) for a, b in zip(sizes, sizes[1:])]
    model = nn.Sequential(*hidden, nn.Dense(100, 10, init=initializer))
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=0.01))
    seen = []
    note = callbacks.Lambda(on_step_end=lambda step, logs: seen.append(logs["loss"]))
    trainer.fit(X, y, epochs=-(-steps // (len(X) // 128)), batch_size=128, drop_last=True, callbacks=[note], verbose=0)
    return seen[:steps]


def run(short=False):
    X, y, *_ = digits()
    return {name: train(initializer, X, y, 500 if short else 2000) for name, initializer in INITIALIZERS.items()}


def draw(found):
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for (name, values), marker in zip(found.items(), "oxs"):
        ax.plot(smooth(values, 0.97), marker=marker, markevery=100, markersize=5, label=name)
    ax.set(xlabel="steps", ylabel="loss", ylim=(0, 2.5))
    ax.legend()
    save(figure, __file__)


if __name__ == "__main__":
    draw(run())
