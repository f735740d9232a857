"""to_c: files that every compiler takes without a word, and that compute what the models do."""

import ctypes
import shutil
import subprocess
import sys

import numpy as np
import pytest

from fastnn import io, nn
from fastnn.io import c_source
from fastnn.io.graph import difference, trace

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g1"]

MAIN = """
#include <stdio.h>
#include <stdlib.h>
int main(void)
{
    int sizes[3]; /* number of a model, its inputs and outputs */
    while (fread(sizes, sizeof(int), 3, stdin) == 3) {
        float *x = (float *)malloc(sizeof(float) * (size_t)sizes[1]), *y = (float *)malloc(sizeof(float) * (size_t)sizes[2]);
        if (fread(x, sizeof(float), (size_t)sizes[1], stdin) != (size_t)sizes[1])
            return 1;
        functions[sizes[0]](x, y);
        fwrite(y, sizeof(float), (size_t)sizes[2], stdout);
        free(x);
        free(y);
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def written(models, tmp_path_factory):
    """(name, text of the file, X, outputs, limit) of every model in float32, and of some in int8."""
    path, found = tmp_path_factory.mktemp("c") / "model.c", []
    for weights, count in (("float32", len(models)), ("int8", 12)):
        for model, X in models[:count]:
            name = f"model{len(found)}"
            made = io.to_c(model, path, weights=weights, name=name, sample=X, check=False)
            text = path.read_text()
            assert len(text) == made.nbytes and made.compiler is None
            if weights == "float32":
                assert made.error < 1e-5
            found.append((name, text, X, model.predict(X), made.error + 1e-5))  # int8: as far off as it says
    return found


COMPILERS = {  # with the models that they are given: 40 in float32, by one of the first two, and twelve in int8
    "gcc": (["gcc", "-std=c99", "-pedantic", "-O2"], slice(0, 40, 2)),
    "clang": (["clang", "-std=c99", "-pedantic", "-O2"], slice(1, 40, 2)),
    "g++": (["g++", "-x", "c++", "-std=c++11", "-O1"], slice(36, 52)),
    "sanitizers": (["gcc", "-std=c99", "-O0", *SANITIZE], slice(0, 40, 5)),  # which would take a minute at -O2
}


@pytest.mark.parametrize("command, which", COMPILERS.values(), ids=COMPILERS)
def test_random_models(command, which, written, tmp_path):
    """Models one behind the other in one file, with a main that runs them."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    models = written[which]
    table = f"static void (*const functions[])(const float *, float *) = {{{', '.join(name for name, *_ in models)}}};\n"
    (tmp_path / "all.c").write_text("\n".join([*(text for _, text, *_ in models), table, MAIN]))
    subprocess.run([*command, "-Wall", "-Wextra", "-Werror", "all.c", "-o", "run", "-lm"], cwd=tmp_path, check=True)
    fed = b""
    for number, (_, _, X, y, _) in enumerate(models):
        fed += b"".join(np.array([number, x.size, y.shape[1]], np.int32).tobytes() + x.tobytes() for x in X)
    done = subprocess.run([tmp_path / "run"], input=fed, capture_output=True, env={"ASAN_OPTIONS": "detect_leaks=0"})
    assert done.returncode == 0 and not done.stderr, done.stderr.decode()
    found = np.frombuffer(done.stdout, np.float32)
    for _, _, _, y, limit in models:
        got, found = found[: y.size].reshape(y.shape), found[y.size :]
        assert difference(got, y) < limit


def test_digits_in_int8(digits, tmp_path):
    """Under 40 KB; the error that it states is that of its outputs over the sample, and the classes stay."""
    model, X, _ = digits
    written = io.to_c(model, tmp_path / "digits.c", weights="int8", sample=X)
    text = (tmp_path / "digits.c").read_text()
    assert written.nbytes < 40_000 and written.compiler and f"within {written.error:.2g} of" in text
    y = compiled(tmp_path / "digits.c", "predict", X.reshape(len(X), 64), 10)
    assert 1e-4 < difference(y, model.predict(X)) < 0.02
    assert difference(y, model.predict(X)) == pytest.approx(written.error, rel=1e-3)
    assert (y.argmax(axis=1) == model.predict_classes(X)).mean() > 0.998


