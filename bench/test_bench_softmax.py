"""Softmax and its cross-entropy: logits are read and probabilities, or gradients, written, 4 bytes each; a label has 8."""

import numpy as np
import pytest

SHAPES = [(100, 10), (1000, 1000)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_softmax_forward(timed, shape):
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    out = np.empty_like(x)
    timed(f"softmax_forward {shape}", lambda module: module.softmax_forward(x, out), bytes=8 * x.size)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_softmax_cross_entropy(timed, shape):
    rng = np.random.default_rng(0)
    logits = rng.standard_normal(shape, np.float32)
    labels = rng.integers(0, shape[1], shape[0])
    out = np.empty_like(logits)
    timed(
        f"softmax_cross_entropy {shape}",
        lambda module: module.softmax_cross_entropy(logits, labels, out),
        bytes=8 * logits.size + labels.nbytes,
    )
