"""A classifier of photographs of two kinds, on flattened images: 32 x 32 x 3 numbers, a hidden layer of 50 units, one output.

Cats and dogs stand in two folders of one's own: photographs.py OUTPUT FOLDER, with a folder inside for each kind. Without, the
pictures are 32 x 32 pieces of the two photographs that come with scikit-learn, a temple and a flower: the left two thirds to train on, the
rest to test. (The plan of A. Ng's course on deep learning, and of many after it.)
"""

import sys
from pathlib import Path

import numpy as np

import fastnn
from common import save
from fastnn import losses, nn, optim

SIDE = 32


def own(folder):
    """Images of a folder's two folders, cut to squares; every fifth is for the test."""
    from PIL import Image, ImageOps

    X, y = [], []
    for kind, inside in enumerate(sorted(p for p in Path(folder).iterdir() if p.is_dir())):
        for file in sorted(inside.iterdir()):
            X.append(np.asarray(ImageOps.fit(Image.open(file).convert("RGB"), (SIDE, SIDE))))
            y.append(kind)
    test = np.arange(len(y)) % 5 == 0
    return np.array(X)[~test], np.array(y)[~test], np.array(X)[test], np.array(y)[test]


def pieces():
    """Pieces of scikit-learn's photographs."""
    from sklearn.datasets import load_sample_images

    parts = [[], [], [], []]
    for kind, photo in enumerate(load_sample_images().images):
        edge = photo.shape[1] * 2 // 3
        for top in range(0, photo.shape[0] - SIDE, 16):
            for left in range(0, photo.shape[1] - SIDE, 16):
                if left + SIDE <= edge or left >= edge:
                    at = 2 * (left >= edge)
                    parts[at].append(photo[top : top + SIDE, left : left + SIDE])
                    parts[at + 1].append(kind)
    return tuple(map(np.array, parts))


def run(short=False):
    """(test images, their kinds, the model's probabilities of the second kind, the history)"""
    X, y, X_test, y_test = own(sys.argv[2]) if len(sys.argv) > 2 else pieces()
    fastnn.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 255), nn.Dense(SIDE * SIDE * 3, 50, activation="relu"), nn.Dense(50, 1))
    trainer = fastnn.Trainer(model, losses.BinaryCrossEntropy(), optim.Adam(model.parameters(), lr=3e-4))
    history = trainer.fit(X, y, epochs=5 if short else 40, batch_size=32, validation_data=(X_test, y_test), verbose=0)
    return X_test, y_test, model.predict_proba(X_test)[:, 0], history


def draw(found):
    import matplotlib.pyplot as plt

    images, kinds, p, history = found
    figure = plt.figure(figsize=(10, 5), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(2, 1))
    for ax, name in zip(above.subplots(1, 2), ("loss", "accuracy")):
        ax.plot(history[name], label="in training")
        ax.plot(history[f"val_{name}"], label="test")
        ax.set(xlabel="epochs", ylabel=name)
        ax.legend()
    chosen = np.random.default_rng(0).choice(len(images), 14, replace=False)
    for ax, at in zip(below.subplots(1, 14), chosen):
        ax.imshow(images[at])
        ax.set(xticks=[], yticks=[], title=f"{p[at]:.2f}")
    below.suptitle("pieces of the test, and the probability of the second kind", fontsize=9)
    save(figure, __file__)


if __name__ == "__main__":
    draw(run())
