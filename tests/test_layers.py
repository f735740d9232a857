"""Layers that normalise, drop, add noise, choose, share and add: alone and in models, in training and in inference.

Every model of MODELS is trained one step by plans of both kinds and schedules, on each instruction set, with one thread and
three, and must give the same bits; the same as the reference to rounding; and the reference's gradients are held against
central differences in float64.
"""

import copy
import importlib.util
import itertools
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim
from fastnn.executors import NativeExecutor, ReferenceExecutor
from fastnn.plan import Builder

ISAS = fastnn.available_isas()
ROWS, INPUTS, CLASSES = 37, 12, 5


@pytest.fixture(autouse=True)
def as_it_was():
    work, threads, isa = fastnn._native.team_work(), fastnn.get_num_threads(), fastnn.get_isa()
    yield
    fastnn._native.team_work(work)
    fastnn.set_num_threads(threads)
    fastnn.use_isa(isa)


def tied_autoencoder():
    encoder = nn.Dense(12, 9, activation="tanh")
    return nn.Sequential(encoder, nn.Tied(encoder, activation="sigmoid"), nn.Dense(12, 5))


def tied_often():
    dense = nn.Dense(12, 12, activation="tanh")
    rest = nn.Tied(dense, transpose=False, bias=False), nn.Residual(nn.Tied(dense)), nn.Dense(12, 5)
    return nn.Sequential(dense, nn.Tied(dense, activation="sigmoid"), *rest)


def frozen(*layers):
    """A model with its batch normalisations frozen, whose running statistics are like none."""
    model = nn.Sequential(*layers)
    for _, layer in model.walk():
        if isinstance(layer, nn.BatchNorm):
            model.freeze(layer)
            layer.running_mean.data = np.linspace(-1, 1, layer.features)
            layer.running_var.data = np.linspace(0.5, 3, layer.features)
    return model


MODELS = {
    "batchnorm before": lambda: nn.Sequential(nn.Dense(12, 17, bias=False), nn.BatchNorm(17), nn.Activation("tanh"), nn.Dense(17, 5)),
    "batchnorm behind": lambda: nn.Sequential(
        nn.BatchNorm(12), nn.Dense(12, 17, activation="sigmoid"), nn.BatchNorm(17, affine=False), nn.Dense(17, 5)
    ),
    "rows": lambda: nn.Sequential(
        nn.Dense(12, 17), nn.LayerNorm(17), nn.Activation("tanh"), nn.Dense(17, 9), nn.RMSNorm(9), nn.Dense(9, 5)
    ),
    "rows, no weights": lambda: nn.Sequential(
        nn.LayerNorm(12, affine=False), nn.Dense(12, 17), nn.LayerNorm(17, affine=False), nn.Dense(17, 5), nn.RMSNorm(5, affine=False)
    ),
    "dropout": lambda: nn.Sequential(nn.Dropout(0.3), nn.Dense(12, 20, activation="tanh"), nn.Dropout(0.5), nn.Dense(20, 5)),
    "noise": lambda: nn.Sequential(nn.GaussianNoise(0.3), nn.Dense(12, 20, activation="tanh"), nn.GaussianNoise(0.5), nn.Dense(20, 5)),
    "dropconnect": lambda: nn.Sequential(nn.DropConnect(nn.Dense(12, 20, activation="tanh"), 0.3), nn.DropConnect(nn.Dense(20, 5))),
    "maxout": lambda: nn.Sequential(nn.Maxout(12, 20, 3), nn.Maxout(20, 5, 2)),
    "residual": lambda: nn.Sequential(
        nn.Dense(12, 16),
        nn.Residual(nn.Activation("tanh"), nn.Dense(16, 16)),
        nn.Residual(nn.LayerNorm(16), nn.Dense(16, 8, activation="sigmoid"), nn.Dense(8, 16)),
        nn.Sequential(nn.Residual(nn.Residual(nn.Dense(16, 16, activation="tanh")), nn.Dropout(0.2)), nn.Activation("tanh")),
        nn.Dense(16, 5),
    ),
    "residual first": lambda: nn.Sequential(
        nn.Residual(nn.Dense(12, 12)), nn.Residual(nn.GaussianNoise(0.1)), nn.Residual(nn.Dropout(0.1)),
        nn.Dense(12, 16, activation="tanh"), nn.Residual(nn.BatchNorm(16), nn.Dense(16, 16, activation="tanh")), nn.Dense(16, 5),
    ),
    "activations of all kinds": lambda: nn.Sequential(
        nn.Dense(12, 16, activation="gelu"),
        nn.Residual(nn.LayerNorm(16), nn.Activation("gelu"), nn.Dense(16, 16, activation="silu"), nn.Dropout(0.1)),
        nn.Residual(nn.PReLU(16), nn.BatchNorm(16), nn.Activation("softplus")),
        nn.Residual(nn.Softmax()), nn.RMSNorm(16), nn.Activation("elu"),
        nn.Residual(nn.DropConnect(nn.Dense(16, 16, activation="prelu"), 0.2)), nn.LogSoftmax(), nn.Dense(16, 5, activation="selu"),
    ),
    "numbers embedded": lambda: nn.Sequential(
        nn.PBLD(12, 5, 3, embedded=7), nn.Scale(None), nn.Dense(26, 8), nn.ParametricActivation(8, "selu"), nn.PBLD(8, 17, 6),
        nn.Dense(48, 9), nn.Residual(nn.ParametricActivation(9, "mish"), nn.ParametricActivation(9, "leaky_relu", 0.3)), nn.Dense(9, 5),
    ),
    "batchnorm frozen": lambda: frozen(
        nn.Dense(12, 17), nn.BatchNorm(17), nn.Activation("tanh"), nn.Residual(nn.BatchNorm(17, affine=False), nn.Activation("relu")),
        nn.Dense(17, 5),
    ),
    "stochastic depth": lambda: nn.Sequential(
        nn.Dense(12, 16), nn.Residual(nn.Dense(16, 16, activation="tanh"), stochastic_depth=0.4),
        nn.Residual(nn.LayerNorm(16), nn.Residual(nn.Dense(16, 16), stochastic_depth=0.2), stochastic_depth=0.5), nn.Dense(16, 5),
    ),
    "rescaling by column": lambda: nn.Sequential(
        nn.Rescaling(0.5), nn.Rescaling(np.arange(1.0, 13), np.arange(12)), nn.Rescaling(0.25, 0.5), nn.Dense(12, 5, activation="tanh"),
    ),
    "tied": tied_autoencoder,
    "tied often": tied_often,
}  # fmt: skip


