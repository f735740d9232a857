"""GeneticAlgorithm: parameters by selection, crossover and mutation, for losses that have no gradient too."""

import copy
import math
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..core.checks import number
from ..core.runtime import get_num_threads
from ..executors import NativeExecutor
from ..init import check_seed
from ..losses import Loss
from ..training import History
from ..training.arrays import ArrayData
from ..training.callbacks import Checkpoint, Diagnose, LearningRateLogger, StochasticWeightAveraging
from ..training.callbacks.base import check_callbacks
from ..training.checks import check_end, check_model, count
from ..training.functional import loss_plan
from ..training.progress import progress

_OF_TRAINERS = (Checkpoint, Diagnose, LearningRateLogger, StochasticWeightAveraging)
_SELECTIONS = ("tournament", "truncation", "rank")
_CROSSOVERS = ("uniform", "one_point", "two_point", "blend", "none")


def _one_of(value, name, known):
    if value not in known:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, known))}, got {value!r}")
    return value


class GeneticAlgorithm:
    """Evolves the parameters of a model: no gradient is asked for, so the loss may be any function.

    Every individual is a vector of all parameters that are not frozen, with a mutation step sigma of its own. A generation: the best
    `elitism` individuals stay; all others are children of two that selection draws,

        child = crossover(a, b) + sigma * N(0, 1),        sigma = sqrt(sigma_a sigma_b) exp(0.1 N(0, 1))

    so that step sizes are selected with what they led to (H.-P. Schwefel, "Numerical Optimization of Computer Models", 1981;
    J. H. Holland, "Adaptation in Natural and Artificial Systems", 1975). All draws are functions of the seed and the number of the
    generation. Individuals are evaluated side by side, one thread each, without Python's lock.

    When to choose it: for small models (hundreds or a few thousand parameters) and losses without a useful gradient. Where there is
    one, any optimizer of `fastnn.optim` is faster by orders of magnitude.

    Parameters
    ----------
    population : int, default 50
        Individuals; at least 2.
    generations : int, default 100
    selection : {"tournament", "truncation", "rank"}, default "tournament"
        How parents are drawn: the best of three at random; from the best fifth; with weights that fall linearly with the rank.
    crossover : {"uniform", "one_point", "two_point", "blend", "none"}, default "uniform"
        Every parameter from either parent; the vector cut at one or two points; a mean of both with random weights; the first parent.
    mutation : float, default 0.1
        The first sigma, also that of the first population around the model's own parameters. Above 0.
    elitism : int, default 1
        Individuals that stay as they are; below the population.
    seed : int, default 0

    Examples
    --------
    >>> from fastnn.evolution import GeneticAlgorithm
    >>> X, y = data.load_digits()
    >>> model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 10))
    >>> ga = GeneticAlgorithm(population=20, generations=30)
    >>> history = ga.fit(model, losses.SoftmaxCrossEntropy(), X, y, verbose=0)
    >>> history["loss"][-1] < history["loss"][0]
    True
    >>> def errors(outputs, labels):  # a loss without a gradient
    ...     return (outputs.argmax(axis=1) != labels).mean()
    >>> history = ga.fit(model, errors, X, y, verbose=0)
    >>> history["loss"][-1] < 0.9
    True
    """

    def __init__(self, population=50, generations=100, selection="tournament", crossover="uniform", mutation=0.1, elitism=1,
                 seed=0) -> None:
        self.population = count(population, "population", 2)
        self.generations = count(generations, "generations", 0)
        self.selection = _one_of(selection, "selection", _SELECTIONS)
        self.crossover = _one_of(crossover, "crossover", _CROSSOVERS)
        self.mutation = number(mutation, "mutation", 0.0)
        if self.mutation == 0:
            raise ValueError("mutation: expected a number > 0, got 0")
        self.elitism = count(elitism, "elitism", 0)
        if self.elitism >= self.population:
            raise ValueError(f"elitism: expected fewer than the population, {self.population}, got {elitism}")
        self.seed = check_seed(seed)
        self.stop_training = False
        self.model, self.epochs_done, self.loss_so_far = None, 0, math.nan  # what callbacks look at

    def fit(self, model, loss, X, y, validation_data=None, callbacks=None, verbose=1) -> History:
        """Evolve the model's parameters; in the end it has those of the best individual that was found.

        Parameters
        ----------
        model : nn.Sequential
            Computes as in inference. The first individual is the model as it is.
        loss : losses.Loss or function
            A function takes the model's outputs and y and returns a number, to be made small; NaN counts as the worst.
        X, y : array_like
            As for `Trainer.fit`; all rows are evaluated for every individual.
        validation_data : (X, y), optional
            Evaluated for the best individual of every generation.
        callbacks : list of callbacks.Callback, optional
            A generation counts as an epoch; their `trainer` is this object, whose `model` has the generation's best individual then.
            With `EarlyStopping` that restores the best, the model ends as what that has watched. Checkpoint, Diagnose,
            LearningRateLogger and StochasticWeightAveraging need a Trainer, and are refused.
        verbose : {0, 1, 2}, default 1

        Returns
        -------
        History
            For each generation: the best individual's loss (and accuracy, where the loss has one), mean_loss of all that are finite,
            seconds, and val_loss (val_accuracy) with validation data.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit; the model has not changed then. What a function of the loss raises comes through, and the
            model then has the best individual so far.
        """
        check_model(model)
        if not isinstance(loss, Loss) and not callable(loss):
            raise TypeError(f"loss: expected a loss of fastnn.losses or a function of (outputs, y), got {type(loss).__name__}")
        callbacks = check_callbacks(callbacks)
        for i, c in enumerate(callbacks):
            if isinstance(c, _OF_TRAINERS):
                raise TypeError(f"callbacks[{i}]: expected one that needs no Trainer with an optimizer, got {type(c).__name__}")
        parameters = [p for p in model.parameters() if not p.frozen]
        if not parameters:
            raise ValueError("model: expected parameters that are not frozen, got none")
        if validation_data is not None and (not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2):
            raise ValueError("validation_data: expected a pair (X, y)")
        display = progress(verbose, self.generations, self.population)
        workers = max(1, min(get_num_threads(), self.population))
        evaluators = [_Evaluator(model, loss, X, y, ("X", "y")) for _ in range(workers)]
        validation = None
        if validation_data is not None:
            validation = _Evaluator(model, loss, *validation_data, ("validation_data[0]", "validation_data[1]"))
        names = ["loss", *["accuracy"] * evaluators[0].has_accuracy, "mean_loss"]
        if validation is not None:
            names += ["val_loss", *["val_accuracy"] * validation.has_accuracy]
        for c in callbacks:
            c.check_names([*names, "seconds"])
        self.model, self.epochs_done = model, 0
        try:
            with ThreadPoolExecutor(workers) as pool:
                return self._evolve(parameters, evaluators, validation, pool, callbacks, display)
        except BaseException as error:
            for c in callbacks:
                c.on_exception(error)
            raise
        finally:
            display.close()

    def _evolve(self, parameters, evaluators, validation, pool, callbacks, display):
        history, best = History(), (math.inf, None)
        here = np.concatenate([p.data.ravel() for p in parameters])
        rng = self._rng(0)
        genomes = here + self.mutation * rng.standard_normal((self.population, here.size), here.dtype).astype(here.dtype)
        genomes[0] = here
        sigmas, scores = np.full(self.population, self.mutation), None
        self.stop_training = False
        for c in callbacks:
            c.trainer = self
            c.on_train_begin()
        try:
            for generation in range(self.generations):
                for c in callbacks:
                    c.on_epoch_begin(generation)
                display.begin(generation + 1)
                start = time.perf_counter()
                if generation:
                    genomes, sigmas = self._children(genomes, sigmas, _order(scores), self._rng(generation))
                scores = _evaluated(genomes, evaluators, pool)
                losses = np.array([s[0] for s in scores])
                at = _order(scores)[0]
                if losses[at] < best[0] or best[1] is None or math.isnan(best[0]) > math.isnan(losses[at]):
                    best = losses[at], genomes[at].copy()
                finite = losses[np.isfinite(losses)]
                logs = {"loss": float(losses[at])}
                if scores[at][1] is not None:
                    logs["accuracy"] = scores[at][1]
                logs["mean_loss"] = float(finite.mean()) if len(finite) else math.nan
                if validation is not None:
                    value, accuracy = validation(genomes[at])
                    logs |= {"val_loss": value} | ({} if accuracy is None else {"val_accuracy": accuracy})
                logs["seconds"] = time.perf_counter() - start
                _put(parameters, genomes[at])  # for callbacks
                self.epochs_done, self.loss_so_far = generation + 1, logs["loss"]
                history.add(generation, self.population, logs, logs)
                display.advance(self.population, logs)
                display.end(generation + 1, logs)
                for c in callbacks:
                    c.on_epoch_end(generation, dict(logs))
                if self.stop_training:
                    break
        finally:  # Ctrl-C and exceptions too
            if best[1] is not None:
                _put(parameters, best[1])
        for c in callbacks:
            c.on_train_end()
        return history

    def _rng(self, generation):
        return np.random.Generator(np.random.Philox(key=[self.seed, generation]))

    def _children(self, genomes, sigmas, order, rng):
        """The next generation, the elite first."""
        n, size = genomes.shape
        first, second = self._parents(order, rng), self._parents(order, rng)
        a, b = genomes[first], genomes[second]
        if self.crossover == "uniform":
            children = np.where(rng.random((n, size), np.float32) < 0.5, a, b)
        elif self.crossover == "blend":
            share = rng.random((n, 1)).astype(genomes.dtype)
            children = share * a + (1 - share) * b
        elif self.crossover == "none":
            children = a
        else:
            cuts = np.sort(rng.integers(0, size + 1, (n, 2)), axis=1)
            if self.crossover == "one_point":
                cuts[:, 1] = size
            place = np.arange(size)
            children = np.where((place >= cuts[:, :1]) & (place < cuts[:, 1:]), b, a)
        steps = np.sqrt(sigmas[first] * sigmas[second]) * np.exp(0.1 * rng.standard_normal(n))
        children += steps[:, None].astype(genomes.dtype) * rng.standard_normal((n, size), genomes.dtype)
        elite = order[: self.elitism]
        children[: self.elitism], steps[: self.elitism] = genomes[elite], sigmas[elite]
        return children, steps

    def _parents(self, order, rng):
        """Numbers of as many parents as there are individuals."""
        n = len(order)
        if self.selection == "truncation":
            places = rng.integers(0, max(2, n // 5), n)
        elif self.selection == "rank":
            weights = np.arange(n, 0, -1.0)
            places = rng.choice(n, n, p=weights / weights.sum())
        else:
            places = rng.integers(0, n, (n, 3)).min(axis=1)  # the best of those is the first in order
        return order[places]

    def __repr__(self):
        names = ("population", "generations", "selection", "crossover", "mutation", "elitism", "seed")
        return f"GeneticAlgorithm({', '.join(f'{k}={getattr(self, k)!r}' for k in names)})"


class _Evaluator:
    """(loss, accuracy or None) of a vector of parameters, on a copy of the model of its own, by one thread."""

    def __init__(self, model, loss, X, y, names):
        self._model = copy.deepcopy(model)
        self._parameters = [p for p in self._model.parameters() if not p.frozen]
        self._loss, self._executor = loss, None
        if isinstance(loss, Loss):
            check_end(model, loss)
            self._pair = ArrayData(self._model, loss, X, y, (*names, "sample_weight"))
            self._pair.check_labels()
            self._executor = NativeExecutor(loss_plan(self._model, loss, self._pair, training=False))
            self._executor.set_alone()
            self._units = loss.units(model.out_features) if loss.accurate else None
        else:
            self._X, self._y = self._model.rows(X, names[0]), np.asarray(y)
            if len(self._X) != (len(self._y) if self._y.ndim else 0):
                raise ValueError(f"{names[1]}: expected {len(self._X)} targets, one for each row of {names[0]}, got shape {self._y.shape}")

    @property
    def has_accuracy(self):
        return isinstance(self._loss, Loss) and self._loss.accurate

    def __call__(self, genome):
        _put(self._parameters, genome)
        if self._executor is None:
            value = self._loss(self._model.predict(self._X), self._y)
            return number_of(value), None
        losses = np.zeros(1)
        result = self._executor.run(self._pair.X, self._pair.y, losses=losses)
        if result.problem:
            self._pair.refuse(result.problem)
        rows = len(self._pair.X) - result.left_out
        return float(losses[0]), None if self._units is None else result.correct / (rows * self._units) if rows else math.nan


def number_of(value):
    """A loss that a user's function gave, as a float."""
    try:
        if isinstance(value, (str, bytes)):  # even if it reads like a number
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"loss: expected the function to return a number, got {type(value).__name__}") from None


def _put(parameters, genome):
    """The parameters become those of the vector."""
    begin = 0
    for p in parameters:
        p.data[...] = genome[begin : begin + p.size].reshape(p.shape)
        begin += p.size


def _order(scores):
    """Numbers of the individuals, the best first; NaN last."""
    losses = np.array([s[0] for s in scores])
    return np.argsort(np.where(np.isnan(losses), np.inf, losses), kind="stable")


def _evaluated(genomes, evaluators, pool):
    """Scores in the order of the genomes: each thread has an evaluator of its own, and every k-th individual."""
    k = len(evaluators)
    parts = list(pool.map(lambda i: [evaluators[i](g) for g in genomes[i::k]], range(k)))
    return [parts[i % k][i // k] for i in range(len(genomes))]
