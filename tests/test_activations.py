"""Activations in models: the names, what is saved, training against the reference, PReLU, softmax layers, files, properties."""

import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastnn
from fastnn import _native, kernels, losses, nn, optim, reference
from fastnn.core.activations import ACTIVATIONS, FORMS, PARAMETRIC, check_activation
from fastnn.executors import NativeExecutor, ReferenceExecutor
from fastnn.training.arrays import ArrayData
from fastnn.training.functional import gradient_plan

F32 = np.float32
PAGE = Path(__file__).parents[1] / "docs/models.md"
ROWWISE = ["softmax", "log_softmax"]
NAMES = [*ACTIVATIONS, *ROWWISE, "prelu"]


def layer(name, features=7):
    return nn.PReLU(features) if name == "prelu" else nn.Activation(name)


def model_of(name, form):
    """Three products with the activation behind two of them: in Dense, as a layer of its own, or before the first."""
    fastnn.manual_seed(3)
    if form == "dense":
        return nn.Sequential(nn.Dense(5, 7, activation=name), nn.Dense(7, 7, activation=name), nn.Dense(7, 3))
    if form == "layer":
        return nn.Sequential(nn.Dense(5, 7), layer(name), nn.Dense(7, 7), layer(name), nn.Dense(7, 3))
    return nn.Sequential(nn.Dense(5, 7, activation="tanh"), layer(name), layer(name), nn.Dense(7, 3))


FORMS_OF_MODELS = ["dense", "layer", "apart"]


def samples(rows=40):
    rng = np.random.default_rng(4)
    return (rng.normal(size=(rows, 5)) * 2).astype(F32), rng.integers(0, 3, rows)


def bits(model):
    return [p.data.tobytes() for p in model.parameters()]


def test_the_tables_are_the_enums():
    assert [a.code for a in ACTIVATIONS.values()] == list(range(len(ACTIVATIONS))) and list(FORMS.values()) == list(range(len(FORMS)))
    assert list(ACTIVATIONS) == list(reference.ACTIVATIONS)
    for name, record in reference.ACTIVATIONS.items():
        lowest = -1 if record.lowest is None else record.lowest
        assert (record.saves or "", record.alpha, lowest) == (ACTIVATIONS[name].saves, ACTIVATIONS[name].alpha, ACTIVATIONS[name].lowest)
    assert all(ACTIVATIONS[name].alpha for name in PARAMETRIC)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_documentation_has_every_one(name):
    """Its formula and its derivative in two tables, and its name in a page."""
    for function in (kernels.activation_forward, kernels.activation_backward):
        assert re.search(rf"^    {name} +\S", function.__doc__, re.M), f"fastnn/kernels/activation.py: a line for {name} in both tables"
    if PAGE.exists():
        assert re.search(rf"\b{name}\b", PAGE.read_text(encoding="utf-8")), f"docs/models.md: {name} among the activations"


@pytest.mark.parametrize("form", FORMS_OF_MODELS)
@pytest.mark.parametrize("name", NAMES)
def test_training_is_the_references_and_fused_is_plain(name, form):
    x, y = samples()
    ends = []
    for backend in ("native", "reference"):
        model = model_of(name, form)
        trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=0.1), backend=backend)
        history = trainer.fit(x, y, epochs=3, batch_size=16, verbose=0)
        ends.append((np.concatenate([p.data.ravel() for p in model.parameters()]), history["loss"]))
    np.testing.assert_allclose(ends[0][0], ends[1][0], rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(ends[0][1], ends[1][1], rtol=2e-5)

    found = []
    for fused in (True, False):
        for schedule in ("rows", "layers"):
            model = model_of(name, form)
            opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
            plan = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), opt).plan(16, fused=fused, schedule=schedule)
            opt.prepare()
            NativeExecutor(plan).run(x, y, None, [[0.1]] * 3)
            found.append(bits(model))
    assert all(f == found[0] for f in found)


