"""Makes double_trainings.npz: five trainings of 200 steps in float64, by PyTorch.

    python tests/golden/make_double_trainings.py     # the file is from torch 2.13

Starting weights and data are made from the raw bits of a PCG64 generator, which are the same with every NumPy, so the file only
holds each step's loss, and the weights at the end. tests/test_float64.py imports CASES and the functions below.
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("double_trainings.npz")
STEPS, BATCH = 200, 16

# name: (layers in the words of both, loss, optimizer, its settings)
CASES = {
    "tanh, squares, Adam": ([("dense", 7, 12), "tanh", ("dense", 12, 3)], "squares", "Adam", {"lr": 0.01}),
    "relu, classes, momentum": (
        [("dense", 7, 20), "relu", ("dense", 20, 10), "relu", ("dense", 10, 4)], "classes", "SGD", {"lr": 0.02, "momentum": 0.9}),
    "batchnorm, gelu, AdamW": (
        [("dense", 7, 16), ("batchnorm", 16), "gelu", ("dense", 16, 4)], "classes", "AdamW", {"lr": 0.005, "weight_decay": 0.02}),
    "convolution, RMSprop": (
        [("conv", 2, 4, 3), "tanh", ("maxpool", 2), "flatten", ("dense", 16, 4)], "classes", "RMSprop", {"lr": 0.001, "alpha": 0.95}),
    "layernorm, silu, yes or no, Nesterov": (
        [("dense", 7, 9), ("layernorm", 9), "silu", ("dense", 9, 2)], "questions", "SGD",
        {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.001}),
}  # fmt: skip


def numbers(name, shape):
    """Between -1 and 1, a function of the name alone."""
    bits = np.random.PCG64(int.from_bytes(name.encode()[:16], "little")).random_raw(int(np.prod(shape)))
    return ((bits >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0).reshape(shape)


def data(name):
    """Inputs [batches, BATCH, ...], images with the channels last, and targets, for 10 batches that come round."""
    layers, loss, *_ = CASES[name]
    shape = (6, 6, 2) if layers[0][0] == "conv" else (7,)
    x = numbers(f"x {name}", (10, BATCH, *shape))
    t = numbers(f"t {name}", (10, BATCH, 4))
    return x, {"squares": t[..., :3], "classes": t.argmax(axis=-1), "questions": (t[..., :2] > 0).astype(np.float64)}[loss]


def weights(name):
    """Of each layer that has some its starting weights: dense [in, out], convolutions [height, width, in, out]."""
    found = []
    for i, layer in enumerate(CASES[name][0]):
        if layer[0] == "dense":
            found.append(numbers(f"{i} {name}", layer[1:]) / layer[1] ** 0.5)
        elif layer[0] == "conv":
            found.append(numbers(f"{i} {name}", (layer[3], layer[3], *layer[1:3])) / (layer[1] * layer[3] ** 2) ** 0.5)
    return found


def trained(name):
    """(losses, weights at the end in the order and shapes of `weights`) by PyTorch."""
    import torch
    from torch import nn

    layers, loss, optimizer, settings = CASES[name]
    make = {
        "dense": nn.Linear, "conv": nn.Conv2d, "batchnorm": nn.BatchNorm1d, "layernorm": nn.LayerNorm, "maxpool": nn.MaxPool2d,
        "tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "flatten": nn.Flatten,
    }  # fmt: skip
    model = nn.Sequential(*(make[e]() if isinstance(e, str) else make[e[0]](*e[1:]) for e in layers)).double()
    linear = [m for m in model if isinstance(m, (nn.Linear, nn.Conv2d))]
    after_flatten = [m for before, m in zip(model, list(model)[1:]) if isinstance(before, nn.Flatten)]
    to = {nn.Linear: lambda w: w.T, nn.Conv2d: lambda w: w.transpose(3, 2, 0, 1)}

    def rows(w, back=False):
        """The rows of weights behind Flatten, [2, 2, 4] pixels and channels, from the channels last to the channels first, or back."""
        return w.reshape(*((4, 2, 2) if back else (2, 2, 4)), -1).transpose((1, 2, 0, 3) if back else (2, 0, 1, 3)).reshape(w.shape)

    with torch.no_grad():
        for m, w in zip(linear, weights(name)):
            w = rows(w) if m in after_flatten else w
            m.weight.copy_(torch.from_numpy(np.ascontiguousarray(to[type(m)](w))))
            m.bias.zero_()
    opt = getattr(torch.optim, optimizer)(model.parameters(), **settings)
    measure = {"squares": nn.MSELoss, "classes": nn.CrossEntropyLoss, "questions": nn.BCEWithLogitsLoss}[loss]()
    x, t = data(name)
    x = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 1, 4, 2, 3)) if x.ndim == 5 else x)
    losses = []
    for step in range(STEPS):
        opt.zero_grad()
        value = measure(model(x[step % 10]), torch.from_numpy(t)[step % 10])
        value.backward()
        opt.step()
        losses.append(value.item())
    found = []
    for m in linear:
        w = m.weight.detach().numpy()
        w = w.T if isinstance(m, nn.Linear) else w.transpose(2, 3, 1, 0)
        found.append(rows(w, True) if m in after_flatten else w)
    return np.array(losses), found


def main():
    kept = {}
    for i, name in enumerate(CASES):
        losses, found = trained(name)
        kept |= {f"{i} losses": losses, **{f"{i} {j}": np.ascontiguousarray(w) for j, w in enumerate(found)}}
    np.savez_compressed(FILE, **kept)


if __name__ == "__main__":
    main()
