"""`fastnn predict`, `export`, `info`, `--help`; a process of its own: pipes, Ctrl-C, the terminal."""

import fcntl
import json
import os
import pty
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import data, nn, optim
from fastnn.cli import arguments

from cli_files import accuracy, everything, one_line, process


@pytest.mark.parametrize("name", ["images.gz", "images.idx", "images.npy"])
def test_predict_prints_a_class_a_line(run, model, digits, name):
    code, out, err = run("predict", model, digits / name)
    X, y = data.load_digits()
    assert code == 0 and err == ""
    classes = [int(line) for line in out.splitlines()]
    assert classes == nn.load(model).predict_classes(X).tolist()
    assert np.mean(np.array(classes) == y) > 0.97


def test_predict_probabilities(run, model, digits):
    _, out, _ = run("predict", model, digits / "images.npy", "--proba")
    printed = np.array([line.split() for line in out.splitlines()], dtype=float)
    expected = nn.load(model).predict_proba(data.load_digits()[0])
    np.testing.assert_allclose(printed, expected, rtol=1e-6)


def test_predict_of_a_model_without_probabilities(run, tmp_path):
    import fastnn
    from fastnn import losses, optim

    regression = nn.Sequential(nn.Dense(3, 1))
    for loss, arguments in ((losses.MeanSquaredError(), ["--proba"]), (losses.Poisson(), [])):
        fastnn.Trainer(regression, loss, optim.SGD(regression.parameters()))
        regression.save("r.safetensors")
        np.save("x.npy", np.ones((2, 3)))
        code, out, err = run("predict", "r.safetensors", "x.npy", *arguments)
        assert code == 2 and out == "" and err.startswith("fastnn: error: argument MODEL: ") and err.count("\n") == 1


@pytest.mark.parametrize("proba", [[], ["--proba"]])
def test_predict_into_files(run, model, digits, proba):
    printed = run("predict", model, digits / "images.npy", *proba)[1]
    for name in ("o.npy", "o.txt"):
        assert run("predict", model, digits / "images.npy", *proba, "--output", name) == (0, "", "")
    assert Path("o.txt").read_text() == printed
    array = np.load("o.npy", allow_pickle=False)
    assert array.dtype == (np.float32 if proba else np.int64)
    np.testing.assert_allclose(np.loadtxt("o.txt"), array, rtol=1e-6)


@pytest.mark.parametrize("form", ["flat", "fortran", "float64", "big-endian", "bool", "strided"])
def test_predict_on_arrays_of_any_form(run, model, form):
    X = data.load_digits()[0][:50]
    forms = {
        "flat": X.reshape(50, 64),
        "fortran": np.asfortranarray(X),
        "float64": X.astype(float),
        "big-endian": X.astype(">i4"),
        "bool": X > 8,
        "strided": X[::2],
    }
    np.save("x.npy", forms[form])
    code, out, _ = run("predict", model, "x.npy")
    expected = nn.load(model).predict_classes(np.ascontiguousarray(forms[form]).astype(np.float32))
    assert code == 0 and [int(c) for c in out.split()] == expected.tolist()


def test_predict_with_a_model_without_flatten(run, digits):
    nn.Sequential(nn.Dense(64, 3)).save("m.safetensors")
    code, out, _ = run("predict", "m.safetensors", digits / "images.npy")
    assert code == 0 and len(out.split()) == 1797


@pytest.mark.parametrize("to, ending", [("onnx", ".onnx"), ("c", ".c"), ("numpy", ".py")])
def test_export(run, model, tmp_path, to, ending):
    code, out, err = run("export", model, "--to", to, "--output", tmp_path / f"net{ending}")
    assert code == 0 and not err and out.startswith(f"model written to {tmp_path / 'net'}{ending}") and out.count("\n") == 1
    assert {p.name for p in tmp_path.iterdir()} == {f"net{ending}"} | ({"net.npz"} if to == "numpy" else set())
    trained = nn.load(model)
    X = np.random.default_rng(0).uniform(0, 16, (4, 64)).astype(np.float32)
    if to == "onnx":
        found = fastnn.io.from_onnx(tmp_path / "net.onnx").predict(X)
    elif to == "numpy":
        namespace = {"__file__": str(tmp_path / "net.py")}
        exec((tmp_path / "net.py").read_text(), namespace)
        found = namespace["predict"](X)
    else:
        return
    np.testing.assert_allclose(found, trained.predict(X), rtol=1e-5, atol=1e-5)


