"""The parent's side of the workers: starts them, asks them one after the other, and watches that nobody disturbs.

While one worker measures, the CPU time of the whole machine is compared with that worker's own. If others have used more
than a little, the measurement is thrown away, whatever it shows, and taken again once the machine is quiet; when the
patience for waiting is used up, it is kept and marked.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


class Watch:
    """Takes measurements again that others have disturbed, while there is patience: seconds to spend on that."""

    def __init__(self):
        self.patience = 0.0
        self.taken = self.again = self.kept = 0

    def ask(self, worker, do, **request):
        """As Worker.ask, with "disturbed"."""
        self.taken += 1
        for attempt in range(TRIES):
            reply = worker.ask(do, **request)
            reply["disturbed"] = disturbed(reply)
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
        """Until a quarter of a second has passed with the CPUs all but idle."""
        while self.patience > 0:
            before, start = cpu_seconds(), time.perf_counter()
            time.sleep(window)
            self.patience -= window
            if cpu_seconds() - before < 0.06 * usable_cpus() * (time.perf_counter() - start) + 0.01:
                return
