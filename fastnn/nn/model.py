"""Sequential: layers one after the other, with inference and state."""

import copy
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._native import plain
from ..core.checks import check_size, flag
from ..core.dtypes import check_dtype, get_default_dtype
from ..core.heads import PROBABILITIES, check_head
from ..executors import NativeExecutor
from ..plan import Builder
from ..plan.execution_order import choose_schedule
from ..core.runtime import get_num_threads
from .activation import Activation, LogSoftmax, Softmax
from .containers import Chain, check_chain
from .inputs import Flatten, Input
from .layer import register
from .noise import DropConnect, Dropout, GaussianNoise
from .rows import as_array, as_rows
from .summary import table

if TYPE_CHECKING:
    from ..plan import Plan


def last_activation(layers):
    """The name of the activation that ends a chain of layers, None where none does. What leaves outputs as they are in inference
    is looked through."""
    for layer in reversed(layers):
        if isinstance(layer, (Dropout, GaussianNoise)) or isinstance(layer, Activation) and layer.name == "identity":
            continue
        if isinstance(layer, Sequential):
            return last_activation(layer.layers)
        for kind, name in ((Softmax, "softmax"), (LogSoftmax, "log_softmax")):
            if isinstance(layer, kind):
                return name
        layer = layer.dense if isinstance(layer, DropConnect) else layer
        return layer.config().get("name" if isinstance(layer, Activation) else "activation")
    return None


