"""Whether the fastnn that is installed here works: kernels against NumPy on every instruction set, OpenMP, and README's examples.

    python packaging/check_wheel.py        # in an environment with the wheel and what it depends on; no compiler is needed

Exits with an error where something does not hold. Run from anywhere but the sources, or it would import those.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def main():
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() not in (README.parent, README.parent / "packaging")]
    import fastnn
    from fastnn.core.runtime import openmp_runtime

    fastnn.show_config()
    if Path(fastnn.__file__).resolve().parent == README.parent / "fastnn":
        raise SystemExit("expected an installed fastnn, got the sources")
    if not openmp_runtime()[0] and os.environ.get("FASTNN_NO_OPENMP", "0") in ("", "0"):
        raise SystemExit("expected OpenMP in a wheel for others, got one for one thread")
    fastnn.selftest()
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.M | re.S)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for block in blocks:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block, str(README), "exec"), {"__name__": "__main__"})
            if len(printed.getvalue().splitlines()) != len(re.findall(r"^ *print\(", block, re.M)):
                raise SystemExit(f"README's example printed {printed.getvalue()!r}:\n{block}")
        command = [sys.executable, "-m", "fastnn", "train", "--quiet", "--output", "model.safetensors"]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="")
        os.chdir(README.parent)
    print(f"all of it works: {len(blocks)} examples, {', '.join(fastnn.available_isas())}")


if __name__ == "__main__":
    main()
