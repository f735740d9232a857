"""The command line on tables and NumPy's files: training, prediction, evaluation; resuming, logs, JSON; and what is refused."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import data, nn


def table(rows=400, seed=0):
    rng = np.random.default_rng(seed)
    size, city, rooms = rng.normal(60, 20, rows).round(1), rng.choice(["Oslo", "Bergen"], rows), rng.integers(1, 5, rows)
    price = (3 * size + 40 * (city == "Oslo") + 10 * rooms + rng.normal(0, 5, rows)).round(1)
    return {"id": [f"flat {i}" for i in range(rows)], "size": size, "city": city, "rooms": rooms, "price": price,
            "dear": np.where(price > 230, "yes", "no")}  # fmt: skip


def write(name, columns):
    with open(name, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values()))
    return name


@pytest.fixture
def flats():
    return write("flats.csv", table())


def one_line(result):
    code, out, err = result
    assert code == 2 and err.startswith("fastnn: error: ") and err.count("\n") == 1, result
    return err


# --- tables ---


def test_a_classification(run, flats):
    code, out, err = run("train", flats, "--target", "dear", "--drop", "price")
    assert code == 0 and err == ""
    assert out.startswith("data   400 rows of 6 columns from flats.csv; dear: 2 classes\n       left out: id, price\nsplit  320 to train on, 80 held")
    assert "model  4 -> 100 relu -> 2: " in out and float(out.split("test accuracy ")[1].split()[0]) > 0.9
    write("new.csv", {k: v for k, v in table(50, 1).items() if k not in ("dear", "price", "id")})
    code, out, _ = run("predict", "fastnn-model.safetensors", "new.csv")
    assert code == 0 and np.mean(np.array(out.split()) == table(50, 1)["dear"]) > 0.85
    assert run("predict", "fastnn-model.safetensors", "new.csv", "--proba", "--output", "p.csv")[0] == 0
    lines = Path("p.csv").read_text().splitlines()
    assert lines[0] == "no,yes" and len(lines) == 51 and abs(sum(map(float, lines[1].split(","))) - 1) < 1e-5
    for name in ("o.csv", "o.txt", "o.npy"):
        assert run("predict", "fastnn-model.safetensors", "new.csv", "--output", name)[0] == 0
    assert Path("o.csv").read_text().split()[1:] == Path("o.txt").read_text().split() == np.load("o.npy").tolist() == out.split()
    code, out, _ = run("evaluate", "fastnn-model.safetensors", write("more.csv", table(200, 2)), "--metrics", "f1,auc")
    assert code == 0 and out.startswith("test accuracy 0.9") and " of 200), f1 0.9" in out and ", auc 0.9" in out


def test_a_regression(run, flats):
    code, out, err = run("train", flats, "--target", "price", "--drop", "dear,id", "--epochs", "60", "--metrics", "mse")
    assert code == 0 and "price: a number" in out
    scores = dict(part.split() for part in out.split("test ")[1].split("\n")[0].split(", "))
    assert float(scores["rmse"]) < 15 and float(scores["r2"]) > 0.95
    assert float(scores["mse"]) == pytest.approx(float(scores["rmse"]) ** 2, rel=1e-2)
    code, out, _ = run("predict", "fastnn-model.safetensors", flats, "--json")
    predicted = json.loads(out)["predictions"]
    assert np.abs(np.array(predicted) - table()["price"]).mean() < 15
    code, out, _ = run("evaluate", "fastnn-model.safetensors", flats, "--json")
    assert json.loads(out)["mae"] == pytest.approx(np.abs(np.array(predicted) - table()["price"]).mean(), rel=1e-4)
    assert "expected a model of classes" in one_line(run("predict", "fastnn-model.safetensors", flats, "--proba"))


def test_what_is_fitted_is_of_the_training_rows_alone(run, flats):
    assert run("train", flats, "--target", "price", "--quiet", "--early-stopping", "--epochs", "2")[0] == 0
    frame = data.read_csv(flats)
    train, _, *_ = data.train_test_split(np.arange(400), np.arange(400), 0.2, 0)
    held = data.Table.of(nn.load("fastnn-model.safetensors"))
    expected = data.Table("price").fit(frame.take(train[:288]))
    assert held.config() == json.loads(json.dumps(expected.config()))


def test_unknown_categories_are_noted(run, flats):
    run("train", flats, "--target", "dear", "--quiet")
    new = table(10, 1)
    new["city"] = np.array(["Oslo"] * 8 + ["Paris"] * 2)
    code, out, err = run("predict", "fastnn-model.safetensors", write("new.csv", new))
    assert code == 0 and len(out.split()) == 10
    assert err == "fastnn: note: column 'city': 2 rows with unknown categories, such as 'Paris', taken as none of those known\n"


def test_parquet(run):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame(table()).to_parquet("flats.parquet")
    code, out, _ = run("train", "flats.parquet", "--target", "dear", "--drop", "price,id", "--quiet")
    assert code == 0 and out.startswith("test accuracy 0.9")


@pytest.mark.parametrize("change, argv, text", [
    (lambda t: t.pop("dear"), [], "argument --target: expected one of the columns id, size, city, rooms, price of t.csv, got 'dear'"),
    (lambda t: t["dear"].__setitem__(3, ""), [], "argument --target: expected a value in every row of 'dear', got none in row 3"),
    (lambda t: t["dear"].__setitem__(slice(None), "no"), [], "argument --target: expected at least 2 different values of 'dear'"),
    (lambda t: t, ["--task", "regression"], "argument --target: expected numbers in 'dear' for a regression"),
    (lambda t: t, ["--drop", "dear"], "argument --drop: expected some of the columns id, size, city, rooms, price of t.csv, got 'dear'"),
    (lambda t: t.update(size=["inf"] * 400), [], "argument DATA: t.csv: expected finite numbers in 'size', got inf"),
    (lambda t: t, ["--metrics", "f1,speed"], "argument --metrics: expected one of accuracy, top_k_accuracy"),
    (lambda t: t, ["--metrics", "rmse"], "argument --metrics: expected a metric that fits"),
    (lambda t: t, ["labels.npy"], "argument LABELS: expected none beside a table"),
])
def test_tables_that_are_refused(run, change, argv, text, tmp_path):
    columns = table()
    change(columns)
    write("t.csv", columns)
    assert text in one_line(run("train", "t.csv", *argv, "--target", "dear"))
    assert os.listdir(tmp_path) == ["t.csv"]


def test_files_that_are_no_tables(run, flats, tmp_path):
    Path("ragged.csv").write_text("a,b\n1,2\n3\n")
    assert "argument DATA: 'ragged.csv': line 3: expected 2 fields" in one_line(run("train", "ragged.csv", "--target", "a"))
    assert "argument DATA: none.csv: No such file" in one_line(run("train", "none.csv", "--target", "a"))
    assert "argument --target: expected the name of the column" in one_line(run("train", flats))
    assert "argument --target: expected with a table" in one_line(run("train", "--target", "a"))
    Path("broken.parquet").write_text("no parquet")
    assert "argument DATA: " in one_line(run("train", "broken.parquet", "--target", "a"))
    run("train", flats, "--target", "dear", "--quiet")
    model = "fastnn-model.safetensors"
    few = table(10)
    del few["city"]
    assert "expected the columns size, city, rooms, price" in one_line(run("predict", model, write("few.csv", few)))
    assert "expected the column 'dear'" in one_line(run("evaluate", model, write("t.csv", {k: v for k, v in table(9).items() if k != "dear"})))
    odd = table(10)
    odd["dear"][2] = "may"
    assert "expected one of 'no', 'yes' in 'dear', got 'may' in row 2" in one_line(run("evaluate", model, write("odd.csv", odd)))
    nn.Sequential(nn.Dense(4, 2)).save("plain")
    assert "argument MODEL: plain: expected a model that was trained on a table" in one_line(run("predict", "plain", flats))
    assert "argument LABELS: expected none beside a table" in one_line(run("evaluate", model, flats, "y.npy"))


# --- NumPy's files ---


def test_arrays(run):
    X, y = data.load_digits()
    np.save("X.npy", X / 16)
    np.save("y.npy", y)
    np.savez("both.npz", X=X / 16, y=y)
    for files in (["X.npy", "y.npy"], ["both.npz"]):
        code, out, _ = run("train", *files, "--quiet", "--output", files[0] + ".m")
        assert code == 0 and float(out.split()[2]) > 0.9
    assert Path("X.npy.m").read_bytes() == Path("both.npz.m").read_bytes()
    code, out, _ = run("evaluate", "X.npy.m", "both.npz", "--json")
    assert json.loads(out)["accuracy"] > 0.95 and json.loads(out)["samples"] == 1797
    assert run("evaluate", "X.npy.m", "X.npy", "y.npy", "--json")[1].replace("X.npy", "both.npz") == out
    assert "argument LABELS: expected the file of the labels" in one_line(run("evaluate", "X.npy.m", "X.npy"))
    assert "argument LABELS: expected none beside both.npz" in one_line(run("train", "both.npz", "y.npy"))
    assert run("predict", "X.npy.m", "both.npz")[1] == run("predict", "X.npy.m", "X.npy")[1]
    np.savez("bad.npz", a=X)
    assert "argument DATA: 'bad.npz': expected an array X, got a" in one_line(run("train", "bad.npz"))
    np.savez("no.npz", X=X)
    assert "expected an array y beside X" in one_line(run("train", "no.npz"))


@pytest.mark.parametrize("outputs", [1, 2])
def test_numbers(run, outputs):
    """The saved model predicts in the targets' units."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 4)).astype(np.float32)
    y = 1000 + 50 * (X @ rng.normal(size=(4, outputs)))
    np.savez("r.npz", X=X, y=y[:, 0] if outputs == 1 else y)
    code, out, _ = run("train", "r.npz", "--epochs", "40", "--lr", "0.01")
    assert code == 0 and f"from r.npz, {outputs} number" in out
    scores = dict(part.split() for part in out.split("test ")[1].split("\n")[0].split(", "))
    model = nn.load("fastnn-model.safetensors")
    error = model.predict(X) - y
    _, X_test, _, y_test = data.train_test_split(X, y, 0.2, 0)
    rmse = np.sqrt(((model.predict(X_test) - y_test) ** 2).mean(axis=0)).mean()
    assert float(scores["rmse"]) == pytest.approx(rmse, rel=2e-3) and rmse < 15
    out = run("predict", "fastnn-model.safetensors", "r.npz")[1]
    np.testing.assert_allclose(np.array([line.split() for line in out.splitlines()], float), model.predict(X), rtol=1e-6)
    found = json.loads(run("evaluate", "fastnn-model.safetensors", "r.npz", "--json")[1])
    assert found["mae"] == pytest.approx(abs(error).mean(), rel=1e-3)


