"""fastnn.optim on anybody's arrays: formulas, layouts, structures, states, refusals."""

import copy
import math
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import nn, optim
from fastnn.reference import adam_update, sgd_update

SHAPES = [(1,), (3, 5), (16,), (17, 33), (2, 3, 4), (100, 100)]

SETTINGS = {
    "sgd": (optim.SGD, {"lr": 0.1}),
    "sgd decay": (optim.SGD, {"lr": 0.1, "weight_decay": 0.01}),
    "momentum": (optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    "dampening": (optim.SGD, {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    "nesterov": (optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "dampening without momentum": (optim.SGD, {"lr": 0.1, "dampening": 0.5}),
    "adam": (optim.Adam, {"lr": 0.01}),
    "adam decay": (optim.Adam, {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}),
    "adam zero betas": (optim.Adam, {"lr": 0.01, "betas": (0.0, 0.0), "eps": 1e-3}),
}


def arrays(dtype=np.float64, order="C", seed=0, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=s), dtype, order=order) for s in shapes]


def gradients(step, dtype=np.float64, order="C", shapes=SHAPES):
    return arrays(dtype, order, 100 + step, shapes)


class Twin:
    """The same steps by fastnn.reference."""

    def __init__(self, params, kind, lr=1e-3, momentum=0.0, betas=(0.9, 0.999), eps=1e-8, **more):
        self.params, self.kind, self.lr, self.more, self.t = params, kind, lr, more, 0
        self.momentum, self.betas, self.eps = momentum, betas, eps
        self.states = [[np.zeros_like(p) for p in params] for _ in range(2)]

    def step(self, grads):
        self.t += 1
        if self.kind is optim.SGD:
            buffers = self.states[0] if self.momentum else None
            sgd_update(self.params, grads, buffers, self.t, lr=self.lr, momentum=self.momentum, **self.more)
        else:
            adam_update(self.params, grads, *self.states, self.t, lr=self.lr, beta1=self.betas[0], beta2=self.betas[1], eps=self.eps, **self.more)


# --- formulas ---


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 2e-6), (np.float64, 1e-14)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("name", SETTINGS)
def test_as_the_twin(name, order, dtype, tolerance):
    kind, settings = SETTINGS[name]
    mine, theirs = arrays(dtype, order), arrays(dtype)
    opt, twin = kind(mine, **settings), Twin(theirs, kind, **settings)
    for step in range(6):
        grads = gradients(step, dtype, order)
        kept = [g.copy() for g in grads]
        assert opt.step(grads) is None
        assert all((g == k).all() for g, k in zip(grads, kept))  # only read
        twin.step(gradients(step, dtype))
    assert all(np.abs(a - b).max() <= tolerance * 10 for a, b in zip(mine, theirs))


@pytest.mark.parametrize("name", SETTINGS)
def test_as_torch(name):
    torch = pytest.importorskip("torch")
    kind, settings = SETTINGS[name]
    mine = arrays()
    theirs = [torch.nn.Parameter(torch.from_numpy(a)) for a in arrays()]
    opt, torchs = kind(mine, **settings), getattr(torch.optim, kind.__name__)(theirs, **settings)
    for step in range(6):
        grads = gradients(step)
        norm = opt.step(grads, clip_norm=5.0)
        for p, g in zip(theirs, grads):
            p.grad = torch.from_numpy(g.copy())
        assert abs(norm - float(torch.nn.utils.clip_grad_norm_(theirs, 5.0))) < 1e-9
        torchs.step()
    assert all(np.abs(a - b.detach().numpy()).max() < 1e-12 for a, b in zip(mine, theirs))


# What PyTorch 2.13 gives after three steps from w = [1, -2, 3] with the gradients [0.5, -1, 0.25] * (1, -2, 4).
TORCH = {
    "sgd": [0.8500000000000001, -1.7000000000000002, 2.925],
    "sgd decay": [0.8470029490000001, -1.6940058980000001, 2.916008972],
    "momentum": [0.9272499999999999, -1.8544999999999998, 2.963625],
    "dampening": [0.9053383825, -1.810676765, 2.893615913125],
    "nesterov": [0.8200073057499999, -1.6400146114999998, 2.8102582594375],
    "dampening without momentum": [0.8500000000000001, -1.7000000000000002, 2.925],
    "adam": [0.9894644792718105, -1.9894644791791056, 2.98946447945722],
    "adam decay": [0.9878401215338438, -1.987835767572991, 2.979465519543489],
    "adam zero betas": [0.9900149675710997, -1.9900074918838968, 2.9900298705676],
}


@pytest.mark.parametrize("name", TORCH)
def test_recorded_from_torch(name):
    kind, settings = SETTINGS[name]
    w = np.array([1.0, -2.0, 3.0])
    opt = kind([w], **settings)
    for factor in (1, -2, 4):
        opt.step([factor * np.array([0.5, -1.0, 0.25])])
    assert np.abs(w - TORCH[name]).max() < 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_bits_for_any_team_and_layout(team, name, dtype):
    kind, settings = SETTINGS[name]
    shapes = [*SHAPES, (4096,), (4097,), (3, 5000)]
    results = []
    for threads, order in ((1, "C"), (2, "C"), (3, "F"), (5, "C")):
        params = arrays(dtype, order, shapes=shapes)
        opt = kind(params, **settings)
        with team(threads):
            norms = [opt.step(gradients(i, dtype, "F" if order == "F" else "C", shapes), clip_norm=1.0) for i in range(3)]
        if order == "C":
            results.append([norms, *(p.tobytes() for p in params)])
        else:  # a norm is summed in the order of memory
            assert np.allclose(norms, results[0][0], rtol=1e-12)
    assert all(r == results[0] for r in results)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_bits_on_every_isa_with_fma(name):
    names = [n for n in fastnn.available_isas() if n != "generic"]
    before, results = fastnn.get_isa(), []
    for isa in names:
        fastnn.use_isa(isa)
        try:
            params = arrays(np.float32)
            opt = SETTINGS[name][0](params, **SETTINGS[name][1])
            norms = [opt.step(gradients(i, np.float32), clip_norm=2.0) for i in range(3)]
        finally:
            fastnn.use_isa(before)
        results.append([norms, *(p.tobytes() for p in params)])
    assert all(r == results[0] for r in results)


def test_mixed_dtypes():
    single, double = np.ones(20, np.float32), np.ones(20)
    opt = optim.Adam([single, double], lr=0.1)
    for _ in range(3):
        opt.step([np.full(20, 0.5, np.float32), np.full(20, 0.5)])
    assert np.abs(single - double).max() < 1e-6 and single.dtype == np.float32


# --- clipping ---


def test_clipping():
    w = np.zeros(2)
    opt = optim.SGD([w], lr=1.0)
    assert opt.step([np.array([3.0, 4.0])], clip_norm=1.0) == 5.0
    assert np.allclose(w, -np.array([3.0, 4.0]) / (5 + 1e-6), rtol=1e-15)
    w[:] = 0
    assert opt.step([np.array([3.0, 4.0])], clip_norm=10) == 5.0
    assert (w == [-3, -4]).all()  # shorter ones are not scaled, to the bit


def test_clipping_takes_all_arrays_together():
    shapes = [(50, 90), (4097,), (3,)]
    params, grads = arrays(shapes=shapes), gradients(0, shapes=shapes)
    norm = optim.SGD(params).step(grads, clip_norm=1.0)
    assert abs(norm - math.sqrt(sum((g**2).sum() for g in grads))) < 1e-9
    large = [np.full(10, 1e30, np.float32)]
    assert optim.SGD([np.zeros(10, np.float32)]).step(large, clip_norm=1.0) == pytest.approx(1e30 * math.sqrt(10))


def test_nan_is_not_hidden_by_clipping():
    for bad in (np.nan, np.inf):
        w = np.zeros(3)
        norm = optim.SGD([w], lr=1.0).step([np.array([1.0, bad, 2.0])], clip_norm=1.0)
        assert not math.isfinite(norm) and np.isnan(w).any()


# --- structures ---


def test_list_dict_groups_and_parameters_are_the_same():
    def after(make, shape):
        w, b = np.ones((2, 3)), np.ones(3)
        gw, gb = np.full((2, 3), 0.5), np.full(3, -1.0)
        opt = make(w, b)
        for _ in range(2):
            opt.step(shape(gw, gb))
        return w.tobytes(), b.tobytes()

    as_list = after(lambda w, b: optim.Adam([w, b]), lambda gw, gb: [gw, gb])
    assert after(lambda w, b: optim.Adam((w, b)), lambda gw, gb: (gw, gb)) == as_list
    assert after(lambda w, b: optim.Adam(iter([w, b])), lambda gw, gb: [gw, gb]) == as_list
    assert after(lambda w, b: optim.Adam({"w": w, "b": b}), lambda gw, gb: {"b": gb, "w": gw}) == as_list
    groups = lambda w, b: optim.Adam([{"params": [w]}, {"params": {"b": b}}])  # noqa: E731
    assert after(groups, lambda gw, gb: [[gw], {"b": gb}]) == as_list
    assert after(groups, lambda gw, gb: [gw, gb]) == as_list


def test_groups_have_settings_of_their_own():
    a, b, c = np.ones(2), np.ones(2), np.ones(2)
    opt = optim.SGD([{"params": [a], "lr": 0.5}, {"params": [b, c], "momentum": 0.9}], lr=0.1)
    for _ in range(2):
        opt.step([[np.ones(2)], [np.ones(2), np.ones(2)]])
    assert np.allclose(a, 0) and np.allclose(b, 1 - 0.1 - 0.19) and (b == c).all()
    assert [set(s) for s in opt.state_dict()["state"]] == [set(), {"momentum_buffer"}, {"momentum_buffer"}]
    assert "SGD(3 parameters, lr=0.5" in repr(opt)


def test_a_models_parameters():
    model = nn.Sequential(nn.Dense(3, 2))
    before = model.layers[0].weight.data.copy()
    optim.SGD(model.parameters(), lr=1.0).step([np.ones((3, 2), np.float32), np.zeros(2, np.float32)])
    assert (model.layers[0].weight.data == before - 1).all()


def test_settings_may_change_between_steps():
    w = np.zeros(1)
    opt = optim.SGD([w], lr=1.0)
    opt.step([np.ones(1)])
    opt.param_groups[0]["lr"] = 10.0
    opt.step([np.ones(1)])
    opt.param_groups[0]["lr"] = lambda t: 100.0 * t
    opt.step([np.ones(1)])
    opt.param_groups[0].update(lr=0.0, weight_decay=3.0)
    opt.step([np.ones(1)])
    assert w[0] == -1 - 10 - 200
    opt.param_groups[0]["lr"] = -1
    with pytest.raises(ValueError, match="lr: expected a finite number >= 0, got -1"):
        opt.step([np.ones(1)])
    assert w[0] == -211
    with_list = optim.Adam([w], betas=[0.5, 0.5])
    assert with_list.param_groups[0]["betas"] == (0.5, 0.5)


def test_momentum_cannot_be_switched_on_later():
    w = np.zeros(1)
    opt = optim.SGD([w], lr=1.0)
    opt.step([np.ones(1)])
    opt.param_groups[0]["momentum"] = 0.9
    with pytest.raises(ValueError, match="momentum: expected to stay at 0 in group 0, got 0.9"):
        opt.step([np.ones(1)])
    assert w[0] == -1


def test_schedules():
    seen = []
    w = np.zeros(1)
    opt = optim.SGD([w], lr=lambda t: seen.append(t) or 10.0**-t)
    for _ in range(3):
        opt.step([np.ones(1)])
    assert np.isclose(w[0], -1.11) and sorted(set(seen)) == [0, 1, 2]
    for bad in (-1.0, math.nan, "fast", None):
        opt = optim.SGD([w], lr=lambda t: bad)  # noqa: B023
        before = w.copy()
        with pytest.raises((TypeError, ValueError), match=r"lr\(step\): expected"):
            opt.step([np.ones(1)])
        assert (w == before).all() and opt.state_dict()["groups"][0]["steps"] == 0


def test_a_schedule_after_numbers_on_the_reference_backend_too():
    """The rate is read anew for every backend that the optimizer serves."""
    model = nn.Sequential(nn.Dense(2, 2))
    opt = optim.SGD(model.parameters(), lr=1.0)
    opt.step([np.zeros(p.shape, np.float32) for p in model.parameters()])
    opt.param_groups[0]["lr"] = 0.0
    before = model.state_dict()
    trainer = fastnn.Trainer(model, fastnn.losses.SoftmaxCrossEntropy(), opt, backend="reference")
    trainer.step(np.ones((2, 2), np.float32), np.array([0, 1]))
    assert all((model.state_dict()[k] == v).all() for k, v in before.items())


# --- state ---


def test_states_from_memory_that_may_not_be_written(monkeypatch):
    """As joblib gives them, which maps the file of a pickled optimizer: what is read-only becomes the optimizer's own."""
    w = nn.Parameter(np.ones((3, 2)))
    opt = optim.Adam([w], lr=0.1, ema=0.5)
    opt.step([np.ones((3, 2), np.float32)])
    states = [a for _, states, _ in opt.update_tensors() for a in states]
    state = opt.__getstate__()
    for a in states:
        a.flags.writeable = False
    again = object.__new__(optim.Adam)
    again.__setstate__(state)
    for a in states:
        a.flags.writeable = True
    again.step([np.ones((3, 2), np.float32)])
    assert again.state_dict()["groups"][0]["steps"] == 2 and (states[0] == np.float32(0.1)).all()


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_state_round_trip(name, order):
    kind, settings = SETTINGS[name]
    params = arrays(np.float32, order)
    opt = kind(params, **settings)
    for step in range(3):
        opt.step(gradients(step, np.float32, order))
    saved = pickle.loads(pickle.dumps(opt.state_dict()))
    middle = [p.copy(order="K") for p in params]
    for step in range(3, 6):
        opt.step(gradients(step, np.float32, order))
    assert all((a == b).all() for a, b in zip(_flat(saved), _flat(copy.deepcopy(saved))))

    again = kind(middle, **{**settings, "lr": 77.0})
    again.load_state_dict(saved)
    assert again.param_groups[0]["lr"] == settings["lr"]
    for step in range(3, 6):
        again.step(gradients(step, np.float32, order))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(params, middle))
    assert all((a == b).all() for a, b in zip(_flat(opt.state_dict()), _flat(again.state_dict())))


