"""fastnn.minimize beside SciPy's L-BFGS-B, recorded and live; its other methods; and functions that are not what they should be."""

import warnings

import numpy as np
import pytest

import fastnn
from fastnn import data, losses, nn, optim, schedules


def uniform(seed, shape):
    bits = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    return ((bits >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0).reshape(shape)


def rosenbrock(x):
    u = x[1:] - x[:-1] ** 2
    g = np.zeros_like(x)
    g[1:] += 200 * u
    g[:-1] -= 400 * x[:-1] * u + 2 * (1 - x[:-1])
    return (100 * u**2 + (1 - x[:-1]) ** 2).sum(), g


def cross_entropy(z, labels):
    """(mean, gradient)"""
    z = z - z.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    d = np.exp(log_p)
    d[np.arange(len(d)), labels] -= 1
    return -log_p[np.arange(len(d)), labels].mean(), d / len(d)


X, Y = data.load_digits()
X, Y = X[::4].reshape(-1, 64) / 16.0, Y[::4]


def logistic(w):
    """Logistic regression on a quarter of the digits, with a penalty of 1e-3."""
    weight, bias = w[:640].reshape(64, 10), w[640:]
    loss, d = cross_entropy(X @ weight + bias, Y)
    return loss + 5e-4 * (weight**2).sum(), np.concatenate([(X.T @ d + 1e-3 * weight).ravel(), d.sum(axis=0)])


def network(w):
    """64-32-10 with tanh, on the same."""
    w1, b1, w2, b2 = w[:2048].reshape(64, 32), w[2048:2080], w[2080:2400].reshape(32, 10), w[2400:]
    h = np.tanh(X @ w1 + b1)
    loss, d = cross_entropy(h @ w2 + b2, Y)
    e = d @ w2.T * (1 - h**2)
    return loss, np.concatenate([(X.T @ e).ravel(), e.sum(axis=0), (h.T @ d).ravel(), d.sum(axis=0)])


PROBLEMS = {  # name: (function, start, what SciPy 1.17 ends with under TIGHT: value, evaluations)
    "Rosenbrock 2": (rosenbrock, np.array([-1.2, 1.0]), 0.0, 46),
    "Rosenbrock 100": (rosenbrock, np.tile([-1.2, 1.0], 50), 0.0, 619),
    "logistic regression": (logistic, 0.3 * uniform(0, 650), 0.21202328307, 167),
    "network": (network, 0.25 * uniform(0, 2410), 1.18e-6, 30),
}
TIGHT = {"ftol": 1e-12, "gtol": 1e-6}


def check(found, value, evaluations):
    assert found.success, found.message
    assert found.fun <= value + 1e-6 * max(1.0, abs(value))
    assert found.nfev <= 1.2 * evaluations


@pytest.mark.parametrize("name", PROBLEMS)
def test_as_good_as_scipy(name):
    fun, x0, value, evaluations = PROBLEMS[name]
    found = fastnn.minimize(fun, x0, **TIGHT)
    check(found, value, evaluations)
    again = fun(found.x)
    assert found.fun == again[0] and (found.jac == again[1]).all()
    assert found.nit <= found.nfev


@pytest.mark.parametrize("name", PROBLEMS)
def test_live_beside_scipy(name):
    optimize = pytest.importorskip("scipy.optimize")
    fun, x0, value, evaluations = PROBLEMS[name]
    options = {**TIGHT, "maxiter": 15000}
    theirs = optimize.minimize(fun, x0, jac=True, method="L-BFGS-B", options=options)
    assert abs(theirs.fun - value) <= 1e-6 * max(1.0, abs(value)) and theirs.nfev == pytest.approx(evaluations, rel=0.1)
    check(fastnn.minimize(fun, x0, **TIGHT), theirs.fun, theirs.nfev)


def test_the_defaults_are_scipys():
    optimize = pytest.importorskip("scipy.optimize")
    x0 = 0.3 * uniform(0, 650)
    theirs, mine = optimize.minimize(logistic, x0, jac=True, method="L-BFGS-B"), fastnn.minimize(logistic, x0)
    assert mine.nfev <= 1.2 * theirs.nfev and mine.fun == pytest.approx(theirs.fun, rel=1e-5)
    assert np.abs(mine.jac).max() <= 1e-5


# ---- forms ----


def test_lists_of_arrays_and_dtypes():
    target = [uniform(1, (3, 4)), uniform(2, 5).astype(np.float32)]

    def fun(arrays):
        assert type(arrays) is list and [a.shape for a in arrays] == [(3, 4), (5,)]
        found = [a - t for a, t in zip(arrays, target)]
        for a in arrays:
            a[...] = np.nan  # they are the function's own
        return sum(float((f**2).sum()) for f in found), [2 * f for f in found]

    x0 = [np.zeros((3, 4), order="F"), np.zeros(5, np.float32)]
    for method, options in (("lbfgs", {}), ("sgd", {"lr": 0.3}), ("AdamW", {"lr": 0.1, "weight_decay": 0.0})):
        found = fastnn.minimize(fun, x0, method, **options)
        assert found.success and type(found.x) is list and type(found.jac) is list
        assert [a.dtype for a in found.x] == [np.float64, np.float32]
        assert all(np.allclose(a, t, atol=1e-4) for a, t in zip(found.x, target))
        assert all((a == 0).all() for a in x0)


@pytest.mark.parametrize("x0, shape", [([3, 1], (2,)), ((2.5, 1.0), (2,)), (4.0, ()), (np.float32(4), ()), (np.arange(6).reshape(2, 3), (2, 3))])
def test_what_x0_may_be(x0, shape):
    found = fastnn.minimize(lambda x: (((x - 1) ** 2).sum(), 2 * (x - 1)), x0)
    assert found.success and found.x.shape == shape and np.allclose(found.x, 1, atol=1e-3)
    assert found.x.dtype == (np.float32 if isinstance(x0, np.float32) else np.float64)


def test_gradients_as_lists_and_the_same_array_every_time():
    assert fastnn.minimize(lambda x: ((x**2).sum(), [2 * v for v in x.tolist()]), [3.0, 1.0]).success
    held = np.zeros(4)

    def fun(x):
        held[...] = 4 * x**3 + x
        return float((x**4 + x**2 / 2).sum()), held

    assert fastnn.minimize(fun, np.arange(4.0)).success


def test_a_models_parameters():
    """value_and_grad as the function: what a Trainer's fit_lbfgs does, by hand."""
    fastnn.manual_seed(0)
    model = nn.Sequential(nn.Dense(64, 10))
    x = X.astype(np.float32)

    def fun(arrays):
        for p, a in zip(model.parameters(), arrays):
            p.data[...] = a
        return fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x, Y)

    found = fastnn.minimize(fun, [p.data for p in model.parameters()], max_iter=40)
    assert found.fun < 0.05 and all(a.dtype == np.float32 for a in found.x)


