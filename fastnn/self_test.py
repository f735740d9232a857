"""A quick check, on the machine where it runs, that the compiled kernels compute what the NumPy reference says.

It is for users who doubt an installation. The suite in tests/ is the thorough one.
"""

import numpy as np

from . import kernels, optim, reference
from .core import runtime
from .reference.optimizer import optimizer_update

__all__ = ["selftest"]


def _worst(result, expected):
    """The largest difference, relative to the largest expected value."""
    result, expected = np.asarray(result, np.float64), np.asarray(expected, np.float64)
    return float(np.abs(result - expected).max() / max(1.0, np.abs(expected).max()))


def _cases():
    """(name, outputs of the kernels, outputs of the reference in float64) for each family of kernels."""
    rng = np.random.default_rng(0)
    x, w, b, dy = (rng.standard_normal(s, np.float32) for s in ((37, 133), (133, 101), (101,), (37, 101)))
    y = kernels.dense_forward(x, w, b, activation="tanh")
    wide = [a.astype(np.float64) for a in (x, w, b, y, dy)]
    yield "dense_forward", [y], [reference.dense_forward(*wide[:3], activation="tanh")]
    yield (
        "dense_backward",
        kernels.dense_backward(dy, x, w, y, activation="tanh"),
        reference.dense_backward(wide[4], *wide[:2], wide[3], activation="tanh"),
    )
    images, filters, dz = (rng.standard_normal(s, np.float32) for s in ((3, 9, 8, 5), (3, 2, 5, 21), (3, 5, 4, 21)))
    how, wide_images = {"stride": 2, "padding": "same"}, [a.astype(np.float64) for a in (dz, images, filters)]
    yield "conv2d_forward", [kernels.conv2d_forward(images, filters, **how)], [reference.conv2d_forward(*wide_images[1:], **how)]
    yield "conv2d_backward", kernels.conv2d_backward(dz, images, filters, **how), reference.conv2d_backward(*wide_images, **how)
    labels = np.arange(37) % 101
    loss, dlogits = kernels.softmax_cross_entropy(y, labels)
    expected = reference.softmax_cross_entropy(wide[3], labels)
    yield "softmax_cross_entropy", [loss, dlogits], expected
    pixels = rng.integers(0, 256, (5, 77), dtype=np.uint8)
    yield "gather", [kernels.gather(pixels, None, 1 / 255)], [reference.gather(pixels, None, 1 / 255)]
    for name, states in (("sgd_update", 1), ("adam_update", 2)):
        settings = {"lr": 0.1, "momentum": 0.9} if states == 1 else {"lr": 0.1}
        outcomes = []
        for module, dtype in ((kernels, np.float32), (reference, np.float64)):
            p, g = w.astype(dtype), x[:, :101].astype(dtype)
            p = p[:37].copy()
            moments = [[np.zeros_like(p)] for _ in range(states)]
            getattr(module, name)([p], [g.copy()], *moments, 1, **settings)
            outcomes.append([p])
        yield name, *outcomes
    for name in optim.__all__:
        if name not in ("Optimizer", "LBFGS"):  # which has no rule
            p, g = w[:37].copy(), np.ascontiguousarray(x[:, :101])
            opt = getattr(optim, name)([p], lr=0.1)
            expected = p.astype(np.float64)
            ((_, states, _),) = opt.update_tensors()
            wide = tuple(s.astype(np.float64) for s in states)
            optimizer_update(expected, g.astype(np.float64), wide, None, opt.group_states()[0], 0.1)
            opt.step([g])
            yield f"optim.{name}", [p, *states], [expected, *wide]


def selftest() -> dict[str, dict[str, float]]:
    """Compare the kernels of every instruction set that this machine runs with the NumPy reference.

    Returns
    -------
    dict
        For each instruction set, the largest difference of each kernel relative to the largest value; all below 2e-5.

    Raises
    ------
    RuntimeError
        If a kernel is wrong.

    Examples
    --------
    >>> sorted(fastnn.selftest()["generic"])[:3]
    ['adam_update', 'conv2d_backward', 'conv2d_forward']
    """
    before, found = runtime.get_isa(), {}
    try:
        for isa in runtime.available_isas():
            runtime.use_isa(isa)
            found[isa] = {n: max(_worst(a, e) for a, e in zip(out, want)) for n, out, want in _cases()}
    finally:
        runtime.use_isa(before)
    wrong = [f"{n} on {isa} (off by {d:.1e})" for isa, kinds in found.items() for n, d in kinds.items() if not d < 2e-5]
    if wrong:
        raise RuntimeError(f"the compiled kernels are wrong on this machine: {', '.join(wrong)}")
    return found
