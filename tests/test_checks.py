"""fastnn.checks: what counts as a number, a number in a range, a truth value; and what is said of the rest."""

import math
import pickle
from fractions import Fraction

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim, regularizers, schedules
from fastnn.core import checks
from fastnn.optim import checks as settings

NUMBERS = [0, 1, 0.5, -2.0, np.float32(0.25), np.float64(3), np.int8(3), Fraction(1, 4), 1e-320]


class Scalar:
    """What a framework's array of no dimensions has."""

    shape = ()

    def __init__(self, value):
        self.value = value

    def item(self):
        return self.value


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
def test_a_number_becomes_a_float(value):
    found = checks.number(value, "x")
    assert type(found) is float and found == value
    assert checks.real(value, "x") is value


@pytest.mark.parametrize("value", [np.array(0.5), np.array(3), np.array(0.5, np.float16), Scalar(0.25), Scalar(2)])
def test_arrays_of_no_dimensions_are_numbers(value):
    for check in (checks.real, checks.number, settings.number, settings.any_number):
        found = check(value, "x")
        assert isinstance(found, (int, float)) and found == value.item()
    if isinstance(value.item(), int):
        assert settings.count(value, "x") == value.item()


@pytest.mark.parametrize("value", [np.array(True), np.array("1"), np.array(1j), np.array(None), np.ma.masked, Scalar("1"), Scalar(True)])
def test_arrays_of_no_dimensions_that_hold_no_number(value):
    for check in (checks.real, checks.number, settings.number, settings.any_number):
        with pytest.raises(TypeError, match="^x: expected a number, got "):
            check(value, "x")
    with pytest.raises(TypeError, match="^x: expected an integer, got "):
        settings.count(value, "x")


@pytest.mark.parametrize("check", [checks.real, checks.number, settings.number, settings.any_number])
@pytest.mark.parametrize("value", [True, np.bool_(True), None, "1", 1j, [1], np.array([1.0])], ids=repr)
def test_what_is_no_number(check, value):
    with pytest.raises(TypeError) as error:
        check(value, "x")
    assert str(error.value) == f"x: expected a number, got {value!r}"


@pytest.mark.parametrize(("limits", "fine", "bad", "words"), [
    ({}, [-1e308, 0, 1e308], [math.inf, -math.inf, 10**400], ""),
    ({"least": 0.0}, [0.0, -0.0, 1e308], [-1e-320, math.inf], " >= 0"),
    ({"least": -1}, [-1], [-2], " >= -1"),
    ({"least": 0.0, "most": 0.5}, [0, 0.5], [-0.1, 0.6, math.inf], " in [0, 0.5]"),
    ({"least": 0.0, "below": 0.5}, [0, 0.4], [-0.1, 0.5, -math.inf], " in [0, 0.5)"),
])  # fmt: skip
def test_ranges(limits, fine, bad, words):
    kinds = [checks.number] + ([settings.number] if "least" in limits and "most" not in limits else [])
    for check in kinds:
        for value in fine:
            assert check(value, "x", **limits) == value
        for value in [*bad, math.nan]:
            with pytest.raises(ValueError) as error:
                check(value, "x", **limits)
            assert str(error.value) == f"x: expected a finite number{words}, got {math.inf if value == 10**400 else float(value)}"


@pytest.mark.parametrize("check", [settings.any_number, lambda v, name: settings.number(v, name, -math.inf)])
def test_any_number_of_an_optimizer_is_finite(check):
    assert check(-2, "x") == -2.0
    for value in (math.inf, -math.inf, math.nan):
        with pytest.raises(ValueError, match=rf"^x: expected a finite number, got {value}$"):
            check(value, "x")


def test_flags():
    for value in (True, False, np.True_, np.False_):
        assert checks.flag(value, "x") is bool(value)
    for value in (0, 1, None, "True", np.array(True)):
        with pytest.raises(TypeError, match="^x: expected True or False, got "):
            checks.flag(value, "x")