def test_export_beside_the_model(run, model, tmp_path):
    shutil.copy(model, tmp_path / "mine.safetensors")
    code, out, _ = run("export", "mine.safetensors", "--to", "c", "--int8")
    assert code == 0 and re.match(r"model written to mine\.c; outputs within 0\.\d+ of the model's; ", out)
    assert os.path.getsize("mine.c") < 40_000


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--to", "tf"], "argument --to: expected one of onnx, c, numpy, got 'tf'"),
        ([], "the following arguments are required: --to"),
        (["--to", "onnx", "--opset", "9"], "argument --opset: expected an integer from 18 to 24, got 9"),
        (["--to", "c", "--opset", "18"], "argument --opset: expected with --to onnx only, got --to c"),
        (["--to", "numpy", "--int8"], "argument --int8: expected with --to c only, got --to numpy"),
        (["--to", "numpy", "--output", "net.txt"], "argument --output: expected a name that ends in .py, got net.txt"),
        (["--to", "c", "--output", "no/net.c"], "argument --output: expected a file that can be written, got no/net.c"),
    ],
)
def test_export_of_what_cannot_be(run, model, argv, message, tmp_path):
    assert message in one_line(run("export", model, *argv))
    assert not list(tmp_path.iterdir())
    assert "argument MODEL: none" in one_line(run("export", "none", "--to", "c"))


def test_info(run):
    code, out, err = run("info")
    assert code == 0 and err == ""
    for name in ("fastnn", "Python", "NumPy", "CPU", "ISA", "threads", "OpenMP"):
        assert re.search(f"^{name} ", out, re.M)


def test_info_as_json(run, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    code, out, err = run("info", "--json")
    assert code == 0 and err == "" and out.count("\n") == 1
    found = json.loads(out)
    assert (found["fastnn"], found["isa"], found["threads"]) == (fastnn.__version__, fastnn.get_isa(), fastnn.get_num_threads())
    assert found["available_isas"] == fastnn.available_isas() and found["variables"]["OMP_NUM_THREADS"] == "2"
    assert {"python", "numpy", "platform", "cpu", "cpus", "openmp", "openmp_library"} <= set(found)


def test_version(run):
    assert run("--version") == (0, f"fastnn {fastnn.__version__}\n", "")


@pytest.mark.parametrize("argv", [[], ["--help"], ["train", "--help"], ["predict", "--help"], ["info", "--help"]])
def test_help(run, argv, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run(*argv)
    assert code == 0 and err == "" and out.startswith("usage: fastnn")
    assert max(map(len, out.splitlines())) <= 80
    if "info" not in argv:
        assert "examples:" in out


def test_the_examples_of_the_help_parse():
    for text in (arguments.EXAMPLES, arguments.TRAIN_EXAMPLES, arguments.PREDICT_EXAMPLES, arguments.EVALUATE_EXAMPLES, arguments.EXPORT_EXAMPLES):
        lines = re.findall(r"^  fastnn (\S.*?)(?:   .*)?$", text, re.M)
        assert lines
        for line in lines:
            arguments.make_parser().parse_args(shlex.split(line))


def test_python_m_fastnn(tmp_path):
    result = process("train", "--quiet", cwd=tmp_path)
    assert result.returncode == 0 and result.stderr == ""
    assert accuracy(result.stdout) >= 0.95
    assert everything(tmp_path) == ["fastnn-model.safetensors"]


@pytest.mark.parametrize(
    ("name", "value"), [("FASTNN_ISA", "mmx"), ("FASTNN_NUM_THREADS", "0"), ("FASTNN_NUM_THREADS", "some")]
)
def test_bad_environment(name, value):
    result = process("info", env={name: value})
    assert value in one_line((result.returncode, result.stdout, result.stderr))
    assert name in result.stderr


def test_an_error_is_an_exit_code():
    result = process("train", "--epochs", "-1")
    assert "--epochs" in one_line((result.returncode, result.stdout, result.stderr))


def test_a_reader_that_leaves_is_no_error(model, tmp_path):
    np.save("x.npy", np.zeros((200_000, 64), np.uint8))
    command = f"'{sys.executable}' -m fastnn predict '{model}' x.npy | head -1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert result.stdout.count("\n") == 1 and result.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_an_output_that_takes_nothing(model, digits):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "fastnn", "predict", str(model), str(digits / "images.npy")]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert "No space left" in one_line((result.returncode, "", result.stderr))


def test_interruption(tmp_path):
    command = [sys.executable, "-m", "fastnn", "train", "--epochs", "100000000", "--output", "m"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        while "epoch 3/" not in child.stdout.readline():
            pass
        start = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
        assert time.monotonic() - start < 10
    assert child.returncode == 130
    assert err == "fastnn: interrupted\n"
    assert everything(tmp_path) == []


def test_a_terminal_gets_a_bar(tmp_path):
    """On a terminal one line is drawn over and over, and only the last lines stay."""
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))
    command = [sys.executable, "-m", "fastnn", "train", "--epochs", "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal, text=True) as child:
        os.close(terminal)
        shown = b""
        while True:
            try:
                shown += os.read(main, 65536)
            except OSError:  # Linux: the other side has been closed
                break
        out, _ = child.communicate(timeout=60)
    os.close(main)
    assert child.returncode == 0
    assert b"epoch 5/5: 100%" in shown and b"samples/s" in shown
    assert "loss" not in out and accuracy(out) > 0.5


def test_the_command_imports_nothing_heavy():
    code = "import sys, fastnn.cli; print([m for m in ('tqdm', 'safetensors', 'json', 'gzip', 'asyncio') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout == "[]\n"
