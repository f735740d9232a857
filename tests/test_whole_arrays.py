"""Adafactor and Muon: what is of its own in updates that work on whole arrays. Their formulas are held in test_optim_rules.py and
test_optim_golden.py."""

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim


def trained(kind, how, order="C"):
    """Parameters and states after three steps on a network with large and small matrices, vectors and convolution weights."""
    fastnn.manual_seed(1)
    layers = [nn.Input(12, 12, 3), nn.Conv2d(3, 8, 3, activation="relu"), nn.Flatten(), nn.Dense(800, 40, activation="relu"), nn.Dense(40, 5)]
    model = nn.Sequential(*layers)
    opt = getattr(optim, kind)(model.parameters(), lr=0.02)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), opt, backend="reference" if how == "reference" else "native")
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(48, 12, 12, 3)).astype(np.float32), rng.integers(0, 5, 48)
    if how == "arrays":
        for i in range(0, 48, 16):
            _, grads = fastnn.value_and_grad(model, trainer.loss, x[i : i + 16], y[i : i + 16])
            opt.step(grads)
    elif how == "steps":
        for i in range(0, 48, 16):
            trainer.step(x[i : i + 16], y[i : i + 16])
    else:
        trainer.fit(x, y, epochs=1, batch_size=16, shuffle=False, verbose=0)
    return [*opt._params, *(s for states in opt._state for s in states)]


@pytest.mark.parametrize("kind", ["Adafactor", "Muon"])
def test_in_plans_as_on_arrays(team, kind):
    """By any number of threads, the same bits; and the NumPy twin."""
    results = []
    for threads, how in ((1, "fit"), (2, "fit"), (5, "fit"), (2, "steps"), (3, "arrays")):
        with team(threads):
            results.append([a.tobytes() for a in trained(kind, how)])
    assert all(r == results[0] for r in results)
    for mine, twin in zip(trained(kind, "fit"), trained(kind, "reference")):
        assert np.abs(mine - twin).max() <= 1e-3 * max(np.abs(twin).max(), 1e-3)


@pytest.mark.parametrize("kind", ["Adafactor", "Muon"])
@pytest.mark.parametrize("shape", [(120, 90), (90, 120), (3, 5), (1, 9000), (9000, 1)])
def test_an_array_and_its_transpose(team, kind, shape):
    """Of Fortran's order as of C's: a view of the transpose."""
    rng = np.random.default_rng(0)
    w, g = rng.normal(size=shape), rng.normal(size=(4, *shape))
    settings = {"adjust_lr_fn": "match_rms_adamw"} if kind == "Muon" else {}
    one, other = w.copy(), np.asfortranarray(w)
    first, second = (getattr(optim, kind)([p], lr=0.1, **settings) for p in (one, other))
    with team(3):
        for step in g:
            first.step([step])
            second.step([np.asfortranarray(step)])
    assert np.allclose(one, other, rtol=1e-9, atol=1e-12)
    for a, b in zip(first._state[0], second._state[0]):
        assert a.shape == b.shape and np.allclose(a, b, rtol=1e-9)


def test_orthogonal():
    """Where the iteration has converged, Muon's step is the nearest matrix with orthonormal rows or columns."""
    rng = np.random.default_rng(0)
    for shape in ((6, 20), (150, 70), (4, 4)):
        w, g = np.zeros(shape), rng.normal(size=shape)
        opt = optim.Muon([w], lr=1.0, weight_decay=0.0, momentum=0.0, nesterov=False, ns_coefficients=(1.875, -1.25, 0.375), ns_steps=40)
        opt.step([g])
        u, _, v = np.linalg.svd(g, full_matrices=False)
        assert np.allclose(-w / np.sqrt(max(1.0, shape[1] / shape[0])), u @ v, atol=1e-8)


def test_convolution_weights_are_one_matrix():
    rng = np.random.default_rng(0)
    w, g = rng.normal(size=(3, 3, 4, 8)), rng.normal(size=(3, 3, 4, 8))
    flat = w.reshape(36, 8).copy()
    optim.Muon([w]).step([g])
    optim.Muon([flat]).step([g.reshape(36, 8)])
    assert np.array_equal(w.reshape(36, 8), flat)


