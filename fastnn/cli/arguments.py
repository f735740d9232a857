"""The arguments of the commands, and what their help says."""

import argparse
import math

from .._version import __version__
from .diagnosing import diagnose
from .errors import UsageError
from .exporting import ENDINGS, export
from .models import ARCH_HELP
from .optimizers import OPTIMIZERS, SCHEDULES
from .prediction import evaluate, predict
from .training import train
from .tuning import tune

DEFAULT_OUTPUT = "fastnn-model.safetensors"

EXAMPLES = """\
examples:
  fastnn train                              on the packaged handwritten digits
  fastnn train flats.csv --target price     on a table of your own
  fastnn predict fastnn-model.safetensors new.csv
                                            what the network says of new rows
  fastnn export fastnn-model.safetensors --to onnx
                                            the network for other programs
  fastnn info                               what the package runs on

'fastnn train --help', 'fastnn predict --help' and so on explain the options.
"""

TRAIN_TEXT = """\
Trains a network and saves it. It shuffles the samples, holds a share of them
out, trains on the rest, and tests on the share.

DATA is a table (.csv, .tsv, also gzip; .parquet where pandas is), of which
--target says what is to be predicted: a text, or whole numbers of at most 20
values, are classes, other numbers a regression. Numbers are standardised,
categories become columns, and the saved model does the same with new rows.

Or DATA holds samples (IDX, the format of MNIST, plain or gzip, or .npy) and
LABELS an integer from 0 up, or numbers, for each; an .npz file has both, as X
and y. Values of type uint8 (0 to 255) are divided by 255, also by the saved
model; others are taken as they are, and learn best between about -1 and 1.

Without files it trains on the packaged digits.
"""

TRAIN_EXAMPLES = """\
examples:
  fastnn train
  fastnn train flats.csv --target price --drop id --early-stopping
  fastnn train train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz
  fastnn train X.npy y.npy --hidden 64,32 --epochs 50 --output mine.safetensors
  fastnn train data.npz --optimizer adamw --weight-decay 0.1 --schedule cosine
  fastnn train --epochs 100 --checkpoint run.safetensors --resume
  fastnn train x.gz y.gz --arch conv
  fastnn train x.gz y.gz --arch "conv 16 3 relu, maxpool 2, 64 relu"
  mpiexec -n 4 fastnn train x.gz y.gz --batch-size 512 --distributed
"""

TUNE_TEXT = """\
Tries trainings with random settings, then trains with the best and saves that
model, as 'fastnn train' would. What is searched for is what is not given: the
learning rate, the weight decay, the sizes of the hidden layers, their dropout.
Trials are judged by the validation loss of samples that they are not trained
on; the samples held out for the test are seen by no trial. Data and options
are those of 'fastnn train'.
"""

TUNE_EXAMPLES = """\
examples:
  fastnn tune flats.csv --target price --trials 50 --jobs 2
  fastnn tune X.npy y.npy --hidden 64,32 --seconds 60 --study search.jsonl
"""

PREDICT_TEXT = """\
Prints the class of each sample, or its number, one a line, or with --proba the
probabilities of all classes, separated by spaces. DATA is a table, for models
that were trained on one, or samples (IDX, .npy, .npz), in the units of those
that the model was trained on.
"""

PREDICT_EXAMPLES = """\
examples:
  fastnn predict fastnn-model.safetensors new.csv --output new-predicted.csv
  fastnn predict fastnn-model.safetensors t10k-images-idx3-ubyte.gz
  fastnn predict fastnn-model.safetensors new.npy --proba --output new-proba.npy
"""

EVALUATE_TEXT = """\
Tests a saved network on data with answers: a table with the column that was
the target, or samples and LABELS.
"""

EVALUATE_EXAMPLES = """\
examples:
  fastnn evaluate fastnn-model.safetensors flats-2025.csv
  fastnn evaluate fastnn-model.safetensors X.npy y.npy --metrics f1,auc --json
"""

