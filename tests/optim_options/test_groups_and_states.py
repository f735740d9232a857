"""Groups that come later, modes, states by name and in files."""

import copy
import json
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim, schedules

from ..test_optim_rules import SETTINGS, everything, make



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
