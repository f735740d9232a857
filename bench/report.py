"""From raw samples to what people read: the arithmetic, the Markdown tables and the chart. It measures nothing.

`results` is what `bench.compare` writes as JSON. In it, for each work, `samples[peer][threads]` is a list of rounds, each a
list of seconds a step; `disturbed[peer][threads]` says of each round whether others were busy meanwhile, and
`peaks[threads]` has the machine's limits for each round. A peer's figure is the median of all samples of its undisturbed
rounds, on the number of threads whose median is lower; the spread is the middle half of them (first to third quartile). With
fewer than three undisturbed rounds all rounds count, and tables mark the figure with a ~.

`isa` has the instruction set that was asked for and the best one of the CPU; where these are the same, every library is as it
comes. Else `held[peer]` says whether the library was seen to keep to it; only those that were are rivals.
"""

import statistics

SLOWER_THAN_ONE = 1.03  # two threads may take this many times the time of one: the noise of a quiet machine


def chosen(flags, least=3):
    """The numbers of the rounds that count, of a list that says which were disturbed: the others, or all if these are few."""
    quiet = [i for i, flag in enumerate(flags) if not flag]
    return quiet if len(quiet) >= min(least, len(flags)) else list(range(len(flags)))


def quartiles(values):
    """(first quartile, median, third quartile), interpolated linearly; of one value, that value."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    return tuple(statistics.quantiles(values, n=4, method="inclusive"))


def figures(entry, peer):
    """{threads: (q1, median, q3)} in seconds."""
    found = {}
    for threads, rounds in entry["samples"][peer].items():
        use = chosen(entry["disturbed"][peer][threads])
        found[int(threads)] = quartiles([s for i in use for s in rounds[i]])
    return found


def best(entry, peer):
    """(threads, (q1, median, q3)) with the lowest median."""
    return min(figures(entry, peer).items(), key=lambda item: item[1][1])


def doubtful(entry, peer, threads):
    """Whether disturbed rounds had to be used."""
    flags = entry["disturbed"][peer][str(threads)]
    return any(flags[i] for i in chosen(flags))


def paired(numerator, denominator, flags=()):
    """(median, lowest, highest) over the rounds of the ratio of two lists of rounds: each round's own median by the other's.
    flags: lists that say which rounds were disturbed; see `chosen`."""
    use = chosen([any(f) for f in zip(*flags)]) if flags else range(len(numerator))
    ratios = [statistics.median(numerator[i]) / statistics.median(denominator[i]) for i in use]
    return statistics.median(ratios), min(ratios), max(ratios)


def apart(entry, many):
    """Of each round, whether the CPUs were far from each other: `many` threads copy memory at 1.5 times the rate of one.

    CPUs that share a cache also share its way to memory, and one thread can nearly fill that. A host may move a virtual
    machine's CPUs between caches at any time; then whatever threads hand each other takes far longer.
    """
    return [b["copy"] > 1.5 * a["copy"] for a, b in zip(entry["peaks"]["1"], entry["peaks"][str(many)], strict=True)]


def free(results, peer):
    """Whether a library may have used more than the instruction set that was asked for."""
    isa, held = results["isa"], results["held"].get(peer, {"held": False})
    return isa["name"] != isa["best"] and not held["held"]


def fastest_peer(entry, apart_from=()):
    """(name, its best median) of the fastest library that is not fastnn; None without one."""
    names = [p for p in entry["samples"] if not p.startswith("fastnn") and p not in apart_from]
    others = {p: best(entry, p)[1][1] for p in names}
    return min(others.items(), key=lambda item: item[1]) if others else None


def share_of_peak(entry, peer="fastnn", peak="gflops"):
    """(GFLOP/s, share of the FMA peak) of a peer on its best number of threads.

    Each round is held against the peak of the same round on the same number of threads; the share is the median. peak:
    "gflops", the best of some milliseconds, or "sustained", over as long as the work's samples take.
    """
    threads, (_, median, _) = best(entry, peer)
    rates = [[entry["flops"] / s / 1e9 for s in samples] for samples in entry["samples"][peer][str(threads)]]
    peaks = entry["peaks"][str(threads)]
    flags = entry["disturbed"][peer][str(threads)], [p["disturbed"] for p in peaks]
    return entry["flops"] / median / 1e9, paired(rates, [[p[peak]] for p in peaks], flags)[0]


# ---- text ----


def micro(seconds):
    """Seconds as microseconds, to three digits or to the unit."""
    us = seconds * 1e6
    return f"{us:.1f}" if us < 99.95 else f"{us:.0f}"


def cell(entry, peer):
    """A peer's figure for a table: median (first to third quartile; threads), with a ~ if it was disturbed."""
    if peer not in entry["samples"]:
        return "–"
    threads, (q1, median, q3) = best(entry, peer)
    return f"{'~' * doubtful(entry, peer, threads)}{micro(median)} ({micro(q1)}–{micro(q3)}; {threads})"


