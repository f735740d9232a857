"""TabularRegressor: numbers of rows of a raw table."""

from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d

from .. import losses
from .tabular_base import BaseTabular


class TabularRegressor(RegressorMixin, BaseTabular):
    """Numbers of the rows of a raw table, by a network that is good without tuning.

    As `TabularClassifier`, whose parameters these are; the recipe has Mish in place of SELU, squared errors of standardised
    targets, and a rate of 0.07. With ``preset="td"`` the rate is 0.2, and what is predicted stays within the range of the targets in
    training.

    Parameters
    ----------
    preset, n_models, n_epochs, batch_size, learning_rate, hidden_layer_sizes, validation_fraction, categorical_features, \
max_categories, max_seconds, random_state, verbose, n_threads
        As for `TabularClassifier`; what is averaged are the predictions, and the epoch is chosen by the root of the mean squared
        error.
    quantiles : sequence of float or None, default None
        Above 0 and below 1: train for these quantiles of a single target, in place of its mean. `predict_quantiles` gives all,
        `predict` the one nearest to the median.

    Attributes
    ----------
    n_features_in_, feature_names_in_, n_epochs_, n_iter_, loss_curve_, validation_curves_
        As of `TabularClassifier`; errors are of standardised targets.
    n_outputs_ : int
    feature_importances_ : ndarray of shape (n_features,)
        By how much R² falls when a column is shuffled.

    Examples
    --------
    >>> from fastnn.sklearn import TabularRegressor
    >>> X = np.random.default_rng(0).normal(size=(400, 3))
    >>> y = X[:, 0] ** 2 + X[:, 1]
    >>> reg = TabularRegressor(n_epochs=60, random_state=0).fit(X, y)
    >>> reg.score(X, y) > 0.95
    True
    >>> between = TabularRegressor(quantiles=[0.1, 0.5, 0.9], n_epochs=20, random_state=0).fit(X, y).predict_quantiles(X)
    >>> between.shape, bool((np.diff(between) >= 0).all())
    ((400, 3), True)
    """

    _parameter_constraints = {**BaseTabular._parameter_constraints, "quantiles": ["array-like", None]}
    _rates, _activation = {"td-s": 0.07, "td": 0.2}, "mish"

    def __init__(self, preset="td-s", *, n_models=1, n_epochs: Any = "auto", batch_size=256, learning_rate=None,
                 hidden_layer_sizes=(256, 256, 256), validation_fraction="auto", categorical_features="auto", max_categories=1000,
                 quantiles=None, max_seconds=None, random_state=None, verbose=False, n_threads=None) -> None:
        self.preset = preset
        self.n_models = n_models
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.hidden_layer_sizes = hidden_layer_sizes
        self.validation_fraction = validation_fraction
        self.categorical_features = categorical_features
        self.max_categories = max_categories
        self.quantiles = quantiles
        self.max_seconds = max_seconds
        self.random_state = random_state
        self.verbose = verbose
        self.n_threads = n_threads

    # ---- targets ----

    def _check_targets(self, y):
        if y is None:
            raise ValueError("This TabularRegressor estimator requires y to be passed, but the target y is None.")
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        if y.ndim > 2:
            raise ValueError(f"y: expected shape (rows,) or (rows, outputs), got {y.shape}")
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._flat = y.ndim == 1
        y = y.reshape(len(y), -1)
        self.n_outputs_ = y.shape[1]
        if self.quantiles is not None:
            if self.n_outputs_ > 1:
                raise ValueError(f"y: expected a single target for quantiles, got {self.n_outputs_}")
            levels = np.ravel(self.quantiles).tolist()
            self._levels = tuple(float(q) if isinstance(q, Real) else -1.0 for q in levels)
            if not levels or not all(0 < q < 1 for q in self._levels):
                raise ValueError(f"quantiles: expected numbers above 0 and below 1, got {self.quantiles!r:.60}")
        else:
            self._levels = ()
        self._outputs_count = len(self._levels) or self.n_outputs_
        with np.errstate(over="ignore", invalid="ignore"):
            self._mean, self._deviation = y.mean(axis=0), y.std(axis=0)
        if not (np.isfinite(self._mean) & np.isfinite(self._deviation)).all():
            raise ValueError(f"y: expected numbers with a finite variance, got some as large as {np.abs(y).max():.3g}; scale them before")
        self._deviation[~(self._deviation > 1e-12 * np.abs(self._mean))] = 1.0
        y = self._standard(y)
        self._range = (y.min(axis=0), y.max(axis=0)) if self.preset == "td" else None
        return y

    def _standard(self, y):
        return ((y - self._mean) / self._deviation).astype(np.float32)

    def _encode(self, y):
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y_val").reshape(len(y), -1)
        if y.shape[1] != self.n_outputs_:
            raise ValueError(f"y_val: expected {self.n_outputs_} outputs, as y has, got {y.shape[1]}")
        return self._standard(y)

    def _make_loss(self):
        return losses.Quantile(self._levels) if self._levels else losses.MeanSquaredError()

    def _error(self, outputs, y, weights):
        outputs = self._read(outputs)
        if self._levels:
            levels, off = np.array(self._levels), y - outputs
            return np.average(np.maximum(levels * off, (levels - 1) * off).mean(axis=1), weights=weights)
        return np.sqrt(np.average(((outputs - y) ** 2).mean(axis=1), weights=weights))

    def _score_of(self, found, y):
        return r2_score(y, found[:, [self._middle()]] if self._levels else found)

    def _middle(self):
        """The quantile nearest to the median."""
        return int(np.abs(np.array(self._levels) - 0.5).argmin())

    def _read(self, outputs):
        return outputs if self._range is None else np.minimum(np.maximum(outputs, self._range[0]), self._range[1])

    def _answers(self, model, encoded):
        return self._read(model.predict(encoded))

    # ---- what it gives ----

    def _scaled_back(self, found):
        return found * self._deviation + self._mean

    def predict(self, X) -> np.ndarray:
        """The number, or numbers, for each row.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            With the columns that training had.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            float64.
        """
        found = self._mean_of(self._encoded(X))
        if self._flat and found.size == 1:  # as below, but for functions of arrays, which the network's weights drive out of the caches
            return np.array([found.item() * self._deviation.item() + self._mean.item()])
        found = self._scaled_back(found)
        if self._levels:
            return self._in_order(found)[:, self._middle()]
        return found[:, 0] if self._flat else found

    def predict_quantiles(self, X) -> np.ndarray:
        """The quantiles for each row. Parameters as `predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_quantiles)
            In the order of `quantiles`; rising with them.
        """
        check_is_fitted(self, "_encoder")
        if not self._levels:
            raise ValueError("predict_quantiles: expected an estimator that was fitted with quantiles, got one without")
        return self._in_order(self._scaled_back(self._mean_of(self._encoded(X))))

    def _in_order(self, found):
        """Quantiles that cross are sorted."""
        places = np.argsort(np.argsort(self._levels))
        return np.sort(found, axis=1)[:, places]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self.quantiles is None
        return tags

    # ---- files ----

    def _described(self):
        targets = {"mean": self._mean.tolist(), "deviation": self._deviation.tolist()}
        held = None if self._range is None else [limit.tolist() for limit in self._range]
        return {**targets, "flat": self._flat, "levels": list(self._levels), "range": held}

    def _restore(self, described):
        self._mean, self._deviation = (np.array(described[name], np.float64) for name in ("mean", "deviation"))
        self._flat, self._levels = bool(described["flat"]), tuple(map(float, described["levels"]))
        if self._mean.ndim != 1 or self._mean.shape != self._deviation.shape or not len(self._mean):
            raise ValueError("no means and deviations of targets")
        held = described.get("range")
        self._range = None if held is None else tuple(np.array(limit, np.float32) for limit in held)
        if held is not None and [limit.shape for limit in self._range] != [self._mean.shape] * 2:
            raise ValueError("no range of targets")
        self.n_outputs_ = len(self._mean)
        self._outputs_count = len(self._levels) or self.n_outputs_
