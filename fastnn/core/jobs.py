"""Calls in other processes by joblib, on whatever backend it is set to, Dask's among them.

What all calls have in common, data above all, is sent to a process once; and a call whose process dies is tried again, and then given up,
so that it does not take the others with it. It knows nothing of what is called.
"""

import pickle
import time
from concurrent.futures import BrokenExecutor
from typing import NamedTuple

import numpy as np

__all__ = ["Done", "Jobs"]

# what Dask raises where a worker has died, or data that it alone had is gone
_OF_DASK = ("KilledWorker", "FutureCancelledError", "CancelledError", "CommClosedError")

_kept = (None, None)  # in a process that calls: whose common part it is, and that


class Done(NamedTuple):
    """A call that is over: its result, or None and why there is none; how often it was begun."""

    result: object
    error: str | None
    tries: int


def _call(function, item, token, pickled, *buffers):
    """In the other process."""
    global _kept
    if _kept[0] != token:
        _kept = token, pickle.loads(pickled, buffers=buffers)
    return function(_kept[1], item)


class Jobs:
    """Calls ``function(common, item)`` for items, as a context.

    Parameters
    ----------
    function : function
        One of a module, which other processes import.
    common : object
        What is the same in all calls. Its arrays are sent apart from the rest: mapped into memory on the same machine, or scattered by
        Dask, once for all calls. Those that arrive may be read only.
    n_jobs : int or None
        Calls at a time, as joblib has it: -1 is one for each CPU, None what ``joblib.parallel_config`` says.
    tries : int, default 2
        How often a call is begun whose process dies.
    """

    def __init__(self, function, common, n_jobs, tries=2):
        try:
            import joblib
        except ImportError as error:
            raise ImportError("calls in other processes need joblib: pip install joblib", name="joblib") from error
        try:
            import cloudpickle
        except ImportError:  # joblib before 1.6 has its own
            from joblib.externals import cloudpickle
        self._joblib, self._function, self._n_jobs, self._tries = joblib, function, n_jobs, tries
        buffers = []
        self._pickled = cloudpickle.dumps(common, protocol=5, buffer_callback=buffers.append)
        self._buffers = [np.frombuffer(b.raw(), np.uint8) for b in buffers]
        self._token = np.random.SeedSequence().entropy
        self._pool = None

    @property
    def width(self):
        """Calls at a time."""
        return max(1, self._joblib.effective_n_jobs(self._n_jobs))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._close()

    def _close(self):
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.__exit__(None, None, None)

    def _run(self, items, n_jobs):
        if self._pool is None:
            self._pool = self._joblib.Parallel(n_jobs=n_jobs).__enter__()
        call = self._joblib.delayed(_call)
        return self._pool(call(self._function, item, self._token, self._pickled, *self._buffers) for item in items)

    def __call__(self, items):
        """A list of Done, in the order of the items."""
        items = list(items)
        try:
            return [Done(r, None, 1) for r in self._run(items, self._n_jobs)]
        except Exception as error:
            if not _has_died(error):
                raise
            died = error
        self._close()
        return [self._alone(item, died) for item in items]

    def _elsewhere(self):
        """A number of jobs for which joblib calls in another process, as it does not for one; None where there is none."""
        for _ in range(300):  # of 0.1 s: a cluster may be about to begin a worker anew
            for n_jobs in (self._n_jobs, 2):
                if self._joblib.effective_n_jobs(n_jobs) > 1:
                    return n_jobs
            time.sleep(0.1)
        return None

    def _alone(self, item, died):
        """A call by itself, one of those during which a process has died."""
        begun = 1
        while begun < self._tries and (n_jobs := self._elsewhere()) is not None:
            begun += 1
            try:
                return Done(self._run([item], n_jobs)[0], None, begun)
            except Exception as error:
                self._close()
                if not _has_died(error):
                    raise
                died = error
        text = " ".join(str(died).split())
        return Done(None, f"the process died: {type(died).__name__}: {text:.200}", begun)


def _has_died(error):
    """Whether that is what joblib raises when a process dies, by its own backends or by Dask's."""
    return isinstance(error, BrokenExecutor) or type(error).__name__ in _OF_DASK
