"""Convolution and pooling: against PyTorch and the NumPy twins, the same bits in every way, shapes, files, errors."""

import copy

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim
from fastnn.executors import NativeExecutor, ReferenceExecutor
from fastnn.ops import Window
from fastnn.plan import Builder


def rows(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def run(layer, x, dy, executor=NativeExecutor, fused=True, threads=2, schedule="rows"):
    """y, dx, and the gradients of the layer's parameters, for a gradient dy of its outputs. x goes through a slope of 1, so that its
    gradient is wanted."""
    builder = Builder(len(x), fused, training=True)
    slope = nn.Parameter(np.ones(1), "slope")
    builder.train([slope, *layer.parameters()])
    seen = builder.prelu(builder.input(x.shape[1:]), slope)
    y = layer.emit(builder, seen)
    builder.host_loss(y, None)
    first = len(builder.ops)
    builder.differentiate()
    builder.mark_output(y)
    plan = builder.build(schedule)
    names = [g.name for p in layer.parameters() for q, g in plan.gradients if q is p]
    dx = next(b for op in plan.ops if op.kind == "prelu_slope_gradient" for r, b in op.buffers.items() if r == "dy").name
    before, work = fastnn.get_num_threads(), fastnn._native.team_work()
    fastnn.set_num_threads(threads)
    fastnn._native.team_work(0 if threads > 1 else 1e18)
    try:
        made = executor(plan)
        made._host = None
        index = np.arange(len(x))
        host = next(i for i, op in enumerate(plan.ops) if op.kind == "host_loss")
        made.run(x, index=index, first=0, last=host)
        out = made.array(plan.output.name).copy()
        made.array("dlogits")[...] = dy.reshape(made.array("dlogits").shape)
        made.run(x, index=index, first=host + 1)
        return [out.reshape(dy.shape), made.array(dx).copy(), *(made.array(n).copy() for n in names)]
    finally:
        fastnn.set_num_threads(before)
        fastnn._native.team_work(work)


def configurations(count, seed=1):
    """Layers and shapes, from one random state."""
    draw = np.random.default_rng(seed)
    found = []
    while len(found) < count:
        groups = int(draw.choice([1, 1, 1, 2, 3]))
        channels, filters = (int(draw.choice([1, 2, 3, 4, 5, 8, 17]) * groups) for _ in range(2))
        if draw.random() < 0.15:
            groups = channels
            filters = channels * int(draw.integers(1, 3))
        kernel, stride, dilation = (tuple(int(v) for v in draw.integers(1, n, 2)) for n in (4, 4, 3))
        padding = tuple(int(v) for v in draw.integers(0, 3, 2))
        height, width = (int(v) for v in draw.integers(3, 12, 2))
        if any(n + 2 * p < d * (k - 1) + 1 for n, p, d, k in zip((height, width), padding, dilation, kernel)):
            continue
        found.append(((height, width, channels), filters, kernel, stride, padding, dilation, groups, bool(draw.integers(2))))
    return found


def test_like_torch():
    torch = pytest.importorskip("torch")
    for i, (shape, filters, kernel, stride, padding, dilation, groups, bias) in enumerate(configurations(60)):
        layer = nn.Conv2d(shape[2], filters, kernel, stride, padding, dilation, groups, bias)
        if bias:
            layer.bias.data = rows(filters, seed=i)
        x = rows(3, *shape, seed=i)
        t = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
        w = torch.tensor(layer.weight.data.transpose(3, 2, 0, 1).copy(), requires_grad=True)
        b = torch.tensor(layer.bias.data.copy(), requires_grad=True) if bias else None
        y = torch.nn.functional.conv2d(t, w, b, stride, padding, dilation, groups)
        dy = rows(*y.shape, seed=i + 1000)
        y.backward(torch.tensor(dy))
        expected = [y.detach().numpy().transpose(0, 2, 3, 1), t.grad.numpy().transpose(0, 2, 3, 1), w.grad.numpy().transpose(2, 3, 1, 0)]
        expected += [b.grad.numpy()] if bias else []
        for found, value in zip(run(layer, x, dy.transpose(0, 2, 3, 1).copy()), expected, strict=True):
            np.testing.assert_allclose(found, value, rtol=3e-5, atol=3e-5 * max(1, np.abs(value).max()), err_msg=f"{layer!r} {shape}")


@pytest.mark.parametrize("kind", ["max", "average", "average without padding"])
def test_pooling_like_torch(kind):
    torch = pytest.importorskip("torch")
    draw = np.random.default_rng(2)
    for i in range(40):
        kernel = tuple(int(v) for v in draw.integers(1, 4, 2))
        stride = tuple(int(v) for v in draw.integers(1, 4, 2))
        padding = tuple(int(draw.integers(0, k // 2 + 1)) for k in kernel)
        shape = (*(int(v) for v in draw.integers(3, 10, 2)), int(draw.choice([1, 3, 17, 70])))
        ceil = bool(draw.integers(2))
        x = np.round(rows(2, *shape, seed=i) * 2) / 2  # with equal elements
        t = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
        if kind == "max":
            layer = nn.MaxPool2d(kernel, stride, padding, ceil)
            y = torch.nn.functional.max_pool2d(t, kernel, stride, padding, ceil_mode=ceil)
        else:
            layer = nn.AvgPool2d(kernel, stride, padding, ceil, count_include_pad=kind == "average")
            y = torch.nn.functional.avg_pool2d(t, kernel, stride, padding, ceil, kind == "average")
        dy = rows(*y.shape, seed=i + 1000)
        y.backward(torch.tensor(dy))
        found = run(layer, x, dy.transpose(0, 2, 3, 1).copy())
        for got, value in zip(found, (y.detach(), t.grad), strict=True):
            np.testing.assert_allclose(got, value.numpy().transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-5, err_msg=f"{layer!r} {shape}")


LAYERS = [
    lambda: nn.Conv2d(3, 5, 3, padding="same", stride=2, activation="gelu"),
    lambda: nn.Conv2d(3, 6, (1, 3), padding=(0, 1, 2, 0), groups=3, dilation=2, activation="relu"),
    lambda: nn.Conv2d(3, 33, 1, activation="tanh"),
    lambda: nn.MaxPool2d(3, 2, "same"),
    lambda: nn.AvgPool2d(2, 3, 1, True, False),
    lambda: nn.GlobalMaxPool2d(),
    lambda: nn.GlobalAvgPool2d(),
    lambda: nn.BatchNorm(3),
]


@pytest.mark.parametrize("make", LAYERS)
def test_like_the_twins_and_the_same_bits_in_every_way(make):
    layer = make()
    x = rows(21, 9, 8, 3)
    dy = rows(21, *layer.output_shape(x.shape[1:]), seed=1)
    first = run(layer, x, dy)
    for found, twin in zip(first, run(layer, x, dy, ReferenceExecutor), strict=True):
        np.testing.assert_allclose(found, twin, rtol=1e-4, atol=1e-4 * max(1, np.abs(twin).max()))
    for options in ({"fused": False}, {"threads": 1}, {"threads": 3}, {"threads": 5}, {"schedule": "layers"}):
        for found, expected in zip(run(layer, x, dy, **options), first, strict=True):
            assert found.tobytes() == expected.tobytes(), options
    if not isinstance(layer, nn.BatchNorm):  # rows do not know of each other
        assert run(layer, x[3:5], dy[3:5])[0].tobytes() == first[0][3:5].tobytes()


def test_max_pooling_of_nan_and_infinity():
    x = np.full((1, 4, 4, 1), -np.inf, np.float32)
    x[0, 0, 1, 0] = np.nan
    x[0, 2, 2, 0] = np.inf
    y, dx, *_ = run(nn.MaxPool2d(2), x, np.ones((1, 2, 2, 1), np.float32))
    assert np.isnan(y[0, 0, 0, 0]) and y[0, 1, 1, 0] == np.inf and y[0, 0, 1, 0] == -np.inf
    assert dx[0, :, :, 0].tolist() == [[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


def network():
    return nn.Sequential(
        nn.Input(9, 9, 2), nn.Conv2d(None, 4, 3, padding=1, bias=False), nn.BatchNorm(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Residual(nn.Conv2d(4, 4, 3, padding="same", activation="silu"), nn.BatchNorm(4)), nn.Dropout(0.2),
        nn.Conv2d(None, 6, 3, 2, padding=1, activation="tanh"), nn.AvgPool2d(2), nn.Flatten(), nn.Dense(None, 3),
    )  # fmt: skip


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_network_trains(backend):
    fastnn.manual_seed(1)
    model = network()
    x = rows(30, 9, 9, 2)
    y = (x[..., 0].mean(axis=(1, 2)) > 0).astype(int) + (x[..., 1].mean(axis=(1, 2)) > 0)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01), backend=backend)
    history = trainer.fit(x, y, epochs=20 if backend == "native" else 1, batch_size=10, verbose=0)
    assert history["loss"][-1] < (0.4 if backend == "native" else 1.5)


def test_whole_trainings_have_one_result(team):
    x, y = rows(25, 9, 9, 2), np.arange(25) % 3
    fastnn.manual_seed(1)
    start, found = network(), set()
    for threads in (1, 2, 3, 5):
        with team(threads):
            model = copy.deepcopy(start)
            trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01), seed=3)
            trainer.fit(x, y, epochs=2, batch_size=10, verbose=0)
            found.add(b"".join(p.data.tobytes() for _, p in model._named()) + model.predict(x).tobytes())
    assert len(found) == 1


def test_gradients():
    fastnn.manual_seed(2)
    model = nn.Sequential(
        nn.Input(7, 6, 2), nn.Conv2d(None, 4, 3, padding=1, groups=2, activation="gelu"), nn.BatchNorm(4), nn.MaxPool2d(2),
        nn.Residual(nn.Conv2d(4, 4, (3, 2), padding="same", activation="sigmoid")), nn.AvgPool2d(2, padding=1),
        nn.Conv2d(None, 3, 2, stride=2, dilation=1, bias=False), nn.GlobalAvgPool2d(), nn.Dense(None, 3),
    )  # fmt: skip
    fastnn.check_gradients(model, losses.SoftmaxCrossEntropy(), rows(5, 7, 6, 2), np.arange(5) % 3)


def test_folding_files_and_copies(tmp_path):
    model = network()
    x = rows(20, 9, 9, 2)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01))
    trainer.fit(x, np.arange(20) % 3, epochs=1, batch_size=10, verbose=0)
    folded = model.fold()
    assert not any(isinstance(layer, nn.BatchNorm) for layer in folded.layers)
    np.testing.assert_allclose(folded.predict(x), model.predict(x), rtol=1e-4, atol=1e-5)
    model.save(tmp_path / "m")
    for again in (nn.load(tmp_path / "m"), copy.deepcopy(model)):
        assert repr(again) == repr(model) and again.predict(x).tobytes() == model.predict(x).tobytes()


def test_frozen_statistics():
    model = nn.Sequential(nn.Input(4, 4, 2), nn.Conv2d(None, 2, 3, padding=1), nn.BatchNorm(2), nn.Flatten(), nn.Dense(None, 2))
    model.freeze(2)
    x, kept = rows(6, 4, 4, 2), [p.data.copy() for _, p in model.layers[2]._named()]
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=0.1))
    trainer.fit(x, np.arange(6) % 2, batch_size=3, verbose=0)
    assert all((p.data == k).all() for k, (_, p) in zip(kept, model.layers[2]._named()))
    assert model.layers[1].weight.data.any()


