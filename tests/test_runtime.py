"""What the package takes of the machine: instruction sets, threads, environment, forks and concurrent callers."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import _native, kernels
from fastnn.core import runtime

ROOT = Path(__file__).parents[1]
ISAS = fastnn.available_isas()
SETTINGS = ("FASTNN_ISA", "FASTNN_NUM_THREADS", "OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY")


@pytest.fixture(autouse=True)
def put_back():
    work, threads, isa = _native.team_work(), fastnn.get_num_threads(), fastnn.get_isa()
    yield
    _native.team_work(work)
    fastnn.set_num_threads(threads)
    fastnn.use_isa(isa)


def python(code, timeout=60, **environment):
    """Run code in a new interpreter, in which only the given settings are made; the completed process."""
    env = {k: v for k, v in os.environ.items() if k not in SETTINGS} | environment
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=timeout)


def answer(code, **environment):
    """What the code prints, from JSON."""
    done = python(f"import json, fastnn\n{code}", **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def data(m=40, k=300, n=70):
    r = np.random.default_rng(0)
    return r.standard_normal((m, k)).astype(np.float32), r.standard_normal((k, n)).astype(np.float32)


# (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24: added to the bias -(1 + 2^-11) in one rounding it leaves 2^-24, in two nothing.
FUSED = """
import numpy as np
a, b = np.float32([[1 + 2.0**-12]]), np.float32([-1 - 2.0**-11])
"""
FUSED_RESULT = "float(fastnn.kernels.dense_forward(a, a, b)[0, 0])"


# ---- instruction sets ----


def test_available_isas():
    assert ISAS[0] == "generic" and fastnn.get_isa() in ISAS
    assert set(ISAS) <= set(runtime.ISAS)


@pytest.mark.parametrize("isa", ISAS)
def test_the_isa_asked_for_is_the_one_that_runs(isa):
    code = f"{FUSED}\nprint(json.dumps([fastnn.get_isa(), {FUSED_RESULT}]))"
    assert answer(code, FASTNN_ISA=isa) == [isa, 0.0 if isa == "generic" else 2.0**-24]
    names = {}
    exec(FUSED, names)
    fastnn.use_isa(isa)
    assert fastnn.get_isa() == isa
    assert eval(FUSED_RESULT, names | {"fastnn": fastnn}) == (0.0 if isa == "generic" else 2.0**-24)


def test_the_fastest_isa_is_the_default():
    assert answer("print(json.dumps(fastnn.get_isa()))") == ISAS[-1]
    assert answer("print(json.dumps(fastnn.get_isa()))", FASTNN_ISA="") == ISAS[-1]


@pytest.mark.parametrize("name, why", [("neon2", "unknown instruction"), ("AVX2", "unknown instruction"), ("neon", "cannot run")])
def test_an_isa_that_cannot_be_had_is_an_error(name, why):
    if name in ISAS:
        pytest.skip("this machine has it")
    done = python("import fastnn", FASTNN_ISA=name)
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].startswith("ValueError: FASTNN_ISA: expected one of generic")
    assert why in done.stderr and repr(name) in done.stderr
    before = fastnn.get_isa()
    with pytest.raises(ValueError, match=f"^name: expected one of .*, got '{name}' .*{why}"):
        fastnn.use_isa(name)
    assert fastnn.get_isa() == before


@pytest.mark.parametrize("name", [None, 2, b"generic", ["generic"]])
def test_the_name_of_an_isa_is_a_string(name):
    with pytest.raises(TypeError, match="^name: expected the name of an instruction set, got"):
        fastnn.use_isa(name)


# ---- threads ----


def test_set_num_threads():
    if not _native.omp_version():
        pytest.skip("built without OpenMP: always one thread")
    cap = int(os.environ.get("FASTNN_NUM_THREADS") or 4096)
    for n in (1, 2, 5, np.int64(3)):
        fastnn.set_num_threads(n)
        assert fastnn.get_num_threads() == min(n, cap)


@pytest.mark.parametrize(
    "n, error",
    [(0, ValueError), (-1, ValueError), (10**6, ValueError), (1.5, TypeError), ("a", TypeError), (None, TypeError)],
)
def test_numbers_of_threads_that_are_refused(n, error):
    before = fastnn.get_num_threads()
    with pytest.raises(error, match="^n: expected a number of threads"):
        fastnn.set_num_threads(n)
    assert fastnn.get_num_threads() == before


THREADS = "print(json.dumps(fastnn.get_num_threads()))"
THREADS_AFTER_8 = f"fastnn.set_num_threads(8)\n{THREADS}"


def test_threads_from_the_environment():
    most = answer(THREADS)
    assert 1 <= most <= len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1 <= most <= os.cpu_count()
    assert answer(THREADS, FASTNN_NUM_THREADS="1") == 1
    assert answer(THREADS, FASTNN_NUM_THREADS="1000") == most  # a bound, not a wish
    assert answer(THREADS, FASTNN_NUM_THREADS="") == most
    if _native.omp_version():
        assert answer(THREADS, OMP_NUM_THREADS="1") == 1
        assert answer(THREADS, OMP_THREAD_LIMIT="1") == 1
        assert answer(THREADS_AFTER_8) == 8
        assert answer(THREADS_AFTER_8, FASTNN_NUM_THREADS="3") == 3
        assert answer(THREADS_AFTER_8, OMP_NUM_THREADS="1") == 8  # set_num_threads overrules the default
    assert answer(THREADS, OMP_NUM_THREADS="1000") == most


@pytest.mark.parametrize("value", ["0", "-2", "two", "1.5"])
def test_a_bad_number_of_threads_in_the_environment_is_an_error(value):
    done = python("import fastnn", FASTNN_NUM_THREADS=value)
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].startswith("ValueError: FASTNN_NUM_THREADS: expected a number of threads")


# How many threads a process has, and has had working: those of OpenMP's pool stay.
TASKS = "len(os.listdir('/proc/self/task'))"
has_tasks = os.path.isdir("/proc/self/task") and _native.omp_version()
needs_tasks = pytest.mark.skipif(not has_tasks, reason="needs /proc and OpenMP")


@needs_tasks
def test_a_team_has_the_threads_asked_for_and_small_work_has_none():
    code = f"""