def _flat(state_dict):
    return [np.asarray(v) for s in state_dict["state"] for v in s.values()]


def test_a_state_dict_is_a_copy():
    w = np.ones(2)
    opt = optim.Adam([w])
    opt.step([np.ones(2)])
    saved = opt.state_dict()
    saved["state"][0]["exp_avg"][:] = 99
    saved["groups"][0]["lr"] = 99
    assert (opt.state_dict()["state"][0]["exp_avg"] < 1).all() and opt.param_groups[0]["lr"] == 1e-3
    opt.load_state_dict(saved)
    saved["state"][0]["exp_avg"][:] = 7
    assert (opt.state_dict()["state"][0]["exp_avg"] == 99).all()


def test_a_schedule_is_no_state():
    w = np.ones(2)
    opt = optim.SGD([w], lr=lambda t: 0.5)
    assert "lr" not in opt.state_dict()["groups"][0]
    again = optim.SGD([w], lr=lambda t: 0.25)
    again.load_state_dict(opt.state_dict())
    again.step([np.ones(2)])
    assert (w == 0.75).all()


def change(path, value):
    def apply(state):
        *way, last = path
        at = state
        for key in way:
            at = at[key]
        if value is KeyError:
            del at[last]
        else:
            at[last] = value
        return state

    return apply


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda s: None, "expected a dict with 'optimizer', 'groups' and 'state'"),
        (lambda s: {}, "expected a dict with"),
        (change(["optimizer"], "SGD"), "expected the state of Adam, got that of 'SGD'"),
        (change(["groups"], 5), r"\['groups'\]: expected a list of dicts"),
        (change(["groups"], [5]), r"\['groups'\]: expected a list of dicts"),
        (change(["groups"], []), "expected 1 groups and 2 parameters, got 0 and 2"),
        (change(["state"], [{}]), "got 1 and 1"),
        (change(["state"], "ab"), r"\['state'\]: expected a list of dicts"),
        (change(["groups", 0, "steps"], KeyError), r"\['groups'\]\[0\]: expected entries"),
        (change(["groups", 0, "momentum"], 0.5), r"\['groups'\]\[0\]: unknown hyper-parameters \['momentum'\]; known are"),
        (change(["groups", 0, "steps"], -1), "expected an integer from 0"),
        (change(["groups", 0, "steps"], 2**80), "expected an integer from 0"),
        (change(["groups", 0, "steps"], 1.5), "expected an integer from 0"),
        (change(["groups", 0, "steps"], True), "expected an integer from 0"),
        (change(["groups", 0, "eps"], -1.0), "eps: expected"),
        (change(["groups", 0, "betas"], (0.9, 1.0)), r"betas\[1\]: expected"),
        (change(["state", 1, "exp_avg"], KeyError), r"\['state'\]\[1\]: expected entries"),
        (change(["state", 1, "exp_avg"], np.zeros(5)), r"\['state'\]\[1\]\['exp_avg'\]: expected shape \(3,\), got \(5,\)"),
        (change(["state", 1, "exp_avg"], np.array(list("abc"))), "expected real numbers, got dtype <U1"),
        (change(["state", 1, "exp_avg"], np.zeros(3, complex)), "expected real numbers, got dtype complex128"),
        (change(["state", 1, "exp_avg"], None), "expected real numbers, got dtype object"),
    ],
)
def test_a_damaged_state_changes_nothing(damage, message):
    params = [np.ones((2, 2)), np.ones(3)]
    opt = optim.Adam(params)
    opt.step([np.ones((2, 2)), np.ones(3)])
    before = opt.state_dict()
    damaged = copy.deepcopy(before)
    damaged["groups"][0]["lr"] = 5.0  # good, but must not be taken over either
    damaged["state"][0]["exp_avg"][:] = 9
    with pytest.raises((TypeError, ValueError), match=message):
        opt.load_state_dict(damage(damaged))
    after = opt.state_dict()
    assert after["groups"] == before["groups"]
    assert all((a == b).all() for a, b in zip(_flat(after), _flat(before)))


