"""Weights of rows that follow from their classes."""

import numbers
from collections.abc import Mapping

import numpy as np


def row_weights(class_weight, data, model, loss):
    """The weight of each row of an ArrayData, in the model's dtype, by a dict {class: weight}, or "balanced": rows / (classes · rows of the class)."""
    codes, classes = _classes(data, model, loss)
    there = codes >= 0
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f"class_weight: expected a dict {{class: weight}} or 'balanced', got {class_weight!r}")
        counts = np.bincount(codes[there], minlength=len(classes))
        weights = np.ones(len(classes))
        found = counts > 0
        weights[found] = counts.sum() / (np.count_nonzero(found) * counts[found])
    else:
        weights = _from_dict(class_weight, classes)
    rows = np.ones(len(codes), model.dtype)
    rows[there] = weights[codes[there]]
    return rows


def check_fixed(class_weight):
    """ValueError for weights that only all rows together could tell."""
    if class_weight == "balanced":
        raise ValueError("class_weight: expected a dict {class: weight} for an iterable, since 'balanced' needs all rows at once, got 'balanced'")


def _from_dict(class_weight, classes):
    if not isinstance(class_weight, Mapping):
        raise TypeError(f"class_weight: expected a dict {{class: weight}} or 'balanced', got {type(class_weight).__name__}")
    weights = np.ones(len(classes))
    for key, value in class_weight.items():
        if isinstance(key, bool) or not isinstance(key, numbers.Integral) or key not in classes:
            text = f"{classes[0]} to {classes[-1]}" if len(classes) > 2 else " and ".join(map(str, classes))
            raise ValueError(f"class_weight: expected classes {text} as keys, got {key!r}")
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value <= np.finfo(np.float32).max:
            raise ValueError(f"class_weight: expected a finite number >= 0 for class {key}, got {value!r}")
        weights[list(classes).index(key)] = value
    return weights


def _classes(data, model, loss):
    """(the place of each row's class, -1 for rows to be ignored; the classes) of targets."""
    outputs, head = model.out_features, loss.head
    if data.kind == "labels":
        return np.where((data.y < 0) | (data.y >= outputs), -1, data.y).astype(np.int64), range(outputs)
    if data.kind == "rows" and outputs > 1 and head in ("softmax", "largest"):
        return data.y.argmax(axis=1), range(outputs)
    if data.kind == "rows" and outputs == 1 and head in ("sigmoid", "hinge"):
        y = data.y[:, 0]
        negative = y.min() < 0
        return (y > (0.0 if negative else 0.5)).astype(np.int64), (-1, 1) if negative else (0, 1)
    raise ValueError(f"class_weight: expected targets that are one class each, got those of {loss!r} for {outputs} outputs; sample_weight "
                     "weighs rows and outputs as you like")
