"""A search for settings, and an ensemble, on the workers of a Dask cluster: here one of two processes on this machine.

Anything that goes by joblib runs on Dask's workers once ``joblib.parallel_config(backend="dask")`` is set, with a client of any
cluster: `tune.grid`, `tune.random` and `tune.bayes`, `ensemble.bagging`, `kfold` and `train_many`, and scikit-learn's own searches. The
data is sent to each worker once. Needs ``pip install distributed joblib``. Prints the best settings, and what the ensemble gains.
"""

import joblib
import numpy as np

import fastnn
from fastnn import data, ensemble, losses, nn, optim, tune


def make_trainer(settings):
    fastnn.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, settings["units"], activation="relu"), nn.Dense(settings["units"], 10))
    return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=settings["lr"]))


def main(trials=12, members=6, epochs=5):
    from dask.distributed import Client, LocalCluster

    X, X_test, y, y_test = data.train_test_split(*data.load_digits(), test_size=0.3)
    space = {"lr": tune.LogUniform(1e-4, 1e-1), "units": [16, 64]}
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        with joblib.parallel_config(backend="dask"):
            training = tune.Training(make_trainer, X, y, epochs=epochs, monitor="val_accuracy")
            study = tune.random(training, space, n=trials, direction="maximize", jobs=2)
            print(study.table(5))
            best = study.best.params
            together = ensemble.bagging(lambda i: make_trainer(best), X, y, n=members, epochs=epochs, jobs=2)
    accuracy = np.mean(together.predict_classes(X_test) == y_test)
    alone = np.mean([np.mean(model.predict_classes(X_test) == y_test) for model in together.models])
    print(f"{members} members together: {accuracy:.3f} right, one alone {alone:.3f}")
    return study, accuracy, alone


if __name__ == "__main__":
    main()
