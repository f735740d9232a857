"""MLPClassifier and MLPRegressor: scikit-learn's numbers, what they have beyond it, their state, and what they refuse."""

import copy
import functools
import inspect
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastnn
from fastnn import callbacks, losses, nn, optim, schedules
from fastnn.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_digits(return_X_y=True)
X = X[:600] / 16
Y = Y[:600]
TARGETS = {"classes": Y, "two": Y > 4, "several": np.eye(10, dtype=int)[Y][:, :4] | (Y > 6)[:, None]}
NUMBERS = np.stack([Y / 4.0, (Y % 4) / 2.0], axis=1)


def same_bits(a, b):
    return all((p == q).all() for p, q in zip([*a.coefs_, *a.intercepts_], [*b.coefs_, *b.intercepts_]))


# ---- as scikit-learn's ----


def test_parameters_are_scikit_learns_and_more():
    for ours, theirs in ((MLPClassifier, TheirClassifier), (MLPRegressor, TheirRegressor)):
        mine, others = inspect.signature(ours).parameters, inspect.signature(theirs).parameters
        assert {n: p.default for n, p in others.items()}.items() <= {n: p.default for n, p in mine.items()}.items()
        assert [p.kind for n, p in mine.items() if n in others] == [p.kind for p in others.values()]


SETTINGS = [
    {},
    {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.1, "learning_rate_init": 0.1},
    {"solver": "sgd", "nesterovs_momentum": False, "learning_rate_init": 0.05, "activation": "tanh"},
    {"solver": "sgd", "momentum": 0.0, "learning_rate": "adaptive", "tol": 10.0, "n_iter_no_change": 2},
    {"solver": "lbfgs", "max_iter": 5, "hidden_layer_sizes": (20, 10), "activation": "logistic"},
    {"alpha": 10.0, "hidden_layer_sizes": 7, "activation": "identity"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("kind", TARGETS)
def test_same_as_scikit_learns_classifier(kind, settings):
    settings = {"max_iter": 12, "shuffle": False, "batch_size": 200, "random_state": 3, **settings}
    theirs = TheirClassifier(**settings).fit(X, TARGETS[kind])
    ours = MLPClassifier(**settings).fit(X, TARGETS[kind])
    atol = 1e-6 if settings.get("solver") == "lbfgs" else 1e-9
    for a, b in zip([*theirs.coefs_, *theirs.intercepts_], [*ours.coefs_, *ours.intercepts_]):
        np.testing.assert_allclose(b, a, atol=atol)
    np.testing.assert_allclose(ours.loss_, theirs.loss_, rtol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=atol)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert (ours.classes_ == theirs.classes_).all() and ours.predict(X).dtype == theirs.predict(X).dtype
    if settings.get("solver") != "lbfgs":
        np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-9)
        np.testing.assert_allclose(ours.best_loss_, theirs.best_loss_, rtol=1e-9)


@pytest.mark.parametrize("settings", [*SETTINGS[:5], {"loss": "poisson"}, {"loss": "poisson", "solver": "sgd"}], ids=str)
@pytest.mark.parametrize("outputs", [1, 2])
def test_same_as_scikit_learns_regressor(outputs, settings):
    if outputs == 2 and settings.get("solver") == "lbfgs":
        return  # there the loss is the mean over outputs, and its gradient that of the sum
    y = NUMBERS[:, 0] if outputs == 1 else NUMBERS
    weights = np.random.default_rng(0).random(len(X))
    settings = {"max_iter": 12, "shuffle": False, "batch_size": 600, "random_state": 3, **settings}
    theirs = TheirRegressor(**settings).fit(X, y, sample_weight=weights)
    ours = MLPRegressor(**settings).fit(X, y, sample_weight=weights)
    for a, b in zip([*theirs.coefs_, *theirs.intercepts_], [*ours.coefs_, *ours.intercepts_]):
        np.testing.assert_allclose(b, a, atol=1e-6 if settings.get("solver") == "lbfgs" else 1e-9)
    np.testing.assert_allclose(ours.loss_, theirs.loss_, rtol=2e-5)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-5)
    assert ours.predict(X).shape == theirs.predict(X).shape