def test_the_state_of_another_momentum():
    w = np.ones(2)
    plain, heavy = optim.SGD([w]), optim.SGD([w.copy()], momentum=0.9)
    for a, b in ((plain, heavy), (heavy, plain)):
        with pytest.raises(ValueError, match="state_dict"):
            a.load_state_dict(b.state_dict())


# --- refusals: parameters and settings ---

READ_ONLY = np.ones(4)
READ_ONLY.flags.writeable = False
OVERLAP = np.ones(10)


@pytest.mark.parametrize(
    "params, error, message",
    [
        (np.ones(3), TypeError, r"params: expected a list or dict of arrays, got a single one; write \[array\]"),
        (None, TypeError, "params: expected a list or dict of arrays, got NoneType"),
        (7, TypeError, "params: expected a list or dict of arrays, got int"),
        (nn.Dense(2, 2), TypeError, r"params: expected a list or dict of arrays, got Dense; write model.parameters\(\)"),
        ([], ValueError, "params: expected at least one array, got none"),
        ({}, ValueError, "params: expected at least one array, got none"),
        ([[1.0]], TypeError, r"params\[0\]: expected a NumPy array or a Parameter, got list"),
        ([np.ones(2), None], TypeError, r"params\[1\]: expected a NumPy array"),
        ([np.ones(2, int)], TypeError, r"params\[0\]: expected dtype float32 or float64, got int64"),
        ([np.ones(2, np.float16)], TypeError, r"params\[0\]: expected dtype float32 or float64, got <f2"),
        ([np.ones(2, ">f4")], TypeError, r"params\[0\]: expected dtype float32 or float64, got >f4"),
        ([np.ones(2, complex)], TypeError, r"got complex128"),
        ([np.ma.array([1.0, 2.0], mask=[0, 1])], TypeError, r"params\[0\]: expected a plain array, got a masked one"),
        ([np.ones((4, 4))[:, ::2]], ValueError, r"params\[0\]: expected a C- or F-contiguous array, got strides"),
        ([READ_ONLY], ValueError, r"params\[0\]: expected a writable array"),
        ([np.frombuffer(bytes(41), np.uint8)[1:].view(np.float64)], ValueError, r"params\[0\]: expected an aligned array"),
        ([OVERLAP[:6], OVERLAP[5:]], ValueError, r"params\[1\]: expected memory of its own, got an array that overlaps params\[0\]"),
        ([OVERLAP, OVERLAP], ValueError, "expected memory of its own"),
        ({"w": OVERLAP, "v": OVERLAP[3:4]}, ValueError, r"params\['v'\]: expected memory of its own"),
        ({"w": [1.0]}, TypeError, r"params\['w'\]: expected a NumPy array"),
        ([{"lr": 1.0}], ValueError, r"params\[0\]: expected a group with an entry 'params', got keys \['lr'\]"),
        ([{"params": [np.ones(1)], "rate": 1.0}], ValueError, r"params\[0\]: unknown hyper-parameters \['rate'\]; for rate write lr;"),
        ([{"params": [np.ones(1)], "wieght_decay": 1.0}], ValueError, r"\['wieght_decay'\]; for wieght_decay write weight_decay; known"),
        ([{"params": [np.ones(1)], "betas": (0.9, 0.9)}], ValueError, r"unknown hyper-parameters \['betas'\]; known are"),
        ([{"params": np.ones(1)}], TypeError, r"params\[0\]: expected a list or dict of arrays, got a single one"),
        ([{"params": 3}], TypeError, r"params\[0\]: expected a list or dict of arrays, got int"),
        ([np.ones(1), {"params": [np.ones(1)]}], TypeError, r"params\[1\]: expected a NumPy array or a Parameter, got dict"),
        ([{"params": [np.ones(1)], "lr": -1.0}], ValueError, "lr: expected a finite number >= 0, got -1"),
    ],
)
def test_parameters_that_are_refused(params, error, message):
    with pytest.raises(error, match=message):
        optim.SGD(params)


