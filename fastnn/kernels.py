"""The eager kernels: one operation on NumPy arrays, done by the C kernels on the team of threads.

Each function has a twin of the same name and signature in `fastnn.reference`, which says what it computes. What is
narrower here: data are float32 (optimizers: float32 or float64), arrays are C-contiguous, aligned and not empty, and an
output shares no memory with an input except where its docstring says so. Nothing is copied or cast to fit: an argument
is as it must be, or the error names it, what was expected and what came, before anything is changed.
"""

import operator

import numpy as np

from . import _native
from .activations import ACTIVATIONS, FLOAT32_MAX, FLOAT32_TINY, FORMS, check_activation

__all__ = [
    "activation_backward",
    "activation_forward",
    "adam_update",
    "batchnorm_backward",
    "batchnorm_forward",
    "batchnorm_inference",
    "bias_gradient",
    "binary_cross_entropy",
    "binary_hinge",
    "dense_backward",
    "dense_forward",
    "dropout_backward",
    "dropout_forward",
    "gather",
    "gather_labels",
    "gaussian_noise",
    "huber",
    "layernorm_backward",
    "layernorm_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "maxout_backward",
    "maxout_forward",
    "mean_absolute_error",
    "mean_squared_error",
    "multiclass_hinge",
    "penalty_backward",
    "penalty_forward",
    "permutation",
    "poisson",
    "prelu_backward",
    "prelu_forward",
    "quantile",
    "random_bits",
    "rmsnorm_backward",
    "rmsnorm_forward",
    "sgd_update",
    "softmax_backward",
    "softmax_cross_entropy",
    "softmax_cross_entropy_correct",
    "softmax_cross_entropy_rows",
    "softmax_forward",
]


def __dir__():
    return __all__


_FLOAT32_MAX = float(np.finfo(np.float32).max)
_ROWS_NAMED = 5  # an error names this many rows at most
_RULES = {name: code for code, (name, _) in enumerate(_native.UPDATE_RULES)}


# ---- the dense layer ----


def dense_forward(x, w, b=None, activation="identity", out=None, z=None, *, alpha=None):
    """One dense layer: z = x w + b, y = f(z).

    Each element is one chain of multiply-adds in the order of the inputs, started from the bias (fused on every
    instruction set but ``generic``): a row's result depends neither on the number of threads nor on the rows beside it.

    Parameters
    ----------
    x : float32 array [batch, in]
    w : float32 array [in, out]
    b : float32 array [out], optional
        No bias when None.
    activation : str, default "identity"
        f, a name from `activation_forward`.
    out : float32 array [batch, out], optional
        Receives y.
    z : float32 array [batch, out], optional
        Receives the pre-activation z.
    alpha : float, optional
        Parameter of the activation.

    Returns
    -------
    y : float32 array [batch, out]

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty, not contiguous or overlap an output, an unknown activation, a bad
        alpha, a read-only `out` or `z`.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> x, w, b = np.float32([[1, 2]]), np.float32([[1], [-1]]), np.float32([3])
    >>> fastnn.kernels.dense_forward(x, w, b, activation="relu")
    array([[2.]], dtype=float32)
    """
    code, alpha = _activation(activation, alpha)
    return _native.dense_forward(x, w, b, code, alpha, out, z)


def dense_backward(dy, x, w, saved=None, activation="identity", out=None, *, alpha=None, need_dx=True):
    """Gradients of a dense layer: dz = dy · f', dx = dz wᵀ, dw = xᵀ dz, db = Σ_rows dz.

    (Rumelhart, Hinton & Williams 1986.)

    Parameters
    ----------
    dy : float32 array [batch, out]
        Gradient of the loss with respect to the layer's output.
    x : float32 array [batch, in]
    w : float32 array [in, out]
    saved : float32 array [batch, out], optional
        What the activation saves: the layer's output y, or for gelu, gelu_tanh and silu its z. Identity does not look at it.
    activation : str, default "identity"
    out : tuple (dx, dw, db), optional
        Arrays that receive the gradients; None in a place makes a new array.
    alpha : float, optional
        Parameter of the activation.
    need_dx : bool, default True
        False leaves dx out, as for the first layer of a model.

    Returns
    -------
    dx : float32 array [batch, in], or None when need_dx is False
    dw : float32 array [in, out]
    db : float32 array [out]

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty, not contiguous or overlap an output, an unknown activation, a bad
        alpha, `saved` missing where it is needed, a read-only array in `out`, or a dx in `out` that need_dx=False would
        leave unwritten.
    TypeError
        Not an array, or not float32; an `out` that is not a 3-tuple.

    Examples
    --------
    >>> dy, x, w = np.float32([[1]]), np.float32([[2, 3]]), np.float32([[4], [5]])
    >>> dx, dw, db = fastnn.kernels.dense_backward(dy, x, w)
    >>> dx, dw.T, db
    (array([[4., 5.]], dtype=float32), array([[2., 3.]], dtype=float32), array([1.], dtype=float32))
    """
    code, alpha = _activation(activation, alpha)
    if out is None:
        out = (None, None, None)
    if not isinstance(out, tuple) or len(out) != 3:
        got = f"{len(out)} items" if isinstance(out, tuple) else type(out).__name__
        raise TypeError(f"out: expected None or a tuple (dx, dw, db), got {got}")
    saved = saved if ACTIVATIONS[activation or "identity"].saves else None
    return _native.dense_backward(dy, x, w, saved, code, alpha, *out, bool(need_dx))


def bias_gradient(dy, out=None):
    """Gradient of a bias that was added to every row: db_j = Σ_i dy_ij.

    Rows are summed in chunks of 16 and the chunks then added, always in the same order.

    Parameters
    ----------
    dy : float32 array [batch, out]
    out : float32 array [out], optional
        Receives db.

    Returns
    -------
    db : float32 array [out]

    Raises
    ------
    ValueError
        `dy` that is not two-dimensional, empty or not contiguous; `out` of another shape, read-only or overlapping dy.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> fastnn.kernels.bias_gradient(np.float32([[1, 2], [3, 4]]))
    array([4., 6.], dtype=float32)
    """
    return _native.bias_gradient(dy, out)


# ---- activations and softmax ----


