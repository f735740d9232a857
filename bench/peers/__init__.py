"""The libraries that are compared, one file each, all with the same interface:

    LABEL                     how tables name it
    REQUIRES                  modules without which it is left out
    JUDGE                     what differs in its formulas by design, as arguments of the judge (numpy.py); may be absent
    environment(threads, isa) variables to set before its process starts. isa: hold it to this instruction set, as far as it
                              has a switch; None: as it comes
    setup(threads)            import it and set its threads; called once in a process, before anything else
    versions()                {name: version}
    held(isa)                 after setup: (whether all its code that counts is seen to be of this instruction set or a lower
                              one, what shows that or why nothing does)
    Training(work, weights, batches), Inference(work, weights, batches), or None where it has no such thing

A library is imported in `setup` and nowhere else, so that a missing one is a note in the report.
"""

import importlib
import importlib.util
import itertools

ISAS = ("generic", "avx2", "avx512")  # fastnn's names on x86; to other libraries generic is what has no AVX
NAMES = ("fastnn", "fastnn_call", "torch", "torch_channels_last", "torch_compile", "jax", "sklearn", "numpy", "onnxruntime")


def load(name):
    """The module of a peer."""
    if name not in NAMES:
        raise ValueError(f"peer: expected one of {', '.join(NAMES)}, got {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def missing(name):
    """The modules that a peer requires and that are not installed."""
    return [m for m in load(name).REQUIRES if importlib.util.find_spec(m) is None]


def level(text):
    """The ISA that a library's own words for its code mean; None if they name none."""
    text = text.upper().replace("-", "")
    for isa, words in (("avx512", ("AVX512", "AVX10", "AMX")), ("avx2", ("AVX",)), ("generic", ("SSE", "DEFAULT", "INVALID"))):
        if any(word in text for word in words):
            return isa
    return None


def within(found, isa):
    """Whether an ISA is `isa` or a lower one; not if it is unknown."""
    return found in ISAS and isa in ISAS and ISAS.index(found) <= ISAS.index(isa)


def common_environment(threads, isa=None):
    """What tells every BLAS and OpenMP library its number of threads. It holds nothing to an ISA."""
    return {k: str(threads) for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


class Loop:
    """What Training and Inference share: a loop of steps around the ready batches.

    A subclass keeps `self.batches`, a list of argument tuples for `step`, in the library's own kind of array.
    """

    def step(self, *batch):
        """One training step, which returns its loss, or one inference, which returns its outputs, in the library's own form."""
        raise NotImplementedError

    def finish(self):
        """Wait for what has been started."""

    def reset(self):
        """Training: the starting weights and a new optimizer again."""

    def run(self, n):
        """n steps; every one is done when it returns. Returns what the last step did."""
        step, result = self.step, None
        for batch in itertools.islice(itertools.cycle(self.batches), n):
            result = step(*batch)
        self.finish()
        return result

    def number(self, loss):
        """A loss as a float."""
        return float(loss)

    def array(self, outputs):
        """Outputs as a NumPy array."""
        return outputs
