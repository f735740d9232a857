"""What TabularClassifier and TabularRegressor have in common: the recipe, the choice of the epoch, several networks, files."""

import json
import os
import threading
import time
import warnings
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator, _fit_context
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, _num_samples, check_is_fitted, validate_data

from .. import nn, optim, schedules
from ..core import safetensors
from ..core.runtime import get_num_threads
from ..kernels import activation_forward
from ..nn.serialization import pack, unpack
from ..training import Trainer
from ..training.beside import StopWith, in_threads
from ..training.callbacks import Callback
from .epochs import Tasks
from .mlp_base import CallbackSupportMixin, OnnxMixin, check_validation, threads
from .network import hidden_sizes
from .tables import TableEncoder, columns_of, is_frame

FORMAT, VERSION = "fastnn-tabular", "1"
_FEW = 1000  # rows below which none are held back
_WORK = 3e13  # floating-point operations of a training that the recipe may take: about ten minutes on two cores
_HELD = 2000  # rows that are kept for the importances of columns
_LONE = 4  # rows up to which a table is encoded value by value
_START = 4096  # rows by which first weights are chosen
_CODE_ABOVE = 9  # categories of a column that "td" gives a table of embeddings, of this width:
_EMBEDDED = 8


class BestEpoch(Callback):
    """After each epoch, how far off the network is on rows that are held back; the weights of the last best epoch are put back.

    Parameters
    ----------
    error : callable
        Of the network's outputs, a number.
    X : float32 array
        The rows.
    """

    def __init__(self, error, X):
        self.error, self.X = error, X
        self.errors, self.best, self.kept = [], np.inf, None

    def _arrays(self):
        return [p.data for p in self.trainer.model.parameters()]

    def on_epoch_end(self, epoch, logs):
        now = float(self.error(self.trainer.model.predict(self.X)))
        self.errors.append(now)
        if now <= self.best:
            self.best = now
            if self.kept is None:
                self.kept = [np.empty_like(a) for a in self._arrays()]
            for kept, a in zip(self.kept, self._arrays()):
                kept[...] = a

    def on_train_end(self):
        for a, kept in zip(self._arrays(), self.kept or ()):
            a[...] = kept


class Watch(Callback):
    """Tells the callbacks of scikit-learn of each epoch. before: the networks that have been trained."""

    def __init__(self, tasks, verbose, name, before):
        self.tasks, self.verbose, self.name, self.before = tasks, verbose, name, before

    def on_epoch_begin(self, epoch):
        self.tasks.begin()

    def on_epoch_end(self, epoch, logs):
        if self.verbose > 1:
            print(f"{self.name}, epoch {epoch + 1}, loss = {logs['loss']:.6f}")
        if self.tasks.end(lambda: {"_models": [*self.before, self.trainer.model]}):
            self.trainer.stop_training = True


class Trained(NamedTuple):
    """A network: its validation errors, its losses, and of the first rows for the importances of columns."""

    model: nn.Sequential
    curve: list
    losses: list
    held: tuple | None


