"""Parameters, settings and gradients that are refused, and gradients of any layout."""

import math
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnn import nn, optim

from optim_cases import _flat, SETTINGS

READ_ONLY = np.ones(4)
READ_ONLY.flags.writeable = False
OVERLAP = np.ones(10)


@pytest.mark.parametrize(
    "params, error, message",
    [
        (np.ones(3), TypeError, r"params: expected a list or dict of arrays, got a single one; write \[array\]"),
        (None, TypeError, "params: expected a list or dict of arrays, got NoneType"),
        (7, TypeError, "params: expected a list or dict of arrays, got int"),
        (nn.Dense(2, 2), TypeError, r"params: expected a list or dict of arrays, got Dense; write model.parameters\(\)"),
        ([], ValueError, "params: expected at least one array, got none"),
        ({}, ValueError, "params: expected at least one array, got none"),
        ([[1.0]], TypeError, r"params\[0\]: expected a NumPy array or a Parameter, got list"),
        ([np.ones(2), None], TypeError, r"params\[1\]: expected a NumPy array"),
        ([np.ones(2, int)], TypeError, r"params\[0\]: expected dtype float32 or float64, got int64"),
        ([np.ones(2, np.float16)], TypeError, r"params\[0\]: expected dtype float32 or float64, got <f2"),
        ([np.ones(2, ">f4")], TypeError, r"params\[0\]: expected dtype float32 or float64, got >f4"),
        ([np.ones(2, complex)], TypeError, r"got complex128"),
        ([np.ma.array([1.0, 2.0], mask=[0, 1])], TypeError, r"params\[0\]: expected a plain array, got a masked one"),
        ([np.ones((4, 4))[:, ::2]], ValueError, r"params\[0\]: expected a C- or F-contiguous array, got strides"),
        ([READ_ONLY], ValueError, r"params\[0\]: expected a writable array"),
        ([np.frombuffer(bytes(41), np.uint8)[1:].view(np.float64)], ValueError, r"params\[0\]: expected an aligned array"),
        ([OVERLAP[:6], OVERLAP[5:]], ValueError, r"params\[1\]: expected memory of its own, got an array that overlaps params\[0\]"),
        ([OVERLAP, OVERLAP], ValueError, "expected memory of its own"),
        ({"w": OVERLAP, "v": OVERLAP[3:4]}, ValueError, r"params\['v'\]: expected memory of its own"),
        ({"w": [1.0]}, TypeError, r"params\['w'\]: expected a NumPy array"),
        ([{"lr": 1.0}], ValueError, r"params\[0\]: expected a group with an entry 'params', got keys \['lr'\]"),
        ([{"params": [np.ones(1)], "rate": 1.0}], ValueError, r"params\[0\]: unknown hyper-parameters \['rate'\]; for rate write lr;"),
        ([{"params": [np.ones(1)], "wieght_decay": 1.0}], ValueError, r"\['wieght_decay'\]; for wieght_decay write weight_decay; known"),
        ([{"params": [np.ones(1)], "betas": (0.9, 0.9)}], ValueError, r"unknown hyper-parameters \['betas'\]; known are"),
        ([{"params": np.ones(1)}], TypeError, r"params\[0\]: expected a list or dict of arrays, got a single one"),
        ([{"params": 3}], TypeError, r"params\[0\]: expected a list or dict of arrays, got int"),
        ([np.ones(1), {"params": [np.ones(1)]}], TypeError, r"params\[1\]: expected a NumPy array or a Parameter, got dict"),
        ([{"params": [np.ones(1)], "lr": -1.0}], ValueError, "lr: expected a finite number >= 0, got -1"),
    ],
)
def test_parameters_that_are_refused(params, error, message):
    with pytest.raises(error, match=message):
        optim.SGD(params)


