"""Arguments of losses that are refused, plans, and what holds of any problem."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import kernels, losses, nn, optim
from fastnn.executors import NativeExecutor

from loss_cases import F32, identity, LOSSES, small, squares, targets_of


@pytest.mark.parametrize("make, error, message", [
    (lambda: losses.Huber(0), ValueError, "delta: expected a number > 0, finite in float32, got 0"),
    (lambda: losses.Huber("1"), TypeError, "delta: expected a number, got '1'"),
    (lambda: losses.Huber(np.nan), ValueError, "delta"),
    (lambda: losses.Poisson(eps=-1), ValueError, "eps: expected a number >= 0"),
    (lambda: losses.SoftmaxCrossEntropy(1.1), ValueError, "label_smoothing: expected a number from 0 to 1, got 1.1"),
    (lambda: losses.SoftmaxCrossEntropy(True), TypeError, "label_smoothing: expected a number, got True"),
    (lambda: losses.SoftmaxCrossEntropy(class_weight=[1, -1]), ValueError, "class_weight: expected numbers >= 0, .* got -1"),
    (lambda: losses.SoftmaxCrossEntropy(class_weight="even"), ValueError, "class_weight: expected 'balanced', numbers, or a dict"),
    (lambda: losses.SoftmaxCrossEntropy(class_weight=object()), TypeError, "class_weight: expected numbers, got <object"),
    (lambda: losses.SoftmaxCrossEntropy(class_weight=[[1, 2]]), ValueError, "class_weight: expected one number for each output"),
    (lambda: losses.SoftmaxCrossEntropy(class_weight={"a": 1}), ValueError, "class_weight: expected class numbers as keys, got 'a'"),
    (lambda: losses.Quantile(0.0), ValueError, "quantile: expected numbers above 0 and below 1, got 0.0"),
    (lambda: losses.Quantile([0.5, 1.0]), ValueError, "quantile: expected numbers above 0"),
    (lambda: losses.Quantile([]), ValueError, "quantile: expected a number, or one for each output"),
    (lambda: losses.Quantile("0.5"), TypeError, "quantile"),
    (lambda: losses.SoftmaxCrossEntropy(ignore_index=1.0), TypeError, "ignore_index: expected an integer"),
    (lambda: losses.SoftmaxCrossEntropy(ignore_index=2**64), ValueError, "ignore_index"),
    (lambda: losses.SoftmaxCrossEntropy(class_weight={0: np.inf}), ValueError, "class_weight: expected numbers >= 0"),
    (lambda: losses.SoftmaxCrossEntropy(reduction="none"), ValueError, "reduction: expected 'mean' or 'sum', got 'none'"),
    (lambda: losses.BinaryCrossEntropy(pos_weight=-1), ValueError, "pos_weight: expected a number >= 0"),
    (lambda: losses.BinaryCrossEntropy(class_weight=[1, 2, 3]), ValueError, "class_weight: expected 2 numbers, one for each output"),
    (lambda: losses.BinaryHinge(margin=-1), ValueError, "margin: expected a number >= 0"),
    (lambda: losses.BinaryHinge(class_weight={2: 1}), ValueError, "class_weight: expected classes from 0 to 1, got 2"),
    (lambda: losses.MulticlassHinge(margin=np.inf), ValueError, "margin"),
])
def test_arguments_that_are_refused(make, error, message):
    with pytest.raises(error, match=f"^{message}"):
        make()


@pytest.mark.parametrize("loss, message", [
    (losses.SoftmaxCrossEntropy(class_weight=[1, 2]), "class_weight: expected 3 numbers, one for each output"),
    (losses.SoftmaxCrossEntropy(class_weight={3: 1}), "class_weight: expected classes from 0 to 2, got 3"),
    (losses.MulticlassHinge(class_weight=[1, 2]), "class_weight: expected 3"),
    (losses.BinaryCrossEntropy(pos_weight=[1, 2]), "pos_weight: expected 3 numbers, one for each output, got 2"),
    (losses.Quantile([0.1, 0.9]), "quantile: expected 3 numbers, one for each output, got 2"),
])
def test_weights_that_do_not_fit_the_model(loss, message):
    model = small()
    with pytest.raises(ValueError, match=f"^{message}"):
        fastnn.Trainer(model, loss, optim.SGD(model.parameters()))
    with pytest.raises(ValueError, match=f"^{message}"):
        fastnn.value_and_grad(model, loss, np.ones((2, 4)), [0, 1])
    assert model.head is None


ENDS = {
    "Softmax": lambda n: [nn.Dense(4, n), nn.Softmax()],
    "softmax of Dense": lambda n: [nn.Dense(4, n, activation="softmax")],
    "sigmoid of Dense": lambda n: [nn.Dense(4, n, activation="sigmoid")],
    "sigmoid": lambda n: [nn.Dense(4, n), nn.Activation("sigmoid"), nn.Dropout(0.1)],
    "softmax inside": lambda n: [nn.Sequential(nn.Dense(4, n), nn.Activation("softmax"))],
    "sigmoid of DropConnect": lambda n: [nn.DropConnect(nn.Dense(4, n, activation="sigmoid"))],
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("loss, message", [
    (losses.SoftmaxCrossEntropy(), "SoftmaxCrossEntropy applies a softmax itself"),
    (losses.BinaryCrossEntropy(), "BinaryCrossEntropy applies a sigmoid itself"),
    (losses.BinaryHinge(), "BinaryHinge needs outputs of either sign"),
])
def test_probabilities_where_logits_belong(loss, message, end):
    model = nn.Sequential(*ENDS[end](3))
    expected = f"^model: expected no softmax or sigmoid at its end, since {message}, got one that ends in a s[a-z]*: leave it out"
    opt = optim.SGD(model.parameters())
    with pytest.raises(ValueError, match=expected):
        fastnn.Trainer(model, loss, opt)
    with pytest.raises(ValueError, match=expected):
        fastnn.value_and_grad(model, loss, np.ones((2, 4)), np.ones((2, 3)))
    with pytest.raises(ValueError, match=expected):
        fastnn.check_gradients(model, loss, np.ones((2, 4)), np.ones((2, 3)))
    trainer = fastnn.Trainer(model, losses.MeanSquaredError(), opt)  # which compares probabilities
    with pytest.raises(ValueError, match=expected):
        trainer.loss = loss
    assert model.head == "numbers" and isinstance(trainer.loss, losses.MeanSquaredError)


def test_activations_that_may_end_a_model_of_logits():
    for last in ([nn.LogSoftmax()], [nn.Activation("tanh")], [nn.Softmax(), nn.Dense(3, 3)], [nn.Residual(nn.Softmax())]):
        model = nn.Sequential(nn.Dense(4, 3), *last)
        fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters()))


@pytest.mark.parametrize("loss, instead", [
    (losses.SoftmaxCrossEntropy(), "BinaryCrossEntropy"), (losses.MulticlassHinge(), "BinaryHinge"),
])
def test_a_choice_of_one(loss, instead):
    model = small(outputs=1)
    name = type(loss).__name__
    expected = f"^model: expected at least 2 outputs, .* since {name} of a single one is always 0, got 1; .*losses.{instead}\\(\\)$"
    with pytest.raises(ValueError, match=expected):
        fastnn.Trainer(model, loss, optim.SGD(model.parameters()))
    trainer = fastnn.Trainer(model, losses.MeanSquaredError(), optim.SGD(model.parameters()))
    with pytest.raises(ValueError, match=expected):
        trainer.loss = loss
    assert fastnn.value_and_grad(model, loss, np.ones((2, 4)), [0, 0])[0] == 0  # a function as good as any


def test_a_softmax_over_one_output():
    model = nn.Sequential(nn.Dense(4, 1), nn.Softmax())
    for loss in (losses.MeanSquaredError(), losses.Custom(lambda z, t: (0.0, z)), losses.BinaryCrossEntropy()):
        with pytest.raises(ValueError, match="^model: expected outputs that can change, got a softmax over a single one"):
            fastnn.Trainer(model, loss, optim.SGD(model.parameters()))


def test_plan_kinds():
    model = small()
    trainer = fastnn.Trainer(model, losses.MeanSquaredError(), optim.SGD(model.parameters()))
    assert "elementwise_loss" in trainer.plan(8).describe()
    with pytest.raises(ValueError, match=r"^kind: expected 'rows' for MeanSquaredError\(\), got 'labels'"):
        trainer.plan(8, "labels")
    custom = fastnn.Trainer(model, losses.Custom(squares), optim.SGD(model.parameters()))
    assert "host_loss" in custom.plan(8).describe() and "python" in custom.plan(8).describe()
    plan = trainer.plan(8, weighted=True)
    with pytest.raises(ValueError, match="^weights: expected an array for this plan, got NoneType"):
        NativeExecutor(plan).run(np.ones((4, 4)), np.ones((4, 3)), rates=[[0.1]])


def test_repr_and_equal_plans():
    assert repr(losses.SoftmaxCrossEntropy(0.1, {1: 2.0})) == "SoftmaxCrossEntropy(label_smoothing=0.1, class_weight={1: 2.0})"
    assert repr(losses.BinaryHinge(squared=True)) == "BinaryHinge(squared=True)"
    pairs = [losses.Huber(1.0), losses.Huber(2.0), losses.MeanSquaredError(), losses.MeanSquaredError("sum"), losses.Poisson(),
             losses.Poisson(False), losses.SoftmaxCrossEntropy(), losses.SoftmaxCrossEntropy(class_weight=np.ones(3)),
             losses.SoftmaxCrossEntropy(class_weight=np.arange(3.0)), losses.Custom(squares), losses.Custom(lambda: 0)]
    assert len({loss.key() for loss in pairs}) == len(pairs)
    assert losses.Huber(2).key() == losses.Huber(2.0).key()


NUMBERS = st.floats(-50, 50, width=32)


@st.composite
def problems(draw):
    rows, outputs = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    z = (rng.normal(size=(rows, outputs)) * draw(st.sampled_from([1e-3, 1, 30]))).astype(F32)
    name = draw(st.sampled_from(sorted(LOSSES)))
    if LOSSES[name][1] == "counts":
        z = np.minimum(z, F32(80))  # exp of more is infinite in float32, and not in the float64 that it is compared with
    t = targets_of(LOSSES[name][1], rng, rows, outputs)
    dtype = draw(st.sampled_from({"real": "fde", "counts": "fdBiq", "labels": "bBhiqQ", "probabilities": "fd", "answers": "?bBifd"}[LOSSES[name][1]]))
    weight = draw(st.sampled_from([None, rng.random(rows), rng.integers(0, 3, rows)]))
    return name, z, t.astype(dtype), weight


@settings(max_examples=120, deadline=None)
@given(problems())
def test_any_problem(problem):
    name, z, t, weight = problem
    loss, what, function, options = LOSSES[name]
    value, (_, db) = fastnn.value_and_grad(identity(z.shape[1]), loss, z, t, sample_weight=weight)
    wide = t if what == "labels" else t.astype(F32).astype(float)
    weights = None if weight is None else weight.astype(F32).astype(float)
    expected, d = function(z.astype(float), wide, sample_weight=weights, **options)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(db, d.sum(axis=0), rtol=1e-3, atol=1e-5 * np.abs(d).sum() + 1e-6)


ARRAYS = st.one_of(
    st.lists(st.integers(-2, 4), max_size=5),
    st.lists(st.lists(st.integers(-2, 4), min_size=3, max_size=3), max_size=5),
    st.lists(st.lists(st.floats(), max_size=4), max_size=5),
    st.lists(st.text(max_size=2), max_size=5),
    st.none(), st.integers(), st.floats(), st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(LOSSES)), ARRAYS, st.one_of(st.none(), ARRAYS))
def test_any_targets_and_weights(name, y, weight):
    """The documented result or the documented exception, before anything has changed."""
    model, x = small(), np.ones((4, 4))
    try:
        value, grads = fastnn.value_and_grad(model, LOSSES[name][0], x, y, sample_weight=weight)
    except (TypeError, ValueError) as error:
        assert str(error).startswith(("y", "sample_weight"))
    else:
        assert isinstance(value, float) and [g.shape for g in grads] == [p.shape for p in model.parameters()]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["mean_squared_error", "mean_absolute_error", "huber", "binary_cross_entropy", "binary_hinge", "poisson"]),
       st.lists(st.tuples(NUMBERS, st.integers(0, 1)), min_size=1, max_size=40))
def test_elementwise_losses_are_sums_over_elements(function, pairs):
    z, t = F32([[a for a, _ in pairs]]), F32([[b for _, b in pairs]])
    whole = getattr(kernels, function)(z, t, reduction="sum")
    apart = [getattr(kernels, function)(z[:, i : i + 1].copy(), t[:, i : i + 1].copy(), reduction="sum") for i in range(len(pairs))]
    np.testing.assert_allclose(whole[0], sum(a for a, _ in apart), rtol=1e-12, atol=1e-12)
    assert (whole[1] == np.concatenate([g for _, g in apart], axis=1)).all()
