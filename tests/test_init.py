"""fastnn.init: the distributions, the seeds, the refusals."""

import math
import re
import tracemalloc

import numpy as np
import pytest

import fastnn
from fastnn import init, nn
from fastnn.core.activations import ACTIVATIONS

MAKERS = {
    name: getattr(init, name)
    for name in (
        "zeros", "constant", "identity", "normal", "truncated_normal", "orthogonal", "xavier_normal", "xavier_uniform",
        "he_normal", "he_uniform", "lecun_normal", "lecun_uniform", "uniform",
    )
}
ALIASES = {"glorot_normal": "xavier_normal", "glorot_uniform": "xavier_uniform", "kaiming_normal": "he_normal", "kaiming_uniform": "he_uniform"}
FIXED = ("zeros", "constant", "identity")  # nothing is drawn
SHAPE = (300, 200)
STD = {
    "zeros": 0.0,
    "normal": 0.01,
    "xavier_normal": math.sqrt(2 / 500),
    "xavier_uniform": math.sqrt(2 / 500),
    "he_normal": math.sqrt(2 / 300),
    "he_uniform": math.sqrt(2 / 300),
    "lecun_normal": math.sqrt(1 / 300),
    "lecun_uniform": math.sqrt(1 / 300),
    "uniform": 0.05 / math.sqrt(3),
    # of a Gaussian cut at two deviations: 1 - 4 φ(2) / (Φ(2) - Φ(-2))
    "truncated_normal": 0.01 * math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2))),
    "orthogonal": math.sqrt(1 / 300),  # each of the 200 columns has length 1
}

GOLDEN = {  # the first two numbers of weights [3, 2], drawn one after the other with seed 2024
    "normal": (0.014029401, 0.008130783),
    "truncated_normal": (0.005259469, -0.002945925),
    "orthogonal": (-0.607813357, -0.623019681),
    "xavier_normal": (0.365060251, -1.008155216),
    "xavier_uniform": (0.404198986, 0.075622423),
    "he_normal": (-0.770905156, -0.696179546),
    "he_uniform": (-1.216562232, -0.665869792),
    "lecun_normal": (-0.41112333, -0.733052309),
    "lecun_uniform": (-0.099179122, -0.551591322),
    "uniform": (-0.029359407, 0.046083653),
}


@pytest.fixture(autouse=True)
def seeded():
    fastnn.manual_seed(0)
    yield
    fastnn.manual_seed(0)


def kurtosis(x):
    return np.mean(x**4) / np.mean(x**2) ** 2


def test_every_initialiser_is_tested():
    assert set(MAKERS) | set(ALIASES) == set(init._BY_NAME) == set(init.__all__) - {"manual_seed", "calculate_gain"}


def test_other_names():
    for alias, name in ALIASES.items():
        assert getattr(init, alias) is MAKERS[name]
        fastnn.manual_seed(3)
        w = nn.Dense(4, 3, init=alias).weight.data
        fastnn.manual_seed(3)
        assert (nn.Dense(4, 3, init=name).weight.data == w).all()


@pytest.mark.parametrize("std", [0.5, np.float32(0.5), np.array(0.5)])
def test_a_number_is_a_deviation(std):
    fastnn.manual_seed(3)
    w = nn.Dense(40, 30, init=std).weight.data
    fastnn.manual_seed(3)
    assert (nn.Dense(40, 30, init=init.normal(std=0.5)).weight.data == w).all()
    assert not nn.Maxout(4, 3, init=0).weight.data.any()


def test_uniform():
    w = init.uniform(-1.0, 3.0)((200, 300))
    assert w.min() >= -1 and w.max() < 3 and abs(w.mean() - 1) < 0.02 and abs(w.std() - 4 / math.sqrt(12)) < 0.02
    assert (init.uniform(2.0, 2.0)((3,)) == 2).all()


