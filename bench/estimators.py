"""What the estimators of fastnn.sklearn cost beyond the networks in them: ``python -m bench.estimators``.

fit     an estimator's fit against that of a bare Trainer: the same network, rows, optimizer, epochs and validation rows. Both in one
        process, taken in turn; the median of the rounds' ratios, and their quartiles
row     `predict` of one row, and the network's own of that row; microseconds, the least of many repeats
beside  MLPClassifier beside scikit-learn's, with the same settings, epochs and rows: seconds and scores on digits and on data made like
        "letter" and "Adult", in float32 and float64; and a GridSearchCV over 12 settings
peak    floating-point operations of whole fits of TabularClassifier and TabularRegressor a second, beside what the CPUs' FMA units
        give all threads together; products alone are counted, and with them those of the rows held back
"""

import argparse
import time
import timeit
import warnings

import numpy as np

import fastnn
from fastnn import losses, nn, optim, schedules
from fastnn.sklearn import MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor

from .fit import _ratio, _rounds
from .machine import Machine


def _data(rows, columns, classes=4):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, columns))
    score = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.3 * rng.normal(size=rows)
    return X, np.searchsorted(np.quantile(score, np.arange(1, classes) / classes), score), score


def _perceptron(kind, X, y, epochs):
    """(an estimator's fit, that of a bare Trainer)"""
    estimator = kind(max_iter=epochs, tol=0.0, n_iter_no_change=epochs, random_state=0)
    classifier = kind is MLPClassifier

    def bare():
        model = nn.mlp([X.shape[1], 100, y.max() + 1 if classifier else 1], dtype="float64")
        loss = losses.SoftmaxCrossEntropy() if classifier else losses.MeanSquaredError()
        trainer = fastnn.Trainer(model, loss, optim.Adam(model.parameters()), seed=0, penalty=fastnn.regularizers.L2(1e-4 / 200))
        trainer.fit(X, y if classifier else y.reshape(-1, 1), epochs=epochs, batch_size=200, verbose=0)

    return lambda: estimator.fit(X, y), bare


