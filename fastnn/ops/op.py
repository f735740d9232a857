"""The operations of a plan: what the register says of each kind (csrc/defs/ops.def), what it costs, and one of them with its buffers.

`reads` and `writes` are all that the order of execution needs to place barriers and share memory. An operation that can run
`by_rows` treats every row of the batch alone, so a thread may take its rows through several such operations without waiting for
the others.
"""

import math
from dataclasses import dataclass, field

from .. import _native


@dataclass(frozen=True)
class Kind:
    """What is common to all operations of one kind."""

    code: int
    roles: tuple
    writes: tuple
    when: str  # "chain"; "weights": only an update waits for it, so it may stand back; "last": after everything else
    traits: frozenset
    flops: object  # of (operation, rows)

    @property
    def reads(self):
        return tuple(r for r in self.roles if r not in self.writes)

    @property
    def by_rows(self):
        return "by_rows" in self.traits


def _product(op, rows):
    return 2 * rows * op.n_in * op.n_out


def _weights(op, rows):
    return (_product(op, rows) if op.has_weights else 0) + rows * op.n_out


def _convolution(op, rows):
    w = op.window
    return 2 * rows * w.out_height * w.out_width * w.kernel_height * w.kernel_width * (w.channels // w.groups) * op.n_out


def _pooling(op, rows):
    w = op.window
    return rows * w.out_height * w.out_width * w.kernel_height * w.kernel_width * w.channels


def _times(n):
    return lambda op, rows: n * rows * op.n_out


# Floating-point operations, of kinds that have any; roughly, where they are not products.
_FLOPS = {
    "gather": _times(2),
    **dict.fromkeys(("dense_forward", "tied_forward", "dense_backward_input", "tied_backward_input"), _product),
    "dense_backward_weights": _weights,
    **dict.fromkeys(("activation_forward", "activation_backward", "dropout"), _times(10)),
    **dict.fromkeys(("softmax_forward", "softmax_backward", "log_softmax_forward", "log_softmax_backward"), _times(10)),
    **dict.fromkeys(("prelu_forward", "prelu_backward", "prelu_slope_gradient"), _times(2)),
    **dict.fromkeys(("conv2d_forward", "conv2d_backward_input", "conv2d_backward_weights"), _convolution),
    **dict.fromkeys(("maxpool2d_forward", "maxpool2d_backward", "avgpool2d_forward", "avgpool2d_backward"), _pooling),
    "softmax_cross_entropy": _times(30),
    "elementwise_loss": _times(20),
    "multiclass_hinge": _times(10),
    **dict.fromkeys(("batchnorm_forward", "batchnorm_inference"), _times(10)),
    "batchnorm_backward": _times(15),
    **dict.fromkeys(("layernorm_forward", "layernorm_backward_input", "layernorm_backward_weights"), _times(10)),
    **dict.fromkeys(("rmsnorm_forward", "rmsnorm_backward_input", "rmsnorm_backward_weights"), _times(10)),
    **dict.fromkeys(("drop_weights", "drop_weight_gradients"), lambda op, rows: 10 * op.n_in * op.n_out),
    "gaussian_noise": _times(30),
    "maxout_forward": lambda op, rows: rows * op.first * op.n_out,
    "maxout_backward": lambda op, rows: 2 * rows * op.first * op.n_out,
    "add": _times(1),
    **dict.fromkeys(("penalty_forward", "penalty_backward"), lambda op, rows: 4 * op.n_out),
}

KINDS = {
    name: Kind(code, roles, writes, phase, traits, _FLOPS.get(name, lambda op, rows: 0))
    for code, (name, roles, writes, phase, traits) in enumerate(_native.op_kinds())
}


@dataclass(eq=False)
class Buffer:
    """Memory that operations read and write: a sample of shape `shape` for each row of the batch, or a whole array of that shape.

    Samples stand in the workspace one after the other, `ld` elements apart; the elements of one stand side by side in row-major
    order, images as (height, width, channels). `whole`: there is no batch, as for gradients of parameters; `array`: nor is it in
    the workspace, as for parameters, whose memory is their owner's.
    """

    name: str
    shape: tuple
    dtype: str = "float32"
    role: str = "activation"  # input, activation, gradient, scratch, constant, parameter or parameter gradient
    array: object = None
    whole: bool = False
    index: int = -1
    offset: int = -1  # in the workspace, in bytes
    base: object = None  # the buffer that this one is another view of

    @property
    def columns(self):
        """Elements of a sample; of a whole array those of its last dimension."""
        return (self.shape or (1,))[-1] if self.is_whole else math.prod(self.shape)

    @property
    def is_whole(self):
        return self.whole or self.array is not None

    def view(self, shape):
        """The same memory with samples of another shape."""
        return Buffer(self.name, tuple(shape), self.dtype, self.role, base=self.base or self)

    @property
    def itemsize(self):
        return {"float32": 4, "int32": 4, "float64": 8, "uint32": 4}[self.dtype]

    @property
    def ld(self):
        """Elements between rows: whole vectors, and never a multiple of 4096 bytes, on which cache sets collide; none of images."""
        if self.is_whole or self.dtype != "float32" or len(self.shape) > 1:
            return self.columns
        ld = -(-self.columns // 16) * 16
        return ld + 16 if ld * 4 % 4096 == 0 else ld

    def nbytes(self, batch):
        """Bytes in the workspace."""
        if self.array is not None:
            return 0
        elements = math.prod(self.shape) if self.whole else batch * self.ld
        return -(-elements * self.itemsize // 64) * 64


@dataclass(frozen=True)
class Input:
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


@dataclass(eq=False)
class Op:
    """One operation. `buffers` maps roles to buffers; the rest are the fields of csrc/fastnn.h's fnn_op."""

    kind: str
    buffers: dict
    n_in: int = 0
    n_out: int = 0
    activation: str = "identity"
    alpha: float = 0.0
    accumulate: bool = False
    update_w: int = -1
    update_b: int = -1
    first: int = 0
    last: int = 0
    eps: float = 0.0
    rate: float = 0.0
    threshold: int = 0
    stream: int = 0
    form: str = "squared"  # of a loss; its parameter is alpha
    sum: bool = False
    full: bool = False  # of a loss: Poisson's full form; of dropout: rows stay or go as a whole
    function: object = None  # of a host operation: what Python calls
    by_rows: bool = False
    barrier: bool = False
    l1: float = 0.0  # penalty on the role "w"
    l2: float = 0.0
    window: object = None  # of a convolution or a pooling
    reads_also: tuple = ()  # beyond the roles: parameters that an update reads and writes
    writes_also: tuple = field(default=())

    @property
    def spec(self):
        return KINDS[self.kind]

    def has(self, trait):
        return trait in self.spec.traits

    @property
    def has_weights(self):
        return self.update_w >= 0 or self.buffers.get("dw") is not None

    def reads(self):
        spec = self.spec
        found = [self.buffers[r] for r in spec.reads if self.buffers.get(r) is not None]
        if self.accumulate:
            found += [self.buffers[r] for r in spec.writes if self.buffers.get(r) is not None]
        return [*found, *self.reads_also]

    def writes(self):
        return [self.buffers[r] for r in self.spec.writes if self.buffers.get(r) is not None] + list(self.writes_also)

    def flops(self, rows):
        return self.spec.flops(self, rows)

    def scratch_bytes(self, rows):
        """Bytes that a thread has for itself while it does the operation."""
        if self.has("fuses_update"):
            return _native.product_scratch(True, self.n_in, self.n_out, rows) if self.update_w >= 0 else 0
        if self.kind in ("conv2d_forward", "conv2d_backward_input", "conv2d_backward_weights"):
            return 4 * _native.conv2d_scratch(tuple(self.window), self.n_out, self.kind == "conv2d_backward_input")
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
