"""Threads, instruction sets and build information: what the package may use of the machine, and what it uses.

The only file that reads the environment:

    FASTNN_ISA          generic, avx2, avx512 or neon: the kernels to use; an error at import if this machine lacks them
    FASTNN_NUM_THREADS  an upper bound on the number of threads
    FASTNN_CACHE        the folder for downloaded data sets and images that have been read; by default fastnn in XDG_CACHE_HOME, or
                        in ~/.cache

It trains nothing and holds no state of models.
"""

import math
import operator
import os
import platform
import sys

from .. import _native
from .._version import __version__

__all__ = [
    "available_isas",
    "cache_folder",
    "cpu_set",
    "get_isa",
    "get_num_threads",
    "openmp_runtime",
    "set_num_threads",
    "show_config",
    "usable_cpus",
    "use_isa",
]

ISAS = ("generic", "avx2", "avx512", "neon")

# What may make one run unlike another, for bug reports.
VARIABLES = ("FASTNN_ISA", "FASTNN_NUM_THREADS", "OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES", "OMP_WAIT_POLICY", "GOMP_CPU_AFFINITY")


def available_isas() -> list[str]:
    """The instruction sets that this machine can run, slowest first.

    Returns
    -------
    list of str

    Examples
    --------
    >>> "generic" in fastnn.available_isas()
    True
    """
    return _native.available_isas()


def get_isa() -> str:
    """The instruction set whose kernels are in use.

    Returns
    -------
    str

    Examples
    --------
    >>> fastnn.get_isa() in fastnn.available_isas()
    True
    """
    return _native.get_isa()


def use_isa(name) -> None:
    """Use the kernels of one instruction set from now on, in the whole process.

    Results are the same bits on ``avx2``, ``avx512`` and ``neon``; ``generic`` has no fused multiply-add and rounds differently.

    Parameters
    ----------
    name : str
        One of `available_isas()`.

    Raises
    ------
    ValueError
        If the name is unknown, or this machine cannot run it.

    Examples
    --------
    >>> before = fastnn.get_isa()
    >>> fastnn.use_isa("generic"); fastnn.get_isa()
    'generic'
    >>> fastnn.use_isa(before)
    """
    _use_isa(name, "name")


def _use_isa(name, source):
    if not isinstance(name, str):
        raise TypeError(f"{source}: expected the name of an instruction set, got {type(name).__name__}")
    if not _native.use_isa(name):
        available = ", ".join(available_isas())
        why = "this machine cannot run it" if name in ISAS else "unknown instruction set"
        raise ValueError(f"{source}: expected one of {available}, got {name!r} ({why})")


def _positive(value, name):
    """`value` as an int of at least 1."""
    try:
        n = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected a number of threads, got {value!r}") from None
    if not 1 <= n <= 4096:
        raise ValueError(f"{name}: expected a number of threads from 1 to 4096, got {n}")
    return n


def set_num_threads(n) -> None:
    """Set how many threads a call may use.

    The number asked for is used as it is, even beyond the number of CPUs, but never more than ``FASTNN_NUM_THREADS`` or
    than a limit that someone puts on OpenMP later (``threadpoolctl``, ``omp_set_num_threads``). A number that the CPUs suffice
    for becomes smaller when the process loses some of them. Calls with little work use one thread whatever the number, and so
    do others while one thread is the faster: on CPUs that other processes keep busy, for instance. Results do not depend on it.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    ValueError
        If `n` is less than 1 (or absurd: more than 4096).
    TypeError
        If `n` is not an integer.

    Examples
    --------
    >>> before = fastnn.get_num_threads()
    >>> fastnn.set_num_threads(1); fastnn.get_num_threads()
    1
    >>> fastnn.set_num_threads(before)
    """
    n = _positive(n, "n")
    n = n if _cap is None else min(n, _cap)
    if not _native.omp_version():
        n = 1
    _native.set_threads(n, n > _native.cpus())  # more than there are is a wish; else their number may still become smaller


def get_num_threads() -> int:
    """How many threads a call with enough work uses.

    At import the least of ``FASTNN_NUM_THREADS``, OpenMP's own default (``OMP_NUM_THREADS``), the CPUs that the process
    may run on and the CPU quota of its control groups. Later it is smaller when the calling thread has fewer CPUs, when someone
    limits OpenMP, or when the system has refused to make threads; 1 in a process that was forked without exec, which has lost
    them.

    Returns
    -------
    int

    Examples
    --------
    >>> fastnn.get_num_threads() >= 1
    True
    """
    return _native.get_threads()


