"""Layers for columns of numbers, as tables have them: Scale, a factor for each column; PiecewiseLinear and PBLD, codes of several
numbers for each, by bins that are given and by waves that are learned."""

from typing import Any

import numpy as np

from .. import init as initialisers
from ..core.checks import check_size, number
from ..core.dtypes import get_default_dtype
from ..core.parameter import Parameter
from .layer import Layer, register


@register
class Scale(Layer):
    """A learned factor for each column: y = x · weight.

    In front of a network it learns how much each input counts, at a rate of its own (the parameters of a layer can be a group of
    the optimizer). D. Holzmüller, L. Grinsztajn and I. Steinwart, "Better by default: strong pre-tuned MLPs and boosted trees on
    tabular data", 2024.

    Parameters
    ----------
    features : int or None
        Columns of its input; None behind layers that tell.
    init : float, default 1.0
        Where the factors start.

    Attributes
    ----------
    weight : Parameter [features]

    Raises
    ------
    TypeError, ValueError
        If features is no positive integer.

    Examples
    --------
    >>> scale = nn.Scale(3)
    >>> scale.weight.data = [1.0, 10.0, 0.5]
    >>> nn.Sequential(scale).predict([[1.0, 2.0, 3.0]])
    array([[ 1. , 20. ,  1.5]], dtype=float32)
    """

    def __init__(self, features, init: Any = 1.0) -> None:
        self.in_features = self.features = None if features is None else check_size(features, "features")
        self._init = float(init)
        self.weight: Any = None
        if features is not None:
            self.weight = Parameter(np.full(features, self._init), "weight")

    @property
    def needs_shape(self):
        return self.weight is None

    def settle(self, shape):
        if self.weight is None:
            vars(self).update(in_features=shape[0], features=shape[0], weight=Parameter(np.full(shape[0], self._init), "weight"))

    def config(self):
        return {"features": self.features}

    @classmethod
    def tensor_shapes(cls, entry):
        return {"weight": (entry.get("features"),)}

    def scale_and_shift(self):
        return self.weight.data.astype(np.float64), np.zeros(self.features)

    def emit(self, builder, x):
        return builder.scale(x, self.weight)

    def output_shape(self, shape):
        self.check_features(shape)
        return shape


@register
class PiecewiseLinear(Layer):
    """Columns of numbers in a code of bins: element t of a column's code says how far x is through bin t.

        z_t = -1 below the bin [b_t, b_{t+1}], 1 above it, and linear in x between;  T bins make T numbers of each column

    A linear layer behind it is a piecewise linear function of each column; the edges of the bins are given, and not trained. Y.
    Gorishniy, I. Rubachev and A. Babenko, "On embeddings for numerical features in tabular deep learning", 2022, who have 0 and 1
    in place of -1 and 1. Columns should be scaled before, so that x / (b_{t+1} - b_t) is not too large for float32.

    Parameters
    ----------
    edges : sequence of sequences of float
        For each column the edges of its bins, at least two, rising; quantiles of the data, for example.

    Raises
    ------
    TypeError, ValueError
        If they are no rising finite numbers.

    Examples
    --------
    >>> code = nn.PiecewiseLinear([[0, 1, 3], [0, 10]])
    >>> nn.Sequential(code).predict([[0.5, 20.0], [2.0, 5.0]]).round(6)
    array([[ 0., -1.,  1.],
           [ 1.,  0.,  0.]], dtype=float32)
    """

    def __init__(self, edges) -> None:
        self.edges = tuple(self._check(e, i) for i, e in enumerate(edges))
        if not self.edges:
            raise ValueError("edges: expected those of at least one column, got none")
        self.in_features = len(self.edges)

    @staticmethod
    def _check(edges, i):
        try:
            array = np.asarray(edges, np.float64)
        except (TypeError, ValueError):
            raise TypeError(f"edges[{i}]: expected a sequence of numbers, got {edges!r:.60}") from None
        if array.ndim != 1 or len(array) < 2 or not np.isfinite(array).all() or not (np.diff(array) > 0).all():
            raise ValueError(f"edges[{i}]: expected at least two finite numbers that rise, got {edges!r:.60}")
        return tuple(array.tolist())

    def config(self):
        return {"edges": [list(e) for e in self.edges]}

    def emit(self, builder, x):
        weight = np.zeros((self.in_features, sum(len(e) - 1 for e in self.edges)))
        bias, first = np.zeros(weight.shape[1]), 0
        for column, edges in enumerate(self.edges):
            low, high = np.array(edges[:-1]), np.array(edges[1:])
            places = slice(first, first + len(low))
            weight[column, places] = 2 / (high - low)
            bias[places] = -(high + low) / (high - low)
            first += len(low)
        return builder.fixed_dense(x, weight, bias, "hard_tanh")

    def output_shape(self, shape):
        self.check_features(shape)
        return (sum(len(e) - 1 for e in self.edges),)


