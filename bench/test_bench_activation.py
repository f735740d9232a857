"""Activations: forward reads x and writes y, backward reads dy and y and writes dx; 4 bytes each."""

import numpy as np
import pytest

SHAPES = [(100, 100), (1000, 1024)]
NAMES = ["sigmoid", "tanh", "relu", "leaky_relu"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_activation_forward(timed, shape, name):
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    out = np.empty_like(x)
    timed(
        f"activation_forward {name} {shape}",
        lambda module: module.activation_forward(x, name, out),
        bytes=8 * x.size,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_activation_backward(timed, shape, name):
    rng = np.random.default_rng(0)
    dy, y = rng.standard_normal(shape, np.float32), np.tanh(rng.standard_normal(shape, np.float32))
    out = np.empty_like(dy)
    timed(
        f"activation_backward {name} {shape}",
        lambda module: module.activation_backward(dy, y, name, out),
        bytes=12 * dy.size,
    )