# --- what goes with training ---


def test_json(run, flats):
    code, out, err = run("train", flats, "--target", "dear", "--json", "--early-stopping", "2", "--epochs", "4", "--metrics", "f1")
    assert code == 0 and err == "" and out.count("\n") == 1
    found = json.loads(out)
    assert found["samples"] == {"train": 288, "validation": 32, "test": 80} and len(found["history"]["val_f1"]) == found["epochs"]
    assert set(found["test"]) == {"loss", "accuracy", "f1"} and found["model"]["file"] == "fastnn-model.safetensors" and len(found["fingerprint"]) == 32


def test_early_stopping_takes_the_best_weights(run, flats):
    code, out, _ = run("train", flats, "--target", "price", "--epochs", "500", "--early-stopping", "3", "--lr", "0.05", "--json", "--csv-log", "log.csv")
    found = json.loads(out)
    losses = found["history"]["val_loss"]
    assert found["epochs"] < 500 and len(losses) - 1 - int(np.argmin(losses)) == 3
    assert len(Path("log.csv").read_text().splitlines()) == found["epochs"] + 1


def test_resumed_after_a_break(run, flats):
    whole = ["train", flats, "--target", "dear", "--quiet", "--dropout", "0.2", "--schedule", "cosine"]
    assert run(*whole, "--epochs", "6", "--output", "whole")[0] == 0
    assert run(*whole, "--epochs", "6", "--max-seconds", "1e-9", "--checkpoint", "run", "--resume", "--output", "part")[0] == 0
    assert Path("part").read_bytes() != Path("whole").read_bytes()
    code, out, _ = run(*whole[:-4], "--dropout", "0.2", "--schedule", "cosine", "--epochs", "6", "--checkpoint", "run", "--resume", "--output", "rest")
    assert code == 0 and Path("rest").read_bytes() == Path("whole").read_bytes()
    assert "no more" not in out and run(*whole, "--epochs", "6", "--checkpoint", "run", "--resume", "--output", "again")[0] == 0
    assert Path("again").read_bytes() == Path("whole").read_bytes()
    message = one_line(run("train", flats, "--target", "dear", "--hidden", "7", "--checkpoint", "run", "--resume"))
    assert "argument --checkpoint: run: model: expected that of this trainer" in message


