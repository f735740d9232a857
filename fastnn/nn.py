"""Layers and models. A layer owns its parameters and says which operations it is; the plan runs them.

Also here: saving a model (safetensors, with the architecture in its metadata) and loading it again.
"""

import math
import numbers
import operator
import os
import sys
from collections.abc import Mapping

import numpy as np

from . import init as initialisers
from .activations import check_activation
from .files import replacing
from .plan import Builder, NativeExecutor, Parameter
from .plan.schedule import choose_schedule
from .runtime import get_num_threads

__all__ = ["Activation", "Dense", "Flatten", "Layer", "Parameter", "Rescaling", "Sequential", "load"]

_FLOAT64_MAX = sys.float_info.max
_BATCH = 256  # rows that an inference works on at once: their activations stay in the L2 cache
FORMAT_VERSION = 1  # of model files; older ones stay readable, newer ones are refused


def _size(value, name):
    """`value` as an int of at least 1 that an array dimension can have."""
    try:
        n = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if not 1 <= n < 2**31:
        raise ValueError(f"{name}: expected an integer from 1 to 2**31 - 1, got {n}")
    return n


class Layer:
    """Base of the layers."""

    def parameters(self):
        """Its Parameters, in order."""
        return []

    def config(self):
        """The arguments that make an equal layer, as JSON can hold them."""
        return {}

    def emit(self, builder, x):
        """Emit the layer's operations for the buffer `x`; return the buffer of its outputs."""
        raise NotImplementedError

    def output_features(self, features):
        """Features out for features in; raise ValueError if the layer cannot take them."""
        return features

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.config().items())})"


class Dense(Layer):
    """Fully connected layer: y = f(x w + b).

    Parameters
    ----------
    in_features, out_features : int
        Columns of its input and output.
    activation : str or Activation, optional
        One of identity (the default), sigmoid, tanh, relu, leaky_relu.
    bias : bool, default True
        Whether there is a b.
    init : str or fastnn.init initialiser, optional
        For the weights: an initialiser, or its name. By default the one that suits the activation: He's Gaussian for relu and
        what resembles it, LeCun's for selu, Xavier's for the others (see `fastnn.init`). Biases start at 0.

    Attributes
    ----------
    weight : Parameter [in_features, out_features]
    bias : Parameter [out_features] or None

    Raises
    ------
    ValueError, TypeError
        If a size is less than 1 or the product of both too large for an array, or a name is unknown.

    Examples
    --------
    >>> layer = nn.Dense(784, 100, activation="relu")
    >>> layer.weight.shape, layer.bias.shape
    ((784, 100), (100,))
    """

    def __init__(self, in_features, out_features, activation=None, bias=True, init=None):
        self.in_features = _size(in_features, "in_features")
        self.out_features = _size(out_features, "out_features")
        if self.in_features * self.out_features >= 2**60:
            raise ValueError(
                f"in_features, out_features: expected a product below 2**60, got {self.in_features} x {self.out_features}"
            )
        if isinstance(activation, Activation):
            self.activation, self.alpha = activation.name, activation.alpha
        else:
            self.activation, self.alpha = check_activation(activation)
        weights = initialisers.resolve(init, self.activation, self.alpha)
        self.weight = Parameter(weights((self.in_features, self.out_features)), "weight")
        self.bias = Parameter(np.zeros(self.out_features), "bias") if bias else None

    def parameters(self):
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def config(self):
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "activation": self.activation,
            **({"alpha": self.alpha} if self.activation == "leaky_relu" else {}),
            "bias": self.bias is not None,
        }

    def emit(self, builder, x):
        return builder.dense(x, self.weight, self.bias, self.activation, self.alpha)

    def output_features(self, features):
        if features != self.in_features:
            raise ValueError(f"{self!r}: expected {self.in_features} input features, got {features}")
        return self.out_features


