"""What is set after a plan was built on it takes effect, or is refused; nothing is silently left as it was."""

import copy
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim, regularizers, schedules
from fastnn.training import engine
from fastnn.training.callbacks import Callback


def samples():
    rng = np.random.default_rng(2)
    return rng.normal(size=(12, 4)).astype(np.float32), rng.normal(size=(12, 2)).astype(np.float32)


def make(loss=None, **settings):
    fastnn.manual_seed(6)
    model = nn.Sequential(nn.Dense(4, 5, activation="tanh"), nn.Dense(5, 2))
    opt = optim.SGD(model.parameters(), lr=0.5)
    return fastnn.Trainer(model, loss or losses.MeanSquaredError(), opt, **settings)


def is_cached(trainer):
    """Whether the next step may go the short way."""
    return trainer._cached_step is not engine.no_cached_step


def bits(trainer):
    return [p.data.tobytes() for p in trainer.model.parameters()]


CHANGES = [
    ("clip_norm", 0.01),
    ("penalty", regularizers.L2(0.3)),
    ("loss", losses.Huber(0.1)),
]


class Change(Callback):
    """Sets an attribute of the trainer after a step."""

    def __init__(self, step, name, value):
        self.step, self.name, self.value = step, name, value

    def on_step_end(self, step, logs):
        if step == self.step:
            setattr(self.trainer, self.name, self.value)


@pytest.mark.parametrize("name, value", CHANGES)
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_settings_of_a_trainer_count_from_the_next_step(name, value, backend):
    (x, y), results = samples(), []
    made = make(**{name: value}, backend=backend)
    later = make(backend=backend)
    setattr(later, name, value)
    for t in (made, later):
        t.step(x, y)
        results.append(bits(t))
    assert results[0] == results[1] and made.evaluate(x, y) == later.evaluate(x, y)

    plain, stepped, fitted = (make(backend=backend) for _ in range(3))
    for i in range(3):
        plain.step(x[4 * i : 4 * i + 4], y[4 * i : 4 * i + 4])
        if i == 1:
            setattr(stepped, name, value)
        stepped.step(x[4 * i : 4 * i + 4], y[4 * i : 4 * i + 4])
    assert bits(stepped) != bits(plain) and getattr(stepped, name) == value
    if name == "loss":  # targets are checked once, for the loss that `fit` begins with
        with pytest.raises(RuntimeError, match="^loss: may not be changed while fit runs"):
            fitted.fit(x, y, batch_size=4, shuffle=False, callbacks=[Change(1, name, value)], verbose=0)
        fitted.loss = value
    else:
        fitted.fit(x, y, batch_size=4, shuffle=False, callbacks=[Change(1, name, value)], verbose=0)
        assert bits(stepped) == bits(fitted)


def _set(group, name, value):
    group[name] = value


BETWEEN = {
    "nothing": lambda t, x, y: None,
    "rate": lambda t, x, y: _set(t.optimizer.param_groups[0], "lr", 0.1),
    "rate by a schedule": lambda t, x, y: _set(t.optimizer.param_groups[0], "lr", schedules.Exponential(0.1, 0.5)),
    "momentum": lambda t, x, y: _set(t.optimizer.param_groups[0], "momentum", 0.1),
    "seed": lambda t, x, y: setattr(t, "seed", 77),
    "clip_norm": lambda t, x, y: setattr(t, "clip_norm", 0.01),
    "penalty": lambda t, x, y: setattr(t, "penalty", regularizers.L2(0.3)),
    "loss": lambda t, x, y: setattr(t, "loss", losses.Huber(0.1)),
    "steps_done": lambda t, x, y: setattr(t, "steps_done", 40),
    "evaluate": lambda t, x, y: t.evaluate(x, y),
    "fit": lambda t, x, y: t.fit(x, y, batch_size=4, verbose=0),
    "smaller batches": lambda t, x, y: [t.step(x[:2], y[:2]), t.step(x[:1], y[:1])],
    "larger batches": lambda t, x, y: [t.step(x[:6], y[:6]), t.step(x[:7], y[:7])],
    "weights": lambda t, x, y: t.step(x[:4], y[:4], np.arange(4.0)),
    "by hand": lambda t, x, y: t.optimizer.step([np.ones_like(p.data) for p in t.model.parameters()]),
    "another trainer": lambda t, x, y: fastnn.Trainer(t.model, losses.Huber(), t.optimizer).step(x[:4], y[:4]),
    "state": lambda t, x, y: t.optimizer.load_state_dict(make_stepped(x, y).optimizer.state_dict()),
    "model": lambda t, x, y: setattr(t.model.parameters()[0], "data", np.ones((4, 5))),
    "averages": lambda t, x, y: [t.optimizer.swap_ema(), t.optimizer.swap_ema()],
    "refused": lambda t, x, y: refused(t, x, y),
}


