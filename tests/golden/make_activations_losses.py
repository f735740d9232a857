"""Values and gradients of activations and losses by PyTorch in float64, recorded in activations_losses.npz.

Run it where PyTorch is installed: python tests/golden/make_activations_losses.py. The tests compare with the file everywhere,
and with PyTorch itself, through the functions here, where it is installed.
"""

from pathlib import Path

import numpy as np

PATH = Path(__file__).with_suffix("").with_name("activations_losses.npz")


def activations(x, dy):
    """{name: (y, dx)} at x, for the gradient dy."""
    import torch
    import torch.nn.functional as F

    functions = {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": F.relu,
        "leaky_relu": lambda z: F.leaky_relu(z, 0.125),
        "elu": lambda z: F.elu(z, 0.75),
        "selu": F.selu,
        "gelu": F.gelu,
        "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
        "silu": F.silu,
        "mish": F.mish,
        "softplus": lambda z: F.softplus(z, beta=0.5, threshold=1e6),
        "hard_tanh": F.hardtanh,
        "softmax": lambda z: F.softmax(z, dim=1),
        "log_softmax": lambda z: F.log_softmax(z, dim=1),
        "prelu": lambda z: F.prelu(z, torch.tensor([0.25], dtype=z.dtype)),
    }
    found = {}
    for name, function in functions.items():
        z = torch.tensor(x, requires_grad=True)
        y = function(z)
        y.backward(torch.tensor(dy))
        found[name] = y.detach().numpy(), z.grad.numpy()
    return found


ALPHA = {"leaky_relu": 0.125, "elu": 0.75, "softplus": 0.5}


def inputs(seed):
    """What the losses are given: outputs [7, 5] and targets of every kind."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(7, 5)) * 2
    return {
        "z": z,
        "real": rng.normal(size=z.shape) * 2,
        "counts": rng.poisson(3, z.shape).astype(float),
        "labels": rng.integers(0, 5, 7),
        "probabilities": rng.dirichlet(np.ones(5), 7),
        "answers": rng.integers(0, 2, z.shape).astype(float),
        "weight": rng.random(5) + 0.1,
    }


def losses(z, real, counts, labels, probabilities, answers, weight):
    """{case: (loss, gradient)}"""
    import torch
    from torch import nn

    t = {k: torch.tensor(v) for k, v in locals().items() if isinstance(v, np.ndarray)}
    w, classes = t["weight"], t["labels"]
    cases = {
        "squared": (nn.MSELoss(), t["real"]),
        "squared sum": (nn.MSELoss(reduction="sum"), t["real"]),
        "absolute": (nn.L1Loss(), t["real"]),
        "huber": (nn.HuberLoss(delta=1.5), t["real"]),
        "poisson": (nn.PoissonNLLLoss(), t["counts"]),
        "poisson full": (nn.PoissonNLLLoss(full=True), t["counts"]),
        "poisson rates": (nn.PoissonNLLLoss(log_input=False), t["counts"]),
        "cross entropy": (nn.CrossEntropyLoss(), classes),
        "cross entropy probabilities": (nn.CrossEntropyLoss(), t["probabilities"]),
        "cross entropy smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1), classes),
        "cross entropy weighted sum": (nn.CrossEntropyLoss(weight=w, reduction="sum"), classes),
        "cross entropy weighted smoothed sum": (nn.CrossEntropyLoss(weight=w, label_smoothing=0.2, reduction="sum"), classes),
        "cross entropy weighted probabilities sum": (nn.CrossEntropyLoss(weight=w, reduction="sum"), t["probabilities"]),
        "binary": (nn.BCEWithLogitsLoss(), t["answers"]),
        "binary probabilities": (nn.BCEWithLogitsLoss(), t["probabilities"]),
        "binary positive weight": (nn.BCEWithLogitsLoss(pos_weight=w), t["answers"]),
        "hinge": (lambda y, s: torch.clamp(1 - (2 * s - 1) * y, min=0).mean(), t["answers"]),
        "multiclass hinge": (nn.MultiMarginLoss(margin=0.75), classes),
        "multiclass hinge squared": (nn.MultiMarginLoss(p=2), classes),
    }
    found = {}
    for name, (loss, target) in cases.items():
        y = torch.tensor(np.abs(z) + 0.1 if name == "poisson rates" else z, requires_grad=True)
        value = loss(y, target)
        value.backward()
        found[name] = value.item(), y.grad.numpy()
    return found


def grid():
    """Inputs of the activations, kinks and large values among them, and gradients."""
    x = np.concatenate([np.linspace(-12, 12, 97), [-80.0, -30.0, 30.0, 80.0, -0.5, 0.5, 1.5]])[:100].reshape(20, 5)
    return x, np.random.default_rng(5).normal(size=x.shape)


def main():
    x, dy = grid()
    arrays = {"x": x, "dy": dy}
    for name, (y, dx) in activations(x, dy).items():
        arrays |= {f"{name}.y": y, f"{name}.dx": dx}
    arrays |= {f"input.{k}": v for k, v in inputs(0).items()}
    for name, (loss, gradient) in losses(**inputs(0)).items():
        arrays |= {f"{name}.loss": np.float64(loss), f"{name}.gradient": gradient}
    np.savez_compressed(PATH, **arrays)
    print(f"{PATH}: {PATH.stat().st_size:,} bytes, {len(arrays)} arrays")


if __name__ == "__main__":
    main()
