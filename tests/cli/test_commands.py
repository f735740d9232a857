"""fastnn.cli: every command, every wrong input (one line, exit code 2, nothing left behind), interruption, pipes."""

import contextlib
import fcntl
import gzip
import inspect
import io
import json
import os
import pty
import re
import shlex
import shutil
import signal
import stat
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import cli, data, nn, optim
from fastnn.cli import arguments, optimizers

QUICK = ["--epochs", "1", "--hidden", "8"]


@pytest.fixture
def digits(tmp_path):
    """The packaged digits as files, in a folder beside the current one."""
    X, y = data.load_digits()
    folder = tmp_path / "files"
    folder.mkdir()
    data.write_idx(folder / "images.gz", X)
    data.write_idx(folder / "labels.gz", y)
    data.write_idx(folder / "images.idx", X)
    np.save(folder / "images.npy", X)
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A trained model's file."""
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.main(["train", "--quiet", "--output", str(path)]) == 0
    return path


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


# --- train ---


def test_train_needs_no_argument(run):
    code, out, err = run("train")
    assert code == 0
    assert accuracy(out) >= 0.95
    assert "1,797 samples of 8 x 8" in out and "1,438 to train on, 359 held out" in out
    assert "64 -> 100 relu -> 10: 7,510 parameters" in out
    assert len(re.findall(r"^epoch \d+/20: loss ", out, re.M)) == 20  # a line an epoch: this is no terminal
    assert out.endswith("model saved to fastnn-model.safetensors\n")
    assert err == ""


@pytest.mark.parametrize("seed", range(5))
def test_the_defaults_do_not_live_on_luck(run, seed):
    assert accuracy(run("train", "--seed", seed)[1]) >= 0.95


def test_the_saved_model_takes_raw_data(run):
    _, out, _ = run("train", "--seed", 3)
    X, y = data.load_digits()
    _, X_test, _, y_test = data.train_test_split(X, y, seed=3)
    right = (nn.load("fastnn-model.safetensors").predict_classes(X_test) == y_test).mean()
    assert right == pytest.approx(accuracy(out), abs=1e-4)


def test_the_same_seed_gives_the_same_file(run):
    for name, seed, threads in (("a", 5, 1), ("b", 5, 2), ("c", 6, 1)):
        assert run("train", *QUICK, "--seed", seed, "--threads", threads, "--output", name)[0] == 0
    a, b, c = (Path(name).read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.skipif("avx512" not in fastnn.available_isas(), reason="this machine has no AVX-512")
def test_avx2_and_avx512_give_the_same_file(tmp_path):
    for isa in ("avx2", "avx512"):
        assert process("train", "--quiet", "--epochs", "3", "--output", isa, env={"FASTNN_ISA": isa}).returncode == 0
    assert Path("avx2").read_bytes() == Path("avx512").read_bytes()


def test_files_train_like_the_package(run, digits):
    for suffix in (".gz", ".idx"):
        code, out, _ = run("train", digits / f"images{suffix}", digits / "labels.gz", "--output", "m" + suffix)
        assert code == 0 and accuracy(out) >= 0.9  # scaled by 1/255, since bytes could go that far
    assert Path("m.gz").read_bytes() == Path("m.idx").read_bytes()
    assert "Rescaling(scale=0.00392" in repr(nn.load("m.gz"))


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_other_dtypes_are_taken_as_they_are(run, dtype):
    X, y = data.load_digits()
    data.write_idx("x", X.astype(dtype))
    data.write_idx("y", y.astype(np.int32))
    code, out, _ = run("train", "x", "y")
    assert code == 0 and accuracy(out) >= 0.9
    assert "Rescaling" not in repr(nn.load("fastnn-model.safetensors"))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--hidden", "32,16"], "64 -> 32 relu -> 16 relu -> 10"),
        (["--hidden", "none"], "64 -> 10: 650 parameters"),
        (["--hidden", "none", "--dropout", "0"], "64 -> 10: 650 parameters"),
        (["--activation", "tanh"], "64 -> 8 tanh -> 10"),
        (["--optimizer", "sgd"], "sgd, learning rate 0.05, momentum 0.9"),
        (["--optimizer", "sgd", "--lr", "0.1", "--momentum", "0"], "sgd, learning rate 0.1, momentum 0"),
        (["--optimizer", "AdamW", "--weight-decay", "0.1"], "adamw, learning rate 0.001, weight decay 0.1,"),
        (["--optimizer", "rmsprop", "--momentum", "0.5"], "rmsprop, learning rate 0.001, momentum 0.5"),
        (["--activation", "prelu"], "64 -> 8 prelu -> 10: 611 parameters"),
        (["--batchnorm", "--dropout", "0.2"], "64 -> 8 batchnorm relu dropout 0.2 -> 10: 626 parameters"),
        (["--dtype", "float64", "--batchnorm"], "626 parameters in float64,"),
        (["--batchnorm", "--batch-size", "1437"], "batches of 1437"),  # which leaves one sample
        (["--clip-norm", "0.5"], "gradients clipped to 0.5"),
        (["--schedule", "cosine", "--warmup", "0.5"], "learning rate 0.001 cosine after a warm-up of 0.5 epochs"),
        (["--schedule", "onecycle", "--epochs", "0"], "learning rate 0.001 onecycle"),
        (["--lr", "0.01"], "adam, learning rate 0.01"),
        (["--batch-size", "1000000"], "batches of 1438"),
        (["--threads", "1"], "with   1 thread"),
        (["--test-share", "0.5"], "898 held out"),
        (["--test-share", "0"], "training accuracy"),
        (["--epochs", "0"], "0 epochs"),
        (["--epochs", "3"], "epoch 3/3"),
    ],
)
def test_options(run, options, text):
    before = fastnn.get_num_threads()
    code, out, err = run("train", *QUICK, *options)
    assert code == 0 and err == ""
    assert text in out
    assert fastnn.get_num_threads() == before


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_every_optimizer_learns(run, name):
    assert accuracy(run("train", "--optimizer", name, "--quiet")[1]) >= 0.93


