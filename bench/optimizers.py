"""fastnn's optimizers beside PyTorch's and beside memory itself: `python -m bench.optimizers`; needs PyTorch.

Every optimizer runs on one array of 10 thousand, 1 million and 30 million float32 parameters, on 100 arrays of 100, and on
one array of 100: `opt.step(grads)` of fastnn; of PyTorch `optimizer.step()` as a loop over the arrays, in its foreach form
and in its fused form, where it has one; and a loop that does nothing but go through as many arrays in memory as the update
(all are read, and all but the gradient written; see `fastnn._native.streams`). Libraries live in processes of their own and
take turns, so that drift of the machine meets all alike; a ratio compares neighbours in time. Before an optimizer is timed,
three steps from the same weights must lead each form to where float64 leads.

It prints Markdown. With --json FILE, what was measured is added to what the file holds already: a long measurement can be
made in parts (--sizes, --only), and --report prints the tables from the file alone.
"""

import argparse
import datetime
import gc
import importlib
import json
import os
import statistics
import sys
import time

import numpy as np

from . import machine, peers
from .pool import Watch, Worker, WorkerFailed
from .worker import serve

SIZES = {
    "100": [(100,)],
    "100 x 100": [(100,)] * 100,
    "10 k": [(100, 100)],
    "1 M": [(1000, 1000)],
    "30 M": [(5000, 6000)],
}
# name: (optimizer, settings, arrays that an update goes through); those without a counterpart in PyTorch at the end. LAMB must
# know its norms before it can move: it reads w, g, m, v, writes m, v, then reads w, m, v and writes w, like 3 arrays twice.
OPTIMIZERS = {
    "SGD": ("SGD", {}, 2),
    "SGD momentum": ("SGD", {"momentum": 0.9}, 3),
    "SGD Nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}, 3),
    "Adagrad": ("Adagrad", {}, 3),
    "Adadelta": ("Adadelta", {}, 4),
    "RMSprop": ("RMSprop", {}, 3),
    "RMSprop centered, momentum": ("RMSprop", {"centered": True, "momentum": 0.9}, 5),
    "Adam": ("Adam", {}, 4),
    "AMSGrad": ("Adam", {"amsgrad": True}, 5),
    "AdamW": ("AdamW", {}, 4),
    "NAdam": ("NAdam", {}, 4),
    "Adamax": ("Adamax", {}, 4),
    "RAdam": ("RAdam", {}, 4),
    "Lion": ("Lion", {}, 3),
    "LAMB": ("LAMB", {}, 3),
    "schedule-free AdamW": ("ScheduleFreeAdamW", {}, 4),
}
ALONE = ("Lion", "LAMB", "schedule-free AdamW")  # which PyTorch does not have
TORCH = [name for name in OPTIMIZERS if name not in ALONE]
FORMS = ("loop", "foreach", "fused")
LR, WEIGHT_DECAY = 1e-5, 0.01
PASSES = {"LAMB": 2}
BLOCK = 0.03  # seconds of steps in a sample
CHECK_STEPS, CHECK_RATE, TOLERANCE = 3, 1e-2, 2e-6
MODULE = "bench.optimizers"


def arrays(shapes, seed):
    """Random numbers in [-1, 1), cheap to make and the same in every process."""
    flat = np.random.PCG64(seed).random_raw(4096).astype(np.int64) / 2.0**63
    return [np.resize(flat, shape).astype(np.float32) for shape in shapes]


