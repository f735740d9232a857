"""Training without gradients: a genetic algorithm on a model's parameters."""

from .genetic import GeneticAlgorithm

__all__ = ["GeneticAlgorithm"]
