"""Operations: what kinds there are, one of them with its buffers, and what a plan is given from outside."""

from ..core.window import Window
from .op import KINDS, Buffer, Input, Kind, Op

__all__ = ["KINDS", "Buffer", "Input", "Kind", "Op", "Window"]
