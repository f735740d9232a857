"""The same rows as an array, a memory map, a data frame, a sparse matrix, and batch by batch: the same bits. And what of them is refused."""

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim
from fastnn._native import CsrRows

BACKENDS = ["native", "reference"]
scipy_sparse = pytest.importorskip("scipy.sparse")


def make(features=8, backend="native", scale=None):
    fastnn.manual_seed(4)
    layers = [] if scale is None else [nn.Rescaling(*scale)]
    model = nn.Sequential(*layers, nn.Dense(features, 6, activation="relu"), nn.Dense(6, 3))
    return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01), backend=backend)


def samples(rows=100, features=8, dtype=np.float32):
    rng = np.random.default_rng(11)
    x = rng.integers(-3, 4, (rows, features)) * (rng.random((rows, features)) < 0.4)
    return x.astype(dtype), rng.integers(0, 3, rows)


def bits(trainer):
    return [p.data.tobytes() for p in trainer.model.parameters()]


def result(trainer, x, y, **settings):
    history = trainer.fit(x, y, **{"epochs": 2, "batch_size": 16, "verbose": 0, **settings})
    return bits(trainer), {k: v for k, v in history.items() if k != "seconds"}


# --- sparse ---


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u1", "i8", "f2", "?"])
@pytest.mark.parametrize("scale", [None, (0.5, 0.25), (0.1, 0.0)])
def test_sparse_rows(backend, dtype, scale):
    x, y = samples(dtype="f4")
    x = np.abs(x).astype(dtype) if dtype in ("u1", "?") else x.astype(dtype)
    expected = result(make(backend=backend, scale=scale), x, y, validation_data=(x[:9], y[:9]))
    for shuffle in (True, False):
        dense, sparse = (result(make(backend=backend, scale=scale), X, y, shuffle=shuffle, validation_data=(X[:9], y[:9]))
                         for X in (x, csr(x)))
        assert dense == sparse
        if shuffle:
            assert dense == expected


def csr(x):
    """SciPy has no float16."""
    if x.dtype != np.float16:
        return scipy_sparse.csr_array(x)
    m = scipy_sparse.csr_array(x.astype(np.float32))
    return CsrRows(m.indptr, m.indices, m.data.astype(np.float16), x.shape[1])


@pytest.mark.parametrize("threads", [1, 3])
def test_every_way_in(threads, team):
    x, y = samples()
    weights = np.linspace(0, 2, 100)
    with team(threads):
        for kind in (scipy_sparse.csr_matrix, scipy_sparse.csr_array, scipy_sparse.csc_array, scipy_sparse.coo_matrix):
            X = kind(x)
            a, b = make(), make()
            assert a.step(x, y) == b.step(X, y)
            assert a.step(x[:5], y[:5], weights[:5]) == b.step(kind(x[:5]), y[:5], weights[:5])
            assert result(a, x, y, sample_weight=weights, check_finite=True) == result(b, X, y, sample_weight=weights, check_finite=True)
            assert a.evaluate(x, y) == b.evaluate(X, y) and np.array_equal(a.model.predict(x), b.model.predict(X))
            out = np.empty((100, 3), np.float32)
            assert b.model.predict(X, out=out) is out and np.array_equal(out, a.model.predict(x))
            assert np.array_equal(a.model.predict_classes(x), b.model.predict_classes(X))
            one, other = (fastnn.value_and_grad(t.model, losses.SoftmaxCrossEntropy(), rows, y) for t, rows in ((a, x), (b, X)))
            assert one[0] == other[0] and all(np.array_equal(g, h) for g, h in zip(one[1], other[1]))


def test_sparse_rows_for_a_model_in_float64():
    x, y = samples(dtype=np.float64)
    x = x / 3
    found = []
    for X in (x, csr(x)):
        fastnn.manual_seed(4)
        model = nn.Sequential(nn.Dense(8, 3), dtype="float64")
        found.append(result(fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=0.1)), X, y))
    assert found[0] == found[1]


