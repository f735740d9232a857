"""What `Trainer.diagnose` gives: how the units, gradients and weights of each layer fare, from one training step on copies."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..nn.hidden import hidden
from ..plan import Builder
from .arrays import ArrayData
from .checks import check_batch, count

_RECTIFIERS = ("relu", "gelu", "gelu_tanh", "silu", "softplus")  # 0 on one side, where no gradient comes through
_LIMITS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "hard_tanh": (-1.0, 1.0), "selu": (-1.7580993408473766, math.inf)}
_NEAR = 0.01  # of the range: this near to its limit an output is saturated
_SATURATED = 0.95  # of the rows: a unit that is saturated in so many counts
_SILENT = 1e-6
_BINS = 50


class LayerDiagnosis(NamedTuple):
    """A layer, in one step of training. What it does not have is None: a layer without weights their norm, for one.

    Attributes
    ----------
    name, kind : str
    units : int
        Features, or channels of images.
    dead : int
        Units whose output is 0 in all rows, where the activation is one of relu, gelu, silu and softplus: no gradient reaches their
        weights.
    saturated : int
        Units whose output is within 1 % of a limit of the activation (sigmoid, tanh, hard_tanh, elu, selu) in 95 % of the rows.
    zeros : float
        The share of outputs that are exactly 0.
    mean, std : float
        Of the outputs.
    gradient_mean, gradient_std : float
        Of the loss's gradient for the outputs.
    weight_norm : float
        √(Σ w²) over the layer's weights: parameters of two dimensions or more, or all where it has none such.
    update_ratio : float
        √(Σ Δw²) of what the next step changes, over weight_norm.
    outputs, gradients : (counts, edges)
        Histograms of the finite ones.
    """

    name: str
    kind: str
    units: int
    dead: int | None
    saturated: int | None
    zeros: float
    mean: float
    std: float
    gradient_mean: float | None
    gradient_std: float | None
    weight_norm: float | None
    update_ratio: float | None
    outputs: tuple
    gradients: tuple | None


class Diagnosis:
    """The result of `Trainer.diagnose`: a table when printed, an entry for each layer by its name.

    Attributes
    ----------
    layers : list of LayerDiagnosis
    loss : float
        Of the rows, penalties included.
    rows : int
        How many were looked at.
    notes : list of str
        What is out of the ordinary.
    """

    def __init__(self, layers, loss, rows) -> None:
        self.layers, self.loss, self.rows = layers, loss, rows
        self.notes = list(_notes(layers))

    def __getitem__(self, name) -> Any:
        found = next((layer for layer in self.layers if layer.name == str(name)), None)
        if found is None:
            raise KeyError(f"{name}: expected one of {', '.join(layer.name for layer in self.layers)}")
        return found

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def table(self) -> str:
        """The numbers as text, a line for each layer."""
        lines = [("", "layer", "units", "dead", "saturated", "zeros", "mean", "std", "grad mean", "grad std", "weights", "update/w")]
        for d in self.layers:
            lines.append((
                d.name, d.kind, str(d.units), _counted(d.dead, d.units), _counted(d.saturated, d.units), f"{d.zeros:.0%}",
                *map(_short, (d.mean, d.std, d.gradient_mean, d.gradient_std, d.weight_norm, d.update_ratio)),
            ))
        widths = [max(len(line[c]) for line in lines) for c in range(len(lines[0]))]
        joined = ["  ".join(v.ljust(w) if c < 2 else v.rjust(w) for c, (v, w) in enumerate(zip(line, widths))) for line in lines]
        joined = [line.rstrip() for line in joined]
        return "\n".join([joined[0], "-" * max(map(len, joined)), *joined[1:]])

    def __str__(self):
        return "\n".join([self.table(), f"{self.rows} rows, loss {self.loss:.4g}", *self.notes])

    def __repr__(self):
        return f"<Diagnosis of {len(self.layers)} layers, {self.rows} rows, loss {self.loss:.4g}>"

    def plot(self) -> Any:
        """Draw the histograms with matplotlib: the outputs of each layer above, their gradients below.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        import matplotlib.pyplot as plt

        n = len(self.layers)
        figure, axes = plt.subplots(2, n, figsize=(max(4, 2.4 * n), 5), squeeze=False, layout="constrained")
        for column, d in zip(axes.T, self.layers):
            for ax, drawn, color in zip(column, (d.outputs, d.gradients), ("tab:blue", "tab:orange")):
                if drawn is not None:
                    counts, edges = drawn
                    ax.stairs(counts, edges, fill=True, color=color)
                ax.set_yticks([])
                ax.ticklabel_format(axis="x", scilimits=(-2, 3))
            column[0].set_title(f"{d.name}: {d.kind}", fontsize=9)
            column[0].set_xlabel(f"mean {d.mean:.2g}, std {d.std:.2g}", fontsize=8)
            if d.gradient_std is not None:
                column[1].set_xlabel(f"std {d.gradient_std:.2g}", fontsize=8)
        axes[0, 0].set_ylabel("outputs")
        axes[1, 0].set_ylabel("gradients")
        return figure


