"""minimize: SciPy's door to the optimizers, for any function that returns its value and gradient."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import _native
from ..core.checks import nearest
from . import checks
from .base import Optimizer, by_name
from .descent import Descent, iterations, worthy
from .lbfgs import loss_of, take_gradients

_SPELLED = {"l-bfgs": "lbfgs", "l-bfgs-b": "lbfgs", "bfgs": "lbfgs"}  # SciPy's


@dataclass(frozen=True)
class MinimizeResult:
    """What `minimize` returns, under SciPy's names.

    Attributes
    ----------
    x : numpy.ndarray or list of numpy.ndarray
        Where it got, in the form of x0.
    fun : float
        The value there.
    jac : numpy.ndarray or list of numpy.ndarray
        The gradient there.
    nit, nfev : int
        Iterations, and evaluations of the function.
    success : bool
        Whether it ended because a tolerance was reached.
    message : str
        Why it ended.
    """

    x: Any
    fun: float
    jac: Any
    nit: int
    nfev: int
    success: bool
    message: str


def minimize(fun, x0, method="lbfgs", *, tol=None, max_iter=None, callback=None, **options) -> MinimizeResult:
    """Make a function small, from its value and gradient.

    Parameters
    ----------
    fun : function
        Of x, in the form of x0; returns the value, a number, and the gradient, of the dtypes and shapes of x (of a list of arrays, a
        list). It is given arrays of its own, and may use the same ones for every gradient.
    x0 : array_like, or list of numpy.ndarray
        Where to begin. It is copied; what is not float32 becomes float64.
    method : str, default "lbfgs"
        L-BFGS with a search along lines by the strong Wolfe conditions, as in SciPy's "L-BFGS-B" but without bounds; or the name of
        an optimizer of `fastnn.optim` in small letters, such as "adam", of which every iteration is a step.
    tol : float, optional
        For "lbfgs", ftol and gtol, as in SciPy; for the others gtol.
    max_iter : int, optional
        The most iterations: 15000 for "lbfgs", 1000 for the others by default.
    callback : function, optional
        Called after every iteration with a MinimizeResult as things stand. StopIteration from it ends the search.
    **options
        For "lbfgs":

        history_size : int, default 10
            Pairs of steps and changes of the gradient that are remembered.
        max_eval : int, default 15000
            The most evaluations.
        ftol : float, default 2.2e-9 (1.2e-7 if x0 has a float32)
            It ends where value - new value <= ftol max(|value|, |new value|, 1).
        gtol : float, default 1e-5
            It ends where no component of the gradient is larger than this.

        For the others gtol and what the optimizer takes: lr, a number or a schedule, momentum, weight_decay and so on.

    Returns
    -------
    MinimizeResult
        "lbfgs": at the lowest point that was found, also where a line search failed, which the message says. The others: at the last
        point, since their functions may be noisy; at the last finite one where the value was not finite any more.

    Raises
    ------
    TypeError, ValueError
        If an argument, or what the function returns, does not fit. What the function raises, comes through.

    Examples
    --------
    >>> def rosenbrock(x):
    ...     u = x[1:] - x[:-1] ** 2
    ...     g = np.zeros_like(x)
    ...     g[1:] += 200 * u
    ...     g[:-1] -= 400 * x[:-1] * u + 2 * (1 - x[:-1])
    ...     return (100 * u**2 + (1 - x[:-1]) ** 2).sum(), g
    >>> found = fastnn.minimize(rosenbrock, np.zeros(5))
    >>> found.success, found.x.round(4), found.nfev < 50
    (True, array([1., 1., 1., 1., 1.]), True)
    >>> found = fastnn.minimize(lambda x: ((x**2).sum(), 2 * x), [3.0, -1.0], method="adam", lr=0.1, max_iter=500)
    >>> found.success, found.x.round(3) + 0.0
    (True, array([0., 0.]))
    """
    if not callable(fun):
        raise TypeError(f"fun: expected a function that returns (value, gradient), got {type(fun).__name__}")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: expected a function, got {type(callback).__name__}")
    if not isinstance(method, str):
        raise TypeError(f"method: expected a string, got {type(method).__name__}")
    name = method.lower()
    name = _SPELLED.get(name, name)
    kinds = by_name()
    if name != "lbfgs" and name not in kinds:
        known = ["lbfgs", *sorted(kinds)]
        meant = nearest(name, known)
        hint = f"; did you mean {meant!r}?" if meant else ""
        raise ValueError(f"method: expected one of {known}, got {method!r}{hint}")
    tol = None if tol is None else checks.number(tol, "tol")
    max_iter = None if max_iter is None else checks.count(max_iter, "max_iter")
    problem = _Problem(fun, x0, callback)
    if name == "lbfgs":
        return _lbfgs(problem, tol, max_iter, options)
    return _by_steps(problem, kinds[name], tol, max_iter, options)


class _Problem:
    """A function of arrays, its results checked, and the forms in which x comes and goes."""

    def __init__(self, fun, x0, callback):
        self.fun, self.callback = fun, callback
        self.many = isinstance(x0, (list, tuple)) and any(isinstance(a, np.ndarray) and a.ndim for a in x0)
        given = list(x0) if self.many else [x0]
        self.names = [f"x0[{i}]" for i in range(len(given))] if self.many else ["x0"]
        self.start = [self._array(a, n) for a, n in zip(given, self.names)]

    @staticmethod
    def _array(a, name):
        a = np.asarray(_native.plain(a, name))
        if a.dtype.kind not in "biuf":
            raise TypeError(f"{name}: expected real numbers, got dtype {a.dtype}")
        dtype = np.float32 if a.dtype == np.float32 else np.float64
        return np.array(a, dtype, order="C")

    def formed(self, arrays):
        return list(arrays) if self.many else arrays[0]

    def ask(self, arrays, gradient):
        """The value at arrays, which the function may keep; its gradient is copied into these others."""
        found = self.fun(self.formed(arrays))
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise TypeError(f"fun: expected it to return (value, gradient), got {type(found).__name__}")
        value, grads = found
        value = loss_of(value, "fun: the value")
        if self.many:
            if not isinstance(grads, (list, tuple)) or len(grads) != len(gradient):
                got = f"{len(grads)} of them" if isinstance(grads, (list, tuple)) else type(grads).__name__
                raise ValueError(f"fun: expected a list of {len(gradient)} gradients, one for each array of x0, got {got}")
        else:
            if isinstance(grads, (list, tuple, int, float)):
                grads = np.asarray(grads, gradient[0].dtype)
            grads = [np.asarray(grads) if isinstance(grads, np.generic) else grads]  # of an array of no dimensions
        take_gradients(grads, gradient, "fun: the gradient of {}", self.names)
        return value

    def goes_on(self, result):
        """Tell the callback; whether it lets the search go on."""
        if self.callback is None:
            return True
        try:
            self.callback(result())
        except StopIteration:
            return False
        return True


_STOPPED = "the callback raised StopIteration"
_RUNNING = "it goes on"


def _lbfgs(problem, tol, max_iter, options):
    eps = max(float(np.finfo(a.dtype).eps) for a in problem.start)
    settings = {"history_size": 10, "max_eval": 15000, "ftol": max(2.2e-9, eps) if tol is None else tol,
                "gtol": 1e-5 if tol is None else tol}  # fmt: skip
    unknown = sorted(set(options) - set(settings))
    if unknown:
        raise TypeError(f"minimize: unknown options {unknown}{checks.instead(unknown, settings)}; those of 'lbfgs' are {sorted(settings)}")
    settings.update(options)
    limits = {k: checks.count(settings[k], k) for k in ("history_size", "max_eval")}
    if limits["history_size"] == 0:
        raise ValueError("history_size: expected an integer >= 1, got 0")
    ftol, gtol = checks.number(settings["ftol"], "ftol"), checks.number(settings["gtol"], "gtol")
    descent = Descent(problem.start, limits["history_size"], worthy)
    views = descent.vectors.views

    def function(x, gradient):
        return problem.ask(views(x if x is not descent.state.x else x.copy()), views(gradient)), None

    def result(success=False, message=_RUNNING):
        s = descent.state
        gradient = [g.copy() for g in views(s.gradient)]
        return MinimizeResult(problem.formed([a.copy() for a in views(s.x)]), s.value, problem.formed(gradient), s.iterations,
                              descent.evaluations, success, message)  # fmt: skip

    for _ in iterations(descent, function, ftol, gtol, 15000 if max_iter is None else max_iter, limits["max_eval"]):
        if not problem.goes_on(result):
            return result(False, _STOPPED)
    return result(*descent.outcome)


def _by_steps(problem, kind, tol, max_iter, options):
    gtol = checks.number(options.pop("gtol", 1e-5 if tol is None else tol), "gtol")
    max_iter = 1000 if max_iter is None else max_iter
    x, gradient = problem.start, [np.zeros_like(a) for a in problem.start]
    opt, held, evaluations = kind(x, **options), None, 0

    def evaluated(nit):
        value = problem.ask([a.copy() for a in x], gradient)
        found = [a.copy() for a in x], [g.copy() for g in gradient]
        return MinimizeResult(problem.formed(found[0]), value, problem.formed(found[1]), nit, evaluations, False, _RUNNING)

    for nit in range(max_iter + 1):
        evaluations += 1
        now, size = evaluated(nit), max((float(np.abs(g).max()) for g in gradient if g.size), default=0.0)
        if not (math.isfinite(now.fun) and math.isfinite(size)):
            message = f"the value became {now.fun}, or its gradient not finite, in iteration {nit}; a lower lr may help"
            return replace(held or now, nfev=evaluations, message=message)
        held = now
        if nit and not problem.goes_on(lambda: held):  # noqa: B023 - it is called at once
            return replace(held, message=_STOPPED)
        if size <= gtol:
            held = replace(held, success=True, message=f"no component of the gradient is larger than gtol = {gtol:.3g}")
            break
        if nit == max_iter:
            held = replace(held, message=f"the limit of max_iter = {max_iter} iterations was reached")
            break
        opt.step(gradient)
    if kind.evaluating is not Optimizer.evaluating:  # what it has averaged is what it has found
        with opt.evaluating():
            evaluations += 1
            found = evaluated(held.nit)
        return replace(found, success=held.success, message=held.message)
    return held
