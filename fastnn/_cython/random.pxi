# Random numbers.

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


STREAM_INIT, STREAM_LAYERS = FNN_STREAM_INIT, FNN_STREAM_LAYERS  # the streams of initialisation, and the first of layers
