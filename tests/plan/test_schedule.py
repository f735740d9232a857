"""fastnn.plan.schedule: order, barriers and shared memory, held against checkers that know none of its code."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import losses, nn, optim
from fastnn.core.parameter import Parameter
from fastnn.executors import NativeExecutor
from fastnn.ops import KINDS, Buffer, Op
from fastnn.plan import Builder
from fastnn.plan.builder import Update
from fastnn.plan.execution_order import arrange, choose_schedule

ACTIVATIONS = ["identity", "sigmoid", "tanh", "relu", "leaky_relu"]


@st.composite
def steps(draw):
    """(builder of a training step, what is to be kept): any depth, widths, activations, frozen parts, with or without update."""
    batch = draw(st.integers(1, 40))
    builder = Builder(batch, fused=draw(st.booleans()))
    widths = draw(st.lists(st.sampled_from([1, 2, 3, 5, 16, 17, 33, 64]), min_size=2, max_size=6))
    parameters = []
    layers = []
    for n_in, n_out in itertools.pairwise(widths):
        w = Parameter(np.zeros((n_in, n_out)), f"w{len(layers)}")
        b = Parameter(np.zeros(n_out), f"b{len(layers)}") if draw(st.booleans()) else None
        layers.append((w, b, draw(st.sampled_from(ACTIVATIONS)), draw(st.sampled_from([None, *ACTIVATIONS]))))
        parameters += [w] if b is None else [w, b]
    chosen = draw(st.lists(st.sampled_from(range(len(parameters))), min_size=1, unique=True))
    trainable = [p for i, p in enumerate(parameters) if i in chosen]
    builder.trainable = {id(p) for p in trainable}
    h = builder.input((widths[0],))
    for w, b, inside, behind in layers:
        h = builder.dense(h, w, b, inside)
        if behind:
            h = builder.activation(h, behind)
    targets = builder.labels(widths[-1]) if draw(st.booleans()) else builder.target_rows((widths[-1],))
    builder.softmax_cross_entropy(h, targets)
    builder.differentiate()
    if draw(st.booleans()):
        opt = optim.Adam(trainable)
        builder.update(Update(tuple((p, s, g) for p, (_, s, g) in zip(trainable, opt.update_tensors())), 1, opt.kernel_state))
    return builder


def by_rows(buffer):
    return not buffer.is_whole


def phases(ops):
    found, number = [], 0
    for op in ops:
        found.append(number)
        number += op.barrier
    return found


def check_barriers(ops):
    """No two operations of one phase may conflict, unless each thread stays within its rows."""
    for (a, pa), (b, pb) in itertools.combinations(zip(ops, phases(ops)), 2):
        if pa != pb:
            continue
        for x, y in itertools.product([*a.reads(), *a.writes()], [*b.reads(), *b.writes()]):
            if x is y and (any(x is w for w in a.writes()) or any(x is w for w in b.writes())):
                assert a.by_rows and b.by_rows and by_rows(x), (a.kind, b.kind, x.name)


def check_order(emitted, ops):
    """Every operation finds in each of its buffers what the same operations have left there, in the same order."""
    assert len(emitted) == len(ops) and {id(op) for op in emitted} == {id(op) for op in ops}

    def history(sequence):
        written, seen = {}, {}
        for op in sequence:
            for b in op.reads():
                seen[id(op), id(b)] = list(written.get(id(b), []))
            for b in op.writes():
                written.setdefault(id(b), []).append(id(op))
        return written, seen

    assert history(emitted) == history(ops)


def check_memory(ops, buffers, batch, kept, workspace_bytes):
    """Buffers whose memory overlaps are never needed at once, in whatever order the threads of a phase get on."""
    number = phases(ops)
    mine = [b for b in buffers if b.array is None]
    uses = {
        id(b): [i for i, op in enumerate(ops) if any(b is o for o in [*op.reads(), *op.writes()])] for b in mine
    }
    for b in mine:
        assert b.offset % 64 == 0 and 0 <= b.offset and b.offset + b.nbytes(batch) <= workspace_bytes
    for a, b in itertools.combinations([b for b in mine if uses[id(b)]], 2):
        if a.offset + a.nbytes(batch) <= b.offset or b.offset + b.nbytes(batch) <= a.offset:
            continue
        if uses[id(a)][0] > uses[id(b)][0]:
            a, b = b, a
        assert id(a) not in kept, (a.name, b.name)
        last, first = uses[id(a)][-1], uses[id(b)][0]
        assert last < first, (a.name, b.name)
        if number[last] == number[first]:  # threads of one phase: only rows over their own former rows
            touching = [ops[i] for i in [*uses[id(a)], *uses[id(b)]]]
            assert all(op.by_rows for op in touching if number[ops.index(op)] == number[first])
            assert a.offset == b.offset and a.ld * a.itemsize == b.ld * b.itemsize
            assert by_rows(a) and by_rows(b)


@settings(max_examples=150, deadline=None)
@given(builder=steps(), schedule=st.sampled_from(["rows", "layers"]))
def test_any_step(builder, schedule):
    plan = builder.build(schedule)
    ops = list(plan.ops)
    check_order(builder.ops, ops)
    check_barriers(ops)
    kept = {id(g) for _, g in plan.gradients} if plan.update is None else set()
    check_memory(ops, plan.buffers, plan.batch, kept, plan.workspace_bytes)


@st.composite
def programs(draw):
    """Operations on random buffers, more tangled than any model: what a schedule promises holds for them too."""
    batch = draw(st.integers(1, 9))
    buffers = [
        Buffer(f"b{i}", (5, 7), whole=True) if draw(st.integers(0, 3)) == 0 else Buffer(f"b{i}", (draw(st.sampled_from([1, 16, 17, 32])),))
        for i in range(draw(st.integers(2, 8)))
    ]
    for i, b in enumerate(buffers):
        b.index = i
    ops, filled = [], []
    for _ in range(draw(st.integers(2, 14))):
        out = draw(st.sampled_from(buffers))
        source = draw(st.sampled_from(filled)) if filled else None
        kind = "activation_forward" if draw(st.booleans()) else "dense_forward"  # which goes by tiles in a schedule by layers
        ops.append(Op(kind, {"y": out, **({} if source is None else {"x": source})}, **dict.fromkeys(KINDS[kind].parameters, 0)))
        if not any(out is b for b in filled):
            filled.append(out)
    return batch, buffers, ops


@settings(max_examples=300, deadline=None)
@given(program=programs())
def test_any_program(program):
    batch, buffers, ops = program
    ordered, size, _ = arrange(ops, buffers, batch, "layers", set())
    check_order(ops, ordered)
    check_barriers(ordered)
    used = {id(b) for op in ordered for b in [*op.reads(), *op.writes()]}
    check_memory(ordered, [b for b in buffers if id(b) in used], batch, set(), size)


def test_the_checkers_see_mistakes():
    model = nn.Sequential(nn.Dense(6, 5, activation="relu"), nn.Dense(5, 3))
    plan = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters())).plan(8, schedule="rows")
    ops = list(plan.ops)
    barrier = next(op for op in ops if op.barrier)
    barrier.barrier = False
    with pytest.raises(AssertionError):
        check_barriers(ops)
    barrier.barrier = True
    check_memory(ops, plan.buffers, 8, set(), plan.workspace_bytes)
    logits, dlogits = (next(b for b in plan.buffers if b.name == name) for name in ("y1", "dlogits"))
    dlogits.offset = logits.offset
    with pytest.raises(AssertionError):
        check_memory(ops, plan.buffers, 8, set(), plan.workspace_bytes)
    with pytest.raises(AssertionError):
        check_order(ops, ops[::-1])


# --- what it is worth ---


def plan_of(depth, schedule, batch=32):
    model = nn.Sequential(*[nn.Dense(64, 64, activation="relu") for _ in range(depth)])
    return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters())).plan(batch, schedule=schedule)


@pytest.mark.parametrize("depth", [1, 2, 5, 9])
def test_by_rows_a_team_meets_once_inside_a_step(depth):
    assert sum(op.barrier for op in plan_of(depth, "rows").ops) == 1


def test_by_layers_products_are_shared_by_tiles():
    ops = plan_of(3, "layers").ops
    assert not any(op.by_rows for op in ops if op.kind.startswith("dense"))
    assert all(op.by_rows for op in plan_of(3, "rows").ops if op.kind in ("dense_forward", "dense_backward_input"))


def test_memory_is_shared():
    for plan in (plan_of(6, "layers"), nn.Sequential(*[nn.Dense(64, 64) for _ in range(6)]).plan(32)):
        apart = sum(b.nbytes(32) for b in plan.buffers)
        assert plan.workspace_bytes < apart
    # an inference needs two layers' outputs at a time, however deep it is
    assert plan.workspace_bytes <= 3 * 32 * 64 * 4


def test_choice():
    small, large = [Parameter(np.zeros((10, 10)))], [Parameter(np.zeros((2048, 1024)))]
    assert choose_schedule(small, 128, 4) == "rows"
    assert choose_schedule(small, 1, 4) == "layers"
    assert choose_schedule(large, 1000, 2) == "layers"


@pytest.mark.parametrize(
    "widths, batch, threads, expected",
    [
        ((784, 128, 10), 64, 2, "layers"),  # half of 401 KB of weights would come from the other thread's cache
        ((784, 128, 10), 64, 1, "rows"),
        ((784, 100, 10), 100, 2, "rows"),  # seven vectors of columns: one thread would have four
        ((20, 64, 64, 2), 32, 2, "rows"),  # less to fetch than barriers cost
        ((256, 256, 10), 256, 2, "rows"),  # as many activations as weights
    ],
)
def test_choice_knows_which_weights_others_have_written(widths, batch, threads, expected):
    parameters = nn.mlp(list(widths)).parameters()
    assert choose_schedule(parameters, batch, threads, updates=True) == expected
    assert choose_schedule(parameters, batch, threads) == "rows"


# --- memory that is shared holds nothing that is still needed ---


def unshared(plan):
    """Give every buffer memory of its own; returns the bytes."""
    at = 0
    for b in plan.buffers:
        if b.array is None:
            b.offset = at
            at += b.nbytes(plan.batch) + 64
    return at


@pytest.mark.parametrize("schedule", ["rows", "layers"])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("widths", [(1, 1, 2), (3, 10, 10, 10, 3), (33, 100, 10), (16, 16, 16, 16, 16, 16)])
def test_without_sharing_the_results_are_the_same(team, schedule, fused, widths):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(50, widths[0]))  # float64: rows are copied, through the buffer
    y = rng.integers(0, widths[-1], 50)
    results = []
    for share in (True, False):
        fastnn.manual_seed(4)
        layers = [nn.Dense(a, b, activation="tanh") for a, b in itertools.pairwise(widths)]
        model = nn.Sequential(*layers, nn.Activation("leaky_relu"))
        opt = optim.Adam(model.parameters(), lr=0.01)
        plan = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), opt).plan(16, fused=fused, schedule=schedule)
        if not share:
            plan = plan._replace(workspace_bytes=unshared(plan))
        executor = NativeExecutor(plan)
        with team(3):
            for _ in range(3):
                executor._arena[:] = 0xFF  # NaN in every float
                opt.prepare()
                executor.run(x, y, rates=[[0.01]] * 4)
        assert all(np.isfinite(p.data).all() for p in model.parameters())
        results.append([p.data.tobytes() for p in model.parameters()])
    assert results[0] == results[1]
