"""TabularClassifier and TabularRegressor: the encoding of tables, the recipe against NumPy, files, and what they refuse."""

import datetime
import decimal
import json
import pickle

import numpy as np
import pytest
import scipy.sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from fastnn import Trainer, nn, optim
from fastnn._native import NumberColumns
from fastnn.core import safetensors
from fastnn.sklearn import TabularClassifier, TabularRegressor
from fastnn.sklearn.tables import TableEncoder, columns_of

QUICK = {"n_epochs": 15, "hidden_layer_sizes": (32, 32), "random_state": 0}


def encoded(X, *others, **settings):
    X = np.asarray(X)
    names = range(X.shape[1])
    encoder = TableEncoder(**settings).fit(columns_of(X), names)
    return [encoder.transform(columns_of(np.asarray(x)), names) for x in (X, *others)]


# ---- tables ----


def test_numbers():
    x = np.random.default_rng(0).normal(5, 3, 101)
    x[0] = 1e9
    z = (x - np.median(x)) / (np.quantile(x, 0.75) - np.quantile(x, 0.25))
    np.testing.assert_allclose(encoded(x[:, None])[0][:, 0], z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-6)
    assert encoded(x[:, None])[0].max() <= 3
    few = np.array([0.0] * 9 + [4.0])[:, None]  # no interquartile range: half of the whole
    np.testing.assert_allclose(encoded(few)[0][-1, 0], 2 / np.sqrt(1 + (2 / 3) ** 2), rtol=1e-6)
    assert not encoded(np.full((5, 1), 7))[0].any()


def test_missing_numbers():
    x = np.array([[1.0], [np.nan], [3.0], [2.0], [2.0]])
    first, later = encoded(x, [[np.nan], [2.0]])
    assert first[1].tolist() == [0, 1] and first[0, 1] == -1 and later.tolist() == [[0, 1], [0, -1]]
    whole, later = encoded(x[2:], [[np.nan]])  # training has seen none missing
    assert whole.shape == (3, 1) and later.tolist() == [[0]]
    assert encoded(np.full((3, 1), np.nan), [[5.0]])[1].shape == (1, 1)


def test_arrays_of_numbers_have_a_short_way():
    X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    for made in (X, np.where(X > 1.5, np.nan, X)):
        encoder = TableEncoder().fit(columns_of(made), range(3))
        far = np.array([[1e300, -1e200, 0.0]])
        for later in (made, made[:1], made.astype(float), X[::2, ::-1], X.astype(">f8"), X.astype("f2"), np.full((1, 3), np.nan), far):
            found = encoder.transform_numbers(later)
            np.testing.assert_array_equal(found, encoder.transform(columns_of(later), range(3)))
            if later is not far:
                np.testing.assert_array_equal(encoder.transform_few(later.astype(float)), found)
        assert encoder.transform_numbers(far)[0, 0] == 3
        again = pickle.loads(pickle.dumps(encoder))
        np.testing.assert_array_equal(again.transform_numbers(made), encoder.transform_numbers(made))
        with pytest.raises(ValueError, match="infinity .* in column 1"):
            encoder.transform_numbers(np.array([[1.0, np.inf, 2.0]]))
        assert encoder.transform_few(np.array([[1.0, np.inf, 2.0]])) is None
    with pytest.raises(ValueError, match="columns below 2"):
        NumberColumns(np.zeros(2), np.ones(2), np.array([0, 2]), np.array([-1, -1]), 2)


def test_few_rows_have_a_short_way():
    X, y = many_kinds()
    odd = np.array([["t3", 10**30, True, 2, 1.5], ["t12", np.nan, "y", None, None], ["t3", np.float32(0.5), "n", 0.5, "b"]], object)
    for code_above in (None, 9):
        encoder = TableEncoder(code_above=code_above).fit(columns_of(X), range(5))
        for rows in (X[:4], X[9:10], odd[:2]):
            np.testing.assert_array_equal(encoder.transform_few(rows), encoder.transform(columns_of(rows), range(5)))
        assert encoder.transform_few(odd[2:]) is None  # NumPy's other numbers take the long way
        assert encoder.transform_few(np.array([["t3", "tall", "y", 1.0, "a"]], object)) is None
    codes = np.array([[3.0, 1.0], [1.5, np.nan], [2.0, 0.5], [7.0, 2.0]])
    encoder = TableEncoder(categorical={0}).fit(columns_of(codes), range(2))
    for rows in (codes, codes.astype(np.float32), codes[2:].astype(int), np.array([[4.0, 1e9]])):
        np.testing.assert_array_equal(encoder.transform_few(rows), encoder.transform(columns_of(rows), range(2)))


