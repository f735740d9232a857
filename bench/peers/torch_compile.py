"""PyTorch with torch.compile (inductor) around the network and its loss; the update is the fused Adam, as in eager mode."""

import importlib
import os

from . import level, torch as eager, within
from .torch import setup, versions  # noqa: F401  the interface

LABEL = "torch.compile, fused Adam"
REQUIRES = ("torch",)


MARCH = {"generic": "x86-64", "avx2": "x86-64-v3"}  # for what it hands to the C++ compiler, which else is -march=native


def environment(threads, isa=None):
    # compiling in the process itself leaves no pool of compilers behind
    own = {"TORCHINDUCTOR_COMPILE_THREADS": "1", "TORCHINDUCTOR_CACHE_DIR": _cache(threads, isa)}
    march = {"TORCHINDUCTOR_CPP_MARCH": MARCH[isa]} if isa in MARCH else {}
    return {**eager.environment(threads, isa), **own, **march}


def _cache(threads, isa):
    return os.path.join(os.environ.get("TMPDIR", "/tmp"), f"bench-inductor-{os.getuid()}-{threads}" + f"-{isa}" * bool(isa))


def held(isa):
    found, how = eager.held(isa)
    vectors = str(importlib.import_module("torch._inductor.cpu_vec_isa").pick_vec_isa())
    march = getattr(importlib.import_module("torch._inductor.config").cpp, "march", None)
    own = within(level(vectors), isa) and march == MARCH.get(isa, march)
    return found and own, f"inductor {vectors}, -march={march or 'native'}; {how}"


class Training(eager.Training):
    def make_loss(self):
        return eager.torch.compile(super().make_loss())


class Inference(eager.Inference):
    def __init__(self, work, weights, batches):
        super().__init__(work, weights, batches)
        self.model = eager.torch.compile(self.model)
