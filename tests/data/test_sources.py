"""NPY and NPZ files, three-way splits, standardisation, folders of images, streams, and data sets that are fetched once."""

import gzip
import hashlib
import http.server
import os
import struct
import threading

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, data, losses, nn, optim
from fastnn.data import download


# --- arrays ---


def test_npy(tmp_path):
    for a in (np.arange(12.0).reshape(3, 4), np.asfortranarray(np.arange(12).reshape(3, 4)), np.zeros((0, 3)), np.float32(3)):
        np.save(tmp_path / "a.npy", a)
        np.testing.assert_array_equal(data.read_npy(tmp_path / "a.npy"), a)
    assert not data.read_npy(tmp_path / "a.npy").flags.writeable
    np.save(tmp_path / "o.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="one of Python objects"):
        data.read_npy(tmp_path / "o.npy")
    (tmp_path / "b.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    with pytest.raises(ValueError, match="b.npy.*claims shape"):
        data.read_npy(tmp_path / "b.npy")
    (tmp_path / "c.npy").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="c.npy.*header cannot be read"):
        data.read_npy(tmp_path / "c.npy")


def test_npz(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", X=np.eye(3), y=np.arange(3))
    found = data.read_npz(tmp_path / "a.npz")
    assert sorted(found) == ["X", "y"] and (found["X"] == np.eye(3)).all()
    np.savez(tmp_path / "o.npz", X=np.array([{}], object))
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:-30])
    (tmp_path / "changed.npz").write_bytes(whole[:60] + bytes(20) + whole[80:])
    (tmp_path / "other.npz").write_bytes(b"x" * 99)
    for name in ("o", "cut", "changed", "other"):
        with pytest.raises(ValueError, match=f"{name}.npz.*expected an .npz file"):
            data.read_npz(tmp_path / f"{name}.npz")


# --- splits and standardisation ---


@pytest.mark.parametrize("stratified", [False, True])
def test_three_parts(stratified):
    rows = np.arange(200)
    classes = (rows % 10 == 0).astype(int)
    parts = data.train_validation_test_split(rows, classes, 0.2, 0.25, seed=3, stratify=classes if stratified else None)
    train, validation, test, *labels = parts
    assert [len(p) for p in parts] == [110, 40, 50] * 2 and sorted(np.concatenate(parts[:3])) == rows.tolist()
    assert all((classes[p] == y).all() for p, y in zip(parts[:3], labels))
    if stratified:
        assert [int(y.sum()) for y in labels] == [11, 4, 5]
    _, expected, *_ = data.train_test_split(rows, classes, 0.25, seed=3, stratify=classes if stratified else None)
    np.testing.assert_array_equal(test, expected)


@pytest.mark.parametrize("arguments, message", [
    ((np.arange(2), np.arange(2)), "^X: expected at least 3 rows"),
    ((np.arange(10), np.arange(10), 0.5, 0.5), "^validation_size, test_size: expected shares that leave rows to train on, got 5 and 5 of 10"),
    ((np.arange(10), np.arange(10), 1.5), "^validation_size: expected a share"),
    ((np.arange(10), np.arange(9)), "^X and y: expected equal numbers"),
])
def test_three_parts_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.train_validation_test_split(*arguments)