import os, numpy as np
from fastnn import kernels
fastnn.set_num_threads(3)
counts = [{TASKS}]
x = np.ones((4, 4), np.float32)
kernels.dense_forward(x, x)
counts.append({TASKS})
x = np.ones((300, 300), np.float32)
kernels.dense_forward(x, x)
counts.append({TASKS})
print(json.dumps([c - counts[0] for c in counts]))
"""
    assert answer(code, OPENBLAS_NUM_THREADS="1") == [0, 0, 2]


needs_cpus = pytest.mark.skipif(_native.cpus() < 2, reason="needs two CPUs")


@needs_tasks
@needs_cpus
def test_a_limit_put_on_openmp_later_is_kept():
    """What threadpoolctl does: it calls the runtime's omp_set_num_threads."""
    code = """
import ctypes
version, path = fastnn.core.runtime.openmp_runtime()
library = ctypes.CDLL(path)
before = fastnn.get_num_threads()
library.omp_set_num_threads(1)
limited = fastnn.get_num_threads()
library.omp_set_num_threads(before)
print(json.dumps([before, limited, fastnn.get_num_threads()]))
"""
    before, limited, after = answer(code)
    assert before == after > limited == 1


# The CPUs of each thread once a team has worked: the main thread's first.
BOUND = """
import os, numpy as np
n = fastnn.get_num_threads()
fastnn._native.team_work(0)
x = np.ones((64, 64), np.float32)
fastnn.kernels.dense_forward(x, x)
tasks = sorted(map(int, os.listdir("/proc/self/task")))
print(json.dumps([n, [sorted(os.sched_getaffinity(t)) for t in tasks[:2]]]))
"""


@needs_tasks
@needs_cpus
def test_threads_that_openmp_binds_to_cpus():
    """The library binds the main thread to one CPU when it is loaded; the team has the others all the same."""
    cpus = sorted(os.sched_getaffinity(0))
    a, b = cpus[:2]
    for setting in ({"OMP_PROC_BIND": "true"}, {"OMP_PLACES": f"{{{a}}},{{{b}}}"}, {"GOMP_CPU_AFFINITY": f"{a} {b}"}):
        n, masks = answer(BOUND, OPENBLAS_NUM_THREADS="1", **setting)
        assert n == (len(cpus) if "OMP_PROC_BIND" in setting else 2) and masks == [[a], [b]], setting
    assert answer(BOUND, OPENBLAS_NUM_THREADS="1", OMP_PLACES=f"{{{a},{b}}}") == [2, [[a, b], [a, b]]]
    assert answer(BOUND, OPENBLAS_NUM_THREADS="1", OMP_PROC_BIND="false")[1] == [cpus, cpus]
    for setting in ({"OMP_PROC_BIND": "master"}, {"GOMP_CPU_AFFINITY": str(b)}):
        assert answer(THREADS, **setting) == 1


