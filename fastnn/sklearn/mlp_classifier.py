"""MLPClassifier: scikit-learn's, on fastnn's kernels."""

from typing import Any

import numpy as np
import scipy.sparse
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import validate_data

from .. import losses
from .mlp_base import STOCHASTIC, BaseMLP
from .network import softmax




def by_steps(estimator):
    if estimator.solver not in STOCHASTIC and estimator.optimizer is None:
        raise AttributeError(f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic.")
    return True


def _probable(estimator):
    loss = estimator.loss
    if loss == "hinge" or isinstance(loss, losses.Loss) and loss.head not in ("softmax", "sigmoid"):
        raise AttributeError(f"predict_proba is only available for losses of which probabilities follow, got loss={loss!r}")
    return True


class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multilayer perceptron for classes, as `sklearn.neural_network.MLPClassifier`.

    All parameters of scikit-learn's are here, with the same defaults and meaning, and so are its attributes and methods; the same
    `random_state` starts from the same weights. Rows are shuffled by fastnn's generator, so that results are the same in
    distribution, not in every digit; with ``shuffle=False`` they agree to rounding. What differs: in a
    last batch that is smaller than the others, `alpha` is divided by the size of these; several classes are split by strata too
    where early stopping holds data back; weights of samples count with their mean over all data as 1, not over each batch; warm
    start keeps the state of the optimizer, so that two fits of ten epochs are one of twenty, bit for bit.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int, default (100,)
        Units of the hidden layers.
    activation : str, nn.Activation, or a list of them, default "relu"
        identity, logistic, tanh, relu; or another of `nn.Activation`, or prelu; or one for each hidden layer.
    solver : {"lbfgs", "sgd", "adam"}, default "adam"
        "lbfgs" is SciPy's, on all rows at once.
    alpha : float, default 0.0001
        Strength of the L2 penalty on the weights, alpha / (2 n) Σ w² in the loss of a batch of n rows.
    batch_size : int or "auto", default "auto"
        "auto" is min(200, n_samples).
    learning_rate : {"constant", "invscaling", "adaptive"}, default "constant"
        For sgd: `learning_rate_init`; that divided by t^power_t, t being the samples seen; or divided by 5 each time when
        `n_iter_no_change` epochs have not been better by `tol`, until it is below 1e-6.
    learning_rate_init : float, default 0.001
    power_t : float, default 0.5
    max_iter : int, default 200
        Epochs at most; iterations of lbfgs.
    shuffle : bool, default True
    random_state : int, RandomState instance or None, default None
        First weights, shuffle, dropout, and the split of early stopping.
    tol : float, default 1e-4
    verbose : bool or int, default False
        Print the loss of each epoch.
    warm_start : bool, default False
        `fit` goes on from where the last one ended.
    momentum : float, default 0.9
    nesterovs_momentum : bool, default True
        Both for sgd.
    early_stopping : bool, default False
        Stop where the score of validation data has not been better by `tol` for `n_iter_no_change` epochs, and take the weights of
        the best epoch. Validation data are given to `fit`, or held back.
    validation_fraction : float, default 0.1
        The share that is held back.
    beta_1, beta_2 : float, default 0.9 and 0.999
    epsilon : float, default 1e-8
        These for adam.
    n_iter_no_change : int or inf, default 10
    max_fun : int, default 15000
        Evaluations of the loss by lbfgs, at most.
    loss : {"log_loss", "hinge"} or losses.Loss, default "log_loss"
        hinge and others make scores; `predict_proba` is there only for cross-entropies.
    class_weight : dict, list of dict, "balanced" or None, default None
        As in scikit-learn's other classifiers: {class: weight}, for multi-label targets one for each label, or weights by which all
        classes count the same, which `partial_fit` cannot know.
    optimizer : str, class, callable or None, default None
        In place of `solver`: the name of an optimizer of `fastnn.optim` in small letters, or its class, which get
        `learning_rate_init`; or a function that makes one of a list of parameters, such as
        ``functools.partial(optim.AdamW, lr=1e-3, weight_decay=0.1)``.
    schedule : {"cosine", "one_cycle", "linear"}, Schedule, callable or None, default None
        The learning rate: from `learning_rate_init` to 0 (one_cycle: up to it and down) over `max_iter` epochs, or as you say, by
        the number of steps.
    batchnorm : {False, True, "before", "after"}, default False
        Batch normalisation before the activation (True means that too), or behind it.
    dropout : float or list of float, default 0.0
        The share of each hidden layer's outputs that is dropped in training.
    clip_norm : float or None, default None
        Clip the norm of all gradients together.
    scoring : str, callable or None, default None
        The score of early stopping, as scikit-learn's scorers; by default the accuracy.
    callbacks : list of fastnn.callbacks.Callback or None, default None
        Not with lbfgs.
    max_seconds : float or None, default None
        Stop training then.
    n_threads : int or None, default None
        While it trains; by default `fastnn.get_num_threads`.
    progress_bar : bool, default False
    dtype : {"float32", "float64"} or None, default None
        What the network computes in; None: float32 for X of float32, else float64. float32 is about twice as fast.

    Attributes
    ----------
    classes_ : ndarray
    loss_, best_loss_ : float
        Of the last epoch; the least. The latter is None with early stopping.
    loss_curve_ : list of float
    validation_scores_, validation_loss_curve_ : list of float or None
        After each epoch, where there are validation data; `best_validation_score_` is the best score.
    t_ : int
        Samples that training has seen.
    coefs_, intercepts_ : list of ndarray
        Weights [n_in, n_out] and biases of the layers: the network's own arrays, into which others can be set.
    n_features_in_, feature_names_in_, n_iter_, n_layers_, n_outputs_, out_activation_
        As in scikit-learn.
    learning_rate_ : float or Schedule
        The rate now.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from fastnn.sklearn import MLPClassifier
    >>> X, X_test, y, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)
    >>> clf = MLPClassifier(early_stopping=True, dropout=0.1, random_state=0).fit(X, y)
    >>> clf.score(X_test, y_test) > 0.95
    True
    >>> clf.predict_proba(X_test).shape
    (450, 10)
    """

    _parameter_constraints = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"log_loss", "hinge"}), losses.Loss],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }

    def __init__(self, hidden_layer_sizes=(100,), activation: Any = "relu", *, solver="adam", alpha=0.0001, batch_size: Any = "auto",
                 learning_rate="constant", learning_rate_init=0.001, power_t=0.5, max_iter=200, shuffle=True, random_state=None,
                 tol=1e-4, verbose=False, warm_start=False, momentum=0.9, nesterovs_momentum=True, early_stopping=False,
                 validation_fraction=0.1, beta_1=0.9, beta_2=0.999, epsilon=1e-8, n_iter_no_change=10, max_fun=15000,
                 loss: Any = "log_loss", class_weight=None, optimizer=None, schedule=None, batchnorm: Any = False, dropout: Any = 0.0,
                 clip_norm=None, scoring=None,
                 callbacks=None, max_seconds=None, n_threads=None, progress_bar=False, dtype=None) -> None:
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
        self.loss = loss
        self.class_weight = class_weight
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
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=(np.float64, np.float32), reset=reset
        )
        y = y.toarray() if scipy.sparse.issparse(y) else y
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            classes = unique_labels(y)
            if self.warm_start:
                if set(classes) != set(self.classes_):
                    raise ValueError(
                        "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                        f"got {self.classes_}, `y` has {classes}"
                    )
            elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
                raise ValueError(
                    f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
                )
        return X, self._encode(y)

    def _several(self):
        return self._label_binarizer.y_type_.startswith("multilabel")

    def _chosen_by_largest(self):
        """Whether each class has an output, the largest of which is the answer: of three classes or more, and of two where the loss
        is one of softmax."""
        if self._several():
            return False
        softmax = isinstance(self.loss, losses.Loss) and self.loss.head in ("softmax", "largest")
        return len(self.classes_) > 2 or softmax and len(self.classes_) == 2

    def _encode(self, y):
        """Labels as the loss takes them: numbers of classes, or 0 and 1 [rows, outputs]."""
        if self._several():
            return np.asarray(self._label_binarizer.transform(y)).astype(bool)
        index = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        if (self.classes_[index] != y).any():
            raise ValueError(f"y: expected classes among {self.classes_}, got {np.setdiff1d(y, self.classes_)}")
        if not self._chosen_by_largest():
            return self._label_binarizer.transform(y).astype(bool)
        if "labels" in (self.loss.kinds if isinstance(self.loss, losses.Loss) else ("labels",)):
            return index
        return np.eye(len(self.classes_), dtype=np.float32)[index]

    def _decode(self, y):
        if self._several():
            return y.astype(int)
        if y.ndim == 1:
            return self.classes_[y]
        return self.classes_[y[:, 0].astype(int)] if y.shape[1] == 1 else self.classes_[y.argmax(axis=1)]

    def _to_stratify(self, y):
        if self._several():
            return None
        if y.ndim == 2:
            return y if y.shape[1] == 1 else None
        counts = np.bincount(y)
        held = int(np.ceil(len(y) * self.validation_fraction))
        return y if counts[counts > 0].min() > 1 and len(counts) <= min(held, len(y) - held) else None

    def _weights_of(self, y, incremental):
        if self.class_weight is None:
            return None
        if isinstance(self.class_weight, list) and not self._several():
            raise ValueError("class_weight: expected a dict or 'balanced' for targets of one label, got a list")
        if incremental and self.class_weight == "balanced":
            raise ValueError("class_weight: expected a dict with partial_fit, which does not see all rows, got 'balanced'")
        if isinstance(self.class_weight, dict) and not self._several():  # of all classes, which a part of the data need not have
            of_class = compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_)
            weights = of_class[np.searchsorted(self.classes_, np.ravel(y))]
        else:
            weights = compute_sample_weight(self.class_weight, y)
        if (weights < 0).any():
            raise ValueError(f"class_weight: expected weights of at least 0, got {self.class_weight}")
        return weights

    def _make_loss(self):
        largest, several = self._chosen_by_largest(), self._several()
        self.n_outputs_ = len(self.classes_) if largest or several else 1
        self.out_activation_ = "softmax" if largest else "logistic"
        if isinstance(self.loss, losses.Loss):
            if len(self.classes_) == 1 and self.loss.head in ("softmax", "largest"):
                raise ValueError(f"y: expected at least two classes with loss={self.loss!r}, got one class, {self.classes_[0]}")
            self.out_activation_ = {"softmax": "softmax", "sigmoid": "logistic"}.get(self.loss.head, "identity")
            return self.loss
        if self.loss == "hinge":
            self.out_activation_ = "identity"
            return losses.MulticlassHinge() if largest else losses.BinaryHinge()
        if largest:
            return losses.SoftmaxCrossEntropy()
        n = float(self.n_outputs_)  # the sum over outputs, where the loss has their mean
        return losses.BinaryCrossEntropy(class_weight=None if n == 1 else (n, n))

    def _accuracy_is_score(self):
        return not self._several()

    def _default_score(self, y, found, sample_weight):
        return accuracy_score(y, found, sample_weight=sample_weight)

    # ---- training ----

    @available_if(by_steps)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """Train for one epoch, on what may be a part of the data. Multi-label targets too.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
        sample_weight : array-like of shape (n_samples,), default=None
        classes : array of shape (n_classes,), default=None
            All that will come; needed in the first call.

        Returns
        -------
        self
        """
        if _check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer().fit(y if type_of_target(y).startswith("multilabel") else classes)
        return self._fit(X, y, sample_weight=sample_weight, incremental=True)

    # ---- what it gives ----

    def _read(self, outputs):
        """Classes of the network's outputs."""
        if self._several():
            return (outputs > self._limit()).astype(int)
        if outputs.shape[1] > 1:
            return self.classes_[outputs.argmax(axis=1)]
        if len(self.classes_) == 1:
            return np.repeat(self.classes_, len(outputs))
        return self.classes_[(outputs[:, 0] > self._limit()).astype(np.intp)]

    def _limit(self):
        """The output from which on the answer is yes."""
        return 0.5 if self._model.head == "numbers" else 0.0

    def predict(self, X) -> np.ndarray:
        """The class of each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), or (n_samples, n_classes) of 0 and 1 for multi-label targets
        """
        return self._read(self._outputs(X))

    def decision_function(self, X) -> np.ndarray:
        """The network's outputs: logits, or scores of a hinge loss.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) for two classes, else (n_samples, n_classes)
        """
        outputs = self._outputs(X)
        if self._several() or len(self.classes_) > 2:
            return outputs
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]

    @available_if(_probable)
    def predict_proba(self, X):
        """The probability of each class.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        outputs = self._outputs(X)
        if len(self.classes_) == 1 and not self._several():
            return np.ones((len(outputs), 1), outputs.dtype)
        if self._chosen_by_largest():
            return softmax(outputs)
        with np.errstate(over="ignore"):
            yes = 1 / (1 + np.exp(-outputs))
        return yes if self._several() else np.hstack([1 - yes, yes])

    @available_if(_probable)
    def predict_log_proba(self, X):
        """The logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
