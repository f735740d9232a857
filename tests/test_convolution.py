"""Convolution and pooling: against PyTorch and the NumPy twins, the same bits in every way, shapes, files, errors."""

import copy

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim
from fastnn.executors import NativeExecutor, ReferenceExecutor
from fastnn.ops import Window
from fastnn.plan import Builder, execution_order


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
    dslope = next(g for q, g in plan.gradients if q is slope)
    dx = next(op.buffers["dy"] for op in plan.ops if op.kind == "prelu_slope_gradient" and op.buffers["dslope"] is dslope).name
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
        channels, filters = (int(draw.choice([*range(1, 18), 32, 64]) * groups) for _ in range(2))
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
    for i, (shape, filters, kernel, stride, padding, dilation, groups, bias) in enumerate(configurations(80)):
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


@pytest.mark.parametrize("shape, filters, kernel, padding, stride, dilation, groups", [
    ((70, 30, 40), 5, (3, 3), 1, 1, 1, 1),  # so large that lines are copied in parts
    ((40, 33, 32), 36, (5, 3), 0, (2, 1), (1, 3), 4),
    ((9, 4, 4), 70, (3, 2), "same", 1, 1, 1),
    ((5, 6, 5), 4, (1, 1), (2, 0), 1, 1, 1),
    ((20, 22, 2), 6, (3, 3), 1, 2, 1, 1),  # few channels, of which the gradient goes over lines all the same
    ((19, 23, 1), 5, (4, 3), (1, 0), (3, 2), 1, 1),
    ((60, 31, 20), 60, (3, 3), 1, 1, 1, 20),  # each channel with three filters of its own
    ((13, 9, 3), 6, (3, 2), "same", (2, 3), 1, 3),
    ((11, 12, 17), 34, (2, 3), 0, 1, (1, 2), 17),
])  # fmt: skip
def test_large_images_like_the_twins(shape, filters, kernel, padding, stride, dilation, groups):
    layer = nn.Conv2d(shape[2], filters, kernel, stride, padding, dilation, groups, activation="relu")
    x = rows(2, *shape)
    dy = rows(2, *layer.output_shape(shape), seed=1)
    found, one = run(layer, x, dy), run(layer, x[:1], dy[:1], threads=1)
    for a, b in zip(found, run(layer, x, dy, ReferenceExecutor), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())
    for a, b in zip(found[:2], one[:2], strict=True):
        np.testing.assert_array_equal(a[:1], b)  # whatever the batch and the threads


def test_transposed_like_torch():
    torch = pytest.importorskip("torch")
    draw, tried = np.random.default_rng(3), 0
    for i, (shape, filters, kernel, stride, padding, dilation, groups, bias) in enumerate(configurations(50, seed=4)):
        more = tuple(int(draw.integers(0, max(s, d))) for s, d in zip(stride, dilation))
        if any((n - 1) * s - 2 * p + d * (k - 1) + 1 + m < 1 for n, s, p, d, k, m in zip(shape, stride, padding, dilation, kernel, more)):
            continue
        layer = nn.ConvTranspose2d(shape[2], filters, kernel, stride, padding, more, dilation, groups, bias)
        if bias:
            layer.bias.data = rows(filters, seed=i)
        x = rows(3, *shape, seed=i)
        t = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
        w = torch.tensor(layer.weight.data.transpose(3, 2, 0, 1).copy(), requires_grad=True)
        b = torch.tensor(layer.bias.data.copy(), requires_grad=True) if bias else None
        y = torch.nn.functional.conv_transpose2d(t, w, b, stride, padding, more, groups, dilation)
        dy = rows(*y.shape, seed=i + 1000)
        y.backward(torch.tensor(dy))
        expected = [y.detach().numpy().transpose(0, 2, 3, 1), t.grad.numpy().transpose(0, 2, 3, 1), w.grad.numpy().transpose(2, 3, 1, 0)]
        expected += [b.grad.numpy()] if bias else []
        for found, value in zip(run(layer, x, dy.transpose(0, 2, 3, 1).copy()), expected, strict=True):
            np.testing.assert_allclose(found, value, rtol=3e-5, atol=3e-5 * max(1, np.abs(value).max()), err_msg=f"{layer!r} {shape}")
        tried += 1
    assert tried >= 40


