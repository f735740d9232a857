"""The package as a whole: its public names, its examples, and that it stands on NumPy alone."""

import ast
import doctest
import importlib
import sys
from pathlib import Path

import pytest

from fastnn import reference

FOLDER = Path(reference.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def test_public_names_exist_are_sorted_and_documented():
    names = reference.__all__
    assert names == sorted(names) and len(set(names)) == len(names)
    for name in names:
        assert getattr(reference, name).__doc__


@pytest.mark.parametrize("module", MODULES)
def test_examples(module):
    results = doctest.testmod(importlib.import_module(f"fastnn.reference.{module}"))
    assert results.failed == 0 and results.attempted > 0


def test_every_public_function_has_an_example_and_says_what_it_returns_and_raises():
    for name in reference.__all__:
        if name == "ACTIVATIONS":
            continue
        doc = getattr(reference, name).__doc__
        sections = ["Parameters\n", "Raises\n", "Examples\n", ">>> "]
        if not name.endswith("_update"):
            sections.append("Returns\n")
        assert all(section in doc for section in sections), name


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_imports_the_standard_library_numpy_and_its_neighbours_only(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            tops = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1
            tops = [] if node.level else [node.module.split(".")[0]]
        else:
            continue
        assert all(top == "numpy" or top in sys.stdlib_module_names for top in tops), tops
