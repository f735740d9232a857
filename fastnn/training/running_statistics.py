"""Running statistics of batch normalisations, taken anew: what `Trainer.update_bn` is made of."""

from .. import _native
from ..plan import Builder
from . import engine
from .checks import check_batch, count


def update_bn(trainer, X, batch_size):
    """All of `Trainer.update_bn`, whose docstring says what the arguments are."""
    model = trainer.model
    X, batch_size = model.rows(X), count(batch_size, "batch_size", 1)
    check_batch(model, min(len(X), batch_size), "X" if len(X) < batch_size else "batch_size")
    if len(X) % batch_size and len(X) % batch_size < model.least_rows:
        X = X[: -(len(X) % batch_size)]
    with trainer._lock:
        trainer._refresh()
        builder = Builder(min(batch_size, len(X)), training=True, dtype=model.dtype)
        builder.changing, builder.anew = {id(p) for p, _, _ in trainer._tensors if not p.frozen}, True
        model.emit_whole(builder)
        executor = trainer._new_executor(builder.build(), _native.StepCounter(trainer.seed))
        changed = [p for op in executor.plan.ops if op.kind == "batchnorm_running" for p in trainer._parameters
                   if any(p.data is op.buffers[role].array for role in ("mean", "var"))]
        done = 0 if changed else len(X)
        with trainer.optimizer.evaluating(), _native.Kept([p.data for p in changed]):
            for p in changed:
                p.data[...] = 0  # of the first mean all comes from the first batch, unless this were infinite
            while done < len(X):
                executor.set_random(trainer.seed, done // batch_size)
                done += executor.run(X[done:], seconds=engine.SLICE).steps * builder.batch
