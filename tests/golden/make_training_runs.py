"""Makes training_runs.npz: the losses of whole trainings by PyTorch, 200 steps each, in float32 and on one thread.

    python tests/golden/make_training_runs.py      # needs PyTorch; the file in the repository is from 2.13

Weights and batches are drawn here, by NumPy, so that every library starts from the same ones. tests/test_training_runs.py
imports CASES, compares fastnn with the file, and live with PyTorch where it is installed.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

FILE = Path(__file__).with_name("training_runs.npz")
STEPS, BATCH, BATCHES = 200, 40, 10


def draw(seed, *shapes):
    """Weights [in, out] of deviation 1 / sqrt(in), and small vectors."""
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=s) * (1 / np.sqrt(s[0]) if len(s) == 2 else 0.1)).astype(np.float32) for s in shapes]


def batches(seed, features, target):
    """[(x, y)]: y by the function `target` from the rows and a matrix that stays the same."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(features, 8))
    found = []
    for _ in range(BATCHES):
        x = rng.normal(size=(BATCH, features)).astype(np.float32)
        found.append((x, target(x, np.tanh(x @ hidden) + 0.3 * rng.normal(size=(BATCH, 8)))))
    return found


def linear(torch, w, b=None):
    layer = torch.nn.Linear(*w.shape, bias=b is not None)
    layer.weight.data = torch.from_numpy(w.T.copy())
    if b is not None:
        layer.bias.data = torch.from_numpy(b.copy())
    return layer


def norm(layer, torch, weight, bias):
    layer.weight.data, layer.bias.data = torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy())
    return layer


# ---- a batch-normalised tanh net ----

BN_SHAPES = [(20, 64), (64,), (64,), (64,), (64, 48), (48,), (48,), (48,), (48, 5), (5,)]


def bn_weights():
    found = draw(1, *BN_SHAPES)
    for i in (2, 6):
        found[i] += np.float32(1)  # scales
    return found


def bn_torch(torch, w):
    n = torch.nn
    model = n.Sequential(
        linear(torch, *w[0:2]), norm(n.BatchNorm1d(64), torch, *w[2:4]), n.Tanh(),
        linear(torch, *w[4:6]), norm(n.BatchNorm1d(48), torch, *w[6:8]), n.Tanh(), linear(torch, *w[8:10]),
    )  # fmt: skip
    return model, n.functional.cross_entropy, torch.optim.Adam(model.parameters(), lr=2e-3)


def bn_fastnn(f):
    n = f.nn
    model = n.Sequential(
        n.Dense(20, 64), n.BatchNorm(64), n.Activation("tanh"),
        n.Dense(64, 48), n.BatchNorm(48), n.Activation("tanh"), n.Dense(48, 5),
    )  # fmt: skip
    return model, f.losses.SoftmaxCrossEntropy(), f.optim.Adam(model.parameters(), lr=2e-3)


# ---- a residual GELU net with LayerNorm ----

RESIDUAL_SHAPES = [
    (20, 32), (32,),
    *[(32,), (32,), (32, 64), (64,), (64, 32), (32,)] * 2,
    (32,), (32,), (32, 5), (5,),
]  # fmt: skip
RESIDUAL_SCALES = (2, 8, 14)


def residual_weights():
    found = draw(2, *RESIDUAL_SHAPES)
    for i in RESIDUAL_SCALES:
        found[i] += np.float32(1)
    return found


def residual_torch(torch, w):
    n = torch.nn

    class Block(n.Module):
        def __init__(self, p):
            super().__init__()
            self.inner = n.Sequential(norm(n.LayerNorm(32), torch, *p[:2]), linear(torch, *p[2:4]), n.GELU(), linear(torch, *p[4:6]))

        def forward(self, x):
            return x + self.inner(x)

    model = n.Sequential(
        linear(torch, *w[0:2]), Block(w[2:8]), Block(w[8:14]), norm(n.LayerNorm(32), torch, *w[14:16]), linear(torch, *w[16:18])
    )
    return model, n.functional.cross_entropy, torch.optim.Adam(model.parameters(), lr=1e-3)


def residual_fastnn(f):
    n = f.nn

    def block():
        return n.Residual(n.LayerNorm(32), n.Dense(32, 64, activation="gelu"), n.Dense(64, 32))

    model = n.Sequential(n.Dense(20, 32), block(), block(), n.LayerNorm(32), n.Dense(32, 5))
    return model, f.losses.SoftmaxCrossEntropy(), f.optim.Adam(model.parameters(), lr=1e-3)


# ---- a tied autoencoder on the mean squared error ----


def tied_weights():
    return draw(3, (24, 9), (9,), (24,))


def tied_torch(torch, w):
    class Autoencoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.b, self.c = (torch.nn.Parameter(torch.from_numpy(p.copy())) for p in w)

        def forward(self, x):
            return torch.sigmoid(x @ self.w + self.b) @ self.w.T + self.c

    model = Autoencoder()
    return model, torch.nn.functional.mse_loss, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)


