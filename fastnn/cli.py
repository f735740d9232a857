"""The command ``fastnn``: train a network on files, predict with a saved one, show what the package runs on.

A mistake of the user's is one line on standard error and exit code 2; Ctrl-C is 130. `main` may be called from Python.
"""

import argparse
import contextlib
import math
import os
import stat
import sys
import warnings

from ._version import __version__

__all__ = ["main"]

DEFAULT_OUTPUT = "fastnn-model.safetensors"
_OPTIMIZERS = {  # name: class, learning rate for small networks, momentum (None: it has no such argument)
    "adadelta": ("Adadelta", 1.0, None),
    "adagrad": ("Adagrad", 0.02, None),
    "adam": ("Adam", 0.001, None),
    "adamax": ("Adamax", 0.005, None),
    "adamw": ("AdamW", 0.001, None),
    "lamb": ("LAMB", 0.002, None),
    "lion": ("Lion", 0.0003, None),
    "nadam": ("NAdam", 0.002, None),
    "radam": ("RAdam", 0.002, None),
    "rmsprop": ("RMSprop", 0.001, 0.0),
    "schedulefreeadamw": ("ScheduleFreeAdamW", 0.0025, None),
    "sgd": ("SGD", 0.05, 0.9),
}
_ENDINGS = {"onnx": ".onnx", "c": ".c", "numpy": ".py"}  # of the files that models are exported to
_SCHEDULES = ("constant", "cosine", "linear", "step", "onecycle")
_MOST_CLASSES = 1 << 16  # a label beyond is a file of something else
_BLOCK = 1 << 22  # values looked at, or written as text, at a time

_EXAMPLES = """\
examples:
  fastnn train                              on the packaged handwritten digits
  fastnn train images.gz labels.gz          on your own files (MNIST's format)
  fastnn predict fastnn-model.safetensors new.npy
                                            the class of each new sample
  fastnn export fastnn-model.safetensors --to onnx
                                            the network for other programs
  fastnn info                               what the package runs on

'fastnn train --help', 'fastnn predict --help' and so on explain the options.
"""

_TRAIN_TEXT = """\
Trains a network that classifies: an image or vector in, one of several
classes out. It shuffles the samples, holds a share of them out, trains on
the rest, tests on the share, and saves the model.

Without files it trains on the packaged digits. Files are IDX, the format of
MNIST, plain or gzip: IMAGES holds the samples (first dimension: which one),
LABELS an integer from 0 up for each. Values of type uint8 (0 to 255) are
divided by 255, also by the saved model, so that it takes raw data; others
are taken as they are and learn best when they lie between about -1 and 1.
"""

_TRAIN_EXAMPLES = """\
examples:
  fastnn train
  fastnn train --hidden 64,32 --epochs 50 --output digits.safetensors
  fastnn train train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz
  fastnn train images.idx labels.idx --optimizer sgd --lr 0.1 --seed 7
  fastnn train --hidden 256,128 --activation gelu --batchnorm --dropout 0.2
  fastnn train --optimizer adamw --weight-decay 0.1 --schedule cosine --warmup 1
"""

_PREDICT_TEXT = """\
Prints the class of each sample, one a line, or with --proba the probabilities
of all classes, separated by spaces. DATA is an IDX file (plain or gzip) or an
.npy file of NumPy's, in the units of the data that the model was trained on.
"""

_PREDICT_EXAMPLES = """\
examples:
  fastnn predict fastnn-model.safetensors t10k-images-idx3-ubyte.gz
  fastnn predict fastnn-model.safetensors new.npy --proba --output new-proba.npy
"""

_EXPORT_TEXT = """\
Writes a saved network in a form that other programs run: an ONNX file; one
file of C, a function for one sample that needs nothing else; or a Python
module that needs NumPy only, with its weights in an .npz file beside it.
"""

_EXPORT_EXAMPLES = """\
examples:
  fastnn export fastnn-model.safetensors --to onnx
  fastnn export fastnn-model.safetensors --to c --int8 --output digits.c
  fastnn export fastnn-model.safetensors --to numpy --output digits.py
"""


class UsageError(Exception):
    """What the user has to change, in one line."""


