"""The loop over epochs that every kind of training goes through: who is told, what is recorded, and how it ends."""

import warnings

from .checks import watched
from .history import History


class Loop:
    """One call of `fit`, once its arguments are checked. A subclass does the work of an epoch."""

    def __init__(self, trainer, validation, callbacks, display, plateaus=(), metrics=None, validation_freq=1):
        self.trainer, self.validation, self.callbacks, self.display = trainer, validation, callbacks, display
        self.plateaus, self.metrics, self.validation_freq = plateaus, metrics, validation_freq
        self.history = History()
        self.ended = False  # as it should
        self.names = self._names()

    def _names(self):
        """The names of an epoch's numbers. ValueError where one that is to be watched is not among them."""
        mine = ["loss", *["accuracy"] * self.trainer.loss.accurate, *(self.metrics.names if self.metrics else ())]
        names = [*mine, "seconds"]
        for c in self.callbacks:
            c.trainer = self.trainer
            for name in c.extra_logs():
                if name in names or name.startswith("val_"):
                    raise ValueError(f"callbacks: expected another name than {name!r} for a number of {type(c).__name__}; an epoch has it")
                names.append(name)
        names += [f"val_{name}" for name in mine if self.validation is not None]
        for p in self.plateaus:
            watched(p, names)
        for c in self.callbacks:
            c.check_names(tuple(names))
        return names

    def prepare(self):
        """What does not fit shows here, before anything is called."""

    def settings(self):
        """What has a say in the weights besides model, loss and optimizer, for a fingerprint."""
        t = self.trainer
        return {"seed": t.seed, "clip_norm": t.clip_norm, "penalty": repr(t.penalty), "steps": t.steps_done, "epochs": t.epochs_done}

    def epoch(self, number):
        """The work of an epoch, which ends in `close`. Returns whether it came to its end."""
        raise NotImplementedError

    def stop(self):
        """No epoch comes any more."""

    def break_off(self):
        """Record what there is of an epoch that ends before its time."""

    def train(self, epochs):
        """All epochs. The history is the trainer's from the beginning on."""
        trainer = self.trainer
        self.prepare()
        trainer.history = self.history
        trainer.stop_training = False
        try:
            for c in self.callbacks:
                c.on_train_begin()
            self.resume()
            for number in range(1, epochs + 1):
                if self.stops() or not self.epoch(number):
                    break
            self.stop()
            self.ended = True
            for c in self.callbacks:
                c.before_end()
            for c in self.callbacks:
                c.on_train_end()
        except BaseException as error:
            self.end_by(error)
            raise
        finally:
            self.history.end(trainer, self.settings())
        return self.history

    def stops(self):
        """Whether training is to end here."""
        stop = self.trainer.together.stops(self.trainer.stop_training)
        if stop:  # else another thread may be about to set it
            self.trainer.stop_training = True
        return stop

    def resume(self):
        """Hand what a checkpoint has of callbacks to those of the same class, in their order."""
        trainer = self.trainer
        waiting, trainer._resumed, trainer._callbacks = list(trainer._resumed or ()), None, self.callbacks
        for c in self.callbacks:
            at = next((i for i, (kind, _) in enumerate(waiting) if kind == type(c).__name__), None)
            if at is not None:
                try:
                    c.load_state_dict(waiting.pop(at)[1])
                except (KeyError, TypeError, ValueError) as error:
                    raise ValueError(f"callbacks: {type(c).__name__}: expected a state that it can take over, got another: {error}") from error

    def close(self, epoch, number, rows, logs, progress):
        """An epoch is over, of so many rows and with these numbers: validate, record, tell all who want to know. progress: what the
        trainer's is then."""
        trainer = self.trainer
        for c in self.callbacks:
            logs |= c.extra_logs()
        if self.validation is not None and (epoch + 1) % self.validation_freq == 0:
            logs |= {f"val_{k}": v for k, v in trainer._evaluate(self.validation, metrics=self.metrics).items()}
        logs = trainer.together.agreed(logs)
        self.history.add(epoch, rows, logs, self.names)
        trainer._progress = progress
        self.display.end(number, logs)
        for p in self.plateaus:
            if watched(p, self.names) in logs:
                p.step(logs[watched(p, self.names)])
        for c in self.callbacks:
            c.on_epoch_end(epoch, dict(logs))
        for c in self.callbacks:
            c.after_epoch(epoch, dict(logs))

    def end_by(self, error):
        """An exception ends training: what was done is counted and recorded, and the callbacks are told."""
        self.stop()
        self.break_off()
        for call in ["before_end"] * (not self.ended) + ["on_exception"]:
            for c in self.callbacks:
                try:
                    getattr(c, call)(*[error] * (call == "on_exception"))
                except Exception as another:  # the first is the one to be raised
                    what = f"{type(c).__name__}.{call}: {type(another).__name__}: {another}"
                    warnings.warn(f"{what}; it came while {type(error).__name__} ended the training", RuntimeWarning, stacklevel=5)
