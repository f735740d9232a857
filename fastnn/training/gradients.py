"""A check of gradients for users: back-propagation against central differences, both in float64."""

import copy
from typing import NamedTuple

import numpy as np

from ..init import check_seed
from ..losses.base import check_loss
from ..executors import NativeExecutor, ReferenceExecutor
from ..regularizers import check_penalty
from .arrays import ArrayData
from .checks import check_batch, check_end, check_model, count
from .functional import gradient_plan, loss_plan

__all__ = ["Entry", "GradientCheck", "check_gradients"]

_ULPS = 64  # of the loss: what the sums of one evaluation may be off by


class Entry(NamedTuple):
    """One entry of a parameter: what back-propagation and what central differences say of it.

    Attributes
    ----------
    parameter : str
    index : tuple of int
    backpropagation, differences : float
    error : float
        |backpropagation - differences| / max(|backpropagation|, |differences|, floor): see `check_gradients`.
    """

    parameter: str
    index: tuple
    backpropagation: float
    differences: float
    error: float

    def __str__(self):
        where = f"{self.parameter}[{', '.join(map(str, self.index))}]"
        return f"{where}: back-propagation {self.backpropagation:.9g}, differences {self.differences:.9g}, error {self.error:.2g}"


class GradientCheck(NamedTuple):
    """The result of `check_gradients`; true where it passed, and a table when it is printed.

    Attributes
    ----------
    passed : bool
        Whether no entry's error exceeds the tolerance.
    tolerance : float
    loss : float
        In float64, at the parameters as they are.
    errors : dict
        From the name of a parameter to the largest error of its entries.
    checked : dict
        From the name of a parameter to how many of its entries were compared.
    worst : Entry
        The entry with the largest error of all.
    """

    passed: bool
    tolerance: float
    loss: float
    errors: dict
    checked: dict
    worst: Entry

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self):
        width = max(len(name) for name in self.errors)
        lines = [
            f"{name:<{width}}  {self.errors[name]:8.1e}  of {self.checked[name]:,} entries"
            + ("  <-- wrong" if not self.errors[name] <= self.tolerance else "")
            for name in self.errors
        ]
        verdict = "gradients agree" if self.passed else "gradients differ"
        return "\n".join([*lines, f"{verdict} (tolerance {self.tolerance:g}); worst {self.worst}"])


