"""Options, settings and arrays that are refused; any groups and options."""

import math

import numpy as np
import pytest
from hypothesis import settings

from fastnn import optim, schedules


KINDS = [getattr(optim, name) for name in optim.__all__ if name not in ("Optimizer", "LBFGS")]


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