@pytest.mark.parametrize("name", [m for m in MAKERS if m not in ("constant", "identity")])
def test_mean_and_spread(name):
    w = MAKERS[name]()(SHAPE)
    assert w.shape == SHAPE and w.dtype == np.float64
    std = STD[name]
    assert abs(w.std() - std) <= 0.01 * std and abs(w.mean()) <= 5 * std / math.sqrt(w.size)
    if name.endswith("uniform"):
        assert np.abs(w).max() <= std * math.sqrt(3) and abs(kurtosis(w) - 1.8) < 0.05
    elif name == "truncated_normal":
        assert np.abs(w).max() <= 0.02 and np.abs(w).max() > 0.0199 and abs(kurtosis(w) - 2.37) < 0.05
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


def test_what_is_not_drawn():
    assert (init.constant(2.5)((3, 4)) == 2.5).all() and not init.constant()((3,)).any()
    for shape in ((3, 3), (2, 5), (5, 2)):
        assert (init.identity()(shape) == np.eye(*shape)).all()
        assert (init.identity(gain=-3)(shape) == -3 * np.eye(*shape)).all()
    before = init.normal()((2,))
    fastnn.manual_seed(0)
    for name in FIXED:
        MAKERS[name]()((4, 4))
    assert (init.normal()((2,)) == before).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (20, 20), (50, 30), (30, 50), (200, 10)])
def test_orthogonal_matrices(shape):
    for gain in (1.0, 2.0, -0.5):
        w = init.orthogonal(gain)(shape)
        product = w @ w.T if shape[0] <= shape[1] else w.T @ w
        assert np.abs(product - gain**2 * np.eye(len(product))).max() < 1e-13
    # uniform over such matrices: no sign is preferred, and the layer keeps the lengths
    w = np.array([init.orthogonal()((4, 4)) for _ in range(400)])
    assert np.abs(w.mean(axis=0)).max() < 5 * 0.5 / math.sqrt(400)
    assert np.abs((w**2).mean(axis=0) - 0.25).max() < 0.06
    kept = nn.Dense(30, 30, init="orthogonal").weight.data
    assert abs(np.linalg.norm(np.ones(30, np.float32) @ kept) - math.sqrt(30)) < 1e-5


@pytest.mark.parametrize("low, high", [(-2, 2), (-1, 3), (0, 0.5), (-50, 50), (-3, -2), (3, 100), (8, 9), (30, 31), (-1e6, 0), (1, 1.001)])
def test_truncated_normal(low, high):
    """Bounds, and the moments that follow from density φ over the interval, by quadrature."""
    w = init.truncated_normal(std=2.0, mean=10.0, low=low, high=high)((20_000,))
    x = (w - 10) / 2
    assert x.min() >= low - 1e-12 and x.max() <= high + 1e-12
    nearest = min(max(low, 0), high)
    grid = np.linspace(max(low, nearest - 12), min(high, nearest + 12), 200_001)
    density = np.exp(0.5 * (nearest**2 - grid**2))
    mean = (grid * density).sum() / density.sum()
    std = math.sqrt(((grid - mean) ** 2 * density).sum() / density.sum())
    assert abs(x.mean() - mean) < 5 * std / math.sqrt(len(x))
    assert abs(x.std() - std) < 0.05 * std


@pytest.mark.parametrize("name", ["truncated_normal", "normal", "he_uniform"])
def test_parts_of_a_stream(name):
    """The next parameter's numbers do not depend on the size of the one before, nor the first numbers on how many follow."""
    fastnn.manual_seed(3)
    first, then = MAKERS[name]()((100,)), MAKERS[name]()((10,))
    fastnn.manual_seed(3)
    shorter, again = MAKERS[name]()((4,)), MAKERS[name]()((10,))
    assert (again == then).all() and (shorter == first[:4]).all()


@pytest.mark.parametrize("name", MAKERS)
def test_blocks_and_float32_change_no_number(monkeypatch, name):
    def draw(**more):
        fastnn.manual_seed(5)
        return [MAKERS[name]()(shape, **more) for shape in ((37, 23), (5, 5))]

    whole = draw()
    monkeypatch.setattr(init, "_BLOCK", 64)
    for again in (draw(), draw(dtype=np.float64)):
        assert all(a.dtype == np.float64 and (a == b).all() for a, b in zip(again, whole))
    assert all(a.dtype == np.float32 and (a == b.astype(np.float32)).all() for a, b in zip(draw(dtype=np.float32), whole))


