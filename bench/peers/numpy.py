"""NumPy by hand: forward, backward and Adam written out, everything in arrays that are made once; products by its BLAS.

In float64 it is also the judge: what every library's losses and outputs are held against. With `epsilon_hat` its Adam is
the reordered one at the end of section 2 of Kingma & Ba 2015, which adds epsilon before the bias correction; with
`largest_loss` no row's loss is reported as more. Batch normalisation is differentiated by hand too: with x̂ the normalised
inputs, n rows and dx̂ their gradient, dz = (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂)) / √(var + eps).
"""

import numpy as np

from ..works import LEARNING_RATE
from . import Loop, common_environment as environment

LABEL = "NumPy by hand (OpenBLAS)"
REQUIRES = ("numpy",)

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
NORM_EPS, NORM_MOMENTUM = 1e-5, 0.1


def setup(threads):
    pass


def versions():
    return {"numpy": np.__version__}


class Training(Loop):
    def __init__(self, work, weights, batches, dtype=np.float32, epsilon_hat=False, largest_loss=None):
        self.weights, self.epsilon_hat, self.largest_loss = weights, epsilon_hat, largest_loss
        self.batches = [(x.astype(dtype, copy=False), y) for x, y in batches]
        self.batchnorm = work.batchnorm
        self.starts = [a for pair in weights for a in pair]
        if work.batchnorm:  # scales stand behind all others
            self.starts += [np.ones_like(b) for _, b in weights[:-1]]
            self.normal = [np.empty((work.batch, n), dtype) for n in work.sizes[1:-1]]
            self.inverse = [np.empty(n, dtype) for n in work.sizes[1:-1]]
            self.running = [(np.zeros(n, dtype), np.ones(n, dtype)) for n in work.sizes[1:-1]]
        self.params = [a.astype(dtype) for a in self.starts]
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
        for p, value in zip(self.params, self.starts):
            p[...] = value
        for mean, var in self.running if self.batchnorm else ():
            mean[...], var[...] = 0, 1
        for moment in self.m + self.v:
            moment[...] = 0
        self.t = 0

    def step(self, x, labels):
        layers = len(self.weights)
        w, b, scale = self.params[0 : 2 * layers : 2], self.params[1 : 2 * layers : 2], self.params[2 * layers :]
        last = layers - 1
        inputs = [x, *self.y[:-1]]
        for i in range(last + 1):
            y = self.y[i]
            np.matmul(inputs[i], w[i], out=y)
            if self.batchnorm and i < last:
                self.normalise(i, y)
                y *= scale[i]
            y += b[i]
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
            if i == last or not self.batchnorm:
                self.dy[i].sum(axis=0, out=self.grads[2 * i + 1])
            if i:
                np.matmul(self.dy[i], w[i].T, out=self.dy[i - 1])
                np.greater(self.y[i - 1], 0, out=self.mask[i - 1])
                self.dy[i - 1] *= self.mask[i - 1]
                if self.batchnorm:
                    self.denormalise(i - 1, scale[i - 1], self.grads[2 * layers + i - 1])

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


    def normalise(self, i, z):
        """z becomes mean 0 and variance 1 in every column; kept for the way back."""
        normal, (mean, var) = self.normal[i], self.running[i]
        m = z.mean(axis=0)
        z -= m
        np.multiply(z, z, out=normal)
        v = normal.mean(axis=0)
        np.divide(1, np.sqrt(v + NORM_EPS), out=self.inverse[i])
        z *= self.inverse[i]
        normal[...] = z
        mean *= 1 - NORM_MOMENTUM
        mean += NORM_MOMENTUM * m
        var *= 1 - NORM_MOMENTUM
        var += NORM_MOMENTUM * len(z) / (len(z) - 1) * v

    def denormalise(self, i, scale, dscale):
        """The gradient of layer i's outputs becomes that of its product; those of scale and shift are noted."""
        dy, normal = self.dy[i], self.normal[i]
        dy.sum(axis=0, out=self.grads[2 * i + 1])
        np.einsum("ij,ij->j", dy, normal, out=dscale)
        dy -= self.grads[2 * i + 1] / len(dy)
        normal *= dscale / len(dy)
        dy -= normal
        dy *= scale * self.inverse[i]


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
