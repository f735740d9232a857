"""Embeddings of categories: Embedding, one table for codes of one kind, and TabularEmbedding, a table for each column."""

import math
from typing import Any

import numpy as np

from .. import _native
from .. import init as initialisers
from ..core.checks import check_size
from ..core.dtypes import get_default_dtype
from ..core.parameter import Parameter
from .layer import Layer, register

_MOST = 2**24  # rows of a table: numbers that float32, as which the codes are read, can tell apart
_BLOCK = 65536  # rows of data that are checked at once


def _check_count(value, name):
    n = check_size(value, name)
    if n >= _MOST:
        raise ValueError(f"{name}: expected fewer than 2**24 categories, got {n}")
    return n


def _table(count, unknown, dim, init, deviation, name, sparse):
    start = initialisers.resolve(deviation if init is None else init, "identity", 0.0)
    table = Parameter(start((count + unknown, dim), get_default_dtype()), name)
    table.sparse = sparse
    return table


def check_codes(X, name, columns):
    """ValueError where X [rows, ...] has, in one of {column: how many codes there are}, what is none of its codes."""
    X = X.reshape(len(X), -1) if len(X) else X
    for begin in range(0, len(X), _BLOCK):
        block = X[begin : begin + _BLOCK]
        for column, count in columns.items():
            codes = block[:, column]
            with np.errstate(all="ignore"):
                bad = (codes < 0) | (codes >= count)
                if codes.dtype.kind == "f":
                    bad |= codes != np.floor(codes)  # NaN too
            if bad.any():
                row = int(bad.argmax())
                raise ValueError(
                    f"{name}: expected in column {column} whole numbers from 0 to {count - 1}, the codes of its categories, got "
                    f"{codes[row]} in row {begin + row}; unknown=True gives a table a row for all other codes"
                )


class _Embedding(Layer):
    """What both have in common: they read codes of the model's input."""

    reads_codes = True

    def are_codes(self, X):
        """Whether X [rows, columns], of float32 or float64, holds codes where they are read: a look at it, in native code. False where
        it can't tell."""
        return self.unknown or _native.are_codes(X, *self._where(X))

    def check_codes(self, X, name):
        """ValueError where a column of X holds what is no code of its table, unless there is a row for such."""
        if not self.are_codes(X):
            first, counts = self._where(X)
            check_codes(X, name, dict(enumerate(counts.tolist(), first)))

    @classmethod
    def from_entry(cls, arguments, inside, known):
        return cls(**{**arguments, "init": "zeros"})


@register
class Embedding(_Embedding):
    """A table of vectors, one for each code: samples of n codes become samples of [n, embedding_dim].

    Codes are whole numbers from 0 to num_embeddings - 1, of any real dtype. It stands before any layer that computes; `Input(n)` in
    front of it says how many codes a sample has. An optimizer updates all rows of the table, as PyTorch's does with ``sparse=False``:
    moments go on, and weights decay, of rows that a batch does not have too. Each element of the gradient is one sum in the order of the
    batch.

    Parameters
    ----------
    num_embeddings : int
        How many codes there are, fewer than 2^24.
    embedding_dim : int
        Numbers of a vector.
    unknown : bool, default False
        Whether the table has one more row, the last, for whatever is no code: other numbers, fractions, NaN. Else such data are
        refused.
    init : str, fastnn.init initialiser or float, optional
        By default a Gaussian of deviation 1, as in PyTorch.
    sparse : bool, default False
        Whether a step of a `Trainer` updates those rows alone that occur in its batch: their weights, moments and averages; all others stay
        as they are. Counts of steps are the optimizer's, for all rows, so that ``Adam(epsilon_hat=True)`` is ``torch.optim.SparseAdam``.
        For large tables, where it saves most of the memory traffic. Not with optimizers that work on whole arrays (LAMB, Adafactor, Muon,
        ScheduleFreeAdamW, L-BFGS), `max_norm`, a penalty on the table, or gradients that are accumulated: these are refused.

    Attributes
    ----------
    weight : Parameter [num_embeddings, embedding_dim], or one row more

    Raises
    ------
    TypeError, ValueError
        If a size is no positive integer or too large. Calls of the model refuse data that are no codes: the message names the
        column, the row and the value.

    Examples
    --------
    >>> model = nn.Sequential(nn.Input(3), nn.Embedding(10, 4), nn.Flatten(), nn.Dense(None, 2))
    >>> model.predict([[0, 9, 5], [1, 1, 1]]).shape
    (2, 2)
    >>> model.predict([[0, 9, 10]])
    Traceback (most recent call last):
    ValueError: X: expected in column 2 whole numbers from 0 to 9, the codes of its categories, got 10 in row 0; unknown=True gives \
a table a row for all other codes
    """

    needs_shape = True

    def __init__(self, num_embeddings, embedding_dim, unknown=False, init=None, sparse=False) -> None:
        self.num_embeddings = _check_count(num_embeddings, "num_embeddings")
        self.embedding_dim, self.unknown = check_size(embedding_dim, "embedding_dim"), bool(unknown)
        self.weight = _table(self.num_embeddings, self.unknown, self.embedding_dim, init, 1.0, "weight", bool(sparse))

    def config(self):
        sparse = {"sparse": True} if self.weight.sparse else {}
        return {"num_embeddings": self.num_embeddings, "embedding_dim": self.embedding_dim, "unknown": self.unknown, **sparse}

    @classmethod
    def tensor_shapes(cls, entry):
        count = entry.get("num_embeddings")
        return {"weight": (count + bool(entry.get("unknown")) if isinstance(count, int) else None, entry.get("embedding_dim"))}

    def output_shape(self, shape):
        if len(shape) != 1:
            raise ValueError(f"{self!r}: expected samples of codes, (n,), got shape {shape}")
        return (*shape, self.embedding_dim)

    def _where(self, X):
        return 0, np.full(math.prod(X.shape[1:]), self.num_embeddings, np.int64)

    def emit(self, builder, x):
        return builder.embedding(x, [(self.weight, x.columns)], self.output_shape(x.shape), self.unknown)


