"""Operations: what kinds there are, one of them with its buffers, and what a plan is given from outside. By families: how the builder of
plans emits them, and the rules of their gradients."""

from ..core.window import Window
from . import convolution, dense, elementwise, embedding, noise, normalization
from .gradient import add_penalty
from .op import KINDS, Buffer, Input, Kind, Op

RULES = {
    kind: rule
    for family in (convolution, dense, elementwise, embedding, noise, normalization)
    for kind, rule in family.RULES.items()
}

__all__ = ["KINDS", "RULES", "Buffer", "Input", "Kind", "Op", "Window", "add_penalty"]
