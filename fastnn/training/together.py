"""What a training asks of those that train with it in other processes. By default there are none."""

from ..executors import AccumulatingExecutor


class Alone:
    """A training by one process. `fastnn.distributed` has the same interface for several."""

    apart = False  # whether every step goes through `accumulating`

    def parts(self, batch):
        """How many smaller batches one of so many rows is worked on in."""
        return 1

    def smallest(self, rows, part):
        """The rows of the smallest one, where a batch of so many is cut into those of at most `part`."""
        return rows % part or part

    def accumulating(self, executor, batch, mean):
        """An executor for batches of so many rows, on top of one for smaller ones; see AccumulatingExecutor."""
        return AccumulatingExecutor(executor, batch, mean)

    def mine(self, callbacks):
        """Those of the callbacks that are called in this process."""
        return callbacks

    def verbose(self, verbose):
        """What `verbose` is in this process."""
        return verbose

    def check(self, trainer, settings, data):
        """Raise where others are about to train in another way, or on other data (a list of ArrayData)."""

    def stops(self, stop):
        """Whether training is to end, where this process wants it to or not; asked by all at the same place."""
        return stop

    def agreed(self, value):
        """The value that all go on with; asked by all at the same place."""
        return value
