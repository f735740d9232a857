"""Beside other programs that want the same CPUs: ``python -m bench.neighbours``.

As many programs as there are CPUs (--programs) spin for two seconds, then stand still for two, over and over. Meanwhile one process after the other
calls `fit`, `step`, `predict` or Adam's `step` without pause: with the default number of threads and on one thread. What counts is the
time of a call over windows of 100 ms: by default ÷ on one thread while the others spin (the nearer to 1 the better: a team would wait
for CPUs that it does not get), and while they stand still (below 1: the team is back), each also for the first second after a change.
Beside the highest tenth of its windows stands that of one thread's own, by the same measure, one thread's median: what no choice of
threads can better. The default's results are the same bits either way.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np

import fastnn
from fastnn import losses, nn, optim

WORKS = ("fit", "step", "predict", "adam")
STRETCH = 2.0  # seconds of spinning, and of standing still
WINDOW = 0.1


def _call(work):
    """A call to repeat, and how many steps it does."""
    rng = np.random.default_rng(0)
    if work == "adam":
        weights = np.ones(1_000_000, np.float32)
        gradients = [weights * 0.1]
        optimizer = optim.Adam([weights])
        return lambda: optimizer.step(gradients), 1
    model = nn.mlp([784, 128, 10])
    x, y = rng.random((6400, 784), np.float32), rng.integers(0, 10, 6400)
    if work == "predict":
        return lambda: model.predict(x[:256]), 1
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()))
    if work == "fit":
        return lambda: trainer.fit(x[:640], y[:640], epochs=1, batch_size=64, verbose=0), 10
    return lambda: trainer.step(x[:64], y[:64]), 1


def _windows(work, seconds):
    """[(seconds since the start, seconds a step)] of each window."""
    call, steps = _call(work)
    call()
    print("ready", flush=True)
    found, start = [], time.perf_counter()
    now = start
    while now < start + seconds:
        begun, calls = now, 0
        while now < begun + WINDOW:
            call()
            calls += steps
            now = time.perf_counter()
        found.append((begun - start, (now - begun) / calls))
    return found


def _child(work, threads, seconds):
    if threads:
        fastnn.set_num_threads(threads)
    for at, step in _windows(work, seconds):
        print(at, step)


def _measure(work, threads, cycles, spinning):
    """{(disturbed, fresh): seconds a step of the windows}: `fresh` within a second of the change."""
    code = [sys.executable, "-m", "bench.neighbours", "--child", work, str(threads), str(2 * cycles * STRETCH)]
    spinning(False)
    child = subprocess.Popen(code, stdout=subprocess.PIPE, text=True)
    child.stdout.readline()  # it has warmed up
    start = time.perf_counter()
    lines, changes = [], []
    reader = threading.Thread(target=lambda: lines.extend(child.stdout))
    reader.start()
    for stretch in range(2 * cycles):
        spinning(stretch % 2 == 1)
        changes.append((time.perf_counter() - start, stretch % 2 == 1))
        time.sleep(max(0, start + (stretch + 1) * STRETCH - time.perf_counter()))
    spinning(False)
    child.wait()
    reader.join()
    found = {(disturbed, fresh): [] for disturbed in (False, True) for fresh in (False, True)}
    for at, step in (map(float, line.split()) for line in lines):
        begun, disturbed = [c for c in changes if c[0] <= at or c is changes[0]][-1]
        found[disturbed, at - begun < 1.0].append(step)
    return found


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bench.neighbours", description=__doc__.split("\n\n")[0])
    parser.add_argument("--cycles", type=int, default=5, metavar="N", help="quiet and disturbed stretches of two seconds each (5)")
    parser.add_argument("--programs", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="that spin (as many as CPUs)")
    parser.add_argument("--only", choices=WORKS, action="append")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        work, threads, seconds = options.child
        _child(work, int(threads), float(seconds))
        return
    spinners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.programs)]

    def spinning(on):
        for spinner in spinners:
            spinner.send_signal(signal.SIGCONT if on else signal.SIGSTOP)

    try:
        for work in options.only or WORKS:
            default, alone = (_measure(work, threads, options.cycles, spinning) for threads in (0, 1))
            for disturbed in (False, True):
                texts = []
                for fresh, name in ((True, "first second"), (False, "then")):
                    a, b = default[disturbed, fresh], alone[disturbed, fresh]
                    high, own = (np.quantile(windows, 0.9) / np.median(b) for windows in (a, b))
                    texts.append(f"{name} {np.mean(a) / np.mean(b):.2f} (9 of 10 windows below {high:.2f}, one thread's below {own:.2f})")
                beside = f"beside {options.programs} spinning programs" if disturbed else "undisturbed"
                print(f"{work} {beside}, default ÷ one thread: {', '.join(texts)}", flush=True)
    finally:
        for spinner in spinners:
            spinner.kill()


if __name__ == "__main__":
    main()
