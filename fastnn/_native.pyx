# The one extension module: checks arrays, unwraps them, and calls the C API without the GIL.
#
# Nothing is computed here and no policy is decided here: defaults, names and documentation are in the Python layer.
# Every function checks all of its arguments before it changes anything.

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

cimport numpy as cnp

import numpy as np

cnp.import_array()


cdef extern from *:
    """
    #include <stdlib.h>
    #if defined(__linux__)
    #include <sys/mman.h>
    #endif

    /* What is set aside for a block of so many bytes: from 1 MB on a whole huge page, beyond it no more than was asked for.
       A product goes through such an array by a short piece of every row; with pages of 4 KB, each with few rows on it and
       lying anywhere in memory, it is a fifth slower on some pages than on others. */
    static size_t fnn_block_bytes(size_t bytes)
    {
        const size_t huge = (size_t)2 << 20;
        return bytes >= huge / 2 && bytes <= huge - 64 ? huge : bytes;
    }

    /* 64-byte aligned; blocks of 2 MB are aligned to that, and huge pages asked for. */
    static void *fnn_aligned_alloc(size_t bytes)
    {
        const size_t huge = (size_t)2 << 20, kept = fnn_block_bytes(bytes), alignment = kept >= huge ? huge : 64;
        void *block = NULL;
        if (kept > SIZE_MAX - alignment) return NULL;
        if (posix_memalign(&block, alignment, (kept + 63) / 64 * 64 + (kept == bytes ? 64 : 0))) return NULL;
    #if defined(__linux__) && defined(MADV_HUGEPAGE)
        if (kept >= huge) madvise(block, kept, MADV_HUGEPAGE);
    #endif
        return block;
    }
    """
    void *fnn_aligned_alloc(size_t bytes) nogil
    size_t fnn_block_bytes(size_t bytes) nogil


# ---- memory ----

cdef class _Block:
    """Owns one aligned block; the base object of the arrays that look into it."""

    cdef void *data

    def __dealloc__(self):
        free(self.data)


def aligned_zeros(shape, dtype=np.float32):
    """A C-contiguous array of zeros whose first element is 64-byte aligned. MemoryError where there is no memory."""
    shape = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    dtype = np.dtype(dtype)
    cdef size_t bytes = dtype.itemsize
    cdef size_t limit = <size_t>cython.cast(Py_ssize_t, -1) >> 1
    for n in shape:
        if n < 0:
            raise ValueError(f"shape must not have negative sizes, got {shape}")
        if n and bytes > limit // <size_t>n:
            raise ValueError(f"shape {shape} of {dtype} is larger than the address space")
        bytes *= <size_t>n
    block = _Block()
    (<_Block>block).data = fnn_aligned_alloc(bytes)
    if (<_Block>block).data == NULL:
        raise MemoryError(f"could not allocate {bytes} bytes")
    memset((<_Block>block).data, 0, bytes)
    cdef cnp.npy_intp length = bytes
    flat = cnp.PyArray_SimpleNewFromData(1, &length, cnp.NPY_UINT8, (<_Block>block).data)
    cnp.set_array_base(flat, block)
    return flat.view(dtype).reshape(shape) if bytes else np.zeros(shape, dtype)


def block_bytes(size_t bytes):
    """The memory that `aligned_zeros` keeps for an array of so many bytes."""
    return fnn_block_bytes(bytes)


# ---- checks ----

def plain(obj, str name):
    """`obj` as it is, unless it is a subclass of NumPy's array that means more than its numbers say: TypeError with advice."""
    if not cnp.PyArray_Check(obj) or cnp.PyArray_CheckExact(obj):
        return obj
    kind = type(obj)
    if any(c.__name__ == "MaskedArray" and c.__module__.split(".")[0] == "numpy" for c in kind.__mro__):
        raise TypeError(f"{name}: expected a plain array, got a masked one, of which the mask would be lost; "
                        ".filled(value) fills it, np.asarray(...) takes what is under the mask")
    if kind.__array_ufunc__ is not np.ndarray.__array_ufunc__ or kind.__array_function__ is not np.ndarray.__array_function__:
        raise TypeError(f"{name}: expected a plain array, got a {kind.__name__}, of which the numbers alone would be taken; "
                        "np.asarray(...) says that this is meant")
    return obj


def check_array(obj, str name, dtype=None, ndim=None, bint writable=False):
    """Return `obj` if it is what a kernel can work on, else raise.

    That is: a NumPy array of `dtype` (None: any real number) in native byte order, aligned, C-contiguous, of `ndim`
    dimensions (None: any), not empty and, where `writable`, not read-only. The message names the argument, what was
    expected and what came. Nothing is copied or cast.
    """
    if not cnp.PyArray_Check(obj):
        raise TypeError(f"{name}: expected a NumPy array, got {type(obj).__name__}")
    cdef cnp.ndarray a = plain(obj, name)
    found = _dtype(a)  # what the array is, whatever a subclass says of itself
    if dtype is not None and found != dtype:
        raise TypeError(f"{name}: expected dtype {np.dtype(dtype)}, got {found}")
    if found.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, got dtype {found}")
    if not found.isnative:
        raise TypeError(f"{name}: expected native byte order, got dtype {found.str}")
    if ndim is not None and cnp.PyArray_NDIM(a) != ndim:
        raise ValueError(f"{name}: expected {ndim} dimension{'s' if ndim != 1 else ''}, got shape {_shape(a)}")
    if cnp.PyArray_SIZE(a) == 0:
        raise ValueError(f"{name}: expected at least one element, got shape {_shape(a)}")
    if not cnp.PyArray_IS_C_CONTIGUOUS(a):
        hint = "" if writable else f"; np.ascontiguousarray({name}) makes one"  # of what is written to, a copy is no help
        raise ValueError(f"{name}: expected a C-contiguous array, got strides {_strides(a)} for shape {_shape(a)}{hint}")
    if not cnp.PyArray_ISALIGNED(a):
        raise ValueError(f"{name}: expected an aligned array, got one that is not")
    if writable and not cnp.PyArray_ISWRITEABLE(a):
        raise ValueError(f"{name}: expected a writable array, got a read-only one")
    return a


cdef tuple _shape(cnp.ndarray a):
    return tuple([cnp.PyArray_DIM(a, axis) for axis in range(cnp.PyArray_NDIM(a))])


cdef tuple _strides(cnp.ndarray a):
    return tuple([cnp.PyArray_STRIDE(a, axis) for axis in range(cnp.PyArray_NDIM(a))])


cdef object _dtype(cnp.ndarray a):
    return <object><void *>cnp.PyArray_DESCR(a)


cdef int _check(object obj, str name, int type_number, int ndim, bint writable) except -1:
    """check_array for one dtype, at C speed where all is well."""
    if (
        cnp.PyArray_CheckExact(obj)
        and cnp.PyArray_TYPE(<cnp.ndarray>obj) == type_number
        and cnp.PyArray_NDIM(<cnp.ndarray>obj) == ndim
        and (cnp.PyArray_ISCARRAY(<cnp.ndarray>obj) if writable else cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>obj))
        and cnp.PyArray_SIZE(<cnp.ndarray>obj) > 0
    ):
        return 0
    check_array(obj, name, cnp.PyArray_DescrFromType(type_number), None if ndim < 0 else ndim, writable)
    return 0


cdef int _check_shape(cnp.ndarray a, str name, cnp.npy_intp m, cnp.npy_intp n=-1) except -1:
    if cnp.PyArray_DIM(a, 0) != m or (n >= 0 and cnp.PyArray_DIM(a, 1) != n):
        expected = f"({m},)" if n < 0 else f"({m}, {n})"
        raise ValueError(f"{name}: expected shape {expected}, got {_shape(a)}")
    return 0


cdef void _extent(cnp.ndarray a, char **low, char **high) noexcept:
    """The bytes between which the elements of an array lie, whatever its strides."""
    cdef int axis
    cdef Py_ssize_t span
    low[0] = cnp.PyArray_BYTES(a)
    high[0] = low[0] + (cnp.PyArray_ITEMSIZE(a) if cnp.PyArray_SIZE(a) else 0)
    for axis in range(cnp.PyArray_NDIM(a) if cnp.PyArray_SIZE(a) else 0):
        span = (cnp.PyArray_DIM(a, axis) - 1) * cnp.PyArray_STRIDE(a, axis)
        if span < 0:
            low[0] += span
        else:
            high[0] += span


cdef bint _overlap(cnp.ndarray a, cnp.ndarray b) noexcept:
    cdef char *a_low
    cdef char *a_high
    cdef char *b_low
    cdef char *b_high
    _extent(a, &a_low, &a_high)
    _extent(b, &b_low, &b_high)
    return a_low < b_high and b_low < a_high


