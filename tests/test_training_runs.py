"""Whole trainings: what they reach on real digits, and that they follow PyTorch's step by step."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import data, losses, nn, optim

_spec = importlib.util.spec_from_file_location("make_training_runs", Path(__file__).parent / "golden" / "make_training_runs.py")
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

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


# --- beside PyTorch: the same weights, the same batches, 200 steps ---


def same_run(found, expected):
    """Losses within 2e-4 of each other, relative, at every step."""
    assert found.shape == expected.shape == (golden.STEPS,)
    off = np.abs(found / expected - 1)
    assert off.max() <= 2e-4, f"loss {found[off.argmax()]} where {expected[off.argmax()]} was expected, in step {off.argmax()}"


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("name", golden.CASES)
def test_recorded_from_torch(name, backend):
    with np.load(golden.FILE) as file:
        expected = file[name].astype(np.float64)
    assert expected[-10:].mean() < 0.75 * expected[:10].mean()  # it learns, so comparing shows something
    same_run(golden.from_fastnn(name, backend), expected)


@pytest.mark.parametrize("isa", fastnn.available_isas())
def test_recorded_from_torch_on_every_instruction_set(isa):
    before = fastnn.get_isa()
    fastnn.use_isa(isa)
    try:
        with np.load(golden.FILE) as file:
            for name in golden.CASES:
                same_run(golden.from_fastnn(name), file[name].astype(np.float64))
    finally:
        fastnn.use_isa(before)


@pytest.mark.parametrize("name", golden.CASES)
@pytest.mark.filterwarnings("ignore")
def test_live_with_torch(name):
    pytest.importorskip("torch")
    same_run(golden.from_fastnn(name), golden.from_torch(name))


def test_the_comparison_rejects():
    with np.load(golden.FILE) as file:
        expected = file["multi-label"].astype(np.float64)
    for change in (1.001, 0.999):
        wrong = expected.copy()
        wrong[137] *= change
        with pytest.raises(AssertionError, match="in step 137"):
            same_run(wrong, expected)
