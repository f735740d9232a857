"""What surrounds the rules: options, groups that come later, averages, modes, steps left out, state from PyTorch."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import losses, nn, optim, schedules

from .test_optim_rules import SETTINGS, everything, make

KINDS = [getattr(optim, name) for name in optim.__all__ if name not in ("Optimizer", "LBFGS")]


# --- what is not asked for touches nothing ---


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


# --- the average of the weights ---


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


# --- steps that are left out ---


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


# --- clipping in a trainer ---


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


# --- groups that come later ---


@pytest.mark.parametrize("name", SETTINGS)
def test_a_group_that_comes_later(name):
    kind, more = SETTINGS[name]
    a, b = np.ones(5), np.ones((2, 3))
    opt = kind([a], **more)
    opt.step([np.full(5, 0.5)])
    opt.add_param_group({"params": {"b": b}, "lr": 0.5, "ema": 0.9})
    opt.step([[np.full(5, 0.25)], {"b": np.full((2, 3), 0.5)}])
    alone_a, alone_b = np.ones(5), np.ones((2, 3))
    one, two = kind([alone_a], **more), kind([alone_b], **{**more, "lr": 0.5})
    for g in (0.5, 0.25):
        one.step([np.full(5, g)])
    two.step([np.full((2, 3), 0.5)])
    assert a.tobytes() == alone_a.tobytes() and b.tobytes() == alone_b.tobytes()
    assert [g["steps"] for g in opt.state_dict()["groups"]] == [2, 1]


def test_groups_that_are_refused_later():
    a = np.ones(5)
    opt = optim.Adam([a])
    opt.step([np.ones(5)])
    saved, before = opt.state_dict(), opt.param_groups
    for group, error, message in [
        ([np.ones(2)], TypeError, "group: expected a dict, got list"),
        ({"lr": 1.0}, ValueError, r"params\[1\]: expected a group with an entry 'params'"),
        ({"params": [np.ones(2)], "momentum": 1.0}, ValueError, r"params\[1\]: unknown hyper-parameters \['momentum'\]"),
        ({"params": [np.ones(2), a[1:]]}, ValueError, r"params\[1\]\[1\]: expected memory of its own, got an array that overlaps params\[0\]"),
        ({"params": [np.ones(2)], "betas": (0.9, 1.0)}, ValueError, r"betas\[1\]: expected"),
        ({"params": [np.ones(2, int)]}, TypeError, r"params\[1\]\[0\]: expected dtype"),
    ]:
        with pytest.raises(error, match=message):
            opt.add_param_group(group)
    assert opt.param_groups is before and opt.state_dict()["groups"] == saved["groups"]
    opt.step([np.ones(5)])


def test_a_trainer_whose_optimizer_grows():
    """The output layer first, then all of the network: as if the first had been frozen before."""
    fastnn.manual_seed(1)
    model = nn.Sequential(nn.Dense(4, 3), nn.Dense(3, 2))
    x, y = np.ones((8, 4), np.float32), np.arange(8) % 2
    opt = optim.Adam(model.layers[1].parameters())
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), opt)
    first = model.layers[0].weight.data.copy()
    trainer.step(x, y)
    assert (model.layers[0].weight.data == first).all()
    opt.add_param_group({"params": model.layers[0].parameters()})
    trainer.step(x, y)
    assert (model.layers[0].weight.data != first).any()
    assert [g["steps"] for g in opt.state_dict()["groups"]] == [2, 1]
    opt.add_param_group({"params": [np.ones(3, np.float32)]})
    with pytest.raises(ValueError, match="optimizer: expected parameters of the model"):
        trainer.step(x, y)


# --- schedule-free ---


def test_schedule_free_modes():
    rng = np.random.default_rng(0)
    w, twin = np.ones((4, 5), np.float32), np.ones((4, 5), np.float32)
    opt, plain = (optim.ScheduleFreeAdamW([a], lr=0.1, warmup_steps=2) for a in (w, twin))
    x = None
    for step in range(6):
        g = rng.normal(size=(4, 5)).astype(np.float32)
        opt.step([g])
        plain.step([g])
        opt.eval()
        opt.eval()
        z = opt._state[0][0]
        assert np.allclose(0.9 * w + 0.1 * z, twin, atol=1e-6)  # y lies between x and z
        x = w.copy()
        with pytest.raises(RuntimeError, match="evaluation mode: call train"):
            opt.step([g])
        opt.train()
        opt.train()
        assert w.tobytes() == twin.tobytes()
    opt.eval()
    saved = pickle.loads(pickle.dumps(opt.state_dict()))
    again = optim.ScheduleFreeAdamW([x.copy()], lr=0.1, warmup_steps=2)
    again.load_state_dict(saved)
    assert not again.train_mode
    again.train()
    assert np.allclose(again._params[0], twin, atol=1e-6)
    with pytest.raises(TypeError, match=r"state_dict\['train_mode'\]: expected True or False, got 3"):
        again.load_state_dict({**saved, "train_mode": 3})


def test_states_by_name():
    """Names that stand in another order; what only one side has is an error, or passed over."""
    start = {"a": np.ones(3), "b": np.ones(3), "c": np.ones(2)}
    grads = {"a": np.full(3, 1.0), "b": np.full(3, -5.0), "c": np.full(2, 2.0)}
    make = lambda order, **more: optim.Adam([{"params": {k: start[k].copy() for k in order}}], lr=0.1, **more)
    opt = make("abc")
    opt.step([grads])
    saved = opt.state_dict()
    assert saved["groups"][0]["params"] == ["a", "b", "c"]
    other = make("cab")
    other.load_state_dict(saved)
    assert np.allclose([s["exp_avg"][0] for s in other.state_dict()["state"]], [0.2, 0.1, -0.5])
    few = make("ba")
    with pytest.raises(ValueError, match=r"expected 1 groups and 2 parameters, got 1 and 3"):
        few.load_state_dict(saved)
    few.load_state_dict(saved, strict=False)
    assert np.allclose([s["exp_avg"][0] for s in few.state_dict()["state"]], [-0.5, 0.1])
    assert few.state_dict()["groups"][0]["steps"] == 1
    many = optim.Adam([{"params": {k: np.ones(3) for k in "axb"}}], lr=0.1)
    with pytest.raises(ValueError, match=r"\['params'\]: expected the names \['a', 'b', 'x'\], got \['a', 'b', 'c'\]"):
        many.load_state_dict(saved)
    many.load_state_dict(saved, strict=False)
    assert np.allclose([s["exp_avg"][0] for s in many.state_dict()["state"]], [0.1, 0.0, -0.5])
    with pytest.raises(ValueError, match=r"\['exp_avg'\]: expected shape \(4,\), got \(3,\)"):
        optim.Adam([{"params": {"a": np.ones(4)}}]).load_state_dict(saved, strict=False)
    listed = optim.Adam([[np.ones(3), np.ones(3), np.ones(2)][i] for i in range(3)], lr=0.1)  # without names: by their order
    listed.load_state_dict(saved)
    assert np.allclose([s["exp_avg"][0] for s in listed.state_dict()["state"]], [0.1, -0.5, 0.2])
    with pytest.raises(ValueError, match=r"\['params'\]: expected 2 parameters, got 3"):
        optim.Adam([np.ones(3), np.ones(3)]).load_state_dict(saved, strict=False)


def test_a_state_with_other_entries():
    """strict=False: what decides on the arrays stays, what the state lacks stays, what is new is taken."""
    opt = optim.Adam([np.ones(2)], lr=0.1, amsgrad=True)
    opt.step([np.ones(2)])
    saved = opt.state_dict()
    plain = optim.Adam([np.ones(2)], lr=0.5)
    with pytest.raises(ValueError, match="expected hyper-parameters with the states of this optimizer's"):
        plain.load_state_dict(saved)
    plain.load_state_dict(saved, strict=False)
    assert plain.param_groups[0]["lr"] == 0.1 and plain.param_groups[0]["amsgrad"] is False
    assert (plain.state_dict()["state"][0]["exp_avg"] == saved["state"][0]["exp_avg"]).all()
    del saved["groups"][0]["steps"]
    with pytest.raises(ValueError, match=r"state_dict\['groups'\]\[0\]: expected entries"):
        opt.load_state_dict(saved)
    opt.load_state_dict(saved, strict=False)
    assert opt.state_dict()["groups"][0]["steps"] == 1


def test_entries_of_a_groups_own():
    w, v = np.ones(2), np.ones(2)
    tag = ["head"]
    opt = optim.SGD([{"params": [w], "name": "body", "initial_lr": 0.5}, {"params": [v], "tag": tag}], lr=0.5)
    opt.step([[np.ones(2)], [np.ones(2)]])
    saved = opt.state_dict()
    tag.append("x")
    assert saved["groups"][0]["name"] == "body" and saved["groups"][1]["tag"] == ["head"]
    opt.param_groups[1]["note"] = 3
    opt.step([[np.ones(2)], [np.ones(2)]])
    assert (w == 0).all() and opt.param_groups[1]["note"] == 3
    opt.param_groups[0]["name"] = "other"
    opt.load_state_dict(saved)
    assert opt.param_groups[0]["name"] == "body" and opt.param_groups[1]["note"] == 3
    opt.param_groups[0]["learning_rate"] = 0.1
    with pytest.raises(ValueError, match=r"param_groups\[0\]: unknown hyper-parameters \['learning_rate'\]; for learning_rate write lr"):
        opt.step([[np.ones(2)], [np.ones(2)]])


@pytest.mark.parametrize("name", SETTINGS)
def test_states_in_files(name, tmp_path):
    """Through JSON, NumPy's files and pickle: the same bits."""
    kind, more = SETTINGS[name]
    rng = np.random.default_rng(0)
    start = {"w": rng.normal(size=(4, 5)).astype(np.float32), "s": np.array(rng.normal()), "none": np.zeros((0, 2))}
    grads = [{k: rng.normal(size=p.shape).astype(p.dtype) if p.shape else np.array(0.5) for k, p in start.items()} for _ in range(4)]
    opt = kind({k: p.copy() for k, p in start.items()}, **{**more, "ema": 0.9})
    for g in grads[:2]:
        opt.step(g)
    saved = opt.state_dict()
    np.savez(tmp_path / "state.npz", **saved)
    ways = {
        "json": lambda: json.loads(json.dumps(saved, default=np.ndarray.tolist)),
        "npz": lambda: np.load(tmp_path / "state.npz", allow_pickle=True),
        "pickle": lambda: pickle.loads(pickle.dumps(saved)),
    }
    bits = []
    for way in ways.values():
        again = kind({k: p.copy() for k, p in zip(start, opt._params)}, **{**more, "ema": 0.9, "lr": 9.0})
        again.load_state_dict(way())
        for g in grads[2:]:
            again.step(g)
        bits.append([np.asarray(p).tobytes() for p in (*again._params, *again._averages)])
    for g in grads[2:]:
        opt.step(g)
    assert bits == [[np.asarray(p).tobytes() for p in (*opt._params, *opt._averages)]] * len(ways)


