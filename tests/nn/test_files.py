"""Files, good and hostile."""

import json
import os
import pathlib
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnn import nn

from nn_cases import bits, mlp, RNG


@pytest.fixture(scope="module")
def good():
    """The bytes of a good file, and the model that is in it."""
    import tempfile

    model = mlp()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.safetensors")
        model.save(path)
        return pathlib.Path(path).read_bytes(), model


def parts(data):
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize("kind", [str, pathlib.Path, os.fsencode])
def test_file_round_trip(tmp_path, kind):
    model = mlp()
    path = kind(str(tmp_path / "modèl 1.safetensors"))
    assert model.save(path) is None
    again = nn.load(path)
    assert bits(again) == bits(model) and repr(again) == repr(model)
    x = RNG.normal(size=(3, 3, 4))
    assert again.predict(x).tobytes() == model.predict(x).tobytes()
    assert len(os.listdir(tmp_path)) == 1
    again.save(path)  # over what is there
    assert bits(nn.load(path)) == bits(model)


def test_a_file_says_everything():
    model = nn.Sequential(
        nn.Rescaling(1 / 3), nn.Dense(2, 2, activation="leaky_relu"), nn.Activation("leaky_relu", 0.0), nn.Dense(2, 1, bias=False)
    )
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        model.save(os.path.join(folder, "m"))
        assert repr(nn.load(os.path.join(folder, "m"))) == repr(model)


def test_files_are_plain_safetensors(tmp_path, good):
    from safetensors import safe_open
    from safetensors.numpy import load_file

    path = tmp_path / "m.safetensors"
    path.write_bytes(good[0])
    tensors = load_file(path)
    assert {k: v.tobytes() for k, v in tensors.items()} == {k: v.tobytes() for k, v in good[1].state_dict().items()}
    with safe_open(path, "numpy") as file:
        assert file.metadata()["format"] == "fastnn" and file.metadata()["version"] == "1"


def test_files_hold_what_safetensors_writes(tmp_path):
    """The same tensors at the same places; the header is in an order of ours, for theirs is one by chance."""
    from safetensors.numpy import save

    model = nn.Sequential(*(nn.Dense(3, 3) for _ in range(11)), nn.BatchNorm(3))
    model.save(tmp_path / "m")
    found = (tmp_path / "m").read_bytes()
    length = int.from_bytes(found[:8], "little")
    header = json.loads(found[8 : 8 + length])
    theirs = save(model.state_dict(), header["__metadata__"])
    other = int.from_bytes(theirs[:8], "little")
    assert header == json.loads(theirs[8 : 8 + other]) and found[8 + length :] == theirs[8 + other :] and length % 8 == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a limit of memory")
@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer ends a process without memory")
def test_saving_and_loading_without_memory(tmp_path):
    """A model is saved whatever is left; one that has no room is a MemoryError."""
    code = """
import os, resource, sys
from fastnn import nn
model = nn.Sequential(nn.Dense(3000, 3000, init="zeros"))
used = int(open("/proc/self/statm").read().split()[0]) * 4096
loaded = refused = 0
for extra in range(2, 120, 8):
    resource.setrlimit(resource.RLIMIT_AS, (used + extra * 10**6, -1))
    model.save(sys.argv[1])
    try:
        nn.load(sys.argv[1])
        loaded += 1
    except MemoryError:
        refused += 1
print(loaded > 0, refused > 0)
"""
    found = subprocess.run([sys.executable, "-c", code, tmp_path / "m"], capture_output=True, text=True)
    assert found.stdout == "True True\n", found.stderr


def test_special_values_survive(tmp_path):
    model = nn.Sequential(nn.Dense(2, 3))
    model.layers[0].weight.data[...] = [[np.nan, np.inf, -np.inf], [-0.0, 1e-45, 3e38]]
    model.save(tmp_path / "m")
    assert bits(nn.load(tmp_path / "m")) == bits(model)