def made(name, seed=0):
    """A model with weights and biases that are all drawn, and a batch for it."""
    fastnn.manual_seed(seed)
    model, r = MODELS[name](), np.random.default_rng(seed)
    for p in model.parameters():
        p.data = p.data + r.normal(0, 0.3, p.shape)
    return model, r.standard_normal((ROWS, INPUTS)).astype(np.float32), r.integers(0, CLASSES, ROWS)


def gradient_plan(model, fused=True, schedule="rows", batch=ROWS + 3):
    builder = Builder(batch, fused, training=True)
    builder.train(model.parameters())
    outputs = model.emit(builder, builder.input(model.in_shape))
    losses.SoftmaxCrossEntropy().emit(builder, outputs, "labels")
    builder.differentiate()
    return builder.build(schedule)


def step(executor, x, y):
    """(loss, gradients by parameter) of a step with fixed random numbers."""
    executor.set_random(7, 3)
    loss = np.zeros(1)
    executor.run(x, y, np.arange(len(x)), losses=loss)
    return loss[0], {p.name: executor.array(g.name).copy() for p, g in executor.plan.gradients}


def threads(n):
    fastnn.set_num_threads(n)
    fastnn._native.team_work(0 if n > 1 else 1e18)


@pytest.mark.parametrize("name", MODELS)
def test_the_same_bits_everywhere(name):
    model, x, y = made(name)
    first = {}
    for n in (1, 3):
        threads(n)
        for isa in ISAS:
            fastnn.use_isa(isa)
            for fused, schedule in itertools.product((True, False), ("rows", "layers")):
                loss, gradients = step(NativeExecutor(gradient_plan(model, fused, schedule)), x, y)
                expected = first.setdefault(isa == "generic", (loss, gradients))
                assert loss == expected[0] and set(gradients) == set(expected[1])
                for k, g in gradients.items():
                    assert g.tobytes() == expected[1][k].tobytes(), (k, isa, n, fused, schedule)
    for dtype, fused in ((np.float32, True), (np.float64, False)):
        loss, gradients = step(ReferenceExecutor(gradient_plan(model, fused), dtype), x.astype(dtype), y)
        for expected_loss, expected in first.values():
            assert abs(loss - expected_loss) < 1e-5 * loss
            for k, g in gradients.items():
                assert np.abs(g - expected[k]).max() < 5e-6 * (np.abs(g).max() + 1), k


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_central_differences(name):
    model, x, y = made(name, seed=1)
    executor, r = ReferenceExecutor(gradient_plan(model), np.float64), np.random.default_rng(2)
    x = x.astype(np.float64)
    gradients = step(executor, x, y)[1]
    for p in model.parameters():
        if p.frozen:
            assert p.name not in gradients
            continue
        a = executor._interpreter.parameters[id(p.data)]
        for _ in range(3):
            at = tuple(r.integers(0, n) for n in a.shape)
            held, found = a[at], []
            for h in (1e-5, -1e-5):
                a[at] = held + h
                found.append(step(executor, x, y)[0])
            a[at] = held
            assert abs((found[0] - found[1]) / 2e-5 - gradients[p.name][at]) < 1e-7, (p.name, at)


# ---- against PyTorch ----

spec = importlib.util.spec_from_file_location("golden_layers", Path(__file__).parent / "golden" / "layers.py")
golden = importlib.util.module_from_spec(spec)
spec.loader.exec_module(golden)


def filled(layer, **values):
    for name, value in values.items():
        getattr(layer, name).data = value
    return layer


