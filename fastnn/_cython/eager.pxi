# Eager kernels: checks of arrays, and one operation on them by a team. fastnn.kernels puts both together.

def matrix(a, str name, cnp.npy_intp rows=-1, cnp.npy_intp columns=-1, like=None):
    """(rows, columns) of an array that must be a matrix, of that shape where one is given; of float32 or float64, or of the dtype of
    the array `like`."""
    _check_real(a, name, 2, False, like)
    cdef cnp.npy_intp m = cnp.PyArray_DIM(a, 0), n = cnp.PyArray_DIM(a, 1)
    _check_shape(a, name, m if rows < 0 else rows, n if columns < 0 else columns)
    return m, n


def vector(a, str name, cnp.npy_intp n=-1, like=None):
    """The elements of an array that must be a vector, of so many where that is given; dtypes as for a matrix."""
    _check_real(a, name, 1, False, like)
    if n >= 0:
        _check_shape(a, name, n)
    return cnp.PyArray_DIM(a, 0)


def elements(a, str name, bint writable=False, like=None):
    """How many elements an array of any shape has; dtypes as for a matrix."""
    _check_real(a, name, cnp.PyArray_NDIM(a) if cnp.PyArray_Check(a) else -1, writable, like)
    return cnp.PyArray_SIZE(a)


def sizes(a, str name, int ndim, like=None):
    """The shape of an array of so many dimensions; dtypes as for a matrix."""
    _check_real(a, name, ndim, False, like)
    return _shape(a)


def of_shape(a, str name, tuple shape, like):
    """ValueError where an array is not of this shape; dtypes as for a matrix."""
    _check_real(a, name, <int>len(shape), False, like)
    if _shape(a) != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {_shape(a)}")


def output_of(out, str name, like, tuple shape):
    """`out`, if it is an array of this shape, and of the dtype of `like`, that can be written to; a new one for None."""
    if out is None:
        return np.empty(shape, np.float64 if _is_double(like) else np.float32)
    _check_real(out, name, <int>len(shape), True, like)
    if _shape(out) != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {_shape(out)}")
    return out


def shape_of(cnp.ndarray a):
    """The array's shape, whatever a subclass says of itself."""
    return _shape(a)


def new(like, cnp.npy_intp m, cnp.npy_intp n=-1):
    """An array of shape [m, n], or [m], with anything in it, of the dtype of `like`."""
    return _new_real(m, n, like)


def output(out, str name, like, cnp.npy_intp m, cnp.npy_intp n=-1):
    """`out`, if it is an array of shape [m, n], or [m], and of the dtype of `like`, that can be written to; a new one for None."""
    return _out_real(out, name, m, n, like)


def output_like(out, cnp.ndarray x, str name, str out_name="out"):
    """`out` in place of a new array of x's shape and dtype: x itself, or apart from it."""
    if out is None:
        return cnp.PyArray_SimpleNew(cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), cnp.PyArray_TYPE(x))
    _check_real(out, out_name, cnp.PyArray_NDIM(x), True, x)
    if _shape(out) != _shape(x):
        raise ValueError(f"{out_name}: expected shape {_shape(x)}, got {_shape(out)}")
    _check_same_or_apart(out, x, name, out_name)
    return out


def same_or_apart(cnp.ndarray out, cnp.ndarray x, str name, str out_name="out"):
    """ValueError where `out` overlaps a part of x."""
    _check_same_or_apart(out, x, name, out_name)


def apart(cnp.ndarray out, str out_name, *inputs):
    """ValueError where `out` overlaps one of the inputs, given as (array or None, name)."""
    _check_apart(out, out_name, inputs)


cdef int _check_same_or_apart(cnp.ndarray out, cnp.ndarray x, str name, str out_name) except -1:
    if cnp.PyArray_DATA(out) != cnp.PyArray_DATA(x) and _overlap(out, x):
        raise ValueError(f"{out_name}: expected {name} itself or memory of its own, got an array that overlaps {name}")
    return 0