@pytest.mark.parametrize("n, k, s, d, more", [(4, 3, 2, 1, 1), (5, 2, 2, 1, 0), (3, 4, 3, 2, 2), (6, 3, 1, 1, 0), (4, 1, 3, 1, 2)])
def test_transposed_gives_back_the_shape(n, k, s, d, more):
    """Of a convolution: of all the sizes that have the same one, the one that output_padding says."""
    grown = nn.ConvTranspose2d(1, 1, k, s, 0, more, d).output_shape((n, n, 1))
    assert nn.Conv2d(1, 1, k, s, 0, d).output_shape(grown) == (n, n, 1)
    same = nn.ConvTranspose2d(1, 1, k, s, "same", dilation=d).output_shape((n, n, 1))
    assert same == (n * s, n * s, 1) and nn.Conv2d(1, 1, k, s, "same", d).output_shape(same) == (n, n, 1)


def test_transposed_weights_have_the_fans_of_what_they_add_up():
    fastnn.manual_seed(0)
    layer = nn.ConvTranspose2d(32, 8, 3, groups=2, init=fastnn.init.he_normal())
    assert layer.weight.shape == (3, 3, 4, 32) and abs(layer.weight.data.std() * (9 * 16 / 2) ** 0.5 - 1) < 0.05


def test_autoencoder_of_images():
    fastnn.manual_seed(0)
    x = np.zeros((40, 8, 8, 1), np.float32)
    for i, (a, b) in enumerate(np.random.default_rng(0).integers(0, 6, (40, 2))):
        x[i, a : a + 3, b : b + 3] = 1
    model = nn.Sequential(
        nn.Input(8, 8, 1), nn.Conv2d(None, 8, 3, 2, padding=1, activation="relu"), nn.Conv2d(None, 8, 3, 2, padding=1, activation="relu"),
        nn.ConvTranspose2d(None, 8, 3, 2, padding=1, output_padding=1, activation="relu"),
        nn.ConvTranspose2d(None, 1, 3, 2, padding=1, output_padding=1), nn.Flatten(),
    )  # fmt: skip
    trainer = fastnn.Trainer(model, losses.MeanSquaredError(), optim.Adam(model.parameters(), lr=0.01))
    history = trainer.fit(x, x.reshape(40, -1), epochs=60, batch_size=20, verbose=0)
    assert history["loss"][-1] < 0.25 * history["loss"][0]


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
            dilation = 2 if ceil and all(n + 2 * p > 2 * (k - 1) for n, p, k in zip(shape, padding, kernel)) else 1
            layer = nn.MaxPool2d(kernel, stride, padding, ceil, dilation)
            y = torch.nn.functional.max_pool2d(t, kernel, stride, padding, dilation, ceil_mode=ceil)
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
    lambda: nn.ConvTranspose2d(3, 5, 3, 2, padding=1, output_padding=1, activation="tanh"),
    lambda: nn.ConvTranspose2d(3, 6, (2, 3), (1, 3), "same", groups=3, bias=False, activation="gelu"),
    lambda: nn.MaxPool2d(3, 2, "same"),
    lambda: nn.AvgPool2d(2, 3, 1, True, False),
    lambda: nn.Sequential(nn.Conv2d(3, 5, 3, 2, activation="relu"), nn.MaxPool2d(2)),
    lambda: nn.Sequential(nn.Conv2d(3, 30, 3, padding=(1, 1, 1, 2), activation="relu"), nn.MaxPool2d(3)),
    lambda: nn.Sequential(nn.Conv2d(3, 17, 3, padding=1, activation="relu"), nn.MaxPool2d(3, 2, 1, True)),
    lambda: nn.Sequential(nn.BatchNorm(3), nn.ReLU(), nn.MaxPool2d((3, 2), 1, (1, 0), dilation=2), nn.Conv2d(3, 3, 3, groups=3)),
    lambda: nn.Sequential(nn.Conv2d(3, 5, 3, activation="tanh"), nn.MaxPool2d(3, (2, 1))),
    lambda: nn.Sequential(nn.Residual(nn.MaxPool2d(3, 1, 1)), nn.ReLU(), nn.GlobalMaxPool2d()),
    lambda: nn.Sequential(nn.ConvTranspose2d(3, 18, 2, 2, groups=3, activation="relu"), nn.MaxPool2d(17, 2, "same")),
    lambda: nn.GlobalMaxPool2d(),
    lambda: nn.GlobalAvgPool2d(),
    lambda: nn.BatchNorm(3),
    lambda: nn.GroupNorm(3, 3),
    lambda: nn.GroupNorm(1, 3, affine=False),
    lambda: nn.Dropout2d(0.4),
    lambda: nn.StochasticPool2d(2),
    lambda: nn.StochasticPool2d(3, 2, "same"),
    lambda: nn.PReLU(3),
    lambda: nn.Residual(nn.Conv2d(3, 5, 3, 2, padding=1, activation="relu"), nn.GroupNorm(5, 5), projection=nn.Conv2d(3, 5, 1, 2)),
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
    if not any(isinstance(part, (nn.BatchNorm, nn.Dropout2d, nn.StochasticPool2d)) for _, part in layer.walk()):  # rows do not know of each other
        assert run(layer, x[3:5], dy[3:5])[0].tobytes() == first[0][3:5].tobytes()


