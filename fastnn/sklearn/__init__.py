"""Estimators for scikit-learn: the multilayer perceptron with scikit-learn's own parameters and more. This package alone imports
scikit-learn; ``pip install fastnn[sklearn]`` brings it."""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(f"fastnn.sklearn needs scikit-learn: pip install 'fastnn[sklearn]' ({error})") from error

from .mlp_classifier import MLPClassifier
from .mlp_regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]


def __dir__():
    return __all__