def test_dtypes():
    """float32 for float32, else float64, or as `dtype` says; and much the same from both."""
    wide = MLPRegressor(max_iter=5, random_state=0).fit(X, Y)
    narrow = MLPRegressor(max_iter=5, random_state=0).fit(X.astype(np.float32), Y)
    asked = MLPRegressor(max_iter=5, random_state=0, dtype="float32").fit(X, Y)
    for mlp, dtype in ((wide, np.float64), (narrow, np.float32), (asked, np.float32)):
        assert {a.dtype for a in (*mlp.coefs_, *mlp.intercepts_)} == {np.dtype(dtype)} and mlp.predict(X).dtype == dtype
        assert pickle.loads(pickle.dumps(mlp)).partial_fit(X, Y).coefs_[0].dtype == dtype
    np.testing.assert_allclose(narrow.predict(X), wide.predict(X), atol=1e-4)
    assert same_bits(narrow, asked)


def test_early_stopping_holds_back_the_same_rows():
    """The score of each epoch is nearly scikit-learn's, where the same rows are held back and trained on in order."""
    settings = {"max_iter": 10, "shuffle": False, "early_stopping": True, "random_state": 0}
    theirs, ours = TheirClassifier(**settings).fit(X, Y > 4), MLPClassifier(**settings).fit(X, Y > 4)
    assert len(ours.validation_scores_) == len(ours.validation_loss_curve_) == len(theirs.validation_scores_) == ours.n_iter_
    assert ours.best_validation_score_ == max(ours.validation_scores_) and ours.best_loss_ is None
    assert abs(ours.best_validation_score_ - theirs.best_validation_score_) < 0.15


# ---- beyond it ----


def test_warm_start_and_partial_fit_are_one_training():
    """Fits of 4 and 3 epochs, or 7 times one, pickled in between, are one fit of 7 epochs, bit for bit."""
    for settings in ({}, {"solver": "sgd"}, {"dropout": 0.2, "batchnorm": True, "optimizer": "adamw"}):
        whole = MLPClassifier(max_iter=7, random_state=0, **settings).fit(X, Y)
        warm = MLPClassifier(max_iter=4, random_state=0, warm_start=True, **settings).fit(X, Y)
        warm = pickle.loads(pickle.dumps(warm)).set_params(max_iter=3).fit(X, Y)
        parts = MLPClassifier(random_state=0, **settings)
        for i in range(7):
            parts = copy.deepcopy(parts) if i == 5 else parts
            parts.partial_fit(X, Y, classes=np.unique(Y))
        assert same_bits(whole, warm) and same_bits(whole, parts)
        assert warm.loss_curve_ == whole.loss_curve_ == parts.loss_curve_
    with pytest.raises(ValueError, match="hidden_layer_sizes: expected those of the network"):
        warm.set_params(hidden_layer_sizes=7).fit(X, Y)


def test_same_bits_on_any_number_of_threads():
    before = fastnn.get_num_threads()
    one, two = (MLPClassifier(max_iter=3, random_state=0, n_threads=n).fit(X, Y) for n in (1, 2))
    assert same_bits(one, two) and fastnn.get_num_threads() == before