def check_gradients(model, loss, x, y, eps=1e-6, tolerance=1e-5, samples=None, seed=0, penalty=None,
                    sample_weight=None) -> "GradientCheck":
    """Compare the gradients of back-propagation with central differences of the loss, both in float64.

        differences_i = (loss(w + h e_i) - loss(w - h e_i)) / 2h,        h = eps · max(1, |w_i|)
        error_i = |a_i - n_i| / max(|a_i|, |n_i|, floor)

    The floor is where the rounding of the two losses alone would reach the tolerance, so that entries whose gradient is zero
    or drowned by rounding do not count as wrong. An entry that fails is tried again with a tenth and with ten times the
    step, and its smallest error counts: a step that leads across the kink of a relu is no mistake of the gradient. At the
    kink itself (a relu of exactly 0, say from a row of zeros without a bias) there is no derivative to agree on.

    The model computes as in training: batch statistics in batch normalisation, dropout and noise with masks that stay fixed.
    It is the plan of `value_and_grad` that is checked: of a float64 model on the native kernels, of a float32 one by the NumPy
    reference in float64. The model itself does not change.

    Parameters
    ----------
    model : nn.Sequential
    loss : losses.Loss
    x, y : array_like
        A batch and its targets; a few rows are enough. The batch is rounded to the model's dtype as ever.
    eps : float, default 1e-6
        The step.
    tolerance : float, default 1e-5
        The largest error that passes.
    samples : int, optional
        Compare at most so many entries of each parameter, chosen at random, for models where all would take too long: each
        costs two forward passes in NumPy.
    seed : int, default 0
        Of the choice, and of what dropout and noise draw.
    penalty : regularizers.Penalty, optional
        As for `Trainer`: part of the loss.
    sample_weight : array_like [rows], optional
        As for `value_and_grad`.

    Returns
    -------
    GradientCheck
        True or false as a condition, a table when printed; it names the worst entry and each parameter's largest error.

    Raises
    ------
    TypeError, ValueError
        If the batch or an option does not fit.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(4, 5, activation="tanh"), nn.Dense(5, 3))
    >>> x = np.random.default_rng(0).normal(size=(6, 4))
    >>> result = fastnn.check_gradients(model, losses.SoftmaxCrossEntropy(), x, [0, 1, 2] * 2)
    >>> bool(result), sorted(result.errors)
    (True, ['0.bias', '0.weight', '1.bias', '1.weight'])
    """
    for name, value in (("eps", eps), ("tolerance", tolerance)):
        if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)):
            raise TypeError(f"{name}: expected a number, got {value!r}")
        if not 0 < value < 1:
            raise ValueError(f"{name}: expected a number between 0 and 1, got {value}")
    samples = None if samples is None else count(samples, "samples", 1)
    seed = check_seed(seed)
    rng = np.random.default_rng(seed)
    check_end(check_model(model), check_loss(loss))
    if all(p.frozen for p in model.parameters()):
        raise ValueError("model: expected parameters to compare the gradients of, got none")
    batch = ArrayData(model, loss, x, y, ("x", "y", "sample_weight"), sample_weight)
    check_batch(model, len(batch.X), "x")
    native = model.dtype == np.float64
    model = copy.deepcopy(model) if native else model  # whose weights will be moved
    make = NativeExecutor if native else lambda plan: ReferenceExecutor(plan, np.float64)
    executor = make(gradient_plan(model, loss, batch, penalty=check_penalty(penalty)))
    executor.set_random(seed, 0)
    found = np.zeros(1)
    result = executor.run(batch.X, batch.y, losses=found, weights=batch.weight)
    if result.problem:
        batch.refuse(result.problem)
    names = {id(p): g.name for p, g in executor.plan.gradients}
    forward = make(loss_plan(model, loss, batch, penalty=penalty))
    forward.set_random(seed, 0)
    at_weights = float(found[0])

    def loss_now():
        forward.run(batch.X, batch.y, losses=found, weights=batch.weight)
        return found[0]

    noise = _ULPS * 2.0**-52 * max(1.0, abs(at_weights))
    worst, errors, checked = None, {}, {}
    for name, p in model.named_parameters():
        if p.frozen:
            continue
        # p.name is that in the last model that the layer went into
        analytic, w = executor.array(names[id(p)]), p.data if native else forward.parameter(p)
        entries = np.arange(p.size)
        if samples is not None and samples < p.size:
            entries = np.sort(rng.choice(p.size, samples, replace=False))
        checked[name] = len(entries)
        for index in zip(*np.unravel_index(entries, p.shape)):
            entry = None
            for step in (eps, eps / 10, eps * 10):
                tried = _compare(name, index, analytic[index], w, step, loss_now, noise, tolerance)
                entry = tried if entry is None or tried.error < entry.error else entry
                if entry.error <= tolerance:
                    break
            errors[name] = max(errors.get(name, 0.0), entry.error)
            worst = entry if worst is None or entry.error > worst.error else worst
    return GradientCheck(worst.error <= tolerance, float(tolerance), at_weights, errors, checked, worst)


def _compare(name, index, analytic, w, eps, loss_now, noise, tolerance):
    """One entry by one step; the weight is put back, bit for bit."""
    value = w[index]
    h = eps * max(1.0, abs(value))
    w[index] = value + h
    above, loss_above = w[index], loss_now()
    w[index] = value - h
    below, loss_below = w[index], loss_now()
    w[index] = value
    numeric = (loss_above - loss_below) / (above - below)
    scale = max(abs(analytic), abs(numeric), noise / h / tolerance)
    error = abs(analytic - numeric) / scale
    error = float(error) if np.isfinite(error) else np.inf  # NaN or infinity agrees with nothing
    return Entry(name, tuple(int(i) for i in index), float(analytic), float(numeric), error)
