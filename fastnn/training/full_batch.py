"""Training on all rows at once by L-BFGS: what `Trainer.fit_lbfgs` is made of."""

import math
import time
import warnings

import numpy as np

from .. import _native
from ..core.checks import number
from ..optim import Optimizer
from ..optim.descent import Descent, iterations, worthy
from .arrays import checked_data
from .callbacks.base import check_callbacks
from .checks import check_batch, count
from .functional import gradient_plan
from .loop import Loop
from .progress import progress


def start(trainer, X, y, max_iter, validation_data, tol, history_size, check_finite, callbacks, verbose, sample_weight):
    """All of `Trainer.fit_lbfgs`, whose docstring says what the arguments are."""
    max_iter, history_size = count(max_iter, "max_iter", 0), count(history_size, "history_size", 1)
    tol = None if tol is None else number(tol, "tol", 0.0)
    train, validation = checked_data(trainer, X, y, sample_weight, validation_data, check_finite)
    callbacks = trainer.together.mine(check_callbacks(callbacks))
    check_batch(trainer.model, len(train.X), "X")
    if type(trainer.optimizer).evaluating is not Optimizer.evaluating:
        raise ValueError(
            f"optimizer: expected one that trains the parameters that are evaluated, got {type(trainer.optimizer).__name__}, which "
            "keeps an average; make a Trainer with another"
        )
    with trainer._lock, trainer._in_fit:
        trainer._refresh()
        trainer.optimizer.prepare()  # refuses where averages stand in the parameters
        parameters = trainer._trained()
        display, before = progress(trainer.together.verbose(verbose), max_iter, len(train.X)), trainer.data_in_fit
        try:
            run = LbfgsFit(trainer, train, validation, callbacks, display)
            trainer._learn_targets(train.y)
            plan = gradient_plan(trainer.model, trainer.loss, train, penalty=trainer.penalty, parameters=parameters)
            executor = trainer._new_executor(plan, _native.StepCounter(trainer.seed, trainer.steps_done))  # all draw the same
            run.descent = FullBatch(executor, train, parameters, history_size)
            run.steps = run.descent.run(max_iter, tol)
            trainer.data_in_fit = train
            history = run.train(max_iter + 1)  # the last finds that it is over
        finally:
            trainer.data_in_fit = before
            display.close()
    history.success, history.message = run.descent.outcome or (False, "stop_training was set")
    if run.descent.outcome and not history.success and run.descent.iterations < max_iter:
        warnings.warn(f"fit_lbfgs: {history.message}", RuntimeWarning, stacklevel=4)
    return history


class LbfgsFit(Loop):
    """Training by iterations over all rows."""

    def __init__(self, trainer, data, *more):
        super().__init__(trainer, *more)
        self.data, self.descent, self.steps = data, None, None

    def epoch(self, number):
        """An iteration."""
        trainer, epoch, rows = self.trainer, self.trainer.epochs_done, len(self.data.X)
        for c in self.callbacks:
            c.on_epoch_begin(epoch)
        if self.stops():
            return False
        self.display.begin(number)
        begun = time.perf_counter()
        found = next(self.steps, None)
        if found is None:
            return False
        value, correct, counted = found
        logs = {**trainer._logs(0.0, correct, counted), "loss": value, "seconds": time.perf_counter() - begun}
        if trainer.model.least_rows > 1:
            trainer.update_bn(self.data.X, rows)
        trainer.steps_done += 1
        self.display.advance(rows, logs)
        for c in self.callbacks:
            c.on_step_end(trainer.steps_done, {"loss": value})
        self.close(epoch, number, rows, logs, (epoch + 1, None, trainer._progress[2]))
        return True

    def stop(self):
        if self.steps is not None:
            self.steps.close()  # which leaves the parameters where the descent stands


class FullBatch:
    """The descent of the loss of all rows. Between its iterations the parameters are where it stands.

    Parameters
    ----------
    executor : object
        Of a plan of the loss of all rows and its gradients for the parameters.
    pair : ArrayData
    parameters : list of Parameter
        None of them frozen.
    history_size : int
    """

    def __init__(self, executor, pair, parameters, history_size):
        self._executor, self._pair, self._parameters = executor, pair, parameters
        names = {id(p): g.name for p, g in executor.plan.gradients}
        self._gradients = [names.get(id(p)) for p in parameters]  # None: the loss does not depend on it
        self._descent = Descent([p.data for p in parameters], history_size, worthy)

    def _put(self):
        """The parameters as the descent has them."""
        for p, view in zip(self._parameters, self._descent.vectors.views(self._descent.state.x)):
            p.data[...] = view

    def _evaluate(self, x, gradient):
        views = self._descent.vectors.views
        for p, view in zip(self._parameters, views(x)):
            p.data[...] = view
        self._pair.check_memory()
        losses = np.zeros(1)
        result = self._executor.run(self._pair.X, self._pair.y, losses=losses, weights=self._pair.weight)
        if result.problem:
            self._pair.refuse(result.problem)
        for name, view in zip(self._gradients, views(gradient)):
            view[...] = 0.0 if name is None else self._executor.array(name)
        return float(losses[0]), (result.correct, len(self._pair.X) - result.left_out)

    def run(self, max_iter, tol):
        """Yields (loss, right answers, rows that count) after each iteration; when it has ended, `outcome` is (success, message)."""
        eps = self._descent.vectors.eps
        ftol, gtol = (max(2.2e-9, eps), 1e-5) if tol is None else (tol, tol)
        try:
            for _ in iterations(self._descent, self._evaluate, ftol, gtol, max_iter, math.inf):
                self._put()
                yield self._descent.state.value, *self._descent.state.extra
        finally:  # Ctrl-C, or an exception, within evaluations or between them
            self._put()

    @property
    def iterations(self):
        return self._descent.state.iterations

    @property
    def outcome(self):
        return self._descent.outcome
