"""``fastnn predict`` and ``fastnn evaluate``: a saved network on new data."""

import math
import sys

from .errors import UsageError, check_output, reason, show
from .files import BLOCK, is_table, load_model, read, read_pair, read_samples, read_table
from .report import notes, scores, write_json


def predict(args):
    """The command ``fastnn predict``."""
    import numpy as np

    from ..core.atomic_files import replacing

    if args.output is not None:
        if args.json:
            raise UsageError("argument --json: expected without --output, got both")
        if not args.output.endswith((".npy", ".txt", ".csv")):
            raise UsageError(f"argument --output: expected a name that ends in .npy or .txt, or .csv, got {show(args.output)}")
        check_output(args.output, args.model, args.data)
    model = read(args.model, "MODEL", load_model)
    table, X = _inputs(args, model)
    result, names = _answers(args, model, table, X)
    if args.json:
        write_json({"classes": names, "probabilities": result} if args.proba else {"predictions": result})
        return 0
    if args.output is None:
        for text in _lines(result):
            sys.stdout.write(text)
        return 0
    try:
        with replacing(args.output) as file:
            if args.output.endswith(".npy"):
                np.save(file, result.astype(str) if result.dtype == object else result, allow_pickle=False)
            elif args.output.endswith(".csv"):
                for text in _csv(result, names):
                    file.write(text.encode())
            else:
                for text in _lines(result):
                    file.write(text.encode())
    except OSError as error:
        raise UsageError(f"argument --output: {show(args.output)}: {reason(error)}") from None
    return 0


def _table_of(args, model):
    from ..data import Table

    try:
        return Table.of(model)
    except ValueError as error:
        raise UsageError(f"argument MODEL: {show(args.model)}: {error}") from None


def _inputs(args, model):
    """(the model's table or None, its inputs) of the data."""
    table = _table_of(args, model)
    if is_table(args.data):
        return table, _columns(args, table, read_table(args.data, "DATA"))
    return None, _check_samples(args, model, read_samples(args.data, "DATA"))


def _columns(args, table, frame):
    if table is None:
        raise UsageError(f"argument MODEL: {show(args.model)}: expected a model that was trained on a table, for {show(args.data)}, got another")
    try:
        X = table.transform(frame, unknown="ignore")
    except ValueError as error:
        raise UsageError(f"argument DATA: {show(args.data)}: {str(error).removeprefix('frame: ')}") from None
    notes(table, frame)
    return X


def _check_samples(args, model, X):
    features = math.prod(X.shape[1:])
    if features != model.in_features:
        raise UsageError(
            f"argument DATA: {show(args.data)}: expected samples of {model.in_features} values, as {show(args.model)} "
            f"takes them, got {features} ({' x '.join(map(str, X.shape[1:]))})"
        )
    shape = model.in_shape
    return X if shape is not None and len(shape) > 1 and X.ndim > 2 else X.reshape(len(X), *(shape if len(shape or ()) > 1 else (features,)))


def _answers(args, model, table, X):
    """(predictions, names of the columns) as `fastnn predict` shows them."""
    numbers = model.metadata.get("task") == "regression" if table is None else not table.is_classification
    if numbers and args.proba:
        raise UsageError(f"argument --proba: expected a model of classes, got {show(args.model)}, which predicts a number")
    try:
        if numbers:
            result = model.predict(X)
            result = table.answers(result) if table is not None else result[:, 0] if result.shape[1] == 1 else result
        elif args.proba:
            result = model.predict_proba(X)
        else:
            result = model.predict_classes(X)
            result = result if table is None else table.answers(result)
    except ValueError as error:  # a model of the losses of regression
        raise UsageError(f"argument MODEL: {show(args.model)}: {error}") from None
    count = result.shape[1] if result.ndim > 1 else 1
    if args.proba and table is not None:
        return result, [str(c) for c in table.classes]
    return result, [str(i) for i in range(count)] if count > 1 else ["prediction" if table is None else str(table.target)]


def _lines(result):
    """The text of predictions [rows] or [rows, numbers], some rows at a time."""
    rows = max(1, BLOCK // 16 // (result.shape[1] if result.ndim > 1 else 1))
    for begin in range(0, len(result), rows):
        block = result[begin : begin + rows].tolist()
        if result.ndim > 1:
            yield "".join(" ".join(f"{p:.7g}" for p in row) + "\n" for row in block)
        else:
            yield "".join(f"{c:.7g}\n" if isinstance(c, float) else f"{c}\n" for c in block)


def _csv(result, names):
    import csv
    import io

    rows = max(1, BLOCK // 16 // len(names))
    for begin in range(-1, len(result), rows):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if begin < 0:
            writer.writerow(names)
        for row in result[max(begin, 0) : begin + rows].tolist():
            writer.writerow([f"{v:.7g}" if isinstance(v, float) else v for v in (row if isinstance(row, list) else [row])])
        yield text.getvalue()


def evaluate(args):
    """The command ``fastnn evaluate``."""
    from .. import optim
    from ..training import Trainer

    model, loss, X, y, target = with_answers(args)
    try:
        found = scores(Trainer(model, loss, optim.SGD(model.parameters())), X, y, target, args.metrics)
    except (TypeError, ValueError) as error:
        raise UsageError(f"argument DATA: {show(args.data)}: {error}") from None
    if args.json:
        write_json({"data": args.data, "samples": len(X), **found.numbers})
    else:
        print(found.text("test") + ("" if "accuracy" in found.numbers else f" ({len(X):,} samples)"))
    return 0


def with_answers(args):
    """The model of a file, the loss that goes with it, samples and targets, and what a regression's targets are in: (mean, scale), or
    None."""
    import numpy as np

    from .. import losses

    model = read(args.model, "MODEL", load_model)
    table = _table_of(args, model)
    target = None
    if is_table(args.data):
        if args.labels is not None:
            raise UsageError(f"argument LABELS: expected none beside a table, which has the column that was predicted, got {show(args.labels)}")
        frame = read_table(args.data, "DATA")
        X = _columns(args, table, frame)
        try:
            y = table.targets(frame)
        except ValueError as error:
            raise UsageError(f"argument DATA: {show(args.data)}: {str(error).partition(': ')[2]}") from None
        target = None if table.is_classification else (0.0, table.scale)
    else:
        X, y = read_pair(args.data, args.labels)
        if y is None:
            raise UsageError("argument LABELS: expected the file of the labels after that of the samples, got none")
        X = _check_samples(args, model, X)
        if model.metadata.get("task") == "regression":
            y = y.astype(np.float32)
            target = (0.0, 1.0)
        elif y.dtype.kind == "f":
            raise UsageError(f"argument LABELS: expected integer labels for {show(args.model)}, got dtype {y.dtype}")
    kinds = {"hinge": losses.BinaryHinge, "signs": losses.BinaryHinge, "largest": losses.MulticlassHinge, "numbers": losses.MeanSquaredError, "rates": losses.Poisson}
    default = losses.BinaryCrossEntropy if model.out_features == 1 else losses.SoftmaxCrossEntropy
    loss = losses.MeanSquaredError if target is not None else kinds.get(model.head, losses.BinaryCrossEntropy if model.head == "sigmoid" else default)
    return model, loss(), X, y, target