DIAGNOSE_TEXT = """\
Shows, layer by layer, how a saved network fares on data with answers: dead and
saturated units, outputs and gradients, weights, and how far a step of Adam
would change them. Nothing is changed.
"""

DIAGNOSE_EXAMPLES = """\
examples:
  fastnn diagnose fastnn-model.safetensors flats.csv
  fastnn diagnose fastnn-model.safetensors X.npy y.npy --find-lr --plot layers.png
"""

EXPORT_TEXT = """\
Writes a saved network in a form that other programs run: an ONNX file; one
file of C, a function for one sample that needs nothing else; or a Python
module that needs NumPy only, with its weights in an .npz file beside it.
"""

EXPORT_EXAMPLES = """\
examples:
  fastnn export fastnn-model.safetensors --to onnx
  fastnn export fastnn-model.safetensors --to c --int8 --output digits.c
  fastnn export fastnn-model.safetensors --to numpy --output digits.py
"""


class Parser(argparse.ArgumentParser):
    """Errors are lines of the program's."""

    def error(self, message):
        raise UsageError(message)


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


def _names(text):
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise argparse.ArgumentTypeError(f"expected names, separated by commas, got {text!r}")
    return names


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


def make_parser():
    """The parser of the whole command line."""
    from ..core.activations import ACTIVATIONS, LEARNED

    activations = (*ACTIVATIONS, *LEARNED)
    plain = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="fastnn", description="Trains neural networks on the CPU.", epilog=EXAMPLES, formatter_class=plain, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"fastnn {__version__}")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")

    def command(name, run, summary, text, examples=None):
        made = commands.add_parser(name, help=summary, description=text, epilog=examples, formatter_class=plain, allow_abbrev=False)
        made.set_defaults(run=run)
        return made

    _train_arguments(command("train", train, "train a network and save it", TRAIN_TEXT, TRAIN_EXAMPLES), activations)

    made = command("tune", tune, "search for a training's settings, then train", TUNE_TEXT, TUNE_EXAMPLES)
    add = made.add_argument_group("the search").add_argument
    add("--trials", type=_integer(1), default=30, metavar="N", help="settings to try (default: 30)")
    add("--rounds", type=_integer(1), default=2, metavar="N", help="rounds, each of which narrows the ranges about the best (default: 2)")
    add("--seconds", type=_real(lambda v: v > 0, "> 0"), metavar="SECONDS", help="begin no trial after so much time")
    add("--jobs", type=_integer(1, 4096), default=1, metavar="N", help="trials at a time, each on one thread (default: 1)")
    add("--study", metavar="FILE", help="write the trials into this file, and go on with those in it")
    _train_arguments(made, activations)
    made.set_defaults(dropout=None)

    made = command("predict", predict, "what a saved network says of new data", PREDICT_TEXT, PREDICT_EXAMPLES)
    made.add_argument("model", metavar="MODEL", help="file that 'fastnn train' or model.save wrote")
    made.add_argument("data", metavar="DATA", help="table, or file of samples")
    made.add_argument("--proba", action="store_true", help="probabilities of all classes instead of the likeliest one")
    made.add_argument("--output", metavar="FILE", help="write to this .npy, .txt or .csv file instead of printing")
    made.add_argument("--json", action="store_true", help="print one line of JSON")

    made = command("evaluate", evaluate, "test a saved network on data with answers", EVALUATE_TEXT, EVALUATE_EXAMPLES)
    made.add_argument("model", metavar="MODEL", help="file that 'fastnn train' or model.save wrote")
    made.add_argument("data", metavar="DATA", help="table, or file of samples")
    made.add_argument("labels", nargs="?", metavar="LABELS", help="file of the samples' labels")
    made.add_argument("--metrics", type=_names, metavar="NAME,...", help="more numbers, such as f1,auc or mae")
    made.add_argument("--json", action="store_true", help="print one line of JSON")

    made = command("diagnose", diagnose, "look for dead units, vanishing gradients, steps too long", DIAGNOSE_TEXT, DIAGNOSE_EXAMPLES)
    made.add_argument("model", metavar="MODEL", help="file that 'fastnn train' or model.save wrote")
    made.add_argument("data", metavar="DATA", help="table, or file of samples")
    made.add_argument("labels", nargs="?", metavar="LABELS", help="file of the samples' labels")
    made.add_argument("--rows", type=_integer(1), default=512, metavar="N", help="samples to look at, at most (default: 512)")
    made.add_argument("--lr", type=_real(lambda v: v > 0, "> 0"), default=1e-3, metavar="RATE", help="rate of the step (default: 0.001)")
    made.add_argument("--find-lr", action="store_true", help="suggest a learning rate")
    made.add_argument("--plot", metavar="FILE", help="draw histograms into this .png, .pdf or .svg file, which needs matplotlib")
    made.add_argument("--json", action="store_true", help="print one line of JSON")

    made = command("export", export, "write a saved network as ONNX, C or NumPy", EXPORT_TEXT, EXPORT_EXAMPLES)
    made.add_argument("model", metavar="MODEL", help="file that 'fastnn train' or model.save wrote")
    made.add_argument("--to", type=_one_of(*ENDINGS), required=True, metavar="FORMAT", help=f"{', '.join(ENDINGS)}")
    made.add_argument("--output", metavar="FILE", help="file to write (default: MODEL's name, ending as the format's files do)")
    made.add_argument("--opset", type=_integer(1), metavar="N", help="of onnx: the version of its operators (default: 18)")
    made.add_argument("--int8", action="store_true", help="of c: weights as integers of 8 bits; says how far off outputs are")

    text = "Prints versions, CPU, instruction set, threads and OpenMP runtime."
    made = command("info", _info, "show versions, CPU, instruction set and threads", text)
    made.add_argument("--json", action="store_true", help="print one line of JSON, for a report of an error")
    return parser


