"""PyTorch, eager: nn.Sequential, cross_entropy, Adam(fused=True), gradients set to None; inference_mode for inference.

The loss stays a tensor: no step waits for `.item()`.
"""

import ctypes
import importlib
import os
import re
import tempfile

import numpy as np

from .. import nets
from ..works import LEARNING_RATE
from . import Loop, common_environment, level, within

LABEL = "PyTorch eager, fused Adam"
REQUIRES = ("torch",)
SWITCHES = {  # MKL heeds MKL_ENABLE_INSTRUCTIONS on Intel's processors alone, and AVX2 is what it has for those of others
    "generic": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
}


def environment(threads, isa=None):
    return {**common_environment(threads), **SWITCHES.get(isa, {})}


def setup(threads):
    global torch
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)


def versions():
    return {"torch": torch.__version__}


def _printed(call):
    """What C code prints meanwhile."""
    libc = ctypes.CDLL(None)
    libc.fflush(None)
    kept = os.dup(1)
    try:
        with tempfile.TemporaryFile("w+", errors="replace") as file:
            os.dup2(file.fileno(), 1)
            try:
                call()
            finally:
                libc.fflush(None)
                os.dup2(kept, 1)
            file.seek(0)
            return file.read()
    finally:
        os.close(kept)


def _speak():
    """A product by MKL and a step by oneDNN, both of which then say what they are."""
    x = torch.ones(256, 256)
    with torch.backends.mkl.verbose(torch.backends.mkl.VERBOSE_ON):
        torch.mm(x, x)
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        torch.relu(x.to_mkldnn())


def mkl_level(text):
    """(ISA, words) of what MKL prints; (None, ...) if it is not there.

    Of Intel's processors it names the best set that it uses. For others it has no name; there its products are by its common
    code, whose best is AVX2 with FMA: mkl_blas_def_sgemm_kernel_0_zen, which has no register of 512 bits (MKL 2024.2).
    """
    line = re.search(r"MKL_VERBOSE.* for Intel\(R\) 64 architecture (.*?processors)", text)
    if not line:
        return None, "of another BLAS nothing is known"
    if "CNR:COMPATIBLE" in text:
        return "generic", "MKL's compatible code"
    found = level(line[1])
    return (found, f"MKL: {line[1]}") if found else ("avx2", "MKL's code for processors not of Intel, AVX2 at most")


def held(isa):
    aten, text = torch.backends.cpu.get_cpu_capability(), _printed(_speak)
    onednn = re.search(r"cpu,isa:(.*)", text)
    onednn = onednn[1] if onednn else "unknown"
    mkl, words = mkl_level(text)
    return all(within(f, isa) for f in (level(aten), level(onednn), mkl)), f"ATen {aten}; oneDNN {onednn}; {words}"


def _embeddings(layer):
    """The numbers of a row, then what the tables have for its codes."""

    class Embeddings(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.tables = torch.nn.ModuleList(torch.nn.Embedding(n, layer[3]) for n in layer[2])

        def forward(self, numbers, codes):
            return torch.cat([numbers, *(table(codes[:, i]) for i, table in enumerate(self.tables))], dim=1)

    return Embeddings()


def _layers(shape, spec):
    """The layers of a network of bench.nets."""
    made, activations = [], {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}
    for layer, came, _, parameters in nets.walk(shape, spec):
        kind = layer[0]
        if kind == "conv":
            made.append(torch.nn.Conv2d(came[2], layer[1], layer[2], padding=layer[3]))
        elif kind == "pool":
            made.append((torch.nn.MaxPool2d if layer[1] == "max" else torch.nn.AvgPool2d)(2))
        elif kind == "embed":
            made.append(_embeddings(layer))
        else:
            made += [*([torch.nn.Flatten()] if len(came) > 1 else []), torch.nn.Linear(*parameters[0])]
        if layer[-1] in activations:
            made.append(activations[layer[-1]]())
    return made


def _arrays(shape, spec, weights):
    """The parameters of such a network in torch's order: channels before height and width, outputs first."""
    for (layer, came, _, _), p in zip(nets.walk(shape, spec), weights):
        if layer[0] == "embed":
            yield from p
        elif layer[0] == "conv":
            yield from (p[0].transpose(3, 2, 0, 1), p[1])
        elif layer[0] == "dense":
            w = p[0].reshape(*came, -1).transpose(2, 0, 1, 3).reshape(p[0].shape) if len(came) == 3 else p[0]
            yield from (w.T, p[1])


def load_net(net, work, weights):
    with torch.no_grad():
        for to, a in zip(net.parameters(), _arrays(work.shape, work.layers, weights), strict=True):
            to.copy_(torch.from_numpy(np.ascontiguousarray(a)))


def net(work, weights):
    """A network of bench.nets with the given weights."""
    made = torch.nn.Sequential(*_layers(work.shape, work.layers))
    if work.layers[0][0] == "embed":
        first, rest = made[0], made[1:]
        made.forward = lambda x: rest(first(*x))
    load_net(made, work, weights)
    return made


def rows(work, x):
    """A batch as torch has it: images [batch, channels, height, width], numbers and codes apart."""
    if work.net and len(work.shape) == 3:
        return torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    if work.net:
        numbers = work.layers[0][1]
        return torch.from_numpy(x[:, :numbers].copy()), torch.from_numpy(x[:, numbers:].astype(np.int64))
    return torch.from_numpy(x)


def model(weights, batchnorm=False):
    """The network with the given weights; torch keeps them [out, in]."""
    layers = []
    for w, b in weights:
        linear = torch.nn.Linear(*w.shape)
        layers += [linear, *([torch.nn.BatchNorm1d(len(b))] if batchnorm else []), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[: -2 if batchnorm else -1])
    load(net, weights)
    return net


def load(net, weights):
    """The given weights, and those that batch normalisations begin with."""
    linears = [layer for layer in net if isinstance(layer, torch.nn.Linear)]
    with torch.no_grad():
        for linear, (w, b) in zip(linears, weights):
            linear.weight.copy_(torch.from_numpy(w.T))
            linear.bias.copy_(torch.from_numpy(b))
        for layer in net:
            if isinstance(layer, torch.nn.BatchNorm1d):
                layer.reset_parameters()


class Training(Loop):
    def __init__(self, work, weights, batches):
        self.work, self.weights = work, weights
        self.batches = [(rows(work, x), torch.from_numpy(y)) for x, y in batches]
        self.model = net(work, weights) if work.net else model(weights, work.batchnorm)
        self.loss = self.make_loss()
        self.reset()

    def make_loss(self):
        cross_entropy = torch.nn.functional.cross_entropy
        return lambda x, y: cross_entropy(self.model(x), y)

    def reset(self):
        if self.work.net:
            load_net(self.model, self.work, self.weights)
        else:
            load(self.model, self.weights)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE, fused=True)

    def step(self, x, y):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(x, y)
        loss.backward()
        self.optimizer.step()
        return loss

    def number(self, loss):
        return loss.item()


class Inference(Loop):
    def __init__(self, work, weights, batches):
        self.batches = [(rows(work, x),) for x, _ in batches]
        self.model = (net(work, weights) if work.net else model(weights)).eval()

    def run(self, n):
        with torch.inference_mode():
            return super().run(n)

    def step(self, x):
        return self.model(x)

    def array(self, outputs):
        return outputs.detach().numpy()
