"""Model files: safetensors, with the architecture and the format's version in the metadata."""

import os

import numpy as np

from ..files import replacing
from .activation import Activation, LogSoftmax, PReLU, Softmax
from .dense import Dense
from .inputs import Flatten, Rescaling
from .model import Sequential

FORMAT_VERSION = 1  # of model files; older ones stay readable, newer ones are refused


def write(model, path):
    """What `Sequential.save` does."""
    import json

    from safetensors.numpy import save

    metadata = {"format": "fastnn", "version": str(FORMAT_VERSION), "architecture": json.dumps(model.config())}
    if model.head == "sigmoid" and model.out_features > 1:  # else the outputs tell
        metadata["head"] = model.head
    data = save(model.state_dict(), metadata)
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True).encode()  # safetensors writes any order
    header += b" " * (-len(header) % 8)
    with replacing(os.fsdecode(path)) as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        file.write(memoryview(data)[8 + length :])


_LAYERS = {c.__name__: c for c in (Dense, Activation, Flatten, LogSoftmax, PReLU, Rescaling, Softmax)}


def layers_from(config, source):
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
        model = Sequential(*layers_from(config, "architecture"))
    except (TypeError, ValueError, RecursionError) as error:
        raise refuse(f"an architecture that does not fit together: {error}") from None
    for key, value in tensors.items():
        if value.dtype != np.float32:
            raise refuse(f"dtype {value.dtype} for {key!r}")
    try:
        model.load_state_dict(tensors)
    except ValueError as error:
        raise refuse(f"tensors that do not fit the architecture: {error}") from None
    if metadata.get("head") == "sigmoid":
        model.head = "sigmoid"
    return model


def _check_sizes(config, shapes, refuse):
    """Before any layer allocates: every Dense layer of the architecture has its weights, of its size, in the file."""
    layers = config.get("layers") if isinstance(config, dict) else None
    for i, entry in enumerate(layers if isinstance(layers, list) else []):
        if isinstance(entry, dict) and entry.get("class") == "Dense":
            expected = (entry.get("in_features"), entry.get("out_features"))
            if shapes.get(f"{i}.weight") != expected:
                raise refuse(f"an architecture whose layer {i} has weights {expected}, but tensor {shapes.get(f'{i}.weight')}")