def _info(args):
    from ..core.runtime import config, show_config

    if args.json:
        from .report import write_json

        write_json(config())
    else:
        show_config()
    return 0


def _train_arguments(train, activations):
    share = _real(lambda v: 0 <= v < 1, ">= 0 and < 1")
    train.add_argument("data", nargs="?", metavar="DATA", help="table, or file of samples; the packaged digits without it")
    train.add_argument("labels", nargs="?", metavar="LABELS", help="file of the samples' labels")
    add = train.add_argument_group("the data").add_argument
    add("--target", metavar="NAME", help="of a table: the column to be predicted")
    add("--drop", type=_names, default=(), metavar="NAME,...", help="of a table: columns to leave out")
    add("--task", type=_one_of("classification", "regression"), metavar="TASK",
        help="of a table: classification or regression (default: as the target looks)")  # fmt: skip
    add("--test-share", type=share, default=0.2, metavar="SHARE",
        help="share of the samples that is held out and tested on at the end (default: 0.2)")  # fmt: skip
    add("--validation-split", type=share, metavar="SHARE",
        help="share of the samples to train on that is watched instead, after each epoch (default: 0; 0.1 with --early-stopping)")  # fmt: skip
    add("--class-weight", type=_one_of("balanced"), metavar="balanced", help="let all classes weigh the same, however frequent")
    add = train.add_argument_group("the model").add_argument
    add("--model", type=_one_of("mlp", "linear"), default="mlp", metavar="NAME", help="mlp, or linear: without hidden layers (default: mlp)")
    add("--hidden", type=_sizes, metavar="N,N,...",
        help="units of each hidden layer, from the input on, or 'none' (default: 100)")  # fmt: skip
    add("--activation", type=_one_of(*activations), metavar="NAME",
        help=f"of the hidden layers: {', '.join(activations)} (default: relu)")  # fmt: skip
    add("--batchnorm", action="store_true", help="normalise each hidden layer over the batch, before its activation")
    add("--dropout", type=share, default=0.0, metavar="SHARE",
        help="share of each hidden layer's outputs that is dropped in training (default: 0)")  # fmt: skip
    add("--arch", metavar="LAYERS", help=ARCH_HELP)
    add("--dtype", type=_one_of("float32", "float64"), default="float32", metavar="DTYPE",
        help="what the network computes in: float32, float64 (default: float32)")  # fmt: skip
    add = train.add_argument_group("the training").add_argument
    add("--optimizer", type=lambda text: _one_of(*OPTIMIZERS)(text.lower()), default="adam", metavar="NAME",
        help=f"{', '.join(OPTIMIZERS)} (default: adam)")  # fmt: skip
    add("--lr", type=_real(lambda v: v > 0, "> 0"), metavar="RATE",
        help="learning rate, the highest of a schedule (default: "
        + ", ".join(f"{rate:g} for {name}" for name, (_, rate, _) in OPTIMIZERS.items()) + ")")  # fmt: skip
    add("--schedule", type=_one_of(*SCHEDULES), default="constant", metavar="NAME",
        help="of the learning rate over the training: constant; cosine or linear, down to 0; step, a tenth after each third of "
        "the epochs; onecycle, up, then down to almost 0 (default: constant)")  # fmt: skip
    add("--warmup", type=_real(lambda v: v >= 0, ">= 0"), default=0.0, metavar="EPOCHS",
        help="epochs in which the learning rate climbs, before the schedule (default: 0)")  # fmt: skip
    add("--momentum", type=share, metavar="SHARE",
        help="of sgd and rmsprop: share of the last step that is kept in the next "
        "(default: 0.9 for sgd, 0 for rmsprop)")  # fmt: skip
    add("--weight-decay", type=_real(lambda v: v >= 0, ">= 0"), metavar="RATE",
        help="how fast weights shrink by themselves (default: 0.01 for adamw, 0 for the others)")  # fmt: skip
    add("--clip-norm", type=_real(lambda v: v > 0, "> 0"), metavar="NORM",
        help="largest norm of all gradients of a step together (default: no limit)")  # fmt: skip
    add("--epochs", type=_integer(0), default=20, metavar="N", help="passes over the training samples (default: 20)")
    add("--batch-size", type=_integer(1), default=32, metavar="N", help="samples of one step (default: 32)")
    add("--early-stopping", type=_integer(0), nargs="?", const=10, metavar="EPOCHS",
        help="end when the validation loss has not improved for so many epochs (10), and take the best weights")  # fmt: skip
    add("--max-seconds", type=_real(lambda v: v > 0, "> 0"), metavar="SECONDS", help="end after so much time")
    add("--seed", type=_integer(0, 2**64 - 1), default=0, metavar="N",
        help="fixes everything random: same seed, same model (default: 0)")  # fmt: skip
    add("--threads", type=_integer(1, 4096), metavar="N",
        help="threads to use; the model does not depend on it (default: as many as there are CPUs)")  # fmt: skip
    add("--distributed", action="store_true",
        help="train by all processes that mpiexec has started, which share each batch; needs fastnn[mpi] and an MPI library")  # fmt: skip
    add = train.add_argument_group("saving and watching").add_argument
    add("--output", default=DEFAULT_OUTPUT, metavar="FILE", help=f"file for the model (default: {DEFAULT_OUTPUT})")
    add("--checkpoint", metavar="FILE", help="save the training into this file after each epoch")
    add("--resume", action="store_true", help="go on from the --checkpoint file, if it is there; --epochs counts from the beginning")
    add("--metrics", type=_names, metavar="NAME,...", help="more numbers of the test and of validation, such as f1,auc or mae")
    add("--csv-log", metavar="FILE", help="write a line for each epoch into this CSV file")
    add("--tensorboard", metavar="FOLDER", help="write a log for TensorBoard, which needs tensorboardX")
    add("--plot", metavar="FILE", help="draw the curves into this .png, .pdf or .svg file, which needs matplotlib")
    add("--quiet", action="store_true", help="print the results only")
    add("--json", action="store_true", help="print the results only, as one line of JSON")