def make_stepped(x, y):
    fastnn.manual_seed(6)
    model = nn.Sequential(nn.Dense(4, 5, activation="tanh"), nn.Dropout(0.3), nn.Dense(5, 2))
    opt = optim.SGD(model.parameters(), lr=0.5, momentum=0.5, ema=0.5)
    t = fastnn.Trainer(model, losses.MeanSquaredError(), opt)
    for _ in range(4):
        t.step(x[:4], y[:4])
    return t


def refused(t, x, y):
    for xb, yb in ((x[:4], y[:3]), (x[:4, :3], y[:4]), (x[:4], y[:4, :1]), (x[:0], y[:0]), (x[:4], y[:4] + 1j), (None, None)):
        with pytest.raises((TypeError, ValueError)):
            t.step(xb, yb)


@pytest.mark.parametrize("change", BETWEEN)
def test_what_happens_between_two_steps_counts(change):
    """Steps on ready batches take a short way, which steps on lists of the same numbers never do."""
    x, y = samples()
    short, long = make_stepped(x, y), make_stepped(x, y)
    assert is_cached(short) and short.steps_done == 4
    for _ in range(2):
        for t in (short, long):
            BETWEEN[change](t, x, y)
        for begin in (0, 4, 8, 0):
            xb, yb = x[begin : begin + 4], y[begin : begin + 4]
            assert short.step(xb, yb) == long.step(xb.tolist(), yb.tolist())
            assert short.steps_done == long.steps_done and bits(short) == bits(long)
        states = [t.optimizer.state_dict() for t in (short, long)]
        assert states[0]["groups"] == states[1]["groups"]
        assert all(np.array_equal(a, b) for s, o in zip(states[0]["state"], states[1]["state"]) for a, b in zip(s, o))


DURING = {
    "loss": lambda t, x, y: setattr(t, "loss", losses.Huber(0.1)),
    "clip_norm": lambda t, x, y: setattr(t, "clip_norm", 0.01),
    "penalty": lambda t, x, y: setattr(t, "penalty", regularizers.L2(0.3)),
    "parameters": lambda t, x, y: t.optimizer.add_param_group({"params": t.model.parameters()[:2], "lr": 0.1}),
    "by hand": lambda t, x, y: t.optimizer.step([np.zeros_like(p.data) for p in t.model.parameters()[2:]]),
    "another trainer": lambda t, x, y: fastnn.Trainer(t.model, losses.Huber(), t.optimizer).step(x[:4], y[:4]),
}


@pytest.mark.parametrize("change", DURING)
def test_what_happens_during_a_step_counts_for_the_next(change):
    """As another thread may do it: here where the step has just been made, before its end."""
    (x, y), results = samples(), []
    for listed in (False, True):
        fastnn.manual_seed(6)
        model = nn.Sequential(nn.Dense(4, 5, activation="tanh"), nn.Dense(5, 2))
        t = fastnn.Trainer(model, losses.MeanSquaredError(), optim.Adam(model.parameters()[2:], lr=0.1))
        batch = (x.tolist(), y.tolist()) if listed else (x, y)
        t.step(x.tolist(), y.tolist())
        executor = t._training[1]
        step = executor.step

        def late(*arguments, executor=executor, step=step, t=t):
            executor.step, found = step, step(*arguments)
            DURING[change](t, x, y)
            return found

        executor.step = late
        for _ in range(4):
            t.step(*batch)
        results.append((bits(t), t.steps_done, [g["steps"] for g in t.optimizer.state_dict()["groups"]]))
    assert results[0] == results[1]