@pytest.mark.parametrize("groups, channels, shape", [(1, 6, (5, 4)), (2, 6, (5, 4)), (6, 6, (5, 4)), (2, 34, (3, 3)), (4, 8, ()), (3, 9, (7,))])
def test_groupnorm_like_torch(groups, channels, shape):
    torch = pytest.importorskip("torch")
    layer = nn.GroupNorm(groups, channels, eps=1e-3)
    layer.weight.data, layer.bias.data = rows(channels, seed=1), rows(channels, seed=2)
    x, dy = rows(5, *shape, channels) * 3 + 1, rows(5, *shape, channels, seed=3)
    t = torch.tensor(np.moveaxis(x, -1, 1), requires_grad=True)
    w, b = (torch.tensor(p.data.copy(), requires_grad=True) for p in (layer.weight, layer.bias))
    y = torch.nn.functional.group_norm(t, groups, w, b, 1e-3)
    y.backward(torch.tensor(np.moveaxis(dy, -1, 1)))
    expected = [np.moveaxis(y.detach().numpy(), 1, -1), np.moveaxis(t.grad.numpy(), 1, -1), w.grad.numpy(), b.grad.numpy()]
    for found, value in zip(run(layer, x, dy), expected, strict=True):
        np.testing.assert_allclose(found.reshape(value.shape), value, rtol=3e-5, atol=3e-5 * max(1, np.abs(value).max()))


def test_prelu_by_channels_like_torch():
    torch = pytest.importorskip("torch")
    layer = nn.PReLU(3)
    layer.slope.data = [0.1, -0.5, 2.0]
    x, dy = rows(4, 5, 6, 3), rows(4, 5, 6, 3, seed=1)
    t, a = torch.tensor(np.moveaxis(x, -1, 1), requires_grad=True), torch.tensor(layer.slope.data.copy(), requires_grad=True)
    y = torch.nn.functional.prelu(t, a)
    y.backward(torch.tensor(np.moveaxis(dy, -1, 1)))
    found = run(layer, x, dy)
    for got, value in zip(found, (y.detach(), t.grad), strict=False):
        np.testing.assert_allclose(got.reshape(x.shape), np.moveaxis(value.numpy(), 1, -1), rtol=1e-6)
    np.testing.assert_allclose(found[2], a.grad.numpy(), rtol=1e-5)


def test_dropout_of_channels():
    """Each channel of each image stays or goes as a whole; the gradient goes the same way."""
    x = rows(50, 6, 5, 40) + 3
    y, dx = run(nn.Dropout2d(0.25), x, np.ones_like(x))
    kept = (y != 0).reshape(50, 30, 40)
    assert (kept == kept[:, :1]).all() and abs(kept[:, 0].mean() - 0.75) < 0.03
    np.testing.assert_allclose(y, np.where(kept.reshape(y.shape), x / 0.75, 0), rtol=1e-6)
    assert ((dx.reshape(x.shape) != 0) == (y != 0)).all()
    model = nn.Sequential(nn.Input(4, 4, 2), nn.Dropout2d(0.9), nn.Flatten())
    assert (model.predict(x[:2, :4, :4, :2]) == x[:2, :4, :4, :2].reshape(2, -1)).all() and len(model.fold()) == 2
    with pytest.raises(ValueError, match=r"layer 1: Dropout2d.*expected images .* got samples of shape \(3,\); for vectors write nn.Dropout"):
        nn.Sequential(nn.Input(3), nn.Dropout2d(0.5))


