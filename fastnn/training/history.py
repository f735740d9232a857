"""History: what `fit` returns."""


class History(dict):
    """What `fit` returns: a dict from the name of a number to the list of its values, one for each epoch.

    Names: loss, accuracy where the loss has one, seconds, and with validation data val_loss and val_accuracy. Loss and
    accuracy are means over the epoch's samples (the loss their sum, where it is one) as they were trained on, so the weights
    moved meanwhile. Steps that were left out because their gradients were not finite are in neither of them.
    """

    def __repr__(self):
        """Short, since a notebook shows it where `fit` ends a cell; ``dict(history)`` has all."""
        epochs = max(map(len, self.values()), default=0)
        what = f"{epochs} epoch{'' if epochs == 1 else 's'}"
        if epochs:
            ends = (f"{k} {v[0]:.4g} -> {v[-1]:.4g}" for k, v in self.items() if k != "seconds")
            what = f"{what}, {sum(self.get('seconds', ())):.3g} s: {', '.join(ends)}"
        return f"<History of {what}>"

    @property
    def history(self):
        """The dict itself, for code that knows Keras."""
        return self

    def add(self, logs):
        """Append an epoch."""
        for k, v in logs.items():
            self.setdefault(k, []).append(v)