def sample(found):
    """Some elements of each array, as a list."""
    return np.concatenate([np.ravel(a)[:: max(1, a.size // 512)] for a in found]).astype(np.float64).tolist()


# ---- the workers ----


class Steps:
    """What the libraries share: three steps to check, and samples of many."""

    def prepare(self, optimizer, size, form):
        self.drop()
        shapes = SIZES[size]
        self.make(optimizer, arrays(shapes, 0), arrays(shapes, 1), form, CHECK_RATE)
        for _ in range(CHECK_STEPS):
            self.step()
        found = sample(self.params())
        self.make(optimizer, arrays(shapes, 0), arrays(shapes, 1), form, LR)
        self.step()
        once, steps = 1.0, 1
        while steps == 1 or once * steps < BLOCK:
            once = min(once, self.timed(steps))
            steps *= 4
        return {"found": found, "steps": max(1, round(BLOCK / once))}

    def timed(self, steps):
        step, start = self.step, time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - start) / steps

    def round(self, steps, blocks):
        gc.collect()
        gc.disable()
        self.timed(max(1, steps // 4))
        seconds = [self.timed(steps) for _ in range(blocks)]
        gc.enable()
        return {"seconds": seconds}

    def drop(self):
        self.optimizer = self.step = self.held = None
        gc.collect()
        return {}


class Fastnn(Steps):
    def __init__(self, threads):
        self.fastnn = importlib.import_module("fastnn")
        self.fastnn.set_num_threads(threads)

    def hello(self):
        return {"versions": {"fastnn": self.fastnn.__version__, "ISA": self.fastnn.get_isa()}}

    def make(self, name, params, grads, form, lr):
        kind, settings, _ = OPTIMIZERS[name]
        self.held = params
        self.optimizer = getattr(self.fastnn.optim, kind)(params, lr=lr, weight_decay=WEIGHT_DECAY, **settings)
        step = self.optimizer.step
        self.step = lambda: step(grads)

    def params(self):
        return self.held

    def expected(self, optimizer, size):
        """The same three steps in float64."""
        self.drop()
        shapes = SIZES[size]
        widened = [[a.astype(np.float64) for a in arrays(shapes, seed)] for seed in (0, 1)]
        self.make(optimizer, *widened, None, CHECK_RATE)
        for _ in range(CHECK_STEPS):
            self.step()
        found = sample(self.params())
        self.drop()
        return {"found": found}


class Torch(Steps):
    def __init__(self, threads):
        self.torch = importlib.import_module("torch")
        self.torch.set_num_threads(threads)

    def hello(self):
        return {"versions": {"torch": self.torch.__version__}}

    def make(self, name, params, grads, form, lr):
        torch = self.torch
        kind, settings, _ = OPTIMIZERS[name]
        self.held = [torch.nn.Parameter(torch.from_numpy(p)) for p in params]
        chosen = {"foreach": form == "foreach"}
        if form == "fused":
            chosen = {"fused": True}
        self.optimizer = getattr(torch.optim, kind)(self.held, lr=lr, weight_decay=WEIGHT_DECAY, **settings, **chosen)
        for p, g in zip(self.held, grads):
            p.grad = torch.from_numpy(g)
        self.step = self.optimizer.step

    def params(self):
        return [p.detach().numpy() for p in self.held]


class Memory(Steps):
    """The loop that only goes through memory."""

    def __init__(self, threads):
        self.machine = machine.Machine(threads)
        self.streams = importlib.import_module("fastnn")._native.streams

    def hello(self):
        return {"versions": {}}

    def make(self, name, params, grads, form, lr):
        whole = [np.resize(a.ravel(), sum(p.size for p in params)) for a in (params[0],) * OPTIMIZERS[name][2]]
        n, threads = len(whole[0]) // 16, self.machine.threads
        ends = [16 * (n * i // threads) for i in range(threads + 1)]
        self.held = [[a[b:e] for a in whole] for b, e in zip(ends, ends[1:])]
        self.passes = PASSES.get(name, 1)

    def params(self):
        return [np.zeros(1)]

    def step(self):
        return sum(self.machine._together(lambda part: self.streams(self.held[part])) for _ in range(self.passes))

    def timed(self, steps):
        return sum(self.step() for _ in range(steps)) / steps

    def drop(self):
        self.held = None
        gc.collect()
        return {}


# ---- the parent ----


def log(text):
    print(text, file=sys.stderr, flush=True)


def measure(name, size, workers, watch, options):
    """One optimizer at one size: {"seconds": {form: [rounds of samples]}, "disturbed": ..., "notes": [...]}."""
    entry = {"optimizer": name, "size": size, "parameters": sum(int(np.prod(s)) for s in SIZES[size]), "seconds": {}, "disturbed": {}}
    notes, taking = [], []
    expected = np.array(workers["fastnn"].ask("expected", optimizer=name, size=size)["found"])
    forms = [("memory", "memory")] if size in ("1 M", "30 M") else []
    forms += [("fastnn", "fastnn")] + [(f"torch {form}", form) for form in FORMS if name in TORCH]
    for key, form in forms:
        worker = workers[key]
        try:
            ready = worker.ask("prepare", optimizer=name, size=size, form=form)
        except WorkerFailed as error:
            lines = [line for line in str(error).splitlines() if "fused" in line]
            if form != "fused" or not lines:
                raise
            continue  # PyTorch has no such form
        if key != "memory":
            found = np.array(ready["found"])
            off = float(np.abs(found - expected).max() / np.abs(expected).max())
            entry.setdefault("difference", {})[key] = off
            if not off <= TOLERANCE:
                notes.append(f"{name}, {size}: {key} leads elsewhere ({off:.1e}); it is not timed")
                worker.ask("drop")
                continue
        taking.append((key, worker, ready["steps"]))
    for r in range(options.repeats):
        for key, worker, steps in taking if r % 2 == 0 else taking[::-1]:
            reply = watch.ask(worker, "round", steps=steps, blocks=options.blocks)
            entry["seconds"].setdefault(key, []).append(reply["seconds"])
            entry["disturbed"].setdefault(key, []).append(reply["disturbed"])
    for _, worker, _ in taking:
        worker.ask("drop")
    return entry, notes


def run(options):
    names = list(OPTIMIZERS)
    if options.only:
        exact = {n.lower() for n in names}
        named = [t.lower() for t in options.only]
        names = [n for n in names if any(n.lower() == t if t in exact else t in n.lower() for t in named)]
    sizes = options.sizes.split(",") if options.sizes else list(SIZES)
    unknown = set(sizes) - set(SIZES)
    if unknown:
        raise SystemExit(f"--sizes: expected some of {','.join(SIZES)}, got {','.join(sorted(unknown))}")
    results = {"entries": [], "notes": []}
    if options.json and os.path.exists(options.json):
        with open(options.json, encoding="utf-8") as file:
            results = json.load(file)
    # each form of PyTorch's in a process of its own: none may inherit another's memory or threads
    keys = ["memory", "fastnn", *(f"torch {form}" for form in FORMS)]
    workers = {key: Worker(key.split()[0], options.threads, MODULE) for key in keys}
    watch, versions = Watch(), {}
    try:
        for worker in workers.values():
            versions |= worker.ask("hello")["versions"]
        for size in sizes:
            for name in names:
                log(f"{size}: {name}")
                watch.patience = options.patience
                entry, notes = measure(name, size, workers, watch, options)
                results["entries"] = [e for e in results["entries"] if (e["optimizer"], e["size"]) != (name, size)] + [entry]
                results["notes"] = [n for n in results["notes"] if not n.startswith(f"{name}, {size}:")] + notes
                results |= {
                    "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                    "machine": machine.describe(),
                    "versions": versions,
                    "threads": options.threads,
                }
                if options.json:
                    with open(options.json, "w", encoding="utf-8") as file:
                        json.dump(results, file)
    finally:
        for worker in workers.values():
            worker.close()
    return results


# ---- the report ----


def typical(entry, key):
    """Median seconds a step over all samples of the rounds that nobody disturbed (all, if there are fewer than two)."""
    rounds = [s for s, d in zip(entry["seconds"][key], entry["disturbed"][key]) if not d]
    rounds = rounds if len(rounds) > 1 else entry["seconds"][key]
    return statistics.median([s for samples in rounds for s in samples])


def share_of_memory(entry):
    """How many times the update's time the bandwidth loop takes: the median over the rounds, each by its neighbour in time."""
    pairs = zip(entry["seconds"]["memory"], entry["seconds"]["fastnn"], strict=True)
    return statistics.median([statistics.median(m) / statistics.median(f) for m, f in pairs])


def table(results, size):
    """A Markdown table: ns a parameter (µs a step for one small array), and the ratios."""
    entries = {e["optimizer"]: e for e in results["entries"] if e["size"] == size}
    entries = [entries[name] for name in OPTIMIZERS if name in entries]
    if not entries:
        return ""
    unit, scale = ("µs a step", 1e6) if size == "100" else ("ns a parameter", 1e9 / entries[0]["parameters"])
    streams = size in ("1 M", "30 M")
    header = [f"{size}: {unit}", "fastnn", *(f"PyTorch {form}" for form in FORMS), "fastest PyTorch ÷ fastnn"]
    header += ["memory alone", "memory ÷ fastnn"] * streams
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    for e in entries:
        cells = [f"{scale * typical(e, key):.3g}" if key in e["seconds"] else "–" for key in ("fastnn", *(f"torch {form}" for form in FORMS))]
        others = [typical(e, key) for key in e["seconds"] if key.startswith("torch")]
        cells.append(f"{min(others) / typical(e, 'fastnn'):.2f}" if others else "–")
        if streams:
            cells += [f"{scale * typical(e, 'memory'):.3g}", f"{100 * share_of_memory(e):.0f} %"]
        lines.append("| " + " | ".join([e["optimizer"], *cells]) + " |")
    return "\n".join(lines)


def markdown(results):
    text = [table(results, size) for size in SIZES]
    about = f"{results['machine']['CPU']}, {results['threads']} threads, " + ", ".join(f"{k} {v}" for k, v in results["versions"].items())
    return "\n\n".join([t for t in text if t] + [about] + [f"- {n}" for n in results["notes"]]) + "\n"


def parse(arguments=None):
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", metavar="A,B", help=f"of {','.join(SIZES)}")
    parser.add_argument("--only", metavar="TEXT", action="append", help="only this optimizer, or those with TEXT in their name")
    parser.add_argument("--threads", type=int, default=machine.usable_cpus(), metavar="N")
    parser.add_argument("--repeats", type=int, default=5, metavar="R", help="rounds (5)")
    parser.add_argument("--blocks", type=int, default=3, metavar="B", help="samples a round (3)")
    parser.add_argument("--patience", type=float, default=10, metavar="S", help="seconds to wait for a quiet machine, each time")
    parser.add_argument("--json", metavar="FILE", help="add the results to this file")
    parser.add_argument("--markdown", metavar="FILE")
    parser.add_argument("--report", action="store_true", help="measure nothing, show what the file holds")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse(arguments)
    if options.report:
        with open(options.json, encoding="utf-8") as file:
            results = json.load(file)
    else:
        results = run(options)
    text = markdown(results)
    print(text)
    if options.markdown:
        with open(options.markdown, "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in ("memory", "fastnn", "torch"):  # a worker, see `bench.pool`
        kinds = {"memory": Memory, "fastnn": Fastnn, "torch": Torch}
        serve(lambda: kinds[sys.argv[1]](int(sys.argv[2])))
    else:
        main()
