"""from_torch, to_torch, from_keras, to_keras: against PyTorch's own modules where it is installed, and by hand."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import io, nn
from fastnn.io.graph import difference

R = np.random.default_rng(3)
_spec = importlib.util.spec_from_file_location("torch_models", Path(__file__).parents[1] / "golden" / "torch_models.py")
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)


def drawn(*layers):
    """A model whose parameters and statistics are all drawn."""
    model = nn.Sequential(*layers)
    for name, p in (*model.named_parameters(), *model.named_buffers()):
        p.data = R.uniform(0.5, 1.5, p.shape) if name.endswith("running_var") else R.normal(0, 0.5, p.shape)
        if name.endswith("num_batches_tracked"):
            p.data = [R.integers(100)]
    return model


def test_a_state_of_pytorchs_layout():
    """Matrices are [out, in] there, square ones too; names as in a torch.nn.Sequential with activations as modules."""
    model = drawn(
        nn.Flatten(), nn.Dense(3, 3, "relu"), nn.BatchNorm(3), nn.Activation("gelu"), nn.Dense(3, 2, "prelu"), nn.LayerNorm(2)
    )
    state = io.to_torch(model)
    assert list(state) == [
        "1.weight", "1.bias", "3.weight", "3.bias", "3.running_mean", "3.running_var", "3.num_batches_tracked", "5.weight",
        "5.bias", "6.weight", "7.weight", "7.bias",
    ]  # fmt: skip
    assert (state["1.weight"] == model.layers[1].weight.data.T).all() and state["1.weight"].flags.c_contiguous
    assert state["3.num_batches_tracked"].shape == () and state["3.num_batches_tracked"].dtype == np.int64
    again = drawn(
        nn.Flatten(), nn.Dense(3, 3, "relu"), nn.BatchNorm(3), nn.Activation("gelu"), nn.Dense(3, 2, "prelu"), nn.LayerNorm(2)
    )
    assert io.from_torch(state, again) is again
    assert all((p.data == q.data).all() for (_, p), (_, q) in zip(again._named(), model._named()))
    state["1.weight"][:] = 0  # copies
    assert model.layers[1].weight.data.any()


def test_matching():
    """By name where the names are the equivalent's, whatever their order; else module by module."""
    model, again = drawn(nn.Dense(2, 2), nn.Dense(2, 2)), drawn(nn.Dense(2, 2), nn.Dense(2, 2))
    state = io.to_torch(model)
    io.from_torch(dict(sorted(state.items(), reverse=True)), again)
    X = R.normal(size=(3, 2))
    assert (again.predict(X) == model.predict(X)).all()
    named = {name.replace("0.", "body.fc.").replace("1.", "head."): a.astype(np.float64) for name, a in state.items()}
    again = drawn(nn.Dense(2, 2), nn.Dense(2, 2))
    assert (io.from_torch(named, again).predict(X) == model.predict(X)).all()


def test_every_layer():
    """A model of all layers comes back the same."""

    def made():
        first = nn.Dense(4, 6, "tanh", bias=False)
        return drawn(
            nn.Flatten(), nn.Rescaling(0.5), first, nn.Tied(first, bias=False), nn.Residual(nn.RMSNorm(4), nn.Maxout(4, 4, 3)),
            nn.Sequential(nn.DropConnect(nn.Dense(4, 5)), nn.PReLU(5)), nn.BatchNorm(5, momentum=None), nn.GaussianNoise(0.1),
            nn.BatchNorm(5, affine=False), nn.Dropout(0.5), nn.LayerNorm(5, affine=False), nn.Softmax(), nn.Activation("silu"),
            nn.Dense(5, 2), nn.LogSoftmax(),
        )  # fmt: skip

    model, again = made(), made()
    io.from_torch(io.to_torch(model), again)
    assert all((p.data == q.data).all() for (_, p), (_, q) in zip(again._named(), model._named()))
    without = {name: a for name, a in io.to_torch(model).items() if not name.startswith("4.")}  # what the Tied layer shares
    io.from_torch(without, made())
    third = made()
    io.from_keras(io.to_keras(model), third)
    assert all((p.data == q.data).all() for (name, p), (_, q) in zip(third._named(), model._named()) if "tracked" not in name)


def like(name):
    """The model of a network in tests/golden/torch_models.py."""
    return {
        "dense": lambda: nn.Sequential(
            nn.Input(3, 2, 2, data_format="channels_first"), nn.Flatten(), nn.Dense(12, 12), nn.BatchNorm(12), nn.GELU(),
            nn.LayerNorm(12), nn.Dense(12, 7, bias=False), nn.PReLU(7), nn.Dropout(), nn.RMSNorm(7), nn.ELU(),
            nn.Dense(7, 7, "silu"), nn.Dense(7, 3), nn.LogSoftmax(),
        ),
        "images": lambda: nn.Sequential(
            nn.Input(2, 8, 8, data_format="channels_first"), nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm(6), nn.ReLU(),
            nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2, bias=False, activation="gelu"),
            nn.AvgPool2d(2, stride=1, padding=1), nn.Flatten(), nn.BatchNorm(72), nn.Dense(72, 5), nn.LayerNorm(5),
            nn.Activation("tanh"), nn.Dense(5, 5),
        ),
    }[name]()  # fmt: skip