def activation_forward(x, activation, out=None, *, alpha=None):
    """Apply an activation to every element: y = f(x).

    ==========  ==================================================  ===================================
    name        f(x)                                                source
    ==========  ==================================================  ===================================
    identity    x
    sigmoid     1 / (1 + exp(-x))
    tanh        tanh(x)
    relu        0 if x <= 0 else x                                  Nair & Hinton 2010
    leaky_relu  x if x > 0 else alpha · x                           Maas, Hannun & Ng 2013
    elu         x if x >= 0 else alpha · (exp(x) - 1)               Clevert, Unterthiner & Hochreiter 2016
    selu        1.0507… · (x if x >= 0 else 1.6732… · (exp(x) - 1)) Klambauer et al. 2017
    gelu        x · Φ(x), Φ the normal distribution (erf)           Hendrycks & Gimpel 2016
    gelu_tanh   x · (1 + tanh(√(2/π) · (x + 0.044715 · x³))) / 2    Hendrycks & Gimpel 2016
    silu        x · sigmoid(x)                                      Elfwing, Uchibe & Doya 2018
    softplus    log(1 + exp(alpha · x)) / alpha                     Dugas et al. 2001
    hard_tanh   -1 if x < -1 else 1 if x > 1 else x                 Collobert 2004
    ==========  ==================================================  ===================================

    NaN stays NaN in all of them; gelu, gelu_tanh and silu are -0 at minus infinity, their limit.
    Sigmoid and tanh are within 4 ulp of the exact value, gelu within 2^-22 · max(1, |x|).

    Parameters
    ----------
    x : float32 array of any shape
    activation : str
        A name from the table.
    out : float32 array like x, optional
        Receives y; may be x itself.
    alpha : float, optional
        Of leaky_relu the slope for x <= 0, 0.01 by default, and of elu the scale for x < 0, 1 by default: finite and >= 0. Of
        softplus the sharpness, 1 by default: finite and > 0. The others have no parameter and ignore it.

    Returns
    -------
    y : float32 array like x

    Raises
    ------
    ValueError
        Unknown activation, negative or non-finite alpha, arrays that are empty or not contiguous, `out` of another shape,
        read-only, or overlapping a part of x.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> fastnn.kernels.activation_forward(np.float32([-1, 0, 2]), "relu")
    array([0., 0., 2.], dtype=float32)
    """
    code, alpha = _activation(activation, alpha)
    return _native.activation_forward(x, code, alpha, out)


def activation_backward(dy, saved, activation, out=None, *, alpha=None):
    """Carry a gradient back through an activation: dx = dy · f'.

    ==========  ==================================================================
    name        dx, from the output y or, the last three, from the input z
    ==========  ==================================================================
    identity    dy
    sigmoid     dy · (y · (1 - y))
    tanh        dy · (1 - y · y)
    relu        0 if y <= 0 else dy
    leaky_relu  dy if y > 0 else alpha · dy
    elu         dy if y > 0 else dy · (y + alpha)
    selu        dy · (1.0507… if y > 0 else y + 1.7580…)
    softplus    dy · (1 - exp(-alpha · y))
    hard_tanh   0 if |y| >= 1 else dy
    gelu        dy · (Φ(z) + z · φ(z)), φ the normal density
    gelu_tanh   dy · (s + z · s · (1 - s) · v'), s = sigmoid(v), v = 2√(2/π) · (z + 0.044715 · z³)
    silu        dy · (s + z · s · (1 - s)), s = sigmoid(z)
    ==========  ==================================================================

    Parameters
    ----------
    dy : float32 array of any shape
        Gradient of the loss with respect to y.
    saved : float32 array like dy, or None
        What the activation saves: the output y of `activation_forward`; for gelu, gelu_tanh and silu its input. Identity needs
        nothing and does not look at it.
    activation : str
        The name given to `activation_forward`.
    out : float32 array like dy, optional
        Receives dx; may be dy or saved itself.
    alpha : float, optional
        The slope given to `activation_forward`.

    Returns
    -------
    dx : float32 array like dy

    Raises
    ------
    ValueError
        Unknown activation, negative or non-finite alpha, arrays that are empty or not contiguous, `saved` missing or of
        another shape, `out` of another shape, read-only, or overlapping a part of an input.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> fastnn.kernels.activation_backward(np.float32([1, 1]), np.float32([0, 2]), "relu")
    array([0., 1.], dtype=float32)
    """
    code, alpha = _activation(activation, alpha)
    if not ACTIVATIONS[activation or "identity"].saves:
        saved = dy
    elif saved is None:
        what = "output" if ACTIVATIONS[activation].saves == "y" else "input"
        raise ValueError(f"saved: expected the {what} of {activation}, got None")
    return _native.activation_backward(dy, saved, code, alpha, out)


def prelu_forward(x, slope, out=None):
    """PReLU, a leaky ReLU whose slope is learned: y = x if x > 0 else slope · x.

    (He, Zhang, Ren & Sun 2015.)

    Parameters
    ----------
    x : float32 array [batch, features]
    slope : float32 array [features] or [1]
        One for every feature, or one for all.
    out : float32 array like x, optional
        Receives y; may be x itself.

    Returns
    -------
    y : float32 array like x

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, `out` read-only or overlapping a part of an input.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> fastnn.kernels.prelu_forward(np.float32([[-1, 2]]), np.float32([0.25]))
    array([[-0.25,  2.  ]], dtype=float32)
    """
    return _native.prelu_forward(x, slope, out)



def prelu_backward(dy, x, slope, out=None):
    """Gradients of PReLU: dx = dy if x > 0 else slope · dy; dslope = Σ_rows dy · (0 if x > 0 else x).

    Parameters
    ----------
    dy : float32 array [batch, features]
        Gradient of the loss with respect to y.
    x : float32 array like dy
        The input of `prelu_forward`.
    slope : float32 array [features] or [1]
        With one slope for all, dslope is the sum over the features too.
    out : tuple (dx, dslope), optional
        Arrays that receive the gradients; None in a place makes a new array. dx may be dy or x.

    Returns
    -------
    dx : float32 array like dy
    dslope : float32 array like slope

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, a read-only or overlapping array in `out`.
    TypeError
        Not an array, or not float32; an `out` that is not a pair.

    Examples
    --------
    >>> fastnn.kernels.prelu_backward(np.float32([[1, 1]]), np.float32([[-2, 3]]), np.float32([0.25]))
    (array([[0.25, 1.  ]], dtype=float32), array([-2.], dtype=float32))
    """
    if out is None:
        out = (None, None)
    if not isinstance(out, tuple) or len(out) != 2:
        got = f"{len(out)} items" if isinstance(out, tuple) else type(out).__name__
        raise TypeError(f"out: expected None or a tuple (dx, dslope), got {got}")
    return _native.prelu_backward(dy, x, slope, *out)


def softmax_forward(x, out=None):
    """Softmax of each row: y_ij = exp(x_ij - m_i) / Σ_k exp(x_ik - m_i), m_i = max_k x_ik.

    (Bridle 1990.) A row that holds a NaN or +inf, or nothing but -inf, has no softmax and is NaN throughout.

    Parameters
    ----------
    x : float32 array [batch, classes]
    out : float32 array like x, optional
        Receives y; may be x itself.

    Returns
    -------
    y : float32 array like x
        Each row sums to 1, up to rounding.

    Raises
    ------
    ValueError
        `x` that is not two-dimensional, empty or not contiguous; `out` of another shape, read-only, or overlapping a part
        of x.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> fastnn.kernels.softmax_forward(np.float32([[0, 0], [1000, 0]]))
    array([[0.5, 0.5],
           [1. , 0. ]], dtype=float32)
    """
    return _native.softmax_forward(x, out)


def softmax_backward(dy, y, out=None):
    """Carry a gradient back through softmax: dx_ij = y_ij · (dy_ij - Σ_k dy_ik · y_ik).

    Parameters
    ----------
    dy : float32 array [batch, classes]
        Gradient of the loss with respect to y.
    y : float32 array like dy
        The output of `softmax_forward`.
    out : float32 array like dy, optional
        Receives dx; may be dy or y itself.

    Returns
    -------
    dx : float32 array like dy

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, `out` read-only or overlapping a part of an input.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> fastnn.kernels.softmax_backward(np.float32([[1, 0]]), np.float32([[0.5, 0.5]]))
    array([[ 0.25, -0.25]], dtype=float32)
    """
    return _native.softmax_backward(dy, y, out)