@pytest.mark.parametrize("form", FORMS_OF_MODELS)
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_central_differences(name, form):
    x, y = samples(9)
    model = model_of(name, form)
    for p in model.parameters():
        if p.name.endswith("bias"):  # so that no unit sits on a kink
            p.data = np.linspace(-0.2, 0.3, p.size)
    pair = ArrayData(model, losses.SoftmaxCrossEntropy(), x.astype(float), y)
    value = np.zeros(1)
    for fused in (True, False):
        executor = ReferenceExecutor(gradient_plan(model, losses.SoftmaxCrossEntropy(), pair, fused), np.float64)
        executor.run(pair.X, pair.y, losses=value)
        gradients = {id(p): executor.array(g.name).copy() for p, g in executor.plan.gradients}
        native = dict(zip(map(id, model.parameters()), fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x, y)[1]))
        for p, _ in executor.plan.gradients:
            array, gradient, h = executor._interpreter.parameters[id(p.data)], gradients[id(p)], 1e-6
            np.testing.assert_allclose(native[id(p)], gradient, rtol=1e-4, atol=1e-6)
            for place in np.ndindex(array.shape) if array.ndim == 1 else [(0, 0), (-1, -1), (2, 1)]:
                kept, sides = array[place], []
                for step in (h, -h):
                    array[place] = kept + step
                    executor.run(pair.X, pair.y, losses=value)
                    sides.append(value[0])
                array[place] = kept
                assert abs((sides[0] - sides[1]) / (2 * h) - gradient[place]) < 1e-6, (p.name, place)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bits_for_any_team_isa_and_batch_around_a_row(name):
    x, y = samples(70)
    threads, isa, work = fastnn.get_num_threads(), fastnn.get_isa(), _native.team_work(0)
    found, outputs = {}, {}
    try:
        for n in (1, 2, 5):
            fastnn.set_num_threads(n)
            for table in fastnn.available_isas():
                fastnn.use_isa(table)
                model = model_of(name, "dense")
                trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01))
                trainer.fit(x, y, epochs=2, batch_size=33, verbose=0)
                found.setdefault(table == "generic", set()).add(tuple(bits(model)))
                whole = model.predict(x)
                assert (whole[13:20] == model.predict(x[13:20])).all() and (whole[:1] == model.predict(x[:1])).all()
                outputs.setdefault(table == "generic", set()).add(whole.tobytes())
    finally:
        fastnn.set_num_threads(threads)
        fastnn.use_isa(isa)
        _native.team_work(work)
    assert all(len(r) == 1 for r in [*found.values(), *outputs.values()])


def test_what_is_saved():
    """z is kept where the derivative needs it, and only for training."""
    for name, record in ACTIVATIONS.items():
        model = model_of(name, "dense")
        trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters()))
        hidden = [op for op in trainer.plan(8).ops if op.kind == "dense_forward"][:2]
        assert [op.activation for op in hidden] == [name] * 2
        assert all((op.buffers.get("z") is not None) == (record.saves == "z") for op in hidden)
        for plan in (model.plan(8), trainer.plan(8, training=False)):
            assert all(op.buffers.get("z") is None for op in plan.ops if op.kind == "dense_forward")
            assert sum(op.kind.startswith("activation") for op in plan.ops) == 0


def test_a_frozen_layer_below_saves_nothing():
    model = model_of("gelu", "dense")
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.layers[2].parameters()))
    assert all(op.buffers.get("z") is None for op in trainer.plan(8).ops if op.kind == "dense_forward")


# ---- PReLU and softmax layers ----


