"""Sequential: layers one after the other, with inference and state."""

from collections.abc import Mapping

import numpy as np

from ..plan import Builder, NativeExecutor
from ..plan.schedule import choose_schedule
from ..runtime import get_num_threads
from .activation import Activation, Softmax
from .dense import Dense
from .inputs import Flatten, Rescaling
from .layer import Layer, check_size
from .rows import as_array, as_rows

_BATCH = 256  # rows that an inference works on at once: their activations stay in the L2 cache


class Sequential(Layer):
    """Layers one after the other.

    Parameters
    ----------
    *layers : Layer

    Attributes
    ----------
    head : {"softmax", "sigmoid", None}
        What makes probabilities of the outputs; a Trainer sets it to what its loss takes the outputs for. None: sigmoid for a
        single output, softmax for more.

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
            if isinstance(layer, Dense) and features is None:
                self.in_features = layer.in_features
                features = layer.in_features
            if features is not None:
                try:
                    features = layer.output_features(features)
                except ValueError as error:
                    raise ValueError(f"layer {i}: {error}") from None
            computes = computes or not isinstance(layer, (Flatten, Rescaling))
        for name, p in self._named():
            p.name = name
        if self.in_features is None:
            raise ValueError("layers: expected at least one Dense layer, got none")
        self.out_features = features
        self._flatten = isinstance(layers[0], Flatten)
        self._idle = {}  # executors that no call is using, the last used last
        self.head = None

    # ---- structure ----

    def parameters(self):
        """All Parameters, in the order of the layers, weight before bias."""
        return [p for layer in self.layers for p in layer.parameters()]

    def _named(self):
        """(name, Parameter) in order. By position: a layer may stand in other models too, under other names."""
        return [(f"{i}.{name}", p) for i, layer in enumerate(self.layers) for name, p in layer.own_parameters()]

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
        return {"config": self.config(), "state": self.state_dict(), "head": self.head}

    def __setstate__(self, state):
        from .files import layers_from

        self.__init__(*layers_from(state["config"], "the pickle"))
        self.load_state_dict(state["state"])
        self.head = state["head"]

    # ---- inference ----

    def plan(self, batch, softmax=False, composite=True, schedule=None):
        """The plan of an inference over batches of at most `batch` rows; `softmax`: of probabilities, as `predict_proba`."""
        builder = Builder(batch, composite)
        y = self.emit(builder, builder.input(self.in_features))
        link = self._link() if softmax else None
        builder.mark_output(builder.softmax(y) if link == "softmax" else builder.activation(y, link or "identity"))
        return builder.build(schedule or choose_schedule(self.parameters(), batch, get_num_threads()))

    def _link(self):
        """What makes probabilities of the outputs: "softmax", "sigmoid", or None where they are probabilities."""
        if self._last_activation() in ("softmax", "sigmoid"):
            return None
        return self.head or ("sigmoid" if self.out_features == 1 else "softmax")

    def _last_activation(self):
        last = self.layers[-1]
        return "softmax" if isinstance(last, Softmax) else last.config().get("name" if isinstance(last, Activation) else "activation")

    def _infer(self, X, batch_size, out, softmax):
        softmax = softmax and (self._link() or "none")
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
        batch = _BATCH if batch_size is None else check_size(batch_size, "batch_size")
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
        """Class probabilities: softmax over the outputs, or the sigmoid of each where the model was trained on a binary loss or
        has a single output; outputs that are probabilities already stay as they are. Parameters as `predict`.

        Examples
        --------
        >>> model = nn.Sequential(nn.Dense(4, 3))
        >>> float(model.predict_proba(np.zeros((1, 4))).sum().round(3))
        1.0
        """
        return self._infer(X, batch_size, out, True)

    def predict_classes(self, X, batch_size=None):
        """The class with the largest output, int64 [rows]. Parameters as `predict`.

        Of a model that was trained on a binary loss, or has a single output: 1 where the probability is above one half, else 0,
        int64 [rows] for one output and [rows, outputs] for more.
        """
        y = self._infer(X, batch_size, None, False)
        if self._link() == "sigmoid":
            classes = y > 0
        elif self.out_features == 1 and self._last_activation() == "sigmoid":
            classes = y > 0.5
        else:
            return y.argmax(axis=1)
        return (classes[:, 0] if self.out_features == 1 else classes).astype(np.int64)

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
        from .files import write

        write(self, path)


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