def log_softmax_forward(x, out=None):
    """Logarithm of the softmax of each row: y_ij = x_ij - m_i - log Σ_k exp(x_ik - m_i), m_i = max_k x_ik.

    A row that holds a NaN or +inf, or nothing but -inf, is NaN throughout.

    Parameters
    ----------
    x : float32 array [batch, classes]
    out : float32 array like x, optional
        Receives y; may be x itself.

    Returns
    -------
    y : float32 array like x

    Raises
    ------
    ValueError
        `x` that is not two-dimensional, empty or not contiguous; `out` of another shape, read-only, or overlapping a part of x.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> fastnn.kernels.log_softmax_forward(np.float32([[0, 0], [1000, 0]])).round(3).tolist()
    [[-0.6930000185966492, -0.6930000185966492], [0.0, -1000.0]]
    """
    return _native.log_softmax_forward(x, out)


def log_softmax_backward(dy, y, out=None):
    """Carry a gradient back through log-softmax: dx_ij = dy_ij - exp(y_ij) · Σ_k dy_ik.

    Parameters
    ----------
    dy : float32 array [batch, classes]
        Gradient of the loss with respect to y.
    y : float32 array like dy
        The output of `log_softmax_forward`.
    out : float32 array like dy, optional
        Receives dx; may be dy or y itself.

    Returns
    -------
    dx : float32 array like dy

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, `out` read-only or overlapping a part of an input.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> fastnn.kernels.log_softmax_backward(np.float32([[1, 0]]), np.log(np.float32([[0.5, 0.5]]))).round(6)
    array([[ 0.5, -0.5]], dtype=float32)
    """
    return _native.log_softmax_backward(dy, y, out)


# ---- losses ----


def softmax_cross_entropy(logits, targets, out=None, *, label_smoothing=0.0, class_weight=None, sample_weight=None,
                          reduction="mean"):
    """Softmax cross entropy of a batch, and its gradient with respect to the logits.

    With lse_i = log Σ_k exp(z_ik) and s = label_smoothing,

        t'_ij = class_weight_j · ((1 - s) · t_ij + s / classes)
        loss = 1/batch · Σ_i sample_weight_i · Σ_j t'_ij · (lse_i - z_ij),        terms with t'_ij = 0 count 0
        dlogits_ij = (softmax(z)_ij · Σ_k t'_ik - t'_ij) · sample_weight_i / batch

    (Bishop 2006, equations 4.108 and 4.109; label smoothing: Szegedy et al. 2016.) A class number c stands for the row with
    t_ic = 1 and zeros elsewhere. With class weights the mean divides by the number of rows; PyTorch divides by the sum of the
    targets' weights.

    Parameters
    ----------
    logits : float32 array [batch, classes]
        z, before any softmax.
    targets : integer array [batch], or float32 array [batch, classes]
        Class numbers in [0, classes), of any integer dtype; or t, whose rows need not sum to 1.
    out : float32 array like logits, optional
        Receives dlogits; may be logits itself.
    label_smoothing : float, default 0.0
        From 0 to 1.
    class_weight : float32 array [classes], optional
    sample_weight : float32 array [batch], optional
    reduction : {"mean", "sum"}, default "mean"
        "sum" leaves out the division by batch.

    Returns
    -------
    loss : float
        Summed in double, in the same order whatever the number of threads.
    dlogits : float32 array like logits

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, a class number out of range (the first is named), `out`
        read-only or overlapping an input other than logits itself, a parameter out of range.
    TypeError
        Logits that are not float32, targets that are neither integers nor float32 rows.

    Examples
    --------
    >>> loss, dlogits = fastnn.kernels.softmax_cross_entropy(np.float32([[0, 0]]), np.array([1]))
    >>> round(loss, 6), dlogits
    (0.693147, array([[ 0.5, -0.5]], dtype=float32))
    """
    found = _cross_entropy(logits, targets, out, label_smoothing, class_weight, sample_weight, reduction)
    return _reduced(found, reduction)


def softmax_cross_entropy_rows(logits, targets):
    """Softmax cross entropy of each row: loss_i = Σ_j t_ij · (lse_i - z_ij).

    Parameters
    ----------
    logits, targets
        As for `softmax_cross_entropy`.

    Returns
    -------
    losses : float64 array [batch]

    Raises
    ------
    ValueError, TypeError
        As `softmax_cross_entropy`.

    Examples
    --------
    >>> fastnn.kernels.softmax_cross_entropy_rows(np.float32([[0, 0], [1000, 0]]), np.array([1, 1])).round(3)
    array([6.93e-01, 1.00e+03])
    """
    return _cross_entropy(logits, targets)[0]


def softmax_cross_entropy_correct(logits, targets):
    """Number of rows whose largest logit stands at the target.

    Of equal logits the first counts, and so does the first of equal probabilities in a row of t. A row with a NaN, in the
    logits or in t, is not correct.

    Parameters
    ----------
    logits, targets
        As for `softmax_cross_entropy`.

    Returns
    -------
    correct : int

    Raises
    ------
    ValueError, TypeError
        As `softmax_cross_entropy`.

    Examples
    --------
    >>> fastnn.kernels.softmax_cross_entropy_correct(np.float32([[1, 2], [1, 1]]), np.array([1, 1]))
    1
    """
    return int(np.count_nonzero(_cross_entropy(logits, targets)[2]))


def mean_squared_error(outputs, targets, out=None, *, sample_weight=None, reduction="mean"):
    """Mean squared error: loss = mean of (z - t)², gradient 2 (z - t) / (batch · columns).

    Parameters
    ----------
    outputs : float32 array [batch, columns]
        z.
    targets : float32 array like outputs
        t.
    out : float32 array like outputs, optional
        Receives the gradient; may be outputs itself.
    sample_weight : float32 array [batch] or [batch, columns], optional
        Of the rows, or of each output; the mean is over all of them all the same.
    reduction : {"mean", "sum"}, default "mean"
        The mean or the sum over all elements.

    Returns
    -------
    loss : float
    gradient : float32 array like outputs

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, `out` read-only or overlapping an input other than the
        first itself, another reduction.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> loss, gradient = fastnn.kernels.mean_squared_error(np.float32([[1], [2]]), np.float32([[1], [4]]))
    >>> loss, gradient.tolist()
    (2.0, [[0.0], [-2.0]])
    """
    return _elementwise("squared", outputs, targets, out, sample_weight, reduction)


def mean_absolute_error(outputs, targets, out=None, *, sample_weight=None, reduction="mean"):
    """Mean absolute error: loss = mean of |z - t|, gradient sign(z - t) / (batch · columns), 0 where z = t.

    Parameters
    ----------
    outputs, targets, out, sample_weight, reduction
        As for `mean_squared_error`.

    Returns
    -------
    loss, gradient
        As of `mean_squared_error`.

    Raises
    ------
    ValueError, TypeError
        As `mean_squared_error`.

    Examples
    --------
    >>> loss, gradient = fastnn.kernels.mean_absolute_error(np.float32([[1], [2]]), np.float32([[1], [4]]))
    >>> loss, gradient.tolist()
    (1.0, [[0.0], [-0.5]])
    """
    return _elementwise("absolute", outputs, targets, out, sample_weight, reduction)


