"""PyTorch with torch.compile (inductor) around the network and its loss; the update is the fused Adam, as in eager mode."""

import os

from . import common_environment, torch as eager
from .torch import setup, versions  # noqa: F401  the interface

LABEL = "torch.compile, fused Adam"
REQUIRES = ("torch",)


def environment(threads):
    # compiling in the process itself leaves no pool of compilers behind
    return {**common_environment(threads), "TORCHINDUCTOR_COMPILE_THREADS": "1", "TORCHINDUCTOR_CACHE_DIR": _cache(threads)}


def _cache(threads):
    return os.path.join(os.environ.get("TMPDIR", "/tmp"), f"bench-inductor-{os.getuid()}-{threads}")


class Training(eager.Training):
    def make_loss(self):
        return eager.torch.compile(super().make_loss())


class Inference(eager.Inference):
    def __init__(self, work, weights, batches):
        super().__init__(work, weights, batches)
        self.model = eager.torch.compile(self.model)
