"""Every wrong argument, output and file: one line, exit code 2, nothing left behind."""

import gzip
import os
import stat
import struct

import numpy as np
import pytest

from fastnn import data, nn

from cli_files import everything, one_line, QUICK

ARGUMENTS = [
    (["train", "--epochs", "-1"], "argument --epochs: expected an integer >= 0, got '-1'"),
    (["train", "--epochs", "2.5"], "argument --epochs: expected an integer >= 0, got '2.5'"),
    (["train", "--epochs"], "argument --epochs: expected one argument"),
    (["train", "--batch-size", "0"], "argument --batch-size: expected an integer >= 1, got '0'"),
    (["train", "--threads", "0"], "argument --threads: expected an integer from 1 to 4096, got '0'"),
    (["train", "--threads", "many"], "argument --threads: expected an integer from 1 to 4096, got 'many'"),
    (["train", "--lr", "0"], "argument --lr: expected a number > 0, got '0'"),
    (["train", "--lr=-1"], "argument --lr: expected a number > 0, got '-1'"),
    (["train", "--lr", "nan"], "argument --lr: expected a number > 0, got 'nan'"),
    (["train", "--lr", "inf"], "argument --lr: expected a number > 0, got 'inf'"),
    (["train", "--lr", "fast"], "argument --lr: expected a number > 0, got 'fast'"),
    (["train", "--momentum", "0.5"], "argument --momentum: expected only with --optimizer sgd or rmsprop, got it with adam"),
    (["train", "--optimizer", "sgd", "--momentum", "1"], "argument --momentum: expected a number >= 0 and < 1, got '1'"),
    (["train", "--optimizer", "adamm"], "argument --optimizer: expected one of adadelta, adafactor, adagrad, adam, adamax, adamw,"),
    (["train", "--weight-decay", "-1"], "argument --weight-decay: expected a number >= 0, got '-1'"),
    (["train", "--clip-norm", "0"], "argument --clip-norm: expected a number > 0, got '0'"),
    (["train", "--dropout", "1"], "argument --dropout: expected a number >= 0 and < 1, got '1'"),
    (["train", "--schedule", "cos"], "argument --schedule: expected one of constant, cosine, linear, step, onecycle, got 'cos'"),
    (["train", "--warmup", "-1"], "argument --warmup: expected a number >= 0, got '-1'"),
    (["train", "--warmup", "3", "--epochs", "3"], "argument --warmup: expected fewer epochs than --epochs, 3, got 3"),
    (["train", "--warmup", "1", "--schedule", "onecycle"], "argument --warmup: expected with another schedule than onecycle"),
    (["train", "--batchnorm", "--batch-size", "1"], "argument --batch-size: expected at least 2 samples for --batchnorm, got 1"),
    (
        ["train", "--hidden", "none", "--batchnorm"],
        "argument --batchnorm: expected only with hidden layers, got it with --hidden none",
    ),
    (["train", "--hidden", "none", "--dropout", "0.2"], "argument --dropout: expected only with hidden layers"),
    (["train", "--hidden", "none", "--activation", "relu"], "argument --activation: expected only with hidden layers"),
    (["train", "--activation", "step"], "argument --activation: expected one of identity, sigmoid"),
    (["train", "--hidden", "100,"], "argument --hidden: expected sizes from 1 up"),
    (["train", "--hidden", "0"], "argument --hidden: expected sizes from 1 up"),
    (["train", "--hidden", "99999999999"], "argument --hidden: expected sizes from 1 up"),
    (["train", "--hidden", "2000000000"], "argument --hidden: expected a model that fits in memory"),
    (["train", "--test-share", "1"], "argument --test-share: expected a number >= 0 and < 1, got '1'"),
    (["train", "--seed", "-1"], "argument --seed: expected an integer from 0 to 18446744073709551615, got '-1'"),
    (["train", "--seed", str(2**64)], "argument --seed: expected an integer from 0 to"),
    (["train", "--no-such-option"], "unrecognized arguments: --no-such-option"),
    (["train", "--epoch", "3"], "unrecognized arguments: --epoch"),  # no abbreviations: they change with the options
    (["train", "a", "b", "c"], "unrecognized arguments: c"),
    (["train", "images.gz"], "argument LABELS: expected the file of the labels after that of the samples"),
    (["train", "new\nline", "labels"], r"argument DATA: 'new\nline': No such file or directory"),
    (["train", "nul\0", "labels"], r"argument DATA: 'nul\x00': embedded null byte"),
    (["predict", "m"], "the following arguments are required: DATA"),
    (["predict", "nothing", "nowhere"], "argument MODEL: nothing: No such file or directory"),
    (["predict", "m", "x", "--output", "o.json"], "argument --output: expected a name that ends in .npy or .txt, or .csv, got o.json"),
    (["drain"], "argument COMMAND: invalid choice: 'drain'"),
]


