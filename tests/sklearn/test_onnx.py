"""fastnn.sklearn.onnx: ONNX Runtime gives what the estimators' predict and predict_proba give, from the raw table on; so it does for
pipelines that skl2onnx has converted."""

import numpy as np
import pytest

from fastnn import io
from fastnn.sklearn import MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor
from fastnn.sklearn.onnx import register, to_onnx

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4)).astype(np.float32)
CLASSES = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
NAMES = np.array(["no", "yes"])[(X[:, 0] > 0).astype(int)]
TABLE = np.where(np.arange(90)[:, None] % 7 == np.arange(4), np.nan, X).astype(np.float32)  # with missing numbers
MLP = {"max_iter": 8, "hidden_layer_sizes": (12,), "random_state": 0, "solver": "adam"}
TAB = {"n_epochs": 2, "hidden_layer_sizes": (12,), "random_state": 0}

CASES = {
    "three classes": lambda: (MLPClassifier(**MLP), X, CLASSES),
    "texts": lambda: (MLPClassifier(**MLP), X, NAMES),
    "several labels": lambda: (MLPClassifier(**MLP), X, X[:, :3] > 0),
    "hinge": lambda: (MLPClassifier(loss="hinge", **MLP), X, CLASSES),
    "hinge of two": lambda: (MLPClassifier(loss="hinge", **MLP), X, NAMES),
    "numbers": lambda: (MLPRegressor(**MLP), X, X[:, 0]),
    "pairs": lambda: (MLPRegressor(**MLP), X, X[:, :2]),
    "counts": lambda: (MLPRegressor(loss="poisson", **MLP), X, np.abs(X[:, 0])),
    "table": lambda: (TabularClassifier(n_models=2, **TAB), TABLE, CLASSES),
    "table of texts": lambda: (TabularClassifier(**TAB), TABLE, NAMES),
    "table of numbers": lambda: (TabularRegressor(n_models=2, **TAB), TABLE, 3 + 9 * X[:, 0]),
    "waves": lambda: (TabularClassifier("td", **TAB), TABLE, CLASSES),
    "waves and numbers": lambda: (TabularRegressor("td", n_models=2, **TAB), TABLE, 3 + 9 * X[:, 0]),
    "quantiles": lambda: (TabularRegressor(quantiles=(0.9, 0.1, 0.5), **TAB), TABLE, 3 + 9 * X[:, 0]),
}


@pytest.fixture(scope="module", params=CASES, ids=lambda name: name.replace(" ", "-"))
def fitted(request):
    import warnings

    estimator, table, y = CASES[request.param]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few epochs
        return estimator.fit(table, y), table


def run(model, inputs):
    onnx.checker.check_model(model, full_check=True)
    return runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, inputs)


def agree(estimator, table, found):
    if not hasattr(estimator, "classes_"):
        expected = estimator.predict(table)
        np.testing.assert_allclose(found[0], expected.reshape(len(expected), -1), rtol=1e-4, atol=1e-4)
        return
    assert (found[0] == estimator.predict(table)).all()
    if hasattr(estimator, "predict_proba"):
        np.testing.assert_allclose(found[1], estimator.predict_proba(table), rtol=1e-4, atol=1e-5)
    else:
        assert found[1].shape[0] == len(table)


def test_what_the_estimator_gives(fitted, tmp_path):
    estimator, table = fitted
    for rows in (len(table), 1):
        agree(estimator, table[:rows], run(to_onnx(estimator, tmp_path / "e.onnx"), {"X": table[:rows]}))
    assert onnx.load(tmp_path / "e.onnx").producer_name == "fastnn"


@pytest.mark.filterwarnings("ignore")
def test_skl2onnx(fitted):
    convert = pytest.importorskip("skl2onnx")
    estimator, table = fitted
    register()
    options = {"zipmap": False} if hasattr(estimator, "classes_") else None
    found = run(convert.to_onnx(estimator, table[:1], options=options, target_opset=18), {"X": table})
    agree(estimator, table, found)


@pytest.mark.filterwarnings("ignore")
def test_a_pipeline():
    convert = pytest.importorskip("skl2onnx")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    register()
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**MLP)).fit(X, CLASSES)
    found = run(convert.to_onnx(pipeline, X[:1], options={"zipmap": False}, target_opset=18), {"X": X})
    agree(pipeline, X, found)


def test_categories():
    """Texts are inputs of their own; numbers that stand for categories come with the others; what training has not seen is none of them."""
    color = np.array(["red", "green", "blue", None], object)[np.arange(90) % 4]
    two = np.array(["a", "b"], object)[np.arange(90) % 2]
    table = np.stack([X[:, 0].astype(object), color, two], axis=1)
    estimator = TabularClassifier(categorical_features=[1, 2], **TAB).fit(table, CLASSES)
    new = table.copy()
    new[3, 1], new[4, 2] = "violet", "c"
    inputs = {"x0": new[:, :1].astype(np.float32), "x1": np.where(new[:, 1:2] == None, "", new[:, 1:2]), "x2": new[:, 2:]}  # noqa: E711
    agree(estimator, new, run(to_onnx(estimator), inputs))
    numbers = np.stack([X[:, 0], np.arange(90) % 5, np.arange(90) % 2], axis=1).astype(np.float32)
    estimator = TabularClassifier(categorical_features=[1, 2], **TAB).fit(numbers, CLASSES)
    numbers[5, 1] = 7
    agree(estimator, numbers, run(to_onnx(estimator), {"X": numbers}))


def test_what_is_refused():
    from sklearn.exceptions import NotFittedError
    from sklearn.linear_model import LinearRegression

    with pytest.raises(TypeError, match="estimator: expected one of fastnn.sklearn, got LinearRegression"):
        to_onnx(LinearRegression())
    with pytest.raises(NotFittedError):
        to_onnx(MLPRegressor())
    with pytest.raises(ValueError, match="classes_: expected integers or texts"):
        to_onnx(TabularClassifier(**TAB).fit(X, CLASSES > 0))


def test_the_way_of_models(fitted, tmp_path):
    estimator = fitted[0] if isinstance(fitted, tuple) else fitted
    io.to_onnx(estimator, tmp_path / "e.onnx")
    assert (tmp_path / "e.onnx").read_bytes() == to_onnx(estimator).SerializeToString()
    with pytest.raises(ValueError, match="class_names"):
        io.to_onnx(estimator, tmp_path / "f.onnx", class_names=["a"])
    assert not (tmp_path / "f.onnx").exists()
