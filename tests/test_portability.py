"""The C sources pass the headers of systems on which nobody runs the tests: clang reads them with those that ziglang (on PyPI) has."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[1] / "csrc"
FOUND = importlib.util.find_spec("ziglang")
pytestmark = [
    pytest.mark.skipif(not CSRC.exists(), reason="needs the sources"),
    pytest.mark.skipif(FOUND is None or shutil.which("clang") is None, reason="needs clang, and ziglang's headers"),
]

COMMON = ["-std=c11", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
TARGETS = {  # folders of headers, and macros as setup.py defines them
    "x86_64-w64-mingw32": (["any-windows-any"], []),
    "aarch64-w64-mingw32": (["any-windows-any"], []),
    "arm64-apple-macos13": (["any-darwin-any"], ["-D_POSIX_C_SOURCE=200809L", "-D_DARWIN_C_SOURCE"]),
}


@pytest.mark.parametrize("target", TARGETS)
def test_sources_pass_the_headers_of(target):
    """A build for one thread, since there is no OpenMP for these here, with the portable kernels and NEON's (which are nothing on x86)."""
    folders, macros = TARGETS[target]
    headers = [f"-isystem{Path(FOUND.submodule_search_locations[0], 'lib', 'libc', 'include', folder)}" for folder in folders]
    sources = [*(CSRC / "runtime").glob("*.c"), *(CSRC / "ops").glob("*.c"), *(CSRC / "isa").glob("generic_*.c"), *(CSRC / "isa").glob("neon_*.c")]
    command = ["clang", f"--target={target}", *COMMON, *macros, *headers, *map(str, sorted(sources))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
