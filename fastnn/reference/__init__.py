"""What every kernel must compute, in NumPy.

Each function has a twin of the same name and signature among the native kernels, which is tested against it. The code here is
written to be read as the specification: vectorised, in the floating dtype of its arguments (float64 included), with no
regard for speed. It imports NumPy and nothing else of fastnn.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

# Each twin is imported when it is first asked for: module -> its public names.
_NAMES = {
    "activation": "ACTIVATIONS activation_backward activation_forward prelu_backward prelu_forward",
    "class_loss": "multiclass_hinge softmax_cross_entropy softmax_cross_entropy_correct softmax_cross_entropy_rows",
    "convolution": "conv2d_backward conv2d_forward",
    "dense": "bias_gradient dense_backward dense_forward",
    "embedding": "embedding_backward embedding_forward",
    "lbfgs": "lbfgs_direction",
    "loss": "binary_cross_entropy binary_hinge huber mean_absolute_error mean_squared_error poisson quantile",
    "maxout": "maxout_backward maxout_forward",
    "noise": "dropout2d_backward dropout2d_forward dropout_backward dropout_forward dropout_mask gaussian_noise",
    "normalization": "batchnorm_backward batchnorm_forward batchnorm_inference "
    "groupnorm_backward groupnorm_forward layernorm_backward layernorm_forward rmsnorm_backward rmsnorm_forward",
    "numerical": "",
    "optimizer": "adam_update sgd_update",
    "penalty": "penalty_backward penalty_forward",
    "pooling": "avgpool2d_backward avgpool2d_forward global_avgpool2d_backward global_avgpool2d_forward "
    "global_maxpool2d_backward global_maxpool2d_forward maxpool2d_backward maxpool2d_forward",
    "rng": "normal permutation philox random_bits random_bits64 uniform",
    "rows": "gather gather_labels",
    "stochastic_pool": "stochastic_pool2d_backward stochastic_pool2d_forward stochastic_pool2d_inference "
    "stochastic_pool2d_inference_backward",
    "softmax": "log_softmax_backward log_softmax_forward softmax_backward softmax_forward",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_HOMES)

if TYPE_CHECKING:  # the same names for type checkers, which do not run what is below
    from .activation import *
    from .class_loss import *
    from .convolution import *
    from .dense import *
    from .embedding import *
    from .lbfgs import *
    from .loss import *
    from .maxout import *
    from .noise import *
    from .normalization import *
    from .optimizer import *
    from .penalty import *
    from .pooling import *
    from .rng import *
    from .rows import *
    from .softmax import *
    from .stochastic_pool import *
else:

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(_import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value


def __dir__():
    return __all__
