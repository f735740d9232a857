"""Optimizers: bytes a parameter are those of the parameter (read and written), its gradient (read) and its moments (read
and written), 4 each: SGD 12, with momentum 20, Adam 28.

A unit that has died gets no gradient any more, and some 800 steps later the first moment of its weights is subnormal for
good. Processors may take far longer over such numbers; the last benchmark here shows by how much.
"""

import numpy as np
import pytest

from fastnn import kernels, reference

from .conftest import IMPLEMENTATIONS, check, note

SIZES = [[(784, 100), (100,), (100, 10), (10,)], [(1000, 1000)], [(2500, 4000)]]


def arrays(shapes, seed):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape, np.float32) for shape in shapes]


def start(shapes, states):
    """Parameters, gradients and `states` lists of zero moments."""
    return arrays(shapes, 0), arrays(shapes, 1), [[np.zeros(shape, np.float32) for shape in shapes] for _ in range(states)]


def measure(benchmark, implementation, name, shapes, update, bytes_each, states):
    """Two steps from the same start must agree; then steps are timed, each on what the last one left."""
    results = []
    for module in (kernels, reference):
        params, grads, held = start(shapes, states)
        for step in (1, 2):
            update(module, params, grads, held, step)
        results.append(tuple(params + [a for state in held for a in state]))
    check(*results, tolerance=1e-6)

    module = IMPLEMENTATIONS[implementation]
    params, grads, held = start(shapes, states)
    update(module, params, grads, held, 1)
    count = sum(p.size for p in params)
    benchmark.group = f"{name} {count} parameters"
    benchmark(update, module, params, grads, held, 2)
    note(benchmark, f"{benchmark.group} {implementation}", bytes=bytes_each * count)


@pytest.mark.parametrize("shapes", SIZES, ids=lambda shapes: str(sum(int(np.prod(s)) for s in shapes)))
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_update(benchmark, implementation, shapes, momentum):
    def update(module, params, grads, held, step):
        module.sgd_update(params, grads, held[0] if held else None, step, lr=1e-6, momentum=momentum)

    states = 1 if momentum else 0
    name = "sgd_update momentum" if momentum else "sgd_update"
    measure(benchmark, implementation, name, shapes, update, 12 + 8 * states, states)


@pytest.mark.parametrize("shapes", SIZES, ids=lambda shapes: str(sum(int(np.prod(s)) for s in shapes)))
def test_adam_update(benchmark, implementation, shapes):
    def update(module, params, grads, held, step):
        module.adam_update(params, grads, *held, step, lr=1e-6)

    measure(benchmark, implementation, "adam_update", shapes, update, 28, 2)


@pytest.mark.parametrize("first", [1e-3, 1e-40], ids=["ordinary", "subnormal"])
def test_adam_update_without_gradients(benchmark, implementation, first):
    count = 100_000
    params, grads = [np.ones(count, np.float32)], [np.zeros(count, np.float32)]
    m, v = [np.full(count, first, np.float32)], [np.full(count, 1e-6, np.float32)]
    module = IMPLEMENTATIONS[implementation]

    def update():
        m[0].fill(first)
        module.adam_update(params, grads, m, v, 1000, lr=1e-6)

    benchmark.group = f"adam_update {count} parameters, no gradient, first moment {first:g}"
    benchmark(update)
    note(benchmark, f"{benchmark.group} {implementation}", bytes=28 * count)