class _Diverged(Exception):
    """Training led to a loss that is no number."""


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UsageError(message)


# ---- arguments ----


def _integer(least, most=None):
    limits = f"an integer >= {least}" if most is None else f"an integer from {least} to {most}"

    def parse(text):
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"expected {limits}, got {text!r}")
        return value

    return parse


def _real(accepts, limits):
    def parse(text):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and accepts(value)):
            raise argparse.ArgumentTypeError(f"expected a number {limits}, got {text!r}")
        return value

    return parse


def _one_of(*names):
    def parse(text):
        if text not in names:
            raise argparse.ArgumentTypeError(f"expected one of {', '.join(names)}, got {text!r}")
        return text

    return parse


def _sizes(text):
    if text == "none":
        return ()
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or not all(1 <= n < 2**31 for n in sizes):
        raise argparse.ArgumentTypeError(f"expected sizes from 1 up, separated by commas, such as 256,128, got {text!r}")
    return sizes


def _parser():
    from .core.activations import ACTIVATIONS

    activations = (*ACTIVATIONS, "prelu")
    plain = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog="fastnn",
        description="Trains neural networks on the CPU.",
        epilog=_EXAMPLES,
        formatter_class=plain,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fastnn {__version__}")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")

    def command(name, run, summary, text, examples=None):
        made = commands.add_parser(
            name, help=summary, description=text, epilog=examples, formatter_class=plain, allow_abbrev=False
        )
        made.set_defaults(run=run)
        return made

    train = command("train", _train, "train a network and save it", _TRAIN_TEXT, _TRAIN_EXAMPLES)
    train.add_argument("images", nargs="?", metavar="IMAGES", help="IDX file of samples; the packaged digits without it")
    train.add_argument("labels", nargs="?", metavar="LABELS", help="IDX file of their labels")
    add = train.add_argument_group("the model").add_argument
    add("--hidden", type=_sizes, default=(100,), metavar="N,N,...",
        help="units of each hidden layer, from the input on, or 'none' (default: 100)")  # fmt: skip
    add("--activation", type=_one_of(*activations), metavar="NAME",
        help=f"of the hidden layers: {', '.join(activations)} (default: relu)")  # fmt: skip
    add("--batchnorm", action="store_true", help="normalise each hidden layer over the batch, before its activation")
    add("--dropout", type=_real(lambda v: 0 <= v < 1, ">= 0 and < 1"), default=0.0, metavar="SHARE",
        help="share of each hidden layer's outputs that is dropped in training (default: 0)")  # fmt: skip
    add = train.add_argument_group("the training").add_argument
    add("--optimizer", type=lambda text: _one_of(*_OPTIMIZERS)(text.lower()), default="adam", metavar="NAME",
        help=f"{', '.join(_OPTIMIZERS)} (default: adam)")  # fmt: skip
    add("--lr", type=_real(lambda v: v > 0, "> 0"), metavar="RATE",
        help="learning rate, the highest of a schedule (default: "
        + ", ".join(f"{rate:g} for {name}" for name, (_, rate, _) in _OPTIMIZERS.items()) + ")")  # fmt: skip
    add("--schedule", type=_one_of(*_SCHEDULES), default="constant", metavar="NAME",
        help="of the learning rate over the training: constant; cosine or linear, down to 0; step, a tenth after each third of "
        "the epochs; onecycle, up, then down to almost 0 (default: constant)")  # fmt: skip
    add("--warmup", type=_real(lambda v: v >= 0, ">= 0"), default=0.0, metavar="EPOCHS",
        help="epochs in which the learning rate climbs, before the schedule (default: 0)")  # fmt: skip
    add("--momentum", type=_real(lambda v: 0 <= v < 1, ">= 0 and < 1"), metavar="SHARE",
        help="of sgd and rmsprop: share of the last step that is kept in the next "
        "(default: 0.9 for sgd, 0 for rmsprop)")  # fmt: skip
    add("--weight-decay", type=_real(lambda v: v >= 0, ">= 0"), metavar="RATE",
        help="how fast weights shrink by themselves (default: 0.01 for adamw, 0 for the others)")  # fmt: skip
    add("--clip-norm", type=_real(lambda v: v > 0, "> 0"), metavar="NORM",
        help="largest norm of all gradients of a step together (default: no limit)")  # fmt: skip
    add("--epochs", type=_integer(0), default=20, metavar="N", help="passes over the training samples (default: 20)")
    add("--batch-size", type=_integer(1), default=32, metavar="N", help="samples of one step (default: 32)")
    add("--validation-share", type=_real(lambda v: 0 <= v < 1, ">= 0 and < 1"), default=0.2, metavar="SHARE",
        help="share of the samples that is held out and tested on at the end (default: 0.2)")  # fmt: skip
    add("--seed", type=_integer(0, 2**64 - 1), default=0, metavar="N",
        help="fixes everything random: same seed, same model (default: 0)")  # fmt: skip
    add("--threads", type=_integer(1, 4096), metavar="N",
        help="threads to use; the model does not depend on it (default: as many as there are CPUs)")  # fmt: skip
    add = train.add_argument_group("the results").add_argument
    add("--output", default=DEFAULT_OUTPUT, metavar="FILE", help=f"file for the model (default: {DEFAULT_OUTPUT})")
    add("--quiet", action="store_true", help="print the results only")

    predict = command("predict", _predict, "classify samples with a saved network", _PREDICT_TEXT, _PREDICT_EXAMPLES)
    predict.add_argument("model", metavar="MODEL", help="file that 'fastnn train' or model.save wrote")
    predict.add_argument("data", metavar="DATA", help="IDX or .npy file of samples")
    predict.add_argument("--proba", action="store_true", help="probabilities of all classes instead of the likeliest one")
    predict.add_argument("--output", metavar="FILE", help="write to this .npy or .txt file instead of printing")

    export = command("export", _export, "write a saved network as ONNX, C or NumPy", _EXPORT_TEXT, _EXPORT_EXAMPLES)
    export.add_argument("model", metavar="MODEL", help="file that 'fastnn train' or model.save wrote")
    export.add_argument("--to", type=_one_of(*_ENDINGS), required=True, metavar="FORMAT", help=f"{', '.join(_ENDINGS)}")
    export.add_argument("--output", metavar="FILE", help="file to write (default: MODEL's name, ending as the format's files do)")
    export.add_argument("--opset", type=_integer(1), metavar="N", help="of onnx: the version of its operators (default: 18)")
    export.add_argument("--int8", action="store_true", help="of c: weights as integers of 8 bits; says how far off outputs are")

    command("info", _info, "show versions, CPU, instruction set and threads",
            "Prints versions, CPU, instruction set, threads and OpenMP runtime.")  # fmt: skip
    return parser


