"""The processes that train together: what they tell each other, and how an error in one of them ends the work of all.

Before they exchange anything they meet: each says where it is and how it fares. One that has failed says so at its next meeting, and
one whose program is over meets the others a last time, so that nobody waits for somebody who does not come. The one thing that
cannot be told any more, an exception in the middle of an exchange, aborts the job.
"""

import atexit
import contextlib
import signal
import sys
import threading
import time
import traceback

import numpy as np

from ..core.runtime import cpu_set
from .executor import DistributedExecutor

# where processes meet; the first is none
_PLACES = ("an exception", "the end of its program", "the beginning of a trainer", "the beginning of fit", "a step", "between two steps",
           "an agreement", "evaluate", "predict", "load_checkpoint")  # fmt: skip
_GRAIN = 16  # rows at least, where it is not said
_GRAINS = 8  # at most, where it is not said


class RankError(RuntimeError):
    """Raised in a process that is well, because another one is not: it has raised an exception, which is quoted, or is somewhere else."""


def world():
    """MPI's COMM_WORLD, or ImportError that says what is missing."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # of the library that it loads
        raise ImportError(
            "fastnn.distributed needs mpi4py and an MPI library: pip install fastnn[mpi], and the library of your cluster, or "
            f"pip install mpich ({str(error).splitlines()[0] if str(error) else type(error).__name__})",
            name="mpi4py",
        ) from error
    return MPI.COMM_WORLD


class Ranks:
    """The processes of a communicator. Its first methods are the interface of `fastnn.training.together.Alone`.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
    grains : int or None
        How many parts a batch has; None: as its rows say.
    """

    apart = True
    _at_exit = None  # the first with more than one process, which meets at the end of the program

    def __init__(self, comm, grains=None):
        for name in ("Get_rank", "Get_size", "Allgather", "Allgatherv", "Alltoallv", "Abort", "allgather", "bcast"):
            if not hasattr(comm, name):
                raise TypeError(f"comm: expected a communicator of mpi4py, such as MPI.COMM_WORLD, got {type(comm).__name__}")
        self.comm, self.rank, self.size, self.grains = comm, comm.Get_rank(), comm.Get_size(), grains
        self._exchanging = False  # nobody must leave now
        self._told = None  # the exception that all know of
        self._interrupted = False
        self._guarded = 0
        if self.size > 1 and Ranks._at_exit is None:
            Ranks._at_exit = self
            atexit.register(self._leave)

    # ---- as Alone has it ----

    def parts(self, batch):
        count = min(_GRAINS, max(1, batch // _GRAIN)) if self.grains is None else min(self.grains, batch)
        return -(-batch // -(-batch // count))  # of so many rows each there may be fewer

    def smallest(self, rows, part):
        return rows // -(-rows // part)

    def accumulating(self, executor, batch, mean):
        return DistributedExecutor(self, executor, batch, mean)

    def mine(self, callbacks):
        return [c for c in callbacks if self.rank == 0 or not c.writes_files]

    def verbose(self, verbose):
        return verbose if self.rank == 0 else 0

    def stops(self, stop):
        return bool(self.meet("between two steps", bool(stop))[:, 0].any())

    def agreed(self, value):
        self.meet("an agreement")
        with self.exchange():
            return value if self.size == 1 else self.comm.bcast(value)

    def check(self, trainer, settings, data):
        from .alike import state_entries, training_entries

        self.compare("the beginning of fit", {**training_entries(settings, data), **state_entries(trainer)})

    # ---- shares ----

    def share(self, count, rank=None):
        """Which of so many things are this process's: a range."""
        rank = self.rank if rank is None else rank
        return range(rank * count // self.size, (rank + 1) * count // self.size)

    def counts(self, count):
        """How many of them each process has."""
        return [len(self.share(count, r)) for r in range(self.size)]

    def local_threads(self, cpus):
        """How many threads each is to use of a machine's CPUs: those of this process by the processes that have the same ones."""
        if self.size == 1:
            return cpus
        import platform

        mine = (platform.node(), cpu_set())
        self.meet("the beginning of a trainer")
        with self.exchange():
            everywhere = self.comm.allgather(mine)
        return max(1, cpus // everywhere.count(mine))

    # ---- meetings ----

    def meet(self, place, *numbers, same=()):
        """Wait for all. Returns the numbers of each, [processes, numbers]; `same`: numbers that all must have alike."""
        mine = np.zeros(8)
        mine[:2] = _PLACES.index(place), self._interrupted
        mine[2 : 2 + len(numbers)], mine[8 - len(same) :] = numbers, same
        if self.size == 1:
            self._interrupt_if(self._interrupted)
            return mine[None, 2:]
        table = np.empty((self.size, len(mine)))
        with self.exchange():
            self.comm.Allgather(mine, table)
        places = table[:, 0].astype(int)
        if (places != places[0]).any():
            self._disagree(place, places)
        self._interrupt_if(table[:, 1].any())
        other = np.flatnonzero((table[:, 8 - len(same) :] != table[0, 8 - len(same) :]).any(axis=1))
        if len(other):
            theirs, ours = ([int(v) for v in table[r, 8 - len(same) :]] for r in (other[0], 0))
            raise RankError(f"rank {other[0]} and rank 0 are in {place} with other rows, or in another one: {theirs}, not {ours}")
        return table[:, 2:]

    def _interrupt_if(self, interrupted):
        if interrupted:
            self._interrupted = False
            self._told = KeyboardInterrupt("Ctrl-C")  # all raise it
            raise self._told

    def _disagree(self, place, places):
        if (places == 0).any():
            raise RankError(self._heard(None))
        other = np.flatnonzero(places != places[self.rank])[0]
        if (places == 1).any():
            Ranks._at_exit = None  # who has ended comes to no other meeting
        raise RankError(f"rank {other} is at {_PLACES[places[other]]}, while rank {self.rank} is at {place}: all must make the same calls")

    def _heard(self, message):
        """What those who have failed say: a line of the first."""
        with self.exchange():
            messages = self.comm.allgather(message)
        return next(f"rank {r}: {m}" for r, m in enumerate(messages) if m is not None)

    @contextlib.contextmanager
    def exchange(self):
        """Something that all do at once: an exception within leaves the others waiting, so it aborts the job."""
        self._exchanging = True
        yield
        self._exchanging = False

    @contextlib.contextmanager
    def guard(self):
        """What is called by all: an exception of one is told to the others, and Ctrl-C is raised by all at once."""
        if self._guarded or self.size == 1:
            yield
            return
        before = None
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if before is signal.default_int_handler:
                signal.signal(signal.SIGINT, self._note_interrupt)
        self._guarded, self._told = True, None
        try:
            yield
        except RankError:
            raise
        except BaseException as error:
            if self._exchanging:
                self._abort(error)
            if error is not self._told:
                self._tell(error)
            raise
        finally:
            self._guarded, self._told = False, None
            if before is signal.default_int_handler:
                signal.signal(signal.SIGINT, before)

    def _note_interrupt(self, number, frame):
        if self._interrupted:  # once more: it has waited too long
            raise KeyboardInterrupt
        self._interrupted = True

    def _tell(self, error):
        """The others hear of it where they meet next."""
        table = np.empty((self.size, 8))
        with self.exchange():
            self.comm.Allgather(np.zeros(8), table)
        self._heard(f"{type(error).__name__}: {error}")

    def _abort(self, error):
        what = "".join(traceback.format_exception(error))
        print(f"fastnn: rank {self.rank} ends the job: {type(error).__name__}: {error}\n{what}", end="", file=sys.stderr, flush=True)
        time.sleep(0.2)  # mpiexec ends without having read what a process wrote last
        self.comm.Abort(1)

    def _leave(self):
        """At the end of the program: others that are somewhere else hear of it."""
        if Ranks._at_exit is self:
            with contextlib.suppress(Exception):  # a library that has been shut down, too
                self.meet("the end of its program")

    # ---- what is compared and gathered ----

    def compare(self, place, entries):
        """ValueError where others have another (digest, text) under one of these names."""
        self.meet(place)
        if self.size == 1:
            return
        with self.exchange():
            everywhere = self.comm.allgather(entries)
        for rank, theirs in enumerate(everywhere):
            for name, (digest, text) in everywhere[0].items():
                other = theirs.get(name, (None, "nothing"))
                if other[0] != digest:
                    error = ValueError(f"{name}: expected the same on all ranks, got {other[1]} on rank {rank}, {text} on rank 0")
                    self._told = error
                    raise error

    def gather(self, mine, out, counts):
        """Rows of all processes, so many of each, into out [rows, ...], which is in one piece."""
        if self.size == 1:
            out[...] = mine
            return
        width = out.size // max(len(out), 1)
        self.comm.Allgatherv(np.ascontiguousarray(mine), [out, [n * width for n in counts]])

    def gather_rows(self, out, ends):
        """The same where each has filled its rows of out, of which parts were shared out that end there, from 0 on."""
        if self.size > 1:
            shares = [self.share(len(ends) - 1, r) for r in range(self.size)]
            mine = shares[self.rank]
            self.gather(out[ends[mine.start] : ends[mine.stop]].copy(), out, [ends[s.stop] - ends[s.start] for s in shares])