@pytest.mark.parametrize(
    "kind, settings, error, name",
    [
        *[
            (kind, {name: value}, error, name)
            for kind, names in ((optim.SGD, ("lr", "momentum", "weight_decay")), (optim.Adam, ("lr", "eps", "weight_decay")))
            for name in names
            for value, error in (
                (-1e-9, ValueError),
                (math.nan, ValueError),
                (math.inf, ValueError),
                (10**400, ValueError),
                ("1", TypeError),
                (None, TypeError),
                (True, TypeError),
                (1j, TypeError),
                ([0.1], TypeError),
            )
        ],
        (optim.SGD, {"dampening": math.nan, "momentum": 0.9}, ValueError, "dampening"),
        (optim.SGD, {"nesterov": True}, ValueError, "nesterov"),
        (optim.SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, ValueError, "nesterov"),
        (optim.Adam, {"betas": 0.9}, ValueError, "betas"),
        (optim.Adam, {"betas": (0.9,)}, ValueError, "betas"),
        (optim.Adam, {"betas": (1.0, 0.9)}, ValueError, r"betas\[0\]"),
        (optim.Adam, {"betas": (0.9, -0.1)}, ValueError, r"betas\[1\]"),
        (optim.Adam, {"betas": (0.9, "x")}, TypeError, r"betas\[1\]"),
        (optim.Adam, {"betas": None}, ValueError, "betas"),
    ],
)
def test_settings_that_are_refused(kind, settings, error, name):
    with pytest.raises(error, match=f"^{name}: expected .*, got "):
        kind([np.ones(1)], **settings)


def test_numpy_numbers_are_numbers():
    w = np.zeros(1)
    optim.SGD([w], lr=np.float32(0.5)).step([np.ones(1)])
    optim.SGD([w], lr=np.int64(1)).step([np.ones(1)])
    assert w[0] == -1.5


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
@pytest.mark.parametrize(
    "grads, error, message",
    [
        (None, TypeError, "grads: expected a list of arrays, got NoneType"),
        (np.ones((2, 4, 4)), TypeError, "grads: expected a list of arrays, got ndarray"),
        ([np.ones((4, 4))], ValueError, "grads: expected 2 gradients, one for each parameter, got 1"),
        ([np.ones((4, 4)), [1.0, 1, 1]], TypeError, r"gradient of params\[1\]: expected a NumPy array, got list"),
        ([np.ones((4, 4), np.float32), np.ones(3)], TypeError, r"gradient of params\[0\]: expected the parameter's dtype float64, got float32"),
        ([np.ones((4, 4)), np.ones(3, ">f8")], (TypeError, ValueError), r"gradient of params\[1\]: expected"),
        ([np.ones((4, 3)), np.ones(3)], ValueError, r"gradient of params\[0\]: expected the parameter's shape \(4, 4\), got \(4, 3\)"),
        ([np.ones(16), np.ones(3)], ValueError, r"gradient of params\[0\]: expected the parameter's shape"),
        ([np.ones((4, 4)), np.ones((1, 3))], ValueError, r"gradient of params\[1\]: expected the parameter's shape"),
        ([np.ones((4, 4)), 1.0], TypeError, r"gradient of params\[1\]: expected a NumPy array, got float"),
        ([np.ones((4, 4)), np.ma.array([1.0, 2, 3], mask=[0, 1, 0])], TypeError, r"gradient of params\[1\]: expected a plain array, got a masked"),
        ({"w": 1}, TypeError, "grads: expected a list of arrays, got dict"),
    ],
)
def test_gradients_that_are_refused(kind, grads, error, message):
    params = [np.ones((4, 4)), np.ones(3)]
    opt = kind(params, lr=1.0)
    before = opt.state_dict()
    with pytest.raises(error, match=message):
        opt.step(grads)
    assert all((p == 1).all() for p in params)
    assert opt.state_dict()["groups"] == before["groups"] and not any(s.any() for s in _flat(opt.state_dict()))


def test_gradients_that_are_the_parameter():
    w = np.ones((4, 4))
    opt = optim.SGD([w], lr=1.0)
    for g in (w, w[:], np.lib.stride_tricks.as_strided(w, w.shape, w.strides)):
        with pytest.raises(ValueError, match=r"gradient of params\[0\]: expected memory of its own"):
            opt.step([g])
    assert (w == 1).all()


def test_structures_that_differ():
    opt = optim.SGD({"w": np.ones(2), "b": np.ones(2)})
    for grads in ([np.ones(2), np.ones(2)], {"w": np.ones(2)}, {"w": np.ones(2), "b": np.ones(2), "c": np.ones(2)}):
        with pytest.raises(ValueError, match=r"grads: expected a dict with the parameters' keys \['b', 'w'\], got"):
            opt.step(grads)
    opt = optim.SGD([{"params": [np.ones(2)]}, {"params": {"b": np.ones(2)}}])
    with pytest.raises(ValueError, match="grads: expected 2 groups, got 1"):
        opt.step([[np.ones(2)]])
    with pytest.raises(ValueError, match=r"grads\[1\]: expected a dict with the parameters' keys"):
        opt.step([[np.ones(2)], [np.ones(2)]])
    with pytest.raises(ValueError, match=r"grads\[0\]: expected 1 gradients"):
        opt.step([[], {"b": np.ones(2)}])


