"""Peak memory of training beyond the interpreter, the library and the data: `python -m bench.memory PEER WORK`.

In a fresh process: import the library and run a tiny network once, so that whatever it loads lazily is loaded; make the
data; note the resident memory; then build the network and its optimizer and do three steps. The figure is the highest
resident memory of all that (VmHWM, reset at the start) less the memory noted. Beside it stands the same for the three
steps alone: the peak that remains if building takes more than training. Linux only.
"""

import gc
import json
import sys

from . import peers, works
from .start import status


def _reset_peak():
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def measure(name, work):
    """Bytes beyond interpreter and data: at most while building and training, and at most while training."""
    peer = peers.load(name)
    peer.setup(1)
    tiny = works.Work("train", (4, 4, 3), 8)
    loop = peer.Training(tiny, works.weights(tiny), works.batches(tiny))
    loop.run(2)
    del loop
    weights, batches = works.weights(work), works.batches(work)[:2]
    gc.collect()
    _reset_peak()
    before = status("VmRSS")
    loop = peer.Training(work, weights, batches)
    built = status("VmHWM")
    _reset_peak()
    loop.run(3)
    trained = status("VmHWM")
    return {"peak": max(built, trained) - before, "training": trained - before}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], works.WORKS[sys.argv[2]])))
