# The plan: operations bound to buffers, and runs of many whole steps.

PROBLEMS = {FNN_OK: None, FNN_BAD_INDEX: "index", FNN_BAD_LABEL: "label", FNN_NOT_FINITE: "not finite", FNN_BAD_RATE: "rate",
            FNN_BAD_CODE: "code", FNN_BAD_LOSS: "undefined loss"}


def conv2d_chunk(int kind, slots, values):
    """Of a convolution, as NativePlan takes it: images whose part of the weights' gradient is one sum."""
    cdef fnn_op op
    _fill_op(&op, kind, slots, values)
    return fnn_conv2d_chunk(&op)


def conv2d_scratch(int kind, slots, values):
    """Elements that a thread needs for its windows."""
    cdef fnn_op op
    _fill_op(&op, kind, slots, values)
    return fnn_conv2d_scratch(&op)


cdef class NativePlan:
    """A plan's operations over the buffers of one workspace, ready to run.

    ops: (kind's code, slots, values, by_rows, barrier, updates, bytes of scratch, where they begin, depth, few), see `_fill_op` and
    fnn_op; buffers: (array or None, leading dimension, place in scratch or -1); scratch: bytes of each thread; tensors: what the updates update, or None; gradients: for each tensor the array of its gradient, or None
    where the update is fused; double: whether the model computes in float64; named: for each tensor the array of flags that says which
    of its rows are updated, or None.
    """

    cdef public bint alone  # always one thread: others work on plans of their own meanwhile
    cdef public bint check_losses  # `run` ends before a batch of which a row's loss is not finite, as it does before a bad label
    cdef fnn_op *ops
    cdef size_t n_ops
    cdef fnn_buffer *buffers
    cdef size_t n_buffers
    cdef size_t *near
    cdef int tables
    cdef Tensors tensors
    cdef list arrays
    cdef cnp.ndarray scratch
    cdef fnn_run r
    cdef fnn_autotune autotune
    cdef readonly double work  # floating-point operations of a full batch
    cdef readonly size_t batch
    cdef size_t features, targets, outputs, n_groups, n_shares
    cdef readonly StepCounter counter  # what the next step draws at random from
    cdef Lock lock
    cdef uint64_t valid  # both versions of the optimizer's state, added, for which `cached_step` may do a step; 0: none
    cdef Py_ssize_t least  # rows of its batches
    cdef size_t weighted  # weights of a row, 0 for none
    cdef double scale, shift
    cdef int real  # NumPy's number of the dtype that the model computes in
    cdef fnn_augment augment  # of the present run

    def __cinit__(self, list ops, list buffers, Tensors tensors, list gradients, double work, size_t batch,
                  size_t features, size_t targets, int64_t classes, int output, size_t outputs, double scale,
                  double shift, size_t weighted, ignore, bint double, size_t n_groups, StepCounter counter not None, Lock lock,
                  size_t n_shares=0, list named=None, size_t scratch=0):
        cdef size_t i
        cdef fnn_op *op
        self.n_ops = len(ops)
        # a table fills whole cache lines, so that no thread waits for another that writes to its own
        self.n_buffers = (max(len(buffers), 1) * sizeof(fnn_buffer) + 63) // 64 * 64 // sizeof(fnn_buffer)
        self.n_shares = n_shares
        self.ops = <fnn_op *>calloc(max(self.n_ops, 1), sizeof(fnn_op))
        self.buffers = <fnn_buffer *>fnn_aligned_alloc(2 * self.n_buffers * sizeof(fnn_buffer))
        self.near = <size_t *>calloc(self.n_buffers, sizeof(size_t))
        if not self.ops or not self.buffers or not self.near:
            raise MemoryError
        memset(self.buffers, 0, 2 * self.n_buffers * sizeof(fnn_buffer))
        self.tables = 1
        for i in range(self.n_ops):
            op = &self.ops[i]
            kind, slots, values, *more = ops[i]
            _fill_op(op, kind, slots, values)
            op.by_rows, op.barrier, op.updates, op.scratch, op.scratch_at, op.depth, op.few = more
        self.r.scratch_bytes = (scratch + 63) // 64 * 64
        self.arrays = []
        for i in range(self.n_buffers):
            self.near[i] = FNN_NOT_NEAR
        for i in range(<size_t>len(buffers)):
            array, ld, near = buffers[i]
            self.arrays.append(array)
            self.buffers[i].data = NULL if array is None else cnp.PyArray_DATA(array)
            self.buffers[i].ld = ld
            if near >= 0:
                self.near[i] = near
        self.tensors = tensors
        if tensors is not None:
            for i in range(tensors.count):
                if gradients[i] is not None:
                    self.arrays.append(gradients[i])
                    tensors.tensors[i].g = cnp.PyArray_DATA(gradients[i])
                if named is not None and named[i] is not None:
                    self.arrays.append(named[i])
                    tensors.tensors[i].named = <const unsigned char *>cnp.PyArray_DATA(named[i])
                    tensors.tensors[i].width = tensors.tensors[i].n // <size_t>cnp.PyArray_SIZE(named[i])
            self.r.update = &tensors.update
            self.n_groups = n_groups
            if lock is None:
                lock = tensors.state.lock
        self.counter, self.lock = counter, Lock("this plan") if lock is None else lock
        self.work, self.batch, self.features, self.targets, self.outputs = work, batch, features, targets, outputs
        self.scale, self.shift, self.weighted = scale, shift, weighted
        self.real = cnp.NPY_FLOAT64 if double else cnp.NPY_FLOAT32
        self.r.dtype = FNN_F64 if double else FNN_F32
        self.r.ops = self.ops
        self.r.n_buffers = self.n_buffers
        self.r.near = self.near
        self.r.classes = classes
        self.r.weight_columns = weighted
        self.r.ignores = ignore is not None
        self.r.ignore = ignore if ignore is not None else 0
        self.r.output = output
        self.r.batch = batch

    def __dealloc__(self):
        free(self.ops)
        free(self.near)
        fnn_aligned_free(self.buffers)

    cdef int _tables_for(self, int threads) except -1:
        """Room for one private table of buffers a thread."""
        cdef fnn_buffer *grown
        if threads > self.tables:
            grown = <fnn_buffer *>fnn_aligned_alloc((threads + 1) * self.n_buffers * sizeof(fnn_buffer))
            if not grown:
                raise MemoryError
            memcpy(grown, self.buffers, self.n_buffers * sizeof(fnn_buffer))
            fnn_aligned_free(self.buffers)
            self.buffers = grown
            self.tables = threads
        if self.r.scratch_bytes and (self.scratch is None or self.scratch.size < threads * self.r.scratch_bytes):
            self.scratch = aligned_zeros((threads * self.r.scratch_bytes,), np.uint8)
            self.r.scratch = <char *>cnp.PyArray_DATA(self.scratch)
        self.r.buffers = self.buffers
        self.r.threads = threads
        return 0

    cdef int _choose(self, double work) except -1:
        """The threads for a call whose batches are `work`."""
        self.r.work, self.r.autotune = work, &self.autotune
        return self._tables_for(1 if self.alone else fnn_team_for(work))

    @property
    def costs(self):
        """Seconds a row as measured so far, (alone, by the team); 0 where not yet, and whether the team is chosen."""
        return self.autotune.cost[0], self.autotune.cost[1], self.autotune.team

    cdef int _enter(self) except -1:
        """Before a call touches the run's fields: no other may, nor use the optimizer's state, until `_leave`."""
        self.lock.enter()
        if self.tensors is not None and not self.tensors.state.lock.take():
            self.lock.leave()
            self.tensors.state.lock.enter()  # raises
        return 0

    cdef int _leave(self) noexcept:
        if self.tensors is not None:
            self.tensors.state.lock.leave()
        self.lock.leave()
        return 0

    cdef int _run(self, Tally tally, bint counts=True, Tally parts=None) except -1:
        """What has been done counts when this is over, whatever comes then. tally None: there are no sums to go on from."""
        cdef fnn_run *r = &self.r
        cdef OptimizerState state = None
        if self.tensors is not None:
            state = self.tensors.state
            self.tensors.bind()
            if self.n_groups != state.n_groups:
                raise RuntimeError(f"groups: expected the {self.n_groups} that the plan was made for, got {state.n_groups}")
            if counts and self.counter.done + r.steps < r.steps:
                raise OverflowError(f"steps_done: expected room for {r.steps} more below 2**64, got {self.counter.done}")
            r.groups = state.groups
        r.commits = counts and r.last_op == self.n_ops
        r.seed, r.step0 = self.counter.seed, self.counter.done
        r.loss_sum, r.correct = 0.0, 0
        if tally is not None:
            r.loss_sum, r.correct = tally.loss_sum, tally.correct
        with nogil:
            fnn_plan_run(r)
        if parts is not None and r.steps_done:
            tally.close_batch(parts, r.steps_skipped)
        elif tally is not None:
            tally.take(r)
        if state is not None and r.commits:
            self.counter.done += r.steps_done
            state.skipped += r.steps_skipped
        return _warn_if_refused()

    cdef int _fill_targets(self, y) except -1:
        if not self.targets:
            raise ValueError("y: expected None for a plan without targets, got an array")
        _fill_source(&self.r.y, y, "y", self.targets, 1.0, 0.0)
        if self.r.classes and (cnp.PyArray_NDIM(y) != 1 or self.r.y.dtype > 7):  # the integer dtypes come first
            raise TypeError(f"y: expected integer labels of 1 dimension, got dtype {_dtype(y)} and shape {_shape(y)}")
        return 0

    cdef int _fill_weights(self, weights) except -1:
        if (weights is not None) != (self.weighted > 0):
            raise ValueError(f"weights: expected {'an array' if self.weighted else 'None'} for this plan, got "
                             f"{type(weights).__name__}")
        if self.weighted:
            _fill_source(&self.r.weight, weights, "weights", self.weighted, 1.0, 0.0)
            if self.r.weight.rows != self.r.x.rows:
                raise ValueError(f"weights: expected one for each of x's {self.r.x.rows} rows, got {self.r.weight.rows}")
        return 0

    def run(self, x, y, index, size_t first_op, size_t last_op, rates, losses, bint check_finite, double seconds, out,
            weights=None, Tally tally=None, bint counts=True, host=None, Tally parts=None, size_t row0=0, shares=None,
            augment=None):
        """Run ops [first_op, last_op) for every batch of the rows, or until `seconds` have passed.

        x, y: arrays or None; index: int64 rows or None for all in order; rates: float64 [steps, groups, then settings that depend on the step],
        or None;
        losses: float64 [steps] or None; out: [rows, outputs], of the model's dtype, that receives the output buffer, or None; weights: one for
        each row, or each of its outputs, where the plan is weighted, else None; tally: the sums to go on from; counts: False for a part
        of a batch whose rest comes later; host: the mean loss that Python has worked out of the batch before this part of it; parts: the
        sums of a batch's parts, which the update of all of them makes count; row0: the rows of parts that came before; shares: float64
        [steps, schedules of the plan], or None where it has none; augment: (AugmentChain, seed, epoch) for what is done to the
        rows of x, whose numbers are those of the samples.
        Returns (steps done, steps skipped, problem, row of the problem within its batch).
        """
        cdef fnn_run *r = &self.r
        cdef size_t rows, i
        cdef double before, loss, work
        cdef double *first
        if last_op > self.n_ops or first_op > last_op:
            raise ValueError(f"first, last: expected 0 <= first <= last <= {self.n_ops}, got {first_op}, {last_op}")
        for i in range(self.n_ops):
            if i < first_op < i + self.ops[i].depth or i < last_op < i + self.ops[i].depth:
                raise ValueError(f"first, last: expected all of the operations {i} to {i + self.ops[i].depth - 1} or none, which a thread "
                                 f"does together, got {first_op}, {last_op}")
        self._enter()
        output = r.output
        try:
            _fill_rows(&r.x, x, "x", self.features, self.scale, self.shift)
            rows = r.x.rows
            if y is not None or self.targets:
                self._fill_targets(y)
                if r.y.rows != r.x.rows:
                    raise ValueError(f"y: expected one target for each of x's {r.x.rows} rows, got {r.y.rows}")
            self._fill_weights(weights)
            r.index = _index_data(index, &rows)
            r.rows = rows
            r.steps = (rows + self.batch - 1) // self.batch
            r.first_op, r.last_op = first_op, last_op
            r.check_finite, r.check_losses, r.seconds, r.row0 = check_finite, self.check_losses, seconds, row0
            r.settings = NULL
            if self.n_groups:
                _check(rates, "rates", cnp.NPY_FLOAT64, 2, False)
                _check_shape(rates, "rates", r.steps, self.n_groups + self.tensors.state.n_scheduled)
                r.settings = <double *>cnp.PyArray_DATA(rates)
            if (self.n_shares > 0) != (shares is not None):
                raise ValueError(f"shares: expected {'an array' if self.n_shares else 'None'} for this plan, got {type(shares).__name__}")
            if shares is not None:
                _check(shares, "shares", cnp.NPY_FLOAT64, 2, False)
                _check_shape(shares, "shares", r.steps, self.n_shares)
                r.shares, r.n_shares = <double *>cnp.PyArray_DATA(shares), self.n_shares
            r.losses = NULL
            if losses is not None:
                _check(losses, "losses", cnp.NPY_FLOAT64, 1, True)
                _check_shape(losses, "losses", r.steps)
                r.losses = <double *>cnp.PyArray_DATA(losses)
            r.out = NULL
            if out is None:
                r.output = -1
            else:
                _check(out, "out", self.real, 2, True)
                _check_shape(out, "out", rows)
                r.out, r.ldout = cnp.PyArray_DATA(out), cnp.PyArray_DIM(out, 1)
            work = self.work
            if augment is not None:
                work += (<AugmentChain>augment[0]).a.work * self.batch
            self._choose(work * (rows if rows < self.batch else self.batch) / self.batch)
            if augment is not None:
                memory = self._fill_augment(augment[0], augment[1], augment[2])
            if host is None:
                self._run(tally, counts, parts)
            else:  # what this part adds is the penalties
                first, r.losses = r.losses, NULL
                before, tally.loss_sum = tally.loss_sum, 0.0
                self._run(tally, counts)
                loss = <double>host + tally.loss_sum / rows
                tally.loss_sum = before if r.steps_skipped else before + loss * rows
                if first:
                    first[0] = loss
        finally:
            r.output, r.row0, r.augment = output, 0, NULL
            self._leave()
        return r.steps_done, r.steps_skipped, PROBLEMS[fnn_status_problem(&r.status)], fnn_status_row(&r.status)

    cdef object _fill_augment(self, AugmentChain chain, uint64_t seed, uint32_t epoch):
        """Hand the chain to the run, for as many threads as it has now. Returns the memory that it works in."""
        cdef size_t features = chain.a.height * chain.a.width * chain.a.channels, outputs = 0
        if features != self.features or chain.a.columns != self.features or self.r.x.sparse.indptr != NULL:
            raise ValueError(f"augment: expected a chain for dense rows of {self.features} elements that stay so, got one for {chain.shape}")
        if self.r.x.rows >= <size_t>1 << 32:
            raise ValueError(f"augment: expected fewer than 2**32 rows, got {self.r.x.rows}")
        if chain.mixes:
            outputs = fnn_loss_outputs(self.ops, self.n_ops)
            if self.r.ignores or not outputs:
                raise ValueError("augment: expected a loss of the register, without labels to ignore, where rows are mixed")
        memory = _fill_augment(&self.augment, chain, seed, epoch, 8 if self.r.dtype == FNN_F64 else 4, outputs, self.r.threads)
        self.r.augment = &self.augment
        return memory

    def infer(self, x, out, int ndim):
        """All operations on at most a batch of rows, the low-overhead door of inference: the outputs, [rows, outputs], in `out` or for None
        in a new array.

        Returns None, and does nothing, where anything about the arrays asks for a closer look: x is to be of `ndim`
        dimensions, readable in place, at most a batch; out of the model's dtype, writable and apart from x.
        """
        cdef fnn_run *r = &self.r
        cdef cnp.ndarray a, o
        cdef cnp.npy_intp shape[2]
        if self.tensors is not None or self.targets or self.weighted or r.output < 0:
            raise RuntimeError("infer: expected a plan that only predicts")
        if not cnp.PyArray_CheckExact(x):
            return None
        a = x
        if not (
            cnp.PyArray_NDIM(a) == ndim
            and cnp.PyArray_ISCARRAY_RO(a)
            and 0 < cnp.PyArray_DIM(a, 0) <= <cnp.npy_intp>self.batch
            and <size_t>cnp.PyArray_SIZE(a) == self.features * <size_t>cnp.PyArray_DIM(a, 0)
            and 0 <= cnp.PyArray_TYPE(a) < 32
            and _dtype_codes[cnp.PyArray_TYPE(a)] >= 0
        ):
            return None
        if out is None:
            shape[0], shape[1] = cnp.PyArray_DIM(a, 0), self.outputs
            o = cnp.PyArray_SimpleNew(2, shape, self.real)
        elif not self._fits_outputs(out, a):
            return None
        else:
            o = out
        self._enter()
        try:
            _fill_source(&r.x, a, "X", self.features, self.scale, self.shift)
            r.index = NULL
            r.rows, r.steps = r.x.rows, 1
            r.first_op, r.last_op = 0, self.n_ops
            r.check_finite, r.check_losses, r.seconds = False, False, 0.0
            r.settings, r.losses = NULL, NULL
            r.out, r.ldout = cnp.PyArray_DATA(o), self.outputs
            self._choose(self.work * r.rows / self.batch)
            self._run(None)
        finally:
            self._leave()
        return o

    cdef bint _fits_outputs(self, object out, cnp.ndarray x):
        """Whether the outputs of x's rows may go there: [rows, outputs] of the model's dtype, in one piece, apart from all that is read."""
        cdef cnp.ndarray o
        if not cnp.PyArray_CheckExact(out):
            return False
        o = out
        if not (
            cnp.PyArray_NDIM(o) == 2
            and cnp.PyArray_TYPE(o) == self.real
            and cnp.PyArray_ISCARRAY(o)
            and cnp.PyArray_DIM(o, 0) == cnp.PyArray_DIM(x, 0)
            and <size_t>cnp.PyArray_DIM(o, 1) == self.outputs
            and not _overlap(o, x)
        ):
            return False
        for array in self.arrays:
            if array is not None and _overlap(o, array):
                return False
        return True

    def plain(self, x, y, Py_ssize_t least):
        """Whether `step` may have this batch without a closer look: [rows, features] of the model's dtype, of `least` rows to a batch, and
        signed labels [rows] or real targets [rows, columns], both NumPy's own arrays, C-contiguous and in native byte order."""
        return self._plain(x, y, least)

    cdef bint _plain(self, object x, object y, Py_ssize_t least) noexcept:
        cdef cnp.ndarray a, b
        if not (cnp.PyArray_CheckExact(x) and cnp.PyArray_CheckExact(y)):
            return False
        a, b = x, y
        return (
            cnp.PyArray_NDIM(a) == 2
            and cnp.PyArray_TYPE(a) == self.real
            and cnp.PyArray_ISCARRAY_RO(a)
            and least <= cnp.PyArray_DIM(a, 0) <= <Py_ssize_t>self.batch
            and cnp.PyArray_NDIM(b) == (1 if self.r.classes else 2)
            and (cnp.PyArray_ISSIGNED(b) if self.r.classes else cnp.PyArray_ISFLOAT(b))
            and cnp.PyArray_ITEMSIZE(b) <= 8
            and cnp.PyArray_ISCARRAY_RO(b)
        )

    cdef double _step(self) except *:
        """One step on the batch that the run's sources hold, with the rates of the optimizer's state; its mean loss."""
        cdef fnn_run *r = &self.r
        cdef double loss = 0.0
        cdef int output = r.output
        if self.n_shares:
            raise RuntimeError("step: expected a plan in which nothing but the optimizer follows a schedule")
        r.index = NULL
        r.rows, r.steps = r.x.rows, 1
        r.first_op, r.last_op = 0, self.n_ops
        r.check_finite, r.check_losses, r.seconds = False, False, 0.0
        r.settings, r.losses, r.out = self.tensors.state.rates if self.n_groups else NULL, &loss, NULL
        r.output = -1
        try:
            self._choose(self.work * r.rows / self.batch)
            self._run(None)
        finally:
            r.output = output
        return loss

    def step(self, x, y, list rates, weights=None):
        """One step on one batch with nothing else optional: the low-overhead door. rates: a float for each group, then the settings that
        depend on the step.
        Returns (mean loss, problem or None, row)."""
        cdef fnn_run *r = &self.r
        cdef size_t i, columns
        cdef double loss
        self._enter()
        try:
            _fill_rows(&r.x, x, "x", self.features, self.scale, self.shift)
            self._fill_targets(y)
            if r.y.rows != r.x.rows:
                raise ValueError(f"y: expected one target for each of x's {r.x.rows} rows, got {r.y.rows}")
            if r.x.rows > self.batch:
                raise ValueError(f"x: expected at most {self.batch} rows, got {r.x.rows}")
            self._fill_weights(weights)
            columns = self.n_groups + (self.tensors.state.n_scheduled if self.n_groups else 0)
            if <size_t>len(rates) != columns:
                raise ValueError(f"rates: expected {columns}, got {len(rates)}")
            for i in range(columns):
                self.tensors.state.rates[i] = rates[i]
            loss = self._step()
        finally:
            self._leave()
        return loss, PROBLEMS[fnn_status_problem(&r.status)], fnn_status_row(&r.status)

    def cache_step(self, Py_ssize_t least):
        """After a `step`: whether `cached_step` may do those that follow, of batches of at least so many rows, as long as nothing changes
        that it depends on."""
        cdef OptimizerState state
        self.valid = 0
        if self.tensors is not None and not self.weighted and not self.tensors.update.skip_nonfinite:
            state = self.tensors.state
            if state.constant:
                self.least, self.valid = least, state.compiled + state.rated
        return self.valid != 0

    def cached_step(self, x, y):
        """A step like the one before, at the same rates, if all is as it was and the batch `plain`: the door with the lowest overhead.
        Returns its mean loss, or None where anything asks for a closer look; nothing has changed then."""
        cdef fnn_run *r = &self.r
        cdef OptimizerState state
        cdef double loss
        if (
            not self._plain(x, y, self.least)
            or self.tensors is None
            or <size_t>cnp.PyArray_DIM(x, 1) != self.features
            or cnp.PyArray_DIM(y, 0) != cnp.PyArray_DIM(x, 0)
            or not r.classes and <size_t>cnp.PyArray_DIM(y, 1) != self.targets
        ):
            return None
        state = self.tensors.state
        if self.valid != state.version + state.rates_version or not self.lock.take():
            return None
        try:
            if state.lock is not self.lock and not state.lock.take():
                return None
            try:
                _fill_source(&r.x, x, "x", self.features, self.scale, self.shift)
                self._fill_targets(y)
                loss = self._step()
            finally:
                if state.lock is not self.lock:
                    state.lock.leave()
        finally:
            self.lock.leave()
        return loss if r.steps_done else None  # a label out of range: `step` will say so