def test_saving_where_nothing_can_be_written(tmp_path):
    model = mlp()
    (tmp_path / "file").write_bytes(b"precious")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "no" / "m", tmp_path / "file" / "m", tmp_path / "folder", tmp_path / ("x" * 300)):
        with pytest.raises(OSError):
            model.save(path)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"] and not os.listdir(tmp_path / "folder")
    assert (tmp_path / "file").read_bytes() == b"precious"


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    model = mlp()
    model.save(tmp_path / "m")
    before = (tmp_path / "m").read_bytes()

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    model.layers[2].weight.data[...] = 0
    with pytest.raises(OSError, match="No space"):
        model.save(tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == before and os.listdir(tmp_path) == ["m"]


def test_reading_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        nn.load(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        nn.load(tmp_path)
    with pytest.raises(TypeError):
        nn.load(3)


def refused(tmp_path, data, message=""):
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"hostile.safetensors'.*{message}") as caught:
            nn.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 2000
    assert peak < 100 * len(data) + 4_000_000  # every byte of a header may be a list within the last
    return str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0" * 8,
        b"\xff" * 8,
        b"\xff" * 100,
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2**40) + b"{}",
        struct.pack("<Q", 100_000_000) + b"{}",
        struct.pack("<Q", 3) + b"{}",
        joined(b"[]", b""),
        joined(b"[" * 100_000, b""),
        joined(b'{"a":' * 100_000, b""),
        joined(b'{"__metadata__": 5}', b""),
        joined(b'{"__metadata__": {"format": 5}}', b""),
        joined({"__metadata__": {}}, b""),
        joined({"__metadata__": {"format": "pt"}}, b""),
        joined({"w": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 4]}}, b"1234"),
        joined({"w": {"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 0]}}, b""),
        joined({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"1234"),
        joined({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}, b"1234"),
        joined({"w": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}, b"1234"),
        joined({"w": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}}, b"12341234"),
        b"PK\x03\x04" + b"\0" * 100,
        b"\x93NUMPY" + b"\0" * 100,
    ],
)
def test_files_that_are_none(tmp_path, data):
    refused(tmp_path, data, "expected a model file of fastnn, got")


def test_every_truncation(tmp_path, good):
    data = good[0]
    for length in [*range(0, 64), *range(64, len(data), 29), len(data) - 1]:
        refused(tmp_path, data[:length], "no safetensors file")


def with_architecture(good, architecture, **metadata):
    header, body = parts(good[0])
    header["__metadata__"].update({"architecture": architecture if isinstance(architecture, str) else json.dumps(architecture), **metadata})
    return joined(header, body)


@pytest.mark.parametrize("version", ["2", "999", "9" * 5000, "", "-1", "1.0", "one", "²", "１", " 1", "0"])
def test_versions(tmp_path, good, version):
    header, body = parts(good[0])
    header["__metadata__"]["version"] = version
    assert "format version" in refused(tmp_path, joined(header, body))


@pytest.mark.parametrize(
    "architecture",
    [
        "",
        "{",
        "null",
        "3",
        "[]",
        "{}",
        '{"layers": null}',
        '{"layers": {}}',
        '{"layers": []}',
        '{"layers": [null]}',
        '{"layers": [3]}',
        '{"layers": ["Dense"]}',
        '{"layers": [{}]}',
        '{"layers": [{"class": null}]}',
        '{"layers": [{"class": []}]}',
        '{"layers": [{"class": {}}]}',
        '{"layers": [{"class": "Layer"}]}',
        '{"layers": [{"class": "Sequential"}]}',
        '{"layers": [{"class": "__import__"}]}',
        '{"layers": [{"class": "Dense"}]}',
        '{"layers": [{"class": "Flatten"}]}',
        '{"layers": [{"class": "Flatten", "x": 1}]}',
        '{"layers": [{"class": "Activation", "name": []}]}',
        '{"layers": [{"class": "Activation", "name": "relu", "alpha": "x"}]}',
        '{"layers": [{"class": "Rescaling", "scale": 1e999}]}',
        '{"layers": [{"class": "Rescaling", "scale": NaN}]}',
        '{"layers": [{"class": "Rescaling", "scale": 1' + "0" * 400 + "}]}",
        '{"layers": [{"class": "Rescaling", "scale": 1' + "0" * 5000 + "}]}",
        '{"layers": [{"class": "Rescaling", "scale": null}]}',
        "[" * 100_000,
        '{"layers": ' + "[" * 50_000 + "]" * 50_000 + "}",
        '{"layers": [' + '{"class": "Activation", "name": "relu"},' * 20_000 + '{"class": "Activation", "name": "relu"}]}',
        '{"layers": [' + "1," * 100_000 + "1]}",
    ],
)
def test_architectures_that_are_none(tmp_path, good, architecture):
    refused(tmp_path, with_architecture(good, architecture))


def changed(good, index, **entries):
    architecture = json.loads(parts(good[0])[0]["__metadata__"]["architecture"])
    architecture["layers"][index].update(entries)
    return architecture


@pytest.mark.parametrize(
    "index, entries",
    [
        (2, {"in_features": 13}),
        (2, {"out_features": 2**31 - 1}),
        (2, {"in_features": 2**31 - 1, "out_features": 2**31 - 1}),
        (2, {"in_features": 10**30}),
        (2, {"in_features": -12}),
        (2, {"in_features": 0}),
        (2, {"in_features": 12.0}),
        (2, {"in_features": "12"}),
        (2, {"in_features": None}),
        (2, {"in_features": [12]}),
        (2, {"bias": False}),
        (4, {"bias": True}),
        (2, {"activation": "swish"}),
        (2, {"activation": 3}),
        (2, {"activation": {"name": "relu"}}),
        (2, {"alpha": "x"}),
        (2, {"alpha": -1}),
        (2, {"alpha": [1]}),
        (2, {"alpha": 10**400}),
        (2, {"self": 1}),
        (2, {"unknown": 1}),
        (2, {"class": "Activation"}),
        (6, {"class": "Flatten"}),
        (0, {"class": "Dense", "in_features": 12, "out_features": 12}),
        (0, {"class": "Dense", "in_features": 2**20, "out_features": 2**20}),
    ],
)
def test_architectures_that_do_not_fit_the_tensors(tmp_path, good, index, entries):
    refused(tmp_path, with_architecture(good, changed(good, index, **entries)))


def test_no_architecture(tmp_path, good):
    header, body = parts(good[0])
    del header["__metadata__"]["architecture"]
    refused(tmp_path, joined(header, body), "no readable architecture")


def test_tensors_that_do_not_fit(tmp_path, good):
    from safetensors.numpy import save

    _, model = good
    metadata = parts(good[0])[0]["__metadata__"]
    state = model.state_dict()
    for damage in (
        {"2.bias": np.zeros(10, np.float32)},
        {"2.bias": np.zeros((9, 1), np.float32)},
        {"2.bias": np.zeros(9)},
        {"2.bias": np.zeros(9, np.int32)},
        {"2.bias": np.zeros(9, np.float16)},
        {"extra": np.zeros(1, np.float32)},
        {"2.weight": state["2.weight"].T.copy()},
        {"2.weight": np.zeros((0, 9), np.float32)},
    ):
        refused(tmp_path, save({**state, **damage}, metadata))
    refused(tmp_path, save({k: v for k, v in state.items() if k != "2.bias"}, metadata))
    refused(tmp_path, save({k: v for k, v in state.items() if k != "2.weight"}, metadata))
    refused(tmp_path, save(state, {**metadata, "head": "logits"}), "outputs of a kind that is not known")
    refused(tmp_path, save(state, {}), "another program")
    refused(tmp_path, save(state), "another program")


def test_a_layer_of_no_rows(tmp_path):
    """A claimed size costs nothing: not even one that a tensor of no elements confirms."""
    from safetensors.numpy import save

    config = {"layers": [{"class": "Dense", "in_features": 0, "out_features": 2**31 - 1, "bias": True}]}
    metadata = {"format": "fastnn", "version": "1", "architecture": json.dumps(config)}
    refused(tmp_path, save({"0.weight": np.zeros((0, 2**31 - 1), np.float32)}, metadata))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_flipped_bits(good, tmp_path_factory, data):
    """A damaged file is refused by name, or it is a model like any other."""
    content = bytearray(good[0])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    path.write_bytes(content)
    try:
        model = nn.load(path)
    except ValueError as error:
        assert "flipped.safetensors" in str(error)
    else:
        with np.errstate(all="ignore"):
            assert model.predict(np.zeros((1, model.in_features))).shape == (1, model.out_features)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200), length=st.integers(0, 300))
