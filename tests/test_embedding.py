"""Embedding and TabularEmbedding: what they compute and learn, the same bits everywhere, files, and data that are no codes."""

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim

BACKENDS = ("native", "reference")
F32 = np.float32


def tabular(unknown=False):
    return nn.Sequential(nn.TabularEmbedding(2, (3, 7, 2), dim=(4, 5, 1), unknown=unknown), nn.Dense(None, 8, activation="relu"), nn.Dense(8, 2))


def table(rows, seed=0):
    r = np.random.default_rng(seed)
    return np.column_stack([r.normal(size=(rows, 2)), r.integers(0, 3, rows), r.integers(0, 7, rows), r.integers(0, 2, rows)])


def trained(model, x, y, threads=1, **options):
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(threads)
    try:
        trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01), **options)
        losses_ = trainer.fit(x, y, epochs=3, batch_size=16, verbose=0)["loss"]
    finally:
        fastnn.set_num_threads(before)
    return losses_, [p.data.copy() for p in model.parameters()]


def test_an_embedding_is_a_dense_layer_of_one_hot_rows():
    r = np.random.default_rng(1)
    codes, y = r.integers(0, 6, (50, 1)), r.integers(0, 2, 50)
    fastnn.manual_seed(0)
    model = nn.Sequential(nn.Input(1), nn.Embedding(6, 5), nn.Flatten(), nn.Dense(None, 2))
    other = nn.Sequential(nn.Dense(6, 5, bias=False), nn.Dense(5, 2))
    for p, q in zip(other.parameters(), model.parameters()):
        p.data = q.data
    hot = np.eye(6)[codes[:, 0]]
    np.testing.assert_allclose(model.predict(codes), other.predict(hot), rtol=1e-6)
    found, expected = trained(model, codes, y), trained(other, hot, y)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    for a, b in zip(found[1], expected[1]):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("unknown", [False, True])
def test_numbers_stand_before_the_vectors(unknown):
    model = tabular(unknown)
    layer, x = model.layers[0], table(20)
    if unknown:
        x[3, 2], x[4, 3], x[5, 4] = 3, -1, np.nan
    parts = [x[:, :2]]
    for column, p in zip(x[:, 2:].T, layer.parameters()):
        known = np.isin(column, range(len(p.data) - unknown))
        parts.append(p.data[np.where(known, column, len(p.data) - 1).astype(int)])
    found = model[:1].predict(x)
    np.testing.assert_array_equal(found, np.concatenate(parts, axis=1).astype(F32))
    np.testing.assert_array_equal(model.predict(x[7:8]), model.predict(x)[7:8])
    assert model[:1].out_shape == (12,)


def test_the_same_bits_for_any_threads_and_the_twin():
    x, y = table(70), np.random.default_rng(2).integers(0, 2, 70)
    found = []
    for threads, options in ((1, {}), (2, {}), (3, {}), (1, {"backend": "reference"})):
        fastnn.manual_seed(3)
        found.append(trained(tabular(), x, y, threads, **options))
    for losses_, parameters in found[1:3]:
        assert losses_ == found[0][0] and all((a == b).all() for a, b in zip(parameters, found[0][1]))
    np.testing.assert_allclose(found[3][0], found[0][0], rtol=1e-5)
    for a, b in zip(found[3][1], found[0][1]):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_gradients_against_differences():
    fastnn.manual_seed(5)
    model, x, y = tabular(), table(9), np.random.default_rng(1).integers(0, 2, 9)
    loss = losses.SoftmaxCrossEntropy()
    _, gradients = fastnn.value_and_grad(model, loss, x, y)
    for p, g in zip(model.parameters(), gradients):
        at = tuple(np.argwhere(np.abs(g) == np.abs(g).max())[0])
        values = []
        for step in (1e-3, -1e-3):
            kept = p.data.copy()
            p.data[at] += step
            values.append(fastnn.value_and_grad(model, loss, x, y)[0])
            p.data = kept
        assert abs((values[0] - values[1]) / 2e-3 - g[at]) < 1e-3
    assert (gradients[0][np.setdiff1d(range(3), x[:, 2])] == 0).all()  # of what no row has