def test_random_state():
    a, b, c = (MLPRegressor(max_iter=2, random_state=s).fit(X, Y) for s in (0, 0, 1))
    assert same_bits(a, b) and not same_bits(a, c)
    assert not same_bits(a, MLPRegressor(max_iter=2, random_state=0, shuffle=False).fit(X, Y))


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "lion", "learning_rate_init": 3e-3, "schedule": "cosine"},
        {"optimizer": functools.partial(optim.AdamW, lr=3e-3, weight_decay=0.1)},
        {"optimizer": optim.RMSprop, "schedule": "one_cycle", "learning_rate_init": 3e-3},
        {"schedule": schedules.Exponential(0.01, gamma=0.999), "clip_norm": 1.0},
        {"schedule": "linear", "learning_rate_init": 0.01, "activation": ["gelu", nn.Activation("leaky_relu", 0.1)],
         "hidden_layer_sizes": (40, 20)},
        {"batchnorm": "after", "dropout": [0.1, 0.0], "hidden_layer_sizes": (40, 20), "activation": "prelu",
         "learning_rate_init": 0.01},
        {"batchnorm": True, "activation": "selu", "batch_size": 599, "learning_rate_init": 0.01},  # one row is left over
        {"loss": losses.SoftmaxCrossEntropy(label_smoothing=0.1), "learning_rate_init": 0.01},
        {"loss": "hinge", "learning_rate_init": 0.01},
        {"loss": losses.MeanSquaredError(), "learning_rate_init": 0.01},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["classes", "two"])
def test_extensions_learn(kind, settings):
    clf = MLPClassifier(max_iter=40, random_state=0, **settings).fit(X, TARGETS[kind])
    assert clf.score(X, TARGETS[kind]) > 0.93
    scores = clf.decision_function(X)
    assert scores.shape == ((len(X),) if kind == "two" else (len(X), 10))
    assert repr(clone(clf)) == repr(clf)


def test_regression_losses():
    y = NUMBERS[:, 0]
    for loss in ("absolute_error", "huber", losses.Huber(0.5)):
        assert MLPRegressor(loss=loss, max_iter=60, learning_rate_init=0.01, random_state=0).fit(X, y).score(X, y) > 0.9
    upper = MLPRegressor(losses.Quantile(0.9), max_iter=60, learning_rate_init=0.01, alpha=0, random_state=0).fit(X, y)
    assert 0.8 < (y <= upper.predict(X)).mean() < 1
    bounded = MLPRegressor(output_activation="sigmoid", max_iter=5).fit(X, y / 3)
    assert bounded.out_activation_ == "sigmoid" and 0 < bounded.predict(X).min() and bounded.predict(X).max() < 1


def test_class_weight():
    y = np.where(Y == 3, "three", "other")
    plain = MLPClassifier(max_iter=3, random_state=0).fit(X, y)
    balanced = MLPClassifier(max_iter=3, random_state=0, class_weight="balanced").fit(X, y)
    weights = len(y) / (2 * np.where(y == "three", (y == "three").sum(), (y == "other").sum()))
    given = MLPClassifier(max_iter=3, random_state=0).fit(X, y, sample_weight=weights)
    several = MLPClassifier(max_iter=2, class_weight=[{0: 1, 1: 3}] * 4, random_state=0).fit(X, TARGETS["several"])
    doubled = MLPClassifier(max_iter=2, random_state=0).fit(X, TARGETS["several"], 3.0 ** TARGETS["several"].sum(axis=1))
    assert same_bits(several, doubled)
    part = MLPClassifier(class_weight={9: 5.0}).partial_fit(X[Y < 5], Y[Y < 5], classes=range(10))  # none of class 9
    assert part.n_iter_ == 1
    assert same_bits(balanced, given) and (balanced.predict(X) == "three").mean() > (plain.predict(X) == "three").mean()