def test_every_optimizer_of_the_package_can_be_chosen():
    assert {kind for kind, _, _ in optimizers.OPTIMIZERS.values()} == set(optim.__all__) - {"Optimizer", "LBFGS"}
    assert all(name == kind.lower() for name, (kind, _, _) in optimizers.OPTIMIZERS.items())
    for kind, _, momentum in optimizers.OPTIMIZERS.values():
        assert ("momentum" in inspect.signature(getattr(optim, kind)).parameters) == (momentum is not None)


def rates(*options, steps=10):
    """The learning rates of `steps` steps, made of epochs of 5."""
    args = arguments.make_parser().parse_args(["train", "--lr", "1", "--epochs", str(steps // 5), *options])
    optimizer, _ = optimizers.make_optimizer(args, nn.Sequential(nn.Dense(2, 2)), 5)
    lr = optimizer.param_groups[0]["lr"]
    return [lr(t) for t in range(steps)] if callable(lr) else [lr] * steps


def test_schedules_span_the_training():
    assert rates() == [1.0] * 10
    np.testing.assert_allclose(rates("--schedule", "linear"), np.linspace(1, 0.1, 10))
    np.testing.assert_allclose(rates("--schedule", "cosine"), (1 + np.cos(np.pi * np.arange(10) / 10)) / 2)
    np.testing.assert_allclose(rates("--schedule", "step", steps=15), np.repeat([1, 0.1, 0.01], 5))
    cycle = rates("--schedule", "onecycle", steps=20)
    assert cycle[0] == 0.04 and max(cycle) == pytest.approx(1) and cycle[-1] == pytest.approx(4e-6)
    warm = rates("--schedule", "linear", "--warmup", "1", steps=15)
    np.testing.assert_allclose(warm, [0.2, 0.36, 0.52, 0.68, 0.84, *np.linspace(1, 0.1, 10)])


def test_the_options_reach_the_training(run):
    """Another file for each: no option is read and forgotten."""
    options = [[], ["--schedule", "linear"], ["--warmup", "0.5"], ["--weight-decay", "0.1"], ["--clip-norm", "0.1"],
               ["--dropout", "0.5"], ["--batchnorm"], ["--optimizer", "adamw"]]  # fmt: skip
    for i, words in enumerate(options):
        assert run("train", *QUICK, *words, "--output", str(i))[0] == 0
    assert len({Path(str(i)).read_bytes() for i in range(len(options))}) == len(options)


def test_the_saved_model_is_the_average_that_was_tested(run):
    _, out, _ = run("train", "--optimizer", "schedulefreeadamw", "--epochs", "3", "--lr", "0.02")
    _, X_test, _, y_test = data.train_test_split(*data.load_digits(), seed=0)
    right = (nn.load("fastnn-model.safetensors").predict_classes(X_test) == y_test).mean()
    assert right == pytest.approx(accuracy(out), abs=1e-4)


def test_the_threads_asked_for_are_the_threads_that_run(run):
    seen = []
    parser = arguments.make_parser()
    args = parser.parse_args(["train", "--threads", "1"])
    args.run = lambda args: seen.append(fastnn.get_num_threads()) or 0
    cli.with_threads(args)
    assert seen == [1]


def test_quiet(run):
    code, out, err = run("train", "--quiet")
    assert code == 0 and err == ""
    assert re.fullmatch(r"test accuracy \S+ \(\d+ of 359\)\nmodel saved to fastnn-model.safetensors\n", out)


def test_an_old_model_is_replaced_and_nothing_else_is_left(run, tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"old")
    assert run("train", *QUICK, "--output", "m.safetensors")[0] == 0
    assert everything(tmp_path) == ["m.safetensors"]
    nn.load("m.safetensors")


def test_through_a_link(run, tmp_path):
    (tmp_path / "folder").mkdir()
    os.symlink("folder/real", "link")
    assert run("train", *QUICK, "--output", "link")[0] == 0
    assert os.path.islink("link") and nn.load("folder/real").out_features == 10


def test_divergence_is_told_and_not_saved(run, tmp_path):
    code, _, err = run("train", "--lr", "1e30")
    assert code == 1
    assert err.startswith("fastnn: error: the loss became nan in epoch 1") and err.count("\n") == 1
    assert everything(tmp_path) == []


# --- predict ---


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


# --- export ---


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


# --- info, version, help ---


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


# --- what is wrong with arguments ---

ARGUMENTS = [
    (["train", "--epochs", "-1"], "argument --epochs: expected an integer >= 0, got '-1'"),
    (["train", "--epochs", "2.5"], "argument --epochs: expected an integer >= 0, got '2.5'"),
    (["train", "--epochs"], "argument --epochs: expected one argument"),
    (["train", "--batch-size", "0"], "argument --batch-size: expected an integer >= 1, got '0'"),
    (["train", "--threads", "0"], "argument --threads: expected an integer from 1 to 4096, got '0'"),
    (["train", "--threads", "many"], "argument --threads: expected an integer from 1 to 4096, got 'many'"),
    (["train", "--lr", "0"], "argument --lr: expected a number > 0, got '0'"),
    (["train", "--lr=-1"], "argument --lr: expected a number > 0, got '-1'"),
    (["train", "--lr", "nan"], "argument --lr: expected a number > 0, got 'nan'"),
    (["train", "--lr", "inf"], "argument --lr: expected a number > 0, got 'inf'"),
    (["train", "--lr", "fast"], "argument --lr: expected a number > 0, got 'fast'"),
    (["train", "--momentum", "0.5"], "argument --momentum: expected only with --optimizer sgd or rmsprop, got it with adam"),
    (["train", "--optimizer", "sgd", "--momentum", "1"], "argument --momentum: expected a number >= 0 and < 1, got '1'"),
    (["train", "--optimizer", "adamm"], "argument --optimizer: expected one of adadelta, adafactor, adagrad, adam, adamax, adamw,"),
    (["train", "--weight-decay", "-1"], "argument --weight-decay: expected a number >= 0, got '-1'"),
    (["train", "--clip-norm", "0"], "argument --clip-norm: expected a number > 0, got '0'"),
    (["train", "--dropout", "1"], "argument --dropout: expected a number >= 0 and < 1, got '1'"),
    (["train", "--schedule", "cos"], "argument --schedule: expected one of constant, cosine, linear, step, onecycle, got 'cos'"),
    (["train", "--warmup", "-1"], "argument --warmup: expected a number >= 0, got '-1'"),
    (["train", "--warmup", "3", "--epochs", "3"], "argument --warmup: expected fewer epochs than --epochs, 3, got 3"),
    (["train", "--warmup", "1", "--schedule", "onecycle"], "argument --warmup: expected with another schedule than onecycle"),
    (["train", "--batchnorm", "--batch-size", "1"], "argument --batch-size: expected at least 2 samples for --batchnorm, got 1"),
    (
        ["train", "--hidden", "none", "--batchnorm"],
        "argument --batchnorm: expected only with hidden layers, got it with --hidden none",
    ),
    (["train", "--hidden", "none", "--dropout", "0.2"], "argument --dropout: expected only with hidden layers"),
    (["train", "--hidden", "none", "--activation", "relu"], "argument --activation: expected only with hidden layers"),
    (["train", "--activation", "step"], "argument --activation: expected one of identity, sigmoid"),
    (["train", "--hidden", "100,"], "argument --hidden: expected sizes from 1 up"),
    (["train", "--hidden", "0"], "argument --hidden: expected sizes from 1 up"),
    (["train", "--hidden", "99999999999"], "argument --hidden: expected sizes from 1 up"),
    (["train", "--hidden", "2000000000"], "argument --hidden: expected a model that fits in memory"),
    (["train", "--test-share", "1"], "argument --test-share: expected a number >= 0 and < 1, got '1'"),
    (["train", "--seed", "-1"], "argument --seed: expected an integer from 0 to 18446744073709551615, got '-1'"),
    (["train", "--seed", str(2**64)], "argument --seed: expected an integer from 0 to"),
    (["train", "--no-such-option"], "unrecognized arguments: --no-such-option"),
    (["train", "--epoch", "3"], "unrecognized arguments: --epoch"),  # no abbreviations: they change with the options
    (["train", "a", "b", "c"], "unrecognized arguments: c"),
    (["train", "images.gz"], "argument LABELS: expected the file of the labels after that of the samples"),
    (["train", "new\nline", "labels"], r"argument DATA: 'new\nline': No such file or directory"),
    (["train", "nul\0", "labels"], r"argument DATA: 'nul\x00': embedded null byte"),
    (["predict", "m"], "the following arguments are required: DATA"),
    (["predict", "nothing", "nowhere"], "argument MODEL: nothing: No such file or directory"),
    (["predict", "m", "x", "--output", "o.json"], "argument --output: expected a name that ends in .npy or .txt, or .csv, got o.json"),
    (["drain"], "argument COMMAND: invalid choice: 'drain'"),
]


@pytest.mark.parametrize(("argv", "text"), ARGUMENTS, ids=[" ".join(a).encode("unicode_escape").decode() for a, _ in ARGUMENTS])
def test_wrong_arguments(run, tmp_path, argv, text):
    result = run(*argv)
    assert text in one_line(result)
    assert everything(tmp_path) == []


# --- outputs that cannot be written are told before anything is done ---


@pytest.mark.parametrize("command", ["train", "predict"])
@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("missing/o.npy", "No such file or directory"),
        ("", None),
        (".", None),
        ("folder.npy", "it is a folder"),
        ("new.npy/", None),
        ("file/o.npy", "Not a directory"),
        ("n" * 300 + ".npy", "File name too long"),
        ("pipe.npy", "it is not a regular file"),
    ],
)
def test_unwritable_outputs(run, model, digits, tmp_path, command, output, text):
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "file").write_text("")
    os.mkfifo("pipe.npy")
    before = everything(tmp_path)
    argv = [command, model, digits / "images.npy"] if command == "predict" else [command]
    code, out, err = run(*argv, "--output", output)
    message = one_line((code, out, err))
    assert "argument --output: " in message and (text is None or text in message)
    assert out == ""  # not a word of training
    assert everything(tmp_path) == before
    assert stat.S_ISFIFO(os.stat("pipe.npy").st_mode)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(run, tmp_path):
    (tmp_path / "folder").mkdir(mode=0o500)
    assert "Permission denied" in one_line(run("train", "--output", "folder/m"))


