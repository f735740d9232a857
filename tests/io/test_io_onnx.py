"""to_onnx and from_onnx: held against onnx's checker and onnxruntime, and against files that are broken on purpose."""

import json

import numpy as np
import pytest

from fastnn import io, nn
from fastnn.io import onnx_format
from fastnn.io.graph import difference

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 2  # warnings are errors of ours
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def test_random_models(models, tmp_path):
    path = tmp_path / "model.onnx"
    for model, X in models:
        io.to_onnx(model, path)
        file = onnx.load(path)
        onnx.checker.check_model(file, full_check=True)
        run = session(path)
        assert [o.name for o in run.get_outputs()] == ["y"]
        for rows in (1, 7):
            y = run.run(None, {"x": X[:rows]})[0]
            assert y.dtype == np.float32 and difference(y, model.predict(X[:rows])) < 1e-5
        again = io.from_onnx(path)
        assert repr(again) == repr(model)
        assert (again.predict(X) == model.predict(X)).all()


@pytest.mark.parametrize("opset", [18, 21, 24])
def test_opsets(opset, models, tmp_path):
    path = tmp_path / "model.onnx"
    for model, X in models[:12]:
        io.to_onnx(model, path, opset=opset)
        file = onnx.load(path)
        assert file.opset_import[0].version == opset
        onnx.checker.check_model(file, full_check=True)
        assert difference(session(path).run(None, {"x": X})[0], model.predict(X)) < 1e-5


def test_tied_weights_are_in_the_file_once(tmp_path):
    first = nn.Dense(30, 20, activation="sigmoid")
    model = nn.Sequential(first, nn.Tied(first))
    io.to_onnx(model, tmp_path / "m.onnx")
    names = [t.name for t in onnx.load(tmp_path / "m.onnx").graph.initializer]
    assert sorted(names) == ["0.bias", "0.weight", "1.bias"]
    again = io.from_onnx(tmp_path / "m.onnx")
    assert again.layers[1].weight is again.layers[0].weight


def test_probabilities_classes_and_head(digits, tmp_path):
    model, X, _ = digits
    path = tmp_path / "digits.onnx"
    io.to_onnx(model, path, class_names=[f"the {i}" for i in range(10)], probabilities=True)
    file = onnx.load(path)
    onnx.checker.check_model(file, full_check=True)
    assert json.loads({p.key: p.value for p in file.metadata_props}["class_names"])[3] == "the 3"
    y, p = session(path).run(None, {"x": X.reshape(len(X), 64).astype(np.float32)})
    assert difference(y, model.predict(X)) < 1e-5 and difference(p, model.predict_proba(X)) < 1e-6
    again = io.from_onnx(path)
    assert again.head == model.head == "softmax" and (again.predict_classes(X) == model.predict_classes(X)).all()


@pytest.mark.parametrize("head, last, expected", [("sigmoid", 1, "Sigmoid"), (None, 3, "Softmax")])
def test_probabilities_as_predict_proba(head, last, expected, tmp_path):
    model = nn.Sequential(nn.Dense(4, last))
    model.head = head
    io.to_onnx(model, tmp_path / "m.onnx", probabilities=True)
    X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    assert difference(session(tmp_path / "m.onnx").run(["probabilities"], {"x": X})[0], model.predict_proba(X)) < 1e-6
    assert onnx.load(tmp_path / "m.onnx").graph.node[-1].op_type == expected


