"""Models that compute in float64: gradients, trainings beside PyTorch's and the reference, the same bits however they are run, how
layers come to a dtype, files, and what is refused.

The trainings are recorded in golden/double_trainings.npz.
"""

import copy
import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import kernels, losses, nn, optim, reference, regularizers
from fastnn.plan import Builder

from loss_cases import targets_of

_spec = importlib.util.spec_from_file_location("make_double_trainings", Path(__file__).parent / "golden" / "make_double_trainings.py")
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

F32, F64 = np.float32, np.float64

# Layers that take vectors of 5 and give vectors of 6.
LAYERS = {
    **{name or "identity": lambda name=name: [nn.Dense(5, 6, activation=name)] for name in (
        None, "relu", "leaky_relu", "elu", "selu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh", "softplus", "mish", "prelu")},
    "batch norm": lambda: [nn.Dense(5, 6), nn.BatchNorm(6), nn.Activation("tanh")],
    "layer norm": lambda: [nn.Dense(5, 6), nn.LayerNorm(6)],
    "rms norm": lambda: [nn.RMSNorm(5), nn.Dense(5, 6, activation="sigmoid")],
    "dropout": lambda: [nn.Dense(5, 6, activation="tanh"), nn.Dropout(0.4)],
    "drop connect": lambda: [nn.DropConnect(nn.Dense(5, 6, penalty=regularizers.L2(0.1)), 0.4), nn.GaussianNoise(0.3)],
    "maxout": lambda: [nn.Maxout(5, 6, pieces=3, penalty=regularizers.ElasticNet(0.1, 0.2))],
    "residual": lambda: [nn.Residual(nn.BatchNorm(5), nn.Dense(5, 5, activation="tanh"), stochastic_depth=0.3), nn.Dense(5, 6)],
    "softmax": lambda: [nn.Dense(5, 6), nn.Softmax()],
    "log softmax": lambda: [nn.Dense(5, 6), nn.LogSoftmax()],
    "rescaling": lambda: [nn.Rescaling([0.5, 2.0, 1.0, 3.0, 1.5], 0.25), nn.Dense(5, 6)],
    "scale": lambda: [nn.Scale(5), nn.PiecewiseLinear([[-2, -0.5, 1, 3]] * 5), nn.Dense(15, 6)],
    "sequences": lambda: [nn.Reshape(5, 1), nn.Conv1d(1, 3, 3, activation="tanh"), nn.Flatten(), nn.Dense(9, 6)],
    "tied": lambda: (lambda d: [d, nn.Activation("tanh"), nn.Tied(d), nn.Dense(5, 6)])(nn.Dense(5, 4)),
}  # fmt: skip

# Layers that take images of 6 x 6 pixels and 2 channels.
IMAGES = {
    "convolution": lambda: [nn.Conv2d(2, 4, 3, stride=2, padding=1, activation="tanh")],
    "groups, dilation": lambda: [nn.Conv2d(2, 4, 3, padding="same", dilation=2, groups=2, activation="silu")],
    "of one pixel": lambda: [nn.Conv2d(2, 3, 1), nn.BatchNorm(3)],
    "max pooling": lambda: [nn.Conv2d(2, 4, 3), nn.MaxPool2d(2)],
    "average pooling": lambda: [nn.Conv2d(2, 4, 3, padding=1), nn.AvgPool2d(3, stride=2, padding=1)],
    "global": lambda: [nn.Conv2d(2, 20, 3), nn.GlobalAvgPool2d()],
}

LOSSES = {
    "mse": (losses.MeanSquaredError(), "real"),
    "mae sum": (losses.MeanAbsoluteError("sum"), "real"),
    "huber": (losses.Huber(0.5), "real"),
    "poisson": (losses.Poisson(full=True), "counts"),
    "cross entropy": (losses.SoftmaxCrossEntropy(0.2, class_weight=[0.1, 0.7, 1.3]), "labels"),
    "probabilities": (losses.SoftmaxCrossEntropy(), "probabilities"),
    "binary": (losses.BinaryCrossEntropy(pos_weight=0.3, class_weight=[0.7, 1.1]), "answers"),
    "quantile": (losses.Quantile(0.3), "real"),
    "hinge": (losses.BinaryHinge(0.5), "answers"),
    "multiclass hinge": (losses.MulticlassHinge(2.0, True), "labels"),
    "custom": (losses.Custom(lambda z, t: (float(((z - t) ** 2).mean()), 2 * (z - t) / z.size)), "real"),
}