def test_stochastic_pooling():
    """An element of each window, as often as it is large; on average what inference gives."""
    x = np.maximum(rows(1, 4, 4, 3), 0)
    x[0, :2, :2, 1] = 0
    drawn = fastnn.kernels.stochastic_pool2d_forward(x.repeat(4000, axis=0), 2, seed=5)
    windows = x.reshape(2, 2, 2, 2, 3).transpose(0, 2, 4, 1, 3).reshape(2, 2, 3, 4)
    for i, j, c in np.ndindex(2, 2, 3):
        a = windows[i, j, c]
        values, counts = np.unique(drawn[:, i, j, c], return_counts=True)
        if not a.any():
            assert values.tolist() == [0]
            continue
        expected = dict(zip(a[a > 0].tolist(), (a[a > 0] / a.sum()).tolist()))
        assert set(values.tolist()) <= set(expected)
        for v, n in zip(values.tolist(), counts):
            assert abs(n / 4000 - expected[v]) < 4 * (0.25 / 4000) ** 0.5
    model = nn.Sequential(nn.Input(4, 4, 3), nn.StochasticPool2d(2), nn.Flatten())
    total = windows.sum(axis=-1)
    expected = (windows**2).sum(axis=-1) / np.where(total > 0, total, 1)
    np.testing.assert_allclose(model.predict(x)[0], expected.ravel(), rtol=1e-6)
    np.testing.assert_allclose(drawn.mean(axis=0), expected, atol=0.05)


def test_stochastic_pooling_of_nan_and_infinity():
    x = np.zeros((1, 2, 6, 1), np.float32)
    x[0, 0, :2, 0], x[0, 0, 2, 0], x[0, 0, 4:, 0] = [np.inf, 1], np.nan, [3e38, 2e38]
    y, dx = run(nn.StochasticPool2d(2), x, np.ones((1, 1, 3, 1), np.float32))
    assert y[0, 0, 0, 0] == np.inf and np.isnan(y[0, 0, 1, 0]) and y[0, 0, 2, 0] == np.float32(3e38)
    assert dx.reshape(2, 6).tolist() == [[1, 0, 1, 0, 1, 0], [0] * 6]
    found = fastnn.kernels.stochastic_pool2d_inference(x, 2)
    np.testing.assert_array_equal(found, y)


@pytest.mark.parametrize("first", [lambda: nn.Dense(4, 18, activation="tanh"), lambda: nn.Dense(4, 18), lambda: nn.Input(18)])
@pytest.mark.parametrize("make", [lambda: nn.BatchNorm(2), lambda: nn.PReLU(2), lambda: nn.GroupNorm(2, 2), lambda: nn.Dropout2d(0.3)])
def test_vectors_that_are_given_the_shape_of_images(first, make):
    """In memory vectors have room between them, which images have not."""
    fastnn.manual_seed(3)
    model = nn.Sequential(first(), nn.Reshape(3, 3, 2), make(), nn.Flatten(), nn.Dense(18, 2))
    x, found = rows(30, 40)[::2, : model.in_features], []  # rows of a larger matrix
    for backend in ("native", "reference"):
        copied = copy.deepcopy(model)
        trainer = fastnn.Trainer(copied, losses.SoftmaxCrossEntropy(), optim.SGD(copied.parameters(), lr=1.0), seed=1, backend=backend)
        trainer.step(x, np.arange(15) % 2)
        found.append([p.data for _, p in copied._named()])
    for a, e in zip(*found, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-5)


