"""PyTorch, eager: nn.Sequential, cross_entropy, Adam(fused=True), gradients set to None; inference_mode for inference.

The loss stays a tensor: no step waits for `.item()`.
"""

import ctypes
import importlib
import os
import re
import tempfile

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
        self.weights = weights
        self.batches = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches]
        self.model = model(weights, work.batchnorm)
        self.loss = self.make_loss()
        self.reset()

    def make_loss(self):
        cross_entropy, net = torch.nn.functional.cross_entropy, self.model
        return lambda x, y: cross_entropy(net(x), y)

    def reset(self):
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
        self.batches = [(torch.from_numpy(x),) for x, _ in batches]
        self.model = model(weights).eval()

    def run(self, n):
        with torch.inference_mode():
            return super().run(n)

    def step(self, x):
        return self.model(x)

    def array(self, outputs):
        return outputs.detach().numpy()
