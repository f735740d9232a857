"""JAX with optax: one jitted training step whose parameters and optimizer state are donated; jitted inference.

Steps are dispatched without waiting; only the end of a run waits.
"""

import importlib

import numpy as np

from ..works import LEARNING_RATE
from . import Loop, common_environment

LABEL = "JAX jit, optax Adam"
REQUIRES = ("jax", "optax")


def environment(threads):
    # NPROC is what XLA takes for the number of CPUs, and so of its threads
    flags = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"} if threads == 1 else {}
    return {**common_environment(threads), "JAX_PLATFORMS": "cpu", "NPROC": str(threads), **flags}


def setup(threads):
    global jax, optax
    jax = importlib.import_module("jax")
    optax = importlib.import_module("optax")


def versions():
    return {"jax": jax.__version__, "optax": optax.__version__}


def forward(params, x):
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = params[-1]
    return x @ w + b


def normalised(params, running, x):
    """The same with batch normalisation before each ReLU. Returns the outputs and the new running averages."""
    averages = []
    for (w, b, scale), (mean, var) in zip(params[:-1], running):
        z = x @ w
        batch_mean, batch_var = z.mean(axis=0), z.var(axis=0)
        x = jax.nn.relu((z - batch_mean) / jax.numpy.sqrt(batch_var + 1e-5) * scale + b)
        unbiased = batch_var * (len(z) / (len(z) - 1))
        averages.append((0.9 * mean + 0.1 * batch_mean, 0.9 * var + 0.1 * unbiased))
    w, b = params[-1]
    return x @ w + b, averages


class Training(Loop):
    def __init__(self, work, weights, batches):
        self.weights, self.batchnorm = weights, work.batchnorm
        self.batches = [(jax.device_put(x), jax.device_put(y.astype(np.int32))) for x, y in batches]
        self.optimizer = optax.adam(LEARNING_RATE)

        def loss(params, running, x, y):
            outputs, running = normalised(params, running, x) if work.batchnorm else (forward(params, x), running)
            return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean(), running

        def update(params, running, state, x, y):
            (value, running), gradients = jax.value_and_grad(loss, has_aux=True)(params, running, x, y)
            updates, state = self.optimizer.update(gradients, state, params)
            return optax.apply_updates(params, updates), running, state, value

        self.update = jax.jit(update, donate_argnums=(0, 1, 2))
        self.reset()

    def reset(self):
        self.params = [(jax.device_put(w.copy()), jax.device_put(b.copy())) for w, b in self.weights]
        self.running = []
        if self.batchnorm:
            ones = [np.ones_like(b) for _, b in self.weights[:-1]]
            self.params = [(*pair, jax.device_put(one.copy())) for pair, one in zip(self.params, ones)] + self.params[-1:]
            self.running = [(jax.device_put(0 * one), jax.device_put(one.copy())) for one in ones]
        self.state = self.optimizer.init(self.params)

    def step(self, x, y):
        self.params, self.running, self.state, value = self.update(self.params, self.running, self.state, x, y)
        return value

    def finish(self):
        jax.block_until_ready((self.params, self.state))


class Inference(Loop):
    def __init__(self, work, weights, batches):
        self.batches = [(jax.device_put(x),) for x, _ in batches]
        self.params = [(jax.device_put(w), jax.device_put(b)) for w, b in weights]
        self.forward = jax.jit(forward)

    def step(self, x):
        self.out = self.forward(self.params, x)
        return self.out

    def finish(self):
        self.out.block_until_ready()

    def array(self, outputs):
        return np.asarray(outputs)
