"""Sequential.fold: the same outputs with fewer layers, a new model, and nothing folded that must not be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import nn


def fill(model, seed=0):
    """Weights, scales of either sign and running statistics that matter."""
    rng = np.random.default_rng(seed)
    for name, p in [*model.named_parameters(), *model.named_buffers()]:
        p.data = rng.uniform(0.2, 3.0, p.shape) if name.endswith("running_var") else rng.normal(size=p.shape)
    return model


def exact(model, x):
    """The model's outputs in float64, by the NumPy reference."""
    from fastnn.executors import ReferenceExecutor

    executor = ReferenceExecutor(model.plan(len(x)), np.float64)
    executor.run(x)
    return executor.array(executor.plan.output.name).copy()


def check(model, kinds, features=6):
    """The folded model has these layers, gives the outputs of the first, and shares nothing with it."""
    fill(model)
    x = np.random.default_rng(1).normal(size=(9, features)).astype(np.float32)
    before, state = model.predict(x), {k: v.tobytes() for k, v in model.state_dict().items()}
    folded = model.fold()
    assert [type(layer).__name__ for layer in folded.layers] == kinds
    want, got = exact(model, x), exact(folded, x)
    scale = np.abs(want).max()
    assert np.abs(got - want).max() <= 1e-5 * scale  # weights rounded once more
    assert np.abs(folded.predict(x) - want).max() <= 1e-4 * scale
    for p in folded.parameters():
        p.data[...] = 7
    assert model.predict(x).tobytes() == before.tobytes()
    assert {k: v.tobytes() for k, v in model.state_dict().items()} == state
    return folded


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_behind_a_dense_layer(bias, affine):
    model = nn.Sequential(nn.Dense(6, 5, bias=bias), nn.BatchNorm(5, affine=affine), nn.Activation("tanh"), nn.Dense(5, 3))
    folded = check(model, ["Dense", "Activation", "Dense"])
    assert folded.layers[0].bias is not None
    assert folded.num_parameters() == 6 * 5 + 5 + 5 * 3 + 3 and not folded.named_buffers()


def test_behind_an_activation_it_goes_into_the_next_layer():
    model = nn.Sequential(nn.Dense(6, 5, activation="relu"), nn.BatchNorm(5), nn.Dropout(0.5), nn.Dense(5, 3, bias=False, activation="sigmoid"))
    folded = check(model, ["Dense", "Dense"])
    assert folded.layers[1].activation == "sigmoid"


@pytest.mark.parametrize("place", ["before", "after"])
def test_of_mlp(place):
    model = nn.mlp([6, 8, 7, 3], activation="tanh", batchnorm=place, dropout=0.2)
    kinds = ["Dense", "Activation", "Dense", "Activation", "Dense"] if place == "before" else ["Dense"] * 3
    check(model, kinds)


@pytest.mark.parametrize("activation", ["gelu", "prelu", "elu", "softmax", nn.Activation("softplus", 3.0)])
def test_activations_of_the_layers_stay(activation):
    check(nn.Sequential(nn.Dense(6, 5, activation=activation), nn.BatchNorm(5), nn.Dense(5, 4, activation=activation)), ["Dense", "Dense"])


def test_at_the_input():
    check(nn.Sequential(nn.Flatten(), nn.Rescaling(0.5, 0.1), nn.BatchNorm(6), nn.Dense(6, 4)), ["Flatten", "Rescaling", "Dense"])


def test_in_front_of_pieces():
    check(nn.Sequential(nn.Dense(6, 5, activation="relu"), nn.BatchNorm(5), nn.Maxout(5, 4, pieces=3, bias=False)), ["Dense", "Maxout"])


def test_what_cannot_be_folded_stays():
    check(nn.Sequential(nn.Dense(6, 5, activation="relu"), nn.BatchNorm(5)), ["Dense", "BatchNorm"])
    check(nn.Sequential(nn.Maxout(6, 5), nn.BatchNorm(5), nn.Activation("relu"), nn.Dense(5, 2)), ["Maxout", "BatchNorm", "Activation", "Dense"])
    check(nn.Sequential(nn.Dense(6, 5), nn.LayerNorm(5), nn.BatchNorm(5), nn.Activation("relu")), ["Dense", "LayerNorm", "BatchNorm", "Activation"])
    check(
        nn.Sequential(nn.Dense(6, 5, activation="tanh"), nn.BatchNorm(5), nn.Residual(nn.Dense(5, 5, activation="tanh")), nn.Dense(5, 2)),
        ["Dense", "BatchNorm", "Residual", "Dense"],
    )


def test_two_in_a_row():
    check(nn.Sequential(nn.Dense(6, 5), nn.BatchNorm(5), nn.BatchNorm(5)), ["Dense"])
    check(nn.Sequential(nn.BatchNorm(6), nn.Dense(6, 5), nn.BatchNorm(5)), ["Dense"])


