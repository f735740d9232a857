"""What every kernel must compute, in NumPy.

Each function has a twin of the same name and signature among the native kernels, which is tested against it. The code here is
written to be read as the specification: vectorised, in the floating dtype of its arguments (float64 included), with no
regard for speed. It imports NumPy and nothing else of fastnn.
"""

from .activation import ACTIVATIONS, activation_backward, activation_forward, prelu_backward, prelu_forward
from .dense import bias_gradient, dense_backward, dense_forward
from .gather import gather, gather_labels
from .lbfgs import lbfgs_direction
from .loss import (
    binary_cross_entropy,
    binary_hinge,
    huber,
    mean_absolute_error,
    mean_squared_error,
    multiclass_hinge,
    poisson,
    quantile,
    softmax_cross_entropy,
    softmax_cross_entropy_correct,
    softmax_cross_entropy_rows,
)
from .maxout import maxout_backward, maxout_forward
from .noise import dropout_backward, dropout_forward, dropout_mask, gaussian_noise
from .normalization import (
    batchnorm_backward,
    batchnorm_forward,
    batchnorm_inference,
    layernorm_backward,
    layernorm_forward,
    rmsnorm_backward,
    rmsnorm_forward,
)
from .optimizer import adam_update, sgd_update
from .penalty import penalty_backward, penalty_forward
from .rng import normal, permutation, philox, random_bits, random_bits64, uniform
from .softmax import log_softmax_backward, log_softmax_forward, softmax_backward, softmax_forward

__all__ = [
    "ACTIVATIONS",
    "activation_backward",
    "activation_forward",
    "adam_update",
    "batchnorm_backward",
    "batchnorm_forward",
    "batchnorm_inference",
    "bias_gradient",
    "binary_cross_entropy",
    "binary_hinge",
    "dense_backward",
    "dense_forward",
    "dropout_backward",
    "dropout_forward",
    "dropout_mask",
    "gather",
    "gather_labels",
    "gaussian_noise",
    "huber",
    "layernorm_backward",
    "layernorm_forward",
    "lbfgs_direction",
    "log_softmax_backward",
    "log_softmax_forward",
    "maxout_backward",
    "maxout_forward",
    "mean_absolute_error",
    "mean_squared_error",
    "multiclass_hinge",
    "normal",
    "penalty_backward",
    "penalty_forward",
    "permutation",
    "philox",
    "poisson",
    "prelu_backward",
    "prelu_forward",
    "quantile",
    "random_bits",
    "random_bits64",
    "rmsnorm_backward",
    "rmsnorm_forward",
    "sgd_update",
    "softmax_backward",
    "softmax_cross_entropy",
    "softmax_cross_entropy_correct",
    "softmax_cross_entropy_rows",
    "softmax_forward",
    "uniform",
]


def __dir__():
    return __all__
