"""Eager kernels: batch, layer and RMS normalisation."""

from .. import _native
from ._check import _activation, _eps


def batchnorm_forward(x, weight=None, bias=None, eps=1e-5, activation="identity", out=None, *, alpha=None):
    """Bring each column to mean 0 and variance 1 over the rows: y = f((x - mean) / √(var + eps) · weight + bias).

    S. Ioffe and C. Szegedy, "Batch normalization", 2015. Values far from 0 lose nothing: deviations are taken from the
    column's mean before they are squared. For running averages as PyTorch keeps them, of n rows:
    ``mean = statistics[0] + statistics[1]`` and ``var = statistics[3] * n / (n - 1)``.

    Parameters
    ----------
    x : float32 array [batch, features]
    weight, bias : float32 array [features], optional
        γ and β; 1 and 0 when None.
    eps : float, default 1e-5
    activation : str, default "identity"
        f, a name from `activation_forward`.
    out : float32 array like x, optional
        Receives y; may be x itself.
    alpha : float, optional
        Parameter of the activation.

    Returns
    -------
    y : float32 array like x
    statistics : float32 array [4, features]
        What `batchnorm_backward` needs: the mean, what it lacks of the true mean through its rounding, 1 / √(var + eps),
        and var, the mean square of the deviations.

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, a negative eps, an unknown activation, `out`
        read-only or overlapping an input other than x itself.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> y, statistics = fastnn.kernels.batchnorm_forward(np.float32([[1], [3]]), eps=0.0)
    >>> y.ravel(), statistics[0]
    (array([-1.,  1.], dtype=float32), array([2.], dtype=float32))
    """
    code, alpha = _activation(activation, alpha)
    return _native.batchnorm_forward(x, weight, bias, _eps(eps), code, alpha, out)


def batchnorm_inference(x, mean, var, weight=None, bias=None, eps=1e-5, activation="identity", out=None, *, alpha=None):
    """Normalise by a given mean and variance: y = f((x - mean) / √(var + eps) · weight + bias).

    Parameters
    ----------
    x : float32 array [batch, features]
    mean, var : float32 array [features]
    weight, bias, eps, activation, out, alpha
        As for `batchnorm_forward`.

    Returns
    -------
    y : float32 array like x

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
    code, alpha = _activation(activation, alpha)
    return _native.batchnorm_inference(x, mean, var, weight, bias, _eps(eps), code, alpha, out)


def batchnorm_backward(dy, x, statistics, weight=None, out=None):
    """Gradients of batch normalisation, the statistics being functions of x.

        x̂ = (x - mean) · rstd,    dbias = Σ_rows dy,    dweight = Σ_rows dy x̂
        dx = weight · rstd · (dy - dbias / n - x̂ · dweight / n)

    Parameters
    ----------
    dy : float32 array [batch, features]
        Gradient before the activation.
    x : float32 array like dy
    statistics : float32 array [4, features]
        From `batchnorm_forward`.
    weight : float32 array [features], optional
    out : float32 array like dy, optional
        Receives dx; may be dy itself.

    Returns
    -------
    dx : float32 array like dy
    dweight, dbias : float32 array [features]

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, `out` read-only or overlapping an input other than
        dy itself.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> x, dy = np.float32([[1], [3]]), np.float32([[1], [2]])
    >>> _, statistics = fastnn.kernels.batchnorm_forward(x, eps=0.0)
    >>> dx, dweight, dbias = fastnn.kernels.batchnorm_backward(dy, x, statistics)
    >>> dx.ravel(), dweight, dbias
    (array([0., 0.], dtype=float32), array([1.], dtype=float32), array([3.], dtype=float32))
    """
    return _native.batchnorm_backward(dy, x, statistics, weight, out)


def layernorm_forward(x, weight=None, bias=None, eps=1e-5, activation="identity", out=None, *, alpha=None):
    """Bring each row to mean 0 and variance 1: y = f((x - mean) / √(var + eps) · weight + bias).

    J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", 2016.

    Parameters
    ----------
    x : float32 array [batch, features]
    weight, bias, eps, activation, out, alpha
        As for `batchnorm_forward`.

    Returns
    -------
    y : float32 array like x
    statistics : float32 array [batch, 3]
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
    code, alpha = _activation(activation, alpha)
    return _native.rownorm_forward(x, weight, bias, True, _eps(eps), code, alpha, out)


def layernorm_backward(dy, x, statistics, weight=None, out=None):
    """Gradients of layer normalisation.

        x̂ = (x - mean) · rstd,    g = dy · weight,    dx = rstd · (g - mean(g) - x̂ · mean(g x̂)), means over the row
        dweight = Σ_rows dy x̂,    dbias = Σ_rows dy

    Parameters
    ----------
    dy : float32 array [batch, features]
        Gradient before the activation.
    x : float32 array like dy
    statistics : float32 array [batch, 3]
        From `layernorm_forward`.
    weight : float32 array [features], optional
    out : float32 array like dy, optional
        Receives dx; may be dy itself.

    Returns
    -------
    dx : float32 array like dy
    dweight, dbias : float32 array [features]

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
    return _native.rownorm_backward(dy, x, statistics, weight, True, out)


def rmsnorm_forward(x, weight=None, eps=1e-5, activation="identity", out=None, *, alpha=None):
    """Bring each row to mean square 1: y = f(x / √(mean(x²) + eps) · weight).

    B. Zhang and R. Sennrich, "Root mean square layer normalization", 2019.

    Parameters
    ----------
    x : float32 array [batch, features]
    weight, eps, activation, out, alpha
        As for `batchnorm_forward`.

    Returns
    -------
    y : float32 array like x
    statistics : float32 array [batch, 3]
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
    code, alpha = _activation(activation, alpha)
    return _native.rownorm_forward(x, weight, None, False, _eps(eps), code, alpha, out)


def rmsnorm_backward(dy, x, statistics, weight=None, out=None):
    """Gradients of root mean square normalisation.

        x̂ = x · rstd,    g = dy · weight,    dx = rstd · (g - x̂ · mean(g x̂)), the mean over the row
        dweight = Σ_rows dy x̂

    Parameters
    ----------
    dy, x, statistics, weight, out
        As for `layernorm_backward`; statistics from `rmsnorm_forward`.

    Returns
    -------
    dx : float32 array like dy
    dweight : float32 array [features]

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
    return _native.rownorm_backward(dy, x, statistics, weight, False, out)[:2]