def _a_rate_of_the_module(step):
    return 0.1


@pytest.mark.parametrize("lr", [lambda t: 0.1, schedules.Constant(0.5) * (lambda t: 0.1)], ids=["function", "schedule"])
def test_a_rate_that_cannot_be_pickled(lr):
    opt = optim.SGD([np.ones(2)], lr=lr)
    opt.step([np.ones(2)])
    with pytest.raises(TypeError, match=r"param_groups\[0\]\['lr'\]: expected a rate that can be pickled, got .*<lambda>.*of a module"):
        pickle.dumps(opt)
    for way in (copy.copy, copy.deepcopy):  # copies keep the function
        assert way(opt).param_groups[0]["lr"](3) == lr(3)
    assert "lr" not in pickle.loads(pickle.dumps(opt.state_dict()))["groups"][0]
    fine = optim.SGD([np.ones(2)], lr=_a_rate_of_the_module)
    assert pickle.loads(pickle.dumps(fine)).param_groups[0]["lr"] is _a_rate_of_the_module


@pytest.mark.parametrize("lr", [np.float32(0.25), np.float16(0.25), np.array(0.25), lambda t: np.array(0.25), lambda t: np.float32(0.25)])
def test_rates_as_scalars(lr):
    w = np.ones(2)
    opt = optim.SGD([w], lr=lr)
    for _ in range(2):
        opt.step([np.ones(2)])
    opt.param_groups[0]["lr"] = lr
    opt.step([np.ones(2)])
    assert (w == 0.25).all()