def test_steps_of_a_callback_leave_the_trainer_in_use():
    x, y = samples()

    class Inner(Callback):
        def on_epoch_end(self, epoch, logs):
            for _ in range(3):
                self.trainer.step(x, y)
            self.trainer.fit(x[:4], y[:4], callbacks=[Callback()], verbose=0)
            self.trainer.step(x, y)
            self.trainer.step(x, y)

    t = make()
    t.fit(x, y, epochs=2, batch_size=4, callbacks=[Inner()], verbose=0)
    assert t.steps_done == 2 * (3 + 3 + 1 + 2) and not t._in_fit.held


def test_parameters_that_come_between_two_steps():
    (x, y), results = samples(), []
    for listed in (False, True):
        fastnn.manual_seed(6)
        model = nn.Sequential(nn.Dense(4, 5, activation="tanh"), nn.Dense(5, 2))
        t = fastnn.Trainer(model, losses.MeanSquaredError(), optim.SGD(model.parameters()[2:], lr=0.5))
        for step in range(8):
            t.step(x.tolist(), y.tolist()) if listed else t.step(x, y)
            if step == 4:
                assert is_cached(t) is not listed
                t.optimizer.add_param_group({"params": model.parameters()[:2], "lr": 0.1})
        results.append(bits(t))
    assert results[0] == results[1]


def test_averages_that_stand_are_not_trained():
    x, y = samples()
    t = make_stepped(x, y)
    assert is_cached(t)
    t.optimizer.swap_ema()
    before = bits(t)
    with pytest.raises(RuntimeError, match="swap_ema"):
        t.step(x[:4], y[:4])
    assert bits(t) == before and t.steps_done == 4
    t.optimizer.swap_ema()
    t.step(x[:4], y[:4])
    assert t.steps_done == 5


def test_a_loss_that_does_not_fit_changes_nothing():
    t = make()
    for loss, error in (("mse", TypeError), (losses.BinaryCrossEntropy, TypeError)):
        with pytest.raises(error, match="loss: expected"):
            t.loss = loss
    with pytest.raises(ValueError, match="clip_norm: expected"):
        t.clip_norm = -1.0
    assert isinstance(t.loss, losses.MeanSquaredError) and t.clip_norm is None


@pytest.mark.parametrize("name", ["model", "optimizer", "backend"])
def test_what_stays_as_it_was_given(name):
    t = make()
    with pytest.raises(AttributeError):
        setattr(t, name, getattr(t, name))