@pytest.mark.parametrize("name", ["dense", "images"])
def test_networks_of_pytorch(name):
    """Weights that PyTorch made, and what it gave; to_torch gives them back as they were."""
    with np.load(golden.FILE) as file:
        found = {k.partition("/")[2]: file[k] for k in file if k.startswith(f"{name}/")}
    y, model = found.pop("y"), like(name)
    assert difference(io.from_torch(found, model).predict(golden.samples(name)), y) < 1e-6
    assert all((found[k] == a).all() and found[k].dtype == a.dtype for k, a in io.to_torch(model).items())


@pytest.mark.parametrize("name", ["dense", "images"])
def test_pytorch_itself(name):
    torch = pytest.importorskip("torch")
    net, model = golden.draw(torch, golden.networks(torch)[name]), like(name)
    X = golden.samples(name)

    def there():
        with torch.no_grad():
            return net(torch.from_numpy(X)).numpy()

    assert difference(io.from_torch(net, model).predict(X), there()) < 1e-6
    for p in model.parameters():
        p.data = R.normal(0, 0.4, p.shape)
    net.load_state_dict({name: torch.from_numpy(a) for name, a in io.to_torch(model).items()})
    assert difference(model.predict(X), there()) < 1e-6
    io.from_torch(net.to(torch.bfloat16).state_dict(), model)  # of any dtype


def test_layers_of_images_and_pytorch_itself():
    torch = pytest.importorskip("torch")

    class Around(torch.nn.Sequential):
        def forward(self, x):
            y = x
            for name, module in self.named_children():
                y = module(y) if name != "projection" else y
            return self.projection(x) + y

    t = torch.nn
    block = Around(t.Conv2d(6, 4, 3, stride=2, padding=1), t.ReLU())
    block.add_module("projection", t.Sequential(t.Conv2d(6, 4, 1, stride=2)))
    net = t.Sequential(
        t.ConvTranspose2d(2, 6, (2, 3), stride=2, padding=1, output_padding=(1, 0), groups=2), t.GroupNorm(3, 6), t.PReLU(6), block,
        t.Dropout2d(), t.ConvTranspose2d(4, 3, 3, bias=False), t.Tanh(), t.InstanceNorm2d(3, affine=True), t.Flatten(),
    ).eval()  # fmt: skip
    for p in net.parameters():
        p.data.normal_(0, 0.5, generator=torch.Generator().manual_seed(p.numel()))
    model = nn.Sequential(
        nn.Input(2, 5, 6, data_format="channels_first"), nn.ConvTranspose2d(2, 6, (2, 3), 2, 1, (1, 0), groups=2), nn.GroupNorm(3, 6),
        nn.PReLU(6), nn.Residual(nn.Conv2d(6, 4, 3, 2, 1, activation="relu"), projection=nn.Conv2d(6, 4, 1, 2)), nn.Dropout2d(),
        nn.ConvTranspose2d(4, 3, 3, bias=False, activation="tanh"), nn.GroupNorm(3, 3),
    )  # fmt: skip
    X = R.normal(size=(4, 2, 5, 6)).astype(np.float32)
    expected = net(torch.from_numpy(X)).detach().numpy().reshape(4, 3, -1)
    found = np.moveaxis(io.from_torch(net, model).predict(X), -1, 1).reshape(4, 3, -1)
    assert difference(found, expected) < 1e-5
    state = {name: a for name, a in net.state_dict().items()}
    assert all((state[name].numpy() == a).all() for name, a in io.to_torch(model).items())
    with pytest.raises(ValueError, match="GroupNorm.*expected no flattened image before it, whose features PyTorch has in other groups"):
        io.to_torch(nn.Sequential(nn.Input(2, 2, 4), nn.Flatten(), nn.GroupNorm(2, 16)))


def test_images():
    """(h, w, c) here, (c, h, w) there: what is behind Flatten is in the other order, up to the next product."""

    def made():
        first = nn.Dense(24, 6)
        return nn.Sequential(
            nn.Input(3, 4, 2), nn.Flatten(), nn.BatchNorm(24), nn.PReLU(24), nn.LayerNorm(24), first, nn.Tied(first),
            nn.Reshape(3, 4, 2), nn.Flatten(), nn.Maxout(24, 5), nn.Dense(5, 4),
        )  # fmt: skip

    model, again = made(), made()
    for p in (*model.parameters(), *(p for _, p in model.named_buffers())):
        p.data = R.uniform(0.5, 1.5, p.shape)
    state = io.to_torch(model)
    w = model.layers[5].weight.data
    assert (state["4.weight"].reshape(6, 2, 3, 4) == w.T.reshape(6, 3, 4, 2).transpose(0, 3, 1, 2)).all()
    assert (state["1.running_mean"].reshape(2, 3, 4) == model.layers[2].running_mean.data.reshape(3, 4, 2).transpose(2, 0, 1)).all()
    assert (state["5.weight"] == state["4.weight"].T).all()
    io.from_torch(state, again)
    assert all((p.data == q.data).all() for (_, p), (_, q) in zip(again._named(), model._named()))
    io.from_keras(io.to_keras(model), again)
    assert all((p.data == q.data).all() for (_, p), (_, q) in zip(again._named(), model._named()))
    for layers in ([nn.Reshape(2, 2, 2)], [nn.Reshape(2, 4), nn.Reshape(2, 2, 2)]):
        with pytest.raises(ValueError, match=r"model: Reshape\(2, .*PyTorch has images in another order"):
            io.to_torch(nn.Sequential(nn.Dense(4, 8), *layers))
    with pytest.raises(ValueError, match="layer 1, Residual: expected no flattened image"):
        io.to_torch(nn.Sequential(nn.Input(2, 2, 2), nn.Flatten(), nn.Residual(nn.Dense(8, 8))))