@pytest.mark.parametrize(
    "clip, error", [(0, ValueError), (-1, ValueError), (math.nan, ValueError), (math.inf, ValueError), ("1", TypeError)]
)
def test_clip_norms_that_are_refused(clip, error):
    w = np.ones(2)
    with pytest.raises(error, match="clip_norm: expected"):
        optim.SGD([w], lr=1.0).step([np.ones(2)], clip_norm=clip)
    assert (w == 1).all()


def views(g):
    """The same numbers in other places and orders."""
    wide = np.zeros((*g.shape[:-1], 2 * g.shape[-1]), g.dtype)
    wide[..., ::2] = g
    loose = np.frombuffer(b"x" + g.tobytes(), np.uint8)[1:].view(g.dtype).reshape(g.shape)
    turned = np.ascontiguousarray(g.T).T
    backwards = np.ascontiguousarray(g[::-1])[::-1]
    return {"turned": turned, "sliced": wide[..., ::2], "not aligned": loose, "backwards": backwards, "in another order": np.asfortranarray(g)}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.LAMB])
def test_gradients_in_any_layout(kind, order):
    rng = np.random.default_rng(3)
    start, grads = rng.normal(size=(5, 7)), [rng.normal(size=(5, 7)) for _ in range(3)]
    for name in views(grads[0]):
        w, v = start.copy(order), start.copy(order)
        one, other = kind([w], lr=0.1), kind([v], lr=0.1)
        for g in grads:
            one.step([g.copy(order)])
            other.step([views(g)[name]])
        assert w.tobytes("A") == v.tobytes("A"), name


def test_a_gradient_that_is_one_row_for_all():
    w = np.zeros((3, 4))
    optim.SGD([w], lr=1.0).step([np.broadcast_to(np.arange(4.0), (3, 4))])
    assert (w == -np.arange(4.0)).all()


def test_a_view_of_the_parameter_is_no_gradient_in_any_layout():
    w = np.ones((4, 4))
    opt = optim.Adam([w], lr=1.0)
    for g, what in ((w.T, "params"), (w[::-1], "params"), (np.broadcast_to(w[0], (4, 4)), "params"), (opt._state[0][1].T, "the optimizer's state")):
        with pytest.raises(ValueError, match=rf"gradient of params\[0\]: expected memory of its own, got an array that overlaps {what}"):
            opt.step([g])
    assert (w == 1).all()


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW, optim.LAMB, optim.NAdam, optim.ScheduleFreeAdamW])
@pytest.mark.parametrize("options", [{}, {"ema": 0.5}, {"max_norm": 0.1}, {"skip_nonfinite": True}], ids=str)
@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_a_parameter_without_a_gradient_stays(kind, options, clip_norm):
    """Decay and momentum included, while the others go as if they were alone."""
    rng = np.random.default_rng(0)
    start = [rng.normal(size=(3, 2)), rng.normal(size=5000), rng.normal(size=2)]
    grads = [rng.normal(size=p.shape) for p in start]
    params = [p.copy() for p in start]
    settings = {"lr": 0.1, "weight_decay": 0.3, **options}
    opt = kind(params, **settings)
    opt.step(grads, clip_norm=clip_norm)
    before, state = params[1].copy(), opt.state_dict()["state"][1]
    alone = [p.copy() for p in (params[0], params[2])]
    other = kind(alone, **settings)
    whole = opt.state_dict()
    other.load_state_dict({**whole, "state": [whole["state"][0], whole["state"][2]]})
    given = [grads[0], None, grads[2]]
    for _ in range(2):
        norm = opt.step(given, clip_norm=clip_norm)
        assert norm == other.step([grads[0], grads[2]], clip_norm=clip_norm)
    assert params[1].tobytes() == before.tobytes()
    assert all(a.tobytes() == state[k].tobytes() for k, a in opt.state_dict()["state"][1].items())
    assert params[0].tobytes() == alone[0].tobytes() and params[2].tobytes() == alone[1].tobytes()
    opt.step(grads, clip_norm=clip_norm)
    assert params[1].tobytes() != before.tobytes()


