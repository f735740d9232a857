"""What outputs say: accuracy, classes, probabilities."""

import copy

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim

from loss_cases import F32, identity, small, targets_of


def test_accuracy_and_predictions():
    z = F32([[1, -1], [2, 3], [-1, 0], [np.nan, 1]])
    model = identity(2)
    binary = fastnn.Trainer(model, losses.BinaryCrossEntropy(), optim.SGD(model.parameters()))
    assert binary.evaluate(z[:3], np.array([[1, 0], [1, 0], [0, 0]]))["accuracy"] == 5 / 6
    assert binary.evaluate(z, np.array([[1, 0], [1, 0], [0, 0], [0, 1]]))["accuracy"] == 5 / 8  # NaN spoils its row: NaN · 0
    assert (model.predict_classes(z[:3]) == [[1, 0], [1, 1], [0, 0]]).all() and model.predict_classes(z).dtype == np.int64
    np.testing.assert_allclose(model.predict_proba(z[:3]), 1 / (1 + np.exp(-z[:3].astype(float))), rtol=1e-6)
    again = copy.deepcopy(model)
    assert again.head == "sigmoid" and (again.predict_classes(z[:3]) == [[1, 0], [1, 1], [0, 0]]).all()

    fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters()))  # now it is a choice of one
    assert (model.predict_classes(z[:3]) == [0, 1, 1]).all()
    np.testing.assert_allclose(model.predict_proba(z[:3]).sum(axis=1), 1, rtol=1e-6)

    one = identity(1)
    hinge = fastnn.Trainer(one, losses.BinaryHinge(), optim.SGD(one.parameters()))
    assert hinge.evaluate(z[:3, :1], [1, -1, -1])["accuracy"] == 2 / 3
    assert (one.predict_classes(z[:3, :1]) == [1, 1, 0]).all()
    assert hinge.evaluate(z[:3, :1], [1, 0, 1], sample_weight=[0, 0, 1]) == {"loss": pytest.approx(2 / 3), "accuracy": 1 / 3}

    regression = fastnn.Trainer(one, losses.Huber(), optim.SGD(one.parameters()))
    assert set(regression.evaluate(z[:3, :1], [1, 2, 3])) == {"loss"}
    history = regression.fit(z[:3, :1], [1, 2, 3], validation_data=(z[:3, :1], [1, 2, 3]), verbose=0)
    assert set(history) == {"loss", "val_loss", "seconds"}


# The losses that count right answers, and what their targets are.
DECISIONS = {
    "cross entropy": (losses.SoftmaxCrossEntropy(), "labels"),
    "multiclass hinge": (losses.MulticlassHinge(), "labels"),
    "binary": (losses.BinaryCrossEntropy(), "answers"),
    "hinge of 0 and 1": (losses.BinaryHinge(), "answers"),
    "hinge of signs": (losses.BinaryHinge(squared=True), "signs"),
}


@pytest.mark.parametrize("outputs", [1, 2, 5, 16])
@pytest.mark.parametrize("way", ["fit", "step"])
@pytest.mark.parametrize("name", DECISIONS)
def test_classes_are_what_the_accuracy_counts(name, way, outputs, tmp_path):
    loss, what = DECISIONS[name]
    if what == "labels" and outputs == 1:
        pytest.skip("a choice of one")
    rng = np.random.default_rng(outputs)
    X = rng.normal(size=(64, 4))
    y = 2 * targets_of("answers", rng, 64, outputs) - 1 if what == "signs" else targets_of(what, rng, 64, outputs)
    model = small(outputs=outputs)
    trainer = fastnn.Trainer(model, loss, optim.Adam(model.parameters(), lr=0.01))
    if way == "fit":
        trainer.fit(X, y, epochs=3, verbose=0)
    else:
        for _ in range(3):
            trainer.step(X, y)
    accuracy = trainer.evaluate(X, y)["accuracy"]
    assert 0 < accuracy < 1
    model.save(tmp_path / "m.safetensors")
    for m in (model, nn.load(tmp_path / "m.safetensors"), model.fold(), copy.deepcopy(model)):
        classes = m.predict_classes(X)
        assert classes.shape == (y.shape if y.ndim == 1 or outputs > 1 else y.shape[:1]) and classes.dtype == np.int64
        assert (classes == (y[:, 0] if y.shape == (64, 1) else y)).mean() == accuracy
    fastnn.Trainer(model, loss, optim.SGD(model.parameters()))  # to evaluate or to go on: what the targets told is not forgotten
    assert (model.predict_classes(X) == classes).all()