def test_random_bytes(tmp_path_factory, data, length):
    path = tmp_path_factory.getbasetemp() / "random.safetensors"
    path.write_bytes(struct.pack("<Q", length) + data)
    with pytest.raises(ValueError, match="random.safetensors"):
        nn.load(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["Dense", "relu", "leaky_relu", ""]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["class", "name", "alpha", "in_features", "out_features", "activation", "bias", "scale", "x"]), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(index=st.integers(0, 6), key=st.sampled_from(["class", "in_features", "activation", "alpha", "bias", "name", "scale", "offset"]), value=JSON)
def test_any_architecture(good, tmp_path_factory, index, key, value):
    path = tmp_path_factory.getbasetemp() / "architecture.safetensors"
    path.write_bytes(with_architecture(good, changed(good, index, **{key: value})))
    try:
        nn.load(path)
    except ValueError as error:
        assert "architecture.safetensors" in str(error)


@pytest.mark.parametrize(
    "layer",
    [
        {"class": "Maxout", "in_features": 4, "out_features": "a" * 8, "pieces": 10**8},
        {"class": "Maxout", "in_features": 4, "out_features": [1], "pieces": 10**8},
        {"class": "LayerNorm", "features": 10**7},
        {"class": "RMSNorm", "features": 10**7},
        {"class": "DropConnect", "dense": {"class": "DropConnect", "dense": {"class": "Dense", "in_features": 4000, "out_features": 4000}}},
    ],
    ids=lambda layer: layer["class"],
)
def test_architectures_that_would_allocate_much(tmp_path, good, layer):
    refused(tmp_path, with_architecture(good, {"layers": [layer]}))
