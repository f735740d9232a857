"""fastnn.plan.executors: one plan, the same bits for any fusion, schedule, team and instruction set; and the reference's numbers."""

import contextlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import _native, losses, nn, optim
from fastnn.core.update_rules import settings_of
from fastnn.executors import NativeExecutor, ReferenceExecutor

ACTIVATIONS = ["identity", "sigmoid", "tanh", "relu", "leaky_relu"]


@contextlib.contextmanager
def isa(name):
    before = fastnn.get_isa()
    fastnn.use_isa(name)
    try:
        yield
    finally:
        fastnn.use_isa(before)


def make(widths, activation="relu", optimizer=optim.Adam, seed=1, chosen=slice(None), **settings):
    fastnn.manual_seed(seed)
    layers = [nn.Dense(a, b, activation=activation) for a, b in itertools.pairwise(widths[:-1])]
    model = nn.Sequential(*layers, nn.Dense(widths[-2], widths[-1]))
    for p in model.parameters():  # biases too
        p.data[...] += 0.1 * np.random.default_rng(p.size).normal(size=p.shape)
    opt = optimizer(model.parameters()[chosen], **settings)
    return model, opt, fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), opt)


def samples(rows, widths, kind="labels", seed=2):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, widths[0])).astype(np.float32)
    y = rng.integers(0, widths[-1], rows)
    return x, y if kind == "labels" else np.eye(widths[-1], dtype=np.float32)[y]