# ---- the other methods ----

RATES = {"adadelta": 1.0, "adagrad": 0.5, "lamb": 0.01, "lion": 0.01, "rmsprop": 0.02, "sgd": 0.2, "schedulefreeadamw": 0.3, "adafactor": 0.5}
METHODS = sorted({k.lower() for k in optim.__all__} - {"optimizer", "lbfgs"})


@pytest.mark.parametrize("method", METHODS)
def test_every_optimizer(method):
    x0 = np.array([0.5, -0.3, 0.2])
    before = (x0**2).sum()
    found = fastnn.minimize(lambda x: ((x**2).sum(), 2 * x), x0, method, lr=RATES.get(method, 0.1), max_iter=200)
    assert found.fun < before / 10 and found.fun == (found.x**2).sum() and (found.jac == 2 * found.x).all()


def test_steps_are_the_optimizers():
    x, opt = np.array([1.0, -2.0, 0.5]), None
    opt = optim.SGD([x], lr=schedules.Cosine(0.01, T_max=20), momentum=0.9)
    values = []
    for _ in range(20):
        value, gradient = rosenbrock(x / 3)
        values.append(value)
        opt.step([gradient])
    seen = []
    options = {"lr": schedules.Cosine(0.01, T_max=20), "momentum": 0.9}
    found = fastnn.minimize(lambda x: rosenbrock(x / 3), [1.0, -2.0, 0.5], "sgd", max_iter=20, callback=seen.append, **options)
    assert (found.x == x).all() and found.fun == rosenbrock(x / 3)[0] and not found.success and "max_iter = 20" in found.message
    assert [s.fun for s in seen] == [*values[1:], found.fun] and [s.nit for s in seen] == list(range(1, 21))
    assert (found.nit, found.nfev) == (20, 21)


