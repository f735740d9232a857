"""fastnn beside the libraries that people would use instead: `python -m bench.compare`, with --quick for a first look.

Every library runs in processes of its own, one for each number of threads, which live throughout and are asked in turn:
machine, fastnn, library, library ..., and again, every other round backwards. So drift of the machine meets all alike,
no thread pool disturbs another, and a ratio compares neighbours in time. Before anything is timed, each library must show
that from the same weights and batches it reaches the same losses, or outputs, as NumPy in float64.

With --isa, fastnn and every library that has a switch for it keep to that instruction set. Each library says what it runs on;
one that could use more, and is not seen to keep to it, is no rival in the tables.

It prints Markdown tables (--markdown FILE), and writes raw samples (--json FILE) and a chart (--plot FILE.png). Ctrl-C, or
the signal to terminate, ends the measuring; what has been measured by then is reported.
"""

import argparse
import datetime
import functools
import importlib
import json
import os
import signal
import subprocess
import sys

import numpy as np

from . import judge as of_nets
from . import machine, peers, report, works
from .peers import numpy as judge
from .pool import Watch, Worker, WorkerFailed

TOLERANCE = 1e-4  # of losses after a few steps, and of outputs: what float32 rounding leaves
MEMORY_WORK = "784-3x1024-10 @ 256"


def parse(arguments=None):
    isas = importlib.import_module("fastnn").available_isas()
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few short rounds, no heavy work: to look at, not to quote")
    only = "only works with TEXT in their name, no epoch, no memory; may be repeated"
    parser.add_argument("--only", metavar="TEXT", action="append", help=only)
    parser.add_argument("--peers", metavar="A,B", help=f"of {','.join(peers.NAMES)}; all that are installed by default")
    parser.add_argument("--threads", type=int, default=machine.usable_cpus(), metavar="N", help="compare 1 and N threads")
    text = f"hold all to this instruction set, {' or '.join(isas)} (FASTNN_ISA, or the best that the CPU has)"
    parser.add_argument("--isa", choices=isas, default=os.environ.get("FASTNN_ISA") or isas[-1], metavar="NAME", help=text)
    parser.add_argument("--repeats", type=int, metavar="R", help="rounds (9; with --quick 3)")
    parser.add_argument("--patience", type=float, default=600, metavar="S", help="seconds to wait in all for a quiet machine")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--plot", metavar="FILE.png")
    parser.add_argument("--markdown", metavar="FILE")
    options = parser.parse_args(arguments)
    options.peers = options.peers and ",".join(p.strip() for p in options.peers.split(","))
    unknown = [p for p in (options.peers or "").split(",") if p and p not in peers.NAMES]
    if unknown:
        parser.error(f"argument --peers: expected names of {', '.join(peers.NAMES)}, got {', '.join(unknown)}")
    for name in ("threads", "repeats"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"argument --{name}: expected at least 1, got {value}")
    names = [w.name for w in offered(options)]
    for text in options.only or ():
        if not any(text in name for name in names):
            parser.error(f"argument --only: expected a part of a work's name, got {text!r}; works are {', '.join(names)}")
    options.best_isa = isas[-1]
    options.repeats = options.repeats or (3 if options.quick else 9)
    options.block, options.blocks = (0.01, 3) if options.quick else (0.02, 5)
    return options


def offered(options):
    """The works that can be asked for."""
    return [w for w in works.WORKS.values() if not (options.quick and w.heavy)]


def holding(name, options):
    """The ISA to hold a worker to. A library that is to use all that the CPU has stays as it comes; fastnn is told in any case,
    whatever FASTNN_ISA says."""
    ours = name not in peers.NAMES or name.startswith("fastnn")
    return options.isa if ours or options.isa != options.best_isa else None


def log(text):
    print(text, file=sys.stderr, flush=True)


def last_line(error):
    return str(error).strip().splitlines()[-1][:200]


