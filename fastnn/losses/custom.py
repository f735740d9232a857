"""A loss of one's own, computed in Python."""

import math
import numbers

import numpy as np

from .base import Loss


def _weight_parameter(function):
    """The name of the parameter that takes a custom loss's sample weights, "" for the third place, None where there is none."""
    import inspect

    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # compiled functions may not tell: they are asked for what they were always asked for
        return ""
    for p in parameters:
        if p.name in ("weights", "sample_weight", "sample_weights") and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
            return p.name
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return ""
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return "" if len(places) > 2 and places[2].default is places[2].empty else None


class Custom(Loss):
    """A loss of one's own, in Python: a function that returns the loss of a batch and its gradient.

    ``function(outputs, targets)`` gets the model's outputs, a float32 array [rows, outputs] of its own, and the batch's rows of
    y as they are, of any dtype and shape; where there are sample weights, they are a third argument, if the function has a
    parameter for them: a third one without a default, or one called weights, sample_weight or sample_weights, which may have
    one. One that has none is refused weights. It returns a pair: the
    loss, a number, best the mean over the rows; and the gradient of that number with respect to the outputs, an array of their
    shape. Both are checked. If it raises, no parameter has changed in that step.

    Compiled code runs up to the function and after it, one batch a call, so that small models train slower than on the
    built-in losses. No accuracy is reported; the losses of batches are averaged, by their rows.

    Parameters
    ----------
    function : callable

    Raises
    ------
    TypeError
        If it cannot be called.

    Examples
    --------
    >>> def quartic(outputs, targets):
    ...     d = outputs - targets
    ...     return (d**4).mean(), 4 * d**3 / d.size
    >>> model = nn.Sequential(nn.Dense(2, 1, init="zeros"))
    >>> fastnn.value_and_grad(model, losses.Custom(quartic), np.ones((2, 2)), np.array([[1.0], [2.0]]))[0]
    8.5
    """

    kinds = ("any",)

    def __init__(self, function) -> None:
        if not callable(function):
            raise TypeError(f"function: expected a function of outputs and targets, got {type(function).__name__}")
        self.function = function
        self._weights = _weight_parameter(function)

    def _settings(self):
        return []

    def __repr__(self):
        return f"Custom({getattr(self.function, '__qualname__', None) or repr(self.function)})"

    def key(self):
        return ("Custom", id(self.function))  # a plan that is kept keeps the function, and so its id

    def check_targets(self, y, outputs, name="y"):
        return "any"

    def emit(self, builder, outputs, kind, weighted=False):
        if weighted and self._weights is None:
            raise TypeError(
                f"sample_weight: expected None for {self!r}, got weights: its function has no parameter for them; give it a third "
                "one, or one called sample_weight"
            )
        builder.host_loss(outputs, self._call)

    def _call(self, outputs, targets, weights):
        shape = outputs.shape
        if weights is None:
            found = self.function(outputs, targets)
        elif self._weights == "":
            found = self.function(outputs, targets, weights)
        else:
            found = self.function(outputs, targets, **{self._weights: weights})
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            got = f"{len(found)} values" if isinstance(found, (tuple, list)) else type(found).__name__
            raise TypeError(f"loss function: expected a pair (loss, gradient), got {got}")
        loss, gradient = found
        if isinstance(loss, np.ndarray) and loss.ndim == 0:
            loss = loss.item()
        if not isinstance(loss, numbers.Real):
            raise TypeError(f"loss function: expected a real number as the loss, got {type(loss).__name__}")
        gradient = np.asarray(gradient)
        if gradient.dtype.kind not in "biuf":
            raise TypeError(f"loss function: expected a gradient of real numbers, got dtype {gradient.dtype}")
        if gradient.shape != shape:
            raise ValueError(f"loss function: expected a gradient of shape {shape}, got {gradient.shape}")
        try:
            loss = float(loss)
        except OverflowError:
            loss = math.inf
        with np.errstate(over="ignore"):
            return loss, gradient.astype(outputs.dtype, copy=False)
