"""Imports go down only: which part of the package may import which, read from the sources without running them.

Parts stand in layers, and a part imports what stands in a layer below its own: nothing beside it, nothing above it, wherever
in the file the import is. So there are no circles of parts, and within a part there are none of modules. `reference` imports
NumPy only, and no private name crosses from one part to another. What does not hold yet is listed below, each breach on a line
of its own. The list can only become shorter: a breach that is not in it fails the test, and so does one that has gone.
"""

import ast
import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1] / "fastnn"

# From the lowest up. A part is a module or a package of fastnn, with all that it holds.
LAYERS = (
    ("_native", "_version"),
    ("core",),
    ("kernels", "reference"),
    ("ops",),
    ("plan",),
    ("executors",),
    ("schedules", "regularizers", "init"),  # optimizers follow schedules; layers draw weights, and have penalties
    ("nn", "losses", "optim"),
    ("training",),
    ("io",),  # estimators are written as ONNX too
    ("data", "sklearn", "tune", "distributed", "ensemble", "evolution", "self_test"),
    ("cli",),
    ("__init__", "__main__"),  # the doors of the package
)

# (importing module, what it imports) that is not below it, or that is private to another part
BREACHES = set()

# modules that import each other, directly or by way of others
CIRCLES = set()


class Import(NamedTuple):
    """Modules are named without "fastnn.", a package by the name of its __init__."""

    by: str
    module: str
    name: str | None  # None: the module itself
    line: int
    runs: bool = True  # False: it is for type checkers alone

    @property
    def what(self):
        return self.module if self.name is None else f"{self.module}.{self.name}"


def module_of(path):
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


SOURCES = {module_of(p): p for p in sorted(ROOT.rglob("*.py"))}
CYTHON = [p for kind in ("*.pyx", "*.pxd", "*.pxi") for p in sorted(ROOT.rglob(kind))]
MODULES = {*SOURCES, "_native"}


def part_of(module):
    """The part that a module belongs to."""
    return module.split(".")[0]


def layer_of(module):
    """The number of its layer; AssertionError for one that has none."""
    part = part_of(module)
    found = [number for number, layer in enumerate(LAYERS) if part in layer]
    assert found, f"{module}: no layer has the part {part}"
    return found[0]


def target(by, base, name):
    """The Import of a name from a module of fastnn, which may be a module itself."""
    inner = f"{base}.{name}" if base else name
    return (inner, None) if inner in MODULES else (base or "__init__", name)


def imports_of(module, tree):
    """All imports of parts of fastnn in a syntax tree, in functions too, and private attributes of modules so imported."""
    package = module.split(".") if SOURCES[module].name == "__init__.py" else module.split(".")[:-1]
    package = [] if module == "__init__" else package
    modules = {}  # names that stand for a module
    checked = {id(n) for branch in ast.walk(tree) if for_checkers(branch) for line in branch.body for n in ast.walk(line)}
    for node in ast.walk(tree):
        runs = id(node) not in checked
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "fastnn":
                    found = alias.name.partition(".")[2] or "__init__"
                    modules[alias.asname or alias.name] = found
                    yield Import(module, found, None, node.lineno, runs)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *(node.module or "").split(".")]).strip(".")
            elif (node.module or "").split(".")[0] == "fastnn":
                base = node.module.partition(".")[2]
            else:
                continue
            for alias in node.names:
                found, name = target(module, base, alias.name)
                if name is None:
                    modules[alias.asname or alias.name] = found
                yield Import(module, found, name, node.lineno, runs)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            if is_private(node.attr):
                yield Import(module, modules[node.value.id], node.attr, node.lineno)


