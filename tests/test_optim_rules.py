"""Every rule of the optimizers with every option: native against the NumPy twin, on arrays and in plans, the same bits."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import losses, nn, optim
from fastnn.core.update_rules import RULES
from fastnn.reference import optimizer as twin

ISAS = fastnn.available_isas()

# One line for each compiled rule at least.
SETTINGS = {
    "sgd": (optim.SGD, {"lr": 0.1}),
    "momentum": (optim.SGD, {"lr": 0.05, "momentum": 0.9, "dampening": 0.2}),
    "classic": (optim.SGD, {"lr": 0.05, "momentum": 0.9, "form": "classic"}),
    "average": (optim.SGD, {"lr": 0.3, "momentum": 0.9, "form": "average"}),
    "corrected": (optim.SGD, {"lr": 0.1, "momentum": 0.9, "form": "corrected"}),
    "nesterov": (optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "classic nesterov": (optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "form": "classic"}),
    "adagrad": (optim.Adagrad, {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.2}),
    "adadelta": (optim.Adadelta, {"lr": 0.5, "eps": 1e-2}),
    "rmsprop": (optim.RMSprop, {"lr": 0.01, "alpha": 0.9}),
    "rmsprop momentum": (optim.RMSprop, {"lr": 0.01, "alpha": 0.9, "momentum": 0.8}),
    "rmsprop centered": (optim.RMSprop, {"lr": 0.01, "alpha": 0.9, "eps": 0.1, "centered": True}),
    "rmsprop both": (optim.RMSprop, {"lr": 0.01, "alpha": 0.9, "eps": 0.1, "centered": True, "momentum": 0.8}),
    "adam": (optim.Adam, {"lr": 0.02, "betas": (0.8, 0.99)}),
    "epsilon hat": (optim.Adam, {"lr": 0.02, "epsilon_hat": True, "eps": 1e-2}),
    "amsgrad": (optim.Adam, {"lr": 0.02, "amsgrad": True, "betas": (0.9, 0.5)}),
    "adamw": (optim.AdamW, {"lr": 0.02, "weight_decay": 0.2}),
    "adamw amsgrad": (optim.AdamW, {"lr": 0.02, "weight_decay": 0.2, "amsgrad": True}),
    "nadam": (optim.NAdam, {"lr": 0.02}),
    "adamax": (optim.Adamax, {"lr": 0.02, "betas": (0.9, 0.7)}),
    "radam": (optim.RAdam, {"lr": 0.02, "betas": (0.9, 0.9)}),
    "lion": (optim.Lion, {"lr": 0.02, "weight_decay": 0.1}),
    "schedule free": (optim.ScheduleFreeAdamW, {"lr": 0.05, "weight_decay": 0.1, "warmup_steps": 3, "r": 0.5}),
    "lamb": (optim.LAMB, {"lr": 0.05, "weight_decay": 0.1}),
    "adafactor": (optim.Adafactor, {"lr": 0.05, "weight_decay": 0.1, "eps": (1e-6, 1e-3)}),
    "muon": (optim.Muon, {"lr": 0.02}),
    "muon rms": (optim.Muon, {"lr": 0.02, "nesterov": False, "adjust_lr_fn": "match_rms_adamw", "ns_steps": 2, "betas": (0.8, 0.9)}),
}
ALL = {"maximize": True, "clip_value": 0.7, "l1": 0.2, "max_norm": 1.5, "ema": 0.8}
OPTIONS = {
    "none": {},
    **{name: {name: value} for name, value in ALL.items()},
    "ema and max_norm": {"ema": 0.8, "max_norm": 1.5},
    "decay": {"weight_decay": 0.3},
    "decoupled": {"weight_decay": 0.3, "decoupled_weight_decay": True},
    "all": {**ALL, "weight_decay": 0.3},
}
SHAPES = [(1,), (15,), (16,), (17,), (50,), (3, 5), (5, 18), (2, 3, 4), (9, 1), (70, 70)]


def fits(name, options):
    return "decoupled_weight_decay" not in options or "decoupled_weight_decay" in SETTINGS[name][0]([np.ones(1)]).defaults


CASES = [(n, o) for n in SETTINGS for o in OPTIONS if fits(n, OPTIONS[o])]


def arrays(dtype, order="C", seed=0, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=s), dtype, order=order) for s in shapes]


def make(name, options, params):
    kind, settings = SETTINGS[name]
    return kind(params, **{**settings, **options})


class Twin:
    """The same steps by the reference, in float64, from an optimizer that has not stepped yet."""

    def __init__(self, opt):
        self.groups, self.group_of = opt.group_states(), opt._group_of
        self.params = [p.astype(np.float64) for p in opt._params]
        self.states = [tuple(s.astype(np.float64) for s in states) for states in opt._state]
        self.averages = [None if a is None else a.astype(np.float64) for a in opt._averages]

    def step(self, grads, rates, clip_norm=0.0):
        scale = twin.clip_scale(twin.gradient_norm(grads), clip_norm)
        for i, g in enumerate(grads):
            group, lr = self.groups[self.group_of[i]], rates[self.group_of[i]]
            twin.optimizer_update(self.params[i], g.astype(np.float64), self.states[i], self.averages[i], group, lr, scale)
            if group.max_norm:
                twin.limit_norms(self.params[i], self.averages[i], group)
        progress = [twin.optimizer_progress(g, lr) for g, lr in zip(self.groups, rates)]
        self.groups = [g.at(*so_far) for g, so_far in zip(self.groups, progress)]


def everything(opt):
    return [*opt._params, *(s for states in opt._state for s in states), *(a for a in opt._averages if a is not None)]


def everything_of(t):
    return [*t.params, *(s for states in t.states for s in states), *(a for a in t.averages if a is not None)]


def close(mine, theirs, tolerance):
    return all(np.abs(a - b).max() <= tolerance * max(1.0, np.abs(b).max()) for a, b in zip(mine, theirs, strict=True))


def test_every_compiled_rule_is_here():
    rules = set()
    for kind, settings in SETTINGS.values():
        opt = kind([np.ones(1)], **settings)
        rules.add(opt.group_states()[0].rule)
        assert len(opt._state[0]) == len(RULES[opt.group_states()[0].rule].states)
        matrix = kind([np.ones((2, 3))], **settings)
        assert [s.shape for s in matrix._state[0]] == list(RULES[matrix.group_states()[0].rule].states_of((2, 3)).values())
    assert rules == set(RULES) == set(twin.RULES)
    assert {kind.__name__ for kind, _ in SETTINGS.values()} == set(optim.__all__) - {"Optimizer", "LBFGS"}


@pytest.mark.parametrize("dtype, order", [(np.float32, "C"), (np.float64, "C"), (np.float32, "F")], ids=str)
@pytest.mark.parametrize("name, option", CASES)
def test_as_the_twin(name, option, dtype, order):
    """On every ISA; the FMA-capable ones give the same bits."""
    results = {}
    before = fastnn.get_isa()
    for isa in ISAS:
        fastnn.use_isa(isa)
        try:
            shapes = [s for s in SHAPES if name != "adafactor" or order == "C" or len(s) < 3]  # it takes no others
            opt = make(name, OPTIONS[option], arrays(dtype, order, shapes=shapes))
            t = Twin(opt)
            for step in range(4):
                grads = arrays(dtype, order, 100 + step, shapes)
                clip = 20.0 if step % 2 else None
                opt.step(grads, clip_norm=clip)
                t.step(grads, [opt.param_groups[0]["lr"]], clip or 0.0)
        finally:
            fastnn.use_isa(before)
        tolerance = 5e-6 if dtype == np.float32 else 1e-13
        assert close(everything(opt), everything_of(t), tolerance), isa
        assert [g.t for g in t.groups] == [g["steps"] for g in opt.state_dict()["groups"]]
        assert np.allclose([g.memory for g in t.groups], [m for _, m in opt.kernel_state.progress(len(opt.param_groups))], rtol=1e-14)
        results[isa] = [a.tobytes() for a in everything(opt)]
    fma = [r for isa, r in results.items() if isa != "generic"]
    assert all(r == fma[0] for r in fma)


@pytest.mark.parametrize("name, option", [c for c in CASES if c[1] in ("none", "all", "ema and max_norm")])
def test_the_same_bits_for_any_team(team, name, option):
    shapes = [*SHAPES, (4097,), (3, 3000), (100, 130)]
    results = []
    for threads in (1, 2, 3, 5):
        opt = make(name, OPTIONS[option], arrays(np.float32, shapes=shapes))
        with team(threads):
            norms = [opt.step(arrays(np.float32, "C", 7 + i, shapes), clip_norm=c) for i, c in enumerate((None, 3.0, None))]
        results.append([norms, *(a.tobytes() for a in everything(opt))])
    assert all(r == results[0] for r in results)


# --- in plans ---


def trained(name, options, backend="native", fused=True, schedule="rows", clip_norm=None, steps=5, call=None, **more):
    """(trainer, optimizer) after some steps on a little network."""
    fastnn.manual_seed(3)
    model = nn.Sequential(nn.Dense(20, 33, activation="tanh"), nn.Dense(33, 5))
    opt = make(name, {**options, **more}, model.parameters())
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), opt, backend=backend, clip_norm=clip_norm)
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(16 * steps, 20)).astype(np.float32), rng.integers(0, 5, 16 * steps)
    if call is not None:
        call(trainer, opt, x, y)
    else:
        executor = fastnn.executors.NativeExecutor(trainer.plan(16, fused=fused, schedule=schedule))
        opt.prepare()
        executor.run(x, y, rates=[[opt.param_groups[0]["lr"]]] * steps)
    return trainer, opt


def by_hand(trainer, opt, x, y):
    """Gradients by value_and_grad, and the optimizer called on arrays."""
    for i in range(0, len(x), 16):
        _, grads = fastnn.value_and_grad(trainer.model, trainer.loss, x[i : i + 16], y[i : i + 16])
        opt.step(grads, clip_norm=trainer.clip_norm)


def by_steps(trainer, opt, x, y):
    for i in range(0, len(x), 16):
        trainer.step(x[i : i + 16], y[i : i + 16])


def by_fit(trainer, opt, x, y):
    trainer.fit(x, y, epochs=1, batch_size=16, shuffle=False, verbose=0)


@pytest.mark.parametrize("clip_norm", [None, 0.05])
@pytest.mark.parametrize("name, option", [c for c in CASES if c[1] in ("none", "decoupled", "ema and max_norm", "all")])
def test_fused_apart_and_on_arrays_the_same_bits(team, name, option, clip_norm):
    more = {"max_norm": 0.9} if "max_norm" in OPTIONS[option] else {}
    if "clip_value" in OPTIONS[option]:
        more["clip_value"] = 0.003
    results = []
    for fused, schedule in itertools.product((True, False), ("rows", "layers")):
        with team(2 if fused else 1):
            _, opt = trained(name, OPTIONS[option], fused=fused, schedule=schedule, clip_norm=clip_norm, **more)
        results.append(opt)
    for call in (by_hand, by_steps, by_fit):
        results.append(trained(name, OPTIONS[option], call=call, clip_norm=clip_norm, **more)[1])
    assert all([a.tobytes() for a in everything(r)] == [a.tobytes() for a in everything(results[0])] for r in results)
    assert all(r.state_dict()["groups"] == results[0].state_dict()["groups"] for r in results)
    assert results[0].state_dict()["groups"][0]["steps"] == 5
    _, opt = trained(name, OPTIONS[option], backend="reference", call=by_fit, clip_norm=clip_norm, **more)
    if name != "lion":  # the sign of almost nothing
        assert close(everything(opt), everything(results[0]), 2e-4)


def test_what_a_plan_fuses():
    def kinds(name, clip_norm=None, **options):
        fastnn.manual_seed(0)
        model = nn.Sequential(nn.Dense(4, 3), nn.Dense(3, 2))
        opt = make(name, options, model.parameters())
        plan = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), opt, clip_norm=clip_norm).plan(8)
        assert "begin_update" not in plan.describe() or plan.describe().count("barrier") >= 3
        return [op.kind for op in plan.ops if op.kind in ("gradient_norm", "begin_update", "update", "trust_update", "max_norm")]

    for name in SETTINGS:
        assert kinds(name) == ["update", "trust_update"][: {"lamb": 2, "adafactor": 1, "muon": 1, "muon rms": 1}.get(name, 0)]
        assert kinds(name, ema=0.9, l1=0.1, clip_value=1.0, maximize=True) == kinds(name)
        assert kinds(name, max_norm=1.0) == [*kinds(name), "max_norm"]
        assert kinds(name, clip_norm=1.0)[:3] == kinds(name, skip_nonfinite=True)[:3] == ["gradient_norm", "begin_update", "update"]
