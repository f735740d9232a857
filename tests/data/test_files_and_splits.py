"""fastnn.data: IDX files good and hostile, the packaged digits, splits, one-hot labels."""

import gzip
import hashlib
import importlib.resources
import os
import stat
import struct
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnn import data
from fastnn.data import idx as idx_files
from fastnn.core import atomic_files as files

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
DTYPES = [np.dtype(order + code) for code in CODES for order in "<>"]
MNIST = Path(os.environ.get("FASTNN_MNIST") or Path(__file__).parents[3] / "shared/data/mnist")


def idx(code, dims, payload=b"", start=b"\0\0"):
    """The bytes of an IDX file, true or not."""
    return start + bytes([code, len(dims)]) + struct.pack(f">{len(dims)}I", *dims) + payload


def same_bits(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def traced_peak(function):
    """Bytes that `function` holds at its highest point; what it raises is left to the caller's other assertions."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError):
            function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- IDX: what is written is read ---


@settings(max_examples=80, deadline=None)
@given(
    array=st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=5))
    ),
    suffix=st.sampled_from(["", ".gz"]),
    order=st.sampled_from("CF"),
)
def test_round_trip(array, suffix, order):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.idx" + suffix)
        data.write_idx(path, np.asarray(array, order=order))
        with open(path, "rb") as file:
            assert (file.read(2) == b"\x1f\x8b") == (suffix == ".gz")
        back = data.read_idx(path)
    assert same_bits(back, array.astype(array.dtype.newbyteorder("=")))
    assert back.dtype.isnative and back.flags.c_contiguous and back.flags.writeable and back.flags.aligned


@settings(max_examples=80, deadline=None)
@given(cut=st.integers(0, 40), place=st.integers(0, 39), byte=st.integers(0, 255), packed=st.booleans())
def test_damaged_file_is_an_array_or_a_value_error(cut, place, byte, packed):
    blob = idx(0x0B, (2, 7), bytes(range(28)))
    blob = bytearray(gzip.compress(blob, mtime=0) if packed else blob)
    blob[place] = byte
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.idx")
        Path(path).write_bytes(blob[: len(blob) - cut])
        try:
            assert isinstance(data.read_idx(path), np.ndarray)
        except ValueError as error:
            assert "a.idx" in str(error)


@pytest.mark.parametrize("name", CODES)
def test_bytes_of_a_file(tmp_path, name):
    path = tmp_path / "a.idx"
    values = np.array([[1, 2, 3], [4, 5, 6]], dtype=name)
    expected = idx(CODES[name], (2, 3), values.astype(values.dtype.newbyteorder(">")).tobytes())
    data.write_idx(path, values)
    assert path.read_bytes() == expected


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_path_kinds(tmp_path, kind):
    path = kind(str(tmp_path / "a.idx.gz"))
    data.write_idx(path, np.arange(3, dtype=np.uint8))
    assert data.read_idx(path).tolist() == [0, 1, 2]


def test_strided_input(tmp_path):
    values = np.arange(60, dtype=np.int32).reshape(5, 12)[::-2, ::3]
    data.write_idx(tmp_path / "a.idx", values)
    assert same_bits(data.read_idx(tmp_path / "a.idx"), np.ascontiguousarray(values))


def test_more_than_one_chunk(tmp_path):
    values = np.arange(3 * idx_files._CHUNK // 4 + 5, dtype=np.int32)
    for name in ("a.idx", "a.idx.gz"):
        data.write_idx(tmp_path / name, values)
        assert same_bits(data.read_idx(tmp_path / name), values)


def test_gzip_is_told_by_content(tmp_path):
    blob = idx(0x08, (3,), b"abc")
    (tmp_path / "plain.gz").write_bytes(blob)
    (tmp_path / "packed.idx").write_bytes(gzip.compress(blob))
    (tmp_path / "members.idx").write_bytes(gzip.compress(blob[:5]) + gzip.compress(blob[5:]))
    for name in ("plain.gz", "packed.idx", "members.idx"):
        assert data.read_idx(tmp_path / name).tobytes() == b"abc"


# --- IDX: hostile files ---

U1 = 0x08
HOSTILE = {
    "empty": (b"", "at least 4 bytes, got 0"),
    "three_bytes": (b"\0\0\x08", "at least 4 bytes, got 3"),
    "bad_magic": (idx(U1, (1,), b"a", start=b"\0\1"), "an IDX file.*got 00 01 08 01"),
    "text": (b"label,pixel\n", "an IDX file.*got 6c 61 62 65"),
    "bad_type_code": (idx(0x0A, (1,), b"a"), "an IDX file.*got 00 00 0a 01"),
    "no_dimensions": (idx(U1, ()), "an IDX file.*got 00 00 08 00"),
    "truncated_header": (idx(U1, (2, 3))[:-1], "header of 12 bytes for 2 dimensions, got 11"),
    "header_of_255_dimensions": (b"\0\0\x08\xff" + b"\0" * 8, "header of 1024 bytes for 255 dimensions, got 12"),
    "no_data": (idx(U1, (2, 3)), "6 bytes.*2 x 3 of uint8.*got 0 bytes"),
    "truncated_data": (idx(U1, (2, 3), b"abcde"), "6 bytes.*got 5 bytes"),
    "truncated_element": (idx(0x0E, (2,), b"a" * 15), "16 bytes.*2 of float64.*got 15 bytes"),
    "trailing_data": (idx(U1, (2, 3), b"abcdefg"), "6 bytes.*got more"),
    "trailing_after_empty": (idx(U1, (0, 3), b"a"), "0 bytes.*got more"),
    "claims_terabytes": (idx(U1, (2**20, 2**20), b"abc"), f"{2**40} bytes.*got 3 bytes"),
    "claims_wrap_64_bits": (idx(U1, (2**31, 2**31, 4, 1)), "fits in memory.*more than"),
    "claims_wrap_64_bits_in_bytes": (idx(0x0E, (2**31, 2**30), b"abc"), "fits in memory.*more than"),
    "claims_255_dimensions": (idx(U1, (2**32 - 1,) * 255), "fits in memory.*255 dimensions 4294967295 x"),
    "zero_beside_huge": (idx(U1, (0,) + (2**32 - 1,) * 3), "shape that NumPy can hold"),
    "too_many_dimensions": (idx(U1, (1,) * 200, b"a"), "shape that NumPy can hold"),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_file(tmp_path, case, packed):
    blob, message = HOSTILE[case]
    path = tmp_path / f"{case}.bin"
    path.write_bytes(gzip.compress(blob) if packed else blob)
    with pytest.raises(ValueError, match=f"(?s)^'.*{case}.bin': expected .*{message}") as caught:
        data.read_idx(path)
    assert len(str(caught.value)) < 400 + len(str(path))


GOOD = gzip.compress(idx(U1, (200,), np.random.default_rng(0).bytes(200)), mtime=0)


@pytest.mark.parametrize(
    "blob",
    [
        GOOD[:2],
        GOOD[:9],
        GOOD[:60],
        GOOD[:-1],
        GOOD[:-8],
        GOOD[:-8] + b"\0" * 8,
        GOOD[:2] + b"\x07" + GOOD[3:],
        GOOD[:10] + b"\xff" * 20 + GOOD[30:],
        GOOD + b"garbage",
    ],
    ids=["magic", "header", "data", "length", "no_trailer", "wrong_crc", "method", "deflate", "garbage_after"],
)
def test_corrupt_gzip(tmp_path, blob):
    path = tmp_path / "broken.gz"
    path.write_bytes(blob)
    with pytest.raises(ValueError, match="broken.gz': expected an intact gzip stream, got a broken one"):
        data.read_idx(path)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_lying_header_reserves_nothing(tmp_path, packed):
    path = tmp_path / "a.idx"
    blob = idx(U1, (2**20, 2**20), b"abc")
    path.write_bytes(gzip.compress(blob) if packed else blob)
    assert traced_peak(lambda: data.read_idx(path)) < 3 * idx_files._CHUNK


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_bomb_is_not_expanded(tmp_path, packed):
    path = tmp_path / "a.idx"
    blob = idx(U1, (100,), bytes(20 * idx_files._CHUNK))
    path.write_bytes(gzip.compress(blob, compresslevel=1) if packed else blob)
    assert traced_peak(lambda: data.read_idx(path)) < idx_files._CHUNK


def test_system_errors_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError):
        data.read_idx(tmp_path / "absent.idx")
    with pytest.raises(FileNotFoundError):
        data.write_idx(tmp_path / "absent" / "a.idx", np.zeros(1, np.uint8))
    if os.name == "posix":
        with pytest.raises(IsADirectoryError):
            data.read_idx(tmp_path)
        with pytest.raises(IsADirectoryError):
            data.write_idx(tmp_path, np.zeros(1, np.uint8))
        assert list(tmp_path.parent.glob(".fastnn-*")) == []
    with pytest.raises(TypeError):
        data.read_idx(3)


# --- IDX: writing ---


@pytest.mark.parametrize("dtype", ["?", "u2", "u4", "i8", "u8", "f2", "c8", "U3", "O", "M8[s]", "V4"])
def test_write_rejects_other_dtypes(tmp_path, dtype):
    with pytest.raises(TypeError, match="array: expected one of the dtypes of IDX.*got "):
        data.write_idx(tmp_path / "a.idx", np.zeros(2, dtype=dtype))
    assert list(tmp_path.iterdir()) == []


def test_write_rejects_shapes_that_idx_lacks(tmp_path):
    with pytest.raises(ValueError, match="array: expected 1 to 255 dimensions, got a scalar"):
        data.write_idx(tmp_path / "a.idx", np.uint8(3))
    if sys.maxsize > 2**32:
        with pytest.raises(ValueError, match="array: expected dimensions of at most 4294967295, got shape"):
            data.write_idx(tmp_path / "a.idx", np.empty((2**32, 0), np.uint8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("test_size", [1, 7, 0.25, 0.5, 99])
@pytest.mark.parametrize("kind", [int, str])
def test_stratified_splits(test_size, kind):
    rng = np.random.default_rng(0)
    classes = np.array([0] * 70 + [1] * 25 + [2] * 4 + [3])[rng.permutation(100)].astype(kind)
    rows = np.arange(100)
    X_train, X_test, y_train, y_test = data.train_test_split(rows, classes, test_size, seed=3, stratify=classes)
    tests = test_size if test_size >= 1 else round(test_size * 100)
    assert sorted([*X_train, *X_test]) == list(rows) and len(X_test) == tests
    assert (classes[X_train] == y_train).all() and (classes[X_test] == y_test).all()
    for c in np.unique(classes):
        assert abs((y_test == c).sum() - (classes == c).sum() * tests / 100) < 1
    again = data.train_test_split(rows, classes, test_size, random_state=3, stratify=classes)
    assert (again[1] == X_test).all()
    other = data.train_test_split(rows, classes, test_size, seed=4, stratify=classes)[1]
    assert (other != X_test).any() or tests == 99
    assert len(np.unique(np.diff(X_test))) > 1 or tests == 1  # in a random order


def test_splits_by_the_name_that_others_use():
    rows = np.arange(50)
    plain = data.train_test_split(rows, rows, seed=5)
    assert all((a == b).all() for a, b in zip(plain, data.train_test_split(rows, rows, random_state=5)))
    assert all((a == b).all() for a, b in zip(data.train_test_split(rows, rows), data.train_test_split(rows, rows, seed=0)))
    with pytest.raises(TypeError, match="seed, random_state: expected one of them"):
        data.train_test_split(rows, rows, seed=1, random_state=1)
    with pytest.raises(ValueError, match=r"stratify: expected one class for each of the 50 rows, got shape \(49,\)"):
        data.train_test_split(rows, rows, stratify=rows[1:])


def test_gzip_files_are_equal(tmp_path):
    values = np.arange(1000, dtype=np.int16)
    for name in ("first.gz", "second-name.gz"):
        data.write_idx(tmp_path / name, values)
    blob = (tmp_path / "first.gz").read_bytes()
    assert blob == (tmp_path / "second-name.gz").read_bytes()
    assert blob[3] == 0 and blob[4:8] == b"\0" * 4  # no name, no time


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_what_is_no_regular_file_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        data.write_idx(tmp_path / "pipe", np.arange(3, dtype=np.uint8))
        assert os.read(reader, 100) == idx(0x08, (3,), b"\0\1\2")
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


@pytest.mark.parametrize("name", ["a.idx", "a.idx.gz"])
@pytest.mark.parametrize("culprit", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_failed_write_leaves_the_folder_as_it_was(tmp_path, monkeypatch, name, culprit, error):
    def fail(*args):
        raise error

    (tmp_path / name).write_bytes(b"old")
    monkeypatch.setattr(os, culprit, fail)
    with pytest.raises(type(error)):
        data.write_idx(tmp_path / name, np.zeros(5, np.uint8))
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"old"


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions and links")
def test_new_file_has_ordinary_permissions_and_links_survive(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    data.write_idx(tmp_path / "a.idx", np.zeros(5, np.uint8))
    assert stat.S_IMODE((tmp_path / "a.idx").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    (tmp_path / "link").symlink_to("a.idx")
    data.write_idx(tmp_path / "link", np.ones(2, np.uint8))
    assert (tmp_path / "link").is_symlink()
    assert data.read_idx(tmp_path / "a.idx").tolist() == [1, 1]


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path, monkeypatch, mode):
    path, seen = tmp_path / "a.idx", []
    path.write_bytes(b"")
    path.chmod(mode)
    opened = os.open
    monkeypatch.setattr(os, "open", lambda *a, **k: seen.append(a) or opened(*a, **k))
    data.write_idx(path, np.zeros(5, np.uint8))
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert all(a[2] == 0o600 for a in seen)  # and is private until then


KILLED = """
import os, sys
from fastnn.core import atomic_files as files
with files.replacing(sys.argv[1]) as file:
    file.write(b"x" * 1000)
    file.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(files.fcntl is None, reason="needs locks of files")
def test_what_killed_processes_leave(tmp_path):
    """One file at most, whatever their number, and none once a write ends; what is being written by another is left alone."""
    path = tmp_path / "a.idx"
    run = lambda: subprocess.Popen([sys.executable, "-c", KILLED, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for _ in range(3):
        process = run()
        assert process.stdout.readline() == "writing\n"
        process.kill()
        process.communicate()
        assert len(os.listdir(tmp_path)) == 1
    other = run()
    assert other.stdout.readline() == "writing\n"
    data.write_idx(path, np.arange(3, dtype=np.uint8))
    assert data.read_idx(path).tolist() == [0, 1, 2]
    assert len(os.listdir(tmp_path)) == 2
    other.communicate("")
    assert other.returncode == 0 and path.read_bytes() == b"x" * 1000
    assert os.listdir(tmp_path) == ["a.idx"]


@pytest.mark.skipif(files.fcntl is None, reason="needs locks of files")
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_temporary_name_that_is_taken(tmp_path, kind):
    folder, victim = tmp_path / "folder", tmp_path / "victim"
    folder.mkdir()
    victim.write_bytes(b"precious")
    with files.replacing(folder / "a") as file:
        temporary = folder / os.listdir(folder)[0]
        file.write(b"1")
    {"link": lambda p: p.symlink_to(victim), "pipe": os.mkfifo, "folder": os.mkdir}[kind](temporary)
    with files.replacing(folder / "a") as file:
        file.write(b"2")
    assert (folder / "a").read_bytes() == b"2" and victim.read_bytes() == b"precious"
    assert sorted(os.listdir(folder)) == [temporary.name, "a"]


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"no MNIST in {MNIST}")
def test_mnist():
    images = data.read_idx(MNIST / "t10k-images-idx3-ubyte.gz")
    labels = data.read_idx(MNIST / "t10k-labels-idx1-ubyte.gz")
    assert images.shape == (10000, 28, 28) and images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]


# --- the packaged digits ---


def test_digits():
    images, labels = data.load_digits()
    assert images.shape == (1797, 8, 8) and images.dtype == np.uint8
    assert labels.shape == (1797,) and labels.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 16)
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    digests = [hashlib.sha256(array.tobytes()).hexdigest() for array in (images, labels)]
    assert digests == [
        "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3",
        "8ba4f891220f5e4c9c819638d1602d74b83618f167043c6da52a2a247841ddf0",
    ]
    images[:] = 0
    labels[:] = 0
    again = data.load_digits()
    assert again[0].any() and again[1].any()


