"""How every kind of node of a `Graph` is written in each format, one family a file: a new operation has its line there."""

from . import dense, elementwise, embedding, normalization, windows

_FAMILIES = (dense, windows, elementwise, normalization, embedding)
KINDS = {kind: form for family in _FAMILIES for kind, form in family.KINDS.items()}
FUNCTIONS = {name: text for family in _FAMILIES for name, text in getattr(family, "FUNCTIONS", {}).items()}  # of NumPy, beside the activations
