"""What `Trainer.fit` does: the checks of its arguments, and the loop over epochs. Which rows a native call takes is the data source's
business, what is done with an epoch's numbers the callbacks'."""

import math
import time

import numpy as np

from ..core.checks import number
from ..init import check_seed
from ..regularizers import penalized
from .arrays import checked_data, validation_pair
from .callbacks.base import check_callbacks, overriding
from .checks import check_batch, count, warn_not_finite
from .loop import Loop
from .metrics import Metrics
from .position import Tally
from .progress import progress
from .sources import ArraySource, AugmentedSource
from .streamed import IterableSource, is_iterable


def start(trainer, X, y, epochs, batch_size, validation_data, shuffle, seed, drop_last, check_finite, callbacks, verbose,
          sample_weight, max_seconds, validation_split, validation_freq, class_weight, metrics, steps_per_epoch, accumulate,
          augment):
    """All of `Trainer.fit`, whose docstring says what the arguments are."""
    epochs, batch_size, accumulate = count(epochs, "epochs", 0), count(batch_size, "batch_size", 1), count(accumulate, "accumulate", 1)
    validation_freq = count(validation_freq, "validation_freq", 1)
    if accumulate > 1 and trainer.loss.reduction == "sum" and any(True for _ in penalized(trainer.model, trainer.penalty)):
        raise ValueError("accumulate: expected a loss that is a mean where weights have penalties, got one that is a sum")
    if is_iterable(X, y):
        for name, given in (("sample_weight", sample_weight is not None), ("validation_split", validation_split)):
            if given:
                raise ValueError(f"{name}: expected none with an iterable, whose items may be (X, y, sample_weight), and which cannot be cut")
        if augment is not None:
            raise ValueError("augment: expected none with an iterable, whose items may be changed before they are given")
        validation = validation_pair(trainer.model, trainer.loss, validation_data)
        source = IterableSource(X, trainer, steps_per_epoch, class_weight, check_finite, epochs, accumulate)
        targets = None
    else:
        if steps_per_epoch is not None:
            raise ValueError("steps_per_epoch: expected none with arrays, of which an epoch takes all rows, got one")
        train, validation = checked_data(trainer, X, y, sample_weight, validation_data, check_finite, validation_split, class_weight)
        source, targets = _arrays(trainer, train, batch_size, shuffle, drop_last, accumulate, augment), train.y
    metrics = Metrics(metrics, trainer.model, trainer.loss)
    for data in (source.data if targets is not None else None, validation):
        if data is not None:
            metrics.check_targets(data.y, data.names[1])
    everywhere = check_callbacks(callbacks)
    callbacks = trainer.together.mine(everywhere)
    if seed is not None:
        seed = check_seed(seed)
        if trainer.steps_done and seed != trainer.seed:
            raise ValueError(f"seed: expected none or {trainer.seed} once steps have run, got {seed}")
    if max_seconds is not None:
        max_seconds = number(max_seconds, "max_seconds", 0.0)
    with trainer._lock, trainer._in_fit:
        trainer._refresh()
        display, before = progress(trainer.together.verbose(verbose), epochs, source.rows), trainer.data_in_fit  # a callback may fit, too
        try:
            run = Fit(trainer, source, validation, callbacks, display, check_finite, max_seconds, metrics, validation_freq)
            run.one_by_one = bool(overriding(everywhere, "on_step_end"))
            settings = {**run.settings(), "epochs to come": epochs, "callbacks": [type(c).__name__ for c in everywhere], "seed of fit": seed,
                        "metrics": metrics.names, "validation_freq": validation_freq, "check_finite": check_finite}
            trainer.together.check(trainer, settings, [d for d in (source.data if targets is not None else None, validation) if d is not None])
            if seed is not None:
                trainer.seed = seed
            if targets is not None:
                trainer._learn_targets(targets)
            elif trainer.loss.class_weight == "balanced":
                raise ValueError("loss: expected class weights that are numbers for an iterable, since 'balanced' needs all rows at once")
            trainer.data_in_fit = source.data if targets is not None else None
            return run.train(epochs)
        finally:
            trainer.data_in_fit = before
            display.close()