def test_an_input_is_never_overwritten(run, model, digits, tmp_path):
    os.symlink(digits / "images.npy", "link.npy")
    for output in (digits / "images.npy", "link.npy"):
        before = (digits / "images.npy").read_bytes()
        assert "the command reads from it" in one_line(run("predict", model, digits / "images.npy", "--output", output))
        assert (digits / "images.npy").read_bytes() == before
    result = run("train", digits / "images.gz", digits / "labels.gz", "--output", digits / "labels.gz")
    assert "the command reads from it" in one_line(result)


def test_a_disk_that_fills_up(run, tmp_path, monkeypatch):
    def full(self, path):
        raise OSError(28, "No space left on device", ".fastnn.tmp")

    monkeypatch.setattr(nn.Sequential, "save", full)
    assert "argument --output: fastnn-model.safetensors: No space left on device" in one_line(run("train", *QUICK))


# --- files that are not what they should be ---


def idx(code, dims, payload=b""):
    return bytes([0, 0, code, len(dims)]) + struct.pack(f">{len(dims)}I", *dims) + payload


IMAGES = {
    "missing": (None, "No such file or directory"),
    "empty": (b"", "expected an IDX header"),
    "foreign": (b"\x89PNG\r\n\x1a\n" + bytes(100), "expected an IDX file"),
    "truncated": (idx(8, (3, 2, 2), bytes(11)), "expected 12 bytes of data"),
    "too long": (idx(8, (3, 2, 2), bytes(13)), "got more"),
    "lying": (idx(8, (4_000_000_000, 28, 28), bytes(100)), "as its header claims, got 100 bytes"),
    "lying beyond all memory": (idx(14, (4_000_000_000,) * 5, bytes(100)), "expected a size that fits in memory"),
    "broken gzip": (gzip.compress(idx(8, (3, 2, 2), bytes(12)))[:-9], "expected an intact gzip stream"),
    "no samples": (idx(8, (0, 2, 2)), "expected samples of at least one value, in rows, got shape (0, 2, 2)"),
    "no values": (idx(8, (3, 0, 2)), "got shape (3, 0, 2)"),
    "labels": (idx(8, (3,), bytes(3)), "got shape (3,); are these the labels?"),
    "one sample": (idx(8, (1, 2), bytes(2)), "expected at least 2 samples, to hold some out, got 1"),
    "not finite": (idx(13, (3, 1), np.array([0, np.nan, 0], ">f4").tobytes()), "finite in float32, got others in sample 1"),
    "too large": (idx(14, (3, 1), np.array([0, 0, 1e39], ">f8").tobytes()), "finite in float32, got others in sample 2"),
}