def test_rates_of_other_packages():
    torch, jnp, optax = (pytest.importorskip(name) for name in ("torch", "jax.numpy", "optax"))
    for lr in (torch.tensor(0.25), jnp.float32(0.25), optax.constant_schedule(0.25), lambda t: jnp.cos(jnp.pi / 2 * t) * 0.25):
        w = np.ones(2)
        opt = optim.SGD([w], lr=lr, momentum=torch.tensor(0.0))
        opt.step([np.ones(2)])
        assert (w == 0.75).all()
    cosine = optax.cosine_decay_schedule(0.5, 4)
    model = nn.Sequential(nn.Dense(2, 1, init="zeros"))
    trainer = fastnn.Trainer(model, losses.MeanSquaredError(), optim.SGD(model.parameters(), lr=cosine))
    trainer.fit(np.ones((16, 2)), np.ones(16), batch_size=4, epochs=2, verbose=0)
    other = nn.Sequential(nn.Dense(2, 1, init="zeros"))
    twin = fastnn.Trainer(other, losses.MeanSquaredError(), optim.SGD(other.parameters(), lr=schedules.Cosine(0.5, 4)))
    twin.fit(np.ones((16, 2)), np.ones(16), batch_size=4, epochs=2, verbose=0)
    assert np.allclose(model.layers[0].weight.data, other.layers[0].weight.data, rtol=1e-5)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_trainer_evaluates_at_the_average(backend):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)).astype(np.float32), rng.integers(0, 3, 60)
    fastnn.manual_seed(2)
    model = nn.Sequential(nn.Dense(4, 3))
    opt = optim.ScheduleFreeAdamW(model.parameters(), lr=0.3)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), opt, backend=backend)
    history = trainer.fit(x, y, epochs=2, batch_size=10, validation_data=(x, y), verbose=0)
    trained = [p.data.copy() for p in model.parameters()]
    opt.eval()
    assert any((p.data != t).any() for p, t in zip(model.parameters(), trained))
    assert trainer.evaluate(x, y)["loss"] == history["val_loss"][-1]
    with pytest.raises(RuntimeError, match="evaluation mode"):
        trainer.step(x, y)
    opt.train()
    assert all((p.data == t).all() for p, t in zip(model.parameters(), trained))


