"""Losses, outputs and targets that several files of tests go through."""

import numpy as np

import fastnn
from fastnn import losses, nn, reference

BACKENDS = ["native", "reference"]
F32 = np.float32

# Each loss, what makes its targets for (generator, rows, outputs), and the reference function with its settings.
LOSSES = {
    "mse": (losses.MeanSquaredError(), "real", reference.mean_squared_error, {}),
    "mse sum": (losses.MeanSquaredError("sum"), "real", reference.mean_squared_error, {"reduction": "sum"}),
    "mae": (losses.MeanAbsoluteError(), "real", reference.mean_absolute_error, {}),
    "huber": (losses.Huber(0.5), "real", reference.huber, {"delta": 0.5}),
    "poisson": (losses.Poisson(full=True), "counts", reference.poisson, {"full": True}),
    "cross entropy": (losses.SoftmaxCrossEntropy(0.2), "labels", reference.softmax_cross_entropy, {"label_smoothing": 0.2}),
    "cross entropy sum": (losses.SoftmaxCrossEntropy(reduction="sum"), "labels", reference.softmax_cross_entropy, {"reduction": "sum"}),
    "probabilities": (losses.SoftmaxCrossEntropy(), "probabilities", reference.softmax_cross_entropy, {}),
    "binary": (losses.BinaryCrossEntropy(), "answers", reference.binary_cross_entropy, {}),
    "quantile": (losses.Quantile(0.3), "real", reference.quantile, {"quantile": 0.3}),
    "hinge": (losses.BinaryHinge(0.5), "answers", reference.binary_hinge, {"margin": 0.5}),
    "hinge squared": (losses.BinaryHinge(squared=True), "answers", reference.binary_hinge, {"squared": True}),
    "multiclass hinge": (losses.MulticlassHinge(), "labels", reference.multiclass_hinge, {}),
    "multiclass hinge squared": (losses.MulticlassHinge(2.0, True), "labels", reference.multiclass_hinge, {"margin": 2.0, "squared": True}),
}


def targets_of(what, rng, rows, outputs):
    return {
        "real": lambda: rng.normal(size=(rows, outputs)),
        "counts": lambda: rng.poisson(2, (rows, outputs)),
        "labels": lambda: rng.integers(0, outputs, rows),
        "probabilities": lambda: rng.dirichlet(np.ones(outputs), rows),
        "answers": lambda: rng.integers(0, 2, (rows, outputs)),
    }[what]()


def identity(outputs):
    """A model whose outputs are its inputs, so that the loss is seen alone."""
    model = nn.Sequential(nn.Dense(outputs, outputs, init="zeros"))
    model.layers[0].weight.data[...] = np.eye(outputs)
    return model


def small(inputs=4, outputs=3, activation="tanh"):
    fastnn.manual_seed(2)
    return nn.Sequential(nn.Dense(inputs, 6, activation=activation), nn.Dense(6, outputs))


def bits(model):
    return [p.data.tobytes() for p in model.parameters()]


INF, NAN = np.inf, np.nan


def squares(outputs, targets, weights=None):
    d = outputs - targets
    w = np.ones((len(d), 1), F32) if weights is None else weights[:, None]
    return float((w * d * d).mean()), 2 * w * d / d.size