def huber(outputs, targets, out=None, *, delta=1.0, sample_weight=None, reduction="mean"):
    """Huber's loss, with d = z - t: mean of d² / 2 where |d| <= delta, else delta · (|d| - delta / 2).

    The gradient is d, held to [-delta, delta], / (batch · columns). (Huber 1964.)

    Parameters
    ----------
    outputs, targets, out, sample_weight, reduction
        As for `mean_squared_error`.
    delta : float, default 1.0
        Finite and > 0.

    Returns
    -------
    loss, gradient
        As of `mean_squared_error`.

    Raises
    ------
    ValueError, TypeError
        As `mean_squared_error` and if delta is out of range.

    Examples
    --------
    >>> loss, gradient = fastnn.kernels.huber(np.float32([[1.5], [2]]), np.float32([[1], [4]]))
    >>> loss, gradient.tolist()
    (0.8125, [[0.25], [-0.5]])
    """
    delta = _parameter(delta, "delta", positive=True)
    return _elementwise("huber", outputs, targets, out, sample_weight, reduction, delta)


def quantile(outputs, targets, out=None, *, quantile=0.5, sample_weight=None, reduction="mean"):
    """Quantile (pinball) loss, with d = z - t and the quantile τ: mean of (1 - τ) · d where d > 0, else τ · |d|.

    The gradient is 1 - τ where d > 0, -τ where d < 0, and 0 where d = 0, / (batch · columns). The loss is least where a share τ
    of the targets is below z. (Koenker & Bassett 1978.)

    Parameters
    ----------
    outputs, targets, out, sample_weight, reduction
        As for `mean_squared_error`.
    quantile : float or sequence of columns floats, default 0.5
        τ, above 0 and below 1; for all columns, or one for each.

    Returns
    -------
    loss, gradient
        As of `mean_squared_error`.

    Raises
    ------
    ValueError, TypeError
        As `mean_squared_error` and if a quantile is out of range.

    Examples
    --------
    >>> z, t = np.float32([[1], [2]]), np.float32([[0], [4]])
    >>> loss, gradient = fastnn.kernels.quantile(z, t, quantile=0.25)
    >>> loss, gradient.tolist()
    (0.625, [[0.375], [-0.125]])
    """
    _native.check_array(outputs, "outputs", np.float32, 2)
    below = np.empty(outputs.shape[1], np.float32)
    try:
        below[...] = quantile
    except (TypeError, ValueError):
        raise ValueError(f"quantile: expected a number, or {len(below)} of them, one for each column, got {quantile!r}") from None
    if not ((below > 0) & (below < 1)).all():
        raise ValueError(f"quantile: expected numbers above 0 and below 1, got {quantile!r}")
    sides = np.stack([np.float32(1) - below, below])
    return _elementwise("quantile", outputs, targets, out, sample_weight, reduction, 0.0, sides)


def poisson(outputs, targets, out=None, *, log_input=True, full=False, eps=1e-8, sample_weight=None, reduction="mean"):
    """Negative log-likelihood of counts t under Poisson distributions.

        log_input:  mean of exp(z) - t · z                gradient (exp(z) - t) / (batch · columns)
        else        mean of z - t · log(z + eps)          gradient (1 - t / (z + eps)) / (batch · columns)

    log t! does not depend on z and is left out; with `full`, Stirling's t log t - t + log(2 π t) / 2 is added for t > 1. A
    rate z + eps below 0 is none: NaN in the loss and in the gradient.

    Parameters
    ----------
    outputs, targets, out, sample_weight, reduction
        As for `mean_squared_error`.
    log_input : bool, default True
        Whether z is the logarithm of the rate.
    full : bool, default False
    eps : float, default 1e-8
        Where z is the rate itself: finite and >= 0.

    Returns
    -------
    loss, gradient
        As of `mean_squared_error`.

    Raises
    ------
    ValueError, TypeError
        As `mean_squared_error` and if eps is out of range.

    Examples
    --------
    >>> fastnn.kernels.poisson(np.float32([[0]]), np.float32([[3]]))
    (1.0, array([[-2.]], dtype=float32))
    """
    form, eps = "poisson_log" if log_input else "poisson", _parameter(eps, "eps")
    return _elementwise(form, outputs, targets, out, sample_weight, reduction, eps, full=bool(full))


def binary_cross_entropy(logits, targets, out=None, *, class_weight=None, sample_weight=None, reduction="mean"):
    """Sigmoid followed by cross-entropy, of one or many yes-or-no questions at once.

        loss = mean of  p · t · log(1 + exp(-z)) + q · (1 - t) · log(1 + exp(z))
        gradient = ((p · t + q · (1 - t)) · sigmoid(z) - p · t) / (batch · columns)

    computed so that no finite logit overflows; infinite ones have the limits. q and p are the weights of class 0 and class 1, 1
    by default.

    Parameters
    ----------
    logits : float32 array [batch, columns]
        z, before any sigmoid.
    targets : float32 array like logits
        t: 0, 1, or probabilities.
    out : float32 array like logits, optional
        Receives the gradient; may be logits itself.
    class_weight : float32 array [2, columns], optional
        q, then p, for each column.
    sample_weight : float32 array [batch] or [batch, columns], optional
    reduction : {"mean", "sum"}, default "mean"

    Returns
    -------
    loss : float
    gradient : float32 array like logits

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, `out` read-only or overlapping an input other than the
        first itself, another reduction.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> loss, gradient = fastnn.kernels.binary_cross_entropy(np.float32([[0]]), np.float32([[1]]))
    >>> round(loss, 6), gradient
    (0.693147, array([[-0.5]], dtype=float32))
    """
    return _elementwise("binary_entropy", logits, targets, out, sample_weight, reduction, 0.0, class_weight, name="logits")


def binary_hinge(outputs, targets, out=None, *, margin=1.0, squared=False, class_weight=None, sample_weight=None,
                 reduction="mean"):
    """Hinge loss of a support vector machine: mean of max(0, margin - s · z), or of its square; s = 1 where t > 0, else -1.

    The gradient is -s (or -2 s (margin - s · z)) / (batch · columns) where the margin is missed, else 0; each element times
    the weight of its class. (Cortes & Vapnik 1995; squared: Tang 2013.)

    Parameters
    ----------
    outputs : float32 array [batch, columns]
        z.
    targets : float32 array like outputs
        t: 1 or above for one class, 0 or -1 for the other.
    out : float32 array like outputs, optional
        Receives the gradient; may be outputs itself.
    margin : float, default 1.0
        Finite and >= 0.
    squared : bool, default False
    class_weight : float32 array [2, columns], optional
        Of the class with t <= 0, then of the one with t > 0.
    sample_weight : float32 array [batch] or [batch, columns], optional
    reduction : {"mean", "sum"}, default "mean"

    Returns
    -------
    loss : float
    gradient : float32 array like outputs

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, a margin out of range, `out` read-only or overlapping an
        input other than outputs itself, another reduction.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> loss, gradient = fastnn.kernels.binary_hinge(np.float32([[0.5], [3]]), np.float32([[1], [1]]))
    >>> loss, gradient.ravel() + 0
    (0.25, array([-0.5,  0. ], dtype=float32))
    """
    form, margin = "squared_hinge" if squared else "hinge", _parameter(margin, "margin")
    return _elementwise(form, outputs, targets, out, sample_weight, reduction, margin, class_weight)


