"""DistributedTrainer: a Trainer whose steps several processes share, over MPI."""

import copy
import functools

import numpy as np

from .. import _native
from ..core.runtime import get_num_threads, set_num_threads, usable_cpus
from ..regularizers import penalized
from ..training import Trainer
from ..training.checks import check_batch, count
from .alike import make_entries
from .ranks import Ranks, world
from .sums import cuts

__all__ = ["DistributedTrainer"]


class DistributedTrainer(Trainer):
    """Trains a model by several processes, which MPI has started: ``mpiexec -n 4 python train.py``.

    Every process runs the same program: it makes the same model, and passes the same whole X and y; `batch_size` is that of all
    of them together. A batch is cut into *grains*, by its size alone. Each process works on some of them; the gradients are added in
    one order, whoever has worked them out, and all processes do the same update. So weights, losses and decisions are the same to the bit
    for any number of processes and threads, one included. They are those of `Trainer` to rounding: batch normalisation sees
    grains, as it sees the smaller batches of ``accumulate=``, and its running statistics go from grain to grain.

    What it has besides `Trainer`'s methods and arguments: all processes must call `fit`, `step`, `evaluate`, `predict` and `load_checkpoint`,
    in the same order. The progress bar, and callbacks that write files, are those of rank 0, as is the file of `save_checkpoint`;
    other callbacks are called in every process, with the same numbers. `fit_lbfgs`, `find_lr`, `diagnose` and `update_bn` are not
    shared out: every process does them whole.

    Parameters
    ----------
    model, loss, optimizer
        As for `Trainer`. All processes begin with the weights of rank 0, and its optimizer's state.
    comm : mpi4py.MPI.Intracomm, optional
        By default MPI's COMM_WORLD.
    seed, backend, clip_norm, penalty
        As for `Trainer`.
    grains : int, optional
        How many a batch is cut into, so also how many processes can share it. By default one for every 16 rows, at most 8. Results
        depend on it.
    threads : int, optional
        Of each process. By default its share of the machine's CPUs; never more than `fastnn.get_num_threads` says.

    Attributes
    ----------
    rank, ranks : int
        The number of this process, from 0, and how many there are.

    Raises
    ------
    ImportError
        If there is no mpi4py, or no MPI library.
    TypeError, ValueError
        If an argument does not fit; or the processes have other models, losses, optimizers, settings or versions, which `fit` also
        says of its arguments and data. All processes raise it.
    RankError
        In the processes where nothing is wrong, when another has raised an exception, or ended, or is in another call.

    Examples
    --------
    A program ``train.py``, for ``mpiexec -n 4 python train.py``, or for a single process without `mpiexec`::

        import fastnn
        from fastnn import data, losses, nn, optim
        from fastnn.distributed import DistributedTrainer

        X, y = data.load_digits()
        model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 100, activation="relu"), nn.Dense(100, 10))
        trainer = DistributedTrainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()))
        history = trainer.fit(X, y, epochs=10, batch_size=128)
        if trainer.rank == 0:
            print(history.fingerprint())
            model.save("digits.safetensors")
    """

    def __init__(self, model, loss, optimizer, comm=None, *, seed=0, backend="native", clip_norm=None, penalty=None, grains=None,
                 threads=None):  # fmt: skip
        grains = None if grains is None else count(grains, "grains", 1)
        self.together = Ranks(world() if comm is None else comm, grains)
        with self.together.guard():
            super().__init__(model, loss, optimizer, seed, backend, clip_norm, penalty)
            self.together.compare("the beginning of a trainer", make_entries(self, grains))
            self._take_from_first("the beginning of a trainer")
            share = self.together.local_threads(usable_cpus())
            set_num_threads(min(get_num_threads(), share) if threads is None else threads)

    rank = property(lambda self: self.together.rank)
    ranks = property(lambda self: self.together.size)

    def __repr__(self):
        return f"Distributed{super().__repr__()}; rank {self.rank} of {self.ranks}"

    def copy(self):
        """A Trainer of copies of the model and the optimizer, for one process."""
        model, optimizer = copy.deepcopy((self.model, self.optimizer))
        new = Trainer(model, self.loss, optimizer, self.seed, self.backend, self.clip_norm, self.penalty)
        new.steps_done, new.epochs_done = self.steps_done, self.epochs_done
        return new

    def share(self, rows):
        """Which rows of a batch this process works on; a source may leave the others as they are.

        Parameters
        ----------
        rows : int
            Of the whole batch.

        Returns
        -------
        slice
        """
        ends = cuts(rows, -(-rows // self.together.parts(rows)))
        mine = self.together.share(len(ends) - 1)
        return slice(ends[mine.start], ends[mine.stop])

    # ---- training ----

    @functools.wraps(Trainer.fit)
    def fit(self, *args, **kwargs):
        with self.together.guard():
            return super().fit(*args, **kwargs)

    @functools.wraps(Trainer.fit_lbfgs)
    def fit_lbfgs(self, *args, **kwargs):
        with self.together.guard():
            return super().fit_lbfgs(*args, **kwargs)

    def step(self, xb, yb, sample_weight=None):
        """One training step on one batch, by all processes. See `Trainer.step`."""
        with self.together.guard(), self._lock:
            self._refresh()
            pair = self._batch(xb, yb, sample_weight)
            rows = len(pair.X)
            parts = self.together.parts(rows)
            check_batch(self.model, self.together.smallest(rows, -(-rows // parts)), "xb")
            self.model.head = self.loss.head_of(pair.y, self.model.head)
            executor = self._executor(rows, pair, True, accumulate=parts)
            self.optimizer.prepare()
            losses = np.zeros(1)
            executor.check_losses = False
            result = executor.run(pair.X, pair.y, rates=np.array([self.optimizer.step_values()]), losses=losses, weights=pair.weight)
            if result.problem:
                pair.refuse(result.problem)
            return float(losses[0])

    # ---- its state ----

    def save_checkpoint(self, path, durable=False):
        """As `Trainer.save_checkpoint`, by rank 0; the other processes write nothing, and need not call it."""
        if self.rank == 0:
            super().save_checkpoint(path, durable)

    def load_checkpoint(self, path):
        """As `Trainer.load_checkpoint`, by all processes. Rank 0 reads the file, whatever number of processes has written it."""
        with self.together.guard():
            if self.rank == 0:
                super().load_checkpoint(path)
            self._take_from_first("load_checkpoint")

    def _take_from_first(self, place):
        """What rank 0 has: weights, the optimizer's state, counters."""
        self.together.meet(place)
        if self.ranks == 1:
            return
        with self.together.exchange():
            state = (self.state_dict(), self.model.head) if self.rank == 0 else None
            state, head = self.together.comm.bcast(state)
        if self.rank:
            self.load_state_dict(state)
            self.model.head = head

    # ---- evaluation ----

    @functools.wraps(Trainer.evaluate)
    def evaluate(self, *args, **kwargs):
        with self.together.guard():
            return super().evaluate(*args, **kwargs)

    def _evaluate(self, pair, batch_size=None, metrics=None):
        """As Trainer's, in the same blocks of rows, which the processes share out; all add up the same numbers in the same order."""
        ranks, rows = self.together, len(pair.X)
        batch = min(batch_size or 256, 1 << (rows - 1).bit_length())
        mine, count = ranks.share(-(-rows // batch)), -(-rows // batch)
        executor = self._executor(batch, pair, False, bool(metrics))
        outputs = self._room_for_outputs(rows) if metrics else None
        numbers, penalty = np.zeros((len(mine), 3)), 0.0
        with self.optimizer.evaluating():
            for i, block in enumerate(mine):
                pair.check_memory()
                done, tally = slice(block * batch, min((block + 1) * batch, rows)), _native.Tally()
                weight, out = (None if a is None else a[done] for a in (pair.weight, outputs))
                result = executor.run(pair.X[done], pair.y[done], weights=weight, out=out, tally=tally)
                if result.problem:
                    pair.refuse(result.problem)
                numbers[i] = tally.loss_sum, tally.correct, tally.left_out
            if self.loss.reduction == "sum":
                penalty = sum(r(p) for p, r in penalized(self.model, self.penalty))
        ranks.meet("evaluate", same=(rows, batch))
        everything = np.empty((count, 3))
        with ranks.exchange():
            ranks.gather(numbers, everything, ranks.counts(count))
            if outputs is not None:
                ranks.gather_rows(outputs, [*range(0, rows, batch), rows])
        loss_sum = 0.0
        for value in everything[:, 0]:
            loss_sum += float(value)
        logs = self._logs(loss_sum + penalty, int(everything[:, 1].sum()), rows - int(everything[:, 2].sum()))
        return {**logs, **metrics(pair.y, outputs)} if metrics else logs

    def predict(self, X, batch_size=None):
        """The model's outputs for X, as `nn.Sequential.predict` gives them, worked out by all processes; each gets all.

        Parameters
        ----------
        X : array_like [rows, in_features]
            The same whole X in every process.
        batch_size : int, optional
            Rows that are worked on at once.

        Returns
        -------
        numpy.ndarray [rows, out_features]

        Raises
        ------
        TypeError, ValueError
            If X does not fit.
        """
        with self.together.guard():
            rows = self.model.rows(X, empty=True)
            self.together.meet("predict", same=(len(rows),))
            if self.ranks == 1 or not isinstance(rows, np.ndarray):
                return self.model.predict(X, batch_size)
            mine = self.together.share(len(rows))
            part = self.model.predict(rows[mine.start : mine.stop], batch_size)
            found = np.empty((len(rows), *part.shape[1:]), part.dtype)
            self.together.meet("predict")
            with self.together.exchange():
                self.together.gather(part, found, self.together.counts(len(rows)))
            return found
