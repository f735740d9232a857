# Instruction sets and threads.

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


TEAM_WORK = FNN_TEAM_WORK  # floating-point operations of a call from which a team is the first guess


def cpus():
    return fnn_cpus()


def set_threads(int n, bint exact):
    fnn_team_configure(n, exact)


def get_threads():
    return fnn_team_size()


def alone(bint from_now):
    """Whether calls of this thread keep to it alone, since others do work of their own beside it. Returns what held before."""
    return fnn_team_alone(from_now)


def team_work(double value=-1.0):
    """For tests: from this work on, in floating-point operations, calls are always done by a team, below it by one thread; negative:
    what is faster is measured again. Returns what held before."""
    return fnn_team_force(value)


cdef inline int _warn_if_refused() except -1:
    """After a call that may have made threads."""
    cdef int threads
    if fnn_team_refused(&threads):
        warnings.warn(f"the system refused to make a thread: fastnn works on {threads} from now on, until set_num_threads is called; "
                      "its limits are `ulimit -u`, the control group's pids.max, and memory for stacks", RuntimeWarning)
    return 0
