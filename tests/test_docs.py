"""docs/: every Python block runs and prints what its comments say, every picture is there and made by its script, and every name that
stands beside another package's exists.
"""

import ast
import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim, schedules
from fastnn.nn.layer import LAYERS

DOCS = Path(__file__).parents[1] / "docs"
pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="needs the sources")
PAGES = {page.name: page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("*.md"))}
BLOCKS = [(name, text) for name, page in PAGES.items() for text in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)]


@pytest.mark.parametrize("page, block", BLOCKS, ids=[f"{page}-{i}" for i, (page, _) in enumerate(BLOCKS)])
def test_python(page, block, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, page, "exec"), {"__name__": "__main__"})
    shown = re.findall(r"^ *print\(.*\)  # (.*)$", block, re.M)
    assert capsys.readouterr().out.splitlines() == shown


@pytest.mark.parametrize("page", PAGES)
def test_pictures_and_links_exist(page):
    linked = re.findall(r"\]\((?!http)([^)#]+)\)", PAGES[page])
    assert all((DOCS / path).exists() for path in linked)


def test_every_schedule_has_its_picture():
    """The script's expressions are those of the page, in one order, and hold every schedule."""
    script = (DOCS / "draw_schedules.py").read_text(encoding="utf-8")
    drawn = dict(re.findall(r'^    "([\w-]+)": "(.*)",$', script, re.M))
    page = PAGES["schedules.md"]
    shown = re.findall(r"^### (\w+)\n\n```\n([^\n]*)\n```\n.*?^!\[.*?\]\(schedules/([\w-]+)\.png\)$", page, re.M | re.S)
    assert {picture: expression for _, expression, picture in shown} == drawn
    assert {kind for kind, _, _ in shown} == {n for n in schedules.__all__ if n[0].isupper()} - {"Schedule"}
    namespace = {name: getattr(schedules, name) for name in schedules.__all__}
    for kind, expression, _ in shown:
        assert type(eval(expression, namespace)).__name__ == kind


def test_everything_to_build_with_has_its_place():
    """Layers and losses on the page of models, optimizers in README's table."""
    words = set(re.findall(r"\w+", PAGES["models.md"]))
    assert set(LAYERS) | set(losses.__all__) - {"Loss"} <= words
    rows = re.findall(r"^\| (`.*?) \|", (DOCS.parent / "README.md").read_text(encoding="utf-8"), re.M)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} >= set(optim.__all__) - {"Optimizer"}


# ---- names that stand beside those of other packages, and in advice ----

ROOTS = {name: getattr(fastnn, name) for name in fastnn.__all__ if not name.startswith("_")}
ROOTS |= {"fastnn": fastnn, "trainer": fastnn.Trainer, "model": nn.Sequential, "opt": optim.Adam, "history": fastnn.History}


def resolved(node):
    """What an expression names, as (object, whether it is a method of an instance); None for names that are no public ones."""
    if isinstance(node, ast.Name):
        return (ROOTS[node.id], False) if node.id in ROOTS else None
    if isinstance(node, ast.Attribute):
        owner = resolved(node.value)
        if owner is None:
            return None
        if isinstance(node.value, ast.Name) and (node.value.id, node.attr) == ("fastnn", "sklearn") or owner[0] == "sklearn":
            return None
        return getattr(owner[0], node.attr), inspect.isclass(owner[0])
    return None


def check_call(node):
    """AttributeError, TypeError where a call in an expression names what there is not, or cannot be made so."""
    for call in ast.walk(node):
        found = resolved(call.func) if isinstance(call, ast.Call) else resolved(call) if isinstance(call, ast.Attribute) else None
        if found is None or not isinstance(call, ast.Call):
            continue
        function, bound = found
        if call.args or call.keywords:  # with nothing in its parentheses it is but a name
            given = {k.arg: None for k in call.keywords}
            inspect.signature(function).bind(*[None] * (len(call.args) + bound), **given)
            if inspect.isclass(function) and issubclass(function, optim.Optimizer):
                function([np.zeros(2)], **{k.arg: ast.literal_eval(k.value) for k in call.keywords if isinstance(k.value, ast.Constant)})


def advised(page):
    """Expressions in backticks of fastnn's own: in the last column of tables and beside these; of a page of advice everywhere."""
    for line in PAGES[page].splitlines():
        cells = line.strip("| ").split(" | ")
        for text in re.findall(r"`([^`]+)`", cells[-1] if line.startswith("|") and page == "coming-from.md" else line):
            try:
                tree = ast.parse(text, mode="eval")
            except SyntaxError:
                continue
            yield text, tree


@pytest.mark.parametrize("page", ["coming-from.md", "choosing.md"])
def test_names_beside_other_packages_exist(page, monkeypatch):
    try:
        monkeypatch.setitem(ROOTS, "sklearn", importlib.import_module("fastnn.sklearn"))
    except ImportError:
        monkeypatch.setitem(ROOTS, "sklearn", "sklearn")
    count = 0
    for text, tree in advised(page):
        try:
            check_call(tree)
        except (AttributeError, TypeError) as error:
            pytest.fail(f"{page}: {text}: {error}")
        count += 1
    assert count > 40


@pytest.mark.parametrize("text", ["nn.Dens(3, 4)", "nn.Dense(3)", "optim.Adam(parameters, rate=1)", "trainer.fitt(X)", "model.predict(X, rows=1)"])
def test_a_wrong_name_is_found(text):
    with pytest.raises((AttributeError, TypeError)):
        check_call(ast.parse(text, mode="eval"))
