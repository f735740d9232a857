"""grid, random and bayes: which settings are tried, and in which order."""

import contextlib
import inspect
import itertools
import math
import os
import threading
import time

import numpy as np

from .. import _native
from ..core.checks import number
from ..core.jobs import Jobs
from ..init import check_seed
from ..training.checks import count
from .space import Choice, Integer, LogUniform, check_space
from .study import Log, Study, Trial, tried

_NARROWER = 0.3  # of its width is what a range keeps from round to round


def _checked(objective, direction, seconds, jobs, epochs, threads=1):
    """(whether the objective takes a Trial, the limit in seconds)"""
    if not callable(objective):
        raise TypeError(f"objective: expected a function, got {type(objective).__name__}")
    if direction not in ("minimize", "maximize"):
        raise ValueError(f"direction: expected 'minimize' or 'maximize', got {direction!r}")
    if jobs is not None and jobs != -1:
        count(jobs, "jobs", 1)
    if count(threads, "threads", 1) > 1 and jobs != 1:
        raise ValueError(f"threads, jobs: expected one of them, threads or processes, got {threads} and {jobs}")
    if epochs is not None:
        count(epochs, "epochs", 1)
    try:
        first = next(iter(inspect.signature(objective).parameters), "")
    except ValueError:  # of a function in C that does not tell
        first = ""
    return first == "trial", math.inf if seconds is None else number(seconds, "seconds", 0.0)


class _Trying:
    """Tries trials, some at a time: in this thread, in others, or by joblib in other processes."""

    def __init__(self, objective, takes_trial, jobs, seed, threads=1):
        self._common, self._threads = (objective, takes_trial, seed), threads
        self._jobs = None if jobs == 1 else Jobs(_tried, self._common, jobs)

    @property
    def width(self):
        return 1 if self._jobs is None else self._jobs.width

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._jobs is not None:
            self._jobs.__exit__(*error)

    def __call__(self, trials):
        """The trials, over."""
        if self._jobs is None:
            return [_tried(self._common, t) for t in trials]
        found = []
        for trial, done in zip(trials, self._jobs(trials)):
            if done.error is not None:
                trial.state, trial.error = "failed", done.error
            found.append(trial if done.result is None else done.result)
            found[-1].tries = done.tries
        return found

    def each(self, trials, until):
        """The trials as they end; after `until` none begins."""
        if self._threads > 1:
            yield from self._in_threads(trials, until)
            return
        begin = 0
        while begin < len(trials) and time.perf_counter() < until:
            width = self.width  # of a cluster it may change
            yield from self(trials[begin : begin + width])
            begin += width

    def _in_threads(self, trials, until):
        """Each in a thread whose native calls keep to that thread."""
        from concurrent.futures import ThreadPoolExecutor, as_completed

        ended = threading.Event()

        def job(t):
            if ended.is_set() or time.perf_counter() >= until:
                return None
            before, t._ended = _native.alone(True), ended.is_set
            try:
                return _tried(self._common, t)
            finally:
                _native.alone(before)
                t._ended = None

        with ThreadPoolExecutor(self._threads) as pool:
            waiting = [pool.submit(job, t) for t in trials]
            try:
                for future in as_completed(waiting):
                    if future.result() is not None:
                        yield future.result()
            finally:  # Ctrl-C, or what an objective raises that is no Exception: those that run are waited for
                ended.set()
                for future in waiting:
                    future.cancel()


def _tried(common, trial):
    """One trial, perhaps in another process."""
    objective, takes_trial, seed = common
    return tried(objective, trial, takes_trial, seed)


def _try_all(study, trying, trials, log, until):
    """Try these until the time is over; what the log holds is taken from there. Whether all were."""
    known = {} if log is None else log.found
    over = {t.number: t for t in trials if t.number in known}
    for t in over.values():
        log.restore(t)
    try:
        for t in trying.each([t for t in trials if t.number not in known], until):
            over[t.number] = t
            if log is not None:
                log.append(t)
    finally:
        study.trials += [over[t.number] for t in trials if t.number in over]
    return len(over) == len(trials)