def test_killed_and_resumed(flats, run):
    """At any moment."""
    argv = ["train", flats, "--target", "dear", "--quiet", "--epochs", "300", "--threads", "1", "--batch-size", "8"]
    assert run(*argv, "--output", "whole")[0] == 0
    command = [sys.executable, "-m", "fastnn", *argv, "--checkpoint", "run", "--resume", "--output", "rest"]
    env = {**os.environ, "PYTHONPATH": str(Path(fastnn.__file__).parents[1])}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not os.path.exists("run") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert subprocess.run(command, env=env, capture_output=True, timeout=120).returncode == 0
    assert Path("rest").read_bytes() == Path("whole").read_bytes()


def test_plots_and_tensorboard(run, flats):
    pytest.importorskip("matplotlib")
    assert run("train", flats, "--target", "dear", "--quiet", "--epochs", "3", "--plot", "curves.png", "--validation-split", "0.1")[0] == 0
    assert Path("curves.png").read_bytes().startswith(b"\x89PNG")
    assert "argument --plot: expected a name that ends in .png, .pdf or .svg, got c.txt" in one_line(run("train", "--plot", "c.txt"))


def test_packages_that_are_not_there(run, flats, monkeypatch):
    for name, option, value in (("tensorboardX", "--tensorboard", "runs"), ("matplotlib", "--plot", "c.png")):
        monkeypatch.setitem(sys.modules, name, None)
        assert f"argument {option}: expected {name} to be installed: pip install fastnn[" in one_line(run("train", option, value))
    assert os.listdir() == ["flats.csv"]