@pytest.mark.parametrize("kind", [TabularClassifier, TabularRegressor])
def test_few_rows_get_the_bits_of_many(kind):
    """By the short way, by scikit-learn's checks of a list, and among other rows."""
    table, y = many_kinds()
    numbers = np.random.default_rng(1).normal(size=(160, 4))
    numbers[3, 1] = np.nan
    for X in (table, numbers):
        for settings in ({}, {"n_models": 2, "preset": "td"}):
            made = kind(**{**QUICK, "n_epochs": 2}, **settings).fit(X, y)
            ask = made.predict_proba if kind is TabularClassifier else made.predict
            whole = ask(X)
            for begin, end in ((0, 1), (3, 4), (5, 9)):
                np.testing.assert_array_equal(ask(X[begin:end]), whole[begin:end])
                np.testing.assert_array_equal(made.predict(X[begin:end]), made.predict(X)[begin:end])
            if X is numbers:
                np.testing.assert_array_equal(ask(X[:3].tolist()), whole[:3])


def test_categories():
    X = np.array([["a", "x"], ["b", "y"], ["c", "x"], [None, None]], object)
    first, later = encoded(X, [["b", "z"], ["d", "y"]])
    assert first.tolist() == [[1, 0, 0, -1], [0, 1, 0, 1], [0, 0, 1, -1], [0, 0, 0, 0]]
    assert later.tolist() == [[0, 1, 0, 0], [0, 0, 0, 1]]
    numbers = np.array([[1.0], [2.0], [3.0], [np.nan]])
    declared, later = encoded(numbers, np.array([[3], [1]]), categorical={0})  # 3 and 3.0 are one category
    assert declared.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]] and later.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert encoded(np.array([[True], [False]]))[0].tolist() == [[1], [-1]]
    often = np.array([["a"], ["a"], ["b"], ["c"], ["c"], ["c"]], object)
    assert encoded(often, max_categories=2)[0].tolist() == [[-1], [-1], [0], [1], [1], [1]]
    mixed = encoded(np.array([["1"], [2], [np.nan], ["x"]], object))[0]
    assert mixed.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_dates_and_objects():
    days = np.array(["2024-01-01", "2024-01-11", "2024-01-21", "NaT"], "M8[D]")
    same = np.array([datetime.date(2024, 1, 1), datetime.date(2024, 1, 11), datetime.date(2024, 1, 21), None], object)
    spans = np.array([datetime.timedelta(0), datetime.timedelta(10), datetime.timedelta(20), None], object)
    exact = np.array([decimal.Decimal("0"), decimal.Decimal("10"), decimal.Decimal("20"), decimal.Decimal("nan")], object)
    numbers = np.array([0.0, 10.0, 20.0, np.nan])
    for column in (days, same, spans, exact, numbers.astype(object)):
        np.testing.assert_allclose(encoded(column[:, None])[0], encoded(numbers[:, None])[0], atol=1e-6)
    clock = np.array([[datetime.time(6)], [datetime.time(18, 30)], [datetime.time(12)]], object)
    np.testing.assert_allclose(encoded(clock)[0], encoded([[6.0], [18.5], [12.0]])[0], atol=1e-6)
    assert encoded(exact[:, None], categorical={0})[0].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_what_is_masked_is_missing():
    X, y = load_iris(return_X_y=True)
    mask = np.random.default_rng(0).random(X.shape) < 0.2
    holes = TabularClassifier(**QUICK).fit(np.where(mask, np.nan, X), y)
    masked = TabularClassifier(**QUICK).fit(np.ma.masked_array(X, mask), y)
    np.testing.assert_array_equal(masked.predict_proba(np.ma.masked_array(X, mask)), holes.predict_proba(np.where(mask, np.nan, X)))
    codes = np.ma.masked_array([[1, 2], [3, 4], [1, 6]], [[False, True], [False, False], [False, False]])
    np.testing.assert_array_equal(
        TableEncoder().fit(columns_of(codes), range(2)).transform(columns_of(codes), range(2)), encoded([[1, np.nan], [3, 4], [1, 6]])[0]
    )


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames(library):
    lib = pytest.importorskip(library)
    columns = {
        "age": [22.5, None, 35.0, 41.0, 28.0, 19.0],
        "city": ["Rome", "Oslo", None, "Rome", "Lima", "Oslo"],
        "member": [True, False, True, True, False, False],
        "visits": [1, 2, 3, None, 2, 9],
        "since": [datetime.datetime(2020, 1, d) for d in (1, 5, 9, 2, 3, 4)],
    }
    frame = lib.DataFrame(columns)
    array = np.array(list(zip(*columns.values())), object)
    y = ["no", "yes", "no", "no", "yes", "yes"]
    ours = TabularClassifier(**QUICK).fit(frame, y)
    other = TabularClassifier(**QUICK).fit(array, y)
    np.testing.assert_allclose(ours.predict_proba(frame), other.predict_proba(array), atol=1e-6)
    assert list(ours.feature_names_in_) == list(columns)
    with pytest.raises(ValueError, match="feature names should match"):
        ours.predict(frame[list(columns)[::-1]])
    named = TabularClassifier(categorical_features=["visits"], **QUICK).fit(frame, y)
    assert named._encoder.columns[3] == {"kind": "category", "keys": ["1", "2", "3", "9"]}
    if library == "polars":
        with pytest.raises(TypeError, match="got a LazyFrame: use '.collect"):
            ours.predict(frame.lazy())
    if library == "pandas":
        months = lib.DataFrame({"when": lib.period_range("2020-01", periods=6, freq="M")})
        assert TabularClassifier(**QUICK).fit(months, y)._encoder.columns[0]["kind"] == "number"
        typed = frame.astype({"city": "category", "visits": "Int64", "member": "boolean", "age": "Float64"})
        found = TabularClassifier(**QUICK).fit(typed, y).predict_proba(typed)
        np.testing.assert_allclose(found, ours.predict_proba(frame), atol=1e-6)


