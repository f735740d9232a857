# The user's data: rows taken by index, converted and scaled as they are read.

# By NumPy's type number: the fnn_dtype, in the order of its enum, or -1.
cdef int _dtype_codes[32]
for _i in range(32):
    _dtype_codes[_i] = -1
_ORDER = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")
for _char in "?bBhHiIlLqQefd":
    _dtype_codes[np.dtype(_char).num] = _ORDER.index(np.dtype(_char).str[1:].replace("b", "u"))


cdef class CsrRows:
    """Rows of a sparse matrix (CSR), to be read where they are: of row r the elements data[indptr[r] : indptr[r + 1]], in the columns
    indices[...] of `columns`. The arrays are NumPy's own, in one piece; indptr and indices both of int32 or both of int64.

    Numbers are not trusted: an element out of range is found when its row is read.
    """

    cdef readonly object indptr, indices, data
    cdef readonly tuple shape

    def __init__(self, indptr, indices, data, columns):
        for name, a in (("indptr", indptr), ("indices", indices), ("data", data)):
            if not cnp.PyArray_CheckExact(a) or cnp.PyArray_NDIM(a) != 1 or not cnp.PyArray_ISCARRAY_RO(a):
                raise TypeError(f"{name}: expected a NumPy array of 1 dimension, in one piece and in native byte order, got {a!r:.60}")
        number = cnp.PyArray_TYPE(indptr)
        if number != cnp.PyArray_TYPE(indices) or number not in (cnp.NPY_INT32, cnp.NPY_INT64):
            raise TypeError(f"indptr, indices: expected both int32 or both int64, got {indptr.dtype} and {indices.dtype}")
        if not 0 <= cnp.PyArray_TYPE(data) < 32 or _dtype_codes[cnp.PyArray_TYPE(data)] < 0:
            raise TypeError(f"data: expected real numbers, got dtype {data.dtype}")
        self.indptr, self.indices, self.data = indptr, indices, data
        self.shape = (max(len(indptr) - 1, 0), columns)

    ndim = 2
    dtype = property(lambda self: self.data.dtype)
    size = property(lambda self: self.shape[0] * self.shape[1])

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        """Some rows: of a slice, which shares the arrays, or by an array of numbers, as a dense array."""
        if isinstance(rows, slice):
            begin, end, step = rows.indices(len(self))
            if step != 1:
                raise ValueError(f"rows: expected a slice without steps, got {rows}")
            return CsrRows(self.indptr[begin : max(begin, end) + 1], self.indices, self.data, self.shape[1])
        return self.dense(rows)

    def dense(self, rows):
        """These rows as a dense array."""
        rows = np.asarray(rows)
        out = np.zeros((len(rows), self.shape[1]), self.data.dtype)
        for i, r in enumerate(rows.tolist()):
            part = slice(self.indptr[r], self.indptr[r + 1])
            out[i, self.indices[part]] = self.data[part]
        return out


cdef int _fill_sparse(fnn_source *s, CsrRows rows, str name, size_t features) except -1:
    cdef cnp.ndarray indptr = rows.indptr, indices = rows.indices, data = rows.data
    if <size_t>rows.shape[1] != features:
        raise ValueError(f"{name}: expected rows of {features} value{'s' if features != 1 else ''}, got shape {rows.shape}")
    if cnp.PyArray_SIZE(indptr) != rows.shape[0] + 1 or not rows.shape[0]:
        raise ValueError(f"{name}: expected at least one row, and indptr as it was, got {cnp.PyArray_SIZE(indptr)} numbers in it")
    s.data = cnp.PyArray_BYTES(data)
    s.dtype = _dtype_codes[cnp.PyArray_TYPE(data)]
    s.item = cnp.PyArray_ITEMSIZE(data)
    s.stride = 0
    s.rows = rows.shape[0]
    s.sparse.indptr = cnp.PyArray_BYTES(indptr)
    s.sparse.indices = cnp.PyArray_BYTES(indices)
    s.sparse.wide = cnp.PyArray_TYPE(indptr) == cnp.NPY_INT64
    s.sparse.entries = min(cnp.PyArray_SIZE(indices), cnp.PyArray_SIZE(data))
    return 0


cdef int _fill_rows(fnn_source *s, object obj, str name, size_t features, double scale, double shift) except -1:
    """Describe the rows of an array or of a CsrRows."""
    if type(obj) is not CsrRows:
        return _fill_source(s, obj, name, features, scale, shift)
    s.scale = scale
    s.shift = shift
    return _fill_sparse(s, obj, name, features)


