"""What ends a command: one line, and an exit code."""

import contextlib
import os


class UsageError(Exception):
    """What the user has to change, in one line."""


class Diverged(Exception):
    """Training led to a loss that is no number."""


def show(name):
    """A file's name for a message: as it is, or quoted where it would not be one readable line."""
    return name if name.isprintable() and name else repr(name)


def reason(error):
    """An exception in a few words, without the number and the name that OSError repeats."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    return getattr(error, "strerror", None) or str(error)


def check_output(name, *inputs, argument="--output"):
    """Raise unless a file of that name could be written now, and is none of the inputs; nothing is left behind."""

    def refuse(why):
        return UsageError(f"argument {argument}: expected a file that can be written, got {show(name)}: {why}")

    target = os.path.realpath(name)
    probe = os.path.join(os.path.dirname(target), f".fastnn-{os.urandom(8).hex()}.tmp")
    if not name or name.endswith(os.sep) or os.path.isdir(target):
        raise refuse("it is a folder" if name else "an empty name")
    if os.path.exists(target) and not os.path.isfile(target):
        raise refuse("it is not a regular file")
    for other in inputs:
        if other is not None and os.path.exists(target) and os.path.exists(other) and os.path.samefile(target, other):
            raise refuse("the command reads from it")
    try:
        with contextlib.suppress(FileNotFoundError):
            os.lstat(name)  # fails for a name that is too long
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.unlink(probe)
    except (OSError, ValueError) as error:
        raise refuse(reason(error)) from None


def check_plot(name):
    """Raise unless matplotlib can draw into a file of that name; it opens no window then."""
    try:
        import matplotlib
    except ImportError:
        raise UsageError("argument --plot: expected matplotlib to be installed: pip install fastnn[plot]") from None
    matplotlib.use("agg")
    if not name.lower().endswith((".png", ".pdf", ".svg")):
        raise UsageError(f"argument --plot: expected a name that ends in .png, .pdf or .svg, got {show(name)}")


def check_memory(needed, message):
    """Raise for more memory than the machine has."""
    try:
        held = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return  # a system that does not tell
    if needed > held > 0:
        raise UsageError(f"{message}, which need {needed / 1e9:,.0f} GB of the machine's {held / 1e9:,.0f} GB")