def our_results(fused):
    """The cases of golden/layers.py by fastnn."""
    a, found = golden.arrays(), {}
    bn, ln, rms = (c(golden.WIDTH) for c in (nn.BatchNorm, nn.LayerNorm, nn.RMSNorm))
    affine = {"weight": a["weight"], "bias": a["bias"]}
    block = filled(nn.Dense(7, 7, activation="tanh"), weight=a["w1"], bias=a["b1"])
    encoder = filled(nn.Dense(7, 5, activation="tanh"), weight=a["w"], bias=a["b"])
    decoder = filled(nn.Tied(encoder, activation="sigmoid"), bias=a["c"])
    maxout = filled(nn.Maxout(7, 7, 3), weight=a["wm"], bias=a["bm"])
    cases = {
        "batchnorm": ([filled(bn, **affine)], {"weight": bn.weight, "bias": bn.bias}),
        "layernorm": ([filled(ln, **affine)], {"weight": ln.weight, "bias": ln.bias}),
        "rmsnorm": ([filled(rms, weight=a["weight"])], {"weight": rms.weight}),
        "residual": ([nn.Residual(block)], {"w1": block.weight, "b1": block.bias}),
        "tied": ([encoder, decoder], {"w": encoder.weight, "b": encoder.bias, "c": decoder.bias}),
        "maxout": ([maxout], {"wm": maxout.weight, "bm": maxout.bias}),
    }
    for case, (layers, parameters) in cases.items():
        for backward in (False, True):
            builder = Builder(golden.ROWS, fused, training=True)
            builder.trainable = {id(p) for p in parameters.values()} if backward else set()
            y = x = builder.input((golden.WIDTH,))
            if backward:
                builder._wanted.add(id(x))
            for layer in layers:
                y = layer.emit(builder, y)
            dy = builder.target_rows((golden.WIDTH,))
            if backward:
                builder.share(dy)
                builder.add_gradient(y, dy)
                builder.differentiate()
            builder.mark_output(builder.gradient(x) if backward else y)
            executor, out = NativeExecutor(builder.build()), np.empty((golden.ROWS, golden.WIDTH), np.float32)
            executor.run(a["x"], a["dy"], out=out)
            found[f"{case}/dx" if backward else f"{case}/y"] = out
        names = {id(p): g.name for p, g in executor.plan.gradients}
        found |= {f"{case}/d{k}": executor.array(names[id(p)]).copy() for k, p in parameters.items()}
    # running averages: of one training step
    model = nn.Sequential(bn)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=1e-30))
    trainer.step(a["x"], np.zeros(golden.ROWS, int))
    found |= {"batchnorm/running_mean": bn.running_mean.data, "batchnorm/running_var": bn.running_var.data}
    found["batchnorm/inference"] = model.predict(a["x"])
    return found


def assert_like_torch(expected, fused):
    found = our_results(fused)
    assert set(found) == set(expected)
    for k, e in expected.items():
        assert np.abs(found[k] - e).max() <= 4e-6 * max(1.0, np.abs(e).max()), k


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("isa", ISAS)
def test_like_torch(isa, fused):
    fastnn.use_isa(isa)
    with np.load(golden.FILE) as file:
        assert_like_torch(dict(file), fused)


def test_like_torch_live():
    assert_like_torch(golden.results(pytest.importorskip("torch")), True)


# ---- training and inference ----


def training(name="residual first", backend="native", **options):
    model, x, y = made(name)
    return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01), backend=backend, **options), x, y


def state(trainer):
    return {k: v.tobytes() for k, v in trainer.model.state_dict().items()}


@pytest.mark.parametrize("name", MODELS)
def test_training_gives_the_same_bits_with_any_number_of_threads_and_in_parts(name):
    found = []
    for n, parts in ((1, (3,)), (3, (1, 2)), (2, (2, 1))):
        threads(n)
        trainer, x, y = training(name, seed=5)
        for epochs in parts:
            trainer.fit(x, y, epochs=epochs, batch_size=10, verbose=0)
        found.append(state(trainer))
    assert found[0] == found[1] == found[2]


def test_training_by_the_reference():
    a, x, y = training("residual first")
    b, _, _ = training("residual first", backend="reference")
    for trainer in (a, b):
        trainer.fit(x, y, epochs=2, batch_size=10, verbose=0)
    for k, v in a.model.state_dict().items():
        np.testing.assert_allclose(v, b.model.state_dict()[k], rtol=2e-4, atol=2e-4, err_msg=k)


def test_random_layers_draw_anew_each_step_and_from_the_seed():
    model = nn.Sequential(nn.Dense(1, 64, bias=False, init="zeros"), nn.Dropout(0.5), nn.GaussianNoise(1.0))
    x, y = np.ones((8, 1), np.float32), np.zeros(8, int)

    def losses_of(seed):
        trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=1e-30), seed=seed)
        return [trainer.step(x, y) for _ in range(4)]

    assert len(set(losses_of(0)) | set(losses_of(1))) == 8 and losses_of(0) == losses_of(0)
    assert np.abs(model.predict(x)).max() < 1e-20  # in inference neither does anything


def test_random_layers_are_the_kernels():
    """A layer draws what the eager kernel does with the trainer's seed, the number of the step, and stream 16."""
    x = np.random.default_rng(0).standard_normal((9, 33)).astype(np.float32)
    cases = [(nn.Dropout(0.3), fastnn.kernels.dropout_forward, 0.3), (nn.GaussianNoise(0.5), fastnn.kernels.gaussian_noise, 0.5)]
    for layer, kernel, value in cases:
        builder = Builder(9, training=True)
        builder.mark_output(layer.emit(builder, builder.input((33,))))
        executor, out = NativeExecutor(builder.build()), np.empty_like(x)
        executor.set_random(11, 2**32 + 5)  # the generator counts steps modulo 2^32
        executor.run(x, out=out)
        assert (out == kernel(x, value, 11, 5)).all()


def test_layers_of_one_model_draw_apart():
    builder = Builder(3, training=True)
    x = builder.input((4,))
    for layer in (nn.Dropout(0.5), nn.GaussianNoise(1.0), nn.DropConnect(nn.Dense(4, 4))):
        x = layer.emit(builder, x)
    assert len({op.stream for op in builder.ops if op.get("stream")}) == 3


