"""The plan: a model, a loss and an optimizer compiled into one flat list of operations over preallocated buffers.

`ops` is the catalogue of operations, `builder` emits them, `backward` holds the rule for each operation's gradient,
`schedule` orders them, places the barriers and lets buffers share memory, `plan` is the result and `executors` run it:
compiled kernels, or the NumPy interpreter of `fastnn.reference` over the very same list.
"""

from .builder import Builder
from .executors import NativeExecutor, ReferenceExecutor
from .parameter import Parameter
from .plan import Plan

__all__ = ["Builder", "NativeExecutor", "Parameter", "Plan", "ReferenceExecutor"]