cdef int _eager(fnn_op *op, fnn_buffer *buffers, fnn_run *run) except -1:
    """The operation by one thread, or by a team where it is worth one."""
    cdef double work = fnn_op_kinds[op.kind].work(op, <double>run.rows)
    if work < _GIL_WORK:
        fnn_eager(op, buffers, run, work)
        return 0
    with nogil:
        fnn_eager(op, buffers, run, work)
    return _warn_if_refused()


cdef class Operation:
    """One kind of operation, to be run on arrays that have been checked: the first that is given is of the dtype that all compute in.

    roles, parameters: names, with spaces between them, in the order in which the calls give arrays and numbers. A call needs all
    parameters of the kind; roles that are left out have no buffer. Arrays of images are [rows, height, width, channels]; a row of
    others is as long as their last axis.
    """

    cdef fnn_op op
    cdef int slots[FNN_OP_BUFFERS]
    cdef int places[FNN_OP_PARAMETERS]
    cdef bint doubles[FNN_OP_PARAMETERS]
    cdef int n_arrays, n_values
    cdef bint images, convolves

    def __cinit__(self, str kind, str roles, str parameters):
        cdef int i
        for self.op.kind in range(FNN_OP_KINDS):
            if fnn_op_kinds[self.op.kind].name.decode() == kind:
                break
        else:
            raise ValueError(f"kind: expected an operation of the register, got {kind!r}")
        for i in range(FNN_OP_BUFFERS):
            self.op.buffer[i] = -1
        info = fnn_op_kinds[self.op.kind]
        known, needed = info.roles.decode().split(), info.parameters.decode().split()
        given, names = roles.split(), parameters.split()
        if not set(given) <= set(known) or sorted(names) != sorted([p[1:] for p in needed]):
            raise TypeError(f"{kind}: expected roles of {known} and the parameters {needed}, got {given} and {names}")
        self.n_arrays, self.n_values = len(given), len(names)
        self.images = "windows" in info.traits.decode().split()
        self.convolves = self.images and "filters" in names
        for i in range(self.n_arrays):
            self.slots[i] = known.index(given[i])
        for i in range(self.n_values):
            self.doubles[i] = "d" + names[i] in needed
            self.places[i] = needed.index(("d" if self.doubles[i] else "i") + names[i])

    cdef int fill(self, fnn_op *op, tuple values) except -1:
        cdef int i
        if len(values) != self.n_values:
            raise TypeError(f"expected {self.n_values} parameters, got {len(values)}")
        memcpy(op, &self.op, sizeof(fnn_op))
        for i in range(self.n_values):
            if self.doubles[i]:
                op.value[self.places[i]].d = values[i]
            else:
                op.value[self.places[i]].i = values[i]
        return 0

    cdef int bind(self, fnn_run *run, fnn_op *op, fnn_buffer *buffers, tuple arrays) except -1:
        cdef int i
        cdef bint found = False
        cdef cnp.ndarray a
        if len(arrays) != self.n_arrays:
            raise TypeError(f"expected {self.n_arrays} arrays, got {len(arrays)}")
        for i in range(self.n_arrays):
            if arrays[i] is not None:
                a = <cnp.ndarray>arrays[i]
                if not found:
                    run.dtype = FNN_F64 if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT64 else FNN_F32
                    found = True
                op.buffer[self.slots[i]] = i
                buffers[i].data = cnp.PyArray_DATA(a)
                if self.images:
                    buffers[i].ld = cnp.PyArray_SIZE(a) // cnp.PyArray_DIM(a, 0)
                else:
                    buffers[i].ld = cnp.PyArray_DIM(a, cnp.PyArray_NDIM(a) - 1) if cnp.PyArray_NDIM(a) > 1 else 1
        return 0

    def run(self, size_t rows, tuple arrays, tuple values, uint64_t seed=0, uint64_t step=0, size_t weight_columns=0,
            ignored=None):
        """On so many rows. seed, step: what is drawn at random is a function of; weight_columns: sample weights of a row; ignored:
        how many labels are -1, if there may be such."""
        cdef fnn_run run
        memset(&run, 0, sizeof(run))
        run.rows, run.seed, run.step0, run.weight_columns = rows, seed, step, weight_columns
        run.ignores, run.rows_left_out = ignored is not None, ignored or 0
        self.call(&run, arrays, values)

    cdef int call(self, fnn_run *run, tuple arrays, tuple values) except -1:
        cdef fnn_op op
        cdef fnn_buffer buffers[FNN_OP_BUFFERS]
        self.fill(&op, values)
        self.bind(run, &op, buffers, arrays)
        if not self.convolves:
            _eager(&op, buffers, run)
            return 0
        # windows are copied to memory of each thread's own
        run.threads = fnn_team_for(fnn_op_kinds[op.kind].work(&op, <double>run.rows))
        run.scratch_bytes = (fnn_conv2d_scratch(&op) * fnn_active_kernels(run.dtype).item + 63) // 64 * 64
        run.scratch = <char *>fnn_aligned_alloc(run.threads * run.scratch_bytes)
        if run.scratch == NULL:
            raise MemoryError()
        try:
            _eager(&op, buffers, run)
        finally:
            fnn_aligned_free(run.scratch)
        return 0

    def conv2d_chunk(self, tuple values):
        """Of a convolution with these parameters: images whose part of the weights' gradient is one sum."""
        cdef fnn_op op
        self.fill(&op, values)
        return fnn_conv2d_chunk(&op)

    def flat(self, tuple arrays, tuple values):
        """On arrays of one size, taken as rows of at most 4096 elements: the first parameter, the number of columns, is not given."""
        cdef fnn_op op
        cdef fnn_buffer buffers[FNN_OP_BUFFERS]
        cdef fnn_run run
        cdef size_t n = cnp.PyArray_SIZE(arrays[0]), columns = min(n, 4096)
        cdef int i
        self.fill(&op, (columns, *values))
        memset(&run, 0, sizeof(run))
        self.bind(&run, &op, buffers, arrays)
        run.rows = n // columns
        for i in range(self.n_arrays):
            buffers[i].ld = columns
        _eager(&op, buffers, &run)
        if n % columns:
            for i in range(self.n_arrays):
                buffers[i].data = <char *>buffers[i].data + (n - n % columns) * cnp.PyArray_ITEMSIZE(arrays[0])
            op.value[self.places[0]].i, run.rows = n % columns, 1
            _eager(&op, buffers, &run)


