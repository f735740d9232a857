"""fastnn.schedules: formulas against PyTorch's, tables, composition, configurations, refusals, optimizers and training."""

import copy
import importlib.util
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import losses, nn, optim, schedules
from fastnn.schedules import Clock, from_config

_spec = importlib.util.spec_from_file_location("make_schedules", Path(__file__).parent / "golden" / "make_schedules.py")
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

# one of every kind, and every option away from its default somewhere
KINDS = {
    "constant": schedules.Constant(0.3),
    "step": schedules.Step(0.3, 4, 0.5),
    "multi step": schedules.MultiStep(0.3, [2, 5, 9]),
    "no milestones": schedules.MultiStep(0.3, []),
    "exponential": schedules.Exponential(0.3, 0.9, decay_steps=3, staircase=True),
    "inverse time": schedules.InverseTime(0.3, 0.5, decay_steps=3, staircase=True),
    "cosine": schedules.Cosine(0.3, 11, eta_min=0.1),
    "restarts": schedules.CosineRestarts(0.3, 3, T_mult=2, eta_min=0.1),
    "cos log": schedules.CosLog(0.3, 13, cycles=3),
    "linear": schedules.Linear(0.3, 0.1, 0.7, 9),
    "polynomial": schedules.Polynomial(0.3, 9, 0.5, end_lr=0.01),
    "one cycle": schedules.OneCycle(0.3, 15, three_phase=True, anneal_strategy="linear"),
    "warm-up": schedules.WarmUp(schedules.Cosine(0.3, 7), 5, start_factor=0.1),
    "sequence": schedules.Sequence([0.1, schedules.Step(0.3, 2), schedules.Linear(0.3)], [4, 9]),
    "product": schedules.Exponential(0.3, 0.9) * schedules.Linear(1.0, total_iters=4) * 2,
    "per epoch": schedules.PerEpoch(schedules.MultiStep(0.3, [1, 2]), 4),
    "per epoch, smooth": schedules.PerEpoch(schedules.WarmUp(schedules.CosineRestarts(0.3, 1, 2), 1), 4, smooth=True),
    "plateau": schedules.ReduceOnPlateau(0.3, "max", 0.5, 1, 0.01, "abs", 2, 0.01, 1e-9, "val_accuracy"),
    "warm-up before a plateau": schedules.WarmUp(schedules.ReduceOnPlateau(0.3, patience=0), 6),
}


def near(a, b, tolerance=1e-12):
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and np.abs(a - b).max() <= tolerance * np.abs(b).max()


def stepped(name):
    """The rates of fastnn's counterpart of a golden case."""
    if name in golden.CASES:
        return from_config(golden.CASES[name][0]).table(0, golden.STEPS)
    s, rates = schedules.ReduceOnPlateau(golden.LR, **golden.PLATEAUS[name]), []
    for metric in golden.metrics():
        s.step(metric)
        rates.append(s(0))
    return np.array(rates)


# --- formulas ---


@pytest.mark.parametrize("name", [*golden.CASES, *golden.PLATEAUS])
def test_recorded_from_torch(name):
    with np.load(golden.FILE) as file:
        recorded = file[name]
    assert near(stepped(name), recorded) and len(np.unique(recorded)) > 3


@pytest.mark.parametrize("name", [*golden.CASES, *golden.PLATEAUS])
@pytest.mark.filterwarnings("ignore:.*epoch parameter:UserWarning")
def test_live_with_torch(name):
    pytest.importorskip("torch")
    assert near(stepped(name), golden.from_torch(name))


def test_the_cases_hold_every_kind_of_torchs():
    kinds = {type(s).__name__ for s in KINDS.values()}
    assert kinds | {"Schedule"} == {n for n in schedules.__all__ if n[0].isupper()}
    assert kinds - {"Constant", "CosLog", "PerEpoch", "ReduceOnPlateau"} == {c["kind"] for c, _ in golden.CASES.values()}


def test_ends():
    assert schedules.Cosine(0.3, 10, 0.1).table(9, 4)[1:].tolist() == [0.1] * 3
    assert schedules.Polynomial(0.3, 10, 2, 0.1).table(10, 2).tolist() == [0.1] * 2
    assert schedules.Linear(0.3, 1, 0, 10).table(10, 2).tolist() == [0] * 2
    one = schedules.OneCycle(1.0, 10)
    assert one(9) == one(1000) == 1 / 25 / 1e4 and one(0) == 1 / 25
    assert schedules.OneCycle(1.0, 1, pct_start=1.0)(0) == 1.0  # a way up of no length
    assert schedules.WarmUp(0.3, 0)(0) == 0.3
    for s in KINDS.values():
        late = s.table(2**52, 3)
        assert np.isfinite(late).all() and (late >= 0).all()