def test_digits_file_is_small_and_names_its_source():
    folder = importlib.resources.files("fastnn") / "datasets"
    assert len((folder / "digits.npz").read_bytes()) < 60_000
    for text in ((folder / "README.md").read_text(encoding="utf-8"), data.load_digits.__doc__):
        for word in ("Alpaydin", "Kaynak", "10.24432/C50P49", "CC BY 4.0", "UCI"):
            assert word in text


# --- splits ---


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 60), share=st.floats(0, 1, exclude_min=True, exclude_max=True), seed=st.integers(0, 2**32))
def test_split_is_a_partition(n, share, seed):
    X, y = np.arange(3 * n).reshape(n, 3), np.arange(n)
    X_train, X_test, y_train, y_test = data.train_test_split(X, y, test_size=share, seed=seed)
    assert len(y_train) >= 1 and len(y_test) >= 1
    assert abs(len(y_test) - share * n) <= 0.5 or len(y_test) == 1 or len(y_train) == 1
    assert sorted([*y_train, *y_test]) == list(range(n))
    assert (X_train == X[y_train]).all() and (X_test == X[y_test]).all()


@pytest.mark.parametrize(
    "test_size, tests",
    [(1, 1), (9, 9), (np.int64(3), 3), (0.2, 2), (np.float32(0.7), 7), (0.07, 1), (1e-9, 1), (0.999, 9)],
)
def test_split_sizes(test_size, tests):
    parts = data.train_test_split(np.zeros((10, 2)), np.zeros(10), test_size=test_size)
    assert [p.shape for p in parts] == [(10 - tests, 2), (tests, 2), (10 - tests,), (tests,)]


