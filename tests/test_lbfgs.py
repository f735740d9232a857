"""optim.LBFGS beside PyTorch's, the vectors it works on beside NumPy, and what it does where a closure fails."""

import copy
import importlib.util
import json
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import _native, optim
from fastnn.optim.line_search import Point, interpolated, strong_wolfe
from fastnn.reference import lbfgs_direction

_spec = importlib.util.spec_from_file_location("make_lbfgs", Path(__file__).parent / "golden" / "make_lbfgs.py")
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

DTYPES = ("float32", "float64")
WOLFE = {"line_search_fn": "strong_wolfe"}


def steps(name, dtype, order="C"):
    """(weights, the loss that the step returned, iterations, evaluations) after each step."""
    params = [np.array(a, order=order) for a in golden.start(dtype)]
    opt = optim.LBFGS(params, **golden.CASES[name])
    for _ in range(golden.STEPS[dtype]):
        loss = opt.step(lambda: golden.loss_and_gradients(params))
        yield np.concatenate([p.ravel() for p in params]), loss, opt.n_iter, opt.func_evals


def close(a, b, tolerance):
    return np.abs(a.astype(np.float64) - b).max() <= tolerance * np.abs(b).max()


# ---- beside PyTorch ----


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", golden.CASES)
def test_recorded(name, dtype, order):
    with np.load(golden.FILE) as file:
        weights, counts = file[f"{name}/{dtype}"], file[f"{name}/{dtype}/counts"]
    for found, w, (loss, iterations, evaluations) in zip(steps(name, dtype, order), weights, counts, strict=True):
        assert close(found[0], w, golden.EXACT[dtype])
        assert found[1] == pytest.approx(loss, rel=golden.EXACT[dtype])
        assert found[2:] == (iterations, evaluations)


@pytest.mark.parametrize("name", golden.CASES)
def test_live_with_torch_and_on_from_its_state(name):
    pytest.importorskip("torch")
    theirs = list(golden.by_torch(name, "float64"))
    for found, (w, *rest) in zip(steps(name, "float64"), ((*s[:4],) for s in theirs), strict=True):
        assert close(found[0], w, golden.EXACT["float64"]) and found[2:] == tuple(rest[1:])
    params = golden.start("float64")
    run = golden.by_torch(name, "float64")
    for _ in range(2):
        w, *_, optimizer = next(run)
    for p, part in zip(params, np.split(w, [12])):
        p[...] = part.reshape(p.shape)
    opt = optim.LBFGS(params)
    opt.from_torch_state(optimizer.state_dict())
    for w, _, iterations, evaluations, _ in run:
        opt.step(lambda: golden.loss_and_gradients(params))
        assert close(np.concatenate([p.ravel() for p in params]), w, golden.EXACT["float64"])
        assert (opt.n_iter, opt.func_evals) == (iterations, evaluations)


# ---- vectors ----

SHAPES = [(3, 5), (), (0, 4), (70, 130), (1,), (4099,)]


def vectors_of(dtypes, order="C"):
    arrays = [np.zeros(s, d, order=order) for s, d in zip(SHAPES, dtypes * len(SHAPES))]
    return _native.Vectors(arrays)


def filled(v, seed):
    block, rng = v.block(), np.random.default_rng(seed)
    for view in v.views(block):
        view[...] = rng.normal(size=view.shape)
    return block


def flat(v, block):
    return np.concatenate([np.asarray(a, np.float64).ravel() for a in v.views(block)])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtypes", [["float32"], ["float64"], ["float64", "float32", "float32"]], ids=str)
def test_vectors_as_numpy(dtypes, order, team):
    v = vectors_of(dtypes, order)
    a, b, g = (filled(v, i) for i in range(3))
    exact, tolerance = all(d == "float64" for d in dtypes), 1e-13 if dtypes == ["float64"] else 3e-6
    x, y = flat(v, a), flat(v, b)
    results = []
    for threads in (1, 2, 3, 5):
        with team(threads):
            out, scaled, d = v.block(), v.block(), v.block()
            v.combine(out, a, -0.75, b)
            v.combine(scaled, None, 3.5, b)
            found = v.measure(a, b)
            pairs = [(filled(v, 10 + i), filled(v, 20 + i), 0.01 * (i + 1)) for i in range(5)]
            v.two_loops(d, g, pairs, 0.5)
            results.append((flat(v, out).tobytes(), flat(v, scaled).tobytes(), found, flat(v, d).tobytes()))
    assert all(r == results[0] for r in results)
    assert np.allclose(flat(v, out), x - 0.75 * y, rtol=1e-6, atol=1e-6) and np.allclose(flat(v, scaled), 3.5 * y)
    assert found == pytest.approx((x @ y, x @ x, np.abs(x).sum(), np.abs(x).max()), rel=1e-12)
    twin = lbfgs_direction_with(flat(v, g), [(flat(v, s), flat(v, y), r) for s, y, r in pairs], 0.5)
    assert close(flat(v, d), twin, tolerance), exact