def table(header, rows):
    """A Markdown table; all columns but the first to the right."""
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _label(results, peer, kind):
    """A library's name; for inference without the part behind the comma, which says how it trains."""
    label = results["labels"][peer]
    label = label.split(",")[0] if kind == "infer" else label
    return f"{label} (not held to {results['isa']['name']})" if free(results, peer) else label


def _main_table(results, kind):
    entries = [e for e in results["works"] if e["kind"] == kind]
    shown = [p for p in results["labels"] if any(p in e["samples"] for e in entries)]
    others = [p for p in shown if free(results, p)]
    rivals = f"fastest peer held to {results['isa']['name']}" if others else "fastest peer"
    header = ["work, µs", *(_label(results, p, kind) for p in shown), f"{rivals} ÷ fastnn", "GFLOP/s"]
    header += ["% of FMA peak", "% of sustained"]
    rows = []
    for e in entries:
        row = [e["name"], *(cell(e, p) for p in shown)]
        if "fastnn" in e["samples"]:
            rival = fastest_peer(e, others)
            (gflops, best_share), (_, sustained_share) = (share_of_peak(e, peak=p) for p in ("gflops", "sustained"))
            row.append(f"{rival[1] / best(e, 'fastnn')[1][1]:.2f} ({rival[0]})" if rival else "–")
            row += [f"{gflops:.0f}", f"{100 * best_share:.0f}", f"{100 * sustained_share:.0f}"]
        else:
            row += ["–"] * 4
        rows.append(row)
    return table(header, rows) if entries else ""


def _threads_table(results):
    rows = []
    many = max(results["threads"])
    for e in results["works"]:
        if len(e["samples"].get("fastnn", {})) < 2:
            continue
        found, rounds, flags = figures(e, "fastnn"), e["samples"]["fastnn"], e["disturbed"]["fastnn"]
        one, more = "1", str(many)
        ratio, low, high = paired(rounds[more], rounds[one], (flags[more], flags[one]))
        mark = "~" * any(doubtful(e, "fastnn", t) for t in (1, many))
        verdict = "slower than one" if ratio > SLOWER_THAN_ONE else ""
        row = [e["name"], micro(found[1][1]), micro(found[many][1]), f"{mark}{ratio:.3f} ({low:.3f}–{high:.3f})"]
        far = apart(e, many)
        for state in (False, True):
            pick = [i for i, flag in enumerate(far) if flag is state]
            if pick:
                ratio = paired([rounds[more][i] for i in pick], [rounds[one][i] for i in pick])[0]
            row.append(f"{ratio:.3f} ({len(pick)})" if pick else "–")
        rows.append([*row, verdict])
    header = ["fastnn", "1 thread, µs", f"{many} threads, µs", f"{many} ÷ 1 (lowest–highest round)"]
    header += ["CPUs near (rounds)", "CPUs apart (rounds)", "note"]
    return table(header, rows) if rows else ""


def where(results, threads=None):
    """What a table is of: the processor, the instruction set and the threads (all that were measured)."""
    threads = threads or results["threads"]
    text = " or ".join(map(str, threads)) + f" thread{'s' * (threads[-1] > 1)}"
    return f"{results['machine']['CPU']}, {results['isa']['name']}, {text}"


def _isa_lines(results):
    isa, lines = results["isa"], []
    if isa["name"] == isa["best"]:
        lines.append(f"- The CPU has no more than {isa['name']}: every library is as it comes, and none is held to anything.")
    for peer, found in results["held"].items():
        state = ""
        if isa["name"] != isa["best"]:
            state = f"held to {isa['name']}: " if found["held"] else f"not held to {isa['name']}, and no rival in the tables: "
        lines.append(f"- {results['labels'][peer]}: {state}{found['how']}")
    return "\n".join(lines)


def _machine_lines(results):
    lines = [", ".join(f"{k}: {v}" for k, v in results["machine"].items())]
    lines.append(", ".join(f"{k} {v}" for k, v in sorted(results["versions"].items())))
    for threads in results["threads"]:
        peaks = [p for e in results["works"] for p in e["peaks"].get(str(threads), [])]
        peaks = [peaks[i] for i in chosen([p["disturbed"] for p in peaks])]
        if peaks:
            text = f"{threads} thread{'s' * (threads > 1)}:"
            units = {"gflops": "GFLOP/s FMA", "sustained": "GFLOP/s sustained", "copy": "GB/s copy", "add": "GB/s add"}
            for key, unit in units.items():
                values = [p[key] for p in peaks if p[key] is not None]
                q1, median, q3 = quartiles(values)
                text += f" {median:.0f} {unit} ({q1:.0f}–{q3:.0f}),"
            lines.append(text.rstrip(","))
    return "\n".join(f"- {line}" for line in lines)


