"""to_numpy: a model as a Python module, run and compared before it is written."""

import os

import numpy as np

from ..core.atomic_files import replacing
from .graph import TOLERANCE, difference, sample_rows, trace
from .numpy_source import evaluate, numpy_source, weights


def to_numpy(model, path) -> None:
    """Write a model as a Python module: ``predict(X)`` in a few dozen lines, without this package.

    The module imports NumPy only. Its weights are in an .npz file of the same name beside it. Before anything is written the module
    is run, and its outputs are held against `predict`.

    Parameters
    ----------
    model : Sequential
    path : str or os.PathLike
        Of the module, ending in .py.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or a layer emits operations of its own.
    RuntimeError
        If the module computes something else than the model.
    OSError
        If a file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> model = nn.Sequential(nn.Dense(4, 8, activation="relu"), nn.Dense(8, 3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fastnn.io.to_numpy(model, os.path.join(folder, "served.py"))
    ...     sorted(os.listdir(folder))
    ['served.npz', 'served.py']
    """
    name = os.fsdecode(path)
    if not name.endswith(".py"):
        raise ValueError(f"path: expected a name that ends in .py, got {name!r:.200}")
    graph = trace(model, "a NumPy module")
    dtype = model.dtype
    arrays = weights(graph)
    beside = name[:-3] + ".npz"
    source = numpy_source(graph, dtype, os.path.basename(beside))
    X = sample_rows(graph)
    worst = difference(evaluate(source, arrays, X), model.predict(X))
    if not worst <= TOLERANCE:
        raise RuntimeError(
            f"to_numpy: the module's outputs differ from the model's by {worst:.3g} of the largest; nothing was written"
        )
    with replacing(beside) as file:
        np.savez(file, **arrays)
    with replacing(name) as file:
        file.write(source.encode())
