"""``fastnn train``: data, a network, the training, a test, and the model's file."""

import copy
import math
import os
import sys
import warnings

from .errors import Diverged, UsageError, check_memory, check_output, check_plot, reason, show
from .files import is_table, read_pair, read_table
from .models import make_model
from .optimizers import OPTIMIZERS, make_optimizer
from .report import notes, scores, write_json

_VALIDATION_SPLIT = 0.1  # with --early-stopping, where nothing else is said


class Problem:
    """What is to be learnt: rows to train on (the last of them to watch), rows to test on, and what their numbers mean."""

    def __init__(self, X, y, X_test, y_test, outputs, scale=None, table=None, target=None):
        self.X, self.y, self.X_test, self.y_test, self.outputs = X, y, X_test, y_test, outputs
        self.scale = scale  # of the inputs, by which the model multiplies them
        self.table = table
        self.target = target  # (mean, scale) of a regression's targets, which are standardised


def train(args):
    """The command."""
    if not args.distributed:
        return _train(args)
    from ..distributed import DistributedTrainer, RankError, ranks

    try:
        together = ranks.Ranks(ranks.world())
    except ImportError as error:
        raise UsageError(f"argument --distributed: {error}") from None
    try:
        return _train(args, lambda *a, **k: DistributedTrainer(*a, **k, threads=args.threads), together)
    except RankError as error:
        raise UsageError(f"argument --distributed: {error}") from None


