"""``fastnn tune``: a search for the options of a training that are not given, then the training with the best of them."""

import copy
import warnings

from .errors import UsageError, check_output, show
from .models import make_model
from .optimizers import OPTIMIZERS, make_optimizer
from .training import check_arguments, read_problem, train

_VALIDATION_SPLIT = 0.2
_HIDDEN = ("32", "64", "128", "256", "64,64", "128,128", "256,256", "128,128,128")


def tune(args):
    """The command."""
    from .. import losses, nn
    from .. import tune as search
    from ..init import manual_seed
    from ..training import Trainer, callbacks

    whole, args = args, copy.copy(args)
    check_arguments(args)  # fills in what is not given
    fixed = args.arch is not None or args.model == "linear"
    if args.validation_split == 0:
        raise UsageError("argument --validation-split: expected samples to judge the trials by, got 0")
    if args.study is not None:
        check_output(args.study, args.data, args.labels, argument="--study")
    validation = _VALIDATION_SPLIT if args.validation_split is None else args.validation_split
    problem = read_problem(args, lambda *words: None, validation)
    rows = int(len(problem.X) * (1 - validation))
    if not 0 < rows < len(problem.X):
        raise UsageError(f"argument --validation-split: expected a share that leaves samples on both sides, got {validation:g} of {len(problem.X)}")
    rate = OPTIMIZERS[args.optimizer][1]
    space = {
        "lr": search.LogUniform(rate / 30, rate * 30) if args.lr is None else None,
        "weight_decay": search.LogUniform(1e-6, 1e-1) if args.weight_decay is None else None,
        "hidden": search.Choice(_HIDDEN) if whole.hidden is None and not fixed else None,
        "dropout": search.Uniform(0.0, 0.5) if args.dropout is None and args.hidden and not fixed else None,
    }
    space = {name: kind for name, kind in space.items() if kind is not None}
    if not space:
        raise UsageError("argument --lr: expected not to be given where nothing else is left to be searched for")
    loss = losses.SoftmaxCrossEntropy() if problem.target is None else losses.MeanSquaredError()
    batch = min(args.batch_size, rows)

    def objective(trial):
        mine = with_settings(args, trial.params)
        manual_seed(args.seed)  # as the training has it
        front = [] if problem.scale is None else [nn.Rescaling(problem.scale)]
        model, _ = make_model(mine, problem.X.shape[1:], problem.outputs, front)
        drop_last = 0 < rows % batch < model.least_rows
        optimizer, _ = make_optimizer(mine, model, -(-rows // batch) - drop_last)
        trainer = Trainer(model, loss, optimizer, seed=args.seed, clip_norm=args.clip_norm)
        report = callbacks.Lambda(on_epoch_end=lambda epoch, logs: trial.report(epoch, logs["val_loss"]))
        stop = [] if args.early_stopping is None else [callbacks.EarlyStopping("val_loss", patience=args.early_stopping)]
        history = trainer.fit(problem.X, problem.y, args.epochs, batch, drop_last=drop_last, validation_split=validation, verbose=0,
                              class_weight=args.class_weight, max_seconds=args.max_seconds, callbacks=[report, *stop])  # fmt: skip
        return (min if stop else lambda values: values[-1])(history["val_loss"])

    study = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of losses that are not finite: such a trial has failed
            study = search.random(objective, space, n=args.trials, rounds=min(args.rounds, args.trials), seed=args.seed,
                                  seconds=args.seconds, epochs=args.epochs, threads=args.jobs, file=args.study)  # fmt: skip
        best = study.best
    except ValueError as error:
        if study is None:
            raise UsageError(f"argument --study: {str(error).partition(': ')[2]}") from None
        why = next((f"; the first: {t.error}" for t in study.trials if t.error), "")
        raise UsageError(f"argument --trials: expected at least one that comes to its end, got none of {len(study.trials)}{why}") from None
    chosen = with_settings(whole, best.params)
    words = " ".join(f"--{name.replace('_', '-')} {_text(best.params[name])}" for name in space)
    if args.json:
        trials = [{"settings": t.params, "validation_loss": t.value, "seconds": t.seconds, "state": t.state} for t in study.trials]
        chosen.found = {"search": {"trials": trials, "best": best.number, "options": words}}
    else:
        print(study.table(10))
        print(f"best   {words}: validation loss {best.value:.4g}, trial {best.number} of {len(study.trials)}")
        if args.study is not None:
            print(f"study  in {show(args.study)}")
    return train(chosen)


def with_settings(args, settings):
    """The arguments of a training with these settings, as if they had been given."""
    mine = copy.copy(args)
    for name, value in settings.items():
        setattr(mine, name, tuple(map(int, value.split(","))) if name == "hidden" else float(_text(value)))
    mine.dropout = mine.dropout or 0.0
    return mine


def _text(value):
    """A setting as an option has it: four digits are what is tried, and what is said."""
    return value if isinstance(value, str) else f"{value:.4g}"