cdef bint _alike(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Whether both are of one type and shape and lie in the same order in memory."""
    cdef int axis
    if cnp.PyArray_TYPE(a) != cnp.PyArray_TYPE(b) or cnp.PyArray_NDIM(a) != cnp.PyArray_NDIM(b):
        return False
    for axis in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_DIM(a, axis) != cnp.PyArray_DIM(b, axis):
            return False
        if cnp.PyArray_DIM(a, axis) > 1 and cnp.PyArray_STRIDE(a, axis) != cnp.PyArray_STRIDE(b, axis):
            return False
    return True


cdef int _check_apart(cnp.ndarray out, str out_name, tuple inputs) except -1:
    """`out` must not overlap any of the inputs, given as (array or None, name)."""
    for other, name in inputs:
        if other is not None and _overlap(out, other):
            raise ValueError(f"{out_name}: expected memory of its own, got an array that overlaps {name}")
    return 0


cdef inline float *_f32(object a):
    return NULL if a is None else <float *>cnp.PyArray_DATA(<cnp.ndarray>a)


cdef cnp.ndarray _new_f32(cnp.npy_intp m, cnp.npy_intp n=-1):
    cdef cnp.npy_intp shape[2]
    shape[0] = m
    shape[1] = n
    return cnp.PyArray_SimpleNew(1 if n < 0 else 2, shape, cnp.NPY_FLOAT32)


cdef cnp.ndarray _out_f32(object out, str name, cnp.npy_intp m, cnp.npy_intp n=-1):
    """`out` once it fits, or a new array."""
    if out is None:
        return _new_f32(m, n)
    _check(out, name, cnp.NPY_FLOAT32, 1 if n < 0 else 2, True)
    _check_shape(out, name, m, n)
    return out


# ---- instruction sets and threads ----

cdef int _threads = 1
cdef int _omp_at_start = fnn_omp_max_threads()

# Work below this, in floating-point operations of a batch, is done by one thread: in the few microseconds that a team
# needs to begin and to meet, one thread does a good part of it, and on a busy machine a team may wait much longer.
# Plans begin by this rule and then measure (csrc/runtime/autotune.h), unless a threshold has been set.
cdef double _TEAM_WORK = 2.0e6
cdef double _team_work = _TEAM_WORK
cdef double _PACE_WORK = 4.0e5  # below this a team never pays: it is not even tried


def available_isas():
    cdef const fnn_kernels *tables[4]
    cdef size_t n = fnn_available_kernels(tables)
    return [tables[i].isa.decode() for i in range(n)]


def get_isa():
    return fnn_active_kernels().isa.decode()


def use_isa(str name):
    """Whether the table of that name exists here; if so it is the one in use from now on."""
    cdef bytes encoded = name.encode()
    return bool(fnn_use_kernels(encoded))


def omp_max_threads():
    return fnn_omp_max_threads()


def omp_version():
    return fnn_omp_version()


def set_threads(int n):
    global _threads
    _threads = n


cdef int _team() noexcept nogil:
    """Threads that a team would have now: as configured, or fewer where someone has lowered OpenMP's own limit since
    (omp_set_num_threads, threadpoolctl)."""
    cdef int limit = fnn_omp_max_threads()
    if limit < _omp_at_start and limit < _threads:
        return limit
    return _threads


cdef inline int _team_for(double work) noexcept nogil:
    return _team() if work >= _team_work else 1


def get_threads():
    return 1 if fnn_team_is_lost() else _team()


def team_work(value=None):
    """The threshold of work, in floating-point operations, from which a team is used; sets it if a value is given.
    Plans keep to one that was set; by the default of 2e6 they only begin."""
    global _team_work
    if value is not None:
        _team_work = value
    return _team_work


# ---- eager kernels: kernels.py documents them ----

def dense_forward(x, w, b, int activation, float alpha, out, z):
    cdef fnn_dense_forward o
    memset(&o, 0, sizeof(o))
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    _check(w, "w", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0), n_in = cnp.PyArray_DIM(x, 1), n_out = cnp.PyArray_DIM(w, 1)
    _check_shape(w, "w", n_in, n_out)
    if b is not None:
        _check(b, "b", cnp.NPY_FLOAT32, 1, False)
        _check_shape(b, "b", n_out)
    cdef cnp.ndarray y = _out_f32(out, "out", batch, n_out)
    inputs = ((x, "x"), (w, "w"), (b, "b"))
    if out is not None:
        _check_apart(y, "out", inputs)
    if z is not None:
        _out_f32(z, "z", batch, n_out)
        _check_apart(z, "z", inputs + ((y, "out"),))
    o.batch, o.n_in, o.n_out = batch, n_in, n_out
    o.x, o.ldx = _f32(x), n_in
    o.w, o.b = _f32(w), _f32(b)
    o.y, o.ldy = _f32(y), n_out
    o.z, o.ldz = _f32(z), n_out
    o.activation, o.alpha = activation, alpha
    cdef int threads = _team_for(2.0 * batch * n_in * n_out)
    with nogil:
        fnn_eager(FNN_OP_DENSE_FORWARD, &o, batch, threads)
    return y


cdef _differentiate(cnp.ndarray dy, cnp.ndarray saved, cnp.ndarray out, int activation, float alpha):
    """out = dy f'(saved) for arrays of one shape, seen as rows of a vector each."""
    cdef fnn_elementwise o
    memset(&o, 0, sizeof(o))
    cdef size_t n = cnp.PyArray_SIZE(dy), columns = 4096 if n > 4096 else n
    o.columns = columns
    o.ldx = o.ldsaved = o.ldy = columns
    o.activation, o.alpha = activation, alpha
    o.x, o.saved, o.y = _f32(dy), _f32(saved), _f32(out)
    cdef int threads = _team_for(10.0 * n)
    with nogil:
        fnn_eager(FNN_OP_ACTIVATION_BACKWARD, &o, n // columns, threads)
        if n % columns:
            o.x += n - n % columns
            o.saved += n - n % columns
            o.y += n - n % columns
            o.columns = n % columns
            fnn_eager(FNN_OP_ACTIVATION_BACKWARD, &o, 1, 1)


def dense_backward(dy, x, w, saved, int activation, float alpha, dx, dw, db, bint need_dx):
    _check(dy, "dy", cnp.NPY_FLOAT32, 2, False)
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    _check(w, "w", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0), n_in = cnp.PyArray_DIM(x, 1), n_out = cnp.PyArray_DIM(w, 1)
    _check_shape(w, "w", n_in, n_out)
    _check_shape(dy, "dy", batch, n_out)
    if activation != 0:
        if saved is None:
            raise ValueError("saved: expected the output of the activation, got None")
        _check(saved, "saved", cnp.NPY_FLOAT32, 2, False)
        _check_shape(saved, "saved", batch, n_out)
    if not need_dx and dx is not None:
        raise ValueError("out: expected no dx where need_dx is False, got an array")
    new_dx = _out_f32(dx, "dx", batch, n_in) if need_dx else None
    new_dw = _out_f32(dw, "dw", n_in, n_out)
    new_db = _out_f32(db, "db", n_out)
    inputs = ((dy, "dy"), (x, "x"), (w, "w"), (saved, "saved"))
    if dx is not None:
        _check_apart(dx, "dx", inputs)
    if dw is not None:
        _check_apart(dw, "dw", inputs + ((dx, "dx"),))
    if db is not None:
        _check_apart(db, "db", inputs + ((dx, "dx"), (dw, "dw")))

    dz = dy
    if activation != 0:
        dz = _new_f32(batch, n_out)
        _differentiate(dy, saved, dz, activation, alpha)
    cdef int threads = _team_for(2.0 * batch * n_in * n_out)
    cdef fnn_dense_backward_weights weights
    memset(&weights, 0, sizeof(weights))
    weights.batch, weights.n_in, weights.n_out = batch, n_in, n_out
    weights.x, weights.ldx = _f32(x), n_in
    weights.dy, weights.lddy = _f32(dz), n_out
    weights.dw, weights.db = _f32(new_dw), _f32(new_db)
    cdef fnn_dense_backward_input inward
    memset(&inward, 0, sizeof(inward))
    inward.batch, inward.n_in, inward.n_out = batch, n_in, n_out
    inward.dy, inward.lddy = _f32(dz), n_out
    inward.w = _f32(w)
    inward.dx, inward.lddx = _f32(new_dx), n_in
    with nogil:
        fnn_eager(FNN_OP_DENSE_BACKWARD_WEIGHTS, &weights, batch, threads)
        if need_dx:
            fnn_eager(FNN_OP_DENSE_BACKWARD_INPUT, &inward, batch, threads)
    return new_dx, new_dw, new_db


def bias_gradient(dy, out):
    _check(dy, "dy", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(dy, 0), n = cnp.PyArray_DIM(dy, 1)
    db = _out_f32(out, "out", n)
    if out is not None:
        _check_apart(db, "out", ((dy, "dy"),))
    cdef fnn_dense_backward_weights o
    memset(&o, 0, sizeof(o))
    o.batch, o.n_in, o.n_out = batch, 1, n
    o.dy, o.lddy = _f32(dy), n
    o.db = _f32(db)
    cdef int threads = _team_for(1.0 * batch * n)
    with nogil:
        fnn_eager(FNN_OP_DENSE_BACKWARD_WEIGHTS, &o, batch, threads)
    return db


cdef cnp.ndarray _like_f32(object out, str name, cnp.ndarray x):
    """`out` once it fits x's shape, or a new array of it. It may be x itself, but not a part of it."""
    if out is None:
        return cnp.PyArray_SimpleNew(cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), cnp.NPY_FLOAT32)
    _check(out, name, cnp.NPY_FLOAT32, cnp.PyArray_NDIM(x), True)
    if _shape(out) != _shape(x):
        raise ValueError(f"{name}: expected shape {_shape(x)}, got {_shape(out)}")
    return out


cdef int _check_same_or_apart(cnp.ndarray out, cnp.ndarray x, str name) except -1:
    if cnp.PyArray_DATA(out) != cnp.PyArray_DATA(x) and _overlap(out, x):
        raise ValueError(f"out: expected {name} itself or memory of its own, got an array that overlaps {name}")
    return 0


def activation_forward(x, int activation, float alpha, out):
    _check(x, "x", cnp.NPY_FLOAT32, cnp.PyArray_NDIM(x) if cnp.PyArray_Check(x) else -1, False)
    cdef cnp.ndarray y = _like_f32(out, "out", x)
    _check_same_or_apart(y, x, "x")
    cdef fnn_elementwise o
    memset(&o, 0, sizeof(o))
    cdef size_t n = cnp.PyArray_SIZE(x), columns = 4096 if n > 4096 else n
    o.columns = columns
    o.ldx = o.ldy = columns
    o.activation, o.alpha = activation, alpha
    o.x, o.y = _f32(x), _f32(y)
    cdef int threads = _team_for(20.0 * n)
    with nogil:
        fnn_eager(FNN_OP_ACTIVATION_FORWARD, &o, n // columns, threads)
        if n % columns:
            o.x += n - n % columns
            o.y += n - n % columns
            o.columns = n % columns
            fnn_eager(FNN_OP_ACTIVATION_FORWARD, &o, 1, 1)
    return y


def activation_backward(dy, saved, int activation, float alpha, out):
    check_array(dy, "dy", np.float32)
    check_array(saved, "saved", np.float32)
    if _shape(saved) != _shape(dy):
        raise ValueError(f"saved: expected dy's shape {_shape(dy)}, got {_shape(saved)}")
    cdef cnp.ndarray dx = _like_f32(out, "out", dy)
    _check_same_or_apart(dx, dy, "dy")
    _check_same_or_apart(dx, saved, "saved")
    _differentiate(dy, saved, dx, activation, alpha)
    return dx


def softmax_forward(x, out):
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.ndarray y = _like_f32(out, "out", x)
    _check_same_or_apart(y, x, "x")
    cdef fnn_elementwise o
    memset(&o, 0, sizeof(o))
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0)
    o.columns = o.ldx = o.ldy = cnp.PyArray_DIM(x, 1)
    o.x, o.y = _f32(x), _f32(y)
    cdef int threads = _team_for(20.0 * cnp.PyArray_SIZE(x))
    with nogil:
        fnn_eager(FNN_OP_SOFTMAX_FORWARD, &o, batch, threads)
    return y


cdef _by_rows(fnn_op_kind op, cnp.ndarray x, cnp.ndarray saved, cnp.ndarray y):
    """A row operation with its rows shared out: x (dy), what was saved, and the result, of one shape."""
    cdef fnn_elementwise o
    memset(&o, 0, sizeof(o))
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0)
    o.columns = o.ldx = o.ldy = o.ldsaved = cnp.PyArray_DIM(x, 1)
    o.x, o.saved, o.y = _f32(x), _f32(saved), _f32(y)
    cdef int threads = _team_for(20.0 * cnp.PyArray_SIZE(x))
    with nogil:
        fnn_eager(op, &o, batch, threads)
    return y


def log_softmax_forward(x, out):
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.ndarray y = _like_f32(out, "out", x)
    _check_same_or_apart(y, x, "x")
    return _by_rows(FNN_OP_LOG_SOFTMAX_FORWARD, x, x, y)


cdef _softmax_backward(fnn_op_kind op, dy, y, out):
    _check(dy, "dy", cnp.NPY_FLOAT32, 2, False)
    _check(y, "y", cnp.NPY_FLOAT32, 2, False)
    _check_shape(y, "y", cnp.PyArray_DIM(dy, 0), cnp.PyArray_DIM(dy, 1))
    cdef cnp.ndarray dx = _like_f32(out, "out", dy)
    _check_same_or_apart(dx, dy, "dy")
    _check_same_or_apart(dx, y, "y")
    return _by_rows(op, dy, y, dx)


def softmax_backward(dy, y, out):
    return _softmax_backward(FNN_OP_SOFTMAX_BACKWARD, dy, y, out)


def log_softmax_backward(dy, y, out):
    return _softmax_backward(FNN_OP_LOG_SOFTMAX_BACKWARD, dy, y, out)


cdef int _check_slope(object slope, cnp.npy_intp columns) except -1:
    _check(slope, "slope", cnp.NPY_FLOAT32, 1, False)
    if cnp.PyArray_SIZE(slope) != 1 and cnp.PyArray_SIZE(slope) != columns:
        raise ValueError(f"slope: expected shape (1,) or ({columns},), got {_shape(slope)}")
    return 0


def prelu_forward(x, slope, out):
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    _check_slope(slope, cnp.PyArray_DIM(x, 1))
    cdef cnp.ndarray y = _like_f32(out, "out", x)
    _check_same_or_apart(y, x, "x")
    _check_apart(y, "out", ((slope, "slope"),))
    cdef fnn_prelu o
    memset(&o, 0, sizeof(o))
    o.rows, o.columns = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
    o.step = cnp.PyArray_SIZE(slope) > 1
    o.slope, o.x, o.out = _f32(slope), _f32(x), _f32(y)
    o.ldx = o.ldout = o.columns
    cdef int threads = _team_for(5.0 * cnp.PyArray_SIZE(x))
    with nogil:
        fnn_eager(FNN_OP_PRELU_FORWARD, &o, o.rows, threads)
    return y


def prelu_backward(dy, x, slope, out_dx, out_dslope):
    _check(dy, "dy", cnp.NPY_FLOAT32, 2, False)
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    _check_shape(x, "x", cnp.PyArray_DIM(dy, 0), cnp.PyArray_DIM(dy, 1))
    _check_slope(slope, cnp.PyArray_DIM(dy, 1))
    cdef cnp.ndarray dx = _like_f32(out_dx, "dx", dy)
    cdef cnp.ndarray dslope = _out_f32(out_dslope, "dslope", cnp.PyArray_SIZE(slope))
    if out_dx is not None:
        for other, name in ((dy, "dy"), (x, "x")):
            if cnp.PyArray_DATA(dx) != cnp.PyArray_DATA(<cnp.ndarray>other):
                _check_apart(dx, "dx", ((other, name),))
        _check_apart(dx, "dx", ((slope, "slope"),))
    if out_dslope is not None:
        _check_apart(dslope, "dslope", ((dy, "dy"), (x, "x"), (slope, "slope"), (dx, "dx")))
    cdef fnn_prelu o
    memset(&o, 0, sizeof(o))
    o.rows, o.columns = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
    o.step = cnp.PyArray_SIZE(slope) > 1
    o.slope, o.x, o.dy, o.out = _f32(slope), _f32(x), _f32(dy), _f32(dslope)
    o.ldx = o.lddy = o.ldout = o.columns
    cdef float *dx_data = _f32(dx)
    cdef int threads = _team_for(5.0 * cnp.PyArray_SIZE(x))
    with nogil:
        fnn_eager(FNN_OP_PRELU_SLOPE_GRADIENT, &o, o.rows, threads)
        o.out = dx_data
        fnn_eager(FNN_OP_PRELU_BACKWARD, &o, o.rows, threads)
    return dx, dslope


def loss(str kind, str name, logits, targets, out, sample_weight, class_weight, int form, float parameter, bint total, bint full):
    """One loss of a batch: kind names the operation, name its first argument; targets: int32 labels that have been checked, or
    float32 [batch, classes]; class_weight: float32 [classes] ([2, classes] of the binary ones) or None. Returns (row losses,
    gradient, correct)."""
    cdef fnn_op_kind op = {"softmax_cross_entropy": FNN_OP_SOFTMAX_CROSS_ENTROPY, "elementwise_loss": FNN_OP_ELEMENTWISE_LOSS,
                           "multiclass_hinge": FNN_OP_MULTICLASS_HINGE}[kind]
    _check(logits, name, cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(logits, 0), classes = cnp.PyArray_DIM(logits, 1)
    cdef fnn_loss o
    memset(&o, 0, sizeof(o))
    if cnp.PyArray_TYPE(targets) == cnp.NPY_INT32:
        _check(targets, "targets", cnp.NPY_INT32, 1, False)
        _check_shape(targets, "targets", batch)
        o.labels = <int32_t *>cnp.PyArray_DATA(targets)
    else:
        _check(targets, "targets", cnp.NPY_FLOAT32, 2, False)
        _check_shape(targets, "targets", batch, classes)
        o.targets, o.ldt = _f32(targets), classes
    if sample_weight is not None:
        o.each = op == FNN_OP_ELEMENTWISE_LOSS and cnp.PyArray_Check(sample_weight) and cnp.PyArray_NDIM(sample_weight) == 2
        _check(sample_weight, "sample_weight", cnp.NPY_FLOAT32, 2 if o.each else 1, False)
        if o.each:
            _check_shape(sample_weight, "sample_weight", batch, classes)
        else:
            _check_shape(sample_weight, "sample_weight", batch)
        o.weight, o.ldw = _f32(sample_weight), classes if o.each else 1
    cdef cnp.ndarray dlogits = _out_f32(out, "out", batch, classes)
    _check_same_or_apart(dlogits, logits, name)
    if out is not None:
        _check_apart(dlogits, "out", ((targets, "targets"), (sample_weight, "sample_weight"), (class_weight, "class_weight")))
    loss, correct = np.empty(batch, np.float64), np.empty(batch, np.uint32)
    o.form, o.sum, o.full, o.parameter = form, total, full, parameter
    o.classes = classes
    o.logits, o.ldl = _f32(logits), classes
    o.class_weight = _f32(class_weight)
    o.scale = 1.0 if total else 1.0 / batch
    o.dlogits, o.ldd = _f32(dlogits), classes
    o.loss = <double *>cnp.PyArray_DATA(loss)
    o.correct = <uint32_t *>cnp.PyArray_DATA(correct)
    cdef int threads = _team_for(50.0 * batch * classes)
    with nogil:
        fnn_eager(op, &o, batch, threads)
    return loss, dlogits, correct


def sum_rows(loss):
    """The sum of per-row losses in the order that the plan's reduction has."""
    _check(loss, "loss", cnp.NPY_FLOAT64, 1, False)
    return fnn_sum_rows(<double *>cnp.PyArray_DATA(loss), cnp.PyArray_SIZE(loss))


def penalty_chunks(size_t n):
    """Terms of the penalty of n elements: what the buffer of its forward operation has room for."""
    return fnn_penalty_chunks(n)


def penalty_forward(w, double l1, double l2):
    check_array(w, "w", np.float32)
    cdef fnn_penalty o
    memset(&o, 0, sizeof(o))
    o.n, o.l1, o.l2, o.w = cnp.PyArray_SIZE(w), l1, l2, _f32(w)
    partial = np.empty(fnn_penalty_chunks(o.n), np.float64)
    o.partial = <double *>cnp.PyArray_DATA(partial)
    cdef int threads = _team_for(4.0 * o.n)
    with nogil:
        fnn_eager(FNN_OP_PENALTY_FORWARD, &o, 1, threads)
    return fnn_penalty_total(o.partial, o.n)


def penalty_backward(w, dw, double l1, double l2):
    check_array(w, "w", np.float32)
    check_array(dw, "dw", np.float32, writable=True)
    if _shape(dw) != _shape(w):
        raise ValueError(f"dw: expected w's shape {_shape(w)}, got {_shape(dw)}")
    _check_apart(dw, "dw", ((w, "w"),))
    cdef fnn_penalty o
    memset(&o, 0, sizeof(o))
    o.n, o.l1, o.l2, o.w, o.dw = cnp.PyArray_SIZE(w), l1, l2, _f32(w), _f32(dw)
    cdef int threads = _team_for(4.0 * o.n)
    with nogil:
        fnn_eager(FNN_OP_PENALTY_BACKWARD, &o, 1, threads)
    return dw


# ---- normalisation, noise, maxout ----

cdef int _check_optional(object a, str name, cnp.npy_intp n) except -1:
    """A float32 vector of n, or None."""
    if a is not None:
        _check(a, name, cnp.NPY_FLOAT32, 1, False)
        _check_shape(a, name, n)
    return 0


def batchnorm_forward(x, weight, bias, float eps, int activation, float alpha, out):
    """Returns (y, statistics [4, features]: mean, what it lacks of the true one, 1 / deviation, variance)."""
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
    _check_optional(weight, "weight", n)
    _check_optional(bias, "bias", n)
    cdef cnp.ndarray y = _like_f32(out, "out", x)
    _check_same_or_apart(y, x, "x")
    _check_apart(y, "out", ((weight, "weight"), (bias, "bias")))
    cdef cnp.ndarray statistics = _new_f32(4, n)
    cdef fnn_batchnorm o
    memset(&o, 0, sizeof(o))
    o.rows, o.columns, o.eps, o.activation, o.alpha = batch, n, eps, activation, alpha
    o.x, o.ldx, o.gamma, o.beta = _f32(x), n, _f32(weight), _f32(bias)
    o.statistics, o.lds, o.y, o.ldy = _f32(statistics), n, _f32(y), n
    cdef int threads = _team_for(10.0 * batch * n)
    with nogil:
        fnn_eager(FNN_OP_BATCHNORM_FORWARD, &o, batch, threads)
    return y, statistics


def batchnorm_inference(x, mean, var, weight, bias, float eps, int activation, float alpha, out):
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
    for a, name in ((mean, "mean"), (var, "var")):
        _check(a, name, cnp.NPY_FLOAT32, 1, False)
        _check_shape(a, name, n)
    _check_optional(weight, "weight", n)
    _check_optional(bias, "bias", n)
    cdef cnp.ndarray y = _like_f32(out, "out", x)
    _check_same_or_apart(y, x, "x")
    _check_apart(y, "out", ((weight, "weight"), (bias, "bias"), (mean, "mean"), (var, "var")))
    cdef fnn_batchnorm o
    memset(&o, 0, sizeof(o))
    o.rows, o.columns, o.eps, o.activation, o.alpha = batch, n, eps, activation, alpha
    o.x, o.ldx, o.gamma, o.beta = _f32(x), n, _f32(weight), _f32(bias)
    o.mean, o.var, o.y, o.ldy = _f32(mean), _f32(var), _f32(y), n
    cdef int threads = _team_for(4.0 * batch * n)
    with nogil:
        fnn_eager(FNN_OP_BATCHNORM_INFERENCE, &o, batch, threads)
    return y


def batchnorm_backward(dy, x, statistics, weight, out):
    _check(dy, "dy", cnp.NPY_FLOAT32, 2, False)
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    _check(statistics, "statistics", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
    _check_shape(dy, "dy", batch, n)
    _check_shape(statistics, "statistics", 4, n)
    _check_optional(weight, "weight", n)
    cdef cnp.ndarray dx = _like_f32(out, "out", dy)
    _check_same_or_apart(dx, dy, "dy")
    _check_apart(dx, "out", ((x, "x"), (statistics, "statistics"), (weight, "weight")))
    cdef cnp.ndarray dweight = _new_f32(n), dbias = _new_f32(n)
    cdef fnn_batchnorm o
    memset(&o, 0, sizeof(o))
    o.rows, o.columns = batch, n
    o.x, o.ldx, o.gamma = _f32(x), n, _f32(weight)
    o.statistics, o.lds = _f32(statistics), n
    o.dy, o.lddy, o.dx, o.lddx, o.dgamma, o.dbeta = _f32(dy), n, _f32(dx), n, _f32(dweight), _f32(dbias)
    cdef int threads = _team_for(15.0 * batch * n)
    with nogil:
        fnn_eager(FNN_OP_BATCHNORM_BACKWARD, &o, batch, threads)
    return dx, dweight, dbias


def rownorm_forward(x, weight, bias, bint centered, float eps, int activation, float alpha, out):
    """Returns (y, statistics [batch, 3]: mean, what it lacks of the true one, 1 / deviation)."""
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
    _check_optional(weight, "weight", n)
    _check_optional(bias, "bias", n)
    cdef cnp.ndarray y = _like_f32(out, "out", x)
    _check_same_or_apart(y, x, "x")
    _check_apart(y, "out", ((weight, "weight"), (bias, "bias")))
    cdef cnp.ndarray statistics = _new_f32(batch, 3)
    cdef fnn_rownorm o
    memset(&o, 0, sizeof(o))
    o.rows, o.columns, o.centered, o.eps, o.activation, o.alpha = batch, n, centered, eps, activation, alpha
    o.x, o.ldx, o.gamma, o.beta = _f32(x), n, _f32(weight), _f32(bias)
    o.statistics, o.lds, o.y, o.ldy = _f32(statistics), 3, _f32(y), n
    cdef int threads = _team_for(10.0 * batch * n)
    with nogil:
        fnn_eager(FNN_OP_LAYERNORM_FORWARD, &o, batch, threads)
    return y, statistics


def rownorm_backward(dy, x, statistics, weight, bint centered, out):
    _check(dy, "dy", cnp.NPY_FLOAT32, 2, False)
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    _check(statistics, "statistics", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
    _check_shape(dy, "dy", batch, n)
    _check_shape(statistics, "statistics", batch, 3)
    _check_optional(weight, "weight", n)
    cdef cnp.ndarray dx = _like_f32(out, "out", dy)
    _check_same_or_apart(dx, dy, "dy")
    _check_apart(dx, "out", ((x, "x"), (statistics, "statistics"), (weight, "weight")))
    cdef cnp.ndarray dweight = _new_f32(n), dbias = _new_f32(n)
    cdef fnn_rownorm o
    memset(&o, 0, sizeof(o))
    o.rows, o.columns, o.centered = batch, n, centered
    o.x, o.ldx, o.gamma = _f32(x), n, _f32(weight)
    o.statistics, o.lds = _f32(statistics), 3
    o.dy, o.lddy, o.dx, o.lddx, o.dgamma, o.dbeta = _f32(dy), n, _f32(dx), n, _f32(dweight), _f32(dbias)
    cdef int threads = _team_for(15.0 * batch * n)
    with nogil:
        fnn_eager(FNN_OP_LAYERNORM_BACKWARD_WEIGHTS, &o, batch, threads)
        fnn_eager(FNN_OP_LAYERNORM_BACKWARD_INPUT, &o, batch, threads)
    return dx, dweight, dbias


def noise(x, uint32_t threshold, float scale, bint gaussian, uint64_t seed, uint32_t step, uint32_t stream, out):
    """Dropout of `threshold` in 65536 elements, the others times scale; or x + scale times a normal number."""
    check_array(x, "x", np.float32)
    cdef cnp.ndarray y = _like_f32(out, "out", x)
    _check_same_or_apart(y, x, "x")
    cdef size_t columns = cnp.PyArray_DIM(x, cnp.PyArray_NDIM(x) - 1) if cnp.PyArray_NDIM(x) else 1
    cdef fnn_noise o
    memset(&o, 0, sizeof(o))
    o.rows, o.columns = <size_t>cnp.PyArray_SIZE(x) // columns, columns
    o.draw.seed, o.draw.step, o.draw.stream = seed, step, stream
    o.threshold, o.scale = threshold, scale
    o.x, o.ldx, o.y, o.ldy = _f32(x), columns, _f32(y), columns
    cdef int threads = _team_for(10.0 * cnp.PyArray_SIZE(x))
    with nogil:
        fnn_eager(FNN_OP_GAUSSIAN_NOISE if gaussian else FNN_OP_DROPOUT, &o, o.rows, threads)
    return y


def maxout_forward(x, size_t pieces, out):
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
    if n % <cnp.npy_intp>pieces:
        raise ValueError(f"x: expected {pieces} pieces of one width in a row, got shape {_shape(x)}")
    cdef cnp.ndarray y = _out_f32(out, "out", batch, n // <cnp.npy_intp>pieces)
    _check_apart(y, "out", ((x, "x"),))
    cdef fnn_maxout o
    memset(&o, 0, sizeof(o))
    o.columns, o.pieces = n // <cnp.npy_intp>pieces, pieces
    o.x, o.ldx, o.y, o.ldy = _f32(x), n, _f32(y), o.columns
    cdef int threads = _team_for(5.0 * batch * n)
    with nogil:
        fnn_eager(FNN_OP_MAXOUT_FORWARD, &o, batch, threads)
    return y


def maxout_backward(dy, x, size_t pieces, out):
    _check(dy, "dy", cnp.NPY_FLOAT32, 2, False)
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
    if n % <cnp.npy_intp>pieces:
        raise ValueError(f"x: expected {pieces} pieces of one width in a row, got shape {_shape(x)}")
    _check_shape(dy, "dy", batch, n // <cnp.npy_intp>pieces)
    cdef cnp.ndarray dx = _out_f32(out, "out", batch, n)
    _check_apart(dx, "out", ((x, "x"), (dy, "dy")))
    cdef fnn_maxout o
    memset(&o, 0, sizeof(o))
    o.columns, o.pieces = n // <cnp.npy_intp>pieces, pieces
    o.x, o.ldx, o.dy, o.lddy, o.y, o.ldy = _f32(x), n, _f32(dy), o.columns, _f32(dx), n
    cdef int threads = _team_for(5.0 * batch * n)
    with nogil:
        fnn_eager(FNN_OP_MAXOUT_BACKWARD, &o, batch, threads)
    return dx


# ---- the user's data ----

# By NumPy's type number: the fnn_dtype, in the order of its enum, or -1.
cdef int _dtype_codes[32]
for _i in range(32):
    _dtype_codes[_i] = -1
_ORDER = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")
for _char in "?bBhHiIlLqQefd":
    _dtype_codes[np.dtype(_char).num] = _ORDER.index(np.dtype(_char).str[1:].replace("b", "u"))


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


def gather(source, index, double scale, double shift, out, bint check_finite):
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
    cdef fnn_gather o
    memset(&o, 0, sizeof(o))
    o.index = _index_data(index, &rows)
    cdef cnp.ndarray result = _out_f32(out, "out", rows, features)
    if out is not None:
        _check_apart(result, "out", ((source, "source"), (index, "index")))
        if check_finite:
            result = _new_f32(rows, features)
    cdef size_t bad
    if o.index:
        with nogil:
            bad = _first_bad_index(o.index, rows, s.rows)
        if bad < rows:
            return None, FNN_BAD_INDEX, bad
    cdef fnn_status status
    memset(&status, 0, sizeof(status))
    o.source, o.dtype, o.row_stride, o.item, o.source_rows = s.data, s.dtype, s.stride, s.item, s.rows
    o.features = features
    o.scale, o.shift, o.check_finite = scale, shift, check_finite
    o.out, o.ld = _f32(result), features
    o.status = &status
    cdef int threads = _team_for(4.0 * rows * features)
    with nogil:
        fnn_eager(FNN_OP_GATHER, &o, rows, threads)
    if out is not None and out is not result and fnn_status_problem(&status) == FNN_OK:
        out[...] = result
        result = out
    return result, fnn_status_problem(&status), fnn_status_row(&status)


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
    cdef fnn_gather_labels o
    memset(&o, 0, sizeof(o))
    o.index = _index_data(index, &rows)
    if out is not None:
        _check(out, "out", cnp.NPY_INT32, 1, True)
        _check_shape(out, "out", rows)
        _check_apart(out, "out", ((labels, "labels"), (index, "index")))
    cdef fnn_status status
    memset(&status, 0, sizeof(status))
    o.source, o.dtype, o.stride, o.source_rows, o.classes = s.data, s.dtype, s.stride, s.rows, classes
    taken = np.empty(rows, np.int32)
    o.out = <int32_t *>cnp.PyArray_DATA(taken)
    o.status = &status
    with nogil:
        fnn_eager(FNN_OP_GATHER_LABELS, &o, rows, 1)
    if out is not None and fnn_status_problem(&status) == FNN_OK:
        out[...] = taken
        taken = out
    return taken, fnn_status_problem(&status), fnn_status_row(&status)


# ---- random numbers ----

def random_bits(n, seed, stream, step, offset):
    out = np.empty(n, np.uint32)
    cdef size_t count = n
    cdef uint64_t s = seed, o = offset
    cdef uint32_t c = stream, t = step
    cdef uint32_t *data = <uint32_t *>cnp.PyArray_DATA(out)
    with nogil:
        fnn_random_bits(s, c, t, o, count, data)
    return out


def permutation(n, seed, epoch):
    out = np.empty(n, np.int64)
    cdef size_t count = n
    cdef uint64_t s = seed
    cdef uint32_t e = epoch
    cdef int64_t *data = <int64_t *>cnp.PyArray_DATA(out)
    with nogil:
        fnn_permutation(s, e, count, data)
    return out


# ---- optimizers ----

# The rules, by their codes: (name, how many state arrays).
UPDATE_RULES = [((<const char *>fnn_update_names[_i]).decode(), fnn_update_states[_i]) for _i in range(FNN_UPDATE_RULES)]

UPDATE_CHUNK = FNN_UPDATE_CHUNK

cdef uint64_t _groups_version = 1
cdef uint64_t _rates_version = 0


cdef class Settings(dict):
    """A dict that leaves a mark when it is changed, so that an optimizer need not look through its groups at every step; a mark
    of its own for a new "lr", which loops of one's own often set."""

    def __setitem__(self, key, value):
        global _groups_version, _rates_version
        if type(key) is str and key == "lr":
            _rates_version += 1
        else:
            _groups_version += 1
        dict.__setitem__(self, key, value)

    def __delitem__(self, key):
        global _groups_version
        _groups_version += 1
        dict.__delitem__(self, key)

    def update(self, *args, **kwargs):
        global _groups_version
        _groups_version += 1
        dict.update(self, *args, **kwargs)

    def __ior__(self, other):
        self.update(other)
        return self

    def setdefault(self, key, default=None):
        global _groups_version
        _groups_version += 1
        return dict.setdefault(self, key, default)

    def pop(self, *args):
        global _groups_version
        _groups_version += 1
        return dict.pop(self, *args)

    def popitem(self):
        global _groups_version
        _groups_version += 1
        return dict.popitem(self)

    def clear(self):
        global _groups_version
        _groups_version += 1
        dict.clear(self)

    def __reduce__(self):
        return Settings, (dict(self),)


def settings_version():
    """A number that changes whenever a Settings does, but for a new "lr"."""
    return _groups_version


def rates_version():
    """A number that changes whenever an "lr" is set."""
    return _rates_version


def settings_changed():
    """Leave the mark of a changed Settings, where something else has changed that a step depends on."""
    global _groups_version
    _groups_version += 1


_CHANGED = "expected the memory, dtype, shape and layout that it had, got an array that has been resized or changed"


cdef struct Span:
    char *low
    char *high


cdef class Tensors:
    """Arrays with their states and groups, resolved to pointers once: what an optimizer updates.

    params: arrays; states: a tuple of arrays for each; group_of: a group number for each; averages: for each the array
    of its moving average, or None.
    """

    cdef fnn_tensor *tensors
    cdef size_t count
    cdef fnn_group *groups
    cdef fnn_update_rule *rules
    cdef fnn_update_scalars *scalars
    cdef double *rates
    cdef size_t n_groups
    cdef fnn_update update
    cdef Span *spans  # of everything that is updated, by address
    cdef size_t n_spans
    cdef double elements
    cdef list params, states, names, averages  # keeps the arrays alive
    cdef bint busy, trust, limits
    # the versions, added, of the settings for which a plain list of gradients is all that a step needs; 0: none
    cdef uint64_t ready
    cdef uint64_t armed  # the same for `NativePlan.again`
    cdef bint current  # since `begin` or `set_group` nobody has called `disarm`
    cdef readonly size_t done  # steps of the last run of a plan, and by `again` since; 0 after `begin` or `set_group`
    cdef readonly size_t skipped  # and those that were left out

    def __cinit__(self, list params, list states, list group_of, size_t n_groups, list names, list averages=None):
        cdef fnn_tensor *t
        cdef size_t i
        cdef cnp.ndarray p
        self.params, self.states, self.names, self.averages = params, states, names, averages
        self.count, self.n_groups = len(params), n_groups
        self.tensors = <fnn_tensor *>calloc(max(self.count, 1), sizeof(fnn_tensor))
        self.groups = <fnn_group *>calloc(max(n_groups, 1), sizeof(fnn_group))
        self.rules = <fnn_update_rule *>calloc(max(n_groups, 1), sizeof(fnn_update_rule))
        self.scalars = <fnn_update_scalars *>calloc(max(n_groups, 1), sizeof(fnn_update_scalars))
        self.rates = <double *>calloc(max(n_groups, 1), sizeof(double))
        self.spans = <Span *>calloc(max((FNN_STATES + 1) * self.count, 1), sizeof(Span))
        if not (self.tensors and self.groups and self.rules and self.scalars and self.rates and self.spans):
            raise MemoryError
        spans = []
        for i in range(self.count):
            t = &self.tensors[i]
            p = params[i]
            t.w = cnp.PyArray_DATA(p)
            t.n = cnp.PyArray_SIZE(p)
            t.is_double = cnp.PyArray_TYPE(p) == cnp.NPY_FLOAT64
            t.group = group_of[i]
            if cnp.PyArray_NDIM(p) > 1:
                t.units = cnp.PyArray_DIM(p, cnp.PyArray_NDIM(p) - 1)
                t.unit_together = not cnp.PyArray_IS_C_CONTIGUOUS(p) or t.units == 1
            if not (
                (t.is_double or cnp.PyArray_TYPE(p) == cnp.NPY_FLOAT32)
                and cnp.PyArray_ISBEHAVED(p)
                and (cnp.PyArray_IS_C_CONTIGUOUS(p) or cnp.PyArray_IS_F_CONTIGUOUS(p))
            ):  # whatever a subclass says of itself
                raise ValueError(
                    f"{names[i]}: expected a writable, aligned, C- or F-contiguous float32 or float64 array, got another"
                )
            arrays = [p]
            for j, state in enumerate(states[i]):
                t.state[<int>j] = cnp.PyArray_DATA(state)
                arrays.append(state)
            if averages is not None and averages[i] is not None:
                t.state[FNN_AVERAGE] = cnp.PyArray_DATA(averages[i])
                arrays.append(averages[i])
            for array in arrays:
                if (
                    <size_t>cnp.PyArray_SIZE(array) != t.n
                    or cnp.PyArray_TYPE(array) != cnp.PyArray_TYPE(p)
                    or not (cnp.PyArray_IS_C_CONTIGUOUS(array) or cnp.PyArray_IS_F_CONTIGUOUS(array))
                ):
                    raise ValueError(f"{names[i]}: {_CHANGED}")
                if t.n:
                    spans.append((<size_t>cnp.PyArray_DATA(array), t.n * cnp.PyArray_ITEMSIZE(p)))
            self.elements += t.n
        for i, (low, size) in enumerate(sorted(spans)):
            self.spans[i].low = <char *><size_t>low
            self.spans[i].high = self.spans[i].low + <size_t>size
        self.n_spans = len(spans)
        self.update.tensors, self.update.count = self.tensors, self.count
        self.update.rules, self.update.scalars, self.update.n_groups = self.rules, self.scalars, n_groups

    def __dealloc__(self):
        free(self.tensors)
        free(self.groups)
        free(self.rules)
        free(self.scalars)
        free(self.rates)
        free(self.spans)
        free(self.update.norms)
        free(self.update.trust)

    def set_group(self, size_t i, int rule, hyper, double weight_decay=0.0, bint decoupled=False, bint maximize=False,
                  double l1=0.0, double clip_value=0.0, double max_norm=0.0, double ema=0.0, uint64_t t=0,
                  memory=(0.0, 0.0)):
        """The hyper-parameters of a group, and how far it has come."""
        cdef size_t j
        cdef int k, states
        cdef fnn_group *g
        if i >= self.n_groups:
            raise ValueError(f"groups: expected {self.n_groups}, got more")
        if not 0 <= rule < FNN_UPDATE_RULES:
            raise ValueError(f"rule: expected a code below {FNN_UPDATE_RULES}, got {rule}; was the extension built again?")
        if len(hyper) > FNN_HYPER:
            raise ValueError(f"hyper: expected at most {FNN_HYPER} numbers, got {len(hyper)}")
        for j in range(self.count):
            if <size_t>self.tensors[j].group == i:
                states = 0
                while states < FNN_AVERAGE and self.tensors[j].state[states]:
                    states += 1
                if states != fnn_update_states[rule] or (ema > 0 and self.tensors[j].state[FNN_AVERAGE] == NULL):
                    raise ValueError(f"groups: expected a rule for which the parameters of group {i} have states, got "
                                     f"{fnn_update_names[rule].decode()}")
        self.begin()
        self.ready = 0
        g = &self.groups[i]
        memset(g, 0, sizeof(fnn_group))
        g.rule = self.rules[i] = rule
        for k, value in enumerate(hyper):
            g.hyper[k] = value
        g.weight_decay, g.decoupled, g.maximize = weight_decay, decoupled, maximize
        g.l1, g.clip_value, g.max_norm, g.ema = l1, clip_value, max_norm, ema
        g.t, g.memory[0], g.memory[1] = t, memory[0], memory[1]
        self.trust = self.limits = False
        for j in range(self.n_groups):
            self.trust = self.trust or self.groups[j].rule == FNN_LAMB
            self.limits = self.limits or self.groups[j].max_norm > 0
        return None

    def begin(self):
        """A run comes: none of its steps is done."""
        self.done = self.skipped = self.armed = 0
        self.current = True

    def disarm(self):
        """No `NativePlan.again`, now or after the step that is running: someone else leads now, or something has changed that leaves
        no mark."""
        self.armed = 0
        self.current = False

    def progress(self):
        """How far each group has come: its steps and its memory."""
        return [(self.groups[i].t, (self.groups[i].memory[0], self.groups[i].memory[1])) for i in range(self.n_groups)]

    def set_clipping(self, double clip_norm, bint skip_nonfinite):
        """For the plans that update these arrays: clip by the global norm (0: don't), leave out steps without a finite one."""
        self.update.clip_norm, self.update.skip_nonfinite = clip_norm, skip_nonfinite

    def set_rates(self, list rates):
        """From now on `quick_step` may be used, with these rates, until a Settings changes."""
        cdef size_t i
        for i in range(self.n_groups):
            self.rates[i] = rates[i]
        self.ready = _groups_version + _rates_version
        self.update.skip_nonfinite = False
        self.update.clip_norm = 0.0

    cdef bint _taken(self, char *low, char *high) noexcept nogil:
        """Whether an array between these addresses overlaps one that is updated."""
        cdef size_t begin = 0, end = self.n_spans, middle
        while begin < end:  # the first span that ends behind `low`
            middle = (begin + end) // 2
            if self.spans[middle].high <= low:
                begin = middle + 1
            else:
                end = middle
        return begin < self.n_spans and self.spans[begin].low < high

    cdef bint _as_given(self, size_t i) noexcept:
        """Whether array i is still what and where it was, and writable."""
        cdef cnp.ndarray p = <cnp.ndarray><void *>self.params[i]
        cdef fnn_tensor *t = &self.tensors[i]
        cdef int axes = cnp.PyArray_NDIM(p)
        return (
            cnp.PyArray_DATA(p) == t.w
            and <size_t>cnp.PyArray_SIZE(p) == t.n
            and cnp.PyArray_TYPE(p) == (cnp.NPY_FLOAT64 if t.is_double else cnp.NPY_FLOAT32)
            and t.units == <size_t>(cnp.PyArray_DIM(p, axes - 1) if axes > 1 else 0)
            and (cnp.PyArray_IS_C_CONTIGUOUS(p) or axes > 1 and t.unit_together and cnp.PyArray_IS_F_CONTIGUOUS(p))
            and cnp.PyArray_ISBEHAVED(p)
        )

    cdef bint _fits(self, size_t i, object g) noexcept:
        """Whether g is what the gradient of array i must be."""
        cdef cnp.ndarray p = <cnp.ndarray><void *>self.params[i], a
        cdef char *low
        if not cnp.PyArray_CheckExact(g):
            return False
        if not self._as_given(i):
            return False
        a = <cnp.ndarray>g
        if not (_alike(a, p) and cnp.PyArray_ISBEHAVED_RO(a)):
            return False
        low = cnp.PyArray_BYTES(a)
        return not self._taken(low, low + self.tensors[i].n * <size_t>cnp.PyArray_ITEMSIZE(p))

    cdef object _fitted(self, size_t i, object g):
        """What can be read in place of the gradient `g` of array i: of its numbers, a copy that lies as the array does. Raises
        where they are no gradient of it."""
        cdef cnp.ndarray p = self.params[i], a
        cdef char *low
        cdef char *high
        if not cnp.PyArray_ISWRITEABLE(p):
            raise ValueError(f"{self.names[i]}: expected a writable array, got a read-only one")
        if not self._as_given(i):
            raise ValueError(f"{self.names[i]}: {_CHANGED}")
        name = f"gradient of {self.names[i]}"
        if not cnp.PyArray_Check(g) and cnp.PyArray_NDIM(p) == 0:  # NumPy makes scalars of what has no dimensions
            if type(g) is float or type(g) is int:
                g = np.array(g, _dtype(p))
            elif isinstance(g, np.generic):
                g = np.asarray(g)
        if not cnp.PyArray_Check(g):
            raise TypeError(f"{name}: expected a NumPy array, got {type(g).__name__}")
        a = np.asarray(plain(g, name))
        if a.dtype != _dtype(p):
            raise TypeError(f"{name}: expected the parameter's dtype {_dtype(p)}, got {a.dtype}")
        if _shape(a) != _shape(p):
            raise ValueError(f"{name}: expected the parameter's shape {_shape(p)}, got {_shape(a)}")
        for other, array in zip(self.names, self.params):
            if _overlap(a, array):
                raise ValueError(f"{name}: expected memory of its own, got an array that overlaps {other}")
        _extent(a, &low, &high)
        if low < high and self._taken(low, high):
            raise ValueError(f"{name}: expected memory of its own, got an array that overlaps the optimizer's state")
        if _alike(a, p) and cnp.PyArray_ISBEHAVED_RO(a):
            return a
        fitted = np.empty_like(p, subok=False)  # in the order of p
        fitted[...] = a
        return fitted

    cdef int _make_room(self) except -1:
        """Before an update: for what the norms are summed up from."""
        cdef size_t chunks
        cdef bint needs_norm = self.update.clip_norm > 0 or self.update.skip_nonfinite
        if needs_norm and not self.update.norms or self.trust and not self.update.trust:
            chunks = max(fnn_update_chunks(self.tensors, self.count), 1)
            free(self.update.norms)
            self.update.norms = <double *>calloc(chunks, sizeof(double))
            free(self.update.trust)
            self.update.trust = <double *>calloc(2 * chunks, sizeof(double))
            if not self.update.norms or not self.update.trust:
                raise MemoryError
        return 0

    cdef int _run(self) except -1:
        """The update, once all gradients and scalars stand."""
        cdef size_t i
        cdef int threads = _team_for(16.0 * self.elements)
        self._make_room()
        self.busy = True
        with nogil:
            fnn_update_run(&self.update, self.trust, self.limits, threads)
        self.busy = False
        if not self.update.skip:
            for i in range(self.n_groups):
                fnn_update_commit(&self.groups[i], &self.scalars[i])
        return 0

    cdef int _run_without(self, tuple flat) except -1:
        """The same where some arrays have no gradient, None: those stay as they are, and the groups that have none at all."""
        cdef size_t i
        cdef list sizes = [self.tensors[i].n for i in range(self.count)]
        cdef list idle = [True] * self.n_groups, before
        self._make_room()
        before = self.progress()
        for i in range(self.count):
            if flat[i] is None:
                self.tensors[i].n = 0
            else:
                idle[self.tensors[i].group] = False
        try:
            if not all(idle):
                self._run()
        finally:
            for i in range(self.count):
                self.tensors[i].n = sizes[i]
        for i in range(self.n_groups):
            if idle[i]:
                self.groups[i].t, (self.groups[i].memory[0], self.groups[i].memory[1]) = before[i]
        return 0

    def quick_step(self, grads):
        """A step with the rates of `set_rates`, if everything is as it was and every gradient fits; else False."""
        cdef size_t i
        cdef tuple flat
        if self.ready != _groups_version + _rates_version or self.ready == 0 or self.busy:
            return False
        if type(grads) is list:
            flat = tuple(<list>grads)  # they must live until the end, whoever changes the list meanwhile
        elif type(grads) is tuple:
            flat = <tuple>grads
        else:
            return False
        if <size_t>len(flat) != self.count:
            return False
        for i in range(self.count):
            if not self._fits(i, flat[i]):
                return False
        for i in range(self.count):
            self.tensors[i].g = cnp.PyArray_DATA(<cnp.ndarray>flat[i])
        for i in range(self.n_groups):
            self.scalars[i] = fnn_update_prepare(&self.groups[i], self.rates[i])
        self._run()
        return True

    def step(self, list grads, list rates, double clip_norm=0.0, bint skip_nonfinite=False):
        """One update of all arrays: a gradient for each array, or None, a rate for each group.

        With clip_norm > 0 the gradients are scaled as if by min(1, clip_norm / (norm + 1e-6)). Returns (their global norm,
        or 0 if nothing asked for it; whether the step was left out).
        """
        cdef size_t i
        cdef tuple flat = tuple(grads)
        if self.busy:  # it would exchange the gradients under the running call
            raise RuntimeError("this optimizer is in use: a second step was made while one was running")
        if <size_t>len(flat) != self.count:
            raise ValueError(f"grads: expected {self.count} gradients, one for each parameter, got {len(flat)}")
        flat = tuple([g if g is None or self._fits(i, g) else self._fitted(i, g) for i, g in enumerate(flat)])
        for i in range(self.count):
            self.tensors[i].g = NULL if flat[i] is None else cnp.PyArray_DATA(<cnp.ndarray>flat[i])
        for i in range(self.n_groups):
            self.scalars[i] = fnn_update_prepare(&self.groups[i], rates[i])
        self.update.clip_norm, self.update.skip_nonfinite, self.update.norm = clip_norm, skip_nonfinite, 0.0
        self.update.skip = False
        try:
            if any([g is None for g in flat]):
                self._run_without(flat)
            else:
                self._run()
            return self.update.norm, self.update.skip
        finally:
            self.update.clip_norm, self.update.skip_nonfinite = 0.0, False


cdef void _swap(char *a, char *b, size_t n) noexcept:
    cdef char held[4096]
    cdef size_t size
    while n > 0:
        size = min(n, sizeof(held))
        memcpy(held, a, size)
        memcpy(a, b, size)
        memcpy(b, held, size)
        a, b, n = a + size, b + size, n - size


cdef class Exchange:
    """Whether arrays have changed places with others. They do, and it is noted, within one call, so that no signal handler
    (Ctrl-C) finds some of them exchanged, or all of them and no note."""

    cdef readonly bint made

    def __cinit__(self, bint made=False):
        self.made = made

    def __reduce__(self):
        return Exchange, (self.made,)

    def swap(self, list arrays, list others):
        """Exchange the contents of each array with those of the other, where that is not None: of one dtype, shape, and order
        in memory without gaps."""
        cdef cnp.ndarray a, b
        pairs = [(x, y) for x, y in zip(arrays, others, strict=True) if y is not None]
        for a, b in pairs:
            if not (
                _alike(a, b)
                and cnp.PyArray_ISBEHAVED(a)
                and cnp.PyArray_ISBEHAVED(b)
                and (cnp.PyArray_IS_C_CONTIGUOUS(a) or cnp.PyArray_IS_F_CONTIGUOUS(a))
            ):
                raise ValueError("expected writable arrays that lie alike in memory")
        for a, b in pairs:
            _swap(<char *>cnp.PyArray_DATA(a), <char *>cnp.PyArray_DATA(b), cnp.PyArray_NBYTES(a))
        self.made = not self.made
        global _groups_version
        _groups_version += 1  # whoever steps next looks first whether it may


# ---- the plan ----

PROBLEMS = {FNN_OK: None, FNN_BAD_INDEX: "index", FNN_BAD_LABEL: "label", FNN_NOT_FINITE: "not finite", FNN_BAD_RATE: "rate"}


cdef class NativePlan:
    """A plan's operations over the buffers of one workspace, ready to run.

    ops: tuples in the order of fnn_op's fields; buffers: (array or None, leading dimension); tensors: what the updates
    update, or None; gradients: for each tensor the array of its gradient, or None where the update is fused.
    """

    cdef fnn_op *ops
    cdef size_t n_ops
    cdef fnn_buffer *buffers
    cdef size_t n_buffers
    cdef int tables
    cdef Tensors tensors
    cdef list arrays
    cdef cnp.ndarray scratch
    cdef fnn_run r
    cdef fnn_autotune autotune
    cdef readonly double work  # floating-point operations of a full batch
    cdef readonly size_t batch
    cdef size_t features, targets, outputs, n_groups
    cdef readonly bint busy
    cdef size_t weighted  # weights of a row, 0 for none
    cdef double scale, shift

    def __cinit__(self, list ops, list buffers, Tensors tensors, list gradients, double work, size_t batch,
                  size_t features, size_t targets, int64_t classes, int output, size_t outputs, double scale,
                  double shift, size_t weighted, ignore):
        cdef size_t i
        cdef fnn_op *op
        self.n_ops = len(ops)
        # a table fills whole cache lines, so that no thread waits for another that writes to its own
        self.n_buffers = (max(len(buffers), 1) * sizeof(fnn_buffer) + 63) // 64 * 64 // sizeof(fnn_buffer)
        self.ops = <fnn_op *>calloc(max(self.n_ops, 1), sizeof(fnn_op))
        self.buffers = <fnn_buffer *>fnn_aligned_alloc(2 * self.n_buffers * sizeof(fnn_buffer))
        if not self.ops or not self.buffers:
            raise MemoryError
        memset(self.buffers, 0, 2 * self.n_buffers * sizeof(fnn_buffer))
        self.tables = 1
        for i in range(self.n_ops):
            op = &self.ops[i]
            (kind, by_rows, barrier, slots, n_in, n_out, activation, alpha, accumulate, update_w, update_b, first,
             last, eps, rate, threshold, stream, l1, l2, form, total, full, scratch) = ops[i]
            if not (0 <= kind < FNN_OP_KINDS and 0 <= activation < FNN_ACTIVATIONS and 0 <= form < FNN_LOSS_FORMS):
                raise ValueError(f"operation {i}: expected codes that the extension knows, got kind {kind}, activation "
                                 f"{activation}, form {form}; was the extension built again?")
            op.kind, op.by_rows, op.barrier = kind, by_rows, barrier
            for j in range(8):
                op.buffer[<int>j] = slots[j] if j < len(slots) else -1
            op.n_in, op.n_out, op.activation, op.alpha = n_in, n_out, activation, alpha
            op.accumulate, op.update_w, op.update_b, op.first, op.last = accumulate, update_w, update_b, first, last
            op.eps, op.rate, op.threshold, op.stream = eps, rate, threshold, stream
            op.l1, op.l2 = l1, l2
            op.form, op.sum, op.full = form, total, full
            op.scratch = scratch // sizeof(float)
            self.r.scratch_floats = max(self.r.scratch_floats, op.scratch)
        self.arrays = []
        for i in range(<size_t>len(buffers)):
            array, ld = buffers[i]
            self.arrays.append(array)
            self.buffers[i].data = NULL if array is None else cnp.PyArray_DATA(array)
            self.buffers[i].ld = ld
        self.tensors = tensors
        if tensors is not None:
            for i in range(tensors.count):
                if gradients[i] is not None:
                    self.arrays.append(gradients[i])
                    tensors.tensors[i].g = cnp.PyArray_DATA(gradients[i])
            self.r.update = &tensors.update
            self.r.groups = tensors.groups
            self.n_groups = tensors.n_groups
        self.work, self.batch, self.features, self.targets, self.outputs = work, batch, features, targets, outputs
        self.scale, self.shift, self.weighted = scale, shift, weighted
        self.r.ops = self.ops
        self.r.n_buffers = self.n_buffers
        self.r.classes = classes
        self.r.weight_columns = weighted
        self.r.ignores = ignore is not None
        self.r.ignore = ignore if ignore is not None else 0
        self.r.output = output
        self.r.batch = batch

    def __dealloc__(self):
        free(self.ops)
        free(self.buffers)

    cdef int _tables_for(self, int threads) except -1:
        """Room for one private table of buffers a thread."""
        cdef fnn_buffer *grown
        if threads > self.tables:
            grown = <fnn_buffer *>fnn_aligned_alloc((threads + 1) * self.n_buffers * sizeof(fnn_buffer))
            if not grown:
                raise MemoryError
            memcpy(grown, self.buffers, self.n_buffers * sizeof(fnn_buffer))
            free(self.buffers)
            self.buffers = grown
            self.tables = threads
        if self.r.scratch_floats and (self.scratch is None or self.scratch.size < threads * self.r.scratch_floats):
            self.scratch = aligned_zeros((threads * self.r.scratch_floats,), np.float32)
            self.r.scratch = <float *>cnp.PyArray_DATA(self.scratch)
        self.r.buffers = self.buffers
        self.r.threads = threads
        return 0

    cdef int _choose(self, double work) except -1:
        """The threads for a call whose batches are `work`."""
        cdef int threads = _team_for(work)
        self.r.autotune = NULL
        if _team_work == _TEAM_WORK and work >= _PACE_WORK:
            threads = _team()
            if self.autotune.cost[0] == 0 and self.autotune.cost[1] == 0:
                self.autotune.team = work >= _TEAM_WORK
            self.r.autotune = &self.autotune
        return self._tables_for(threads)

    @property
    def costs(self):
        """Seconds a row as measured so far, (alone, by the team); 0 where not yet, and whether the team is chosen."""
        return self.autotune.cost[0], self.autotune.cost[1], self.autotune.team

    cdef int _enter(self) except -1:
        """Before a call touches the run's fields: another thread must not be using them."""
        if self.busy:
            raise RuntimeError("this plan is in use: a second call was made while one was running")
        return 0

    cdef int _run(self) except -1:
        cdef fnn_run *r = &self.r
        self.busy = True
        with nogil:
            fnn_plan_run(r)
        self.busy = False
        return 0

    cdef int _fill_targets(self, y) except -1:
        if not self.targets:
            raise ValueError("y: expected None for a plan without targets, got an array")
        _fill_source(&self.r.y, y, "y", self.targets, 1.0, 0.0)
        if self.r.classes and (cnp.PyArray_NDIM(y) != 1 or self.r.y.dtype > 7):  # the integer dtypes come first
            raise TypeError(f"y: expected integer labels of 1 dimension, got dtype {_dtype(y)} and shape {_shape(y)}")
        return 0

    def set_random(self, uint64_t seed, uint64_t step0):
        """What the next call draws at random from: the seed, and the number of its first step."""
        self._enter()
        self.r.seed, self.r.step0 = seed, step0

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
            weights=None, done=None):
        """Run ops [first_op, last_op) for every batch of the rows, or until `seconds` have passed.

        x, y: arrays or None; index: int64 rows or None for all in order; rates: float64 [steps, groups] or None;
        losses: float64 [steps] or None; out: float32 [rows, outputs] that receives the output buffer, or None; weights: one for
        each row, or each of its outputs, where the plan is weighted, else None; done: what the tensors' count of steps becomes, the steps of this
        call by default.
        Returns (steps done, sum of row losses, correct rows, problem, row of the problem within its batch, rows that the sums
        leave out: ignored ones, and those of steps that were skipped).
        """
        cdef fnn_run *r = &self.r
        cdef size_t rows
        if last_op > self.n_ops or first_op > last_op:
            raise ValueError(f"first, last: expected 0 <= first <= last <= {self.n_ops}, got {first_op}, {last_op}")
        self._enter()
        _fill_source(&r.x, x, "x", self.features, self.scale, self.shift)
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
        r.check_finite, r.seconds = check_finite, seconds
        r.lr = NULL
        if self.n_groups:
            _check(rates, "rates", cnp.NPY_FLOAT64, 2, False)
            _check_shape(rates, "rates", r.steps, self.n_groups)
            r.lr = <double *>cnp.PyArray_DATA(rates)
        r.losses = NULL
        if losses is not None:
            _check(losses, "losses", cnp.NPY_FLOAT64, 1, True)
            _check_shape(losses, "losses", r.steps)
            r.losses = <double *>cnp.PyArray_DATA(losses)
        r.out = NULL
        output = r.output
        if out is None:
            r.output = -1
        else:
            _check(out, "out", cnp.NPY_FLOAT32, 2, True)
            _check_shape(out, "out", rows)
            r.out, r.ldout = _f32(out), cnp.PyArray_DIM(out, 1)
        try:
            self._choose(self.work * (rows if rows < self.batch else self.batch) / self.batch)
            self._run()
            if self.tensors is not None:
                if done is None:
                    self.tensors.done, self.tensors.skipped = r.steps_done, r.steps_skipped
                else:
                    self.tensors.skipped = r.steps_skipped + (self.tensors.skipped if done else 0)
                    self.tensors.done = done
        finally:
            r.output = output
        return (r.steps_done, r.loss_sum, r.correct, PROBLEMS[fnn_status_problem(&r.status)], fnn_status_row(&r.status),
                r.rows_left_out)

    def infer(self, x, out, int ndim):
        """All operations on at most a batch of rows, the low-overhead door of inference: out = the output buffer.

        Returns False, and does nothing, where anything about the arrays asks for a closer look: x is to be of `ndim`
        dimensions, readable in place, at most a batch; out float32 [rows, outputs], writable and apart from x.
        """
        cdef fnn_run *r = &self.r
        cdef cnp.ndarray a, o
        if self.tensors is not None or self.targets or self.weighted or r.output < 0:
            raise RuntimeError("infer: expected a plan that only predicts")
        if not (cnp.PyArray_CheckExact(x) and cnp.PyArray_CheckExact(out)):
            return False
        a, o = x, out
        if not (
            cnp.PyArray_NDIM(a) == ndim
            and cnp.PyArray_NDIM(o) == 2
            and cnp.PyArray_TYPE(o) == cnp.NPY_FLOAT32
            and cnp.PyArray_ISCARRAY(o)
            and cnp.PyArray_ISCARRAY_RO(a)
            and 0 < cnp.PyArray_DIM(a, 0) <= <cnp.npy_intp>self.batch
            and cnp.PyArray_DIM(o, 0) == cnp.PyArray_DIM(a, 0)
            and <size_t>cnp.PyArray_DIM(o, 1) == self.outputs
            and <size_t>cnp.PyArray_SIZE(a) == self.features * <size_t>cnp.PyArray_DIM(a, 0)
            and 0 <= cnp.PyArray_TYPE(a) < 32
            and _dtype_codes[cnp.PyArray_TYPE(a)] >= 0
            and not _overlap(o, a)
        ):
            return False
        for array in self.arrays:
            if array is not None and _overlap(o, array):
                return False
        self._enter()
        _fill_source(&r.x, a, "X", self.features, self.scale, self.shift)
        r.index = NULL
        r.rows, r.steps = r.x.rows, 1
        r.first_op, r.last_op = 0, self.n_ops
        r.check_finite, r.seconds = False, 0.0
        r.lr, r.losses = NULL, NULL
        r.out, r.ldout = _f32(o), self.outputs
        self._choose(self.work * r.rows / self.batch)
        self._run()
        return True

    def plain(self, x, y, Py_ssize_t least):
        """Whether `step` may have this batch without a closer look: float32 [rows, features], of `least` rows to a batch, and
        signed labels [rows] or real targets [rows, columns], both NumPy's own arrays, C-contiguous and in native byte order."""
        return self._plain(x, y, least)

    cdef bint _plain(self, object x, object y, Py_ssize_t least) noexcept:
        cdef cnp.ndarray a, b
        if not (cnp.PyArray_CheckExact(x) and cnp.PyArray_CheckExact(y)):
            return False
        a, b = x, y
        return (
            cnp.PyArray_NDIM(a) == 2
            and cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32
            and cnp.PyArray_ISCARRAY_RO(a)
            and least <= cnp.PyArray_DIM(a, 0) <= <Py_ssize_t>self.batch
            and cnp.PyArray_NDIM(b) == (1 if self.r.classes else 2)
            and (cnp.PyArray_ISSIGNED(b) if self.r.classes else cnp.PyArray_ISFLOAT(b))
            and cnp.PyArray_ITEMSIZE(b) <= 8
            and cnp.PyArray_ISCARRAY_RO(b)
        )

    cdef double _step(self) except *:
        """One step on the batch that the run's sources hold, with the tensors' rates; its mean loss."""
        cdef fnn_run *r = &self.r
        cdef double loss = 0.0
        cdef int output = r.output
        r.index = NULL
        r.rows, r.steps = r.x.rows, 1
        r.first_op, r.last_op = 0, self.n_ops
        r.check_finite, r.seconds = False, 0.0
        r.lr, r.losses, r.out = self.tensors.rates if self.n_groups else NULL, &loss, NULL
        self._choose(self.work * r.rows / self.batch)
        r.output = -1
        self._run()
        r.output = output
        return loss

    def step(self, x, y, rates, weights=None):
        """One step on one batch with nothing else optional: the low-overhead door. rates: a float for each group.
        Returns (mean loss, problem or None, row)."""
        cdef fnn_run *r = &self.r
        cdef size_t i
        self._enter()
        _fill_source(&r.x, x, "x", self.features, self.scale, self.shift)
        self._fill_targets(y)
        if r.y.rows != r.x.rows:
            raise ValueError(f"y: expected one target for each of x's {r.x.rows} rows, got {r.y.rows}")
        if r.x.rows > self.batch:
            raise ValueError(f"x: expected at most {self.batch} rows, got {r.x.rows}")
        self._fill_weights(weights)
        for i in range(self.n_groups):
            self.tensors.rates[i] = rates[i]
        loss = self._step()
        if self.tensors is not None:
            self.tensors.done, self.tensors.skipped = r.steps_done, r.steps_skipped
        return loss, PROBLEMS[fnn_status_problem(&r.status)], fnn_status_row(&r.status)

    def arm(self, uint64_t version):
        """After a `step` with these versions of the settings, added: whether from now on `again` may do those that follow. The
        tensors go on counting."""
        if (
            self.busy
            or self.weighted
            or self.tensors is None
            or not self.tensors.current
            or self.r.steps_done != 1
        ):
            return False
        self.tensors.armed = version
        return True

    def again(self, x, y, Py_ssize_t least, uint64_t seed):
        """A step like the one before, at the same rates, if all is as it was and the batch `plain`: the door with the lowest
        overhead. Returns its mean loss, or None where anything asks for a closer look; nothing has changed then."""
        cdef fnn_run *r = &self.r
        cdef Tensors tensors = self.tensors
        cdef double loss
        if (
            tensors is None
            or not self._plain(x, y, least)
            or <size_t>cnp.PyArray_DIM(x, 1) != self.features
            or cnp.PyArray_DIM(y, 0) != cnp.PyArray_DIM(x, 0)
            or not r.classes and <size_t>cnp.PyArray_DIM(y, 1) != self.targets
            or r.seed != seed
            or r.step0 + 1 == 0  # there are no more numbers for steps
            or tensors.armed != _groups_version + _rates_version
            or self.busy
        ):
            return None
        _fill_source(&r.x, x, "x", self.features, self.scale, self.shift)
        self._fill_targets(y)
        r.step0 += 1
        loss = self._step()
        if r.steps_done == 0:  # a label out of range: `step` will say so
            r.step0 -= 1
            return None
        tensors.done += 1
        return loss


# ---- for tests and benches ----

def math_map(str function, x):
    """exp, log, sigmoid or tanh of each element by the kernels' own code."""
    _check(x, "x", cnp.NPY_FLOAT32, 1, False)
    cdef int code = ("exp", "log", "sigmoid", "tanh").index(function)
    y = _new_f32(cnp.PyArray_SIZE(x))
    fnn_active_kernels().math_map(code, cnp.PyArray_SIZE(x), _f32(x), _f32(y))
    return y


def activations():
    """The register of activations (csrc/defs/activations.def), in the order of their codes: (name, saves, alpha, lowest)."""
    cdef const fnn_activation_info *a
    found = []
    for i in range(FNN_ACTIVATIONS):
        a = &fnn_activations[i]
        found.append((a.name.decode(), a.saves.decode(), a.alpha, a.lowest))
    return found


def op_kinds():
    """The register of operations (csrc/defs/ops.def), in the order of their codes: (name, roles, writes, phase, traits)."""
    found = []
    for i in range(FNN_OP_KINDS):
        info = &fnn_op_kinds[i]
        roles, writes, traits = (words.decode().split() for words in (info.roles, info.writes, info.traits))
        found.append((info.name.decode(), tuple(roles), tuple(writes), info.phase.decode(), frozenset(traits)))
    return found


def product_scratch(bint update, size_t m, size_t n, size_t k):
    """Bytes of scratch that each thread has for a product [m, k] [k, n]; `update`: of a gradient that updates its weights."""
    return fnn_product_scratch(update, m, n, k) * sizeof(float)


cdef class Autotune:
    """The rule of csrc/runtime/autotune.h, fed with seconds that a test makes up."""

    cdef fnn_autotune p

    def __cinit__(self, bint team):
        self.p.team = team

    def piece(self, size_t steps, double rows):
        """(steps to do now, whether by the team)"""
        cdef size_t n = fnn_autotune_piece(&self.p, steps, rows)
        return n, self.p.team

    def note(self, size_t steps, double rows, double seconds):
        fnn_autotune_note(&self.p, steps, rows, seconds)


def fma_peak(size_t rounds, bint literal=False):
    """(flops, sum): runs rounds of fused multiply-adds on one thread, in registers, and says how many flops that was.

    Each lane is a chain s <- 0.999 s + 0.001 that starts at its own number, 0, 1, 2 ...; the sum is that of all at the end.
    literal: the same by instructions written one by one, of fewer chains, to check the first by; (0, 0) where there are none.
    """
    cdef float total
    cdef size_t flops
    with nogil:
        if literal:
            flops = fnn_active_kernels().fma_literal(rounds, &total)
        else:
            flops = fnn_active_kernels().fma_peak(rounds, &total)
    return flops, total


def streams(arrays):
    """Reads float32 arrays of one length and writes all but the last, a <- (a + last) / 2, on one thread: what an optimizer's
    update does to memory. From 2 to 6 arrays; the last size % 16 elements are left alone.
    """
    cdef float *pointers[6]
    if not 2 <= len(arrays) <= 6:
        raise ValueError(f"arrays: expected from 2 to 6, got {len(arrays)}")
    for i, a in enumerate(arrays):
        _check(a, f"arrays[{i}]", cnp.NPY_FLOAT32, 1, i < len(arrays) - 1)
        if _shape(a) != _shape(arrays[0]):
            raise ValueError(f"arrays[{i}]: expected shape {_shape(arrays[0])}, got {_shape(a)}")
        pointers[i] = _f32(a)
    cdef size_t count = len(arrays), n = cnp.PyArray_SIZE(arrays[0])
    with nogil:
        fnn_active_kernels().streams(count, n, pointers)
