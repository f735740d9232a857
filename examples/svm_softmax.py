"""Two linear classifiers of digits: a support vector machine (the multi-class hinge loss) and softmax regression (cross-entropy).

They end about equally good, with much the same templates: the weights of each class, as a picture. But the machine's loss of a digit
is 0 once its score is ahead by the margin of 1, and most are; softmax is never content. (Stanford's CS231n, "Linear classification".)
"""

import numpy as np

import fastnn
from common import digits, save
from fastnn import losses, nn, optim, regularizers


def train(loss, X, y, X_test, y_test, steps=3000):
    fastnn.manual_seed(0)
    model = nn.Sequential(nn.Dense(X.shape[1], 10, init=0.001))
    trainer = fastnn.Trainer(model, loss, optim.Adam(model.parameters(), lr=1e-3), penalty=regularizers.L2(1e-2))
    trainer.fit(X, y, epochs=-(-steps * 100 // len(X)), batch_size=100, verbose=0)
    scores = model.predict(X)
    if isinstance(loss, losses.MulticlassHinge):
        margins = np.maximum(0, scores - scores[np.arange(len(y)), y][:, None] + 1)
        margins[np.arange(len(y)), y] = 0
        each = margins.sum(axis=1)
    else:
        each = np.logaddexp.reduce(scores, axis=1) - scores[np.arange(len(y)), y]
    return model[0].weight.data.copy(), trainer.evaluate(X_test, y_test)["accuracy"], each


def run(short=False):
    """{name: (weights, accuracy in the test, the loss of each image that was trained on)}"""
    arrays = digits()
    cases = {"SVM": losses.MulticlassHinge(), "softmax": losses.SoftmaxCrossEntropy()}
    return {name: train(loss, *arrays) for name, loss in cases.items()}


def draw(found):
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(10, 6), layout="constrained")
    for part, (name, (weights, accuracy, each)), color in zip(figure.subfigures(2, 1), found.items(), ("C0", "C1")):
        templates, losses_ = part.subfigures(2, 1)
        side, limit = round(len(weights) ** 0.5), np.abs(weights).max() * 0.7
        for ax, digit in zip(templates.subplots(1, 10), weights.T):
            ax.imshow(digit.reshape(side, side), cmap="RdBu_r", vmin=-limit, vmax=limit)
            ax.axis("off")
        part.suptitle(f"{name}: test accuracy {accuracy:.3f}; of the losses of images, {np.mean(each == 0):.0%} are 0", fontsize=10)
        losses_.subplots().hist(each, 60, range=(0, 2), color=color, log=True)
    save(figure, __file__)


if __name__ == "__main__":
    draw(run())