def test_split_depends_on_the_seed_only():
    y = np.arange(100)
    splits = [data.train_test_split(y, y, seed=seed)[3].tolist() for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]
    assert splits[0] == data.train_test_split(y, y)[3].tolist() != sorted(splits[0])
    assert data.train_test_split(y, y, test_size=30)[3][:20].tolist() == splits[0]


def test_split_copies():
    X = np.asfortranarray(np.arange(40, dtype=">i2").reshape(10, 4))
    y = np.arange(10)
    parts = data.train_test_split(X, y)
    for part, source in zip(parts, (X, X, y, y)):
        assert part.dtype == source.dtype and part.flags.c_contiguous and not np.shares_memory(part, source)
        part[:] = 0
    assert X[9, 3] == 39 and y[9] == 9


def test_split_takes_lists_and_memory_maps(tmp_path):
    X_train, X_test, y_train, y_test = data.train_test_split([[1], [2], [3]], list("abc"), test_size=1)
    assert X_train.shape == (2, 1) and sorted([*y_train, *y_test]) == list("abc")
    np.save(tmp_path / "x.npy", np.arange(10))
    X = np.load(tmp_path / "x.npy", mmap_mode="r")
    X_train, X_test, *_ = data.train_test_split(X, X)
    assert sorted([*X_train, *X_test]) == list(range(10)) and not isinstance(X_train, np.memmap)


