"""Layers in training and in inference."""

import pickle

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim
from fastnn.executors import NativeExecutor, ReferenceExecutor
from fastnn.plan import Builder

from layer_models import CLASSES, frozen, gradient_plan, made, MODELS, ROWS, state, step, threads, training


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