@pytest.mark.parametrize("n", [1, 7])
def test_prelu_learns_its_slope(n):
    x, y = samples()
    model = nn.Sequential(nn.Dense(5, 7), nn.PReLU(n, init=0.5), nn.Dense(7, 3))
    assert [p.name for p in model.parameters()] == ["0.weight", "0.bias", "1.slope", "2.weight", "2.bias"]
    assert (model.layers[1].slope.data == 0.5).all() and model.layers[1].slope.shape == (n,)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.05))
    trainer.fit(x, y, epochs=3, verbose=0)
    assert (model.layers[1].slope.data != 0.5).all()

    frozen = nn.Sequential(nn.Dense(5, 7), nn.PReLU(n), nn.Dense(7, 3))
    others = [p for p in frozen.parameters() if p.name != "1.slope"]
    trainer = fastnn.Trainer(frozen, losses.SoftmaxCrossEntropy(), optim.Adam(others, lr=0.05))
    assert not any(op.kind == "prelu_slope_gradient" for op in trainer.plan(8).ops)
    trainer.fit(x, y, verbose=0)
    assert (frozen.layers[1].slope.data == 0.25).all()

    only = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD([model.layers[1].slope], lr=0.1))
    before = bits(model)
    only.step(x, y)
    assert [a == b for a, b in zip(before, bits(model))] == [True, True, False, True, True]


def test_prelu_refusals():
    with pytest.raises(ValueError, match="^layer 1: PReLU.*: expected 3 input features, got 7"):
        nn.Sequential(nn.Dense(5, 7), nn.PReLU(3))
    with pytest.raises(ValueError, match="^num_parameters: expected"):
        nn.PReLU(0)
    with pytest.raises(TypeError, match="^init: expected a number, got 'x'"):
        nn.PReLU(1, init="x")
    with pytest.raises(ValueError, match=r"^activation: .*; write nn.PReLU\(\)"):
        nn.Activation("prelu")


def test_softmax_layers():
    x, _ = samples(6)
    for name, cls in (("softmax", nn.Softmax), ("log_softmax", nn.LogSoftmax)):
        fastnn.manual_seed(1)
        a = nn.Sequential(nn.Dense(5, 4), cls())
        fastnn.manual_seed(1)
        b = nn.Sequential(nn.Dense(5, 4, activation=name))
        fastnn.manual_seed(1)
        c = nn.Sequential(nn.Dense(5, 4), nn.Activation(name))
        assert (a.predict(x) == b.predict(x)).all() and (a.predict(x) == c.predict(x)).all()
        total = a.predict(x) if name == "softmax" else np.exp(a.predict(x))
        np.testing.assert_allclose(total.sum(axis=1), 1, rtol=1e-6)
        for model in (a, b, c):  # a softmax is not put upon a softmax
            np.testing.assert_allclose(model.predict_proba(x), total, rtol=1e-5)
            assert (model.predict_classes(x) == total.argmax(axis=1)).all()


def test_a_sigmoid_at_the_end_gives_the_probabilities():
    x, _ = samples(9)
    model = nn.Sequential(nn.Dense(5, 1, activation="sigmoid"))
    fastnn.Trainer(model, losses.MeanSquaredError(), optim.SGD(model.parameters())).fit(x, x[:, 0] > 0, epochs=30, verbose=0)
    assert (model.predict_proba(x) == model.predict(x)).all()
    assert (model.predict_classes(x) == (model.predict(x)[:, 0] > 0.5)).all()


