"""What is measured: networks, batches and starting weights, the same for every library.

All networks are fully connected with ReLU between the layers, He-normal weights, zero biases and float32 data, one of them
with batch normalisation (weights 1, biases 0) before each ReLU; training
is softmax cross-entropy with Adam at its default settings and a rate of 1e-3. Everything is drawn from fixed seeds, so
each process makes its own copy. It imports NumPy only and measures nothing.
"""

from dataclasses import dataclass

import numpy as np

LEARNING_RATE = 1e-3
BATCHES = 16  # ready batches that a measurement goes round
CHECK_STEPS = 5
STEPS_LIMIT = 400  # steps from a fresh start to the end of a timed run


@dataclass(frozen=True)
class Work:
    """One measurement: a training step ("train") or an inference ("infer") of a network at a batch size.

    A heavy work runs once per round, in few rounds, and only in the libraries that it names.
    """

    kind: str
    sizes: tuple
    batch: int
    heavy: bool = False
    only: tuple = ()
    batchnorm: bool = False  # between each hidden layer's product and its ReLU

    @property
    def name(self):
        hidden = self.sizes[1:-1]
        if len(hidden) > 2 and len(set(hidden)) == 1:
            hidden = (f"{len(hidden)}x{hidden[0]}",)
        net = "-".join(str(n) for n in (self.sizes[0], *hidden, self.sizes[-1])) + " BatchNorm" * self.batchnorm
        return f"{'infer ' if self.kind == 'infer' else ''}{net} @ {self.batch}"

    @property
    def flops(self):
        """Floating-point operations of the products: 2 x batch x in x out for y, the same for dW, and for dX of every layer
        but the first. Activations, loss and Adam are not counted, so no library gains by them."""
        total = 0
        for i, (n_in, n_out) in enumerate(zip(self.sizes, self.sizes[1:])):
            products = 1 if self.kind == "infer" else 3 if i else 2
            total += products * 2 * self.batch * n_in * n_out
        return total

    @property
    def parameter_bytes(self):
        """One copy of the weights and biases, float32."""
        return 4 * sum((n_in + 1) * n_out for n_in, n_out in zip(self.sizes, self.sizes[1:]))

    @property
    def activation_bytes(self):
        """One copy of every layer's outputs for a batch, float32."""
        return 4 * self.batch * sum(self.sizes[1:])


TRAINING = (
    Work("train", (20, 64, 64, 2), 32),
    Work("train", (784, 128, 10), 64),
    Work("train", (784, 100, 10), 100),
    Work("train", (784, 100, 100, 100, 100, 100, 10), 100),
    Work("train", (784, 100, 100, 100, 100, 100, 10), 100, batchnorm=True,
         only=("fastnn", "fastnn_call", "torch", "torch_compile", "jax", "numpy")),
    Work("train", (784, 512, 512, 10), 128),
    Work("train", (784, 1024, 1024, 1024, 10), 256),
    Work("train", (4096, 4096, 4096), 1024, heavy=True, only=("fastnn", "torch")),
)
INFERENCE = tuple(Work("infer", sizes, batch) for sizes in ((784, 100, 10), (784, 512, 512, 10)) for batch in (1, 32, 1000))
WORKS = {work.name: work for work in TRAINING + INFERENCE}


def weights(work):
    """[(w [in, out], b [out])] of each layer, float32; new arrays at each call."""
    rng = np.random.default_rng(1)
    shapes = zip(work.sizes, work.sizes[1:])
    return [
        (rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / shape[0])), np.zeros(shape[1], np.float32))
        for shape in shapes
    ]


def batches(work):
    """[(x float32 [batch, in], y int64 [batch])].

    Inputs are standard normal, and each comes twice, with labels drawn anew: few units die and nothing is learnt by heart, so
    that gradients and Adam's moments stay ordinary numbers. (Subnormal ones would slow some libraries and not others; a
    moment gets there some 800 steps after its last gradient, hence STEPS_LIMIT.)
    """
    rng = np.random.default_rng(2)
    count = 2 if work.heavy else BATCHES
    inputs = [rng.standard_normal((work.batch, work.sizes[0]), np.float32) for _ in range(count // 2)]
    return [(x.copy(), rng.integers(0, work.sizes[-1], work.batch)) for _ in range(2) for x in inputs]


def check_steps(work):
    """Training steps, all on the first batch, after which libraries are compared."""
    return 2 if work.heavy else CHECK_STEPS
