"""Models for the tests of fastnn.nn."""

import numpy as np

from fastnn import nn

RNG = np.random.default_rng(0)


def mlp():
    return nn.Sequential(
        nn.Flatten(),
        nn.Rescaling(0.5, -1.0),
        nn.Dense(12, 9, activation=nn.Activation("leaky_relu", alpha=0.25)),
        nn.Activation("tanh"),
        nn.Dense(9, 7, activation="sigmoid", bias=False),
        nn.Activation("leaky_relu", alpha=0.5),
        nn.Dense(7, 3),
    )


def bits(model):
    return [p.data.tobytes() for p in model.parameters()]
