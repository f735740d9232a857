"""Weights to and from PyTorch and Keras, as NumPy arrays under their names or in their order; neither is imported.

`_LAYERS` says, for every layer, of which modules of theirs it is made and which of its parameters each holds. PyTorch's matrices
stand as [out, in], square or not, and its images begin with the channels; Keras has both as they are here.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .. import nn
from ..nn.layer import LAYERS
from .graph import check_model, image_order

if TYPE_CHECKING:
    from ..nn import Sequential


class _Entry(NamedTuple):
    """One array of a module: its name in PyTorch, the Parameter that it is, and how PyTorch has it."""

    name: str
    parameter: object
    axes: tuple = None  # the order in which PyTorch has its axes; None: as here
    order: object = None  # of the first axis here: the features in the order in which PyTorch has them; None: as here
    shared: bool = False  # another layer's
    count: bool = False  # an integer without dimensions there, which may have no parameter here


_MATRIX = (1, 0)


class _Modules:
    """Goes through a model's layers and collects the modules of the equivalent torch.nn.Sequential.

    Attributes
    ----------
    found : list of (name, list of _Entry)
    order : array or None
        Where the features of a vector stand here that PyTorch has in the order of its own images, channels first: behind Flatten.
    images : bool
        Whether what has several dimensions has its channels last here and first there: but for what comes of Embedding.
    """

    def __init__(self, model):
        model.check_settled()
        self.found, self.order, self.rows = [], None, {}
        self.images = True
        self.chain(model.layers, model.in_shape, "")

    def chain(self, layers, shape, prefix):
        number = 0
        for layer in layers:
            out = layer.output_shape(shape)
            if isinstance(layer, (nn.Sequential, nn.Residual)):
                before = self.order
                self.chain(layer.layers, shape, f"{prefix}{number}.")
                if (beside := getattr(layer, "projection", None)) is not None:
                    after, self.order = self.order, before
                    self.chain(beside.layers if isinstance(beside, nn.Sequential) else (beside,), shape, f"{prefix}{number}.projection.")
                    self.order = self.order if after is before else after
                if isinstance(layer, nn.Residual) and self.order is not before:
                    raise ValueError(
                        f"model: layer {prefix}{number}, Residual: expected no flattened image, which PyTorch has in another order"
                    )
                number += 1
            elif LAYERS.get(type(layer).__name__) is type(layer) and type(layer).__name__ in _LAYERS:
                for entries in _LAYERS[type(layer).__name__](self, layer, shape, out):
                    self.module(f"{prefix}{number}", entries)
                    number += 1
            else:
                raise ValueError(
                    f"model: {layer!r:.80}: expected layers of fastnn.nn, whose weights have a place elsewhere, got another"
                )
            shape = out

    def module(self, name, entries):
        """Note a module; entries with a dot in their names are those of modules in it."""
        inside = {name: []} if not entries else {}
        for e in entries:
            part, _, leaf = e.name.rpartition(".")
            inside.setdefault(f"{name}.{part}" if part else name, []).append(e._replace(name=leaf))
        self.found += inside.items()

    def vectors(self, layer, *names):
        """Entries of parameters with one number for each feature."""
        found = [(name, getattr(layer, name, None)) for name in names]
        return [_Entry(name, p, order=self.order if p.size > 1 else None) for name, p in found if p is not None]

    def matrix(self, layer):
        """Entries of weights [in, out] and bias; what comes out is in the same order everywhere."""
        self.rows[id(layer.weight)] = self.order
        entry, self.order = _Entry("weight", layer.weight, _MATRIX, self.order), None
        return [entry, *self.vectors(layer, "bias")]


def _activation(name, slope=None):
    """The modules of an activation behind a layer's product."""
    if name == "identity":
        return []
    return [[] if slope is None else [_Entry("weight", slope)]]


def _dense(walk, layer, shape, out):
    return [walk.matrix(layer), *_activation(layer.activation, getattr(layer, "slope", None))]


def _tied(walk, layer, shape, out):
    if not layer.transpose:
        weight, *bias = walk.matrix(layer)
    else:
        walk.order = walk.rows.get(id(layer.weight))
        weight, bias = _Entry("weight", layer.weight, order=walk.order), walk.vectors(layer, "bias")
    return [[weight._replace(shared=True), *bias], *_activation(layer.activation)]


def _conv2d(walk, layer, shape, out, axes=(3, 2, 0, 1)):
    filters = [_Entry("weight", layer.weight, axes), *walk.vectors(layer, "bias")]
    return [filters, *_activation(layer.activation, getattr(layer, "slope", None))]


def _conv1d(walk, layer, shape, out):
    return _conv2d(walk, layer, shape, out, (2, 1, 0))


def _embedding(walk, layer, shape, out):
    walk.images = False
    return [[_Entry("weight", layer.weight)]]


def _tables(walk, layer, shape, out):
    """Embeddings in a module of one's own, numbered, as in a ModuleList."""
    return [[_Entry(f"{i}.weight", getattr(layer, f"weight_{i}")) for i in range(len(layer.cardinalities))]]


def _global_pool(walk, layer, shape, out):
    """An adaptive pooling and a Flatten."""
    return [[], []]


def _batchnorm(walk, layer, shape, out):
    count = _Entry("num_batches_tracked", getattr(layer, "num_batches_tracked", None), count=True)
    return [[*walk.vectors(layer, "weight", "bias", "running_mean", "running_var"), count]]


