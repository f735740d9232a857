"""Makes lbfgs.npz: where torch.optim.LBFGS gets from step to step on a convex function.

    python tests/golden/make_lbfgs.py     # the file is from torch 2.13

The function is made from the raw bits of a PCG64 generator, which are the same with every NumPy, and computed by NumPy for both;
so the file only holds weights, losses and counts. The tests import CASES and the functions below.
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("lbfgs.npz")
SHAPES = [(3, 4), (5,)]
SIZES = [12, 5]
STEPS = {"float64": 8, "float32": 2}
EXACT = {"float64": 1e-9, "float32": 1e-4}  # max|a - b| <= this * max|b|

# name: settings; a search along lines, with little memory, short of evaluations; none
CASES = {
    "strong wolfe": {"line_search_fn": "strong_wolfe", "max_iter": 5},
    "little memory": {"line_search_fn": "strong_wolfe", "max_iter": 4, "history_size": 2, "lr": 0.3},
    "short steps": {"line_search_fn": "strong_wolfe", "max_iter": 3, "max_eval": 7, "lr": 0.01},
    "to the end": {"line_search_fn": "strong_wolfe", "max_iter": 40, "tolerance_change": 1e-7},
    "fixed": {"lr": 0.4, "max_iter": 6},
    "fixed, one by one": {"max_iter": 1, "history_size": 5},
}


def uniform(seed, shape):
    bits = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    return ((bits >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0).reshape(shape)


A, B = 3 * uniform(1, (40, 17)), uniform(2, 40)


def start(dtype):
    return [a.reshape(s).astype(dtype) for a, s in zip(np.split(2 * uniform(3, 17), [12]), SHAPES)]


def loss_and_gradients(arrays):
    """mean log cosh(A w - b) + 0.01 sum w^4, in float64, the gradients in the arrays' dtype."""
    w = np.concatenate([a.ravel() for a in arrays]).astype(np.float64)
    r = A @ w - B
    loss = (np.abs(r) + np.log1p(np.exp(-2 * np.abs(r))) - np.log(2)).mean() + 0.01 * (w**4).sum()
    gradient = A.T @ np.tanh(r) / len(r) + 0.04 * w**3
    return float(loss), [g.reshape(a.shape).astype(a.dtype) for g, a in zip(np.split(gradient, [12]), arrays)]


def by_torch(name, dtype):
    """Yields (weights, the loss that the step returned, iterations, evaluations) after each step."""
    import torch

    params = [torch.nn.Parameter(torch.from_numpy(a)) for a in start(dtype)]
    optimizer = torch.optim.LBFGS(params, **CASES[name])

    def closure():
        loss, grads = loss_and_gradients([p.detach().numpy() for p in params])
        for p, g in zip(params, grads):
            p.grad = torch.from_numpy(g)
        return torch.tensor(loss, dtype=torch.float64)

    for _ in range(STEPS[dtype]):
        loss = float(optimizer.step(closure))
        state = optimizer.state[params[0]]
        found = np.concatenate([p.detach().numpy().ravel() for p in params])
        yield found, loss, state["n_iter"], state["func_evals"], optimizer


if __name__ == "__main__":
    arrays = {}
    for name in CASES:
        for dtype in STEPS:
            steps = list(by_torch(name, dtype))
            arrays[f"{name}/{dtype}"] = np.array([s[0] for s in steps])
            arrays[f"{name}/{dtype}/counts"] = np.array([s[1:4] for s in steps])
    np.savez_compressed(FILE, **arrays)
    print(f"{FILE}: {FILE.stat().st_size} bytes")
    for k, v in arrays.items():
        if k.endswith("counts"):
            print(k, v.tolist())