def steps(executor, opt, x, y, batch, epochs=2):
    """Some steps, shuffled; the bits of the losses, as bytes."""
    seen = []
    count = -(-len(x) // batch)
    for epoch in range(epochs):
        losses_ = np.zeros(count)
        rates = np.full((count, len(opt.param_groups)), opt.param_groups[0]["lr"])
        opt.prepare()
        executor.run(x, y, _native.permutation(len(x), 7, epoch), rates, losses_)
        seen.append(losses_)
    return np.concatenate(seen)


def bits(model):
    return [p.data.tobytes() for p in model.parameters()]


# --- the same bits ---

SHAPES = [(1, 1, 2), (3, 10, 3), (33, 100, 10), (100, 33, 33, 2), (17, 5, 4, 3)]


@pytest.mark.parametrize("widths", SHAPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_fusion_schedule_team_and_isa_change_no_bit(team, widths, activation):
    x, y = samples(53, widths)
    found = {}
    with_fma = [name for name in fastnn.available_isas() if name != "generic"]
    forms = [
        *[(c, s, 1, fastnn.get_isa()) for c in (True, False) for s in ("rows", "layers")],
        *[(True, s, n, fastnn.get_isa()) for s in ("rows", "layers") for n in (2, 3, 5)],
        *[(True, "rows", 2, name) for name in with_fma],
    ]
    for fused, schedule, threads, name in forms:
        model, opt, trainer = make(widths, activation, lr=0.01, weight_decay=1e-3)
        with team(threads), isa(name):
            executor = NativeExecutor(trainer.plan(20, fused=fused, schedule=schedule))
            seen = steps(executor, opt, x, y, 20)
        found[fused, schedule, threads, name] = [seen.tobytes(), *bits(model)]
    for names in ([fastnn.get_isa()], with_fma):  # generic kernels agree among themselves
        group = {form: result for form, result in found.items() if form[3] in names}
        assert [form for form, result in group.items() if result != next(iter(group.values()))] == []


@pytest.mark.parametrize("name", fastnn.available_isas())
@pytest.mark.parametrize("schedule", ["rows", "layers"])
@pytest.mark.parametrize("threads", [1, 3])
def test_long_products_pack_into_scratch(team, name, schedule, threads):
    """A plan's products over many k have longer blocks than the kernels called on their own, pack a piece of the next one beside
    each tile, and ask for what they will write: the same bits all the same."""
    widths, batch = (30, 260, 1100, 530, 3), 210
    assert _native.product_scratch(False, batch, 530, 1100) > 0 and _native.product_scratch(False, batch, 530, 256) == 0
    x, y = samples(batch, widths)
    with isa(name), team(threads):
        model, opt, trainer = make(widths)
        plan = trainer.plan(batch, schedule=schedule)
        assert plan.peak_bytes >= plan.workspace_bytes + _native.product_scratch(False, batch, 530, 1100)
        executor = NativeExecutor(plan)
        last = [i for i, op in enumerate(plan.ops) if op.kind == "dense_backward_input" and op.n_in == 260][0]
        w2, w3 = (model.layers[i].weight.data.copy() for i in (1, 2))  # an update of layer 3 may stand before dX of layer 2
        opt.prepare()
        executor.run(x, y, rates=np.full((1, 1), 1e-3), last=last + 1)
        y2, y3, dy1, dy2 = (executor.array(n) for n in ("y2", "y3", "dy1", "dy2"))
        relu = fastnn.kernels.dense_forward(np.ascontiguousarray(y2), w3, model.layers[2].bias.data, activation="relu")
        assert schedule == "layers" or y3.tobytes() == relu.tobytes()
        dx = fastnn.kernels.dense_backward(np.ascontiguousarray(dy2), np.ascontiguousarray(executor.array("y1")), w2)[0]
        assert (dy1 == np.where(executor.array("y1") > 0, dx, 0)).all()


@pytest.mark.parametrize("width, batch", [*((385, b) for b in (144, 145, 256, 257, 600, 4100)), (800, 300), (800, 1100)])
def test_updates_of_many_rows_in_a_large_layer(team, width, batch):
    """They go through scratch memory, in groups of rows of the weights; whether they do, the plan says for its full
    batch, and so for the shorter one at the end."""
    widths = (width, 530, 3)
    scratch = _native.product_scratch(True, *widths[:2], batch)
    assert (scratch > 0) == (batch <= 4096)
    x, y = samples(batch + 300, widths)
    results = []
    for fused, threads in ((True, 1), (False, 1), (True, 3)):
        model, opt, trainer = make(widths, lr=0.01)
        with team(threads):
            plan = trainer.plan(batch, fused=fused)
            assert plan.peak_bytes >= plan.workspace_bytes + fused * fastnn.get_num_threads() * scratch
            steps(NativeExecutor(plan), opt, x, y, batch, epochs=1)
        results.append(bits(model))
    assert all(r == results[0] for r in results)


def test_scratch_for_a_full_batch_is_enough_for_a_shorter_one():
    for update in (True, False):
        sizes = [_native.product_scratch(update, 2000, 2000, k) for k in range(1, 4097)]
        assert sizes == sorted(sizes)


@pytest.mark.parametrize("schedule", ["rows", "layers"])
@pytest.mark.parametrize("kind", ["labels", "rows"])
@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": optim.SGD, "lr": 0.1},
        {"optimizer": optim.SGD, "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        {"optimizer": optim.SGD, "lr": 0.1, "momentum": 0.9, "dampening": 0.5},
        {"optimizer": optim.Adam, "lr": 0.01, "betas": (0.8, 0.9)},
    ],
)
@pytest.mark.parametrize("chosen", [slice(None), slice(1, 5), slice(2, 3), slice(5, 6)])
def test_optimizers_and_frozen_parameters(team, schedule, kind, settings, chosen):
    widths = (33, 20, 17, 5)
    x, y = samples(40, widths, kind)
    results = []
    for fused, threads in ((True, 1), (False, 1), (True, 3), (False, 2)):
        model, opt, trainer = make(widths, "tanh", chosen=chosen, **settings)
        start = bits(model)
        with team(threads):
            steps(NativeExecutor(trainer.plan(16, kind, fused=fused, schedule=schedule)), opt, x, y, 16)
        changed = [a != b for a, b in zip(start, bits(model))]
        assert changed == [i in range(6)[chosen] for i in range(6)]
        results.append(bits(model))
    assert all(r == results[0] for r in results)


def test_a_row_does_not_depend_on_its_batch(team):
    model, _, _ = make((33, 100, 33, 3), "sigmoid")
    x, _ = samples(70, (33, 3))
    whole = model.predict(x)
    for batch in (1, 2, 7, 64):
        assert model.predict(x, batch_size=batch).tobytes() == whole.tobytes()
    assert np.concatenate([model.predict(x[i : i + 1]) for i in range(70)]).tobytes() == whole.tobytes()
    with team(3):
        assert model.predict(x).tobytes() == whole.tobytes()


# --- the user's arrays ---


def forms_of(x):
    """One matrix of small integers in many dtypes and layouts."""
    wide = np.zeros((2 * len(x), 3 * x.shape[1]), np.float32)
    wide[::2, : x.shape[1]] = x
    yield from ((t.__name__, x.astype(t)) for t in (np.uint8, np.int8, np.int16, np.uint32, np.int64, np.float16, np.float32, np.float64))
    yield "strided", wide[::2, : x.shape[1]]
    yield "reversed", x[::-1].astype(np.float32)[::-1]
    yield "fortran", np.asfortranarray(x, np.float32)
    yield "big endian", x.astype(">f4")
    yield "long double", x.astype(np.longdouble)


@pytest.mark.parametrize("shuffle", [True, False])
def test_inputs_of_any_real_dtype_and_layout(tmp_path, shuffle):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 100, (37, 9)).astype(np.float64)
    labels = rng.integers(0, 4, 37)
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=x.shape)
    mapped[...] = x
    mapped.flush()
    packed = np.zeros(37, np.dtype([("skip", "u1"), ("x", "f4", 9)]))
    packed["x"] = x
    read_only = x.astype(np.float32)
    read_only.flags.writeable = False
    forms = dict(forms_of(x)) | {
        "memmap": np.memmap(tmp_path / "x", np.float32, "r", shape=x.shape),
        "misaligned": packed["x"],
        "read-only": read_only,
        "list": x.tolist(),
    }
    targets = {n: labels.astype(n) for n in ("u1", "i1", "u2", "i4", "u4", "i8", "u8", ">i4")}
    targets |= {"strided": np.repeat(labels, 3)[::3], "reversed": labels[::-1].copy()[::-1], "list": labels.tolist()}
    one_hot = np.eye(4)[labels]

    def result(x, y):
        model, _, trainer = make((9, 8, 4), lr=0.01)
        history = trainer.fit(x, y, epochs=2, batch_size=10, shuffle=shuffle, verbose=0)
        return history["loss"], bits(model), trainer.evaluate(x, y)

    expected = result(x.astype(np.float32), labels)
    for name, form in forms.items():
        assert result(form, labels) == expected, name
    for name, form in targets.items():
        assert result(x, form) == expected, name
    expected = result(x, one_hot)
    for form in (one_hot.astype(np.float32), one_hot.astype(np.uint8), one_hot.astype(bool), np.asfortranarray(one_hot), one_hot.tolist()):
        assert result(x, form) == expected