def _affine(walk, layer, shape, out):
    return [walk.vectors(layer, "weight", "bias")]


def _groupnorm(walk, layer, shape, out):
    if walk.order is not None:
        raise ValueError(f"model: {layer!r}: expected no flattened image before it, whose features PyTorch has in other groups")
    return _affine(walk, layer, shape, out)


def _nothing(walk, layer, shape, out):
    """One module without parameters."""
    return [[]]


def _reshape(walk, layer, shape, out):
    """A Flatten, or an Unflatten of what a Flatten has made."""
    here, there = image_order(shape) if walk.images else None, image_order(out)
    if len(shape) > 1 and len(out) > 1 and (here is not None or there is not None):
        raise ValueError(f"model: {layer!r}: expected a vector on one side of it, for PyTorch has images in another order")
    if there is not None and not np.array_equal(walk.order, there):
        raise ValueError(f"model: {layer!r}: expected an image that Flatten has flattened, for PyTorch has images in another order")
    walk.order = None if len(out) > 1 else walk.order if len(shape) == 1 else here
    return [[]]


_LAYERS = {  # the modules of each layer, each a list of its entries
    "Activation": _nothing,
    "AvgPool2d": _nothing,
    "BatchNorm": _batchnorm,
    "Conv1d": _conv1d,
    "Conv2d": _conv2d,
    "ConvTranspose2d": _conv2d,  # [in, out / groups, height, width] there, as the convolution's whose gradient it is
    "Dense": _dense,
    "Dropout2d": _nothing,
    "GroupNorm": _groupnorm,
    "DropConnect": lambda walk, layer, shape, out: _dense(walk, layer.dense, shape, out),
    "Dropout": _nothing,
    "Embedding": _embedding,
    "Flatten": _reshape,
    "GaussianNoise": _nothing,
    "GlobalAvgPool2d": _global_pool,
    "GlobalMaxPool2d": _global_pool,
    "Input": lambda walk, layer, shape, out: [],
    "LayerNorm": _affine,
    "LogSoftmax": _nothing,
    "Maxout": lambda walk, layer, shape, out: [walk.matrix(layer)],
    "MaxPool2d": _nothing,
    "PReLU": lambda walk, layer, shape, out: [[e._replace(name="weight") for e in walk.vectors(layer, "slope")]],
    "Rescaling": _nothing,
    "Reshape": _reshape,
    "RMSNorm": _affine,
    "Softmax": _nothing,
    "StochasticPool2d": _nothing,
    "TabularEmbedding": _tables,
    "Tied": _tied,
}


def _there(entry):
    """An entry's array as PyTorch has it."""
    if entry.count:
        return np.array(0 if entry.parameter is None else entry.parameter.data[0], np.int64)
    found = entry.parameter.data if entry.order is None else entry.parameter.data[entry.order]
    return np.array(found if entry.axes is None else found.transpose(entry.axes), order="C")


def _shape(entry):
    """That of `_there`."""
    shape = () if entry.count else entry.parameter.shape
    return shape if entry.axes is None else tuple(shape[axis] for axis in entry.axes)


def _here(entry, value):
    """PyTorch's array as the entry's Parameter has it."""
    if entry.count:
        return value.reshape(1)
    value = value if entry.axes is None else value.transpose(np.argsort(entry.axes))
    return value if entry.order is None else value[np.argsort(entry.order)]


def to_torch(model) -> dict[str, np.ndarray]:
    """The weights of a model under the names, and in the layout, of the equivalent ``torch.nn.Sequential``.

    The equivalent has one module for each layer, and one more for the activation of a layer that has one::

        nn.Sequential(nn.Dense(64, 32, activation="relu"), nn.Dense(32, 10))                                           # here
        torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))                         # there

        net.load_state_dict({name: torch.from_numpy(a) for name, a in fastnn.io.to_torch(model).items()})

    Behind a Flatten of images the features are in PyTorch's order, (channels, height, width). `Input` is no module there. A layer
    that PyTorch has no module for takes the place of a module of yours: Rescaling of one without parameters, Residual of a
    Sequential whose ``forward`` adds its input, or what a Sequential in it, named projection, makes of that, Maxout of a Linear with
    the pieces side by side, TabularEmbedding of one with its Embeddings numbered, as in a ModuleList. A Tied layer is a Linear with
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
    return {f"{name}.{e.name}": _there(e) for name, entries in _Modules(model).found for e in entries}


def from_torch(module_or_state, model) -> "Sequential":
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
    wanted = [(name, entries) for name, entries in _Modules(model).found if entries]
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
            if e.shared or e.count:
                continue  # modules that take the other's weights have none
            raise ValueError(f"{argument}: {name}: expected an array of shape {_shape(e)}, got none")
        expected = _shape(e)
        if e.count:
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
    return [(name, e) for name, entries in _Modules(model).found for e in entries if not e.count and not e.shared]


def to_keras(model) -> list[np.ndarray]:
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


def from_keras(model_or_weights, model) -> "Sequential":
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
        found.append(
            (f"[{i}], {e.name} of module {name}", e._replace(axes=None, order=None), _numpy(value, f"model_or_weights[{i}]"))
        )
    _load(model, found, "model_or_weights")
    return model