cdef int _fill_source(fnn_source *s, object obj, str name, size_t features, double scale, double shift) except -1:
    """Describe the rows of an array: any real dtype, rows anywhere, the elements of a row adjacent."""
    if not cnp.PyArray_Check(obj):
        raise TypeError(f"{name}: expected a NumPy array, got {type(obj).__name__}")
    if not cnp.PyArray_CheckExact(obj):
        plain(obj, name)
    cdef cnp.ndarray a = obj
    cdef int number = cnp.PyArray_TYPE(a), ndim = cnp.PyArray_NDIM(a)
    cdef int code = _dtype_codes[number] if 0 <= number < 32 else -1
    if code < 0 or not cnp.PyArray_ISNOTSWAPPED(a):
        raise TypeError(f"{name}: expected a real dtype in native byte order, got {_dtype(a).str}")
    if not cnp.PyArray_ISALIGNED(a):
        raise ValueError(f"{name}: expected an aligned array, got one that is not")
    cdef size_t item = cnp.PyArray_ITEMSIZE(a), adjacent = item
    cdef int axis
    if ndim < 1 or cnp.PyArray_DIM(a, 0) == 0:
        raise ValueError(f"{name}: expected at least one row, got shape {_shape(a)}")
    if features == 0: # which a slice of columns may have
        raise ValueError(f"{name}: expected at least one value in a row, got shape {_shape(a)}")
    for axis in range(ndim - 1, 0, -1):
        if cnp.PyArray_DIM(a, axis) != 1 and <size_t>cnp.PyArray_STRIDE(a, axis) != adjacent:
            raise ValueError(f"{name}: expected the elements of a row side by side in memory, got strides {_strides(a)}")
        adjacent *= cnp.PyArray_DIM(a, axis)
    if adjacent != features * item:
        raise ValueError(f"{name}: expected rows of {features} value{'s' if features != 1 else ''}, got shape {_shape(a)}")
    s.data = cnp.PyArray_BYTES(a)
    s.dtype = code
    s.stride = cnp.PyArray_STRIDE(a, 0) if cnp.PyArray_DIM(a, 0) > 1 else adjacent
    s.item = item
    s.rows = cnp.PyArray_DIM(a, 0)
    s.scale = scale
    s.shift = shift
    s.sparse.indptr = NULL
    return 0


cdef const int64_t *_index_data(object index, size_t *rows) except? NULL:
    if index is None:
        return NULL
    _check(index, "index", cnp.NPY_INT64, 1, False)
    rows[0] = cnp.PyArray_SIZE(index)
    return <const int64_t *>cnp.PyArray_DATA(index)


cdef size_t _first_bad_index(const int64_t *index, size_t n, size_t rows) noexcept nogil:
    """The first position whose index is not a row; n where there is none."""
    cdef size_t i
    for i in range(n):
        if <uint64_t>index[i] >= rows:
            return i
    return n


cdef Operation _gather = Operation("gather", "out", "columns planes copies"), _gather_labels = Operation("gather_labels", "out", "columns")


cdef dict _LIKE = {False: np.empty(0, np.float32), True: np.empty(0, np.float64)}


def gather(source, index, double scale, double shift, out, bint check_finite, bint double=False):
    """Returns (rows, problem, row of the index); rows is None for a bad index. `out` changes only if there is no problem."""
    cdef fnn_source s
    cdef size_t features = 1, rows
    if cnp.PyArray_Check(source):
        if cnp.PyArray_NDIM(source) < 2:
            raise ValueError(f"source: expected 2 dimensions or more, got shape {_shape(source)}")
        for n in _shape(source)[1:]:
            features *= <size_t>n
    _fill_source(&s, source, "source", features, scale, shift)
    rows = s.rows
    cdef fnn_run run
    memset(&run, 0, sizeof(run))
    run.index = _index_data(index, &rows)
    cdef cnp.ndarray result = _out_real(out, "out", rows, features, _LIKE[double])
    if out is not None:
        _check_apart(result, "out", ((source, "source"), (index, "index")))
        if check_finite:
            result = _new_real(rows, features, result)
    cdef size_t bad
    if run.index:
        with nogil:
            bad = _first_bad_index(run.index, rows, s.rows)
        if bad < rows:
            return None, FNN_BAD_INDEX, bad
    run.x, run.rows, run.check_finite = s, rows, check_finite
    _gather.call(&run, (result,), (features, 1, True))
    if out is not None and out is not result and fnn_status_problem(&run.status) == FNN_OK:
        out[...] = result
        result = out
    return result, fnn_status_problem(&run.status), fnn_status_row(&run.status)


