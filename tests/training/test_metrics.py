"""Metrics against scikit-learn's, in `evaluate` and `fit`; weights of classes; what is held out for validation, and when it is looked at."""

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, losses, nn, optim

BACKENDS = ["native", "reference"]


def model_of(outputs, features=5, seed=4, last=()):
    fastnn.manual_seed(seed)
    return nn.Sequential(nn.Dense(features, 7, activation="tanh"), nn.Dense(7, outputs), *last)


def make(loss, outputs, backend="native", **settings):
    model = model_of(outputs, **settings)
    return fastnn.Trainer(model, loss, optim.Adam(model.parameters(), lr=0.02), backend=backend)


def rows(n=300, features=5, seed=1):
    return np.random.default_rng(seed).normal(size=(n, features)).astype(np.float32)


def bits(trainer):
    return [p.data.tobytes() for p in trainer.model.parameters()]


CLASSES = ["precision", "recall", "f1", "auc"]


def sklearn_classes(y, predicted, **options):
    from sklearn import metrics

    options = {"average": "macro", "zero_division": 0, **options}
    return {
        "precision": metrics.precision_score(y, predicted, **options),
        "recall": metrics.recall_score(y, predicted, **options),
        "f1": metrics.f1_score(y, predicted, **options),
    }


# --- as scikit-learn's ---


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("outputs", [2, 3, 9])
def test_classes(backend, one_hot, outputs):
    from sklearn import metrics

    X = rows()
    y = np.random.default_rng(2).choice(outputs, 300, p=np.arange(1, outputs + 1) / (outputs * (outputs + 1) / 2))
    trainer = make(losses.SoftmaxCrossEntropy(), outputs, backend)
    names = [*CLASSES, "top_k_accuracy"] if outputs > 5 else CLASSES
    found = trainer.evaluate(X, np.eye(outputs)[y] if one_hot else y, metrics=names)
    z, p = trainer.model.predict(X), trainer.model.predict_proba(X)
    expected = sklearn_classes(y, z.argmax(axis=1))
    expected["auc"] = metrics.roc_auc_score(y, p[:, 1] if outputs == 2 else p.astype(float) / p.sum(axis=1, keepdims=True, dtype=float), multi_class="ovr")
    if outputs > 5:
        expected["top_k_accuracy"] = metrics.top_k_accuracy_score(y, z, k=5)
    assert set(found) == {"loss", "accuracy", *names}
    for name in names:
        assert found[name] == pytest.approx(expected[name], abs=1e-6), name
    assert {k: found[k] for k in ("loss", "accuracy")} == trainer.evaluate(X, y)


def test_answers_yes_or_no():
    from sklearn import metrics

    X = rows()
    y = (X[:, 0] + np.random.default_rng(0).normal(size=300) > 0.4).astype(int)
    for loss, targets in ((losses.BinaryCrossEntropy(), y), (losses.BinaryHinge(), y), (losses.BinaryHinge(), 2 * y - 1), (losses.MeanSquaredError(), y)):
        trainer = make(loss, 1)
        trainer.fit(X, targets, epochs=2, verbose=0)
        found = trainer.evaluate(X, targets, metrics=["accuracy", *CLASSES])
        predicted = trainer.model.predict_classes(X)
        expected = sklearn_classes(targets, predicted) | {"accuracy": (predicted == targets).mean()}
        expected["auc"] = metrics.roc_auc_score(targets, trainer.model.predict(X)[:, 0])
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, abs=1e-9), (loss, name)


def test_several_answers():
    from sklearn import metrics

    X = rows()
    y = (X[:, :3] + np.random.default_rng(0).normal(size=(300, 3)) > [0.4, 0, 1]).astype(int)
    trainer = make(losses.BinaryCrossEntropy(), 3)
    found = trainer.evaluate(X, y, metrics=CLASSES)
    expected = sklearn_classes(y, trainer.model.predict_classes(X)) | {"auc": metrics.roc_auc_score(y, trainer.model.predict(X), average="macro")}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss", [losses.MeanSquaredError(), losses.Huber(), losses.Poisson(), losses.Poisson(log_input=False)])
