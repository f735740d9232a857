"""Weights to and from PyTorch and Keras, as NumPy arrays under their names or in their order; neither is imported.

`_MODULES` says, for every layer, of which modules of theirs it is made and which of its parameters each holds. PyTorch's matrices
stand as [out, in], square or not; Keras's as [in, out], as here.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .. import nn
from .graph import check_model


class _Entry(NamedTuple):
    """One array of a module: its name in PyTorch, the Parameter that it is, and how PyTorch has it."""

    name: str
    parameter: object
    layout: str = "same"  # or "matrix": transposed there; "count": an integer without dimensions
    shared: bool = False  # another layer's


def _activation(name, slope=None):
    """The modules of an activation behind a layer's product."""
    if name == "identity":
        return []
    return [[_Entry("weight", slope)] if name == "prelu" else []]


def _affine(layer, *more):
    return [_Entry(name, getattr(layer, name)) for name in ("weight", "bias", *more) if getattr(layer, name, None) is not None]


def _dense(layer):
    product = [_Entry("weight", layer.weight, "matrix"), _Entry("bias", layer.bias)]
    return [[e for e in product if e.parameter is not None], *_activation(layer.activation, getattr(layer, "slope", None))]


def _tied(layer):
    weight = _Entry("weight", layer.weight, "same" if layer.transpose else "matrix", shared=True)
    bias = [] if layer.bias is None else [_Entry("bias", layer.bias)]
    return [[weight, *bias], *_activation(layer.activation)]


def _batchnorm(layer):
    count = _Entry("num_batches_tracked", getattr(layer, "num_batches_tracked", None), "count")
    return [[*_affine(layer, "running_mean", "running_var"), count]]


def _nothing(layer):
    """One module without parameters."""
    return [[]]


_MODULES = {  # the modules of a layer, each a list of its entries
    nn.Activation: _nothing,
    nn.BatchNorm: _batchnorm,
    nn.Dense: _dense,
    nn.DropConnect: lambda layer: _dense(layer.dense),
    nn.Dropout: _nothing,
    nn.Flatten: _nothing,
    nn.GaussianNoise: _nothing,
    nn.LayerNorm: lambda layer: [_affine(layer)],
    nn.LogSoftmax: _nothing,
    nn.Maxout: lambda layer: [[e._replace(layout="matrix" if e.name == "weight" else "same") for e in _affine(layer)]],
    nn.PReLU: lambda layer: [[_Entry("weight", layer.slope)]],
    nn.RMSNorm: lambda layer: [_affine(layer)],
    nn.Rescaling: _nothing,
    nn.Softmax: _nothing,
    nn.Tied: _tied,
}


def _modules(chain, prefix=""):
    """(name, entries) of the modules of a chain of layers, by the names that they have in a torch.nn.Sequential."""
    number = 0
    for layer in chain.layers:
        if isinstance(layer, (nn.Sequential, nn.Residual)):
            yield from _modules(layer, f"{prefix}{number}.")
            number += 1
            continue
        if type(layer) not in _MODULES:
            raise ValueError(f"model: {layer!r:.80}: expected layers of fastnn.nn, whose weights have a place elsewhere, got another")
        for entries in _MODULES[type(layer)](layer):
            yield f"{prefix}{number}", entries
            number += 1


def _there(entry):
    """An entry's array as PyTorch has it."""
    if entry.layout == "count":
        return np.array(0 if entry.parameter is None else entry.parameter.data[0], np.int64)
    return np.ascontiguousarray(entry.parameter.data.T if entry.layout == "matrix" else entry.parameter.data).copy()


def _shape(entry):
    """That of `_there`."""
    shape = () if entry.layout == "count" else entry.parameter.shape
    return shape[::-1] if entry.layout == "matrix" else shape


def _here(entry, value):
    """PyTorch's array as the entry's Parameter has it."""
    return value.reshape(1) if entry.layout == "count" else value.T if entry.layout == "matrix" else value


