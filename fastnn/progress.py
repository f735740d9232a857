"""What training shows in a terminal: a progress bar (tqdm), a line an epoch, or nothing."""


class Silent:
    """Shows nothing; the interface of the others."""

    def __init__(self, epochs, rows):
        self.epochs, self.rows = epochs, rows

    def begin(self, number):
        """Epoch `number` (from 1) begins."""

    def advance(self, rows, logs):
        """`rows` more rows are done; logs: the epoch's numbers so far."""

    def end(self, number, logs):
        """Epoch `number` is done; logs: its numbers."""

    def close(self):
        """Training is over."""


def _spell(logs):
    return ", ".join(f"{k} {v:.4f}" for k, v in logs.items() if k != "seconds")


class Bar(Silent):
    """One bar for the whole run, with the current epoch's loss and accuracy, and samples per second."""

    def __init__(self, epochs, rows):
        from tqdm.auto import tqdm

        super().__init__(epochs, rows)
        self._bar = tqdm(total=epochs * rows, unit=" samples", unit_scale=True, dynamic_ncols=True)
        self._validation = ""

    def begin(self, number):
        self._bar.set_description(f"epoch {number}/{self.epochs}", refresh=False)

    def advance(self, rows, logs):
        self._bar.set_postfix_str(_spell(logs) + self._validation, refresh=False)
        self._bar.update(rows)

    def end(self, number, logs):
        validation = {k: v for k, v in logs.items() if k.startswith("val_")}
        self._validation = ", " + _spell(validation) if validation else ""
        self._bar.set_postfix_str(_spell(logs), refresh=False)

    def close(self):
        self._bar.refresh()
        self._bar.close()


class Lines(Silent):
    """A line an epoch, on standard output."""

    def end(self, number, logs):
        rate = self.rows / logs["seconds"] if logs["seconds"] else 0.0
        print(f"epoch {number}/{self.epochs}: {_spell(logs)}, {rate:,.0f} samples/s", flush=True)


def progress(verbose, epochs, rows):
    """The display for `verbose`: 0 nothing, 1 a bar, 2 a line an epoch."""
    if verbose not in (0, 1, 2):
        raise ValueError(f"verbose: expected 0 (silent), 1 (progress bar) or 2 (a line an epoch), got {verbose!r}")
    return (Silent, Bar, Lines)[int(verbose)](epochs, rows)