def vectors(name, dtype="float64"):
    fastnn.manual_seed(1)
    return stirred(nn.Sequential(*LAYERS[name](), nn.Dense(6, 3), dtype=dtype))


def images(name, dtype="float64"):
    fastnn.manual_seed(1)
    return stirred(nn.Sequential(nn.Input(6, 6, 2), *IMAGES[name](), nn.Flatten(), nn.Dense(None, 3), dtype=dtype))


def stirred(model):
    for p in model.parameters():
        p.data[...] += 0.1 * np.random.default_rng(p.size).normal(size=p.shape)
    return model


def tables(dtype="float64"):
    fastnn.manual_seed(1)
    return nn.Sequential(nn.TabularEmbedding(2, (4, 7), dim=(2, 3), unknown=True), nn.Dense(7, 3), dtype=dtype)


def bits(model):
    return {name: a.tobytes() for name, a in model.state_dict().items()}


def agree_with_differences(model, loss, x, y, **more):
    """Gradients along three random directions of each parameter, against differences of fourth order, to 1e-8 of the larger."""
    _, gradients = fastnn.value_and_grad(model, loss, x, y, seed=3, **more)
    rng, h = np.random.default_rng(5), 2.0**-12
    for p, g in zip(model.parameters(), gradients):
        assert g.dtype == F64
        start = p.data.copy()
        for _ in range(3):
            d = rng.normal(size=p.shape)
            d /= np.linalg.norm(d)
            at = {}
            for k in (-2, -1, 1, 2):
                p.data = start + k * h * d
                at[k] = fastnn.value_and_grad(model, loss, x, y, seed=3, **more)[0]
            p.data = start
            numeric = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * h)
            assert abs(np.vdot(g, d) - numeric) <= 1e-8 * max(np.linalg.norm(g), 1e-2), p.name


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_layers(name):
    rng = np.random.default_rng(1)
    agree_with_differences(vectors(name), losses.SoftmaxCrossEntropy(), rng.normal(size=(7, 5)), rng.integers(0, 3, 7))


@pytest.mark.parametrize("name", IMAGES)
def test_gradients_of_images(name):
    rng = np.random.default_rng(1)
    agree_with_differences(images(name), losses.SoftmaxCrossEntropy(), rng.normal(size=(5, 6, 6, 2)), rng.integers(0, 3, 5))


def test_gradients_of_tables():
    rng = np.random.default_rng(1)
    x = np.column_stack([rng.normal(size=(9, 2)), rng.integers(0, 4, 9), rng.integers(-1, 9, 9)])
    agree_with_differences(tables(), losses.SoftmaxCrossEntropy(), x, rng.integers(0, 3, 9))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_losses(name, weighted):
    loss, what = LOSSES[name]
    if weighted and name == "custom":
        pytest.skip("it takes none")
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(7, 5)), targets_of(what, rng, 7, 3)
    more = {"sample_weight": rng.random(7), "penalty": regularizers.ElasticNet(0.05, 0.1)} if weighted else {}
    agree_with_differences(vectors("tanh"), loss, x, y, **more)


def test_check_gradients_is_of_the_native_kernels(monkeypatch):
    """With a tolerance that float32 would not hold; and nothing moves."""
    model, rng = vectors("gelu"), np.random.default_rng(1)
    monkeypatch.delattr("fastnn.training.gradients.ReferenceExecutor")
    before = bits(model)
    result = fastnn.check_gradients(model, losses.SoftmaxCrossEntropy(), rng.normal(size=(7, 5)), rng.integers(0, 3, 7), tolerance=1e-6)
    assert result, str(result)
    assert bits(model) == before


# ---- whole trainings ----


def made(name):
    """A case of PyTorch's as (the Parameters of its weights, a Trainer)."""
    layers, loss, optimizer, settings = golden.CASES[name]
    kinds = {
        "dense": nn.Dense, "conv": nn.Conv2d, "batchnorm": nn.BatchNorm, "layernorm": nn.LayerNorm, "maxpool": nn.MaxPool2d,
    }  # fmt: skip
    found = [nn.Input(6, 6, 2)] if layers[0][0] == "conv" else []
    for e in layers:
        found.append(nn.Flatten() if e == "flatten" else nn.Activation(e) if isinstance(e, str) else kinds[e[0]](*e[1:]))
    model = nn.Sequential(*found, dtype="float64")
    weights = [p for p in model.parameters() if p.data.ndim > 1]
    for p, w in zip(weights, golden.weights(name)):
        p.data = w
    measure = {"squares": losses.MeanSquaredError, "classes": losses.SoftmaxCrossEntropy, "questions": losses.BinaryCrossEntropy}
    return weights, fastnn.Trainer(model, measure[loss](), getattr(optim, optimizer)(model.parameters(), **settings), seed=0)


