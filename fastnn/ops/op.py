"""The operations of a plan: what the register says of each kind (csrc/defs/ops.def), and one of them with its buffers.

`reads` and `writes` are all that the order of execution needs to place barriers and share memory. An operation that can run
`by_rows` treats every row of the batch alone, so a thread may take its rows through several such operations without waiting for
the others.
"""

import math
from typing import NamedTuple

from .. import _native
from ..core.activations import ACTIVATIONS, FORMS
from ..core.window import Window

# Of the parameters that only fusing operations sets: what they are without.
UNFUSED = {
    "fuses_activation": {"activation": "identity", "alpha": 0.0},
    "fuses_derivative": {"activation": "identity", "alpha": 0.0},
    "fuses_update": {"update_w": -1, "update_b": -1, "l1": 0.0, "l2": 0.0},
}

# Parameters that are names here and numbers in the extension.
_CODES = {"activation": {name: a.code for name, a in ACTIVATIONS.items()}, "form": FORMS}


class Kind(NamedTuple):
    """What is common to all operations of one kind."""

    code: int
    parameters: tuple  # their names, in the order of their places
    roles: tuple
    writes: tuple
    when: str  # "chain"; "weights": only an update waits for it, so it may stand back; "last": after everything else
    traits: frozenset

    @property
    def reads(self):
        return tuple(r for r in self.roles if r not in self.writes)

    @property
    def by_rows(self):
        return "by_rows" in self.traits

    @property
    def unfused(self):
        return {name: value for trait in self.traits & UNFUSED.keys() for name, value in UNFUSED[trait].items()}


KINDS = {name: Kind(code, *more) for code, (name, *more) in enumerate(_native.op_kinds())}


