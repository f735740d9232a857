"""Latencies of one row, as a server meets them: ``python -m bench.serving``.

A network of 784-100-10 answers one row at a time, on one thread: by `model.predict`, with and without `out=`, by the C file that
`to_c` writes, compiled with -O2 and with -O3 -march=native, and by ONNX Runtime where it is installed. The middle and the 99th
percentile of many calls, each timed alone; of C, called by ctypes, the time of many calls in a loop of C, divided by their number.
"""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import tempfile
import time

import numpy as np

import fastnn
from fastnn import io, nn

SIZES = (784, 100, 10)
CALLS = 20_000
LOOP = "\nvoid loop(int n, const float *x, float *y)\n{\n    for (int i = 0; i < n; i++)\n        predict(x, y);\n}\n"


def timed(call, n=CALLS):
    """(middle, 99th percentile) of n calls, in microseconds."""
    found = np.empty(n)
    for i in range(n):
        start = time.perf_counter()
        call()
        found[i] = time.perf_counter() - start
    return 1e6 * np.median(found), 1e6 * np.percentile(found, 99)


def in_c(model, flags, folder, x):
    """(name, microseconds of a call)."""
    source, library = os.path.join(folder, "model.c"), os.path.join(folder, f"model{len(flags)}.so")
    io.to_c(model, source, check=False)
    with open(source, "a", encoding="utf-8") as file:
        file.write(LOOP)
    subprocess.run(["cc", *flags, "-shared", "-fPIC", source, "-o", library, "-lm"], check=True)
    loop, pointer = ctypes.CDLL(library).loop, ctypes.POINTER(ctypes.c_float)
    y = np.empty(SIZES[-1], np.float32)
    found = []
    for _ in range(100):
        start = time.perf_counter()
        loop(200, x.ctypes.data_as(pointer), y.ctypes.data_as(pointer))
        found.append((time.perf_counter() - start) / 200)
    return 1e6 * np.median(found), 1e6 * np.percentile(found, 99)


def main():
    fastnn.set_num_threads(1)
    fastnn.manual_seed(0)
    model = nn.Sequential(*[nn.Dense(a, b, "relu" if b != SIZES[-1] else None) for a, b in zip(SIZES, SIZES[1:])])
    x = np.random.default_rng(0).random((1, SIZES[0]), np.float32)
    out = np.empty((1, SIZES[-1]), np.float32)
    rows = [
        ("predict(X)", *timed(lambda: model.predict(x))),
        ("predict(X, out=)", *timed(lambda: model.predict(x, out=out))),
    ]
    with tempfile.TemporaryDirectory() as folder:
        if shutil.which("cc"):
            for flags in (["-O2"], ["-O3", "-march=native"]):
                rows.append((f"C, {' '.join(flags)}", *in_c(model, flags, folder, x)))
        if importlib.util.find_spec("onnxruntime"):
            import onnxruntime

            path = os.path.join(folder, "model.onnx")
            io.to_onnx(model, path)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            rows.append(("ONNX Runtime, session.run", *timed(lambda: session.run(None, {"x": x}))))
    print(f"{'-'.join(map(str, SIZES))}, one row, one thread, {fastnn.get_isa()} kernels; µs\n")
    print("| by | middle | 99th percentile |\n| --- | ---: | ---: |")
    for name, middle, high in rows:
        print(f"| {name} | {middle:.1f} | {high:.1f} |")


if __name__ == "__main__":
    main()
