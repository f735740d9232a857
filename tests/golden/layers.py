"""Makes layers.npz: what PyTorch's layers give on small inputs, forward and backward. Run it with PyTorch installed.

tests/layers/test_models.py compares fastnn's layers with the file, and with PyTorch itself where it is installed.
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_suffix(".npz")
ROWS, WIDTH = 12, 7


def arrays():
    """The inputs of all cases, by name."""
    r = np.random.default_rng(7)
    names = {"x": (ROWS, WIDTH), "dy": (ROWS, WIDTH), "weight": (WIDTH,), "bias": (WIDTH,), "w": (WIDTH, 5), "b": (5,), "c": (WIDTH,),
             "w1": (WIDTH, WIDTH), "b1": (WIDTH,), "wm": (WIDTH, 3 * WIDTH), "bm": (3 * WIDTH,)}  # fmt: skip
    found = {name: r.standard_normal(shape).astype(np.float32) for name, shape in names.items()}
    found["x"] = found["x"] * 3 + 1
    return found


def results(torch):
    """{case/name: array} by PyTorch."""
    F = torch.nn.functional
    t = {k: torch.tensor(v, requires_grad=k not in ("dy",)) for k, v in arrays().items()}
    found = {}

    def note(case, y, *wanted):
        for p in t.values():
            p.grad = None
        y.backward(t["dy"])
        found[f"{case}/y"] = y.detach().numpy().copy()
        for name in wanted:
            found[f"{case}/d{name}"] = t[name].grad.numpy().copy()

    mean, var = torch.zeros(WIDTH), torch.ones(WIDTH)
    note("batchnorm", F.batch_norm(t["x"], mean, var, t["weight"], t["bias"], True, 0.1, 1e-5), "x", "weight", "bias")
    found |= {"batchnorm/running_mean": mean.numpy(), "batchnorm/running_var": var.numpy()}
    y = F.batch_norm(t["x"], mean, var, t["weight"], t["bias"], False, 0.1, 1e-5)
    found["batchnorm/inference"] = y.detach().numpy().copy()
    note("layernorm", F.layer_norm(t["x"], (WIDTH,), t["weight"], t["bias"], 1e-5), "x", "weight", "bias")
    note("rmsnorm", F.rms_norm(t["x"], (WIDTH,), t["weight"], 1e-5), "x", "weight")
    note("residual", t["x"] + torch.tanh(t["x"] @ t["w1"] + t["b1"]), "x", "w1", "b1")
    note("tied", torch.sigmoid(torch.tanh(t["x"] @ t["w"] + t["b"]) @ t["w"].T + t["c"]), "x", "w", "b", "c")
    pieces = (t["x"] @ t["wm"] + t["bm"]).view(ROWS, 3, WIDTH)
    note("maxout", pieces.max(dim=1).values, "x", "wm", "bm")
    return found


if __name__ == "__main__":
    import torch

    np.savez_compressed(FILE, **results(torch))