@pytest.mark.parametrize("case", IMAGES)
def test_bad_images(run, tmp_path, case):
    blob, text = IMAGES[case]
    if blob is not None:
        (tmp_path / "x.idx").write_bytes(blob)
    rows = 1 if case == "one sample" else 3
    data.write_idx(tmp_path / "y.idx", np.array([0, 1, 0][:rows] if rows > 1 else [1], np.uint8))
    before = everything(tmp_path)
    message = one_line(run("train", "x.idx", "y.idx"))
    assert "argument DATA: " in message and "x.idx" in message and text in message
    assert everything(tmp_path) == before


LABELS = {
    "missing": (None, "No such file or directory"),
    "foreign": (b"GIF89a", "expected an IDX file"),
    "too few": (np.zeros(2, np.uint8), "expected 3 labels, as many as samples in x.idx, got 2"),
    "too many": (np.zeros(4, np.uint8), "got 4"),
    "images": (np.zeros((3, 2, 2), np.uint8), "expected labels in 1 dimension, got shape (3, 2, 2)"),
    "negative": (np.array([0, -1, 1], np.int8), "got -1 for sample 1"),
    "absurd": (np.array([0, 1, 2**31 - 1], np.int32), "expected labels from 0 to 65535, got 2147483647 for sample 2"),
    "one class": (np.zeros(3, np.uint8), "expected at least 2 classes"),
}


