"""Model files: safetensors, with the architecture and the format's version in the metadata."""

import os
from typing import TYPE_CHECKING

from ..core import safetensors
from ..core.dtypes import check_dtype
from ..core.heads import check_head
from .layer import LAYERS, Layer

if TYPE_CHECKING:
    from .model import Sequential

CHECKPOINT = "fastnn-checkpoint"  # the format of a trainer's file, which has a model's in it
FORMAT_VERSION = 1  # of model files; older ones stay readable, newer ones are refused


def write(model, path):
    """What `Sequential.save` does: the tensors go into the file from where they are, so that a model needs no memory to be saved."""
    tensors = {name: p.data for name, p in (*model.named_parameters(), *model.named_buffers())}
    safetensors.write(path, tensors, {"format": "fastnn", **describe(model)})


def describe(model):
    """What a file's metadata say of a model."""
    import json

    model.check_settled()
    metadata = {"version": str(FORMAT_VERSION), "architecture": json.dumps(model.architecture())}
    if model.head not in (None, "sigmoid" if model.out_features == 1 else "softmax"):  # else the outputs tell
        metadata["head"] = model.head
    if model.metadata:
        try:
            metadata["metadata"] = json.dumps(model.metadata)
        except (TypeError, ValueError) as error:
            raise TypeError(f"metadata: expected what JSON can hold, got another: {error}") from None
    return metadata


def layers_from(config, source, classes, path="", known=None):
    """name -> layer of those that a file's architecture describes; their parameters start at zero. `known`: those so far, by path."""
    known = {} if known is None else known
    return {name: _layer(entry, source, classes, at, known) for name, at, entry in _inside(config, source, classes, path)}


def _inside(entry, source, classes, path):
    """(name, path, entry) of the layers inside that of an entry."""
    try:
        kind = _kind(entry, source, classes, path) if path else LAYERS["Sequential"]
        found = kind.entries_inside(entry)
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(source) else f"{source}: {error}") from None
    for name, inner in found:
        yield name, f"{path}.{name}" if path else name, inner


def _kind(entry, source, classes, path):
    """The class of an entry's layer."""
    kind = entry.get("class") if isinstance(entry, dict) else None
    if not isinstance(kind, str) or kind not in classes:
        hint = "; classes of your own go into load(path, layers=[...])" if isinstance(kind, str) else ""
        raise ValueError(f"{source}: layer {path}: expected one of {', '.join(classes)}, got {entry!r:.80}{hint}")
    return classes[kind]


def _layer(entry, source, classes, path, known):
    kind = _kind(entry, source, classes, path)
    try:
        inside = layers_from(entry, source, classes, path, known)
        known[path] = kind.from_entry({k: v for k, v in entry.items() if k != "class"}, inside, known)
    except (TypeError, ValueError) as error:
        message = str(error)
        raise ValueError(message if message.startswith(source) else f"{source}: layer {path}: {error}") from None
    return known[path]


def load(path, layers=()) -> "Sequential":
    """Read a model that `save` wrote, or the one in a trainer's checkpoint.

    Parameters
    ----------
    path : str or os.PathLike
    layers : sequence of classes, optional
        Layer classes of your own that the file may name.

    Returns
    -------
    Sequential

    Raises
    ------
    ValueError
        If the file is not safetensors, not a model of this package, truncated, from a newer version, or if its header does
        not agree with its contents, or if it names a layer class that is not known.
    OSError
        If it cannot be read.
    """
    classes = _known(layers)
    name = os.fsdecode(path)
    with open(name, "rb") as file:
        data = file.read()
    return _parse(data, name, classes)


def _known(layers):
    """The classes that a file may name, by name."""
    classes = dict(LAYERS)
    for c in layers:
        if not (isinstance(c, type) and issubclass(c, Layer)):
            raise TypeError(f"layers: expected subclasses of nn.Layer, got {c!r}")
        classes[c.__name__] = c
    return classes


def from_architecture(text, shapes, layers=()):
    """A model of an architecture as a file records it, all its numbers zero.

    Parameters
    ----------
    text : str
        `Sequential.architecture` as JSON.
    shapes : dict
        The shapes of the tensors that the file holds, by name: nothing is allocated that they do not account for.
    layers : sequence of classes, optional
        As for `load`.

    Returns
    -------
    Sequential

    Raises
    ------
    ValueError, TypeError, RecursionError
        If it is no architecture, its layers do not fit together, or the shapes are not theirs.
    """
    import json

    return _built(json.loads(text), shapes, _known(layers))