def test_the_weights_are_those_of_the_graph(tmp_path):
    """Another program's changes of weights are read; where it has changed what is computed, the metadata no longer count."""
    model = nn.Sequential(nn.Rescaling(0.5), nn.Dense(4, 3, activation="relu"), nn.Dense(3, 2))
    path = tmp_path / "m.onnx"
    io.to_onnx(model, path)
    file = onnx.load(path)
    for t in file.graph.initializer:
        if t.name == "1.weight":
            t.raw_data = (2 * onnx.numpy_helper.to_array(t)).tobytes()
    onnx.save(file, path)
    again = io.from_onnx(path)
    assert (again.layers[1].weight.data == 2 * model.layers[1].weight.data).all()
    X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    for change in ("Tanh", "constant"):
        io.to_onnx(model, path)
        file = onnx.load(path)
        if change == "constant":
            next(t for t in file.graph.initializer if t.name == "0.scale").raw_data = np.float32(3).tobytes()
        else:
            next(n for n in file.graph.node if n.op_type == "Relu").op_type = "Tanh"
        onnx.save(file, path)
        again = io.from_onnx(path)
        assert difference(again.predict(X), session(path).run(None, {"x": X})[0]) < 1e-5
        assert difference(again.predict(X), model.predict(X)) > 1e-2


# ---- files of others ----


def others(nodes, arrays, path, inputs=(("in", [None, 4]),), outputs=("out",), opset=18, domain="", kind=onnx.TensorProto.FLOAT):
    """A file by onnx's own helpers."""
    h = onnx.helper
    graph = h.make_graph(
        [h.make_node(kind, ins, outs, name=f"n{i}", domain=domain, **more) for i, (kind, ins, outs, more) in enumerate(nodes)],
        "graph",
        [h.make_tensor_value_info(name, kind, shape) for name, shape in inputs],
        [h.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(a, name) for name, a in arrays.items()],
    )
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=9), path)