# ---- the recipe ----


def test_the_recipe_is_that_of_numpy():
    """Three epochs of all rows at once against the recipe as its authors parametrise it: normal weights, divided by the root of
    the number of inputs where they multiply, and one rate for all of them."""
    X, y = load_iris(return_X_y=True)
    clf = TabularClassifier(n_epochs=3, hidden_layer_sizes=(8, 8), random_state=1).fit(X, y)
    inputs = clf._encoder.transform(columns_of(X), range(4)).astype(float)
    random = np.random.RandomState(1)
    random.randint(np.iinfo(np.int32).max)
    sizes = [4, 8, 8, 3]
    scale, weights, biases = np.ones(4), [], []
    for n_in, n_out in zip(sizes, sizes[1:]):
        last = n_out == 3
        weights.append(np.zeros((n_in, n_out)) if last else random.standard_normal((n_in, n_out)))
        biases.append(np.zeros(n_out) if last else random.standard_normal(n_out))
    parameters = [scale, *weights, *biases]
    factors = [6.0] + [1.0] * 3 + [0.1] * 3
    m, v = [np.zeros_like(p) for p in parameters], [np.zeros_like(p) for p in parameters]
    target = 0.9 * np.eye(3)[y] + 0.1 / 3
    a, b = 1.0507009873554805, 1.6732632423543772

    def forward():
        layers = [inputs * scale]
        for i, (w, c) in enumerate(zip(weights, biases)):
            z = layers[-1] @ w / np.sqrt(len(w)) + c
            layers.append(z if i == 2 else a * np.where(z > 0, z, b * np.expm1(np.minimum(z, 0))))
        p = np.exp(layers[-1] - layers[-1].max(axis=1, keepdims=True))
        return layers, p / p.sum(axis=1, keepdims=True)

    for t in range(3):
        layers, p = forward()
        d, gradients = (p - target) / len(X), [None] * 7
        for i in (2, 1, 0):
            gradients[1 + i], gradients[4 + i] = layers[i].T @ d / np.sqrt(len(weights[i])), d.sum(axis=0)
            d = d @ weights[i].T / np.sqrt(len(weights[i]))
            if i:
                d *= np.where(layers[i] > 0, a, layers[i] + a * b)
        gradients[0] = (d * inputs).sum(axis=0)
        rate = 0.04 * 0.5 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * t / 3)))
        for k, (parameter, g) in enumerate(zip(parameters, gradients)):
            m[k] = 0.9 * m[k] + 0.1 * g
            v[k] = 0.95 * v[k] + 0.05 * g * g
            step = m[k] / (1 - 0.9 ** (t + 1)) / (np.sqrt(v[k] / (1 - 0.95 ** (t + 1))) + 1e-8)
            parameter -= factors[k] * rate * step
    np.testing.assert_allclose(clf.predict_proba(X), forward()[1], atol=3e-4)


