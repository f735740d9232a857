"""Layer: the base of the layers, and the register of the package's own."""

import operator
from typing import TYPE_CHECKING

from ..core.fixed import Fixed
from ..core.listing import Listed
from ..core.parameter import Parameter

if TYPE_CHECKING:
    from typing import TypeVar

    Kind = TypeVar("Kind", bound=type)


LAYERS = {}  # the package's own by name: what a model's file may hold without being told


def register(layer: "Kind") -> "Kind":
    """Decorates a class of the package's layers."""
    LAYERS[layer.__name__] = layer
    return layer


class Layer(Fixed, Listed):
    """Base of the layers.

    A layer of one's own sets its Parameters (and layers inside it, through `children`) as attributes, says in `config` with
    which arguments an equal one is made, and emits its operations. Parameters, layers inside it, its penalty and what
    `config` names are fixed once it is made, for plans are built on them.

    Attributes
    ----------
    in_features : int or None
        Features that it takes, where it knows.
    in_shape : tuple or None
        The shape of a sample that it takes, where it alone tells.
    least_rows : int
        The fewest rows that it can be trained on at once.
    penalty : fastnn.regularizers.Penalty or None
        On its attribute `weight`.

    Examples
    --------
    >>> class Twice(nn.Layer):
    ...     def emit(self, builder, x):
    ...         return builder.add(x, x)
    >>> nn.Sequential(nn.Dense(2, 1, init="zeros"), Twice()).predict(np.ones((1, 2)))
    array([[0.]], dtype=float32)
    """

    _internal = (
        "acquire", "by_channels", "changes", "channels_first", "check_features", "check_settled", "emit_whole", "entries_inside", "entry",
        "for_inference", "from_entry", "link", "metadata", "needs_shape", "own_parameters", "reads_codes", "release", "rows",
        "scale_and_shift", "scaled_input", "scaled_output", "settle", "takes_images", "tensor_shapes", "to_dtype", "walk",
        "with_own_weights",
    )  # fmt: skip
    in_features = None
    penalty = None
    reads_codes = False  # of the model's input, which it checks by `check_codes`
    takes_images = False  # (height, width, channels), of any height and width
    by_channels = False  # takes what has so many features, or images of so many channels: `in_shape` is then but a guess

    @property
    def in_shape(self):
        return None if self.in_features is None else (self.in_features,)

    @property
    def needs_shape(self):
        """Whether it must be told the shape of its input, by `settle`, before it has all its parameters, or says what comes out."""
        return self.takes_images or any(layer.needs_shape for _, layer in self.children())

    def settle(self, shape):
        """Make the parameters whose size depends on the shape of a sample that comes in; `output_shape` has taken it."""
        for _, layer in self.children():
            layer.settle(shape)

    def _is_fixed(self, name):
        held = isinstance(vars(self).get(name), (Parameter, Layer))
        return held or super()._is_fixed(name) or name == "penalty" or name in self.config()

    def _instead(self, name):
        return f"assign to {name}.data" if isinstance(vars(self).get(name), Parameter) else super()._instead(name)

    @property
    def least_rows(self):
        """The fewest rows that it, and the layers inside it, can be trained on at once."""
        return max((layer.least_rows for _, layer in self.children()), default=1)

    def children(self):
        """(name, layer) of the layers inside it, in order."""
        return []

    def walk(self, prefix=""):
        """(path, layer) of this layer and all inside it, each before those inside it; a path is names joined by dots."""
        yield prefix, self
        for name, layer in self.children():
            yield from layer.walk(f"{prefix}.{name}" if prefix else name)

    def _named(self):
        """(name, Parameter) of this layer and those inside it, in order, each Parameter once, by its first name. By
        position: a layer may stand in several models, under several names."""
        found = {}
        for path, layer in self.walk():
            for name, p in layer.own_parameters():
                found.setdefault(id(p), (f"{path}.{name}" if path else name, p))
        return list(found.values())

    def to_dtype(self, dtype):
        """The layer itself, once its parameters are of that dtype: for one that stands in no model yet."""
        for _, p in self._named():
            p.convert(dtype)
        return self

    def own_parameters(self):
        """(name, Parameter) of those that are its attributes, trained or not."""
        return [(name, p) for name, p in vars(self).items() if isinstance(p, Parameter)]

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """(name, Parameter) of what is trained, in order."""
        return [(name, p) for name, p in self._named() if p.trained]

    def named_buffers(self) -> list[tuple[str, Parameter]]:
        """(name, Parameter) of what is saved but not trained, such as running statistics."""
        return [(name, p) for name, p in self._named() if not p.trained]

    def parameters(self) -> list[Parameter]:
        """Its Parameters, in order, those of the layers inside it included."""
        return [p for _, p in self.named_parameters()]

    def freeze(self, *which) -> None:
        """Hold parameters: no gradient of them is made, and no optimizer changes them until `unfreeze`. A frozen BatchNorm uses and
        keeps its running statistics in training too. May be called between steps; files do not record it.

        Parameters
        ----------
        *which : Layer, int, or str
            Layers inside this one: themselves, by their number, or by their name; or names of parameters. All, if none are given.

        Raises
        ------
        TypeError, ValueError
            If there is no such layer or parameter. Nothing has changed then.

        Examples
        --------
        >>> model = nn.Sequential(nn.Dense(4, 8), nn.BatchNorm(8), nn.Dense(8, 2))
        >>> model.freeze(0, 1)
        >>> [name for name, p in model.named_parameters() if not p.frozen]
        ['2.weight', '2.bias']
        >>> model.unfreeze()
        """
        self._set_frozen(which, True)

    def unfreeze(self, *which) -> None:
        """Let parameters that `freeze` holds be trained again. Parameters as there."""
        self._set_frozen(which, False)

    def _set_frozen(self, which, frozen):
        chosen = [p for w in which for p in self._chosen(w)] if which else [p for _, p in self._named()]
        for p in chosen:
            p.frozen = frozen

    def _chosen(self, which):
        """The Parameters that are meant, running statistics included where it is a layer."""
        layers, children = dict(self.walk()), [layer for _, layer in self.children()]
        if isinstance(which, Layer):
            if not any(which is layer for layer in layers.values()):
                raise ValueError(f"freeze: expected a layer of this one, got another, {which!r}")
            return [p for _, p in which._named()]
        if isinstance(which, str):
            parameters = dict(self.named_parameters())
            if which in parameters:
                return [parameters[which]]
            if which not in layers or not which:
                raise ValueError(f"freeze: expected the name of a layer or of a parameter, {', '.join(parameters)}, got {which!r}")
            return [p for _, p in layers[which]._named()]
        try:
            return [p for _, p in children[operator.index(which)]._named()]
        except TypeError:
            raise TypeError(f"freeze: expected layers, their numbers or names, got {which!r:.60}") from None
        except IndexError:
            raise ValueError(f"freeze: expected a number below {len(children)}, got {which}") from None

    def penalties(self):
        """(Parameter, penalty) of the weights, those of the layers inside it included, that have a penalty of their own."""
        return [(layer.weight, layer.penalty) for _, layer in self.walk() if layer.penalty is not None]

    def config(self):
        """The arguments that make an equal layer, as JSON can hold them."""
        return {}

    def entry(self, path, paths):
        """The layer in a file's architecture; notes its path among `paths`, by its id, for layers that refer to it."""
        paths[id(self)] = path
        return {"class": type(self).__name__, **self.config()}

    @classmethod
    def entries_inside(cls, entry):
        """(name, entry) of the layers inside that which an entry in a file describes."""
        return []

    @classmethod
    def tensor_shapes(cls, entry):
        """name -> shape of what the layer of an entry allocates, None for a size that the entry lacks: they are compared with the
        file's before any memory is taken."""
        return {}

    @classmethod
    def from_entry(cls, arguments, inside, known):
        """The layer of an entry. `inside`: name -> layer of those inside it; `known`: path -> layer of those that stand before it."""
        return cls(**arguments)

    # What `fold` asks of a layer: each gives a layer, itself or a new one.

    def for_inference(self):
        """What takes its place in inference; None: nothing."""
        return self

    def scale_and_shift(self):
        """(s, t), float64, of a layer that is s x + t in inference; else None."""
        return None

    def scaled_output(self, s, t):
        """A layer that gives s y + t, y being what this one gives; None: there is none such."""
        return None

    def scaled_input(self, s, t):
        """A layer that gives of x what this one gives of s x + t; None: there is none such."""
        return None

    def with_own_weights(self, present):
        """For one whose weights are another layer's: with its own, where the other is not in `present`, by id."""
        return self

    def emit(self, builder, x):
        """Emit the layer's operations for the buffer `x`; return the buffer of its outputs. `builder.training` tells
        whether they are those of training or of inference."""
        raise NotImplementedError

    def output_shape(self, shape):
        """The shape of a sample that comes out, a tuple, for that of one which goes in; raise ValueError if the layer cannot take it."""
        if self.in_features is not None:
            self.check_features(shape)
        return shape

    def check_features(self, shape):
        """ValueError where samples are no vectors, or not of `in_features` features if it has so many."""
        if len(shape) != 1:
            some = "features" if self.in_features is None else f"{self.in_features} features"
            raise ValueError(f"{self!r}: expected samples of {some}, got shape {shape}; put nn.Flatten() before it")
        if self.in_features not in (None, shape[0]):
            raise ValueError(f"{self!r}: expected {self.in_features} input features, got {shape[0]}")

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.config().items())})"
