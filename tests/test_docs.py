"""docs/: every Python block runs and prints what its comments say, every picture is there and made by its script."""

import re
from pathlib import Path

import pytest

from fastnn import schedules

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