def op_work(int kind, slots, values, double rows):
    """Floating-point operations of an operation of a plan; slots and values as `NativePlan` takes them."""
    cdef fnn_op op
    _fill_op(&op, kind, slots, values)
    return fnn_op_kinds[kind].work(&op, rows)


cdef int _fill_op(fnn_op *op, int kind, slots, values) except -1:
    """slots: positions of buffers in the order of the roles, -1 for none; values: of the parameters in their order."""
    cdef int i
    if not 0 <= kind < FNN_OP_KINDS:
        raise ValueError(f"kind: expected a code below {FNN_OP_KINDS}, got {kind}; was the extension built again?")
    parameters = fnn_op_kinds[kind].parameters.split()
    if len(slots) > FNN_OP_BUFFERS or len(values) != len(parameters):
        raise ValueError(f"expected {len(parameters)} parameters and at most {FNN_OP_BUFFERS} buffers, got {values} and {slots}")
    memset(op, 0, sizeof(fnn_op))
    op.kind = kind
    for i in range(FNN_OP_BUFFERS):
        op.buffer[i] = slots[i] if i < len(slots) else -1
    for i in range(<int>len(values)):
        if parameters[i].startswith(b"d"):
            op.value[i].d = values[i]
        else:
            op.value[i].i = values[i]
    return 0


def sum_rows(loss):
    """The sum of per-row losses in the order that the plan's reduction has."""
    _check(loss, "loss", cnp.NPY_FLOAT64, 1, False)
    return fnn_sum_rows(<double *>cnp.PyArray_DATA(loss), cnp.PyArray_SIZE(loss))


def penalty_chunks(size_t n):
    """Terms of the penalty of n elements: what the buffer of its forward operation has room for."""
    return fnn_penalty_chunks(n)


def penalty_total(partial, size_t n):
    """Their sum, in order."""
    return fnn_penalty_total(<double *>cnp.PyArray_DATA(partial), n)