def test_rows_that_are_all_one_row():
    model, _, trainer = make((9, 8, 4), lr=0.01)
    x = np.broadcast_to(np.arange(9, dtype=np.float32), (12, 9))
    y = np.broadcast_to(np.int64(2), 12)
    other, _, again = make((9, 8, 4), lr=0.01)
    for shuffle in (True, False):
        trainer.fit(x, y, batch_size=5, shuffle=shuffle, verbose=0)
        again.fit(x.copy(), y.copy(), batch_size=5, shuffle=shuffle, verbose=0)
        assert bits(model) == bits(other)


# --- the reference's numbers ---


def close(a, b, tolerance):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.abs(a - b).max() <= tolerance * max(1.0, np.abs(b).max())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", ["labels", "rows"])
@pytest.mark.parametrize("fused", [True, False])
def test_steps_as_the_reference(activation, kind, fused):
    widths = (20, 15, 9, 6)
    x, y = samples(30, widths, kind)
    runs = []
    for Executor in (NativeExecutor, ReferenceExecutor):
        model, opt, trainer = make(widths, activation, optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01)
        executor = Executor(trainer.plan(8, kind, fused=fused))
        runs.append((steps(executor, opt, x, y, 8, epochs=3), [p.data.copy() for p in model.parameters()], opt.state_dict()["state"]))
    (seen, params, states), (seen_r, params_r, states_r) = runs
    assert close(seen, seen_r, 1e-5)
    assert all(close(a, b, 1e-5) for a, b in zip(params, params_r))
    assert all(close(a["momentum_buffer"], b["momentum_buffer"], 1e-5) for a, b in zip(states, states_r))


def test_adam_as_the_reference():
    widths = (20, 15, 6)
    x, y = samples(30, widths)
    runs = []
    for Executor in (NativeExecutor, ReferenceExecutor):
        model, opt, trainer = make(widths, "tanh", lr=0.01, eps=1e-3)
        steps(Executor(trainer.plan(8)), opt, x, y, 8, epochs=3)
        runs.append([p.data.copy() for p in model.parameters()])
    assert all(close(a, b, 1e-5) for a, b in zip(*runs))


