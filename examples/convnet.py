"""A convolutional network on handwritten digits, the filters that it has learned, and the digits of the test that it is most wrong about.

On MNIST's images, where they lie, the network is 32 and 64 filters of 3 x 3, pooling, and 128 units, with dropout: eight epochs over
8,000 images. On the small digits that come with fastnn it is a smaller one.
"""

import numpy as np

import fastnn
from common import digits, save
from fastnn import losses, nn, optim


def network(side):
    """For images of so many pixels along each side."""
    filters, units, padding = ((32, 64), 128, 0) if side > 16 else ((16, 32), 64, 1)
    return nn.Sequential(
        nn.Input(side, side, 1),
        nn.Conv2d(None, filters[0], 3, padding=padding, activation="relu"),
        nn.Conv2d(None, filters[1], 3, padding=padding, activation="relu"),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Dense(None, units, activation="relu"),
        nn.Dropout(0.5),
        nn.Dense(None, 10),
    )


def run(short=False, seed=1):
    """(the model, the images of the test, their labels, its probabilities)"""
    X, y, X_test, y_test = digits(1000 if short else None)
    side = round(X.shape[1] ** 0.5)
    X, X_test = (a.reshape(-1, side, side, 1) for a in (X, X_test))
    fastnn.manual_seed(seed)
    model = network(side)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=1e-3), seed=seed)
    epochs = (2 if short else 8) if side > 16 else 12 if short else 60
    trainer.fit(X, y, epochs=epochs, batch_size=64 if side > 16 else 32, verbose=0)
    return model, X_test, y_test, model.predict_proba(X_test)


def draw(found):
    import matplotlib.pyplot as plt

    model, images, labels, p = found
    right = p[np.arange(len(labels)), labels]
    filters = next(layer for layer in model if isinstance(layer, nn.Conv2d)).weight.data[:, :, 0]
    figure = plt.figure(figsize=(10, 4.5), layout="constrained")
    left, beside = figure.subfigures(1, 2)
    for panel, columns, pictures, titles in (
        (left, 8, np.moveaxis(filters, -1, 0)[:32], None),
        (beside, 6, images[np.argsort(right)[:12], :, :, 0], [f"{labels[i]}, not {p[i].argmax()}" for i in np.argsort(right)[:12]]),
    ):
        axes = panel.subplots(-(-len(pictures) // columns), columns, squeeze=False)
        for ax in axes.flat:
            ax.axis("off")
        for i, (ax, picture) in enumerate(zip(axes.flat, pictures)):
            ax.imshow(picture, cmap="gray" if titles is None else "gray_r")
            if titles is not None:
                ax.set_title(titles[i], fontsize=8)
    left.suptitle("filters of the first layer", fontsize=9)
    beside.suptitle(f"the least probable of the test ({np.mean(p.argmax(axis=1) == labels):.1%} are right)", fontsize=9)
    save(figure, __file__)


if __name__ == "__main__":
    result = run()
    print(f"{np.mean(result[3].argmax(axis=1) == result[2]):.2%} of the test are right")
    draw(result)