def test_rates_and_epsilons_of_the_recipe(monkeypatch):
    """Those of weights that are divided by √n where they multiply, for weights that are so from the start."""
    made, adam = [], optim.Adam
    monkeypatch.setattr(optim, "Adam", lambda groups, **more: made.append(adam(groups, **more)) or made[0])
    X, y = load_iris(return_X_y=True)
    TabularClassifier(n_epochs=1, hidden_layer_sizes=(25, 9)).fit(X, y)
    groups = [(g["params"][0].shape, round(g["lr"].lr / 0.04, 9), round(g["eps"] / 1e-8, 9)) for g in made[0].param_groups]
    assert groups == [((4,), 6, 1), ((4, 25), 0.5, 2), ((25, 9), 0.2, 5), ((9, 3), 0.333333333, 3), ((25,), 0.1, 1)]


# ---- the larger recipe ----


def many_kinds(rows=160):
    """Numbers with some missing, a category of two, one of three, and one of 12: (table, classes)."""
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, rows))
    town, yes, size = random.integers(0, 12, rows), random.integers(0, 2, rows), random.integers(0, 3, rows)
    y = (np.sin(4 * a) + (town % 3) + yes > 1).astype(int)
    X = np.array([[f"t{t}", None if i % 9 == 0 else x, "ny"[k], z, "abc"[s]] for i, (t, x, k, z, s) in enumerate(zip(town, a, yes, b, size))], object)
    return X, y


def test_codes():
    X, _ = many_kinds()
    first, later = encoded(X, [["t3", None, "y", 0.5, "c"], ["new", 1.0, None, 0.5, None]], code_above=9)
    assert first.shape == (160, 2 + 1 + 1 + 3 + 1)  # two numbers; what is missing, one of two, one of three; codes
    assert later[0, 2:].tolist() == [1, 1, 0, 0, 1, 5] and later[1, 2:].tolist() == [-1, 0, 0, 0, 0, -1]  # t0 t1 t10 t11 t2 t3
    plain = encoded(X)[0]
    np.testing.assert_array_equal(first[:, :7], plain[:, [12, 15, 13, 14, 16, 17, 18]])
    encoder = TableEncoder(code_above=9).fit(columns_of(X), range(5))
    assert [p.tolist() for p in encoder.places] == [[7], [0, 2], [3], [1], [4, 5, 6]] and encoder.cardinalities() == [12]
    assert (encoder.numbers, encoder.codes, encoder.width) == (2, 1, 8)
    numbers = np.where(np.random.default_rng(0).random((9, 3)) < 0.3, np.nan, 1.0)
    encoder = TableEncoder(code_above=9).fit(columns_of(numbers), range(3))
    np.testing.assert_array_equal(encoder.transform_numbers(numbers), encoder.transform(columns_of(numbers), range(3)))


def test_first_weights_of_td():
    """What a unit gets varies by 1, and its bend lies among what it gets; the layers stand in the recipe's order."""
    X, y = many_kinds()
    clf = TabularClassifier("td", n_epochs=1, hidden_layer_sizes=(40, 30)).fit(X, y)
    rows = clf._encoder.transform(columns_of(X), range(5))
    model, groups = clf._build_td(np.random.RandomState(0), rows, 100)
    kinds = ["TabularEmbedding", "PBLD", "Scale", *["Dense", "ParametricActivation", "Dropout"] * 2, "Dense"]
    assert [type(layer).__name__ for layer in model.layers] == kinds
    h = rows
    for layer in model.layers:
        h = nn.Sequential(nn.Input(h.shape[1]), layer).predict(h)
        if isinstance(layer, nn.Dense):
            np.testing.assert_allclose(h.std(axis=0), 1, rtol=1e-3)
            z = h - layer.bias.data
            assert (z.min(axis=0) <= -layer.bias.data).all() and (-layer.bias.data <= z.max(axis=0)).all() and layer.bias.data.std() > 0.2
    assert {id(p) for p in model.parameters()} == {id(p) for parameters, *_ in groups for p in parameters}
    weights = next(g for g in groups if g[0][0] is model.layers[3].weight)
    assert weights[1] * weights[2] == pytest.approx(1) and weights[2] == weights[3] and weights[1] == pytest.approx(len(weights[0][0].data) ** -0.5)
    shares = [layer.p.table(0, 101) for layer in model.layers if isinstance(layer, nn.Dropout)]
    assert len(shares) == 2 and (shares[0][:50] == 0.15).all() and shares[0][75] == pytest.approx(0.075) and shares[0][100] < 1e-9