def compiled(source, name, X, columns, blob=None):
    library = source.with_suffix(".so")
    subprocess.run(["gcc", "-std=c99", "-O2", "-shared", "-fPIC", source, "-o", library, "-lm"], check=True)
    loaded = ctypes.CDLL(str(library))
    if blob is not None:
        held = ctypes.create_string_buffer(blob, len(blob))
        getattr(loaded, f"{name}_load")(held)
    X, y = np.ascontiguousarray(X, np.float32), np.empty((len(X), columns), np.float32)
    pointer = ctypes.POINTER(ctypes.c_float)
    for row, out in zip(X, y):
        getattr(loaded, name)(row.ctypes.data_as(pointer), out.ctypes.data_as(pointer))
    return y


@pytest.mark.parametrize("weights, limit", [("float32", 1e-6), ("int8", 0.02)])
def test_weights_in_a_file_of_their_own(weights, limit, digits, tmp_path):
    model, X, _ = digits
    written = io.to_c(model, tmp_path / "net.c", weights=weights, blob=True, name="net", sample=X[:50])
    assert written.nbytes < 5000 and written.error < limit
    y = compiled(tmp_path / "net.c", "net", X[:50].reshape(50, 64), 10, (tmp_path / "net.bin").read_bytes())
    assert difference(y, model.predict(X[:50])) == pytest.approx(written.error, rel=1e-3)


def test_buffers_are_shared():
    """A chain of any length needs two buffers."""
    model = nn.Sequential(*[nn.Dense(16, 16, "tanh") for _ in range(9)])
    place, sizes = c_source._buffers(trace(model, "C"))
    assert sizes == [16, 16] and len(place) == 18


def test_weights_that_are_not_finite(tmp_path):
    model = nn.Sequential(nn.Dense(2, 3))
    model.layers[0].bias.data[:] = np.nan, np.inf, -np.inf
    io.to_c(model, tmp_path / "m.c")
    assert np.array_equal(compiled(tmp_path / "m.c", "predict", np.zeros((1, 2)), 3), [[np.nan, np.inf, -np.inf]], equal_nan=True)
    model.layers[0].weight.data[0, 0] = np.inf
    with pytest.raises(ValueError, match="0.weight: expected finite weights for int8"):
        io.to_c(model, tmp_path / "n.c", weights="int8")


def test_no_compiler(monkeypatch, tmp_path):
    """The file is written, and its arithmetic tried in NumPy."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    written = io.to_c(nn.Sequential(nn.Dense(4, 3)), tmp_path / "m.c")
    assert written.compiler is None and written.error < 1e-6 and (tmp_path / "m.c").exists()


def test_what_is_written_is_tried(monkeypatch, tmp_path):
    model = nn.Sequential(nn.Dense(3, 3, "tanh"))
    right = c_source.FORMULAS["tanh"]
    for text, message in (("tanh(x) + 0.01", "outputs are off by"), ("tanh(y)", "does not compile the file")):
        monkeypatch.setitem(c_source.FORMULAS, "tanh", right._replace(c=text))
        with pytest.raises(RuntimeError, match=message):
            io.to_c(model, tmp_path / "m.c")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"weights": "int4"}, "weights: expected 'float32', 'float64' or 'int8'"),
        ({"name": "a b"}, "name: expected a name of C"),
        ({"name": "x;int y"}, "name: expected a name of C"),
        ({"sample": np.zeros((2, 3))}, "sample: expected 4 features a row"),
    ],
)
def test_bad_input(arguments, error, tmp_path):
    with pytest.raises(ValueError, match=error):
        io.to_c(nn.Sequential(nn.Dense(4, 2)), tmp_path / "m.c", **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="reads an object file")
def test_loops_are_vectorised(digits, tmp_path):
    """gcc says so of the loops over the weights at -O2."""
    io.to_c(digits[0], tmp_path / "digits.c", check=False)
    done = subprocess.run(
        ["gcc", "-std=c99", "-O2", "-fopt-info-vec", "-c", "digits.c"], cwd=tmp_path, capture_output=True, text=True
    )
    lines = (tmp_path / "digits.c").read_text().splitlines()
    found = {int(line.split(":")[1]) for line in done.stderr.splitlines() if "loop vectorized" in line}
    products = [i for i, line in enumerate(lines, 1) if "+= a *" in line]
    assert len(products) == 2 and all(i in found or i - 1 in found for i in products)