def _train(args, make_trainer=None, together=None):
    """together: the processes of a distributed training, of which the first prints and writes what there is."""
    first = together is None or together.rank == 0
    check_arguments(args, first)
    say = (lambda *words: None) if args.quiet or args.json or not first else print
    validation = args.validation_split
    if validation is None:
        validation = _VALIDATION_SPLIT if args.early_stopping is not None else 0.0
    problem = read_problem(args, say, validation)

    from .. import losses, nn
    from ..core import runtime
    from ..init import manual_seed
    from ..training import Trainer
    from ..training.metrics import Metrics
    from ..training.together import Alone

    make_trainer, together = make_trainer or Trainer, together or Alone()
    manual_seed(args.seed)
    front = [] if problem.scale is None else [nn.Rescaling(problem.scale)]
    model, words = make_model(args, problem.X.shape[1:], problem.outputs, front)
    rows = int(len(problem.X) * (1 - validation))
    if not rows or validation and rows == len(problem.X):
        raise UsageError(f"argument --validation-split: expected a share that leaves samples on both sides, got {validation:g} of {len(problem.X)}")
    batch = min(args.batch_size, rows)
    if batch < model.least_rows:
        raise UsageError(f"argument --batch-size: expected at least {model.least_rows} samples for --batchnorm, got {batch}")
    part = -(-batch // together.parts(batch))
    drop_last = bool(rows % batch) and together.smallest(rows % batch, part) < model.least_rows  # too few to normalise over
    optimizer, rule = make_optimizer(args, model, -(-rows // batch) - drop_last)
    loss = losses.SoftmaxCrossEntropy() if problem.target is None else losses.MeanSquaredError()
    trainer = make_trainer(model, loss, optimizer, seed=args.seed, clip_norm=args.clip_norm)
    try:
        Metrics(args.metrics, model, loss)
    except ValueError as error:
        raise UsageError(f"argument --metrics: {str(error).partition(': ')[2]}") from None
    bytes_needed = trainer.plan(part).peak_bytes
    check_memory(bytes_needed, f"argument --batch-size: expected a batch that fits in memory, got {batch}")
    if args.class_weight is not None and problem.target is not None:
        raise UsageError("argument --class-weight: expected classes, got numbers to be predicted")
    kind = "" if args.dtype == "float32" else f" in {args.dtype}"
    say(f"model  {words}: {model.num_parameters():,} parameters{kind}, {bytes_needed / 1e6:,.1f} MB while it trains")
    say(f"run    {args.epochs:,} epochs in batches of {batch}, {rule}, seed {args.seed}")
    threads = runtime.get_num_threads()
    lacks = "" if runtime.openmp_runtime()[0] else " (this build has no OpenMP)"
    processes = f"{together.size} process{'es' if together.size > 1 else ''} of " if args.distributed else ""
    say(f"with   {processes}{threads} thread{'s' if threads > 1 else ''}{lacks}, {runtime.get_isa()} kernels")
    _resume(args, trainer, say)

    verbose = 0 if args.quiet or args.json else 1 if sys.stderr.isatty() else 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a loss that is not finite: _watch says it in one line
        try:
            history = trainer.fit(
                problem.X, problem.y, max(args.epochs - trainer.epochs_done, 0), batch, drop_last=drop_last, verbose=verbose,
                callbacks=_callbacks(args), validation_split=validation, class_weight=args.class_weight,
                metrics=args.metrics if validation else None, max_seconds=args.max_seconds,
            )  # fmt: skip
        except OSError as error:  # of a file that is written meanwhile
            raise UsageError(f"{show(os.fsdecode(error.filename or 'a file'))}: {reason(error)}; the model was not saved") from None
        except (TypeError, ValueError) as error:  # such as a checkpoint of other callbacks
            raise UsageError(f"{error}; the model was not saved") from None
    say(f"time   {sum(history.get('seconds', ())):.2f} s")
    tested = len(problem.X_test) > 0
    found = scores(trainer, *((problem.X_test, problem.y_test) if tested else (problem.X, problem.y)), problem.target, args.metrics)
    if not first:
        return 0
    if not args.json:
        if tested:
            print(found.text("test"))
        else:
            print(found.text("training", counts=False) + " (nothing was held out for a test)")
    if args.plot is not None:
        _plot(args, history)
    try:
        _save(args, model, optimizer, problem)
    except OSError as error:
        raise UsageError(f"argument --output: {show(args.output)}: {reason(error)}") from None
    if args.json:
        write_json({
            "data": args.data or "digits", "samples": {"train": rows, "validation": len(problem.X) - rows, "test": len(problem.X_test)},
            "model": {"file": args.output, "parameters": model.num_parameters(), "layers": words}, "epochs": trainer.epochs_done,
            "steps": trainer.steps_done, "seconds": sum(history.get("seconds", ())), "history": dict(history),
            "test" if tested else "training": found.numbers, "fingerprint": history.fingerprint(), **getattr(args, "found", {}),
        })  # fmt: skip
    else:
        print(f"model saved to {show(args.output)}")
    return 0


def check_arguments(args, first=True):
    """What can be told of the arguments alone, before anything is read. first: whether this process writes files."""
    args.hidden_given = args.hidden is not None
    if not args.hidden_given:
        args.hidden = (100,)
    table = is_table(args.data)
    if table and args.target is None:
        raise UsageError(f"argument --target: expected the name of the column of {show(args.data)} to be predicted, got none")
    if table and args.labels is not None:
        raise UsageError(f"argument LABELS: expected none beside a table, whose --target says what to predict, got {show(args.labels)}")
    for option, given in (("--target", args.target is not None), ("--drop", bool(args.drop)), ("--task", args.task is not None)):
        if given and not table:
            raise UsageError(f"argument {option}: expected with a table (.csv, .tsv, .parquet) only")
    if not table and args.data is not None and args.labels is None and not args.data.lower().endswith(".npz"):
        raise UsageError("argument LABELS: expected the file of the labels after that of the samples, got none")
    for option in ("activation", "batchnorm", "dropout"):
        if getattr(args, option) and not args.hidden:
            raise UsageError(f"argument --{option}: expected only with hidden layers, got it with --hidden none")
    if args.model == "linear":
        if args.hidden_given or args.arch is not None:
            raise UsageError("argument --model: expected mlp with hidden layers, got linear, which has none")
        args.hidden = ()
    if args.arch is not None:
        for option, given in (("hidden", args.hidden_given), *((o, getattr(args, o)) for o in ("activation", "batchnorm", "dropout"))):
            if given:
                raise UsageError(f"argument --arch: expected in place of --{option}, got both")
    if args.momentum is not None and OPTIMIZERS[args.optimizer][2] is None:
        raise UsageError(f"argument --momentum: expected only with --optimizer sgd or rmsprop, got it with {args.optimizer}")
    if args.warmup and args.schedule == "onecycle":
        raise UsageError("argument --warmup: expected with another schedule than onecycle, which begins with one of its own")
    if args.warmup and args.warmup >= args.epochs:
        raise UsageError(f"argument --warmup: expected fewer epochs than --epochs, {args.epochs}, got {args.warmup:g}")
    if args.early_stopping is not None and args.validation_split == 0:
        raise UsageError("argument --early-stopping: expected samples to watch, got --validation-split 0")
    if args.resume and args.checkpoint is None:
        raise UsageError("argument --resume: expected with --checkpoint, which says where training was saved")
    written = {}
    for option, name in (("--output", args.output), ("--checkpoint", args.checkpoint), ("--csv-log", args.csv_log), ("--plot", args.plot)):
        if name is not None and first:
            check_output(name, args.data, args.labels, argument=option)
            other = written.setdefault(os.path.realpath(name), option)
            if other != option:
                raise UsageError(f"argument {option}: expected another file than that of {other}, got {show(name)}")
    if args.tensorboard is not None:
        try:
            import tensorboardX  # noqa: F401
        except ImportError:
            raise UsageError("argument --tensorboard: expected tensorboardX to be installed: pip install fastnn[tensorboard]") from None
    if args.plot is not None:
        check_plot(args.plot)


# ---- data ----


def read_problem(args, say, validation):
    """What the files hold; validation: the share of what is trained on that is watched instead."""
    return _table(args, say, validation) if is_table(args.data) else _arrays(args, say)


def _arrays(args, say):
    import numpy as np

    from .. import data

    if args.data is None:
        X, y = data.load_digits()
        scale, source = 1 / 16, "the packaged digits"
    else:
        X, y = read_pair(args.data, args.labels)
        if y is None:
            raise UsageError(f"argument DATA: {show(args.data)}: expected an array y beside X, got none")
        scale, source = 1 / 255 if X.dtype == np.uint8 else None, show(args.data)
    numbers = y.dtype.kind == "f"
    if not numbers and y.max() == 0:
        raise UsageError(f"argument LABELS: {show(args.labels or args.data)}: expected at least 2 classes, got only label 0")
    X_train, X_test, y_train, y_test = _split(args, X, y)
    outputs = (1 if y.ndim == 1 else y.shape[1]) if numbers else int(y.max()) + 1
    shape = " x ".join(map(str, X.shape[1:]))
    what = f"{outputs} number{'s' * (outputs > 1)} each" if numbers else f"{outputs} classes"
    say(f"data   {len(X):,} samples of {shape} from {source}, {what}")
    say(f"split  {len(X_train):,} to train on, {len(X_test):,} held out for the test")
    target = None
    if numbers:
        mean, deviation = y_train.mean(axis=0, dtype=np.float64), y_train.std(axis=0, dtype=np.float64)
        target = mean, np.where(deviation > 0, deviation, 1.0)
        y_train, y_test = (((part - target[0]) / target[1]).astype(np.float32) for part in (y_train, y_test))
    return Problem(X_train, y_train, X_test, y_test, outputs, scale, target=target)


def _split(args, X, y):
    """Samples to train on and to test on, which may be none."""
    from .. import data

    if args.test_share == 0:
        return X, X[:0], y, y[:0]
    if len(X) < 2:
        raise UsageError(f"argument DATA: {show(args.data)}: expected at least 2 samples, to hold some out, got {len(X)}")
    try:
        return data.train_test_split(X, y, test_size=args.test_share, seed=args.seed)
    except MemoryError:
        raise UsageError("argument DATA: not enough memory to shuffle the samples") from None


def _table(args, say, validation):
    """Of a table's columns. Means, deviations and categories are those of the rows to train on."""
    import numpy as np

    from .. import data

    frame = read_table(args.data, "DATA")
    where = f"argument DATA: {show(args.data)}"
    if args.target not in frame.columns:
        raise UsageError(f"argument --target: expected one of the columns {', '.join(frame.columns)} of {show(args.data)}, got {args.target!r}")
    for name in args.drop:
        if name not in frame.columns or name == args.target:
            others = ", ".join(c for c in frame.columns if c != args.target)
            raise UsageError(f"argument --drop: expected some of the columns {others} of {show(args.data)}, got {name!r}")
    rows = np.arange(len(frame))
    table = data.Table(args.target, args.task, args.drop)
    try:
        table.fit(frame)  # whether this is a classification
        stratify = table.targets(frame) if table.is_classification else None
        if args.test_share == 0:
            train, test = rows, rows[:0]
        else:
            if len(rows) < 2:
                raise ValueError(f"expected at least 2 rows, to hold some out, got {len(rows)}")
            train, test, *_ = data.train_test_split(rows, rows, args.test_share, args.seed, stratify=stratify)
        table.fit(frame, train[: int(len(train) * (1 - validation))])
        (X, y), (X_test, y_test) = (table(frame.take(part), unknown="ignore") for part in (train, test))
    except ValueError as error:
        argument, _, rest = str(error).partition(": ")
        raise UsageError(f"argument --target: {rest}" if argument == "target" else f"{where}: {rest if argument == 'frame' else error}") from None
    what = f"{len(table.classes)} classes" if table.is_classification else "a number"
    say(f"data   {len(frame):,} rows of {len(frame.columns)} columns from {show(args.data)}; {args.target}: {what}")
    if table.left_out:
        say(f"       left out: {', '.join(table.left_out)}")
    say(f"split  {len(X):,} to train on, {len(X_test):,} held out for the test")
    notes(table, frame.take(test))
    outputs = len(table.classes) if table.is_classification else 1
    return Problem(X, y, X_test, y_test, outputs, table=table, target=None if table.is_classification else (0.0, table.scale))


# ---- the training ----


def _resume(args, trainer, say):
    if not args.resume:
        return
    if not trainer.together.agreed(os.path.exists(args.checkpoint)):
        say(f"resume there is no {show(args.checkpoint)} yet: training begins anew")
        return
    try:
        trainer.load_checkpoint(args.checkpoint)
    except (OSError, ValueError) as error:
        message = str(error).removeprefix(f"{args.checkpoint!r}: ")
        raise UsageError(f"argument --checkpoint: {show(args.checkpoint)}: {reason(error) if isinstance(error, OSError) else message}") from None
    say(f"resume after {trainer.epochs_done} epochs and {trainer.steps_done:,} steps, from {show(args.checkpoint)}")


def _callbacks(args):
    from ..training import callbacks

    def watch(epoch, logs):
        if not math.isfinite(logs["loss"]):
            what = f"the loss became {logs['loss']} in epoch {epoch + 1}"
            raise Diverged(f"{what}; a smaller --lr may help; nothing was saved")

    found = [callbacks.Lambda(on_epoch_end=watch)]
    if args.early_stopping is not None:
        found.append(callbacks.EarlyStopping("val_loss", patience=args.early_stopping))
    if args.csv_log is not None:
        found.append(callbacks.CSVLogger(args.csv_log))
    if args.tensorboard is not None:
        found.append(callbacks.TensorBoard(args.tensorboard))
    if args.checkpoint is not None:
        found.append(callbacks.Checkpoint(args.checkpoint))
    return found


def _plot(args, history):
    import matplotlib.pyplot as plt

    if not any(map(len, history.values())):
        return
    figure = history.plot()
    try:
        figure.savefig(args.plot)
    except OSError as error:
        raise UsageError(f"argument --plot: {show(args.plot)}: {reason(error)}") from None
    finally:
        plt.close(figure)


def _save(args, model, optimizer, problem):
    """The model, with what its numbers mean."""
    with optimizer.evaluating():  # the average, of one that keeps an average in place of a schedule
        if problem.table is not None:
            problem.table.attach(model)
        elif problem.target is not None:  # the last layer gives the targets as they were
            model = copy.deepcopy(model)
            mean, scale = problem.target
            last = model.layers[-1]
            last.weight.data[...] *= scale
            last.bias.data[...] = last.bias.data * scale + mean
            model.metadata["task"] = "regression"
        model.save(args.output)