@pytest.mark.parametrize(
    "kind, settings, error, name",
    [
        *[
            (kind, {name: value}, error, name)
            for kind, names in ((optim.SGD, ("lr", "momentum", "weight_decay")), (optim.Adam, ("lr", "eps", "weight_decay")))
            for name in names
            for value, error in (
                (-1e-9, ValueError),
                (math.nan, ValueError),
                (math.inf, ValueError),
                (10**400, ValueError),
                ("1", TypeError),
                (None, TypeError),
                (True, TypeError),
                (1j, TypeError),
                ([0.1], TypeError),
            )
        ],
        (optim.SGD, {"dampening": math.nan, "momentum": 0.9}, ValueError, "dampening"),
        (optim.SGD, {"nesterov": True}, ValueError, "nesterov"),
        (optim.SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, ValueError, "nesterov"),
        (optim.Adam, {"betas": 0.9}, ValueError, "betas"),
        (optim.Adam, {"betas": (0.9,)}, ValueError, "betas"),
        (optim.Adam, {"betas": (1.0, 0.9)}, ValueError, r"betas\[0\]"),
        (optim.Adam, {"betas": (0.9, -0.1)}, ValueError, r"betas\[1\]"),
        (optim.Adam, {"betas": (0.9, "x")}, TypeError, r"betas\[1\]"),
        (optim.Adam, {"betas": None}, ValueError, "betas"),
    ],
)
def test_settings_that_are_refused(kind, settings, error, name):
    with pytest.raises(error, match=f"^{name}: expected .*, got "):
        kind([np.ones(1)], **settings)


