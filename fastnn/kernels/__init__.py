"""The eager kernels: one operation on NumPy arrays, done by the C kernels on the team of threads.

Each function has a twin of the same name and signature in `fastnn.reference`, which says what it computes. What is
narrower here: data are float32 or float64, all of one call the same; arrays are C-contiguous, aligned and not empty, and an
output shares no memory with an input except where its docstring says so. Nothing is copied or cast to fit: an argument
is as it must be, or the error names it, what was expected and what came, before anything is changed.
"""

from typing import TYPE_CHECKING

from ..core.lazy import lazily

_NAMES = {
    "activation": "activation_backward activation_forward prelu_backward prelu_forward",
    "convolution": "conv2d_backward conv2d_forward",
    "dense": "bias_gradient dense_backward dense_forward",
    "embedding": "embedding_backward embedding_forward",
    "loss": "binary_cross_entropy binary_hinge huber mean_absolute_error mean_squared_error multiclass_hinge poisson "
    "quantile softmax_cross_entropy softmax_cross_entropy_correct softmax_cross_entropy_rows",
    "maxout": "maxout_backward maxout_forward",
    "noise": "dropout2d_backward dropout2d_forward dropout_backward dropout_forward gaussian_noise",
    "normalization": "batchnorm_backward batchnorm_forward batchnorm_inference groupnorm_backward groupnorm_forward "
    "layernorm_backward layernorm_forward rmsnorm_backward rmsnorm_forward",
    "optimizer": "adam_update sgd_update",
    "penalty": "penalty_backward penalty_forward",
    "pooling": "avgpool2d_backward avgpool2d_forward global_avgpool2d_backward global_avgpool2d_forward "
    "global_maxpool2d_backward global_maxpool2d_forward maxpool2d_backward maxpool2d_forward",
    "random": "permutation random_bits",
    "rows": "gather gather_labels",
    "softmax": "log_softmax_backward log_softmax_forward softmax_backward softmax_forward",
    "stochastic_pool": "stochastic_pool2d_backward stochastic_pool2d_forward stochastic_pool2d_inference "
    "stochastic_pool2d_inference_backward",
}

if TYPE_CHECKING:  # the same names for type checkers, which do not run what is below
    from .activation import *
    from .convolution import *
    from .dense import *
    from .embedding import *
    from .loss import *
    from .maxout import *
    from .noise import *
    from .normalization import *
    from .optimizer import *
    from .penalty import *
    from .pooling import *
    from .random import *
    from .rows import *
    from .softmax import *
    from .stochastic_pool import *
else:
    __getattr__, __dir__, __all__ = lazily(__name__, _NAMES)