def test_what_was_meant():
    known = ("lr", "betas", "eps", "weight_decay", "momentum")
    for written, meant in {
        "learning_rate": "lr", "epsilon": "eps", "beta1": "betas", "momentun": "momentum", "weightdecay": "weight_decay",
        "temperature": None, "name": None,
    }.items():  # fmt: skip
        assert settings.nearest(written, known) == meant
    assert settings.nearest("epsilon", ("lr",)) is None
    assert settings.instead(["epsilon", "name"], known) == "; for epsilon write eps"


def test_checks_of_an_optimizer_can_be_pickled():
    for check in (settings.number, settings.any_number, settings.betas, settings.setting, settings.share):
        assert pickle.loads(pickle.dumps(check)) is check
    assert pickle.loads(pickle.dumps(settings.choice("a", "b")))("b", "x") == "b"


@pytest.mark.parametrize("name, known, meant", [
    ("learning_rate", ["lr", "eps"], "lr"), ("epsilon", ["lr", "eps"], "eps"), ("bachsize", ["batch_size", "epochs"], "batch_size"),
    ("n_epochs", ["batch_size", "epochs"], "epochs"), ("learning_rate", ["learning_rates"], "learning_rates"), ("xyz", ["lr"], None),
    ("rate", ["p"], "p"),
])
def test_the_nearest_name(name, known, meant):
    assert checks.nearest(name, known) == (meant or None)


def test_unknown_keywords():
    model = nn.Sequential(nn.Dense(2, 2))
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()))
    x, y = np.ones((4, 2)), [0, 1, 0, 1]
    for call, message in (
        (lambda: optim.Adam(model.parameters(), learning_rate=0.1), "unknown arguments .*; for learning_rate write lr; options are"),
        (lambda: optim.SGD([{"params": model.parameters(), "weight_decy": 0.1}]), "weight_decy.*weight_decay"),
        (lambda: nn.Dense(2, 2, activations="relu"), r"Dense.__init__\(\) got an unexpected keyword argument 'activations'; did you mean 'activation'[?]$"),
        (lambda: nn.Dropout(rate=0.5), "; did you mean 'p'[?]$"),
        (lambda: nn.Dropout(size=0.5), "got an unexpected keyword argument 'size'$"),
        (lambda: losses.Huber(deltas=1.0), "; did you mean 'delta'[?]$"),
        (lambda: regularizers.L2(lambda_=1.0), "keyword argument 'lambda_'"),
        (lambda: trainer.fit(x, y, n_epochs=2, verbose=0), r"fit\(\) got an unexpected keyword argument 'n_epochs'; did you mean 'epochs'[?]$"),
        (lambda: trainer.evaluate(x, y, batchsize=2), "; did you mean 'batch_size'[?]$"),
        (lambda: schedules.Exponential(0.1, gama=0.5), "; did you mean 'gamma'[?]$"),
        (lambda: schedules.Step(0.1, stepsize=3), r"Step.__init__\(\) .*; did you mean 'step_size'[?]$"),
        (lambda: schedules.ReduceOnPlateau(0.1, patiance=3), "; did you mean 'patience'[?]$"),
        (lambda: nn.mlp([2, 3], activations="tanh"), r"mlp\(\) .*; did you mean 'activation'[?]$"),
        (lambda: nn.mlp([2, 3], kernel_initializer="he"), "; did you mean 'init'[?]$"),
        (lambda: fastnn.Trainer(model, criterion=1, optimizer=2), "; did you mean 'loss'[?]$"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            call()
    assert trainer.steps_done == 0


def test_signatures_stay():
    import inspect

    assert list(inspect.signature(fastnn.Trainer).parameters)[:3] == ["model", "loss", "optimizer"]
    assert list(inspect.signature(nn.Dense).parameters)[:2] == ["in_features", "out_features"]


CATEGORIES = [np.array(["a", "b", "a", "b"]), np.array(["a", "b", "a", "b"], object), ["x", "y", "x", "y"], np.array([b"a", b"b"] * 2)]


@pytest.mark.parametrize("y", CATEGORIES, ids=repr)
def test_names_of_classes(y):
    class Series:  # as pandas', of categories
        def __array__(self, dtype=None, copy=None):
            return np.asarray(y, dtype=object)

    for loss, outputs in ((losses.SoftmaxCrossEntropy(), 2), (losses.MulticlassHinge(), 2), (losses.BinaryCrossEntropy(), 1), (losses.MeanSquaredError(), 1)):
        model = nn.Sequential(nn.Dense(2, outputs))
        trainer = fastnn.Trainer(model, loss, optim.Adam(model.parameters()))
        for given in (y, Series()):
            with pytest.raises(TypeError, match=r"^y: expected .*; for names of classes write classes, y = np.unique\(y, return_inverse=True\)$"):
                trainer.fit(np.ones((4, 2)), given, verbose=0)
        if outputs == 2:
            trainer.fit(np.ones((4, 2)), np.unique(y, return_inverse=True)[1], verbose=0)


def test_numbers_that_are_objects():
    model = nn.Sequential(nn.Dense(3, 2))
    x = np.array([[1, 2.5, True], [3, 4.5, False]], dtype=object)
    with pytest.raises(TypeError, match=r"^X: expected real numbers, got dtype object; its elements are numbers, so write X.astype\(float\)$"):
        model.predict(x)
    with pytest.raises(TypeError, match=r"got dtype <U3; its elements are numbers, so write X.astype\(float\)$"):
        model.predict(np.array([["1.5", "2", "3"]]))
    with pytest.raises(TypeError, match=r"; turn all its columns into numbers, then write X.astype\(float\)$"):
        model.predict(np.array([[1, "red", 3]], dtype=object))
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()))
    with pytest.raises(TypeError, match=r"; its elements are numbers, so write y.astype\(int\)$"):
        trainer.fit(np.ones((2, 3)), np.array([0, 1], dtype=object), verbose=0)
    with pytest.raises(TypeError, match="got dtype datetime64.s.$"):
        model.predict(np.zeros((1, 3), "M8[s]"))


