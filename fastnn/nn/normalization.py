"""Normalisations: BatchNorm over the rows of a batch, LayerNorm and RMSNorm over the features of a row, GroupNorm over an image."""

import numpy as np

from ..core.parameter import Parameter
from ..core.checks import check_number, check_size
from .layer import Layer, register

_FLOAT32_MAX = 3.4028234663852886e38


def _check_eps(eps):
    return check_number(eps, "eps", 0, _FLOAT32_MAX, "a number >= 0, finite in float32")


@register
class BatchNorm(Layer):
    """Batch normalisation: each feature with mean 0 and variance 1 over the batch, then scaled and shifted.

        y = (x - mean) / √(var + eps) · weight + bias

    In training mean and var are those of the batch (var divided by n), and running averages of them are kept:

        running <- (1 - momentum) · running + momentum · new,    the new variance divided by n - 1

    In inference the running averages take their place. Conventions are PyTorch's, momentum and the two divisors included;
    Keras' momentum is 1 - momentum. A frozen one (`Layer.freeze`), or one of whose parameters the optimizer was given none, uses
    and keeps its running averages in training too. S. Ioffe and C. Szegedy, "Batch normalization", 2015. The layer may stand before or
    behind an activation; a dense layer before it needs no bias.

    Parameters
    ----------
    features : int
        Columns of its input, or channels of its images, whose pixels then all count.
    momentum : float or None, default 0.1
        Weight of the newest batch in the running averages, from 0 to 1. None: that of all batches is the same,

            running <- running + (new - running) / number of batches so far
    eps : float, default 1e-5
        Added to the variance; at least 0.
    affine : bool, default True
        Whether there are a weight and a bias. They start at 1 and 0.

    Attributes
    ----------
    weight, bias : Parameter [features] or None
    running_mean, running_var : Parameter [features]
        Saved with the model, not trained. They start at 0 and 1.
    num_batches_tracked : Parameter [1]
        The number of batches so far, saved too; only with ``momentum=None``.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range. A training batch of a single row is refused: it has no variance.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(4, 8, bias=False), nn.BatchNorm(8), nn.Activation("relu"), nn.Dense(8, 3))
    >>> [name for name, _ in model.named_buffers()]
    ['1.running_mean', '1.running_var']
    """

    by_channels = True

    def output_shape(self, shape):
        if shape[-1] != self.features:
            got = f"input features, got {shape[0]}" if len(shape) == 1 else f"channels, got shape {shape}"
            raise ValueError(f"{self!r}: expected {self.features} {got}")
        return shape

    @property
    def least_rows(self):
        """2, for a single row has no variance; 1 where it is frozen."""
        return 1 if all(p.frozen for p in (self.weight, self.bias) if p is not None) and self.running_mean.frozen else 2

    def __init__(self, features, momentum=0.1, eps=1e-5, affine=True) -> None:
        self.in_features = self.features = check_size(features, "features")
        self.momentum = None if momentum is None else check_number(momentum, "momentum", 0, 1, "a number from 0 to 1, or None")
        self.eps = _check_eps(eps)
        self.affine = bool(affine)
        self.weight = Parameter(np.ones(features), "weight") if affine else None
        self.bias = Parameter(np.zeros(features), "bias") if affine else None
        self.running_mean = Parameter(np.zeros(features), "running_mean", trained=False)
        self.running_var = Parameter(np.ones(features), "running_var", trained=False)
        if momentum is None:
            self.num_batches_tracked = Parameter(np.zeros(1), "num_batches_tracked", trained=False)

    def config(self):
        return {"features": self.features, "momentum": self.momentum, "eps": self.eps, "affine": self.affine}

    @classmethod
    def tensor_shapes(cls, entry):
        counter = {"num_batches_tracked": (1,)} if entry.get("momentum", 0.1) is None else {}
        return {"running_mean": (entry.get("features"),), **counter}

    def scale_and_shift(self):
        mean, var = self.running_mean.data.astype(np.float64), self.running_var.data.astype(np.float64)
        weight, bias = (p.data.astype(np.float64) if p is not None else start for p, start in ((self.weight, 1.0), (self.bias, 0.0)))
        s = weight / np.sqrt(var + self.eps)
        return s, bias - s * mean

    def emit(self, builder, x):
        count = getattr(self, "num_batches_tracked", None)
        return builder.batchnorm(x, self.weight, self.bias, self.running_mean, self.running_var, self.momentum, self.eps, count)