def grid(objective, space, *, direction="minimize", seconds=None, epochs=None, jobs=1, threads=1, file=None) -> Study:
    """Try every combination of some values.

    Parameters
    ----------
    objective : function
        Takes the settings, a dict, or, if its parameter is called ``trial``, a Trial, which it can report to; returns the value. What
        it raises, or NaN, is noted at its trial, and the search goes on. It is to judge by validation data, never by a test set.
    space : dict
        From names to lists of values.
    direction : {"minimize", "maximize"}, default "minimize"
    seconds : float, optional
        No trial begins after so many.
    epochs : int, optional
        What ``trial.epochs`` is.
    jobs : int or None, default 1
        So many trials at a time, in processes of joblib's: -1 is one for each CPU, None what ``joblib.parallel_config`` says, which
        also chooses the backend, such as "dask" for many machines. What the objective holds, data above all, is sent once. A trial
        whose process dies is tried once more, and then noted as failed.
    threads : int, default 1
        In place of jobs: so many trials at a time in threads of this process, each of which keeps its native calls to itself. They go
        on without the interpreter's lock, so that small models train side by side. Ctrl-C waits for the trials that run, which can ask
        ``trial.broken_off``.
    file : path, optional
        Trials are written to it as they end, and taken from it where it exists: so a search that was stopped goes on. It belongs to
        a search by its space, direction and epochs, and, of `random`, n, rounds and seed.

    Returns
    -------
    Study
        The same for any `jobs` and `threads`, as long as trials change nothing that they share: what one initialises is drawn from the
        search's seed and the trial's number, and a `manual_seed` in it is its own.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or the file is of another search.

    Examples
    --------
    >>> from fastnn import tune
    >>> study = tune.grid(lambda p: (p["a"] - 2) ** 2 + p["b"], {"a": [1, 2, 3], "b": [0.5, 0.25]})
    >>> study.best.value, study.best.params, len(study.trials)
    (0.25, {'a': 2, 'b': 0.25}, 6)
    """
    takes_trial, limit = _checked(objective, direction, seconds, jobs, epochs, threads)
    space = check_space(space)
    for name, kind in space.items():
        if not isinstance(kind, Choice):
            raise TypeError(f"space[{name!r}]: expected a list of values, got {type(kind).__name__}")
    until, study = time.perf_counter() + limit, Study(space, direction)
    log = None if file is None else Log(file, {"search": "grid", "space": repr(space), "direction": direction, "epochs": epochs})
    every = itertools.product(*(kind.values for kind in space.values()))
    trials = [Trial(i, dict(zip(space, values)), epochs=epochs) for i, values in enumerate(every)]
    with _Trying(objective, takes_trial, jobs, 0, threads) as trying:
        _try_all(study, trying, trials, log, until)
    return study