def multiclass_hinge(outputs, targets, out=None, *, margin=1.0, squared=False, class_weight=None, sample_weight=None,
                     reduction="mean"):
    """Hinge loss over classes: loss_i = Σ_{j ≠ y} max(0, z_ij - z_iy + margin), or the sum of the squares; their mean over rows.

    The gradient at j ≠ y is 1 (or twice the missing margin) where the margin is missed, and at y minus the sum of those, each
    / batch. (Weston & Watkins 1999. Not divided by the number of classes, as PyTorch's MultiMarginLoss does.)

    Parameters
    ----------
    outputs : float32 array [batch, classes]
        z.
    targets : integer array [batch]
        Class numbers y in [0, classes).
    out : float32 array like outputs, optional
        Receives the gradient; may be outputs itself.
    margin : float, default 1.0
        Finite and >= 0.
    squared : bool, default False
    class_weight : float32 array [classes], optional
        Of the row's class.
    sample_weight : float32 array [batch], optional
    reduction : {"mean", "sum"}, default "mean"

    Returns
    -------
    loss : float
    gradient : float32 array like outputs

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, a class number or a margin out of range, `out` read-only
        or overlapping an input other than outputs itself, another reduction.
    TypeError
        Outputs that are not float32, targets that are no integers.

    Examples
    --------
    >>> loss, gradient = fastnn.kernels.multiclass_hinge(np.float32([[3.2, 5.1, -1.7]]), np.array([0]))
    >>> round(loss, 6), gradient
    (2.9, array([[-1.,  1.,  0.]], dtype=float32))
    """
    form, margin = "squared_hinge" if squared else "hinge", _parameter(margin, "margin")
    _native.check_array(outputs, "outputs", np.float32, 2)
    _require_array(targets, "targets")
    if targets.dtype.kind not in "iu" or not targets.dtype.isnative:
        raise TypeError(f"targets: expected class numbers of an integer dtype, got dtype {targets.dtype}")
    labels = _labels(targets, *outputs.shape)
    _check_class_weight(class_weight, outputs.shape[1:])
    found = _native.loss("multiclass_hinge", "outputs", outputs, labels, out, sample_weight, class_weight, FORMS[form], margin,
                         _total(reduction), False)
    return _reduced(found, reduction)


def _cross_entropy(logits, targets, out=None, label_smoothing=0.0, class_weight=None, sample_weight=None, reduction="mean"):
    """(row losses, dlogits, whether each row is correct)"""
    _native.check_array(logits, "logits", np.float32, 2)
    _require_array(targets, "targets")
    kind = targets.dtype.kind
    if kind not in "iuf" or not targets.dtype.isnative:
        raise TypeError(f"targets: expected integers or float32 rows, got dtype {targets.dtype}")
    if kind == "f" and targets.ndim == 1:
        raise TypeError(f"targets: expected class numbers of an integer dtype, got dtype {targets.dtype}")
    smoothing = _number(label_smoothing, "label_smoothing")
    if not 0 <= smoothing <= 1:
        raise ValueError(f"label_smoothing: expected a number from 0 to 1, got {smoothing}")
    _check_class_weight(class_weight, logits.shape[1:])
    total = _total(reduction)
    if kind != "f":
        targets = _labels(targets, *logits.shape)
    return _native.loss("softmax_cross_entropy", "logits", logits, targets, out, sample_weight, class_weight, 0, smoothing,
                        total, False)


def _elementwise(form, outputs, targets, out, sample_weight, reduction, parameter=0.0, class_weight=None, full=False,
                 name="outputs"):
    """(loss, gradient) of a loss that is a sum over the elements."""
    _native.check_array(outputs, name, np.float32, 2)
    _native.check_array(targets, "targets", np.float32, 2)
    _check_class_weight(class_weight, (2, outputs.shape[1]))
    found = _native.loss("elementwise_loss", name, outputs, targets, out, sample_weight, class_weight, FORMS[form], parameter,
                         _total(reduction), full)
    return _reduced(found, reduction)


def _reduced(found, reduction):
    losses, gradient, _ = found
    total = _native.sum_rows(losses)
    return total if reduction == "sum" else total / len(losses), gradient


def _labels(targets, batch, classes):
    """Class numbers as int32, each checked."""
    if targets.shape != (batch,):
        raise ValueError(f"targets: expected shape ({batch},), got {targets.shape}")
    labels, problem, row = _native.gather_labels(targets, None, classes, None)
    if problem:
        raise _label_error("targets", row, classes, targets[row])
    return labels


def _total(reduction):
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction: expected 'mean' or 'sum', got {reduction!r}")
    return reduction == "sum"


def _parameter(value, name, positive=False):
    value = _number(value, name)
    if not (0 <= value <= FLOAT32_MAX and (value >= FLOAT32_TINY or not positive)):
        raise ValueError(f"{name}: expected a number {'> 0' if positive else '>= 0'}, finite in float32, got {value}")
    return value


def _check_class_weight(class_weight, shape):
    if class_weight is not None:
        _native.check_array(class_weight, "class_weight", np.float32, len(shape))
        if class_weight.shape != shape:
            raise ValueError(f"class_weight: expected shape {shape}, got {class_weight.shape}")


# ---- rows by index ----


def gather(source, index, scale=1.0, shift=0.0, out=None, check_finite=False):
    """Take rows, convert, scale and shift: value = float32(float64(v) · scale + shift).

    The product and the sum are each rounded in double, then the value once to float32.

    Parameters
    ----------
    source : array [rows, ...]
        bool, integers of 8 to 64 bits, float16, float32 or float64, two axes or more. Trailing axes are flattened in C
        order. Rows may lie anywhere (slices, memory-mapped files); the elements of a row must be side by side.
    index : int64 array [n], or None
        Rows to take, each in [0, rows); repeats are fine. None takes all rows in order.
    scale, shift : float, default 1.0 and 0.0
    out : float32 array [n, features], optional
        Receives the values. Untouched if there is an error.
    check_finite : bool, default False
        Refuse values that are NaN or infinite, after scaling and rounding.

    Returns
    -------
    values : float32 array [n, features]

    Raises
    ------
    IndexError
        An index out of range; the first is named.
    ValueError
        Shapes or strides that do not fit, `out` read-only or overlapping an input, or values that are not finite; their
        first rows are named.
    TypeError
        A source that is not real, an index that is not int64, an `out` that is not float32.

    Examples
    --------
    >>> fastnn.kernels.gather(np.array([[0, 51], [102, 255]], dtype=np.uint8), np.array([1, 0]), scale=1 / 255)
    array([[0.4, 1. ],
           [0. , 0.2]], dtype=float32)
    """
    _require_array(source, "source")
    values, problem, row = _native.gather(source, index, _number(scale, "scale"), _number(shift, "shift"), out, check_finite)
    if not problem:
        return values
    if _native.PROBLEMS[problem] == "index":
        raise _index_error(row, len(source), index[row])
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    rows = ", ".join(str(r if index is None else index[r]) for r in bad[:_ROWS_NAMED])
    more = f" and {bad.size - _ROWS_NAMED} more" if bad.size > _ROWS_NAMED else ""
    raise ValueError(f"source: expected finite values, got NaN or infinity in row {rows}{more}")


