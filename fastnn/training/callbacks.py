"""Callbacks: what a user's code may do while a model trains."""

__all__ = ["Callback"]


def __dir__():
    return __all__


class Callback:
    """Base of the callbacks; override what you need. `trainer` is set before the first call.

    `logs` is a dict of the numbers so far. Set ``self.trainer.stop_training = True`` to end after the current epoch.
    Overriding `on_step_end` makes every step a call of its own; nothing else costs anything.

    Examples
    --------
    >>> class Stop(callbacks.Callback):
    ...     def on_epoch_end(self, epoch, logs):
    ...         self.trainer.stop_training = logs["loss"] < 10
    """

    trainer = None

    def on_train_begin(self):
        """Before the first epoch."""

    def on_epoch_begin(self, epoch):
        """Before epoch number `epoch`, counted from 0 over the trainer's life."""

    def on_step_end(self, step, logs):
        """After each step; logs: loss."""

    def on_epoch_end(self, epoch, logs):
        """After each epoch; logs: loss, accuracy where the loss has one, and val_loss, val_accuracy with validation data."""

    def on_train_end(self):
        """After the last epoch."""


def wants_steps(callback):
    """Whether the callback overrides `on_step_end`."""
    return type(callback).on_step_end is not Callback.on_step_end


def check_callbacks(callbacks):
    """A list of callbacks, or TypeError."""
    if isinstance(callbacks, Callback):
        raise TypeError(f"callbacks: expected a list, got a single {type(callbacks).__name__}; write [callback]")
    callbacks = list(callbacks or ())
    for i, c in enumerate(callbacks):
        if not isinstance(c, Callback):
            raise TypeError(f"callbacks[{i}]: expected a fastnn.callbacks.Callback, got {type(c).__name__}")
    return callbacks
