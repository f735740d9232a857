"""Schedules in place of numbers: any setting of a parameter group, and shares that layers drop."""

import copy
import json
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim, schedules
from fastnn.core.update_rules import RULES, SETTINGS

RISING = schedules.Linear(0.9, 0.5 / 0.9, 1.0, 4)  # 0.5 to 0.9
FALLING = schedules.Exponential(0.4, 0.7)


def drop(step):
    return 0.8 - 0.1 * (step % 3)


# (optimizer, its settings, {setting that depends on the step: schedule}): every rule's own hyper-parameters, and those of all.
CASES = [
    ("SGD", {"lr": 0.1}, {"weight_decay": FALLING, "l1": FALLING, "clip_value": RISING}),
    ("SGD", {"lr": FALLING, "dampening": 0.1}, {"momentum": RISING}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}, {"dampening": FALLING, "max_norm": RISING}),
    ("SGD", {"lr": 0.1, "nesterov": True}, {"momentum": drop, "ema": RISING}),
    ("SGD", {"lr": 0.1, "form": "corrected"}, {"momentum": RISING}),
    ("SGD", {"lr": 0.1, "form": "classic"}, {"momentum": drop}),
    ("Adagrad", {"lr": 0.1}, {"lr_decay": FALLING, "eps": FALLING}),
    ("Adadelta", {}, {"rho": RISING, "eps": FALLING}),
    ("RMSprop", {"centered": True}, {"alpha": RISING, "eps": FALLING, "momentum": drop}),
    ("Adam", {"lr": FALLING}, {"beta1": RISING, "beta2": drop, "eps": FALLING}),
    ("AdamW", {"amsgrad": True}, {"beta1": drop, "weight_decay": FALLING}),
    ("NAdam", {}, {"beta1": RISING, "beta2": RISING, "eps": FALLING, "momentum_decay": FALLING}),
    ("Adamax", {}, {"beta1": RISING, "beta2": RISING, "eps": FALLING}),
    ("RAdam", {}, {"beta2": RISING}),
    ("Lion", {}, {"beta1": RISING, "beta2": drop, "weight_decay": FALLING}),
    ("ScheduleFreeAdamW", {}, {"beta2": RISING, "eps": FALLING, "weight_decay": FALLING, "r": RISING, "weight_lr_power": RISING}),
    ("Adafactor", {"lr": FALLING}, {"eps2": FALLING, "d": schedules.Linear(4.0), "beta2_decay": lambda step: -0.5 - step / 100}),
    ("Muon", {}, {"beta1": RISING, "beta2": drop, "adamw_eps": FALLING, "momentum": RISING, "eps": FALLING, "weight_decay": FALLING}),
    ("LAMB", {}, {"beta1": RISING, "beta2": drop, "eps": FALLING, "weight_decay": FALLING}),
]


def entries(scheduled, value=lambda s: s):
    """A group's entries for the settings, by the names that users give them."""
    values = {name: value(s) for name, s in scheduled.items()}
    pair = tuple(values.pop(name, 0.9) for name in ("beta1", "beta2"))
    if "eps2" in values:
        values["eps"] = (None, values.pop("eps2"))
    return {**values, **({"betas": pair} if {"beta1", "beta2"} & scheduled.keys() else {})}


def all_bits(opt):
    arrays = [*opt._params, *(a for i in range(len(opt._params)) for a in opt._names_of(i).values())]
    return [np.asarray(a).tobytes() for a in arrays]


def test_every_setting_is_in_a_case():
    """But for what has no need to be: those whose rules share their code."""
    seen = {(rule, name) for kind, _, scheduled in CASES for rule in getattr(optim, kind).rules for name in scheduled}
    every = {(rule, name) for rule in RULES for name, s in RULES[rule].hyper.items() if not s.whole}
    assert every - seen <= {("radam", "beta1"), ("radam", "eps"), ("schedule_free", "beta1"), ("sgd", "momentum"), ("adafactor", "eps1"),
                                *(("muon", f"ns_{c}") for c in "abc")}  # fmt: skip
    assert {name for _, _, scheduled in CASES for name in scheduled} >= {name for name, s in SETTINGS.items() if not s.whole}


