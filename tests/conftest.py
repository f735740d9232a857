"""Settings of the whole suite, made before fastnn is imported, and what tests of several files need."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

pytest.register_assert_rewrite(*(path.stem for path in (Path(__file__).parent / "helpers").glob("*.py")))

# Programs begun in the background by a shell without job control ignore Ctrl-C, and so would their children; tests send it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests run teams larger than the machine, beside other work: members that wait should sleep, not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@contextlib.contextmanager
def _team(threads):
    import fastnn

    before, work = fastnn.get_num_threads(), fastnn._native.team_work(0)
    fastnn.set_num_threads(threads)
    try:
        yield
    finally:
        fastnn.set_num_threads(before)
        fastnn._native.team_work(work)


@pytest.fixture(scope="session")
def team():
    """``with team(threads):`` has every call made by a team of that many threads, however little work it is."""
    return _team
