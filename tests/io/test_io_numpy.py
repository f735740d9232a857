"""to_numpy: modules that compute what the models do, alone."""

import subprocess
import sys

import numpy as np
import pytest

from fastnn import io, nn
from fastnn.io import numpy_source
from fastnn.io.graph import difference, trace


def test_random_models(models):
    kinds, names = set(), set()
    for model, X in models:
        graph = trace(model, "a test")
        kinds |= {n.kind for n in graph.nodes}
        names |= {n.settings["name"] for n in graph.nodes if n.kind == "activation"}
        source = numpy_source.numpy_source(graph, "float32", "")
        found = numpy_source.evaluate(source, numpy_source.weights(graph), X)
        assert found.dtype == np.float32 and difference(found, model.predict(X)) < 1e-6
        assert source.count("\n") < 130 and max(map(len, source.splitlines())) < 170
    kinds |= set() if hasattr(nn, "Embedding") else {"embedding"}
    assert kinds == set(numpy_source.KINDS) and names == set(numpy_source.FORMULAS)  # every layer and activation was among them


def test_the_module_runs_without_fastnn(digits, tmp_path):
    model, X, _ = digits
    io.to_numpy(model, tmp_path / "digits.py")
    np.save(tmp_path / "X.npy", X)
    text = "import sys, digits, numpy as np; np.save('y.npy', digits.predict(np.load('X.npy'))); assert 'fastnn' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", text], cwd=tmp_path, check=True)
    y = np.load(tmp_path / "y.npy")
    assert y.dtype == np.float32 and difference(y, model.predict(X)) < 1e-6
    assert len((tmp_path / "digits.py").read_text().splitlines()) < 40


def test_bad_input(tmp_path):
    model = nn.Sequential(nn.Dense(2, 2))
    with pytest.raises(ValueError, match=r"path: expected a name that ends in .py"):
        io.to_numpy(model, tmp_path / "m.txt")
    with pytest.raises(TypeError, match="model: expected an nn.Sequential, got Dense"):
        io.to_numpy(model[0], tmp_path / "m.py")
    assert not list(tmp_path.iterdir())


class Shifted(nn.Layer):
    """Emits an operation that no format has."""

    def emit(self, builder, x):
        return builder.shift(x)


@pytest.mark.parametrize("write, name", [(io.to_numpy, "m.py"), (io.to_onnx, "m.onnx"), (io.to_c, "m.c")])
def test_layers_that_a_format_cannot_hold(write, name, tmp_path):
    model = nn.Sequential(nn.Dense(2, 2), Shifted(), nn.Dense(2, 1))
    with pytest.raises(ValueError, match=r"layer 1: Shifted has no form in .*: it emits shift"):
        write(model, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_activations_without_a_formula(monkeypatch, tmp_path):
    monkeypatch.delitem(numpy_source.FORMULAS, "mish")
    with pytest.raises(ValueError, match="layer 0: Dense has no form in .*: it emits mish"):
        io.to_numpy(nn.Sequential(nn.Dense(2, 2, "mish")), tmp_path / "m.py")
    assert not list(tmp_path.iterdir())


def test_what_is_written_is_tried(monkeypatch, tmp_path):
    wrong = numpy_source.FORMULAS["tanh"]._replace(numpy="np.sinh(x)")
    monkeypatch.setitem(numpy_source.FORMULAS, "tanh", wrong)
    with pytest.raises(RuntimeError, match="outputs differ from the model's by"):
        io.to_numpy(nn.Sequential(nn.Dense(3, 3, "tanh")), tmp_path / "m.py")
    assert not list(tmp_path.iterdir())