def test_td(tmp_path):
    X, y = many_kinds()
    for kind, least in ((TabularClassifier, 0.8), (TabularRegressor, 0.4)):
        made = kind("td", n_epochs=60, random_state=0)
        fitted = made.fit(X, y)
        assert fitted.score(X, y) > least
        assert (clone(made).fit(X, y).predict(X) == fitted.predict(X)).all()
        fitted.save(tmp_path / "t.safetensors")
        again = type(made).load(tmp_path / "t.safetensors")
        assert (again.predict(X) == fitted.predict(X)).all() and again.preset == "td"
        assert (pickle.loads(pickle.dumps(fitted)).predict(X) == fitted.predict(X)).all()
        found = fitted.feature_importances_
        assert found.shape == (5,) and found[0] == found.max()
    far = np.vstack([X, np.array([["t1", 50.0, "y", -70.0, "a"]], object)])
    assert fitted.predict(far).max() <= 1 + 1e-6 and fitted.predict(far).min() >= -1e-6  # within what training had
    held = TabularRegressor("td", n_epochs=3, quantiles=(0.1, 0.9), hidden_layer_sizes=(8,)).fit(X, y).predict_quantiles(far)
    assert held.shape == (161, 2) and held.max() <= 1 + 1e-6
    only = np.array([["a"], ["b"]] * 20, object)  # no numbers
    assert TabularClassifier("td", n_epochs=20, random_state=0).fit(only, only[:, 0]).score(only, only[:, 0]) == 1


def test_good_without_tuning():
    X, y = load_breast_cancer(return_X_y=True)
    assert cross_val_score(TabularClassifier(n_epochs=64, random_state=0), X, y, cv=3).mean() > 0.95
    X, y = load_diabetes(return_X_y=True)
    assert cross_val_score(TabularRegressor(n_epochs=32, random_state=0, learning_rate=0.02), X, y, cv=3).mean() > 0.3


def test_the_last_best_epoch():
    X, y = load_breast_cancer(return_X_y=True)
    clf = TabularClassifier(validation_fraction=0.3, **QUICK).fit(X[:400], y[:400], X_val=X[400:], y_val=y[400:])
    (curve,) = clf.validation_curves_
    assert len(curve) == clf.n_iter_ == clf.n_epochs_ == 15
    assert 1 - clf.score(X[400:], y[400:]) == pytest.approx(min(curve))
    reg = TabularRegressor(validation_fraction=0.3, **QUICK).fit(X, X[:, 0])
    assert len(reg.validation_curves_[0]) == 15 and reg.score(X, X[:, 0]) > 0.5
    assert TabularRegressor(**QUICK).fit(X, X[:, 0]).validation_curves_ == [[]]  # below 1,000 rows none are held back
    grown = np.tile(X, (2, 1))
    assert len(TabularRegressor(**QUICK).fit(grown, grown[:, 0]).validation_curves_[0]) == 15


def test_weights_and_classes():
    X, y = load_breast_cancer(return_X_y=True)
    y = np.array(["malign", "benign"])[y]
    rare = np.flatnonzero(y == "malign")[:12].tolist() + np.flatnonzero(y == "benign").tolist()
    X, y = X[rare, :3], y[rare]
    plain, balanced = (TabularClassifier(class_weight=w, **QUICK).fit(X, y) for w in (None, "balanced"))
    assert (balanced.predict(X) == "malign").sum() > (plain.predict(X) == "malign").sum()
    weights = np.where(y == "malign", 0.0, 1.0)
    assert set(TabularClassifier(**QUICK).fit(X, y, sample_weight=weights).predict(X)) == {"benign"}
    only = TabularClassifier(**QUICK).fit(X, np.full(len(y), 3))
    assert set(only.predict(X)) == {3} and only.predict_proba(X).shape == (len(X), 1)


