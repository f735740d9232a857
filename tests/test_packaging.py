"""What goes to an index and to other packagers: the readme that is shown there, metadata that agree, all sources in the source
distribution.
"""

import re
import sys
import types
from pathlib import Path

import pytest

import fastnn

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="needs the sources")


@pytest.fixture
def setup_py(monkeypatch):
    """setup.py's own names, of a run that builds nothing, and what it hands to setuptools."""
    setuptools = pytest.importorskip("setuptools")
    given = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(setuptools, "setup", lambda **keywords: given.update(keywords))
    cython, build = types.ModuleType("Cython"), types.ModuleType("Cython.Build")
    build.cythonize = lambda extensions, **_: extensions
    monkeypatch.setitem(sys.modules, "Cython", cython)
    monkeypatch.setitem(sys.modules, "Cython.Build", build)
    import runpy

    return {**runpy.run_path(str(ROOT / "setup.py")), "given": given}


def links(text):
    return re.findall(r"\]\(([^)]+)\)", text)


def test_the_readme_of_an_index_leads_nowhere_where_there_is_nothing(setup_py):
    text = setup_py["given"]["long_description"]
    assert setup_py["given"]["long_description_content_type"] == "text/markdown"
    whole = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [link for link in links(text) if not re.match(r"[a-z]+:|#", link)] == []
    assert re.findall(r"^```.*?^```$", text, re.M | re.S) == re.findall(r"^```.*?^```$", whole, re.M | re.S)
    assert len(re.findall(r"^#", text, re.M)) == len(re.findall(r"^#", whole, re.M))


def test_the_readme_of_an_index_leads_home(setup_py, tmp_path):
    (tmp_path / "README.md").write_text("[a](docs/a.md) [b](#b) [c](https://c.example/c)\n![p](docs/p.png)\nd [e](LICENSE).\n")
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nSource = "https://home.example/fastnn"\n')
    readme = setup_py["readme"]
    readme.__globals__["ROOT"] = tmp_path
    home = "https://home.example/fastnn/blob/main/"
    assert readme() == (
        f"[a]({home}docs/a.md) [b](#b) [c](https://c.example/c)\n![p]({home}docs/p.png?raw=true)\nd [e]({home}LICENSE).\n"
    )
    (tmp_path / "pyproject.toml").write_text("[project.urls]\n")
    assert readme() == "a [b](#b) [c](https://c.example/c)\nd e.\n"


def test_versions_agree():
    for file, pattern in (("CITATION.cff", r"^version: (.*)$"), ("packaging/conda-forge/recipe.yaml", r'^  version: "(.*)"$')):
        assert re.findall(pattern, (ROOT / file).read_text(encoding="utf-8"), re.M) == [fastnn.__version__], file


def test_every_package_is_listed():
    """setuptools takes the packages that pyproject.toml lists, and no others."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.findall(r'"(fastnn[\w.]*)"', re.search(r"^packages = \[(.*?)^\]", text, re.M | re.S).group(1))
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "fastnn").rglob("__init__.py")}
    assert set(listed) - {"fastnn.datasets"} == found and len(listed) == len(set(listed))


def test_requirements_of_other_packagers_are_those_of_the_project():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    recipe = (ROOT / "packaging" / "conda-forge" / "recipe.yaml").read_text(encoding="utf-8")
    for name, version in re.findall(r'"(setuptools|Cython|tqdm)>=([\d.]+)"', project):
        assert f"- {name.lower()} >={version}\n" in recipe
