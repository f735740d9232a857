"""Table: makes of a table's columns what a network takes, and of its outputs what the table says; fitted once, saved with the model."""

import numbers
from typing import Any

import numpy as np

from .csv_files import as_frame

_FEW = 20  # whole numbers of at most so many values are classes


class Table:
    """A fitted transform from columns to a network's inputs and targets.

    Numbers are standardised, by mean and deviation of the rows that it was fitted on; a missing one becomes the mean, with a second
    column that says so where the fitted rows lack some. Categories become a column each, 1 or 0: the `max_categories` most
    frequent ones, one for all others where there are more, and one for missing ones. Columns that tell nothing (a single value, or a
    text that is another in every row) are left out.

    Parameters
    ----------
    target : str, optional
        The column to be predicted.
    task : {"classification", "regression"}, optional
        By default classification where the target is a text, or whole numbers of at most 20 different values.
    drop : sequence of str, optional
        Columns to leave out.
    max_categories : int, default 64
        Of one column.

    Attributes
    ----------
    features : int
        Columns of what `transform` returns.
    classes : list or None
        What the labels stand for, of a classification.
    left_out : list of str
        Columns that are not used.

    Examples
    --------
    >>> frame = data.Frame({"size": [50, 72, 31, 40], "city": ["Oslo", "Bergen", "Oslo", "Oslo"], "sold": ["yes", "no", "yes", "no"]})
    >>> table = data.Table(target="sold").fit(frame)
    >>> X, y = table(frame)
    >>> X.round(2), y, table.classes
    (array([[ 0.11,  1.  ,  0.  ],
           [ 1.56,  0.  ,  1.  ],
           [-1.13,  1.  ,  0.  ],
           [-0.54,  1.  ,  0.  ]], dtype=float32), array([1, 0, 1, 0]), ['no', 'yes'])
    """

    def __init__(self, target=None, task=None, drop=(), max_categories=64) -> None:
        if task not in (None, "classification", "regression"):
            raise ValueError(f"task: expected 'classification' or 'regression', got {task!r}")
        if isinstance(max_categories, bool) or not isinstance(max_categories, numbers.Integral) or max_categories < 1:
            raise ValueError(f"max_categories: expected an integer >= 1, got {max_categories!r}")
        if isinstance(drop, str):
            raise TypeError(f"drop: expected a list of names, got {drop!r}; write [{drop!r}]")
        self.target, self.task, self.drop, self.max_categories = target, task, tuple(drop), int(max_categories)
        self._columns = self._target = None
        self.left_out = []

    # ---- fitting ----

    def fit(self, frame, rows=None) -> "Table":
        """Take means, deviations and categories from these rows. Returns itself.

        Parameters
        ----------
        frame : Frame, dict, or data frame of pandas or polars
        rows : array_like of int, or slice, optional
            Take them from these rows of it only, which are to be trained on; the classes of the target are those of all rows.

        Raises
        ------
        ValueError
            If a column that is named does not exist, the target has missing values or one value only, a number is infinite, or no
            column is left.
        """
        frame = as_frame(frame)
        for name in (*([] if self.target is None else [self.target]), *self.drop):
            if name not in frame.columns:
                raise ValueError(f"{'target' if name == self.target else 'drop'}: expected one of the columns {', '.join(frame.columns)}, got {name!r}")
        if not len(frame):
            raise ValueError("frame: expected at least one row, got none")
        part = frame if rows is None else frame.take(rows)
        if not len(part):
            raise ValueError("rows: expected at least one row, got none")
        target = None if self.target is None else self._fit_target(frame[self.target], part[self.target])
        columns, left_out = [], []
        for name in frame.columns:
            if name == self.target:
                continue
            entry = None if name in self.drop else _fit(name, part[name], self.max_categories)
            (left_out if entry is None else columns).append(name if entry is None else entry)
        if not columns:
            raise ValueError(f"frame: expected a column that tells rows apart, besides the target, got {', '.join(frame.columns)}")
        self._columns, self._target, self.left_out = columns, target, left_out
        return self

    def _fit_target(self, values, part):
        text = values.dtype == object
        lacking = np.array([v is None for v in values]) if text else np.isnan(values)
        if lacking.any():
            raise ValueError(f"target: expected a value in every row of {self.target!r}, got none in row {int(lacking.argmax())}")
        if not text and not np.isfinite(values).all():
            raise ValueError(f"target: expected finite numbers in {self.target!r}, got {values[~np.isfinite(values)][0]}")
        levels = sorted(set(values.tolist()))
        whole = not text and all(v == int(v) for v in levels[: _FEW + 1])
        task = self.task or ("classification" if text or whole and len(levels) <= _FEW else "regression")
        if len(levels) < 2:
            raise ValueError(f"target: expected at least 2 different values of {self.target!r}, got {levels[0]!r} alone")
        if task == "classification":
            return {"classes": [int(v) if whole else v for v in levels]}
        if text:
            raise ValueError(f"target: expected numbers in {self.target!r} for a regression, got {values[0]!r}")
        return {"mean": float(part.mean()), "scale": float(part.std()) or 1.0}

    # ---- what it is ----

    def _fitted(self):
        if self._columns is None:
            raise RuntimeError("expected a table that has been fitted, got one that has not; call fit(frame) first")
        return self._columns

    @property
    def features(self):
        return sum(map(_width, self._fitted()))

    @property
    def feature_names(self):
        """The names of the columns that `transform` returns."""
        return [name for entry in self._fitted() for name in _names(entry)]

    @property
    def classes(self):
        self._fitted()
        return None if self._target is None else self._target.get("classes")

    @property
    def is_classification(self):
        """Whether labels are predicted; else numbers."""
        return self.classes is not None

    def __repr__(self):
        if self._columns is None:
            return f"<Table, not fitted{'' if self.target is None else f', target {self.target!r}'}>"
        kinds = [entry["kind"] for entry in self._columns]
        target = "" if self.target is None else f" -> {self.target} ({f'{len(self.classes)} classes' if self.is_classification else 'number'})"
        return f"<Table: {kinds.count('number')} numbers, {kinds.count('category')} categories, {self.features} inputs{target}>"

    # ---- using it ----

    def __call__(self, frame, unknown="error") -> tuple[np.ndarray, np.ndarray]:
        """(`transform`, `targets`) of the same rows."""
        frame = as_frame(frame)
        return self.transform(frame, unknown), self.targets(frame)

    def transform(self, frame, unknown="error") -> np.ndarray:
        """The inputs for these rows.

        Parameters
        ----------
        frame : Frame, dict, or data frame of pandas or polars
            With the columns that it was fitted on, in any order; others do not matter, the target included.
        unknown : {"error", "ignore"}, default "error"
            What is done about a category that the fitted rows did not have, in a column that has no place for rare ones: raise, or
            take it as none of those.

        Returns
        -------
        numpy.ndarray, float32 [rows, features]

        Raises
        ------
        ValueError
            If a column is missing, holds text in place of numbers, infinite numbers, or an unknown category.
        """
        if unknown not in ("error", "ignore"):
            raise ValueError(f"unknown: expected 'error' or 'ignore', got {unknown!r}")
        frame, columns = as_frame(frame), self._fitted()
        missing = [entry["name"] for entry in columns if entry["name"] not in frame.columns]
        if missing:
            raise ValueError(f"frame: expected the columns {', '.join(e['name'] for e in columns)}, got none called {', '.join(missing)}")
        X, at = np.zeros((len(frame), self.features), np.float32), 0
        for entry in columns:
            width = _width(entry)
            fill = _fill_numbers if entry["kind"] == "number" else _fill_categories
            fill(X[:, at : at + width], entry, frame[entry["name"]], unknown == "error")
            at += width
        return X

    def unknown_categories(self, frame) -> dict[str, Any]:
        """{column: (rows, the first category)} of the categories that these rows have and the fitted ones had not."""
        frame, found = as_frame(frame), {}
        for entry in self._fitted():
            if entry["kind"] == "category" and not entry["other"] and entry["name"] in frame.columns:
                known = set(entry["levels"])
                strange = [v for v in _texts(frame[entry["name"]]) if v is not None and v not in known]
                if strange:
                    found[entry["name"]] = len(strange), strange[0]
        return found

    def targets(self, frame) -> np.ndarray:
        """The targets of these rows: int64 labels, or float32 numbers, standardised.

        Raises
        ------
        ValueError
            If there is no target, a value is missing, or a label is unknown.
        """
        self._fitted()
        if self._target is None:
            raise ValueError("target: expected a table with a target, got one without")
        frame = as_frame(frame)
        if self.target not in frame.columns:
            raise ValueError(f"frame: expected the column {self.target!r}, which is the target, got none called so")
        values = frame[self.target]
        if self.is_classification:
            known = {_label(v): i for i, v in enumerate(self.classes)}
            codes = [known.get(_label(v), -1) for v in values.tolist()]
            if -1 in codes:
                row = codes.index(-1)
                raise ValueError(f"target: expected one of {_listed(self.classes)} in {self.target!r}, got {values[row]!r} in row {row}")
            return np.array(codes, np.int64)
        if values.dtype == object or not np.isfinite(values).all():
            row, value = next((i, v) for i, v in enumerate(values.tolist()) if isinstance(v, str) or v is None or not np.isfinite(v))
            raise ValueError(f"target: expected finite numbers in {self.target!r}, got {value!r} in row {row}")
        return ((values - self._target["mean"]) / self._target["scale"]).astype(np.float32)

    def answers(self, predicted) -> np.ndarray:
        """What predictions mean: the classes of labels [rows], or the numbers of a regression's outputs [rows] or [rows, 1], in the
        target's units."""
        self._fitted()
        predicted = np.asarray(predicted)
        if self.is_classification:
            return np.array(self.classes, object if isinstance(self.classes[0], str) else None)[predicted]
        return predicted.reshape(len(predicted)).astype(np.float64) * self._target["scale"] + self._target["mean"]

    @property
    def scale(self):
        """The deviation of a regression's target: errors of standardised predictions times this are in the target's units."""
        self._fitted()
        return 1.0 if self.is_classification or self._target is None else self._target["scale"]

    # ---- saving ----

    def config(self):
        """As JSON can hold it; `from_config` makes it again."""
        return {"target": self.target, "task": self.task, "drop": list(self.drop), "max_categories": self.max_categories,
                "columns": self._fitted(), "fitted_target": self._target, "left_out": list(self.left_out)}  # fmt: skip

    @classmethod
    def from_config(cls, config) -> "Table":
        """The table of a `config`.

        Raises
        ------
        ValueError
            If it is none.
        """
        try:
            table = cls(config["target"], config["task"], config["drop"], config["max_categories"])
            columns, target = config["columns"], config["fitted_target"]
            if not isinstance(columns, list) or not columns or not all(map(_is_entry, columns)) or not _is_target(target):
                raise ValueError("columns of another kind")
            table._columns, table._target, table.left_out = columns, target, [str(name) for name in config["left_out"]]
            return table
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"config: expected that of a Table, got another: {error}") from None

    def attach(self, model) -> None:
        """Let `model.save` write the table, too: `Table.of` finds it in the model that `nn.load` returns."""
        model.metadata["table"] = self.config()

    @classmethod
    def of(cls, model) -> "Table":
        """The table that was attached to a model, or None.

        Examples
        --------
        >>> frame = data.Frame({"size": [50, 72, 31], "price": [1.5, 2.5, 0.5]})
        >>> table = data.Table(target="price").fit(frame)
        >>> model = nn.Sequential(nn.Dense(table.features, 1))
        >>> table.attach(model)
        >>> data.Table.of(model)
        <Table: 1 numbers, 0 categories, 1 inputs -> price (number)>
        """
        config = model.metadata.get("table")
        return None if config is None else cls.from_config(config)


