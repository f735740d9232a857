"""Ensemble: models that answer together, and their file."""

import os
from typing import Any

import numpy as np

from ..core import safetensors
from ..core.heads import HEADS
from ..nn import Sequential
from ..nn.serialization import pack, unpack

FORMAT, VERSION = "fastnn-ensemble", "1"


class Ensemble:
    """Models that answer together: outputs and probabilities are the means of theirs.

    Parameters
    ----------
    models : list of nn.Sequential
        At least one, all with inputs and outputs of one shape, and trained on losses of one kind.

    Attributes
    ----------
    models : list of nn.Sequential
    histories : list of History
        Of the members' trainings, where `bagging` or `kfold` has made it; else empty.
    scores : list of dict
        Of each member what `Trainer.evaluate` says of the rows that it was not trained on; likewise.
    held_out : numpy.ndarray or None
        [rows, outputs] of the models' dtype: for each row of the data the mean outputs of the members that were not trained on it, NaN
        where all were; likewise.

    Raises
    ------
    TypeError, ValueError
        If the members do not fit together.

    Examples
    --------
    >>> from fastnn import ensemble
    >>> models = [nn.Sequential(nn.Dense(4, 3)) for _ in range(2)]
    >>> both = ensemble.Ensemble(models)
    >>> x = np.ones((2, 4))
    >>> bool(np.allclose(both.predict(x), (models[0].predict(x) + models[1].predict(x)) / 2))
    True
    >>> both.predict_classes(x).shape
    (2,)
    """

    def __init__(self, models) -> None:
        if isinstance(models, Sequential) or not hasattr(models, "__iter__"):
            hint = "; write .models behind it" if hasattr(models, "models") else ""
            raise TypeError(f"models: expected a list of models, got {type(models).__name__}{hint}")
        self.models = list(models)
        if not self.models:
            raise ValueError("models: expected at least one, got none")
        for i, model in enumerate(self.models):
            if not isinstance(model, Sequential):
                raise TypeError(f"models[{i}]: expected a fastnn.nn.Sequential, got {type(model).__name__}")
            model.check_settled()
            first = self.models[0]
            for what in ("in_shape", "out_shape"):
                mine, others = getattr(model, what), getattr(first, what)
                if mine != others:
                    raise ValueError(f"models[{i}]: expected one of {what} {others}, as models[0] has, got {mine}")
            if model.head != first.head:
                mine, others = (f"of answers of the kind {h!r}" if h else "without a Trainer" for h in (model.head, first.head))
                raise ValueError(f"models[{i}]: expected one {others}, as models[0] is, got one {mine}")
        self.histories, self.scores = [], []
        self.held_out: Any = None

    def __len__(self) -> int:
        return len(self.models)

    def __repr__(self):
        return f"<Ensemble of {len(self)} models>"

    def _mean(self, each):
        total = np.zeros(0)
        for i, model in enumerate(self.models):
            found = each(model)
            total = found.astype(np.float64) if i == 0 else total + found
        return (total / len(self.models)).astype(np.result_type(*[m.dtype for m in self.models]))

    def predict(self, X, batch_size=None) -> np.ndarray:
        """The mean of the models' outputs, [rows, out_features] of their widest dtype; parameters and errors as `Sequential.predict`."""
        return self._mean(lambda model: model.predict(X, batch_size))

    def predict_proba(self, X, batch_size=None) -> np.ndarray:
        """The mean of the models' probabilities; parameters and errors as `Sequential.predict_proba`."""
        return self._mean(lambda model: model.predict_proba(X, batch_size))

    def predict_classes(self, X, batch_size=None) -> np.ndarray:
        """The classes that the mean probabilities speak for: the largest, or those above one half where a model answers yes or no.
        Where no probabilities follow from the outputs, the classes of the mean outputs, by the rule of
        `Sequential.predict_classes`."""
        model = self.models[0]
        try:
            link = model.link()
        except ValueError:
            link = None
        if link is None:  # the outputs are what there is
            if model.classes_of(np.zeros((1, model.out_features), model.dtype)) is None:
                return model.predict_classes(X, batch_size)  # which refuses
            return model.classes_of(self.predict(X, batch_size))
        p = self.predict_proba(X, batch_size)
        return HEADS[link].classes(p if link == "softmax" else p - p.dtype.type(0.5))

    def save(self, path) -> None:
        """Write all models into one file, in the format of safetensors; `load` reads it. The file appears whole or not at all.

        Parameters
        ----------
        path : str or os.PathLike

        Raises
        ------
        OSError
            If it cannot be written.

        Examples
        --------
        >>> import os, tempfile
        >>> from fastnn import ensemble
        >>> both = ensemble.Ensemble([nn.Sequential(nn.Dense(4, 3)) for _ in range(2)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "both.safetensors")
        ...     both.save(path)
        ...     again = ensemble.load(path)
        >>> bool((again.predict(np.ones((1, 4))) == both.predict(np.ones((1, 4)))).all())
        True
        """
        tensors, members = pack(self.models)
        safetensors.write(path, tensors, {"format": FORMAT, "version": VERSION, "members": members})


def load(path, layers=()) -> Ensemble:
    """Read an ensemble that `Ensemble.save` wrote.

    Parameters
    ----------
    path : str or os.PathLike
    layers : sequence of classes, optional
        Layer classes of your own that the file may name.

    Returns
    -------
    Ensemble

    Raises
    ------
    ValueError
        If the file is no ensemble of this package, is truncated or from a newer version, or its header does not agree with its
        contents.
    OSError
        If it cannot be read.
    """
    name = os.fsdecode(path)
    with open(name, "rb") as file:
        data = file.read()
    try:
        tensors, metadata = safetensors.parse(data)
        if metadata.get("format") != FORMAT:
            raise ValueError(f"a file of format {metadata.get('format')!r:.40}")
        if metadata.get("version") != VERSION:
            raise ValueError(f"format version {metadata.get('version')!r:.40}, while this fastnn reads {VERSION}")
        return Ensemble(unpack(metadata.get("members", ""), tensors, layers))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name!r}: expected an ensemble's file of fastnn, got {error}") from error