@pytest.mark.filterwarnings("ignore:the loss became")
def test_several_networks_and_random_state():
    X, y = load_iris(return_X_y=True)
    three = TabularClassifier(n_models=3, validation_fraction=0.2, **QUICK).fit(X, y)
    again = TabularClassifier(n_models=3, validation_fraction=0.2, **QUICK).fit(X, y)
    one = TabularClassifier(n_models=1, validation_fraction=0.2, **QUICK).fit(X, y)
    assert len(three._models) == len(three.validation_curves_) == 3
    assert (three.predict_proba(X) == again.predict_proba(X)).all()
    assert np.abs(three.predict_proba(X) - one.predict_proba(X)).max() > 1e-3
    np.testing.assert_allclose(three.predict_proba(X).sum(axis=1), 1, atol=1e-5)
    alone = TabularClassifier(n_models=3, validation_fraction=0.2, n_threads=1, **QUICK).fit(X, y)
    assert (three.predict_proba(X) == alone.predict_proba(X)).all()  # side by side or one after the other
    with pytest.raises(ValueError, match="weights that are not finite"):
        TabularRegressor(n_models=4, learning_rate=1e30, **QUICK).fit(X, X[:, 0])


def test_quantiles_and_outputs():
    X = np.random.default_rng(0).uniform(size=(900, 2))
    y = X[:, 0] + np.random.default_rng(1).normal(size=900) * (0.1 + X[:, 1])
    settings = {"n_epochs": 60, "hidden_layer_sizes": (32,), "random_state": 0, "learning_rate": 0.02}
    reg = TabularRegressor(quantiles=[0.9, 0.5, 0.1], **settings).fit(X, y)
    high, middle, low = reg.predict_quantiles(X).T
    assert (high >= middle).all() and (middle >= low).all() and (reg.predict(X) == middle).all()
    assert 0.7 < ((low <= y) & (y <= high)).mean() < 0.9
    both = TabularRegressor(**QUICK).fit(X, np.stack([y, 100 * X[:, 0]], axis=1))
    assert both.predict(X).shape == (900, 2) and both.score(X, np.stack([y, 100 * X[:, 0]], axis=1)) > 0.3


def test_time_and_epochs(capsys):
    X, y = load_iris(return_X_y=True)
    with pytest.warns(UserWarning, match="of 50 networks"):
        quick = TabularClassifier(n_models=50, max_seconds=0.05).fit(X, y)
    assert len(quick._models) < 50 and quick.predict(X).shape == (150,)
    clf = TabularClassifier()
    clf._encoder, clf._outputs_count = type("", (), {"width": 50})(), 2
    assert clf._epochs(1000) == 256 and 32 <= clf._epochs(1_000_000) < 256 and clf._epochs(10**9) == 32
    assert clf.set_params(n_epochs=300)._epochs(10**9) == 300


def test_importances():
    X, y = load_iris(return_X_y=True)
    found = TabularClassifier(n_epochs=60, random_state=0).fit(X, y).feature_importances_
    assert found.shape == (4,) and found[2:].min() > found[:2].max()


# ---- files, and scikit-learn's tools ----


def test_files(tmp_path):
    X = np.array([["a", 1.5], ["b", None], ["c", 2.0], ["a", -1.0]] * 10, object)
    for y in (["x", "y", "x", "z"] * 10, [1, 2, 1, 3] * 10, [True, False, True, True] * 10):
        clf = TabularClassifier(n_models=2, categorical_features=(0,), **QUICK).fit(X, y)
        clf.save(tmp_path / "t.safetensors")
        again = TabularClassifier.load(tmp_path / "t.safetensors")
        assert (again.predict_proba(X) == clf.predict_proba(X)).all() and (again.predict(X) == clf.predict(X)).all()
        assert again.get_params() == clf.get_params() and (again.feature_importances_ == clf.feature_importances_).all()
        assert again.validation_curves_ == clf.validation_curves_ and again.n_iter_ == clf.n_iter_
        assert (pickle.loads(pickle.dumps(clf)).predict_proba(X) == clf.predict_proba(X)).all()
        again.save(tmp_path / "u.safetensors")
        assert (tmp_path / "u.safetensors").read_bytes() == (tmp_path / "t.safetensors").read_bytes()
    for settings in ({}, {"quantiles": (0.2, 0.8)}):
        reg = TabularRegressor(**settings, **QUICK).fit(X, np.arange(40.0))
        reg.save(tmp_path / "t.safetensors")
        assert (TabularRegressor.load(tmp_path / "t.safetensors").predict(X) == reg.predict(X)).all()
    with pytest.raises(ValueError, match="expected a file that TabularClassifier.save has written"):
        TabularClassifier.load(tmp_path / "t.safetensors")
    with pytest.raises(NotFittedError):
        TabularClassifier().save(tmp_path / "t.safetensors")