R = np.random.default_rng(5)
GEMM = ("Gemm", ["in", "w"], ["a"], {})
W = {
    "w": R.normal(size=(4, 3)),
    "b": R.normal(size=3),
    "w2": R.normal(size=(2, 3)),
    "s": R.uniform(1, 2, 3),
    "v": R.uniform(1, 2, 3),
}
W = {name: a.astype(np.float32) for name, a in W.items()}
ONE = {
    "one": np.float32(1),
    "minus": np.float32(-1),
    "four": np.array([4], np.float32),
    "row": W["s"][None],
    "shape": np.array([0, -1]),
}
ONE |= {"root": np.float32(2**0.5), "half": np.float32(0.5)}
CHAINS = {
    "Gemm": [("Gemm", ["in", "w", "b"], ["a"], {}), ("Relu", ["a"], ["c"], {}), ("Gemm", ["c", "w2"], ["out"], {"transB": 1})],
    "MatMul and Add": [("MatMul", ["in", "w"], ["a"], {}), ("Add", ["b", "a"], ["c"], {}), ("Tanh", ["c"], ["out"], {})],
    "scaling": [("Sub", ["in", "four"], ["a"], {}), ("Div", ["a", "four"], ["c"], {}), ("MatMul", ["c", "w"], ["d"], {}),
                ("Sub", ["d", "b"], ["e"], {}), ("Softmax", ["e"], ["out"], {"axis": 1})],
    "Flatten": [("Flatten", ["in"], ["a"], {}), ("Gemm", ["a", "w", "b"], ["out"], {})],
    "Reshape": [("Reshape", ["in", "shape"], ["a"], {}), ("Gemm", ["a", "w", "b"], ["out"], {})],
    "norms": [GEMM, ("BatchNormalization", ["a", "s", "b", "b", "v"], ["c"], {"epsilon": 1e-3}),
              ("LayerNormalization", ["c", "v", "b"], ["d"], {"axis": -1}), ("LogSoftmax", ["d"], ["out"], {})],
    "activations": [GEMM, ("LeakyRelu", ["a"], ["c"], {"alpha": 0.2}), ("Elu", ["c"], ["d"], {}),
                    ("Selu", ["d"], ["e"], {}), ("Softplus", ["e"], ["f"], {}), ("Clip", ["f", "minus", "one"], ["g"], {}),
                    ("PRelu", ["g", "row"], ["h"], {}), ("Sigmoid", ["h"], ["i"], {}), ("Identity", ["i"], ["out"], {})],
    "parts": [("Identity", ["b"], ["bias"], {}), ("Gemm", ["in", "w", "bias"], ["a"], {}), ("Sigmoid", ["a"], ["c"], {}),
              ("Mul", ["c", "a"], ["d"], {}), ("Div", ["d", "root"], ["e"], {}), ("Erf", ["e"], ["f"], {}),
              ("Add", ["f", "one"], ["g"], {}), ("Mul", ["d", "g"], ["h"], {}), ("Mul", ["h", "half"], ["out"], {})],
    "Gelu": [GEMM, ("Gelu", ["a"], ["c"], {"approximate": "tanh"}), ("Gelu", ["c"], ["out"], {})],
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_files_of_others(name, tmp_path):
    path = tmp_path / "m.onnx"
    others(CHAINS[name], {**W, **ONE}, path, opset=20 if name == "Gelu" else 18)
    X = R.normal(size=(6, 4)).astype(np.float32)
    model = io.from_onnx(path)
    assert difference(model.predict(X), session(path).run(None, {"in": X})[0]) < 1e-5


F = {"f": R.normal(size=(6, 3, 3, 3)), "fb": R.normal(size=6), "deep": R.normal(size=(6, 2, 3, 3)), "fs": R.uniform(1, 2, 6),
     "w": R.normal(size=(96, 5)), "w6": R.normal(size=(6, 5)), "b": R.normal(size=5), "w24": R.normal(size=(24, 5))}  # fmt: skip
F = {name: a.astype(np.float32) for name, a in F.items()}
CONV = ("Conv", ["in", "f", "fb"], ["a"], {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]})
IMAGES = {  # nodes, and the shape of what they take
    "pools": ([CONV, ("Relu", ["a"], ["c"], {}), ("MaxPool", ["c"], ["d"], {"kernel_shape": [2, 2], "strides": [2, 2]}),
               ("AveragePool", ["d"], ["e"], {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [0, 0, 1, 1]}),
               ("BatchNormalization", ["e", "fs", "fb", "fb", "fs"], ["g"], {}), ("Flatten", ["g"], ["h"], {}),
               ("Gemm", ["h", "w", "b"], ["out"], {})], [3, 8, 8]),
    "same": ([("Conv", ["in", "f"], ["a"], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}), ("GlobalAveragePool", ["a"], ["c"], {}),
              ("Flatten", ["c"], ["d"], {}), ("Gemm", ["d", "w6", "b"], ["out"], {})], [3, 7, 6]),
    "groups": ([("Conv", ["in", "deep"], ["a"], {"group": 3, "dilations": [2, 1]}), ("GlobalMaxPool", ["a"], ["c"], {}),
                ("Reshape", ["c", "shape"], ["d"], {}), ("MatMul", ["d", "w6"], ["out"], {})], [6, 9, 9]),
    "ceil": ([("MaxPool", ["in"], ["a"], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
              ("Flatten", ["a"], ["c"], {}), ("Gemm", ["c", "w24", "b"], ["out"], {})], [6, 3, 3]),
    "of TensorFlow": ([("Transpose", ["in"], ["x"], {"perm": [0, 3, 1, 2]}), ("Conv", ["x", "f"], ["a"], {}),
                       ("GlobalAveragePool", ["a"], ["c"], {}), ("Flatten", ["c"], ["out"], {})], [5, 5, 3]),
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGES)
def test_images_of_others(name, tmp_path):
    nodes, shape = IMAGES[name]
    path = tmp_path / "m.onnx"
    others(nodes, {**F, "shape": np.array([0, -1])}, path, inputs=(("in", [None, *shape]),))
    X = R.normal(size=(3, *shape)).astype(np.float32)
    assert difference(io.from_onnx(path).predict(X), session(path).run(None, {"in": X})[0].reshape(3, -1)) < 1e-5