# --- state ---


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("way", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o)), None])
def test_state_round_trips_exactly(name, way):
    kind, more = SETTINGS[name]
    rng = np.random.default_rng(0)
    start = [rng.normal(size=(4, 5)).astype(np.float32), rng.normal(size=7)]
    grads = [[rng.normal(size=(4, 5)).astype(np.float32), rng.normal(size=7)] for _ in range(6)]
    more = {**more, "ema": 0.9}
    opt = kind([a.copy() for a in start], **more)
    for g in grads[:3]:
        opt.step(g)
    if way is None:
        again = kind([p.copy() for p in opt._params], **{**more, "lr": 9.0})
        saved = opt.state_dict()
        again.load_state_dict(pickle.loads(pickle.dumps(saved)))
        kinds = (int, float, bool, str, tuple, type(None))
        assert all(isinstance(v, kinds) for group in saved["groups"] for v in group.values())
        assert all(type(v) is np.ndarray for entry in saved["state"] for v in entry.values())
    else:
        again = way(opt)
    for g in grads[3:]:
        opt.step(g)
        again.step(g)
    assert [a.tobytes() for a in everything(opt)] == [a.tobytes() for a in everything(again)]
    assert opt.state_dict()["groups"] == again.state_dict()["groups"]


def test_settings_are_dicts_that_leave_a_mark():
    w = np.zeros(1)
    opt = optim.SGD([w], lr=1.0)
    group = opt.param_groups[0]
    for change, lr in [
        (lambda: None, 1.0),
        (lambda: group.__setitem__("lr", 2.0), 2.0),
        (lambda: group.update(lr=3.0), 3.0),
        (lambda: group.update({"lr": 4.0}), 4.0),
        (lambda: group.__ior__({"lr": 5.0}), 5.0),
        (lambda: (group.pop("lr"), group.setdefault("lr", 6.0)), 6.0),
        (lambda: (group.__delitem__("lr"), group.__setitem__("lr", np.float32(7))), 7.0),
    ]:
        for _ in range(2):
            opt.step([np.ones(1)])
        before = w[0]
        change()
        opt.step([np.ones(1)])
        opt.step([np.ones(1)])
        assert w[0] == before - 2 * lr
    group["lr"] = -1.0
    before = w[0]
    for _ in range(2):
        with pytest.raises(ValueError, match="lr: expected"):
            opt.step([np.ones(1)])
    assert w[0] == before
    del group["lr"]
    before = w[0]
    with pytest.raises(ValueError, match=r"param_groups\[0\]: expected the entries"):
        opt.step([np.ones(1)])
    assert w[0] == before


# --- state from PyTorch ---


class Tensor:
    """As much of a tensor as is needed."""

    def __init__(self, value):
        self.value = np.asarray(value)

    def detach(self):
        return self

    cpu = detach

    def numpy(self):
        return self.value


TORCH_NAMES = {
    "momentum": ["momentum_buffer"],
    "adagrad": ["sum"],
    "adadelta": ["square_avg", "acc_delta"],
    "rmsprop": ["square_avg"],
    "rmsprop momentum": ["square_avg", "momentum_buffer"],
    "rmsprop centered": ["square_avg", "grad_avg"],
    "rmsprop both": ["square_avg", "momentum_buffer", "grad_avg"],
    "adam": ["exp_avg", "exp_avg_sq"],
    "amsgrad": ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
    "adamw": ["exp_avg", "exp_avg_sq"],
    "nadam": ["exp_avg", "exp_avg_sq"],
    "adamax": ["exp_avg", "exp_inf"],
    "radam": ["exp_avg", "exp_avg_sq"],
}