def test_one_sample_in_one_dimension():
    model, one = nn.Sequential(nn.Dense(3, 2)), nn.Sequential(nn.Dense(1, 2))
    images = nn.Sequential(nn.Flatten(), nn.Dense(4, 2))
    for call in (model.predict, model.predict_proba, model.predict_classes):
        with pytest.raises(ValueError, match=r"got shape \(3,\); for a single sample write X\[None\]$"):
            call(np.ones(3))
    with pytest.raises(ValueError, match=r"got shape \(5,\); for samples of one feature write X\[:, None\]$"):
        one.predict(np.ones(5))
    with pytest.raises(ValueError, match=r"got shape \(2, 2\); for a single sample write X\[None\]$"):
        images.predict(np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"got shape \(4,\)$"):
        model.predict(np.ones(4))


def test_no_samples_give_no_predictions():
    model = nn.Sequential(nn.Flatten(), nn.Dense(4, 3))
    for x in ([], np.empty((0, 4)), np.empty((0, 2, 2), np.uint8), np.empty((0, 4), np.float32)):
        for call, shape, dtype in ((model.predict, (0, 3), np.float32), (model.predict_proba, (0, 3), np.float32), (model.predict_classes, (0,), np.int64)):
            found = call(x)
            assert found.shape == shape and found.dtype == dtype
    out = np.empty((0, 3), np.float32)
    assert model.predict(np.empty((0, 4)), out=out) is out
    one = nn.Sequential(nn.Dense(4, 1))
    assert one.predict_classes(np.empty((0, 4))).shape == (0,) and one.predict([], batch_size=3).shape == (0, 1)
    with pytest.raises(ValueError, match=r"^X: expected 4 features a row, got shape \(0, 5\)$"):
        one.predict(np.empty((0, 5)))
    trainer = fastnn.Trainer(one, losses.MeanSquaredError(), optim.Adam(one.parameters()))
    with pytest.raises(ValueError, match="^X: expected at least one row and one feature"):
        trainer.evaluate(np.empty((0, 4)), np.empty(0))
