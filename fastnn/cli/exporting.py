"""``fastnn export``: a saved network in a form that other programs run."""

import os

from .errors import UsageError, check_output, reason, show
from .files import load_model, read

ENDINGS = {"onnx": ".onnx", "c": ".c", "numpy": ".py"}  # of the files that models are exported to


def export(args):
    """The command."""
    ending = ENDINGS[args.to]
    output = args.output or os.path.splitext(args.model)[0] + ending
    for flag, given, format in (("--opset", args.opset is not None, "onnx"), ("--int8", args.int8, "c")):
        if given and args.to != format:
            raise UsageError(f"argument {flag}: expected with --to {format} only, got --to {args.to}")
    if args.to == "numpy" and not output.endswith(ending):
        raise UsageError(f"argument --output: expected a name that ends in {ending}, got {show(output)}")
    written = [output, output[: -len(ending)] + ".npz"] if args.to == "numpy" else [output]
    for name in written:
        check_output(name, args.model)
    model = read(args.model, "MODEL", load_model)
    from .. import io

    more = ""
    try:
        if args.to == "onnx":
            io.to_onnx(model, output, **({} if args.opset is None else {"opset": args.opset}))
        elif args.to == "numpy":
            io.to_numpy(model, output)
        else:
            file = io.to_c(model, output, weights="int8" if args.int8 else "float32")
            more = f"; outputs within {max(file.error, 1e-6):.2g} of the model's" if args.int8 or file.error > 1e-6 else ""
            compiler = os.path.basename(file.compiler.split()[-1]) if file.compiler else None
            more += f"; tried with {compiler}" if compiler else "; no compiler to try it with"
    except (ValueError, RuntimeError) as error:
        argument, _, rest = str(error).partition(": ")
        where = f"argument --opset: {rest}" if argument == "opset" else f"argument MODEL: {show(args.model)}: {error}"
        raise UsageError(where) from None
    except OSError as error:
        raise UsageError(f"argument --output: {show(output)}: {reason(error)}") from None
    print(f"model written to {' and '.join(map(show, written))}{more}")
    return 0