def gather_labels(labels, index, classes, out=None):
    """Take class numbers by index.

    Only the labels that are taken are checked.

    Parameters
    ----------
    labels : integer array [rows]
        Of any integer dtype, with any stride.
    index : int64 array [n], or None
        As for `gather`.
    classes : int
        Labels lie in [0, classes); at most 2^31.
    out : int32 array [n], optional
        Receives the labels. Untouched if there is an error.

    Returns
    -------
    taken : int32 array [n]

    Raises
    ------
    IndexError
        An index out of range; the first is named.
    ValueError
        Shapes that do not fit, `out` read-only or overlapping an input, or a label out of range; the first is named, with
        its row.
    TypeError
        Labels that are not of integers, an index that is not int64, an `out` that is not int32.

    Examples
    --------
    >>> fastnn.kernels.gather_labels(np.array([7, 8, 9]), np.array([2, 0]), classes=10)
    array([9, 7], dtype=int32)
    """
    _require_array(labels, "labels")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels: expected an integer dtype, got {labels.dtype}")
    classes = _integer(classes, "classes", 0, 2**31)
    taken, problem, row = _native.gather_labels(labels, index, classes, out)
    if not problem:
        return taken
    if _native.PROBLEMS[problem] == "index":
        raise _index_error(row, len(labels), index[row])
    row = row if index is None else index[row]
    raise _label_error("labels", row, classes, labels[row])


def _index_error(position, rows, value):
    return IndexError(f"index[{position}]: expected a row from 0 to {rows - 1}, got {value}")


def _label_error(name, row, classes, value):
    return ValueError(f"{name}[{row}]: expected a class number >= 0 and < {classes}, got {value}")


# ---- optimizers ----


def sgd_update(params, grads, buffers, step, *, lr, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0):
    """Stochastic gradient descent, with classical or Nesterov momentum.

        g = grad + weight_decay · p
        buffer = g                                            at step 1
        buffer = momentum · buffer + (1 - dampening) · g      later
        d = g + momentum · buffer  if nesterov,  else  buffer          (d = g without momentum)
        p = p - lr · d

    (Polyak 1964; Sutskever et al. 2013; the form of PyTorch's ``torch.optim.SGD``, in which lr scales the buffer's use and
    not its content.)

    Parameters
    ----------
    params : list of float32 or float64 arrays, C- or F-contiguous
        Updated in place, all of them in one call.
    grads : list of arrays like params, in the same memory layout
    buffers : list of arrays like params, in the same memory layout, or None
        Updated in place; None when momentum is 0. What they hold before step 1 does not matter.
    step : int
        Number of this step, from 1.
    lr : float
        Learning rate, >= 0.
    momentum : float, default 0.0
        >= 0.
    dampening : float, default 0.0
    nesterov : bool, default False
        Needs a momentum and no dampening.
    weight_decay : float, default 0.0
        L2 penalty, >= 0.

    Raises
    ------
    ValueError
        Lists, shapes or memory layouts that do not fit, a hyper-parameter out of range, an array that is empty, or one
        that is to be updated and is read-only or overlaps another. Nothing has changed then.
    TypeError
        Dtypes that differ or are neither float32 nor float64.

    Examples
    --------
    >>> w = np.array([1.0]); fastnn.kernels.sgd_update([w], [np.array([0.5])], None, 1, lr=0.1); w
    array([0.95])
    """
    step = _integer(step, "step", 1, 2**63)
    lr, momentum, weight_decay = _at_least_zero(lr=lr, momentum=momentum, weight_decay=weight_decay)
    dampening = _number(dampening, "dampening")
    if nesterov and (momentum == 0 or dampening != 0):
        raise ValueError(f"nesterov: expected momentum > 0 and dampening 0, got momentum {momentum}, dampening {dampening}")
    if momentum == 0 and buffers is not None:
        raise ValueError(f"buffers: expected None when momentum is 0, got {type(buffers).__name__}")
    _check_lists(params, grads, **({"buffers": buffers} if momentum else {}))
    if momentum and step == 1:
        for buffer in buffers:
            buffer[...] = 0
    states = [(buffer,) for buffer in buffers] if momentum else [()] * len(params)
    rule = "sgd" if momentum == 0 else "nesterov" if nesterov else "momentum"
    _update(params, grads, states, lr, step, rule, (momentum, dampening, 0.0) if momentum else (), weight_decay)