def test_numbers(outputs, loss):
    from sklearn import metrics

    X = rows()
    y = np.random.default_rng(2).poisson(3.0, size=(300, outputs)).astype(np.float32)
    trainer = make(loss, outputs, last=[nn.Softplus()] if loss.head == "rates" and not loss.log_input else [])
    found = trainer.evaluate(X, y[:, 0] if outputs == 1 else y, metrics=["r2", "mae", "mse", "rmse"])
    z = trainer.model.predict(X).astype(float)
    z = np.exp(z) if getattr(loss, "log_input", False) else z
    expected = {"r2": metrics.r2_score(y, z), "mae": metrics.mean_absolute_error(y, z), "mse": metrics.mean_squared_error(y, z),
                "rmse": metrics.root_mean_squared_error(y, z)}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-6), name


def test_edges():
    """One class, constant targets, ties, rows to be ignored, outputs that are not finite."""
    from sklearn import metrics

    X = rows(20)
    trainer = make(losses.SoftmaxCrossEntropy(ignore_index=-1), 3)
    y = np.array([0] * 20)
    found = trainer.evaluate(X, y, metrics=CLASSES)
    expected = sklearn_classes(y, trainer.model.predict_classes(X))
    assert np.isnan(found["auc"]) and all(found[k] == pytest.approx(v) for k, v in expected.items())
    y = np.arange(20) % 3
    ignored = np.where(np.arange(20) < 6, -1, y)
    assert trainer.evaluate(X, ignored, metrics=CLASSES) == pytest.approx(trainer.evaluate(X[6:], y[6:], metrics=CLASSES))
    assert all(np.isnan(trainer.evaluate(X, ignored * 0 - 1, metrics=CLASSES)[k]) for k in CLASSES)
    regress = make(losses.MeanSquaredError(), 1)
    assert regress.evaluate(X, np.ones(20), metrics=["r2"])["r2"] == metrics.r2_score(np.ones(20), regress.model.predict(X)[:, 0])
    for p in regress.model.parameters():
        p.data[...] = 0
    assert regress.evaluate(X, np.zeros(20), metrics=["r2"])["r2"] == 1.0
    assert regress.evaluate(X, np.arange(20) % 2, metrics=["auc"])["auc"] == 0.5
    X[3] = np.nan
    assert np.isnan(regress.evaluate(X, np.arange(20) % 2, metrics=["auc", "mse"])["mse"])


def test_functions_of_ones_own():
    X, y = rows(), np.random.default_rng(2).normal(size=300)
    seen = []

    def worst(y_true, outputs):
        seen.append((y_true.shape, outputs.shape))
        return np.abs(y_true - outputs).max()

    trainer = make(losses.MeanSquaredError(), 1)
    found = trainer.evaluate(X, y, metrics=[worst, "mae"])
    assert found["worst"] == pytest.approx(np.abs(y - trainer.model.predict(X)[:, 0]).max(), rel=1e-6) and seen == [((300, 1), (300, 1))]
    custom = make(losses.Custom(lambda z, t: (float((z**2).mean()), 2 * z / z.size)), 2)
    found = custom.evaluate(X, y, metrics=[lambda t, z: len(t) + z.shape[1]])
    assert found == {"loss": found["loss"], "<lambda>": 302.0}


# --- in fit ---


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("backend", BACKENDS)
def test_metrics_of_epochs(shuffle, backend):
    """Those of validation are of all its rows at once; those of training of the outputs that its steps had; and no bit changes."""
    X, y = rows(), np.random.default_rng(2).integers(0, 3, 300)
    settings = {"epochs": 3, "batch_size": 32, "shuffle": shuffle, "verbose": 0}
    plain, trainer = make(losses.SoftmaxCrossEntropy(), 3, backend), make(losses.SoftmaxCrossEntropy(), 3, backend)
    plain.fit(X[:200], y[:200], **settings)
    history = trainer.fit(X[:200], y[:200], validation_data=(X[200:], y[200:]), metrics=["f1"], **settings)
    assert bits(plain) == bits(trainer)
    assert list(history) == ["loss", "accuracy", "f1", "seconds", "val_loss", "val_accuracy", "val_f1"]
    assert history["val_f1"][-1] == trainer.evaluate(X[200:], y[200:], metrics=["f1"])["f1"]
    still = make(losses.SoftmaxCrossEntropy(), 3, backend)
    still.optimizer.param_groups[0]["lr"] = 0.0
    found = still.fit(X, y, metrics=["f1", "auc"], **settings)
    expected = still.evaluate(X, y, metrics=["f1", "auc"])
    assert found["f1"] == [expected["f1"]] * 3 and found["auc"] == pytest.approx([expected["auc"]] * 3, abs=1e-12)


