"""`value_and_grad`, and the plans of a loss that a model's own calls make."""

from typing import Any

import numpy as np

from ..core.runtime import get_num_threads
from ..executors import NativeExecutor
from ..init import check_seed
from ..losses.base import check_loss
from ..plan import Builder
from ..plan.execution_order import choose_schedule
from ..regularizers import check_penalty, emit_penalties
from .arrays import ArrayData
from .checks import check_batch, check_end, check_model


def value_and_grad(model, loss, x, y, sample_weight=None, *, training=True, seed=0, step=0,
                   penalty=None) -> tuple[float, list[Any]]:
    """The loss on a batch and its gradients, for SciPy's minimisers or an optimizer of one's own.

    A function of its arguments: it changes nothing, running statistics included, and draws the same random numbers for the
    same seed and step.

    Parameters
    ----------
    model : nn.Sequential
    loss : losses.Loss
    x, y : array_like
        The batch and its targets.
    sample_weight : array_like [rows], optional
        Each at least 0.
    training : bool, default True
        Layers do what they do in training: statistics of the batch, dropout, noise. Else a model with batch normalisation
        is refused, since its gradient in inference mode is not offered, and dropout and noise are left out.
    seed, step : int, default 0
        What dropout and noise are drawn from, as by a Trainer with that seed in that step.
    penalty : regularizers.Penalty, optional
        As for `Trainer`.

    Returns
    -------
    loss : float
    gradients : list of numpy.ndarray
        New arrays of the model's dtype, in the order of ``model.parameters()``; None for one that is frozen.

    Raises
    ------
    TypeError, ValueError
        If the batch does not fit.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(4, 3))
    >>> loss, (dw, db) = fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), np.ones((2, 4)), [0, 2])
    >>> dw.shape, db.shape
    ((4, 3), (3,))
    """
    check_model(model)
    check_end(model, check_loss(loss))
    pair = ArrayData(model, loss, x, y, ("x", "y", "sample_weight"), sample_weight)
    seed, step = check_seed(seed), check_seed(step, "step")
    if training:
        check_batch(model, len(pair.X), "x")
    elif model.least_rows > 1:
        raise ValueError("training: expected True for a model with batch normalisation, got False")
    frozen = tuple(p.frozen for _, p in (*model.named_parameters(), *model.named_buffers()))
    setting = (bool(training), check_penalty(penalty), frozen)
    key = ("gradient", len(pair.X), pair.kind, pair.weighted, *loss.key(), *setting)
    executor = model.acquire(key, lambda: NativeExecutor(gradient_plan(model, loss, pair, training=training, penalty=penalty)))
    try:
        executor.set_random(seed, step)
        losses = np.zeros(1)
        result = executor.run(pair.X, pair.y, losses=losses, weights=pair.weight)
        if result.problem:
            pair.refuse(result.problem)
        names = {id(p): g.name for p, g in executor.plan.gradients}
        found = [names.get(id(p)) for p in model.parameters()]
        return float(losses[0]), [None if name is None else executor.array(name).copy() for name in found]
    finally:
        model.release(key, executor)


def gradient_plan(model, loss, pair, fused=True, training=True, penalty=None, parameters=None):
    """The plan of the loss of all rows and its gradients, for these parameters (by default, all)."""
    builder = Builder(len(pair.X), fused, training, dtype=model.dtype)
    builder.train(model.parameters() if parameters is None else parameters)
    outputs = model.emit_whole(builder)
    loss.emit(builder, outputs, pair.kind, pair.weighted)
    emit_penalties(builder, model, penalty)
    builder.differentiate()
    return builder.build(choose_schedule(model.parameters(), len(pair.X), get_num_threads()))


def loss_plan(model, loss, pair, training=True, penalty=None):
    """The plan of the same loss without gradients."""
    builder = Builder(len(pair.X), training=training, dtype=model.dtype)
    builder.changing = {id(p) for p in model.parameters() if not p.frozen}
    loss.emit(builder, model.emit_whole(builder), pair.kind, pair.weighted)
    emit_penalties(builder, model, penalty)
    return builder.build()