def test_a_layer_is_made_in_little_more_than_its_memory():
    tracemalloc.start()
    try:
        nn.Dense(2048, 1024, activation="relu")  # the Parameter's own memory is not traced
        assert tracemalloc.get_traced_memory()[1] < 1.1 * 4 * 2048 * 1024 + 5e6
    finally:
        tracemalloc.stop()


def test_gains():
    expected = {None: 1, "identity": 1, "sigmoid": 1, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}
    for name, gain in expected.items():
        assert init.calculate_gain(name) == pytest.approx(gain, rel=1e-15)
    assert init.calculate_gain("leaky_relu") == pytest.approx(math.sqrt(2 / 1.0001), rel=1e-15)
    assert init.calculate_gain("leaky_relu", 0.5) == pytest.approx(math.sqrt(2 / 1.25), rel=1e-15)
    torch = pytest.importorskip("torch")
    names = {None: "linear", "identity": "linear"}
    for name in [*expected, "leaky_relu"]:
        assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(names.get(name, name)), rel=1e-15)


def test_the_numbers_stay_what_they_are():
    """Drawn once; 1e-6 is what is promised for other machines."""
    fastnn.manual_seed(2024)
    found = {name: MAKERS[name]()((3, 2)).ravel()[:2] for name in MAKERS if name not in FIXED}
    for name, expected in GOLDEN.items():
        assert found[name] == pytest.approx(expected, abs=1e-6), name
    assert set(GOLDEN) == set(found)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3,)])
@pytest.mark.parametrize("name", MAKERS)
def test_small_shapes(name, shape):
    if len(shape) == 1 and name in ("identity", "orthogonal"):
        with pytest.raises(ValueError, match=rf"shape: expected 2 dimensions for init.{name}, got \(3,\)"):
            MAKERS[name]()(shape)
        return
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


@pytest.mark.parametrize("activation", [*ACTIVATIONS, "softmax", "prelu"])
def test_defaults_are_stated(activation):
    """In the sentence at the top of the file, before the name of the initialiser or behind it."""
    he, lecun, xavier = re.search(r"He's Gaussian for (.*), LeCun's for (.*), Xavier's for (.*?)\.", init.__doc__, re.S).groups()
    stated = {"he_normal": he, "lecun_normal": lecun, "xavier_normal": xavier}[init.default_for(activation, 0.0).name]
    assert re.search(rf"\b{activation.replace('identity', 'none')}\b", stated), f"fastnn/init.py: {activation} at the top"


def test_a_slope_counts():
    assert init.default_for("prelu").settings == {"slope": 0.25}
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
        (lambda: init.constant("1"), "value", TypeError),
        (lambda: init.constant(math.inf), "value", ValueError),
        (lambda: init.identity(gain=math.nan), "gain", ValueError),
        (lambda: init.orthogonal(gain=True), "gain", TypeError),
        (lambda: init.truncated_normal(std=-1), "std", ValueError),
        (lambda: init.truncated_normal(low=2, high=2), "low, high", ValueError),
        (lambda: init.truncated_normal(low=math.nan), "low", ValueError),
        (lambda: init.truncated_normal(high=math.inf), "high", ValueError),
        (lambda: init.calculate_gain("gelu"), "activation", ValueError),
        (lambda: init.calculate_gain(3), "activation", TypeError),
        (lambda: init.calculate_gain("leaky_relu", "x"), "alpha", TypeError),
        (lambda: nn.Dense(2, 2, init="he"), "init", ValueError),
        (lambda: nn.Dense(2, 2, init=True), "init", TypeError),
        (lambda: nn.Dense(2, 2, init=-0.5), "init", ValueError),
        (lambda: nn.Dense(2, 2, init=math.nan), "init", ValueError),
        (lambda: init.uniform(low=1, high=0), "low, high", ValueError),
        (lambda: init.uniform(high=math.inf), "high", ValueError),
        (lambda: nn.Dense(2, 2, init=np.zeros((2, 2))), "init", TypeError),
        (lambda: nn.Dense(2, 2, init=lambda shape: np.zeros(shape)), "init", TypeError),
    ],
)
def test_refusals_name_the_argument(call, name, error):
    with pytest.raises(error, match=f"^{name}: expected .*, got "):
        call()
