"""Losses: what a model is trained to make small. Each emits its operation into a plan, which makes the gradient in the same
pass over the outputs.

Conventions that all of them share:

- ``reduction="mean"`` is the mean over the rows of a batch (over all elements, for the losses that compare outputs with targets
  one by one), ``"sum"`` the sum. `evaluate` and the history of `fit` report the same over all the rows that they saw.
- Sample weights, ``fit(..., sample_weight=w)``, multiply each row's loss and gradient, and so do class weights. The losses that
  compare outputs one by one also take one of each output, [rows, outputs]. The mean still
  divides by the number of rows, as in Keras: a row of weight 2 counts as two rows, a batch whose weights are all 0 changes
  nothing, and the parts of a batch add up. PyTorch divides by the sum of the class weights of a batch instead; the two differ
  by the mean weight, so class weights whose mean over the data is 1 give the same on average.
- The metrics, accuracy or none, are not weighted.
- NaN in an output or a target is NaN in the loss; but a row of weight 0 is left out, whatever is in it.
"""

from typing import TYPE_CHECKING

from ..core.lazy import lazily

_NAMES = {
    "base": "Loss",
    "binary": "BinaryCrossEntropy BinaryHinge",
    "cross_entropy": "SoftmaxCrossEntropy",
    "custom": "Custom",
    "elementwise": "Huber MeanAbsoluteError MeanSquaredError Poisson Quantile",
    "multiclass_hinge": "MulticlassHinge",
}

if TYPE_CHECKING:  # the same names for type checkers, which do not run what is below
    from .base import *
    from .binary import *
    from .cross_entropy import *
    from .custom import *
    from .elementwise import *
    from .multiclass_hinge import *
else:
    __getattr__, __dir__, __all__ = lazily(__name__, _NAMES)
