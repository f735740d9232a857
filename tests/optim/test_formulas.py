"""Optimizers on anybody's arrays: formulas, layouts, clipping, structures."""

import math

import numpy as np
import pytest
from hypothesis import settings

import fastnn
from fastnn import nn, optim
from fastnn.reference import adam_update, sgd_update

from optim_cases import arrays, gradients, SETTINGS, SHAPES


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
