"""What the machine can do: the peak of fused multiply-adds and the bandwidth of memory, on a given number of threads.

The peak is a loop of independent multiply-adds in registers (`fastnn._native.fma_peak`), with no memory in it, by the
instructions of the ISA that fastnn uses; the loop itself says how many flops it did. Bandwidth
is measured with NumPy, over arrays of 256 MB, since virtual machines understate their caches: copy (a = b, 8 bytes an
element; that each line of a is fetched only to be overwritten is not counted) and add (a = a + b, 12 bytes an element: two
reads and a write, as in an optimizer's update or STREAM's triad). All of them release the GIL, so Python threads run
them side by side.

The peak and the bandwidths are the best of a few runs of some milliseconds: a limit is what is reached undisturbed. But a
processor may hold its highest clock only for so long; `sustained` is the same loop for as long as a work's samples take.
"""

import os
import platform
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

FMA_ROUNDS = 1_500_000  # 2 to 6 ms
SPREAD = 0.03  # seconds of work after which the system has surely put each thread on a CPU of its own
ELEMENTS = 64 << 20  # float32


class Machine:
    """Measures, with as many Python threads as it is told."""

    def __init__(self, threads):
        from fastnn import _native

        self.threads, self.fma_peak = threads, _native.fma_peak
        self.flops_a_round = _native.fma_peak(1)[0]
        self.pool = ThreadPoolExecutor(threads)
        self.barrier = threading.Barrier(threads)
        self.arrays = None

    def _together(self, work):
        """Seconds from the first thread's start to the last one's end of work(part)."""

        def one(part):
            self.barrier.wait()
            start = time.perf_counter()
            work(part)
            return start, time.perf_counter()

        spans = list(self.pool.map(one, range(self.threads)))
        return max(end for _, end in spans) - min(start for start, _ in spans)

    def gflops(self, runs=5):
        """GFLOP/s of fused multiply-adds."""

        def work(_):
            self.fma_peak(FMA_ROUNDS)

        begun = time.perf_counter()
        while time.perf_counter() - begun < SPREAD:
            self._together(work)
        seconds = min(self._together(work) for _ in range(runs))
        return self.threads * FMA_ROUNDS * self.flops_a_round / seconds / 1e9

    def sustained(self, seconds, peak):
        """GFLOP/s of the same over about so many seconds on end. peak: what `gflops` has found."""
        rounds = max(1, int(seconds * peak * 1e9 / self.threads / self.flops_a_round))
        return self.threads * rounds * self.flops_a_round / self._together(lambda _: self.fma_peak(rounds)) / 1e9

    def gbytes(self, runs=2):
        """(GB/s of copying, GB/s of adding)."""
        if self.arrays is None:
            self.arrays = [np.ones(ELEMENTS, np.float32) for _ in range(2)]
        a, b = (np.array_split(array, self.threads) for array in self.arrays)
        add = min(self._together(lambda i: np.add(a[i], b[i], out=a[i])) for _ in range(runs))
        copy = min(self._together(lambda i: np.copyto(a[i], b[i])) for _ in range(runs))
        return 8 * ELEMENTS / copy / 1e9, 12 * ELEMENTS / add / 1e9


def usable_cpus():
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_seconds():
    """CPU time that the whole machine has spent busy, stolen time included; None where it cannot be told."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    except OSError:
        return None
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def describe():
    """The machine in words, as a dict."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            facts = dict(map(str.strip, line.split(":", 1)) for line in file if ":" in line)
        name = f"{facts['model name']} (family {facts['cpu family']}, model {facts['model']})"
    except (OSError, KeyError):
        pass
    return {"CPU": name, "CPUs usable": usable_cpus(), "system": platform.platform(), "Python": platform.python_version()}