def _arrays(trainer, train, batch_size, shuffle, drop_last, accumulate, augment):
    """The source of batches of arrays."""
    model, loss, rows = trainer.model, trainer.loss, len(train.X)
    batch_size = min(batch_size, rows) if not drop_last else batch_size
    if drop_last:
        rows -= rows % batch_size
        if not rows:
            raise ValueError(f"batch_size: expected at most {len(train.X)} rows with drop_last, got {batch_size}")
    accumulate, parts = min(accumulate, -(-rows // batch_size)), trainer.together.parts(batch_size)
    whole, part = batch_size * accumulate, -(-batch_size // parts)
    check_batch(model, part, "batch_size")
    for batch, name, hint in ((whole, "the last part of a batch", ""), (rows % whole, "the last batch", "; drop_last=True leaves it out")):
        if batch:
            check_batch(model, trainer.together.smallest(batch, part), name, hint)
    if augment is None:
        return ArraySource(train, rows, whole, shuffle, accumulate * parts)
    if not callable(augment) or isinstance(augment, type):
        got = f"the class {augment.__name__}; write it with its arguments" if isinstance(augment, type) else type(augment).__name__
        raise TypeError(f"augment: expected one of fastnn.data.augment, or a function, got {got}; write augment.Compose([...]) for a list")
    if not isinstance(train.X, np.ndarray):
        raise ValueError("augment: expected a dense array of images with the channels last, got sparse rows; write X.toarray()")
    if model.channels_first:
        raise ValueError(
            "augment: expected images with the channels last, got a model whose nn.Input has them first; write nn.Input(height, width, "
            "channels) and numpy.moveaxis(X, 1, -1)"
        )
    source = AugmentedSource(augment, train, rows, whole, shuffle, accumulate * parts)
    if source.mixes and (loss.ignore_index is not None or "any" in loss.kinds):
        what = f"{type(loss).__name__}" + " with ignore_index" * (loss.ignore_index is not None)
        raise ValueError(f"augment: expected one of fastnn's losses, without ignore_index, where Mixup mixes labels, got {what}")
    return source


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
        self.one_by_one = bool(self.stepwise)
        self.watching = overriding(callbacks, "on_progress")
        self.warned = False
        self.before = 0  # rows of the present epoch that were done before this call

    def prepare(self):
        self.source.prepare(self.trainer, bool(self.metrics))

    def settings(self):
        return {**super().settings(), **self.source.settings()}

    def epoch(self, number):
        """One epoch, or what is left of one that was broken off. Returns whether it came to its end."""
        trainer, source = self.trainer, self.source
        epoch = trainer.epochs_done
        for c in self.callbacks:
            c.on_epoch_begin(epoch)
        if self.stops():
            return False
        position = trainer._begin_epoch(source.key(trainer.seed))
        self.display.begin(number)
        position.begin(time.perf_counter())
        self.before = position.tally.rows
        if self.before:
            self.display.advance(self.before, self.logs(position.tally))
        source.open(epoch, trainer.seed, position.tally)
        while not source.is_done(position.tally):
            self.slice(position, epoch)
            if self.stops() and not source.is_done(position.tally):
                self.break_off()
                return False
        if position.tally.left_out == position.tally.rows and not self.warned:
            self.warned = warn_not_finite(np.empty(0), epoch, 0)
        logs = {**self.logs(position.tally), "seconds": position.end(time.perf_counter())}
        source.close(position.tally)
        if self.metrics:
            logs |= self.metrics(*position.seen(getattr(source, "targets", None)))
        self.close(epoch, number, position.tally.rows, logs, (epoch + 1, None, trainer._progress[2] + source.drawn(position.tally)))
        return True

    def slice(self, position, epoch):
        """Some steps in one native call, and all who are told of them."""
        trainer, before = self.trainer, position.tally
        part = self.source.part(before, 1 if self.one_by_one else trainer._most_steps())
        clock = (epoch, before.batches - before.skipped, self.source.steps or math.inf)
        left = max(self.deadline - time.perf_counter(), 1e-9)
        outputs = position.room(part, trainer._room_for_outputs, self.source.rows) if self.metrics else None
        # a step that would be the first of a loss that is not finite is looked at before it is done, by the next call
        watch = not (self.warned or trainer.optimizer.skip_nonfinite)
        result, losses = trainer._run_part(part, clock, self.check_finite, position, left, outputs, watch)
        tally = position.tally
        if result.problem:
            from .diagnosis import first_not_finite

            loss, where = first_not_finite(trainer, part, result.steps)
            self.warned = warn_not_finite([loss], epoch, before.batches + result.steps, where)
            if not result.steps:
                return
        if not (self.warned or np.isfinite(tally.loss_sum)):
            self.warned = warn_not_finite(losses, epoch, before.batches)
        rows, logs = tally.rows - before.rows, self.logs(tally)
        self.display.advance(rows, logs)
        for c in self.stepwise:
            c.on_step_end(trainer.steps_done, {"loss": float(losses[-1]) if rows > tally.left_out - before.left_out else math.nan})
        for c in self.watching:
            c.on_progress(trainer.steps_done, dict(logs))
        if time.perf_counter() >= self.deadline:
            trainer.stop_training = True

    def logs(self, tally):
        """The numbers of an epoch so far."""
        return self.trainer._logs(tally.loss_sum, tally.correct, tally.rows - tally.left_out)

    def stop(self):
        position = self.trainer._settle()
        self.source.close(Tally() if position is None else position.tally)

    def break_off(self):
        position, epoch = self.trainer._settle(), self.trainer.epochs_done
        if position is not None and epoch not in self.history.epochs and position.tally.rows > self.before:
            logs = {**self.logs(position.tally), "seconds": position.end(time.perf_counter())}
            self.history.add(epoch, position.tally.rows, logs, self.names)
            self.history.broken_off = (epoch, position.tally.batches)