def test_class_weights(run, flats):
    assert "argument --class-weight: expected classes" in one_line(run("train", flats, "--target", "price", "--class-weight", "balanced"))
    for i, words in enumerate(([], ["--class-weight", "balanced"])):
        assert run("train", flats, "--target", "dear", "--quiet", "--epochs", "2", *words, "--output", str(i))[0] == 0
    assert Path("0").read_bytes() != Path("1").read_bytes()


@pytest.mark.parametrize("words, shown, parameters", [
    ("64 relu, dropout 0.2, 16 tanh", "8 x 8 -> 64 relu -> dropout 0.2 -> 16 tanh -> 10", 64 * 64 + 64 + 64 * 16 + 16 + 170),
    ("conv 4 3 relu, maxpool 2, batchnorm, flatten, 8 relu", None, 40 + 8 + 64 * 8 + 8 + 90),
    ("conv 2 3,avgpool 2,5", None, 20 + 32 * 5 + 5 + 60),
    ("batchnorm, 5", None, 128 + 64 * 5 + 5 + 60),
    ("conv", "8 x 8 -> conv -> 10", 30 * 26 + 120 * 100 + 100 + 1010),
])
def test_architectures_in_words(run, words, shown, parameters):
    code, out, err = run("train", "--arch", words, "--epochs", "1")
    assert code == 0, err
    assert f"{parameters:,} parameters" in out and (shown is None or shown in out)
    data.write_idx("images.idx", data.load_digits()[0])
    assert run("predict", "fastnn-model.safetensors", "images.idx")[0] == 0