def _listed(values):
    return ", ".join(map(repr, values[:10])) + (", ..." if len(values) > 10 else "")


def _label(value):
    """A class as it is compared: "1", 1 and 1.0 are one."""
    if isinstance(value, str):
        return value
    return str(int(value)) if value == value and abs(value) < 2**53 and value == int(value) else str(value)


def _texts(values):
    """A column as texts."""
    if values.dtype == object:
        return values.tolist()
    return [None if v != v else _label(v) for v in values.tolist()]


def _fit(name, values, most):
    """What is kept of a column, or None where it tells nothing."""
    if values.dtype != object:
        there = values[~np.isnan(values)]
        if not np.isfinite(there).all():
            row = int((np.isinf(values)).argmax())
            raise ValueError(f"frame: expected finite numbers in {name!r}, got {values[row]} in row {row}")
        lacking = len(there) < len(values)
        with np.errstate(over="ignore"):
            mean, scale = (float(there.mean()), float(there.std())) if len(there) else (0.0, 0.0)
        if not (np.isfinite(mean) and np.isfinite(scale)):
            raise ValueError(f"frame: expected numbers whose variance is finite in {name!r}, got up to {abs(there).max():g}")
        if scale <= 1e-12 * abs(mean) and not (lacking and len(there)):
            return None
        return {"name": name, "kind": "number", "mean": mean, "scale": scale if scale > 1e-12 * abs(mean) else 1.0, "missing": lacking}
    counts = {}
    for v in values.tolist():
        counts[v] = counts.get(v, 0) + 1
    lacking = counts.pop(None, 0) > 0
    if len(counts) + lacking < 2 or len(counts) > most and max(counts.values()) == 1:
        return None
    levels = sorted(counts, key=lambda v: (-counts[v], v))
    return {"name": name, "kind": "category", "levels": levels[:most], "missing": lacking, "other": len(levels) > most}