def for_checkers(node):
    """Whether it is an `if TYPE_CHECKING:`, whose body no Python runs."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def breaks(i):
    """Whether an import may not be."""
    if part_of(i.by) == part_of(i.module):
        return False
    if part_of(i.by) == "reference":
        return True
    crosses = any(is_private(name) for name in [*i.module.split(".")[1:], i.name or ""])
    return crosses or layer_of(i.module) >= layer_of(i.by)


def circles(edges):
    """The sets of modules that reach each other, as sorted tuples."""
    reached = {}
    for start in edges:
        seen, waiting = set(), [start]
        while waiting:
            for after in edges.get(waiting.pop(), ()):
                if after not in seen:
                    seen.add(after)
                    waiting.append(after)
        reached[start] = seen
    return {tuple(sorted(b for b in reached if b in reached[a] and a in reached[b])) for a in reached if a in reached[a]}


def edges_of(imports):
    edges = {}
    for i in imports:
        if i.by != i.module and i.runs:
            edges.setdefault(i.by, set()).add(i.module)
    return edges


@pytest.fixture(scope="module")
def trees():
    return {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in SOURCES.items()}


@pytest.fixture(scope="module")
def imports(trees):
    return [i for module, tree in trees.items() for i in imports_of(module, tree)]


def test_every_module_has_a_layer():
    for module in MODULES:
        layer_of(module)


def test_imports_go_down(imports):
    found = {(i.by, i.what): i for i in imports if breaks(i)}
    new = sorted(f"{i.by}, line {i.line}: {i.what}" for key, i in found.items() if key not in BREACHES)
    assert not new, "imports that are not below, or private to another part"
    assert not BREACHES - set(found), "listed, and no longer there: take them out of BREACHES"


def test_no_circles(imports):
    found = circles(edges_of(imports))
    assert not found - CIRCLES, "modules that import each other; of a listed circle that has become smaller, list what is left"
    assert not CIRCLES - found, "listed, and no longer there: take them out of CIRCLES"


def test_reference_imports_numpy_only(trees):
    for module, tree in trees.items():
        if part_of(module) == "reference":
            assert others(tree) <= {"numpy"}, module


def others(tree):
    """The packages beside fastnn and the standard library that are imported anywhere in a tree."""
    found = {alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    return found - {"fastnn"} - sys.stdlib_module_names


def test_numpy_alone_is_imported_with_the_package(trees):
    """Other packages are imported by the functions that use them; scikit-learn, which needs SciPy, by the part that is made for it."""
    for module, tree in trees.items():
        top = ast.Module([node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))], [])
        assert others(top) <= ({"numpy", "scipy", "sklearn"} if part_of(module) == "sklearn" else {"numpy"}), module


def test_scikit_learn_is_imported_by_its_part_alone(trees):
    assert [module for module, tree in trees.items() if "sklearn" in others(tree) and part_of(module) != "sklearn"] == []


CIMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+c?import\b|c?import[ \t]+([^#\n]+))", re.MULTILINE)


def cython_imports(text):
    """Names of the modules that Cython code imports or cimports."""
    for base, names in CIMPORT.findall(text):
        yield from [base] if base else [name.split(" as ")[0].strip() for name in names.split(",")]


def test_native_imports_numpy_only():
    """The compiled part is the lowest: it knows no other, and of the world NumPy, the C library and Python's."""
    assert [p.name for p in CYTHON if p.suffix == ".pyx"] == ["_native.pyx"]
    for path in CYTHON:
        found = {name.split(".")[0] or name for name in cython_imports(path.read_text(encoding="utf-8"))}
        assert found <= {"numpy", "libc", "cpython", "cython"} | sys.stdlib_module_names, path.name


# ---- the test can fail ----


def parsed(by, text):
    return list(imports_of(by, ast.parse(text)))


@pytest.mark.parametrize(
    "by, text",
    [
        ("nn.dense", "from ..training import Trainer"),
        ("nn.dense", "from .. import optim"),
        ("nn.dense", "from ..losses import Loss"),
        ("nn.dense", "def f():\n    import fastnn.optim.adam as a"),
        ("optim.adam", "from fastnn.nn import Dense"),
        ("losses.base", "from .. import nn"),
        ("losses.base", "from .. import Trainer"),
        ("losses", "import fastnn"),
        ("training.trainer", "from ..losses.base import _weights"),
        ("training.trainer", "from .. import losses\nlosses._weights"),
        ("training.trainer", "from ..reference._check import check_array"),
        ("reference.loss", "from .. import _native"),
        ("reference.loss", "from ..core.activations import FORMS"),
        ("kernels.dense", "from ..reference import softmax_forward"),
        ("plan.plan", "from ..executors import NativeExecutor"),
        ("core.runtime", "from ..kernels import gather"),
    ],
)
def test_a_breach_is_seen(by, text):
    assert any(breaks(i) for i in parsed(by, text))


@pytest.mark.parametrize(
    "by, text",
    [
        ("nn.dense", "from .. import init as initialisers\nfrom ..plan import Parameter\nfrom .layer import _anything"),
        ("optim.base", "from ..schedules import Schedule\nfrom .. import _native\n_native.__name__"),
        ("reference.loss", "import math\nimport numpy as np\nfrom ._check import check_array"),
        ("training.gradients", "from .arrays import ArrayData"),
        ("__init__", "from . import cli\nfrom ._version import __version__\nfrom .training import Trainer"),
    ],
)
def test_what_may_be(by, text):
    assert not any(breaks(i) for i in parsed(by, text))


def test_a_circle_is_seen():
    chain = [*parsed("nn.dense", "from .layer import Layer"), *parsed("nn.layer", "def f():\n    from . import model")]
    assert circles(edges_of(chain)) == set()
    assert circles(edges_of([*chain, *parsed("nn.model", "from .dense import Dense")])) == {("nn.dense", "nn.layer", "nn.model")}
    assert circles(edges_of([*chain, *parsed("nn.model", "if TYPE_CHECKING:\n    from .dense import Dense")])) == set()


def test_imports_of_cython_are_seen():
    text = "cimport numpy as cnp, cython\nfrom libc.math cimport sqrt\nif x:\n    from .nn import Dense\nimport fastnn.optim  # c"
    assert list(cython_imports(text)) == ["numpy", "cython", "libc.math", ".nn", "fastnn.optim"]