@pytest.mark.parametrize(("argv", "text"), ARGUMENTS, ids=[" ".join(a).encode("unicode_escape").decode() for a, _ in ARGUMENTS])
def test_wrong_arguments(run, tmp_path, argv, text):
    result = run(*argv)
    assert text in one_line(result)
    assert everything(tmp_path) == []


@pytest.mark.parametrize("command", ["train", "predict"])
@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("missing/o.npy", "No such file or directory"),
        ("", None),
        (".", None),
        ("folder.npy", "it is a folder"),
        ("new.npy/", None),
        ("file/o.npy", "Not a directory"),
        ("n" * 300 + ".npy", "File name too long"),
        ("pipe.npy", "it is not a regular file"),
    ],
)
def test_unwritable_outputs(run, model, digits, tmp_path, command, output, text):
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "file").write_text("")
    os.mkfifo("pipe.npy")
    before = everything(tmp_path)
    argv = [command, model, digits / "images.npy"] if command == "predict" else [command]
    code, out, err = run(*argv, "--output", output)
    message = one_line((code, out, err))
    assert "argument --output: " in message and (text is None or text in message)
    assert out == ""  # not a word of training
    assert everything(tmp_path) == before
    assert stat.S_ISFIFO(os.stat("pipe.npy").st_mode)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(run, tmp_path):
    (tmp_path / "folder").mkdir(mode=0o500)
    assert "Permission denied" in one_line(run("train", "--output", "folder/m"))


def test_an_input_is_never_overwritten(run, model, digits, tmp_path):
    os.symlink(digits / "images.npy", "link.npy")
    for output in (digits / "images.npy", "link.npy"):
        before = (digits / "images.npy").read_bytes()
        assert "the command reads from it" in one_line(run("predict", model, digits / "images.npy", "--output", output))
        assert (digits / "images.npy").read_bytes() == before
    result = run("train", digits / "images.gz", digits / "labels.gz", "--output", digits / "labels.gz")
    assert "the command reads from it" in one_line(result)


def test_a_disk_that_fills_up(run, tmp_path, monkeypatch):
    def full(self, path):
        raise OSError(28, "No space left on device", ".fastnn.tmp")

    monkeypatch.setattr(nn.Sequential, "save", full)
    assert "argument --output: fastnn-model.safetensors: No space left on device" in one_line(run("train", *QUICK))


def idx(code, dims, payload=b""):
    return bytes([0, 0, code, len(dims)]) + struct.pack(f">{len(dims)}I", *dims) + payload