def test_the_reference_in_float64_leaves_the_model_alone():
    widths = (5, 4, 3)
    x, y = samples(10, widths)
    model, opt, trainer = make(widths, lr=0.1)
    start, states = bits(model), [s.tobytes() for _, ss, _ in opt.update_tensors() for s in ss]
    executor = ReferenceExecutor(trainer.plan(10), np.float64)
    first, second = np.zeros(1), np.zeros(1)
    opt.prepare()
    executor.run(x, y, rates=[[0.1]], losses=first)
    executor.run(x, y, rates=[[0.1]], losses=second)
    assert second < first  # its own copies moved
    assert bits(model) == start and [s.tobytes() for _, ss, _ in opt.update_tensors() for s in ss] == states


@st.composite
def architectures(draw):
    widths = [*draw(st.lists(st.integers(1, 20), min_size=1, max_size=4)), draw(st.integers(2, 20))]
    layers = []
    if draw(st.booleans()):
        layers.append(nn.Rescaling(draw(st.sampled_from([0.5, -1.0, 1 / 255])), draw(st.sampled_from([0.0, 0.25]))))
    if draw(st.booleans()):
        layers.append(nn.Activation(draw(st.sampled_from(ACTIVATIONS))))
    fastnn.manual_seed(draw(st.integers(0, 99)))
    for i, (a, b) in enumerate(itertools.pairwise(widths), 2):
        names = st.sampled_from([name for name in ACTIVATIONS if i < len(widths) or name != "sigmoid"])  # the outputs are logits
        layers.append(nn.Dense(a, b, draw(names), bias=draw(st.booleans())))
        if draw(st.booleans()):
            layers.append(nn.Activation(draw(names), alpha=draw(st.sampled_from([None, 0.0, 0.5, 2.0]))))
    return nn.Sequential(*layers), widths, draw(st.integers(1, 25)), draw(st.integers(1, 12)), draw(st.booleans())


@settings(max_examples=40, deadline=None)
@given(case=architectures(), seed=st.integers(0, 2**32 - 1))
def test_any_architecture(team, case, seed):
    """Native is near the reference; a team, the plain plan and the other schedule give native's very bits."""
    model, widths, rows, batch, labels = case
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, widths[0])).astype(np.float32)
    y = rng.integers(0, widths[-1], rows) if labels else rng.dirichlet(np.ones(widths[-1]), rows).astype(np.float32)
    start = model.state_dict()

    def train(Executor, threads=1, **form):
        model.load_state_dict(start)
        opt = optim.SGD(model.parameters(), lr=0.05, momentum=0.5)
        trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), opt)
        with team(threads):
            seen = steps(Executor(trainer.plan(batch, "labels" if labels else "rows", **form)), opt, x, y, batch)
        return [seen, *(p.data.copy() for p in model.parameters())]

    native, reference = train(NativeExecutor), train(ReferenceExecutor)
    assert all(close(a, b, 1e-4) for a, b in zip(native, reference))
    for form in ({"threads": 3}, {"fused": False}, {"schedule": "layers", "threads": 2}):
        assert [a.tobytes() for a in train(NativeExecutor, **form)] == [a.tobytes() for a in native]


# --- gradients ---


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", ["labels", "rows"])
def test_gradients_of_whole_models(activation, kind):
    """Of the reference in float64 against central differences of its loss; then native against the reference."""
    from fastnn.training.arrays import ArrayData
    from fastnn.training.functional import gradient_plan

    widths = (6, 7, 5, 4)
    model, _, _ = make(widths, activation)
    x, y = samples(9, widths, kind)
    loss = losses.SoftmaxCrossEntropy()
    plan = gradient_plan(model, loss, ArrayData(model, loss, x, y))
    reference = ReferenceExecutor(plan, np.float64)
    reference.run(x, y)
    gradients = {id(p): reference.array(g.name).copy() for p, g in plan.gradients}
    weights = {id(b.array): reference.array(b.name) for b in plan.buffers if b.array is not None}

    def value():
        out = np.zeros(1)
        reference.run(x, y, losses=out)
        return out[0]

    h = 1e-6
    for p in model.parameters():
        w, numerical = weights[id(p.data)], np.zeros(p.shape)
        for at in np.ndindex(p.shape):
            before = w[at]
            w[at] = before + h
            above = value()
            w[at] = before - h
            numerical[at] = (above - value()) / (2 * h)
            w[at] = before
        assert np.abs(numerical - gradients[id(p)]).max() < 1e-8

    native_loss, native = fastnn.value_and_grad(model, loss, x, y)
    assert abs(native_loss - value()) < 1e-6
    assert all(close(g, gradients[id(p)], 1e-6) for g, p in zip(native, model.parameters()))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 5, 24])