def test_numpy_numbers_are_numbers():
    w = np.zeros(1)
    optim.SGD([w], lr=np.float32(0.5)).step([np.ones(1)])
    optim.SGD([w], lr=np.int64(1)).step([np.ones(1)])
    assert w[0] == -1.5


# --- refusals: gradients ---


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
@pytest.mark.parametrize(
    "grads, error, message",
    [
        (None, TypeError, "grads: expected a list of arrays, got NoneType"),
        (np.ones((2, 4, 4)), TypeError, "grads: expected a list of arrays, got ndarray"),
        ([np.ones((4, 4))], ValueError, "grads: expected 2 gradients, one for each parameter, got 1"),
        ([np.ones((4, 4)), [1.0, 1, 1]], TypeError, r"gradient of params\[1\]: expected a NumPy array, got list"),
        ([np.ones((4, 4), np.float32), np.ones(3)], TypeError, r"gradient of params\[0\]: expected the parameter's dtype float64, got float32"),
        ([np.ones((4, 4)), np.ones(3, ">f8")], (TypeError, ValueError), r"gradient of params\[1\]: expected"),
        ([np.ones((4, 3)), np.ones(3)], ValueError, r"gradient of params\[0\]: expected the parameter's shape \(4, 4\), got \(4, 3\)"),
        ([np.ones(16), np.ones(3)], ValueError, r"gradient of params\[0\]: expected the parameter's shape"),
        ([np.ones((4, 4)), np.ones((1, 3))], ValueError, r"gradient of params\[1\]: expected the parameter's shape"),
        ([np.ones((4, 4)), 1.0], TypeError, r"gradient of params\[1\]: expected a NumPy array, got float"),
        ([np.ones((4, 4)), np.ma.array([1.0, 2, 3], mask=[0, 1, 0])], TypeError, r"gradient of params\[1\]: expected a plain array, got a masked"),
        ({"w": 1}, TypeError, "grads: expected a list of arrays, got dict"),
    ],
)
def test_gradients_that_are_refused(kind, grads, error, message):
    params = [np.ones((4, 4)), np.ones(3)]
    opt = kind(params, lr=1.0)
    before = opt.state_dict()
    with pytest.raises(error, match=message):
        opt.step(grads)
    assert all((p == 1).all() for p in params)
    assert opt.state_dict()["groups"] == before["groups"] and not any(s.any() for s in _flat(opt.state_dict()))


