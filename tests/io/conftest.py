"""Random models of all layers and activations, for every format to write."""

import itertools

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.core.activations import ACTIVATIONS

COUNT = 40
_NAMES = (*ACTIVATIONS, "softmax", "log_softmax", "prelu")


class _Random:
    """Draws layers for a chain whose last one gave `features`."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.names = itertools.islice(itertools.cycle(_NAMES), 3 * seed, None)  # all of them over the models
        self.dense = None

    def size(self):
        return int(self.random.integers(1, 24))

    def activation(self, alpha=True):
        name = next(self.names)
        settings = {"leaky_relu": 0.3, "elu": 0.7, "softplus": 2.5}
        return nn.Activation(name, settings[name]) if name in settings else name

    def layers(self, features, kinds):
        found = []
        for kind in kinds:
            made = getattr(self, kind)(features)
            found += made
            features = next((n for n in map(self.out, reversed(made)) if n), features)
        return found, features

    def out(self, layer):
        return getattr(layer, "out_features", None) or layer.in_features

    def plain(self, features):
        self.dense = nn.Dense(features, self.size(), self.activation(), bias=bool(self.random.integers(4)))
        return [self.dense]

    def tied(self, features):
        first = nn.Dense(features, self.size(), "tanh")
        activation = self.activation()
        return [first, nn.Tied(first, activation=None if activation == "prelu" else activation, bias=bool(self.random.integers(3)))]

    def maxout(self, features):
        return [nn.Maxout(features, self.size(), int(self.random.integers(1, 4)), bias=bool(self.random.integers(3)))]

    def batchnorm(self, features):
        return [nn.BatchNorm(features, eps=1e-3, affine=bool(self.random.integers(3)))]

    def layernorm(self, features):
        return [nn.LayerNorm(features, affine=bool(self.random.integers(3)))] if features > 2 else []

    def rmsnorm(self, features):
        return [nn.RMSNorm(features, affine=bool(self.random.integers(3)))]

    def prelu(self, features):
        return [nn.PReLU(features if self.random.integers(2) else 1)]

    def alone(self, features):
        activation = self.activation()
        return (
            [nn.PReLU()]
            if activation == "prelu"
            else [activation if isinstance(activation, nn.Activation) else nn.Activation(activation)]
        )

    def noise(self, features):
        return [nn.Dropout(0.2), nn.GaussianNoise(0.1), nn.DropConnect(nn.Dense(features, features, "relu"), 0.3)]

    def rows(self, features):
        return [nn.Softmax() if self.random.integers(2) else nn.LogSoftmax()]

    def residual(self, features):
        inner, n = self.layers(features, self.random.permutation(["maxout", "layernorm", "plain"])[:2])
        return [nn.Residual(*inner, nn.Dense(n, features))]

    def nested(self, features):
        return [nn.Sequential(*self.layers(features, ["plain", "batchnorm"])[0])]

    def image(self):
        """Layers from an image to a vector, and its features."""
        height, width, channels = (int(n) for n in self.random.integers(1, 5, 3))
        first = bool(self.random.integers(2))
        given = nn.Input(channels, height, width, data_format="channels_first") if first else nn.Input(height, width, channels)
        found = [given, nn.Rescaling(self.random.uniform(0.5, 2, channels), 0.5), nn.Residual(nn.Activation("tanh"))]
        last = nn.Reshape(height * width * channels) if self.random.integers(2) else nn.Flatten()
        return [*found, last], height * width * channels


_KINDS = ("plain", "tied", "maxout", "batchnorm", "layernorm", "rmsnorm", "prelu", "alone", "noise", "rows", "residual", "nested")


def random_model(seed):
    """A model whose parameters, running statistics included, are all drawn anew; it takes X of about -2 to 2."""
    fastnn.manual_seed(seed)
    drawn = _Random(seed)
    features = int(drawn.random.integers(2, 30))
    start = [
        [],
        [nn.Flatten()],
        [nn.Flatten(), nn.Rescaling(0.5, 0.25)],
        [nn.Rescaling(drawn.random.uniform(0.5, 2, features), 1.0)],
        None,
    ][seed % 5]
    if start is None:
        start, features = drawn.image()
    kinds = ["plain", *drawn.random.choice(_KINDS, size=4)]
    kinds.insert(int(drawn.random.integers(1, 4)), _KINDS[seed % len(_KINDS)])  # each kind several times
    layers, n = drawn.layers(features, kinds)
    model = nn.Sequential(*start, *layers, nn.Dense(n, int(drawn.random.integers(1, 11))))
    for name, p in (*model.named_parameters(), *model.named_buffers()):
        if name.endswith("running_var"):
            p.data = drawn.random.uniform(0.5, 2, p.shape)
        elif not name.endswith("weight") or p.data.ndim < 2:
            p.data = p.data + drawn.random.normal(0, 0.3, p.shape)
    return model


def random_rows(model, rows=7):
    """Data for a model."""
    shape = model[0].shape if isinstance(model[0], nn.Input) else (model.in_features,)
    return np.random.default_rng(1).uniform(-2, 2, (rows, *shape)).astype(np.float32)


@pytest.fixture(scope="session")
def models():
    """40 models, with 7 rows of data for each."""
    found = [random_model(seed) for seed in range(COUNT)]
    return [(m, random_rows(m)) for m in found]


@pytest.fixture(scope="session")
def digits():
    """A network that has learned the packaged digits, and they."""
    from fastnn import data, losses, optim

    fastnn.manual_seed(0)
    X, y = data.load_digits()
    model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 100, activation="relu"), nn.Dense(100, 10))
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=2e-3))
    trainer.fit(X, y, epochs=5, batch_size=32, verbose=0)
    return model, X, y