def random(objective, space, n=50, rounds=1, *, seed=0, direction="minimize", seconds=None, epochs=None, jobs=1, threads=1, file=None) -> Study:
    """Try settings at random; in each further round from ranges of 0.3 times the width, about the best that was found.

    Parameters
    ----------
    objective, direction, seconds, epochs, jobs, threads, file
        As for `grid`.
    space : dict
        From names to Uniform, LogUniform, Integer, Choice or a list.
    n : int, default 50
        Trials in all.
    rounds : int, default 1
    seed : int, default 0
        What trial i draws, its settings and what it initialises, is a function of the seed and i.

    Returns
    -------
    Study

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or the file is of another search.

    Examples
    --------
    >>> from fastnn import tune
    >>> space = {"lr": tune.LogUniform(1e-6, 1e-2), "decay": tune.LogUniform(1e-8, 1e-4)}
    >>> study = tune.random(lambda p: abs(np.log10(p["lr"]) + 3) + abs(np.log10(p["decay"]) + 5), space, n=60, rounds=3)
    >>> study.best.value < 0.5, len(study.trials)
    (True, 60)
    """
    takes_trial, limit = _checked(objective, direction, seconds, jobs, epochs, threads)
    space, n, rounds, seed = check_space(space), count(n, "n", 1), count(rounds, "rounds", 1), check_seed(seed)
    if rounds > n:
        raise ValueError(f"rounds: expected at most n, {n}, got {rounds}")
    head = {"search": "random", "space": repr(space), "direction": direction, "n": n, "rounds": rounds, "seed": seed, "epochs": epochs}
    until, study, here = time.perf_counter() + limit, Study(space, direction), space
    log = None if file is None else Log(file, head)
    ends = [n * (r + 1) // rounds for r in range(rounds)]
    with _Trying(objective, takes_trial, jobs, seed, threads) as trying:
        for begin, end in zip([0, *ends], ends):
            if begin and any(t.state == "done" for t in study.trials):
                here = {name: kind.narrowed(study.best.params[name], _NARROWER) for name, kind in here.items()}
            trials = []
            for i in range(begin, end):
                draws = np.random.Generator(np.random.Philox(key=[seed, i])).random(len(space))
                trials.append(Trial(i, {name: kind.at(float(u)) for (name, kind), u in zip(here.items(), draws)}, epochs=epochs))
            if not _try_all(study, trying, trials, log, until):
                break
    return study


def bayes(objective, space, n=50, *, seed=0, direction="minimize", seconds=None, epochs=None, jobs=1, file=None) -> Study:
    """Try settings that Optuna proposes from those before; trials that report worse values than most are pruned.

    Needs Optuna: ``pip install fastnn[tune]``.

    Parameters
    ----------
    objective, direction, seconds, epochs
        As for `grid`; ``trial.report`` raises Pruned where Optuna's median rule says so.
    jobs : int or None, default 1
        As for `grid`: so many trials are proposed at once, and none of them is pruned.
    space, n, seed
        As for `random`.
    file : path, optional
        Optuna's journal: a search of the same space, direction and epochs goes on with the trials in it, as it would have done
        without a stop.

    Returns
    -------
    Study

    Raises
    ------
    ImportError
        If Optuna is not installed.
    TypeError, ValueError
        If an argument does not fit, or the file is of another search.
    """
    takes_trial, limit = _checked(objective, direction, seconds, jobs, epochs)
    space, n, seed = check_space(space), count(n, "n", 1), check_seed(seed)
    try:
        import optuna
    except ImportError as error:
        raise ImportError("tune.bayes needs Optuna: pip install fastnn[tune]") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kinds = optuna.distributions
    distributions, numbered = {}, set()  # numbered: choices of what Optuna's files do not hold, such as tuples, go by their numbers
    for name, kind in space.items():
        if isinstance(kind, Choice):
            if not all(v is None or isinstance(v, (bool, int, float, str)) for v in kind.values):
                numbered.add(name)
            distributions[name] = kinds.CategoricalDistribution(range(len(kind.values)) if name in numbered else kind.values)
        elif isinstance(kind, Integer):
            distributions[name] = kinds.IntDistribution(kind.low, kind.high)
        else:
            distributions[name] = kinds.FloatDistribution(kind.low, kind.high, log=isinstance(kind, LogUniform))
    until, study = time.perf_counter() + limit, Study(space, direction)
    theirs = _optuna_study(optuna, file, {"space": repr(space), "direction": direction, "epochs": epochs})
    states = optuna.trial.TrialState
    names = {states.COMPLETE: "done", states.PRUNED: "pruned"}

    def settings(theirs):
        return {name: space[name].values[v] if name in numbered else v for name, v in theirs.params.items()}

    for t in theirs.trials:
        if t.state.is_finished():
            study.trials.append(Trial(t.number, settings(t), t.value if t.state == states.COMPLETE else None, names.get(t.state, "failed"),
                                      t.duration.total_seconds(), t.user_attrs.get("error"), sorted(t.intermediate_values.items())))  # fmt: skip

    def ask():
        """What is proposed for a trial is a function of the seed, its number and the trials before, whenever those were tried."""
        words = np.random.Philox(key=[seed, len(theirs.get_trials(deepcopy=False))]).random_raw()
        theirs.sampler = optuna.samplers.TPESampler(seed=int(words) % 2**32)
        return theirs.ask(distributions)

    def pruning(asked):
        def prune(trial):
            asked.report(trial.reports[-1][1], trial.reports[-1][0])
            return asked.should_prune()

        return prune if trying.width == 1 else None

    with _Trying(objective, takes_trial, jobs, seed) as trying:
        while len(study.trials) < n and time.perf_counter() < until:
            proposed = [ask() for _ in range(min(trying.width, n - len(study.trials)))]
            for asked, t in zip(proposed, trying([Trial(a.number, settings(a), epochs=epochs, _prune=pruning(a)) for a in proposed])):
                t._prune = None
                if t.error is not None:
                    asked.set_user_attr("error", t.error)
                if t.state == "done":
                    theirs.tell(asked, t.value)
                else:
                    theirs.tell(asked, state=states.PRUNED if t.state == "pruned" else states.FAIL)
                study.trials.append(t)
    return study


def _drop_cut_line(file):
    """A last line that was cut off goes, since Optuna would write the next one behind it."""
    with contextlib.suppress(FileNotFoundError), open(file, "r+b") as journal:
        text = journal.read()
        if not text.endswith(b"\n"):
            journal.truncate(text.rfind(b"\n") + 1)


def _optuna_study(optuna, file, head):
    """Optuna's study, in memory or in its journal; ValueError where that is of another search."""
    storage = None
    try:
        if file is not None:
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend

            _drop_cut_line(file)
            storage = JournalStorage(JournalFileBackend(os.fspath(file)))
        theirs = optuna.create_study(storage=storage, study_name="fastnn", load_if_exists=True, direction=head["direction"])
        old = theirs.user_attrs
    except (KeyError, ValueError) as error:
        raise ValueError(f"file: expected Optuna's journal of this search, got {file}: {error}") from error
    for name, value in head.items():
        if name not in old:
            theirs.set_user_attr(name, value)
        elif old[name] != value:
            raise ValueError(
                f"file: expected that of the same search, got {file}, where {name} is {old[name]!r:.200}, here {value!r:.200}; take another "
                "file, or the same arguments"
            )
    return theirs