@pytest.mark.parametrize("wrap", [Tensor, np.asarray])
@pytest.mark.parametrize("name", TORCH_NAMES)
def test_state_in_pytorchs_layout(name, wrap):
    rng = np.random.default_rng(0)
    kind, more = SETTINGS[name]
    source, params = [np.ones((3, 4)), np.ones(4)], [np.ones((3, 4)), np.ones(4)]
    opt, again = kind(source, **more), kind(params, **{**more, "lr": 9.0})
    for _ in range(3):
        opt.step([rng.normal(size=(3, 4)), rng.normal(size=4)])
    for p, s in zip(params, source):
        p[...] = s
    state = {}
    for i, entry in enumerate(opt.state_dict()["state"]):
        assert list(entry) == TORCH_NAMES[name]
        state[i] = {k: wrap(v.T) for k, v in entry.items()}  # PyTorch has [out, in]
        if name != "momentum":
            state[i]["step"] = wrap(np.float32(3))
        if name == "nadam":
            state[i]["mu_product"] = wrap(opt.state_dict()["groups"][0]["mu_product"])
    group = {k: v for k, v in opt.param_groups[0].items() if k != "params"}
    theirs = {"state": state, "param_groups": [{**group, "foreach": None, "fused": True, "params": [0, 1]}]}
    with pytest.raises(ValueError, match=r"expected shape \(3, 4\), got \(4, 3\); transpose=True turns it"):
        again.from_torch_state(theirs)
    again.from_torch_state(theirs, transpose=True, steps=3)
    assert again.state_dict()["groups"] == opt.state_dict()["groups"]
    for _ in range(2):
        g = [rng.normal(size=(3, 4)), rng.normal(size=4)]
        opt.step(g)
        again.step(g)
    assert [a.tobytes() for a in everything(opt)] == [a.tobytes() for a in everything(again)]


def change(*path, to):
    def apply(state):
        *way, last = path
        for key in way:
            state = state[key]
        if to is KeyError:
            del state[last]
        else:
            state[last] = to

    return apply


@pytest.mark.parametrize(
    "damage, error, message",
    [
        (change("state", to=[1]), ValueError, "expected a dict 'state' and a list 'param_groups'"),
        (change("state", to=KeyError), ValueError, "expected a dict with 'state' and 'param_groups'"),
        (change("param_groups", to=[]), ValueError, r"expected groups of \[2\] parameters, got \[\]"),
        (change("param_groups", 0, "params", to=[0]), ValueError, r"expected groups of \[2\] parameters, got \[1\]"),
        (change("param_groups", 0, "lr", to=-1.0), ValueError, "lr: expected"),
        (change("param_groups", 0, "amsgrad", to=True), ValueError, "with the states of this optimizer's"),
        (change("state", 1, to=5), ValueError, r"\['state'\]\[1\]: expected a dict"),
        (change("state", 1, "exp_avg", to=KeyError), ValueError, r"\[1\]: expected entries \['exp_avg', 'exp_avg_sq'\], got \['exp_avg_sq'\]"),
        (change("state", 1, "exp_avg", to=np.zeros(3)), ValueError, r"\[1\]\['exp_avg'\]: expected shape \(2,\), got \(3,\)"),
        (change("state", 1, "exp_avg", to="no"), TypeError, r"\[1\]\['exp_avg'\]: expected real numbers"),
        (change("state", 1, "exp_avg", to=[[1], [2, 3]]), TypeError, r"\[1\]\['exp_avg'\]: expected a tensor or an array"),
        (change("state", 1, "step", to=7), ValueError, r"the same number of steps, got \[2, 7\]"),
        (change("state", 1, "step", to=[1, 2]), ValueError, r"\['step'\]: expected one number"),
    ],
)
def test_a_damaged_state_of_pytorch_changes_nothing(damage, error, message):
    opt = optim.Adam([np.ones(2), np.ones(2)])
    opt.step([np.ones(2), np.ones(2)])
    before = opt.state_dict()
    moments = {"step": 2, "exp_avg": np.ones(2), "exp_avg_sq": np.ones(2)}
    state = {"state": {0: dict(moments), 1: dict(moments)}, "param_groups": [{"lr": 0.5, "params": [0, 1]}]}
    damage(state)
    with pytest.raises(error, match=message):
        opt.from_torch_state(state)
    after = opt.state_dict()
    assert after["groups"] == before["groups"]
    assert all((a["exp_avg"] == b["exp_avg"]).all() for a, b in zip(after["state"], before["state"]))


def test_a_state_of_pytorch_before_its_first_step():
    opt = optim.Adagrad([np.ones(2)], initial_accumulator_value=0.5)
    opt.step([np.ones(2)])
    opt.from_torch_state({"state": {}, "param_groups": [{"lr": 0.5, "params": [0]}]})
    assert opt.state_dict()["groups"][0]["steps"] == 0 and (opt.state_dict()["state"][0]["sum"] == 0.5).all()


