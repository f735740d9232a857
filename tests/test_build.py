"""The C sources: they compile without a warning, each instruction set by its own flags, and export one symbol each."""

import os
import platform
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CSRC = ROOT / "csrc"
DTYPES = ("f32", "f64")  # each instruction set is compiled for


def compiler():
    """The compiler that Python was built with, or any."""
    for command in (os.environ.get("CC"), sysconfig.get_config_var("CC"), "gcc", "cc", "clang"):
        words = shlex.split(command or "")
        if words and shutil.which(words[0]):
            return words[:1]
    return None


pytestmark = pytest.mark.skipif(
    not (CSRC / "defs" / "kernels.def").exists() or compiler() is None or shutil.which("nm") is None,
    reason="needs the sources, a C compiler and nm",
)


@pytest.fixture(scope="module")
def flags():
    """setup.py's own names, of a run that builds nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        setuptools = pytest.importorskip("setuptools")
        patch.setattr(setuptools, "setup", lambda **_: None)
        cython, build = types.ModuleType("Cython"), types.ModuleType("Cython.Build")
        build.cythonize = lambda extensions, **_: extensions
        patch.setitem(sys.modules, "Cython", cython)
        patch.setitem(sys.modules, "Cython.Build", build)
        found = runpy.run_path(str(ROOT / "setup.py"))
    machines = {"x86_64": "X86_FLAGS", "amd64": "X86_FLAGS", "aarch64": "ARM_FLAGS", "arm64": "ARM_FLAGS"}
    machine = machines.get(platform.machine().lower())
    return {**found, "ISA_FLAGS": {"generic": [], **(found[machine] if machine else {})}}


@pytest.fixture(scope="module")
def objects(flags, tmp_path_factory):
    """{source below csrc: (return code, output, object)} of all that setup.py compiles, with warnings as errors.

    With FASTNN_OBJECTS the compiler keeps what it has made (.ci/cc), so it is asked for the same, by setup.py's command to the letter.
    """
    folder, kept = tmp_path_factory.mktemp("objects"), bool(os.environ.get("FASTNN_OBJECTS"))
    command = [*compiler(), "-fPIC"]
    if kept:
        setuptools = pytest.importorskip("setuptools.command.build_ext")
        setuptools.customize_compiler(own := setuptools.new_compiler())
        command = own.compiler_so

    def build(source, extra):
        target = folder / (source.relative_to(ROOT).as_posix().replace("/", "_") + ".o")
        places = ["-c", str(source.relative_to(ROOT)), "-o", str(target)]
        made = [*command, *places, *flags["COMMON"], *flags["WARNINGS"], "-Werror", *extra]
        done = subprocess.run(made, cwd=ROOT, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr, target

    probe = subprocess.run([*compiler(), "-fopenmp", "-x", "c", "-", "-o", os.devnull], input="int main(void) { return 0; }",
                           capture_output=True, text=True)  # fmt: skip
    openmp = ["-fopenmp"] if probe.returncode == 0 else []
    # the same functions and instructions in a sixth of the time, in which gcc does not see what is set; clang has no such warning
    quick = [] if kept else ["-O1", "-DFNN_NO_INLINE", "-Wno-unknown-warning-option", "-Wno-maybe-uninitialized"]
    jobs = {f"isa/{isa}_{dtype}.c": [*extra, *quick] for isa, extra in flags["ISA_FLAGS"].items() for dtype in DTYPES}
    rest = [*flags["POSIX"], *openmp]
    jobs |= {p.relative_to(CSRC).as_posix(): rest for folder in ("ops", "runtime") for p in (CSRC / folder).glob("*.c")}
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(jobs, pool.map(lambda job: build(CSRC / job[0], job[1]), jobs.items())))


def symbols(path):
    """[(letter, name)] of an object file."""
    text = subprocess.run(["nm", str(path)], capture_output=True, text=True, check=True).stdout
    return [tuple(line.split()[-2:]) for line in text.splitlines() if line.strip()]


def exported(path):
    """Names that the linker may give to others: defined, and not local to the file."""
    return sorted(name for letter, name in symbols(path) if letter.isupper() and letter not in "UVWN")


def listed():
    """The functions that kernels.def lists."""
    text = (CSRC / "defs" / "kernels.def").read_text()
    names = [f"fnn_{name}" for name in re.findall(r"^FNN_KERNEL\((\w+)", text, re.M)]
    for name in re.findall(r"^FNN_UPDATE\(\w+, (\w+)\)", text, re.M):
        names.append(f"fnn_{name}")
    return names


def tables(flags):
    """The sources of tables: avx2_f32 and so on."""
    return [f"{isa}_{dtype}" for isa in flags["ISA_FLAGS"] for dtype in DTYPES]


def test_everything_compiles_without_a_warning(objects):
    failed = {source: output for source, (code, output, _) in objects.items() if code or output.strip()}
    assert not failed, "\n".join(failed.values())


def test_every_instruction_set_is_built(flags):
    sources = {p.stem for p in (CSRC / "isa").glob("*.c")}
    assert {f"{isa}_{dtype}" for isa in flags["ISA_FLAGS"] for dtype in DTYPES} <= sources
    assert "generic" in flags["ISA_FLAGS"] and flags["ISA_FLAGS"]["generic"] == []


def test_an_instruction_set_exports_its_table_and_nothing_else(objects, flags):
    for table in tables(flags):
        assert exported(objects[f"isa/{table}.c"][2]) == [f"fnn_kernels_{table}"]


def test_a_table_needs_only_the_c_library(objects, flags):
    """A kernel that called into another file would run code of another instruction set."""
    for table in tables(flags):
        needed = {name for letter, name in symbols(objects[f"isa/{table}.c"][2]) if letter == "U"}
        assert needed <= {"memcpy", "memset", "memmove", "_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail"}


def test_every_kernel_of_the_list_is_in_every_table(objects, flags):
    assert len(listed()) >= 12
    for table in tables(flags):
        functions = {name for letter, name in symbols(objects[f"isa/{table}.c"][2]) if letter == "t"}
        assert set(listed()) <= functions, table


@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump")
def test_an_instruction_set_uses_its_registers_and_no_wider_ones(objects, flags):
    if "avx2" not in flags["ISA_FLAGS"]:
        pytest.skip("another architecture")
    widest = {"generic": "xmm", "avx2": "ymm", "avx512": "zmm"}
    for isa, dtype in [(isa, dtype) for isa in set(flags["ISA_FLAGS"]) & set(widest) for dtype in DTYPES]:
        command = ["objdump", "-d", str(objects[f"isa/{isa}_{dtype}.c"][2])]
        code = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = {register for register in ("xmm", "ymm", "zmm") if f"%{register}" in code}
        assert max(found) == widest[isa], isa  # xmm < ymm < zmm
        fused = re.search(r"\bvfn?m(add|sub)", code) is not None
        assert fused == (isa != "generic"), isa


# Beyond SSE2, which every x86-64 has: what AVX encodes anew, SSE3 to SSE4.2, and instructions for bits and signs. Not tzcnt: so is bsf shown
# where it may be either.
NEWER = re.compile(
    r"\t(v[a-z]\w+|(add|mul)sub\w+|h(add|sub)p[sd]|lddqu|mov(s[hl]|d)dup|pabs\w|palignr|ph(add|sub)\w+|pshufb|pmulhrsw|psign\w"
    r"|p?blend\w+|dpp[sd]|(extract|insert)ps|mpsadbw|packusdw|p(extr|insr)[bdq]|p(max|min)(s[bd]|u[wd])|pmov[sz]x\w+|pmul(dq|ld)"
    r"|ptest|round[ps][sd]|pcmp([eg][qt]q|[ei]str\w)|crc32\w*|popcnt\w?|lzcnt\w?|movbe\w*|andn|bextr|bls\w+|bzhi|mulx|pdep|pext"
    r"|rorx|s[ah][lr]x)\s"
)


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="of x86-64")
@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump")
def test_what_every_machine_runs_has_no_newer_instructions(objects):
    """Only the tables of AVX2 and AVX-512, which are chosen by the CPU, leave the baseline: a table that another file's flags
    reached would end the process with SIGILL on an older machine."""
    for source, (_, _, path) in objects.items():
        code = subprocess.run(["objdump", "-d", "--no-show-raw-insn", str(path)], capture_output=True, text=True, check=True).stdout
        newer = NEWER.search(code)
        assert (newer is not None) == source.startswith(("isa/avx2", "isa/avx512")), (source, newer and newer[0])


def test_exported_names_have_the_prefix(objects):
    for source, (_, _, path) in objects.items():
        assert all(name.startswith("fnn_") for name in exported(path)), source


def test_the_extension_exports_its_init_function_only():
    from fastnn import _native

    text = subprocess.run(["nm", "-D", "--defined-only", _native.__file__], capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1] for line in text.splitlines() if line.strip()} - {"_init", "_fini", "__bss_start", "_edata", "_end"}
    assert names == {"PyInit__native"}
