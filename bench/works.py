"""What is measured: networks, batches and starting weights, the same for every library.

Most networks are fully connected with ReLU between the layers, He-normal weights, zero biases and float32 data, one of them
with batch normalisation (weights 1, biases 0) before each ReLU; training
is softmax cross-entropy with Adam at its default settings and a rate of 1e-3. The others, with convolutions or embeddings, are those of
`bench.nets`. Everything is drawn from fixed seeds, so
each process makes its own copy. It imports NumPy only and measures nothing.
"""

import math
from dataclasses import dataclass

import numpy as np

from . import nets

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
    net: str = ""  # of nets.NETS; sizes are then those of its input and its output

    @property
    def layers(self):
        """Those of a network of bench.nets; of the others none."""
        return nets.NETS[self.net][1] if self.net else ()

    @property
    def shape(self):
        """Of a row of the inputs."""
        return nets.NETS[self.net][0] if self.net else self.sizes[:1]

    def takes(self, library):
        """Whether a library is to be measured."""
        return library in self.only if self.only else library != "torch_channels_last"

    @property
    def name(self):
        if self.net:
            return f"{'infer ' if self.kind == 'infer' else ''}{self.net} @ {self.batch}"
        hidden = self.sizes[1:-1]
        if len(hidden) > 2 and len(set(hidden)) == 1:
            hidden = (f"{len(hidden)}x{hidden[0]}",)
        net = "-".join(str(n) for n in (self.sizes[0], *hidden, self.sizes[-1])) + " BatchNorm" * self.batchnorm
        return f"{'infer ' if self.kind == 'infer' else ''}{net} @ {self.batch}"

    @property
    def flops(self):
        """Floating-point operations of the products: 2 x batch x in x out for y, the same for dW, and for dX of every layer
        but the first. Activations, loss and Adam are not counted, so no library gains by them."""
        if self.net:
            return nets.flops(self.batch, self.shape, self.layers, self.kind == "train")
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


def _of_net(net, batch):
    """Training and inference of a network of bench.nets."""
    shape, layers = nets.NETS[net]
    images = ("torch_channels_last",) if len(shape) > 1 else ()
    for kind, more in (("train", ("fastnn_call",)), ("infer", ())):
        yield Work(kind, (math.prod(shape), layers[-1][1]), batch, only=("fastnn", *more, "torch", *images, "jax"), net=net)


OF_NETS = tuple(w for net, batch in zip(nets.NETS, (100, 64, 64, 64, 256)) for w in _of_net(net, batch))
WORKS = {work.name: work for work in TRAINING + INFERENCE + OF_NETS}


def weights(work):
    """[(w [in, out], b [out])] of each layer, float32; new arrays at each call. Of a network of bench.nets its layers' own."""
    if work.net:
        return nets.weights(work.shape, work.layers)
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
    if work.net:
        inputs = [nets.inputs(rng, work.batch, work.shape, work.layers) for _ in range(count // 2)]
    else:
        inputs = [rng.standard_normal((work.batch, work.sizes[0]), np.float32) for _ in range(count // 2)]
    return [(x.copy(), rng.integers(0, work.sizes[-1], work.batch)) for _ in range(2) for x in inputs]


def check_steps(work):
    """Training steps, all on the first batch, after which libraries are compared."""
    return 2 if work.heavy else CHECK_STEPS
