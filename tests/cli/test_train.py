"""`fastnn train`."""

import inspect
import os
import re
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import cli, data, nn, optim
from fastnn.cli import arguments, optimizers

from cli_files import accuracy, everything, process, QUICK


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