@pytest.mark.parametrize("kind, settings, scheduled", CASES, ids=[f"{kind}-{'-'.join(s)}" for kind, _, s in CASES])
def test_as_if_set_before_every_step(team, kind, settings, scheduled):
    """On arrays, in a training by any number of threads, fused or not; and the NumPy twin."""
    shapes = [(7,), (5, 4)]

    def make(more):
        rng = np.random.default_rng(0)
        return getattr(optim, kind)([rng.normal(size=s) for s in shapes], **settings, **more)

    one, other = make(entries(scheduled)), make(entries(scheduled, lambda s: s(0)))
    for step in range(6):
        grads = [np.random.default_rng(step + 1).normal(size=s) for s in shapes]
        other.param_groups[0].update(entries(scheduled, lambda s, step=step: s(step)))
        one.step(grads)
        other.step(grads, clip_norm=1e9 if step % 2 else None)
        assert all_bits(one) == all_bits(other), step

    results = []
    for threads, backend, how in ((1, "native", "fit"), (2, "native", "fit"), (1, "native", "steps"), (1, "reference", "fit"), (1, "native", "hand")):
        fastnn.manual_seed(3)
        model = nn.Sequential(nn.Dense(20, 33, activation="tanh"), nn.Dense(33, 5))
        chosen = scheduled if how != "hand" else {name: s(0) for name, s in scheduled.items()}
        opt = getattr(optim, kind)(model.parameters(), **settings, **entries(chosen))
        trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), opt, backend=backend)
        rng = np.random.default_rng(4)
        x, y = rng.normal(size=(64, 20)).astype(np.float32), rng.integers(0, 5, 64)
        with team(threads):
            if how == "fit":
                trainer.fit(x, y, epochs=2, batch_size=16, shuffle=False, verbose=0)
            for step in range(8) if how != "fit" else ():
                opt.param_groups[0].update(entries(scheduled, lambda s, step=step: s(step)) if how == "hand" else {})
                trainer.step(*(a[16 * (step % 4) :][:16] for a in (x, y)))
        results.append((backend, all_bits(opt), [p.data.copy() for p in model.parameters()]))
    assert all(bits == results[0][1] for backend, bits, _ in results if backend == "native")
    if kind != "Lion":  # the sign of almost nothing
        assert all(np.allclose(a, b, rtol=2e-4, atol=2e-4) for a, b in zip(results[0][2], results[3][2]))


def test_state_and_copies():
    def make(momentum, betas):
        return optim.SGD([np.ones(3)], momentum=momentum), optim.Adam([np.ones(3)], betas=betas, weight_decay=FALLING)

    sgd, adam = make(RISING, (RISING, 0.99))
    for opt in (sgd, adam):
        for step in range(3):
            opt.step([np.full(3, step + 1.0)])
        state = json.loads(json.dumps(opt.state_dict(), default=np.ndarray.tolist))
        again = type(opt)([np.ones(3)], **({"momentum": 0.3} if opt is sgd else {}))
        again.load_state_dict(state)
        copies = [again, copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))]
        again._params[0][...] = opt._params[0]
        assert again.param_groups[0].get("momentum") == opt.param_groups[0].get("momentum")
        assert again.param_groups[0].get("betas") == opt.param_groups[0].get("betas")
        for other in (opt, *copies):
            other.step([np.full(3, 7.0)])
            assert all_bits(other) == all_bits(opt)
        name = "momentum" if opt is sgd else "weight_decay"
        given = opt.param_groups[0][name]
        opt.load_state_dict(state)
        assert opt.param_groups[0][name] is given  # the user's own schedule goes on
    sgd, adam = make(drop, (drop, 0.99))
    assert "momentum" not in sgd.state_dict()["groups"][0] and "betas" not in adam.state_dict()["groups"][0]
    local = optim.SGD([np.ones(1)], momentum=lambda step: 0.5)
    with pytest.raises(TypeError, match=r"param_groups\[0\]\['momentum'\]: expected a schedule that can be pickled, got .*lambda"):
        pickle.dumps(local)
    adam.from_torch_state({"state": {}, "param_groups": [{"betas": (0.5, 0.5), "eps": 0.5, "params": [0]}]})
    assert adam.param_groups[0]["betas"] == (drop, 0.99) and adam.param_groups[0]["eps"] == 0.5