def _width(entry):
    return 1 + entry["missing"] if entry["kind"] == "number" else len(entry["levels"]) + entry["missing"] + entry["other"]


def _names(entry):
    name = entry["name"]
    more = [f"{name} missing"] * entry["missing"]
    if entry["kind"] == "number":
        return [name, *more]
    return [*(f"{name} = {level}" for level in entry["levels"]), *more, *[f"{name} other"] * entry["other"]]


def _fill_numbers(out, entry, values, strict):
    if values.dtype == object:
        row = next((i for i, v in enumerate(values) if v is not None), 0)
        raise ValueError(f"frame: expected numbers in {entry['name']!r}, got {values[row]!r} in row {row}")
    lacking = np.isnan(values)
    with np.errstate(over="ignore"):
        scaled = np.where(lacking, 0.0, (values - entry["mean"]) / entry["scale"]).astype(np.float32)
    if not np.isfinite(scaled).all():
        row = int((~np.isfinite(scaled)).argmax())
        raise ValueError(f"frame: expected finite numbers in {entry['name']!r}, got {values[row]} in row {row}")
    out[:, 0] = scaled
    if entry["missing"]:
        out[:, 1] = lacking


def _fill_categories(out, entry, values, strict):
    place = {level: i for i, level in enumerate(entry["levels"])}
    nowhere = -1
    place[None] = len(entry["levels"]) if entry["missing"] else nowhere
    other = out.shape[1] - 1 if entry["other"] else nowhere
    codes = np.array([place.get(v, -2) for v in _texts(values)], np.int64).reshape(-1)
    strange = codes == -2
    if strange.any() and not entry["other"] and strict:
        row = int(strange.argmax())
        raise ValueError(
            f"frame: expected one of the categories {_listed(entry['levels'])} in {entry['name']!r}, got {_texts(values)[row]!r} in row {row}; "
            "unknown='ignore' takes it as none of them"
        )
    codes[strange] = other
    rows = np.flatnonzero(codes >= 0)
    out[rows, codes[rows]] = 1


def _is_entry(entry):
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not isinstance(entry.get("missing"), bool):
        return False
    if entry.get("kind") == "number":
        return all(isinstance(entry.get(k), (int, float)) and np.isfinite(entry[k]) for k in ("mean", "scale")) and entry["scale"] > 0
    levels = entry.get("levels")
    return (
        entry.get("kind") == "category" and isinstance(entry.get("other"), bool) and isinstance(levels, list)
        and bool(levels) and all(isinstance(v, str) for v in levels)
    )  # fmt: skip


def _is_target(target):
    if target is None:
        return True
    if not isinstance(target, dict):
        return False
    if "classes" in target:
        classes = target["classes"]
        return isinstance(classes, list) and len(classes) > 1 and all(isinstance(c, (str, int, float)) for c in classes)
    return all(isinstance(target.get(k), (int, float)) and np.isfinite(target[k]) for k in ("mean", "scale"))
