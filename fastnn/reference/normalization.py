"""Batch, layer, root mean square and group normalisation, forward and backward.

S. Ioffe and C. Szegedy, "Batch normalization", 2015; J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", 2016;
B. Zhang and R. Sennrich, "Root mean square layer normalization", 2019; Y. Wu and K. He, "Group normalization", 2018. Variances are those of the batch or row itself
(divided by n), about a mean that is corrected once: of values far from 0 nothing is lost. Where their squares overflow they are
made of scaled values; then var itself may be beyond the dtype, and is given as inf.
"""

import numpy as np

from ._check import check_array, check_out
from ._sums import mean_rows, norm_factor, norm_scale, sum_rows
from .activation import activation_forward


def _affine(y, weight, bias):
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _check_affine(x, weight, bias=None):
    for a, name in ((weight, "weight"), (bias, "bias")):
        if a is not None:
            check_array(a, name, x.dtype, (x.shape[1],))


def _check_eps(eps):
    if not 0 <= eps < np.inf:
        raise ValueError(f"eps must be a finite number >= 0, got {eps}")


def _statistics(x, mean_of, eps, centered=True):
    """The mean, what it lacks of the true one, 1 / √(var + eps), and var; `mean_of` an array is its mean over the batch or the row.

    Those whose squares overflow are made again of x times a power of two.
    """
    scale, highest, eps = norm_scale(x.dtype), np.finfo(x.dtype).max, x.dtype.type(eps)

    def moments(x, limit):
        mean = mean_of(x) if centered else np.zeros_like(mean_of(x))
        mean = np.where(np.isfinite(mean), np.clip(mean, -limit, limit), mean)  # its rounding may go beyond all of x
        rest = mean_of(x - mean) if centered else mean
        d = x - mean - rest
        return mean, rest, mean_of(d * d)

    mean, rest, var = moments(x, highest)
    rstd = 1 / np.sqrt(var + eps)
    again = ~np.isfinite(var)
    if again.any():
        scaled_mean, scaled_rest, scaled = moments(x * scale, highest * scale)
        scaled_rstd = np.where(scaled == 0, 1 / np.sqrt(eps) / scale, 1 / np.sqrt(scaled + eps * scale * scale))
        mean = np.where(again, scaled_mean / scale, mean)
        rest = np.where(again, scaled_rest / scale, rest)
        rstd = np.where(again, scaled_rstd * scale, rstd)
        var = np.where(again, scaled / scale / scale, var)
    return mean, rest, rstd, var


def _xhat(x, mean, rest, rstd):
    """(x - mean) · rstd; where the squares overflow all are scaled."""
    factor = norm_factor(rstd)
    return (x * factor - mean * factor - rest * factor) * (rstd / factor)


def batchnorm_forward(x, weight=None, bias=None, eps=1e-5, activation="identity", out=None, *,
                      alpha=None) -> tuple[np.ndarray, np.ndarray]:
    """Bring each column to mean 0 and variance 1 over the rows: y = f((x - mean) / √(var + eps) · weight + bias).

    Parameters
    ----------
    x : float32 or float64 array [batch, features]
    weight, bias : array [features], dtype of x, optional
        γ and β; 1 and 0 when None.
    eps : float, default 1e-5
    activation : str, default "identity"
        f, a name from `activation_forward`.
    out : array like x, optional
        Receives y; may be x itself.
    alpha : float, optional
        Parameter of the activation.

    Returns
    -------
    y : array like x
    statistics : array [4, features], dtype of x
        What `batchnorm_backward` needs: the mean, what it lacks of the true mean through its rounding, 1 / √(var + eps),
        and var, the mean square of the deviations.

    Raises
    ------
    ValueError
        Shapes that do not fit, a negative eps, an unknown activation, `out` of another shape or read-only.
    TypeError
        Dtypes that differ or are neither float32 nor float64.

    Examples
    --------
    >>> batchnorm_forward(np.array([[1.0], [3.0]]), eps=0.0)[0].ravel()
    array([-1.,  1.])
    """
    check_array(x, "x", shape=(None, None))
    _check_affine(x, weight, bias)
    _check_eps(eps)
    out = check_out(out, "out", x.shape, x.dtype)
    with np.errstate(all="ignore"):
        mean, rest, rstd, var = _statistics(x, mean_rows, eps)
        out[...] = _affine(_xhat(x, mean, rest, rstd), weight, bias)
    return activation_forward(out, activation, out, alpha=alpha), np.stack([mean, rest, rstd, var])


