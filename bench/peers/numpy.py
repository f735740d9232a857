"""NumPy by hand: forward, backward and Adam written out, everything in arrays that are made once; products by its BLAS.

In float64 it is also the judge: what every library's losses and outputs are held against. With `epsilon_hat` its Adam is
the reordered one at the end of section 2 of Kingma & Ba 2015, which adds epsilon before the bias correction; with
`largest_loss` no row's loss is reported as more.
"""

import importlib

import numpy as np

from ..works import LEARNING_RATE
from . import Loop, common_environment, within

LABEL = "NumPy by hand (OpenBLAS)"
REQUIRES = ("numpy",)

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


CORES = {  # OpenBLAS's kernels, by the name of the core that they are for
    "generic": ("Nehalem", "Prescott", "Core2", "Penryn", "Dunnington", "Atom", "Athlon", "Opteron", "Barcelona", "Bobcat"),
    "avx2": ("Haswell", "Zen", "Sandybridge", "Bulldozer", "Piledriver", "Steamroller", "Excavator"),
    "avx512": ("SkylakeX", "Cooperlake", "SapphireRapids"),
}


def _dispatched():
    """The CPU's features for which NumPy has loops beyond its baseline, and uses them."""
    umath = getattr(np, "_core", None) or np.core
    umath = umath._multiarray_umath
    return [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__[name]]


def _beyond(isa):
    """Those of them that `isa` does not have; NumPy's X86_V4 is the AVX-512 of the first servers that had it."""
    wide = [name for name in _dispatched() if name.startswith("AVX512") or name == "X86_V4"]
    return {"generic": _dispatched(), "avx2": wide}.get(isa, [])


def environment(threads, isa=None):
    found = common_environment(threads)
    if isa in ("generic", "avx2"):
        found["OPENBLAS_CORETYPE"] = CORES[isa][0]
        if _beyond(isa):  # it warns of features that the CPU does not have
            found["NPY_DISABLE_CPU_FEATURES"] = " ".join(_beyond(isa))
    return found


def held(isa):
    """Of everything that works by OpenBLAS and NumPy's loops, also scikit-learn."""
    try:
        pools = importlib.import_module("threadpoolctl").threadpool_info()
    except ImportError:
        return False, "threadpoolctl, which is not installed, could tell"
    blas = [pool for pool in pools if pool["user_api"] == "blas"]
    cores = {str(pool.get("architecture")) for pool in blas}  # of OpenBLAS; SciPy brings its own
    levels = {core: name for name, of in CORES.items() for core in of}
    loops = _dispatched()
    blas_held = bool(blas) and all(within(levels.get(core), isa) for core in cores)
    text = f"threadpoolctl: BLAS for {', '.join(sorted(cores)) or 'nothing'}; NumPy's loops: {', '.join(loops) or 'baseline'}"
    return blas_held and not _beyond(isa), text


def setup(threads):
    pass


def versions():
    return {"numpy": np.__version__}


