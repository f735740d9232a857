"""The catalogue of operations: for each kind its code, the roles of its buffers, and what it costs.

Roles stand in the order that csrc/runtime/executor.c reads them. `reads` and `writes` say what the operation does to them, which is
all that the schedule needs to place barriers and share memory. An operation that can run `by_rows` treats every row of
the batch alone, so a thread may take its rows through several such operations without meeting the others.
"""

from dataclasses import dataclass, field

from .. import _native


@dataclass(frozen=True)
class Kind:
    """What is common to all operations of one kind."""

    code: int
    roles: tuple
    writes: tuple
    by_rows: bool = False
    flops: object = staticmethod(lambda op, rows: 0)
    when: str = "chain"  # "weights": only an update waits for it, so it may stand back; "last": after everything else

    @property
    def reads(self):
        return tuple(r for r in self.roles if r not in self.writes)


def _elementwise(op, rows):
    return 10 * rows * op.n_out


def _product(op, rows):
    return 2 * rows * op.n_in * op.n_out


def _weights(op, rows):
    return (_product(op, rows) if op.has_weights else 0) + rows * op.n_out


_LOSS = ("logits", "labels", "targets", "dlogits", "loss", "correct", "weight", "class_weight")
_LOSS_WRITES = ("dlogits", "loss", "correct")

KINDS = {
    "gather": Kind(0, ("out",), ("out",), True, lambda op, rows: 2 * rows * op.n_out),
    "gather_labels": Kind(1, ("out",), ("out",), True),
    "gather_targets": Kind(2, ("out",), ("out",), True),
    "dense_forward": Kind(3, ("x", "w", "b", "y", "z"), ("y", "z"), True, _product),
    "activation_forward": Kind(4, ("x", "y"), ("y",), True, _elementwise),
    "softmax_forward": Kind(5, ("x", "y"), ("y",), True, _elementwise),
    "softmax_cross_entropy": Kind(6, _LOSS, _LOSS_WRITES, True, lambda op, rows: 30 * rows * op.n_out),
    "softmax_backward": Kind(30, ("dy", "y", "dx"), ("dx",), True, _elementwise),
    "log_softmax_forward": Kind(31, ("x", "y"), ("y",), True, _elementwise),
    "log_softmax_backward": Kind(32, ("dy", "y", "dx"), ("dx",), True, _elementwise),
    "prelu_forward": Kind(33, ("x", "slope", "y"), ("y",), True, lambda op, rows: 2 * rows * op.n_out),
    "prelu_backward": Kind(34, ("dy", "x", "slope", "dx"), ("dx",), True, lambda op, rows: 2 * rows * op.n_out),
    "prelu_slope_gradient": Kind(
        35, ("dy", "x", "dslope"), ("dslope",), False, lambda op, rows: 2 * rows * op.n_out, when="weights"
    ),
    "gather_weights": Kind(36, ("out",), ("out",), True),
    "elementwise_loss": Kind(37, _LOSS, _LOSS_WRITES, True, lambda op, rows: 20 * rows * op.n_out),
    "multiclass_hinge": Kind(38, _LOSS, _LOSS_WRITES, True, lambda op, rows: 10 * rows * op.n_out),
    "host_loss": Kind(39, ("logits", "dlogits"), ("dlogits",), False),
    "activation_backward": Kind(7, ("dy", "saved", "dx"), ("dx",), True, _elementwise),
    "dense_backward_input": Kind(8, ("dy", "w", "saved", "dx"), ("dx",), True, _product),
    "dense_backward_weights": Kind(9, ("x", "dy", "dw", "db", "w"), ("dw", "db"), False, _weights, "weights"),
    "reduce_loss": Kind(10, ("loss", "correct"), (), False, when="last"),
    "update": Kind(11, ("trust",), ("trust",), False, when="last"),
    "gradient_norm": Kind(12, ("norms",), ("norms",), False, when="last"),
    "begin_update": Kind(20, ("norms",), (), False, when="last"),
    "trust_update": Kind(21, ("trust",), (), False, when="last"),
    "max_norm": Kind(22, (), (), False, when="last"),
    # normalisations: statistics are [4, columns] of a batch (mean, rest, rstd, var) or three numbers a row (mean, rest, rstd)
    "batchnorm_forward": Kind(50, ("x", "w", "b", "y", "statistics"), ("y", "statistics"), False, _elementwise),
    "batchnorm_inference": Kind(51, ("x", "w", "b", "y", "mean", "var"), ("y",), True, _elementwise),
    "batchnorm_backward": Kind(
        52, ("dy", "x", "w", "statistics", "dx", "dw", "db"), ("dx", "dw", "db"), False, lambda op, rows: 15 * rows * op.n_out
    ),
    "batchnorm_running": Kind(53, ("statistics", "mean", "var"), ("mean", "var"), False, when="last"),
    "layernorm_forward": Kind(54, ("x", "w", "b", "y", "statistics"), ("y", "statistics"), True, _elementwise),
    "layernorm_backward_input": Kind(55, ("dy", "x", "w", "statistics", "dx"), ("dx",), True, _elementwise),
    "layernorm_backward_weights": Kind(56, ("dy", "x", "statistics", "dw", "db"), ("dw", "db"), False, _elementwise, "weights"),
    "rmsnorm_forward": Kind(57, ("x", "w", "b", "y", "statistics"), ("y", "statistics"), True, _elementwise),
    "rmsnorm_backward_input": Kind(58, ("dy", "x", "w", "statistics", "dx"), ("dx",), True, _elementwise),
    "rmsnorm_backward_weights": Kind(59, ("dy", "x", "statistics", "dw", "db"), ("dw", "db"), False, _elementwise, "weights"),
    "dropout": Kind(60, ("x", "y"), ("y",), True, _elementwise),
    "drop_weights": Kind(61, ("x", "y"), ("y",), False, lambda op, rows: 10 * op.n_in * op.n_out),
    "drop_weight_gradients": Kind(61, ("x", "y"), ("y",), False, lambda op, rows: 10 * op.n_in * op.n_out, "weights"),
    "gaussian_noise": Kind(62, ("x", "y"), ("y",), True, lambda op, rows: 30 * rows * op.n_out),
    "maxout_forward": Kind(63, ("x", "y"), ("y",), True, lambda op, rows: rows * op.first * op.n_out),
    "maxout_backward": Kind(64, ("dy", "x", "dx"), ("dx",), True, lambda op, rows: 2 * rows * op.first * op.n_out),
    "add": Kind(65, ("a", "b", "y"), ("y",), True, lambda op, rows: rows * op.n_out),
    # the weights of another layer, transposed: w [out, in]
    "tied_forward": Kind(66, ("x", "w", "b", "y", "z"), ("y", "z"), True, _product),
    "tied_backward_input": Kind(67, ("dy", "w", "saved", "dx"), ("dx",), True, _product),
    "penalty_forward": Kind(80, ("w", "sum"), ("sum",), False, lambda op, rows: 4 * op.n_out),
    "penalty_backward": Kind(81, ("w", "dw"), ("dw",), False, lambda op, rows: 4 * op.n_out, when="last"),
    "reduce_penalty": Kind(82, ("sum",), (), False, when="last"),
}