def batchnorm_inference(x, mean, var, weight=None, bias=None, eps=1e-5, activation="identity", out=None, *,
                        alpha=None) -> np.ndarray:
    """Normalise by a given mean and variance: y = f((x - mean) / √(var + eps) · weight + bias).

    Parameters
    ----------
    x : float32 or float64 array [batch, features]
    mean, var : array [features], dtype of x
    weight, bias, eps, activation, out, alpha
        As for `batchnorm_forward`.

    Returns
    -------
    y : array like x

    Raises
    ------
    ValueError, TypeError
        As `batchnorm_forward`.

    Examples
    --------
    >>> batchnorm_inference(np.array([[1.0], [3.0]]), np.array([1.0]), np.array([4.0]), eps=0.0).ravel()
    array([0., 1.])
    """
    check_array(x, "x", shape=(None, None))
    check_array(mean, "mean", x.dtype, (x.shape[1],))
    check_array(var, "var", x.dtype, (x.shape[1],))
    _check_affine(x, weight, bias)
    _check_eps(eps)
    out = check_out(out, "out", x.shape, x.dtype)
    with np.errstate(all="ignore"):
        out[...] = _affine((x - mean) / np.sqrt(var + x.dtype.type(eps)), weight, bias)
    return activation_forward(out, activation, out, alpha=alpha)


