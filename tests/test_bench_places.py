"""bench/places.py: in how few source files things are named, which may become fewer only."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
bench = pytest.importorskip("bench.places", reason="needs the sources")
del sys.path[0]

MOST = {"maxout": 8, "prelu": 8, "mish": 3, "quantile": 5, "lion": 4, "adafactor": 6}


def test_things_stand_in_few_files():
    found = bench.sources()
    counts = {name: len(bench.places(name, found)[0]) for name in bench.THINGS}
    assert counts.keys() == MOST.keys() and all(1 < counts[name] <= MOST[name] for name in counts), counts
    assert "| lion, an elementwise optimizer | 4 | 1 | 1 |" in bench.table(["lion"])


def test_comments_and_docstrings_do_not_count(tmp_path):
    for name, text in {
        "a.py": '"""lion"""\nx = 1  # lion\ny = "#"\n',
        "b.py": "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from .lion import Lion\n    lion = 2\nelse:\n    x = 3\n",
        "a.c": "/* lion\n lion */ int x; // lion\n",
        "a.pxi": 'cdef f():\n    """lion"""\n    # lion\n',
    }.items():
        path = tmp_path / name
        path.write_text(text)
        assert "lion" not in bench.code_of(path)
        path.write_text(text + "lion = 1\n")
        assert bench.code_of(path).count("lion") == 1
    code = {"a.py": "million medallion", "b.py": "Lion(x)", "fastnn/io/c.py": "fnn_lion_rule", "d/__init__.py": "from .lion import Lion"}
    assert bench.places("lion", code) == (["b.py"], ["d/__init__.py"], ["fastnn/io/c.py"])
