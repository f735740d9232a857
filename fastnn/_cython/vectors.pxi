# Vectors that are lists of arrays, each in one block: what L-BFGS works on (csrc/ops/vectors.h).

cdef extern from "ops/vectors.h" nogil:
    ctypedef struct fnn_vector_part:
        size_t offset
        size_t n
        bint is_double

    ctypedef struct fnn_vector_layout:
        const fnn_vector_part *parts
        size_t count
        double work
        fnn_autotune *tunes

    ctypedef struct fnn_vector_recursion:
        void *d
        const void *g
        size_t pairs
        const void **s
        const void **y
        const double *rho
        double scale
        double *alpha
        double *partial

    enum:
        FNN_VECTOR_DOT
        FNN_VECTOR_SQUARES
        FNN_VECTOR_SUM
        FNN_VECTOR_LARGEST
        FNN_VECTOR_SUMS

    size_t fnn_vector_chunks(const fnn_vector_layout *l)
    void fnn_vector_combine(const fnn_vector_layout *l, void *out, const void *a, double t, const void *b)
    void fnn_vector_measure(const fnn_vector_layout *l, const void *a, const void *b, double *partial, double *found)
    void fnn_vector_two_loops(const fnn_vector_layout *l, const fnn_vector_recursion *r)


@cython.no_gc
cdef class _Vector:
    """Owns the memory of one vector, and gives it back for the next when nobody looks into it any more."""

    cdef Vectors owner
    cdef void *data

    def __dealloc__(self):
        if self.data != NULL:
            self.owner._take_back(self.data)


cdef class Vectors:
    """How arrays like these (float32 or float64, C- or F-contiguous) lie in one block, and vectors' arithmetic.

    A block is an array of bytes, made by `block`; whatever a method is given for one must be of this object's size.
    """

    cdef void *spare[8]  # blocks to be used again
    cdef int spares

    cdef fnn_vector_part *parts
    cdef fnn_vector_layout layout
    cdef double *partial
    cdef size_t bytes
    cdef fnn_autotune tunes[3]
    cdef readonly double eps  # of the widest rounding among the arrays' dtypes
    cdef list like  # (dtype, shape, whether F-contiguous only, offset, bytes) of each array

    def __cinit__(self, arrays):
        cdef size_t offset = 0, i
        cdef fnn_vector_part *part = NULL
        cdef cnp.ndarray a
        self.like = []
        self.parts = <fnn_vector_part *>calloc(max(len(arrays), 1), sizeof(fnn_vector_part))
        if self.parts == NULL:
            raise MemoryError
        for array in arrays:
            a = np.asarray(array)
            double = cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT64
            turned = not cnp.PyArray_IS_C_CONTIGUOUS(a)
            self.like.append((_dtype(a), _shape(a), turned, offset, cnp.PyArray_NBYTES(a)))
            if part == NULL or part.is_double != double:
                part = &self.parts[self.layout.count]
                part.offset, part.is_double = offset, double
                self.layout.count += 1
            offset += (<size_t>cnp.PyArray_NBYTES(a) + 63) // 64 * 64
            part.n = (offset - part.offset) // <size_t>cnp.PyArray_ITEMSIZE(a)
            self.layout.work += 16.0 * cnp.PyArray_SIZE(a)
            self.eps = max(self.eps, 2.0**-52 if double else 2.0**-23)
        self.bytes = offset
        self.layout.parts, self.layout.tunes = self.parts, self.tunes
        i = FNN_VECTOR_SUMS * max(fnn_vector_chunks(&self.layout), 1)
        self.partial = <double *>calloc(i, sizeof(double))
        if self.partial == NULL:
            raise MemoryError

    def __dealloc__(self):
        while self.spares:
            self.spares -= 1
            fnn_aligned_free(self.spare[self.spares])
        free(self.parts)
        free(self.partial)

    cdef void _take_back(self, void *data) noexcept:
        if self.spares < 8:
            self.spare[self.spares] = data
            self.spares += 1
        else:
            fnn_aligned_free(data)

    cdef void *_at(self, cnp.ndarray block) except? NULL:
        if cnp.PyArray_TYPE(block) != cnp.NPY_UINT8 or not cnp.PyArray_ISCARRAY(block) or \
                <size_t>cnp.PyArray_NBYTES(block) != self.bytes:
            raise ValueError("expected a block of these vectors")
        return cnp.PyArray_DATA(block)

    def block(self):
        """A new vector, of any values. MemoryError where there is no memory."""
        cdef _Vector owner = _Vector.__new__(_Vector)
        cdef cnp.npy_intp length = self.bytes
        cdef size_t begin, size
        owner.owner = self
        if self.spares:
            self.spares -= 1
            owner.data = self.spare[self.spares]
        else:
            owner.data = fnn_aligned_alloc(self.bytes)
            if owner.data == NULL:
                raise MemoryError(f"could not allocate {self.bytes} bytes")
            memset(owner.data, 0, self.bytes)
        for _, _, _, begin, size in self.like:  # what lies between the arrays counts in no sum
            memset(<char *>owner.data + begin + size, 0, (size + 63) // 64 * 64 - size)
        block = cnp.PyArray_SimpleNewFromData(1, &length, cnp.NPY_UINT8, owner.data)
        cnp.set_array_base(block, owner)
        return block

    def views(self, block):
        """The vector's arrays: views of its block."""
        self._at(block)
        found = []
        for dtype, shape, turned, begin, size in self.like:
            flat = block[begin : begin + size].view(dtype)
            found.append(flat.reshape(shape[::-1]).T if turned else flat.reshape(shape))
        return found

    def combine(self, out, a, double t, b):
        """out = a + t b, or t b where a is None. out may be a or b."""
        cdef void *to = self._at(out)
        cdef const void *left = NULL if a is None else self._at(a)
        cdef const void *right = self._at(b)
        with nogil:
            fnn_vector_combine(&self.layout, to, left, t, right)

    def measure(self, a, b):
        """(a b, a a, the sum of |a|, the largest |a|); NaN in a is NaN in all."""
        cdef double found[4]
        cdef const void *left = self._at(a)
        cdef const void *right = self._at(b)
        with nogil:
            fnn_vector_measure(&self.layout, left, right, self.partial, found)
        return found[FNN_VECTOR_DOT], found[FNN_VECTOR_SQUARES], found[FNN_VECTOR_SUM], found[FNN_VECTOR_LARGEST]

    def two_loops(self, d, g, list pairs, double scale):
        """d = -H g, where H is `scale` times the identity, as the pairs (s, y, 1 / (s y)) change it, the oldest first."""
        cdef fnn_vector_recursion r
        cdef size_t i, m = len(pairs)
        cdef const void **pointers
        cdef double *numbers
        r.d, r.g = self._at(d), self._at(g)
        r.pairs, r.scale, r.partial = m, scale, self.partial
        pointers = <const void **>calloc(2 * m + 1, sizeof(void *))
        numbers = <double *>calloc(2 * m + 1, sizeof(double))
        try:
            if pointers == NULL or numbers == NULL:
                raise MemoryError
            r.s, r.y, r.alpha, r.rho = pointers, pointers + m, numbers, numbers + m
            for i in range(m):
                s, y, rho = pairs[i]
                pointers[i], pointers[m + i], numbers[m + i] = self._at(s), self._at(y), rho
            with nogil:
                fnn_vector_two_loops(&self.layout, &r)
        finally:
            free(pointers)
            free(numbers)