@register
class TabularEmbedding(_Embedding):
    """Tables with categories: a row of numbers and codes becomes the numbers, and behind them a vector for each code.

    The first columns of the data are `continuous` numbers, the others codes of categories, whole numbers from 0 to the column's
    cardinality - 1. First in a model, or behind `Input`. Gradients are as in `Embedding`.

    Parameters
    ----------
    continuous : int
        Columns of numbers, at least 0.
    cardinalities : sequence of int
        How many categories each of the columns behind them has, fewer than 2^24.
    dim : int or sequence of int, optional
        Numbers of a vector, for all columns or for each. By default min(600, round(1.6 n^0.56)) for a column of n categories.
    unknown : bool, default False
        Whether each table has one more row, the last, for whatever is no code: other numbers, fractions, NaN. Else such data are
        refused.
    init : str, fastnn.init initialiser or float, optional
        By default a Gaussian of deviation 1 / √dim: a vector's length is about 1.
    sparse : bool or sequence of bool, default False
        For all tables or for each: as in `Embedding`.

    Attributes
    ----------
    weight_0, weight_1, ... : Parameter [cardinality, dim], or one row more
        The tables, in the order of the columns.

    Raises
    ------
    TypeError, ValueError
        As `Embedding`; also if there is no column of categories, or `dim` has not one number for each.

    Examples
    --------
    >>> layer = nn.TabularEmbedding(continuous=2, cardinalities=(3, 50))
    >>> layer.dim, [p.shape for p in layer.parameters()]
    ((3, 14), [(3, 3), (50, 14)])
    >>> model = nn.Sequential(layer, nn.Dense(None, 1))
    >>> model.predict([[0.5, -1.0, 2, 49]]).shape
    (1, 1)
    """

    def __init__(self, continuous, cardinalities, dim=None, unknown=False, init=None, sparse: Any = False) -> None:
        self.continuous = check_size(continuous, "continuous") if continuous else 0
        try:
            counts = tuple(cardinalities)
        except TypeError:
            raise TypeError(f"cardinalities: expected a sequence of integers, got {cardinalities!r}") from None
        if not counts:
            raise ValueError("cardinalities: expected at least one column of categories, got none")
        self.cardinalities = tuple(_check_count(n, f"cardinalities[{i}]") for i, n in enumerate(counts))
        if dim is None:
            dim = [min(600, round(1.6 * n**0.56)) for n in self.cardinalities]
        dims = tuple(dim) if isinstance(dim, (list, tuple)) else (dim,) * len(counts)
        if len(dims) != len(counts):
            raise ValueError(f"dim: expected an integer or {len(counts)} of them, one for each column of codes, got {len(dims)}")
        self.dim = tuple(check_size(d, f"dim[{i}]" if isinstance(dim, (list, tuple)) else "dim") for i, d in enumerate(dims))
        lazy = tuple(map(bool, sparse)) if isinstance(sparse, (list, tuple)) else (bool(sparse),) * len(counts)
        if len(lazy) != len(counts):
            raise ValueError(f"sparse: expected True, False or {len(counts)} of them, one for each column of codes, got {len(lazy)}")
        self.unknown = bool(unknown)
        self.in_features = self.continuous + len(counts)
        for i, (n, d, s) in enumerate(zip(self.cardinalities, self.dim, lazy)):
            setattr(self, f"weight_{i}", _table(n, self.unknown, d, init, d**-0.5, f"weight_{i}", s))

    def config(self):
        sizes = {"cardinalities": list(self.cardinalities), "dim": list(self.dim)}
        lazy = [getattr(self, f"weight_{i}").sparse for i in range(len(self.dim))]
        return {"continuous": self.continuous, **sizes, "unknown": self.unknown, **({"sparse": lazy} if any(lazy) else {})}

    @classmethod
    def tensor_shapes(cls, entry):
        counts, dims = entry.get("cardinalities"), entry.get("dim")
        if not (isinstance(counts, list) and isinstance(dims, list)) or len(counts) != len(dims):
            raise ValueError("cardinalities, dim: expected two lists, one number in each for each column of categories")
        known = [n + bool(entry.get("unknown")) if isinstance(n, int) else None for n in counts]
        return {f"weight_{i}": (n, d) for i, (n, d) in enumerate(zip(known, dims))}

    def output_shape(self, shape):
        if shape != (self.in_features,):
            numbers, codes = self.continuous, len(self.cardinalities)
            raise ValueError(f"{self!r}: expected {numbers + codes} input features, {numbers} numbers and {codes} codes, got shape {shape}")
        return (self.continuous + sum(self.dim),)

    def _where(self, X):
        return self.continuous, np.array(self.cardinalities, np.int64)

    def emit(self, builder, x):
        tables = [(getattr(self, f"weight_{i}"), 1) for i in range(len(self.cardinalities))]
        numbers = [(None, self.continuous)] if self.continuous else []
        return builder.embedding(x, [*numbers, *tables], self.output_shape(x.shape), self.unknown)