@register
class PBLD(Layer):
    """Periodic embeddings of numbers ("periodic bias linear DenseNet"): a column becomes itself and linear functions of its waves.

        [x, z_1, ..., z_(dim-1)],  z_d = bias_d + Σ_f weight_df cos(2π frequency_f x + phase_f)

    with weights of its own for each column. Behind it a network sees how a number lies within periods that it learns, and bends
    sharply where one of a table's columns does. D. Holzmüller, L. Grinsztajn and I. Steinwart, "Better by default: strong
    pre-tuned MLPs and boosted trees on tabular data", 2024, after Y. Gorishniy, I. Rubachev and A. Babenko, "On embeddings for
    numerical features in tabular deep learning", 2022. Columns should be scaled before.

    All columns stand in front of what comes out, in their order; behind them the z of the first, of the second, and so on.

    Parameters
    ----------
    features : int
        Columns of its input.
    frequencies : int, default 16
        Waves of a column.
    dim : int, default 4
        Numbers that a column becomes, itself among them; at least 2.
    sigma : float, default 0.1
        Deviation of the frequencies that training starts from, above 0. The phases start uniform in [-π, π], weights and biases
        uniform within ±1/√frequencies.
    embedded : int, optional
        So many columns, the first, are embedded, and the others passed on as they are; by default all.

    Attributes
    ----------
    frequency, phase : Parameter [embedded, frequencies]
    weight : Parameter [embedded, dim - 1, frequencies]
    bias : Parameter [embedded, dim - 1]

    Raises
    ------
    TypeError, ValueError
        If a size is no integer of that range, or sigma no number above 0.

    Examples
    --------
    >>> layer = nn.PBLD(3)
    >>> nn.Sequential(layer).predict(np.zeros((2, 3))).shape
    (2, 12)
    >>> layer = nn.PBLD(1, frequencies=1, dim=2)
    >>> layer.frequency.data, layer.phase.data, layer.weight.data, layer.bias.data = [[0.25]], [[0.0]], [[[10.0]]], [[0.0]]
    >>> nn.Sequential(layer).predict([[0.0], [1.0], [2.0]]).round(4).tolist()
    [[0.0, 10.0], [1.0, 0.0], [2.0, -10.0]]
    """

    def __init__(self, features, frequencies=16, dim=4, sigma: Any = 0.1, embedded=None) -> None:
        self.features = self.in_features = check_size(features, "features")
        self.frequencies, self.dim = check_size(frequencies, "frequencies"), check_size(dim, "dim", 2)
        self.embedded = self.features if embedded is None else check_size(embedded, "embedded")
        if self.embedded > self.features:
            raise ValueError(f"embedded: expected at most {self.features}, the features, got {embedded}")
        sigma = number(sigma, "sigma")
        if not sigma > 0:
            raise ValueError(f"sigma: expected a number > 0, got {sigma}")
        self.out_features = self.features + self.embedded * (self.dim - 1)
        bound = 1 / np.sqrt(self.frequencies)
        shapes = self._shapes(self.embedded, self.frequencies, self.dim)
        for name, start in {
            "frequency": initialisers.normal(sigma),
            "phase": initialisers.uniform(-np.pi, np.pi),
            "weight": initialisers.uniform(-bound, bound),
            "bias": initialisers.uniform(-bound, bound),
        }.items():
            setattr(self, name, Parameter(start(shapes[name], get_default_dtype()), name))

    @staticmethod
    def _shapes(embedded, frequencies, dim):
        waves = (embedded, frequencies)
        return {"frequency": waves, "phase": waves, "weight": (embedded, dim - 1, frequencies), "bias": (embedded, dim - 1)}

    def config(self):
        return {"features": self.features, "frequencies": self.frequencies, "dim": self.dim, "embedded": self.embedded}

    @classmethod
    def tensor_shapes(cls, entry):
        sizes = [entry.get(name) for name in ("embedded", "frequencies", "dim")]
        return cls._shapes(*sizes) if all(type(n) is int for n in sizes) else dict.fromkeys(cls._shapes(1, 1, 2), ())

    def emit(self, builder, x):
        return builder.pbld(x, self.frequency, self.phase, self.weight, self.bias)

    def output_shape(self, shape):
        self.check_features(shape)
        return (self.out_features,)
