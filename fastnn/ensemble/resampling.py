"""Bagging and k-fold: one trainer for each sample of the rows, side by side."""

import numpy as np

from .. import _native
from ..core.checks import flag
from ..init import check_seed
from ..training.checks import by_rows, count
from .averaging import Ensemble
from .processes import member_of_samples, train_members
from .side_by_side import checked_trainers, fit_all


def bagging(make_trainer, X, y, n=10, *, seed=0, jobs=None, **fit) -> Ensemble:
    """Train n models, each on rows that are drawn with replacement, side by side. (L. Breiman, "Bagging predictors", 1996.)

    Parameters
    ----------
    make_trainer : function
        Takes a member's number, from 0, and returns a Trainer of a new model.
    X, y : array_like
        As for `Trainer.fit`, sparse ones too, but no iterables. Each member has as many rows as there are, about 63 % of them
        different, in memory of its own while it trains.
    n : int, default 10
    seed : int, default 0
        Of the draws; with the member's number they are a function of it.
    jobs : int, optional
        Train so many members at a time in processes of joblib's, -1 for one on each CPU, in place of threads of this one:
        on other machines, if ``joblib.parallel_config`` has chosen such a backend ("dask"). X and y are sent to each process once. A
        member whose process dies is trained once more. The results are the same.
    fit
        Arguments of `Trainer.fit`: epochs, batch_size ... verbose is 0 unless it is given; sample_weight is drawn with the rows;
        callbacks is a function of a member's number that returns a new list for it.

    Returns
    -------
    Ensemble
        `scores` says how each member does on the rows that it has not seen, `held_out` has the outputs for each row of those members
        that have not seen it.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.
    Exception
        What a training raises ends the others between two steps, and is raised.

    Examples
    --------
    >>> from fastnn import ensemble
    >>> X, y = data.load_digits()
    >>> def make_trainer(i):
    ...     fastnn.manual_seed(i)
    ...     model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 20, activation="relu"), nn.Dense(20, 10))
    ...     return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01), seed=i)
    >>> together = ensemble.bagging(make_trainer, X[:1000], y[:1000], n=5, epochs=5)
    >>> alone = np.mean([model.predict_classes(X[1000:]) == y[1000:] for model in together.models])
    >>> bool((together.predict_classes(X[1000:]) == y[1000:]).mean() > alone)
    True
    """
    n, seed = count(n, "n", 1), check_seed(seed)
    X, y, weight = _arrays(X, y, fit)
    size = X.shape[0]
    rows = [np.random.Generator(np.random.Philox(key=[seed, i])).integers(0, size, size) for i in range(n)]
    held = [np.setdiff1d(np.arange(size), r) for r in rows]
    return _trained(make_trainer, X, y, weight, rows, held, fit, jobs)