def test_steps_that_are_not_whole():
    assert math.isclose(schedules.Exponential(0.3, 0.5)(0.5), 0.3 * math.sqrt(0.5))
    assert schedules.Step(0.3, 2)(1.999) == 0.3
    seen = []
    schedules.Product(lambda t: seen.append(t) or 1.0).table(0, 2)
    schedules.Product(lambda t: seen.append(t) or 1.0)(0.5)
    assert seen == [0, 1, 0.5] and type(seen[0]) is int


# --- tables ---


@pytest.mark.parametrize("name", KINDS)
def test_tables_have_the_bits_of_calls(name):
    s = KINDS[name]
    table = s.table(0, 100)
    assert table.dtype == np.float64 and table.shape == (100,)
    assert table.tolist() == [s(k) for k in range(100)]
    for first, count in ((0, 1), (3, 7), (50, 50), (99, 1), (5, 0)):
        assert s.table(first, count).tobytes() == table[first : first + count].tobytes()
    assert type(s(0)) is float and s(np.int64(3)) == s(3)


def test_epochs():
    inner = schedules.MultiStep(1.0, [1, 3], 0.5)
    s = schedules.PerEpoch(inner)
    assert s.table(0, 8, Clock(0, 0, 2)).tolist() == schedules.PerEpoch(inner, 2).table(0, 8).tolist() == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert s.table(10, 4, Clock(step=8, epoch=2, length=4)).tolist() == [0.5, 0.5, 0.25, 0.25]
    assert schedules.WarmUp(s, 2).table(0, 6, Clock(0, 0, 2)).tolist() == [0, 0.5, 1, 1, 0.5, 0.5]
    smooth = schedules.PerEpoch(schedules.Linear(1.0, 1, 0, 2), smooth=True)
    assert smooth.table(0, 5, Clock(0, 0, 2)).tolist() == [1, 0.75, 0.5, 0.25, 0]
    for wrong in (s, smooth, schedules.WarmUp(s, 2), 2 * s):
        with pytest.raises(ValueError, match="steps_per_epoch: expected a number outside of Trainer.fit"):
            wrong(0)


# --- composition ---


def test_products():
    a, b = schedules.Step(0.5, 2, 0.5), schedules.Linear(1.0, 0.5, 1.0, 4)
    for product in (a * b, schedules.Product(a, b), a * (lambda t: b(t)), (lambda t: a(t)) * b):
        assert product.table(0, 9).tolist() == (a.table(0, 9) * b.table(0, 9)).tolist()
    assert (2 * a)(0) == (a * 2)(0) == 1.0
    for wrong in ("2", None, True, [1]):
        with pytest.raises(TypeError):
            a * wrong
    with pytest.raises(ValueError, match="schedules: expected at least one"):
        schedules.Product()


def test_numbers_and_functions_as_parts():
    assert schedules.WarmUp(0.5, 2).table(0, 4).tolist() == [0, 0.25, 0.5, 0.5]
    assert schedules.WarmUp(lambda t: 1 / (1 + t), 2).table(0, 5).tolist() == [0, 0.5, 1, 1 / 2, 1 / 3]
    with pytest.raises(ValueError, match=r"lr\(step\): expected a finite number >= 0, got nan"):
        schedules.WarmUp(lambda t: math.nan, 2)(3)
    with pytest.raises(TypeError, match="schedule: expected a schedule, a function of the step or a number, got 'x'"):
        schedules.WarmUp("x", 2)


# --- plain values ---


@pytest.mark.parametrize("name", KINDS)
def test_configurations(name):
    s = KINDS[name]
    config = json.loads(json.dumps(s.config(), allow_nan=False))
    again = from_config(config)
    assert again == s and repr(again) == repr(s) and hash(again) == hash(s) and again.config() == s.config()
    assert again.table(0, 50).tobytes() == s.table(0, 50).tobytes()
    for same in (copy.copy(s), copy.deepcopy(s), pickle.loads(pickle.dumps(s))):
        assert same == s and same.table(0, 50).tobytes() == s.table(0, 50).tobytes()
    assert sum(s == other for other in KINDS.values()) == 1 and s != 0.3


@pytest.mark.parametrize("name", KINDS)
def test_representations_make_the_schedule_again(name):
    assert eval(repr(KINDS[name]), {k: getattr(schedules, k) for k in schedules.__all__}) == KINDS[name]


