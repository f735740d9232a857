"""Batches out of a data set that does not fit a cache: a random row is read, converted, scaled and written as float32."""

import numpy as np
import pytest


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_gather(timed, dtype):
    rng = np.random.default_rng(0)
    source = rng.integers(0, 256, (60000 if dtype == "uint8" else 20000, 784), np.uint8).astype(dtype)
    index = rng.integers(0, len(source), 1000)
    out = np.empty((1000, 784), np.float32)
    timed(
        f"gather {dtype} (1000, 784)",
        lambda module: module.gather(source, index, 1 / 255, 0.0, out),
        bytes=out.nbytes + out.size * source.itemsize,
    )
