"""TabularClassifier: classes of rows of a raw table."""

from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from .. import losses
from .tables import is_missing
from .tabular_base import BaseTabular


class TabularClassifier(ClassifierMixin, BaseTabular):
    """Classes of the rows of a raw table, by a network that is good without tuning.

    It takes data frames of pandas and polars and arrays: numbers, booleans, dates, strings and categories, with missing values. The
    recipe is RealMLP-TD-S of D. Holzmüller, L. Grinsztajn and I. Steinwart, "Better by default: strong pre-tuned MLPs and boosted
    trees on tabular data", 2024: numbers scaled by their quantiles and held within ±3, categories one-hot; a learned factor for
    each column, three layers of 256 SELU units; label smoothing; 256 epochs of Adam under a rate of four cycles
    (`schedules.CosLog`), with rates of their own for the factors and biases; and the weights of the last best epoch on rows that
    are held back.

    Parameters
    ----------
    preset : {"td-s", "td"}, default "td-s"
        "td" is the larger recipe, RealMLP-TD: numbers embedded in waves (`nn.PBLD`), categories of more than 9 in tables of width 8,
        activations of which each unit takes a learned part (`nn.ParametricActivation`), first weights by the data, dropout 0.15 and
        decay 0.02 that fall to 0 in the second half of training. It takes up to twice as long.
    n_models : int, default 1
        Networks whose probabilities are averaged, each from weights and with rows held back of its own.
    n_epochs : int or "auto", default "auto"
        "auto" is 256, or fewer, but at least 32, for tables so large that these would take many minutes: more than 3e13
        floating-point operations, say 300,000 rows of 20 columns.
    batch_size : int, default 256
    learning_rate : float or None, default None
        At the top of each cycle; None: 0.04.
    hidden_layer_sizes : array-like of int, default (256, 256, 256)
    validation_fraction : float or "auto", default "auto"
        The share of the rows that is held back, to choose the epoch by the error on them. "auto" is 0.2, and none below 1,000 rows,
        or where `fit` is given rows of your own: without such rows the last epoch is taken.
    categorical_features : "auto" or array-like, default "auto"
        "auto": strings, booleans, and what the data frame's types call categories. Else names or numbers of columns, or a mask,
        which are categories too.
    max_categories : int, default 1000
        Of a column with more categories, so many of the most frequent count; the others are as a missing one.
    label_smoothing : float, default 0.1
    class_weight : dict, "balanced" or None, default None
    max_seconds : float or None, default None
        Training ends then, all networks together.
    random_state : int, RandomState instance or None, default None
    verbose : bool or int, default False
        1: a line for each network; 2: for each epoch.
    n_threads : int or None, default None
        While it trains; by default `fastnn.get_num_threads`.

    Attributes
    ----------
    classes_ : ndarray
    n_features_in_, feature_names_in_
    n_epochs_, n_iter_ : int
        Epochs that were meant to be, and were, trained.
    loss_curve_ : list of float
        Of the first network.
    validation_curves_ : list of list of float
        For each network the error after each epoch on the rows held back; empty without such.
    feature_importances_ : ndarray of shape (n_features,)
        By how much accuracy falls when a column is shuffled.

    Examples
    --------
    >>> from fastnn.sklearn import TabularClassifier
    >>> colours = np.array(["red", "green", "blue"])[np.arange(120) % 3]
    >>> sizes = np.where(np.arange(120) % 7 == 0, np.nan, np.arange(120) % 5)
    >>> X = np.column_stack([colours, sizes]).astype(object)
    >>> y = np.where(colours == "red", "stop", "go")
    >>> clf = TabularClassifier(n_epochs=20, random_state=0).fit(X, y)
    >>> clf.score(X, y), clf.predict([["red", None], ["mauve", 1.5]]).shape
    (1.0, (2,))
    >>> bool(clf.feature_importances_[0] > clf.feature_importances_[1])
    True
    """

    _parameter_constraints = {
        **BaseTabular._parameter_constraints,
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }
    _rates, _activation = {"td-s": 0.04, "td": 0.04}, "selu"

    def __init__(self, preset="td-s", *, n_models=1, n_epochs: Any = "auto", batch_size=256, learning_rate=None,
                 hidden_layer_sizes=(256, 256, 256), validation_fraction="auto", categorical_features="auto", max_categories=1000,
                 label_smoothing=0.1, class_weight=None, max_seconds=None, random_state=None, verbose=False,
                 n_threads=None) -> None:
        self.preset = preset
        self.n_models = n_models
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.hidden_layer_sizes = hidden_layer_sizes
        self.validation_fraction = validation_fraction
        self.categorical_features = categorical_features
        self.max_categories = max_categories
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.max_seconds = max_seconds
        self.random_state = random_state
        self.verbose = verbose
        self.n_threads = n_threads

    # ---- targets ----

    def _check_targets(self, y):
        if y is None:
            raise ValueError("This TabularClassifier estimator requires y to be passed, but the target y is None.")
        y = column_or_1d(y, warn=True)
        if y.dtype.kind == "O" and any(map(is_missing, y.tolist())):
            raise ValueError("Input y contains NaN, None or NA: rows without a class cannot be trained on; leave them out.")
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        self._outputs_count = max(len(self.classes_), 2)
        return codes.astype(np.int64)

    def _encode(self, y):
        y = column_or_1d(y, warn=True)
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"y_val: expected classes among {self.classes_}, got {unknown}")
        return np.searchsorted(self.classes_, y).astype(np.int64)

    def _row_weights(self, y):
        weights = None if self.class_weight is None else compute_sample_weight(self.class_weight, self.classes_[y])
        if weights is not None and (weights < 0).any():
            raise ValueError(f"class_weight: expected weights of at least 0, got {self.class_weight}")
        return weights

    def _to_stratify(self, y, share):
        counts = np.bincount(y)
        held = int(np.ceil(len(y) * share))
        return y if counts[counts > 0].min() > 1 and len(counts) <= min(held, len(y) - held) else None

    def _make_loss(self):
        return losses.SoftmaxCrossEntropy(label_smoothing=self.label_smoothing)

    def _error(self, outputs, y, weights):
        return np.average(outputs.argmax(axis=1) != y, weights=weights)

    def _score_of(self, probabilities, y):
        return np.mean(probabilities.argmax(axis=1) == y)

    def _answers(self, model, encoded):
        return model.predict_proba(encoded)

    # ---- what it gives ----

    def predict_proba(self, X) -> np.ndarray:
        """The probability of each class.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            With the columns that training had.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        found = self._mean_of(self._encoded(X))
        return found if len(self.classes_) > 1 else np.ones((len(found), 1), found.dtype)

    def predict_log_proba(self, X) -> np.ndarray:
        """The logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X) -> np.ndarray:
        """The class of each row. Parameters as `predict_proba`.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        encoded = self._encoded(X)
        if len(self.classes_) == 1:
            return self.classes_[np.zeros(len(encoded), int)]
        found = self._models[0].predict(encoded) if len(self._models) == 1 else self._mean_of(encoded)
        return self.classes_[found.argmax(axis=1)]

    # ---- files ----

    def _described(self):
        kind = self.classes_.dtype.kind
        if not all(isinstance(c, (bool, int, float, str)) for c in self.classes_.tolist()):
            raise TypeError(f"classes_: expected strings or numbers, which a file can hold, got {self.classes_!r:.60}")
        return {"classes": self.classes_.tolist(), "kind": self.classes_.dtype.str if kind != "O" else "O"}

    def _restore(self, described):
        kind = described["kind"]
        if not isinstance(kind, str) or np.dtype(kind).kind not in "biufUO":
            raise ValueError(f"classes of kind {kind!r:.40}")
        self.classes_ = np.array(described["classes"], kind)
        if self.classes_.ndim != 1 or not len(self.classes_):
            raise ValueError("no list of classes")
        self._outputs_count = max(len(self.classes_), 2)
