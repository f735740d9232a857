"""fastnn.sklearn on data sets that scikit-learn brings or makes: scores and seconds of TabularClassifier and TabularRegressor, of the
same recipe in PyTorch, of scikit-learn's MLP (scaled, with early stopping), and of its histogram gradient boosting.

    python -m bench.tables [--epochs 256] [--seeds 3] [data set ...]

All see the same rows; a quarter is the test data. The recipe holds back a fifth of the others in both implementations.
"""

import argparse
import time
import warnings

import numpy as np
import sklearn.datasets as sets
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import fastnn
from fastnn.sklearn import TabularClassifier, TabularRegressor
from fastnn.sklearn.tables import TableEncoder, columns_of

DATA = {  # name -> (X, y), whether y is numbers
    "breast cancer": (lambda: sets.load_breast_cancer(return_X_y=True), False),
    "wine": (lambda: sets.load_wine(return_X_y=True), False),
    "digits": (lambda: sets.load_digits(return_X_y=True), False),
    "made classes": (lambda: sets.make_classification(1500, 20, n_informative=8, n_classes=4, random_state=0), False),
    "Hastie": (lambda: sets.make_hastie_10_2(4000, random_state=0), False),
    "diabetes": (lambda: sets.load_diabetes(return_X_y=True), True),
    "Friedman 1": (lambda: sets.make_friedman1(1500, 10, noise=1.0, random_state=0), True),
}


class Linear(nn.Module):
    def __init__(self, n_in, n_out, first=1.0):
        super().__init__()
        self.weight = nn.Parameter(first * torch.randn(n_in, n_out))
        self.bias = nn.Parameter(first * torch.randn(n_out))

    def forward(self, x):
        return x @ self.weight / len(self.weight) ** 0.5 + self.bias


class Scale(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))

    def forward(self, x):
        return x * self.weight


def torch_recipe(X, y, held, X_test, classes, seed, epochs):
    """RealMLP-TD-S in PyTorch, as its authors parametrise it: outputs for X_test. y are classes, or standardised numbers."""
    torch.manual_seed(seed)
    torch.set_num_threads(fastnn.get_num_threads())

    activation, n = (nn.SELU if classes else nn.Mish), X.shape[1]
    model = nn.Sequential(
        Scale(n), Linear(n, 256), activation(), Linear(256, 256), activation(), Linear(256, 256), activation(),
        Linear(256, classes or 1, 0.0),
    )  # fmt: skip
    scale, *others = model.parameters()
    factors = (6.0, 1.0, 0.1)
    groups = [{"params": p} for p in ([scale], others[::2], others[1::2])]
    opt = torch.optim.Adam(groups, lr=0.1, betas=(0.9, 0.95), fused=True)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1) if classes else nn.MSELoss()
    rate, best, kept = (0.04 if classes else 0.07), np.inf, None
    X, y, X_held, X_test = (torch.tensor(a) for a in (X, y, held[0], X_test))
    batch = min(256, len(X))
    steps = len(X) // batch
    for epoch in range(epochs):
        order = torch.randperm(len(X))
        for step in range(steps):
            t = (epoch * steps + step) / (epochs * steps)
            for group, factor in zip(opt.param_groups, factors):
                group["lr"] = factor * rate * (0.5 - 0.5 * np.cos(2 * np.pi * np.log2(1 + 15 * t)))
            rows = order[step * batch : (step + 1) * batch]
            outputs = model(X[rows])
            loss(outputs if classes else outputs[:, 0], y[rows]).backward()
            opt.step()
            opt.zero_grad()
        with torch.no_grad():
            z = model(X_held).numpy()
        error = (z.argmax(axis=1) != held[1]).mean() if classes else ((z[:, 0] - held[1]) ** 2).mean()
        if error <= best:
            best, kept = error, [p.detach().clone() for p in model.parameters()]
    with torch.no_grad():
        for p, values in zip(model.parameters(), kept):
            p.copy_(values)
        return model(X_test).numpy()


def torch_score(X, y, X_test, y_test, numbers, seed, epochs):
    train, held = train_test_split(np.arange(len(X)), test_size=0.2, random_state=seed)
    encoder = TableEncoder().fit(columns_of(X), range(X.shape[1]))
    Z, Z_test = (encoder.transform_numbers(a.astype(float)) for a in (X, X_test))
    mean, deviation = (y.mean(), y.std()) if numbers else (0, 1)
    target = ((y - mean) / deviation).astype(np.float32 if numbers else np.int64)
    z = torch_recipe(Z[train], target[train], (Z[held], target[held]), Z_test, 0 if numbers else y.max() + 1, seed, epochs)
    if numbers:
        return 1 - ((z[:, 0] * deviation + mean - y_test) ** 2).mean() / y_test.var()
    return (z.argmax(axis=1) == y_test).mean()


def timed(function):
    begun = time.perf_counter()
    return function(), time.perf_counter() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="data set", help=", ".join(DATA))
    parser.add_argument("--epochs", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    heads = ("data set", "rows x columns", "fastnn", "in PyTorch", "scikit-learn MLP", "gradient boosting", "seconds", "PyTorch ÷ fastnn")
    print(f"| {' | '.join(heads)} |\n| --- {'| ---: ' * (len(heads) - 1)}|")
    for name in given.names or DATA:
        load, numbers = DATA[name]
        X, y = load()
        y = y if numbers else np.unique(y, return_inverse=True)[1]
        found = []
        for seed in range(given.seeds):
            split = train_test_split(X, y, test_size=0.25, random_state=seed, stratify=None if numbers else y)
            a, b, c, d = split
            ours, mlp, trees = (
                (TabularRegressor, MLPRegressor, HistGradientBoostingRegressor) if numbers
                else (TabularClassifier, MLPClassifier, HistGradientBoostingClassifier)
            )  # fmt: skip
            scaled = make_pipeline(StandardScaler(), mlp(early_stopping=True, random_state=seed))
            runs = [
                lambda: ours(n_epochs=given.epochs, validation_fraction=0.2, random_state=seed).fit(a, c).score(b, d),
                lambda: torch_score(a, c, b, d, numbers, seed, given.epochs),
                lambda: scaled.fit(a, c).score(b, d),
                lambda: trees(random_state=seed).fit(a, c).score(b, d),
            ]
            found.append([timed(run) for run in runs])
        scores, seconds = np.moveaxis(np.array(found), 2, 0)
        shown = [f"{m:.3f} ± {s:.3f}" for m, s in zip(scores.mean(axis=0), scores.std(axis=0))]
        times = np.median(seconds, axis=0)
        spent = ", ".join(f"{t:.2g}" for t in times)
        print(f"| {name} | {len(X):,} x {X.shape[1]} | {' | '.join(shown)} | {spent} | {times[1] / times[0]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
