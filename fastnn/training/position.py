"""Where in an epoch training stands, and the sums of its rows so far. A whole epoch leaves none behind; one that is broken off does,
and the next `fit` over the same rows in the same batches goes on from there."""

from typing import NamedTuple


class Tally(NamedTuple):
    """What of an epoch is done: batches and rows taken, and of these rows the sums that an epoch reports."""

    batches: int = 0
    rows: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    left_out: int = 0  # rows that are in neither sum: to be ignored, or of steps that were skipped
    skipped: int = 0  # steps that were left out because their gradients were not finite


class Position:
    """An epoch that has begun.

    `flight` notes a native call before it begins, `settle` takes over what it has done. Ctrl-C may come before any line between them,
    so both are a single assignment, and `settle` may come twice.
    """

    def __init__(self, key, tally=Tally(), seconds=0.0, loaded=False):
        self.key = key  # what the epoch goes over
        self.loaded = loaded  # out of a checkpoint
        self.outputs, self.outputs_from = None, 0  # the model's outputs of the epoch's rows, where metrics want them, and since which row
        self._seconds, self._begun = seconds, None  # of the calls of `fit` before; when the present one began
        self._state = tally, None

    @property
    def tally(self):
        return self._state[0]

    def flight(self, steps_done, executor, part):
        """A call of the executor begins, over a Part, when the trainer has done so many steps."""
        self._state = self.tally, (steps_done, executor, part.batch, part.end)

    def settle(self, steps_done):
        """After the call, whether it has returned or not: the trainer has done so many steps by now."""
        tally, flight = self._state
        if flight is None:
            return
        before, executor, batch, end = flight
        steps = steps_done - before
        if steps:
            found = executor.outcome
            tally = Tally(
                tally.batches + steps,
                min(tally.rows + steps * batch, end),
                tally.loss_sum + found.loss_sum,
                tally.correct + found.correct,
                tally.left_out + found.left_out,
                tally.skipped + executor.steps_skipped,
            )
        self._state = tally, None

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