def test_gradients_that_are_the_parameter():
    w = np.ones((4, 4))
    opt = optim.SGD([w], lr=1.0)
    for g in (w, w[:], np.lib.stride_tricks.as_strided(w, w.shape, w.strides)):
        with pytest.raises(ValueError, match=r"gradient of params\[0\]: expected memory of its own"):
            opt.step([g])
    assert (w == 1).all()


def test_structures_that_differ():
    opt = optim.SGD({"w": np.ones(2), "b": np.ones(2)})
    for grads in ([np.ones(2), np.ones(2)], {"w": np.ones(2)}, {"w": np.ones(2), "b": np.ones(2), "c": np.ones(2)}):
        with pytest.raises(ValueError, match=r"grads: expected a dict with the parameters' keys \['b', 'w'\], got"):
            opt.step(grads)
    opt = optim.SGD([{"params": [np.ones(2)]}, {"params": {"b": np.ones(2)}}])
    with pytest.raises(ValueError, match="grads: expected 2 groups, got 1"):
        opt.step([[np.ones(2)]])
    with pytest.raises(ValueError, match=r"grads\[1\]: expected a dict with the parameters' keys"):
        opt.step([[np.ones(2)], [np.ones(2)]])
    with pytest.raises(ValueError, match=r"grads\[0\]: expected 1 gradients"):
        opt.step([[], {"b": np.ones(2)}])