@pytest.mark.parametrize("n, k, s, d", [(n, k, s, d) for n in (5, 8) for k in (1, 2, 3, 4) for s in (1, 2, 3) for d in (1, 2)])
def test_same_padding(n, k, s, d):
    w = Window.over((n, n, 1), (k, k), (s, s), "same", (d, d))
    assert w.out_height == -(-n // s) and 0 <= w.pad_bottom - w.pad_top <= 1


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: nn.Conv2d(3, 4, 0), ValueError, "^kernel_size: expected an integer from 1"),
        (lambda: nn.Conv2d(3, 4, (1, 2, 3)), ValueError, "^kernel_size: expected a number, or two"),
        (lambda: nn.Conv2d(3, 4, 3, stride=0), ValueError, "^stride: expected"),
        (lambda: nn.Conv2d(3, 4, 3, padding=-1), ValueError, "^padding: expected"),
        (lambda: nn.Conv2d(3, 4, 3, padding="full"), ValueError, "^padding: expected numbers, 'same' or 'valid', got 'full'"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "^groups: expected a divisor of in_channels, 3, got 2"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), ValueError, "^groups: expected a divisor of out_channels, 3, got 2"),
        (lambda: nn.Conv2d(2**16, 2**16, 3), ValueError, "^in_channels, out_channels, kernel_size: expected fewer"),
        (lambda: nn.Conv2d(3, 4, 3, activation="softmax"), ValueError, "^activation: expected one that is elementwise"),
        (lambda: nn.Conv2d(3, "4", 3), TypeError, "^out_channels: expected an integer"),
        (lambda: nn.MaxPool2d(2, padding=2), ValueError, "^padding: expected at most half of the kernel"),
        (lambda: nn.Sequential(nn.Input(8, 8, 2), nn.Conv2d(3, 4, 3)), ValueError,
         r"^layer 1: Conv2d.*: expected 3 channels, got shape \(8, 8, 2\)"),
        (lambda: nn.Sequential(nn.Input(4, 9, 2), nn.Conv2d(2, 4, 5)), ValueError,
         r"^layer 1: Conv2d.*: expected images of at least 5 pixels .*, got shape \(4, 9, 2\)"),
        (lambda: nn.Sequential(nn.Input(9, 2), nn.Conv2d(2, 4, 5)), ValueError, r"^layer 1: Conv2d.*: expected images .* got samples of shape \(9, 2\)"),
        (lambda: nn.Sequential(nn.Dense(3, 9), nn.MaxPool2d(2)), ValueError, r"got samples of shape \(9,\); put nn.Reshape"),
        (lambda: nn.Sequential(nn.Input(8, 8, 2), nn.Conv2d(2, 4, 3), nn.Dense(144, 2)), ValueError,
         r"^layer 2: Dense.*: expected samples of 144 features, got shape \(6, 6, 4\); put nn.Flatten\(\) before it"),
        (lambda: nn.Sequential(nn.Input(8, 8, 2), nn.BatchNorm(3)), ValueError, r"^layer 1: BatchNorm.*: expected 3 channels, got shape \(8, 8, 2\)"),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Dense(8, 2)).predict(np.zeros((1, 4, 4, 1))), ValueError,
         r"^model: expected one that knows the shape of its input, got none; put nn.Input\(height, width, channels\) before Conv2d"),
    ],
)  # fmt: skip
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message.replace(".*", "[\\s\\S]*")):
        call()