def _short(value):
    return "" if value is None else f"{value:.2g}"


def _counted(number, units):
    return "" if number is None else f"{number} ({number / units:.0%})"


def _notes(layers):
    """What someone who looks at the table should see first."""
    for d in layers:
        if not (math.isfinite(d.mean) and math.isfinite(d.std)):
            yield f"layer {d.name}: outputs that are not finite"
        if d.dead is not None and d.dead >= max(1, 0.1 * d.units):
            yield f"layer {d.name}: {d.dead} of {d.units} units are dead; a lower rate, or init='he', or leaky_relu, may help"
        if d.saturated is not None and d.saturated >= max(1, 0.1 * d.units):
            yield f"layer {d.name}: {d.saturated} of {d.units} units are saturated; smaller initial weights, or a BatchNorm, may help"
        if d.update_ratio is not None and d.update_ratio > 0.1:
            yield f"layer {d.name}: a step changes the weights by {d.update_ratio:.0%} of their norm; a lower rate may help"
    sizes = [math.hypot(d.gradient_mean, d.gradient_std) for d in layers if d.gradient_std is not None]  # equal ones have no deviation
    if len(sizes) > 2 and 0 < sizes[0] < 1e-4 * max(sizes):
        yield f"gradients vanish: they are {max(sizes) / sizes[0]:.0e} times smaller at the first layer than where they are largest"
    if len(sizes) > 2 and sizes[0] > 1e4 * max(sizes[-1], 1e-30):
        yield f"gradients explode: they are {sizes[0] / max(sizes[-1], 1e-30):.0e} times larger at the first layer than at the last"


def diagnose(trainer, X, y, sample_weight, rows):
    """All of `Trainer.diagnose`, whose docstring says what the arguments are."""
    rows = count(rows, "rows", 1)
    pair = ArrayData(trainer.model, trainer.loss, X, y, sample_weight=sample_weight)
    pair.check_labels()
    return Probe(trainer, pair, rows).look()