def kfold(make_trainer, X, y, n=5, *, shuffle=True, stratify=None, seed=0, jobs=None, **fit) -> Ensemble:
    """Train n models, each on all rows but those of one of n folds, side by side: what is said of a model by rows that it has not
    seen, for every row.

    Parameters
    ----------
    make_trainer : function
        As for `bagging`.
    X, y : array_like
        As for `Trainer.fit`.
    n : int, default 5
        Folds, from 2 to the number of rows. Their sizes differ by one row at most.
    shuffle : bool, default True
        Rows are dealt out in a random order; else the folds are stretches of the data.
    stratify : array_like [rows], optional
        Classes, usually y itself: each fold gets its share of each.
    seed : int, default 0
        Of the order.
    jobs : int, optional
        As for `bagging`.
    fit
        As for `bagging`.

    Returns
    -------
    Ensemble
        `scores` says how each member does on its fold, `held_out` has for each row the outputs of the member that has not seen it.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.
    Exception
        What a training raises ends the others between two steps, and is raised.

    Examples
    --------
    >>> from fastnn import ensemble
    >>> X, y = data.load_digits()
    >>> def make_trainer(i):
    ...     model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 10))
    ...     return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01))
    >>> folds = ensemble.kfold(make_trainer, X, y, n=3, stratify=y, epochs=5)
    >>> all(s["accuracy"] > 0.85 for s in folds.scores), folds.held_out.shape
    (True, (1797, 10))
    """
    n, shuffle, seed = count(n, "n", 2), flag(shuffle, "shuffle"), check_seed(seed)
    X, y, weight = _arrays(X, y, fit)
    size = X.shape[0]
    if n > size:
        raise ValueError(f"n: expected at most as many folds as rows, {size}, got {n}")
    order = _native.permutation(size, seed, 0) if shuffle else np.arange(size)
    fold = np.empty(size, np.int64)
    if stratify is not None:
        classes = np.asarray(stratify)
        if classes.shape != (size,):
            raise ValueError(f"stratify: expected one class for each of the {size} rows, got shape {classes.shape}")
        order = order[np.argsort(np.unique(classes, return_inverse=True)[1][order], kind="stable")]
        fold[order] = np.arange(size) % n
    else:
        fold[order] = np.repeat(np.arange(n), [len(part) for part in np.array_split(order, n)])
    held = [np.flatnonzero(fold == i) for i in range(n)]
    return _trained(make_trainer, X, y, weight, [np.flatnonzero(fold != i) for i in range(n)], held, fit, jobs)


def _arrays(X, y, fit):
    """(X, y, weights of the rows or None), taken out of `fit`."""
    X, y, weight = by_rows(X, "X"), by_rows(y, "y"), fit.pop("sample_weight", None)
    weight = None if weight is None else np.asarray(weight)
    rows = X.shape[0]
    for name, a in (("y", y), ("sample_weight", weight)):
        if a is not None and (a.ndim == 0 or a.shape[0] != rows):
            raise ValueError(f"{name}: expected one for each of X's {rows} rows, got shape {a.shape}")
    if rows < 2:
        raise ValueError(f"X: expected at least 2 rows, got {rows}")
    return X, y, weight


def _trained(make_trainer, X, y, weight, rows, held, fit, jobs):
    """The Ensemble of members that are trained on `rows[i]` and judged by `held[i]`."""
    if not callable(make_trainer):
        raise TypeError(f"make_trainer: expected a function, got {type(make_trainer).__name__}")
    if jobs is not None:
        items = list(zip(range(len(rows)), rows, held))
        models, histories, scores, outputs = zip(*train_members(member_of_samples, (make_trainer, X, y, weight, fit), items, jobs))
        return _ensemble(models, list(histories), list(zip(scores, outputs)), X.shape[0], held)
    trainers = checked_trainers((make_trainer(i) for i in range(len(rows))), "make_trainer")

    def data(i):
        more = {} if weight is None else {"sample_weight": weight[rows[i]]}
        return {"X": X[rows[i]], "y": y[rows[i]], **more}

    def judged(i):
        if not len(held[i]):
            return {}, None
        return trainers[i].evaluate(X[held[i]], y[held[i]]), trainers[i].model.predict(X[held[i]])

    histories, found = fit_all(trainers, data, len(rows[0]), fit, judged)
    return _ensemble([t.model for t in trainers], histories, found, X.shape[0], held)


def _ensemble(models, histories, found, rows, held):
    """found: of each member its scores and its outputs for the rows that it has not seen."""
    result = Ensemble(models)
    result.histories, result.scores = histories, [score for score, _ in found]
    total, seen = np.zeros((rows, *models[0].out_shape)), np.zeros(rows, int)
    for where, (_, outputs) in zip(held, found):
        if outputs is not None:
            total[where] += outputs
            seen[where] += 1
    with np.errstate(invalid="ignore"):
        result.held_out = (total / seen.reshape(-1, *[1] * (total.ndim - 1))).astype(models[0].dtype)
    return result
