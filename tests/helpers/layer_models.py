"""A model of every kind of layer, for tests that go through all of them."""

import numpy as np

import fastnn
from fastnn import losses, nn, optim
from fastnn.plan import Builder

ROWS, INPUTS, CLASSES = 37, 12, 5


def tied_autoencoder():
    encoder = nn.Dense(12, 9, activation="tanh")
    return nn.Sequential(encoder, nn.Tied(encoder, activation="sigmoid"), nn.Dense(12, 5))


def tied_often():
    dense = nn.Dense(12, 12, activation="tanh")
    rest = nn.Tied(dense, transpose=False, bias=False), nn.Residual(nn.Tied(dense)), nn.Dense(12, 5)
    return nn.Sequential(dense, nn.Tied(dense, activation="sigmoid"), *rest)


def frozen(*layers):
    """A model with its batch normalisations frozen, whose running statistics are like none."""
    model = nn.Sequential(*layers)
    for _, layer in model.walk():
        if isinstance(layer, nn.BatchNorm):
            model.freeze(layer)
            layer.running_mean.data = np.linspace(-1, 1, layer.features)
            layer.running_var.data = np.linspace(0.5, 3, layer.features)
    return model


MODELS = {
    "batchnorm before": lambda: nn.Sequential(nn.Dense(12, 17, bias=False), nn.BatchNorm(17), nn.Activation("tanh"), nn.Dense(17, 5)),
    "batchnorm behind": lambda: nn.Sequential(
        nn.BatchNorm(12), nn.Dense(12, 17, activation="sigmoid"), nn.BatchNorm(17, affine=False), nn.Dense(17, 5)
    ),
    "rows": lambda: nn.Sequential(
        nn.Dense(12, 17), nn.LayerNorm(17), nn.Activation("tanh"), nn.Dense(17, 9), nn.RMSNorm(9), nn.Dense(9, 5)
    ),
    "rows, no weights": lambda: nn.Sequential(
        nn.LayerNorm(12, affine=False), nn.Dense(12, 17), nn.LayerNorm(17, affine=False), nn.Dense(17, 5), nn.RMSNorm(5, affine=False)
    ),
    "dropout": lambda: nn.Sequential(nn.Dropout(0.3), nn.Dense(12, 20, activation="tanh"), nn.Dropout(0.5), nn.Dense(20, 5)),
    "noise": lambda: nn.Sequential(nn.GaussianNoise(0.3), nn.Dense(12, 20, activation="tanh"), nn.GaussianNoise(0.5), nn.Dense(20, 5)),
    "dropconnect": lambda: nn.Sequential(nn.DropConnect(nn.Dense(12, 20, activation="tanh"), 0.3), nn.DropConnect(nn.Dense(20, 5))),
    "maxout": lambda: nn.Sequential(nn.Maxout(12, 20, 3), nn.Maxout(20, 5, 2)),
    "residual": lambda: nn.Sequential(
        nn.Dense(12, 16),
        nn.Residual(nn.Activation("tanh"), nn.Dense(16, 16)),
        nn.Residual(nn.LayerNorm(16), nn.Dense(16, 8, activation="sigmoid"), nn.Dense(8, 16)),
        nn.Sequential(nn.Residual(nn.Residual(nn.Dense(16, 16, activation="tanh")), nn.Dropout(0.2)), nn.Activation("tanh")),
        nn.Dense(16, 5),
    ),
    "residual first": lambda: nn.Sequential(
        nn.Residual(nn.Dense(12, 12)), nn.Residual(nn.GaussianNoise(0.1)), nn.Residual(nn.Dropout(0.1)),
        nn.Dense(12, 16, activation="tanh"), nn.Residual(nn.BatchNorm(16), nn.Dense(16, 16, activation="tanh")), nn.Dense(16, 5),
    ),
    "activations of all kinds": lambda: nn.Sequential(
        nn.Dense(12, 16, activation="gelu"),
        nn.Residual(nn.LayerNorm(16), nn.Activation("gelu"), nn.Dense(16, 16, activation="silu"), nn.Dropout(0.1)),
        nn.Residual(nn.PReLU(16), nn.BatchNorm(16), nn.Activation("softplus")),
        nn.Residual(nn.Softmax()), nn.RMSNorm(16), nn.Activation("elu"),
        nn.Residual(nn.DropConnect(nn.Dense(16, 16, activation="prelu"), 0.2)), nn.LogSoftmax(), nn.Dense(16, 5, activation="selu"),
    ),
    "numbers embedded": lambda: nn.Sequential(
        nn.PBLD(12, 5, 3, embedded=7), nn.Scale(None), nn.Dense(26, 8), nn.ParametricActivation(8, "selu"), nn.PBLD(8, 17, 6),
        nn.Dense(48, 9), nn.Residual(nn.ParametricActivation(9, "mish"), nn.ParametricActivation(9, "leaky_relu", 0.3)), nn.Dense(9, 5),
    ),
    "batchnorm frozen": lambda: frozen(
        nn.Dense(12, 17), nn.BatchNorm(17), nn.Activation("tanh"), nn.Residual(nn.BatchNorm(17, affine=False), nn.Activation("relu")),
        nn.Dense(17, 5),
    ),
    "stochastic depth": lambda: nn.Sequential(
        nn.Dense(12, 16), nn.Residual(nn.Dense(16, 16, activation="tanh"), stochastic_depth=0.4),
        nn.Residual(nn.LayerNorm(16), nn.Residual(nn.Dense(16, 16), stochastic_depth=0.2), stochastic_depth=0.5), nn.Dense(16, 5),
    ),
    "rescaling by column": lambda: nn.Sequential(
        nn.Rescaling(0.5), nn.Rescaling(np.arange(1.0, 13), np.arange(12)), nn.Rescaling(0.25, 0.5), nn.Dense(12, 5, activation="tanh"),
    ),
    "tied": tied_autoencoder,
    "tied often": tied_often,
}  # fmt: skip


def made(name, seed=0):
    """A model with weights and biases that are all drawn, and a batch for it."""
    fastnn.manual_seed(seed)
    model, r = MODELS[name](), np.random.default_rng(seed)
    for p in model.parameters():
        p.data = p.data + r.normal(0, 0.3, p.shape)
    return model, r.standard_normal((ROWS, INPUTS)).astype(np.float32), r.integers(0, CLASSES, ROWS)


def gradient_plan(model, fused=True, schedule="rows", batch=ROWS + 3):
    builder = Builder(batch, fused, training=True)
    builder.train(model.parameters())
    outputs = model.emit(builder, builder.input(model.in_shape))
    losses.SoftmaxCrossEntropy().emit(builder, outputs, "labels")
    builder.differentiate()
    return builder.build(schedule)


def step(executor, x, y):
    """(loss, gradients by parameter) of a step with fixed random numbers."""
    executor.set_random(7, 3)
    loss = np.zeros(1)
    executor.run(x, y, np.arange(len(x)), losses=loss)
    return loss[0], {p.name: executor.array(g.name).copy() for p, g in executor.plan.gradients}


def threads(n):
    fastnn.set_num_threads(n)
    fastnn._native.team_work(0 if n > 1 else 1e18)


def training(name="residual first", backend="native", **options):
    model, x, y = made(name)
    return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01), backend=backend, **options), x, y


def state(trainer):
    return {k: v.tobytes() for k, v in trainer.model.state_dict().items()}
