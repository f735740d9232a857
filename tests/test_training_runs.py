"""Whole trainings on real digits: what they reach."""

import os
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import data, losses, nn, optim

MNIST = Path(os.environ.get("FASTNN_MNIST") or Path(__file__).parents[2] / "shared/data/mnist")
IMAGES, LABELS = MNIST / "t10k-images-idx3-ubyte.gz", MNIST / "t10k-labels-idx1-ubyte.gz"


@pytest.fixture(scope="module")
def mnist():
    if not (IMAGES.exists() and LABELS.exists()):
        pytest.skip(f"no MNIST in {MNIST}")
    return data.read_idx(IMAGES), data.read_idx(LABELS)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mnist(mnist, seed):
    """784-100-10, ReLU, He, Adam 1e-3, batches of 100, ten epochs over 8,000 images: 93 % of 2,000 others at least."""
    images, labels = mnist
    fastnn.manual_seed(seed)
    model = nn.Sequential(
        nn.Flatten(),
        nn.Rescaling(1 / 255),
        nn.Dense(784, 100, activation="relu", init="he_normal"),
        nn.Dense(100, 10, init="he_normal"),
    )
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=1e-3), seed=seed)
    history = trainer.fit(images[:8000], labels[:8000], epochs=10, batch_size=100, verbose=0)
    assert trainer.steps_done == 800
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert trainer.evaluate(images[8000:], labels[8000:])["accuracy"] >= 0.93


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("optimizer", [lambda ps: optim.Adam(ps, lr=3e-3), lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9)])
def test_digits(seed, optimizer):
    """The packaged digits, 80 % to learn from: 95 % of the others at least."""
    images, labels = data.load_digits()
    X_train, X_test, y_train, y_test = data.train_test_split(images, labels, test_size=0.2, seed=seed)
    fastnn.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 64, activation="relu"), nn.Dense(64, 10))
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optimizer(model.parameters()), seed=seed)
    trainer.fit(X_train, y_train, epochs=20, batch_size=32, verbose=0)
    assert trainer.evaluate(X_test, y_test)["accuracy"] >= 0.95
    assert np.mean(model.predict_classes(X_test) == y_test) >= 0.95
