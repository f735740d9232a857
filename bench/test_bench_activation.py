"""Activations: forward reads x and writes y, backward reads dy and what was saved and writes dx; 4 bytes each.

Beside the NumPy twin stands PyTorch, where it is installed, on one thread like the kernels here: `pytest
bench/test_bench_activation.py --benchmark-only -k one_thread`. It allocates its result, as its users' code does; where it can
write into an array that is there, that is timed too (`torch out`).
"""

import numpy as np
import pytest

import fastnn
from fastnn import kernels, reference
from fastnn.core.activations import ACTIVATIONS

from .conftest import check, note

SHAPES = [(100, 100), (1000, 1024)]
SIZES = [8192, 1 << 20]
NAMES = [name for name in ACTIVATIONS if name != "identity"]


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


def torch_forms(name, x):
    """{label: a call that applies the activation to x}, with PyTorch."""
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    z, out = torch.from_numpy(x), torch.empty(len(x))
    functions = {"gelu_tanh": lambda: F.gelu(z, approximate="tanh"), "hard_tanh": lambda: F.hardtanh(z)}
    forms = {"torch": functions.get(name) or (lambda: getattr(torch if name in ("sigmoid", "tanh", "relu") else F, name)(z))}
    if name in ("sigmoid", "tanh"):
        forms["torch out"] = lambda: getattr(torch, name)(z, out=out)
    return forms


@pytest.mark.parametrize("label", ["fastnn", "torch", "torch out"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIZES)
def test_one_thread(benchmark, size, name, label):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal(size, np.float32)
    out, threads, others = np.empty_like(x), fastnn.get_num_threads(), torch.get_num_threads()
    forms = {"fastnn": lambda: kernels.activation_forward(x, name, out), **torch_forms(name, x)}
    if label not in forms:
        pytest.skip("PyTorch has no such form")
    fastnn.set_num_threads(1)
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            check(np.asarray(forms[label]()), reference.activation_forward(x, name), 2e-5)
            benchmark.group = f"{name} {size}, one thread"
            benchmark(forms[label])
    finally:
        fastnn.set_num_threads(threads)
        torch.set_num_threads(others)
    if benchmark.stats is not None:
        benchmark.extra_info["ps/element"] = round(benchmark.stats.stats.median / size * 1e12)
    note(benchmark, f"{name} {size} {label}", bytes=8 * size)