def usable_cpus(groups="/proc/self/cgroup", root="/sys/fs/cgroup"):
    """CPUs that this process may use at once: its affinity, and the quotas of its control group and of all that this one is in
    (Linux, v2 and v1)."""
    count = _native.cpus()
    for folder, files in _cpu_groups(groups, root):
        words = []
        try:
            for name in files:
                with open(os.path.join(folder, name), encoding="ascii") as file:
                    words += file.read().split()
            quota, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):
            continue  # no such file, or no limit ("max", -1)
        if quota > 0 and period > 0:
            count = min(count, max(1, math.ceil(quota / period)))
    return count


def cpu_set():
    """Which CPUs this process may run on, as a sorted tuple; None where the system does not tell."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else None


def _cpu_groups(groups, root):
    """(folder, names of the files with its quota and period) of the process's control groups, from its own to the root's. A container
    sees its own group as the root, whatever path stands in `groups`."""
    paths = {("", "/"), ("cpu", "/")}
    try:
        with open(groups, encoding="utf-8") as file:
            for line in file:
                number, controllers, path = line.rstrip("\n").split(":", 2)
                if number == "0" or "cpu" in controllers.split(","):
                    paths.add((controllers, path))
    except (OSError, ValueError):
        pass
    for controllers, path in sorted(paths):
        files = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if controllers else ("cpu.max",)
        parts = [p for p in path.split("/") if p]
        for mount in (controllers, "cpu") if controllers else ("", "unified"):
            for n in range(len(parts), -1, -1):
                yield os.path.join(root, mount, *parts[:n]), files


def openmp_runtime():
    """The OpenMP library that the package runs on, as (version of the standard, path of the library).

    Returns
    -------
    tuple
        (0, None) in a build without OpenMP; the path is None where it cannot be told.
    """
    version = _native.omp_version()
    path = None
    if version and sys.platform.startswith("linux"):
        try:
            with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
                paths = {line.split(None, 5)[5].strip() for line in maps if "omp" in line and len(line.split(None, 5)) == 6}
            libraries = [p for p in paths if os.path.basename(p).startswith(("libgomp", "libomp", "libiomp"))]
            path = ", ".join(sorted(libraries)) or None
        except OSError:
            pass
    return version, path


def _cpu_name():
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def config():
    """What `show_config` prints and ``fastnn info --json`` writes, as a dict of strings, numbers and lists; None for what there is not."""
    import numpy

    version, library = openmp_runtime()
    return {
        "fastnn": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cpus": usable_cpus(),
        "isa": get_isa(),
        "available_isas": available_isas(),
        "threads": get_num_threads(),
        "openmp": version or None,
        "openmp_library": library,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def show_config(file=None) -> None:
    """Print versions, CPU, instruction set, threads and OpenMP runtime.

    Parameters
    ----------
    file : file-like, optional
        Where to print; standard output by default.

    Examples
    --------
    >>> fastnn.show_config()  # doctest: +ELLIPSIS
    fastnn    ...
    """
    now = config()
    openmp = f"{now['openmp']} ({now['openmp_library'] or 'unknown library'})" if now["openmp"] else "none: one thread"
    for name, value in (
        ("fastnn", now["fastnn"]),
        ("Python", now["python"]),
        ("NumPy", now["numpy"]),
        ("platform", now["platform"]),
        ("CPU", f"{now['cpu']} ({now['cpus']} usable)"),
        ("ISA", f"{now['isa']} (available: {', '.join(now['available_isas'])})"),
        ("threads", now["threads"]),
        ("OpenMP", openmp),
    ):
        print(f"{name:<9} {value}", file=file)


def cache_folder():
    """The folder for what can be made again."""
    return os.environ.get("FASTNN_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"), "fastnn"
    )


def _configure():
    """At import: the fastest kernels that this machine runs, and as many threads as it may use."""
    global _cap
    _use_isa(os.environ.get("FASTNN_ISA") or available_isas()[-1], "FASTNN_ISA")
    wanted = os.environ.get("FASTNN_NUM_THREADS")
    if wanted:
        try:
            wanted = int(wanted)
        except ValueError:
            raise ValueError(f"FASTNN_NUM_THREADS: expected a number of threads, got {wanted!r}") from None
        _cap = _positive(wanted, "FASTNN_NUM_THREADS")
    set_num_threads(min(_native.omp_max_threads(), usable_cpus()))


def _is_command():
    """Whether this process is the command ``fastnn`` or ``python -m fastnn``, importing the package before its `main` runs."""
    if sys.argv[:1] == ["-m"]:
        return ("-m", "fastnn") in zip(sys.orig_argv, sys.orig_argv[1:]) or "-mfastnn" in sys.orig_argv
    return bool(sys.argv) and os.path.splitext(os.path.basename(sys.argv[0]))[0] == "fastnn"


_cap = None
try:
    _configure()
except ValueError as error:
    if not _is_command():
        raise
    print(f"fastnn: error: {error}", file=sys.stderr)
    raise SystemExit(2) from None
