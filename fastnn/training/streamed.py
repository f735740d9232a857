"""Training on an iterable of batches: each item is a batch, and a step; an epoch is once through, or so many of them."""

import copy

import numpy as np

from ..nn.rows import as_sparse
from .arrays import ArrayData
from .checks import check_batch, count
from .class_weight import check_fixed
from .reader import Reader
from .sources import Part


def is_iterable(X, y):
    """Whether `fit` was given an iterable of batches; TypeError for an array without targets."""
    if y is not None:
        return False
    if isinstance(X, np.ndarray) or hasattr(X, "__array__") or as_sparse(X, "X") is not None:
        raise TypeError(f"y: expected targets for the rows of X, got None with a {type(X).__name__}; an iterable without y has items (X, y)")
    if not hasattr(X, "__iter__"):
        raise TypeError(f"X: expected an array, or an iterable of batches (X, y), got {type(X).__name__}")
    return True


class IterableSource:
    """Batches of an iterable. `model` and `loss` are what they are checked against.

    An iterable that can be gone through again and again is begun anew each epoch. An iterator cannot: it goes on where it stands. Of
    `accumulate` items one batch is made, which is worked on in parts of as many rows as the largest item so far.
    """

    rows = None  # of an epoch: not known

    def __init__(self, items, trainer, steps_per_epoch, class_weight, check_finite, epochs, accumulate=1):
        self._trainer, self._items = trainer, items
        self.steps = None if steps_per_epoch is None else count(steps_per_epoch, "steps_per_epoch", 1)
        self._class_weight = class_weight
        if class_weight is not None:
            check_fixed(class_weight)
        self._check_finite = check_finite
        self._once = iter(items) is items
        if self._once and self.steps is None and epochs > 1:
            raise ValueError(
                f"X: expected an iterable that can be gone through {epochs} times, got a {type(items).__name__}, which is an iterator and "
                "can be but once; give steps_per_epoch, or an object whose __iter__ begins anew, such as data.stream"
            )
        self._reader = self._like = self._taken = None
        self._accumulate = accumulate
        self._batch = 1  # rows that the plan is for: the most that have come in an item

    def settings(self):
        return {"steps_per_epoch": self.steps, **({"accumulate": self._accumulate} if self._accumulate > 1 else {})}

    def key(self, seed):
        """Equal for epochs over as many batches."""
        return ("iterable", self.steps, *[self._accumulate] * (self._accumulate > 1))

    def prepare(self, trainer, outputs):
        """Batches are looked at as they come."""

    # ---- an epoch ----

    def open(self, epoch, seed, tally):
        """Before an epoch, or what is left of one of which so many batches are done: these are drawn and dropped."""
        if hasattr(self._items, "set_epoch"):
            self._items.set_epoch(epoch)
        self._epoch, self._taken = epoch, None
        skip, first = self._accumulate * tally.batches, ()
        if self._once:
            skip, first = self._go_on(tally)
        limit = None if self.steps is None else self._accumulate * (self.steps - tally.batches)
        self._reader = Reader(iter(self._items), self._prepared, skip, limit, first)

    def _go_on(self, tally):
        """(items to drop, items that come first) of an iterator, which may have been drawn from before."""
        trainer = self._trainer
        (before, left), drawn = trainer._iterator, trainer._progress[2]
        trainer._iterator = self._items, ()
        if before is self._items:
            return 0, left
        if self.steps is None:  # an iterator is an epoch
            return self._accumulate * tally.batches, ()
        if tally.batches or before == "loaded":  # another in its place, in the middle of an epoch or out of a checkpoint
            return drawn + self._accumulate * tally.batches, ()
        trainer._progress = (*trainer._progress[:2], 0)
        return 0, ()

    def is_done(self, tally):
        """Whether the epoch is over; ValueError where it ends before its time."""
        if self._reader.wait():
            return False
        if self.steps is not None and tally.batches < self.steps:
            raise ValueError(f"X: expected {self.steps} batches in an epoch, got {tally.batches}: the iterable ended")
        if not tally.batches:
            raise ValueError("X: expected at least one batch in an epoch, got none: the iterable ended" + "; an iterator can be gone through but once" * self._once)
        return True

    def close(self, tally):
        """The epoch is over, or broken off, with so much of it done."""
        if self._reader is None:
            return
        left = self._reader.close()
        if self._taken is not None and tally.batches == self._taken[0]:
            left = [*self._taken[1], *left]  # taken, but their step was not done
        if self._once:
            self._trainer._iterator = self._items, left
        self._reader = self._taken = None

    def part(self, tally, most):
        """The batch that comes next."""
        item, data = self._reader.get()
        if self._taken is None:
            self._trainer._learn_targets(data.y)
        self._taken, parts = (tally.batches, [item]), [data]
        while len(parts) < self._accumulate and self._reader.wait():
            item, data = self._reader.get()
            self._taken[1].append(item)
            parts.append(data)
        self._batch = max(self._batch, *(len(p.X) for p in parts), 1)
        data = self._joined(parts)
        rows, batch = len(data.X), self._batch * self._accumulate
        smaller = self._accumulate * self._trainer.together.parts(-(-rows // self._accumulate))
        if smaller > self._accumulate:  # parts go by the rows that there are, whatever came before
            batch = rows
            part = self._trainer.together.smallest(rows, -(-rows // smaller))
            check_batch(self._trainer.model, part, "X: the smallest part of a batch")
        return Part(data, data.X, data.y, data.weight, None, batch, 1, tally.rows, tally.rows + rows, 0, smaller)

    def _joined(self, parts):
        """The rows of several items, as those of one."""
        if len(parts) == 1:
            return parts[0]
        data = copy.copy(parts[0])
        rows = [p.X if isinstance(p.X, np.ndarray) else p.X[np.arange(len(p.X))] for p in parts]  # sparse ones become dense
        shapes = {X.shape[1:] for X in rows}
        if len(shapes) > 1:
            raise ValueError(f"X: expected items of one shape to accumulate, got samples of {' and '.join(map(str, sorted(shapes)))}")
        data.X, data.y = np.concatenate(rows), np.concatenate([p.y for p in parts])
        data.weight = None if data.weight is None else np.concatenate([p.weight for p in parts])
        data.names = tuple(name.split(": ")[-1] for name in data.names)
        if len(data.X) % self._batch:
            check_batch(self._trainer.model, len(data.X) % self._batch, "X: the last of the rows that are accumulated")
        return data.hold()

    def drawn(self, tally):
        """Items that were taken."""
        return self._accumulate * tally.batches

    def _prepared(self, item, number):
        """An item as ArrayData, checked; in the reader's thread."""
        if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
            got = f"a {type(item).__name__} of {len(item)}" if isinstance(item, (tuple, list)) else f"a {type(item).__name__}"
            raise ValueError(f"X: expected items (X, y) or (X, y, sample_weight), got {got} as item {number} of epoch {self._epoch}")
        where = f"item {number} of epoch {self._epoch}: "
        names = tuple(where + n for n in ("X", "y", "sample_weight"))
        trainer = self._trainer
        data = ArrayData(trainer.model, trainer.loss, item[0], item[1], names, item[2] if len(item) == 3 else None).hold()
        data.check_labels()
        check_batch(trainer.model, len(data.X), names[0])
        if self._class_weight is not None:
            data.weigh(self._class_weight, trainer.model, trainer.loss)
        if self._check_finite:
            data.check_finite()
        like = (data.kind, data.weighted)
        if self._like is None:
            self._like = like
        elif self._like != like:
            raise ValueError(f"{where}expected targets and weights such as the items before had, got others: {like}, not {self._like}")
        return data