def _built(config, shapes, classes):
    _check_sizes(config, shapes, classes)
    layers = layers_from(config, "architecture", classes).values()
    return LAYERS["Sequential"](*layers, dtype=check_dtype(config.get("dtype", "float32")))


def _parse(data, name, classes):
    def refuse(why):
        return ValueError(f"{name!r}: expected a model file of fastnn, got {why}")

    try:
        tensors, metadata = safetensors.parse(data)
    except (ValueError, RecursionError) as error:
        raise refuse(f"no safetensors file ({error})") from None
    if metadata.get("format") == CHECKPOINT:
        tensors = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    elif metadata.get("format") != "fastnn":
        raise refuse("a safetensors file of another program")
    version = metadata.get("version", "")
    if version not in map(str, range(1, FORMAT_VERSION + 1)):
        raise refuse(f"format version {version!r:.40}, while this fastnn reads up to {FORMAT_VERSION}")
    try:
        return _restored(metadata, tensors, classes)
    except ValueError as error:
        raise refuse(str(error)) from None


def _restored(described, tensors, classes):
    """The model that `describe` has described, with its numbers; ValueError where they do not fit."""
    import json

    try:
        config = json.loads(described["architecture"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"no readable architecture ({error})") from None
    try:
        model = _built(config, {k: v.shape for k, v in tensors.items()}, classes)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"an architecture that does not fit together: {error}") from None
    for key, value in tensors.items():
        if value.dtype != model.dtype:
            raise ValueError(f"dtype {value.dtype} for {key!r} of a model of {model.dtype}")
    try:
        model.load_state_dict(tensors)
    except ValueError as error:
        raise ValueError(f"tensors that do not fit the architecture: {error}") from None
    if "head" in described:
        try:
            check_head(described["head"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"outputs of a kind that is not known: {error}") from None
        model.head = described["head"]
    try:
        model.metadata = _more(described)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"metadata that cannot be read ({error})") from None
    return model


def pack(models):
    """(tensors, text): what a file of several models holds, each tensor by the number of its model and its name; `unpack` reads it."""
    import json

    tensors = {f"{i}:{name}": p.data for i, m in enumerate(models) for name, p in (*m.named_parameters(), *m.named_buffers())}
    return tensors, json.dumps([describe(m) for m in models])


def unpack(text, tensors, layers=()):
    """The models of what `pack` gave; ValueError where it does not fit together. layers: as for `load`."""
    import json

    members, classes = json.loads(text), _known(layers)
    if not isinstance(members, list) or not all(isinstance(m, dict) for m in members):
        raise ValueError("no list of members")
    parts = [{} for _ in members]
    for key, value in tensors.items():
        number, _, name = key.partition(":")
        if number not in map(str, range(len(members))):
            raise ValueError(f"a tensor {key!r:.40} of no member")
        parts[int(number)][name] = value
    models = []
    for i, (described, mine) in enumerate(zip(members, parts)):
        try:
            models.append(_restored(described, mine, classes))
        except ValueError as error:
            raise ValueError(f"member {i}: {error}") from None
    return models


def _more(metadata):
    """What `Sequential.metadata` was, of a file's metadata."""
    import json

    found = json.loads(metadata.get("metadata", "{}"))
    if not isinstance(found, dict):
        raise ValueError(f"expected a dict, got {type(found).__name__}")
    return found


def _check_sizes(entry, shapes, classes, path=""):
    """Before any layer allocates: the tensors that the architecture's layers need are in the file, of their sizes."""
    for _, at, inner in _inside(entry, "architecture", classes, path):
        kind = _kind(inner, "architecture", classes, at)
        if kind is LAYERS.get(kind.__name__):
            for name, expected in kind.tensor_shapes(inner).items():
                if shapes.get(f"{at}.{name}") != expected:
                    raise ValueError(f"layer {at} has {name} {expected}, but tensor {shapes.get(f'{at}.{name}')}")
        _check_sizes(inner, shapes, classes, at)
