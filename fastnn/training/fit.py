"""What `Trainer.fit` does: the checks of its arguments, and the loop over epochs. Which rows a native call takes is the data source's
business, what is done with an epoch's numbers the callbacks'."""

import math
import time

import numpy as np

from ..core.checks import number
from ..init import check_seed
from .arrays import checked_data
from .callbacks.base import check_callbacks, overriding
from .checks import check_batch, count, warn_not_finite
from .loop import Loop
from .metrics import Metrics
from .progress import progress
from .sources import ArraySource


def start(trainer, X, y, epochs, batch_size, validation_data, shuffle, seed, drop_last, check_finite, callbacks, verbose,
          sample_weight, max_seconds, validation_split, validation_freq, class_weight, metrics):
    """All of `Trainer.fit`, whose docstring says what the arguments are."""
    epochs, batch_size = count(epochs, "epochs", 0), count(batch_size, "batch_size", 1)
    model = trainer.model
    train, validation = checked_data(trainer, X, y, sample_weight, validation_data, check_finite, validation_split, class_weight)
    metrics = Metrics(metrics, model, trainer.loss)
    for data in (train, validation):
        if data is not None:
            metrics.check_targets(data.y, data.names[1])
    validation_freq = count(validation_freq, "validation_freq", 1)
    callbacks = check_callbacks(callbacks)
    rows = len(train.X)
    batch_size = min(batch_size, rows) if not drop_last else batch_size
    if drop_last:
        rows -= rows % batch_size
        if not rows:
            raise ValueError(f"batch_size: expected at most {len(train.X)} rows with drop_last, got {batch_size}")
    check_batch(model, batch_size, "batch_size")
    if rows % batch_size:
        check_batch(model, rows % batch_size, "the last batch", "; drop_last=True leaves it out")
    if seed is not None:
        seed = check_seed(seed)
        if trainer.steps_done and seed != trainer.seed:
            raise ValueError(f"seed: expected none or {trainer.seed} once steps have run, got {seed}")
    if max_seconds is not None:
        max_seconds = number(max_seconds, "max_seconds", 0.0)
    with trainer._in_fit():
        display, before = progress(verbose, epochs, rows), trainer.data_in_fit  # a callback may fit, too
        try:
            source = ArraySource(train, rows, batch_size, shuffle)
            run = Fit(trainer, source, validation, callbacks, display, check_finite, max_seconds, metrics, validation_freq)
            if seed is not None:
                trainer.seed = seed
            trainer._learn_targets(train.y)
            trainer.data_in_fit = train
            return run.train(epochs)
        finally:
            trainer.data_in_fit = before
            display.close()


class Fit(Loop):
    """Training by steps.

    Every native call does as many whole steps as there is time for, or one where a callback wants to see each. How far an epoch is
    stands in a Position that is the trainer's, so that one that is broken off can be gone on with.
    """

    def __init__(self, trainer, source, validation, callbacks, display, check_finite, max_seconds, metrics, validation_freq):
        super().__init__(trainer, validation, callbacks, display, trainer.optimizer.plateaus, metrics, validation_freq)
        self.source, self.check_finite = source, check_finite
        self.deadline = math.inf if max_seconds is None else time.perf_counter() + max_seconds
        self.stepwise = overriding(callbacks, "on_step_end")
        self.watching = overriding(callbacks, "on_progress")
        self.warned = False
        self.before = 0  # rows of the present epoch that were done before this call

    def prepare(self):
        self.trainer._executor(self.source.batch, self.source.data, True, bool(self.metrics))

    def settings(self):
        return {**super().settings(), **self.source.settings()}

    def epoch(self, number):
        """One epoch, or what is left of one that was broken off. Returns whether it came to its end."""
        trainer, source = self.trainer, self.source
        epoch = trainer.epochs_done
        for c in self.callbacks:
            c.on_epoch_begin(epoch)
        if trainer.stop_training:
            return False
        position = trainer._begin_epoch(source.key(trainer.seed))
        self.display.begin(number)
        position.begin(time.perf_counter())
        self.before = position.tally.rows
        if self.before:
            self.display.advance(self.before, self.logs(position.tally))
        source.open(epoch, trainer.seed)
        if self.metrics and position.outputs is None:
            position.outputs, position.outputs_from = trainer._room_for_outputs(source.rows), self.before
        while not source.is_done(position.tally):
            self.slice(position, epoch)
            if trainer.stop_training and not source.is_done(position.tally):
                self.break_off()
                return False
        if position.tally.left_out == position.tally.rows and not self.warned:
            self.warned = warn_not_finite(np.empty(0), epoch, 0)
        logs = {**self.logs(position.tally), "seconds": position.end(time.perf_counter())}
        if self.metrics:
            begin = position.outputs_from  # those before were another process's
            logs |= self.metrics(source.targets(begin), position.outputs[begin:])
        self.close(epoch, number, position.tally.rows, logs, (epoch + 1, None))
        return True

    def slice(self, position, epoch):
        """Some steps in one native call, and all who are told of them."""
        trainer, before = self.trainer, position.tally
        part = self.source.part(before, 1 if self.stepwise else trainer._most_steps())
        clock = (epoch, before.batches - before.skipped, self.source.steps)
        left = max(self.deadline - time.perf_counter(), 1e-9)
        outputs = position.outputs[part.begin : part.end] if self.metrics else None
        result, losses = trainer._run_part(part, clock, self.check_finite, position, left, outputs)
        rows = position.tally.rows - before.rows
        if not (self.warned or np.isfinite(result.loss_sum)):
            self.warned = warn_not_finite(losses, epoch, before.batches)
        logs = self.logs(position.tally)
        self.display.advance(rows, logs)
        for c in self.stepwise:
            c.on_step_end(trainer.steps_done, {"loss": trainer._logs(result.loss_sum, 0, rows - result.left_out)["loss"]})
        for c in self.watching:
            c.on_progress(trainer.steps_done, dict(logs))
        if time.perf_counter() >= self.deadline:
            trainer.stop_training = True

    def logs(self, tally):
        """The numbers of an epoch so far."""
        return self.trainer._logs(tally.loss_sum, tally.correct, tally.rows - tally.left_out)

    def break_off(self):
        position, epoch = self.trainer._settle(), self.trainer.epochs_done
        if position is not None and epoch not in self.history.epochs and position.tally.rows > self.before:
            logs = {**self.logs(position.tally), "seconds": position.end(time.perf_counter())}
            self.history.add(epoch, position.tally.rows, logs, self.names)
            self.history.broken_off = (epoch, position.tally.batches)