def test_ready_made_networks():
    assert nn.lenet5().num_parameters() == 61706 and nn.simple_convnet().num_parameters() == 433890
    assert nn.lenet5((28, 28, 3), 7).predict(np.zeros((2, 28, 28, 3), np.uint8)).shape == (2, 7)


# ---- sequences ----


@pytest.mark.parametrize("length,channels,filters,kernel,stride,padding,dilation,groups",
                         [(20, 3, 8, 5, 1, 0, 1, 1), (17, 4, 6, 3, 2, 2, 1, 2), (33, 1, 5, 4, 3, (1, 2), 2, 1), (16, 16, 32, 3, 1, "same", 1, 1)])
def test_conv1d_is_conv2d_over_one_row(length, channels, filters, kernel, stride, padding, dilation, groups, tmp_path):
    def models():
        fastnn.manual_seed(3)
        layers = [nn.BatchNorm(filters), nn.Flatten(), nn.Dense(None, 3)]
        pads = padding if isinstance(padding, str) else (0, padding) if isinstance(padding, int) else (0, padding[0], 0, padding[1])
        image = nn.Conv2d(None, filters, (1, kernel), (1, stride), pads, (1, dilation), groups, activation="gelu")
        sequence = nn.Conv1d(None, filters, kernel, stride, padding, dilation, groups, activation="gelu")
        wide = nn.Sequential(nn.Input(1, length, channels), image, *layers)
        fastnn.manual_seed(3)
        narrow = nn.Sequential(nn.Input(length, channels), sequence, nn.BatchNorm(filters), nn.Flatten(), nn.Dense(None, 3))
        return wide, narrow

    wide, narrow = models()
    r = np.random.default_rng(0)
    x, y = r.standard_normal((12, length, channels), np.float32), r.integers(0, 3, 12)
    assert narrow.layers[1].weight.shape == (kernel, channels // groups, filters)
    for model, data in ((wide, x[:, None]), (narrow, x)):
        trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()))
        for _ in range(2):
            trainer.step(data, y)
    assert (wide.predict(x[:, None]) == narrow.predict(x)).all()
    if channels < 16:
        assert fastnn.check_gradients(narrow, losses.SoftmaxCrossEntropy(), x[:3], y[:3]).passed
    narrow.save(tmp_path / "m.safetensors")
    assert (nn.load(tmp_path / "m.safetensors").predict(x) == narrow.predict(x)).all()


def test_conv1d_refuses():
    for make, message in ((lambda: nn.Conv1d(3, 4, 2, padding=(1, 2, 3)), "padding"), (lambda: nn.Conv1d(3, 4, 0), "kernel_size"),
                          (lambda: nn.Sequential(nn.Input(8), nn.Conv1d(None, 4, 2)), r"sequences \(length, channels\).*nn.Reshape"),
                          (lambda: nn.Sequential(nn.Input(8, 2), nn.Conv1d(3, 4, 2)), "expected 3 channels"),
                          (lambda: nn.Sequential(nn.Input(2, 2), nn.Conv1d(2, 4, 3)), "at least")):
        with pytest.raises(ValueError, match=message):
            make()