def test_wide_sparse_rows_and_empty_ones():
    """Rows of more elements than are converted at a time; rows without any; a matrix without any."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 1000)).astype(np.float32)
    x[::3] = 0
    x[1::3, :700] = 0
    y = np.arange(40) % 3
    for X in (x, np.zeros_like(x)):
        assert result(make(1000), X, y) == result(make(1000), scipy_sparse.csr_array(X), y)


def test_indices_of_64_bits_unsorted_ones_and_duplicates():
    x, y = samples()
    expected = result(make(), x, y)
    X = scipy_sparse.csr_array(x)
    wide = scipy_sparse.csr_array((X.data, X.indices.astype(np.int64), X.indptr.astype(np.int64)), shape=X.shape)
    assert result(make(), wide, y) == expected
    backwards = X.copy()
    for a, b in zip(X.indptr, X.indptr[1:]):
        backwards.indices[a:b], backwards.data[a:b] = X.indices[a:b][::-1], X.data[a:b][::-1]
    assert result(make(), backwards, y) == expected
    twice = scipy_sparse.csr_array((np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), 2 * X.indptr), shape=X.shape)
    before = twice.data.copy()
    assert result(make(), twice, y) == expected and np.array_equal(twice.data, before)


def broken(**changes):
    """A matrix of 4 x 8 whose parts are these."""

    class Matrix:
        format = "csr"
        shape = (4, 8)
        indptr, indices, data = np.array([0, 1, 1, 3, 4]), np.array([0, 2, 7, 1]), np.ones(4, np.float32)

    for name, value in changes.items():
        setattr(Matrix, name, value)
    return Matrix()


@pytest.mark.parametrize("changes, error, message", [
    ({"indices": np.array([0, 2, 8, 1])}, ValueError, "X.indices: expected columns from 0 to 7, got 8 in row 2"),
    ({"indices": np.array([-1, 2, 7, 1])}, ValueError, "X.indices: expected columns from 0 to 7, got -1 in row 0"),
    ({"indices": np.array([0, 2, 7, 2**40])}, ValueError, "X.indices: expected columns from 0 to 7, got 1099511627776 in row 3"),
    ({"indices": np.array([0.0, 2, 7, 1])}, ValueError, "X.indices: expected integers in 1 dimension, got dtype float64"),
    ({"indices": np.array([0, 2, 7])}, ValueError, "X: expected 5 numbers in indptr, and as many indices as elements, got 5, 3 and 4"),
    ({"indices": np.array([0, 2, 2, 1])}, ValueError, "X: expected at most one element in each column of a sparse row, got two"),
    ({"indptr": np.array([0, 1, 1, 3, 5])}, ValueError, "X.indptr: expected numbers from 0 to 4 that do not fall, got 3 and 5 for row 3"),
    ({"indptr": np.array([0, 2, 1, 3, 4])}, ValueError, "X.indptr: expected numbers from 0 to 4 that do not fall, got 2 and 1 for row 1"),
    ({"indptr": np.array([-1, 1, 1, 3, 4])}, ValueError, "X.indptr: expected numbers from 0 to 4 that do not fall, got -1 and 1 for row 0"),
    ({"indptr": np.array([0, 1, 3, 4])}, ValueError, "X: expected 5 numbers in indptr"),
    ({"indptr": np.zeros((5, 1), int)}, ValueError, "X.indptr: expected integers in 1 dimension"),
    ({"data": np.array(["a"] * 4)}, TypeError, "X: expected real numbers, got dtype <U1"),
    ({"data": np.ones(4, complex)}, TypeError, "X: expected real numbers, got dtype complex128"),
    ({"shape": (4, 7)}, ValueError, "X.indices: expected columns from 0 to 6, got 7 in row 2"),
    ({"shape": (4, 9)}, ValueError, "X: expected 8 features a row, got shape .4, 9."),
    ({"shape": (4, 8, 1)}, ValueError, "X: expected a sparse matrix of 2 dimensions"),
])
def test_sparse_matrices_that_are_refused(changes, error, message):
    trainer = make()
    before = bits(trainer)
    with pytest.raises(error, match=f"^{message}"):
        trainer.fit(broken(**changes), [0, 1, 2, 0], verbose=0)
    with pytest.raises(error):
        trainer.model.predict(broken(**changes))
    assert bits(trainer) == before and trainer.steps_done == 0
    trainer.fit(broken(), [0, 1, 2, 0], verbose=0)


@pytest.mark.parametrize("backend", ["native"])
def test_indices_that_lie_later_on(backend):
    """What is changed behind the checks is found when a row is read, and nothing is written outside of the batch."""
    x, y = samples()
    rows = scipy_sparse.csr_array(x)
    for part, value in (("indices", 8), ("indices", -1), ("indices", 2**31 - 1), ("indptr", 2**31 - 1), ("indptr", -(2**31)), ("indptr", 10**6)):
        held = CsrRows(rows.indptr.copy(), rows.indices.copy(), rows.data.copy(), 8)
        trainer = make()
        before = bits(trainer)

        class Lie(fastnn.callbacks.Callback):
            def on_train_begin(self):
                getattr(held, part)[33] = value

        with pytest.raises(ValueError, match="^X: expected rows that can be read, got a bad one .index."):
            trainer.fit(held, y, batch_size=100, callbacks=[Lie()], verbose=0)
        assert bits(trainer) == before and trainer.steps_done == 0


@pytest.mark.parametrize("part", ["indptr", "indices", "data"])
def test_parts_that_are_resized(part):
    x, y = samples()
    rows = scipy_sparse.csr_array(x)
    held = {p: getattr(rows, p).copy() for p in ("indptr", "indices", "data")}
    X = CsrRows(**held, columns=8)
    trainer = make()
    shrink = fastnn.callbacks.Lambda(on_epoch_end=lambda epoch, logs: held[part].resize((3,), refcheck=False))
    with pytest.raises(ValueError, match="^X: expected the memory that it had"):
        trainer.fit(X, y, epochs=2, callbacks=[shrink], verbose=0)


def test_rows_of_a_sparse_matrix_by_hand():
    x, _ = samples()
    rows = scipy_sparse.csr_array(x)
    X = CsrRows(rows.indptr, rows.indices, rows.data, 8)
    assert X.shape == (100, 8) and len(X) == 100 and X.dtype == np.float32
    assert np.array_equal(X[10:20].dense(range(10)), x[10:20]) and np.array_equal(X[[5, 3]], x[[5, 3]]) and len(X[90:300]) == 10
    assert len(X[20:10]) == 0
    with pytest.raises(TypeError, match="^indptr, indices: expected both int32 or both int64"):
        CsrRows(rows.indptr.astype(np.int64), rows.indices, rows.data, 8)
    with pytest.raises(TypeError, match="^data: expected"):
        CsrRows(rows.indptr, rows.indices, rows.data[::2], 8)


# --- other ways of bringing rows ---


def test_memory_maps(tmp_path):
    x, y = samples()
    np.save(tmp_path / "x.npy", x)
    assert result(make(), np.load(tmp_path / "x.npy", mmap_mode="r"), y) == result(make(), x, y)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames(library):
    frames = pytest.importorskip(library)
    x, y = samples()
    names = [f"c{i}" for i in range(8)]
    expected = result(make(), x, y)
    assert result(make(), frames.DataFrame(dict(zip(names, x.T))), frames.Series(y)) == expected
    mixed = x.copy()
    mixed[:, 3] = x[:, 3] > 0
    frame = frames.DataFrame({n: (mixed[:, i].astype(bool) if i == 3 else mixed[:, i].astype(np.int8) if i == 5 else mixed[:, i]) for i, n in enumerate(names)})
    assert result(make(), frame, frames.Series(y)) == result(make(), mixed, y)
    text = frames.DataFrame({n: (["a", "b"] * 50 if i in (2, 6) else x[:, i]) for i, n in enumerate(names)})
    with pytest.raises(TypeError, match="^X: expected columns of numbers, got others in c2, c6; data.Table makes numbers of"):
        make().fit(text, y, verbose=0)


def test_pandas_own_numbers():
    pandas = pytest.importorskip("pandas")
    x, y = samples()
    frame = pandas.DataFrame({f"c{i}": pandas.array(x[:, i], dtype="Float64" if i % 2 else "Int64") for i in range(8)})
    assert result(make(), frame, y) == result(make(), x, y)
    frame.loc[3, "c1"] = pandas.NA
    with pytest.raises(ValueError, match="^X: expected finite values, got NaN or infinity in row 3"):
        make().fit(frame, y, check_finite=True, verbose=0)