def test_running_statistics():
    r = np.random.default_rng(0)
    x = (r.standard_normal((64, 3)) * [1, 2, 3] + [0, 50, 1e4]).astype(np.float32)
    layer = nn.BatchNorm(3, momentum=0.25)
    model = nn.Sequential(layer)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=1e-30))
    mean, var = np.zeros(3), np.ones(3)
    for i in range(0, 64, 16):
        trainer.step(x[i : i + 16], np.zeros(16, int))
        part = x[i : i + 16].astype(np.float64)
        mean, var = 0.75 * mean + 0.25 * part.mean(axis=0), 0.75 * var + 0.25 * part.var(axis=0, ddof=1)
    np.testing.assert_allclose(layer.running_mean.data, mean, rtol=1e-6)
    np.testing.assert_allclose(layer.running_var.data, var, rtol=1e-5)
    before = model.state_dict()
    trainer.evaluate(x, np.zeros(64, int))
    model.predict(x)
    fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x, np.zeros(64, int))
    assert all((before[k] == v).all() for k, v in model.state_dict().items())
    expected = (x - before["0.running_mean"]) / np.sqrt(before["0.running_var"] + 1e-5)
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("n", [1, 3])
def test_cumulative_statistics(backend, n, team, tmp_path):
    """momentum=None: the mean over all batches, whose number is counted, saved, and there in this case only."""
    x, y = np.random.default_rng(0).normal(5, 2, size=(80, 40)).astype(np.float32), np.zeros(80, int)
    model = nn.Sequential(nn.BatchNorm(40, momentum=None), nn.Dense(40, 2))
    assert [name for name, _ in model.named_buffers()] == [f"0.{k}" for k in ("running_mean", "running_var", "num_batches_tracked")]
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=0.01), backend=backend)
    with team(n):
        trainer.fit(x[:60], y[:60], batch_size=20, shuffle=False, verbose=0)
    parts = [x[i : i + 20].astype(np.float64) for i in range(0, 80, 20)]
    bn = model.layers[0]
    assert bn.num_batches_tracked.data.tolist() == [3]
    np.testing.assert_allclose(bn.running_mean.data, np.mean([p.mean(axis=0) for p in parts[:3]], axis=0), rtol=1e-5)
    np.testing.assert_allclose(bn.running_var.data, np.mean([p.var(axis=0, ddof=1) for p in parts[:3]], axis=0), rtol=1e-5)
    model.save(tmp_path / "m")
    again = nn.load(tmp_path / "m")
    assert again.layers[0].momentum is None
    for m in (model, again):
        t = fastnn.Trainer(m, losses.SoftmaxCrossEntropy(), optim.SGD(m.parameters(), lr=0.01), backend=backend)
        t.step(x[60:], y[60:])
        assert m.layers[0].num_batches_tracked.data.tolist() == [4]
        np.testing.assert_allclose(m.layers[0].running_mean.data, np.mean([p.mean(axis=0) for p in parts], axis=0), rtol=1e-5)
    with pytest.raises(ValueError, match="momentum: expected a number from 0 to 1, or None, got 2"):
        nn.BatchNorm(3, momentum=2)


def test_cumulative_statistics_like_torch():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
    theirs, mine = torch.nn.BatchNorm1d(5, momentum=None), nn.BatchNorm(5, momentum=None)
    model = nn.Sequential(mine)
    trainer = fastnn.Trainer(model, losses.MeanSquaredError(), optim.SGD(model.parameters(), lr=0.0))
    for i in range(0, 64, 16):
        theirs(torch.tensor(x[i : i + 16]))
        trainer.step(x[i : i + 16], np.zeros((16, 5)))
    np.testing.assert_allclose(mine.running_mean.data, theirs.running_mean.numpy(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(mine.running_var.data, theirs.running_var.numpy(), rtol=1e-5)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_freezing(backend):
    """Between steps by the short way and the long one, within fit, and back: what is frozen does not change by a bit, nor does its
    state; the rest goes as if the optimizer had been made of the rest."""
    r = np.random.default_rng(0)
    x, y = r.standard_normal((48, 6)).astype(np.float32), r.integers(0, 3, 48)

    def make(frozen=True):
        fastnn.manual_seed(1)
        model = nn.Sequential(nn.Dense(6, 8), nn.BatchNorm(8), nn.Activation("relu"), nn.Dense(8, 8), nn.Residual(nn.Dense(8, 8)), nn.Dense(8, 3))
        rest = [p for name, p in model.named_parameters() if name.split(".")[0] not in "01"]
        opt = optim.AdamW(model.parameters() if frozen else rest, lr=0.01, ema=0.9)
        return model, fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), opt, backend=backend)

    model, trainer = make()
    twin, other = make(frozen=False)
    model.freeze(0, "1")
    held = [p for name, p in (*model.named_parameters(), *model.named_buffers()) if name[0] in "01"]
    before = [p.data.copy() for p in held]
    for i in range(0, 48, 16):
        assert trainer.step(x[i : i + 16], y[i : i + 16]) == other.step(x[i : i + 16], y[i : i + 16])
    trainer.fit(x, y, batch_size=16, verbose=0)
    other.fit(x, y, batch_size=16, verbose=0)
    assert all((p.data == b).all() for p, b in zip(held, before))
    assert {k: v.tobytes() for k, v in model.state_dict().items()} == {k: v.tobytes() for k, v in twin.state_dict().items()}
    assert all(not s.any() for (p, states, _) in trainer.optimizer.update_tensors() if any(p is h for h in held) for s in states)
    loss, gradients = fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x, y)
    assert [g is None for g in gradients] == [True] * 4 + [False] * 6
    assert fastnn.check_gradients(model, losses.SoftmaxCrossEntropy(), x[:5], y[:5], samples=4)
    for _ in range(3):
        trainer.step(x, y)  # the last by the short way
    model.unfreeze()
    trainer.step(x, y)
    assert all((p.data != b).any() for p, b in zip(held, before))
    now = [p.data.copy() for p in held]
    model.freeze(model.layers[1])
    trainer.step(x, y)
    assert [(p.data == b).all() for p, b in zip(held, now)] == [False, False, True, True, True, True]
    assert all(g is not None for g in fastnn.value_and_grad(twin, losses.SoftmaxCrossEntropy(), x, y)[1])

    class Freeze(fastnn.callbacks.Callback):
        def on_step_end(self, step, logs):
            model.freeze()
            model.unfreeze("5.bias")
            held[:] = [p for p in model.parameters()[:-1]]
            now[:] = [p.data.copy() for p in held]
            self.on_step_end = lambda *more: None

    trainer.fit(x, y, batch_size=16, epochs=2, callbacks=[Freeze()], verbose=0)
    assert all((p.data == b).all() for p, b in zip(held, now))
    model.freeze()
    with pytest.raises(ValueError, match="optimizer: expected at least one parameter that is not frozen, got none"):
        trainer.step(x, y)
    model.unfreeze()
    trainer.step(x, y)


