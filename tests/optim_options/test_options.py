"""Options: what is not asked for touches nothing; averages, steps that are left out, clipping in a trainer."""

import math

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim

from ..test_optim_rules import SETTINGS, everything, make


@pytest.mark.parametrize("name", SETTINGS)
def test_an_infinite_weight_without_decay_stays_one(name):
    kind, more = SETTINGS[name]
    for dtype in (np.float32, np.float64):
        w = np.array([np.inf, -np.inf, 1.0], dtype)
        opt = kind([w], **{**more, "weight_decay": 0.0})
        opt.step([np.array([0.5, 0.5, 0.5], dtype)])
        if name not in ("lamb", "adafactor", "schedule free"):  # norms, a difference of infinities
            assert w[0] == np.inf and w[1] == -np.inf and np.isfinite(w[2])


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_is_never_hidden(name, bad):
    """A gradient that is not finite shows, unless clipping by value was asked for; NaN shows even then."""
    for options in ({}, {"l1": 0.1}, {"maximize": True}, {"max_norm": 5.0}, {"clip_value": 1.0}):
        w = np.ones((2, 3), np.float32)
        opt = make(name, options, [w])
        g = np.full((2, 3), 0.5, np.float32)
        g[1, 1] = bad
        for _ in range(2):
            opt.step([g])
        if np.isnan(bad):
            elementwise = name not in ("lamb", "muon", "muon rms") and "max_norm" not in options
            assert np.isnan(w[1, 1]) and (np.isfinite(w[0, 0]) or not elementwise)
        elif "clip_value" in options:
            assert np.isfinite(w).all()


def test_maximize_clip_value_and_l1():
    w = np.array([1.0, 1.0, 0.05, -0.05, np.nan])
    opt = optim.SGD([w], lr=0.1, maximize=True, clip_value=2.0, l1=1.0)
    opt.step([np.array([9.0, -9.0, 0.0, 0.0, 0.0])])
    assert np.allclose(w[:2], [1.2 - 0.1, 0.8 - 0.1], rtol=1e-15)
    assert w[2] == 0 and w[3] == 0 and not np.signbit(w[2:4]).any() and np.isnan(w[4])


def test_l1_finds_the_weights_that_are_not_needed():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    true = np.zeros(20)
    true[[3, 11]] = 2.0, -1.0
    w = np.zeros(20)
    opt = optim.SGD([w], lr=0.1, l1=0.1)
    for _ in range(300):
        opt.step([X.T @ (X @ w - X @ true) / 200])
    assert set(np.flatnonzero(w)) == {3, 11}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_max_norm_is_by_unit(order, dtype):
    rng = np.random.default_rng(1)
    for shape in ((7, 40), (1, 5), (5, 1), (3, 4, 33)):
        w = np.asarray(rng.normal(size=shape), dtype, order=order)
        w[..., 0] = 0.01
        before = w.copy()
        optim.SGD([w], lr=0.0, max_norm=1.0).step([np.zeros_like(w)])
        axes = tuple(range(w.ndim - 1))
        norms, old = (np.sqrt((a.astype(np.float64) ** 2).sum(axis=axes)) for a in (w, before))
        assert np.allclose(norms, np.minimum(old, 1.0), rtol=1e-6)
        assert (w[..., old <= 1] == before[..., old <= 1]).all()
    b = np.full(9, 5.0, dtype)
    optim.SGD([b], lr=0.0, max_norm=1.0).step([np.zeros_like(b)])
    assert (b == 5).all()


def test_decoupled_decay_by_option_is_adamw():
    results = []
    for kind, more in ((optim.AdamW, {}), (optim.Adam, {"decoupled_weight_decay": True})):
        w = np.linspace(-1, 1, 50)
        opt = kind([w], lr=0.1, weight_decay=0.3, **more)
        for i in range(3):
            opt.step([np.cos(np.arange(50) + i)])
        results.append(w.tobytes())
    assert results[0] == results[1]


def test_ema():
    w = np.array([1.0, 2.0])
    opt = optim.SGD([{"params": [w], "ema": 0.75}, {"params": [np.ones(1)]}], lr=1.0)
    path, expected = [], None
    for i in range(4):
        opt.step([np.array([0.5, -1.0]) * i, np.ones(1)])
        path.append(w.copy())
        expected = w.copy() if i == 0 else expected + 0.25 * (w - expected)
    with opt.averaged() as same:
        assert same is opt and np.allclose(w, expected, rtol=1e-15)
        for forbidden in (lambda: opt.step([np.ones(2), np.ones(1)]), opt.state_dict, lambda: opt.load_state_dict({}),
                          lambda: opt.add_param_group({"params": [np.ones(1)]})):
            with pytest.raises(RuntimeError, match="the averages stand in the parameters"):
                forbidden()
    assert (w == path[-1]).all()
    opt.swap_ema()
    opt.swap_ema()
    assert (w == path[-1]).all()
    opt.step([np.ones(2), np.ones(1)])
    assert (w == path[-1] - 1).all()
    with pytest.raises(ValueError, match="swap_ema: expected the option ema in at least one group, got none"):
        optim.SGD([np.ones(1)]).swap_ema()


