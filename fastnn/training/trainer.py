"""Trainer: a model, a loss and an optimizer, compiled into plans and run."""

from typing import TYPE_CHECKING, Any

from ..core.checks import suggesting
from . import engine, fit
from .arrays import ArrayData
from .checks import check_batch, count
from .metrics import Metrics

if TYPE_CHECKING:
    from .diagnosis import Diagnosis
    from .find_lr import RateTest
    from .history import History


class Trainer(engine.Engine):
    """Trains a model.

    Parameters
    ----------
    model : nn.Sequential
    loss : losses.Loss
        E.g. ``losses.SoftmaxCrossEntropy()``.
    optimizer : optim.Optimizer
        Made from ``model.parameters()``, or from some of them: the others are frozen.
    penalty : regularizers.Penalty, optional
        On the weights of all layers that have none of their own; see `fastnn.regularizers`.
    seed : int, default 0
        Governs everything random in training: the shuffle, dropout, noise.
    backend : {"native", "reference"}, default "native"
        The compiled kernels, or the same plan in NumPy (slow; for comparison).
    clip_norm : float, optional
        In every step, scale the gradients as if by min(1, clip_norm / (norm + 1e-6)), norm being that of all gradients
        together. Clipping by value is an option of the optimizer.

    Attributes
    ----------
    model, optimizer, backend
        As they were given.
    loss, penalty, clip_norm
        May be changed between steps; penalty and clip_norm in a callback too.
    steps_done, epochs_done : int
        Over the trainer's life.
    stop_training : bool
        Set it in a callback to end training at once: before the next step in `on_step_end`, the next epoch in `on_epoch_end`;
        from another thread, within about 50 ms.
    history : History or None
        Of the last `fit`, also where that ended with an exception.

    Raises
    ------
    TypeError
        If an argument is of another kind.
    ValueError
        If the optimizer has an array that the model lacks, or the backend is unknown.

    Examples
    --------
    >>> X, y = data.load_digits()
    >>> model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 32, activation="relu"), nn.Dense(32, 10))
    >>> trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=3e-3))
    >>> history = trainer.fit(X, y, epochs=10, batch_size=32, verbose=0)
    >>> trainer.evaluate(X, y)["accuracy"] > 0.95
    True
    >>> trainer  # doctest: +ELLIPSIS
    Trainer(
      model=Sequential(4 layers, 2,410 parameters),
      loss=SoftmaxCrossEntropy(),
      optimizer=Adam(4 parameters, lr=0.003, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, amsgrad=False, epsilon_hat=False),
      seed=0,
      backend='native',
    )  # 570 steps and 10 epochs done; memory at most 0.0... MB in batches of 32
    """

    @suggesting
    def __init__(self, model, loss, optimizer, seed=0, backend="native", clip_norm=None, penalty=None) -> None:
        super().__init__(model, loss, optimizer, seed, backend, clip_norm, penalty)

    def __repr__(self):
        batch = self._training[0][0] if self._training[0] else 32
        frozen = sum(p.size for p in self._model.parameters() if p.frozen)
        lines = [
            f"model={type(self._model).__name__}({len(self._model)} layers, {self._model.num_parameters():,} parameters"
            + (f", {frozen:,} of them frozen)" if frozen else ")"),
            f"loss={self._loss!r}",
            f"optimizer={self._optimizer!r}",
            *(f"{name}={value!r}" for name, value in (("penalty", self._penalty), ("clip_norm", self._clip_norm)) if value),
            f"seed={self.seed}",
            f"backend={self._backend!r}",
        ]
        try:
            memory = f"{self.plan(batch).peak_bytes / 1e6:.3g} MB in batches of {batch}"
        except (TypeError, ValueError) as error:  # all may be frozen
            memory = f"none: {error}"
        done = f"{self.steps_done:,} steps and {self.epochs_done:,} epochs done; memory at most {memory}"
        return "Trainer(\n" + "".join(f"  {line},\n" for line in lines) + f")  # {done}"

    def __reduce_ex__(self, protocol):
        raise TypeError("a Trainer is neither copied nor pickled: copy (model, optimizer) together and make a Trainer of them")

    # ---- training ----

    def step(self, xb, yb, sample_weight=None) -> float:
        """One training step on one batch; the low-overhead door.

        Parameters
        ----------
        xb : array_like [rows, in_features]
        yb : array_like
            Targets of the rows.
        sample_weight : array_like [rows], optional
            Each at least 0.

        Returns
        -------
        float
            The loss of the batch, before the update.

        Raises
        ------
        TypeError, ValueError
            If the batch does not fit, or a label is out of range. No parameter has changed then.
        RuntimeError
            If another thread is using the trainer.
        """
        if sample_weight is None:
            loss = self._cached_step(xb, yb)
            if loss is not None:
                return loss
        with self._lock:
            self._refresh()
            key, executor = self._training
            weights = None
            plain = (
                key
                and sample_weight is None
                and not key[2]
                and key[1] != "any"
                and key[4] == 1
                and not self._loss.checks_values
                and executor.plain(xb, yb, self._least_rows)
            )
            if not plain:
                batch, kind, weighted, _, accumulate = key or (0, None, 0, False, 1)
                pair = self._batch(xb, yb, sample_weight)
                xb, yb, weights = pair.X, pair.y, pair.weight
                check_batch(self._model, len(xb), "xb")
                self._model.head = self._loss.head_of(yb, self._model.head)
                if accumulate > 1 or len(xb) > batch or pair.kind != kind or pair.weighted != weighted:
                    executor = self._executor(len(xb), pair, True)
            self._optimizer.prepare()
            rates = self._optimizer.step_values()
            try:
                loss, problem, _ = executor.step(xb, yb, rates, weights)
            except (TypeError, ValueError):
                self._batch(xb, yb, weights)  # says the same under the caller's names
                raise
            if problem:
                self._batch(xb, yb, weights).refuse(problem)
            if plain:
                self._cached_step = executor.cached_step(self._least_rows) or engine.no_cached_step
        return loss

    @suggesting
    def fit(self, X, y=None, epochs=1, batch_size=32, validation_data=None, shuffle=True, seed=None, drop_last=False,
            check_finite=False, callbacks=None, verbose=1, sample_weight=None, max_seconds=None, validation_split=0.0,
            validation_freq=1, class_weight=None, metrics=None, steps_per_epoch=None, accumulate=1, augment=None) -> "History":
        """Train for a number of epochs.

        Batches are gathered, and whole steps done, in compiled code without the GIL; Ctrl-C takes effect within about
        50 ms, between two steps.

        Parameters
        ----------
        X : array_like [rows, in_features], or iterable
            Of any real dtype; read in place, memory-mapped arrays and SciPy's sparse ones (CSR) too. Data frames of numbers. With
            `nn.Flatten` first, samples of any shape. Or, without y, an iterable of batches (X, y) or (X, y, sample_weight), such as
            `data.stream` makes: each is a step, and the next is drawn in a thread of its own meanwhile. It is begun anew each epoch;
            an iterator, such as a generator, goes on where it stands. Where training is resumed, batches that were taken are
            drawn and dropped. If it has a method ``set_epoch(number)``, that is called before.
        y : array_like, optional
            Targets, as the loss takes them.
        epochs : int, default 1
            0 or more.
        batch_size : int, default 32
            The last batch of an epoch may be smaller. Like `shuffle` and `drop_last` it says nothing of an iterable.
        validation_data : (X, y) or (X, y, sample_weight), optional
            Evaluated after every epoch.
        shuffle : bool, default True
            Take the rows in a new order every epoch.
        seed : int, optional
            In place of the trainer's, while no step has run.
        drop_last : bool, default False
            Leave out a last batch that is smaller.
        check_finite : bool, default False
            Refuse X (and y) with NaN or infinity, before anything changes, and rates below 0 of a Poisson loss. Else NaN
            propagates, and the first step whose loss is not finite gives one RuntimeWarning, which names the layer and the rows.
        callbacks : list of callbacks.Callback, optional
        verbose : {0, 1, 2}, default 1
            Nothing, a progress bar, or a line an epoch.
        sample_weight : array_like [rows], optional
            Or [rows, outputs], for the losses that compare outputs one by one. Each at least 0: multiplies the row's loss and
            gradient. See `fastnn.losses` for the convention. What is not finite, or above 1e18, in a row of weight 0 does no
            harm: its loss and gradient are 0, and its inputs count as 0.
        max_seconds : float, optional
            End after so much time, between two steps; what was begun of an epoch is recorded, and the next `fit` goes on there.
        validation_split : float, default 0.0
            In [0, 1): train on the first int(n (1 - validation_split)) rows, as they stand before any shuffling, and evaluate on
            the others as `validation_data`, of which there must be none then.
        validation_freq : int, default 1
            Evaluate on validation data after every epoch whose number, from 1, it divides; the others have NaN in the history.
        class_weight : dict or "balanced", optional
            Multiplies `sample_weight` by the weight of each row's class, in training only. A dict {class: weight}, 1 for classes
            that it lacks; "balanced" is rows / (classes · rows of the class), as scikit-learn has it.
        metrics : list of str and functions, optional
            More numbers for every epoch: accuracy, top_k_accuracy (k = 5), precision, recall, f1, auc, r2, mae, mse, rmse as
            scikit-learn defines them (of several classes macro means), or functions of (y_true, outputs) that return a number, named
            by their ``__name__``. On validation data they are those of all rows at once. On training data they are of the outputs
            that the epoch's steps have computed, while the weights moved; these are kept for it, rows · outputs · 4 bytes.
        steps_per_epoch : int, optional
            Of an iterable: items that make an epoch; by default all that come.
        accumulate : int, default 1
            Add up the gradients of so many batches for each update, in the memory of one of them. The update is that of one batch of
            all these rows, to rounding, also of the fewer ones that end an epoch: means go by rows, dropout and noise draw what
            they would there, and steps, schedules and callbacks count updates. Batch normalisation sees the smaller batches. Of an
            iterable, so many items make an update.
        augment : data.augment.Augmentation, optional
            Changes the images of each batch as it is taken, another way in every epoch, within native calls: see
            `fastnn.data.augment`. Or a function of (images, seed, epoch, rows) that returns float32 images of the same shape, called
            between them. With arrays only; validation data is not changed.

        Returns
        -------
        History
            ``history["loss"]`` is the list of the epochs' mean losses.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit. No parameter has changed then.
        RuntimeError
            If another thread is using the trainer.
        """
        return fit.start(self, X, y, epochs, batch_size, validation_data, shuffle, seed, drop_last, check_finite, callbacks, verbose,
                         sample_weight, max_seconds, validation_split, validation_freq, class_weight, metrics,
                         steps_per_epoch, accumulate, augment)

    # ---- its state ----

    def state_dict(self) -> dict[str, Any]:
        """All that training goes on from, as a dict of copies: {"model": arrays by name, "optimizer": its state, "training": the seed,
        how many steps and epochs are done, and where in an epoch it stands, "callbacks": what those of the last `fit` keep}.

        `load_state_dict` takes it back; `save_checkpoint` writes the same into a file.

        Examples
        --------
        >>> model = nn.Sequential(nn.Dense(4, 3))
        >>> trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=0.1))
        >>> state = trainer.state_dict()
        >>> loss = trainer.step(np.ones((2, 4)), [0, 1])
        >>> trainer.load_state_dict(state)
        >>> trainer.steps_done, trainer.step(np.ones((2, 4)), [0, 1]) == loss
        (0, True)
        """
        from .checkpoint import state_of

        with self._lock:
            return state_of(self)

    def load_state_dict(self, state) -> None:
        """Take over what `state_dict` gave. What callbacks keep is handed to those of the next `fit`, each to the one of its class.

        Raises
        ------
        ValueError
            If it is of another model, loss or optimizer. Nothing has changed then.
        RuntimeError
            While `fit` runs, or if another thread is using the trainer.
        """
        from .checkpoint import take

        with self._lock:
            self._refuse_in_fit("load_state_dict")
            take(self, state)

    def save_checkpoint(self, path, durable=False) -> None:
        """Write all that training goes on from into a file, in the format of safetensors; `nn.load` reads the model in it.

        The file appears whole or not at all: one that was there before stands until then.

        Parameters
        ----------
        path : str or os.PathLike
        durable : bool, default False
            Wait until the disk has it. Else it survives whatever happens to the process, but perhaps not a power cut.

        Raises
        ------
        OSError
            If it cannot be written.
        RuntimeError
            If another thread is using the trainer.

        Examples
        --------
        >>> import os, tempfile
        >>> model = nn.Sequential(nn.Dense(4, 3))
        >>> trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()))
        >>> first = trainer.step(np.ones((2, 4)), [0, 1])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "training.safetensors")
        ...     trainer.save_checkpoint(path)
        ...     second = trainer.step(np.ones((2, 4)), [0, 1])
        ...     trainer.load_checkpoint(path)
        >>> trainer.steps_done, trainer.step(np.ones((2, 4)), [0, 1]) == second
        (1, True)
        """
        from .checkpoint import save

        with self._lock:
            save(self, path, durable)

    def load_checkpoint(self, path) -> None:
        """Take over a training where `save_checkpoint`, or `callbacks.Checkpoint`, has saved it: `fit` goes on to the bits that it
        would have come to without a break. An epoch that was broken off is gone on with, where `fit` is given as many rows in the
        same batches, and counts as its first. The optimizer's settings are those of the file.

        Parameters
        ----------
        path : str or os.PathLike

        Raises
        ------
        ValueError
            If it is no checkpoint or a broken one, or one of another model, loss, optimizer or version: the message says which.
            Nothing has changed then.
        OSError
            If it cannot be read.
        RuntimeError
            While `fit` runs, or if another thread is using the trainer.
        """
        from .checkpoint import load

        with self._lock:
            self._refuse_in_fit("load_checkpoint")
            load(self, path)

    # ---- all rows at once ----

    @suggesting
    def fit_lbfgs(self, X, y, max_iter=100, validation_data=None, *, tol=None, history_size=10, check_finite=False, callbacks=None,
                  verbose=1, sample_weight=None) -> "History":
        """Train on all rows at once by L-BFGS with a line search, as `fastnn.minimize` minimises a function.

        For small models and data sets, and to bring what `fit` has trained to the minimum that it is near. The trainer's optimizer
        says which parameters are trained, and does nothing else; its states stay as they are. Every iteration counts as an epoch,
        and as a step. Dropout and noise are the same in all of them, as a function that is to be minimised must be, and drawn anew
        for the next call; batch normalisations compute by the statistics of all rows, which their running statistics become. All
        rows are one batch: ``plan(len(X)).peak_bytes`` says what memory that takes.

        Parameters
        ----------
        X, y : array_like
            As for `fit`.
        max_iter : int, default 100
            Iterations at most. Each takes one evaluation of the loss and its gradients of all rows, seldom more.
        validation_data : (X, y) or (X, y, sample_weight), optional
            Evaluated after every iteration.
        tol : float, optional
            It ends where an iteration lowers the loss by no more than tol max(|loss|, 1), or no component of the gradient is above
            tol. By default 1.2e-7 (of float64, 2.2e-9) and 1e-5.
        history_size : int, default 10
            Pairs of steps and changes of the gradient that are remembered, each of twice the parameters' memory.
        check_finite, callbacks, verbose, sample_weight
            As for `fit`.

        Returns
        -------
        History
            Of the iterations: the loss after each, unlike that of `fit`, accuracy, seconds and what comes from validation data. It
            has two attributes more: `success`, whether a tolerance was reached, and `message`, why it ended.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit. No parameter has changed then.
        RuntimeError
            If another thread is using the trainer.

        Warns
        -----
        RuntimeWarning
            If a line search fails: where the loss or its gradient is not finite, or there is no end to its falling. The parameters
            are then the best that were found.

        Examples
        --------
        >>> X, y = data.load_digits()
        >>> model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 10))
        >>> penalty = regularizers.L2(1e-3)
        >>> trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters()), penalty=penalty)
        >>> history = trainer.fit_lbfgs(X, y, verbose=0)
        >>> len(history["loss"]) <= 100, history["loss"][-1] < 0.3, history["accuracy"][-1] > 0.95
        (True, True, True)
        """
        from . import full_batch

        return full_batch.start(self, X, y, max_iter, validation_data, tol, history_size, check_finite, callbacks, verbose, sample_weight)

    # ---- running statistics ----

    def update_bn(self, X, batch_size=32) -> None:
        """Take the running statistics of all batch normalisations anew, for the weights as they are: the means over the batches of X.

            mean = 1 / batches · Σ mean of a batch,    var = 1 / batches · Σ variance of a batch (with n - 1)

        For averaged weights, whose statistics are none that training has seen (as PyTorch's ``swa_utils.update_bn``); with
        `ScheduleFreeAdamW` they are those of the average. Layers do what they do in training, dropout and noise included. Nothing
        else changes, and frozen normalisations keep theirs.

        Parameters
        ----------
        X : array_like [rows, in_features]
            As for `fit`, taken in order.
        batch_size : int, default 32
            At least 2. A last batch of a single row is left out.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit. Nothing has changed then.

        Examples
        --------
        >>> X, y = np.random.default_rng(0).normal(3.0, 1.0, size=(200, 4)), np.arange(200) % 2
        >>> model = nn.Sequential(nn.BatchNorm(4), nn.Dense(4, 2))
        >>> opt = optim.Adam(model.parameters(), ema=0.9)
        >>> trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), opt)
        >>> history = trainer.fit(X, y, verbose=0)
        >>> with opt.averaged():
        ...     trainer.update_bn(X)
        ...     scores = trainer.evaluate(X, y)
        >>> bool(abs(model.layers[0].running_mean.data - 3).max() < 0.2)
        True
        """
        from .running_statistics import update_bn

        update_bn(self, X, batch_size)

    # ---- evaluation ----

    @suggesting
    def evaluate(self, X, y, batch_size=None, sample_weight=None, metrics=None) -> dict[str, float]:
        """Loss and, where the loss has one, accuracy on data.

        Parameters
        ----------
        X, y : array_like
            As for `fit`.
        batch_size : int, optional
            Rows that are worked on at once; nothing depends on it (but what a custom loss makes of a batch).
        sample_weight : array_like [rows], optional
            As for `fit`; of the loss, not of the accuracy.
        metrics : list of str and functions, optional
            As for `fit`: over all rows at once, for whose outputs rows · outputs · 4 bytes are kept.

        Returns
        -------
        dict
            {"loss": mean (or sum) of the losses, and penalties, "accuracy": share of right answers, as the loss defines it}, and metrics
            by their names.

        Raises
        ------
        TypeError, ValueError
            If the data does not fit.
        """
        pair = ArrayData(self._model, self._loss, X, y, sample_weight=sample_weight).hold()
        pair.check_labels()
        if batch_size is not None:
            batch_size = count(batch_size, "batch_size", 1)
        metrics = Metrics(metrics, self._model, self._loss)
        metrics.check_targets(pair.y, "y")
        with self._lock:
            self._refresh()
            return self._evaluate(pair, batch_size, metrics)

    # ---- seeing ----

    @suggesting
    def diagnose(self, X, y, sample_weight=None, rows=512) -> "Diagnosis":
        """How units, gradients and weights fare: dead and saturated units, mean and deviation of outputs and gradients, the share of
        zeros, norms of weights, and how much the next step changes them, layer by layer.

        One training step is done on copies of the model and the optimizer, by a plan that is not fused; the trainer stays as it is,
        to the bit. Layers do what they do in training, dropout included.

        Parameters
        ----------
        X, y : array_like
            As for `fit`.
        sample_weight : array_like [rows], optional
            As for `fit`.
        rows : int, default 512
            At most so many rows are looked at, evenly spaced.

        Returns
        -------
        fastnn.training.diagnosis.Diagnosis
            ``print(report)`` shows a table and what is out of the ordinary, ``report.plot()`` draws histograms, ``report["2"]`` has
            the numbers of the layer of that name, and `report.notes` is the list of what is out of the ordinary.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit.
        RuntimeError
            If another thread is using the trainer.

        Examples
        --------
        >>> X, y = data.load_digits()
        >>> model = nn.Sequential(
        ...     nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 50, activation="relu"), nn.Dense(50, 50, activation="relu", init=1.0),
        ...     nn.Dense(50, 10),
        ... )
        >>> model[2].bias.data = [-100] * 20 + [1] * 30
        >>> trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()))
        >>> report = trainer.diagnose(X, y)
        >>> report["2"].dead, report["2"].units, report["4"].dead
        (20, 50, None)
        >>> print(report.notes[0])
        layer 2: 20 of 50 units are dead; a lower rate, or init='he', or leaky_relu, may help
        """
        from .diagnosis import diagnose

        with self._lock:
            self._refresh()
            return diagnose(self, X, y, sample_weight, rows)

    @suggesting
    def find_lr(self, X, y, min_lr=1e-7, max_lr=10.0, steps=200, batch_size=32, sample_weight=None) -> "RateTest":
        """A learning-rate range test: steps at rates that grow from `min_lr` to `max_lr` by a constant factor, until the loss
        explodes. (L. N. Smith, "Cyclical learning rates for training neural networks", 2017.)

        It is done on copies of the model and the optimizer; the trainer stays as it is, to the bit. Where groups of parameters have
        rates of their own, these keep their ratios, and the test's rate is that of the first.

        Parameters
        ----------
        X, y : array_like
            As for `fit`; rows are taken at random, by the trainer's seed.
        min_lr, max_lr : float, default 1e-7 and 10
            Above 0.
        steps : int, default 200
            At least 10.
        batch_size : int, default 32
        sample_weight : array_like [rows], optional
            As for `fit`.

        Returns
        -------
        fastnn.training.find_lr.RateTest
            `suggestion` is the rate where the smoothed loss falls most; ``plot()`` draws loss against rate.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit, or the loss is not finite from the beginning.
        RuntimeError
            If another thread is using the trainer.

        Examples
        --------
        >>> X, y = data.load_digits()
        >>> model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 50, activation="relu"), nn.Dense(50, 10))
        >>> trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters()))
        >>> found = trainer.find_lr(X, y)
        >>> 1e-4 < found.suggestion < 1, trainer.steps_done
        (True, 0)
        """
        from .find_lr import find_lr

        with self._lock:
            self._refresh()
            return find_lr(self, X, y, min_lr, max_lr, steps, batch_size, sample_weight)