@pytest.mark.parametrize("case", LABELS)
def test_bad_labels(run, tmp_path, case):
    labels, text = LABELS[case]
    data.write_idx(tmp_path / "x.idx", np.zeros((3, 2, 2), np.uint8))
    if isinstance(labels, bytes):
        (tmp_path / "y.idx").write_bytes(labels)
    elif labels is not None:
        data.write_idx(tmp_path / "y.idx", labels)
    before = everything(tmp_path)
    message = one_line(run("train", "x.idx", "y.idx"))
    assert "argument LABELS: " in message and "y.idx" in message and text in message
    assert everything(tmp_path) == before


def npy(header, payload=b"", version=(1, 0)):
    text = header if isinstance(header, bytes) else repr(header).encode()
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text) + 1)
    return b"\x93NUMPY" + bytes(version) + length + text + b"\n" + payload


def described(descr="|u1", shape=(2, 64), **more):
    return {"descr": descr, "fortran_order": False, "shape": shape, **more}


DATA = {
    "missing": (None, "No such file or directory"),
    "empty": (b"", "expected an .npy file"),
    "foreign": (b"1,2,3\n4,5,6\n", "expected an .npy file"),
    "magic only": (b"\x93NUMPY", "expected an .npy file"),
    "header cut": (npy(described(), bytes(128))[:40], "header cannot be read"),
    "truncated": (npy(described(), bytes(127)), "claims shape (2, 64) of uint8, 128 bytes, while 127 bytes follow"),
    "too long": (npy(described(), bytes(129)), "while 129 bytes follow"),
    "lying": (npy(described(shape=(10**9, 64)), bytes(128)), "while 128 bytes follow"),
    "lying beyond all memory": (npy(described(shape=(2**62, 64, 64)), bytes(128)), "while 128 bytes follow"),
    "negative": (npy(described(shape=(-2, -64)), bytes(128)), "claims shape (-2, -64)"),
    "no shape": (npy({"descr": "|u1", "fortran_order": False}, bytes(128)), "header cannot be read"),
    "no dict": (npy(b"[1, 2", bytes(128)), "header cannot be read"),
    "deep": (npy(b"(" * 9000 + b")" * 9000, bytes(128), (2, 0)), "header cannot be read"),
    "unknown dtype": (npy(described("zz9"), bytes(128)), "header cannot be read"),
    "pickles": (npy(described("|O", (1,)), b"cos\nsystem\n(S'true'\ntR."), "Python objects"),
    "future": (b"\x93NUMPY\x09\x00" + bytes(64), "header cannot be read"),
    "text": (npy(described("<U1", (2, 64)), bytes(512)), "expected real numbers, got dtype <U1"),
    "complex": (npy(described("<c8", (2, 64)), bytes(1024)), "expected real numbers, got dtype complex64"),
    "records": (npy(described([("a", "|u1")], (2, 64)), bytes(128)), "expected real numbers, got dtype [('a', 'u1')]"),
    "a number": (npy(described(shape=()), bytes(1)), "got shape ()"),
    "a vector": (npy(described(shape=(64,)), bytes(64)), "got shape (64,)"),
    "no samples": (npy(described(shape=(0, 64))), "got shape (0, 64)"),
    "another size": (npy(described(shape=(2, 7, 9)), bytes(126)), "expected samples of 64 values"),
    "not finite": (npy(described("<f4"), np.full(128, np.inf, np.float32).tobytes()), "got others in sample 0"),
}