def test_schedules_do_not_change():
    s = schedules.Step(0.3, 4)
    with pytest.raises(AttributeError, match="lr: a schedule does not change"):
        s.lr = 1.0
    assert s.lr == 0.3


def test_a_function_is_no_configuration():
    for s in (schedules.WarmUp(lambda t: 0.1, 3), schedules.Constant(0.1) * math.cos):
        with pytest.raises(TypeError, match="schedule: expected one made of fastnn.schedules alone"):
            s.config()


@pytest.mark.parametrize("config, error, message", [
    ([], TypeError, "config: expected a dict, got list"),
    ({}, ValueError, r"config\['kind'\]: expected one of \['Constant'.*got None"),
    ({"kind": "Schedule"}, ValueError, "got 'Schedule'"),
    ({"kind": ["Step"]}, ValueError, "expected one of"),
    ({"kind": "Constant"}, TypeError, "config: expected the settings of Constant"),
    ({"kind": "Constant", "lr": 0.1, "more": 1}, TypeError, "config: expected the settings of Constant"),
    ({"kind": "Constant", "lr": -0.1}, ValueError, "lr: expected"),
    ({"kind": "Constant", "lr": {"kind": "Constant", "lr": 0.1}}, TypeError, "lr: expected a number"),
    ({"kind": "WarmUp", "schedule": {"kind": "None"}, "steps": 3}, ValueError, "got 'None'"),
    ({"kind": "Product"}, ValueError, "config: expected an entry 'schedules' for Product"),
    ({"kind": "Product", "schedules": 3}, TypeError, "expected a list"),
    ({"kind": "Constant", "lr": 0.1, 3: 4}, TypeError, "config: expected"),
    ({"kind": "ReduceOnPlateau", "lr": 0.1, "state": {}}, ValueError, "state: expected a dict with the entries"),
])  # fmt: skip
def test_configurations_that_are_none(config, error, message):
    with pytest.raises(error, match=message):
        from_config(config)


@pytest.mark.parametrize("change, error", [
    ({"rate": -1.0}, ValueError), ({"rate": "x"}, TypeError), ({"best": math.nan}, ValueError), ({"best": "x"}, ValueError),
    ({"num_bad_epochs": -1}, ValueError), ({"num_bad_epochs": 1.5}, TypeError), ({"cooldown_counter": True}, TypeError),
    ({"more": 1}, ValueError),
])  # fmt: skip
def test_states_that_are_none(change, error):
    s = schedules.ReduceOnPlateau(0.1)
    s.step(3.0)
    before = s.config()
    with pytest.raises(error, match="state"):
        s.restore({**before["state"], **change})
    assert s.config() == before


# --- refusals ---