def test_validation_data_of_ones_own():
    stop = MLPClassifier(early_stopping=True, random_state=0, n_iter_no_change=3, learning_rate_init=0.01)
    stop.fit(X[:400], Y[:400], X_val=X[400:], y_val=Y[400:])
    assert stop.n_iter_ < 200 and stop.t_ == 400 * stop.n_iter_
    assert stop.score(X[400:], Y[400:]) == stop.best_validation_score_ == max(stop.validation_scores_)
    own = {"X_val": X[400:], "y_val": Y[400:]}
    watch = MLPClassifier(max_iter=5, random_state=0).fit(X[:400], Y[:400], **own, sample_weight_val=np.ones(200))
    assert len(watch.validation_scores_) == 5 and watch.best_loss_ == min(watch.loss_curve_)
    assert watch.validation_loss_curve_[-1] < watch.validation_loss_curve_[0]
    scored = MLPClassifier(max_iter=5, random_state=0, scoring="neg_log_loss").fit(X[:400], Y[:400], X_val=X[400:], y_val=Y[400:])
    np.testing.assert_allclose(-np.array(scored.validation_scores_), watch.validation_loss_curve_, atol=2e-3)  # without the penalty
    reg = MLPRegressor(max_iter=5, scoring="neg_mean_absolute_error", early_stopping=True).fit(X, Y)
    assert max(reg.validation_scores_) < 0
    with pytest.raises(ValueError, match="X_val, y_val"):
        stop.fit(X, Y, X_val=X)
    with pytest.raises(ValueError, match="X_val, y_val: expected as many rows in both, got 600 and 9"):
        stop.fit(X, Y, X_val=X, y_val=Y[:9])
    with pytest.raises(ValueError, match="sample_weight_val: expected with X_val and y_val, got it alone"):
        stop.fit(X, Y, sample_weight_val=np.ones(600))
    with pytest.raises(ValueError, match="sample_weight_val: expected numbers of at least 0"):
        stop.fit(X, Y, X_val=X, y_val=Y, sample_weight_val=-np.ones(600))
    with pytest.raises(ValueError, match="X_val, y_val: expected none with solver='lbfgs'"):
        MLPClassifier(solver="lbfgs").fit(X, Y, X_val=X, y_val=Y)
    with pytest.raises(ValueError, match="expected classes among"):
        stop.fit(X, Y, X_val=X, y_val=Y + 5)


def test_hidden_activations_and_model():
    clf = MLPClassifier((30, 20), max_iter=3, batchnorm=True, activation="tanh", random_state=0).fit(X, Y)
    first, second = clf.hidden_activations(X)
    assert first.shape == (600, 30) and second.shape == (600, 20) and np.abs(second).max() <= 1
    np.testing.assert_allclose(second @ clf.coefs_[2] + clf.intercepts_[2], clf.decision_function(X), atol=1e-5)
    model = clf.to_model()
    np.testing.assert_allclose(model.predict_proba(X), clf.predict_proba(X), atol=1e-6)
    model.layers[0].weight.data[...] = 0
    assert clf.coefs_[0].any()


