"""Operations: what kinds there are, and one of them with its buffers."""

from .op import KINDS, Buffer, Kind, Op

__all__ = ["KINDS", "Buffer", "Kind", "Op"]
