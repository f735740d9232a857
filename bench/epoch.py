"""An epoch through fastnn's `fit`, against the sum of its bare steps.

`fit` shuffles: it draws a permutation, gathers rows at random places and comes back to Python every 50 ms. Three
figures of "bare" stand beside it, each for as many steps as the epoch has, all in the same process and taken in turn:

    step    `trainer.step(xb, yb)` on the epoch's batches in order, contiguous and ready
    call    one native call over the same rows in order, so that nothing is gathered
    hot     one native call over one batch again and again, which stays in cache
"""

import time

import numpy as np

from .peers import fastnn as peer
from .works import LEARNING_RATE, Work, weights

ROWS, BATCH, SIZES = 8000, 100, (784, 100, 10)


def _seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(rounds):
    """{"fit": [seconds of each round], "step": ..., "call": ..., "hot": ...}"""
    fastnn = peer.fastnn
    work = Work("train", SIZES, BATCH)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((ROWS, SIZES[0]), np.float32)
    y = rng.integers(0, SIZES[-1], ROWS)
    steps = ROWS // BATCH
    model = peer.model(work, weights(work))
    start = [p.data.copy() for p in model.parameters()]
    rates = np.full((steps, 1), LEARNING_RATE)
    ready = [(x[i : i + BATCH], y[i : i + BATCH]) for i in range(0, ROWS, BATCH)]
    again = np.tile(np.arange(BATCH), steps)

    def bare(trainer, executor):
        for xb, yb in ready:
            trainer.step(xb, yb)

    runs = {
        "fit": lambda trainer, executor: trainer.fit(x, y, epochs=1, batch_size=BATCH, verbose=0),
        "step": bare,
        "call": lambda trainer, executor: executor.run(x, y, None, rates),
        "hot": lambda trainer, executor: executor.run(x, y, again, rates),
    }
    found = {name: [] for name in runs}
    for i in range(rounds + 1):
        for name, run in runs.items():
            for p, value in zip(model.parameters(), start):  # all start from the same weights, as in their first epoch
                p.data = value
            optimizer = fastnn.optim.Adam(model.parameters(), lr=LEARNING_RATE)
            trainer = fastnn.Trainer(model, fastnn.losses.SoftmaxCrossEntropy(), optimizer)
            executor = fastnn.executors.NativeExecutor(trainer.plan(BATCH))
            optimizer.prepare()
            trainer.step(*ready[0])  # makes the trainer's own plan
            executor.run(*ready[0], None, rates[:1])
            seconds = _seconds(lambda: run(trainer, executor))
            if i:  # the first round warms up
                found[name].append(seconds)
    return {"seconds": found, "rows": ROWS, "batch": BATCH, "net": work.name}