def test_residual_with_a_projection(tmp_path):
    block = nn.Residual(
        nn.Conv2d(None, 4, 3, 2, padding=1, bias=False), nn.BatchNorm(4), nn.ReLU(), nn.Conv2d(None, 4, 3, padding=1), nn.BatchNorm(4),
        projection=nn.Sequential(nn.Conv2d(None, 4, 1, 2), nn.BatchNorm(4)), stochastic_depth=0.2,
    )  # fmt: skip
    model = nn.Sequential(nn.Input(7, 6, 3), block, nn.PReLU(4), nn.Flatten(), nn.Dense(None, 2))
    assert [name for name, _ in model.named_parameters()][7:11] == [f"1.projection.{name}" for name in ("0.weight", "0.bias", "1.weight", "1.bias")]
    x, y = rows(12, 7, 6, 3), np.arange(12) % 2
    assert fastnn.check_gradients(model, losses.SoftmaxCrossEntropy(), x[:4], y[:4]).passed
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01))
    trainer.fit(x, y, epochs=2, batch_size=6, verbose=0)
    folded = model.fold()
    assert not any(isinstance(layer, nn.BatchNorm) for _, layer in folded.walk()) and len(folded[1].projection) == 1
    np.testing.assert_allclose(folded.predict(x), model.predict(x), rtol=1e-4, atol=1e-5)
    model.save(tmp_path / "m.safetensors")
    again = nn.load(tmp_path / "m.safetensors")
    assert repr(again) == repr(model) and (again.predict(x) == model.predict(x)).all()
    for make, message in (
        (lambda: nn.Residual(nn.Dense(2, 3), projection=nn.Dense(2, 4)), r"projection: expected the shape .*, \(3,\), got \(4,\)"),
        (lambda: nn.Residual(nn.Dense(2, 3), projection=nn.Dense), "projection: expected a layer, or None, got <class"),
        (lambda: nn.Residual(block.layers[0], projection=block.layers[0]), "projection: expected a layer of its own"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            make()


@pytest.mark.parametrize("kind", ["max", "average"])
def test_pooling_of_whole_images_like_torch(kind):
    torch = pytest.importorskip("torch")
    draw = np.random.default_rng(6)
    for i in range(10):
        shape = (*(int(v) for v in draw.integers(1, 12, 2)), int(draw.choice([1, 3, 17, 32, 64])))
        x, dy = rows(3, *shape, seed=i), rows(3, shape[2], seed=i + 1000)
        t = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
        layer, y = (nn.GlobalMaxPool2d(), t.amax((2, 3))) if kind == "max" else (nn.GlobalAvgPool2d(), t.mean((2, 3)))
        y.backward(torch.tensor(dy))
        for got, value in zip(run(layer, x, dy), (y.detach(), t.grad), strict=True):
            value = value.numpy() if value.ndim == 2 else value.numpy().transpose(0, 2, 3, 1)
            np.testing.assert_allclose(got.reshape(value.shape), value, rtol=3e-5, atol=1e-6)


def test_max_pooling_of_nan_and_infinity():
    x = np.full((1, 4, 4, 1), -np.inf, np.float32)
    x[0, 0, 1, 0] = np.nan
    x[0, 2, 2, 0] = np.inf
    y, dx, *_ = run(nn.MaxPool2d(2), x, np.ones((1, 2, 2, 1), np.float32))
    assert np.isnan(y[0, 0, 0, 0]) and y[0, 1, 1, 0] == np.inf and y[0, 0, 1, 0] == -np.inf
    assert dx[0, :, :, 0].tolist() == [[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


def test_max_pooling_behind_relu_of_nan_and_infinity():
    """The gradient goes through both at once, to the first NaN too; what is not above 0 gets none, whatever its window's gradient."""
    layer = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))
    x = rows(3, 6, 6, 5)
    x[0, :2, :2] = -1
    x[0, 2:4, :4] = np.nan
    x[1, 1, 1], x[1, 3, 3], x[1, 4:, 4:] = np.inf, -np.inf, 0
    dy = rows(3, 3, 3, 5, seed=1)
    dy[0, 0, 0, :3], dy[1, 2, 2, :3], dy[2, 0, 0, :3] = ([np.nan, np.inf, -0.0],) * 3
    found = run(layer, x, dy)
    for a, b, c in zip(found, run(layer, x, dy, fused=False), run(layer, x, dy, ReferenceExecutor), strict=True):
        assert a.tobytes() == b.tobytes()
        np.testing.assert_array_equal(a, c)


@pytest.mark.parametrize("schedule, hidden, more", [("rows", 10, 20), ("layers", 128, 14)])
def test_images_are_kept_no_longer_than_the_gradients_need_them(schedule, hidden, more):
    """Beyond what enters the layers once, pooled where there is pooling, some megabytes: gradients take the place of what came before."""
    model = nn.Sequential(
        nn.Input(32, 32, 3), nn.Conv2d(None, 32, 3, padding=1, activation="relu"), nn.Conv2d(None, 32, 3, padding=1, activation="relu"),
        nn.MaxPool2d(2), nn.Conv2d(None, 64, 3, padding=1, activation="relu"), nn.Conv2d(None, 64, 3, padding=1, activation="relu"),
        nn.MaxPool2d(2), nn.Flatten(), nn.Dense(None, hidden, activation="relu"), nn.Dense(None, 10),
    )  # fmt: skip
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()))
    kept = 64 * 4 * (32 * 32 * (3 + 32) + 16 * 16 * (32 + 64) + 8 * 8 * 64)
    plan = trainer.plan(64)
    assert plan.schedule == schedule and plan.workspace_bytes < kept + (more << 20)
    ends = {b.name: i for i, op in enumerate(plan.ops) for b in [*op.reads(), *op.writes()]}
    assert {plan.ops[ends[name]].kind for name in ("c2", "c4")} == {"maxpool2d_forward"}


