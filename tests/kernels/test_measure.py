"""What measures the machine: the peak of fused multiply-adds, streams through memory."""

import numpy as np
import pytest

import fastnn
from fastnn import _native

from kernel_checks import F32, F64, ISAS, V


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("literal", (False, True))
def test_fma_peak(isa, literal):
    """Each lane's chain s <- 0.999 s + 0.001 from its own number on, and the sum of all: each lane must have been computed."""
    fastnn.use_isa(isa)
    flops, _ = _native.fma_peak(1, literal)
    if literal and isa == "generic":
        assert flops == 0 and _native.fma_peak(100, literal) == (0, 0)
        return
    vectors = flops // (2 * V)
    assert vectors >= (1 if isa == "generic" else 5) and flops == 2 * V * vectors
    a, b, s = F32(0.999), F32(0.001), np.arange(V * vectors, dtype=F32).reshape(vectors, V)
    for rounds in range(200):
        if rounds in (0, 1, 2, 17, 199):
            lanes = s
            while lanes.shape[1] > 1:  # the kernels' order of addition
                half = lanes.shape[1] // 2
                lanes = lanes[:, :half] + lanes[:, half:]
            total = F32(0)
            for vector in lanes[:, 0]:
                total += vector
            assert _native.fma_peak(rounds, literal) == (rounds * flops, total)
        # the product is exact in float64
        s = s * a + b if isa == "generic" else (s.astype(F64) * F64(a) + F64(b)).astype(F32)


def test_fma_peak_of_doubles():
    for isa in ISAS:
        fastnn.use_isa(isa)
        flops, total = _native.fma_peak(0, double=True)
        assert flops == 0
        lanes = _native.fma_peak(1, double=True)[0] // 2
        assert lanes % 8 == 0 and total == lanes * (lanes - 1) / 2


@pytest.mark.parametrize("count", range(2, 7))
def test_streams(count):
    for isa in ISAS:
        fastnn.use_isa(isa)
        for n in (1, 15, 16, 33, 100):
            arrays = [np.full(n, k, np.float32) for k in range(count)]
            _native.streams(arrays)
            for k, a in enumerate(arrays):
                assert (a[: n - n % 16] == (k + count - 1) / 2).all() and (a[n - n % 16 :] == k).all()
    last = np.ones(16, np.float32)
    last.flags.writeable = False  # only read
    _native.streams([np.ones(16, np.float32), last])


def test_streams_refuse():
    a = np.ones(16, np.float32)
    for wrong in ([a], [a] * 7):
        with pytest.raises(ValueError, match="arrays: expected from 2 to 6"):
            _native.streams(wrong)
    with pytest.raises(ValueError, match=r"arrays\[1\]: expected shape \(16,\), got \(15,\)"):
        _native.streams([a, a[:15]])
    with pytest.raises(TypeError, match=r"arrays\[0\]: expected dtype float32"):
        _native.streams([a.astype(np.float64), a])
