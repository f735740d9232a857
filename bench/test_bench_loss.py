"""Losses with their gradients in one pass: outputs and targets are read and the gradient written, 4 bytes each."""

import numpy as np
import pytest

SHAPES = [(256, 1), (256, 10), (1000, 1000)]
NAMES = ["mean_squared_error", "mean_absolute_error", "huber", "poisson", "binary_cross_entropy", "binary_hinge"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_elementwise_loss(timed, shape, name):
    rng = np.random.default_rng(0)
    z, t = rng.standard_normal(shape, np.float32), rng.integers(0, 2, shape).astype(np.float32)
    out = np.empty_like(z)
    timed(f"{name} {shape}", lambda module: getattr(module, name)(z, t, out), bytes=12 * z.size)


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_multiclass_hinge(timed, shape):
    rng = np.random.default_rng(0)
    z, labels = rng.standard_normal(shape, np.float32), rng.integers(0, shape[1], shape[0])
    out = np.empty_like(z)
    timed(f"multiclass_hinge {shape}", lambda module: module.multiclass_hinge(z, labels, out), bytes=8 * z.size + labels.nbytes)


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_smoothed_cross_entropy(timed, shape):
    rng = np.random.default_rng(0)
    z, labels = rng.standard_normal(shape, np.float32), rng.integers(0, shape[1], shape[0])
    out = np.empty_like(z)
    timed(
        f"softmax_cross_entropy, smoothed, {shape}",
        lambda module: module.softmax_cross_entropy(z, labels, out, label_smoothing=0.1),
        bytes=8 * z.size + labels.nbytes,
    )
