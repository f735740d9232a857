"""Study and Trial: what a search has tried, and what came of it."""

import json
import math
import numbers
import os
import time
from dataclasses import dataclass, field
from typing import Any

from ..init import seeded_alone


_WRITTEN = ("number", "value", "state", "seconds", "error", "reports", "tries")  # of a trial, in a study's file


class Pruned(Exception):
    """Raised by an objective to give up its trial; `Trial.report` raises it where the search says so."""


@dataclass
class Trial:
    """One setting and its value.

    Attributes
    ----------
    number : int
        From 0.
    params : dict
    value : float or None
        None where there is none.
    state : {"running", "done", "failed", "pruned"}
    seconds : float
    error : str or None
        What the objective raised, or that its process died.
    tries : int
        How often it was begun: more than once where a process died.
    reports : list of (int, float)
        What it reported, by epochs.
    epochs : int or None
        How many the search wants it to train for; None: as the objective likes.
    """

    number: int
    params: dict
    value: float | None = None
    state: str = "running"
    seconds: float = 0.0
    error: str | None = None
    reports: list = field(default_factory=list)
    epochs: int | None = None
    tries: int = 1
    _prune: object = field(default=None, repr=False, compare=False)
    _ended: object = field(default=None, repr=False, compare=False)  # tells whether the search has been broken off

    def __getitem__(self, name) -> Any:
        return self.params[name]

    def report(self, epoch, value) -> None:
        """Note the value after an epoch; raises Pruned where the search gives the trial up."""
        self.reports.append((int(epoch), float(value)))
        if self.broken_off:
            raise Pruned
        if self._prune is not None and self._prune(self):
            raise Pruned

    @property
    def broken_off(self):
        """Whether the search has been broken off while the trial runs, by Ctrl-C: what comes of it is not wanted."""
        return self._ended is not None and self._ended()


