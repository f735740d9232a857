"""What the examples in docstrings find in their namespace."""

import numpy as np
import pytest

import fastnn


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace):
    doctest_namespace["fastnn"] = fastnn
    doctest_namespace["np"] = np
