"""MLPRegressor: scikit-learn's, on fastnn's kernels."""

from typing import Any

import numpy as np
import scipy.sparse
from scipy.special import xlogy
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, validate_data

from .. import losses, nn
from .mlp_base import BaseMLP, half_squared_error
from .mlp_classifier import by_steps


class MLPRegressor(RegressorMixin, BaseMLP):
    """Multilayer perceptron for numbers, as `sklearn.neural_network.MLPRegressor`.

    All parameters of scikit-learn's are here, with the same defaults and meaning, and so are its attributes and methods;
    `MLPClassifier` says what differs, and describes the parameters that both have.

    Parameters
    ----------
    loss : {"squared_error", "poisson", "absolute_error", "huber"} or losses.Loss, default "squared_error"
        Half the squared error; half the Poisson deviance, with rates that are exp of the outputs; or others, of the outputs:
        ``losses.Quantile(0.9)``, say.
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, shuffle, \
random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2, \
epsilon, n_iter_no_change, max_fun, optimizer, schedule, batchnorm, dropout, clip_norm, scoring, callbacks, max_seconds, n_threads, \
progress_bar, dtype
        As for `MLPClassifier`. The default score of early stopping is R².
    output_activation : str, nn.Activation or None, default None
        Behind the last layer, for targets of a limited range; not with "poisson".

    Attributes
    ----------
    loss_, best_loss_, loss_curve_, validation_scores_, validation_loss_curve_, best_validation_score_, t_, coefs_, intercepts_, \
n_features_in_, feature_names_in_, n_iter_, n_layers_, n_outputs_, out_activation_, learning_rate_
        As for `MLPClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from fastnn.sklearn import MLPRegressor
    >>> X, y = make_regression(n_samples=300, n_features=5, random_state=0)
    >>> reg = MLPRegressor(solver="lbfgs", max_iter=1000, tol=0.1, random_state=0).fit(X, y)
    >>> reg.score(X, y) > 0.99
    True
    """

    _parameter_constraints = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson", "absolute_error", "huber"}), losses.Loss],
        "output_activation": [str, nn.Activation, None],
    }

    def __init__(self, loss: Any = "squared_error", hidden_layer_sizes=(100,), activation: Any = "relu", *, solver="adam", alpha=0.0001,
                 batch_size: Any = "auto", learning_rate="constant", learning_rate_init=0.001, power_t=0.5, max_iter=200, shuffle=True,
                 random_state=None, tol=1e-4, verbose=False, warm_start=False, momentum=0.9, nesterovs_momentum=True,
                 early_stopping=False, validation_fraction=0.1, beta_1=0.9, beta_2=0.999, epsilon=1e-8, n_iter_no_change=10,
                 max_fun=15000, output_activation=None, optimizer=None, schedule=None, batchnorm: Any = False, dropout: Any = 0.0,
                 clip_norm=None,
                 scoring=None, callbacks=None, max_seconds=None, n_threads=None, progress_bar=False, dtype=None) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.output_activation = output_activation
        self.optimizer = optimizer
        self.schedule = schedule
        self.batchnorm = batchnorm
        self.dropout = dropout
        self.clip_norm = clip_norm
        self.scoring = scoring
        self.callbacks = callbacks
        self.max_seconds = max_seconds
        self.n_threads = n_threads
        self.progress_bar = progress_bar
        self.dtype = dtype

    # ---- targets ----

    def _check_targets(self, X, y, incremental, reset):
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, y_numeric=True, dtype=(np.float64, np.float32), reset=reset
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, self._rows_of(y, reset)

    def _rows_of(self, y, reset):
        y = y.toarray() if scipy.sparse.issparse(y) else y
        y = y.reshape(len(y), -1)
        if reset or not hasattr(self, "n_outputs_"):
            self.n_outputs_ = y.shape[1]
        elif y.shape[1] != self.n_outputs_:
            raise ValueError(f"y: expected {self.n_outputs_} outputs, as before, got {y.shape[1]}")
        if self._counts() and (y < 0).any():
            raise ValueError("y: expected numbers of at least 0 for loss='poisson', got negative ones")
        return y

    def _encode(self, y):
        return self._rows_of(check_array(y, ensure_2d=False, dtype=(np.float64, np.float32), input_name="y"), False)

    def _decode(self, y):
        return y

    def _to_stratify(self, y):
        return None

    def _counts(self):
        return isinstance(self.loss, str) and self.loss == "poisson"

    def _make_loss(self):
        self.out_activation_ = "exp" if self._counts() else "identity"
        if self._counts() and self.output_activation is not None:
            raise ValueError(f"output_activation: expected None with loss='poisson', got {self.output_activation!r}")
        if isinstance(self.output_activation, str):
            self.out_activation_ = self.output_activation
        if isinstance(self.loss, losses.Loss):
            return self.loss
        makers = {"poisson": losses.Poisson, "absolute_error": losses.MeanAbsoluteError, "huber": losses.Huber}
        return makers.get(self.loss, half_squared_error)()

    def _output_activation(self):
        return self.output_activation

    def _factor(self):
        return self.n_outputs_ if isinstance(self.loss, str) else 1

    def _reported(self, loss, penalty, offset):
        if self._counts():  # deviances are summed over outputs
            return float(loss + offset)
        return super()._reported(loss, penalty, offset)

    def _loss_offset(self, y, sample_weight):
        if not self._counts():
            return 0.0
        y = np.asarray(y, np.float64)
        return float(np.average((xlogy(y, y) - y).sum(axis=1), weights=sample_weight))

    def _default_score(self, y, found, sample_weight):
        return r2_score(y, found, sample_weight=sample_weight)

    # ---- training, and what it gives ----

    @available_if(by_steps)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """Train for one epoch, on what may be a part of the data.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight=sample_weight, incremental=True)

    def _read(self, outputs):
        if self._counts():
            outputs = np.exp(outputs)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def predict(self, X) -> np.ndarray:
        """The number, or numbers, for each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._read(self._outputs(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