def test_it_learns_categories_that_have_no_order():
    r = np.random.default_rng(0)
    x = r.integers(0, 30, (600, 2))
    kinds = r.integers(0, 2, 30)
    y = kinds[x[:, 0]] ^ kinds[x[:, 1]]
    fastnn.manual_seed(0)
    model = nn.Sequential(nn.TabularEmbedding(0, (30, 30), dim=4), nn.Dense(None, 16, activation="relu"), nn.Dense(16, 2))
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.02))
    trainer.fit(x, y, epochs=20, batch_size=32, verbose=0)
    assert trainer.evaluate(x, y)["accuracy"] > 0.97


def test_files(tmp_path):
    model = tabular(unknown=True)
    several = nn.Sequential(nn.Input(3), nn.Embedding(5, 2), nn.Flatten(), nn.Dense(None, 2))
    for m, x in ((model, table(6)), (several, [[0, 4, 2]])):
        m.save(tmp_path / "m.safetensors")
        again = nn.load(tmp_path / "m.safetensors")
        assert repr(again) == repr(m) and (again.predict(x) == m.predict(x)).all()
        assert (m.fold().predict(x) == m.predict(x)).all()
    assert [p.name for p in model.parameters()][:3] == ["0.weight_0", "0.weight_1", "0.weight_2"]
    assert nn.TabularEmbedding(0, (9, 1000)).dim == (5, 77)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("column, value, range_", [(2, 3, "0 to 2"), (3, -1, "0 to 6"), (4, 0.5, "0 to 1"), (3, np.nan, "0 to 6"), (2, np.inf, "0 to 2")])
def test_what_is_no_code(column, value, range_, backend):
    model, x, y = tabular(), table(40), np.zeros(40, int)
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()), backend=backend)
    trainer.step(x.astype(F32), y)
    before = [p.data.copy() for p in model.parameters()]
    x[33, column] = value
    for call in (
        lambda: trainer.fit(x, y, verbose=0),
        lambda: trainer.step(x, y),
        lambda: trainer.step(x.astype(F32), y),
        lambda: trainer.evaluate(x, y),
        lambda: model.predict(x),
        lambda: fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x, y),
    ):
        with pytest.raises(ValueError, match=rf"^(X|xb|x): expected in column {column} whole numbers from {range_}, .* in row 33; unknown=True"):
            call()
    assert all((p.data == b).all() for p, b in zip(model.parameters(), before))


def test_weights_and_unknown_codes_in_training():
    x, y = table(40), np.zeros(40, int)
    x[[3, 9], 2], x[5, 3] = 99, np.nan
    losses_, _ = trained(tabular(unknown=True), x, y)
    assert np.isfinite(losses_).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "float16", ">f4"])
@pytest.mark.parametrize("layout", ["C", "F", "sliced", "1-D"])
def test_no_code_passes_whatever_array_it_is_in(dtype, layout):
    model = tabular(False)
    for column, code in ((2, 3), (2, -1), (3, 0.5), (4, np.nan), (4, np.inf), (4, 2**31), (4, 2.0**40)):
        x = table(20)
        x[:, :2] = 1
        x[7, column] = code
        if dtype == "int64" and not float(code).is_integer() or dtype == "float16" and 1e5 < code < np.inf:
            continue
        x = {"C": np.ascontiguousarray, "F": np.asfortranarray, "sliced": lambda a: np.repeat(a, 2, 0)[::2], "1-D": lambda a: a[7:8]}[layout](
            x.astype(dtype)
        )
        with pytest.raises(ValueError, match=f"expected in column {column} whole numbers from 0 to"):
            model.predict(x)
    x = table(20).astype(dtype)
    assert model.layers[0].are_codes(x) == (dtype in ("float32", "float64"))
    model.predict(x)