def test_files_that_lie(tmp_path):
    X, y = load_iris(return_X_y=True)
    path = tmp_path / "t.safetensors"
    TabularClassifier(**QUICK).fit(X, y).save(path)
    good = path.read_bytes()
    tensors, metadata = safetensors.parse(good)
    described = json.loads(metadata["described"])
    changes = [
        {**described, "columns": described["columns"][:2]}, {**described, "columns": [{"kind": "number"}] * 4},
        {**described, "columns": 3},
        {**described, "classes": [0, 1]}, {**described, "classes": [[0, 1], [2]]}, {**described, "kind": "M8[D]"},
        {**described, "parameters": {"nonsense": 1}}, {**described, "names": ["a"]}, {**described, "epochs": [1]}, [], None,
    ]  # fmt: skip
    for changed in changes:
        safetensors.write(path, tensors, {**metadata, "described": json.dumps(changed)})
        with pytest.raises(ValueError, match="expected a file that TabularClassifier.save has written"):
            TabularClassifier.load(path)
    members = ("[]", "{", '[{"architecture": 3}]')
    for changed in (*({"members": m} for m in members), {"version": "2"}, {"estimator": "x"}):
        safetensors.write(path, tensors, {**metadata, **changed})
        with pytest.raises(ValueError, match="expected a file that"):
            TabularClassifier.load(path)
    for cut in (0, 7, 100, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:cut])
        with pytest.raises(ValueError, match="expected a file that"):
            TabularClassifier.load(path)


