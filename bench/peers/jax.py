"""JAX with optax: one jitted training step whose parameters and optimizer state are donated; jitted inference.

Steps are dispatched without waiting; only the end of a run waits. Its batch normalisation keeps no running statistics.
"""

import functools
import importlib
import re

import numpy as np

from ..works import LEARNING_RATE
from . import Loop, common_environment

LABEL = "JAX jit, optax Adam"
REQUIRES = ("jax", "optax")


MAX_ISA = {"generic": "SSE4_2", "avx2": "AVX2"}  # of the code that XLA makes itself


def environment(threads, isa=None):
    # NPROC is what XLA takes for the number of CPUs, and so of its threads
    flags = ["--xla_cpu_multi_thread_eigen=false"] if threads == 1 else []
    flags += [f"--xla_cpu_max_isa={MAX_ISA[isa]}"] if isa in MAX_ISA else []
    flags = {"XLA_FLAGS": " ".join(flags)} if flags else {}
    return {**common_environment(threads), "JAX_PLATFORMS": "cpu", "NPROC": str(threads), **flags}


def setup(threads):
    global jax, optax
    jax = importlib.import_module("jax")
    optax = importlib.import_module("optax")


def versions():
    return {"jax": jax.__version__, "optax": optax.__version__}


def held(isa):
    """XLA gives products and sums to libraries, which choose their kernels by the CPU: in jaxlib 0.10.2 the products are YNNPACK's,
    and become no slower under --xla_cpu_max_isa=SSE4_2. What it has compiled names them."""
    x = np.ones((64, 64), np.float32)
    text = jax.jit(lambda x, w: jax.nn.relu(x @ w).sum()).lower(x, x).compile().as_text()
    known = {"ynn": "YNNPACK", "xnn": "XNNPACK", "onednn": "oneDNN"}
    libraries = sorted({known.get(name, name) for name in re.findall(r'"__(\w+)_fusion"', text)})
    return False, f"its products are those of {', '.join(libraries) or 'Eigen'}, without a switch; XLA's own code has one"


def forward(params, x):
    for w, b, *affine in params[:-1]:
        x = x @ w + b
        if affine:
            mean = x.mean(axis=0)
            var = ((x - mean) ** 2).mean(axis=0)
            x = (x - mean) * (affine[0] * jax.lax.rsqrt(var + 1e-5)) + affine[1]
        x = jax.nn.relu(x)
    w, b = params[-1]
    return x @ w + b


def forward_net(layers, params, x):
    """A network of bench.nets; images are [batch, height, width, channels]."""
    for layer, p in zip(layers, params):
        if layer[0] == "conv":
            padding = [(layer[3], layer[3])] * 2
            x = jax.lax.conv_general_dilated(x, p[0], (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")) + p[1]
        elif layer[0] == "pool":
            start, reduce = (-np.inf, jax.lax.max) if layer[1] == "max" else (0.0, jax.lax.add)
            x = jax.lax.reduce_window(x, start, reduce, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") * (1.0 if layer[1] == "max" else 0.25)
        elif layer[0] == "embed":
            codes = x[:, layer[1] :].astype(np.int32)
            x = jax.numpy.concatenate([x[:, : layer[1]], *(table[codes[:, i]] for i, table in enumerate(p))], axis=1)
        else:
            x = x.reshape(len(x), -1) @ p[0] + p[1]
        if layer[-1] == "relu":
            x = jax.nn.relu(x)
        elif layer[-1] == "tanh":
            x = jax.numpy.tanh(x)
    return x


def forward_of(work):
    return functools.partial(forward_net, work.layers) if work.net else forward


class Training(Loop):
    def __init__(self, work, weights, batches):
        self.net, forward = work.net, forward_of(work)
        self.weights, self.batchnorm = weights, work.batchnorm
        self.batches = [(jax.device_put(x), jax.device_put(y.astype(np.int32))) for x, y in batches]
        self.optimizer = optax.adam(LEARNING_RATE)

        def loss(params, x, y):
            return optax.softmax_cross_entropy_with_integer_labels(forward(params, x), y).mean()

        def update(params, state, x, y):
            value, gradients = jax.value_and_grad(loss)(params, x, y)
            updates, state = self.optimizer.update(gradients, state, params)
            return optax.apply_updates(params, updates), state, value

        self.update = jax.jit(update, donate_argnums=(0, 1))
        self.reset()

    def reset(self):
        if self.net:
            self.params = [tuple(jax.device_put(a.copy()) for a in p) for p in self.weights]
            self.state = self.optimizer.init(self.params)
            return
        affine = [(np.ones_like(b), np.zeros_like(b)) if self.batchnorm else () for _, b in self.weights[:-1]] + [()]
        self.params = [tuple(jax.device_put(a.copy()) for a in (*pair, *more)) for pair, more in zip(self.weights, affine)]
        self.state = self.optimizer.init(self.params)

    def step(self, x, y):
        self.params, self.state, value = self.update(self.params, self.state, x, y)
        return value

    def finish(self):
        jax.block_until_ready((self.params, self.state))


class Inference(Loop):
    def __init__(self, work, weights, batches):
        self.batches = [(jax.device_put(x),) for x, _ in batches]
        self.params = [tuple(jax.device_put(a) for a in p) for p in weights]
        self.forward = jax.jit(forward_of(work))

    def step(self, x):
        self.out = self.forward(self.params, x)
        return self.out

    def finish(self):
        self.out.block_until_ready()

    def array(self, outputs):
        return np.asarray(outputs)
