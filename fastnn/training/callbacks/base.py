"""Callback: what a user's code may do while a model trains; and the plainest of them, made of functions."""

from typing import Any

class Callback:
    """Base of the callbacks; override what you need. `trainer` is set before the first call.

    `logs` is a dict of the numbers so far. ``self.trainer.stop_training = True`` ends the training at once: before the next step in
    `on_step_end`, the next epoch in `on_epoch_end`. Overriding `on_step_end` makes every step a call of its own; nothing else costs
    anything. What a callback raises ends `fit`; the trainer can go on from there.

    Examples
    --------
    >>> class Stop(callbacks.Callback):
    ...     def on_epoch_end(self, epoch, logs):
    ...         self.trainer.stop_training = logs["loss"] < 10
    """

    trainer: Any = None
    writes_files = False  # True: in a training by several processes, for the first of them alone

    def check_names(self, names) -> None:
        """Before anything is called or changed: the names of the numbers that an epoch of this `fit` has. What a callback needs
        and does not find there is best refused here, by a ValueError."""

    def on_train_begin(self) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, epoch) -> None:
        """Before epoch number `epoch`, counted from 0 over the trainer's life."""

    def on_step_end(self, step, logs) -> None:
        """After each step; logs: loss."""

    def on_progress(self, step, logs) -> None:
        """After each stretch of steps, about every 50 ms and where an epoch ends; logs: the epoch's loss so far, and accuracy where
        the loss has one."""

    def extra_logs(self) -> dict[str, float]:
        """More numbers for the logs and the history of an epoch, asked for when its steps are done: a dict whose names are
        always the same."""
        return {}

    def on_epoch_end(self, epoch, logs) -> None:
        """After each epoch; logs: loss, accuracy where the loss has one, and val_loss, val_accuracy with validation data."""

    def after_epoch(self, epoch, logs) -> None:
        """After `on_epoch_end` of all callbacks: for what saves their states."""

    def before_end(self) -> None:
        """Training has ended, by an exception perhaps, and no callback has put anything back yet: for what saves it as it is."""

    def on_train_end(self) -> None:
        """After the last epoch."""

    def on_exception(self, error) -> None:
        """In place of `on_train_end` where training ends with an exception, KeyboardInterrupt included, which `fit` raises again."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the callback: a dict of numbers, strings, lists and dicts of them, and arrays."""
        return {}

    def load_state_dict(self, state) -> None:
        """Take over what `state_dict` gave: called behind `on_train_begin` where training is resumed from a checkpoint."""


class Lambda(Callback):
    """A callback of functions, each called as the method of its name.

    Parameters
    ----------
    on_train_begin, on_train_end : callable, optional
        Of no arguments.
    on_epoch_begin : callable, optional
        ``(epoch)``.
    on_step_end, on_progress : callable, optional
        ``(step, logs)``. With `on_step_end` every step is a call of its own.
    on_epoch_end : callable, optional
        ``(epoch, logs)``.

    Raises
    ------
    TypeError
        If one cannot be called.

    Examples
    --------
    >>> X, y = data.load_digits()
    >>> model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 10))
    >>> trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()))
    >>> seen = []
    >>> note = callbacks.Lambda(on_epoch_end=lambda epoch, logs: seen.append(logs["loss"]))
    >>> history = trainer.fit(X, y, epochs=2, callbacks=[note], verbose=0)
    >>> seen == history["loss"]
    True
    """

    def __init__(self, *, on_train_begin=None, on_epoch_begin=None, on_step_end=None, on_progress=None, on_epoch_end=None,
                 on_train_end=None) -> None:
        given = {k: v for k, v in locals().items() if k.startswith("on_") and v is not None}
        for name, function in given.items():
            if not callable(function):
                raise TypeError(f"{name}: expected a function, got {function!r}")
            setattr(self, name, function)


def overriding(callbacks, name):
    """Those of the callbacks that have a method of that name of their own."""
    return [c for c in callbacks if getattr(type(c), name) is not getattr(Callback, name) or name in vars(c)]


def check_callbacks(callbacks):
    """A list of callbacks, or TypeError."""
    if isinstance(callbacks, Callback):
        raise TypeError(f"callbacks: expected a list, got a single {type(callbacks).__name__}; write [callback]")
    callbacks = list(callbacks or ())
    for i, c in enumerate(callbacks):
        if not isinstance(c, Callback):
            raise TypeError(f"callbacks[{i}]: expected a fastnn.callbacks.Callback, got {type(c).__name__}")
    return callbacks
