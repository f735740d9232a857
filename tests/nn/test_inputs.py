"""Inputs that are refused; state, copies, pickles."""

import copy
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim

from nn_cases import bits, mlp, RNG

READ_ONLY = np.zeros((2, 3), np.float32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    "x, error, message",
    [
        (np.zeros(12), ValueError, r"^X: expected 2 dimensions \(rows, features\), got shape \(12,\)"),
        (np.float32(1), ValueError, r"^X: expected 2 dimensions .*, got shape \(\)"),
        (np.zeros((2, 3, 4)), ValueError, r"got shape \(2, 3, 4\); put nn.Flatten\(\) first"),
        (np.zeros((2, 11)), ValueError, r"^X: expected 12 features a row, got shape \(2, 11\)"),
        (np.zeros((2, 0)), ValueError, r"^X: expected at least one row and one feature, got shape \(2, 0\)"),
        (np.zeros((2, 12), complex), TypeError, "^X: expected real numbers, got dtype complex128"),
        (np.zeros((2, 12), "M8[s]"), TypeError, "^X: expected real numbers, got dtype datetime64"),
        (np.full((2, 12), None), TypeError, "^X: expected real numbers, got dtype object"),
        (np.full((2, 12), "1"), TypeError, "^X: expected real numbers, got dtype <U1"),
        ([[1, 2], [3]], ValueError, "^X: expected an array, got a list that makes none"),
        (None, TypeError, "^X: expected real numbers, got dtype object"),
    ],
)
def test_inputs_that_are_refused(x, error, message):
    model = nn.Sequential(nn.Dense(12, 3))
    for call in (model.predict, model.predict_proba, model.predict_classes):
        with pytest.raises(error, match=message):
            call(x)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters()))
    before = bits(model)
    for call, name in ((trainer.fit, "X"), (trainer.evaluate, "X"), (trainer.step, "xb")):
        with pytest.raises(error, match=f"^{name}: expected"):
            call(x, np.zeros(2, int))
    assert bits(model) == before


@pytest.mark.parametrize(
    "out, error, message",
    [
        ([[0.0] * 3] * 2, TypeError, "^out: expected a NumPy array, got list"),
        (np.zeros((2, 3)), TypeError, "^out: expected dtype float32, got float64"),
        (np.zeros((3, 2), np.float32), ValueError, r"^out: expected shape \(2, 3\), got \(3, 2\)"),
        (np.zeros(6, np.float32), ValueError, r"^out: expected shape \(2, 3\), got \(6,\)"),
        (np.zeros((2, 6), np.float32)[:, ::2], ValueError, "^out: expected a C-contiguous array"),
        (np.zeros((3, 2), np.float32).T, ValueError, "^out: expected a C-contiguous array"),
        (READ_ONLY, ValueError, "^out: expected a writable array"),
    ],
)
def test_outs_that_are_refused(out, error, message):
    with pytest.raises(error, match=message):
        nn.Sequential(nn.Dense(4, 3)).predict(np.zeros((2, 4)), out=out)


def test_an_out_that_is_the_input():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="^out: expected memory of its own, got an array that overlaps X"):
        nn.Sequential(nn.Dense(3, 3)).predict(x, out=x)
    model = nn.Sequential(nn.Dense(2, 3), nn.BatchNorm(3))
    for rows in (x[:1, :2], x[:1, :2].astype(np.float64)):
        with pytest.raises(ValueError, match="^out: expected memory of its own, got an array that overlaps the model's 1.running_mean"):
            model.predict(rows.copy(), out=model.layers[1].running_mean.data.reshape(1, 3))


@pytest.mark.parametrize("batch_size, error", [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("8", TypeError), (2**31, ValueError)])
def test_batch_sizes_that_are_refused(batch_size, error):
    with pytest.raises(error, match="^batch_size: expected an integer"):
        nn.Sequential(nn.Dense(3, 3)).predict(np.zeros((2, 3)), batch_size=batch_size)


def test_a_refused_call_leaves_the_model_usable():
    model = nn.Sequential(nn.Dense(3, 3))
    for _ in range(20):
        with pytest.raises(TypeError):
            model.predict(np.zeros((2, 3)), out=np.zeros((2, 3)))
    assert len(model._idle) == 1
    assert model.predict(np.zeros((2, 3))).shape == (2, 3)


def test_state_dict_round_trip():
    a, b = mlp(), mlp()
    assert bits(a) != bits(b)
    state = a.state_dict()
    b.load_state_dict(state)
    assert bits(a) == bits(b)
    state["2.bias"][:] = 9
    assert not (a.state_dict()["2.bias"] == 9).any()
    b.load_state_dict({k: v.tolist() for k, v in a.state_dict().items()})
    assert bits(a) == bits(b)


@pytest.mark.parametrize(
    "damage, error, message",
    [
        (lambda s: s.pop("2.bias"), ValueError, r"missing \['2.bias'\], unknown \[\]"),
        (lambda s: s.update({"9.weight": np.zeros(2)}), ValueError, r"missing \[\], unknown \['9.weight'\]"),
        (lambda s: s.update({3: np.zeros(2)}), ValueError, r"unknown \['3'\]"),
        (lambda s: s.update({"6.bias": np.zeros(4)}), ValueError, r"state_dict\['6.bias'\]: expected shape \(3,\), got \(4,\)"),
        (lambda s: s.update({"6.bias": np.zeros(3, complex)}), TypeError, r"state_dict\['6.bias'\]: expected real numbers"),
        (lambda s: s.update({"6.bias": ["a", "b", "c"]}), TypeError, r"state_dict\['6.bias'\]: expected real numbers"),
        (lambda s: s.update({"6.bias": [[1], [2, 3]]}), ValueError, r"state_dict\['6.bias'\]: expected an array"),
    ],
)
def test_a_damaged_state_changes_nothing(damage, error, message):
    model = mlp()
    before = bits(model)
    state = {k: v + 1 for k, v in model.state_dict().items()}
    damage(state)
    with pytest.raises(error, match=message):
        model.load_state_dict(state)
    assert bits(model) == before


def test_a_state_that_is_no_dict():
    for state in (None, [1], "abc"):
        with pytest.raises(TypeError, match="state_dict: expected a dict"):
            mlp().load_state_dict(state)


@pytest.mark.parametrize("again", [copy.deepcopy, copy.copy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_apart(again):
    model = mlp()
    x = RNG.normal(size=(4, 12))
    twin = again(model)
    assert bits(twin) == bits(model) and repr(twin) == repr(model)
    assert twin.predict(x).tobytes() == model.predict(x).tobytes()
    twin.layers[2].weight.data[...] = 0
    assert bits(twin) != bits(model)
    trainer = fastnn.Trainer(twin, losses.SoftmaxCrossEntropy(), optim.SGD(twin.parameters()))
    trainer.step(x, np.zeros(4, int))


def test_a_copy_draws_no_random_numbers():
    fastnn.manual_seed(1)
    nn.Dense(3, 3)
    expected = nn.Dense(3, 3).weight.data.copy()
    fastnn.manual_seed(1)
    copy.deepcopy(nn.Sequential(nn.Dense(3, 3)))
    assert (nn.Dense(3, 3).weight.data == expected).all()
