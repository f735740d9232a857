"""Where the batches of an epoch come from. A source says what part of an epoch's rows the next native call takes."""

from typing import NamedTuple

import numpy as np

from .. import _native


class Part(NamedTuple):
    """Rows for one native call: `steps` batches of `batch` rows, which are rows `begin` to `end` of the epoch; arrays of them, or whole
    arrays with an index."""

    data: object  # the ArrayData that they are of
    x: object
    y: object
    weight: object
    index: object
    batch: int
    steps: int
    begin: int
    end: int
    first: int  # the row of the data that the arrays begin with
    accumulate: int = 1  # smaller batches that a batch is worked on in
    rows: object = None  # of arrays that were made for this Part: the rows of the data that they are of
    augment: object = None  # what native calls do to the rows of x, as executors take it

    def rows_of(self, where):
        """The rows of the data that these ones of the arrays are of; of whole arrays with an index, its places."""
        if self.rows is not None:
            return self.rows[where]
        return self.first + where if self.index is None else self.index[where]

    def refuse(self, problem, step, row):
        """Raise for a problem that was found in that step, in that row of its batch."""
        where = np.arange(step * self.batch, min((step + 1) * self.batch, self.end - self.begin))
        where = self.rows_of(where)
        self.data.refuse(problem, where, int(where[row]))


class ArraySource:
    """Rows of arrays: in order, or each epoch in another one that depends on the seed and the epoch's number alone."""

    def __init__(self, data, rows, batch, shuffle, accumulate=1):
        self.data, self.rows, self.batch, self.shuffle, self.accumulate = data, rows, batch, bool(shuffle), accumulate
        self.steps = -(-rows // batch)  # of an epoch
        self._order = None

    def settings(self):
        """What of it has a say in the result, for a fingerprint."""
        return {"rows": self.rows, "batch_size": self.batch, "shuffle": self.shuffle, **self._accumulated()}

    def _accumulated(self):
        return {"accumulate": self.accumulate} if self.accumulate > 1 else {}

    def key(self, seed):
        """Equal for epochs over as many rows, in the same order and batches."""
        key = ("arrays", len(self.data.X), self.rows, self.batch, self.shuffle, seed if self.shuffle else None)
        return (*key, *self._accumulated().values())

    def prepare(self, trainer, outputs):
        """What does not fit shows here."""
        trainer._executor(self.batch, self.data, True, outputs, self.accumulate)

    def open(self, epoch, seed, tally):
        """Before an epoch, or what is left of it."""
        self._order = _native.permutation(len(self.data.X), seed, epoch) if self.shuffle else None

    def close(self, tally):
        """The epoch is over, or broken off."""

    def is_done(self, tally):
        return tally.rows >= self.rows

    def targets(self, begin):
        """The targets of the epoch's rows from there on, in its order."""
        return self.data.y[begin : self.rows] if self._order is None else self.data.y[self._order[begin : self.rows]]

    def part(self, tally, most):
        """The Part that comes next, of at most so many steps, or of all that there are."""
        data, begin = self.data, tally.rows
        end = self.rows if most is None else min(self.rows, begin + most * self.batch)
        x, y, weight, index = data.X, data.y, data.weight, None
        if self._order is None:
            x, y, weight = x[begin:end], y[begin:end], None if weight is None else weight[begin:end]
        else:
            index = self._order[begin:end]
        return Part(data, x, y, weight, index, self.batch, -(-(end - begin) // self.batch), begin, end, begin, self.accumulate)

    def drawn(self, tally):
        """Batches that were taken of an iterable."""
        return 0


class AugmentedSource(ArraySource):
    """Rows of arrays, each changed as it is taken: by a chain of fastnn's own members within native calls, or by
    ``augment(X, seed, epoch, rows)``, which makes the rows of some steps at once."""

    def __init__(self, augment, *more):
        super().__init__(*more)
        self._augment, self._compiled = augment, getattr(augment, "compiled", None)
        self._chain = self._compiled(self.data.X.shape[1:]) if self._compiled else None
        if self._chain is None:
            self._changed(np.arange(1))  # what does not fit shows here
        self._in_order = np.arange(len(self.data.X))

    @property
    def mixes(self):
        """Whether rows are mixed, and so are their losses."""
        return self._chain is not None and self._chain.mixes

    def _changed(self, rows, seed=0, epoch=0):
        more = {"dtype": self.data.dtype} if self._compiled and self.data.dtype != "float32" else {}
        x = self._augment(self.data.X[rows], seed, epoch, rows, **more)
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "biuf":
            got = f"dtype {x.dtype}" if isinstance(x, np.ndarray) else type(x).__name__
            raise TypeError(f"augment: expected the function to return an array of real numbers, got {got}")
        if len(x) != len(rows):
            raise ValueError(f"augment: expected the function to return as many images as it gets, {len(rows)}, got {len(x)}")
        if x.shape[1:] != self.data.X.shape[1:]:
            raise ValueError(f"augment: expected images of {self.data.X.shape[1:]} to stay so, as the model takes them, got {x.shape[1:]}")
        return x

    def settings(self):
        return {**super().settings(), "augment": repr(self._augment)}

    def key(self, seed):
        return (*super().key(seed), seed, repr(self._augment))

    def open(self, epoch, seed, tally):
        super().open(epoch, seed, tally)
        self._seed, self._epoch = seed, epoch

    def part(self, tally, most):
        data = self.data
        if self._chain is not None:
            part = super().part(tally, most)
            index = self._in_order[part.begin : part.end] if part.index is None else part.index
            return part._replace(x=data.X, y=data.y, weight=data.weight, index=index, augment=(self._chain, self._seed, self._epoch % 2**32))
        part = super().part(tally, min(most or _STEPS, _STEPS))
        rows = self._in_order[part.begin : part.end] if part.index is None else part.index
        weight = None if data.weight is None else data.weight[rows]
        return part._replace(x=self._changed(rows, self._seed, self._epoch), y=data.y[rows], weight=weight, index=None, rows=rows)


_STEPS = 16  # whose images are made at once
