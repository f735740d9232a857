"""fastnn tune: trials of the options that are not given, and the training with the best of them."""

import json

import numpy as np
import pytest


@pytest.fixture
def moons():
    rng = np.random.default_rng(0)
    t = rng.uniform(0, np.pi, 400)
    X = np.column_stack([np.cos(t), np.sin(t)])
    X[200:] = [1.0, 0.5] - X[200:]
    np.save("X.npy", (X + rng.normal(0, 0.1, X.shape)).astype(np.float32))
    np.save("y.npy", np.repeat([0, 1], 200))
    return "X.npy", "y.npy"


def test_a_search_ends_in_the_training_that_its_options_say(run, moons):
    given = ("--epochs", 5, "--batch-size", 20, "--hidden", "16,8", "--quiet")
    code, out, err = run("tune", *moons, *given, "--trials", 6, "--study", "s.jsonl")
    assert code == 0 and err == ""
    table, _, rest = out.partition("best   ")
    assert table.split("\n")[0].split() == ["trial", "value", "lr", "weight_decay", "dropout", "seconds", "state"] and table.count("done") == 6
    options = rest.split(":")[0].split()
    assert options[::2] == ["--lr", "--weight-decay", "--dropout"] and "test accuracy" in rest
    first = json.loads(run("evaluate", "fastnn-model.safetensors", *moons, "--json")[1])
    assert run("train", *moons, *given, *options, "--output", "again.safetensors")[0] == 0
    assert json.loads(run("evaluate", "again.safetensors", *moons, "--json")[1]) == first
    # with more trials it goes on from the file, and side by side it finds the same
    again = run("tune", *moons, *given, "--trials", 6, "--study", "s.jsonl", "--jobs", 2)[1]
    assert again == out
    alone, together = (json.loads(run("tune", *moons, *given, "--trials", 6, "--jobs", jobs, "--json")[1]) for jobs in (1, 3))
    for found in (alone, together):
        assert [t["state"] for t in found["search"]["trials"]] == ["done"] * 6 and found["search"]["options"].split() == options
    assert alone["fingerprint"] == together["fingerprint"]
    assert [t["validation_loss"] for t in alone["search"]["trials"]] == [t["validation_loss"] for t in together["search"]["trials"]]


def test_what_is_given_is_not_searched_for(run, moons):
    out = run("tune", *moons, "--trials", 2, "--epochs", 1, "--model", "linear", "--quiet")[1]
    assert out.split("\n")[0].split() == ["trial", "value", "lr", "weight_decay", "seconds", "state"]
    out = run("tune", *moons, "--trials", 2, "--epochs", 1, "--lr", 0.01, "--dropout", 0, "--weight-decay", 0, "--quiet")[1]
    assert out.split("\n")[0].split() == ["trial", "value", "hidden", "seconds", "state"]


@pytest.mark.parametrize("options, message", [
    (("--validation-split", 0), "argument --validation-split: expected samples to judge the trials by"),
    (("--lr", 0.1, "--weight-decay", 0, "--hidden", "none"), "argument --lr: expected not to be given where nothing else is left"),
    (("--trials", 0), "argument --trials: expected an integer >= 1"),
    (("--lr", 1e38, "--optimizer", "sgd", "--trials", 2, "--hidden", "4"), "argument --trials: expected at least one that comes to its end, got none of 2"),
    (("--study", "X.npy"), "argument --study: expected a file that can be written, got X.npy: the command reads from it"),
])  # fmt: skip
def test_what_is_refused(run, moons, options, message):
    code, out, err = run("tune", *moons, "--epochs", 2, *options)
    assert code == 2 and out == "" and err.startswith("fastnn: error: " + message) and err.count("\n") == 1


def test_a_study_of_another_search(run, moons):
    assert run("tune", *moons, "--trials", 2, "--epochs", 1, "--study", "s")[0] == 0
    for more, where in ((("--trials", 3, "--epochs", 1), "n is 2, here 3"), (("--trials", 2, "--epochs", 2), "epochs is 1, here 2")):
        code, _, err = run("tune", *moons, *more, "--study", "s")
        assert code == 2 and "argument --study: expected that of the same search" in err and f"where {where}" in err
