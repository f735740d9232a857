"""The network that an estimator trains, and what it is made of: layers and their first weights, the optimizer, its rate."""

from numbers import Real

import numpy as np

from .. import nn, optim, schedules
from ..core.activations import ACTIVATIONS as ELEMENTWISE
from ..core.activations import LEARNED
from ..nn.activation import as_layer, given_activation
from ..optim.base import by_name

# scikit-learn's names of activations, in fastnn's words; every other name is fastnn's own
ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
OTHER_ACTIVATIONS = {*ELEMENTWISE, *LEARNED}

# the rules that train by steps, by their names in small letters
OPTIMIZERS = by_name()

SCHEDULES = ("cosine", "one_cycle", "linear")


def training_dtype(asked, given):
    """What a network computes in: `asked`, or else float32 for float32 data and float64 for all other."""
    if asked is None:
        return np.dtype(np.float32 if given == np.float32 else np.float64)
    if not isinstance(asked, (str, type, np.dtype)) or np.dtype(asked) not in (np.float32, np.float64):
        raise ValueError(f"dtype: expected None, 'float32' or 'float64', got {asked!r}")
    return np.dtype(asked)


def hidden_sizes(sizes):
    """Units of the hidden layers, as a list of int. ValueError in scikit-learn's words where one is not above 0."""
    sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
    if any(isinstance(n, (float, np.floating)) for n in sizes):
        raise TypeError(f"hidden_layer_sizes: expected integers, got {sizes}")
    if np.any(np.array(sizes) <= 0):
        raise ValueError("hidden_layer_sizes must be > 0, got %s." % sizes)
    return [int(n) for n in sizes]


def softmax(outputs):
    """Probabilities [rows, classes] of logits."""
    shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def each(value, count, name):
    """`value` for each of `count` hidden layers; a list or tuple has one for each."""
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{name}: expected one for each of {count} hidden layers, got {len(value)}")
    return list(value)


def _activation(value):
    """An activation by scikit-learn's name or fastnn's, as the layers take it, and whether the name is scikit-learn's."""
    return (ACTIVATIONS.get(value, value), value in ACTIVATIONS) if isinstance(value, str) else (value, False)


def _first_weights(random, n_in, n_out, logistic, name):
    """Weights [n_in, n_out] and biases [n_out] to start from, drawn as scikit-learn draws them, so that the same `random_state`
    starts from the same numbers: uniform within ±√(6 / (n_in + n_out)), or ±√(2 / (n_in + n_out)) with the logistic function (X.
    Glorot and Y. Bengio, 2010). With SELU, which scikit-learn lacks: normal with variance 1 / n_in (G. Klambauer et al., 2017)."""
    if name == "selu":
        return random.normal(0.0, np.sqrt(1.0 / n_in), (n_in, n_out)), np.zeros(n_out)
    bound = np.sqrt((2.0 if logistic else 6.0) / (n_in + n_out))
    return random.uniform(-bound, bound, (n_in, n_out)), random.uniform(-bound, bound, n_out)


def build(sizes, activation, output_activation, batchnorm, dropout, random, dtype):
    """A model of dense layers, with first weights.

    Parameters
    ----------
    sizes : list of int
        Features, units of the hidden layers, outputs.
    activation : str or nn.Activation, or a list of them
    output_activation : str, nn.Activation or None
    batchnorm : {False, True, "before", "after"}
    dropout : float or list of float
    random : numpy.random.RandomState
        First weights are drawn from it.
    dtype : numpy.dtype
    """
    hidden = len(sizes) - 2
    activations = [_activation(a)[0] for a in each(activation, hidden, "activation")]
    logistic = activation == "logistic" if isinstance(activation, str) else False
    shares = each(dropout, hidden, "dropout")
    for share in shares:
        if not (isinstance(share, Real) and 0 <= share < 1):
            raise ValueError(f"dropout: expected numbers of at least 0 and below 1, got {share!r}")
    if output_activation is not None:
        try:
            given_activation(_activation(output_activation)[0])
        except (TypeError, ValueError) as error:
            raise type(error)(f"output_{error}") from None
    place = {True: "before", None: False}.get(batchnorm, batchnorm)
    layers, dense, first = [], [], []
    for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:])):
        last = i == hidden
        own = _activation(output_activation)[0] if last else activations[i]
        inside = None if place == "before" and not last else own
        layer = nn.Dense(n_in, n_out, inside, init="zeros")
        name = own.name if isinstance(own, nn.Activation) else own
        first.append(_first_weights(random, n_in, n_out, logistic, name))
        layers.append(layer)
        dense.append(layer)
        if last:
            break
        normal = [nn.BatchNorm(n_out)] if place else []
        if place == "before":
            normal.append(as_layer(*given_activation(own)))
        layers += normal
        if shares[i]:
            layers.append(nn.Dropout(shares[i]))
    model = nn.Sequential(*layers, dtype=dtype)
    for layer, (weight, bias) in zip(dense, first):
        layer.weight.data, layer.bias.data = weight, bias
    return model


def dense_layers(model):
    """The dense layers of a model that `build` has made, or a copy of one."""
    return [layer for layer in model.layers if isinstance(layer, nn.Dense)]


def make_optimizer(choice, parameters, rate):
    """The optimizer for a name, a class, or a function of the parameters; the first two get the rate."""
    if isinstance(choice, str):
        choice = OPTIMIZERS[choice]
    if isinstance(choice, type):
        return choice(parameters, lr=rate)
    made = choice(parameters)
    if not isinstance(made, optim.Optimizer):
        raise TypeError(f"optimizer: expected a function that returns an optimizer of fastnn.optim, got a {type(made).__name__}")
    return made


def make_schedule(choice, rate, steps):
    """The rate over a training of so many steps: a number, or a schedule."""
    if choice is None:
        return rate
    if choice == "cosine":
        return schedules.Cosine(rate, T_max=steps)
    if choice == "one_cycle":
        return schedules.OneCycle(rate, total_steps=max(steps, 2))
    if choice == "linear":
        return schedules.Linear(rate, 1.0, 0.0, steps)
    return choice
