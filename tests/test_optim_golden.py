"""fastnn.optim beside PyTorch 2.13, optax 0.2.8 and schedulefree 1.4.1 over 200 steps: groups, decay, schedules, both dtypes.

Recorded in golden/optimizers.npz, and live where the libraries are installed.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import optim, schedules

_spec = importlib.util.spec_from_file_location("make_optimizers", Path(__file__).parent / "golden" / "make_optimizers.py")
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

LARGE = [(37, 41), (4099,), (2, 3, 50), (1,)]  # for live comparisons: tails, several chunks


def make(name, dtype, shapes=golden.SHAPES, order="C"):
    """(fastnn's optimizer of a case with its groups and schedules, its arrays)."""
    kind, first, _ = golden.CASES[name]
    params = [np.asarray(w, order=order) for w in golden.weights(dtype, shapes)]
    groups = []
    for part, settings in zip((params[: golden.SPLIT], params[golden.SPLIT :]), golden.settings_of(name)):
        groups.append({**settings, "params": part, "lr": schedules.Cosine(settings["lr"], golden.HORIZON)})
    return getattr(optim, kind)(groups), params


def trajectory(name, dtype, shapes=golden.SHAPES, steps=golden.STEPS, order="C"):
    """Yields the weights after each step; for schedule-free those to evaluate with behind those to train with."""
    opt, params = make(name, dtype, shapes, order)
    for step in range(steps):
        opt.step([np.asarray(g, order=order) for g in golden.gradients(step, dtype, shapes)])
        found = [p.copy() for p in params]
        if golden.CASES[name][0] == "ScheduleFreeAdamW":
            with opt.evaluating():
                found += [p.copy() for p in params]
        yield found


def undecided(name, dtype, shapes=golden.SHAPES, steps=golden.STEPS):
    """For Lion: which elements' sign argument was within rounding of zero at some step."""
    found, m = [np.zeros(s, bool) for s in shapes], [np.zeros(s) for s in shapes]
    for step in range(steps):
        for i, g in enumerate(golden.gradients(step, dtype, shapes)):
            beta1, beta2 = golden.settings_of(name)[i >= golden.SPLIT]["betas"]
            old, new = beta1 * m[i], (1 - beta1) * g.astype(np.float64)
            found[i] |= np.abs(old + new) <= 8 * np.finfo(dtype).eps * np.maximum(np.abs(old), np.abs(new))
            m[i] = beta2 * m[i] + (1 - beta2) * g
    return found


def close(found, expected, dtype, left_out=None):
    """max|a - b| <= tolerance * max|b| for each array."""
    assert len(found) == len(expected)
    for i, (a, b) in enumerate(zip(found, expected)):
        assert a.shape == b.shape and a.dtype == b.dtype == dtype and np.isfinite(b).all()
        off = np.abs(a.astype(np.float64) - b)
        if left_out is not None:
            assert left_out[i].mean() < 0.05
            off[left_out[i]] = 0
        assert off.max() <= golden.EXACT[dtype] * np.abs(b).max(), f"array {i}: {off.max() / np.abs(b).max():.2e}"


def test_the_checker_rejects():
    a = np.linspace(0, 1, 9)
    b = a.copy()
    b[4] += 1e-9
    close([a], [a], "float64")
    for wrong in (np.zeros(9), b, a.astype(np.float32)):
        with pytest.raises(AssertionError):
            close([wrong], [a], "float64")


EACH = [pytest.param(name, dtype, id=f"{name}-{dtype}") for name in golden.CASES for dtype in golden.DTYPES[name]]


@pytest.mark.parametrize("name, dtype", EACH)
def test_recorded(name, dtype):
    left_out = undecided(name, dtype) if name == "lion" else None
    with np.load(golden.FILE) as file:
        recorded = {step: file[f"{name}/{dtype}/{step}"] for step in golden.KEPT}
    for step, found in enumerate(trajectory(name, dtype), 1):
        if step in recorded:
            ends = np.cumsum([w.size for w in found])
            assert ends[-1] == recorded[step].size
            close(found, [a.reshape(w.shape) for a, w in zip(np.split(recorded[step], ends[:-1]), found)], dtype, left_out)


@pytest.mark.parametrize("isa", [i for i in fastnn.available_isas() if i != fastnn.get_isa()])
@pytest.mark.parametrize("name", golden.CASES)
def test_recorded_on_other_isas(name, isa):
    before = fastnn.get_isa()
    fastnn.use_isa(isa)
    try:
        test_recorded(name, golden.DTYPES[name][0])
    finally:
        fastnn.use_isa(before)


@pytest.mark.parametrize("dtype", golden.EXACT)
@pytest.mark.parametrize("name", golden.TORCH)
@pytest.mark.parametrize("form", ["foreach", "fused", None])
def test_live_with_torch(name, dtype, form):
    pytest.importorskip("torch")
    steps = golden.STEPS if form is None else 50
    try:
        theirs = golden.by_torch(name, dtype, LARGE, steps, form)
        first = next(theirs)
    except (TypeError, RuntimeError) as error:
        if form != "fused" or "fused" not in str(error):
            raise
        pytest.skip("PyTorch has no fused form of it")
    mine = trajectory(name, dtype, LARGE, steps, order="C" if golden.CASES[name][0] == "Adafactor" else "F")
    close(next(mine), first, dtype)
    for found, expected in zip(mine, theirs, strict=True):
        pass
    close(found, expected, dtype)


@pytest.mark.parametrize("name, dtype", [p for p in EACH if p.values[0] not in golden.TORCH])
@pytest.mark.filterwarnings("ignore")
def test_live_with_other_libraries(name, dtype):
    pytest.importorskip("optax" if name in golden.OPTAX else "schedulefree")
    left_out = undecided(name, dtype, LARGE) if name == "lion" else None
    for found, expected in zip(trajectory(name, dtype, LARGE), golden.trajectory(name, dtype, shapes=LARGE), strict=True):
        pass
    close(found, expected, dtype, left_out)


@pytest.mark.parametrize("dtype", golden.EXACT)
@pytest.mark.parametrize("name", golden.TORCH)
def test_goes_on_from_torch(name, dtype):
    """40 steps in PyTorch, its state loaded, 40 steps in both."""
    torch = pytest.importorskip("torch")
    theirs, their_params = golden.torch_optimizer(name, dtype)
    for step in range(40):
        golden.torch_step(name, theirs, their_params, step, dtype)
    mine, params = make(name, dtype)
    for p, other in zip(params, their_params):
        p[...] = other.detach().numpy()
    mine.from_torch_state(theirs.state_dict(), steps=40)
    assert torch.get_default_dtype() is torch.float32
    for step in range(40, 80):
        golden.torch_step(name, theirs, their_params, step, dtype)
        mine.step(golden.gradients(step, dtype))
    close(params, [p.detach().numpy() for p in their_params], dtype)


def muon(name, shapes=golden.MATRICES, steps=golden.STEPS):
    """As golden.by_muon, by fastnn, which has the weights [in, out]."""
    settings = golden.MUON[name]
    params = [np.ascontiguousarray(w.T) for w in golden.weights("float64", shapes)]
    opt = optim.Muon(params, **{**settings, "lr": schedules.Cosine(settings["lr"], golden.HORIZON)})
    for step in range(steps):
        opt.step([np.ascontiguousarray(g.T) for g in golden.gradients(step, "float64", shapes)])
        yield [p.T.copy() for p in params]


# How far apart bfloat16 in the iteration leads in 200 steps, of the largest weight.
ROUNDED = 0.01


@pytest.mark.parametrize("name", golden.MUON)
def test_muon_recorded(name):
    """As PyTorch's with the iteration in float64; and as near as its bfloat16 allows."""
    with np.load(golden.FILE) as file:
        for step, found in enumerate(muon(name), 1):
            if step not in golden.KEPT:
                continue
            ends = np.cumsum([w.size for w in found])[:-1]
            exact, rounded = (np.split(file[f"{name}/{how}/{step}"], ends) for how in ("exact", "bfloat16"))
            for w, a, b in zip(found, exact, rounded):
                assert np.abs(w - a.reshape(w.shape)).max() <= 1e-9 * np.abs(a).max()
                assert np.abs(w - b.reshape(w.shape)).max() <= ROUNDED * np.abs(b).max()


@pytest.mark.parametrize("name", golden.MUON)
def test_muon_live(name):
    pytest.importorskip("torch")
    shapes = [(30, 70), (130, 90), (200, 17)]
    for found, expected in zip(muon(name, shapes, 30), golden.by_muon(name, True, shapes, 30), strict=True):
        pass
    assert all(np.abs(a - b).max() <= 1e-9 * np.abs(b).max() for a, b in zip(found, expected))