def test_ema_before_the_first_step_is_the_start():
    w = np.array([3.0])
    opt = optim.SGD([w], ema=0.5)
    with opt.averaged():
        assert w[0] == 3.0


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_skipped_steps_change_nothing(name, clip_norm):
    more = {"skip_nonfinite": True, "ema": 0.5, "max_norm": 2.0}
    params = [np.ones((3, 4)), np.ones(5)]
    opt = make(name, more, params)
    good = [np.full((3, 4), 0.5), np.full(5, -0.25)]
    opt.step(good, clip_norm=clip_norm)
    before, saved = [a.copy() for a in everything(opt)], opt.state_dict()
    for bad in (np.nan, np.inf, -np.inf):
        g = [good[0].copy(), good[1]]
        g[0][1, 2] = bad
        norm = opt.step(g, clip_norm=clip_norm)
        assert clip_norm is None or not math.isfinite(norm)
    assert opt.skipped == 3 and all(a.tobytes() == b.tobytes() for a, b in zip(everything(opt), before))
    assert opt.state_dict()["groups"] == saved["groups"]
    opt.step(good, clip_norm=clip_norm)
    assert opt.skipped == 3 and opt.state_dict()["groups"][0]["steps"] == 2
    with pytest.raises(AttributeError):
        opt.skip_nonfinite = False


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("lr", [0.1, lambda t: 0.1 / (1 + t)])
def test_skipped_steps_inside_a_native_call(backend, lr):
    """Batches 2 and 5 of 8 are bad: what comes out is what the six good ones give, schedule and step count included."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 6)).astype(np.float32), rng.integers(0, 3, 64)
    spoilt = x.copy()
    spoilt[17, 2], spoilt[45, 0] = np.nan, np.inf
    good = np.setdiff1d(np.arange(64), [*range(16, 24), *range(40, 48)])
    results = []
    for data, rows in ((spoilt, np.arange(64)), (x, good)):
        fastnn.manual_seed(1)
        model = nn.Sequential(nn.Dense(6, 5, activation="tanh"), nn.Dense(5, 3))
        opt = optim.Adam(model.parameters(), lr=lr, skip_nonfinite=True)
        trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), opt, backend=backend, clip_norm=0.3)
        trainer.fit(data[rows], y[rows], epochs=1, batch_size=8, shuffle=False, verbose=0)
        results.append([a.tobytes() for a in everything(opt)] + [p.data.tobytes() for p in model.parameters()])
        assert opt.state_dict()["groups"][0]["steps"] == 6
    assert opt.skipped == 0 and trainer.steps_done == 6
    assert results[0] == results[1]


def test_skipped_steps_with_a_loss_of_the_users_own():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 6)).astype(np.float32), rng.normal(size=(64, 3)).astype(np.float32)
    spoilt = x.copy()
    spoilt[17, 2] = np.nan
    results = []
    for data, rows in ((spoilt, np.arange(64)), (x, np.setdiff1d(np.arange(64), np.arange(16, 24)))):
        fastnn.manual_seed(1)
        model = nn.Sequential(nn.Dense(6, 5, activation="tanh"), nn.Dense(5, 3))
        opt = optim.LAMB(model.parameters(), lr=lambda t: 0.1 / (1 + t), skip_nonfinite=True, ema=0.9, max_norm=1.0)
        square = losses.Custom(lambda z, t: (float(((z - t) ** 2).mean()), (2 * (z - t) / z.size).astype(np.float32)))
        trainer = fastnn.Trainer(model, square, opt, clip_norm=0.3)
        trainer.fit(data[rows], y[rows], batch_size=8, shuffle=False, verbose=0)
        results.append([a.tobytes() for a in everything(opt)] + [opt.state_dict()["groups"][0]["steps"]])
    assert results[0] == results[1] and results[0][-1] == 7


def test_a_trainer_counts_skipped_steps():
    fastnn.manual_seed(1)
    model = nn.Sequential(nn.Dense(3, 2))
    opt = optim.SGD(model.parameters(), skip_nonfinite=True)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), opt)
    before = model.state_dict()
    x = np.full((4, 3), np.nan, np.float32)
    for _ in range(3):
        assert math.isnan(trainer.step(x, np.zeros(4, int)))
    assert opt.skipped == 3 and trainer.steps_done == 3 and opt.state_dict()["groups"][0]["steps"] == 0
    assert all((v == before[k]).all() for k, v in model.state_dict().items())
    again = optim.SGD(model.parameters(), skip_nonfinite=True)
    again.load_state_dict(opt.state_dict())
    assert again.skipped == 3


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_trainer_clips(backend):
    fastnn.manual_seed(1)
    model = nn.Sequential(nn.Dense(3, 2))
    before = [p.data.copy() for p in model.parameters()]
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=1.0), backend=backend, clip_norm=1e-3)
    trainer.step(np.ones((4, 3), np.float32), np.zeros(4, int))
    moved = math.sqrt(sum(((p.data - b).astype(np.float64) ** 2).sum() for p, b in zip(model.parameters(), before)))
    assert abs(moved - 1e-3) < 3e-6
    for bad, error in ((0, ValueError), (-1.0, ValueError), (math.nan, ValueError), ("1", TypeError), (True, TypeError)):
        with pytest.raises(error, match="clip_norm: expected"):
            fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters()), clip_norm=bad)
