"""fastnn.plan.plan: the table, the memory, and running a part."""

import numpy as np
import pytest

import fastnn
from fastnn import _native, losses, nn, optim
from fastnn.executors import NativeExecutor, ReferenceExecutor
from fastnn.plan import Plan


def run(plan, *args, **given):
    """plan.run with compiled kernels."""
    return plan.run(*args, executor=NativeExecutor(plan), **given)


def trainer(optimizer=optim.Adam):
    fastnn.manual_seed(3)
    model = nn.Sequential(nn.Dense(6, 5, activation="relu"), nn.Dense(5, 3))
    return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optimizer(model.parameters()))


def batch(dtype=np.float32):
    return np.random.default_rng(0).normal(size=(8, 6)).astype(dtype), np.arange(8) % 3


# --- the table ---


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("schedule", ["rows", "layers"])
@pytest.mark.parametrize("training", [True, False])
def test_describe_says_what_is_there(fused, schedule, training):
    plan = trainer().plan(8, fused=fused, schedule=schedule, training=training)
    lines = plan.describe().splitlines()
    assert lines[0].split() == ["operation", "shape", "buffers", "split", "flops", "bytes"]
    assert lines[-1].startswith(f"{schedule} schedule, batch 8, {plan.flops:,} flops a step; workspace")
    table = [line for line in lines[1:-1] if not line.endswith(" barrier")]
    assert len(table) == len(plan.ops)
    for i, (line, op) in enumerate(zip(table, plan.ops)):
        assert line.split()[0] == str(i) and line.split()[1].startswith(op.kind)
        assert all(b.name in line for b in op.writes())
        assert f"{op.flops(8):,}" in line
    at = [i for i, line in enumerate(lines) if line.endswith(" barrier")]
    assert len(at) == sum(op.barrier for op in plan.ops)
    for i, number in zip(at, range(len(at))):  # each stands behind its operation
        op = [op for op in plan.ops if op.barrier][number]
        assert lines[i - 1].split()[0] == str(plan.ops.index(op))


def test_describe_names_what_is_fused():
    text = trainer().plan(8).describe()
    assert "dense_forward+relu" in text and "dense_backward_weights+update" in text and "8x6x5" in text
    assert "x -> " not in text.splitlines()[1]  # the gather reads no buffer


def test_flops_are_those_of_the_products():
    plan = nn.Sequential(nn.Dense(100, 50), nn.Dense(50, 10)).plan(32)
    products = 2 * 32 * (100 * 50 + 50 * 10)
    assert products <= plan.flops <= 1.1 * products


# --- memory ---


@pytest.mark.parametrize("optimizer, states", [(optim.SGD, 0), (optim.Adam, 2)])
def test_peak_bytes(optimizer, states):
    t = trainer(optimizer)
    plan = t.plan(8)
    parameters = sum(p.data.nbytes for p in t.model.parameters())
    assert plan.peak_bytes == plan.workspace_bytes + (1 + states) * parameters
    assert NativeExecutor(plan)._arena.nbytes == plan.workspace_bytes
    assert t.plan(8, training=False).peak_bytes < plan.peak_bytes


def test_arrays_of_a_megabyte_lie_in_a_huge_page():
    """A product is slower on small pages that lie unluckily; `peak_bytes` counts what is kept."""
    huge = 2**21
    for nbytes, kept in ((2**20 - 4, 2**20 - 4), (2**20, huge), (huge - 64, huge), (huge - 60, huge - 60), (huge + 4, huge + 4)):
        assert _native.block_bytes(nbytes) == kept
        start = _native.aligned_zeros(nbytes // 4).__array_interface__["data"][0]
        assert start % (huge if kept >= huge else 64) == 0
    plan = nn.Sequential(nn.Dense(512, 512, bias=False)).plan(1)
    assert plan.peak_bytes == plan.workspace_bytes + huge


def test_workspace_holds_every_buffer_in_use():
    for training in (True, False):
        plan = trainer().plan(8, training=training)
        widest = max(b.nbytes(8) for b in plan.buffers)
        assert widest <= plan.workspace_bytes <= sum(b.nbytes(8) for b in plan.buffers)


def test_a_plan_is_immutable():
    plan = trainer().plan(8)
    with pytest.raises(AttributeError):
        plan.batch = 9
    assert isinstance(plan, Plan) and isinstance(plan.ops, tuple) and isinstance(plan.buffers, tuple)


# --- running a part ---


@pytest.mark.parametrize("Executor", [NativeExecutor, ReferenceExecutor])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("schedule", ["rows", "layers"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_operation_by_operation_is_the_whole(Executor, fused, schedule, dtype):
    x, y = batch(dtype)
    results = []
    for one_by_one in (False, True):
        t = trainer()
        plan = t.plan(8, fused=fused, schedule=schedule)
        given = {"x": x, "y": y, "executor": Executor(plan), "rates": [0.01]}
        t.optimizer.prepare()
        if one_by_one:
            for i in range(len(plan.ops)):
                plan.run(i, i + 1, **given)
        else:
            plan.run(**given)
        results.append([p.data.tobytes() for p in t.model.parameters()])
    assert results[0] == results[1]
    assert results[0] != [p.data.tobytes() for p in trainer().model.parameters()]


def test_buffers_can_be_read_in_between():
    t = trainer()
    plan = t.plan(8, training=False)
    x, y = batch()
    executor = run(plan, 0, 1, x=x, y=y)
    assert np.array_equal(executor.array("x"), x)  # float32 rows too, which a whole run reads where they are
    plan.run(1, 2, x=x, y=y, executor=executor)
    hidden = np.maximum(x @ t.model.layers[0].weight.data, 0)
    assert np.abs(executor.array("y1") - hidden).max() < 1e-5
    executor.array("y1")[...] = 0  # what is written there is what the next operation reads
    plan.run(2, 3, x=x, y=y, executor=executor)
    assert not executor.array("y2").any()
    plan.run(3, x=x, y=y, executor=executor)
    assert np.allclose(executor.array("row_loss"), np.log(3))


def test_run_without_anything_is_the_whole_plan_natively():
    t = trainer()
    x, _ = batch()
    executor = run(t.model.plan(8), x=x[:5])
    assert isinstance(executor, NativeExecutor)
    assert executor.array("y2")[:5].tobytes() == t.model.predict(x[:5]).tobytes()


def test_what_run_refuses():
    t = trainer()
    plan = t.plan(4)
    x, y = batch()
    with pytest.raises(ValueError, match="x: expected at most 4 rows, got 8"):
        run(plan, x=x, y=y, rates=[0.1])
    for first, last in ((-1, None), (0, 99), (5, 3), (99, None)):
        with pytest.raises(ValueError, match="first, last: expected 0 <= first <= last <= 9"):
            run(plan, first, last, x=x[:4], y=y[:4], rates=[0.1])
    with pytest.raises(TypeError, match="y: expected"):
        run(plan, x=x[:4], rates=[0.1])
    with pytest.raises(TypeError, match="rates: expected"):
        run(plan, x=x[:4], y=y[:4])
    with pytest.raises(ValueError, match="y: expected None for a plan without targets"):
        run(t.model.plan(4), x=x[:4], y=y[:4])
    with pytest.raises(ValueError, match="expected at least one row"):
        run(plan, x=x[:0], y=y[:0], rates=[0.1])
    with pytest.raises(KeyError):
        run(t.model.plan(4), x=x[:4]).array("no such buffer")
