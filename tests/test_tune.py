"""fastnn.tune: searches on a grid, at random in rounds, and by Optuna."""

import json
import os
import signal
import threading
import time

import numpy as np
import pytest

import fastnn
from fastnn import data, losses, nn, optim, tune

SPACE = {"lr": tune.LogUniform(1e-6, 1e-2), "units": tune.Integer(1, 64), "share": tune.Uniform(0.0, 0.5), "f": ["relu", "tanh"]}


def bowl(p):
    return (np.log10(p["lr"]) + 3) ** 2 + (p["share"] - 0.2) ** 2 + (p["f"] == "relu")


def test_a_grid_has_every_combination():
    study = tune.grid(lambda p: p["a"] * p["b"], {"a": [1, 2], "b": (-3, 0, 3)}, direction="maximize")
    assert [t.params for t in study.trials] == [{"a": a, "b": b} for a in (1, 2) for b in (-3, 0, 3)]
    assert study.best.params == {"a": 2, "b": 3} and study.best.value == 6 and study.best["a"] == 2
    assert study.train(lambda p: p) == study.best.params
    lines = study.table(2).split("\n")
    assert len(lines) == 3 and lines[0].split() == ["trial", "value", "a", "b", "seconds", "state"] and lines[1].split()[:2] == ["5", "6"]


def test_random_draws_lie_in_their_ranges_and_rounds_narrow():
    study = tune.random(bowl, SPACE, n=90, rounds=3, seed=1)
    assert [t.number for t in study.trials] == list(range(90))
    for t in study.trials:
        assert 1e-6 <= t["lr"] <= 1e-2 and 1 <= t["units"] <= 64 and 0 <= t["share"] <= 0.5 and t["f"] in ("relu", "tanh")
    exponents = [[np.log10(t["lr"]) for t in study.trials[i : i + 30]] for i in (0, 30, 60)]
    widths = [max(e) - min(e) for e in exponents]
    assert 3 < widths[0] <= 4 and widths[1] <= 0.3 * 4 + 1e-9 and widths[2] <= 0.09 * 4 + 1e-9
    assert len({t["units"] for t in study.trials[:30]}) > 10 and study.best.value < 0.02
    assert [t.params for t in tune.random(bowl, SPACE, n=90, rounds=3, seed=1).trials] == [t.params for t in study.trials]
    assert tune.random(bowl, SPACE, n=3, seed=2).trials[0].params != study.trials[0].params


def test_log_uniform_is_uniform_in_orders_of_magnitude():
    study = tune.random(lambda p: 0, {"x": tune.LogUniform(1e-8, 1e-4)}, n=400)
    counts = np.histogram([np.log10(t["x"]) for t in study.trials], 4, (-8, -4))[0]
    assert counts.min() > 70


def test_objectives_that_fail_are_noted_and_the_study_goes_on():
    def objective(p):
        if p["a"] == 1:
            raise ZeroDivisionError("mine")
        return np.nan if p["a"] == 2 else p["a"]

    study = tune.grid(objective, {"a": [0, 1, 2, 3]}, direction="maximize")
    assert [t.state for t in study.trials] == ["done", "failed", "failed", "done"] and study.best.value == 3
    assert study.trials[1].error == "ZeroDivisionError: mine" and "NaN" in study.trials[2].error
    assert study.table().count("failed") == 2
    with pytest.raises(ValueError, match="at least one trial with a value"):
        tune.grid(objective, {"a": [1, 2]}).best


def test_trials_report_prune_and_know_their_epochs():
    def objective(trial):
        for epoch in range(trial.epochs):
            trial.report(epoch, trial["a"])
            if trial["a"] > 1:
                raise tune.Pruned
        return trial["a"]

    study = tune.grid(objective, {"a": [1, 2]}, epochs=3)
    assert [t.state for t in study.trials] == ["done", "pruned"] and study.trials[0].reports == [(0, 1.0), (1, 1.0), (2, 1.0)]
    assert len(study.trials[1].reports) == 1


def test_the_budget_of_seconds():
    assert tune.random(bowl, SPACE, n=5, seconds=0.0).trials == []