def batchnorm_backward(dy, x, statistics, weight=None, out=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of batch normalisation, the statistics being functions of x.

        x̂ = (x - mean) · rstd,    dbias = Σ_rows dy,    dweight = Σ_rows dy x̂
        dx = weight · rstd · (dy - dbias / n - x̂ · dweight / n)

    Parameters
    ----------
    dy : float32 or float64 array [batch, features]
        Gradient before the activation.
    x : array like dy
    statistics : array [4, features], dtype of dy
        From `batchnorm_forward`.
    weight : array [features], dtype of dy, optional
    out : array like dy, optional
        Receives dx; may be dy itself.

    Returns
    -------
    dx : array like dy
    dweight, dbias : array [features]

    Raises
    ------
    ValueError
        Shapes that do not fit, `out` of another shape or read-only.
    TypeError
        Dtypes that differ or are neither float32 nor float64.

    Examples
    --------
    >>> x = np.array([[1.0], [3.0]])
    >>> dx, dweight, dbias = batchnorm_backward(np.array([[1.0], [2.0]]), x, batchnorm_forward(x, eps=0.0)[1])
    >>> dx.ravel(), dweight, dbias
    (array([0., 0.]), array([1.]), array([3.]))
    """
    check_array(dy, "dy", shape=(None, None))
    check_array(x, "x", dy.dtype, dy.shape)
    check_array(statistics, "statistics", dy.dtype, (4, dy.shape[1]))
    _check_affine(dy, weight)
    out = check_out(out, "out", dy.shape, dy.dtype)
    with np.errstate(all="ignore"):
        mean, rest, rstd, _ = statistics
        xhat = _xhat(x, mean, rest, rstd)
        dbias, dweight = sum_rows(dy), sum_rows(dy * xhat)
        out[...] = _affine(rstd * (dy - dbias / len(dy) - xhat * (dweight / len(dy))), weight, None)
    return out, dweight, dbias


def _rownorm_forward(x, weight, bias, centered, eps, activation, out, alpha):
    check_array(x, "x", shape=(None, None))
    _check_affine(x, weight, bias)
    _check_eps(eps)
    out = check_out(out, "out", x.shape, x.dtype)
    with np.errstate(all="ignore"):
        mean, rest, rstd, _ = _statistics(x, lambda a: a.mean(axis=1, keepdims=True), eps, centered)
        out[...] = _affine(_xhat(x, mean, rest, rstd), weight, bias)
    return activation_forward(out, activation, out, alpha=alpha), np.concatenate([mean, rest, rstd], axis=1)


def _rownorm_backward(dy, x, statistics, weight, centered, out):
    check_array(dy, "dy", shape=(None, None))
    check_array(x, "x", dy.dtype, dy.shape)
    check_array(statistics, "statistics", dy.dtype, (dy.shape[0], 3))
    _check_affine(dy, weight)
    out = check_out(out, "out", dy.shape, dy.dtype)
    with np.errstate(all="ignore"):
        mean, rest, rstd = statistics.T[:, :, None]
        xhat = _xhat(x, mean, rest, rstd)
        dweight, dbias = sum_rows(dy * xhat), sum_rows(dy)
        g = _affine(dy, weight, None)
        d = g - g.mean(axis=1, keepdims=True) if centered else g
        out[...] = rstd * (d - xhat * (g * xhat).mean(axis=1, keepdims=True))
    return out, dweight, dbias


def _layernorm_backward_input(dy, x, statistics, w):
    return _rownorm_backward(dy, x, statistics, w, True, None)[0]


def _layernorm_backward_weights(dy, x, statistics):
    return _rownorm_backward(dy, x, statistics, None, True, None)[1:]


def _rmsnorm_backward_input(dy, x, statistics, w):
    return _rownorm_backward(dy, x, statistics, w, False, None)[0]


def _rmsnorm_backward_weights(dy, x, statistics):
    return _rownorm_backward(dy, x, statistics, None, False, None)[1:]


def layernorm_forward(x, weight=None, bias=None, eps=1e-5, activation="identity", out=None, *,
                      alpha=None) -> tuple[np.ndarray, np.ndarray]:
    """Bring each row to mean 0 and variance 1: y = f((x - mean) / √(var + eps) · weight + bias).

    Parameters
    ----------
    x : float32 or float64 array [batch, features]
    weight, bias, eps, activation, out, alpha
        As for `batchnorm_forward`.

    Returns
    -------
    y : array like x
    statistics : array [batch, 3], dtype of x
        What `layernorm_backward` needs: of each row the mean, what it lacks of the true mean, and 1 / √(var + eps).

    Raises
    ------
    ValueError, TypeError
        As `batchnorm_forward`.

    Examples
    --------
    >>> layernorm_forward(np.array([[1.0, 3.0]]), eps=0.0)[0]
    array([[-1.,  1.]])
    """
    return _rownorm_forward(x, weight, bias, True, eps, activation, out, alpha)


def layernorm_backward(dy, x, statistics, weight=None, out=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of layer normalisation.

        x̂ = (x - mean) · rstd,    g = dy · weight,    dx = rstd · (g - mean(g) - x̂ · mean(g x̂)), means over the row
        dweight = Σ_rows dy x̂,    dbias = Σ_rows dy

    Parameters
    ----------
    dy : float32 or float64 array [batch, features]
        Gradient before the activation.
    x : array like dy
    statistics : array [batch, 3], dtype of dy
        From `layernorm_forward`.
    weight : array [features], dtype of dy, optional
    out : array like dy, optional
        Receives dx; may be dy itself.

    Returns
    -------
    dx : array like dy
    dweight, dbias : array [features]

    Raises
    ------
    ValueError, TypeError
        As `batchnorm_backward`.

    Examples
    --------
    >>> x = np.array([[1.0, 3.0]])
    >>> layernorm_backward(np.array([[1.0, 2.0]]), x, layernorm_forward(x, eps=0.0)[1])
    (array([[0., 0.]]), array([-1.,  2.]), array([1., 2.]))
    """
    return _rownorm_backward(dy, x, statistics, weight, True, out)


def rmsnorm_forward(x, weight=None, eps=1e-5, activation="identity", out=None, *, alpha=None) -> tuple[np.ndarray, np.ndarray]:
    """Bring each row to mean square 1: y = f(x / √(mean(x²) + eps) · weight).

    Parameters
    ----------
    x : float32 or float64 array [batch, features]
    weight, eps, activation, out, alpha
        As for `batchnorm_forward`.

    Returns
    -------
    y : array like x
    statistics : array [batch, 3], dtype of x
        What `rmsnorm_backward` needs: of each row 0, 0 and 1 / √(mean(x²) + eps).

    Raises
    ------
    ValueError, TypeError
        As `batchnorm_forward`.

    Examples
    --------
    >>> rmsnorm_forward(np.array([[2.0, -2.0]]), eps=0.0)[0]
    array([[ 1., -1.]])
    """
    return _rownorm_forward(x, weight, None, False, eps, activation, out, alpha)


def rmsnorm_backward(dy, x, statistics, weight=None, out=None) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of root mean square normalisation.

        x̂ = x · rstd,    g = dy · weight,    dx = rstd · (g - x̂ · mean(g x̂)), the mean over the row
        dweight = Σ_rows dy x̂

    Parameters
    ----------
    dy, x, statistics, weight, out
        As for `layernorm_backward`; statistics from `rmsnorm_forward`.

    Returns
    -------
    dx : array like dy
    dweight : array [features]

    Raises
    ------
    ValueError, TypeError
        As `batchnorm_backward`.

    Examples
    --------
    >>> x = np.array([[2.0, -2.0]])
    >>> rmsnorm_backward(np.array([[1.0, 1.0]]), x, rmsnorm_forward(x, eps=0.0)[1])
    (array([[0.5, 0.5]]), array([ 1., -1.]))
    """
    return _rownorm_backward(dy, x, statistics, weight, False, out)[:2]


def groupnorm_forward(x, num_groups, weight=None, bias=None, eps=1e-5, activation="identity", out=None, *, alpha=None) -> np.ndarray:
    """Bring each group of channels of each image to mean 0 and variance 1: y = f((x - mean) / √(var + eps) · weight + bias).

    Mean and var are over the group's channels, which stand side by side, and all pixels. Y. Wu and K. He, "Group normalization", 2018.
    With one channel a group it is the instance normalization of D. Ulyanov, A. Vedaldi and V. Lempitsky, 2016.

    Parameters
    ----------
    x : float32 or float64 array [batch, ..., channels]
    num_groups : int
        A divisor of the channels.
    weight, bias : array [channels], dtype of x, optional
        γ and β; 1 and 0 when None.
    eps, activation, out, alpha
        As for `batchnorm_forward`.

    Returns
    -------
    y : array like x

    Raises
    ------
    ValueError, TypeError
        As `batchnorm_forward`; also groups that do not divide the channels.

    Examples
    --------
    >>> x = np.array([[[0.0, 1, 10, 30], [2, 3, 20, 40]]])
    >>> groupnorm_forward(x, 2, eps=0.0).round(2)
    array([[[-1.34, -0.45, -1.34,  0.45],
            [ 0.45,  1.34, -0.45,  1.34]]])
    """
    check_array(x, "x")
    out = check_out(out, "out", x.shape, x.dtype)
    with np.errstate(all="ignore"):
        out[...] = _affine(_groupnorm_forward(x, num_groups, eps)[0], weight, bias)
    return activation_forward(out, activation, out, alpha=alpha)


def _by_groups(x, groups):
    """x [batch, ..., channels] with a row for each group of each image."""
    if groups < 1 or x.shape[-1] % groups:
        raise ValueError(f"num_groups must divide {x.shape[-1]} channels, got {groups}")
    return x.reshape(len(x), -1, groups, x.shape[-1] // groups).swapaxes(1, 2).reshape(len(x) * groups, -1)


def _from_groups(rows, shape, groups):
    """What `_by_groups` makes rows of."""
    return rows.reshape(shape[0], groups, -1, shape[-1] // groups).swapaxes(1, 2).reshape(shape)


def _groupnorm_forward(x, groups, eps):
    """(y without factors and shifts, statistics [batch, 3 groups])"""
    y, statistics = _rownorm_forward(_by_groups(x, groups), None, None, True, eps, "identity", None, None)
    return _from_groups(y, x.shape, groups), statistics.reshape(len(x), -1)


def _groupnorm_backward(dy, x, statistics, groups):
    dx, _, _ = _rownorm_backward(_by_groups(dy, groups), _by_groups(x, groups), statistics.reshape(-1, 3), None, True, None)
    return _from_groups(dx, x.shape, groups)


def groupnorm_backward(dy, x, num_groups, weight=None, eps=1e-5, out=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of group normalisation; means and variances are made anew.

        x̂ = (x - mean) · rstd,    g = dy · weight,    dx = rstd · (g - mean(g) - x̂ · mean(g x̂)), means over the group and the pixels
        dweight = Σ dy x̂,    dbias = Σ dy, over the images and the pixels

    Parameters
    ----------
    dy : float32 or float64 array [batch, ..., channels]
        Gradient before the activation.
    x : array like dy
    num_groups, weight, eps
        As for `groupnorm_forward`.
    out : array like dy, optional
        Receives dx; may be dy itself.

    Returns
    -------
    dx : array like dy
    dweight, dbias : array [channels], dtype of x

    Raises
    ------
    ValueError, TypeError
        As `groupnorm_forward`.

    Examples
    --------
    >>> x, dy = np.array([[[0.0], [2.0]]]), np.array([[[1.0], [2.0]]])
    >>> dx, dweight, dbias = groupnorm_backward(dy, x, 1, eps=0.0)
    >>> dx.ravel(), dweight, dbias
    (array([0., 0.]), array([1.]), array([3.]))
    """
    check_array(dy, "dy")
    check_array(x, "x", dy.dtype, dy.shape)
    out = check_out(out, "out", dy.shape, dy.dtype)
    with np.errstate(all="ignore"):
        normal, statistics = _groupnorm_forward(x, num_groups, eps)
        dweight, dbias = (sum_rows(a.reshape(-1, a.shape[-1])) for a in (dy * normal, dy))
        out[...] = _groupnorm_backward(_affine(dy, weight, None), x, statistics, num_groups)
    return out, dweight, dbias