def test_metrics_of_the_steps_outputs_with_a_loss_in_python():
    X, y = rows(100), rows(100)[:, :2]
    square = losses.Custom(lambda z, t: (float(((z - t) ** 2).mean()), 2 * (z - t) / z.size))
    settings = {"epochs": 2, "batch_size": 32, "verbose": 0}

    def mean_square(y_true, outputs):
        return ((y_true - outputs) ** 2).mean()

    for last in ([], [nn.Tanh()]):
        plain, a, b = (make(loss, 2, last=last) for loss in (square, square, losses.MeanSquaredError()))
        plain.fit(X, y, **settings)
        history = a.fit(X, y, metrics=[mean_square], **settings)
        other = b.fit(X, y, metrics=["mse"], **settings)
        assert bits(plain) == bits(a)
        assert history["mean_square"] == pytest.approx(history["loss"], rel=1e-5) and other["mse"] == pytest.approx(other["loss"], rel=1e-5)
        assert history["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_metrics_of_an_epoch_that_was_broken_off():
    X, y = rows(100), np.arange(100) % 3
    whole, parts = make(losses.SoftmaxCrossEntropy(), 3), make(losses.SoftmaxCrossEntropy(), 3)
    settings = {"batch_size": 16, "metrics": ["f1"], "verbose": 0}
    expected = whole.fit(X, y, epochs=2, **settings)
    stop = callbacks.Lambda(on_step_end=lambda step, logs: setattr(parts, "stop_training", step == 3))
    first = parts.fit(X, y, epochs=2, callbacks=[stop], **settings)
    assert np.isnan(first["f1"][0])
    assert parts.fit(X, y, epochs=2, **settings)["f1"] == expected["f1"]


def test_a_metric_as_a_monitor():
    X, y = rows(), np.random.default_rng(2).integers(0, 3, 300)
    trainer = make(losses.SoftmaxCrossEntropy(), 3)
    stop = callbacks.EarlyStopping("val_f1", patience=2)
    history = trainer.fit(X, y, epochs=40, validation_split=0.5, metrics=["f1"], callbacks=[stop], verbose=0)
    assert stop.best == max(history["val_f1"]) and trainer.evaluate(X[150:], y[150:], metrics=["f1"])["f1"] == stop.best


@pytest.mark.parametrize("metrics, loss, outputs, error, message", [
    (["f2"], losses.SoftmaxCrossEntropy(), 3, ValueError, r"metrics\[0\]: expected one of accuracy, top_k_accuracy, .*, got 'f2'"),
    ("f1", losses.SoftmaxCrossEntropy(), 3, TypeError, r"metrics: expected a list, got 'f1'; write \['f1'\]"),
    ([3], losses.SoftmaxCrossEntropy(), 3, TypeError, r"metrics\[0\]: expected a name or a function of \(y_true, outputs\), got 3"),
    (["r2"], losses.SoftmaxCrossEntropy(), 3, ValueError, "metrics.0.: expected a metric that fits SoftmaxCrossEntropy.., got 'r2', which needs outputs that are compared"),
    (["f1"], losses.Poisson(), 1, ValueError, "metrics.0.: expected a metric that fits .* got 'f1', which needs classes"),
    (["top_k_accuracy"], losses.SoftmaxCrossEntropy(), 3, ValueError, "needs one class out of more than 5, while the model has 3 logits"),
    (["f1", "f1"], losses.SoftmaxCrossEntropy(), 3, ValueError, r"metrics\[1\]: expected another name than 'f1'"),
    (["auc"], losses.MeanSquaredError(), 1, ValueError, "metrics: expected targets 0 and 1 in y for 'auc', got 2.0"),
    ([__import__("functools").partial(max)], losses.MeanSquaredError(), 1, TypeError, r"metrics\[0\]: expected a function with a __name__"),
])
def test_metrics_that_do_not_exist_or_fit(metrics, loss, outputs, error, message):
    X, y = rows(), np.arange(300) % 3
    y = y.astype(np.float32) if outputs == 1 else y
    trainer = make(loss, outputs)
    before = bits(trainer)
    for call in (trainer.evaluate, lambda X, y, metrics: trainer.fit(X, y, metrics=metrics, verbose=0)):
        with pytest.raises(error, match=message):
            call(X, y, metrics=metrics)
    assert bits(trainer) == before and trainer.steps_done == 0


def test_a_metric_that_gives_no_number():
    X, y = rows(), np.arange(300) % 3
    trainer = make(losses.SoftmaxCrossEntropy(), 3)

    def shape(y_true, outputs):
        return outputs.shape

    with pytest.raises(TypeError, match=r"^metrics: expected a number from shape\(y_true, outputs\), got \(300, 3\)"):
        trainer.evaluate(X, y, metrics=[shape])
    with pytest.raises(TypeError, match="^metrics: expected a number"):
        trainer.fit(X, y, metrics=[shape], verbose=0)
    assert trainer.steps_done == 10 and trainer.epochs_done == 0  # the steps are done, the epoch is not over
    trainer.fit(X, y, verbose=0)
    assert trainer.steps_done == 10 and trainer.epochs_done == 1


# --- what is held out, and when it is looked at ---


@pytest.mark.parametrize("share", [0.1, 0.2, 0.25, 1 / 3, 0.9])
@pytest.mark.parametrize("shuffle", [True, False])
def test_the_last_rows_are_held_out(share, shuffle):
    X, y = rows(97), np.arange(97) % 3
    weights = np.linspace(0.5, 2, 97)
    n = int(97 * (1 - share))
    a, b = make(losses.SoftmaxCrossEntropy(), 3), make(losses.SoftmaxCrossEntropy(), 3)
    settings = {"epochs": 2, "batch_size": 16, "shuffle": shuffle, "verbose": 0}
    one = a.fit(X, y, validation_split=share, sample_weight=weights, **settings)
    two = b.fit(X[:n], y[:n], validation_data=(X[n:], y[n:], weights[n:]), sample_weight=weights[:n], **settings)
    assert bits(a) == bits(b) and all(one[k] == two[k] for k in one if k != "seconds")


@pytest.mark.parametrize("split, more, error, message", [
    (1.0, {}, ValueError, r"validation_split: expected a finite number in \[0, 1\)"),
    (-0.1, {}, ValueError, "validation_split: expected a finite number"),
    ("0.2", {}, TypeError, "validation_split: expected a number, got '0.2'"),
    (0.999, {}, ValueError, "validation_split: expected a share that leaves rows on both sides, got 0.999 of 50 rows"),
    (0.2, {"validation_data": (np.ones((2, 5)), [0, 1])}, ValueError, "validation_split, validation_data: expected one of them, got both"),
])
def test_splits_that_do_not_fit(split, more, error, message):
    X, y = rows(50), np.arange(50) % 3
    trainer = make(losses.SoftmaxCrossEntropy(), 3)
    with pytest.raises(error, match=f"^{message}"):
        trainer.fit(X, y, validation_split=split, verbose=0, **more)
    assert trainer.steps_done == 0


def test_validation_now_and_then():
    X, y = rows(50), np.arange(50) % 3
    trainer, seen = make(losses.SoftmaxCrossEntropy(), 3), []
    stop = callbacks.EarlyStopping("val_loss", patience=1, min_delta=1e9)
    note = callbacks.Lambda(on_epoch_end=lambda epoch, logs: seen.append("val_loss" in logs))
    history = trainer.fit(X, y, epochs=9, validation_split=0.2, validation_freq=3, callbacks=[stop, note], verbose=0)
    assert seen == [False, False, True] * 2 and stop.stopped_epoch == 5
    assert np.isnan(history["val_loss"]).tolist() == [True, True, False] * 2
    with pytest.raises(ValueError, match="^validation_freq: expected an integer >= 1"):
        trainer.fit(X, y, validation_freq=0, verbose=0)


# --- weights of classes ---


def test_class_weights_act_as_sample_weights():
    from sklearn.utils.class_weight import compute_sample_weight

    X = rows(120)
    y = np.random.default_rng(2).choice(3, 120, p=[0.7, 0.2, 0.1])
    weights = np.random.default_rng(3).uniform(0.5, 2, 120).astype(np.float32)
    answers = (X[:, 0] > 1).astype(int)
    cases = [
        (losses.SoftmaxCrossEntropy(), 3, y, y), (losses.SoftmaxCrossEntropy(), 3, np.eye(3)[y], y), (losses.MulticlassHinge(), 3, y, y),
        (losses.BinaryCrossEntropy(), 1, answers, answers), (losses.BinaryHinge(), 1, 2 * answers - 1, 2 * answers - 1),
    ]
    for loss, outputs, targets, classes in cases:
        first, last = classes.min(), classes.max()
        for given, expected in (
            ("balanced", compute_sample_weight("balanced", classes)),
            ({int(first): 0.25, int(last): 3}, np.select([classes == first, classes == last], [0.25, 3.0], 1.0)),
        ):
            for own in (None, weights):
                a, b = make(loss, outputs), make(loss, outputs)
                one = a.fit(X, targets, epochs=2, class_weight=given, sample_weight=own, verbose=0)
                total = expected.astype(np.float32) * (1 if own is None else own)
                two = b.fit(X, targets, epochs=2, sample_weight=total, verbose=0)
                assert bits(a) == bits(b) and one["loss"] == two["loss"], (loss, given)


def test_class_weights_leave_validation_alone():
    X, y = rows(120), np.arange(120) % 3
    trainer = make(losses.SoftmaxCrossEntropy(), 3)
    history = trainer.fit(X, y, validation_split=0.5, class_weight={0: 5.0}, verbose=0)
    assert history["val_loss"][-1] == trainer.evaluate(X[60:], y[60:])["loss"]


def test_rows_to_be_ignored_have_no_class():
    X, y = rows(60), np.arange(60) % 3
    y[:20] = -100
    a, b = (make(losses.SoftmaxCrossEntropy(ignore_index=-100), 3) for _ in range(2))
    a.fit(X, y, class_weight="balanced", verbose=0)
    _, counts = np.unique(y[20:], return_counts=True)
    b.fit(X, y, sample_weight=np.where(y < 0, 1, (40 / (3 * counts))[np.maximum(y, 0)]), verbose=0)
    assert bits(a) == bits(b)


@pytest.mark.parametrize("given, loss, outputs, error, message", [
    ("even", losses.SoftmaxCrossEntropy(), 3, ValueError, "class_weight: expected a dict {class: weight} or 'balanced', got 'even'"),
    ([1, 2, 3], losses.SoftmaxCrossEntropy(), 3, TypeError, "class_weight: expected a dict .*, got list"),
    ({3: 1.0}, losses.SoftmaxCrossEntropy(), 3, ValueError, "class_weight: expected classes 0 to 2 as keys, got 3"),
    ({"a": 1.0}, losses.SoftmaxCrossEntropy(), 3, ValueError, "class_weight: expected classes 0 to 2 as keys, got 'a'"),
    ({0: -1.0}, losses.SoftmaxCrossEntropy(), 3, ValueError, "class_weight: expected a finite number >= 0 for class 0, got -1.0"),
    ({0: "x"}, losses.SoftmaxCrossEntropy(), 3, ValueError, "class_weight: expected a finite number >= 0 for class 0, got 'x'"),
    ("balanced", losses.MeanSquaredError(), 1, ValueError, "class_weight: expected targets that are one class each"),
    ({0: 1.0}, losses.BinaryCrossEntropy(), 3, ValueError, "class_weight: expected targets that are one class each"),
    ({2: 1.0}, losses.BinaryCrossEntropy(), 1, ValueError, "class_weight: expected classes 0 and 1 as keys, got 2"),
])
def test_class_weights_that_do_not_fit(given, loss, outputs, error, message):
    X, y = rows(60), np.arange(60) % 3
    y = np.eye(3)[y] if outputs == 3 and isinstance(loss, losses.BinaryCrossEntropy) else y % 2 if outputs == 1 else y
    trainer = make(loss, outputs)
    with pytest.raises(error, match=f"^{message}"):
        trainer.fit(X, y, class_weight=given, verbose=0)
    assert trainer.steps_done == 0