# Operations that end in an activation, or that multiply by the derivative of the one below; products, which may go by tiles.
ACTIVATING = {
    "dense_forward", "tied_forward", "batchnorm_forward", "batchnorm_inference", "layernorm_forward", "rmsnorm_forward",
}
DIFFERENTIATING = {"dense_backward_input", "tied_backward_input"}
PRODUCTS = {"dense_forward", "tied_forward", *DIFFERENTIATING}


@dataclass(eq=False)
class Buffer:
    """Memory that operations read and write: [batch, columns] in the workspace, or a whole array that lives outside it.

    `array` is set for parameters, whose memory is their owner's; `whole` for gradients of parameters, which have the
    parameter's shape and no batch.
    """

    name: str
    columns: int
    dtype: str = "float32"
    role: str = "activation"  # input, activation, gradient, scratch, constant, parameter or parameter gradient
    array: object = None
    whole: tuple = None
    index: int = -1
    offset: int = -1  # in the workspace, in bytes

    @property
    def itemsize(self):
        return {"float32": 4, "int32": 4, "float64": 8, "uint32": 4}[self.dtype]

    @property
    def ld(self):
        """Elements between rows: whole vectors, and never a multiple of 4096 bytes, on which cache sets collide."""
        if self.array is not None or self.whole is not None or self.dtype != "float32":
            return self.columns
        ld = -(-self.columns // 16) * 16
        return ld + 16 if ld * 4 % 4096 == 0 else ld

    def nbytes(self, batch):
        """Bytes in the workspace."""
        if self.array is not None:
            return 0
        if self.whole is not None:
            rows, columns = 1, 1
            for n in self.whole:
                columns *= n
        else:
            rows, columns = batch, self.ld
        return -(-rows * columns * self.itemsize // 64) * 64


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
    full: bool = False
    function: object = None  # of a host operation: what Python calls
    by_rows: bool = False
    barrier: bool = False
    l1: float = 0.0  # penalty on the role "w"
    l2: float = 0.0
    reads_also: tuple = ()  # beyond the roles: parameters that an update reads and writes
    writes_also: tuple = field(default=())

    @property
    def spec(self):
        return KINDS[self.kind]

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
        if self.kind == "dense_backward_weights":
            return _native.product_scratch(True, self.n_in, self.n_out, rows) if self.update_w >= 0 else 0
        if self.kind in DIFFERENTIATING:
            return _native.product_scratch(False, rows, self.n_in, self.n_out)
        return _native.product_scratch(False, rows, self.n_out, self.n_in) if self.kind in PRODUCTS else 0

    def bytes(self, rows):
        """Bytes that the operation touches at least: each operand once."""
        total = 0
        for b in {id(b): b for b in [*self.reads(), *self.writes()]}.values():
            if b.array is not None:
                total += b.array.nbytes
            else:
                total += b.nbytes(rows)
        return total
