"""What the kernel benchmarks share: check first, then time, then say what the time means in flops or bytes.

Run them with `pytest bench/ --benchmark-only`. A kernel has a group for each shape with two entries, `native` and
`reference` (the same function in NumPy). The rates stand under the timings, and as extra_info in pytest-benchmark's JSON.
"""

import numpy as np
import pytest

from fastnn import kernels, reference

IMPLEMENTATIONS = {"native": kernels, "reference": reference}
_rates = []


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.benchmark(max_time=0.25, min_rounds=5, warmup=True, warmup_iterations=2))


@pytest.fixture(params=list(IMPLEMENTATIONS))
def implementation(request):
    """"native" or "reference"."""
    return request.param


@pytest.fixture
def timed(benchmark, implementation):
    """timed(group, call, flops=0, bytes=0, tolerance=...): checks call(kernels) against call(reference), then times one.

    `call` takes the module whose functions it is to use and returns an array, a number or a tuple of them (None among
    them is skipped). Both must agree to within `tolerance` of the largest magnitude, and must not be all zeros.
    """

    def run(group, call, flops=0, bytes=0, tolerance=2e-5):
        check(call(kernels), call(reference), tolerance)
        benchmark.group = group
        module = IMPLEMENTATIONS[implementation]
        benchmark(call, module)
        note(benchmark, f"{group} {implementation}", flops, bytes)

    return run


def check(found, expected, tolerance):
    """AssertionError unless the results agree and hold something."""
    if not isinstance(expected, tuple):
        found, expected = (found,), (expected,)
    assert len(found) == len(expected)
    for f, e in zip(found, expected):
        if e is None:
            continue
        f, e = np.asarray(f, np.float64), np.asarray(e, np.float64)
        largest = np.abs(e).max()
        assert f.shape == e.shape and largest > 0 and np.abs(f - e).max() <= tolerance * largest


def note(benchmark, name, flops=0, bytes=0):
    """Store the rates of the median time, and keep them for the summary."""
    if benchmark.stats is None:  # --benchmark-disable
        return
    seconds = benchmark.stats.stats.median
    for key, count in (("GFLOP/s", flops), ("GB/s", bytes)):
        if count:
            benchmark.extra_info[key] = round(count / seconds / 1e9, 2)
    _rates.append((name, seconds, dict(benchmark.extra_info)))


def pytest_terminal_summary(terminalreporter):
    if not _rates:
        return
    terminalreporter.section("rates")
    for name, seconds, rates in _rates:
        text = "  ".join(f"{value:8.1f} {unit}" for unit, value in rates.items())
        terminalreporter.write_line(f"{name:<58} {seconds * 1e6:10.1f} µs  {text}")