def adam_update(params, grads, exp_avgs, exp_avg_sqs, step, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    """Adam.

        g = grad + weight_decay · p
        m = m + (1 - beta1) · (g - m)
        v = beta2 · v + (1 - beta2) · g · g
        p = p - lr / (1 - beta1^step) · m / (√v / √(1 - beta2^step) + eps)

    (Kingma & Ba 2015, algorithm 1; weight decay as an L2 penalty, as in PyTorch's ``torch.optim.Adam``.)

    Parameters
    ----------
    params : list of float32 or float64 arrays, C- or F-contiguous
        Updated in place, all of them in one call.
    grads : list of arrays like params, in the same memory layout
    exp_avgs, exp_avg_sqs : lists of arrays like params, in the same memory layout
        m and v, zero before step 1; updated in place.
    step : int
        Number of this step, from 1.
    lr : float, default 1e-3
        Learning rate, >= 0.
    beta1, beta2 : float, default 0.9 and 0.999
        In [0, 1).
    eps : float, default 1e-8
        >= 0.
    weight_decay : float, default 0.0
        L2 penalty, >= 0.

    Raises
    ------
    ValueError
        Lists, shapes or memory layouts that do not fit, a hyper-parameter out of range, an array that is empty, or one
        that is to be updated and is read-only or overlaps another. Nothing has changed then.
    TypeError
        Dtypes that differ or are neither float32 nor float64.

    Examples
    --------
    >>> w, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    >>> fastnn.kernels.adam_update([w], [np.array([0.5])], [m], [v], 1, lr=0.25, eps=0.0); w.round(6)
    array([0.75])
    """
    step = _integer(step, "step", 1, 2**63)
    lr, eps, weight_decay = _at_least_zero(lr=lr, eps=eps, weight_decay=weight_decay)
    beta1, beta2 = _number(beta1, "beta1"), _number(beta2, "beta2")
    for name, beta in (("beta1", beta1), ("beta2", beta2)):
        if not 0 <= beta < 1:
            raise ValueError(f"{name}: expected a number >= 0 and < 1, got {beta}")
    _check_lists(params, grads, exp_avgs=exp_avgs, exp_avg_sqs=exp_avg_sqs)
    _update(params, grads, list(zip(exp_avgs, exp_avg_sqs)), lr, step, "adam", (beta1, beta2, eps, 0.0), weight_decay)


def _update(params, grads, states, lr, step, rule, hyper, weight_decay):
    names = [f"params[{i}]" for i in range(len(params))]
    tensors = _native.Tensors(list(params), states, [0] * len(params), 1, names)
    tensors.set_group(0, _RULES[rule], hyper, weight_decay, t=step - 1)
    tensors.step(list(grads), [lr])


def _check_lists(params, grads, **states):
    """Every array of every list fits the parameter of its place; what is updated is writable and shares no memory."""
    for name, arrays in {"params": params, "grads": grads, **states}.items():
        if not isinstance(arrays, (list, tuple)):
            raise TypeError(f"{name}: expected a list of arrays, got {type(arrays).__name__}")
        if len(arrays) != len(params):
            raise ValueError(f"{name}: expected {len(params)} arrays, one for each parameter, got {len(arrays)}")
    for i, p in enumerate(params):
        _check_tensor(p, f"params[{i}]", None, True)
        _check_tensor(grads[i], f"grads[{i}]", p, False)
        for name, arrays in states.items():
            _check_tensor(arrays[i], f"{name}[{i}]", p, True)

    # In the order of their addresses an array overlaps another only if it begins before an earlier one ends. Gradients
    # are only read and may be one array.
    spans = []
    for name, arrays in {"params": params, "grads": grads, **states}.items():
        for i, a in enumerate(arrays):
            spans.append((a.__array_interface__["data"][0], a.nbytes, name != "grads", f"{name}[{i}]"))
    end = end_updated = 0
    latest = latest_updated = ""
    for start, size, updated, name in sorted(spans):
        if start < (end if updated else end_updated):
            other = latest if updated else latest_updated
            raise ValueError(f"{name}: expected memory of its own, got an array that overlaps {other}")
        if start + size > end:
            end, latest = start + size, name
        if updated and start + size > end_updated:
            end_updated, latest_updated = start + size, name


def _check_tensor(a, name, like, updated):
    _require_array(a, name)
    if like is None:
        if a.dtype not in (np.float32, np.float64) or not a.dtype.isnative:
            raise TypeError(f"{name}: expected dtype float32 or float64, got {a.dtype}")
        if a.size == 0:
            raise ValueError(f"{name}: expected at least one element, got shape {a.shape}")
        if not (a.flags.c_contiguous or a.flags.f_contiguous):
            raise ValueError(f"{name}: expected a contiguous array, got strides {a.strides} for shape {a.shape}")
    else:
        if a.dtype != like.dtype:
            raise TypeError(f"{name}: expected the parameter's dtype {like.dtype}, got {a.dtype}")
        if a.shape != like.shape:
            raise ValueError(f"{name}: expected the parameter's shape {like.shape}, got {a.shape}")
        if not (a.flags.c_contiguous if like.flags.c_contiguous else a.flags.f_contiguous):
            raise ValueError(f"{name}: expected the parameter's memory layout (strides {like.strides}), got {a.strides}")
    if not a.flags.aligned:
        raise ValueError(f"{name}: expected an aligned array, got one that is not")
    if updated and not a.flags.writeable:
        raise ValueError(f"{name}: expected a writable array, got a read-only one")


# ---- normalisation ----


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


# ---- dropout, noise, maxout ----

_LAYER_STREAM = 16  # the first random stream of layers, as in csrc/fastnn.h


def dropout_forward(x, p, seed, offset=0, out=None, *, stream=_LAYER_STREAM):
    """Drop each element with probability p, and let the others grow: y = x · 65536 / (65536 - t) or 0, t = round(65536 p).

    N. Srivastava et al., "Dropout", 2014, in the inverted form: the expectation of y is x, so inference does nothing. What
    is dropped is a function of p, seed, offset, stream and the element's place, whatever the threads.

    Parameters
    ----------
    x : float32 array of any shape
    p : float
        From 0 to 1; rounded to a multiple of 1 / 65536, which the scale takes into account.
    seed : int
        In [0, 2^64).
    offset : int, default 0
        In [0, 2^32): e.g. the number of the step.
    out : float32 array like x, optional
        Receives y; may be x itself.
    stream : int, default 16
        In [0, 2^32): e.g. the number of the layer.

    Returns
    -------
    y : float32 array like x
        A dropped element is 0, whatever it was.

    Raises
    ------
    ValueError
        p, seed, offset or stream out of range, arrays that are empty or not contiguous, `out` of another shape, read-only,
        or overlapping a part of x.
    TypeError
        Not an array, or not float32; p that is not a number.

    Examples
    --------
    >>> fastnn.kernels.dropout_forward(np.ones(8, np.float32), 0.5, seed=0)
    array([0., 2., 0., 0., 2., 2., 0., 0.], dtype=float32)
    """
    p = _number(p, "p")
    if not 0 <= p <= 1:
        raise ValueError(f"p: expected a number from 0 to 1, got {p}")
    threshold = round(p * 65536)
    scale = 65536 / (65536 - threshold) if threshold < 65536 else 0.0
    return _native.noise(x, threshold, scale, False, *_draws(seed, offset, stream), out)


def dropout_backward(dy, p, seed, offset=0, out=None, *, stream=_LAYER_STREAM):
    """Carry a gradient back through `dropout_forward`: the same mask and scale, made anew.

    Parameters
    ----------
    dy : float32 array of any shape
    p, seed, offset, out, stream
        As for `dropout_forward`.

    Returns
    -------
    dx : float32 array like dy

    Raises
    ------
    ValueError, TypeError
        As `dropout_forward`.

    Examples
    --------
    >>> fastnn.kernels.dropout_backward(np.ones(8, np.float32), 0.5, seed=0)
    array([0., 2., 0., 0., 2., 2., 0., 0.], dtype=float32)
    """
    _native.check_array(dy, "dy", np.float32)
    return dropout_forward(dy, p, seed, offset, out, stream=stream)


def gaussian_noise(x, std, seed, offset=0, out=None, *, stream=_LAYER_STREAM):
    """Add noise: y = x + std · z, z standard normal numbers by Box and Muller (1958).

    Parameters
    ----------
    x : float32 array of any shape
    std : float
        At least 0.
    seed, offset, out, stream
        As for `dropout_forward`.

    Returns
    -------
    y : float32 array like x

    Raises
    ------
    ValueError, TypeError
        As `dropout_forward`.

    Examples
    --------
    >>> noise = fastnn.kernels.gaussian_noise(np.zeros((100, 100), np.float32), 2.0, seed=0)
    >>> bool(abs(noise.std() - 2.0) < 0.05)
    True
    """
    (std,) = _at_least_zero(std=std)
    if std > 3.4e38:
        raise ValueError(f"std: expected a number that is finite in float32, got {std}")
    return _native.noise(x, 0, std, True, *_draws(seed, offset, stream), out)


def maxout_forward(x, pieces, out=None):
    """The largest of the pieces that stand side by side in a row: y_ij = max_k x_i,(k · features + j).

    I. Goodfellow et al., "Maxout networks", 2013. A NaN beats every number.

    Parameters
    ----------
    x : float32 array [batch, pieces · features]
    pieces : int
        At least 1.
    out : float32 array [batch, features], optional
        Receives y.

    Returns
    -------
    y : float32 array [batch, features]

    Raises
    ------
    ValueError
        Columns that are no multiple of the pieces, arrays that are empty or not contiguous, `out` of another shape,
        read-only or overlapping x.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> fastnn.kernels.maxout_forward(np.float32([[1, 5, 3, 4]]), 2)
    array([[3., 5.]], dtype=float32)
    """
    return _native.maxout_forward(x, _integer(pieces, "pieces", 1, 2**31 - 1), out)


def maxout_backward(dy, x, pieces, out=None):
    """Carry a gradient back through `maxout_forward`: dy goes to the piece that was chosen, of equal ones the first.

    Parameters
    ----------
    dy : float32 array [batch, features]
    x : float32 array [batch, pieces · features]
    pieces : int
        At least 1.
    out : float32 array like x, optional
        Receives dx.

    Returns
    -------
    dx : float32 array like x

    Raises
    ------
    ValueError
        Shapes that do not fit, arrays that are empty or not contiguous, `out` of another shape, read-only or overlapping an
        input.
    TypeError
        Not an array, or not float32.

    Examples
    --------
    >>> fastnn.kernels.maxout_backward(np.float32([[1, 2]]), np.float32([[1, 5, 3, 4]]), 2)
    array([[0., 2., 1., 0.]], dtype=float32)
    """
    return _native.maxout_backward(dy, x, _integer(pieces, "pieces", 1, 2**31 - 1), out)


# ---- random numbers ----


def penalty_forward(w, l1=0.0, l2=0.0):
    """The penalty of an array: R(w) = l1 · Σ|w| + l2 / 2 · Σw².

    (Tibshirani 1996 for L1, Hoerl & Kennard 1970 for L2, Zou & Hastie 2005 for both.)

    Parameters
    ----------
    w : float32 array
        Of any shape.
    l1, l2 : float, default 0.0
        >= 0. A part whose factor is 0 is left out.

    Returns
    -------
    value : float
        Added up in double, in an order that does not depend on the number of threads.

    Raises
    ------
    ValueError
        A factor that is negative or not finite, an array that is empty or not C-contiguous.
    TypeError
        Another dtype.

    Examples
    --------
    >>> fastnn.kernels.penalty_forward(np.array([1.0, -3.0], np.float32), l1=0.5, l2=0.25)
    3.25
    """
    return _native.penalty_forward(w, *_factors(l1, l2))


def penalty_backward(w, dw, l1=0.0, l2=0.0):
    """Add the penalty's gradient in place: dw = dw + l2 · w + l1 · sign(w), with sign(0) = 0.

    Parameters
    ----------
    w : float32 array
        Of any shape.
    dw : float32 array of w's shape
        Changed in place.
    l1, l2 : float, default 0.0
        >= 0. A part whose factor is 0 is left out.

    Returns
    -------
    dw : the array itself

    Raises
    ------
    ValueError
        A shape that is not w's, arrays that overlap, a read-only `dw`, a factor that is negative or not finite.
    TypeError
        Another dtype.

    Examples
    --------
    >>> fastnn.kernels.penalty_backward(np.array([1.0, -3.0], np.float32), np.zeros(2, np.float32), l1=0.5, l2=0.25)
    array([ 0.75, -1.25], dtype=float32)
    """
    return _native.penalty_backward(w, dw, *_factors(l1, l2))


def _factors(l1, l2):
    l1, l2 = _at_least_zero(l1=l1, l2=l2)
    for name, value in (("l1", l1), ("l2", l2)):
        if value > _FLOAT32_MAX:
            raise ValueError(f"{name}: expected a number that is finite in float32, got {value}")
    return l1, l2


def random_bits(n, seed, stream, step=0, offset=0):
    """n random 32-bit words, beginning with word `offset`: a pure function of its arguments.

    Word i is word i mod 4 of Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011) with the counter
    (block mod 2^32, block div 2^32, step, stream), block = i div 4, and the key (seed mod 2^32, seed div 2^32).

    Parameters
    ----------
    n : int
        How many.
    seed : int
        In [0, 2^64).
    stream, step : int
        In [0, 2^32) each; step is 0 by default.
    offset : int, default 0
        Number of the first word; offset + n is at most 2^64.

    Returns
    -------
    words : uint32 array [n]

    Raises
    ------
    ValueError
        An argument out of range.
    TypeError
        An argument that is not an integer.

    Examples
    --------
    >>> whole = fastnn.kernels.random_bits(10, seed=7, stream=0)
    >>> bool((whole[6:] == fastnn.kernels.random_bits(4, seed=7, stream=0, offset=6)).all())
    True
    """
    n = _integer(n, "n", 0, 2**60)
    seed = _integer(seed, "seed", 0, 2**64 - 1)
    stream = _integer(stream, "stream", 0, 2**32 - 1)
    step = _integer(step, "step", 0, 2**32 - 1)
    offset = _integer(offset, "offset", 0, 2**64 - 1)
    if offset + n > 2**64:
        raise ValueError(f"offset: expected offset + n of at most 2**64, got {offset + n}")
    return _native.random_bits(n, seed, stream, step, offset)


def permutation(n, seed, epoch=0):
    """A random permutation of 0 … n - 1, by Fisher and Yates.

        p = 0 … n - 1
        for i = n - 1 down to 1:  swap p[i] and p[j],  j = (r[i] · (i + 1)) div 2^64

    (Durstenfeld 1964.) r[i] is bits[2i] | bits[2i + 1] << 32 with the bits of ``random_bits(2 · n, seed, stream=1,
    step=epoch)``, and the product has 128 bits.

    Parameters
    ----------
    n : int
        How many.
    seed : int
        In [0, 2^64).
    epoch : int, default 0
        In [0, 2^32); each has its own permutation.

    Returns
    -------
    p : int64 array [n]

    Raises
    ------
    ValueError
        An argument out of range.
    TypeError
        An argument that is not an integer.

    Examples
    --------
    >>> np.sort(fastnn.kernels.permutation(5, seed=0))
    array([0, 1, 2, 3, 4])
    """
    n = _integer(n, "n", 0, 2**59)
    return _native.permutation(n, _integer(seed, "seed", 0, 2**64 - 1), _integer(epoch, "epoch", 0, 2**32 - 1))


# ---- checks of what is not an array ----


def _activation(activation, alpha):
    name, alpha = check_activation(activation, alpha)
    return ACTIVATIONS[name].code, alpha


def _require_array(obj, name):
    if not isinstance(obj, np.ndarray):
        raise TypeError(f"{name}: expected a NumPy array, got {type(obj).__name__}")
    _native.plain(obj, name)


def _integer(value, name, low, high):
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if not low <= value <= high:
        raise ValueError(f"{name}: expected an integer from {low} to {high}, got {value}")
    return value


def _number(value, name):
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a number, got {value!r}") from None
    except OverflowError:
        raise ValueError(f"{name}: expected a number that a double can hold, got one beyond it") from None


def _eps(eps):
    (eps,) = _at_least_zero(eps=eps)
    if eps > 3.4e38:
        raise ValueError(f"eps: expected a number that is finite in float32, got {eps}")
    return eps


def _draws(seed, offset, stream):
    limit = 2**32 - 1
    return _integer(seed, "seed", 0, 2**64 - 1), _integer(offset, "offset", 0, limit), _integer(stream, "stream", 0, limit)


def _at_least_zero(**values):
    numbers = {name: _number(value, name) for name, value in values.items()}
    for name, value in numbers.items():
        if not value >= 0:
            raise ValueError(f"{name}: expected a number >= 0, got {value}")
    return numbers.values()
