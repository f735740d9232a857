"""Tables: CSV files whose columns' types are found, and the fitted transform that makes numbers of them and is saved with a model."""

import gzip
import json

import numpy as np
import pytest

import fastnn
from fastnn import data, losses, nn, optim


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


FLATS = "size,city,rooms,price\n50,Oslo,2,210\n72.5,Bergen,,305\n31,,1,150\n40,Oslo,2,\n"


# --- CSV ---


def test_types_are_found(tmp_path):
    frame = data.read_csv(write(tmp_path / "f.csv", FLATS))
    assert frame.columns == ["size", "city", "rooms", "price"] and len(frame) == 4
    np.testing.assert_array_equal(frame["size"], [50, 72.5, 31, 40])
    np.testing.assert_array_equal(frame["rooms"], [2, np.nan, 1, 2])
    assert frame["city"].tolist() == ["Oslo", "Bergen", None, "Oslo"]
    assert repr(frame) == "<Frame of 4 rows: size (number), city (category, 1 missing), rooms (number, 1 missing), price (number, 1 missing)>"


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
def test_separators_quotes_and_endings_of_lines(tmp_path, sep):
    text = f'\ufeffa{sep}b\r\n1{sep}"x{sep} ""y"""\r\n\r\n2{sep}"two\nlines"\r\n'
    (tmp_path / "f.csv.gz").write_bytes(gzip.compress(text.encode()))
    frame = data.read_csv(tmp_path / "f.csv.gz")
    assert frame["a"].tolist() == [1, 2] and frame["b"].tolist() == [f'x{sep} "y"', "two\nlines"]


def test_headers(tmp_path):
    path = write(tmp_path / "f.csv", "1,2\n3,4\n")
    assert data.read_csv(path).columns == ["1", "2"] and len(data.read_csv(path)) == 2
    assert len(data.read_csv(path, header=True)) == 1
    text = write(tmp_path / "g.csv", "a,b\nc,d\n")
    assert data.read_csv(text).columns == ["a", "b"] and data.read_csv(text, header=False).columns == ["1", "2"]
    assert data.read_csv(write(tmp_path / "h.csv", ",x\n5,6\n")).columns == ["column 1", "x"]
    assert data.read_csv(write(tmp_path / "i.csv", "x\n5\n\n6\n"))["x"].tolist() == [5, 6]


def test_kinds_and_missing_fields_can_be_said(tmp_path):
    path = write(tmp_path / "f.csv", "zip,n\n0150,-\n5003,7\n")
    assert data.read_csv(path, kinds={"zip": "category"}, missing=["-"])["zip"].tolist() == ["0150", "5003"]
    np.testing.assert_array_equal(data.read_csv(path, missing=["-"])["n"], [np.nan, 7])
    assert data.read_csv(path)["n"].tolist() == ["-", "7"]
    assert data.read_csv(write(tmp_path / "g.csv", "a\n1_0\n2\n"))["a"].dtype == object  # which Python takes for 10


@pytest.mark.parametrize("text, message", [
    ("a,b\n1,2\n3\n", "line 3: expected 2 fields, as the first line has, got 1; are fields separated by something else"),
    ("a,b\n1,2\n3,4,5\n", "line 3: expected 2 fields, as the first line has, got 3"),
    ("", "expected at least one row, got an empty file"),
    ("a,b\n", "expected at least one row, got a header alone"),
    ("a,a\n1,2\n", "expected columns of different names, got 'a' twice"),
    ('a,b\n1,"2\n', "line 2: expected fields of a CSV file, got others"),
])
def test_files_that_are_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as error:
        data.read_csv(write(tmp_path / "f.csv", text))
    assert "f.csv" in str(error.value)


