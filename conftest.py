"""What the examples in docstrings find in their namespace."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _names_of_examples(doctest_namespace):
    import fastnn

    doctest_namespace["fastnn"] = fastnn
    doctest_namespace["np"] = np
    for name in ("callbacks", "data", "init", "kernels", "losses", "nn", "optim", "regularizers", "schedules"):
        doctest_namespace[name] = getattr(fastnn, name)
