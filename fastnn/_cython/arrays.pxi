# Checks of arrays before their memory is used.

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


cdef bint _is_double(object a) noexcept:
    return cnp.PyArray_Check(a) and cnp.PyArray_TYPE(<cnp.ndarray>a) == cnp.NPY_FLOAT64


cdef int _check_real(object a, str name, int ndim, bint writable, object like) except -1:
    """As _check, of float32 or float64: the dtype of the array `like`, where one is given."""
    cdef bint double = _is_double(a if like is None else like)
    if (
        like is not None and cnp.PyArray_Check(a) and _is_double(a) != double
        and cnp.PyArray_TYPE(<cnp.ndarray>a) in (cnp.NPY_FLOAT32, cnp.NPY_FLOAT64)
    ):
        raise TypeError(f"{name}: expected dtype {_dtype(like)}, got {_dtype(a)}; the arrays of a call are all of one dtype, "
                        f"{name}.astype({'np.float64' if double else 'np.float32'}) makes it that")
    if like is None and not double and not (cnp.PyArray_Check(a) and cnp.PyArray_TYPE(<cnp.ndarray>a) == cnp.NPY_FLOAT32):
        plain(a, name)
        if cnp.PyArray_Check(a):
            raise TypeError(f"{name}: expected dtype float32 or float64, got {_dtype(a)}")
    return _check(a, name, cnp.NPY_FLOAT64 if double else cnp.NPY_FLOAT32, ndim, writable)


cdef cnp.ndarray _new_real(cnp.npy_intp m, cnp.npy_intp n, object like):
    """A new array [m, n], or [m] where n is negative, of the dtype of `like`; float32 for None."""
    cdef cnp.npy_intp shape[2]
    shape[0] = m
    shape[1] = n
    return cnp.PyArray_SimpleNew(1 if n < 0 else 2, shape, cnp.NPY_FLOAT64 if _is_double(like) else cnp.NPY_FLOAT32)


cdef cnp.ndarray _out_real(object out, str name, cnp.npy_intp m, cnp.npy_intp n, object like):
    """`out` once it fits, or a new array."""
    if out is None:
        return _new_real(m, n, like)
    _check_real(out, name, 1 if n < 0 else 2, True, like)
    _check_shape(out, name, m, n)
    return out


ctypedef fused code:
    float
    double


cdef bint _are_codes(const code *a, Py_ssize_t rows, Py_ssize_t ld, Py_ssize_t columns, const long long *counts) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef code value, most, large = 1 << 23 if sizeof(code) == 4 else <long long>1 << 52  # a sum with it has no digits behind the point
    cdef bint bad = False
    for j in range(columns):
        most = <code>counts[j]
        if most > large:
            return False
        for i in range(rows):
            value = a[i * ld + j]
            bad |= (value < 0) | (value >= most) | ((value + large) - large != value)  # NaN is not what it is
        if bad:
            return False
    return True


def are_codes(cnp.ndarray a, Py_ssize_t first, cnp.ndarray counts):
    """Whether the columns of a [rows, columns] from `first` on hold whole numbers from 0 to below their count each, of which none is
    above 2^23: True only where all do and it is a plain C-contiguous array of float32 or float64; others are for the caller to look at."""
    cdef Py_ssize_t columns = cnp.PyArray_SIZE(counts)
    if cnp.PyArray_TYPE(counts) != cnp.NPY_INT64 or not cnp.PyArray_ISCARRAY(counts):
        raise TypeError("counts: expected a C-contiguous array of int64")
    if (cnp.PyArray_NDIM(a) != 2 or not cnp.PyArray_ISCARRAY_RO(a) or first < 0 or cnp.PyArray_DIM(a, 1) - first != columns
            or cnp.PyArray_SIZE(a) == 0):
        return False
    cdef char *data = <char *>cnp.PyArray_DATA(a)
    cdef Py_ssize_t rows = cnp.PyArray_DIM(a, 0), ld = cnp.PyArray_DIM(a, 1)
    cdef const long long *most = <const long long *>cnp.PyArray_DATA(counts)
    cdef bint fine = False
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        with nogil:
            fine = _are_codes(<const float *>data + first, rows, ld, columns, most)
    elif cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT64:
        with nogil:
            fine = _are_codes(<const double *>data + first, rows, ld, columns, most)
    return fine