def _rows_at_once(model):
    """Rows that an inference works on at once: the more the better, while the widest layer's outputs are of 2 MB
    at most, but at least 256; of images at least 32."""
    widest = max((p.shape[-1] for p in model.parameters() if p.shape), default=1)
    if not any(layer.takes_images for _, layer in model.walk()) or model.in_shape is None:
        return min(max((1 << 19) // widest, 256), 1024)
    shape = model.in_shape
    for layer in model.layers:
        shape = layer.output_shape(shape)
        widest = max(widest, math.prod(shape))
    return min(max((1 << 19) // widest, 32), 1024)


@register
class Sequential(Chain):
    """Layers one after the other.

    Parameters
    ----------
    *layers : Layer
        Residual blocks and other Sequentials included.
    dtype : {"float32", "float64"}, optional
        What the model computes in, and the dtype of its parameters, which are converted: the values that layers have drawn stay, as
        do the Parameter objects. By default that of a model which one of the layers stands in already, or else what
        `fastnn.set_default_dtype` says, float32.

    Attributes
    ----------
    dtype : numpy.dtype
    head : {"softmax", "sigmoid", "largest", "hinge", "signs", "numbers", "rates", None}
        What the outputs are: how `predict_classes` and `predict_proba` read them. A Trainer sets it to what its loss takes the
        outputs for, and it is saved with the model: softmax or sigmoid where they are logits, largest for the multi-class
        hinge, hinge, or signs where the targets are -1 and 1, numbers for the losses of regression, rates for Poisson's.
        None: sigmoid for a single output, softmax for more.
    metadata : dict
        Whatever else is to be saved with the model, as JSON can hold it; e.g. what `data.Table.attach` puts there.

    Raises
    ------
    TypeError
        If something is not a layer, or stands in the model twice; if the dtype is another, or a layer stands in a model of another.
    ValueError
        If a layer does not fit the one before it.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(784, 100, activation="relu"), nn.Dense(100, 10))
    >>> [p.name for p in model.parameters()]
    ['0.weight', '0.bias', '1.weight', '1.bias']
    >>> model.predict(np.zeros((2, 784), np.float32)).shape
    (2, 10)
    >>> len(model), model[1], model(np.zeros((2, 784))).shape
    (2, Dense(in_features=100, out_features=10, activation='identity', bias=True), (2, 10))
    """

    changes = ("head", "metadata")

    def __init__(self, *layers, dtype=None) -> None:
        self.layers = tuple(layers)
        self._shapes = check_chain(self.layers)
        self.dtype = self._check_dtype(dtype)
        if self.in_shape is not None:
            self.settle(self.in_shape)
        elif not self.needs_shape:
            raise ValueError("layers: expected at least one Dense layer, or another that knows its features, got none")
        for name, p in self._named():
            p.name = name
            p.settle(self.dtype)
        # the shape of a sample that may have several dimensions, () for any
        self._sample = () if isinstance(layers[0], Flatten) else self._given_shape() if len(self.in_shape or ()) > 1 else None
        self._vectors = len(self.out_shape or ()) == 1
        self._codes = next((layer for layer in self.layers if layer.reads_codes), None)
        self._plain = self._vectors and self._codes is None and self._sample is None  # from vectors of any numbers to vectors
        self._idle = {}  # executors that no call is using, the last used last
        self._batch = _rows_at_once(self)
        self.head = None
        self.metadata = {}

    # ---- structure ----

    def _check_dtype(self, dtype):
        """The model's dtype, for the one that was asked for or None. TypeError where a layer stands in a model of another."""
        found = None if dtype is None else check_dtype(dtype)
        settled = [(name, p.dtype) for name, p in self._named() if p.settled]
        settled += [(name, layer.dtype) for name, layer in self.walk() if layer is not self and isinstance(layer, Sequential)]
        for name, other in settled:
            found = other if found is None else found
            if other != found:
                raise TypeError(
                    f"dtype: expected layers that stand in no model of another dtype than {found}, got one whose {name} is {other}; "
                    "make new layers, or all of these models with the same dtype"
                )
        return get_default_dtype() if found is None else found

    def __len__(self) -> int:
        """The number of layers."""
        return len(self.layers)

    def __getitem__(self, index) -> Any:
        """A layer, or for a slice a model of these layers, which share their parameters with this one."""
        return Sequential(*self.layers[index], dtype=self.dtype) if isinstance(index, slice) else self.layers[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)

    def __call__(self, X) -> np.ndarray:
        """The model's outputs; `predict` has options."""
        return self.predict(X)

    @property
    def out_shape(self):
        """The shape of a sample of the outputs, a tuple."""
        return self._shapes[1]

    @property
    def out_features(self):
        """Elements of a sample of the outputs."""
        return None if self.out_shape is None else math.prod(self.out_shape)

    def check_settled(self):
        """ValueError where the shape of the model's input is not known: it is then but a part of another."""
        if self.in_shape is None:
            first = next(layer for layer in self.layers if layer.needs_shape)
            what = "nn.Input(height, width, channels)" if first.takes_images else "nn.Input(...)"
            raise ValueError(f"model: expected one that knows the shape of its input, got none; put {what} before {first!r}")

    @property
    def channels_first(self):
        """Whether its input begins with the channels: see `Input`."""
        return isinstance(self.layers[0], Input) and self.layers[0].channels_first

    def num_parameters(self) -> int:
        """How many numbers are trained; shared ones count once, running statistics do not.

        Examples
        --------
        >>> nn.Sequential(nn.Dense(784, 100, activation="relu"), nn.Dense(100, 10)).num_parameters()
        79510
        """
        return sum(p.size for p in self.parameters())

    def summary(self, batch_size=1, print_fn=None) -> None:
        """Print a table of the layers: output shape, parameters, and what an inference of the layer costs.

        Flops are floating-point operations; an activation that runs inside a dense layer's product is not counted. Bytes are
        what the layer's operations read and write at least, weights and activations: what decides the speed at small
        batches, while flops decide it at large ones. `plan(batch).describe()` shows the operations themselves, and
        `Trainer.plan` those of training. Weights that several layers share count where they come first.

        Parameters
        ----------
        batch_size : int, default 1
            Rows that flops and bytes are given for.
        print_fn : callable, optional
            Takes the lines one by one, in place of print.

        Examples
        --------
        >>> nn.Sequential(nn.Flatten(), nn.Dense(784, 100, activation="relu"), nn.Dense(100, 10)).summary()
           layer       output shape  parameters   flops    bytes
        --------------------------------------------------------
        0  Flatten     (None, 784)            0       0      0 B
        1  Dense relu  (None, 100)       78,500   157 k   318 kB
        2  Dense       (None, 10)         1,010  2.00 k  4.48 kB
        --------------------------------------------------------
           total                         79,510   159 k   322 kB
        parameters: 79,510, 318 kB in float32
        flops, bytes: of an inference of 1 row
        """
        for line in table(self, check_size(batch_size, "batch_size")):
            (print_fn or print)(line)

    def fold(self) -> "Sequential":
        """A new model for inference with the same outputs, to rounding, and less to compute.

        A `BatchNorm` becomes part of the Dense or Tied layer in front of it, if no activation stands between, or else of the
        Dense, Tied or Maxout layer behind it; where there is neither it stays. What does nothing in inference (Dropout,
        GaussianNoise, DropConnect's drawing) is left out. Weights that are tied to others which have changed become their
        own. This model is not changed, and shares no memory with the new one. Train before you fold: batch statistics are
        fixed then.

        Returns
        -------
        Sequential

        Examples
        --------
        >>> model = nn.mlp([784, 100, 10], batchnorm="before", dropout=0.2)
        >>> model.fold()
        Sequential(
          Dense(in_features=784, out_features=100, activation='identity', bias=True),
          Activation(name='relu'),
          Dense(in_features=100, out_features=10, activation='identity', bias=True),
        )
        """
        from .fold import folded

        new = Sequential(*folded(self), dtype=self.dtype)
        new.head, new.metadata = self.head, copy.deepcopy(self.metadata)
        return new

    def architecture(self) -> dict[str, Any]:
        """The layers and their arguments, as JSON can hold them: what a file records, and `load` builds from.

        Raises
        ------
        ValueError
            If a Tied layer's Dense does not stand before it in the model.
        """
        return {"layers": self.entry("", {})["layers"], **self.config()}

    def config(self):
        return {} if self.dtype == np.float32 else {"dtype": self.dtype.name}

    @classmethod
    def from_entry(cls, arguments, inside, known):
        return super().from_entry({"dtype": "float32", **arguments}, inside, known)

    def rows(self, X, name="X", empty=False):
        """Data checked against the model's input; see `as_rows`."""
        self.check_settled()
        X = as_rows(X, name, self.in_shape if self._sample is None else self._sample or None, self.in_features, empty)
        if self._codes is not None:
            if not isinstance(X, np.ndarray):
                raise TypeError(f"{name}: expected a dense array for a model that reads codes, got a sparse matrix")
            self._codes.check_codes(X, name)
        return X

    def emit_whole(self, builder):
        """Emit the model's input and its layers; return the buffer of its outputs."""
        self.check_settled()
        return self.emit(builder, builder.input(self.in_shape, self.channels_first))

    def _given_shape(self):
        """The shape of a sample as the user has it."""
        *sizes, channels = self.in_shape
        return (channels, *sizes) if self.channels_first else self.in_shape

    def __getstate__(self):
        return {**vars(self), "_idle": {}}  # executors hold addresses of this model's arrays

    def __setstate__(self, state):
        vars(self).update(state)
        for _, p in self._named():
            p.settle(vars(self).setdefault("dtype", p.dtype))  # models that were pickled before there was a dtype have none

    def __copy__(self):
        return copy.deepcopy(self)

    # ---- inference ----

    def plan(self, batch, softmax=False, fused=True, schedule=None) -> "Plan":
        """The plan of an inference over batches of at most `batch` rows; `softmax`: of probabilities, as `predict_proba`."""
        builder = Builder(batch, fused, dtype=self.dtype)
        y = self.emit_whole(builder)
        link = self.link() if softmax else None
        builder.mark_output(builder.softmax(y) if link == "softmax" else builder.activation(y, link or "identity"))
        return builder.build(schedule or choose_schedule(self.parameters(), batch, get_num_threads()))

    def _head(self):
        """The rule that reads the outputs."""
        name = self.head or ("sigmoid" if self.out_features == 1 else "softmax")
        head = check_head(name)
        return PROBABILITIES if name == "sigmoid" and last_activation(self.layers) in ("softmax", "sigmoid") else head

    def link(self):
        """What makes probabilities of the outputs: "softmax", "sigmoid", or None where they are probabilities. ValueError where no
        probabilities follow from them, as for `predict_proba`."""
        if last_activation(self.layers) in ("softmax", "sigmoid"):
            return None
        head = self._head()
        if head.link is None:
            raise ValueError(
                f"predict_proba: expected a model trained on a cross-entropy, got one whose outputs are {head.what}, and no "
                "probabilities follow from these; predict gives them as they are"
            )
        return head.link

    def _infer(self, X, batch_size, out, softmax):
        softmax = softmax and (self.link() or "none")
        if batch_size is None and type(X) is np.ndarray and X.ndim and 0 < len(X) <= self._batch and (self._plain or self._is_short(X, out)):
            key = ("infer", 1 << (len(X) - 1).bit_length(), softmax)
            executor = self._idle.pop(key, None)
            if executor is not None:
                done = executor.infer(X, out, 2 if self._plain else self._dimensions(X))
                self._idle[key] = executor
                if done is not None:
                    return done if self._vectors else done.reshape(len(X), *self.out_shape)
        return self._infer_any(X, batch_size, out, softmax)

    def _is_short(self, X, out):
        """Whether the short way may be tried with them: outputs that are images go to a new array only, and codes are looked at before."""
        return (out is None or self._vectors) and (self._codes is None or self._codes.are_codes(X))

    def _dimensions(self, X):
        """Those that X is to have, -1 for none that it could have."""
        sample = self._sample
        return 2 if sample is None or X.ndim == 1 else X.ndim if not sample or X.shape[1:] == sample else -1

    def _infer_any(self, X, batch_size, out, softmax):
        """Whatever X and out are: a function of its own, for its closure would make the short way longer."""
        X = self.rows(X, empty=True)
        batch = self._batch if batch_size is None else check_size(batch_size, "batch_size")
        batch = min(batch, 1 << (len(X) - 1).bit_length())
        if out is None:
            out = np.empty((len(X), *self.out_shape), self.dtype)
        else:
            _check_out(out, (len(X), *self.out_shape), X, self._named())
        if not len(X):
            return out
        key = ("infer", batch, softmax)
        executor = self.acquire(key, lambda: NativeExecutor(self.plan(batch, softmax)))
        try:
            executor.run(X, out=out)
        finally:
            self.release(key, executor)
        return out

    def acquire(self, key, make):
        """An executor that no other call is using: the idle one that was made for `key`, or a new one."""
        executor = self._idle.pop(key, None)  # atomic, and so are the other uses of the dict: no lock
        return make() if executor is None else executor

    def release(self, key, executor):
        """Keep an executor for the next call; of too many, the one unused for longest is let go."""
        self._idle[key] = executor
        if len(self._idle) > 8:
            self._idle.pop(next(iter(self._idle), None), None)

    def predict(self, X, batch_size=None, out=None) -> np.ndarray:
        """The model's outputs (logits, where it was trained on a loss that takes logits).

        May be called from several threads at once.

        Parameters
        ----------
        X : array_like [rows, in_features]
            Of any real dtype. With `Input` first, samples of its shape; with `Flatten`, of any.
        batch_size : int, optional
            Rows that are worked on at once; the outputs do not depend on it.
        out : array [rows, out_features], optional
            Receives the outputs; of the model's dtype.

        Returns
        -------
        numpy.ndarray
            Of the model's dtype, [rows, out_features], or [rows, height, width, channels] where images come out; of no rows where X has none.

        Raises
        ------
        TypeError, ValueError
            If X or out does not fit.
        """
        return self._infer(X, batch_size, out, False)

    def predict_proba(self, X, batch_size=None, out=None) -> np.ndarray:
        """Class probabilities: softmax over the outputs, or the sigmoid of each where the model was trained on binary
        cross-entropy or has a single output; outputs of a last softmax or sigmoid are probabilities already and stay as they
        are. Parameters as `predict`.

        Raises
        ------
        TypeError, ValueError
            If X or out does not fit, or the model was trained on a loss whose outputs are no logits: on squared or absolute
            errors, Huber's, Poisson's or a hinge.

        Examples
        --------
        >>> model = nn.Sequential(nn.Dense(4, 3))
        >>> float(model.predict_proba(np.zeros((1, 4))).sum().round(3))
        1.0
        """
        return self._infer(X, batch_size, out, True)

    def predict_classes(self, X, batch_size=None) -> np.ndarray:
        """The class with the largest output, int64 [rows]. Parameters as `predict`.

        Of a model that was trained on a binary loss, or has a single output: 1 where the answer is yes, else 0, or -1 where the
        targets of the training were -1 and 1; int64 [rows] for one output and [rows, outputs] for more. Yes is a logit, or a
        score of a hinge loss, above 0; a probability, or an output that was trained to be 0 or 1 by one of the losses of
        regression, above one half. These are the rules by which `Trainer.evaluate` counts right answers.

        Raises
        ------
        TypeError, ValueError
            If X does not fit, or the outputs are rates of counts.

        Examples
        --------
        >>> model = nn.Sequential(nn.Dense(1, 1, init=fastnn.init.constant(1.0)))
        >>> trainer = fastnn.Trainer(model, losses.MeanSquaredError(), optim.SGD(model.parameters()))
        >>> model.predict_classes([[0.2], [0.7]])  # nearer to 0, nearer to 1
        array([0, 1])
        """
        head = self._head()
        if head.classes is None:
            raise ValueError(f"predict_classes: expected outputs that tell classes, got {head.what}; predict gives them")
        return head.classes(self._infer(X, batch_size, None, False))

    def classes_of(self, outputs) -> np.ndarray:
        """The classes that outputs of the model stand for, [rows, out_features], as `predict_classes` has them; None where they
        stand for none."""
        head = self._head()
        return None if head.classes is None else head.classes(outputs)

    def activations(self, X, layers=None, before=False) -> dict[str, np.ndarray]:
        """The hidden outputs: what each layer makes of X in inference.

        Parameters
        ----------
        X : array_like [rows, in_features]
            As for `predict`.
        layers : list of str, int or Layer, or a single one, optional
            Which layers, by name, number, or themselves; by default all that compute something, those inside others too.
        before : bool, default False
            What goes into the layers' activations in place of what comes out; only of layers that have one.

        Returns
        -------
        dict
            From a layer's name, such as "1", or "2.0" for the first one inside the third, to a new float32 array [rows, features], or
            [rows, height, width, channels] of images. In the model's order, or in that of `layers`.

        Raises
        ------
        TypeError, ValueError
            If X does not fit, or a layer is not the model's, or passes on what it gets (as `Flatten` does, and `Dropout` in
            inference).

        Examples
        --------
        >>> X, y = data.load_digits()
        >>> model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 32, activation="relu"), nn.Dense(32, 10))
        >>> hidden = model.activations(X)
        >>> {name: values.shape for name, values in hidden.items()}
        {'2': (1797, 32), '3': (1797, 10)}
        >>> z = model.activations(X, "2", before=True)["2"]
        >>> bool((np.maximum(z, 0) == hidden["2"]).all() and (hidden["3"] == model.predict(X)).all())
        True
        """
        from .hidden import activations

        return activations(self, X, layers, flag(before, "before"))

    # ---- state and files ----

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the parameters and buffers (what is saved but not trained) by name.

        Examples
        --------
        >>> sorted(nn.Sequential(nn.Dense(4, 3)).state_dict())
        ['0.bias', '0.weight']
        """
        return {name: p.data.copy() for name, p in self._named()}

    def load_state_dict(self, state_dict, strict=True) -> tuple[list[str], list[str]] | None:
        """Copy values into the parameters and buffers.

        Parameters
        ----------
        state_dict : dict
            From names to arrays.
        strict : bool, default True
            With False, names that only the model or only the dict has are passed over.

        Returns
        -------
        (missing, unknown) or None
            With strict=False, the sorted lists of the names that the dict lacks, and that the model lacks.

        Raises
        ------
        ValueError, TypeError
            If names, shapes or dtypes are not the model's. Nothing has changed then.

        Examples
        --------
        >>> body, model = nn.Sequential(nn.Dense(4, 3)), nn.Sequential(nn.Dense(4, 3), nn.Dense(3, 2))
        >>> model.load_state_dict(body.state_dict(), strict=False)
        (['1.bias', '1.weight'], [])
        """
        strict = flag(strict, "strict")
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"state_dict: expected a dict, got {type(state_dict).__name__}")
        parameters = dict(self._named())
        missing = sorted(set(parameters) - set(state_dict))
        extra = sorted(map(str, set(state_dict) - set(parameters)))
        if strict and (missing or extra):
            raise ValueError(f"state_dict: expected the model's parameters; missing {missing}, unknown {extra}")
        parameters = {name: p for name, p in parameters.items() if name in state_dict}
        values = {name: as_array(state_dict[name], f"state_dict[{name!r}]") for name in parameters}
        for name, p in parameters.items():
            value = values[name]
            if value.dtype.kind not in "biuf":
                raise TypeError(f"state_dict[{name!r}]: expected real numbers, got dtype {value.dtype}")
            if value.shape != p.shape:
                raise ValueError(f"state_dict[{name!r}]: expected shape {p.shape}, got {value.shape}")
        for name, p in parameters.items():
            p.data = values[name]
        return None if strict else (missing, extra)

    def save(self, path) -> None:
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
        from .serialization import write

        write(self, path)


def _check_out(out, shape, X, named):
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out: expected a NumPy array, got {type(out).__name__}")
    out = np.asarray(plain(out, "out"))  # a subclass may say what it likes
    if out.shape != shape:
        raise ValueError(f"out: expected shape {shape}, got {out.shape}")
    if np.may_share_memory(out, X if isinstance(X, np.ndarray) else X.data):
        raise ValueError("out: expected memory of its own, got an array that overlaps X")
    for name, p in named:
        if np.may_share_memory(out, p.data):
            raise ValueError(f"out: expected memory of its own, got an array that overlaps the model's {name}")
