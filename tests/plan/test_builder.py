"""fastnn.plan.builder and backward: which operations a model becomes, with and without fusion, and what the fused ones mean."""

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim
from fastnn.core.parameter import Parameter
from fastnn.executors import NativeExecutor, ReferenceExecutor
from fastnn.plan import Builder
from fastnn.plan.builder import Update

RNG = np.random.default_rng(5)


def trainer(*layers, optimizer=optim.Adam, parameters=None, **settings):
    model = nn.Sequential(*layers)
    return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optimizer((parameters or nn.Sequential.parameters)(model), **settings))


def mlp(**more):
    return trainer(nn.Dense(6, 5, activation="relu"), nn.Dense(5, 4, activation="tanh"), nn.Dense(4, 3), **more)


def kinds(plan):
    return [op.kind for op in plan.ops]


def count(plan, kind):
    return kinds(plan).count(kind)


# --- what is emitted ---


def test_a_fused_step():
    plan = mlp().plan(8, schedule="rows")
    assert kinds(plan) == [
        "gather",
        *["dense_forward"] * 3,
        "gather_labels",
        "softmax_cross_entropy",
        *["dense_backward_input"] * 2,
        *["dense_backward_weights"] * 3,
        "reduce_loss",
    ]
    assert [op.activation for op in plan.ops if op.kind == "dense_forward"] == ["relu", "tanh", "identity"]
    assert [op.activation for op in plan.ops if op.kind == "dense_backward_input"] == ["tanh", "relu"]
    weights = [op for op in plan.ops if op.kind == "dense_backward_weights"]
    assert sorted((op.update_w, op.update_b) for op in weights) == [(0, 1), (2, 3), (4, 5)]
    assert not plan.gradients  # no gradient is ever in memory


def test_a_plain_step():
    plan = mlp().plan(8, fused=False)
    assert all(op.get("activation", "identity") == "identity" for op in plan.ops if op.kind.startswith("dense"))
    assert count(plan, "activation_forward") == count(plan, "activation_backward") == 2
    assert count(plan, "dense_backward_weights") == 6  # weights and biases apart
    assert all(op.updates == (op.kind == "update") for op in plan.ops)
    updates = [op for op in plan.ops if op.kind == "update"]
    assert [(op.first, op.last) for op in updates] == [(0, 6)]
    assert len(plan.gradients) == 6


def test_an_evaluation_changes_nothing():
    plan = mlp().plan(8, training=False)
    assert plan.update is None and not plan.gradients
    assert kinds(plan) == ["gather", *["dense_forward"] * 3, "gather_labels", "softmax_cross_entropy", "reduce_loss"]
    assert all("dlogits" not in op.buffers for op in plan.ops)


def test_an_inference():
    model = nn.Sequential(nn.Dense(6, 5, activation="relu"), nn.Dense(5, 3))
    plan = model.plan(8, softmax=True)
    assert kinds(plan) == ["gather", "dense_forward", "dense_forward", "softmax_forward"]
    assert plan.output.name == "probabilities" and [i.name for i in plan.inputs] == ["x"]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    "chosen, inputs, weights",
    [
        (slice(0, 6), 2, 3),
        (slice(4, 6), 0, 1),  # the last layer alone: nothing flows further down
        (slice(2, 4), 1, 1),
        (slice(0, 2), 2, 1),  # through frozen layers
        (slice(0, 1), 2, 1),
        (slice(1, 2), 2, 1),  # a bias alone
        (slice(5, 6), 0, 1),
    ],
)
def test_frozen_parameters_cost_nothing(fused, chosen, inputs, weights):
    t = mlp(parameters=lambda model: model.parameters()[chosen])
    plan = t.plan(8, fused=fused)
    assert count(plan, "dense_backward_input") == inputs
    if fused:
        assert count(plan, "dense_backward_weights") == weights
    updated = {
        b.name for op in plan.ops for b in op.writes() if b.role == "parameter"
    }
    assert updated == {p.name for p in t.model.parameters()[chosen]}


def test_activations_join_the_product_before_them_once():
    plan = nn.Sequential(nn.Dense(4, 3), nn.Activation("relu"), nn.Activation("tanh")).plan(2)
    assert [(op.kind, op.activation) for op in plan.ops[1:]] == [("dense_forward", "relu"), ("activation_forward", "tanh")]
    plan = nn.Sequential(nn.Dense(4, 3), nn.Activation("identity"), nn.Activation("sigmoid")).plan(2)
    assert [(op.kind, op.activation) for op in plan.ops[1:]] == [("dense_forward", "sigmoid")]
    plan = nn.Sequential(nn.Activation("relu"), nn.Dense(4, 3)).plan(2)
    assert kinds(plan) == ["gather", "activation_forward", "dense_forward"]


def test_rescaling_is_part_of_the_gather():
    model = nn.Sequential(nn.Flatten(), nn.Rescaling(2.0, 1.0), nn.Rescaling(0.5, -3.0), nn.Dense(4, 3))
    plan = model.plan(2)
    assert kinds(plan) == ["gather", "dense_forward"]
    assert (plan.input("x").scale, plan.input("x").shift) == (1.0, -2.5)