def tied_fastnn(f):
    encoder = f.nn.Dense(24, 9, activation="sigmoid")
    model = f.nn.Sequential(encoder, f.nn.Tied(encoder))
    return model, f.losses.MeanSquaredError(), f.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)


# ---- a maxout net with the multi-class hinge ----


def maxout_weights():
    return draw(4, (20, 3 * 16), (3 * 16,), (16, 2 * 12), (2 * 12,), (12, 6), (6,))


def maxout_torch(torch, w):
    class Maxout(torch.nn.Module):
        """The pieces stand side by side: piece k of unit j is column k * units + j."""

        def __init__(self, p, pieces):
            super().__init__()
            self.linear, self.pieces = linear(torch, *p), pieces

        def forward(self, x):
            z = self.linear(x)
            return z.reshape(len(x), self.pieces, -1).max(dim=1).values

    model = torch.nn.Sequential(Maxout(w[0:2], 3), Maxout(w[2:4], 2), linear(torch, *w[4:6]))

    def loss(z, y):
        return 6 * torch.nn.functional.multi_margin_loss(z, y)  # which divides by the classes

    return model, loss, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


def maxout_fastnn(f):
    n = f.nn
    model = n.Sequential(n.Maxout(20, 16, pieces=3), n.Maxout(16, 12, pieces=2), n.Dense(12, 6))
    return model, f.losses.MulticlassHinge(), f.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


# ---- a multi-label net on binary cross-entropy ----


def labels_weights():
    return draw(5, (20, 40), (40,), (40, 30), (30,), (30, 7), (7,))


def labels_torch(torch, w):
    n = torch.nn
    model = n.Sequential(linear(torch, *w[0:2]), n.ReLU(), linear(torch, *w[2:4]), n.ELU(), linear(torch, *w[4:6]))
    return model, n.functional.binary_cross_entropy_with_logits, torch.optim.Adam(model.parameters(), lr=2e-3)


def labels_fastnn(f):
    n = f.nn
    model = n.Sequential(n.Dense(20, 40, activation="relu"), n.Dense(40, 30, activation="elu"), n.Dense(30, 7))
    return model, f.losses.BinaryCrossEntropy(), f.optim.Adam(model.parameters(), lr=2e-3)


def classes(n):
    return lambda x, h: h[:, :n].argmax(axis=1)


CASES = {
    "batch norm tanh": SimpleNamespace(
        weights=bn_weights, torch=bn_torch, fastnn=bn_fastnn, batches=lambda: batches(11, 20, classes(5))
    ),
    "residual gelu layer norm": SimpleNamespace(
        weights=residual_weights, torch=residual_torch, fastnn=residual_fastnn, batches=lambda: batches(12, 20, classes(5))
    ),
    "tied autoencoder": SimpleNamespace(
        weights=tied_weights, torch=tied_torch, fastnn=tied_fastnn, batches=lambda: batches(13, 24, lambda x, h: x)
    ),
    "maxout hinge": SimpleNamespace(
        weights=maxout_weights, torch=maxout_torch, fastnn=maxout_fastnn, batches=lambda: batches(14, 20, classes(6))
    ),
    "multi-label": SimpleNamespace(
        weights=labels_weights, torch=labels_torch, fastnn=labels_fastnn,
        batches=lambda: batches(15, 20, lambda x, h: (h[:, :7] > 0).astype(np.float32)),
    ),
}  # fmt: skip


def from_torch(name, dtype="float32"):
    """The losses of STEPS steps, float64."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        case = CASES[name]
        model, loss, optimizer = case.torch(torch, case.weights())
        model.train().to(getattr(torch, dtype))
        data = [tuple(torch.from_numpy(a).to(getattr(torch, dtype)) if a.dtype == np.float32 else torch.from_numpy(a) for a in pair)
                for pair in case.batches()]  # fmt: skip
        found = []
        for step in range(STEPS):
            x, y = data[step % BATCHES]
            optimizer.zero_grad()
            value = loss(model(x), y)
            value.backward()
            optimizer.step()
            found.append(value.item())
        return np.array(found)
    finally:
        torch.set_num_threads(threads)


def from_fastnn(name, backend="native"):
    """The same losses by fastnn."""
    import fastnn

    case = CASES[name]
    model, loss, optimizer = case.fastnn(fastnn)
    for p, value in zip(model.parameters(), case.weights(), strict=True):
        p.data = value
    trainer = fastnn.Trainer(model, loss, optimizer, backend=backend)
    data = case.batches()
    return np.array([trainer.step(*data[step % BATCHES]) for step in range(STEPS)])


if __name__ == "__main__":
    runs = {name: from_torch(name) for name in CASES}
    for name, found in runs.items():
        exact = from_torch(name, "float64")
        print(f"{name}: {found[0]:.4f} -> {found[-1]:.4f}, off from float64 by {np.abs(found / exact - 1).max():.1e}")
    np.savez_compressed(FILE, **{name: found.astype(np.float32) for name, found in runs.items()})
    print(f"{FILE}: {FILE.stat().st_size} bytes")
