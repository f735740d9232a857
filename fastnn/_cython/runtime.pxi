# Instruction sets and threads.

cdef int _threads = 1
cdef int _omp_at_start = fnn_omp_max_threads()

# Work below this, in floating-point operations of a batch, is done by one thread: in the few microseconds that a team
# needs to begin and to meet, one thread does a good part of it, and on a busy machine a team may wait much longer.
# Plans begin by this rule and then measure (csrc/runtime/autotune.h), unless a threshold has been set.
cdef double _TEAM_WORK = 2.0e6
cdef double _team_work = _TEAM_WORK
cdef double _PACE_WORK = 4.0e5  # below this a team never pays: it is not even tried
cdef double _GIL_WORK = 2.0e4  # below this, a few microseconds, an eager call keeps the GIL, which takes time to give and take


def available_isas():
    cdef const char *names[4]
    cdef size_t n = fnn_available_isas(names)
    return [names[i].decode() for i in range(n)]


def get_isa():
    return fnn_active_kernels(FNN_F32).isa.decode()


def use_isa(str name):
    """Whether the table of that name exists here; if so it is the one in use from now on."""
    cdef bytes encoded = name.encode()
    return bool(fnn_use_isa(encoded))


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