def test_standardizer(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(1e4, [1, 5, 0], (500, 3))
    monkeypatch.setattr("fastnn.data.standardizer._BLOCK", 100)
    scaler = data.Standardizer().fit(X)
    np.testing.assert_allclose(scaler.mean, X.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(scaler.transform(X)[:, :2].std(axis=0), 1, rtol=1e-5)
    assert not scaler.transform(X)[:, 2].any() and scaler.transform(X).dtype == np.float32
    np.testing.assert_allclose(scaler.inverse(scaler.transform(X)), X, rtol=1e-6)
    with pytest.raises(ValueError, match="^X: expected samples of shape .3,."):
        scaler.transform(X[:, :2])
    for bad, error in ((np.array([[np.nan]]), ValueError), (np.zeros((0, 3)), ValueError), (np.array([["a"]]), TypeError)):
        with pytest.raises(error, match="^X: expected"):
            data.Standardizer().fit(bad)
    with pytest.raises(RuntimeError, match="call fit"):
        data.Standardizer().transform(X)


# --- images ---


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    monkeypatch.setenv("FASTNN_CACHE", str(tmp_path / "cache"))
    for kind, color in (("cats", (200, 10, 30)), ("dogs", (0, 100, 255))):
        for i in range(3):
            (tmp_path / "pets" / kind / "more").mkdir(parents=True, exist_ok=True)
            image.new("RGB", (10 + i, 20), color).save(tmp_path / "pets" / kind / ("more" if i else "") / f"{i}.png")
    (tmp_path / "pets" / "cats" / "notes.txt").write_text("no image")
    return tmp_path / "pets"


def test_folders_of_images(pictures):
    X, y, classes = data.load_images(pictures, size=(6, 4))
    assert X.shape == (6, 6, 4, 3) and X.dtype == np.uint8 and y.tolist() == [0, 0, 0, 1, 1, 1] and classes == ["cats", "dogs"]
    assert (X[0] == (200, 10, 30)).all() and (X[5] == (0, 100, 255)).all()
    assert data.load_images(pictures, size=5, color=False).X.shape == (6, 5, 5, 1)


def test_images_are_read_once(pictures, monkeypatch):
    from PIL import Image

    first = data.load_images(pictures, size=4)
    opened = []
    true_open = Image.open
    monkeypatch.setattr(Image, "open", lambda *a, **k: opened.append(a) or true_open(*a, **k))
    second = data.load_images(pictures, size=4)
    assert not opened and (second.X == first.X).all() and (second.y == first.y).all()
    os.utime(pictures / "cats" / "0.png", ns=(1, 1))
    data.load_images(pictures, size=4)
    assert len(opened) == 6
    data.load_images(pictures, size=4, cache=False)
    assert len(opened) == 12


def test_images_that_cannot_be_read(pictures, tmp_path):
    (pictures / "dogs" / "z.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(ValueError, match="z.jpg.*expected an image, got a file that cannot be read .*; skip_unreadable=True leaves it out"):
        data.load_images(pictures)
    with pytest.warns(UserWarning, match="1 images cannot be read and are left out: .*z.jpg"):
        assert len(data.load_images(pictures, skip_unreadable=True, cache=False).X) == 6
    whole = (pictures / "dogs" / "0.png").read_bytes()
    (pictures / "dogs" / "z.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="z.jpg"):
        data.load_images(pictures)
    for size in (0, (3,), "3", (2, True), 1e3):
        with pytest.raises(ValueError, match="^size: expected"):
            data.load_images(pictures, size=size)
    (tmp_path / "one" / "only").mkdir(parents=True)
    with pytest.raises(ValueError, match="at least 2 classes, got 1"):
        data.load_images(tmp_path / "one")
    (tmp_path / "one" / "two").mkdir()
    with pytest.raises(ValueError, match="expected images"):
        data.load_images(tmp_path / "one")
    with pytest.raises(FileNotFoundError):
        data.load_images(tmp_path / "none")


# --- streams ---

ROWS = 90


def make():
    fastnn.manual_seed(4)
    model = nn.Sequential(nn.Dense(8, 6, activation="relu"), nn.Dropout(0.2), nn.Dense(6, 3))
    return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01), seed=3)


def bits(trainer):
    return [p.data.tobytes() for p in trainer.model.parameters()]


@pytest.fixture
def shards(tmp_path):
    """(X, y, pairs of .npy files, .npz files, .csv files) of the same rows in three parts."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(-9, 9, (ROWS, 8)).astype(np.float32), np.arange(ROWS) % 3
    pairs, archives, tables = [], [], []
    for i, part in enumerate((slice(0, 40), slice(40, 47), slice(47, 90))):
        pairs.append((tmp_path / f"X{i}.npy", tmp_path / f"y{i}.npy"))
        for path, a in zip(pairs[-1], (X[part], y[part])):
            np.save(path, a)
        archives.append(tmp_path / f"{i}.npz")
        np.savez(archives[-1], X=X[part], y=y[part])
        tables.append(tmp_path / f"{i}.csv")
        lines = [",".join([*(f"c{j}" for j in range(8)), "kind"])] + [",".join([*map(str, row), "abc"[k]]) for row, k in zip(X[part], y[part])]
        tables[-1].write_text("\n".join(lines))
    return X, y, pairs, archives, tables


def test_streams_of_rows_in_order(shards):
    X, y, pairs, archives, tables = shards
    expected = make()
    expected.fit(X, y, epochs=2, batch_size=16, shuffle=False, verbose=0)
    for files in (pairs, archives):
        t = make()
        t.fit(data.stream(files, batch_size=16, shuffle=False), epochs=2, verbose=0)
        assert bits(t) == bits(expected)
    table = data.Table("kind").fit({**{f"c{j}": X[:, j] for j in range(8)}, "kind": ["abc"[k] for k in y]})
    a, b = make(), make()
    a.fit(data.stream(tables, batch_size=16, shuffle=False, table=table), verbose=0)
    b.fit(table.transform({f"c{j}": X[:, j] for j in range(8)}), y, batch_size=16, shuffle=False, verbose=0)
    assert bits(a) == bits(b)
    assert [len(p[0]) for p in data.stream(archives, batch_size=16, drop_last=True)] == [16] * 5


def test_shuffled_streams(shards):
    X, y, pairs, *_ = shards
    batches = data.stream(pairs, batch_size=16, seed=5)
    seen = []
    for epoch in (0, 1, 0):
        batches.set_epoch(epoch)
        seen.append(np.concatenate([xb for xb, _ in batches]))
    assert (seen[0] == seen[2]).all() and (seen[0] != seen[1]).any()
    for rows in seen:
        assert sorted(map(tuple, rows)) == sorted(map(tuple, X))
    others = data.stream(pairs, batch_size=16, seed=6)
    assert (np.concatenate([xb for xb, _ in others]) != seen[0]).any()


def test_a_stream_is_resumed_exactly(shards, tmp_path):
    _, _, pairs, *_ = shards
    whole, first, second = make(), make(), make()
    whole.fit(data.stream(pairs, 16, seed=1), epochs=3, verbose=0)
    stop = callbacks.Lambda(on_step_end=lambda step, logs: setattr(first, "stop_training", step == 9))
    first.fit(data.stream(pairs, 16, seed=1), epochs=3, callbacks=[stop], verbose=0)
    first.save_checkpoint(tmp_path / "t")
    second.load_checkpoint(tmp_path / "t")
    second.fit(data.stream(pairs, 16, seed=1), epochs=3 - second.epochs_done, verbose=0)
    assert bits(second) == bits(whole)


def test_streams_that_are_refused(shards, tmp_path):
    _, _, pairs, archives, tables = shards
    for arguments, message in (
        (([],), "^files: expected at least one"),
        (([pairs[0][:1]],), r"^files\[0\]: expected a pair"),
        (([archives[:2]],), r"^files\[0\]: expected a pair of .npy"),
        ((["x.txt"],), r"^files\[0\]: expected a .npz or .csv file"),
        ((tables,), "^table: expected a fitted Table"),
        ((pairs, 0), "^batch_size: expected an integer >= 1"),
    ):
        with pytest.raises(ValueError, match=message):
            data.stream(*arguments)
    np.savez(tmp_path / "odd.npz", X=np.zeros((3, 8)), y=np.zeros(2))
    np.savez(tmp_path / "no.npz", X=np.zeros((3, 8)))
    for name, message in (("odd", "odd.npz.*expected rows of X and as many of y"), ("no", "no.npz.*expected arrays X and y, got X")):
        trainer = make()
        with pytest.raises(ValueError, match=message):
            trainer.fit(data.stream([archives[0], tmp_path / f"{name}.npz"], 40, shuffle=False), verbose=0)
        assert trainer.steps_done == 1
    tables[1].write_text("c0,c1\n1,2,3\n")
    table = data.Table("kind").fit(data.read_csv(tables[0]))
    with pytest.raises(ValueError, match="1.csv.*line 2: expected 2 fields"):
        list(data.stream(tables, table=table))


# --- data sets ---


def packed(a):
    return gzip.compress(bytes([0, 0, 8, a.ndim]) + struct.pack(f">{a.ndim}I", *a.shape) + a.tobytes(), mtime=0)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A place that has small files of the sets' names; what it was asked for."""
    rng = np.random.default_rng(0)
    (tmp_path / "served").mkdir()
    files, asked = {}, []
    for part, rows in (("train", 60), ("t10k", 10)):
        for name, a in ((f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (rows, 28, 28), np.uint8)), (f"{part}-labels-idx1-ubyte.gz", np.arange(rows, dtype=np.uint8) % 10)):
            (tmp_path / "served" / name).write_bytes(packed(a))
            files[name] = ("sha256", hashlib.sha256(packed(a)).hexdigest())

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path / "served"))

        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *args):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    place = f"http://127.0.0.1:{httpd.server_address[1]}/"
    monkeypatch.setitem(download._SETS, "mnist", ((place + "nowhere/", place), files))
    monkeypatch.setenv("FASTNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    yield asked
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def test_fetched_once(server, tmp_path):
    (X, y), (X_test, y_test) = data.load_mnist()
    assert X.shape == (60, 28, 28) and X.dtype == np.uint8 and y.shape == (60,) and X_test.shape == (10, 28, 28) and y_test[3] == 3
    assert len(server) == 8  # the first place has none of the four
    again = data.load_mnist(download=False)
    assert len(server) == 8 and (again[0][0] == X).all()
    assert sorted(os.listdir(tmp_path / "cache" / "mnist")) == sorted(download._SETS["mnist"][1])


def test_files_of_ones_own(server, tmp_path):
    """Without a connection, compressed or not."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in download._SETS["mnist"][1]:
        whole = (tmp_path / "served" / name).read_bytes()
        (folder / name.removesuffix(".gz")).write_bytes(gzip.decompress(whole))
    (X, _), _ = data.load_mnist(folder)
    assert X.shape == (60, 28, 28) and not server
    os.unlink(folder / "t10k-images-idx3-ubyte")
    with pytest.raises(FileNotFoundError, match="t10k-images.*expected the file of mnist, got none; download=True fetches it"):
        data.load_mnist(folder, download=False)


def test_another_digest(server, tmp_path):
    (tmp_path / "served" / "t10k-images-idx3-ubyte.gz").write_bytes(packed(np.zeros((10, 28, 28), np.uint8)))
    with pytest.raises(ValueError, match="t10k-images.*expected a file with the sha256"):
        data.load_mnist()
    assert not os.path.exists(tmp_path / "cache" / "mnist" / "t10k-images-idx3-ubyte.gz")


def test_no_connection(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "*")
    places, files = download._SETS["fashion-mnist"]
    monkeypatch.setitem(download._SETS, "fashion-mnist", (("http://127.0.0.1:9/",), files))
    with pytest.raises(OSError, match="expected a file that can be fetched, got none: http://127.0.0.1:9/"):
        data.load_fashion_mnist(tmp_path)
    assert os.listdir(tmp_path) == [] and all(place.startswith("https://") for place in places)
