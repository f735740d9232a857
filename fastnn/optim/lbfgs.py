"""L-BFGS for whole batches: a closure gives the loss and the gradients as often as they are asked for."""

import math
import numbers
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .. import _native
from ..core.listing import Listed
from ..core.parameter import Parameter
from . import checks
from .descent import Descent, State
from .parameters import check_apart, check_not_sparse, check_param, flatten_one, listed
from .state import as_dict
from .torch_state import _array, _scalar, _setting

_STATE = ("x", "step", "gradient", "s", "y")
_SEEN = 10  # points of a line, without a lower value among them, from which on it is said what is wrong


def _search_name(value, name):
    return None if value is None else checks.choice("strong_wolfe")(value, name)


def _limit(value, name):
    return None if value is None else _positive_count(value, name)


def _positive_count(value, name):
    value = checks.count(value, name)
    if value == 0:
        raise ValueError(f"{name}: expected an integer >= 1, got 0")
    return value


_CHECKS = {
    "lr": checks.number,
    "max_iter": _positive_count,
    "max_eval": _limit,
    "tolerance_grad": checks.number,
    "tolerance_change": checks.number,
    "history_size": _positive_count,
    "line_search_fn": _search_name,
}


class LBFGS(Listed):
    """L-BFGS, which learns the curvature from the last steps: for whole batches, small models and functions without noise.

        y = g - previous g,  s = x - previous x;  (s, y) is remembered if s y > 1e-10, at most history_size of them
        d = -H g             H by the two-loop recursion from s y / y y of the newest pair; d = -g in the first iteration
        t = lr               in the first iteration lr min(1, 1 / sum |g|)
        x += t d             or, with line_search_fn="strong_wolfe", x += t' d for the t' of a search along d that begins at t

    A step does up to max_iter such iterations. It ends before where no component of g is above tolerance_grad, where neither x nor
    the loss changed by more than tolerance_change, where d has a slope below that, and after max_eval evaluations.

    D. C. Liu and J. Nocedal, "On the limited memory BFGS method for large scale optimization", 1989. Names, defaults and formulas
    are those of ``torch.optim.LBFGS``, but that an iteration that finds no lower loss says why. Without a line search, the default
    there, a step may make the loss larger: ask for "strong_wolfe" unless you know why not.

    When to choose it: where every evaluation sees all of the data and there is no noise in it; there it needs a tenth or a hundredth
    of the evaluations of the other optimizers. `fastnn.minimize` calls it for functions, `Trainer.fit_lbfgs` for models.

    Parameters
    ----------
    params : list or dict
        Arrays or Parameters, as for `Optimizer`; or a list of one group.
    lr : float, default 1
        The first step length tried along each direction. At least 0.
    max_iter : int, default 20
        Iterations of a step.
    max_eval : int, optional
        Evaluations of a step; max_iter * 5 // 4 by default.
    tolerance_grad : float, default 1e-7
    tolerance_change : float, default 1e-9
    history_size : int, default 100
        Each pair that is remembered takes twice the memory of the parameters.
    line_search_fn : {"strong_wolfe"}, optional
        None: every step is of length lr.

    Attributes
    ----------
    param_groups : tuple of dict
        One, with these settings, which may be changed between steps.
    n_iter, func_evals : int
        Iterations and evaluations of all steps.
    message : str
        Why the last step ended.

    Examples
    --------
    >>> def rosenbrock():
    ...     a, b = w
    ...     return (1 - a)**2 + 100 * (b - a**2)**2, [np.array([-2 * (1 - a) - 400 * a * (b - a**2), 200 * (b - a**2)])]
    >>> w = np.array([-1.2, 1.0])
    >>> opt = optim.LBFGS([w], max_iter=100, line_search_fn="strong_wolfe")
    >>> opt.step(rosenbrock)
    24.199999999999996
    >>> w.round(3), opt.n_iter < 40
    (array([1., 1.]), True)
    """

    def __init__(self, params, lr=1.0, max_iter=20, max_eval=None, tolerance_grad=1e-7, tolerance_change=1e-9, history_size=100,
                 line_search_fn=None) -> None:
        self.defaults = {
            "lr": lr, "max_iter": max_iter, "max_eval": max_eval, "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change, "history_size": history_size, "line_search_fn": line_search_fn,
        }  # fmt: skip
        if isinstance(params, (np.ndarray, Parameter)):
            raise TypeError("params: expected a list or dict of arrays, got a single one; write [array]")
        owner = callable(getattr(params, "parameters", None))
        if owner or not isinstance(params, Iterable):
            hint = "; write model.parameters()" if owner else ""
            raise TypeError(f"params: expected a list or dict of arrays, got {type(params).__name__}{hint}")
        given, own = params if isinstance(params, dict) else list(params), {}
        if isinstance(given, list) and given and all(isinstance(g, dict) for g in given):
            if len(given) > 1:
                raise ValueError(f"params: expected one group, since a direction is one for all parameters, got {len(given)}")
            if "params" not in given[0]:
                raise ValueError(f"params[0]: expected a group with an entry 'params', got keys {sorted(given[0])}")
            given, own = given[0]["params"], {k: v for k, v in given[0].items() if k != "params"}
            unknown = sorted(set(own) - set(self.defaults))
            if unknown:
                raise ValueError(f"params[0]: unknown hyper-parameters {unknown}{checks.instead(unknown, self.defaults)}; "
                                 f"known are {sorted(self.defaults)}")
        self._keys, self._objects, self._names = listed(given, "params")
        if not self._objects:
            raise ValueError("params: expected at least one array, got none")
        check_not_sparse(self._objects, self._names, "L-BFGS")
        self._bind()
        self.param_groups = ({**self._checked({**self.defaults, **own}), "params": tuple(self._objects)},)
        self._descent = None
        self.n_iter = self.func_evals = 0
        self.message = "no step has been done"

    @staticmethod
    def _checked(settings):
        return {name: check(settings[name], name) for name, check in _CHECKS.items()}

    def _bind(self):
        self._params = [np.asarray(check_param(p, n)) for p, n in zip(self._objects, self._names)]
        check_apart(self._params, self._names)
        self._were = [self._look(p) for p in self._params]
        self._busy = _native.Lock("this optimizer")

    @staticmethod
    def _look(p):
        return p.__array_interface__["data"][0], p.shape, p.strides, p.dtype

    def _check_arrays(self):
        for p, was, name in zip(self._params, self._were, self._names):
            if self._look(p) != was:
                raise ValueError(f"{name}: expected the memory, dtype, shape and layout that it had, got an array that has been "
                                 "resized or changed")

    # ---- stepping ----

    def step(self, closure) -> float:
        """Do up to max_iter iterations.

        Parameters
        ----------
        closure : function
            Of no arguments; returns the loss at the parameters as they stand, a number, and its gradients: one array for each
            parameter, of its dtype and shape, in the structure (list or dict) in which the parameters were given; None for zeros.
            It may use the same gradient arrays every time.

        Returns
        -------
        float
            The loss at the first evaluation, before the parameters changed.

        Raises
        ------
        TypeError, ValueError
            If a gradient, the loss, a parameter or a setting does not fit. Parameters and memory are then as before the step, and
            so they are where the closure raises. (Ctrl-C leaves the parameters as the last whole iteration made them.)
        RuntimeError
            If a step is running.

        Warns
        -----
        RuntimeWarning
            If a line search fails: the loss or its gradient is not finite, falls without end, or does not fit the other. The
            parameters are then the best that were found.
        """
        if not callable(closure):
            raise TypeError(f"closure: expected a function that returns (loss, gradients), got {type(closure).__name__}")
        return self._busy.call_sealed(self._step, closure)

    def _step(self, closure):
        settings = self._checked(self.param_groups[0])
        self._check_arrays()
        descent = self._begin(settings["history_size"])
        held, counts = descent.state, (self.n_iter, self.func_evals, descent.evaluations)
        try:
            loss, problem = self._iterate(descent, settings, lambda x, gradient: self._ask(closure, x, gradient))
            self._put(descent.state.x)
        except BaseException as error:
            if isinstance(error, Exception):
                descent.state, (self.n_iter, self.func_evals, descent.evaluations) = held, counts
            self._put(descent.state.x, True)
            raise
        finally:
            self.func_evals += descent.evaluations - counts[2]
        if problem:
            warnings.warn(f"LBFGS: {self.message}", RuntimeWarning, stacklevel=3)
        return loss

    def _begin(self, history_size):
        """The descent, at the parameters as they are. A step that somebody has added to says nothing of the curvature."""
        descent = self._descent
        if descent is None:
            descent = self._descent = Descent(self._params, history_size, _worthy)
            return descent
        descent.history_size = history_size
        views = descent.vectors.views(descent.state.x)
        if not all(np.array_equal(p, v, equal_nan=True) for p, v in zip(self._params, views)):
            x = descent.vectors.block()
            for view, p in zip(descent.vectors.views(x), self._params):
                view[...] = p
            descent.state = descent.state._replace(x=x, step=None, before=None)
        return descent

    def _put(self, x, gently=False):
        """The parameters become those of the block x; gently: but for arrays that are no longer what they were."""
        for p, view, was in zip(self._params, self._descent.vectors.views(x), self._were):
            if not gently or self._look(p) == was:
                p[...] = view

    def _ask(self, closure, x, gradient):
        self._check_arrays()
        self._put(x)
        found = closure()
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError(f"closure: expected it to return (loss, gradients), got {type(found).__name__}")
        loss, grads = found
        loss = loss_of(loss, "closure: the loss")
        grads = flatten_one(grads, self._keys, len(self._params), "closure: the gradients")
        take_gradients(grads, self._descent.vectors.views(gradient), "closure: gradient of {}", self._names)
        return loss, None

    def _iterate(self, descent, g, function):
        """(the first loss, whether a line search failed); the message stands then."""
        most = g["max_eval"] or max(1, g["max_iter"] * 5 // 4)
        evaluations, done = descent.evaluations, 0
        descent.evaluate(function)
        first = descent.state.value
        if descent.state.largest <= g["tolerance_grad"]:
            self.message = "no component of the gradient is larger than tolerance_grad"
            return first, False
        if not (math.isfinite(first) and math.isfinite(descent.state.largest)):
            self.message = f"the loss, {first}, or its gradient is not finite where the step begins"
            return first, True
        while True:
            s = descent.state
            done += 1
            self.n_iter += 1
            slope, _ = descent.aim()
            if not slope <= -g["tolerance_change"]:
                self.message = "the slope along the direction is above -tolerance_change"
                return first, False
            t = g["lr"] * min(1.0, 1.0 / descent.vectors.measure(s.gradient, s.gradient)[2]) if s.iterations == 0 else g["lr"]
            if g["line_search_fn"] is None:
                descent.move(t)
                if done < g["max_iter"]:  # the next step asks again: there it may be of other data
                    descent.evaluate(function)
                    if not (math.isfinite(descent.state.value) and math.isfinite(descent.state.largest)):
                        self.message = f"the loss became {descent.state.value}, or its gradient not finite, by a step of {t:.3g}; "
                        self.message += 'a lower lr, or line_search_fn="strong_wolfe", may help'
                        descent.state = s
                        return first, True
            else:
                limit = most - (descent.evaluations - evaluations)
                found = descent.search(function, slope, t, limit, g["tolerance_change"])
                stuck = found.point.t == 0 and (found.why != "limit" or limit >= _SEEN)
                if stuck or found.why in ("unbounded", "not finite"):
                    fine, self.message = descent.what_is_wrong(function, found)
                    return first, not fine
                t = found.point.t
            if done == g["max_iter"]:
                self.message = "max_iter iterations were done"
            elif descent.evaluations - evaluations >= most:
                self.message = "max_eval evaluations were done"
            elif descent.state.largest <= g["tolerance_grad"]:
                self.message = "no component of the gradient is larger than tolerance_grad"
            elif t * descent.longest <= g["tolerance_change"]:
                self.message = "no parameter changed by more than tolerance_change"
            elif abs(descent.state.value - s.value) < g["tolerance_change"]:
                self.message = "the loss changed by less than tolerance_change"
            else:
                continue
            return first, False

    # ---- state ----

    def state_dict(self) -> dict[str, Any]:
        """A plain dict of copies, as that of `Optimizer`: {"optimizer": "LBFGS", "groups": [settings, "n_iter", "func_evals",
        "iterations", "scale"], "state": [arrays by name]}.

        Once a step has been done, the arrays are "x", where it ended, the "step" that led there and the "gradient" before it, and
        the pairs "s" and "y", each [pairs, ...].
        """
        group = {k: v for k, v in self.param_groups[0].items() if k != "params"}
        names = {} if self._keys is None else {"params": [k if isinstance(k, (str, int)) else str(k) for k in self._keys]}
        s = None if self._descent is None else self._descent.state
        counts = {"iterations": 0 if s is None else s.iterations, "scale": 1.0 if s is None else s.scale}
        groups = [{**names, **group, "n_iter": self.n_iter, "func_evals": self.func_evals, **counts}]
        state = [{} for _ in self._params]
        if s is not None:
            views = self._descent.vectors.views
            single = {"x": s.x, "step": s.step, "gradient": s.before}
            many = {"s": [views(pair[0]) for pair in s.pairs], "y": [views(pair[1]) for pair in s.pairs]}
            for i, (p, found) in enumerate(zip(self._params, state)):
                found |= {name: views(block)[i].copy(order="K") for name, block in single.items() if block is not None}
                for name, vectors in many.items():
                    found[name] = np.array([v[i] for v in vectors], p.dtype).reshape(len(vectors), *p.shape)
        return {"optimizer": "LBFGS", "groups": groups, "state": state}

    def load_state_dict(self, state_dict) -> None:
        """Take over what `state_dict` gave; parameters in the same order.

        Raises
        ------
        TypeError, ValueError
            If it is of another optimizer, or names, shapes or kinds differ. Nothing has changed then.
        """
        given = as_dict(state_dict)
        try:
            kind, groups, state = given["optimizer"], given["groups"], given["state"]
        except (KeyError, TypeError):
            raise ValueError("state_dict: expected a dict with 'optimizer', 'groups' and 'state'") from None
        if kind != "LBFGS":
            raise ValueError(f"state_dict: expected the state of LBFGS, got that of {kind!r}")
        if not isinstance(groups, (list, tuple)) or len(groups) != 1 or not isinstance(groups[0], Mapping):
            raise ValueError(f"state_dict['groups']: expected a list of one dict, got {groups!r:.60}")
        if not isinstance(state, (list, tuple)) or len(state) != len(self._params) or not all(isinstance(v, Mapping) for v in state):
            raise ValueError(f"state_dict['state']: expected a list of {len(self._params)} dicts, got {state!r:.60}")
        group = groups[0]
        entries = {*self.defaults, "n_iter", "func_evals", "iterations", "scale"}
        if not entries <= set(group):
            raise ValueError(f"state_dict['groups'][0]: expected entries {sorted(entries)}, got {sorted(group)}")
        settings = self._checked({k: group[k] for k in self.defaults})
        counts = [checks.count(group[k], f"state_dict['groups'][0][{k!r}]") for k in ("n_iter", "func_evals", "iterations")]
        scale = checks.number(group["scale"], "state_dict['groups'][0]['scale']")
        names = set(state[0])
        if names and not {"x", "s", "y"} <= names <= set(_STATE) or len(names & {"step", "gradient"}) == 1:
            raise ValueError(f"state_dict['state'][0]: expected entries {list(_STATE)}, or none, got {sorted(names)}")
        arrays = {name: [] for name in names}
        for i, (found, p) in enumerate(zip(state, self._params)):
            if set(found) != names:
                raise ValueError(f"state_dict['state'][{i}]: expected entries {sorted(names)}, got {sorted(found)}")
            for name in names:
                where = f"state_dict['state'][{i}][{name!r}]"
                value = _array(found[name], where)
                shape = (len(arrays["s"][0]) if i or name == "y" and arrays["s"] else len(value), *p.shape) if name in "sy" else p.shape
                if value.size == 0 and math.prod(shape) == 0:
                    value = value.reshape(shape)
                if value.shape != shape:
                    raise ValueError(f"{where}: expected shape {shape}, got {value.shape}")
                arrays[name].append(value)
        self._take(settings, counts, scale, arrays if names else None)

    def _take(self, settings, counts, scale, arrays):
        """Take over checked settings and counts and, where there are any, lists of arrays by name."""
        descent = None
        if arrays:
            descent = Descent(self._params, settings["history_size"], _worthy)
            blocks = {name: _block(descent.vectors, arrays[name]) for name in ("x", "step", "gradient") if name in arrays}
            pairs = []
            for k in range(len(arrays["s"][0])):
                s, y = (_block(descent.vectors, [a[k] for a in arrays[name]]) for name in ("s", "y"))
                pairs.append((s, y, 1.0 / descent.vectors.measure(y, s)[0]))
            descent.state = State(
                blocks.get("x", descent.state.x), pairs=tuple(pairs), scale=scale, step=blocks.get("step"),
                before=blocks.get("gradient"), iterations=counts[2],
            )  # fmt: skip
        self._descent, (self.n_iter, self.func_evals) = descent, counts[:2]
        self.param_groups[0].update(settings)

    def from_torch_state(self, state_dict, transpose=False) -> None:
        """Take over the state of ``torch.optim.LBFGS``, as its `state_dict()` gives it; the parameters must have been loaded.

        Parameters
        ----------
        state_dict : dict
        transpose : bool, default False
            Turn every two-dimensional array: PyTorch's Linear keeps weights as [out, in].

        Raises
        ------
        TypeError, ValueError
            If something is missing or does not fit. Nothing has changed then.
        """
        transpose = checks.flag(transpose, "transpose")
        try:
            (theirs,), state = state_dict["param_groups"], state_dict["state"]
            numbers = theirs["params"]
        except (KeyError, TypeError, ValueError):
            raise ValueError("state_dict: expected a dict with 'state' and 'param_groups', a list of one group") from None
        if len(numbers) != len(self._params):
            raise ValueError(f"state_dict['param_groups']: expected {len(self._params)} parameters, got {len(numbers)}")
        settings = self._checked({k: _setting(theirs[k], k) if k in theirs else v for k, v in self.param_groups[0].items()
                                  if k in self.defaults})  # fmt: skip
        found, name = state.get(numbers[0], {}), f"state_dict['state'][{numbers[0]!r}]"
        counts = [checks.count(found.get(k, 0), f"{name}[{k!r}]") for k in ("n_iter", "func_evals", "n_iter")]
        if counts[0] == 0:
            self._take(settings, counts, 1.0, None)
            return
        missing = sorted({"d", "t", "old_dirs", "old_stps", "H_diag", "prev_flat_grad"} - set(found))
        if missing or len(found["old_dirs"]) != len(found["old_stps"]):
            raise ValueError(f"{name}: expected entries {missing or ['old_dirs', 'old_stps']} of one length, got {sorted(found)}")

        def parts(vector, what):
            flat, arrays = _array(vector, f"{name}[{what!r}]").ravel(), []
            sizes = [p.size for p in self._params]
            if flat.size != sum(sizes):
                raise ValueError(f"{name}[{what!r}]: expected {sum(sizes)} numbers, got {flat.size}")
            for part, p in zip(np.split(flat, np.cumsum(sizes)[:-1]), self._params):
                arrays.append(part.reshape(p.shape[::-1]).T if transpose and p.ndim == 2 else part.reshape(p.shape))
            return arrays

        def stacked(vectors, what):
            each = [parts(v, what) for v in vectors]
            return [np.array([e[i] for e in each]).reshape(len(each), *p.shape) for i, p in enumerate(self._params)]

        t = float(_scalar(found["t"], f"{name}['t']"))
        arrays = {
            "step": [t * a for a in parts(found["d"], "d")],
            "gradient": parts(found["prev_flat_grad"], "prev_flat_grad"),
            "s": stacked(found["old_stps"], "old_stps"),
            "y": stacked(found["old_dirs"], "old_dirs"),
        }
        self._take(settings, counts, float(_scalar(found["H_diag"], f"{name}['H_diag']")), arrays)

    def __getstate__(self):
        """Everything but the blocks and the lock, of which new ones are made."""
        kept = {k: v for k, v in self.__dict__.items() if k not in ("_descent", "_busy", "_params", "_were")}
        return {**kept, "state": self.state_dict()}

    def __setstate__(self, state):
        found = state.pop("state")
        self.__dict__.update(state)
        self._descent = None
        self._bind()
        self.load_state_dict(found)

    def __repr__(self):
        settings = ", ".join(f"{k}={v!r}" for k, v in self.param_groups[0].items() if k != "params")
        return f"LBFGS({len(self._params)} parameters, {settings})"


def _worthy(ys, yy):
    return ys > 1e-10  # PyTorch's bound


def _block(vectors, arrays):
    """A block with these arrays' values."""
    block = vectors.block()
    for view, a in zip(vectors.views(block), arrays):
        view[...] = a
    return block


def loss_of(value, name):
    """A loss as a float; NaN and infinity may be: the search goes back from there."""
    found = checks.scalar(value)
    if isinstance(found, bool) or not isinstance(found, numbers.Real):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    return float(found)


def take_gradients(grads, views, name, names):
    """Copy gradients into a vector's arrays, once all have been checked. None: zeros. name: for messages, with a {} for each of the
    names."""
    for g, view, which in zip(grads, views, names):
        if g is None or type(g) is np.ndarray and g.dtype == view.dtype and g.shape == view.shape:
            continue
        where = name.format(which)
        if not isinstance(g, np.ndarray):
            raise TypeError(f"{where}: expected a NumPy array, got {type(g).__name__}")
        g = np.asarray(_native.plain(g, where))
        if g.dtype != view.dtype:
            raise TypeError(f"{where}: expected dtype {view.dtype}, got {g.dtype}")
        if g.shape != view.shape:
            raise ValueError(f"{where}: expected shape {view.shape}, got {g.shape}")
    for g, view in zip(grads, views):
        view[...] = 0.0 if g is None else g