def test_bad_arguments():
    for call, error, message in (
        (lambda: nn.Embedding(0, 3), ValueError, "num_embeddings: expected an integer from 1"),
        (lambda: nn.Embedding(2**24, 3), ValueError, r"num_embeddings: expected fewer than 2\*\*24 categories"),
        (lambda: nn.Embedding(3, 2.5), TypeError, "embedding_dim: expected an integer"),
        (lambda: nn.TabularEmbedding(1, ()), ValueError, "cardinalities: expected at least one column"),
        (lambda: nn.TabularEmbedding(1, 3), TypeError, "cardinalities: expected a sequence"),
        (lambda: nn.TabularEmbedding(-1, (3,)), ValueError, "continuous: expected an integer from 1"),
        (lambda: nn.TabularEmbedding(1, (3, 4), dim=(1,)), ValueError, "dim: expected an integer or 2 of them"),
        (lambda: nn.TabularEmbedding(1, (3, 4), dims=2), TypeError, "did you mean 'dim'"),
        (lambda: nn.Sequential(nn.Dense(3, 3), nn.Embedding(5, 2)), ValueError, "layer 1: Embedding reads codes of the model's input"),
        (lambda: nn.Sequential(nn.Rescaling(2.0), nn.TabularEmbedding(1, (3,))), ValueError, "layer 1: TabularEmbedding reads codes"),
        (lambda: nn.Sequential(nn.Residual(nn.TabularEmbedding(0, (3,), dim=1))), ValueError, "reads codes"),
        (lambda: nn.Sequential(nn.Input(3), nn.TabularEmbedding(1, (3,))), ValueError, "expected 2 input features, 1 numbers and 1 codes"),
        (lambda: nn.Sequential(nn.Input(3, 3), nn.Embedding(5, 2)), ValueError, "expected samples of codes"),
        (lambda: nn.Sequential(nn.Embedding(5, 2), nn.Flatten(), nn.Dense(6, 2)).predict([[0, 1, 2]]), ValueError, r"put nn.Input\(...\) before"),
    ):
        with pytest.raises(error, match=message):
            call()


# ---- sparse tables, of whose rows those alone are updated that a batch has ----

LAZY = {
    "sgd": lambda p: optim.SGD(p, lr=0.1, weight_decay=0.01),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.1),
    "adadelta": lambda p: optim.Adadelta(p),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adam": lambda p: optim.Adam(p, lr=0.01, ema=0.9),
    "adamw": lambda p: optim.AdamW(p, lr=0.01, amsgrad=True),
    "nadam": lambda p: optim.NAdam(p, lr=0.01),
    "adamax": lambda p: optim.Adamax(p, lr=0.01),
    "radam": lambda p: optim.RAdam(p, lr=0.01),
    "lion": lambda p: optim.Lion(p, lr=0.01),
}


def lazy_model(sparse, dtype="float32"):
    fastnn.manual_seed(4)
    layers = nn.TabularEmbedding(1, (700, 7), dim=(9, 3), sparse=sparse), nn.Dense(None, 5, activation="tanh"), nn.Dense(5, 2)
    return nn.Sequential(*layers, dtype=dtype)


def lazy_data(rows=48, seed=0, below=700):
    r = np.random.default_rng(seed)
    return np.column_stack([r.normal(size=rows), r.integers(0, below, rows), r.integers(0, 7, rows)]), r.integers(0, 2, rows)


def steps(model, make, batches, threads=1, backend="native", clip_norm=None):
    """Weights, states and averages, after a step on each batch."""
    opt = make(model.parameters())
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), opt, backend=backend, clip_norm=clip_norm)
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(threads)
    try:
        for x, y in batches:
            trainer.step(x, y)
    finally:
        fastnn.set_num_threads(before)
    tensors = [(np.asarray(p).copy(), *(s.copy() for s in states)) for p, states, _ in opt.update_tensors()]
    return [a for tensor in tensors for a in tensor] + [a.copy() for a in opt.weight_states()]


