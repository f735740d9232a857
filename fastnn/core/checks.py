"""The checks of arguments that modules from the initialisers to the losses and optimizers have in common. It imports nothing of
fastnn's, so that any module may use it. Each returns the value to keep, or raises with the argument's name, what was expected
and what came.
"""

import functools
import math
import numbers
import operator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    Function = TypeVar("Function", bound=Callable[..., Any])

# What arguments are called elsewhere, and the names that they may have here.
_ELSEWHERE = {
    "learning_rate": ("lr",), "step_size": ("lr",), "eta": ("lr",), "alpha": ("lr",), "rate": ("p", "lr"), "prob": ("p",),
    "epsilon": ("eps",), "decay": ("weight_decay",), "wd": ("weight_decay",), "l2": ("weight_decay",), "mu": ("momentum",),
    "beta": ("betas",), "beta1": ("betas",), "beta2": ("betas",), "beta_1": ("betas",), "beta_2": ("betas",), "b1": ("betas",),
    "b2": ("betas",), "ema_momentum": ("ema",), "ema_decay": ("ema",), "use_ema": ("ema",), "gradient_clip": ("clip_norm",),
    "clipnorm": ("clip_norm",), "clipvalue": ("clip_value",), "n_epochs": ("epochs",), "nb_epoch": ("epochs",),
    "num_epochs": ("epochs",), "max_iter": ("epochs",), "val_data": ("validation_data",), "random_state": ("seed",),
    "weights": ("sample_weight", "class_weight"), "weight": ("sample_weight", "class_weight"), "units": ("out_features",),
    "input_dim": ("in_features",), "nonlinearity": ("activation",), "use_bias": ("bias",), "kernel_initializer": ("init",),
    "kernel_regularizer": ("penalty",), "regularizer": ("penalty",), "criterion": ("loss",), "loss_fn": ("loss",),
}  # fmt: skip


def nearest(name, known, cutoff=0.6):
    """The name among `known` that someone who wrote `name` most likely meant, or None."""
    import difflib

    meant = [k for k in _ELSEWHERE.get(name, ()) if k in known]
    return next(iter(meant or difflib.get_close_matches(name, list(known), 1, cutoff)), None)


def suggesting(function: "Function") -> "Function":
    """The function, whose error for an unknown keyword says which is the nearest that it has."""
    code = function.__code__
    if code.co_flags & 0x08:  # it takes any
        return function
    known = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]

    @functools.wraps(function)
    def call(*args, **keywords):
        for name in keywords:
            if name not in known:
                meant = nearest(name, known)
                hint = f"; did you mean {meant!r}?" if meant else ""
                raise TypeError(f"{function.__qualname__}() got an unexpected keyword argument {name!r}{hint}")
        return function(*args, **keywords)

    return call


def instead(array, name, classes=False):
    """What to do with an array that holds no numbers, or holds them as objects. classes: the array may be names of classes."""
    if array.dtype.kind not in "OUST":
        return ""
    text = array.dtype.kind != "O" or any(isinstance(v, str) for v in array.flat)
    if not (text and classes):
        try:
            found = array.astype(np.float64)
        except (TypeError, ValueError):
            pass
        else:
            kind = "int" if classes and (found == np.round(found)).all() else "float"
            return f"; its elements are numbers, so write {name}.astype({kind})"
    if classes:
        return f"; for names of classes write classes, {name} = np.unique({name}, return_inverse=True)"
    return f"; turn all its columns into numbers, then write {name}.astype(float)"


def scalar(value):
    """`value`, or the number in it where it is an array of no dimensions: NumPy's, PyTorch's, JAX's."""
    if isinstance(value, numbers.Real) or getattr(value, "shape", None) != () or hasattr(value, "mask"):
        return value
    item = getattr(value, "item", None)
    return item() if callable(item) else value


def real(value, name):
    """`value` as it is, once it is a number; of an array of no dimensions the number."""
    found = scalar(value)
    if isinstance(found, bool) or not isinstance(found, numbers.Real):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    return found


def number(value, name, least=-math.inf, most=math.inf, below=math.inf):
    """`value` as a finite float in [least, most], or in [least, below)."""
    if type(value) is not float:
        try:
            value = float(real(value, name))
        except OverflowError:
            value = math.inf
    if not (math.isfinite(value) and least <= value <= most and value < below):
        limit = f" >= {least:g}" if least > -math.inf else ""
        if most < math.inf:
            limit = f" in [{least:g}, {most:g}]"
        elif below < math.inf:
            limit = f" in [{least:g}, {below:g})"
        raise ValueError(f"{name}: expected a finite number{limit}, got {value}")
    return value


def flag(value, name):
    """`value` as a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def check_number(value, name, low, high, what):
    """`value` as a float within [low, high]; `what` says that in words."""
    if not low <= real(value, name) <= high:
        raise ValueError(f"{name}: expected {what}, got {value}")
    return float(value)


def check_size(value, name, least=1, bits=31):
    """`value` as an int of at least `least` and of so many bits; by default one that an array dimension can have."""
    try:
        n = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if not least <= n < 2**bits:
        raise ValueError(f"{name}: expected an integer from {least} to 2**{bits} - 1, got {n}")
    return n