BAD = [
    (schedules.Constant, {"lr": -1}, ValueError, "lr: expected a finite number >= 0, got -1"),
    (schedules.Constant, {"lr": math.nan}, ValueError, "lr: expected a finite number >= 0, got nan"),
    (schedules.Constant, {"lr": 10**400}, ValueError, "lr: expected a finite number >= 0, got inf"),
    (schedules.Constant, {"lr": True}, TypeError, "lr: expected a number, got True"),
    (schedules.Constant, {"lr": "0.1"}, TypeError, "lr: expected a number, got '0.1'"),
    (schedules.Step, {"lr": 0.1, "step_size": 0}, ValueError, "step_size: expected an integer from 1 to"),
    (schedules.Step, {"lr": 0.1, "step_size": 2.0}, TypeError, "step_size: expected an integer, got 2.0"),
    (schedules.Step, {"lr": 0.1, "step_size": True}, TypeError, "step_size: expected an integer, got True"),
    (schedules.Step, {"lr": 0.1, "step_size": 2**53}, ValueError, "step_size: expected an integer from 1 to 2"),
    (schedules.Step, {"lr": 0.1, "step_size": 2, "gamma": -0.5}, ValueError, "gamma: expected a finite number >= 0"),
    (schedules.MultiStep, {"lr": 0.1, "milestones": 3}, TypeError, "milestones: expected a list of integers, got 3"),
    (schedules.MultiStep, {"lr": 0.1, "milestones": [3, 3]}, ValueError, r"milestones: expected increasing numbers, got \[3, 3\]"),
    (schedules.MultiStep, {"lr": 0.1, "milestones": [-1, 3]}, ValueError, r"milestones\[0\]: expected an integer from 0"),
    (schedules.Exponential, {"lr": 0.1, "gamma": math.inf}, ValueError, "gamma: expected a finite"),
    (schedules.Exponential, {"lr": 0.1, "gamma": 0.5, "staircase": 1}, TypeError, "staircase: expected True or False, got 1"),
    (schedules.InverseTime, {"lr": 0.1, "decay_rate": -0.5}, ValueError, "decay_rate: expected"),
    (schedules.InverseTime, {"lr": 0.1, "decay_rate": 0.5, "decay_steps": 0}, ValueError, "decay_steps: expected"),
    (schedules.Cosine, {"lr": 0.1, "T_max": 0}, ValueError, "T_max: expected"),
    (schedules.Cosine, {"lr": 0.1, "T_max": 3, "eta_min": -1}, ValueError, "eta_min: expected"),
    (schedules.CosineRestarts, {"lr": 0.1, "T_0": 0}, ValueError, "T_0: expected"),
    (schedules.CosineRestarts, {"lr": 0.1, "T_0": 1, "T_mult": 0}, ValueError, "T_mult: expected"),
    (schedules.Linear, {"lr": 0.1, "start_factor": -1}, ValueError, "start_factor: expected"),
    (schedules.Linear, {"lr": 0.1, "end_factor": -1}, ValueError, "end_factor: expected"),
    (schedules.Linear, {"lr": 0.1, "total_iters": 0}, ValueError, "total_iters: expected"),
    (schedules.Polynomial, {"lr": 0.1, "power": -1}, ValueError, "power: expected"),
    (schedules.Polynomial, {"lr": 0.1, "end_lr": -1}, ValueError, "end_lr: expected"),
    (schedules.CosLog, {"lr": 0.1, "total_steps": 9, "cycles": 51}, ValueError, "cycles: expected at most 50"),
    (schedules.OneCycle, {"max_lr": 0.1, "total_steps": 0}, ValueError, "total_steps: expected"),
    (schedules.OneCycle, {"max_lr": 0.1, "total_steps": 9, "pct_start": 1.1}, ValueError, r"pct_start: expected a finite number in \[0, 1\]"),
    (schedules.OneCycle, {"max_lr": 0.1, "total_steps": 9, "pct_start": 0.6, "three_phase": True}, ValueError, r"in \[0, 0.5\]"),
    (schedules.OneCycle, {"max_lr": 0.1, "total_steps": 9, "div_factor": 0}, ValueError, "div_factor: expected"),
    (schedules.OneCycle, {"max_lr": 0.1, "total_steps": 9, "anneal_strategy": "sin"}, ValueError, "expected 'cos' or 'linear', got 'sin'"),
    (schedules.WarmUp, {"schedule": 0.1, "steps": -1}, ValueError, "steps: expected"),
    (schedules.WarmUp, {"schedule": 0.1, "steps": 1, "start_factor": 2}, ValueError, "start_factor: expected"),
    (schedules.Sequence, {"schedules": [], "milestones": []}, ValueError, "schedules: expected at least one"),
    (schedules.Sequence, {"schedules": 0.1, "milestones": []}, TypeError, "schedules: expected a list"),
    (schedules.Sequence, {"schedules": [0.1, 0.2], "milestones": []}, ValueError, "milestones: expected 1 for 2 schedules, got 0"),
    (schedules.PerEpoch, {"schedule": 0.1, "steps_per_epoch": 0}, ValueError, "steps_per_epoch: expected"),
    (schedules.ReduceOnPlateau, {"lr": 0.1, "factor": 1.0}, ValueError, r"factor: expected a number in \[0, 1\), got 1"),
    (schedules.ReduceOnPlateau, {"lr": 0.1, "mode": "auto"}, ValueError, "mode: expected 'min' or 'max', got 'auto'"),
    (schedules.ReduceOnPlateau, {"lr": 0.1, "threshold_mode": 3}, ValueError, "threshold_mode: expected 'rel' or 'abs', got 3"),
    (schedules.ReduceOnPlateau, {"lr": 0.1, "patience": -1}, ValueError, "patience: expected"),
    (schedules.ReduceOnPlateau, {"lr": 0.1, "cooldown": -1}, ValueError, "cooldown: expected"),
    (schedules.ReduceOnPlateau, {"lr": 0.1, "monitor": 3}, TypeError, "monitor: expected a string, got 3"),
]


def test_a_milestone_of_zero():
    """A part of no steps: the second schedule begins at once."""
    parts = [schedules.Linear(0.5, 0, 1, 2), schedules.Exponential(0.5, 0.5)]
    assert schedules.Sequence(parts, milestones=[0]).table(0, 3).tolist() == [0.5, 0.25, 0.125]
    assert schedules.Sequence([*parts, 1.0], milestones=[0, 2]).table(0, 3).tolist() == [0.5, 0.25, 1.0]
    assert schedules.MultiStep(0.5, [0, 2], gamma=0.5).table(0, 3).tolist() == [0.25, 0.25, 0.125]
    s = schedules.Sequence(parts, milestones=[0])
    assert schedules.from_config(s.config()) == s