def to_torch(model):
    """The weights of a model under the names, and in the layout, of the equivalent ``torch.nn.Sequential``.

    The equivalent has one module for each layer, and one more for the activation of a layer that has one::

        nn.Sequential(nn.Dense(64, 32, activation="relu"), nn.Dense(32, 10))                                           # here
        torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))                         # there

        net.load_state_dict({name: torch.from_numpy(a) for name, a in fastnn.io.to_torch(model).items()})

    A layer that PyTorch has no module for takes the place of a module of yours: Rescaling of one without parameters, Residual of a
    Sequential whose ``forward`` adds its input, Maxout of a Linear with the pieces side by side. A Tied layer is a Linear with
    weights of its own, equal to the other's.

    Parameters
    ----------
    model : Sequential

    Returns
    -------
    dict of str to numpy.ndarray
        Copies, for ``load_state_dict``.

    Raises
    ------
    TypeError, ValueError
        If it is no model, or has layers of your own.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(4, 3, activation="relu"), nn.Dense(3, 2))
    >>> {name: a.shape for name, a in fastnn.io.to_torch(model).items()}
    {'0.weight': (3, 4), '0.bias': (3,), '2.weight': (2, 3), '2.bias': (2,)}
    """
    check_model(model)
    return {f"{name}.{e.name}": _there(e) for name, entries in _modules(model) for e in entries}


def from_torch(module_or_state, model):
    """Copy the weights of a PyTorch module into a model of the same structure.

    Weights are matched by structure: where the names are those of `to_torch`, by name, else module by module, in order. Matrices
    are transposed, for PyTorch has them as [out, in], square or not. Running statistics come along.

    Parameters
    ----------
    module_or_state : torch.nn.Module or dict
        A module, or what its ``state_dict()`` gives, of tensors or arrays.
    model : Sequential
        Takes the weights. What its layers are made with is not looked for in the module: activations, eps, and so on must agree.

    Returns
    -------
    Sequential
        The model.

    Raises
    ------
    TypeError, ValueError
        If the modules do not agree with the layers, or a shape with a parameter's. Nothing has changed then.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(3, 2, activation="tanh"))
    >>> state = {"linear.weight": np.arange(6).reshape(2, 3), "linear.bias": np.zeros(2)}
    >>> fastnn.io.from_torch(state, model).layers[0].weight.data
    array([[0., 3.],
           [1., 4.],
           [2., 5.]], dtype=float32)
    """
    check_model(model)
    if callable(getattr(module_or_state, "state_dict", None)):
        module_or_state = module_or_state.state_dict()
    if not isinstance(module_or_state, Mapping):
        raise TypeError(f"module_or_state: expected a torch.nn.Module or its state_dict, got {type(module_or_state).__name__}")
    state = {str(name): _numpy(value, str(name)) for name, value in module_or_state.items()}
    found = {}  # module -> its arrays by name
    for name, value in state.items():
        prefix, _, leaf = name.rpartition(".")
        found.setdefault(prefix, {})[leaf] = value
    wanted = [(name, entries) for name, entries in _modules(model) if entries]
    if len(found) < len(wanted):  # a module that takes another's weights may have none
        wanted = [(name, entries) for name, entries in wanted if not all(e.shared for e in entries)]
    if set(found) != {name for name, _ in wanted}:
        if len(found) != len(wanted):
            raise ValueError(
                f"module_or_state: expected {len(wanted)} modules with weights, as the model has, got {len(found)}: "
                f"{', '.join(found)[:200]}"
            )
        wanted = [(name, entries) for name, (_, entries) in zip(found, wanted)]
    for name, entries in wanted:
        names = [e.name for e in entries]
        left = sorted(set(found[name]) - set(names))
        if left:
            raise ValueError(f"module_or_state: {name}: expected {', '.join(names)}, got {', '.join(left)} too")
    _load(model, ((f"{name}.{e.name}", e, found[name].get(e.name)) for name, entries in wanted for e in entries), "module_or_state")
    return model


