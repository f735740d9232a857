"""Over-fitting on purpose, and two cures: a network of seven layers, six of 100 units, is shown 300 images.

It learns all of them by heart, and does worse on others. With weight decay (λ = 0.1), or with dropout, the two come nearer to each
other, and not all of the 300 are learnt. (K. Saito, "Deep Learning from Scratch", chapter 6.)
"""

import fastnn
from common import digits, save
from fastnn import losses, nn, optim, regularizers

CASES = {
    "as it is": {},
    "weight decay 0.1": {"penalty": regularizers.L2(0.1)},
    "dropout 0.2": {"dropout": 0.2},
}


def train(X, y, X_test, y_test, epochs, penalty=None, dropout=0.0):
    """Accuracies in training, without dropout, and on the test's images."""
    fastnn.manual_seed(0)
    model = nn.mlp([X.shape[1], *[100] * 6, 10], dropout=dropout)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=0.01), penalty=penalty)
    found = [], []
    for _ in range(epochs):
        trainer.fit(X, y, batch_size=100, verbose=0)
        for values, pair in zip(found, ((X, y), (X_test, y_test))):
            values.append(trainer.evaluate(*pair)["accuracy"])
    return found


def run(short=False):
    arrays = digits(300)
    return {name: train(*arrays, 60 if short else 300, **settings) for name, settings in CASES.items()}


def draw(found):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(10, 3.8), sharey=True, layout="constrained")
    for ax, (name, (train_, test)) in zip(axes, found.items()):
        ax.plot(train_, label="in training")
        ax.plot(test, label="test")
        ax.set(title=f"{name}: {train_[-1]:.2f} and {test[-1]:.2f}", xlabel="epochs", ylim=(0, 1.02))
    axes[0].set_ylabel("accuracy")
    axes[0].legend(loc="lower right")
    save(figure, __file__)


if __name__ == "__main__":
    draw(run())