class Training(Loop):
    def __init__(self, work, weights, batches, dtype=np.float32, epsilon_hat=False, largest_loss=None):
        self.weights, self.epsilon_hat, self.largest_loss = weights, epsilon_hat, largest_loss
        self.batches = [(x.astype(dtype, copy=False), y) for x, y in batches]
        self.affine = [a for _, b in weights[:-1] for a in (np.ones_like(b), np.zeros_like(b))] if work.batchnorm else []
        self.params = [a.astype(dtype) for a in (*(a for pair in weights for a in pair), *self.affine)]
        self.normal = [None] * (len(weights) - 1)  # of batch normalisations: xhat and 1 / deviation
        self.grads = [np.empty_like(p) for p in self.params]
        self.m = [np.empty_like(p) for p in self.params]
        self.v = [np.empty_like(p) for p in self.params]
        self.scratch = [np.empty_like(p) for p in self.params]
        self.y = [np.empty((work.batch, n), dtype) for n in work.sizes[1:]]
        self.dy = [np.empty_like(y) for y in self.y]
        self.mask = [np.empty(y.shape, bool) for y in self.y]
        self.rows = np.arange(work.batch)
        self.reset()

    def reset(self):
        for p, value in zip(self.params, (*(a for pair in self.weights for a in pair), *self.affine)):
            p[...] = value
        for moment in self.m + self.v:
            moment[...] = 0
        self.t = 0

    def normal_backward(self, i, dy, gamma, grads):
        xhat, rstd = self.normal[i]
        (dy * xhat).sum(axis=0, out=grads[0])
        dy.sum(axis=0, out=grads[1])
        dy -= grads[1] / len(dy)
        xhat *= grads[0] / len(dy)
        dy -= xhat
        dy *= gamma * rstd

    def step(self, x, labels):
        last = len(self.weights) - 1
        w, b = self.params[0 : 2 * last + 1 : 2], self.params[1 : 2 * last + 2 : 2]
        gamma, beta = self.params[2 * last + 2 :: 2], self.params[2 * last + 3 :: 2]
        inputs = [x, *self.y[:-1]]
        for i in range(last + 1):
            y = self.y[i]
            np.matmul(inputs[i], w[i], out=y)
            y += b[i]
            if i < last and gamma:
                y -= y.mean(axis=0)
                rstd = 1 / np.sqrt((y * y).mean(axis=0) + y.dtype.type(1e-5))
                y *= rstd
                self.normal[i] = y.copy(), rstd
                y *= gamma[i]
                y += beta[i]
            if i < last:
                np.maximum(y, 0, out=y)

        logits, dy = self.y[-1], self.dy[-1]
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=dy)
        sums = dy.sum(axis=1, keepdims=True)
        losses = np.log(sums[:, 0]) - logits[self.rows, labels]
        if self.largest_loss is not None:
            np.minimum(losses, self.largest_loss, out=losses)
        loss = float(losses.mean())
        dy /= sums
        dy[self.rows, labels] -= 1
        dy /= len(dy)

        for i in range(last, -1, -1):
            np.matmul(inputs[i].T, self.dy[i], out=self.grads[2 * i])
            self.dy[i].sum(axis=0, out=self.grads[2 * i + 1])
            if i:
                np.matmul(self.dy[i], w[i].T, out=self.dy[i - 1])
                np.greater(self.y[i - 1], 0, out=self.mask[i - 1])
                self.dy[i - 1] *= self.mask[i - 1]
                if gamma:
                    self.normal_backward(i - 1, self.dy[i - 1], gamma[i - 1], self.grads[2 * last + 2 * i :])

        self.t += 1
        rate = LEARNING_RATE / (1 - BETA1**self.t)
        correction = (1 - BETA2**self.t) ** 0.5
        eps = EPS / correction if self.epsilon_hat else EPS
        for p, g, m, v, s in zip(self.params, self.grads, self.m, self.v, self.scratch):
            m *= BETA1
            np.multiply(g, 1 - BETA1, out=s)
            m += s
            v *= BETA2
            np.multiply(g, g, out=s)
            s *= 1 - BETA2
            v += s
            np.sqrt(v, out=s)
            s /= correction
            s += eps
            np.divide(m, s, out=s)
            s *= rate
            p -= s
        return loss


class Inference(Loop):
    def __init__(self, work, weights, batches, dtype=np.float32):
        self.batches = [(x.astype(dtype, copy=False),) for x, _ in batches]
        self.weights = [(w.astype(dtype), b.astype(dtype)) for w, b in weights]
        self.y = [np.empty((work.batch, n), dtype) for n in work.sizes[1:]]

    def step(self, x):
        last = len(self.weights) - 1
        for i, ((w, b), y) in enumerate(zip(self.weights, self.y)):
            np.matmul(x, w, out=y)
            y += b
            x = np.maximum(y, 0, out=y) if i < last else y
        return x