class Probe:
    """What looks at a trainer, as often as one likes, by a step on copies: on so many rows of ArrayData, evenly spaced."""

    def __init__(self, trainer, pair, rows):
        self._trainer, self._pair = trainer, pair
        self._rows = np.arange(0, len(pair.X), max(1, len(pair.X) // rows))[:rows]
        check_batch(trainer.model, len(self._rows), "X")
        self._copy, self._fresh = trainer.copy(), True
        self._copy.one_thread = True  # for so little work
        self._made_for = self._settings()
        builder = Builder(len(self._rows), fused=False, training=True, keep=True, dtype=trainer.model.dtype)
        self._copy.emit(builder, pair.kind, pair.weighted)
        self._layers = [h for h in hidden(self._copy.model, builder) if h.leaf]
        self._gradients = [builder.gradient(h.y) for h in self._layers]
        self._executor = self._copy._new_executor(builder.build("layers"))

    def _settings(self):
        t = self._trainer
        return t.penalty, t.clip_norm, t.loss, t.optimizer.structure, [p.frozen for p in t._parameters]

    @property
    def is_current(self):
        """Whether the trainer still does what it did when this was made."""
        return self._made_for == self._settings()

    def _refresh(self):
        """The copies become what the trainer is."""
        copy, trainer = self._copy, self._trainer
        for p, q in zip(trainer._parameters, copy._parameters):
            q.data[...] = p.data
        copy.optimizer.load_state_dict(trainer.optimizer.state_dict(copy=False))
        copy.steps_done = trainer.steps_done

    def look(self):
        """A Diagnosis of the trainer as it is."""
        if not self._fresh:
            self._refresh()
        self._fresh = False
        copy, pair, losses = self._copy, self._pair, np.zeros(1)
        copy.optimizer.prepare()
        found = self._executor.run(pair.X, pair.y, self._rows, [copy.optimizer.step_values()], losses=losses, weights=pair.weight)
        if found.problem:
            pair.refuse(found.problem, self._rows, int(self._rows[found.row]))
        before = {id(q): p.data for p, q in zip(self._trainer._parameters, copy._parameters)}
        layers = []
        for h, gradient in zip(self._layers, self._gradients):
            own = [p for p in h.layer.parameters() if p.trained]
            own = [p for p in own if len(p.shape) > 1] or own
            layers.append(_layer(h, self._values(h.y), self._values(gradient), [(before[id(p)], p.data) for p in own]))
        return Diagnosis(layers, float(losses[0]), len(self._rows))

    def _values(self, buffer):
        """[rows (times pixels), units] of a buffer, or None."""
        if buffer is None:
            return None
        return self._executor.array(buffer.name)[: len(self._rows)].reshape(-1, buffer.shape[-1])


def first_not_finite(trainer, part, step):
    """Where in a step of a Part, which has not been done, something is not finite for the first time. Returns (loss, text)."""
    begin = step * part.batch
    end = min(begin + part.batch, part.end - part.begin)
    chosen = np.arange(begin, end) if part.index is None else part.index[begin:end]
    rows = part.rows_of(np.arange(begin, end))  # of the user's data
    copy = trainer.copy()
    copy.one_thread = True
    builder = Builder(len(chosen), fused=False, training=True, keep=True, dtype=copy.model.dtype)
    copy.emit(builder, part.data.kind, part.data.weighted)
    paths, homes = {id(layer): path for path, layer in copy.model.walk()}, {}
    for layer, first, last, _ in builder.layers:  # chains before what is in them
        homes |= {id(op): paths[id(layer)] for op in builder.ops[first:last]}
    executor = copy._new_executor(builder.build("layers"))
    copy.optimizer.prepare()
    names, losses = {id(p.data): name for name, p in (*copy.model.named_parameters(), *copy.model.named_buffers())}, np.zeros(1)
    before = [(name, bool(np.isfinite(p.data).all())) for name, p in copy.model.named_parameters()]
    executor.run(part.x, part.y, chosen, [copy.optimizer.step_values()], losses=losses, weights=part.weight, augment=part.augment)
    wrong = {name for name, finite in before if not finite}
    for op in executor.plan.ops:
        for b in op.reads():
            if names.get(id(b.array)) in wrong:
                return losses[0], f"{names[id(b.array)]} is not finite"
        for b in op.writes():
            if b.is_whole or not b.dtype.startswith("float"):
                continue
            bad = np.flatnonzero(~np.isfinite(executor.array(b.name)[: len(chosen)].reshape(len(chosen), -1)).all(axis=1))
            if len(bad):
                some = f"row{'s' * (len(bad) > 1)} {', '.join(map(str, rows[bad[:5]]))}{', ...' * (len(bad) > 5)}"
                if op.kind.startswith("gather"):
                    return losses[0], f"{some} of the data {'are' if len(bad) > 1 else 'is'} not finite"
                where = f"layer {homes[id(op)]}" if id(op) in homes else "the loss"
                return losses[0], f"{where} ({op.kind}) is the first to be not finite, in {some}"
    return losses[0], "" if np.isfinite(losses[0]) else "the loss itself is the first to be not finite"


def _layer(h, y, gradient, weights):
    """The LayerDiagnosis of outputs and their gradients [rows, units], and of weights before and after the step."""
    op = h.activation
    name, units = op.activation if op is not None and op.kind == "activation_forward" else None, y.shape[1]
    dead = saturated = norm = ratio = None
    low, high = _LIMITS.get(name, (-op.alpha, math.inf) if name == "elu" else (None, None))
    if name in _RECTIFIERS:
        dead = int(np.count_nonzero((np.abs(y) < _SILENT).all(axis=0)))
    elif low is not None:
        near = _NEAR * (high - low if high < math.inf else -low)
        saturated = int(np.count_nonzero(((y <= low + near) | (y >= high - near)).mean(axis=0) >= _SATURATED))
    if weights:
        norm = math.sqrt(sum(float(np.square(w, dtype=np.float64).sum()) for w, _ in weights))
        moved = math.sqrt(sum(float(np.square(np.subtract(after, w, dtype=np.float64)).sum()) for w, after in weights))
        ratio = moved / norm if norm else math.inf if moved else 0.0
    with np.errstate(all="ignore"):
        found = [None if a is None else (float(a.mean(dtype=np.float64)), float(a.std(dtype=np.float64))) for a in (y, gradient)]
    (mean, std), (gradient_mean, gradient_std) = found[0], found[1] or (None, None)
    kind = type(h.layer).__name__ + (f" {name or op.kind.removesuffix('_forward')}" if op is not None else "")
    return LayerDiagnosis(h.path, kind, units, dead, saturated, float((y == 0).mean()), mean, std, gradient_mean, gradient_std, norm,
                          ratio, _histogram(y), None if gradient is None else _histogram(gradient))


def _histogram(a):
    finite = a[np.isfinite(a)]
    return np.histogram(finite if len(finite) else [0.0], _BINS)