def lbfgs_direction_with(g, pairs, scale):
    """The recursion with these numbers in place of 1 / (s y), so that the test need not have pairs of positive curvature."""
    q, alphas = g.copy(), []
    for s, y, rho in reversed(pairs):
        alphas.append(rho * (s @ q))
        q -= alphas[-1] * y
    r = scale * q
    for (s, y, rho), alpha in zip(pairs, reversed(alphas)):
        r += (alpha - rho * (y @ r)) * s
    return -r


def test_the_direction_is_the_twins_and_of_the_inverse_hessian():
    """With all pairs of a quadratic it is Newton's."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 6))
    hessian = root @ root.T + np.eye(6)
    v = _native.Vectors([np.zeros(6)])
    pairs, x = [], np.zeros(6)
    for d in np.linalg.eigh(hessian)[1].T:
        pairs.append((d, hessian @ d))
    g = rng.normal(size=6)
    blocks = []
    for pair in pairs:
        blocks.append(tuple(block_of(v, a) for a in pair) + (1.0 / (pair[0] @ pair[1]),))
    d = v.block()
    v.two_loops(d, block_of(v, g), blocks, 0.1)
    assert np.allclose(v.views(d)[0], lbfgs_direction(g, pairs, 0.1), rtol=1e-12)
    assert np.allclose(v.views(d)[0], -np.linalg.solve(hessian, g))
    v.two_loops(d, block_of(v, g), [], 0.1)
    assert np.allclose(v.views(d)[0], -0.1 * g) and np.array_equal(x, np.zeros(6))


def test_the_twin_checks_its_arrays():
    g = np.ones(3)
    for wrong, error in (([(g, g[:2])], ValueError), ([(g.astype(np.float32), g)], TypeError), ([(g.tolist(), g)], TypeError)):
        with pytest.raises(error, match=r"pairs\[0\]"):
            lbfgs_direction(g, wrong, 1.0)


def block_of(v, a):
    block = v.block()
    v.views(block)[0][...] = a
    return block


def test_not_a_number_is_seen_and_blocks_are_used_again():
    v = _native.Vectors([np.zeros(5, np.float32), np.zeros(9)])
    a = filled(v, 0)
    v.views(a)[1][3] = np.nan
    assert np.isnan(v.measure(a, filled(v, 1))).all()
    v.two_loops(a, a.copy(), [], np.inf)  # what lies between the arrays is not a number now either
    address = a.__array_interface__["data"][0]
    del a
    again = v.block()
    assert again.__array_interface__["data"][0] == address
    for view in v.views(again):
        view[...] = 1
    assert v.measure(again, again) == (14.0, 14.0, 14.0, 1.0)
    with pytest.raises(ValueError, match="block"):
        v.measure(again, np.zeros(3, np.uint8))


# ---- the search along a line ----


class Line:
    """A function of one number and its derivative."""

    longest = 1.0

    def __init__(self, f, slope):
        self.f, self.slope, self.tried = f, slope, []

    def at(self, t):
        self.tried.append(t)
        with np.errstate(all="ignore"):
            return Point(t, float(self.f(np.float64(t))), float(self.slope(np.float64(t))))


LINES = {  # More and Thuente 1994, tables I to V, and others
    "1": (lambda t: -t / (t**2 + 2), lambda t: (t**2 - 2) / (t**2 + 2) ** 2),
    "2": (lambda t: (t + 0.004) ** 5 - 2 * (t + 0.004) ** 4, lambda t: 5 * (t + 0.004) ** 4 - 8 * (t + 0.004) ** 3),
    "logarithm": (lambda t: t - np.log(t + 0.5) - 8 * np.sin(t) * 0, lambda t: 1 - 1 / (t + 0.5)),
    "wall": (lambda t: (t - 0.3) ** 2 - 1e-3 * np.log(0.5 - t), lambda t: 2 * (t - 0.3) + 1e-3 / (0.5 - t)),
    "overflow": (lambda t: np.exp(40 * t) - 100 * t, lambda t: 40 * np.exp(40 * t) - 100),
}


@pytest.mark.parametrize("first", [1e-3, 0.1, 1.0, 10.0, 1000.0])
@pytest.mark.parametrize("c2", [0.9, 0.1])
@pytest.mark.parametrize("name", LINES)
def test_the_wolfe_conditions_hold(name, c2, first):
    line = Line(*LINES[name])
    start = line.at(0.0)
    found = strong_wolfe(line, start, first, c2=c2, limit=40, tolerance=0.0)
    assert found.why is None
    p = found.point
    assert p.value <= start.value + 1e-4 * p.t * start.slope and abs(p.slope) <= c2 * abs(start.slope)
    assert len(line.tried) < 22


def test_interpolation():
    cubic, slope = (lambda t: t**3 - 3 * t**2 + 1), (lambda t: 3 * t**2 - 6 * t)  # least at 2
    a, b = (Point(t, cubic(t), slope(t)) for t in (0.5, 3.0))
    assert interpolated(a, b) == pytest.approx(2) and interpolated(b, a) == pytest.approx(2)
    assert interpolated(a, b, 2.5, 9.0) == 2.5 and interpolated(a, b, 0.0, 1.5) == 1.5
    assert interpolated(Point(0, 0, -1), Point(1, -1, -1), 1.01, 10) == 10  # a straight line has none
    assert interpolated(Point(0, 0, -1), Point(1, np.inf, 3)) == 0.5


@pytest.mark.parametrize(
    "f, slope, why",
    [
        (lambda t: -t, lambda t: -1.0, "unbounded"),
        (lambda t: -np.inf if t > 2 else -t, lambda t: -1.0, "unbounded"),
        (lambda t: 0.0 if t == 0 else np.nan, lambda t: -1.0, "not finite"),
        (lambda t: t, lambda t: -1.0, "limit"),
    ],
)
def test_a_search_that_fails_says_why(f, slope, why):
    line = Line(f, slope)
    start = line.at(0.0)
    found = strong_wolfe(line, start, 1.0, tolerance=0.0)
    assert found.why == why and found.point.finite and len(line.tried) <= 27
    assert (found.point is start) == (why != "unbounded")


# ---- what a step does where things go wrong ----


def quadratic(w):
    return float((w**2).sum()), [2 * w]


def everything(opt, arrays):
    return [a.tobytes() for a in arrays], json.dumps(opt.state_dict(), default=np.ndarray.tolist)


@pytest.mark.parametrize("when", [1, 3, 6])
@pytest.mark.parametrize("settings", [WOLFE, {"lr": 0.1}], ids=str)
@pytest.mark.parametrize(
    "bad, error, match",
    [
        (lambda found: 1 / 0, ZeroDivisionError, "division"),
        (lambda found: found[0], TypeError, r"closure: expected it to return \(loss, gradients\), got float"),
        (lambda found: (None, found[1]), TypeError, "closure: the loss: expected a number, got NoneType"),
        (lambda found: (found[0], found[1][:1]), ValueError, "expected 2 gradients, one for each parameter, got 1"),
        (lambda found: (found[0], [g.astype(np.float32) for g in found[1]]), TypeError, "float64, got float32"),
        (lambda found: (found[0], [g.ravel()[:2] for g in found[1]]), ValueError, r"shape \(3, 4\), got \(2,\)"),
        (lambda found: (found[0], [g.tolist() for g in found[1]]), TypeError, "expected a NumPy array, got list"),
    ],
)
def test_a_closure_that_fails_changes_nothing(bad, error, match, settings, when):
    params = golden.start("float64")
    opt, calls = optim.LBFGS(params, history_size=3, max_iter=6, **settings), [0]
    opt.step(lambda: golden.loss_and_gradients(params))
    before = everything(opt, params)

    def closure():
        calls[0] += 1
        found = golden.loss_and_gradients(params)
        return found if calls[0] < when else bad(found)

    with pytest.raises(error, match=match):
        opt.step(closure)
    assert everything(opt, params) == before
    other = golden.start("float64")
    twin = optim.LBFGS(other, history_size=3, max_iter=6, **settings)
    for _ in range(2):
        twin.step(lambda: golden.loss_and_gradients(other))
    opt.step(lambda: golden.loss_and_gradients(params))
    assert everything(opt, params) == everything(twin, other)


def test_interrupted_between_iterations():
    params = golden.start("float64")
    opt, calls = optim.LBFGS(params, **WOLFE), [0]

    def closure():
        calls[0] += 1
        if calls[0] == 8:
            raise KeyboardInterrupt
        return golden.loss_and_gradients(params)

    with pytest.raises(KeyboardInterrupt):
        opt.step(closure)
    assert opt.n_iter >= 5 and golden.loss_and_gradients(params)[0] < 1
    assert opt.step(lambda: golden.loss_and_gradients(params)) < 1


def test_arrays_that_change():
    w = np.full(4, 2.0)
    opt = optim.LBFGS([w], **WOLFE)
    opt.step(lambda: quadratic(w))
    w.resize(6, refcheck=False)
    with pytest.raises(ValueError, match=r"params\[0\]: expected the memory, dtype, shape and layout that it had"):
        opt.step(lambda: quadratic(w))

    v = np.full(4, 2.0)
    opt, sizes = optim.LBFGS([v], **WOLFE), iter([4, 5])

    def growing():
        v.resize(next(sizes), refcheck=False)
        return float((v**2).sum()), [2 * v[:4]]

    with pytest.raises(ValueError, match="resized or changed"):
        opt.step(growing)


def test_parameters_that_were_set_anew():
    """The step from where they were to where they are now is none of the descent's."""
    params, pairs = golden.start("float64"), []
    opt = optim.LBFGS(params, lr=0.4, max_iter=3)
    for _ in range(2):
        opt.step(lambda: golden.loss_and_gradients(params))
        pairs.append(len(opt.state_dict()["state"][0]["s"]))
        params[0] += 0.5
    assert pairs == [1, 2]  # of the first iteration of each step there is none
    for _ in range(10):
        opt.step(lambda: golden.loss_and_gradients(params))
    assert golden.loss_and_gradients(params)[0] == pytest.approx(0.08062196, abs=1e-7)


