"""fastnn diagnose: the table of Trainer.diagnose for a saved network, as text and JSON; wrong input is one line."""

import json
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import data, losses, nn, optim


@pytest.fixture
def saved():
    """A trained network of digits, and its data."""
    fastnn.manual_seed(0)
    X, y = data.load_digits()
    np.savez("digits.npz", X=X, y=y)
    np.save("X.npy", X)
    np.save("y.npy", y)
    model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 20, activation="relu"), nn.Dense(20, 10))
    model[2].bias.data = [-50] * 5 + [1] * 15
    fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters())).fit(X, y, verbose=0)
    model.save("model.safetensors")
    return model, X, y


def test_what_it_shows(run, saved):
    model, X, y = saved
    code, out, err = run("diagnose", "model.safetensors", "digits.npz", "--find-lr")
    report = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters())).diagnose(X, y)
    assert (code, err) == (0, "")
    assert out.startswith(str(report)) and "5 of 20 units are dead" in out and "adam would learn fastest at a rate of about" in out
    assert run("diagnose", "model.safetensors", "X.npy", "y.npy")[1] == str(report) + "\n"


def test_json(run, saved):
    code, out, _ = run("diagnose", "model.safetensors", "digits.npz", "--rows", "50", "--json", "--find-lr")
    found = json.loads(out)
    assert code == 0 and found["rows"] == 50 and found["layers"][0]["dead"] == 5 and found["layers"][1]["dead"] is None
    assert found["notes"] and 0 < found["suggested_lr"] < 10
    assert len(out.splitlines()) == 1


def test_a_table(run, tmp_path):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 80))
    lines = [f"{u:.4f},{v:.4f},{u - 2 * v:.4f}" for u, v in zip(a, b)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c", *lines]) + "\n")
    assert run("train", "t.csv", "--target", "c", "--epochs", "1", "--quiet")[0] == 0
    code, out, err = run("diagnose", "fastnn-model.safetensors", "t.csv")
    assert (code, err) == (0, "") and "Dense relu" in out


def test_plot(run, saved):
    pytest.importorskip("matplotlib")
    assert run("diagnose", "model.safetensors", "digits.npz", "--plot", "p.png")[0] == 0
    assert Path("p.png").read_bytes()[:4] == b"\x89PNG"
    for name, message in (("p.txt", "ends in .png"), ("model.safetensors", "--plot"), ("none/p.png", "--plot")):
        code, out, err = run("diagnose", "model.safetensors", "digits.npz", "--plot", name)
        assert (code, out, err.count("\n")) == (2, "", 1) and message in err


@pytest.mark.parametrize("arguments, message", [
    (("model.safetensors",), "DATA"),
    (("none", "digits.npz"), "argument MODEL"),
    (("model.safetensors", "none.npz"), "argument DATA"),
    (("model.safetensors", "X.npy"), "argument LABELS"),
    (("model.safetensors", "y.npy", "y.npy"), "argument DATA: y.npy"),
    (("model.safetensors", "digits.npz", "--rows", "0"), "--rows"),
    (("model.safetensors", "digits.npz", "--lr", "-1"), "--lr"),
])
def test_what_is_refused(run, saved, arguments, message):
    code, out, err = run("diagnose", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1) and message in err
