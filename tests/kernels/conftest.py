"""What the kernels' tests need before each."""

import pytest

import fastnn
from fastnn import _native


@pytest.fixture(autouse=True)
def teams_for_the_smallest_work():
    work, threads, isa = _native.team_work(), fastnn.get_num_threads(), fastnn.get_isa()
    _native.team_work(0)
    yield
    _native.team_work(work)
    fastnn.set_num_threads(threads)
    fastnn.use_isa(isa)
