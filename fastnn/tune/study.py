"""Study and Trial: what a search has tried, and what came of it."""

import json
import math
import numbers
import time
from dataclasses import dataclass, field
from typing import Any

from ..init import seeded_alone


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
            raise ValueError(f"best: expected at least one trial with a value, got {len(self.trials)} trials without")
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


def tried(objective, trial, takes_trial, seed):
    """Call the objective for a trial; what it raises, and a value that is no number, is noted, and the search goes on. What is initialised
    in it is drawn from the search's seed and the trial's number, in whatever thread or process, after whatever trials."""
    start = time.perf_counter()
    try:
        with seeded_alone((seed + trial.number) % 2**64):
            trial.value = float(objective(trial if takes_trial else dict(trial.params)))
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
    """Trials in a file, a line of JSON each, so that a search goes on where it was stopped."""

    def __init__(self, path, head):
        self.path, self.found = path, {}
        try:
            with open(path, encoding="utf-8") as file:
                lines = file.read().split("\n")
        except FileNotFoundError:
            self._write(head, "x")
            return
        complete = [json.loads(line) for line in lines[:-1]]  # a line that was cut off is tried again
        if not complete or complete[0] != json.loads(json.dumps(head)):
            raise ValueError(f"file: expected that of a search with the same space, direction and seed, got {path}")
        if lines[-1]:
            with open(path, "w", encoding="utf-8") as file:
                file.write("\n".join(lines[:-1]) + "\n")
        for entry in complete[1:]:
            self.found[entry["number"]] = entry

    def restore(self, trial):
        """Take over what the file says of a trial."""
        for name, value in self.found[trial.number].items():
            setattr(trial, name, [tuple(r) for r in value] if name == "reports" else value)

    def append(self, trial):
        """Write a trial that is over, once."""
        if trial.number not in self.found:
            entry = {k: getattr(trial, k) for k in ("number", "value", "state", "seconds", "error", "reports", "tries")}
            self._write(entry, "a")

    def _write(self, entry, mode):
        with open(self.path, mode, encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
