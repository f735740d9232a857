"""Training on all rows at once by L-BFGS: what `Trainer.fit_lbfgs` is made of."""

import math

import numpy as np

from ..optim.descent import Descent, iterations, worthy


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