def test_a_frozen_normalisation_takes_a_single_row():
    model = nn.Sequential(nn.BatchNorm(3), nn.Dense(3, 1))
    trainer = fastnn.Trainer(model, losses.MeanSquaredError(), optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="expected at least 2 rows"):
        trainer.step(np.ones((1, 3)), [1.0])
    model.freeze(0)
    trainer.step(np.ones((1, 3)), [1.0])
    model.unfreeze(0)
    with pytest.raises(ValueError, match="expected at least 2 rows"):
        trainer.step(np.ones((1, 3)), [1.0])


def test_what_can_be_frozen():
    inner = nn.Dense(4, 4)
    model = nn.Sequential(nn.Dense(2, 4), nn.Residual(inner, nn.BatchNorm(4, affine=False)), nn.Dense(4, 1))
    frozen = lambda: [name for name, p in (*model.named_parameters(), *model.named_buffers()) if p.frozen]
    for which, expected in (
        ((-1,), ["2.weight", "2.bias"]),
        (("1.0",), ["1.0.weight", "1.0.bias"]),
        ((inner, "0.bias"), ["0.bias", "1.0.weight", "1.0.bias"]),
        (("1",), ["1.0.weight", "1.0.bias", "1.1.running_mean", "1.1.running_var"]),
    ):
        model.freeze(*which)
        assert frozen() == expected
        assert [p.frozen for p in pickle.loads(pickle.dumps(model)).parameters()] == [p.frozen for p in model.parameters()]
        model.unfreeze(*which)
        assert not frozen()
    model.freeze()
    assert len(frozen()) == 8
    model.unfreeze()
    for which, error, message in (
        (3, ValueError, "expected a number below 3, got 3"),
        ("3", ValueError, "expected the name of a layer or of a parameter, 0.weight, .*, got '3'"),
        ("1.1.running_mean", ValueError, "expected the name of a layer or of a parameter"),
        ("", ValueError, "expected the name of a layer"),
        (nn.Dense(2, 2), ValueError, "expected a layer of this one, got another"),
        (1.5, TypeError, "expected layers, their numbers or names, got 1.5"),
    ):
        with pytest.raises(error, match=f"freeze: {message}"):
            model.freeze(0, which)
        assert not frozen()


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_statistics_taken_anew(backend, monkeypatch):
    r = np.random.default_rng(0)
    x, y = r.normal(2, 3, size=(101, 4)).astype(np.float32), r.integers(0, 2, 101)
    fastnn.manual_seed(0)
    model = nn.Sequential(nn.Dense(4, 6), nn.BatchNorm(6), nn.Dense(6, 6), nn.BatchNorm(6, affine=False), nn.Dense(6, 2))
    opt = optim.Adam(model.parameters(), lr=0.1, ema=0.5)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), opt, backend=backend)
    trainer.fit(x, y, verbose=0)
    monkeypatch.setattr(fastnn.training.engine, "SLICE", 1e-9)  # several native calls
    model.layers[1].running_mean.data[0] = np.nan
    weights = {k: v for k, v in model.state_dict().items() if "running" not in k}
    with opt.averaged():
        trainer.update_bn(x, batch_size=20)
        h = x[:100] @ model.layers[0].weight.data + model.layers[0].bias.data
        parts = h.reshape(5, 20, 6).astype(np.float64)  # the last row would be a batch by itself
    first, second = model.layers[1], model.layers[3]
    np.testing.assert_allclose(first.running_mean.data, parts.mean(axis=(0, 1)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(first.running_var.data, parts.var(axis=1, ddof=1).mean(axis=0), rtol=1e-4)
    assert all((model.state_dict()[k] == v).all() for k, v in weights.items())
    assert trainer.steps_done == 4
    found = [second.running_mean.data.copy(), second.running_var.data.copy()]
    model.freeze(first)
    kept = first.running_mean.data.copy()
    trainer.update_bn(x)
    assert (first.running_mean.data == kept).all() and (second.running_mean.data != found[0]).any()
    for bad, error in (((x[:, :2],), ValueError), ((x[:1],), ValueError), ((x, 1), ValueError), ((x, 2.5), TypeError)):
        with pytest.raises(error):
            trainer.update_bn(*bad)
    plain = nn.Sequential(nn.Dense(4, 2))
    fastnn.Trainer(plain, losses.SoftmaxCrossEntropy(), optim.SGD(plain.parameters()), backend=backend).update_bn(x)


@pytest.mark.parametrize("p", [0.0, 0.25, 1.0])
def test_stochastic_depth(p):
    """Rows stay or go as a whole, the others grow so that the mean is the same; nothing in inference."""
    n = 4000
    block = nn.Residual(nn.Dense(3, 3, init="identity"), stochastic_depth=p)
    model = nn.Sequential(block)
    builder = Builder(n, training=True)
    builder.mark_output(model.emit(builder, builder.input((3,))))
    executor, x, draws = NativeExecutor(builder.build()), np.ones((n, 3), np.float32), []
    for step in range(2):
        out = np.zeros((n, 3), np.float32)
        executor.set_random(5, step)
        executor.run(x, out=out)
        grown = 1 / (1 - round(p * 65536) / 65536) if p < 1 else 0.0
        assert all(v == 0 or abs(v - grown) < 1e-6 for v in np.unique(out - 1))
        assert (out == out[:, :1]).all()
        assert abs((out[:, 0] == 1).mean() - p) < 0.03
        draws.append(out[:, 0].tobytes())
    assert (draws[0] != draws[1]) == (0 < p < 1)
    assert (model.predict(x) == 2).all()
    assert ("stochastic_depth" in repr(model)) == ("stochastic_depth" in str(model.architecture())) == (p > 0)


def test_stochastic_depth_in_files(tmp_path):
    model = nn.Sequential(nn.Dense(2, 3), nn.Residual(nn.Dense(3, 3), stochastic_depth=0.25))
    model.save(tmp_path / "m")
    assert nn.load(tmp_path / "m")[1].stochastic_depth == 0.25
    assert repr(nn.load(tmp_path / "m")) == repr(model)
    assert np.allclose(model.fold().predict(np.ones((4, 2))), model.predict(np.ones((4, 2))))
    with pytest.raises(ValueError, match="stochastic_depth: expected a number from 0 to 1, got 1.5"):
        nn.Residual(nn.Dense(3, 3), stochastic_depth=1.5)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("n", [1, 3])
def test_a_refused_step_changes_nothing(n, backend):
    threads(n)
    trainer, x, y = training("batchnorm before", backend=backend)
    trainer.step(x, y)
    before, bad = state(trainer), y.copy()
    bad[-1] = CLASSES
    with pytest.raises(ValueError, match="expected labels from 0 to 4, got 5 in row 36"):
        trainer.step(x, bad)
    x[3, 3] = np.nan
    with pytest.raises(ValueError, match="got NaN or infinity in row 3"):
        trainer.fit(x, y, batch_size=10, check_finite=True, verbose=0)
    assert state(trainer) == before


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_step_that_is_left_out_changes_nothing(backend):
    model, x, y = made("batchnorm before")
    optimizer = optim.Adam(model.parameters(), lr=0.01, skip_nonfinite=True)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optimizer, backend=backend)
    for n in (1, 3):
        threads(n)
        trainer.step(x, y)
        before = state(trainer)
        trainer.step(np.full_like(x, np.inf), y)
        assert state(trainer) == before
    trainer.step(x, y)
    assert state(trainer) != before


def test_a_loss_in_python_draws_anew_each_step():
    """A step that stops for Python in its middle draws the same in both halves, and another time in the next step."""
    def loss(outputs, targets, weights=None):
        shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        p = shifted / shifted.sum(axis=1, keepdims=True)
        rows = np.arange(len(p))
        value = -np.log(p[rows, targets.astype(int).ravel()]).mean()
        p[rows, targets.astype(int).ravel()] -= 1
        return float(value), (p / len(p)).astype(np.float32)

    found = []
    for used in (losses.SoftmaxCrossEntropy(), losses.Custom(loss)):
        model, x, y = made("dropout")
        trainer = fastnn.Trainer(model, used, optim.SGD(model.parameters(), lr=0.1), seed=3)
        history = trainer.fit(x, y, epochs=3, batch_size=10, shuffle=False, verbose=0)
        found.append((history["loss"], model.state_dict()))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    for k, v in found[0][1].items():
        np.testing.assert_allclose(v, found[1][1][k], rtol=1e-4, atol=1e-6)


def test_a_batch_of_one_is_refused_before_training_starts():
    trainer, x, y = training("batchnorm before")
    before = state(trainer)
    with pytest.raises(ValueError, match="^the last batch: expected at least 2 rows .* got 1; drop_last=True leaves it out"):
        trainer.fit(x, y, batch_size=12, verbose=0)
    with pytest.raises(ValueError, match="^batch_size: expected at least 2 rows"):
        trainer.fit(x, y, batch_size=1, verbose=0)
    for rows in (40, 1):  # with and without a plan that fits
        with pytest.raises(ValueError, match="^xb: expected at least 2 rows"):
            trainer.step(x[:1], y[:1])
        if rows == 40:
            assert state(trainer) == before
            trainer.step(x, y)
    with pytest.raises(ValueError, match="^x: expected at least 2 rows"):
        fastnn.value_and_grad(trainer.model, losses.SoftmaxCrossEntropy(), x[:1], y[:1])
    trainer.fit(x, y, batch_size=12, drop_last=True, verbose=0)
    trainer.model.predict(x[:1])
    trainer.evaluate(x[:1], y[:1])


def test_value_and_grad_modes():
    model, x, y = made("dropout")
    loss = losses.SoftmaxCrossEntropy()
    a, b = (fastnn.value_and_grad(model, loss, x, y, seed=7, step=3) for _ in range(2))
    assert a[0] == b[0] == step(NativeExecutor(gradient_plan(model)), x, y)[0]
    assert fastnn.value_and_grad(model, loss, x, y, seed=7, step=4)[0] != a[0]
    plain = nn.Sequential(*[layer for layer in model.layers if not isinstance(layer, nn.Dropout)])
    assert fastnn.value_and_grad(model, loss, x, y, training=False)[0] == fastnn.value_and_grad(plain, loss, x, y)[0]
    with pytest.raises(ValueError, match="^training: expected True"):
        fastnn.value_and_grad(made("batchnorm before")[0], loss, x, y, training=False)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_dropout_of_nothing_and_of_all(p):
    model = nn.Sequential(nn.Dense(3, 4), nn.Dropout(p))
    loss, gradients = fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), np.ones((2, 3)), [0, 1])
    if p:
        assert loss == pytest.approx(np.log(4)) and not any(g.any() for g in gradients)
    else:
        assert loss == fastnn.value_and_grad(nn.Sequential(model.layers[0]), losses.SoftmaxCrossEntropy(), np.ones((2, 3)), [0, 1])[0]