@needs_tasks
@needs_cpus
def test_cpus_that_are_taken_away_later():
    code = """
import os, time
def limit(cpus):
    for task in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(task), cpus)
    end = time.monotonic() + 20
    while fastnn.get_num_threads() != len(cpus) and time.monotonic() < end:
        time.sleep(0.005)
    return fastnn.get_num_threads()
cpus = sorted(os.sched_getaffinity(0))[:2]
counts = [limit(cpus), limit(cpus[1:]), limit(cpus)]
fastnn.set_num_threads(2)  # as many as there are
counts += [limit(cpus[:1]), limit(cpus)]
fastnn.set_num_threads(3)  # more than there are, since it is wished
os.sched_setaffinity(0, cpus[:1])
time.sleep(0.05)
print(json.dumps(counts + [fastnn.get_num_threads()]))
"""
    assert answer(code) == [2, 1, 2, 1, 2, 3]


def test_quotas_of_control_groups(tmp_path):
    most = _native.cpus()
    root, groups = tmp_path / "cgroup", tmp_path / "own"

    def quota(lines, files):
        for name in files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(files[name])
        groups.write_text(lines)
        found = runtime.usable_cpus(str(groups), str(root))
        for name in files:
            (root / name).unlink()
        return found

    assert quota("", {}) == most and runtime.usable_cpus(str(tmp_path / "none"), str(tmp_path / "none")) == most
    assert quota("0::/a/b\n", {"a/b/cpu.max": "max 100000\n"}) == most
    one = "50000 100000\n"
    for place in ("a/b/cpu.max", "a/cpu.max", "cpu.max", "unified/a/cpu.max"):  # the process's own group, or one around it
        assert quota("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", place: one}) == 1, place
    assert quota("0::/a/b\n", {"other/cpu.max": one, "a/b/c/cpu.max": one}) == most
    assert quota("0::/a/b\n", {"cpu.max": "150000 100000\n"}) == min(most, 2)
    lines = "5:memory:/x\n4:cpu,cpuacct:/a/b\n"
    v1 = {"cpu,cpuacct/a/cpu.cfs_quota_us": "100000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"}
    assert quota(lines, v1) == 1
    assert quota(lines, {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}) == 1
    assert quota(lines, {name: "-1\n" if "quota" in name else text for name, text in v1.items()}) == most


# All entries, after the system has stopped giving threads: right, and one warning in all. Others may run beside this, as the same user.
REFUSED = """
import os, resource, warnings, numpy as np
from fastnn import kernels, losses, nn, optim
fastnn.set_num_threads(4)
_native = fastnn._native
x, y = np.random.default_rng(0).standard_normal((40, 30), np.float32), np.arange(40) % 3
def work():
    fastnn.manual_seed(1)
    model = nn.Sequential(nn.Dense(30, 20, activation="relu"), nn.Dense(20, 3))
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()))
    trainer.step(x, y)
    trainer.fit(x, y, batch_size=16, verbose=0)
    trainer.optimizer.step([p.data.copy() for p in model.parameters()])
    return [model.predict(x).tobytes(), kernels.dense_forward(x, x[:30].copy()).tobytes()]
_native.team_work(1e18)
expected = work()  # which also imports all that is to be: another user might not be allowed to read it
LIMIT
_native.team_work(0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    same = work() == expected and work() == expected
    few = fastnn.get_num_threads()
    fastnn.set_num_threads(3)
    asked = fastnn.get_num_threads()
    work()
print(json.dumps([same, few, asked, [w.category.__name__ for w in caught], str(caught[0].message)]))
"""
LIMITS = {
    "user's threads": """
if os.getuid() == 0:
    os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
""",
    "memory": """
import sys
stack, hard = resource.getrlimit(resource.RLIMIT_STACK)
if stack != 1 << 28:  # a process that begins with it gives each thread a stack of this size
    resource.setrlimit(resource.RLIMIT_STACK, (1 << 28, hard))
    os.execv(sys.executable, sys.orig_argv)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 27), used + (1 << 27)))
""",
}