def test_scalars_as_numbers():
    for number in (np.float32(0.5), np.array(0.5), np.float64(0.5)):
        assert schedules.Step(number, 2, gamma=number)(2) == 0.25
        assert (schedules.Constant(0.5) * number)(0) == (number * schedules.Constant(0.5))(0) == 0.25
        assert isinstance(number * schedules.Constant(0.5), schedules.Product)
        assert schedules.WarmUp(number, 0)(0) == 0.5
    assert schedules.Step(0.5, np.array(3), gamma=0.5)(3) == 0.25
    s = schedules.ReduceOnPlateau(0.5, factor=0.5, patience=0)
    for metric in (np.array(1.0), np.float32(1.0)):
        s.step(metric)
    assert s.rate == 0.25 and type(s.best) is float


@pytest.mark.parametrize("mode, sign", [("min", 1), ("max", -1)])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("level", [1.0, -1.0, 0.0, -250.0])
def test_a_plateau_of_any_sign(mode, sign, threshold_mode, level):
    """What stays or gets worse is no better, wherever 0 is; what gets better by more than the threshold of |best| is."""

    def rates(metrics):
        s, found = schedules.ReduceOnPlateau(1.0, mode, 0.1, 1, threshold=1e-2, threshold_mode=threshold_mode), []
        for m in metrics:
            s.step(m)
            found.append(s.rate)
        return found, s.best

    reduced = [1.0, 1.0, 0.1]
    assert rates([level] * 3) == (reduced, level)
    step = 1e-2 * (abs(level) if threshold_mode == "rel" else 1)
    assert rates([level, level + sign * step / 2, level + sign * step])[1] == level
    found, best = rates([level - sign * 1.5 * k * step for k in range(3)])
    assert found == ([1.0] * 3 if step else reduced) and best == level - sign * 3 * step
    assert rates([level - sign * 0.5 * step] * 3)[0] == reduced
    assert rates([level, level - sign * 0.5 * step, level - sign * 0.9 * step]) == (reduced, level)


def test_a_plateau_has_the_bits_that_it_had():
    """Of metrics above 0 the bar is best times 1 less, or more, the threshold."""
    for mode, factor in (("min", 1 - 1e-4), ("max", 1 + 1e-4)):
        for best in np.random.default_rng(0).random(100).tolist():
            s = schedules.ReduceOnPlateau(1.0, mode)
            s.step(best)
            s.step(best * factor)
            assert s.best == best
            s.step(np.nextafter(best * factor, 0.0 if mode == "min" else 2.0))
            assert s.best != best


@pytest.mark.parametrize("kind, arguments, error, message", BAD)
def test_bad_settings(kind, arguments, error, message):
    with pytest.raises(error, match=message):
        kind(**arguments)