class BaseTabular(OnnxMixin, CallbackSupportMixin, BaseEstimator):
    """The part of both estimators that is not about targets."""

    _parameter_constraints = {
        "preset": [StrOptions({"td-s", "td"})],
        "n_models": [Interval(Integral, 1, None, closed="left")],
        "n_epochs": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "validation_fraction": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="left")],
        "categorical_features": [StrOptions({"auto"}), "array-like"],
        "max_categories": [Interval(Integral, 1, None, closed="left")],
        "max_seconds": [Interval(Real, 0, None, closed="left"), None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
    }

    # ---- what a subclass says ----

    _rates = {}  # of the recipe, by preset
    _activation = None

    def _check_targets(self, y):
        """Targets as the loss takes them; sets what is learned of them, and `_outputs_count`."""
        raise NotImplementedError

    def _make_loss(self):
        raise NotImplementedError

    def _error(self, outputs, y, weights):
        """How far off outputs are."""
        raise NotImplementedError

    def _answers(self, model, encoded):
        """What a network says of encoded rows, in numbers of which the mean over networks is taken."""
        raise NotImplementedError

    def _row_weights(self, y):
        """Weights by the targets, or None."""
        return None

    def _to_stratify(self, y, share):
        return None

    def _described(self):
        """What a file says besides the networks and the table, as JSON can hold it."""
        raise NotImplementedError

    def _restore(self, described):
        """Take over what `_described` gave; ValueError where it does not fit."""
        raise NotImplementedError

    # ---- tables ----

    def _table(self, X, reset):
        """The columns of X, once scikit-learn's checks have passed."""
        if scipy.sparse.issparse(X):
            raise TypeError("Sparse data was passed for X, but dense data is required: use '.toarray()' to convert it to dense.")
        if hasattr(X, "collect") and hasattr(X, "collect_schema"):
            raise TypeError(f"X: expected a data frame or an array, got a {type(X).__name__}: use '.collect()' to have its rows.")
        if is_frame(X):
            validate_data(self, X=X, reset=reset, skip_check_array=True)
            if not X.shape[0] or not X.shape[1]:
                what = "sample(s)" if not X.shape[0] else "feature(s)"
                raise ValueError(f"Found array with 0 {what} (shape={tuple(X.shape)}) while a minimum of 1 is required.")
        else:
            checked = validate_data(self, X, dtype=None, ensure_all_finite=False, reset=reset)
            X = X if isinstance(X, np.ma.MaskedArray) else checked
        return columns_of(X)

    def _names(self):
        names = getattr(self, "feature_names_in_", None)
        return list(range(self.n_features_in_)) if names is None else [repr(n) for n in names]

    def _categorical(self):
        """Numbers of the columns that are categories by `categorical_features`."""
        given = self.categorical_features
        if isinstance(given, str):
            return frozenset()
        array = np.asarray(given)
        if not array.size:
            return frozenset()
        if array.dtype.kind == "b":
            if array.shape != (self.n_features_in_,):
                raise ValueError(f"categorical_features: expected a mask of {self.n_features_in_} columns, got shape {array.shape}")
            return frozenset(np.flatnonzero(array).tolist())
        if array.dtype.kind in "iu":
            if array.min() < 0 or array.max() >= self.n_features_in_:
                raise ValueError(f"categorical_features: expected numbers from 0 to {self.n_features_in_ - 1}, got {given!r:.60}")
            return frozenset(array.tolist())
        names = list(getattr(self, "feature_names_in_", ()))
        unknown = [n for n in array.tolist() if n not in names]
        if unknown:
            raise ValueError(f"categorical_features: expected names of columns, got {unknown[0]!r}, which X does not have")
        return frozenset(names.index(n) for n in array.tolist())

    # ---- fit ----

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None) -> Any:
        """Train on a table.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Of pandas, polars or NumPy: numbers, booleans, dates, strings and categories, with missing values.
        y : array-like of shape (n_samples,) or, for numbers, (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
        X_val, y_val : as X and y, default=None
            Rows of your own by which the epoch is chosen.
        sample_weight_val : array-like, default=None

        Returns
        -------
        self
        """
        check_validation(X_val, y_val, sample_weight_val)
        columns = self._table(X, True)
        raw_y, raw_weight = y, sample_weight
        y = self._check_targets(y)
        rows = _num_samples(columns[0][0])
        if len(y) != rows:
            raise ValueError(f"Found input variables with inconsistent numbers of samples: {[rows, len(y)]}")
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, np.empty((rows, 1)), ensure_non_negative=True)
        weights = self._combined(sample_weight, y)
        if weights is not None and not weights.any():
            raise ValueError("sample_weight: expected at least one above 0, got none: the weights of all rows are zero")
        names = self._names()
        self._encoder = TableEncoder(self._categorical(), self.max_categories, self._code_above()).fit(columns, names)
        encoded = self._encoder.transform(columns, names)
        del columns
        own = None
        if X_val is not None:
            own = (self._encoder.transform(self._table(X_val, False), names), self._encode(y_val), sample_weight_val)
            if len(own[0]) != len(own[1]):
                raise ValueError(f"X_val, y_val: expected as many rows in both, got {len(own[0])} and {len(own[1])}")
            if own[2] is not None:
                own = (*own[:2], _check_sample_weight(own[2], own[0], ensure_non_negative=True))
        random = check_random_state(self.random_state)
        self.n_epochs_ = self._epochs(rows)
        tasks = Tasks(self, self.n_models * self.n_epochs_, X, raw_y, raw_weight)
        with threads(self.n_threads):
            trained = self._train_all(encoded, y, weights, own, random, tasks)
        if len(trained) < self.n_models:
            warnings.warn(f"max_seconds={self.max_seconds}: {len(trained)} of {self.n_models} networks have been trained")
        self._models, self.validation_curves_ = [t.model for t in trained], [t.curve for t in trained]
        self.loss_curve_, self.n_iter_ = trained[0].losses, max(len(t.losses) for t in trained)
        self._held = trained[0].held
        tasks.close()
        return self

    def _train_all(self, encoded, y, weights, own, random, tasks):
        """The networks, as Trained: one on each thread while there are as many as threads, and what is left one after the other by all
        of them; no result depends on that. With callbacks of scikit-learn's, which know of one fit at a time, all go one by one."""
        begun, team = time.perf_counter(), get_num_threads()
        beside = 0 if team == 1 or tasks.root is not None else self.n_models // team * team
        event, trained = threading.Event(), []

        def run(i, start, others):
            left = None if self.max_seconds is None else self.max_seconds - (time.perf_counter() - begun)
            if event.is_set() or i and left is not None and left <= 0:
                return None
            rounds = -(-(beside - i) // team) + self.n_models - beside if i < beside else self.n_models - i
            share = None if left is None else max(left, 0.0) / rounds
            return self._train(i, start, encoded, y, weights, own, tasks, share, others, [t.model for t in trained])

        if beside:
            starts = [self._start(encoded, y, weights, own, random) for _ in range(beside)]
            trained = in_threads(run, [(i, start, event) for i, start in enumerate(starts)], team, event)
        for i in range(beside, self.n_models):
            trained.append(run(i, self._start(encoded, y, weights, own, random), None))
        return [t for t in trained if t is not None]

    def _combined(self, sample_weight, y):
        more = self._row_weights(y)
        if more is None or sample_weight is None:
            return sample_weight if more is None else more
        return more * sample_weight

    def _code_above(self):
        return _CODE_ABOVE if self.preset == "td" else None

    def _sizes(self):
        """Columns of the first product, units of the hidden layers, outputs."""
        e = self._encoder
        first = e.width + e.codes * (_EMBEDDED - 1) + 3 * e.numbers if self.preset == "td" else e.width
        return [first, *hidden_sizes(self.hidden_layer_sizes), self._outputs_count]

    def _epochs(self, rows):
        """The recipe's 256; fewer, but at least 32, where these would take more than the work of `_WORK`."""
        if self.n_epochs != "auto":
            return self.n_epochs
        sizes = self._sizes()
        work = 6.0 * rows * sum(a * b for a, b in zip(sizes, sizes[1:]))
        epochs = int(min(256, max(32, _WORK / work)))
        if epochs < 256 and self.verbose:
            print(f"{rows:,} rows: {epochs} epochs in place of 256, so as not to take too long; n_epochs=256 takes all")
        return epochs

    def _build(self, random):
        """The network of "td-s" with first weights, and its parameters as (parameters, factor of the rate, of the decay, of Adam's
        epsilon). The authors' weights are divided by √n where they multiply: weights that are smaller from the start take the rate by
        1 / √n and, since their gradients are as much larger, epsilon by √n."""
        sizes = self._sizes()
        layers, groups, biases = [nn.Scale(sizes[0])], [], []
        for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:])):
            last = i == len(sizes) - 2
            dense = nn.Dense(n_in, n_out, None if last else self._activation, init="zeros")
            if not last:
                dense.weight.data = random.standard_normal((n_in, n_out)) / np.sqrt(n_in)
                dense.bias.data = random.standard_normal(n_out)
            layers.append(dense)
            groups.append(([dense.weight], 1 / np.sqrt(n_in), 0.0, np.sqrt(n_in)))
            biases.append(dense.bias)
        return nn.Sequential(*layers, dtype="float32"), [([layers[0].weight], 6.0, 0.0, 1.0), *groups, (biases, 0.1, 0.0, 1.0)]

    def _build_td(self, random, X, steps):
        """The same of "td": numbers embedded in waves, categories of many in tables, activations of which a part is taken, dropout.

        First weights make what a unit gets of the rows X vary by 1, and first biases place its bend at a random point among what it
        gets of five of them. Decays go by the square of the factor of the rate, as in the authors' code.
        """
        encoder, (first, *sizes) = self._encoder, self._sizes()
        layers, groups = [], []
        if encoder.codes:
            table = nn.TabularEmbedding(encoder.width - encoder.codes, encoder.cardinalities(), _EMBEDDED, unknown=True, init="zeros")
            for p in table.parameters():
                p.data[:-1] = random.standard_normal((len(p.data) - 1, _EMBEDDED))
            layers.append(table)
            groups.append((table.parameters(), 1.0, 1.0, 1.0))
        if encoder.numbers:
            waves = nn.PBLD(first - 3 * encoder.numbers, embedded=encoder.numbers)
            bound = 1 / np.sqrt(waves.frequencies)
            waves.frequency.data = random.normal(0, 0.1, waves.frequency.shape)
            waves.phase.data = random.uniform(-np.pi, np.pi, waves.phase.shape)
            waves.weight.data = random.uniform(-bound, bound, waves.weight.shape)
            waves.bias.data = random.uniform(-bound, bound, waves.bias.shape)
            layers.append(waves)
            groups.append((waves.parameters(), 0.1, 0.1, 1.0))
        h = X[random.permutation(len(X))[:_START]]
        h = nn.Sequential(*layers, dtype="float32").predict(h) if layers else h
        layers.append(nn.Scale(first))
        groups.append(([layers[-1].weight], 6.0, 6.0, 1.0))
        biases, parts = [], []
        for i, (n_in, n_out) in enumerate(zip((first, *sizes), sizes)):
            dense = nn.Dense(n_in, n_out, init="zeros")
            weight = random.standard_normal((n_in, n_out)).astype(np.float32)
            z = h @ weight
            spread = z.std(axis=0)
            spread[~(spread > 1e-6)] = np.sqrt(n_in)
            z /= spread
            chosen, shares = random.randint(len(z), size=(5, n_out)), random.exponential(size=(5, n_out))
            dense.weight.data = weight / spread
            dense.bias.data = bias = -(z[chosen, np.arange(n_out)] * shares / shares.sum(axis=0)).sum(axis=0)
            layers.append(dense)
            groups.append(([dense.weight], 1 / np.sqrt(n_in), np.sqrt(n_in), np.sqrt(n_in)))
            biases.append(dense.bias)
            if i < len(sizes) - 1:
                layers += [nn.ParametricActivation(n_out, self._activation), nn.Dropout(_flat_then_cosine(0.15, steps))]
                parts.append(layers[-2].weight)
                h = activation_forward(z + bias.astype(np.float32), self._activation)
        return nn.Sequential(*layers, dtype="float32"), [*groups, (biases, 0.1, 0.0, 1.0), (parts, 0.1, 0.1, 1.0)]

    def _split(self, y, seed):
        """(rows to train on, rows that are held back), or None: below 1,000 rows all are trained on."""
        share = self.validation_fraction
        if share == "auto":
            share = 0.2 if len(y) >= _FEW else 0
        if not share or len(y) < 3:
            return None
        return train_test_split(np.arange(len(y)), test_size=share, random_state=seed, stratify=self._to_stratify(y, share))

    def _start(self, encoded, y, weights, own, random):
        """All that is drawn for a network: (seed, split, model, groups of its parameters, rows of a batch, steps)."""
        seed = int(random.randint(np.iinfo(np.int32).max))
        split = self._split(y, seed) if own is None else None
        rows = len(y) if split is None else len(split[0])
        batch = min(self.batch_size, rows)
        total = self.n_epochs_ * (rows // batch)
        if self.preset == "td":
            model, groups = self._build_td(random, encoded if split is None else encoded[split[0]], total)
        else:
            model, groups = self._build(random)
        return seed, split, model, groups, batch, total

    def _train(self, number, start, encoded, y, weights, own, tasks, seconds, others, before):
        """One network, beside others if there are such (an event that ends all) or after those before; a Trained."""
        seed, split, model, groups, batch, total = start
        X, held, td = encoded, own, self.preset == "td"
        if split is not None:
            train, back = split
            held = encoded[back], y[back], None if weights is None else weights[back]
            X, y, weights = encoded[train], y[train], None if weights is None else weights[train]
        rows = len(X)
        rate = self._rates[self.preset] if self.learning_rate is None else float(self.learning_rate)
        groups = [
            {"params": p, "lr": schedules.CosLog(rate * factor, total), "eps": 1e-8 * epsilon}
            | ({"weight_decay": _flat_then_cosine(0.02 * decay, total)} if td and decay else {})
            for p, factor, decay, epsilon in groups
        ]
        kind = {"decoupled_weight_decay": True} if td else {}
        trainer = Trainer(model, self._make_loss(), optim.Adam(groups, betas=(0.9, 0.95), **kind), seed=seed)
        trainer.one_thread = others is not None
        callbacks = [Watch(tasks, self.verbose, f"network {number + 1} of {self.n_models}", before)]
        if others is not None:
            callbacks.append(StopWith(others))
        if held is not None:
            callbacks.append(BestEpoch(lambda outputs: self._error(outputs, held[1], held[2]), held[0]))
        if weights is not None:
            weights = weights / np.mean(weights)
        history = trainer.fit(
            X, y, epochs=self.n_epochs_, batch_size=batch, drop_last=rows > batch, sample_weight=weights, callbacks=callbacks,
            verbose=0, max_seconds=seconds,
        )
        if not all(np.isfinite(p.data).all() for p in model.parameters()):
            raise ValueError("the training has come to weights that are not finite; a smaller learning_rate may help")
        if self.verbose:
            end = "" if held is None else f", best validation error {callbacks[-1].best:.6f}"
            print(f"network {number + 1} of {self.n_models}: {len(history['loss'])} epochs{end}")
        kept = None
        if not number:
            some = (X, y) if held is None else held[:2]
            chosen = np.random.RandomState(seed).permutation(len(some[0]))[:_HELD]
            kept = some[0][chosen], some[1][chosen]
        return Trained(model, callbacks[-1].errors if held is not None else [], list(history["loss"]), kept)

    # ---- what it gives ----

    def _encoded(self, X):
        """The rows of X as the networks take them."""
        mine = vars(self)
        encoder = mine.get("_encoder")
        # arrays that would pass scikit-learn's checks have a short way
        if (
            type(X) is np.ndarray
            and X.ndim == 2
            and encoder is not None
            and X.shape[1] == len(encoder.columns)
            and "feature_names_in_" not in mine
            and len(X)
        ):
            kind = X.dtype.kind
            if kind == "f" and encoder.all_numbers:
                return encoder.transform_numbers(X)
            if kind in "fiO" and len(X) <= _LONE:
                found = encoder.transform_few(X)
                if found is not None:
                    return found
        check_is_fitted(self, "_encoder")
        return encoder.transform(self._table(X, False), self._names())

    def _mean_of(self, encoded):
        """The networks' answers to encoded rows, the mean over them."""
        models = self._models
        total = self._answers(models[0], encoded)
        for model in models[1:]:
            total = total + self._answers(model, encoded)
        return total / len(models) if len(models) > 1 else total

    @property
    def feature_importances_(self):
        """By how much the score of rows that were held back falls when a column is shuffled: mean of 5 times, float64
        [n_features]. Rows of training, where none were held back."""
        if "_importances" in vars(self):
            return self._importances
        check_is_fitted(self, "_held")
        X, y = self._held
        random, found = np.random.RandomState(0), []
        whole = self._score_of(self._mean_of(X), y)
        for place in self._encoder.places:
            falls = []
            for _ in range(5):
                mixed = X.copy()
                mixed[:, place] = X[random.permutation(len(X))][:, place]
                falls.append(whole - self._score_of(self._mean_of(mixed), y))
            found.append(np.mean(falls))
        return np.array(found)

    # ---- files ----

    def save(self, path) -> None:
        """Write everything into one file, in the format of safetensors: networks, what was learned of the table, classes,
        parameters.

        The file holds no code, appears whole or not at all, and is safe to open. `load` reads it.

        Parameters
        ----------
        path : str or os.PathLike

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If it has not been fitted.
        OSError
            If it cannot be written.
        """
        check_is_fitted(self, "_encoder")
        tensors, members = pack(self._models)
        tensors["importances"] = np.asarray(self.feature_importances_, np.float64)
        parameters = {name: value for name, value in self.get_params(deep=False).items() if _plain(value)}
        described = {
            "parameters": parameters,
            "columns": self._encoder.state(),
            "names": [str(n) for n in self.feature_names_in_] if hasattr(self, "feature_names_in_") else None,
            "epochs": [int(self.n_epochs_), int(self.n_iter_)],
            "curves": [[float(v) for v in c] for c in self.validation_curves_],
            "losses": [float(v) for v in self.loss_curve_],
            **self._described(),
        }
        metadata = {"format": FORMAT, "version": VERSION, "estimator": type(self).__name__, "described": json.dumps(described)}
        safetensors.write(path, tensors, {**metadata, "members": members})

    @classmethod
    def load(cls, path) -> Any:
        """Read an estimator that `save` wrote.

        Parameters
        ----------
        path : str or os.PathLike

        Returns
        -------
        TabularClassifier or TabularRegressor
            As the class is on which it is called.

        Raises
        ------
        ValueError
            If the file is no such estimator's, truncated or from a newer version, or its header does not agree with its contents.
        OSError
            If it cannot be read.
        """
        name = os.fsdecode(path)
        with open(name, "rb") as file:
            data = file.read()
        try:
            tensors, metadata = safetensors.parse(data)
            if metadata.get("format") != FORMAT or metadata.get("estimator") != cls.__name__:
                raise ValueError(f"a file of format {metadata.get('format')!r:.40}, {metadata.get('estimator')!r:.40}")
            if metadata.get("version") != VERSION:
                raise ValueError(f"format version {metadata.get('version')!r:.40}, while this fastnn reads {VERSION}")
            return cls._made(json.loads(metadata["described"]), metadata["members"], tensors)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{name!r}: expected a file that {cls.__name__}.save has written, got {error}") from error

    @classmethod
    def _made(cls, described, members, tensors):
        parameters = {name: tuple(v) if isinstance(v, list) else v for name, v in described["parameters"].items()}
        made = cls(**parameters)
        made._encoder = TableEncoder.from_state(described["columns"], made._code_above())
        made.n_features_in_ = len(made._encoder.columns)
        if described["names"] is not None:
            if len(described["names"]) != made.n_features_in_:
                raise ValueError("names of another number of columns")
            made.feature_names_in_ = np.array(described["names"], object)
        made.n_epochs_, made.n_iter_ = map(int, described["epochs"])
        made.validation_curves_, made.loss_curve_ = described["curves"], described["losses"]
        made._importances = np.array(tensors.pop("importances"))
        made._restore(described)
        made._models = unpack(members, tensors)
        for i, model in enumerate(made._models):
            _check_network(i, model)
            if model.in_features != made._encoder.width or model.out_features != made._outputs_count:
                raise ValueError("a network that does not fit the table")
        if not made._models or made._importances.shape != (made.n_features_in_,):
            raise ValueError("no networks, or importances of other columns")
        return made

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        tags.non_deterministic = False
        return tags


def _flat_then_cosine(value, steps):
    """A schedule that stays for half of the steps, then falls to 0 as half a cosine."""
    half = steps // 2
    return schedules.Sequence([value, schedules.Cosine(value, max(steps - half, 1))], [half])


def _plain(value):
    """Whether JSON can hold it: parameters that it cannot are left out of files."""
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    return value is None or type(value) in (bool, int, float, str) or isinstance(value, dict) and all(
        isinstance(k, str) and _plain(v) for k, v in value.items()
    )


def _check_network(i, model):
    if model.dtype != np.float32:
        raise ValueError(f"another dtype than float32 in network {i}")
    if model.head not in (None, "softmax", "numbers", "signs"):
        raise ValueError(f"network {i} of head {model.head!r:.40}")
