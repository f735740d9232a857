"""The command ``fastnn``: train a network on files, search for settings, predict and test with a saved one, export it, show what the package runs on.

A mistake of the user's is one line on standard error and exit code 2; Ctrl-C is 130. `main` may be called from Python.

    arguments     what the commands take, and their help      files       what they read
    training      fastnn train                                models      the network that options say
    tuning        fastnn tune
    prediction    fastnn predict, fastnn evaluate             optimizers  the optimizer that options say
    diagnosing    fastnn diagnose
    exporting     fastnn export                               report      scores, notes, JSON      errors  how commands end
"""

import os
import sys

from .arguments import make_parser
from .errors import Diverged, UsageError, reason, show

__all__ = ["main"]


def with_threads(args):
    """Run the command with the threads that it was told to use, then give the process its number back."""
    threads = getattr(args, "threads", None)
    if threads is None:
        return args.run(args)
    from ..core.runtime import get_num_threads, set_num_threads

    before = get_num_threads()
    set_num_threads(threads)
    try:
        return args.run(args)
    finally:
        set_num_threads(before)


def _fail(message, code):
    print("fastnn: " + " ".join(str(message).split()), file=sys.stderr, flush=True)
    return code


def main(argv=None) -> int:
    """Run the command ``fastnn``.

    Parameters
    ----------
    argv : list of str, optional
        The arguments after the name of the program; ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        The exit code: 0 done, 1 training diverged, 2 wrong arguments or files, 130 interrupted, 141 nobody reads the output.

    Examples
    --------
    >>> fastnn.cli.main(["--version"])
    fastnn 0.1.0
    0
    """
    try:
        parser = make_parser()
        try:
            args = parser.parse_args(argv)
        except SystemExit as done:  # --help and --version
            sys.stdout.flush()
            return done.code or 0
        if args.command is None:
            parser.print_help()
            return 0
        code = with_threads(args)
        sys.stdout.flush()
        return code
    except UsageError as error:
        return _fail(f"error: {error}", 2)
    except Diverged as error:
        return _fail(f"error: {error}", 1)
    except MemoryError:
        return _fail("error: not enough memory", 2)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        _close_stdout()
        return 141
    except OSError as error:
        _close_stdout()
        return _fail(f"error: {show(str(error.filename or 'standard output'))}: {reason(error)}", 2)


def _close_stdout():
    """So that the interpreter does not complain at exit about output that nobody takes."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError):  # no real file behind it
        pass