class Activation(Layer):
    """An activation as a layer of its own; behind a Dense layer it runs inside that layer's product.

    Parameters
    ----------
    name : str
        One of identity, sigmoid, tanh, relu, leaky_relu.
    alpha : float, optional
        leaky_relu: the slope for negative inputs, at least 0; 0.01 by default.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(4, 3), nn.Activation("leaky_relu", alpha=0.2))
    >>> model.predict(np.zeros((1, 4))).shape
    (1, 3)
    """

    def __init__(self, name, alpha=None):
        self.name, self.alpha = check_activation(name, alpha)

    def config(self):
        return {"name": self.name, **({"alpha": self.alpha} if self.name == "leaky_relu" else {})}

    def emit(self, builder, x):
        return builder.activation(x, self.name, self.alpha)


class Flatten(Layer):
    """Turns samples of any shape into vectors, so that a model takes images as they are. Only as the first layer.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Dense(64, 10))
    >>> model.predict(np.zeros((5, 8, 8))).shape
    (5, 10)
    """

    def emit(self, builder, x):
        return x


class Rescaling(Layer):
    """x * scale + offset, done while the rows are read, at no cost. Only before the first layer that computes.

    With it a model takes raw images: bytes stay bytes in memory, and the model's file carries its own preprocessing.

    Parameters
    ----------
    scale : float
    offset : float, default 0

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 255), nn.Dense(4, 2))
    >>> model.predict(np.full((1, 2, 2), 255, np.uint8)).shape
    (1, 2)
    """

    def __init__(self, scale, offset=0.0):
        for name, value in (("scale", scale), ("offset", offset)):
            if not isinstance(value, numbers.Real):
                raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
            if not -_FLOAT64_MAX <= value <= _FLOAT64_MAX:
                raise ValueError(f"{name}: expected a finite number, got {value}")
        self.scale, self.offset = float(scale), float(offset)

    def config(self):
        return {"scale": self.scale, "offset": self.offset}

    def emit(self, builder, x):
        return builder.rescale(x, self.scale, self.offset)


def as_array(obj, name):
    """`obj` itself if it is a plain NumPy array, else what it holds as one."""
    if type(obj) is np.ndarray:
        return obj
    try:
        return np.asarray(obj)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array, got a {type(obj).__name__} that makes none ({error})") from None


def as_rows(X, name, flatten, features=None):
    """Data as the executors take it: a NumPy array of a real dtype in native byte order, rows first, each row contiguous.

    Lists become arrays; arrays that cannot be read in place are copied. `flatten`: whether samples may have any shape.
    """
    X = as_array(X, name)
    if X.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, got dtype {X.dtype}")
    if X.dtype.itemsize > 8 or not X.dtype.isnative:
        X = X.astype(np.float64 if X.dtype.kind == "f" else X.dtype.newbyteorder("="))
    if X.ndim < 2 or (X.ndim > 2 and not flatten):
        what = "samples of at least 1 dimension, in rows" if flatten else "2 dimensions (rows, features)"
        hint = "; put nn.Flatten() first for samples of more dimensions" if X.ndim > 2 else ""
        raise ValueError(f"{name}: expected {what}, got shape {X.shape}{hint}")
    if X.size == 0:
        raise ValueError(f"{name}: expected at least one row and one feature, got shape {X.shape}")
    width = math.prod(X.shape[1:])
    if features is not None and width != features:
        raise ValueError(f"{name}: expected {features} features a row, got shape {X.shape}")
    row = X[0]
    if not (row.flags.c_contiguous and X.flags.aligned):
        X = np.ascontiguousarray(X)
        X = X if X.flags.aligned else X.copy()
    return X