IMAGES = {
    "missing": (None, "No such file or directory"),
    "empty": (b"", "expected an IDX header"),
    "foreign": (b"\x89PNG\r\n\x1a\n" + bytes(100), "expected an IDX file"),
    "truncated": (idx(8, (3, 2, 2), bytes(11)), "expected 12 bytes of data"),
    "too long": (idx(8, (3, 2, 2), bytes(13)), "got more"),
    "lying": (idx(8, (4_000_000_000, 28, 28), bytes(100)), "as its header claims, got 100 bytes"),
    "lying beyond all memory": (idx(14, (4_000_000_000,) * 5, bytes(100)), "expected a size that fits in memory"),
    "broken gzip": (gzip.compress(idx(8, (3, 2, 2), bytes(12)))[:-9], "expected an intact gzip stream"),
    "no samples": (idx(8, (0, 2, 2)), "expected samples of at least one value, in rows, got shape (0, 2, 2)"),
    "no values": (idx(8, (3, 0, 2)), "got shape (3, 0, 2)"),
    "labels": (idx(8, (3,), bytes(3)), "got shape (3,); are these the labels?"),
    "one sample": (idx(8, (1, 2), bytes(2)), "expected at least 2 samples, to hold some out, got 1"),
    "not finite": (idx(13, (3, 1), np.array([0, np.nan, 0], ">f4").tobytes()), "finite in float32, got others in sample 1"),
    "too large": (idx(14, (3, 1), np.array([0, 0, 1e39], ">f8").tobytes()), "finite in float32, got others in sample 2"),
}


@pytest.mark.parametrize("case", IMAGES)
def test_bad_images(run, tmp_path, case):
    blob, text = IMAGES[case]
    if blob is not None:
        (tmp_path / "x.idx").write_bytes(blob)
    rows = 1 if case == "one sample" else 3
    data.write_idx(tmp_path / "y.idx", np.array([0, 1, 0][:rows] if rows > 1 else [1], np.uint8))
    before = everything(tmp_path)
    message = one_line(run("train", "x.idx", "y.idx"))
    assert "argument DATA: " in message and "x.idx" in message and text in message
    assert everything(tmp_path) == before


LABELS = {
    "missing": (None, "No such file or directory"),
    "foreign": (b"GIF89a", "expected an IDX file"),
    "too few": (np.zeros(2, np.uint8), "expected 3 labels, as many as samples in x.idx, got 2"),
    "too many": (np.zeros(4, np.uint8), "got 4"),
    "images": (np.zeros((3, 2, 2), np.uint8), "expected labels in 1 dimension, got shape (3, 2, 2)"),
    "negative": (np.array([0, -1, 1], np.int8), "got -1 for sample 1"),
    "absurd": (np.array([0, 1, 2**31 - 1], np.int32), "expected labels from 0 to 65535, got 2147483647 for sample 2"),
    "one class": (np.zeros(3, np.uint8), "expected at least 2 classes"),
}


@pytest.mark.parametrize("case", LABELS)
def test_bad_labels(run, tmp_path, case):
    labels, text = LABELS[case]
    data.write_idx(tmp_path / "x.idx", np.zeros((3, 2, 2), np.uint8))
    if isinstance(labels, bytes):
        (tmp_path / "y.idx").write_bytes(labels)
    elif labels is not None:
        data.write_idx(tmp_path / "y.idx", labels)
    before = everything(tmp_path)
    message = one_line(run("train", "x.idx", "y.idx"))
    assert "argument LABELS: " in message and "y.idx" in message and text in message
    assert everything(tmp_path) == before


def npy(header, payload=b"", version=(1, 0)):
    text = header if isinstance(header, bytes) else repr(header).encode()
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text) + 1)
    return b"\x93NUMPY" + bytes(version) + length + text + b"\n" + payload


def described(descr="|u1", shape=(2, 64), **more):
    return {"descr": descr, "fortran_order": False, "shape": shape, **more}


