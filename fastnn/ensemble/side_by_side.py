"""Trainings side by side: one for each thread, in native calls without the interpreter's lock. Each has the bits of its own lone run,
since no result depends on how many threads there are."""

import threading

from .. import _native
from ..core.runtime import get_num_threads
from ..training import Trainer
from ..training.beside import StopWith, in_threads
from ..training.callbacks import Callback
from ..training.checks import count


def checked_trainers(trainers, what):
    """The list of trainers, each with a model of its own, or an error that names the function they come from."""
    trainers = list(trainers)
    seen = {}
    for i, t in enumerate(trainers):
        if not isinstance(t, Trainer):
            raise TypeError(f"{what}: expected it to return a Trainer, got {type(t).__name__} for member {i}")
        for p in t.model.parameters():
            if seen.setdefault(id(p), i) != i:
                raise ValueError(f"{what}: expected a new model for each member, got parameters of member {seen[id(p)]} again for member {i}")
    return trainers


def member_callbacks(callbacks, i):
    """The callbacks of member i: a function of its number makes them, since each training needs callbacks of its own."""
    if callbacks is None:
        return []
    if not callable(callbacks) or isinstance(callbacks, Callback):
        raise TypeError(
            f"callbacks: expected a function of a member's number that returns a new list, got {type(callbacks).__name__}; "
            "write callbacks=lambda i: [...]"
        )
    made = callbacks(i)
    if isinstance(made, Callback):
        raise TypeError(f"callbacks: expected a function that returns a list, got one that returns a single {type(made).__name__}")
    return list(made or ())


def _left_to_the_team(trainers, rows, batch):
    """How many trainings at the end are better done one after the other by the whole team: those that would leave half of the
    threads idle, if a step of theirs is work enough for a team."""
    team = get_num_threads()
    left = len(trainers) % team
    if team == 1 or not left or 2 * left > team:
        return 0
    work = 6 * max(1, min(batch, rows)) * trainers[-1].model.num_parameters()  # at least: convolutions use weights many times
    return left if work >= _native.TEAM_WORK else 0


def fit_all(trainers, data, rows, fit, then=None):
    """Call ``trainers[i].fit(**data(i), **fit)`` for every i, where `rows` rows come in, and then ``then(i)``, if there is such a
    function. Returns the histories and what `then` has returned.

    The first exception, and Ctrl-C, end the other trainings between two steps, and are raised here.
    """
    fit = {"verbose": 0, "batch_size": 32, **fit}
    callbacks = fit.pop("callbacks", None)
    own = [member_callbacks(callbacks, i) for i in range(len(trainers))]
    n, event = len(trainers), threading.Event()
    alone = n - _left_to_the_team(trainers, rows, count(fit["batch_size"], "batch_size", 1))
    histories, results = [None] * n, [None] * n

    def job(i):
        histories[i] = trainers[i].fit(**{**fit, **data(i), "callbacks": [*own[i], StopWith(event)]})
        results[i] = then(i) if then else None

    for t in trainers[:alone]:
        t.one_thread = True
    try:
        if alone:
            in_threads(job, zip(range(alone)), min(get_num_threads(), alone), event)
        for i in range(alone, n):
            job(i)
    finally:
        for t in trainers[:alone]:
            t.one_thread = False
    return histories, results