@pytest.mark.parametrize("number", range(len(golden.CASES)))
def test_trainings_are_pytorchs(number):
    name = list(golden.CASES)[number]
    weights, trainer = made(name)
    x, y = golden.data(name)
    found = [trainer.step(x[s % 10], y[s % 10]) for s in range(golden.STEPS)]
    with np.load(golden.FILE) as file:
        assert np.abs(np.array(found) - file[f"{number} losses"]).max() <= 1e-11
        for i, p in enumerate(weights):
            assert np.abs(p.data - file[f"{number} {i}"]).max() <= 1e-11


OPTIMIZERS = {
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "lamb": lambda p: optim.LAMB(p, lr=0.01),
    "everything": lambda p: optim.AdamW(p, lr=0.01, max_norm=1.0, ema=0.9, l1=0.001, clip_value=0.5),
}


def trained(model, optimizer, backend="native", fused=True, clip_norm=0.5):
    """The losses of eight steps, which change the model."""
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), OPTIMIZERS[optimizer](model.parameters()), seed=4, backend=backend,
                             clip_norm=clip_norm)
    plan = trainer.plan
    trainer.plan = lambda *args, **more: plan(*args, **{**more, "fused": fused})
    rng = np.random.default_rng(7)
    images = len(model.in_shape) > 1
    x, y = rng.normal(size=(8, 19, *((6, 6, 2) if images else (5,)))), rng.integers(0, 3, (8, 19))
    return [trainer.step(*batch) for batch in zip(x, y)]


MODELS = {
    "dense": lambda: stirred(nn.Sequential(*LAYERS["gelu"](), *LAYERS["batch norm"]()[1:], nn.Dropout(0.2), nn.Dense(6, 3), dtype="float64")),
    "maxout": lambda: vectors("maxout"),
    "prelu": lambda: vectors("prelu"),
    "images": lambda: images("groups, dilation"),
    "pooled": lambda: images("max pooling"),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_the_same_bits_however_and_those_of_the_reference(name, optimizer, team):
    fastnn.manual_seed(3)
    model = MODELS[name]()
    clip = None if optimizer == "momentum" else 0.5  # without, updates are fused
    first = copy.deepcopy(model)
    values = trained(first, optimizer, clip_norm=clip)
    for threads, fused in ((1, False), (2, True), (3, True), (3, False)):
        with team(threads):
            other = copy.deepcopy(model)
            assert trained(other, optimizer, fused=fused, clip_norm=clip) == values
            assert bits(other) == bits(first), (threads, fused)
    twin = copy.deepcopy(model)
    assert np.allclose(trained(twin, optimizer, backend="reference", clip_norm=clip), values, rtol=1e-12, atol=0)
    for key, a in twin.state_dict().items():
        assert a.dtype == F64
        assert np.abs(a - first.state_dict()[key]).max() <= 1e-11, key


def test_isas_give_the_same_bits():
    found, before = {}, fastnn.get_isa()
    for isa in fastnn.available_isas()[1:]:  # the generic one may round otherwise
        fastnn.use_isa(isa)
        model = MODELS["images"]()
        found[isa] = trained(model, "adam"), bits(model)
    fastnn.use_isa(before)
    assert all(value == next(iter(found.values())) for value in found.values())


def test_it_is_more_precise_than_float32():
    x, y = np.random.default_rng(1).normal(size=(30, 5)), np.arange(30) % 3
    models = {d: vectors("tanh", d) for d in ("float32", "float64")}
    for model in models.values():
        model.load_state_dict({k: np.float32(a) for k, a in models["float32"].state_dict().items()})
    outputs = {d: m.predict(x) for d, m in models.items()}
    assert {d: a.dtype for d, a in outputs.items()} == {"float32": F32, "float64": F64}
    off = np.abs(outputs["float32"] - outputs["float64"]).max()
    assert 1e-9 < off < 1e-5
    w = [p.data for p in models["float64"].parameters()]
    assert np.abs(np.tanh(x @ w[0] + w[1]) @ w[2] + w[3] - outputs["float64"]).max() < 1e-14
    for method in ("predict", "predict_proba"):
        whole = getattr(models["float64"], method)(x)
        assert whole.dtype == F64
        assert (getattr(models["float64"], method)(x, batch_size=7) == whole).all()
        assert (getattr(models["float64"], method)(x[3:4])[0] == whole[3]).all()
    assert models["float64"].activations(x)["0"].dtype == F64
    assert fastnn.Trainer(models["float64"], losses.SoftmaxCrossEntropy(), optim.SGD(models["float64"].parameters(), lr=0.1)).fit(
        x, y, epochs=2, validation_data=(x, y), verbose=0)["val_loss"][-1] < 2


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i4", "u1", "?"])
def test_data_of_any_dtype_is_converted(kind):
    x = np.random.default_rng(1).integers(0, 2, (9, 5)).astype(kind)
    model = vectors("tanh")
    assert (model.predict(x) == model.predict(x.astype(F64))).all()
    assert (model.predict(x[::2]) == model.predict(x)[::2]).all()


def test_lbfgs():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 5)), rng.normal(size=(40, 3))
    model = stirred(nn.Sequential(nn.Dense(5, 3), dtype="float64"))
    trainer = fastnn.Trainer(model, losses.MeanSquaredError(), optim.SGD(model.parameters(), lr=0.1))
    trainer.fit_lbfgs(x, y, max_iter=100, tol=1e-12, verbose=0)
    ones = np.column_stack([x, np.ones(40)])
    best = np.linalg.lstsq(ones, y, rcond=None)[0]
    assert np.abs(model.predict(x) - ones @ best).max() < 1e-8


