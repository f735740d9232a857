"""The plan: a model, a loss and an optimizer compiled into one flat list of operations over preallocated buffers.

`builder` takes the operations and their gradients, `execution_order` orders them, places the barriers and lets buffers share
memory, `plan` is the result. `fastnn.ops` says what operations there are and what their gradients are, `fastnn.executors` run
them.
"""

from .builder import Builder
from .execution_order import UPDATES
from .plan import Plan

__all__ = ["UPDATES", "Builder", "Plan"]