@pytest.mark.parametrize(
    "kind, settings, message",
    [
        ("SGD", {"momentum": lambda step: 0.5 - step / 2 + 0.25 * (step == 1)}, r"momentum\(step\): expected a finite number >= 0, got -0.5"),
        ("SGD", {"momentum": schedules.Linear(0.5, 1.0, 0.0, 2), "nesterov": True}, r"nesterov: expected a momentum > 0"),
        ("SGD", {"momentum": schedules.Linear(0.5, 1.0, 2.0, 2), "form": "average"}, r"momentum: expected a number below 1"),
        ("SGD", {"momentum": 0.5, "form": "classic", "dampening": lambda step: step // 2}, "dampening: expected 0 in the form 'classic', got 1"),
        ("Adam", {"betas": (0.9, lambda step: 0.5 + step / 4)}, r"beta2\(step\): expected a finite number in \[0, 1\), got 1.0"),
        ("Adam", {"ema": lambda step: 0.1 * (2 - step)}, r"ema\(step\): expected a number > 0, got 0"),
        ("Adam", {"weight_decay": lambda step: "half" if step == 2 else 1.0}, r"weight_decay\(step\): expected a number, got 'half'"),
        ("Adam", {"eps": schedules.Exponential(1.0, 1e160)}, r"eps\(step\): expected a finite number >= 0, got inf"),
    ],
)
def test_numbers_out_of_range_are_refused_when_their_turn_comes(kind, settings, message):
    w = np.ones(2)
    opt = getattr(optim, kind)([w], **settings)
    for _ in range(2):
        opt.step([np.ones(2)])
    before = all_bits(opt)
    with pytest.raises((TypeError, ValueError), match=message):
        opt.step([np.ones(2)])
    assert all_bits(opt) == before and opt.state_dict()["groups"][0]["steps"] == 2


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda w: optim.SGD(w, momentum="high"), TypeError, "momentum: expected a number, got 'high'"),
        (lambda w: optim.SGD(w, nesterov=RISING), TypeError, "nesterov: expected True or False"),
        (lambda w: optim.Adagrad(w, initial_accumulator_value=RISING), TypeError, "initial_accumulator_value: expected a number"),
        (lambda w: optim.ScheduleFreeAdamW(w, warmup_steps=RISING), TypeError, "warmup_steps: expected an integer"),
        (lambda w: optim.ScheduleFreeAdamW(w, betas=(RISING, 0.9)), TypeError, r"betas\[0\]: expected a number, by which the average is found"),
        (lambda w: nn.Dropout(lambda step: 0.5), TypeError, "p: expected a number or one of fastnn.schedules"),
        (lambda w: nn.Dropout(schedules.ReduceOnPlateau(0.5)), ValueError, "p: expected a schedule of the steps alone"),
    ],
)
def test_what_is_no_schedule(make, error, message):
    with pytest.raises(error, match=message):
        make([np.ones(1)])


def test_what_decides_on_the_arrays_stays():
    opt = optim.SGD([np.ones(1)], momentum=RISING)
    opt.param_groups[0]["momentum"] = 0.0
    with pytest.raises(ValueError, match="momentum: expected to stay above 0"):
        opt.step([np.ones(1)])
    opt.param_groups[0]["momentum"] = drop
    opt.step([np.ones(1)])


def trainer_of(share, seed=5, layers=None, **more):
    fastnn.manual_seed(3)
    model = nn.Sequential(*(layers or (lambda p: [nn.Dense(6, 24, activation="relu"), nn.Dropout(p), nn.Dense(24, 3)]))(share))
    return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01), seed=seed, **more)


@pytest.mark.parametrize("layers", [None, lambda p: [nn.DropConnect(nn.Dense(6, 24, activation="relu"), p), nn.Dropout(0.2), nn.Dense(24, 3)]])
def test_shares_that_are_dropped(team, layers):
    """As with models of other shares for each stretch of steps; by any threads, step by step, with Python's own loss, in parts."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(48, 6)).astype(np.float32), rng.integers(0, 3, 48)
    p = schedules.MultiStep(0.5, [3, 6], 0.5)
    stretches = trainer_of(0.5, layers=layers)
    for i, share in enumerate((0.5, 0.25, 0.125)):
        now = trainer_of(share, layers=layers)
        now.load_state_dict(stretches.state_dict())
        now.fit(x, y, epochs=1, batch_size=16, shuffle=False, verbose=0)
        stretches = now
    expected = [q.data.tobytes() for q in stretches.model.parameters()]

    def bits(trainer, threads=1, how="fit", **more):
        with team(threads):
            if how == "fit":
                trainer.fit(x, y, epochs=3, batch_size=16, shuffle=False, verbose=0, **more)
            for i in range(9) if how == "steps" else ():
                trainer.step(x[16 * (i % 3) :][:16], y[16 * (i % 3) :][:16])
        return [q.data.tobytes() for q in trainer.model.parameters()]

    assert bits(trainer_of(p, layers=layers)) == bits(trainer_of(p, layers=layers), 3) == expected
    assert bits(trainer_of(p, layers=layers), how="steps") == expected
    assert bits(trainer_of(p, layers=layers), accumulate=2) == bits(trainer_of(p, layers=layers), 2, accumulate=2) != expected
    twin = trainer_of(p, layers=layers, backend="reference")
    bits(twin)
    assert all(np.allclose(a.data, b.data, atol=1e-4) for a, b in zip(twin.model.parameters(), stretches.model.parameters()))


def test_a_model_with_a_schedule_in_a_file(tmp_path):
    trainer = trainer_of(RISING)
    trainer.model.save(tmp_path / "m.safetensors")
    loaded = nn.load(tmp_path / "m.safetensors")
    assert loaded[1].p == RISING and repr(loaded[1]) == f"Dropout(p={RISING!r})"
    lines = []
    loaded.summary(print_fn=lines.append)
    assert "Dropout Linear " in "\n".join(lines)
    wrong = trainer_of(schedules.Linear(0.5, 1.0, 4.0, 2))
    x, y = np.ones((8, 6), np.float32), np.zeros(8, int)
    with pytest.raises(ValueError, match=r"p\(step\): expected a number from 0 to 1, got 1.25"):
        wrong.fit(x, y, epochs=2, verbose=0)
