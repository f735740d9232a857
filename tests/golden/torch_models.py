"""Makes torch_models.npz: weights of small networks by PyTorch, and what they give. Run it with PyTorch installed.

tests/io/test_io_weights.py holds fastnn's models against the file, and against PyTorch itself where it is installed.
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_suffix(".npz")


def networks(torch):
    """The networks by name."""
    T = torch.nn
    return {
        "dense": T.Sequential(
            T.Flatten(), T.Linear(12, 12), T.BatchNorm1d(12), T.GELU(), T.LayerNorm(12), T.Linear(12, 7, bias=False), T.PReLU(7),
            T.Dropout(), T.RMSNorm(7, eps=1e-5), T.ELU(), T.Linear(7, 7), T.SiLU(), T.Linear(7, 3), T.LogSoftmax(1),
        ),
        "images": T.Sequential(
            T.Conv2d(2, 6, 3, padding=1), T.BatchNorm2d(6), T.ReLU(), T.MaxPool2d(2),
            T.Conv2d(6, 8, 3, stride=2, padding=1, groups=2, bias=False), T.GELU(), T.AvgPool2d(2, stride=1, padding=1),
            T.Flatten(), T.BatchNorm1d(72), T.Linear(72, 5), T.LayerNorm(5), T.Tanh(), T.Linear(5, 5),
        ),
    }  # fmt: skip


def samples(name):
    """Data for a network, images with the channels first."""
    shape = {"dense": (20, 3, 2, 2), "images": (6, 2, 8, 8)}[name]
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def draw(torch, net):
    """Give a network parameters and statistics, and make it ready for inference."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(0, 0.4)
        for name, b in net.named_buffers():
            if name.endswith("running_mean"):
                b.normal_()
            elif name.endswith("running_var"):
                b.uniform_(0.5, 2)
    return net.eval()


def results(torch):
    """{network/name of an array: array}; what it gives is under the name y."""
    found = {}
    for name, net in networks(torch).items():
        draw(torch, net)
        found |= {f"{name}/{k}": v.numpy() for k, v in net.state_dict().items()}
        with torch.no_grad():
            found[f"{name}/y"] = net(torch.from_numpy(samples(name))).numpy()
    return found


if __name__ == "__main__":
    import torch

    np.savez_compressed(FILE, **results(torch))