@pytest.mark.parametrize("cut", [False, True])
def test_a_search_goes_on_from_its_file(tmp_path, cut):
    path, calls = tmp_path / "study.jsonl", []

    def objective(p):
        calls.append(p)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return bowl(p)

    with pytest.raises(KeyboardInterrupt):
        tune.random(objective, SPACE, n=12, rounds=2, file=path)
    if cut:  # killed in the middle of a line
        path.write_text(path.read_text()[:-9])
    study = tune.random(objective, SPACE, n=12, rounds=2, file=path)
    assert len(calls) == 13 + cut
    whole = tune.random(bowl, SPACE, n=12, rounds=2)
    assert [(t.number, t.params, t.value, t.state) for t in study.trials] == [(t.number, t.params, t.value, t.state) for t in whole.trials]
    assert len(path.read_text().splitlines()) == 13 and all(json.loads(line) for line in path.read_text().splitlines())
    with pytest.raises(ValueError, match="file: expected that of the same search"):
        tune.random(bowl, SPACE, n=12, rounds=2, seed=1, file=path)


def test_side_by_side_in_threads(tmp_path):
    """The same trials for any number of threads, whatever the objective initialises, each on one thread."""
    seen = set()

    def objective(trial):
        seen.add((threading.get_ident(), fastnn.get_num_threads()))
        first = nn.Dense(3, 2).weight.data.sum()  # hangs on the trial's number
        if trial["f"] == "relu":
            fastnn.manual_seed(trial.number)
        time.sleep(0.002 * (trial.number % 3))
        return float(bowl(trial.params) + first + nn.Dense(3, 2).weight.data.sum())

    before = nn.Dense(3, 2).weight.data.copy(), fastnn.get_num_threads()
    fastnn.manual_seed(0)
    first = nn.Dense(3, 2)
    fastnn.manual_seed(0)
    studies = [tune.random(objective, SPACE, n=14, rounds=2, seed=3, threads=n, file=tmp_path / f"{n}") for n in (1, 2, 5)]
    trials = [[(t.number, t.params, t.value, t.state) for t in s.trials] for s in studies]
    assert trials[0] == trials[1] == trials[2] and {t.state for t in studies[0].trials} == {"done"}
    assert {n for ident, n in seen if ident != threading.get_ident()} == {1}
    assert fastnn.get_num_threads() == before[1]
    assert (nn.Dense(3, 2).weight.data == first.weight.data).all()  # the seed of all others is as it was
    again = tune.random(lambda trial: 1 / 0, SPACE, n=14, rounds=2, seed=3, threads=2, file=tmp_path / "5")  # all of them are in the file
    assert [(t.number, t.params, t.value, t.state) for t in again.trials] == trials[0]


def test_ctrl_c_ends_trials_side_by_side(tmp_path):
    """Those that are over stand in the file; one that asks leaves early, and is tried again."""
    left = []

    def objective(trial):
        if trial.number == 3:
            os.kill(os.getpid(), signal.SIGINT)
        for epoch in range(2000 * (trial.number >= 2)):
            time.sleep(0.005)
            try:
                trial.report(epoch, 0.0)
            except tune.Pruned:
                left.append(trial.number)
                raise
        return 0.0

    with pytest.raises(KeyboardInterrupt):
        tune.random(objective, SPACE, n=8, threads=2, file=tmp_path / "s")
    assert 1 <= len(left) <= 2
    numbers = [json.loads(line)["number"] for line in (tmp_path / "s").read_text().splitlines()[1:]]
    assert set(numbers) <= {0, 1}
    study = tune.random(lambda p: 1.0, SPACE, n=8, threads=2, file=tmp_path / "s")
    assert [t.value for t in study.trials] == [0.0 if i in numbers else 1.0 for i in range(8)]


def test_parallel_by_joblib():
    pytest.importorskip("joblib")

    def objective(p):  # local: joblib's processes get its code, since they cannot import this module
        return p["lr"] * p["units"]

    alone, together = tune.random(objective, SPACE, n=6), tune.random(objective, SPACE, n=6, jobs=2)
    assert [(t.params, t.value) for t in alone.trials] == [(t.params, t.value) for t in together.trials]


