"""Activations and losses against PyTorch: recorded values everywhere, PyTorch itself where it is installed."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import kernels, losses, nn, reference
from fastnn.core.activations import ACTIVATIONS

FOLDER = Path(__file__).parent / "golden"
spec = importlib.util.spec_from_file_location("make_activations_losses", FOLDER / "make_activations_losses.py")
maker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(maker)

RECORDED = np.load(FOLDER / "activations_losses.npz")
NAMES = {name.removesuffix(".dx") for name in RECORDED if name.endswith(".dx")}  # of activations; identity has nothing to compare
has_torch = importlib.util.find_spec("torch") is not None
SOURCES = ["recorded", pytest.param("live", marks=pytest.mark.skipif(not has_torch, reason="PyTorch is not installed"))]


def of(module, name, x, dy):
    """(y, dx) by the kernels or the reference."""
    if name == "prelu":
        slope = np.full(1, 0.25, x.dtype)
        return module.prelu_forward(x, slope), module.prelu_backward(dy, x, slope)[0]
    if name not in ACTIVATIONS:
        y = getattr(module, f"{name}_forward")(x)
        return y, getattr(module, f"{name}_backward")(dy, y)
    alpha = maker.ALPHA.get(name)
    y = module.activation_forward(x, name, alpha=alpha)
    return y, module.activation_backward(dy, x if ACTIVATIONS[name].saves == "z" else y, name, alpha=alpha)


@pytest.mark.parametrize("source", SOURCES)
def test_activations(source):
    if source == "recorded":
        x, dy = RECORDED["x"], RECORDED["dy"]
        found = {name: (RECORDED[f"{name}.y"], RECORDED[f"{name}.dx"]) for name in NAMES}
    else:
        rng = np.random.default_rng()
        x, dy = rng.normal(size=(40, 7)) * 4, rng.normal(size=(40, 7))
        found = maker.activations(x, dy)
    assert set(found) == NAMES
    for name, expected in found.items():
        for actual, want in zip(of(reference, name, x, dy), expected):
            np.testing.assert_allclose(actual, want, rtol=1e-10, atol=1e-12, err_msg=name)
        for isa in fastnn.available_isas():
            before = fastnn.get_isa()
            fastnn.use_isa(isa)
            try:
                narrow = of(kernels, name, x.astype(np.float32), dy.astype(np.float32))
            finally:
                fastnn.use_isa(before)
            for actual, want in zip(narrow, expected):
                np.testing.assert_allclose(actual, want, rtol=2e-6, atol=2e-6, err_msg=f"{name} on {isa}")


def cases(labels, real, counts, probabilities, answers, weight, **_):
    """{case: (loss, targets, what PyTorch's is multiplied by)}"""
    L, five = losses, [float(w) for w in weight]
    return {
        "squared": (L.MeanSquaredError(), real, 1),
        "squared sum": (L.MeanSquaredError(reduction="sum"), real, 1),
        "absolute": (L.MeanAbsoluteError(), real, 1),
        "huber": (L.Huber(1.5), real, 1),
        "poisson": (L.Poisson(), counts, 1),
        "poisson full": (L.Poisson(full=True), counts, 1),
        "poisson rates": (L.Poisson(log_input=False), counts, 1),
        "cross entropy": (L.SoftmaxCrossEntropy(), labels, 1),
        "cross entropy probabilities": (L.SoftmaxCrossEntropy(), probabilities, 1),
        "cross entropy smoothed": (L.SoftmaxCrossEntropy(label_smoothing=0.1), labels, 1),
        "cross entropy weighted sum": (L.SoftmaxCrossEntropy(class_weight=five, reduction="sum"), labels, 1),
        "cross entropy weighted smoothed sum": (L.SoftmaxCrossEntropy(0.2, five, "sum"), labels, 1),
        "cross entropy weighted probabilities sum": (L.SoftmaxCrossEntropy(class_weight=five, reduction="sum"), probabilities, 1),
        "binary": (L.BinaryCrossEntropy(), answers, 1),
        "binary probabilities": (L.BinaryCrossEntropy(), probabilities, 1),
        "binary positive weight": (L.BinaryCrossEntropy(pos_weight=five), answers, 1),
        "hinge": (L.BinaryHinge(), answers, 1),
        "multiclass hinge": (L.MulticlassHinge(0.75), labels, 5),  # PyTorch divides by the classes
        "multiclass hinge squared": (L.MulticlassHinge(squared=True), labels, 5),
    }


@pytest.mark.parametrize("source", SOURCES)
def test_losses(source):
    if source == "recorded":
        given = {k.removeprefix("input."): RECORDED[k] for k in RECORDED.files if k.startswith("input.")}
        found = {n: (RECORDED[f"{n}.loss"], RECORDED[f"{n}.gradient"]) for n in cases(**given)}
    else:
        given = maker.inputs(np.random.default_rng().integers(2**32))
        found = maker.losses(**given)
    assert set(found) == set(cases(**given))
    for name, (loss, targets, factor) in cases(**given).items():
        z = np.abs(given["z"]) + 0.1 if name == "poisson rates" else given["z"]
        # the gradient by the outputs is that by the biases of a layer whose rows come one at a time
        model = nn.Sequential(nn.Dense(5, 5, init="zeros"))
        model.layers[0].weight.data[...] = np.eye(5)
        total, gradient = 0.0, []
        rows = 1 if loss.reduction == "sum" else len(z)
        for i in range(len(z)):
            value, (_, db) = fastnn.value_and_grad(model, loss, z[i : i + 1], targets[i : i + 1])
            total += value / rows
            gradient.append(db / rows)
        value, gradients = fastnn.value_and_grad(model, loss, z, targets)
        expected, slope = found[name]
        np.testing.assert_allclose([total, value], float(expected) * factor, rtol=2e-6, err_msg=name)
        np.testing.assert_allclose(gradient, slope * factor, rtol=1e-5, atol=2e-6, err_msg=name)
        np.testing.assert_allclose(gradients[1], slope.sum(axis=0) * factor, rtol=1e-5, atol=5e-6, err_msg=name)