def test_other_encodings(tmp_path):
    (tmp_path / "f.csv").write_bytes("a,b\n1,é\n".encode("latin-1"))
    with pytest.raises(ValueError, match="line 2: expected text in utf-8, got byte 0xe9"):
        data.read_csv(tmp_path / "f.csv")
    assert data.read_csv(tmp_path / "f.csv", encoding="latin-1")["b"].tolist() == ["é"]
    (tmp_path / "g.csv").write_bytes(gzip.compress(FLATS.encode())[:-9])
    with pytest.raises(ValueError, match="expected an intact gzip stream"):
        data.read_csv(tmp_path / "g.csv")


def test_wrong_kinds(tmp_path):
    path = write(tmp_path / "f.csv", FLATS)
    with pytest.raises(ValueError, match="column 'city': expected numbers, got 'Oslo' in line 2"):
        data.read_csv(path, kinds={"city": "number"})
    with pytest.raises(ValueError, match="^kinds: expected names of columns"):
        data.read_csv(path, kinds={"town": "number"})
    with pytest.raises(ValueError, match="^kinds: expected 'number' or 'category'"):
        data.read_csv(path, kinds={"city": "text"})


# --- frames ---


def test_frames():
    frame = data.Frame({"a": [1, 2, 3], "b": ["x", None, "y"], "c": [True, False, True], "d": [1, None, 3]})
    assert frame["a"].dtype == frame["c"].dtype == np.float64 and np.isnan(frame["d"][1])
    assert frame.take([2, 0])["b"].tolist() == ["y", "x"] and frame.take([1])["b"].tolist() == [None] and list(frame) == ["a", "b", "c", "d"]
    with pytest.raises(KeyError, match="expected one of the columns a, b, c, d"):
        frame["e"]
    for columns, message in (({}, "at least one column"), ({"a": [1], "b": [1, 2]}, "equal length"), ({"a": [[1]]}, "1 dimension")):
        with pytest.raises(ValueError, match=message):
            data.Frame(columns)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_of_others(library):
    other = pytest.importorskip(library)
    columns = {"size": [50.0, 72.5, None], "city": ["Oslo", None, "Bergen"], "sold": [True, False, True], "n": [1, 2, 3]}
    mine, theirs = data.Frame(columns), other.DataFrame(columns)
    table = data.Table(target="n", task="classification").fit(theirs)
    for a, b in zip(table(theirs), table(mine)):
        np.testing.assert_array_equal(a, b)


# --- the transform ---


