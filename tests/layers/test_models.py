"""Every model of MODELS: trained by plans of both kinds and schedules, on each instruction set, with one thread and several; gradients; PyTorch."""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim
from fastnn.executors import NativeExecutor, ReferenceExecutor
from fastnn.plan import Builder

from layer_models import gradient_plan, made, MODELS, step, threads

ISAS = fastnn.available_isas()


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


spec = importlib.util.spec_from_file_location("golden_layers", Path(__file__).parents[1] / "golden" / "layers.py")
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
