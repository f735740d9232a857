"""The eager kernels: one operation on NumPy arrays, done by the C kernels on the team of threads.

Each function has a twin of the same name and signature in `fastnn.reference`, which says what it computes. What is
narrower here: data are float32 or float64, all of one call the same; arrays are C-contiguous, aligned and not empty, and an
output shares no memory with an input except where its docstring says so. Nothing is copied or cast to fit: an argument
is as it must be, or the error names it, what was expected and what came, before anything is changed.
"""

from .activation import activation_backward, activation_forward, prelu_backward, prelu_forward
from .convolution import conv2d_backward, conv2d_forward
from .dense import bias_gradient, dense_backward, dense_forward
from .embedding import embedding_backward, embedding_forward
from .rows import gather, gather_labels
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
from .noise import dropout2d_backward, dropout2d_forward, dropout_backward, dropout_forward, gaussian_noise
from .normalization import (
    batchnorm_backward,
    batchnorm_forward,
    batchnorm_inference,
    groupnorm_backward,
    groupnorm_forward,
    layernorm_backward,
    layernorm_forward,
    rmsnorm_backward,
    rmsnorm_forward,
)
from .optimizer import adam_update, sgd_update
from .penalty import penalty_backward, penalty_forward
from .pooling import (
    avgpool2d_backward,
    avgpool2d_forward,
    global_avgpool2d_backward,
    global_avgpool2d_forward,
    global_maxpool2d_backward,
    global_maxpool2d_forward,
    maxpool2d_backward,
    maxpool2d_forward,
)
from .random import permutation, random_bits
from .softmax import log_softmax_backward, log_softmax_forward, softmax_backward, softmax_forward
from .stochastic_pool import (
    stochastic_pool2d_backward,
    stochastic_pool2d_forward,
    stochastic_pool2d_inference,
    stochastic_pool2d_inference_backward,
)

__all__ = [
    "activation_backward",
    "activation_forward",
    "adam_update",
    "avgpool2d_backward",
    "avgpool2d_forward",
    "batchnorm_backward",
    "batchnorm_forward",
    "batchnorm_inference",
    "bias_gradient",
    "binary_cross_entropy",
    "binary_hinge",
    "conv2d_backward",
    "conv2d_forward",
    "dense_backward",
    "dense_forward",
    "dropout2d_backward",
    "dropout2d_forward",
    "dropout_backward",
    "dropout_forward",
    "embedding_backward",
    "embedding_forward",
    "gather",
    "gather_labels",
    "gaussian_noise",
    "global_avgpool2d_backward",
    "global_avgpool2d_forward",
    "global_maxpool2d_backward",
    "global_maxpool2d_forward",
    "groupnorm_backward",
    "groupnorm_forward",
    "huber",
    "layernorm_backward",
    "layernorm_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "maxout_backward",
    "maxout_forward",
    "maxpool2d_backward",
    "maxpool2d_forward",
    "mean_absolute_error",
    "mean_squared_error",
    "multiclass_hinge",
    "penalty_backward",
    "penalty_forward",
    "permutation",
    "poisson",
    "prelu_backward",
    "prelu_forward",
    "quantile",
    "random_bits",
    "rmsnorm_backward",
    "rmsnorm_forward",
    "sgd_update",
    "softmax_backward",
    "softmax_cross_entropy",
    "softmax_cross_entropy_correct",
    "softmax_cross_entropy_rows",
    "softmax_forward",
    "stochastic_pool2d_backward",
    "stochastic_pool2d_forward",
    "stochastic_pool2d_inference",
    "stochastic_pool2d_inference_backward",
]


def __dir__():
    return __all__
