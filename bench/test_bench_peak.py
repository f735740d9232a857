"""The peak of fused multiply-adds against instructions that are counted by hand, and a large product on two threads against
the peak.

The peak of fused multiply-adds is measured on as many threads before each round of the product, so that both see the
same machine; the share is the median of the rounds' own ratios.
"""

import os
import statistics
import time

import numpy as np
import pytest

import fastnn
from fastnn import _native, kernels, reference

from .conftest import check, note
from .machine import FMA_ROUNDS, Machine, usable_cpus

BATCH, IN, OUT = 256, 1024, 1024
FLOPS = 2 * BATCH * IN * OUT
ROUNDS, CALLS = 15, 10
RUNS = 25


def test_peak_against_counted_instructions(benchmark):
    """Both keep the same units busy, with one chain more or less; each is the best of many runs, taken in turn, since a run
    may be disturbed. A loop that computes less than it counts, or waits for memory, is off by a factor of 2 or so."""
    if not _native.fma_peak(1, literal=True)[0]:
        pytest.skip(f"{fastnn.get_isa()} has no fused multiply-add")
    if os.environ.get("ASAN_OPTIONS") or "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("a build with sanitizers keeps the chains in memory")
    rates = {False: 0.0, True: 0.0}
    for _ in range(RUNS):
        for literal in rates:
            start = time.perf_counter()
            flops, _ = _native.fma_peak(FMA_ROUNDS, literal)
            rates[literal] = max(rates[literal], flops / (time.perf_counter() - start))
    benchmark.group = "FMA peak, one thread"
    benchmark.pedantic(_native.fma_peak, (FMA_ROUNDS,), rounds=5)
    note(benchmark, benchmark.group, flops=_native.fma_peak(FMA_ROUNDS)[0])
    assert 0.75 < rates[False] / rates[True] < 1.33, {"peak": rates[False], "counted": rates[True]}


def test_dense_forward_against_fma_peak(benchmark, capsys):
    threads = min(2, usable_cpus())
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(threads)
    try:
        rng = np.random.default_rng(0)
        x, w = rng.standard_normal((BATCH, IN), np.float32), rng.standard_normal((IN, OUT), np.float32)
        b, out = rng.standard_normal(OUT, np.float32), np.empty((BATCH, OUT), np.float32)
        check(kernels.dense_forward(x, w, b), reference.dense_forward(x, w, b), 2e-5)
        machine, peaks, rates = Machine(threads), [], []

        def measure_peak():
            time.sleep(0.03)  # OpenMP's threads spin for some milliseconds after their work, on CPUs that the peak needs
            peaks.append(machine.gflops())
            kernels.dense_forward(x, w, b, out=out)  # wakes the team

        def calls():
            start = time.perf_counter()
            for _ in range(CALLS):
                kernels.dense_forward(x, w, b, out=out)
            rates.append(CALLS * FLOPS / (time.perf_counter() - start) / 1e9)

        benchmark.group = f"dense_forward {(BATCH, IN, OUT)} x {CALLS} against the FMA peak"
        benchmark.pedantic(calls, setup=measure_peak, rounds=ROUNDS)
        share = statistics.median(rate / peak for rate, peak in zip(rates, peaks))
        benchmark.extra_info |= {"FMA peak GFLOP/s": round(statistics.median(peaks), 1), "% of peak": round(100 * share, 1)}
        note(benchmark, benchmark.group, flops=CALLS * FLOPS)
        with capsys.disabled():
            print(
                f"\ndense_forward {BATCH}x{IN}x{OUT}, {threads} threads: {statistics.median(rates):.0f} GFLOP/s, "
                f"{100 * share:.0f} % of the FMA peak of {statistics.median(peaks):.0f} GFLOP/s"
            )
    finally:
        fastnn.set_num_threads(before)