# ---- how a dtype comes about ----


def test_layers_are_converted_and_stay_who_they_are():
    fastnn.manual_seed(1)
    layer = nn.Dense(4, 3)
    p, drawn = layer.weight, layer.weight.data.copy()
    model = nn.Sequential(layer, nn.BatchNorm(3), dtype="float64")
    assert model.dtype == F64 and layer.weight is p is model.parameters()[0]
    assert p.dtype == F64 and (p.data == drawn).all() and p.data.ctypes.data % 64 == 0
    assert {q.dtype for q in (*model.parameters(), *(b for _, b in model.named_buffers()))} == {np.dtype(F64)}
    assert nn.Sequential(layer, nn.Dense(3, 2)).dtype == F64  # that of the model in which it stands
    assert model[:1].dtype == copy.deepcopy(model).dtype == pickle.loads(pickle.dumps(model)).dtype == F64
    assert nn.Sequential(copy.deepcopy(nn.Sequential(nn.Dense(4, 3), dtype="float64")), nn.Dense(3, 2)).dtype == F64
    alone = copy.deepcopy(layer)  # stands in no model
    assert nn.Sequential(alone, dtype="float32")[0].weight.dtype == F32
    assert p.dtype == F64


def test_a_layer_has_one_dtype():
    layer, other = nn.Dense(4, 3), nn.Dense(3, 2)
    nn.Sequential(layer)
    for make in (
        lambda: nn.Sequential(layer, other, dtype="float64"),
        lambda: nn.Sequential(nn.Sequential(layer), other, dtype="float64"),
        lambda: nn.Sequential(layer, nn.Sequential(nn.Dense(3, 2), dtype="float64")),
    ):
        with pytest.raises(TypeError, match="no model of another dtype than float.*got one whose .* is float.*make new layers"):
            make()
    assert layer.weight.dtype == other.weight.dtype == F32
    assert nn.Sequential(other, dtype="float64").dtype == F64  # it was left alone
    with pytest.raises(TypeError, match="0.weight: expected a parameter of the plan's dtype float32, got float64"):
        Builder(4).parameter(other.weight)


@pytest.mark.parametrize("dtype", ["float16", np.longdouble, "complex128", "int32", "f", 3, "double precision"])
def test_other_dtypes_are_refused(dtype):
    if dtype == "f":
        assert nn.Sequential(nn.Dense(2, 1), dtype=dtype).dtype == F32
        return
    layer = nn.Dense(2, 1)
    for make in (lambda: nn.Sequential(layer, dtype=dtype), lambda: fastnn.set_default_dtype(dtype), lambda: nn.mlp([2, 1], dtype=dtype)):
        with pytest.raises(TypeError, match="dtype: expected 'float32' or 'float64', got"):
            make()
    assert layer.weight.dtype == F32 and fastnn.get_default_dtype() == F32