def test_rows_read_in_place_equal_rows_that_are_copied(team, rows, threads):
    """Where the input is not copied, the team does not meet behind the gather; where it is, it must."""
    model, _, _ = make((70, 40, 3))
    x, _ = samples(rows, (70, 3))
    executor = NativeExecutor(model.plan(8, schedule="layers"))
    found = []
    with team(threads):
        for _ in range(50):
            executor.array(executor.plan.ops[0].buffers["out"].name)[:] = np.nan
            for form in ({}, {"index": np.arange(rows)}, {"check_finite": True}):
                out = np.empty((rows, 3), np.float32)
                executor.run(x, out=out, **form)
                found.append(out.tobytes())
    assert len(set(found)) == 1 and not np.isnan(out).any()


# --- problems ---


@pytest.mark.parametrize("Executor", [NativeExecutor, ReferenceExecutor])
@pytest.mark.parametrize("schedule", ["rows", "layers"])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("problem", ["index", "label", "not finite"])
def test_a_bad_batch_changes_nothing(team, Executor, schedule, fused, threads, problem):
    model, opt, trainer = make((4, 6, 3), lr=0.1)
    x, y = samples(20, (4, 3))
    index = np.arange(20)
    if problem == "index":
        index[11] = 20
    elif problem == "label":
        y[11] = 3
    else:
        x[11, 2] = np.nan
    executor = Executor(trainer.plan(8, fused=fused, schedule=schedule))
    with team(threads):
        opt.prepare()
        result = executor.run(x, y, index, np.full((3, 1), 0.1), check_finite=True)
    assert (result.problem, result.row, result.steps) == (problem, 3, 1)
    after = bits(model)
    other, opt, trainer = make((4, 6, 3), lr=0.1)
    x, y = samples(20, (4, 3))
    opt.prepare()
    Executor(trainer.plan(8)).run(x[:8], y[:8], rates=[[0.1]])
    assert bits(other) == after  # the first step was done, the second left no trace


def test_what_an_executor_refuses():
    _, opt, trainer = make((4, 6, 3), lr=0.1)
    plan = trainer.plan(8)
    x, y = samples(8, (4, 3))
    executor = NativeExecutor(plan)
    with pytest.raises(RuntimeError, match="groups: expected settings, got none"):
        executor.run(x, y, rates=[[0.1]])
    opt.prepare()
    with pytest.raises(TypeError, match="y: expected a NumPy array, got NoneType"):
        executor.run(x, rates=[[0.1]])
    with pytest.raises(ValueError, match="y: expected one target for each of x's 8 rows, got 5"):
        executor.run(x, y[:5], rates=[[0.1]])
    with pytest.raises(ValueError, match="x: expected rows of 4 values"):
        executor.run(x[:, :3].copy(), y, rates=[[0.1]])
    with pytest.raises(TypeError, match="y: expected integer labels"):
        executor.run(x, y.astype(np.float32), rates=[[0.1]])
    with pytest.raises(ValueError, match="rates: expected shape"):
        executor.run(x, y, rates=[[0.1, 0.1]])
    with pytest.raises(TypeError, match="index: expected dtype int64"):
        executor.run(x, y, np.arange(8, dtype=np.int32), [[0.1]])
    with pytest.raises(ValueError, match="out: expected rows of the plan's output"):
        executor.run(x, y, rates=[[0.1]], out=np.zeros((8, 3), np.float32))
    _, sgd, other = make((4, 6, 3), optimizer=optim.SGD)
    executor = NativeExecutor(other.plan(8))
    sgd.prepare()
    with pytest.raises(ValueError, match="groups: expected 1, got 0"):
        sgd.kernel_state.compile([], 1)
    sgd.kernel_state.compile([("adam", settings_of("adam"))], 1)
    with pytest.raises(ValueError, match="groups: expected a rule for which the parameters of group 0 have states, got adam"):
        executor.run(x, y, rates=[[0.1]])
    with pytest.raises(ValueError, match="rule: expected one of sgd, .*, got 'adamw'"):
        sgd.kernel_state.compile([("adamw", settings_of("adam"))], 1)
    for settings in (settings_of("sgd"), {**settings_of("adam"), "beta3": 0.9}):
        with pytest.raises(TypeError, match=r"adam: expected the settings \['beta1', .*\], got \["):
            sgd.kernel_state.compile([("adam", settings)], 1)
    sgd.add_param_group({"params": [np.ones(2)]})
    sgd.prepare()
    with pytest.raises(RuntimeError, match="groups: expected the 1 that the plan was made for, got 2"):
        executor.run(x, y, rates=[[0.1]])


