"""What commands say of a model's outputs: scores, notes, JSON."""

import math
import sys


def write_json(value):
    """One line of JSON on standard output; what is no number is null."""
    import json

    print(json.dumps(_plain(value), ensure_ascii=False))


def _plain(value):
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def notes(table, frame):
    """A line on standard error for each column with categories that the training rows had not."""
    for column, (rows, first) in table.unknown_categories(frame).items():
        count = f"{rows:,} row{'s' * (rows != 1)}"
        print(f"fastnn: note: column {column!r}: {count} with unknown categories, such as {first!r}, taken as none of those known", file=sys.stderr)


class Scores:
    """The numbers of a test, and a line of them."""

    def __init__(self, numbers, rows):
        self.numbers, self.rows = numbers, rows

    def text(self, what, counts=True):
        first = [k for k in self.numbers if k == "accuracy"]
        parts = []
        for name in first:
            accuracy = self.numbers[name]
            parts.append(f"accuracy {accuracy:.4f}" + (f" ({round(accuracy * self.rows):,} of {self.rows:,})" if counts else ""))
        parts += [f"{name} {value:.4g}" for name, value in self.numbers.items() if name not in ("accuracy", "loss")]
        return f"{what} {', '.join(parts)}"


def scores(trainer, X, y, target, metrics):
    """Of a trainer's model on these rows: accuracy, or the errors of a regression in the target's units; and metrics. target: (mean,
    scale) of a regression's targets, or None."""
    import numpy as np

    names = list(dict.fromkeys([*(() if target is None else ("rmse", "mae", "r2")), *(metrics or ())]))
    found = trainer.evaluate(X, y, metrics=names)
    if target is not None:
        scale = np.asarray(target[1], np.float64)
        if scale.ndim and scale.size > 1:  # several outputs, each in its units
            errors = (trainer.model.predict(X).astype(np.float64) - y) * scale
            found |= {"rmse": float(np.sqrt((errors**2).mean(axis=0)).mean()), "mae": float(abs(errors).mean())}
            if "mse" in found:
                found["mse"] = float((errors**2).mean())
        else:
            factor = float(scale.reshape(()) if scale.ndim == 0 else scale[0])
            found |= {name: found[name] * factor for name in ("rmse", "mae") if name in found}
            if "mse" in found:
                found["mse"] *= factor**2
    return Scores(found, len(X))
