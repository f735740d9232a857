"""train_many: one architecture, many settings and seeds, trained side by side."""

import numpy as np

from ..core.checks import suggesting
from ..init import check_seed
from .processes import made, member_of_many, train_members
from .side_by_side import checked_trainers, fit_all


class Many:
    """The result of `train_many`, a list of members by their numbers.

    Attributes
    ----------
    models : list of nn.Sequential
    histories : list of History
    trainers : list of Trainer
        To evaluate, or to train on.
    settings, seeds : list
        As they were used.
    """

    def __init__(self, trainers, histories, settings, seeds) -> None:
        self.trainers, self.histories, self.settings, self.seeds = trainers, histories, settings, seeds
        self.models = [t.model for t in trainers]

    def __len__(self) -> int:
        return len(self.models)

    def __repr__(self):
        return f"<Many of {len(self)} models>"


@suggesting
def train_many(make_model, loss, make_optimizer, X, y, settings=None, seeds=None, epochs=1, batch_size=32, jobs=None,
               **fit) -> Many:
    """Train many models side by side: one on each thread, in native calls without the interpreter's lock.

    For small models, whose steps are too little work for several threads, that is as many times faster as there are threads. Each
    has, to the bit, what a run of its own would give:

        fastnn.manual_seed(seeds[i])
        model = make_model()
        trainer = fastnn.Trainer(model, loss, make_optimizer(model.parameters(), settings[i]), seed=seeds[i])
        trainer.fit(X, y, epochs=epochs, batch_size=batch_size, **fit)

    Of large models, those that are left when all threads have had the same number are trained one after the other by all threads.

    Parameters
    ----------
    make_model : function
        Takes nothing and returns a new model.
    loss : losses.Loss
    make_optimizer : function
        Takes the model's parameters and the member's setting, and returns an optimizer of `fastnn.optim`.
    X, y : array_like
        As for `Trainer.fit`; all members train on the same.
    settings : list, optional
        A member for each: a learning rate, a dict, whatever make_optimizer takes. By default None for every seed.
    seeds : list of int, optional
        As many as settings; by default 0, 1, 2 ...
    epochs, batch_size
        As for `Trainer.fit`.
    jobs : int, optional
        Train so many members at a time in processes of joblib's, -1 for one on each CPU, in place of threads of this one:
        on other machines, if ``joblib.parallel_config`` has chosen such a backend ("dask"). X and y are sent to each process once. A
        member whose process dies is trained once more. The results are the same.
    fit
        Further arguments of `Trainer.fit`. verbose is 0 unless it is given; callbacks is a function of the member's number that
        returns a new list for it.

    Returns
    -------
    Many
        With `models`, `histories` and `trainers`.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.
    Exception
        What a member raises ends the others between two steps, and is raised.

    Examples
    --------
    >>> from fastnn import ensemble
    >>> X, y = data.load_digits()
    >>> def make_model():
    ...     return nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 20, activation="relu"), nn.Dense(20, 10))
    >>> many = ensemble.train_many(
    ...     make_model, losses.SoftmaxCrossEntropy(), lambda parameters, lr: optim.Adam(parameters, lr=lr), X, y,
    ...     settings=[1e-4, 1e-3, 1e-2], epochs=5,
    ... )
    >>> final = [history["accuracy"][-1] for history in many.histories]
    >>> len(many.models), final[0] < final[1] < final[2]
    (3, True)
    """
    for name, function in (("make_model", make_model), ("make_optimizer", make_optimizer)):
        if not callable(function):
            raise TypeError(f"{name}: expected a function, got {type(function).__name__}")
    if settings is None and seeds is None:
        raise ValueError("settings, seeds: expected a list of at least one, got none")
    for name, given in (("settings", settings), ("seeds", seeds)):
        if given is not None and (isinstance(given, (str, dict)) or not hasattr(given, "__iter__")):
            raise TypeError(f"{name}: expected a list, of one for each member, got {type(given).__name__}")
    settings = list(settings) if settings is not None else None
    seeds = [check_seed(s, "seeds") for s in (range(len(settings)) if seeds is None else seeds)]
    settings = [None] * len(seeds) if settings is None else settings
    if len(settings) != len(seeds) or not seeds:
        raise ValueError(f"settings, seeds: expected lists of one length, at least 1, got {len(settings)} and {len(seeds)}")
    trainers = [made(make_model, loss, make_optimizer, setting, seed) for setting, seed in zip(settings, seeds)]
    checked_trainers(trainers, "make_model")
    fit = {"epochs": epochs, "batch_size": batch_size, **fit}
    if jobs is not None:
        common, items = (make_model, loss, make_optimizer, X, y, fit), list(zip(range(len(seeds)), settings, seeds))
        histories = []
        for trainer, (state, head, history) in zip(trainers, train_members(member_of_many, common, items, jobs)):
            trainer.load_state_dict(state)
            trainer.model.head, trainer.history = head, history
            histories.append(history)
        return Many(trainers, histories, settings, seeds)
    rows = np.shape(X)[0] if np.ndim(X) else 0
    histories, _ = fit_all(trainers, lambda i: {"X": X, "y": y}, rows, fit)
    return Many(trainers, histories, settings, seeds)
