"""Operations: what kinds there are, one of them with its buffers, and what a plan is given from outside."""

from .op import KINDS, Buffer, Input, Kind, Op
from .window import Window

__all__ = ["KINDS", "Buffer", "Input", "Kind", "Op", "Window"]