def test_the_default():
    fastnn.set_default_dtype("float64")
    try:
        layer = nn.Dense(40, 30)
        assert layer.weight.dtype == F64 and (layer.weight.data != np.float32(layer.weight.data)).any()  # not rounded
        assert nn.Parameter([1.0]).dtype == F64
        assert nn.lenet5().dtype == nn.simple_convnet().dtype == nn.mlp([3, 2]).dtype == nn.Sequential(nn.Dense(2, 1)).dtype == F64
        assert nn.Sequential(nn.Dense(2, 1), dtype="float32")[0].weight.dtype == F32
    finally:
        fastnn.set_default_dtype("float32")
    assert nn.Sequential(nn.Dense(2, 1)).dtype == nn.mlp([2, 1]).dtype == F32
    assert nn.lenet5(dtype="float64").dtype == F64


def test_files(tmp_path):
    inner = nn.Sequential(nn.Dense(5, 5, activation="tanh"), dtype="float64")
    model = stirred(nn.Sequential(inner, nn.BatchNorm(5), nn.Dense(5, 3), dtype="float64"))
    model.save(tmp_path / "m.safetensors")
    again = nn.load(tmp_path / "m.safetensors")
    assert again.dtype == again[0].dtype == F64 and bits(again) == bits(model)
    small = nn.Sequential(nn.Sequential(nn.Dense(5, 3)))
    small.save(tmp_path / "small.safetensors")
    fastnn.set_default_dtype("float64")
    try:
        assert nn.load(tmp_path / "small.safetensors").dtype == F32  # a file says its own
    finally:
        fastnn.set_default_dtype("float32")
    x = np.random.default_rng(1).normal(size=(6, 5))
    folded = model.fold()
    assert folded.dtype == F64 and np.abs(folded.predict(x) - model.predict(x)).max() < 1e-14


def test_checkpoints(tmp_path):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 5)), rng.integers(0, 3, 30)

    def trainer(dtype):
        model = vectors("tanh", dtype)
        return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()), seed=1)

    first, second, other = trainer("float64"), trainer("float64"), trainer("float32")
    first.fit(x, y, epochs=2, verbose=0)
    first.save_checkpoint(tmp_path / "c.safetensors")
    second.load_checkpoint(tmp_path / "c.safetensors")
    before = bits(other.model)
    with pytest.raises(ValueError, match="this trainer, which computes in float32, got one of float64"):
        other.load_checkpoint(tmp_path / "c.safetensors")
    assert bits(other.model) == before
    for t in (first, second):
        t.fit(x, y, epochs=1, verbose=0)
    assert bits(first.model) == bits(second.model)
    assert nn.load(tmp_path / "c.safetensors").dtype == F64


# ---- eager kernels ----


def test_kernels_are_of_the_arrays_dtype():
    rng = np.random.default_rng(1)
    x, w, b, dy = (rng.normal(size=s) for s in ((9, 21), (21, 18), (18,), (9, 18)))
    y = kernels.dense_forward(x, w, b, activation="gelu")
    assert y.dtype == F64 and np.abs(y - reference.dense_forward(x, w, b, activation="gelu")).max() < 1e-14
    for a, e in zip(kernels.dense_backward(dy, x, w), reference.dense_backward(dy, x, w)):
        assert a.dtype == F64 and np.abs(a - e).max() < 1e-13
    one, labels = dy[0].copy(), rng.integers(0, 18, 9)
    images, filters = rng.normal(size=(3, 5, 4, 3)), rng.normal(size=(2, 2, 3, 2))
    cases = {
        "activation_forward": (dy, "tanh"), "activation_backward": (dy, dy, "silu"), "softmax_forward": (dy,), "log_softmax_forward": (dy,),
        "softmax_backward": (dy, dy), "prelu_forward": (dy, one), "prelu_backward": (dy, dy, one), "maxout_forward": (dy, 3),
        "layernorm_forward": (dy, one, one), "rmsnorm_forward": (dy, one), "batchnorm_forward": (dy, one, one), "bias_gradient": (dy,),
        "penalty_forward": (w, 0.1, 0.2), "dropout_forward": (dy, 0.3, 5), "gaussian_noise": (dy, 0.3, 5),
        "softmax_cross_entropy": (dy, labels), "mean_squared_error": (dy, dy[::-1].copy()), "multiclass_hinge": (dy, labels),
        "conv2d_forward": (images, filters), "conv2d_backward": (images[:, 1:, 1:, :2].copy(), images, filters),
        "maxpool2d_forward": (images, 2), "avgpool2d_forward": (images, 2), "global_avgpool2d_forward": (images,),
        "embedding_forward": (rng.integers(0, 21, (9, 2)), w), "quantile": (dy, dy[::-1].copy()), "poisson": (dy, np.abs(dy)),
    }  # fmt: skip
    for name, arguments in cases.items():
        found, expected = (f(*arguments) if isinstance(f(*arguments), tuple) else (f(*arguments),) for f in (
            getattr(kernels, name), getattr(reference, name)))
        for a, e in zip(found, expected):
            assert np.asarray(a).dtype == F64, name
            assert np.abs(a - e).max() <= 1e-13 * max(1, np.abs(e).max()), name
    out = np.empty((2, 21))
    assert kernels.gather(x, np.array([3, 1]), out=out, dtype="float64") is out and (out == x[[3, 1]]).all()
    assert kernels.gather(x, np.array([3, 1])).dtype == F32


