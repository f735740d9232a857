"""Beside packages that have threads of OpenMP too. Each wheel brings a library of its own, so that two may be in one process:
fastnn's, and torch's or scikit-learn's.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastnn import _native

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(_native.cpus() < 2 or not _native.omp_version(), reason="needs two CPUs, and OpenMP")

OTHERS = {  # import, setup, work that its threads share
    "torch": (
        "import torch",
        "torch.set_num_threads(2); x = torch.arange(1e6, dtype=torch.float64)",
        "round(float(torch.sin(x).sum()), 3)",
    ),
    "sklearn": (
        "from sklearn.cluster import KMeans",
        "x = np.random.default_rng(0).standard_normal((3000, 8))",
        "round(float(KMeans(4, n_init=1, max_iter=5, random_state=0).fit(x).inertia_), 3)",
    ),
}
CODE = """
import json, threading
import numpy as np
{imports}
from fastnn import kernels, _native

fastnn.set_num_threads(2)
_native.team_work(0)
r = np.random.default_rng(0)
a, b = r.standard_normal((40, 300)).astype(np.float32), r.standard_normal((300, 70)).astype(np.float32)
def mine():
    return kernels.dense_forward(a, b).tobytes()

{setup}
def other():
    return {work}

expected = mine(), other()
for _ in range(20):
    assert (mine(), other()) == expected
same = []
beside = threading.Thread(target=lambda: same.append(all(other() == expected[1] for _ in range(10))))
beside.start()
while beside.is_alive():
    assert mine() == expected[0]
beside.join()
print(json.dumps([same, fastnn.get_num_threads()]))
"""


@pytest.mark.parametrize("first", [True, False], ids=["imported first", "imported last"])
@pytest.mark.parametrize("name", OTHERS)
def test_in_turns_and_at_once(name, first):
    """The same results in either order of imports, and nobody waits for ever."""
    pytest.importorskip(name)
    imports, setup, work = OTHERS[name]
    both = ("import fastnn", imports) if first else (imports, "import fastnn")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("FASTNN_", "OMP_", "GOMP_"))}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
    code = CODE.format(imports="\n".join(both), setup=setup, work=work)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[True], 2]
