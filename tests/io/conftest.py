"""Random models of all layers and activations, for every format to write."""

import itertools

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.core.activations import ACTIVATIONS
from fastnn.io.graph import sample_rows, trace

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

    def waves(self, features):
        return [nn.PBLD(features, 3, int(self.random.integers(2, 5)), embedded=int(self.random.integers(1, features + 1)))]

    def partly(self, features):
        name = next(n for n in self.names if n in ACTIVATIONS)
        return [nn.ParametricActivation(features, name)]

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
        height, width, channels = (int(n) for n in (*self.random.integers(5, 9, 2), self.random.integers(1, 5)))
        if self.random.integers(2):
            found = [nn.Input(channels, height, width, data_format="channels_first")]
        else:
            found = [nn.Input(height, width, channels)]
        found.append(nn.Rescaling(self.random.uniform(0.5, 2, channels), 0.5))
        shape = (height, width, channels)
        for kind in self.random.permutation(["conv", "pool", "norm", "around", "active", "up", "groups"])[:4]:
            found += getattr(self, f"image_{kind}")(shape)
            shape = found[-1].output_shape(shape)
        end = self.random.choice(4)
        found.append((nn.Flatten(), nn.Reshape(shape[0] * shape[1] * shape[2]), nn.GlobalAvgPool2d(), nn.GlobalMaxPool2d())[end])
        return found, shape[2] if end > 1 else shape[0] * shape[1] * shape[2]

    def image_conv(self, shape):
        groups = shape[2] if self.random.integers(3) == 0 else 1
        settings = [
            {},
            {"padding": 1},
            {"padding": "same", "stride": 2},
            {"dilation": 2},
            {"padding": (1, 0, 2, 1), "stride": (2, 1)},
        ]
        how = {"kernel_size": 2, "bias": bool(self.random.integers(3)), **self.random.choice(settings)}
        name = self.activation()
        name = "prelu" if name in ("softmax", "log_softmax") else name
        return [nn.Conv2d(shape[2], groups * int(self.random.integers(1, 6)), groups=groups, activation=name, **how)]

    def image_up(self, shape):
        groups = shape[2] if self.random.integers(3) == 0 else 1
        settings = [
            {},
            {"stride": 2, "padding": 1, "output_padding": (1, 0)},
            {"padding": "same", "stride": 2},
            {"dilation": 2, "padding": (0, 1, 1, 0)},
        ]
        how = {"bias": bool(self.random.integers(3)), **self.random.choice(settings)}
        return [nn.ConvTranspose2d(shape[2], groups * int(self.random.integers(1, 4)), (2, 3), groups=groups, activation="relu", **how)]

    def image_pool(self, shape):
        settings = [{}, {"stride": 1}, {"padding": 1}, {"padding": "same"}, {"ceil_mode": True}]
        kind = (nn.MaxPool2d, nn.AvgPool2d, nn.StochasticPool2d)[self.random.integers(3)]
        more = {"count_include_pad": False} if kind is nn.AvgPool2d and self.random.integers(2) else {}
        more = {"dilation": (1, 2)} if kind is nn.MaxPool2d and shape[1] > 3 and self.random.integers(2) else more
        return [kind(2, **self.random.choice(settings), **more)]

    def image_norm(self, shape):
        return [nn.BatchNorm(shape[2])]

    def image_groups(self, shape):
        groups = shape[2] if self.random.integers(2) else 1
        return [nn.GroupNorm(groups, shape[2], affine=bool(self.random.integers(3))), nn.PReLU(shape[2])]

    def image_active(self, shape):
        return [nn.Activation(str(self.random.choice(["relu", "gelu", "tanh"])))]

    def image_around(self, shape):
        return [nn.Residual(nn.Conv2d(shape[2], shape[2], 3, padding=1, activation="silu"), nn.BatchNorm(shape[2]))]

    def codes(self):
        """Layers that begin with tables, and the features behind them."""
        unknown = bool(self.random.integers(2))
        if self.random.integers(2):
            n, dim = (int(v) for v in self.random.integers(1, 5, 2))
            return [nn.Input(n), nn.Embedding(9, dim, unknown=unknown), nn.Flatten()], n * dim
        return [nn.TabularEmbedding(int(self.random.integers(3)), (4, 7), dim=(2, 3), unknown=unknown)], None


_KINDS = ("plain", "tied", "maxout", "batchnorm", "layernorm", "rmsnorm", "prelu", "alone", "noise", "rows", "residual", "nested", "waves",
          "partly")  # fmt: skip


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
        drawn.image,
        drawn.codes if hasattr(nn, "Embedding") else drawn.image,
        drawn.image,
    ][seed % 7]
    if callable(start):
        start, features = start()
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
    return sample_rows(trace(model, "a test"), rows)


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