def test_trials_whose_process_dies_are_tried_again(tmp_path):
    pytest.importorskip("joblib")
    folder = str(tmp_path)

    def objective(p):
        import os

        once = os.path.join(folder, "died")
        if p["i"] == 1 and not os.path.exists(once):
            open(once, "w").close()
            os._exit(1)
        if p["i"] == 3:
            os._exit(1)
        return float(p["i"])

    study = tune.grid(objective, {"i": [0, 1, 2, 3]}, jobs=2)
    assert [t.value for t in study.trials] == [0, 1, 2, None]
    assert [t.state for t in study.trials] == ["done"] * 3 + ["failed"]
    assert study.trials[1].tries == 2 and study.trials[3].tries == 2
    assert study.trials[3].error.startswith("the process died: ") and "failed (2 tries)" in study.table()


def test_data_is_sent_once(tmp_path):
    """However many calls there are, each process puts what they have in common together once."""
    pytest.importorskip("joblib")
    folder, values = str(tmp_path), np.arange(200_000.0)

    def made(array):
        import os
        import uuid

        open(os.path.join(folder, str(uuid.uuid4())), "w").close()
        return array

    class Data:
        def __reduce__(self):
            return made, (values,)

    held = Data()
    study = tune.grid(lambda p: float(np.asarray(held)[p["i"]]), {"i": [0, 1, 2, 3, 4, 5]}, jobs=2)
    assert [t.value for t in study.trials] == [0, 1, 2, 3, 4, 5] and [t.tries for t in study.trials] == [1] * 6
    assert 1 <= len(list(tmp_path.iterdir())) <= 2


def test_plot():
    pytest.importorskip("matplotlib")
    figure = tune.random(bowl, SPACE, n=12).plot()
    assert [a.get_xlabel() for a in figure.axes] == list(SPACE) and figure.axes[0].get_xscale() == "log"


def test_bayes(tmp_path):
    pytest.importorskip("optuna")

    def objective(trial):
        for epoch in range(3):
            trial.report(epoch, bowl(trial.params))
        return bowl(trial.params)

    path = tmp_path / "journal"
    study = tune.bayes(objective, SPACE, n=12, file=path)
    assert len(study.trials) == 12 and study.best.value == bowl(study.best.params)
    assert {t.state for t in study.trials} <= {"done", "pruned"}
    more = tune.bayes(objective, SPACE, n=15, file=path)
    assert len(more.trials) == 15 and [t.params for t in more.trials[:12]] == [t.params for t in study.trials]
    assert [t.reports for t in more.trials[:12]] == [t.reports for t in study.trials]
    whole = tune.bayes(objective, SPACE, n=15)
    assert [(t.params, t.value, t.state) for t in whole.trials] == [(t.params, t.value, t.state) for t in more.trials]
    with pytest.raises(ValueError, match="file: expected that of the same search.*where direction is 'minimize', here 'maximize'"):
        tune.bayes(objective, SPACE, n=16, direction="maximize", file=path)
    with pytest.raises(ValueError, match="file: expected that of the same search.*where space is"):
        tune.bayes(objective, {"lr": SPACE["lr"]}, n=16, file=path)
    path.write_bytes(path.read_bytes()[:-9])
    for n in (16, 17):  # a line that was cut off does no harm, then or later
        assert len(tune.bayes(objective, SPACE, n=n, file=path).trials) == n
    path.write_text("no journal\n")
    with pytest.raises(ValueError, match="file: expected Optuna's journal"):
        tune.bayes(objective, SPACE, n=2, file=path)


def test_bayes_takes_any_choice_and_any_seed_and_keeps_errors(tmp_path):
    pytest.importorskip("optuna")

    def objective(p):
        if p["hidden"] == (8, 8):
            raise OSError("no room")
        return sum(p["hidden"])

    for n in (3, 8):
        study = tune.bayes(objective, {"hidden": [(4,), (8, 8), (4, 4)]}, n=n, seed=2**63, file=tmp_path / "journal")
    assert {t["hidden"] for t in study.trials} == {(4,), (8, 8), (4, 4)} and study.best.params == {"hidden": (4,)}
    assert {t.error for t in study.trials if t["hidden"] == (8, 8)} == {"OSError: no room"}


