"""State of optimizers, good and damaged."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import settings

from fastnn import nn, optim

from optim_cases import _flat, arrays, change, gradients, SETTINGS


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


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda s: None, "expected a dict with 'optimizer', 'groups' and 'state'"),
        (lambda s: {}, "expected a dict with"),
        (change("optimizer", to="SGD"), "expected the state of Adam, got that of 'SGD'"),
        (change("groups", to=5), r"\['groups'\]: expected a list of dicts"),
        (change("groups", to=[5]), r"\['groups'\]: expected a list of dicts"),
        (change("groups", to=[]), "expected 1 groups and 2 parameters, got 0 and 2"),
        (change("state", to=[{}]), "got 1 and 1"),
        (change("state", to="ab"), r"\['state'\]: expected a list of dicts"),
        (change("groups", 0, "steps", to=KeyError), r"\['groups'\]\[0\]: expected entries"),
        (change("groups", 0, "momentum", to=0.5), r"\['groups'\]\[0\]: unknown hyper-parameters \['momentum'\]; known are"),
        (change("groups", 0, "steps", to=-1), "expected an integer from 0"),
        (change("groups", 0, "steps", to=2**80), "expected an integer from 0"),
        (change("groups", 0, "steps", to=1.5), "expected an integer from 0"),
        (change("groups", 0, "steps", to=True), "expected an integer from 0"),
        (change("groups", 0, "eps", to=-1.0), "eps: expected"),
        (change("groups", 0, "betas", to=(0.9, 1.0)), r"betas\[1\]: expected"),
        (change("state", 1, "exp_avg", to=KeyError), r"\['state'\]\[1\]: expected entries"),
        (change("state", 1, "exp_avg", to=np.zeros(5)), r"\['state'\]\[1\]\['exp_avg'\]: expected shape \(3,\), got \(5,\)"),
        (change("state", 1, "exp_avg", to=np.array(list("abc"))), "expected real numbers, got dtype <U1"),
        (change("state", 1, "exp_avg", to=np.zeros(3, complex)), "expected real numbers, got dtype complex128"),
        (change("state", 1, "exp_avg", to=None), "expected real numbers, got dtype object"),
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