def test_buffers_have_names_of_their_own():
    layers = [nn.Dense(4, 4), nn.Dense(4, 4)]
    t = trainer(*layers)
    for p in t.model.parameters():
        p.name = "x"
    plan = t.plan(3, fused=False)
    names = [b.name for b in plan.buffers]
    assert len(set(names)) == len(names)


def test_a_parameter_has_one_buffer():
    builder = Builder(4)
    p = Parameter(np.ones((2, 2)))
    assert builder.parameter(p) is builder.parameter(p)
    assert builder.parameter(p).array is p.data


# --- refusals ---


def test_batch():
    for batch in (0, -1):
        with pytest.raises(ValueError, match="batch: expected at least 1 row, got"):
            Builder(batch)


def test_a_product_that_does_not_fit():
    builder = Builder(4)
    with pytest.raises(ValueError, match=r"w: expected inputs of 3 features, got shape \(2,\)"):
        builder.dense(builder.input((2,)), Parameter(np.ones((3, 1)), "w"), None)


def test_rescaling_behind_others():
    builder = Builder(4)
    x = builder.input((2,))
    y = builder.activation(x, "relu")
    for buffer in (x, y):
        with pytest.raises(ValueError, match="rescaling: expected to be the first layer"):
            builder.rescale(buffer, 2.0, 0.0)


def test_an_unknown_schedule():
    with pytest.raises(ValueError, match="schedule: expected 'rows' or 'layers', got 'diagonal'"):
        mlp().plan(8, schedule="diagonal")


# --- gradients that add up: graphs that no layer makes yet, the builder does ---


def shared_weights(builder):
    """x -> relu(x w + b) -> tanh(. w + b) -> logits: w and b have two contributions each."""
    w, b = Parameter(RNG.normal(size=(4, 4)), "w"), Parameter(RNG.normal(size=4), "b")
    builder.trainable = {id(w), id(b)}
    h = builder.dense(builder.input((4,)), w, b, "relu")
    builder.softmax_cross_entropy(builder.dense(builder.dense(h, w, b, "tanh"), w, b), builder.labels(4))
    return [w, b]


def two_heads(builder):
    """Two losses on one trunk: its outputs' gradient has two contributions."""
    sizes = [(4, 5), (5, 4), (5, 4)]
    ps = [Parameter(RNG.normal(size=s), f"w{i}") for i, s in enumerate(sizes)] + [Parameter(RNG.normal(size=5), "b")]
    builder.trainable = {id(p) for p in ps}
    h = builder.dense(builder.input((4,)), ps[0], ps[3], "sigmoid")
    labels = builder.labels(4)
    builder.softmax_cross_entropy(builder.dense(h, ps[1], None), labels)
    builder.softmax_cross_entropy(builder.dense(h, ps[2], None), labels)
    return ps


GRAPHS = {"shared_weights": shared_weights, "two_heads": two_heads}


def graph_plan(name, fused, schedule, update=False):
    global RNG
    RNG = np.random.default_rng(5)
    builder = Builder(6, fused)
    ps = GRAPHS[name](builder)
    builder.differentiate()
    opt = optim.SGD(ps, lr=0.1)
    if update:
        builder.update(Update(tuple((p, s, g) for p, (_, s, g) in zip(ps, opt.update_tensors())), 1, opt.kernel_state))
    return ps, opt, builder.build(schedule)


def graph_data():
    rng = np.random.default_rng(1)
    return rng.normal(size=(6, 4)).astype(np.float32), np.arange(6) % 4


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("schedule", ["rows", "layers"])
def test_gradients_add_up(name, fused, schedule):
    x, y = graph_data()
    ps, _, plan = graph_plan(name, fused, schedule)
    assert any(op.get("accumulate") for op in plan.ops)
    native, reference = NativeExecutor(plan), ReferenceExecutor(plan, np.float64)
    assert native.run(x, y).problem is None and reference.run(x, y).problem is None
    for p, g in plan.gradients:
        assert np.abs(native.array(g.name) - reference.array(g.name)).max() < 1e-6

    # against differences of the loss; of two heads only the last one's loss is reported, so take both by hand
    def loss():
        r = ReferenceExecutor(plan, np.float64)
        r.run(x, y, last=len(plan.ops))
        return sum(r.array(b.name).sum() for b in plan.buffers if b.name.startswith("row_loss")) / len(x)

    for p, g in plan.gradients:
        for at in [(0, 0), (2, 1)] if len(p.shape) == 2 else [(0,), (3,)]:
            before, h = p.data[at], 2.0**-10
            p.data[at] = before + h
            above = loss()
            p.data[at] = before - h
            below = loss()
            p.data[at] = before
            assert abs((above - below) / (2 * h) - reference.array(g.name)[at]) < 1e-4


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_give_the_same_bits_in_every_form(name):
    x, y = graph_data()
    results = []
    for fused in (True, False):
        for schedule in ("rows", "layers"):
            ps, opt, plan = graph_plan(name, fused, schedule, update=True)
            executor = NativeExecutor(plan)
            opt.prepare()
            for _ in range(3):
                executor.run(x, y, rates=[[0.1]])
            results.append([p.data.tobytes() for p in ps])
    assert all(r == results[0] for r in results)


def test_shared_weights_are_never_updated_inside_a_product():
    _, _, plan = graph_plan("shared_weights", True, "rows", update=True)
    assert all(op.updates == (op.kind == "update") for op in plan.ops)
    assert count(plan, "update") == 1
