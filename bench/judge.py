"""What the networks of `bench.nets` compute, in float64 NumPy: what the libraries' losses and outputs are held against."""

import numpy as np

from .peers.numpy import BETA1, BETA2, EPS
from .works import LEARNING_RATE


def _windows(x, kernel, padding):
    """[pixels out of all images, kernel x kernel x channels], in the order of the weights."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    seen = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (1, 2)).transpose(0, 1, 2, 4, 5, 3)
    return seen.reshape(-1, kernel * kernel * x.shape[-1]), seen.shape[:3]


def _quarters(x):
    """The four pixels of each window of a pooling: views."""
    return [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]


def forward(layers, params, x):
    """The outputs, and for each layer what its gradient needs."""
    kept = []
    for layer, p in zip(layers, params):
        kind, seen = layer[0], x
        if kind == "conv":
            seen, shape = _windows(x, layer[2], layer[3])
            y = (seen @ p[0].reshape(-1, layer[1]) + p[1]).reshape(*shape, layer[1])
        elif kind == "pool":
            parts = np.array(_quarters(x))
            y = parts.max(axis=0) if layer[1] == "max" else parts.mean(axis=0)
        elif kind == "embed":
            numbers = layer[1]
            y = np.hstack([x[:, :numbers], *(table[x[:, numbers + i].astype(int)] for i, table in enumerate(p))])
        else:
            seen = x.reshape(len(x), -1)
            y = seen @ p[0] + p[1]
        if layer[-1] == "relu":
            y = np.maximum(y, 0)
        elif layer[-1] == "tanh":
            y = np.tanh(y)
        kept.append((x.shape, seen, y))
        x = y
    return x, kept


def backward(layers, params, kept, dy):
    """The gradients of the parameters."""
    gradients = []
    for place in reversed(range(len(layers))):
        layer, p, (shape, seen, y) = layers[place], params[place], kept[place]
        kind, dy = layer[0], dy.reshape(y.shape)
        if layer[-1] == "relu":
            dy = dy * (y > 0)
        elif layer[-1] == "tanh":
            dy = dy * (1 - y * y)
        if kind == "conv":
            _, filters, kernel, padding, _ = layer
            flat = dy.reshape(-1, filters)
            gradients.append(((seen.T @ flat).reshape(p[0].shape), flat.sum(axis=0)))
            if place:
                dx = np.zeros((shape[0], shape[1] + 2 * padding, shape[2] + 2 * padding, shape[3]))
                for i in range(kernel):
                    for j in range(kernel):
                        dx[:, i : i + y.shape[1], j : j + y.shape[2]] += dy @ p[0][i, j].T
                dy = dx[:, padding : padding + shape[1], padding : padding + shape[2]]
        elif kind == "pool":
            dx = np.zeros(shape)
            first = np.argmax(np.array(_quarters(seen)), axis=0) if layer[1] == "max" else None
            for i, to in enumerate(_quarters(dx)):
                to[...] = dy / 4 if first is None else dy * (first == i)
            dy = dx
            gradients.append(())
        elif kind == "embed":
            numbers, width, tables = layer[1], layer[3], []
            for i, table in enumerate(p):
                d = np.zeros_like(table)
                np.add.at(d, seen[:, numbers + i].astype(int), dy[:, numbers + i * width : numbers + (i + 1) * width])
                tables.append(d)
            gradients.append(tuple(tables))
        else:
            gradients.append((seen.T @ dy, dy.sum(axis=0)))
            dy = dy @ p[0].T
    return gradients[::-1]


def losses(work, weights, batch, steps):
    """The mean loss of each of so many steps of Adam, all on one batch."""
    x, labels = batch[0].astype(np.float64), batch[1]
    params = [tuple(a.astype(np.float64) for a in p) for p in weights]
    m, v = ([tuple(np.zeros_like(a) for a in p) for p in params] for _ in range(2))
    found, rows = [], np.arange(len(labels))
    for t in range(1, steps + 1):
        logits, kept = forward(work.layers, params, x)
        logits = logits - logits.max(axis=1, keepdims=True)
        e = np.exp(logits)
        sums = e.sum(axis=1, keepdims=True)
        found.append(float((np.log(sums[:, 0]) - logits[rows, labels]).mean()))
        dy = e / sums
        dy[rows, labels] -= 1
        for p, g, first, second in zip(params, backward(work.layers, params, kept, dy / len(dy)), m, v):
            for a, d, mean, square in zip(p, g, first, second):
                mean += (1 - BETA1) * (d - mean)
                square += (1 - BETA2) * (d * d - square)
                a -= LEARNING_RATE / (1 - BETA1**t) * mean / (np.sqrt(square / (1 - BETA2**t)) + EPS)
    return np.array(found)


def outputs(work, weights, batch):
    return forward(work.layers, [tuple(a.astype(np.float64) for a in p) for p in weights], batch[0].astype(np.float64))[0]
