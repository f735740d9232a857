"""L-BFGS on any function of arrays: what it remembers, an iteration at a time, and iterations until nothing more is to be had."""

import math
from typing import NamedTuple

import numpy as np

from .. import _native
from .line_search import Point, strong_wolfe

_SEARCH = 20  # points of a line that are tried behind the first


class State(NamedTuple):
    """Where a descent stands. Vectors are blocks of `Descent.vectors`; none is changed once it is part of a state.

    Attributes
    ----------
    x : numpy.ndarray
    value : float or None
        There; None where the function has not been asked yet.
    gradient : numpy.ndarray or None
    largest : float
        The gradient's largest component, in size.
    extra : object
        What else the function said at x.
    pairs : tuple of (numpy.ndarray, numpy.ndarray, float)
        Steps s, changes of the gradient y, and 1 / (s y), the oldest first.
    scale : float
        s y / y y of the newest.
    step, before : numpy.ndarray or None
        The last step, and the gradient before it: they become a pair once the gradient behind it is known.
    iterations : int
    """

    x: np.ndarray
    value: float | None = None
    gradient: np.ndarray | None = None
    largest: float = math.inf
    extra: object = None
    pairs: tuple = ()
    scale: float = 1.0
    step: np.ndarray | None = None
    before: np.ndarray | None = None
    iterations: int = 0


class Descent:
    """The iterations of L-BFGS on vectors that are lists of arrays (Liu and Nocedal 1989).

        d = -H g,  H from the last `history_size` pairs s = x_new - x, y = g_new - g by the two-loop recursion
        x = x + t d,  t from a search along the line, or as it is given

    The function whose value is to become small takes x, a block, and a block for the gradient, which it fills; it returns the value
    and whatever else is to be kept of the point. Every method puts a new `state` in place of the one before: whoever keeps that can
    put it back.

    Parameters
    ----------
    arrays : list of numpy.ndarray
        Where to begin; float32 or float64, C- or F-contiguous. They are copied.
    history_size : int
    worthy : function
        From (s y, y y) to whether that pair is remembered.
    """

    def __init__(self, arrays, history_size, worthy):
        self.vectors = _native.Vectors(arrays)
        self.history_size, self._worthy = history_size, worthy
        self.evaluations = 0
        x = self.vectors.block()
        for view, array in zip(self.vectors.views(x), arrays):
            view[...] = array
        self.state = State(x)
        self._function = self._direction = None
        self.longest = 0.0  # the direction's largest component, in size
        self.outcome = None  # of `iterations`: (success, message)

    def evaluate(self, function):
        """Ask the function at x."""
        gradient = self.vectors.block()
        value, extra = self._ask(function, self.state.x, gradient)
        _, _, _, largest = self.vectors.measure(gradient, gradient)
        self.state = self.state._replace(value=value, gradient=gradient, largest=largest, extra=extra)

    def _ask(self, function, x, gradient):
        self.evaluations += 1
        return function(x, gradient)

    def forget(self):
        """Leave out what is remembered: the next direction is that of steepest descent."""
        self.state = self.state._replace(pairs=(), scale=1.0, step=None, before=None)

    def aim(self):
        """Choose the direction; the gradient at x must stand. Returns (slope of the value along it, the direction's norm)."""
        v, s = self.vectors, self.state
        if s.step is not None:
            y = v.block()
            v.combine(y, s.gradient, -1.0, s.before)
            ys, yy, _, _ = v.measure(y, s.step)
            if self._worthy(ys, yy):
                s = s._replace(pairs=(*s.pairs, (s.step, y, 1.0 / ys))[-self.history_size :], scale=ys / yy)
            self.state = s = s._replace(step=None, before=None)
        self._direction = v.block()
        v.two_loops(self._direction, s.gradient, list(s.pairs), s.scale)
        slope, squares, _, self.longest = v.measure(self._direction, s.gradient)
        return slope, math.sqrt(squares)

    # ---- along the direction: what a line search asks for ----

    def at(self, t):
        """The Point x + t d."""
        v, x, gradient = self.vectors, self.vectors.block(), self.vectors.block()
        v.combine(x, self.state.x, t, self._direction)
        value, extra = self._ask(self._function, x, gradient)
        slope, _, _, largest = v.measure(gradient, self._direction)
        return Point(t, value, slope, gradient, largest, extra)

    def search(self, function, slope, t, limit, tolerance):
        """Search along the direction, t first, and go to what is found. Returns the `line_search.Found`."""
        s, self._function = self.state, function
        start = Point(0.0, s.value, slope, s.gradient, s.largest, s.extra)
        found = strong_wolfe(self, start, t, limit=limit, tolerance=tolerance)
        if found.point is not start:
            self._go(found.point)
        return found

    def move(self, t):
        """Go there without asking."""
        self._go(Point(t, None, 0.0, None, math.inf))

    def _go(self, point):
        v, s = self.vectors, self.state
        x, step = v.block(), v.block()
        v.combine(step, None, point.t, self._direction)
        v.combine(x, s.x, point.t, self._direction)
        self.state = s._replace(x=x, value=point.value, gradient=point.gradient, largest=point.largest, extra=point.extra,
                                step=step, before=s.gradient, iterations=s.iterations + 1)  # fmt: skip

    def what_is_wrong(self, function, found):
        """Of a search that found nothing lower, or no end: (whether the least has been reached as far as rounding lets one see, what
        to say). It asks the function at two more points, whether the gradient is its own."""
        s, point, other = self.state, found.point, found.other
        if found.why == "unbounded":
            far = min(point.value, other.value)
            return False, f"the value falls without end along a line, to {far:.3g}: the function seems to have no minimum"
        if other.finite:
            eps = self.vectors.eps
            h = eps ** (1 / 3) * max(1.0, self.vectors.measure(s.x, s.x)[3]) / self.longest
            self._function = function
            above, below = self.at(h), self.at(-h)
            other = below if above.finite else above
        if not other.finite:
            what = f"its value is {other.value}" if not math.isfinite(other.value) else "its gradient is not finite"
            return False, f"the function is not finite near the point that was reached: {what} after a step of {other.t:.3g}"
        measured, rounding = (above.value - below.value) / (2 * h), 16 * eps * max(abs(above.value), abs(below.value)) / h
        if not abs(measured - point.slope) <= 0.1 * abs(point.slope) + rounding:
            return False, (
                f"the gradient does not fit the value: along a line it says a slope of {point.slope:.6g}, but values to both sides "
                f"say {measured:.6g}; fastnn.check_gradients helps with models"
            )
        return True, "no lower value can be told from the one that was reached, which is within rounding of the least"


