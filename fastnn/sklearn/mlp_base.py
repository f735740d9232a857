"""What MLPClassifier and MLPRegressor have in common: parameters, the three solvers, warm start, early stopping, state."""

import contextlib
import copy
import importlib
import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .. import losses, nn, optim, regularizers, schedules
from ..core.runtime import get_num_threads, set_num_threads
from ..training import Trainer
from ..training.callbacks import Callback
from ..training.callbacks.base import check_callbacks
from . import network
from .epochs import Epochs, Tasks
from .mlp_lbfgs import fit_lbfgs

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # before scikit-learn 1.9

    class CallbackSupportMixin:
        """Of a scikit-learn that has no callbacks."""


STOCHASTIC = ("sgd", "adam")
_FAST = (np.dtype(np.float32), np.dtype(np.float64))
_NAMES = {*network.ACTIVATIONS, *network.OTHER_ACTIVATIONS}
_MANY = 3.0e38  # a delta of Huber's loss that no difference exceeds


def half_squared_error():
    """(z - t)² / 2, the mean over outputs."""
    return losses.Huber(delta=_MANY)


def check_validation(X_val, y_val, sample_weight_val):
    """ValueError where only a part of the validation data of a user's own is given to `fit`."""
    if (X_val is None) != (y_val is None):
        raise ValueError("X_val, y_val: expected both or neither")
    if sample_weight_val is not None and X_val is None:
        raise ValueError("sample_weight_val: expected with X_val and y_val, got it alone")


@contextlib.contextmanager
def threads(count):
    """On so many threads; None: on as many as there are."""
    before = get_num_threads()
    try:
        if count is not None:
            set_num_threads(count)
        yield
    finally:
        if count is not None:
            set_num_threads(before)


def _by_rows(X):
    """X itself; of a sparse one its rows, each column once."""
    if not scipy.sparse.issparse(X):
        return X
    X = X.tocsr()
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


class Views(list):
    """A network's arrays: what is set in place of one is copied into it."""

    def __setitem__(self, i, array):
        array, own = np.asarray(array), self[i]
        if array.shape != own.shape:
            raise ValueError(f"coefs_, intercepts_: expected an array of shape {own.shape}, got {array.shape}")
        own[...] = array


class Run:
    """What `fit` has beside the estimator's attributes while it trains: the rows, validation data as (X, targets, y, weights) or
    None, what the reported loss has more than the network's, the best weights, and whether training has converged."""

    def __init__(self, rows, validation, offset):
        self.rows, self.validation, self.offset = rows, validation, offset
        self.validation_offset, self.best, self.stopped = 0.0, None, False


class OnnxMixin:
    """Of all estimators: the way out that `fastnn.io.to_onnx` takes."""

    def to_onnx(self, path) -> None:
        """Write all that the estimator does as an ONNX file: `fastnn.sklearn.onnx.to_onnx`, which needs the package onnx."""
        importlib.import_module(".onnx", __package__).to_onnx(self, path)  # it stands above the classes that it writes