@functools.lru_cache(4)
def expected(work, variant=()):
    """What float64 NumPy makes of a work's check. variant: items of a JUDGE."""
    weights, batches = works.weights(work), works.batches(work)
    if work.net and work.kind == "infer":
        return of_nets.outputs(work, weights, batches[0])
    if work.kind == "infer":
        loop = judge.Inference(work, weights, batches, np.float64)
        return loop.step(*loop.batches[0])
    if work.net:
        losses = of_nets.losses(work, weights, batches[0], works.check_steps(work))
    else:
        loop = judge.Training(work, weights, batches, np.float64, **dict(variant))
        losses = np.array([loop.step(*loop.batches[0]) for _ in range(works.check_steps(work))])
    if abs(losses[0] - losses[-1]) < 0.01 * losses[0]:
        raise AssertionError(f"{work.name}: the loss hardly moves, so comparing it shows nothing")
    return losses


def single_output(name, work):
    """scikit-learn trains one logistic output in place of the two of a softmax."""
    return name == "sklearn" and work.sizes[-1] == 2


def check(name, work, found, truth):
    """{"difference": the largest relative one, "agrees": whether it is rounding}."""
    found = np.array(found)
    if single_output(name, work):
        found, truth = found[:1], truth[:1]
    difference = float(np.abs(found - truth).max() / np.abs(truth).max())
    return {"difference": difference, "agrees": difference <= TOLERANCE}


