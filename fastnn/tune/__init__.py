"""Search for settings: on a grid, at random with rounds that narrow, or by Optuna."""

from .search import bayes, grid, random
from .space import Choice, Integer, LogUniform, Uniform
from .study import Pruned, Study, Trial
from .training import Training

__all__ = ["Choice", "Integer", "LogUniform", "Pruned", "Study", "Training", "Trial", "Uniform", "bayes", "grid", "random"]