@pytest.mark.parametrize(
    "clip, error", [(0, ValueError), (-1, ValueError), (math.nan, ValueError), (math.inf, ValueError), ("1", TypeError)]
)
def test_clip_norms_that_are_refused(clip, error):
    w = np.ones(2)
    with pytest.raises(error, match="clip_norm: expected"):
        optim.SGD([w], lr=1.0).step([np.ones(2)], clip_norm=clip)
    assert (w == 1).all()


def views(g):
    """The same numbers in other places and orders."""
    wide = np.zeros((*g.shape[:-1], 2 * g.shape[-1]), g.dtype)
    wide[..., ::2] = g
    loose = np.frombuffer(b"x" + g.tobytes(), np.uint8)[1:].view(g.dtype).reshape(g.shape)
    turned = np.ascontiguousarray(g.T).T
    backwards = np.ascontiguousarray(g[::-1])[::-1]
    return {"turned": turned, "sliced": wide[..., ::2], "not aligned": loose, "backwards": backwards, "in another order": np.asfortranarray(g)}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.LAMB])
def test_gradients_in_any_layout(kind, order):
    rng = np.random.default_rng(3)
    start, grads = rng.normal(size=(5, 7)), [rng.normal(size=(5, 7)) for _ in range(3)]
    for name in views(grads[0]):
        w, v = start.copy(order), start.copy(order)
        one, other = kind([w], lr=0.1), kind([v], lr=0.1)
        for g in grads:
            one.step([g.copy(order)])
            other.step([views(g)[name]])
        assert w.tobytes("A") == v.tobytes("A"), name


def test_a_gradient_that_is_one_row_for_all():
    w = np.zeros((3, 4))
    optim.SGD([w], lr=1.0).step([np.broadcast_to(np.arange(4.0), (3, 4))])
    assert (w == -np.arange(4.0)).all()


def test_a_view_of_the_parameter_is_no_gradient_in_any_layout():
    w = np.ones((4, 4))
    opt = optim.Adam([w], lr=1.0)
    for g, what in ((w.T, "params"), (w[::-1], "params"), (np.broadcast_to(w[0], (4, 4)), "params"), (opt._state[0][1].T, "the optimizer's state")):
        with pytest.raises(ValueError, match=rf"gradient of params\[0\]: expected memory of its own, got an array that overlaps {what}"):
            opt.step([g])
    assert (w == 1).all()


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW, optim.LAMB, optim.NAdam, optim.ScheduleFreeAdamW])
@pytest.mark.parametrize("options", [{}, {"ema": 0.5}, {"max_norm": 0.1}, {"skip_nonfinite": True}], ids=str)
@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_a_parameter_without_a_gradient_stays(kind, options, clip_norm):
    """Decay and momentum included, while the others go as if they were alone."""
    rng = np.random.default_rng(0)
    start = [rng.normal(size=(3, 2)), rng.normal(size=5000), rng.normal(size=2)]
    grads = [rng.normal(size=p.shape) for p in start]
    params = [p.copy() for p in start]
    settings = {"lr": 0.1, "weight_decay": 0.3, **options}
    opt = kind(params, **settings)
    opt.step(grads, clip_norm=clip_norm)
    before, state = params[1].copy(), opt.state_dict()["state"][1]
    alone = [p.copy() for p in (params[0], params[2])]
    other = kind(alone, **settings)
    whole = opt.state_dict()
    other.load_state_dict({**whole, "state": [whole["state"][0], whole["state"][2]]})
    given = [grads[0], None, grads[2]]
    for _ in range(2):
        norm = opt.step(given, clip_norm=clip_norm)
        assert norm == other.step([grads[0], grads[2]], clip_norm=clip_norm)
    assert params[1].tobytes() == before.tobytes()
    assert all(a.tobytes() == state[k].tobytes() for k, a in opt.state_dict()["state"][1].items())
    assert params[0].tobytes() == alone[0].tobytes() and params[2].tobytes() == alone[1].tobytes()
    opt.step(grads, clip_norm=clip_norm)
    assert params[1].tobytes() != before.tobytes()