class Study:
    """What a search has found.

    Attributes
    ----------
    trials : list of Trial
    direction : {"minimize", "maximize"}
    """

    def __init__(self, names, direction) -> None:
        self.names, self.direction, self.trials = tuple(names), direction, []

    @property
    def best(self):
        """The Trial with the best value. ValueError where no trial has one."""
        done = [t for t in self.trials if t.state == "done"]
        if not done:
            why = next((f"; the first failed by {t.error}" for t in self.trials if t.error), "")
            raise ValueError(f"best: expected at least one trial with a value, got {len(self.trials)} trials without{why}")
        return (min if self.direction == "minimize" else max)(done, key=lambda t: t.value)

    def train(self, function) -> Any:
        """Call the function with the best settings, a dict: it trains the final model, and its result is returned."""
        return function(dict(self.best.params))

    def table(self, n=None) -> str:
        """The trials as text, the best first; n: how many of them."""
        sign = 1 if self.direction == "minimize" else -1
        order = sorted(self.trials, key=lambda t: (t.state != "done", sign * t.value if t.state == "done" else 0, t.number))
        rows = [["trial", "value", *self.names, "seconds", "state"]]
        for t in order[:n]:
            value = "" if t.value is None else f"{t.value:.6g}"
            settings = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in (t.params[k] for k in self.names)]
            rows.append([str(t.number), value, *settings, f"{t.seconds:.2f}", t.state + f" ({t.tries} tries)" * (t.tries > 1)])
        widths = [max(map(len, column)) for column in zip(*rows)]
        return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(row, widths)) for row in rows)

    def plot(self) -> Any:
        """A matplotlib figure: the value against each setting, on a logarithmic axis where it spans more than two orders."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(4 * len(self.names), 3.5), layout="constrained")
        done = [t for t in self.trials if t.state == "done"]
        for axes, name in zip(figure.subplots(1, len(self.names), squeeze=False)[0], self.names):
            values = [t.params[name] for t in done]
            plain = all(isinstance(v, numbers.Real) and not isinstance(v, bool) for v in values)
            axes.plot(values if plain else [str(v) for v in values], [t.value for t in done], "o", alpha=0.6)
            if plain and values and min(values) > 0 and max(values) > 100 * min(values):
                axes.set_xscale("log")
            axes.set_xlabel(name)
            axes.set_ylabel("value")
        return figure


def _number(value):
    """What an objective returned, as a float; a text is none, even if it reads like one."""
    if value is None or isinstance(value, (str, bytes)):
        raise TypeError(f"expected the objective to return a number, got {value!r:.40}")
    return float(value)


def tried(objective, trial, takes_trial, seed):
    """Call the objective for a trial; what it raises, and a value that is no number, is noted, and the search goes on. What is initialised
    in it is drawn from the search's seed and the trial's number, in whatever thread or process, after whatever trials."""
    start = time.perf_counter()
    try:
        with seeded_alone((seed + trial.number) % 2**64):
            trial.value = _number(objective(trial if takes_trial else dict(trial.params)))
        trial.state = "done"
        if math.isnan(trial.value):
            trial.state, trial.value, trial.error = "failed", None, "the value is NaN"
    except Pruned:
        trial.state = "pruned"
    except Exception as error:  # whatever an objective raises
        trial.state, trial.error = "failed", f"{type(error).__name__}: {error}"
    trial.seconds = time.perf_counter() - start
    return trial


class Log:
    """Trials in a file, a line of JSON each behind one that says of which search, so that this goes on where it was stopped."""

    def __init__(self, path, head):
        self.path, self.found = path, {}
        head = {name: value for name, value in head.items() if value is not None}
        try:
            with open(path, "rb") as file:
                *lines, rest = file.read().split(b"\n")
        except FileNotFoundError:
            self._write(head, "x")
            return
        if not lines and _line(head).startswith(rest):  # broken off before its first line was written
            self._write(head, "w")
            return
        entries = [_entry(line, i, path) for i, line in enumerate(lines)]
        theirs = entries[0] if entries else {}
        for name in {**head, **theirs}:
            if theirs.get(name) != head.get(name):
                raise ValueError(
                    f"file: expected that of the same search, got {path}, where {name} is {theirs.get(name)!r:.200}, here "
                    f"{head.get(name)!r:.200}; take another file, or the same arguments"
                )
        for i, entry in enumerate(entries[1:], 1):
            if not _fits(entry):
                raise ValueError(f"file: expected a trial in each line, got {path}, whose line {i + 1} is none")
            self.found[entry["number"]] = entry
        if rest:  # a line that was cut off is tried again
            os.truncate(path, sum(len(line) + 1 for line in lines))

    def restore(self, trial):
        """Take over what the file says of a trial."""
        for name, value in self.found[trial.number].items():
            setattr(trial, name, [tuple(r) for r in value] if name == "reports" else value)

    def append(self, trial):
        """Write a trial that is over, once."""
        if trial.number not in self.found:
            entry = {k: getattr(trial, k) for k in _WRITTEN}
            self._write(entry, "a")

    def _write(self, entry, mode):
        with open(self.path, mode, encoding="utf-8", newline="\n") as file:
            file.write(_line(entry).decode())


def _line(entry):
    return json.dumps(entry).encode() + b"\n"


def _entry(line, i, path):
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        raise ValueError(f"file: expected what a search has written, got {path}, whose line {i + 1} is not of that kind")
    return entry


def _fits(entry):
    """Whether it says of a trial what `append` writes."""
    value, done = entry.get("value"), entry.get("state") == "done"
    try:
        pairs = all(len(pair) == 2 for pair in entry.get("reports"))
    except TypeError:
        return False
    return (
        pairs
        and set(entry) == set(_WRITTEN)
        and type(entry["number"]) is int
        and entry["state"] in ("done", "failed", "pruned")
        and (type(value) is float and not math.isnan(value) if done else value is None)
        and type(entry["seconds"]) is float
        and type(entry["tries"]) is int
    )