def test_lists_may_be_ranges_and_arrays():
    study = tune.grid(lambda p: p["a"] * p["b"], {"a": range(2), "b": np.array([0.5, 2.0])})
    assert [t.params for t in study.trials] == [{"a": a, "b": b} for a in (0, 1) for b in (0.5, 2.0)]
    assert type(study.best["b"]) is float


@pytest.mark.parametrize("value", ["0.5", None, np.ones(2), {"loss": 1.0}])
def test_what_is_no_number_is_noted(value):
    study = tune.grid(lambda p: value if p["a"] == 1 else 3.0, {"a": [1, 2]})
    assert [t.state for t in study.trials] == ["failed", "done"] and study.trials[0].error.startswith("TypeError")
    with pytest.raises(ValueError, match="best: expected at least one trial with a value, got 1 trials without; the first failed by TypeError"):
        tune.grid(lambda p: value, {"a": [1]}).best  # noqa: B018


def test_an_objective_need_not_have_a_signature():
    assert tune.grid(dict, {"a": [1]}).trials[0].state == "failed"


def test_a_file_of_another_search_or_of_none_is_refused_and_kept(tmp_path):
    path, space = tmp_path / "study", {"a": tune.Uniform(0, 1)}
    first = tune.random(lambda p: p["a"], space, n=3, file=path)
    text = path.read_text()
    for more, match in (
        ({"n": 4}, "where n is 3, here 4"),
        ({"seed": 1}, "where seed is 0, here 1"),
        ({"epochs": 2}, "where epochs is None, here 2"),
        ({"direction": "maximize"}, "where direction is 'minimize', here 'maximize'"),
    ):
        with pytest.raises(ValueError, match="file: expected that of the same search.*" + match):
            tune.random(lambda p: p["a"], space, **{"n": 3, "file": path, **more})
    assert path.read_text() == text
    for wrong in (
        text + "garbage\n",
        text + "[1]\n",
        text.replace('"number": 1', '"numbers": 1'),
        text.replace('"value": ', '"value": "x", "v": '),
        text.replace('"reports": []', '"reports": 3'),
        text.replace("done", "good"),
        "\ud8ff".encode("utf-8", "surrogatepass").decode("latin-1") + text,
    ):
        path.write_text(wrong, encoding="latin-1")
        with pytest.raises(ValueError, match="file: expected .*, whose line"):
            tune.random(lambda p: p["a"], space, n=3, file=path)
        assert path.read_text(encoding="latin-1") == wrong
    for cut in ("", text[:30], text[:-4]):
        path.write_text(cut)
        again = tune.random(lambda p: p["a"], space, n=3, file=path)
        assert [t.value for t in again.trials] == [t.value for t in first.trials] and len(path.read_text().split("\n")) == 5


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: tune.grid(3, {"a": [1]}), TypeError, "objective: expected a function"),
        (lambda: tune.grid(bowl, {}), ValueError, "space: expected at least one name"),
        (lambda: tune.grid(bowl, [1]), TypeError, "space: expected a dict"),
        (lambda: tune.grid(bowl, {"a": 3}), TypeError, r"space\['a'\]: expected"),
        (lambda: tune.grid(bowl, {"a": tune.Uniform(0, 1)}), TypeError, r"space\['a'\]: expected a list"),
        (lambda: tune.grid(bowl, {"a": []}), ValueError, r"space\['a'\]: expected at least one value"),
        (lambda: tune.random(bowl, SPACE, n=0), ValueError, "n: expected an integer >= 1"),
        (lambda: tune.random(bowl, SPACE, n=2, rounds=3), ValueError, "rounds: expected at most n"),
        (lambda: tune.random(bowl, SPACE, direction="up"), ValueError, "direction: expected 'minimize' or 'maximize'"),
        (lambda: tune.random(bowl, SPACE, jobs=0), ValueError, "jobs: expected"),
        (lambda: tune.random(bowl, SPACE, threads=0), ValueError, "threads: expected"),
        (lambda: tune.random(bowl, SPACE, threads=2, jobs=2), ValueError, "threads, jobs: expected one of them"),
        (lambda: tune.Uniform(1, 0), ValueError, "high: expected a number above low"),
        (lambda: tune.LogUniform(0, 1), ValueError, "low: expected a number above 0"),
        (lambda: tune.Uniform("a", 1), TypeError, "low: expected"),
        (lambda: tune.Integer(1.5, 2), TypeError, "low: expected an integer"),
        (lambda: tune.Integer(3, 2), ValueError, "high: expected an integer from low"),
        (lambda: tune.Choice("relu"), TypeError, "values: expected a list"),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call()


