"""Checks of models, batches and settings that training functions have in common."""

import operator
import warnings

import numpy as np

from ..nn import Sequential, last_activation


def count(value, name, least):
    try:
        n = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if n < least:
        raise ValueError(f"{name}: expected an integer >= {least}, got {n}")
    return n


def watched(plateau, names):
    """Which of an epoch's numbers, those of these names, a `schedules.ReduceOnPlateau` watches."""
    name = plateau.monitor or ("val_loss" if "val_loss" in names else "loss")
    if name not in names:
        raise ValueError(f"monitor: expected one of {list(names)} in this fit, got {name!r} in {plateau!r}")
    return name


def by_rows(a, name):
    """An array, or a sparse matrix, of which rows can be taken by their numbers."""
    found = a.tocsr() if callable(getattr(a, "tocsr", None)) else np.asarray(a)
    if found.ndim == 0:
        raise ValueError(f"{name}: expected an array of rows, got {type(a).__name__}")
    return found


def check_model(model):
    if not isinstance(model, Sequential):
        raise TypeError(f"model: expected a fastnn.nn.Sequential, got {type(model).__name__}")
    model.check_settled()
    return model


def check_end(model, loss):
    """ValueError where the loss cannot have outputs such as the model's."""
    loss.check_outputs(model.out_features, last_activation(model.layers))


def warn_not_finite(losses, epoch, before, where=""):
    """Tell the user of `fit` that the loss is not finite any more: in which epoch, from 0, and in which of its steps, before these
    of which there were so many. No losses: all steps were skipped. Returns True."""
    bad = np.flatnonzero(~np.isfinite(losses))
    if len(bad):
        what = f"the loss became {losses[bad[0]]} in epoch {epoch + 1}, step {before + bad[0] + 1}{where and f': {where}'}"
    elif len(losses):
        what = f"the sum of the losses overflowed in epoch {epoch + 1}"
    else:
        what = f"no step of epoch {epoch + 1} was done, since none had finite gradients"
    hint = "check_finite=True looks for such data; a lower learning rate, or clip_norm, may help"
    warnings.warn(f"{what}; {hint}", RuntimeWarning, stacklevel=8)
    return True


def check_batch(model, rows, name, hint=""):
    """ValueError where a batch of so many rows is too small for one of the model's layers to be trained on."""
    if rows < model.least_rows:
        raise ValueError(
            f"{name}: expected at least {model.least_rows} rows to train on, since the model has a batch normalisation, "
            f"got {rows}{hint}"
        )