def test_inside_blocks():
    model = nn.Sequential(
        nn.Dense(6, 5),
        nn.Residual(nn.Dense(5, 8), nn.BatchNorm(8), nn.Activation("relu"), nn.Dropout(0.1), nn.Dense(8, 5), nn.BatchNorm(5)),
        nn.Sequential(nn.Dense(5, 4), nn.BatchNorm(4)),
    )
    folded = check(model, ["Dense", "Residual", "Sequential"])
    assert [type(layer).__name__ for layer in folded.layers[1].layers] == ["Dense", "Activation", "Dense"]
    assert [type(layer).__name__ for layer in folded.layers[2].layers] == ["Dense"]


def test_what_does_nothing_in_inference_goes():
    model = nn.Sequential(nn.GaussianNoise(0.1), nn.DropConnect(nn.Dense(6, 5, activation="tanh")), nn.Activation("identity"), nn.Dropout(0.3), nn.Dense(5, 2))
    folded = check(model, ["Dense", "Dense"])
    assert folded.layers[0].activation == "tanh"
    check(nn.Sequential(nn.Dense(6, 5), nn.Residual(nn.Dropout(0.5)), nn.Dense(5, 2)), ["Dense", "Residual", "Dense"])


def test_tied_weights():
    encoder = nn.Dense(6, 4, activation="tanh")
    folded = check(nn.Sequential(encoder, nn.Tied(encoder)), ["Dense", "Tied"])  # nothing to fold: tied as before
    assert folded.layers[1].weight is folded.layers[0].weight
    encoder = nn.Dense(6, 4)
    folded = check(nn.Sequential(encoder, nn.BatchNorm(4), nn.Activation("tanh"), nn.Tied(encoder)), ["Dense", "Activation", "Dense"])
    encoder = nn.Dense(6, 4, activation="tanh")
    folded = check(nn.Sequential(encoder, nn.Tied(encoder, bias=False), nn.BatchNorm(6)), ["Dense", "Dense"])
    encoder = nn.Dense(6, 6)
    check(nn.Sequential(encoder, nn.BatchNorm(6), nn.Activation("tanh"), nn.Residual(nn.Tied(encoder, transpose=False))), ["Dense", "Activation", "Residual"])


def test_a_folded_model_is_saved_and_folded_again(tmp_path):
    model = fill(nn.mlp([6, 8, 7, 3], batchnorm="after", dropout=0.2))
    folded = model.fold()
    folded.save(tmp_path / "m.safetensors")
    x = np.ones((3, 6), np.float32)
    assert nn.load(tmp_path / "m.safetensors").predict(x).tobytes() == folded.predict(x).tobytes()
    assert folded.fold().predict(x).tobytes() == folded.predict(x).tobytes()
    assert nn.load(tmp_path / "m.safetensors").config() == folded.fold().config()


def test_no_random_number_is_drawn():
    model = nn.mlp([6, 8, 3], batchnorm=True)
    fastnn.manual_seed(4)
    expected = nn.Dense(3, 3).weight.data.copy()
    fastnn.manual_seed(4)
    model.fold()
    assert (nn.Dense(3, 3).weight.data == expected).all()


LAYERS = {
    "dense": lambda n, m: [nn.Dense(n, m)],
    "bare dense": lambda n, m: [nn.Dense(n, m, bias=False)],
    "tanh dense": lambda n, m: [nn.Dense(n, m, activation="tanh")],
    "maxout": lambda n, m: [nn.Maxout(n, m)],
    "norm": lambda n, m: [nn.BatchNorm(n)],
    "row norm": lambda n, m: [nn.LayerNorm(n)],
    "activation": lambda n, m: [nn.Activation("sigmoid")],
    "dropout": lambda n, m: [nn.Dropout(0.5)],
    "block": lambda n, m: [nn.Residual(nn.BatchNorm(n), nn.Dense(n, n), nn.BatchNorm(n))],
}


@given(st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=7), st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_any_chain_keeps_its_outputs(names, seed):
    layers, features = [], 6
    for i, name in enumerate(names):
        m = 3 + (seed + i) % 5 if name in ("dense", "bare dense", "tanh dense", "maxout") else features
        layers += LAYERS[name](features, m)
        features = m
    model = fill(nn.Sequential(nn.Dense(6, 6, activation="tanh"), *layers), seed)
    folded = model.fold()
    x = np.random.default_rng(seed).normal(size=(5, 6)).astype(np.float32)
    want, got = exact(model, x), exact(folded, x)
    assert np.abs(got - want).max() <= 1e-5 * max(1, np.abs(want).max()) * 10
    assert len(folded.layers) <= len(model.layers)