# ---- trainings ----

X, Y = data.load_digits()
X, Y = X[::6].reshape(-1, 64).astype(np.float32) / 16, Y[::6]


def make_trainer(p):
    fastnn.manual_seed(0)
    model = nn.Sequential(nn.Dense(64, 10))
    return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=p["lr"]))


def test_a_training_is_judged_by_rows_that_it_does_not_see():
    training = tune.Training(make_trainer, X, Y, validation_split=0.25, monitor="val_accuracy", batch_size=16)
    study = tune.random(training, {"lr": tune.LogUniform(1e-5, 1e-1)}, n=6, rounds=2, direction="maximize", epochs=2)
    assert [len(t.reports) for t in study.trials] == [2] * 6 and all(t.value == t.reports[-1][1] for t in study.trials)
    assert study.best.value > 0.5
    trainer = study.train(lambda p: training.final(p, epochs=2))
    assert trainer.epochs_done == 2 and trainer.steps_done == 2 * -(-len(X) // 16)
    side_by_side = tune.random(training, {"lr": tune.LogUniform(1e-5, 1e-1)}, n=6, rounds=2, direction="maximize", epochs=2, threads=3)
    assert [(t.params, t.reports) for t in side_by_side.trials] == [(t.params, t.reports) for t in study.trials]
    made = []
    own = tune.Training(make_trainer, X, Y, callbacks=lambda number: made.append(number) or [fastnn.callbacks.Lambda(on_epoch_end=lambda e, logs: None)])
    tune.random(own, {"lr": tune.LogUniform(1e-3, 1e-2)}, n=4, epochs=3, threads=2)
    own.final({"lr": 0.01})
    assert sorted(made[:4]) == [0, 1, 2, 3] and made[4] is None
    given = tune.Training(make_trainer, X[75:], Y[75:], validation_data=(X[:75], Y[:75]))
    t = make_trainer({"lr": 0.01})
    expected = t.fit(X[75:], Y[75:], validation_data=(X[:75], Y[:75]), verbose=0)["val_loss"][-1]
    assert tune.grid(given, {"lr": [0.01]}).best.value == expected
    assert "monitor" in tune.grid(tune.Training(make_trainer, X, Y, monitor="f1"), {"lr": [0.01]}).trials[0].error


def test_a_training_on_sparse_rows():
    sparse = pytest.importorskip("scipy.sparse")
    values = [tune.grid(tune.Training(make_trainer, rows, Y), {"lr": [0.01]}).best.value for rows in (X, sparse.csr_array(X))]
    assert values[0] == values[1]


@pytest.mark.parametrize(
    "arguments, error, match",
    [
        ({"make_trainer": 1}, TypeError, "make_trainer"),
        ({"y": Y[:-1]}, ValueError, "y: expected 300 targets"),
        ({"validation_split": 0.0}, ValueError, "validation_split"),
        ({"validation_split": 1.0}, ValueError, "validation_split"),
        ({"validation_data": X}, ValueError, "validation_data: expected a pair"),
    ],
)
def test_bad_trainings(arguments, error, match):
    with pytest.raises(error, match=match):
        tune.Training(**{"make_trainer": make_trainer, "X": X, "y": Y, **arguments})
