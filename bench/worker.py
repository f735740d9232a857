"""One library on one number of threads in a process of its own: `python -m bench.worker PEER THREADS`.

It does what the parent asks, one line of JSON each way over its pipes. Libraries keep their thread pools spinning for a
while after their work, which would slow whoever runs next; so a worker answers only when its own threads have come to
rest, and reports the CPU time it has used, by which the parent sees that it slept until it was asked again.
"""

import gc
import json
import math
import os
import sys
import time
import traceback

from . import epoch, peers, works
from .machine import Machine

REST = 0.005  # seconds: looks this often whether the process is idle
REST_LIMIT = 0.5
ROUND_LIMIT = 2.0


def rest():
    """Sleep until the process's threads use less than a tenth of a CPU. Returns the seconds that took."""
    start = time.perf_counter()
    while time.perf_counter() - start < REST_LIMIT:
        before = time.process_time()
        time.sleep(REST)
        if time.process_time() - before < REST / 10:
            break
    return time.perf_counter() - start


class PeerWorker:
    """Answers for a library."""

    def __init__(self, name, threads):
        self.peer, self.threads = peers.load(name), threads
        self.peer.setup(threads)
        self.loop = self.work = None

    def hello(self):
        return {"versions": self.peer.versions()}

    def held(self, isa):
        held, how = self.peer.held(isa)
        return {"held": held, "how": how}

    def prepare(self, work):
        """Build a work, run its check, and see how long a step takes."""
        self.work = works.WORKS[work]
        make = self.peer.Training if self.work.kind == "train" else self.peer.Inference
        if make is None:
            return {"supported": False}
        loop = self.loop = make(self.work, works.weights(self.work), works.batches(self.work))
        start = time.perf_counter()
        if self.work.kind == "train":
            losses = []
            for _ in range(works.check_steps(self.work)):
                losses.append(loop.number(loop.step(*loop.batches[0])))
                loop.finish()
            check = {"losses": losses}
            loop.reset()
        else:
            check = {"outputs": loop.array(loop.run(1)).tolist()}  # run, since it may set a mode that step relies on
        first = time.perf_counter() - start
        step = first
        for n in (1, 4, 16, 64, 256, 1024, 4096):  # the fastest of ever longer runs, which compiling and others disturb less
            if self.work.heavy or n > 1 and step * n > 0.05:
                break
            start = time.perf_counter()
            loop.run(n)
            step = min(step, (time.perf_counter() - start) / n)
        return {"supported": True, **check, "first": first, "step": step}

    def round(self, steps, blocks, warm):
        """Time `blocks` runs of `steps` steps, each after a fresh start and `warm` steps: every library is at the same point
        of training. Returns the seconds a step of each block, and how many CPUs its threads kept busy meanwhile.

        Two teams on one CPU can be a hundred times slower than alone: after ROUND_LIMIT it makes do with the blocks it has.
        """
        begun = time.perf_counter()
        gc.collect()
        gc.disable()
        seconds, cpu, last = [], 0.0, None
        for _ in range(blocks):
            self.loop.reset()
            self.loop.run(warm)
            used, start = time.process_time(), time.perf_counter()
            last = self.loop.run(steps)
            seconds.append((time.perf_counter() - start) / steps)
            cpu += time.process_time() - used
            if time.perf_counter() - begun > ROUND_LIMIT:
                break
        gc.enable()
        if self.work.kind == "train" and not math.isfinite(self.loop.number(last)):
            raise ArithmeticError(f"loss {self.loop.number(last)} after a round")
        return {"seconds": seconds, "cpus": cpu / steps / sum(seconds)}

    def drop(self):
        """Free the work's memory."""
        self.loop = self.work = None
        gc.collect()
        return {}

    def epoch(self, rounds):
        return epoch.measure(rounds)


class MachineWorker:
    """Answers for the machine."""

    def __init__(self, _, threads):
        self.machine = Machine(threads)

    def hello(self):
        return {"versions": {}}

    def round(self, seconds):
        """Its limits; `seconds`: for how long the libraries will be busy, each in its turn."""
        copy, add = self.machine.gbytes()
        peak = self.machine.gflops()
        return {"gflops": peak, "sustained": self.machine.sustained(seconds, peak), "copy": copy, "add": add}


def serve(make):
    """Answer requests for the object that `make` gives."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no reply
    try:
        worker = make()
    except Exception:
        worker, failure = None, traceback.format_exc(limit=-1)
    for line in sys.stdin:
        request = json.loads(line)
        woken = time.process_time()
        try:
            if worker is None:
                raise RuntimeError(failure)
            reply = getattr(worker, request.pop("do"))(**request)
        except Exception:
            reply = {"error": traceback.format_exc(limit=-3)}
        reply["rest"] = rest()
        reply["cpu"] = {"woken": woken, "done": time.process_time()}
        print(json.dumps(reply), file=replies, flush=True)


def main():
    name, threads = sys.argv[1], int(sys.argv[2])
    serve(lambda: (MachineWorker if name == "machine" else PeerWorker)(name, threads))


if __name__ == "__main__":
    main()
