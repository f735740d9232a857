"""Where in an epoch training stands, and the sums of its rows so far. A whole epoch leaves none behind; one that is broken off does,
and the next `fit` over the same rows in the same batches goes on from there."""

from typing import NamedTuple

import numpy as np

from .. import _native


class Tally(NamedTuple):
    """What of an epoch is done at a moment: batches and rows taken, and of these rows the sums that an epoch reports."""

    batches: int = 0
    rows: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    left_out: int = 0  # rows that are in neither sum: to be ignored, or of steps that were skipped
    skipped: int = 0  # steps that were left out because their gradients were not finite


class Position:
    """An epoch that has begun. Native calls add to its `sums` before they return, so that Ctrl-C finds them right."""

    def __init__(self, key, tally=Tally(), seconds=0.0, loaded=False):
        self.key = key  # what the epoch goes over
        self.loaded = loaded  # out of a checkpoint
        self._outputs = None  # see `room`
        self.sums = _native.Tally(*tally)
        self._seconds, self._begun = seconds, None  # of the calls of `fit` before; when the present one began

    @property
    def tally(self):
        """The sums as they are now."""
        return Tally(*self.sums.values())

    def begin(self, now):
        """Work on the epoch begins, or goes on."""
        self._begun = now

    def end(self, now):
        """Work on it ends. Returns the seconds that it took, those before included."""
        if self._begun is not None:
            self._seconds, self._begun = self._seconds + now - self._begun, None
        return self._seconds

    def config(self):
        """As JSON can hold it."""
        return {"key": list(self.key), "seconds": self._seconds, **self.tally._asdict()}

    # ---- the model's outputs, where metrics want them ----

    def room(self, part, make, rows):
        """Room for the outputs of a Part's rows, made by ``make(rows)``; rows: of the epoch, None where that is not known."""
        if self._outputs is None:
            self._outputs = self.tally, [] if rows is None else make(rows)
        since, kept = self._outputs
        if rows is not None:
            return kept[part.begin : part.end]
        at = self.tally.batches - since.batches
        kept[at:] = [(part.y, make(part.end - part.begin))]
        return kept[at][1]

    def seen(self, targets):
        """(targets, outputs) of the epoch's rows; targets: those from a row on, in the epoch's order. In an epoch that was gone on
        with out of a checkpoint, of what came since."""
        since, kept = self._outputs or (self.tally, [])
        if isinstance(kept, list):
            return tuple(np.concatenate([k[i] for k in kept]) if kept else np.empty(0) for i in (0, 1))
        return targets(since.rows), kept[since.rows :]
