"""Weights to and from scikit-learn's MLPClassifier and MLPRegressor, which is not imported."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import nn
from .graph import trace

if TYPE_CHECKING:
    from ..nn import Sequential

_ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}  # of hidden layers: there, here
_HEADS = {"identity": "numbers", "logistic": "sigmoid", "softmax": "softmax"}  # by the activation of the outputs there


def from_sklearn(mlp) -> "Sequential":
    """A model with the weights of a fitted MLPClassifier or MLPRegressor of scikit-learn.

    `predict_proba` gives what the classifier's gives (of two classes only the second column, since there is one output);
    `predict` what the regressor's gives, and of a classifier the logits. Classes are numbers here: ``mlp.classes_`` names them.

    Parameters
    ----------
    mlp : fitted sklearn.neural_network.MLPClassifier or MLPRegressor

    Returns
    -------
    Sequential

    Raises
    ------
    TypeError, ValueError
        If it is another kind of estimator, not fitted, or of an activation that there is no layer for.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> coefs, intercepts = [np.ones((2, 3)), np.ones((3, 1))], [np.zeros(3), np.zeros(1)]
    >>> mlp = SimpleNamespace(coefs_=coefs, intercepts_=intercepts, activation="relu", out_activation_="identity")
    >>> fastnn.io.from_sklearn(mlp).predict([[1.0, 2.0]])
    array([[9.]], dtype=float32)
    """
    if not hasattr(mlp, "activation"):
        raise TypeError(f"mlp: expected a fitted MLPClassifier or MLPRegressor, got {type(mlp).__name__}")
    if not all(hasattr(mlp, name) for name in ("coefs_", "intercepts_", "out_activation_")):
        raise ValueError(f"mlp: expected a fitted {type(mlp).__name__}, got one that is not; call its fit first")
    if mlp.activation not in _ACTIVATIONS or mlp.out_activation_ not in _HEADS:
        raise ValueError(
            f"mlp: expected an activation among {', '.join(_ACTIVATIONS)} and outputs among {', '.join(_HEADS)}, got "
            f"{mlp.activation!r} and {mlp.out_activation_!r}"
        )
    layers = []
    for i, (w, b) in enumerate(zip(mlp.coefs_, mlp.intercepts_)):
        last = i + 1 == len(mlp.coefs_)
        layers.append(nn.Dense(*w.shape, activation=None if last else _ACTIVATIONS[mlp.activation], init="zeros"))
        layers[-1].weight.data, layers[-1].bias.data = w, b
    model = nn.Sequential(*layers)
    model.head = _HEADS[mlp.out_activation_]
    return model


def to_sklearn(model, mlp, classes=None) -> Any:
    """Fit an MLPClassifier or MLPRegressor of scikit-learn by giving it a model's weights.

    The model must be what these are: dense layers with one activation among identity, sigmoid, tanh and relu between all of them.
    Batch normalisations that `fold` can take up, dropout and noise may be there too. Its `hidden_layer_sizes` and `activation` are
    set to the model's, its other parameters stay.

    Parameters
    ----------
    model : Sequential
        For a classifier with one output for each class, or one for two classes, all logits.
    mlp : sklearn.neural_network.MLPClassifier or MLPRegressor
        Changed in place.
    classes : sequence, optional
        The classes that the classifier's `predict` gives, sorted; numbers from 0 by default.

    Returns
    -------
    MLPClassifier or MLPRegressor
        `mlp`.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or the model has something else in it. Nothing has changed then.
    """
    if not callable(getattr(mlp, "partial_fit", None) or getattr(mlp, "set_params", None)) or not hasattr(
        mlp, "hidden_layer_sizes"
    ):
        raise TypeError(f"mlp: expected an MLPClassifier or MLPRegressor, got {type(mlp).__name__}")
    weights, activation = _dense_layers(model)
    classifies = hasattr(mlp, "predict_proba") or hasattr(type(mlp), "predict_proba")
    outputs = model.out_features
    if classifies:
        classes = np.arange(max(outputs, 2)) if classes is None else np.asarray(classes)
        several = model.head == "sigmoid" and outputs > 1  # answers yes or no, each alone
        if model.head not in (None, "softmax", "sigmoid"):
            raise ValueError(f"model: expected outputs that are logits, got the head {model.head!r}")
        if (
            classes.ndim != 1
            or len(classes) != max(outputs, 2)
            or outputs == 2
            and not several
            or (np.sort(classes) != classes).any()
        ):
            hint = "; scikit-learn has one output for two classes" if outputs == 2 else ""
            raise ValueError(
                f"classes: expected one for each of {outputs} outputs, or two for one, sorted, got {classes!r:.80}{hint}"
            )
        y = np.zeros((1, outputs), int) if several else classes[:1]
    elif classes is not None:
        raise ValueError("classes: expected none for a regressor")
    else:
        y = np.zeros((1, outputs)) if outputs > 1 else np.zeros(1)
    settings = {
        **mlp.get_params(deep=False),
        "hidden_layer_sizes": tuple(len(b) for _, b in weights[:-1]),
        "activation": activation,
    }
    meanwhile = {"solver": "adam", "early_stopping": False, "random_state": 0, "batch_size": "auto", "verbose": False}
    made = type(mlp)(**settings).set_params(**meanwhile)  # fitted to one row, so that all is there, and given the weights
    made.partial_fit(np.zeros((1, model.in_features)), y, **({"classes": classes} if classifies else {}))
    for (w, b), coefs, intercepts in zip(weights, made.coefs_, made.intercepts_):
        coefs[...], intercepts[...] = w, b
    vars(mlp).clear()
    vars(mlp).update(vars(made.set_params(**settings)))
    return mlp


def _dense_layers(model):
    """([(weights, biases)], the activation between them by scikit-learn's name) of a model that is nothing else."""
    nodes = trace(model, "scikit-learn").nodes  # which checks it
    nodes = trace(model.fold(), "scikit-learn").nodes
    weights, activations = [], []
    for i, n in enumerate(nodes):
        follows = n.inputs == ((nodes[i - 1].output,) if i else n.inputs)
        if n.kind == "dense" and follows:
            w = n.arrays["w"].data.T if n.settings["transposed"] else n.arrays["w"].data
            weights.append((w, n.arrays["b"].data if "b" in n.arrays else np.zeros(w.shape[1])))
            activations.append("identity")
        elif n.kind == "activation" and follows and weights and activations[-1] == "identity" and i + 1 < len(nodes):
            activations[-1] = n.settings["name"]
        else:
            raise ValueError(
                f"model: layer {n.layer}: expected dense layers with an activation between them, for scikit-learn has no other"
            )
    names = {there for there, here in _ACTIVATIONS.items() if here in activations[:-1]}
    if len(names) > 1 or len(set(activations[:-1])) > 1 or not names and activations[:-1]:
        raise ValueError(
            f"model: expected one activation among {', '.join(_ACTIVATIONS.values())} between all layers, got "
            f"{', '.join(activations[:-1])}"
        )
    return weights, names.pop() if names else "identity"
