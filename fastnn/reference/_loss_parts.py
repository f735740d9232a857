"""What the losses share: weights, sums over the batch, checks."""

import numpy as np

from ._check import check_array, check_out


def _weighted(losses, weights):
    """Losses times their weights, 0 where those are 0."""
    with np.errstate(all="ignore"):
        return np.where(weights == 0, 0.0, losses * weights.astype(np.float64))


def _weighted_gradient(gradient, weights):
    """As `_weighted`, but the sign of a finite gradient stays with its 0."""
    with np.errstate(all="ignore"):
        product = gradient * weights
    return np.where((weights == 0) & np.isnan(product), 0, product)


def _product(factor, x):
    """factor · x, 0 where the factor is 0 and x infinite."""
    return factor * np.where((factor == 0) & np.isinf(x), 0, x)


def _positive(x):
    return np.where(x <= 0, 0, x)  # NaN is not <= 0 and stays


def _finish(outputs, losses, gradient, out, sample_weight, reduction):
    """(the reduced loss, the gradient scaled into `out`) from the losses of rows and the gradient of their plain sum."""
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be mean or sum, got {reduction!r}")
    batch = len(outputs)
    out = check_out(out, "out", outputs.shape, outputs.dtype)
    with np.errstate(all="ignore"):
        if sample_weight is not None:
            check_array(sample_weight, "sample_weight", outputs.dtype, (batch,))
            losses, gradient = _weighted(losses, sample_weight), _weighted_gradient(gradient, sample_weight[:, None])
        loss = losses.sum() if reduction == "sum" else losses.sum() / batch if batch else np.nan
        out[...] = gradient if reduction == "sum" else gradient / max(batch, 1)
    return float(loss), out


def _parameter(value, name, positive=False):
    value = float(value)
    if not (0 < value < np.inf if positive else 0 <= value < np.inf):
        raise ValueError(f"{name} must be finite and {'> 0' if positive else '>= 0'}, got {value}")
    return value