def _epoch_lines(results):
    lines = []
    for threads, found in results.get("epoch", {}).items():
        seconds = found["seconds"]
        steps = found["rows"] // found["batch"]
        fit = quartiles(seconds["fit"])[1]
        ratios = []
        for name, what in (("step", "trainer.step"), ("call", "one call in order"), ("hot", "one call on one batch")):
            ratio, low, high = paired([[s] for s in seconds["fit"]], [[s] for s in seconds[name]])
            ratios.append(f"{ratio:.3f} ({low:.3f}–{high:.3f}) x {steps} of {what}")
        start = f"- {threads} thread{'s' * (threads != '1')}: an epoch of {found['rows']} rows by fit {fit * 1e3:.2f} ms = "
        lines.append(start + "; ".join(ratios) + " (disturbed)" * found["disturbed"])
    return "\n".join(lines)


def _memory_lines(results):
    found = results.get("memory")
    if not found:
        return ""
    rows = []
    for peer, measured in found["peers"].items():
        rows.append([results["labels"][peer], f"{measured['peak'] / 1e6:.1f}", f"{measured['training'] / 1e6:.1f}"])
    least = f"{found['work']}: parameters, two moments and activations once, no gradients: {found['least'] / 1e6:.1f} MB."
    return least + "\n\n" + table(["MB beyond interpreter and data", "building and training", "training"], rows)


def _check_lines(results):
    lines = []
    for e in results["works"]:
        found = (f"{p} {c['difference']:.1e}" + " DISAGREES" * (not c["agrees"]) for p, c in e["check"].items())
        lines.append(f"- {e['name']}: {', '.join(found)}")
    return "\n".join([*lines, *(f"- {note}" for note in results["notes"])])


def markdown(results):
    """The whole report."""
    watch, here = results["watch"], where(results)
    parts = [
        (f"Training step: {here}", _main_table(results, "train")),
        (f"Inference: {here}", _main_table(results, "infer")),
        (f"Threads: {here}", _threads_table(results)),
        (f"An epoch: {here}", _epoch_lines(results)),
        (f"Memory: {where(results, [1])}", _memory_lines(results)),
        ("Instruction set", _isa_lines(results)),
        ("Same results: relative difference from float64 NumPy, and notes", _check_lines(results)),
        ("Machine", _machine_lines(results)),
        (
            "Quiet",
            f"- {watch['taken']} measurements; {watch['again']} times one was taken again because other programs were busy, or "
            f"neighbours of this virtual machine slowed copies within a CPU's L1 cache, and {watch['kept']} were kept all the same\n"
            f"- idle workers used at most {100 * watch['idle']:.2f} % of a CPU each",
        ),
    ]
    head = (
        f"{results['date']}, {results['rounds']} rounds. A figure is the median (first–third quartile; threads) on the "
        f"better of {' or '.join(map(str, results['threads']))} threads; ~ marks figures for which the machine was not quiet. "
        "Shares of a peak are medians of each round's own."
    )
    return head + "\n\n" + "\n\n".join(f"### {title}\n\n{text}" for title, text in parts if text) + "\n"


# ---- chart ----

COLOURS = {"fastnn": "#d1495b", "fastnn_call": "#e8a0aa"}


def chart(results, path):
    """One panel for each work: a bar for each library, from zero, with its quartiles."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    entries = [e for e in results["works"] if e["samples"]]
    columns = min(3, len(entries))
    rows = -(-len(entries) // columns)
    most = max(len(e["samples"]) for e in entries)
    figure, axes = plt.subplots(rows, columns, figsize=(5.6 * columns, rows * (0.9 + 0.29 * most)), squeeze=False)
    for axis in axes.flat[len(entries) :]:
        axis.set_axis_off()
    for axis, e in zip(axes.flat, entries):
        found = [(p, *best(e, p)) for p in results["labels"] if p in e["samples"]]
        scale, unit = (1e3, "ms") if max(q[1] for _, _, q in found) >= 2e-3 else (1e6, "µs")
        widest = max(q[2] for _, _, q in found) * scale
        for y, (p, threads, (q1, median, q3)) in enumerate(found):
            errors = [[(median - q1) * scale], [(q3 - median) * scale]]
            colour = COLOURS.get(p, "#8d99ae")
            axis.barh(y, median * scale, xerr=errors, color=colour, ecolor="#444444", height=0.72, capsize=2)
            value = median * scale
            text = f"{value:.3g}" if value < 1000 else f"{value:.0f}"
            axis.text(q3 * scale + 0.015 * widest, y, f"{text} {unit}, {threads} thr.", va="center", fontsize=8)
        axis.set_yticks(range(len(found)), [_label(results, p, e["kind"]) for p, _, _ in found], fontsize=8)
        axis.invert_yaxis()
        axis.set_xlim(0, 1.34 * widest)
        axis.tick_params(axis="x", labelsize=8)
        axis.set_title(("" if e["kind"] == "infer" else "train ") + e["name"], fontsize=10, loc="left", fontweight="bold")
        axis.spines[["top", "right"]].set_visible(False)
    title = "Time of one step or call (shorter is better): median and quartiles on the better number of threads"
    figure.suptitle(f"{title}\n{where(results)}, {results['date'][:10]}", fontsize=11)
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    figure.savefig(path, dpi=110)
    plt.close(figure)
