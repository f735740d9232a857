"""Layers that change their input at random while a model trains, and do nothing in inference.

What is drawn is a function of the trainer's seed, the number of the step, the layer and the element: it does not depend on
threads or instruction sets, and training resumes exactly.
"""

from typing import Any

from .dense import Dense
from ..core.checks import check_number
from .layer import Layer, register

_FLOAT32_MAX = 3.4028234663852886e38


def _check_share(p):
    """A share: a number, or a schedule of the trainer's steps; a schedule's configuration stands for it."""
    if not callable(p) and not isinstance(p, dict):
        return check_number(p, "p", 0, 1, "a number from 0 to 1")
    from ..schedules import Schedule, from_config  # which few models need

    p = from_config(p) if isinstance(p, dict) else p
    if not isinstance(p, Schedule):
        raise TypeError(f"p: expected a number or one of fastnn.schedules, got {p!r}")
    if p.plateaus:
        raise ValueError(f"p: expected a schedule of the steps alone, got {p!r}")
    return p


def _config(p):
    return p.config() if callable(p) else p


@register
class Dropout(Layer):
    """Drops each element with probability p in training, and lets the others grow by 1 / (1 - p).

    So that expectations stay the same, and inference needs no scaling. N. Srivastava et al., "Dropout", 2014.

    Parameters
    ----------
    p : float or Schedule, default 0.5
        The share that is dropped, from 0 to 1; rounded to a multiple of 1 / 65536, which the scale takes into account. A schedule is
        one of the trainer's steps, any but `ReduceOnPlateau`; `PerEpoch` needs its `steps_per_epoch`.

    Raises
    ------
    ValueError, TypeError
        If p is out of range: of a schedule, when its turn comes.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(4, 8, activation="relu"), nn.Dropout(0.2), nn.Dense(8, 3))
    >>> model.predict(np.ones((2, 4))).shape
    (2, 3)

    From half of the elements to none, over 1000 steps:

    >>> nn.Dropout(schedules.Linear(0.5, 1.0, 0.0, total_iters=1000))
    Dropout(p=Linear(lr=0.5, start_factor=1.0, end_factor=0.0, total_iters=1000))
    """

    def __init__(self, p: Any = 0.5) -> None:
        self.p = _check_share(p)

    def config(self):
        return {"p": _config(self.p)}

    def __repr__(self):
        return f"{type(self).__name__}(p={self.p!r})"

    def emit(self, builder, x):
        return builder.dropout(x, self.p) if builder.training and self.p else x

    def for_inference(self):
        return None


@register
class Dropout2d(Dropout):
    """Drops each channel of each image as a whole with probability p in training, and lets the others grow by 1 / (1 - p).

    Neighbouring pixels are so much alike that `Dropout`, which leaves some of each neighbourhood, hardly takes anything away. J. Tompson
    et al., "Efficient object localization using convolutional networks", 2015. Also of sequences (length, channels).

    Parameters
    ----------
    p : float or Schedule, default 0.5
        As in `Dropout`.

    Raises
    ------
    ValueError, TypeError
        If p is out of range, or samples are vectors.

    Examples
    --------
    >>> model = nn.Sequential(nn.Input(8, 8, 3), nn.Conv2d(None, 16, 3, activation="relu"), nn.Dropout2d(0.2), nn.GlobalAvgPool2d())
    >>> model.predict(np.ones((2, 8, 8, 3))).shape
    (2, 16)
    """

    def emit(self, builder, x):
        return builder.dropout(x, self.p, channels=True) if builder.training and self.p else x

    def output_shape(self, shape):
        if len(shape) < 2:
            what = f"got samples of shape {shape}; for vectors write nn.Dropout"
            raise ValueError(f"{self!r}: expected images (height, width, channels), {what}")
        return shape


@register
class GaussianNoise(Layer):
    """Adds normal numbers of mean 0 and a given standard deviation in training.

    Parameters
    ----------
    std : float
        At least 0.

    Raises
    ------
    ValueError, TypeError
        If std is out of range.

    Examples
    --------
    >>> model = nn.Sequential(nn.GaussianNoise(0.1), nn.Dense(4, 3))
    >>> model.predict(np.ones((2, 4))).shape
    (2, 3)
    """

    def __init__(self, std) -> None:
        self.std = check_number(std, "std", 0, _FLOAT32_MAX, "a number >= 0, finite in float32")

    def config(self):
        return {"std": self.std}

    def emit(self, builder, x):
        return builder.gaussian_noise(x, self.std) if builder.training and self.std else x

    def for_inference(self):
        return None


@register
class DropConnect(Layer):
    """Drops each weight of a dense layer with probability p in training, and lets the others grow by 1 / (1 - p).

    One draw a step, for all rows of the batch. Biases stay. L. Wan et al., "Regularization of neural networks using
    DropConnect", 2013; there each sample has a draw of its own, and inference samples too, while here it uses the weights
    as they are, which are the expectation.

    Parameters
    ----------
    dense : Dense
        The layer whose weights are dropped.
    p : float or Schedule, default 0.5
        The share that is dropped, from 0 to 1; rounded to a multiple of 1 / 65536. A schedule as for `Dropout`.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit.

    Examples
    --------
    >>> model = nn.Sequential(nn.DropConnect(nn.Dense(4, 8, activation="relu"), p=0.2), nn.Dense(8, 3))
    >>> [name for name, _ in model.named_parameters()]
    ['0.dense.weight', '0.dense.bias', '1.weight', '1.bias']
    """

    def __init__(self, dense, p: Any = 0.5) -> None:
        if not isinstance(dense, Dense):
            raise TypeError(f"dense: expected a Dense layer, got {type(dense).__name__}")
        self.dense = dense
        self.p = _check_share(p)

    @property
    def in_features(self):
        return self.dense.in_features

    @property
    def out_features(self):
        return self.dense.out_features

    def children(self):
        return [("dense", self.dense)]

    def config(self):
        return {"p": _config(self.p)}

    def entry(self, path, paths):
        return {**super().entry(path, paths), "dense": self.dense.entry(f"{path}.dense", paths)}

    @classmethod
    def entries_inside(cls, entry):
        return [("dense", entry.get("dense"))]

    @classmethod
    def from_entry(cls, arguments, inside, known):
        return cls(**{**arguments, **inside})

    def for_inference(self):
        return self.dense

    def emit(self, builder, x):
        if not (builder.training and self.p):
            return self.dense.emit(builder, x)
        weight = builder.drop_weights(self.dense.weight, self.p)
        return self.dense.emit(builder, x, weight)

    def output_shape(self, shape):
        return self.dense.output_shape(shape)

    def __repr__(self):
        return f"DropConnect({self.dense!r}, p={self.p})"