def gather_labels(labels, index, int64_t classes, out):
    """Returns (labels, problem, row of the index). `out` changes only if there is no problem."""
    cdef fnn_source s
    cdef size_t rows
    if cnp.PyArray_Check(labels) and _dtype(labels).kind not in "biu":
        raise TypeError(f"labels: expected integers, got dtype {_dtype(labels)}")
    if cnp.PyArray_Check(labels) and cnp.PyArray_NDIM(labels) != 1:
        raise ValueError(f"labels: expected 1 dimension, got shape {_shape(labels)}")
    _fill_source(&s, labels, "labels", 1, 1.0, 0.0)
    rows = s.rows
    cdef fnn_run run
    memset(&run, 0, sizeof(run))
    run.index = _index_data(index, &rows)
    if out is not None:
        _check(out, "out", cnp.NPY_INT32, 1, True)
        _check_shape(out, "out", rows)
        _check_apart(out, "out", ((labels, "labels"), (index, "index")))
    run.y, run.rows, run.classes = s, rows, classes
    taken = np.empty(rows, np.int32)
    _gather_labels.call(&run, (taken,), (1,))
    if out is not None and fnn_status_problem(&run.status) == FNN_OK:
        out[...] = taken
        taken = out
    return taken, fnn_status_problem(&run.status), fnn_status_row(&run.status)


cdef class NumberColumns:
    """How columns of numbers are encoded: less a center, times a factor, then x / sqrt(1 + (x / 3)^2), which holds them within 3.

    centers, factors: float64 [columns]; firsts: int64 [columns], where each goes among the `width` encoded ones; seconds: likewise, where
    1 or -1 says whether it is missing, or -1 where nothing does.
    """

    cdef object arrays  # the four, which the pointers point into
    cdef const double *center
    cdef const double *factor
    cdef const int64_t *first
    cdef const int64_t *second
    cdef Py_ssize_t columns, width

    def __init__(self, centers, factors, firsts, seconds, Py_ssize_t width):
        self.columns = self.width = 0
        for name, array, number in (("centers", centers, cnp.NPY_FLOAT64), ("factors", factors, cnp.NPY_FLOAT64),
                                    ("firsts", firsts, cnp.NPY_INT64), ("seconds", seconds, cnp.NPY_INT64)):
            _check(array, name, number, 1, False)
            _check_shape(array, name, len(centers))
        if firsts.min() < 0 or firsts.max() >= width or seconds.min() < -1 or seconds.max() >= width:
            raise ValueError(f"firsts, seconds: expected columns below {width}, got others")
        self.arrays = (centers, factors, firsts, seconds)
        self.center, self.factor = <const double *>cnp.PyArray_DATA(centers), <const double *>cnp.PyArray_DATA(factors)
        self.first, self.second = <const int64_t *>cnp.PyArray_DATA(firsts), <const int64_t *>cnp.PyArray_DATA(seconds)
        self.columns, self.width = len(centers), width

    def __reduce__(self):
        return NumberColumns, (*self.arrays, self.width)

    def encode(self, x):
        """float32 [rows, width] of x, [rows, columns]; None where it is no plain array of floats or doubles, or has a number that is
        infinite or becomes so."""
        cdef cnp.ndarray a, out
        cdef const void *data
        cdef float *result
        cdef bint good, double
        cdef cnp.npy_intp shape[2]
        if not cnp.PyArray_CheckExact(x):
            return None
        a = x
        if not (
            cnp.PyArray_NDIM(a) == 2
            and (cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT64 or cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32)
            and cnp.PyArray_ISCARRAY_RO(a)
            and cnp.PyArray_DIM(a, 1) == self.columns
        ):
            return None
        shape[0], shape[1] = cnp.PyArray_DIM(a, 0), self.width
        out = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT32, 0)
        data, double, result = cnp.PyArray_DATA(a), cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT64, <float *>cnp.PyArray_DATA(out)
        with nogil:
            good = self._encode(data, double, shape[0], result)
        return out if good else None

    @cython.cdivision(True)
    cdef bint _encode(self, const void *x, bint double, Py_ssize_t rows, float *out) noexcept nogil:
        """False where a number is infinite or becomes so."""
        cdef Py_ssize_t i, j, at = 0
        cdef double value, z, third
        for i in range(rows):
            for j in range(self.columns):
                value = (<const double *>x)[at] if double else (<const float *>x)[at]
                at += 1
                z = 0.0
                if value == value:
                    z = (value - self.center[j]) * self.factor[j]
                    if not z - z == 0.0:
                        return False
                    z = min(max(z, -1e100), 1e100)  # whose squares do not overflow
                    third = z / 3
                    z /= sqrt(1 + third * third)
                out[self.first[j]] = <float>z
                if self.second[j] >= 0:
                    out[self.second[j]] = 1 if value != value else -1
            out += self.width
        return True