@pytest.mark.parametrize("name", MODELS)
def test_inference_in_parts(name):
    model, x, _ = made(name)
    whole = model.predict(x)
    assert (np.concatenate([model.predict(x[i : i + 5]) for i in range(0, ROWS, 5)]) == whole).all()
    plain = ReferenceExecutor(model.plan(ROWS, fused=False), np.float64)
    out = np.empty(whole.shape)
    plain.run(x.astype(np.float64), out=out)
    np.testing.assert_allclose(whole, out, rtol=1e-4, atol=1e-5)


def test_frozen_parameters():
    """Of a model only the first layer is trained: gradients flow through all others and change nothing in them."""
    for name in MODELS:
        model, x, y = made(name)
        mine = model.parameters()[:1]
        trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(mine, lr=0.1))
        before = {k: p.data.copy() for k, p in model.named_parameters()}
        trainer.step(x, y)
        changed = [k for k, p in model.named_parameters() if (p.data != before[k]).any()]
        assert changed == [model.named_parameters()[0][0]], name


# ---- structure ----


def test_names():
    model = MODELS["residual"]()
    names = ["0.weight", "0.bias", "1.1.weight", "1.1.bias", "2.0.weight", "2.0.bias", "2.1.weight", "2.1.bias", "2.2.weight",
             "2.2.bias", "3.0.0.0.weight", "3.0.0.0.bias", "4.weight", "4.bias"]  # fmt: skip
    assert [k for k, _ in model.named_parameters()] == names == [p.name for p in model.parameters()] == list(model.state_dict())
    model = MODELS["batchnorm before"]()
    assert [k for k, _ in model.named_buffers()] == ["1.running_mean", "1.running_var"]
    assert set(model.state_dict()) == {k for k, _ in model.named_parameters() + model.named_buffers()}
    tied = tied_often()
    assert [k for k, _ in tied.named_parameters()] == ["0.weight", "0.bias", "1.bias", "3.0.bias", "4.weight", "4.bias"]