def _tabular(kind, X, y, epochs):
    """The same of a table's."""
    estimator = kind(n_epochs=epochs, validation_fraction=0.2, random_state=0).fit(X[:300], y[:300])
    classifier = kind is TabularClassifier
    inputs = estimator._encoder.transform_numbers(X)
    targets = y if classifier else ((y - y.mean()) / y.std()).astype(np.float32).reshape(-1, 1)
    held = len(X) // 5
    rate, steps = (0.04 if classifier else 0.07), epochs * ((len(X) - held) // 256)

    def bare():
        model, groups = estimator._build(np.random.RandomState(0))
        groups = [{"params": p, "lr": schedules.CosLog(rate * factor, steps)} for p, factor, *_ in groups]
        loss = losses.SoftmaxCrossEntropy(label_smoothing=0.1) if classifier else losses.MeanSquaredError()
        trainer = fastnn.Trainer(model, loss, optim.Adam(groups, betas=(0.9, 0.95)), seed=0)
        trainer.fit(inputs[held:], targets[held:], epochs=epochs, batch_size=256, drop_last=True, verbose=0,
                    validation_data=(inputs[:held], targets[:held]))

    return lambda: estimator.fit(X, y), bare


def fit(count, rows=4000, epochs=50):
    warnings.simplefilter("ignore")  # that perceptrons have not converged
    X, classes, numbers = _data(rows, 20)
    for kind in (MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor):
        make = _perceptron if kind.__name__.startswith("MLP") else _tabular
        own, bare = make(kind, X, classes if kind.__name__.endswith("Classifier") else numbers, epochs)
        found = _rounds({"estimator": own, "bare": bare}, count)
        seconds = np.median([r["estimator"] for r in found])
        print(f"{kind.__name__}.fit ÷ bare Trainer.fit: {_ratio(found, ['estimator'], ['bare'])}; {seconds:.3f} s", flush=True)


def _microseconds(run):
    run()
    return 1e6 * min(timeit.repeat(run, number=200, repeat=25)) / 200


def row(count):
    X, classes, numbers = _data(400, 10)
    few = {"n_epochs": 2, "random_state": 0}
    named = np.column_stack([X[:, :8].astype(object), np.array(["a", "b", "c"])[classes % 3], np.array(["x", "y"])[classes % 2]])
    kinds = [
        ("MLPClassifier, 100 units", MLPClassifier(max_iter=2), X),
        ("MLPRegressor, 100 units", MLPRegressor(max_iter=2), X),
        ("TabularClassifier", TabularClassifier(**few), X),
        ("TabularRegressor", TabularRegressor(**few), X),
        ("TabularClassifier, 3 x 64 units", TabularClassifier(hidden_layer_sizes=(64,) * 3, **few), X),
        ("TabularClassifier, 8 numbers and 2 categories", TabularClassifier(**few), named),
        ("TabularClassifier, n_models=5", TabularClassifier(n_models=5, **few), X),
        ("TabularClassifier, td", TabularClassifier("td", **few), X),
        ("TabularRegressor, td", TabularRegressor("td", **few), X),
    ]
    for name, estimator, table in kinds:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(table, numbers if "Regressor" in name else classes)
        one = table[:1]
        if name.startswith("MLP"):
            networks, inputs = [estimator._model], one
        else:
            networks, inputs = estimator._models, estimator._encoded(one)
        whole = _microseconds(lambda e=estimator, x=one: e.predict(x))
        inner = sum(_microseconds(lambda m=m, x=inputs: m.predict(x)) for m in networks)
        print(f"predict of one row, {name}: {whole:.1f} us; its networks alone {inner:.1f}", flush=True)


SETS = {  # rows, columns, classes and epochs
    "digits": (1797, 64, 10, 30),
    "like letter": (20_000, 16, 26, 6),
    "like Adult": (48_842, 108, 2, 3),
}  # fmt: skip


def _set(name, dtype):
    from sklearn.datasets import load_digits, make_classification
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    rows, columns, classes, epochs = SETS[name]
    X, y = load_digits(return_X_y=True) if name == "digits" else make_classification(
        rows, columns, n_informative=min(columns, 14), n_redundant=0, n_classes=classes, n_clusters_per_class=1, random_state=0)
    X = StandardScaler().fit_transform(X).astype(dtype)
    return (*train_test_split(X, y, test_size=0.25, random_state=0), epochs)


def beside(count):
    from sklearn.model_selection import GridSearchCV
    from sklearn.neural_network import MLPClassifier as Theirs

    warnings.simplefilter("ignore")  # that it has not converged, within so few epochs
    for name in SETS:
        for dtype in ("float32", "float64"):
            X, X_test, y, y_test, epochs = _set(name, dtype)
            seconds, scores = {MLPClassifier: [], Theirs: []}, {MLPClassifier: [], Theirs: []}
            for seed in range(count):
                for kind in seconds:
                    estimator, begun = kind(max_iter=epochs, random_state=seed), time.perf_counter()
                    estimator.fit(X, y)
                    seconds[kind].append(time.perf_counter() - begun)
                    scores[kind].append(estimator.score(X_test, y_test))
            apart = np.subtract(scores[MLPClassifier], scores[Theirs])
            error = apart.std(ddof=1) / np.sqrt(count) if count > 1 else np.nan
            ours, theirs = np.median(seconds[MLPClassifier]), np.median(seconds[Theirs])
            print(f"{name}, {dtype}: {ours:.3f} s, scikit-learn {theirs:.3f} s, {theirs / ours:.2f} times; score {np.mean(scores[MLPClassifier]):.4f}, "
                  f"{apart.mean():+.4f} ± {error:.4f} beside scikit-learn's, {count} seeds", flush=True)
    for dtype in ("float32", "float64"):
        X, _, y, _, _ = _set("digits", dtype)
        grid = {"hidden_layer_sizes": [(50,), (100,), (50, 50)], "alpha": [1e-4, 1e-2], "learning_rate_init": [1e-3, 3e-3]}
        spent, best = [], []
        for kind in (MLPClassifier, Theirs):
            begun = time.perf_counter()
            search = GridSearchCV(kind(max_iter=40, random_state=0), grid, cv=3).fit(X, y)
            spent.append(time.perf_counter() - begun)
            best.append(search.best_score_)
        print(f"GridSearchCV over 12 settings, digits, {dtype}: {spent[0]:.2f} s, scikit-learn {spent[1]:.2f} s, {spent[1] / spent[0]:.2f} times; "
              f"best {best[0]:.4f}, {best[1]:.4f}", flush=True)


def peak(count, rows=10_000, columns=20, epochs=30):
    X, classes, numbers = _data(rows, columns)
    threads = fastnn.get_num_threads()
    machine = Machine(threads)
    for kind, y in ((TabularClassifier, classes), (TabularRegressor, numbers)):
        estimator = kind(n_epochs=epochs, random_state=0).fit(X, y)
        sizes = estimator._sizes()
        product = 2.0 * sum(a * b for a, b in zip(sizes, sizes[1:]))
        held = rows // 5
        trained = 3 * ((rows - held) // 256 * 256)  # a step is three products of what a prediction is one of
        work = epochs * product * (trained + held)
        found = []
        for _ in range(count):
            limit, begun = machine.gflops(), time.perf_counter()
            estimator.fit(X, y)
            rate = work / (time.perf_counter() - begun) / 1e9
            found.append((rate / max(limit, machine.gflops()), rate, limit))
        share, rate, limit = np.median(found, axis=0)
        training = trained / (trained + held)
        print(f"{kind.__name__}, {rows:,} x {columns}, {threads} threads: {rate:.0f} GFLOP/s of {limit:.0f}, {100 * share:.0f} %; "
              f"without the rows held back {100 * share * training:.0f} %", flush=True)


PARTS = {"fit": fit, "row": row, "beside": beside, "peak": peak}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="or seeds")
    parser.add_argument("parts", nargs="*", default=list(PARTS), help="of fit, row, beside, peak; all by default")
    arguments = parser.parse_args()
    for part in arguments.parts:
        PARTS[part](arguments.rounds)