def test_bad_steps():
    s = schedules.Constant(0.1)
    for bad in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match="step: expected a finite number >= 0"):
            s(bad)
    for bad in ("1", None, True):
        with pytest.raises(TypeError, match="step: expected a number"):
            s(bad)
    for first, count in ((-1, 1), (0, -1), (2**53, 1)):
        with pytest.raises(ValueError, match="expected an integer from 0 to"):
            s.table(first, count)
    for bad in ("3", None, False):
        with pytest.raises(TypeError, match="metric: expected a number"):
            schedules.ReduceOnPlateau(0.1).step(bad)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random_settings(data):
    """Any settings that are accepted give finite rates >= 0 between the extremes, the same alone and in a table."""
    lr = data.draw(st.floats(0, 10))
    count = st.integers(1, 40)
    share = st.floats(0, 1)
    kind = data.draw(st.sampled_from(sorted(schedules.config._KINDS)))
    made = {
        "Constant": lambda: schedules.Constant(lr),
        "Step": lambda: schedules.Step(lr, data.draw(count), data.draw(share)),
        "MultiStep": lambda: schedules.MultiStep(lr, sorted(data.draw(st.sets(count))), data.draw(share)),
        "Exponential": lambda: schedules.Exponential(lr, data.draw(share), data.draw(count), data.draw(st.booleans())),
        "InverseTime": lambda: schedules.InverseTime(lr, data.draw(st.floats(0, 9)), data.draw(count), data.draw(st.booleans())),
        "Cosine": lambda: schedules.Cosine(lr, data.draw(count), lr * data.draw(share)),
        "CosineRestarts": lambda: schedules.CosineRestarts(lr, data.draw(count), data.draw(st.integers(1, 3)), lr * data.draw(share)),
        "CosLog": lambda: schedules.CosLog(lr, data.draw(count), data.draw(st.integers(1, 6))),
        "Linear": lambda: schedules.Linear(lr, data.draw(share), data.draw(share), data.draw(count)),
        "Polynomial": lambda: schedules.Polynomial(lr, data.draw(count), data.draw(st.floats(0, 5)), lr * data.draw(share)),
        "OneCycle": lambda: schedules.OneCycle(
            lr, data.draw(count), data.draw(st.floats(0, 0.5)), data.draw(st.sampled_from(["cos", "linear"])),
            data.draw(st.floats(1, 100)), data.draw(st.floats(1, 1e5)), data.draw(st.booleans())),
        "WarmUp": lambda: schedules.WarmUp(schedules.Cosine(lr, data.draw(count)), data.draw(count), data.draw(share)),
        "Sequence": lambda: schedules.Sequence([schedules.Step(lr, 2), lr, schedules.Linear(lr)], sorted(data.draw(st.sets(count, min_size=2, max_size=2)))),
        "Product": lambda: schedules.Step(lr, data.draw(count)) * schedules.Linear(1.0, data.draw(share)),
        "PerEpoch": lambda: schedules.PerEpoch(schedules.Cosine(lr, data.draw(count)), data.draw(count), data.draw(st.booleans())),
        "ReduceOnPlateau": lambda: schedules.ReduceOnPlateau(lr, factor=data.draw(st.floats(0, 0.99))),
    }[kind]()  # fmt: skip
    first = data.draw(st.integers(0, 10**6))
    table = made.table(first, 20)
    assert (table >= 0).all() and (table <= lr * (1 + 1e-12)).all()
    assert table.tolist() == [made(first + k) for k in range(20)]
    assert from_config(json.loads(json.dumps(made.config()))) == made


# --- plateaus ---


def test_a_plateau_is_exact_in_its_configuration():
    metrics = golden.metrics()
    for settings in golden.PLATEAUS.values():
        a = schedules.ReduceOnPlateau(golden.LR, **settings)
        for i, metric in enumerate(metrics):
            b = from_config(json.loads(json.dumps(a.config())))
            assert a == b
            a.step(metric)
            b.step(metric)
            assert a == b and a.config() == b.config(), i
        assert a != schedules.ReduceOnPlateau(golden.LR, **settings)


# --- optimizers ---


def hand(kind, s, steps, **settings):
    """Steps with the rates as numbers."""
    w = np.linspace(-1, 1, 37, dtype=np.float32)
    opt = kind([w], lr=0.0, **settings)
    for t in range(steps):
        opt.param_groups[0]["lr"] = s(t)
        opt.step([np.cos(w * (t + 1))])
    return w.tobytes()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
def test_steps_have_the_bits_of_steps_by_hand(name, kind):
    s = copy.deepcopy(KINDS[name])
    w = np.linspace(-1, 1, 37, dtype=np.float32)
    opt = kind([w], lr=s)
    for t in range(150):
        opt.step([np.cos(w * (t + 1))])
    assert w.tobytes() == hand(kind, s, 150)


def test_a_rate_that_is_replaced_or_reduced_is_seen_at_once():
    w = np.zeros(1)
    plateau = schedules.ReduceOnPlateau(1.0, factor=0.5, patience=0)
    opt = optim.SGD([w], lr=schedules.Step(1.0, 1, 0.5))
    opt.step([np.ones(1)])
    opt.step([np.ones(1)])
    assert w[0] == -1.5
    opt.param_groups[0]["lr"] = plateau
    opt.step([np.ones(1)])
    plateau.step(1.0)
    plateau.step(2.0)
    opt.step([np.ones(1)])
    assert w[0] == -1.5 - 1 - 0.5 and opt.plateaus == (plateau,)
    opt.param_groups[0]["lr"] = schedules.WarmUp(plateau, 5)
    plateau.step(2.0)
    opt.step([np.ones(1)])
    assert w[0] == -1.5 - 1 - 0.5 - 0.25 * 4 / 5


def test_a_rate_that_overflows_is_refused_when_its_turn_comes():
    w = np.zeros(1)
    opt = optim.SGD([w], lr=schedules.Exponential(1.0, 1e100))
    for _ in range(4):
        opt.step([np.zeros(1)])
    with pytest.raises(ValueError, match=r"lr\(step\): expected a finite number >= 0, got inf"):
        opt.step([np.zeros(1)])
    with pytest.raises(ValueError, match=r"lr\(step\): expected a finite number >= 0, got inf"):
        opt.rate_table(3)
    assert opt.state_dict()["groups"][0]["steps"] == 4