class Sequential(Layer):
    """Layers one after the other.

    Parameters
    ----------
    *layers : Layer

    Raises
    ------
    TypeError
        If something is not a layer, or stands in the model twice.
    ValueError
        If a layer does not fit the one before it.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(784, 100, activation="relu"), nn.Dense(100, 10))
    >>> [p.name for p in model.parameters()]
    ['0.weight', '0.bias', '1.weight', '1.bias']
    >>> model.predict(np.zeros((2, 784), np.float32)).shape
    (2, 10)
    """

    def __init__(self, *layers):
        if not layers:
            raise ValueError("layers: expected at least one, got none")
        self.layers = list(layers)
        self.in_features = None
        features, computes, seen = None, False, set()
        for i, layer in enumerate(layers):
            if isinstance(layer, type) or not isinstance(layer, Layer):
                got = f"the class {layer.__name__}" if isinstance(layer, type) else type(layer).__name__
                raise TypeError(f"layer {i}: expected a layer, got {got}")
            if isinstance(layer, Sequential):
                raise TypeError(f"layer {i}: expected a single layer, got a Sequential; write Sequential(*inner.layers, ...)")
            if id(layer) in seen:
                raise TypeError(f"layer {i}: expected a layer of its own, got one that stands in the model already")
            seen.add(id(layer))
            if isinstance(layer, Flatten) and i:
                raise ValueError(f"layer {i}: Flatten is only for the model's input, expected it first")
            if isinstance(layer, Rescaling) and computes:
                raise ValueError(f"layer {i}: Rescaling is only for the model's input, expected no layer that computes before it")
            if isinstance(layer, Dense):
                if features is None:
                    self.in_features = layer.in_features
                    features = layer.in_features
                try:
                    features = layer.output_features(features)
                except ValueError as error:
                    raise ValueError(f"layer {i}: {error}") from None
            computes = computes or isinstance(layer, (Dense, Activation))
        for name, p in self._named():
            p.name = name
        if self.in_features is None:
            raise ValueError("layers: expected at least one Dense layer, got none")
        self.out_features = features
        self._flatten = isinstance(layers[0], Flatten)
        self._idle = {}  # executors that no call is using, the last used last

    # ---- structure ----

    def parameters(self):
        """All Parameters, in the order of the layers, weight before bias."""
        return [p for layer in self.layers for p in layer.parameters()]

    def _named(self):
        """(name, Parameter) in order. By position: a layer may stand in other models too, under other names."""
        return [
            (f"{i}.{short}", p)
            for i, layer in enumerate(self.layers)
            for p, short in zip(layer.parameters(), ("weight", "bias"))
        ]

    def config(self):
        return {"layers": [{"class": type(layer).__name__, **layer.config()} for layer in self.layers]}

    def emit(self, builder, x):
        for layer in self.layers:
            x = layer.emit(builder, x)
        return x

    def rows(self, X, name="X"):
        """Data checked against the model's input; see `as_rows`."""
        return as_rows(X, name, self._flatten, self.in_features)

    def __repr__(self):
        return "Sequential(\n" + "".join(f"  {layer!r},\n" for layer in self.layers) + ")"

    def __getstate__(self):
        return {"config": self.config(), "state": self.state_dict()}

    def __setstate__(self, state):
        self.__init__(*_layers_from(state["config"], "the pickle"))
        self.load_state_dict(state["state"])

    # ---- inference ----

    def plan(self, batch, softmax=False, composite=True, schedule=None):
        """The plan of an inference over batches of at most `batch` rows."""
        builder = Builder(batch, composite)
        y = self.emit(builder, builder.input(self.in_features))
        builder.mark_output(builder.softmax(y) if softmax else y)
        return builder.build(schedule or choose_schedule(self.parameters(), batch, get_num_threads()))

    def _infer(self, X, batch_size, out, softmax):
        if batch_size is None and type(X) is np.ndarray and X.ndim and 0 < len(X) <= _BATCH:
            rows = len(X)
            key = ("infer", 1 << (rows - 1).bit_length(), softmax)
            executor = self._idle.pop(key, None)
            if executor is not None:
                result = np.empty((rows, self.out_features), np.float32) if out is None else out
                done = executor.infer(X, result, X.ndim if self._flatten and X.ndim > 1 else 2)
                self._idle[key] = executor
                if done:
                    return result
        X = self.rows(X)
        batch = _BATCH if batch_size is None else _size(batch_size, "batch_size")
        batch = min(batch, 1 << (len(X) - 1).bit_length())
        if out is None:
            out = np.empty((len(X), self.out_features), np.float32)
        else:
            _check_out(out, (len(X), self.out_features), X, self.parameters())
        key = ("infer", batch, softmax)
        executor = self.borrow(key, lambda: NativeExecutor(self.plan(batch, softmax)))
        try:
            executor.run(X, out=out)
        finally:
            self.give_back(key, executor)
        return out

    def borrow(self, key, make):
        """An executor that no other call is using: the idle one that was made for `key`, or a new one."""
        executor = self._idle.pop(key, None)  # atomic, and so are the other uses of the dict: no lock
        return make() if executor is None else executor

    def give_back(self, key, executor):
        """Keep an executor for the next call; of too many, the one unused for longest is let go."""
        self._idle[key] = executor
        if len(self._idle) > 8:
            self._idle.pop(next(iter(self._idle), None), None)

    def predict(self, X, batch_size=None, out=None):
        """The model's outputs (logits, where it was trained on a loss that takes logits).

        May be called from several threads at once.

        Parameters
        ----------
        X : array_like [rows, in_features]
            Of any real dtype. With `Flatten` first, samples of any shape.
        batch_size : int, optional
            Rows that are worked on at once; the outputs do not depend on it.
        out : float32 array [rows, out_features], optional
            Receives the outputs.

        Returns
        -------
        numpy.ndarray
            float32 [rows, out_features].

        Raises
        ------
        TypeError, ValueError
            If X or out does not fit.
        """
        return self._infer(X, batch_size, out, False)

    def predict_proba(self, X, batch_size=None, out=None):
        """Class probabilities: softmax over the outputs. Parameters as `predict`.

        Examples
        --------
        >>> model = nn.Sequential(nn.Dense(4, 3))
        >>> float(model.predict_proba(np.zeros((1, 4))).sum().round(3))
        1.0
        """
        return self._infer(X, batch_size, out, True)

    def predict_classes(self, X, batch_size=None):
        """The class with the largest output, int64 [rows]. Parameters as `predict`."""
        return self._infer(X, batch_size, None, False).argmax(axis=1)

    # ---- state and files ----

    def state_dict(self):
        """Copies of the parameters by name.

        Examples
        --------
        >>> sorted(nn.Sequential(nn.Dense(4, 3)).state_dict())
        ['0.bias', '0.weight']
        """
        return {name: p.data.copy() for name, p in self._named()}

    def load_state_dict(self, state_dict):
        """Copy values into the parameters.

        Raises
        ------
        ValueError, TypeError
            If names, shapes or dtypes are not the model's. Nothing has changed then.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"state_dict: expected a dict, got {type(state_dict).__name__}")
        parameters = dict(self._named())
        if set(state_dict) != set(parameters):
            missing = sorted(set(parameters) - set(state_dict))
            extra = sorted(map(str, set(state_dict) - set(parameters)))
            raise ValueError(f"state_dict: expected the model's parameters; missing {missing}, unknown {extra}")
        values = {name: as_array(value, f"state_dict[{name!r}]") for name, value in state_dict.items()}
        for name, p in parameters.items():
            value = values[name]
            if value.dtype.kind not in "biuf":
                raise TypeError(f"state_dict[{name!r}]: expected real numbers, got dtype {value.dtype}")
            if value.shape != p.shape:
                raise ValueError(f"state_dict[{name!r}]: expected shape {p.shape}, got {value.shape}")
        for name, p in parameters.items():
            p.data = values[name]

    def save(self, path):
        """Write the model to a safetensors file: the parameters, and in its metadata the architecture and format version.

        The file appears whole or not at all. Equal models give equal files.

        Parameters
        ----------
        path : str or os.PathLike

        Raises
        ------
        OSError
            If it cannot be written.

        Examples
        --------
        >>> import tempfile, os
        >>> model = nn.Sequential(nn.Dense(4, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "m.safetensors")
        ...     model.save(path)
        ...     again = nn.load(path)
        >>> bool((again.predict(np.ones((1, 4))) == model.predict(np.ones((1, 4)))).all())
        True
        """
        import json

        from safetensors.numpy import save

        metadata = {"format": "fastnn", "version": str(FORMAT_VERSION), "architecture": json.dumps(self.config())}
        data = save(self.state_dict(), metadata)
        length = int.from_bytes(data[:8], "little")
        header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True).encode()  # safetensors writes any order
        header += b" " * (-len(header) % 8)
        with replacing(os.fsdecode(path)) as file:
            file.write(len(header).to_bytes(8, "little"))
            file.write(header)
            file.write(memoryview(data)[8 + length :])


def _check_out(out, shape, X, parameters):
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out: expected a NumPy array, got {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"out: expected shape {shape}, got {out.shape}")
    if out.dtype == np.float32 and np.may_share_memory(out, X):
        raise ValueError("out: expected memory of its own, got an array that overlaps X")
    for p in parameters:
        if np.may_share_memory(out, p.data):
            raise ValueError(f"out: expected memory of its own, got an array that overlaps the parameter {p.name}")


_LAYERS = {c.__name__: c for c in (Dense, Activation, Flatten, Rescaling)}


def _layers_from(config, source):
    """The layers that a file's architecture describes; their parameters start at zero."""
    if not isinstance(config, dict) or not isinstance(config.get("layers"), list):
        raise ValueError(f"{source}: expected an architecture with a list of layers")
    layers = []
    for i, entry in enumerate(config["layers"]):
        kind = entry.get("class") if isinstance(entry, dict) else None
        if not isinstance(kind, str) or kind not in _LAYERS:
            raise ValueError(f"{source}: layer {i}: expected one of {', '.join(_LAYERS)}, got {entry!r:.80}")
        arguments = {k: v for k, v in entry.items() if k != "class"}
        try:
            if kind == "Dense":
                alpha = arguments.pop("alpha", None)
                arguments["init"] = "zeros"
                if alpha is not None:
                    arguments["activation"] = Activation(arguments.get("activation"), alpha)
            layers.append(_LAYERS[kind](**arguments))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{source}: layer {i}: {error}") from None
    return layers


def load(path):
    """Read a model that `save` wrote.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    Sequential

    Raises
    ------
    ValueError
        If the file is not safetensors, not a model of this package, truncated, from a newer version, or if its header does
        not agree with its contents.
    OSError
        If it cannot be read.
    """
    name = os.fsdecode(path)
    with open(name, "rb") as file:
        data = file.read()
    return _parse(data, name)


def _parse(data, name):
    import json

    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    def refuse(why):
        return ValueError(f"{name!r}: expected a model file of fastnn, got {why}")

    try:
        tensors = parse(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise refuse(f"no safetensors file ({error})") from None
    if metadata.get("format") != "fastnn":
        raise refuse("a safetensors file of another program")
    version = metadata.get("version", "")
    if version not in map(str, range(1, FORMAT_VERSION + 1)):
        raise refuse(f"format version {version!r:.40}, while this fastnn reads up to {FORMAT_VERSION}")
    try:
        config = json.loads(metadata["architecture"])
    except (KeyError, ValueError, RecursionError) as error:
        raise refuse(f"no readable architecture ({error})") from None
    sizes = {k: v.shape for k, v in tensors.items()}
    _check_sizes(config, sizes, refuse)
    try:
        model = Sequential(*_layers_from(config, "architecture"))
    except (TypeError, ValueError, RecursionError) as error:
        raise refuse(f"an architecture that does not fit together: {error}") from None
    for key, value in tensors.items():
        if value.dtype != np.float32:
            raise refuse(f"dtype {value.dtype} for {key!r}")
    try:
        model.load_state_dict(tensors)
    except ValueError as error:
        raise refuse(f"tensors that do not fit the architecture: {error}") from None
    return model


def _check_sizes(config, shapes, refuse):
    """Before any layer allocates: every Dense layer of the architecture has its weights, of its size, in the file."""
    layers = config.get("layers") if isinstance(config, dict) else None
    for i, entry in enumerate(layers if isinstance(layers, list) else []):
        if isinstance(entry, dict) and entry.get("class") == "Dense":
            expected = (entry.get("in_features"), entry.get("out_features"))
            if shapes.get(f"{i}.weight") != expected:
                raise refuse(f"an architecture whose layer {i} has weights {expected}, but tensor {shapes.get(f'{i}.weight')}")