def example(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    size, city = rng.normal(60, 20, rows), rng.choice(["Oslo", "Bergen", "Bodø"], rows)
    price = 3 * size + 40 * (city == "Oslo") + rng.normal(0, 5, rows)
    size[::17] = np.nan
    return data.Frame({"size": size, "city": city, "id": np.arange(rows).astype(str), "one": np.ones(rows), "price": price, "dear": np.where(price > 190, "yes", "no")})


def test_numbers_and_categories():
    frame = example()
    table = data.Table(target="price", drop=["dear"]).fit(frame)
    X, y = table(frame)
    there = ~np.isnan(frame["size"])
    assert table.feature_names == ["size", "size missing", "city = Bergen", "city = Bodø", "city = Oslo"] or set(table.feature_names) == {
        "size", "size missing", "city = Bergen", "city = Bodø", "city = Oslo"}  # fmt: skip
    assert X.dtype == np.float32 and X.shape == (200, 5) and table.features == 5 and table.left_out == ["id", "one", "dear"]
    np.testing.assert_allclose(X[there, 0], (frame["size"][there] - frame["size"][there].mean()) / frame["size"][there].std(), rtol=1e-5)
    assert (X[~there, 0] == 0).all() and (X[:, 1] == ~there).all() and (X[:, 2:].sum(axis=1) == 1).all()
    column = 2 + [n for n in table.feature_names if n.startswith("city")].index("city = Oslo")
    assert (X[:, column] == (frame["city"] == "Oslo")).all()
    np.testing.assert_allclose(y, (frame["price"] - frame["price"].mean()) / frame["price"].std(), rtol=1e-5)
    np.testing.assert_allclose(table.answers(y[:, None]), frame["price"], rtol=1e-5)
    assert not table.is_classification and table.classes is None and table.scale == frame["price"].std()


@pytest.mark.parametrize("values, task, classes", [
    (["b", "a", "b", "a"], None, ["a", "b"]),
    ([3, 1, 3, 1], None, [1, 3]),
    ([3.5, 1, 3.5, 1], None, None),
    (list(range(30)), None, None),
    (list(range(30)), "classification", list(range(30))),
    ([3, 1, 3, 1], "regression", None),
])
def test_tasks_are_found(values, task, classes):
    frame = data.Frame({"x": np.arange(len(values)), "t": values})
    table = data.Table("t", task).fit(frame)
    assert table.classes == classes
    if classes:
        assert table.answers(table.targets(frame)).tolist() == values


def test_rare_categories_and_unknown_ones():
    cities = ["a"] * 5 + ["b"] * 4 + ["c", "d", "e", None]
    frame = data.Frame({"city": cities, "t": np.arange(13) % 2})
    table = data.Table("t", max_categories=2).fit(frame)
    assert table.feature_names == ["city = a", "city = b", "city missing", "city other"]
    X = table.transform({"city": ["b", "d", "never", None]})
    np.testing.assert_array_equal(X, [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 1, 0]])
    strict = data.Table("t").fit(frame)
    with pytest.raises(ValueError, match="^frame: expected one of the categories 'a', 'b', .* in 'city', got 'never' in row 1; unknown='ignore'"):
        strict.transform({"city": ["a", "never"]})
    X = strict.transform({"city": ["a", "never", "never2"]}, unknown="ignore")
    assert X[0].sum() == 1 and not X[1:].any()
    assert strict.unknown_categories({"city": ["a", "never", "never2"]}) == {"city": (2, "never")}


def test_categories_that_are_written_as_numbers():
    frame = data.Frame({"code": ["1", "2", "x", "1"], "t": [0, 1, 0, 1]})
    table = data.Table("t").fit(frame)
    np.testing.assert_array_equal(table.transform({"code": [1, 2]}), table.transform({"code": ["1", "2"]}))


@pytest.mark.parametrize("columns, settings, message", [
    ({"x": [1, 2], "t": [0, 1]}, {"target": "y"}, "^target: expected one of the columns x, t, got 'y'"),
    ({"x": [1, 2], "t": [0, 1]}, {"target": "t", "drop": ["z"]}, "^drop: expected one of the columns"),
    ({"x": [1, 2], "t": [0, np.nan]}, {"target": "t"}, "^target: expected a value in every row of 't', got none in row 1"),
    ({"x": [1, 2], "t": ["a", None]}, {"target": "t"}, "^target: expected a value in every row of 't', got none in row 1"),
    ({"x": [1, 2], "t": [1, 1]}, {"target": "t"}, "^target: expected at least 2 different values of 't', got 1.0 alone"),
    ({"x": [1, 2], "t": [1, np.inf]}, {"target": "t"}, "^target: expected finite numbers"),
    ({"x": [1, 2], "t": ["a", "b"]}, {"target": "t", "task": "regression"}, "^target: expected numbers in 't' for a regression"),
    ({"x": [1, 1], "t": [0, 1]}, {"target": "t"}, "^frame: expected a column that tells rows apart"),
    ({"x": [1, np.inf], "t": [0, 1]}, {"target": "t"}, "^frame: expected finite numbers in 'x', got inf in row 1"),
    ({"x": [1, 2], "t": [0, 1]}, {"task": "both"}, "^task: expected 'classification' or 'regression'"),
    ({"x": [1, 2], "t": [0, 1]}, {"max_categories": 0}, "^max_categories: expected an integer >= 1"),
])
def test_tables_that_are_refused(columns, settings, message):
    with pytest.raises(ValueError, match=message):
        data.Table(**settings).fit(columns)


