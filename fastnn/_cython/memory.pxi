# Aligned memory, and who owns it.

cdef extern from *:
    """
    #include <stdlib.h>
    #if defined(__linux__)
    #include <sys/mman.h>
    #endif
    #if defined(_WIN32)
    #include <malloc.h>
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
        const size_t size = (kept + 63) / 64 * 64 + (kept == bytes ? 64 : 0);
    #if defined(_WIN32)
        block = _aligned_malloc(size, alignment);
    #else
        if (posix_memalign(&block, alignment, size)) return NULL;
    #endif
    #if defined(__linux__) && defined(MADV_HUGEPAGE)
        if (kept >= huge) madvise(block, kept, MADV_HUGEPAGE);
    #endif
        return block;
    }

    static void fnn_aligned_free(void *block)
    {
    #if defined(_WIN32)
        _aligned_free(block);
    #else
        free(block);
    #endif
    }
    """
    void *fnn_aligned_alloc(size_t bytes) nogil
    void fnn_aligned_free(void *block) nogil
    size_t fnn_block_bytes(size_t bytes) nogil


# ---- memory ----

cdef class _Block:
    """Owns one aligned block; the base object of the arrays that look into it."""

    cdef void *data

    def __dealloc__(self):
        fnn_aligned_free(self.data)


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
