"""What a first training takes of a fresh process, beyond NumPy and the data: `python -m bench.start`.

It is the classifier of `fastnn train`, 64-100-10 by Adam in batches of 32, for three epochs of as many numbers drawn at random.
Each figure is the median of those of several processes, one after the other: CPU time and resident memory once `import fastnn`
is done, once what a training imports is there, and after the training, and the most that was resident (VmHWM). Then where that
memory is, by what is mapped there (/proc/self/smaps): the extension's code, of which pages count that were touched; its tables,
into which the loader wrote addresses; other libraries, such as OpenMP's; and all else: the objects of Python's modules, what
malloc gave, the stacks of threads. The modules are compiled beforehand, as pip does it when it installs them: otherwise what
compiling takes would count. Linux only.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

PROCESSES = 9


def status(key):
    """Bytes of this process that the system counts under this name. Here, where nothing is imported that would count."""
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    raise OSError(f"no {key} in /proc/self/status")


def _mapped():
    """Resident bytes by kind of mapping."""
    found = {}
    with open("/proc/self/smaps", encoding="utf-8") as file:
        for line in file:
            key, *words = line.split()
            if not key.endswith(":"):
                name = words[4] if len(words) > 4 else ""
                extension = "_native" in name and "fastnn" in name
                part = "extension's code" if "x" in words[0] else "extension's tables"
                kind = part if extension else "libraries" if ".so" in name else "all else"
            elif key == "Rss:":
                found[kind] = found.get(kind, 0) + int(words[0]) * 1024
    return found


def once():
    """{what: bytes or seconds} beyond NumPy and the data, of this process, which has imported nothing yet."""
    import numpy as np

    random = np.random.default_rng(0)
    X = random.standard_normal((1438, 64), dtype=np.float32)
    y = random.integers(0, 10, len(X))
    before = _mapped()
    bytes_, seconds = status("VmRSS"), time.process_time()
    found = {}

    def note(what):
        found[f"{what}, s"], found[f"{what}, B"] = time.process_time() - seconds, status("VmRSS") - bytes_

    import fastnn

    note("import fastnn")
    from fastnn import losses, nn, optim

    model = nn.Sequential(nn.Dense(64, 100, activation="relu"), nn.Dense(100, 10))
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=1e-3))
    note("a model and a trainer")
    trainer.fit(X, y, epochs=3, batch_size=32, verbose=0)
    note("three epochs")
    found["at most, B"] = status("VmHWM") - bytes_
    return found | {f"{kind}, B": size - before.get(kind, 0) for kind, size in _mapped().items()}


def main():
    if sys.argv[1:] == ["once"]:
        return print(json.dumps(once()))
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}
        command = [sys.executable, "-m", "bench.start", "once"]
        printed = [subprocess.run(command, env=environment, capture_output=True, check=True).stdout for _ in range(PROCESSES + 1)]
    runs = [json.loads(text) for text in printed[1:]]  # the first has compiled the modules
    for what in runs[0]:
        middle = statistics.median(run[what] for run in runs)
        print(f"{what[:-3]:24}{middle / 1e6:7.2f} MB" if what.endswith("B") else f"{what[:-3]:24}{1e3 * middle:7.1f} ms")


if __name__ == "__main__":
    main()
