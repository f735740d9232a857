"""``fastnn diagnose``: how the units, gradients and weights of a saved network fare on data."""

from .errors import UsageError, check_output, check_plot, reason, show
from .prediction import with_answers
from .report import write_json

_NUMBERS = ("units", "dead", "saturated", "zeros", "mean", "std", "gradient_mean", "gradient_std", "weight_norm", "update_ratio")


def diagnose(args):
    """The command."""
    from .. import optim
    from ..training import Trainer

    if args.plot is not None:
        check_output(args.plot, args.model, args.data, args.labels, argument="--plot")
        check_plot(args.plot)
    model, loss, X, y, _ = with_answers(args)
    try:
        trainer = Trainer(model, loss, optim.Adam(model.parameters(), lr=args.lr))
        report = trainer.diagnose(X, y, rows=args.rows)
        found = trainer.find_lr(X, y) if args.find_lr else None
    except (TypeError, ValueError) as error:
        raise UsageError(f"argument DATA: {show(args.data)}: {error}") from None
    if args.plot is not None:
        import matplotlib.pyplot

        figure = report.plot()
        try:
            figure.savefig(args.plot)
        except OSError as error:
            raise UsageError(f"argument --plot: {show(args.plot)}: {reason(error)}") from None
        finally:
            matplotlib.pyplot.close(figure)
    if args.json:
        layers = [{"name": d.name, "kind": d.kind, **{k: getattr(d, k) for k in _NUMBERS}} for d in report]
        more = {} if found is None else {"suggested_lr": found.suggestion}
        write_json({"layers": layers, "loss": report.loss, "rows": report.rows, "notes": report.notes, **more})
        return 0
    print(report)
    if found is not None:
        print(f"adam would learn fastest at a rate of about {found.suggestion:.2g}")
    return 0