def test_schedule_free_gives_its_average():
    evaluated = []

    def fun(x):
        evaluated.append(x.copy())
        return (x**2).sum(), 2 * x

    found = fastnn.minimize(fun, [1.0, 2.0], "ScheduleFreeAdamW", lr=0.1, max_iter=7)
    x = np.array([1.0, 2.0])
    opt = optim.ScheduleFreeAdamW([x], lr=0.1)
    for _ in range(7):
        opt.step([2 * x])
    with opt.evaluating():
        assert (found.x == x).all() and found.nfev == len(evaluated) == 9


# ---- ends ----


def test_callbacks_and_limits():
    seen = []

    def stop(result):
        seen.append(result)
        if result.nit == 4:
            raise StopIteration

    for method, options in (("lbfgs", {}), ("sgd", {"lr": 1e-4})):
        seen.clear()
        found = fastnn.minimize(rosenbrock, [-1.2, 1.0], method, callback=stop, **options)
        assert [s.nit for s in seen] == [1, 2, 3, 4] and found.nit == 4 and not found.success and "StopIteration" in found.message
        assert (found.x == seen[-1].x).all() and all(s.fun == rosenbrock(s.x)[0] for s in seen)
    found = fastnn.minimize(rosenbrock, [-1.2, 1.0], max_iter=5)
    assert found.nit == 5 and not found.success and "max_iter = 5" in found.message
    found = fastnn.minimize(rosenbrock, [-1.2, 1.0], max_eval=9)
    assert found.nfev == 9 and not found.success and "max_eval = 9" in found.message
    assert fastnn.minimize(rosenbrock, [-1.2, 1.0], max_iter=0).nit == 0
    for method in ("lbfgs", "adam"):
        found = fastnn.minimize(rosenbrock, [1.0, 1.0], method)
        assert found.success and (found.nit, found.nfev) == (0, 1)
    assert fastnn.minimize(rosenbrock, [-1.2, 1.0], tol=1e-2).nit < fastnn.minimize(rosenbrock, [-1.2, 1.0]).nit


def wrong_sign(x):
    return (x**2).sum(), -2 * x


FAILING = {
    "NaN everywhere else": (lambda x: ((x**2).sum() if (x == 2).all() else np.nan, 2 * x), "not finite near the point"),
    "NaN": (lambda x: (np.nan, x), "not finite where it begins: the value is nan"),
    "infinite gradient": (lambda x: (1.0, np.full_like(x, np.inf)), "the gradient is not finite"),
    "unbounded": (lambda x: (x.sum(), np.ones_like(x)), "falls without end"),
    "unbounded at infinity": (lambda x: (-np.inf if x[0] < -9 else x.sum(), np.ones_like(x)), "falls without end"),
    "wrong sign": (wrong_sign, "the gradient does not fit the value: along a line it says a slope of -48, but values to both sides say 4"),
    "wrong from somewhere on": (lambda x: ((x**2).sum(), 2 * x if x[0] > 1 else -x - 1e-3), "the gradient does not fit the value"),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FAILING)
def test_searches_that_fail_say_so(name, dtype):
    fun, message = FAILING[name]
    x0, seen = np.full(3, 2.0, dtype), []

    def recorded(x):
        found = fun(x)
        seen.append(float(found[0]))
        return found

    found = fastnn.minimize(recorded, x0)
    assert not found.success and message in found.message and found.nfev < 100
    values = [v for v in (seen[:-2] if "fit" in message else seen)]  # the last two are asked whether the gradient is right
    finite = [v for v in values if np.isfinite(v)]
    assert not finite or found.fun <= min(finite) + 1e-12
    assert np.isfinite(found.x).all()


def test_the_best_that_floating_point_can_tell():
    def coarse(x):
        return float(np.float32((x**2).sum() + 100)), 2 * x

    found = fastnn.minimize(coarse, np.array([3.0, 4.0]), ftol=0.0, gtol=0.0)
    assert found.success and "rounding" in found.message or np.abs(found.x).max() < 1e-3


