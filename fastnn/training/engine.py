"""Engine: what a Trainer is below its methods: one owner of a model, a loss and an optimizer, of the plans made of them, of the counts
of steps and epochs, and of who may call.
"""

import copy
import operator
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _native
from ..core.listing import Listed
from ..core.runtime import get_num_threads
from ..executors import NativeExecutor, ReferenceExecutor
from ..init import check_seed
from ..losses.base import check_loss
from ..optim import Optimizer
from ..optim.checks import positive
from ..plan import Builder
from ..plan.execution_order import choose_schedule
from ..regularizers import check_penalty, emit_penalties, penalized
from .arrays import ArrayData
from .checks import check_end, check_model
from .position import Position
from .together import Alone

if TYPE_CHECKING:
    from ..plan import Plan

SLICE = 0.05  # seconds in one native call: how long Ctrl-C, deadlines and the progress bar may wait
_BACKENDS = {"native": NativeExecutor, "reference": ReferenceExecutor}


def no_cached_step(xb, yb):
    """Where there is none."""


class Engine(Listed):
    """The part of a Trainer that its methods, and those who train for it, work with."""

    _internal = ("data_in_fit", "emit", "loss_so_far", "one_thread", "together")
    together = Alone()  # who trains with it
    history: Any = None
    data_in_fit = None  # the ArrayData that `fit` trains on, while it does
    _one_thread = False
    _penalty = _clip_norm = None
    _training = _evaluation = (None, None)  # (key, executor)
    _rates = None  # see `last_rates`
    _callbacks = ()  # of the last `fit`
    _resumed = None  # what a state that was loaded says of callbacks, until a `fit` takes it

    def __init__(self, model, loss, optimizer, seed, backend, clip_norm, penalty) -> None:
        self._model = check_model(model)
        check_loss(loss)
        if not isinstance(optimizer, Optimizer):
            hint = f"; write optim.{optimizer.__name__}(model.parameters())" if isinstance(optimizer, type) else ""
            raise TypeError(f"optimizer: expected an optimizer of fastnn.optim, got {type(optimizer).__name__}{hint}")
        if backend not in _BACKENDS:
            raise ValueError(f"backend: expected 'native' or 'reference', got {backend!r}")
        self._optimizer = optimizer
        self._lock = optimizer.kernel_state.lock  # the thread that trains may evaluate in a callback
        self._in_fit = _native.Lock("fit")
        self._counter = _native.StepCounter(check_seed(seed))
        self._drop_plans()
        self.penalty = penalty
        self._backend = backend
        self.clip_norm = clip_norm
        # epochs done, the Position in one that has begun, batches that epochs before took of an iterable: one store for all
        self._progress = (0, None, 0)
        self._iterator = None, ()  # the iterator that was drawn from, and what of it was drawn and not taken
        self.stop_training = False
        self._tensors, self._structure = self._match(), optimizer.structure
        self.loss = loss
        self._parameters = [p for _, p in (*model.named_parameters(), *model.named_buffers())]
        for p in self._parameters:
            p.watch(optimizer.kernel_state)
        self._note_frozen()

    # ---- what it trains, and how ----

    model = property(operator.attrgetter("_model"))
    optimizer = property(operator.attrgetter("_optimizer"))
    backend = property(operator.attrgetter("_backend"))

    @property
    def loss(self):
        return self._loss

    @loss.setter
    def loss(self, loss):
        if self._in_fit.held:  # its data has been checked for another
            raise RuntimeError("loss: may not be changed while fit runs")
        self._take_loss(loss)

    def _take_loss(self, loss):
        check_end(self._model, check_loss(loss))
        loss.check_choice(self._model.out_features)
        self._change(_loss=loss)
        # what a loss learns from its targets stays while the loss is of the same kind
        if loss.head is not None and not (self._model.head == "signs" and loss.head in ("hinge", "numbers")):
            self._model.head = loss.head

    @property
    def penalty(self):
        return self._penalty

    @penalty.setter
    def penalty(self, penalty):
        if penalty is not self._penalty:
            self._change(_penalty=check_penalty(penalty))

    @property
    def clip_norm(self):
        return self._clip_norm

    @clip_norm.setter
    def clip_norm(self, clip_norm):
        clip_norm = positive(clip_norm, "clip_norm")
        if clip_norm != self._clip_norm:
            self._change(_clip_norm=clip_norm)

    def _change(self, **settings):
        """Settings that plans are made of: none that is made of others is used from now on."""
        self._drop_plans()
        self.__dict__.update(settings)
        self._drop_plans()

    @property
    def one_thread(self):
        """Whether its native calls keep to one thread, since others train beside it; may be changed between steps."""
        return self._one_thread

    @one_thread.setter
    def one_thread(self, one_thread):
        if bool(one_thread) != self._one_thread:
            self._one_thread = bool(one_thread)
            self._drop_plans()

    def _drop_plans(self):
        self._training = self._evaluation = (None, None)
        self._cached_step = no_cached_step
        self._optimizer.kernel_state.invalidate()  # also where a step is running

    @property
    def seed(self):
        return self._counter.seed

    @seed.setter
    def seed(self, seed):
        self._counter.seed = check_seed(seed)

    @property
    def steps_done(self):
        return self._counter.done

    @steps_done.setter
    def steps_done(self, steps):
        self._counter.done = steps

    @property
    def epochs_done(self):
        return self._progress[0]

    @epochs_done.setter
    def epochs_done(self, epochs):
        self._progress = (epochs, None, self._progress[2])

    @property
    def last_rates(self):
        """The learning rate of each of the optimizer's groups in the last step of `fit`; None before the first."""
        return self._rates

    @property
    def loss_so_far(self):
        """Within `fit`: the sum of the losses of the present epoch's rows so far; 0 between epochs."""
        position = self._progress[1]
        return 0.0 if position is None else position.sums.loss_sum

    def _begin_epoch(self, key):
        """The Position in the epoch that comes: that of the broken-off one, if it went over the same, else a new one."""
        epochs, position, drawn = self._progress
        if position is None or position.key != key:
            if position is not None and position.loaded:
                warnings.warn(
                    f"the checkpoint stands inside an epoch, {position.tally.batches} batches of it done, which went over {position.key}; "
                    f"this fit goes over {key}, and so the epoch begins anew",
                    RuntimeWarning, stacklevel=7,
                )
            position = Position(key)
            self._progress = epochs, position, drawn
        return position

    def _settle(self):
        """The Position of an epoch that has begun and is not over; None where there is none."""
        epochs, position, drawn = self._progress
        if position is not None and not position.sums.batches:
            position = None
            self._progress = epochs, None, drawn
        return position

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

    def plan(self, batch, kind=None, training=True, fused=True, schedule=None, weighted=0, outputs=False, apart=False) -> "Plan":
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
        outputs : bool, default False
            Whether calls can have the model's outputs.
        apart : bool, default False
            The update behind everything else, by itself, as gradients that are accumulated need it.

        Returns
        -------
        fastnn.plan.Plan
            ``print(plan.describe())`` shows it.
        """
        builder = Builder(batch, fused, training, dtype=self._model.dtype)
        builder.apart = apart
        self.emit(builder, kind, weighted, outputs)
        if schedule is None:
            schedule = choose_schedule(self._model.parameters(), batch, 1 if self._one_thread else get_num_threads(), updates=training)
        return builder.build(schedule)

    def emit(self, builder, kind=None, weighted=0, outputs=False):
        """Emit what `plan` makes a plan of, into a builder of one's own: a training step if the builder is for training."""
        kind = self._loss.kinds[0] if kind is None else kind
        if kind not in self._loss.kinds:
            raise ValueError(f"kind: expected {' or '.join(map(repr, self._loss.kinds))} for {self._loss!r}, got {kind!r}")
        training = builder.training
        if training:
            builder.train([p for p, _, _ in self._tensors])
            chosen = [i for i, (p, _, _) in enumerate(self._tensors) if not p.frozen]
            if not chosen:
                raise ValueError("optimizer: expected at least one parameter that is not frozen, got none")
        found = self._model.emit_whole(builder)
        if outputs:
            builder.mark_output(found)
        self._loss.emit(builder, found, kind, weighted)
        if training or self._loss.reduction == "mean":  # to a sum over all batches, `evaluate` adds them once
            emit_penalties(builder, self._model, self._penalty)
        if training:
            builder.differentiate()
            builder.update(self._optimizer.plan_update(self._tensors, self._clip_norm, chosen))

    def copy(self):
        """A Trainer of copies of the model and the optimizer, which stands at the same step and the beginning of the same epoch."""
        model, optimizer = copy.deepcopy((self._model, self._optimizer))
        new = type(self)(model, self._loss, optimizer, self.seed, self._backend, self._clip_norm, self._penalty)
        new.steps_done, new.epochs_done = self.steps_done, self.epochs_done
        return new

    def _executor(self, batch, pair, training, outputs=False, accumulate=1):
        key = (batch, pair.kind, pair.weighted, outputs, accumulate)
        held = self._training if training else self._evaluation
        if held[0] != key:
            apart = training and (accumulate > 1 or self.together.apart)
            settings = {"weighted": pair.weighted, "outputs": outputs, "apart": apart}
            executor = self._new_executor(self.plan(-(-batch // accumulate), pair.kind, training, **settings))
            if apart:
                executor = self.together.accumulating(executor, batch, self._loss.reduction == "mean")
            held = (key, executor)
            if training:
                self._training, self._cached_step = held, no_cached_step
            else:
                self._evaluation = held
        return held[1]

    def _new_executor(self, plan, counter=None):
        executor = _BACKENDS[self._backend](plan, counter=counter or self._counter, lock=self._lock)
        if self._one_thread:
            executor.set_alone()
        return executor

    # ---- what may have changed between calls ----

    def _refresh(self):
        """The parameters that the optimizer has by now, and those that are frozen. By whoever holds the lock."""
        if self._frozen != [p.frozen for p in self._parameters]:
            self._note_frozen()
        if self._structure != self._optimizer.structure:
            structure = self._optimizer.structure
            self._change(_tensors=self._match(), _structure=structure)

    def _note_frozen(self):
        """Which parameters are frozen now: plans are made for that."""
        self._change(_frozen=[p.frozen for p in self._parameters], _least_rows=self._model.least_rows)

    # ---- steps ----

    def _batch(self, xb, yb, sample_weight):
        return ArrayData(self._model, self._loss, xb, yb, ("xb", "yb", "sample_weight"), sample_weight)

    def _trained(self):
        """The parameters that training changes."""
        found = [p for p, _, _ in self._tensors if not p.frozen]
        if not found:
            raise ValueError("optimizer: expected at least one parameter that is not frozen, got none")
        return found

    def _learn_targets(self, y):
        """What model and loss take from the targets of a training."""
        self._model.head = self._loss.head_of(y, self._model.head)
        loss = self._loss.balanced(y, self._model.out_features)
        if loss is not self._loss:
            self._take_loss(loss)

    def _run_part(self, part, clock, check_finite, position, seconds, outputs=None, check_losses=False):
        """The steps of a part of an epoch, or as many as there is time for. clock: for schedules that count epochs; outputs: receives
        the model's outputs of the part's rows, as each step found them; check_losses: it ends before a step of which a row's loss is not
        finite, which changes nothing then; the result's problem says so. Returns the result, and the losses of the steps."""
        self._refresh()
        part.data.check_memory()
        # a callback may have changed what it is made of
        executor = self._executor(part.batch, part.data, True, outputs is not None, part.accumulate)
        self._optimizer.prepare()
        rates, losses = self._optimizer.step_table(part.steps, clock), np.zeros(part.steps)
        executor.check_losses = check_losses
        result = executor.run(part.x, part.y, part.index, rates, losses=losses, check_finite=check_finite,
                              seconds=min(SLICE, seconds), weights=part.weight, out=outputs, tally=position.sums, augment=part.augment)
        if result.steps < part.steps or part.steps > self._steps_per_slice:  # else only the epoch was over
            self._steps_per_slice = max(1, result.steps)
        self._rates = rates[max(0, result.steps - result.skipped - 1), : len(self._optimizer.param_groups)]
        if result.problem and result.problem != "undefined loss":
            part.refuse(result.problem, result.steps, result.row)
        return result, losses[: result.steps]

    def _most_steps(self):
        """The most steps that a call is to be given, where their rates must be worked out before; else None."""
        return int(1.5 * self._steps_per_slice) + 1 if self._optimizer.has_schedule else None

    _steps_per_slice = 64

    def _logs(self, loss_sum, correct, rows):
        """The numbers of so many rows: the loss, and the accuracy where the loss has one. NaN of none."""
        rows = rows or np.nan
        logs = {"loss": loss_sum if self._loss.reduction == "sum" and rows == rows else loss_sum / rows}
        if self._loss.accurate:
            logs["accuracy"] = correct / (rows * self._loss.units(self._model.out_features))
        return logs

    def _refuse_in_fit(self, what):
        if self._in_fit.held:
            raise RuntimeError(f"{what}: expected to be called outside of fit, got a call while it runs")

    def _callback_states(self):
        """(class's name, state) of the callbacks of the last `fit`, or of those that a state was loaded for since."""
        if self._resumed is not None:
            return self._resumed
        return [(type(c).__name__, c.state_dict()) for c in self._callbacks]

    def _go_on_from(self, seed, steps, epochs, drawn, rates, position, callbacks):
        """Go on from there."""
        self.seed, self.steps_done, self._rates = seed, steps, rates
        self._progress = epochs, position, drawn
        self._iterator = "loaded", ()  # one that is not there any more
        self._resumed = callbacks

    # ---- evaluation ----

    def _evaluate(self, pair, batch_size=None, metrics=None):
        """Loss, accuracy where there is one, and metrics of all rows."""
        batch = min(batch_size or 256, 1 << (len(pair.X) - 1).bit_length())
        executor = self._executor(batch, pair, False, bool(metrics))
        outputs = self._room_for_outputs(len(pair.X)) if metrics else None
        sums = _native.Tally()
        with self._optimizer.evaluating():
            while sums.rows < len(pair.X):
                pair.check_memory()
                done = slice(sums.rows, None)
                w, out = (None if a is None else a[done] for a in (pair.weight, outputs))
                result = executor.run(pair.X[done], pair.y[done], seconds=SLICE, weights=w, out=out, tally=sums)
                if result.problem:
                    pair.refuse(result.problem)
            loss_sum = sums.loss_sum
            if self._loss.reduction == "sum":
                loss_sum += sum(r(p) for p, r in penalized(self._model, self._penalty))
        logs = self._logs(loss_sum, sums.correct, sums.rows - sums.left_out)
        return {**logs, **metrics(pair.y, outputs)} if metrics else logs

    def _room_for_outputs(self, rows):
        """An array for the model's outputs of so many rows."""
        return np.empty((rows, self._model.out_features), self._model.dtype)