@pytest.mark.parametrize("test_size", [0, 10, -1, 11, 0.0, 1.0, -0.1, 1.5, float("nan"), float("inf")])
def test_split_rejects_sizes(test_size):
    with pytest.raises(ValueError, match="test_size: expected .*, got "):
        data.train_test_split(np.zeros(10), np.zeros(10), test_size=test_size)


@pytest.mark.parametrize("test_size", [True, "0.2", None, [0.2], 1j])
def test_split_rejects_what_is_no_number(test_size):
    with pytest.raises(TypeError, match="test_size: expected a float .*, got "):
        data.train_test_split(np.zeros(10), np.zeros(10), test_size=test_size)


@pytest.mark.parametrize(
    "X, y, message",
    [
        (np.zeros(3), np.zeros(4), "X and y: expected equal numbers of rows, got 3 and 4"),
        (np.zeros((1, 5)), np.zeros(1), "X: expected at least 2 rows to split, got 1"),
        ([], [], "X: expected at least 2 rows to split, got 0"),
        (3.0, np.zeros(3), "X: expected an array of at least 1 dimension"),
        (np.zeros(3), 3, "y: expected an array of at least 1 dimension"),
    ],
)
def test_split_rejects_arrays(X, y, message):
    with pytest.raises(ValueError, match=message):
        data.train_test_split(X, y)