@pytest.mark.parametrize(
    "f, match",
    [
        (lambda w: (float(w.sum()), [np.ones_like(w)]), "falls without end"),
        (lambda w: (float((w**2).sum()), [-2 * w]), "the gradient does not fit the value"),
        (lambda w: (float((w**2).sum()) if (w == 3).all() else np.nan, [2 * w]), "not finite near the point"),
        (lambda w: (np.nan, [2 * w]), "not finite where the step begins"),
        (lambda w: (1.0, [np.full_like(w, np.inf)]), "not finite where the step begins"),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_search_that_fails_is_said(f, match, dtype):
    w = np.full(4, 3, dtype)
    opt = optim.LBFGS([w], max_iter=30, **WOLFE)
    with pytest.warns(RuntimeWarning, match=f"LBFGS: .*{match}"):
        opt.step(lambda: f(w))
    assert match in opt.message and np.isfinite(w).all()
    if "without end" not in match:
        assert (w == 3).all()


def test_a_fixed_step_that_is_too_long():
    w = np.full(3, 2.0)
    opt = optim.LBFGS([w], lr=1e200, max_iter=9)
    with pytest.warns(RuntimeWarning, match="a lower lr"), np.errstate(over="ignore"):
        opt.step(lambda: quadratic(w))
    assert (w == 2).all()


def test_a_second_step_within_one():
    w = np.ones(2)
    opt = optim.LBFGS([w])

    def closure():
        with pytest.raises(RuntimeError, match="in use"):
            opt.step(closure)
        return quadratic(w)

    thread = threading.Thread(target=lambda: opt.step(closure))
    thread.start()
    thread.join()
    assert opt.n_iter > 0


# ---- arguments ----


@pytest.mark.parametrize(
    "make, error, match",
    [
        (lambda w: optim.LBFGS(w), TypeError, r"write \[array\]"),
        (lambda w: optim.LBFGS(fastnn.nn.Sequential(fastnn.nn.Dense(2, 2))), TypeError, r"write model.parameters\(\)"),
        (lambda w: optim.LBFGS([]), ValueError, "at least one array"),
        (lambda w: optim.LBFGS([w, w[:1]]), ValueError, "overlaps"),
        (lambda w: optim.LBFGS([w.astype(int)]), TypeError, r"params\[0\]: expected dtype float32 or float64"),
        (lambda w: optim.LBFGS([{"params": [w]}, {"params": [w.copy()]}]), ValueError, "expected one group"),
        (lambda w: optim.LBFGS([{"params": [w], "momentum": 0.9}]), ValueError, r"unknown hyper-parameters \['momentum'\]"),
        (lambda w: optim.LBFGS([{"lr": 1}]), ValueError, "'params'"),
        (lambda w: optim.LBFGS([w], lr=-1), ValueError, "lr: expected"),
        (lambda w: optim.LBFGS([w], max_iter=0), ValueError, "max_iter: expected"),
        (lambda w: optim.LBFGS([w], max_eval=0), ValueError, "max_eval: expected"),
        (lambda w: optim.LBFGS([w], history_size=1.5), TypeError, "history_size: expected"),
        (lambda w: optim.LBFGS([w], line_search_fn="wolfe"), ValueError, "line_search_fn: expected one of 'strong_wolfe'"),
        (lambda w: optim.LBFGS([w], tolerance_grad=np.nan), ValueError, "tolerance_grad: expected"),
        (lambda w: optim.LBFGS([w]).step([w]), TypeError, r"closure: expected a function that returns \(loss, gradients\), got list"),
    ],
)
def test_bad_arguments(make, error, match):
    with pytest.raises(error, match=match):
        make(np.ones(3))


def test_settings_groups_dicts_and_no_gradient():
    a, b = np.full(2, 3.0), np.full(2, 3.0, np.float32)
    opt = optim.LBFGS([{"params": {"a": a, "b": b}, "max_iter": 7}], **WOLFE)
    opt.param_groups[0]["lr"] = 0.5
    opt.step(lambda: (float((a**2).sum()), {"a": 2 * a, "b": None}))
    assert np.abs(a).max() < 0.1 and (b == 3).all() and opt.param_groups[0]["max_iter"] == 7
    assert repr(opt).startswith("LBFGS(2 parameters, lr=0.5, max_iter=7")
    opt.param_groups[0]["max_iter"] = -1
    with pytest.raises(ValueError, match="max_iter"):
        opt.step(lambda: (0.0, {"a": a, "b": b}))


# ---- state ----


def written(state, how):
    if how == "json":
        return json.loads(json.dumps(state, default=np.ndarray.tolist))
    return pickle.loads(pickle.dumps(state))


@pytest.mark.parametrize("done", [0, 1, 3])
@pytest.mark.parametrize("how", ["json", "pickle"])
@pytest.mark.parametrize("settings", [{**WOLFE, "max_iter": 2, "history_size": 3}, {"lr": 0.3, "max_iter": 2}], ids=str)
def test_goes_on_from_its_state(settings, how, done):
    params = golden.start("float64")
    opt = optim.LBFGS(params, **settings)
    for _ in range(done):
        opt.step(lambda: golden.loss_and_gradients(params))
    others = [p.copy() for p in params]
    other = optim.LBFGS(others)
    other.load_state_dict(written(opt.state_dict(), how))
    copied = copy.deepcopy(opt)
    copies = list(copied.param_groups[0]["params"])
    assert all(a is not b for a, b in zip(copies, params))
    for _ in range(3):
        for o, ps in ((opt, params), (other, others), (copied, copies)):
            o.step(lambda ps=ps: golden.loss_and_gradients(ps))
    assert everything(opt, params) == everything(other, others) == everything(copied, copies)


def test_states_that_do_not_fit():
    params = golden.start("float64")
    opt = optim.LBFGS(params, **WOLFE)
    opt.step(lambda: golden.loss_and_gradients(params))
    state, before = opt.state_dict(), everything(opt, params)
    for change, error, match in [
        (lambda s: s.pop("groups"), ValueError, "'optimizer', 'groups' and 'state'"),
        (lambda s: s.update(optimizer="Adam"), ValueError, "the state of LBFGS, got that of 'Adam'"),
        (lambda s: s["groups"].append({}), ValueError, "a list of one dict"),
        (lambda s: s["groups"][0].pop("scale"), ValueError, "expected entries"),
        (lambda s: s["groups"][0].update(n_iter=-1), ValueError, "n_iter"),
        (lambda s: s["state"].pop(), ValueError, "a list of 2 dicts"),
        (lambda s: s["state"][1].pop("y"), ValueError, r"state'\]\[1\]: expected entries"),
        (lambda s: s["state"][0].update(z=0), ValueError, "expected entries"),
        (lambda s: s["state"][1].update(x=np.zeros(4)), ValueError, r"\['x'\]: expected shape \(5,\), got \(4,\)"),
        (lambda s: s["state"][1].update(y=s["state"][1]["y"][1:]), ValueError, r"\['y'\]: expected shape"),
        (lambda s: s["state"][0].update(s=[["a"]]), TypeError, "real numbers"),
    ]:
        wrong = copy.deepcopy(state)
        change(wrong)
        with pytest.raises(error, match=match):
            opt.load_state_dict(wrong)
        assert everything(opt, params) == before
    with pytest.raises(ValueError, match="param_groups"):
        opt.from_torch_state({})