@pytest.mark.skipif(not hasattr(nn, "Embedding"), reason="needs tables")
def test_tables_of_others(tmp_path):
    path, kind = tmp_path / "m.onnx", onnx.TensorProto.INT64
    nodes = [("Gather", ["w", "in"], ["a"], {}), ("Flatten", ["a"], ["c"], {}), ("Gemm", ["c", "to"], ["out"], {})]
    others(nodes, {**W, "to": R.normal(size=(6, 3)).astype(np.float32)}, path, inputs=(("in", [None, 2]),), kind=kind)
    X = np.array([[0, 3], [2, 1]])
    assert difference(io.from_onnx(path).predict(X), session(path).run(None, {"in": X})[0]) < 1e-5


REFUSED_IMAGES = {
    "unknown sizes": (
        [CONV],
        [3, None, 8],
        r"an input of shape \[3, None, 8\], where all sizes but the number of rows must be known",
    ),
    "padding": ([("Conv", ["in", "f"], ["out"], {"auto_pad": "SAME"})], [3, 8, 8], r"\(Conv\): expected padding that is given"),
    "turned": ([CONV, ("Transpose", ["a"], ["out"], {"perm": [0, 2, 3, 1]})], [3, 8, 8], r"\(Transpose\): expected it first"),
    "channels": ([("Conv", ["in", "f"], ["out"], {})], [4, 8, 8], r"\(Conv\): .*expected 3 channels"),
    "small": ([("Conv", ["in", "f"], ["out"], {})], [3, 2, 8], r"\(Conv\): .*expected images of at least 3 pixels"),
    "storage": (
        [("MaxPool", ["in"], ["out"], {"kernel_shape": [2, 2], "storage_order": 1})],
        [3, 8, 8],
        r"Pool\): expected no dilation of a mean, in the order of rows",
    ),
}


@pytest.mark.parametrize("name", REFUSED_IMAGES)
def test_images_of_others_that_no_model_takes(name, tmp_path):
    nodes, shape, message = REFUSED_IMAGES[name]
    others(nodes, F, tmp_path / "m.onnx", inputs=(("in", [None, *shape]),))
    with pytest.raises(ValueError, match=message):
        io.from_onnx(tmp_path / "m.onnx")