@pytest.mark.parametrize("name", KINDS)
def test_state_round_trip(name):
    s = copy.deepcopy(KINDS[name])
    opt = optim.Adam([np.ones(3)], lr=s)
    for t in range(5):
        opt.step([np.ones(3)])
        for p in opt.plateaus:
            p.step(float(-t if p.mode == "max" else t))
    state = json.loads(json.dumps(opt.state_dict()["groups"]))
    for lr in (copy.deepcopy(KINDS[name]), 0.5, lambda t: 0.5):
        again = optim.Adam([np.ones(3)], lr=lr)
        again.load_state_dict({**opt.state_dict(), "groups": state})
        loaded = again.param_groups[0]["lr"]
        assert loaded == s and again.rate_table(10).tolist() == opt.rate_table(10).tolist()
        assert (loaded is lr) == isinstance(lr, schedules.Schedule)  # the user's object goes on
    with pytest.raises(ValueError, match=r"config\['kind'\]"):
        again.load_state_dict({**opt.state_dict(), "groups": [{**state[0], "lr": {"kind": "Nonsense"}}]})
    assert again.param_groups[0]["lr"] is loaded


def test_a_schedule_with_a_function_in_it_is_no_state():
    opt = optim.SGD([np.ones(2)], lr=schedules.WarmUp(lambda t: 0.5, 3))
    assert "lr" not in opt.state_dict()["groups"][0]


# --- training ---


ROWS, BATCH = 70, 16
STEPS = -(-ROWS // BATCH)
SCHEDULES = {
    **{name: KINDS[name] for name in KINDS if "plateau" not in name},
    "epochs told by fit": schedules.PerEpoch(schedules.MultiStep(0.3, [1, 3], 0.5)),
    "smooth epochs told by fit": schedules.WarmUp(schedules.PerEpoch(schedules.Cosine(0.3, 4), smooth=True), 3),
    "a function": lambda t: 0.3 / (1 + t),
}


def trainer(lr, kind=optim.SGD, backend="native", groups=False):
    fastnn.manual_seed(3)
    model = nn.Sequential(nn.Dense(8, 6, "tanh"), nn.Dense(6, 3))
    params = model.parameters()
    if groups:
        params = [{"params": params[:2]}, {"params": params[2:], "lr": 0.05}]
    return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), kind(params, lr=lr), backend=backend)


def samples(rows=ROWS):
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, 8)).astype(np.float32), rng.integers(0, 3, rows)


def bits(t):
    return [p.data.tobytes() for p in t.model.parameters()]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("groups", [False, True])
def test_fit_has_the_bits_of_steps_by_hand(name, groups):
    lr, (x, y) = SCHEDULES[name], samples()
    clock = Clock(0, 0, STEPS)
    rates = lr.table(0, 4 * STEPS, clock) if isinstance(lr, schedules.Schedule) else [lr(t) for t in range(4 * STEPS)]
    a, b = trainer(lr, groups=groups), trainer(0.0, groups=groups)
    a.fit(x, y, epochs=3, batch_size=BATCH, shuffle=False, verbose=0)
    a.fit(x, y, epochs=1, batch_size=BATCH, shuffle=False, verbose=0)
    for t, rate in enumerate(rates):
        b.optimizer.param_groups[0]["lr"] = float(rate)
        begin = t % STEPS * BATCH
        b.step(x[begin : begin + BATCH], y[begin : begin + BATCH])
    assert bits(a) == bits(b)


@pytest.mark.parametrize("name", SCHEDULES)
def test_fit_on_the_reference_backend(name):
    x, y = samples()
    results = []
    for backend in ("native", "reference"):
        t = trainer(SCHEDULES[name], backend=backend)
        t.fit(x, y, epochs=2, batch_size=BATCH, verbose=0)
        results.append(np.concatenate([p.data.ravel() for p in t.model.parameters()]))
    assert np.abs(results[0] - results[1]).max() < 2e-5


def test_any_slices_have_the_same_bits(monkeypatch):
    x, y = samples(200)
    results = []
    for seconds, callbacks in ((0.05, []), (1e-9, []), (0.05, [type("C", (fastnn.callbacks.Callback,), {"on_step_end": lambda *a: None})()])):
        monkeypatch.setattr("fastnn.training.engine.SLICE", seconds)
        t = trainer(schedules.PerEpoch(schedules.OneCycle(0.3, 4), smooth=True))
        t.fit(x, y, epochs=3, batch_size=2, callbacks=callbacks, verbose=0)
        results.append(bits(t))
    assert results[0] == results[1] == results[2]