# --- refusals ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "option, value, error",
    [
        ("lr", -1e-9, ValueError),
        ("lr", math.nan, ValueError),
        ("lr", None, TypeError),
        ("weight_decay", -1.0, ValueError),
        ("weight_decay", math.inf, ValueError),
        ("maximize", 1, TypeError),
        ("l1", -0.1, ValueError),
        ("l1", math.nan, ValueError),
        ("clip_value", 0.0, ValueError),
        ("clip_value", -1.0, ValueError),
        ("clip_value", True, TypeError),
        ("max_norm", 0, ValueError),
        ("max_norm", math.inf, ValueError),
        ("max_norm", "1", TypeError),
        ("ema", 0.0, ValueError),
        ("ema", 1.0, ValueError),
        ("ema", math.nan, ValueError),
        ("skip_nonfinite", None, TypeError),
    ],
)
def test_options_that_are_refused(kind, option, value, error):
    with pytest.raises(error, match=f"^{option}: expected .*, got "):
        kind([np.ones(1)], **{option: value})
    if option != "skip_nonfinite":
        with pytest.raises(error, match=f"^{option}: expected .*, got "):
            kind([{"params": [np.ones(1)], option: value}])
        w = np.ones(1)
        opt = kind([w])
        opt.step([np.ones(1)])
        before = w.copy()
        opt.param_groups[0][option] = value
        with pytest.raises(error, match=f"^{option}: expected .*, got "):
            opt.step([np.ones(1)])
        assert (w == before).all() and opt.state_dict()["groups"][0]["steps"] == 1


@pytest.mark.parametrize(
    "kind, settings, error, message",
    [
        (optim.SGD, {"form": "heavy"}, ValueError, "form: expected one of 'torch', 'classic', 'average', 'corrected', got 'heavy'"),
        (optim.SGD, {"form": "average", "momentum": 1.0}, ValueError, "momentum: expected a number below 1"),
        (optim.SGD, {"form": "average", "momentum": 0.9, "dampening": 0.1}, ValueError, "dampening: expected 0 in the form 'average'"),
        (optim.SGD, {"form": "corrected", "momentum": 0.9, "nesterov": True}, ValueError, "nesterov: expected"),
        (optim.SGD, {"nesterov": 1, "momentum": 0.9}, TypeError, "nesterov: expected True or False, got 1"),
        (optim.Adagrad, {"lr_decay": -1}, ValueError, "lr_decay: expected"),
        (optim.Adagrad, {"initial_accumulator_value": -1}, ValueError, "initial_accumulator_value: expected"),
        (optim.Adadelta, {"rho": 1.0}, ValueError, "rho: expected"),
        (optim.RMSprop, {"alpha": 1.0}, ValueError, "alpha: expected"),
        (optim.RMSprop, {"momentum": -0.1}, ValueError, "momentum: expected"),
        (optim.RMSprop, {"centered": 2}, TypeError, "centered: expected True or False"),
        (optim.Adam, {"amsgrad": "yes"}, TypeError, "amsgrad: expected True or False"),
        (optim.NAdam, {"momentum_decay": -1.0}, ValueError, "momentum_decay: expected"),
        (optim.ScheduleFreeAdamW, {"betas": (0.0, 0.9)}, ValueError, r"betas\[0\]: expected"),
        (optim.ScheduleFreeAdamW, {"warmup_steps": -1}, ValueError, "warmup_steps: expected an integer from 0"),
        (optim.ScheduleFreeAdamW, {"warmup_steps": 10**400}, ValueError, "warmup_steps: expected an integer from 0"),
        (optim.ScheduleFreeAdamW, {"warmup_steps": 1.5}, TypeError, "warmup_steps: expected an integer"),
        (optim.ScheduleFreeAdamW, {"r": math.nan}, ValueError, "r: expected"),
        (optim.AdamW, {"decoupled_weight_decay": True}, TypeError, r"AdamW: unknown arguments \['decoupled_weight_decay'\]"),
        (optim.Adam, {"learning_rate": 0.9}, TypeError, r"unknown arguments \['learning_rate'\]; for learning_rate write lr; options are"),
        (optim.AdamW, {"wd": 0.1, "epsilon": 1e-6}, TypeError, r"; for epsilon write eps; for wd write weight_decay; options are"),
        (optim.Adam, {"clip_norm": 1.0}, TypeError, "clip_norm is an argument of step, and of a Trainer; options are"),
        (optim.Adam, {"momentum": 0.9}, TypeError, r"Adam: unknown arguments \['momentum'\]; options are \['clip_value'"),
        *[(kind, {"betas": (1.0, 0.9)}, ValueError, r"betas\[0\]: expected") for kind in KINDS if "betas" in kind.checks],
        *[(kind, {"eps": -1e-9}, ValueError, "eps: expected") for kind in KINDS if "eps" in kind.checks],
    ],
)
def test_settings_that_are_refused(kind, settings, error, message):
    with pytest.raises(error, match=message):
        kind([np.ones(1)], **settings)


