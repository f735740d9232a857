"""Every operation of the vector vocabulary, and products: the same bits on each instruction set with fused multiply-add.

tests/vocabulary.c is compiled for AVX2 or NEON, whichever runs here, and on other processors for NEON too where there are a compiler for
AArch64 (Debian: gcc-aarch64-linux-gnu; or ziglang from PyPI) and an emulator of its programs (Debian: qemu-user-static).
"""

import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import fastnn

HERE = Path(__file__).parent
CSRC = HERE.parent / "csrc"
DTYPES = ("f32", "f64")
FLAGS = {"avx2": ["-mavx2", "-mfma"], "neon": []}  # the others are compared by tests of the kernels themselves


def first(*names):
    return next((found for name in names if (found := shutil.which(name))), None)


def native_compiler():
    for command in (os.environ.get("CC"), sysconfig.get_config_var("CC"), "gcc", "cc", "clang"):
        words = shlex.split(command or "")
        if words and shutil.which(words[0]):
            return words[:1]
    return None


def cross_compiler():
    """For AArch64's Linux, static: the emulator then needs no libraries of that machine."""
    if found := first("aarch64-linux-gnu-gcc"):
        return [found, "-static"]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-static"]
    return None


def ways():
    """{instruction set: (compiler, what runs its programs)}"""
    found = {isa: (native_compiler(), []) for isa in fastnn.available_isas() if isa in FLAGS}
    if "neon" not in found and platform.system() == "Linux":
        emulator = first("qemu-aarch64", "qemu-aarch64-static")
        # cortex-a72: what has NEON and no more
        found["neon"] = (cross_compiler(), [emulator, "-cpu", "cortex-a72"] if emulator else None)
    return found


pytestmark = pytest.mark.skipif(not CSRC.exists() or native_compiler() is None, reason="needs the sources and a C compiler")


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """{(instruction set, dtype): lines}, None where the program could be compiled but not run."""
    folder = tmp_path_factory.mktemp("vocabulary")

    def answer(job):
        isa, dtype, compiler, runner = job
        program = folder / f"{isa}_{dtype}"
        # not as fast as in a build, in a sixth of its time, and of the same bits
        command = [*compiler, "-std=c11", "-O1", "-DFNN_NO_INLINE", "-ffp-contract=off", "-fno-math-errno", *FLAGS[isa], f"-DFNN_ISA_{isa.upper()}=1",
                   f"-DFNN_ISA_NAME={isa}", *(["-DFNN_DOUBLE=1"] if dtype == "f64" else []), f"-I{CSRC / 'isa'}", str(HERE / "vocabulary.c"),
                   "-o", str(program), "-lm"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        if runner is None:
            return None
        done = subprocess.run([*runner, str(program)], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{isa}, {dtype}: {done.returncode}, {done.stderr[-1000:]}"
        return done.stdout.splitlines()

    jobs = [(isa, dtype, *way) for isa, way in ways().items() if way[0] for dtype in DTYPES]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip([job[:2] for job in jobs], pool.map(answer, jobs)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", FLAGS)
def test_products_are_chains_of_fused_multiply_adds(answers, isa, dtype):
    """And loads and stores of some lanes touch these only: the program looks itself, and says what is wrong in words."""
    if answers.get((isa, dtype)) is None:
        pytest.skip(f"{isa} does not run here")
    lines = answers[isa, dtype]
    assert len(lines) >= 50 and any(line.startswith("products with an update ") for line in lines)
    assert not [line for line in lines if "wrong" in line]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", FLAGS)
def test_the_same_bits(answers, isa, dtype):
    others = [name for (name, kind), lines in answers.items() if kind == dtype and lines is not None and name != isa]
    if answers.get((isa, dtype)) is None or not others:
        pytest.skip(f"{isa} does not run here, or no other does")
    mine, other = answers[isa, dtype], answers[others[0], dtype]
    different = [a for a, b in zip(mine, other) if a != b]
    assert len(mine) == len(other) and not different, f"other bits than on {others[0]}: {different}"
