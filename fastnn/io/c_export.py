"""to_c: a model as one C file, compiled and tried before it is written."""

import ctypes
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from typing import NamedTuple

import numpy as np

from ..core.atomic_files import replacing
from .c_source import c_file
from .graph import TOLERANCE, difference, sample_rows, trace
from .numpy_source import evaluate, numpy_source
from .numpy_source import weights as numpy_weights

_FLAGS = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror"]


class CFile(NamedTuple):
    """What `to_c` has written.

    Attributes
    ----------
    path : str
    nbytes : int
        Of the C file.
    buffer_bytes : int
        What predict takes of the stack.
    error : float
        The largest difference of its outputs from the model's, relative to the largest output, or to 1 where that is less, over
        the rows that it was tried with: of the compiled file, or without a compiler of the same arithmetic in NumPy.
    compiler : str or None
        With which it was compiled and tried.
    """

    path: str
    nbytes: int
    buffer_bytes: int
    error: float
    compiler: str


def _quantized(graph):
    """{Array: (int8 codes, scale of each output)} of products' weights: each output's largest is 127."""
    found = {}
    for n in graph.nodes:
        if n.kind in ("dense", "conv2d", "conv_transpose2d") and n.arrays["w"] not in found:
            w = n.arrays["w"].data.astype(np.float64)
            scale = np.abs(w.reshape(-1, w.shape[-1])).max(axis=0) / 127
            if not np.isfinite(scale).all():
                raise ValueError(f"model: {n.arrays['w'].name}: expected finite weights for int8, got others")
            codes = np.rint(w / np.where(scale > 0, scale, 1)).astype(np.int8)
            found[n.arrays["w"]] = codes, scale.astype(np.float32)
    return found


def _sample(model, graph, sample):
    """Rows to try the file with, in the layout that it takes."""
    if sample is None:
        return sample_rows(graph)
    X = np.ascontiguousarray(model.rows(sample, "sample"), np.float32)
    return X.reshape(len(X), *graph.given.shape)


def _compiler():
    """The command of a C compiler, or None."""
    for command in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        words = shlex.split(command)
        if words and shutil.which(words[0]):
            return words
    return None


def _compiled(command, text, name, X, shape, blob):
    """The outputs of the compiled file for the rows of X."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = os.path.join(folder, "model.c"), os.path.join(folder, "model.so")
        with open(source, "w", encoding="utf-8") as file:
            file.write(text)
        done = subprocess.run([*command, *_FLAGS, "-shared", "-fPIC", source, "-o", library, "-lm"], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"to_c: {command[0]} does not compile the file; nothing was written: {done.stderr[:2000]}")
        loaded = ctypes.CDLL(library)
        held = None
        if blob is not None:
            held = ctypes.create_string_buffer(blob, len(blob))
            getattr(loaded, f"{name}_load")(held)
        pointer = ctypes.POINTER(ctypes.c_float if X.dtype == np.float32 else ctypes.c_double)
        y = np.empty((len(X), *shape), X.dtype)
        for row, out in zip(np.ascontiguousarray(X), y):
            getattr(loaded, name)(row.ctypes.data_as(pointer), out.ctypes.data_as(pointer))
        return y


def to_c(model, path, weights="float32", blob=False, name="predict", sample=None, check=True) -> CFile:
    """Write a model as one C99 file, which compiles as C++ too: ``void predict(const float *x, float *y)`` for one row.

    The file needs nothing but libm, allocates nothing and keeps nothing between calls. Where there is a C compiler (``$CC``, cc,
    gcc or clang), it is compiled before it is written, with ``-Wall -Wextra -Werror``, and its outputs are held against `predict`.

    Parameters
    ----------
    model : Sequential
    path : str or os.PathLike
    weights : {"float32", "float64", "int8"}, default "float32"
        float64: all in double, ``void predict(const double *x, double *y)``; a float64 model is rounded to float32 otherwise.
        int8: each weight matrix as integers from -127 to 127, and a scale for each of its columns; biases and what is computed stay
        float32. The file is a third or less in size. How far its outputs are off is stated in it, and in what is returned.
    blob : bool, default False
        Whether the weights are in a file of their own, in place of constants, which compilers take long for where they are many
        millions: the path with .bin at its end, in the byte order of this machine. Its contents go to ``predict_load`` first.
    name : str, default "predict"
        Of the function; those for several models in one program need one each.
    sample : array_like [rows, in_features], optional
        Rows to try the file with; normal numbers by default. Give rows of your data for an error that means something to you.
    check : bool, default True
        Whether to compile it.

    Returns
    -------
    CFile
        (path, nbytes, buffer_bytes, error, compiler)

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or a layer emits operations of its own.
    RuntimeError
        If the compiler refuses the file, or it computes something else than the model. Nothing is written then.
    OSError
        If a file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> model = nn.Sequential(nn.Dense(4, 8, activation="relu"), nn.Dense(8, 3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = fastnn.io.to_c(model, os.path.join(folder, "model.c"))
    >>> written.error < 1e-5
    True
    """
    if weights not in ("float32", "float64", "int8"):
        raise ValueError(f"weights: expected 'float32', 'float64' or 'int8', got {weights!r:.60}")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
        raise ValueError(f"name: expected a name of C, got {name!r:.60}")
    path = os.fsdecode(path)
    graph = trace(model, "C")
    real = "double" if weights == "float64" else "float"
    X = _sample(model, graph, sample).astype(np.float64 if real == "double" else np.float32)
    expected = model.predict(X)
    quantized = _quantized(graph) if weights == "int8" else {}
    command = _compiler() if check else None
    beside = os.path.splitext(path)[0] + ".bin" if blob else None

    arrays = numpy_weights(graph) | {a.name: codes * scale for a, (codes, scale) in quantized.items()}
    found = evaluate(numpy_source(graph, "float64" if real == "double" else "float32", ""), arrays, X)
    if quantized:
        expected, exact = found, expected  # the compiled file must compute what the integers say
        error = difference(found, exact)
    else:
        error, exact = difference(found, expected), expected
    stated = f"\n * Over {len(X)} rows its outputs were within {max(error, 1e-6):.2g} of the model's, relative to the largest."
    source, data, buffers = c_file(
        graph, model.num_parameters(), name, real, quantized, beside and os.path.basename(beside), stated
    )
    if command is not None:
        found = _compiled(command, source, name, X, model.out_shape, data)
        worst, error = difference(found, expected), difference(found, exact)
        if not worst <= TOLERANCE:
            raise RuntimeError(f"to_c: the compiled file's outputs are off by {worst:.3g} of the largest; nothing was written")
    if data is not None:
        with replacing(beside) as file:
            file.write(data)
    encoded = source.encode()
    with replacing(path) as file:
        file.write(encoded)
    return CFile(path, len(encoded), buffers, error, None if command is None else " ".join(command))