class BaseMLP(OnnxMixin, CallbackSupportMixin, BaseEstimator):
    """The part of both estimators that is not about targets."""

    _parameter_constraints = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(_NAMES), nn.Activation, list, tuple],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "optimizer": [StrOptions(set(network.OPTIMIZERS)), callable, None],
        "schedule": [StrOptions(set(network.SCHEDULES)), schedules.Schedule, callable, None],
        "batchnorm": ["boolean", StrOptions({"before", "after"})],
        "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "scoring": [str, callable, None],
        "callbacks": [list, tuple, None],
        "max_seconds": [Interval(Real, 0, None, closed="left"), None],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "progress_bar": ["boolean"],
        "dtype": [StrOptions({"float32", "float64"}), np.dtype, type, None],
    }

    # ---- what a subclass says ----

    def _check_targets(self, X, y, incremental, reset):
        """X, and y [rows, outputs] or labels, as the loss takes them; sets what is learned of the targets."""
        raise NotImplementedError

    def _make_loss(self):
        """The loss; sets `n_outputs_`, `out_activation_`."""
        raise NotImplementedError

    def _weights_of(self, y, incremental):
        """Weights of the rows besides those that are given, or None."""
        return None

    def _default_score(self, X, y, sample_weight):
        """The score of validation data, y as the user has it."""
        raise NotImplementedError

    def _accuracy_is_score(self):
        """Whether the accuracy that the trainer reports is the score."""
        return False

    def _loss_offset(self, y, sample_weight):
        """What to add to the network's loss to have scikit-learn's."""
        return 0.0

    # ---- fit ----

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None) -> Any:
        """Train on data.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
        X_val, y_val : as X and y, default=None
            Validation data of your own: for `validation_scores_` and `validation_loss_curve_`, and for early stopping in place of a
            share of the training data.
        sample_weight_val : array-like, default=None
            Weights of the validation data.

        Returns
        -------
        self
        """
        check_validation(X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val) if X_val is not None else None)

    def _fit(self, X, y, sample_weight=None, validation=None, incremental=False):
        hidden = network.hidden_sizes(self.hidden_layer_sizes)
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        check_callbacks(self.callbacks)
        by_steps = self.solver in STOCHASTIC or self.optimizer is not None
        for name, given in (("X_val, y_val", validation), ("callbacks", self.callbacks)):
            if given and not by_steps:
                raise ValueError(f"{name}: expected none with solver='lbfgs', which trains on all rows at once, in no epochs")
        raw_X, raw_y, raw_weight = X, y, sample_weight
        X, y = self._check_targets(X, y, incremental, first)
        X = _by_rows(X)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
            if (sample_weight < 0).any():
                raise ValueError("sample_weight: expected numbers of at least 0, got negative ones")
        weights = self._combined(sample_weight, raw_y, incremental)
        if weights is not None and not weights.any():
            raise ValueError("sample_weight: expected at least one above 0, got none: the weights of all rows are zero")
        if validation is not None:
            validation = self._check_validation(*validation)
        random = check_random_state(self.random_state)
        loss = self._make_loss()
        sizes = [X.shape[1], *hidden, self.n_outputs_]
        if first or "_model" not in vars(self):
            self._start(X, sizes, random, first)
        elif sizes[1:] != [len(b) for b in self.intercepts_]:
            raise ValueError(
                f"hidden_layer_sizes: expected those of the network that is trained further, "
                f"{[len(b) for b in self.intercepts_[:-1]]}, got {hidden}"
            )
        elif self._built != self._structure():
            self._rebuild(sizes, X.dtype)
        tasks = Tasks(self, 1 if incremental else self.max_iter, raw_X, raw_y, raw_weight)
        with threads(self.n_threads):
            if by_steps:
                self._fit_stochastic(X, y, weights, validation, loss, incremental, tasks)
            else:
                fit_lbfgs(self, X, y, weights, loss, tasks)
        if not all(np.isfinite(p.data).all() for p in self._model.parameters()):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
            )
        tasks.close()
        return self

    def _combined(self, sample_weight, y, incremental):
        """The rows' weights and those of their classes, or None where all are 1."""
        more = self._weights_of(y, incremental)
        if more is None:
            return sample_weight
        return more if sample_weight is None else more * sample_weight

    def _check_validation(self, X, y, sample_weight):
        """Validation data as (X, targets as the loss takes them, y as it was, weights or None)."""
        X = validate_data(self, X, accept_sparse=["csr", "csc"], dtype=(np.float64, np.float32), reset=False)
        X, targets = _by_rows(X), self._encode(y)
        if len(targets) != X.shape[0]:
            raise ValueError(f"X_val, y_val: expected as many rows in both, got {X.shape[0]} and {len(targets)}")
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
            if (sample_weight < 0).any():
                raise ValueError("sample_weight_val: expected numbers of at least 0, got negative ones")
        return X, targets, y, sample_weight

    def _start(self, X, sizes, random, first):
        """A new network, and nothing learned; with weights that were given, a network for them."""
        given = None if first else (self.coefs_, self.intercepts_)
        dtype = network.training_dtype(self.dtype, X.dtype)
        self._model = network.build(
            sizes, self.activation, self._output_activation(), self.batchnorm, self.dropout, random, dtype
        )
        self._built = self._structure()
        self._take_views()
        self._optimizer = self._trainer = None
        self._done = (0, 0)  # steps and epochs
        self._seed = int(random.randint(np.iinfo(np.int32).max))  # of the shuffle, dropout and the split
        if first:
            self.n_iter_ = self.t_ = 0
            self.n_layers_ = len(sizes)
            for name in ("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_", "validation_loss_curve_"):
                vars(self).pop(name, None)
        else:
            for mine, theirs in zip([*self.coefs_, *self.intercepts_], [*given[0], *given[1]]):
                mine[...] = theirs

    def _structure(self):
        """What a network is made of, besides its sizes."""
        return repr((self.activation, self._output_activation(), self.batchnorm, self.dropout, self.dtype))

    def _rebuild(self, sizes, given):
        """The network as the parameters have it now, with the weights, and the state of the optimizer, of the one before."""
        before, model = self._model, network.build(
            sizes, self.activation, self._output_activation(), self.batchnorm, self.dropout, np.random.RandomState(0),
            network.training_dtype(self.dtype, given),
        )
        old, new = ([*m.named_parameters(), *m.named_buffers()] for m in (before, model))
        if [p.data.shape for _, p in old] != [p.data.shape for _, p in new]:  # normalisations have come or gone
            old, new = ([p for layer in network.dense_layers(m) for p in layer.named_parameters()] for m in (before, model))
        for (_, theirs), (_, mine) in zip(old, new):
            mine.data[...] = theirs.data
        self._model, self._built, self._trainer, self._rebuilt = model, self._structure(), None, True
        self._take_views()

    def _output_activation(self):
        return None

    def _take_views(self):
        """`coefs_` and `intercepts_`: the network's own arrays."""
        layers = network.dense_layers(self._model)
        vars(self)["coefs_"] = Views(layer.weight.data for layer in layers)
        vars(self)["intercepts_"] = Views(layer.bias.data for layer in layers)

    def __setattr__(self, name, value):
        """Weights that are set are those of the network."""
        if name not in ("coefs_", "intercepts_") or "_model" not in vars(self):
            super().__setattr__(name, value)
            return
        views = vars(self)[name]
        if len(value) != len(views):
            raise ValueError(f"{name}: expected {len(views)} arrays, one for each layer, got {len(value)}")
        for i, array in enumerate(value):
            views[i] = array

    # ---- by steps ----

    def _fit_stochastic(self, X, y, weights, validation, loss, incremental, tasks):
        watched = validation is not None
        if self.early_stopping and not watched:
            X, y, weights, validation = self._split(X, y, weights)
            watched = True
        rows, batch = X.shape[0], self._batch_size(X.shape[0])
        mean = 1.0
        if weights is not None:
            mean = float(np.mean(weights))
            weights = weights / mean
        steps = self.max_iter * -(-rows // batch)
        self._prepare(loss, batch, mean, steps, incremental)
        offset = self._loss_offset(y, weights)
        weights = self._scaled(weights, rows)
        self._run = Run(rows, validation, offset)
        if watched:
            self._run.validation_offset = self._loss_offset(validation[1], validation[3])
        self._begin_curves(watched)
        self.n_iter_ = 0
        mine = list(self.callbacks or ())
        last = rows % batch
        try:
            self._trainer.fit(
                X, y, epochs=1 if incremental else self.max_iter, batch_size=batch, shuffle=self.shuffle,
                verbose=int(self.progress_bar), callbacks=[Epochs(self, tasks), *mine], sample_weight=weights, max_seconds=self.max_seconds,
                drop_last=0 < last < self._model.least_rows, validation_data=self._validation_data(validation),
            )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.")
        finally:
            for callback in mine:
                if isinstance(callback, Callback):
                    callback.trainer = None  # so that the estimator can be cloned and pickled
            self._done = (self._trainer.steps_done, self._trainer.epochs_done)
            run = vars(self).pop("_run")
        if not self.n_iter_:  # max_seconds were over within the first epoch
            self.loss_ = float(([np.nan] + list(self._trainer.history["loss"]))[-1]) if self._trainer.history else np.nan
        if run.best is not None:
            for array, values in zip(self._arrays(), run.best):
                array[...] = values
        if self.n_iter_ == self.max_iter and not (run.stopped or incremental):
            warnings.warn(
                "Stochastic Optimizer: Maximum iterations (%d) reached and the optimization hasn't converged yet." % self.max_iter,
                ConvergenceWarning,
            )

    def _batch_size(self, rows):
        if self.batch_size == "auto":
            return min(200, rows)
        if self.batch_size > rows:
            warnings.warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
        return int(np.clip(self.batch_size, 1, rows))

    def _split(self, X, y, weights):
        """(X, y, weights) to train on, and validation data: the same rows of the same data each time, warm start or not."""
        labels = self._to_stratify(y)
        parts = [X, y] if weights is None else [X, y, weights]
        found = train_test_split(*parts, random_state=self._seed, test_size=self.validation_fraction, stratify=labels)
        train, held = found[::2], found[1::2]
        if held[0].shape[0] < 2:
            raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
        if weights is None:
            train, held = [*train, None], [*held, None]
        return (*train, (held[0], held[1], self._decode(held[1]), held[2]))

    def _validation_data(self, validation):
        if validation is None:
            return None
        X, y, _, weights = validation
        weights = self._scaled(None if weights is None else weights / max(np.mean(weights), 1e-300), X.shape[0])
        return (X, y) if weights is None else (X, y, weights)

    def _scaled(self, weights, rows):
        """Weights with which the mean over outputs becomes a sum, as scikit-learn's gradients have it."""
        factor = self._factor()
        if factor == 1:
            return weights
        return np.full(rows, float(factor)) if weights is None else weights * factor

    def _factor(self):
        return 1

    def _prepare(self, loss, batch, mean, steps, incremental):
        """The trainer: the one that there is, where it still fits, with settings as they are now."""
        rebuilt = vars(self).pop("_rebuilt", False)
        if self._optimizer is None or rebuilt or not incremental:
            self._renew_optimizer(steps)
        penalty = regularizers.L2(self.alpha / batch / mean) if self.alpha else None
        if self._trainer is None or self._trainer.optimizer is not self._optimizer:
            self._trainer = Trainer(self._model, loss, self._optimizer, seed=self._seed, clip_norm=self.clip_norm, penalty=penalty)
            self._trainer.steps_done, self._trainer.epochs_done = self._done
        trainer = self._trainer
        if trainer.loss.key() != loss.key():
            trainer.loss = loss
        if trainer.penalty != penalty:
            trainer.penalty = penalty
        trainer.clip_norm = self.clip_norm

    def _renew_optimizer(self, steps):
        """An optimizer with the settings as they are now; it keeps the state of one before it of the same kind."""
        made, before = self._new_optimizer(steps), self._optimizer
        if type(made) is type(before):
            settings = [dict(group) for group in made.param_groups]
            with contextlib.suppress(ValueError):  # other states, since a momentum has come or gone: then it starts anew
                made.load_state_dict(before.state_dict())
            for group, given in zip(made.param_groups, settings):
                group.update({name: value for name, value in given.items() if name != "params"})
        self._optimizer = made
        self.learning_rate_ = made.param_groups[0]["lr"]
        if self._invscaling() and self.t_:
            self._set_rate(self.learning_rate_init / (self.t_ + 1) ** self.power_t)

    def _new_optimizer(self, steps):
        parameters = self._model.parameters()
        rate = network.make_schedule(self.schedule, float(self.learning_rate_init), steps)
        if self.optimizer is not None:
            return network.make_optimizer(self.optimizer, parameters, rate)
        if self.solver == "adam":
            # scikit-learn's epsilon stands beside the root of the uncorrected average
            return optim.Adam(parameters, lr=rate, betas=(self.beta_1, self.beta_2), eps=self.epsilon, epsilon_hat=True)
        nesterov = self.nesterovs_momentum and self.momentum > 0
        return optim.SGD(parameters, lr=rate, momentum=self.momentum, nesterov=nesterov, form="classic")

    def _adapts(self):
        return self.solver == "sgd" and self.optimizer is None and self.schedule is None

    def _invscaling(self):
        return self._adapts() and self.learning_rate == "invscaling"

    def _set_rate(self, rate):
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self.learning_rate_ = rate

    # ---- after each epoch ----

    def _begin_curves(self, watched):
        """Curves as scikit-learn begins them: when training is new, they and the counts are too."""
        if "loss_curve_" not in vars(self):
            self.loss_curve_ = []
            self._no_improvement_count = 0
            self.best_loss_ = None if self.early_stopping else np.inf
            self.validation_scores_ = self.best_validation_score_ = self.validation_loss_curve_ = None
        if watched and self.validation_scores_ is None:
            self.validation_scores_, self.validation_loss_curve_, self.best_validation_score_ = [], [], -np.inf
        if self.early_stopping:
            self.best_loss_ = None
            self._run.best = [a.copy() for a in self._arrays()]
        elif self.best_loss_ is None:
            self.best_loss_ = np.inf

    def _arrays(self):
        """All arrays that make the network what it is."""
        return [p.data for _, p in (*self._model.named_parameters(), *self._model.named_buffers())]

    def _reported(self, loss, penalty, offset):
        """scikit-learn's loss for the network's: it has the mean over the outputs, with gradients of the sum."""
        factor = self._factor()
        if factor != 1:
            held = 0.0 if penalty is None else sum(penalty(w) for w in self.coefs_)
            loss = (loss - held) / factor + held
        return float(loss + offset)

    def _end_epoch(self, logs):
        """What scikit-learn does after an epoch. Returns whether to stop."""
        self.n_iter_ += 1
        self.t_ += self._run.rows
        self.loss_ = self._reported(logs["loss"], self._trainer.penalty, self._run.offset)
        self.loss_curve_.append(self.loss_)
        if self.verbose:
            print("Iteration %d, loss = %.8f" % (self.n_iter_, self.loss_))
        if self._run.validation is not None:
            self._validate(logs)
        if not self.early_stopping:
            short = self.loss_ > self.best_loss_ - self.tol
            self.best_loss_ = min(self.best_loss_, self.loss_)
            self._no_improvement_count = self._no_improvement_count + 1 if short else 0
        if self._invscaling():
            self._set_rate(self.learning_rate_init / (self.t_ + 1) ** self.power_t)
        self._run.stopped = self._no_improvement_count > self.n_iter_no_change and self._converged()
        return self._run.stopped

    def _converged(self):
        """Whether there is nothing more to do, now that nothing has become better for long; else the rate becomes smaller."""
        what = "Validation score" if self.early_stopping else "Training loss"
        message = f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change:.0f} consecutive epochs."
        adaptive = self._adapts() and self.learning_rate == "adaptive"
        if adaptive and self.learning_rate_ > 1e-6:
            self._set_rate(self.learning_rate_ / 5)
            self._no_improvement_count = 0
            if self.verbose:
                print(f"{message} Setting learning rate to {self.learning_rate_:f}")
            return False
        if self.verbose:
            print(f"{message} {'Learning rate too small. ' * adaptive}Stopping.")
        return True

    def _validate(self, logs):
        """The score of the validation data, and the best weights."""
        score = self._validation_score(logs)
        self.validation_scores_.append(score)
        self.validation_loss_curve_.append(self._reported(logs["val_loss"], self._trainer.penalty, self._run.validation_offset))
        if self.verbose:
            print("Validation score: %f" % score)
        if self.early_stopping:
            self._no_improvement_count = self._no_improvement_count + 1 if score < self.best_validation_score_ + self.tol else 0
        if score > self.best_validation_score_:
            self.best_validation_score_ = score
            if self.early_stopping:
                for kept, a in zip(self._run.best, self._arrays()):
                    kept[...] = a

    def _validation_score(self, logs):
        X, _, y, weights = self._run.validation
        if self.scoring is None:
            if weights is None and self._accuracy_is_score():
                return logs["val_accuracy"] if np.isfinite(logs["val_loss"]) else float("nan")
            outputs = self._model.predict(X)
            if not np.isfinite(outputs).all():
                return float("nan")
            return float(self._default_score(y, self._read(outputs), weights))
        bare = object.__new__(type(self))  # the names of X's columns are gone
        vars(bare).update({name: value for name, value in vars(self).items() if name != "feature_names_in_"})
        more = {} if weights is None else {"sample_weight": weights}
        return float(check_scoring(bare, self.scoring)(bare, X, y, **more))

    # ---- what it gives ----

    def _outputs(self, X):
        """What the network gives for X. Plain arrays of few numbers have a short way; scikit-learn checks all others."""
        mine = vars(self)
        model = mine.get("_model")
        if (
            type(X) is np.ndarray
            and model is not None
            and X.ndim == 2
            and 0 < X.size <= 4096
            and X.shape[1] == mine["n_features_in_"]
            and X.dtype in _FAST
            and "feature_names_in_" not in mine
            and np.isfinite(X).all()
        ):
            return model.predict(X)
        check_is_fitted(self, "_model")
        return model.predict(_by_rows(validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)))

    def hidden_activations(self, X) -> list[np.ndarray]:
        """What the hidden layers give: behind the activation, and behind a normalisation if there is one.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        list of numpy.ndarray
            [n_samples, units] of each hidden layer.
        """
        check_is_fitted(self, "coefs_")
        X = _by_rows(validate_data(self, X, accept_sparse=["csr", "csc"], reset=False))
        layers = self._model.layers
        ends = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Dense)][1:]
        return [nn.Sequential(*layers[:end]).predict(X) for end in ends]

    def to_model(self) -> Any:
        """A copy of the network, an `nn.Sequential`: to save, to export, to train further.

        Its outputs are logits for a classifier, logarithms of rates for the Poisson loss; `predict_proba` gives probabilities.
        Classes are numbers there, as ``classes_`` has them in order.

        Returns
        -------
        nn.Sequential
        """
        check_is_fitted(self, "coefs_")
        return copy.deepcopy(self._model)

    # ---- state ----

    def __getstate__(self):
        """Without the trainer, which is made again when it is needed, and without views of the network's arrays."""
        state = dict(super().__getstate__())
        if "_model" in state:
            state.pop("_trainer", None)
            state.pop("coefs_", None)
            state.pop("intercepts_", None)
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if "_model" in vars(self):
            self._trainer = None
            self._take_views()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