def test_parameters_may_come_in_the_middle_of_an_epoch():
    (x, y), results = samples(), []

    def half():
        fastnn.manual_seed(6)
        model = nn.Sequential(nn.Dense(4, 5, activation="tanh"), nn.Dense(5, 2))
        opt = optim.SGD(model.parameters()[2:], lr=0.5)
        return fastnn.Trainer(model, losses.MeanSquaredError(), opt)

    class Thaw(Callback):
        def on_step_end(self, step, logs):
            if step == 1:
                self.trainer.optimizer.add_param_group({"params": self.trainer.model.parameters()[:2], "lr": 0.1})

    t = half()
    t.fit(x, y, batch_size=4, shuffle=False, callbacks=[Thaw()], verbose=0)
    results.append(bits(t))
    t = half()
    t.step(x[:4], y[:4])
    t.optimizer.add_param_group({"params": t.model.parameters()[:2], "lr": 0.1})
    t.step(x[4:8], y[4:8])
    t.step(x[8:], y[8:])
    results.append(bits(t))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "layer, name, value",
    [
        (nn.Dropout(0.5), "p", 0.0),
        (nn.GaussianNoise(0.5), "std", 0.0),
        (nn.Dense(3, 2), "activation", "relu"),
        (nn.Dense(3, 2, penalty=regularizers.L2(0.1)), "penalty", None),
        (nn.Dense(3, 2), "penalty", regularizers.L2(0.1)),
        (nn.Dense(3, 2, activation="leaky_relu"), "alpha", 0.5),
        (nn.BatchNorm(3), "momentum", 0.5),
        (nn.LayerNorm(3), "eps", 1e-3),
        (nn.Activation("elu"), "alpha", 0.5),
        (nn.Tied(nn.Dense(3, 2)), "activation", "relu"),
        (nn.Dense(3, 2), "weight", np.zeros((3, 2))),
        (nn.Dense(3, 2, bias=False), "bias", nn.Parameter(np.zeros(2))),
        (nn.BatchNorm(3), "running_mean", None),
        (nn.BatchNorm(3, affine=False), "weight", nn.Parameter(np.ones(3))),
        (nn.BatchNorm(3), "penalty", regularizers.L2(1.0)),
        (nn.Tied(nn.Dense(3, 2)), "dense", nn.Dense(3, 2)),
        (nn.DropConnect(nn.Dense(3, 2)), "dense", nn.Dense(3, 2)),
        (nn.Sequential(nn.Dense(3, 2)), "layers", (nn.Dense(3, 3),)),
        (losses.Huber(0.5), "delta", 5.0),
        (losses.SoftmaxCrossEntropy(), "label_smoothing", 0.1),
        (regularizers.ElasticNet(0.1, 0.2), "l2", 100.0),
    ],
)
def test_settings_are_fixed(layer, name, value):
    before = repr(layer)
    for again in (layer, copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        with pytest.raises(AttributeError, match=f"^{type(layer).__name__}.{name}: is fixed when it is made"):
            setattr(again, name, value)
        with pytest.raises(AttributeError):
            delattr(again, name)
        assert repr(again) == before


def test_layers_of_a_model_are_fixed():
    model = nn.Sequential(nn.Dense(3, 2), nn.Residual(nn.Dense(2, 2)))
    for held in (model, model.layers[1]):
        with pytest.raises(TypeError):
            held.layers[0] = nn.Dense(3, 2)


class Scale(nn.Layer):
    """Of one's own: what `config` names is fixed once it is made, and not before; the rest is its own affair."""

    def __init__(self, n):
        self.sizes = None
        self.n = n
        self.n = max(n, 1)
        self.sizes = [n]
        self.used = 0

    def config(self):
        return {"n": self.n, "sizes": list(self.sizes)}

    def emit(self, builder, x):
        return x


class Half(nn.Dropout):
    def __init__(self):
        super().__init__(0.5)
        self.p = 0.25
        self.note = "mine"


class Diagonal(nn.Dense):
    def __init__(self, n):
        super().__init__(n, n)
        self.weight = nn.Parameter(np.eye(n))


def test_layers_of_ones_own():
    layer, half, diagonal = Scale(0), Half(), Diagonal(2)
    layer.used += 1
    layer.extra = 1
    layer.extra = half.note = 2
    assert layer.n == 1 and layer.used == 1 and half.p == 0.25
    for which, name in ((layer, "n"), (layer, "sizes"), (half, "p"), (diagonal, "weight"), (diagonal, "bias"), (layer, "penalty")):
        with pytest.raises(AttributeError, match="is fixed when it is made"):
            setattr(which, name, 3)
    assert nn.Sequential(diagonal, layer).predict(np.ones((1, 2))).tolist() == [[1, 1]]


def test_a_trainer_is_not_copied():
    t = make()
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"a Trainer is neither copied nor pickled: copy \(model, optimizer\) together"):
            attempt(t)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
@pytest.mark.parametrize("kind", ["plain", "averages", "averages stand", "schedule-free", "schedule-free, evaluating"])
def test_a_copy_of_model_and_optimizer_goes_on(way, kind):
    (x, y), t = samples(), make()
    free, averages = kind.startswith("schedule"), kind.startswith("averages")
    opt = (optim.ScheduleFreeAdamW if free else optim.Adam)(t.model.parameters(), lr=0.1, **({"ema": 0.5} if averages else {}))
    t = fastnn.Trainer(t.model, t.loss, opt)
    for _ in range(3):
        t.step(x, y)
    if kind == "averages stand":
        opt.swap_ema()
    if kind == "schedule-free, evaluating":
        opt.eval()
    model, twin = way((t.model, opt))
    for o in (opt, twin):
        if kind == "averages stand":
            o.swap_ema()
        if kind == "schedule-free, evaluating":
            o.train()
    t = fastnn.Trainer(t.model, t.loss, opt)
    u = fastnn.Trainer(model, t.loss, twin)
    assert bits(t) == bits(u) and t.evaluate(x, y) == u.evaluate(x, y)
    t.step(x, y)
    u.step(x, y)
    assert bits(t) == bits(u)
    for trainer in (t, u):  # and by a loop of one's own
        loss, gradients = fastnn.value_and_grad(trainer.model, trainer.loss, x, y)
        trainer.optimizer.step(gradients)
        if averages:
            trainer.optimizer.swap_ema()
    assert bits(t) == bits(u)
