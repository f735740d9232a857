"""State from PyTorch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnn import optim

from ..test_optim_rules import SETTINGS, everything

from optim_cases import change


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
