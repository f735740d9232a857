"""Trainer: a model, a loss and an optimizer, compiled into plans and run."""

import operator
import threading
import time
import warnings

import numpy as np

from .. import _native
from ..core.checks import suggesting
from ..core.runtime import get_num_threads
from ..executors import NativeExecutor, ReferenceExecutor
from ..init import check_seed
from ..losses import check_loss
from ..optim import Optimizer
from ..optim.checks import number, positive
from ..plan import Builder
from ..plan.execution_order import choose_schedule
from ..regularizers import check_penalty, emit_penalties, penalized
from .arrays import ArrayData
from .callbacks import check_callbacks, wants_steps
from .checks import check_batch, check_end, check_model, count, warn_not_finite, watched
from .full_batch import FullBatch
from .functional import gradient_plan
from .history import History
from .progress import progress

_SLICE = 0.05  # seconds in one native call: how long Ctrl-C and the progress bar may wait
_BACKENDS = {"native": NativeExecutor, "reference": ReferenceExecutor}


class Trainer:
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
        Set it in a callback to end training after the current epoch.

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

    _penalty = _clip_norm = None
    _training = (None, None)
    _fitting = False

    @suggesting
    def __init__(self, model, loss, optimizer, seed=0, backend="native", clip_norm=None, penalty=None):
        self._model = check_model(model)
        check_loss(loss)
        if not isinstance(optimizer, Optimizer):
            hint = f"; write optim.{optimizer.__name__}(model.parameters())" if isinstance(optimizer, type) else ""
            raise TypeError(f"optimizer: expected an optimizer of fastnn.optim, got {type(optimizer).__name__}{hint}")
        if backend not in _BACKENDS:
            raise ValueError(f"backend: expected 'native' or 'reference', got {backend!r}")
        self._optimizer = optimizer
        self._drop_plans()
        self.penalty = penalty
        self.seed = check_seed(seed)
        self._backend = backend
        self.clip_norm = clip_norm
        self._steps = (0, None)  # of those that are over; the executor that has begun others
        self._again = None  # the executor whose `again` may do the next step
        self.epochs_done = 0
        self.stop_training = False
        self._tensors, self._structure = self._match(), optimizer.structure
        self.loss = loss
        self._parameters = [p for _, p in (*model.named_parameters(), *model.named_buffers())]
        self._note_frozen()
        self._lock = threading.RLock()  # the thread that trains may evaluate in a callback
        self._busy = False  # whether an executor runs, when not even that thread may: the loss is the user's

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

    # ---- what it trains, and how ----

    model = property(operator.attrgetter("_model"))
    optimizer = property(operator.attrgetter("_optimizer"))
    backend = property(operator.attrgetter("_backend"))

    @property
    def loss(self):
        return self._loss

    @loss.setter
    def loss(self, loss):
        if self._fitting:  # its data has been checked for another
            raise RuntimeError("loss: may not be changed while fit runs")
        check_end(self._model, check_loss(loss))
        loss.check_choice(self._model.out_features)
        self._loss = loss
        # what a loss learns from its targets stays while the loss is of the same kind
        if loss.head is not None and not (self._model.head == "signs" and loss.head in ("hinge", "numbers")):
            self._model.head = loss.head
        self._drop_plans()

    @property
    def penalty(self):
        return self._penalty

    @penalty.setter
    def penalty(self, penalty):
        if penalty is not self._penalty:
            self._penalty = check_penalty(penalty)
            self._drop_plans()

    @property
    def clip_norm(self):
        return self._clip_norm

    @clip_norm.setter
    def clip_norm(self, clip_norm):
        clip_norm = positive(clip_norm, "clip_norm")
        if clip_norm != self._clip_norm:
            self._clip_norm = clip_norm
            self._drop_plans()

    def _drop_plans(self):
        before = self._training[1]  # none but this one is ever armed
        self._training = self._evaluation = (None, None)  # (key, executor)
        if before is not None:
            before.disarm()  # also where its step is running

    @property
    def steps_done(self):
        before, running = self._steps
        return before if running is None else before + running.steps_done

    @steps_done.setter
    def steps_done(self, steps):
        executor = self._training[1]
        if executor is not None:
            executor.disarm()
        self._steps = (steps, None)

    def _match(self):
        """The optimizer's tensors with the model's Parameters in place of arrays."""
        by_address = {p.data.__array_interface__["data"][0]: p for p in self._model.parameters()}
        found = []
        for i, (p, states, group) in enumerate(self._optimizer.update_tensors()):
            array = np.asarray(p)
            mine = by_address.get(array.__array_interface__["data"][0])
            if mine is None or mine.shape != array.shape or mine.dtype != array.dtype:
                lacking = f"params[{i}], shape {array.shape}"
                raise ValueError(f"optimizer: expected parameters of the model, got one that it lacks: {lacking}")
            found.append((mine, states, group))
        return tuple(found)

    # ---- plans ----

    def plan(self, batch, kind=None, training=True, fused=True, schedule=None, weighted=0):
        """The plan of a training step, or of an evaluation.

        Parameters
        ----------
        batch : int
            The most rows of a batch.
        kind : {"labels", "rows", "any"}, optional
            How targets stand: integer labels, rows of numbers, or as a custom loss takes them. By default the loss's usual way.
        training : bool, default True
            With backward operations and the optimizer's update.
        fused : bool, default True
            Fused operations; else the plain ones, with the same results.
        schedule : {"rows", "layers"}, optional
            Chosen by size where it is not given.
        weighted : int, default 0
            For calls with sample weights: how many of a row, one or one for each output.

        Returns
        -------
        fastnn.plan.Plan
            ``print(plan.describe())`` shows it.
        """
        kind = self._loss.kinds[0] if kind is None else kind
        if kind not in self._loss.kinds:
            raise ValueError(f"kind: expected {' or '.join(map(repr, self._loss.kinds))} for {self._loss!r}, got {kind!r}")
        builder = Builder(batch, fused, training)
        if training:
            builder.train([p for p, _, _ in self._tensors])
            chosen = [i for i, (p, _, _) in enumerate(self._tensors) if not p.frozen]
            if not chosen:
                raise ValueError("optimizer: expected at least one parameter that is not frozen, got none")
        outputs = self._model.emit_whole(builder)
        self._loss.emit(builder, outputs, kind, weighted)
        if training or self._loss.reduction == "mean":  # to a sum over all batches, `evaluate` adds them once
            emit_penalties(builder, self._model, self._penalty)
        if training:
            builder.differentiate()
            builder.update(self._optimizer.plan_update(self._tensors, self._clip_norm, chosen))
        if schedule is None:
            schedule = choose_schedule(self._model.parameters(), batch, get_num_threads(), updates=training)
        return builder.build(schedule)

    def _executor(self, batch, pair, training):
        key = (batch, pair.kind, pair.weighted)
        held = self._training if training else self._evaluation
        if held[0] != key:
            held = (key, _BACKENDS[self._backend](self.plan(batch, pair.kind, training, weighted=pair.weighted)))
            if training:
                self._training = held
            else:
                self._evaluation = held
        return held[1]

    def _sync(self, executor):
        # The steps that the executor has done count from its return on, not from a line of Python that Ctrl-C may come before.
        if self._steps[1] is not None:
            self._count_steps()
        if self._backend == "native":
            self._optimizer.sync(executor.tensors)
        else:
            executor.set_groups(self._optimizer.group_states())
        done = self._steps[0]
        executor.set_random(self.seed, done)
        self._steps = (done, executor)

    def _note_steps(self, executor):
        """The steps of a call that is over."""
        self._optimizer.take_back(executor)
        self._count_steps()

    def _count_steps(self):
        before, running = self._steps
        if running is not None:
            self._steps = (before + running.steps_done, None)

    # ---- one call at a time ----

    def _enter(self):
        if not self._lock.acquire(False):  # do not wait
            raise RuntimeError("this Trainer is in use: a second call was made while one was running")
        if self._busy:
            self._lock.release()
            raise RuntimeError("this Trainer is in use: expected a loss function that does not call it")
        if self._again is not None:
            self._again.disarm()  # from here on no other thread may step in
            if self._again.busy:
                self._lock.release()
                raise RuntimeError("this Trainer is in use: a second call was made while one was running")
            self._again = None
        if self._frozen != [p.frozen for p in self._parameters]:
            self._note_frozen()
        if self._structure != self._optimizer.structure:  # parameters were added
            try:
                self._refresh()
            except ValueError:
                self._lock.release()
                raise

    def _note_frozen(self):
        """Which parameters are frozen now: plans are made for that."""
        self._frozen, self._least_rows = [p.frozen for p in self._parameters], self._model.least_rows
        self._drop_plans()

    def _refresh(self):
        self._tensors, self._structure = self._match(), self._optimizer.structure
        self._training = (None, None)

    # ---- training ----

    def step(self, xb, yb, sample_weight=None):
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
        again = self._again
        if again is not None and sample_weight is None:
            loss = again.again(xb, yb, self._least_rows, self.seed)
            if loss is not None:
                return loss
        self._enter()
        try:
            key, executor = self._training
            weights = None
            plain = (
                key
                and sample_weight is None
                and not key[2]
                and key[1] != "any"
                and not self._loss.checks_values
                and executor.plain(xb, yb, self._least_rows)
            )
            if not plain:
                batch, kind, weighted = key or (0, None, 0)
                pair = self._batch(xb, yb, sample_weight)
                xb, yb, weights = pair.X, pair.y, pair.weight
                check_batch(self._model, len(xb), "xb")
                self._model.head = self._loss.head_of(yb, self._model.head)
                if len(xb) > batch or pair.kind != kind or pair.weighted != weighted:
                    executor = self._executor(len(xb), pair, True)
            self._sync(executor)
            rates = self._optimizer.rates()
            try:
                self._busy = True
                loss, problem, _ = executor.step(xb, yb, rates, weights)
            except (TypeError, ValueError):
                self._batch(xb, yb, weights)  # says the same under the caller's names
                raise
            finally:
                self._optimizer.take_back(executor)
            if problem:
                self._batch(xb, yb, weights).refuse(problem)
            if plain and not self._fitting:  # else a callback has called, and other threads are to wait
                self._arm(executor)
        finally:
            if self._again is None:  # else they are counted when it is over
                self._count_steps()
            self._busy = False
            self._lock.release()
        return loss

    def _arm(self, executor):
        """After a step: more of its kind need not come the long way, if nothing has changed since it began."""
        version = self._optimizer.repeats()
        same = executor is self._training[1] and self._structure == self._optimizer.structure
        if version is not None and same and executor.arm(version):
            self._again = executor

    def _batch(self, xb, yb, sample_weight):
        return ArrayData(self._model, self._loss, xb, yb, ("xb", "yb", "sample_weight"), sample_weight)

    @suggesting
    def fit(self, X, y, epochs=1, batch_size=32, validation_data=None, shuffle=True, seed=None, drop_last=False,
            check_finite=False, callbacks=None, verbose=1, sample_weight=None):
        """Train for a number of epochs.

        Batches are gathered, and whole steps done, in compiled code without the GIL; Ctrl-C takes effect within about
        50 ms, between two steps.

        Parameters
        ----------
        X : array_like [rows, in_features]
            Of any real dtype; read in place, memory-mapped arrays too. With `nn.Flatten` first, samples of any shape.
        y : array_like
            Targets, as the loss takes them.
        epochs : int, default 1
            0 or more.
        batch_size : int, default 32
            The last batch of an epoch may be smaller.
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
            propagates, and the first step whose loss is not finite gives one RuntimeWarning.
        callbacks : list of callbacks.Callback, optional
        verbose : {0, 1, 2}, default 1
            Nothing, a progress bar, or a line an epoch.
        sample_weight : array_like [rows], optional
            Or [rows, outputs], for the losses that compare outputs one by one. Each at least 0: multiplies the row's loss and
            gradient. See `fastnn.losses` for the convention. What is not finite, or above 1e18, in a row of weight 0 does no
            harm: its loss and gradient are 0, and its inputs count as 0.

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
        epochs, batch_size = count(epochs, "epochs", 0), count(batch_size, "batch_size", 1)
        train, validation = self._fit_data(X, y, sample_weight, validation_data, check_finite)
        callbacks = check_callbacks(callbacks)
        for p in self._optimizer.plateaus:
            watched(p, validation)
        rows = len(train.X)
        batch_size = min(batch_size, rows) if not drop_last else batch_size
        if drop_last:
            rows -= rows % batch_size
            if not rows:
                raise ValueError(f"batch_size: expected at most {len(train.X)} rows with drop_last, got {batch_size}")
        check_batch(self._model, batch_size, "batch_size")
        if rows % batch_size:
            check_batch(self._model, rows % batch_size, "the last batch", "; drop_last=True leaves it out")
        if seed is not None:
            seed = check_seed(seed)
            if self.steps_done and seed != self.seed:
                raise ValueError(f"seed: expected none or {self.seed} once steps have run, got {seed}")
        self._enter()
        display, fitting = None, self._fitting
        try:
            display = progress(verbose, epochs, rows)
            if seed is not None:
                self.seed = seed
            self._model.head = self._loss.head_of(train.y, self._model.head)
            loss = self._loss.balanced(train.y, self._model.out_features)
            if loss is not self._loss:
                self.loss = loss
            self._fitting = True
            return self._fit(train, validation, rows, epochs, batch_size, shuffle, check_finite, callbacks, display)
        finally:
            self._fitting = fitting  # a callback may fit, too
            self._lock.release()
            if display is not None:
                display.close()

    def _fit_data(self, X, y, sample_weight, validation_data, check_finite):
        """What is trained on, and validation data or None, checked."""
        train = ArrayData(self._model, self._loss, X, y, sample_weight=sample_weight).hold()
        train.check_labels()
        validation = None
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
                raise ValueError("validation_data: expected a pair (X, y), or (X, y, sample_weight)")
            names = tuple(f"validation_data[{i}]" for i in range(3))
            validation = ArrayData(self._model, self._loss, *validation_data[:2], names, *validation_data[2:]).hold()
            validation.check_labels()
        if check_finite:
            for pair in (train, validation):
                if pair is not None:
                    pair.check_finite()
        return train, validation

    def _fit(self, train, validation, rows, epochs, batch_size, shuffle, check_finite, callbacks, display):
        history = History()
        self._executor(batch_size, train, True)  # what does not fit shows before anything is called
        stepwise = [c for c in callbacks if wants_steps(c)]
        losses, warned = np.zeros(-(-rows // batch_size)), False
        self.stop_training = False
        for c in callbacks:
            c.trainer = self
            c.on_train_begin()
        for number in range(1, epochs + 1):
            for c in callbacks:
                c.on_epoch_begin(self.epochs_done)
            display.begin(number)
            start = time.perf_counter()
            order = _native.permutation(len(train.X), self.seed, self.epochs_done) if shuffle else None
            loss_sum, correct, done, left_out, skipped = 0.0, 0, 0, 0, self._optimizer.skipped
            while done < rows:
                updates = done // batch_size - (self._optimizer.skipped - skipped)
                result = self._slice(train, order, done, updates, rows, batch_size, check_finite, bool(stepwise), losses)
                loss_sum += result.loss_sum
                correct += result.correct
                left_out += result.left_out
                fresh = min(rows - done, result.steps * batch_size)
                if not (warned or np.isfinite(result.loss_sum)):
                    warned = warn_not_finite(losses[: result.steps], self.epochs_done, done // batch_size)
                done += fresh
                display.advance(fresh, self._logs(loss_sum, correct, done - left_out))
                for c in stepwise:
                    c.on_step_end(self.steps_done, {"loss": self._logs(result.loss_sum, 0, fresh - result.left_out)["loss"]})
            if left_out == rows and not warned:
                warned = warn_not_finite(losses[:0], self.epochs_done, 0)
            logs = {**self._logs(loss_sum, correct, rows - left_out), "seconds": time.perf_counter() - start}
            if validation is not None:
                logs |= {f"val_{k}": v for k, v in self._evaluate(validation, None).items()}
            epoch = self.epochs_done
            self.epochs_done += 1
            history.add(logs)
            display.end(number, logs)
            for p in self._optimizer.plateaus:
                p.step(logs[watched(p, validation)])
            for c in callbacks:
                c.on_epoch_end(epoch, dict(logs))
            if self.stop_training:
                break
        for c in callbacks:
            c.on_train_end()
        return history

    def _logs(self, loss_sum, correct, rows):
        """The numbers of so many rows: the loss, and the accuracy where the loss has one. NaN of none."""
        rows = rows or np.nan
        logs = {"loss": loss_sum if self._loss.reduction == "sum" and rows == rows else loss_sum / rows}
        if self._loss.accurate:
            logs["accuracy"] = correct / (rows * self._loss.units(self._model.out_features))
        return logs

    def _slice(self, pair, order, done, updates, rows, batch_size, check_finite, one, losses):
        """Steps from row `done` of the epoch on, before which there were `updates`, for about _SLICE seconds, or one. Their losses
        go into the array `losses`."""
        if self._structure != self._optimizer.structure:
            self._refresh()
        if self._frozen != [p.frozen for p in self._parameters]:
            self._note_frozen()
        pair.check_memory()
        executor = self._executor(batch_size, pair, True)  # a callback may have changed what it is made of
        last = min(rows, done + batch_size) if one else rows
        x, y, w, index = pair.X, pair.y, pair.weight, None
        if order is None:
            x, y, w = x[done:last], y[done:last], None if w is None else w[done:last]
        else:
            index = order[done:last]
        steps = -(-(last - done) // batch_size)
        self._sync(executor)
        if self._optimizer.has_schedule:
            limit = max(1, int(1.5 * self._steps_per_slice))
            if steps > limit:  # as far as this slice may get
                steps = limit
                last = done + steps * batch_size
                if order is None:
                    x, y, w = x[: last - done], y[: last - done], None if w is None else w[: last - done]
                else:
                    index = order[done:last]
        rates = self._optimizer.rate_table(steps, (self.epochs_done, updates, -(-rows // batch_size)))
        try:
            self._busy = True
            result = executor.run(x, y, index, rates, losses=losses[:steps], check_finite=check_finite, seconds=_SLICE, weights=w)
        finally:
            self._busy = False
            self._note_steps(executor)
        self._steps_per_slice = max(1, result.steps)
        if result.problem:
            begin = done + result.steps * batch_size
            where = np.arange(begin, min(begin + batch_size, rows))
            where = where if order is None else order[where]
            pair.refuse(result.problem, where, int(where[result.row]))
        return result

    _steps_per_slice = 64

    # ---- all rows at once ----

    @suggesting
    def fit_lbfgs(self, X, y, max_iter=100, validation_data=None, *, tol=None, history_size=10, check_finite=False, callbacks=None,
                  verbose=1, sample_weight=None):
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
        max_iter, history_size = count(max_iter, "max_iter", 0), count(history_size, "history_size", 1)
        tol = None if tol is None else number(tol, "tol")
        train, validation = self._fit_data(X, y, sample_weight, validation_data, check_finite)
        callbacks = check_callbacks(callbacks)
        check_batch(self._model, len(train.X), "X")
        if type(self._optimizer).evaluating is not Optimizer.evaluating:
            raise ValueError(
                f"optimizer: expected one that trains the parameters that are evaluated, got {type(self._optimizer).__name__}, which "
                "keeps an average; make a Trainer with another"
            )
        self._enter()
        display = None
        try:
            self._optimizer.group_states()  # refuses where averages stand in the parameters
            parameters = [p for p, _, _ in self._tensors if not p.frozen]
            if not parameters:
                raise ValueError("optimizer: expected at least one parameter that is not frozen, got none")
            display = progress(verbose, max_iter, len(train.X))
            self._model.head = self._loss.head_of(train.y, self._model.head)
            loss = self._loss.balanced(train.y, self._model.out_features)
            if loss is not self._loss:
                self.loss = loss
            plan = gradient_plan(self._model, self._loss, train, penalty=self._penalty, parameters=parameters)
            executor = _BACKENDS[self._backend](plan)
            executor.set_random(self.seed, self.steps_done)
            descent = FullBatch(executor, train, parameters, history_size)
            history = self._fit_lbfgs(descent, train, validation, max_iter, tol, callbacks, display)
        finally:
            self._lock.release()
            if display is not None:
                display.close()
        if descent.outcome and not history.success and descent.iterations < max_iter:
            warnings.warn(f"fit_lbfgs: {history.message}", RuntimeWarning, stacklevel=3)
        return history

    def _fit_lbfgs(self, descent, train, validation, max_iter, tol, callbacks, display):
        history, normalized = History(), self._model.least_rows > 1
        self.stop_training = False
        for c in callbacks:
            c.trainer = self
            c.on_train_begin()
        steps = descent.run(max_iter, tol)
        while not self.stop_training:
            for c in callbacks:
                c.on_epoch_begin(self.epochs_done)
            display.begin(descent.iterations + 1)
            start = time.perf_counter()
            try:
                self._busy = True
                found = next(steps, None)
            finally:
                self._busy = False
            if found is None:
                break
            value, correct, rows = found
            logs = {**self._logs(0.0, correct, rows), "loss": value, "seconds": time.perf_counter() - start}
            if normalized:
                self.update_bn(train.X, len(train.X))
            if validation is not None:
                logs |= {f"val_{k}": v for k, v in self._evaluate(validation, None).items()}
            epoch = self.epochs_done
            self.epochs_done, self.steps_done = epoch + 1, self.steps_done + 1
            history.add(logs)
            display.advance(len(train.X), logs)
            display.end(descent.iterations, logs)
            for c in callbacks:
                c.on_step_end(self.steps_done, {"loss": value})
                c.on_epoch_end(epoch, dict(logs))
        steps.close()
        history.success, history.message = descent.outcome or (False, "stop_training was set")
        for c in callbacks:
            c.on_train_end()
        return history

    # ---- running statistics ----

    def update_bn(self, X, batch_size=32):
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
        X, batch_size = self._model.rows(X), count(batch_size, "batch_size", 1)
        check_batch(self._model, min(len(X), batch_size), "X" if len(X) < batch_size else "batch_size")
        if len(X) % batch_size and len(X) % batch_size < self._model.least_rows:
            X = X[: -(len(X) % batch_size)]
        self._enter()
        try:
            builder = Builder(min(batch_size, len(X)), training=True)
            builder.changing, builder.anew = {id(p) for p, _, _ in self._tensors if not p.frozen}, True
            self._model.emit_whole(builder)
            executor = _BACKENDS[self._backend](builder.build())
            changed = [p for op in executor.plan.ops if op.kind == "batchnorm_running" for p in self._parameters
                       if any(p.data is op.buffers[role].array for role in ("mean", "var"))]
            before, done = [(p, p.data.copy()) for p in changed], 0 if changed else len(X)
            with self._optimizer.evaluating():
                try:
                    for p in changed:
                        p.data[...] = 0  # of the first mean all comes from the first batch, unless this were infinite
                    while done < len(X):
                        executor.set_random(self.seed, done // batch_size)
                        done += executor.run(X[done:], seconds=_SLICE).steps * builder.batch
                except BaseException:
                    for p, values in before:
                        p.data[...] = values
                    raise
        finally:
            self._lock.release()

    # ---- evaluation ----

    @suggesting
    def evaluate(self, X, y, batch_size=None, sample_weight=None):
        """Loss and, where the loss has one, accuracy on data.

        Parameters
        ----------
        X, y : array_like
            As for `fit`.
        batch_size : int, optional
            Rows that are worked on at once; nothing depends on it (but what a custom loss makes of a batch).
        sample_weight : array_like [rows], optional
            As for `fit`; of the loss, not of the accuracy.

        Returns
        -------
        dict
            {"loss": mean (or sum) of the losses, and penalties, "accuracy": share of right answers, as the loss defines it}.

        Raises
        ------
        TypeError, ValueError
            If the data does not fit.
        """
        pair = ArrayData(self._model, self._loss, X, y, sample_weight=sample_weight).hold()
        pair.check_labels()
        if batch_size is not None:
            batch_size = count(batch_size, "batch_size", 1)
        self._enter()
        try:
            return self._evaluate(pair, batch_size)
        finally:
            self._lock.release()

    def _evaluate(self, pair, batch_size):
        batch = min(batch_size or 256, 1 << (len(pair.X) - 1).bit_length())
        executor = self._executor(batch, pair, False)
        loss_sum, correct, done, left_out = 0.0, 0, 0, 0
        with self._optimizer.evaluating():
            while done < len(pair.X):
                pair.check_memory()
                w = None if pair.weight is None else pair.weight[done:]
                try:
                    self._busy = True
                    result = executor.run(pair.X[done:], pair.y[done:], seconds=_SLICE, weights=w)
                finally:
                    self._busy = False
                if result.problem:
                    pair.refuse(result.problem)
                loss_sum += result.loss_sum
                correct += result.correct
                left_out += result.left_out
                done += result.steps * batch
            if self._loss.reduction == "sum":
                loss_sum += sum(r(p) for p, r in penalized(self._model, self._penalty))
        return self._logs(loss_sum, correct, len(pair.X) - left_out)