DATA = {
    "missing": (None, "No such file or directory"),
    "empty": (b"", "expected an .npy file"),
    "foreign": (b"1,2,3\n4,5,6\n", "expected an .npy file"),
    "magic only": (b"\x93NUMPY", "expected an .npy file"),
    "header cut": (npy(described(), bytes(128))[:40], "header cannot be read"),
    "truncated": (npy(described(), bytes(127)), "claims shape (2, 64) of uint8, 128 bytes, while 127 bytes follow"),
    "too long": (npy(described(), bytes(129)), "while 129 bytes follow"),
    "lying": (npy(described(shape=(10**9, 64)), bytes(128)), "while 128 bytes follow"),
    "lying beyond all memory": (npy(described(shape=(2**62, 64, 64)), bytes(128)), "while 128 bytes follow"),
    "negative": (npy(described(shape=(-2, -64)), bytes(128)), "claims shape (-2, -64)"),
    "no shape": (npy({"descr": "|u1", "fortran_order": False}, bytes(128)), "header cannot be read"),
    "no dict": (npy(b"[1, 2", bytes(128)), "header cannot be read"),
    "deep": (npy(b"(" * 9000 + b")" * 9000, bytes(128), (2, 0)), "header cannot be read"),
    "unknown dtype": (npy(described("zz9"), bytes(128)), "header cannot be read"),
    "pickles": (npy(described("|O", (1,)), b"cos\nsystem\n(S'true'\ntR."), "Python objects"),
    "future": (b"\x93NUMPY\x09\x00" + bytes(64), "header cannot be read"),
    "text": (npy(described("<U1", (2, 64)), bytes(512)), "expected real numbers, got dtype <U1"),
    "complex": (npy(described("<c8", (2, 64)), bytes(1024)), "expected real numbers, got dtype complex64"),
    "records": (npy(described([("a", "|u1")], (2, 64)), bytes(128)), "expected real numbers, got dtype [('a', 'u1')]"),
    "a number": (npy(described(shape=()), bytes(1)), "got shape ()"),
    "a vector": (npy(described(shape=(64,)), bytes(64)), "got shape (64,)"),
    "no samples": (npy(described(shape=(0, 64))), "got shape (0, 64)"),
    "another size": (npy(described(shape=(2, 7, 9)), bytes(126)), "expected samples of 64 values"),
    "not finite": (npy(described("<f4"), np.full(128, np.inf, np.float32).tobytes()), "got others in sample 0"),
}


@pytest.mark.parametrize("case", DATA)
def test_bad_data(run, model, tmp_path, case):
    blob, text = DATA[case]
    if blob is not None:
        (tmp_path / "d.npy").write_bytes(blob)
    before = everything(tmp_path)
    code, out, err = run("predict", model, "d.npy", "--output", "o.npy")
    message = one_line((code, out, err))
    assert "argument DATA: " in message and "d.npy" in message and text in message
    assert out == "" and everything(tmp_path) == before


def test_the_format_is_told_by_content(run, model, digits):
    os.rename(digits / "images.npy", "without-suffix")
    assert run("predict", model, "without-suffix")[0] == 0


@pytest.mark.parametrize("case", ["missing", "empty", "foreign", "folder", "other program", "truncated", "device"])
def test_bad_models(run, model, digits, tmp_path, case):
    from safetensors.numpy import save

    path = tmp_path / "m.safetensors"
    if case == "folder":
        path.mkdir()
    elif case == "device":
        path = "/dev/zero"
    elif case != "missing":
        blobs = {
            "empty": b"",
            "foreign": (digits / "images.npy").read_bytes(),
            "other program": save({"a": np.zeros(3, np.float32)}),
            "truncated": model.read_bytes()[:-1],
        }
        path.write_bytes(blobs[case])
    message = one_line(run("predict", path, digits / "images.npy"))
    assert "argument MODEL: " in message and str(path) in message


def test_models_damaged_anywhere(run, model, digits, tmp_path):
    """Whatever stands in the file, it predicts or is refused in one line."""
    good, rng = model.read_bytes(), np.random.default_rng(0)
    header = 8 + int.from_bytes(good[:8], "little")
    for _ in range(150):
        bad = bytearray(good)
        bad[rng.integers(header)] = rng.integers(256)
        (tmp_path / "bad").write_bytes(bad)
        result = run("predict", "bad", digits / "images.npy")
        assert result[0] == 0 or "bad" in one_line(result)