@pytest.mark.parametrize("form", FORMS_OF_MODELS)
@pytest.mark.parametrize("name", NAMES)
def test_files_and_copies(name, form, tmp_path):
    x, y = samples()
    model = model_of(name, form)
    fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters())).fit(x, y, verbose=0)
    model.save(tmp_path / "m.safetensors")
    for again in (nn.load(tmp_path / "m.safetensors"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert repr(again) == repr(model) and (again.predict(x) == model.predict(x)).all()
        assert [p.name for p in again.parameters()] == [p.name for p in model.parameters()]


def test_alpha_is_kept(tmp_path):
    x, _ = samples(5)
    for name in PARAMETRIC:
        model = nn.Sequential(nn.Dense(5, 3, activation=nn.Activation(name, alpha=0.3)), nn.Activation(name, alpha=0.7), nn.Dense(3, 2))
        model.save(tmp_path / "m.safetensors")
        again = nn.load(tmp_path / "m.safetensors")
        assert again.layers[0].alpha == 0.3 and again.layers[1].alpha == 0.7 and (again.predict(x) == model.predict(x)).all()


@pytest.mark.parametrize("name, alpha, error, message", [
    ("softplus", 0, ValueError, "alpha: expected a number > 0, normal and finite in float32, got 0.0"),
    ("softplus", 1e-39, ValueError, "alpha: expected a number > 0"),
    ("elu", -0.5, ValueError, "alpha: expected a number >= 0, finite in float32, got -0.5"),
    ("elu", np.nan, ValueError, "alpha: expected"),
    ("gelu", "1", TypeError, "alpha: expected a number, got str"),
    ("swish", None, ValueError, "activation: expected one of identity, .*hard_tanh.*, got 'swish'"),
    (None, -1, ValueError, "alpha"),
    (3, None, TypeError, "activation: expected a name, got int"),
])
def test_names_and_alphas_that_are_refused(name, alpha, error, message):
    with pytest.raises(error, match=f"^{message}"):
        check_activation(name, alpha)
    with pytest.raises(error, match=f"^{message}"):
        nn.Activation(name, alpha)


# ---- properties ----

ANY_FLOAT = st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=True)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(ACTIVATIONS)), hnp.arrays(F32, hnp.array_shapes(max_dims=3, max_side=20), elements=ANY_FLOAT),
       st.sampled_from([0.25, 1.0, 2.0]))
def test_any_array(name, x, alpha):
    """The twin's value in float64, within what is promised; NaN exactly where there was one; in place the same bits."""
    y = kernels.activation_forward(x, name, alpha=alpha)
    again = x.copy()
    assert kernels.activation_forward(again, name, out=again, alpha=alpha) is again
    assert again.tobytes() == y.tobytes() or np.isnan(x).any()
    expected = reference.activation_forward(x.astype(float), name, alpha=alpha)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    with np.errstate(all="ignore"):
        fits = np.isfinite(expected) & (np.abs(expected) < 3e38)
        size = np.maximum(1, np.minimum(np.abs(x.astype(float)), 1e38))
        assert (np.abs(y - expected)[fits] <= (2.0**-21 * size)[fits]).all()
        assert (y[np.isinf(expected)] == expected[np.isinf(expected)]).all()


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(list(ACTIVATIONS)), st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=40))
def test_activations_do_not_fall_where_they_must_rise(name, values):
    """Monotone functions are, up to their rounding; those that save their input rise at least from 0 on."""
    x = np.sort(F32(values))
    if ACTIVATIONS[name].saves == "z":
        x = np.abs(x)
        x.sort()
    y = kernels.activation_forward(x, name).astype(float)
    assert (np.diff(y) >= -(2.0**-22) * np.maximum(1, np.abs(y[1:]))).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 2**32), st.booleans(), st.sampled_from([1e-3, 1.0, 50.0]))
def test_rowwise_kernels(rows, columns, seed, one, scale):
    rng = np.random.default_rng(seed)
    x, dy = (rng.normal(size=(rows, columns)) * scale).astype(F32), rng.normal(size=(rows, columns)).astype(F32)
    for name in ROWWISE:
        y = getattr(kernels, f"{name}_forward")(x)
        expected = getattr(reference, f"{name}_forward")(x.astype(float))
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-6)
        dx = getattr(kernels, f"{name}_backward")(dy, y)
        wide = getattr(reference, f"{name}_backward")(dy.astype(float), y.astype(float))
        np.testing.assert_allclose(dx, wide, rtol=1e-4, atol=1e-5 * np.abs(dy).sum(axis=1, keepdims=True).max())
    slope = rng.normal(size=1 if one else columns).astype(F32)
    np.testing.assert_array_equal(kernels.prelu_forward(x, slope), reference.prelu_forward(x, slope))
    for a, b in zip(kernels.prelu_backward(dy, x, slope), reference.prelu_backward(*(v.astype(float) for v in (dy, x, slope)))):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * scale * rows * columns)