@needs_tasks
@pytest.mark.parametrize("limit", LIMITS)
def test_threads_that_the_system_refuses(limit):
    if limit == "memory" and "asan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("AddressSanitizer needs more than any limit")
    same, few, asked, kinds, text = answer(REFUSED.replace("LIMIT", LIMITS[limit]), OPENBLAS_NUM_THREADS="1")
    assert same and (few, asked) == (1, 3)
    assert kinds == ["RuntimeWarning"] * 2  # once, and once more after set_num_threads
    assert text.startswith("the system refused to make a thread: fastnn works on 1")


def test_importing_needs_only_numpy():
    """threadpoolctl and the rest are nobody's business until asked for."""
    loaded = answer("import sys; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))")
    assert not {"threadpoolctl", "scipy", "sklearn", "torch", "matplotlib", "tqdm", "safetensors", "Cython"} & set(loaded)


def test_show_config(capsys):
    fastnn.show_config()
    text = capsys.readouterr().out
    for word in (fastnn.__version__, fastnn.get_isa(), np.__version__, "threads"):
        assert word in text


# ---- forks and concurrent callers ----


@needs_tasks
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_computes_alone():
    """The child of a process whose team has run has no workers, and would wait for them for ever."""
    code = f"""
import os, signal, warnings, numpy as np
from fastnn import _native, kernels
warnings.simplefilter("ignore")
_native.team_work(0)
fastnn.set_num_threads(3)
r = np.random.default_rng(0)
x, w = r.standard_normal((40, 300), np.float32), r.standard_normal((300, 70), np.float32)
y = kernels.dense_forward(x, w, activation="tanh")
assert {TASKS} > 1
read, write = os.pipe()
if os.fork() == 0:
    signal.alarm(20)
    same = all((kernels.dense_forward(x, w, activation="tanh") == y).all() for _ in range(3))
    p = np.ones(100_000, np.float32)
    kernels.sgd_update([p], [p.copy()], None, 1, lr=0.5)
    os.write(write, json.dumps([bool(same), bool((p == 0.5).all()), {TASKS}, fastnn.get_num_threads()]).encode())
    os._exit(0)
os.close(write)
child = os.read(read, 1000).decode()
_, status = os.wait()
again = bool((kernels.dense_forward(x, w, activation="tanh") == y).all())
print(json.dumps([json.loads(child) if child else None, status, again, fastnn.get_num_threads() > 1]))
"""
    assert answer(code, OPENBLAS_NUM_THREADS="1") == [[True, True, 1, 1], 0, True, True]


def test_two_python_threads_at_once():
    """Only one of them gets the team; both get the right bits."""
    _native.team_work(0)
    fastnn.set_num_threads(2)
    x, w = data()
    targets = np.arange(len(x)) % w.shape[1]
    y = kernels.dense_forward(x, w, activation="sigmoid")
    loss, dy = kernels.softmax_cross_entropy(y, targets)
    gradients = kernels.dense_backward(dy, x, w, y, activation="sigmoid")
    wrong, start = [], threading.Barrier(2)

    def work():
        start.wait()
        for _ in range(200):
            mine = kernels.dense_forward(x, w, activation="sigmoid")
            my_loss, my_dy = kernels.softmax_cross_entropy(mine, targets)
            mine_too = kernels.dense_backward(my_dy, x, w, mine, activation="sigmoid")
            same = all(np.array_equal(a, b) for a, b in zip((mine, my_dy, *mine_too), (y, dy, *gradients)))
            if not same or my_loss != loss:
                wrong.append(threading.get_ident())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
        assert not t.is_alive()
    assert not wrong


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs fesetround by ctypes")
def test_the_floating_point_mode_of_the_caller_does_not_matter():
    """Rounding modes are set to the default inside a call, in every member of the team, and restored after it."""
    code = f"""
import ctypes, numpy as np
from fastnn import _native, kernels
_native.team_work(0)
libm = ctypes.CDLL("libm.so.6")
UPWARD, NEAREST = 0x800, 0
r = np.random.default_rng(0)
x, w = r.standard_normal((40, 300), np.float32), r.standard_normal((300, 70), np.float32)
answers = []
for threads in (1, 2):
    fastnn.set_num_threads(threads)
    y = kernels.dense_forward(x, w, activation="tanh")
    assert libm.fesetround(UPWARD) == 0
    z = kernels.dense_forward(x, w, activation="tanh")
    mode = libm.fegetround()
    libm.fesetround(NEAREST)
    answers.append([y.tobytes() == z.tobytes(), mode == UPWARD])
print(json.dumps(answers))
"""
    import platform

    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("the constants are x86's")
    assert answer(code) == [[True, True], [True, True]]