@pytest.mark.parametrize(
    "kind, settings, name, value",
    [
        (optim.RMSprop, {}, "centered", True),
        (optim.RMSprop, {"momentum": 0.5}, "momentum", 0.0),
        (optim.Adam, {"amsgrad": True}, "amsgrad", False),
        (optim.Adam, {}, "ema", 0.9),
        (optim.Adam, {"ema": 0.9}, "ema", None),
        (optim.Adam, {}, "max_norm", 1.0),
        (optim.SGD, {"momentum": 0.9}, "momentum", 0),
    ],
)
def test_what_may_not_be_switched(kind, settings, name, value):
    w = np.ones(2)
    opt = kind([w], **settings)
    opt.step([np.ones(2)])
    before = w.copy()
    opt.param_groups[0][name] = value
    with pytest.raises(ValueError, match=f"{name}: expected to stay .* in group 0, got .*; make a new optimizer to switch it"):
        opt.step([np.ones(2)])
    assert (w == before).all()


def test_a_gradient_that_overlaps_another_parameter():
    block = np.zeros(20)
    opt = optim.SGD([block[:5], block[5:10], block[10:15]])
    for g in (block[5:10], block[8:13], block[0:5]):
        for flat in ([g, np.ones(5), np.ones(5)], [np.ones(5), np.ones(5), g]):
            with pytest.raises(ValueError, match="expected memory of its own, got an array that overlaps params"):
                opt.step(flat)
    opt.step([block[15:], block[15:], block[15:]])
    opt = optim.Adam([np.zeros(3)])
    with pytest.raises(ValueError, match="overlaps the optimizer's state"):
        opt.step([opt._state[0][1]])


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_parameter_that_changes_under_the_optimizer(steps):
    w, g = np.ones(4), np.ones(4)
    opt = optim.SGD([w, np.ones(2)], lr=1.0, momentum=0.5)
    for _ in range(steps):
        opt.step([g, np.ones(2)])
    before = w.copy()
    w.flags.writeable = False
    with pytest.raises(ValueError, match=r"params\[0\]: expected a writable array, got a read-only one"):
        opt.step([g, np.ones(2)])
    w.flags.writeable = True
    assert (w == before).all()
    w.resize(400_000, refcheck=False)
    with pytest.raises(ValueError, match=r"params\[0\]: expected the memory, .* that it had, got an array that has been resized"):
        opt.step([np.ones(400_000), np.ones(2)])


class Liar(np.ndarray):
    """What NumPy's attributes say of an array need not be true of it."""

    said = {}
    dtype = property(lambda self: self.said.get("dtype", np.ndarray.dtype.__get__(self)))
    flags = property(lambda self: self.said.get("flags", np.ndarray.flags.__get__(self)))
    shape = property(lambda self: self.said.get("shape", np.ndarray.shape.__get__(self)))
    __array_interface__ = property(lambda self: {"data": (id(self) * 1000, False)})


def liar(array, **said):
    array = array.view(Liar)
    array.said = said
    return array


@pytest.mark.parametrize(
    "param, error, message",
    [
        (liar(np.zeros(1000, np.int8), dtype=np.dtype(np.float32)), TypeError, "expected dtype float32 or float64, got int8"),
        (liar(np.zeros(1000)[::2], flags=np.zeros(1).flags), ValueError, "expected a C- or F-contiguous array"),
    ],
)
def test_arrays_that_lie_are_refused(param, error, message):
    with pytest.raises(error, match=message):
        optim.SGD([param])
    shaped = liar(np.zeros(10), shape=(1000, 1000))
    opt = optim.SGD([shaped], lr=1.0, momentum=0.5)
    opt.step([np.ones(10)])
    assert (np.asarray(shaped) == -1).all()
    block = np.zeros(10)
    with pytest.raises(ValueError, match="overlaps"):
        optim.SGD([liar(block), liar(block)])


@pytest.mark.parametrize("name, value, steps", [("dtype", np.int64, 0), ("dtype", np.int64, 2), ("strides", (0,), 0), ("strides", (0,), 2), ("shape", (2, 2), 2)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_parameter_whose_kind_changes_under_the_optimizer(name, value, steps):
    w = np.ones(4)
    opt = optim.SGD([w], lr=1.0, momentum=0.5)
    for _ in range(steps):
        opt.step([np.zeros(4)])
    setattr(w, name, value)
    g = np.ones(4, w.dtype)
    g = np.lib.stride_tricks.as_strided(g, w.shape, w.strides)
    with pytest.raises((TypeError, ValueError), match=r"^params\[0\]: expected .*, got "):
        opt.step([g])
    if name == "strides":
        w = np.lib.stride_tricks.as_strided(w, (4,), (8,))
    assert (w.view(np.float64) == 1).all()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda g: g.update(learning_rate=1.0), r"param_groups\[0\]: unknown hyper-parameters \['learning_rate'\]; for learning_rate write lr"),
        (lambda g: g.pop("lr"), r"param_groups\[0\]: expected the entries \[.*'lr'"),
        (lambda g: g.update(params=[np.ones(2)]), r"param_groups\[0\]\['params'\]: expected the parameters that it had"),
        (lambda g: g.update(params=[]), r"param_groups\[0\]\['params'\]: expected the parameters that it had"),
    ],
)
def test_groups_that_lose_their_structure(change, message):
    w = np.ones(2)
    opt = optim.SGD([w], lr=1.0)
    opt.step([np.ones(2)])
    change(opt.param_groups[0])
    with pytest.raises(ValueError, match=message):
        opt.step([np.ones(2)])
    assert (w == 0).all()