def measure(work, workers, machines, watch, options):
    """One work in all workers. Returns its entry for the results, and notes."""
    entry = {"name": work.name, "kind": work.kind, "flops": work.flops}
    entry |= {key: {} for key in ("check", "steps", "peaks", "samples", "disturbed", "foreign", "cpus")}
    notes, taking, sustained = [], [], options.block * options.blocks  # seconds: as long as a round of samples
    for worker in workers:
        name = worker.name
        if not work.takes(name):
            continue
        try:
            ready = worker.ask("prepare", work=work.name)
        except WorkerFailed as error:
            notes.append(f"{work.name}: {name} on {worker.threads} threads failed: {last_line(error)}")
            continue
        if not ready["supported"]:
            continue
        result = ready["losses"] if work.kind == "train" else ready["outputs"]
        verdict = check(name, work, result, expected(work, tuple(getattr(peers.load(name), "JUDGE", {}).items())))
        if single_output(name, work) and name not in entry["check"]:
            notes.append(f"{work.name}: scikit-learn has one logistic output in place of two; its first loss alone is compared")
        if name not in entry["check"] or verdict["difference"] > entry["check"][name]["difference"]:
            entry["check"][name] = verdict
        if not verdict["agrees"]:
            notes.append(f"{work.name}: {name} reaches other results ({verdict['difference']:.1e}); it is not timed")
            worker.ask("drop")
            continue
        most = works.STEPS_LIMIT if work.kind == "train" else 100_000
        steps = min(max(1, round(options.block / ready["step"])), most * 3 // 4)
        warm = 1 if work.heavy else min(max(2, steps // 2), most // 4)
        request = {"steps": steps, "blocks": 1 if work.heavy else options.blocks, "warm": warm}
        entry["steps"].setdefault(name, {})[str(worker.threads)] = steps
        taking.append((worker, request))
        if work.heavy and name == "fastnn":
            sustained = max(sustained, ready["step"] * (steps + warm))
    turns = [(m, {"seconds": sustained}) for m in machines] + taking
    turns.sort(key=lambda turn: turn[0].threads)  # the machine's peak stands before the libraries on as many threads
    for r in range(min(3, options.repeats) if work.heavy else options.repeats):
        for worker, request in turns if r % 2 == 0 else turns[::-1]:
            reply = watch.ask(worker, "round", **request)
            key = str(worker.threads)
            if worker.name == "machine":
                limits = {k: reply[k] for k in ("gflops", "sustained", "copy", "add", "disturbed")}
                entry["peaks"].setdefault(key, []).append(limits)
            else:
                for kept, value in (("samples", "seconds"), *((k, k) for k in ("disturbed", "foreign", "cpus"))):
                    entry[kept].setdefault(worker.name, {}).setdefault(key, []).append(reply[value])
    for worker, _ in taking:
        worker.ask("drop")
    return entry, notes


def seen(worker, isa):
    """{"held": whether a library is seen to keep to an ISA, "how": what shows it}"""
    try:
        reply = worker.ask("held", isa=isa)
    except WorkerFailed as error:
        return {"held": False, "how": f"it could not be seen: {last_line(error)}"}
    return {key: reply[key] for key in ("held", "how")}


def memory(names, options):
    """Peak memory of each peer that trains, by `bench.memory`."""
    work = works.WORKS[MEMORY_WORK]
    found = {}
    for name in names:
        if peers.load(name).Training is None or name == "fastnn_call":
            continue
        isa = holding(name, options)
        more = peers.load(name).environment(1, isa) if isa else {}
        more = {key: value for key, value in more.items() if key not in peers.common_environment(1)}  # `setup` sets threads
        command = [sys.executable, "-m", "bench.memory", name, work.name]
        run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **more})
        if run.returncode == 0:
            found[name] = json.loads(run.stdout.splitlines()[-1])
    return {"work": work.name, "least": 3 * work.parameter_bytes + work.activation_bytes, "peers": found}


def run(options):
    """Measure everything that the options ask for; returns the results."""
    wanted = options.peers.split(",") if options.peers else peers.NAMES
    absent = {p: peers.missing(p) for p in wanted}
    notes = [f"{p} is left out: {', '.join(m)} is not installed" for p, m in absent.items() if m]
    threads = sorted({1, options.threads})
    machines = [Worker("machine", t, isa=holding("machine", options)) for t in threads]
    names = [p for p in peers.NAMES if p in wanted and not absent[p]]
    started = [Worker(p, t, isa=holding(p, options)) for p in names for t in threads]
    workers, versions, held, entries, epochs, used, watch = [], {}, {}, [], {}, None, Watch()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for worker in started:
            try:
                versions |= worker.ask("hello")["versions"]
                workers.append(worker)
            except WorkerFailed as error:
                notes.append(f"{worker.name} on {worker.threads} threads is left out: {last_line(error)}")
                continue
            found = seen(worker, options.isa)
            if worker.name not in held or not found["held"]:
                held[worker.name] = found
        selected = [w for w in offered(options) if not options.only or any(text in w.name for text in options.only)]
        for work in selected:
            log(work.name)
            watch.patience += options.patience / len(selected)
            entry, more = measure(work, workers, machines, watch, options)
            entries.append(entry)
            notes += more
        if not options.only:
            for worker in (w for w in workers if w.name == "fastnn"):
                log(f"an epoch on {worker.threads} threads")
                epochs[str(worker.threads)] = watch.ask(worker, "epoch", rounds=2 * options.repeats + 1)
            log("memory")
            used = memory(dict.fromkeys(w.name for w in workers), options)
    except KeyboardInterrupt:
        notes.append("interrupted: the works that follow are missing")
    finally:
        signal.signal(signal.SIGTERM, before)
        for worker in started + machines:
            worker.close()
    idle = max((w.idle_cpu / w.idle_wall for w in workers if w.idle_wall), default=0.0)
    names = list(dict.fromkeys(w.name for w in workers))
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "isa": {"name": options.isa, "best": options.best_isa},
        "held": held,
        "versions": versions,
        "threads": threads,
        "rounds": options.repeats,
        "options": vars(options),
        "labels": {name: peers.load(name).LABEL for name in names},
        "works": entries,
        "epoch": epochs,
        "memory": used,
        "watch": {"taken": watch.taken, "again": watch.again, "kept": watch.kept, "idle": idle},
        "notes": notes,
    }


def main(arguments=None):
    options = parse(arguments)
    results = run(options)
    text = report.markdown(results)
    print(text)
    if options.markdown:
        with open(options.markdown, "w", encoding="utf-8") as file:
            file.write(text)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file)
    if options.plot:
        report.chart(results, options.plot)


if __name__ == "__main__":
    main()
