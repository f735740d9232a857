"""What networks of more than dense layers are made of, the same for every library. It imports NumPy only.

A layer is a tuple: ("conv", filters, kernel, padding, activation), ("pool", "max" or "average") of 2 x 2 pixels,
("dense", outputs, activation), or ("embed", numbers, cardinalities, width): of each row some numbers as they are, then for each code a
row of its table. Activations are "relu", "tanh" or "". Images are [height, width, channels], weights of convolutions [height, width, in,
out], and a dense layer reads an image in that order.
"""

import math

import numpy as np

C32, C64, POOL = ("conv", 32, 3, 1, "relu"), ("conv", 64, 3, 1, "relu"), ("pool", "max")
NETS = {
    "conv30-100": ((28, 28, 1), (("conv", 30, 5, 0, "relu"), POOL, ("dense", 100, "relu"), ("dense", 10, ""))),
    "LeNet-5": ((32, 32, 1), (("conv", 6, 5, 0, "tanh"), ("pool", "average"), ("conv", 16, 5, 0, "tanh"), ("pool", "average"),
                              ("dense", 120, "tanh"), ("dense", 84, "tanh"), ("dense", 10, ""))),
    "conv32-conv64-128": ((28, 28, 1), (("conv", 32, 3, 0, "relu"), ("conv", 64, 3, 0, "relu"), POOL, ("dense", 128, "relu"),
                                        ("dense", 10, ""))),
    "2xconv32-2xconv64-128": ((32, 32, 3), (C32, C32, POOL, C64, C64, POOL, ("dense", 128, "relu"), ("dense", 10, ""))),
    "embeddings-128-128": ((14,), (("embed", 6, (9, 16, 7, 15, 6, 5, 2, 42), 8), ("dense", 128, "relu"), ("dense", 128, "relu"),
                                   ("dense", 2, ""))),
}  # fmt: skip


def walk(shape, layers):
    """For each layer (layer, the shape that comes in, the shape that goes out, the shapes of its parameters)."""
    for layer in layers:
        kind, parameters = layer[0], ()
        if kind == "conv":
            _, filters, kernel, padding, _ = layer
            out = (shape[0] + 2 * padding - kernel + 1, shape[1] + 2 * padding - kernel + 1, filters)
            parameters = ((kernel, kernel, shape[2], filters), (filters,))
        elif kind == "pool":
            out = (shape[0] // 2, shape[1] // 2, shape[2])
        elif kind == "embed":
            _, numbers, cardinalities, width = layer
            out, parameters = (numbers + len(cardinalities) * width,), tuple((n, width) for n in cardinalities)
        else:
            out, parameters = (layer[1],), ((math.prod(shape), layer[1]), (layer[1],))
        yield layer, shape, out, parameters
        shape = out


def flops(batch, shape, layers, training):
    """Of the products alone: y, dW, and dX of all layers but the lowest that has parameters."""
    total, lowest = 0, True
    for layer, _, out, parameters in walk(shape, layers):
        if layer[0] in ("conv", "dense"):
            times = 1 if not training else 2 if lowest else 3
            total += times * 2 * batch * math.prod(out) * math.prod(parameters[0][:-1])
        lowest = lowest and not parameters
    return total


def weights(shape, layers):
    """The parameters of each layer, float32: He-normal weights, biases of 0, standard normal tables."""
    rng, found = np.random.default_rng(1), []
    for layer, _, _, shapes in walk(shape, layers):
        if layer[0] == "embed":
            found.append(tuple(rng.standard_normal(s, np.float32) for s in shapes))
        elif shapes:
            w, b = shapes
            scale = np.float32(np.sqrt(2 / math.prod(w[:-1])))
            found.append((rng.standard_normal(w, np.float32) * scale, np.zeros(b, np.float32)))
        else:
            found.append(())
    return found


def inputs(rng, batch, shape, layers):
    """Rows for it, float32: standard normal, and codes behind the numbers."""
    x = rng.standard_normal((batch, *shape), np.float32)
    if layers[0][0] == "embed":
        _, numbers, cardinalities, _ = layers[0]
        for i, n in enumerate(cardinalities):
            x[:, numbers + i] = rng.integers(0, n, batch)
    return x