# ---- files ----


def _show(name):
    """A file's name for a message: as it is, or quoted where it would not be one readable line."""
    return name if name.isprintable() and name else repr(name)


def _reason(error):
    """An exception in a few words, without the number and the name that OSError repeats."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    return getattr(error, "strerror", None) or str(error)


def _check_output(name, *inputs):
    """Raise unless a file of that name could be written now, and is none of the inputs; nothing is left behind."""

    def refuse(why):
        return UsageError(f"argument --output: expected a file that can be written, got {_show(name)}: {why}")

    target = os.path.realpath(name)
    probe = os.path.join(os.path.dirname(target), f".fastnn-{os.urandom(8).hex()}.tmp")
    if not name or name.endswith(os.sep) or os.path.isdir(target):
        raise refuse("it is a folder" if name else "an empty name")
    if os.path.exists(target) and not os.path.isfile(target):
        raise refuse("it is not a regular file")
    for other in inputs:
        if other is not None and os.path.exists(target) and os.path.exists(other) and os.path.samefile(target, other):
            raise refuse("the command reads from it")
    try:
        with contextlib.suppress(FileNotFoundError):
            os.lstat(name)  # fails for a name that is too long
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.unlink(probe)
    except (OSError, ValueError) as error:
        raise refuse(_reason(error)) from None


def _read(name, argument, reader):
    """`reader(name)`, every way of failing turned into a line that names the argument and the file."""
    try:
        return reader(name)
    except (OSError, MemoryError) as error:
        raise UsageError(f"argument {argument}: {_show(name)}: {_reason(error)}") from None
    except (ValueError, TypeError, RecursionError) as error:
        message = str(error) if repr(name) in str(error) else f"{_show(name)}: {error}"
        raise UsageError(f"argument {argument}: {message}") from None


def _read_samples(name, argument):
    """The samples of an IDX or .npy file, checked: rows first, real, finite in float32, at least one."""
    X = _read(name, argument, _read_npy if _is_npy(name) else _read_idx)
    where = f"argument {argument}: {_show(name)}"
    if X.dtype.kind not in "biuf":
        raise UsageError(f"{where}: expected real numbers, got dtype {X.dtype}")
    if X.ndim < 2 or X.size == 0:
        hint = "; are these the labels?" if argument == "IMAGES" and X.ndim == 1 else ""
        raise UsageError(f"{where}: expected samples of at least one value, in rows, got shape {X.shape}{hint}")
    if X.dtype.kind == "f":
        _check_finite(X, where)
    return X


def _check_finite(X, where):
    import numpy as np

    rows = max(1, _BLOCK // math.prod(X.shape[1:]))
    largest = float(np.finfo(np.float32).max)
    for begin in range(0, len(X), rows):
        block = X[begin : begin + rows].reshape(len(X[begin : begin + rows]), -1)
        bad = ~(abs(block) <= largest).all(axis=1)  # a NaN compares false
        if bad.any():
            row = begin + int(bad.argmax())
            raise UsageError(f"{where}: expected values that are finite in float32, got others in sample {row}")


def _read_idx(name):
    from .data import read_idx

    return read_idx(name)


def _is_npy(name):
    try:
        if not stat.S_ISREG(os.stat(name).st_mode):
            return False  # a pipe can be read only once
        with open(name, "rb") as file:
            return file.read(6) == b"\x93NUMPY" or name.endswith(".npy")
    except (OSError, ValueError):
        return False


def _read_npy(name):
    """A memory map of the array, once its header has been held against the size of the file."""
    import numpy as np

    def refuse(why):
        return ValueError(f"{name!r}: expected an .npy file, got {why}")

    with open(name, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers in old forms
        try:
            version = np.lib.format.read_magic(file)
            readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in readers:
                raise ValueError(f"version {version[0]}.{version[1]} of the format, which is for dtypes with names")
            shape, fortran, dtype = readers[version](file)
        except Exception as error:  # whatever a hostile header makes the parser do
            raise refuse(f"one whose header cannot be read ({' '.join(str(error).split())})") from None
        if dtype.hasobject:
            raise refuse("one of Python objects, which could run code when they are read")
        size, held = dtype.itemsize * math.prod(shape), os.fstat(file.fileno()).st_size - file.tell()
        if min(shape, default=0) < 0 or size != held:
            raise refuse(f"one whose header claims shape {shape} of {dtype}, {size} bytes, while {held} bytes follow it")
        if size == 0:
            return np.empty(shape, dtype)
        order = "F" if fortran else "C"
        return np.memmap(file, dtype=dtype, mode="r", offset=file.tell(), shape=shape, order=order).view(np.ndarray)


# ---- train ----


def _train(args):
    import numpy as np

    from . import data, losses, nn
    from .core import runtime
    from .training.callbacks import Callback
    from .init import manual_seed
    from .training import Trainer

    if args.images is not None and args.labels is None:
        raise UsageError("argument LABELS: expected the file of the labels after that of the images, got none")
    for option in ("activation", "batchnorm", "dropout"):
        if getattr(args, option) and not args.hidden:
            raise UsageError(f"argument --{option}: expected only with hidden layers, got it with --hidden none")
    if args.momentum is not None and _OPTIMIZERS[args.optimizer][2] is None:
        raise UsageError(f"argument --momentum: expected only with --optimizer sgd or rmsprop, got it with {args.optimizer}")
    if args.warmup and args.schedule == "onecycle":
        raise UsageError("argument --warmup: expected with another schedule than onecycle, which begins with one of its own")
    if args.warmup and args.warmup >= args.epochs:
        raise UsageError(f"argument --warmup: expected fewer epochs than --epochs, {args.epochs}, got {args.warmup:g}")
    _check_output(args.output, args.images, args.labels)
    say = (lambda *words: None) if args.quiet else print

    if args.images is None:
        X, y = data.load_digits()
        scale, source = 1 / 16, "the packaged digits"
    else:
        X = _read_samples(args.images, "IMAGES")
        y = _read_labels(args.labels, X, args.images)
        scale, source = 1 / 255 if X.dtype == np.uint8 else None, _show(args.images)
    classes = int(y.max()) + 1
    X_train, X_test, y_train, y_test = _split(data, X, y, args)
    shape = " x ".join(map(str, X.shape[1:]))
    say(f"data   {len(X):,} samples of {shape} from {source}, {classes} classes")
    say(f"split  {len(X_train):,} to train on, {len(X_test):,} held out for the test")
    del X

    sizes = [math.prod(X_train.shape[1:]), *args.hidden, classes]
    count = sum(n * m + m for n, m in zip(sizes, sizes[1:]))
    _check_memory(40 * count, f"argument --hidden: expected a model that fits in memory, got one of {count:,} parameters")
    activation = args.activation or "relu"
    layers = [nn.Flatten(), *([] if scale is None else [nn.Rescaling(scale)])]
    manual_seed(args.seed)
    model = nn.Sequential(*layers, *nn.mlp(sizes, activation, batchnorm=args.batchnorm, dropout=args.dropout).layers)
    batch = min(args.batch_size, len(X_train))
    if batch < model.least_rows:
        raise UsageError(f"argument --batch-size: expected at least {model.least_rows} samples for --batchnorm, got {batch}")
    drop_last = 0 < len(X_train) % batch < model.least_rows  # too few to normalise over
    optimizer, rule = _optimizer(args, model, -(-len(X_train) // batch) - drop_last)
    trainer = Trainer(model, losses.SoftmaxCrossEntropy(), optimizer, seed=args.seed, clip_norm=args.clip_norm)
    bytes_needed = trainer.plan(batch).peak_bytes
    _check_memory(bytes_needed, f"argument --batch-size: expected a batch that fits in memory, got {batch}")

    unit = f"{'batchnorm ' if args.batchnorm else ''}{activation}{f' dropout {args.dropout:g}' if args.dropout else ''}"
    hidden = "".join(f" -> {n} {unit}" for n in args.hidden)
    count, megabytes = model.num_parameters(), bytes_needed / 1e6
    say(f"model  {sizes[0]}{hidden} -> {classes}: {count:,} parameters, {megabytes:,.1f} MB while it trains")
    say(f"run    {args.epochs:,} epochs in batches of {batch}, {rule}, seed {args.seed}")
    threads = runtime.get_num_threads()
    say(f"with   {threads} thread{'s' if threads > 1 else ''}, {runtime.get_isa()} kernels")

    class Watch(Callback):
        def on_epoch_end(self, epoch, logs):
            if not math.isfinite(logs["loss"]):
                what = f"the loss became {logs['loss']} in epoch {epoch + 1}"
                raise _Diverged(f"{what}; a smaller --lr may help; nothing was saved")

    verbose = 0 if args.quiet else 1 if sys.stderr.isatty() else 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a loss that is not finite: Watch says it in one line
        history = trainer.fit(
            X_train, y_train, args.epochs, batch, drop_last=drop_last, verbose=verbose, callbacks=[Watch()]
        )
    say(f"time   {sum(history.get('seconds', ())):.2f} s")
    if len(X_test):
        accuracy = trainer.evaluate(X_test, y_test)["accuracy"]
        print(f"test accuracy {accuracy:.4f} ({round(accuracy * len(X_test)):,} of {len(X_test):,})")
    else:
        accuracy = trainer.evaluate(X_train, y_train)["accuracy"]
        print(f"training accuracy {accuracy:.4f} (nothing was held out for a test)")
    try:
        with optimizer.evaluating():  # the average, of one that keeps an average in place of a schedule
            model.save(args.output)
    except OSError as error:
        raise UsageError(f"argument --output: {_show(args.output)}: {_reason(error)}") from None
    print(f"model saved to {_show(args.output)}")
    return 0


def _optimizer(args, model, steps):
    """The optimizer for epochs of so many steps, and what it is in words."""
    from . import optim, schedules

    kind, lr, momentum = _OPTIMIZERS[args.optimizer]
    lr = lr if args.lr is None else args.lr
    rule = f"{args.optimizer}, learning rate {lr:g}"
    warmup = round(args.warmup * steps)
    total = max(args.epochs * steps - warmup, 1)
    if args.schedule != "constant":
        rule += f" {args.schedule}"
        lr = {
            "cosine": lambda: schedules.Cosine(lr, T_max=total),
            "linear": lambda: schedules.Linear(lr, 1.0, 0.0, total),
            "step": lambda: schedules.Step(lr, -(-total // 3)),
            "onecycle": lambda: schedules.OneCycle(lr, total),
        }[args.schedule]()
    if warmup:
        rule += f" after a warm-up of {args.warmup:g} epoch{'s' if args.warmup != 1 else ''}"
        lr = schedules.WarmUp(lr, warmup, 1 / warmup)
    settings = {"lr": lr}
    if momentum is not None:
        settings["momentum"] = momentum if args.momentum is None else args.momentum
        rule += f", momentum {settings['momentum']:g}"
    if args.weight_decay is not None:
        settings["weight_decay"] = args.weight_decay
        rule += f", weight decay {args.weight_decay:g}"
    if args.clip_norm is not None:
        rule += f", gradients clipped to {args.clip_norm:g}"
    return getattr(optim, kind)(model.parameters(), **settings), rule


def _read_labels(name, X, images):
    y = _read(name, "LABELS", _read_idx)
    where = f"argument LABELS: {_show(name)}"
    if y.ndim != 1:
        raise UsageError(f"{where}: expected labels in 1 dimension, got shape {y.shape}")
    if y.dtype.kind not in "iu":
        raise UsageError(f"{where}: expected integer labels, got dtype {y.dtype}")
    if len(y) != len(X):
        raise UsageError(f"{where}: expected {len(X)} labels, as many as samples in {_show(images)}, got {len(y)}")
    for row in (int(y.argmin()), int(y.argmax())):
        if not 0 <= y[row] < _MOST_CLASSES:
            raise UsageError(f"{where}: expected labels from 0 to {_MOST_CLASSES - 1}, got {y[row]} for sample {row}")
    if y.max() == 0:
        raise UsageError(f"{where}: expected at least 2 classes, got only label 0")
    return y


def _split(data, X, y, args):
    """Samples to train on and to test on, which may be none."""
    if args.validation_share == 0:
        return X, X[:0], y, y[:0]
    if len(X) < 2:
        raise UsageError(f"argument IMAGES: {_show(args.images)}: expected at least 2 samples, to hold some out, got {len(X)}")
    try:
        return data.train_test_split(X, y, test_size=args.validation_share, seed=args.seed)
    except MemoryError:
        raise UsageError("argument IMAGES: not enough memory to shuffle the samples") from None


def _check_memory(needed, message):
    try:
        held = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return  # a system that does not tell
    if needed > held > 0:
        raise UsageError(f"{message}, which need {needed / 1e9:,.0f} GB of the machine's {held / 1e9:,.0f} GB")


# ---- predict ----


def _predict(args):
    import numpy as np

    from .core.atomic_files import replacing

    if args.output is not None:
        if not args.output.endswith((".npy", ".txt")):
            raise UsageError(f"argument --output: expected a name that ends in .npy or .txt, got {_show(args.output)}")
        _check_output(args.output, args.model, args.data)
    model = _read(args.model, "MODEL", _load_model)
    X = _read_samples(args.data, "DATA")
    features = math.prod(X.shape[1:])
    if features != model.in_features:
        raise UsageError(
            f"argument DATA: {_show(args.data)}: expected samples of {model.in_features} values, as {_show(args.model)} "
            f"takes them, got {features} ({' x '.join(map(str, X.shape[1:]))})"
        )
    X = X.reshape(len(X), features)
    try:
        result = model.predict_proba(X) if args.proba else model.predict_classes(X)
    except ValueError as error:  # a model of the losses of regression
        raise UsageError(f"argument MODEL: {_show(args.model)}: {error}") from None
    if args.output is None:
        for text in _lines(result):
            sys.stdout.write(text)
        return 0
    try:
        with replacing(args.output) as file:
            if args.output.endswith(".npy"):
                np.save(file, result, allow_pickle=False)
            else:
                for text in _lines(result):
                    file.write(text.encode("ascii"))
    except OSError as error:
        raise UsageError(f"argument --output: {_show(args.output)}: {_reason(error)}") from None
    return 0


def _load_model(name):
    from . import nn

    if not stat.S_ISREG(os.stat(name).st_mode) and not os.path.isdir(name):
        raise ValueError(f"{name!r}: expected a model file of fastnn, got something that is not a regular file")
    return nn.load(name)


def _lines(result):
    """The text of classes [rows] or probabilities [rows, classes], some rows at a time."""
    rows = max(1, _BLOCK // 16 // (result.shape[1] if result.ndim > 1 else 1))
    for begin in range(0, len(result), rows):
        block = result[begin : begin + rows].tolist()
        if result.ndim > 1:
            yield "".join(" ".join(f"{p:.7g}" for p in row) + "\n" for row in block)
        else:
            yield "".join(f"{c}\n" for c in block)


# ---- export ----


def _export(args):
    ending = _ENDINGS[args.to]
    output = args.output or os.path.splitext(args.model)[0] + ending
    for flag, given, format in (("--opset", args.opset is not None, "onnx"), ("--int8", args.int8, "c")):
        if given and args.to != format:
            raise UsageError(f"argument {flag}: expected with --to {format} only, got --to {args.to}")
    if args.to == "numpy" and not output.endswith(ending):
        raise UsageError(f"argument --output: expected a name that ends in {ending}, got {_show(output)}")
    written = [output, output[: -len(ending)] + ".npz"] if args.to == "numpy" else [output]
    for name in written:
        _check_output(name, args.model)
    model = _read(args.model, "MODEL", _load_model)
    from . import io

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
        where = f"argument --opset: {rest}" if argument == "opset" else f"argument MODEL: {_show(args.model)}: {error}"
        raise UsageError(where) from None
    except OSError as error:
        raise UsageError(f"argument --output: {_show(output)}: {_reason(error)}") from None
    print(f"model written to {' and '.join(map(_show, written))}{more}")
    return 0


# ---- info ----


def _info(args):
    from .core.runtime import show_config

    show_config()
    return 0


# ---- the command itself ----


def _with_threads(args):
    """Run the command with the threads that it was told to use, then give the process its number back."""
    threads = getattr(args, "threads", None)
    if threads is None:
        return args.run(args)
    from .core.runtime import get_num_threads, set_num_threads

    before = get_num_threads()
    set_num_threads(threads)
    try:
        return args.run(args)
    finally:
        set_num_threads(before)


def _fail(message, code):
    print("fastnn: " + " ".join(str(message).split()), file=sys.stderr, flush=True)
    return code


def main(argv=None):
    """Run the command ``fastnn``.

    Parameters
    ----------
    argv : list of str, optional
        The arguments after the name of the program; ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        The exit code: 0 done, 1 training diverged, 2 wrong arguments or files, 130 interrupted, 141 nobody reads the output.

    Examples
    --------
    >>> fastnn.cli.main(["--version"])
    fastnn 0.1.0
    0
    """
    try:
        parser = _parser()
        try:
            args = parser.parse_args(argv)
        except SystemExit as done:  # --help and --version
            sys.stdout.flush()
            return done.code or 0
        if args.command is None:
            parser.print_help()
            return 0
        code = _with_threads(args)
        sys.stdout.flush()
        return code
    except UsageError as error:
        return _fail(f"error: {error}", 2)
    except _Diverged as error:
        return _fail(f"error: {error}", 1)
    except MemoryError:
        return _fail("error: not enough memory", 2)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        _close_stdout()
        return 141
    except OSError as error:
        _close_stdout()
        return _fail(f"error: {_show(str(error.filename or 'standard output'))}: {_reason(error)}", 2)


def _close_stdout():
    """So that the interpreter does not complain at exit about output that nobody takes."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError):  # no real file behind it
        pass