def test_not_finite_by_steps():
    with np.errstate(over="ignore", invalid="ignore"):
        found = fastnn.minimize(lambda x: (float((x**4).sum()), 4 * x**3), [3.0, 1.0], "sgd", lr=10.0, max_iter=50)
    assert not found.success and "lower lr" in found.message and np.isfinite(found.fun) and np.isfinite(found.x).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fastnn.minimize(lambda x: (np.nan, x), [3.0], "sgd")
    assert not found.success and (found.x == 3).all()


def test_what_the_function_raises_comes_through():
    x0, calls = np.array([-1.2, 1.0]), [0]

    def fun(x):
        calls[0] += 1
        if calls[0] == 5:
            raise ZeroDivisionError("mine")
        return rosenbrock(x)

    for method in ("lbfgs", "sgd"):
        calls[0] = 0
        with pytest.raises(ZeroDivisionError, match="mine"):
            fastnn.minimize(fun, x0, method)
    assert (x0 == [-1.2, 1.0]).all()


@pytest.mark.parametrize("method", ["lbfgs", "adam"])
@pytest.mark.parametrize("calls", [1, 3])
@pytest.mark.parametrize(
    "bad, error, match",
    [
        (lambda v, g: v, TypeError, r"fun: expected it to return \(value, gradient\), got float"),
        (lambda v, g: (v, g, 1), TypeError, "value, gradient"),
        (lambda v, g: (g, g), TypeError, "fun: the value: expected a number, got ndarray"),
        (lambda v, g: (True, g), TypeError, "fun: the value: expected a number, got bool"),
        (lambda v, g: (v, g[:1]), ValueError, r"fun: the gradient of x0: expected shape \(2,\), got \(1,\)"),
        (lambda v, g: (v, [1.0, 2.0, 3.0]), ValueError, r"expected shape \(2,\), got \(3,\)"),
        (lambda v, g: (v, g.astype(np.float32)), TypeError, "fun: the gradient of x0: expected dtype float64, got float32"),
        (lambda v, g: (v, "gradient"), TypeError, "fun: the gradient of x0: expected a NumPy array, got str"),
        (lambda v, g: (v, np.ma.masked_array(g)), TypeError, "masked"),
    ],
)
def test_functions_that_change_their_mind(bad, error, match, method, calls):
    seen = [0]

    def fun(x):
        seen[0] += 1
        v, g = rosenbrock(x)
        return bad(float(v), g) if seen[0] == calls else (v, g)

    with pytest.raises(error, match=match):
        fastnn.minimize(fun, [-1.2, 1.0], method)


@pytest.mark.parametrize(
    "arguments, error, match",
    [
        ({"fun": 3}, TypeError, r"fun: expected a function"),
        ({"x0": "ab"}, TypeError, "x0: expected real numbers"),
        ({"x0": np.array([1j])}, TypeError, "x0: expected real numbers"),
        ({"x0": np.ma.ones(2)}, TypeError, "x0: expected a plain array"),
        ({"x0": [np.ones(2), np.array(["a"])]}, TypeError, r"x0\[1\]: expected real numbers"),
        ({"method": "newton"}, ValueError, r"method: expected one of \['lbfgs', 'adadelta'"),
        ({"method": "adamm"}, ValueError, "did you mean 'adam'"),
        ({"method": 1}, TypeError, "method: expected a string"),
        ({"tol": -1}, ValueError, "tol: expected"),
        ({"max_iter": 1.5}, TypeError, "max_iter: expected an integer"),
        ({"callback": 3}, TypeError, "callback: expected a function"),
        ({"lr": 0.1}, TypeError, r"unknown options \['lr'\]"),
        ({"history_size": 0}, ValueError, "history_size: expected an integer >= 1"),
        ({"gtol": np.nan}, ValueError, "gtol: expected"),
        ({"ftol": "a"}, TypeError, "ftol: expected"),
        ({"method": "adam", "momentum": 0.9}, TypeError, "momentum"),
        ({"method": "adam", "lr": -1}, ValueError, "lr: expected"),
        ({"method": "adam", "ftol": 0.1}, TypeError, "ftol"),
    ],
)
def test_bad_arguments(arguments, error, match):
    with pytest.raises(error, match=match):
        fastnn.minimize(**{"fun": rosenbrock, "x0": [1.0, 2.0], **arguments})
