# Who may use what. Locks are taken and given back in compiled code, between which and what they stand for no signal handler runs.

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil


cdef class Lock:
    """Held by one thread at a time, which may take it again; a second one is refused, not kept waiting.

    ``with lock:`` takes it and gives it back in single calls of compiled code, so wherever Ctrl-C comes nobody holds it for good. In a
    forked child nobody holds what threads held that are not there any more.
    """

    cdef str what  # for the message
    cdef unsigned long owner
    cdef int depth
    cdef int sealed
    cdef unsigned int forks

    def __cinit__(self, str what):
        self.what = what

    cdef int _notice_fork(self) noexcept:
        if self.forks != fnn_forks():
            self.forks = fnn_forks()
            if self.owner != fnn_fork_survivor():
                self.depth = self.sealed = 0
        return 0

    cdef bint take(self) noexcept:
        """Whether the calling thread holds it now."""
        cdef unsigned long me = PyThread_get_thread_ident()
        if self.depth:
            self._notice_fork()
            if self.depth and (self.owner != me or self.sealed):
                return False
        self.owner = me
        self.depth += 1
        self.forks = fnn_forks()
        return True

    cdef int leave(self) noexcept:
        self.depth -= 1
        return 0

    cdef int enter(self) except -1:
        """Take it, or raise."""
        if self.take():
            return 0
        if self.owner == PyThread_get_thread_ident():
            raise RuntimeError(f"{self.what} is in use: expected a function that does not call it while it is called")
        raise RuntimeError(f"{self.what} is in use: a second call was made while one was running")

    def __enter__(self):
        self.enter()
        return self

    def __exit__(self, *error):
        self.leave()

    @property
    def held(self):
        """Whether anyone holds it."""
        self._notice_fork()
        return self.depth > 0

    def call_sealed(self, function, *arguments):
        """What a function returns; meanwhile not even the thread that holds the lock may take it again."""
        self.enter()
        self.sealed += 1
        try:
            return function(*arguments)
        finally:
            self.sealed -= 1
            self.leave()

    def __reduce__(self):
        return Lock, (self.what,)


cdef class StepCounter:
    """A seed, and how many steps a training has done: what is drawn at random in the next one is a function of both. Runs of a plan that
    trains move it on."""

    cdef public uint64_t seed, done

    def __cinit__(self, uint64_t seed=0, uint64_t done=0):
        self.seed, self.done = seed, done


cdef class Tally:
    """Sums over the rows of many runs, which each go on from where the last has ended: so they do not depend on where that was.

    batches, rows: taken; loss_sum, correct: of these rows; left_out: rows that are in neither, since they are to be ignored or their
    steps were skipped; skipped: steps that were left out because their gradients were not finite.
    """

    cdef public size_t batches, rows, left_out, skipped
    cdef public int64_t correct
    cdef public double loss_sum

    def __cinit__(self, size_t batches=0, size_t rows=0, double loss_sum=0.0, int64_t correct=0, size_t left_out=0, size_t skipped=0):
        self.batches, self.rows, self.loss_sum, self.correct = batches, rows, loss_sum, correct
        self.left_out, self.skipped = left_out, skipped

    def values(self):
        """All of them, as they are given when one is made."""
        return self.batches, self.rows, self.loss_sum, self.correct, self.left_out, self.skipped

    cdef int take(self, fnn_run *r) noexcept:
        """What a run has done that began from these sums."""
        self.batches += r.steps_done
        self.rows += min(r.steps_done * r.batch, r.rows)
        self.loss_sum, self.correct = r.loss_sum, r.correct
        self.left_out += r.rows_left_out
        self.skipped += r.steps_skipped
        return 0

    def close_batch(self, Tally parts, bint skipped):
        """A batch that was worked on in parts, whose sums began with these; `parts` has them."""
        self.batches += 1
        self.rows += parts.rows
        self.skipped += skipped
        if skipped:
            self.left_out += parts.rows
        else:
            self.loss_sum, self.correct = parts.loss_sum, parts.correct
            self.left_out += parts.left_out

    def add(self, size_t rows, double loss_sum, int64_t correct, size_t left_out, bint skipped):
        """A batch."""
        self.batches += 1
        self.rows += rows
        self.left_out += left_out
        self.skipped += skipped
        if not skipped:
            self.loss_sum += loss_sum
            self.correct += correct


cdef class Kept:
    """A context at whose end arrays are what they were before, if an exception ends it."""

    cdef list arrays, copies

    def __cinit__(self, list arrays):
        self.arrays = arrays

    def __enter__(self):
        self.copies = [a.copy() for a in self.arrays]
        return self

    def __exit__(self, kind, *error):
        if kind is not None:
            for a, copy in zip(self.arrays, self.copies):
                a[...] = copy
