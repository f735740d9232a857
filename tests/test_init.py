"""fastnn.init: the distributions, the seeds, the refusals."""

import math

import numpy as np
import pytest

import fastnn
from fastnn import init, nn

MAKERS = {f.__name__: f for f in (init.zeros, init.normal, init.xavier_normal, init.xavier_uniform, init.he_normal, init.he_uniform)}
SHAPE = (300, 200)
STD = {
    "zeros": 0.0,
    "normal": 0.01,
    "xavier_normal": math.sqrt(2 / 500),
    "xavier_uniform": math.sqrt(2 / 500),
    "he_normal": math.sqrt(2 / 300),
    "he_uniform": math.sqrt(2 / 300),
}


@pytest.fixture(autouse=True)
def seeded():
    fastnn.manual_seed(0)
    yield
    fastnn.manual_seed(0)


def kurtosis(x):
    return np.mean(x**4) / np.mean(x**2) ** 2


@pytest.mark.parametrize("name", MAKERS)
def test_mean_and_spread(name):
    w = MAKERS[name]()(SHAPE)
    assert w.shape == SHAPE and w.dtype == np.float64
    std = STD[name]
    assert abs(w.std() - std) <= 0.01 * std and abs(w.mean()) <= 5 * std / math.sqrt(w.size)
    if name.endswith("_uniform"):
        assert np.abs(w).max() <= std * math.sqrt(3) and abs(kurtosis(w) - 1.8) < 0.05
    elif std:
        assert abs(kurtosis(w) - 3) < 0.1
        assert len(np.unique(w)) > 0.99 * w.size


def test_settings():
    w = init.normal(std=2.0, mean=5.0)(SHAPE)
    assert abs(w.mean() - 5) < 0.05 and abs(w.std() - 2) < 0.02
    assert not init.normal(std=0)(SHAPE).any()
    for maker, std in ((init.xavier_normal, STD["xavier_normal"]), (init.xavier_uniform, STD["xavier_uniform"])):
        assert abs(maker(gain=3.0)(SHAPE).std() - 3 * std) < 0.03 * std * 3
    for maker in (init.he_normal, init.he_uniform):
        assert abs(maker(slope=1.0)(SHAPE).std() - math.sqrt(1 / 300)) < 0.001
    assert repr(init.he_normal(slope=0.5)) == "init.he_normal(slope=0.5)"


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3,)])
@pytest.mark.parametrize("name", MAKERS)
def test_small_shapes(name, shape):
    w = MAKERS[name]()(shape)
    assert w.shape == shape and np.isfinite(w).all()


def test_a_seed_makes_the_same_network():
    def network():
        return [p.data.tobytes() for p in nn.Sequential(nn.Dense(9, 8), nn.Dense(8, 8), nn.Dense(8, 3)).parameters()]

    fastnn.manual_seed(5)
    first, second = network(), network()
    assert first != second  # draws go on
    fastnn.manual_seed(5)
    assert network() == first and network() == second
    fastnn.manual_seed(6)
    assert network() != first
    fastnn.manual_seed(2**64 - 1)
    assert network() != first
    fastnn.manual_seed(np.uint64(5))
    assert network() == first


def test_layers_of_one_shape_differ():
    a, b = nn.Dense(8, 8).weight.data, nn.Dense(8, 8).weight.data
    assert (a != b).any()


def test_numpys_state_does_not_matter():
    state = np.random.get_state()[1].copy()
    fastnn.manual_seed(1)
    a = nn.Dense(5, 5).weight.data.copy()
    assert (np.random.get_state()[1] == state).all()
    np.random.seed(9)
    fastnn.manual_seed(1)
    assert (nn.Dense(5, 5).weight.data == a).all()


def test_what_a_layer_takes():
    fastnn.manual_seed(2)
    by_name = nn.Dense(30, 20, init="he_uniform").weight.data.copy()
    for form in (init.he_uniform, init.he_uniform()):
        fastnn.manual_seed(2)
        assert (nn.Dense(30, 20, init=form).weight.data == by_name).all()
    assert not nn.Dense(30, 20, init="zeros").weight.data.any()


@pytest.mark.parametrize(
    "activation, std",
    [("relu", math.sqrt(2 / 400)), ("leaky_relu", math.sqrt(2 / (1 + 0.01**2) / 400)), ("tanh", math.sqrt(2 / 600)), (None, math.sqrt(2 / 600))],
)
def test_defaults_follow_the_activation(activation, std):
    layer = nn.Dense(400, 200, activation=activation)
    assert abs(layer.weight.data.std() - std) < 0.01 * std
    assert not layer.bias.data.any()


def test_a_slope_counts():
    layer = nn.Dense(400, 200, activation=nn.Activation("leaky_relu", alpha=1.0))
    assert abs(layer.weight.data.std() - math.sqrt(1 / 400)) < 0.001


# --- refusals ---


@pytest.mark.parametrize("value", [1.0, "1", None, [1]])
def test_seeds_that_are_no_integers(value):
    with pytest.raises(TypeError, match="seed: expected an integer, got"):
        fastnn.manual_seed(value)


@pytest.mark.parametrize("value", [-1, 2**64])
def test_seeds_out_of_range(value):
    with pytest.raises(ValueError, match=r"seed: expected an integer from 0 to 2\*\*64 - 1, got"):
        fastnn.manual_seed(value)


def test_a_refused_seed_changes_nothing():
    fastnn.manual_seed(3)
    nn.Dense(4, 4)
    expected = nn.Dense(4, 4).weight.data.copy()
    fastnn.manual_seed(3)
    nn.Dense(4, 4)
    with pytest.raises(ValueError):
        fastnn.manual_seed(-1)
    assert (nn.Dense(4, 4).weight.data == expected).all()


@pytest.mark.parametrize(
    "call, name, error",
    [
        (lambda: init.normal(std=-1), "std", ValueError),
        (lambda: init.normal(std=math.nan), "std", ValueError),
        (lambda: init.normal(mean=math.inf), "mean", ValueError),
        (lambda: init.normal(std=10**400), "std", ValueError),
        (lambda: init.normal(std="1"), "std", TypeError),
        (lambda: init.xavier_normal(gain=-0.5), "gain", ValueError),
        (lambda: init.xavier_uniform(gain=None), "gain", TypeError),
        (lambda: init.he_normal(slope=math.nan), "slope", ValueError),
        (lambda: init.he_uniform(slope=[1]), "slope", TypeError),
        (lambda: nn.Dense(2, 2, init="he"), "init", ValueError),
        (lambda: nn.Dense(2, 2, init=3), "init", TypeError),
        (lambda: nn.Dense(2, 2, init=np.zeros((2, 2))), "init", TypeError),
        (lambda: nn.Dense(2, 2, init=lambda shape: np.zeros(shape)), "init", TypeError),
    ],
)
def test_refusals_name_the_argument(call, name, error):
    with pytest.raises(error, match=f"^{name}: expected .*, got "):
        call()
