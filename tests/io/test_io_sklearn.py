"""from_sklearn and to_sklearn against scikit-learn's own estimators."""

import warnings

import numpy as np
import pytest

from fastnn import io, nn

neural_network = pytest.importorskip("sklearn.neural_network")
R = np.random.default_rng(0)
X = R.normal(size=(120, 5))
TARGETS = {
    "three classes": np.array(["a", "b", "c"])[R.integers(0, 3, 120)],
    "two classes": R.integers(0, 2, 120),
    "labels": R.integers(0, 2, (120, 3)),
    "a number": R.normal(size=120),
    "numbers": R.normal(size=(120, 2)),
}


def fitted(name, activation, hidden=(7, 6)):
    classifies = TARGETS[name].dtype.kind != "f"
    kind = neural_network.MLPClassifier if classifies else neural_network.MLPRegressor
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged
        return kind(hidden_layer_sizes=hidden, activation=activation, max_iter=15, random_state=0).fit(X, TARGETS[name]), classifies


@pytest.mark.parametrize("activation", ["relu", "logistic", "tanh", "identity"])
@pytest.mark.parametrize("name", TARGETS)
def test_there_and_back(name, activation):
    there, classifies = fitted(name, activation)
    model = io.from_sklearn(there)
    if classifies:
        expected, found = there.predict_proba(X), model.predict_proba(X)
        expected = expected[:, 1:] if name == "two classes" else expected
        classes = model.predict_classes(X)
        assert ((classes if classes.ndim > 1 else there.classes_[classes]) == there.predict(X)).all()
    else:
        expected, found = there.predict(X).reshape(len(X), -1), model.predict(X)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    new = type(there)(solver="lbfgs", random_state=7)
    assert io.to_sklearn(model, new, there.classes_ if classifies and name != "labels" else None) is new
    assert (new.solver, new.random_state, new.activation, new.hidden_layer_sizes) == ("lbfgs", 7, activation, (7, 6))
    for a, b in zip((*new.coefs_, *new.intercepts_), (*there.coefs_, *there.intercepts_)):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
    assert (new.predict(X) == there.predict(X)).all() if classifies else np.allclose(new.predict(X), there.predict(X), atol=1e-6)


def test_models_that_fold(tmp_path):
    """Normalisations go into the weights, dropout away; a fitted estimator is fitted anew, and can be trained on."""
    model = nn.Sequential(nn.Dense(5, 8), nn.BatchNorm(8), nn.ReLU(), nn.Dropout(0.1), nn.Dense(8, 4, "relu"), nn.Dense(4, 3))
    model.layers[1].running_var.data = R.uniform(0.5, 2, 8)
    there = io.to_sklearn(model, fitted("three classes", "tanh")[0])
    np.testing.assert_allclose(there.predict_proba(X), model.predict_proba(X), atol=1e-6)
    there.set_params(solver="sgd")
    there.partial_fit(X, R.integers(0, 3, 120))


@pytest.mark.parametrize(
    "layers, message",
    [
        ([nn.Rescaling(0.5), nn.Dense(5, 3)], "layer 0: Rescaling: expected dense layers"),
        ([nn.Dense(5, 4, "relu"), nn.Dense(4, 4, "tanh"), nn.Dense(4, 3)], "expected one activation among .*, got relu, tanh"),
        ([nn.Dense(5, 4, "gelu"), nn.Dense(4, 3)], "expected one activation among .*, got gelu"),
        ([nn.Dense(5, 4, "relu"), nn.Residual(nn.Dense(4, 4)), nn.Dense(4, 3)], "layer 1: Residual: expected dense layers"),
        ([nn.Dense(5, 3, "softmax")], "layer 0: Dense: expected dense layers"),
        ([nn.Dense(5, 2)], "scikit-learn has one output for two classes"),
    ],
)
def test_models_that_it_cannot_hold(layers, message):
    there = neural_network.MLPClassifier(hidden_layer_sizes=(2,))
    with pytest.raises(ValueError, match=message):
        io.to_sklearn(nn.Sequential(*layers), there)
    assert there.hidden_layer_sizes == (2,) and not hasattr(there, "coefs_")


def test_bad_input():
    with pytest.raises(ValueError, match="expected a fitted MLPClassifier, got one that is not"):
        io.from_sklearn(neural_network.MLPClassifier())
    with pytest.raises(TypeError, match="expected a fitted MLPClassifier or MLPRegressor, got int"):
        io.from_sklearn(3)
    with pytest.raises(TypeError, match="expected an MLPClassifier or MLPRegressor, got int"):
        io.to_sklearn(nn.Sequential(nn.Dense(2, 3)), 3)
    for classes in ([1, 0, 2], [0, 1], "abc"):
        with pytest.raises(ValueError, match="classes: expected one for each of 3 outputs"):
            io.to_sklearn(nn.Sequential(nn.Dense(2, 3)), neural_network.MLPClassifier(), classes)
    with pytest.raises(ValueError, match="classes: expected none for a regressor"):
        io.to_sklearn(nn.Sequential(nn.Dense(2, 3)), neural_network.MLPRegressor(), [0, 1, 2])
    model = nn.Sequential(nn.Dense(2, 3))
    model.head = "numbers"
    with pytest.raises(ValueError, match="expected outputs that are logits"):
        io.to_sklearn(model, neural_network.MLPClassifier())