def test_what_is_no_matrix_follows_adamw():
    rng = np.random.default_rng(0)
    w, steps = rng.normal(size=50), rng.normal(size=(5, 50))
    one, other = w.copy(), w.copy()
    muon = optim.Muon([one, np.ones((3, 3))], lr=0.01, weight_decay=0.2, betas=(0.8, 0.99), adamw_eps=1e-6)
    adamw = optim.AdamW([other], lr=0.01, weight_decay=0.2, betas=(0.8, 0.99), eps=1e-6)
    for g in steps:
        muon.step([g, np.eye(3)])
        adamw.step([g])
    assert np.array_equal(one, other)
    assert [list(s) for s in muon.state_dict()["state"]] == [["exp_avg", "exp_avg_sq"], ["momentum_buffer"]]


@pytest.mark.parametrize("kind", ["Adafactor", "Muon"])
def test_gradients_that_are_none(kind):
    """Their arrays stay; others are as if they were alone, whichever come first."""
    rng = np.random.default_rng(0)
    shapes = [(100, 90), (3, 4), (120, 80), (7,)]
    params = [rng.normal(size=s) for s in shapes]
    grads = [rng.normal(size=s) for s in shapes]
    for left_out in range(4):
        mine = [p.copy() for p in params]
        getattr(optim, kind)(mine).step([None if i == left_out else g for i, g in enumerate(grads)])
        for i, (a, p, g) in enumerate(zip(mine, params, grads)):
            alone = p.copy()
            if i != left_out:
                getattr(optim, kind)([alone]).step([g])
            assert np.array_equal(a, alone)


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: optim.Adafactor([np.ones((2, 3, 4), order="F")]), ValueError, r"params\[0\]: expected a C-contiguous array, as Adafactor needs"),
        (lambda: optim.Adafactor([np.ones(2)], beta2_decay=0.1), ValueError, r"beta2_decay: expected a finite number in \[-inf, 0\], got 0.1"),
        (lambda: optim.Adafactor([np.ones(2)], eps=1e-3), ValueError, "eps: expected a pair of numbers, got 0.001"),
        (lambda: optim.Adafactor([np.ones(2)], eps=(-1.0, 1e-3)), ValueError, r"eps\[0\]: expected a finite number >= 0, got -1.0"),
        (lambda: optim.Adafactor([np.ones(2)], d=0.5), ValueError, "d: expected a finite number >= 1, got 0.5"),
        (lambda: optim.Muon([np.ones(2)], ns_coefficients=(1.0, 2.0)), ValueError, "ns_coefficients: expected three numbers"),
        (lambda: optim.Muon([np.ones(2)], ns_coefficients=1.0), TypeError, "ns_coefficients: expected three numbers, got 1.0"),
        (lambda: optim.Muon([np.ones(2)], ns_coefficients=(1.0, 2.0, "c")), TypeError, r"ns_coefficients\[2\]: expected a number, got 'c'"),
        (lambda: optim.Muon([np.ones(2)], ns_steps=100), ValueError, "ns_steps: expected an integer below 100, got 100"),
        (lambda: optim.Muon([np.ones(2)], ns_steps=2.5), TypeError, "ns_steps: expected an integer"),
        (lambda: optim.Muon([np.ones(2)], adjust_lr_fn="none"), ValueError, "adjust_lr_fn: expected one of 'original', 'match_rms_adamw', got 'none'"),
        (lambda: optim.Muon([np.ones(2)], momentum=1.0), ValueError, r"momentum: expected a finite number in \[0, 1\), got 1.0"),
    ],
)
def test_bad_settings(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_states_of_another_shape_are_refused():
    a, b = optim.Adafactor([np.ones((3, 4))]), optim.Adafactor([np.ones((4, 3))])
    with pytest.raises(ValueError, match=r"\['row_var'\]: expected shape \(4, 1\), got \(3, 1\)"):
        b.load_state_dict(a.state_dict())
    with pytest.raises(ValueError, match="expected the state of Muon"):
        optim.Muon([np.ones((3, 4))]).load_state_dict(a.state_dict())