def test_the_optimizer_takes_no_running_statistics():
    model = MODELS["batchnorm before"]()
    assert not {id(p) for p in model.parameters()} & {id(p) for _, p in model.named_buffers()}


@pytest.mark.parametrize("make, error, message", [
    (lambda: nn.BatchNorm(0), ValueError, "^features: expected"),
    (lambda: nn.BatchNorm(3, momentum=1.5), ValueError, "^momentum: expected a number from 0 to 1, or None, got 1.5"),
    (lambda: nn.BatchNorm(3, momentum="0.1"), TypeError, "^momentum: expected a number, got '0.1'"),
    (lambda: nn.BatchNorm(3, eps=-1), ValueError, "^eps: expected a number >= 0"),
    (lambda: nn.LayerNorm(3, eps=float("nan")), ValueError, "^eps: expected"),
    (lambda: nn.RMSNorm("3"), TypeError, "^features: expected an integer"),
    (lambda: nn.Dropout(-0.1), ValueError, "^p: expected a number from 0 to 1, got -0.1"),
    (lambda: nn.Dropout("0.1"), TypeError, "^p: expected a number"),
    (lambda: nn.GaussianNoise(float("inf")), ValueError, "^std: expected"),
    (lambda: nn.DropConnect(3), TypeError, "^dense: expected a Dense layer, got int"),
    (lambda: nn.DropConnect(nn.Dense(2, 2), 2), ValueError, "^p: expected"),
    (lambda: nn.Maxout(2, 2, 0), ValueError, "^pieces: expected"),
    (lambda: nn.Tied(nn.Maxout(2, 2)), TypeError, "^dense: expected a Dense layer, got Maxout"),
    (lambda: nn.Residual(), ValueError, "^layers: expected at least one"),
    (lambda: nn.Residual(nn.Dense(2, 3)), ValueError, "^layers: expected as many features out as in, got 2 in and 3 out"),
    (lambda: nn.Sequential(nn.Dense(2, 3), nn.BatchNorm(4)), ValueError, "^layer 1: BatchNorm.*: expected 4 input features, got 3"),
    (lambda: nn.Sequential(nn.Dense(2, 3), nn.Residual(nn.Dense(4, 4))), ValueError, r"^layer 1: Residual\([\s\S]*expected 4 input features, got 3"),
    (lambda: nn.Sequential(nn.Dense(2, 2), nn.Sequential(nn.Rescaling(2), nn.Dense(2, 2))), ValueError, "^layer 1: Rescaling is only"),
    (lambda: nn.Sequential(d := nn.Dense(2, 2), nn.Residual(d)), TypeError, "^layer 1: expected a layer of its own"),
    (lambda: nn.Sequential(nn.Dropout(0.5), nn.Residual(nn.Dropout(0.1))), ValueError, "^layers: expected at least one Dense"),
])  # fmt: skip
def test_layers_that_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_weights_that_are_dropped_and_shared():
    dense = nn.Dense(4, 4)
    model = nn.Sequential(nn.DropConnect(dense), nn.Tied(dense), nn.Dense(4, 2))
    with pytest.raises(ValueError, match="0.dense.weight: expected weights that no layer behind their DropConnect uses"):
        fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), np.ones((2, 4)), [0, 1])
    assert model.predict(np.ones((2, 4))).shape == (2, 2)


# ---- copies and files ----