# The value may be NaN where it is no number: a reason to stop, said in words.
def _not_finite(state):
    if not math.isfinite(state.value):
        return f"the value is {state.value}"
    return None if math.isfinite(state.largest) else "the gradient is not finite"


def worthy(ys, yy):
    """Whether a pair is remembered, as SciPy's L-BFGS-B decides it: where the curvature, s y, is not lost in rounding."""
    return ys > 2.0**-52 * yy


def iterations(descent, function, ftol, gtol, max_iter, max_eval):
    """Go on until nothing more is to be had; a generator of nothing, once an iteration, behind which `descent.state` is new. When it
    ends, `descent.outcome` is (success, message).

        largest component of the gradient <= gtol        or        value - new value <= ftol max(|value|, |new value|, 1)
    """
    descent.evaluate(function)
    problem = _not_finite(descent.state)
    if problem:
        descent.outcome = False, f"the function is not finite where it begins: {problem}"
    while not problem:
        s = descent.state
        if s.largest <= gtol:
            descent.outcome = True, f"no component of the gradient is larger than gtol = {gtol:.3g}"
            return
        if s.iterations >= max_iter:
            descent.outcome = False, f"the limit of max_iter = {max_iter} iterations was reached"
            return
        if descent.evaluations >= max_eval:
            descent.outcome = False, f"the limit of max_eval = {max_eval} evaluations was reached"
            return
        slope, norm = descent.aim()
        known = bool(descent.state.pairs)
        if not -math.inf < slope < 0:
            if not known:
                descent.outcome = False, f"the gradient's square is beyond floating-point numbers: it is {-slope}"
                return
            descent.forget()  # rounding has made it useless
            continue
        limit = min(_SEARCH, max_eval - descent.evaluations - 1)
        found = descent.search(function, slope, 1.0 if known else min(1.0, 1.0 / norm), limit, 0.0)
        if found.point.t == 0 and limit < _SEARCH:
            continue  # there is no evaluation left
        if found.point.t == 0 and known:
            descent.forget()
            continue
        if found.point.t == 0 or found.why == "unbounded":
            descent.outcome = descent.what_is_wrong(function, found)
            return
        yield
        new = descent.state
        if s.value - new.value <= ftol * max(abs(s.value), abs(new.value), 1.0):
            descent.outcome = True, f"the value falls by no more than ftol = {ftol:.3g} of it in an iteration"
            return
