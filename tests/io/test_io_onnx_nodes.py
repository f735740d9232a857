"""ONNX's own tests of its operators (onnx.backend.test): what from_onnx makes of convolutions, poolings and normalisations of images gives
what they say. Weights, which are inputs there, are made part of the graph, as trained models have them. Lookups in tables and batch
statistics, which no model reads from a file, go through the kernels."""

import importlib

import numpy as np
import pytest

from fastnn import io, kernels

onnx = pytest.importorskip("onnx")

MODULES = ("averagepool", "batch_normalization", "conv", "convtranspose", "gather", "globalaveragepool", "globalmaxpool",
           "groupnormalization", "instance_normalization", "maxpool")  # fmt: skip
OPERATORS = {"AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "Gather", "GlobalAveragePool", "GlobalMaxPool",
             "GroupNormalization", "InstanceNormalization", "MaxPool"}  # fmt: skip

NOT_READ = {  # beginning of a name -> why, as the error says it
    "test_averagepool_1d": "a graph whose output|expected images of two dimensions",
    "test_averagepool_3d": "expected images of two dimensions|expected no dilation of a mean",
    "test_averagepool_2d_dilations": "expected no dilation of a mean",
    "test_batchnorm_example_training_mode": "1 inputs and 3 outputs",  # through the kernels, below
    "test_batchnorm_epsilon_training_mode": "1 inputs and 3 outputs",
    "test_convtranspose_1d": "expected weights as an array of 4 dimensions",
    "test_convtranspose_3d": "expected weights as an array of 4 dimensions",
    "test_gather": "Gather",  # through the kernels, below
    "test_maxpool_1d": "expected images of two dimensions",
    "test_maxpool_3d": "expected images of two dimensions",
    "test_maxpool_with_argmax": "1 inputs and 2 outputs",
}


@pytest.fixture(scope="module")
def cases():
    """name -> case, of the operators above, each alone."""
    node = importlib.import_module("onnx.backend.test.case.node")
    for name in MODULES:
        importlib.import_module(f"onnx.backend.test.case.node.{name}")
    found = {c.name: c for c in node._NodeTestCases if len(c.model.graph.node) == 1 and c.model.graph.node[0].op_type in OPERATORS}
    assert len(found) > 60
    return found


def with_weights(case, path):
    """Write the case's model with all inputs but the first as numbers of the graph; returns the first, and the outputs."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    given, outputs = case.data_sets[0]
    names = [i.name for i in model.graph.input]
    for name, array in zip(names[1:], given[1:], strict=True):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    del model.graph.input[1:]
    onnx.save(model, path)
    return given[0], outputs


def test_nodes(cases, tmp_path):
    path, refused = tmp_path / "case.onnx", set()
    for name, case in cases.items():
        x, outputs = with_weights(case, path)
        reason = next((why for start, why in NOT_READ.items() if name.startswith(start)), None)
        if reason is not None:
            with pytest.raises(ValueError, match=reason):
                io.from_onnx(path)
            refused.add(name)
            continue
        y = io.from_onnx(path).predict(x)
        y = np.moveaxis(y, -1, 1) if y.ndim > 2 else y[..., None, None]  # of global pooling: features
        np.testing.assert_allclose(y, outputs[0], rtol=case.rtol, atol=max(case.atol, 1e-6), err_msg=name)
    assert all(any(name.startswith(start) for name in refused) for start in NOT_READ) and len(cases) - len(refused) > 40


def test_gather(cases):
    for name, case in cases.items():
        if case.model.graph.node[0].op_type != "Gather" or name == "test_gather_negative_indices":  # rows count from 0 here
            continue
        (data, index), (expected,) = case.data_sets[0]
        axis = onnx.helper.get_attribute_value(case.model.graph.node[0].attribute[0])
        rows = np.ascontiguousarray(np.moveaxis(data, axis, 0))
        found = kernels.gather(rows, index.ravel().astype(np.int64)).reshape(*index.shape, *rows.shape[1:])
        moved = np.moveaxis(found, range(index.ndim), range(axis, axis + index.ndim))
        np.testing.assert_array_equal(moved, expected, err_msg=name)


def test_batch_statistics(cases):
    for name, case in cases.items():
        if not name.endswith("training_mode"):
            continue
        (x, scale, bias, mean, var), expected = case.data_sets[0]
        eps = next((a.f for a in case.model.graph.node[0].attribute if a.name == "epsilon"), 1e-5)
        pixels = np.ascontiguousarray(np.moveaxis(x, 1, -1)).reshape(-1, x.shape[1])
        y, statistics = kernels.batchnorm_forward(pixels, scale, bias, float(eps))
        y = np.moveaxis(y.reshape(len(x), *x.shape[2:], -1), -1, 1)
        running = 0.9 * mean + 0.1 * (statistics[0] + statistics[1]), 0.9 * var + 0.1 * statistics[3]
        for found, value in zip((y, *running), expected, strict=True):
            np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6, err_msg=name)