@register
class LayerNorm(Layer):
    """Layer normalisation: each row with mean 0 and variance 1, then scaled and shifted.

        y = (x - mean) / √(var + eps) · weight + bias,    mean and var (divided by n) over the row

    The same in training and in inference. J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", 2016.

    Parameters
    ----------
    features : int
        Columns of its input.
    eps : float, default 1e-5
        Added to the variance; at least 0.
    affine : bool, default True
        Whether there are a weight and a bias. They start at 1 and 0.

    Attributes
    ----------
    weight, bias : Parameter [features] or None

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(4, 8), nn.LayerNorm(8), nn.Activation("tanh"))
    >>> model.predict(np.ones((2, 4))).shape
    (2, 8)
    """

    def __init__(self, features, eps=1e-5, affine=True) -> None:
        self.in_features = self.features = check_size(features, "features")
        self.eps = _check_eps(eps)
        self.affine = bool(affine)
        self.weight = Parameter(np.ones(features), "weight") if affine else None
        self.bias = Parameter(np.zeros(features), "bias") if affine else None

    def config(self):
        return {"features": self.features, "eps": self.eps, "affine": self.affine}

    @classmethod
    def tensor_shapes(cls, entry):
        return {"weight": (entry.get("features"),)} if entry.get("affine", True) else {}

    def emit(self, builder, x):
        return builder.rownorm("layernorm", x, self.weight, self.bias, self.eps)


@register
class RMSNorm(Layer):
    """Root mean square normalisation: each row with mean square 1, then scaled.

        y = x / √(mean(x²) + eps) · weight

    B. Zhang and R. Sennrich, "Root mean square layer normalization", 2019. PyTorch's default eps is 1.2e-7.

    Parameters
    ----------
    features : int
        Columns of its input.
    eps : float, default 1e-5
        Added to the mean square; at least 0.
    affine : bool, default True
        Whether there is a weight. It starts at 1.

    Attributes
    ----------
    weight : Parameter [features] or None

    Examples
    --------
    >>> model = nn.Sequential(nn.RMSNorm(4), nn.Dense(4, 3))
    >>> model.predict(np.ones((2, 4))).shape
    (2, 3)
    """

    def __init__(self, features, eps=1e-5, affine=True) -> None:
        self.in_features = self.features = check_size(features, "features")
        self.eps = _check_eps(eps)
        self.affine = bool(affine)
        self.weight = Parameter(np.ones(features), "weight") if affine else None

    def config(self):
        return {"features": self.features, "eps": self.eps, "affine": self.affine}

    @classmethod
    def tensor_shapes(cls, entry):
        return {"weight": (entry.get("features"),)} if entry.get("affine", True) else {}

    def emit(self, builder, x):
        return builder.rownorm("rmsnorm", x, self.weight, None, self.eps)


@register
class GroupNorm(Layer):
    """Group normalisation: each group of channels of each image with mean 0 and variance 1, then each channel scaled and shifted.

        y = (x - mean) / √(var + eps) · weight + bias,    mean and var (divided by n) over the group's channels and all pixels

    The same in training and in inference, whatever the batch. Y. Wu and K. He, "Group normalization", 2018. One channel a group is
    instance normalization (D. Ulyanov, A. Vedaldi and V. Lempitsky, 2016), one group the layer normalization of images.

    Parameters
    ----------
    num_groups : int
        Into so many groups, of channels that stand side by side, they are cut; a divisor of num_channels.
    num_channels : int
        Channels of its images; or of sequences, or columns of vectors.
    eps : float, default 1e-5
        Added to the variance; at least 0.
    affine : bool, default True
        Whether there are a weight and a bias. They start at 1 and 0.

    Attributes
    ----------
    weight, bias : Parameter [num_channels] or None

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, or num_groups divides not num_channels.

    Examples
    --------
    >>> model = nn.Sequential(nn.Input(8, 8, 3), nn.Conv2d(None, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.GlobalAvgPool2d())
    >>> [p.shape for p in model.parameters()]
    [(3, 3, 3, 16), (16,), (16,), (16,)]
    """

    by_channels = True

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True) -> None:
        self.num_groups, self.num_channels = check_size(num_groups, "num_groups"), check_size(num_channels, "num_channels")
        if self.num_channels % self.num_groups:
            raise ValueError(f"num_groups: expected a divisor of num_channels, {self.num_channels}, got {self.num_groups}")
        self.in_features = self.num_channels
        self.eps = _check_eps(eps)
        self.affine = bool(affine)
        self.weight = Parameter(np.ones(self.num_channels), "weight") if affine else None
        self.bias = Parameter(np.zeros(self.num_channels), "bias") if affine else None

    def config(self):
        return {"num_groups": self.num_groups, "num_channels": self.num_channels, "eps": self.eps, "affine": self.affine}

    @classmethod
    def tensor_shapes(cls, entry):
        return {"weight": (entry.get("num_channels"),)} if entry.get("affine", True) else {}

    def output_shape(self, shape):
        if shape[-1] != self.num_channels:
            got = f"input features, got {shape[0]}" if len(shape) == 1 else f"channels, got shape {shape}"
            raise ValueError(f"{self!r}: expected {self.num_channels} {got}")
        return shape

    def emit(self, builder, x):
        return builder.groupnorm(x, self.num_groups, self.weight, self.bias, self.eps)
