"""Estimators for scikit-learn: the multilayer perceptron with scikit-learn's own parameters and more, and networks that are good on
raw tables. This package alone imports scikit-learn; ``pip install fastnn[sklearn]`` brings it."""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(f"fastnn.sklearn needs scikit-learn: pip install 'fastnn[sklearn]' ({error})") from error

from .mlp_classifier import MLPClassifier
from .mlp_regressor import MLPRegressor
from .tabular_classifier import TabularClassifier
from .tabular_regressor import TabularRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "TabularClassifier", "TabularRegressor"]


def __dir__():
    return __all__