def test_cached_steps():
    (x, y), rates = samples(8, (4, 3)), [0.1]
    first, opt, trainer = make((4, 6, 3), lr=0.1)
    second, opt2, other = make((4, 6, 3), lr=0.1)
    one, two = NativeExecutor(trainer.plan(8)), NativeExecutor(other.plan(8))
    for executor, optimizer in ((one, opt), (two, opt2)):
        optimizer.prepare()
        executor.set_random(5, 0)
        executor.step(x, y, rates)
    step = one.cached_step(1)
    assert step is not None and one.counter.done == 1
    bad = y.copy()
    bad[-1] = 3
    for begin, labels in ((0, y), (2, y), (3, bad), (5, y)):
        loss = step(x[begin:], labels[begin:])
        if labels is bad:
            assert loss is None
        else:
            assert loss == two.step(x[begin:], y[begin:], rates)[0]
            assert opt.kernel_state.progress(1) == opt2.kernel_state.progress(1)
        assert bits(first) == bits(second)
    assert one.counter.done == two.counter.done == 4
    closer = [
        (x, y[1:]),
        (x[:, :3].copy(), y),
        (x[:, ::-1], y),
        (x.astype(np.float64), y),
        (x, y.astype(np.uint8)),
        (x, y[:, None]),
        (np.concatenate([x, x]), np.concatenate([y, y])),
        (x.tolist(), y),
        (x, None),
    ]
    assert all(step(*arguments) is None for arguments in closer) and one.counter.done == 4
    assert one.cached_step(9)(x, y) is None  # fewer rows than are asked for
    with opt.kernel_state.lock:  # whoever holds it may
        assert one.cached_step(1)(x, y) == two.step(x, y, rates)[0]
        opt.kernel_state.lock.call_sealed(lambda: step(x, y) is None or pytest.fail("a step while nobody may"))
    assert bits(first) == bits(second)
    for change in (lambda g: g.update(weight_decay=0.5), lambda g: g.__setitem__("lr", 0.2), lambda g: opt.kernel_state.invalidate()):
        assert one.cached_step(1)(x, y) is not None
        change(opt.param_groups[0])
        assert step(x, y) is None and one.cached_step(1)(x, y) is None  # until the settings are handed over again
        opt.prepare()
        one.step(x, y, rates)

    for executor in (NativeExecutor(trainer.plan(8, weighted=True)), NativeExecutor(trainer.plan(8, training=False))):
        assert executor.cached_step(1) is None
    opt.param_groups[0]["lr"] = lambda step: 0.1
    opt.prepare()
    one.step(x, y, rates)
    assert one.cached_step(1) is None


def test_a_run_ends_when_its_time_is_over_and_says_where():
    model, opt, trainer = make((30, 50, 3), lr=0.01)
    x, y = samples(4000, (30, 3))
    executor = NativeExecutor(trainer.plan(2))
    rates = np.full((2000, 1), 0.01)
    opt.prepare()
    result = executor.run(x, y, None, rates, seconds=1e-6)
    assert result.steps == 1 and result.problem is None and executor.counter.done == 1
    other, opt, trainer = make((30, 50, 3), lr=0.01)
    opt.prepare()
    NativeExecutor(trainer.plan(2)).run(x[:2], y[:2], None, rates[:1])
    assert bits(model) == bits(other)