@pytest.mark.parametrize("case", DATA)
def test_bad_data(run, model, tmp_path, case):
    blob, text = DATA[case]
    if blob is not None:
        (tmp_path / "d.npy").write_bytes(blob)
    before = everything(tmp_path)
    code, out, err = run("predict", model, "d.npy", "--output", "o.npy")
    message = one_line((code, out, err))
    assert "argument DATA: " in message and "d.npy" in message and text in message
    assert out == "" and everything(tmp_path) == before


def test_the_format_is_told_by_content(run, model, digits):
    os.rename(digits / "images.npy", "without-suffix")
    assert run("predict", model, "without-suffix")[0] == 0


@pytest.mark.parametrize("case", ["missing", "empty", "foreign", "folder", "other program", "truncated", "device"])
def test_bad_models(run, model, digits, tmp_path, case):
    from safetensors.numpy import save

    path = tmp_path / "m.safetensors"
    if case == "folder":
        path.mkdir()
    elif case == "device":
        path = "/dev/zero"
    elif case != "missing":
        blobs = {
            "empty": b"",
            "foreign": (digits / "images.npy").read_bytes(),
            "other program": save({"a": np.zeros(3, np.float32)}),
            "truncated": model.read_bytes()[:-1],
        }
        path.write_bytes(blobs[case])
    message = one_line(run("predict", path, digits / "images.npy"))
    assert "argument MODEL: " in message and str(path) in message


def test_models_damaged_anywhere(run, model, digits, tmp_path):
    """Whatever stands in the file, it predicts or is refused in one line."""
    good, rng = model.read_bytes(), np.random.default_rng(0)
    header = 8 + int.from_bytes(good[:8], "little")
    for _ in range(150):
        bad = bytearray(good)
        bad[rng.integers(header)] = rng.integers(256)
        (tmp_path / "bad").write_bytes(bad)
        result = run("predict", "bad", digits / "images.npy")
        assert result[0] == 0 or "bad" in one_line(result)


# --- in a process of its own ---


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