def test_callbacks_and_time():
    seen = []
    note = callbacks.Lambda(on_epoch_end=lambda epoch, logs: seen.append(logs["loss"]))
    clf = MLPClassifier(max_iter=3, callbacks=[note]).fit(X, Y)
    assert seen == clf.loss_curve_ and note.trainer is None
    assert MLPClassifier(max_iter=100_000, tol=0, n_iter_no_change=np.inf, max_seconds=0.2).fit(X, Y).n_iter_ < 100_000
    assert MLPClassifier(solver="lbfgs", max_seconds=0).fit(X, Y).n_iter_ == 1

    class Interrupts(callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 1:
                raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted"):
        stopped = MLPClassifier(callbacks=[Interrupts()]).fit(X, Y)
    assert stopped.n_iter_ == 2 and len(stopped.predict(X)) == 600


def test_weights_may_be_set():
    """As a whole or one by one, the network computes with them."""
    for settings in ({}, {"dtype": "float32"}):
        clf = MLPClassifier((5,), max_iter=2, random_state=0, **settings).fit(X, Y)
        other = MLPClassifier((5,), max_iter=2, random_state=1).fit(X, Y)
        clf.coefs_ = other.coefs_
        for i, b in enumerate(other.intercepts_):
            clf.intercepts_[i] = b
        np.testing.assert_allclose(clf.predict_proba(X), other.predict_proba(X), atol=1e-6)
        assert isinstance(clf.coefs_, list) and clf.coefs_[0] is clf.coefs_[0]
        with pytest.raises(ValueError, match=r"expected an array of shape \(64, 5\), got \(5, 64\)"):
            clf.coefs_[0] = clf.coefs_[0].T
        with pytest.raises(ValueError, match="intercepts_: expected 2 arrays, one for each layer, got 1"):
            clf.intercepts_ = clf.intercepts_[:1]


def test_warm_start_with_another_network():
    """Its activation, dropout and dtype are those of the parameters now; weights and the optimizer's state stay."""
    settings = {"max_iter": 3, "random_state": 0, "warm_start": True, "hidden_layer_sizes": (12,)}
    for change in ({"activation": "tanh"}, {"dropout": 0.3}, {"dtype": "float32"}, {"batchnorm": True}):
        clf = MLPClassifier(**settings).fit(X, Y)
        weights, second = [w.copy() for w in clf.coefs_], clf._optimizer.state_dict()["state"]
        clf.set_params(**change, learning_rate_init=1e-30)
        clf.partial_fit(X, Y) if "dropout" in change else clf.fit(X, Y)
        for a, b in zip(weights, clf.coefs_):
            np.testing.assert_allclose(b, a, rtol=1e-6)
        fresh = MLPClassifier(**{**settings, **change, "max_iter": 1}).fit(X, Y)
        assert [repr(layer) for layer in clf._model.layers] == [repr(layer) for layer in fresh._model.layers]
        assert clf.coefs_[0].dtype == fresh.coefs_[0].dtype and clf.t_ > 600 * 3 and len(clf.loss_curve_) > 3
        assert second and ("batchnorm" in change or clf._optimizer.state_dict()["state"])
    same = MLPClassifier(**settings, activation="tanh").fit(X, Y).set_params(activation=["tanh"])
    whole = MLPClassifier(**{**settings, "max_iter": 6}, activation="tanh").fit(X, Y)
    assert same_bits(same.fit(X, Y), whole)  # the same network by another name, with the optimizer's state


def test_scores_of_scikit_learns_monitor():
    """After each epoch, of the rows and the classes as they were given."""
    callback = pytest.importorskip("sklearn.callback")
    names = np.array(list("abcdefghij"))[Y]
    for targets in (names, names > "d", TARGETS["several"]):
        for settings in ({}, {"early_stopping": True}, {"solver": "lbfgs"}):
            monitor = callback.ScoringMonitor(scoring="accuracy")
            clf = MLPClassifier(max_iter=4, random_state=0, **settings).set_callbacks(monitor).fit(X, targets, np.ones(600))
            scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
            assert len(scores) == 4 and scores[-1] == pytest.approx(clf.score(X, targets)) or settings.get("early_stopping")
            assert max(scores) > 0.1
    monitor = callback.ScoringMonitor(scoring="r2")
    reg = MLPRegressor(max_iter=4, random_state=0).set_callbacks(monitor).fit(X, Y)
    assert monitor.get_logs().data[-1]["r2"] == pytest.approx(reg.score(X, Y))


def test_callbacks_of_scikit_learn():
    pytest.importorskip("sklearn.callback")

    class Recorder:
        def __init__(self):
            self.events = []

        def setup(self, estimator, context):
            self.events.append("setup")

        def teardown(self, estimator, context):
            self.events.append("teardown")

        def on_fit_task_begin(self, estimator, context, *, X):
            assert len(X) == 600

        def on_fit_task_end(self, estimator, context, *, fitted_estimator):
            self.events.append(context.task_name)
            assert fitted_estimator.predict(X).shape == (600,)
            return self.events.count("epoch") == 3

    for settings in ({}, {"solver": "lbfgs"}):
        recorder = Recorder()
        clf = MLPClassifier(max_iter=9, random_state=0, **settings).set_callbacks(recorder).fit(X, Y)
        assert recorder.events == ["setup", "epoch", "epoch", "epoch", "fit", "teardown"] and clf.n_iter_ == 3


# ---- prediction ----


def test_the_short_way_is_the_long_one():
    clf = MLPClassifier(max_iter=3, random_state=0).fit(X, Y)
    before = dict(vars(clf))
    for rows in (1, 7, 600):
        part = X[:rows]
        for other in (part.astype(np.float32), part.tolist(), np.asfortranarray(part), scipy.sparse.csr_array(part)):
            np.testing.assert_allclose(clf.predict_proba(part), clf.predict_proba(other), atol=1e-6)
        assert (clf.predict(part) == clf.predict(X)[:rows]).all()
    assert vars(clf) == before
    bad = X[:1].copy()
    bad[0, 3] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        clf.predict(bad)
    with pytest.raises(ValueError, match="is expecting 64 features"):
        clf.predict(X[:1, :5])
    with pytest.raises(NotFittedError):
        MLPClassifier().predict(X)
    with pytest.raises(NotFittedError):
        MLPRegressor().predict(X)


def test_names_of_columns():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    clf = MLPClassifier(max_iter=3, random_state=0, early_stopping=True, scoring="accuracy").fit(frame, Y)
    assert list(clf.feature_names_in_) == list(frame.columns) and clf.predict(frame).shape == (600,)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        clf.predict(X)
    with pytest.raises(ValueError, match="feature names should match"):
        clf.predict(frame[frame.columns[::-1]])


def test_sparse_and_dense_are_one():
    dense = MLPClassifier(max_iter=3, random_state=0).fit(X, Y)
    for kind in (scipy.sparse.csr_array, scipy.sparse.csc_matrix):
        assert same_bits(dense, MLPClassifier(max_iter=3, random_state=0).fit(kind(X), Y))


def test_one_class():
    clf = MLPClassifier(max_iter=3).fit(X, np.full(len(X), "only"))
    assert set(clf.predict(X)) == {"only"}
    assert clf.predict_proba(X).tolist() == [[1.0]] * 600 and not clf.predict_log_proba(X).any()
    with pytest.raises(ValueError, match="at least two classes with loss=SoftmaxCrossEntropy.*got one class, only"):
        MLPClassifier(loss=losses.SoftmaxCrossEntropy()).fit(X, np.full(len(X), "only"))


# ---- among scikit-learn's tools ----


def test_tools():
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(max_iter=15, learning_rate_init=0.01, random_state=0))
    assert cross_val_score(pipeline, X, Y, cv=3).mean() > 0.8
    grid = {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__hidden_layer_sizes": [(20,), (50,)]}
    search = GridSearchCV(pipeline, grid, cv=2)
    assert search.fit(X, Y).best_score_ > 0.8 and "MLPClassifier" in search._repr_html_()
    members = [(str(s), MLPClassifier(max_iter=10, learning_rate_init=0.01, random_state=s)) for s in range(2)]
    voting = VotingClassifier(members, voting="soft")
    assert voting.fit(X, Y).score(X, Y) > 0.9
    for loss in ("log_loss", "hinge"):
        calibrated = CalibratedClassifierCV(MLPClassifier(loss=loss, max_iter=15, learning_rate_init=0.01, random_state=0), cv=2)
        assert calibrated.fit(X, Y).score(X, Y) > 0.85
    assert not hasattr(MLPClassifier(loss="hinge"), "predict_proba") and hasattr(MLPClassifier(), "predict_proba")


def test_processes_and_routing():
    from sklearn import config_context

    search = GridSearchCV(MLPRegressor(max_iter=5, random_state=0), {"alpha": [0.1, 1.0]}, cv=2, n_jobs=2).fit(X, Y)
    assert search.best_estimator_.predict(X).shape == (600,)
    with config_context(enable_metadata_routing=True):
        weights = np.arange(600.0)
        mlp = MLPRegressor(max_iter=2, random_state=0).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        assert np.isfinite(cross_val_score(mlp, X, Y, cv=2, params={"sample_weight": weights})).all()


def test_files(tmp_path):
    import joblib

    clf = MLPClassifier(max_iter=4, random_state=0).fit(X, Y)
    joblib.dump(clf, tmp_path / "clf.joblib")
    for mode in (None, "r"):
        again = joblib.load(tmp_path / "clf.joblib", mmap_mode=mode)
        assert same_bits(clf, again) and (again.predict(X) == clf.predict(X)).all()
        again.partial_fit(X, Y)
        assert not same_bits(clf, again)
    assert same_bits(again, clf.partial_fit(X, Y))


# ---- what is refused ----


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"activation": "relux"}, "activation"),
        ({"activation": ["relu", "tanh"]}, "activation: expected one for each of 1 hidden layers, got 2"),
        ({"dropout": [0.1, 0.1]}, "dropout: expected one for each"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": [1.5]}, "dropout: expected numbers of at least 0 and below 1, got 1.5"),
        ({"class_weight": [1, 2]}, "class_weight: expected a dict or 'balanced' for targets of one label"),
        ({"class_weight": {0: -1}}, "class_weight: expected weights of at least 0"),
        ({"solver": "lbfgs", "callbacks": [callbacks.Lambda()]}, "callbacks: expected none with solver='lbfgs'"),
        ({"optimizer": "adamx"}, "optimizer"),
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes must be > 0"),
        ({"dtype": "float16"}, "dtype"),
        ({"scoring": "no such score", "early_stopping": True}, "no such score"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**settings).fit(X, Y)


def test_bad_data():
    clf = MLPClassifier(max_iter=2)
    with pytest.raises(TypeError, match=r"hidden_layer_sizes: expected integers, got \[3.5\]"):
        MLPClassifier((3.5,)).fit(X, Y)
    with pytest.raises(TypeError, match=r"callbacks\[0\]: expected a fastnn.callbacks.Callback, got int"):
        MLPClassifier(callbacks=[3]).fit(X, Y)
    with pytest.raises(ValueError, match="output_activation: expected one of"):
        MLPRegressor(output_activation="exp").fit(X, Y)
    with pytest.raises(ValueError, match="class_weight: expected a dict with partial_fit"):
        MLPClassifier(class_weight="balanced").partial_fit(X, Y, classes=range(10))
    with pytest.raises(TypeError, match="expected a function that returns an optimizer"):
        MLPClassifier(optimizer=lambda parameters: 3).fit(X, Y)
    with pytest.raises(ValueError, match="zero"):
        clf.fit(X, Y, sample_weight=np.zeros(600))
    with pytest.raises(ValueError, match="at least 0"):
        clf.fit(X, Y, sample_weight=-np.ones(600))
    with pytest.raises(ValueError, match="Input X contains infinity"):
        clf.fit(np.where(X > 0.9, np.inf, X), Y)
    with pytest.raises(ValueError, match="contains NaN"):
        MLPRegressor().fit(X, np.where(Y == 3, np.nan, Y))
    with pytest.raises(ValueError, match="at least 0 for loss='poisson'"):
        MLPRegressor("poisson").fit(X, Y - 5.0)
    with pytest.raises(ValueError, match="expected None with loss='poisson'"):
        MLPRegressor("poisson", output_activation="relu").fit(X, Y)
    with pytest.raises(ValueError, match="expected 1 outputs, as before, got 2"):
        MLPRegressor(max_iter=1).partial_fit(X, Y).partial_fit(X, NUMBERS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
            MLPRegressor(max_iter=2).fit(X * np.finfo(float).max, Y)
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        clf.fit(X, Y)
