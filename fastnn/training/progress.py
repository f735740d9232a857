"""What training shows in a terminal: a progress bar (tqdm), a line an epoch, or nothing. It never ends a training: where there
is nothing to write to, or no more, nothing is shown.
"""

import sys
import warnings


class Silent:
    """Shows nothing; the interface of the others. rows: of an epoch, None where that is not known before one is over."""

    def __init__(self, epochs, rows):
        self.epochs, self.rows, self.done = epochs, rows, 0

    def begin(self, number):
        """Epoch `number` (from 1) begins."""

    def advance(self, rows, logs):
        """`rows` more rows are done; logs: the epoch's numbers so far."""

    def end(self, number, logs):
        """Epoch `number` is done; logs: its numbers."""

    def close(self):
        """Training is over."""


def _spell(logs, digits=".4f"):
    return ", ".join(f"{k} {v:{digits}}" for k, v in logs.items() if k != "seconds")


_TAIL = " {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]"
_TAIL_COLUMNS = 50  # of nearly all trainings
_BAR_COLUMNS = 10  # at least


def _layout(columns, head, logs):
    """What a bar shows in so many columns, as tqdm's bar_format: what comes first in `logs` and validation's loss matter most, then
    the bar, then the times. head: the columns of its description; columns None: as many as it takes."""
    logs = {k: v for k, v in logs.items() if k != "seconds"}
    important = {k: v for k, v in logs.items() if k.endswith("loss")}
    everything, losses = _spell(logs), _spell(important)
    bar = _BAR_COLUMNS + len("|| ")
    choices = [  # text, whether there are a bar and the times
        (everything, bar + _TAIL_COLUMNS, True, True),
        (everything, bar, True, False),
        (everything, 1, False, False),
        (losses, bar + _TAIL_COLUMNS, True, True),
        (losses, bar, True, False),
        (losses, 1, False, False),
        (_spell(important, ".3g"), 1, False, False),
        (_spell(dict(list(logs.items())[:1]), ".3g"), 1, False, False),
        ("", 0, False, False),
    ]
    for text, more, with_bar, with_times in choices:
        if columns is None or head + len("100%") + len(text) + more <= columns:
            break
    text = text.replace("{", "{{").replace("}", "}}")
    return "{desc}{percentage:3.0f}%" + ("|{bar}| " if with_bar else " " if text else "") + text + (_TAIL if with_times else "")


def _plain_bar():
    """tqdm's bar of text."""
    from tqdm.std import tqdm

    return tqdm


def _any_bar():
    """tqdm's bar for where this runs: of text, or a notebook's, if there are the widgets for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm warns where a notebook lacks widgets, and shows text
        from tqdm.auto import tqdm
    return tqdm


class Bar(Silent):
    """One bar for the whole run, with the current epoch's loss and accuracy, and samples per second."""

    def __init__(self, epochs, rows):
        super().__init__(epochs, rows)
        self._bar, self._logs, self._validation = None, {}, {}
        if sys.stderr is None or getattr(sys.stderr, "closed", False):  # a program without a console
            return
        options = {"total": None if rows is None else epochs * rows, "unit": " samples", "unit_scale": True, "dynamic_ncols": True}
        for find in (_any_bar, _plain_bar):
            try:
                self._bar = find()(**options)
            except Exception:  # widgets of another version, say
                continue
            break
        if self._bar is not None and not self._is_widget() and not self._terminal():
            self._bar.mininterval = 10.0  # a log, in which every state of the bar stays

    def _is_widget(self):
        return hasattr(self._bar, "container")

    @staticmethod
    def _terminal():
        try:
            return sys.stderr.isatty()
        except Exception:
            return False

    def _tell(self, act):
        """Have the bar do something; where it cannot be written to any more, there is none from then on."""
        if self._bar is None:
            return
        try:
            act(self._bar)
        except Exception:
            self._bar.disable = True  # or it would try again when it is deleted
            self._bar = None

    def _write(self, bar):
        """The numbers behind the bar, as there is room."""
        logs = {**self._logs, **self._validation}
        if self._is_widget():
            bar.set_postfix_str(_spell(logs), refresh=False)
            return
        bar.bar_format = _layout(bar.format_dict["ncols"], len(bar.desc or ""), logs)

    def begin(self, number):
        self._tell(lambda bar: bar.set_description(f"epoch {number}/{self.epochs}", refresh=False))

    def advance(self, rows, logs):
        self._logs, self.done = logs, self.done + rows

        def act(bar):
            self._write(bar)
            bar.update(rows)

        self._tell(act)

    def end(self, number, logs):
        self._logs = {k: v for k, v in logs.items() if not k.startswith("val_")}
        self._validation = {k: v for k, v in logs.items() if k.startswith("val_")}

        def act(bar):
            if bar.total is None:  # now an epoch's rows are known
                bar.total = self.done * self.epochs // number
            self._write(bar)

        self._tell(act)

    def close(self):
        self._tell(lambda bar: bar.refresh())
        self._tell(lambda bar: bar.close())


class Lines(Silent):
    """A line an epoch, on standard output."""

    def advance(self, rows, logs):
        self.done += rows

    def end(self, number, logs):
        rate, self.done = (self.done / logs["seconds"] if logs["seconds"] else 0.0), 0
        if sys.stdout is not None and not getattr(sys.stdout, "closed", False):
            print(f"epoch {number}/{self.epochs}: {_spell(logs)}, {rate:,.0f} samples/s", flush=True)


def progress(verbose, epochs, rows):
    """The display for `verbose`: 0 nothing, 1 a bar, 2 a line an epoch."""
    if verbose not in (0, 1, 2):
        raise ValueError(f"verbose: expected 0 (silent), 1 (progress bar) or 2 (a line an epoch), got {verbose!r}")
    return (Silent, Bar, Lines)[int(verbose)](epochs, rows)