def test_mixed_dtypes_are_refused():
    x, w, b = np.ones((3, 4)), np.ones((4, 2)), np.ones(2)
    y = np.full((3, 2), 7.0, F32)
    for arguments, more in (((F32(x), w, b), {}), ((x, F32(w), b), {}), ((x, w, F32(b)), {}), ((x, w, b), {"out": y})):
        with pytest.raises(TypeError, match="[wbo][ut]*: expected dtype float.*, got float.*all of one dtype.*astype"):
            kernels.dense_forward(*arguments, **more)
    assert (y == 7).all()
    for kind in (np.float16, np.longdouble, np.complex128, np.int64):
        with pytest.raises(TypeError, match="x: expected dtype float32 or float64, got"):
            kernels.softmax_forward(np.ones((2, 2), kind))
    with pytest.raises(TypeError, match="out: expected dtype float32 or float64, got float16|out: expected dtype float64"):
        kernels.softmax_forward(x, np.ones((3, 4), np.float16))


def test_what_does_not_fit_a_model_is_refused():
    model, x = vectors("tanh"), np.ones((4, 5))
    with pytest.raises(TypeError, match="out: expected dtype float64, got float32"):
        model.predict(x, out=np.empty((4, 3), F32))
    for bad, error in ((x.astype(complex), "real numbers"), (np.full((4, 5), "a"), "real numbers")):
        with pytest.raises(TypeError, match=error):
            model.predict(bad)
    huge = np.full((4, 5), 1e300)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=0.1))
    trainer.fit(huge, np.zeros(4, int), epochs=1, check_finite=True, verbose=0)  # which float32 could not hold
    small = vectors("tanh", "float32")
    with pytest.raises(ValueError, match="one beyond float32"):
        fastnn.Trainer(small, losses.SoftmaxCrossEntropy(), optim.SGD(small.parameters(), lr=0.1)).fit(
            huge, np.zeros(4, int), epochs=1, check_finite=True, verbose=0)


def test_exports(tmp_path):
    fastnn.manual_seed(1)
    model = stirred(nn.Sequential(nn.Dense(5, 9, activation="gelu"), nn.BatchNorm(9), nn.Dense(9, 3), nn.LayerNorm(3), dtype="float64"))
    x = np.random.default_rng(1).normal(size=(6, 5))
    fastnn.io.to_numpy(model, tmp_path / "m.py")
    spec = importlib.util.spec_from_file_location("exported", tmp_path / "m.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.predict(x).dtype == F64 and np.abs(module.predict(x) - model.predict(x)).max() < 1e-14
    assert fastnn.io.to_c(model, tmp_path / "m.c", weights="float64").error < 1e-14
    assert 1e-12 < fastnn.io.to_c(model, tmp_path / "m.c").error < 1e-6
    fastnn.io.to_onnx(model, tmp_path / "m.onnx")  # in float32
    again = fastnn.io.from_onnx(tmp_path / "m.onnx")
    assert again.dtype == F64 and 0 < np.abs(again.predict(x) - model.predict(x)).max() < 1e-5


@pytest.mark.filterwarnings("ignore::Warning")  # that twenty iterations are few
def test_estimators():
    pytest.importorskip("sklearn")
    from fastnn.sklearn import MLPClassifier, MLPRegressor

    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    fitted = MLPClassifier((8,), solver="lbfgs", max_iter=20, random_state=0, dtype="float64").fit(x, y)
    assert fitted.coefs_[0].dtype == fitted.predict_proba(x).dtype == F64
    assert MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", max_iter=20, random_state=0, dtype="float64").fit(x, x).predict(x).dtype == F64
    with pytest.raises(ValueError):
        MLPClassifier((8,), dtype="float16").fit(x, y)
