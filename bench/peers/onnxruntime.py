"""ONNX Runtime, inference only: a graph of Gemm and Relu with all optimisations, its inputs and output bound beforehand.

(Binding is faster than `session.run` on NumPy arrays at every batch size.)
"""

import importlib

import numpy as np

from . import Loop, common_environment as environment

LABEL = "onnxruntime"
REQUIRES = ("onnxruntime", "onnx")
Training = None


def setup(threads):
    global ort, onnx, _threads
    ort = importlib.import_module("onnxruntime")
    onnx = importlib.import_module("onnx")
    _threads = threads


def versions():
    return {"onnxruntime": ort.__version__, "onnx": onnx.__version__}


def held(isa):
    return False, "its MLAS takes what the CPU has: no switch, and it does not say what"


def graph(work, weights):
    """The network as ONNX, serialised."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes, initialisers, x = [], [], "x"
    for i, (w, b) in enumerate(weights):
        initialisers += [onnx.numpy_helper.from_array(w, f"w{i}"), onnx.numpy_helper.from_array(b, f"b{i}")]
        last = i == len(weights) - 1
        nodes.append(helper.make_node("Gemm", [x, f"w{i}", f"b{i}"], ["out" if last else f"z{i}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"z{i}"], [f"y{i}"]))
        x = f"y{i}"
    g = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, [work.batch, work.sizes[0]])],
        [helper.make_tensor_value_info("out", kind, [work.batch, work.sizes[-1]])],
        initialisers,
    )
    model = helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return model.SerializeToString()


class Inference(Loop):
    def __init__(self, work, weights, batches):
        options = ort.SessionOptions()
        options.intra_op_num_threads = _threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = ort.InferenceSession(graph(work, weights), options, providers=["CPUExecutionProvider"])
        self.out = ort.OrtValue.ortvalue_from_numpy(np.zeros((work.batch, work.sizes[-1]), np.float32))
        self.batches = []
        for x, _ in batches:
            binding = self.session.io_binding()
            binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x))
            binding.bind_ortvalue_output("out", self.out)
            self.batches.append((binding,))

    def step(self, binding):
        self.session.run_with_iobinding(binding)
        return self.out

    def array(self, outputs):
        return outputs.numpy()