def test_rows_that_are_refused():
    table = data.Table("t").fit({"x": [1.0, 2.0], "c": ["a", "b"], "t": ["n", "y"]})
    for columns, message in (
        ({"x": [1]}, "^frame: expected the columns x, c, got none called c"),
        ({"x": ["one"], "c": ["a"]}, "^frame: expected numbers in 'x', got 'one' in row 0"),
        ({"x": [np.inf], "c": ["a"]}, "^frame: expected finite numbers in 'x', got inf in row 0"),
    ):
        with pytest.raises(ValueError, match=message):
            table.transform(columns)
    with pytest.raises(ValueError, match="^target: expected one of 'n', 'y' in 't', got 'z' in row 0"):
        table.targets({"t": ["z"]})
    with pytest.raises(ValueError, match="^frame: expected the column 't'"):
        table.targets({"x": [1]})
    with pytest.raises(RuntimeError, match="call fit"):
        data.Table().transform({"x": [1]})
    with pytest.raises(TypeError, match="^frame: expected a Frame"):
        table.transform([[1, 2]])


def test_saved_with_the_model(tmp_path):
    frame = example()
    table = data.Table(target="dear", drop=["price"]).fit(frame)
    X, y = table(frame)
    fastnn.manual_seed(0)
    model = nn.Sequential(nn.Dense(table.features, 16, activation="relu"), nn.Dense(16, 2))
    trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01))
    trainer.fit(X, y, epochs=30, verbose=0)
    table.attach(model)
    model.save(tmp_path / "m")
    trainer.save_checkpoint(tmp_path / "t")
    for path in ("m", "t"):
        loaded = nn.load(tmp_path / path)
        again = data.Table.of(loaded)
        assert json.loads(json.dumps(again.config())) == json.loads(json.dumps(table.config())) and repr(again) == repr(table)
        np.testing.assert_array_equal(again.transform(frame), X)
        answers = again.answers(loaded.predict_classes(again.transform(frame)))
        assert (answers == frame["dear"]).mean() > 0.9
    assert data.Table.of(nn.Sequential(nn.Dense(2, 2))) is None
    copied = trainer.model.fold()
    assert copied.metadata == model.metadata and copied.metadata is not model.metadata


@pytest.mark.parametrize("change", [
    lambda c: c.pop("columns"), lambda c: c.update(columns=[]), lambda c: c["columns"][0].update(scale=0), lambda c: c.update(max_categories="x"),
    lambda c: c["columns"][0].update(kind="other"), lambda c: c.update(fitted_target={"classes": ["a"]}), lambda c: c["columns"][0].update(mean="1"),
    lambda c: c.update(left_out=3), lambda c: c.update(fitted_target=3),
])  # fmt: skip
def test_configurations_that_are_none(change):
    config = json.loads(json.dumps(data.Table("t").fit({"x": [1.0, 2.0], "t": ["n", "y"]}).config()))
    data.Table.from_config(config)
    change(config)
    with pytest.raises(ValueError, match="^config: expected that of a Table"):
        data.Table.from_config(config)
    model = nn.Sequential(nn.Dense(1, 2))
    model.metadata["table"] = config
    with pytest.raises(ValueError, match="^config: expected that of a Table"):
        data.Table.of(model)


def test_metadata_that_cannot_be_saved_or_read(tmp_path):
    model = nn.Sequential(nn.Dense(1, 2))
    model.metadata = {"x": object()}
    with pytest.raises(TypeError, match="^metadata: expected what JSON can hold"):
        model.save(tmp_path / "m")
    assert not list(tmp_path.iterdir())
    from fastnn.core import safetensors

    model.metadata = {}
    model.save(tmp_path / "m")
    tensors, metadata = safetensors.parse((tmp_path / "m").read_bytes())
    for text in ("[]", "{", "[" * 100000):
        safetensors.write(str(tmp_path / "n"), tensors, {**metadata, "metadata": text}, False)
        with pytest.raises(ValueError, match="metadata that cannot be read"):
            nn.load(tmp_path / "n")
