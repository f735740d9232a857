"""What the tests run by mpiexec: ``program.py NAME FOLDER THREADS``. Every process writes what it has found into FOLDER, as JSON."""

import json
import os
import signal
import sys

import numpy as np

import fastnn
from fastnn import callbacks, losses, nn, optim
from fastnn.data import augment
from fastnn.distributed import DistributedTrainer, RankError, alike, executor

NAME, FOLDER, THREADS = sys.argv[1], sys.argv[2], int(sys.argv[3])
ROWS = 150


def samples():
    rng = np.random.default_rng(5)
    return rng.normal(size=(ROWS, 8)).astype(np.float32), rng.integers(0, 3, ROWS)


def make(seed=4, units=24, **more):
    fastnn.manual_seed(seed)
    model = nn.Sequential(
        nn.Dense(8, units, activation="relu"), nn.BatchNorm(units), nn.Dropout(0.3), nn.GaussianNoise(0.1), nn.Dense(units, 3),
    )  # fmt: skip
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    return DistributedTrainer(model, losses.SoftmaxCrossEntropy(), optimizer, seed=3, clip_norm=0.5, threads=THREADS, grains=5, **more)


def raised(function):
    """The kind and the text of what it raises."""
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def digests():
    """Everything that must not depend on how many processes and threads there are."""
    X, y = samples()
    trainer, found = make(), {}
    stop = callbacks.EarlyStopping("val_loss", patience=2)
    log = callbacks.CSVLogger(os.path.join(FOLDER, "log.csv"))
    history = trainer.fit(X[:110], y[:110], epochs=3, batch_size=40, validation_data=(X[110:], y[110:]), metrics=["f1"], callbacks=[stop, log],
                          sample_weight=np.linspace(0, 2, 110), verbose=0)  # fmt: skip
    found["fit"] = history.fingerprint()
    found["numbers"] = {k: v for k, v in history.items() if k != "seconds"}
    found["evaluate"] = trainer.evaluate(X, y, batch_size=16, metrics=["auc"])
    found["predict"] = bool((trainer.predict(X) == trainer.model.predict(X)).all())
    path = os.path.join(FOLDER, "training.safetensors")
    trainer.save_checkpoint(path)
    found["again"] = trainer.fit(X, y, batch_size=33, accumulate=2, verbose=0).fingerprint()
    resumed = make(seed=trainer.rank)  # whose weights come from the file
    resumed.load_checkpoint(path)
    found["resumed"] = resumed.fit(X, y, batch_size=33, accumulate=2, verbose=0).fingerprint()
    found["step"] = [resumed.step(X[:37], y[:37]) for _ in range(3)]
    resumed.fit(((X[i : i + 45], y[i : i + 45]) for i in range(0, ROWS, 45)), verbose=0)
    found["iterable"] = resumed.history.fingerprint()
    broken = make()
    stop = callbacks.Lambda(on_step_end=lambda step, logs: setattr(broken, "stop_training", step == 2 and broken.rank == broken.ranks - 1))
    broken.fit(X, y, epochs=2, batch_size=40, verbose=0, callbacks=[stop])
    broken.save_checkpoint(path)
    found["broken off"] = broken.history.broken_off
    gone_on, whole = make(), make()
    gone_on.load_checkpoint(path)
    whole.fit(X, y, epochs=2, batch_size=40, verbose=0)
    gone_on.fit(X, y, epochs=2, batch_size=40, verbose=0)
    found["gone on with"] = bool((gone_on.predict(X) == whole.predict(X)).all())
    found["lbfgs"] = whole.fit_lbfgs(X, y, max_iter=3, validation_data=(X, y), verbose=0).fingerprint()
    found["reference"] = make(backend="reference").fit(X, y, batch_size=64, verbose=0).fingerprint()
    chain = augment.Compose([augment.RandomShift(1), augment.Mixup(1.0)], shape=(2, 4))
    found["augmented"] = [make().fit(X, y, batch_size=64, augment=c, verbose=0).fingerprint() for c in (chain, None)]
    found["running"] = trainer.model[1].running_var.data.tolist()
    return found


def errors():
    """What is told of when processes differ."""
    X, y = samples()
    trainer = make(seed=0)  # the same weights by rank 0's
    rank, found = trainer.rank, {}
    found["model"] = raised(lambda: make(units=24 + rank))
    alike.__version__ = f"0.{rank}"
    found["version"] = raised(make)
    alike.__version__ = fastnn.__version__
    found["rows"] = raised(lambda: trainer.fit(X[: ROWS - rank], y[: ROWS - rank], verbose=0))
    found["setting"] = raised(lambda: trainer.fit(X, y, batch_size=32 + rank, verbose=0))
    found["label"] = raised(lambda: trainer.fit(X, y - 1, verbose=0))

    def fail(step, logs):
        if step == 2 and rank == 1:
            raise OSError("the disk is full")

    found["callback"] = raised(lambda: trainer.fit(X, y, verbose=0, callbacks=[callbacks.Lambda(on_step_end=fail)]))
    found["steps"] = trainer.steps_done
    found["call"] = raised(lambda: trainer.evaluate(X, y) if rank else trainer.predict(X))
    found["well"] = trainer.fit(X, y, verbose=0).fingerprint()
    if rank == 0:
        found["end"] = raised(lambda: trainer.evaluate(X, y))
    assert rank or RankError.__name__ in found["end"]
    return found


def aborted():
    """An exception in the middle of an exchange."""
    X, y = samples()
    trainer = make()
    if trainer.rank == 1:
        executor.blocks = None
    trainer.fit(X, y, epochs=10**6, verbose=0)


def killed():
    """A process that is killed in the middle."""
    X, y = samples()
    trainer = make()

    def die(step, logs):
        if step == 5 and trainer.rank == trainer.ranks - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    trainer.fit(X, y, epochs=10**6, verbose=0, callbacks=[callbacks.Lambda(on_step_end=die)])


if __name__ == "__main__":
    result = {"digests": digests, "errors": errors, "aborted": aborted, "killed": killed}[NAME]()
    from mpi4py import MPI

    with open(os.path.join(FOLDER, f"{MPI.COMM_WORLD.Get_rank()}.json"), "w") as file:
        json.dump(result, file)