DEEP = [
    lambda: [nn.Input(9, 8, 3), nn.Conv2d(None, 5, 3, padding=1, activation="relu"), nn.MaxPool2d(2), nn.Conv2d(None, 18, 3, activation="tanh"),
             nn.Flatten(), nn.Dense(None, 70, activation="relu"), nn.Dense(None, 2)],
    lambda: [nn.Input(3, 9, 8, data_format="channels_first"), nn.BatchNorm(3), nn.Conv2d(None, 6, 3, 2, groups=3), nn.ReLU(), nn.PReLU(6),
             nn.Residual(nn.Conv2d(6, 6, 3, padding=1), nn.GroupNorm(2, 6)), nn.ConvTranspose2d(None, 3, 2, 2), nn.AvgPool2d(2), nn.Flatten()],
    lambda: [nn.Input(72), nn.Dense(None, 72), nn.Reshape(6, 4, 3), nn.Conv2d(None, 17, (2, 1)), nn.StochasticPool2d(2), nn.Conv2d(None, 3, 1)],
    lambda: [nn.Input(9, 8, 2), nn.Conv2d(None, 4, 3, padding=1), nn.Flatten(), nn.Dense(None, 5), nn.Reshape(5, 1, 1), nn.Conv2d(None, 4, 1),
             nn.Conv2d(None, 3, (3, 1)), nn.Flatten()],
]  # fmt: skip


@pytest.mark.parametrize("make", DEEP)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_few_images_at_a_time_change_no_bit(make, dtype, monkeypatch, team):
    """Through all that may be done so before the next few, with buffers of as many in each thread's scratch."""
    found = []
    for near, threads in ((1 << 40, 1), (1, 1), (1, 3), (6000, 1), (6000, 2), (6000, 5), (1, 7)):
        monkeypatch.setattr(execution_order, "_NEAR", near)
        fastnn.manual_seed(2)
        model = nn.Sequential(*make(), dtype=dtype)
        plan = model.plan(32)
        counts = [op.few for op in plan.ops]
        assert (max(counts) == 0) if near > 6000 else max(counts) == 1 if near == 1 else 1 <= max(counts) < 32, counts
        x = rows(21, *model._given_shape())
        with team(threads):
            outputs = [model.predict(a) for a in (x, x.astype(float), (x * 9).astype(np.int8), x.repeat(2, axis=0)[::2], x[:1], x.repeat(9, axis=0))]
        found.append(outputs)
        if near == 1:
            assert plan.workspace_bytes < full and "1 at a time" in plan.describe()
        if near > 6000:
            full = plan.workspace_bytes
    for outputs in found[1:]:
        for a, b in zip(outputs, found[0], strict=True):
            assert a.tobytes() == b.tobytes()


def test_what_threads_do_together_is_run_as_a_whole(monkeypatch):
    monkeypatch.setattr(execution_order, "_NEAR", 1)
    model, x = nn.Sequential(*DEEP[0]()), rows(4, 9, 8, 3)
    plan = model.plan(4)
    executor, depth = NativeExecutor(plan), plan.ops[0].depth
    assert depth > 3 and "1 at a time" in plan.describe()
    plan.run(0, depth, x=x, executor=executor)
    plan.run(depth, x=x, executor=executor)
    np.testing.assert_allclose(executor.array(plan.output.name), model.predict(x), rtol=1e-6)
    for first, last in ((0, 2), (1, None)):
        with pytest.raises(ValueError, match="first, last: expected all of the operations 0 to"):
            plan.run(first, last, x=x, executor=executor)
    with pytest.raises(ValueError, match="c1: threads have it for a few rows at a time in this plan"):
        executor.array("c1")


