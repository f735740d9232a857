"""Members that are trained in other processes, by joblib: what they have in common is sent once, and what comes back are models."""

from ..core.jobs import Jobs
from ..init import manual_seed
from ..nn import Sequential
from ..training import Trainer
from .side_by_side import checked_trainers, member_callbacks


def train_members(function, common, items, jobs):
    """What ``function(common, item)`` returns for each item, a member's training."""
    with Jobs(function, common, jobs) as run:
        found = run(items)
    for i, done in enumerate(found):
        if done.error is not None:
            raise RuntimeError(f"member {i}: {done.error}, in {done.tries} tries")
    return [done.result for done in found]


def made(make_model, loss, make_optimizer, setting, seed):
    """The Trainer of a member of `train_many`."""
    manual_seed(seed)
    model = make_model()
    if not isinstance(model, Sequential):
        raise TypeError(f"make_model: expected it to return a fastnn.nn.Sequential, got {type(model).__name__}")
    return Trainer(model, loss, make_optimizer(model.parameters(), setting), seed=seed)


def _fit(trainer, i, data, fit):
    """The history, which has been asked for its fingerprint, since it goes to another process without the model."""
    callbacks = member_callbacks(fit.get("callbacks"), i)
    history = trainer.fit(**{"verbose": 0, "batch_size": 32, **fit, **data, "callbacks": callbacks})
    history.fingerprint()
    return history


def member_of_many(common, item):
    """(state, head, history) of one of `train_many`."""
    make_model, loss, make_optimizer, X, y, fit = common
    i, setting, seed = item
    trainer = made(make_model, loss, make_optimizer, setting, seed)
    history = _fit(trainer, i, {"X": X, "y": y}, fit)
    return {**trainer.state_dict(), "callbacks": []}, trainer.model.head, history


def member_of_samples(common, item):
    """(model, history, scores, outputs) of one that is trained on some rows and judged by others."""
    make_trainer, X, y, weight, fit = common
    i, rows, held = item
    (trainer,) = checked_trainers([make_trainer(i)], "make_trainer")
    more = {} if weight is None else {"sample_weight": weight[rows]}
    history = _fit(trainer, i, {"X": X[rows], "y": y[rows], **more}, fit)
    if not len(held):
        return trainer.model, history, {}, None
    return trainer.model, history, trainer.evaluate(X[held], y[held]), trainer.model.predict(X[held])
