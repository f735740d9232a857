"""The two executors of a plan, compiled kernels and the NumPy interpreter: the same list, the same interface."""

from .accumulating import AccumulatingExecutor
from .base import GroupState, Result, group_states
from .native import NativeExecutor
from .reference import ReferenceExecutor

__all__ = ["AccumulatingExecutor", "GroupState", "NativeExecutor", "ReferenceExecutor", "Result", "group_states"]
