"""What `fit` and its callbacks cost: ``python -m bench.fit``.

First an epoch through `fit` against its bare steps, one native call over rows in order: rows in order, bytes in order, bytes and float32
shuffled. Then an epoch with EarlyStopping, a Checkpoint each epoch, CSVLogger and validation, against the bare epoch plus the validation
by itself. Then what chains of `fastnn.data.augment` cost for each step, against the step that they feed. All in one process, taken in turn; the median of the rounds' ratios, and their quartiles.
"""

import argparse
import os
import tempfile
import time

import numpy as np

import fastnn
from fastnn import callbacks, losses, nn, optim
from fastnn.data import augment
from fastnn.executors import NativeExecutor


def _trainer(sizes):
    fastnn.manual_seed(0)
    model = nn.mlp(list(sizes))
    return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()))


def _seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _ratio(rounds, above, below):
    """The quartiles of the rounds' ratios of two sums."""
    ratios = [sum(r[name] for name in above) / sum(r[name] for name in below) for r in rounds]
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def _rounds(runs, count):
    """[{name: seconds} of each round]; a round before them warms up."""
    found = [{name: _seconds(run) for name, run in runs.items()} for _ in range(count + 1)]
    return found[1:]


def steps(count, sizes=(784, 100, 10), batch=100, rows=8000):
    """An epoch by `fit` beside its bare steps."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((rows, sizes[0]), np.float32)
    small = rng.integers(0, 256, (rows, sizes[0]), np.uint8)
    y = rng.integers(0, sizes[-1], rows)
    trainer = _trainer(sizes)
    bare = NativeExecutor(trainer.plan(batch))
    trainer.optimizer.prepare()
    rates = np.full((rows // batch, 1), 1e-3)
    runs = {"bare float32": lambda: bare.run(x, y, None, rates), "bare uint8": lambda: bare.run(small, y, None, rates)}
    for kind, X in (("float32", x), ("uint8", small)):
        for order, shuffle in (("in order", False), ("shuffled", True)):
            runs[f"{kind} {order}"] = lambda X=X, s=shuffle: trainer.fit(X, y, epochs=1, batch_size=batch, shuffle=s, verbose=0)
    found = _rounds(runs, count)
    for name in list(runs)[2:]:
        print(f"fit ÷ bare steps, {name}: {_ratio(found, [name], ['bare ' + name.split()[0]])}")


def watched(count, sizes=(784, 512, 512, 10), batch=128, rows=12800):
    """An epoch with callbacks beside the bare one and its validation."""
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((rows, sizes[0]), np.float32), rng.integers(0, sizes[-1], rows)
    held = x[:2000], y[:2000]
    trainer = _trainer(sizes)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "t.safetensors")
        watch = [callbacks.EarlyStopping(patience=10**6), callbacks.Checkpoint(path), callbacks.CSVLogger(os.path.join(folder, "log.csv"))]
        idle = [callbacks.Lambda(on_epoch_end=lambda epoch, logs: None)]
        runs = {
            "bare": lambda: trainer.fit(x, y, epochs=4, batch_size=batch, verbose=0),
            "validation": lambda: [trainer.evaluate(*held) for _ in range(4)],
            "idle": lambda: trainer.fit(x, y, epochs=4, batch_size=batch, verbose=0, callbacks=idle),
            "watched": lambda: trainer.fit(x, y, epochs=4, batch_size=batch, verbose=0, validation_data=held, callbacks=watch),
        }
        found = _rounds(runs, count)
    print(f"EarlyStopping, Checkpoint, CSVLogger and validation ÷ bare epoch + validation: {_ratio(found, ['watched'], ['bare', 'validation'])}")
    print(f"a callback that wants no steps ÷ none: {_ratio(found, ['idle'], ['bare'])}")


CHAINS = {
    "shift": [augment.RandomShift(2)],
    "shift, rotation": [augment.RandomShift(2), augment.RandomRotation(10)],
    "flip, crop": [augment.RandomFlip(), augment.RandomCrop(28, padding=4)],
    "rotation, zoom, contrast, noise, cutout": [augment.RandomRotation(10), augment.RandomZoom(0.1), augment.ColorJitter(0.2, 0.2),
                                                augment.Noise(9.0), augment.Cutout(8)],
    "shift, rotation, mixup": [augment.RandomShift(2), augment.RandomRotation(10), augment.Mixup(0.4)],
}  # fmt: skip


def augmented(count, sizes=(784, 100, 10), batch=100, rows=8000):
    """An epoch by `fit` on images of 28 x 28 bytes, as they are and made anew."""
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 256, (rows, sizes[0]), np.uint8), rng.integers(0, sizes[-1], rows)
    trainer = _trainer(sizes)
    chains = {"": None, **{name: augment.Compose(steps, shape=(28, 28)) for name, steps in CHAINS.items()}}
    runs = {name: lambda c=chain: trainer.fit(x, y, epochs=1, batch_size=batch, augment=c, verbose=0) for name, chain in chains.items()}
    found = _rounds(runs, count)
    step = 1e6 * batch / rows * np.median([r[""] for r in found])
    print(f"a step of {'-'.join(map(str, sizes))} @ {batch}: {step:.0f} us")
    for name in CHAINS:
        more = [{"more": r[name] - r[""], "step": r[""]} for r in found]
        print(f"augmentation ÷ the step that it feeds, {name}: {_ratio(more, ['more'], ['step'])}")


PARTS = {"steps": steps, "watched": watched, "augmented": augmented}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help="of steps, watched, augmented; all by default")
    arguments = parser.parse_args()
    for part in arguments.parts:
        PARTS[part](arguments.rounds)
