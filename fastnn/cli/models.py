"""The network that options say: --hidden and its kin, or --arch, layers in words."""

import math

from .errors import UsageError, check_memory

ARCH_HELP = (
    "layers in words, separated by commas, in place of the options above: '64 relu' (dense), 'conv 16 3 relu' (channels, kernel), "
    "'maxpool 2', 'avgpool 2', 'flatten', 'batchnorm', 'dropout 0.2'; the output layer is added; or a network for images by its name: "
    "conv (a convolution of 30 filters, pooling, 100 units), lenet5"
)
_READY_MADE = {"conv": "simple_convnet", "lenet5": "lenet5"}  # names of --arch and in nn


def make_model(args, shape, outputs, front):
    """(model, its layers in words) for samples of a shape; front: layers before all others."""
    from .. import nn

    if args.arch is not None:
        return _from_words(args.arch, shape, outputs, front, args.dtype)
    features = math.prod(shape)
    sizes = [features, *args.hidden, outputs]
    count = sum(n * m + m for n, m in zip(sizes, sizes[1:]))
    check_memory(40 * count, f"argument --hidden: expected a model that fits in memory, got one of {count:,} parameters")
    activation = args.activation or "relu"
    layers = nn.mlp(sizes, activation, batchnorm=args.batchnorm, dropout=args.dropout, dtype=args.dtype).layers
    unit = f"{'batchnorm ' if args.batchnorm else ''}{activation}{f' dropout {args.dropout:g}' if args.dropout else ''}"
    hidden = "".join(f" -> {n} {unit}" for n in args.hidden)
    return nn.Sequential(nn.Flatten(), *front, *layers, dtype=args.dtype), f"{features}{hidden} -> {outputs}"


def _from_words(text, shape, outputs, front, dtype):
    from .. import nn

    parts = [" ".join(part.split()) for part in text.split(",")]
    image = next((part for part in parts if part.startswith(("conv", "maxpool", "avgpool", *_READY_MADE))), None)
    if image and len(shape) not in (2, 3):
        raise UsageError(f"argument --arch: expected images for {image!r}, got samples of {' x '.join(map(str, shape))} values")
    at = (*shape, 1) if len(shape) == 2 else tuple(shape)  # the shape of what comes to the next layer
    layers = [nn.Input(*at)] if image else [nn.Flatten()]
    at = at if image else (math.prod(shape),)
    layers += front
    try:
        if len(parts) == 1 and parts[0] in _READY_MADE:
            layers += getattr(nn, _READY_MADE[parts[0]])(at, outputs).layers[1:]
        else:
            for part in [*parts, str(outputs)]:
                for layer in _layers(nn, part, at):
                    at = tuple(layer.output_shape(at))
                    layers.append(layer)
        model = nn.Sequential(*layers, dtype=dtype)
    except (TypeError, ValueError, MemoryError) as error:
        raise UsageError(f"argument --arch: {error}") from None
    return model, f"{' x '.join(map(str, shape))} -> {' -> '.join(parts)} -> {outputs}"


def _layers(nn, part, at):
    """The layers of one part, for samples of a shape."""
    name, *words = part.split() or [""]
    if name.isascii() and name.isdigit():
        if len(words) > 1 or not 1 <= int(name) < 2**31:
            raise ValueError(f"expected a size and an activation, such as '64 relu', got {part!r}")
        features = math.prod(at)
        check_memory(40 * features * int(name), f"argument --arch: expected a model that fits in memory, got {part!r} for {features:,} values")
        return [*[nn.Flatten()] * (len(at) > 1), nn.Dense(features, int(name), activation=words[0] if words else "identity")]
    numbers = {"conv": 2, "maxpool": 1, "avgpool": 1, "dropout": 1, "batchnorm": 0, "flatten": 0}
    if name not in numbers:
        raise ValueError(f"expected a size, or one of {', '.join(numbers)}, got {part!r}")
    count = numbers[name]
    try:
        values = [float(w) if name == "dropout" else int(w) for w in words[:count]]
    except ValueError:
        values = []
    if len(values) != count or len(words) > count + (name == "conv"):
        wanted = f"{count or 'no'} number{'s' * (count != 1)}"
        raise ValueError(f"expected {wanted} after {name!r}{' and an activation' * (name == 'conv')}, got {part!r}")
    if len(at) != 3 and name in ("conv", "maxpool", "avgpool"):
        raise ValueError(f"expected {name!r} where there are images, got it behind layers that make them flat")
    if name == "conv":
        return [nn.Conv2d(at[-1], *values, padding="same", activation=words[2] if len(words) > 2 else "identity")]
    if name == "batchnorm":
        return [nn.BatchNorm(at[-1])]
    return [{"maxpool": nn.MaxPool2d, "avgpool": nn.AvgPool2d, "dropout": nn.Dropout, "flatten": nn.Flatten}[name](*values)]
