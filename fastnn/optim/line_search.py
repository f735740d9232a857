"""The search along a line for a step that the strong Wolfe conditions allow."""

import math
from typing import NamedTuple


class Point(NamedTuple):
    """A point on a line x + t d, and what the function says there.

    Attributes
    ----------
    t : float
    value : float
    slope : float
        The gradient times d.
    gradient : object
        As the line keeps it.
    largest : float
        The largest component of the gradient, in size.
    extra : object
        Whatever else the function said.
    """

    t: float
    value: float
    slope: float
    gradient: object = None
    largest: float = 0.0
    extra: object = None

    @property
    def finite(self):
        return math.isfinite(self.value) and math.isfinite(self.slope)


class Found(NamedTuple):
    """What a search along a line ended with.

    Attributes
    ----------
    point : Point
        The lowest that was found; the start itself if none was lower.
    other : Point
        The one that was tried last beside it.
    why : str or None
        None where the Wolfe conditions hold; else what was in the way: "limit", "small", "unbounded", "not finite".
    """

    point: Point
    other: Point
    why: str | None


_FAR = 1e8  # so many first steps on, with the value still falling, the function counts as unbounded


def interpolated(a, b, least=None, most=None):
    """The t between least and most (by default the two points') where the cubic through two points, values and slopes, is least;
    the middle where there is no such t (Nocedal and Wright, Numerical Optimization, equation 3.59)."""
    extrapolated = most is not None
    if not extrapolated:
        least, most = min(a.t, b.t), max(a.t, b.t)
    if not (a.finite and b.finite):
        return (least + most) / 2
    (left, right) = (a, b) if a.t <= b.t else (b, a)
    mean = a.slope + b.slope - 3 * (a.value - b.value) / (a.t - b.t)
    square = mean * mean - a.slope * b.slope
    if not square >= 0:
        return (least + most) / 2
    root = math.sqrt(square)
    down = right.slope - left.slope + 2 * root
    if down == 0:  # a straight line
        return most if extrapolated else (least + most) / 2
    return min(max(right.t - (right.t - left.t) * ((right.slope + root - mean) / down), least), most)


def strong_wolfe(line, start, t, c1=1e-4, c2=0.9, limit=25, tolerance=1e-9):
    """Look for a step t that makes the value fall enough and the slope flat enough.

        value(t) <= value(0) + c1 t slope(0)        and        |slope(t)| <= c2 |slope(0)|

    Steps grow until an interval must hold such a point, which is then narrowed, each by cubic interpolation (Nocedal and Wright,
    Numerical Optimization, algorithms 3.5 and 3.6). Its decisions are those of PyTorch's ``LBFGS(line_search_fn="strong_wolfe")``,
    which has them from M. Schmidt's minFunc, as long as all is finite and but for one that went wrong; from a point that is not
    finite it goes back by a factor of ten.

    Parameters
    ----------
    line : object
        ``line.at(t)`` gives the Point, and ``line.longest`` is the largest component of its direction.
    start : Point
        At t = 0, with a slope below 0.
    t : float
        The first to try.
    c1, c2 : float
    limit : int
        So many points are tried behind the first.
    tolerance : float
        An interval in which no component moves by as much is not narrowed further.

    Returns
    -------
    Found
    """
    first, flat, tried, beyond = t, -c2 * start.slope, 0, math.inf
    before, new = start, line.at(t)
    while tried < limit:
        if not new.finite:
            if new.value == -math.inf:
                return Found(before, new, "unbounded")
            beyond, t = new.t, before.t + 0.1 * (new.t - before.t)
            new = line.at(t)
            tried += 1
            continue
        fell = new.value <= start.value + c1 * t * start.slope and not (tried > 1 and new.value >= before.value)
        if fell and abs(new.slope) <= flat:
            return Found(new, before, None)
        if not fell or new.slope >= 0:
            return _narrowed(line, start, [before, new], c1, flat, limit - tried, tolerance)
        least, most = t + 0.01 * (t - before.t), 10 * t
        if most > beyond:
            most = (t + beyond) / 2
            least = min(least, most)
        t = interpolated(before, new, least, most)
        before, new = new, line.at(t)
        tried += 1
    if not new.finite:
        return Found(before, new, "not finite")
    lower = new.value < start.value
    return Found(new if lower else start, before, "unbounded" if lower and t >= _FAR * first else "limit")


def _narrowed(line, start, ends, c1, flat, limit, tolerance):
    """The search within an interval; PyTorch's rules keep its new points away from its ends. The lower end is one that has fallen
    enough: of two that are lower than the start, PyTorch and minFunc may take one that has not, and then look where there is none."""

    def fell(new, old):
        return new.value <= start.value + c1 * new.t * start.slope and new.value < old.value

    low = int(fell(ends[1], ends[0]))
    near, tried = False, 0  # near: the point before was close to an end
    while tried < limit:
        least, most = sorted((ends[0].t, ends[1].t))
        if (most - least) * line.longest < tolerance or most - least <= 2.0**-50 * most:
            return Found(ends[low], ends[1 - low], "small")
        t, margin = interpolated(*ends), 0.1 * (most - least)
        if min(most - t, t - least) >= margin:
            near = False
        elif near or not least < t < most:
            t = most - margin if abs(t - most) < abs(t - least) else least + margin
            near = False
        else:
            near = True
        new = line.at(t)
        tried += 1
        replaced = 1 - low
        if not fell(new, ends[low]):
            ends[replaced] = new
        elif abs(new.slope) <= flat:
            return Found(new, ends[low], None)
        elif new.slope * (ends[replaced].t - ends[low].t) >= 0:
            ends[replaced], ends[low] = ends[low], new
        else:
            ends[low] = new
    return Found(ends[low], ends[1 - low], "limit")
