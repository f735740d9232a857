"""In how many source files a thing is named: `python -m bench.places`, or `python -m bench.places NAME ...` for other names.

Every source file below csrc/ and fastnn/ that is written by hand counts where its code has the name; comments and docstrings do not.
Three columns: the files that make the thing and let models use it; `__init__` files, which only hand it on; and what brings models in
and out: files' formats, the command line, estimators. Left out are tests, docs, benches and examples, which show a thing and do not make
it. Fewer is better: one fact, one place.
"""

import ast
import io
import re
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
THINGS = {  # name: what it is
    "maxout": "a layer with operations of its own",
    "prelu": "a layer with operations and parameters of its own",
    "mish": "an activation",
    "quantile": "an elementwise loss",
    "lion": "an elementwise optimizer",
    "adafactor": "an optimizer of whole arrays",
}
WAYS = ("fastnn/io/", "fastnn/cli/", "fastnn/sklearn/")


def code_of(path):
    """The text of a source file without comments, docstrings, and what is for type checkers alone."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
            elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                for line in range(node.body[0].lineno - 1, node.body[-1].end_lineno):
                    lines[line] = "" if line > node.body[0].lineno - 1 else " " * node.body[0].col_offset + "pass"
        for t in tokenize.generate_tokens(io.StringIO(text).readline):
            if t.type == tokenize.COMMENT:
                lines[t.start[0] - 1] = lines[t.start[0] - 1][: t.start[1]]
        return "\n".join(lines)
    if path.suffix in (".pyx", ".pxd", ".pxi"):
        return re.sub(r'"""[\s\S]*?"""|#[^\n]*', "", text)
    return re.sub(r"/\*[\s\S]*?\*/|//[^\n]*", "", text)


def sources():
    """{path below the root: its code}, of what is written by hand."""
    kinds = (".c", ".h", ".def", ".py", ".pyx", ".pxd", ".pxi")
    paths = [p for folder in ("csrc", "fastnn") for p in sorted((ROOT / folder).rglob("*")) if p.suffix in kinds]
    return {p.relative_to(ROOT).as_posix(): code_of(p) for p in paths if p.name != "_native.c"}


def places(name, found):
    """(files that make it, `__init__` files, ways in and out) that name it."""
    pattern = re.compile(rf"(?<![a-z]){name}(?![a-z])", re.IGNORECASE)  # maxout, Maxout, FNN_OP_maxout_forward
    having = [path for path, code in found.items() if pattern.search(code)]
    inits = [p for p in having if p.endswith("__init__.py")]
    ways = [p for p in having if p.startswith(WAYS) and p not in inits]
    return [p for p in having if p not in inits and p not in ways], inits, ways


def table(names):
    found = sources()
    lines = ["| thing | files | handed on | ways in and out |", "| --- | ---: | ---: | ---: |"]
    for name in names:
        made, inits, ways = places(name, found)
        lines.append(f"| {name}{f', {THINGS[name]}' if name in THINGS else ''} | {len(made)} | {len(inits)} | {len(ways)} |")
        lines += [f"|   {p} | | | |" for p in [*made, *inits, *ways]]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(sys.argv[1:] or THINGS))
