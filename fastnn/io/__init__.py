"""Ways out and in: a trained model as an ONNX file, as C, as a NumPy module, and weights to and from other packages.

Every format is written from one list of nodes (`graph`), which the layers' own operations make; nothing of the other packages is
imported.
"""

from .c_export import CFile, to_c
from .numpy_export import to_numpy
from .onnx_export import to_onnx
from .onnx_import import from_onnx
from .sklearn_weights import from_sklearn, to_sklearn
from .weights import from_keras, from_torch, to_keras, to_torch

__all__ = [
    "CFile",
    "from_keras",
    "from_onnx",
    "from_sklearn",
    "from_torch",
    "to_c",
    "to_keras",
    "to_numpy",
    "to_onnx",
    "to_sklearn",
    "to_torch",
]


def __dir__():
    return __all__
