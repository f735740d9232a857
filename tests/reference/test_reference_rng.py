"""Random numbers: published vectors, words by their definition, permutations by brute force, distributions, errors."""

import importlib
import itertools
import math

import numpy as np
import pytest

from fastnn.reference import normal, permutation, philox, random_bits, random_bits64, uniform

# Known answers of the Random123 distribution for philox4x32 with 10 rounds: counter, key, result.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_philox_known_answers(counter, key, result):
    got = philox(np.array([words(counter)], np.uint32), words(key))
    assert got.dtype == np.uint32
    assert got.tolist() == [words(result)]


def test_philox_rows_are_independent():
    counter = np.random.default_rng(0).integers(0, 2**32, (50, 4), dtype=np.uint32)
    together = philox(counter, (1, 2))
    np.testing.assert_array_equal(together, np.concatenate([philox(row[None], (1, 2)) for row in counter]))
    assert philox(counter[:0], (1, 2)).shape == (0, 4)


SEED = 0x0123456789ABCDEF


def word(i, seed, stream, step):
    block = i // 4
    counter = np.array([[block & 0xFFFFFFFF, block >> 32, step, stream]], np.uint32)
    return int(philox(counter, (seed & 0xFFFFFFFF, seed >> 32))[0, i % 4])


@pytest.mark.parametrize("offset", [0, 1, 3, 4, 5, 4 * 2**32 - 3, 2**64 - 9])
@pytest.mark.parametrize("n", [0, 1, 3, 4, 9])
def test_random_bits_by_definition(n, offset):
    got = random_bits(n, SEED, 3, 5, offset)
    assert got.dtype == np.uint32
    assert got.tolist() == [word(i, SEED, 3, 5) for i in range(offset, offset + n)]


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_random_bits64_by_definition(n):
    got = random_bits64(n, SEED, 3, 5)
    assert got.dtype == np.uint64
    assert got.tolist() == [word(2 * i, SEED, 3, 5) | word(2 * i + 1, SEED, 3, 5) << 32 for i in range(n)]


def test_every_argument_matters_to_its_last_bit():
    top = 2**32 - 1
    calls = [(0, 0, 0), (1, 0, 0), (2**32, 0, 0), (2**64 - 1, 0, 0), (0, 1, 0), (0, top, 0), (0, 0, 1), (0, 0, top)]
    assert len({tuple(random_bits(4, *call).tolist()) for call in calls}) == len(calls)


def brute_force_permutation(n, seed, epoch):
    p = np.arange(n)
    for i in reversed(range(1, n)):
        r = word(2 * i, seed, 1, epoch) + 2**32 * word(2 * i + 1, seed, 1, epoch)
        j = r * (i + 1) // 2**64
        p[[i, j]] = p[[j, i]]
    return p


@pytest.mark.parametrize("n", [0, 1, 2, 3, 10, 57])
@pytest.mark.parametrize("epoch", [0, 7])
def test_permutation_by_brute_force(n, epoch):
    p = permutation(n, SEED, epoch)
    assert p.dtype == np.int64
    np.testing.assert_array_equal(p, brute_force_permutation(n, SEED, epoch))
    np.testing.assert_array_equal(np.sort(p), np.arange(n))


def test_permutations_of_three_are_equally_frequent():
    counts = dict.fromkeys(itertools.permutations(range(3)), 0)
    draws = 1200
    for epoch in range(draws):
        counts[tuple(permutation(3, 0, epoch).tolist())] += 1
    expected = draws / 6
    chi_squared = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_squared < 20.5  # 5 degrees of freedom, p = 0.001


def test_uniform():
    u = uniform(20000, SEED, 4)
    assert u.dtype == np.float64 and u.min() >= 0 and u.max() < 1
    assert u[:3].tolist() == [(int(r) >> 11) / 2**53 for r in random_bits64(3, SEED, 4)]
    assert abs(u.mean() - 0.5) < 4 / math.sqrt(12 * len(u))
    counts = np.histogram(u, 16, (0, 1))[0]
    assert ((counts - 1250) ** 2 / 1250).sum() < 37.7  # 15 degrees of freedom, p = 0.001


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_normal_by_definition(n):
    r = [int(word) >> 11 for word in random_bits64(8, SEED, 4, 2)]
    expected = []
    for r0, r1 in zip(r[0::2], r[1::2]):
        radius = math.sqrt(-2 * math.log((r0 + 1) / 2**53))
        expected += [radius * math.cos(2 * math.pi * r1 / 2**53), radius * math.sin(2 * math.pi * r1 / 2**53)]
    z = normal(n, SEED, 4, 2)
    assert z.dtype == np.float64 and z.shape == (n,)
    np.testing.assert_allclose(z, expected[:n], rtol=1e-14, atol=1e-15)


@pytest.mark.filterwarnings("error")
def test_normal_is_finite_for_the_smallest_and_largest_words(monkeypatch):
    module = importlib.import_module("fastnn.reference.rng")
    monkeypatch.setattr(module, "random_bits64", lambda n, *_: np.array([0, 0, 2**64 - 1, 0], np.uint64)[:n])
    np.testing.assert_allclose(normal(4, 0, 0), [math.sqrt(-2 * math.log(2.0**-53)), 0.0, 0.0, 0.0])


def test_normal_moments():
    z = normal(40000, SEED, 4)
    error = 4 / math.sqrt(len(z))
    assert abs(z.mean()) < error
    assert abs(z.var() - 1) < error * math.sqrt(2)
    assert abs((z**3).mean()) < error * math.sqrt(15)
    assert abs((z**4).mean() - 3) < error * math.sqrt(96)
    assert abs((z[0::2] * z[1::2]).mean()) < error * math.sqrt(2)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: philox(np.zeros((1, 4)), (0, 0)), TypeError, "counter must be uint32, got float64"),
        (lambda: philox(np.zeros((1, 3), np.uint32), (0, 0)), ValueError, r"counter must have shape \[any, 4\]"),
        (lambda: philox(np.zeros((1, 4), np.uint32), (0, 2**32)), ValueError, r"key\[1\] must be in"),
        (lambda: philox(np.zeros((1, 4), np.uint32), (0,)), ValueError, "key must hold 2 words, got 1"),
        (lambda: random_bits(-1, 0, 0), ValueError, "n must be in"),
        (lambda: random_bits(1, -1, 0), ValueError, r"seed must be in \[0, 2\*\*64\), got -1"),
        (lambda: random_bits(1, 2**64, 0), ValueError, "seed must be in"),
        (lambda: random_bits(1, 0, 2**32), ValueError, "stream must be in"),
        (lambda: random_bits(1, 0, 0, -1), ValueError, "step must be in"),
        (lambda: random_bits(1, 0, 0, 0, -1), ValueError, "offset must be in"),
        (lambda: random_bits(2, 0, 0, 0, 2**64 - 1), ValueError, "offset \\+ n must be at most"),
        (lambda: random_bits(1, 0.5, 0), TypeError, "float"),
        (lambda: permutation(3, 0, 2**32), ValueError, "epoch must be in"),
        (lambda: permutation(-1, 0), ValueError, "n must be in"),
        (lambda: normal(-1, 0, 0), ValueError, "n must be in"),
        (lambda: uniform(1, 0, -1), ValueError, "stream must be in"),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()