def test_an_iterator_of_groups_is_a_list_of_them():
    v, w = np.ones(2), np.ones(2)
    opt = optim.SGD(iter([{"params": [v]}, {"params": [w], "lr": 1.0}]), lr=0.5)
    opt.step([[np.ones(2)], [np.ones(2)]])
    assert v.tolist() == [0.5, 0.5] and w.tolist() == [0, 0]


def test_functions_in_schedules_are_asked_only_for_steps_that_are_done():
    rates = [0.5, 0.25, 0.125]
    w = np.zeros(1)
    opt = optim.SGD([w], lr=schedules.WarmUp(lambda t: rates[t], 1, start_factor=1.0))
    for _ in range(4):
        opt.step([-np.ones(1)])
    assert w.tolist() == [0.5 + sum(rates)]


def test_what_a_state_of_pytorch_must_say():
    moments = {"step": 3, "mu_product": 0.5, "exp_avg": np.ones(2), "exp_avg_sq": np.ones(2)}
    groups = [{"params": [0]}]
    for name in ("step", "mu_product"):
        opt = optim.NAdam([np.ones(2)])
        with pytest.raises(ValueError, match=rf"\['state'\]\[0\]: expected entries \['{name}'\] too"):
            opt.from_torch_state({"state": {0: {k: v for k, v in moments.items() if k != name}}, "param_groups": groups})
        assert opt.state_dict()["groups"][0]["steps"] == 0


def test_an_average_starts_from_the_weights_that_a_state_of_pytorch_belongs_to():
    w = np.zeros(2)
    opt = optim.Adam([w], ema=0.5)
    w[...] = 8.0
    moments = {"step": 3, "exp_avg": np.zeros(2), "exp_avg_sq": np.zeros(2)}
    opt.from_torch_state({"state": {0: moments}, "param_groups": [{"params": [0]}]})
    opt.step([np.zeros(2)])
    with opt.averaged():
        assert (w == 8).all()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_groups_and_options(data):
    """Any optimizer over any groups: each group ends as if it had an optimizer of its own, or all is refused."""
    name = data.draw(st.sampled_from(sorted(SETTINGS)))
    kind, more = SETTINGS[name]
    shapes = st.lists(st.integers(1, 9), min_size=0, max_size=3).map(tuple)
    options = st.fixed_dictionaries(
        {},
        optional={
            "lr": st.floats(0, 0.5),
            "weight_decay": st.sampled_from([0.0, 0.1]),
            "maximize": st.booleans(),
            "l1": st.sampled_from([0.0, 0.1]),
            "clip_value": st.sampled_from([None, 0.1, 2.0]),
            "max_norm": st.sampled_from([None, 1.0]),
            "ema": st.sampled_from([None, 0.5]),
        },
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    groups = []
    for _ in range(data.draw(st.integers(1, 3))):
        dtype = data.draw(st.sampled_from(["f4", "f8"]))
        order = data.draw(st.sampled_from("C" if kind is optim.Adafactor else "CF"))  # which refuses others of more than two axes
        arrays = [np.asarray(rng.normal(size=s), dtype, order=order) for s in data.draw(st.lists(shapes, min_size=1, max_size=3))]
        groups.append((arrays, data.draw(options)))
    together = kind([{"params": [a.copy(order="K") for a in arrays], **o} for arrays, o in groups], **more)
    alone = [kind([a.copy(order="K") for a in arrays], **{**more, **o}) for arrays, o in groups]
    for _ in range(3):
        grads = [[np.asarray(rng.normal(size=a.shape), a.dtype, order="F" if a.flags.f_contiguous else "C") for a in arrays] for arrays, _ in groups]
        before = [a.tobytes() for a in everything(together)]
        if data.draw(st.integers(0, 4)) == 0:  # something is wrong with the last
            wrong = data.draw(st.sampled_from([[1.0], grads[-1][-1].astype("i4"), grads[-1][-1][None], together._params[0]]))
            with pytest.raises((TypeError, ValueError), match="gradient of params"):
                together.step([*grads[:-1], [*grads[-1][:-1], wrong]])
            assert [a.tobytes() for a in everything(together)] == before
        together.step(grads if data.draw(st.booleans()) else [g for group in grads for g in group])
        for opt, g in zip(alone, grads):
            opt.step(g)
    mine = [p.tobytes() for p in together._params] + [s.tobytes() for states in together._state for s in states]
    theirs = [p.tobytes() for o in alone for p in o._params] + [s.tobytes() for o in alone for states in o._state for s in states]
    assert mine == theirs