@pytest.mark.parametrize("loss", [losses.MeanSquaredError(), losses.MeanAbsoluteError(), losses.Huber()])
def test_classes_of_regression(loss):
    z = F32([[-0.2], [0.4], [0.6], [7]])
    one = identity(1)
    trainer = fastnn.Trainer(one, loss, optim.SGD(one.parameters(), lr=0.0))
    assert one.predict_classes(z).tolist() == [0, 0, 1, 1]
    trainer.fit(z, [1, -1, -1, 1], verbose=0)
    assert one.predict_classes(z).tolist() == [-1, 1, 1, 1]
    trainer.step(z, [1, 1, 1, 1])  # which tells nothing
    assert one.predict_classes(z).tolist() == [-1, 1, 1, 1]
    trainer.fit(z, [0, 1, 1, 1], verbose=0)
    assert one.predict_classes(z).tolist() == [0, 0, 1, 1]
    several = identity(3)
    trainer = fastnn.Trainer(several, loss, optim.SGD(several.parameters(), lr=0.0))
    for targets in (np.eye(3), 2 * np.eye(3) - 1):
        trainer.fit(np.eye(3), targets, verbose=0)
        assert several.predict_classes(F32([[0, 0.4, 0.3], [-3, -2, -1]])).tolist() == [1, 2]
        assert several.head == "numbers"


def test_outputs_that_are_no_logits_give_no_probabilities(tmp_path):
    z = F32([[1.0], [-1.0]])
    cases = [
        (losses.MeanSquaredError(), [0, 1], "numbers"), (losses.MeanAbsoluteError(), [0, 1], "numbers"),
        (losses.Huber(), [0, 1], "numbers"), (losses.MeanSquaredError(), [-1, 1], "scores of targets -1 and 1"),
        (losses.Poisson(), [0, 1], "rates of counts"), (losses.BinaryHinge(), [0, 1], "scores of a hinge loss"),
        (losses.BinaryHinge(), [-1, 1], "scores of targets -1 and 1"),
    ]
    for loss, y, what in cases:
        model = identity(1)
        fastnn.Trainer(model, loss, optim.SGD(model.parameters(), lr=0.0)).fit(z, y, verbose=0)
        model.save(tmp_path / "m.safetensors")
        for m in (model, nn.load(tmp_path / "m.safetensors"), model.fold()):
            with pytest.raises(ValueError, match=f"^predict_proba: expected a model trained on a cross-entropy, got .*{what}"):
                m.predict_proba(z)
    several = identity(3)
    fastnn.Trainer(several, losses.MulticlassHinge(), optim.SGD(several.parameters()))
    with pytest.raises(ValueError, match="scores of a multi-class hinge loss"):
        several.predict_proba(np.eye(3))
    counts = identity(2)
    fastnn.Trainer(counts, losses.Poisson(), optim.SGD(counts.parameters()))
    with pytest.raises(ValueError, match="^predict_classes: expected outputs that tell classes, got rates of counts"):
        counts.predict_classes(z @ F32([[1, 1]]))


def test_hinge_targets_are_of_one_kind():
    model = identity(1)
    trainer = fastnn.Trainer(model, losses.BinaryHinge(), optim.SGD(model.parameters()))
    with pytest.raises(ValueError, match="^y: expected targets -1 and 1, or 0 and 1, not all three, got 0 in row 2$"):
        trainer.fit(np.ones((3, 1)), [-1, 1, 0], verbose=0)


@pytest.mark.parametrize("make", [
    lambda dense, sigmoid: [dense(), sigmoid()],
    lambda dense, sigmoid: [nn.Sequential(dense(), sigmoid())],
    lambda dense, sigmoid: [dense(), sigmoid(), nn.Dropout(0.1)],
    lambda dense, sigmoid: [dense(), sigmoid(), nn.Activation("identity")],
    lambda dense, sigmoid: [nn.DropConnect(dense("sigmoid"), 0.1)],
])
def test_a_last_sigmoid_is_seen_wherever_it_stands(make):
    model = nn.Sequential(*make(lambda *a: nn.Dense(1, 1, *a, init=fastnn.init.constant(1.0)), lambda: nn.Activation("sigmoid")))
    z = F32([[-1], [1]])
    for head in (None, "sigmoid"):
        model.head = head
        assert model.predict_classes(z).tolist() == [0, 1]
        assert model.predict_proba(z).tobytes() == model.predict(z).tobytes()


def test_several_sigmoids_are_answers_where_the_head_says_so():
    model = nn.Sequential(nn.Dense(2, 2), nn.Activation("sigmoid"))
    model.layers[0].weight.data = np.eye(2)
    z = F32([[1, 2], [-1, -2]])
    assert model.predict_classes(z).tolist() == [1, 0]
    model.head = "sigmoid"
    assert model.predict_classes(z).tolist() == [[1, 1], [0, 0]]
    model.head = "logits"
    with pytest.raises(ValueError, match="^head: expected one of softmax, sigmoid, .*, or None, got 'logits'$"):
        model.predict_classes(z)


def test_the_head_survives_files(tmp_path):
    model = identity(2)
    fastnn.Trainer(model, losses.BinaryCrossEntropy(), optim.SGD(model.parameters()))
    model.save(tmp_path / "m.safetensors")
    assert nn.load(tmp_path / "m.safetensors").predict_classes(F32([[1, 1]])).tolist() == [[1, 1]]
    plain = identity(2)
    plain.save(tmp_path / "p.safetensors")
    assert nn.load(tmp_path / "p.safetensors").head is None
