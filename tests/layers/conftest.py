"""What the layers' tests need."""

import pytest

import fastnn

from layer_models import threads


@pytest.fixture(autouse=True)
def as_it_was():
    work, threads, isa = fastnn._native.team_work(), fastnn.get_num_threads(), fastnn.get_isa()
    yield
    fastnn._native.team_work(work)
    fastnn.set_num_threads(threads)
    fastnn.use_isa(isa)
