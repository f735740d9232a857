"""Eager kernels: batch, layer, RMS and group normalisation."""

import numpy as np

from .._native import Operation, apart, elements, matrix, new, of_shape, output_like, shape_of, vector
from ..core.checks import check_size
from ._check import _activation, _eps

_NORM, _NORMALIZE = "columns eps activation alpha", "x w b y statistics"
_batchnorm_forward = Operation("batchnorm_forward", _NORMALIZE, f"{_NORM} pixels")
_batchnorm_inference = Operation("batchnorm_inference", "x w b y mean var", f"{_NORM} pixels")
_batchnorm_backward = Operation("batchnorm_backward", "dy x w statistics dx dw db", "columns accumulate pixels")
_groupnorm_forward = Operation("groupnorm_forward", "x y statistics", "columns pixels groups eps")
_groupnorm_backward = Operation("groupnorm_backward", "dy x statistics dx", "columns pixels groups eps")
_ROW_FORWARD = {family: Operation(f"{family}_forward", _NORMALIZE, _NORM) for family in ("layernorm", "rmsnorm")}
_ROW_BACKWARD_INPUT = {f: Operation(f"{f}_backward_input", "dy x w statistics dx", "columns") for f in _ROW_FORWARD}
_ROW_BACKWARD_WEIGHTS = {f: Operation(f"{f}_backward_weights", "dy x statistics dw db", "columns accumulate") for f in _ROW_FORWARD}


def _forward(operation, batch, columns, x, weight, bias, eps, activation, alpha, out, *last, names=(), more=(1,)):
    """y of x [batch, columns]. last: the arrays behind it in the operation's order; names: of those that it reads; more: parameters."""
    code, alpha = _activation(activation, alpha)
    eps = _eps(eps)
    if weight is not None:
        vector(weight, "weight", columns, x)
    if bias is not None:
        vector(bias, "bias", columns, x)
    y = output_like(out, x, "x")
    if out is not None:
        apart(y, "out", (weight, "weight"), (bias, "bias"), *zip(last, names))
    operation.run(batch, (x, weight, bias, y, *last), (columns, eps, code, alpha, *more))
    return y


def _check_backward(dy, x, statistics, weight, out, *shape):
    """dx, and arrays for the gradients of weight and bias; shape: of the statistics."""
    batch, columns = matrix(x, "x")
    matrix(dy, "dy", batch, columns, x)
    matrix(statistics, "statistics", *shape, x)
    if weight is not None:
        vector(weight, "weight", columns, x)
    dx = output_like(out, dy, "dy")
    if out is not None:
        apart(dx, "out", (x, "x"), (statistics, "statistics"), (weight, "weight"))
    return dx, new(x, columns), new(x, columns)


def _row_forward(family, x, weight, bias, eps, activation, alpha, out):
    batch, columns = matrix(x, "x")
    statistics = new(x, batch, 3)
    y = _forward(_ROW_FORWARD[family], batch, columns, x, weight, bias, eps, activation, alpha, out, statistics, more=())
    return y, statistics


def _row_backward(family, dy, x, statistics, weight, out):
    batch, columns = matrix(dy, "dy")
    dx, dweight, dbias = _check_backward(dy, x, statistics, weight, out, batch, 3)
    _ROW_BACKWARD_WEIGHTS[family].run(batch, (dy, x, statistics, dweight, dbias), (columns, False))  # first, since dx may be dy
    _ROW_BACKWARD_INPUT[family].run(batch, (dy, x, weight, statistics, dx), (columns,))
    return dx, dweight, dbias


def batchnorm_forward(x, weight=None, bias=None, eps=1e-5, activation="identity", out=None, *,
                      alpha=None) -> tuple[np.ndarray, np.ndarray]:
    """Bring each column to mean 0 and variance 1 over the rows: y = f((x - mean) / √(var + eps) · weight + bias).

    S. Ioffe and C. Szegedy, "Batch normalization", 2015. Values far from 0 lose nothing: deviations are taken from the
    column's mean before they are squared. For running averages as PyTorch keeps them, of n rows:
    ``mean = statistics[0] + statistics[1]`` and ``var = statistics[3] * n / (n - 1)``.

    Parameters
    ----------
    x : float32 or float64 array [batch, features]
    weight, bias : float32 or float64 array [features], optional
        γ and β; 1 and 0 when None.
    eps : float, default 1e-5
    activation : str, default "identity"
        f, a name from `activation_forward`.
    out : float32 or float64 array like x, optional
        Receives y; may be x itself.
    alpha : float, optional
        Parameter of the activation.

    Returns
    -------
    y : float32 or float64 array like x
    statistics : float32 or float64 array [4, features]
        What `batchnorm_backward` needs: the mean, what it lacks of the true mean through its rounding, 1 / √(var + eps),
        and var, the mean square of the deviations.

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, a negative eps, an unknown activation, `out`
        read-only or overlapping an input other than x itself.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ.

    Examples
    --------
    >>> y, statistics = fastnn.kernels.batchnorm_forward(np.float32([[1], [3]]), eps=0.0)
    >>> y.ravel(), statistics[0]
    (array([-1.,  1.], dtype=float32), array([2.], dtype=float32))
    """
    batch, columns = matrix(x, "x")
    statistics = new(x, 4, columns)
    y = _forward(_batchnorm_forward, batch, columns, x, weight, bias, eps, activation, alpha, out, statistics)
    return y, statistics