def test_tools():
    X, y = load_iris(return_X_y=True)
    search = GridSearchCV(TabularClassifier(**QUICK), {"label_smoothing": [0.0, 0.1]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.7 and repr(clone(search.best_estimator_)) == repr(search.best_estimator_)


def test_among_other_estimators():
    """In a pipeline behind a ColumnTransformer, as HTML, with weights that are routed, and with scikit-learn's callbacks."""
    X, y = many_kinds()
    ready = make_column_transformer((FunctionTransformer(), [1, 3]), (OneHotEncoder(handle_unknown="ignore", sparse_output=False), [0, 2, 4]))
    pipeline = make_pipeline(ready, TabularClassifier(**QUICK)).fit(X, y)
    assert pipeline.predict(X[:5]).shape == (5,) and "TabularClassifier" in pipeline._repr_html_()
    with config_context(enable_metadata_routing=True):
        weighted = TabularRegressor(**QUICK).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        assert np.isfinite(cross_val_score(weighted, X, y, cv=2, params={"sample_weight": np.arange(160.0) + 1})).all()


def test_callbacks_of_scikit_learn():
    pytest.importorskip("sklearn.callback")
    X, y = load_iris(return_X_y=True)

    class Recorder:
        def __init__(self):
            self.events = []

        def setup(self, estimator, context):
            self.events.append("setup")

        def teardown(self, estimator, context):
            self.events.append("teardown")

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            self.events.append(context.task_name)
            return self.events.count("epoch") == 3

    for kind in (TabularClassifier, TabularRegressor):
        recorder = Recorder()
        made = kind(n_models=2, **QUICK).set_callbacks(recorder).fit(X, y)
        assert recorder.events[:4] == ["setup", "epoch", "epoch", "epoch"] and recorder.events[-2:] == ["fit", "teardown"]
        assert len(made.loss_curve_) == 3


def test_scores_of_scikit_learns_monitor():
    """After each epoch, of the table and the classes as they were given, by the networks that there are."""
    callback = pytest.importorskip("sklearn.callback")
    X, y = many_kinds()
    names = np.where(y > 0, "yes", "no")
    for kind, targets, name in ((TabularClassifier, names, "accuracy"), (TabularRegressor, y, "r2")):
        monitor = callback.ScoringMonitor(scoring=name)
        made = kind(n_models=2, **{**QUICK, "n_epochs": 4}).set_callbacks(monitor)
        for _ in range(2):
            made.fit(X, targets, sample_weight=np.ones(160))
        rows = monitor.get_logs().data
        scores = [row[name] for row in rows if row["task_name"] == "epoch"]
        whole = made.score(X, targets)
        assert len(scores) == 8 and scores[-1] == pytest.approx(whole)
        assert [row[name] for row in rows if row["task_name"] == "fit"] == [pytest.approx(whole)]
        assert scores[3] == pytest.approx(kind(n_models=1, **{**QUICK, "n_epochs": 4}).fit(X, targets, np.ones(160)).score(X, targets))


def test_native_calls_of_an_epoch(monkeypatch):
    """Where rates are scheduled a native call is given about as many steps as there is time for: what is left at the end of an epoch, or
    one call that was slow, does not say how many those are."""
    calls, run = [], Trainer._run_part

    def counted(self, part, *more):
        calls.append(part.steps)
        result = run(self, part, *more)
        if len(calls) == 1:
            assert part.steps == 9
            self._steps_per_slice = 1  # as if that had been slow
        return result

    monkeypatch.setattr(Trainer, "_run_part", counted)
    X, y = load_iris(return_X_y=True)
    TabularClassifier(**{**QUICK, "n_epochs": 30, "batch_size": 16}).fit(X, y)
    assert sum(calls) == 9 * 30 and calls[1:3] == [2, 4] and len(calls) < 60


# ---- what is refused ----


def test_errors():
    X, y = load_iris(return_X_y=True)
    clf = TabularClassifier(**QUICK)
    with pytest.raises(ValueError, match="contains infinity .* in column 2"):
        clf.fit(np.where([False, False, True, False], np.inf, X), y)
    with pytest.raises(TypeError, match="Sparse data was passed"):
        clf.fit(scipy.sparse.csr_array(X), y)
    with pytest.raises(ValueError, match="numbers from 0 to 3"):
        TabularClassifier(categorical_features=[4]).fit(X, y)
    with pytest.raises(ValueError, match="names of columns"):
        TabularClassifier(categorical_features=["size"]).fit(X, y)
    with pytest.raises(ValueError, match="a mask of 4 columns"):
        TabularClassifier(categorical_features=[True, False]).fit(X, y)
    with pytest.raises(ValueError, match="'preset'"):
        TabularClassifier("td-x").fit(X, y)
    with pytest.raises(ValueError, match="all rows are zero|non-zero"):
        clf.fit(X, y, sample_weight=np.zeros(150))
    with pytest.raises(ValueError, match="Negative values"):
        clf.fit(X, y, sample_weight=-np.ones(150))
    with pytest.raises(ValueError, match="y contains NaN"):
        TabularRegressor().fit(X, np.where(y == 1, np.nan, y))
    for missing in (None, np.nan):
        with pytest.raises(ValueError, match="y contains NaN, None or NA"):
            clf.fit(X, np.array([missing, "a", "b"], object)[y])
    with pytest.raises(ValueError, match="y: expected numbers with a finite variance, got some as large as 1e[+]300"):
        TabularRegressor().fit(X, np.where(y == 1, 1e300, 0.0))
    with pytest.raises(ValueError, match="X_val, y_val: expected as many rows in both, got 150 and 9"):
        clf.fit(X, y, X_val=X, y_val=y[:9])
    with pytest.raises(ValueError, match="sample_weight_val: expected with X_val"):
        clf.fit(X, y, sample_weight_val=np.ones(3))
    with pytest.raises(ValueError, match="class_weight: expected weights of at least 0"):
        TabularClassifier(class_weight={0: -1}).fit(X, y)
    with pytest.raises(NotFittedError):
        TabularClassifier().feature_importances_  # noqa: B018
    for quantiles in ([0.5, 1.0], ["a"], [{0.5}], []):
        with pytest.raises(ValueError, match="quantiles: expected numbers above 0"):
            TabularRegressor(quantiles=quantiles).fit(X, y)
    with pytest.raises(ValueError, match="expected an estimator that was fitted with quantiles"):
        TabularRegressor(**QUICK).fit(X, y).predict_quantiles(X)
    with pytest.raises(ValueError, match="y_val: expected classes among"):
        clf.fit(X, y, X_val=X, y_val=y + 1)
    clf.fit(X, y)
    with pytest.raises(ValueError, match="is expecting 4 features"):
        clf.predict(X[:, :3])
    with pytest.raises(ValueError, match="column 1: expected numbers, as in training, got 'tall'"):
        clf.predict(np.array([[1, "tall", 2, 3]], object))
