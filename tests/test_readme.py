"""README.md: every Python block runs and prints what its comments say; every command shown runs and shows what it says."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import cli, data

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.M | re.S)
PYTHON = [text for language, text in BLOCKS if language == "python"]
CONSOLE = "".join(text for language, text in BLOCKS if language == "console")
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d*)?")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    threads, isa = fastnn.get_num_threads(), fastnn.get_isa()
    yield
    fastnn.set_num_threads(threads)
    fastnn.use_isa(isa)


def same(shown, printed):
    """Equal words, and numbers that agree to the places shown (or nearly: instruction sets may round differently)."""
    if NUMBER.sub("#", shown) != NUMBER.sub("#", printed):
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed))
    return all(abs(float(a.replace(",", "")) - float(b.replace(",", ""))) <= 0.01 for a, b in pairs)


def test_the_checker_rejects():
    assert same("(5,) 0.98", "(5,) 0.9777")
    assert not same("0.98", "0.95")
    assert not same("True", "False")
    assert not same("[(4, 3), (3,)]", "[(4, 3), (4,)]")


def test_there_are_examples():
    assert len(PYTHON) >= 4 and CONSOLE


@pytest.mark.parametrize("block", PYTHON, ids=lambda text: re.sub(r"\W+", "-", text.splitlines()[-1])[:40])
def test_python(block, capsys):
    exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out.splitlines()
    shown = re.findall(r"^ *print\(.*\)  # (.*)$", block, re.M)
    assert len(shown) == len(re.findall(r"^ *print\(", block, re.M)) == len(printed)
    for a, b in zip(shown, printed):
        assert same(a, b), f"README shows {a!r}, the example prints {b!r}"


def test_commands(tmp_path):
    X, y = data.load_digits()
    data.write_idx(tmp_path / "images.gz", X)
    data.write_idx(tmp_path / "labels.gz", y)
    rng = np.random.default_rng(0)
    size, city = rng.normal(60, 20, 500), rng.choice(["Oslo", "Bergen"], 500)
    price = 3 * size + 40 * (city == "Oslo") + rng.normal(0, 5, 500)
    (tmp_path / "flats.csv").write_text("\n".join(["size,city,price", *(f"{a:.1f},{b},{c:.1f}" for a, b, c in zip(size, city, price))]))
    for session in re.split(r"^\$ fastnn ", CONSOLE, flags=re.M)[1:]:
        command, *shown = session.splitlines()
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert cli.main(shlex.split(command)) == 0
        printed = out.getvalue().splitlines()
        if "..." not in shown:
            assert len(shown) == len(printed)
        for line in shown:
            if line.startswith("with "):
                assert re.fullmatch(r"with   \d+ threads?, \w+ kernels", line)
            elif line != "...":
                words = NUMBER.sub("#", line)
                assert words in [NUMBER.sub("#", p) for p in printed], f"README shows {line!r}"
                if line.startswith("test accuracy"):
                    share = float(re.search(r"0\.\d+", line).group())
                    got = float(re.search(r"test accuracy (\S+)", out.getvalue()).group(1))
                    assert abs(got - share) < 0.02, f"README shows {line!r}"
                elif line.startswith(("data", "split", "model ")):
                    assert line in printed


def test_the_lines_to_install_are_two():
    """.ci/run takes the lines from this section."""
    section = re.search(r"^## Install, train, test$(.*?)^## ", README, re.M | re.S).group(1)
    commands = "".join(re.findall(r"^```sh\n(.*?)^```$", section, re.M | re.S)).splitlines()
    assert len(commands) == 2
    assert commands[0].startswith("python3 -m venv .venv && ") and commands[0].endswith("fastnn train")
    assert commands[1].startswith(".venv/bin/pip install ") and commands[1].endswith("pytest")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:csrc|fastnn|bench|tests)/[\w./]*)`", README))))
def test_paths_that_it_names_exist(path):
    if not (Path(__file__).parents[1] / "fastnn").exists():
        pytest.skip("needs the sources")
    assert (Path(__file__).parents[1] / path).exists()