@pytest.mark.parametrize("argv, text", [
    (["--arch", "relu"], "argument --arch: expected a size, or one of conv, maxpool, avgpool, dropout, batchnorm, flatten, got 'relu'"),
    (["--arch", "64 relu 3"], "argument --arch: expected a size and an activation"),
    (["--arch", "64 rely"], "argument --arch: "),
    (["--arch", "conv 4"], "argument --arch: expected 2 numbers after 'conv' and an activation, got 'conv 4'"),
    (["--arch", "5, maxpool 2"], "argument --arch: expected 'maxpool' where there are images"),
    (["--arch", "maxpool 20"], "argument --arch: "),
    (["--arch", "lenet5"], "argument --arch: layer 3: Conv2d"),  # the packaged digits have too few pixels
    (["--arch", "conv, 5"], "argument --arch: expected 2 numbers after 'conv' and an activation, got 'conv'"),
    (["--arch", "dropout 2"], "argument --arch: "),
    (["--arch", "99999999999"], "argument --arch: expected a size and"),
    (["--arch", "2000000000"], "argument --arch: expected a model that fits in memory"),
    (["--arch", ""], "argument --arch: expected a size, or one of"),
    (["--arch", "5", "--hidden", "4"], "argument --arch: expected in place of --hidden, got both"),
    (["--arch", "5", "--dropout", "0.1"], "argument --arch: expected in place of --dropout, got both"),
    (["--model", "linear", "--hidden", "4"], "argument --model: expected mlp with hidden layers, got linear"),
    (["--model", "tree"], "argument --model: expected one of mlp, linear, got 'tree'"),
    (["--resume"], "argument --resume: expected with --checkpoint"),
    (["--early-stopping", "--validation-split", "0"], "argument --early-stopping: expected samples to watch"),
    (["--validation-split", "0.9999"], "argument --validation-split: expected a share that leaves samples on both sides"),
    (["--validation-split", "1"], "argument --validation-split: expected a number >= 0 and < 1"),
    (["--checkpoint", "none/run"], "argument --checkpoint: expected a file that can be written, got none/run"),
    (["--csv-log", "."], "argument --csv-log: expected a file that can be written, got .: it is a folder"),
    (["--csv-log", "m", "--output", "./m"], "argument --csv-log: expected another file than that of --output, got m"),
    (["--class-weight", "some"], "argument --class-weight: expected one of balanced"),
    (["--max-seconds", "0"], "argument --max-seconds: expected a number > 0"),
    (["--metrics", ","], "argument --metrics: expected names, separated by commas"),
    (["--early-stopping", "-1"], "expected"),
])
def test_wrong_arguments(run, argv, text, tmp_path):
    assert text in one_line(run("train", *argv))
    assert os.listdir(tmp_path) == []


def test_linear(run, flats):
    code, out, _ = run("train", flats, "--target", "dear", "--model", "linear")
    assert code == 0 and " -> 2: " in out and "relu" not in out


def test_no_space_left_in_the_middle(run, flats, monkeypatch):
    from fastnn.core import safetensors

    def full(*args):
        raise OSError(28, "No space left on device", "run")

    monkeypatch.setattr(safetensors, "write", full)
    assert one_line(run("train", flats, "--target", "dear", "--checkpoint", "run")).endswith("run: No space left on device; the model was not saved\n")
    assert sorted(os.listdir()) == ["flats.csv"]
