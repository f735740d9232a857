"""Plan: the immutable result of the builder, and the table that shows it."""

from typing import NamedTuple

import numpy as np

from .. import _native
from ..core.runtime import get_num_threads
from ..ops import Buffer


_SIZES = ("rows", "n_in", "n_out", "out_height", "out_width", "channels", "filters", "columns", "size")  # what a table shows


class Plan(NamedTuple):
    """A step (or an inference) as a flat list of operations over buffers. Executors run it; see `fastnn.executors`.

    Attributes
    ----------
    ops : tuple of Op
    buffers : tuple of Buffer
    batch : int
        The most rows of a call's batch.
    schedule : str
        "rows" or "layers".
    dtype : str
        What it computes in, "float32" or "float64".
    inputs : tuple of Input
        What a call is given for every row: "x", "y" where it has targets, "weights" where the rows are weighted.
    output : Buffer or None
        What a call hands to the user, as samples of the shape `output_shape`.
    update : Update or None
        What the optimizer updates.
    gradients : tuple of (Parameter, Buffer)
        Gradients that stand in the workspace after a step.
    lazy : dict
        Number of a tensor of the update of which some rows alone are updated: Buffer of the flags that say which.
    workspace_bytes : int
        Memory of all buffers.
    scratch_bytes : int
        Memory that each thread has for itself: for the products of large layers, the windows of convolutions, and activations that no
        other thread reads.
    schedules : tuple
        Of shares that layers drop: functions of the number of steps done.
    """

    ops: tuple
    buffers: tuple
    batch: int
    schedule: str
    fused: bool
    dtype: str
    inputs: tuple
    output: Buffer
    output_shape: tuple
    update: object
    gradients: tuple
    lazy: dict
    parameters: tuple
    workspace_bytes: int
    scratch_bytes: int
    schedules: tuple = ()

    def input(self, name):
        """The input of that name, or None where the plan has none."""
        return next((i for i in self.inputs if i.name == name), None)

    def shares(self, first, steps):
        """What the schedules say for so many steps from number `first` on, float64 [steps, schedules]; None where there are none."""
        if not self.schedules:
            return None
        found = np.stack([s.table(first, steps) for s in self.schedules], axis=1)
        wrong = found[~((found >= 0) & (found <= 1))]
        if wrong.size:
            raise ValueError(f"p(step): expected a number from 0 to 1, got {wrong[0]}")
        return found

    @property
    def flops(self):
        """Floating-point operations of one full batch."""
        return sum(op.flops(self.batch) for op in self.ops)

    @property
    def peak_bytes(self):
        """Memory that running the plan needs: parameters, optimizer states, the workspace, and the threads' scratch. The user's
        data is not in it."""
        arrays = [p.data for p in self.parameters]
        if self.update:
            arrays += [s for _, states, _ in self.update.tensors for s in states]
            arrays += [a for a in self.update.averages if a is not None]
        kept = sum(_native.block_bytes(a.nbytes) for a in arrays)
        return _native.block_bytes(self.workspace_bytes) + kept + self.scratch_bytes * get_num_threads()

    def run(self, first=0, last=None, *, x, executor, y=None, rates=None, weights=None):
        """Run the operations [first, last) once, for tests and debugging.

        Parameters
        ----------
        first, last : int
            Positions in `ops`; all by default.
        x, y : numpy.ndarray
            At most `batch` rows of data and targets.
        executor : executor
            A NativeExecutor or ReferenceExecutor of this plan, which keeps its buffers between calls.
        rates : list of float, optional
            The learning rate of each group, where the plan updates. The other settings are those that the optimizer's `prepare`
            has handed over.
        weights : numpy.ndarray, optional
            Of the rows, where the plan is weighted.

        Returns
        -------
        executor
            Its `array(name)` gives the contents of a buffer by the name that `describe` shows.
        """
        if len(x) > self.batch:
            raise ValueError(f"x: expected at most {self.batch} rows, got {len(x)}")
        last = len(self.ops) if last is None else last
        if not 0 <= first <= last <= len(self.ops):
            raise ValueError(f"first, last: expected 0 <= first <= last <= {len(self.ops)}, got {first}, {last}")
        # with an index the rows are copied into their buffer, where a later call may look for them
        executor.run(x, y, np.arange(len(x)), None if rates is None else [rates], first=first, last=last,
                     weights=weights)
        return executor

    def describe(self):
        """The plan as a table: operations in order, their shapes and buffers, how each is shared by a team, where its
        barriers are, and what each costs for a full batch.

        Returns
        -------
        str
        """
        rows = [("", "operation", "shape", "buffers", "split", "flops", "bytes")]
        for i, op in enumerate(self.ops):
            whole = {"rows", "size"} & set(op.spec.parameters)  # of a whole array, not of a batch
            sizes = [op.get(name) for name in _SIZES if name in op.spec.parameters]
            shape = "x".join(map(str, sizes if whole else [self.batch, *sizes]))
            activation = op.get("activation", "identity")
            name = op.kind + f"+{activation}" * (activation != "identity")
            if op.has("fuses_update"):
                name += "+penalty" * ("w" in op.buffers) + "+update" * op.updates
            writes = [b.name for b in op.writes()]
            reads = [b.name for b in op.reads() if b.name not in writes or b.array is None]
            split = "rows" if op.by_rows else "one" if op.has("by_one") else "python" if op.has("in_python") else "tiles"
            if op.few:
                split += f", {op.few} at a time"
            flow = f"{' '.join(dict.fromkeys(reads))} -> {' '.join(dict.fromkeys(writes))}"
            rows.append((str(i), name, shape, flow, split, f"{op.flops(self.batch):,}", f"{op.bytes(self.batch):,}"))
        widths = [max(len(r[c]) for r in rows) for c in range(len(rows[0]))]
        right = (0, 5, 6)
        lines = [
            "  ".join(v.rjust(w) if c in right else v.ljust(w) for c, (v, w) in enumerate(zip(r, widths))).rstrip() for r in rows
        ]
        body = [line + ("\n" + "-" * 12 + " barrier" if op.barrier else "") for line, op in zip(lines[1:], self.ops)]
        total = (
            f"{self.schedule} schedule, batch {self.batch}, {self.flops:,} flops a step; "
            f"workspace {self.workspace_bytes:,} bytes, peak {self.peak_bytes:,} bytes"
        )
        return "\n".join([lines[0], *body, total])
