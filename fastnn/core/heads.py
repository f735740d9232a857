"""Heads: what a model's outputs are, and so how classes and probabilities are made of them.

A loss names its head, and a Trainer hands the name to its model: `predict_classes` then goes by the rule that the accuracy of
`evaluate` counts by, and `predict_proba` knows whether there are probabilities to be had. It imports nothing of fastnn's.
"""

from typing import NamedTuple

import numpy as np

__all__ = ["HEADS", "PROBABILITIES", "Head", "check_head"]


class Head(NamedTuple):
    """What outputs are in words; the activation that makes probabilities of them, or None; outputs [rows, outputs] to classes,
    or None where they tell none."""

    what: str
    link: str | None
    classes: object


def _largest(y):
    return y.argmax(axis=1)


def _answers(y, limit=0.0, no=0):
    """1 above the limit, else `no`: [rows] for a single output."""
    classes = np.where(y > limit, 1, no).astype(np.int64)
    return classes[:, 0] if y.shape[1] == 1 else classes


def _nearest(y):
    """Of targets that were 0 and 1: the nearer one, or the output that is nearest to 1 of several."""
    return _answers(y, 0.5) if y.shape[1] == 1 else _largest(y)


HEADS = {
    "softmax": Head("logits of one class out of several", "softmax", _largest),
    "sigmoid": Head("logits of answers yes or no", "sigmoid", _answers),
    "largest": Head("scores of a multi-class hinge loss", None, _largest),
    "hinge": Head("scores of a hinge loss", None, _answers),
    "signs": Head("scores of targets -1 and 1", None, lambda y: _answers(y, no=-1)),
    "numbers": Head("numbers, from a loss that compares them with the targets", None, _nearest),
    "rates": Head("rates of counts", None, None),
}

# of answers, made by the model's own last layer: no head to choose, for the layers tell
PROBABILITIES = Head("probabilities", None, lambda y: _answers(y, 0.5))


def check_head(name):
    """The Head of that name; ValueError for another."""
    if name not in HEADS:
        raise ValueError(f"head: expected one of {', '.join(HEADS)}, or None, got {name!r}")
    return HEADS[name]
