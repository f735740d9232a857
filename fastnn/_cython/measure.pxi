# For tests and benches: registers, autotuning, and the machine's limits.

def math_map(str function, x):
    """exp, log, sigmoid or tanh of each element by the kernels' own code."""
    double = getattr(x, "dtype", None) == np.float64
    _check(x, "x", cnp.NPY_FLOAT64 if double else cnp.NPY_FLOAT32, 1, False)
    cdef int code = ("exp", "log", "sigmoid", "tanh").index(function)
    y = np.empty_like(x)
    fnn_active_kernels(FNN_F64 if double else FNN_F32).math_map(code, cnp.PyArray_SIZE(x), cnp.PyArray_DATA(x),
                                                              cnp.PyArray_DATA(y))
    return y


def losses():
    """The names in the register of losses (csrc/defs/losses.def), in the order of their codes."""
    return [fnn_loss_names[i].decode() for i in range(FNN_LOSS_FORMS)]


def activations():
    """The register of activations (csrc/defs/activations.def), in the order of their codes: (name, saves, alpha, lowest,
    init, layer)."""
    cdef const fnn_activation_info *a
    found = []
    for i in range(FNN_ACTIVATIONS):
        a = &fnn_activations[i]
        found.append((a.name.decode(), a.saves.decode(), a.alpha, a.lowest, a.init.decode(), a.layer.decode()))
    return found


def op_kinds():
    """The register of operations (csrc/defs/ops.def), in the order of their codes: (name, parameters, roles, writes, phase, traits)."""
    found = []
    for i in range(FNN_OP_KINDS):
        info = &fnn_op_kinds[i]
        roles, writes, traits = (words.decode().split() for words in (info.roles, info.writes, info.traits))
        parameters = tuple([p[1:] for p in info.parameters.decode().split()])
        found.append((info.name.decode(), parameters, tuple(roles), tuple(writes), info.phase.decode(), frozenset(traits)))
    return found


def product_scratch(bint update, size_t m, size_t n, size_t k):
    """Elements of scratch that each thread has for a product [m, k] [k, n]; `update`: of a gradient that updates its weights."""
    return fnn_product_scratch(update, m, n, k)


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


def fma_peak(size_t rounds, bint literal=False, bint double=False):
    """(flops, sum): runs rounds of fused multiply-adds on one thread, in registers, and says how many flops that was.

    Each lane is a chain s <- 0.999 s + 0.001 that starts at its own number, 0, 1, 2 ...; the sum is that of all at the end.
    double: of doubles in place of floats. literal: the same by instructions written one by one, of fewer chains, to check the first by; (0, 0) where there are none.
    """
    cdef double total
    cdef size_t flops
    cdef const fnn_kernels *kernels = fnn_active_kernels(FNN_F64 if double else FNN_F32)
    with nogil:
        if literal:
            flops = kernels.fma_literal(rounds, &total)
        else:
            flops = kernels.fma_peak(rounds, &total)
    return flops, total


def streams(arrays):
    """Reads float32 arrays of one length and writes all but the last, a <- (a + last) / 2, on one thread: what an optimizer's
    update does to memory. From 2 to 6 arrays; the last size % 16 elements are left alone.
    """
    cdef void *pointers[6]
    if not 2 <= len(arrays) <= 6:
        raise ValueError(f"arrays: expected from 2 to 6, got {len(arrays)}")
    for i, a in enumerate(arrays):
        _check(a, f"arrays[{i}]", cnp.NPY_FLOAT32, 1, i < len(arrays) - 1)
        if _shape(a) != _shape(arrays[0]):
            raise ValueError(f"arrays[{i}]: expected shape {_shape(arrays[0])}, got {_shape(a)}")
        pointers[i] = cnp.PyArray_DATA(a)
    cdef size_t count = len(arrays), n = cnp.PyArray_SIZE(arrays[0])
    with nogil:
        fnn_active_kernels(FNN_F32).streams(count, n, pointers)