def test_epochs_of_other_lengths_go_on_counting():
    """Two epochs of 5 steps, then two of 10: the rate halves at each epoch's beginning."""
    x, y = samples(80)
    seen = []
    t = trainer(schedules.PerEpoch(schedules.Product(lambda e: seen.append(e) or 0.5**e)))
    t.fit(x, y, epochs=2, batch_size=16, verbose=0)
    t.fit(x, y, epochs=2, batch_size=8, verbose=0)
    assert sorted(seen) == [0] * 5 + [1] * 5 + [2] * 10 + [3] * 10
    with pytest.raises(ValueError, match="steps_per_epoch: expected a number outside of Trainer.fit"):
        t.step(x[:8], y[:8])


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_plateau_in_training(backend):
    x, y = samples()
    plateau = schedules.ReduceOnPlateau(2.0, factor=0.5, patience=0)
    t = trainer(schedules.WarmUp(plateau, 7), backend=backend)
    other, seen = schedules.ReduceOnPlateau(2.0, factor=0.5, patience=0), []

    class See(fastnn.callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            seen.append(plateau.rate)

    history = t.fit(x, y, epochs=12, batch_size=BATCH, callbacks=[See()], verbose=0)
    expected = []
    for loss in history["loss"]:
        other.step(loss)
        expected.append(other.rate)
    assert seen == expected and expected[-1] < 1


def test_which_number_a_plateau_watches():
    x, y = samples()
    for monitor, validation in ((None, None), (None, (x, y)), ("accuracy", None), ("val_accuracy", (x[:9], y[:9])), ("loss", (x, y))):
        plateau = schedules.ReduceOnPlateau(0.5, "max", monitor=monitor)
        history = trainer(plateau).fit(x, y, epochs=3, batch_size=BATCH, validation_data=validation, verbose=0)
        assert plateau.best == max(history[monitor or ("val_loss" if validation else "loss")])
    for monitor, validation in (("val_loss", None), ("val_acc", (x, y))):
        plateau = schedules.ReduceOnPlateau(0.5, monitor=monitor)
        t = trainer(plateau)
        before = bits(t)
        with pytest.raises(ValueError, match=f"monitor: expected one of .* in this fit, got '{monitor}'"):
            t.fit(x, y, validation_data=validation, verbose=0)
        assert bits(t) == before and plateau.best is None


def test_any_slices_have_the_same_bits_where_steps_are_left_out(monkeypatch):
    """A step that is left out leaves its rate to the next, wherever a native call ends."""
    x, y = samples(200)
    x[[3, 31, 32, 150]] = np.nan
    results = []
    for seconds in (0.05, 1e-9):
        monkeypatch.setattr("fastnn.training.engine.SLICE", seconds)
        lr = schedules.PerEpoch(schedules.Exponential(0.3, gamma=0.2), smooth=True)
        model = trainer(0.1).model
        t = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=lr, skip_nonfinite=True))
        t.fit(x, y, epochs=2, batch_size=2, shuffle=False, verbose=0)
        assert t.optimizer.skipped == 2 * 3 + 2
        results.append(bits(t))
    assert results[0] == results[1]


def test_one_plateau_for_two_groups_steps_once():
    x, y = samples()
    plateau = schedules.ReduceOnPlateau(0.5, patience=10)
    t = trainer(plateau, groups=True)
    t.optimizer.param_groups[1]["lr"] = plateau * 0.1
    t.fit(x, y, epochs=1, batch_size=BATCH, verbose=0)
    t.fit(x, y, epochs=1, batch_size=BATCH, verbose=0)
    plateau.step(1e9)
    assert plateau.num_bad_epochs == 1 and t.optimizer.plateaus == (plateau,)


def test_training_goes_on_exactly_from_a_state():
    x, y = samples()
    lr = lambda: schedules.WarmUp(schedules.ReduceOnPlateau(2.0, factor=0.5, patience=0), 3)  # noqa: E731
    a, b = trainer(lr(), optim.Adam), trainer(lr(), optim.Adam)
    a.fit(x, y, epochs=6, batch_size=BATCH, verbose=0)
    b.fit(x, y, epochs=3, batch_size=BATCH, verbose=0)
    c = trainer(0.1, optim.Adam)
    c.model.load_state_dict(b.model.state_dict())
    c.optimizer.load_state_dict(pickle.loads(pickle.dumps(b.optimizer.state_dict())))
    c.epochs_done, c.steps_done = b.epochs_done, b.steps_done
    for t in (b, c):
        t.fit(x, y, epochs=3, batch_size=BATCH, verbose=0)
    assert bits(a) == bits(b) == bits(c)
