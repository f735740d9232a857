"""What is set after a plan was built on it takes effect, or is refused; nothing is silently left as it was."""

import copy
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim, regularizers
from fastnn.callbacks import Callback


def samples():
    rng = np.random.default_rng(2)
    return rng.normal(size=(12, 4)).astype(np.float32), rng.normal(size=(12, 2)).astype(np.float32)


def make(loss=None, **settings):
    fastnn.manual_seed(6)
    model = nn.Sequential(nn.Dense(4, 5, activation="tanh"), nn.Dense(5, 2))
    opt = optim.SGD(model.parameters(), lr=0.5)
    return fastnn.Trainer(model, loss or losses.MeanSquaredError(), opt, **settings)


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
        plain.step(x[:4], y[:4])
        if i == 2:
            setattr(stepped, name, value)
        stepped.step(x[:4], y[:4])
    for _ in range(3):
        fitted.fit(x[:4], y[:4], batch_size=4, shuffle=False, callbacks=[Change(2, name, value)], verbose=0)
    assert bits(stepped) == bits(fitted) != bits(plain)
    assert getattr(stepped, name) is value or getattr(stepped, name) == value


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
    ],
)
def test_settings_of_a_layer_are_fixed(layer, name, value):
    before = repr(layer)
    with pytest.raises(AttributeError, match=f"^{type(layer).__name__}.{name}: is fixed when the layer is made"):
        setattr(layer, name, value)
    assert repr(layer) == before
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert repr(again) == before
        with pytest.raises(AttributeError):
            setattr(again, name, value)


def test_layers_of_a_model_are_fixed():
    model = nn.Sequential(nn.Dense(3, 2), nn.Residual(nn.Dense(2, 2)))
    for held in (model, model.layers[1]):
        with pytest.raises(TypeError):
            held.layers[0] = nn.Dense(3, 2)


def test_a_layer_of_ones_own_keeps_what_it_likes():
    class Counts(nn.Layer):
        def __init__(self, n=1):
            self.n = n
            self.n = n + 0
            self.used = 0

        def config(self):
            return {"n": self.n, "used": self.used}

        def emit(self, builder, x):
            return x

    layer = Counts(3)
    layer.extra = 1
    layer.extra = 2
    assert layer.extra == 2


def test_a_trainer_is_not_copied():
    t = make()
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"a Trainer is neither copied nor pickled: copy \(model, optimizer\) together"):
            attempt(t)
    x, y = samples()
    model, opt = copy.deepcopy((t.model, t.optimizer))
    twin = fastnn.Trainer(model, t.loss, opt)
    t.step(x, y)
    twin.step(x, y)
    assert bits(t) == bits(twin)