def test_a_group_without_gradients_counts_no_step():
    opt = optim.Adam([{"params": [np.ones(2)]}, {"params": [np.ones(3), np.ones(1)]}])
    opt.step([[np.ones(2)], [None, None]])
    assert [g["steps"] for g in opt.state_dict()["groups"]] == [1, 0]
    assert opt.step([None, None, None], clip_norm=1.0) == 0.0
    assert [g["steps"] for g in opt.state_dict()["groups"]] == [1, 0]
    opt.step([[np.ones(2)], [None, np.ones(1)]])
    assert [g["steps"] for g in opt.state_dict()["groups"]] == [2, 1]


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.LAMB, optim.Lion, optim.RAdam, optim.ScheduleFreeAdamW])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_of_no_dimensions_and_of_no_elements(kind, dtype):
    one, long = np.array(2.0, dtype), np.array([2.0], dtype)
    none, empty = np.zeros((0, 3), dtype), np.zeros((3, 0), dtype)
    a, b = kind([one, none, empty], lr=0.1, max_norm=1.0), kind([long], lr=0.1, max_norm=1.0)
    for g in (dtype(0.5), np.array(0.5, dtype), 0.5, 1):
        a.step([g, np.zeros((0, 3), dtype), None if g == 1 else np.zeros((3, 0), dtype)])
        b.step([np.array([g], dtype)])
    assert one == long[0] != 2.0
    a.load_state_dict(pickle.loads(pickle.dumps(a.state_dict())))
    with pytest.raises(TypeError, match=r"gradient of params\[0\]: expected the parameter's dtype"):
        a.step([np.float16(1), none.copy(), empty.copy()])
    with pytest.raises(TypeError, match=r"gradient of params\[0\]: expected a NumPy array, got bool"):
        a.step([True, none.copy(), empty.copy()])


def test_subclasses_that_mean_something():
    """Units, say: their numbers are taken only when they are asked for."""

    class Quantity(np.ndarray):
        def __array_ufunc__(self, *arguments, **more):
            raise AssertionError("not to be computed with")

    q = np.ones(3).view(Quantity)
    for params, grads, where in (([q], [np.ones(3)], r"params\[0\]"), ([np.ones(3)], [q], r"gradient of params\[0\]")):
        with pytest.raises(TypeError, match=rf"^{where}: expected a plain array, got a Quantity, of which the numbers alone would be taken"):
            optim.SGD(params, lr=1.0).step(grads)
    w = np.ones(3).view(np.memmap)
    optim.SGD([w], lr=1.0).step([np.ones(3).view(np.memmap)])
    assert (np.asarray(w) == 0).all()


def test_read_only_gradients_are_fine():
    w, g = np.ones(4), np.ones(4)
    g.flags.writeable = False
    optim.SGD([w], lr=1.0).step([g])
    assert (w == 0).all()


def test_axes_of_length_one_have_no_layout():
    w = np.zeros((1, 5))
    optim.SGD([w], lr=1.0).step([np.ones((3, 5))[1:2]])
    assert (w == -1).all()


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 70),
    name=st.sampled_from(sorted(SETTINGS)),
    offset=st.integers(0, 3),
    special=st.sampled_from([0.0, -0.0, np.inf, -np.inf, np.nan, 1e38, 1e-45]),
    at=st.integers(0, 69),
)
def test_special_values_stay_in_their_place(n, name, offset, special, at):
    """One strange gradient: the others' results are the same bits as without it, and nothing outside is touched."""
    kind, settings = SETTINGS[name]

    def run(strange):
        field = np.full(n + 8, 7.0, np.float32)
        w = field[offset : offset + n]
        w[...] = np.random.default_rng(1).normal(size=n)
        opt = kind([w], **settings)
        for i in range(2):
            g = np.random.default_rng(i + 5).normal(size=n).astype(np.float32)
            if strange:
                g[at % n] = special
            opt.step([g])
        assert (field[:offset] == 7).all() and (field[offset + n :] == 7).all()
        return w

    a, b = run(True), run(False)
    others = np.arange(n) != at % n
    assert a[others].tobytes() == b[others].tobytes()
    if np.isnan(special):
        assert np.isnan(a[at % n])


def test_a_second_step_is_refused_while_one_runs():
    """Two threads on one optimizer: a step is whole or refused, never mixed."""
    n = 3_000_000
    w = np.zeros(n, np.float32)
    opt = optim.SGD([w], lr=1.0)
    done, failures = [], []
    start = threading.Barrier(3)

    def work(value):
        start.wait()
        for _ in range(20):
            try:
                opt.step([np.full(n, value, np.float32)], clip_norm=1e30)
                done.append(value)
            except RuntimeError as error:
                failures.append(str(error))

    threads = [threading.Thread(target=work, args=(v,)) for v in (1.0, 2.0, 4.0)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert done and (w == -sum(done)).all()
    assert all(f.startswith("this optimizer, or a Trainer that has it, is in use") for f in failures)
    assert len(done) + len(failures) == 60