def test_a_group_without_gradients_counts_no_step():
    opt = optim.Adam([{"params": [np.ones(2)]}, {"params": [np.ones(3), np.ones(1)]}])
    opt.step([[np.ones(2)], [None, None]])
    assert [g["steps"] for g in opt.state_dict()["groups"]] == [1, 0]
    assert opt.step([None, None, None], clip_norm=1.0) == 0.0
    assert [g["steps"] for g in opt.state_dict()["groups"]] == [1, 0]
    opt.step([[np.ones(2)], [None, np.ones(1)]])
    assert [g["steps"] for g in opt.state_dict()["groups"]] == [2, 1]


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.LAMB, optim.Lion, optim.RAdam, optim.ScheduleFreeAdamW])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_of_no_dimensions_and_of_no_elements(kind, dtype):
    one, long = np.array(2.0, dtype), np.array([2.0], dtype)
    none, empty = np.zeros((0, 3), dtype), np.zeros((3, 0), dtype)
    a, b = kind([one, none, empty], lr=0.1, max_norm=1.0), kind([long], lr=0.1, max_norm=1.0)
    for g in (dtype(0.5), np.array(0.5, dtype), 0.5, 1):
        a.step([g, np.zeros((0, 3), dtype), None if g == 1 else np.zeros((3, 0), dtype)])
        b.step([np.array([g], dtype)])
    assert one == long[0] != 2.0
    a.load_state_dict(pickle.loads(pickle.dumps(a.state_dict())))
    with pytest.raises(TypeError, match=r"gradient of params\[0\]: expected the parameter's dtype"):
        a.step([np.float16(1), none.copy(), empty.copy()])
    with pytest.raises(TypeError, match=r"gradient of params\[0\]: expected a NumPy array, got bool"):
        a.step([True, none.copy(), empty.copy()])


def test_subclasses_that_mean_something():
    """Units, say: their numbers are taken only when they are asked for."""

    class Quantity(np.ndarray):
        def __array_ufunc__(self, *arguments, **more):
            raise AssertionError("not to be computed with")

    q = np.ones(3).view(Quantity)
    for params, grads, where in (([q], [np.ones(3)], r"params\[0\]"), ([np.ones(3)], [q], r"gradient of params\[0\]")):
        with pytest.raises(TypeError, match=rf"^{where}: expected a plain array, got a Quantity, of which the numbers alone would be taken"):
            optim.SGD(params, lr=1.0).step(grads)
    w = np.ones(3).view(np.memmap)
    optim.SGD([w], lr=1.0).step([np.ones(3).view(np.memmap)])
    assert (np.asarray(w) == 0).all()


def test_read_only_gradients_are_fine():
    w, g = np.ones(4), np.ones(4)
    g.flags.writeable = False
    optim.SGD([w], lr=1.0).step([g])
    assert (w == 0).all()


def test_axes_of_length_one_have_no_layout():
    w = np.zeros((1, 5))
    optim.SGD([w], lr=1.0).step([np.ones((3, 5))[1:2]])
    assert (w == -1).all()


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 70),
    name=st.sampled_from(sorted(SETTINGS)),
    offset=st.integers(0, 3),
    special=st.sampled_from([0.0, -0.0, np.inf, -np.inf, np.nan, 1e38, 1e-45]),
    at=st.integers(0, 69),
)
def test_special_values_stay_in_their_place(n, name, offset, special, at):
    """One strange gradient: the others' results are the same bits as without it, and nothing outside is touched."""
    kind, settings = SETTINGS[name]

    def run(strange):
        field = np.full(n + 8, 7.0, np.float32)
        w = field[offset : offset + n]
        w[...] = np.random.default_rng(1).normal(size=n)
        opt = kind([w], **settings)
        for i in range(2):
            g = np.random.default_rng(i + 5).normal(size=n).astype(np.float32)
            if strange:
                g[at % n] = special
            opt.step([g])
        assert (field[:offset] == 7).all() and (field[offset + n :] == 7).all()
        return w

    a, b = run(True), run(False)
    others = np.arange(n) != at % n
    assert a[others].tobytes() == b[others].tobytes()
    if np.isnan(special):
        assert np.isnan(a[at % n])


def test_a_second_step_is_refused_while_one_runs():
    """Two threads on one optimizer: a step is whole or refused, never mixed."""
    n = 3_000_000
    w = np.zeros(n, np.float32)
    opt = optim.SGD([w], lr=1.0)
    done, failures = [], []
    start = threading.Barrier(3)

    def work(value):
        start.wait()
        for _ in range(20):
            try:
                opt.step([np.full(n, value, np.float32)], clip_norm=1e30)
                done.append(value)
            except RuntimeError as error:
                failures.append(str(error))

    threads = [threading.Thread(target=work, args=(v,)) for v in (1.0, 2.0, 4.0)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert done and (w == -sum(done)).all()
    assert all(f.startswith("this optimizer, or a Trainer that has it, is in use") for f in failures)
    assert len(done) + len(failures) == 60