def test_keras_order():
    """As get_weights lists them: kernel and bias; gamma, beta, mean, variance. Kernels are [in, out] there as here."""
    model = drawn(nn.Dense(3, 2), nn.BatchNorm(2), nn.Dense(2, 2, "relu"))
    found = io.to_keras(model)
    dense, norm, last = model.layers
    expected = [dense.weight, dense.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var, last.weight, last.bias]
    assert all((a == p.data).all() for a, p in zip(found, expected, strict=True))

    class Model:
        def get_weights(self):
            return found

    again = io.from_keras(Model(), drawn(nn.Dense(3, 2), nn.BatchNorm(2), nn.Dense(2, 2, "relu")))
    X = R.normal(size=(3, 3))
    assert (again.predict(X) == model.predict(X)).all()


class _Own(nn.Layer):
    def emit(self, builder, x):
        return x


GOOD = {"0.weight": np.ones((2, 3)), "0.bias": np.ones(2), "1.weight": np.ones(2), "1.bias": np.ones(2),
        "1.running_mean": np.ones(2), "1.running_var": np.ones(2)}  # fmt: skip


@pytest.mark.parametrize(
    "change, kind, message",
    [
        ({"0.weight": np.ones((3, 2))}, ValueError, r"0.weight: expected shape \(2, 3\), got \(3, 2\)"),
        ({"1.running_var": None}, ValueError, r"1.running_var: expected an array of shape \(2,\), got none"),
        ({"0.bias": None}, ValueError, r"0.bias: expected an array"),
        ({"1.scale": np.ones(2)}, ValueError, r"1: expected weight, bias, .*, got scale too"),
        ({"2.weight": np.ones((2, 2))}, ValueError, r"expected 2 modules with weights, as the model has, got 3: 0, 1, 2"),
        ({"0.weight": np.array([["a"]])}, TypeError, r"0.weight: expected real numbers"),
    ],
)
def test_states_that_do_not_fit(change, kind, message):
    model = nn.Sequential(nn.Dense(3, 2), nn.BatchNorm(2))
    before = model.state_dict()
    io.from_torch(GOOD, nn.Sequential(nn.Dense(3, 2), nn.BatchNorm(2)))
    with pytest.raises(kind, match=message):
        io.from_torch({k: v for k, v in {**GOOD, **change}.items() if v is not None}, model)
    assert all((before[name] == a).all() for name, a in model.state_dict().items())


def test_bad_input():
    model = nn.Sequential(nn.Dense(3, 2))
    with pytest.raises(TypeError, match="module_or_state: expected a torch.nn.Module or its state_dict, got list"):
        io.from_torch([np.ones(3)], model)
    with pytest.raises(TypeError, match="model: expected an nn.Sequential, got dict"):
        io.from_torch(model, {})
    with pytest.raises(ValueError, match="expected layers of fastnn.nn"):
        io.to_torch(nn.Sequential(nn.Dense(3, 2), _Own()))
    with pytest.raises(ValueError, match="expected 2 arrays, as the model has, got 1"):
        io.from_keras([np.ones((3, 2))], model)
    with pytest.raises(ValueError, match=r"model_or_weights: \[0\], weight of module 0: expected shape \(3, 2\), got \(2, 3\)"):
        io.from_keras([np.ones((2, 3)), np.ones(2)], model)
    with pytest.raises(TypeError, match="model_or_weights: expected a keras.Model or its weights, got dict"):
        io.from_keras({}, model)
    first = nn.Dense(3, 2)
    tied = nn.Sequential(first, nn.Tied(first))
    state = {name: a + 1 if name == "1.weight" else a for name, a in io.to_torch(tied).items()}
    with pytest.raises(ValueError, match="1.weight: expected the weights that the layer is tied to"):
        io.from_torch(state, tied)


def test_nothing_of_the_others_is_imported():
    import subprocess
    import sys

    text = "import sys, fastnn; assert 'fastnn.io' not in sys.modules; fastnn.io.to_onnx; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert not {"torch", "sklearn", "keras", "onnx", "google", "onnxruntime"} & set(done.stdout.split())
    assert set(fastnn.io.__all__) <= set(dir(fastnn.io))