def _numpy(value, name):
    """The array of a tensor; PyTorch's tensors are taken off their graph and device, and become float64, which holds all others."""
    if callable(getattr(value, "detach", None)):
        value = value.detach().cpu().double().numpy()
    value = nn.as_array(value, name)
    if value.dtype.kind not in "biuf":
        raise TypeError(f"module_or_state: {name}: expected real numbers, got dtype {value.dtype}")
    return value


def _load(model, found, argument):
    """Copy (name, entry, value) into a model, once all of them fit."""
    names = {id(p): name for name, p in (*model.named_parameters(), *model.named_buffers())}
    values, shared = {}, []
    for name, e, value in found:
        if value is None:
            if e.shared or e.layout == "count":
                continue  # modules that take the other's weights have none
            raise ValueError(f"{argument}: {name}: expected an array of shape {_shape(e)}, got none")
        expected = _shape(e)
        if e.layout == "count":
            value = value.reshape(-1)[:1].reshape(())
        if value.shape != expected:
            raise ValueError(f"{argument}: {name}: expected shape {expected}, got {value.shape}")
        if e.parameter is None:
            continue
        if e.shared:
            shared.append((name, e, _here(e, value)))
        else:
            values[names[id(e.parameter)]] = _here(e, value)
    for name, e, value in shared:
        if not np.allclose(value, values[names[id(e.parameter)]], rtol=1e-6, atol=1e-9):
            raise ValueError(f"{argument}: {name}: expected the weights that the layer is tied to, got others")
    model.load_state_dict(values, strict=False)


def _keras_entries(model):
    """The entries of a model in the order of Keras's weights: as PyTorch's, without counts and what is shared."""
    return [(name, e) for name, entries in _modules(model) for e in entries if e.layout != "count" and not e.shared]


def to_keras(model):
    """The weights of a model as ``set_weights`` of the equivalent ``keras.Sequential`` takes them: layer by layer kernel and bias;
    gamma, beta, mean and variance.

    Parameters
    ----------
    model : Sequential

    Returns
    -------
    list of numpy.ndarray
        Copies, in the layout that both have: kernels [in, out].

    Raises
    ------
    TypeError, ValueError
        If it is no model, or has layers of your own.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(4, 3, activation="relu"), nn.Dense(3, 2))
    >>> [a.shape for a in fastnn.io.to_keras(model)]
    [(4, 3), (3,), (3, 2), (2,)]
    """
    check_model(model)
    return [e.parameter.data.copy() for _, e in _keras_entries(model)]


def from_keras(model_or_weights, model):
    """Copy the weights of a Keras model into a model of the same structure.

    Parameters
    ----------
    model_or_weights : keras.Model or list of arrays
        A model, or what its ``get_weights()`` gives.
    model : Sequential
        Takes the weights. Activations and eps must agree: Keras's normalisations have an eps of 1e-3 where nothing else is said.

    Returns
    -------
    Sequential
        The model.

    Raises
    ------
    TypeError, ValueError
        If there are not as many arrays as the model has, or a shape is another. Nothing has changed then.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(2, 1))
    >>> fastnn.io.from_keras([np.array([[3.0], [4.0]]), np.zeros(1)], model).predict([[1.0, 1.0]])
    array([[7.]], dtype=float32)
    """
    check_model(model)
    if callable(getattr(model_or_weights, "get_weights", None)):
        model_or_weights = model_or_weights.get_weights()
    if not isinstance(model_or_weights, (list, tuple)):
        raise TypeError(f"model_or_weights: expected a keras.Model or its weights, got {type(model_or_weights).__name__}")
    entries = _keras_entries(model)
    if len(model_or_weights) != len(entries):
        raise ValueError(f"model_or_weights: expected {len(entries)} arrays, as the model has, got {len(model_or_weights)}")
    found = []
    for i, ((name, e), value) in enumerate(zip(entries, model_or_weights)):
        found.append((f"[{i}], {e.name} of module {name}", e._replace(layout="same"), _numpy(value, f"model_or_weights[{i}]")))
    _load(model, found, "model_or_weights")
    return model