def batchnorm_inference(x, mean, var, weight=None, bias=None, eps=1e-5, activation="identity", out=None, *,
                        alpha=None) -> np.ndarray:
    """Normalise by a given mean and variance: y = f((x - mean) / √(var + eps) · weight + bias).

    Parameters
    ----------
    x : float32 or float64 array [batch, features]
    mean, var : float32 or float64 array [features]
    weight, bias, eps, activation, out, alpha
        As for `batchnorm_forward`.

    Returns
    -------
    y : float32 or float64 array like x

    Raises
    ------
    ValueError, TypeError
        As `batchnorm_forward`.

    Examples
    --------
    >>> x, mean, var = np.float32([[1], [3]]), np.float32([1]), np.float32([4])
    >>> fastnn.kernels.batchnorm_inference(x, mean, var, eps=0.0).ravel()
    array([0., 1.], dtype=float32)
    """
    batch, columns = matrix(x, "x")
    vector(mean, "mean", columns, x)
    vector(var, "var", columns, x)
    return _forward(_batchnorm_inference, batch, columns, x, weight, bias, eps, activation, alpha, out, mean, var,
                    names=("mean", "var"))


def batchnorm_backward(dy, x, statistics, weight=None, out=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of batch normalisation, the statistics being functions of x.

        x̂ = (x - mean) · rstd,    dbias = Σ_rows dy,    dweight = Σ_rows dy x̂
        dx = weight · rstd · (dy - dbias / n - x̂ · dweight / n)

    Parameters
    ----------
    dy : float32 or float64 array [batch, features]
        Gradient before the activation.
    x : float32 or float64 array like dy
    statistics : float32 or float64 array [4, features]
        From `batchnorm_forward`.
    weight : float32 or float64 array [features], optional
    out : float32 or float64 array like dy, optional
        Receives dx; may be dy itself.

    Returns
    -------
    dx : float32 or float64 array like dy
    dweight, dbias : float32 or float64 array [features]

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, `out` read-only or overlapping an input other than
        dy itself.
    TypeError
        Not an array, neither float32 nor float64, or dtypes that differ.

    Examples
    --------
    >>> x, dy = np.float32([[1], [3]]), np.float32([[1], [2]])
    >>> _, statistics = fastnn.kernels.batchnorm_forward(x, eps=0.0)
    >>> dx, dweight, dbias = fastnn.kernels.batchnorm_backward(dy, x, statistics)
    >>> dx.ravel(), dweight, dbias
    (array([0., 0.], dtype=float32), array([1.], dtype=float32), array([3.], dtype=float32))
    """
    batch, columns = matrix(dy, "dy")
    dx, dweight, dbias = _check_backward(dy, x, statistics, weight, out, 4, columns)
    _batchnorm_backward.run(batch, (dy, x, weight, statistics, dx, dweight, dbias), (columns, False, 1))
    return dx, dweight, dbias


def layernorm_forward(x, weight=None, bias=None, eps=1e-5, activation="identity", out=None, *,
                      alpha=None) -> tuple[np.ndarray, np.ndarray]:
    """Bring each row to mean 0 and variance 1: y = f((x - mean) / √(var + eps) · weight + bias).

    J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", 2016.

    Parameters
    ----------
    x : float32 or float64 array [batch, features]
    weight, bias, eps, activation, out, alpha
        As for `batchnorm_forward`.

    Returns
    -------
    y : float32 or float64 array like x
    statistics : float32 or float64 array [batch, 3]
        What `layernorm_backward` needs: of each row the mean, what it lacks of the true mean, and 1 / √(var + eps).

    Raises
    ------
    ValueError, TypeError
        As `batchnorm_forward`.

    Examples
    --------
    >>> fastnn.kernels.layernorm_forward(np.float32([[1, 3]]), eps=0.0)[0]
    array([[-1.,  1.]], dtype=float32)
    """
    return _row_forward("layernorm", x, weight, bias, eps, activation, alpha, out)


def layernorm_backward(dy, x, statistics, weight=None, out=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of layer normalisation.

        x̂ = (x - mean) · rstd,    g = dy · weight,    dx = rstd · (g - mean(g) - x̂ · mean(g x̂)), means over the row
        dweight = Σ_rows dy x̂,    dbias = Σ_rows dy

    Parameters
    ----------
    dy : float32 or float64 array [batch, features]
        Gradient before the activation.
    x : float32 or float64 array like dy
    statistics : float32 or float64 array [batch, 3]
        From `layernorm_forward`.
    weight : float32 or float64 array [features], optional
    out : float32 or float64 array like dy, optional
        Receives dx; may be dy itself.

    Returns
    -------
    dx : float32 or float64 array like dy
    dweight, dbias : float32 or float64 array [features]

    Raises
    ------
    ValueError, TypeError
        As `batchnorm_backward`.

    Examples
    --------
    >>> x, dy = np.float32([[1, 3]]), np.float32([[1, 2]])
    >>> _, statistics = fastnn.kernels.layernorm_forward(x, eps=0.0)
    >>> fastnn.kernels.layernorm_backward(dy, x, statistics)[1]
    array([-1.,  2.], dtype=float32)
    """
    return _row_backward("layernorm", dy, x, statistics, weight, out)


def rmsnorm_forward(x, weight=None, eps=1e-5, activation="identity", out=None, *, alpha=None) -> tuple[np.ndarray, np.ndarray]:
    """Bring each row to mean square 1: y = f(x / √(mean(x²) + eps) · weight).

    B. Zhang and R. Sennrich, "Root mean square layer normalization", 2019.

    Parameters
    ----------
    x : float32 or float64 array [batch, features]
    weight, eps, activation, out, alpha
        As for `batchnorm_forward`.

    Returns
    -------
    y : float32 or float64 array like x
    statistics : float32 or float64 array [batch, 3]
        What `rmsnorm_backward` needs: of each row 0, 0 and 1 / √(mean(x²) + eps).

    Raises
    ------
    ValueError, TypeError
        As `batchnorm_forward`.

    Examples
    --------
    >>> fastnn.kernels.rmsnorm_forward(np.float32([[2, -2]]), eps=0.0)[0]
    array([[ 1., -1.]], dtype=float32)
    """
    return _row_forward("rmsnorm", x, weight, None, eps, activation, alpha, out)


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
    dx : float32 or float64 array like dy
    dweight : float32 or float64 array [features]

    Raises
    ------
    ValueError, TypeError
        As `batchnorm_backward`.

    Examples
    --------
    >>> x = np.float32([[2, -2]])
    >>> _, statistics = fastnn.kernels.rmsnorm_forward(x, eps=0.0)
    >>> fastnn.kernels.rmsnorm_backward(np.float32([[1, 1]]), x, statistics)[0]
    array([[0.5, 0.5]], dtype=float32)
    """
    return _row_backward("rmsnorm", dy, x, statistics, weight, out)[:2]


def groupnorm_forward(x, num_groups, weight=None, bias=None, eps=1e-5, activation="identity", out=None, *, alpha=None) -> np.ndarray:
    """Bring each group of channels of each image to mean 0 and variance 1: y = f((x - mean) / √(var + eps) · weight + bias).

    Mean and var are over the group's channels, which stand side by side, and all pixels. Y. Wu and K. He, "Group normalization", 2018.
    With one channel a group it is the instance normalization of D. Ulyanov, A. Vedaldi and V. Lempitsky, 2016.

    Parameters
    ----------
    x : float32 or float64 array [batch, ..., channels]
    num_groups : int
        A divisor of the channels.
    weight, bias : float32 or float64 array [channels], optional
        γ and β; 1 and 0 when None.
    eps, activation, out, alpha
        As for `batchnorm_forward`.

    Returns
    -------
    y : float32 or float64 array like x

    Raises
    ------
    ValueError, TypeError
        As `batchnorm_forward`; also groups that do not divide the channels.

    Examples
    --------
    >>> x = np.array([[[0, 1, 10, 30], [2, 3, 20, 40]]], np.float32)
    >>> fastnn.kernels.groupnorm_forward(x, 2, eps=0.0).round(2)
    array([[[-1.34, -0.45, -1.34,  0.45],
            [ 0.45,  1.34, -0.45,  1.34]]], dtype=float32)
    """
    code, alpha = _activation(activation, alpha)
    sizes = _groups(x, num_groups, weight, bias, _eps(eps))
    y = output_like(out, x, "x")
    if out is not None:
        apart(y, "out", (weight, "weight"), (bias, "bias"))
    _normalize_groups(x, y, sizes)
    if code or weight is not None or bias is not None:
        _scale_channels(y, y, weight, bias, code, alpha)
    return y


def _groups(x, num_groups, weight, bias, eps):
    """(channels, pixels, groups, eps), all checked."""
    size, shape = elements(x, "x"), shape_of(x)
    if len(shape) < 2:
        raise ValueError(f"x: expected 2 dimensions or more, got shape {shape}")
    groups, channels = check_size(num_groups, "num_groups"), shape[-1]
    if channels % groups:
        raise ValueError(f"num_groups: expected a divisor of the {channels} channels, got {groups}")
    for a, name in ((weight, "weight"), (bias, "bias")):
        if a is not None:
            vector(a, name, channels, x)
    return channels, size // shape[0] // channels, groups, eps


def _normalize_groups(x, y, sizes):
    """y without factors and shifts; returns the statistics."""
    rows = shape_of(x)[0]
    statistics = new(x, rows, 3 * sizes[2])
    _groupnorm_forward.run(rows, (np.asarray(x).reshape(rows, -1), np.asarray(y).reshape(rows, -1), statistics), sizes)
    return statistics


def _scale_channels(x, y, weight, bias, code=0, alpha=0.0):
    """y = f(x weight + bias)."""
    channels = shape_of(x)[-1]
    mean, var = new(x, channels), new(x, channels)
    mean[...], var[...] = 0, 1
    arrays = (np.asarray(x).reshape(-1, channels), weight, bias, np.asarray(y).reshape(-1, channels), mean, var)
    _batchnorm_inference.run(elements(x, "x") // channels, arrays, (channels, 0.0, code, alpha, 1))


def groupnorm_backward(dy, x, num_groups, weight=None, eps=1e-5, out=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of group normalisation; means and variances are made anew.

        x̂ = (x - mean) · rstd,    g = dy · weight,    dx = rstd · (g - mean(g) - x̂ · mean(g x̂)), means over the group and the pixels
        dweight = Σ dy x̂,    dbias = Σ dy, over the images and the pixels

    Parameters
    ----------
    dy : float32 or float64 array [batch, ..., channels]
        Gradient before the activation.
    x : float32 or float64 array like dy
    num_groups, weight, eps
        As for `groupnorm_forward`.
    out : float32 or float64 array like dy, optional
        Receives dx; may be dy itself.

    Returns
    -------
    dx : float32 or float64 array like dy
    dweight, dbias : float32 or float64 array [channels]

    Raises
    ------
    ValueError, TypeError
        As `groupnorm_forward`.

    Examples
    --------
    >>> x, dy = np.array([[[0.0], [2.0]]], np.float32), np.array([[[1.0], [2.0]]], np.float32)
    >>> dx, dweight, dbias = fastnn.kernels.groupnorm_backward(dy, x, 1, eps=0.0)
    >>> dx.ravel(), dweight, dbias
    (array([0., 0.], dtype=float32), array([1.], dtype=float32), array([3.], dtype=float32))
    """
    sizes = _groups(x, num_groups, weight, None, _eps(eps))
    of_shape(dy, "dy", shape_of(x), x)
    dx, channels = output_like(out, dy, "dy"), sizes[0]
    if out is not None:
        apart(dx, "out", (x, "x"), (weight, "weight"))
    normal = output_like(None, x, "x")
    statistics = _normalize_groups(x, normal, sizes)
    dweight, dbias = new(x, channels), new(x, channels)
    own = np.repeat(np.array([[0], [0], [1], [1]], normal.dtype), channels, axis=1)  # the statistics of what is normal
    flat = (np.asarray(dy).reshape(-1, channels), normal.reshape(-1, channels))
    _batchnorm_backward.run(len(flat[0]), (*flat, None, own, None, dweight, dbias), (channels, False, 1))
    if weight is not None:
        _scale_channels(dy, dx, weight, None)
    rows = len(statistics)
    arrays = (np.asarray(dx if weight is not None else dy).reshape(rows, -1), np.asarray(x).reshape(rows, -1), statistics)
    _groupnorm_backward.run(rows, (*arrays, np.asarray(dx).reshape(rows, -1)), sizes)
    return dx, dweight, dbias