# --- one-hot labels ---


@settings(max_examples=60, deadline=None)
@given(
    labels=st.sampled_from(["u1", "i1", ">i2", "i4", "u8", "i8"]).flatmap(
        lambda dtype: hnp.arrays(dtype, st.integers(0, 20), elements=st.integers(0, 30))
    ),
    extra=st.integers(0, 3),
    dtype=st.sampled_from(["?", "u1", "i8", "f2", "f4", "f8"]),
)
def test_one_hot(labels, extra, dtype):
    classes = int(labels.max(initial=0)) + 1 + extra
    rows = data.one_hot(labels, classes, dtype=dtype)
    assert rows.shape == (len(labels), classes) and rows.dtype == dtype
    assert (rows == np.eye(classes)[labels.astype(int)]).all()


def test_one_hot_defaults():
    rows = data.one_hot(np.array([1, 3, 1], np.uint8))
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0, 1, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]]
    assert data.one_hot(np.array([255], np.uint8), 300).argmax() == 255


@pytest.mark.parametrize(
    "labels, classes, message",
    [
        ([0, 3, 3], 3, r"labels: expected values 0 to 2, got 3 in row 1 \(2 bad in all\)"),
        ([0, -1], None, "labels: expected values 0 to 0, got -1 in row 1"),
        ([-5], None, "got -5 in row 0"),
        (np.array([2**64 - 1], "u8"), 3, "got 18446744073709551615 in row 0"),
        ([[0, 1]], 2, r"labels: expected 1 dimension, got shape \(1, 2\)"),
        (np.int64(1), 2, r"labels: expected 1 dimension, got shape \(\)"),
        (np.zeros(0, int), None, "classes: expected a number of classes for empty labels"),
        ([0], 0, "classes: expected at least 1, got 0"),
        ([0], -2, "classes: expected at least 1, got -2"),
    ],
)
def test_one_hot_rejects_values(labels, classes, message):
    with pytest.raises(ValueError, match=message):
        data.one_hot(labels, classes)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([0.0, 1.0],), "labels: expected an integer dtype, got float64"),
        (([True, False],), "labels: expected an integer dtype, got bool"),
        ((["a"],), "labels: expected an integer dtype"),
        (([0, 1], 2.0), "classes: expected an int, got 2.0"),
        (([0, 1], True), "classes: expected an int, got True"),
        (([0, 1], 2, "c8"), "dtype: expected a bool, integer or real floating dtype, got complex64"),
        (([0, 1], 2, object), "dtype: expected a bool, integer or real floating dtype, got object"),
    ],
)
def test_one_hot_rejects_kinds(arguments, message):
    with pytest.raises(TypeError, match=message):
        data.one_hot(*arguments)