@pytest.mark.parametrize("clip_norm", [None, 0.1])
@pytest.mark.parametrize("name", LAZY)
def test_rows_of_a_sparse_table_are_updated_alone(name, clip_norm):
    batches = [lazy_data(48, seed) for seed in range(3)]
    found = steps(lazy_model(True), LAZY[name], batches, clip_norm=clip_norm)
    for threads in (2, 3):
        assert all((a == b).all() for a, b in zip(steps(lazy_model(True), LAZY[name], batches, threads, clip_norm=clip_norm), found))
    for a, b in zip(steps(lazy_model(True), LAZY[name], batches, backend="reference", clip_norm=clip_norm), found):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
    start, never = steps(lazy_model(True), LAZY[name], []), np.setdiff1d(range(700), np.concatenate([x[:, 1] for x, _ in batches]))
    assert len(never) > 500
    tables = [i for i, a in enumerate(start) if a.shape == (700, 9)]
    assert tables and all((found[i][never] == start[i][never]).all() for i in tables)
    once = np.setdiff1d(batches[0][0][:, 1], np.concatenate([x[:, 1] for x, _ in batches[1:]])).astype(int)
    first = steps(lazy_model(True), LAZY[name], batches[:1], clip_norm=clip_norm)
    assert len(once) and all((found[i][once] == first[i][once]).all() for i in tables)  # later steps leave them
    assert (found[tables[0]][once] != start[tables[0]][once]).any()


@pytest.mark.parametrize("name", LAZY)
def test_a_sparse_table_all_of_whose_rows_occur_is_a_dense_one(name):
    def batch(seed):
        x, y = lazy_data(1400, seed)
        x[:, 1] = np.arange(1400) % 700
        return x, y

    batches = [batch(seed) for seed in range(2)]
    for a, b in zip(steps(lazy_model((True, False)), LAZY[name], batches), steps(lazy_model(False), LAZY[name], batches)):
        np.testing.assert_array_equal(a, b)


def test_sparse_adam_is_that_of_pytorch():
    torch = pytest.importorskip("torch")
    fastnn.manual_seed(2)
    model = nn.Sequential(nn.Input(2), nn.Embedding(20, 3, sparse=True), nn.Flatten(), nn.Dense(None, 2), dtype="float64")
    table, weight, bias = (torch.nn.Parameter(torch.tensor(p.data.copy())) for p in model.parameters())
    theirs = torch.optim.SparseAdam([table], lr=0.05), torch.optim.Adam([weight, bias], lr=0.05)
    groups = [{"params": model.parameters()[:1], "epsilon_hat": True}, {"params": model.parameters()[1:]}]
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(groups, lr=0.05))
    for seed in range(5):
        r = np.random.default_rng(seed)
        x, y = r.integers(0, 20, (6, 2)), r.integers(0, 2, 6)
        trainer.step(x, y)
        h = torch.nn.functional.embedding(torch.tensor(x), table, sparse=True).reshape(6, -1)
        loss = torch.nn.functional.cross_entropy(h @ weight + bias, torch.tensor(y))
        for o in theirs:
            o.zero_grad()
        loss.backward()
        for o in theirs:
            o.step()
    for p, q in zip(model.parameters(), (table, weight, bias)):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-9, atol=1e-12)


def test_sparse_tables_in_files_and_copies(tmp_path):
    model = lazy_model((True, False))
    model.save(tmp_path / "m.safetensors")
    again = nn.load(tmp_path / "m.safetensors")
    assert repr(again) == repr(model) and [p.sparse for p in again.parameters()[:2]] == [True, False]
    assert "sparse" not in repr(lazy_model(False)) and "sparse=True" in repr(nn.Embedding(3, 2, sparse=True))


def test_what_sparse_tables_refuse():
    x, y = lazy_data()
    for make, what in (
        (optim.LAMB, "LAMB"), (optim.Adafactor, "Adafactor"), (optim.Muon, "Muon"), (optim.ScheduleFreeAdamW, "ScheduleFreeAdamW"),
        (optim.LBFGS, "L-BFGS"), (lambda p: optim.SGD(p, lr=0.1, max_norm=1.0), "max_norm"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rf"^params\[0\]: {what} works on all rows of an array; expected a table without sparse=True"):
            make(lazy_model(True).parameters())
    model = lazy_model(True)
    before = [p.data.copy() for p in model.parameters()]
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()))
    with pytest.raises(ValueError, match="weight_0: expected a table without sparse=True where gradients of several parts"):
        trainer.fit(x, y, batch_size=8, accumulate=2, verbose=0)
    assert all((p.data == b).all() for p, b in zip(model.parameters(), before))
    with pytest.raises(ValueError, match="sparse: expected True, False or 2 of them"):
        nn.TabularEmbedding(1, (3, 4), sparse=(True,))
