"""Training by several processes over MPI: the same bits for any number of them."""

from .ranks import RankError
from .trainer import DistributedTrainer

__all__ = ["DistributedTrainer", "RankError"]
