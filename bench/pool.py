"""The parent's side of the workers: starts them, asks them one after the other, and watches that nobody disturbs.

While one worker measures, the CPU time of the whole machine is compared with that worker's own. If others have used more
than a little, the measurement is thrown away, whatever it shows, and taken again once the machine is quiet; when the
patience for waiting is used up, it is kept and marked.

Other guests of the same computer are in no count of CPU time. What they slow is told by copies within the L1 cache, on every
CPU, before and after a measurement: beside a busy neighbour on the same core they take twice as long, and so do products of
matrices nearly, while a loop of nothing but fused multiply-adds hardly notices.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from . import peers
from .machine import cpu_seconds, usable_cpus

TIMEOUT = 900  # seconds for one answer: compiling is slow
TRIES = 4


class WorkerFailed(Exception):
    """A worker said why it could not do what it was asked, or died."""


class Worker:
    """A process with one library and a number of threads. See `bench.worker`, or the module that is to answer."""

    def __init__(self, name, threads, module="bench.worker", isa=None):
        self.name, self.threads = name, threads
        library = name if name in peers.NAMES else "fastnn"  # the machine's limits are measured by fastnn's kernels
        environment = peers.load(library).environment(threads, isa)
        root = str(Path(__file__).parent.parent)
        path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  lives as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, name, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            start_new_session=True,  # Ctrl-C is for the parent
            env={**os.environ, **environment, "PYTHONPATH": path},
        )
        self.asleep = None  # (time, its CPU time) since its last answer
        self.idle_cpu = self.idle_wall = 0.0  # CPU time that it used while it was not asked anything

    def ask(self, do, **request):
        """Its answer, with "foreign": the CPUs that everybody else kept busy meanwhile (None if it cannot be told)."""
        before, start = cpu_seconds(), time.perf_counter()
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.process.stdin.flush()
            ready = select.select([self.process.stdout], [], [], TIMEOUT)[0]
            line = self.process.stdout.readline() if ready else ""
        except BrokenPipeError:
            line = ""
        if not line:
            self.close()
            self.log.seek(0)
            raise WorkerFailed(f"{self.name} on {self.threads} threads: no answer\n{self.log.read()[-2000:]}")
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerFailed(reply["error"])
        elapsed = time.perf_counter() - start
        cpu = reply.pop("cpu")
        if self.asleep:
            self.idle_cpu += cpu["woken"] - self.asleep[1]
            self.idle_wall += start - self.asleep[0]
        self.asleep = (time.perf_counter(), cpu["done"])
        reply["foreign"] = None if before is None else max(0.0, cpu_seconds() - before - (cpu["done"] - cpu["woken"])) / elapsed
        reply["elapsed"] = elapsed
        return reply

    def close(self):
        """End the process."""
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def disturbed(reply):
    """Whether others used more than 6 % of the CPUs, beyond what the clock of /proc/stat (10 ms a CPU) leaves open."""
    if reply["foreign"] is None:
        return False
    return reply["foreign"] * reply["elapsed"] > 0.01 * usable_cpus() + 0.06 * usable_cpus() * reply["elapsed"]


class Neighbours:
    """How much slower than ever before each CPU copies within its L1 cache."""

    SLOW = 1.4  # times the fastest time seen; a neighbour makes it 1.6 to 2.2
    COPIES, ELEMENTS = 100, 2048  # 8 KB to 8 KB, a hundred times: 80 us

    def __init__(self):
        cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self.pools = [ThreadPoolExecutor(1, initializer=os.sched_setaffinity, initargs=(0, {c})) for c in cpus]
        self.fastest = [np.inf] * len(cpus)
        for _ in range(50):
            self.slowest()

    def _copies(self):
        block = np.zeros(3 * self.ELEMENTS, np.float32)  # the second begins elsewhere in its page than the first
        a, b = block[: self.ELEMENTS], block[-self.ELEMENTS - 512 : -512]
        a, b = (np.lib.stride_tricks.as_strided(part, (self.COPIES, self.ELEMENTS), (0, part.itemsize)) for part in (a, b))
        times = []
        for _ in range(4):  # the first brings them into the cache; and a thread may wait for Python's lock at an end
            start = time.perf_counter()
            np.copyto(b, a)
            times.append(time.perf_counter() - start)
        return min(times)

    def slowest(self):
        """Of all CPUs at once the largest ratio of the time that copies take to the shortest so far."""
        times = [t.result() for t in [pool.submit(self._copies) for pool in self.pools]]
        self.fastest = [min(pair) for pair in zip(self.fastest, times)]
        return max((t / f for t, f in zip(times, self.fastest)), default=1.0)

    def busy(self):
        return self.slowest() > self.SLOW


class Watch:
    """Takes measurements again that others have disturbed, while there is patience: seconds to spend on that."""

    def __init__(self):
        self.patience = 0.0
        self.taken = self.again = self.kept = 0
        self.neighbours = Neighbours()

    def ask(self, worker, do, **request):
        """As Worker.ask, with "disturbed"."""
        self.taken += 1
        for attempt in range(TRIES):
            before = self.neighbours.busy()
            reply = worker.ask(do, **request)
            reply["disturbed"] = before or disturbed(reply) or self.neighbours.busy()
            if not reply["disturbed"]:
                return reply
            if attempt == TRIES - 1 or self.patience <= 0:
                break
            self.again += 1
            self.patience -= reply["elapsed"]
            self._wait()
        self.kept += 1
        return reply

    def _wait(self, window=0.25):
        """Until a quarter of a second has passed with the CPUs all but idle, and no neighbour is seen at its end."""
        while self.patience > 0:
            before, start = cpu_seconds(), time.perf_counter()
            time.sleep(window)
            self.patience -= window
            quiet = before is None or cpu_seconds() - before < 0.06 * usable_cpus() * (time.perf_counter() - start) + 0.01
            if quiet and not self.neighbours.busy():
                return
