"""Every example in a public docstring runs, and every public name has a docstring."""

import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import fastnn

MODULES = sorted(m.name.partition(".")[2] for m in pkgutil.walk_packages(fastnn.__path__, "fastnn.") if not m.name.endswith("__main__"))
NAMES = {
    name: getattr(fastnn, name)
    for name in ("callbacks", "data", "init", "kernels", "losses", "nn", "optim", "regularizers", "schedules")
}


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(f"fastnn.{name}")
    threads = fastnn.get_num_threads()
    try:
        results = doctest.testmod(module, extraglobs={"fastnn": fastnn, "np": np, **NAMES})
    finally:
        fastnn.set_num_threads(threads)
    assert results.failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_public_names_have_docstrings(name):
    module = importlib.import_module(f"fastnn.{name}")
    for public in getattr(module, "__all__", ()):
        thing = getattr(module, public)
        if inspect.isfunction(thing) or inspect.isclass(thing):
            assert inspect.getdoc(thing), f"{name}.{public}"


def test_the_selftest_finds_a_wrong_kernel(monkeypatch):
    assert set(fastnn.selftest()) == set(fastnn.available_isas())
    right = fastnn.kernels.dense_forward
    monkeypatch.setattr(fastnn.kernels, "dense_forward", lambda *a, **k: right(*a, **k) * np.float32(1.001))
    with pytest.raises(RuntimeError, match="dense_forward on generic"):
        fastnn.selftest()