class Buffer:
    """Memory that operations read and write: a sample of shape `shape` for each row of the batch, or a whole array of that shape.

    Samples stand in the workspace one after the other, `ld` elements apart; the elements of one stand side by side in row-major
    order, images as (height, width, channels). `whole`: there is no batch, as for gradients of parameters; `array`: nor is it in
    the workspace, as for parameters, whose memory is their owner's.
    """

    def __init__(self, name, shape, dtype="float32", real=True, role="activation", array=None, whole=False, index=-1, base=None):
        self.name, self.shape, self.dtype = name, shape, dtype
        self.real = real  # whether its dtype is the one that the model computes in
        self.role = role  # input, activation, gradient, scratch, constant, parameter or parameter gradient
        self.array, self.whole, self.index = array, whole, index
        self.offset = -1  # in the workspace, in bytes
        self.near = -1  # or in each thread's scratch, which has some rows of it: in bytes
        self.base = base  # the buffer that this one is another view of
        self.gapless = False  # an operation goes from one sample to the next as if they were one

    @property
    def columns(self):
        """Elements of a sample; of a whole array those of its last dimension."""
        return (self.shape or (1,))[-1] if self.is_whole else math.prod(self.shape)

    @property
    def is_whole(self):
        return self.whole or self.array is not None

    def view(self, shape):
        """The same memory with samples of another shape."""
        return Buffer(self.name, tuple(shape), self.dtype, self.real, self.role, base=self.base or self)

    @property
    def itemsize(self):
        return {"float32": 4, "int32": 4, "float64": 8, "uint32": 4, "uint8": 1}[self.dtype]

    @property
    def ld(self):
        """Elements between rows: whole vectors, and never a multiple of 4096 bytes, on which cache sets collide; none of images."""
        if self.is_whole or not self.real or len(self.shape) > 1 or self.gapless:
            return self.columns
        ld = -(-self.columns // 16) * 16
        return ld + 16 if ld * self.itemsize % 4096 == 0 else ld

    def nbytes(self, batch):
        """Bytes in the workspace."""
        if self.array is not None:
            return 0
        elements = math.prod(self.shape) if self.whole else batch * self.ld
        return -(-elements * self.itemsize // 64) * 64


class Input(NamedTuple):
    """Data that a plan is given for every row of a batch: the inputs "x", the targets "y", the rows' "weights".

    `shape` is that of a row; the buffer of the same name holds the batch, as `dtype`, whatever the user's array was. Numbers become
    value * scale + shift. Labels are below `classes` (0: these are none), but for `ignore`, that of rows which count in no loss.
    """

    name: str
    shape: tuple
    dtype: str = "float32"
    scale: float = 1.0
    shift: float = 0.0
    channels_first: bool = False  # the user's rows are (channels, height, width), those of the buffer (height, width, channels)
    classes: int = 0
    ignore: int | None = None

    @property
    def columns(self):
        return math.prod(self.shape)


class Op:
    """One operation: its kind, {role: buffer or None}, and the parameters of its kind, attributes of the names that the register
    gives them. What fusing sets may be left out; any other missing name, and an unknown one, is a TypeError."""

    def __init__(self, kind, buffers, *, function=None, reads_also=(), writes_also=(), **parameters):
        self.kind = kind
        self.spec = KINDS[kind]
        self.buffers = {role: b for role, b in buffers.items() if b is not None}
        self.function = function  # of an operation in Python: what is called
        self.reads_also = reads_also  # beyond the roles: parameters that an update reads and writes
        self.writes_also = writes_also
        self.by_rows = self.barrier = False  # the schedule says
        self.scratch_at = 0  # where in a thread's scratch its bytes of it begin
        self.depth = 0  # so many operations begin with this one that threads take a few rows through before the next few; 0: none
        self.few = 0  # how many, in each of them
        given = {**self.spec.unfused, **parameters}
        if given.keys() != set(self.spec.parameters) or not self.buffers.keys() <= set(self.spec.roles):
            raise TypeError(
                f"{kind}: expected the parameters {sorted(self.spec.parameters)} and buffers of the roles {self.spec.roles}, got "
                f"{sorted(given)} and {tuple(self.buffers)}"
            )
        vars(self).update(given)

    def has(self, trait):
        return trait in self.spec.traits

    @property
    def window(self):
        """Of a convolution or a pooling."""
        return Window(*(getattr(self, name) for name in Window._fields))

    def parameters(self):
        """All of them by name."""
        return {name: getattr(self, name) for name in self.spec.parameters}

    def get(self, name, otherwise=None):
        """A parameter that not every kind has."""
        return getattr(self, name) if name in self.spec.parameters else otherwise

    @property
    def updates(self):
        """Whether it does an optimizer's update, of its own or of what it has a gradient for."""
        return self.has("updates") or self.get("update_w", -1) >= 0 or self.get("update_b", -1) >= 0

    def reads(self):
        spec = self.spec
        found = [self.buffers[r] for r in spec.reads if r in self.buffers]
        if self.has("accumulates") or self.get("accumulate"):
            found += [self.buffers[r] for r in spec.writes if r in self.buffers]
        return [*found, *self.reads_also]

    def writes(self):
        return [self.buffers[r] for r in self.spec.writes if r in self.buffers] + list(self.writes_also)

    def native(self):
        """(code, positions of the buffers by role, parameters by place) as the extension takes them."""
        slots = [self.buffers[r].index if r in self.buffers else -1 for r in self.spec.roles]
        values = [getattr(self, name) for name in self.spec.parameters]
        return self.spec.code, slots, [_CODES[n][v] if n in _CODES else v for n, v in zip(self.spec.parameters, values)]

    def flops(self, rows):
        """Floating-point operations, roughly where it is not a product."""
        return int(_native.op_work(*self.native(), rows))

    def scratch_bytes(self, rows):
        """Bytes that a thread has for itself while it does the operation."""
        return self._scratch(rows) * next((b.itemsize for b in self.buffers.values() if b.real), 0)

    def _scratch(self, rows):
        if self.has("fuses_update"):
            return _native.product_scratch(True, self.n_in, self.n_out, rows) if self.update_w >= 0 else 0
        if self.has("windows") and self.get("filters"):
            return _native.conv2d_scratch(*self.native())
        if not self.has("is_product"):
            return 0
        n, k = (self.n_in, self.n_out) if self.has("fuses_derivative") else (self.n_out, self.n_in)
        return _native.product_scratch(False, rows, n, k)

    def bytes(self, rows):
        """Bytes that the operation touches at least: each operand once."""
        total = 0
        for b in {id(b): b for b in [*self.reads(), *self.writes()]}.values():
            if b.array is not None:
                total += b.array.nbytes
            else:
                total += b.nbytes(rows)
        return total
