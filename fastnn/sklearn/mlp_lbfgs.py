"""How MLPClassifier and MLPRegressor train with ``solver="lbfgs"``: all rows at once, by SciPy's L-BFGS-B, as scikit-learn's do."""

import math
import time
import warnings

import numpy as np
import scipy.optimize
from sklearn.exceptions import ConvergenceWarning

from .. import regularizers
from ..training import value_and_grad


def fit_lbfgs(mlp, X, y, weights, loss, tasks):
    """Bring the network of an estimator to a minimum; sets ``n_iter_`` and ``loss_``."""
    rows, mean = X.shape[0], 1.0
    if weights is not None:
        mean = float(np.mean(weights))
        weights = weights / mean
    penalty = regularizers.L2(mlp.alpha / rows / mean) if mlp.alpha else None
    offset = mlp._loss_offset(y, weights)
    weights = mlp._scaled(weights, rows)
    parameters = mlp._model.parameters()
    sizes = np.cumsum([0] + [p.size for p in parameters])

    def put(x):
        for p, begin, end in zip(parameters, sizes, sizes[1:]):
            p.data = x[begin:end].reshape(p.shape)

    def function(x):
        put(x)
        value, gradients = value_and_grad(mlp._model, loss, X, y, weights, seed=mlp._seed, penalty=penalty)
        return value, np.concatenate([g.ravel() for g in gradients], dtype=np.float64)

    seen, deadline = [0], math.inf if mlp.max_seconds is None else time.perf_counter() + mlp.max_seconds
    tasks.begin()

    def after(intermediate_result):
        seen[0] += 1
        if mlp.verbose:
            print("Iteration %d, loss = %.8f" % (seen[0], intermediate_result.fun))
        if tasks.root is not None:
            put(intermediate_result.x)
            if tasks.end():
                tasks.task = None
                raise StopIteration
            if seen[0] < mlp.max_iter:
                tasks.begin()
        if time.perf_counter() >= deadline:
            raise StopIteration

    ftol = max(2.220446049250313e-09, np.finfo(parameters[0].dtype).eps)  # SciPy's, which in float32 nothing could come below
    start = np.concatenate([p.data.ravel() for p in parameters], dtype=np.float64)
    result = scipy.optimize.minimize(
        function, start, method="L-BFGS-B", jac=True, callback=after,
        options={"maxfun": mlp.max_fun, "maxiter": mlp.max_iter, "gtol": mlp.tol, "ftol": ftol},
    )
    put(result.x)
    mlp.n_iter_ = min(result.nit, mlp.max_iter)
    mlp.loss_ = mlp._reported(result.fun, penalty, offset)
    if result.status not in (0, 99):  # 99: a callback has ended it, or the time
        warnings.warn(
            f"lbfgs failed to converge after {result.nit} iteration(s) (status={result.status}):\n{result.message}\n"
            "You might also want to scale the data, or increase max_iter.",
            ConvergenceWarning,
        )