@pytest.mark.parametrize("name", MODELS)
def test_copies_and_files(name, tmp_path):
    trainer, x, y = training(name)
    trainer.fit(x, y, batch_size=10, verbose=0)
    model, path = trainer.model, tmp_path / "model"
    model.save(path)
    before = state(trainer)
    for again in (nn.load(path), pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        assert repr(again) == repr(model)
        assert {k: v.tobytes() for k, v in again.state_dict().items()} == before
        assert (again.predict(x) == model.predict(x)).all()
        twin = fastnn.Trainer(again, losses.SoftmaxCrossEntropy(), optim.SGD(again.parameters(), lr=0.1))
        twin.step(x, y)  # sharing is kept, memory is not
        assert state(trainer) == before != state(twin)
        assert all(p.data.ctypes.data % 64 == 0 for p in again.parameters())
    assert path.read_bytes() == (nn.load(path).save(path), path.read_bytes())[1]


def test_a_tied_layer_goes_to_files_behind_its_dense(tmp_path):
    dense = nn.Dense(4, 3)
    for model in (nn.Sequential(nn.Tied(dense), nn.Dense(4, 4)), nn.Sequential(nn.Tied(dense), dense)):
        with pytest.raises(ValueError, match="layer 0: expected the Dense layer of a Tied one before it"):
            model.save(tmp_path / "model")


class Twice(nn.Layer):
    """A layer of a user's own."""

    def __init__(self, features):
        self.in_features = features
        self.scale = nn.Dense(features, features)

    def children(self):
        return [("scale", self.scale)]

    def config(self):
        return {"features": self.in_features}

    def emit(self, builder, x):
        return builder.add(x, self.scale.emit(builder, x))


def test_layers_of_ones_own(tmp_path):
    model, path = nn.Sequential(nn.Dense(4, 3), Twice(3)), tmp_path / "model"
    assert [k for k, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.scale.weight", "1.scale.bias"]
    model.save(path)
    with pytest.raises(ValueError, match=r"expected one of .*, got .*Twice.*; classes of your own go into load\(path, layers="):
        nn.load(path)
    again, x = nn.load(path, layers=[Twice]), np.ones((2, 4))
    assert (again.predict(x) == model.predict(x)).all() and (copy.deepcopy(model).predict(x) == model.predict(x)).all()
    with pytest.raises(TypeError, match="layers: expected subclasses of nn.Layer"):
        nn.load(path, layers=[int])


def test_files_that_are_refused(tmp_path):
    """Architectures changed in one place: an error that says so, and no allocation for what the file lacks."""
    path = tmp_path / "model"
    nn.Sequential(
        nn.Dense(4, 3), nn.Residual(nn.BatchNorm(3)), nn.LayerNorm(3), nn.Maxout(3, 2, 2), nn.DropConnect(nn.Dense(2, 3), 0.5),
        d := nn.Dense(3, 2), nn.Tied(d),
    ).save(path)  # fmt: skip
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    huge = 2**31 - 1
    changes = [
        (1, {"layers": None}), (1, {"layers": [{"class": "BatchNorm", "features": huge}]}), (1, {"layers": [{"class": "Dense"}]}),
        (2, {"features": huge}), (2, {"features": -1}), (2, {"affine": False}), (3, {"pieces": huge}), (3, {"pieces": 0}),
        (3, {"pieces": "2"}), (4, {"dense": None}), (4, {"dense": {"class": "Dense", "in_features": huge, "out_features": huge}}),
        (4, {"dense": {"class": "Maxout", "in_features": 2, "out_features": 3, "pieces": 1}}), (4, {"p": 2}), (6, {"dense": "0.5"}),
        (6, {"dense": "1"}), (6, {"dense": 5}), (6, {"dense": "6"}), (6, {"transpose": False}), (6, {"class": "Twice"}),
    ]  # fmt: skip
    for i, change in changes:
        architecture = json.loads(header["__metadata__"]["architecture"])
        architecture["layers"][i] |= change
        changed = {**header, "__metadata__": {**header["__metadata__"], "architecture": json.dumps(architecture)}}
        text = json.dumps(changed).encode()
        text += b" " * (-len(text) % 8)
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
        with pytest.raises(ValueError, match="expected a model file of fastnn"):
            nn.load(path)
    deep = {"class": "Sequential", "layers": []}
    for _ in range(3000):
        deep = {"class": "Sequential", "layers": [deep]}
    import sys

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        text = json.dumps({"layers": [deep]})
    finally:
        sys.setrecursionlimit(limit)
    changed = {**header, "__metadata__": {**header["__metadata__"], "architecture": text}}
    text = json.dumps(changed).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    with pytest.raises(ValueError, match="expected a model file of fastnn"):
        nn.load(path)


def test_a_layer_of_ones_own_asks_for_the_rows_of_what_is_in_it():
    class Wrapped(nn.Layer):
        in_features = 4

        def __init__(self):
            self.inner = nn.Sequential(nn.BatchNorm(4), nn.Activation("tanh"))

        def children(self):
            return [("inner", self.inner)]

        def emit(self, builder, x):
            return builder.layer(self.inner, x)

    model = nn.Sequential(Wrapped(), nn.Dense(4, 2))
    assert model.least_rows == 2 and nn.Sequential(nn.Residual(nn.Dense(4, 4))).least_rows == 1
    trainer = fastnn.Trainer(model, losses.MeanSquaredError(), optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="^xb: expected at least 2 rows"):
        trainer.step(np.ones((1, 4)), np.ones((1, 2)))


@pytest.mark.parametrize("init", [np.nan, np.inf, 1e300])
def test_prelu_starts_from_a_finite_slope(init):
    with pytest.raises(ValueError, match="^init: expected a number, finite in float32"):
        nn.PReLU(1, init=init)