REFUSED = {
    "another operator": ([("MatMul", ["in", "w"], ["a"], {}), ("Sin", ["a"], ["out"], {})], r"'n1' \(Sin\): an operator that no"),
    "two ways": ([GEMM, ("Tanh", ["a"], ["c"], {}), ("Mul", ["a", "c"], ["out"], {})], r"node 'n2' \(Mul\)"),
    "no activation": ([GEMM, ("Sigmoid", ["a"], ["c"], {}), ("Add", ["a", "c"], ["out"], {})], r"n2.*Add\(Sigm"),
    "transposed input": ([("Gemm", ["in", "w"], ["out"], {"transA": 1})], r"node 'n0' \(Gemm\): expected transA 0"),
    "weights as input": ([("MatMul", ["w", "in"], ["out"], {})], r"node 'n0' \(MatMul\): expected weights"),
    "scaling behind a layer": ([("Gemm", ["in", "w", "b"], ["a"], {}), ("Mul", ["a", "four"], ["out"], {})], r"Mul.*a dense"),
    "clip": ([GEMM, ("Clip", ["a"], ["out"], {})], r"\(Clip\): expected limits of -1 and 1"),
    "sizes": ([GEMM, ("Gemm", ["a", "w"], ["out"], {})], r"layer 1: .* expected 4 input features, got 3"),
    "first axis": ([GEMM, ("Softmax", ["a"], ["out"], {"axis": 0})], r"\(Softmax\): expected it over the last"),
    "no division": ([("Div", ["in", "zero"], ["a"], {}), ("Gemm", ["a", "w"], ["out"], {})], r"Div.*scale: expected a finite"),
    "eps": ([GEMM, ("BatchNormalization", ["a", "s", "b", "b", "v"], ["out"], {"epsilon": -1.0})], r"eps:"),
    "integers": ([("MatMul", ["in", "whole"], ["out"], {})], r"\(MatMul\): expected floating-point numbers"),
    "output": ([GEMM, ("Relu", ["a"], ["c"], {})], r"a graph whose output is not what its last node makes"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_files_of_others_that_no_model_is(name, tmp_path):
    nodes, message = REFUSED[name]
    more = {"zero": np.float32(0), "whole": np.ones((4, 3), np.int64)}
    others(nodes, {**W, **ONE, **more}, tmp_path / "m.onnx")
    with pytest.raises(ValueError, match=rf"m\.onnx': expected an ONNX model that can be read, got .*{message}"):
        io.from_onnx(tmp_path / "m.onnx")


def test_other_opsets_domains_and_shapes_of_graphs(tmp_path):
    path = tmp_path / "m.onnx"
    for opset, message in ((9, "operators of version 9, while 13 to"), (999, "operators of version 999")):
        others(CHAINS["Gemm"], W, path, opset=opset)
        with pytest.raises(ValueError, match=message):
            io.from_onnx(path)
    others(CHAINS["Gemm"], W, path, domain="com.example")
    with pytest.raises(ValueError, match=r"node 'n0' \(Gemm\): an operator that no layer here is"):
        io.from_onnx(path)
    others(CHAINS["Gemm"], W, path, outputs=("out", "a"))
    with pytest.raises(ValueError, match="a graph of 1 inputs and 2 outputs"):
        io.from_onnx(path)


# ---- files that are broken ----


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    model = nn.Sequential(nn.Dense(4, 8, activation="gelu"), nn.BatchNorm(8), nn.PReLU(8), nn.Dense(8, 2))
    path = tmp_path_factory.mktemp("onnx") / "m.onnx"
    io.to_onnx(model, path)
    return path.read_bytes()


def test_truncated_files(small, tmp_path):
    """At every length: an error, never a model."""
    path = tmp_path / "m.onnx"
    for n in [*range(0, 64), *range(64, len(small), 7), *range(len(small) - 40, len(small))]:
        path.write_bytes(small[:n])
        try:
            model = io.from_onnx(path)
        except ValueError as error:
            assert "m.onnx': expected an ONNX model that can be read" in str(error)
        else:  # the metadata, which stand at the end, were cut off whole: the graph is there
            assert len(model) and n > 0.4 * len(small)


def test_flipped_bytes(small, tmp_path):
    """Whatever is changed gives a model or a ValueError."""
    path, random = tmp_path / "m.onnx", np.random.default_rng(0)
    for _ in range(400):
        data = bytearray(small)
        for at in random.integers(0, len(data), random.integers(1, 4)):
            data[at] = random.integers(256)
        path.write_bytes(data)
        try:
            model = io.from_onnx(path)
        except ValueError:
            continue
        with np.errstate(all="ignore"):
            model.predict(np.zeros((1, model.in_features)))


def changed(small, tmp_path, change):
    message = onnx_format.decode(memoryview(small), onnx_format.MODEL)
    change(message)
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_format.encode(message, onnx_format.MODEL))
    return path


def _set(what, **values):
    def change(message):
        what(message).update(values)

    return change


def _metadata(key, value):
    def change(message):
        next(e for e in message["metadata_props"] if e["key"] == key)["value"] = value

    return change


def _also(key, value):
    return lambda message: message["metadata_props"].append({"key": key, "value": value})


HUGE = '{"layers": [{"class": "Dense", "in_features": 1000000000, "out_features": 1000000000}]}'
HOSTILE = {
    "a shape that lies": (_set(lambda m: m["graph"]["initializer"][0], dims=[1 << 20, 1 << 20]), "in 128 bytes"),
    "a negative shape": (_set(lambda m: m["graph"]["initializer"][0], dims=[-4, -8]), "of shape"),
    "a type that is none": (_set(lambda m: m["graph"]["initializer"][0], data_type=99), "expected numbers, got type 99"),
    "weights elsewhere": (_set(lambda m: m["graph"]["initializer"][0], data_location=1), "expected its numbers in the file"),
    "a huge architecture": (_metadata("fastnn.architecture", HUGE), "architecture of fastnn's that does not fit"),
    "no JSON": (_metadata("fastnn.architecture", "{" * 5000), "architecture of fastnn's that does not fit"),
    "deep JSON": (_metadata("fastnn.architecture", '{"layers":[' * 5000), "architecture of fastnn's that does not fit"),
    "axes of no array": (_also("fastnn.axes", '{"none": [1, 0]}'), "architecture of fastnn's that does not fit"),
    "axes that are none": (_also("fastnn.axes", '{"0.weight": [1, 7, 0]}'), "architecture of fastnn's that does not fit"),
    "axes of another kind": (_also("fastnn.axes", "[1]"), "architecture of fastnn's that does not fit"),
    "a later version": (_metadata("fastnn.version", "2"), "metadata of version '2'"),
    "no graph": (lambda m: m.pop("graph"), "no graph of operators"),
    "no opset": (lambda m: m.update(opset_import=[]), "no graph of operators"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(name, small, tmp_path):
    change, message = HOSTILE[name]
    with pytest.raises(ValueError, match=message):
        io.from_onnx(changed(small, tmp_path, change))


def test_hostile_bytes(tmp_path):
    path = tmp_path / "m.onnx"
    for data in (
        b"",
        b"\x80" * 100,
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"{}",
        b"\x0b",
        b"\x3a\x02\x0a\x7f",
        bytes(range(256)),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="expected an ONNX model that can be read"):
            io.from_onnx(path)
    with pytest.raises(FileNotFoundError):
        io.from_onnx(tmp_path / "none.onnx")


@pytest.mark.parametrize(
    "arguments, kind, error",
    [
        ({"opset": 17}, ValueError, "opset: expected an integer from 18 to 24, got 17"),
        ({"opset": "18"}, ValueError, "opset: expected an integer"),
        ({"class_names": ["a"]}, ValueError, "class_names: expected 2, got 1"),
        ({"class_names": "ab"}, TypeError, "class_names: expected a sequence of str"),
    ],
)
def test_bad_input(arguments, kind, error, tmp_path):
    with pytest.raises(kind, match=error):
        io.to_onnx(nn.Sequential(nn.Dense(4, 2)), tmp_path / "m.onnx", **arguments)
    assert not list(tmp_path.iterdir())


def test_probabilities_that_do_not_follow(tmp_path):
    model = nn.Sequential(nn.Dense(4, 2))
    model.head = "numbers"
    with pytest.raises(ValueError, match="predict_proba: expected a model trained on a cross-entropy"):
        io.to_onnx(model, tmp_path / "m.onnx", probabilities=True)


def test_more_than_the_format_holds(monkeypatch, tmp_path):
    from fastnn.io import onnx_export

    monkeypatch.setattr(onnx_export, "_LIMIT", 300)
    for model in (nn.Sequential(nn.Dense(40, 2)), nn.Sequential(nn.Dense(4, 2))):
        with pytest.raises(ValueError, match="limit of ONNX files"):
            io.to_onnx(model, tmp_path / "m.onnx")


def test_layers_of_ones_own(tmp_path):
    class Twice(nn.Layer):
        def emit(self, builder, x):
            return builder.add(x, x)

    model = nn.Sequential(nn.Dense(4, 2), Twice())
    io.to_onnx(model, tmp_path / "m.onnx")
    X = np.ones((2, 4), np.float32)
    assert difference(session(tmp_path / "m.onnx").run(None, {"x": X})[0], model.predict(X)) < 1e-6
    assert (io.from_onnx(tmp_path / "m.onnx", layers=[Twice]).predict(X) == model.predict(X)).all()
    with pytest.raises(ValueError, match="expected one of .*Twice"):
        io.from_onnx(tmp_path / "m.onnx")
