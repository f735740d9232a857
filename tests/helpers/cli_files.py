"""What the command line's tests run."""

import os
import re
import subprocess
import sys

QUICK = ["--epochs", "1", "--hidden", "8"]


def process(*argv, **options):
    """`python -m fastnn` in a process of its own."""
    env = {**os.environ, **options.pop("env", {})}
    command = [sys.executable, "-m", "fastnn", *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, **options)


def accuracy(out):
    return float(re.search(r"^test accuracy (\S+) \(\d+ of \d+\)$", out, re.M).group(1))


def one_line(result):
    """The message of a refusal, whose form is checked."""
    code, out, err = result
    assert code == 2
    assert err.startswith("fastnn: error: ") and err.count("\n") == 1 and err.endswith("\n"), err
    return err


def everything(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))
