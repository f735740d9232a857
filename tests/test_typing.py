"""What type checkers see: every public name, no error in the examples of README and docs, a wrong keyword in a script of a user's;
and the stub of the compiled part, which has its names and parameters.
"""

import ast
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import fastnn
from fastnn import _native

PACKAGE = Path(fastnn.__file__).parent
ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def names_for_checkers(module):
    """name -> module that it is imported from, of what stands below `if TYPE_CHECKING`; for a star the module alone."""
    found = {}
    for node in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for line in node.body:
                for alias in line.names:
                    assert alias.name == "*" or alias.asname == alias.name  # only so is it public
                    found[line.module if alias.name == "*" else alias.name] = line.module
    return found


def test_checkers_see_the_names_that_are_opened_when_they_are_used():
    assert names_for_checkers(fastnn) == fastnn._HOMES
    for package in (fastnn.reference, fastnn.data, fastnn.losses, fastnn.optim, fastnn.training, fastnn.callbacks):
        found = names_for_checkers(package)
        modules = {name for name, home in found.items() if home is None}  # that are public themselves
        assert found.keys() - modules == {module for module, names in package._NAMES.items() if names}
        assert modules <= set(package.__all__)
    assert (PACKAGE / "py.typed").exists()


def test_checkers_see_the_layers_that_are_made_of_the_register_of_activations():
    from fastnn.core.activations import ACTIVATIONS

    for node in ast.parse((PACKAGE / "nn" / "activation.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            assert [t.id for t in node.body[-1].targets] == sorted((a.layer for a in ACTIVATIONS.values() if a.layer), key=str.lower)
            return
    pytest.fail("expected them below `if TYPE_CHECKING`")


# ---- the stub ----


def stub():
    return ast.parse((PACKAGE / "_native.pyi").read_text(encoding="utf-8")).body


def stated(nodes):
    """name -> node of what a list of statements of a stub defines."""
    found = {}
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign):
            found[node.target.id] = node
    return found


def parameters_of(node):
    a = node.args
    return [p.arg for p in (*a.posonlyargs, *a.args, *filter(None, (a.vararg,)), *a.kwonlyargs, *filter(None, (a.kwarg,)))]


def test_the_stub_has_the_names_of_the_compiled_part():
    public = {n for n in dir(_native) if not n.startswith("_") and not inspect.ismodule(getattr(_native, n))}
    assert set(stated(stub())) == public


@pytest.mark.parametrize("node", [n for n in stub() if isinstance(n, ast.FunctionDef)], ids=lambda n: n.name)
def test_functions_of_the_stub_have_their_parameters(node):
    real = inspect.signature(getattr(_native, node.name)).parameters
    assert parameters_of(node) == list(real)
    assert len(node.args.defaults) == sum(p.default is not p.empty for p in real.values())


@pytest.mark.parametrize("node", [n for n in stub() if isinstance(n, ast.ClassDef)], ids=lambda n: n.name)
def test_classes_of_the_stub_have_their_methods(node):
    kind, members = getattr(_native, node.name), stated(node.body)
    inherited = set(dir(kind.__mro__[1]))
    assert {n for n in dir(kind) if not n.startswith("_")} - inherited == {n for n in members if not n.startswith("_")}
    for name, member in members.items():
        if isinstance(member, ast.FunctionDef) and not name.startswith("_") and not member.decorator_list:
            assert parameters_of(member) == list(inspect.signature(getattr(kind, name)).parameters), name


# ---- scripts ----


def mypy(folder, *arguments):
    """What mypy says of files in a folder, as {file: [(line, message)]}; what it has found of the package is kept beside the folder."""
    pytest.importorskip("mypy")
    env = {**os.environ, "MYPYPATH": "" if PACKAGE.parent.name == "site-packages" else str(PACKAGE.parent)}
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--ignore-missing-imports", "--hide-error-context"]
    command += ["--no-error-summary", f"--cache-dir={folder.parent / 'mypy'}", "--scripts-are-modules", *arguments]
    done = subprocess.run([*command, *sorted(p.name for p in folder.glob("*.py"))], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = {}
    for file, line, message in re.findall(r"^([\w.]+):(\d+): error: (.*)$", done.stdout, re.M):
        found.setdefault(file, []).append((int(line), message))
    return found


def pyright(folder):
    """What pyright says, or basedpyright by pyright's own rules, as {file: [(line, message)]}."""
    name = next((n for n in ("pyright", "basedpyright") if importlib.util.find_spec(n)), None)
    if name is None:
        pytest.skip("needs pyright, or basedpyright")
    settings = {"typeCheckingMode": "standard", "reportMissingImports": False, "reportMissingModuleSource": False}
    if PACKAGE.parent.name != "site-packages":
        settings["extraPaths"] = [str(PACKAGE.parent)]
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", name, "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = {}
    for error in json.loads(done.stdout)["generalDiagnostics"]:
        if error["severity"] == "error":
            found.setdefault(Path(error["file"]).name, []).append((error["range"]["start"]["line"] + 1, error["message"]))
    return found


def examples(folder):
    """The names of modules that are written there, one for each example of README and docs."""
    modules = []
    for page in PAGES:
        for i, block in enumerate(re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)):
            if "fastnn" not in block:
                continue  # the end of another file
            modules.append(f"{page.stem.replace('-', '_').lower()}_{i}")
            (folder / f"{modules[-1]}.py").write_text(block, encoding="utf-8")
    assert len(modules) > 20
    return modules


needs_pages = pytest.mark.skipif(not PAGES[0].exists() or len(PAGES) < 2, reason="needs the sources")


@needs_pages
def test_examples_are_clean(tmp_path):
    """Strictly, but for functions of the examples themselves, which say no types."""
    own = [f"--untyped-calls-exclude={name}" for name in examples(tmp_path)]
    assert mypy(tmp_path, "--allow-untyped-defs", "--allow-subclassing-any", *own) == {}


@needs_pages
def test_examples_are_clean_to_pyright(tmp_path):
    examples(tmp_path)
    assert pyright(tmp_path) == {}


WRONG = """\
import numpy as np
import fastnn
from fastnn import callbacks, data, ensemble, io, kernels, losses, nn, optim, schedules, tune

X, y = data.load_digits()
model = nn.Sequential(nn.Dense(64, 10, activaton="relu"))  # wrong
loss = losses.SoftmaxCrossEntropy(smoothing=0.1)  # wrong
opt = optim.Adam(model.parameters(), learning_rate=0.1)  # wrong
opt = optim.AdamW(model.parameters(), lr=0.1, ema=0.9, clip_value=1.0, skip_nonfinite=True)
trainer = fastnn.Trainer(model, loss, opt, clipnorm=1.0)  # wrong
history = trainer.fit(X, y, epoch=3)  # wrong
history = trainer.fit(X, y, epochs=3, validation_split=0.1, callbacks=[callbacks.EarlyStopping(patience=3)])
callbacks.EarlyStopping(monitr="val_loss")  # wrong
schedules.Cosine(0.1, tmax=100)  # wrong
data.train_test_split(X, y, share=0.1)  # wrong
kernels.dense_forward(X, X, bias=None)  # wrong
fastnn.minimize(abs, np.zeros(2), maxiter=3, tolerance=1e-3)
nn.Dense(3)  # wrong
model.predict(X, batch=32)  # wrong
model.predictt(X)  # wrong
fastnn.Trainr(model, loss, opt)  # wrong
print(history["loss"][-1] + 1.0, trainer.evaluate(X, y)["loss"] * 2, model.predict(X).shape)
history.to_csv(file="history.csv")  # wrong
tune.grid(abs, {}, n_jobs=2)  # wrong
io.to_c(model, "model.c", weight="int8")  # wrong
"""


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_mistakes_in_a_script_are_found(checker, tmp_path):
    (tmp_path / "script.py").write_text(textwrap.dedent(WRONG), encoding="utf-8")
    expected = [i for i, line in enumerate(WRONG.splitlines(), 1) if line.endswith("# wrong")]
    assert sorted({line for line, _ in checker(tmp_path)["script.py"]}) == expected