def network(dtype=None):
    return nn.Sequential(
        nn.Input(9, 9, 2), nn.Conv2d(None, 4, 3, padding=1, bias=False), nn.BatchNorm(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Residual(nn.Conv2d(4, 4, 3, padding="same", activation="silu"), nn.BatchNorm(4)), nn.Dropout(0.2), nn.Dropout2d(0.2),
        nn.StochasticPool2d(2, 1), nn.PReLU(4), nn.GroupNorm(2, 4),
        nn.Conv2d(None, 6, 3, 2, padding=1, activation="tanh"), nn.ConvTranspose2d(None, 6, 2, 2, groups=2), nn.BatchNorm(6),
        nn.AvgPool2d(2), nn.Flatten(), nn.Dense(None, 3), dtype=dtype,
    )  # fmt: skip


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_network_trains(backend):
    fastnn.manual_seed(1)
    model = network()
    x = rows(30, 9, 9, 2)
    y = (x[..., 0].mean(axis=(1, 2)) > 0).astype(int) + (x[..., 1].mean(axis=(1, 2)) > 0)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01), backend=backend)
    history = trainer.fit(x, y, epochs=40 if backend == "native" else 1, batch_size=10, verbose=0)
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


def test_float64(team):
    """The same bits for any number of threads, and the reference's numbers."""
    x, y, found = rows(25, 9, 9, 2).astype(np.float64), np.arange(25) % 3, {}
    fastnn.manual_seed(1)
    start = network("float64")
    for backend, threads in (("native", 1), ("native", 2), ("native", 3), ("reference", 1)):
        with team(threads):
            model = copy.deepcopy(start)
            trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=0.1), seed=3, backend=backend)
            trainer.fit(x, y, epochs=1, batch_size=10, verbose=0)
            found[backend, threads] = np.concatenate([p.data.ravel() for _, p in model._named()])
    assert found["native", 1].dtype == np.float64
    assert all(found["native", n].tobytes() == found["native", 1].tobytes() for n in (2, 3))
    np.testing.assert_allclose(found["native", 1], found["reference", 1], rtol=1e-8, atol=1e-10)


def test_gradients():
    fastnn.manual_seed(2)
    model = nn.Sequential(
        nn.Input(9, 8, 2), nn.Conv2d(None, 4, 3, padding=1, groups=2, activation="gelu"), nn.BatchNorm(4), nn.MaxPool2d(2),
        nn.Residual(nn.Conv2d(4, 4, (3, 2), padding="same", activation="sigmoid")), nn.AvgPool2d(2, padding=1), nn.PReLU(4),
        nn.GroupNorm(2, 4), nn.Dropout2d(0.2), nn.StochasticPool2d(2, 1),
        nn.Conv2d(None, 3, 2, stride=2, dilation=1, bias=False), nn.ConvTranspose2d(None, 2, 3, 2, padding=1, activation="silu"),
        nn.ConvTranspose2d(None, 4, 2, groups=2, bias=False), nn.GlobalAvgPool2d(), nn.Dense(None, 3),
    )  # fmt: skip
    assert fastnn.check_gradients(model, losses.SoftmaxCrossEntropy(), rows(5, 9, 8, 2), np.arange(5) % 3)


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
        (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, output_padding=2), ValueError,
         "^output_padding: expected fewer than the larger of stride and dilation, got 2"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, 2, "same", 1), ValueError, "^output_padding: expected 0 with padding 'same', got 1"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, groups=2), ValueError, "^groups: expected a divisor of in_channels, 3, got 2"),
        (lambda: nn.Sequential(nn.Input(1, 1, 3), nn.ConvTranspose2d(3, 4, 3, padding=2)), ValueError,
         r"^layer 1: ConvTranspose2d.*: expected images of which more than the padding comes out, got shape \(1, 1, 3\)"),
        (lambda: nn.Sequential(nn.Input(60000, 30000, 1), nn.Conv2d(1, 4, 3)), ValueError,
         r"^layer 1: Conv2d.*: expected images of fewer than 2\*\*31 elements, got shape \(60000, 30000, 1\)"),
        (lambda: nn.Sequential(nn.Input(1, 5, 3), nn.MaxPool2d(2, padding=1, dilation=2)), ValueError,
         r"^layer 1: MaxPool2d.*: expected images of which every window has a pixel, got shape \(1, 5, 3\)"),
        (lambda: nn.MaxPool2d(2, padding=2), ValueError, "^padding: expected less than the kernel"),
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
