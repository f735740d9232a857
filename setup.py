"""Builds the one extension module: thin Cython over the C kernels of csrc/.

Each file of csrc/isa/ is compiled with its own instruction set; everything else at the platform's baseline, so that a
wheel built here runs on every other machine of the platform. Which sets there are is asked of the compiler, since it may
build for another machine than this one. Switches, in the environment:

    FASTNN_NO_OPENMP=1       build for one thread even if the compiler has OpenMP
    FASTNN_REQUIRE_OPENMP=1  fail rather than build for one thread because it has none: for wheels that are given to others
    FASTNN_SANITIZE=1        AddressSanitizer and UndefinedBehaviorSanitizer (run Python with libasan preloaded)
    FASTNN_WERROR=1          warnings in csrc/ are errors
"""

import os
import re
import shutil
import sys
import tempfile
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
CSRC = Path("csrc")

# -ffp-contract=off: an FMA stands in the code where one is meant. -fno-math-errno, so that sqrt is one instruction.
COMMON = ["-std=c11", "-O3", "-g0", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
WARNINGS = ["-Wall", "-Wextra", "-Werror=pointer-arith"]  # arrays are void * where their type does not matter: no sums on those
POSIX = ["-D_POSIX_C_SOURCE=200809L", "-D_DARWIN_C_SOURCE"]  # clock_gettime, pthread_atfork, the number of CPUs: -std=c11 alone hides them
GENERATED = ["-Wno-sign-compare"]  # for the C that Cython writes
# The same for clang-cl, which builds on Windows (untried): Microsoft's compiler has neither the attributes nor the assembly.
CLANG_CL = ["/clang:" + flag for flag in COMMON if flag not in ("-g0", "-fvisibility=hidden")]
CLANG_CL_WARNINGS = ["-W3"]

# What makes OpenMP, for the compiler and for the linker: what the first compiler has that takes it.
OPENMP = [(["-fopenmp"], ["-fopenmp"])]
OPENMP_DARWIN = [*OPENMP, (["-Xpreprocessor", "-fopenmp"], ["-lomp"])]  # Apple's clang, with libomp where CFLAGS and LDFLAGS say
OPENMP_CLANG_CL = [(["/clang:-fopenmp"], ["libomp.lib"])]

# -mprfchw: a prefetch for writing must ask for the line itself. Without it gcc asks for a copy to read, and the store then waits
# until the other CPU, which read the weights in the forward pass, has given up its own.
# -falign-loops=64: a step of a product is two lines of code. Where it happens to lie across three, products take a tenth longer
# (measured on a Zen 3).
X86_FLAGS = {
    "avx2": ["-mavx2", "-mfma", "-mprfchw", "-falign-loops=64"],
    "avx512": ["-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprfchw"],
}
ARM_FLAGS = {"neon": []}  # every AArch64 has it


def switch(name):
    return os.environ.get(name, "0") not in ("", "0")


class BuildExt(build_ext):
    def finalize_options(self):
        super().finalize_options()
        self.include_dirs = [*(self.include_dirs or [])]

    def build_extension(self, ext):
        import numpy
        from setuptools.modified import newer_group  # here, since tests read this file where setuptools is older

        ext.include_dirs.append(numpy.get_include())
        windows = self.compiler.compiler_type == "msvc"
        if windows:
            self.take_clang_cl()
        common, link = list(CLANG_CL if windows else COMMON), []
        if switch("FASTNN_SANITIZE"):
            sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
            common += [*sanitize, "-g1", "-O1"]  # -O3 takes twice as long to compile it
            link += sanitize
        warned = (CLANG_CL_WARNINGS if windows else WARNINGS) + (["-Werror"] if switch("FASTNN_WERROR") else [])
        openmp, libraries = self.openmp_flags()
        link += libraries

        isas = self.isa_flags()

        def compiled(sources, flags):
            """The objects' names; those are compiled that are older than a source, and all if the compiler or its flags are others."""
            command = repr((getattr(self.compiler, "compiler_so", self.compiler.compiler_type), common, warned, flags))
            folder = os.path.join(self.build_temp, f"{zlib.crc32(command.encode()):08x}")
            objects = self.compiler.object_filenames([str(s) for s in sources], output_dir=folder)
            made = dict(zip(map(str, sources), objects))
            stale = [s for s, o in made.items() if self.force or newer_group([s, "setup.py", *headers], o)]
            self.compiler.compile(stale, output_dir=folder, extra_postargs=common + warned + flags)
            return objects

        works = [([CSRC / "isa" / f"{isa}_{dtype}.c"], flags) for isa, flags in isas.items() for dtype in ("f32", "f64")]
        posix = [] if windows else POSIX
        works.append((sorted([*(CSRC / "runtime").glob("*.c"), *(CSRC / "ops").glob("*.c")]), posix + openmp))
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # the threads wait for compilers
            ext.extra_objects = [name for objects in pool.map(lambda work: compiled(*work), works) for name in objects]
        linked = Path(self.build_temp, "linked")  # newer than the library once it is to be made of other objects
        if not linked.exists() or linked.read_text() != repr(ext.extra_objects):
            linked.write_text(repr(ext.extra_objects))
        ext.depends = [*ext.depends, str(linked)]
        ext.extra_compile_args = common + GENERATED
        ext.extra_link_args = link + ([] if windows else ["-lm"])
        super().build_extension(ext)

    def take_clang_cl(self):
        """In place of Microsoft's compiler; the linker stays."""
        self.compiler.initialize()
        self.compiler.cc = shutil.which("clang-cl")
        if self.compiler.cc is None:
            raise RuntimeError("on Windows the package is built by clang-cl, which was not found: install LLVM, or Visual Studio's clang")

    def isa_flags(self):
        """{file of csrc/isa/: flags} of the machine that the compiler builds for; of several at once, each with its own."""
        if sys.platform == "darwin":  # a file may be compiled for both kinds of Mac at once; those of the other kind are empty
            x86 = {isa: [w for f in flags for w in ("-Xarch_x86_64", f)] for isa, flags in X86_FLAGS.items()}
            return {"generic": [], **x86, **ARM_FLAGS}
        known = {"__x86_64__": X86_FLAGS, "__aarch64__": ARM_FLAGS}
        compiled = (flags for macro, flags in known.items() if self.refuses(f"#if !defined({macro})\n#error\n#endif\n") is None)
        return {"generic": [], **next(compiled, {})}

    def openmp_flags(self):
        """(flags, linker's flags) with which a program of OpenMP compiles and links; nothing if there are none: the package then works on
        one thread."""
        if switch("FASTNN_NO_OPENMP"):
            return [], []
        known = OPENMP_CLANG_CL if self.compiler.compiler_type == "msvc" else OPENMP_DARWIN if sys.platform == "darwin" else OPENMP
        for flags, libraries in known:
            program = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
            error = self.refuses(program, flags, libraries)
            if error is None:
                return flags, libraries
        if switch("FASTNN_REQUIRE_OPENMP"):
            raise RuntimeError(f"FASTNN_REQUIRE_OPENMP: this compiler has no OpenMP ({error})")
        warnings.warn(f"this compiler has no OpenMP ({error}): the package is built for one thread", stacklevel=1)
        return [], []

    def refuses(self, text, flags=(), libraries=None):
        """The error with which the compiler refuses a source, or, where libraries are given, the linker the program; or None."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text(text)
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=list(flags))
                if libraries is not None:
                    self.compiler.link_executable(objects, str(Path(folder, "probe")), extra_postargs=list(libraries))
            except Exception as error:  # any compiler's way of failing
                return error
        return None


def readme():
    """README.md as an index shows it, where no file of the project lies beside it: links to files lead to the project's home, if
    pyproject.toml names one as Source, else only their words are left; of pictures that have no home, nothing."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    source = re.search(r'^Source = "([^"]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    home = f"{source[1].rstrip('/')}/blob/main/" if source else None
    local = r"\[([^\]]*)\]\((?![a-z]+:|#)([^)]+)\)"
    if home:
        text = re.sub("!" + local, rf"![\1]({home}\2?raw=true)", text)
        return re.sub("(?<!!)" + local, rf"[\1]({home}\2)", text)
    return re.sub(local, r"\1", re.sub(f"!{local}\n?", "", text))


def cythonized(extension):
    from Cython.Build import cythonize

    return cythonize([extension], compiler_directives={"language_level": 3, "embedsignature": True})


headers = [str(h) for pattern in ("**/*.h", "**/*.def") for h in sorted(CSRC.glob(pattern))]
extension = Extension(
    "fastnn._native",
    ["fastnn/_native.pyx"],
    include_dirs=[str(CSRC)],
    depends=["setup.py", *(str(p) for p in sorted(Path("fastnn", "_cython").glob("*.pxi"))), *headers, *(str(s) for s in sorted(CSRC.glob("**/*.c")))],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
)

os.chdir(ROOT)
setup(
    ext_modules=cythonized(extension),
    cmdclass={"build_ext": BuildExt},
    long_description=readme(),
    long_description_content_type="text/markdown",
)
