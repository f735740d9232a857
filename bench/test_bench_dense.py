"""The dense layer, forward and backward, and the bias gradient.

Flops are those of the products, 2 x batch x in x out each; backward has two of them.
"""

import numpy as np
import pytest

SHAPES = [(1, 784, 100), (32, 64, 64), (100, 784, 100), (128, 512, 512), (256, 1024, 1024)]


def layer(batch, n_in, n_out):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, n_in), np.float32)
    w = rng.standard_normal((n_in, n_out), np.float32) / np.float32(n_in**0.5)
    b = rng.standard_normal(n_out, np.float32)
    return x, w, b


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_dense_forward(timed, shape):
    x, w, b = layer(*shape)
    out = np.empty((shape[0], shape[2]), np.float32)
    timed(
        f"dense_forward {shape}",
        lambda module: module.dense_forward(x, w, b, activation="relu", out=out),
        flops=2 * np.prod(shape),
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_dense_backward(timed, shape):
    batch, n_in, n_out = shape
    x, w, b = layer(*shape)
    y = np.maximum(x @ w + b, 0)
    dy = np.random.default_rng(1).standard_normal((batch, n_out), np.float32)
    out = (np.empty_like(x), np.empty_like(w), np.empty_like(b))
    timed(
        f"dense_backward {shape}",
        lambda module: module.dense_backward(dy, x, w, y, activation="relu", out=out),
        flops=4 * np.prod(shape),
    )


@pytest.mark.parametrize("shape", [(100, 100), (256, 1024)], ids=str)
def test_bias_gradient(timed, shape):
    dy = np.random.default_rng(0).standard_normal(shape, np.float32)
    out = np.empty(shape[1], np.float32)
    timed(f"bias_gradient {shape}", lambda module: module.bias_gradient(dy, out), bytes=dy.nbytes + out.nbytes)
